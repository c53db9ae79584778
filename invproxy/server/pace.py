"""
The least pace at which a client must send what it has announced, and take what it has asked for.

Someone who sends a byte now and then breaks no other clock. Where that is not to be allowed, a L{Pacer} looks at each
connection twice a minute: at what the kernel says that it has received from the client, and had acknowledged by it. So
nothing that goes through costs more.
"""

from __future__ import annotations

import socket
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import tcp

from invproxy.errors import TOO_SLOW, Fault

if TYPE_CHECKING:
    from invproxy.server.channel import Channel

PERIOD: Final = 30.0
"""Seconds over which the pace is averaged."""

_SIZE: Final = 136
_counts: Final = Struct("=120xQQ").unpack_from


def canMeasure() -> bool:
    """
    Say whether the system tells how much a connection has carried: Linux does, for TCP.
    """
    return hasattr(socket, "TCP_INFO")


def carried(transport: object) -> tuple[int, int] | None:
    """
    Measure how much a connection has carried.

    @return: how many bytes the peer has acknowledged, and how many have come from it; L{None} where nobody knows.
    """
    layer: Any = transport
    while not isinstance(layer, tcp.Connection):
        layer = getattr(layer, "transport", None)
        if layer is None:
            return None
    try:
        told = layer.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except (OSError, AttributeError):
        return None  # not TCP, or not Linux
    if len(told) < _SIZE:
        return None
    acknowledged, received = _counts(told)
    return int(acknowledged), int(received)


class Pacer:
    """
    Watches one connection; see L{Watched<invproxy.deadlines.Watched>}.
    """

    __slots__ = ("_channel", "_holds", "_least", "_since", "askedAt")

    def __init__(self, channel: Channel, least: float) -> None:
        """
        @param channel: the connection, which has just been made.
        @param least: the pace, in bytes a second.
        """
        self.askedAt = 0.0
        self._channel = channel
        self._least = least * PERIOD
        self._holds = -1
        self._since: tuple[int, int] = (0, 0)
        channel.site.deadlines.watch(self, channel.site.clock.seconds() + PERIOD)

    def checkDeadline(self, now: float) -> float:
        channel = self._channel
        if channel.isAgent:
            return 0.0
        awaited, behind = channel.isAwaited(), channel.isBehind
        if not (awaited or behind):
            self._holds = -1
            return now + PERIOD
        counts = carried(channel.transport)
        if counts is None:
            return 0.0
        before, self._since = self._since, counts
        holds, self._holds = self._holds, channel.holds
        if holds == channel.holds:  # nothing has been up to us since we looked
            if awaited and counts[1] - before[1] < self._least:
                channel.refuse(Fault(TOO_SLOW, "the request body comes too slowly (--min-pace)"))
                return 0.0
            if behind and counts[0] - before[0] < self._least:
                channel.giveUp(TOO_SLOW)
                return 0.0
        return now + PERIOD
