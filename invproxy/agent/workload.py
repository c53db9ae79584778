"""
What an agent works on: the exchanges in flight, how many there may be, and which are not to be begun again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from invproxy.agent.replay import Replay
from invproxy.errors import DRAINING, Fault

_log = Logger(namespace="invproxy.agent")

_REMEMBERED = 1000
"""How many exchanges that are over are remembered by their IDs: the original's proxy repeats them."""

_BEGINNINGS = 3
"""How often one exchange is begun, should the proxy offer it again after the link failed it."""

_RESOLUTION = 0.25
"""Seconds between two looks at the deadlines of exchanges."""


class Workload:
    """
    The exchanges of one agent.
    """

    def __init__(
        self,
        clock: IReactorTime,
        limit: int,
        make: Callable[[str, Callable[[Replay], None]], Replay],
    ) -> None:
        """
        @param clock: what tells the time.
        @param limit: how many exchanges are worked on at once.
        @param make: makes a L{Replay} of an ID and of what to call when it has ended.
        """
        self._clock = clock
        self._limit = limit
        self._make = make
        self._replays: dict[str, Replay] = {}
        self._waiting: deque[str] = deque()
        # How often each was begun: those in flight or waiting, and the latest of those that are over. And those of
        # the former that were named again.
        self._begun: dict[str, int] = {}
        self._over: OrderedDict[str, int] = OrderedDict()
        self._again: set[str] = set()
        self._beginning = self._isDraining = False
        self._room: list[Deferred[None]] = []
        self._look: IDelayedCall | None = None
        self._drained: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._begun)

    def take(self, identifiers: Iterable[str]) -> bool:
        """
        Begin with the exchanges that a poll has named, but for those that are known; what is too much at once waits.

        @return: whether any was unknown.
        """
        anyNew = False
        for identifier in identifiers:
            if identifier in self._begun:
                if identifier in self._replays:
                    self._again.add(identifier)
                continue
            before = self._over.get(identifier, 0)
            if before >= _BEGINNINGS:
                continue
            anyNew = anyNew or not before
            self._begun[identifier] = before + 1
            self._waiting.append(identifier)
        self._beginWaiting()
        return anyNew

    def _beginWaiting(self) -> None:
        if self._beginning:
            return  # one that ended at once is followed up by the loop below
        self._beginning = True
        while self._waiting and len(self._replays) < self._limit:
            identifier = self._waiting.popleft()
            replay = self._replays[identifier] = self._make(identifier, self._ended)
            replay.begin()
        self._beginning = False
        if self._look is None and self._replays:
            self._look = self._clock.callLater(_RESOLUTION, self._checkDeadlines)

    def _checkDeadlines(self) -> None:
        # Not with C{Deadlines}, which would keep what has ended until its deadline.
        self._look = None
        now = self._clock.seconds()
        for replay in list(self._replays.values()):
            replay.checkDeadline(now)
        if self._look is None and self._replays:
            self._look = self._clock.callLater(_RESOLUTION, self._checkDeadlines)

    def _ended(self, replay: Replay) -> None:
        identifier = replay.identifier
        del self._replays[identifier]
        beginnings = self._begun.pop(identifier)
        self._over[identifier] = beginnings if replay.mayRepeat else _BEGINNINGS
        self._over.move_to_end(identifier)
        if len(self._over) > _REMEMBERED:
            self._over.popitem(last=False)
        if identifier in self._again:
            self._again.discard(identifier)
            if not self._isDraining:
                # The proxy may have known before us that it has to begin anew.
                self.take((identifier,))
        self._beginWaiting()
        if self.hasRoom():
            told, self._room = self._room, []
            for deferred in told:
                deferred.callback(None)
        if not self._begun:
            if self._look is not None:
                self._look.cancel()
                self._look = None
            drained, self._drained = self._drained, []
            for deferred in drained:
                deferred.callback(None)

    def hasRoom(self) -> bool:
        """
        Say whether more exchanges may be asked for.
        """
        return len(self._replays) < self._limit and not self._waiting

    def whenRoom(self) -> Deferred[None]:
        """
        Wait until L{hasRoom}. Cancel the Deferred to stop waiting.
        """
        if self.hasRoom():
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._room.remove)
        self._room.append(waiting)
        return waiting

    def drain(self, timeout: float | None) -> Deferred[None]:
        """
        Finish everything.

        @param timeout: after how many seconds the rest is cut; L{None} is never.
        @return: fires when nothing is left.
        """
        self._isDraining = True
        if not self._begun:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        if timeout is None:
            return drained
        late = self._clock.callLater(timeout, self._abort)
        return drained.addCallback(lambda _: late.cancel() if late.active() else None)

    def _abort(self) -> None:
        _log.warn("{count} exchanges cut at the end of the drain timeout", count=len(self._begun))
        for identifier in self._waiting:
            del self._begun[identifier]
        self._waiting.clear()
        for replay in list(self._replays.values()):
            replay.giveUp(Fault(DRAINING))
