"""
The faults of the matrix: how each begins, and how it ends.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable

from attrs import evolve, frozen

from chaos.handicap import FAILS, HANGS, Handicap
from chaos.setting import BACKEND, Setting, feed, recordOf, starve
from stage.programs import Program
from stage.results import RIGHT

Act = Callable[[Setting], Awaitable[None]]

HOUR = 3600.0


@frozen
class Hit:
    """
    Something that goes wrong once.

    @ivar begin: makes it so.
    @ivar end: makes it right again, as far as that needs anybody.
    @ivar lasts: for how many seconds.
    """

    begin: Act
    end: Act
    lasts: float


async def nothing(setting: Setting) -> None:
    """
    It ends by itself.
    """


def _all(*acts: Act) -> Act:
    async def act(setting: Setting) -> None:
        for each in acts:
            await each(setting)

    return act


# Programs.


def killed(name: str) -> Hit:
    """
    SIGKILL, and a new start half a second later.
    """

    async def begin(setting: Setting) -> None:
        await _program(setting, name).kill()

    return Hit(begin, _startAgain(name), 0.5)


def restarted(name: str) -> Hit:
    """
    SIGTERM, and a new start once it has ended.
    """

    async def end(setting: Setting) -> None:
        program = _program(setting, name)
        status = await program.terminate(setting.clocks.drain + 3.0)
        if status:
            setting.complaints.append(f"{name} ended with status {status} after SIGTERM")
        await _startAgain(name)(setting)

    async def begin(setting: Setting) -> None:
        # It drains while requests go on; who waits for its end is the other half.
        setting.ending = asyncio.ensure_future(end(setting))

    async def ended(setting: Setting) -> None:
        if setting.ending is not None:
            await setting.ending

    return Hit(begin, ended, 0.5)


def frozenFor(name: str, seconds: float) -> Hit:
    """
    SIGSTOP, and SIGCONT.
    """

    async def begin(setting: Setting) -> None:
        _program(setting, name).freeze()

    async def end(setting: Setting) -> None:
        _program(setting, name).thaw()

    return Hit(begin, end, seconds)


def starving(name: str, seconds: float) -> Hit:
    """
    No file descriptor is left.
    """

    async def begin(setting: Setting) -> None:
        starve(_program(setting, name).pid)

    async def end(setting: Setting) -> None:
        feed(_program(setting, name).pid)

    return Hit(begin, end, seconds)


def jumping(name: str, ahead: float, beside: Hit | None = None) -> Hit:
    """
    The time of day jumps, and some time later jumps back.

    @param beside: what goes wrong meanwhile: timers that stand still can be told by nothing else.
    """

    async def begin(setting: Setting) -> None:
        getattr(setting, name).suffer(Handicap(ahead))

    async def end(setting: Setting) -> None:
        getattr(setting, name).suffer(Handicap())

    if beside is None:
        return Hit(begin, end, 6.0)
    return Hit(_all(begin, beside.begin), _all(beside.end, end), beside.lasts)


def _startAgain(name: str) -> Act:
    async def act(setting: Setting) -> None:
        _program(setting, name).start()

    return act


def _program(setting: Setting, name: str) -> Program:
    program: Program = getattr(setting, name)
    return program


# Links.


async def _cut(setting: Setting) -> None:
    setting.relay.cut()


async def _block(setting: Setting) -> None:
    setting.relay.block()


async def _clear(setting: Setting) -> None:
    setting.relay.clear()


async def _forget(setting: Setting) -> None:
    setting.relay.forget()


async def _slow(setting: Setting) -> None:
    setting.relay.delay = 0.5


async def _hurry(setting: Setting) -> None:
    setting.relay.delay = 0.0


CUT = Hit(_cut, nothing, 0.0)
FROZEN = Hit(_block, _clear, 8.0)
FORGOTTEN = Hit(_forget, nothing, 0.0)
FORGOTTEN_FOR_LONG = Hit(_forget, nothing, 12.0)
SLOWED = Hit(_slow, _hurry, 8.0)


async def _load(setting: Setting) -> None:
    # The line itself loses packets, all the time; what is under way are a few hundred, so add thousands.
    loads = [evolve(setting.asker.probe(BACKEND), form="chunked", size=400_000) for _ in range(24)]
    loads += [
        evolve(setting.asker.probe(BACKEND), method="POST", upload=250_000) for _ in range(24)
    ]
    for entry in await asyncio.gather(*map(setting.client.askFor, loads)):
        if entry.result.outcome != RIGHT:
            setting.complaints.append(f"{entry.ask}: {entry.result}")


LOSSY = Hit(_load, nothing, 0.0)


# Names.


def _names(what: str) -> Act:
    async def act(setting: Setting) -> None:
        setting.agent.suffer(Handicap(names=what))

    return act


async def _forgetConnections(setting: Setting) -> None:
    # Longer than connections to an origin are kept.
    await asyncio.sleep(2.0)


def nameless(what: str) -> Hit:
    """
    The agent cannot look up its origin; connections to it that were kept are closed first.
    """
    return Hit(_all(_names(what), _forgetConnections), _all(_names("works")), 6.0)


def namelessProxy(what: str) -> Hit:
    """
    The agent has lost its link, and cannot look up the proxy.
    """
    return Hit(_all(_names(what), _cut), _all(_names("works")), 6.0)


NAMES_FAIL, NAMES_HANG = nameless(FAILS), nameless(HANGS)
PROXY_NAME_FAILS, PROXY_NAME_HANGS = namelessProxy(FAILS), namelessProxy(HANGS)


# Disks.


async def _fill(setting: Setting) -> None:
    await _register(setting, "before", 201)
    setting.logged = setting.accessLog.stat().st_size
    with (setting.room / "filler").open("wb", buffering=0) as file:
        piece = 65536
        while piece:
            try:
                file.write(b"x" * piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                piece //= 2
    await _register(setting, "full", 503)
    status, _ = await setting.admin("GET", "/readyz")
    if status != 200:
        setting.complaints.append(f"readyz answered {status} with a full disk")


async def _empty(setting: Setting) -> None:
    (setting.room / "filler").unlink()
    await _register(setting, "after", 201)
    try:
        async with asyncio.timeout(5.0):
            while "lines are lost" not in setting.proxy.log.read_text(errors="replace"):
                await setting.client.askFor(setting.asker.probe(BACKEND))
                await asyncio.sleep(0.5)
    except TimeoutError:
        setting.complaints.append("nobody is told how many lines of the access log are lost")
    if setting.accessLog.stat().st_size <= setting.logged:
        setting.complaints.append("the access log does not go on")
    # What was acknowledged has to be there after the worst.
    await setting.proxy.kill()
    setting.proxy.start()
    await setting.proxyReady()
    _, records = await setting.admin("GET", "/api/backends")
    found = sorted(record["id"] for record in records)
    if found != ["after", "before", BACKEND]:
        setting.complaints.append(f"after a full disk these are registered: {found}")
    for id in ("before", "after"):
        await setting.admin("DELETE", f"/api/backends/{id}")


async def _register(setting: Setting, id: str, expected: int) -> None:
    status, answer = await setting.admin("POST", "/api/backends", recordOf(id))
    if status != expected:
        setting.complaints.append(f"registering {id!r} was answered {status}: {answer}")


DISK_FULL = Hit(_fill, _empty, 3.0)
