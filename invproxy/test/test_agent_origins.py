"""
The origins that an agent serves, from the wire of the proxy to the wire of the server, or to a Resource in process.
"""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from invproxy.agent.origins import HTTPOrigin
from invproxy.errors import ConfigError
from invproxy.resources import ResourceOrigin
from invproxy.test.scripted import AgentTestCase, RawServer
from invproxy.testing import MemoryNetwork

GET = b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


def unsent(wire: Any) -> int:
    """
    How many bytes a test has written that the network did not take.
    """
    transport = wire.transport
    joined: int = len(transport.dataBuffer) - transport.offset
    return joined + sum(len(piece) for piece in transport._tempDataBuffer)


class URLTests(SynchronousTestCase):
    """
    L{HTTPOrigin.fromURL}.
    """

    def test_good(self):
        """
        Host, perhaps port and base path; or a UNIX socket.
        """
        for url in (
            "http://localhost",
            "http://localhost/",
            "http://127.0.0.1:3000/base/",
            "http://[::1]:3000",
            "http://h/a%20b",
            "unix:/run/a.sock",
        ):
            HTTPOrigin.fromURL(MemoryNetwork(), url)

    def test_bad(self):
        """
        Anything else is refused in one line, which shows no password.
        """
        for url in (
            "",
            "localhost:3000",
            "https://localhost",
            "ftp://h",
            "http://",
            "http://:3000",
            "http://h:x",
            "http://h:0",
            "http://h:70000",
            "http://[::1",
            "http://h/?a",
            "http://h/#a",
            "http://u:hunter2@h",
            "http://:hunter2@h",
            "http://@h",
            "http://h/\xfc",
            "http://\xfc",
            "http://h/a b",
            "http://a b/",
            "http://h/a\x7fb",
            "unix:",
            "unix:a.sock",
        ):
            error = self.assertRaises(ConfigError, HTTPOrigin.fromURL, MemoryNetwork(), url)
            self.assertNotIn("hunter2", str(error))
            self.assertNotIn("\n", str(error))


class OriginTestCase(AgentTestCase):
    """
    An agent before a server of bytes.
    """

    url = "http://origin.test:3000"
    port: Any = 3000
    settings: dict[str, Any] = {}

    def setUp(self):
        super().setUp()
        self.server = RawServer(self.network, self.port)
        self.service: Any = self.agent(HTTPOrigin.fromURL(self.network, self.url), **self.settings)

    def ask(self, request=GET, identifier="one", **options):
        """
        @return: the server's connection with the request, and the call for the response.
        """
        self.begin(request, identifier, **options)
        [post] = self.proxy.posts(identifier)
        return self.server.wires[-1], post

    def done(self, post):
        """
        The exchange is over, and nothing is in flight.
        """
        post.answer(200)
        self.assertEqual(self.service._run.carrier.countExchanges(), 0)


class HTTPOriginTests(OriginTestCase):
    """
    Over TCP.
    """

    def test_asItCame(self):
        """
        Request and response pass as they are.
        """
        request = b"PUT /a?b=c HTTP/1.1\r\nhOST: h\r\nX-a: 1\r\nx-A: \xe9\r\nContent-Length: 5\r\n\r\nhello"
        wire, post = self.ask(request)
        self.assertEqual(wire.take(), request)
        answer = b"HTTP/1.1 299 So \xe9 so\r\nSet-Cookie: a\r\nset-COOKIE: b\r\nContent-Length: 2\r\n\r\nhi"
        wire.send(answer)
        self.assertEqual(post.body, answer)
        self.assertTrue(post.whole)
        self.done(post)

    def test_kept(self):
        """
        The connection serves again, for 1.5 seconds.
        """
        for number in range(3):
            wire, post = self.ask(GET, str(number))
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            self.done(post)
        self.assertEqual(len(self.server.wires), 1)
        self.network.advance(1.6)
        self.assertTrue(self.server.wires[0].ended)

    def test_noHost(self):
        """
        A request of HTTP/1.0 without Host gets the origin's authority.
        """
        wire, _ = self.ask(b"GET / HTTP/1.0\r\nX-A: b\r\n\r\n")
        self.assertEqual(wire.take(), b"GET / HTTP/1.1\r\nHost: origin.test:3000\r\nX-A: b\r\n\r\n")

    def test_untilClose(self):
        """
        A body that ends with its connection gets chunks.
        """
        wire, post = self.ask()
        wire.send(b"HTTP/1.0 200 OK\r\n\r\nhel")
        wire.send(b"lo")
        self.assertFalse(post.whole)
        wire.close()
        self.assertEqual(
            post.body,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        )
        self.done(post)

    def test_untilReset(self):
        """
        But a reset is no end.
        """
        wire, post = self.ask()
        wire.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
        wire.abort()
        self.assertCut(post)
        self.assertNotIn(b"0\r\n\r\n", post.body)

    def assertCut(self, post, name="one"):
        """
        The proxy is told that the response broke; once it has heard that, the call with it is broken off.
        """
        lifeline, report = self.proxy.posts(name)
        self.assertIs(lifeline, post)
        self.assertEqual(report.fields["x-inverting-proxy-error"], "origin-bad-response")
        self.done(report)
        self.assertTrue(post.lost)
        self.assertFalse(post.whole)

    def test_chunked(self):
        """
        Chunks and trailers stay what they are.
        """
        wire, post = self.ask()
        wire.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
            b"5;x=y\r\nhello\r\n0\r\nX-T: t\r\n\r\n"
        )
        self.assertEqual(
            post.body,
            b"HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: t\r\n\r\n",
        )
        self.done(post)

    def test_bodyless(self):
        """
        Answers to HEAD, 204 and 304 have no body; nor is one waited for.
        """
        for number, (method, answer) in enumerate(
            [
                (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
                (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
                (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
                (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
                (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: a\r\n\r\n"),
            ]
        ):
            wire, post = self.ask(b"%b / HTTP/1.1\r\nHost: h\r\n\r\n" % method, str(number))
            wire.send(answer)
            self.assertEqual(post.body, answer.replace(b"Transfer-Encoding: chunked\r\n", b""))
            self.assertTrue(post.whole)
            self.done(post)

    def test_expect(self):
        """
        The origin decides about C{Expect}.
        """
        request = b"PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        fetch = self.begin(request, end=False)
        wire = self.server.wires[0]
        self.assertEqual(wire.take(), request)
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        [post] = self.proxy.posts()
        self.assertEqual(post.body, b"HTTP/1.1 100 Continue\r\n\r\n")
        fetch.more(b"hello")
        fetch.end()
        self.assertEqual(wire.take(), b"hello")
        wire.send(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        self.done(post)

    def report(self, code: str, status: bytes) -> None:
        """
        See a report, and hear it.
        """
        lifeline, report = self.proxy.posts()
        self.assertEqual(report.fields["x-inverting-proxy-error"], code)
        self.assertIn(status, report.body)
        self.assertFalse(lifeline.lost)
        self.done(report)

    def test_refused(self):
        """
        A server that is not there is a 502.
        """
        self.network.refuse("origin.test", 3000)
        self.begin(GET)
        self.network.advance(0.5)
        self.report("origin-refused", b"HTTP/1.1 502 Bad Gateway\r\n")

    def test_noSuchHost(self):
        """
        So is a host that cannot be found.
        """
        self.network.hosts["origin.test"] = None
        self.begin(GET)
        self.report("origin-refused", b"HTTP/1.1 502 Bad Gateway\r\n")

    def test_connectTimeout(self):
        """
        So is one to which no connection comes about in time.
        """
        self.network.ignore("origin.test", 3000)
        self.begin(GET)
        self.network.advance(9)
        self.assertEqual(len(self.proxy.posts()), 1)
        self.network.advance(2)
        self.report("origin-refused", b"HTTP/1.1 502 Bad Gateway\r\n")

    def test_badResponse(self):
        """
        What is not HTTP is a 502, too, and so is nothing at all.
        """
        answers = [
            b"220 ESMTP\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX y: z\r\n\r\n",
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 101 Unasked\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: %b\r\n\r\n" % (b"x" * 100_000),
            b"HTTP/1.1 103 Early Hints\r\n\r\nnonsense\r\n\r\n",
            b"",
            b"HTTP/1.1 200",
        ]
        for number, answer in enumerate(answers):
            name = str(number)
            wire, _ = self.ask(GET, name)
            wire.send(answer)
            wire.close()
            lifeline, report = self.proxy.posts(name)
            self.assertEqual(
                report.fields["x-inverting-proxy-error"], "origin-bad-response", answer
            )
            self.assertFalse(lifeline.lost)
            self.done(report)

    def test_breaks(self):
        """
        A response that breaks behind its head is cut.
        """
        for number, (head, rest) in enumerate(
            [
                (b"Content-Length: 9\r\n\r\n", b"hello"),
                (b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n"),
                (b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\nxyz\r\n"),
                (b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\n"),
            ]
        ):
            wire, post = self.ask(GET, str(number))
            wire.send(b"HTTP/1.1 200 OK\r\n" + head)
            wire.send(rest)
            wire.close()
            self.assertCut(post, str(number))
            self.assertNotIn(b"\r\n0\r\n", post.body)

    def test_clientGone(self):
        """
        When the client is gone the connection to the server is closed.
        """
        wire, post = self.ask()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
        post.answer(404)
        self.assertIsNotNone(wire.lost)

    def test_backPressure(self):
        """
        A proxy that does not read stops the server, and little is held.
        """
        wire, post = self.ask()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
        post.wire.transport.pauseProducing()
        wire.send(b"x" * 10_000_000)
        self.assertGreater(unsent(wire), 9_000_000)
        post.wire.transport.resumeProducing()
        self.network.pump()
        self.assertTrue(post.whole)
        self.assertEqual(len(post.body.partition(b"\r\n\r\n")[2]), 10_000_000)
        self.done(post)

    def test_uploadBackPressure(self):
        """
        A server that does not read stops the fetch.
        """
        size = 5_000_000
        fetch = self.begin(
            b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size, end=False
        )
        wire = self.server.wires[0]
        wire.transport.pauseProducing()
        fetch.more(b"x" * size)
        fetch.end()
        self.assertLess(len(wire.received), 100_000)
        self.assertGreater(unsent(fetch.wire), 4_000_000)
        wire.transport.resumeProducing()
        self.network.pump()
        self.assertEqual(len(wire.take().partition(b"\r\n\r\n")[2]), size)
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.done(self.proxy.posts()[0])

    def test_uploadBeforeConnection(self):
        """
        A large upload that begins before the server's connection stands arrives whole.
        """
        self.network.ignore("origin.test", 3000)
        size = 1_000_000
        fetch = self.begin(
            b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size, end=False
        )
        fetch.more(b"x" * size)
        fetch.end()
        self.network.accept("origin.test", 3000)
        self.network.advance(1)
        self.assertEqual(len(self.server.wires[0].take().partition(b"\r\n\r\n")[2]), size)

    def test_upgrade(self):
        """
        Both directions of an upgraded connection, each with an end of its own.
        """
        fetch = self.begin(UPGRADE, end=False)
        wire = self.server.wires[0]
        self.assertEqual(wire.take(), UPGRADE)
        wire.send(SWITCH + b"hello")
        [post] = self.proxy.posts()
        self.assertEqual(post.body, SWITCH + b"hello")
        fetch.more(b"ping")
        self.assertEqual(wire.take(), b"ping")
        fetch.more(b"bye")
        fetch.end()
        self.assertEqual((wire.take(), wire.ended), (b"bye", True))
        wire.send(b"x" * 300_000)
        wire.close()
        self.assertTrue(post.whole)
        self.assertTrue(post.body.endswith(b"x" * 300_000))
        self.done(post)

    def test_upgradeEndsTheOtherWay(self):
        """
        The server ends first; what the client still says reaches it.
        """
        fetch = self.begin(UPGRADE, end=False)
        wire = self.server.wires[0]
        wire.take()
        wire.send(SWITCH)
        wire.transport.loseWriteConnection()
        [post] = self.proxy.posts()
        self.assertTrue(post.whole)
        post.answer(200)
        fetch.more(b"y" * 300_000)
        fetch.end()
        self.assertEqual(wire.take(), b"y" * 300_000)
        self.assertEqual(self.service._run.carrier.countExchanges(), 0)
        self.assertTrue(wire.ended)

    def test_stop(self):
        """
        A stopped agent leaves no connection to the server.
        """
        wire, post = self.ask()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        self.done(post)
        self.assertIsNone(wire.lost)
        self.network.resultOf(self.service.stopService())
        self.network.pump()
        self.assertIsNotNone(wire.lost)
        self.assertEqual(self.network.getDelayedCalls(), [])


class BaseTests(OriginTestCase):
    """
    An origin with a base path, and another Host.
    """

    url = "http://origin.test:3000/in/side/"
    settings = {"rewriteHost": b"other"}

    def test_base(self):
        """
        The base path stands before each target.
        """
        for number, (target, sent) in enumerate(
            [
                (b"/", b"/in/side/"),
                (b"/a?b", b"/in/side/a?b"),
                (b"//x/..", b"/in/side//x/.."),
                (b"/?q", b"/in/side/?q"),
            ]
        ):
            self.begin(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target, str(number))
            self.assertTrue(
                self.server.wires[-1]
                .take()
                .startswith(b"GET %b HTTP/1.1\r\nHost: other\r\n" % sent)
            )

    def test_asterisk(self):
        """
        But C{*} is no path.
        """
        wire, _ = self.ask(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertTrue(wire.take().startswith(b"OPTIONS * HTTP/1.1\r\n"))


class UNIXTests(OriginTestCase):
    """
    Over a UNIX socket.
    """

    url = "unix:/run/origin.sock"
    port = "/run/origin.sock"

    def test_both(self):
        """
        It is the same.
        """
        wire, post = self.ask(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(wire.take(), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        self.assertTrue(post.body.endswith(b"hi"))
        self.done(post)

    def test_gone(self):
        """
        A socket that is not there is a 502.
        """
        self.server.port.stopListening()
        self.network.pump()
        self.begin(GET)
        self.assertEqual(self.proxy.posts()[1].fields["x-inverting-proxy-error"], "origin-refused")
        self.done(self.proxy.posts()[1])


class OriginTimeoutTests(OriginTestCase):
    """
    A limit on the wait for an origin.
    """

    settings = {"originTimeout": 3.0}

    def test_silent(self):
        """
        A server that says nothing in time is a 504, and its connection is closed.
        """
        self.begin(GET)
        self.network.advance(3.5)
        self.assertIsNotNone(self.server.wires[0].lost)
        self.assertEqual(self.proxy.posts()[1].fields["x-inverting-proxy-error"], "origin-timeout")
        self.done(self.proxy.posts()[1])


class Whoami(Resource):
    """
    Tells what a Resource learns of its client.
    """

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.requests: list[Any] = []
        self.lost: list[Any] = []

    def render(self, request):
        self.requests.append(request)
        request.notifyFinish().addErrback(self.lost.append)
        if request.path == b"/wait":
            return NOT_DONE_YET
        return f"{request.getClientIP()} {request.isSecure()} {request.uri.decode()}".encode()


class InProcessTests(AgentTestCase):
    """
    Resources without a socket.
    """

    def setUp(self):
        super().setUp()
        self.resource = Whoami()
        self.service: Any = self.agent(ResourceOrigin(self.resource, clock=self.network))

    def test_client(self):
        """
        A Resource learns the client's address and scheme from the forwarding fields.
        """
        self.begin(
            b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n"
        )
        [post] = self.proxy.posts()
        self.assertTrue(post.body.endswith(b"\r\n\r\n203.0.113.9 True /a?b"), post.body)
        post.answer(200)

    def test_clientGone(self):
        """
        It learns that its client is gone.
        """
        self.begin(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(self.resource.lost, [])
        self.proxy.posts()[0].answer(404)
        self.assertEqual(len(self.resource.lost), 1)

    def test_stream(self):
        """
        What it writes goes out at once, and its end is visible.
        """
        self.begin(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        [post] = self.proxy.posts()
        [request] = self.resource.requests
        request.write(b"one")
        self.network.pump()
        self.assertTrue(post.body.endswith(b"3\r\none\r\n"))
        request.finish()
        self.network.pump()
        self.assertTrue(post.whole)
        self.assertTrue(post.body.endswith(b"0\r\n\r\n"))
        post.answer(200)
        self.assertEqual(self.service._run.carrier.countExchanges(), 0)

    def test_upgrade(self):
        """
        It cannot be asked for an upgrade, and answers as if it were not.
        """
        fetch = self.begin(UPGRADE, end=False)
        [post] = self.proxy.posts()
        self.assertTrue(post.body.startswith(b"HTTP/1.1 200 OK\r\n"))
        fetch.end()
        post.answer(200)
        self.assertEqual(self.service._run.carrier.countExchanges(), 0)
