"""
A client for tests that sends and receives plain bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IHalfCloseableProtocol,
    ITCPTransport,
)
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from invproxy.testing.sockets import Link

if TYPE_CHECKING:
    from invproxy.testing.network import MemoryNetwork


@implementer(IHalfCloseableProtocol)
class MemoryClient(Protocol):
    """
    A raw connection to something on a L{MemoryNetwork}; made by L{MemoryNetwork.client}.

    Its methods only ask: what they ask for happens when the network is pumped. They may be called before the
    connection is made.

    @ivar received: what has come, in one piece.
    @ivar ended: whether the other end has sent all that it will.
    @ivar closed: why the connection is gone or was not made, or L{None}.
    """

    transport: ITCPTransport | None = None

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self.received = bytearray()
        self.ended = False
        self.closed: Failure | None = None
        self._waiting = bytearray()
        self._reading = True
        self._closing: str | None = None

    @property
    def link(self) -> Link:
        """
        The connection itself; only once it is made.
        """
        return self._network.linkOf(self)

    def send(self, data: bytes) -> None:
        """
        Write bytes.
        """
        if self.transport is None:
            self._waiting += data
        else:
            self.transport.write(data)

    def take(self) -> bytes:
        """
        Get what has come, and forget it.
        """
        data = bytes(self.received)
        self.received.clear()
        return data

    def stopReading(self) -> None:
        """
        Take nothing more, so that it dams up at the sender.
        """
        self._reading = False
        if self.transport is not None:
            self.transport.pauseProducing()  # type: ignore[attr-defined]

    def startReading(self) -> None:
        """
        Take what comes again.
        """
        self._reading = True
        if self.transport is not None:
            self.transport.resumeProducing()  # type: ignore[attr-defined]

    def closeWrite(self) -> None:
        """
        End this direction once all is sent; the other one stays open.
        """
        self._close("loseWriteConnection")

    def close(self) -> None:
        """
        Close the connection once all is sent.
        """
        self._close("loseConnection")

    def abort(self) -> None:
        """
        Reset the connection; what is in flight is lost.
        """
        self._close("abortConnection")

    def _close(self, method: str) -> None:
        if self.transport is None:
            self._closing = method
        else:
            getattr(self.transport, method)()

    # What the transport calls.

    def connectionMade(self) -> None:
        assert self.transport is not None
        if not self._reading:
            self.stopReading()
        self.transport.write(bytes(self._waiting))
        self._waiting.clear()
        if self._closing is not None:
            self._close(self._closing)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.ended = True

    def writeConnectionLost(self) -> None:
        """
        This direction was closed, as L{closeWrite} asked.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = reason


class MemoryClientFactory(ClientFactory):
    """
    Makes one L{MemoryClient}.
    """

    noisy = False

    def __init__(self, client: MemoryClient) -> None:
        self._client = client

    def buildProtocol(self, addr: IAddress | None) -> MemoryClient:
        return self._client

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._client.closed = reason
