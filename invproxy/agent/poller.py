"""
The poll carrier: ask the proxy for waiting exchanges, with several polls parked there at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.web.iweb import IResponse

from invproxy.agent.backoff import Backoff
from invproxy.agent.calls import ask
from invproxy.agent.failures import Failures
from invproxy.agent.link import ProxyLink
from invproxy.agent.reachability import ProxyRefusal, Reachability, refusalOf
from invproxy.agent.replay import Replay
from invproxy.agent.settings import AgentSettings
from invproxy.agent.workload import Workload
from invproxy.http1.fields import join
from invproxy.interfaces import IOrigin
from invproxy.steady import wallOf
from invproxy.wire.poll import MAX_PENDING_BYTES, REQUEST_ID, parseIDs

_PROBE_TIME = 10.0
"""Seconds, beyond those for a connection, within which a proxy must have answered the probe."""

_AT_ONCE = 1.0
"""
A poll that is not answered in so many seconds is parked: the proxy is reached. After one that was not and brought
nothing new, the next one waits a little.
"""

_SHORTEST_REST, _LONGEST_REST = 0.02, 0.25
"""Bounds on that wait in seconds: from the first time on, and after many such polls."""


class PollCarrier:
    """
    Brings exchanges from a proxy to an origin by the poll protocol.
    """

    name = "poll"

    def __init__(
        self,
        reactor: IReactorTime,
        link: ProxyLink,
        origin: IOrigin,
        settings: AgentSettings,
        random: Callable[[], float],
        failures: Failures | None = None,
    ) -> None:
        """
        @param reactor: the reactor.
        @param link: the way to the proxy.
        @param origin: what answers the requests.
        @param settings: how many polls, and times.
        @param random: gives numbers from 0 to 1, for backoff.
        @param failures: takes note of it if the origin fails.
        """
        noting = failures or Failures(reactor)

        def make(identifier: str, ended: Callable[[Replay], None]) -> Replay:
            return Replay(identifier, link, origin, settings, reactor, ended, noting)

        self._reactor = reactor
        self._link = link
        self._settings = settings
        self._random = random
        self._reachability = Reachability(link.url)
        self._workload = Workload(reactor, settings.maxExchanges, make)
        self._running = False
        self._loops: list[Deferred[None]] = []

    async def run(self, ready: Callable[[], None]) -> None:
        """
        Carry exchanges until L{stop}.

        @param ready: called once, when the proxy has answered.
        """
        self._running = True
        backoff = Backoff(self._random)
        while await self._try(self._probe, backoff) is None:
            if not self._running:
                return
        self._reachability.succeed(backoff)
        ready()
        if self._running:
            self._loops = [
                Deferred.fromCoroutine(self._loop()) for _ in range(self._settings.polls)
            ]
            await DeferredList(self._loops, consumeErrors=True)

    async def _loop(self) -> None:
        """
        Poll for ever.
        """
        backoff = Backoff(self._random)
        rest = Backoff(self._random, _SHORTEST_REST, _LONGEST_REST)
        isWell = True
        while self._running:
            with suppress(CancelledError):
                await self._workload.whenRoom()
                # A parked poll is silent for long, also where nobody is there any more: so try first.
                if not isWell and await self._try(self._probe, backoff) is None:
                    continue
                began = self._reactor.seconds()
                anyNew = await self._try(lambda: self._poll(backoff), backoff)
                isWell = anyNew is not None
                if anyNew:
                    rest.succeed()
                elif isWell and self._reactor.seconds() - began < _AT_ONCE:
                    await deferLater(self._reactor, rest.fail())

    async def _try(self, call: Callable[[], Awaitable[bool]], backoff: Backoff) -> bool | None:
        """
        Make a call of the proxy; if that fails, say so unless it was said, and wait a while.

        @param backoff: that of the caller.
        @return: its result, or L{None} if it failed.
        """
        try:
            return await call()
        except CancelledError:
            return None
        except Exception as error:
            if self._running:
                self._reachability.fail(backoff, error)
                asked = error.retryAfter if isinstance(error, ProxyRefusal) else 0.0
                with suppress(CancelledError):
                    await deferLater(self._reactor, backoff.fail(asked))
            return None

    async def _probe(self) -> bool:
        """
        Ask for a request that does not exist: a proxy that says so works, and takes us for an agent.
        """
        headers = self._link.headers.copy()
        headers.addRawHeader(REQUEST_ID, secrets.token_hex(16).encode("ascii"))
        asked = self._link.control.get(
            f"{self._link.url}/agent/request",
            headers=headers,
            unbuffered=True,
            allow_redirects=False,
        )
        asked.addTimeout(self._settings.connectTimeout + _PROBE_TIME, self._reactor)
        response: IResponse = await asked
        response.deliverBody(_Dismissal())
        if response.code != 404:
            fields = (
                (name, value)
                for name, values in response.headers.getAllRawHeaders()
                for value in values
            )
            raise refusalOf(response.code, join(fields), wallOf(self._reactor)())
        return True

    async def _poll(self, backoff: Backoff) -> bool:
        """
        Ask what waits, and begin with it.

        @param backoff: that of the caller.
        @return: whether there was anything new.
        """
        parked = self._reactor.callLater(_AT_ONCE, self._reachability.succeed, backoff)
        try:
            asked = ask(self._link.streaming, self._link.pollCall(), MAX_PENDING_BYTES)
            reply = await asked.addTimeout(self._settings.pollTimeout, self._reactor)
        finally:
            if parked.active():
                parked.cancel()
        if reply.head.status != 200:
            raise refusalOf(reply.head.status, reply.head.fields, wallOf(self._reactor)())
        try:
            identifiers = parseIDs(reply.body)
        except (ValueError, RecursionError):
            raise ProxyRefusal(
                "its answer to a poll is not a JSON array of request IDs: is this the base URL of an inverting proxy?"
            ) from None
        self._reachability.succeed(backoff)
        backoff.succeed()
        return self.take(identifiers)

    def take(self, identifiers: Iterable[str]) -> bool:
        """
        Begin with exchanges that the proxy has named.

        @return: whether there was anything new.
        """
        return self._workload.take(identifiers)

    async def stop(self) -> None:
        """
        Ask for nothing more, and finish what is in flight, within the drain timeout.
        """
        await self._drain(self._settings.drainTimeout)

    async def leave(self) -> None:
        """
        Ask for nothing more, as there is a better carrier now, and finish what is in flight, however long it takes.
        """
        await self._drain(None)

    async def _drain(self, timeout: float | None) -> None:
        self._running = False
        for loop in self._loops:
            loop.cancel()
        await self._workload.drain(timeout)

    def countExchanges(self) -> int:
        """
        Count the exchanges in flight.
        """
        return len(self._workload)


class _Dismissal(Protocol):
    """
    Takes a body that nobody wants, by closing its connection.
    """

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()
