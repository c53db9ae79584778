"""
Every request of a run, and what became of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from attrs import define, field

from stage.asks import Ask
from stage.journal import Line
from stage.results import Result

_OPEN = Result("")


@define(eq=False)
class Entry:
    """
    A request.

    @ivar ask: what was asked.
    @ivar client: who asked.
    @ivar began: when, in seconds on the monotonic clock.
    @ivar ended: when that was over, or 0.
    @ivar result: how.
    @ivar seen: what its origin saw of it.
    """

    ask: Ask
    client: str
    began: float
    ended: float = 0.0
    result: Result = _OPEN
    seen: list[Line] = field(factory=list)

    def timesBegun(self, what: str) -> int:
        """
        Count the events of one kind at its origin.
        """
        return sum(line.what == what for line in self.seen)

    def overlap(self, began: float, ended: float) -> float:
        """
        Say for how many seconds it and something else went on at once; less than 0 if they did not.
        """
        return min(self.ended, ended) - max(self.began, began)


class Ledger:
    """
    All requests.

    @ivar entries: those that there were, by their numbers.
    """

    def __init__(self, ended: Callable[[Entry], None]) -> None:
        """
        @param ended: called for each that is over.
        """
        self.entries: dict[int, Entry] = {}
        self._ended = ended
        self._unchecked: list[Entry] = []

    def open(self, ask: Ask, client: str) -> Entry:
        """
        Take note of a request that begins now.
        """
        entry = self.entries[ask.number] = Entry(ask, client, time.monotonic())
        return entry

    def close(self, entry: Entry, result: Result) -> None:
        """
        Take note of its end.
        """
        entry.ended = time.monotonic()
        entry.result = result
        self._unchecked.append(entry)
        self._ended(entry)

    def takeUnchecked(self, before: float) -> Iterator[Entry]:
        """
        Take those that ended before a time, each once.
        """
        taken = [entry for entry in self._unchecked if entry.ended < before]
        self._unchecked = [entry for entry in self._unchecked if entry.ended >= before]
        yield from taken

    def countOpen(self) -> int:
        """
        Count those that are not over.
        """
        return sum(not entry.ended for entry in self.entries.values())
