"""
The end of an agent, and of its proxy, that have tunnels between them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from invproxy.agent.choice import AutoCarrier
from invproxy.agent.service import AgentService
from invproxy.agent.settings import AgentSettings
from invproxy.agent.tunnels import TunnelCarrier
from invproxy.proxy.service import ProxyService
from invproxy.proxy.settings import ProxySettings
from invproxy.test.choicecase import GET, URL, ChoiceTestCase
from invproxy.test.scripted import RecordingOrigin
from invproxy.testing import InvertingPair, MemoryNetwork
from invproxy.wire.frames import MOST_STREAMS


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

    def assertStopsAtOnce(self, agent: AgentService) -> None:
        """
        It waits for nothing, and leaves nothing.
        """
        self.successResultOf(self.stopping(agent))
        self.network.advance(2.5)
        self.assertNothingLeft()

    def test_idle(self) -> None:
        """
        A tunnel without exchanges is closed with a GOAWAY, and nothing is left.
        """
        agent = self.agent()
        tunnel = self.accept(agent)
        self.successResultOf(self.stopping(agent))
        self.assertEqual(tunnel.dismissals, [MOST_STREAMS, 0])
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
        self.assertEqual(one.dismissals, [MOST_STREAMS, 1])
        self.assertEqual(two.dismissals, [MOST_STREAMS, 0])
        self.assertIsNotNone(two.closing)
        one.request(2, GET)  # a proxy that does not heed it
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

    def test_notHeard(self) -> None:
        """
        The end of the drain timeout is the end also if the proxy has not said that it heard.
        """
        agent = self.agent(drainTimeout=5.0)
        tunnel = self.accept(agent)
        tunnel.answersPings = False
        tunnel.request(1, GET)
        stopped = self.stopping(agent)
        tunnel.request(2, GET)  # it crossed the GOAWAY
        self.assertEqual(len(self.origin.uploads), 2)
        self.network.advance(4.9)
        self.assertNoResult(stopped)
        self.network.advance(0.2)
        self.successResultOf(stopped)
        self.assertEqual(tunnel.dismissals, [MOST_STREAMS, 2])
        self.assertEqual(tunnel.resets, {1: "draining", 2: "draining"})
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
            self.assertStopsAtOnce(agent)

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
        self.assertStopsAtOnce(agent)

    def test_beforeGreeting(self) -> None:
        """
        So does one whose tunnel was accepted without a HELLO.
        """
        agent = self.agent()
        [call] = self.proxy.handshakes
        call.accept(greets=False)
        self.assertStopsAtOnce(agent)

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
