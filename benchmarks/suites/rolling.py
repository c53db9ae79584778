"""
Rolling restarts: agents that are restarted one after the other under load, and a proxy that is restarted alone.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from statistics import median

from benchmarks.load import Run, wrk
from benchmarks.programs import BenchmarkError, Stage, freePort
from benchmarks.report import Report, Table
from benchmarks.suites import Plan
from benchmarks.ways import LOOPBACK, Way, nginxOrigin, startAgent, startProxy

CONNECTIONS = 64
"""How many requests there are at once."""

_BETWEEN = 0.5
"""Seconds of load between the start of one agent and the end of the other."""

_BACK = 60.0
"""Seconds within which an agent has to be back."""


def run(plan: Plan) -> Report:
    """
    Measure both.
    """
    report = Report("rolling", "restarts by SIGTERM")
    agents = Table(
        f"two agents, restarted in turns; wrk with {CONNECTIONS} connections, from before the first to after the last",
        ("carriers", "restarts", "requests", "failed", "p50 ms", "p99 ms"),
    )
    proxies = Table(
        "a proxy without a successor, idle, medians and worst, in s",
        ("carrier", "restarts", "SIGTERM to its end", "worst", "ready to first answer", "worst "),
    )
    report.tables += [agents, proxies]
    pairs = [(carrier, carrier) for carrier in plan.carriers]
    if len(plan.carriers) > 1:
        pairs.append((plan.carriers[0], plan.carriers[1]))
    for pair in pairs:
        _agents(report, agents, plan, pair)
    for carrier in plan.carriers:
        _proxies(proxies, plan, carrier)
    return report


def _agents(report: Report, table: Table, plan: Plan, carriers: tuple[str, str]) -> None:
    restarts = 2 * plan.rounds
    name = " and ".join(carriers)
    with Stage() as stage, ThreadPoolExecutor(1) as pool:
        origin = nginxOrigin(stage)
        proxy = startProxy(stage)
        agents = [startAgent(stage, proxy, origin, carrier) for carrier in carriers]
        way = Way(name, proxy.port, ())
        rounds: list[Run] = []
        done = 0
        while done < restarts:
            # wrk has to be told how long: a few runs, the pauses between which are no matter.
            load = pool.submit(
                wrk, stage, way, "/1k", connections=CONNECTIONS, seconds=4 * plan.seconds
            )
            while not load.done():
                time.sleep(_BETWEEN)
                number = done % len(agents)
                agents[number].stop()
                agents[number] = startAgent(stage, proxy, origin, carriers[number])
                done += not load.done()
            rounds.append(load.result())
        requests = sum(round(each.rate * 4 * plan.seconds) for each in rounds)
        failed = sum(each.errors for each in rounds)
        middle = median(each.median for each in rounds)
        table.rows.append((name, done, requests, failed, middle, max(each.tail for each in rounds)))
        report.equal(f"{name}: failed requests", failed, 0)


def _proxies(table: Table, plan: Plan, carrier: str) -> None:
    ended: list[float] = []
    back: list[float] = []
    port = freePort()
    listen = ("--listen", f"tcp:{port}:interface={LOOPBACK}")
    with Stage() as stage:
        origin = nginxOrigin(stage)
        proxy = startProxy(stage, *listen)
        startAgent(stage, proxy, origin, carrier, url=f"http://{LOOPBACK}:{port}")
        for _ in range(2 * plan.rounds):
            _awaitAnswer(port)
            time.sleep(plan.seconds)
            began = time.monotonic()
            proxy.program.stop()
            ended.append(time.monotonic() - began)
            proxy = startProxy(stage, *listen)
            began = time.monotonic()
            _awaitAnswer(port)
            back.append(time.monotonic() - began)
    table.rows.append((carrier, len(back), median(ended), max(ended), median(back), max(back)))


def _awaitAnswer(port: int) -> None:
    """
    Wait until the backend answers.

    @raise BenchmarkError: if it does not.
    """
    end = time.monotonic() + _BACK
    while time.monotonic() < end:
        connection = HTTPConnection(LOOPBACK, port, timeout=5)
        try:
            connection.request("GET", "/1k")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.02)
    raise BenchmarkError(f"no answer for {_BACK:g} s after a restart of the proxy")
