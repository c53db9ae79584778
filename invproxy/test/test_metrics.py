"""
Metrics: everything that happens moves the figure that it should move, and no other name or secret gets into them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import ip_network
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parseOpenMetrics,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import REGISTRY
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from invproxy.admin.metrics import MOST_BACKENDS, OTHERS
from invproxy.errors import CODES, StoreError
from invproxy.interfaces import IMetrics
from invproxy.metrics import BOUNDS, Histogram, Tally
from invproxy.proxy.settings import ProxySettings
from invproxy.registry.memory import MemoryStore
from invproxy.registry.registry import Registry
from invproxy.server.crowd import TurnedAway
from invproxy.test.rawcalls import OURS, PLAIN
from invproxy.test.test_proxy_service import ADMIN, ServiceBench
from invproxy.testing import MemoryNetwork

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def figuresIn(text: str) -> Figures:
    """
    Read what Prometheus would.
    """
    found: Figures = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


class MetricsCase(SynchronousTestCase):
    """
    Tests of a whole proxy.
    """

    def start(self, **options: Any) -> None:
        """
        Start it.
        """
        self.bench = ServiceBench(**{"adminListen": ADMIN, **options})
        self.bench.start()

    def text(self, accept: str = "*/*") -> tuple[str, str]:
        """
        Ask for the metrics.

        @return: their media type, and themselves.
        """
        lines = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n"
        call = self.bench.at(8081, lines.encode())
        reply = call.reply
        self.assertEqual((reply.status, reply.whole), (200, True))
        call.leave()
        return (reply.value(b"content-type") or b"").decode(), reply.body.decode()

    def figures(self) -> Figures:
        """
        Ask for them and read them.
        """
        return figuresIn(self.text()[1])

    def figure(self, name: str, **labels: str) -> float:
        """
        Look one up.
        """
        return self.figures()[name, tuple(sorted(labels.items()))]

    def assertMoves(self, act: Any, name: str, by: float = 1, **labels: str) -> None:
        """
        Does something move a figure by so much?
        """
        before = self.figure(name, **labels)
        act()
        self.assertEqual(self.figure(name, **labels) - before, by, f"{name} {labels}")

    def exchange(self, inner: bytes = PLAIN, wait: float = 0.0, think: float = 0.0) -> None:
        """
        Have a request answered by way of a poll.

        @param wait: seconds until an agent takes it.
        @param think: seconds until it answers.
        """
        bench = self.bench
        bench.fetch(b"0" * 32)
        client = bench.post(b"12345")
        bench.advance(wait)
        (identifier,) = bench.pending()
        bench.fetch(identifier, OURS)
        response = bench.respond(identifier)
        bench.advance(think)
        response.chunk(inner)
        response.end()
        assert client.reply.whole, client.client.received
        client.leave()


class TallyTests(MetricsCase):
    """
    What is counted on the way.
    """

    def test_interface(self) -> None:
        """
        L{Tally} is one to report to.
        """
        verifyObject(IMetrics, Tally())

    def test_statuses(self) -> None:
        """
        Requests by the classes of their statuses, those that the proxy answers itself, too.
        """
        self.start()
        self.assertMoves(self.exchange, "invproxy_requests_total", status="2xx")
        self.assertMoves(
            lambda: self.exchange(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            "invproxy_requests_total",
            status="4xx",
        )
        self.exchange(b"HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.figure("invproxy_requests_total", status="7xx"), 1)
        self.assertMoves(
            lambda: self.bench.raw(b"GET / HTTP/1.1\r\n\r\n"),
            "invproxy_requests_total",
            status="4xx",
        )

    def test_noAnswer(self) -> None:
        """
        A client that leaves before its answer gets none.
        """
        self.start()
        self.bench.fetch(b"0")
        self.assertMoves(lambda: self.bench.ask().leave(), "invproxy_requests_total", status="none")
        self.assertEqual(self.figure("invproxy_errors_total", code="client-gone"), 1)

    def test_errors(self) -> None:
        """
        Each refusal by its code.
        """
        self.start(settings=ProxySettings(maxPending=1, maxBody=10, queueTimeout=3.0))
        bench = self.bench
        for code, act in (
            ("agent-offline", lambda: bench.ask(host=b"web.example")),
            ("bad-request", lambda: bench.raw(b"nonsense\r\n\r\n")),
            ("method-not-allowed", lambda: bench.ask(b"TRACE")),
        ):
            self.assertMoves(act, "invproxy_errors_total", code=code)
        bench.fetch(b"0")
        refusals: tuple[tuple[str, Callable[[], object]], ...] = (
            ("body-too-large", lambda: bench.post(b"a" * 11)),
            ("no-backend", lambda: bench.ask(fields=b"X-Inverting-Proxy-Backend: zoo\r\n")),
            ("too-many-pending", lambda: [bench.ask(), bench.ask()]),
            ("queue-timeout", partial(bench.advance, 4.0)),
        )
        for code, refuse in refusals:
            self.assertMoves(refuse, "invproxy_errors_total", code=code)
        bench.raw(b"GET / HT")
        self.assertMoves(partial(bench.advance, 31.0), "invproxy_errors_total", code="head-timeout")

    def test_everyCode(self) -> None:
        """
        All codes are there from the beginning, so that no increase is missed, and no others come.
        """
        self.start()
        for name in ("invproxy_errors_total", "invproxy_agent_errors_total"):
            found = {labels[0][1] for key, labels in self.figures() if key == name}
            self.assertEqual(found, set(CODES))

    def test_agentsErrors(self) -> None:
        """
        Calls of agents that are refused are counted by themselves.
        """
        self.start(settings=ProxySettings(maxTunnels=1, maxBackends=1))
        bench = self.bench
        bench.tunnel()
        before = self.figure("invproxy_requests_total", status="5xx")
        for code, act in (
            ("too-many-tunnels", bench.shake),
            ("too-many-backends", lambda: bench.poll(b"zoo")),
            ("bad-request", lambda: bench.call(b"GET", b"pending", None, b"")),
        ):
            self.assertMoves(act, "invproxy_agent_errors_total", code=code)
        self.assertEqual(self.figure("invproxy_requests_total", status="5xx"), before)
        self.assertEqual(self.figure("invproxy_errors_total", code="too-many-tunnels"), 0)

    def test_bytes(self) -> None:
        """
        Those of the bodies, each way.
        """
        self.start()
        self.assertMoves(self.exchange, "invproxy_received_bytes_total", by=5)
        sent = len(PLAIN.partition(b"\r\n\r\n")[2])
        self.assertGreater(sent, 0)
        self.assertMoves(self.exchange, "invproxy_sent_bytes_total", by=sent)

    def test_times(self) -> None:
        """
        How long the wait for an agent, for the first byte, and the whole took.
        """
        self.start()
        self.exchange(wait=0.2, think=4.0)
        for name, seconds in (
            ("invproxy_queue_seconds", 0.2),
            ("invproxy_first_byte_seconds", 4.2),
            ("invproxy_request_duration_seconds", 4.2),
        ):
            figures = self.figures()
            self.assertEqual(figures[f"{name}_count", ()], 1, name)
            self.assertAlmostEqual(figures[f"{name}_sum", ()], seconds, 3, name)
            for bound in BOUNDS:
                within = figures[f"{name}_bucket", (("le", str(bound)),)]
                self.assertEqual(within, float(seconds <= bound), f"{name} {bound}")

    def test_neverTaken(self) -> None:
        """
        What no agent took has waited for none, and has no first byte; but it has taken its time.
        """
        self.start(settings=ProxySettings(queueTimeout=1.0))
        self.bench.fetch(b"0")
        self.bench.ask()
        self.bench.advance(2.0)
        figures = self.figures()
        self.assertEqual(figures["invproxy_queue_seconds_count", ()], 0)
        self.assertEqual(figures["invproxy_first_byte_seconds_count", ()], 0)
        self.assertEqual(figures["invproxy_request_duration_seconds_count", ()], 1)

    def test_requeued(self) -> None:
        """
        What a second agent gets has waited until the first one took it.
        """
        self.start()
        bench = self.bench
        bench.fetch(b"0")
        client = bench.ask()
        bench.advance(1.0)
        tunnel = bench.tunnel()
        bench.advance(2.0)
        bench.tunnel()
        tunnel.call.leave()
        client.leave()
        self.assertAlmostEqual(self.figure("invproxy_queue_seconds_sum"), 1.0, 3)
        self.assertEqual(self.figure("invproxy_queue_seconds_count"), 1)

    def test_tunnels(self) -> None:
        """
        Tunnels that were opened, so that a storm of them shows.
        """
        self.start()
        self.assertMoves(self.bench.tunnel, "invproxy_tunnels_opened_total")

    def test_connectionsRefused(self) -> None:
        """
        Connections beyond what is even answered.
        """
        self.start(settings=ProxySettings(maxConnections=1))
        site = self.bench.service._sites["public"]
        site.crowd.count = 1 + 64
        address = IPv4Address("TCP", "127.0.0.1", 1)
        self.assertMoves(
            lambda: self.assertIsInstance(site.buildProtocol(address), TurnedAway),
            "invproxy_connections_refused_total",
            code="too-many-connections",
        )

    def test_upgraded(self) -> None:
        """
        An upgrade is a 1xx when it is over.
        """
        self.start()
        bench = self.bench
        bench.fetch(b"0")
        client = bench.ask(fields=b"Connection: Upgrade\r\nUpgrade: echo\r\n")
        identifier, _ = bench.take(OURS)
        response = bench.respond(identifier, fields=OURS)
        response.chunk(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        )
        self.assertEqual(client.status, 101)
        self.assertMoves(client.leave, "invproxy_requests_total", status="1xx")


class HistogramTests(SynchronousTestCase):
    """
    L{Histogram}.
    """

    def test_bounds(self) -> None:
        """
        A bound belongs to its bucket; what is longer than all goes into the last.
        """
        for place, bound in enumerate(BOUNDS):
            for seconds in (bound, bound * 1.001):
                found = Histogram()
                found.add(seconds)
                self.assertEqual(found.counts.index(1), place + (seconds > bound), seconds)
        histogram = Histogram()
        for seconds in (0.001, 0.0011, 300.0, 300.1, 1e9):
            histogram.add(seconds)
        buckets = dict(histogram.buckets())
        self.assertEqual(buckets["0.001"], 1)
        self.assertEqual(buckets["0.0025"], 2)
        self.assertEqual((buckets["300.0"], buckets["+Inf"]), (3, 5))

    def test_clockSetBack(self) -> None:
        """
        A time below nothing makes no sum go back: Prometheus would take that for a restart.
        """
        histogram = Histogram()
        histogram.add(-5.0)
        self.assertEqual((histogram.total, dict(histogram.buckets())["0.001"]), (0.0, 1))


class GaugeTests(MetricsCase):
    """
    What is looked at.
    """

    def test_exchanges(self) -> None:
        """
        Those that wait and those that were taken, in all and by backend.
        """
        self.start()
        bench = self.bench
        bench.fetch(b"0")
        for _ in range(3):
            bench.ask()
        identifier, *_ = bench.pending()
        bench.fetch(identifier)
        bench.advance(6.0)  # the lease of the others has run out
        self.assertEqual(self.figure("invproxy_exchanges", state="queued"), 2)
        self.assertEqual(self.figure("invproxy_exchanges", state="taken"), 1)
        self.assertEqual(self.figure("invproxy_backend_pending", backend="web"), 2)
        self.assertEqual(self.figure("invproxy_backend_in_flight", backend="web"), 1)
        self.assertEqual(self.figure("invproxy_backend_agents", backend="web"), 0)
        self.assertEqual(self.figure("invproxy_table_entries", table="pending", full="refuses"), 2)
        self.assertEqual(self.figure("invproxy_table_limit", table="pending", full="refuses"), 1000)

    def test_agents(self) -> None:
        """
        Agents by carriers, and what connections and streams there are.
        """
        self.start()
        bench = self.bench
        bench.tunnel()
        bench.tunnel()
        bench.poll(b"zoo")
        bench.ask()
        bench.advance(0.1)
        for name, labels, value in (
            ("invproxy_agents", {"carrier": "tunnel"}, 2),
            ("invproxy_agents", {"carrier": "poll"}, 1),
            ("invproxy_backend_agents", {"backend": "web"}, 2),
            ("invproxy_backend_agents", {"backend": "zoo"}, 1),
            ("invproxy_connections", {"of": "clients"}, 1),
            ("invproxy_connections", {"of": "agents"}, 3),
            ("invproxy_connections", {"of": "administrators"}, 1),
            ("invproxy_streams", {}, 1),
            ("invproxy_backends", {"state": "online"}, 2),
            ("invproxy_backends", {"state": "offline"}, 0),
        ):
            self.assertEqual(self.figure(name, **labels), value, f"{name} {labels}")
        self.assertGreater(self.figure("invproxy_deadlines"), 3)
        self.assertGreater(self.figure("invproxy_timers"), 0)

    def test_mostBackends(self) -> None:
        """
        However many backends there are, the names in labels are bounded; and clients can make none.
        """
        self.start()
        bench = self.bench
        for number in range(MOST_BACKENDS + 5):
            bench.fetch(b"0", backend=b"b%03d" % number)
            bench.ask(host=b"b%03d.example" % number)
        bench.ask(host=b"made-up.example")
        found = self.figures()
        names = {
            dict(labels)["backend"] for name, labels in found if name == "invproxy_backend_pending"
        }
        self.assertEqual(len(names), MOST_BACKENDS + 1)
        self.assertNotIn("made-up", "".join(names))
        self.assertEqual(found["invproxy_backend_pending", (("backend", OTHERS),)], 6)
        self.assertEqual(found["invproxy_backend_pending", (("backend", "b000"),)], 1)

    def test_state(self) -> None:
        """
        Readiness, age, and what it is.
        """
        store = MemoryStore()
        store.failure = StoreError("on fire")
        self.start(registry=Registry(store, MemoryNetwork()))
        self.assertEqual(self.figure("invproxy_ready"), 1)
        self.assertEqual(self.figure("invproxy_registry_available"), 0)
        self.assertMoves(lambda: self.bench.advance(3.0), "invproxy_uptime_seconds", by=3.0)
        builds = [dict(labels) for name, labels in self.figures() if name == "invproxy_build_info"]
        self.assertEqual([sorted(each) for each in builds], [["python", "version"]])

    def test_registry(self) -> None:
        """
        Where all is well, that is shown, too.
        """
        self.start()
        self.assertEqual(self.figure("invproxy_registry_available"), 1)

    def test_process(self) -> None:
        """
        What the system knows of the process.
        """
        self.start()
        for name in ("process_open_fds", "process_max_fds", "process_resident_memory_bytes"):
            self.assertGreater(self.figure(name), 0)


class ExpositionTests(MetricsCase):
    """
    C{/metrics} itself.
    """

    def test_formats(self) -> None:
        """
        The text format, or OpenMetrics for who asks.
        """
        self.start()
        self.exchange()
        kind, text = self.text()
        self.assertEqual(kind, "text/plain; version=0.0.4; charset=utf-8")
        kind, opened = self.text("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        self.assertEqual(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        self.assertTrue(opened.endswith("# EOF\n"))
        plain = {
            family.name.removesuffix("_total") for family in text_string_to_metric_families(text)
        }
        opens = {family.name.removesuffix("_total") for family in parseOpenMetrics(opened)}
        self.assertEqual({name.removesuffix("_info") for name in plain}, opens)
        for accept in (
            "application/openmetrics-text; version=x.y",
            "application/openmetrics-text;;=",
        ):
            self.assertTrue(self.text(accept)[1].endswith("# EOF\n"))

    def test_names(self) -> None:
        """
        Names follow Prometheus' conventions: a prefix, base units, counters that end in C{_total}.
        """
        self.start()
        _, text = self.text()
        for family in text_string_to_metric_families(text):
            if family.name.startswith(("process_",)):
                continue
            self.assertTrue(family.name.startswith("invproxy_"), family.name)
            self.assertTrue(family.documentation.endswith("."), family.name)
            self.assertNotRegex(family.name, "_(ms|milliseconds|kib|minutes)(_|$)")
            names = {sample.name for sample in family.samples}
            if family.type == "counter":
                self.assertEqual(names, {family.name + "_total"})

    def test_noSecrets(self) -> None:
        """
        Neither users nor paths nor IDs are in it.
        """
        trusted = (ip_network("127.0.0.0/8"),)
        self.start(settings=ProxySettings(trustedProxies=trusted, userHeader=b"x-user"))
        self.bench.fetch(b"0")
        lines = b"GET /path?query HTTP/1.1\r\nHost: host\r\nX-User: alice\r\nCookie: cookie\r\n\r\n"
        self.bench.raw(lines)
        (exchange,) = self.bench.proxy.mailboxes.exchanges.values()
        self.assertEqual(exchange.endUser, "alice")
        _, text = self.text()
        for secret in ("alice", "path", "query", "cookie", '"host', exchange.id):
            self.assertNotIn(secret, text.replace("path_readings", ""))

    def test_guarded(self) -> None:
        """
        It is behind the same guard as the rest.
        """
        self.start()
        lines = b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n"
        self.assertEqual(self.bench.at(8081, lines).status, 403)

    def test_ownRegistry(self) -> None:
        """
        Nothing goes into the registry that all of a process share, so that there may be two proxies in one.
        """
        before = list(REGISTRY.collect())
        self.start()
        self.start()
        self.figures()
        self.assertEqual(len(list(REGISTRY.collect())), len(before))


@implementer(IMetrics)
class Notes:
    """
    An application's own metrics.
    """

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def requestEnded(self, status: int, error: str, sent: int, duration: float) -> None:
        self.told.append(("request", status, error, sent, round(duration, 3)))

    def exchangeEnded(self, waited: float, firstByte: float, received: int) -> None:
        self.told.append(("exchange", round(waited, 3), round(firstByte, 3), received))

    def callFailed(self, error: str) -> None:
        self.told.append(("call", error))

    def tunnelBegan(self, backend: str) -> None:
        self.told.append(("tunnel", backend))

    def connectionRefused(self, error: str) -> None:
        self.told.append(("connection", error))


class Shown(Notes):
    """
    One that is shown, too.
    """

    def collect(self) -> list[Any]:
        return [GaugeMetricFamily("notes_told", "How many.", value=len(self.told))]


class EmbeddedTests(MetricsCase):
    """
    An application's own.
    """

    def test_own(self) -> None:
        """
        It is told of everything, beside the proxy's own.
        """
        notes = Notes()
        self.start(metrics=notes)
        verifyObject(IMetrics, notes)
        self.bench.tunnel(b"zoo")
        self.exchange(wait=0.5, think=0.5)
        self.bench.call(b"GET", b"pending", None, b"")
        sent = len(PLAIN.partition(b"\r\n\r\n")[2])
        self.assertEqual(
            notes.told,
            [
                ("tunnel", "zoo"),
                ("exchange", 0.5, 1.0, 5),
                ("request", 200, "", sent, 1.0),
                ("call", "bad-request"),
            ],
        )
        names = {name for name, _ in self.figures()}
        self.assertIn("invproxy_exchanges", names)
        self.assertIn("invproxy_requests_total", names)

    def test_collector(self) -> None:
        """
        It is shown at /metrics if it is a collector.
        """
        self.start(metrics=Shown())
        self.assertMoves(self.bench.tunnel, "notes_told")

    def test_withoutAdmin(self) -> None:
        """
        It is told without an admin endpoint and an access log, too.
        """
        notes = Notes()
        self.start(metrics=notes, adminListen=None, accessLog=None)
        self.bench.raw(b"nonsense\r\n\r\n")
        self.assertEqual([each[:3] for each in notes.told], [("request", 400, "bad-request")])

    def test_logged(self) -> None:
        """
        The access log is told beside it.
        """
        self.start()
        self.exchange()
        self.assertEqual(len(self.bench.lines.lines), 1)
