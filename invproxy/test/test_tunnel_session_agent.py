"""
The agent's end of a tunnel, with a peer that breaks the rules.
"""

from __future__ import annotations

from invproxy.errors import (
    ORIGIN_BAD_RESPONSE,
)
from invproxy.http1.framing import CHUNKED
from invproxy.http1.limits import Limits
from invproxy.test.tunnelcase import GREETING, KEY, OK, POST, Case, Pair, RawProxy, message
from invproxy.wire.frames import (
    CREDIT,
    DATA,
    END,
    HELLO,
    LAST,
    REQUEST,
    RESET,
    RESPONSE,
    frame,
    header,
    requestFrame,
)
from invproxy.wire.websocket import PONG, control
from invproxy.wire.windows import INITIAL


class AtTheAgent(Case):
    """
    What proxies may do wrong.
    """

    def violate(
        self, *words: str, frames: list[bytes], code: int = 1002, asks: int = 1, hello: bool = True
    ) -> None:
        """
        See that something closes the tunnel.
        """
        raw = RawProxy(GREETING if hello else b"", maxExchanges=2)
        for number in range(asks):
            raw.request(number + 1, POST, flags=0)
        raw.say(*frames)
        self.check(raw, code, *words)

    def check(self, raw: RawProxy, code: int, *words: str) -> None:
        """
        See that it is closed, and why.
        """
        [(found, reason)] = raw.hear().closes
        self.assertEqual(found, code, reason)
        for word in words:
            self.assertIn(word, reason)
        self.assertTrue(raw.end.ended)
        self.assertEqual(raw.end.violations, [])
        self.assertIn(reason, self.successResultOf(raw.session.left))
        self.successResultOf(raw.session.gone)
        for asked in raw.origin.asked:
            self.assertIsNotNone(asked.fault)
            self.assertEqual(asked.violations, [])
        self.assertEqual(raw.session.streams, {})
        raw.session.linkEnded("the proxy closed the connection")
        raw.clock.pump([0.25] * 20)
        self.assertEqual(raw.clock.getDelayedCalls(), [])

    def test_beforeHello(self) -> None:
        """
        A frame before the HELLO.
        """
        request = requestFrame(1, b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.violate("before the HELLO", frames=[request], asks=0, hello=False)

    def test_hellos(self) -> None:
        """
        A second HELLO, and one of another major version.
        """
        self.violate("a second HELLO", frames=[GREETING])
        other = frame(HELLO, 0, b'{"version":"3.1"}')
        self.violate("3.1", frames=[other], asks=0, hello=False)

    def test_response(self) -> None:
        """
        A RESPONSE from a proxy.
        """
        self.violate("RESPONSE from a proxy", frames=[frame(RESPONSE, 1, OK)])

    def test_numbersGoUp(self) -> None:
        """
        The number of a stream that is not higher than the last, or 0.
        """
        head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        for number in (0, 1):
            self.violate("REQUEST", frames=[requestFrame(number, b"", head)])
        raw = RawProxy()
        for number in (3, 7, 1000):
            raw.request(number)
        self.assertEqual(raw.peer.closes, [])
        raw.say(requestFrame(999, b"", head))
        self.check(raw, 1002, "999", "1000")

    def test_unknownStream(self) -> None:
        """
        A frame for a stream that was never opened.
        """
        for kind in (DATA, END, RESET, CREDIT):
            for number in (0, 2, 0xFFFFFFFF):
                self.violate("never opened", frames=[frame(kind, number, b"\x00" * 8)])

    def test_tooManyStreams(self) -> None:
        """
        More streams than were allowed.
        """
        head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        self.violate("streams", frames=[requestFrame(9, b"", head)], asks=2)

    def test_overrun(self) -> None:
        """
        More DATA than there was credit for.
        """
        self.violate("credit", frames=[frame(DATA, 1, b"x" * (INITIAL + 1))])

    def test_badRequest(self) -> None:
        """
        A REQUEST that is none.
        """
        for payload in (b"", b"\x00", b"\x00\x05abc"):
            self.violate("REQUEST", frames=[frame(REQUEST, 5, payload)])

    def test_badHead(self) -> None:
        """
        A REQUEST whose head is none concerns that stream alone.
        """
        for payload in (b"\x00\x00nonsense", b"\x00\x00\r\n\r\n"):
            raw = RawProxy()
            raw.say(frame(REQUEST, 5, payload), frame(DATA, 5, b"x"))
            [(kind, number, _, said)] = raw.hear().frames[-1:]
            self.assertEqual((kind, number), (RESET, 5))
            self.assertTrue(said.startswith(b"bad-request "), said)
            self.assertEqual(raw.peer.closes, [])

    def test_badTrailers(self) -> None:
        """
        Trailers that are none.
        """
        raw = RawProxy()
        asked = raw.request(flags=0)
        raw.say(frame(END, 1, b"Content-Length: 5\r\n", LAST))
        self.assertIsNotNone(asked.fault)
        self.assertEqual(raw.hear().frames[-1][0], RESET)
        self.assertEqual(raw.peer.closes, [])

    def test_cutMessage(self) -> None:
        """
        A message that ends within a frame.
        """
        self.violate("within a frame", frames=[header(5, 1, DATA, 0) + b"abcd"])

    def test_webSocket(self) -> None:
        """
        What breaks the WebSocket.
        """
        for data, code, word in (
            (message(frame(99, 0), key=KEY), 1002, "mask"),
            (b"\x81\x01a", 1003, "text"),
        ):
            raw = RawProxy()
            raw.request(flags=0)
            raw.saw(data)
            self.check(raw, code, word)

    def test_unexpected(self) -> None:
        """
        An origin that fails on what it gets ends its exchange, and no other.
        """
        raw = RawProxy()
        asked = raw.request(flags=0)

        def explode(data: bytes) -> None:
            raise ZeroDivisionError

        asked.write = explode  # type: ignore[method-assign]
        raw.say(frame(DATA, 1, b"x"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(raw.hear().frames[-1][0], RESET)
        self.assertEqual(raw.peer.closes, [])

    def test_dataAfterEnd(self) -> None:
        """
        DATA after the end of a request reaches no origin: it would be bytes of nobody's on its connection.
        """
        for ends in ([], [frame(DATA, 1, b"abc", LAST)], [frame(END, 1, b"", LAST)]):
            raw = RawProxy()
            asked = raw.request(1, POST if ends else b"", 0 if ends else LAST)
            raw.say(*ends)
            raw.say(frame(DATA, 1, b"more"), frame(END, 1, b"", LAST))
            self.assertEqual(asked.violations, [])

    def test_largeResponse(self) -> None:
        """
        A head of a response that is larger than the proxy takes fails that exchange, and not the tunnel.
        """
        pair = Pair(limits=Limits(head=2048, trailers=1024))
        other, client = pair.ask(), pair.ask()
        pair.settle()
        pair.origin.asked[1].respond(block=b"\r\nX: " + b"y" * 10000)
        pair.settle()
        assert client.fault is not None
        self.assertEqual(client.fault.code, ORIGIN_BAD_RESPONSE)
        self.assertFalse(other.over)
        self.assertTrue(pair.proxy.isReady)

    def test_largeTrailers(self) -> None:
        """
        The same with trailers.
        """
        pair = Pair(limits=Limits(head=2048, trailers=1024))
        other, client = pair.ask(), pair.ask()
        pair.settle()
        pair.origin.asked[1].respond()
        pair.origin.asked[1].answer.finish(b"\r\nX: " + b"y" * 10000)
        pair.settle()
        self.assertIsNotNone(client.fault)
        self.assertFalse(other.over)

    def test_largeResponseWithinOpen(self) -> None:
        """
        Also when the origin answers before C{open} returns; it is told that nobody wants its answer.
        """
        pair = Pair(limits=Limits(head=2048, trailers=1024))
        pair.origin.opened = lambda asked: asked.respond(block=b"\r\nX: " + b"y" * 10000)
        client = pair.ask(b"POST", framing=CHUNKED)
        pair.settle()
        assert client.fault is not None
        self.assertEqual(client.fault.code, ORIGIN_BAD_RESPONSE)
        self.assertIsNotNone(pair.origin.asked[0].fault)

    def test_ignored(self) -> None:
        """
        Unknown types, flags and fields of a HELLO are no fault, nor are late frames and the numbers left out.
        """
        raw = RawProxy(frame(HELLO, 0, b'{"version":"1.9","colour":"red"}', 0xFF))
        asked = raw.request(7, POST, 0)
        raw.say(
            frame(99, 7, b"x", 0xFF),
            frame(DATA, 7, b"abc", 0xFE),
            frame(DATA, 3, b"never began"),
            frame(RESET, 2),
            frame(DATA, 7, b"def", 0xFF),
        )
        self.assertEqual((asked.body, asked.ends), (b"abcdef", [b""]))
        asked.reply()
        raw.say(frame(DATA, 7, b"late"), frame(END, 7, b"x"), frame(CREDIT, 7), frame(RESET, 7))
        self.assertEqual(raw.hear().closes, [])
        self.assertEqual(asked.violations, [])

    def test_requestAfterGoAway(self) -> None:
        """
        What comes after an agent's last GOAWAY is not begun, nor is its body looked at.
        """
        raw = RawProxy()
        raw.request(1)
        raw.session.life.drain()
        raw.saw(control(PONG, raw.hear().pings[-1]))
        raw.say(
            requestFrame(2, b"", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"),
            frame(DATA, 2, b"abc", LAST),
            frame(RESET, 2),
        )
        self.assertEqual(len(raw.origin.asked), 1)
        self.assertEqual(raw.peer.closes, [])
