"""
Visitors: each plays one kind of exchange after the other, and looks closely at what it gets.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from itertools import count
from random import Random

from attrs import define, evolve, field, frozen

from soak.tally import Tally
from stage.asks import Ask
from stage.judgement import faultOfHead, judge, judgeBroken
from stage.messages import Answer
from stage.results import CUT, ENDLESS, LEFT, RIGHT, WRONG, Result
from stage.speaking import readEcho, sendAsk
from stage.wire import Ended, Nonsense, Wire

PATIENCE = 90.0
"""Seconds after which an exchange without an end is given up; all of them are over much sooner on an idle machine."""


@frozen
class Who:
    """
    Who a visitor is.

    @ivar user: what the backend is told; empty for nobody.
    @ivar fields: what shows that, as lines of a header section.
    """

    user: str = ""
    fields: tuple[str, ...] = ()


NOBODY = Who()

_BROKEN = "origin-bad-response"
"""What a client is told of a backend that broke off before its answer had begun."""


class SlowWire(Wire):
    """
    A connection whose reader takes its time, and has little room.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        super().connection_made(transport)

    async def readSome(self, most: int) -> bytes:
        await asyncio.sleep(0.04)
        return await super().readSome(min(most, 32768))


@define
class World:
    """
    What all visitors share.

    @ivar port: where they connect.
    @ivar tally: where they write down what they get.
    @ivar complain: told of what must not have happened, in a line.
    @ivar numbers: those of requests.
    @ivar goes: set while they shall ask for something.
    """

    port: int
    tally: Tally
    complain: Callable[[str], None]
    numbers: count[int] = field(factory=lambda: count(1))
    goes: asyncio.Event = field(factory=asyncio.Event)


class Visitor:
    """
    A visitor.

    @ivar random: what decides.
    @ivar kind: what it plays.
    @ivar backend: which backend it asks.
    @ivar who: as whom.
    @ivar world: what all share.
    """

    def __init__(self, world: World, random: Random, backend: str, who: Who) -> None:
        """
        @param world: what all share.
        @param random: what decides.
        @param backend: which backend it asks.
        @param who: as whom.
        """
        self.world = world
        self.random = random
        self.backend = backend
        self.who = who
        self.kind = ""

    async def play(self, kind: str, play: Callable[[Visitor], Awaitable[None]]) -> None:
        """
        Play one kind of exchange.
        """
        self.kind = kind
        try:
            await play(self)
        except OSError as error:
            self.world.complain(f"{kind}: {type(error).__name__}: {error}")
            await asyncio.sleep(0.5)

    def ask(self, **wishes: object) -> Ask:
        """
        Make up a request.
        """
        ask = Ask(next(self.world.numbers), self.backend, fields=self.who.fields)
        return evolve(ask, **wishes)  # type: ignore[arg-type]

    async def connect(self, *, slow: bool = False) -> Wire:
        """
        Connect to the proxy.
        """
        async with asyncio.timeout(PATIENCE):
            return await (SlowWire if slow else Wire).to(self.world.port)

    async def once(self, ask: Ask, *, slow: bool = False) -> None:
        """
        Ask for one thing on a connection of its own.
        """
        wire = await self.connect(slow=slow)
        try:
            await self.exchange(wire, ask, closes=self.random.random() < 0.5)
        finally:
            wire.close()

    async def exchange(
        self,
        wire: Wire,
        ask: Ask,
        *,
        closes: bool = False,
        answer: Answer | None = None,
        isSent: bool = False,
    ) -> bool:
        """
        Ask for something, and judge what comes.

        @param closes: whether the connection is to be closed after it.
        @param answer: what it is to be read into.
        @param isSent: whether it was asked for already.
        @return: whether the connection can be used again.
        """
        began = time.monotonic()
        answer = answer or Answer()
        leave = asyncio.Event()
        sending = asyncio.create_task(
            asyncio.sleep(0) if isSent else sendAsk(wire, ask, leave, closes=closes)
        )
        interim: list[int] = []

        def inform(status: int) -> None:
            interim.append(status)
            leave.set()

        try:
            async with asyncio.timeout(PATIENCE):
                await answer.read(wire, ask.method, inform)
                if answer.status == 101 and ask.form == "echo":
                    result = await readEcho(wire, ask, answer)
                else:
                    result = self.judged(ask, answer, interim)
                leave.set()
                await sending
        except TimeoutError:
            result = Result(ENDLESS, detail=f"{answer.status}, {len(answer.body)} bytes")
        except Ended as end:
            result = judgeBroken(ask, answer, wire.buffered(), str(end))
        except Nonsense as nonsense:
            result = Result(WRONG, detail=f"{nonsense} after {bytes(answer.body[-200:])!r}")
        sending.cancel()
        result = self._withBreak(ask, result)
        self.note(ask, result, began)
        return (
            result.outcome == RIGHT
            and answer.isWhole
            and answer.status != 101
            and bool(ask.minor)
            and answer.keepsOpen()
            and not closes
        )

    def note(self, ask: Ask, result: Result, began: float) -> None:
        """
        Write down what came of something.
        """
        self.world.tally.note(self.kind, ask, result, began)

    def judged(self, ask: Ask, answer: Answer, interim: list[int]) -> Result:
        """
        Judge an answer that came to its end.
        """
        if answer.status == 101:
            fault = faultOfHead(ask, answer)
            result = Result(WRONG, detail=fault) if fault else Result(RIGHT)
        else:
            result = judge(ask, answer)
        if result.outcome == RIGHT:
            if answer.field("x-user") != self.who.user:
                return Result(
                    WRONG, detail=f"the backend saw {answer.field('x-user')}, not {self.who}"
                )
            if ask.hints and 103 not in interim:
                return Result(WRONG, detail=f"no 103 among {interim}")
        return result

    def _withBreak(self, ask: Ask, result: Result) -> Result:
        """
        What a broken answer is worth.
        """
        if ask.form != "broken":
            return result
        # The reset may overtake what came before it, head and all.
        isSeen = result.symptom == _BROKEN or (result.outcome == CUT and ask.breaksAfter >= 0)
        return Result(RIGHT, agent=result.agent) if isSeen else result

    def left(self, ask: Ask, began: float, fault: str = "") -> None:
        """
        Write down that it left.

        @param fault: what was wrong until then.
        """
        self.note(ask, Result(WRONG, detail=fault) if fault else Result(LEFT), began)
