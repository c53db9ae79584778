"""
The status page: what it shows, and that nothing on it does anything.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

from invproxy.admin.overview import MOST_SECONDS
from invproxy.errors import StoreError
from invproxy.registry.memory import MemoryStore
from invproxy.registry.registry import Registry
from invproxy.test.admincase import AdminTestCase, Asked
from invproxy.test.rawcalls import Bench
from invproxy.test.test_proxy_service import ADMIN, ServiceBench

PLAIN_TAGS = {
    *(
        "a",
        "body",
        "code",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "h1",
        "h2",
        "head",
        "header",
        "html",
    ),
    *("main", "meta", "meter", "nav", "p", "section", "small", "span", "style", "summary"),
    *("table", "tbody", "td", "th", "thead", "title", "tr"),
}
"""The elements on the page: none that runs or loads anything."""

PLAIN_ATTRIBUTES = {
    *("charset", "class", "content", "data-label", "high", "href", "http-equiv", "lang", "low"),
    *("max", "name", "optimum", "scope", "title", "value"),
}
"""Their attributes: none that makes them run or load anything."""


class Read(HTMLParser):
    """
    The page as a browser reads it.

    @ivar tags: its elements.
    @ivar attributes: the names of all attributes.
    @ivar links: where it leads.
    @ivar cells: the texts of the cells of its tables, row by row.
    @ivar text: all text but the style sheet.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.style = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag != "meta":
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            self.style += data
            return
        self.text += data
        if "td" in self._open:
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        """
        Find the row of something.
        """
        (found,) = [row for row in self.rows if row and row[0] == name]
        return found


class OverviewTests(AdminTestCase):
    """
    C{/}.
    """

    hasRegistry = False

    def setUp(self) -> None:
        super().setUp()
        self.bench = self.watch(Bench(maxPending=5))

    def page(self, query: str = "") -> Asked:
        """
        Ask for it.
        """
        answer = self.ask("GET", "/" + query)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.value(b"content-type"), "text/html; charset=utf-8")
        return answer

    def read(self, query: str = "") -> Read:
        """
        Ask for it and read it.
        """
        return Read(self.page(query).body.decode("utf-8"))

    def test_shows(self) -> None:
        """
        Backends with their agents and queues, and requests with their ages.
        """
        self.bench.tunnel(streams=1)
        self.bench.fetch(b"0", backend=b"zoo")
        self.bench.ask(b"POST", b"/one?secret", b"Content-Length: 2048\r\n", b"a" * 2048)
        self.bench.advance(3)
        self.bench.ask(target=b"/two")
        page = self.read()
        self.assertEqual(page.row("web")[1:], ["online", "now", "1 tunnel", "1", "1"])
        self.assertEqual(page.row("zoo")[1:], ["away", "3 s ago", "none", "0", "0"])
        (one,) = [row for row in page.rows if row and row[-1] == "POST /one"]
        self.assertEqual(
            one[1:-1], ["3 s", "3 s", "fetched", "web", "tunnel", "nobody", "2.0 KiB", "0 B"]
        )
        (two,) = [row for row in page.rows if row and row[-1] == "GET /two"]
        self.assertEqual(two[3:6], ["queued", "web", "none"])
        self.assertNotIn("secret", page.text)
        self.assertIn("up for 3 s", page.text)
        self.bench.advance(400)
        self.assertEqual(self.read().row("zoo")[1], "offline")

    def test_absent(self) -> None:
        """
        Registered backends of which no agent has called are offline, behind the others.
        """
        self.registry = Registry(MemoryStore(), self.network)
        self.successResultOf(self.registry.start())
        self.serve(port=8082)
        record = {"endUser": "allUsers", "backendUser": "", "pathPrefixes": ["/"]}
        for name in ("absent", "b.1", "web"):
            self.assertEqual(self.ask("PUT", f"/api/backends/{name}", record).status, 201)
        self.bench.tunnel(streams=1)
        page = self.read()
        names = [row[0] for row in page.rows if row and row[0] in ("absent", "b.1", "web")]
        self.assertEqual(names, ["web", "absent", "b.1"])
        self.assertEqual(page.row("absent")[1:], ["offline", "not yet", "none", "0", "0"])

    def test_nothing(self) -> None:
        """
        There need not be anything yet.
        """
        page = self.read()
        self.assertIn("No agent has called yet.", page.text)
        self.assertIn("None.", page.text)
        self.assertIn("open mode", page.text)
        self.ready = False
        self.assertIn("not ready", self.read().text)

    def test_tables(self) -> None:
        """
        Those that refuse and are nearest to their bounds come first; their meters say when it is time.
        """
        self.bench.fetch(b"0")
        for _ in range(4):
            self.bench.ask()
        page = self.read()
        names = [row[0] for row in page.rows if len(row) == 4]
        self.assertEqual(names[0], "pending")
        self.assertEqual(page.row("pending")[1:3], ["4", "5"])
        self.assertIn("80 %", page.row("pending")[3])
        self.assertGreater(names.index("field_lines"), names.index("mailboxes"))
        text = self.page().body.decode()
        self.assertIn('<meter value="0.8000" max="1" low="0.4" high="0.8" optimum="0"', text)

    def test_escaped(self) -> None:
        """
        What clients make up is text.
        """
        self.bench.fetch(b"0")
        self.bench.ask(target=b"/<script>alert(1)</script>'\"&amp;")
        answer = self.page()
        self.assertNotIn(b"<script", answer.body)
        self.assertIn("GET /<script>alert(1)</script>'\"&amp;", Read(answer.body.decode()).text)

    def test_harmless(self) -> None:
        """
        It has no script and loads nothing, and browsers are told to see to that.
        """
        self.bench.tunnel()
        self.bench.ask()
        answer = self.page("?refresh=5")
        page = Read(answer.body.decode())
        self.assertLessEqual(page.tags, PLAIN_TAGS)
        self.assertLessEqual(page.attributes, PLAIN_ATTRIBUTES)
        self.assertNotRegex(page.style, r"url\(|@import|expression")
        policy = answer.value(b"content-security-policy") or ""
        digest = b64encode(sha256(page.style.encode()).digest()).decode()
        self.assertEqual(
            {each.strip() for each in policy.split(";")},
            {
                "default-src 'none'",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
                f"style-src 'sha256-{digest}'",
            },
        )
        self.assertEqual(answer.value(b"referrer-policy"), "no-referrer")
        self.assertEqual(answer.value(b"cache-control"), "no-store")
        self.assertEqual(answer.value(b"x-content-type-options"), "nosniff")

    def test_links(self) -> None:
        """
        They lead to what is there, wherever the page is mounted.
        """
        self.bench.tunnel()
        links = [link for link in self.read().links if not link.startswith("?")]
        self.assertEqual(set(links), {"metrics", "api/status", "api/exchanges", "api/openapi.json"})
        for link in links:
            self.assertEqual(self.ask("GET", f"/{link}").status, 200, link)

    def test_refresh(self) -> None:
        """
        It is loaded again only if that is asked for, and after a time that makes sense.
        """
        self.assertNotIn(b"http-equiv", self.page().body)
        self.assertIn("?refresh=5", self.read().links)
        page = self.page(f"?refresh={MOST_SECONDS}").body
        self.assertIn(b'<meta http-equiv="refresh" content="3600">', page)
        self.assertIn("?", Read(page.decode()).links)
        for value in ("0", "-1", "3601", "x", "5&refresh=6", "5%3Burl=http://evil.example/"):
            problem = self.ask("GET", f"/?refresh={value}")
            self.assertProblem(problem, 400, "bad-parameter", "refresh")

    def test_manyBackends(self) -> None:
        """
        However much there is, the page stays small, and says where the rest is.
        """
        for number in range(103):
            self.bench.fetch(b"0", backend=b"b%03d" % number)
            self.bench.ask(host=b"b%03d.example" % number)
        page = self.read()
        self.assertEqual(
            len([row for row in page.rows if row and re.match("b[0-9]{3}$", row[0])]), 100
        )
        self.assertEqual(len([row for row in page.rows if row and row[-1] == "GET /"]), 100)
        self.assertEqual(page.text.count("The first 100 of 103"), 2)

    def test_guarded(self) -> None:
        """
        It is behind the same guard as the rest.
        """
        self.assertProblem(self.ask("GET", "/", host=b"evil.example"), 403, "forbidden")
        self.assertProblem(self.ask("GET", "/", address="192.0.2.1"), 403, "forbidden")
        self.assertProblem(self.ask("POST", "/"), 405, "method-not-allowed")


class ProxyTests(AdminTestCase):
    """
    The page of a whole proxy.
    """

    def read(self, bench: ServiceBench) -> Read:
        """
        Ask for it and read it.
        """
        call = bench.at(8081, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(call.status, 200)
        return Read(call.reply.body.decode())

    def test_addresses(self) -> None:
        """
        It says who is to connect where.
        """
        agents = "tcp:8082:interface=127.0.0.1"
        bench = ServiceBench(adminListen=ADMIN, agentListen=[agents])
        bench.start()
        text = self.read(bench).text
        for said in (
            "Clients http://127.0.0.1:8080",
            "Agents http://127.0.0.1:8082",
            "Administrators http://127.0.0.1:8081",
        ):
            self.assertIn(said, text)

    def test_registry(self) -> None:
        """
        It says what is wrong with the database.
        """
        store = MemoryStore()
        store.failure = StoreError("the disk <is> on fire")
        bench = ServiceBench(adminListen=ADMIN, registry=Registry(store, self.network))
        bench.start()
        page = self.read(bench)
        self.assertIn("It cannot be read: the disk <is> on fire", page.text)
        self.assertNotIn("open mode", page.text)
