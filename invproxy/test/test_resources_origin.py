"""
Streams answered by Resources.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from io import BytesIO

from klein import Klein
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import server
from twisted.web.guard import BasicCredentialFactory, HTTPAuthSessionWrapper
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from zope.interface import Interface, implementer

from invproxy.errors import CLIENT_GONE, Fault
from invproxy.http1.fields import value
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import RequestHead
from invproxy.resources import IN_MEMORY, ResourceOrigin
from invproxy.test.directorigin import (
    DirectOrigin,
    RenderingResource,
)
from invproxy.test.helpers import FakePeer, RecordingAnswer, requestHead
from invproxy.test.leaves import Keeper, Leaf, ask, headOf, page


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
