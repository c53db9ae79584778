"""
The transports of the streaming server and client: what is needed of them, and how their bytes go out.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Protocol

from twisted.internet import tcp
from twisted.internet.interfaces import (
    IAddress,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)

from invproxy.turn import Turn, connectionBelow


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


def isSecure(transport: StreamTransport) -> bool:
    """
    Say whether a connection is over TLS.
    """
    return bool(ISSLTransport.providedBy(transport))


_MOST_COLLECTED: Final = 65536
"""Bytes that an outlet collects in a turn; more is written at once, so that its producer hears if it is too much."""


_MOST_UNSENT: Final = 131072
"""Bytes of a connection that the kernel holds unsent: so it shows when a slow peer reads, and no more is under way."""


def _tune(transport: ITCPTransport) -> None:
    """
    Have the kernel send what it gets at once, and take no more than is soon sent. Where the peer has reset the
    connection already, some kernels refuse; the transport tells of the reset in its own time.
    """
    with suppress(OSError):
        transport.setTcpNoDelay(True)
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        with suppress(AttributeError, OSError):  # not a socket of the kernel's, or not of TCP
            transport.getHandle().setsockopt(socket.IPPROTO_TCP, option, _MOST_UNSENT)  # type: ignore[attr-defined]


_PROBES: Final = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
"""Half a minute until a peer that does not answer is lost; by themselves systems take two hours."""


def watchPeer(transport: object) -> None:
    """
    Have the kernel ask whether the other end of a connection is still there while nothing comes, as may be for as long
    as an origin takes to answer. Only between proxy and agent: it would wake up the telephones of visitors.

    @param transport: the connection's; if it is not one over TCP, nothing happens.
    """
    connection = connectionBelow(transport)
    if connection is None:
        return
    handle = connection.socket
    with suppress(OSError):  # not of TCP, or over already
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _PROBES:
            option = getattr(socket, name, None)
            if option is not None:
                handle.setsockopt(socket.IPPROTO_TCP, option, value)


class Outlet:
    """
    The outgoing side of a connection.

    While nothing waits in the transport's buffer, bytes are handed straight to the kernel, without the way through the
    reactor's writers: that halves what a small message costs. It leans on attributes of L{tcp.Connection} that are not
    public; a transport that is something else (TLS, another reactor's) is written to in the ordinary way.
    """

    __slots__ = ("_aborted", "_pieces", "_send", "_size", "_transport", "_turn")

    def __init__(self, transport: StreamTransport, turn: Turn) -> None:
        """
        @param transport: the connection's transport, which has just been connected.
        @param turn: what collects what is written.
        """
        self._transport: Any = transport
        self._turn = turn
        self._pieces: list[bytes] = []
        self._size = 0
        self._aborted = False
        self._send: Callable[[bytes], int] | None = None
        if isinstance(transport, tcp.Connection) and not isSecure(transport):
            self._send = transport.getHandle().send

    def begin(self, producer: IPushProducer) -> None:
        """
        Prepare the connection for what will be written.

        @param producer: what is told when more is written than the transport sends.
        """
        transport = self._transport
        self._turn.adopt(transport)
        if ITCPTransport.providedBy(transport):
            _tune(transport)
        transport.registerProducer(producer, True)

    def write(self, *pieces: bytes) -> None:
        """
        Write pieces of bytes, this turn.
        """
        if not self._pieces:
            self._turn.enlist(self)
        self._pieces += pieces
        for piece in pieces:
            self._size += len(piece)
        if self._size > _MOST_COLLECTED:
            self.flush()

    def flush(self) -> None:
        """
        Write what was collected.
        """
        if not self._pieces or self._aborted:
            return
        pieces, self._pieces = self._pieces, []
        self._size = 0
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        transport = self._transport
        if (
            self._send is not None
            and transport.connected
            and not transport.disconnecting
            and not transport.dataBuffer
            and not transport._tempDataBuffer
        ):
            try:
                sent = self._send(data)
            except OSError:
                pass  # the transport will find the same, and knows what to do
            else:
                if sent == len(data):
                    return
                data = data[sent:]
        transport.write(data)

    def isDrained(self) -> bool:
        """
        Say whether the kernel has all that was written.
        """
        transport: object = self._transport
        waiting = [getattr(transport, name, None) for name in ("dataBuffer", "_tempDataBuffer")]
        return not (self._pieces or any(waiting))

    def closeWriting(self) -> bool:
        """
        End this direction once everything is written.

        @return: whether the transport can do that; TLS cannot.
        """
        # Without a producer first: with one that is paused, the transport would never come to it.
        self._transport.unregisterProducer()
        self.flush()
        if isSecure(self._transport) or not hasattr(self._transport, "loseWriteConnection"):
            return False
        self._transport.loseWriteConnection()
        return True

    def close(self) -> None:
        """
        Close the connection once everything is written.
        """
        self._transport.unregisterProducer()
        self.flush()
        self._transport.loseConnection()

    def hangUp(self) -> None:
        """
        Wait no more for the other end to say that it is closing, too, as TLS does after L{close}; but all that was
        written still goes out.
        """
        connection = connectionBelow(self._transport)
        if connection is None:
            self.abort()
        else:
            connection.loseConnection()

    def abort(self) -> None:
        """
        Close the connection now. What the kernel takes at once still goes out, so that the peer sees how far we came.
        """
        self.flush()
        self._aborted = True
        self._pieces = []
        self._transport.unregisterProducer()
        self._transport.abortConnection()

    def drop(self) -> None:
        """
        Let go of all that was not sent: the connection is gone.

        Where a connection and those who use it refer to each other, as below TLS, what is left of it stays until the
        garbage collector comes. That counts objects, not bytes: a window of an answer in each of a few hundred is
        nothing to it.
        """
        self._pieces = []
        self._size = 0
        connection = connectionBelow(self._transport)
        if connection is not None:
            connection.dataBuffer = b""
            connection.offset = 0
            connection._tempDataBuffer = []
            connection._tempDataLen = 0
