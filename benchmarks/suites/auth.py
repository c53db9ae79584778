"""
What it costs to know who sends a request and whose agent takes it: processor time beside that of open mode.
"""

from __future__ import annotations

from statistics import median, quantiles

from benchmarks.load import Run, wrk
from benchmarks.programs import Stage
from benchmarks.report import Report, Table
from benchmarks.suites import Plan
from benchmarks.ways import Way, guarded, inverting, nginxOrigin

CONNECTIONS = 64

TARGETS = {"tunnel": 1.10}
"""How many times the processor time of open mode a request may take, by carriers; others have no target."""

_PAIRS, _QUICK_PAIRS = 30, 12
"""
Slices of each way. What disturbs a slice of a second, as neighbors do, or a password that is checked anew, is in one
pair of them, and the median does not see it.
"""

_WARM_UP = 3


def run(plan: Plan) -> Report:
    """
    Measure them: both ways stand all the time, of which the one that is not asked costs nothing, and are asked in short
    slices, in turn, which of them first in turn as well.
    """
    report = Report(
        "auth", f"registry, agent's token and password beside open mode, {CONNECTIONS} connections"
    )
    table = Table(
        "CPU in ms for 1,000 requests, medians, and the ratio of each two slices that follow each other",
        (
            *("way", "requests/s", "proxy", "agent", "both", "times open mode"),
            *("half of the ratios are from", "to", "least", "most", "pairs"),
        ),
    )
    report.tables.append(table)
    for carrier in plan.carriers:
        with Stage() as stage:
            origin = nginxOrigin(stage)
            ways = (
                guarded(stage, origin, carrier),
                inverting(stage, origin, carrier, suffix=", open mode"),
            )
            runs: tuple[list[Run], list[Run]] = ([], [])
            for way in ways:
                _slice(stage, way, _WARM_UP)
            for pair in range(_QUICK_PAIRS if plan.quick else _PAIRS):
                for which in (pair % 2, 1 - pair % 2):
                    runs[which].append(_slice(stage, ways[which], 1))
        ratios = [_both(one) / _both(other) for one, other in zip(*runs, strict=True)]
        low, middle, high = quantiles(ratios, n=4)
        spread = (middle, low, high, min(ratios), max(ratios), len(ratios))
        for way, each, more in zip(ways, runs, (spread, (None,) * 6), strict=True):
            table.rows.append(
                (
                    way.name,
                    median(one.rate for one in each),
                    median(one.cpu["proxy"] for one in each),
                    median(one.cpu["agent"] for one in each),
                    median(map(_both, each)),
                    *more,
                )
            )
            report.equal(f"{way.name}: failed requests", sum(one.errors for one in each), 0)
        if carrier in TARGETS:
            report.atMost(f"{ways[0].name}: CPU, times that of open mode", middle, TARGETS[carrier])
    return report


def _slice(stage: Stage, way: Way, seconds: int) -> Run:
    return wrk(stage, way, "/1k", connections=CONNECTIONS, seconds=seconds, programs=way.programs)


def _both(run: Run) -> float:
    """
    How much processor time went into proxy and agent.
    """
    return sum(run.cpu.values())
