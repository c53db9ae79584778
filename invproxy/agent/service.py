"""
The agent as a service, to be run by C{twist} or inside any Twisted application.
"""

from __future__ import annotations

import random

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger

from invproxy.agent.choice import Carrier, makeCarrier
from invproxy.agent.link import ProxyLink
from invproxy.agent.settings import AgentSettings
from invproxy.interfaces import IOrigin

_log = Logger(namespace="invproxy.agent")


class AgentService(Service):
    """
    Serves one backend of a proxy by an origin, for as long as it runs: what goes wrong with the proxy or on the way is
    tried again for ever.

    A Twisted application that wants to be reachable without opening a port hands it its own Resources::

        origin = ResourceOrigin(root, clock=reactor)
        agent = AgentService(reactor, "https://proxy.example", "web", origin)
        agent.setServiceParent(application)
    """

    def __init__(
        self,
        reactor: IReactorTime,
        proxy: str,
        backend: str,
        origin: IOrigin,
        settings: AgentSettings | None = None,
        *,
        endpoint: IStreamClientEndpoint | None = None,
    ) -> None:
        """
        @param reactor: the reactor.
        @param proxy: the base URL of the proxy.
        @param backend: the ID of the backend to serve.
        @param origin: what answers its requests: L{invproxy.agent.origins.HTTPOrigin},
            L{invproxy.resources.ResourceOrigin}, or your own.
        @param settings: how to reach the proxy and treat requests.
        @param endpoint: where to connect instead of what C{proxy} says.
        @raise ConfigError: if one of these cannot be used.
        """
        self._reactor = reactor
        self._proxy = proxy
        self._backend = backend
        self._origin = origin
        self._settings = settings or AgentSettings()
        self._endpoint = endpoint
        self._makeLink()  # what cannot be used is refused now
        self._run: _Run | None = None
        self._stopping: Deferred[None] = succeed(None)
        self._ready = False
        self._whenReady: list[Deferred[str]] = []

    def _makeLink(self) -> ProxyLink:
        return ProxyLink(self._reactor, self._proxy, self._backend, self._settings, self._endpoint)

    def startService(self) -> None:
        if self.running:
            return
        super().startService()
        link = self._makeLink()
        carrier = makeCarrier(self._reactor, link, self._origin, self._settings, random.random)
        self._run = run = _Run(carrier, link)
        run.done = Deferred.fromCoroutine(carrier.run(lambda: self._becomeReady(run)))
        run.done.addErrback(lambda failure: _log.failure("the carrier broke", failure=failure))

    def _becomeReady(self, run: _Run) -> None:
        if run is not self._run:
            return
        self._ready = True
        waiting, self._whenReady = self._whenReady, []
        for deferred in waiting:
            deferred.callback(run.carrier.name)

    def whenReady(self) -> Deferred[str]:
        """
        Wait until a call of the proxy has gone well.

        @return: fires with the name of the carrier in use, C{"tunnel"} or C{"poll"}; fails with L{CancelledError
            <twisted.internet.defer.CancelledError>} if the service is stopped before.
        """
        if self._ready and self._run is not None:
            return succeed(self._run.carrier.name)
        waiting: Deferred[str] = Deferred(self._whenReady.remove)
        self._whenReady.append(waiting)
        return waiting

    def stopService(self) -> Deferred[None]:
        """
        Take no more requests, and finish those in flight.

        @return: fires when that is done, at most C{settings.drainTimeout} seconds later.
        """
        super().stopService()
        run, self._run = self._run, None
        self._ready = False
        if run is not None:
            before, self._stopping = self._stopping, Deferred.fromCoroutine(self._stop(run))
            self._stopping = DeferredList([before, self._stopping]).addCallback(lambda _: None)
        for deferred in list(self._whenReady):
            deferred.cancel()
        # Each caller has a Deferred of its own.
        stopped: Deferred[None] = Deferred()
        self._stopping.addCallback(lambda _: stopped.callback(None))
        return stopped

    async def _stop(self, run: _Run) -> None:
        await run.carrier.stop()
        run.done.cancel()
        # The last exchange may end amidst what its connections have just received.
        await deferLater(self._reactor, 0)
        run.link.close()
        close = getattr(self._origin, "close", None)
        if close is not None and self._run is None:
            close()


@define
class _Run:
    """
    What is between a start and a stop.
    """

    carrier: Carrier
    link: ProxyLink
    done: Deferred[None] = field(factory=Deferred)
