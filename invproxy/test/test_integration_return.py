"""
Coming and going: agents find back to a proxy that comes back, and whatever is asked to end brings to its end what is in
flight.
"""

from __future__ import annotations

from functools import partial

from invproxy.test.losscase import UNLIMITED, LossTestCase, attending
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
