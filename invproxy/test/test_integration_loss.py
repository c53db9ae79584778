"""
Nothing is lost: agents and proxies are killed and frozen at bad moments, as real processes.
"""

from __future__ import annotations

import json

from invproxy.test.losscase import UNLIMITED, LossTestCase
from invproxy.test.programs import CARRIERS, Agent, Proxy, eventually, variants
from invproxy.test.wires import Wire, fieldsOf, firstLine


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
