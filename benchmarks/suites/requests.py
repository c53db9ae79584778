"""
Short answers: how many a second, how soon, and for how much processor time.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.load import BROWSER_FIELDS, Run, wrk
from benchmarks.procfs import peakBytes, residentBytes
from benchmarks.programs import Stage
from benchmarks.report import Report, Table
from benchmarks.suites import Plan, inTurn, ratio
from benchmarks.ways import Way, guarded, nginxOrigin, nginxReverse

CONNECTIONS = (1, 64, 256)

TARGETS = {
    "tunnel": {1: 0.40, 64: 0.40, 256: 0.50},
    "poll": {64: 0.07},
}
"""What each carrier must reach of nginx's requests a second, by the number of connections."""

PROCESSOR_TARGETS = {"tunnel": {64: 4.0}}
"""How many times nginx's processor time proxy and agent together may use for a request."""

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
        ways += [guarded(stage, origin, carrier) for carrier in plan.carriers]
        for way in ways:
            wrk(stage, way, "/1k", connections=16, seconds=1)
        failed = {way.name: 0 for way in ways}
        for fields, suffix in (((), "one header field"), (BROWSER_FIELDS, "15 header fields")):
            for connections in CONNECTIONS:
                title = f"{connections} connection{'s' if connections > 1 else ''}, {suffix}"
                runs = _compare(plan, stage, ways, origin, connections, fields)
                report.tables.append(_table(title, ways, runs))
                for way in ways:
                    failed[way.name] += sum(run.errors for run in runs[way.name])
                if not fields:
                    _check(report, title, connections, ways, runs)
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
    origin: Way,
    connections: int,
    fields: Sequence[str],
) -> dict[str, list[Run]]:
    def measure(way: Way) -> Run:
        return wrk(
            stage,
            way,
            "/1k",
            connections=connections,
            seconds=plan.seconds,
            fields=fields,
            programs=way.programs + origin.programs,
        )

    return inTurn(plan, ways, measure)


def _check(
    report: Report, title: str, connections: int, ways: list[Way], runs: dict[str, list[Run]]
) -> None:
    nginx = runs[ways[0].name]
    for way in ways[1:]:
        target = TARGETS[way.carrier].get(connections)
        if target is not None:
            value = _rateRatio(runs[way.name], nginx)
            report.atLeast(f"{way.name}: of nginx's requests/s, {title}", value, target)
        target = PROCESSOR_TARGETS.get(way.carrier, {}).get(connections)
        if target is not None:
            ours, theirs = ([_processor(run) for run in each] for each in (runs[way.name], nginx))
            name = f"{way.name}: CPU of proxy and agent, times nginx's, {title}"
            report.atMost(name, ratio(ours, theirs), target)


def _rateRatio(ours: list[Run], nginx: list[Run]) -> float:
    return ratio((run.rate for run in ours), (run.rate for run in nginx))


def _processor(run: Run) -> float:
    """
    How much processor time went into a way, without its origin.
    """
    return sum(used for name, used in run.cpu.items() if name != "origin")


def _table(title: str, ways: list[Way], runs: dict[str, list[Run]]) -> Table:
    table = Table(title, _COLUMNS)
    for way in ways:
        each = runs[way.name]
        cpu = {name: median(run.cpu[name] for run in each) for name in each[0].cpu}
        table.rows.append(
            (
                way.name,
                median(run.rate for run in each),
                _rateRatio(each, runs[ways[0].name]),
                median(run.median for run in each),
                median(run.tail for run in each),
                median(_processor(run) for run in each),
                cpu.get("nginx"),
                cpu.get("proxy"),
                cpu.get("agent"),
                cpu["origin"],
            )
        )
    return table
