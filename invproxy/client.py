"""
The streaming HTTP client: the server behind one endpoint, with a pool of kept connections.

A request's body is written as it comes and its answer passed on as it comes, both with back-pressure; nothing is
followed, decoded or rewritten. One request is on a connection at a time.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from invproxy.errors import INTERNAL, ORIGIN_BAD_RESPONSE, ORIGIN_REFUSED, Fault
from invproxy.http1.framing import CHUNKED, lastChunk
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import DEFAULT_LIMITS, Limits
from invproxy.http1.readers import ResponseReader
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.transport import Outlet, StreamTransport
from invproxy.turn import turnOf

_MOST_EARLY = 65536
"""Bytes of a request body that are taken while its connection does not stand yet."""


@implementer(IUpload)
class ClientStream:
    """
    One request on its way to a server, and its answer.

    @ivar head: the head of the request.
    @ivar answer: what is told of the response.
    @ivar ended: whether nothing more is passed on.
    """

    __slots__ = (
        "_client",
        "_connecting",
        "_connection",
        "_early",
        "_earlySize",
        "_left",
        "_paused",
        "_retried",
        "_whole",
        "answer",
        "ended",
        "head",
    )

    def __init__(self, client: StreamingClient, head: RequestHead, answer: IAnswer) -> None:
        self._client = client
        self.head = head
        self.answer = answer
        self.ended = False
        self._connection: ClientConnection | None = None
        self._connecting: Deferred[IProtocol] | None = None
        self._early: list[bytes] = []
        self._earlySize = 0
        self._left = head.framing
        self._paused = False
        self._retried = False
        self._whole = False

    # The upload.

    def write(self, data: bytes) -> None:
        if self.ended or not data:
            return
        size = len(data)
        if self.head.framing == CHUNKED:
            self._send(b"%x\r\n" % size, data, b"\r\n")
        elif self.head.upgrade is not None:
            self._send(data)
        elif size <= self._left:
            self._left -= size
            self._send(data)
        else:
            self._giveUp(Fault(INTERNAL, "a request body longer than its Content-Length"))

    def finish(self, trailers: bytes = b"") -> None:
        if self.ended:
            return
        if self._whole:
            if self._connection is not None and self._connection.isRaw():
                self._connection.closeWriting(self)
        elif self._left > 0:
            self._giveUp(Fault(INTERNAL, "a request body shorter than its Content-Length"))
        else:
            self._whole = True
            if self.head.framing == CHUNKED:
                self._send(lastChunk(trailers))

    def _send(self, *pieces: bytes) -> None:
        if self._connection is not None:
            self._connection.send(*pieces)
            return
        self._early += pieces
        self._earlySize += sum(map(len, pieces))
        if self._earlySize >= _MOST_EARLY:
            self.answer.pauseUpload()

    def abort(self, fault: Fault) -> None:
        if self.ended:
            return
        self.ended = True
        if self._connecting is not None:
            self._connecting.cancel()
        elif self._connection is not None:
            self._connection.abort()

    def pauseAnswer(self) -> None:
        self._paused = True
        if self._connection is not None and not self.ended:
            self._connection.pauseReading()

    def resumeAnswer(self) -> None:
        self._paused = False
        if self._connection is not None and not self.ended:
            self._connection.resumeReading()

    # The connection.

    def begin(self) -> None:
        """
        Find a connection and send the request.
        """
        kept = None if self._retried else self._client.takeKept()
        if kept is not None:
            self._use(kept)
        else:
            self._connecting = self._client.connect()
            self._connecting.addCallbacks(self._connected, self._refused)

    def _connected(self, protocol: IProtocol) -> None:
        self._connecting = None
        assert isinstance(protocol, ClientConnection)
        if self.ended:
            protocol.abort()
        else:
            self._use(protocol)

    def _refused(self, failure: Failure) -> None:
        self._connecting = None
        if not self.ended:
            self.ended = True
            self.answer.fail(Fault(ORIGIN_REFUSED, failure.getErrorMessage()))

    def _use(self, connection: ClientConnection) -> None:
        self._connection = connection
        connection.carry(self)
        early, self._early = self._early, []
        connection.send(self.head.encode(), *early)
        if self._left == 0 and self.head.upgrade is None:
            connection.flush()  # it is whole: nothing will be joined to it
        if self._paused:
            connection.pauseReading()
        if self._earlySize >= _MOST_EARLY and not connection.writingPaused:
            self.answer.resumeUpload()

    def isWhole(self) -> bool:
        """
        Say whether the request has been sent to its end.
        """
        return self._whole or self._left == 0

    def lost(self, fault: Fault, *, unanswered: bool) -> None:
        """
        The connection broke before the end of the response.

        @param fault: what to tell the asker, unless the request may be sent once more.
        @param unanswered: whether the connection was a kept one and not a byte of a response came: then the server
            most likely closed it for being idle, and a request that may be repeated is, on a new connection.
        """
        self._connection = None
        if self.ended:
            return
        if unanswered and not self._retried and self.head.isReplayable():
            self._retried = True
            self.begin()
        else:
            self.ended = True
            self.answer.fail(fault)

    def _giveUp(self, fault: Fault) -> None:
        self.abort(fault)
        self.answer.fail(fault)


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
        self._reader = ResponseReader(self._client.limits, stream.head, self)

    def isRaw(self) -> bool:
        """
        Say whether the connection has left HTTP by an upgrade.
        """
        head = self._reader.head
        return head is not None and head.status == 101

    # What the transport calls.

    def connectionMade(self) -> None:
        self._outlet = Outlet(self.transport, self, self._client.turn)
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
        self._client.forget(self)
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


@implementer(IOrigin)
class StreamingClient:
    """
    The server behind an endpoint, as an L{IOrigin}.

    @ivar connections: all that stand.
    @ivar limits: the bounds on responses.
    """

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        *,
        limits: Limits = DEFAULT_LIMITS,
        keepTime: float = 1.5,
        maxKept: int = 256,
    ) -> None:
        """
        @param clock: what tells the time.
        @param endpoint: where the server is; bounds the time of a connection attempt.
        @param limits: the bounds on responses.
        @param keepTime: seconds for which an idle connection is kept. Servers commonly close theirs after 2 to 5, and
            a request that meets such a close may not be sent again unless it is idempotent.
        @param maxKept: how many idle connections are kept.
        """
        self.limits = limits
        self.turn = turnOf(clock)
        self.connections: set[ClientConnection] = set()
        self._clock = clock
        self._endpoint = endpoint
        self._keepTime = keepTime
        self._maxKept = maxKept
        self._kept: dict[ClientConnection, float] = {}  # until when, the longest idle first
        self._sweeping: IDelayedCall | None = None
        self._factory = Factory.forProtocol(lambda: ClientConnection(self))
        self._factory.noisy = False

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        stream = ClientStream(self, head, answer)
        stream.begin()
        return stream

    def connect(self) -> Deferred[IProtocol]:
        """
        Make a new connection.

        @return: fires with a L{ClientConnection}.
        """
        return self._endpoint.connect(self._factory)

    def keep(self, connection: ClientConnection) -> None:
        """
        Take back a connection that can carry another request.
        """
        self._kept[connection] = self._clock.seconds() + self._keepTime
        if len(self._kept) > self._maxKept:
            next(iter(self._kept)).close()
        if self._sweeping is None:
            self._sweeping = self._clock.callLater(self._keepTime, self._sweep)

    def takeKept(self) -> ClientConnection | None:
        """
        Give out the connection that was in use last, as it is the most likely to stand still.
        """
        now = self._clock.seconds()
        while self._kept:
            connection, until = self._kept.popitem()
            if now < until:
                return connection
            connection.close()
        return None

    def drop(self, connection: ClientConnection) -> None:
        """
        Take note that a connection can carry no other request.
        """
        self._kept.pop(connection, None)

    def forget(self, connection: ClientConnection) -> None:
        """
        Take note that a connection is gone.
        """
        self.connections.discard(connection)
        self.drop(connection)

    def _sweep(self) -> None:
        self._sweeping = None
        now = self._clock.seconds()
        for connection, until in list(self._kept.items()):
            if now < until:
                self._sweeping = self._clock.callLater(until - now, self._sweep)
                break
            connection.close()

    def close(self) -> None:
        """
        Close all connections, those in use as well: break off what is asked on them before that.
        """
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connection in list(self.connections):
            connection.abort()
