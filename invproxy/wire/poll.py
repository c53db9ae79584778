"""
The poll protocol's paths, field names and values; docs/protocol.md describes it.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import lru_cache

from invproxy.http1.fields import elements, values

PENDING = b"/agent/pending"
REQUEST = b"/agent/request"
RESPONSE = b"/agent/response"
TUNNEL = b"/agent/tunnel"

BACKEND_ID = b"X-Inverting-Proxy-Backend-ID"
REQUEST_ID = b"X-Inverting-Proxy-Request-ID"
USER_ID = b"X-Inverting-Proxy-User-ID"
START_TIME = b"X-Inverting-Proxy-Request-Start-Time"
FEATURES = b"X-Inverting-Proxy-Features"
ERROR = b"X-Inverting-Proxy-Error"
BACKEND = b"X-Inverting-Proxy-Backend"

MAX_PENDING_BYTES = 1 << 20
"""How much of an answer to a poll an agent reads."""

MAX_IDS = 100
"""How many IDs one answer to a poll names at most."""

AGENTS_CODES = frozenset(("origin-refused", "origin-bad-response", "origin-timeout"))
"""What an agent may give of its own accord as the code of an error; over the tunnel, too."""

_ID = re.compile(r"[!-~]{1,256}").fullmatch
_BACKEND = re.compile(rb"[0-9A-Za-z\-._~:@/]{1,256}").fullmatch

INTERIM = b"interim"
UPGRADE = b"upgrade"
OUR_FEATURES = b"\r\n" + FEATURES + b": " + INTERIM + b", " + UPGRADE
"""The field line by which both sides of ours know each other."""


def features(block: bytes) -> frozenset[bytes]:
    """
    Read which of our additions the other side knows.

    @param block: the header section of a call or of its answer.
    """
    return frozenset(elements(values(block, FEATURES)))


def isBackendID(text: bytes) -> bool:
    """
    Say whether this may name a backend.
    """
    return _BACKEND(text) is not None


def formatTime(seconds: float) -> bytes:
    """
    Write a time as RFC 3339 with nanoseconds, in UTC.

    @param seconds: since the epoch.
    """
    whole = int(seconds)
    rest = round((seconds - whole) * 1e9)  # apart, as the sum would not be exact
    if rest == 1_000_000_000:
        whole, rest = whole + 1, 0
    return b"%b.%09dZ" % (_formatSecond(whole), rest)


@lru_cache(maxsize=2)
def _formatSecond(whole: int) -> bytes:
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode("ascii")


def formatIDs(ids: list[str]) -> bytes:
    """
    Write an answer to a poll.
    """
    return json.dumps(ids).encode("ascii")


def parseIDs(body: bytes) -> list[str]:
    """
    Read an answer to a poll: a JSON array of IDs; C{null} and an empty body stand for an empty one.

    @raise ValueError: if it is anything else; the text says what.
    """
    if not body.strip():
        return []
    try:
        found = json.loads(body)
    except RecursionError:
        raise ValueError("the answer to a poll is nested too deeply") from None
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, str) and _ID(one) for one in found):
        raise ValueError("the answer to a poll is not a JSON array of request IDs")
    return found
