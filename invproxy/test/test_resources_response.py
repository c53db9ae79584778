"""
What Resources write, and what goes to the client of it.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import EncodingResourceWrapper, IResource, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory, Request

from invproxy.errors import CLIENT_GONE, Fault
from invproxy.http1.fields import value, values
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import ResponseHead
from invproxy.resources import ResourceOrigin
from invproxy.test.helpers import RecordingAnswer, requestHead
from invproxy.test.leaves import Keeper, Leaf, Producer, ask, headOf, page


class ResponseTests(SynchronousTestCase):
    """
    What becomes of what a Resource writes.
    """

    def test_rendered(self) -> None:
        """
        C{render} may return the body.
        """
        answer = ask(page(b"hello"))
        head = headOf(answer)
        self.assertEqual((head.status, head.reason, head.framing), (200, b" OK", 5))
        self.assertEqual(value(head.fields, b"Content-Type"), b"text/plain")
        self.assertEqual(answer.body, b"hello")
        self.assertTrue(answer.finished)

    def test_head(self) -> None:
        """
        A Resource without C{render_HEAD} of its own answers HEAD as GET, less the body.
        """

        class OnlyGet(Resource):
            isLeaf = True

            def render_GET(self, request: Request) -> bytes:
                return b"hello"

        for root in (OnlyGet(), page(b"hello"), Leaf(lambda request: b"hello")):
            answer = ask(root, requestHead(b"HEAD"))
            self.assertEqual(value(headOf(answer).fields, b"Content-Length"), b"5")
            self.assertEqual(headOf(answer).framing, 0)
            self.assertEqual(answer.pieces, [])
            self.assertTrue(answer.finished)

    def test_cookies(self) -> None:
        """
        Each cookie is a field of its own.
        """

        def render(request: Request) -> bytes:
            request.addCookie("a", "b")
            request.addCookie("c", "d")
            return b""

        self.assertEqual(values(headOf(ask(Leaf(render))).fields, b"set-cookie"), [b"a=b", b"c=d"])

    def test_http10(self) -> None:
        """
        An answer to HTTP/1.0 has an end that can be told, too: cutting it is the asker's affair.
        """

        def render(request: Request) -> int:
            assert request.clientproto == b"HTTP/1.0"
            request.write(b"a")
            request.finish()
            return NOT_DONE_YET

        answer = ask(Leaf(render), requestHead(minor=0))
        self.assertEqual((headOf(answer).framing, answer.body), (CHUNKED, b"a"))
        self.assertTrue(answer.finished)

    def test_invalid(self) -> None:
        """
        A response that is not valid HTTP is a 500, and never gets through: no field or status line can be split.
        """

        def withHeader(name: str, text: str) -> Callable[[Request], int]:
            def render(request: Request) -> int:
                request.responseHeaders.addRawHeader(name, text)
                return finish(request)

            return render

        def withStatus(status: int, reason: bytes) -> Callable[[Request], int]:
            def render(request: Request) -> int:
                request.setResponseCode(status, reason)
                return finish(request)

            return render

        def finish(request: Request) -> int:
            request.write(b"x")
            request.finish()
            return NOT_DONE_YET

        for render in (
            withHeader("X-Bad", "a\0b"),
            withHeader("Content-Length", "-1"),
            withHeader("Connection", "content-length"),
            withStatus(101, b"Switching"),
            withStatus(103, b"Early"),
            withStatus(1000, b"Much"),
            withStatus(200, b"O\0K"),
        ):
            answer = ask(Leaf(render))
            assert answer.fault is not None
            self.assertEqual(answer.fault.code.status, 500)
            self.assertIsNone(answer.head)
        answer = ask(Leaf(withStatus(200, b"O\r\nX-Bad: K")))
        self.assertEqual(headOf(answer).reason, b" O X-Bad: K")

    def test_hopByHop(self) -> None:
        """
        Fields for the connection alone do not pass.
        """

        def render(request: Request) -> bytes:
            request.setHeader("Connection", "close, x-hop")
            request.setHeader("X-Hop", "1")
            return b"x"

        head = headOf(ask(Leaf(render)))
        self.assertEqual(values(head.fields, b"connection") + values(head.fields, b"x-hop"), [])

    def test_exception(self) -> None:
        """
        An exception is a 500 that shows nothing of it, in C{render} as on the way there.
        """

        def render(request: Request) -> bytes:
            raise ZeroDivisionError("secret")

        class Root(Resource):
            def getChild(self, path: bytes, request: Request) -> IResource:
                raise ZeroDivisionError("secret")

        for root in (Leaf(render), Root()):
            answer = ask(root, requestHead(b"POST", framing=3), b"abc")
            self.assertEqual(headOf(answer).status, 500)
            self.assertNotIn(b"secret", answer.body)
            self.assertNotIn(b"ZeroDivision", answer.body)
            self.assertTrue(answer.finished)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_lateException(self) -> None:
        """
        One behind the head cuts the answer, one behind its end changes nothing.
        """
        for ending in (False, True):

            def render(request: Request) -> bytes:
                request.write(b"half")
                if ending:  # noqa: B023 - called in the same turn
                    request.finish()
                raise ZeroDivisionError

            answer = ask(Leaf(render))
            self.assertEqual(answer.body, b"half")
            self.assertEqual(answer.finished, ending)
            self.assertEqual(answer.fault is not None, not ending)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertEqual(answer.violations, [])

    def test_tooLong(self) -> None:
        """
        Bytes beyond Content-Length cut the answer, and none of them passes.
        """
        keeper = Keeper()
        answer = ask(keeper)
        request = keeper.requests[0]
        request.setHeader("Content-Length", "3")
        request.write(b"ab")
        request.write(b"cd")
        self.assertEqual(answer.body, b"ab")
        self.assertIsNotNone(answer.fault)
        self.assertEqual(len(keeper.losses), 1)
        request.finish()
        self.assertEqual(answer.violations, [])

    def test_tooShort(self) -> None:
        """
        Bytes that are missing cut it as well.
        """
        keeper = Keeper()
        answer = ask(keeper)
        request = keeper.requests[0]
        request.setHeader("Content-Length", "3")
        request.write(b"ab")
        request.finish()
        self.assertIsNotNone(answer.fault)
        self.assertFalse(answer.finished)
        self.assertEqual(len(keeper.losses), 1)

    def test_transport(self) -> None:
        """
        The transport can be closed, and be asked for addresses, but not taken over.
        """
        for close in (
            lambda request: request.loseConnection(),
            lambda request: request.channel.loseConnection(),
            lambda request: request.transport.loseConnection(),
            lambda request: request.transport.abortConnection(),
            lambda request: request.transport.write(b"HTTP/1.1 200 OK\r\n\r\n"),
        ):
            keeper = Keeper()
            answer = ask(keeper)
            request = keeper.requests[0]
            assert request.transport is not None
            self.assertEqual(request.transport.getPeer(), request.getClientAddress())
            close(request)
            assert answer.fault is not None
            self.assertEqual(answer.fault.code.status, 500)
            self.assertEqual(len(keeper.losses), 1)

    def test_gzip(self) -> None:
        """
        Encoders around a Resource work.
        """
        root = EncodingResourceWrapper(page(b"x" * 1000), [GzipEncoderFactory()])
        answer = ask(root, requestHead(fields=[(b"Accept-Encoding", b"gzip")]))
        self.assertEqual(value(headOf(answer).fields, b"Content-Encoding"), b"gzip")
        self.assertEqual(headOf(answer).framing, CHUNKED)
        self.assertLess(len(answer.body), 100)

    def test_afterAbort(self) -> None:
        """
        Once the asker is gone, whatever a Resource calls is harmless.
        """
        keeper = Keeper()
        answer = ask(keeper)
        request = keeper.requests[0]
        answer.abort(Fault(CLIENT_GONE))
        self.assertEqual(len(keeper.losses), 1)
        keeper.losses[0].trap(ConnectionLost)
        producer = Producer()
        request.setResponseCode(200)
        request.write(b"x")
        request.registerProducer(producer, True)
        self.assertEqual(producer.calls, ["stop"])
        request.unregisterProducer()
        request.isSecure()
        request.loseConnection()
        request.processingFailed(Failure(ZeroDivisionError()))
        request.finish()
        request.finish()
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(answer.violations, [])

    def test_abortWithinWrite(self) -> None:
        """
        The asker may break off while it is being written to.
        """

        class Leaver(RecordingAnswer):
            leavesAt = ""

            def respond(self, head: ResponseHead) -> None:
                super().respond(head)
                self.leave("respond")

            def write(self, data: bytes) -> None:
                super().write(data)
                self.leave("write")

            def finish(self, trailers: bytes = b"") -> None:
                super().finish(trailers)
                self.leave("finish")

            def leave(self, at: str) -> None:
                if at == self.leavesAt:
                    self.abort(Fault(CLIENT_GONE))

        for at in ("respond", "write", "finish"):
            for root in (Leaf(lambda request: b"hello"), page(b"")):
                answer = Leaver()
                answer.leavesAt = at
                answer.upload = ResourceOrigin(root, clock=Clock()).open(requestHead(), answer)
                answer.upload.finish()
                self.assertEqual(answer.violations, [])

    def test_abortDuringRequest(self) -> None:
        """
        A request that is not whole is not rendered.
        """
        keeper = Keeper()
        answer = RecordingAnswer()
        origin = ResourceOrigin(keeper, clock=Clock())
        upload = answer.ask(origin, requestHead(b"PUT", framing=3), b"ab", end=False)
        answer.abort(Fault(CLIENT_GONE))
        upload.finish()
        self.assertEqual(keeper.requests, [])
