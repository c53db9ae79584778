"""
Who may be connected: bounds on the clients of a site, on those from one address, and on all connections of the process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper

from invproxy.auth.throttle import keyOf
from invproxy.errors import OUT_OF_DESCRIPTORS, TOO_MANY_CONNECTIONS
from invproxy.refusals import Refusals
from invproxy.tables import Table

_SURPLUS: Final = 64
"""Connections beyond the bound that still get to hear why they are refused; the rest is closed at once."""

_SURPLUS_OF_ONE: Final = 8
"""The same of those from one address."""


class TurnedAway(Protocol):
    """
    What is made of a connection that is closed before anything else. It takes a protocol to do that: what wraps a
    factory, for TLS or for the PROXY protocol, would wrap none at all as well, and keep the connection for ever.
    """

    def makeConnection(self, transport: Any) -> None:
        transport.abortConnection()  # TLS would first wait for a handshake


class Room:
    """
    How many connections a process can have, whoever they are from, as each takes a file descriptor.

    @ivar most: how many; 0 is any number.
    @ivar taken: how many there are.
    """

    def __init__(self, most: int = 0) -> None:
        """
        @param most: how many; 0 is any number.
        """
        self.most = most
        self.taken = 0

    def tables(self) -> list[Table]:
        """
        Tell how many there are.
        """
        return [Table("sockets", self.taken, self.most or None)]

    def isFull(self) -> bool:
        """
        Say whether there is room for no other one.
        """
        return 0 < self.most <= self.taken


def _nobody(host: str) -> bool:
    return False


class Crowd:
    """
    The clients of one site.

    @ivar count: how many they are.
    """

    def __init__(
        self,
        refusals: Refusals,
        most: int,
        *,
        mostOfOne: int = 0,
        isShared: Callable[[str], bool] = _nobody,
        room: Room | None = None,
    ) -> None:
        """
        @param refusals: what is told of those that are refused.
        @param most: how many there may be.
        @param mostOfOne: how many of them may come from one IPv4 address, or one IPv6 network of 64 bits; 0 is any
            number.
        @param isShared: tells the addresses of which any number may come, as others come through them.
        @param room: how many connections of any kind there may be.
        """
        self.count = 0
        self.refusals = refusals
        self._most = most
        self._mostOfOne = mostOfOne
        self._isShared = isShared
        self._room = room or Room()
        self._of: dict[str, int] = {}

    def turnsAway(self, address: IAddress | None) -> bool:
        """
        Say whether a connection is to be closed before anything else.

        @param address: where it comes from.
        """
        if self._room.isFull():
            self.refusals.refuse(
                OUT_OF_DESCRIPTORS,
                f"{self._room.most} connections are all that this process has file descriptors for",
            )
            return True
        key = self._keyOf(address)
        count = self._of.get(key, 0)
        if self.count >= self._most + _SURPLUS or (
            self._mostOfOne and count >= self._mostOfOne + _SURPLUS_OF_ONE
        ):
            self.refusals.refuse(TOO_MANY_CONNECTIONS, self._why(key, count))
            return True
        return False

    def enter(self, transport: object) -> tuple[str, str]:
        """
        Count a connection, until L{leave}.

        @param transport: that of the connection.
        @return: for which address it is counted, and why there is no room for it, or C{""} if there is.
        """
        self._room.taken += 1
        self.count += 1
        key = "" if _isRelayed(transport) else self._keyOf(transport.getPeer())  # type: ignore[attr-defined]
        count = 1
        if key:
            self._of[key] = count = self._of.get(key, 0) + 1
        if self.count <= self._most and not 0 < self._mostOfOne < count:
            return key, ""
        why = self._why(key, count)
        self.refusals.tell(TOO_MANY_CONNECTIONS, why)
        return key, why

    def leave(self, key: str) -> None:
        """
        Count a connection no more as a client, as it is gone, or an agent's.

        @param key: for which address it was counted.
        """
        self.count -= 1
        if key:
            self._of[key] -= 1
            if not self._of[key]:
                del self._of[key]

    def tables(self, name: str) -> list[Table]:
        """
        Tell how many there are, in all and from the address with most of them.

        @param name: what the first of these tables is called.
        """
        most = max(self._of.values(), default=0)
        return [
            Table(name, self.count, self._most),
            Table(f"{name}_of_address", most, self._mostOfOne or None),
        ]

    def makeRoom(self) -> None:
        """
        Take note that a connection is gone, whoever it was from.
        """
        self._room.taken -= 1

    def _keyOf(self, address: IAddress | None) -> str:
        host: str | None = getattr(address, "host", None)
        if host is None or not self._mostOfOne or self._isShared(host):
            return ""
        return keyOf(host)

    def _why(self, key: str, count: int) -> str:
        if self._mostOfOne and count > self._mostOfOne:
            return f"{self._mostOfOne} clients from {key} are connected (--max-connections-per-address)"
        return f"{self._most} clients are connected (--max-connections)"


def _isRelayed(transport: object) -> bool:
    """
    Say whether a connection comes through a load balancer that speaks the PROXY protocol: who is behind it is not known
    yet.
    """
    layer: object = transport
    while layer is not None and not isinstance(layer, tcp.Connection):
        if isinstance(layer, HAProxyProtocolWrapper):
            return True
        layer = getattr(layer, "transport", None)
    return False
