"""
Who is in trouble, since when and why, and how long everyone takes to recover.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from attrs import define, field, frozen

from chaos.faults import Fault
from chaos.ledger import Entry
from stage.results import RIGHT

PROMISE = 15.0
"""Seconds within which everything recovers by itself."""


@define(eq=False)
class Trouble:
    """
    A time in which something does not work, or need not.

    @ivar name: what: an agent, or a backend.
    @ivar began: since when, in seconds on the monotonic clock.
    @ivar faults: why.
    @ivar lasting: those of them that go on.
    @ivar over: when the last of them ended; 0 while any goes on.
    @ivar ended: when it worked again, or 0.
    @ivar isLate: whether that took too long.
    """

    name: str
    began: float
    faults: list[Fault] = field(factory=list)
    lasting: set[Fault] = field(factory=set)
    over: float = 0.0
    ended: float = 0.0
    isLate: bool = False

    def __str__(self) -> str:
        now = time.monotonic()
        names = ", ".join(
            f"{fault} ({'goes on' if fault in self.lasting else 'over'}, "
            f"begun {now - fault.began:.1f} s ago)"
            for fault in self.faults
        )
        return f"{self.name}: {names}"


@frozen
class Recovery:
    """
    How long something took to work again.

    @ivar name: what.
    @ivar faults: after what.
    @ivar seconds: from the end of the last one to the end of the first right answer.
    """

    name: str
    faults: tuple[Fault, ...]
    seconds: float


class Troubles:
    """
    All troubles of a run.

    @ivar recoveries: those that came about undisturbed.
    @ivar disturbed: how many times the next fault came first.
    """

    def __init__(self) -> None:
        self.recoveries: list[Recovery] = []
        self.disturbed = 0
        self._justLate: list[Trouble] = []
        self._past: dict[str, list[Trouble]] = {}
        self._present: dict[str, Trouble] = {}

    def begin(self, fault: Fault) -> None:
        """
        Take note that a fault begins.
        """
        now = fault.began = time.monotonic()
        for name in fault.target.affects:
            trouble = self._present.get(name)
            if trouble is None:
                trouble = self._present[name] = Trouble(name, now)
                self._past.setdefault(name, []).append(trouble)
            elif not trouble.lasting and not trouble.isLate:
                self.disturbed += 1
            trouble.faults.append(fault)
            trouble.lasting.add(fault)
            trouble.over = 0.0
            trouble.isLate = False

    def end(self, fault: Fault) -> None:
        """
        Take note that it is over.
        """
        now = fault.ended = time.monotonic()
        for name in fault.target.affects:
            trouble = self._present[name]
            trouble.lasting.discard(fault)
            if not trouble.lasting:
                trouble.over = now

    def see(self, entry: Entry) -> None:
        """
        Take note of the end of a request: with a right answer, it shows that its agent and its backend work.
        """
        if entry.result.outcome != RIGHT:
            return
        for name in (entry.result.agent, entry.ask.backend):
            trouble = self._present.get(name)
            if trouble is None or trouble.lasting or entry.began < trouble.over:
                continue
            trouble.ended = entry.ended
            del self._present[name]
            seconds = entry.ended - trouble.over
            self.recoveries.append(Recovery(name, tuple(trouble.faults), seconds))
            if seconds > PROMISE and not trouble.isLate:
                self._justLate.append(trouble)

    def late(self) -> list[Trouble]:
        """
        Find what should have recovered, each once.
        """
        now = time.monotonic()
        found = [
            trouble
            for trouble in self._present.values()
            if not trouble.lasting and not trouble.isLate and now - trouble.over > PROMISE
        ]
        for trouble in found:
            trouble.isLate = True
        found += self._justLate
        self._justLate = []
        return found

    def areWell(self, names: Iterable[str]) -> bool:
        """
        Say whether none of them is in trouble.
        """
        return not any(name in self._present for name in names)

    def present(self) -> list[Trouble]:
        """
        Tell what is in trouble now.
        """
        return list(self._present.values())

    def during(self, name: str, began: float, ended: float) -> list[Trouble]:
        """
        Find the troubles of something that were there at some time.
        """
        return [
            trouble
            for trouble in self._past.get(name, [])
            if trouble.began <= ended and (not trouble.ended or trouble.ended >= began)
        ]
