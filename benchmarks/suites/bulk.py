"""
Long bodies: how many megabytes a second, down and up.
"""

from __future__ import annotations

from statistics import median

from benchmarks.load import transfer
from benchmarks.programs import Stage
from benchmarks.report import Report, Table
from benchmarks.suites import Plan, atOnce, inTurn, ratio
from benchmarks.ways import BULK, Way, inverting, nginxOrigin, nginxReverse

CONNECTIONS = (1, 8)

TARGETS = {
    "tunnel": {"down": 0.5, "up": 0.7},
    "poll": {"down": 0.4},
}
"""What each carrier must reach of nginx's MB/s."""

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
                title = f"{what}, {atOnce(connections)}"
                rates = _compare(plan, ways, head, body, connections)
                table = Table(title, ("way", "MB/s", "of nginx"))
                for way in ways:
                    share = ratio(rates[way.name], rates["nginx"])
                    table.rows.append((way.name, median(rates[way.name]), share))
                    target = TARGETS.get(way.carrier, {}).get(what)
                    if target is not None:
                        report.atLeast(f"{way.name}: of nginx's MB/s, {title}", share, target)
                report.tables.append(table)
    return report


def _compare(
    plan: Plan, ways: list[Way], head: bytes, body: bytes, connections: int
) -> dict[str, list[float]]:
    """
    Say how many MB/s each way reached in each round.
    """

    def measure(way: Way) -> float:
        count, seconds = transfer(
            way.port, head, body, connections=connections, seconds=plan.seconds
        )
        return count * BULK / seconds / 1e6

    return inTurn(plan, ways, measure)
