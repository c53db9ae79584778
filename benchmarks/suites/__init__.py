"""
The suites, each a module with a function C{run}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import TypeVar

from attrs import frozen

from benchmarks.load import Run, wrk
from benchmarks.programs import Stage
from benchmarks.ways import BACKEND, Way

_Measured = TypeVar("_Measured")


@frozen(kw_only=True)
class Plan:
    """
    How to run a suite.

    @ivar quick: whether a rough figure soon is better than a good one later.
    @ivar carriers: which carriers to compare.
    @ivar rounds: how often each run is made, in turn with those that it is compared with.
    @ivar seconds: how long each takes.
    """

    quick: bool
    carriers: tuple[str, ...]
    rounds: int
    seconds: float


def inTurn(
    plan: Plan, ways: Iterable[Way], measure: Callable[[Way], _Measured]
) -> dict[str, list[_Measured]]:
    """
    Measure ways, one directly after the other in each round.

    @param measure: measures one of them once.
    @return: what came out, by the name of the way, one for each round.
    """
    measured: dict[str, list[_Measured]] = {way.name: [] for way in ways}
    for _ in range(plan.rounds):
        for way in ways:
            measured[way.name].append(measure(way))
    return measured


def oneClient(stage: Stage, way: Way) -> Run:
    """
    Let one client ask for two seconds, one request after the other: what others do beside it may show in its times.
    """
    named = (f"X-Inverting-Proxy-Backend: {BACKEND}",)
    return wrk(stage, way, "/1k", connections=1, seconds=2, fields=named)


def ratio(ours: Iterable[float], others: Iterable[float]) -> float:
    """
    Compare figures: the median over the rounds of one divided by the other of the same round.
    """
    return median(one / other for one, other in zip(ours, others, strict=True))


def atOnce(connections: int) -> str:
    """
    Say how many there are at once.
    """
    return f"{ {1: 'one', 8: 'eight'}.get(connections, connections) } at once"
