"""
Exchanges over a tunnel that come to no good end, both of its ends joined in memory.
"""

from __future__ import annotations

from twisted.logger import capturedLogs

from invproxy.errors import CLIENT_GONE, ORIGIN_BAD_RESPONSE, ORIGIN_REFUSED, Fault
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import ResponseHead
from invproxy.test.tunnelcase import GONE, UPGRADE, Pair, PairCase
from invproxy.test.tunnelends import Asked


class Failures(PairCase):
    """
    What fails at the client, at the origin or between them.
    """

    def test_badTrailers(self) -> None:
        """
        Trailers that may not be break that response alone.
        """
        for block in (b"\r\nContent-Length: 5", b"\r\nno field"):
            other, _ = self.exchange()
            client, asked = self.exchange()
            asked.respond()
            asked.answer.finish(block)
            self.pair.settle()
            assert client.fault is not None
            self.assertEqual(client.fault.code, ORIGIN_BAD_RESPONSE)
            self.assertFalse(other.over)
        self.assertTrue(self.pair.proxy.isReady)

    def test_failWithinOpen(self) -> None:
        """
        Or fail, or raise.
        """

        def refuse(asked: Asked) -> None:
            raise Fault(ORIGIN_REFUSED, "nobody there")

        def crash(asked: Asked) -> None:
            raise ZeroDivisionError

        self.pair.origin.opened = refuse
        client, _ = self.exchange()
        assert client.fault is not None
        self.assertEqual(client.fault.code, ORIGIN_REFUSED)
        self.pair.origin.opened = lambda asked: asked.answer.fail(Fault(ORIGIN_REFUSED))
        client, _ = self.exchange()
        assert client.fault is not None
        self.assertEqual(client.fault.code, ORIGIN_REFUSED)
        self.pair.origin.opened = crash
        client, _ = self.exchange(b"POST", framing=CHUNKED)
        assert client.fault is not None
        self.assertEqual(client.fault.code.status // 100, 5)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.pair.agent.isReady)

    def test_wrongLengths(self) -> None:
        """
        A response that is longer or shorter than its Content-Length never looks whole, and breaks nothing else.
        """
        other, otherAsked = self.exchange()
        for pieces in ([b"abc", b"de"], [b"abcde"], [b"abc"], []):
            client, asked = self.exchange()
            asked.respond(length=4)
            for piece in pieces:
                asked.answer.write(piece)
            asked.answer.finish()
            self.pair.settle()
            assert client.fault is not None
            self.assertEqual(client.fault.code, ORIGIN_BAD_RESPONSE)
            self.assertFalse(client.finished)
        otherAsked.reply()
        self.pair.settle()
        self.assertTrue(other.finished)
        self.assertEqual(self.pair.left(), (0, 1, 1))

    def test_clientLeaves(self) -> None:
        """
        When the client is gone, the origin is told, whatever the state.
        """

        def respond(asked: Asked) -> None:
            asked.respond()
            asked.answer.write(b"abc")

        for before in (lambda asked: None, respond):
            client, asked = self.exchange(b"POST", framing=CHUNKED)
            before(asked)
            self.pair.settle()
            client.abort(GONE)
            asked.answer.write(b"what is under way")
            self.pair.settle()
            assert asked.fault is not None
            self.assertEqual(asked.fault.code, CLIENT_GONE)
            asked.answer.write(b"late")
            asked.answer.finish()
            asked.answer.fail(GONE)
            self.pair.settle()
            self.assertEqual(self.pair.left(), (0, 1, 1))
            self.assertEqual(self.pair.agent.streams, {})

    def test_clientLeavesAtOnce(self) -> None:
        """
        Also in the turn in which it asked.
        """
        client = self.pair.ask()
        client.abort(GONE)
        self.pair.settle()
        [asked] = self.pair.origin.asked
        self.assertIsNotNone(asked.fault)
        self.assertEqual((self.pair.proxy.streams, self.pair.agent.streams), ({}, {}))

    def test_originFails(self) -> None:
        """
        What the origin fails with reaches the client, before and after the head of the response.
        """
        for code in (ORIGIN_REFUSED, ORIGIN_BAD_RESPONSE):
            for responds in (False, True):
                client, asked = self.exchange()
                if responds:
                    asked.respond()
                    asked.answer.write(b"abc")
                asked.answer.fail(Fault(code, "\u20ac\n" * 1000))
                self.pair.settle()
                assert client.fault is not None
                self.assertEqual(client.fault.code, code)
                self.assertFalse(client.finished)
                self.assertIsNone(asked.fault)  # it knows
        self.assertEqual(self.pair.left(), (0, 1, 1))

    def test_otherFaults(self) -> None:
        """
        A fault that an agent may not give of its own accord is the agent's loss.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        asked.answer.fail(GONE)
        self.pair.settle()
        assert client.fault is not None
        self.assertEqual(client.fault.code.name, "agent-lost")

    def test_linkBreaks(self) -> None:
        """
        When the link breaks, answers are cut, requests without a body may be sent again, and both ends know.
        """
        half, halfAsked = self.exchange()
        halfAsked.respond()
        halfAsked.answer.write(b"abc")
        self.pair.settle()
        post, _ = self.exchange(b"POST", framing=CHUNKED)
        get, getAsked = self.exchange(target=b"/again")
        raw, rawAsked = self.exchange(fields=UPGRADE)
        rawAsked.upgrade()
        self.pair.settle()
        old = self.pair.origin.asked
        second = Pair.__new__(Pair)
        second.__dict__.update(self.pair.__dict__)
        second.slot = 1
        second.connect()
        second.settle()
        with capturedLogs() as events:
            self.pair.cut()
        self.assertEqual(len(self.shown(events)), 1)
        for client in (half, post, raw):
            assert client.fault is not None
            self.assertEqual(client.fault.code.name, "agent-lost")
            self.assertFalse(client.finished)
        self.assertTrue(all(asked.fault is not None for asked in old[:4]))
        self.successResultOf(self.pair.agent.gone)
        self.successResultOf(self.pair.agent.left)
        self.assertFalse(get.over)
        second.settle()
        self.assertEqual(second.origin.asked[-1].head.target, b"/again")
        second.origin.asked[-1].reply()
        second.settle()
        self.assertTrue(get.finished)
        self.assertIsNotNone(getAsked.fault)

    def test_linkBreaksWithoutOther(self) -> None:
        """
        Without another agent, nobody waits for one.
        """
        client, _ = self.exchange()
        self.pair.cut()
        assert client.fault is not None
        self.assertEqual(client.fault.code.name, "agent-lost")
        self.assertEqual(self.pair.left(), (0, 0, 0))

    def test_afterTheEnd(self) -> None:
        """
        Whatever is called after the end changes nothing and raises nothing.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        stream = self.pair.proxy.streams[1]
        self.pair.cut()
        for _ in range(2):
            asked.answer.inform(ResponseHead(103, b""))
            asked.reply()
            asked.answer.fail(GONE)
            asked.answer.pauseUpload()
            asked.answer.resumeUpload()
            stream.write(b"x" * 100_000)
            stream.finish()
            stream.pauseAnswer()
            stream.resumeAnswer()
            stream.abort(GONE)
            for session in (self.pair.proxy, self.pair.agent):
                session.bytesReceived(b"anything")
                session.outbox.pause()
                session.outbox.resume()
                session.linkLost("again")
                session.life.drain()
                session.life.close(1000, "again")
        self.pair.cut()
        self.pair.clock.advance(0)
        self.assertEqual(len(self.pair.ended), 1)
        self.assertEqual(client.violations, [])
