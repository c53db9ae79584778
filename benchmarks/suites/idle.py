"""
Idle agents: what each costs on the proxy, and what one is by itself.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from statistics import median

from attrs import frozen

from benchmarks.procfs import cpuShare, ownBytes, peakBytes, residentBytes
from benchmarks.programs import BenchmarkError, Stage, requireFiles
from benchmarks.report import Cell, Report, Table
from benchmarks.suites import Plan, oneClient
from benchmarks.ways import BACKEND, Way, inverting, nginxOrigin, startAgent, startProxy

WINDOW = 30.0
"""Seconds of idleness: in these, each poll is answered with nothing once."""

_PATIENCE = 300.0
_MIB = 1 << 20


@frozen
class Crowd:
    """
    How many idle agents of a carrier are measured.

    @ivar agents: how many.
    @ivar links: how many polls or tunnels each has; each number is a run.
    @ivar within: in how many seconds they must have come, or L{None} where one cannot see it.
    """

    agents: int
    links: tuple[int, ...]
    within: float | None = None


CROWDS = {
    "tunnel": Crowd(10_000, (1,), 60.0),
    "poll": Crowd(1_000, (1, 2)),
}


def run(plan: Plan) -> Report:
    """
    Measure them.
    """
    report = Report("idle", "idle agents on one proxy")
    window = 3.0 if plan.quick else WINDOW
    parked = Table(
        f"the proxy, over {window:.0f} s",
        (
            "carrier",
            "agents",
            "links each",
            "s to come",
            "MiB before",
            "MiB with them",
            "KiB an agent",
            "MiB at most",
            "CPU ms/s",
            "p50 before",
            "p50 with",
            "p99 before",
            "p99 with",
        ),
    )
    alone = Table("an agent, one process each", ("carrier", "MiB resident", "MiB of its own"))
    report.tables += [parked, alone]
    for carrier in plan.carriers:
        crowd = CROWDS[carrier]
        for links in crowd.links:
            with Stage() as stage:
                parked.rows.append(_park(report, stage, carrier, crowd, links, window))
        with Stage() as stage:
            alone.rows.append((carrier, *_agents(stage, carrier)))
    return report


def _park(
    report: Report, stage: Stage, carrier: str, crowd: Crowd, links: int, window: float
) -> tuple[Cell, ...]:
    """
    Compare a proxy with itself when all those agents are there.

    @return: a row.
    @raise BenchmarkError: if they do not come at all, or do not stay.
    """
    requireFiles(crowd.agents * links)
    origin = nginxOrigin(stage)
    way = inverting(stage, origin, carrier, "--max-backends", str(crowd.agents + 10))
    proxy = way.programs[0].pid

    oneClient(stage, way)
    alone = oneClient(stage, way)
    before = residentBytes(proxy)
    parker = stage.run(
        "parker",
        *(sys.executable, "-m", "benchmarks.parker", str(way.port)),
        *("--carrier", carrier),
        *("--agents", str(crowd.agents)),
        *("--links", str(links)),
    )
    came = float(parker.waitFor(r"parked in (\S+) s", within=_PATIENCE)[1])
    time.sleep(1)
    _requireParked(way, crowd, links)
    cpu = cpuShare(proxy, window)
    after = residentBytes(proxy)
    beside = oneClient(stage, way)
    _requireParked(way, crowd, links)
    parker.require()
    what = f"{way.name}: {crowd.agents * links:,} links"
    if crowd.within is not None:
        report.below(f"{what} come within", came, crowd.within, " s")
    report.equal(f"{what}: failed requests beside them", beside.errors, 0)
    return (
        carrier,
        crowd.agents,
        links,
        None if crowd.within is None else came,
        before / _MIB,
        after / _MIB,
        (after - before) / crowd.agents / 1024,
        peakBytes(proxy) / _MIB,
        cpu * 1000,
        alone.median,
        beside.median,
        alone.tail,
        beside.tail,
    )


def _requireParked(way: Way, crowd: Crowd, links: int) -> None:
    """
    @raise BenchmarkError: if not all agents are on the proxy.
    """
    connection = http.client.HTTPConnection(way.host, way.admin, timeout=30)
    try:
        connection.request("GET", "/api/status")
        status = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    there = sum(
        each["id"] != BACKEND and each[f"{way.carrier}s"] == links for each in status["backends"]
    )
    if there != crowd.agents:
        raise BenchmarkError(f"of {crowd.agents:,} idle agents, {there:,} are on the proxy")


def _agents(stage: Stage, carrier: str) -> tuple[float, float]:
    """
    Read the memory of some agents that have nothing to do.
    """
    origin = nginxOrigin(stage)
    proxy = startProxy(stage)
    agents = [
        startAgent(stage, proxy, origin, carrier, f"agent-{number}").pid for number in range(3)
    ]
    time.sleep(2)
    return (
        median(residentBytes(agent) for agent in agents) / _MIB,
        median(ownBytes(agent) for agent in agents) / _MIB,
    )
