"""
What the log says of requests that the origin has not answered. An origin that is down fails each of them, and one line
for each would say nothing that the first has not said.
"""

from __future__ import annotations

from typing import Final

from attrs import define
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from invproxy.errors import ORIGIN_REFUSED, ORIGIN_TIMEOUT, Fault
from invproxy.http1.heads import RequestHead

_log = Logger(namespace="invproxy.agent")

_PAUSE: Final = 60.0
"""Seconds at least between two lines for one reason."""

_AWAY: Final = frozenset((ORIGIN_REFUSED, ORIGIN_TIMEOUT))
"""Reasons of an origin that is not there at all, so that any answer is news."""


@define
class _Trouble:
    saidAt: float
    unsaid: int = 0


class Failures:
    """
    The failures of one agent's origin.

    @ivar isAway: whether the last that is known of the origin is that it is not there.
    """

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: what tells the time.
        """
        self.isAway = False
        self._clock = clock
        self._troubles: dict[str, _Trouble] = {}
        self._count = 0  # how many met no origin since that was over last
        self._isSaid = False  # whether the log has it that the origin is away

    def add(self, head: RequestHead | None, fault: Fault) -> None:
        """
        Take note of a request that failed; the log tells of the first for each reason, and then of one a minute.

        @param head: that of the request, if it is known.
        @param fault: the reason.
        """
        isAway = fault.code in _AWAY
        if isAway:
            self.isAway = True
            self._count += 1
        now = self._clock.seconds()
        trouble = self._troubles.get(fault.code.name)
        if trouble is not None and now - trouble.saidAt < _PAUSE:
            trouble.unsaid += 1
            return
        unsaid = trouble.unsaid if trouble is not None else 0
        self._troubles[fault.code.name] = _Trouble(now)
        self._isSaid = self._isSaid or isAway
        _log.info(
            "{method} {target}: {fault}{more}",
            method=head.method.decode() if head else "",
            target=head.target.decode() if head else "",
            fault=fault,
            more=f" (and {unsaid} more like it before)" if unsaid else "",
        )

    def endAbsence(self) -> None:
        """
        Take note that the origin has answered, while L{isAway}.
        """
        self.isAway = False
        if self._isSaid:
            self._isSaid = False
            count, self._count = self._count, 0
            _log.info("the origin answers again; requests that failed: {count}", count=count)
