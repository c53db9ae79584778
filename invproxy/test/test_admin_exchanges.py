"""
C{/api/exchanges}: what is under way, for how long, and what the proxy holds.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from invproxy.census import Census
from invproxy.mailbox import Mailboxes
from invproxy.registry.memory import MemoryStore
from invproxy.registry.registry import Registry
from invproxy.tables import Table
from invproxy.test.admincase import AdminTestCase
from invproxy.test.rawcalls import OURS, Bench
from invproxy.test.test_proxy_service import ADMIN, ServiceBench
from invproxy.testing import MemoryNetwork


class ExchangesCase(AdminTestCase):
    """
    Tests with the admin endpoint of a bench.
    """

    hasRegistry = False

    def setUp(self) -> None:
        super().setUp()
        self.bench = self.watch(Bench())

    def exchanges(self, query: str = "") -> list[Any]:
        """
        Ask for them.
        """
        found: list[Any] = self.get("/api/exchanges" + query)["exchanges"]
        return found


class ExchangesTests(ExchangesCase):
    """
    The exchanges.
    """

    def test_none(self) -> None:
        """
        There need not be any.
        """
        self.assertEqual(self.exchanges(), [])

    def test_polled(self) -> None:
        """
        One that polls carry: its state, age, idle time and bytes at each moment.
        """
        bench = self.bench
        bench.fetch(b"0" * 32)  # its agent is known
        client = bench.ask(
            b"POST", b"/way?secret=1", b"Content-Length: 9\r\nCookie: s=2\r\n", b"1234"
        )
        bench.advance(2.5)
        (found,) = self.exchanges()
        self.assertEqual(
            found,
            {
                "id": found["id"],
                "backend": "web",
                "state": "queued",
                "carrier": None,
                "method": "POST",
                "path": "/way",
                "endUser": "",
                "upgraded": False,
                "ageSeconds": 2.5,
                "idleSeconds": 2.5,
                "receivedBytes": 4,
                "sentBytes": 0,
            },
        )
        (identifier,) = bench.pending()
        self.assertEqual(found["id"], identifier.decode())
        self.assertEqual(self.exchanges()[0]["state"], "claimed")
        bench.fetch(identifier, OURS)
        response = bench.respond(identifier)
        bench.advance(1.0)
        client.send(b"56789")
        (found,) = self.exchanges()
        self.assertEqual((found["state"], found["carrier"]), ("fetched", "poll"))
        self.assertEqual((found["receivedBytes"], found["idleSeconds"]), (9, 0))
        bench.advance(1.0)
        response.chunk(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nabc")
        bench.advance(0.5)
        (found,) = self.exchanges()
        self.assertEqual((found["state"], found["sentBytes"]), ("responding", 3))
        self.assertEqual((found["ageSeconds"], found["idleSeconds"]), (5.0, 0.5))
        client.leave()
        self.assertEqual(self.exchanges(), [])

    def test_tunneled(self) -> None:
        """
        One that a tunnel carries.
        """
        self.bench.tunnel()
        self.bench.ask()
        self.assertEqual(self.exchanges()[0]["carrier"], "tunnel")

    def test_noSecrets(self) -> None:
        """
        Neither query nor fields are told.
        """
        self.bench.poll()
        self.bench.ask(target=b"/a?token=hidden", fields=b"Authorization: Bearer hidden\r\n")
        self.assertNotIn("hidden", json.dumps(self.get("/api/exchanges")))
        self.assertEqual(len(self.exchanges()), 1)

    def test_longPaths(self) -> None:
        """
        Paths are cut, so that a thousand of them are no burden.
        """
        self.bench.fetch(b"0")
        self.bench.ask(target=b"/" + b"p" * 5000)
        self.bench.advance(0.1)
        self.bench.ask(target=b"/" + b"q" * 255)
        first, second = self.exchanges()
        self.assertEqual(first["path"], "/" + "p" * 252 + "...")
        self.assertEqual(second["path"], "/" + "q" * 255)

    def test_pages(self) -> None:
        """
        The oldest first, in pages; what ends or begins meanwhile hides no other.
        """
        self.bench.fetch(b"0")
        calls = []
        for number in range(5):
            calls.append(self.bench.ask(target=b"/%d" % number))
            self.bench.advance(0.1)
        self.assertEqual(
            [each["path"] for each in self.exchanges()], ["/0", "/1", "/2", "/3", "/4"]
        )
        self.assertIsNone(self.ask("GET", "/api/exchanges?limit=5").value(b"link"))
        seen = []
        query = "?limit=2"
        for leaving in (1, 3):  # those at which the pages end
            answer = self.ask("GET", "/api/exchanges" + query)
            seen += [each["path"] for each in answer.json["exchanges"]]
            link = answer.value(b"link") or ""
            query = link[1 : link.index(">")]
            self.assertEqual(self.exchanges(query)[0]["path"], f"/{leaving + 1}")
            calls[leaving].leave()
            self.bench.ask(target=b"/late")
            self.bench.advance(0.1)
        seen += [each["path"] for each in self.exchanges(query)]
        self.assertEqual(seen, ["/0", "/1", "/2", "/3", "/4", "/late"])

    def test_badParameters(self) -> None:
        """
        A cursor that no page had is refused, with the parameter named.
        """
        for query in ("?after=x", "?after=1", "?after=-a", "?after=1-a/b", "?limit=0"):
            problem = self.assertProblem(
                self.ask("GET", "/api/exchanges" + query), 400, "bad-parameter"
            )
            self.assertIn(problem["field"], query)

    def test_guarded(self) -> None:
        """
        It is not for pages of other sites.
        """
        refused = self.ask("GET", "/api/exchanges", fields=b"Origin: http://evil.example\r\n")
        self.assertProblem(refused, 403, "forbidden")


class HoldingsTests(SynchronousTestCase):
    """
    Totals and tables, of a whole proxy.
    """

    def bench(self, **options: Any) -> ServiceBench:
        """
        Start a proxy.
        """
        bench = ServiceBench(adminListen=ADMIN, **options)
        bench.start()
        return bench

    def ask(self, bench: ServiceBench) -> Any:
        """
        Ask its admin endpoint.
        """
        call = bench.at(8081, b"GET /api/exchanges HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(call.status, 200)
        found = json.loads(call.reply.body)
        call.leave()
        return found

    def tables(self, bench: ServiceBench) -> dict[str, tuple[int, int | None]]:
        """
        Entries and limits of its tables by their names.
        """
        found = self.ask(bench)["tables"]
        names = [table["name"] for table in found]
        self.assertEqual(len(names), len(set(names)), names)
        return {table["name"]: (table["entries"], table["limit"]) for table in found}

    def test_totals(self) -> None:
        """
        They count what there is, and fall back to where they were when it is gone.
        """
        bench = self.bench()
        before = self.ask(bench)["totals"]
        self.assertEqual(before["adminConnections"], 1)
        tunnel = bench.tunnel()
        poll = bench.poll(b"zoo")
        client = bench.ask()
        during = self.ask(bench)["totals"]
        different = {
            name: during[name] - before[name]
            for name in during
            if name not in ("openFiles", "residentBytes", "openFilesLimit")
        }
        self.assertGreater(different.pop("deadlines"), 0)
        different.pop("timers")
        self.assertEqual(
            different,
            {
                "exchanges": 1,
                "queued": 0,
                "clients": 1,
                "agentLinks": 2,
                "adminConnections": 0,
                "tunnels": 1,
                "streams": 1,
                "polls": 1,
            },
        )
        for call in (client, poll, tunnel.call):
            call.leave()
        after = self.ask(bench)["totals"]
        for name in different:
            self.assertEqual(after[name], before[name], name)

    def test_queued(self) -> None:
        """
        Those that wait are counted, all and for the fullest mailbox.
        """
        bench = self.bench()
        for backend, count in ((b"web", 3), (b"zoo", 1)):
            bench.fetch(b"0", backend=backend)
            for _ in range(count):
                bench.ask(host=backend + b".example")
        self.assertEqual(self.ask(bench)["totals"]["queued"], 4)
        tables = self.tables(bench)
        self.assertEqual(tables["pending"], (3, 1000))
        self.assertEqual(tables["mailboxes"], (2, 1000))
        self.assertEqual(tables["connections"], (4, 10000))  # without those of agents

    def test_tables(self) -> None:
        """
        Tunnels and their streams, with the bounds of the fullest.
        """
        bench = self.bench()
        bench.tunnel(streams=7)
        bench.tunnel()
        bench.tunnel(b"zoo")
        bench.ask()
        bench.ask()
        bench.ask()
        tables = self.tables(bench)
        self.assertEqual(tables["tunnels"], (2, 100))
        self.assertEqual(tables["streams"], (2, 7))
        self.assertEqual(tables["admin_connections"], (1, 256))

    def test_registry(self) -> None:
        """
        With a registry there is no bound on mailboxes, but on backends, tokens, and what is remembered.
        """
        network = MemoryNetwork()
        registry = Registry(MemoryStore(), network, maxBackends=7, maxTokens=3)
        bench = self.bench(registry=registry)
        tables = self.tables(bench)
        self.assertEqual(tables["mailboxes"], (0, None))
        self.assertEqual(tables["registry_backends"], (0, 7))
        self.assertEqual(tables["registry_tokens"], (0, 3))
        for name in (
            "routes",
            "throttle_agents",
            "throttle_admin",
            "field_lines",
            "path_readings",
            "hops",
        ):
            self.assertGreater(tables[name][1] or 0, 0, name)
        self.assertIn("agent_links", tables)
        self.assertIn("last_uses", tables)

    def test_process(self) -> None:
        """
        Files and memory, as far as the system tells.
        """
        totals = self.ask(self.bench())["totals"]
        self.assertGreater(totals["openFiles"], 2)
        self.assertGreater(totals["openFilesLimit"], totals["openFiles"])
        self.assertGreater(totals["residentBytes"], 1 << 20)

    def test_order(self) -> None:
        """
        The fullest come first, before those that forget, however full these are.
        """

        class Keeps:
            def tables(self) -> list[Table]:
                return [
                    Table("a", 9, 10, True),
                    Table("b", 1, 10),
                    Table("c", 5),
                    Table("d", 8, 10),
                ]

        network = MemoryNetwork()
        census = Census(Mailboxes(network), network)
        census.include(Keeps(), None, object())
        names = [table.name for table in census.tables()]
        places = [names.index(name) for name in "dbca"]
        self.assertEqual(places, sorted(places), names)
        self.assertEqual(Table("e", 3, 4).fullness(), 0.75)
