"""
The admin endpoint: what it tells, and whom.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.test.requesthelper import DummyRequest

from invproxy.http1.fields import value
from invproxy.proxy.admin import AdminResource, refusal
from invproxy.resources import ResourceOrigin
from invproxy.server import StreamingSite
from invproxy.test.rawcalls import OURS, PLAIN, Bench, Call
from invproxy.testing import MemoryNetwork


class AdminTests(SynchronousTestCase):
    """
    L{AdminResource} over our own site.
    """

    def setUp(self) -> None:
        self.bench = Bench()
        self.ready = True
        admin = AdminResource(self.bench.proxy.mailboxes, self.bench.network, lambda: self.ready)
        self.origin = ResourceOrigin(admin, clock=self.bench.network, maxBody=1 << 20)
        self.bench.network.listenTCP(8081, StreamingSite(self.origin, self.bench.network))

    def ask(
        self,
        path: bytes,
        fields: bytes = b"Host: localhost:8081\r\n",
        method: bytes = b"GET",
        address: str | None = None,
    ) -> Call:
        network: MemoryNetwork = self.bench.network
        client = network.client("127.0.0.1", 8081, address=address)
        client.send(b"%b %b HTTP/1.1\r\n%b\r\n" % (method, path, fields))
        network.pump()
        return Call(client, method)

    def json(self, path: bytes) -> Any:
        reply = self.ask(path).reply
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.value(b"Content-Type"), b"application/json")
        self.assertEqual(reply.value(b"Cache-Control"), b"no-store")
        return json.loads(reply.body)

    def assertProblem(self, call: Call, status: int) -> None:
        """
        Is it a problem (RFC 9457)?
        """
        reply = call.reply
        self.assertEqual(reply.status, status)
        self.assertEqual(reply.value(b"Content-Type"), b"application/problem+json")
        problem = json.loads(reply.body)
        self.assertEqual(problem["status"], status)
        self.assertTrue(problem["title"] and problem["detail"])

    def test_healthz(self) -> None:
        """
        The process is alive, ready or not.
        """
        for self.ready in (True, False):
            reply = self.ask(b"/healthz").reply
            self.assertEqual((reply.status, reply.body), (200, b"ok\n"))

    def test_readyz(self) -> None:
        """
        200 while it is ready, else 503.
        """
        reply = self.ask(b"/readyz").reply
        self.assertEqual((reply.status, reply.body), (200, b"ready\n"))
        self.ready = False
        self.assertProblem(self.ask(b"/readyz"), 503)

    def test_head(self) -> None:
        """
        HEAD is as good as GET.
        """
        call = self.ask(b"/healthz", method=b"HEAD")
        self.assertEqual(call.status, 200)
        self.assertTrue(call.client.received.endswith(b"\r\n\r\n"))

    def test_status(self) -> None:
        """
        Backends in order, their tunnels, polls, queues and exchanges by state; no IDs, which are secrets.
        """
        self.assertEqual(
            self.json(b"/api/status"), {"ready": True, "uptimeSeconds": 0, "backends": []}
        )
        bench = self.bench
        bench.poll(b"zoo")
        bench.fetch(b"0" * 32)
        bench.advance(2.5)
        for _ in range(3):
            bench.ask()
        first, second, _ = bench.pending()
        bench.fetch(first, OURS)
        bench.fetch(second)
        bench.respond(second).chunk(PLAIN[:-1])
        for _ in range(2):
            bench.ask()
        status = self.json(b"/api/status")
        self.assertEqual(status["uptimeSeconds"], 2.5)
        web, zoo = status["backends"]
        self.assertEqual(
            web,
            {
                "id": "web",
                "online": True,
                "secondsSinceSeen": 0,
                "tunnels": 0,
                "polls": 0,
                "queued": 2,
                "exchanges": {"queued": 2, "claimed": 1, "fetched": 1, "responding": 1},
            },
        )
        self.assertEqual((zoo["id"], zoo["polls"], zoo["secondsSinceSeen"]), ("zoo", 1, 0))
        self.assertNotIn(first.decode(), json.dumps(status))

    def test_offline(self) -> None:
        """
        A backend that was away for long is not online.
        """
        self.bench.fetch(b"0")
        self.bench.advance(301)
        (web,) = self.json(b"/api/status")["backends"]
        self.assertEqual((web["online"], web["secondsSinceSeen"]), (False, 301))

    def test_nothingElse(self) -> None:
        """
        404 for other paths, as a problem.
        """
        for path in (b"/", b"/api", b"/api/", b"/api/other", b"/healthz/x", b"/agent/pending"):
            self.assertProblem(self.ask(path), 404)

    def test_methods(self) -> None:
        """
        405 for other methods, as a problem that says which are allowed.
        """
        for path in (b"/api/status", b"/healthz"):
            call = self.ask(path, method=b"DELETE")
            self.assertProblem(call, 405)
            self.assertEqual(value(call.reply.fields, b"allow"), b"GET, HEAD")

    def test_foreignPeer(self) -> None:
        """
        403 for peers that are not loopback, whatever they say of themselves, on each path.
        """
        fields = b"Host: localhost\r\nX-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n"
        for path in (b"/", b"/healthz", b"/api/status", b"/none"):
            self.assertProblem(self.ask(path, fields, address="192.0.2.1"), 403)
            self.assertNotEqual(self.ask(path, fields).status, 403)

    def test_foreignHost(self) -> None:
        """
        403 for a Host that is not a loopback name: somebody's DNS may point it here.
        """
        for host in (
            b"evil.example",
            b"localhost.evil.example",
            b"127.0.0.1.evil.example",
            b"evil.example:8081",
            b"",
            b":8081",
            b"[::2]",
            b"[127.0.0.1]",
            b"[:]",
        ):
            self.assertProblem(self.ask(b"/api/status", b"Host: %b\r\n" % host), 403)
        for host in (b"localhost", b"LOCALHOST:1", b"127.0.0.1:8081", b"[::1]", b"[::1]:8081"):
            self.assertEqual(self.ask(b"/api/status", b"Host: %b\r\n" % host).status, 200, host)

    def test_crossSite(self) -> None:
        """
        403 for what a page of another site sends.
        """
        host = b"Host: localhost:8081\r\n"
        for origin in (
            b"http://evil.example",
            b"null",
            b"http://localhost",
            b"http://localhost:8080",
            b"http://localhost:8081.evil.example",
            b"http://127.0.0.1:8081",
            b"http://[",
            b"",
        ):
            call = self.ask(b"/api/status", host + b"Origin: %b\r\n" % origin)
            self.assertProblem(call, 403)
        for site, status in (
            (b"cross-site", 403),
            (b"same-site", 403),
            (b"same-origin", 200),
            (b"none", 200),
        ):
            call = self.ask(b"/api/status", host + b"Sec-Fetch-Site: %b\r\n" % site)
            self.assertEqual(call.status, status)
        call = self.ask(b"/api/status", host + b"Origin: http://localhost:8081\r\n")
        self.assertEqual(call.status, 200)


class RefusalTests(SynchronousTestCase):
    """
    L{refusal}, by the address of the peer.
    """

    def isRefused(self, address: IAddress | None) -> bool:
        request = DummyRequest([b""])
        request.requestHeaders = Headers({b"Host": [b"localhost"]})
        request.client = address
        return refusal(request) is not None  # type: ignore[arg-type]

    def test_loopback(self) -> None:
        """
        All loopback addresses, and UNIX sockets.
        """
        for address in (
            IPv4Address("TCP", "127.0.0.1", 1),
            IPv4Address("TCP", "127.9.9.9", 1),
            IPv6Address("TCP", "::1", 1),
            IPv6Address("TCP", "::ffff:127.0.0.1", 1),
            UNIXAddress(b"/x"),
            UNIXAddress(None),
        ):
            self.assertFalse(self.isRefused(address), address)

    def test_others(self) -> None:
        """
        No other.
        """
        for address in (
            IPv4Address("TCP", "10.0.0.1", 1),
            IPv4Address("TCP", "0.0.0.0", 1),
            IPv6Address("TCP", "::", 1),
            IPv6Address("TCP", "fe80::1%lo", 1),
            IPv6Address("TCP", "::ffff:10.0.0.1", 1),
            None,
        ):
            self.assertTrue(self.isRefused(address), address)


class ClockIsEnough(SynchronousTestCase):
    """
    The status of a proxy that has nothing to tell.
    """

    def test_noNetwork(self) -> None:
        """
        It needs a clock and mailboxes, no more.
        """
        AdminResource(Bench().proxy.mailboxes, Clock(), bool)
