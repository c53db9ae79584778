"""
An exchange on the agent's side: its response.
"""

from invproxy.http1.framing import UNTIL_CLOSE
from invproxy.http1.heads import ResponseHead, responseHead
from invproxy.test.replaycase import GET, POST, ReplayTestCase
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
