"""
Every request of a run, and what became of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from attrs import define, field, frozen

from chaos.asks import Ask
from chaos.journal import Line

RIGHT = "right"
"""The answer that was asked for, whole."""

ERROR = "error"
"""A clear error: a status of 4xx or 5xx, with its code."""

CUT = "cut"
"""A right answer up to where it visibly broke off."""

SHORT = "short"
"""A right answer up to where it broke off, in a form that cannot show that: to HTTP/1.0, or by an origin."""

CLOSED = "closed"
"""Nothing, and the connection closed."""

REFUSED = "refused"
"""No connection."""

LEFT = "left"
"""The client went away."""

BEHIND = "behind"
"""Sent behind another request on a connection that ended with that."""

WRONG = "wrong"
"""Anything that must not happen."""

ENDLESS = "endless"
"""No end in time."""


@frozen
class Result:
    """
    How a request ended.

    @ivar outcome: one of the above.
    @ivar symptom: what has to be explained by a fault: the code of an error, or the outcome; empty for nothing.
    @ivar agent: the agent that brought the answer, if it says so.
    @ivar detail: for people.
    """

    outcome: str
    symptom: str = ""
    agent: str = ""
    detail: str = ""


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
    result: Result = Result("")
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
