"""
Clients: each asks for one thing after the other, and looks closely at what it gets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random

from attrs import define

from chaos.asker import Asker
from chaos.ledger import Entry, Ledger
from stage.asks import LONGEST, Ask
from stage.judgement import judge, judgeBroken
from stage.messages import Answer
from stage.results import BEHIND, ENDLESS, LEFT, REFUSED, RIGHT, WRONG, Result
from stage.speaking import readEcho, sendAsk
from stage.wire import Ended, Nonsense, Wire

_AFTER_REFUSAL = 0.5
_MOST_PROBES = 16
_BETWEEN_PROBES = 0.2


@define
class World:
    """
    What all clients share.

    @ivar port: where they connect.
    @ivar ledger: where they write down what they get.
    @ivar asker: what makes up their requests.
    @ivar patience: seconds after which a request without an end is given up.
    @ivar complain: told of an entry after whose end something went wrong, and what.
    @ivar isOver: whether they shall ask for nothing more.
    """

    port: int
    ledger: Ledger
    asker: Asker
    patience: float
    complain: Callable[[Entry, str], None]
    isOver: bool = False


class Client:
    """
    A client.
    """

    def __init__(
        self, name: str, world: World, random: Random, backend: str, *, leaving: float = 0.03
    ) -> None:
        """
        @param name: its name, in reports.
        @param world: what all clients share.
        @param random: what decides.
        @param backend: the backend that it asks.
        @param leaving: how often it goes away before the answer has come.
        """
        self._leaving = leaving
        self._name = name
        self._world = world
        self._random = random
        self._backend = backend

    async def run(self) -> None:
        """
        Ask for one thing after the other, until all is over.
        """
        draw = self._random
        while not self._world.isOver:
            kind = draw.random()
            if kind < 0.4:
                await self._visit(1)
            elif kind < 0.9:
                await self._visit(draw.randint(2, 8))
            else:
                await self._pipeline(draw.randint(2, 4))
            await asyncio.sleep(draw.uniform(0.0, 0.5))

    async def probe(self) -> None:
        """
        Ask for a plain small thing again and again, however long the answers take.
        """
        probes: set[asyncio.Task[Entry]] = set()
        while not self._world.isOver:
            if len(probes) < _MOST_PROBES:
                task = asyncio.create_task(self.askFor(self._world.asker.probe(self._backend)))
                probes.add(task)
                task.add_done_callback(probes.discard)
            await asyncio.sleep(_BETWEEN_PROBES)
        if probes:
            await asyncio.wait(probes)

    async def askFor(self, ask: Ask) -> Entry:
        """
        Ask for one thing on a connection of its own.

        @return: what became of it.
        """
        entry = self._world.ledger.open(ask, self._name)
        wire = await self._connect(entry)
        if wire is not None:
            await self._exchange(wire, entry, closes=True)
            wire.close()
        return entry

    async def _connect(self, entry: Entry) -> Wire | None:
        try:
            async with asyncio.timeout(self._world.patience):
                return await Wire.to(self._world.port)
        except TimeoutError:
            self._world.ledger.close(entry, Result(ENDLESS, detail="no connection"))
        except OSError as error:
            self._world.ledger.close(entry, Result(REFUSED, REFUSED, detail=str(error)))
            await asyncio.sleep(_AFTER_REFUSAL)
        return None

    async def _visit(self, count: int) -> None:
        """
        Ask for several things on one connection.
        """
        wire: Wire | None = None
        for left in reversed(range(count)):
            if self._world.isOver:
                break
            entry = self._world.ledger.open(self._world.asker.ask(self._backend), self._name)
            if wire is None or wire.isOver():
                if wire is not None:
                    wire.close()
                wire = await self._connect(entry)
                if wire is None:
                    return
            closes = not left and self._random.random() < 0.5
            goesOn = await self._exchange(wire, entry, closes=closes)
            if not goesOn:
                break
            pause = self._random.choice((0.0, 0.02, self._random.uniform(0.0, 1.5)))
            if not await self._isQuiet(wire, entry, pause):
                break
        if wire is not None:
            wire.close()

    async def _isQuiet(self, wire: Wire, entry: Entry, seconds: float) -> bool:
        """
        Listen for what must not come: something behind an answer.
        """
        surplus = await wire.quiet(seconds)
        if surplus:
            self._world.complain(entry, f"behind its answer came {surplus[:200]!r}")
        return not surplus

    async def _exchange(self, wire: Wire, entry: Entry, *, closes: bool) -> bool:
        """
        Ask for something, and judge what comes.

        @return: whether the connection can be used again.
        """
        ask, draw = entry.ask, self._random
        leave = asyncio.Event()
        sending = asyncio.create_task(sendAsk(wire, ask, leave, closes=closes))
        leaves = draw.random() < self._leaving
        patience = draw.uniform(0.0, 1.5) if leaves else self._world.patience
        answer = Answer()
        try:
            async with asyncio.timeout(patience):
                await answer.read(wire, ask.method, lambda _: leave.set())
                if answer.status == 101:
                    result = await readEcho(wire, ask, answer)
                else:
                    result = judge(ask, answer)
        except TimeoutError:
            result = judgeBroken(ask, answer, b"", "given up")
            if result.outcome != WRONG:
                result = Result(LEFT if leaves else ENDLESS, detail=result.detail)
        except Ended as end:
            result = judgeBroken(ask, answer, wire.buffered(), str(end))
        except Nonsense as nonsense:
            result = Result(WRONG, detail=f"{nonsense} after {bytes(answer.body[-200:])!r}")
        leave.set()
        self._world.ledger.close(entry, result)
        goesOn = (
            answer.isWhole
            and answer.status != 101
            and result.outcome != WRONG
            and bool(ask.minor)
            and answer.keepsOpen()
            and not closes
        )
        if result.outcome == RIGHT and ask.form == "early":
            try:
                await asyncio.wait_for(sending, LONGEST + self._world.patience)
            except TimeoutError:
                self._world.complain(entry, "its body was not taken after the answer")
                goesOn = False
        goesOn = goesOn and sending.done()
        sending.cancel()
        if answer.isWhole and answer.status != 101 and not goesOn and result.outcome != WRONG:
            await self._isQuiet(wire, entry, 0.3)
        elif leaves and draw.random() < 0.5:
            wire.reset()
        return goesOn

    async def _pipeline(self, count: int) -> None:
        """
        Send several requests at once.
        """
        world = self._world
        asks: list[Ask] = []
        while len(asks) < count:
            ask = world.asker.ask(self._backend)
            if ask.upload < 0 and ask.minor and ask.form not in ("echo", "close"):
                asks.append(ask)
        entries = [world.ledger.open(ask, self._name) for ask in asks]
        wire = await self._connect(entries[0])
        if wire is not None:
            with suppress(Ended):
                await wire.send(b"".join(ask.head(closes=False) for ask in asks))
            while entries and await self._take(wire, entries[0], isLast=len(entries) == 1):
                del entries[0]
        for entry in entries[1:]:
            world.ledger.close(entry, Result(BEHIND))
        if wire is not None:
            wire.close()

    async def _take(self, wire: Wire, entry: Entry, *, isLast: bool) -> bool:
        """
        Take the answer to one of several requests.

        @return: whether the next one follows.
        """
        ask, answer = entry.ask, Answer()
        entry.began = time.monotonic()  # until now it was the turn of the one before
        try:
            async with asyncio.timeout(self._world.patience):
                await answer.read(wire, ask.method, lambda _: None)
            result = judge(ask, answer)
        except TimeoutError:
            result = Result(ENDLESS)
        except Ended as end:
            result = judgeBroken(ask, answer, wire.buffered(), str(end))
        except Nonsense as nonsense:
            result = Result(WRONG, detail=str(nonsense))
        self._world.ledger.close(entry, result)
        if isLast and answer.isWhole:
            await self._isQuiet(wire, entry, 0.1)
        return answer.isWhole and answer.keepsOpen() and result.outcome != WRONG
