"""
The registry over the admin API.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import formatEvent

from invproxy.errors import StoreError
from invproxy.registry.records import Backend, digestOf
from invproxy.test.admincase import AdminTestCase, Asked, HeldStore

WEB: dict[str, Any] = {
    "id": "web",
    "endUser": "alice@example.com",
    "backendUser": "agent@example.com",
    "pathPrefixes": ["/", "/a"],
    "endUsers": ["*@example.org"],
    "hosts": ["app.example.com"],
}
"""A backend as it is listed."""

SHORT = {"endUser": "allUsers", "backendUser": "", "pathPrefixes": ["/"]}
"""What the original demands of one, less its ID."""


class RegistryTestCase(AdminTestCase):
    """
    Tests that change the registry.
    """

    def put(self, id: str = "web", fields: bytes = b"", **changes: Any) -> Asked:
        """
        Create or replace a backend.
        """
        return self.ask("PUT", f"/api/backends/{id}", SHORT | changes, fields)

    def lines(self) -> list[str]:
        """
        The audit log so far.
        """
        return [formatEvent(event) for event in self.audit]


class BackendTests(RegistryTestCase):
    """
    Backends.
    """

    def test_create(self) -> None:
        """
        POST creates: 201, the record, its ETag and where it is.
        """
        made = self.ask("POST", "/api/backends", WEB)
        self.assertEqual((made.status, made.json), (201, WEB))
        self.assertEqual(made.value(b"location"), "/api/backends/web")
        shown = self.ask("GET", "/api/backends/web")
        self.assertEqual((shown.status, shown.json), (200, WEB))
        self.assertEqual(shown.value(b"etag"), made.value(b"etag"))
        self.assertEqual(self.get("/api/backends"), [WEB])
        head = self.ask("HEAD", "/api/backends/web")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.value(b"etag"), made.value(b"etag"))

    def test_original(self) -> None:
        """
        POST replaces, too, as the original's clients expect: with its four fields, sent as a form by curl.
        """
        self.put(hosts=["a.example"])
        body = {"id": "web", **SHORT}
        form = b"Content-Type: application/x-www-form-urlencoded\r\n"
        again = self.ask("POST", "/api/backends", body, form)
        self.assertEqual(again.status, 200)
        self.assertEqual(self.get("/api/backends"), [body | {"endUsers": [], "hosts": []}])
        self.assertEqual(self.ask("DELETE", "/api/backends/web").status, 204)
        self.assertEqual(self.get("/api/backends"), [])

    def test_put(self) -> None:
        """
        PUT creates with 201 and replaces with 200; the body may name the same ID or none.
        """
        self.assertEqual(self.put().status, 201)
        self.assertEqual(self.put(id="web", endUser="bob").status, 200)
        self.assertEqual(self.get("/api/backends/web")["endUser"], "bob")
        other = self.ask("PUT", "/api/backends/web", {"id": "other", **SHORT})
        self.assertEqual(self.assertProblem(other, 400, "invalid-record")["field"], "id")

    def test_ids(self) -> None:
        """
        IDs with characters that mean something in addresses.
        """
        for id, path in (
            ("team/a", "team%2Fa"),
            ("a:b@c~1", "a:b@c~1"),
            ("x", "%78"),
            ("../a/", "..%2fa%2F"),
            ("/", "%2F"),
            ("tokens", "tokens"),
            ("web/tokens/x", "web%2Ftokens%2Fx"),
        ):
            made = self.put(path)
            self.assertEqual((made.status, made.json["id"]), (201, id))
            address = f"/api/backends/{path}"
            self.assertEqual(self.get(address)["id"], id)
            self.assertEqual(self.ask("GET", made.value(b"location") or "").json["id"], id)
            self.assertEqual(self.put(path).status, 200)
            self.assertEqual(self.ask("POST", f"{address}/tokens", {"name": "ci"}).status, 201)
            self.assertEqual([each["name"] for each in self.get(f"{address}/tokens")], ["ci"])
            self.assertEqual(self.ask("DELETE", f"{address}/tokens/ci").status, 204)
            self.assertEqual(self.ask("DELETE", address).status, 204)
            self.assertProblem(self.ask("GET", address), 404, "no-such-backend")
        for path in (".", "..", "%2e", "%2E%2e", ".%2E"):
            problem = self.assertProblem(self.put(path), 400, "invalid-record", "but not . or ..")
            self.assertEqual(problem["field"], "id")
            self.assertProblem(self.ask("GET", f"/api/backends/{path}"), 404, "no-such-backend")
        self.assertProblem(self.ask("GET", "/api/backends/team/a"), 404)
        self.assertProblem(self.put("a%20b"), 400, "invalid-record")
        self.assertProblem(self.put("a%00b"), 400, "invalid-record")
        self.assertProblem(self.ask("GET", "/api/backends/a%20b"), 404, "no-such-backend")

    def test_lastUsed(self) -> None:
        """
        What was listed can be sent back, and when an agent was seen last is in the list.
        """
        self.put()
        assert self.registry is not None
        tag = self.ask("GET", "/api/backends/web").value(b"etag")
        self.network.advance(86400)
        self.registry.see("web")
        [listed] = self.get("/api/backends")
        self.assertEqual(listed["lastUsed"], "1970-01-02T00:00:00Z")
        self.assertEqual(self.ask("GET", "/api/backends/web").value(b"etag"), tag)
        again = self.ask("POST", "/api/backends", listed)
        self.assertEqual((again.status, again.json), (200, listed))

    def test_invalid(self) -> None:
        """
        400 that names the field.
        """
        for field, record in (
            ("pathPrefixes", {"pathPrefixes": ["no-slash"]}),
            ("hosts", {"hosts": ["a b"]}),
            ("endUser", {"endUser": ""}),
            ("endUser", {"endUser": 7}),
            ("nonsense", {"nonsense": 1}),
            ("backendUser", {"backendUser": "a\u0000b"}),
            ("backendUser", {"backendUser": "\ud800"}),
            ("id", {"id": ""}),
        ):
            refused = self.ask("POST", "/api/backends", {"id": "web", **SHORT, **record})
            problem = self.assertProblem(refused, 400, "invalid-record", field)
            self.assertEqual(problem["field"], field)
        self.assertEqual(self.get("/api/backends"), [])
        self.assertEqual(self.audit, [])

    def test_notJSON(self) -> None:
        """
        400 for what is not one JSON document that everybody reads in the same way.
        """
        for body in (
            b"",
            b" ",
            b"id=web",
            b"{",
            b'{"id": "web"} x',
            b'{"id": NaN}',
            b"\xff\xfe",
            b'{"id": "web", "id": "bew"}',
            b"[" * 100_000,
            json.dumps(SHORT).encode("utf-16"),
        ):
            self.assertProblem(self.ask("POST", "/api/backends", body), 400, "not-json")
        value: object
        for value in ([], None, 7, "web"):
            refused = self.ask("POST", "/api/backends", json.dumps(value).encode())
            self.assertProblem(refused, 400, "invalid-record", "the body must be a JSON object")

    def test_missing(self) -> None:
        """
        404 for one that is not there, whatever is asked of it.
        """
        for method, path in (
            ("GET", "/api/backends/web"),
            ("DELETE", "/api/backends/web"),
            ("GET", "/api/backends/web/tokens"),
            ("POST", "/api/backends/web/tokens"),
            ("DELETE", "/api/backends/web/tokens/laptop"),
        ):
            self.assertProblem(self.ask(method, path), 404, "no-such-backend", "web")

    def test_unavailable(self) -> None:
        """
        503 if the store does not take a change, which is not in force then; reading goes on.
        """
        self.put()
        self.store.failure = StoreError("the disk is full: make room")
        for answer in (
            self.put(endUser="bob"),
            self.ask("DELETE", "/api/backends/web"),
            self.ask("POST", "/api/backends/web/tokens", {"name": "laptop"}),
        ):
            self.assertProblem(answer, 503, "registry-unavailable", "make room")
        self.assertEqual(self.get("/api/backends/web")["endUser"], "allUsers")
        self.assertIn("make room", self.get("/api/status")["registry"]["problem"])
        self.assertEqual(self.ask("GET", "/readyz").status, 200)
        self.assertEqual(len(self.audit), 1)


class ConditionTests(RegistryTestCase):
    """
    If-Match and If-None-Match (RFC 9110, section 13.1).
    """

    def test_match(self) -> None:
        """
        A change to what somebody else has changed meanwhile is refused: 412.
        """
        tag = (self.put().value(b"etag") or "").encode()
        match = b"If-Match: %b\r\n" % tag
        self.assertEqual(self.put(fields=match, endUser="bob").status, 200)
        self.assertProblem(self.put(fields=match, endUser="eve"), 412, "precondition-failed")
        refused = self.ask("DELETE", "/api/backends/web", fields=match)
        self.assertProblem(refused, 412, "precondition-failed")
        self.assertEqual(self.get("/api/backends/web")["endUser"], "bob")
        now = self.ask("GET", "/api/backends/web").value(b"etag") or ""
        several = b'If-Match: "x"\r\nIf-Match: %b\r\n' % now.encode()
        self.assertEqual(self.ask("DELETE", "/api/backends/web", fields=several).status, 204)

    def test_any(self) -> None:
        """
        C{*} is any version, but one there must be.
        """
        self.assertProblem(self.put(fields=b"If-Match: *\r\n"), 412)
        self.assertEqual(self.get("/api/backends"), [])
        self.put()
        self.assertEqual(self.put(fields=b"If-Match: *\r\n").status, 200)

    def test_none(self) -> None:
        """
        If-None-Match: * creates and never replaces, by PUT and by POST.
        """
        fields = b"If-None-Match: *\r\n"
        self.assertEqual(self.put(fields=fields).status, 201)
        self.assertProblem(self.put(fields=fields, endUser="eve"), 412, "precondition-failed")
        refused = self.ask("POST", "/api/backends", {"id": "web", **SHORT}, fields)
        self.assertProblem(refused, 412, "precondition-failed", "already")
        self.assertEqual(self.get("/api/backends/web")["endUser"], "allUsers")
        self.assertProblem(self.put(fields=b'If-None-Match: "x"\r\n'), 400, "bad-parameter")

    def test_noneAtOnce(self) -> None:
        """
        Of two that create it at the same time, one does.
        """
        held = HeldStore(self.store)
        assert self.registry is not None
        self.registry._store = held  # type: ignore[assignment]
        body = json.dumps(SHORT).encode()
        fields = b"If-None-Match: *\r\n"
        first = self.call("PUT", "/api/backends/web", body, fields)
        second = self.call("PUT", "/api/backends/web", body, fields)
        held.go()
        self.network.pump()
        self.assertEqual((first.status, second.status), (201, 412))

    def test_noneAfterAnother(self) -> None:
        """
        What somebody else has begun to create is not replaced, whatever way that takes.
        """
        held = HeldStore(self.store)
        assert self.registry is not None
        self.registry._store = held  # type: ignore[assignment]
        first = self.call("PUT", "/api/backends/web", json.dumps(SHORT).encode())
        body = json.dumps({**SHORT, "endUser": "eve"}).encode()
        second = self.call("PUT", "/api/backends/web", body, b"If-None-Match: *\r\n")
        held.go()
        self.network.pump()
        self.assertEqual((first.status, second.status), (201, 412))
        self.assertEqual(self.get("/api/backends/web")["endUser"], "allUsers")


class PageTests(RegistryTestCase):
    """
    Lists in pages.
    """

    def walk(self, path: str) -> list[list[str]]:
        """
        Follow the links.
        """
        pages = []
        while True:
            answer = self.ask("GET", path)
            pages.append([record["id"] for record in answer.json])
            link = answer.value(b"link")
            if link is None:
                return pages
            self.assertTrue(link.startswith("<?") and link.endswith('>; rel="next"'), link)
            path = "/api/backends" + link[1 : link.index(">")]

    def test_pages(self) -> None:
        """
        In the order of the IDs, none twice, none left out, the last without a link.
        """
        for id in ("d", "b", "a%2F1", "c", "e"):
            self.put(id)
        self.assertEqual(self.walk("/api/backends"), [["a/1", "b", "c", "d", "e"]])
        self.assertEqual(self.walk("/api/backends?limit=2"), [["a/1", "b"], ["c", "d"], ["e"]])
        self.assertEqual(self.walk("/api/backends?limit=5"), [["a/1", "b", "c", "d", "e"]])
        self.assertEqual(self.walk("/api/backends?after=c"), [["d", "e"]])
        self.assertEqual(self.walk("/api/backends?after=bb&limit=1&x=y"), [["c"], ["d"], ["e"]])
        self.assertEqual(self.walk("/api/backends?after=z"), [[]])

    def test_bound(self) -> None:
        """
        A page has at most 1000, whatever is asked for.
        """
        assert self.registry is not None
        for number in range(1001):
            record = Backend(f"b{number:04}", "allUsers", "", ("/",))
            self.successResultOf(Deferred.fromCoroutine(self.registry.put(record)))
        for path in ("/api/backends", "/api/backends?limit=5000"):
            self.assertEqual([len(page) for page in self.walk(path)], [1000, 1])

    def test_bad(self) -> None:
        """
        400 that names the parameter.
        """
        for name, query in (
            ("limit", "limit=0"),
            ("limit", "limit=-1"),
            ("limit", "limit=x"),
            ("limit", "limit="),
            ("limit", "limit=%C2%B2"),
            ("limit", "limit=1&limit=2"),
            ("after", "after=%ff"),
            ("after", "after=" + "x" * 257),
        ):
            answer = self.ask("GET", f"/api/backends?{query}")
            self.assertEqual(self.assertProblem(answer, 400, "bad-parameter")["field"], name)


class AgentTokenTests(RegistryTestCase):
    """
    The tokens of a backend's agents.
    """

    def setUp(self) -> None:
        super().setUp()
        self.put()

    def mint(self, **wanted: Any) -> Asked:
        """
        Ask for a token.
        """
        return self.ask("POST", "/api/backends/web/tokens", wanted)

    def test_mint(self) -> None:
        """
        201 with the secret, which is shown this once and works.
        """
        made = self.mint(name="laptop")
        self.assertEqual(made.status, 201)
        self.assertEqual(list(made.json), ["name", "token", "created", "expires"])
        self.assertEqual((made.json["name"], made.json["expires"]), ("laptop", None))
        secret = made.json["token"]
        assert self.registry is not None
        found = self.registry.findToken(digestOf(secret))
        assert found is not None
        self.assertEqual((found.backend, found.name), ("web", "laptop"))
        listed = self.ask("GET", "/api/backends/web/tokens")
        self.assertEqual(
            listed.json, [{"name": "laptop", "created": made.json["created"], "expires": None}]
        )
        for text in (listed.body.decode(), repr(self.audit), *self.lines()):
            self.assertNotIn(secret, text)
            self.assertNotIn(digestOf(secret).hex(), text)

    def test_expires(self) -> None:
        """
        It may end, but not in the past.
        """
        made = self.mint(name="short", expires="2027-01-01T00:00:00+01:00")
        self.assertEqual(made.json["expires"], "2026-12-31T23:00:00Z")
        self.network.advance(3600)
        for expires in ("1970-01-01T00:30:00Z", "tomorrow", 7):
            refused = self.mint(name="bad", expires=expires)
            self.assertEqual(self.assertProblem(refused, 400, "invalid-record")["field"], "expires")

    def test_taken(self) -> None:
        """
        409 for a second one of the same name.
        """
        self.mint(name="laptop")
        self.assertProblem(self.mint(name="laptop"), 409, "conflict", "revoke")
        self.assertEqual(self.assertProblem(self.mint(), 400)["field"], "name")
        self.assertEqual(self.assertProblem(self.mint(name="a b"), 400)["field"], "name")

    def test_revoke(self) -> None:
        """
        204, and it is no token any more.
        """
        secret = self.mint(name="laptop").json["token"]
        self.assertEqual(self.ask("DELETE", "/api/backends/web/tokens/laptop").status, 204)
        assert self.registry is not None
        self.assertIsNone(self.registry.findToken(digestOf(secret)))
        again = self.ask("DELETE", "/api/backends/web/tokens/laptop")
        self.assertProblem(again, 404, "no-such-token")
        self.assertEqual(self.get("/api/backends/web/tokens"), [])


class AuditTests(RegistryTestCase):
    """
    The audit log.
    """

    def test_lines(self) -> None:
        """
        One line for each change: who, what, how it was and is; none for what changes nothing.
        """
        self.put(hosts=["a.example"])
        self.put(hosts=["a.example"], endUser="bob", endUsers=["*@example.com"])
        self.put(hosts=["a.example"], endUser="bob", endUsers=["*@example.com"])
        expires = {"name": "laptop", "expires": "2027-01-01T00:00:00Z"}
        self.ask("POST", "/api/backends/web/tokens", expires)
        self.ask("DELETE", "/api/backends/web/tokens/laptop")
        self.ask("DELETE", "/api/backends/web")
        self.ask("DELETE", "/api/backends/web")
        self.ask("GET", "/api/backends")
        who = "127.0.0.1 (loopback)"
        self.assertEqual(
            self.lines(),
            [
                f'{who} created backend web: endUser "allUsers", pathPrefixes ["/"],'
                ' hosts ["a.example"]',
                f'{who} changed backend web: endUser "allUsers" -> "bob",'
                ' endUsers [] -> ["*@example.com"]',
                f"{who} changed backend web: nothing is different",
                f"{who} created token laptop of backend web: expires 2027-01-01T00:00:00Z",
                f"{who} revoked token laptop of backend web",
                f"{who} removed backend web",
            ],
        )

    def test_overlapping(self) -> None:
        """
        Of two changes at once each is told as what it was: the second has replaced what the first made.
        """
        self.put(endUser="ann")
        assert self.registry is not None
        held = HeldStore(self.store)
        self.registry._store = held  # type: ignore[assignment]
        for user in ("bob", "eve"):
            body = json.dumps(SHORT | {"endUser": user}).encode()
            self.call("PUT", "/api/backends/web", body)
        held.go()
        self.network.pump()
        who = "127.0.0.1 (loopback)"
        self.assertEqual(
            self.lines()[1:],
            [
                f'{who} changed backend web: endUser "ann" -> "bob"',
                f'{who} changed backend web: endUser "bob" -> "eve"',
            ],
        )

    def test_oneLine(self) -> None:
        """
        Nothing that is sent can begin a line of its own, or fill the disk.
        """
        user = "a\u2028b"
        self.put(endUser="x", endUsers=[user[0] * 300 + str(n) for n in range(100)])
        [line] = self.lines()
        self.assertLess(len(line), 1000)
        self.assertTrue(line.isprintable() and line.isascii())
