"""
Short answers: how many a second, how soon, and for how much processor time.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.load import BROWSER_FIELDS, Run, wrk
from benchmarks.procfs import peakBytes, residentBytes
from benchmarks.programs import Program, Stage, Way, inverting, nginxOrigin, nginxReverse
from benchmarks.report import Report, Table
from benchmarks.suites import Plan

CONNECTIONS = (1, 64, 256)
TARGET = 0.05
"""What the poll carrier must reach of nginx's requests a second at 64 connections."""

_MIB = 1 << 20
_COLUMNS = (
    "way",
    "requests/s",
    "of nginx",
    "p50 ms",
    "p99 ms",
    "CPU ms",
    "nginx",
    "proxy",
    "agent",
    "origin",
)


def run(plan: Plan) -> Report:
    """
    Measure them.
    """
    report = Report("requests", "1 KiB answers, CPU in ms for 1,000 requests")
    with Stage() as stage:
        origin = nginxOrigin(stage)
        ways = [nginxReverse(stage, origin)]
        ways += [inverting(stage, origin, carrier) for carrier in plan.carriers]
        for way in ways:
            wrk(stage, way.port, "/1k", connections=16, seconds=1)
        failed = {way.name: 0 for way in ways}
        for fields, suffix in (((), "one header field"), (BROWSER_FIELDS, "15 header fields")):
            for connections in CONNECTIONS:
                title = f"{connections} connection{'s' if connections > 1 else ''}, {suffix}"
                runs = _compare(plan, stage, ways, origin.programs, connections, fields)
                report.tables.append(_table(title, ways, runs))
                for way in ways:
                    failed[way.name] += sum(run.errors for run in runs[way.name])
                if connections == 64 and not fields:
                    for way in ways[1:]:
                        report.atLeast(
                            f"{way.name}: of nginx's requests/s, {title}",
                            _ratio(way, ways, runs),
                            TARGET,
                        )
        resident = Table("MiB resident after all that", ("way", "process", "MiB", "at most"))
        for way in ways:
            for program in way.programs:
                sizes = residentBytes(program.pid), peakBytes(program.pid)
                resident.rows.append((way.name, program.name, *(size / _MIB for size in sizes)))
        report.tables.append(resident)
        for way in ways:
            report.equal(f"{way.name}: failed requests", failed[way.name], 0)
    return report


def _compare(
    plan: Plan,
    stage: Stage,
    ways: list[Way],
    origins: tuple[Program, ...],
    connections: int,
    fields: Sequence[str],
) -> dict[str, list[Run]]:
    """
    Run all ways in turn.
    """
    runs: dict[str, list[Run]] = {way.name: [] for way in ways}
    for _ in range(plan.rounds):
        for way in ways:
            programs = way.programs + origins
            load = wrk(
                stage,
                way.port,
                "/1k",
                connections=connections,
                seconds=plan.seconds,
                fields=fields,
                programs=programs,
            )
            runs[way.name].append(load)
    return runs


def _ratio(way: Way, ways: list[Way], runs: dict[str, list[Run]]) -> float:
    """
    The median over the rounds of a way's rate divided by nginx's in the same round.
    """
    pairs = zip(runs[way.name], runs[ways[0].name], strict=True)
    return median(ours.rate / nginx.rate for ours, nginx in pairs)


def _table(title: str, ways: list[Way], runs: dict[str, list[Run]]) -> Table:
    table = Table(title, _COLUMNS)
    for way in ways:
        each = runs[way.name]
        cpu = {name: median(run.cpu[name] for run in each) for name in each[0].cpu}
        origin = cpu.pop("origin")
        table.rows.append(
            (
                way.name,
                median(run.rate for run in each),
                _ratio(way, ways, runs),
                median(run.median for run in each),
                median(run.tail for run in each),
                sum(cpu.values()),
                cpu.get("nginx"),
                cpu.get("proxy"),
                cpu.get("agent"),
                origin,
            )
        )
    return table
