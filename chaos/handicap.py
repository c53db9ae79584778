"""
A program whose time of day and whose resolver can be told to go wrong: C{python -m chaos.handicap FILE ARGUMENT...} is
C{python -m twisted ARGUMENT...}, and does what the file says when it starts, and again at each SIGUSR1.
"""

from __future__ import annotations

import json
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

WORKS, FAILS, HANGS = "works", "fails", "hangs"
"""What the resolver does: know every name for this machine, know none, give no answer."""

PATIENCE = 10.0
"""Seconds after which a look-up without an answer is given up, as resolvers do."""


@frozen
class Handicap:
    """
    What goes wrong.

    @ivar ahead: how many seconds the time of day is ahead.
    @ivar names: what the resolver does about names that end with C{.test}.
    """

    ahead: float = 0.0
    names: str = WORKS

    def write(self, file: Path) -> None:
        """
        Tell a program that starts, or is about to get a signal.
        """
        file.write_text(json.dumps(asdict(self)))


class _Present:
    """
    What goes wrong now.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.handicap = Handicap()
        self.read()

    def read(self) -> None:
        self.handicap = Handicap(**json.loads(self._file.read_text()))

    def clock(self, real: Callable[[], float]) -> Callable[[], float]:
        return lambda: real() + self.handicap.ahead

    def resolver(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def getaddrinfo(host: Any, *arguments: Any, **others: Any) -> Any:
            if not str(host).endswith(".test"):
                return real(host, *arguments, **others)
            end = time.monotonic() + PATIENCE
            while self.handicap.names == HANGS and time.monotonic() < end:
                time.sleep(0.05)
            if self.handicap.names != WORKS:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            return real("127.0.0.1", *arguments, **others)

        return getaddrinfo


def main() -> None:
    """
    Be the program.
    """
    present = _Present(Path(sys.argv[1]))
    # Before Twisted is imported, which keeps both functions.
    time.time = present.clock(time.time)
    socket.getaddrinfo = present.resolver(socket.getaddrinfo)
    signal.signal(signal.SIGUSR1, lambda *_: present.read())
    sys.argv = ["twist", *sys.argv[2:]]
    runpy.run_module("twisted", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
