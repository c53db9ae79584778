"""
The contract of L{IOrigin<invproxy.interfaces.IOrigin>}, as one suite that runs against each origin.

To add an origin, subclass L{OriginContract}, or L{StreamingOriginContract} if its backend sees a request before its
end, beside L{SynchronousTestCase}, and say how to make it and what its backend saw.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from invproxy.errors import CLIENT_GONE, Fault
from invproxy.http1.fields import items
from invproxy.http1.framing import CHUNKED, UNTIL_CLOSE
from invproxy.http1.heads import RequestHead
from invproxy.interfaces import IAnswer, IOrigin, IPeer, IUpload
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
