"""
How long to wait before trying again.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime

from invproxy.http1.fields import value

LONGEST_ASKED = 300.0
"""Seconds that a C{Retry-After} is honoured at most."""


class Backoff:
    """
    Exponential backoff with full jitter: so that a thousand agents that lost their proxy at once do not come back at
    once.
    """

    def __init__(
        self, random: Callable[[], float], shortest: float = 0.1, longest: float = 5.0
    ) -> None:
        """
        @param random: gives numbers from 0 to 1.
        @param shortest: the bound on the first wait in seconds.
        @param longest: the bound on every wait in seconds.
        """
        self._random = random
        self._shortest = shortest
        self._longest = longest
        self._tries = 0

    def succeed(self) -> None:
        """
        Begin anew: a try went well.
        """
        self._tries = 0

    def fail(self, asked: float = 0.0) -> float:
        """
        Take note of a try that went wrong.

        @param asked: the C{Retry-After} that came with it in seconds, or 0.
        @return: how long to wait in seconds.
        """
        bound = min(self._longest, self._shortest * float(2 ** min(self._tries, 16)))
        self._tries += 1
        return min(asked, LONGEST_ASKED) + self._random() * bound


def retryAfter(block: bytes, now: float) -> float:
    """
    Read Retry-After (RFC 9110, section 10.2.3): seconds, or a date, which is measured against the answer's own Date,
    as the clocks of two machines differ.

    @param block: the fields of an answer.
    @param now: seconds since the epoch, for an answer without Date.
    @return: seconds, at most L{LONGEST_ASKED}; 0 if there is no such field, or none that can be read.
    """
    text = value(block, b"retry-after") or b""
    if text.isdigit():
        return LONGEST_ASKED if len(text) > 9 else min(float(text), LONGEST_ASKED)
    asked = _seconds(text)
    if asked is None:
        return 0.0
    sent = _seconds(value(block, b"date") or b"")
    return min(max(0.0, asked - (now if sent is None else sent)), LONGEST_ASKED)


def _seconds(date: bytes) -> float | None:
    """
    @return: an HTTP date in seconds since the epoch, or L{None} if it is none.
    """
    try:
        return parsedate_to_datetime(date.decode("latin-1")).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
