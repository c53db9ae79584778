"""
The pings of a tunnel.
"""

from __future__ import annotations

from twisted.logger import capturedLogs

from invproxy.http1.framing import CHUNKED
from invproxy.test.tunnelcase import KEY, Case, Pair, Proxy, RawAgent, RawProxy, message
from invproxy.wire.frames import (
    CREDIT,
    numberFrame,
)
from invproxy.wire.websocket import (
    PING,
    PONG,
    control,
)


class Pings(Case):
    """
    Signs of life.
    """

    def test_kept(self) -> None:
        """
        A tunnel without traffic lives on by its pings, and measures its round trips.
        """
        pair = Pair()
        pair.wait(120)
        self.assertTrue(pair.proxy.isReady and pair.agent.isReady)
        self.assertEqual(pair.proxy.budget.roundTrip, 0.0)
        self.assertLess(pair.proxyEnd.total + pair.agentEnd.total, 2000)

    def test_pong(self) -> None:
        """
        A ping is answered at once, with its payload, and between the pieces of a message.
        """
        raw = RawAgent(Proxy())
        raw.saw(control(PING, b"abc", KEY))
        self.assertEqual(raw.peer.pongs, [b"abc"])
        data = message(numberFrame(CREDIT, 1, 1), key=KEY)
        raw.proxy.ask()
        raw.saw(b"\x02" + data[1:] + control(PING, b"def", KEY))
        raw.saw(b"\x80\x80" + KEY)
        self.assertEqual(raw.peer.pongs, [b"abc", b"def"])
        self.assertEqual(raw.peer.closes, [])

    def test_unaskedPong(self) -> None:
        """
        A pong that nobody asked for, or a second one, says nothing about the way.
        """
        raw = RawAgent(Proxy())
        raw.proxy.clock.advance(0.1)
        raw.saw(control(PONG, b"999", KEY) + control(PONG, b"", KEY) + control(PONG, b"x", KEY))
        self.assertEqual(raw.session.budget.roundTrip, 0.0)
        [ping] = raw.peer.pings
        raw.saw(control(PONG, ping, KEY))
        self.assertAlmostEqual(raw.session.budget.roundTrip, 0.1)
        raw.proxy.clock.advance(5)
        raw.saw(control(PONG, ping, KEY))
        self.assertAlmostEqual(raw.session.budget.roundTrip, 0.1)

    def test_silentAgent(self) -> None:
        """
        The proxy notices a dead link within its timeout, whatever it was doing, and gives the exchanges up.
        """
        for busy in (False, True):
            proxy = Proxy(timeout=15.0)
            raw = RawAgent(proxy)
            client = proxy.ask(b"POST", framing=CHUNKED) if busy else None
            for pongs in range(20):
                proxy.clock.advance(0.25)
                if pongs == 10:
                    raw.saw(control(PONG, b"", KEY))
            heard = raw.session.pulse.heardAt
            with capturedLogs() as events:
                while len(proxy.tunnels):
                    proxy.clock.advance(0.25)
                    self.assertLessEqual(proxy.clock.seconds(), heard + 15)
            self.assertGreaterEqual(proxy.clock.seconds(), heard + 14.5)
            self.assertEqual(self.shown(events), ["nothing came for 15 s"])
            self.assertTrue(raw.end.broken)
            self.assertGreaterEqual(len(raw.hear().pings), 2)
            if client is not None:
                assert client.fault is not None
                self.assertEqual(client.fault.code.name, "agent-lost")
            proxy.clock.pump([0.25] * 20)
            self.assertEqual(proxy.clock.getDelayedCalls(), [])

    def test_silentProxy(self) -> None:
        """
        So does the agent.
        """
        raw = RawProxy(linkTimeout=6.0)
        asked = raw.request()
        heard = raw.session.pulse.heardAt
        while not raw.end.broken:
            raw.clock.advance(0.25)
            self.assertLessEqual(raw.clock.seconds(), heard + 6)
        self.assertGreaterEqual(raw.clock.seconds(), heard + 5.5)
        self.successResultOf(raw.session.gone)
        self.assertIn("6 s", self.successResultOf(raw.session.left))
        self.assertIsNotNone(asked.fault)
        raw.clock.pump([0.25] * 20)
        self.assertEqual(raw.clock.getDelayedCalls(), [])

    def test_silentBeforeHello(self) -> None:
        """
        And also before the greeting.
        """
        proxy = Proxy()
        RawAgent(proxy, b"")
        proxy.clock.pump([0.25] * 64)
        self.assertEqual(proxy.left(), (0, 0, 0))
        raw = RawProxy(b"")
        raw.clock.pump([0.25] * 64)
        self.assertTrue(raw.end.broken)
        self.successResultOf(raw.session.gone)

    def test_fullLinkTakesNothing(self) -> None:
        """
        While the link does not keep up, nothing new is taken; it is when the link does again.
        """
        pair = Pair()
        pair.proxy.outbox.pause()
        client = pair.ask()
        pair.settle()
        self.assertEqual((pair.origin.asked, pair.mailbox.counts()), ([], (1, 0)))
        pair.proxy.resumeAnswer()
        pair.settle()
        pair.origin.asked[0].reply()
        pair.settle()
        self.assertTrue(client.finished)

    def test_oneWayOnly(self) -> None:
        """
        Data in one direction is a sign of life of one side alone: pings go on while streams are open.
        """
        pair = Pair()
        client = pair.ask()
        pair.settle()
        [asked] = pair.origin.asked
        asked.respond()
        for number in range(400):
            pair.clock.advance(0.25)
            if number % 4 == 0:
                asked.answer.write(b"event")
            pair.toProxy()
            pair.toAgent()
        self.assertTrue(pair.proxy.isReady and pair.agent.isReady)
        self.assertFalse(client.over)

    def test_originTimeout(self) -> None:
        """
        An origin that does not begin to answer in time fails its exchange alone; uploads and interim responses give it
        more.
        """
        pair = Pair(originTimeout=3.0)
        late = pair.ask()
        fed = pair.ask(b"POST", framing=CHUNKED)
        pair.settle()
        for _ in range(12):
            pair.wait(0.5)
            fed.body_.write(b"x")
        assert late.fault is not None
        self.assertEqual(late.fault.code.name, "origin-timeout")
        self.assertFalse(fed.over)
        pair.origin.asked[1].reply()
        pair.settle()
        self.assertTrue(fed.finished)

    def test_originTimeoutAborts(self) -> None:
        """
        And the origin is told that nobody waits for it any more.
        """
        pair = Pair(originTimeout=3.0)
        pair.ask()
        pair.settle()
        pair.wait(4)
        self.assertIsNotNone(pair.origin.asked[0].fault)
