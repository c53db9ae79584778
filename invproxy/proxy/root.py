"""
The proxy as one Resource: the public side, and the agents' calls below it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Request
from zope.interface import implementer

from invproxy.census import Census
from invproxy.deadlines import Deadlines
from invproxy.errors import AGENT_LOST, DRAINING, NO_BACKEND, Fault
from invproxy.http1.heads import RequestHead
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.mailbox import Mailboxes
from invproxy.metrics import Tally
from invproxy.proxy.endusers import EndUsers
from invproxy.proxy.polling import (
    AgentResource,
    Guard,
    PendingResource,
    RequestResource,
    ResponseResource,
)
from invproxy.proxy.public import PublicResource
from invproxy.proxy.settings import ProxySettings
from invproxy.proxy.streams import StreamResource
from invproxy.proxy.tunneling import TunnelResource
from invproxy.proxy.tunnels import Tunnels
from invproxy.proxy.visiting import Ejection, VisitedResource
from invproxy.registry.registry import Registry
from invproxy.routing import MembersRouter, OpenRouter, RegistryRouter
from invproxy.wire.poll import PENDING, REQUEST, RESPONSE, TUNNEL

_AGENT_CALLS: dict[bytes, type[AgentResource]] = {
    PENDING: PendingResource,
    REQUEST: RequestResource,
    RESPONSE: ResponseResource,
    TUNNEL: TunnelResource,
}
"""The paths of agents' calls, below where the proxy is mounted."""

_RESERVED: Final = b"/.invproxy/"

_isPlain: Final = re.compile(rb"/(?!agent/|\.invproxy/)").match
"""Tells the targets, nearly all, that cannot be one of the proxy's own."""


class _Nothing(StreamResource):
    """
    What there is at the proxy's own paths, for anybody but agents where only agents are served, and for agents where
    none are.
    """

    def serve(self, head: RequestHead, answer: IAnswer) -> IUpload:
        answer.identify(secrets.token_hex(16))
        raise Fault(NO_BACKEND)


class _Below(StreamResource):
    """
    A proxy mounted below a prefix, for one request.
    """

    def __init__(self, proxy: ProxyResource, depth: int) -> None:
        """
        @param proxy: the proxy.
        @param depth: how many segments the prefix has.
        """
        super().__init__()
        self._proxy = proxy
        self._depth = depth

    def serve(self, head: RequestHead, answer: IAnswer) -> IUpload:
        # Not by the segments of twisted.web, which are decoded: no path is read in two ways.
        segments = head.path().split(b"/")[1:]
        path = b"/" + b"/".join(segments[self._depth :])
        return self._proxy.find(path).open(head, answer)


@implementer(IOrigin)
class ProxyResource(StreamResource):
    """
    A whole inverting proxy, to be the root of a L{invproxy.server.StreamingSite}, or mounted anywhere in a tree of
    Resources under any site. Mounted below a prefix, it sends targets on unchanged, prefix and all.

    @ivar mailboxes: the exchanges that wait and those in flight.
    @ivar tunnels: those of all agents.
    @ivar census: counts what the proxy holds.
    """

    isLeaf = False

    def __init__(
        self,
        clock: IReactorTime,
        settings: ProxySettings | None = None,
        *,
        mailboxes: Mailboxes | None = None,
        tunnels: Tunnels | None = None,
        guard: Guard | None = None,
        registry: Registry | None = None,
        endUsers: EndUsers | None = None,
        servesClients: bool = True,
        servesAgents: bool = True,
        metrics: Tally | None = None,
    ) -> None:
        """
        @param clock: what tells the time; the reactor.
        @param settings: times and bounds.
        @param mailboxes: those of another such Resource, where clients and agents come in at different ones.
        @param tunnels: likewise.
        @param guard: what lets agents in; without it there is open mode, and all are.
        @param registry: which backends there are, and who may visit them; without it there is open mode.
        @param endUsers: how visitors are found out; without it they are nobody, unless trusted proxies name them.
        @param servesClients: whether clients are served here.
        @param servesAgents: whether agents are served here.
        @param metrics: told of exchanges and tunnels; a L{Recorder <invproxy.proxy.recorder.Recorder>} tells it of
            requests.
        """
        super().__init__()
        settings = settings or ProxySettings()
        self._clock = clock
        self._deadlines = Deadlines(clock)
        self.mailboxes = mailboxes or Mailboxes(
            clock,
            maxPending=settings.maxPending,
            maxBackends=settings.maxBackends,
            maxLinks=settings.maxLinks,
            offlineAfter=settings.backendTimeout,
        )
        self.tunnels = Tunnels(settings.maxTunnels, metrics) if tunnels is None else tunnels
        self.census = Census(self.mailboxes, clock)
        self.census.count("tunnels", lambda: len(self.tunnels))
        self.census.count("streams", self.tunnels.countStreams)
        self.census.count("deadlines", self.deadlines)
        self.census.include(self.tunnels, registry, endUsers)
        self._nothing = _Nothing()
        self._public: StreamResource = self._nothing
        self._pages: Mapping[bytes, StreamResource] = {}
        self._unobserve: Callable[[], None] | None = None
        if servesClients:
            self._public = self._publicSide(settings, registry, endUsers, metrics)
        self._agent: dict[bytes, StreamResource] = {
            path: kind(self.mailboxes, settings, clock, self._deadlines, guard or Guard())
            if servesAgents
            else self._nothing
            for path, kind in _AGENT_CALLS.items()
        }
        for resource in self._agent.values():
            if isinstance(resource, TunnelResource):
                resource.tunnels = self.tunnels

    def _publicSide(
        self,
        settings: ProxySettings,
        registry: Registry | None,
        endUsers: EndUsers | None,
        metrics: Tally | None,
    ) -> PublicResource:
        mailboxes = self.mailboxes
        router: OpenRouter | RegistryRouter = OpenRouter(mailboxes)
        if registry is not None:
            router = RegistryRouter(registry, mailboxes, canSignIn=endUsers is not None)
            self._unobserve = registry.observe(Ejection(mailboxes).changed)
        elif endUsers is not None:
            router = MembersRouter(mailboxes)
        if endUsers is None:
            return PublicResource(mailboxes, router, settings, self._deadlines, metrics=metrics)
        self._pages = endUsers.pages
        return VisitedResource(
            mailboxes,
            router,
            settings,
            self._deadlines,
            endUsers.visitors,
            sessions=endUsers.sessions,
            metrics=metrics,
        )

    def find(self, path: bytes) -> StreamResource:
        """
        Find what answers requests for a path.

        @param path: the path below where the proxy is mounted, as it came.
        """
        if path.startswith(_RESERVED):
            return self._pages.get(path, self._nothing)
        return self._agent.get(path, self._public)

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        resource = self._public if _isPlain(head.target) else self.find(head.path())
        return resource.open(head, answer)

    def isAgentCall(self, head: RequestHead) -> bool:
        """
        Say whether a request is an agent's call, of which there must never be too many.
        """
        return not _isPlain(head.target) and head.path() in self._agent

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """
        Find the leaf for a request of a tree in which this is mounted.
        """
        depth = len(request.prepath or [path]) - 1
        request.prepath = [*(request.prepath or []), *(request.postpath or [])]
        request.postpath = []
        return _Below(self, depth)

    def render(self, request: Request) -> int:
        """
        Answer a request for just the place where this is mounted.
        """
        return self._public.render(request)

    def deadlines(self) -> int:
        """
        Count the exchanges, polls and tunnels whose deadlines are watched here.
        """
        return self._deadlines.count()

    def drain(self) -> Deferred[None]:
        """
        Refuse new requests; exchanges in flight go on, and so do the calls of agents that serve them. Other agents are
        told that they may go elsewhere.

        @return: fires when no exchange is in flight any more.
        """
        if isinstance(self._public, PublicResource):
            self._public.draining = True
        self.mailboxes.drain()
        told = self.tunnels.drain(self._clock)
        return told.addCallback(lambda _: self.mailboxes.whenEmpty())

    def close(self) -> None:
        """
        Break off what is still in flight, and send the agents that wait away.
        """
        for exchange in list(self.mailboxes.exchanges.values()):
            exchange.fail(Fault(DRAINING if exchange.isUntouched() else AGENT_LOST))
        self.mailboxes.drain()
        if self._unobserve is not None:
            self._unobserve()
            self._unobserve = None
        if isinstance(self._public, VisitedResource):
            self._public.stop()
        self.tunnels.close()
        self._deadlines.stop()
