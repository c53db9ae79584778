"""
What the connections of the streaming server and client need of their transports.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from twisted.internet.interfaces import IAddress, IPushProducer, ISSLTransport, ITCPTransport


class StreamTransport(Protocol):
    """
    A stream transport of Twisted, over TCP, TLS or a UNIX socket.
    """

    def write(self, data: bytes) -> None: ...

    def writeSequence(self, data: Iterable[bytes]) -> None: ...

    def loseConnection(self) -> None: ...

    def abortConnection(self) -> None: ...

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def getPeer(self) -> IAddress: ...


def begin(transport: StreamTransport, producer: IPushProducer) -> None:
    """
    Set up a new connection: what is written goes out at once, and the producer hears when it is too much.
    """
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
    transport.registerProducer(producer, True)


def isSecure(transport: StreamTransport) -> bool:
    """
    Say whether a connection is over TLS.
    """
    return bool(ISSLTransport.providedBy(transport))


def closeWriting(transport: StreamTransport) -> bool:
    """
    End the direction away from us.

    @return: whether the transport can do that; TLS cannot.
    """
    if isSecure(transport) or not hasattr(transport, "loseWriteConnection"):
        return False
    transport.loseWriteConnection()
    return True
