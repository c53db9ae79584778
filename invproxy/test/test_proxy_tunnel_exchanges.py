"""
Exchanges in tunnels, as the proxy sees them: which agent gets what, and what becomes of those whose agent, tunnel or
answer is no good. The agents' ends are written by hand.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher

from invproxy.http1.limits import Limits
from invproxy.test.benchcase import TunnelCase
from invproxy.test.rawcalls import PLAIN, AgentTunnel, Bench, Call, idsOf
from invproxy.wire.frames import CREDIT, DATA, END, RESET, RESPONSE

OPEN_ENDED = b"HTTP/1.1 200 OK\r\n\r\n"
"""The head of a response of unknown length, as it is in a tunnel."""


class SharedTests(TunnelCase):
    """
    Several agents of one backend.
    """

    def test_inTurn(self) -> None:
        """
        With nothing to do they get requests in turn.
        """
        bench = self.bench()
        tunnels = [bench.tunnel() for _ in range(3)]
        order = []
        for _ in range(9):
            before = self.load(tunnels)
            client = bench.ask()
            [chosen] = [
                number
                for number, (one, two) in enumerate(zip(before, self.load(tunnels), strict=True))
                if one != two
            ]
            order.append(chosen)
            tunnels[chosen].respond(max(tunnels[chosen].requests))
            self.assertAnswered(client)
        self.assertEqual(order, [0, 1, 2] * 3)

    def test_least(self) -> None:
        """
        Whoever has least to do gets the next one.
        """
        bench = self.bench()
        one, two = bench.tunnel(), bench.tunnel()
        for _ in range(4):
            bench.ask()
        self.assertEqual(self.load([one, two]), [2, 2])
        for stream in two.requests:
            two.respond(stream)
        bench.ask()
        bench.ask()
        self.assertEqual(self.load([one, two]), [2, 4])
        bench.ask()
        bench.ask()
        self.assertEqual(self.load([one, two]), [3, 5])

    def test_polls(self) -> None:
        """
        A poll that waits has nothing to do: it goes before a tunnel that has, and not before one that has not.
        """
        bench = self.bench()
        tunnel = bench.tunnel()
        poll = bench.poll()
        first = bench.ask()
        self.assertEqual((len(tunnel.requests), poll.status), (1, 0))
        second = bench.ask()
        (identifier,) = idsOf(poll)
        third = bench.ask()
        self.assertEqual(len(tunnel.requests), 2)
        bench.fetch(identifier)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(second)
        for stream, client in zip(tunnel.requests, (first, third), strict=True):
            tunnel.respond(stream)
            self.assertAnswered(client)

    def test_full(self) -> None:
        """
        None gets more at once than it takes; then requests wait, as many as may, and are handed on as there is room.
        """
        bench = self.bench(maxPending=3, queueTimeout=20.0)
        one, two = bench.tunnel(streams=2), bench.tunnel(streams=1)
        clients = [bench.ask(target=b"/%d" % number) for number in range(6)]
        self.assertEqual(self.load([one, two]), [2, 1])
        refused = bench.ask()
        self.assertFailed(refused, 429, "too-many-pending")
        self.assertEqual(refused.reply.value(b"Retry-After"), b"1")
        two.respond(1)
        self.assertEqual(self.load([one, two]), [2, 2])
        self.assertIn(b" /3 ", two.requests[2])
        self.assertEqual(bench.ask().status, 0)
        one.reset(1, "origin-refused")
        self.assertEqual(self.load([one, two]), [3, 2])
        one.call.leave()
        self.assertEqual(self.load([two]), [2])
        bench.advance(20.5)
        self.assertEqual(sorted(client.status for client in clients)[-1], 504)
        two.respond(2)
        self.assertAnswered(clients[3])

    def test_fullByUploads(self) -> None:
        """
        A stream counts until both its directions are over.
        """
        bench = self.bench()
        tunnel = bench.tunnel(streams=1)
        client = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\n")
        tunnel.respond(1, OPEN_ENDED, last=False)
        waits = bench.ask()
        self.assertEqual(len(tunnel.requests), 1)
        client.end()
        self.assertEqual(len(tunnel.requests), 1)
        tunnel.send(END, 1, last=True)
        self.assertEqual(len(tunnel.requests), 2)
        tunnel.respond(2)
        self.assertAnswered(waits)

    def test_clientsLeave(self) -> None:
        """
        A client that leaves makes room, and its agent hears so.
        """
        bench = self.bench()
        tunnel = bench.tunnel(streams=1)
        gone, stays = bench.ask(), bench.ask()
        gone.leave()
        self.assertEqual(tunnel.resets, {1: "client-gone"})
        self.assertEqual(len(tunnel.requests), 2)
        tunnel.respond(1)  # it crossed the RESET
        tunnel.respond(2)
        self.assertAnswered(stays)
        self.assertFalse(tunnel.isClosed)


class LostTests(TunnelCase):
    """
    Agents that die.
    """

    def test_dies(self) -> None:
        """
        It takes its own exchanges with it; those that may be repeated go to another.
        """
        bench = self.bench()
        dies, lives = bench.tunnel(), bench.tunnel()
        clients = [bench.ask(target=b"/%d" % number) for number in range(4)]
        posts = [bench.post(b"x") for _ in range(2)]
        begun = [bench.ask(target=b"/b") for _ in range(2)]
        self.assertEqual(self.load([dies, lives]), [4, 4])
        dies.respond(4, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"part", last=False)
        dies.call.leave()
        self.assertFailed(posts[0], 502, "agent-lost")
        self.assertTrue(begun[0].isCut)
        self.assertEqual(begun[0].reply.body, b"part")
        self.assertEqual(self.load([lives]), [6])
        for stream in lives.requests:
            lives.respond(stream)
        for client in (*clients, posts[1], begun[1]):
            self.assertAnswered(client)
        self.assertEqual(posts[0].status, 502)
        self.assertEmpty(bench)

    def test_alone(self) -> None:
        """
        Without another there is nobody to repeat it for: the client hears so at once.
        """
        bench = self.bench()
        tunnel = bench.tunnel()
        client = bench.ask()
        tunnel.call.leave()
        self.assertFailed(client, 502, "agent-lost")

    def test_poller(self) -> None:
        """
        A poll that waits is another, too.
        """
        bench = self.bench()
        tunnel = bench.tunnel()
        client = bench.ask()
        poll = bench.poll()
        tunnel.call.leave()
        (identifier,) = idsOf(poll)
        bench.fetch(identifier)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_notForEver(self) -> None:
        """
        A request that kills its agents does not kill them all.
        """
        bench = self.bench()
        tunnels = [bench.tunnel() for _ in range(5)]
        client = bench.ask()
        for _ in range(3):
            [victim] = [tunnel for tunnel in tunnels if tunnel.requests and not tunnel.isClosed]
            victim.call.leave()
            self.assertTrue(victim.isClosed)
        self.assertFailed(client, 502, "agent-lost")

    def test_silent(self) -> None:
        """
        A link over which nothing comes is dead after the link timeout; pings show those that live.
        """
        bench = self.bench(linkTimeout=10.0)
        dies, lives = bench.tunnel(), bench.tunnel()
        get, post = bench.ask(), bench.post(b"x")
        self.assertEqual(self.load([dies, lives]), [1, 1])
        bench.advance(100)
        self.assertFalse(dies.isClosed)
        bench.network.freeze(dies.call.client)
        bench.advance(11)
        self.assertEqual(len(lives.requests), 2)
        lives.respond(1)
        lives.respond(2)
        self.assertAnswered(get)
        self.assertAnswered(post)
        self.assertEqual(len(bench.proxy.tunnels), 1)

    def test_closes(self) -> None:
        """
        An agent that closes its tunnel properly, but with exchanges open, loses them as well.
        """
        bench = self.bench()
        tunnel = bench.tunnel()
        client = bench.post(b"x")
        tunnel.close()
        self.assertFailed(client, 502, "agent-lost")
        self.assertEqual(tunnel.closing, (1001, ""))
        self.assertTrue(tunnel.isClosed)
        self.assertEqual(len(bench.proxy.tunnels), 0)

    def test_breaks(self) -> None:
        """
        One that breaks the protocol is told how, and is as good as dead.
        """
        bench = self.bench()
        lives = bench.tunnel()
        bench.ask()
        broken = bench.tunnel()
        client = bench.post(b"x")
        broken.send(DATA, 1, b"too early")
        assert broken.closing is not None
        self.assertEqual(broken.closing[0], 1002)
        self.assertIn("DATA before a RESPONSE", broken.closing[1])
        self.assertFailed(client, 502, "agent-lost")
        bench.advance(3)
        self.assertTrue(broken.isClosed)
        self.assertFalse(lives.isClosed)

    def test_dismisses(self) -> None:
        """
        One that is going to stop finishes what it has begun; what it has not goes to another, even what could not be
        repeated, and it gets nothing more.
        """
        bench = self.bench()
        stops = bench.tunnel()
        begun = bench.ask()
        crossed = bench.post(b"body")
        later = bench.tunnel()
        stops.dismiss(1)
        self.assertEqual(len(later.requests), 1)
        self.assertEqual(later.body(1), b"body")
        others = [bench.ask() for _ in range(3)]
        self.assertEqual(self.load([stops, later]), [2, 4])
        stops.respond(1)
        self.assertAnswered(begun)
        bench.network.pump()
        self.assertEqual(stops.closing, (1001, "drained"))
        for stream in later.requests:
            later.respond(stream)
        for client in (crossed, *others):
            self.assertAnswered(client)

    def test_dismissesResponding(self) -> None:
        """
        One whose response has begun is cut at once if the agent says that it did not take it; others go on.
        """
        for idle in (0.0, 300.0):
            bench = self.bench(idleTimeout=idle)
            tunnel = bench.tunnel()
            goesOn, cut, open = (bench.ask() for _ in range(3))
            sized = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
            for stream, head in ((1, sized), (2, sized), (3, OPEN_ENDED)):
                tunnel.respond(stream, head, b"part", last=False)
            tunnel.dismiss(1)
            for client in (cut, open):
                self.assertTrue(client.isCut)
                self.assertEqual(client.reply.body, b"part")
            self.assertFalse(goesOn.isClosed)
            self.assertEqual(len(bench.proxy.mailboxes.exchanges), 1)
            tunnel.send(DATA, 2, b"later")  # of a stream that is none any more
            tunnel.send(DATA, 1, b"whole", last=True)
            self.assertAnswered(goesOn, b"partwhole")
            self.assertEmpty(bench)

    def test_dismissesBegun(self) -> None:
        """
        What the agent has shown to work on, by an interim response or credit, is not another's, whatever it says,
        unless it may be repeated.
        """
        signs: tuple[tuple[int, bytes], ...] = (
            (RESPONSE, b"HTTP/1.1 102 Processing\r\n\r\n"),
            (CREDIT, b"\0\0\0\1"),
        )
        for kind, payload in signs:
            bench = self.bench()
            stops = bench.tunnel()
            begun, untouched = bench.post(b"begun"), bench.post(b"untouched")
            repeatable = bench.ask()
            for stream in (1, 3):
                stops.send(kind, stream, payload)
            later = bench.tunnel()
            stops.dismiss(0)
            self.assertFailed(begun, 502, "agent-lost")
            self.assertEqual(
                sorted(head[:4] for head in later.requests.values()), [b"GET ", b"POST"]
            )
            for stream, head in later.requests.items():
                if head.startswith(b"POST"):
                    self.assertEqual(later.body(stream), b"untouched")
                later.respond(stream)
            self.assertAnswered(untouched)
            self.assertAnswered(repeatable)
            self.assertEmpty(bench)

    def test_log(self) -> None:
        """
        Why a tunnel was closed is one line of the log, of bounded length, whatever the agent says.
        """
        lines: list[str] = []

        def observe(event: LogEvent) -> None:
            lines.append(formatEvent(event))

        observer = cast(ILogObserver, observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        bench = self.bench()
        for reason, shown in (
            ("\x1b[2J\r\nall\x07 is\tfine\u202e\x85\x7f\0", "?[2J??all? is?fine????"),
            ("caf\xe9 \u65e5", "caf\xe9 \u65e5"),
            ("", "no reason given"),
        ):
            bench.tunnel().close(1000, reason)
            self.assertRegex(lines[-1], r"\Atunnel of web from .* closed: ")
            self.assertEqual(
                lines[-1].partition(" closed: ")[2], f"the peer closed it: {shown} (1000)"
            )


class ResetTests(TunnelCase):
    """
    Exchanges that an agent gives up.
    """

    def test_codes(self) -> None:
        """
        What the agent says of the origin, and of itself, is what the client is told, but for the details; the tunnel
        goes on.
        """
        bench = self.bench()
        tunnel = bench.tunnel()
        for code, status in (
            ("origin-refused", 502),
            ("origin-bad-response", 502),
            ("origin-timeout", 504),
            ("internal", 500),
        ):
            for ask in (bench.ask, lambda: bench.post(b"x")):
                client = ask()
                tunnel.reset(max(tunnel.requests), f"{code} at 10.0.0.1:5432")
                self.assertFailed(client, status, code)
                self.assertNotIn(b"10.0.0.1", bytes(client.client.received))
        self.assertServes(bench, tunnel)

    def test_otherCodes(self) -> None:
        """
        Of everything else it cannot be the judge: it gave the exchange up.
        """
        bench = self.bench()
        tunnel = bench.tunnel()
        for code in (
            "draining",
            "no-backend",
            "unauthenticated",
            "nonsense",
            "",
            "\x00",
        ):
            client = bench.post(b"x")
            tunnel.reset(max(tunnel.requests), code)
            self.assertFailed(client, 502, "agent-lost")
        self.assertServes(bench, tunnel)

    def test_again(self) -> None:
        """
        Another may have another try then.
        """
        bench = self.bench()
        one, two = bench.tunnel(), bench.tunnel()
        client = bench.ask()
        one.reset(1, "draining")
        self.assertEqual(len(two.requests), 1)
        two.respond(1)
        self.assertAnswered(client)

    def test_notForEver(self) -> None:
        """
        But not for ever.
        """
        bench = self.bench()
        tunnel = bench.tunnel()
        client = bench.ask()
        for _ in range(10):
            if not client.status:
                tunnel.reset(max(tunnel.requests), "draining")
        self.assertFailed(client, 502, "agent-lost")
        self.assertEqual(len(tunnel.requests), 3)

    def test_inResponse(self) -> None:
        """
        A response that has begun is cut, whatever the code.
        """
        for code in ("origin-bad-response", "internal"):
            bench = self.bench()
            tunnel = bench.tunnel()
            client = bench.ask()
            tunnel.respond(1, OPEN_ENDED, b"half", last=False)
            tunnel.reset(1, code)
            self.assertTrue(client.isCut)
            self.assertEqual(client.reply.body, b"half")
            self.assertServes(bench, tunnel)

    def test_notUTF8(self) -> None:
        """
        A RESET may hold anything.
        """
        bench = self.bench()
        tunnel = bench.tunnel()
        client = bench.post(b"x")
        tunnel.send(5, 1, b"origin-refused \xff\xfe\r\n", last=True)
        self.assertFailed(client, 502, "origin-refused")


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
