"""
Replays of requests that come to no good end: what the proxy is told.
"""

from __future__ import annotations

from invproxy.errors import ORIGIN_BAD_RESPONSE, ORIGIN_REFUSED, Fault
from invproxy.http1.heads import ResponseHead, responseHead
from invproxy.test.replaycase import GET, POST, ReplayTestCase
from invproxy.test.scripted import RecordingOrigin


class FailureTests(ReplayTestCase):
    """
    Origins that fail.
    """

    def test_beforeTheHead(self):
        """
        The reason goes in a second call, on its outer head; the lifeline is kept until that was heard.
        """
        self.begin(GET)
        self.upload().answer.fail(Fault(ORIGIN_REFUSED, "secret detail"))
        self.network.pump()
        lifeline, report = self.proxy.posts()
        self.assertEqual(report.fields["x-inverting-proxy-error"], "origin-refused")
        head, _, body = report.body.partition(b"\r\n\r\n")
        self.assertEqual(head.split(b"\r\n")[0], b"HTTP/1.1 502 Bad Gateway")
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assertNotIn(b"X-Inverting-Proxy-Error", head)
        self.assertNotIn(b"secret", body)
        self.assertTrue(report.whole)
        self.assertFalse(lifeline.lost or lifeline.whole)
        self.assertEqual(self.count(), 1)
        report.answer(200)
        self.assertTrue(lifeline.lost)
        self.assertEqual((lifeline.body, self.count()), (b"", 0))
        self.assertEqual(self.lines(), ["GET /a: origin-refused: secret detail"])

    def test_lifelineAnsweredFirst(self):
        """
        Our proxy dismisses the lifeline by 404 once it has the report: that is no sign of a client gone.
        """
        self.begin(GET)
        self.upload().answer.fail(Fault(ORIGIN_REFUSED))
        self.network.pump()
        lifeline, report = self.proxy.posts()
        lifeline.answer(404)
        self.assertFalse(report.lost)
        report.answer(200)
        self.assertEqual(self.count(), 0)

    def test_lifelineLostFirst(self):
        """
        Nor does its loss keep the report back.
        """
        self.begin(GET)
        self.upload().answer.fail(Fault(ORIGIN_REFUSED))
        self.network.pump()
        lifeline, report = self.proxy.posts()
        lifeline.wire.abort()
        self.assertFalse(report.lost)
        report.answer(200)
        self.assertEqual((self.count(), len(self.proxy.posts())), (0, 2))

    def test_reportOnDeadConnection(self):
        """
        A report is small and may be repeated.
        """
        self.begin(GET)
        self.upload().answer.fail(Fault(ORIGIN_BAD_RESPONSE))
        self.network.pump()
        self.proxy.posts()[1].wire.abort()
        self.proxy.posts()[2].answer(500)
        report = self.proxy.posts()[3]
        self.assertEqual(report.fields["x-inverting-proxy-error"], "origin-bad-response")
        self.assertIn(b"502 Bad Gateway", report.body)
        self.assertTrue(report.whole)
        report.answer(200)
        self.assertEqual((self.count(), len(self.proxy.posts())), (0, 4))

    def test_reportNotForEver(self):
        """
        But not for ever.
        """
        self.begin(GET)
        self.upload().answer.fail(Fault(ORIGIN_BAD_RESPONSE))
        for _ in range(10):
            self.network.pump()
            self.proxy.posts()[-1].wire.abort()
        self.assertEqual((self.count(), len(self.proxy.posts())), (0, 4))

    def test_head(self):
        """
        To HEAD a report has no body either.
        """
        self.begin(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        self.upload().answer.fail(Fault(ORIGIN_REFUSED))
        self.network.pump()
        self.assertTrue(self.proxy.posts()[1].body.endswith(b"\r\n\r\n"))

    def test_afterTheHead(self):
        """
        A response that breaks is cut: the call never ends in good order.
        """
        for number, head in enumerate(
            (responseHead(200, b"OK"), responseHead(200, b"OK", length=9))
        ):
            self.begin(GET, str(number))
            answer = self.origin.uploads[-1].answer
            answer.respond(head)
            answer.write(b"hello")
            self.network.pump()
            answer.fail(Fault(ORIGIN_BAD_RESPONSE, "it broke"))
            self.network.pump()
            post, report = self.proxy.posts(str(number))
            self.assertEqual(report.fields["x-inverting-proxy-error"], "origin-bad-response")
            answer.write(b"more of it")
            self.network.pump()
            report.answer(200)
            self.assertNotIn(b"more of it", report.body)
            self.assertTrue(post.lost)
            self.assertFalse(post.whole)
            self.assertNotIn(b"0\r\n\r\n", post.body)
        self.assertEqual(self.count(), 0)

    def test_afterTheHeadOriginal(self):
        """
        The original does not know such reports: to it the call is just broken off.
        """
        self.begin(GET, features=b"")
        answer = self.upload().answer
        answer.respond(responseHead(200, b"OK"))
        self.network.pump()
        answer.fail(Fault(ORIGIN_BAD_RESPONSE, "it broke"))
        self.network.pump()
        self.assertTrue(self.post().lost)
        self.assertFalse(self.post().whole)
        self.assertEqual(self.count(), 0)

    def test_afterInterim(self):
        """
        After an interim response there is still room for a report.
        """
        self.begin(GET)
        self.upload().answer.inform(ResponseHead(103, b" Early Hints"))
        self.upload().answer.fail(Fault(ORIGIN_BAD_RESPONSE))
        self.network.pump()
        self.assertEqual(len(self.proxy.posts()), 2)
        self.proxy.posts()[1].answer(200)
        self.assertEqual(self.count(), 0)

    def raising(self, error):
        class Raising(RecordingOrigin):
            def open(self, head, answer):
                raise error

        self.service._origin = Raising()
        self.network.resultOf(self.service.stopService())
        self.service.startService()
        self.network.pump()

    def test_raises(self):
        """
        An origin that raises is a 500, and logged.
        """
        self.raising(RuntimeError("oops"))
        self.begin(GET)
        report = self.proxy.posts()[1]
        self.assertEqual(report.fields["x-inverting-proxy-error"], "internal")
        self.assertIn(b"HTTP/1.1 500 Internal Server Error\r\n", report.body)
        self.assertNotIn(b"oops", report.body)
        report.answer(200)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.count(), 0)

    def test_raisesFault(self):
        """
        A fault that it raises is its answer.
        """
        self.raising(Fault(ORIGIN_REFUSED, "no"))
        self.begin(GET)
        self.assertEqual(self.proxy.posts()[1].fields["x-inverting-proxy-error"], "origin-refused")

    def test_bodyRaises(self):
        """
        An origin whose end of the body raises is a 500, too, and the fetch's connection survives.
        """
        fetch = self.begin(POST, end=False)
        self.upload().write = lambda data: 1 / 0
        fetch.more(b"abc")
        self.assertEqual(self.proxy.posts()[1].fields["x-inverting-proxy-error"], "internal")
        self.assertFalse(fetch.lost)
        self.proxy.posts()[1].answer(200)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.count(), 0)


class OriginTimeoutTests(ReplayTestCase):
    settings = {"originTimeout": 5.0}

    def reported(self):
        self.assertIsNotNone(self.upload().fault)
        report = self.proxy.posts()[1]
        self.assertEqual(report.fields["x-inverting-proxy-error"], "origin-timeout")
        self.assertIn(b"HTTP/1.1 504 Gateway Timeout\r\n", report.body)
        report.answer(200)
        self.assertEqual(self.count(), 0)

    def test_silent(self):
        """
        An origin without a first byte in time is a 504.
        """
        self.begin(GET)
        self.network.advance(4.9)
        self.assertIsNone(self.upload().fault)
        self.network.advance(0.5)
        self.reported()

    def test_slowRequest(self):
        """
        The time does not run while the request is still coming.
        """
        fetch = self.begin(POST, end=False)
        for letter in b"abcdef":
            self.network.advance(4)
            fetch.more(bytes([letter]))
        self.network.advance(4)
        self.assertIsNone(self.upload().fault)
        self.network.advance(2)
        self.reported()

    def test_interim(self):
        """
        Interim responses show that it is alive.
        """
        self.begin(GET)
        for _ in range(3):
            self.network.advance(4)
            self.upload().answer.inform(ResponseHead(102, b" Processing"))
        self.assertIsNone(self.upload().fault)
        self.network.advance(6)
        self.reported()

    def test_answered(self):
        """
        Once the head has come the body may take its time.
        """
        self.begin(GET)
        self.upload().answer.respond(responseHead(200, b"OK", length=2))
        self.network.advance(100)
        self.upload().answer.write(b"hi")
        self.upload().answer.finish()
        self.network.pump()
        self.assertTrue(self.post().whole)
        self.post().answer(200)
