"""
A proxy, agents and a backend that are lost and come back, as real processes and raw sockets.
"""

from __future__ import annotations

from functools import cached_property

from invproxy.test.programs import Agent, IntegrationTestCase, Proxy, eventually
from invproxy.test.wires import Listener, Wire, firstLine

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
