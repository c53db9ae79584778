"""
How long to wait before trying again.
"""

from __future__ import annotations

from collections.abc import Callable

_LONGEST_ASKED = 300.0
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
        return min(asked, _LONGEST_ASKED) + self._random() * bound
