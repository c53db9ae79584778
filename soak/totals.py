"""
What is alive in a program while nothing is asked of it, and what must not have grown from one such time to the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from attrs import frozen

from soak.cast import Cast
from soak.program import FIRED

_BETWEEN = 2.0
_BASELINE = 6
"""How many times programs are asked while it is quiet before; of each number the largest counts then."""

SLACK = {f"objects: {FIRED}": 3}
"""How much more there may be of what stays in the variables of whoever waited for it."""

SHOWN = "GET /api/exchanges: "
"""What stands before the totals that the proxy shows."""

_PLAIN = ("timers", "readers", "writers", "files")

CACHES = {
    "objects: invproxy.http1.lines.Line": 4096 + 256 + 64,
    # The last one of each connection that has brought one: while it is quiet, those of polls.
    "objects: invproxy.http1.lines.Section": 64,
    "tables: invproxy.http1.lines._known": 4096,
    "tables: invproxy.http1.lines._knownStatuses": 256,
    # One for each reason for which origins fail.
    "objects: invproxy.agent.failures._Trouble": 8,
    "tables: invproxy.agent.failures.Failures._troubles": 8,
    "tables: invproxy.agent.workload.Workload._over": 1000,
    "tables: invproxy.proxy.public.Identifiers._drawn": 256,
    "tables: invproxy.registry.routes.RouteTable._found": 4096,
    "tables: invproxy.tunnel.pings.Pings._roundTrips": 64,
    "tables: invproxy.wire.websocket.Keys._keys": 1024,
    "objects: twisted.internet.base.DelayedCall": 200,
    # At one address here; each who tries to sign in is one, and so is each token that was refused.
    "objects: invproxy.auth.throttle._Record": 10_000,
    "tables: invproxy.auth.throttle.Throttle._records": 10_000,
    "tables: invproxy.auth.throttle._Record.failedAt": 100_000,
}
"""
What keeps on purpose what was seen, or is to be used, and how many entries it has at most. (The reactor lets go of
cancelled calls when there are many; those that are not cancelled are counted as timers.)
"""


@frozen
class Totals:
    """
    What is alive in a program.

    @ivar counts: numbers of things by their names.
    @ivar caches: those of L{CACHES}, likewise.
    """

    counts: dict[str, int]
    caches: dict[str, int]

    @classmethod
    def of(cls, told: dict[str, Any]) -> Totals:
        """
        Read what a program tells.
        """
        counts = {name: told[name] for name in _PLAIN}
        for kind in ("objects", "tables"):
            counts |= {f"{kind}: {name}": number for name, number in told[kind].items()}
        caches = {name: counts.pop(name) for name in CACHES if name in counts}
        return cls(counts, caches)

    def growth(self, before: Totals) -> dict[str, tuple[int, int]]:
        """
        Find what there is more of, with the numbers before and now.
        """
        return {
            name: (before.counts.get(name, 0), number)
            for name, number in sorted(self.counts.items())
            if number > before.counts.get(name, 0) + SLACK.get(name, 0)
        }

    def overfull(self) -> dict[str, int]:
        """
        Find the caches that have more than they may.
        """
        return {name: number for name, number in self.caches.items() if number > CACHES[name]}


async def baseline(cast: Cast, quiet: float) -> dict[str, Totals]:
    """
    Count what is alive in programs of which nothing has been asked for a while.

    Some numbers come and go by themselves, as agents poll and ping. What is there in any of several looks counts.

    @param quiet: seconds after which kept connections are gone.
    @return: the most that there was, by programs.
    @raise StageError: if a program does not tell.
    """
    await asyncio.sleep(quiet)
    most: dict[str, Totals] = {}
    for _ in range(_BASELINE):
        most = _merge(most, await _ask(cast), max)
        await asyncio.sleep(_BETWEEN)
    return most


async def settle(cast: Cast, seconds: float, before: dict[str, Totals]) -> dict[str, Totals]:
    """
    Wait until there is nothing more than before. What is ever gone in any look is no leak.

    @param seconds: for how long at most.
    @param before: what there was before, by programs.
    @return: the least that there was, by programs.
    @raise StageError: if a program does not tell.
    """
    end = time.monotonic() + seconds
    least: dict[str, Totals] = {}
    while True:
        least = _merge(least, await _ask(cast), min)
        grown = any(least[name].growth(before[name]) for name in least)
        if not grown or time.monotonic() > end:
            return least
        await asyncio.sleep(_BETWEEN)


async def _ask(cast: Cast) -> dict[str, Totals]:
    found = {player.name: Totals.of(await player.tell()) for player in cast.players()}
    admin = await cast.admin.ask("GET", "exchanges")
    found[cast.proxy.name].counts.update(
        (f"{SHOWN}{name}", number)
        for name, number in admin["totals"].items()
        if name != "residentBytes"
    )
    return found


def _merge(
    former: dict[str, Totals], now: dict[str, Totals], choose: Callable[[int, int], int]
) -> dict[str, Totals]:
    if not former:
        return now
    return {
        name: Totals(
            {
                what: choose(former[name].counts.get(what, 0), totals.counts.get(what, 0))
                for what in former[name].counts.keys() | totals.counts.keys()
            },
            totals.caches,
        )
        for name, totals in now.items()
    }
