"""
Deadlines by the thousand, on one coarse clock.

A C{callLater} and its cancellation for each clock of each exchange cost more than the rest of the bookkeeping, and
almost none of them ever run out. So whoever has deadlines is B{watched}: it is asked, at the earliest of them, whether
one has passed, and says when to ask again. Moving a deadline into the future then costs nothing at all. A look at all
that are watched, four times a second, costs less than to keep them in order: half a millisecond for ten thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

_log = Logger(namespace="invproxy")


class Watched(Protocol):
    """
    Something with deadlines; hashed by identity.

    @ivar askedAt: for the L{Deadlines} alone: when it will ask next, or 0.
    """

    askedAt: float

    def checkDeadline(self, now: float) -> float:
        """
        Act if a deadline has passed.

        @param now: the present time in seconds.
        @return: when to ask again in seconds on the same clock, or 0 if there is nothing to wait for.
        """


class Deadlines:
    """
    Asks many L{Watched} about their deadlines, up to one C{resolution} late and never early.

    @ivar seconds: tells the time.
    """

    def __init__(self, clock: IReactorTime, resolution: float = 0.25) -> None:
        """
        @param clock: what tells the time.
        @param resolution: seconds between two looks.
        """
        self.seconds: Callable[[], float] = clock.seconds
        self._clock = clock
        self._resolution = resolution
        self._watched: dict[Watched, None] = {}
        self._call: IDelayedCall | None = None

    def watch(self, watched: Watched, when: float) -> None:
        """
        Ask it at some time, unless it will be asked before that anyway.

        @param when: seconds on the clock.
        """
        if not watched.askedAt:
            self._watched[watched] = None
            self._schedule()
        elif watched.askedAt <= when:
            return
        watched.askedAt = when

    def forget(self, watched: Watched) -> None:
        """
        Ask it no more: it is over, and shall not be kept until a deadline that means nothing now.
        """
        watched.askedAt = 0.0
        self._watched.pop(watched, None)

    def count(self) -> int:
        """
        Count those that are watched.
        """
        return len(self._watched)

    def _schedule(self) -> None:
        if self._call is not None:
            return
        # Looks are at multiples of the resolution; but the wait must be enough to move a clock.
        wait = self._resolution - self.seconds() % self._resolution
        self._call = self._clock.callLater(max(wait, self._resolution / 100), self._look)

    def _look(self) -> None:
        self._call = None
        now = self.seconds()
        due = [watched for watched in self._watched if watched.askedAt <= now]
        due.sort(key=lambda watched: watched.askedAt)
        for watched in due:
            if not 0.0 < watched.askedAt <= now:
                continue  # another one has just put an end to it, or moved it
            watched.askedAt = 0.0
            del self._watched[watched]
            try:
                when = watched.checkDeadline(now)
            except Exception:
                _log.failure("a deadline of {watched} could not be kept", watched=watched)
            else:
                if when:
                    self.watch(watched, when)
        if self._watched:
            self._schedule()

    def stop(self) -> None:
        """
        Forget all.
        """
        for watched in self._watched:
            watched.askedAt = 0.0
        self._watched.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None
