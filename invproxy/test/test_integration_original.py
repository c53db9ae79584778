"""
The poll protocol as the original speaks it: our agent at a stand-in for its server, and a stand-in for its agent at our
proxy.
"""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Callable
from functools import cache

from invproxy.test.originals import JWT, TOKEN, OriginalAgent, OriginalServer
from invproxy.test.programs import Agent, IntegrationTestCase, Proxy, eventually
from invproxy.test.wires import Listener, Wire, fieldsOf, firstLine


class ServerTests(IntegrationTestCase):
    """
    Our agent, the original's server.
    """

    def setUp(self) -> None:
        self.server = OriginalServer()
        self.addCleanup(self.server.close)
        self.origin = Listener()
        self.addCleanup(self.origin.close)
        self.agent = self.running(Agent(self.server.url, "web", self.origin.url))

    def take(self) -> tuple[Wire, bytes, bytes]:
        """
        Take a request at the backend.

        @return: its connection, its head and its body.
        """
        server = self.origin.next()
        self.addCleanup(server.close)
        head, body, _ = server.readMessage()
        return server, head, body

    def parse(self, response: bytes, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """
        Read a response as the original's server does: with a client's parser, which a message that does not show
        its own end would confuse.
        """

        class Source:
            def makefile(self, mode: str) -> io.BytesIO:
                return io.BytesIO(response)

        parsed = http.client.HTTPResponse(Source(), method=method)  # type: ignore[arg-type]
        parsed.begin()
        return (
            parsed.status,
            {name.lower(): value for name, value in parsed.getheaders()},
            parsed.read(),
        )

    def test_get(self) -> None:
        """
        A request and its response.
        """
        pending = self.server.submit(
            b"GET /a?b=c HTTP/1.1\r\nHost: app.example\r\nUser-Agent: x\r\nAccept-Encoding: gzip\r\n\r\n"
        )
        server, head, _ = self.take()
        self.assertEqual(
            head,
            b"GET /a?b=c HTTP/1.1\r\nHost: app.example\r\nUser-Agent: x\r\nAccept-Encoding: gzip\r\n\r\n",
        )
        server.send(
            b"HTTP/1.1 203 Mine\r\nX-A: 1\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\nhello"
        )
        status, fields, body = self.parse(pending.response())
        self.assertEqual((status, body), (203, b"hello"))
        self.assertEqual((fields["x-a"], fields["set-cookie"]), ("1", "a=b"))
        self.assertEqual(pending.fetches, 1)

    def test_bodies(self) -> None:
        """
        Request bodies in either framing.
        """
        for framing, body in (
            (b"Content-Length: 6", b"abcdef"),
            (b"Transfer-Encoding: chunked", b"2\r\nab\r\n4\r\ncdef\r\n0\r\n\r\n"),
        ):
            pending = self.server.submit(
                b"POST /p HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n%b" % (framing, body)
            )
            server, _, content = self.take()
            self.assertEqual(content, b"abcdef")
            server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            self.assertEqual(self.parse(pending.response())[::2], (200, b"ok"))
            self.origin.keep(server)

    def test_streaming(self) -> None:
        """
        The response is on its way while the backend still produces it, and its end can be seen.
        """
        for framing, end in ((b"", b""), (b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n")):
            pending = self.server.submit(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            server, _, _ = self.take()
            server.send(b"HTTP/1.1 200 OK\r\n%b\r\n" % framing)
            for piece in (b"first", b"second"):
                server.send(b"%x\r\n%b\r\n" % (len(piece), piece) if framing else piece)
                pending.readUntil(piece)
            server.send(end)
            server.close()
            response = pending.response()
            self.assertEqual(self.parse(response)[::2], (200, b"firstsecond"))
            self.assertEqual(response[-5:], b"0\r\n\r\n")

    def test_bodyless(self) -> None:
        """
        Responses without a body.
        """
        for method, response in (
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"),
            ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n'),
        ):
            pending = self.server.submit(b"%b / HTTP/1.1\r\nHost: h\r\n\r\n" % method.encode())
            server, _, _ = self.take()
            server.send(response)
            status, _, body = self.parse(pending.response(), method)
            self.assertEqual((status, body), (int(response[9:12]), b""))
            self.origin.keep(server)

    def test_interim(self) -> None:
        """
        No interim response is sent: the original would take it for the final one.
        """
        pending = self.server.submit(
            b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"
        )
        server, _, body = self.take()
        self.assertEqual(body, b"hi")
        server.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        response = pending.response()
        self.assertEqual(response[:15], b"HTTP/1.1 200 OK")
        self.assertEqual(self.parse(response)[2], b"ok")

    def test_upgrade(self) -> None:
        """
        No upgrade is asked for: there is no way to carry it.
        """
        pending = self.server.submit(
            b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        server, head, _ = self.take()
        self.assertNotIn(b"upgrade", head.lower())
        server.send(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.parse(pending.response())[0], 426)

    def test_down(self) -> None:
        """
        A backend that is down is a plain 502 to the original.
        """
        self.origin.close()
        pending = self.server.submit(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        eventually(lambda: b"HTTP/1.1 502" in pending.response(), "a 502 has come")
        self.assertIsNone(self.agent.process.poll())

    def test_emptyPolls(self) -> None:
        """
        Empty polls, however they are spelt, are nothing to talk about.
        """
        printed = len(self.agent.output())
        for body in (b"null", b"[]", b"", b"null\n"):
            self.server.emptyPoll = body
            self.server.waitPolls(self.server.polls + 3)
        self.assertEqual(self.agent.output(printed), [])
        pending = self.server.submit(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        server, _, _ = self.take()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(self.parse(pending.response())[2], b"ok")

    def test_repeated(self) -> None:
        """
        An ID that is listed again and again is one request.
        """
        self.server.repeats = True
        pending = self.server.submit(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        server, _, _ = self.take()
        self.server.waitPolls(self.server.polls + 10)
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(self.parse(pending.response())[2], b"ok")
        self.assertEqual(pending.fetches, 1)
        self.assertFalse(self.origin.hasRequest())

    def test_retried(self) -> None:
        """
        A request that the server cannot give at first is asked for again.
        """
        self.server.failures = 2
        pending = self.server.submit(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        server, _, _ = self.take()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(self.parse(pending.response())[2], b"ok")
        self.assertEqual(pending.fetches, 3)


@cache
def patientProxy() -> Proxy:
    """
    A proxy for all tests here that do not wait for its clocks.
    """
    return Proxy()


@cache
def quickProxy() -> Proxy:
    """
    A proxy that does not wait long with polls, and counts an agent as lost soon.
    """
    return Proxy("--poll-timeout", "2")


class AgentTestCase(IntegrationTestCase):
    """
    The original's agent, our proxy.

    @cvar makeProxy: gives the proxy.
    """

    makeProxy: Callable[[], Proxy]

    def setUp(self) -> None:
        self.proxy = type(self).makeProxy()
        # A backend of its own for each test, so that nothing waits there.
        self.agent = OriginalAgent(self.proxy.port, self.id().rpartition("_")[2])
        self.addCleanup(self.agent.close)
        self._parked: Wire | None = self.agent.park()
        eventually(lambda: self.proxy.backend(self.agent.backend), "the backend is known")

    def client(self, line: bytes, *fields: bytes, body: bytes = b"") -> Wire:
        """
        Send a request.
        """
        client = Wire.to(self.proxy.port)
        self.addCleanup(client.close)
        self.ask(client, line, *fields, body=body)
        return client

    def ask(self, client: Wire, line: bytes, *fields: bytes, body: bytes = b"") -> None:
        """
        Send a request on a connection that stands.
        """
        backend = b"X-Inverting-Proxy-Backend: " + self.agent.backend.encode()
        client.send(b"\r\n".join((line, b"Host: h", *fields, backend, b"", body)))

    def begin(self, line: bytes, *fields: bytes, body: bytes = b"") -> tuple[Wire, str, Wire]:
        """
        Send a request, and have the agent fetch it.

        @return: the client's end, the ID, and where the request comes.
        """
        client = self.client(line, *fields, body=body)
        identifier = self.identify()
        return client, identifier, self.agent.fetch(identifier)

    def identify(self) -> str:
        """
        Ask for the one request that waits.
        """
        parked, self._parked = self._parked, None
        found = json.loads(parked.readMessage()[1]) if parked is not None else []
        [identifier] = found or self.agent.poll()
        assert isinstance(identifier, str)
        return identifier


class AgentTests(AgentTestCase):
    """
    What it asks and says.
    """

    makeProxy = staticmethod(patientProxy)

    def test_get(self) -> None:
        """
        A request and its response.
        """
        client, identifier, request = self.begin(b"GET /a?b=c HTTP/1.1", b"X-A: 1")
        head = request.readHead()
        self.assertEqual(firstLine(head), b"GET /a?b=c HTTP/1.1")
        self.assertEqual(dict(fieldsOf(head))[b"X-A"], b"1")
        receipt = self.agent.respond(
            identifier, b"200 OK", b"Set-Cookie: a\r\nSet-Cookie: b\r\n", b"first", b"second"
        )
        self.assertEqual(receipt, b"HTTP/1.1 200 OK")
        head, body, _ = client.readMessage()
        self.assertEqual(firstLine(head), b"HTTP/1.1 200 OK")
        self.assertEqual(head.count(b"\r\nSet-Cookie: "), 2)
        self.assertEqual(body, b"firstsecond")

    def test_bodies(self) -> None:
        """
        Request bodies, in either framing, stay in it.
        """
        for framing, sent in (
            (b"Content-Length: 6", b"abcdef"),
            (b"Transfer-Encoding: chunked", b"2\r\nab\r\n4\r\ncdef\r\n0\r\nX-T: 1\r\n\r\n"),
        ):
            client, identifier, request = self.begin(b"PUT / HTTP/1.1", framing, body=sent)
            self.assertEqual(request.readMessage()[1], b"abcdef")
            self.agent.respond(identifier, b"201 Created", b"", b"ok")
            self.assertEqual(client.readMessage()[1], b"ok")

    def test_streaming(self) -> None:
        """
        Each piece of a response is passed on as it comes, and so are its trailers.
        """
        client, identifier, _ = self.begin(b"GET / HTTP/1.1", b"TE: trailers", b"Connection: TE")
        response = self.agent.open(identifier)
        response.write(b"HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.readHead()
        for number in range(10):
            response.write(b"7\r\npiece %d\r\n" % number)
            self.assertEqual(client.readChunk(), b"piece %d" % number)
        response.write(b"0\r\nX-T: yes\r\n\r\n")
        self.assertEqual(client.readChunked(), (b"", b"X-T: yes\r\n"))
        self.assertEqual(response.finish(), b"HTTP/1.1 200 OK")

    def test_bodyless(self) -> None:
        """
        Answers to HEAD, 204 and 304 come with an empty chunked body inside, which the client never sees.
        """
        client = Wire.to(self.proxy.port)
        self.addCleanup(client.close)
        for method, status, fields in (
            (b"HEAD", b"200 OK", b"X-A: 1\r\n"),
            (b"GET", b"204 No Content", b""),
            (b"GET", b"304 Not Modified", b'ETag: "x"\r\n'),
            (b"GET", b"200 OK", b""),
        ):
            self.ask(client, method + b" / HTTP/1.1")
            identifier = self.identify()
            self.agent.fetch(identifier)
            self.assertEqual(self.agent.respond(identifier, status, fields), b"HTTP/1.1 200 OK")
            head = client.readHead()
            self.assertEqual(firstLine(head), b"HTTP/1.1 " + status)
            if status[:3] != b"200":
                names = {name.lower() for name, _ in fieldsOf(head)}
                self.assertFalse(names & {b"content-length", b"transfer-encoding"})
        self.assertEqual(client.readChunked(), (b"", b""))

    def test_expect(self) -> None:
        """
        The proxy itself grants what the original's agent could not pass on.
        """
        client, identifier, request = self.begin(
            b"PUT / HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 4"
        )
        self.assertEqual(client.readHead(), b"HTTP/1.1 100 Continue\r\n\r\n")
        client.send(b"body")
        head, body, _ = request.readMessage()
        self.assertNotIn(b"expect", head.lower())
        self.assertEqual(body, b"body")
        self.agent.respond(identifier, b"200 OK", b"", b"ok")
        self.assertEqual(client.readMessage()[1], b"ok")

    def test_upgrade(self) -> None:
        """
        An upgrade is not asked of an agent that cannot do it.
        """
        client, identifier, request = self.begin(
            b"GET / HTTP/1.1",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
        )
        head = request.readHead()
        names = {name.lower() for name, _ in fieldsOf(head)}
        self.assertNotIn(b"upgrade", names)
        self.agent.respond(identifier, b"400 Bad Request", b"", b"no upgrade")
        self.assertEqual(client.readMessage()[1], b"no upgrade")

    def test_interimAsFinal(self) -> None:
        """
        A backend's interim response, which the original makes the final one, is no success that breaks anything.
        """
        client, identifier, _ = self.begin(b"GET / HTTP/1.1")
        self.agent.respond(identifier, b"103 Early Hints", b"Link: </a>\r\n", b"x")
        head = client.readHead()
        while firstLine(head).startswith(b"HTTP/1.1 1"):
            head = client.readHead()
        self.assertEqual(firstLine(head), b"HTTP/1.1 502 Bad Gateway")

    def test_fetchedTwice(self) -> None:
        """
        A request that was fetched whole is not given again; nor is one that is done, or unknown.
        """
        client, identifier, request = self.begin(b"GET / HTTP/1.1")
        request.readHead()
        self.assertEqual(self.agent.fetchStatus(identifier), b"HTTP/1.1 404 Not Found")
        self.agent.respond(identifier, b"200 OK", b"", b"ok")
        self.assertEqual(client.readMessage()[1], b"ok")
        self.assertEqual(self.agent.fetchStatus(identifier), b"HTTP/1.1 404 Not Found")
        self.assertEqual(
            self.agent.respond(identifier, b"200 OK", b"", b"again"), b"HTTP/1.1 404 Not Found"
        )
        self.assertEqual(self.agent.fetchStatus("made-up"), b"HTTP/1.1 404 Not Found")

    def test_retried(self) -> None:
        """
        A response whose first try broke, before it brought anything, may be sent again.
        """
        client, identifier, _ = self.begin(b"GET / HTTP/1.1")
        first = self.agent.open(identifier)
        first.write(b"HTTP/1.1 2")
        second = self.agent.respond(identifier, b"200 OK", b"", b"whole")
        self.assertEqual(second, b"HTTP/1.1 200 OK")
        self.assertEqual(client.readMessage()[1], b"whole")

    def test_nonsense(self) -> None:
        """
        A response that is none is a 400 to the agent, and a 502 to the client.
        """
        client, identifier, _ = self.begin(b"GET / HTTP/1.1")
        response = self.agent.open(identifier)
        response.write(b"this is not HTTP\r\n\r\n")
        self.assertEqual(response.finish(), b"HTTP/1.1 400 Bad Request")
        self.assertEqual(firstLine(client.readHead()), b"HTTP/1.1 502 Bad Gateway")

    def test_clientGone(self) -> None:
        """
        When the client is gone, the agent hears 404, not a 5xx that it would try again on.
        """
        client, identifier, _ = self.begin(b"GET / HTTP/1.1")
        client.close()
        eventually(lambda: not self.proxy.inFlight(self.agent.backend), "it is cancelled")
        self.assertEqual(
            self.agent.respond(identifier, b"200 OK", b"", b"late"), b"HTTP/1.1 404 Not Found"
        )

    def test_clientGoneMeanwhile(self) -> None:
        """
        The same while the response is on its way.
        """
        client, identifier, _ = self.begin(b"GET / HTTP/1.1")
        response = self.agent.open(identifier)
        response.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
        client.readUntil(b"begin")
        client.close()
        self.assertEqual(firstLine(response.wire.readHead()), b"HTTP/1.1 404 Not Found")

    def test_secrets(self) -> None:
        """
        Neither the token nor the JWT of an agent is ever printed, whatever goes wrong.
        """
        client, identifier, _ = self.begin(b"GET /in-the-log HTTP/1.1")
        response = self.agent.open(identifier)
        response.write(b"nonsense\r\n\r\n")
        response.finish()
        client.readHead()
        self.agent.fetchStatus("made-up")
        strange = OriginalAgent(self.proxy.port, "no such {backend}")
        self.addCleanup(strange.close)
        self.assertEqual(strange.fetchStatus(identifier), b"HTTP/1.1 400 Bad Request")
        self.proxy.waitFor("/in-the-log")
        printed = "\n".join(self.proxy.output())
        self.assertNotIn(TOKEN.decode(), printed)
        self.assertNotIn(JWT.decode(), printed)
        self.assertNotIn("secret", printed)


class SlowAgentTests(AgentTestCase):
    """
    What it takes its time over.
    """

    makeProxy = staticmethod(quickProxy)

    def test_lost(self) -> None:
        """
        An agent of which nothing is heard for two poll timeouts is lost, and the client is told.
        """
        client, _, _ = self.begin(b"GET / HTTP/1.1")
        head, _, _ = client.readMessage()
        self.assertEqual(firstLine(head), b"HTTP/1.1 502 Bad Gateway")
        self.assertEqual(dict(fieldsOf(head))[b"X-Inverting-Proxy-Error"], b"agent-lost")

    def test_slow(self) -> None:
        """
        As long as it polls, it may take its time over a response.
        """
        client, identifier, _ = self.begin(b"GET / HTTP/1.1")
        for _ in range(4):  # twice as long as it takes to be lost
            self.assertEqual(self.agent.park().readMessage()[1], b"[]")
        self.agent.respond(identifier, b"200 OK", b"", b"late")
        self.assertEqual(client.readMessage()[1], b"late")
