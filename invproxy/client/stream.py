"""
One request on its way to a server, and its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IProtocol,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from invproxy.client.connection import ClientConnection
from invproxy.errors import INTERNAL, ORIGIN_REFUSED, Fault
from invproxy.http1.framing import CHUNKED, lastChunk
from invproxy.http1.heads import RequestHead
from invproxy.interfaces import IAnswer, IUpload

if TYPE_CHECKING:
    from invproxy.client.pool import StreamingClient

_MOST_EARLY: Final = 65536
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
