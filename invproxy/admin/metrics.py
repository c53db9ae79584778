"""
C{/metrics}: what Prometheus reads, in its own text format or in OpenMetrics.

What was counted on the way comes from the proxy's L{IMetrics <invproxy.interfaces.IMetrics>}; the rest is looked at
when somebody asks.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest as generateOpenMetrics
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry
from twisted.web.server import Request

from invproxy import __version__
from invproxy.admin.answers import Answer
from invproxy.admin.status import Status
from invproxy.census import Census

MOST_BACKENDS: Final = 100
"""Backends that have figures of their own; the others are taken together. Clients can make none at all."""

OTHERS: Final = "(others)"
"""What these are called; no backend is."""

_TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
_OPEN: Final = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

_OF_BACKENDS: Final = (
    ("pending", "Requests that no agent has taken yet."),
    ("in_flight", "Requests that an agent has."),
    ("agents", "Tunnels, and polls that wait."),
)


@runtime_checkable
class Collecting(Protocol):
    """
    A collector of prometheus_client, as far as that is asked for.
    """

    def collect(self) -> Iterable[Metric]:
        """
        Give what there is.
        """


class Exposition:
    """
    Answers for C{/metrics}.
    """

    def __init__(
        self, status: Status, census: Census, collectors: Sequence[Collecting] = ()
    ) -> None:
        """
        @param status: knows what goes on.
        @param census: knows what the proxy holds.
        @param collectors: what is shown besides.
        """
        # One of its own: in the global one there may be what an application counts.
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_Gauges(status, census))
        for collecting in collectors:
            self._registry.register(_Collector(collecting))

    def show(self, request: Request) -> Answer:
        """
        Show it all, in the format that is asked for.
        """
        if "application/openmetrics-text" in (request.getHeader("accept") or ""):
            return Answer(200, generateOpenMetrics(self._registry), _OPEN)
        return Answer(200, generate_latest(self._registry), _TEXT)


class _Collector(Collector):
    """
    Somebody else's.
    """

    def __init__(self, collecting: Collecting) -> None:
        self._collecting = collecting

    def collect(self) -> Iterable[Metric]:
        return self._collecting.collect()


class _Gauges(Collector):
    """
    What is to be seen at this moment.
    """

    def __init__(self, status: Status, census: Census) -> None:
        self._status = status
        self._census = census

    def collect(self) -> Iterator[Metric]:
        found = self._status.found()
        totals = {name: count or 0 for name, count in self._census.totals().items()}
        yield InfoMetricFamily(
            "invproxy_build",
            "Which proxy this is.",
            {"version": __version__, "python": platform.python_version()},
        )
        yield _gauge(
            "invproxy_ready", "Whether the proxy listens and is not stopping.", found["ready"]
        )
        isLoaded = found["registry"]["state"] != "unavailable"
        yield _gauge(
            "invproxy_registry_available",
            "Whether the registry could be loaded, and its database be written; always in open mode.",
            isLoaded and "problem" not in found["registry"],
        )
        yield _gauge("invproxy_uptime_seconds", "Since the proxy was made.", found["uptimeSeconds"])
        yield from self._totals(totals)
        yield from _tables(self._census)
        yield from _backends(found["backends"])

    def _totals(self, totals: Mapping[str, int]) -> Iterator[Metric]:
        yield _labelled(
            "invproxy_exchanges",
            "Requests that are not over, by whether an agent has taken them.",
            "state",
            {"queued": totals["queued"], "taken": totals["exchanges"] - totals["queued"]},
        )
        yield _labelled(
            "invproxy_agents",
            "Tunnels of agents, and polls of agents that wait.",
            "carrier",
            {"tunnel": totals.get("tunnels", 0), "poll": totals["polls"]},
        )
        yield _labelled(
            "invproxy_connections",
            "Connections that are open.",
            "of",
            {
                "clients": totals.get("clients", 0),
                "agents": totals.get("agentLinks", 0),
                "administrators": totals.get("adminConnections", 0),
            },
        )
        yield _gauge("invproxy_streams", "Requests in tunnels.", totals.get("streams", 0))
        yield _gauge(
            "invproxy_deadlines",
            "Exchanges, connections and tunnels that wait for a time to pass.",
            totals.get("deadlines", 0),
        )
        yield _gauge("invproxy_timers", "Timers of the reactor.", totals["timers"])


def _tables(census: Census) -> Iterator[Metric]:
    entries = GaugeMetricFamily(
        "invproxy_table_entries",
        "Entries of a table, or of the fullest of its kind; full: new ones are refused, or old ones forgotten.",
        labels=["table", "full"],
    )
    limits = GaugeMetricFamily(
        "invproxy_table_limit", "Entries that a table may have.", labels=["table", "full"]
    )
    for table in census.tables():
        labels = [table.name, "forgets" if table.forgets else "refuses"]
        entries.add_metric(labels, table.entries)
        if table.limit is not None:
            limits.add_metric(labels, table.limit)
    yield entries
    yield limits


def _backends(backends: list[dict[str, Any]]) -> Iterator[Metric]:
    online = sum(each["online"] for each in backends)
    yield _labelled(
        "invproxy_backends",
        "Backends whose agents have called, by whether one did within --backend-timeout.",
        "state",
        {"online": online, "offline": len(backends) - online},
    )
    # In the order of their IDs, so that it is always the same ones that have figures of their own.
    figures: dict[str, tuple[int, int, int]] = {}
    for place, each in enumerate(backends):
        name = each["id"] if place < MOST_BACKENDS else OTHERS
        inFlight = sum(count for state, count in each["exchanges"].items() if state != "queued")
        new = (each["queued"], inFlight, each["tunnels"] + each["polls"])
        old = figures.get(name, (0, 0, 0))
        figures[name] = (old[0] + new[0], old[1] + new[1], old[2] + new[2])
    for place, (name, text) in enumerate(_OF_BACKENDS):
        yield _labelled(
            f"invproxy_backend_{name}",
            text,
            "backend",
            {backend: counts[place] for backend, counts in figures.items()},
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for each, value in values.items():
        family.add_metric([each], float(value))
    return family
