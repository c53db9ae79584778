"""
Long bodies: how many megabytes a second, down and up.
"""

from __future__ import annotations

from statistics import median

from benchmarks.load import transfer
from benchmarks.programs import (
    BULK,
    Stage,
    Way,
    inverting,
    nginxOrigin,
    nginxReverse,
)
from benchmarks.report import Report, Table
from benchmarks.suites import Plan

CONNECTIONS = (1, 8)
TARGET = 0.4
"""What the poll carrier must reach of nginx's MB/s for answers."""

_UNBUFFERED = "proxy_buffering off; proxy_request_buffering off;"


def run(plan: Plan) -> Report:
    """
    Measure them.
    """
    report = Report("bulk", "10 MiB bodies")
    down = b"GET /10m HTTP/1.1\r\nHost: localhost\r\n\r\n"
    up = b"PUT /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % BULK
    with Stage() as stage:
        origin = nginxOrigin(stage)
        ways = [
            nginxReverse(stage, origin),
            *(inverting(stage, origin, carrier) for carrier in plan.carriers),
            nginxReverse(stage, origin, _UNBUFFERED, "nginx, no buffering"),
        ]
        for what, head, body in (("down", down, b""), ("up", up, bytes(BULK))):
            for connections in CONNECTIONS:
                title = f"{what}, {'one' if connections == 1 else 'eight'} at once"
                rates = _compare(plan, ways, head, body, connections)
                table = Table(title, ("way", "MB/s", "of nginx"))
                for way in ways:
                    ratio = _ratio(rates[way.name], rates["nginx"])
                    table.rows.append((way.name, median(rates[way.name]), ratio))
                    if what == "down" and way.admin:
                        report.atLeast(f"{way.name}: of nginx's MB/s, {title}", ratio, TARGET)
                report.tables.append(table)
    return report


def _compare(
    plan: Plan, ways: list[Way], head: bytes, body: bytes, connections: int
) -> dict[str, list[float]]:
    """
    Run all ways in turn, and say how many MB/s each reached in each round.
    """
    rates: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(plan.rounds):
        for way in ways:
            count, seconds = transfer(
                way.port, head, body, connections=connections, seconds=plan.seconds
            )
            rates[way.name].append(count * BULK / seconds / 1e6)
    return rates


def _ratio(ours: list[float], others: list[float]) -> float:
    return median(one / other for one, other in zip(ours, others, strict=True))
