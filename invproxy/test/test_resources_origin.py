"""
Streams answered by Resources.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from io import BytesIO

from klein import Klein
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import server
from twisted.web.guard import BasicCredentialFactory, HTTPAuthSessionWrapper
from twisted.web.resource import EncodingResourceWrapper, IResource, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory, Request
from twisted.web.static import File
from zope.interface import Interface, implementer

from invproxy.errors import CLIENT_GONE, Fault
from invproxy.http1.fields import value, values
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.resources import IN_MEMORY, ResourceOrigin
from invproxy.test.helpers import FakePeer, RecordingAnswer, requestHead
from invproxy.test.leaves import Keeper, Leaf, ask, headOf, page
from invproxy.test.test_origins import (
    DirectOrigin,
    RenderingResource,
    StreamingResource,
)


class RequestTests(SynchronousTestCase):
    """
    What a Resource sees of a request.
    """

    def seen(self, head: RequestHead, *pieces: bytes, peer: FakePeer | None = None) -> Request:
        keeper = Keeper()
        ask(keeper, head, *pieces, peer=peer)
        return keeper.requests[0]

    def test_attributes(self) -> None:
        """
        The attributes are those of a request under a stock site.
        """
        fields = [(b"Cookie", b"a=b; c=d"), (b"X-Two", b"1"), (b"X-Two", b"2")]
        request = self.seen(requestHead(b"GET", b"/a%20b/c?x=1&x=2&y=", fields))
        self.assertEqual(request.method, b"GET")
        self.assertEqual(request.uri, b"/a%20b/c?x=1&x=2&y=")
        self.assertEqual(request.path, b"/a%20b/c")
        self.assertEqual(request.args, {b"x": [b"1", b"2"], b"y": [b""]})
        self.assertEqual(request.clientproto, b"HTTP/1.1")
        self.assertEqual((request.prepath, request.postpath), ([], [b"a b", b"c"]))
        self.assertEqual(request.getCookie(b"c"), b"d")
        self.assertEqual(request.requestHeaders.getRawHeaders(b"x-two"), [b"1", b"2"])
        self.assertEqual(request.getHeader(b"Host"), b"example.com")
        assert request.content is not None
        self.assertEqual(request.content.read(), b"")
        self.assertFalse(request.site.displayTracebacks)  # type: ignore[union-attr]

    def test_peer(self) -> None:
        """
        Client and security are those of the peer; the host is that which the client named.
        """
        request = self.seen(requestHead(host=b"example.com:81"))
        self.assertEqual(request.getClientAddress(), IPv4Address("TCP", "192.0.2.7", 4321))
        self.assertFalse(request.isSecure())
        self.assertEqual(request.getHost(), IPv4Address("TCP", "example.com", 81))
        self.assertEqual(request.prePathURL(), b"http://example.com:81/")
        request = self.seen(requestHead(), peer=FakePeer(secure=True))
        self.assertTrue(request.isSecure())
        self.assertEqual(request.prePathURL(), b"https://example.com/")

    def test_hosts(self) -> None:
        """
        Each form of Host makes an address.
        """
        for host, expected in (
            (b"[::1]", IPv6Address("TCP", "::1", 80)),
            (b"[::1]:8080", IPv6Address("TCP", "::1", 8080)),
            (b"a:", IPv4Address("TCP", "a", 80)),
            (b"", IPv4Address("TCP", "localhost", 80)),
            (b"a:65536", IPv4Address("TCP", "a", 65536)),
        ):
            self.assertEqual(self.seen(requestHead(host=host)).getHost(), expected)

    def test_form(self) -> None:
        """
        Forms are parsed into C{args}, as twisted.web does it.
        """
        fields = [(b"Content-Type", b"application/x-www-form-urlencoded")]
        request = self.seen(requestHead(b"POST", b"/?a=1", fields, framing=7), b"a=2&", b"b=3")
        self.assertEqual(request.args, {b"a": [b"2"], b"b": [b"3"]})

    def test_malformedMultipart(self) -> None:
        """
        A form that cannot be parsed is the sender's fault.
        """
        fields = [(b"Content-Type", b"multipart/form-data; boundary=\xff\xff")]
        answer = ask(Keeper(), requestHead(b"POST", b"/", fields, framing=3), b"abc")
        assert answer.fault is not None
        self.assertEqual(answer.fault.code.status, 400)

    def test_bodies(self) -> None:
        """
        Bodies of any size are whole, and the large ones are not kept in memory.
        """
        for framing in (3, IN_MEMORY, IN_MEMORY + 1, CHUNKED):
            size = 3 * IN_MEMORY if framing == CHUNKED else framing
            body = b"x" * (size - 1) + b"y"
            head = requestHead(b"PUT", b"/", framing=framing)
            request = self.seen(head, *[body[at : at + 1000] for at in range(0, size, 1000)])
            assert request.content is not None
            self.assertEqual(request.content.read(), body)
            self.assertEqual(isinstance(request.content, BytesIO), size <= IN_MEMORY)
            content = request.content
            request.finish()
            self.assertTrue(content.closed)

    def test_tree(self) -> None:
        """
        The tree is walked once, as twisted.web walks it.
        """
        walked = []
        keeper = Keeper()

        class Root(Resource):
            def getChild(self, path: bytes, request: Request) -> IResource:
                walked.append((path, request.content, request.prepath, request.postpath))
                return keeper

        ask(Root(), requestHead(b"PUT", b"/a/b?c", framing=1), b"x")
        self.assertEqual(walked, [(b"a", None, [b"a"], [b"b"])])
        self.assertEqual(keeper.requests[0].prepath, [b"a"])
        self.assertEqual(keeper.requests[0].postpath, [b"b"])

    def test_rewrittenPath(self) -> None:
        """
        What a Resource on the way makes of the request stays.
        """
        keeper = Keeper()

        class Root(Resource):
            def getChild(self, path: bytes, request: Request) -> IResource:
                request.path = b"/else"
                request.method = b"POST"
                return keeper

        ask(Root())
        self.assertEqual(keeper.requests[0].path, b"/else")
        self.assertEqual(keeper.requests[0].method, b"POST")

    def test_notFound(self) -> None:
        """
        What the tree does not have is 404.
        """
        self.assertEqual(headOf(ask(Resource())).status, 404)

    def test_star(self) -> None:
        """
        C{OPTIONS *} is answered as by twisted.web.
        """
        answer = ask(Keeper(), requestHead(b"OPTIONS", b"*"))
        self.assertEqual((headOf(answer).status, answer.body), (200, b""))

    def test_session(self) -> None:
        """
        Sessions last from request to request, and end on the clock that was given.
        """
        clock = Clock()
        origin = ResourceOrigin(
            Leaf(lambda request: request.getSession().uid),
            clock=clock,
        )
        first = RecordingAnswer()
        first.ask(origin, requestHead())
        cookie = value(headOf(first).fields, b"Set-Cookie")
        assert cookie is not None
        second = RecordingAnswer()
        second.ask(origin, requestHead(fields=[(b"Cookie", cookie.partition(b";")[0])]))
        self.assertEqual(first.body, second.body)
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        clock.advance(server.Session.sessionTimeout)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_noTimers(self) -> None:
        """
        Without sessions and pull producers, nothing is scheduled.
        """
        clock = Clock()
        ask(page(b"x"), clock=clock)
        self.assertEqual(clock.getDelayedCalls(), [])


class BodyLimitTests(SynchronousTestCase):
    """
    C{maxBody} and C{Expect}.
    """

    def test_announced(self) -> None:
        """
        A body that is too large by its own account is refused before any of it comes.
        """
        fields = [(b"Expect", b"100-continue")]
        answer = RecordingAnswer()
        keeper = Keeper()
        origin = ResourceOrigin(keeper, clock=Clock(), maxBody=10)
        answer.ask(origin, requestHead(b"PUT", b"/", fields, framing=11), end=False)
        assert answer.fault is not None and answer.upload is not None
        self.assertEqual(answer.fault.code.status, 413)
        self.assertEqual(answer.interim, [])
        answer.upload.write(b"x" * 11)
        answer.upload.finish()
        self.assertEqual(keeper.requests, [])
        self.assertEqual(answer.violations, [])

    def test_unannounced(self) -> None:
        """
        One whose length was not known is refused when it gets too large.
        """
        keeper = Keeper()
        answer = ask(
            keeper, requestHead(b"PUT", framing=CHUNKED), b"x" * 10, b"y", b"z", maxBody=10
        )
        assert answer.fault is not None
        self.assertEqual(answer.fault.code.name, "body-too-large")
        self.assertEqual(keeper.requests, [])
        ask(keeper, requestHead(b"PUT", framing=CHUNKED), b"x" * 10, maxBody=10)
        self.assertEqual(len(keeper.requests), 1)

    def test_continue(self) -> None:
        """
        A client that waits for leave gets it at once.
        """
        answer = RecordingAnswer()
        origin = ResourceOrigin(Keeper(), clock=Clock(), maxBody=10)
        fields = [(b"Expect", b"100-continue")]
        answer.ask(origin, requestHead(b"PUT", b"/", fields, framing=10), end=False)
        self.assertEqual([head.status for head in answer.interim], [100])

    def test_streamsAreFree(self) -> None:
        """
        A Resource that takes streams decides on its own, about C{Expect} too.
        """
        for root in (StreamingResource(), Resource()):
            streaming = root if isinstance(root, StreamingResource) else StreamingResource()
            root.putChild(b"a", streaming)
            answer = RecordingAnswer()
            origin = ResourceOrigin(root, clock=Clock(), maxBody=1)
            head = requestHead(b"PUT", b"/a?b", [(b"Expect", b"100-continue")], framing=10)
            answer.ask(origin, head, end=False)
            self.assertEqual(answer.interim, [])
            self.assertIsNone(answer.fault)
            self.assertEqual(streaming.arrivals[0].target, b"/a?b")

    def test_timeout(self) -> None:
        """
        A body must be whole after some time, however often a piece of it comes; the clock stops with the exchange.
        """
        clock = Clock()
        keeper = Keeper()
        origin = ResourceOrigin(keeper, clock=clock, maxBody=10, bodyTimeout=30)
        stalled = RecordingAnswer()
        upload = stalled.ask(origin, requestHead(b"PUT", framing=CHUNKED), b"x", end=False)
        clock.advance(29)
        upload.write(b"x")
        self.assertIsNone(stalled.fault)
        clock.advance(1)
        assert stalled.fault is not None
        self.assertEqual(stalled.fault.code.name, "head-timeout")
        upload.write(b"x")
        upload.finish()
        self.assertEqual(keeper.requests, [])
        for pieces, end in (([b"x"], True), ([b"x" * 11], True), ([b"x"], False)):
            answer = RecordingAnswer()
            answer.ask(origin, requestHead(b"PUT", framing=CHUNKED), *pieces, end=end)
            if not end:
                answer.abort(Fault(CLIENT_GONE))
            self.assertEqual(clock.getDelayedCalls(), [])
        RecordingAnswer().ask(origin, requestHead(), end=False)
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(stalled.violations, [])

    def test_noBody(self) -> None:
        """
        A Resource that says that it takes no body is rendered at once.
        """
        keeper = Keeper()
        keeper.takesNoBody = True  # type: ignore[attr-defined]
        origin = ResourceOrigin(keeper, clock=Clock(), maxBody=10)
        answer = RecordingAnswer()
        head = requestHead(b"PUT", b"/", [(b"Expect", b"100-continue")], framing=11)
        upload = answer.ask(origin, head, end=False)
        [request] = keeper.requests
        assert request.content is not None
        upload.write(b"x" * 11)
        upload.finish()
        self.assertEqual(request.content.read(), b"")
        self.assertEqual((len(keeper.requests), answer.interim), (1, []))
        answer.abort(Fault(CLIENT_GONE))
        self.assertEqual(len(keeper.losses), 1)

    def test_noForms(self) -> None:
        """
        Where forms are not parsed, bodies are only kept.
        """
        keeper = Keeper()
        origin = ResourceOrigin(keeper, clock=Clock(), parsesForms=False)
        for mediaType in (b"application/x-www-form-urlencoded", b"multipart/form-data"):
            head = requestHead(b"POST", b"/?a=1", [(b"Content-Type", mediaType)], framing=3)
            RecordingAnswer().ask(origin, head, b"a=2")
            request = keeper.requests.pop()
            assert request.content is not None
            self.assertEqual((request.args, request.content.read()), ({b"a": [b"1"]}, b"a=2"))

    def test_noRoom(self) -> None:
        """
        A body that cannot be written down is an error of ours.
        """
        answer = RecordingAnswer()
        origin = ResourceOrigin(Keeper(), clock=Clock())
        upload = answer.ask(origin, requestHead(b"PUT", framing=CHUNKED), end=False)

        def full(data: bytes) -> int:
            raise OSError(28, "No space left on device")

        upload._channel.request.content.write = full  # type: ignore[attr-defined]
        upload.write(b"x")
        assert answer.fault is not None
        self.assertEqual(answer.fault.code.status, 500)


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


@implementer(IPushProducer)
class Producer:
    """
    A push producer that takes down what it is told.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


@implementer(IPullProducer)
class Puller:
    """
    A pull producer of three pieces.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.left = 3
        self.stopped = False
        request.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self.left -= 1
        self.request.write(b"%d" % self.left)
        if not self.left:
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self) -> None:
        self.stopped = True


class ProducerTests(SynchronousTestCase):
    """
    Back-pressure towards Resources.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.keeper = Keeper()
        self.answer = ask(self.keeper, clock=self.clock)
        self.request = self.keeper.requests[0]
        assert self.answer.upload is not None
        self.upload = self.answer.upload

    def test_push(self) -> None:
        """
        A push producer is paused and resumed, once each, and stopped when the asker leaves.
        """
        producer = Producer()
        self.request.registerProducer(producer, True)
        self.assertEqual(producer.calls, [])
        self.upload.resumeAnswer()
        self.upload.pauseAnswer()
        self.upload.pauseAnswer()
        self.upload.resumeAnswer()
        self.upload.resumeAnswer()
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.answer.abort(Fault(CLIENT_GONE))
        self.assertEqual(producer.calls, ["pause", "resume", "stop"])

    def test_pausedBefore(self) -> None:
        """
        A producer that is registered during a pause begins with it.
        """
        self.upload.pauseAnswer()
        producer = Producer()
        self.request.registerProducer(producer, True)
        self.assertEqual(producer.calls, ["pause"])

    def test_pull(self) -> None:
        """
        A pull producer gives a piece at a time.
        """
        Puller(self.request)
        self.assertEqual(self.answer.pieces, [])
        self.clock.advance(0)
        self.assertEqual(self.answer.pieces, [b"2", b"1", b"0"])
        self.assertTrue(self.answer.finished)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pullPaused(self) -> None:
        """
        It gives none during a pause, and goes on behind it.
        """
        self.upload.pauseAnswer()
        Puller(self.request)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        write = self.answer.write

        def pausing(data: bytes) -> None:
            write(data)
            self.upload.pauseAnswer()

        self.answer.write = pausing  # type: ignore[method-assign]
        for expected in (b"2", b"21", b"210"):
            self.upload.resumeAnswer()
            self.clock.advance(0)
            self.assertEqual(self.answer.body, expected)
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(self.answer.finished)

    def test_pullStopped(self) -> None:
        """
        It is stopped when the asker leaves.
        """
        puller = Puller(self.request)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.answer.abort(Fault(CLIENT_GONE))
        self.assertTrue(puller.stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_broken(self) -> None:
        """
        A producer that raises ends its own exchange.
        """
        for streaming in (False, True):
            self.setUp()
            producer = Producer()
            producer.resumeProducing = lambda: 1 / 0  # type: ignore[method-assign, assignment]
            self.request.registerProducer(producer, streaming)
            self.clock.advance(0)
            self.upload.pauseAnswer()
            self.upload.resumeAnswer()
            self.assertIsNotNone(self.answer.fault)
            self.assertEqual(producer.calls[-1], "stop")
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_file(self) -> None:
        """
        Files, whole or in part, come as twisted.web gives them.
        """
        path = self.mktemp()
        content = os.urandom(300000)
        with open(path, "wb") as output:
            output.write(content)
        for fields, status, expected in (
            ([], 200, content),
            ([(b"Range", b"bytes=1000-200999")], 206, content[1000:201000]),
        ):
            clock = Clock()
            file = File(path)
            file.isLeaf = True
            answer = ask(file, requestHead(fields=fields), clock=clock)
            while clock.getDelayedCalls():
                clock.advance(0)
            self.assertEqual(headOf(answer).status, status)
            self.assertEqual(headOf(answer).framing, len(expected))
            self.assertEqual(answer.body, expected)
            self.assertTrue(answer.finished)


class KleinTests(SynchronousTestCase):
    """
    A klein application as the root.
    """

    def setUp(self) -> None:
        app = Klein()
        self.waiting: Deferred[bytes] = Deferred()

        @app.route("/hello/<name>", methods=["GET"])  # type: ignore[untyped-decorator, unused-ignore]
        def hello(request: Request, name: str) -> str:
            return f"hello {name}"

        @app.route("/later", methods=["POST"])  # type: ignore[untyped-decorator, unused-ignore]
        def later(request: Request) -> Deferred[bytes]:
            assert request.content is not None
            body = request.content.read()
            return self.waiting.addCallback(lambda result: result + body)

        @app.route("/branch/", branch=True)  # type: ignore[untyped-decorator, unused-ignore]
        def branch(request: Request) -> IResource:
            return Leaf(lambda request: b",".join(request.postpath or []))

        self.root: IResource = app.resource()

    def test_route(self) -> None:
        """
        Routes with parameters.
        """
        answer = ask(self.root, requestHead(b"GET", b"/hello/w%20d"))
        self.assertEqual((headOf(answer).status, answer.body), (200, b"hello w d"))
        self.assertTrue(answer.finished)

    def test_deferred(self) -> None:
        """
        Routes that answer later.
        """
        answer = ask(self.root, requestHead(b"POST", b"/later", framing=3), b"abc")
        self.assertIsNone(answer.head)
        self.waiting.callback(b"body: ")
        self.assertEqual(answer.body, b"body: abc")
        self.assertTrue(answer.finished)

    def test_abandoned(self) -> None:
        """
        A route whose asker left is cancelled.
        """
        answer = ask(self.root, requestHead(b"POST", b"/later", framing=3), b"abc")
        answer.abort(Fault(CLIENT_GONE))
        self.assertTrue(self.waiting.called)
        self.assertEqual(answer.violations, [])

    def test_branch(self) -> None:
        """
        Routes that return Resources.
        """
        answer = ask(self.root, requestHead(b"GET", b"/branch/a/b"))
        self.assertEqual(answer.body, b"a,b")

    def test_errors(self) -> None:
        """
        Werkzeug's errors.
        """
        self.assertEqual(headOf(ask(self.root, requestHead(b"GET", b"/none"))).status, 404)
        self.assertEqual(headOf(ask(self.root, requestHead(b"PUT", b"/later"))).status, 405)


class AuthenticationTests(SynchronousTestCase):
    """
    Resources that are only found later: twisted.cred in front.
    """

    def test_guarded(self) -> None:
        """
        A guard asks for credentials, and leads to the Resource, which may take streams: it is then rendered.
        """
        leaf = RenderingResource(DirectOrigin())

        @implementer(IRealm)
        class Realm:
            def requestAvatar(
                self, avatarId: object, mind: object, *interfaces: type[Interface]
            ) -> tuple[type[Interface], object, Callable[[], None]]:
                return IResource, leaf, lambda: None

        checker = InMemoryUsernamePasswordDatabaseDontUse(user=b"secret")
        guard = HTTPAuthSessionWrapper(
            Portal(Realm(), [checker]), [BasicCredentialFactory(b"here")]
        )
        self.assertEqual(headOf(ask(guard)).status, 401)
        fields = [(b"Authorization", b"Basic " + b64encode(b"user:secret"))]
        ask(guard, requestHead(b"GET", b"/a", fields))
        assert isinstance(leaf.origin, DirectOrigin)
        self.assertEqual(leaf.origin.arrivals[0].target, b"/a")
