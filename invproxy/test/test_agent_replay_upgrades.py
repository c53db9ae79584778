"""
Replays of requests that ask for an upgrade.
"""

from __future__ import annotations

from invproxy.errors import ORIGIN_BAD_RESPONSE, Fault
from invproxy.test.replaycase import SWITCH, UPGRADE, ReplayTestCase
from invproxy.test.scripted import RecordingOrigin


class UpgradeTests(ReplayTestCase):
    """
    Upgrades over the two calls.
    """

    def upgrade(self):
        fetch = self.begin(UPGRADE, end=False)
        upload = self.upload()
        self.assertEqual(upload.head.upgrade, b"echo")
        upload.answer.respond(SWITCH)
        self.network.pump()
        return fetch, upload, self.post()

    def test_bothWays(self):
        """
        After 101 the two bodies are the two directions, raw.
        """
        fetch, upload, post = self.upgrade()
        self.assertEqual(
            post.body,
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
        )
        fetch.more(b"ping\r\n0\r\n\r\n")
        self.assertEqual(upload.body, b"ping\r\n0\r\n\r\n")
        upload.answer.write(b"pong")
        self.network.pump()
        self.assertTrue(post.body.endswith(b"\r\n\r\npong"))

    def test_clientEndsFirst(self):
        """
        The client closes its direction; the origin's goes on until it does so too.
        """
        fetch, upload, post = self.upgrade()
        fetch.more(b"last")
        fetch.end()
        self.assertEqual((upload.body, upload.trailers), (b"last", b""))
        self.assertEqual(self.count(), 1)
        upload.answer.write(b"x" * 300_000)
        upload.answer.finish()
        self.network.pump()
        self.assertTrue(post.whole)
        self.assertTrue(post.body.endswith(b"x" * 300_000))
        post.answer(200)
        self.assertEqual((self.count(), upload.fault), (0, None))

    def test_originEndsFirst(self):
        """
        The origin closes its direction; the client's goes on.
        """
        fetch, upload, post = self.upgrade()
        upload.answer.finish()
        self.network.pump()
        self.assertTrue(post.whole)
        post.answer(200)
        self.assertEqual(self.count(), 1)
        fetch.more(b"last")
        fetch.end()
        self.assertEqual((upload.body, upload.trailers), (b"last", b""))
        self.assertEqual((self.count(), upload.fault), (0, None))

    def test_lastBytes(self):
        """
        Both have ended, but what the origin sent last is still on its way: it is not cut.
        """
        fetch, upload, post = self.upgrade()
        post.wire.transport.pauseProducing()
        upload.answer.write(b"x" * 500_000)
        upload.answer.finish()
        fetch.end()
        self.network.pump()
        self.assertEqual(self.count(), 1)
        post.wire.transport.resumeProducing()
        self.network.pump()
        self.assertTrue(post.whole)
        self.assertTrue(post.body.endswith(b"x" * 500_000))
        post.answer(200)
        self.assertEqual((self.count(), upload.fault), (0, None))

    def test_fetchLost(self):
        """
        Without the one direction there is no connection: the other is cut, and the origin's.
        """
        fetch, upload, post = self.upgrade()
        fetch.wire.abort()
        self.assertIsNotNone(upload.fault)
        self.assertTrue(post.lost)
        self.assertEqual(self.count(), 0)

    def test_postLost(self):
        """
        So without the other.
        """
        fetch, upload, post = self.upgrade()
        post.wire.abort()
        self.assertIsNotNone(upload.fault)
        self.assertTrue(fetch.lost)
        self.assertEqual((self.count(), len(self.proxy.posts())), (0, 1))

    def test_gone(self):
        """
        So if the proxy says that the client is gone.
        """
        fetch, upload, post = self.upgrade()
        post.answer(404)
        self.assertIsNotNone(upload.fault)
        self.assertTrue(fetch.lost)
        self.assertEqual(self.count(), 0)

    def test_originLost(self):
        """
        So if the origin breaks.
        """
        fetch, _, post = self.upgrade()
        self.upload().answer.fail(Fault(ORIGIN_BAD_RESPONSE))
        self.network.pump()
        self.assertTrue(fetch.lost and post.lost)
        self.assertFalse(post.whole)

    def test_early(self):
        """
        What a client sends before it has seen the 101 is not lost, whether it comes with the request or behind it.
        """
        fetch = self.begin(UPGRADE + b"one ", end=False)
        fetch.more(b"two ")
        self.upload().answer.respond(SWITCH)
        fetch.more(b"three")
        self.assertEqual(self.upload().body, b"one two three")

    def test_earlyEnd(self):
        """
        Nor its end.
        """
        self.begin(UPGRADE + b"all")
        self.assertIsNone(self.upload().fault)
        self.upload().answer.respond(SWITCH)
        self.assertEqual((self.upload().body, self.upload().trailers), (b"all", b""))
        self.upload().answer.finish()
        self.network.pump()
        self.post().answer(200)
        self.assertEqual(self.count(), 0)

    def test_muchEarly(self):
        """
        Much of it waits in the proxy.
        """
        fetch = self.begin(UPGRADE, end=False)
        for _ in range(100):
            fetch.more(b"x" * 16384)
        [replay] = self.service._run.carrier._workload._replays.values()
        self.assertLess(len(replay._early), 300_000)
        self.upload().answer.respond(SWITCH)
        self.network.pump()
        self.assertEqual(len(self.upload().body), 100 * 16384)

    def test_atOnce(self):
        """
        An origin in process may say 101 before it has said where the bytes go.
        """

        class Quick(RecordingOrigin):
            def open(self, head, answer):
                upload = super().open(head, answer)
                answer.respond(SWITCH)
                return upload

        self.service._origin = self.origin = Quick()
        self.network.resultOf(self.service.stopService())
        self.service.startService()
        self.network.pump()
        self.begin(UPGRADE + b"one ", end=False).more(b"two")
        self.assertEqual(self.upload().body, b"one two")

    def test_refused(self):
        """
        An origin that answers otherwise ends the exchange as ever.
        """
        fetch = self.begin(UPGRADE, end=False)
        self.upload().reply(b"no")
        self.network.pump()
        self.assertTrue(self.post().body.endswith(b"no"))
        fetch.end()
        self.post().answer(200)
        self.assertEqual((self.count(), self.upload().fault), (0, None))

    def test_fetchLostBehindRefusal(self):
        """
        Then the fetch is of no interest any more.
        """
        fetch = self.begin(UPGRADE, end=False)
        self.upload().reply(b"no")
        self.network.pump()
        fetch.wire.abort()
        self.assertFalse(self.post().lost)
        self.post().answer(200)
        self.assertEqual(self.count(), 0)

    def test_original(self):
        """
        Where the proxy does not know upgrades the origin is not asked for one.
        """
        for number, features in enumerate((b"", b"X-Inverting-Proxy-Features: interim\r\n")):
            self.begin(UPGRADE, str(number), features=features)
            self.assertIsNone(self.origin.uploads[-1].head.upgrade)
            self.assertNotIn(b"pgrade", self.origin.uploads[-1].head.encode())

    def test_stopsWithDrain(self):
        """
        An upgraded connection does not keep a stopping agent for ever.
        """
        fetch, upload, post = self.upgrade()
        stopped = self.service.stopService()
        self.network.advance(29)
        self.assertNoResult(stopped)
        self.network.advance(2)
        self.successResultOf(stopped)
        self.assertTrue(fetch.lost and post.lost)
        self.assertIsNotNone(upload.fault)
