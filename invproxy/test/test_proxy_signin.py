"""
The pages where people sign in and out.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from invproxy.auth.attempts import TIMEOUT
from invproxy.auth.throttle import LIMIT, WIDE_LIMIT
from invproxy.errors import Fault
from invproxy.http1.fields import values
from invproxy.test.rawcalls import Call
from invproxy.test.test_auth_oidc import ALICE, ISSUER, SETTINGS, PlayedProvider
from invproxy.test.visitbench import VisitBench

HOST = b"localhost:8080"
HTTPS = b"X-Forwarded-Proto: https\r\n"
TRUSTED = "10.1.2.3"


class SignInCase(SynchronousTestCase):
    """
    What these tests share.
    """

    def setUp(self) -> None:
        self.played = PlayedProvider(1_800_000_000)
        self.bench = VisitBench(
            passwords=False,
            oidc=SETTINGS,
            fetcher=self.played,
            queueTimeout=0,
            trustedProxies=(ip_network("10.0.0.0/8"),),
        )
        self.bench.add("alices", ALICE)
        self.cookies: dict[bytes, bytes] = {}

    def visit(
        self,
        target: bytes,
        lines: bytes = b"",
        *,
        method: bytes = b"GET",
        host: bytes = HOST,
        address: str = "127.0.0.1",
        cookies: bool = True,
    ) -> Call:
        """
        Do what a browser does, cookies and all.
        """
        if cookies and self.cookies:
            pairs = b"; ".join(b"%b=%b" % pair for pair in self.cookies.items())
            lines += b"Cookie: " + pairs + b"\r\n"
        call = self.bench.ask(method, target, lines, host=host, address=address)
        for text in values(call.reply.fields, b"Set-Cookie"):
            pair, _, attributes = text.partition(b";")
            name, _, value = pair.partition(b"=")
            self.cookies[name] = value
            if b"Max-Age=0;" in attributes:
                del self.cookies[name]
        return call

    def begin(self, to: bytes = b"/page", **options: Any) -> dict[str, str]:
        """
        Begin to sign in.

        @return: what the provider is told.
        """
        call = self.visit(b"/.invproxy/sign-in?to=" + quote(to).encode(), **options)
        self.assertEqual(call.status, 303, call.client.received)
        location = (call.reply.value(b"Location") or b"").decode()
        self.assertTrue(location.startswith(f"{ISSUER}/authorize?"))
        told = dict(parse_qsl(urlsplit(location).query))
        self.played.nonce = told["nonce"]
        return told

    def complete(self, told: dict[str, str], query: str = "code=abc", **options: Any) -> Call:
        """
        Come back from the provider.
        """
        path = urlsplit(told["redirect_uri"]).path
        return self.visit(f"{path}?{query}&state={quote(told['state'])}".encode(), **options)

    def assertNobody(self, call: Call, says: bytes = b"", status: int = 403) -> None:
        """
        Nobody is signed in.
        """
        self.assertEqual(call.status, status, call.client.received)
        self.assertIn(says, call.reply.body)
        self.assertNotIn(b"Set-Cookie", call.reply.fields)
        assert self.bench.endUsers is not None
        self.assertEqual(len(self.sessions), 0)

    @property
    def sessions(self) -> Any:
        """
        All sessions.
        """
        assert self.bench.endUsers is not None
        return self.bench.endUsers.visitors._sessions

    def userOf(self, **options: Any) -> str:
        """
        As whom the browser gets to the backend, or where else.
        """
        call = self.visit(b"/page", **options)
        exchanges = list(self.bench.proxy.mailboxes.exchanges.values())
        call.leave()
        return exchanges[0].endUser if exchanges else f"!{call.status}"


class SigningInTests(SignInCase):
    """
    The way in.
    """

    def test_way(self) -> None:
        """
        To the provider, and back to the page that was asked for; from then on one is known.
        """
        self.assertEqual(self.userOf(), "!401")
        told = self.begin(b"/page?a=b&c=%2F")
        self.assertEqual(told["redirect_uri"], "http://localhost:8080/.invproxy/callback")
        self.assertEqual(self.userOf(), "!401")
        call = self.complete(told)
        self.assertEqual(call.status, 303)
        self.assertEqual(call.reply.value(b"Location"), b"/page?a=b&c=%2F")
        self.assertEqual(call.reply.value(b"Cache-Control"), b"no-store")
        self.assertEqual(sorted(self.cookies), [b"invproxy", b"invproxy-signin"])
        self.assertEqual(self.userOf(), ALICE)

    def test_cookies(self) -> None:
        """
        Over TLS, be it that of a trusted proxy, the cookies are bound to it and to the host; and only they count.
        """
        options: dict[str, Any] = {"lines": HTTPS, "address": TRUSTED, "host": b"proxy.example"}
        told = self.begin(**options)
        self.assertEqual(told["redirect_uri"], "https://proxy.example/.invproxy/callback")
        call = self.complete(told, **options)
        [cookie] = values(call.reply.fields, b"Set-Cookie")
        self.assertRegex(
            cookie,
            rb"\A__Host-invproxy=[A-Za-z0-9_-]{43}; Path=/; Secure; HttpOnly; SameSite=Lax\Z",
        )
        self.assertEqual(self.userOf(**options), ALICE)
        self.assertEqual(self.userOf(host=b"proxy.example"), "!401")

    def test_binding(self) -> None:
        """
        The cookie of an attempt lives for ten minutes, and is the same for several windows: both get in.
        """
        call = self.visit(b"/.invproxy/sign-in")
        [cookie] = values(call.reply.fields, b"Set-Cookie")
        self.assertRegex(
            cookie,
            rb"\Ainvproxy-signin=[A-Za-z0-9_-]{43}; Path=/; Max-Age=600; HttpOnly; SameSite=Lax\Z",
        )
        one, two = self.begin(b"/one"), self.begin(b"/two")
        for told, page in ((one, b"/one"), (two, b"/two")):
            self.played.nonce = told["nonce"]
            self.assertEqual(self.complete(told).reply.value(b"Location"), page)

    def test_host(self) -> None:
        """
        Behind a trusted proxy it is the host that the browser asked for that counts.
        """
        lines = HTTPS + b"X-Forwarded-Host: Public.example\r\n"
        told = self.begin(lines=lines, address=TRUSTED, host=b"internal:80")
        self.assertEqual(told["redirect_uri"], "https://public.example/.invproxy/callback")

    def test_plain(self) -> None:
        """
        In the clear nobody signs in but on this machine; also if the browser's side lies about it.
        """
        for lines, host, address in (
            (b"", b"proxy.example", "127.0.0.1"),
            (HTTPS, b"proxy.example", "203.0.113.1"),
            (b"", b"proxy.example", TRUSTED),
        ):
            call = self.visit(b"/.invproxy/sign-in", lines, host=host, address=address)
            self.assertNobody(call, b"needs https")
        self.assertEqual(self.played.asked, [])

    def test_elsewhere(self) -> None:
        """
        The way leads back here, whatever a link says.
        """
        for to in (b"//evil.example", b"https://evil.example", b"/\\evil.example", b"/\t/e", b""):
            self.assertEqual(self.complete(self.begin(to)).reply.value(b"Location"), b"/")
        self.visit(b"/.invproxy/sign-in?to=/a&to=//evil.example")
        call = self.visit(b"/.invproxy/sign-in?" + b"&".join([b"to=/"] * 30))
        self.assertEqual(call.status, 303)

    def test_rotation(self) -> None:
        """
        Whoever signs in has a new session each time, and the browser's former one has ended: what somebody might have
        planted there is worth nothing.
        """
        self.complete(self.begin())
        former = self.cookies[b"invproxy"]
        self.complete(self.begin())
        self.assertNotEqual(self.cookies[b"invproxy"], former)
        self.assertEqual(len(self.sessions), 1)
        self.assertIsNone(self.sessions.find(former))

    def test_otherBrowser(self) -> None:
        """
        Nobody can complete what another browser began: not who was led to the end of somebody else's way in, nor who
        has stolen it.
        """
        told = self.begin()
        mine = dict(self.cookies)
        self.cookies.clear()
        self.assertNobody(self.complete(told), b"another browser")
        self.begin()
        self.assertNobody(self.complete(told), b"another browser")
        self.cookies = {b"__Host-invproxy-signin": mine[b"invproxy-signin"]}
        self.assertNobody(self.complete(told), b"another browser")
        self.cookies = mine
        self.assertNobody(self.complete({**told, "state": "x"}), b"another browser")
        self.assertNobody(self.visit(b"/.invproxy/callback?code=abc"), b"another browser")
        self.assertNobody(self.visit(b"/.invproxy/callback"), b"another browser")
        self.assertNobody(self.complete(told, query="state=x&code=abc"), b"another browser")
        self.assertNotIn("/token", [path for _, path, _, _ in self.played.asked])
        self.played.nonce = told["nonce"]
        self.assertEqual(self.complete(told).status, 303)

    def test_otherHost(self) -> None:
        """
        Nor at another of our names than where it was begun.
        """
        told = self.begin()
        self.assertNobody(self.complete(told, host=b"127.0.0.1:8080"), b"another browser")

    def test_late(self) -> None:
        """
        Nor after ten minutes.
        """
        told = self.begin()
        self.bench.network.advance(TIMEOUT + 1)
        self.assertNobody(self.complete(told), b"too long ago")

    def test_refused(self) -> None:
        """
        What the provider says instead is shown, as far as it is text, and signs nobody in, not even with a code.
        """
        self.assertNobody(self.complete(self.begin(), "error=access_denied"), b"access_denied")
        call = self.complete(self.begin(), "error=%3Cb%3E%0A&code=abc")
        self.assertNobody(call, b"<b>\\n")
        call = self.complete(self.begin(), "error=%3Cb%3E", lines=b"Accept: text/html\r\n")
        self.assertNobody(call, b"&lt;b&gt;")

    def test_notVerified(self) -> None:
        """
        Who cannot be told for sure is not signed in, and does not lose a session by it.
        """
        self.played.claims["email_verified"] = False
        self.assertNobody(self.complete(self.begin()), b"not verified")
        self.played.claims["email_verified"] = True
        self.complete(self.begin())
        self.played.claims["email_verified"] = False
        self.assertEqual(self.complete(self.begin()).status, 403)
        self.assertEqual(self.userOf(), ALICE)

    def test_wrongNonce(self) -> None:
        """
        An ID token that was made for another attempt signs nobody in.
        """
        told = self.begin()
        self.played.nonce = "another"
        with capturedLogs():
            self.assertNobody(self.complete(told))

    def test_unreachable(self) -> None:
        """
        Without the provider 503; what needs no sign-in goes on, and who is signed in stays so.
        """
        self.complete(self.begin())
        told = self.begin()
        self.played.isDown = True
        with capturedLogs():
            call = self.complete(told)
            self.assertEqual((call.status, call.error), (503, "issuer-unavailable"))
            self.assertEqual(self.userOf(), ALICE)
            self.bench.network.advance(3601)
            self.assertEqual(self.visit(b"/.invproxy/sign-in").status, 303)

    def test_throttled(self) -> None:
        """
        Who comes with one bad code after another has to wait; the provider's failures are nobody's fault.
        """
        told = self.begin()
        with capturedLogs():
            self.played.status = 500
            for _ in range(LIMIT + 1):
                self.assertEqual(self.complete(told).status, 503)
            self.played.status = 400
            for _ in range(LIMIT):
                self.assertEqual(self.complete(told).status, 403)
            asked = len(self.played.asked)
            call = self.complete(told)
            self.assertEqual((call.status, call.error), (429, "too-many-attempts"))
            self.assertEqual(len(self.played.asked), asked)

    def test_throttledWhenLeaving(self) -> None:
        """
        Who leaves before the provider has answered has asked it all the same, and has to wait as well.
        """
        told = self.begin()
        self.played.later = []
        for _ in range(LIMIT):
            self.complete(told).leave()
        asked = len(self.played.asked)
        call = self.complete(told)
        self.assertEqual((call.status, call.error), (429, "too-many-attempts"))
        self.assertEqual(len(self.played.asked), asked)

    def test_neighbor(self) -> None:
        """
        Wrong passwords from the same address keep nobody from signing in there.
        """
        assert self.bench.endUsers is not None
        throttle = self.bench.endUsers.visitors.throttle
        for _ in range(WIDE_LIMIT):
            throttle.fail("127.0.0.1", b"alice")
        with self.assertRaises(Fault):
            throttle.check("127.0.0.1", b"bob")
        self.assertEqual(self.complete(self.begin()).status, 303)
        self.assertEqual(self.userOf(), ALICE)

    def test_neighborsCodes(self) -> None:
        """
        Neither do the bad codes of another browser there; but those of very many do, for a while.
        """
        with capturedLogs():
            self.played.status = 400
            told = self.begin()
            for _ in range(LIMIT):
                self.assertEqual(self.complete(told).status, 403)
            self.assertEqual(self.complete(told).status, 429)
            self.cookies.clear()
            self.played.status = 200
            self.assertEqual(self.complete(self.begin()).status, 303)
            self.played.status = 400
            for _ in range(WIDE_LIMIT - LIMIT):
                self.cookies.clear()
                self.assertEqual(self.complete(self.begin()).status, 403)
            self.cookies.clear()
            told = self.begin()
            self.assertEqual(self.complete(told).status, 429)
            self.assertEqual(self.complete(told, address="192.0.2.9").status, 403)
            self.bench.advance(15)
            self.played.status = 200
            self.assertEqual(self.complete(told).status, 303)

    def test_accessLog(self) -> None:
        """
        The code stays out of the access log.
        """
        seen: list[bytes] = []
        self.bench.site.streamEnded = lambda stream: seen.append(stream.head.target)
        self.complete(self.begin())
        self.assertEqual(seen[-1], b"/.invproxy/callback")
        call = self.complete(self.begin(), method=b"POST", lines=b"Content-Length: 0\r\n")
        self.assertEqual((call.status, seen[-1]), (405, b"/.invproxy/callback"))

    def test_left(self) -> None:
        """
        Who leaves while the provider is asked is not signed in.
        """
        told = self.begin()
        self.played.later = []
        call = self.complete(told)
        self.assertEqual(call.status, 0)
        call.leave()
        self.assertEqual(len(self.sessions), 0)


class SigningOutTests(SignInCase):
    """
    The way out.
    """

    PATH = b"/.invproxy/sign-out"
    SAME = b"Origin: http://localhost:8080\r\nSec-Fetch-Site: same-origin\r\n"

    def setUp(self) -> None:
        super().setUp()
        self.complete(self.begin())

    def signOut(self, lines: bytes, **options: Any) -> Call:
        return self.visit(self.PATH, lines + b"Content-Length: 0\r\n", method=b"POST", **options)

    def test_ask(self) -> None:
        """
        The page asks first, and changes nothing: a link, or a picture, signs nobody out.
        """
        for method in (b"GET", b"HEAD"):
            call = self.visit(self.PATH, method=method)
            self.assertEqual(call.status, 200)
            self.assertNotIn(b"Set-Cookie", call.reply.fields)
        call = self.visit(self.PATH)
        self.assertIn(b"<b>alice@example.com</b>", call.reply.body)
        self.assertIn(b'<form method="post">', call.reply.body)
        self.assertIn(
            b"frame-ancestors 'none'", call.reply.value(b"Content-Security-Policy") or b""
        )
        self.assertEqual(call.reply.value(b"Cache-Control"), b"no-store")
        self.assertEqual(self.userOf(), ALICE)

    def test_signOut(self) -> None:
        """
        The session ends, wherever the cookie is kept, and the cookie goes.
        """
        kept = dict(self.cookies)
        call = self.signOut(self.SAME)
        self.assertEqual(call.status, 200)
        self.assertNotIn(b"invproxy", self.cookies)
        self.assertEqual(self.userOf(), "!401")
        self.cookies = kept
        self.assertEqual(self.userOf(), "!401")
        self.assertIn(b"You are not signed in.", self.visit(self.PATH).reply.body)

    def test_otherSites(self) -> None:
        """
        No other site signs anybody out.
        """
        for lines in (
            b"Origin: https://evil.example\r\n",
            b"Origin: null\r\n",
            b"Origin: https://localhost:8080\r\n",
            b"Origin: http://localhost\r\n",
            b"Origin: http://localhost:8080\r\nSec-Fetch-Site: same-site\r\n",
            b"Sec-Fetch-Site: cross-site\r\n",
        ):
            call = self.signOut(lines)
            self.assertEqual(call.status, 403, lines)
            self.assertNotIn(b"Set-Cookie", call.reply.fields)
        self.assertEqual(self.userOf(), ALICE)

    def test_nobody(self) -> None:
        """
        Without a session there is nothing to end, nor a cookie to take away.
        """
        call = self.signOut(b"", cookies=False)
        self.assertEqual(call.status, 200)
        self.assertNotIn(b"Set-Cookie", call.reply.fields)
        self.assertEqual(self.userOf(), ALICE)

    def test_names(self) -> None:
        """
        Whatever somebody is called, it is but text.
        """
        cookie = self.bench.signedIn("<script>&")
        call = self.visit(self.PATH, cookie, cookies=False)
        self.assertIn(b"<b>&lt;script&gt;&amp;</b>", call.reply.body)


class PagesTests(SignInCase):
    """
    The pages as such.
    """

    def test_methods(self) -> None:
        """
        Other methods are refused, and named.
        """
        for path, method, allow in (
            (b"sign-in", b"POST", b"GET, HEAD"),
            (b"callback", b"POST", b"GET, HEAD"),
            (b"callback", b"PUT", b"GET, HEAD"),
            (b"sign-out", b"DELETE", b"GET, HEAD, POST"),
        ):
            call = self.visit(b"/.invproxy/" + path, b"Content-Length: 0\r\n", method=method)
            self.assertEqual((call.status, call.error), (405, "method-not-allowed"))
            self.assertEqual(call.reply.value(b"Allow"), allow)

    def test_others(self) -> None:
        """
        There is nothing else at the proxy's own paths, and these are no backend's, however its record reads.
        """
        self.bench.add("alices", "allUsers")
        for path in (
            b"/.invproxy/",
            b"/.invproxy/sign-in/",
            b"/.invproxy/x",
            b"/.invproxy/sign-i%6e",
        ):
            call = self.visit(path)
            self.assertEqual((call.status, call.error), (404, "no-backend"), path)

    def test_withoutProvider(self) -> None:
        """
        Where nobody can sign in there are no such pages.
        """
        self.bench = VisitBench()
        for path in (b"sign-in", b"callback", b"sign-out"):
            self.assertEqual(self.visit(b"/.invproxy/" + path).status, 404)
