"""
The connections of the streaming client: made, kept, found dead, and closed.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from invproxy.errors import CLIENT_GONE, ORIGIN_BAD_RESPONSE, ORIGIN_REFUSED, Fault
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.test.asking import GET, KIB, MIB, OK, UPGRADING, ClientTestCase
from invproxy.test.helpers import RecordingAnswer, requestHead


class RefusedTests(ClientTestCase):
    """
    The server cannot be reached.
    """

    def test_refused(self) -> None:
        """
        The exchange fails with its own code, whatever was sent already; the next one may succeed.
        """
        self.network.refuse("127.0.0.1", 80)
        for pieces in ((), (b"x" * 100 * KIB,)):
            answer = self.ask(requestHead(b"POST", framing=CHUNKED), *pieces, end=False)
            self.assertFailed(answer, ORIGIN_REFUSED)
            self.upload(answer).write(b"x")
            self.upload(answer).finish()
            self.upload(answer).abort(Fault(CLIENT_GONE))
        self.network.accept("127.0.0.1", 80)
        answer = self.ask()
        self.serve(OK)
        self.assertOK(answer)

    def test_noAnswer(self) -> None:
        """
        The endpoint bounds the attempt.
        """
        self.network.ignore("127.0.0.1", 80)
        answer = self.ask()
        self.network.advance(9)
        self.assertIsNone(answer.fault)
        self.network.advance(2)
        self.assertFailed(answer, ORIGIN_REFUSED)


class PoolTests(ClientTestCase):
    """
    Connections are kept, but not too long.
    """

    def test_reused(self) -> None:
        """
        One after the other goes over one connection, at the time 0 and later.
        """
        for _ in range(5):
            answer = self.ask()
            self.assertEqual(self.server.all[0].take(), GET)
            self.serve(OK)
            self.assertOK(answer)
            self.network.advance(0.1)
        self.assertEqual(len(self.server.all), 1)

    def test_lastFirst(self) -> None:
        """
        The one that was in use last is taken first.
        """
        answers = [self.ask() for _ in range(3)]
        self.assertEqual(len(self.client.connections), 3)
        for number in (2, 0, 1):
            self.serve(OK, connection=number)
        for answer in answers:
            self.assertOK(answer)
        for served in self.server.all:
            served.take()
        self.ask()
        self.assertEqual([bool(served.received) for served in self.server.all], [0, 1, 0])

    def test_nextOfTheEnd(self) -> None:
        """
        A request that comes of the end of a response, as the next of a pipeline, has its connection already.
        """
        answer = self.ask()
        following = RecordingAnswer()
        finish = answer.finish

        def next(trailers: bytes = b"") -> None:
            finish(trailers)
            following.ask(self.client, requestHead())

        self.patch(answer, "finish", next)
        self.serve(OK)
        self.serve(OK)
        self.assertOK(answer)
        self.assertOK(following)
        self.assertEqual(len(self.server.all), 1)

    def test_expired(self) -> None:
        """
        After its time, a connection is closed.
        """
        for start in (0, 0.13, 1.1, 1000.7):
            self.network.advance(start - self.network.seconds() % 1)
            first, second = self.ask(), self.ask()
            self.serve(OK, connection=-1)
            self.network.advance(0.7)
            self.serve(OK, connection=-2)
            self.network.advance(0.9)
            self.assertEqual(len(self.client.connections), 1)
            self.assertTrue(self.server.all[-1].over)
            self.network.advance(0.7)
            self.assertEqual(self.client.connections, set())
            self.assertEqual(self.network.getDelayedCalls(), [])
            self.assertOK(first)
            self.assertOK(second)

    def test_expiredNotTaken(self) -> None:
        """
        One whose time is over is not taken, even if it was not closed in time.
        """
        self.ask()
        self.serve(OK)
        self.network.rightNow += 2  # a busy reactor
        self.client.takeKept()
        self.network.pump()
        self.assertEqual(self.client.connections, set())

    def test_neverStuck(self) -> None:
        """
        No rounding keeps the clock from coming to an end.
        """
        for number in range(200):
            self.ask()
            self.serve(OK)
            self.network.advance(1.5 + number / 137)
        self.network.advance(1.5)
        self.assertEqual(self.client.connections, set())

    def test_closedByServer(self) -> None:
        """
        One that the server closes while it is idle is not used again.
        """
        for close in ("loseConnection", "loseWriteConnection", "abortConnection"):
            self.ask()
            self.serve(OK)
            served = self.serve(b"", close)
            self.assertTrue(served.over)
            self.assertEqual(self.client.connections, set())
            self.assertFalse(self.client._kept)

    def test_speaksUnasked(self) -> None:
        """
        One on which the server speaks without being asked is closed.
        """
        self.ask()
        self.serve(OK)
        served = self.serve(OK)
        self.assertTrue(served.over)
        self.assertEqual(self.client.connections, set())
        answer = self.ask()
        self.assertIsNone(answer.head)

    def test_surplus(self) -> None:
        """
        So is one with more behind the response, be it in the same piece: it is nobody's answer.
        """
        for method in (b"GET", b"HEAD"):
            response = OK if method == b"GET" else OK[:-2]
            answer = self.ask(requestHead(method))
            served = self.serve(response + OK)
            self.assertTrue(answer.finished)
            self.assertTrue(served.over)
            self.assertEqual(self.client.connections, set())

    def test_notKept(self) -> None:
        """
        Nor is one kept that the server said it would close, nor one of HTTP/1.0 that did not say otherwise.
        """
        for response in (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ):
            answer = self.ask()
            served = self.serve(response)
            self.assertOK(answer)
            self.assertTrue(served.over)
        answer = self.ask()
        self.serve(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
        self.assertOK(answer)
        self.assertEqual(len(self.client._kept), 1)

    def test_responseWithEnd(self) -> None:
        """
        A response and the end of the connection in one go.
        """
        answer = self.ask()
        self.serve(OK, "loseConnection")
        self.assertOK(answer)
        self.assertEqual(self.client.connections, set())

    def test_mostKept(self) -> None:
        """
        No more are kept than allowed; the oldest go.
        """
        self.client = self.makeClient(maxKept=2)
        for _ in range(5):
            self.ask()
        for number in range(5):
            self.serve(OK, connection=number)
        self.assertEqual(
            [served.over for served in self.server.all], [True, True, True, False, False]
        )

    def test_keptWhilePaused(self) -> None:
        """
        A connection whose response was held back is read again when it is kept, so that its end shows.
        """
        answer = self.ask()
        self.upload(answer).pauseAnswer()
        self.serve(OK)
        self.assertFalse(answer.finished)
        self.upload(answer).resumeAnswer()
        self.network.pump()
        self.assertOK(answer)

        answer = self.ask()

        def pause(head: ResponseHead) -> None:
            answer.head = head
            self.upload(answer).pauseAnswer()

        self.patch(answer, "respond", pause)
        self.serve(OK)
        self.assertOK(answer)
        self.serve(b"", "loseConnection")
        self.assertEqual(self.client.connections, set())

    def test_formerUpload(self) -> None:
        """
        What a former upload is told does not concern the connection that is used by another.
        """
        former = self.ask()
        self.serve(OK)
        answer = self.ask()
        self.assertEqual(len(self.server.all), 1)
        upload = self.upload(former)
        upload.pauseAnswer()
        upload.write(b"x")
        upload.finish()
        upload.abort(Fault(CLIENT_GONE))
        self.serve(OK)
        self.assertOK(answer)


class RetryTests(ClientTestCase):
    """
    A kept connection may turn out to be dead.
    """

    def onDeadConnection(
        self, head: RequestHead, *pieces: bytes, close: str = "abortConnection", sent: bytes = b""
    ) -> RecordingAnswer:
        """
        Send a request on a kept connection that the server closes at the same time.

        @param sent: what the server sends before that.
        """
        self.ask()
        served = self.serve(OK)
        served.take()
        answer = RecordingAnswer()
        self.answers.append(answer)
        served.call("write", sent)
        served.call(close)
        answer.ask(self.client, head, *pieces)
        self.network.pump()
        return answer

    def test_replayed(self) -> None:
        """
        An idempotent request without a body is sent once more, on a new connection.
        """
        for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS"):
            for close in ("abortConnection", "loseConnection", "loseWriteConnection"):
                answer = self.onDeadConnection(requestHead(method), close=close)
                self.assertIsNone(answer.fault)
                self.assertTrue(self.server.all[-1].take().startswith(method))
                self.serve(OK if method != b"HEAD" else OK[:-2])
                self.assertTrue(answer.finished)
                self.client.close()
                self.network.pump()

    def test_notReplayed(self) -> None:
        """
        Others are not: they may have been acted on.
        """
        upgrade = requestHead(fields=UPGRADING)
        for head, pieces in (
            (requestHead(b"POST"), []),
            (requestHead(b"POST", framing=3), [b"abc"]),
            (requestHead(b"PUT", framing=3), [b"abc"]),
            (requestHead(b"GET", framing=CHUNKED), [b"abc"]),
            (requestHead(b"UNKNOWN"), []),
            (upgrade, []),
        ):
            count = len(self.server.all)
            answer = self.onDeadConnection(head, *pieces)
            self.assertFailed(answer, ORIGIN_BAD_RESPONSE)
            self.assertEqual(len(self.server.all), count + 1)

    def test_notAfterAnyByte(self) -> None:
        """
        Nor is one of which any byte of a response has come, an interim one or half a status line.
        """
        for sent in (b"H", b"HTTP/1.1 103 Early\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r"):
            self.ask()
            self.serve(OK)
            answer = self.ask()
            self.serve(sent)
            self.serve(b"", "loseConnection")
            self.assertFailed(answer, ORIGIN_BAD_RESPONSE)

    def test_notOnNewConnection(self) -> None:
        """
        Nor on a connection that was not kept; and a second time not at all.
        """
        answer = self.ask()
        self.serve(b"", "loseConnection")
        self.assertFailed(answer, ORIGIN_BAD_RESPONSE)
        answer = self.onDeadConnection(requestHead())
        self.serve(b"", "loseConnection")
        self.assertFailed(answer, ORIGIN_BAD_RESPONSE)
        self.assertEqual(len(self.server.all), 3)

    def test_onlyDeadOnes(self) -> None:
        """
        With many dead connections, the second try is on a new one.
        """
        for _ in range(5):
            self.ask()
        for number in range(5):
            self.serve(OK, connection=number)
        for served in self.server.all:
            served.call("abortConnection")
        answer = RecordingAnswer()
        answer.ask(self.client, requestHead())
        self.network.pump()
        self.assertEqual(len(self.server.all), 6)
        self.serve(OK)
        self.assertOK(answer)

    def test_refused(self) -> None:
        """
        The second try may be refused.
        """
        self.network.refuse("127.0.0.1", 80)
        self.network.accept("127.0.0.1", 80)
        self.ask()
        served = self.serve(OK)
        self.network.refuse("127.0.0.1", 80)
        served.call("abortConnection")
        answer = RecordingAnswer()
        answer.ask(self.client, requestHead())
        self.network.pump()
        self.assertFailed(answer, ORIGIN_REFUSED)

    def test_abortedBetween(self) -> None:
        """
        The asker may leave during the second try.
        """
        self.ask()
        served = self.serve(OK)
        self.network.ignore("127.0.0.1", 80)
        served.call("abortConnection")
        answer = RecordingAnswer()
        answer.ask(self.client, requestHead())
        self.network.pump()
        answer.abort(Fault(CLIENT_GONE))
        self.network.pump()
        self.assertEqual(answer.violations, [])

    def test_heldBackMeanwhile(self) -> None:
        """
        That the asker wants the response held back is still so on the second try.
        """
        self.ask()
        served = self.serve(OK)
        served.call("abortConnection")
        answer = RecordingAnswer()
        answer.ask(self.client, requestHead())
        self.upload(answer).pauseAnswer()
        # It is not read, but may be found broken by other means.
        [kept] = self.client.connections
        kept.transport.connectionLost(Failure(ConnectionLost()))  # type: ignore[attr-defined]
        self.network.pump()
        self.assertHeldBack(answer)


class CloseTests(ClientTestCase):
    """
    The client is closed.
    """

    def test_all(self) -> None:
        """
        Kept connections, those in use and those that are about to close are gone.
        """
        for _ in range(3):
            self.ask()
        self.serve(OK, connection=0)
        self.server.all[1].call("pauseProducing")
        answer = self.ask(requestHead(b"POST", framing=MIB))
        self.send(answer, b"x" * MIB)
        self.client.close()
        self.network.pump()
        self.assertEqual(self.client.connections, set())
        self.assertEqual(self.network.getDelayedCalls(), [])
        for served in self.server.all:
            served.call("resumeProducing")
        self.network.pump()
        self.assertEqual(self.network.connections, [])

    def test_closingWithUnsentBytes(self) -> None:
        """
        One whose server has answered, and does not read the last bytes, is not waited for.
        """
        answer = self.ask(requestHead(b"POST", framing=MIB), end=False)
        self.server.all[0].call("pauseProducing")
        self.send(answer, b"x" * MIB)
        self.serve(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        self.assertOK(answer)
        self.network.pump()
        self.assertEqual(self.client.connections, set())
