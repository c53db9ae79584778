"""
The proxy as a service: endpoints, sites, and an orderly end.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import partial

from attrs import evolve, field, frozen
from twisted.application.service import Service
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from invproxy.admin.metrics import Collecting
from invproxy.admin.root import AdminResource, adminOrigin
from invproxy.admin.token import AdminToken
from invproxy.auth.agents import OpenAgents
from invproxy.auth.identity import IVerifier
from invproxy.auth.oidc_settings import OIDCSettings
from invproxy.census import Census
from invproxy.errors import CLIENT_GONE, ConfigError
from invproxy.interfaces import IAccessLog, IMetrics
from invproxy.metrics import Tally
from invproxy.proxy.access import AgentAccess
from invproxy.proxy.backlog import BACKLOG, stopAccepting
from invproxy.proxy.certified import canAsk, certifiedEndpoint, parseAuthorities
from invproxy.proxy.endusers import endUsersOf
from invproxy.proxy.polling import Guard
from invproxy.proxy.recorder import Recorder
from invproxy.proxy.root import ProxyResource
from invproxy.proxy.settings import ProxySettings
from invproxy.refusals import Refusals
from invproxy.registry.registry import Registry
from invproxy.server import StreamingSite
from invproxy.server.accepting import guardPort
from invproxy.server.crowd import Crowd, Room
from invproxy.server.site import ignore
from invproxy.server.stream import ServerStream

_log = Logger(namespace="invproxy.proxy")


@frozen
class Addresses:
    """
    Where a proxy listens, as URLs.

    @ivar public: for clients, and for agents unless they have their own.
    @ivar agents: for agents alone.
    @ivar admin: for administrators, or L{None}.
    """

    public: list[str] = field(factory=list)
    agents: list[str] = field(factory=list)
    admin: str | None = None


class ProxyService(Service):
    """
    An inverting proxy that listens on endpoints.

    @ivar refusals: counts the connections that were closed without an answer.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        settings: ProxySettings | None = None,
        *,
        listen: Sequence[str] = ("tcp:8080:interface=127.0.0.1",),
        agentListen: Sequence[str] = (),
        adminListen: str | None = None,
        accessLog: IAccessLog | None = None,
        metrics: IMetrics | None = None,
        adminToken: AdminToken | None = None,
        registry: Registry | None = None,
        verifier: IVerifier | None = None,
        agentAuthorities: bytes | None = None,
        checkers: Sequence[ICredentialsChecker] = (),
        oidc: OIDCSettings | None = None,
        onlyOwnNames: bool = False,
    ) -> None:
        """
        @param reactor: the reactor.
        @param settings: times and bounds.
        @param listen: endpoint strings for clients, and for agents unless C{agentListen} has any.
        @param agentListen: endpoint strings for agents alone.
        @param adminListen: endpoint string of the admin endpoint, or L{None} for none.
        @param accessLog: where a line about each exchange goes.
        @param metrics: what is told of all that happens, besides what the admin endpoint shows; if it is a collector of
            prometheus_client, that shows it, too.
        @param adminToken: who has it may use the admin endpoint from anywhere; without one only programs on this
            machine may.
        @param registry: which backends there are, and who may serve them; without one there is open mode, where
            anybody may serve any backend. It is started and stopped along with the service.
        @param verifier: understands the JWTs of agents, if any count.
        @param agentAuthorities: certificates, in PEM, of those whose client certificates count for agents on the
            C{ssl:} endpoints among C{agentListen}; L{None} if none do.
        @param checkers: check the names and passwords of end users, if they have any.
        @param oidc: the provider where end users sign in, if they can.
        @param onlyOwnNames: whether agents that need no credentials, as there is no registry, must call the proxy by an
            IP address or C{localhost}, so that no page in a browser on this machine can become one.
        @raise ConfigError: if the certificates cannot be used.
        """
        self._reactor = reactor
        settings = settings or ProxySettings()
        self._access: AgentAccess | None = None
        self._authorities = parseAuthorities(agentAuthorities) if agentAuthorities else []
        if registry is not None:
            # Each backend of the registry may have a mailbox.
            settings = evolve(settings, maxBackends=sys.maxsize)
            self._access = AgentAccess(
                reactor,
                registry,
                settings,
                verifier=verifier,
                takesCertificates=bool(self._authorities),
            )
        self._settings = settings
        tally = Tally(metrics) if adminListen or metrics is not None else None
        self.refusals = Refusals(reactor, tally)
        self._room = Room(settings.maxSockets)
        self._listen = {
            "public": listen,
            "agents": agentListen,
            "admin": [adminListen] if adminListen else [],
        }
        guard = Guard(OpenAgents(onlyOwnNames=onlyOwnNames))
        if self._access is not None:
            guard = self._access.guard
        self.resource = ProxyResource(
            reactor,
            settings,
            guard=guard,
            registry=registry,
            endUsers=endUsersOf(reactor, settings, checkers=checkers, oidc=oidc),
            servesAgents=not agentListen,
            metrics=tally,
        )
        self._recorder = Recorder(accessLog, reactor, settings, self.resource.isAgentCall, tally)
        self._isObserved = accessLog is not None or tally is not None
        self._agents = ProxyResource(
            reactor,
            settings,
            mailboxes=self.resource.mailboxes,
            tunnels=self.resource.tunnels,
            guard=guard,
            servesClients=False,
        )
        admin = AdminResource(
            self.resource.mailboxes,
            reactor,
            lambda: self._ready,
            registry=registry,
            token=adminToken,
            census=self.resource.census,
            collectors=[each for each in (tally, metrics) if isinstance(each, Collecting)],
            addresses=self._addresses,
        )
        self._sites = {
            "public": self._site(self.resource, "connections"),
            "agents": self._site(self._agents, "agent_connections"),
            "certified": self._site(self._agents, "certified_connections", takesCertificates=True),
            "admin": StreamingSite(
                adminOrigin(admin, reactor),
                reactor,
                limits=settings.limits,
                crowd=self._crowd(_MOST_ADMINISTRATORS, _MOST_ADMINISTRATORS // 4),
                streamEnded=self._countBroken,
                name="admin_connections",
            ),
        }
        self._includeIn(self.resource.census)
        self._ports: list[IListeningPort] = []
        self._inherited: list[IListeningPort] = []
        self._ready = False
        self._last: IDelayedCall | None = None
        self._starting: Deferred[None] | None = None
        self._whenReady: list[Deferred[Addresses]] = []
        self._outcome: Addresses | Failure | None = None

    def _countBroken(self, stream: ServerStream) -> None:
        """
        Count what the admin endpoint refuses with its connection, by its bounds above all: where clients are, the
        recorder counts that.
        """
        if stream.error is not None and stream.error is not CLIENT_GONE:
            self.refusals.count(stream.error)

    def _includeIn(self, census: Census) -> None:
        census.include(self._access, self._room, *self._sites.values())
        census.count("deadlines", self._agents.deadlines)
        for kind, site in self._sites.items():
            census.count("adminConnections" if kind == "admin" else "clients", site.countClients)
            census.count("agentLinks", site.countLinks)
            census.count("deadlines", site.deadlines.count)
        if self._access is not None:
            census.count("deadlines", self._access.links.deadlines)

    def _site(
        self, resource: ProxyResource, name: str, *, takesCertificates: bool = False
    ) -> StreamingSite:
        settings = self._settings
        return StreamingSite(
            resource,
            self._reactor,
            limits=settings.limits,
            headTimeout=settings.headTimeout,
            idleTimeout=settings.idleTimeout,
            crowd=self._crowd(settings.maxConnections, settings.mostPerAddress()),
            minPace=settings.minPace,
            isAgentCall=resource.isAgentCall,
            streamEnded=self._recorder.record if self._isObserved else ignore,
            takesCertificates=takesCertificates,
            name=name,
        )

    def _crowd(self, most: int, mostOfOne: int) -> Crowd:
        return Crowd(
            self.refusals,
            most,
            mostOfOne=mostOfOne,
            isShared=self._settings.isShared,
            room=self._room,
        )

    def startService(self) -> None:
        super().startService()
        self._starting = Deferred.fromCoroutine(self._start()).addBoth(self._settle)

    async def _start(self) -> Addresses:
        try:
            if self._access is not None:
                await self._access.start(self.resource.mailboxes)
            addresses = await self._listenEverywhere()
        except BaseException:
            await self._stopListening()
            if self._access is not None:
                await self._access.stop()
            raise
        self._ready = True
        return addresses

    async def _listenEverywhere(self) -> Addresses:
        urls: dict[str, list[str]] = {}
        for kind, descriptions in self._listen.items():
            urls[kind] = []
            for description in descriptions:
                site = kind
                try:
                    if kind == "agents" and self._authorities and canAsk(description):
                        site = "certified"
                        endpoint = certifiedEndpoint(
                            self._reactor, _withBacklog(description), self._authorities
                        )
                    else:
                        endpoint = serverFromString(self._reactor, _withBacklog(description))
                except (ValueError, TypeError, OSError, LookupError) as error:
                    raise ConfigError(
                        f"endpoint {description!r} cannot be used: {error}"
                    ) from error
                try:
                    port = await endpoint.listen(self._sites[site])
                except CannotListenError as error:
                    error.option = _OPTIONS[kind]  # type: ignore[attr-defined]
                    raise
                guardPort(port, self._reactor, self.refusals)
                self._ports.append(port)
                if _isInherited(description):
                    self._inherited.append(port)
                urls[kind].append(_url(description, port))
        return Addresses(
            urls["public"], urls["agents"], urls["admin"][0] if urls["admin"] else None
        )

    def _settle(self, outcome: Addresses | Failure) -> None:
        self._outcome = outcome
        waiting, self._whenReady = self._whenReady, []
        for deferred in waiting:
            deferred.callback(outcome)

    def whenReady(self) -> Deferred[Addresses]:
        """
        Wait until all endpoints listen.

        @return: fires with where; fails with L{ConfigError} or L{CannotListenError
            <twisted.internet.error.CannotListenError>}.
        """
        if self._outcome is not None:
            deferred: Deferred[Addresses] = Deferred()
            deferred.callback(self._outcome)
            return deferred
        waiting: Deferred[Addresses] = Deferred()
        self._whenReady.append(waiting)
        return waiting

    def _addresses(self) -> dict[str, list[str]]:
        found = self._outcome
        if not isinstance(found, Addresses):
            return {}
        admin = [] if found.admin is None else [found.admin]
        return {"Clients": found.public, "Agents": found.agents, "Administrators": admin}

    def stopService(self) -> Deferred[None]:
        """
        Refuse new requests, let those in flight come to their end, and then stop listening: until then agents may have
        to connect, to fetch a request that waits or to bring a response.

        @return: fires when all is closed, at most C{settings.drainTimeout} seconds later.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._ready = False
        if self._starting is not None:
            self._starting.cancel()
        late = self._reactor.callLater(self._settings.drainTimeout, self._cut)
        for kind in ("public", "agents", "certified"):
            self._sites[kind].refuseMore()
        await self.resource.drain()
        await self._stopListening()
        for resource in (self.resource, self._agents):
            resource.close()
        await DeferredList([site.drain() for site in self._sites.values()])
        for call in (late, self._last):
            if call is not None and call.active():
                call.cancel()
        for site in self._sites.values():
            site.abort()  # nothing is left, but for its clocks
        if self._access is not None:
            await self._access.stop()

    async def _stopListening(self) -> None:
        ports, self._ports = self._ports, []
        closing = []
        for port in ports:
            stop = partial(stopAccepting, port, self._reactor)
            closing.append(maybeDeferred(port.stopListening if port in self._inherited else stop))
        await DeferredList(closing)

    def _cut(self) -> None:
        inFlight = len(self.resource.mailboxes.exchanges)
        if inFlight:
            _log.warn("{count} exchanges cut at the end of the drain timeout", count=inFlight)
        self._last = self._reactor.callLater(_LAST_WORDS, self._abort)
        self.resource.close()

    def _abort(self) -> None:
        for site in self._sites.values():
            site.abort()


_OPTIONS = {"public": "listen", "agents": "agent-listen", "admin": "admin-listen"}
"""By which option each kind of endpoint is given, for errors."""

_MOST_ADMINISTRATORS = 256
"""Connections at the admin endpoint: each may have a body of a mebibyte under way."""

_isInherited = re.compile(r"(?:^|:)systemd\\?:").search
"""Tells the endpoints that stay open when this process ends: what waits there is for the next one."""

_LAST_WORDS = 1.0
"""Seconds within which clients get to read what became of what was cut."""


def _withBacklog(description: str) -> str:
    """
    Ask for more than Twisted's 50 waiting connections, unless the endpoint says otherwise.
    """
    kind = description.partition(":")[0]
    if kind in ("tcp", "tcp6", "ssl", "unix") and ":backlog=" not in description:
        return f"{description}:backlog={BACKLOG}"
    return description


def _url(description: str, port: IListeningPort) -> str:
    address = port.getHost()
    if isinstance(address, UNIXAddress):
        return f"unix:{(address.name or b'').decode()}"
    scheme = "https" if description.partition(":")[0] in ("ssl", "tls") else "http"
    if isinstance(address, IPv4Address | IPv6Address):
        isAny = address.host in ("0.0.0.0", "")  # noqa: S104  (it listens there already)
        host = "127.0.0.1" if isAny else address.host
        if ":" in host:
            host = f"[{'::1' if host == '::' else host}]"
        return f"{scheme}://{host}:{address.port}"
    return description
