"""
The proxy's end of a tunnel, with a peer that breaks the rules.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import capturedLogs

from invproxy.errors import (
    ORIGIN_BAD_RESPONSE,
)
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import ResponseHead
from invproxy.http1.limits import Limits
from invproxy.test.tunnelcase import (
    GONE,
    GREETING,
    KEY,
    OK,
    SWITCH,
    UPGRADE,
    Case,
    Proxy,
    RawAgent,
    message,
)
from invproxy.wire.frames import (
    CREDIT,
    DATA,
    END,
    GOAWAY,
    HELLO,
    LAST,
    REQUEST,
    RESET,
    RESPONSE,
    frame,
    header,
    numberFrame,
    requestFrame,
)
from invproxy.wire.hello import Hello
from invproxy.wire.websocket import (
    CLOSE,
    PING,
    control,
)
from invproxy.wire.windows import INITIAL


class AtTheProxy(Case):
    """
    What agents may do wrong.
    """

    def setUp(self) -> None:
        self.proxy = Proxy(limits=Limits(head=4096, trailers=1024))
        self.other = RawAgent(self.proxy, frame(HELLO, 0, Hello(instance="other").encode()))

    def violate(
        self,
        data: bytes | Callable[[RawAgent], None],
        *words: str,
        code: int = 1002,
        greeting: bytes = GREETING,
        asks: int = 1,
    ) -> None:
        """
        See that something closes the tunnel, and only that.

        @param data: bytes of the WebSocket, or what to do.
        @param words: what the reason says.
        @param greeting: what is sent before.
        @param asks: how many requests are sent through the tunnel before that.
        """
        proxy = self.proxy
        raw = RawAgent(proxy, greeting)
        self.assertEqual(raw.hear().closes, [])
        # The other is out of the way, so that the requests come here.
        proxy.mailbox.leave(self.other.session)
        clients = [proxy.ask(b"POST", framing=CHUNKED) for _ in range(asks)]
        proxy.mailbox.join(self.other.session)
        raw.hear()
        with capturedLogs() as events:
            if callable(data):
                data(raw)
            else:
                raw.saw(data)
            raw.hear()
        [(found, reason)] = raw.peer.closes
        self.assertEqual(found, code, reason)
        for word in words:
            self.assertIn(word, reason)
        self.assertTrue(reason.isprintable())
        if code == 1011:
            self.assertEqual(len(self.flushLoggedErrors()), 1)
        else:
            self.assertEqual(self.flushLoggedErrors(), [])
        [shown] = self.shown(events)
        self.assertTrue(shown.startswith(reason[:60]), (shown, reason))
        self.assertTrue(raw.end.ended)
        self.assertEqual(raw.end.violations, [])
        for client in clients:
            assert client.fault is not None
            self.assertFalse(client.finished)
            self.assertEqual(client.violations, [])
        self.assertEqual(raw.session.streams, {})
        # Nothing more is taken, and nothing is said.
        total = raw.end.total
        raw.session.bytesReceived(message(frame(RESPONSE, 1, OK, LAST), key=KEY))
        raw.session.bytesReceived(control(CLOSE, b"", KEY))
        proxy.clock.advance(0)
        self.assertEqual(raw.end.total, total)
        raw.session.finish()
        # The others live on.
        self.assertEqual(proxy.left(), (0, 1, 1))
        client = proxy.ask()
        self.other.hear()
        number = self.other.session.last
        self.other.say(frame(RESPONSE, number, OK), frame(DATA, number, b"fine", LAST))
        self.assertEqual((client.body, client.finished), (b"fine", True))

    def say(self, *frames: bytes) -> bytes:
        return message(*frames, key=KEY)

    def test_beforeHello(self) -> None:
        """
        A frame before the HELLO, whatever it is.
        """
        for kind in (REQUEST, RESPONSE, DATA, END, RESET, CREDIT, GOAWAY, 8, 255):
            self.violate(
                self.say(frame(kind, 0, b"\x00" * 8), GREETING),
                "before the HELLO",
                greeting=b"",
                asks=0,
            )

    def test_badHello(self) -> None:
        """
        A HELLO that is none.
        """
        for payload in (b"", b"{}", b"\xff", b"[" * 3000, b'{"version":"1.0","slot":-1}'):
            self.violate(self.say(frame(HELLO, 0, payload)), "HELLO", greeting=b"", asks=0)

    def test_otherMajor(self) -> None:
        """
        Another major version.
        """
        self.violate(
            self.say(frame(HELLO, 0, b'{"version":"2.0"}')),
            "2.0",
            "1.0",
            greeting=b"",
            asks=0,
        )

    def test_secondHello(self) -> None:
        """
        A second HELLO.
        """
        self.violate(self.say(GREETING), "a second HELLO")
        self.violate(self.say(frame(HELLO, 0, b'{"version":"2.0"}')), "2.0")

    def test_secondHelloAndMore(self) -> None:
        """
        What follows it in the same message is not looked at.
        """
        self.violate(
            self.say(GREETING, frame(RESPONSE, 1, OK), frame(DATA, 99, b"x"), GREETING),
            "a second HELLO",
        )

    def test_secondHelloAndClose(self) -> None:
        """
        Nor is a Close frame behind it: the link was ended already.
        """
        self.violate(self.say(GREETING) + control(CLOSE, b"", KEY), "a second HELLO")

    def test_unknownStream(self) -> None:
        """
        A frame for a stream that was never opened, or for the tunnel itself.
        """
        for kind in (RESPONSE, DATA, END, RESET, CREDIT):
            for number in (0, 2, 1000, 0xFFFFFFFF):
                self.violate(self.say(frame(kind, number, b"\x00" * 8)), "never opened")

    def test_request(self) -> None:
        """
        A REQUEST from an agent.
        """
        for number in (0, 1, 2):
            self.violate(
                self.say(requestFrame(number, b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")),
                "REQUEST from an agent",
            )

    def test_dataBeforeResponse(self) -> None:
        """
        DATA before the RESPONSE, also after an interim one, and also if it is empty.
        """
        interim = frame(RESPONSE, 1, b"HTTP/1.1 103 Early\r\n\r\n")
        for data in (frame(DATA, 1, b"x"), frame(DATA, 1, b"x", LAST), frame(DATA, 1, b"", LAST)):
            self.violate(self.say(data), "before", "RESPONSE")
            self.violate(self.say(interim, data), "before", "RESPONSE")

    def test_endBeforeResponse(self) -> None:
        """
        The end of a response before its head.
        """
        for payload in (b"", b"X: 1\r\n"):
            self.violate(self.say(frame(END, 1, payload, LAST)), "before its head")

    def test_secondResponse(self) -> None:
        """
        A second final RESPONSE, or an interim one after the final one.
        """
        response = frame(RESPONSE, 1, OK)
        self.violate(self.say(response, response), "second final RESPONSE")
        self.violate(
            self.say(response, frame(RESPONSE, 1, b"HTTP/1.1 103 Early\r\n\r\n")), "RESPONSE"
        )

    def test_overrun(self) -> None:
        """
        More DATA than there is credit for, in one frame or many, for a client that reads and one that does not.
        """

        def send(raw: RawAgent) -> None:
            raw.say(frame(RESPONSE, 1, OK))
            raw.say(frame(DATA, 1, b"x" * (INITIAL + 1)))

        def sendInPieces(raw: RawAgent) -> None:
            raw.say(frame(RESPONSE, 1, OK))
            raw.session.streams[1].exchange.pauseAnswer()
            for _ in range(INITIAL // 1024):
                raw.say(frame(DATA, 1, b"x" * 1024))
            self.assertEqual(raw.peer.closes, [])
            raw.say(frame(DATA, 1, b"x"))

        def sendWhole(raw: RawAgent) -> None:
            raw.say(frame(RESPONSE, 1, OK), frame(DATA, 1, b"x" * (INITIAL + 1), LAST))

        for act in (send, sendInPieces, sendWhole):
            self.violate(act, "credit")

    def test_badNumbers(self) -> None:
        """
        A CREDIT or GOAWAY that is too short for its number.
        """
        for size in range(4):
            self.violate(self.say(frame(CREDIT, 1, b"\x00" * size)), "CREDIT")
            self.violate(self.say(frame(GOAWAY, 0, b"\x00" * size)), "GOAWAY")

    def test_frameTooLong(self) -> None:
        """
        A frame that is longer than what was allowed is refused by its header.
        """
        for kind in (RESPONSE, END, RESET, CREDIT, GOAWAY, HELLO, 77):
            start = message(header(1 << 20, 1, kind, 0), b"x" * 100, key=KEY)
            self.violate(start, "allowed")

    def test_messageInsideFrame(self) -> None:
        """
        A message that ends within a frame: its header, its payload, or that of DATA.
        """
        response = frame(RESPONSE, 1, OK)
        data = header(5, 1, DATA, 0) + b"abcd"
        for parts in ([response[:1]], [response[:9]], [response[:-1]], [response, data]):
            self.violate(self.say(*parts), "within a frame")

    def test_webSocket(self) -> None:
        """
        What breaks the WebSocket has the close code of that.
        """
        unmasked = message(frame(RESPONSE, 1, OK))
        masked = message(frame(RESPONSE, 1, OK), key=KEY)
        self.violate(unmasked, "mask")
        self.violate(b"\x81" + masked[1:], "text", code=1003)
        self.violate(b"\xc2" + masked[1:], "reserved")
        self.violate(b"\x83" + masked[1:], "opcode")
        self.violate(b"\x80" + masked[1:], "continuation")
        self.violate(control(PING, b"x"), "mask")
        self.violate(b"\x09\x80" + KEY, "fragmented")
        self.violate(control(CLOSE, b"\x00", KEY), "code")
        self.violate(control(CLOSE, b"\x03\xe8\xff", KEY), "UTF-8", code=1007)

    def test_inSingleBytes(self) -> None:
        """
        The same however it is cut.
        """

        def send(raw: RawAgent) -> None:
            for byte in message(frame(DATA, 1, b"x"), key=KEY):
                raw.session.bytesReceived(bytes([byte]))

        self.violate(send, "before", "RESPONSE")

    def test_unexpected(self) -> None:
        """
        What nobody expected closes that tunnel alone, and is logged with its traceback.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask(b"POST", framing=CHUNKED)

        def explode(head: ResponseHead) -> None:
            raise ZeroDivisionError

        client.inform = explode  # type: ignore[method-assign]
        with capturedLogs() as events:
            raw.say(frame(RESPONSE, 1, b"HTTP/1.1 103 Early\r\n\r\n"))
        self.assertEqual([code for code, _ in raw.peer.closes], [1011])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.shown(events)), 1)
        assert client.fault is not None
        self.assertEqual(self.proxy.left()[:2], (0, 1))
        self.assertTrue(self.other.session.isReady)

    def test_dataAfterEnd(self) -> None:
        """
        DATA after the end of an upgraded connection's direction reaches nobody.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask(fields=UPGRADE)
        raw.say(frame(RESPONSE, 1, SWITCH), frame(DATA, 1, b"abc", LAST))
        self.assertTrue(client.finished)
        raw.say(frame(DATA, 1, b"late"))
        raw.say(frame(END, 1, b""))
        self.flushLoggedErrors()
        self.assertEqual(client.violations, [])
        self.assertEqual(client.body, b"abc")

    def test_malformedTrailers(self) -> None:
        """
        Trailers that do not end with a line's end are not cut to fit, but refused.
        """
        for lines in (b"X: abc", b"X: abc\r", b"X: abc\n", b"x", b"\r\n", b"X: abc\r\n\r\n"):
            raw = RawAgent(self.proxy)
            self.proxy.mailbox.leave(self.other.session)
            client = self.proxy.ask()
            raw.say(frame(RESPONSE, 1, OK), frame(END, 1, lines, LAST))
            self.assertFalse(client.finished, (lines, client.trailers))
            raw.session.abort(GONE)

    def test_lastInterim(self) -> None:
        """
        An interim response that says that nothing follows is no end, and must not leave its client waiting.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask()
        raw.say(frame(RESPONSE, 1, b"HTTP/1.1 103 Early\r\n\r\n", LAST))
        self.assertTrue(client.over)

    # Of one stream alone.

    def test_badResponse(self) -> None:
        """
        A response that is none fails its exchange, and nothing else.
        """
        for payload in (
            b"",
            b"nonsense",
            OK[:-2],
            OK + b"x",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nBad Field\r\n\r\n",
            b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * 4096 + b"\r\n\r\n",
        ):
            raw = RawAgent(self.proxy)
            self.proxy.mailbox.leave(self.other.session)
            bad, good = self.proxy.ask(), self.proxy.ask()
            raw.say(frame(RESPONSE, 1, payload), frame(DATA, 1, b"x"), frame(END, 1))
            assert bad.fault is not None
            self.assertEqual(bad.fault.code, ORIGIN_BAD_RESPONSE)
            self.assertEqual(raw.peer.kinds(1), [REQUEST, RESET])
            raw.say(frame(RESPONSE, 2, OK, LAST))
            self.assertTrue(good.finished)
            self.assertEqual(raw.peer.closes, [])
            raw.session.abort(GONE)

    def test_wrongLength(self) -> None:
        """
        So does one that is not as long as it says, however that shows.
        """
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
        for frames in (
            [frame(RESPONSE, 1, head, LAST)],
            [frame(RESPONSE, 1, head), frame(DATA, 1, b"ab", LAST)],
            [frame(RESPONSE, 1, head), frame(DATA, 1, b"ab"), frame(END, 1)],
            [frame(RESPONSE, 1, head), frame(DATA, 1, b"ab"), frame(END, 1, b"X: 1\r\n")],
            [frame(RESPONSE, 1, head), frame(DATA, 1, b"abcd")],
            [frame(RESPONSE, 1, head), frame(DATA, 1, b"abcd", LAST)],
            [frame(RESPONSE, 1, b"HTTP/1.1 204 No\r\n\r\n"), frame(DATA, 1, b"a")],
        ):
            raw = RawAgent(self.proxy)
            self.proxy.mailbox.leave(self.other.session)
            client = self.proxy.ask()
            raw.say(*frames)
            assert client.fault is not None
            self.assertFalse(client.finished)
            self.assertEqual(raw.peer.closes, [])
            self.assertEqual(raw.session.streams, {})
            raw.session.abort(GONE)

    def test_late(self) -> None:
        """
        Frames of streams that are over are thrown away, all of them.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        done, gone = self.proxy.ask(), self.proxy.ask(b"POST", framing=CHUNKED)
        raw.say(frame(RESPONSE, 1, OK, LAST))
        gone.abort(GONE)
        for number in (1, 2):
            raw.say(
                frame(RESPONSE, number, OK),
                frame(RESPONSE, number, b"nonsense"),
                frame(DATA, number, b"x" * (INITIAL + 1)),
                frame(DATA, number, b"", LAST),
                frame(END, number, b"nonsense"),
                frame(CREDIT, number, b""),
                numberFrame(CREDIT, number, 5),
                frame(RESET, number, b"internal"),
            )
        self.assertEqual(raw.peer.closes, [])
        self.assertEqual((done.violations, gone.violations), ([], []))
        self.assertTrue(raw.session.isReady)

    def test_ignored(self) -> None:
        """
        Unknown types and flags are no fault, and not even those of the tunnel itself.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask()
        raw.say(
            frame(8, 0, b"x"),
            frame(255, 1, b"y" * 1000, 255),
            frame(99, 0xFFFFFFFF),
            frame(RESPONSE, 1, OK, 0xFE),
            frame(DATA, 1, b"abc", 0xFE),
            numberFrame(CREDIT, 1, 1)[:9] + b"\xff" + numberFrame(CREDIT, 1, 1)[10:],
            frame(99, 1, b"", LAST),
            frame(DATA, 1, b"def", 0xFF),
        )
        self.assertEqual((client.body, client.finished), (b"abcdef", True))
        self.assertEqual(raw.peer.closes, [])

    def test_resets(self) -> None:
        """
        A RESET of an agent says what happened, but only what an agent can know.
        """
        for payload, name in (
            (b"origin-refused nobody there", "origin-refused"),
            (b"origin-timeout", "origin-timeout"),
            (b"origin-bad-response \xff\xfe\n\n", "origin-bad-response"),
            (b"internal", "internal"),
            (b"unauthenticated", "agent-lost"),
            (b"no-such-code", "agent-lost"),
            (b"", "agent-lost"),
            (b"\xff" * 1000, "agent-lost"),
        ):
            raw = RawAgent(self.proxy)
            self.proxy.mailbox.leave(self.other.session)
            client = self.proxy.ask(b"POST", framing=CHUNKED)
            raw.say(frame(RESET, 1, payload))
            assert client.fault is not None
            self.assertEqual(client.fault.code.name, name)
            self.assertEqual(raw.peer.closes, [])
            self.assertEqual(raw.peer.kinds(), [REQUEST])  # a RESET is not answered
            raw.session.abort(GONE)

    def test_resetAfterHead(self) -> None:
        """
        After the head of a response it cuts it.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask()
        raw.say(frame(RESPONSE, 1, OK), frame(DATA, 1, b"abc"), frame(RESET, 1, b"internal"))
        assert client.fault is not None
        self.assertFalse(client.finished)
        self.assertEqual(client.body, b"abc")

    def test_replayedReset(self) -> None:
        """
        An agent that gives one and the same request up again and again gets it but a few times.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask()
        for _ in range(10):
            if client.over:
                break
            raw.say(frame(RESET, raw.session.last, b"internal"))
        assert client.fault is not None
        self.assertLessEqual(raw.session.last, 3)

    def test_credit(self) -> None:
        """
        An upload goes as far as the agent's credit, and on by what it adds, 0 and the most that there is included.
        """
        raw = RawAgent(self.proxy, frame(HELLO, 0, Hello(instance="raw", window=1024).encode()))
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask(b"POST", framing=CHUNKED)
        client.body_.write(b"x" * 5000)
        self.assertEqual(len(raw.hear().data(1)), 1024)
        raw.say(numberFrame(CREDIT, 1, 0))
        self.assertEqual(len(raw.hear().data(1)), 1024)
        raw.say(numberFrame(CREDIT, 1, 1))
        self.assertEqual(len(raw.hear().data(1)), 1025)
        raw.say(*[numberFrame(CREDIT, 1, 0x20000000)] * 3)
        self.assertEqual(len(raw.hear().data(1)), 5000)
        client.body_.write(b"x" * 5000)
        client.body_.finish()
        self.assertEqual(len(raw.hear().data(1)), 10000)
        self.assertTrue(all(each[3] or each[2] & LAST for each in raw.peer.frames))

    def test_creditInBytes(self) -> None:
        """
        Credit of one byte at a time is slow, but works.
        """
        raw = RawAgent(self.proxy, frame(HELLO, 0, Hello(instance="raw", window=1024).encode()))
        self.proxy.mailbox.leave(self.other.session)
        self.proxy.ask(b"POST", framing=CHUNKED, body=b"x" * 1500)
        for _ in range(476):
            raw.say(numberFrame(CREDIT, 1, 1))
        self.assertEqual(raw.hear().data(1), b"x" * 1500)
        self.assertEqual(raw.peer.frames[-1][2], LAST)
