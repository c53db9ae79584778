"""
Server-sent events: how much later they arrive through a proxy, alone and beside large downloads, and whether all do.
"""

from __future__ import annotations

import http.client
import re
import sys
import time
from statistics import median

from attrs import evolve, frozen

from benchmarks.client import counted
from benchmarks.downloads import NAME
from benchmarks.programs import BenchmarkError, Stage
from benchmarks.report import Report, Table
from benchmarks.suites import Plan, inTurn
from benchmarks.ways import Way, inverting, nginxReverse, pythonOrigin

EVERY = 50
"""Milliseconds between events."""

ROUNDS = 3
"""How many streams of each way are enough."""

DOWNLOADS = 8
"""How many large downloads go through the same proxy and agent."""

TARGETS = {"tunnel": 2.0, "poll": 5.0}
"""Milliseconds that each carrier may add at the median when nothing else is under way."""

BESIDE_TARGETS = {"tunnel": 20.0}
"""Milliseconds that it may add beside the downloads."""

_COLUMNS = (
    "way",
    "median",
    "99 of 100",
    "most",
    "added, median",
    "added, most",
    "lost",
    "held back",
)


@frozen
class Arrivals:
    """
    What came of one stream.

    @ivar delays: how many milliseconds each event was under way.
    @ivar held: how many came only when the next one had been sent, too.
    """

    delays: list[float]
    held: int


def listen(way: Way, count: int) -> Arrivals:
    """
    Take a stream of events.

    @param way: from where.
    @param count: how many.
    @raise BenchmarkError: if it does not even begin.
    """
    connection = http.client.HTTPConnection(way.host, way.port, timeout=30)
    try:
        connection.request("GET", f"/events?count={count}&every={EVERY}")
        response = connection.getresponse()
        if response.status != 200:
            raise BenchmarkError(f"server-sent events: {response.status} {response.reason}")
        sent: list[int] = []
        came: list[int] = []
        text = b""
        while data := response.read1(1 << 16):
            now = time.monotonic_ns()
            *events, text = (text + data).split(b"\n\n")
            for event in events:
                found = re.fullmatch(rb"data: (\d+)", event)
                if found is not None:
                    sent.append(int(found[1]))
                    came.append(now)
    except (OSError, http.client.HTTPException) as error:
        raise BenchmarkError(
            f"server-sent events through {way.name}: {type(error).__name__}: {error}"
        ) from None
    finally:
        connection.close()
    delays = [(after - before) / 1e6 for before, after in zip(sent, came, strict=True)]
    held = sum(arrived > following for arrived, following in zip(came, sent[1:], strict=False))
    return Arrivals(delays, held)


@frozen
class Company:
    """
    What came of one stream that had downloads beside it.

    @ivar arrivals: what came of it.
    @ivar rate: megabytes a second that the origin sent meanwhile for the downloads.
    """

    arrivals: Arrivals
    rate: float


def run(plan: Plan) -> Report:
    """
    Measure them.
    """
    plan = evolve(plan, rounds=min(plan.rounds, ROUNDS))
    count = 40 if plan.quick else 200
    report = Report("sse", f"server-sent events, one every {EVERY} ms")
    with Stage() as stage:
        direct = pythonOrigin(stage)
        ways = [
            direct,
            nginxReverse(stage, direct, "proxy_buffering off;", "nginx, no buffering"),
            *(inverting(stage, direct, carrier) for carrier in plan.carriers),
        ]
        alone = inTurn(plan, ways, lambda way: listen(way, count))
        beside = inTurn(plan, ways, lambda way: _listenBeside(stage, way, direct, count))
    title = f"ms under way, {plan.rounds} streams of {count} events"
    base = median(_delays(alone[direct.name]))
    table = Table(title, _COLUMNS)
    report.tables.append(table)
    for way in ways:
        figures = _figures(way, alone[way.name], count, base)
        table.rows.append((way.name, *figures))
        if way.carrier:
            _, _, _, added, _, lost, held = figures
            report.below(f"{way.name}: median added", added, TARGETS[way.carrier], " ms")
            report.equal(f"{way.name}: events lost", lost, 0)
            report.equal(f"{way.name}: events held back", held, 0)
    company = f"beside {DOWNLOADS} downloads"
    table = Table(f"{title}, {company}", (*_COLUMNS, "downloads, MB/s"))
    report.tables.append(table)
    for way in ways:
        streams = [each.arrivals for each in beside[way.name]]
        figures = _figures(way, streams, count, base)
        table.rows.append((way.name, *figures, median(each.rate for each in beside[way.name])))
        if way.carrier:
            _, _, _, added, _, lost, _ = figures
            if way.carrier in BESIDE_TARGETS:
                target = BESIDE_TARGETS[way.carrier]
                report.below(f"{way.name}: median added {company}", added, target, " ms")
            report.equal(f"{way.name}: events lost {company}", lost, 0)
    return report


def _listenBeside(stage: Stage, way: Way, direct: Way, count: int) -> Company:
    """
    Take a stream of events while downloads go on.

    @param direct: the origin itself, which knows how much it sends.
    """
    command = (sys.executable, "-m", "benchmarks.downloads", str(way.port))
    downloads = stage.run("downloads", *command, "--connections", str(DOWNLOADS))
    try:
        time.sleep(1)
        before, began = counted(direct, NAME), time.perf_counter()
        arrivals = listen(way, count)
        came = counted(direct, NAME) - before
        rate = came / (time.perf_counter() - began) / 1e6
        downloads.require()
    finally:
        downloads.stop()
    time.sleep(0.5)
    return Company(arrivals, rate)


def _delays(streams: list[Arrivals]) -> list[float]:
    return sorted(delay for stream in streams for delay in stream.delays)


def _figures(
    way: Way, streams: list[Arrivals], count: int, base: float
) -> tuple[float, float, float, float, float, int, int]:
    """
    Make the part of a row that C{_COLUMNS} names.
    """
    delays = _delays(streams)
    if not delays:
        raise BenchmarkError(f"{way.name}: no event came")
    half, most = median(delays), delays[-1]
    return (
        half,
        delays[len(delays) * 99 // 100],
        most,
        half - base,
        most - base,
        count * len(streams) - len(delays),
        sum(stream.held for stream in streams),
    )
