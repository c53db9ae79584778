"""
How much memory the programs use, as time goes by.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from attrs import define

from stage.programs import Program

_GROWN_UP = 10.0
"""Seconds after which a process has loaded what it needs."""

MOST_GROWTH = 64 << 20
"""Bytes by which a process may grow from then on: its buffers in the worst moment, and no more in an hour."""


@define
class Life:
    """
    One process of a program.

    @ivar name: the program.
    @ivar seconds: how long it has lived.
    @ivar first: the bytes that it used when it had grown up.
    @ivar last: the bytes that it used in the end.
    @ivar most: the most bytes that it used at any time.
    """

    name: str
    seconds: float
    first: int
    last: int
    most: int

    def growth(self) -> int:
        """
        By how many bytes it has grown.
        """
        return self.last - self.first


class Memory:
    """
    The memory of all processes that have lived for long enough.
    """

    def __init__(self) -> None:
        self._lives: dict[tuple[str, int], Life] = {}

    def look(self, programs: Iterable[Program]) -> None:
        """
        Look at those that live.
        """
        for program in programs:
            age = time.monotonic() - program.since
            size = program.resident()
            if age < _GROWN_UP or not size:
                continue
            life = self._lives.setdefault(
                (program.name, program.starts), Life(program.name, age, size, size, size)
            )
            life.seconds, life.last, life.most = age, size, max(size, life.most)

    def lives(self) -> list[Life]:
        """
        The longest life of each program.
        """
        longest: dict[str, Life] = {}
        for life in self._lives.values():
            if life.name not in longest or life.seconds > longest[life.name].seconds:
                longest[life.name] = life
        return list(longest.values())

    def grown(self) -> list[Life]:
        """
        Those that have grown by too much.
        """
        return [life for life in self._lives.values() if life.growth() > MOST_GROWTH]
