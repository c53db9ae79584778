"""
Intermediaries that end what is silent: tunnels live on, as their ends send pings.
"""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Callable
from functools import cache
from urllib.parse import urlsplit

from attrs import frozen

from invproxy.test.certificates import certificates
from invproxy.test.intermediaries import Front, missing
from invproxy.test.programs import DEADLINE, Agent, variants
from invproxy.test.traffic import Client, TrafficTestCase
from invproxy.test.ways import (
    HAPROXY,
    NGINX,
    TINYPROXY,
    Way,
    haproxy,
    nginx,
    tinyproxy,
)
from invproxy.test.wires import Wire, firstLine

IDLE = 10
"""Seconds of silence after which an intermediary ends a connection: twice as long as tunnels are ever silent."""

IMPATIENT: dict[str, Callable[[], Way]] = {
    "nginx": lambda: nginx({"proxy_read_timeout 1h": f"proxy_read_timeout {IDLE}s"}),
    "haproxy": lambda: haproxy(
        {f"timeout {each} 1h": f"timeout {each} {IDLE}s" for each in ("client", "server", "tunnel")}
    ),
    "tinyproxy": lambda: tinyproxy({"Timeout 600": f"Timeout {IDLE}"}),
}
"""What ends connections that are silent for a while."""


def webSocket(way: Way, backend: str) -> Wire:
    """
    Connect a WebSocket through a web server.
    """
    address = ("localhost", way.middle.port)
    wire = Wire(
        certificates().context.wrap_socket(
            socket.create_connection(address, DEADLINE), server_hostname="localhost"
        )
    )
    wire.send(
        b"GET /socket HTTP/1.1\r\nHost: localhost\r\nX-Inverting-Proxy-Backend: %b\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: %b\r\n\r\n" % (backend.encode(), b64encode(bytes(16)))
    )
    assert firstLine(wire.readHead()).startswith(b"HTTP/1.1 101 ")
    return wire


def connection(way: Way) -> Wire:
    """
    Connect to the proxy through a forward proxy.
    """
    [forward] = map(urlsplit, way.environment.values())
    credentials = b64encode(f"{forward.username}:{forward.password}".encode())
    target = urlsplit(way.toProxy).netloc.encode()
    wire = Wire.to(way.middle.port)
    wire.send(
        b"CONNECT %b HTTP/1.1\r\nHost: %b\r\nProxy-Authorization: Basic %b\r\n\r\n"
        % (target, target, credentials)
    )
    assert firstLine(wire.readHead()).split()[1] == b"200"
    return wire


@frozen
class Silence:
    """
    A link on which nothing happens.

    @ivar way: where it goes.
    @ivar agent: whose it is.
    @ivar client: a client.
    @ivar begin: the first line of the agent since then.
    @ivar other: something else that is silent, no longer than the link.
    """

    way: Way
    agent: Agent
    client: Client
    begin: int
    other: Wire


@cache
def silences() -> dict[str, Silence]:
    """
    Make a silent link through each intermediary, so that it takes the time of one only.
    """
    found = {}
    for name, make in IMPATIENT.items():
        if missing(name) is None:
            way = make()
            backend = f"silent-{name}"
            agent = way.agent(backend, "tunnel")
            client = way.client(backend)
            client.ask("GET", "/fields")
            begin = len(agent.output())
            other = webSocket(way, backend) if isinstance(way.middle, Front) else connection(way)
            found[name] = Silence(way, agent, client, begin, other)
    return found


class Silent(TrafficTestCase):
    """
    An intermediary that ends what is silent.

    @cvar name: which one.
    """

    name: str

    def test_silent(self) -> None:
        """
        The tunnel lives on, and something else that is silent does not.
        """
        silence = silences()[self.name]
        agent, way, self.client = silence.agent, silence.way, silence.client
        silence.other.waitLost()
        self.assertEqual(agent.output(silence.begin), [])
        before = way.polled()
        self.checkAll()
        self.assertEqual(agent.output(silence.begin), [])
        self.assertEqual(way.polled(), before)
        self.assertEqual(self.ended(way), 0)

    def ended(self, way: Way) -> int:
        """
        Count the tunnels that have ended.
        """
        return way.middle.calls("/agent/tunnel") if isinstance(way.middle, Front) else 0


globals().update(
    variants(
        Silent,
        {
            "Nginx": {"name": "nginx", "skip": NGINX},
            "HAProxy": {"name": "haproxy", "skip": HAPROXY},
            "Tinyproxy": {"name": "tinyproxy", "skip": TINYPROXY},
        },
    )
)
del Silent
