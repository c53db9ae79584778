"""
The setting of the fault matrix: one proxy with a registry, one agent behind a relay, and one origin.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from random import Random
from typing import Any

from attrs import frozen

from chaos.asker import Asker
from chaos.clients import Client, World
from chaos.clocks import Clocks
from chaos.handicap import Handicap
from chaos.ledger import Entry, Ledger
from chaos.relay import Relay
from stage.journal import JournalReader
from stage.programs import Program, StageError, freePorts

BACKEND, AGENT = "web", "near"

LOOPBACK = "127.0.0.1"

_START_TIME = 30.0


@frozen
class Place:
    """
    Where the agent and the origin are.

    @ivar proxy: the address at which the agent finds the proxy; if empty, it goes through a relay.
    @ivar prefix: a command that runs a program there.
    """

    proxy: str = ""
    prefix: tuple[str, ...] = ()


HERE = Place()

CLOCKS = Clocks(
    queue=6.0,
    claim=3.0,
    response=6.0,
    idle=5.0,
    head=5.0,
    poll=5.0,
    connect=3.0,
    link=4.0,
    drain=10.0,
    agentDrain=10.0,
)


class Handicapped(Program):
    """
    A program of ours whose clock, resolver and files can go wrong.
    """

    def __init__(
        self, name: str, arguments: list[str], log: Path, prefix: tuple[str, ...] = ()
    ) -> None:
        """
        @param name: what it is called in reports.
        @param arguments: those of C{twist}.
        @param log: the file for what it prints.
        @param prefix: a command that runs it elsewhere, as itself.
        """
        self._file = log.with_suffix(".handicap")
        Handicap().write(self._file)
        begin = [*prefix, sys.executable, "-m", "chaos.handicap", str(self._file)]
        super().__init__(name, [*begin, "--log-format=text", *arguments], log)

    def suffer(self, handicap: Handicap) -> None:
        """
        Have something go wrong, or nothing any more.
        """
        handicap.write(self._file)
        os.kill(self.pid, signal.SIGUSR1)


def starve(pid: int) -> None:
    """
    Let a process open nothing any more.
    """
    taken = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    lowest = next(number for number in range(len(taken) + 1) if number not in taken)
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, hard))


def feed(pid: int) -> None:
    """
    Let it open as much as it may.
    """
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))


class Setting:
    """
    All programs, and who asks.

    @ivar clocks: how long they wait for what.
    @ivar room: the directory with the database and all logs.
    @ivar ledger: all requests.
    @ivar asker: what makes them up.
    @ivar client: who asks.
    @ivar proxy: the process of the proxy.
    @ivar agent: that of the agent.
    @ivar origin: that of the origin.
    @ivar relay: what the agent reaches the proxy through.
    @ivar complaints: what must not have happened.
    @ivar ending: the end of a program that was asked to end.
    @ivar logged: how many bytes the access log had.
    """

    def __init__(self, carrier: str, directory: Path, room: Path, place: Place = HERE) -> None:
        """
        @param carrier: what the agent uses.
        @param directory: for the journal, which must never be full.
        @param room: the directory with the database and all logs.
        @param place: where the agent and the origin are.
        """
        self.clocks = CLOCKS
        self.room = room
        self.complaints: list[str] = []
        self.ending: asyncio.Future[None] | None = None
        self.logged = 0
        self.ledger = Ledger(lambda entry: None)
        self.asker = Asker(Random(0))
        self._carrier = carrier
        self._token = directory / "token"
        port, self._admin, relayed, origin = freePorts(4)
        world = World(port, self.ledger, self.asker, 90.0, self._complain)
        self.client = Client("client", world, Random(0), BACKEND, leaving=0.0)
        self.relay = Relay(relayed, port)
        journal = directory / "journal"
        self._journal = JournalReader(journal)
        listens = {LOOPBACK, place.proxy or LOOPBACK}
        self.proxy = Handicapped(
            "proxy",
            [
                "invproxy-server",
                *(
                    text
                    for host in listens
                    for text in ("--listen", f"tcp:{port}:interface={host}")
                ),
                *("--admin-listen", f"tcp:{self._admin}:interface={LOOPBACK}"),
                *("--database", f"sqlite:{room / 'registry.db'}"),
                *("--access-log", str(self.accessLog), *self.clocks.ofProxy()),
            ],
            room / "proxy.log",
        )
        way = f"http://{place.proxy}:{port}" if place.proxy else f"http://proxy.test:{relayed}"
        self.agent = Handicapped(
            "agent",
            [
                *("invproxy-agent", "--proxy", way, "--backend", BACKEND),
                *("--origin", f"http://origin.test:{origin}/{AGENT}"),
                *("--transport", carrier, "--token-file", str(self._token)),
                *self.clocks.ofAgent(),
            ],
            room / "agent.log",
            place.prefix,
        )
        self.origin = Program(
            "origin",
            [
                *place.prefix,
                *(sys.executable, "-m", "stage.origin", BACKEND, str(origin), str(journal)),
            ],
            room / "origin.log",
        )

    @property
    def accessLog(self) -> Path:
        """
        The access log of the proxy.
        """
        return self.room / "access.log"

    @property
    def programs(self) -> tuple[Program, ...]:
        """
        All programs.
        """
        return self.origin, self.agent, self.proxy

    def _complain(self, entry: Entry, what: str) -> None:
        self.complaints.append(f"{entry.ask.number}: {what}")

    async def start(self) -> None:
        """
        Start everything.

        @raise StageError: if something does not start.
        """
        await self.relay.start()
        self.origin.start()
        self.proxy.start()
        await self.origin.printed("origin ready", _START_TIME)
        await self.proxyReady()
        status, _ = await self.admin("POST", "/api/backends", recordOf(BACKEND))
        minted, answer = await self.admin(
            "POST", f"/api/backends/{BACKEND}/tokens", {"name": "one"}
        )
        if (status, minted) != (201, 201):
            raise StageError(f"the backend could not be registered: {status}, {minted} {answer}")
        self._token.write_text(answer["token"])
        self.agent.start()
        await self.agent.printed("agent ready: ", _START_TIME)
        if f"over {self._carrier}" not in self.agent.tail(5):
            raise StageError(f"the agent has another carrier:\n{self.agent.tail(5)}")

    async def proxyReady(self) -> None:
        """
        Wait until the proxy has started.
        """
        await self.proxy.printed("proxy ready: ", _START_TIME)

    def stop(self) -> None:
        """
        End everything.
        """
        for program in self.programs:
            program.end()
        self.relay.stop()

    async def admin(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """
        Call the admin API.

        @return: the status, and what came.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{self._admin}{path}", data, method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def call() -> tuple[int, Any]:
            try:
                with opener.open(request, timeout=20.0) as answer:
                    text = answer.read()
                    isJSON = "json" in answer.headers.get("Content-Type", "")
                    return answer.status, json.loads(text) if isJSON else text
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode("utf-8", "replace")

        return await asyncio.get_running_loop().run_in_executor(None, call)

    def readJournal(self) -> None:
        """
        Give what the origin saw to the requests that it concerns.
        """
        for line in self._journal.read():
            entry = self.ledger.entries.get(line.number)
            if entry is None:
                self.complaints.append(f"the origin has {line}")
            else:
                entry.seen.append(line)


def recordOf(id: str) -> dict[str, object]:
    """
    Make the record of a backend that everybody may visit below its name.
    """
    return {
        "id": id,
        "endUser": "allUsers",
        "backendUser": "agent@example.com",
        "pathPrefixes": [f"/{id}/"],
    }
