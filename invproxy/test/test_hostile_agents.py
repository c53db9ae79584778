"""
Hostile agents, who have good credentials for one backend: what becomes of others' exchanges, and what clients get.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.trial.unittest import SynchronousTestCase

from invproxy.proxy.settings import ProxySettings
from invproxy.test.accessbench import AccessBench, bearer
from invproxy.test.hostile.agents import ANSWERS, LINES, Answering, Lines
from invproxy.test.hostile.cases import LIMITS, Reply
from invproxy.test.hostile.responses import RESPONSES
from invproxy.test.hostile.stage import Answered, readAnswers
from invproxy.test.rawcalls import HANDSHAKE, OURS, AgentTunnel, Call, idsOf
from invproxy.test.test_hostile_responses import ReplyAssertions, plainReplies
from invproxy.wire.frames import LAST, RESPONSE, frame

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
HEAD, _, BODY = EVIL.rpartition(b"evil")
HOPS = frozenset(
    (b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"upgrade", b"trailer")
)
WEB = b"X-Inverting-Proxy-Backend: web\r\n"
OTHER = b"X-Inverting-Proxy-Backend: other\r\n"


class AgentsCase(SynchronousTestCase):
    """
    What these tests share: a proxy with the backends C{web} and C{other}. The hostile agent has a token for C{web}, and
    so has a colleague; a bystander serves C{other} by a tunnel.
    """

    def setUp(self) -> None:
        self.bench = AccessBench(ProxySettings(limits=LIMITS))
        self.addCleanup(self.bench.stop)
        self.hostile = bearer(self.bench.mint(name="hostile")) + OURS
        self.colleague = bearer(self.bench.mint(name="colleague")) + OURS
        self.others = bearer(self.bench.mint("other", "bystander")) + OURS
        self.bench.agentCall(b"request", self.hostile)  # so that the backend is not offline
        self.bystander = self.tunnel(self.others, b"other", instance="bystander")

    def tunnel(self, credentials: bytes, backend: bytes = b"web", **said: object) -> AgentTunnel:
        """
        Open a tunnel.
        """
        call = self.bench.agentCall(b"tunnel", credentials, backend=backend)
        assert call.status == 101, call.client.received
        tunnel = AgentTunnel(call, self.bench.network)
        tunnel.greet(**said)
        return tunnel

    @contextmanager
    def named(self, row: str) -> Iterator[None]:
        """
        Say at which row of a table something fails.
        """
        try:
            yield
        except Exception as error:
            raise AssertionError(f"{row}: {error}") from error

    def ask(self, data: bytes, backend: bytes = WEB) -> Call:
        """
        Send a client's request to a backend.
        """
        method = data.partition(b" ")[0]
        first, _, rest = data.partition(b"\r\n")
        return self.bench.raw(first + b"\r\n" + backend + rest, method=method)

    def askAny(self, backend: bytes = WEB) -> Call:
        """
        Send some request.
        """
        return self.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", backend)

    def answersOf(self, call: Call, method: bytes = b"GET") -> list[Answered]:
        """
        What a client has got, as h11 reads it.
        """
        return readAnswers(bytes(call.client.received), [method], call.isClosed)

    def assertGood(self, call: Call) -> None:
        """
        A client has got the answer of its own backend, and nothing else.
        """
        self.assertEqual(
            [(each.status, each.body, each.whole) for each in self.answersOf(call)],
            [(200, b"good", True)],
        )
        self.assertFalse(call.isClosed)

    def assertLives(self) -> None:
        """
        Others are served as if nothing was, and nothing is left over.
        """
        self.assertFalse(self.bystander.isClosed)
        before = set(self.bystander.requests)
        client = self.askAny(OTHER)
        (stream,) = set(self.bystander.requests) - before
        self.bystander.sendRaw(frame(RESPONSE, stream, HEAD))
        self.bystander.send(3, stream, b"good", last=True)
        self.assertGood(client)
        client.leave()
        self.assertEqual(self.bench.proxy.mailboxes.exchanges, {})

    def assertClean(self, answers: list[Answered]) -> None:
        """
        There is one answer at most, with no field that is the proxy's.
        """
        self.assertLessEqual(len(answers), 1)
        for each in answers:
            self.assertFalse(HOPS.intersection(each.names), each.fields)
            for line in each.fields:
                self.assertIn(b": ", line + b" ")


class AnswerTests(ReplyAssertions, AgentsCase):
    """
    What an agent answers to the exchanges of its own backend.
    """

    def test_polls(self) -> None:
        """
        All that a hostile backend might answer, straight from the agent: its own checks are not what protects clients.
        """
        for reply in (*RESPONSES, *plainReplies()):
            with self.named(reply.name):
                self.playPoll(reply)

    def playPoll(self, reply: Reply) -> None:
        client = self.ask(reply.request)
        poll = self.bench.poll(fields=self.hostile)
        (identifier,) = idsOf(poll)
        fetch = self.bench.fetch(identifier, self.hostile)
        post = self.bench.respond(identifier, None, self.hostile)
        if reply.data:
            post.chunk(reply.data)
        if (reply.ends or reply.cut) and not post.status:
            post.end()
        answers = self.answersOf(client, reply.method)
        self.assertClean(answers)
        self.assertAnswers(reply, answers)
        if reply.cut and not (answers and answers[0].status == 502):
            self.assertTrue(client.isClosed)
        for call in (client, poll, fetch, post):
            call.leave()
        self.assertLives()

    def test_tunnel(self) -> None:
        """
        The same in a tunnel, where bodies have no framing of their own.
        """
        agent = self.tunnel(self.hostile)
        for reply in (*RESPONSES, *plainReplies()):
            with self.named(reply.name):
                self.playTunnel(reply, agent)
            if agent.isClosed:
                agent = self.tunnel(self.hostile)

    def playTunnel(self, reply: Reply, agent: AgentTunnel) -> None:
        client = self.ask(reply.request)
        stream = max(agent.requests)
        rest = reply.data
        while True:
            head, blank, rest = rest.partition(b"\r\n\r\n")
            agent.sendRaw(frame(RESPONSE, stream, head + blank))
            if not (head.startswith(b"HTTP/1.1 1") and rest) or agent.isClosed:
                break
        if not agent.isClosed:
            agent.send(3, stream, rest, last=True)
        answers = self.answersOf(client, reply.method)
        self.assertClean(answers)
        if answers and answers[0].whole and reply.status != 200:
            self.assertEqual(answers[0].status, reply.status)
        for each in answers:
            self.assertTrue(each.whole or client.isClosed or not each.status)
        client.leave()
        self.assertLives()

    def test_frames(self) -> None:
        """
        Frames out of order, and what they break: at worst the exchange and the tunnel of the agent that sends them.
        """
        for answering in ANSWERS:
            with self.named(answering.name):
                self.playFrames(answering)

    def playFrames(self, answering: Answering) -> None:
        agent = self.tunnel(self.hostile, instance=f"hostile{len(answering.name)}")
        client = self.ask(answering.request)
        (stream,) = agent.requests
        for sent in answering.frames:
            if not agent.isClosed:
                flags = LAST if sent.last else 0
                agent.sendRaw(frame(sent.kind, sent.number(stream), sent.payload, flags))
        answers = self.answersOf(client, answering.method)
        self.assertClean(answers)
        if not answering.whole:
            self.assertTrue(client.isClosed)
            for each in answers:  # none, where a reset overtook what was sent
                self.assertEqual((each.status, each.whole), (answering.status, False))
        else:
            self.assertEqual(
                [(each.status, each.whole) for each in answers], [(answering.status, True)]
            )
            if answering.body is not None:
                self.assertEqual(answers[0].body, answering.body)
        for each in answers:
            self.assertFalse([name for name in each.names if name.startswith(b"x-inverting")][1:])
            self.assertNotIn(b"set-cookie", each.names)
        self.assertEqual(agent.closing is not None, answering.closes)
        client.leave()
        agent.call.leave()
        self.assertLives()

    def test_fields(self) -> None:
        """
        Fields of the hop, and those of the proxy, reach no client, whichever way they come.
        """
        agent = self.tunnel(self.hostile)
        for lines in LINES:
            client = self.askAny()
            agent.respond(max(agent.requests), self.responseOf(lines), b"good")
            self.assertLines(lines, client)
        agent.call.leave()
        for lines in LINES:
            client = self.askAny()
            identifier, _ = self.bench.take(self.hostile)
            self.bench.respond(identifier, self.responseOf(lines) + b"good", self.hostile)
            self.assertLines(lines, client)

    def responseOf(self, lines: Lines) -> bytes:
        block = b"".join(line + b"\r\n" for line in lines.lines)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n" + block + b"\r\n"

    def assertLines(self, lines: Lines, client: Call) -> None:
        self.assertGood(client)
        (answer,) = self.answersOf(client)
        self.assertEqual(answer.fields, (b"Content-Length: 4", *lines.kept), lines.name)
        client.leave()
        self.assertLives()

    def test_errors(self) -> None:
        """
        An agent may say that its backend failed, and cannot speak for the proxy.
        """
        for code, status in (
            (b"origin-refused", 502),
            (b"origin-timeout", 504),
            (b"no-backend", 200),
            (b"unauthenticated", 200),
            (b"draining", 200),
            (b"ORIGIN-REFUSED", 200),
            (b"origin-refused, draining", 200),
        ):
            client = self.askAny()
            identifier, _ = self.bench.take(self.hostile)
            line = b"X-Inverting-Proxy-Error: %b\r\n" % code
            self.bench.respond(identifier, GOOD, self.hostile + line)
            (answer,) = self.answersOf(client)
            self.assertEqual(answer.status, status, code)
            client.leave()
            self.assertLives()


class ForeignTests(AgentsCase):
    """
    What an agent does to exchanges that are not its own.
    """

    def assertNothing(self, identifier: bytes, credentials: bytes, backend: bytes = b"web") -> None:
        """
        Whatever an agent tries with an ID, it gets what it gets with one that does not exist, byte for byte.
        """
        for identified in (identifier, identifier.upper(), b" %b " % identifier):
            for fields in (b"", b"X-Inverting-Proxy-Error: origin-refused\r\n"):
                fetched = self.bench.fetch(identified, credentials + fields, backend)
                unknown = self.bench.fetch(b"0" * 32, credentials + fields, backend)
                self.assertEqual(fetched.status, 404)
                self.assertSame(fetched, unknown)
                posted = self.bench.respond(identified, EVIL, credentials + fields, backend)
                unknown = self.bench.respond(b"0" * 32, EVIL, credentials + fields, backend)
                self.assertEqual(posted.status, 404)
                self.assertSame(posted, unknown)

    def assertSame(self, one: Call, other: Call) -> None:
        def lines(call: Call) -> list[bytes]:
            return [
                line
                for line in bytes(call.client.received).split(b"\r\n")
                if not line.startswith((b"Date:", b"X-Inverting-Proxy-Request-ID:"))
            ]

        self.assertEqual(lines(one), lines(other))

    def test_otherBackends(self) -> None:
        """
        In every state of an exchange, an agent of another backend can neither read nor answer it.
        """
        client = self.askAny()
        self.bystander.call.leave()
        self.assertEqual(self.bench.pending(b"web", self.hostile)[1:], [])
        (identifier,) = self.bench.proxy.mailboxes.exchanges
        name = identifier.encode()
        self.assertNothing(name, self.others, b"other")  # it is claimed
        self.bench.fetch(name, self.hostile)
        self.assertNothing(name, self.others, b"other")  # fetched
        post = self.bench.respond(name, None, self.hostile)
        self.assertNothing(name, self.others, b"other")  # the lifeline is there
        post.chunk(HEAD + b"go")
        self.assertNothing(name, self.others, b"other")  # responding
        post.chunk(b"od")
        post.end()
        self.assertGood(client)
        self.assertNothing(name, self.others, b"other")  # done

    def test_queued(self) -> None:
        """
        Neither one that waits, or is in a tunnel.
        """
        client = self.askAny()
        (identifier,) = self.bench.proxy.mailboxes.exchanges
        self.assertNothing(identifier.encode(), self.others, b"other")
        self.assertEqual(client.status, 0)
        agent = self.tunnel(self.hostile)
        (stream,) = agent.requests
        self.assertNothing(identifier.encode(), self.others, b"other")
        agent.respond(stream, HEAD, b"good")
        self.assertGood(client)
        self.assertLives()

    def test_namedOtherwise(self) -> None:
        """
        Naming the backend is no help without its credentials, in whatever way.
        """
        client = self.askAny()
        identifier, _ = self.bench.take(self.hostile)
        named = b"X-Inverting-Proxy-Request-ID: %b\r\n" % identifier
        for lines, status in (
            (b"X-Inverting-Proxy-Backend-ID: web\r\n", 403),
            (b"x-inverting-proxy-backend-id:web\r\n", 403),
            (b"X-Inverting-Proxy-Backend-ID: web\r\nX-Inverting-Proxy-Backend-ID: other\r\n", 403),
            (b"X-Inverting-Proxy-Backend-ID: other\r\nX-Inverting-Proxy-Backend-ID: web\r\n", 404),
            (b"X-Inverting-Proxy-Backend-ID: other, web\r\n", 400),
            (b"X_Inverting_Proxy_Backend_ID: web\r\n", 400),
            (b"X-Inverting-Proxy-Backend-ID: other\r\nX_Inverting_Proxy_Backend_ID: web\r\n", 404),
            (b"X-Inverting-Proxy-Backend-ID: \r\nX-Inverting-Proxy-Backend: web\r\n", 400),
            (b"X-Inverting-Proxy-Backend-ID: other/../web\r\n", 403),
        ):
            for method, path, rest in (
                (b"GET", b"request", b""),
                (b"POST", b"response", b"Content-Length: %d\r\n" % len(EVIL)),
            ):
                call = self.bench.call(
                    method,
                    path,
                    None,
                    lines + self.others + named + rest,
                    EVIL if method == b"POST" else b"",
                )
                self.assertEqual(call.status, status, lines)
        self.bench.respond(identifier, GOOD, self.hostile)
        self.assertGood(client)
        self.assertLives()

    def test_twice(self) -> None:
        """
        An exchange is answered once: what comes later is not wanted, by the same call or another, of the same agent or
        another.
        """
        for credentials in (self.hostile, self.colleague):
            client = self.askAny()
            identifier, _ = self.bench.take(self.hostile)
            self.assertEqual(self.bench.fetch(identifier, credentials).status, 404)
            self.assertEqual(self.bench.respond(identifier, GOOD, self.hostile).status, 200)
            self.assertNothing(identifier, credentials)
            self.assertGood(client)
            client.leave()
        self.assertLives()

    def test_twoAtOnce(self) -> None:
        """
        Of two calls at once that bring a response, the first that brings any of it is it.
        """
        for credentials in (self.hostile, self.colleague):
            client = self.askAny()
            identifier, _ = self.bench.take(self.hostile)
            first = self.bench.respond(identifier, None, self.hostile)
            first.chunk(HEAD[:10])
            second = self.bench.respond(identifier, None, credentials)
            self.assertEqual(first.status, 404)
            first.chunk(HEAD[10:] + b"evil")
            second.chunk(HEAD + b"go")
            third = self.bench.respond(identifier, EVIL, credentials)
            self.assertEqual(third.status, 404)
            second.chunk(b"od" + EVIL)
            second.end()
            self.assertGood(client)
            client.leave()
            self.assertLives()

    def test_otherCarrier(self) -> None:
        """
        What one carrier has, the other cannot answer.
        """
        agent = self.tunnel(self.hostile)
        client = self.askAny()
        (stream,) = agent.requests
        (identifier,) = self.bench.proxy.mailboxes.exchanges
        for credentials in (self.hostile, self.colleague):
            self.assertNothing(identifier.encode(), credentials)
        agent.sendRaw(frame(RESPONSE, stream, HEAD))
        self.assertNothing(identifier.encode(), self.hostile)
        agent.send(3, stream, b"good", last=True)
        self.assertGood(client)
        client.leave()
        agent.call.leave()
        client = self.askAny()
        identifiers = self.bench.pending(b"web", self.hostile)
        self.bench.fetch(identifiers[0], self.hostile)
        agent = self.tunnel(self.colleague)
        agent.respond(1, HEAD, b"evil")
        self.assertIsNotNone(agent.closing)
        self.bench.respond(identifiers[0], GOOD, self.hostile)
        self.assertGood(client)
        self.assertLives()

    def test_otherTunnel(self) -> None:
        """
        A tunnel has streams of its own, whatever another one's are called.
        """
        agent = self.tunnel(self.hostile)
        client = self.askAny(OTHER)
        (stream,) = self.bystander.requests
        agent.sendRaw(frame(RESPONSE, stream, HEAD) + frame(3, stream, b"evil", LAST))
        self.assertIsNotNone(agent.closing)
        self.assertEqual(client.status, 0)
        self.bystander.respond(stream, HEAD, b"good")
        self.assertGood(client)
        client.leave()
        self.assertLives()

    def test_place(self) -> None:
        """
        Only an agent itself replaces its tunnel: not a colleague that says to be it, nor an agent of another backend,
        nor one that says to be the proxy.
        """
        node = self.bench.proxy.tunnels.node
        liar = self.tunnel(self.hostile, instance="bystander", node=node)
        self.assertLives()
        liar.call.leave()
        mine = self.tunnel(self.colleague, instance="one", slot=3)
        client = self.askAny()
        taker = self.tunnel(self.hostile, instance="one", slot=3)
        self.assertFalse(mine.isClosed, "another agent has taken its place")
        ((stream, _),) = mine.requests.items()
        mine.respond(stream, HEAD, b"good")
        self.assertGood(client)
        client.leave()
        again = self.tunnel(self.colleague, instance="one", slot=3)
        self.assertFalse(taker.isClosed)
        self.assertIsNotNone(mine.closing)
        self.assertFalse(again.isClosed)
        self.assertLives()

    def test_greetings(self) -> None:
        """
        Who greets otherwise than by the rules has no tunnel.
        """
        for hello in (
            b"",
            b"{}",
            b"[]",
            b'{"version":"1.0","node":"a\\r\\nb"}',
            b'{"version":"1.0","instance":"%b"}' % (b"a" * 65),
            b'{"version":"1.0","slot":-1}',
            b'{"version":"1.0","slot":1e400}',
            b'{"version":"1.0","streams":0}',
            b'{"version":"1.0","window":4294967296}',
            b'{"version":"1.0","head":true}',
            b'{"version":"2.0"}',
            b'{"version":"1.0","backend":"other"}' * 200,
            b"[" * 4000,
        ):
            agent = AgentTunnel(self.bench.agentCall(b"tunnel", self.hostile), self.bench.network)
            agent.send(0, 0, hello)
            self.assertIsNotNone(agent.closing, hello)
            agent.call.leave()
        agent = AgentTunnel(self.bench.agentCall(b"tunnel", self.hostile), self.bench.network)
        agent.send(0, 0, b'{"version":"1.0","backend":"other","instance":"x"}')
        client = self.askAny(OTHER)
        self.assertEqual(agent.requests, {}, "it serves the backend that it says")
        self.bystander.respond(max(self.bystander.requests), HEAD, b"good")
        self.assertGood(client)
        client.leave()
        self.assertLives()

    def test_handshakes(self) -> None:
        """
        A tunnel is opened by the credentials of its backend, and by nothing in the handshake.
        """
        for fields, status in (
            (HANDSHAKE, 401),
            (HANDSHAKE + self.others, 403),
            (HANDSHAKE + b"Cookie: token=%b\r\n" % self.hostile[22:60], 401),
            (HANDSHAKE + self.hostile + b"Origin: http://a\r\n", 403),
        ):
            self.assertEqual(self.bench.shake(b"web", fields=fields).status, status)
        self.assertLives()

    def test_revoked(self) -> None:
        """
        An agent whose token is revoked in the middle of a response: its clients see that they are cut off, and others
        go on.
        """
        agent = self.tunnel(self.hostile)
        tunneled = self.askAny()
        (stream,) = agent.requests
        agent.sendRaw(frame(RESPONSE, stream, HEAD) + frame(3, stream, b"ev"))
        agent.dismiss(stream)
        polled = self.askAny()
        identifier, _ = self.bench.take(self.hostile)
        post = self.bench.respond(identifier, None, self.hostile)
        post.chunk(HEAD + b"ev")
        kept = self.askAny()
        theirs, _ = self.bench.take(self.colleague)
        self.bench.do(self.bench.registry.revokeToken("web", "hostile"))
        self.bench.network.pump()
        for client in (tunneled, polled):
            self.assertTrue(client.isClosed)
            self.assertNotIn(b"evil", client.client.received)
            self.assertFalse([each for each in self.answersOf(client) if each.whole])
        post.chunk(b"il")
        self.bench.respond(theirs, GOOD, self.colleague)
        self.assertGood(kept)
        self.assertLives()
