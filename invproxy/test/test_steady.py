"""
The time of day jumps: what is measured goes on, and what has a date goes by the new time.
"""

from __future__ import annotations

from email.utils import formatdate

from twisted.internet.base import ReactorBase
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from invproxy.auth.sessions import Sessions
from invproxy.auth.throttle import Throttle
from invproxy.errors import Fault
from invproxy.proxy.root import ProxyResource
from invproxy.proxy.settings import ProxySettings
from invproxy.steady import keepSteady, wallOf
from invproxy.test.accessbench import AccessBench, bearer, sign
from invproxy.test.rawcalls import OURS, PLAIN, idsOf
from invproxy.test.scripted import RecordingOrigin
from invproxy.test.test_proxy_service import Lines
from invproxy.testing import InvertingPair, MemoryNetwork
from invproxy.tunnel.life import UNAUTHORIZED

HOUR = 3600.0
DECADE = 10 * 365 * 24 * HOUR

JUMPS = (-DECADE, -HOUR, -10.0, 10.0, HOUR, DECADE)
"""Seconds by which the time of day jumps."""


class _Reactor(ReactorBase):
    """
    A reactor of Twisted that has nothing to wait for, and two clocks to choose from.
    """

    def __init__(self) -> None:
        self.day = 1_800_000_000.0
        self.count = 500.0
        super().__init__()
        self.seconds = lambda: self.day

    def installWaker(self) -> None:
        self.waker = None

    def keepSteady(self) -> None:
        """
        Count seconds from now on.
        """
        keepSteady(self, lambda: self.count, lambda: self.day)

    def advance(self, seconds: float) -> None:
        """
        Let time pass.
        """
        self.day += seconds
        self.count += seconds
        self.runUntilCurrent()


class ReactorTests(SynchronousTestCase):
    """
    L{keepSteady}.
    """

    def setUp(self) -> None:
        self.reactor = _Reactor()
        self.called: list[str] = []

    def test_whatTwistedDoes(self) -> None:
        """
        Without it a reactor waits for an hour longer when the time of day is set back by one; if this fails, Twisted
        has a steady clock of its own.
        """
        self.reactor.callLater(10, self.called.append, "it")
        self.reactor.day -= HOUR
        self.reactor.advance(11)
        self.assertEqual(self.called, [])

    def test_timers(self) -> None:
        """
        Timers that were there before, and those that come later, run when they are due and not before.
        """
        for jump in JUMPS:
            reactor = self.reactor = _Reactor()
            called: list[str] = []
            reactor.callLater(10, called.append, "before")
            put = reactor.callLater(1000, called.append, "put off")
            reactor.runUntilCurrent()
            reactor.keepSteady()
            reactor.callLater(10, called.append, "after")
            put.reset(20)
            reactor.day += jump
            self.assertEqual(reactor.timeout(), 10)
            reactor.advance(9)
            self.assertEqual(called, [], jump)
            reactor.advance(1)
            self.assertEqual(sorted(called), ["after", "before"], jump)
            put.reset(5)
            reactor.day += jump
            reactor.advance(4)
            self.assertEqual(len(called), 2, jump)
            reactor.advance(1)
            self.assertEqual(called[2:], ["put off"], jump)

    def test_once(self) -> None:
        """
        A program with a proxy and an agent in it asks for it twice.
        """
        self.reactor.keepSteady()
        self.reactor.callLater(10, self.called.append, "it")
        keepSteady(self.reactor, lambda: 7.0, lambda: 8.0)
        self.assertEqual(
            (self.reactor.seconds(), wallOf(self.reactor)()), (500.0, self.reactor.day)
        )

    def test_wall(self) -> None:
        """
        The time of day is still there, also of a clock that knows no other.
        """
        clock: IReactorTime = Clock()
        clock.advance(7)  # type: ignore[attr-defined]
        self.assertEqual(wallOf(clock)(), 7)
        self.reactor.keepSteady()
        self.reactor.day = 1_900_000_000.0
        self.assertEqual(wallOf(self.reactor)(), 1_900_000_000.0)

    def test_system(self) -> None:
        """
        The system's own clock goes ahead, and is not the time of day.
        """
        reactor = _Reactor()
        keepSteady(reactor)
        first = reactor.seconds()
        self.assertLessEqual(first, reactor.seconds())
        self.assertLess(first, 1_000_000_000)
        self.assertGreater(wallOf(reactor)(), 1_700_000_000)


class JumpBench(AccessBench):
    """
    A proxy whose time of day can jump.

    @ivar jumped: by how much it has, in seconds.
    """

    jumped = 0.0

    def makeProxy(self, settings: ProxySettings) -> ProxyResource:
        network = self.network
        keepSteady(network, network.seconds, lambda: network.seconds() + self.jumped)
        return super().makeProxy(settings)

    @property
    def now(self) -> float:
        return self.network.seconds() + self.jumped


class ProxyTests(SynchronousTestCase):
    """
    A proxy at which it jumps.
    """

    def bench(self) -> tuple[JumpBench, bytes]:
        """
        Make a proxy.

        @return: it, and an agent's credentials.
        """
        bench = JumpBench()
        self.addCleanup(bench.stop)
        lines = bearer(bench.mint())
        bench.agentCall(b"request", lines)
        return bench, lines

    def test_waiting(self) -> None:
        """
        Who waits for an agent does so for as long as the queue timeout, and polls last as long as they shall.
        """
        for jump in JUMPS:
            bench, lines = self.bench()
            client = bench.ask()
            bench.advance(20)
            bench.jumped = jump
            bench.advance(9.5)
            self.assertEqual(client.status, 0, jump)
            bench.advance(0.8)
            self.assertEqual((client.status, client.error), (504, "queue-timeout"), jump)
            poll = bench.poll(fields=lines)
            bench.jumped = 0.0
            bench.advance(29.5)
            self.assertEqual(poll.status, 0, jump)
            bench.advance(0.8)
            self.assertEqual(poll.status, 200, jump)

    def test_underWay(self) -> None:
        """
        What is under way, by polls and by a tunnel, comes to its end.
        """
        for jump in JUMPS:
            bench, lines = self.bench()
            first = bench.ask()
            [identifier] = idsOf(bench.poll(fields=lines))
            self.assertEqual(bench.fetch(identifier, OURS + lines).status, 200)
            tunnel = bench.agentTunnel(lines, "mine")
            second = bench.ask()
            bench.jumped = jump
            bench.advance(1)
            self.assertIsNone(tunnel.closing)
            bench.respond(identifier, PLAIN, OURS + lines)
            tunnel.respond(max(tunnel.requests))
            self.assertEqual((first.status, second.status), (200, 200), jump)

    def test_deadTunnel(self) -> None:
        """
        A tunnel that says nothing any more is found out as soon as ever.
        """
        for jump in JUMPS:
            bench, lines = self.bench()
            tunnel = bench.agentTunnel(lines, "mine")
            setattr(tunnel.call.client, "dataReceived", lambda data: None)  # noqa: B010
            bench.jumped = jump
            timeout = int(ProxySettings().linkTimeout)
            bench.network.advance(timeout - 1)
            self.assertFalse(tunnel.isClosed, jump)
            bench.network.advance(2)
            self.assertTrue(tunnel.isClosed, jump)

    def test_tokenExpires(self) -> None:
        """
        When the time of day passes the end of a token, nothing new is let in by it at once, and its links are cut
        within a minute.
        """
        bench, _ = self.bench()
        lines = bearer(bench.mint(name="brief", expires=bench.now + HOUR))
        tunnel = bench.agentTunnel(lines, "mine")
        bench.jumped = 2 * HOUR
        self.assertEqual(bench.agentCall(b"request", lines).status, 401)
        for _ in range(7):
            bench.advance(9)
        self.assertEqual(tunnel.closing, (UNAUTHORIZED, "these credentials have expired"))

    def test_tokenLasts(self) -> None:
        """
        When it is set back, a token is valid until its date.
        """
        bench, _ = self.bench()
        lines = bearer(bench.mint(name="brief", expires=bench.now + 100))
        tunnel = bench.agentTunnel(lines, "mine")
        bench.jumped = -100.0
        for _ in range(12):
            bench.advance(9)
        self.assertIsNone(tunnel.closing)
        self.assertEqual(bench.agentCall(b"request", lines).status, 404)
        for _ in range(11):
            bench.advance(9)
        self.assertIsNotNone(tunnel.closing)  # it was warned, and has drained
        self.assertEqual(bench.agentCall(b"request", lines).status, 401)

    def test_jwt(self) -> None:
        """
        JWTs are made elsewhere, by the time of day.
        """
        bench, _ = self.bench()
        old = bearer(sign(bench.claims()))
        self.assertEqual(bench.agentCall(b"request", old).status, 404)
        bench.jumped = DECADE
        self.assertEqual(bench.agentCall(b"request", old).status, 401)
        new = bearer(sign(bench.claims()))
        self.assertEqual(bench.agentCall(b"request", new).status, 404)
        bench.jumped = 0.0
        self.assertEqual(bench.agentCall(b"request", old).status, 404)

    def test_shown(self) -> None:
        """
        Dates are those of the time of day.
        """
        for jump in JUMPS:
            bench, lines = self.bench()
            bench.jumped = jump
            client = bench.ask()
            bench.network.advance(5)
            call = bench.agentCall(b"request", lines)
            shown = formatdate(bench.now, usegmt=True).encode("ascii")
            self.assertIn(b"\r\nDate: " + shown, call.client.received)
            [identifier] = idsOf(bench.poll(fields=lines))
            fetched = bench.fetch(identifier, OURS + lines).client.received
            began = formatdate(bench.now - 5)[17:25].encode("ascii")
            self.assertIn(b"T%b" % began, fetched)
            self.assertEqual(client.status, 0)
            [token] = bench.registry.tokensOf("web")
            self.assertEqual(token.lastUsed, bench.now)


class MeasuredTests(SynchronousTestCase):
    """
    What is remembered for a while, and what is written down.
    """

    def setUp(self) -> None:
        self.jumped = 0.0
        self.clock = Clock()
        self.clock.advance(100)
        keepSteady(self.clock, self.clock.seconds, lambda: self.clock.seconds() + self.jumped)

    def test_sessions(self) -> None:
        """
        Sessions of people end neither sooner nor later.
        """
        for jump in JUMPS:
            sessions = Sessions(self.clock, lifetime=1000.0, idle=100.0)
            secret = sessions.open("alice").encode("ascii")
            self.jumped += jump
            self.assertIsNotNone(sessions.find(secret), jump)
            self.clock.advance(99)
            self.assertIsNotNone(sessions.find(secret), jump)
            self.clock.advance(101)
            self.assertIsNone(sessions.find(secret), jump)

    def test_throttle(self) -> None:
        """
        Who has guessed waits neither shorter nor longer.
        """
        waits = []
        for jump in (0.0, *JUMPS):
            throttle = Throttle(self.clock)
            for _ in range(40):
                throttle.fail("198.51.100.7")
            self.jumped += jump
            fault = self.assertRaises(Fault, throttle.check, "198.51.100.7")
            waits.append(str(fault))
        self.assertEqual(len(set(waits)), 1, waits)

    def test_accessLog(self) -> None:
        """
        A line tells the time of day at which a request began, and how long it took.
        """
        log = Lines()
        origin = RecordingOrigin()
        network = MemoryNetwork()
        keepSteady(network, network.seconds, lambda: network.seconds() + self.jumped)
        with InvertingPair(origin, network=network, transport="tunnel", accessLog=log) as pair:
            began = network.seconds()
            asked = pair.fetch()
            network.advance(3)
            self.jumped = DECADE
            origin.uploads[0].reply()
            network.resultOf(asked)
        [line] = log.lines
        self.assertEqual((line[2], line[8]), (began + DECADE, 3.0))
