"""
The programs that are compared, each a process of its own on loopback, and their orderly end.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
"""The checkout; programs run in it, so that they use its copy of invproxy."""

_START_TIMEOUT = 20.0
_STOP_TIMEOUT = 5.0
_SHOWN = 20


class BenchmarkError(Exception):
    """
    Why a benchmark cannot go on, in one line.
    """


class Program:
    """
    A process that runs until the end of its L{Stage}.

    @ivar name: what it is, in reports.
    @ivar pid: the ID of its process.
    @ivar usual: a regular expression for the lines that it prints when all is well, or L{None} when nobody cares.
    """

    def __init__(
        self, name: str, arguments: list[str], log: Path, usual: str | None = None
    ) -> None:
        """
        @param name: what it is, in reports.
        @param arguments: the program and its arguments.
        @param log: where its output goes.
        @param usual: a regular expression for the lines that it prints when all is well.
        """
        self.name = name
        self.usual = usual
        self._log = log
        # They talk to each other, whatever proxy the rest of this machine goes through.
        environment = {
            **os.environ,
            "NO_PROXY": "*",
            "no_proxy": "*",
            "PYTHONUNBUFFERED": "1",
        }
        with log.open("wb") as output:
            # In a session of its own, so that Ctrl-C reaches the benchmark alone, which then ends
            # its programs in order.
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def output(self) -> str:
        """
        What it has printed so far.
        """
        return self._log.read_text(errors="replace")

    def complaints(self) -> list[str]:
        """
        What it has printed that it should not.
        """
        if self.usual is None:
            return []
        return [line for line in self.output().splitlines() if not re.match(self.usual, line)]

    def require(self) -> None:
        """
        @raise BenchmarkError: if it has ended.
        """
        status = self._process.poll()
        if status is not None:
            last = (self.output().strip().splitlines() or ["it printed nothing"])[-1]
            raise BenchmarkError(f"the {self.name} ended with status {status}: {last}")

    def wait(self, isReady: Callable[[], bool], within: float = _START_TIMEOUT) -> None:
        """
        Wait until it is ready.

        @param isReady: says whether it is.
        @param within: how many seconds it may take.
        @raise BenchmarkError: if it ends instead, or takes too long.
        """
        deadline = time.monotonic() + within
        while not isReady():
            self.require()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"the {self.name} was not ready within {within:.0f} s")
            time.sleep(0.02)

    def waitFor(self, pattern: str, within: float = _START_TIMEOUT) -> re.Match[str]:
        """
        Wait until it has printed something.

        @param pattern: a regular expression for it.
        @param within: how many seconds it may take.
        @raise BenchmarkError: if it ends instead, or takes too long.
        """
        self.wait(lambda: re.search(pattern, self.output()) is not None, within)
        found = re.search(pattern, self.output())
        assert found is not None
        return found

    def waitPort(self, port: int) -> None:
        """
        Wait until it listens on a port.

        @raise BenchmarkError: if it ends instead, or takes too long.
        """

        def isListening() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        self.wait(isListening)

    def stop(self) -> None:
        """
        End it, politely first.
        """
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Stage:
    """
    A temporary directory, and the programs of a suite; both are gone at the end of C{with}.

    @ivar directory: the directory.
    """

    def __init__(self) -> None:
        self._exits = ExitStack()
        self._programs: list[Program] = []
        self._count = 0

    def __enter__(self) -> Stage:
        temporary = TemporaryDirectory(prefix="invproxy-bench-", ignore_cleanup_errors=True)
        self.directory = Path(self._exits.enter_context(temporary))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for program in self._programs:
            complaints = program.complaints()
            for line in complaints[:_SHOWN]:
                print(f"the {program.name} printed: {line}", file=sys.stderr, flush=True)
            if len(complaints) > _SHOWN:
                print(f"... and {len(complaints) - _SHOWN} lines more", file=sys.stderr, flush=True)
        self._exits.close()

    def path(self, name: str) -> Path:
        """
        Name a new file in the directory.
        """
        self._count += 1
        return self.directory / f"{self._count:02}-{re.sub('[^a-z.]+', '-', name)}"

    def run(self, name: str, *arguments: str, usual: str | None = None) -> Program:
        """
        Start a program.

        @param name: what it is, in reports.
        @param arguments: the program and its arguments.
        @param usual: a regular expression for the lines that it prints when all is well; others are shown at the end.
        """
        program = Program(name, list(arguments), self.path(f"{name}.log"), usual)
        self._programs.append(program)
        self._exits.callback(program.stop)
        return program


def require(*names: str) -> None:
    """
    @raise BenchmarkError: if one of these programs is not installed.
    """
    missing = [name for name in names if not find(name)]
    if missing:
        them = " and ".join(missing)
        raise BenchmarkError(
            f"not installed: {them}; on Debian: apt-get install {' '.join(missing)}"
        )


def find(name: str) -> str | None:
    """
    Find a program, also where only root has it in its path.
    """
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def raiseFileLimit() -> int:
    """
    Let this process and its programs have as many files open as they may.

    @return: how many these are.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def requireFiles(count: int) -> None:
    """
    @raise BenchmarkError: if no process may have so many connections.
    """
    most = raiseFileLimit()
    if count + 200 > most:
        raise BenchmarkError(
            f"{count:,} connections in one process, where {most:,} files may be open: see ulimit -Hn"
        )


def versionOf(name: str) -> str:
    """
    Ask nginx or wrk for its version.
    """
    done = subprocess.run([find(name) or name, "-v"], capture_output=True, text=True, check=False)
    said = re.search(r"nginx/(\S+)|wrk (?:debian/)?(\S+)", done.stdout + done.stderr)
    return (said[1] or said[2]) if said else "unknown"


def freePort() -> int:
    """
    Find a port that nobody listens on.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
