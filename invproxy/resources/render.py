"""
Hands requests of twisted.web to an origin, for trees that a stock site serves.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import (
    IAddress,
    IPushProducer,
)
from twisted.python.failure import Failure
from twisted.web import server
from zope.interface import implementer

from invproxy.errorpage import renderFault
from invproxy.errors import BAD_REQUEST, CLIENT_GONE, INTERNAL, Fault
from invproxy.http1.fields import items, join
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import DEFAULT_LIMITS, Limits
from invproxy.http1.parsing import parseRequest, requestLineFault
from invproxy.interfaces import IAnswer, IOrigin, IPeer, IUpload
from invproxy.losses import LossObservers
from invproxy.resources.origin import tooLarge

_PIECE = 65536
"""Bytes of a spooled body that are passed on at a time."""


@implementer(IPeer)
class _RequestPeer:
    """
    The connection of a L{server.Request}. twisted.web tells of its loss only while the request is not finished, so a
    loss between requests is never seen.
    """

    streams = False
    memory: object = None

    def __init__(self, request: server.Request) -> None:
        self.address: IAddress = request.getClientAddress()
        self.secure: bool = bool(request.isSecure())
        self._observers = LossObservers()

    def whenLost(self, callback: Callable[[], None]) -> Callable[[], None]:
        return self._observers.add(callback)

    def countAsAgent(self) -> None:
        pass  # a stock site counts nobody

    def certificate(self) -> None:
        return None  # a stock site does not say whether its endpoint verifies any

    def lost(self) -> None:
        """
        Tell all who asked.
        """
        self._observers.tell()


@implementer(IAnswer, IPushProducer)
class _RequestAnswer:
    """
    Writes an answer to a L{server.Request}, and feeds the body of that request to the upload.
    """

    _upload: IUpload | None = None
    _requestID = ""
    _open = True
    _begun = False
    _fed = False
    _feeding = False
    _uploadHeld = False
    _answerHeld = False
    _wasLost = False

    def __init__(self, request: server.Request) -> None:
        assert request.content is not None
        self._request = request
        self._content = request.content
        self._peer = _RequestPeer(request)
        request.notifyFinish().addBoth(self._over)

    @property
    def peer(self) -> IPeer:
        """
        The connection on which the request came.
        """
        return self._peer

    def start(self, origin: IOrigin, maxBody: int, limits: Limits) -> None:
        """
        Open the exchange.
        """
        content = self._content
        length = content.seek(0, 2)
        content.seek(0)
        try:
            if maxBody and length > maxBody:
                raise tooLarge(maxBody)
            head = _headOf(self._request, length, limits)
        except Fault as fault:
            self.fail(fault)
            return
        self._upload = origin.open(head, self)
        if self._wasLost:
            self._upload.abort(Fault(CLIENT_GONE))
        elif self._open:
            if self._answerHeld:
                self._upload.pauseAnswer()
            self._feed()

    def _feed(self) -> None:
        if self._feeding or self._upload is None:
            return
        self._feeding = True
        try:
            while self._open and not self._uploadHeld and not self._fed:
                piece = self._content.read(_PIECE)
                if piece:
                    self._upload.write(piece)
                else:
                    self._fed = True
                    self._upload.finish()
        finally:
            self._feeding = False

    def _over(self, reason: Failure | None) -> None:
        if self._open:  # the client left, or somebody else ended the request
            self._open = False
            self._wasLost = True
            if self._upload is not None:
                self._upload.abort(Fault(CLIENT_GONE))
        if reason is not None:
            self._peer.lost()

    # What the answerer calls.

    def identify(self, requestID: str, endUser: str = "") -> None:
        self._requestID = requestID

    def inform(self, head: ResponseHead) -> None:
        pass  # twisted.web has no way to send it

    def respond(self, head: ResponseHead) -> None:
        if not self._open or self._begun:
            return
        if head.status < 200:
            self.fail(Fault(INTERNAL, f"status {head.status}, where no upgrade was offered"))
            return
        self._begun = True
        request = self._request
        request.setResponseCode(head.status, head.reason[1:])
        headers = request.responseHeaders
        if headers.getRawHeaders(b"Server") == [server.version]:
            headers.removeHeader(b"Server")  # twisted.web is not the server that answers
        request.defaultContentType = None
        fields: dict[bytes, list[bytes]] = {}
        for name, value in items(head.fields):
            fields.setdefault(name.lower(), []).append(value)
        request.cookies.extend(fields.pop(b"set-cookie", []))  # beside those of outer resources
        for name, values in fields.items():
            headers.setRawHeaders(name, values)
        request.registerProducer(self, True)
        request.write(b"")

    def write(self, data: bytes) -> None:
        if self._open:
            self._request.write(data)

    def finish(self, trailers: bytes = b"") -> None:
        if self._open:
            self._open = False
            self._request.unregisterProducer()
            self._request.finish()

    def fail(self, fault: Fault) -> None:
        if not self._open:
            return
        request = self._request
        if not self._begun:
            accept = b",".join(request.requestHeaders.getRawHeaders(b"Accept", []))
            head, body = renderFault(
                fault, accept, self._requestID, method=request.method, extra=fault.fields
            )
            self.respond(head)
            self.write(body)
            self.finish()
            return
        self._open = False
        request.unregisterProducer()
        # The channel of HTTP/2 is one stream and aborts it; that of HTTP/1.1 leaves this to its transport.
        for connection in (request.channel, request.transport):
            abort = getattr(connection, "abortConnection", None)
            if abort is not None:
                abort()
                return
        request.loseConnection()

    def pauseUpload(self) -> None:
        self._uploadHeld = True

    def resumeUpload(self) -> None:
        self._uploadHeld = False
        self._feed()

    # What the transport calls.

    def pauseProducing(self) -> None:
        if not self._answerHeld:
            self._answerHeld = True
            if self._upload is not None and self._open:
                self._upload.pauseAnswer()

    def resumeProducing(self) -> None:
        if self._answerHeld:
            self._answerHeld = False
            if self._upload is not None and self._open:
                self._upload.resumeAnswer()

    def stopProducing(self) -> None:
        pass  # notifyFinish tells it as well


def _headOf(request: server.Request, length: int, limits: Limits) -> RequestHead:
    """
    Write the head of a request as it would have come, and let our own parser decide about it.

    @param length: bytes in its body, by count.
    @raise Fault: as L{parseRequest}.
    """
    version = b"HTTP/1.0" if request.clientproto == b"HTTP/1.0" else b"HTTP/1.1"
    line = b"%b %b %b" % (request.method, request.uri, version)
    fault = requestLineFault(line, limits)
    if fault is not None:
        raise fault
    pairs = []
    framed = length > 0
    for name, values in request.requestHeaders.getAllRawHeaders():
        if name.lower() in (b"content-length", b"transfer-encoding"):
            framed = True
        else:
            pairs += [(name, value) for value in values]
    if framed:
        pairs.append((b"Content-Length", b"%d" % length))
    try:
        block = join(pairs)
    except ValueError as error:
        raise Fault(BAD_REQUEST, str(error)) from None
    head = parseRequest(line + block + b"\r\n\r\n", limits)
    head.upgrade = None
    head.trailers = False
    return head.withoutExpect() if head.expectsContinue else head


def renderStream(
    origin: IOrigin, request: server.Request, *, maxBody: int = 0, limits: Limits = DEFAULT_LIMITS
) -> int:
    """
    Hand a request of twisted.web to an origin; to be called, and its result returned, by C{render}.

    The head is judged by the parser of our own server, the target goes on unchanged, and the body, which twisted.web
    has spooled, is fed as the origin wishes it. The answer is written as it comes, with back-pressure. Interim
    responses and trailers are dropped, and upgrades are not offered. A failure before the head of the answer is told
    by L{renderFault}; one after it cuts the connection.

    @param origin: what answers.
    @param request: a request on which nothing was written yet.
    @param maxBody: bytes that its body may have; 0 is any.
    @param limits: bounds on its head.
    @return: C{NOT_DONE_YET}.
    """
    _RequestAnswer(request).start(origin, maxBody, limits)
    return server.NOT_DONE_YET
