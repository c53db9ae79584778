"""
The registry: what it costs to find a backend for a request, and to start with many of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from statistics import median

from attrs import frozen
from twisted.internet.task import Clock

from benchmarks.procfs import cpuSeconds, residentBytes
from benchmarks.programs import BenchmarkError, Stage
from benchmarks.registries import backends, tokens, writeDatabase
from benchmarks.report import Report, Table
from benchmarks.suites import Plan, ratio
from benchmarks.ways import startProxy
from invproxy.registry.memory import MemoryStore
from invproxy.registry.records import Backend, digestOf
from invproxy.registry.registry import Registry

FEW, MANY = 10, 10_000
"""How many records the registries that are compared have."""

TOKENS = 1_000
"""How many agents have a token."""

_DIFFERENT = 1_000
_MIB = 1 << 20

Ask = Callable[[], object]


@frozen
class Question:
    """
    Something that a registry is asked.

    @ivar name: what it is, in the report.
    @ivar asks: functions of no arguments, many of which ask it in different ways.
    """

    name: str
    asks: list[Ask]


def run(plan: Plan) -> Report:
    """
    Measure both.
    """
    report = Report("routes", f"a registry of {MANY:,} records beside one of {FEW}")
    _routes(report, plan)
    _starts(report, plan)
    return report


def _routes(report: Report, plan: Plan) -> None:
    table = Table(
        f"one look-up in µs of processor time; {TOKENS:,} tokens",
        ("look-up", f"{FEW} records", f"{MANY:,} records", "ratio"),
    )
    report.tables.append(table)
    few, many = _questions(FEW), _questions(MANY)
    calls = 20_000 if plan.quick else 100_000
    for question, same in zip(few, many, strict=True):
        figures: tuple[list[float], list[float]] = ([], [])
        for _ in range(plan.rounds):
            for asked, measured in zip((question, same), figures, strict=True):
                measured.append(_cost(asked.asks, calls))
        times = ratio(figures[1], figures[0])
        table.rows.append((question.name, median(figures[0]), median(figures[1]), times))
        report.atMost(f"{question.name}: {MANY:,} records to {FEW}", times, 2.0)


def _questions(size: int) -> list[Question]:
    """
    Ask a registry of this size, each question in many different ways, as far as it has so many records.

    @raise BenchmarkError: if an answer is wrong.
    """
    records = backends(size)
    registry = Registry(MemoryStore(records, tokens(TOKENS, min(size, TOKENS))), Clock())
    registry.start()
    random = Random(7)
    own = [each for each in records if each.endUser.startswith("user")]
    hosted = [each for each in records if each.hosts]
    teams = [each for each in records if each.endUser.startswith("*")]
    digests = [digestOf(f"t{number}") for number in range(TOKENS)]

    def route(user: str, host: bytes, path: bytes, expected: Backend | None) -> Ask:
        if registry.routes.find(user, host, path) != expected:
            raise BenchmarkError(f"{user} at {host!r} {path!r} lands elsewhere")
        return lambda: registry.routes.find(user, host, path)

    def token(digest: bytes) -> Ask:
        if registry.findToken(digest) is None:
            raise BenchmarkError("a token was not found")
        return lambda: registry.findToken(digest)

    def some(among: Sequence[Backend]) -> list[Backend]:
        return random.choices(among, k=_DIFFERENT)

    proxy = b"proxy.example.com"
    page = b"/lab/tree/figures.ipynb"
    return [
        Question(
            "a user's own backend", [route(each.endUser, proxy, page, each) for each in some(own)]
        ),
        Question(
            "everybody's, by host",
            [route("", each.hosts[0].encode() + b":8443", page, each) for each in some(hosted)],
        ),
        Question(
            "a domain's, by path",
            [
                route(
                    f"ann@{each.endUser[2:]}",
                    proxy,
                    each.pathPrefixes[0].encode() + page,
                    each,
                )
                for each in some(teams)
            ],
        ),
        Question(
            "none",
            [
                route(f"nobody{number}@example.org", proxy, page, None)
                for number in range(_DIFFERENT)
            ],
        ),
        Question("a token", [token(digest) for digest in random.choices(digests, k=_DIFFERENT)]),
    ]


def _cost(asks: list[Ask], calls: int) -> float:
    """
    Ask many times.

    @return: how long one took in microseconds.
    """
    rounds = max(1, calls // len(asks))
    began = time.process_time()
    for _ in range(rounds):
        for ask in asks:
            ask()
    return (time.process_time() - began) * 1e6 / (rounds * len(asks))


def _starts(report: Report, plan: Plan) -> None:
    table = Table(
        f"start-up of the server, until it is ready; {TOKENS:,} tokens in each database",
        ("database", "s", "CPU s", "MiB resident"),
    )
    report.tables.append(table)
    figures: dict[str, list[tuple[float, float, float]]] = {}
    with Stage() as stage:
        databases: dict[str, tuple[str, ...]] = {"none": ()}
        for size in (FEW, MANY):
            path = stage.path("registry.sqlite")
            writeDatabase(path, backends(size), tokens(TOKENS, min(size, TOKENS)))
            databases[f"{size:,} records"] = ("--database", f"sqlite:{path}")
        for _ in range(plan.rounds):
            for name, options in databases.items():
                began = time.monotonic()
                proxy = startProxy(stage, *options)
                took = time.monotonic() - began
                pid = proxy.program.pid
                measured = (took, cpuSeconds(pid), residentBytes(pid) / _MIB)
                figures.setdefault(name, []).append(measured)
                proxy.program.stop()
    for name, rows in figures.items():
        table.rows.append((name, *(median(column) for column in zip(*rows, strict=True))))
    added = [
        many[0] - few[0]
        for few, many in zip(figures[f"{FEW} records"], figures[f"{MANY:,} records"], strict=True)
    ]
    report.below(f"start-up: {MANY:,} records instead of {FEW} add", median(added), 1.0, " s")
