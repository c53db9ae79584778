"""
The least pace of clients, on one server: what is up to the client counts, and nothing else.
"""

from __future__ import annotations

from invproxy.errors import TOO_SLOW
from invproxy.server.pace import PERIOD
from invproxy.test.serving import GET, OPEN_ENDED, PORT, ServerTestCase, post, statuses


class PaceTests(ServerTestCase):
    """
    A server that wants a hundred bytes a second.
    """

    def setUp(self) -> None:
        super().setUp()
        self.serve(PORT + 1, minPace=100.0)

    def test_heldBack(self) -> None:
        """
        A client that was held back in the meantime has its time anew.
        """
        client, played = self.ask(post(1_000_000), PORT + 1)
        self.network.advance(PERIOD + 1)
        for _ in range(3):
            played.answer.pauseUpload()
            self.network.advance(PERIOD - 2)
            played.answer.resumeUpload()
            self.network.advance(2)
        self.assertEqual(client.take(), b"")
        self.network.advance(PERIOD)
        self.assertEqual(statuses(client.take()), [408])
        self.assertEqual(played.codes, [TOO_SLOW])
        self.assertEqual([stream.error for stream in self.ended], [TOO_SLOW])

    def test_afterAnswer(self) -> None:
        """
        Who does not take the rest of an answer that has ended is cut off, too, and counted.
        """
        client, played = self.ask(GET, PORT + 1)
        client.stopReading()
        played.reply(b"x" * 1_000_000)
        self.network.advance(3 * PERIOD)
        self.assertGone()
        self.assertEqual(self.site.refusals.counts, {"too-slow": 1})

    def test_quietAnswer(self) -> None:
        """
        An answer of which nothing comes is nobody's fault; nor is a connection that is kept. Those that are gone are
        not looked at any more.
        """
        client, played = self.ask(GET, PORT + 1)
        played.answer.respond(OPEN_ENDED)
        kept, other = self.ask(GET, PORT + 1)
        other.reply()
        self.network.advance(4 * PERIOD)
        self.assertFalse(client.ended or kept.ended)
        client.abort()
        kept.abort()
        self.network.pump()
        self.assertGone()
        self.assertEqual(self.site.deadlines.count(), 0)
