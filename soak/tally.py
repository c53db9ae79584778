"""
What became of each exchange of a run, by kinds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import define, field

from stage.asks import Ask
from stage.results import BEHIND, CLOSED, CUT, ERROR, LEFT, RIGHT, Result

_BEFORE, _AFTER = 1.0, 3.0
"""Seconds around the loss of an agent in which its exchanges may show it."""

_OF_LOSS = frozenset((CUT, CLOSED, BEHIND))
_CODES_OF_LOSS = frozenset(("agent-lost",))

_MOST_KEPT = 50


@define
class Row:
    """
    The exchanges of a kind.

    @ivar right: how many were answered right; where the backend is meant to break off, that this was seen.
    @ivar left: how many the client broke off.
    @ivar hit: how many were broken off as their agent was killed, or cut off.
    @ivar wrong: all others.
    """

    right: int = 0
    left: int = 0
    hit: int = 0
    wrong: int = 0

    def total(self) -> int:
        """
        How many there were.
        """
        return self.right + self.left + self.hit + self.wrong


@define
class Tally:
    """
    All exchanges.

    @ivar complain: told of what must not have happened, in a line.
    @ivar rows: the exchanges by their kinds.
    @ivar slowest: how many seconds the longest right one of each kind took.
    """

    complain: Callable[[str], None]
    rows: dict[str, Row] = field(factory=dict)
    slowest: dict[str, float] = field(factory=dict)
    _losses: dict[str, list[float]] = field(factory=dict)

    def lose(self, backend: str) -> None:
        """
        Take note that an agent of a backend is lost now, with all that is under way through it.
        """
        losses = self._losses.setdefault(backend, [])
        losses.append(time.monotonic())
        del losses[:-_MOST_KEPT]

    def note(self, kind: str, ask: Ask, result: Result, began: float) -> None:
        """
        Take note of the end of an exchange.

        @param kind: its kind.
        @param ask: what was asked.
        @param result: what came of it.
        @param began: when it began, in seconds on the monotonic clock.
        """
        row = self.rows.setdefault(kind, Row())
        ended = time.monotonic()
        if result.outcome == RIGHT:
            row.right += 1
            self.slowest[kind] = max(self.slowest.get(kind, 0.0), ended - began)
        elif result.outcome == LEFT:
            row.left += 1
        elif self._isOfLoss(ask, result, began, ended):
            row.hit += 1
        else:
            row.wrong += 1
            self.complain(
                f"{kind}: {ask} began {ended - began:.2f} s ago: "
                f"{result.outcome} {result.symptom} {result.detail} {result.agent}"
            )

    def _isOfLoss(self, ask: Ask, result: Result, began: float, ended: float) -> bool:
        if result.outcome not in _OF_LOSS and not (
            result.outcome == ERROR and result.symptom in _CODES_OF_LOSS
        ):
            return False
        losses = self._losses.get(ask.backend, [])
        return any(began <= loss + _AFTER and ended >= loss - _BEFORE for loss in losses)
