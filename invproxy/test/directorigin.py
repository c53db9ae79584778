"""
An origin that is its own backend, and what that takes down.
"""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import Request
from zope.interface import implementer

from invproxy.errors import ORIGIN_BAD_RESPONSE, Fault
from invproxy.http1.fields import items, join
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.parsing import parseResponse
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.resources import renderStream
from invproxy.test.helpers import RecordingAnswer
from invproxy.test.origincontract import Fields


@implementer(IUpload)
class DirectUpload:
    """
    The upload of a L{DirectOrigin}: takes down what comes.
    """

    def __init__(self, answer: IAnswer) -> None:
        self.answer = answer
        self.body = b""
        self.trailers: bytes | None = None
        self.held = False
        self.gone = False

    def write(self, data: bytes) -> None:
        self.body += data

    def finish(self, trailers: bytes = b"") -> None:
        self.trailers = trailers

    def abort(self, fault: Fault) -> None:
        self.gone = True

    def pauseAnswer(self) -> None:
        self.held = True

    def resumeAnswer(self) -> None:
        self.held = False


class UploadArrival:
    """
    What came of a request, as its upload took it down: the half of a
    L{StreamingArrival<invproxy.test.origincontract.StreamingArrival>} that looks.
    """

    def __init__(self, head: RequestHead, upload: DirectUpload) -> None:
        self._head = head
        self._upload = upload
        self.method = head.method
        self.target = head.target

    def fields(self) -> Fields:
        return items(self._head.fields)

    def body(self) -> bytes:
        return self._upload.body

    def ended(self) -> bool:
        return self._upload.trailers is not None

    def trailers(self) -> bytes:
        return self._upload.trailers or b""


class DirectArrival(UploadArrival):
    """
    A L{StreamingArrival<invproxy.test.origincontract.StreamingArrival>} with nothing between.
    """

    @property
    def _answer(self) -> IAnswer:
        return RecordingAnswer() if self._upload.gone else self._upload.answer

    def gone(self) -> bool:
        return self._upload.gone

    def held(self) -> bool:
        return self._upload.held

    def inform(self, status: int, fields: Fields = ()) -> None:
        self._answer.inform(ResponseHead(status, b" Wait", join(fields)))

    def respond(self, status: int, reason: bytes = b"OK", fields: Fields = ()) -> None:
        coding = b"" if fields else b"\r\nTransfer-Encoding: chunked"
        data = b"HTTP/1.1 %d %b%b%b\r\n\r\n" % (status, reason, join(fields), coding)
        self._answer.respond(parseResponse(data, DEFAULT_LIMITS, self.method))

    def write(self, data: bytes) -> None:
        if not self._upload.gone:
            self._answer.write(data)

    def finish(self) -> None:
        self.finishWith(b"")

    def finishWith(self, trailers: bytes) -> None:
        if not self._upload.gone:
            self._answer.finish(trailers)

    def cut(self) -> None:
        self._answer.fail(Fault(ORIGIN_BAD_RESPONSE))

    def holdUpload(self, held: bool) -> None:
        if held:
            self._answer.pauseUpload()
        else:
            self._answer.resumeUpload()


@implementer(IOrigin)
class DirectOrigin:
    """
    An origin that is its own backend.
    """

    def __init__(self) -> None:
        self.arrivals: list[DirectArrival] = []

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        upload = DirectUpload(answer)
        self.arrivals.append(DirectArrival(head, upload))
        return upload


class StreamingResource(DirectOrigin, Resource):
    """
    A Resource that takes its requests as streams.
    """

    isLeaf = True

    def __init__(self) -> None:
        DirectOrigin.__init__(self)
        Resource.__init__(self)


class RenderingResource(Resource):
    """
    A Resource that hands what it is to render to an origin.
    """

    isLeaf = True

    def __init__(self, origin: IOrigin) -> None:
        super().__init__()
        self.origin = origin

    def render(self, request: Request) -> int:
        return renderStream(self.origin, request)
