"""
The contract of L{IOrigin}, as one suite that runs against each origin.

To add an origin, subclass L{OriginContract}, or L{StreamingOriginContract} if its backend sees a request before its
end, beside L{SynchronousTestCase}, and say how to make it and what its backend saw.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer
from zope.interface.verify import verifyObject

from invproxy.errors import CLIENT_GONE, ORIGIN_BAD_RESPONSE, Fault
from invproxy.http1.fields import items, join
from invproxy.http1.framing import CHUNKED, UNTIL_CLOSE
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.parsing import parseResponse
from invproxy.interfaces import IAnswer, IOrigin, IPeer, IUpload
from invproxy.resources import ResourceOrigin, renderStream
from invproxy.test.helpers import RecordingAnswer, requestHead

Fields = Iterable[tuple[bytes, bytes]]


class Arrival(Protocol):
    """
    A request that arrived at the backend behind an origin, and the backend's end of the response.
    """

    method: bytes
    target: bytes

    def fields(self) -> Fields:
        """
        The fields of the request.
        """

    def body(self) -> bytes:
        """
        The body of the request, as far as it is here.
        """

    def ended(self) -> bool:
        """
        Did the request come to its end?
        """

    def gone(self) -> bool:
        """
        Does the backend know that nobody wants its answer?
        """

    def held(self) -> bool:
        """
        Is the backend asked to hold the body of its response back?
        """

    def respond(self, status: int, reason: bytes = b"OK", fields: Fields = ()) -> None:
        """
        Send the head of the response. Without Content-Length, the body has no length known beforehand.
        """

    def write(self, data: bytes) -> None:
        """
        Send a piece of the body.
        """

    def finish(self) -> None:
        """
        End the response.
        """

    def cut(self) -> None:
        """
        Break off.
        """


class StreamingArrival(Arrival, Protocol):
    """
    The same for a backend that sees its request come.
    """

    def inform(self, status: int, fields: Fields = ()) -> None:
        """
        Send an interim response.
        """

    def finishWith(self, trailers: bytes) -> None:
        """
        End the response with a block of trailers.
        """

    def trailers(self) -> bytes:
        """
        The block of trailers of the request.
        """

    def holdUpload(self, held: bool) -> None:
        """
        Take no more of the request, or take it again.
        """


def grouped(fields: Fields) -> dict[bytes, list[bytes]]:
    """
    Values by lower-case names: all that an origin has to keep of fields whose backend is not a server.
    """
    found: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        found.setdefault(name.lower(), []).append(value)
    return found


if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object


class OriginContract(_Base):
    """
    What the exchange with any origin is like.
    """

    def makeOrigin(self) -> IOrigin:
        """
        Make an origin, with a backend behind it.
        """
        raise NotImplementedError

    def arrivals(self) -> list[Arrival]:
        """
        What arrived at the backend, oldest first.
        """
        raise NotImplementedError

    def settle(self) -> None:
        """
        Let happen what does not happen within a call.
        """

    def arrive(
        self, head: RequestHead, *pieces: bytes, end: bool = True
    ) -> tuple[RecordingAnswer, Arrival]:
        """
        Send a request through an origin.
        """
        self.origin = self.makeOrigin()
        answer = RecordingAnswer()
        answer.ask(self.origin, head, *pieces, end=end)
        self.settle()
        arrivals = self.arrivals()
        self.assertEqual(len(arrivals), 1)
        return answer, arrivals[0]

    def test_interfaces(self) -> None:
        """
        The origin and its uploads provide what they should, and so does the helper of this suite.
        """
        answer, _ = self.arrive(requestHead())
        self.assertTrue(verifyObject(IOrigin, self.origin))
        self.assertTrue(verifyObject(IUpload, answer.upload))
        self.assertTrue(verifyObject(IAnswer, answer))
        self.assertTrue(verifyObject(IPeer, answer.peer))

    def test_request(self) -> None:
        """
        Method, target, fields and body arrive as they were sent.
        """
        fields = [
            (b"Accept", b"text/html"),
            (b"X-Twice", b"one"),
            (b"X-Twice", b"two"),
            (b"X-Latin", b"caf\xe9"),
            (b"Cookie", b"a=b; c=d"),
        ]
        target = b"/a%2Fb/../c//d;e?f=%20&g&=h?i"
        head = requestHead(b"REPORT", target, fields, framing=10)
        expected = {**grouped(items(head.fields)), b"host": [b"example.com"]}
        _, arrival = self.arrive(head, b"0123", b"", b"456789")
        self.assertEqual(arrival.method, b"REPORT")
        self.assertEqual(arrival.target, target)
        self.assertEqual(grouped(arrival.fields()), expected)
        self.assertEqual(arrival.body(), b"0123456789")
        self.assertTrue(arrival.ended())

    def test_requestWithoutBody(self) -> None:
        """
        A request without a body has none at the backend, and no framing.
        """
        _, arrival = self.arrive(requestHead())
        self.assertEqual(arrival.body(), b"")
        self.assertTrue(arrival.ended())
        self.assertEqual(grouped(arrival.fields()), {b"host": [b"example.com"]})

    def test_chunkedRequest(self) -> None:
        """
        A body whose length was not known beforehand arrives whole.
        """
        _, arrival = self.arrive(requestHead(b"POST", framing=CHUNKED), b"a" * 200000, b"b")
        self.assertEqual(arrival.body(), b"a" * 200000 + b"b")
        self.assertTrue(arrival.ended())

    def test_response(self) -> None:
        """
        Status, reason, fields and body come back as they were sent.
        """
        answer, arrival = self.arrive(requestHead())
        fields = [
            (b"Content-Length", b"6"),
            (b"Set-Cookie", b"a=b"),
            (b"Set-Cookie", b"c=d; Path=/"),
            (b"X-Latin", b"caf\xe9"),
        ]
        arrival.respond(207, b"Many Things", fields)
        arrival.write(b"abcdef")
        arrival.finish()
        self.settle()
        assert answer.head is not None
        self.assertEqual((answer.head.status, answer.head.reason), (207, b" Many Things"))
        self.assertEqual(answer.head.framing, 6)
        for name, values in grouped(fields).items():
            self.assertEqual(grouped(items(answer.head.fields))[name], values)
        self.assertEqual(answer.body, b"abcdef")
        self.assertTrue(answer.finished)
        self.assertEqual(answer.violations, [])

    def test_streamedResponse(self) -> None:
        """
        The head and each piece come at once, whether a length was told or not.
        """
        for fields in ([], [(b"Content-Length", b"3")]):
            answer, arrival = self.arrive(requestHead())
            arrival.respond(200, fields=fields)
            self.settle()
            assert answer.head is not None
            self.assertIn(answer.head.framing, (3,) if fields else (CHUNKED, UNTIL_CLOSE))
            self.assertEqual(answer.pieces, [])
            for letter in (b"x", b"y", b"z"):
                arrival.write(letter)
                self.settle()
                self.assertEqual(answer.pieces.pop(), letter)
            arrival.finish()
            self.settle()
            self.assertTrue(answer.finished)
            self.assertEqual(answer.violations, [])

    def test_bodylessResponses(self) -> None:
        """
        Answers to HEAD, and those with 204 or 304, end with their heads; Content-Length is kept where it may stand.
        """
        for method, status, length in (
            (b"HEAD", 200, [b"1000"]),
            (b"GET", 304, [b"1000"]),
            (b"GET", 204, []),
        ):
            answer, arrival = self.arrive(requestHead(method))
            arrival.respond(status, fields=[(b"Content-Length", value) for value in length])
            arrival.finish()
            self.settle()
            assert answer.head is not None
            self.assertEqual((answer.head.status, answer.head.framing), (status, 0))
            self.assertEqual(grouped(items(answer.head.fields)).get(b"content-length", []), length)
            self.assertEqual(answer.pieces, [])
            self.assertTrue(answer.finished)

    def test_answerHeldBack(self) -> None:
        """
        The backend is asked to pause and to go on as the asker wishes, and repeating it changes nothing.
        """
        answer, arrival = self.arrive(requestHead())
        upload = answer.upload
        assert upload is not None
        arrival.respond(200)
        self.settle()
        for held in (False, True, True, False, False, True, False):
            if held:
                upload.pauseAnswer()
            else:
                upload.resumeAnswer()
            self.settle()
            self.assertEqual(arrival.held(), held)
        arrival.write(b"x")
        arrival.finish()
        self.settle()
        self.assertEqual(answer.body, b"x")
        self.assertTrue(answer.finished)

    def test_calledAfterTheEnd(self) -> None:
        """
        What an upload is told after the end of the answer is ignored.
        """
        answer, arrival = self.arrive(requestHead())
        arrival.respond(200, fields=[(b"Content-Length", b"0")])
        arrival.finish()
        self.settle()
        upload = answer.upload
        assert upload is not None
        upload.pauseAnswer()
        upload.write(b"x")
        upload.resumeAnswer()
        upload.finish()
        upload.abort(Fault(CLIENT_GONE))
        self.settle()
        self.assertEqual(answer.violations, [])

    def test_abortBeforeResponse(self) -> None:
        """
        The backend is told that the asker is gone, and what it still sends goes nowhere.
        """
        answer, arrival = self.arrive(requestHead())
        self.assertFalse(arrival.gone())
        answer.abort(Fault(CLIENT_GONE))
        self.settle()
        self.assertTrue(arrival.gone())
        arrival.respond(200)
        arrival.write(b"x")
        arrival.finish()
        self.settle()
        self.assertIsNone(answer.head)
        self.assertEqual(answer.violations, [])

    def test_abortDuringResponse(self) -> None:
        """
        The same in the midst of a response.
        """
        answer, arrival = self.arrive(requestHead())
        arrival.respond(200)
        arrival.write(b"x")
        self.settle()
        answer.abort(Fault(CLIENT_GONE))
        self.settle()
        self.assertTrue(arrival.gone())
        arrival.write(b"y")
        arrival.finish()
        self.settle()
        self.assertEqual(answer.body, b"x")
        self.assertEqual(answer.violations, [])

    def test_cutBeforeResponse(self) -> None:
        """
        A backend that breaks off without an answer is an error of the server side.
        """
        answer, arrival = self.arrive(requestHead())
        arrival.cut()
        self.settle()
        assert answer.fault is not None
        self.assertGreaterEqual(answer.fault.code.status, 500)
        self.assertIsNone(answer.head)
        self.assertEqual(answer.violations, [])

    def test_cutDuringResponse(self) -> None:
        """
        A response that breaks off never looks whole, neither with a length nor without.
        """
        for fields in ([], [(b"Content-Length", b"3")]):
            answer, arrival = self.arrive(requestHead())
            arrival.respond(200, fields=fields)
            arrival.write(b"xy")
            self.settle()
            arrival.cut()
            self.settle()
            self.assertIsNotNone(answer.fault)
            self.assertFalse(answer.finished)
            self.assertEqual(answer.body, b"xy")
            self.assertEqual(answer.violations, [])


class StreamingOriginContract(OriginContract):
    """
    What is asked, on top of that, of an origin that passes both bodies on as they come.
    """

    def arriveStreaming(
        self, head: RequestHead, *pieces: bytes
    ) -> tuple[RecordingAnswer, IUpload, StreamingArrival]:
        """
        Send a request through an origin, but for its end.
        """
        answer, arrival = self.arrive(head, *pieces, end=False)
        assert answer.upload is not None
        return answer, answer.upload, arrival  # type: ignore[return-value]

    def test_streamedRequest(self) -> None:
        """
        The backend sees the head and each piece at once, and the trailers at the end.
        """
        head = requestHead(b"POST", framing=CHUNKED)
        _, upload, arrival = self.arriveStreaming(head)
        self.assertEqual((arrival.body(), arrival.ended()), (b"", False))
        upload.write(b"ab")
        self.settle()
        self.assertEqual((arrival.body(), arrival.ended()), (b"ab", False))
        upload.finish(b"\r\nX-Sum: 1")
        self.settle()
        self.assertTrue(arrival.ended())
        self.assertEqual(arrival.trailers(), b"\r\nX-Sum: 1")

    def test_interimResponses(self) -> None:
        """
        Interim responses are passed on, before the final one and in order.
        """
        fields = [(b"Expect", b"100-continue")]
        answer, _, arrival = self.arriveStreaming(requestHead(b"PUT", b"/", fields, framing=3))
        arrival.inform(103, [(b"Link", b"</a.css>")])
        arrival.inform(100)
        self.settle()
        self.assertEqual([head.status for head in answer.interim], [103, 100])
        self.assertEqual(list(items(answer.interim[0].fields)), [(b"Link", b"</a.css>")])
        self.assertIsNone(answer.head)

    def test_earlyResponse(self) -> None:
        """
        A response may end before the request does; the rest of that is ignored.
        """
        answer, upload, arrival = self.arriveStreaming(requestHead(b"POST", framing=6), b"abc")
        arrival.respond(413, b"No", [(b"Content-Length", b"1")])
        arrival.write(b"x")
        arrival.finish()
        self.settle()
        self.assertEqual(answer.body, b"x")
        self.assertTrue(answer.finished)
        upload.write(b"def")
        upload.finish()
        self.settle()
        self.assertEqual(answer.violations, [])

    def test_responseTrailers(self) -> None:
        """
        Trailers of the response are passed on.
        """
        answer, _, arrival = self.arriveStreaming(requestHead())
        arrival.respond(200)
        arrival.write(b"x")
        arrival.finishWith(b"\r\nX-Sum: 2")
        self.settle()
        self.assertEqual(answer.trailers, b"\r\nX-Sum: 2")

    def test_uploadHeldBack(self) -> None:
        """
        The asker is asked to pause and to go on as the backend wishes.
        """
        answer, upload, arrival = self.arriveStreaming(requestHead(b"POST", framing=CHUNKED))
        arrival.holdUpload(True)
        self.settle()
        self.assertTrue(answer.uploadHeld)
        arrival.holdUpload(False)
        self.settle()
        self.assertFalse(answer.uploadHeld)
        upload.write(b"x")
        upload.finish()
        self.settle()
        self.assertEqual(arrival.body(), b"x")

    def test_abortDuringRequest(self) -> None:
        """
        The backend is told when the asker leaves in the midst of its request, which never looks whole.
        """
        answer, _, arrival = self.arriveStreaming(requestHead(b"POST", framing=6), b"abc")
        answer.abort(Fault(CLIENT_GONE))
        self.settle()
        self.assertTrue(arrival.gone())
        self.assertFalse(arrival.ended())
        self.assertEqual(answer.violations, [])


@implementer(IPushProducer)
class RequestArrival:
    """
    An L{Arrival} at a Resource; it is also the producer of the response.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._held = False
        self._gone = False
        self.method = request.method
        self.target = request.uri
        assert request.content is not None
        self._body: bytes = request.content.read()
        request.notifyFinish().addErrback(self._lost)

    def _lost(self, reason: object) -> None:
        self._gone = True

    def fields(self) -> Fields:
        headers = self._request.requestHeaders
        return [(name, value) for name, values in headers.getAllRawHeaders() for value in values]

    def body(self) -> bytes:
        return self._body

    def ended(self) -> bool:
        return True

    def gone(self) -> bool:
        return self._gone

    def held(self) -> bool:
        return self._held

    def respond(self, status: int, reason: bytes = b"OK", fields: Fields = ()) -> None:
        self._request.setResponseCode(status, reason)
        for name, value in fields:
            self._request.responseHeaders.addRawHeader(name, value)
        self._request.registerProducer(self, True)
        self._request.write(b"")

    def write(self, data: bytes) -> None:
        self._request.write(data)

    def finish(self) -> None:
        self._request.unregisterProducer()
        self._request.finish()

    def cut(self) -> None:
        self._request.loseConnection()

    def pauseProducing(self) -> None:
        self._held = True

    def resumeProducing(self) -> None:
        self._held = False

    def stopProducing(self) -> None:
        self._gone = True


class ArrivalResource(Resource):
    """
    A Resource that takes down what it is asked, and leaves the answer to the test.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: list[RequestArrival] = []

    def render(self, request: Request) -> int:
        self.arrivals.append(RequestArrival(request))
        return NOT_DONE_YET


class ResourceOriginTests(OriginContract, SynchronousTestCase):
    """
    L{ResourceOrigin} keeps the contract.
    """

    def makeOrigin(self) -> IOrigin:
        self.resource = ArrivalResource()
        return ResourceOrigin(self.resource, clock=Clock())

    def arrivals(self) -> list[Arrival]:
        return list(self.resource.arrivals)


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


class DirectArrival:
    """
    A L{StreamingArrival} with nothing between.
    """

    def __init__(self, head: RequestHead, upload: DirectUpload) -> None:
        self._head = head
        self._upload = upload
        self.method = head.method
        self.target = head.target

    @property
    def _answer(self) -> IAnswer:
        return RecordingAnswer() if self._upload.gone else self._upload.answer

    def fields(self) -> Fields:
        return items(self._head.fields)

    def body(self) -> bytes:
        return self._upload.body

    def ended(self) -> bool:
        return self._upload.trailers is not None

    def trailers(self) -> bytes:
        return self._upload.trailers or b""

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
    An origin that is its own backend: shows that the suite itself can be passed.
    """

    def __init__(self) -> None:
        self.arrivals: list[DirectArrival] = []

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        upload = DirectUpload(answer)
        self.arrivals.append(DirectArrival(head, upload))
        return upload


class DirectOriginTests(StreamingOriginContract, SynchronousTestCase):
    """
    The suite, with nothing between asker and backend.
    """

    def makeOrigin(self) -> IOrigin:
        self.direct = DirectOrigin()
        return self.direct

    def arrivals(self) -> list[Arrival]:
        return list(self.direct.arrivals)


class StreamingResource(DirectOrigin, Resource):
    """
    A Resource that takes its requests as streams.
    """

    isLeaf = True

    def __init__(self) -> None:
        DirectOrigin.__init__(self)
        Resource.__init__(self)


class StreamingResourceTests(StreamingOriginContract, SynchronousTestCase):
    """
    L{ResourceOrigin} keeps the contract of streams for a Resource that takes them, somewhere in its tree.
    """

    def makeOrigin(self) -> IOrigin:
        self.resource = StreamingResource()
        root = Resource()
        root.getChild = lambda name, request: self.resource  # type: ignore[method-assign]
        return ResourceOrigin(root, clock=Clock(), maxBody=1)

    def arrivals(self) -> list[Arrival]:
        return list(self.resource.arrivals)


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


class RenderStreamTests(OriginContract, SynchronousTestCase):
    """
    Both bridges one behind the other keep the contract: streams to a Resource, which makes streams of them again.
    """

    def makeOrigin(self) -> IOrigin:
        self.direct = DirectOrigin()
        return ResourceOrigin(RenderingResource(self.direct), clock=Clock())

    def arrivals(self) -> list[Arrival]:
        return list(self.direct.arrivals)

    def test_cutBeforeResponse(self) -> None:
        """
        A failure before the response has become a response of its own.
        """
        answer, arrival = self.arrive(requestHead())
        arrival.cut()
        assert answer.head is not None
        self.assertEqual(answer.head.status, 502)
        self.assertTrue(answer.finished)
