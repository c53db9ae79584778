"""
What TLS costs: between agent and proxy, and between clients and proxy.
"""

from __future__ import annotations

from statistics import median

from benchmarks.certificates import makeCertificate
from benchmarks.load import Run, wrk
from benchmarks.programs import Stage
from benchmarks.report import Report, Table
from benchmarks.suites import Plan, atOnce, inTurn, ratio
from benchmarks.ways import Way, inverting, nginxOrigin, nginxReverse

REQUESTS = 64
"""How many connections ask for short answers."""

DOWNLOADS = (1, 8)
"""How many ask for long ones."""

LEAST = 3
"""Seconds in which also eight long answers that share a slow way are whole."""


def run(plan: Plan) -> Report:
    """
    Measure it.
    """
    report = Report("tls", "what TLS costs, between agent and proxy or between clients and proxy")
    with Stage() as stage:
        certificate = makeCertificate(stage)
        origin = nginxOrigin(stage)
        ways = [
            nginxReverse(stage, origin),
            nginxReverse(stage, origin, name="nginx, clients by TLS", certificate=certificate),
        ]
        plain = {way.name: ways[0] for way in ways}
        for carrier in plan.carriers:
            bare = inverting(stage, origin, carrier)
            kinds = [
                bare,
                inverting(stage, origin, carrier, suffix=", agent by TLS", agents=certificate),
                inverting(stage, origin, carrier, suffix=", clients by TLS", clients=certificate),
            ]
            plain |= {way.name: bare for way in kinds}
            ways += kinds
        for way in ways:
            wrk(stage, way, "/1k", connections=16, seconds=1)
        failed = _requests(plan, report, stage, ways, plain)
        for connections in DOWNLOADS:
            _downloads(plan, report, stage, ways, plain, connections)
        for way in ways:
            report.equal(f"{way.name}: failed requests", failed[way.name], 0)
    return report


def _requests(
    plan: Plan, report: Report, stage: Stage, ways: list[Way], plain: dict[str, Way]
) -> dict[str, int]:
    """
    Ask for short answers.

    @param plain: the same ways without TLS, by their names.
    @return: how many requests failed, by the name of the way.
    """

    def measure(way: Way) -> Run:
        return wrk(
            stage,
            way,
            "/1k",
            connections=REQUESTS,
            seconds=plan.seconds,
            programs=way.programs,
        )

    runs = inTurn(plan, ways, measure)
    table = Table(
        f"1 KiB answers, {REQUESTS} connections, CPU in ms for 1,000 requests",
        (
            "way",
            "requests/s",
            "of nginx",
            "of the same without TLS",
            "p50 ms",
            "p99 ms",
            "nginx",
            "proxy",
            "agent",
        ),
    )
    report.tables.append(table)
    rates = {name: [run.rate for run in each] for name, each in runs.items()}
    for way in ways:
        each = runs[way.name]
        cpu = {name: median(run.cpu[name] for run in each) for name in each[0].cpu}
        table.rows.append(
            (
                way.name,
                median(rates[way.name]),
                ratio(rates[way.name], rates["nginx"]),
                ratio(rates[way.name], rates[plain[way.name].name]),
                median(run.median for run in each),
                median(run.tail for run in each),
                sum(used for name, used in cpu.items() if name.startswith("nginx")) or None,
                cpu.get("proxy"),
                cpu.get("agent"),
            )
        )
    return {name: sum(run.errors for run in each) for name, each in runs.items()}


def _downloads(
    plan: Plan,
    report: Report,
    stage: Stage,
    ways: list[Way],
    plain: dict[str, Way],
    connections: int,
) -> None:
    """
    Ask for long answers.
    """

    def measure(way: Way) -> float:
        seconds = max(plan.seconds, LEAST)
        return wrk(stage, way, "/10m", connections=connections, seconds=seconds).volume

    rates = inTurn(plan, ways, measure)
    table = Table(
        f"10 MiB answers, {atOnce(connections)}",
        ("way", "MB/s", "of nginx", "of the same without TLS"),
    )
    report.tables.append(table)
    for way in ways:
        ours = rates[way.name]
        table.rows.append(
            (
                way.name,
                median(ours),
                ratio(ours, rates["nginx"]),
                ratio(ours, rates[plain[way.name].name]),
            )
        )
