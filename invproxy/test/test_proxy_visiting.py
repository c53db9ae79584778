"""
Who gets to which backend.
"""

from __future__ import annotations

from ipaddress import ip_network
from itertools import product
from typing import Any

from twisted.internet.defer import Deferred

from invproxy.auth import visitors
from invproxy.http1.fields import values
from invproxy.test.helpers import skipIfCompiled
from invproxy.test.visitbench import OIDC, VisitBench, basic, known
from invproxy.test.visitcase import ALICE, BOB, UPGRADE, VisitCase

RECORDS: dict[str, tuple[tuple[str, ...], str]] = {
    "alices": ((ALICE,), "/a"),
    "bobs": ((BOB,), "/b"),
    "teams": (("*@example.com",), "/team/"),
    "everybodys": (("allUsers",), "/public"),
}
"""Who may visit what, and where it is, as the table takes it."""

PATHS = {
    b"/a": "alices",
    b"/a/x?y=/b": "alices",
    b"/b/x": "bobs",
    b"/%62/x": "bobs",
    b"/team/x": "teams",
    b"/public/x": "everybodys",
    b"/nothing": None,
    b"/ab": None,
    b"/team": None,
    b"/": None,
    b"/public/../a": "?",
    b"/public/%2e%2e/a": "?",
    b"/public/..%2Fa": "?",
    b"/public/..%252Fa": "?",
    b"/public/..;/a": "?",
    b"/public/..\\a": "?",
    b"//a": "?",
    b"/./a": "?",
    b"/public/%2e": "everybodys",
    b"/public//x%2Fy": "everybodys",
}
"""Paths, and what is there; C{"?"} where that depends on who reads it."""

LIES = (
    b"",
    b"X-Forwarded-User: alice@example.com\r\nX-Inverting-Proxy-User-ID: alice@example.com\r\n"
    b"X-Inverting-Proxy-Backend: alices\r\nX-Inverting-Proxy-Backend-ID: alices\r\n"
    b"X-Forwarded-For: 127.0.0.1\r\nX-Original-URL: /a\r\n",
)
"""What a client might say in the hope that somebody believes it."""


class TableTests(VisitCase):
    """
    Every kind of request, with every kind of credentials.
    """

    def test_table(self) -> None:
        """
        Method x path x upgrade x credentials: who gets in, and where, is what the records say, and nothing else. The
        credentials that counted stay here.
        """
        bench = VisitBench(
            oidc=OIDC,
            userHeader=b"x-forwarded-user",
            trustedProxies=(ip_network("10.0.0.0/8"),),
            queueTimeout=0,
        )
        for id, (users, path) in RECORDS.items():
            bench.add(id, *users, paths=(path,))
        session = bench.signedIn(ALICE)
        ended = bench.signedIn(BOB)
        assert bench.endUsers is not None
        sessions = bench.endUsers.visitors._sessions
        assert sessions is not None
        found = sessions.find(ended.partition(b"=")[2].strip())
        assert found is not None
        sessions.end(found)
        credentials: dict[bytes, str | None] = {
            b"": "",
            known(ALICE): ALICE,
            known(BOB): BOB,
            known("carol"): "carol",
            session: ALICE,
            ended: "",
            session + known(BOB): BOB,
            session.replace(b"invproxy", b"__Host-invproxy"): "",
            b"Cookie: other=1\r\n" + session: ALICE,
            b"Authorization: Bearer x\r\n": "",
            b"Authorization: Bearer x\r\n" + session: ALICE,
            basic(ALICE, "builder"): None,
            session + basic(ALICE, "x"): None,
            basic("", ""): None,
        }
        methods = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND")
        address = 0
        for (lines, user), (target, there), method, upgrade, lie in product(
            credentials.items(), PATHS.items(), methods, (b"", UPGRADE), LIES
        ):
            if (lie or upgrade) and method not in (b"GET", b"POST"):
                continue
            # Each from an address of its own, or failures would soon be too many.
            address += 1
            call = bench.ask(
                method,
                target,
                lines + upgrade + lie,
                address=f"203.0.{address >> 8 & 255}.{address & 255}",
            )
            name = f"{method!r} {target!r} {lines + upgrade + lie!r}"
            taken = self.taken(bench)
            status = call.status
            call.leave()
            if user is None:
                expected: tuple[object, ...] = (None, 401)
            elif there == "?":
                # Nobody gets in; those who could otherwise are told why.
                self.assertIn(status, (400, 404), name)
                self.assertTrue(status == 400 or user != ALICE, name)
                expected = (None, status)
            elif there is None:
                expected = (None, 404)
            elif user in (users := RECORDS[there][0]) or (
                "allUsers" in users or f"*@{user.partition('@')[2]}" in users
            ):
                expected = ((there, user), 0)
            else:
                expected = (None, 403 if user else 401)
            self.assertEqual((taken, status), expected, name)
            if taken is not None:
                self.assertNotIn(b"invproxy=", self.fields, name)
                self.assertNotIn(b"Basic", self.fields, name)
                self.assertNotIn(b"X-Inverting", self.fields, name)
                self.assertNotIn(b"X-Forwarded-User", self.fields, name)
                self.assertEqual(b"Bearer x" in lines, b"Bearer x" in self.fields, name)
        self.assertGreater(address, 3500)


class RegistryTests(VisitCase):
    """
    Routing by the registry.
    """

    def setUp(self) -> None:
        self.bench = VisitBench(queueTimeout=0)

    def test_ownFirst(self) -> None:
        """
        At one path the user's own comes before that of the domain, and that before everybody's.
        """
        self.bench.add("everybodys", "allUsers")
        self.bench.add("teams", "*@example.com")
        self.bench.add("alices", ALICE)
        for lines, backend, user in (
            (b"", "everybodys", ""),
            (known("carol"), "everybodys", "carol"),
            (known(BOB), "teams", BOB),
            (known(ALICE), "alices", ALICE),
        ):
            self.assertGets(self.bench, self.bench.ask(fields=lines), backend, user)

    def test_hosts(self) -> None:
        """
        The most specific host first, whatever the path; ports and case do not matter.
        """
        self.bench.add("any", "allUsers", paths=("/long/path/",))
        self.bench.add("wild", "allUsers", hosts=["*.example.com"])
        self.bench.add("exact", "allUsers", hosts=["a.example.com"])
        for host, backend in (
            (b"A.example.com:8080", "exact"),
            (b"b.example.com", "wild"),
            (b"a.b.example.com", "wild"),
            (b"elsewhere.example", "any"),
        ):
            call = self.bench.ask(target=b"/long/path/x", host=host)
            self.assertGets(self.bench, call, backend, "")
        self.assertRefused(self.bench, self.bench.ask(host=b"example.com"), 404, "no-backend")

    def test_offline(self) -> None:
        """
        Match first, life second: nobody lands on another's backend as their own is down, or was never there.
        """
        self.bench.add("everybodys", "allUsers")
        self.bench.add("alices", ALICE)
        self.bench.advance(301)
        self.bench.fetch(b"0", backend=b"everybodys")
        call = self.bench.ask(fields=known(ALICE))
        self.assertRefused(self.bench, call, 503, "agent-offline")
        self.assertGets(self.bench, self.bench.ask(), "everybodys", "")

    def test_changes(self) -> None:
        """
        A change is in force from the next request on.
        """
        self.bench.add("web", ALICE)
        self.assertRefused(self.bench, self.bench.ask(fields=known(BOB)), 403, "forbidden")
        self.bench.add("web", ALICE, BOB)
        self.assertGets(self.bench, self.bench.ask(fields=known(BOB)), "web", BOB)
        self.bench.add("web", BOB)
        self.assertRefused(self.bench, self.bench.ask(fields=known(ALICE)), 403, "forbidden")
        self.bench.remove("web")
        self.assertRefused(self.bench, self.bench.ask(fields=known(BOB)), 404, "no-backend")

    def test_unavailable(self) -> None:
        """
        While the registry cannot be read the answer is 503.
        """
        self.bench.add("web", "allUsers")
        self.bench.network.resultOf(self.bench.registry.stop())
        self.assertRefused(self.bench, self.bench.ask(), 503, "registry-unavailable")

    def test_noWayIn(self) -> None:
        """
        Where nobody can sign in there is nothing to ask for.
        """
        bench = VisitBench(passwords=False)
        self.assertIsNone(bench.endUsers)
        bench.add("alices", ALICE, paths=("/a",))
        bench.add("everybodys", "allUsers", paths=("/public",))
        self.assertGets(bench, bench.ask(target=b"/public"), "everybodys", "")
        self.assertRefused(bench, bench.ask(target=b"/a", fields=known(ALICE)), 403, "forbidden")
        self.assertRefused(bench, bench.ask(target=b"/b"), 404, "no-backend")

    def test_userHeader(self) -> None:
        """
        A trusted proxy may name the end user, in letters of any kind; who is named may be told apart from nobody.
        """
        bench = VisitBench(
            passwords=False,
            userHeader=b"x-forwarded-user",
            trustedProxies=(ip_network("10.0.0.0/8"),),
            queueTimeout=0,
        )
        bench.add("alices", ALICE)
        bench.add("j\xf6rgs".encode().decode("ascii", "ignore"), "j\xf6rg", paths=("/j",))
        for lines, path, backend, user in (
            (b"X-Forwarded-User: Alice@Example.com\r\n", b"/", "alices", "Alice@Example.com"),
            ("X-Forwarded-User: j\xf6rg\r\n".encode(), b"/j", "jrgs", "j\xf6rg"),
        ):
            call = bench.ask(target=path, fields=lines, address="10.1.2.3")
            self.assertGets(bench, call, backend, user)
        for lines, address in (
            (b"X-Forwarded-User: alice@example.com\r\n", "203.0.113.1"),
            (b"X-Forwarded-User: bob@example.com\r\n", "10.1.2.3"),
            (b"X-Forwarded-User: allUsers\r\n", "10.1.2.3"),
            (b"X-Forwarded-User: *@example.com\r\n", "10.1.2.3"),
            (b"X-Forwarded-User: \r\n", "10.1.2.3"),
        ):
            call = bench.ask(fields=lines, address=address)
            self.assertRefused(bench, call, 403, "forbidden")

    def test_bothWays(self) -> None:
        """
        Whom a trusted proxy does not name may show credentials.
        """
        bench = VisitBench(
            userHeader=b"x-forwarded-user", trustedProxies=(ip_network("10.0.0.0/8"),)
        )
        bench.add("alices", ALICE)
        bench.add("bobs", BOB)
        for lines, backend, user in (
            (known(ALICE), "alices", ALICE),
            (known(ALICE) + b"X-Forwarded-User: bob@example.com\r\n", "bobs", BOB),
            (known(ALICE) + b"X-Forwarded-User:\r\n", "alices", ALICE),
        ):
            call = bench.ask(fields=lines, address="10.1.2.3")
            self.assertGets(bench, call, backend, user)

    def answered(
        self, bench: VisitBench, fields: bytes, given: bytes, address: str | None = None
    ) -> tuple[list[bytes], list[bytes]]:
        """
        Have a request answered.

        @param fields: lines of the request.
        @param given: lines of the backend's response.
        @return: what the response says of caching, and what it depends on.
        """
        client = bench.ask(fields=fields, address=address)
        identifier, _ = bench.take()
        bench.respond(identifier, b"HTTP/1.1 200 OK\r\n%bContent-Length: 0\r\n\r\n" % given)
        self.assertEqual(client.status, 200)
        got = client.reply.fields
        return values(got, b"cache-control"), values(got, b"vary")

    def test_caches(self) -> None:
        """
        No cache may give what is for one person to another: what is at a URL depends on who asks, so it says by which
        fields, and is private unless the backend says how it may be cached.
        """
        trusting: dict[str, Any] = {
            "userHeader": b"x-forwarded-user",
            "trustedProxies": (ip_network("10.0.0.0/8"),),
        }
        named = b"X-Forwarded-User: alice@example.com\r\n"
        plain, signed = VisitBench(), VisitBench(oidc=OIDC)
        fronted = VisitBench(passwords=False, **trusting)
        every = VisitBench(oidc=OIDC, **trusting)
        for bench, fields, address, vary in (
            (plain, known(ALICE), None, b"Authorization"),
            (signed, signed.signedIn(ALICE), None, b"Authorization, Cookie"),
            (fronted, named, "10.1.2.3", b"x-forwarded-user"),
            (every, named, "10.1.2.3", b"Authorization, Cookie, x-forwarded-user"),
        ):
            bench.add("web", "allUsers")
            for given, cacheControl, varies in (
                (b"", [b"private"], []),
                (b"Vary: Accept\r\nETag: W/1\r\n", [b"private"], [b"Accept"]),
                (b"cache-control: public, max-age=9\r\n", [b"public, max-age=9"], []),
                (b"Expires: Thu, 01 Dec 2099 16:00:00 GMT\r\n", [], []),
            ):
                found = self.answered(bench, fields, given, address)
                self.assertEqual(found, (cacheControl, [*varies, vary]))
            # A cache may keep what anybody gets, but for nobody who has a backend of their own at that URL.
            self.assertEqual(self.answered(bench, b"", b""), ([], [vary]))
        opened = VisitBench(passwords=False, withRegistry=False, **trusting)
        opened.fetch(b"0")
        self.assertEqual(self.answered(opened, named, b"", "10.1.2.3"), ([], []))

    def test_toTheAgent(self) -> None:
        """
        The agent is told the end user, as UTF-8.
        """
        self.bench.add("web", "carol")
        client = self.bench.ask(fields=known("carol"))
        _, fetch = self.bench.take()
        self.assertEqual(fetch.reply.value(b"X-Inverting-Proxy-User-ID"), b"carol")
        client.leave()


class OpenModeTests(VisitCase):
    """
    Without a registry.
    """

    def test_members(self) -> None:
        """
        Where end users have names, nobody gets in without one.
        """
        bench = VisitBench(withRegistry=False, queueTimeout=0)
        bench.fetch(b"0")
        self.assertRefused(bench, bench.ask(), 401, "unauthenticated")
        lie = b"X-Inverting-Proxy-Backend: web\r\n"
        self.assertRefused(bench, bench.ask(fields=lie), 401, "unauthenticated")
        self.assertGets(bench, bench.ask(fields=lie + known("carol")), "web", "carol")


class SlowTests(VisitCase):
    """
    Requests that wait until it is known who sent them.
    """

    def setUp(self) -> None:
        skipIfCompiled(self, visitors)
        self.bench = VisitBench(queueTimeout=0)
        self.bench.add("web", ALICE)
        assert self.bench.endUsers is not None
        self.waiting: Deferred[str] = Deferred()
        self.patch(self.bench.endUsers.visitors, "identify", lambda head, peer: self.waiting)

    def test_body(self) -> None:
        """
        What comes meanwhile is held, and goes on.
        """
        call = self.bench.post(b"hello")
        self.assertEqual(self.bench.proxy.mailboxes.exchanges, {})
        self.waiting.callback(ALICE)
        self.bench.network.pump()
        _, fetch = self.bench.take()
        self.assertTrue(fetch.reply.body.endswith(b"\r\n\r\nhello"))
        self.assertEqual(call.status, 0)

    def test_refused(self) -> None:
        """
        Who turns out to be nobody is asked to sign in.
        """
        call = self.bench.post(b"hello")
        self.waiting.callback("")
        self.bench.network.pump()
        self.assertRefused(self.bench, call, 401, "unauthenticated")

    def test_left(self) -> None:
        """
        Who leaves meanwhile leaves nothing behind.
        """
        call = self.bench.ask()
        call.leave()
        self.bench.network.pump()
        self.assertTrue(self.waiting.called)
        self.assertIsNone(self.taken(self.bench))

    def test_draining(self) -> None:
        """
        Nor does it hold up a proxy that is about to stop.
        """
        call = self.bench.ask()
        self.successResultOf(self.bench.proxy.drain())
        self.waiting.callback(ALICE)
        self.bench.network.pump()
        self.assertRefused(self.bench, call, 503, "draining")
