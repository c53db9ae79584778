"""
Routing: the choice of a backend for a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from invproxy.errors import (
    AGENT_OFFLINE,
    BAD_REQUEST,
    FORBIDDEN,
    NO_BACKEND,
    REGISTRY_UNAVAILABLE,
    UNAUTHENTICATED,
    Fault,
)
from invproxy.http1.fields import finder
from invproxy.http1.heads import RequestHead
from invproxy.http1.marks import OWN
from invproxy.mailbox import Mailbox, Mailboxes
from invproxy.registry.records import Backend
from invproxy.registry.registry import Registry, Unavailable
from invproxy.registry.routes import RouteTable
from invproxy.tables import Table
from invproxy.wire.poll import BACKEND

_findBackend: Final = finder(BACKEND)


class OpenRouter:
    """
    Routing in open mode, where there is no registry: by C{X-Inverting-Proxy-Backend}, else by the first label of Host,
    else to the backend whose agent's session began most recently.
    """

    def __init__(self, mailboxes: Mailboxes) -> None:
        self._mailboxes = mailboxes

    def route(self, head: RequestHead, user: str = "") -> Mailbox:
        """
        Choose the best match first, and ask whether it lives second.

        @param head: the request as the client sent it.
        @param user: the end user, or C{""} for nobody; all may visit everything.
        @raise Fault: no-backend or agent-offline.
        """
        named = _findBackend(head.fields) if head.marks & OWN else None
        if named is not None:
            mailbox = self._mailboxes.get(named.decode("latin-1"))
            if mailbox is None:
                raise Fault(NO_BACKEND, f"no backend {named[:60].decode('latin-1')!r}")
        else:
            label = (head.host or b"").partition(b":")[0].partition(b".")[0].decode("latin-1")
            mailbox = self._mailboxes.match(label)
        if mailbox is None or self._mailboxes.isOffline(mailbox):
            raise Fault(AGENT_OFFLINE)
        return mailbox


class MembersRouter(OpenRouter):
    """
    Routing as in open mode, but for those alone who have signed in.
    """

    def route(self, head: RequestHead, user: str = "") -> Mailbox:
        """
        Choose as L{OpenRouter} does.

        @raise Fault: unauthenticated, too, for nobody.
        """
        if not user:
            raise Fault(UNAUTHENTICATED)
        return super().route(head, user)


_MOST_DECODINGS: Final = 3
"""How many times over a path is decoded to see what an origin might make of it."""

_PLAIN: Final = "/!$&'()*+,;=:@~"
"""What stands in paths as it is (RFC 3986, section 3.3), besides letters, digits and C{-._}."""

_canBeReadTwice: Final = re.compile(rb"[%;\\]|//|/\.").search
"""Tells the paths, few, that not every server reads alike."""

_isIntricate: Final = re.compile(rb"[;\\]|//|/\.").search
"""Tells those of them that are so even before anything is decoded."""

_LONGEST_READ: Final = 2048
"""Bytes of a path that can be read in several ways: to list these takes ten times as long as all else that is done."""

_LONGEST_KEPT: Final = 512
"""Bytes of a path whose readings are remembered: those of one page are asked for again and again."""


_MOST_READ: Final = 1024
"""Paths for which they are."""


class RegistryRouter:
    """
    Routing by the registry: among the records that the end user may visit.
    """

    def __init__(self, registry: Registry, mailboxes: Mailboxes, *, canSignIn: bool) -> None:
        """
        @param registry: knows the records.
        @param mailboxes: where the exchanges of each backend wait.
        @param canSignIn: whether who is nobody could become somebody.
        """
        self._registry = registry
        self._mailboxes = mailboxes
        self._unknown = UNAUTHENTICATED if canSignIn else FORBIDDEN

    def route(self, head: RequestHead, user: str = "") -> Mailbox:
        """
        Choose the best match first, and ask whether it lives second: nobody gets to another backend as their own is
        down.

        @param head: the request as the client sent it.
        @param user: the end user, or C{""} for nobody.
        @raise Fault: no-backend if there is nothing here for anybody; unauthenticated or forbidden if there is, but not
            for this user; agent-offline; registry-unavailable; bad-request if servers might read the path in
            different ways that lead to different backends, or the path is too long to find out.
        """
        host = head.host or b""
        path = head.path()
        try:
            routes = self._registry.routes
        except Unavailable:
            raise Fault(REGISTRY_UNAVAILABLE) from None
        record = routes.find(user, host, path)
        if _canBeReadTwice(path):
            self._checkReadings(routes, user, host, path, record)
        if record is None:
            if not routes.matches(host, path):
                raise Fault(NO_BACKEND)
            raise Fault(FORBIDDEN if user else self._unknown)
        mailbox = self._mailboxes.get(record.id)
        if mailbox is None or self._mailboxes.isOffline(mailbox):
            raise Fault(AGENT_OFFLINE)
        return mailbox

    def _checkReadings(
        self, routes: RouteTable, user: str, host: bytes, path: bytes, record: Backend | None
    ) -> None:
        """
        See that a path leads to the same backend however it is read. Else C{/public/..%2Fprivate} would be let in as
        something below C{/public}, and be served as C{/private}.
        """
        size = len(path)
        if size > _LONGEST_READ:
            raise Fault(
                BAD_REQUEST, f"a path of more than {_LONGEST_READ} bytes with %, ;, // or /."
            )
        found = _readingsOf(path) if size <= _LONGEST_KEPT else readings(path)
        for reading in found:
            if reading != path and routes.find(user, host, reading) is not record:
                raise Fault(BAD_REQUEST, "the path can be read in two ways")


def readings(path: bytes) -> frozenset[bytes]:
    """
    List the paths for which servers might take a path: percent-encoding undone, once or several times, or not at all;
    backslashes as slashes; parameters of segments (C{;v=1}) as no part of them; empty segments left out; C{.} and
    C{..} resolved.

    @param path: the path as it came.
    @return: such paths, percent-encoded again.
    """
    decoded = unquote_to_bytes(path)
    if not (_canBeReadTwice(decoded) or _isIntricate(path)):
        # What is encoded is but what must be, or might as well not be.
        return frozenset((path, quote_from_bytes(decoded, _PLAIN).encode("ascii")))
    found = set(_understood(path))
    for _ in range(_MOST_DECODINGS):
        decoded = unquote_to_bytes(path)
        found |= {quote_from_bytes(each, _PLAIN).encode("ascii") for each in _understood(decoded)}
        if decoded == path:
            break
        path = decoded
    return frozenset(found)


def climbs(path: bytes) -> bool:
    """
    Say whether some server might take a path for one that leads out of where it begins, by more segments of C{..} than
    there are others before them.

    @param path: the path as it came.
    """
    if not _canBeReadTwice(path):
        return False
    for _ in range(_MOST_DECODINGS + 1):
        for plain in (path, path.replace(b"\\", b"/")):
            depth = 0
            for segment in plain.split(b"/"):
                name = segment.partition(b";")[0]
                if name == b"..":
                    depth -= 1
                    if depth < 0:
                        return True
                elif name not in (b"", b"."):
                    depth += 1
        path = unquote_to_bytes(path)
    return False


_readingsOf: Final = lru_cache(maxsize=_MOST_READ)(readings)


def tables() -> list[Table]:
    """
    Tell how many paths' readings are remembered.
    """
    return [Table("path_readings", _readingsOf.cache_info().currsize, _MOST_READ, True)]


def _understood(path: bytes) -> Iterator[bytes]:
    for plain in (path, path.replace(b"\\", b"/")):
        yield _resolved(plain)
        yield _resolved(b"/".join(segment.partition(b";")[0] for segment in plain.split(b"/")))


def _resolved(path: bytes) -> bytes:
    """
    Resolve dot segments (RFC 3986, section 5.2.4), and leave empty ones out.
    """
    kept: list[bytes] = []
    segments = path.split(b"/")
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    end = b"/" if kept and segments[-1] in (b"", b".", b"..") else b""
    return b"/" + b"/".join(kept) + end
