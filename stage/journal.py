"""
What an origin has seen, in a file that outlives it: one line for each event, written at once.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from attrs import frozen

BEGUN = "begun"
"""The head of a request has come."""

WHOLE = "whole"
"""Its body has come, and is right."""

ANSWERED = "answered"
"""All of its answer was sent."""

BROKEN = "broken"
"""The connection ended before that."""

FAULTY = "faulty"
"""Something came that must not come."""


@frozen
class Line:
    """
    An event at an origin.

    @ivar what: which.
    @ivar number: the number of the request, 0 if there is none.
    @ivar time: when, in seconds on the monotonic clock that all processes share.
    @ivar detail: the agent that brought it, or what is wrong.
    """

    what: str
    number: int
    time: float
    detail: str


class Journal:
    """
    The origin's end.
    """

    def __init__(self, path: Path) -> None:
        """
        @param path: the file, which is continued if it is there.
        """
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, what: str, number: int, detail: str = "-") -> None:
        """
        Add a line.
        """
        line = f"{what} {number} {time.monotonic():.4f} {detail!r}\n"
        os.write(self._file, line.encode("ascii", "backslashreplace"))


class JournalReader:
    """
    The end of who wants to know.
    """

    def __init__(self, path: Path) -> None:
        """
        @param path: the file.
        """
        self._path = path
        self._offset = 0

    def read(self) -> list[Line]:
        """
        Read what has been added.
        """
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines = []
        for line in whole.decode("ascii").splitlines():
            what, number, when, detail = line.split(" ", 3)
            lines.append(Line(what, int(number), float(when), detail.strip("'")))
        return lines
