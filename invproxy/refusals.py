"""
What is refused without an answer: counted by reason, and told to the log, though not each time.

Whatever is refused with a status is counted by its code where each answer ends. A connection that is closed without a
word has no such end, so it is counted here, under the name of a code as well.
"""

from __future__ import annotations

from attrs import define
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from invproxy.errors import Code
from invproxy.metrics import Tally

_log = Logger(namespace="invproxy.server")

_EVERY = 60.0
"""Seconds between two lines in the log for the same reason: a flood shall not become one of lines."""


@define
class _Told:
    """
    What the log knows of one reason.

    @ivar at: when it was told last.
    @ivar since: how many were refused since then.
    """

    at: float
    since: int = 0


class Refusals:
    """
    Counts connections that are closed without an answer, and has the log say why.

    @ivar counts: how many, by the name of a L{Code}.
    """

    def __init__(self, clock: IReactorTime, metrics: Tally | None = None) -> None:
        """
        @param clock: what tells the time.
        @param metrics: told of each.
        """
        self.counts: dict[str, int] = {}
        self._metrics = metrics
        self._clock = clock
        self._told: dict[str, _Told] = {}

    def count(self, code: Code) -> None:
        """
        Count a connection that is closed without an answer, as happens every day.
        """
        self.counts[code.name] = self.counts.get(code.name, 0) + 1
        if self._metrics is not None:
            self._metrics.connectionRefused(code.name)

    def refuse(self, code: Code, why: str) -> None:
        """
        Count a connection that is closed without an answer, and tell the log.

        @param why: what bound it met, and how to move that.
        """
        self.count(code)
        self.tell(code, why)

    def tell(self, code: Code, why: str) -> None:
        """
        Tell the log that somebody is refused, unless it was told a short while ago.
        """
        now = self._clock.seconds()
        told = self._told.get(code.name)
        if told is not None and now - told.at < _EVERY:
            told.since += 1
            return
        self._told[code.name] = _Told(now)
        _log.warn(
            "refused ({code}): {why}{more}",
            code=code.name,
            why=why,
            more=f"; {told.since} others since the last such line"
            if told is not None and told.since
            else "",
        )
