"""
The agent as a service, to be run by C{twist} or inside any Twisted application.
"""

from __future__ import annotations

import random

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger

from invproxy.agent.link import ProxyLink
from invproxy.agent.poller import PollCarrier
from invproxy.agent.settings import AgentSettings
from invproxy.errors import ConfigError
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
        self._origin = origin
        self._settings = settings = settings or AgentSettings()
        if settings.transport not in ("auto", "poll"):
            raise ConfigError(f"transport {settings.transport!r} is not auto or poll")
        self._proxy = proxy
        self._backend = backend
        self._endpoint = endpoint
        self._link = ProxyLink(reactor, proxy, backend, settings, endpoint)
        self._carrier: PollCarrier | None = None
        self._running: Deferred[None] | None = None
        self._ready = False
        self._whenReady: list[Deferred[str]] = []

    def startService(self) -> None:
        super().startService()
        self._carrier = PollCarrier(
            self._reactor, self._link, self._origin, self._settings, random.random
        )
        self._running = Deferred.fromCoroutine(self._carrier.run(self._becomeReady))
        self._running.addErrback(
            lambda failure: _log.failure("the poll carrier broke", failure=failure)
        )

    def _becomeReady(self) -> None:
        self._ready = True
        waiting, self._whenReady = self._whenReady, []
        for deferred in waiting:
            deferred.callback(PollCarrier.name)

    def whenReady(self) -> Deferred[str]:
        """
        Wait until a call of the proxy has gone well.

        @return: fires with the name of the carrier in use, C{"poll"}.
        """
        if self._ready:
            return succeed(PollCarrier.name)
        waiting: Deferred[str] = Deferred()
        self._whenReady.append(waiting)
        return waiting

    def stopService(self) -> Deferred[None]:
        """
        Take no more requests, and finish those in flight.

        @return: fires when that is done, at most C{settings.drainTimeout} seconds later.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        carrier, self._carrier = self._carrier, None
        self._ready = False
        if carrier is not None:
            await carrier.stop()
        if self._running is not None:
            self._running.cancel()
        self._link.close()
        close = getattr(self._origin, "close", None)
        if close is not None:
            close()
