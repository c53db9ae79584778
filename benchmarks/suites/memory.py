"""
Bodies larger than memory should be, and clients slower than the origin.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterable
from statistics import median

from benchmarks.load import Run, wrk
from benchmarks.pattern import Digest, digestOf, pieces
from benchmarks.procfs import forgetPeak, peakBytes
from benchmarks.programs import BenchmarkError, Stage, Way, inverting, pythonOrigin
from benchmarks.report import Cell, Report, Table
from benchmarks.suites import Plan

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
            for direction, move in (("down", _download), ("up", _upload)):
                _forget(way)
                began = time.perf_counter()
                digest = move(way.port, size)
                rate = size / (time.perf_counter() - began) / 1e6
                ok = digest == expected
                whole.rows.append(
                    (
                        way.name,
                        direction,
                        "yes" if ok else "NO",
                        rate,
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


def _connect(port: int, head: str, *, window: int = 0) -> socket.socket:
    """
    Send the head of a request.

    @param window: bytes for the kernel to keep for a reader that does not come; 0 is what it likes.
    """
    connection = socket.socket()
    connection.settimeout(60)
    if window:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"{head}\r\nHost: localhost\r\n\r\n".encode("ascii"))
    return connection


def _head(connection: socket.socket) -> tuple[int, bytes]:
    """
    Read the head of an answer.

    @return: its Content-Length, and what came of the body with it.
    @raise BenchmarkError: if it is not 200 with a Content-Length.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(1 << 16)
        if not piece:
            break
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if not head.startswith(b"HTTP/1.1 200 ") or length is None:
        raise BenchmarkError(f"not 200 with a Content-Length: {head[:80]!r}")
    return int(length[1]), rest


def _download(port: int, size: int) -> str:
    """
    Fetch a body, and say what it was.
    """
    digest = Digest()
    buffer = memoryview(bytearray(1 << 18))
    with _connect(port, f"GET /bytes?size={size}&name=down HTTP/1.1") as connection:
        length, rest = _head(connection)
        digest.update(rest)
        while digest.size < length:
            count = connection.recv_into(buffer)
            if not count:
                break
            digest.update(buffer[:count])
    return digest.text()


def _upload(port: int, size: int) -> str:
    """
    Send a body, and say what the origin says that it was.
    """
    head = f"PUT /digest?name=up HTTP/1.1\r\nContent-Length: {size}"
    with _connect(port, head) as connection:
        for piece in pieces(size):
            connection.sendall(piece)
        length, rest = _head(connection)
        while len(rest) < length:
            piece = connection.recv(1 << 16)
            if not piece:
                break
            rest += piece
    return rest.decode("ascii")


def _counted(direct: Way, name: str) -> int:
    """
    Ask the origin how much of a body it has sent.
    """
    with _connect(direct.port, f"GET /count?name={name} HTTP/1.1") as connection:
        _, rest = _head(connection)
    return int(rest)


def _stopReading(way: Way, direct: Way) -> tuple[int, int]:
    """
    Read the beginning of a long answer and no more.

    @return: how many bytes the origin has sent two seconds later, and after two more.
    """
    name = f"stopped-{way.port}"
    with _connect(
        way.port, f"GET /bytes?size={_GIB}&name={name} HTTP/1.1", window=1 << 16
    ) as connection:
        _head(connection)
        time.sleep(2)
        first = _counted(direct, name)
        time.sleep(2)
        return first, _counted(direct, name)


def _stopWriting(way: Way, direct: Way) -> tuple[int, int]:
    """
    Send a long body to an origin that does not read it.

    @return: how many bytes have been taken two seconds later, and after two more.
    """
    head = f"PUT /stuck?name=stuck HTTP/1.1\r\nContent-Length: {_GIB}"
    with _connect(way.port, head) as connection:
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

    def __init__(self, port: int, count: int, sip: int) -> None:
        """
        @param port: where they connect.
        @param count: how many they are.
        @param sip: how many bytes each reads in a turn.
        """
        self._sip = sip
        self._connections: list[socket.socket] = []
        self._over = threading.Event()
        self._lost = 0
        self._port = port
        self._count = count
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> None:
        for _ in range(self._count):
            request = f"GET /bytes?size={_GIB}&name=slow HTTP/1.1"
            self._connections.append(_connect(self._port, request, window=1 << 16))
        for connection in self._connections:
            _head(connection)
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
        return wrk(stage, way.port, "/1k", connections=1, seconds=max(1, plan.seconds / 2))

    alone = [measure()]
    beside: list[Run] = []
    for _ in range(plan.rounds):
        with SlowClients(way.port, count, sip):
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
    before = _counted(direct, "slow")
    while time.monotonic() < deadline:
        time.sleep(1)
        now = _counted(direct, "slow")
        if now - before < 2 * SLOW * _SIP / _TURN:
            return
        before = now


def _p50(runs: Iterable[Run]) -> float:
    return median(run.median for run in runs)


def _p99(runs: Iterable[Run]) -> float:
    return median(run.tail for run in runs)
