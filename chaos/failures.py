"""
What must not have happened, with all that is known about it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import frozen

from chaos.ledger import Entry
from chaos.stage import Stage
from chaos.troubles import PROMISE, Trouble, Troubles

_MOST_EXPLAINED = 15
_MOST_SAID = 100
_LINES = 12


@frozen
class Failure:
    """
    Something that must not have happened.

    @ivar what: what, in words that are the same for all of its kind.
    @ivar detail: more about it, in one line.
    """

    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what}: {self.detail}" if self.detail else self.what


class Failures:
    """
    Says at once what failed, and keeps it.

    @ivar found: what failed.
    """

    def __init__(
        self, stage: Stage, troubles: Troubles, began: float, say: Callable[[str], None]
    ) -> None:
        """
        @param stage: where the logs are.
        @param troubles: what went wrong when.
        @param began: when the run began, in seconds on the monotonic clock.
        @param say: what says it.
        """
        self.found: list[Failure] = []
        self._stage = stage
        self._troubles = troubles
        self._began = began
        self._say = say

    def add(self, what: str, detail: str = "", lines: Iterable[str] = ()) -> None:
        """
        Take note of a failure.

        @param what: what, in words that are the same for all of its kind.
        @param detail: more about it, in one line.
        @param lines: what else is known.
        """
        failure = Failure(what, detail)
        self.found.append(failure)
        if len(self.found) > _MOST_SAID:
            return
        self._say(f"FAILED: {failure}")
        if len(self.found) <= _MOST_EXPLAINED:
            self._say("\n".join(f"      {line}" for line in lines))

    def addEntry(self, entry: Entry, what: str) -> None:
        """
        Take note of what went wrong with a request.
        """
        detail = f"{entry.ask.number} to {entry.ask.backend}, {entry.result.outcome}"
        if entry.result.symptom:
            detail += f" {entry.result.symptom}"
        self.add(
            what,
            f"{detail} {entry.result.detail}",
            [*self._about(entry), *self._tails(entry.ask.backend)],
        )

    def addTrouble(self, trouble: Trouble) -> None:
        """
        Take note of what did not recover.
        """
        kind = "an agent" if trouble.name in self._stage.agents else "a backend"
        self.add(
            f"{kind} did not recover within {PROMISE:g} s", str(trouble), self._tails(trouble.name)
        )

    def _tails(self, name: str) -> list[str]:
        """
        The ends of the logs that may tell about an agent, or a backend.
        """
        programs = [self._stage.proxy]
        if name in self._stage.agents:
            programs.append(self._stage.agents[name].program)
        else:
            backend = self._stage.backends[name]
            programs += [*(agent.program for agent in backend.agents), backend.origin]
        lines = []
        for program in programs:
            lines += [f"-- {program.log.name}:", *program.tail(_LINES).splitlines()]
        return lines

    def _about(self, entry: Entry) -> list[str]:
        result = entry.result
        ended = entry.ended or time.monotonic()
        lines = [
            repr(entry.ask),
            f"of {entry.client}, from {self._at(entry.began)} to {self._at(ended)} "
            f"(monotonic {entry.began:.3f} to {ended:.3f}): {result.outcome} {result.symptom} {result.detail}"
            f"{f' by {result.agent}' if result.agent else ''}",
        ]
        for line in entry.seen:
            lines.append(f"its origin at {self._at(line.time)}: {line.what} {line.detail}")
        backend = self._stage.backends[entry.ask.backend]
        for name in (backend.name, *(agent.name for agent in backend.agents)):
            for trouble in self._troubles.during(name, entry.began - 5.0, ended):
                faults = "; ".join(
                    f"{fault} from {self._at(fault.began)}"
                    f"{f' to {self._at(fault.ended)}' if fault.ended else ''}"
                    for fault in trouble.faults
                )
                until = f"to {self._at(trouble.ended)}" if trouble.ended else "still"
                lines.append(f"trouble of {name} from {self._at(trouble.began)} {until}: {faults}")
        access = self._stage.directory / "access.log"
        return [*lines, *_linesWith(access, f"/{entry.ask.number:09d}?")]

    def _at(self, moment: float) -> str:
        return f"{moment - self._began:.2f} s"


def _linesWith(path: Path, text: str) -> list[str]:
    if not path.exists():
        return []
    with path.open(errors="replace") as file:
        return [f"access log: {line.rstrip()}" for line in file if text in line]
