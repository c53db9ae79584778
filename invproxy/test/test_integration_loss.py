"""
Nothing is lost: agents and proxies are killed, frozen and stopped at bad moments, as real processes.
"""

from __future__ import annotations

import json
from functools import cached_property, partial

from invproxy.test.programs import (
    CARRIERS,
    Agent,
    IntegrationTestCase,
    Proxy,
    eventually,
    freePort,
    variants,
)
from invproxy.test.wires import Listener, Wire, fieldsOf, firstLine

UNLIMITED = "600"
"""Seconds that are longer than any test takes."""


class LossTestCase(IntegrationTestCase):
    """
    A proxy and a backend of its own for each test.

    @cvar transport: how exchanges reach the agents.
    """

    transport: str

    def setUp(self) -> None:
        self.origin = Listener()
        self.addCleanup(self.origin.close)
        self._options: tuple[str, ...] = ()

    def configure(self, *options: str) -> None:
        """
        Give the proxy options. Clocks that a test does not wait for are to run long: it may take its time.
        """
        self._options = options

    @cached_property
    def proxy(self) -> Proxy:
        """
        The proxy, started when it is first needed.
        """
        return self.running(Proxy(*self._options))

    def awaitAgents(self, count: int) -> None:
        """
        Wait until so many agents wait for requests.
        """
        eventually(lambda: attending(self.proxy, self.transport) == count, f"{count} agents wait")

    def agent(self, *options: str, ready: bool = True) -> Agent:
        """
        Start an agent.
        """
        carried = ("--transport", self.transport)
        return self.running(
            Agent(self.proxy.url, "web", self.origin.url, *carried, *options, ready=ready)
        )

    def client(self, line: bytes = b"GET / HTTP/1.1", *fields: bytes, body: bytes = b"") -> Wire:
        """
        Send a request.
        """
        client = Wire.to(self.proxy.port)
        self.addCleanup(client.close)
        client.send(b"\r\n".join((line, b"Host: h", *fields, b"", body)))
        return client

    def take(self) -> tuple[Wire, bytes]:
        """
        Take a request at the backend.

        @return: its connection, and its first line.
        """
        server = self.origin.next()
        self.addCleanup(server.close)
        return server, firstLine(server.readHead())

    def serve(self, count: int) -> list[bytes]:
        """
        Answer requests with their own first lines.

        @return: these.
        """
        lines = []
        for _ in range(count):
            server, line = self.take()
            lines.append(line)
            server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(line), line))
            self.origin.keep(server)
        return lines

    def stream(
        self, framing: bytes = b"Transfer-Encoding: chunked", begin: bytes = b"5\r\nbegin\r\n"
    ) -> tuple[Wire, Wire]:
        """
        Bring a response into flight.

        @param framing: a field of it.
        @param begin: what begins its body.
        @return: the client's and the backend's end.
        """
        client = self.client()
        server, _ = self.take()
        server.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (framing, begin))
        client.readUntil(b"begin\r\n" if framing.endswith(b"chunked") else b"begin")
        return client, server

    def states(self) -> dict[str, int]:
        """
        Count the exchanges by their states.
        """
        counts = self.proxy.backend("web").get("exchanges", {})
        assert isinstance(counts, dict)
        return counts

    def assertServed(self, clients: list[Wire]) -> None:
        """
        Serve each client's request exactly once.
        """
        lines = [b"GET /%d HTTP/1.1" % number for number in range(len(clients))]
        self.assertEqual(sorted(self.serve(len(clients))), sorted(lines))
        for client, line in zip(clients, lines, strict=True):
            self.assertEqual(client.readMessage()[1], line)
        self.assertFalse(self.origin.hasRequest())

    def assertCut(self, client: Wire) -> None:
        """
        A chunked response breaks: it has no end.
        """
        try:
            rest = client.readToEnd()
        except ConnectionResetError:
            return
        self.assertNotIn(b"0\r\n\r\n", rest)


def attending(proxy: Proxy, transport: str) -> float:
    """
    Count the agents that wait for requests.
    """
    backend = proxy.backend("web")
    if transport == "tunnel":
        return float(backend.get("tunnels", 0))
    return float(backend.get("polls", 0)) / 2


class FakeAgent:
    """
    An agent of raw sockets, which can do things by halves.
    """

    def __init__(self, proxy: Proxy, fields: bytes = b"") -> None:
        self._port = proxy.port
        self._fields = b"Host: localhost\r\nX-Inverting-Proxy-Backend-ID: web\r\n" + fields
        self.wires: list[Wire] = []

    def call(self, path: bytes, identifier: str = "") -> Wire:
        """
        Make a call on a new connection.
        """
        wire = Wire.to(self._port)
        self.wires.append(wire)
        named = f"X-Inverting-Proxy-Request-ID: {identifier}\r\n".encode() if identifier else b""
        wire.send(b"GET %b HTTP/1.1\r\n%b%b\r\n" % (path, self._fields, named))
        return wire

    def poll(self) -> list[str]:
        """
        Ask for IDs once.
        """
        head, body, _ = self.call(b"/agent/pending").readMessage()
        assert firstLine(head) == b"HTTP/1.1 200 OK", head
        found = json.loads(body)
        assert isinstance(found, list)
        return found

    def collect(self, count: int) -> list[str]:
        """
        Ask until so many IDs have come.
        """
        found: list[str] = []
        while len(found) < count:
            found += self.poll()
        return found

    def vanish(self) -> None:
        """
        Break all connections.
        """
        for wire in self.wires:
            wire.reset()


class Queue(LossTestCase):
    """
    Requests that no agent has begun.
    """

    def parked(self, fake: FakeAgent) -> list[Wire]:
        """
        Send requests that a fake agent takes the IDs of.
        """
        first = fake.call(b"/agent/pending")
        eventually(lambda: self.proxy.backend("web").get("polls") == 1, "a poll is parked")
        clients = [self.client(b"GET /%d HTTP/1.1" % number) for number in range(20)]
        begun = len(json.loads(first.readMessage()[1]))
        fake.collect(len(clients) - begun)
        return clients

    def test_vanished(self) -> None:
        """
        The requests whose IDs an agent has taken, before it vanished, go to the next one at once.
        """
        self.configure("--claim-timeout", UNLIMITED)
        fake = FakeAgent(self.proxy)
        clients = self.parked(fake)
        self.assertEqual(self.states(), {"claimed": len(clients)})
        fake.vanish()
        eventually(lambda: self.states() == {"queued": len(clients)}, "all wait again")
        self.agent()
        self.assertServed(clients)

    def test_hung(self) -> None:
        """
        The requests whose IDs an agent has taken, without doing anything more, go to another after the claim timeout.
        """
        fake = FakeAgent(self.proxy)
        clients = self.parked(fake)
        self.agent()
        self.assertServed(clients)
        fake.vanish()

    def test_late(self) -> None:
        """
        An agent that comes back too late for a request gets none.
        """
        fake = FakeAgent(self.proxy)
        clients = self.parked(fake)
        fake.vanish()
        eventually(lambda: self.states() == {"queued": len(clients)}, "all wait again")
        identifier = fake.poll()[0]
        self.agent()
        self.assertServed(clients)
        self.assertEqual(
            firstLine(fake.call(b"/agent/request", identifier).readHead()),
            b"HTTP/1.1 404 Not Found",
        )

    def test_second(self) -> None:
        """
        While one of two agents is frozen, the other gets all requests, in the end those as well that were the first's.
        """
        self.configure("--link-timeout", "6")
        frozen = self.agent()
        self.agent()
        self.awaitAgents(2)
        frozen.freeze()
        clients = [self.client(b"GET /%d HTTP/1.1" % number) for number in range(20)]
        self.assertServed(clients)
        frozen.kill()

    def test_offline(self) -> None:
        """
        A request that came while no agent was there is served once one is.
        """
        self.agent().close()
        client = self.client(b"GET /0 HTTP/1.1")
        eventually(lambda: self.states() == {"queued": 1}, "it waits")
        self.agent()
        self.assertServed([client])


class TunnelQueueTests(Queue):
    """
    With tunnels.
    """

    transport = "tunnel"

    def test_killed(self) -> None:
        """
        What an agent has got, which is killed before it did anything about it, goes to another one at once, but for
        what may not be repeated: nobody can tell that it has not begun.
        """
        self.configure("--link-timeout", UNLIMITED)
        agent = self.agent()
        self.awaitAgents(1)
        agent.freeze()
        clients = [self.client(b"GET /%d HTTP/1.1" % number) for number in range(20)]
        post = self.client(b"POST / HTTP/1.1", b"Content-Length: 0")
        eventually(lambda: self.states() == {"fetched": len(clients) + 1}, "all have come")
        self.agent()
        self.awaitAgents(2)
        agent.kill()
        self.assertServed(clients)
        head, _, _ = post.readMessage()
        self.assertEqual(dict(fieldsOf(head))[b"X-Inverting-Proxy-Error"], b"agent-lost")

    def test_killedAlone(self) -> None:
        """
        Where there is no other, all clients hear so at once.
        """
        self.configure("--link-timeout", UNLIMITED)
        agent = self.agent()
        self.awaitAgents(1)
        agent.freeze()
        clients = [self.client(b"GET /%d HTTP/1.1" % number) for number in range(5)]
        eventually(lambda: self.states() == {"fetched": len(clients)}, "all have come")
        agent.kill()
        for client in clients:
            head, _, _ = client.readMessage()
            self.assertEqual(dict(fieldsOf(head))[b"X-Inverting-Proxy-Error"], b"agent-lost")

    def test_several(self) -> None:
        """
        An agent with several tunnels serves through each of them.
        """
        self.agent("--connections", "3")
        self.awaitAgents(3)
        self.assertServed([self.client(b"GET /%d HTTP/1.1" % number) for number in range(20)])


class PollQueueTests(Queue):
    """
    With polls.
    """

    transport = "poll"

    def test_killed(self) -> None:
        """
        An agent that is killed between the answer to its poll and its fetching loses nothing.
        """
        self.configure("--claim-timeout", UNLIMITED)
        agent = self.agent()
        self.awaitAgents(1)
        agent.freeze()
        clients = [self.client(b"GET /%d HTTP/1.1" % number) for number in range(20)]
        eventually(lambda: sum(self.states().values()) == len(clients), "all have come")
        self.assertEqual(self.states(), {"claimed": 2, "queued": len(clients) - 2})
        agent.kill()
        self.agent()
        self.assertServed(clients)


del Queue


class Begun(LossTestCase):
    """
    Requests that an agent has begun.
    """

    def begin(self) -> tuple[Agent, Wire, Wire]:
        """
        Have an agent begin a request that may be repeated, and one that may not.

        @return: the agent, and the two clients.
        """
        agent = self.agent()
        get = self.client(b"GET /0 HTTP/1.1")
        post = self.client(b"POST /p HTTP/1.1", b"Content-Length: 0")
        taken = {self.take()[1], self.take()[1]}
        self.assertEqual(taken, {b"GET /0 HTTP/1.1", b"POST /p HTTP/1.1"})
        return agent, get, post

    def assertLost(self, client: Wire) -> None:
        """
        A client is told that the agent was lost.
        """
        head, _, _ = client.readMessage()
        self.assertEqual(firstLine(head), b"HTTP/1.1 502 Bad Gateway")
        self.assertEqual(dict(fieldsOf(head))[b"X-Inverting-Proxy-Error"], b"agent-lost")

    def test_alone(self) -> None:
        """
        When the only agent is killed before there is an answer, clients are told so at once.
        """
        agent, get, post = self.begin()
        agent.kill()
        self.assertLost(post)
        self.assertLost(get)

    def test_again(self) -> None:
        """
        When another agent waits, it gets the request that may be repeated.
        """
        agent, get, post = self.begin()
        self.agent()
        self.awaitAgents(2)
        agent.kill()
        self.assertLost(post)
        self.assertServed([get])

    def test_streaming(self) -> None:
        """
        When its agent is killed, the response that streams is cut; the backend loses its asker, and the next is served.
        """
        for framing, begin in (
            (b"Transfer-Encoding: chunked", b"5\r\nbegin\r\n"),
            (b"Content-Length: 100", b"begin"),
            (b"X-Framing: none", b"begin"),
        ):
            agent = self.agent()
            client, server = self.stream(framing, begin)
            agent.kill()
            self.assertCut(client)
            server.waitLost()
        self.agent()
        client = self.client(b"GET /0 HTTP/1.1")
        self.assertServed([client])

    def test_proxyKilled(self) -> None:
        """
        When the proxy is killed, the backend loses its asker.
        """
        self.agent()
        client, server = self.stream()
        self.proxy.kill()
        self.assertCut(client)
        server.waitLost()


globals().update(variants(Begun, CARRIERS))
del Begun


class Reconnect(IntegrationTestCase):
    """
    An agent whose proxy comes and goes.
    """

    transport: str

    def test_reconnect(self) -> None:
        """
        It connects by itself, again and again, and says so in one line each time.
        """
        origin = Listener()
        self.addCleanup(origin.close)
        port = freePort()
        lost, again = r"not reached, retrying", r"reached again"
        carried = ("--transport", self.transport)
        agent = self.running(
            Agent(f"http://127.0.0.1:{port}", "web", origin.url, *carried, ready=False)
        )
        agent.waitFor(lost)
        printed = len(agent.output())
        # Something that is no proxy shows that the agent goes on trying.
        broken = Listener(port=port)
        for _ in range(4):
            broken.accept().close()
        broken.close()
        self.assertEqual(agent.output(printed), [])
        for turn in (1, 2):
            begin = len(agent.output()) - 1
            proxy = self.running(Proxy(port=port))
            agent.waitFor(again, begin)
            if turn == 1:
                agent.waitReady()
            client = Wire.to(port)
            self.addCleanup(client.close)
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Inverting-Proxy-Backend: web\r\n\r\n")
            server = origin.next()
            server.readHead()
            server.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            self.assertEqual(client.readMessage()[1], b"ok")
            eventually(partial(self.isAttended, proxy), "the agent waits")
            begin = len(agent.output())
            proxy.kill()
            agent.waitFor(lost, begin)
            self.assertEqual(agent.count(lost), turn + 1)
            self.assertEqual(agent.count(again), turn)
        self.assertEqual(agent.count("^agent ready"), 1)
        agent.terminate()
        self.assertEqual(agent.waitEnd(), 0)

    def isAttended(self, proxy: Proxy) -> bool:
        """
        Say whether the agent waits for requests.
        """
        return attending(proxy, self.transport) == 1


globals().update(variants(Reconnect, CARRIERS))
del Reconnect


class Drain(LossTestCase):
    """
    SIGTERM: what is in flight comes to its end.
    """

    def setUp(self) -> None:
        super().setUp()
        clocks = ("--drain-timeout", "--link-timeout", "--claim-timeout")
        self.configure(*(word for clock in clocks for word in (clock, UNLIMITED)))

    def begin(self) -> tuple[Agent, Wire, Wire]:
        """
        Bring a response into flight.
        """
        agent = self.agent("--drain-timeout", UNLIMITED)
        return agent, *self.stream()

    def test_idle(self) -> None:
        """
        With nothing in flight both end soon, with status 0.
        """
        agent = self.agent("--drain-timeout", UNLIMITED)
        self.awaitAgents(1)
        agent.terminate()
        self.assertEqual(agent.waitEnd(), 0)
        agent = self.agent()
        self.proxy.terminate()
        self.assertEqual(self.proxy.waitEnd(), 0)

    def test_agent(self) -> None:
        """
        An agent takes nothing more, and ends when its response has.
        """
        agent, client, server = self.begin()
        agent.terminate()
        self.awaitAgents(0)
        other = self.client(b"GET /0 HTTP/1.1")
        self.agent()
        self.assertServed([other])
        self.assertIsNone(agent.process.poll())
        server.send(b"4\r\nmore\r\n")
        self.assertEqual(client.readChunk(), b"more")
        server.send(b"3\r\nend\r\n0\r\n\r\n")
        self.assertEqual(client.readChunked(), (b"end", b""))
        self.assertEqual(agent.waitEnd(), 0)

    def test_proxy(self) -> None:
        """
        A proxy refuses new requests, and ends when those that it has are answered, be they begun or not.
        """
        agent, client, server = self.begin()
        agent.freeze()
        waits = self.client(b"GET /waits HTTP/1.1")
        eventually(lambda: sum(self.states().values()) == 2, "both have come")
        self.proxy.terminate()
        eventually(lambda: not self.proxy.isReady(), "it is about to stop")
        head, _, _ = self.client().readMessage()
        self.assertEqual(firstLine(head), b"HTTP/1.1 503 Service Unavailable")
        self.assertEqual(dict(fieldsOf(head))[b"X-Inverting-Proxy-Error"], b"draining")
        agent.thaw()
        self.assertEqual(self.serve(1), [b"GET /waits HTTP/1.1"])
        self.assertEqual(waits.readMessage()[1], b"GET /waits HTTP/1.1")
        self.assertIsNone(self.proxy.process.poll())
        server.send(b"4\r\nmore\r\n")
        self.assertEqual(client.readChunk(), b"more")
        server.send(b"3\r\nend\r\n0\r\n\r\n")
        self.assertEqual(client.readChunked(), (b"end", b""))
        self.assertEqual(self.proxy.waitEnd(), 0)

    def test_tooLate(self) -> None:
        """
        What is not done by the end of the drain timeout is cut, and the status is still 0.
        """
        agent = self.agent("--drain-timeout", "0.2")
        client, server = self.stream()
        agent.terminate()
        self.assertEqual(agent.waitEnd(), 0)
        self.assertCut(client)
        server.waitLost()


globals().update(variants(Drain, CARRIERS))
del Drain
