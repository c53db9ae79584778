"""
The stage of a chaos run: one proxy, three backends with an origin each, their agents, and relays before some of these.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from attrs import define

from chaos.clocks import Clocks
from chaos.relay import Relay
from stage.journal import JournalReader
from stage.programs import Program, StageError, freePorts

CARRIERS = ("poll", "tunnel", "auto", "both")
"""What the agents of a run can use."""

_START_TIME = 30.0

_TWIST = (sys.executable, "-m", "twisted", "--log-format=text")

CLOCKS = Clocks(
    queue=5.0,
    claim=2.0,
    response=10.0,
    idle=10.0,
    head=10.0,
    poll=10.0,
    connect=5.0,
    link=15.0,
    drain=5.0,
    agentDrain=10.0,
)


@define(eq=False)
class Agent:
    """
    An agent.

    @ivar name: its name, which it puts in front of each target.
    @ivar backend: what it serves.
    @ivar transport: its carrier.
    @ivar program: its process.
    @ivar relay: what it reaches the proxy through, if not straight.
    """

    name: str
    backend: str
    transport: str
    program: Program
    relay: Relay | None


@define(eq=False)
class Backend:
    """
    A backend.

    @ivar name: its ID.
    @ivar agents: its agents.
    @ivar origin: its process.
    @ivar journal: what that has seen.
    """

    name: str
    agents: list[Agent]
    origin: Program
    journal: JournalReader


_CAST = (
    # Backend, then for each agent whether there is a relay, and its carrier in a run with both.
    ("solo", ((True, "auto"),)),
    ("pair", ((True, "poll"), (False, "tunnel"))),
    ("trio", ((True, "tunnel"), (True, "poll"), (False, "auto"))),
)


class Stage:
    """
    Everything that a run starts, in a temporary directory.

    @ivar directory: the directory.
    @ivar clocks: the clocks.
    @ivar port: where clients connect.
    @ivar adminPort: where administrators connect.
    @ivar proxy: the process of the proxy.
    @ivar backends: the backends by their names.
    @ivar agents: the agents by their names.
    """

    def __init__(self, carrier: str, clocks: Clocks) -> None:
        """
        @param carrier: one of L{CARRIERS}.
        @param clocks: the clocks.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="invproxy-chaos-"))
        self.clocks = clocks
        self.backends: dict[str, Backend] = {}
        self.agents: dict[str, Agent] = {}
        self._relays: list[Relay] = []
        count = 2 + sum(1 + 2 * len(agents) for _, agents in _CAST)
        self._ports = freePorts(count)
        self.port, self.adminPort = self._ports.pop(), self._ports.pop()
        self.proxy = Program(
            "proxy",
            [
                *(*_TWIST, "invproxy-server"),
                *("--listen", f"tcp:{self.port}:interface=127.0.0.1"),
                *("--admin-listen", f"tcp:{self.adminPort}:interface=127.0.0.1"),
                *(
                    "--access-log",
                    str(self.directory / "access.log"),
                    "--access-log-format",
                    "json",
                ),
                *clocks.ofProxy(),
            ],
            self.directory / "proxy.log",
        )
        for name, agents in _CAST:
            self._addBackend(name, agents, carrier)

    def _addBackend(self, name: str, cast: tuple[tuple[bool, str], ...], carrier: str) -> None:
        port = self._ports.pop()
        path = self.directory / f"{name}.journal"
        arguments = [sys.executable, "-m", "stage.origin", name, str(port), str(path)]
        origin = Program(f"origin of {name}", arguments, self.directory / f"origin-{name}.log")
        agents = [
            self._addAgent(
                f"{name}-{place}", name, port, relayed, mixed if carrier == "both" else carrier
            )
            for place, (relayed, mixed) in enumerate(cast, 1)
        ]
        self.backends[name] = Backend(name, agents, origin, JournalReader(path))

    def _addAgent(
        self, name: str, backend: str, originPort: int, relayed: bool, transport: str
    ) -> Agent:
        port = self.port
        relay = None
        if relayed:
            port = self._ports.pop()
            relay = Relay(port, self.port)
            self._relays.append(relay)
        program = Program(
            f"agent {name}",
            [
                *(*_TWIST, "invproxy-agent"),
                *("--proxy", f"http://127.0.0.1:{port}", "--backend", backend),
                *("--origin", f"http://127.0.0.1:{originPort}/{name}"),
                *("--transport", transport),
                *self.clocks.ofAgent(),
            ],
            self.directory / f"agent-{name}.log",
        )
        agent = self.agents[name] = Agent(name, backend, transport, program, relay)
        return agent

    def programs(self) -> list[Program]:
        """
        All programs, in the order of the way of an answer.
        """
        origins = [backend.origin for backend in self.backends.values()]
        return [*origins, *(agent.program for agent in self.agents.values()), self.proxy]

    async def start(self) -> None:
        """
        Start everything.

        @raise StageError: if something does not start.
        """
        for relay in self._relays:
            await relay.start()
        origins = [backend.origin for backend in self.backends.values()]
        for program in (self.proxy, *origins):
            program.start()
        await self.proxy.printed("proxy ready: ", _START_TIME)
        for origin in origins:
            await origin.printed("origin ready", _START_TIME)
        agents = list(self.agents.values())
        for agent in agents:
            agent.program.start()
        await asyncio.gather(
            *(agent.program.printed("agent ready: ", _START_TIME) for agent in agents)
        )
        for agent in agents:
            carrier = agent.transport.replace("auto", "tunnel")
            if f"over {carrier}" not in agent.program.tail(5):
                raise StageError(f"{agent.name} has another carrier:\n{agent.program.tail(5)}")

    def stop(self, *, keep: bool) -> None:
        """
        End everything.

        @param keep: whether the directory stays.
        """
        for program in self.programs():
            program.end()
        for relay in self._relays:
            relay.stop()
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)
