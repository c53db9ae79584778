"""
Idle agents: what each costs on the proxy, and what one is by itself.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from statistics import median

from benchmarks.load import wrk
from benchmarks.procfs import cpuSeconds, ownBytes, peakBytes, residentBytes
from benchmarks.programs import (
    BACKEND,
    BenchmarkError,
    Stage,
    Way,
    inverting,
    invertingAgent,
    nginxOrigin,
)
from benchmarks.report import Report, Table
from benchmarks.suites import Plan

AGENTS = 1000
WINDOW = 30.0
"""Seconds of idleness: in these, each poll is answered with nothing once."""

_PARKERS = {"poll": "benchmarks.parker"}
_MIB = 1 << 20


def run(plan: Plan) -> Report:
    """
    Measure them.
    """
    report = Report("idle", f"{AGENTS:,} idle agents on one proxy")
    window = 3.0 if plan.quick else WINDOW
    parked = Table(
        f"the proxy, over {window:.0f} s",
        (
            "carrier",
            "links each",
            "MiB before",
            "MiB with them",
            "KiB an agent",
            "MiB at most",
            "CPU ms/s",
            "p50 before",
            "p50 with",
        ),
    )
    alone = Table("an agent, one process each", ("carrier", "MiB resident", "MiB of its own"))
    report.tables += [parked, alone]
    for carrier in plan.carriers:
        for links in (1, 2):
            with Stage() as stage:
                parked.rows.append((carrier, links, *_park(stage, carrier, links, window)))
        with Stage() as stage:
            alone.rows.append((carrier, *_agents(stage, carrier)))
    return report


def _park(stage: Stage, carrier: str, links: int, window: float) -> tuple[float, ...]:
    """
    Compare a proxy with itself when all those agents are there.
    """
    origin = nginxOrigin(stage)
    way = inverting(stage, origin, carrier, "--max-backends", str(AGENTS + 10))
    proxy = way.programs[0].pid

    def latency() -> float:
        named = (f"X-Inverting-Proxy-Backend: {BACKEND}",)
        return wrk(stage, way.port, "/1k", connections=1, seconds=2, fields=named).median

    latency()
    p50 = latency()
    before = residentBytes(proxy)
    parker = stage.run(
        "parker",
        *(sys.executable, "-m", _PARKERS[carrier], str(way.port)),
        *("--agents", str(AGENTS), "--polls", str(links)),
    )
    parker.waitFor("parked")
    time.sleep(1)
    _requireParked(way, links)
    cpu = cpuSeconds(proxy)
    time.sleep(window)
    cpu = cpuSeconds(proxy) - cpu
    _requireParked(way, links)
    after = residentBytes(proxy)
    each = (after - before) / AGENTS / 1024
    with_ = latency()
    peak = peakBytes(proxy) / _MIB
    return before / _MIB, after / _MIB, each, peak, cpu * 1000 / window, p50, with_


def _requireParked(way: Way, links: int) -> None:
    """
    @raise BenchmarkError: if not all agents are on the proxy.
    """
    connection = http.client.HTTPConnection("127.0.0.1", way.admin, timeout=10)
    try:
        connection.request("GET", "/api/status")
        status = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    there = [
        each for each in status["backends"] if each["id"] != BACKEND and each["polls"] == links
    ]
    if len(there) != AGENTS:
        raise BenchmarkError(f"of {AGENTS} idle agents, {len(there)} are on the proxy")


def _agents(stage: Stage, carrier: str) -> tuple[float, float]:
    """
    Read the memory of some agents that have nothing to do.
    """
    origin = nginxOrigin(stage)
    way = inverting(stage, origin, carrier)
    agents = [invertingAgent(stage, way, origin, carrier, f"agent-{number}") for number in range(3)]
    time.sleep(2)
    return (
        median(residentBytes(agent.pid) for agent in agents) / _MIB,
        median(ownBytes(agent.pid) for agent in agents) / _MIB,
    )
