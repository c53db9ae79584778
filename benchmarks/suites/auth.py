"""
What it costs to know who sends a request and whose agent takes it: processor time beside that of open mode.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from statistics import median, quantiles

from benchmarks.load import Run, wrk
from benchmarks.programs import Stage
from benchmarks.report import Report, Table
from benchmarks.suites import Plan
from benchmarks.ways import Way, guarded, inverting, nginxOrigin

CONNECTIONS = 64

TARGETS = {"tunnel": 1.10}
"""How many times the processor time of open mode a request may take, by carriers; others have no target."""

_SLICES, _QUICK_SLICES = 40, 12
"""
How often both are asked for a second. What disturbs them, as neighbors do, disturbs both alike; and what is in one
alone, such as a password that is checked anew, is in one slice of many, and the median does not see it.
"""

_WARM_UP = 3


def run(plan: Plan) -> Report:
    """
    Measure them: both ways stand all the time, and are asked at the same time, in short slices. (In turn, one slice
    after the other, the ratios spread twice as wide.)
    """
    report = Report(
        "auth", f"registry, agent's token and password beside open mode, {CONNECTIONS} connections"
    )
    table = Table(
        "CPU in ms for 1,000 requests, medians, and the ratios in each slice",
        (
            *("way", "requests/s", "proxy", "agent", "both", "times open mode"),
            *("half of the ratios are from", "to", "least", "most", "slices"),
        ),
    )
    report.tables.append(table)
    for carrier in plan.carriers:
        with Stage() as stage, ThreadPoolExecutor(2) as threads:
            origin = nginxOrigin(stage)
            ways = (
                guarded(stage, origin, carrier),
                inverting(stage, origin, carrier, suffix=", open mode"),
            )
            runs: tuple[list[Run], list[Run]] = ([], [])
            for way in ways:
                _slice(stage, way, _WARM_UP)
            for _ in range(_QUICK_SLICES if plan.quick else _SLICES):
                begun = [threads.submit(_slice, stage, way, 1) for way in ways]
                for each, one in zip(runs, begun, strict=True):
                    each.append(one.result())
        ratios = [_both(one) / _both(other) for one, other in zip(*runs, strict=True)]
        low, middle, high = quantiles(ratios, n=4)
        spread = (middle, low, high, min(ratios), max(ratios), len(ratios))
        for way, figures, more in zip(ways, runs, (spread, (None,) * 6), strict=True):
            table.rows.append(
                (
                    way.name,
                    median(one.rate for one in figures),
                    median(one.cpu["proxy"] for one in figures),
                    median(one.cpu["agent"] for one in figures),
                    median(map(_both, figures)),
                    *more,
                )
            )
            report.equal(f"{way.name}: failed requests", sum(one.errors for one in figures), 0)
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
