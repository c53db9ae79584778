"""
The streaming HTTP client where one side is slower than the other, or wants no more.
"""

from __future__ import annotations

from collections.abc import Callable

from invproxy.errors import CLIENT_GONE, Fault
from invproxy.http1.framing import CHUNKED
from invproxy.test.asking import KIB, MIB, OK, ClientTestCase
from invproxy.test.helpers import RecordingAnswer, requestHead


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
        self.assertHeldBack(answer)

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
