"""
What goes wrong in a chaos run, and which symptoms each kind of it explains.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from attrs import define, frozen

from chaos.relay import Relay
from chaos.stage import Stage
from stage.programs import Program
from stage.results import CLOSED, CUT, REFUSED

_DRAIN_MARGIN = 5.0
_START_TIME = 20.0
_HANDLERS_TIME = 0.3
"""Seconds after which a process handles signals, once its reactor starts."""


@frozen(eq=False)
class Target:
    """
    What a fault may hit.

    @ivar name: its name.
    @ivar agents: the names of the agents that are affected, and of their backends.
    @ivar program: the process, unless it is a relay.
    @ivar relay: the relay, if it is one.
    @ivar drainTime: seconds within which the process must end when it is asked to.
    """

    name: str
    affects: frozenset[str]
    program: Program | None = None
    relay: Relay | None = None
    drainTime: float = 0.0


@define(eq=False)
class Fault:
    """
    Something that goes wrong.

    @ivar kind: what.
    @ivar target: with what.
    @ivar seconds: for how long.
    @ivar began: when it began, in seconds on the monotonic clock, or 0.
    @ivar ended: when it ended, or 0.
    """

    kind: Kind
    target: Target
    seconds: float
    began: float = 0.0
    ended: float = 0.0

    def __str__(self) -> str:
        return f"{self.target.name} {self.kind.name} for {self.seconds:.1f} s"


Complain = Callable[[str, str], None]
"""Takes what must not happen: in general, and in detail."""

Act = Callable[[Fault, Complain], Awaitable[None]]


@frozen(eq=False)
class Kind:
    """
    A kind of fault.

    @ivar name: what happens, in the passive.
    @ivar part: what it happens to: C{agent}, C{link}, C{proxy} or C{origin}.
    @ivar weight: how often it happens, compared with the others.
    @ivar seconds: how long it lasts, at least and at most.
    @ivar act: makes it happen; given the fault, and what to call with a complaint.
    @ivar explains: the symptoms that it explains.
    @ivar stalls: whether it can make requests take as much longer.
    """

    name: str
    part: str
    weight: float
    seconds: tuple[float, float]
    act: Act
    explains: tuple[str, ...]
    stalls: bool = False

    def __str__(self) -> str:
        return f"{self.part} {self.name}"

    def fault(self, targets: list[Target], random: Random) -> Fault:
        """
        Make up a fault of this kind; most do not last for long.
        """
        least, most = self.seconds
        seconds = least + (most - least) * random.random() ** 2
        return Fault(self, random.choice(targets), seconds)


def _programOf(fault: Fault) -> Program:
    assert fault.target.program is not None
    return fault.target.program


def _relayOf(fault: Fault) -> Relay:
    assert fault.target.relay is not None
    return fault.target.relay


async def _kill(fault: Fault, complain: Complain) -> None:
    program = _programOf(fault)
    await program.kill()
    await asyncio.sleep(fault.seconds)
    program.start()


async def _drain(fault: Fault, complain: Complain) -> None:
    program = _programOf(fault)
    # One that was started a moment ago cannot do it in good order yet.
    await program.printed("Starting reactor", _START_TIME)
    await asyncio.sleep(_HANDLERS_TIME)
    status = await program.terminate(fault.target.drainTime + _DRAIN_MARGIN)
    if status != 0:
        what = "did not end" if status is None else f"ended with status {status}"
        complain("no good end after SIGTERM", f"{program.name} {what}")
    await asyncio.sleep(fault.seconds)
    program.start()


async def _freeze(fault: Fault, complain: Complain) -> None:
    program = _programOf(fault)
    program.freeze()
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        program.thaw()


async def _block(fault: Fault, complain: Complain) -> None:
    relay = _relayOf(fault)
    relay.block()
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        relay.clear()


async def _cut(fault: Fault, complain: Complain) -> None:
    _relayOf(fault).cut()


async def _forget(fault: Fault, complain: Complain) -> None:
    _relayOf(fault).forget()


async def _slow(fault: Fault, complain: Complain) -> None:
    relay = _relayOf(fault)
    relay.delay = 0.15
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        relay.delay = 0.0


_OFTEN, _SOMETIMES, _SELDOM = 4.0, 3.0, 1.5
_MOMENT, _WHILE = (0.0, 2.0), (1.0, 25.0)
_STUCK = ("agent-lost", "head-timeout", "origin-timeout", "queue-timeout", CUT)

AGENT_KILLED = Kind("killed", "agent", _OFTEN, _MOMENT, _kill, ("agent-lost", "queue-timeout", CUT))
AGENT_DRAINED = Kind("drained", "agent", _SOMETIMES, (0.0, 1.0), _drain, ("queue-timeout",))
AGENT_FROZEN = Kind("frozen", "agent", _OFTEN, _WHILE, _freeze, _STUCK, stalls=True)
LINK_BLOCKED = Kind("blocked", "link", _OFTEN, _WHILE, _block, _STUCK, stalls=True)
LINK_CUT = Kind("cut", "link", _OFTEN, (0.0, 0.0), _cut, ("agent-lost", "queue-timeout", CUT))
LINK_FORGOTTEN = Kind("forgotten", "link", _SELDOM, (0.0, 0.0), _forget, _STUCK, stalls=True)
LINK_SLOWED = Kind("slowed", "link", _SELDOM, (2.0, 10.0), _slow, (), stalls=True)
PROXY_KILLED = Kind(
    "killed",
    "proxy",
    _SELDOM,
    _MOMENT,
    _kill,
    ("no-backend", "queue-timeout", CLOSED, CUT, REFUSED),
)
PROXY_DRAINED = Kind(
    "drained",
    "proxy",
    _SELDOM,
    (0.0, 1.0),
    _drain,
    ("draining", "no-backend", "queue-timeout", CLOSED, CUT, REFUSED),
)
PROXY_FROZEN = Kind("frozen", "proxy", _SELDOM, _WHILE, _freeze, (*_STUCK, CLOSED), stalls=True)
ORIGIN_KILLED = Kind(
    "killed", "origin", _SOMETIMES, _MOMENT, _kill, ("origin-bad-response", "origin-refused", CUT)
)
ORIGIN_FROZEN = Kind(
    "frozen",
    "origin",
    _SELDOM,
    (1.0, 12.0),
    _freeze,
    ("head-timeout", "origin-timeout", CUT),
    stalls=True,
)

USUAL = (
    AGENT_KILLED,
    AGENT_DRAINED,
    AGENT_FROZEN,
    LINK_BLOCKED,
    LINK_CUT,
    LINK_SLOWED,
    PROXY_KILLED,
    PROXY_DRAINED,
    PROXY_FROZEN,
    ORIGIN_KILLED,
    ORIGIN_FROZEN,
)
"""What goes wrong if nothing else is asked for."""

KINDS = (*USUAL, LINK_FORGOTTEN)
"""All kinds."""


def targetsOf(stage: Stage) -> dict[str, list[Target]]:
    """
    Find what there is on a stage, by the part that it plays.
    """
    clocks = stage.clocks
    everyone = frozenset((*stage.agents, *stage.backends))
    agents, links = [], []
    for agent in stage.agents.values():
        affects = frozenset((agent.name, agent.backend))
        agents.append(
            Target(f"agent {agent.name}", affects, agent.program, None, clocks.agentDrain)
        )
        if agent.relay is not None:
            links.append(Target(f"link of {agent.name}", affects, None, agent.relay))
    origins = [
        Target(
            f"origin of {backend.name}",
            frozenset((backend.name, *(agent.name for agent in backend.agents))),
            backend.origin,
        )
        for backend in stage.backends.values()
    ]
    proxy = Target("proxy", everyone, stage.proxy, None, clocks.drain)
    return {"agent": agents, "link": links, "proxy": [proxy], "origin": origins}
