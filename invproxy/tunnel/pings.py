"""
The pings of a tunnel, and what their answers tell of the way.
"""

from __future__ import annotations

from collections import deque

_COUNT = 4
"""Pings of which the fastest answer counts as the round trip."""


class Pings:
    """
    Those that are under way, and how long the latest took.

    @ivar sentAt: when the latest was sent, in seconds, or 0.
    @ivar roundTrip: the shortest time in seconds in which one of the latest was answered, or 0 before the first.
    @ivar sent: how many were sent.
    @ivar answered: how many of them the peer has read for certain: up to the latest that was answered.
    """

    __slots__ = ("_roundTrips", "_waiting", "answered", "roundTrip", "sent", "sentAt")

    def __init__(self) -> None:
        self.sentAt = 0.0
        self.roundTrip = 0.0
        self.sent = 0
        self.answered = 0
        self._roundTrips: deque[float] = deque(maxlen=_COUNT)
        self._waiting: dict[bytes, float] = {}

    def send(self, now: float) -> bytes:
        """
        Note a ping.

        @param now: the present time in seconds.
        @return: its payload.
        """
        if len(self._waiting) > _COUNT:
            self._waiting.clear()
        self.sent += 1
        payload = b"%d" % self.sent
        self._waiting[payload] = self.sentAt = now
        return payload

    def receive(self, payload: bytes, now: float) -> None:
        """
        Note a pong; one that answers nothing tells nothing.

        @param payload: that of the ping which it answers.
        """
        sentAt = self._waiting.pop(payload, None)
        if sentAt is not None:
            self.answered = max(self.answered, int(payload))
            self._roundTrips.append(now - sentAt)
            self.roundTrip = min(self._roundTrips)
