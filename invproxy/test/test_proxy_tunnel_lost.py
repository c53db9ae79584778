"""
What becomes of exchanges whose agent dies, whose tunnel ends, or that the agent gives up. The agents' ends are
written by hand.
"""

from __future__ import annotations

from typing import cast

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher

from invproxy.test.benchcase import TunnelCase
from invproxy.test.rawcalls import OPEN_ENDED, PLAIN, idsOf
from invproxy.wire.frames import CREDIT, DATA, RESPONSE


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
