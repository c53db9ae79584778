"""
Agents that come and go, with their tokens and records.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

from soak.calls import call
from soak.cast import GUEST, PARTS, Agent, Cast
from soak.kinds import visit
from soak.tally import Tally
from soak.visitors import NOBODY, Visitor, World
from stage.programs import StageError

_END_TIME = 45.0
"""Seconds that an agent may take to end in good order."""

_RETURN_TIME = 180.0
"""Seconds that an agent may take to come back when it has a good token again."""

_GUEST_VISITS = 10


class Comings:
    """
    Has agents come and go, one after the other.

    @ivar counts: how often what happened.
    """

    def __init__(self, cast: Cast, world: World, random: Random) -> None:
        """
        @param cast: who plays.
        @param world: what visitors share.
        @param random: what decides.
        """
        self.counts: Counter[str] = Counter()
        self._cast = cast
        self._world = world
        self._tally: Tally = world.tally
        self._random = random
        self._over = asyncio.Event()
        self._kinds: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("agent restarted", self._restart),
            ("agent killed", self._kill),
            ("token replaced", self._replaceToken),
            ("token revoked under its agent", self._revokeToken),
            ("record changed", self._changeRecord),
            ("backend with its agent, for a while", self._guest),
        )

    async def run(self, pause: float) -> None:
        """
        Let something happen again and again: each kind once, in an order that is drawn, and so on.

        @param pause: how many seconds there are between, on average.
        """
        self._over.clear()
        while True:
            for name, act in self._random.sample(self._kinds, len(self._kinds)):
                with suppress(TimeoutError):
                    await asyncio.wait_for(
                        self._over.wait(), self._random.uniform(0.5, 1.5) * pause
                    )
                    return
                await self._act(name, act)

    def end(self) -> None:
        """
        Let nothing more happen; what has begun is brought to its end.
        """
        self._over.set()

    async def _act(self, name: str, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except StageError as error:
            self._world.complain(f"{name}: {error}")
        self.counts[name] += 1

    def _goer(self) -> Agent:
        return self._random.choice([agent for agent in self._cast.agents if not agent.stays])

    async def _end(self, agent: Agent) -> None:
        status = await agent.program.terminate(_END_TIME)
        if status != 0:
            self._world.complain(f"{agent.name} ended with status {status} after SIGTERM")

    async def _restart(self) -> None:
        agent = self._goer()
        await self._end(agent)
        await asyncio.sleep(self._random.uniform(0.0, 2.0))
        await self._begin(agent)

    async def _begin(self, agent: Agent) -> None:
        agent.program.start()
        await self._cast.isReady(agent)

    async def _kill(self) -> None:
        agent = self._goer()
        self._tally.lose(agent.backend)
        await agent.program.kill()
        await asyncio.sleep(self._random.uniform(0.0, 2.0))
        await self._begin(agent)

    async def _replaceToken(self) -> None:
        """
        The way in which nobody is disturbed: a second token, a restart, and the first one is revoked.
        """
        agent = self._goer()
        former = await self._cast.giveToken(agent)
        await self._end(agent)
        await self._begin(agent)
        await self._cast.revoke(agent.backend, former)

    async def _revokeToken(self) -> None:
        agent = self._goer()
        self._tally.lose(agent.backend)
        await self._cast.revoke(agent.backend, agent.token)
        agent.token = ""
        await asyncio.sleep(self._random.uniform(0.0, 3.0))
        await self._cast.giveToken(agent)
        await self._untilBack(agent)

    async def _untilBack(self, agent: Agent) -> None:
        """
        Wait until all agents of a backend are there, as an agent whose token was bad tries again by itself.
        """
        try:
            async with asyncio.timeout(_RETURN_TIME):
                while not await self._areThere(agent.backend):
                    await asyncio.sleep(0.5)
        except TimeoutError:
            raise StageError(f"{agent.name} did not come back:\n{agent.program.tail(5)}") from None

    async def _areThere(self, backend: str) -> bool:
        carriers = PARTS[backend].carriers
        polling = carriers.count("poll")
        status = await self._cast.admin.ask("GET", "status")
        return any(
            each["tunnels"] >= len(carriers) - polling
            # Of the two polls of each, one or the other may just be under way.
            and each["polls"] >= max(0, 2 * polling - 1)
            for each in status["backends"]
            if each["id"] == backend
        )

    async def _changeRecord(self) -> None:
        """
        Others may visit as well for a while; those who could stay undisturbed.
        """
        backend = self._random.choice(list(PARTS))
        users = PARTS[backend].users
        await self._cast.admin.makeBackend(backend, *users, "stranger@elsewhere.example")
        await asyncio.sleep(self._random.uniform(0.0, 2.0))
        await self._cast.admin.makeBackend(backend, *users)

    async def _guest(self) -> None:
        """
        A backend comes with its record, its token and its agent, is visited, and goes with all of them.
        """
        cast, guest = self._cast, self._cast.guest
        await self._expect(404)
        await cast.admin.makeBackend(GUEST, "allUsers")
        await cast.giveToken(guest)
        await self._begin(guest)
        for _ in range(_GUEST_VISITS):
            await visit(Visitor(self._world, self._random, GUEST, NOBODY))
        await self._end(guest)
        await cast.admin.ask("DELETE", f"backends/{GUEST}")
        guest.token = ""
        await self._expect(404)

    async def _expect(self, status: int) -> None:
        answer = await call(self._cast.port, "GET", f"/{GUEST}/")
        if answer.status != status:
            raise StageError(f"{answer.status} instead of {status}: {bytes(answer.body)!r}")
