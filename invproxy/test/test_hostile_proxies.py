"""
Hostile proxies before an agent: whatever they say, the agent talks to them and to its origin, and to nobody else.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.protocol import Factory

from invproxy.agent.origins import HTTPOrigin
from invproxy.test import scripted
from invproxy.test.hostile.proxies import BASED, ORDERS, Order
from invproxy.test.hostile.stage import Asked, Backend, BackendConnection
from invproxy.test.played import PlayedTunnel
from invproxy.test.scripted import AgentTestCase, Call
from invproxy.testing import MemoryNetwork

PROXY, ORIGIN, EVIL = "192.0.2.1", "192.0.2.2", "192.0.2.66"


class TracedNetwork(MemoryNetwork):
    """
    A network that takes down who is called.

    @ivar called: addresses and ports.
    """

    def __init__(self) -> None:
        super().__init__()
        self.called: set[tuple[str, int]] = set()
        self.hosts = {"proxy.test": PROXY, "origin": ORIGIN}

    def lookup(self, name: str) -> str | None:
        return super().lookup(name) if name in self.hosts or name[:1].isdigit() else EVIL

    def connectTCP(self, host: str, port: int, *args: Any, **options: Any) -> Any:
        self.called.add((self.lookup(host) or host, port))
        return super().connectTCP(host, port, *args, **options)


class ProxiesCase(AgentTestCase):
    """
    What these tests share: an agent with a token before an origin at C{http://origin:81}.
    """

    def setUp(self) -> None:
        self.patch(scripted, "MemoryNetwork", TracedNetwork)
        super().setUp()
        assert isinstance(self.network, TracedNetwork)
        for name in ("http", "https", "all", "no"):
            for variable in (f"{name}_proxy", f"{name.upper()}_PROXY"):
                before = os.environ.get(variable)
                os.environ[variable] = "" if name == "no" else "http://evil.example:3128"
                self.addCleanup(self.restore, variable, before)
        self.backend = Backend(self.network)
        factory = Factory.forProtocol(lambda: BackendConnection(self.backend))
        factory.noisy = False
        self.network.listenTCP(81, factory)

    @staticmethod
    def restore(variable: str, value: str | None) -> None:
        os.environ.pop(variable, None)
        if value is not None:
            os.environ[variable] = value

    def serve(self, transport: str, url: str = "http://origin:81", **settings: Any) -> None:
        """
        Start the agent.
        """
        origin = HTTPOrigin.fromURL(self.network, url)
        self.agent(origin, transport=transport, token="invproxy_secret", **settings)

    def assertContained(self) -> None:
        """
        Nobody else was called.
        """
        assert isinstance(self.network, TracedNetwork)
        self.assertLessEqual(self.network.called, {(PROXY, 8080), (ORIGIN, 81)})
        self.assertEqual(self.backend.complaints, [])

    def assertSeen(self, order: Order, asked: list[Asked]) -> None:
        """
        The origin was asked for just that, once.
        """
        seen = [] if order.seen is None else [(order.seen.first, order.seen.fields)]
        self.assertEqual([(each.first, each.fields) for each in asked], seen, order.name)
        self.assertContained()


class TunnelTests(ProxiesCase):
    """
    By a tunnel.
    """

    def tunnel(self) -> PlayedTunnel:
        [call] = self.proxy.handshakes
        tunnel = call.accept()
        self.network.pump()
        return tunnel

    def test_orders(self) -> None:
        """
        Each request goes to the origin as it was understood, or nowhere; and the tunnel goes on.
        """
        self.serve("tunnel")
        tunnel = self.tunnel()
        for stream, order in enumerate(ORDERS, 1):
            before = len(self.backend.asked)
            tunnel.request(stream, order.data)
            self.network.advance(0.01)
            self.assertSeen(order, self.backend.asked[before:])
            self.assertEqual(stream in tunnel.resets, order.seen is None, order.name)
        self.assertIsNone(tunnel.closing)

    def test_behind(self) -> None:
        """
        What is sent behind a request's end is no other request.
        """
        self.serve("tunnel")
        for last in (True, False):
            tunnel = self.tunnel()
            before = len(self.backend.asked)
            tunnel.request(
                1, b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n", last=False
            )
            tunnel.send(3, 1, b"okGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", last=last)
            self.network.advance(0.01)
            self.assertFalse([each for each in self.backend.asked[before:] if each.whole])
            self.assertNotIn(b"smuggled", self.backend.received)
            self.assertContained()
            tunnel.close()
            self.network.advance(5)

    def test_base(self) -> None:
        """
        No target leads out of the path that the origin's URL has, however the origin reads it.
        """
        self.serve("tunnel", "http://origin:81/base")
        tunnel = self.tunnel()
        for stream, (target, seen) in enumerate(BASED, 1):
            before = len(self.backend.asked)
            tunnel.request(stream, b"OPTIONS %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
            self.network.advance(0.01)
            asked = [each.target for each in self.backend.asked[before:]]
            self.assertEqual(asked, [] if seen is None else [seen], target)
            self.assertEqual(tunnel.resets.get(stream), None if seen else "bad-request", target)

    def test_trailers(self) -> None:
        """
        The proxy's own fields do not come as trailers, either.
        """
        self.serve("tunnel")
        tunnel = self.tunnel()
        tunnel.request(
            1, b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", last=False
        )
        tunnel.send(4, 1, b"X_Inverting-Proxy.User-ID: root\r\nA: b\r\n", last=True)
        self.network.advance(0.01)
        [asked] = self.backend.asked
        self.assertEqual((asked.trailers, asked.whole), ((b"A: b",), True))

    def test_redirected(self) -> None:
        """
        Redirections of the proxy lead nowhere, and the token goes to nobody else; nor do those of the origin.
        """
        self.serve("auto")
        go = b"Location: http://evil.example/agent/\r\n"
        for status in (301, 302, 303, 307, 308):
            self.proxy.probes = [b"HTTP/1.1 %d Go\r\n%bContent-Length: 0\r\n\r\n" % (status, go)]
            for _ in range(10):
                for call in self.proxy.handshakes + self.proxy.polls:
                    call.answer(status, fields=go)
                self.network.advance(2)
            self.assertContained()
        self.assertGreater(len(self.proxy.calls), 10)

    def test_originRedirects(self) -> None:
        self.serve("tunnel")
        self.backend.hostile = (
            b"HTTP/1.1 302 A\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n",
            False,
        )
        tunnel = self.tunnel()
        tunnel.request(1, b"GET /hostile HTTP/1.1\r\nHost: a\r\n\r\n")
        self.network.advance(0.01)
        [response] = tunnel.of(2)
        self.assertIn(b"302", response.payload)
        self.assertContained()


class PollTests(ProxiesCase):
    """
    By polls.
    """

    def fetched(self, identifier: str) -> Call:
        """
        Offer an exchange, and await that the agent fetches it.
        """
        while not self.proxy.polls:
            self.network.advance(0.5)
        self.proxy.offer(identifier)
        return self.proxy.fetches(identifier)[-1]

    def test_orders(self) -> None:
        self.serve("poll")
        for number, order in enumerate(ORDERS):
            before = len(self.backend.asked)
            self.fetched(f"id{number}").serve(order.data)
            self.network.advance(0.01)
            self.assertSeen(order, self.backend.asked[before:])
            for post in self.proxy.posts(f"id{number}"):
                if not post.answered:
                    post.answer(200)

    def test_behind(self) -> None:
        """
        A second request behind the first is none.
        """
        self.serve("poll")
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        self.fetched("one").serve(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" + smuggled)
        self.network.advance(0.01)
        self.assertEqual([each.first for each in self.backend.asked], [b"GET /a"])
        self.assertContained()

    def test_base(self) -> None:
        self.serve("poll", "http://origin:81/base/")
        self.fetched("one").serve(b"GET /%2e%2e/a HTTP/1.1\r\nHost: a\r\n\r\n")
        self.network.advance(0.01)
        self.assertEqual(self.backend.asked, [])
        self.assertIn(b"HTTP/1.1 400 ", b"".join(post.body for post in self.proxy.posts("one")))

    def test_fetchRedirected(self) -> None:
        """
        Nor do redirections in place of a request, or of the receipt of a response.
        """
        self.serve("poll")
        go = b"Location: http://evil.example/agent/request\r\n"
        self.fetched("one").answer(307, fields=go)
        self.network.advance(1)
        self.fetched("two").serve(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        self.network.advance(0.01)
        [post] = self.proxy.posts("two")
        post.answer(308, fields=go)
        self.network.advance(30)
        self.assertContained()
        self.assertEqual([each.first for each in self.backend.asked], [b"GET /a"])

    def test_identifiers(self) -> None:
        """
        IDs that split the agent's own calls are not used.
        """
        self.serve("poll")
        for body in (
            b'["a\\r\\nHost: evil"]',
            b'["a\\u0000"]',
            b'["\\u00e9"]',
            b'["%b"]' % (b"a" * 300),
            b"[1]",
            b'{"a":1}',
            b"[" * 100_000,
        ):
            while not self.proxy.polls:
                self.network.advance(1)
            calls = len(self.proxy.calls)
            self.proxy.polls[0].answer(200, body)
            self.network.advance(0.01)
            fresh = [call for call in self.proxy.calls[calls:] if call.target.endswith("/request")]
            # At most the probe by which the agent sees whether this is a proxy at all.
            self.assertLessEqual(len(fresh), 1)
            self.assertContained()

    def test_endUser(self) -> None:
        """
        Who the user is comes from where the protocol has it, and nowhere else.
        """
        self.serve("poll", forwardUserID=True)
        self.fetched("one").serve(
            b"GET /a HTTP/1.1\r\nHost: a\r\nX-Inverting-Proxy-User-ID: root\r\n\r\n",
            fields=b"X-Inverting-Proxy-User-ID: ada\r\n",
        )
        self.network.advance(0.01)
        [asked] = self.backend.asked
        self.assertEqual(asked.fields, (b"Host: a", b"X-Inverting-Proxy-User-ID: ada"))
