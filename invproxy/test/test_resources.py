"""
The bridge to twisted.web, in the details that only it has.
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
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import server
from twisted.web.guard import BasicCredentialFactory, HTTPAuthSessionWrapper
from twisted.web.resource import EncodingResourceWrapper, IResource, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory, Request
from twisted.web.static import Data, File
from zope.interface import Interface, implementer
from zope.interface.verify import verifyObject

from invproxy.errors import CLIENT_GONE, NO_BACKEND, ORIGIN_BAD_RESPONSE, ORIGIN_REFUSED, Fault
from invproxy.http1.fields import value, values
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import RequestHead, ResponseHead, responseHead
from invproxy.interfaces import IAnswer, IPeer, IUpload
from invproxy.resources import IN_MEMORY, ResourceOrigin, renderStream
from invproxy.test.helpers import FakePeer, RecordingAnswer, requestHead
from invproxy.test.test_origins import (
    DirectArrival,
    DirectOrigin,
    RenderingResource,
    StreamingResource,
)


class Leaf(Resource):
    """
    A Resource whose C{render} is given.
    """

    isLeaf = True

    def __init__(self, render: Callable[[Request], bytes | int]) -> None:
        super().__init__()
        self._render = render

    def render(self, request: Request) -> bytes | int:
        return self._render(request)


class Keeper(Resource):
    """
    A Resource that keeps its requests, and answers nothing.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.losses: list[Failure] = []

    def render(self, request: Request) -> int:
        self.requests.append(request)
        request.notifyFinish().addErrback(self.losses.append)
        return NOT_DONE_YET


def ask(
    root: IResource,
    head: RequestHead | None = None,
    *pieces: bytes,
    clock: Clock | None = None,
    maxBody: int = 0,
    peer: FakePeer | None = None,
) -> RecordingAnswer:
    """
    Send a whole request to a tree of Resources.
    """
    answer = RecordingAnswer(peer)
    origin = ResourceOrigin(root, clock=clock or Clock(), maxBody=maxBody)
    answer.ask(origin, head or requestHead(), *pieces)
    return answer


def page(content: bytes) -> Data:
    """
    A Resource that answers GET and HEAD alone, at its own path alone.
    """
    data = Data(content, "text/plain")
    data.isLeaf = True
    return data


def headOf(answer: RecordingAnswer) -> ResponseHead:
    """
    The head of an answer, which must be there.
    """
    assert answer.head is not None
    return answer.head


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
