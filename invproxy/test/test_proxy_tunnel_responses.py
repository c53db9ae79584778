"""
Responses in tunnels that are no good, as the proxy sees them. The agents' ends are written by hand.
"""

from __future__ import annotations

from typing import Any

from invproxy.http1.limits import Limits
from invproxy.test.benchcase import TunnelCase
from invproxy.test.rawcalls import OPEN_ENDED, PLAIN, AgentTunnel, Bench, Call
from invproxy.wire.frames import DATA, END, RESET, RESPONSE


class BadResponseTests(TunnelCase):
    """
    Responses that are none fail their own exchange, and nothing else.
    """

    def both(self, **options: Any) -> tuple[Bench, AgentTunnel, Call, Call]:
        """
        Begin two exchanges in one tunnel.
        """
        bench = self.bench(**options)
        tunnel = bench.tunnel()
        return bench, tunnel, bench.ask(), bench.ask()

    def assertOtherLives(self, bench: Bench, tunnel: AgentTunnel, other: Call) -> None:
        """
        The other one comes to a good end, and so do later ones.
        """
        self.assertEqual(tunnel.resets, {1: "origin-bad-response"})
        tunnel.respond(2)
        self.assertAnswered(other)
        self.assertServes(bench, tunnel)
        self.assertEmpty(bench)
        self.assertIsNone(tunnel.closing)

    def test_heads(self) -> None:
        """
        Heads that are not HTTP, or would be read in two ways.
        """
        for head in (
            b"",
            b"hello",
            b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody",
            b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\rC\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
            b"HTTP/1.1 200 OK\nA: b\n\n",
            b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 99 No\r\n\r\n",
            b"HTTP/1.1 20 No\r\n\r\n",
            b"HTTP/1.1 2000 No\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ):
            bench, tunnel, client, other = self.both()
            tunnel.send(RESPONSE, 1, head)
            self.assertFailed(client, 502, "origin-bad-response")
            self.assertOtherLives(bench, tunnel, other)

    def test_largeHead(self) -> None:
        """
        Heads that are too large, or have too many fields.
        """
        for block in (b"A: %b\r\n" % (b"x" * 1000), b"A: b\r\n" * 60):
            bench, tunnel, client, other = self.both(limits=Limits(head=1000, fields=50))
            tunnel.send(RESPONSE, 1, b"HTTP/1.1 200 OK\r\n" + block + b"\r\n")
            self.assertFailed(client, 502, "origin-bad-response")
            self.assertOtherLives(bench, tunnel, other)

    def test_afterInterim(self) -> None:
        """
        The same after interim responses; these are passed on.
        """
        bench, tunnel, client, other = self.both()
        tunnel.send(RESPONSE, 1, b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n")
        self.assertEqual(client.reply.interim, [103])
        tunnel.send(RESPONSE, 1, b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n")
        self.assertFailed(client, 502, "origin-bad-response")
        self.assertOtherLives(bench, tunnel, other)

    def test_badInterim(self) -> None:
        """
        Interim responses are looked at as well.
        """
        bench, tunnel, client, other = self.both()
        tunnel.send(RESPONSE, 1, b"HTTP/1.1 103 Early\r\nLink : </a>\r\n\r\n")
        self.assertFailed(client, 502, "origin-bad-response")
        self.assertOtherLives(bench, tunnel, other)

    def test_late(self) -> None:
        """
        What still comes of it is nobody's.
        """
        bench, tunnel, client, other = self.both()
        tunnel.respond(1, b"nonsense", b"body", last=False)
        tunnel.send(DATA, 1, b"more")
        tunnel.send(END, 1, last=True)
        self.assertFailed(client, 502, "origin-bad-response")
        self.assertOtherLives(bench, tunnel, other)

    def test_lengths(self) -> None:
        """
        Bodies that are longer or shorter than they say are cut, and never look whole.
        """
        for length, body, last in ((3, b"four", False), (3, b"four", True), (5, b"four", True)):
            bench, tunnel, client, other = self.both()
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length
            tunnel.respond(1, head, body, last=last)
            self.assertTrue(client.isCut, (length, body))
            self.assertOtherLives(bench, tunnel, other)

    def test_shortEnd(self) -> None:
        """
        So is one that ends too early with an END, or with its head.
        """
        bench, tunnel, client, other = self.both()
        tunnel.respond(1, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"four", last=False)
        tunnel.send(END, 1, last=True)
        self.assertTrue(client.isCut)
        self.assertOtherLives(bench, tunnel, other)
        bench, tunnel, client, other = self.both()
        tunnel.send(RESPONSE, 1, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", last=True)
        self.assertTrue(client.isCut or client.error == "origin-bad-response")
        self.assertOtherLives(bench, tunnel, other)

    def test_bodyless(self) -> None:
        """
        Where no body may be, none is let through, and the next response is not made of it.
        """
        for method, status in ((b"HEAD", 200), (b"GET", 204), (b"GET", 304)):
            bench = self.bench()
            tunnel = bench.tunnel()
            client, other = bench.ask(method), bench.ask()
            tunnel.respond(1, b"HTTP/1.1 %d X\r\n\r\n" % status, PLAIN)
            self.assertNotIn(b"ok", bytes(client.client.received))
            self.assertEqual(client.reply.status, status)
            self.assertOtherLives(bench, tunnel, other)

    def test_trailers(self) -> None:
        """
        Trailers that are malformed, or would change how the message is understood.
        """
        for block in (
            b"X y: 1\r\n",
            b"X: 1\r\n y\r\n",
            b"X: 1\n\r\n",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Host: a\r\n",
            b"X: 1\r\n\r\nHTTP/1.1 200 OK\r\n",
            b"X: 1\r\n" * 5000,
        ):
            bench, tunnel, client, other = self.both()
            tunnel.respond(1, OPEN_ENDED, b"body", last=False)
            tunnel.send(END, 1, block, last=True)
            self.assertTrue(client.isCut, block[:40])
            self.assertOtherLives(bench, tunnel, other)

    def test_trailersWithoutEnd(self) -> None:
        """
        A trailer section whose last line does not end is not made to look as if: it breaks the protocol.
        """
        _, tunnel, client, _ = self.both()
        tunnel.respond(1, OPEN_ENDED, b"body", last=False)
        tunnel.send(END, 1, b"X-Sum: 1234", last=True)
        self.assertNotIn(b"X-Sum: 12\r\n", bytes(client.client.received))
        self.assertTrue(client.isCut)
        assert tunnel.closing is not None
        self.assertEqual(tunnel.closing[0], 1002)

    def test_largeTrailers(self) -> None:
        """
        Trailers over the limit, which is not that of heads.
        """
        block = b"X: %b\r\n" % (b"x" * 995)
        for more, isGood in ((b"", True), (b"x", False)):
            bench, tunnel, client, other = self.both(limits=Limits(trailers=1000))
            tunnel.respond(1, OPEN_ENDED, b"body", last=False)
            tunnel.send(END, 1, more + block, last=True)
            if isGood:
                self.assertAnswered(client, b"body")
                self.assertIn(block, bytes(client.client.received))
            else:
                self.assertTrue(client.isCut)
                self.assertOtherLives(bench, tunnel, other)

    def test_manyInterims(self) -> None:
        """
        A hundred interim responses are passed on; one more is too many.
        """
        for leave in (False, True):
            bench, tunnel, client, other = self.both()
            early = b"HTTP/1.1 103 Early\r\n\r\n"
            for number in range(100):
                mixed = b"HTTP/1.1 100 Continue\r\n\r\n" if leave and number % 2 else early
                tunnel.send(RESPONSE, 1, mixed)
            self.assertEqual(len(client.reply.interim), 100)
            self.assertEqual((client.status, tunnel.resets), (0, {}))
            tunnel.send(RESPONSE, 1, early)
            self.assertFailed(client, 502, "origin-bad-response")
            tunnel.respond(1)  # nobody's
            self.assertOtherLives(bench, tunnel, other)

    def test_interimsHeldBack(self) -> None:
        """
        While a client does not read, interim responses are not kept for it, but for the leave to send its body; the
        final one is.
        """
        bench, tunnel, client, other = self.both()
        client.client.stopReading()
        for _ in range(50):
            tunnel.send(RESPONSE, 1, b"HTTP/1.1 103 Early\r\nLink: %b\r\n\r\n" % (b"x" * 60000))
        tunnel.send(RESPONSE, 1, b"HTTP/1.1 100 Continue\r\n\r\n")
        tunnel.respond(1)
        tunnel.respond(2)
        self.assertAnswered(other)
        client.client.startReading()
        bench.network.pump()
        self.assertAnswered(client)
        self.assertLess(client.reply.interim.count(103), 10)
        self.assertGreater(client.reply.interim.count(103), 0)
        self.assertEqual(client.reply.interim.count(100), 1)
        self.assertServes(bench, tunnel)

    def test_goodTrailers(self) -> None:
        """
        Good ones are passed on, but for those that are the proxy's own.
        """
        _, tunnel, client, _ = self.both()
        tunnel.respond(1, OPEN_ENDED, b"body", last=False)
        tunnel.send(END, 1, b"X-Sum: 1\r\nX-Inverting-Proxy-Error: a\r\nX-B: \xe9\r\n", last=True)
        self.assertAnswered(client, b"body")
        self.assertEqual(client.reply.trailers, b"\r\nX-Sum: 1\r\nX-B: \xe9")

    def test_proxysFields(self) -> None:
        """
        A backend cannot name an error.
        """
        _, tunnel, client, _ = self.both()
        head = b"HTTP/1.1 200 OK\r\nX-Inverting-Proxy-Error: a\r\nContent-Length: 2\r\n\r\n"
        tunnel.respond(1, head)
        self.assertAnswered(client)
        self.assertEqual(client.error, "")

    def test_tooLargeRequest(self) -> None:
        """
        A request that is larger than an agent takes fails alone, and at once.
        """
        bench = self.bench()
        tunnel = bench.tunnel(head=1024)
        client = bench.ask(fields=b"X: %b\r\n" % (b"x" * 2000))
        self.assertFailed(client, 431, "head-too-large")
        self.assertServes(bench, tunnel)

    def test_tooLargeTrailers(self) -> None:
        """
        Trailers that are larger than an agent takes, likewise.
        """
        most = b"X: %b\r\n" % (b"x" * 1019)
        for trailers, isGood in ((most, True), (b"X" + most, False)):
            bench = self.bench()
            tunnel = bench.tunnel(head=1024)
            client = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\n")
            client.chunk(b"body")
            client.end(trailers)
            if isGood:
                [end] = tunnel.of(END, 1)
                self.assertEqual(end.payload, trailers)
                tunnel.respond(1)
                self.assertAnswered(client)
            else:
                self.assertFailed(client, 431, "head-too-large")
                self.assertEqual([len(each.payload) > 1024 for each in tunnel.of(END)], [])
                self.assertEqual(len(tunnel.of(RESET, 1)), 1)
            self.assertServes(bench, tunnel)
            self.assertIsNone(tunnel.closing)
            self.assertEmpty(bench)
