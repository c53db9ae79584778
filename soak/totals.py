"""
What is alive in a program while nothing is asked of it, and what must not have grown from one such time to the next.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from attrs import field, frozen

from soak.cast import Player

_BETWEEN = 2.0
_ALIKE = 4
"""How many times in a row the same must be told for it to be quiet."""

_PLAIN = ("timers", "readers", "writers", "files")

CACHES = {
    "objects: invproxy.http1.lines.Line": 4096 + 256 + 64,
    "tables: invproxy.http1.lines._known": 4096,
    "tables: invproxy.http1.lines._knownStatuses": 256,
    "tables: invproxy.agent.workload.Workload._over": 1000,
    "tables: invproxy.proxy.public.Identifiers._drawn": 256,
    "tables: invproxy.registry.routes.RouteTable._found": 4096,
    "tables: invproxy.tunnel.pings.Pings._roundTrips": 256,
}
"""What keeps on purpose what was seen, and how many entries it has at most."""


@frozen
class Totals:
    """
    What is alive in a program.

    @ivar counts: numbers of things by their names.
    @ivar caches: those of L{CACHES}, likewise.
    """

    counts: dict[str, int]
    caches: dict[str, int] = field(eq=False)

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
            if number > before.counts.get(name, 0)
        }

    def overfull(self) -> dict[str, int]:
        """
        Find the caches that have more than they may.
        """
        return {name: number for name, number in self.caches.items() if number > CACHES[name]}


async def settle(
    players: list[Player], seconds: float, before: dict[str, Totals] | None = None
) -> dict[str, Totals]:
    """
    Wait until it is quiet: until nothing grows or shrinks any more, and there is nothing more than before.

    @param players: the programs to ask.
    @param seconds: for how long at most.
    @param before: what there was before, by programs.
    @return: what there is.
    @raise StageError: if a program does not tell.
    """
    end = time.monotonic() + seconds
    last: dict[str, Totals] = {}
    alike = 0
    while True:
        now = {player.name: Totals.of(await player.tell()) for player in players}
        alike = alike + 1 if now == last else 0
        last = now
        grown = before and any(now[name].growth(before[name]) for name in now)
        if (alike >= _ALIKE and not grown) or time.monotonic() > end:
            return now
        await asyncio.sleep(_BETWEEN)
