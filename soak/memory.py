"""
How much memory programs use, as time goes by.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from statistics import linear_regression, median

from attrs import define, field

from stage.programs import Program

MOST_GROWTH = 0.10
"""By which share of its level after warm-up a process may have grown at the end."""

_LEVEL = 5
"""How many samples in a row make up a level; their median is it."""

_SPAN = 10
_LEAST_SPANS = 5


@define
class Course:
    """
    The memory of one process.

    @ivar name: the program.
    @ivar samples: seconds on the monotonic clock, and bytes.
    @ivar warm: the level after warm-up, in bytes; 0 until then.
    @ivar since: when that was.
    """

    name: str
    samples: list[tuple[float, int]] = field(factory=list)
    warm: int = 0
    since: float = 0.0

    def level(self) -> int:
        """
        The level now.
        """
        return int(median(size for _, size in self.samples[-_LEVEL:]))

    def most(self) -> int:
        """
        The most at any time.
        """
        return max(size for _, size in self.samples)

    def growth(self) -> float:
        """
        The share of the level after warm-up by which it has grown.
        """
        return self.level() / self.warm - 1.0

    def slope(self) -> float | None:
        """
        By how many bytes a second it has grown since then, by the line that fits best through the medians of
        L{_SPAN} samples each: passwords take much memory while they
        are checked. L{None} after too short a time.
        """
        later = [sample for sample in self.samples if sample[0] > self.since]
        spans = [later[at : at + _SPAN] for at in range(0, len(later) - _SPAN + 1, _SPAN)]
        if len(spans) < _LEAST_SPANS:
            return None
        times = [span[_SPAN // 2][0] for span in spans]
        return linear_regression(times, [median(size for _, size in span) for span in spans]).slope


class Memory:
    """
    The memory of programs that run all the time.
    """

    def __init__(self, programs: Iterable[Program]) -> None:
        """
        @param programs: these programs.
        """
        self.courses = {program.name: Course(program.name) for program in programs}
        self._programs = list(programs)

    def look(self) -> None:
        """
        Take a sample of each.
        """
        for program in self._programs:
            size = program.resident()
            if size:
                self.courses[program.name].samples.append((time.monotonic(), size))

    def isWarm(self) -> None:
        """
        Take note that warm-up is over.
        """
        for course in self.courses.values():
            course.warm, course.since = course.level(), time.monotonic()

    def grown(self) -> list[Course]:
        """
        Those that have grown by too much.
        """
        return [course for course in self.courses.values() if course.growth() > MOST_GROWTH]
