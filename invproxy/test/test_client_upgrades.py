"""
Upgrades by the streaming HTTP client.
"""

from __future__ import annotations

from invproxy.errors import CLIENT_GONE, ORIGIN_BAD_RESPONSE, Fault
from invproxy.test.asking import MIB, OK, SWITCHING, UPGRADING, ClientTestCase
from invproxy.test.helpers import RecordingAnswer, requestHead


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
