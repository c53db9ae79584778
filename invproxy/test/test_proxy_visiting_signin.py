"""
Who is led to where people sign in, and whose cookies are whose.
"""

from __future__ import annotations

from invproxy.http1.fields import items, values
from invproxy.test.visitbench import OIDC, VisitBench, basic
from invproxy.test.visitcase import ALICE, BOB, UPGRADE, VisitCase

PAGE = b"Accept: text/html,*/*;q=0.8\r\n"


class SignInTests(VisitCase):
    """
    Where people sign in at a provider.
    """

    def setUp(self) -> None:
        self.bench = VisitBench(passwords=False, oidc=OIDC, queueTimeout=0)
        self.bench.add("web", ALICE)

    def test_navigation(self) -> None:
        """
        A browser that opens a page is led to where one signs in, and will come back to just that page.
        """
        for target, back in (
            (b"/", b"/"),
            (b"/a/b?c=d&e=%2F'", b"/a/b%3Fc%3Dd%26e%3D%252F%27"),
            (b"//evil.example/", b"//evil.example/"),
        ):
            for method in (b"GET", b"HEAD"):
                call = self.bench.ask(method, target, PAGE)
                self.assertRefused(self.bench, call, 303, "")
                self.assertEqual(call.reply.value(b"Location"), b"/.invproxy/sign-in?to=" + back)
                self.assertEqual(call.reply.value(b"Cache-Control"), b"no-store")
        long = self.bench.ask(target=b"/" + b"x" * 2048, fields=PAGE)
        self.assertEqual(long.reply.value(b"Location"), b"/.invproxy/sign-in")

    def test_others(self) -> None:
        """
        Everything else is told, and led nowhere: a form would lose what is in it, and a script gets no page to show.
        """
        for method, lines in (
            (b"GET", b""),
            (b"GET", b"Accept: application/json\r\n"),
            (b"GET", b"Accept: */*\r\n"),
            (b"GET", PAGE + b"Sec-Fetch-Mode: cors\r\n"),
            (b"GET", PAGE + UPGRADE),
            (b"POST", PAGE + b"Content-Length: 0\r\n"),
            (b"OPTIONS", PAGE),
        ):
            call = self.bench.ask(method, b"/", lines)
            self.assertRefused(self.bench, call, 401, "unauthenticated")
            [challenge] = values(call.reply.fields, b"WWW-Authenticate")
            self.assertTrue(challenge.startswith(b"Cookie "), challenge)
        navigation = self.bench.ask(fields=PAGE + b"Sec-Fetch-Mode: navigate\r\n")
        self.assertRefused(self.bench, navigation, 303, "")

    def test_nothing(self) -> None:
        """
        Where nothing is nobody need sign in to see that; nor if the registry cannot be read.
        """
        self.bench.add("web", ALICE, paths=("/a",))
        self.assertRefused(self.bench, self.bench.ask(fields=PAGE), 404, "no-backend")

    def test_forbidden(self) -> None:
        """
        Who is signed in and may not visit is told who they are, and what to do.
        """
        call = self.bench.ask(fields=self.bench.signedIn(BOB))
        self.assertRefused(self.bench, call, 403, "forbidden")
        self.assertIn(b"You are bob@example.com.", call.reply.body)
        self.assertIn(b"/.invproxy/sign-out", call.reply.body)

    def test_both(self) -> None:
        """
        With names and passwords besides, programs are challenged for these, and browsers still led to the provider.
        """
        bench = VisitBench(oidc=OIDC)
        bench.add("web", ALICE)
        self.assertRefused(bench, bench.ask(fields=PAGE), 303, "")
        call = bench.ask()
        self.assertRefused(bench, call, 401, "unauthenticated")
        schemes = [text.split()[0] for text in values(call.reply.fields, b"WWW-Authenticate")]
        self.assertEqual(schemes, [b"Basic", b"Cookie"])
        wrong = bench.ask(fields=PAGE + basic(ALICE, "x"))
        self.assertRefused(bench, wrong, 401, "unauthenticated")

    def test_cookies(self) -> None:
        """
        A backend cannot set the proxy's cookies, in interim responses as little as in others; it can set its own.
        """
        client = self.bench.ask(fields=self.bench.signedIn(ALICE))
        identifier, _ = self.bench.take(fields=b"X-Inverting-Proxy-Features: interim, upgrade\r\n")
        self.bench.respond(
            identifier,
            b"HTTP/1.1 103 Early Hints\r\nSet-Cookie: invproxy=x\r\nLink: </a>\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nset-cookie: __Host-invproxy=x; Secure\r\n"
            b"Set-Cookie: invproxy-signin=x\r\nContent-Length: 2\r\n\r\nhi",
            fields=b"X-Inverting-Proxy-Features: interim, upgrade\r\n",
        )
        self.assertEqual(client.status, 200)
        self.assertEqual(client.reply.body, b"hi")
        self.assertEqual(values(client.reply.fields, b"Set-Cookie"), [b"a=b"])
        self.assertNotIn(b"invproxy=x", bytes(client.client.received))
        self.assertIn(b"103 Early Hints", bytes(client.client.received))

    def test_withoutSignIn(self) -> None:
        """
        Where nobody signs in, a cookie of any name is the backend's.
        """
        bench = VisitBench()
        bench.add("web", "allUsers")
        client = bench.ask(fields=b"Cookie: invproxy=y\r\n")
        identifier, fetch = bench.take()
        self.assertIn((b"Cookie", b"invproxy=y"), list(items(_headOf(fetch.reply.body))))
        bench.respond(
            identifier,
            b"HTTP/1.1 200 OK\r\nSet-Cookie: invproxy=x\r\nContent-Length: 0\r\n\r\n",
        )
        self.assertEqual(values(client.reply.fields, b"Set-Cookie"), [b"invproxy=x"])


def _headOf(message: bytes) -> bytes:
    head = message.partition(b"\r\n\r\n")[0]
    return head[head.index(b"\r\n") :]
