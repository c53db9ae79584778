"""
Who plays in a soak run: one proxy with a registry, three backends with two agents each, their origins, and a provider
with which people sign in.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sys
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any

from attrs import define, frozen

from invproxy.auth.passwords import hashPassword
from soak.calls import Admin
from soak.provider import CLIENT
from soak.visitors import Who
from stage.journal import JournalReader
from stage.programs import Program, StageError, freePorts

_START_TIME = 60.0
_TELL_TIME = 30.0
_PASSWORDS = 6
"""How many people have passwords."""

GUEST = "guest"
"""A backend that comes and goes with its record, its tokens and its agent."""

PEOPLE = "*@soak.example"
"""Who may visit what is not for all."""


@frozen
class Part:
    """
    What is known of a backend beforehand.

    @ivar users: who may visit it.
    @ivar carriers: those of its agents; the first of them stays for the whole run if C{stays}.
    @ivar stays: whether the first agent does.
    """

    users: tuple[str, ...]
    carriers: tuple[str, ...]
    stays: bool = True


PARTS = {
    "tunneled": Part((PEOPLE,), ("tunnel", "tunnel")),
    "polled": Part(("allUsers",), ("poll", "poll")),
    "mixed": Part(("allUsers", PEOPLE), ("auto", "poll"), stays=False),
}


class Player(Program):
    """
    A program of ours that tells what is alive in it.

    @ivar socket: where.
    """

    def __init__(self, name: str, command: str, options: list[str], directory: Path) -> None:
        """
        @param name: what it is called in reports.
        @param command: the command of C{twist}.
        @param options: its options.
        @param directory: where its log and its socket are.
        """
        self.socket = directory / f"{name}.sock"
        arguments = [sys.executable, "-m", "soak.program", str(self.socket), command, *options]
        super().__init__(name, arguments, directory / f"{name}.log")

    async def tell(self) -> dict[str, Any]:
        """
        Ask what is alive in it.

        @return: what L{soak.program.count} says.
        @raise StageError: if it does not say.
        """
        try:
            async with asyncio.timeout(_TELL_TIME):
                reader, writer = await asyncio.open_unix_connection(self.socket)
                told: dict[str, Any] = json.loads(await reader.read())
                writer.close()
        except (OSError, TimeoutError, ValueError) as error:
            raise StageError(f"{self.name} does not tell: {type(error).__name__} {error}") from None
        return told


@define(eq=False)
class Agent:
    """
    An agent.

    @ivar name: its name, which it puts in front of each target.
    @ivar backend: what it serves.
    @ivar program: its process.
    @ivar stays: whether it stays for the whole run.
    @ivar tokenFile: where its token is.
    @ivar token: the name of that.
    """

    name: str
    backend: str
    program: Player
    stays: bool
    tokenFile: Path
    token: str = ""


class Cast:
    """
    Everything that a run starts, in a temporary directory.

    @ivar directory: the directory.
    @ivar port: where visitors connect.
    @ivar admin: the admin API.
    @ivar proxy: the process of the proxy.
    @ivar origins: those of the origins, by backends.
    @ivar journals: what these have seen, likewise.
    @ivar agents: the agents of the backends that stay.
    @ivar guest: the one of L{GUEST}, which is not started.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="invproxy-soak-"))
        ports = freePorts(4 + len(PARTS))
        self.port, adminPort, providerPort = ports.pop(), ports.pop(), ports.pop()
        self.admin = Admin(adminPort)
        self._passwords = {
            f"person{number}@soak.example": secrets.token_hex(8) for number in range(_PASSWORDS)
        }
        users = self.directory / "users"
        users.write_text(
            "".join(f"{user}:{hashPassword(word)}\n" for user, word in self._passwords.items())
        )
        users.chmod(0o600)
        self._provider = Program(
            "provider",
            [sys.executable, "-m", "soak.provider", str(providerPort)],
            self.directory / "provider.log",
        )
        self.proxy = Player(
            "proxy",
            "invproxy-server",
            [
                *("--listen", f"tcp:{self.port}:interface=127.0.0.1"),
                *("--admin-listen", f"tcp:{adminPort}:interface=127.0.0.1"),
                *("--database", f"sqlite:{self.directory / 'registry.sqlite'}"),
                *("--auth", f"scrypt-file:{users}"),
                *("--oidc-issuer", f"http://127.0.0.1:{providerPort}"),
                *("--oidc-client-id", CLIENT),
                *("--access-log", str(self.directory / "access.log")),
                *("--access-log-format", "json"),
            ],
            self.directory,
        )
        self.origins: dict[str, Program] = {}
        self.journals: dict[str, JournalReader] = {}
        self.agents: list[Agent] = []
        for backend, part in PARTS.items():
            port = ports.pop()
            self._addOrigin(backend, port)
            for place, carrier in enumerate(part.carriers, 1):
                agent = self._makeAgent(f"{backend}-{place}", backend, port, carrier)
                agent.stays = part.stays and place == 1
                self.agents.append(agent)
        port = ports.pop()
        self._addOrigin(GUEST, port)
        self.guest = self._makeAgent("guest-1", GUEST, port, "auto")

    def _addOrigin(self, backend: str, port: int) -> None:
        path = self.directory / f"{backend}.journal"
        self.origins[backend] = Program(
            f"origin of {backend}",
            [sys.executable, "-m", "soak.origin", backend, str(port), str(path)],
            self.directory / f"origin-{backend}.log",
        )
        self.journals[backend] = JournalReader(path)

    def _makeAgent(self, name: str, backend: str, originPort: int, carrier: str) -> Agent:
        tokenFile = self.directory / f"{name}.token"
        program = Player(
            name,
            "invproxy-agent",
            [
                *("--proxy", f"http://127.0.0.1:{self.port}", "--backend", backend),
                *("--origin", f"http://127.0.0.1:{originPort}/{name}"),
                *("--transport", carrier, "--forward-user-id", "--token-file", str(tokenFile)),
            ],
            self.directory,
        )
        return Agent(name, backend, program, False, tokenFile)

    # What they are.

    def programs(self) -> list[Program]:
        """
        All programs that are meant to run all the time, and the guest.
        """
        agents = [agent.program for agent in (*self.agents, self.guest)]
        return [self._provider, *self.origins.values(), *agents, self.proxy]

    def players(self) -> list[Player]:
        """
        The programs that tell what is alive in them: the proxy, and the agents that run now.
        """
        return [self.proxy, *(agent.program for agent in self.agents if agent.program.pid)]

    def people(self) -> list[Who]:
        """
        Those who have passwords.
        """
        found = []
        for user, word in self._passwords.items():
            code = b64encode(f"{user}:{word}".encode("ascii")).decode("ascii")
            found.append(Who(user, (f"Authorization: Basic {code}",)))
        return found

    # Beginning and end.

    async def start(self) -> None:
        """
        Start everything.

        @raise StageError: if something does not start.
        """
        for program in (self._provider, *self.origins.values(), self.proxy):
            program.start()
        await self._provider.printed("provider ready", _START_TIME)
        for origin in self.origins.values():
            await origin.printed("origin ready", _START_TIME)
        await self.proxy.printed("proxy ready: ", _START_TIME)
        for backend, part in PARTS.items():
            await self.admin.makeBackend(backend, *part.users)
        for agent in self.agents:
            await self.giveToken(agent)
            agent.program.start()
        for agent in self.agents:
            await self.isReady(agent)

    async def isReady(self, agent: Agent) -> None:
        """
        Wait until an agent serves.

        @raise StageError: if it does not.
        """
        await agent.program.printed("agent ready: ", _START_TIME)

    async def giveToken(self, agent: Agent) -> str:
        """
        Make a new token for an agent, and put it into its file.

        @return: the name of the one that it had before, or nothing.
        """
        former, agent.token = agent.token, f"{agent.name}-{secrets.token_hex(4)}"
        secret = await self.admin.makeToken(agent.backend, agent.token)
        draft = agent.tokenFile.with_suffix(".draft")
        draft.write_text(secret + "\n")
        draft.chmod(0o600)
        os.replace(draft, agent.tokenFile)
        return former

    async def revoke(self, backend: str, token: str) -> None:
        """
        Revoke a token.
        """
        await self.admin.ask("DELETE", f"backends/{backend}/tokens/{token}")

    def stop(self, *, keep: bool) -> None:
        """
        End everything.

        @param keep: whether the directory stays.
        """
        for program in reversed(self.programs()):
            program.end()
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)
