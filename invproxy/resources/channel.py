"""
The twisted.web side of an exchange: a request of a Resource, and what it takes for its connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, cast
from urllib.parse import unquote_to_bytes

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IProducer,
    IPullProducer,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import parse_qs
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from zope.interface import implementer

from invproxy.errors import BAD_REQUEST, INTERNAL, Fault
from invproxy.http1.fields import items, join
from invproxy.http1.framing import CHUNKED, UNTIL_CLOSE
from invproxy.http1.heads import RequestHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.parsing import parseResponse
from invproxy.interfaces import IAnswer

_log = Logger(namespace="invproxy.resources")

IN_MEMORY = 100 * 1024
"""Bytes of a request body that are kept in memory; a larger one goes to a temporary file, as in twisted.web."""


class ResourceSite(server.Site):
    """
    What a L{server.Request} asks its site for: the tree, sessions, settings. It serves no connection and logs nothing.
    """

    def getContentFile(self, length: int | None) -> IO[bytes]:
        """
        Make the file for a body; L{server.Request.gotLength} calls this.
        """
        if length is not None and length <= IN_MEMORY:
            return BytesIO()
        return cast("IO[bytes]", SpooledTemporaryFile(max_size=IN_MEMORY))

    def getResourceFor(self, request: server.Request) -> IResource:
        """
        Find the Resource at the head of a request, and give the same one when the request is processed.
        """
        assert isinstance(request, ResourceRequest)
        if request.found is None:
            request.found = super().getResourceFor(request)
            request.way = (request.prepath, request.postpath)
        else:
            request.prepath, request.postpath = request.way
        return request.found


class ResourceRequest(server.Request):
    """
    A request on a L{ResourceChannel}. Once it was lost, whatever a Resource still calls is harmless.

    @ivar found: the Resource that will render it.
    @ivar way: C{prepath} and C{postpath} as they were when it was found.
    """

    found: IResource | None = None
    way: tuple[list[bytes] | None, list[bytes] | None] = (None, None)
    _path = b""

    def locate(self, head: RequestHead) -> IResource | None:
        """
        Fill in what the head says, and walk the tree.

        @return: the Resource; L{None} for C{*}, or if the walk failed and was answered with 500.
        """
        self.method = head.method
        self.uri = head.target
        self.clientproto = b"HTTP/1.%d" % head.minor
        self.path, _, query = head.target.partition(b"?")
        self.args = parse_qs(query, keep_blank_values=True)
        headers = self.requestHeaders
        for name, value in items(head.fields):
            headers.addRawHeader(name, value)
        self.parseCookies()
        if self.path == b"*":
            return None
        self.prepath = []
        self.postpath = [unquote_to_bytes(segment) for segment in self.path[1:].split(b"/")]
        assert self.site is not None
        try:
            return self.site.getResourceFor(self)  # type: ignore[no-any-return]
        except Exception:
            self.processingFailed(Failure())
            return None

    def process(self) -> None:
        # A Resource on the way may have rewritten it, and requestReceived has set it again.
        self.path = self._path
        super().process()

    def received(self) -> None:
        """
        Render the request: its body is whole.
        """
        self._path = self.path
        try:
            self.requestReceived(self.method, self.uri, self.clientproto)
        except Exception:
            self.processingFailed(Failure())

    def processingFailed(self, reason: Failure) -> Failure:
        if not self.startedWriting:
            return super().processingFailed(reason)  # type: ignore[no-any-return]
        # twisted.web would write its error page behind what was written, and end it as if it were whole.
        _log.failure("{request} failed half-way", failure=reason, request=self)
        if not self.finished:
            self.channel.fail(Fault(INTERNAL, "it raised an exception"))  # type: ignore[attr-defined]
        return reason

    def connectionLost(self, reason: Failure) -> None:
        channel = self.channel
        super().connectionLost(reason)
        self.channel = channel  # None would make most calls raise

    def finish(self) -> None:
        if not self._disconnected:
            super().finish()

    def _cleanup(self) -> None:
        if not self._disconnected:
            super()._cleanup()


@implementer(IPushProducer)
class _Pull:
    """
    Drives a pull producer: one piece in each turn of the reactor, but for pauses.
    """

    def __init__(
        self, producer: IPullProducer, channel: ResourceChannel, clock: IReactorTime
    ) -> None:
        self._producer = producer
        self._channel = channel
        self._clock = clock
        self._call: IDelayedCall | None = None

    def resumeProducing(self) -> None:
        if self._call is None:
            self._call = self._clock.callLater(0, self._pull)

    def _pull(self) -> None:
        self._call = None
        self._channel.tell(self._producer.resumeProducing)
        if self._channel.wantsMoreOf(self):
            self.resumeProducing()

    def pauseProducing(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def stopProducing(self) -> None:
        self.pauseProducing()
        self._producer.stopProducing()


@implementer(ITransport, IConsumer)
class ResourceChannel:
    """
    What a L{server.Request} takes for its HTTPChannel, and for that channel's transport.

    @ivar site: where the request finds the tree and the sessions.
    @ivar request: the request.
    @ivar isOpen: whether the exchange goes on.
    """

    def __init__(
        self, site: ResourceSite, head: RequestHead, answer: IAnswer, clock: IReactorTime
    ) -> None:
        self.site = site
        self.isOpen = True
        self._head = head
        self._answer = answer
        self._clock = clock
        self._begun = False
        self._bodyless = False
        self._left: int | None = None
        self._held = False
        self._producer: IPushProducer | None = None
        self._pulling = False
        self.request = ResourceRequest(self)
        self.request.site = site

    @property
    def transport(self) -> ResourceChannel:
        """
        What a Resource may ask for addresses, or close.
        """
        return self

    # What the upload calls.

    def hold(self, held: bool) -> None:
        """
        Pause or resume the response body.
        """
        if held != self._held and self.isOpen:
            self._held = held
            producer = self._producer
            if producer is not None:
                self.tell(producer.pauseProducing if held else producer.resumeProducing)

    def fail(self, fault: Fault) -> None:
        """
        Break the exchange off, and tell both sides.
        """
        if self.isOpen:
            if fault.code is INTERNAL:
                _log.error("{request}: {detail}", request=self.request, detail=fault.detail)
            self.isOpen = False
            self._answer.fail(fault)
            self._lose(fault)

    def lost(self, fault: Fault) -> None:
        """
        Take note that the asker wants no answer any more.
        """
        if self.isOpen:
            self.isOpen = False
            self._lose(fault)

    def _lose(self, fault: Fault) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            self.tell(producer.stopProducing)
        self.request.connectionLost(Failure(ConnectionLost(str(fault))))

    def tell(self, call: Callable[[], None]) -> None:
        """
        Call a producer, which is a Resource's own code: what it raises ends this exchange and nothing else.
        """
        try:
            call()
        except Exception:
            _log.failure("while calling a producer of {request}", request=self.request)
            self.fail(Fault(INTERNAL, "its producer raised an exception"))

    def wantsMoreOf(self, producer: IPushProducer) -> bool:
        """
        Say whether a producer is still the registered one, and not paused.
        """
        return self._producer is producer and not self._held

    # What the request calls.

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """
        Begin the answer. What the Resource says is believed as little as what a server sends: the same parser reads it.
        """
        if not self.isOpen:
            return
        self.request.chunked = 0  # the asker frames the body, not the request
        pairs = [(name, value) for name, values in headers.getAllRawHeaders() for value in values]
        try:
            line = b"HTTP/1.1 %b %b" % (code, b" ".join(reason.splitlines()))
            encoded = line + join(pairs) + b"\r\n\r\n"
            head = parseResponse(encoded, DEFAULT_LIMITS, self._head.method)
        except (Fault, ValueError) as error:
            self.fail(Fault(INTERNAL, f"its response is not valid HTTP: {error}"))
            return
        if head.status < 200:
            self.fail(Fault(INTERNAL, "its response has an interim status"))
            return
        if head.framing == UNTIL_CLOSE:
            # This is how twisted.web answers HTTP/1.0; between us an end is always told.
            head.framing = CHUNKED
            head.keepAlive = True
        self._begun = True
        self._bodyless = self._head.method == b"HEAD" or head.status in (204, 304)
        if head.framing >= 0:
            self._left = head.framing
        self._answer.respond(head)

    def write(self, data: bytes) -> None:
        """
        Send a piece of the body. More bytes than C{Content-Length} says are not sent: the exchange fails, though a
        client that got all it had been promised before cannot tell.
        """
        if not self.isOpen or self._bodyless or not data:
            return
        if not self._begun:
            self.fail(Fault(INTERNAL, "it wrote to its transport"))
            return
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self.fail(Fault(INTERNAL, "its body is longer than its Content-Length"))
                return
        self._answer.write(bytes(data))

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def requestDone(self, request: server.Request) -> None:
        """
        End the answer.
        """
        if self.isOpen:
            if self._left:
                self.fail(Fault(INTERNAL, "its body is shorter than its Content-Length"))
            else:
                self.isOpen = False
                self._answer.finish()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if not self.isOpen:
            producer.stopProducing()
            return
        self._pulling = not streaming
        if streaming:
            self._producer = cast(IPushProducer, producer)
            if self._held:
                self.tell(self._producer.pauseProducing)
        else:
            self._producer = _Pull(cast(IPullProducer, producer), self, self._clock)
            if not self._held:
                self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None and self._pulling:
            producer.pauseProducing()

    def loseConnection(self) -> None:
        self.fail(Fault(INTERNAL, "it closed its connection"))

    abortConnection = loseConnection

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.fail(Fault(BAD_REQUEST, "a malformed multipart body"))

    def isSecure(self) -> bool:
        return self._answer.peer.secure

    def getPeer(self) -> IAddress:
        return self._answer.peer.address

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        Where the client takes itself to be connected, by the Host of the request, so that the URLs which a Resource
        builds are the client's. There is no socket that could have another address.
        """
        host, colon, port = (self._head.host or b"").rpartition(b":")
        if not colon or b"]" in port:
            host, port = host + colon + port, b""
        number = int(port) if port else (443 if self.isSecure() else 80)
        if host.startswith(b"["):
            return IPv6Address("TCP", host.strip(b"[]").decode("ascii"), number)
        return IPv4Address("TCP", host.decode("ascii") or "localhost", number)
