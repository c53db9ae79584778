"""
What must hold of every request of a run, whatever goes wrong.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from attrs import frozen

from chaos.clocks import Clocks
from chaos.faults import ORIGIN_KILLED, PROXY_KILLED, Kind
from chaos.ledger import Entry, Ledger
from chaos.stage import Stage
from chaos.troubles import Trouble, Troubles
from stage.asks import LONGEST
from stage.journal import BEGUN, FAULTY, Line
from stage.results import ENDLESS, LEFT, RIGHT, SHORT, WRONG

_MARGIN = 5.0
_GRACE = 1.0
"""Seconds after a recovery in which there may still be symptoms."""

_SETTLED = 1.5
"""Seconds after the end of a request within which its origin's journal was read."""

_MOST_BEGINNINGS = 9
"""How often an idempotent request may be begun: by three agents, which each try a kept connection first."""

_MOST_LEASES = 2
"""How often a request is offered to an agent that stands still, when there is another: by its two polls."""

_UNTOUCHED = frozenset(("draining", "no-backend", "queue-timeout", "too-many-pending"))
"""Errors that say that nobody has begun with a request."""


@frozen
class Bounds:
    """
    How long requests may take, in seconds.

    @ivar once: one that is never sent again.
    @ivar again: one that may be, to a third agent.
    """

    once: float
    again: float

    @classmethod
    def of(cls, clocks: Clocks) -> Bounds:
        """
        Add up the clocks.
        """
        untilAnswer = clocks.queue + clocks.claim + clocks.response
        rest = clocks.idle + 3 * LONGEST + _MARGIN
        return cls(untilAnswer + rest, 3 * untilAnswer + rest)

    def ofEntry(self, entry: Entry) -> float:
        """
        The bound of a request.
        """
        return self.again if entry.ask.mayBeginAgain() else self.once

    def __str__(self) -> str:
        return (
            f"{self.once:g} s (queue + claim + response + idle timeout, {3 * LONGEST:g} s of sending and thinking, "
            f"{_MARGIN:g} s), {self.again:g} s if it may go to three agents; "
            "and for as much longer as something stood still"
        )


class Checks:
    """
    Looks at requests that are over, and at what origins saw.

    @ivar bounds: how long requests may take.
    @ivar slowest: how long the longest requests took, and their bounds, in seconds: of those that are never sent again
        (C{"once"}), and of those that may be (C{"again"}).
    @ivar spared: how many requests there were while some agents of their backend were in one kind of trouble and one
        was well, and how many of these were answered right.
    @ivar agains: how many requests an origin has seen more than once, as it may.
    """

    def __init__(self, stage: Stage, ledger: Ledger, troubles: Troubles) -> None:
        """
        @param stage: where all is.
        @param ledger: the requests.
        @param troubles: what went wrong when.
        """
        self.bounds = Bounds.of(stage.clocks)
        self.slowest: dict[str, tuple[float, float]] = {}
        self.spared: dict[Kind, tuple[int, int]] = {}
        self.agains = 0
        self._stage = stage
        self._ledger = ledger
        self._troubles = troubles

    def readJournals(self) -> Iterable[tuple[Entry | None, str]]:
        """
        Look at what origins saw.

        @return: what is wrong, and with which request.
        """
        for backend in self._stage.backends.values():
            for line in backend.journal.read():
                entry = self._ledger.entries.get(line.number)
                if entry is None:
                    yield None, f"{backend.origin.name} has {line}"
                    continue
                entry.seen.append(line)
                if line.what == FAULTY:
                    yield entry, f"its origin could not read it: {line.detail}"
                elif line.what == BEGUN:
                    yield from self._begun(entry, line)

    def _begun(self, entry: Entry, line: Line) -> Iterable[tuple[Entry, str]]:
        count = entry.timesBegun(BEGUN)
        if count > 1:
            self.agains += count == 2
            if not entry.ask.mayBeginAgain() or count > _MOST_BEGINNINGS:
                yield entry, f"begun {count} times"
        if entry.ended and line.time > entry.ended:
            yield from self._checkUntouched(entry, line)
        agent = self._stage.agents.get(line.detail)
        if agent is None or agent.backend != entry.ask.backend:
            yield entry, f"brought by agent {line.detail}"

    def look(self, *, final: bool = False) -> Iterable[tuple[Entry, str]]:
        """
        Look at the requests that ended a moment ago.

        @param final: whether that is all there will be.
        @return: what is wrong.
        """
        before = time.monotonic() + (1.0 if final else -_SETTLED)
        for entry in self._ledger.takeUnchecked(before):
            result = entry.result
            if result.outcome in (WRONG, ENDLESS):
                yield entry, result.outcome
            elif result.outcome == RIGHT and not entry.timesBegun(BEGUN):
                yield entry, "answered without its origin"
            elif result.symptom and not self._isExplained(entry):
                yield entry, f"{result.symptom} for no reason"
            for line in entry.seen:
                if line.time <= entry.ended:
                    yield from self._checkUntouched(entry, line)
            yield from self._checkTime(entry)
            yield from self._checkBeginning(entry)
            self._countSpared(entry)

    def lookBack(self) -> Iterable[tuple[Entry, str]]:
        """
        Look for requests without an end, when all should have one.

        @return: what is wrong.
        """
        for entry in self._ledger.entries.values():
            if not entry.ended:
                yield entry, "has no end"

    def _troublesOf(self, entry: Entry) -> dict[str, list[Trouble]]:
        agents = self._stage.backends[entry.ask.backend].agents
        began = entry.began - _GRACE
        return {
            agent.name: self._troubles.during(agent.name, began, entry.ended) for agent in agents
        }

    def _isExplained(self, entry: Entry) -> bool:
        """
        Say whether what went wrong at the time may lead to the symptom.
        """
        symptom = entry.result.symptom
        troubles = self._troublesOf(entry)
        faults = [
            fault
            for each in troubles.values()
            for trouble in each
            for fault in trouble.faults
            if fault.began <= entry.ended
        ]
        kinds = {fault.kind for fault in faults}
        if symptom == SHORT:
            if entry.ask.form == "close" and ORIGIN_KILLED in kinds:
                return True
            return not entry.ask.minor and PROXY_KILLED in kinds
        if not any(symptom in kind.explains for kind in kinds):
            return False
        # One agent that works is enough for what was not begun yet.
        return symptom != "queue-timeout" or self._anyCommon(list(troubles.values()), entry)

    def _anyCommon(self, troubles: list[list[Trouble]], entry: Entry) -> bool:
        """
        Say whether at some time all agents were in trouble at once.
        """
        began = entry.began - _GRACE
        moments = [began, *(trouble.began for each in troubles for trouble in each)]
        return any(
            all(
                any(
                    trouble.began <= moment
                    and (not trouble.ended or trouble.ended + _GRACE >= moment)
                    for trouble in each
                )
                for each in troubles
            )
            for moment in moments
            if began <= moment <= entry.ended
        )

    def _checkUntouched(self, entry: Entry, line: Line) -> Iterable[tuple[Entry, str]]:
        """
        An error that says that nobody has begun is true.
        """
        untouched = entry.result.symptom in _UNTOUCHED
        if line.what == BEGUN and untouched and not entry.ask.mayBeginAgain():
            yield entry, "begun, though its answer says that nobody has"

    def _checkTime(self, entry: Entry) -> Iterable[tuple[Entry, str]]:
        took = entry.ended - entry.began
        bound = self.bounds.ofEntry(entry)
        if took > bound:
            bound += self._standstill(entry)
        name = "again" if entry.ask.mayBeginAgain() else "once"
        if took > self.slowest.get(name, (0.0, 0.0))[0]:
            self.slowest[name] = (took, bound)
        if took > bound:
            yield entry, f"took {took:.1f} s instead of at most {bound:.1f} s"

    def _checkBeginning(self, entry: Entry) -> Iterable[tuple[Entry, str]]:
        """
        What an agent that polls has been offered, and did not fetch, goes to one that works, once its lease is over.
        """
        began = min((line.time for line in entry.seen if line.what == BEGUN), default=0.0)
        troubles = self._troublesOf(entry)
        poll = all(
            self._stage.agents[name].transport == "poll" for name, each in troubles.items() if each
        )
        if began and poll and not all(troubles.values()):
            most = _MOST_LEASES * self._stage.clocks.claim + _MARGIN
            if began - entry.began > most:
                yield (
                    entry,
                    f"begun after more than {most:g} s, though an agent worked all the time",
                )

    def _countSpared(self, entry: Entry) -> None:
        troubles = self._troublesOf(entry)
        kinds = {
            fault.kind for each in troubles.values() for trouble in each for fault in trouble.faults
        }
        if len(kinds) == 1 and not all(troubles.values()) and entry.result.outcome != LEFT:
            [kind] = kinds
            count, right = self.spared.get(kind, (0, 0))
            self.spared[kind] = (count + 1, right + (entry.result.outcome == RIGHT))

    def _standstill(self, entry: Entry) -> float:
        """
        Say for how long something stood still during a request.
        """
        faults = {
            fault
            for each in self._troublesOf(entry).values()
            for trouble in each
            for fault in trouble.faults
            if fault.kind.stalls
        }
        return sum(
            max(0.0, entry.overlap(fault.began, fault.ended or entry.ended)) for fault in faults
        )
