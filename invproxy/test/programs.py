"""
Real programs for the integration tests: each is started on free ports, awaited by what it prints, and ended by its
process ID. What it prints is shown where a test fails.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from twisted.trial.itrial import IReporter
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

DEADLINE = 120.0
"""Seconds within which everything happens that should, however loaded the machine is."""

Found = TypeVar("Found")

_news = threading.Condition()
"""Notified when a program has printed something, or has ended."""

_UNHEARD = 0.02
"""Seconds after which a condition is looked at again, as not all that may bring it about is heard of."""


def eventually(check: Callable[[], Found], what: str, seconds: float = DEADLINE) -> Found:
    """
    Wait until a condition holds.

    @param check: gives something true once it does.
    @param what: what is awaited, for the failure.
    @param seconds: for how long.
    @return: what C{check} gave.
    """
    end = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        with _news:
            _news.wait(_UNHEARD)
    return found


_PORTS = range(20000, 30000)
"""Ports that no system gives to those who ask for any: nobody has one by chance between its choice and its use."""

_claims: list[socket.socket] = []


def freePort() -> int:
    """
    Choose a port that nothing listens on, for a program that has to be told one, or comes back to it. No other process
    of these tests chooses the same as long as this one runs.
    """
    for port in random.sample(_PORTS, 100):
        claim = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                claim.bind(f"\0invproxy-test-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
        _claims.append(claim)
        return port
    raise AssertionError("no port is free")


def environment(added: Mapping[str, str] | None = None) -> dict[str, str]:
    """
    An environment in which nothing configures our programs, or sends them through somebody's proxy.
    """
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("INVPROXY_") and not name.lower().endswith("_proxy")
    }
    return {**clean, "PYTHONUNBUFFERED": "1", **(added or {})}


class Program:
    """
    A process, and what it has printed.

    @ivar name: what it is called in failures.
    @ivar process: the process.
    """

    running: list[Program] = []

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        added: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> None:
        """
        @param name: what it is called in failures.
        @param arguments: the command line.
        @param added: what to add to the environment.
        @param cwd: its working directory.
        """
        self.name = name
        self._lines: list[str] = []
        self._closed = False
        # In a session of its own: Ctrl-C ends the tests, and these then end it in order.
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=environment(added),
            cwd=cwd,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self._pipe = self.process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        self._rest = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        Program.running.append(self)

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        while not self._closed:
            poll.poll()
            self._take()
        self._pipe.close()

    def _take(self) -> None:
        """
        Take all that was printed until now.
        """
        with _news:
            while not self._closed:
                try:
                    data = os.read(self._pipe.fileno(), 65536)
                except BlockingIOError:
                    break
                *lines, self._rest = (self._rest + data).split(b"\n")
                if not data:
                    self._closed = True
                    lines = [self._rest] if self._rest else []
                self._lines += [line.decode("utf-8", "replace").rstrip("\r") for line in lines]
            _news.notify_all()

    def output(self, begin: int = 0) -> list[str]:
        """
        What it has printed until now. (A thread alone would come to it now and then later than to what another
        program has printed later.)

        @param begin: the first line wanted.
        """
        with _news:
            self._take()
            return self._lines[begin:]

    def waitFor(self, pattern: str, begin: int = 0, seconds: float = DEADLINE) -> re.Match[str]:
        """
        Wait until it has printed a line.

        @param pattern: a regular expression to be found in the line.
        @param begin: the first line to look at.
        @param seconds: for how long.
        """
        end = time.monotonic() + seconds
        with _news:
            while True:
                for line in self._lines[begin:]:
                    if found := re.search(pattern, line):
                        return found
                begin = max(begin, len(self._lines))
                left = end - time.monotonic()
                if self._closed or left <= 0:
                    why = "it ended" if self._closed else f"{seconds:g} s passed"
                    shown = "\n".join(self._lines[-60:])
                    raise AssertionError(f"{self.name}: {why} without {pattern!r}:\n{shown}")
                _news.wait(left)

    def count(self, pattern: str, begin: int = 0) -> int:
        """
        Count the lines in which a regular expression is found.
        """
        return sum(1 for line in self.output(begin) if re.search(pattern, line))

    def resident(self) -> int:
        """
        How many bytes of memory it has resident.
        """
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def countFiles(self) -> int:
        """
        How many files it has open, connections among them.
        """
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def terminate(self) -> None:
        """
        Ask it to end, by SIGTERM.
        """
        self.process.terminate()

    def waitEnd(self, seconds: float = DEADLINE) -> int:
        """
        Wait until it has ended.

        @return: its exit status; minus the number of the signal that ended it.
        """
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            shown = "\n".join(self.output()[-60:])
            raise AssertionError(f"{self.name} did not end in {seconds:g} s:\n{shown}") from None
        self._reader.join(5.0)
        if self in Program.running:
            Program.running.remove(self)
        return status

    def kill(self) -> None:
        """
        End it at once, by SIGKILL.
        """
        if self.process.poll() is None:
            self.process.kill()
        self.waitEnd()

    def freeze(self) -> None:
        """
        Stop it where it is, by SIGSTOP, and wait until it stands still.
        """
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """
        Let it go on, by SIGCONT.
        """
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """
        End it, politely first.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(5.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.waitEnd()


def _closeAll() -> None:
    for program in reversed(list(Program.running)):
        program.close()


atexit.register(_closeAll)

TWIST = (sys.executable, "-m", "twisted", "--log-format=text")


def limited(arguments: Sequence[str], ulimit: str) -> list[str]:
    """
    Have a program run with other limits.

    @param ulimit: options of the shell's command C{ulimit}; none leaves all as it is.
    """
    if not ulimit:
        return list(arguments)
    return ["sh", "-c", f'ulimit {ulimit} && exec "$@"', "sh", *arguments]


class Proxy(Program):
    """
    C{twist invproxy-server} on ports of its own.

    @ivar url: where clients and agents connect.
    @ivar port: the port in it.
    @ivar admin: where administrators connect.
    """

    def __init__(self, *options: str, port: int = 0, ulimit: str = "") -> None:
        """
        @param options: more options.
        @param port: the port to listen on; 0 is any free one.
        @param ulimit: options of the shell's command C{ulimit}, to be in force for the program.
        """
        listen = ("--listen", f"tcp:{port}:interface=127.0.0.1")
        admin = ("--admin-listen", "tcp:0:interface=127.0.0.1")
        arguments = [*TWIST, "invproxy-server", *listen, *admin, *options]
        super().__init__("proxy", limited(arguments, ulimit))
        found = self.waitFor(r"^proxy ready: (http://\S+:(\d+)) \(admin (http://\S+)\)$")
        self.url = found[1]
        self.port = int(found[2])
        self.admin = found[3]

    def status(self) -> dict[str, Any]:
        """
        What C{/api/status} says.
        """
        with urllib.request.urlopen(f"{self.admin}/api/status", timeout=DEADLINE) as response:
            found = json.load(response)
        assert isinstance(found, dict)
        return found

    def isReady(self) -> bool:
        """
        Whether C{/readyz} says so.
        """
        try:
            with urllib.request.urlopen(f"{self.admin}/readyz", timeout=DEADLINE):
                return True
        except urllib.error.HTTPError as error:
            with error:
                return False

    def backend(self, name: str) -> dict[str, Any]:
        """
        What C{/api/status} says of one backend; nothing, if it does not know it.
        """
        for backend in self.status()["backends"]:
            if backend["id"] == name:
                assert isinstance(backend, dict)
                return backend
        return {}

    def inFlight(self, name: str) -> int:
        """
        Count the exchanges of a backend that are not over.
        """
        exchanges = self.backend(name).get("exchanges", {})
        return sum(exchanges.values())


class Agent(Program):
    """
    C{twist invproxy-agent}.
    """

    def __init__(
        self,
        proxy: str,
        backend: str,
        origin: str,
        *options: str,
        added: Mapping[str, str] | None = None,
        ready: bool = True,
        ulimit: str = "",
    ) -> None:
        """
        @param proxy: the URL of the proxy.
        @param backend: the ID to serve.
        @param origin: the URL of the origin.
        @param options: more options.
        @param added: what to add to the environment.
        @param ready: whether to wait until it is ready.
        @param ulimit: as for a L{Proxy}.
        """
        named = ("--proxy", proxy, "--backend", backend, "--origin", origin)
        arguments = [*TWIST, "invproxy-agent", *named, *options]
        super().__init__(f"agent {backend}", limited(arguments, ulimit), added)
        if ready:
            self.waitReady()

    def waitReady(self, begin: int = 0) -> str:
        """
        Wait for its ready line.

        @return: how exchanges reach it.
        """
        return self.waitFor("^agent ready: .* over (.*)$", begin)[1]


@cache
def sharedProxy() -> Proxy:
    """
    A proxy for all tests that do no harm to theirs.
    """
    return Proxy()


@cache
def sharedAgent(backend: str, origin: str, transport: str = "auto") -> Agent:
    """
    An agent of the L{sharedProxy} for all tests that do no harm to theirs.

    @param backend: the ID to serve.
    @param origin: the URL of the origin.
    @param transport: how exchanges reach it.
    """
    return Agent(sharedProxy().url, backend, origin, "--transport", transport)


@implementer(IReporter)
class _Noticing:
    """
    A reporter that notices failures.
    """

    def __init__(self, result: Any) -> None:
        self._result = result
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._result, name)

    def addFailure(self, *arguments: Any) -> None:
        self.failed = True
        self._result.addFailure(*arguments)

    def addError(self, *arguments: Any) -> None:
        self.failed = True
        self._result.addError(*arguments)


class IntegrationTestCase(SynchronousTestCase):
    """
    Tests with real programs and real sockets. They wait for conditions, never for a time.
    """

    def run(self, result: Any) -> None:  # type: ignore[override]
        """
        Run the test; if it fails, show what the programs have printed meanwhile.
        """
        noticing = _Noticing(result)
        begins = {id(program): len(program.output()) for program in Program.running}
        self._ended: list[Program] = []
        super().run(noticing)
        if noticing.failed:
            for program in [*self._ended, *Program.running]:
                shown = program.output(begins.get(id(program), 0))[-200:]
                if not shown:
                    continue
                sys.stderr.write(f"\n[{self.id()}: {program.name}]\n" + "\n".join(shown) + "\n")

    def running(self, program: Found) -> Found:
        """
        End a program with the test.

        @return: the program.
        """
        assert isinstance(program, Program)
        self._ended.append(program)
        self.addCleanup(program.close)
        return program


CARRIERS: dict[str, dict[str, object]] = {
    "Tunnel": {"transport": "tunnel"},
    "Poll": {"transport": "poll"},
}
"""For L{variants}: each carrier."""


def variants(
    base: type[SynchronousTestCase], kinds: Mapping[str, Mapping[str, object]]
) -> dict[str, type[SynchronousTestCase]]:
    """
    Make several test cases of what they have in common.

    @param base: that; whoever calls removes it from their module, so that it is not run by itself.
    @param kinds: the attributes of each kind, by what its name begins with.
    @return: the test cases by their names, for the namespace of the module.
    """
    made = {}
    for kind, attributes in kinds.items():
        name = f"{kind}{base.__name__}Tests"
        made[name] = type(name, (base,), {"__module__": base.__module__, **attributes})
    return made
