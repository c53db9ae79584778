"""
Requests of a stock site as streams.
"""

from __future__ import annotations

import os

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import server
from twisted.web.resource import Resource
from twisted.web.server import Request
from zope.interface.verify import verifyObject

from invproxy.errors import NO_BACKEND, ORIGIN_BAD_RESPONSE, ORIGIN_REFUSED, Fault
from invproxy.http1.heads import RequestHead, ResponseHead, responseHead
from invproxy.interfaces import IAnswer, IPeer, IUpload
from invproxy.resources import renderStream
from invproxy.test.directorigin import (
    DirectArrival,
    DirectOrigin,
)
from invproxy.test.leaves import Leaf


class RenderStreamTests(SynchronousTestCase):
    """
    L{renderStream} under a stock site.
    """

    def setUp(self) -> None:
        self.origin = DirectOrigin()
        self.maxBody = 0
        self.render = lambda request: renderStream(self.origin, request, maxBody=self.maxBody)
        self.connect()

    def answer(self, request: Request) -> int:
        return self.render(request)

    def connect(self) -> None:
        root = Resource()
        root.putChild(b"mount", Leaf(self.answer))
        clock = Clock()
        channel = server.Site(root, reactor=clock).buildProtocol(None)
        assert channel is not None
        self.channel = channel
        self.transport = StringTransport()
        channel.makeConnection(self.transport)
        self.addCleanup(self.lose)

    def lose(self) -> None:
        self.channel.connectionLost(Failure(ConnectionLost()))

    def arrive(self, data: bytes) -> DirectArrival:
        self.channel.dataReceived(data)
        return self.origin.arrivals[-1]

    def fieldsOf(self, arrival: DirectArrival) -> list[tuple[bytes, bytes]]:
        return sorted(arrival.fields())

    def test_request(self) -> None:
        """
        Target, method, fields and body of the request, less what concerns the connection.
        """
        arrival = self.arrive(
            b"PUT /mount/a%2Fb?c HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n"
            b"TE: trailers\r\nExpect: 100-continue\r\nX-Two: 1\r\nX-Two: 2\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        self.assertEqual(arrival.method, b"PUT")
        self.assertEqual(arrival.target, b"/mount/a%2Fb?c")
        self.assertEqual(
            self.fieldsOf(arrival),
            [(b"Content-Length", b"5"), (b"Host", b"a"), (b"X-Two", b"1"), (b"X-Two", b"2")],
        )
        self.assertEqual((arrival.body(), arrival.ended()), (b"abcde", True))
        head = arrival._head
        self.assertEqual((head.framing, head.upgrade, head.trailers), (5, None, False))
        self.assertFalse(head.expectsContinue)

    def test_noBody(self) -> None:
        """
        No Content-Length is made up, and an upgrade is not offered.
        """
        arrival = self.arrive(
            b"GET /mount HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        self.assertEqual(self.fieldsOf(arrival), [(b"Host", b"a")])
        self.assertIsNone(arrival._head.upgrade)
        self.assertTrue(arrival.ended())

    def test_response(self) -> None:
        """
        The response is that of the origin, and of nobody else.
        """
        arrival = self.arrive(b"GET /mount HTTP/1.1\r\nHost: a\r\n\r\n")
        arrival.inform(103)
        arrival.respond(
            200,
            b"Fine",
            [
                (b"Content-Length", b"2"),
                (b"Set-Cookie", b"a"),
                (b"Set-Cookie", b"b"),
                (b"X-Latin", b"\xe9"),
                (b"Date", b"today"),
            ],
        )
        head = self.transport.value()
        self.assertEqual(
            sorted(head.split(b"\r\n")),
            [
                b"",
                b"",
                b"Content-Length: 2",
                b"Date: today",
                b"HTTP/1.1 200 Fine",
                b"Set-Cookie: a",
                b"Set-Cookie: b",
                b"X-Latin: \xe9",
            ],
        )
        arrival.write(b"x")
        self.assertEqual(self.transport.value(), head + b"x")
        arrival.write(b"y")
        arrival.finishWith(b"\r\nX-Sum: 1")
        self.assertEqual(self.transport.value(), head + b"xy")
        self.assertFalse(self.transport.disconnecting)
        self.arrive(b"GET /mount/2 HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(len(self.origin.arrivals), 2)

    def test_outerFields(self) -> None:
        """
        Fields and cookies that outer Resources set stay beside those of the origin.
        """

        def render(request: Request) -> int:
            request.addCookie("outer", "1")
            request.setHeader("X-Outer", "2")
            return renderStream(self.origin, request)

        self.render = render
        arrival = self.arrive(b"GET /mount HTTP/1.1\r\nHost: a\r\n\r\n")
        arrival.respond(200, fields=[(b"Set-Cookie", b"b"), (b"Content-Length", b"0")])
        head = self.transport.value()
        for line in (b"Set-Cookie: outer=1", b"Set-Cookie: b", b"X-Outer: 2", b"Date: "):
            self.assertIn(b"\r\n" + line, head)

    def test_chunked(self) -> None:
        """
        A body of unknown length is sent in chunks, or until close to HTTP/1.0.
        """
        arrival = self.arrive(b"GET /mount HTTP/1.1\r\nHost: a\r\n\r\n")
        arrival.respond(200)
        arrival.write(b"abc")
        arrival.finish()
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        self.assertIn(b"Transfer-Encoding: chunked", head)
        self.assertEqual(body, b"3\r\nabc\r\n0\r\n\r\n")
        self.connect()
        arrival = self.arrive(b"GET /mount HTTP/1.0\r\n\r\n")
        arrival.respond(200)
        arrival.write(b"abc")
        arrival.finish()
        self.assertTrue(self.transport.value().endswith(b"\r\n\r\nabc"))
        self.assertTrue(self.transport.disconnecting)

    def test_bodyless(self) -> None:
        """
        Answers to HEAD and with 204 or 304 have no body, and no framing that is not theirs.
        """
        for method, status, fields in (
            (b"HEAD", 200, [(b"Content-Length", b"9")]),
            (b"HEAD", 200, []),
            (b"GET", 304, [(b"Content-Length", b"9")]),
            (b"GET", 204, []),
        ):
            self.connect()
            arrival = self.arrive(b"%b /mount HTTP/1.1\r\nHost: a\r\n\r\n" % method)
            arrival._answer.respond(
                ResponseHead(status, b" X", b"".join(b"\r\n%b: %b" % f for f in fields))
            )
            arrival.finish()
            head, _, body = self.transport.value().partition(b"\r\n\r\n")
            self.assertEqual(body, b"")
            self.assertEqual(b"Content-Length: 9" in head, bool(fields))
            self.assertNotIn(b"Transfer-Encoding", head)
            self.assertNotIn(b"Content-Type", head)

    def test_faultBefore(self) -> None:
        """
        A failure before the head is an error page, with the name of the exchange.
        """
        arrival = self.arrive(b"GET /mount HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n")
        arrival._answer.identify("request-7")
        arrival._answer.fail(Fault(ORIGIN_REFUSED))
        answer = self.transport.value()
        self.assertTrue(answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"))
        self.assertIn(b"\r\nX-Inverting-Proxy-Error: origin-refused\r\n", answer)
        self.assertIn(b'"requestID": "request-7"', answer)
        self.assertFalse(self.transport.disconnecting)

    def test_faultInHead(self) -> None:
        """
        The answer to HEAD is one without a body then, too.
        """
        arrival = self.arrive(b"HEAD /mount HTTP/1.1\r\nHost: a\r\n\r\n")
        arrival._answer.fail(Fault(NO_BACKEND))
        self.assertTrue(self.transport.value().endswith(b"\r\n\r\n"))
        self.assertIn(b"HTTP/1.1 404", self.transport.value())

    def test_faultAfter(self) -> None:
        """
        A failure after the head aborts the connection.
        """
        for version in (b"1.1", b"1.0"):
            self.connect()
            arrival = self.arrive(b"GET /mount HTTP/%b\r\nHost: a\r\n\r\n" % version)
            arrival.respond(200)
            arrival.write(b"abc")
            arrival._answer.fail(Fault(ORIGIN_BAD_RESPONSE))
            self.assertTrue(self.transport.disconnected)
            self.assertNotIn(b"0\r\n\r\n", self.transport.value())
            self.lose()
            self.assertFalse(arrival.gone())

    def test_upgrade(self) -> None:
        """
        An answerer that upgrades where none was offered has failed.
        """
        arrival = self.arrive(b"GET /mount HTTP/1.1\r\nHost: a\r\n\r\n")
        arrival._answer.respond(ResponseHead(101, b" Switching", upgrade=b"x"))
        self.assertIn(b"HTTP/1.1 500", self.transport.value())

    def test_refused(self) -> None:
        """
        What our own parser refuses is refused, though the stock site took it, and so is a body that is too large.
        """
        self.maxBody = 3
        for data, status in (
            (b"GET /mount HTTP/1.1\r\n\r\n", 400),
            (b"GET /mount HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            (b"GET /mount/#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET /mount HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", 400),
            (b"GET /mount HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", 400),
            (b"GET /mount HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
            (b"PUT /mount HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd", 413),
        ):
            self.connect()
            self.channel.dataReceived(data)
            self.assertIn(b"HTTP/1.1 %d " % status, self.transport.value(), data)
        self.assertEqual(self.origin.arrivals, [])

    def test_rewritten(self) -> None:
        """
        A target that some outer Resource made up cannot add fields.
        """

        def render(request: Request) -> int:
            request.uri = b"/ HTTP/1.1\r\nX-Evil: 1\r\nX:"
            return renderStream(self.origin, request)

        self.render = render
        self.channel.dataReceived(b"GET /mount HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertIn(b"HTTP/1.1 400 ", self.transport.value())
        self.assertEqual(self.origin.arrivals, [])

    def test_answerHeldBack(self) -> None:
        """
        A full transport holds the origin back.
        """
        arrival = self.arrive(b"GET /mount HTTP/1.1\r\nHost: a\r\n\r\n")
        arrival.respond(200)
        producer = self.transport.producer
        assert producer is not None
        producer.pauseProducing()
        self.assertTrue(arrival.held())
        producer.resumeProducing()
        self.assertFalse(arrival.held())

    def test_uploadHeldBack(self) -> None:
        """
        The body waits while the origin does not take it.
        """

        class Slow(DirectOrigin):
            def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
                answer.pauseUpload()
                return super().open(head, answer)

        self.origin = Slow()
        body = os.urandom(200000)
        arrival = self.arrive(
            b"PUT /mount HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + body
        )
        self.assertEqual((arrival.body(), arrival.ended()), (b"", False))
        write = arrival._upload.write

        def once(data: bytes) -> None:
            write(data)
            arrival.holdUpload(True)

        arrival._upload.write = once  # type: ignore[method-assign]
        arrival.holdUpload(False)
        self.assertEqual((len(arrival.body()), arrival.ended()), (65536, False))
        arrival.holdUpload(False)
        self.assertEqual(len(arrival.body()), 131072)
        arrival._upload.write = write  # type: ignore[method-assign]
        arrival.holdUpload(False)
        self.assertEqual((arrival.body(), arrival.ended()), (body, True))

    def test_earlyResponse(self) -> None:
        """
        After an early response the rest of the body is dropped.
        """

        class Early(DirectOrigin):
            def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
                answer.respond(responseHead(403, b"No", length=0))
                answer.finish()
                return super().open(head, answer)

        self.origin = Early()
        arrival = self.arrive(b"PUT /mount HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        self.assertEqual((arrival.body(), arrival.ended()), (b"", False))
        self.assertIn(b"HTTP/1.1 403 No", self.transport.value())

    def test_clientGone(self) -> None:
        """
        When the client leaves, the upload is broken off, and whoever asked the peer is told.
        """
        arrival = self.arrive(b"GET /mount HTTP/1.1\r\nHost: a\r\n\r\n")
        peer = arrival._upload.answer.peer
        self.assertTrue(verifyObject(IPeer, peer))
        self.assertTrue(verifyObject(IAnswer, arrival._upload.answer))
        lost: list[int] = []
        peer.whenLost(lambda: lost.append(1))
        forget = peer.whenLost(lambda: lost.append(2))
        forget()
        forget()
        peer.countAsAgent()
        self.lose()
        self.assertEqual(lost, [1])
        self.assertTrue(arrival.gone())
        answer = arrival._upload.answer
        answer.respond(responseHead(200, b"OK", length=0))
        answer.write(b"x")
        answer.finish()
        answer.fail(Fault(ORIGIN_BAD_RESPONSE))
        self.assertEqual(self.transport.value(), b"")

    def test_peer(self) -> None:
        """
        The peer is that of the request.
        """
        arrival = self.arrive(b"GET /mount HTTP/1.1\r\nHost: a\r\n\r\n")
        peer = arrival._upload.answer.peer
        self.assertEqual(peer.address, self.transport.getPeer())
        self.assertFalse(peer.secure)

    def test_originRaises(self) -> None:
        """
        An origin that raises makes a 500 as any Resource does, and its exchange is over.
        """
        answers: list[IAnswer] = []

        class Broken(DirectOrigin):
            def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
                answers.append(answer)
                raise ZeroDivisionError

        self.origin = Broken()
        self.channel.dataReceived(b"GET /mount HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertIn(b"HTTP/1.1 500", self.transport.value())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        before = self.transport.value()
        answers[0].respond(responseHead(200, b"OK", length=0))
        answers[0].finish()
        self.assertEqual(self.transport.value(), before)
