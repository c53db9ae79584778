"""
The streaming client: requests to a server, and its responses.
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface.verify import verifyObject

from invproxy.errors import CLIENT_GONE, INTERNAL, ORIGIN_BAD_RESPONSE, Fault
from invproxy.http1.framing import CHUNKED
from invproxy.http1.limits import Limits
from invproxy.interfaces import IOrigin, IUpload
from invproxy.test.asking import KIB, MIB, OK, SWITCHING, UPGRADING, ClientTestCase, Served
from invproxy.test.helpers import RecordingAnswer, requestHead


class RequestTests(ClientTestCase):
    """
    Requests are written as they come.
    """

    def test_interfaces(self) -> None:
        """
        The interfaces are provided.
        """
        answer = self.ask()
        self.assertTrue(verifyObject(IOrigin, self.client))
        self.assertTrue(verifyObject(IUpload, answer.upload))

    def test_withoutBody(self) -> None:
        """
        Head and fields, and that is all.
        """
        self.ask(requestHead(b"REPORT", b"/a?b", [(b"X-Y", b"z"), (b"TE", b"trailers")]))
        self.assertEqual(
            self.server.all[0].take(),
            b"REPORT /a?b HTTP/1.1\r\nHost: example.com\r\nX-Y: z\r\n"
            b"Connection: TE\r\nTE: trailers\r\n\r\n",
        )

    def test_length(self) -> None:
        """
        A body of known length goes out piece by piece, after the head.
        """
        answer = self.ask(requestHead(b"POST", framing=6), end=False)
        self.assertEqual(
            self.server.all[0].take(),
            b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 6\r\n\r\n",
        )
        for piece in (b"abc", b"", b"def"):
            self.send(answer, piece)
            self.assertEqual(self.server.all[0].take(), piece)
        self.upload(answer).finish(b"\r\nX-Sum: 1")
        self.network.pump()
        self.assertEqual(self.server.all[0].take(), b"")
        self.serve(OK)
        self.assertOK(answer)

    def test_chunked(self) -> None:
        """
        One of unknown length in chunks, with trailers.
        """
        answer = self.ask(requestHead(b"POST", framing=CHUNKED), end=False)
        self.assertEqual(
            self.server.all[0].take(),
            b"POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        self.send(answer, b"")
        self.send(answer, b"x" * 20)
        self.assertEqual(self.server.all[0].take(), b"14\r\nxxxxxxxxxxxxxxxxxxxx\r\n")
        self.upload(answer).finish(b"\r\nX-Sum: 1")
        self.network.pump()
        self.assertEqual(self.server.all[0].take(), b"0\r\nX-Sum: 1\r\n\r\n")

    def test_wrongLength(self) -> None:
        """
        A body longer or shorter than its length never gets out as if it were right.
        """
        longer = self.ask(requestHead(b"POST", framing=3), b"ab", b"cd")
        shorter = self.ask(requestHead(b"POST", framing=3), b"ab")
        for answer in (longer, shorter):
            self.assertFailed(answer, INTERNAL)
            self.upload(answer).write(b"x")
            self.upload(answer).finish()
        self.network.pump()
        for served in self.server.all:
            self.assertTrue(served.over)
        self.assertEqual(self.client.connections, set())

    def test_beforeConnected(self) -> None:
        """
        What is sent before the connection stands comes after the head, in order.
        """
        self.network.ignore("127.0.0.1", 80)
        answer = self.ask(requestHead(b"POST", framing=CHUNKED), b"ab", b"c")
        self.assertFalse(answer.uploadHeld)
        self.network.accept("127.0.0.1", 80)
        self.network.pump()
        _, _, body = self.server.all[0].take().partition(b"\r\n\r\n")
        self.assertEqual(body, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")

    def test_muchBeforeConnected(self) -> None:
        """
        It is bounded, and asked for again once the connection stands; the upload does not hang.
        """
        for size in (64 * KIB, 65 * KIB, 300 * KIB):
            self.network.ignore("127.0.0.1", 80)
            answer = self.ask(requestHead(b"POST", framing=MIB), b"x" * 63 * KIB, end=False)
            self.assertFalse(answer.uploadHeld)
            self.send(answer, b"x" * (size - 63 * KIB))
            self.assertTrue(answer.uploadHeld)
            self.network.accept("127.0.0.1", 80)
            self.network.pump()
            self.assertFalse(answer.uploadHeld)
            self.send(answer, b"x" * (MIB - size))
            self.upload(answer).finish()
            self.network.pump()
            self.serve(OK)
            self.assertOK(answer)
            self.network.advance(2)

    def test_muchBeforeConnectedToSlowServer(self) -> None:
        """
        It is not asked for before the server has taken it.
        """
        self.network.ignore("127.0.0.1", 80)
        answer = self.ask(requestHead(b"POST", framing=MIB), b"x" * 300 * KIB, end=False)
        self.network.accept("127.0.0.1", 80)
        held: list[bool] = []
        self.patch(answer, "pauseUpload", lambda: held.append(True))
        self.patch(answer, "resumeUpload", lambda: held.append(False))
        connectionMade = Served.connectionMade

        def slow(served: Served) -> None:
            connectionMade(served)
            served.call("pauseProducing")

        self.patch(Served, "connectionMade", slow)
        self.network.pump()
        self.assertTrue(held[-1])
        self.server.all[0].call("resumeProducing")
        self.network.pump()
        self.assertFalse(held[-1])


class ResponseTests(ClientTestCase):
    """
    Responses are passed on as they come.
    """

    def test_streamed(self) -> None:
        """
        Head and pieces at once.
        """
        answer = self.ask()
        self.serve(b"HTTP/1.1 207 Many\r\nContent-Length: 4\r\n\r\n")
        assert answer.head is not None
        self.assertEqual((answer.head.status, answer.body, answer.finished), (207, b"", False))
        self.serve(b"ab")
        self.assertEqual((answer.body, answer.finished), (b"ab", False))
        self.serve(b"cd")
        self.assertEqual((answer.body, answer.finished), (b"abcd", True))

    def test_byteByByte(self) -> None:
        """
        However the bytes arrive, interim responses, chunks and trailers come out.
        """
        self.network.segment = 1
        answer = self.ask()
        self.serve(
            b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 100 \r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2;x=y\r\nab\r\n1\r\nc\r\n0\r\nX-Sum: 1\r\n\r\n"
        )
        self.assertEqual([head.status for head in answer.interim], [103, 100])
        self.assertEqual((answer.body, answer.trailers), (b"abc", b"\r\nX-Sum: 1"))
        self.assertEqual(len(self.client._kept), 1)

    def test_bodyless(self) -> None:
        """
        Answers to HEAD, and those with 204 or 304, end with their heads. The connection is kept but where a body was
        announced: a server that sends it all the same, and late, must not answer the next request with it.
        """
        for method, status in ((b"HEAD", 200), (b"GET", 204), (b"GET", 304)):
            for framing in (
                b"Content-Length: 9",
                b"Transfer-Encoding: chunked",
                b"Content-Length: 0",
                b"X: y",
            ):
                before = len(self.server.all)
                answer = self.ask(requestHead(method))
                self.serve(b"HTTP/1.1 %d X\r\n%b\r\n\r\n" % (status, framing))
                self.assertTrue(answer.finished)
                isKept = framing in (b"Content-Length: 0", b"X: y")
                self.assertEqual(len(self.client._kept), isKept, (method, status, framing))
                self.assertLessEqual(len(self.server.all), before + 1)

    def test_untilClose(self) -> None:
        """
        A body without any framing lasts until the server closes.
        """
        for close in ("loseConnection", "loseWriteConnection"):
            answer = self.ask()
            self.serve(b"HTTP/1.1 200 OK\r\n\r\nab")
            self.assertEqual((answer.body, answer.finished), (b"ab", False))
            served = self.serve(b"cd", close)
            self.assertEqual((answer.body, answer.finished), (b"abcd", True))
            self.assertTrue(served.over)
            self.assertEqual(self.client.connections, set())

    def test_untilReset(self) -> None:
        """
        A reset is not such an end.
        """
        answer = self.ask()
        self.serve(b"HTTP/1.1 200 OK\r\n\r\nab")
        self.serve(b"", "abortConnection")
        self.assertFailed(answer, ORIGIN_BAD_RESPONSE)

    def test_truncated(self) -> None:
        """
        A response that ends too early never looks whole, wherever it breaks.
        """
        whole = (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        )
        for response in whole:
            for close in ("loseConnection", "loseWriteConnection", "abortConnection"):
                for length in range(len(response)):
                    answer = self.ask()
                    self.serve(response[:length])
                    self.serve(b"", close)
                    self.assertFailed(answer, ORIGIN_BAD_RESPONSE)
                    self.assertEqual(self.client.connections, set())

    def test_malformed(self) -> None:
        """
        What is not HTTP fails the exchange, before its head and after it, and closes the connection.
        """
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for response in (
            b"what?\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nX: y\nZ: z\r\n\r\n",
            SWITCHING,
            b"HTTP/1.1 103 Early\r\n\r\nwhat?\r\n",
            head + b"what?\r\n",
            head + b"1\r\nxx\r\n",
            head + b"0\r\nContent-Length: 3\r\n\r\n",
        ):
            answer = self.ask()
            served = self.serve(response + OK)
            self.assertFailed(answer, ORIGIN_BAD_RESPONSE)
            self.assertEqual(answer.head is not None, response.startswith(head))
            self.assertTrue(served.over)
            self.assertEqual(self.client.connections, set())

    def test_limits(self) -> None:
        """
        Responses are bounded.
        """
        self.client = self.makeClient(limits=Limits(head=100))
        answer = self.ask()
        self.serve(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100)
        self.assertFailed(answer, ORIGIN_BAD_RESPONSE)


class EarlyResponseTests(ClientTestCase):
    """
    The server answers before it has the whole request.
    """

    def test_small(self) -> None:
        """
        The response is passed on, the rest of the request goes nowhere, and the connection is not kept.
        """
        answer = self.ask(requestHead(b"POST", framing=6), b"abc", end=False)
        served = self.serve(OK)
        self.assertOK(answer)
        self.send(answer, b"def")
        self.upload(answer).finish()
        self.network.pump()
        self.assertTrue(served.take().endswith(b"\r\n\r\nabc"))
        self.assertTrue(served.over)
        self.assertEqual(self.client.connections, set())

    def test_serverDoesNotRead(self) -> None:
        """
        Nor does the connection stay because the server takes no more of it.
        """
        answer = self.ask(requestHead(b"POST", framing=10 * MIB), end=False)
        self.server.all[0].call("pauseProducing")
        self.send(answer, b"x" * MIB)
        self.assertTrue(answer.uploadHeld)
        self.serve(OK)
        self.assertOK(answer)
        self.assertEqual(self.client.connections, set())
        (link,) = self.network.connections  # for the server, which does not read, it still stands
        self.assertTrue(link.client.closed)

    def test_andCloses(self) -> None:
        """
        A server that answers and closes at once, the request unread.
        """
        for close in ("loseConnection", "loseWriteConnection"):
            for header in (b"", b"Connection: close\r\n"):
                answer = self.ask(requestHead(b"POST", framing=MIB), b"abc", end=False)
                self.serve(b"HTTP/1.1 413 No\r\n%bContent-Length: 2\r\n\r\nok" % header, close)
                self.assertOK(answer)
                self.send(answer, b"x")
                self.assertEqual(self.client.connections, set())

    def test_wholeBodySent(self) -> None:
        """
        If all bytes of the body were sent, though not its end, the connection is kept.
        """
        answer = self.ask(requestHead(b"POST", framing=3), b"abc", end=False)
        self.serve(OK)
        self.assertOK(answer)
        self.upload(answer).finish()
        self.assertEqual(len(self.client._kept), 1)

    def test_chunksNotEnded(self) -> None:
        """
        Chunks without an end are not a whole request.
        """
        self.ask(requestHead(b"POST", framing=CHUNKED), b"abc", end=False)
        self.serve(OK)
        self.assertEqual(self.client.connections, set())

    def test_begunEarly(self) -> None:
        """
        A response that only begins before the request has ended ends as any.
        """
        answer = self.ask(requestHead(b"POST", framing=CHUNKED), b"abc", end=False)
        self.serve(OK[:-1])
        self.send(answer, b"def")
        self.upload(answer).finish()
        self.network.pump()
        self.serve(b"k")
        self.assertOK(answer)
        self.assertEqual(len(self.client._kept), 1)


class BackPressureTests(ClientTestCase):
    """
    Neither side gets more than it takes.
    """

    def test_serverStopsReading(self) -> None:
        """
        The asker is asked to hold the body back, and for more of it later.
        """
        answer = self.ask(requestHead(b"POST", framing=CHUNKED), end=False)
        served = self.server.all[0]
        served.call("pauseProducing")
        written = 0
        while not answer.uploadHeld and written < 10 * MIB:
            self.send(answer, b"x" * KIB)
            written += KIB
        self.assertLess(written, 256 * KIB)
        served.call("resumeProducing")
        self.network.pump()
        self.assertFalse(answer.uploadHeld)

    def test_answerHeldBack(self) -> None:
        """
        While the asker wants no more, the server is not read; then it is read on.
        """
        answer = self.ask()
        self.upload(answer).pauseAnswer()
        self.serve(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MIB + b"x" * MIB)
        self.assertEqual(len(answer.body), 0)
        self.upload(answer).resumeAnswer()
        self.network.pump()
        self.assertEqual(len(answer.body), MIB)
        self.assertTrue(answer.finished)

    def test_heldBackBeforeConnected(self) -> None:
        """
        It may want so before the connection stands.
        """
        self.network.ignore("127.0.0.1", 80)
        answer = self.ask()
        self.upload(answer).pauseAnswer()
        self.network.accept("127.0.0.1", 80)
        self.network.pump()
        self.serve(OK)
        self.assertIsNone(answer.head)
        self.upload(answer).resumeAnswer()
        self.network.pump()
        self.assertOK(answer)

    def test_heldBackPieceByPiece(self) -> None:
        """
        An asker that takes piece by piece gets the whole.
        """
        answer = self.ask()
        write = answer.write

        def take(data: bytes) -> None:
            write(data)
            self.upload(answer).pauseAnswer()

        self.patch(answer, "write", take)
        self.serve(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MIB + b"x" * MIB)
        rounds = 0
        while not answer.finished:
            rounds += 1
            self.upload(answer).resumeAnswer()
            self.network.pump()
        self.assertGreater(rounds, 10)
        self.assertEqual(len(answer.body), MIB)

    def test_heldBackOnKeptConnection(self) -> None:
        """
        A kept connection that still has much to write concerns the next request: it is not asked for its body yet.
        """
        answer = self.ask(requestHead(b"POST", framing=MIB), end=False)
        served = self.server.all[0]
        served.call("pauseProducing")
        self.send(answer, b"x" * MIB)
        self.upload(answer).finish()
        self.serve(OK)
        self.assertOK(answer)
        answer = self.ask(requestHead(b"POST", framing=3), end=False)
        self.assertTrue(answer.uploadHeld)
        served.call("resumeProducing")
        self.network.pump()
        self.assertFalse(answer.uploadHeld)
        self.assertEqual(len(self.server.all), 1)


class AbortTests(ClientTestCase):
    """
    The asker leaves.
    """

    def test_connecting(self) -> None:
        """
        While the connection is being made: the attempt is given up.
        """
        self.network.ignore("127.0.0.1", 80)
        answer = self.ask()
        answer.abort(Fault(CLIENT_GONE))
        self.network.accept("127.0.0.1", 80)
        self.network.pump()
        self.assertEqual(self.server.all, [])
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_atOnce(self) -> None:
        """
        In the same turn.
        """
        answer = RecordingAnswer()
        answer.ask(self.client, requestHead(), end=False)
        answer.abort(Fault(CLIENT_GONE))
        answer.abort(Fault(CLIENT_GONE))
        self.network.pump()
        self.assertEqual(self.client.connections, set())

    def test_sendingAndReceiving(self) -> None:
        """
        In the midst of the request or the response: the server sees a reset, and nothing is told any more.
        """
        for sent in (b"", b"HTTP/1.1 103 Early\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", OK[:-1]):
            for body in (0, 6):
                answer = self.ask(
                    requestHead(b"POST", framing=body), *[b"abc"] * (body > 0), end=not body
                )
                self.serve(sent)
                answer.abort(Fault(CLIENT_GONE))
                served = self.serve(OK)
                self.assertIsNotNone(served.closed)
                self.assertFalse(served.ended)
                self.assertEqual(self.client.connections, set())

    def test_whileServerDoesNotRead(self) -> None:
        """
        Also if much is still to be written.
        """
        answer = self.ask(requestHead(b"POST", framing=10 * MIB), end=False)
        self.server.all[0].call("pauseProducing")
        self.send(answer, b"x" * MIB)
        answer.abort(Fault(CLIENT_GONE))
        self.network.pump()
        self.assertEqual(self.client.connections, set())

    def test_fromWithin(self) -> None:
        """
        From within any call of the answer: there is no other call after it, though the bytes for some are here.
        """
        response = (
            b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 102 More\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
        )
        for name in ("inform", "respond", "write"):
            for data in (response, response[:-5], response + b"what?"):
                answer = self.ask()
                told = self.abortFrom(answer, name)
                served = self.serve(data)
                self.assertEqual(told.index(name), len(told) - 1)
                self.assertTrue(served.over)
                self.assertEqual(answer.violations, [])
                self.assertEqual(self.client.connections, set())

    def test_fromWithinEnd(self) -> None:
        """
        From within the end it is too late: the connection is kept.
        """
        for response in (OK, b"HTTP/1.1 204 No\r\n\r\n"):
            answer = self.ask()
            told = self.abortFrom(answer, "finish")
            self.serve(response)
            self.assertEqual(told[-1], "finish")
            self.assertEqual(len(self.client._kept), 1)

    def abortFrom(self, answer: RecordingAnswer, name: str) -> list[str]:
        """
        Make an answer abort its exchange in a call.

        @return: the calls, as they come.
        """
        told: list[str] = []

        def wrap(each: str, method: Callable[..., None]) -> Callable[..., None]:
            def call(*arguments: object) -> None:
                method(*arguments)
                told.append(each)
                if each == name:
                    self.upload(answer).abort(Fault(CLIENT_GONE))

            return call

        for each in ("inform", "respond", "write", "finish", "fail"):
            self.patch(answer, each, wrap(each, getattr(answer, each)))
        return told


class UpgradeTests(ClientTestCase):
    """
    After a 101, the connection carries raw bytes.
    """

    def upgrade(self, early: bytes = b"") -> RecordingAnswer:
        """
        Upgrade a connection.
        """
        answer = self.ask(requestHead(fields=UPGRADING))
        self.assertEqual(
            self.server.all[-1].take(),
            b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
        )
        self.serve(SWITCHING + early)
        assert answer.head is not None
        self.assertEqual((answer.head.status, answer.head.upgrade), (101, b"echo"))
        return answer

    def test_bothDirections(self) -> None:
        """
        Bytes go through as they are, and those that came with the 101 are not lost.
        """
        answer = self.upgrade(b"early")
        self.assertEqual(answer.body, b"early")
        for piece in (b"\0\r\n", OK, b"x" * MIB):
            answer.pieces.clear()
            self.serve(piece)
            self.assertEqual(answer.body, piece)
            self.send(answer, piece)
            self.assertEqual(self.server.all[-1].take(), piece)

    def test_refused(self) -> None:
        """
        Another answer is an answer, and the connection is kept.
        """
        answer = self.ask(requestHead(fields=UPGRADING))
        self.serve(OK)
        self.assertOK(answer)
        self.assertEqual(len(self.client._kept), 1)

    def test_askerEndsFirst(self) -> None:
        """
        The asker ends its direction; the other goes on until it ends as well.
        """
        answer = self.upgrade()
        self.send(answer, b"bye")
        self.upload(answer).finish()
        self.network.pump()
        served = self.server.all[0]
        self.assertEqual((served.take(), served.ended), (b"bye", True))
        self.serve(b"more")
        self.assertEqual((answer.body, answer.finished), (b"more", False))
        self.serve(b"", "loseConnection")
        self.assertTrue(answer.finished)
        self.assertEqual(self.client.connections, set())

    def test_serverEndsFirst(self) -> None:
        """
        The same the other way round.
        """
        answer = self.upgrade()
        served = self.serve(b"bye", "loseWriteConnection")
        self.assertEqual((answer.body, answer.finished), (b"bye", True))
        self.send(answer, b"more")
        self.assertEqual(served.take(), b"more")
        self.upload(answer).finish()
        self.network.pump()
        self.assertTrue(served.ended)
        self.assertEqual(self.client.connections, set())

    def test_askerEndsWhileServerIsSlow(self) -> None:
        """
        The end is not forgotten because the server was slow before it.
        """
        answer = self.upgrade()
        served = self.server.all[0]
        served.call("pauseProducing")
        self.send(answer, b"x" * MIB)
        self.assertTrue(answer.uploadHeld)
        self.upload(answer).finish()
        self.network.pump()
        served.call("resumeProducing")
        self.network.pump()
        self.assertEqual(len(served.take()), MIB)
        self.assertTrue(served.ended)

    def test_closedAtOnce(self) -> None:
        """
        The asker ends its direction before the server has even switched, or in the same turn.
        """
        answer = self.ask(requestHead(fields=UPGRADING))
        self.server.all[0].call("write", SWITCHING)
        self.network.pump()
        self.upload(answer).finish()
        self.serve(b"", "loseConnection")
        self.assertTrue(answer.finished)
        self.assertEqual(self.client.connections, set())

    def test_reset(self) -> None:
        """
        A server that breaks off fails the exchange.
        """
        answer = self.upgrade()
        self.serve(b"", "abortConnection")
        self.assertFailed(answer, ORIGIN_BAD_RESPONSE)

    def test_resetAfterEnd(self) -> None:
        """
        It may have ended its direction before that; the asker must hear of it, as what it sends goes nowhere.
        """
        answer = self.upgrade()
        faults: list[Fault] = []
        self.patch(answer, "fail", faults.append)
        self.serve(b"", "loseWriteConnection")
        self.assertTrue(answer.finished)
        self.server.all[0].call("abortConnection")
        self.network.pump()
        self.send(answer, b"x")
        self.send(answer, b"x")
        self.assertEqual([fault.code for fault in faults], [ORIGIN_BAD_RESPONSE])
        self.assertEqual(self.client.connections, set())

    def test_aborted(self) -> None:
        """
        The asker may break off, whichever direction has ended.
        """
        for first in ("asker", "server", None):
            answer = self.upgrade()
            if first == "asker":
                self.upload(answer).finish()
            elif first == "server":
                self.serve(b"", "loseWriteConnection")
            self.network.pump()
            answer.abort(Fault(CLIENT_GONE))
            self.network.pump()
            self.assertEqual(self.client.connections, set())
            self.server.all[-1].call("abortConnection")

    def test_backPressure(self) -> None:
        """
        Both directions have it.
        """
        answer = self.upgrade()
        self.upload(answer).pauseAnswer()
        self.serve(b"x" * MIB)
        self.assertEqual(answer.body, b"")
        self.server.all[0].call("pauseProducing")
        self.send(answer, b"x" * MIB)
        self.assertTrue(answer.uploadHeld)
        self.upload(answer).resumeAnswer()
        self.server.all[0].call("resumeProducing")
        self.network.pump()
        self.assertEqual(len(answer.body), MIB)
        self.assertFalse(answer.uploadHeld)
