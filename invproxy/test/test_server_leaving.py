"""
Who leaves: clients in the midst of something, and those that took too long.
"""

from __future__ import annotations

from invproxy.errors import (
    CLIENT_GONE,
    HEAD_TIMEOUT,
    INTERNAL,
    Fault,
)
from invproxy.http1.heads import ResponseHead
from invproxy.test.serving import (
    GET,
    OPEN_ENDED,
    PORT,
    SWITCHING,
    UPGRADE,
    Played,
    ServerTestCase,
    ok,
    post,
    statuses,
)
from invproxy.testing.client import MemoryClient


class DeadlineTests(ServerTestCase):
    """
    Nobody waits for ever.
    """

    def setUp(self) -> None:
        super().setUp()
        self.serve(PORT + 1, headTimeout=30.0, idleTimeout=100.0)

    def test_firstByte(self) -> None:
        """
        A client that asks nothing is closed without a word.
        """
        client = self.connect(port=PORT + 1)
        self.network.advance(29)
        self.assertFalse(client.ended)
        self.network.advance(2)
        self.assertEqual(client.take(), b"")
        self.assertClosed(client)

    def test_slowHead(self) -> None:
        """
        One whose head takes too long hears of it, however diligently it sends.
        """
        client = self.connect(GET[:5], PORT + 1)
        for _ in range(15):
            self.network.advance(1.9)
            self.send(client, b"a")
        self.assertFalse(client.ended)
        self.network.advance(2)
        self.assertEqual(statuses(client.take()), [408])
        self.assertEqual([stream.error for stream in self.ended], [HEAD_TIMEOUT])
        self.assertClosed(client)

    def test_slowBeginning(self) -> None:
        """
        The time of the head begins with its first byte.
        """
        client = self.connect(port=PORT + 1)
        self.network.advance(20)
        self.send(client, GET[:5])
        self.network.advance(20)
        self.send(client, GET[5:])
        self.assertEqual(len(self.origin.played), 1)

    def test_keptConnection(self) -> None:
        """
        A kept connection has longer until its next request, but no longer for its head.
        """
        client, played = self.ask(GET, PORT + 1)
        played.reply()
        self.network.advance(95)
        self.assertFalse(client.ended)
        self.send(client, GET[:5])
        self.network.advance(29)
        self.assertFalse(client.ended)
        self.network.advance(2)
        self.assertEqual(statuses(client.take()), [200, 408])

    def test_idle(self) -> None:
        """
        It is closed when none comes, without a word.
        """
        client, played = self.ask(GET, PORT + 1)
        self.network.advance(50)
        played.reply()
        self.network.advance(99)
        self.assertFalse(client.ended)
        self.network.advance(2)
        self.assertEqual(statuses(client.take()), [200])
        self.assertClosed(client)

    def test_halfHeadBehindRequest(self) -> None:
        """
        Half a head that came along with the request before it has the time of a head, from its turn on.
        """
        for later in (0, 50):
            client, played = self.ask(GET + GET[:5], PORT + 1)
            self.network.advance(later)
            played.reply()
            self.network.advance(29)
            self.assertFalse(client.ended)
            self.network.advance(2)
            self.assertEqual(statuses(client.take()), [200, 408])
            self.assertClosed(client)

    def test_halfHeadInSameCall(self) -> None:
        """
        The same where the first was answered within the call that brought both, in pieces.
        """
        self.origin.onOpen = lambda played: played.reply()
        client = self.connect(GET[:5], PORT + 1)
        self.network.advance(20)
        self.send(client, GET[5:] + GET[:5])
        self.network.advance(29)
        self.assertFalse(client.ended)
        self.network.advance(2)
        self.assertEqual(statuses(client.take()), [200, 408])

    def test_whileAnswering(self) -> None:
        """
        The exchange has clocks of its own.
        """
        client, played = self.ask(post(3) + b"ab", PORT + 1)
        self.network.advance(1000)
        self.send(client, b"c")
        played.reply()
        self.network.advance(1)
        self.assertEqual(statuses(client.take()), [200])

    def test_never(self) -> None:
        """
        With 0, there are no clocks.
        """
        self.serve(PORT + 2, headTimeout=0, idleTimeout=0)
        client = self.connect(port=PORT + 2)
        self.network.advance(10000)
        self.send(client, GET[:5])
        self.network.advance(10000)
        self.send(client, GET[5:])
        self.origin.played[0].reply()
        self.network.advance(10000)
        self.send(client, GET)
        self.assertEqual(len(self.origin.played), 2)

    def test_closingNotTaken(self) -> None:
        """
        A client that does not take the end of its last answer is cut off, in the end.
        """
        for fields in ((), (b"Connection: close",)):
            client, played = self.ask(post(0, *fields), PORT + 1)
            client.stopReading()
            played.reply(b"x" * 1024 * 1024)
            self.network.advance(99)
            self.assertEqual(self.site.clients, 1)
            self.network.advance(120)
            self.assertGone()
            client.abort()

    def test_notKept(self) -> None:
        """
        The deadlines do not hold on to connections that are gone.
        """
        client, played = self.ask(GET, PORT + 1)
        played.reply()
        client.close()
        self.network.pump()
        self.assertGone()
        self.assertEqual(self.site.deadlines._watched, {})


class LeavingTests(ServerTestCase):
    """
    Clients leave at any moment.
    """

    def leaving(self) -> list[tuple[MemoryClient, Played | None, bool]]:
        """
        Bring one client after the other to a moment at which it may leave.

        @return: clients, their exchanges, and whether the origin still works on them.
        """
        moments: list[tuple[MemoryClient, Played | None, bool]] = []
        for data in (b"", GET[:5]):
            moments.append((self.connect(data), None, False))
        for data in (GET, GET + GET, GET + GET[:5], post(6), post(6) + b"abc", post(3) + b"abc"):
            moments.append((*self.ask(data), True))
            client, played = self.ask(data)
            played.answer.inform(ResponseHead(103))
            moments.append((client, played, True))
            for written in (b"", b"x"):
                client, played = self.ask(data)
                played.answer.respond(OPEN_ENDED)
                played.answer.write(written)
                moments.append((client, played, True))
            client, played = self.ask(data.replace(GET + GET, GET))
            played.reply()
            moments.append((client, played, False))
            client, played = self.ask(data)
            played.answer.respond(ok(3))
            played.answer.fail(Fault(INTERNAL))
            moments.append((client, played, False))
        client, played = self.ask(post(6))
        played.answer.respond(OPEN_ENDED)
        client.stopReading()
        played.answer.write(b"x" * 1024 * 1024)
        moments.append((client, played, True))
        client, played = self.ask(UPGRADE + b"early")
        played.answer.respond(SWITCHING)
        moments.append((client, played, True))
        self.network.pump()
        return moments

    def assertToldOnce(self, played: Played | None, working: bool) -> None:
        """
        The origin was told, once, if it still worked; what it does then goes nowhere.
        """
        if played is None:
            return
        self.assertEqual(played.codes, [CLIENT_GONE] if working else [])
        answer = played.answer
        answer.inform(ResponseHead(103))
        answer.respond(ok(3))
        answer.write(b"abc")
        answer.pauseUpload()
        answer.resumeUpload()
        answer.finish()
        answer.fail(Fault(INTERNAL))
        self.network.pump()
        self.assertEqual(len(played.faults), working)

    def test_reset(self) -> None:
        """
        By a reset.
        """
        moments = self.leaving()
        opened = len(self.origin.played)
        for client, _, _ in moments:
            client.abort()
        self.network.pump()
        for _, played, working in moments:
            self.assertToldOnce(played, working)
        self.assertGone()
        self.assertEqual(len(self.origin.played), opened)
        self.assertEqual(len(self.ended), opened)

    def test_close(self) -> None:
        """
        By closing in order, which looks the same until the answer is written: a client that only ended its direction
        is not told apart from one that has gone.
        """
        moments = self.leaving()
        opened = len(self.origin.played)
        for client, played, _ in moments:
            if played is None or played.answer.status != 101:  # type: ignore[attr-defined]
                client.close()
        self.network.pump()
        for _, played, working in moments[:-1]:
            self.assertToldOnce(played, working)
        client, played, _ = moments[-1]
        assert played is not None
        client.close()
        self.network.pump()
        self.assertEqual((played.trailers, played.codes), ([b"", b""], []))
        played.answer.finish()
        self.network.pump()
        self.assertGone()
        self.assertEqual(len(self.ended), opened)

    def test_beforeAnswerWithinCall(self) -> None:
        """
        The connection may be lost while the origin is being asked.
        """

        def lose(played: Played) -> None:
            self.network.cut(client)

        self.origin.onOpen = lose
        client = self.network.client("a", PORT)
        client.send(GET + GET)
        self.network.pump()
        (played,) = self.origin.played
        self.assertToldOnce(played, True)
        self.assertGone()
