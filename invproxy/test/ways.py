"""
Ways through what stands between clients, agents and a proxy, and what agents say of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache

from attrs import field, frozen

from invproxy.test.certificates import ELSEWHERE, certificates
from invproxy.test.intermediaries import (
    Front,
    HAProxy,
    Intermediary,
    ListeningProxy,
    Nginx,
    Tinyproxy,
    changed,
    command,
    missing,
)
from invproxy.test.programs import Agent, eventually
from invproxy.test.traffic import Client, TrafficTestCase, origin

LOST = r"proxy \S+ not reached|tunnel to \S+ lost"
"""What an agent logs when it has lost its proxy."""

BACK = r"proxy \S+ reached again"
"""What it logs when it has it again, unless it may choose between carriers."""

CHANGED = r"tunnel to \S+ stands, polling no more"
"""What one that may choose logs when it has come from polls to the tunnel."""

NO_UPGRADE = {
    "    proxy_set_header Upgrade $http_upgrade;\n": "",
    "    proxy_set_header Connection $connection_upgrade;\n": "",
}
"""What to change about nginx so that it passes no upgrade."""


def skipOf(*programs: str) -> str | None:
    """
    Say, also on stderr, why tests of these programs are skipped.
    """
    if why := missing(*programs):
        sys.stderr.write(f"{__name__}, {' and '.join(programs)}: skipped: {why}\n")
    return why


NGINX, HAPROXY, TINYPROXY = map(skipOf, ("nginx", "haproxy", "tinyproxy"))


@frozen
class Way:
    """
    How agents and clients reach a proxy.

    @ivar proxy: the proxy.
    @ivar middle: what stands in between.
    @ivar toProxy: the proxy's URL for agents.
    @ivar clients: its URL for clients.
    @ivar environment: for agents.
    """

    proxy: ListeningProxy
    middle: Intermediary
    toProxy: str
    clients: str
    environment: dict[str, str] = field(factory=dict)

    @classmethod
    def through(cls, proxy: ListeningProxy, front: Front) -> Way:
        """
        Through a web server in front.
        """
        return cls(proxy, front, front.url, front.url)

    @classmethod
    def connecting(cls, proxy: ListeningProxy, forward: Tinyproxy) -> Way:
        """
        For agents through a forward proxy, as it is documented; for clients straight.
        """
        documented = command("agent")
        assert documented.options["--proxy"] == "https://proxy.example"
        environment = {
            name: changed(value, {"forward.corp.example:3128": f"127.0.0.1:{forward.port}"})
            for name, value in documented.environment.items()
        }
        assert environment
        toProxy = f"https://{ELSEWHERE}:{proxy.port}"
        return cls(proxy, forward, toProxy, proxy.url, environment)

    def agent(self, backend: str, transport: str, *options: str, ready: bool = True) -> Agent:
        """
        Start an agent.
        """
        return Agent(
            *(self.toProxy, backend, origin().url, "--transport", transport),
            *("--proxy-ca", str(certificates().authority), *options),
            added=self.environment,
            ready=ready,
        )

    def client(self, backend: str) -> Client:
        """
        A client.
        """
        return Client(self.clients, backend)

    def isTunneled(self, backend: str) -> bool:
        """
        Say whether the one agent of a backend has come to its tunnel, and polls no more.
        """
        state = self.proxy.backend(backend)
        return (state.get("tunnels"), state.get("polls")) == (1, 0)

    def polled(self) -> int:
        """
        Count what exchanges by polls leave in the log of what is in between.
        """
        if isinstance(self.middle, Front):
            return self.middle.calls("/agent/response")
        return self.middle.count(r": CONNECT ")


@cache
def sharedProxy() -> ListeningProxy:
    """
    The proxy of all tests that do no harm to theirs.
    """
    return ListeningProxy.documented("server")


@cache
def sharedTLSProxy() -> ListeningProxy:
    """
    The same, with TLS.
    """
    return ListeningProxy.withTLS()


def nginx(changes: Mapping[str, str] | None = None, port: int = 0, patience: int = 1) -> Way:
    """
    Start nginx in front of the proxy.
    """
    front = Nginx(sharedProxy().port, changes, port=port, patience=patience)
    return Way.through(sharedProxy(), front)


def haproxy(changes: Mapping[str, str] | None = None, port: int = 0) -> Way:
    """
    Start HAProxy in front of the proxy.
    """
    return Way.through(sharedProxy(), HAProxy(sharedProxy().port, changes, port=port))


def tinyproxy(changes: Mapping[str, str] | None = None, port: int = 0) -> Way:
    """
    Start tinyproxy, that leads to the proxy.
    """
    return Way.connecting(sharedTLSProxy(), Tinyproxy(sharedTLSProxy().port, changes, port=port))


WAYS: dict[str, Callable[[], Way]] = {"nginx": nginx, "haproxy": haproxy, "tinyproxy": tinyproxy}


@cache
def sharedWay(name: str, transport: str) -> Way:
    """
    The way that all tests of a carrier share which do no harm to it: what one carrier leaves in a log is not taken for
    the other's.
    """
    return WAYS[name]()


@cache
def sharedAgent(name: str, transport: str, backend: str) -> Agent:
    """
    An agent on this way, for the same tests.
    """
    return sharedWay(name, transport).agent(backend, transport)


def checkTunneled(case: TrafficTestCase, way: Way) -> None:
    """
    Wait until an agent has come to its tunnel; from then on requests make no calls of polls, once those begun before
    are over.
    """
    eventually(lambda: way.isTunneled(case.client.backend), "the agent is at its tunnel")

    def isQuiet() -> bool:
        before = way.polled()
        case.checkUpload()
        return way.polled() == before

    eventually(isQuiet, "requests make no calls")
