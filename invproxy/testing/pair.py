"""
A proxy and an agent, joined in memory.
"""

from __future__ import annotations

from types import TracebackType
from typing import cast

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.web.resource import IResource

from invproxy.agent.service import AgentService
from invproxy.agent.settings import AgentSettings
from invproxy.interfaces import IAccessLog, IOrigin
from invproxy.proxy.service import ProxyService
from invproxy.proxy.settings import ProxySettings
from invproxy.resources import ResourceOrigin
from invproxy.testing.client import MemoryClient
from invproxy.testing.fetch import Fields, Response, fetch
from invproxy.testing.network import MemoryNetwork

PROXY = ("proxy.test", 8080)
ADMIN = ("proxy.test", 8081)


class InvertingPair:
    """
    A whole inverting proxy in one process, without sockets and without waiting: for tests of whatever answers requests
    behind an agent. So an application tests itself::

        class GreetingTests(SynchronousTestCase):

            def test_greeting(self):
                with InvertingPair(Greeting()) as pair:
                    response = pair.request(b"GET", b"/hello?name=world")
                self.assertEqual(response.status, 200)
                self.assertEqual(response.body, b"Hello, world!")

    The services are the real ones, and speak HTTP with each other over a L{MemoryNetwork}. Its switches are there to
    make their lives hard: C{pair.network.cut}, C{freeze}, C{refuse}, C{segment}, C{advance}.

    @ivar network: the network.
    @ivar proxy: the L{ProxyService}.
    @ivar agent: the L{AgentService}.
    """

    def __init__(
        self,
        origin: IResource | IOrigin,
        *,
        network: MemoryNetwork | None = None,
        backend: str = "test",
        proxySettings: ProxySettings | None = None,
        agentSettings: AgentSettings | None = None,
        transport: str | None = None,
        accessLog: IAccessLog | None = None,
    ) -> None:
        """
        @param origin: what answers: a Resource, or any L{IOrigin}.
        @param network: the network, if the origin needs it before there is a pair.
        @param backend: the backend that the agent serves.
        @param proxySettings: times and bounds of the proxy.
        @param agentSettings: the settings of the agent.
        @param transport: how exchanges reach the agent: C{"auto"}, C{"tunnel"} or C{"poll"}; L{None} leaves it to
            C{agentSettings}, whose default is to try for a tunnel, and to poll while there is none.
        @param accessLog: where the proxy logs each exchange.
        """
        self.network = network or MemoryNetwork()
        if IResource.providedBy(origin):
            origin = ResourceOrigin(origin, clock=self.network)
        self.proxy = ProxyService(
            self.network,
            proxySettings or ProxySettings(),
            listen=[f"tcp:{PROXY[1]}:interface=127.0.0.1"],
            adminListen=f"tcp:{ADMIN[1]}:interface=127.0.0.1",
            accessLog=accessLog,
        )
        agentSettings = agentSettings or AgentSettings()
        if transport is not None:
            agentSettings = evolve(agentSettings, transport=transport)
        self.agent = AgentService(
            self.network,
            f"http://{PROXY[0]}:{PROXY[1]}",
            backend,
            cast(IOrigin, origin),
            agentSettings,
        )

    def start(self) -> None:
        """
        Start both, and wait until they are ready.
        """
        self.proxy.startService()
        self.network.resultOf(self.proxy.whenReady())
        self.agent.startService()
        self.network.resultOf(self.agent.whenReady())

    def stop(self) -> None:
        """
        Stop both, as they do it on SIGTERM: exchanges in flight come to their ends first.
        """
        for service in (self.agent, self.proxy):
            if service.running:
                self.network.resultOf(maybeDeferred(service.stopService))
        self.network.pump()

    def fetch(
        self,
        method: bytes = b"GET",
        target: bytes = b"/",
        fields: Fields = (),
        body: bytes = b"",
        *,
        trailers: Fields | None = None,
    ) -> Deferred[Response]:
        """
        Begin a request to the proxy; for L{fetch}'s parameters see there.
        """
        return fetch(self.network, PROXY, method, target, fields, body, trailers=trailers)

    def request(
        self,
        method: bytes = b"GET",
        target: bytes = b"/",
        fields: Fields = (),
        body: bytes = b"",
        *,
        trailers: Fields | None = None,
        within: float = 60.0,
    ) -> Response:
        """
        Send a request to the proxy, and wait for the whole response.

        @param within: how many seconds of the network's time it may take.
        @see: L{fetch} for the others.
        """
        return self.network.resultOf(
            self.fetch(method, target, fields, body, trailers=trailers), within=within
        )

    def client(self) -> MemoryClient:
        """
        Connect a raw client to the proxy.
        """
        return self.network.client(*PROXY)

    def __enter__(self) -> InvertingPair:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.stop()
