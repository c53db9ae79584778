"""
Bodies larger than memory should be, and clients slower than the origin.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable
from statistics import median

from benchmarks.client import connect, counted, download, readHead, upload
from benchmarks.load import Run, wrk
from benchmarks.pattern import digestOf
from benchmarks.procfs import forgetPeak, peakBytes
from benchmarks.programs import BenchmarkError, Stage
from benchmarks.report import Cell, Report, Table
from benchmarks.suites import Plan
from benchmarks.ways import Way, inverting, pythonOrigin

LIMIT = 120.0
"""MiB that a process may have resident."""

HELD = 32.0
"""MiB of a body that may be under way when its reader stops; most of it is in the kernel's socket buffers."""

DELAY = 1.5
"""How many times as long as before half of the other requests may take."""

SLOW = 64
"""How many slow clients there are."""

_GIB = 1 << 30
_MIB = 1 << 20
_TURN = 0.125
_SIP = 8192
"""Bytes that a slow client reads in each turn: 64 KiB a second."""


def run(plan: Plan) -> Report:
    """
    Measure them.
    """
    size = _GIB // 8 if plan.quick else _GIB
    report = Report("memory", "long bodies, and clients that read slowly or not at all")
    whole = Table(
        f"{size / _MIB:,.0f} MiB, whole",
        ("way", "direction", "whole", "MB/s", "MiB proxy", "MiB agent"),
    )
    stopped = Table(
        "MiB that have left the sender when the reader stops",
        ("way", "direction", "after 2 s", "after 4 s", "MiB proxy", "MiB agent"),
    )
    others = Table(
        "other requests meanwhile, one at a time",
        (
            "way",
            "beside",
            "p50 ms alone",
            "p50 ms beside",
            "times",
            "p99 ms alone",
            "p99 ms beside",
            "MiB proxy",
            "MiB agent",
        ),
    )
    report.tables += [whole, stopped, others]
    with Stage() as stage:
        direct = pythonOrigin(stage)
        expected = digestOf(size)
        for way in (direct, *(inverting(stage, direct, carrier) for carrier in plan.carriers)):
            for direction in ("down", "up"):
                _forget(way)
                moved = download(way, size) if direction == "down" else upload(way, direct, size)
                ok = moved.digest == expected
                whole.rows.append(
                    (
                        way.name,
                        direction,
                        "yes" if ok else "NO",
                        moved.rate,
                        *_peaks(report, way, direction),
                    )
                )
                report.equal(
                    f"{way.name}: {size / _MIB:,.0f} MiB {direction}, whole",
                    "yes" if ok else "no",
                    "yes",
                )
            for direction, stop in (("down", _stopReading), ("up", _stopWriting)):
                _forget(way)
                first, second = stop(way, direct)
                peaks = _peaks(report, way, f"{direction}, reader stops")
                stopped.rows.append((way.name, direction, first / _MIB, second / _MIB, *peaks))
                if way.admin:
                    report.below(
                        f"{way.name}: under way {direction} when the reader stops",
                        second / _MIB,
                        HELD,
                        " MiB",
                    )
                    report.equal(
                        f"{way.name}: {direction}, sender stops, too",
                        "yes" if second == first else "no",
                        "yes",
                    )
            for what, count, sip in (
                ("a client that stops", 1, 0),
                (f"{SLOW} slow clients", SLOW, _SIP),
            ):
                _forget(way)
                row, times = _beside(plan, stage, way, direct, count, sip)
                others.rows.append((way.name, what, *row, *_peaks(report, way, what)))
                if way.admin:
                    report.below(f"{way.name}: p50 of others beside {what}, times", times, DELAY)
    return report


def _forget(way: Way) -> None:
    for program in way.programs:
        forgetPeak(program.pid)


def _peaks(report: Report, way: Way, what: str) -> tuple[Cell, Cell]:
    """
    Read how much memory proxy and agent had in use at most, in MiB, and check it.
    """
    if not way.admin:
        return None, None
    proxy, agent = (peakBytes(program.pid) / _MIB for program in way.programs)
    report.below(f"{way.name}: resident, {what}", max(proxy, agent), LIMIT, " MiB")
    return proxy, agent


def _stopReading(way: Way, direct: Way) -> tuple[int, int]:
    """
    Read the beginning of a long answer and no more.

    @return: how many bytes the origin has sent two seconds later, and after two more.
    """
    name = f"stopped-{way.port}"
    request = f"GET /bytes?size={_GIB}&name={name} HTTP/1.1"
    with connect(way, request, window=1 << 16) as connection:
        readHead(connection)
        time.sleep(2)
        first = counted(direct, name)
        time.sleep(2)
        return first, counted(direct, name)


def _stopWriting(way: Way, direct: Way) -> tuple[int, int]:
    """
    Send a long body to an origin that does not read it.

    @return: how many bytes have been taken two seconds later, and after two more.
    """
    head = f"PUT /stuck?name=stuck HTTP/1.1\r\nContent-Length: {_GIB}"
    with connect(way, head) as connection:
        counts = []
        sent = 0
        piece = bytes(1 << 16)
        connection.settimeout(0.05)
        began = time.monotonic()
        for until in (2, 4):
            while time.monotonic() < began + until:
                try:
                    sent += connection.send(piece)
                except TimeoutError:
                    continue
            counts.append(sent)
    return counts[0], counts[1]


class SlowClients:
    """
    Clients that fetch long answers and read them slowly, or not at all, in a thread of their own, within C{with}.
    """

    def __init__(self, way: Way, count: int, sip: int) -> None:
        """
        @param way: where they connect.
        @param count: how many they are.
        @param sip: how many bytes each reads in a turn.
        """
        self._sip = sip
        self._connections: list[socket.socket] = []
        self._over = threading.Event()
        self._lost = 0
        self._way = way
        self._count = count
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> None:
        for _ in range(self._count):
            request = f"GET /bytes?size={_GIB}&name=slow HTTP/1.1"
            self._connections.append(connect(self._way, request, window=1 << 16))
        for connection in self._connections:
            readHead(connection)
            connection.setblocking(False)
        self._thread.start()

    def _read(self) -> None:
        while not self._over.wait(_TURN):
            if not self._sip:
                continue
            for connection in self._connections:
                try:
                    if not connection.recv(self._sip):
                        self._lost += 1
                except BlockingIOError:
                    continue
                except OSError:
                    self._lost += 1

    def __exit__(self, *ignored: object) -> None:
        self._over.set()
        self._thread.join()
        for connection in self._connections:
            connection.close()
        if self._lost:
            raise BenchmarkError("a slow client's connection was closed")


def _beside(
    plan: Plan, stage: Stage, way: Way, direct: Way, count: int, sip: int
) -> tuple[tuple[float, ...], float]:
    """
    Compare the speed of requests that have slow clients beside them with that of those before and after.

    @return: a part of the row, and how many times as long half of the requests took.
    """

    def measure() -> Run:
        return wrk(stage, way, "/1k", connections=1, seconds=max(1, plan.seconds / 2))

    alone = [measure()]
    beside: list[Run] = []
    for _ in range(plan.rounds):
        with SlowClients(way, count, sip):
            _settle(direct)
            beside.append(measure())
        time.sleep(0.5)
        alone.append(measure())
    times = median(
        2 * run.median / (before.median + after.median)
        for run, before, after in zip(beside, alone, alone[1:], strict=False)
    )
    return (_p50(alone), _p50(beside), times, _p99(alone), _p99(beside)), times


def _settle(direct: Way) -> None:
    """
    Wait until the answers for slow clients have filled what is to fill: megabytes for each in the buffers of the
    kernel, which come at full speed and are not what is to be measured.
    """
    deadline = time.monotonic() + 20
    before = counted(direct, "slow")
    while time.monotonic() < deadline:
        time.sleep(1)
        now = counted(direct, "slow")
        if now - before < 2 * SLOW * _SIP / _TURN:
            return
        before = now


def _p50(runs: Iterable[Run]) -> float:
    return median(run.median for run in runs)


def _p99(runs: Iterable[Run]) -> float:
    return median(run.tail for run in runs)
