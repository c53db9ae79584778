"""
Mailboxes: per backend, the exchanges that wait for a carrier, and the carriers that wait for them.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Final

from attrs import define
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from invproxy.errors import (
    DRAINING,
    NO_BACKEND,
    TOO_MANY_BACKENDS,
    TOO_MANY_LINKS,
    TOO_MANY_PENDING,
    Fault,
)
from invproxy.exchange import Exchange
from invproxy.interfaces import IExchange, IMailbox, IPeer, ITaker
from invproxy.tables import Table

_NEW_SESSION: Final = 10.0
"""Seconds without any call after which an agent's next call begins a new session."""


@define(eq=False)
class _Waiter:
    deferred: Deferred[list[IExchange]]
    limit: int


@implementer(IMailbox)
class Mailbox:
    """
    The mailbox of one backend, in memory.

    @ivar backend: the backend's ID.
    """

    def __init__(
        self, backend: str, clock: IReactorTime, maxPending: int = 1000, maxLinks: int = 4000
    ) -> None:
        """
        @param backend: the backend's ID.
        @param clock: what tells the time.
        @param maxPending: how many exchanges may wait.
        @param maxLinks: how many connections its agents may have.
        """
        self.backend = backend
        self._clock = clock
        self._maxPending = maxPending
        self._queue: deque[IExchange] = deque()
        self._returned: deque[IExchange] = deque()
        self._waiters: deque[_Waiter] = deque()
        # In the order in which they were given something last.
        self._takers: dict[ITaker, None] = {}
        self._seen = clock.seconds()
        self._maxLinks = maxLinks
        self._links: set[IPeer] = set()

    def put(self, exchange: IExchange) -> None:
        if self._takers and not (self._queue or self._returned):
            taker = self._chooseTaker()
            if taker is not None:
                taker.take(exchange)
                return
        if len(self._returned) + len(self._queue) >= self._maxPending:
            raise Fault(TOO_MANY_PENDING, f"{self._maxPending} requests wait for this backend")
        self._queue.append(exchange)
        self.distribute()

    def claim(self, limit: int) -> Deferred[list[IExchange]]:
        waiter = _Waiter(Deferred(lambda _: self._leave(waiter)), limit)
        self._waiters.append(waiter)
        self.distribute()
        return waiter.deferred

    def _leave(self, waiter: _Waiter) -> None:
        self._seen = self._clock.seconds()
        with suppress(ValueError):  # it may be just about to be released
            self._waiters.remove(waiter)

    def join(self, taker: ITaker) -> None:
        self._takers[taker] = None
        self.distribute()

    def leave(self, taker: ITaker) -> None:
        self._seen = self._clock.seconds()
        self._takers.pop(taker, None)

    def _chooseTaker(self) -> ITaker | None:
        """
        Choose who has least to do; but a poll that waits has nothing to do at all.
        """
        takers = self._takers
        if len(takers) == 1:
            [taker] = takers
            return None if not taker.hasRoom() or (self._waiters and taker.streams) else taker
        chosen = min(
            (taker for taker in takers if taker.hasRoom()),
            key=lambda taker: len(taker.streams),
            default=None,
        )
        if chosen is None or (self._waiters and chosen.streams):
            return None
        # Among equals, to the one that was given something the longest time ago.
        takers[chosen] = takers.pop(chosen)
        return chosen

    def requeue(self, exchange: IExchange) -> None:
        # Before all that was never handed out, but behind what came back before it.
        self._returned.append(exchange)
        self.distribute()

    def withdraw(self, exchange: IExchange) -> None:
        for queue in (self._returned, self._queue):
            with suppress(ValueError):  # it is in one of them, or in neither while under a lease
                queue.remove(exchange)

    def hasWaiters(self) -> bool:
        """
        Say whether a carrier waits for exchanges.
        """
        return bool(self._waiters) or any(taker.hasRoom() for taker in self._takers)

    def distribute(self) -> None:
        # To takers one by one, and in fair shares to the polls that wait.
        while waiting := len(self._returned) + len(self._queue):
            taker = self._chooseTaker() if self._takers else None
            if taker is not None:
                taker.take(self._take())
                continue
            if not self._waiters:
                return
            share = -(-waiting // len(self._waiters))
            self._seen = self._clock.seconds()
            waiter = self._waiters.popleft()
            taken = [self._take() for _ in range(min(share, waiter.limit))]
            waiter.deferred.callback(taken)

    def _take(self) -> IExchange:
        return (self._returned or self._queue).popleft()

    def release(self, fault: Fault | None = None) -> None:
        """
        Send the carriers that wait away with nothing.

        @param fault: why, if they shall be told.
        """
        if self._waiters:
            self._seen = self._clock.seconds()
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            if waiter.deferred.called:
                continue  # the end of one may have ended another
            if fault is None:
                waiter.deferred.callback([])
            else:
                waiter.deferred.errback(fault)

    # Presence.

    def see(self) -> bool:
        """
        Take note of a call of an agent.

        @return: whether it begins a new session.
        """
        now = self._clock.seconds()
        isNew = now - self.lastSeen() > _NEW_SESSION
        self._seen = now
        return isNew

    def link(self, peer: IPeer) -> None:
        """
        Take note of the connection of an agent, for as long as it stands.

        @raise Fault: (too-many-links) if its agents have too many.
        """
        links = self._links
        if peer in links or not peer.streams:  # a stock site counts nobody
            return
        if len(links) >= self._maxLinks:
            raise Fault(TOO_MANY_LINKS, f"{self._maxLinks} connections of this backend's agents")
        links.add(peer)
        peer.whenLost(partial(links.discard, peer))

    def lastSeen(self) -> float:
        """
        When an agent was last there, in seconds on the clock: now, while one waits.
        """
        return self._clock.seconds() if self.isAttended() else self._seen

    def isAttended(self) -> bool:
        """
        Say whether an agent is there right now: polling, or with a tunnel.
        """
        return bool(self._takers or self._waiters)

    def counts(self) -> tuple[int, int]:
        """
        Count the exchanges that wait, and the polls that wait.
        """
        return len(self._returned) + len(self._queue), len(self._waiters)

    def countLinks(self) -> int:
        """
        Count the connections of its agents.
        """
        return len(self._links)

    def countTakers(self) -> int:
        """
        Count the carriers that take exchanges as they come.
        """
        return len(self._takers)


class Mailboxes:
    """
    All mailboxes of a proxy, and all its exchanges by their IDs.

    @ivar exchanges: the exchanges that are not over.
    @ivar draining: whether the proxy is stopping: what waits is still handed out, but nobody shall wait for more.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        maxPending: int = 1000,
        maxBackends: int = 1000,
        maxLinks: int = 4000,
        offlineAfter: float = 300.0,
    ) -> None:
        """
        @param clock: what tells the time.
        @param maxPending: how many exchanges may wait for each backend.
        @param maxBackends: how many mailboxes there may be.
        @param maxLinks: how many connections the agents of each backend may have.
        @param offlineAfter: seconds without a call after which a backend is offline.
        """
        self.exchanges: dict[str, Exchange] = {}
        self.draining = False
        self._emptied: list[Deferred[None]] = []
        self._clock = clock
        self._maxPending = maxPending
        self._maxBackends = maxBackends
        self._maxLinks = maxLinks
        self._offlineAfter = offlineAfter
        # In the order in which the sessions of their agents began.
        self._mailboxes: dict[str, Mailbox] = {}

    def __iter__(self) -> Iterator[Mailbox]:
        return iter(self._mailboxes.values())

    def get(self, backend: str) -> Mailbox | None:
        """
        Find the mailbox of a backend.
        """
        return self._mailboxes.get(backend)

    def visit(self, backend: str) -> Mailbox:
        """
        Find or make the mailbox of a backend whose agent calls.

        @raise Fault: (too-many-backends) if there are too many, all of them in use.
        """
        mailbox = self._mailboxes.get(backend)
        if mailbox is None:
            if len(self._mailboxes) >= self._maxBackends:
                self._evict()
            mailbox = self._mailboxes[backend] = Mailbox(
                backend, self._clock, self._maxPending, self._maxLinks
            )
        if mailbox.see():
            self._mailboxes[backend] = self._mailboxes.pop(backend)
        return mailbox

    def match(self, label: str) -> Mailbox | None:
        """
        Find the mailbox of a backend by the first label of a host, or else that of the backend whose agent's session
        began most recently.

        @param label: the label in any case.
        """
        mailboxes = self._mailboxes
        return (
            mailboxes.get(label)
            or mailboxes.get(label.lower())
            or next(reversed(mailboxes.values()), None)
        )

    def _evict(self) -> None:
        inUse = {id(exchange.mailbox) for exchange in self.exchanges.values()}
        idle = [
            mailbox
            for mailbox in self._mailboxes.values()
            if self.isOffline(mailbox) and id(mailbox) not in inUse
        ]
        if not idle:
            raise Fault(TOO_MANY_BACKENDS, f"{self._maxBackends} backends are in use")
        del self._mailboxes[min(idle, key=Mailbox.lastSeen).backend]

    def remove(self, backend: str) -> None:
        """
        Forget a backend that is no more: its exchanges fail, and the carriers that wait are sent away.
        """
        mailbox = self._mailboxes.pop(backend, None)
        if mailbox is None:
            return
        for exchange in list(self.exchanges.values()):
            if exchange.mailbox is mailbox:
                exchange.fail(Fault(NO_BACKEND))
        mailbox.release()

    def isOffline(self, mailbox: Mailbox) -> bool:
        """
        Say whether no agent of a backend has called for too long.
        """
        return (
            not mailbox.isAttended()
            and self._clock.seconds() - mailbox.lastSeen() > self._offlineAfter
        )

    def add(self, exchange: Exchange) -> None:
        """
        Queue a new exchange.

        @raise Fault: (too-many-pending) if its mailbox is full; the exchange is over then.
        """
        self.exchanges[exchange.id] = exchange
        try:
            exchange.mailbox.put(exchange)
        except Fault as fault:
            exchange.cancel(fault)
            raise

    def forget(self, exchange: Exchange) -> None:
        """
        Take note that an exchange is over.
        """
        self.exchanges.pop(exchange.id, None)
        if self._emptied and not self.exchanges:
            emptied, self._emptied = self._emptied, []
            for deferred in emptied:
                deferred.callback(None)

    def tables(self) -> list[Table]:
        """
        Tell how many mailboxes there are, how many exchanges wait in the fullest, and how many connections the agents
        have that have most.
        """
        most = self._maxBackends if self._maxBackends < sys.maxsize else None
        mailboxes = self._mailboxes.values()
        fullest = max((mailbox.counts()[0] for mailbox in mailboxes), default=0)
        links = max((mailbox.countLinks() for mailbox in mailboxes), default=0)
        return [
            Table("mailboxes", len(self._mailboxes), most),
            Table("pending", fullest, self._maxPending),
            Table("links", links, self._maxLinks),
        ]

    def whenEmpty(self) -> Deferred[None]:
        """
        Wait until no exchange is in flight.
        """
        if not self.exchanges:
            return succeed(None)
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        return emptied

    def drain(self) -> None:
        """
        Send all carriers that wait away, and let them wait no more, as the proxy is stopping.
        """
        self.draining = True
        for mailbox in self._mailboxes.values():
            mailbox.release(Fault(DRAINING))
