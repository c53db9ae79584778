"""
How the two ends of a tunnel get to know each other.
"""

from __future__ import annotations

from invproxy.errors import (
    Fault,
)
from invproxy.http1.framing import CHUNKED
from invproxy.test.tunnelcase import GONE, KEY, Case, Pair, Proxy, RawAgent, RawProxy
from invproxy.wire.frames import (
    HELLO,
    REQUEST,
    frame,
)
from invproxy.wire.hello import Hello, parseHello
from invproxy.wire.websocket import (
    PONG,
    control,
)


class Greeting(Case):
    """
    The beginning of a tunnel.
    """

    def test_both(self) -> None:
        """
        Each side sends its HELLO first of all, without waiting for the other's.
        """
        raw = RawAgent(Proxy(), b"")
        self.assertEqual([each[:3] for each in raw.hear().frames], [(HELLO, 0, 0)])
        self.assertEqual(parseHello(raw.peer.frames[0][3]), raw.session.hello)
        agent = RawProxy(b"")
        self.assertEqual([each[:3] for each in agent.hear().frames], [(HELLO, 0, 0)])
        self.assertEqual(parseHello(agent.peer.frames[0][3]), agent.session.hello)
        self.assertNoResult(agent.session.ready)

    def test_defaults(self) -> None:
        """
        A HELLO of nothing but a version is enough.
        """
        proxy = Proxy()
        raw = RawAgent(proxy, frame(HELLO, 0, b'{"version":"1.3","new":[1]}'))
        self.assertTrue(raw.session.hasRoom())
        self.assertEqual(raw.session.granted, 65536)
        proxy.ask()
        self.assertEqual(raw.hear().kinds(), [REQUEST])

    def test_smallHead(self) -> None:
        """
        A request whose head is larger than the agent takes fails, and takes no place.
        """
        proxy = Proxy()
        raw = RawAgent(proxy, frame(HELLO, 0, Hello(head=1024).encode()))
        client = proxy.ask(fields=[(b"X", b"y" * 1000)])
        assert client.fault is not None
        self.assertEqual(client.fault.code.name, "head-too-large")
        self.assertEqual(client.violations, [])
        other = proxy.ask(fields=[(b"X", b"y" * 700)])
        self.assertEqual(raw.hear().kinds(), [REQUEST])
        self.assertFalse(other.over)
        self.assertEqual(len(raw.session.streams), 1)

    def test_smallHeadExactly(self) -> None:
        """
        The bound is met to the byte.
        """
        for extra, fits in ((0, True), (1, False)):
            proxy = Proxy()
            raw = RawAgent(proxy, frame(HELLO, 0, Hello(head=1024).encode()))
            proxy.ask(fields=[(b"X", b"")])
            size = len(raw.hear().frames[-1][3])
            client = proxy.ask(fields=[(b"X", b"y" * (1024 - size + extra))])
            self.assertEqual(client.over, not fits)
            self.assertEqual(len(raw.hear().kinds()), 2 if fits else 1)

    def test_drainBeforeHello(self) -> None:
        """
        Whoever stops before the greeting closes at once.
        """
        raw = RawAgent(Proxy(), b"")
        raw.session.life.drain()
        self.assertEqual([code for code, _ in raw.hear().closes], [1001])
        agent = RawProxy(b"")
        agent.session.life.drain()
        self.assertEqual([code for code, _ in agent.hear().closes], [1001])
        self.successResultOf(agent.session.gone)

    def test_begunBeforeItsHello(self) -> None:
        """
        An agent that stops before it has heard of the proxy gives back what the proxy has sent it already.
        """
        pair = Pair(greet=False)
        pair.toProxy()
        client = pair.ask(b"POST", framing=CHUNKED)
        pair.agent.life.drain()
        pair.settle()
        self.assertIsNone(client.fault)
        self.assertEqual(pair.mailbox.counts()[0], 1)
        self.assertEqual(pair.violations(), [])

    def test_cancelReady(self) -> None:
        """
        Who cancels the wait for a tunnel ends it.
        """
        agent = RawProxy(b"")
        agent.session.ready.cancel()
        self.assertEqual([code for code, _ in agent.hear().closes], [1001])
        self.successResultOf(agent.session.gone)
        self.assertTrue(agent.end.ended)

    def test_replaced(self) -> None:
        """
        A second tunnel of the same agent and slot replaces the first, whose requests go on there if they may; one of
        another slot, or another agent, does not.
        """
        proxy = Proxy()
        first = RawAgent(proxy)
        others = [
            RawAgent(proxy, frame(HELLO, 0, Hello(instance="raw", slot=1).encode())),
            RawAgent(proxy, frame(HELLO, 0, Hello(instance="other").encode())),
        ]
        self.assertEqual(first.hear().closes, [])
        second = RawAgent(proxy)
        self.assertEqual([code for code, _ in first.hear().closes], [4000])
        self.assertTrue(first.end.ended)
        for raw in (second, *others):
            self.assertTrue(raw.session.hasRoom())
            self.assertEqual(raw.hear().closes, [])
        self.assertEqual(proxy.left(), (0, 3, 3))

    def test_namelessAreNotReplaced(self) -> None:
        """
        Two agents that do not name their instance are not taken for one.
        """
        proxy = Proxy()
        first = RawAgent(proxy, frame(HELLO, 0, b'{"version":"1.0"}'))
        RawAgent(proxy, frame(HELLO, 0, b'{"version":"1.0"}'))
        self.assertEqual(first.hear().closes, [])

    def test_neverGreets(self) -> None:
        """
        An agent that answers pings but never says who it is does not keep its place for ever.
        """
        proxy = Proxy()
        raw = RawAgent(proxy, b"")
        for number in range(600):
            proxy.clock.advance(0.25)
            if number % 8 == 0:
                raw.saw(control(PONG, b"", KEY))
        self.assertEqual(proxy.left()[1], 0)

    def test_tooMany(self) -> None:
        """
        A backend has no more tunnels than it may, and those that are over do not count.
        """
        proxy = Proxy()
        raws = [
            RawAgent(proxy, frame(HELLO, 0, Hello(instance="raw", slot=slot).encode()))
            for slot in range(10)
        ]
        error = self.assertRaises(Fault, RawAgent, proxy)
        self.assertEqual(error.code.name, "too-many-tunnels")
        raws[3].session.abort(GONE)
        RawAgent(proxy, frame(HELLO, 0, Hello(instance="new").encode()))
        self.assertEqual(len(proxy.tunnels), 10)
