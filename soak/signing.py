"""
People who sign in with the provider, visit for a while, and sign out again.
"""

from __future__ import annotations

import asyncio
from random import Random
from urllib.parse import urlencode, urlsplit

from soak.calls import call
from soak.kinds import visit
from soak.visitors import NOBODY, Visitor, Who, World
from stage.messages import Answer
from stage.programs import StageError

_VISITS = 15
_PAUSE = 0.5


def _cookieOf(answer: Answer) -> str:
    return answer.field("set-cookie").partition(";")[0]


def _locationOf(answer: Answer) -> str:
    location = answer.field("location")
    if answer.status != 303 or not location:
        raise StageError(f"{answer.status} instead of a redirection: {bytes(answer.body)[:200]!r}")
    return location


async def signIn(port: int, user: str) -> Who:
    """
    Go the way of a browser.

    @raise StageError: if it leads elsewhere.
    """
    begun = await call(port, "GET", "/.invproxy/sign-in?to=/")
    hint = urlencode({"login_hint": user})
    there = urlsplit(_locationOf(begun))
    back = await call(there.port or 80, "GET", f"{there.path}?{there.query}&{hint}")
    here = urlsplit(_locationOf(back))
    cookie = (f"Cookie: {_cookieOf(begun)}",)
    done = await call(port, "GET", f"{here.path}?{here.query}", fields=cookie)
    _locationOf(done)
    return Who(user, (f"Cookie: {_cookieOf(done)}",))


class Signer:
    """
    Somebody who comes and goes.

    @ivar count: how often people have signed in and out.
    """

    def __init__(self, world: World, random: Random, backend: str) -> None:
        """
        @param world: what visitors share.
        @param random: what decides.
        @param backend: what is visited; not for all, as it is tried without a session, too.
        """
        self.count = 0
        self._world = world
        self._random = random
        self._backend = backend

    async def run(self, goes: asyncio.Event) -> None:
        """
        Do it again and again, while something is set.
        """
        while goes.is_set():
            try:
                await self._once()
            except StageError as error:
                self._world.complain(f"signing in and out: {error}")
            await asyncio.sleep(self._random.uniform(0.5, 1.5))

    async def _once(self) -> None:
        user = f"signer{self._random.randint(1, 500)}@soak.example"
        who = await signIn(self._world.port, user)
        visitor = Visitor(self._world, self._random, self._backend, who)
        for _ in range(self._random.randint(1, _VISITS)):
            await visit(visitor)
            await asyncio.sleep(self._random.uniform(0.0, _PAUSE))
        await call(self._world.port, "POST", "/.invproxy/sign-out", fields=who.fields)
        for fields in (who.fields, NOBODY.fields):
            refused = await call(self._world.port, "GET", f"/{self._backend}/", fields=fields)
            if refused.field("x-inverting-proxy-error") != "unauthenticated":
                raise StageError(f"after signing out, {user} got {refused.status}")
        self.count += 1
