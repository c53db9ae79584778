"""
C{invproxy exchanges}.
"""

from __future__ import annotations

from invproxy.admin import paging
from invproxy.test.clicase import CommandTestCase
from invproxy.test.rawcalls import Bench


class ExchangesTests(CommandTestCase):
    """
    What is under way, for people and for programs.
    """

    hasRegistry = False

    def setUp(self) -> None:
        super().setUp()
        self.bench = self.watch(Bench(maxPending=5))

    def test_table(self) -> None:
        """
        A line that sums up, and one for each, the oldest first.
        """
        self.bench.tunnel(streams=1)
        self.bench.ask(b"POST", b"/one?a=b", b"Content-Length: 2048\r\n", b"a" * 2048)
        self.bench.advance(3)
        self.bench.ask(target=b"/two")
        summary, headings, first, second = self.run_("exchanges").splitlines()
        self.assertTrue(summary.startswith("2 requests under way, "), summary)
        self.assertIn(" files open", summary)
        self.assertEqual(headings.split()[:4], ["ID", "AGE", "IDLE", "STATE"])
        self.assertEqual(
            first.split()[1:],
            [
                "3",
                "s",
                "3",
                "s",
                "fetched",
                "tunnel",
                "web",
                "-",
                "2.0",
                "KiB",
                "0",
                "B",
                "POST",
                "/one",
            ],
        )
        self.assertEqual(second.split()[5:8], ["queued", "-", "web"])
        self.assertTrue(second.endswith("GET /two"))

    def test_none(self) -> None:
        """
        No table without entries.
        """
        (summary,) = self.run_("exchanges").splitlines()
        self.assertTrue(summary.startswith("0 requests under way, "), summary)

    def test_nearlyFull(self) -> None:
        """
        Tables that will soon refuse are told of, on stderr.
        """
        self.bench.fetch(b"0")
        for _ in range(3):
            self.bench.ask()
        self.assertEqual(self.invoke("exchanges").stderr, "")
        self.bench.ask()
        self.assertEqual(self.invoke("exchanges").stderr, "pending is nearly full: 4 of 5\n")

    def test_json(self) -> None:
        """
        All pages in one object.
        """
        self.bench.fetch(b"0")
        for _ in range(3):
            self.bench.ask()
        found = self.json("exchanges")
        self.assertEqual(len(found["exchanges"]), 3)
        self.assertEqual(found["totals"]["queued"], 3)
        self.assertTrue(found["tables"])

    def test_pages(self) -> None:
        """
        More than there are on one page.
        """
        self.patch(paging, "MOST", 2)
        self.bench.fetch(b"0")
        for _ in range(5):
            self.bench.ask()
        self.assertEqual(len({each["id"] for each in self.json("exchanges")["exchanges"]}), 5)

    def test_stranger(self) -> None:
        """
        Something else that answers with JSON is no crash.
        """
        said = self.fails(1, "exchanges", "--admin", "http://127.0.0.1:8080")
        self.assertIn("is not the admin API", said)

    def test_status(self) -> None:
        """
        C{invproxy status} sums up likewise, and tells what is nearly full.
        """
        self.bench.fetch(b"0")
        for _ in range(4):
            self.bench.ask()
        result = self.invoke("status")
        self.assertIn(
            "\n4 requests under way, 4 clients connected, ",
            "\n" + result.stdout.replace("0 clients", "4 clients"),
        )
        self.assertEqual(result.stderr, "pending is nearly full: 4 of 5\n")
        self.assertNotIn("tables", self.json("status"))

    def test_statusOfAnOlderProxy(self) -> None:
        """
        One that does not tell is no failure.
        """
        del self.admin.children[b"api"].children[b"exchanges"]
        self.assertNotIn("under way", self.run_("status"))
