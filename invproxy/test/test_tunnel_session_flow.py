"""
Flow control in a tunnel.
"""

from __future__ import annotations

from invproxy.errors import ORIGIN_BAD_RESPONSE, Fault
from invproxy.http1.framing import CHUNKED
from invproxy.test.helpers import Copies
from invproxy.test.tunnelcase import (
    COLLECTED,
    KEY,
    PIECE,
    QUEUE,
    Pair,
    PairCase,
    Proxy,
    RawAgent,
    RawProxy,
)
from invproxy.test.tunnelends import Asked
from invproxy.wire.frames import CREDIT, DATA, HELLO, LAST, frame, numberFrame
from invproxy.wire.hello import Hello
from invproxy.wire.websocket import PING, control
from invproxy.wire.windows import INITIAL


class Flow(PairCase):
    """
    Credit, turns and back-pressure.
    """

    def test_bigDownload(self) -> None:
        """
        Many windows of an answer arrive, and unchanged.
        """
        client, asked = self.exchange()
        asked.respond()
        sent = b""
        for number in range(200):
            piece = bytes([number]) * 12345
            sent += piece
            asked.answer.write(piece)
            if number % 10 == 0:
                self.pair.settle(5000)
        asked.answer.finish()
        self.pair.settle(5000)
        self.assertEqual(client.body, sent)
        self.assertTrue(client.finished)

    def test_bigUpload(self) -> None:
        """
        So do many windows of a request.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        sent = b""
        for number in range(200):
            piece = bytes([number]) * 12345
            sent += piece
            client.body_.write(piece)
            if number % 10 == 0:
                self.pair.settle(5000)
        client.body_.finish(b"\r\nX: 1")
        self.pair.settle(5000)
        self.assertEqual((asked.body, asked.ends), (sent, [b"\r\nX: 1"]))

    def test_pausedClient(self) -> None:
        """
        While the client does not keep up, no more than a window comes; then the origin is asked to pause, and to go on
        when the client does.
        """
        client, asked = self.exchange()
        asked.respond()
        client.body_.pauseAnswer()
        written = 0
        while not asked.isPaused:
            asked.answer.write(b"x" * 8192)
            written += 8192
            self.pair.settle()
            self.assertLess(written, 10 << 20)
        self.assertEqual(len(client.body), INITIAL)
        self.assertEqual(written, INITIAL + QUEUE)
        client.body_.resumeAnswer()
        self.pair.settle()
        self.assertFalse(asked.isPaused)
        self.assertEqual(len(client.body), written)
        asked.answer.finish()
        self.pair.settle()
        self.assertTrue(client.finished)

    def test_pausedBeforeAnswer(self) -> None:
        """
        So also if it paused before the tunnel took its request.
        """
        pair = Pair(greet=False)
        client = pair.ask()
        client.body_.pauseAnswer()
        pair.settle()
        [asked] = pair.origin.asked
        asked.respond()
        for _ in range(100):
            asked.answer.write(b"x" * 8192)
            pair.settle()
        self.assertEqual(len(client.body), INITIAL)
        self.assertTrue(asked.isPaused)
        client.body_.resumeAnswer()
        pair.settle()
        self.assertEqual(len(client.body), 819200)

    def test_pausedOrigin(self) -> None:
        """
        While the origin takes no more of an upload, its client is asked to pause after a window; what came meanwhile is
        credited when the origin goes on.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        asked.answer.pauseUpload()
        written = 0
        while not client.uploadHeld:
            client.body_.write(b"x" * 8192)
            written += 8192
            self.pair.settle()
            self.assertLess(written, 10 << 20)
        self.assertEqual((len(asked.body), written), (INITIAL, INITIAL + QUEUE))
        asked.answer.resumeUpload()
        self.pair.settle()
        self.assertFalse(client.uploadHeld)
        self.assertEqual(len(asked.body), written)
        for _ in range(100):
            client.body_.write(b"x" * 8192)
            self.pair.settle()
        client.body_.finish()
        self.pair.settle()
        self.assertEqual(len(asked.body), written + 819200)
        self.assertEqual(asked.ends, [b""])

    def test_pausedOriginALittle(self) -> None:
        """
        Pauses of the origin in which less than a quarter of a window comes never add up to a stop.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        for _ in range(300):
            asked.answer.pauseUpload()
            client.body_.write(b"x" * 5000)
            self.pair.settle()
            asked.answer.resumeUpload()
            self.pair.settle()
        self.assertEqual(len(asked.body), 1_500_000)

    def test_pausedLink(self) -> None:
        """
        While the link takes no more, sources are asked to pause, each stream holds little, and everything goes on
        after that.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        asked.respond()
        self.pair.settle()
        self.pair.agent.outbox.pause()
        self.pair.proxy.outbox.pause()
        before = self.pair.agentEnd.total, self.pair.proxyEnd.total
        for _ in range(QUEUE // 4096):
            self.assertFalse(asked.isPaused or client.uploadHeld)
            asked.answer.write(b"a" * 4096)
            client.body_.write(b"b" * 4096)
        self.assertTrue(asked.isPaused and client.uploadHeld)
        self.pair.clock.advance(0)
        self.assertEqual((self.pair.agentEnd.total, self.pair.proxyEnd.total), before)
        self.pair.agent.outbox.resume()
        self.pair.proxy.outbox.resume()
        self.pair.settle()
        self.assertFalse(asked.isPaused or client.uploadHeld)
        self.assertEqual((client.body, asked.body), (b"a" * QUEUE, b"b" * QUEUE))

    def test_endBehindWhatWaits(self) -> None:
        """
        The end of a body, with or without trailers, comes behind what waits of it.
        """
        for trailers in (b"", b"\r\nX: 1"):
            client, asked = self.exchange(b"POST", framing=CHUNKED)
            asked.respond()
            self.pair.agent.outbox.pause()
            self.pair.proxy.outbox.pause()
            asked.answer.write(b"a" * 50000)
            asked.answer.finish(trailers)
            client.body_.write(b"b" * 50000)
            client.body_.finish(trailers)
            self.pair.settle()
            self.assertFalse(client.finished)
            self.pair.proxy.outbox.resume()
            self.pair.settle()
            self.pair.agent.outbox.resume()
            self.pair.settle()
            self.assertEqual((client.body, client.trailers), (b"a" * 50000, trailers))
            self.assertEqual((asked.body, asked.ends), (b"b" * 50000, [trailers]))
            self.assertEqual((self.pair.proxy.streams, self.pair.agent.streams), ({}, {}))

    def test_resetBeforeWhatWaits(self) -> None:
        """
        What waits of a body that breaks off is dropped, and takes no turn any more.
        """
        client, asked = self.exchange()
        asked.respond()
        self.pair.settle()
        self.pair.agent.outbox.pause()
        asked.answer.write(b"a" * 50000)
        asked.answer.fail(Fault(ORIGIN_BAD_RESPONSE))
        self.pair.agent.outbox.resume()
        self.pair.settle()
        self.assertEqual(client.body, b"")
        self.assertIsNotNone(client.fault)
        self.assertTrue(self.pair.agent.outbox.isFree)

    def test_stalledStream(self) -> None:
        """
        A stream without credit that has 10 MiB waiting does not delay another at all, and pauses its own source alone.
        """
        slow, slowAsked = self.exchange()
        slow.body_.pauseAnswer()
        slowAsked.respond()
        for _ in range(640):
            slowAsked.answer.write(b"x" * 16384)
        self.pair.settle()
        self.assertTrue(slowAsked.isPaused)
        self.assertTrue(self.pair.agent.outbox.isFree)
        client, asked = self.exchange()
        before = self.pair.agentEnd.total
        asked.reply(b"small")
        self.pair.clock.advance(0)
        self.assertLess(self.pair.agentEnd.total - before, 200)
        self.pair.settle()
        self.assertTrue(client.finished)
        other, otherAsked = self.exchange()
        otherAsked.respond()
        for _ in range(100):
            otherAsked.answer.write(b"y" * 16384)
            self.pair.settle()
        self.assertFalse(otherAsked.isPaused)
        self.assertEqual(len(other.body), 1638400)
        self.assertEqual(len(slow.body), INITIAL)

    def test_turns(self) -> None:
        """
        A small answer waits for no more than one piece of each stream that sends, even if each has 10 MiB waiting.
        """
        raw = RawProxy(frame(HELLO, 0, Hello(window=1 << 30).encode()))
        bulky = [raw.request(number) for number in (1, 2, 3)]
        small = raw.request(4)
        raw.session.outbox.pause()
        for asked in bulky:
            asked.respond()
            asked.answer.write(b"x" * (10 << 20))
        small.reply(b"small")
        raw.hear()
        # The link takes one write at a time.
        raw.end.wrote = lambda size: raw.session.outbox.pause()
        before: dict[int, int] = {}
        writes = 0
        while (DATA, 4, LAST, b"small") not in raw.peer.frames:
            raw.session.outbox.resume()
            raw.hear()
            writes += 1
            self.assertLess(writes, 50)
        for kind, number, _, payload in raw.peer.frames:
            if (kind, number) == (DATA, 4):
                break
            if kind == DATA:
                before[number] = before.get(number, 0) + len(payload)
        self.assertEqual(before, dict.fromkeys((1, 2, 3), PIECE))

    def test_turnsAreShared(self) -> None:
        """
        Streams that send much have equal shares of the link, whatever the size of their pieces.
        """
        raw = RawProxy(frame(HELLO, 0, Hello(window=1 << 30).encode()))
        asked = [raw.request(number) for number in (1, 2, 3)]
        raw.session.outbox.pause()
        for each, size in zip(asked, (1 << 20, 100_000, 40_000), strict=True):
            each.respond()
            for _ in range((1 << 20) // size + 1):
                each.answer.write(b"x" * size)
        raw.end.wrote = lambda size: raw.session.outbox.pause()
        for _ in range(10):
            raw.session.outbox.resume()
            raw.hear()
        sizes = [len(raw.peer.data(number)) for number in (1, 2, 3)]
        self.assertLess(max(sizes), 1.5 * min(sizes), sizes)

    def test_linkPausedHalfWay(self) -> None:
        """
        When the link is full, it gets no more than what was just collected.
        """
        raw = RawProxy(frame(HELLO, 0, Hello(window=1 << 30).encode()))
        asked = raw.request()
        raw.session.outbox.pause()
        asked.respond()
        asked.answer.write(b"x" * (4 << 20))
        raw.hear()
        raw.end.wrote = lambda size: raw.session.outbox.pause()
        before = raw.end.total
        raw.session.outbox.resume()
        self.assertLess(raw.end.total - before, 2 * COLLECTED + 2 * PIECE)
        self.assertFalse(raw.session.outbox.isFree)

    def test_boundedMemory(self) -> None:
        """
        With a source that keeps to what it is told, a stream holds no more than its threshold and a piece, and no more
        than a window is under way.
        """
        client, asked = self.exchange()
        client.body_.pauseAnswer()
        asked.respond()
        stream = self.pair.agent.streams[1]
        total = 0
        for number in range(3000):
            if not asked.isPaused and total < 4 << 20:
                asked.answer.write(b"x" * 4000)
                total += 4000
            if number % 7 == 0:
                self.pair.toProxy(9000)
                self.pair.toAgent()
            if number % 11 == 0:
                self.pair.clock.advance(0)
            if number % 400 == 399:
                client.body_.resumeAnswer()
                self.pair.settle()
                client.body_.pauseAnswer()
            self.assertLess(stream._queued, QUEUE + 4000)
            self.assertEqual(stream._queued, sum(map(len, stream._queue or ())))
            self.assertLessEqual(len(self.pair.agentEnd.written), INITIAL + 20000)
        self.assertGreater(total, INITIAL)

    def test_largePiece(self) -> None:
        """
        A large piece of a body is not copied again for each part of it that is sent.
        """
        copies = Copies()
        raw = RawProxy(frame(HELLO, 0, Hello(window=1 << 30).encode()))
        asked = raw.request()
        asked.respond()
        raw.session.outbox.pause()
        size = 8 << 20
        asked.answer.write(copies.watch(bytes(size)))
        raw.session.outbox.resume()
        self.assertEqual(len(raw.hear().data(1)), size)
        self.assertLess(copies.count, 4 * size)

    def test_sourceThatWritesAtOnce(self) -> None:
        """
        A source may write within C{resumeAnswer} until it is paused, as the producers in Twisted's documentation do.
        """
        raw = RawProxy(frame(HELLO, 0, Hello(window=1 << 30).encode()))
        asked = raw.request()
        asked.respond()
        raw.session.outbox.pause()
        left = 1000

        def produce() -> None:
            nonlocal left
            while left and not asked.isPaused:
                left -= 1
                asked.answer.write(b"x" * 40000)

        asked.resumed = produce
        produce()
        raw.session.outbox.resume()
        self.assertEqual(left, 0)
        self.assertEqual(len(raw.hear().data(1)), 40_000_000)

    def test_pausedWithinOpen(self) -> None:
        """
        An origin that has written much before C{open} returns is asked to pause then.
        """
        self.pair.agent.outbox.pause()

        def flood(asked: Asked) -> None:
            asked.respond()
            asked.answer.write(b"x" * 100_000)

        self.pair.origin.opened = flood
        _, asked = self.exchange()
        self.assertTrue(asked.isPaused)

    def test_heldBodyPauses(self) -> None:
        """
        When a body that was held is more than the tunnel takes, its client stays paused until it has gone out.
        """
        proxy = Proxy()
        client = proxy.ask(b"POST", framing=CHUNKED, body=b"x" * 65536, end=False)
        self.assertTrue(client.uploadHeld)
        raw = RawAgent(proxy, frame(HELLO, 0, Hello(instance="raw", window=1024).encode()))
        self.assertEqual(raw.session.streams[1]._queued, 65536 - 1024)
        self.assertTrue(client.uploadHeld)
        raw.say(numberFrame(CREDIT, 1, 65536))
        self.assertFalse(client.uploadHeld)
        self.assertEqual(len(raw.hear().data(1)), 65536)

    def test_growing(self) -> None:
        """
        Over a long way the window of a stream grows, and what it has grown by is given back at its end.
        """
        pair = Pair(greet=False)
        client = pair.ask()
        total = 0
        there: list[tuple[float, bytes]] = []
        back: list[tuple[float, bytes]] = []

        def tick() -> None:
            now = pair.clock.seconds()
            if pair.proxyEnd.written:
                there.append((now + 0.05, pair.proxyEnd.take()))
            if pair.agentEnd.written:
                back.append((now + 0.05, pair.agentEnd.take()))
            while there and there[0][0] <= now:
                pair.agent.bytesReceived(there.pop(0)[1])
            while back and back[0][0] <= now:
                pair.proxy.bytesReceived(back.pop(0)[1])
            pair.clock.advance(0.01)

        for _ in range(50):
            tick()
        [asked] = pair.origin.asked
        asked.respond()
        for _ in range(2000):
            while not asked.isPaused and total < 40 << 20:
                asked.answer.write(b"x" * 16384)
                total += 16384
            tick()
        self.assertLess(abs(pair.proxy.budget.roundTrip - 0.1), 0.03)
        window = pair.proxy.streams[1]._window
        assert window is not None
        self.assertGreater(window.size, 4 * INITIAL)
        left = pair.proxy.budget.left
        asked.answer.finish()
        for _ in range(100):
            tick()
        self.assertTrue(client.finished)
        self.assertEqual(len(client.body), total)
        self.assertEqual(pair.proxy.budget.left, left + window.size - INITIAL)

    def test_pongFlood(self) -> None:
        """
        A peer that asks for pongs and does not read them costs no memory: only the latest ping need be answered.
        """
        raw = RawAgent(Proxy())
        raw.session.outbox.pause()
        before = raw.end.total
        ping = control(PING, b"p" * 125, KEY)
        for _ in range(100):
            raw.session.bytesReceived(ping * 100)
            raw.proxy.clock.advance(0)
        self.assertLess(raw.end.total - before, 65536)
