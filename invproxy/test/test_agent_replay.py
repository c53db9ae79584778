"""
One exchange on the agent's side, against a proxy and an origin whose every byte is written by hand.
"""

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import LogLevel

from invproxy.errors import BAD_REQUEST, ORIGIN_BAD_RESPONSE, ORIGIN_REFUSED, Fault
from invproxy.http1.framing import UNTIL_CLOSE
from invproxy.http1.heads import ResponseHead, responseHead
from invproxy.test.scripted import AgentTestCase, RecordingOrigin

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n"
CHUNKED_POST = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
SWITCH = ResponseHead(101, b" Switching Protocols", upgrade=b"echo")


class ReplayTestCase(AgentTestCase):
    """
    An agent before an L{RecordingOrigin}.
    """

    settings: dict[str, Any] = {}

    def setUp(self):
        super().setUp()
        self.service: Any = self.agent(**self.settings)

    def upload(self) -> Any:
        """
        The only exchange of the origin.
        """
        [upload] = self.origin.uploads
        return upload

    def count(self) -> int:
        """
        How many exchanges the agent takes to be in flight.
        """
        count: int = self.service._run.carrier.countExchanges()
        return count

    def post(self):
        """
        The only call that brings a response.
        """
        [post] = self.proxy.posts()
        return post


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
        If the answer has begun, it is cut.
        """
        fetch = self.begin(CHUNKED_POST, end=False)
        self.upload().answer.respond(responseHead(200, b"OK", length=5))
        fetch.more(b"xyz\r\n\r\n")
        self.assertTrue(self.post().lost)
        self.assertFalse(self.post().whole)
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
            [post] = self.proxy.posts(str(number))
            self.assertTrue(post.lost)
            self.assertFalse(post.whole)
            self.assertNotIn(b"0\r\n\r\n", post.body)
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
