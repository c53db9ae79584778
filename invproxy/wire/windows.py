"""
How much of a body may be under way on a stream of the tunnel.

All streams share one connection, so none may fill it: whoever receives a body says how many bytes of it may come.
This I{window} opens when the stream does, by the size that the HELLO named. The sender takes what it sends from it, and
waits when nothing is left. The receiver gives it back as CREDIT, a quarter of the window at a time, once the bytes have
been passed on: while the next one in line asks to be spared (a client that reads slowly, a backend that takes an upload
slowly), nothing is given back, and after at most one window the sender stops its own source. Other streams go on.

A window that is smaller than what fits on the way (bandwidth times round-trip time) leaves the way empty half of the
time. So the receiver measures: if a whole window was used up in less than two round trips, then the window is what
limits the stream, and it doubles. A stream over a fast short way, or one whose receiver is slow, keeps its small
window; one over a long way doubles each round trip until it is limited by something else. What all windows have grown
together is bounded by the L{Budget} of the tunnel, so a thousand stalled streams do not hold a thousand large windows.
"""

from __future__ import annotations

from typing import Final

from invproxy.wire.frames import FrameError

INITIAL: Final = 262144
"""Bytes of a window when its stream opens."""

LARGEST: Final = 16 << 20
"""Bytes to which one window may grow."""

EXTRA: Final = 64 << 20
"""Bytes by which all windows of a tunnel may grow together."""


class Budget:
    """
    What the windows of one tunnel may grow by, together.

    @ivar left: bytes.
    @ivar roundTrip: the shortest time in seconds in which a ping has been answered lately, or 0 before the first.
    """

    __slots__ = ("left", "roundTrip")

    def __init__(self, left: int = EXTRA) -> None:
        self.left = left
        self.roundTrip = 0.0


class Window:
    """
    The receiving side of one direction of a stream.

    @ivar size: bytes that may be under way.
    """

    __slots__ = ("_began", "_budget", "_initial", "_left", "_measured", "_owed", "size")

    def __init__(self, budget: Budget, size: int = INITIAL) -> None:
        """
        @param budget: what it may grow by.
        @param size: bytes that the HELLO granted.
        """
        self.size = self._initial = self._left = size
        self._budget = budget
        self._owed = 0
        self._measured = 0
        self._began = 0.0

    def receive(self, size: int) -> None:
        """
        Take note of bytes that came.

        @raise FrameError: if they are more than there was credit for.
        """
        self._left -= size
        if self._left < 0:
            raise FrameError("more bytes of a body than there was credit for")

    def consume(self, size: int, now: float, *, isHeld: bool = False) -> int:
        """
        Take note of bytes that were passed on.

        @param now: the present time in seconds.
        @param isHeld: whether what they went to asks to be spared.
        @return: how much credit to give for it, or 0 for none yet.
        """
        self._owed += size
        if isHeld:
            self._began = 0.0  # it is not the window that limits the stream
            return 0
        if self._owed * 4 < self.size:
            return 0
        return self._give(now)

    def _give(self, now: float) -> int:
        credit = self._owed
        self._owed = 0
        self._measured += credit
        if not self._began:
            # What came first came at once, which says nothing.
            self._began = now
            self._measured = 0
        elif self._measured >= self.size:
            if now - self._began < 2 * self._budget.roundTrip:
                credit += self._grow()
            self._began = now
            self._measured = 0
        self._left += credit
        return credit

    def _grow(self) -> int:
        more = max(0, min(self.size, LARGEST - self.size, self._budget.left))
        self._budget.left -= more
        self.size += more
        return more

    def close(self) -> None:
        """
        Give back what it has grown by: the stream is over.
        """
        self._budget.left += self.size - self._initial
        self._initial = self.size
