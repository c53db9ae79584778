"""
Tunnels that come to their end.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.logger import capturedLogs

from invproxy.http1.framing import CHUNKED
from invproxy.proxy.tunnels import Tunnels
from invproxy.test.tunnelcase import GONE, KEY, OK, UPGRADE, Case, Pair, Proxy, RawAgent, RawProxy
from invproxy.wire.frames import (
    GOAWAY,
    HELLO,
    LAST,
    MOST_STREAMS,
    RESPONSE,
    frame,
    numberFrame,
    parseNumber,
)
from invproxy.wire.hello import Hello
from invproxy.wire.websocket import (
    CLOSE,
    PING,
    PONG,
    closePayload,
    control,
)


def _leave(pair: Pair) -> None:
    """
    Have an agent stop that does not wait until its proxy has heard so.
    """
    pair.agent.life.drain()
    pair.agent._endTaking()


class Draining(Case):
    """
    The orderly end of a tunnel.
    """

    def test_idle(self) -> None:
        """
        Whoever stops without streams closes at once, and the other side knows why.
        """
        for side in ("proxy", "agent"):
            pair = Pair()
            with capturedLogs() as events:
                getattr(pair, side).life.drain()
                self.assertFalse(pair.proxy.hasRoom() and side == "proxy")
                pair.settle()
            self.assertEqual(len(self.shown(events)), 1)
            self.assertEqual(pair.left(), (0, 0, 0))
            self.assertTrue(pair.proxyEnd.ended and pair.agentEnd.ended)
            self.successResultOf(pair.agent.gone)
            self.successResultOf(pair.agent.left)
            self.assertEqual(pair.violations(), [])
            pair.clock.pump([0.25] * 20)
            self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_finishes(self) -> None:
        """
        What is open comes to its end, and then the tunnel closes; nothing new is begun.
        """
        for side in ("proxy", "agent"):
            pair = Pair()
            client = pair.ask(b"POST", framing=CHUNKED)
            pair.settle()
            getattr(pair, side).life.drain()
            pair.settle()
            self.assertFalse(pair.proxy.hasRoom())
            if side == "proxy":
                self.successResultOf(pair.agent.left)
            waiting = pair.ask()
            pair.settle()
            self.assertEqual(len(pair.origin.asked), 1)
            client.body_.write(b"x" * 300_000)
            client.body_.finish()
            pair.settle()
            [asked] = pair.origin.asked
            self.assertEqual(len(asked.body), 300_000)
            asked.respond()
            asked.answer.write(b"y" * 200_000)
            pair.settle()
            self.assertEqual(len(pair.tunnels), 1)
            self.assertNoResult(pair.agent.gone)
            asked.answer.finish()
            pair.settle()
            self.assertTrue(client.finished)
            self.successResultOf(pair.agent.gone)
            self.assertFalse(waiting.over)
            self.assertEqual(pair.left(), (1, 0, 0))
            pair.connect()
            pair.settle()
            self.assertEqual(len(pair.origin.asked), 2)

    def test_leftBeforeTold(self) -> None:
        """
        An agent that stops says so by itself: it takes nothing that comes after its GOAWAY.
        """
        pair = Pair()
        _leave(pair)
        client = pair.ask(b"POST", framing=CHUNKED)
        pair.clock.advance(0)
        pair.toAgent()
        self.assertEqual(pair.origin.asked, [])
        pair.settle()
        self.assertFalse(client.over)
        self.assertEqual(pair.mailbox.counts(), (1, 0))
        pair.connect()
        pair.settle()
        self.assertEqual(len(pair.origin.asked), 1)

    def test_crossed(self) -> None:
        """
        An agent that stops takes what was under way to it before its proxy knew: also a body of which the proxy has
        nothing left to send to another one. What comes after that waits for another agent.
        """
        pair = Pair()
        pair.agent.life.drain()
        client = pair.ask(b"POST", framing=CHUNKED, body=b"x" * 60000, end=False)
        client.body_.write(b"x" * 60000)
        pair.settle()
        waiting = pair.ask()
        client.body_.finish()
        pair.settle()
        [asked] = pair.origin.asked
        self.assertEqual((len(asked.body), asked.ends), (120000, [b""]))
        self.assertFalse(pair.agent.isReady)
        asked.reply()
        pair.settle()
        self.assertTrue(client.finished)
        self.assertFalse(waiting.over)
        self.successResultOf(pair.agent.gone)
        self.assertEqual(pair.left(), (1, 0, 0))
        self.assertEqual(pair.violations(), [])
        waiting.exchange.body.abort(GONE)
        pair.clock.pump([0.25] * 20)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_crossedAnswered(self) -> None:
        """
        The agent's wait for its proxy does not end with what it has taken meanwhile.
        """
        raw = RawProxy()
        raw.request(1)
        raw.session.life.drain()
        raw.origin.asked[0].reply()
        raw.hear()
        self.assertEqual(raw.peer.closes, [])
        raw.request(2).reply()
        raw.saw(control(PONG, raw.peer.pings[0]))  # it was sent before
        self.assertTrue(raw.session.isReady)
        raw.saw(control(PONG, raw.peer.pings[-1]))
        raw.hear()
        said = [each[3] for each in raw.peer.frames if each[0] == GOAWAY]
        self.assertEqual([parseNumber(each) for each in said], [MOST_STREAMS, 2])
        self.assertEqual([code for code, _ in raw.peer.closes], [1001])
        raw.clock.pump([0.25] * 20)
        self.assertEqual(raw.clock.getDelayedCalls(), [])

    def test_notHeard(self) -> None:
        """
        An agent without anything to do waits but a moment for a proxy that does not say that it has heard; with
        something to do it takes what comes for as long as that lasts.
        """
        for isBusy in (False, True):
            raw = RawProxy()
            if isBusy:
                raw.request(1)
            raw.session.life.drain()
            raw.clock.pump([0.25] * 7)
            self.assertTrue(raw.session.isReady)
            raw.clock.pump([0.25] * 2)
            self.assertEqual(raw.session.isReady, isBusy)
            if isBusy:
                raw.request(2)
                for asked in raw.origin.asked:
                    asked.reply()
                raw.clock.pump([0.25] * 9)
            self.successResultOf(raw.session.gone)
            self.assertEqual([code for code, _ in raw.hear().closes], [1001])
            raw.clock.pump([0.25] * 20)
            self.assertEqual(raw.clock.getDelayedCalls(), [])

    def test_proxyHearsWhilePaused(self) -> None:
        """
        A proxy whose link does not keep up answers the latest ping, and no other one, when it does again.
        """
        raw = RawAgent(Proxy())
        raw.session.outbox.pause()
        for payload in (b"a", b"b", b"c"):
            raw.saw(control(PING, payload, KEY))
        self.assertEqual(raw.peer.pongs, [])
        raw.session.outbox.resume()
        self.assertEqual(raw.hear().pongs, [b"c"])
        raw.session.outbox.resume()
        self.assertEqual(raw.hear().pongs, [b"c"])

    def test_lostWhileTold(self) -> None:
        """
        Nothing is left of the wait when the tunnel is lost, or the proxy stops as well.
        """
        for how in ("cut", "stop"):
            pair = Pair()
            client = pair.ask()
            pair.settle()
            pair.agent.life.drain()
            if how == "cut":
                pair.cut()
            else:
                pair.proxy.life.drain()
                pair.clock.advance(0)
                pair.toAgent()
                self.assertFalse(pair.agent.isReady)
                pair.origin.asked[0].reply()
            pair.settle()
            self.successResultOf(pair.agent.gone)
            self.assertEqual(client.finished, how == "stop")
            client.exchange.body.abort(GONE)
            pair.clock.pump([0.25] * 20)
            self.assertEqual(pair.clock.getDelayedCalls(), [])

    def refuse(self, method: bytes, **options: Any) -> None:
        """
        Ask while the agent's GOAWAY is under way, and see that another tunnel gets the request, and all of it.
        """
        pair = Pair()
        before = pair.ask()
        pair.settle()
        _leave(pair)
        client = pair.ask(method, **options)
        pair.settle()
        self.assertFalse(client.over, client.fault)
        self.assertEqual(len(pair.origin.asked), 1)
        old = pair.origin.asked[0]
        pair.slot = 1
        first = pair.proxy, pair.agent
        pair.connect()
        pair.settle()
        self.assertIsNot(first[0], pair.proxy)
        [_, asked] = pair.origin.asked
        self.assertEqual(asked.body, options.get("body") or b"")
        self.assertEqual(asked.head.method, method)
        asked.reply()
        pair.settle()
        self.assertTrue(client.finished)
        self.assertFalse(before.over)
        self.assertIsNone(old.fault)

    def test_refusedGet(self) -> None:
        """
        What the agent has not begun goes to another.
        """
        self.refuse(b"GET")

    def test_refusedPostBeginning(self) -> None:
        """
        Whatever its method, if its body is still held.
        """
        self.refuse(b"POST", framing=CHUNKED, body=b"x" * 1000, end=False)

    def test_refusedPostWhole(self) -> None:
        """
        Also if all of its body has come.
        """
        self.refuse(b"POST", framing=1000, body=b"x" * 1000)

    def test_refusedEmptyPost(self) -> None:
        """
        Also if it has none.
        """
        self.refuse(b"POST", framing=0)

    def test_refusedUpgrade(self) -> None:
        """
        Also if it asks for an upgrade.
        """
        self.refuse(b"GET", fields=UPGRADE)

    def test_refusedLargePost(self) -> None:
        """
        A body of which more was sent than is held cannot be sent again: that exchange fails.
        """
        pair = Pair()
        _leave(pair)
        client = pair.ask(b"POST", framing=CHUNKED, body=b"x" * 60000, end=False)
        client.body_.write(b"x" * 60000)
        pair.settle()
        assert client.fault is not None
        self.assertEqual(client.fault.code.name, "agent-lost")
        self.assertEqual(pair.origin.asked, [])

    def test_refusedPaused(self) -> None:
        """
        One whose client was asked to pause goes on with another agent.
        """
        pair = Pair()
        _leave(pair)
        client = pair.ask(b"POST", framing=CHUNKED, body=b"x" * 10000, end=False)
        pair.proxy.outbox.pause()
        client.body_.write(b"x" * 40000)
        self.assertTrue(client.uploadHeld)
        pair.settle()
        pair.slot = 1
        pair.connect()
        pair.settle()
        [asked] = pair.origin.asked
        self.assertEqual(len(asked.body), 50000)
        self.assertFalse(client.uploadHeld)

    def test_goAwayFrame(self) -> None:
        """
        A GOAWAY names the last stream that was taken, and says why.
        """
        proxy = Proxy()
        raw = RawAgent(proxy)
        for _ in range(3):
            proxy.ask()
        raw.session.life.drain()
        kind, number, flags, payload = raw.hear().frames[-1]
        self.assertEqual((kind, number, flags), (GOAWAY, 0, 0))
        self.assertEqual(parseNumber(payload), 3)
        agent = RawProxy()
        agent.request(5)
        agent.session.life.drain()
        self.assertEqual(parseNumber(agent.hear().frames[-1][3]), MOST_STREAMS)
        agent.saw(control(PONG, agent.peer.pings[-1]))
        self.assertEqual(parseNumber(agent.hear().frames[-1][3]), 5)

    def test_goAwayTwice(self) -> None:
        """
        A second GOAWAY may name fewer streams.
        """
        proxy = Proxy()
        raw = RawAgent(proxy)
        other = RawAgent(proxy, frame(HELLO, 0, Hello(instance="other").encode()))
        clients = [proxy.ask(target=b"/%d" % number) for number in range(6)]
        mine = list(raw.session.streams)
        self.assertEqual(mine, [1, 2, 3])
        raw.say(numberFrame(GOAWAY, 0, 2))
        self.assertEqual(list(raw.session.streams), [1, 2])
        self.assertEqual(len(other.session.streams), 4)
        raw.say(numberFrame(GOAWAY, 0, 1))
        self.assertEqual(list(raw.session.streams), [1])
        self.assertEqual(len(other.session.streams), 5)
        self.assertFalse(any(client.over for client in clients))
        raw.say(frame(RESPONSE, 1, OK, LAST))
        raw.hear()
        self.assertEqual([code for code, _ in raw.peer.closes], [1001])

    def test_bothAtOnce(self) -> None:
        """
        Both may stop at once.
        """
        pair = Pair()
        client = pair.ask()
        pair.settle()
        pair.proxy.life.drain()
        pair.agent.life.drain()
        pair.settle()
        pair.origin.asked[0].reply()
        pair.settle()
        self.assertTrue(client.finished)
        self.assertEqual(pair.left(), (0, 0, 0))
        self.assertEqual(pair.violations(), [])

    def test_cut(self) -> None:
        """
        At the end of its patience an agent breaks off what is still open.
        """
        pair = Pair()
        clients = [pair.ask(), pair.ask(b"POST", framing=CHUNKED)]
        pair.settle()
        pair.origin.asked[0].respond()
        pair.settle()
        pair.agent.life.drain()
        self.assertEqual(pair.agent.cut(), 2)
        pair.settle()
        self.assertTrue(all(asked.fault is not None for asked in pair.origin.asked))
        for client in clients:
            assert client.fault is not None
            self.assertFalse(client.finished)
        self.successResultOf(pair.agent.gone)
        self.assertEqual(pair.left(), (0, 0, 0))

    def test_proxyCloses(self) -> None:
        """
        At the end of its own, the proxy closes all tunnels.
        """
        pair = Pair()
        client = pair.ask()
        pair.settle()
        pair.tunnels.drain(pair.clock)
        pair.settle()
        self.assertEqual(len(pair.tunnels), 1)
        pair.tunnels.close()
        pair.settle()
        assert client.fault is not None
        self.assertIsNotNone(pair.origin.asked[0].fault)
        self.assertIn("stopping", self.successResultOf(pair.agent.left))
        self.assertEqual(pair.left(), (0, 0, 0))

    def test_manyAgents(self) -> None:
        """
        A few agents hear at once that the proxy is stopping; a thousand do within a second, never more than a few at
        once.
        """
        for count, most, steps in ((10, 10, 1), (11, 10, 2), (1000, 20, 50)):
            proxy = Proxy()
            proxy.tunnels = Tunnels(count)
            agents = [
                RawAgent(proxy, frame(HELLO, 0, Hello(instance=str(number)).encode()))
                for number in range(count)
            ]
            told = proxy.tunnels.drain(proxy.clock)
            heard = [0]
            while heard[-1] < count:
                heard.append(sum(not agent.session.hasRoom() for agent in agents))
                proxy.clock.advance(0.02)
                self.assertLessEqual(len(heard) - 1, steps)
            self.successResultOf(told)
            self.assertEqual(max(now - before for before, now in pairwise(heard)), most)
            proxy.clock.pump([0.25] * 20)
            self.assertEqual(proxy.clock.getDelayedCalls(), [])

    def test_numbersRunOut(self) -> None:
        """
        A tunnel whose numbers have run out is drained.
        """
        pair = Pair()
        pair.proxy.last = MOST_STREAMS - 1
        client = pair.ask()
        pair.settle()
        self.assertFalse(pair.proxy.hasRoom())
        pair.origin.asked[0].reply()
        pair.settle()
        self.assertTrue(client.finished)
        self.assertEqual(pair.left(), (0, 0, 0))
        self.successResultOf(pair.agent.gone)

    def test_closeIsAnswered(self) -> None:
        """
        A Close frame is answered by one with the same code, and the link is ended.
        """
        for payload, code in ((closePayload(1000, "bye"), 1000), (b"", 1001)):
            raw = RawAgent(Proxy())
            raw.saw(control(CLOSE, payload, KEY))
            self.assertEqual([each for each, _ in raw.peer.closes], [code])
            self.assertTrue(raw.end.ended)
            raw.session.finish()
            self.assertEqual(raw.proxy.left(), (0, 0, 0))
            self.assertEqual(raw.end.violations, [])

    def test_peerThatStays(self) -> None:
        """
        A peer that does not end its side of the link after a Close frame is not waited for.
        """
        proxy = Proxy()
        raw = RawAgent(proxy)
        raw.session.life.close(1001, "bye")
        proxy.clock.pump([0.25] * 12)
        self.assertTrue(raw.end.broken)
        self.assertEqual(proxy.clock.getDelayedCalls(), [])

    def test_vanishedAgent(self) -> None:
        """
        When the agent's connection ends without a Close frame, as that of a process that was killed, the proxy ends its
        side of it, too: half of a connection is no use to anyone, and would stay for ever.
        """
        raw = RawAgent(Proxy())
        raw.session.finish()
        raw.proxy.clock.pump([0.25] * 100)
        self.assertEqual(raw.proxy.left(), (0, 0, 0))
        self.assertTrue(raw.end.ended or raw.end.broken)

    def test_vanishedProxy(self) -> None:
        """
        And the same at the agent.
        """
        raw = RawProxy()
        raw.session.linkEnded("the proxy closed the connection")
        raw.clock.pump([0.25] * 100)
        self.successResultOf(raw.session.gone)
        self.assertTrue(raw.end.ended or raw.end.broken)


# One end and a peer that breaks the rules.
