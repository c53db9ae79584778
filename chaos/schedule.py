"""
When what goes wrong: drawn from a seed, so that a run can be had again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from random import Random

from chaos.faults import Fault, Kind, Target, targetsOf
from chaos.stage import Stage
from chaos.troubles import PROMISE, Troubles

_LANES = 3
"""How much goes wrong at once, at most."""

_MEAN_GAP = 2.0
"""Seconds between two faults of one lane, unless the second has to wait for something."""

_IMPATIENT = 0.3
"""How many faults do not wait until what they hit has recovered from the one before."""

_PATIENCE = 6.0
"""Seconds that the others wait for that."""

_BETWEEN_CALMS = 75.0
"""Seconds after which all faults end, everything recovers, and for a while nothing goes wrong."""

_CALM = 5.0


class Schedule:
    """
    Makes things go wrong.

    @ivar faults: what went wrong.
    """

    def __init__(
        self,
        seed: int,
        stage: Stage,
        troubles: Troubles,
        *,
        kinds: Iterable[Kind],
        say: Callable[[str], None],
        complain: Callable[[str, str], None],
    ) -> None:
        """
        @param seed: what decides.
        @param stage: where.
        @param troubles: told of each fault.
        @param kinds: what may go wrong.
        @param say: told what happens.
        @param complain: told what must not happen.
        """
        self.faults: list[Fault] = []
        # One for each lane, so that what goes wrong in one does not depend on the pace of the others.
        self._randoms = [Random(f"{seed} faults {lane}") for lane in range(_LANES)]
        self._targets = targetsOf(stage)
        self._troubles = troubles
        self._kinds = tuple(kinds)
        self._say = say
        self._complain = complain
        self._lasting: set[str] = set()

    async def run(self, end: float) -> None:
        """
        Let things go wrong.

        @param end: until when, in seconds on the monotonic clock.
        """
        while time.monotonic() < end:
            pause = min(end, time.monotonic() + _BETWEEN_CALMS)
            await asyncio.gather(*(self._lane(random, pause) for random in self._randoms))
            await self._calmDown()

    async def _lane(self, random: Random, end: float) -> None:
        """
        Let one thing after the other go wrong.
        """
        while True:
            kind = random.choices(self._kinds, [kind.weight for kind in self._kinds])[0]
            fault = kind.fault(self._targets[kind.part], random)
            gap = min(random.expovariate(1 / _MEAN_GAP), 4 * _MEAN_GAP)
            isPatient = random.random() >= _IMPATIENT
            await asyncio.sleep(gap)
            await self._waitFor(fault.target, isPatient=isPatient)
            if time.monotonic() + fault.seconds > end:
                return
            await self._happen(fault)

    async def _waitFor(self, target: Target, *, isPatient: bool) -> None:
        """
        Wait until something can be hit.
        """
        if isPatient:
            await self._wait(lambda: self._troubles.areWell(target.affects), _PATIENCE)
        while target.name in self._lasting:
            await asyncio.sleep(0.05)

    async def _wait(self, isSo: Callable[[], bool], seconds: float) -> None:
        """
        Wait for something, but not for ever.
        """
        end = time.monotonic() + seconds
        while not isSo() and time.monotonic() < end:
            await asyncio.sleep(0.05)

    async def _happen(self, fault: Fault) -> None:
        self.faults.append(fault)
        self._say(str(fault))
        self._lasting.add(fault.target.name)
        self._troubles.begin(fault)
        try:
            await fault.kind.act(fault, self._complain)
        except Exception as error:
            self._complain("a fault could not be made", f"{fault}: {type(error).__name__}: {error}")
        finally:
            self._troubles.end(fault)
            self._lasting.discard(fault.target.name)

    async def _calmDown(self) -> None:
        """
        Wait until everything has recovered, and then a little.
        """
        await self._wait(lambda: not self._troubles.present(), 2 * PROMISE)
        await asyncio.sleep(_CALM)
        self._say("calm")
