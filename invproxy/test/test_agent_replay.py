"""
An exchange on the agent's side: its request, and its lifeline.
"""

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import LogLevel

from invproxy.errors import BAD_REQUEST
from invproxy.http1.heads import responseHead
from invproxy.test.replaycase import CHUNKED_POST, GET, POST, ReplayTestCase
from invproxy.test.scripted import RecordingOrigin


class FetchTests(ReplayTestCase):
    """
    C{GET agent/request}.
    """

    def test_call(self):
        """
        The call names backend, request and features.
        """
        self.proxy.offer("one")
        [fetch] = self.proxy.fetches()
        self.assertEqual(fetch.line, "GET /agent/request HTTP/1.1")
        self.assertEqual(fetch.fields["host"], "proxy.test:8080")
        self.assertEqual(fetch.fields["x-inverting-proxy-backend-id"], "web")
        self.assertEqual(fetch.fields["x-inverting-proxy-request-id"], "one")
        self.assertEqual(fetch.fields["x-inverting-proxy-features"], "interim, upgrade")

    def test_gone(self):
        """
        404 means that the client is gone: nothing happens, and nothing is said.
        """
        self.proxy.offer("one")
        self.proxy.fetches()[0].answer(404)
        self.assertEqual((self.count(), self.proxy.posts(), self.origin.uploads), (0, [], []))
        self.assertEqual(self.lines(LogLevel.debug), [])

    def test_refused(self):
        """
        Another refusal is logged, as someone has to do something about it.
        """
        self.proxy.offer("one")
        self.proxy.fetches()[0].answer(403)
        self.assertEqual(self.count(), 0)
        [line] = self.lines()
        self.assertIn("403", line)

    def test_serverErrors(self):
        """
        A 5xx is tried twice more, then it is given up.
        """
        self.proxy.offer("one")
        for number in range(3):
            self.assertEqual(len(self.proxy.fetches()), number + 1)
            self.proxy.fetches()[-1].answer(502, b"x")
        self.assertEqual((len(self.proxy.fetches()), self.count()), (3, 0))
        self.assertEqual(len(self.lines()), 1)

    def test_endlessError(self):
        """
        The endless body of a 5xx is not read.
        """
        self.proxy.offer("one")
        fetch = self.proxy.fetches()[0]
        fetch.send(b"HTTP/1.1 500 No\r\n\r\nfor ever")
        self.assertEqual(len(self.proxy.fetches()), 2)
        self.assertTrue(fetch.lost)

    def test_transportErrors(self):
        """
        So is a lost connection.
        """
        self.proxy.offer("one")
        for _ in range(2):
            self.proxy.fetches()[-1].wire.abort()
        self.proxy.fetches()[-1].serve(GET)
        self.upload().reply()
        self.assertIn(b"200 OK", self.post().body)

    def test_transportErrorsAtLast(self):
        """
        But not for ever.
        """
        self.proxy.offer("one")
        for _ in range(20):
            if self.proxy.fetches()[-1].lost:
                break
            self.proxy.fetches()[-1].wire.abort()
        self.assertIn(
            len(self.proxy.fetches()), (3, 4)
        )  # one may be the repetition on a kept connection
        self.assertEqual(self.count(), 0)

    def test_silent(self):
        """
        A fetch that is never answered is given up, and tried again on another connection.
        """
        self.proxy.offer("one")
        self.proxy.fetches()[-1].wire.freeze()
        self.network.advance(21)
        self.assertEqual(len(self.proxy.fetches()), 2)
        self.proxy.fetches()[-1].serve(GET)
        self.assertEqual(self.upload().head.target, b"/a")

    def test_silentForEver(self):
        """
        In the end it is no longer counted among what is in flight.
        """
        self.proxy.offer("one")
        self.network.advance(100)
        self.assertEqual((len(self.proxy.fetches()), self.count()), (3, 0))

    def test_halfHead(self):
        """
        Once bytes of the request have come it is not fetched again: it may not be there any more.
        """
        self.proxy.offer("one")
        fetch = self.proxy.fetches()[0]
        fetch.serve(b"GET /a HT", end=False)
        fetch.wire.abort()
        self.assertEqual((len(self.proxy.fetches()), self.count(), self.origin.uploads), (1, 0, []))

    def test_endsInHead(self):
        """
        So it is with one that ends in good order, but too early.
        """
        self.begin(b"GET /a HT")
        self.assertEqual((len(self.proxy.fetches()), self.count(), self.origin.uploads), (1, 0, []))

    def test_offeredAgain(self):
        """
        What could not be fetched may be offered again, as a lease ran out: then it is worked on.
        """
        self.proxy.offer("one")
        self.proxy.fetches()[0].answer(404)
        self.begin(GET)
        self.upload().reply()
        self.assertIn(b"200 OK", self.post().body)

    def test_offeredAgainAndAgain(self):
        """
        But not as often as a mad proxy likes.
        """
        for _ in range(3):
            self.proxy.offer("one")
            self.proxy.fetches()[-1].answer(404)
            self.network.advance(1)
        self.proxy.offer("one")
        self.network.advance(1)
        self.assertEqual(len(self.proxy.fetches()), 3)

    def test_notARequest(self):
        """
        A request that is none is answered, so that its client need not wait for a timeout.
        """
        self.begin(b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n")
        post = self.post()
        self.assertEqual(post.fields["x-inverting-proxy-error"], "bad-request")
        self.assertTrue(post.body.startswith(b"HTTP/1.1 400 Bad Request\r\n"), post.body)
        self.assertTrue(post.whole)
        post.answer(200)
        self.assertEqual((self.count(), self.origin.uploads), (0, []))

    def test_notABody(self):
        """
        So is one whose body breaks the protocol; the origin is broken off.
        """
        fetch = self.begin(CHUNKED_POST, end=False)
        fetch.more(b"5\r\nhello\r\nxyz\r\n\r\n")
        self.assertEqual(self.upload().fault.code, BAD_REQUEST)
        self.assertEqual(self.proxy.posts()[1].fields["x-inverting-proxy-error"], "bad-request")
        fetch.more(b"more of it")
        self.proxy.posts()[1].answer(200)
        self.assertEqual(self.count(), 0)

    def test_notABodyWhileAnswering(self):
        """
        If the answer has begun, it is cut, in the words for that.
        """
        fetch = self.begin(CHUNKED_POST, end=False)
        self.upload().answer.respond(responseHead(200, b"OK", length=5))
        fetch.more(b"xyz\r\n\r\n")
        post, report = self.proxy.posts()
        self.assertEqual(report.fields["x-inverting-proxy-error"], "origin-bad-response")
        report.answer(200)
        self.assertTrue(post.lost)
        self.assertFalse(post.whole)
        self.assertEqual(self.count(), 0)

    def test_behindTheEnd(self):
        """
        What follows a request is ignored, however much it is.
        """
        fetch = self.begin(POST + b"abcdef", end=False)
        for _ in range(100):
            fetch.more(b"x" * 10_000)
        fetch.end()
        self.assertEqual((self.upload().body, self.upload().trailers), (b"abcdef", b""))
        self.upload().reply()
        self.post().answer(200)
        self.assertEqual(self.count(), 0)

    def test_byteByByte(self):
        """
        It does not matter how bytes are cut.
        """
        self.network.segment = 1
        self.begin(POST + b"abcdef", fields=b"X-Inverting-Proxy-User-ID: a@b\r\n")
        self.upload().reply()
        self.post().answer(200)
        self.assertEqual((self.upload().body, self.count()), (b"abcdef", 0))


class RequestTests(ReplayTestCase):
    """
    What reaches the origin.
    """

    def test_asItCame(self):
        """
        Names, their order and case, repeated fields and latin-1 values are as they came.
        """
        fields = b"\r\nHost: h\r\nx-ODD: 1\r\nX-Odd: 2\r\nCookie: a=b\r\nX-L: \xe9\r\nAuthorization: Basic eA=="
        self.begin(b"PURGE /x?y=%20z HTTP/1.1" + fields + b"\r\n\r\n")
        head = self.upload().head
        self.assertEqual((head.method, head.target), (b"PURGE", b"/x?y=%20z"))
        self.assertEqual(head.fields, fields)

    def test_streams(self):
        """
        The origin gets head and body as they come, and trailers at the end.
        """
        fetch = self.begin(CHUNKED_POST, end=False)
        upload = self.upload()
        self.assertEqual((upload.body, upload.trailers), (b"", None))
        fetch.more(b"5\r\nhello\r\n")
        self.assertEqual((upload.body, upload.trailers), (b"hello", None))
        fetch.more(b"0\r\nX-T: t\r\nX-Inverting-Proxy-User-ID: forged\r\n\r\n")
        self.assertEqual(upload.trailers, b"\r\nX-T: t")
        fetch.end()

    def test_backPressure(self):
        """
        An origin that does not keep up stops the fetch.
        """
        fetch = self.begin(CHUNKED_POST, end=False)
        self.upload().answer.pauseUpload()
        sent = 0
        for _ in range(200):
            fetch.more(b"4000\r\n" + b"x" * 16384 + b"\r\n")
            sent += 16384
        self.assertLess(len(self.upload().body), 300_000)
        self.upload().answer.resumeUpload()
        self.network.pump()
        self.assertEqual(len(self.upload().body), sent)

    def test_endsHalfWay(self):
        """
        A body that ends too early means that the client is gone: the origin is broken off, and nothing is answered.
        """
        self.begin(POST + b"abc")
        self.assertIsNotNone(self.upload().fault)
        self.assertIsNone(self.upload().trailers)
        self.assertTrue(self.post().lost)
        self.assertEqual(self.count(), 0)

    def test_breaksHalfWay(self):
        """
        So does one whose connection breaks.
        """
        fetch = self.begin(POST + b"abc", end=False)
        fetch.wire.abort()
        self.assertIsNotNone(self.upload().fault)
        self.assertEqual((len(self.proxy.fetches()), self.count()), (1, 0))

    def test_breaksBehindTheRequest(self):
        """
        A call that breaks once the whole request is here does no harm.
        """
        fetch = self.begin(POST + b"abcdef", end=False)
        fetch.wire.abort()
        self.assertIsNone(self.upload().fault)
        self.upload().reply()
        self.post().answer(200)
        self.assertIn(b"200 OK", self.post().body)
        self.assertEqual(self.count(), 0)

    def test_proxysOwnFields(self):
        """
        Fields of this protocol do not reach the origin, in whatever disguise.
        """
        self.begin(
            b"GET / HTTP/1.1\r\nHost: h\r\nX-Inverting-Proxy-User-ID: forged\r\n"
            b"x_inverting_proxy_user_id: forged\r\nX-Inverting-Proxy-VM-ID: s\r\nX-A: b\r\n\r\n",
            fields=b"X-Inverting-Proxy-User-ID: ada@example.com\r\n",
        )
        self.assertEqual(self.upload().head.fields, b"\r\nHost: h\r\nX-A: b")

    def test_peer(self):
        """
        An origin in process learns who the client is.
        """
        for number, (forwarded, address, secure) in enumerate(
            [
                (
                    b"X-Forwarded-For: 203.0.113.9, 10.0.0.1",
                    IPv4Address("TCP", "203.0.113.9", 0),
                    False,
                ),
                (
                    b"X-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: https",
                    IPv6Address("TCP", "2001:db8::1", 0),
                    True,
                ),
                (b"X-Forwarded-Proto: HTTPS, http", UNIXAddress(None), True),
                (b"X-Forwarded-For: unknown", UNIXAddress(None), False),
                (b"X-Forwarded-For: 1.2.3.4:x, \xff", UNIXAddress(None), False),
            ]
        ):
            self.begin(b"GET / HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % forwarded, str(number))
            peer = self.origin.uploads[-1].answer.peer
            self.assertEqual((peer.address, peer.secure), (address, secure))

    def test_noHost(self):
        """
        A request of HTTP/1.0 without Host is one.
        """
        self.begin(b"GET / HTTP/1.0\r\nX-A: b\r\n\r\n")
        self.assertEqual(self.upload().head.fields, b"\r\nX-A: b")


class ForwardUserTests(ReplayTestCase):
    settings = {"forwardUserID": True, "stripCredentials": True, "rewriteHost": b"inside:81"}

    def test_changes(self):
        """
        The end user is added, credentials are dropped, and Host is replaced in its place.
        """
        self.begin(
            b"GET / HTTP/1.1\r\nX-A: b\r\nHost: h\r\nAuthorization: Basic eA==\r\n"
            b"X-Inverting-Proxy-User-ID: forged\r\nProxy-Authorization: y\r\n\r\n",
            fields=b"x-inverting-proxy-user-id: ada@example.com\r\n",
        )
        self.assertEqual(
            self.upload().head.fields,
            b"\r\nX-A: b\r\nHost: inside:81\r\nX-Inverting-Proxy-User-ID: ada@example.com",
        )

    def test_nobody(self):
        """
        Without an end user there is no such field, forged or not.
        """
        for number, fields in enumerate((b"", b"X-Inverting-Proxy-User-ID: \r\n")):
            self.begin(
                b"GET / HTTP/1.1\r\nHost: h\r\nX-Inverting-Proxy-User-ID: forged\r\n\r\n",
                str(number),
                fields=fields,
            )
            self.assertEqual(self.origin.uploads[-1].head.fields, b"\r\nHost: inside:81")

    def test_noHost(self):
        """
        The other Host is sent where there was none, too.
        """
        self.begin(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(self.upload().head.fields, b"\r\nHost: inside:81")


class LifelineTests(ReplayTestCase):
    """
    C{POST agent/response}, before there is a response.
    """

    def test_first(self):
        """
        It is open when the origin is asked.
        """
        orders = []
        origin = self.origin

        class Asking(RecordingOrigin):
            def open(self, head, answer):
                orders.append(answer._post is not None)
                return origin.open(head, answer)

        self.service._origin = Asking()
        self.network.resultOf(self.service.stopService())
        self.service.startService()
        self.network.pump()
        self.begin(GET)
        self.assertEqual(orders, [True])
        post = self.post()
        self.assertEqual(post.line, "POST /agent/response HTTP/1.1")
        self.assertEqual(post.fields["transfer-encoding"], "chunked")
        self.assertEqual(post.fields["content-type"], "text/plain")
        self.assertEqual(post.fields["x-inverting-proxy-request-id"], "one")
        self.assertEqual(post.fields["x-inverting-proxy-backend-id"], "web")
        self.assertEqual(post.fields["x-inverting-proxy-features"], "interim, upgrade")
        self.assertNotIn("x-inverting-proxy-error", post.fields)
        self.assertEqual((post.body, post.whole), (b"", False))

    def test_gone(self):
        """
        404 at once means that the client is gone: the origin is broken off, quietly.
        """
        self.begin(POST, end=False)
        self.post().answer(404)
        self.assertIsNotNone(self.upload().fault)
        self.assertTrue(self.proxy.fetches()[0].lost)
        self.assertEqual((self.count(), self.lines(LogLevel.debug)), (0, []))

    def test_goneWhileResponding(self):
        """
        So it does while the response is on its way.
        """
        self.begin(GET)
        self.upload().answer.respond(responseHead(200, b"OK", length=10))
        self.upload().answer.write(b"12345")
        self.network.pump()
        self.post().answer(404)
        self.assertIsNotNone(self.upload().fault)
        self.assertEqual((self.count(), self.lines(LogLevel.debug)), (0, []))

    def test_earlySuccess(self):
        """
        A proxy that has enough before the end gets no more.
        """
        self.begin(GET)
        self.post().answer(200)
        self.assertIsNotNone(self.upload().fault)
        self.assertEqual(self.count(), 0)

    def test_refused(self):
        """
        Another answer is logged.
        """
        self.begin(GET)
        self.post().answer(401)
        self.assertEqual(self.count(), 0)
        [line] = self.lines()
        self.assertIn("401", line)

    def test_deadKept(self):
        """
        A kept connection that proves dead is replaced while nothing was sent.
        """
        self.begin(GET)
        self.post().wire.abort()
        self.assertEqual(len(self.proxy.posts()), 2)
        self.assertIsNone(self.upload().fault)
        self.upload().reply()
        self.network.pump()
        self.assertIn(b"200 OK", self.proxy.posts()[1].body)
        self.proxy.posts()[1].answer(200)
        self.assertEqual(self.count(), 0)

    def test_serverError(self):
        """
        So is a call that was answered by a 5xx.
        """
        self.begin(GET)
        self.post().answer(503)
        self.assertEqual(len(self.proxy.posts()), 2)
        self.upload().reply()
        self.network.pump()
        self.proxy.posts()[1].answer(200)
        self.assertEqual((self.count(), self.upload().fault), (0, None))

    def test_notForEver(self):
        """
        Three times in all.
        """
        self.begin(GET)
        for _ in range(10):
            self.proxy.posts()[-1].wire.abort()
        self.assertEqual((len(self.proxy.posts()), self.count()), (3, 0))
        self.assertIsNotNone(self.upload().fault)

    def test_notOnceSent(self):
        """
        After the first byte of a response it is not repeated: the proxy may have passed it on.
        """
        self.begin(GET)
        self.upload().answer.respond(responseHead(200, b"OK", length=10))
        self.network.pump()
        self.post().wire.abort()
        self.assertEqual((len(self.proxy.posts()), self.count()), (1, 0))
        self.assertIsNotNone(self.upload().fault)

    def test_proxyGone(self):
        """
        A proxy that went away between the two calls: the origin is not asked for nothing, nor left at work.
        """
        self.proxy.offer("one")
        fetch = self.proxy.fetches()[0]
        self.proxy.port.stopListening()
        for wire in self.proxy.wires:
            if wire is not fetch.wire:
                wire.abort()
        fetch.serve(GET, end=False)
        self.network.advance(1)
        self.assertEqual(self.count(), 0)
        self.assertTrue(all(upload.fault for upload in self.origin.uploads))

    def test_repeatAfterLoss(self):
        """
        The proxy may offer what was lost with the lifeline again if it may be sent again.
        """
        self.begin(GET)
        self.upload().answer.respond(responseHead(200, b"OK", length=10))
        self.network.pump()
        self.post().wire.abort()
        self.begin(GET)
        self.assertEqual(len(self.origin.uploads), 2)

    def test_offeredDuringLoss(self):
        """
        The proxy may know of the loss first: what it offers again is begun as soon as the agent knows, too.
        """
        self.begin(GET)
        self.proxy.offer("one")
        self.assertEqual(len(self.proxy.fetches()), 1)
        self.post().answer(404)
        self.assertEqual(len(self.proxy.fetches()), 2)
        self.proxy.fetches()[1].serve(GET)
        self.origin.uploads[1].reply()
        self.proxy.posts()[1].answer(200)
        self.assertEqual((len(self.origin.uploads), self.count()), (2, 0))

    def test_noRepeatDuringLoss(self):
        """
        Not so what may not be repeated, nor what ended well.
        """
        for number, (request, status) in enumerate([(POST + b"abcdef", 404), (GET, 200)]):
            self.begin(request, str(number))
            self.network.advance(1)
            self.proxy.offer(str(number))
            self.origin.uploads[number].reply()
            self.proxy.posts(str(number))[0].answer(status)
            self.assertEqual(len(self.proxy.fetches(str(number))), 1)
        self.assertEqual(self.count(), 0)

    def test_noRepeatAfterLoss(self):
        """
        Not so what may not.
        """
        self.begin(POST + b"abcdef")
        self.upload().answer.respond(responseHead(200, b"OK", length=10))
        self.network.pump()
        self.post().wire.abort()
        self.proxy.offer("one")
        self.assertEqual((len(self.origin.uploads), len(self.proxy.fetches())), (1, 1))

    def test_noRepeatAfterEnd(self):
        """
        Nor what was answered, though some proxies offer it on and on.
        """
        self.begin(GET)
        self.upload().reply()
        self.network.pump()
        self.post().answer(200)
        self.proxy.offer("one")
        self.assertEqual((len(self.origin.uploads), len(self.proxy.fetches())), (1, 1))
