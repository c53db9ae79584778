"""
One soak run, from its beginning to its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count
from random import Random

from attrs import frozen

from soak.cast import PARTS, Cast
from soak.comings import Comings
from soak.kinds import visit
from soak.memory import MOST_GROWTH, Memory
from soak.signing import Signer
from soak.tally import Tally
from soak.totals import Totals, baseline, settle
from soak.visitors import NOBODY, PATIENCE, Visitor, Who, World
from stage.journal import BEGUN, FAULTY
from stage.programs import StageError

_VISITORS = 5
"""How many visitors each backend has at a time, besides those who sign in."""

_PAUSE = 0.6
"""Seconds that a visitor pauses, at most."""

_TICK = 2.0
_TICKS_BETWEEN_LISTS = 5
_UNTIL_QUIET = 25.0
"""Seconds after which it is quiet when nothing more is asked: kept connections are closed by then."""

_MOST_QUIET = 100.0
"""Seconds after which what is still there is left: the proxy forgets in a minute whom it refused."""

_END_TIME = 45.0
_MOST_SAID = 100
_SECONDS_BETWEEN_COMINGS = 12.0


@frozen
class Options:
    """
    What a run is like.

    @ivar seconds: how long it takes, without the beginning and the end.
    @ivar seed: what decides what is asked, and who comes and goes.
    @ivar keep: whether the directory with the logs stays, even if nothing failed.
    """

    seconds: float
    seed: int
    keep: bool = False

    def warmUp(self) -> float:
        """
        For how long of that nothing is measured.
        """
        return min(180.0, self.seconds / 4)


class Run:
    """
    A run.

    @ivar options: what it is like.
    @ivar cast: who plays.
    @ivar tally: the exchanges.
    @ivar comings: who comes and goes.
    @ivar signers: those who sign in.
    @ivar memory: how much the programs use.
    @ivar failures: what must not have happened.
    @ivar before: what was alive after warm-up, by programs.
    @ivar after: what is at the end.
    @ivar journaled: how many requests the origins have begun.
    @ivar listed: how many exchanges the proxy showed at a time, at most.
    """

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        """
        @param options: what it is like.
        @param say: what says what happens.
        """
        self.options = options
        self.failures: list[str] = []
        self._say = say
        self._began = time.monotonic()
        self.cast = Cast()
        self.tally = Tally(self.fail)
        self._world = World(self.cast.port, self.tally, self.fail)
        self.comings = Comings(self.cast, self._world, self._draw("comings"))
        self.signers = [
            Signer(self._world, self._draw(f"signer of {name}"), name)
            for name, part in PARTS.items()
            if "allUsers" not in part.users
        ]
        staying = [agent.program for agent in self.cast.agents if agent.stays]
        self.memory = Memory([self.cast.proxy, *staying])
        self.before: dict[str, Totals] = {}
        self.after: dict[str, Totals] = {}
        self._said = 0
        self._late: set[str] = set()
        self.journaled = 0
        self.listed = 0

    def _draw(self, what: str) -> Random:
        return Random(f"{self.options.seed} {what}")

    def say(self, text: str) -> None:
        """
        Say what happens, and when.
        """
        self._say(f"{time.monotonic() - self._began:7.1f} s  {text}")

    def fail(self, what: str) -> None:
        """
        Take note of what must not have happened.
        """
        self.failures.append(what)
        self._said += 1
        if self._said <= _MOST_SAID:
            self.say(f"FAILED: {what}")

    async def run(self) -> None:
        """
        Do it all.

        @raise StageError: if it cannot begin.
        """
        try:
            await self.cast.start()
            self.say(f"{len(self.cast.agents)} agents, {len(PARTS)} backends: warm-up")
            watching = asyncio.create_task(self._watch())
            try:
                await self._visitAll(self.options.warmUp())
                self.before = await baseline(self.cast, _UNTIL_QUIET)
                self.memory.isWarm()
                self.say("warm: what is alive was counted")
                await self._visitAll(self.options.seconds - self.options.warmUp())
                self.say("over: waiting for quiet")
                self.after = await settle(self.cast, _MOST_QUIET, self.before)
            finally:
                watching.cancel()
                await asyncio.wait([watching])
            if not watching.cancelled() and watching.exception() is not None:
                raise watching.exception() or RuntimeError
            self._compare()
            await self._endAll()
            self._checkLogs()
        finally:
            self.cast.stop(keep=self.options.keep or bool(self.failures))

    # Traffic.

    async def _visitAll(self, seconds: float) -> None:
        """
        Let visitors ask, and agents come and go, for some time.
        """
        self._world.goes.set()
        people = self.cast.people()
        tasks = [
            asyncio.create_task(self._visit(Visitor(self._world, self._draw(name), backend, who)))
            for backend, part in PARTS.items()
            for place in range(_VISITORS)
            for name in [f"visitor {place} of {backend} {len(self.before)}"]
            for who in [self._whoOf(part.users, people, place)]
        ]
        tasks += [asyncio.create_task(signer.run(self._world.goes)) for signer in self.signers]
        coming = asyncio.create_task(self.comings.run(_SECONDS_BETWEEN_COMINGS))
        await asyncio.sleep(seconds)
        self.comings.end()
        await coming
        self._world.goes.clear()
        done, left = await asyncio.wait(tasks, timeout=2 * PATIENCE)
        for task in left:
            self.fail(f"a visitor did not come to an end: {task.get_coro()}")
            task.cancel()
        for task in done:
            error = task.exception()
            if error is not None:
                raise error

    def _whoOf(self, users: tuple[str, ...], people: list[Who], place: int) -> Who:
        """
        Choose somebody who may visit a backend.
        """
        isForAll = "allUsers" in users
        return NOBODY if isForAll and place % 2 == 0 else people[place % len(people)]

    async def _visit(self, visitor: Visitor) -> None:
        while self._world.goes.is_set():
            await visit(visitor)
            await asyncio.sleep(visitor.random.uniform(0.0, _PAUSE))

    # What is alive.

    def _compare(self) -> None:
        self._said = 0  # whatever went wrong before, what is left is said
        for name, totals in self.after.items():
            for what, (before, now) in totals.growth(self.before[name]).items():
                self.fail(f"left in {name}: {now} {what}, after warm-up {before}")
            for what, number in totals.overfull().items():
                self.fail(f"too many in {name}: {number} {what}")
        for course in self.memory.grown():
            self.fail(
                f"{course.name} has grown by {100 * course.growth():.1f} %, more than {100 * MOST_GROWTH:g} %"
            )

    # All the time.

    async def _watch(self) -> None:
        for tick in count():
            self._look()
            self.memory.look()
            if tick % _TICKS_BETWEEN_LISTS == 0:
                await self._list()
            await asyncio.sleep(_TICK)

    async def _list(self) -> None:
        """
        Look through the list of what is under way.
        """
        try:
            shown = await self.cast.admin.ask("GET", "exchanges")
        except StageError as error:
            self.fail(str(error))
            return
        for each in shown["exchanges"]:
            if each["ageSeconds"] > PATIENCE and each["id"] not in self._late:
                self._late.add(each["id"])
                self.fail(f"under way for too long: {each}")
        for each in shown["tables"]:
            if each["limit"] and each["entries"] > each["limit"]:
                self.fail(f"a table has more than its limit: {each}")
        self.listed = max(self.listed, shown["totals"]["exchanges"])

    def _look(self) -> None:
        for backend, journal in self.cast.journals.items():
            for line in journal.read():
                self.journaled += line.what == BEGUN
                if line.what == FAULTY:
                    self.fail(
                        f"the origin of {backend} could not read {line.number}: {line.detail}"
                    )
        for program in self.cast.programs():
            if program.isMeantToRun and program.status() is not None:
                self.fail(f"{program.name} ended by itself:\n{program.tail(20)}")
                program.isMeantToRun = False

    async def _endAll(self) -> None:
        """
        Agents and proxy end in good order.
        """
        for player in reversed(self.cast.players()):
            status = await player.terminate(_END_TIME)
            if status != 0:
                self.fail(f"{player.name} ended with status {status} after SIGTERM at last")

    def _checkLogs(self) -> None:
        for program in self.cast.programs():
            for text in program.tracebacks():
                self.fail(f"a traceback of {program.name}:\n{text}")
