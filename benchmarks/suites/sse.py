"""
Server-sent events: how much later they arrive through a proxy, and whether they all do.
"""

from __future__ import annotations

import http.client
import re
import time
from statistics import median

from attrs import frozen

from benchmarks.programs import BenchmarkError, Stage, inverting, nginxReverse, pythonOrigin
from benchmarks.report import Report, Table
from benchmarks.suites import Plan

EVERY = 50
"""Milliseconds between events."""

TARGET = 5.0
"""Milliseconds that may be added at the median."""


@frozen
class Arrivals:
    """
    What came of one stream.

    @ivar delays: how many milliseconds each event was under way.
    @ivar held: how many came only when the next one had been sent, too.
    """

    delays: list[float]
    held: int


def listen(port: int, count: int) -> Arrivals:
    """
    Take a stream of events.

    @param port: from where.
    @param count: how many.
    @raise BenchmarkError: if it does not even begin.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
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
        raise BenchmarkError(f"server-sent events: {type(error).__name__}: {error}") from None
    finally:
        connection.close()
    delays = [(after - before) / 1e6 for before, after in zip(sent, came, strict=True)]
    held = sum(arrived > following for arrived, following in zip(came, sent[1:], strict=False))
    return Arrivals(delays, held)


def run(plan: Plan) -> Report:
    """
    Measure them.
    """
    count = 40 if plan.quick else 200
    report = Report("sse", f"server-sent events, one every {EVERY} ms")
    with Stage() as stage:
        direct = pythonOrigin(stage)
        ways = [
            direct,
            nginxReverse(stage, direct, "proxy_buffering off;", "nginx, no buffering"),
            *(inverting(stage, direct, carrier) for carrier in plan.carriers),
        ]
        streams: dict[str, list[Arrivals]] = {way.name: [] for way in ways}
        for _ in range(min(plan.rounds, 3)):
            for way in ways:
                streams[way.name].append(listen(way.port, count))
    table = Table(
        f"ms under way, {len(streams[direct.name])} streams of {count} events",
        ("way", "median", "99 of 100", "most", "added, median", "added, most", "lost", "held back"),
    )
    report.tables.append(table)
    base = sorted(delay for stream in streams[direct.name] for delay in stream.delays)
    for way in ways:
        delays = sorted(delay for stream in streams[way.name] for delay in stream.delays)
        if not delays:
            raise BenchmarkError(f"{way.name}: no event came")
        lost = count * len(streams[way.name]) - len(delays)
        held = sum(stream.held for stream in streams[way.name])
        added = median(delays) - median(base)
        row = (
            median(delays),
            delays[len(delays) * 99 // 100],
            delays[-1],
            added,
            delays[-1] - median(base),
        )
        table.rows.append((way.name, *row, lost, held))
        if way.admin:
            report.below(f"{way.name}: median added", added, TARGET, " ms")
            report.equal(f"{way.name}: events lost", lost, 0)
            report.equal(f"{way.name}: events held back", held, 0)
    return report
