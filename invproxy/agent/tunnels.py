"""
The tunnel carrier: keep one or several tunnels to the proxy open.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from attrs import define
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from invproxy.agent.backoff import Backoff
from invproxy.agent.failures import Failures
from invproxy.agent.link import ProxyLink
from invproxy.agent.reachability import ProxyRefusal, Reachability, refusalOf
from invproxy.agent.settings import AgentSettings
from invproxy.agent.tunneler import AgentSession, TunnelCall, TunnelLost, TunnelRefused
from invproxy.deadlines import Deadlines
from invproxy.http1.fields import value
from invproxy.interfaces import IOrigin
from invproxy.steady import wallOf
from invproxy.tunnel.life import REPLACED
from invproxy.wire.handshake import Claim
from invproxy.wire.poll import FEATURES
from invproxy.wire.websocket import PROTOCOL_ERROR

_log = Logger(namespace="invproxy.agent")

_SLOW = 2.0
"""Seconds after which a handshake that is not answered is said to be slow."""

_LASTING = 5.0
"""Seconds after which a tunnel counts as one that works, so that the next try begins anew with the shortest wait."""

_REFUSED_SHORTEST, _REFUSED_LONGEST = 20.0, 300.0
"""Bounds in seconds on the wait for the next try where tunnels are not known, or not let pass."""

_LONGEST = 10.0
"""The bound in seconds on the wait for the next try where something else went wrong."""


class TunnelWatcher(Protocol):
    """
    What hears how the tunnels fare.
    """

    def tunnelUp(self, slot: object) -> None:
        """
        Take note that a tunnel stands.
        """

    def tunnelDown(self, slot: object, error: Exception, *, wasUp: bool) -> None:
        """
        Take note that a tunnel was lost, or that one could not be made.
        """

    def tunnelSlow(self, slot: object) -> None:
        """
        Take note that a handshake is not answered at once; it may still be.
        """

    def handshakeAnswered(self, body: bytes) -> None:
        """
        Take an answer of 200 to a handshake: a proxy that knows no tunnels may have taken it for a poll.
        """


@define(eq=False)
class _Slot:
    number: int
    again: Backoff
    afterRefusal: Backoff
    afterGoodbye: Backoff
    waiting: Deferred[None] | None = None


class TunnelCarrier:
    """
    Brings exchanges from a proxy to an origin through tunnels.
    """

    name = "tunnel"

    def __init__(
        self,
        reactor: IReactorTime,
        link: ProxyLink,
        origin: IOrigin,
        settings: AgentSettings,
        random: Callable[[], float],
        watcher: TunnelWatcher | None = None,
        failures: Failures | None = None,
    ) -> None:
        """
        @param reactor: the reactor.
        @param link: the way to the proxy.
        @param origin: what answers the requests.
        @param settings: how many tunnels, and times.
        @param random: gives numbers from 0 to 1, for backoff.
        @param watcher: what hears how they fare; without one, the log does.
        @param failures: takes note of it if the origin fails.
        """
        self._reactor = reactor
        self._link = link
        self._origin = origin
        self._settings = settings
        self._random = random
        self._watcher = watcher or _Log(link.url)
        self._isAlone = watcher is None
        self._failures = failures or Failures(reactor)
        self._deadlines = Deadlines(reactor)
        self._instance = secrets.token_hex(8)
        self._running = False
        self._ready: Callable[[], None] = lambda: None
        self._sessions: set[AgentSession] = set()
        self._slots: list[_Slot] = []
        self._loops: list[Deferred[None]] = []

    async def run(self, ready: Callable[[], None]) -> None:
        """
        Carry exchanges until L{stop}.

        @param ready: called once, when the first tunnel stands.
        """
        self._running = True
        self._ready = ready
        self._slots = [
            _Slot(
                number,
                Backoff(self._random, longest=_LONGEST),
                Backoff(self._random, _REFUSED_SHORTEST, _REFUSED_LONGEST),
                Backoff(self._random, longest=_LONGEST),
            )
            for number in range(self._settings.connections)
        ]
        self._loops = [Deferred.fromCoroutine(self._loop(slot)) for slot in self._slots]
        await DeferredList(self._loops, consumeErrors=True)

    async def _loop(self, slot: _Slot) -> None:
        """
        Keep one tunnel open for ever.
        """
        while self._running:
            with suppress(CancelledError):
                wait, mayHurry = await self._serve(slot)
                if self._running:
                    waiting: Deferred[None] = deferLater(self._reactor, wait)
                    slot.waiting = waiting if mayHurry else None
                    await waiting
            slot.waiting = None

    def hurry(self) -> None:
        """
        Take note that the proxy was reached in another way: try again now, where there was no refusal.
        """
        for slot in self._slots:
            if slot.waiting is not None:
                slot.waiting.cancel()

    async def _serve(self, slot: _Slot) -> tuple[float, bool]:
        """
        Make a tunnel, and wait until it takes no exchanges any more.

        @return: how many seconds to wait before the next, and whether that may be cut short.
        """
        try:
            session = await self._open(slot)
        except CancelledError:
            raise
        except Exception as error:
            return self._failed(slot, error)
        began = self._reactor.seconds()
        self._watcher.tunnelUp(slot)
        self._ready()
        reason = await session.left
        if session.closeCode == REPLACED:
            # Another agent goes by the same name, as copies of a machine do: be somebody else.
            self._instance = secrets.token_hex(8)
        if self._running:
            self._watcher.tunnelDown(slot, ProxyRefusal(reason, isPassing=True), wasUp=True)
        slot.afterRefusal.succeed()
        if self._reactor.seconds() - began >= _LASTING:
            slot.again.succeed()
            slot.afterGoodbye.succeed()
        if session.isDismissed:
            # Nothing went wrong, so what did before does not count any more. But a proxy that says so to everybody at
            # once is asked less and less often, too.
            slot.again.succeed()
            return slot.afterGoodbye.fail(), True
        return slot.again.fail(), True

    def _failed(self, slot: _Slot, error: Exception) -> tuple[float, bool]:
        if not self._running:
            return 0.0, False
        if not isinstance(error, TunnelRefused):
            if isinstance(error, TunnelLost):
                mayPass = error.code != PROTOCOL_ERROR
                error = ProxyRefusal(str(error), isPassing=mayPass)
                if not mayPass:
                    self._watcher.tunnelDown(slot, error, wasUp=False)
                    return slot.afterRefusal.fail(), False
            self._watcher.tunnelDown(slot, error, wasUp=False)
            return slot.again.fail(), True
        refusal = refusalOf(error.status, error.fields, wallOf(self._reactor)())
        shown = refusal
        if error.status == 101 or not self._isAlone:
            # What it is good for besides, polls will find out: no hints then.
            shown = ProxyRefusal(str(error), isPassing=refusal.isPassing)
        if error.status == 404 and value(error.fields, FEATURES) is not None:
            shown = ProxyRefusal("this inverting proxy serves no tunnels here")
        self._watcher.tunnelDown(slot, shown, wasUp=False)
        if error.status == 200:
            self._watcher.handshakeAnswered(error.body)
        again = slot.again if refusal.isPassing else slot.afterRefusal
        return again.fail(refusal.retryAfter), False

    async def _open(self, slot: _Slot) -> AgentSession:
        """
        @return: a session that is ready.
        """
        session = AgentSession(
            self._reactor,
            self._deadlines,
            self._origin,
            self._settings,
            self._instance,
            slot.number,
            self._failures,
        )

        def refused(error: Exception) -> None:
            if not session.ready.called:
                session.ready.errback(error)

        claim = Claim(session.hello.instance, session.hello.slot)
        call = TunnelCall(session, self._link.tunnelCall(claim))
        slow = self._reactor.callLater(_SLOW, self._watcher.tunnelSlow, slot)
        settings = self._settings
        patience = settings.connectTimeout + settings.linkTimeout
        if not self._isAlone:
            # A server of the original's takes the handshake for a poll, and what its answer names is named only once.
            patience = max(patience, settings.pollTimeout)
        overdue = self._reactor.callLater(patience, session.ready.cancel)
        call.begin(self._link.streaming, refused)
        try:
            await session.ready
        except BaseException as error:
            if not overdue.active():
                call.abort()
                raise DeferredTimeout from None
            if not (
                self._running and isinstance(error, TunnelLost)
            ):  # else it ends itself, and tells the proxy why
                call.abort()
            raise
        finally:
            for delayed in (slow, overdue):
                if delayed.active():
                    delayed.cancel()
        self._sessions.add(session)
        session.gone.addCallback(lambda _: self._sessions.discard(session))
        return session

    async def stop(self) -> None:
        """
        Take no more exchanges, and finish what is in flight, within the drain timeout.
        """
        self._running = False
        for loop in self._loops:
            loop.cancel()
        late = self._reactor.callLater(self._settings.drainTimeout, self._cut)
        sessions = list(self._sessions)
        for session in sessions:
            session.life.drain()
        await DeferredList([session.gone for session in sessions])
        if late.active():
            late.cancel()
        self._deadlines.stop()

    def _cut(self) -> None:
        count = sum(session.cut() for session in list(self._sessions))
        if count:
            _log.warn("{count} exchanges cut at the end of the drain timeout", count=count)

    def countExchanges(self) -> int:
        """
        Count the exchanges in flight.
        """
        return sum(len(session.streams) for session in self._sessions)


class _Log:
    """
    Says in the log whether the proxy is reached.
    """

    def __init__(self, url: str) -> None:
        self._reachability = Reachability(url)

    def tunnelUp(self, slot: object) -> None:
        self._reachability.succeed(slot)

    def tunnelDown(self, slot: object, error: Exception, *, wasUp: bool) -> None:
        self._reachability.fail(slot, error)

    def tunnelSlow(self, slot: object) -> None:
        pass

    def handshakeAnswered(self, body: bytes) -> None:
        pass
