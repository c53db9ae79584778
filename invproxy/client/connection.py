"""
One connection to a server, and its requests one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from invproxy.errors import ORIGIN_BAD_RESPONSE, Fault
from invproxy.http1.heads import ResponseHead
from invproxy.http1.readers import ResponseReader
from invproxy.transport import Outlet, StreamTransport

if TYPE_CHECKING:
    from invproxy.client.pool import StreamingClient
    from invproxy.client.stream import ClientStream


@implementer(IPushProducer, IHalfCloseableProtocol)
class ClientConnection(Protocol):
    """
    One connection to a server.

    @ivar send: writes pieces of bytes to the server.
    @ivar flush: has what was written go out now.
    @ivar writingPaused: whether the server takes less than is written.
    """

    transport: StreamTransport  # type: ignore[assignment]
    send: Callable[..., None]
    flush: Callable[[], None]
    writingPaused = False
    _reader: ResponseReader
    _stream: ClientStream | None = None
    _uses = 0
    _readingPaused = False
    _readingClosed = False
    _writingClosed = False
    _lost = False

    def __init__(self, client: StreamingClient) -> None:
        self._client = client

    def carry(self, stream: ClientStream) -> None:
        """
        Take a request, which the stream then writes.
        """
        self._stream = stream
        self._uses += 1
        if self._uses == 1:
            self._reader = ResponseReader(self._client.limits, stream.head, self)
        else:
            self._reader.begin(stream.head)

    def isRaw(self) -> bool:
        """
        Say whether the connection has left HTTP by an upgrade.
        """
        head = self._reader.head
        return head is not None and head.status == 101

    # What the transport calls.

    def connectionMade(self) -> None:
        self._outlet = Outlet(self.transport, self._client.turn)
        self._outlet.begin(self)
        self.send = self._outlet.write
        self.flush = self._outlet.flush
        self._client.connections.add(self)

    def dataReceived(self, data: bytes) -> None:
        if self._stream is None:
            self.abort()  # a server that speaks without being asked
            return
        try:
            self._reader.feed(data)
        except Fault as fault:
            self._break(fault.detail)

    def readConnectionLost(self) -> None:
        self._readingClosed = True
        if self._stream is None:
            self.close()
        elif not self._reader.eof():
            self._break("the connection ended before the response")

    def writeConnectionLost(self) -> None:
        pass  # as was asked for

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        self._outlet.drop()
        self._client.forget(self)
        if self._uses:
            self._endStream(reason)
            self._reader.drop()

    def _endStream(self, reason: Failure) -> None:
        stream = self._stream
        if stream is None:
            return
        if not reason.check(ConnectionDone):
            self._break("the connection broke before the end of the response")
        elif not self._reader.eof():
            self._break("the connection ended before the response")
        elif self._stream is not None:  # raw: no end of the other direction will be waited for
            self._release(stream)
            stream.answer.resumeUpload()

    def _break(self, detail: str) -> None:
        stream = self._stream
        self.abort()
        if stream is not None:
            stream.lost(
                Fault(ORIGIN_BAD_RESPONSE, detail),
                unanswered=self._uses > 1 and not self._reader.hasBegun(),
            )

    # What the reader finds. It may go on for a while after the asker has broken off.

    def inform(self, head: ResponseHead) -> None:
        if self._stream is not None:
            self._stream.answer.inform(head)

    def respond(self, head: ResponseHead) -> None:
        if self._stream is not None:
            self._stream.answer.respond(head)

    def write(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.answer.write(data)

    def finish(self, trailers: bytes = b"") -> None:
        stream, reader = self._stream, self._reader
        if stream is None or reader.head is None:
            return
        # The connection is let go of first, as the end of one answer may bring the next request.
        if reader.head.status != 101:
            self._release(stream)
            if not stream.isWhole():
                self.abort()  # the server wants no more of it
            elif self._mayBeKept(reader.head):
                if self._readingPaused:
                    self.resumeReading()
                self._client.keep(self)
            elif self._outlet.isDrained():
                self.close()
            else:
                self.abort()  # the server has answered, and does not read what is left
        elif self._writingClosed:
            self._release(stream)
            self.close()
        stream.answer.finish(trailers)

    def _mayBeKept(self, head: ResponseHead) -> bool:
        # A server might send the body that it announced although there must be none, and late at that: it would be
        # taken for the next answer.
        isDoubtful = head.framing == 0 and head.announcesBody
        return head.keepAlive and not (isDoubtful or self._reader.rest or self._readingClosed)

    def _release(self, stream: ClientStream) -> None:
        stream.ended = True
        self._stream = None

    # Closing.

    def closeWriting(self, stream: ClientStream) -> None:
        """
        End the direction towards the server of an upgraded connection.
        """
        self._writingClosed = True
        if self._readingClosed:
            self._release(stream)
            self.close()
        elif not self._outlet.closeWriting():
            self.close()

    def close(self) -> None:
        """
        Close once everything is written.
        """
        self._client.drop(self)
        if not self._lost:
            self._outlet.close()

    def abort(self) -> None:
        """
        Close now, and tell nobody.
        """
        self._client.drop(self)
        self._stream = None
        if not self._lost:
            self._outlet.abort()

    def pauseReading(self) -> None:
        """
        Hold back the response.
        """
        if not self._readingPaused and not self._lost:
            self._readingPaused = True
            self.transport.pauseProducing()

    def resumeReading(self) -> None:
        """
        Read on.
        """
        if self._readingPaused and not self._lost:
            self._readingPaused = False
            self.transport.resumeProducing()

    # As the producer of what the transport sends.

    def pauseProducing(self) -> None:
        self.writingPaused = True
        if self._stream is not None:
            self._stream.answer.pauseUpload()

    def resumeProducing(self) -> None:
        self.writingPaused = False
        if self._stream is not None:
            self._stream.answer.resumeUpload()

    def stopProducing(self) -> None:
        pass  # connectionLost says so, too
