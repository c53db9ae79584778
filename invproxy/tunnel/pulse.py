"""
Whether the peer of a tunnel is still there.
"""

from __future__ import annotations

from typing import Final

from invproxy.tunnel.pings import Pings

_LATE: Final = 0.5
"""Seconds by which a deadline may be noticed late, so that it is set by so much earlier."""


class Pulse:
    """
    The signs of life of a peer, and when to ask for one.

    @ivar timeout: seconds without one after which the peer is lost.
    @ivar heardAt: when something came from it last, in seconds on the clock.
    @ivar pings: what it is asked by.
    """

    def __init__(self, timeout: float, now: float, *, asksFirst: bool) -> None:
        """
        @param timeout: seconds without a sign of life after which the peer is lost.
        @param now: the present time in seconds.
        @param asksFirst: whether to ask before the peer does, so that in the rule only one of the two does.
        """
        self.timeout = timeout
        self.heardAt = self._began = now
        self._patience = timeout - _LATE
        self._quiet = timeout / 3 if asksFirst else timeout / 2
        self.pings = Pings()

    def begin(self, now: float) -> float:
        """
        Begin: the peer can be heard from now on.

        @return: when to look after it first.
        """
        self.heardAt = self._began = now
        return now + self._quiet

    def ask(self, now: float) -> bytes:
        """
        Ask for a sign of life.

        @return: the payload of a ping.
        """
        return self.pings.send(now)

    def answered(self, payload: bytes) -> float:
        """
        Take the payload of a pong, which has just been heard.

        @return: the round trip in seconds, as far as it is known, or 0.
        """
        self.pings.receive(payload, self.heardAt)
        return self.pings.roundTrip

    def isLost(self, now: float, *, isGreeted: bool) -> bool:
        """
        Say whether the peer was silent, or without a greeting, for too long.
        """
        patience = self._patience
        return now - self.heardAt >= patience or (not isGreeted and now >= self._began + patience)

    def isToAsk(self, now: float, *, isBusy: bool) -> bool:
        """
        Say whether it is time to ask.

        @param isBusy: whether to ask in any case, so that the round trip stays known.
        """
        quiet = self._quiet
        return now - self.heardAt >= quiet or (isBusy and now >= self.pings.sentAt + quiet)

    def nextLook(self) -> float:
        """
        Say when to look again, in seconds on the clock.
        """
        heardAt = self.heardAt
        return min(max(heardAt, self.pings.sentAt) + self._quiet, heardAt + self._patience)
