"""
One chaos run, from its beginning to its end.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from attrs import frozen

from chaos.asker import Asker
from chaos.checks import Checks
from chaos.clients import Client, World
from chaos.failures import Failures
from chaos.faults import USUAL, Kind
from chaos.ledger import Entry, Ledger
from chaos.memory import MOST_GROWTH, Memory
from chaos.schedule import Schedule
from chaos.stage import CLOCKS, Stage
from chaos.troubles import Troubles
from stage.messages import Answer
from stage.results import RIGHT
from stage.wire import Wire

_CLIENTS = 8
"""Clients of each backend, besides the one that probes."""

_AT_LAST = 100
"""Requests to each backend at the end."""

_AT_LAST_AT_ONCE = 5
_PATIENCE = 60.0
"""Seconds, beyond the longest bound, after which a client gives a request up."""

_TICK = 0.5
_END_TIME = 15.0


@frozen
class Options:
    """
    What a run is like.

    @ivar seconds: for how long things go wrong.
    @ivar seed: what decides what goes wrong, and what is asked.
    @ivar carrier: one of L{chaos.stage.CARRIERS}.
    @ivar kinds: what may go wrong.
    @ivar keep: whether the directory with the logs stays, even if nothing failed.
    """

    seconds: float
    seed: int
    carrier: str
    kinds: tuple[Kind, ...] = USUAL
    keep: bool = False


class Run:
    """
    A run.

    @ivar options: what it is like.
    @ivar ledger: the requests.
    @ivar troubles: what went wrong when, and the recoveries.
    @ivar checks: what must hold.
    @ivar memory: how much the programs use.
    @ivar schedule: the faults.
    @ivar failures: what must not have happened.
    @ivar atLast: how many of the last requests were answered right, by backend.
    """

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        """
        @param options: what it is like.
        @param say: what says what happens.
        """
        self.options = options
        self._say = say
        self._began = time.monotonic()
        self.stage = Stage(options.carrier, CLOCKS)
        self.troubles = Troubles()
        self.ledger = Ledger(self.troubles.see)
        self.checks = Checks(self.stage, self.ledger, self.troubles)
        self.memory = Memory()
        self.failures = Failures(self.stage, self.troubles, self._began, self.say)
        self.schedule = Schedule(
            options.seed,
            self.stage,
            self.troubles,
            kinds=options.kinds,
            say=self.say,
            complain=self.failures.add,
        )
        self._world = World(
            self.stage.port,
            self.ledger,
            Asker(Random(f"{options.seed} asks")),
            self.checks.bounds.again + _PATIENCE,
            self.failures.addEntry,
        )
        self.atLast: dict[str, int] = {}

    def say(self, text: str) -> None:
        """
        Say what happens, and when.
        """
        self._say(f"{time.monotonic() - self._began:7.1f} s  {text}")

    async def run(self) -> None:
        """
        Do it all.

        @raise StageError: if it cannot begin.
        """
        try:
            await self.stage.start()
            watching = asyncio.create_task(self._watch())
            try:
                await self._goWrong()
                await self._askAtLast()
                await self._checkStatus()
            finally:
                watching.cancel()
                await asyncio.wait([watching])
            if not watching.cancelled() and watching.exception() is not None:
                raise watching.exception() or RuntimeError
            self._checkMemory()
            await self._endPrograms()
            self._look(final=True)
            self._fail(self.checks.lookBack())
            self._checkLogs()
        finally:
            self.stage.stop(keep=self.options.keep or bool(self.failures.found))

    async def _goWrong(self) -> None:
        """
        Let clients ask while things go wrong.
        """
        self.say(f"{len(self.stage.agents)} agents, {len(self.stage.backends)} backends")
        tasks = []
        for backend in self.stage.backends:
            for place in range(1, _CLIENTS + 1):
                name = f"client {place} of {backend}"
                client = Client(name, self._world, Random(f"{self.options.seed} {name}"), backend)
                tasks.append(asyncio.create_task(client.run()))
            prober = Client(f"prober of {backend}", self._world, Random(0), backend, leaving=0.0)
            tasks.append(asyncio.create_task(prober.probe()))
        await self.schedule.run(time.monotonic() + self.options.seconds)
        self._world.isOver = True
        done, left = await asyncio.wait(tasks, timeout=self.checks.bounds.again)
        for task in left:
            task.cancel()
        for task in done:
            error = task.exception()
            if error is not None:
                raise error

    async def _askAtLast(self) -> None:
        """
        With all faults over, every request is answered right.
        """
        entries: list[Entry] = []
        for backend in self.stage.backends:
            client = Client("at last", self._world, Random(self.options.seed), backend, leaving=0.0)
            asks = [self._world.asker.ask(backend) for _ in range(_AT_LAST)]

            async def work(client: Client = client, asks: list[Any] = asks) -> None:
                while asks:
                    entries.append(await client.askFor(asks.pop()))

            await asyncio.gather(*(work() for _ in range(_AT_LAST_AT_ONCE)))
        for backend in self.stage.backends:
            mine = [entry for entry in entries if entry.ask.backend == backend]
            self.atLast[backend] = sum(entry.result.outcome == RIGHT for entry in mine)
            for entry in mine:
                if entry.result.outcome != RIGHT:
                    self.failures.addEntry(entry, "not answered right, though all faults are over")

    async def _checkStatus(self) -> None:
        """
        No exchange is left at the proxy.
        """
        answer = Answer()
        try:
            async with asyncio.timeout(_END_TIME):
                wire = await Wire.to(self.stage.adminPort)
                await wire.send(
                    b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
                await answer.read(wire, "GET", lambda _: None)
                wire.close()
        except Exception as error:
            self.failures.add(
                "the proxy does not tell its status", f"{type(error).__name__} {error}"
            )
            return
        status = json.loads(answer.body)
        for backend in status["backends"]:
            self.say(f"the proxy's status of {backend['id']}: {json.dumps(backend)}")
            if backend["exchanges"] or backend["queued"]:
                self.failures.add("exchanges are left at the proxy", str(backend))

    def _checkMemory(self) -> None:
        self.memory.look(self.stage.programs())
        for life in self.memory.grown():
            self.failures.add(
                f"a process has grown by more than {MOST_GROWTH >> 20} MiB",
                f"{life.name}, from {life.first >> 20} to {life.last >> 20} MiB in {life.seconds:.0f} s",
            )

    async def _endPrograms(self) -> None:
        """
        Agents and proxy end in good order.
        """
        for program in (*(agent.program for agent in self.stage.agents.values()), self.stage.proxy):
            status = await program.terminate(_END_TIME)
            if status != 0:
                self.failures.add("no good end after SIGTERM", f"{program.name} at last: {status}")

    def _checkLogs(self) -> None:
        for program in self.stage.programs():
            for text in program.tracebacks():
                self.failures.add("a traceback", program.name, text.splitlines())

    # All the time.

    async def _watch(self) -> None:
        ticks = 0
        while True:
            self._look()
            for trouble in self.troubles.late():
                self.failures.addTrouble(trouble)
            for program in self.stage.programs():
                if program.isMeantToRun and program.status() is not None:
                    self.failures.add(
                        "a program ended by itself",
                        f"{program.name}, with status {program.status()}",
                        program.tail(20).splitlines(),
                    )
                    program.end()
                    program.start()
            if ticks % 10 == 0:
                self.memory.look(self.stage.programs())
            ticks += 1
            await asyncio.sleep(_TICK)

    def _look(self, *, final: bool = False) -> None:
        self._fail(self.checks.readJournals())
        self._fail(self.checks.look(final=final))

    def _fail(self, found: Iterable[tuple[Entry | None, str]]) -> None:
        for entry, what in found:
            if entry is None:
                self.failures.add(what)
            else:
                self.failures.addEntry(entry, what)
