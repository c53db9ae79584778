"""
Routing: the choice of a backend for a request.
"""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from invproxy.errors import Fault
from invproxy.mailbox import Mailboxes
from invproxy.registry.memory import MemoryStore
from invproxy.registry.records import parseBackend
from invproxy.registry.registry import Registry
from invproxy.routing import MembersRouter, OpenRouter, RegistryRouter, readings
from invproxy.test.helpers import requestHead
from invproxy.test.messages import examples, spellings

NAMED = b"X-Inverting-Proxy-Backend"

_NOT_SPECIAL = b"abcXYZ019-_~!$&'()*+,=:@"
"""What may stand in a segment of a path, and is read in one way."""


class OpenRouterTests(SynchronousTestCase):
    """
    L{OpenRouter}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.mailboxes = Mailboxes(self.clock, offlineAfter=100.0)
        self.router = OpenRouter(self.mailboxes)
        for backend in ("web", "a.b", "127"):
            self.mailboxes.visit(backend)
            self.clock.advance(1)

    def route(self, host: bytes = b"none", named: bytes | None = None) -> str:
        fields = [] if named is None else [(NAMED, named)]
        try:
            return self.router.route(requestHead(fields=fields, host=host)).backend
        except Fault as fault:
            return f"!{fault.code.name}"

    def test_named(self) -> None:
        """
        By the field, whatever Host says; unknown ones are no-backend.
        """
        self.assertEqual(self.route(b"web", b"a.b"), "a.b")
        for unknown in (b"no", b"WEB", b"", b"\xe9", b"web, a.b", b"x" * 1000):
            self.assertEqual(self.route(b"web", unknown), "!no-backend")

    def test_host(self) -> None:
        """
        By the first label of Host.
        """
        for host in (b"web", b"web.example.com", b"WEB:80", b"wEb.:80"):
            self.assertEqual(self.route(host), "web")
        self.assertEqual(self.route(b"127.0.0.1:80"), "127")

    def test_hostCase(self) -> None:
        """
        As it is written, if a backend is called so, else in lower case.
        """
        self.mailboxes.visit("Web")
        self.assertEqual(self.route(b"Web.example"), "Web")
        self.assertEqual(self.route(b"WEB.example"), "web")

    def test_latest(self) -> None:
        """
        Else the one whose session began last.
        """
        for host in (b"none", b"[::1]:80", b"", b":80", b"a.b", b".web"):
            self.assertEqual(self.route(host), "127", host)
        self.clock.advance(60)
        self.mailboxes.visit("web")
        self.assertEqual(self.route(), "web")
        self.clock.advance(1)
        self.mailboxes.visit("a.b")
        self.mailboxes.visit("web")
        self.assertEqual(self.route(), "a.b")

    def test_noHost(self) -> None:
        """
        An HTTP/1.0 request may have none.
        """
        head = requestHead()
        head.host = None
        self.assertEqual(self.router.route(head).backend, "127")

    def test_offline(self) -> None:
        """
        The match counts first, its life second.
        """
        self.clock.advance(99)
        self.mailboxes.visit("127")
        self.clock.advance(10)
        self.assertEqual(self.route(b"web"), "!agent-offline")
        self.assertEqual(self.route(named=b"web"), "!agent-offline")
        self.assertEqual(self.route(), "127")

    def test_nobody(self) -> None:
        """
        Nobody at all.
        """
        self.router = OpenRouter(Mailboxes(self.clock))
        self.assertEqual(self.route(), "!agent-offline")
        self.assertEqual(self.route(named=b"web"), "!no-backend")


class MembersRouterTests(SynchronousTestCase):
    """
    L{MembersRouter}.
    """

    def test_route(self) -> None:
        """
        As in open mode, but not for nobody.
        """
        mailboxes = Mailboxes(Clock())
        mailboxes.visit("web")
        router = MembersRouter(mailboxes)
        self.assertEqual(router.route(requestHead(host=b"web"), "alice").backend, "web")
        fault = self.assertRaises(Fault, router.route, requestHead(host=b"web"))
        self.assertEqual(fault.code.name, "unauthenticated")
        fault = self.assertRaises(Fault, router.route, requestHead(host=b"web"), "")
        self.assertEqual(fault.code.name, "unauthenticated")


class RegistryRouterTests(SynchronousTestCase):
    """
    L{RegistryRouter}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.mailboxes = Mailboxes(self.clock, offlineAfter=100.0)
        self.registry = Registry(MemoryStore(), self.clock)
        self.successResultOf(self.registry.start())
        self.router = RegistryRouter(self.registry, self.mailboxes, canSignIn=True)
        self.add("everybodys", "allUsers", "/public")
        self.add("alices", "alice", "/a b", "/caf\xe9", "/a@b", "/x%2Fy", "/api/")

    def add(self, id: str, user: str, *paths: str) -> None:
        record = {"id": id, "endUser": user, "backendUser": "", "pathPrefixes": list(paths)}
        if " " in "".join(paths):
            record["pathPrefixes"] = [path.replace(" ", "%20") for path in paths]
        change = self.registry.put(parseBackend(record))
        self.successResultOf(Deferred.fromCoroutine(change))
        self.mailboxes.visit(id)

    def route(self, target: bytes, user: str = "", host: bytes | None = b"example.com") -> str:
        head = requestHead(b"OPTIONS" if target == b"*" else b"GET", target)
        head.host = host
        try:
            return self.router.route(head, user).backend
        except Fault as fault:
            return f"!{fault.code.name}"

    def test_written(self) -> None:
        """
        A path may be written in several ways; all that lead to one backend lead there.
        """
        for target in (
            b"/a%20b/c",
            b"/caf%C3%A9",
            b"/caf%c3%a9/%2e",
            b"/a@b/c%2Fd",
            b"/a%40b/c",
            b"/api/../api/x",
            b"/api/x;v=1/y",
            b"/api/group%2Fname",
            b"/api/100%25",
            b"/api//x/%2E./y",
            b"/api/a+b%2Bc?d=/../public",
        ):
            self.assertEqual(self.route(target, "alice"), "alices", target)

    @examples(60)
    @given(spellings(allowed=_NOT_SPECIAL), spellings(allowed=_NOT_SPECIAL))
    def test_spellings(self, first: tuple[bytes, bytes], second: tuple[bytes, bytes]) -> None:
        """
        As does each way of writing its prefix.
        """
        plain, written = b"/s/%b/%b" % (first[0], second[0]), b"/s/%b/%b" % (first[1], second[1])
        self.add("other", "alice", "/s")
        self.add("spelled", "alice", plain.decode("latin-1"))
        for target in (plain, written, written + b"/more"):
            self.assertEqual(self.route(target, "alice"), "spelled", target)

    def test_twoWays(self) -> None:
        """
        What could be read as a path of another backend, or of nobody's, goes nowhere.
        """
        for target in (
            b"/public/../api/x",
            b"/public/%2e%2e/api/x",
            b"/public/%252e%252e/api/x",
            b"/public/%25252e%25252e/api/x",
            b"/public/..%2fapi%2fx",
            b"/public/..%5capi/x",
            b"/public/..\\api/x",
            b"/public/..;a=b/api/x",
            b"/public/..%3Ba/api/x",
            b"/public/%2e./%2e./api/x",
            b"/public/" + b"a/" * 3000 + b"../" * 3001 + b"api/x",
            b"/public/..",
            b"/public;x/../api/",
        ):
            for user in ("", "alice"):
                self.assertIn(self.route(target, user), ("!bad-request", "!no-backend"), target)
        self.assertEqual(self.route(b"/public/../api/x", "alice"), "!bad-request")
        self.assertEqual(self.route(b"/public/../api/x"), "!bad-request")
        # Nor is one's own led to by what could be another's.
        self.assertEqual(self.route(b"/api/../public/x", "alice"), "!bad-request")

    def test_long(self) -> None:
        """
        Of a long path it is not found out how it might be read, which would take long; a plain one may be as long as
        it likes, and so may a query.
        """
        for special in (b"%20", b";", b"\\", b"//", b"/."):
            path = b"/public/" + special
            longest = path + b"a" * (2048 - len(path))
            self.assertEqual(self.route(longest), "everybodys", special)
            self.assertEqual(self.route(longest + b"a"), "!bad-request", special)
            self.assertEqual(self.route(path + b"?" + b"%20" * 2000), "everybodys", special)
        self.assertEqual(self.route(b"/public/" + b"a" * 8000), "everybodys")

    def test_unusual(self) -> None:
        """
        Requests without Host, and for the server as a whole.
        """
        self.assertEqual(self.route(b"/public", host=None), "everybodys")
        self.assertEqual(self.route(b"*"), "!no-backend")
        self.add("root", "allUsers", "/")
        self.assertEqual(self.route(b"*"), "root")

    def test_neverThere(self) -> None:
        """
        A backend whose agent never came is offline.
        """
        record = {"id": "new", "endUser": "allUsers", "backendUser": "", "pathPrefixes": ["/new"]}
        self.successResultOf(Deferred.fromCoroutine(self.registry.put(parseBackend(record))))
        self.assertEqual(self.route(b"/new"), "!agent-offline")

    def test_noField(self) -> None:
        """
        A client's word about the backend counts for nothing.
        """
        head = requestHead(target=b"/public", fields=[(NAMED, b"alices")])
        self.assertEqual(self.router.route(head).backend, "everybodys")

    def test_unavailable(self) -> None:
        """
        Without its registry it cannot tell.
        """
        self.successResultOf(self.registry.stop())
        self.assertEqual(self.route(b"/public"), "!registry-unavailable")


class ReadingTests(SynchronousTestCase):
    """
    L{readings}.
    """

    def test_readings(self) -> None:
        """
        What servers make of a path, those that decode it twice among them.
        """
        for path, found in (
            (b"/a/b", {b"/a/b"}),
            (b"/a//b/", {b"/a/b/"}),
            (b"/a/./b/..", {b"/a/"}),
            (b"/..", {b"/"}),
            (b"/a;v=1/b", {b"/a;v=1/b", b"/a/b"}),
            (b"/a\\b", {b"/a\\b", b"/a%5Cb", b"/a/b"}),
            (b"/a%2Fb", {b"/a%2Fb", b"/a/b"}),
            (b"/a%252Fb", {b"/a%252Fb", b"/a/b"}),
            (b"/100%", {b"/100%", b"/100%25"}),
            (b"/a%20b", {b"/a%20b"}),
        ):
            self.assertEqual(readings(path), found, path)

    @examples(100)
    @given(st.text("a/.%2eEfF5cC;\\", max_size=30).map(lambda text: b"/" + text.encode()))
    @example(b"/%")
    def test_anything(self, path: bytes) -> None:
        """
        Whatever the path, each reading is a path that is read in one way.
        """
        for reading in readings(path):
            self.assertTrue(reading.startswith(b"/"))
            self.assertFalse(set(reading.split(b"/")) & {b".", b".."})
            self.assertNotIn(b"//", reading)
