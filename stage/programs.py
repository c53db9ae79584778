"""
Programs on a stage: processes of our own, which are started, killed, frozen and started again.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout; programs run in it, so that they use its copy of invproxy."""

_KILL_AFTER = 15.0


class StageError(Exception):
    """
    Why a run cannot begin or go on, in one line.
    """


def _environment() -> dict[str, str]:
    """
    An environment in which nothing configures our programs, or sends them through somebody's proxy.
    """
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("INVPROXY_") and not name.lower().endswith("_proxy")
    }
    return {**clean, "PYTHONUNBUFFERED": "1"}


class Program:
    """
    A program, of which there is one process at a time.

    @ivar name: what it is called in reports.
    @ivar starts: how many times it was started.
    @ivar since: when it was last, in seconds on the monotonic clock.
    @ivar log: the file with all that it has printed.
    @ivar isMeantToRun: whether nobody has ended it.
    """

    def __init__(self, name: str, arguments: list[str], log: Path) -> None:
        """
        @param name: what it is called in reports.
        @param arguments: the program and its arguments.
        @param log: the file for what it prints.
        """
        self.name = name
        self.starts = 0
        self.since = 0.0
        self.log = log
        self.isMeantToRun = False
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._isFrozen = False

    @property
    def pid(self) -> int:
        """
        The ID of its process, or 0.
        """
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """
        Start a process.
        """
        assert self._process is None, self.name
        with self.log.open("ab") as output:
            output.write(f"--- start {self.starts + 1} at {time.monotonic():.3f}\n".encode("ascii"))
            output.flush()
            # In a session of its own, so that Ctrl-C reaches the run alone, which then ends all in order.
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=_environment(),
                start_new_session=True,
            )
        self.starts += 1
        self.since = time.monotonic()
        self.isMeantToRun = True

    def status(self) -> int | None:
        """
        Its exit status, minus the number of the signal that ended it; L{None} while it runs.
        """
        return self._process.poll() if self._process is not None else 0

    async def printed(self, text: str, seconds: float) -> None:
        """
        Wait until the last process has printed something.

        @raise StageError: if it ends instead, or takes too long.
        """
        end = time.monotonic() + seconds
        while text not in self.log.read_text(errors="replace").rpartition("--- start ")[2]:
            if self.status() is not None or time.monotonic() > end:
                raise StageError(f"{self.name} did not start:\n{self.tail(15)}")
            await asyncio.sleep(0.05)

    # Its end.

    async def kill(self) -> None:
        """
        End the process at once.
        """
        if self._process is not None:
            self.isMeantToRun = False
            self._process.kill()
            await self._ended(_KILL_AFTER)

    async def terminate(self, seconds: float) -> int | None:
        """
        Ask the process to end.

        @param seconds: how long it may take for that; then it is killed.
        @return: its exit status, or L{None} if it took too long.
        """
        if self._process is None:
            return 0
        self.isMeantToRun = False
        self._process.terminate()
        status = await self._ended(seconds)
        if status is None:
            await self.kill()
        return status

    async def _ended(self, seconds: float) -> int | None:
        assert self._process is not None
        end = time.monotonic() + seconds
        while (status := self._process.poll()) is None:
            if time.monotonic() > end:
                return None
            await asyncio.sleep(0.02)
        self._process = None
        self._isFrozen = False
        return status

    def end(self) -> None:
        """
        End the process, as the run is over, whatever became of it.
        """
        if self._process is None:
            return
        self.isMeantToRun = False
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """
        Stop the process where it is.
        """
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            self._isFrozen = True

    def thaw(self) -> None:
        """
        Let it go on.
        """
        if self._process is not None and self._isFrozen:
            self._process.send_signal(signal.SIGCONT)
            self._isFrozen = False

    # What is known of it.

    def tail(self, lines: int) -> str:
        """
        The last lines that it has printed.
        """
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def tracebacks(self) -> list[str]:
        """
        The beginnings of the tracebacks that it has printed.
        """
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        marks = ("Traceback (most recent", "Unhandled", "exception was never retrieved")
        return [
            "\n".join(lines[max(0, at - 2) : at + 25])
            for at, line in enumerate(lines)
            if any(mark in line for mark in marks)
        ]

    def resident(self) -> int:
        """
        How many bytes of memory its process has in use; 0 if there is none.
        """
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")


def freePorts(count: int) -> list[int]:
    """
    Find ports that nobody listens on, out of those that are never given to clients: while nobody listens on one of
    the latter, a client that tries it again and again may at last be connected to itself.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = list(range(max(1024, first // 2), first))
    random.SystemRandom().shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            return found
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    raise StageError(f"fewer than {count} ports are free below {first}")
