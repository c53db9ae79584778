"""
Agents that have nothing but tunnels, or several; how agents with tunnels stop; and proxies that come and go.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from invproxy.agent.choice import AutoCarrier
from invproxy.agent.service import AgentService
from invproxy.agent.settings import AgentSettings
from invproxy.agent.tunnels import TunnelCarrier
from invproxy.errors import Fault
from invproxy.proxy.service import ProxyService
from invproxy.proxy.settings import ProxySettings
from invproxy.test.choicecase import GET, URL, ChoiceTestCase
from invproxy.test.scripted import RecordingOrigin, RecordingUpload
from invproxy.testing import InvertingPair, MemoryNetwork
from invproxy.wire.frames import CREDIT, DATA, END


class TunnelOnlyTests(ChoiceTestCase):
    """
    Where only the tunnel will do.
    """

    transport = "tunnel"

    def test_keepsTrying(self) -> None:
        """
        It is tried for ever, and never polled; there is one line, and one when it stands.
        """
        agent = self.agent()
        ready = agent.whenReady()
        for wait in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10):
            self.refuse(502)
            self.waitForHandshake(wait)
        self.assertNoResult(ready)
        [line] = self.lines()
        self.assertEqual(line, f"proxy {URL} not reached, retrying: it answered 502")
        tunnel = self.accept(agent)
        self.assertEqual(self.successResultOf(ready), "tunnel")
        self.serve(tunnel)
        self.assertEqual(self.lines()[1:], [f"proxy {URL} reached again"])
        self.assertEqual(self.proxy.of("pending"), [])
        self.assertEqual(self.proxy.of("request"), [])

    def test_kinds(self) -> None:
        """
        Another reason is another line; the same one is not.
        """
        self.agent()
        for status in (502, 503, 404, 404, 401, 401):
            self.refuse(status)
            self.nextHandshake(400)
        self.assertEqual(
            [line.rpartition("it answered ")[2][:3] for line in self.lines()],
            ["502", "404", "401"],
        )

    def test_slow(self) -> None:
        """
        A slow handshake is awaited, without a word.
        """
        agent = self.agent()
        self.network.advance(20)
        self.assertEqual(self.lines(), [])
        self.serve(self.accept(agent))

    def test_never(self) -> None:
        """
        One that is not answered is said to be that.
        """
        self.agent(pollTimeout=40.0)
        self.network.advance(41)
        [line] = self.lines()
        self.assertIn("no answer in time", line)

    def test_lost(self) -> None:
        """
        The loss of a tunnel, and the next one, are a line each.
        """
        agent = self.agent()
        self.accept(agent)
        for number in range(1, 4):
            self.network.advance(10)
            self.proxy.of("tunnel")[-1].wire.abort()
            self.network.advance(0.2)
            self.accept(agent)
            self.assertEqual(len(self.lines()), 2 * number)

    def test_lostWithBrokenOrigin(self) -> None:
        """
        A tunnel is replaced also if the origin fails on being told of the end of its exchanges; all of them are told.
        """
        told: list[Fault] = []

        def fail(upload: RecordingUpload, fault: Fault) -> None:
            told.append(fault)
            raise ZeroDivisionError

        self.patch(RecordingUpload, "abort", fail)
        agent = self.agent()
        tunnel = self.accept(agent)
        tunnel.request(1, GET)
        tunnel.request(2, GET)
        tunnel.request(3, GET)
        tunnel.reset(3, "client-gone bye\r\n\x1b[2J" + "x" * 1000)
        self.assertIsNone(tunnel.closing)
        [line] = self.lines()
        self.assertTrue(line.startswith("the origin failed on being told: "), line)
        self.assertIn("bye???[2Jxxx", line)
        self.assertTrue(line.isprintable())
        self.assertLess(len(line), 300)
        assert agent._run is not None
        carrier = agent._run.carrier
        assert isinstance(carrier, TunnelCarrier)
        [session] = carrier._sessions
        self.proxy.of("tunnel")[-1].wire.abort()
        self.assertEqual(len(told), 3)
        self.assertTrue(session.left.called)
        self.assertTrue(session.gone.called)
        self.assertEqual(carrier._sessions, set())
        self.network.advance(0.2)
        self.serve(self.accept(agent))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_closeReason(self) -> None:
        """
        What a proxy says when it closes a tunnel is one line, of bounded length.
        """
        agent = self.agent()
        self.accept(agent).close(1001, "all\r\n\x1b[2J is fine" + "x" * 100)
        [line] = self.lines()
        self.assertTrue(
            line.endswith(f"the peer closed it: all???[2J is fine{'x' * 100} (1001)"), line
        )

    def test_brokenProtocol(self) -> None:
        """
        A tunnel in which either side finds the other's first words wrong is no passing trouble: it is tried again as
        seldom as after a refusal.
        """
        for ours in (False, True):
            agent = self.agent()
            for wait in (20, 40, 80):
                [call] = self.proxy.handshakes
                tunnel = call.accept(greets=False)
                if ours:
                    tunnel.send(DATA, 1, b"x")
                    assert tunnel.closing is not None
                    self.assertEqual(tunnel.closing[0], 1002)
                else:
                    tunnel.close(1002, "what?")
                self.waitForHandshake(wait)
            tunnel = self.accept(agent)
            self.network.resultOf(agent.stopService())
            self.network.advance(3)

    def test_closedBeforeGreeting(self) -> None:
        """
        After any other end it is tried again soon.
        """
        self.agent()
        for wait in (0.1, 0.2, 0.4):
            [call] = self.proxy.handshakes
            call.accept(greets=False).close(1001, "stopping")
            self.waitForHandshake(wait)

    def test_noRequest(self) -> None:
        """
        A request that the agent takes for none is refused, alone, and so are such trailers.
        """
        tunnel = self.accept(self.agent())
        many = b"X: 1\r\n" * 4097
        for stream, head, code in (
            (1, b"nonsense", "bad-request"),
            (2, b"GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n", "bad-request"),
            (3, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n", "bad-request"),
            (4, b"GET / HTTP/1.1\r\nHost: a\r\n" + many + b"\r\n", "head-too-large"),
        ):
            tunnel.request(stream, head, last=False)
            self.assertEqual(tunnel.resets.get(stream), code)
            tunnel.send(DATA, stream, b"ab", last=True)  # it crossed the RESET
        self.assertEqual(self.origin.uploads, [])
        post = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for number, trailers in enumerate((b"X y: 1\r\n", b"Content-Length: 1\r\n")):
            tunnel.request(5 + number, post, last=False)
            tunnel.send(END, 5 + number, trailers, last=True)
            self.assertEqual(tunnel.resets.get(5 + number), "bad-request")
            upload = self.origin.uploads[number]
            self.assertIsNone(upload.trailers)
            self.assertIsNotNone(upload.fault)
        self.serve(tunnel, 7)
        self.assertIsNone(tunnel.closing)
        self.assertEqual(tunnel.of(CREDIT), [])

    def test_down(self) -> None:
        """
        A proxy that is down is one line.
        """
        self.network.refuse("proxy.test", 8080)
        agent = self.agent()
        self.network.advance(3600)
        self.assertEqual(len(self.lines()), 1)
        self.network.accept("proxy.test", 8080)
        self.nextHandshake(11)
        self.accept(agent)
        self.assertEqual(self.lines()[1:], [f"proxy {URL} reached again"])


class ConnectionsTests(ChoiceTestCase):
    """
    With several tunnels.
    """

    def test_slots(self) -> None:
        """
        Each has its slot, and all the same instance and their share of the exchanges.
        """
        agent = self.agent(connections=3, maxExchanges=100)
        tunnels = [call.accept() for call in self.proxy.handshakes]
        self.assertEqual(len(tunnels), 3)
        hellos = [tunnel.peer for tunnel in tunnels]
        self.assertEqual([hello and hello.slot for hello in hellos], [0, 1, 2])
        self.assertEqual([hello and hello.streams for hello in hellos], [33] * 3)
        [instance] = {hello and hello.instance for hello in hellos}
        self.assertTrue(instance)
        for tunnel in tunnels:
            self.serve(tunnel)
        self.assertEqual(self.successResultOf(agent.whenReady()), "tunnel")
        # A lost one comes back in its place.
        self.network.advance(10)
        self.proxy.of("tunnel")[1].wire.abort()
        self.network.advance(0.2)
        again = self.accept()
        assert again.peer is not None
        self.assertEqual((again.peer.slot, again.peer.instance), (1, instance))
        self.assertEqual(self.proxy.of("pending"), [])

    def test_oneIsEnough(self) -> None:
        """
        While any tunnel stands there are no polls.
        """
        agent = self.agent(connections=2)
        first, second = self.proxy.handshakes
        first.accept()
        self.assertEqual(self.successResultOf(agent.whenReady()), "tunnel")
        second.answer(503)
        self.network.advance(0.2)
        self.assertEqual(len(self.proxy.handshakes), 1)
        self.network.advance(2.5)
        self.assertEqual(self.proxy.of("pending"), [])
        self.assertEqual(self.lines(), [])

    def test_noneLeft(self) -> None:
        """
        Polls begin once none stands and the next is not to be had.
        """
        agent = self.agent(connections=2)
        calls = self.proxy.handshakes
        for call in calls:
            call.accept()
        self.network.advance(10)
        calls[0].wire.abort()
        self.network.advance(0.2)
        self.refuse()
        self.network.advance(1)
        self.assertEqual(self.proxy.of("pending"), [])
        calls[1].wire.abort()
        self.network.advance(0.2)
        self.refuse()
        self.assertPolls(agent)

    def test_replaced(self) -> None:
        """
        One whose tunnel another of the same instance has taken over is another instance from then on; after any other
        end it stays the same.
        """
        agent = self.agent()
        seen = []
        for code in (1001, 4000, 1001, 4000, 1000):
            tunnel = self.accept(agent)
            assert tunnel.peer is not None
            seen.append(tunnel.peer.instance)
            self.network.advance(10)
            tunnel.close(code, "enough")
            self.nextHandshake(11)
        self.assertEqual([seen.index(name) for name in seen], [0, 0, 2, 2, 4])

    def test_instances(self) -> None:
        """
        Another run has another instance.
        """
        seen = set()
        agent = self.agent()
        for _ in range(3):
            tunnel = self.accept(agent)
            assert tunnel.peer is not None
            seen.add(tunnel.peer.instance)
            self.network.resultOf(agent.stopService())
            agent.startService()
        self.assertEqual(len(seen), 3)


class StopTests(ChoiceTestCase):
    """
    The end of an agent with tunnels.
    """

    def setUp(self) -> None:
        super().setUp()
        self.proxy.patience = None  # nor is the proxy to leave anything

    def stopping(self, agent: AgentService) -> Deferred[None]:
        stopped = agent.stopService()
        self.network.pump()
        return stopped

    def assertNothingLeft(self) -> None:
        """
        Neither connections nor clocks.
        """
        self.network.pump()
        self.assertEqual(self.network.connections, [])
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_idle(self) -> None:
        """
        A tunnel without exchanges is closed with a GOAWAY, and nothing is left.
        """
        agent = self.agent()
        tunnel = self.accept(agent)
        self.successResultOf(self.stopping(agent))
        self.assertEqual(tunnel.dismissals, [0])
        self.assertEqual(tunnel.closing, (1001, "drained"))
        self.assertEqual(self.origin.closed, 1)
        self.assertEqual(self.lines(), [])
        self.network.advance(2.5)
        self.assertNothingLeft()

    def test_drain(self) -> None:
        """
        Exchanges in flight come to their ends, and no others are begun.
        """
        agent = self.agent(connections=2)
        one, two = (call.accept() for call in self.proxy.handshakes)
        one.request(1, GET)
        stopped = self.stopping(agent)
        self.assertEqual((one.dismissals, two.dismissals), ([1], [0]))
        self.assertIsNotNone(two.closing)
        one.request(2, GET)  # it crossed the GOAWAY
        self.network.advance(10)
        self.assertNoResult(stopped)
        self.assertEqual(len(self.origin.uploads), 1)
        self.origin.uploads[0].reply(b"done")
        self.network.pump()
        self.successResultOf(stopped)
        self.assertEqual(one.body(1), b"done")
        self.assertEqual(one.closing, (1001, "drained"))
        self.assertEqual(len(self.proxy.of("tunnel")), 2)
        self.network.advance(2.5)
        self.assertNothingLeft()

    def test_drainTimeout(self) -> None:
        """
        What lasts too long is cut, and both sides hear so.
        """
        agent = self.agent(drainTimeout=5.0)
        tunnel = self.accept(agent)
        tunnel.request(1, GET)
        stopped = self.stopping(agent)
        self.network.advance(4.9)
        self.assertNoResult(stopped)
        self.network.advance(0.2)
        self.successResultOf(stopped)
        self.assertEqual(tunnel.resets, {1: "draining"})
        self.assertIsNotNone(self.origin.uploads[0].fault)
        [line] = self.lines()
        self.assertIn("1 exchanges cut", line)
        self.network.advance(2.5)
        self.assertNothingLeft()

    def test_both(self) -> None:
        """
        Exchanges of tunnels and of polls are waited for.
        """
        agent = self.agent()
        self.refuse()
        self.begin(GET)
        self.network.advance(20.1)
        tunnel = self.accept(agent)
        tunnel.request(1, GET)
        stopped = self.stopping(agent)
        self.origin.uploads[1].reply()
        self.network.advance(1)
        self.assertNoResult(stopped)
        self.origin.uploads[0].reply()
        self.proxy.posts()[0].answer(200)
        self.network.advance(3)
        self.successResultOf(stopped)
        self.assertNothingLeft()

    def test_duringHandshake(self) -> None:
        """
        An agent that waits for its tunnel stops at once, with polls beside it or not.
        """
        for seconds in (0, 1, 3):
            for how in (None, "accept", "ignore", "refuse"):
                if how:
                    getattr(self.network, how)("proxy.test", 8080)
                agent = self.agent()
                self.network.advance(seconds)
                ready = agent.whenReady()
                self.successResultOf(self.stopping(agent))
                self.failureResultOf(ready, CancelledError) if not seconds or how in (
                    "ignore",
                    "refuse",
                ) else ready.addErrback(lambda _: None)
                self.network.accept("proxy.test", 8080)
                self.network.advance(2.5)
                self.assertNothingLeft()

    def test_duringProbe(self) -> None:
        """
        So does one whose polls have not got through either; nor is their probe left behind by a tunnel that stands.
        """
        for stands in (False, True):
            self.proxy.probes = [None]
            agent = self.agent()
            self.network.advance(3)
            self.assertEqual(self.proxy.of("pending"), [])
            if stands:
                self.accept(agent)
            self.successResultOf(self.stopping(agent))
            self.network.advance(2.5)
            self.assertNothingLeft()

    def test_tunnelOnly(self) -> None:
        """
        So does one that would not poll; and nothing is said of it.
        """
        for accepted in (False, True):
            agent = self.agent(transport="tunnel")
            if accepted:
                [call] = self.proxy.handshakes
                call.accept(greets=False)
            self.network.advance(1)
            self.successResultOf(self.stopping(agent))
            self.assertEqual(self.lines(), [])
            self.network.advance(2.5)
            self.assertNothingLeft()

    def test_inBackoff(self) -> None:
        """
        So does one that waits before its next try.
        """
        agent = self.agent()
        self.refuse()
        self.network.pump()
        self.successResultOf(self.stopping(agent))
        self.network.advance(2.5)
        self.assertNothingLeft()

    def test_beforeGreeting(self) -> None:
        """
        So does one whose tunnel was accepted without a HELLO.
        """
        agent = self.agent()
        [call] = self.proxy.handshakes
        call.accept(greets=False)
        self.successResultOf(self.stopping(agent))
        self.network.advance(2.5)
        self.assertNothingLeft()

    def test_proxyHangs(self) -> None:
        """
        A proxy that does not take the end is not waited for.
        """
        agent = self.agent()
        self.accept(agent)
        self.proxy.of("tunnel")[0].wire.freeze()
        stopped = self.stopping(agent)
        self.network.advance(2.5)
        self.successResultOf(stopped)

    def test_again(self) -> None:
        """
        It can be started again, even while it drains.
        """
        agent = self.agent()
        old = self.accept(agent)
        old.request(1, GET)
        stopped = self.stopping(agent)
        agent.startService()
        new = self.accept(agent)
        self.serve(new)
        self.origin.uploads[0].reply(b"late")
        self.network.pump()
        self.successResultOf(stopped)
        self.assertEqual(old.body(1), b"late")
        self.assertEqual(self.origin.closed, 0)
        self.serve(new, 2)
        self.network.resultOf(agent.stopService())
        self.assertEqual(self.origin.closed, 1)

    def test_stopWhenReady(self) -> None:
        """
        It may be stopped by the very news that it is ready.
        """
        agent = self.agent()
        stopped = agent.whenReady().addCallback(lambda _: agent.stopService())
        [call] = self.proxy.handshakes
        call.accept()
        self.network.advance(2.5)
        self.successResultOf(stopped)
        self.assertNothingLeft()


class RestartTests(SynchronousTestCase):
    """
    With the real proxy, which comes and goes.
    """

    def setUp(self) -> None:
        self.patch(__import__("random"), "random", lambda: 1.0)
        self.origin = RecordingOrigin()

    def pair(self, **settings: Any) -> InvertingPair:
        pair = InvertingPair(self.origin, agentSettings=AgentSettings(**settings))
        pair.start()
        self.addCleanup(pair.stop)
        return pair

    def restart(self, pair: InvertingPair) -> None:
        """
        Put another proxy in the place of the first.
        """
        pair.proxy = ProxyService(
            pair.network, ProxySettings(), listen=["tcp:8080:interface=127.0.0.1"]
        )
        pair.proxy.startService()
        pair.network.resultOf(pair.proxy.whenReady())

    def ask(self, pair: InvertingPair) -> None:
        """
        Have an exchange go through.
        """
        count = len(self.origin.uploads)
        asked = pair.fetch()
        pair.network.pump()
        self.origin.uploads[count].reply(b"hello")
        self.assertEqual(pair.network.resultOf(asked).body, b"hello")

    def takers(self, pair: InvertingPair) -> int:
        """
        Count the tunnels that stand.
        """
        return sum(mailbox.countTakers() for mailbox in pair.proxy.resource.mailboxes)

    def test_restart(self) -> None:
        """
        A proxy that is restarted has its tunnels back at once.
        """
        pair = self.pair(connections=2)
        self.ask(pair)
        pair.network.advance(10)
        pair.network.resultOf(pair.proxy.stopService())
        self.restart(pair)
        pair.network.advance(0.3)
        self.assertEqual(self.takers(pair), 2)
        self.ask(pair)

    def test_killed(self) -> None:
        """
        So has one that was killed; what was down for long has them back within seconds.
        """
        for seconds in (0.5, 100):
            pair = self.pair()
            pair.network.advance(10)
            pair.network.refuse("proxy.test", 8080)
            for link in pair.network.connections:
                link.cut()
            pair.network.advance(seconds)
            self.assertEqual(self.takers(pair), 0)
            pair.network.accept("proxy.test", 8080)
            pair.network.advance(1 if seconds < 1 else 11)
            self.assertEqual(self.takers(pair), 1)
            self.ask(pair)

    def test_drain(self) -> None:
        """
        While a proxy drains, exchanges in flight come to their ends.
        """
        pair = self.pair()
        asked = pair.fetch()
        pair.network.pump()
        stopped = pair.proxy.stopService()
        pair.network.advance(5)
        self.assertNoResult(stopped)
        self.origin.uploads[0].reply(b"done")
        self.assertEqual(pair.network.resultOf(asked).body, b"done")
        pair.network.resultOf(stopped)

    def test_carriers(self) -> None:
        """
        The carriers are what the settings say.
        """
        network = MemoryNetwork()
        for transport, kind in (("auto", AutoCarrier), ("tunnel", TunnelCarrier)):
            agent = AgentService(
                network, URL, "web", self.origin, AgentSettings(transport=transport)
            )
            agent.startService()
            assert agent._run is not None
            self.assertIsInstance(agent._run.carrier, kind)
            self.assertEqual(agent._run.carrier.name, "tunnel")
            network.resultOf(agent.stopService())
