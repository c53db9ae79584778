"""
Slow and greedy clients by the thousand: what they cost the proxy, and whether others notice.
"""

from __future__ import annotations

import os
import sys
import time

from attrs import frozen

from benchmarks.procfs import cpuShare, residentBytes
from benchmarks.programs import BenchmarkError, Program, Stage, requireFiles
from benchmarks.report import Cell, Report, Table
from benchmarks.suites import Plan, oneClient
from benchmarks.ways import Way, inverting, nginxOrigin

_MIB = 1 << 20
_WINDOW = 5.0
_FILLING = 15.0
"""Seconds until all that a crowd of readers is held back from has come as far as it may."""

_ORIGIN_BUFFER = 256
"""
KiB. By itself the kernel takes 4 MiB for each answer that goes no further, which for 500 of them is more than it grants
all TCP of a machine. Then it throttles every connection there is, and that is what would be measured.
"""

_PATIENCE = 120.0
_PATIENT = ("--head-timeout", "600", "--max-connections", "11000")
_MOST = 10_000
_FLOOD = 12_000


@frozen
class Attack:
    """
    A crowd, and what it may cost.

    @ivar kind: what its clients do; see L{benchmarks.crowd}.
    @ivar count: how many they are.
    @ivar most: KiB that each may cost the proxy.
    @ivar options: of the proxy.
    @ivar closed: how many of them the proxy must close at least.
    @ivar window: seconds until what they cost is measured.
    """

    kind: str
    count: int
    most: float
    options: tuple[str, ...] = _PATIENT
    closed: int = 0
    window: float = _WINDOW


ATTACKS = (
    Attack("silent", 10_000, 4.0),
    Attack("idle", 10_000, 6.0),
    Attack("heads", 10_000, 24.0),
    Attack("bodies", 500, 64.0),
    Attack("readers", 500, 512.0, window=_FILLING),
    Attack("silent", _FLOOD, 4.0, ("--head-timeout", "600"), _FLOOD - _MOST - 100),
    Attack("heads", 5_000, 24.0, ("--head-timeout", "10"), 5_000),
    Attack("readers", 500, 512.0, ("--min-pace", "1000"), 500, _FILLING),
    Attack("bodies", 500, 64.0, ("--min-pace", "1000"), 500),
)
"""The crowds: those that stay, a flood beyond C{--max-connections}, and those that are sent away."""


def run(plan: Plan) -> Report:
    """
    Measure them.
    """
    report = Report("greedy", "slow and greedy clients")
    table = Table(
        "a proxy with a crowd, and one other client",
        (
            "carrier",
            "crowd",
            "clients",
            "options",
            "closed",
            "s to come",
            "MiB before",
            "MiB with them",
            "KiB each",
            "MiB the second time",
            "CPU ms/s",
            "p50 alone",
            "p50 beside",
            "p99 beside",
        ),
    )
    report.tables.append(table)
    attacks = [attack for attack in ATTACKS if not (plan.quick and attack.closed)]
    for carrier in plan.carriers:
        for attack in attacks:
            with Stage() as stage:
                table.rows.append(_attack(report, stage, carrier, attack))
    return report


def _attack(report: Report, stage: Stage, carrier: str, attack: Attack) -> tuple[Cell, ...]:
    requireFiles(attack.count)
    origin = nginxOrigin(stage, buffer=_ORIGIN_BUFFER)
    way = inverting(stage, origin, carrier, *attack.options)
    proxy = way.programs[0].pid

    oneClient(stage, way)
    alone = oneClient(stage, way)
    files = _files(proxy)
    before = residentBytes(proxy)
    crowd = _come(stage, way, attack)
    came = float(crowd.waitFor(r"came in (\S+) s")[1])
    cpu = cpuShare(proxy, attack.window)
    first = residentBytes(proxy)
    # Beside a flood only who is there already is served.
    beside = oneClient(stage, way) if attack.count < _FLOOD else None
    if attack.closed:
        crowd.wait(lambda: _closed(crowd) >= attack.closed, _PATIENCE)
    closed = _closed(crowd)
    crowd.stop()
    _awaitFiles(proxy, files)
    again = _come(stage, way, attack)
    time.sleep(attack.window)
    second = residentBytes(proxy)
    again.stop()
    what = f"{way.name}: {attack.count:,} {attack.kind} {' '.join(attack.options)}"
    each = (first - before) / min(attack.count, _MOST + 64) / 1024
    report.below(f"{what}, each", each, attack.most, " KiB")
    report.below(f"{what}, the second time", (second - first) / _MIB, 16.0, " MiB more")
    if beside is not None:
        report.equal(f"{what}, failed requests beside them", beside.errors, 0)
    return (
        carrier,
        attack.kind,
        attack.count,
        " ".join(attack.options),
        closed,
        came,
        before / _MIB,
        first / _MIB,
        each,
        second / _MIB,
        cpu * 1000,
        alone.median,
        beside.median if beside else None,
        beside.tail if beside else None,
    )


def _come(stage: Stage, way: Way, attack: Attack) -> Program:
    crowd = stage.run(
        "crowd",
        *(sys.executable, "-m", "benchmarks.crowd", str(way.port)),
        *("--kind", attack.kind),
        *("--count", str(attack.count)),
    )
    crowd.waitFor(r"came in (\S+) s", within=_PATIENCE)
    return crowd


def _closed(crowd: Program) -> int:
    lines = [line for line in crowd.output().splitlines() if line.endswith(" closed")]
    return int(lines[-1].split()[0]) if lines else 0


def _files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _awaitFiles(proxy: int, files: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while _files(proxy) > files + 50:
        if time.monotonic() > deadline:
            raise BenchmarkError("the crowd is gone, and the proxy has not noticed")
        time.sleep(0.1)
