"""
The proxy as one Resource: the public side, and the agents' calls below it.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Request
from zope.interface import implementer

from invproxy.errors import NO_BACKEND, Fault
from invproxy.http1.heads import RequestHead
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.mailbox import Mailboxes
from invproxy.proxy.polling import PendingResource, RequestResource, ResponseResource
from invproxy.proxy.public import PublicResource
from invproxy.proxy.settings import ProxySettings
from invproxy.proxy.streams import StreamResource
from invproxy.routing import OpenRouter
from invproxy.timers import Wheel
from invproxy.wire.poll import PENDING, REQUEST, RESPONSE

AGENT_PATHS = frozenset((PENDING, REQUEST, RESPONSE))
"""The paths of agents' calls, below where the proxy is mounted."""


class _Nothing(StreamResource):
    """
    What there is for anybody but agents where only agents are served, and for agents where none are.
    """

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        raise Fault(
            NO_BACKEND, "this address is for agents only" if head.path() not in AGENT_PATHS else ""
        )


@implementer(IOrigin)
class ProxyResource(StreamResource):
    """
    A whole inverting proxy, to be the root of a L{invproxy.server.StreamingSite}, or mounted anywhere in a tree of
    Resources under any site. Mounted below a prefix, it sends targets on unchanged, prefix and all.

    @ivar mailboxes: the exchanges that wait and those in flight.
    """

    isLeaf = False

    def __init__(
        self,
        clock: IReactorTime,
        settings: ProxySettings | None = None,
        *,
        mailboxes: Mailboxes | None = None,
        servesClients: bool = True,
        servesAgents: bool = True,
    ) -> None:
        """
        @param clock: what tells the time; the reactor.
        @param settings: times and bounds.
        @param mailboxes: those of another such Resource, where clients and agents come in at different ones.
        @param servesClients: whether clients are served here.
        @param servesAgents: whether agents are served here.
        """
        super().__init__()
        settings = settings or ProxySettings()
        self._maxBody = settings.maxBody
        self._wheel = Wheel(clock)
        self.mailboxes = mailboxes or Mailboxes(
            clock,
            maxPending=settings.maxPending,
            maxBackends=settings.maxBackends,
            offlineAfter=settings.backendTimeout,
        )
        nothing = _Nothing()
        self._public: StreamResource = nothing
        if servesClients:
            self._public = PublicResource(
                self.mailboxes, OpenRouter(self.mailboxes), settings, clock, self._wheel
            )
        self._agent: dict[bytes, StreamResource] = dict.fromkeys(AGENT_PATHS, nothing)
        if servesAgents:
            for path, kind in (
                (PENDING, PendingResource),
                (REQUEST, RequestResource),
                (RESPONSE, ResponseResource),
            ):
                self._agent[path] = kind(self.mailboxes, settings, clock, self._wheel)

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        path = head.target.partition(b"?")[0]
        return self._agent.get(path, self._public).open(head, answer)

    def isAgentCall(self, head: RequestHead) -> bool:
        """
        Say whether a request is an agent's call, of which there must never be too many.
        """
        return head.path() in self._agent

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """
        Find the leaf for a request of a tree in which this is mounted.
        """
        rest = request.postpath or []
        found = self._agent.get(b"/" + b"/".join([path, *rest]), self._public)
        request.prepath = [*(request.prepath or []), *rest]
        request.postpath = []
        return found

    def render(self, request: Request) -> int:
        """
        Answer a request for just the place where this is mounted.
        """
        return self._public.render(request)

    def drain(self) -> None:
        """
        Refuse new requests, and send the agents that wait away; exchanges in flight go on.
        """
        if isinstance(self._public, PublicResource):
            self._public.draining = True
        self.mailboxes.release()
