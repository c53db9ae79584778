"""
Where a connection of the streaming server does not simply go on: early answers, C{Expect}, and upgrades.
"""

from __future__ import annotations

from invproxy.errors import CLIENT_GONE, ORIGIN_BAD_RESPONSE, Fault
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import ResponseHead
from invproxy.test.serving import (
    GET,
    Played,
    ServerTestCase,
    post,
    responses,
    statuses,
)

KIB = 1024
MIB = 1024 * KIB


class EarlyAnswerTests(ServerTestCase):
    """
    Answers that end before the request does.
    """

    def test_smallRest(self) -> None:
        """
        What is left of the request is read for nothing, and the connection goes on.
        """
        for framing in (6, CHUNKED):
            client, played = self.ask(post(framing) + (b"abc" if framing == 6 else b"3\r\nabc\r\n"))
            played.reply(b"early")
            self.network.pump()
            self.assertEqual(responses(client.take())[0].body, b"early")
            self.send(client, (b"def" if framing == 6 else b"3\r\ndef\r\n0\r\n\r\n") + GET)
            self.assertEqual((played.body, played.trailers, played.faults), (b"abc", [], []))
            self.origin.played[-1].reply(b"next")
            self.network.pump()
            self.assertEqual(responses(client.take())[0].body, b"next")

    def test_withinOpen(self) -> None:
        """
        An origin may answer as it is asked; the body that came along and the one to come are no requests.
        """
        self.origin.onOpen = lambda played: played.reply(b"early")
        client = self.connect(post(60) + GET[:20])
        self.send(client, GET + b"x" * (40 - len(GET)) + GET)
        self.assertEqual(statuses(client.take()), [200, 200])
        self.assertEqual(self.origin.played[0].body, b"")
        self.assertEqual(self.origin.played[1].trailers, [])  # it was not even looked at

    def test_withinWrite(self) -> None:
        """
        Or in the middle of the body, between two chunks.
        """
        self.origin.onOpen = lambda played: setattr(
            played, "onWrite", lambda data: played.reply(b"early")
        )
        client = self.connect(post(CHUNKED) + b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n" + GET)
        self.origin.onOpen = lambda played: None
        self.assertEqual(len(self.origin.played), 2)
        self.origin.played[1].reply()
        self.network.pump()
        self.assertEqual(statuses(client.take()), [200, 200])

    def test_manySmallRests(self) -> None:
        """
        Only the rest of one request counts, not of all that were on the connection.
        """
        self.origin.onOpen = lambda played: played.reply()
        client = self.connect()
        for _ in range(8):
            self.send(client, post(512 * KIB) + b"x" * 512 * KIB)
        self.assertEqual(statuses(client.take()), [200] * 8)

    def test_largeRest(self) -> None:
        """
        With more than that, or an endless body, the answer is not lost, and then the connection is closed: no more
        than a bound is read meanwhile.
        """
        for framing in (100 * MIB, CHUNKED):
            client, played = self.ask(post(framing))
            played.reply(b"early")
            piece = b"x" * MIB if framing > 0 else b"100000\r\n" + b"x" * MIB + b"\r\n"
            for _ in range(20):
                self.send(client, piece)
            self.assertEqual(responses(client.take())[0].body, b"early")
            self.assertTrue(client.ended)
            self.assertIsNone(client.closed)
            self.assertLess(client.link.fromClient, 4 * MIB)
            self.network.advance(3)
            self.assertIsNotNone(client.closed)
            self.assertGone()

    def test_answerNotTakenYet(self) -> None:
        """
        An answer that the client takes slowly is not cut off because it also sends too much.
        """
        client, played = self.ask(post(100 * MIB))
        client.stopReading()
        played.reply(b"y" * MIB)
        for _ in range(8):
            self.send(client, b"x" * MIB)
        self.network.advance(10)
        client.startReading()
        self.network.pump()
        self.assertEqual(len(responses(client.take())[0].body), MIB)
        self.assertTrue(client.ended)
        self.network.advance(3)
        self.assertGone()

    def test_slowRest(self) -> None:
        """
        The rest is not awaited for long.
        """
        client, played = self.ask(post(10))
        played.reply(b"early")
        self.network.advance(1)
        self.assertFalse(client.ended)
        self.network.advance(2)
        self.assertTrue(client.ended)
        self.send(client, b"0123456789" + GET)
        self.assertEqual(len(self.origin.played), 1)
        self.network.advance(3)
        self.assertGone()
        self.assertEqual(statuses(client.take()), [200])

    def test_clientEndsItsDirection(self) -> None:
        """
        A client that gives up sending still gets the whole of an answer that has ended.
        """
        client, played = self.ask(post(10) + b"01234")
        client.stopReading()
        played.reply(b"y" * MIB)
        client.closeWrite()
        self.network.pump()
        client.startReading()
        self.network.pump()
        self.assertEqual(len(responses(client.take())[0].body), MIB)
        self.assertClosed(client)

    def test_closingConnection(self) -> None:
        """
        If the connection ends with the answer, the end of writing shows at once, and what still comes is thrown away.
        """
        client, played = self.ask(post(1000, b"Connection: close"))
        played.reply(b"early")
        self.network.pump()
        self.assertEqual(responses(client.take())[0].body, b"early")
        self.assertTrue(client.ended)
        self.send(client, b"x" * 1000 + GET)
        self.assertEqual(len(self.origin.played), 1)
        client.close()
        self.network.pump()
        self.assertGone()

    def test_malformedRest(self) -> None:
        """
        A rest that breaks the protocol closes the connection without another answer.
        """
        client, played = self.ask(post(CHUNKED))
        played.reply(b"early")
        self.send(client, b"what?\r\n" + GET)
        self.assertEqual(statuses(client.take()), [200])
        self.assertTrue(client.ended)
        self.network.advance(3)
        self.assertGone()
        self.assertEqual(len(self.ended), 1)


class ExpectTests(ServerTestCase):
    """
    C{Expect: 100-continue} is decided by the origin.
    """

    def test_continued(self) -> None:
        """
        With leave, the body comes and the connection goes on.
        """
        client, played = self.ask(post(3, b"Expect: 100-continue"))
        self.assertEqual(client.take(), b"")
        played.answer.inform(ResponseHead(100, b" Continue"))
        self.network.pump()
        self.assertEqual(client.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.send(client, b"abc")
        played.reply()
        self.send(client, GET)
        self.assertEqual(len(self.origin.played), 2)
        (taker,) = responses(client.take())
        assert isinstance(taker.head, ResponseHead)
        self.assertTrue(taker.head.keepAlive)

    def test_refused(self) -> None:
        """
        Without leave nobody knows whether a body comes: the connection is closed, and a body is no request.
        """
        client, played = self.ask(post(len(GET), b"Expect: 100-continue"))
        played.reply(b"no")
        self.send(client, GET)
        (taker,) = responses(client.take())
        assert isinstance(taker.head, ResponseHead)
        self.assertFalse(taker.head.keepAlive)
        self.assertEqual(len(self.origin.played), 1)
        self.assertTrue(client.ended)
        self.network.advance(3)
        self.assertGone()

    def test_sentAnyway(self) -> None:
        """
        A body that was sent without waiting for leave is a body.
        """
        _, played = self.ask(post(3, b"Expect: 100-continue") + b"abc" + GET)
        self.assertEqual((played.body, played.trailers), (b"abc", [b""]))
        played.reply()
        self.assertEqual(len(self.origin.played), 2)

    def test_continuedThenEarly(self) -> None:
        """
        With leave given, an early answer leaves the connection open for the rest.
        """
        client, played = self.ask(post(3, b"Expect: 100-continue"))
        played.answer.inform(ResponseHead(100, b" Continue"))
        played.reply()
        self.send(client, b"abc" + GET)
        self.assertEqual(len(self.origin.played), 2)


class UpgradeTests(ServerTestCase):
    """
    After a 101, the connection carries raw bytes.
    """

    REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    SWITCHING = ResponseHead(101, b" Switching Protocols", upgrade=b"echo")

    def upgrade(self, early: bytes = b"") -> tuple[object, Played]:
        """
        Upgrade a connection.
        """
        client, played = self.ask(self.REQUEST + early)
        self.client = client
        played.answer.respond(self.SWITCHING)
        self.network.pump()
        self.assertEqual(
            client.take(),
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
        )
        return client, played

    def test_bothDirections(self) -> None:
        """
        Bytes go through as they are.
        """
        _, played = self.upgrade()
        self.assertEqual(played.trailers, [b""])
        for piece in (b"\0\r\n", GET, b"x" * MIB):
            self.send(self.client, piece)
            self.assertEqual(played.body, piece)
            played.body.clear()
            played.answer.write(piece)
            self.network.pump()
            self.assertEqual(self.client.take(), piece)
        self.assertEqual(len(self.origin.played), 1)

    def test_early(self) -> None:
        """
        Bytes that came with the request come first.
        """
        _, played = self.upgrade(b"early")
        self.send(self.client, b"late")
        self.assertEqual(played.body, b"earlylate")

    def test_earlyInOrder(self) -> None:
        """
        Even if others arrive before it was the turn of these, or the end does.
        """
        for end in (False, True):
            client, played = self.ask(self.REQUEST + b"early")
            channel = self.channel()
            played.answer.respond(self.SWITCHING)
            if end:
                channel.readConnectionLost()
                self.assertEqual((played.body, played.trailers), (b"early", [b"", b""]))
            else:
                channel.dataReceived(b"late")
                self.network.pump()
                self.assertEqual(played.body, b"earlylate")
            client.abort()
            self.network.pump()
            self.assertEqual(played.codes, [CLIENT_GONE])

    def test_earlyAndGone(self) -> None:
        """
        Early bytes of a client that has left go nowhere.
        """
        _, played = self.ask(self.REQUEST + b"early")
        played.answer.respond(self.SWITCHING)
        self.channel().abort()
        self.network.pump()
        self.assertEqual(played.codes, [CLIENT_GONE])

    def test_withinOpen(self) -> None:
        """
        The origin may switch within the call, and even end its direction there.
        """
        for ending in (False, True):

            def switch(played: Played, ending: bool = ending) -> None:
                played.answer.respond(self.SWITCHING)
                if ending:
                    played.answer.finish()

            self.origin.onOpen = switch
            client, played = self.ask(self.REQUEST + b"early")
            self.assertEqual(client.ended, ending)
            self.send(client, b"late")
            self.assertEqual(played.body, b"earlylate")
            client.close()
            self.network.pump()
            self.assertEqual(played.trailers, [b"", b""])
            self.assertEqual(played.faults, [])
            played.answer.finish()
            self.network.pump()
            self.assertGone()

    def test_manyEarly(self) -> None:
        """
        More early bytes than are read are all passed on.
        """
        client, played = self.ask(self.REQUEST + b"x" * MIB)
        self.assertLess(client.link.fromClient, 256 * KIB)
        played.answer.respond(self.SWITCHING)
        self.network.pump()
        self.assertEqual(played.body, b"x" * MIB)

    def test_refused(self) -> None:
        """
        With another answer, it was a request as any, and what came behind it is one, too.
        """
        client, played = self.ask(self.REQUEST + GET)
        played.reply(b"no")
        self.origin.played[1].reply()
        self.network.pump()
        self.assertEqual(statuses(client.take()), [200, 200])

    def test_clientEndsFirst(self) -> None:
        """
        The client ends its direction; the other goes on until it ends as well.
        """
        _, played = self.upgrade()
        self.client.closeWrite()
        self.network.pump()
        self.assertEqual(played.trailers, [b"", b""])
        played.answer.write(b"more")
        self.network.pump()
        self.assertEqual(self.client.take(), b"more")
        self.assertEqual(self.ended, [])
        played.answer.finish()
        self.network.pump()
        self.assertEqual(len(self.ended), 1)
        self.assertEqual(played.faults, [])
        self.assertClosed(self.client)

    def test_originEndsFirst(self) -> None:
        """
        The same the other way round.
        """
        _, played = self.upgrade()
        played.answer.write(b"bye")
        played.answer.finish()
        self.network.pump()
        self.assertEqual(self.client.take(), b"bye")
        self.assertTrue(self.client.ended)
        self.send(self.client, b"more")
        self.assertEqual(played.body, b"more")
        self.client.close()
        self.network.pump()
        self.assertEqual(played.trailers, [b"", b""])
        self.assertEqual(played.faults, [])
        self.assertGone()

    def test_originEndsWhileWritingIsPaused(self) -> None:
        """
        The end is not forgotten because the client was slow before it.
        """
        _, played = self.upgrade()
        self.client.stopReading()
        played.answer.write(b"x" * MIB)
        self.network.pump()
        self.assertTrue(played.held)
        played.answer.finish()
        self.network.pump()
        self.client.startReading()
        self.network.pump()
        self.assertEqual(len(self.client.take()), MIB)
        self.assertTrue(self.client.ended)

    def test_backPressure(self) -> None:
        """
        Each direction has its own, even when the other one has ended.
        """
        _, played = self.upgrade()
        self.client.closeWrite()
        self.client.stopReading()
        self.network.pump()
        played.answer.write(b"x" * MIB)
        self.network.pump()
        self.assertTrue(played.held)
        self.client.startReading()
        self.network.pump()
        self.assertFalse(played.held)

        _, played = self.upgrade()
        played.answer.finish()
        played.answer.pauseUpload()
        self.send(self.client, b"x" * MIB)
        self.assertLess(len(played.body), 128 * KIB)
        played.answer.resumeUpload()
        self.network.pump()
        self.assertEqual(len(played.body), MIB)

    def test_reset(self) -> None:
        """
        A client that breaks off aborts the exchange, once, whichever direction had ended before.
        """
        for first in ("client", "origin", None):
            _, played = self.upgrade()
            if first == "client":
                self.client.closeWrite()
            elif first == "origin":
                played.answer.finish()
            self.network.pump()
            self.client.abort()
            self.network.pump()
            if first == "client":
                # Nothing is read any more, so that only writing can tell.
                played.answer.write(b"x")
                self.network.pump()
            self.assertEqual(played.codes, [CLIENT_GONE])
            self.assertGone()
        self.assertEqual(len(self.ended), 3)

    def test_failed(self) -> None:
        """
        An origin that breaks off resets the connection, even if it had ended its direction before.
        """
        for finished in (False, True):
            _, played = self.upgrade()
            if finished:
                played.answer.finish()
                self.network.pump()
            played.answer.fail(Fault(ORIGIN_BAD_RESPONSE))
            self.network.pump()
            self.assertGone()
            self.send(self.client, b"x")
            self.assertIsNotNone(self.client.closed)
            self.assertEqual(played.faults, [])
        self.assertEqual(len(self.ended), 2)

    def test_noDeadline(self) -> None:
        """
        No clock of the server runs on an upgraded connection.
        """
        _, played = self.upgrade()
        self.network.advance(10000)
        self.send(self.client, b"x")
        self.assertEqual(played.body, b"x")
