"""
Deadlines by the thousand, on one coarse clock.

A C{callLater} and its cancellation for each clock of each exchange cost more than the rest of the bookkeeping, and
almost none of them ever run out. So whoever has deadlines is B{watched}: it is asked, at the earliest of them, whether
one has passed, and says when to ask again. Moving a deadline into the future then costs nothing at all.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Watched(Protocol):
    """
    Something with deadlines.

    @ivar askedAt: for the L{Wheel} alone: when it will ask next, or 0.
    """

    askedAt: float

    def checkDeadline(self, now: float) -> float:
        """
        Act if a deadline has passed.

        @param now: the present time in seconds.
        @return: when to ask again in seconds on the same clock, or 0 if there is nothing to wait for.
        """


class Wheel:
    """
    Asks many L{Watched} about their deadlines, up to one C{resolution} late and never early.
    """

    def __init__(self, clock: IReactorTime, resolution: float = 0.25) -> None:
        """
        @param clock: what tells the time.
        @param resolution: seconds between two looks.
        """
        self._clock = clock
        self._resolution = resolution
        self._slots: dict[int, list[Watched]] = {}
        self._call: IDelayedCall | None = None

    def seconds(self) -> float:
        """
        Tell the time.
        """
        return self._clock.seconds()

    def watch(self, watched: Watched, when: float) -> None:
        """
        Ask it at some time, unless it will be asked before that anyway.

        @param when: seconds on the wheel's clock.
        """
        if watched.askedAt and watched.askedAt <= when:
            return
        slot = int(when / self._resolution) + 1
        watched.askedAt = when
        try:
            self._slots[slot].append(watched)
        except KeyError:
            self._slots[slot] = [watched]
        if self._call is None:
            self._schedule()

    def _schedule(self) -> None:
        self._call = self._clock.callLater(self._resolution, self._turn)

    def _turn(self) -> None:
        self._call = None
        now = self._clock.seconds()
        reached = int(now / self._resolution)
        for slot in sorted(slot for slot in self._slots if slot <= reached):
            for watched in self._slots.pop(slot):
                if not watched.askedAt or int(watched.askedAt / self._resolution) + 1 != slot:
                    continue  # it was asked to be looked at earlier, and has been
                watched.askedAt = 0.0
                when = watched.checkDeadline(now)
                if when:
                    self.watch(watched, when)
        if self._slots and self._call is None:
            self._schedule()

    def stop(self) -> None:
        """
        Forget all.
        """
        self._slots.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None
