"""
The choice of a carrier: the tunnel where it can be had, the poll carrier where and while it cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from invproxy.agent.failures import Failures
from invproxy.agent.link import ProxyLink
from invproxy.agent.poller import PollCarrier
from invproxy.agent.reachability import reasonOf
from invproxy.agent.settings import AgentSettings
from invproxy.agent.tunnels import TunnelCarrier
from invproxy.errors import Fault
from invproxy.interfaces import IOrigin
from invproxy.wire.poll import parseIDs

_log = Logger(namespace="invproxy.agent")


class Carrier(Protocol):
    """
    A way in which exchanges come from the proxy.

    @ivar name: what it is called.
    """

    @property
    def name(self) -> str: ...

    async def run(self, ready: Callable[[], None]) -> None:
        """
        Carry exchanges until L{stop}.

        @param ready: called when the proxy has been reached.
        """

    async def stop(self) -> None:
        """
        Take no more exchanges, and finish what is in flight, within the drain timeout.
        """

    def countExchanges(self) -> int:
        """
        Count the exchanges in flight.
        """


def makeCarrier(
    reactor: IReactorTime,
    link: ProxyLink,
    origin: IOrigin,
    settings: AgentSettings,
    random: Callable[[], float],
) -> Carrier:
    """
    Make the carrier that the settings ask for.

    @param reactor: the reactor.
    @param link: the way to the proxy.
    @param origin: what answers the requests.
    @param settings: which carrier, how many connections, and times.
    @param random: gives numbers from 0 to 1, for backoff.
    """
    if settings.transport == "poll":
        return PollCarrier(reactor, link, origin, settings, random)
    if settings.transport == "tunnel":
        return TunnelCarrier(reactor, link, origin, settings, random)
    return AutoCarrier(reactor, link, origin, settings, random)


class AutoCarrier:
    """
    Tries for a tunnel, always; and polls while there is none.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        link: ProxyLink,
        origin: IOrigin,
        settings: AgentSettings,
        random: Callable[[], float],
    ) -> None:
        """
        @param reactor: the reactor.
        @param link: the way to the proxy.
        @param origin: what answers the requests.
        @param settings: times and bounds.
        @param random: gives numbers from 0 to 1, for backoff.
        """
        failures = Failures(reactor)
        self._makePoll = lambda: PollCarrier(reactor, link, origin, settings, random, failures)
        self._tunnels = TunnelCarrier(reactor, link, origin, settings, random, self, failures)
        self._url = link.url
        self._up: set[object] = set()
        self._lost: set[object] = set()
        self._poll: PollCarrier | None = None
        self._polling: Deferred[None] = succeed(None)
        self._ending: dict[PollCarrier, Deferred[None]] = {}
        self._isPolled = False  # whether polls have reached the proxy
        self._isSaid = False  # whether the log says that there are polls
        self._refusal: Exception | None = None  # why there is no tunnel, until the log says so
        self._ready: Callable[[], None] = lambda: None
        self._running = False

    @property
    def name(self) -> str:
        """
        The carrier in use.
        """
        return PollCarrier.name if self._poll is not None else TunnelCarrier.name

    async def run(self, ready: Callable[[], None]) -> None:
        self._running = True
        self._ready = ready
        await self._tunnels.run(lambda: None)

    # How the tunnels fare.

    def tunnelUp(self, slot: object) -> None:
        self._up.add(slot)
        wasLost = bool(self._lost)
        self._lost.discard(slot)
        if self._poll is not None:
            if self._isSaid:
                _log.info("tunnel to {url} stands, polling no more", url=self._url)
            self._endPolling(self._poll)
            self._poll = None
        elif wasLost and not self._lost:
            _log.info("tunnel to {url} stands again", url=self._url)
        self._ready()

    def tunnelDown(self, slot: object, error: Exception, *, wasUp: bool) -> None:
        self._up.discard(slot)
        if wasUp:
            # The next try follows at once, and most often it is enough.
            if not self._lost:
                _log.info("tunnel to {url} lost: {why}", url=self._url, why=reasonOf(error))
            self._lost.add(slot)
        elif not self._up and self._running:
            # Whether it is the tunnel alone that does not come about, polls have to show: or they will say why. Who did
            # not even connect knows nothing of tunnels.
            self._refusal = None if isinstance(error, Fault) and not self._isPolled else error
            if self._isPolled:
                self._sayRefusal()
            self._beginPolling()

    def _sayRefusal(self) -> None:
        error, self._refusal = self._refusal, None
        if error is not None and not self._isSaid:
            _log.warn("no tunnel to {url}, polling: {why}", url=self._url, why=reasonOf(error))
            self._isSaid = True

    def tunnelSlow(self, slot: object) -> None:
        if not self._up and self._running:
            if not self._isSaid:
                _log.warn("no tunnel to {url} yet, polling", url=self._url)
                self._isSaid = True
            self._beginPolling()

    def handshakeAnswered(self, body: bytes) -> None:
        try:
            identifiers = parseIDs(body)
        except (ValueError, RecursionError):
            return
        if identifiers and self._running:
            # They are named only once, so they are taken even where another tunnel stands.
            poll = self._poll or self._makePoll()
            poll.take(identifiers)
            if poll is not self._poll:
                self._endPolling(poll)

    def _beginPolling(self) -> None:
        if self._poll is not None:
            return
        self._lost.clear()
        self._poll = poll = self._makePoll()
        running = Deferred.fromCoroutine(poll.run(lambda: self._polled(poll)))
        running.addErrback(lambda failure: _log.failure("the poll carrier broke", failure=failure))
        self._polling = running

    def _polled(self, poll: PollCarrier) -> None:
        if poll is self._poll:
            self._isPolled = True
            self._sayRefusal()
            self._ready()
            self._tunnels.hurry()

    def _endPolling(self, poll: PollCarrier) -> None:
        self._isPolled = self._isSaid = False
        self._refusal = None
        ended = Deferred.fromCoroutine(poll.leave())
        self._polling.cancel()  # its probe may not be answered yet
        self._ending[poll] = ended
        ended.addBoth(lambda _: self._ending.pop(poll, None) and None)

    async def stop(self) -> None:
        self._running = False
        polls = list(self._ending)
        if self._poll is not None:
            polls.append(self._poll)
            self._poll = None
        carriers: list[Carrier] = [self._tunnels, *polls]
        stopping = [Deferred.fromCoroutine(carrier.stop()) for carrier in carriers]
        self._polling.cancel()
        await DeferredList(stopping)

    def countExchanges(self) -> int:
        polled = [*self._ending, *([self._poll] if self._poll is not None else [])]
        return self._tunnels.countExchanges() + sum(poll.countExchanges() for poll in polled)
