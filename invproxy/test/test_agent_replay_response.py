"""
An exchange on the agent's side: its response, and what may go wrong with it.
"""

from invproxy.errors import ORIGIN_BAD_RESPONSE, ORIGIN_REFUSED, Fault
from invproxy.http1.framing import UNTIL_CLOSE
from invproxy.http1.heads import ResponseHead, responseHead
from invproxy.test.replaycase import GET, POST, SWITCH, UPGRADE, ReplayTestCase
from invproxy.test.scripted import RecordingOrigin


class ResponseTests(ReplayTestCase):
    """
    What reaches the proxy.
    """

    def respond(self, head, *pieces, trailers=b"", request=GET, features=None):
        """
        @return: the body of the call that brings a response.
        """
        options = {} if features is None else {"features": features}
        self.begin(request, **options)
        answer = self.upload().answer
        answer.respond(head)
        for piece in pieces:
            answer.write(piece)
        answer.finish(trailers)
        self.network.pump()
        post = self.post()
        self.assertTrue(post.whole)
        post.answer(200)
        self.assertEqual(self.count(), 0)
        self.assertIsNone(self.upload().fault)
        return post.body

    def test_length(self):
        """
        A response of known length stays one; reason phrase and fields are as they were.
        """
        head = responseHead(200, b"Fine \xe9", b"\r\nx-A: 1\r\nX-a: 2", length=5)
        self.assertEqual(
            self.respond(head, b"he", b"llo"),
            b"HTTP/1.1 200 Fine \xe9\r\nx-A: 1\r\nX-a: 2\r\nContent-Length: 5\r\n\r\nhello",
        )

    def test_chunked(self):
        """
        One in chunks is in chunks, with its trailers.
        """
        self.assertEqual(
            self.respond(responseHead(200, b"OK"), b"he", b"llo", trailers=b"\r\nX-T: t"),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: t\r\n\r\n",
        )

    def test_untilClose(self):
        """
        One that ends with its connection becomes one in chunks, so that its end is visible.
        """
        self.assertEqual(
            self.respond(ResponseHead(200, b" OK", framing=UNTIL_CLOSE), b"hello"),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        )

    def test_bodyless(self):
        """
        HEAD, 204 and 304 have no body and no framing of one, whatever an origin of one's own says.
        """
        cases = [
            (b"HEAD", ResponseHead(200, b" OK", b"\r\nContent-Length: 7")),
            (b"HEAD", ResponseHead(200, b" OK", b"\r\nContent-Length: 7", framing=7)),
            (b"HEAD", responseHead(200, b"OK")),
            (b"GET", ResponseHead(204, b" No Content")),
            (b"GET", ResponseHead(204, b" No Content", framing=UNTIL_CLOSE)),
            (b"GET", ResponseHead(304, b" Not Modified", b"\r\nContent-Length: 7")),
        ]
        for number, (method, head) in enumerate(cases):
            self.begin(b"%b / HTTP/1.1\r\nHost: h\r\n\r\n" % method, str(number))
            answer = self.origin.uploads[-1].answer
            answer.respond(head)
            answer.write(b"ignored")
            answer.finish()
            self.network.pump()
            [post] = self.proxy.posts(str(number))
            self.assertTrue(post.whole)
            self.assertTrue(post.body.endswith(b"\r\n\r\n"), post.body)
            self.assertNotIn(b"chunked", post.body)
            self.assertEqual(b"Content-Length: 7" in post.body, b"7" in head.fields)
            post.answer(200)

    def test_streams(self):
        """
        Every piece goes out at once.
        """
        self.begin(GET)
        answer = self.upload().answer
        answer.respond(responseHead(200, b"OK"))
        self.network.pump()
        self.assertTrue(self.post().body.endswith(b"\r\n\r\n"))
        answer.write(b"data: 1\n\n")
        self.network.pump()
        self.assertTrue(self.post().body.endswith(b"data: 1\n\n\r\n"))

    def test_beforeTheRequestEnds(self):
        """
        A response may come, and end, before the request has; then the rest of the request is broken off.
        """
        fetch = self.begin(POST + b"a", end=False)
        self.upload().reply()
        self.network.pump()
        self.assertTrue(self.post().whole)
        self.post().answer(200)
        self.assertTrue(fetch.lost)
        self.assertEqual((self.count(), self.upload().fault), (0, None))

    def test_requestBrokenBehindResponse(self):
        """
        The proxy may break the request off as soon as it has the response; the call that brought it is left in peace.
        """
        fetch = self.begin(POST + b"a", end=False)
        self.upload().reply()
        self.network.pump()
        fetch.wire.abort()
        self.assertFalse(self.post().lost)
        self.post().answer(200)
        self.assertEqual(self.count(), 0)

    def test_backPressure(self):
        """
        A proxy that does not read holds the origin back; then it goes on.
        """
        self.begin(GET)
        answer = self.upload().answer
        answer.respond(responseHead(200, b"OK"))
        self.network.pump()
        self.post().wire.transport.pauseProducing()
        written = 0
        while not self.upload().held:
            answer.write(b"x" * 16384)
            written += 16384
            self.network.pump()
            self.assertLess(written, 1 << 20)
        self.post().wire.transport.resumeProducing()
        self.network.pump()
        self.assertFalse(self.upload().held)
        self.assertGreater(len(self.post().body), written)

    def test_eagerOrigin(self):
        """
        An origin that answers at length before it has even said where the request goes is held back as well.
        """

        class Eager(RecordingOrigin):
            def open(self, head, answer):
                upload = super().open(head, answer)
                answer.respond(responseHead(200, b"OK"))
                answer.write(b"x" * 200_000)
                return upload

        self.service._origin = self.origin = Eager()
        self.network.resultOf(self.service.stopService())
        self.network.advance(20)
        self.service.startService()
        self.network.pump()
        self.proxy.offer("one")
        self.network.ignore("proxy.test", 8080)
        [fetch] = self.proxy.fetches()
        for wire in self.proxy.wires:
            if wire is not fetch.wire and wire.lost is None:
                wire.abort()
        fetch.serve(GET, end=False)
        self.assertTrue(self.upload().held)
        self.network.accept("proxy.test", 8080)
        self.network.advance(20)
        self.assertFalse(self.upload().held)

    def test_proxysOwnFields(self):
        """
        What only this protocol may say is dropped from what a backend says, in heads and trailers.
        """
        body = self.respond(
            responseHead(
                200,
                b"OK",
                b"\r\nX-Inverting-Proxy-Error: agent-lost\r\nX-A: b\r\nx_inverting-proxy_user-id: c",
            ),
            trailers=b"\r\nX-T: t\r\nX-Inverting-Proxy-Error: agent-lost",
        )
        self.assertEqual(
            body,
            b"HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: t\r\n\r\n",
        )

    def test_interim(self):
        """
        Interim responses precede the final one where the proxy knows them.
        """
        self.begin(GET)
        answer = self.upload().answer
        answer.inform(
            ResponseHead(103, b" Early Hints", b"\r\nLink: a\r\nX-Inverting-Proxy-Error: x")
        )
        self.network.pump()
        self.assertEqual(self.post().body, b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")
        answer.inform(ResponseHead(102, b" Processing"))
        self.upload().reply(b"")
        answer.inform(ResponseHead(103, b" Too late"))
        self.network.pump()
        self.assertEqual(
            self.post().body,
            b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        )

    def test_noInterim(self):
        """
        To the original's proxy an interim response would be the final one: it gets none.
        """
        for number, features in enumerate((b"", b"X-Inverting-Proxy-Features: upgrade\r\n")):
            self.begin(GET, str(number), features=features)
            upload = self.origin.uploads[-1]
            upload.answer.inform(ResponseHead(103, b" Early Hints"))
            upload.reply()
            self.network.pump()
            [post] = self.proxy.posts(str(number))
            self.assertTrue(post.body.startswith(b"HTTP/1.1 200 "))

    def test_slowReceipt(self):
        """
        The exchange lasts until the proxy says that it has passed everything on.
        """
        self.begin(GET)
        self.upload().reply()
        self.network.advance(100)
        self.assertEqual(self.count(), 1)
        self.post().answer(200)
        self.assertEqual(self.count(), 0)

    def test_receiptWithBody(self):
        """
        Its head is enough; an endless body does not keep the exchange.
        """
        self.begin(GET)
        self.upload().reply()
        self.network.pump()
        self.post().send(b"HTTP/1.1 200 OK\r\n\r\nfor ever")
        self.assertEqual(self.count(), 0)

    def test_refusedAtTheEnd(self):
        """
        A proxy that does not like the response says so, and so does the log; nothing is repeated.
        """
        self.begin(GET)
        self.upload().reply()
        self.network.pump()
        self.post().answer(400, b"no HTTP")
        self.assertEqual((self.count(), len(self.proxy.posts())), (0, 1))
        [line] = self.lines()
        self.assertIn("400", line)

    def test_lostAtTheEnd(self):
        """
        A connection lost before the receipt ends the exchange.
        """
        self.begin(GET)
        self.upload().reply()
        self.network.pump()
        self.post().wire.abort()
        self.assertEqual((self.count(), len(self.proxy.posts())), (0, 1))


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
