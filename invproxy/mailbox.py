"""
Mailboxes: per backend, the exchanges that wait for a carrier, and the carriers that wait for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from invproxy.errors import TOO_MANY_BACKENDS, TOO_MANY_PENDING, Fault
from invproxy.exchange import Exchange
from invproxy.interfaces import IExchange, IMailbox

_NEW_SESSION = 10.0
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
    @ivar sessionBegan: when its agent last came after having been away, in seconds on the clock.
    """

    def __init__(self, backend: str, clock: IReactorTime, maxPending: int = 1000) -> None:
        """
        @param backend: the backend's ID.
        @param clock: what tells the time.
        @param maxPending: how many exchanges may wait.
        """
        self.backend = backend
        self.sessionBegan = clock.seconds()
        self._clock = clock
        self._maxPending = maxPending
        self._queue: deque[IExchange] = deque()
        self._waiters: deque[_Waiter] = deque()
        self._seen = clock.seconds()

    def put(self, exchange: IExchange) -> None:
        if len(self._queue) >= self._maxPending:
            raise Fault(TOO_MANY_PENDING, f"{self._maxPending} requests wait for this backend")
        self._queue.append(exchange)
        self._distribute()

    def claim(self, limit: int) -> Deferred[list[IExchange]]:
        waiter = _Waiter(Deferred(lambda _: self._waiters.remove(waiter)), limit)
        self._waiters.append(waiter)
        self._distribute()
        return waiter.deferred

    def requeue(self, exchange: IExchange) -> None:
        self._queue.appendleft(exchange)
        self._distribute()

    def withdraw(self, exchange: IExchange) -> None:
        with suppress(ValueError):  # one that was claimed is not in the queue
            self._queue.remove(exchange)

    def hasWaiters(self) -> bool:
        """
        Say whether a carrier waits.
        """
        return bool(self._waiters)

    def _distribute(self) -> None:
        """
        Hand out what waits, in fair shares among the carriers that wait.
        """
        while self._queue and self._waiters:
            share = -(-len(self._queue) // len(self._waiters))
            waiter = self._waiters.popleft()
            taken = [self._queue.popleft() for _ in range(min(share, waiter.limit))]
            waiter.deferred.callback(taken)

    def release(self) -> None:
        """
        Send the carriers that wait away with nothing, as the proxy is stopping.
        """
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            waiter.deferred.callback([])

    # Presence.

    def see(self) -> None:
        """
        Take note of a call of an agent.
        """
        now = self._clock.seconds()
        if now - self.lastSeen() > _NEW_SESSION:
            self.sessionBegan = now
        self._seen = now

    def lastSeen(self) -> float:
        """
        When an agent was last there, in seconds on the clock: now, while one waits.
        """
        return self._clock.seconds() if self._waiters else self._seen

    def counts(self) -> tuple[int, int]:
        """
        Count the exchanges that wait, and the carriers that wait.
        """
        return len(self._queue), len(self._waiters)


class Mailboxes:
    """
    All mailboxes of a proxy, and all its exchanges by their IDs.

    @ivar exchanges: the exchanges that are not over.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        maxPending: int = 1000,
        maxBackends: int = 1000,
        offlineAfter: float = 300.0,
    ) -> None:
        """
        @param clock: what tells the time.
        @param maxPending: how many exchanges may wait for each backend.
        @param maxBackends: how many mailboxes there may be.
        @param offlineAfter: seconds without a call after which a backend is offline.
        """
        self.exchanges: dict[str, Exchange] = {}
        self._clock = clock
        self._maxPending = maxPending
        self._maxBackends = maxBackends
        self._offlineAfter = offlineAfter
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
            mailbox = self._mailboxes[backend] = Mailbox(backend, self._clock, self._maxPending)
        mailbox.see()
        return mailbox

    def _evict(self) -> None:
        longest = min(self._mailboxes.values(), key=Mailbox.lastSeen)
        if not self.isOffline(longest) or longest.counts() != (0, 0):
            raise Fault(TOO_MANY_BACKENDS, f"{self._maxBackends} backends are in use")
        del self._mailboxes[longest.backend]

    def isOffline(self, mailbox: Mailbox) -> bool:
        """
        Say whether no agent of a backend has called for too long.
        """
        return self._clock.seconds() - mailbox.lastSeen() > self._offlineAfter

    def add(self, exchange: Exchange) -> None:
        """
        Queue a new exchange.

        @raise Fault: (too-many-pending) if its mailbox is full.
        """
        self.exchanges[exchange.id] = exchange
        try:
            exchange.mailbox.put(exchange)
        except Fault:
            self.forget(exchange)
            raise

    def forget(self, exchange: Exchange) -> None:
        """
        Take note that an exchange is over.
        """
        self.exchanges.pop(exchange.id, None)

    def release(self) -> None:
        """
        Send all carriers that wait away, as the proxy is stopping.
        """
        for mailbox in self._mailboxes.values():
            mailbox.release()
