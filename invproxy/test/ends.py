"""
Both ends of an exchange, as raw sockets: the client's and the backend's, with a real proxy and a real agent between
them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from invproxy.test.programs import (
    CARRIERS,
    IntegrationTestCase,
    eventually,
    sharedAgent,
    sharedProxy,
)
from invproxy.test.wires import Listener, Wire, fieldsOf, socketPath

ADDED = frozenset(
    (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto")
)
"""What the proxy adds to requests."""

DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
"""Responses without one get one."""


@cache
def tcpOrigin() -> Listener:
    """
    The backend on TCP.
    """
    return Listener()


@cache
def unixOrigin() -> Listener:
    """
    The backend on a UNIX socket.
    """
    return Listener(socketPath())


ENDS: dict[str, dict[str, object]] = {
    f"{carrier}{kind}": {
        **attributes,
        "backend": f"{carrier}-{kind}".lower(),
        "makeOrigin": staticmethod(makeOrigin),
    }
    for carrier, attributes in CARRIERS.items()
    for kind, makeOrigin in (("TCP", tcpOrigin), ("UNIX", unixOrigin))
}
"""For L{variants<invproxy.test.programs.variants>}: each carrier, with each kind of backend."""


def own(head: bytes) -> list[tuple[bytes, bytes]]:
    """
    The fields of a request that the proxy has not added.
    """
    return [(name, value) for name, value in fieldsOf(head) if name.lower() not in ADDED]


def field(head: bytes, name: bytes) -> list[bytes]:
    """
    The values of a field.
    """
    return [value for each, value in fieldsOf(head) if each.lower() == name.lower()]


class EndsTestCase(IntegrationTestCase):
    """
    Tests that are both ends.

    @cvar backend: the ID of the backend.
    @cvar transport: how exchanges reach the agent.
    @cvar makeOrigin: gives the backend.
    """

    backend: str
    transport: str
    makeOrigin: Callable[[], Listener]

    def setUp(self) -> None:
        self.origin = type(self).makeOrigin()
        self.agent = sharedAgent(self.backend, self.origin.url, self.transport)
        assert self.agent.waitReady() == self.transport
        self.addCleanup(self.origin.clear)

    def tearDown(self) -> None:
        """
        Whatever happened, nothing is left behind.
        """
        eventually(lambda: not sharedProxy().inFlight(self.backend), "no exchange is in flight")

    def client(self) -> Wire:
        """
        Connect to the proxy.
        """
        wire = Wire.to(sharedProxy().port)
        self.addCleanup(wire.close)
        return wire

    def request(self, line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
        """
        Write a request for this backend.
        """
        lines = [line, *fields, b"X-Inverting-Proxy-Backend: " + self.backend.encode()]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    def get(self, *fields: bytes, line: bytes = b"GET / HTTP/1.1") -> tuple[Wire, Wire, bytes]:
        """
        Send a request without a body.

        @return: the client's and the backend's end, and the head at the latter.
        """
        client = self.client()
        client.send(self.request(line, b"Host: h", *fields))
        server = self.origin.next()
        self.addCleanup(server.close)
        return client, server, server.readHead()
