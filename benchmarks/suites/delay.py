"""
A long way between proxy and agent: how much of what one TCP connection carries over it goes through.
"""

from __future__ import annotations

from statistics import median

from attrs import evolve

from benchmarks.client import Moved, download, upload
from benchmarks.distance import makeDistance
from benchmarks.load import wrk
from benchmarks.pattern import digestOf
from benchmarks.programs import BenchmarkError, Stage
from benchmarks.report import Report, Table
from benchmarks.suites import Plan, inTurn, ratio
from benchmarks.ways import Way, pythonOrigin, startAgent, startProxy, wayThrough

ROUND_TRIP = 100.0
"""Milliseconds."""

TARGETS = {"tunnel": 0.6}
"""What each carrier must reach of the MB/s of one TCP connection, down and up."""

ROUNDS = 3
"""How many rounds are enough."""

MOST = 15.0
"""Seconds after which a body is given up: its rate is known."""

_MIB = 1 << 20


def run(plan: Plan) -> Report:
    """
    Measure it.
    """
    plan = evolve(plan, rounds=min(plan.rounds, ROUNDS))
    size = (64 if plan.quick else 256) * _MIB
    expected = digestOf(size)
    with Stage() as stage:
        distance = makeDistance(stage, ROUND_TRIP / 2)
        report = Report(
            "delay", f"{ROUND_TRIP:g} ms there and back between proxy and agent, by {distance.how}"
        )
        origin = pythonOrigin(stage, *distance.prefix, interface=_everywhere(distance.far))
        host, port = distance.toFar(origin.port)
        direct = Way("one TCP connection", port, (), host=host)
        ways = [direct]
        for carrier in plan.carriers:
            proxy = startProxy(stage, "--insecure-open", agentInterface=distance.near)
            url = proxy.url(*distance.toNear(proxy.agents))
            agent = startAgent(stage, proxy, origin, carrier, url=url, prefix=distance.prefix)
            ways.append(wayThrough(proxy, agent, carrier))
        short = {way.name: wrk(stage, way, "/1k", connections=1, seconds=2).median for way in ways}
        if short[direct.name] < ROUND_TRIP:
            raise BenchmarkError(f"the long way takes {short[direct.name]:.1f} ms, there and back")
        moved = {
            "down": inTurn(plan, ways, lambda way: download(way, size, MOST)),
            "up": inTurn(plan, ways, lambda way: upload(way, direct, size, MOST)),
        }
    requests = Table("1 KiB answers, one at a time", ("way", "p50 ms"))
    requests.rows += short.items()
    report.tables.append(requests)
    for direction, bodies in moved.items():
        _tell(report, f"{direction}, {size / _MIB:,.0f} MiB", ways, bodies, expected)
    return report


def _everywhere(address: str) -> str:
    """
    Name the interface of an origin that is reached at an address as well as on loopback.
    """
    return address if address.startswith("127.") else "0.0.0.0"


def _tell(
    report: Report, title: str, ways: list[Way], bodies: dict[str, list[Moved]], expected: str
) -> None:
    table = Table(title, ("way", "MB/s", "of one TCP connection", "MiB that came"))
    report.tables.append(table)
    rates = {name: [each.rate for each in rounds] for name, rounds in bodies.items()}
    for way in ways:
        share = ratio(rates[way.name], rates[ways[0].name])
        rounds = bodies[way.name]
        came = median(each.size for each in rounds) / _MIB
        table.rows.append((way.name, median(rates[way.name]), share, came))
        if way.carrier in TARGETS:
            name = f"{way.name}: of the MB/s of one TCP connection, {title}"
            report.atLeast(name, share, TARGETS[way.carrier])
        whole = all(each.digest in ("", expected) for each in rounds)
        report.equal(f"{way.name}: {title}, unchanged", "yes" if whole else "no", "yes")
