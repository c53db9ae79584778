"""
Who may use the admin endpoint.
"""

from __future__ import annotations

import os
from base64 import b64encode
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.test.requesthelper import DummyRequest

from invproxy.admin.answers import Problem
from invproxy.admin.guard import Guard, isLoopback, peerOf
from invproxy.admin.token import AdminToken
from invproxy.auth.throttle import LIMIT, Throttle
from invproxy.errors import ConfigError
from invproxy.http1.fields import values
from invproxy.test.admincase import AdminTestCase, Asked

TOKEN = b"0123456789abcdef-of-the-test"

EVERYWHERE = ("/", "/healthz", "/api/status", "/api/backends", "/api/openapi.json", "/none")


def typed(token: bytes, user: bytes = b"admin") -> bytes:
    """
    What a browser sends when somebody has typed a token as a password.
    """
    return b"Authorization: Basic %b\r\n" % b64encode(user + b":" + token)


class LoopbackTests(AdminTestCase):
    """
    Without a token.
    """

    def test_foreignPeer(self) -> None:
        """
        403 for peers that are not loopback, whatever they say of themselves, on each path.
        """
        for fields in (b"", b"X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n"):
            for path in EVERYWHERE:
                refused = self.ask("GET", path, fields=fields, address="192.0.2.1")
                self.assertProblem(refused, 403, "forbidden", "--admin-token-file")
        for path in EVERYWHERE:
            self.assertNotEqual(self.ask("GET", path).status, 403)

    def test_forwarded(self) -> None:
        """
        403 for what a proxy on this machine passes on, whoever sent it.
        """
        for field in (
            b"X-Forwarded-For: 127.0.0.1",
            b"Forwarded: for=127.0.0.1",
            b"Via: 1.1 nginx",
            b"x-real-ip: 127.0.0.1",
            b"X-Forwarded-Host: localhost",
        ):
            refused = self.ask("GET", "/api/status", fields=field + b"\r\n")
            self.assertProblem(refused, 403, "forbidden", "through a proxy")

    def test_foreignHost(self) -> None:
        """
        403 for a Host that is not a loopback name: somebody's DNS may point it here.
        """
        for host in (
            b"evil.example",
            b"localhost.evil.example",
            b"127.0.0.1.evil.example",
            b"evil.example:8081",
            b"",
            b":8081",
            b"[::2]",
            b"[127.0.0.1]",
            b"[:]",
        ):
            for path in ("/api/status", "/api/backends"):
                self.assertProblem(self.ask("GET", path, host=host), 403, "forbidden", "localhost")
        for host in (b"localhost", b"LOCALHOST:1", b"127.0.0.1:8081", b"[::1]", b"[::1]:8081"):
            self.assertEqual(self.ask("GET", "/api/status", host=host).status, 200, host)

    def test_crossSite(self) -> None:
        """
        403 for what a page of another site sends, by any method.
        """
        for origin in (
            b"http://evil.example",
            b"null",
            b"http://localhost",
            b"http://localhost:8080",
            b"http://localhost:8081.evil.example",
            b"http://127.0.0.1:8081",
            b"http://[",
            b"",
        ):
            for method in ("GET", "POST", "OPTIONS"):
                refused = self.ask(method, "/api/backends", fields=b"Origin: %b\r\n" % origin)
                self.assertProblem(refused, 403, "forbidden", "other sites")
                self.assertIsNone(refused.value(b"access-control-allow-origin"))
        for site, status in (
            (b"cross-site", 403),
            (b"same-site", 403),
            (b"same-origin", 200),
            (b"none", 200),
        ):
            answer = self.ask("GET", "/api/status", fields=b"Sec-Fetch-Site: %b\r\n" % site)
            self.assertEqual(answer.status, status)
        own = self.ask("GET", "/api/status", fields=b"Origin: http://localhost:8081\r\n")
        self.assertEqual(own.status, 200)

    def test_refusedBeforeItIsDone(self) -> None:
        """
        What is refused has no effect.
        """
        body = b'{"id": "web", "endUser": "allUsers", "backendUser": "", "pathPrefixes": ["/"]}'
        for fields, address in ((b"Origin: http://evil.example\r\n", None), (b"", "192.0.2.1")):
            refused = self.ask("POST", "/api/backends", body, fields, address=address)
            self.assertProblem(refused, 403)
        self.assertEqual(self.get("/api/backends"), [])
        self.assertEqual(self.audit, [])

    def test_refusedAtTheHead(self) -> None:
        """
        Who is refused is told so before the body comes, which nobody keeps, or parses: it may be large.
        """
        fields = b"Content-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n"
        for path in EVERYWHERE:
            for framing in (b"Content-Length: 1048576\r\n", b"Transfer-Encoding: chunked\r\n"):
                call = self.call("POST", path, fields=fields + framing, address="192.0.2.1")
                self.assertEqual((call.status, call.reply.interim), (403, []))
                self.assertTrue(call.reply.whole)


class TokenTests(AdminTestCase):
    """
    With a token.
    """

    def setUp(self) -> None:
        super().setUp()
        self.path = self.mktemp()
        self.write(TOKEN + b"\n")
        self.serve(AdminToken(self.path), port=8082)

    def write(self, content: bytes) -> None:
        with open(self.path + ".new", "wb") as file:
            file.write(content)
        os.replace(self.path + ".new", self.path)

    def bearing(self, token: bytes, path: str = "/api/status", address: str = "192.0.2.1") -> Asked:
        """
        Ask from elsewhere, with a token.
        """
        fields = b"Authorization: Bearer %b\r\n" % token
        return self.ask("GET", path, fields=fields, host=b"admin.example", address=address)

    def test_right(self) -> None:
        """
        Who has it may come from anywhere, by any name.
        """
        for fields in (b"Authorization: Bearer %b\r\n", b"authorization: BEARER   %b \r\n"):
            answer = self.ask(
                "GET", "/api/status", fields=fields % TOKEN, host=b"x.example", address="192.0.2.1"
            )
            self.assertEqual(answer.status, 200)

    def test_missing(self) -> None:
        """
        401 without it, on the same machine too, on each path but those that tell nothing.
        """
        for address in (None, "192.0.2.1"):
            for path in EVERYWHERE:
                answer = self.ask("GET", path, address=address)
                if path == "/healthz":
                    self.assertEqual(answer.status, 200)
                    continue
                self.assertProblem(answer, 401, "unauthenticated", "Bearer")
                self.assertEqual(answer.value(b"www-authenticate"), 'Bearer realm="invproxy admin"')
        self.assertEqual(self.ask("GET", "/readyz", address="192.0.2.1").status, 200)
        for path in ("/healthz/", "//healthz", "/healthz%2F..", "/readyz/../api/status"):
            self.assertNotEqual(self.ask("GET", path).status, 200, path)

    def test_wrong(self) -> None:
        """
        401 for a wrong one, for another scheme, and for two at once; it is not repeated.
        """
        right = b"Authorization: Bearer %b\r\n" % TOKEN
        for fields in (
            b"Authorization: Bearer wrong-wrong-wrong\r\n",
            b"Authorization: Bearer\r\n",
            b"Authorization: Bearer %b\r\n" % TOKEN[:-1],
            b"Authorization: Bearer %bx\r\n" % TOKEN,
            b"Authorization: Basic %b\r\n" % TOKEN,
            b"Authorization: %b\r\n" % TOKEN,
            right + right,
        ):
            answer = self.ask("GET", "/api/status", fields=fields)
            self.assertProblem(answer, 401, "unauthenticated")
            self.assertIn('error="invalid_token"', answer.value(b"www-authenticate") or "")
            self.assertNotIn(b"wrong", answer.body)

    def test_browser(self) -> None:
        """
        A browser, which can only send what a person types, looks at everything with the token as a password, of
        whatever user; and programs that know Basic do.
        """
        for user in (b"", b"admin", b"\xff"):
            fields = typed(TOKEN, user)
            for path in ("/", "/api/status", "/api/backends", "/metrics", "/api/openapi.json"):
                for method in ("GET", "HEAD"):
                    answer = self.ask(
                        method, path, fields=fields, host=b"x.example", address="192.0.2.1"
                    )
                    self.assertEqual(answer.status, 200, (method, path))

    def test_browserIsAsked(self) -> None:
        """
        Who asks for a page is asked for a password, in a field of its own; nobody else is, nor for what changes
        anything.
        """
        bearer, password = b'Bearer realm="invproxy admin"', b'Basic realm="invproxy admin"'
        html = b"Accept: application/xml, Text/HTML;q=0.9\r\n"
        json = b"Accept: application/json, */*\r\n"
        for method, fields, challenges in (
            ("GET", html, [bearer, password]),
            ("HEAD", html, [bearer, password]),
            ("GET", json, [bearer]),
            ("GET", b"", [bearer]),
            ("POST", html, [bearer]),
            ("PUT", html, [bearer]),
            ("DELETE", html, [bearer]),
            ("OPTIONS", html, [bearer]),
        ):
            answer = self.ask(method, "/", fields=fields, address="192.0.2.1")
            self.assertEqual(answer.status, 401)
            self.assertEqual(values(answer.fields, b"WWW-Authenticate"), challenges, method)
        # Once more, as long as it is wrong.
        answer = self.ask("GET", "/", fields=html + typed(b"wrong-wrong-wrong"))
        self.assertProblem(answer, 401, "unauthenticated")
        self.assertEqual(
            values(answer.fields, b"WWW-Authenticate"),
            [bearer + b', error="invalid_token"', password],
        )

    def test_browserChangesNothing(self) -> None:
        """
        A browser sends what was typed by itself, whichever page has it send something: so it is good for no method that
        changes anything, nor does the answer tell whether it was right.
        """
        body = b'{"id": "web", "endUser": "allUsers", "backendUser": "", "pathPrefixes": ["/"]}'
        fields = b"Authorization: Bearer %b\r\n" % TOKEN
        self.assertEqual(self.ask("POST", "/api/backends", body, fields).status, 201)
        self.audit.clear()
        for method, path in (
            ("POST", "/api/backends"),
            ("PUT", "/api/backends/web"),
            ("DELETE", "/api/backends/web"),
            ("POST", "/api/backends/web/tokens"),
            ("PATCH", "/api/backends/web"),
            ("OPTIONS", "/api/backends"),
            ("get", "/api/backends"),
        ):
            for address, token in (("192.0.2.1", TOKEN), ("192.0.2.2", TOKEN[:-1])):
                refused = self.ask(method, path, body, typed(token), address=address)
                problem = self.assertProblem(refused, 401, "unauthenticated")
                self.assertIn("Authorization: Bearer", problem["detail"])
        self.assertEqual(self.audit, [])
        # It was not looked at, so whoever sends it has not guessed.
        for _ in range(30):
            refused = self.ask("POST", "/api/backends", body, typed(TOKEN), address="192.0.2.1")
            self.assertEqual(refused.status, 401)
        self.assertEqual(
            self.ask("GET", "/", fields=typed(TOKEN[:-1]), address="192.0.2.1").status, 401
        )
        listed = self.ask("GET", "/api/backends", fields=fields)
        self.assertEqual([record["id"] for record in listed.json], ["web"])

    def test_reasons(self) -> None:
        """
        The status line has the phrase of the status, also of one that Twisted does not know.
        """
        for _ in range(20):
            self.bearing(b"guess")
        call = self.call(
            "GET", "/api/status", fields=b"Authorization: Bearer guess\r\n", address="192.0.2.1"
        )
        self.assertIn(b"HTTP/1.1 429 Too Many Requests\r\n", call.client.received)

    def test_typedWrong(self) -> None:
        """
        401 for other passwords, and for what is none; who guesses so is slowed down, with whoever guesses otherwise.
        """
        token = b64encode(TOKEN)
        pair = b64encode(b"admin:" + TOKEN)
        for shown in (
            b64encode(b"admin:" + TOKEN[:-1]),
            b64encode(b"admin:" + TOKEN + b"\n"),
            b64encode(b"admin:"),
            b64encode(TOKEN + b":"),
            token,
            pair + b" x",
            pair[:-1],
            b"?",
            b"",
        ):
            fields = b"Authorization: Basic %b\r\n" % shown
            answer = self.ask("GET", "/", fields=fields, address="192.0.2.1")
            self.assertProblem(answer, 401, "unauthenticated")
        twice = typed(TOKEN) + typed(TOKEN)
        self.assertProblem(self.ask("GET", "/", fields=twice, address="192.0.2.1"), 401)
        self.assertEqual(self.bearing(b"guess").status, 429)
        refused = self.ask("GET", "/", fields=typed(b"guess"), address="192.0.2.1")
        self.assertProblem(refused, 429, "too-many-attempts")
        right = self.ask("GET", "/", fields=typed(TOKEN), address="192.0.2.1")
        self.assertEqual(right.status, 200)

    def test_atTheHead(self) -> None:
        """
        Who has no token, or a wrong one, is refused before the body comes; what all may see waits for none either.
        """
        length = b"Content-Length: 1048576\r\n"
        for fields in (b"", b"Authorization: Bearer wrong-wrong-wrong\r\n"):
            call = self.call("POST", "/api/backends", fields=fields + length, address="192.0.2.1")
            self.assertEqual(call.status, 401)
        for path in ("/healthz", "/readyz"):
            call = self.call("POST", path, fields=length, address="192.0.2.1")
            self.assertEqual(call.status, 405)

    def test_crossSite(self) -> None:
        """
        What a page of another site sends is refused even with the token.
        """
        bearer = b"Authorization: Bearer %b\r\n" % TOKEN
        for fields in (b"Origin: http://evil.example\r\n", b"Sec-Fetch-Site: cross-site\r\n"):
            for path in ("/api/status", "/healthz"):
                for token in (bearer, typed(TOKEN)):
                    self.assertProblem(self.ask("GET", path, fields=fields + token), 403)

    def test_guessing(self) -> None:
        """
        Who guesses is slowed down, but not whoever has the token, nor others; a missing token is no guess.
        """
        for _ in range(3 * LIMIT):
            self.ask("GET", "/api/status", address="192.0.2.1")
        for _ in range(LIMIT):
            self.assertEqual(self.bearing(b"guess").status, 401)
        refused = self.bearing(b"guess")
        self.assertProblem(refused, 429, "too-many-attempts")
        self.assertGreater(int(refused.value(b"retry-after") or "0"), 0)
        self.assertEqual(self.bearing(TOKEN).status, 200)
        self.assertEqual(self.bearing(b"guess", address="192.0.2.2").status, 401)
        self.network.advance(16)
        self.assertEqual(self.bearing(b"guess").status, 401)

    def test_replaced(self) -> None:
        """
        Another token in the file is in force at once, and the one before it no longer.
        """
        other = b"another-token-of-the-test"
        self.write(other)
        self.assertEqual(self.bearing(TOKEN).status, 401)
        self.assertEqual(self.bearing(other).status, 200)
        with open(self.path, "wb") as file:  # in its place, as an editor may do it
            file.write(TOKEN)
        self.assertEqual(self.bearing(TOKEN).status, 200)
        self.assertEqual(self.bearing(other).status, 401)

    def test_unreadable(self) -> None:
        """
        Nobody gets in while the file is gone or holds no token, which is logged once; it needs no restart.
        """
        os.rename(self.path, self.path + ".away")
        for _ in range(3):
            self.assertProblem(self.bearing(TOKEN), 503, "token-unreadable")
        self.assertEqual(self.ask("GET", "/healthz").status, 200)
        self.assertEqual(len(self.log), 1)
        self.assertIn("No such file", formatEvent(self.log[0]))
        self.write(b"short")
        self.assertProblem(self.bearing(b"short"), 503, "token-unreadable")
        self.write(b"")
        self.assertProblem(self.bearing(b""), 503, "token-unreadable")
        os.rename(self.path + ".away", self.path)
        self.assertEqual(self.bearing(TOKEN).status, 200)
        self.assertEqual(len(self.log), 2)  # that all is well again

    def test_audit(self) -> None:
        """
        The audit log says that a change came by the token, and not what the token is.
        """
        body = b'{"id": "web", "endUser": "allUsers", "backendUser": "", "pathPrefixes": ["/"]}'
        fields = b"Authorization: Bearer %b\r\n" % TOKEN
        self.assertEqual(
            self.ask("POST", "/api/backends", body, fields, address="192.0.2.1").status, 201
        )
        [event] = self.audit
        self.assertEqual((event["peer"], event["credential"]), ("192.0.2.1", "token"))
        self.assertNotIn(TOKEN.decode(), repr(event))


class AdminTokenTests(SynchronousTestCase):
    """
    L{AdminToken}, as it is made.
    """

    def made(self, content: bytes) -> AdminToken:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(content)
        return AdminToken(path)

    def test_content(self) -> None:
        """
        White space around it is none of it.
        """
        token = self.made(b"  " + TOKEN + b" \r\n")
        self.assertTrue(token.isReadable() and token.matches(TOKEN))
        self.assertFalse(token.matches(TOKEN + b" "))
        self.assertFalse(token.matches(b""))

    def test_bad(self) -> None:
        """
        What holds no token is refused at the start, with what to do, and not shown.
        """
        for content in (b"", b"too-short", b"two tokens-0123456789", b"\xff" * 20, b"x" * 1025):
            error = self.assertRaises(ConfigError, self.made, content)
            self.assertIn("openssl rand -hex 32", str(error))
            self.assertNotIn("short", str(error))
        error = self.assertRaises(ConfigError, AdminToken, self.mktemp())
        self.assertIn("No such file", str(error))
        self.assertRaises(ConfigError, AdminToken, "a\0b")
        self.assertRaises(ConfigError, AdminToken, "/")


class PeerTests(SynchronousTestCase):
    """
    Peers by their addresses.
    """

    def request(self, address: IAddress | None) -> Any:
        request: Any = DummyRequest([b""])
        request.requestHeaders = Headers({b"Host": [b"localhost"]})
        request.client = address
        request.path = b"/"
        return request

    def isRefused(self, address: IAddress | None) -> bool:
        try:
            Guard(None, Throttle(Clock())).admit(self.request(address))
        except Problem:
            return True
        return False

    def test_loopback(self) -> None:
        """
        All loopback addresses, and UNIX sockets.
        """
        for address in (
            IPv4Address("TCP", "127.0.0.1", 1),
            IPv4Address("TCP", "127.9.9.9", 1),
            IPv6Address("TCP", "::1", 1),
            IPv6Address("TCP", "::ffff:127.0.0.1", 1),
            UNIXAddress(b"/x"),
            UNIXAddress(None),
        ):
            self.assertFalse(self.isRefused(address), address)
            self.assertTrue(isLoopback(self.request(address)))

    def test_others(self) -> None:
        """
        No other.
        """
        for address in (
            IPv4Address("TCP", "10.0.0.1", 1),
            IPv4Address("TCP", "0.0.0.0", 1),
            IPv6Address("TCP", "::", 1),
            IPv6Address("TCP", "fe80::1%lo", 1),
            IPv6Address("TCP", "::ffff:10.0.0.1", 1),
            IPv4Address("TCP", "127.0.0.1.2", 1),
            IPv4Address("TCP", "localhost", 1),
            IPv4Address("TCP", "", 1),
            None,
        ):
            self.assertTrue(self.isRefused(address), address)

    def test_names(self) -> None:
        """
        What they are called in the audit log.
        """
        self.assertEqual(peerOf(self.request(IPv6Address("TCP", "::1", 1))), "::1")
        self.assertEqual(peerOf(self.request(UNIXAddress(b"/x"))), "unix")
