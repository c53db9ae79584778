"""
One connection of the streaming server: requests, answers, and what flows between them.
"""

from __future__ import annotations

from invproxy.errors import CLIENT_GONE, INTERNAL, ORIGIN_BAD_RESPONSE, Fault
from invproxy.http1.fields import value
from invproxy.http1.framing import CHUNKED, UNTIL_CLOSE
from invproxy.http1.heads import ResponseHead, responseHead
from invproxy.test.serving import (
    GET,
    OPEN_ENDED,
    Played,
    ServerTestCase,
    ok,
    post,
    responses,
    statuses,
)

KIB = 1024
MIB = 1024 * KIB


class RequestTests(ServerTestCase):
    """
    Requests reach the origin as they come.
    """

    def test_withoutBody(self) -> None:
        """
        A request without a body is opened and ended at once.
        """
        _, played = self.ask(b"GET /a?b HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n")
        self.assertEqual((played.head.method, played.head.target), (b"GET", b"/a?b"))
        self.assertEqual(value(played.head.fields, b"x-y"), b"z")
        self.assertEqual((played.body, played.trailers), (b"", [b""]))

    def test_lengthBody(self) -> None:
        """
        The head is handed on before there is a body, and each piece as it comes.
        """
        client, played = self.ask(post(6))
        self.assertEqual((played.body, played.trailers), (b"", []))
        self.send(client, b"abc")
        self.assertEqual((played.body, played.trailers), (b"abc", []))
        self.send(client, b"def")
        self.assertEqual((played.body, played.trailers), (b"abcdef", [b""]))

    def test_chunkedBody(self) -> None:
        """
        The same for chunks, and at their end come the trailers.
        """
        client, played = self.ask(post(CHUNKED))
        self.send(client, b"3\r\nabc\r\n3\r")
        self.assertEqual(played.body, b"abc")
        self.send(client, b"\nde")
        self.assertEqual((played.body, played.trailers), (b"abcde", []))
        self.send(client, b"f\r\n0\r\nX-Sum: 1\r\n\r\n")
        self.assertEqual((played.body, played.trailers), (b"abcdef", [b"\r\nX-Sum: 1"]))

    def test_byteByByte(self) -> None:
        """
        Nothing depends on how the bytes arrive.
        """
        self.network.segment = 1
        self.origin.onOpen = lambda played: setattr(
            played, "onFinish", lambda: played.reply(bytes(played.body))
        )
        client = self.connect(
            post(3) + b"abc" + post(CHUNKED) + b"2\r\nde\r\n1\r\nf\r\n0\r\n\r\n" + GET
        )
        self.assertEqual([taker.body for taker in responses(client.take())], [b"abc", b"def", b""])

    def test_keptConnection(self) -> None:
        """
        One connection carries one request after the other.
        """
        client, played = self.ask()
        for number in range(3):
            played.reply(b"%d" % number)
            self.network.pump()
            self.assertEqual(responses(client.take())[0].body, b"%d" % number)
            self.send(client, GET)
            played = self.origin.played[-1]
        self.assertEqual(len(self.origin.played), 4)
        self.assertEqual(len(self.network.connections), 1)

    def test_pipelinedInOrder(self) -> None:
        """
        A request that was sent ahead is not opened before the answer to the one before it has ended.
        """
        client, first = self.ask(GET + post(3, target=b"/2") + b"abc" + GET)
        first.answer.respond(ok(2))
        first.answer.write(b"1")
        self.network.pump()
        self.assertEqual(len(self.origin.played), 1)
        first.answer.write(b"!")
        first.answer.finish()
        self.assertEqual(len(self.origin.played), 2)
        second = self.origin.played[1]
        self.assertEqual((second.head.target, second.body), (b"/2", b"abc"))
        second.reply(b"2")
        self.origin.played[2].reply(b"3")
        self.network.pump()
        self.assertEqual([taker.body for taker in responses(client.take())], [b"1!", b"2", b"3"])

    def test_thousandsPipelined(self) -> None:
        """
        Thousands of requests in one write are no recursion, neither when answered within the call nor later.
        """
        client = self.connect()
        for later in (False, True):
            waiting: list[Played] = []
            self.origin.onOpen = waiting.append if later else lambda played: played.reply(b"x")
            client.send(GET * 5000)
            self.network.pump()
            while waiting:
                waiting.pop().reply(b"x")
                self.network.pump()
            self.assertEqual(statuses(client.take()), [200] * 5000)

    def test_pipelinedAnsweredOnFinish(self) -> None:
        """
        The same for bodies whose ends bring the answers.
        """
        self.origin.onOpen = lambda played: setattr(played, "onFinish", played.reply)
        client = self.connect((post(1) + b"x" + post(CHUNKED) + b"1\r\nx\r\n0\r\n\r\n") * 1000)
        self.assertEqual(statuses(client.take()), [200] * 2000)
        self.assertEqual({bytes(played.body) for played in self.origin.played}, {b"x"})

    def test_floodBehindRequest(self) -> None:
        """
        What is pipelined behind a request that waits is bounded; it is read on after the answer.
        """
        client = self.connect(GET * 20000)
        self.assertEqual(len(self.origin.played), 1)
        self.assertLess(client.link.fromClient, 256 * KIB)
        self.origin.onOpen = lambda played: played.reply()
        self.origin.played[0].reply()
        self.network.pump()
        self.assertEqual(len(self.origin.played), 20000)
        self.assertEqual(statuses(client.take()), [200] * 20000)

    def test_floodOfRequestsNotRead(self) -> None:
        """
        A client that asks and asks and reads no answer gets no more of them, and is not read any more; nor when each
        request comes by itself.
        """
        self.origin.onOpen = lambda played: played.reply(b"x" * KIB)
        client = self.connect()
        client.stopReading()
        client.send(GET * 10_000)
        self.network.pump()
        self.assertLess(len(self.origin.played), 500)
        self.assertLess(client.link.fromClient, 256 * KIB)
        client.startReading()
        self.network.pump()
        self.assertEqual(len(self.origin.played), 10_000)
        self.assertEqual(len(responses(client.take())), 10_000)

    def test_askingOneByOneWithoutReading(self) -> None:
        """
        The same when each request comes by itself.
        """
        self.origin.onOpen = lambda played: played.reply(b"x" * 10 * KIB)
        client = self.connect()
        client.stopReading()
        for _ in range(1000):
            self.send(client, GET)
        self.assertLess(len(self.origin.played), 40)
        client.startReading()
        self.network.pump()
        self.assertEqual(len(responses(client.take())), 1000)

    def test_emptyLineBetween(self) -> None:
        """
        An empty line before a request is let pass (RFC 9112, section 2.2).
        """
        self.origin.onOpen = lambda played: played.reply()
        client = self.connect(b"\r\n" + GET + b"\r\n" + GET)
        self.assertEqual(statuses(client.take()), [200, 200])


class AnswerTests(ServerTestCase):
    """
    Answers are framed for the client, and written as they come.
    """

    def test_length(self) -> None:
        """
        An answer of known length goes out as it is, piece by piece.
        """
        client, played = self.ask()
        played.answer.respond(responseHead(207, b"Many", b"\r\nDate: x\r\nX-Y: z", length=4))
        self.network.pump()
        self.assertEqual(
            client.take(), b"HTTP/1.1 207 Many\r\nDate: x\r\nX-Y: z\r\nContent-Length: 4\r\n\r\n"
        )
        for letter in (b"a", b"b", b"", b"c", b"d"):
            played.answer.write(letter)
            self.network.pump()
            self.assertEqual(client.take(), letter)
        self.assertEqual(self.ended, [])
        played.answer.finish(b"\r\nX-Sum: 1")
        self.network.pump()
        self.assertEqual(client.take(), b"")
        self.assertEqual([(s.status, s.sent, s.error) for s in self.ended], [(207, 4, None)])

    def test_chunked(self) -> None:
        """
        One of unknown length goes out in chunks, with trailers.
        """
        for framing in (CHUNKED, UNTIL_CLOSE):
            client, played = self.ask()
            played.answer.respond(ResponseHead(200, b" OK", b"\r\nDate: x", framing))
            played.answer.write(b"")
            played.answer.write(b"x" * 20)
            self.network.pump()
            self.assertEqual(
                client.take(),
                b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"14\r\nxxxxxxxxxxxxxxxxxxxx\r\n",
            )
            played.answer.finish(b"\r\nX-Sum: 1")
            self.network.pump()
            self.assertEqual(client.take(), b"0\r\nX-Sum: 1\r\n\r\n")
            self.send(client, GET)
            self.origin.played[-1].reply()
            self.network.pump()
            self.assertEqual(statuses(client.take()), [200])

    def test_date(self) -> None:
        """
        A Date is added where there is none.
        """
        client, played = self.ask()
        played.reply()
        self.network.advance(86400)
        date = value(responses(client.take())[0].head.fields, b"date")  # type: ignore[union-attr]
        self.assertEqual(date, b"Thu, 01 Jan 1970 00:00:00 GMT")

    def test_http10(self) -> None:
        """
        A client of HTTP/1.0 gets no chunks and no trailers: the end of the connection is the end of the body.
        """
        client, played = self.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + GET)
        played.answer.inform(ResponseHead(103))
        played.answer.respond(ResponseHead(200, b" OK", b"\r\nDate: x", CHUNKED))
        played.answer.write(b"abc")
        self.network.pump()
        self.assertEqual(
            client.take(), b"HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\n\r\nabc"
        )
        played.answer.finish(b"\r\nX-Sum: 1")
        self.network.pump()
        self.assertEqual(client.take(), b"")
        self.assertClosed(client)
        self.assertEqual(len(self.origin.played), 1)

    def test_http10Truncated(self) -> None:
        """
        For such a client, a response that breaks is a reset, or it would look whole.
        """
        client, played = self.ask(b"GET / HTTP/1.0\r\n\r\n")
        played.answer.respond(OPEN_ENDED)
        played.answer.write(b"abc")
        self.network.pump()
        played.answer.fail(Fault(ORIGIN_BAD_RESPONSE))
        self.network.pump()
        self.assertFalse(client.ended)
        self.assertIsNotNone(client.closed)
        self.assertGone()

    def test_bodyless(self) -> None:
        """
        Answers to HEAD, and those with 204 or 304, have no body, whatever the origin says; the connection goes on.
        """
        for method, status, head in (
            (b"HEAD", 200, ok(1000)),
            (b"HEAD", 200, OPEN_ENDED),
            (b"GET", 304, ResponseHead(304, b" Not Modified", b"\r\nContent-Length: 9")),
            (b"GET", 204, ResponseHead(204, b" No Content")),
            (b"GET", 204, responseHead(204, b"No Content")),
        ):
            client, played = self.ask(GET.replace(b"GET", method) + GET)
            played.answer.respond(head)
            played.answer.write(b"never seen")
            played.answer.finish(b"\r\nX: y")
            self.origin.played[-1].reply(b"x")
            self.network.pump()
            answers = responses(client.take(), method)
            self.assertEqual([taker.body for taker in answers], [b"", b"x"])
            assert isinstance(answers[0].head, ResponseHead)
            self.assertEqual(answers[0].head.status, status)

    def test_interim(self) -> None:
        """
        Interim responses go out at once; there are none after the final one.
        """
        client, played = self.ask()
        played.answer.inform(ResponseHead(103, b" Early Hints", b"\r\nLink: </a>"))
        self.network.pump()
        self.assertEqual(client.take(), b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        played.answer.inform(ResponseHead(102, b" Processing"))
        played.answer.respond(ok(1))
        played.answer.inform(ResponseHead(103, b" Early Hints"))
        played.answer.write(b"x")
        played.answer.inform(ResponseHead(103, b" Early Hints"))
        played.answer.finish()
        played.answer.inform(ResponseHead(103, b" Early Hints"))
        self.network.pump()
        (taker,) = responses(client.take())
        self.assertEqual([head.status for head in taker.interim], [102])

    def test_tooLong(self) -> None:
        """
        An answer that is longer than its length is cut, and nothing of the surplus is seen.
        """
        for piece in (b"abcd", b"ab"):
            client, played = self.ask()
            played.answer.respond(ok(3))
            played.answer.write(b"ab")
            self.network.pump()
            played.answer.write(piece)
            played.answer.write(b"more")
            played.answer.finish()
            self.network.pump()
            self.assertTrue(client.take().endswith(b"\r\n\r\nab"))
            self.assertIsNotNone(client.closed)
            self.assertFalse(client.ended)
            self.assertEqual([stream.error for stream in self.ended], [INTERNAL])
            self.ended.clear()
            self.assertGone()

    def test_tooShort(self) -> None:
        """
        One that is shorter is cut.
        """
        client, played = self.ask()
        played.answer.respond(ok(3))
        played.answer.write(b"ab")
        self.network.pump()
        played.answer.finish()
        self.network.pump()
        self.assertFalse(client.ended)
        self.assertIsNotNone(client.closed)
        self.assertEqual([stream.error for stream in self.ended], [INTERNAL])

    def test_headNeverCame(self) -> None:
        """
        A body without a head, or an end without one, never gets out as if it were the answer.
        """
        client, played = self.ask()
        played.answer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        played.answer.finish()
        self.network.pump()
        self.assertEqual(statuses(client.take()), [500])

    def test_switchingUnasked(self) -> None:
        """
        Nor does a 101 to a request that asked for no upgrade.
        """
        client, played = self.ask(post(3))
        played.answer.respond(ResponseHead(101, upgrade=b"x"))
        played.answer.write(b"raw")
        self.network.pump()
        self.assertEqual(statuses(client.take()), [500])

    def test_connectionClose(self) -> None:
        """
        A client that wants no further answer on its connection gets none, though it asks.
        """
        closing = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        for later in (False, True):
            if not later:
                self.origin.onOpen = lambda played: played.reply(b"x")
            else:
                self.origin.onOpen = lambda played: None
            count = len(self.origin.played)
            client = self.connect(closing + GET + GET)
            if later:
                self.origin.played[-1].reply(b"x")
                self.network.pump()
            (taker,) = responses(client.take())
            assert isinstance(taker.head, ResponseHead)
            self.assertFalse(taker.head.keepAlive)
            self.assertEqual(len(self.origin.played), count + 1)
            self.send(client, GET * 10)
            self.assertEqual(len(self.origin.played), count + 1)
            self.assertTrue(client.ended)
            self.assertClosed(client)

    def test_afterTheEnd(self) -> None:
        """
        What an answerer says after the end is ignored: it must not get into the next answer.
        """
        for finished in (True, False):
            client, played = self.ask()
            if finished:
                played.reply(b"x")
            else:
                played.answer.fail(Fault(INTERNAL))
            self.send(client, post(3))
            answer = played.answer
            answer.inform(ResponseHead(103))
            answer.respond(ok(0))
            answer.write(b"x")
            answer.finish()
            answer.fail(Fault(INTERNAL))
            answer.pauseUpload()
            self.network.pump()
            self.send(client, b"abc")
            self.assertEqual(self.origin.played[-1].body, b"abc")
            answer.resumeUpload()
            self.origin.played[-1].reply(b"y")
            self.network.pump()
            self.assertEqual(statuses(client.take()), [200 if finished else 500, 200])

    def test_failedBeforeHead(self) -> None:
        """
        A failure before the response is an answer that says so, and the connection goes on.
        """
        client, played = self.ask(
            b"GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n" + GET
        )
        played.answer.identify("abc", "me@example.com")
        played.answer.fail(Fault(ORIGIN_BAD_RESPONSE))
        self.origin.played[-1].reply()
        self.network.pump()
        first, second = responses(client.take())
        assert isinstance(first.head, ResponseHead)
        self.assertEqual(first.head.status, 502)
        self.assertIn(b'"abc"', first.body)
        self.assertEqual(
            value(first.head.fields, b"x-inverting-proxy-error"), b"origin-bad-response"
        )
        self.assertEqual(second.body, b"")
        stream = self.ended[0]
        self.assertEqual(
            (stream.error, stream.requestID, stream.endUser),
            (ORIGIN_BAD_RESPONSE, "abc", "me@example.com"),
        )
        self.assertEqual(len(self.ended), 2)

    def test_failedAfterHead(self) -> None:
        """
        One after its head cuts it, in chunks as well.
        """
        client, played = self.ask(GET + GET)
        played.answer.respond(OPEN_ENDED)
        played.answer.write(b"abc")
        self.network.pump()
        played.answer.fail(Fault(ORIGIN_BAD_RESPONSE))
        self.network.pump()
        self.assertFalse(client.take().endswith(b"0\r\n\r\n"))
        self.assertIsNotNone(client.closed)
        self.assertEqual(len(self.origin.played), 1)
        self.assertEqual([stream.error for stream in self.ended], [ORIGIN_BAD_RESPONSE])
        self.assertEqual(played.faults, [])


class BackPressureTests(ServerTestCase):
    """
    Neither side gets more than it takes.
    """

    def test_clientStopsReading(self) -> None:
        """
        The origin is asked to hold the answer back while the client does not read, and to go on when it does.
        """
        client, played = self.ask()
        client.stopReading()
        played.answer.respond(OPEN_ENDED)
        written = 0
        while not played.held and written < 10 * MIB:
            played.answer.write(b"x" * KIB)
            written += KIB
            self.network.pump()
        self.assertLess(written, 256 * KIB)
        client.startReading()
        self.network.pump()
        self.assertFalse(played.held)
        played.answer.finish()
        self.network.pump()
        self.assertEqual(len(responses(client.take())[0].body), written)

    def test_pausedBeforeOpened(self) -> None:
        """
        A request that comes while the answer before it is not taken yet waits for that.
        """
        client, first = self.ask()
        client.stopReading()
        first.reply(b"x" * MIB)
        self.network.pump()
        self.send(client, GET)
        self.assertEqual(len(self.origin.played), 1)
        client.startReading()
        self.network.pump()
        self.assertEqual(len(self.origin.played), 2)
        self.assertFalse(self.origin.played[1].held)

    def test_uploadPaused(self) -> None:
        """
        While the origin takes no more of the body, the client is not read; then it is read on.
        """
        client, played = self.ask(post(10 * MIB))
        played.answer.pauseUpload()
        played.answer.pauseUpload()
        self.send(client, b"x" * 10 * MIB)
        self.assertLess(len(played.body), 128 * KIB)
        self.assertLess(client.link.fromClient, 128 * KIB)
        played.answer.resumeUpload()
        self.network.pump()
        self.assertEqual(len(played.body), 10 * MIB)
        self.assertEqual(played.trailers, [b""])

    def test_uploadPausedFromWithinWrite(self) -> None:
        """
        An origin that takes piece by piece gets the whole.
        """
        client, played = self.ask(post(CHUNKED))
        played.onWrite = lambda data: played.answer.pauseUpload()
        self.send(client, (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 20 + b"0\r\n\r\n")
        rounds = 0
        while not played.trailers:
            rounds += 1
            played.answer.resumeUpload()
            self.network.pump()
        self.assertGreater(rounds, 10)
        self.assertEqual(len(played.body), 20 * 65536)

    def test_leavesWhileUploadPaused(self) -> None:
        """
        Once the whole request is here, it shows that the client leaves, although the origin has not taken all yet.
        """
        client, played = self.ask(post(3))
        played.onWrite = lambda data: played.answer.pauseUpload()
        self.send(client, b"abc")
        client.close()
        self.network.pump()
        self.assertEqual(played.codes, [CLIENT_GONE])
        self.assertGone()

    def test_pauseEndsWithRequest(self) -> None:
        """
        That the origin held one request back does not concern the next.
        """
        client, played = self.ask(post(3) + b"ab")
        played.answer.pauseUpload()
        played.reply()
        self.send(client, b"c" + post(3) + b"def")
        self.assertEqual(self.origin.played[1].body, b"def")

    def test_answerFlowsWhileUploadPaused(self) -> None:
        """
        The two directions do not depend on each other.
        """
        client, played = self.ask(post(MIB) + b"x" * MIB)
        played.answer.pauseUpload()
        self.network.pump()
        played.answer.respond(OPEN_ENDED)
        for _ in range(64):
            played.answer.write(b"y" * 16 * KIB)
            self.network.pump()
        played.answer.resumeUpload()
        self.network.pump()
        played.answer.finish()
        self.network.pump()
        self.assertEqual(responses(client.take())[0].body, b"y" * MIB)
        self.assertEqual(len(played.body), MIB)

    def test_bothHeld(self) -> None:
        """
        A client that sends and does not read: the origin that echoes is held, and holds the client.
        """
        client, played = self.ask(post(4 * MIB))
        client.stopReading()
        played.answer.respond(ok(4 * MIB))

        def echo(data: bytes) -> None:
            played.answer.write(data)
            if played.held:
                played.answer.pauseUpload()

        played.onWrite = echo
        self.send(client, b"x" * 4 * MIB)
        self.assertLess(len(played.body), 512 * KIB)
        client.startReading()
        while len(played.body) < 4 * MIB:
            before = len(played.body)
            played.answer.resumeUpload()
            self.network.pump()
            self.assertGreater(len(played.body), before)
        played.answer.finish()
        self.network.pump()
        self.assertEqual(responses(client.take())[0].body, b"x" * 4 * MIB)
