"""
Intermediaries that come and go: the links through them are lost, and made again.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from attrs import evolve

from invproxy.test.intermediaries import ListeningProxy, Nginx
from invproxy.test.programs import DEADLINE, Agent, eventually, freePort, variants
from invproxy.test.traffic import Answer, Client, TrafficTestCase, origin
from invproxy.test.ways import (
    BACK,
    HAPROXY,
    LOST,
    NGINX,
    TINYPROXY,
    Way,
    checkTunneled,
    haproxy,
    nginx,
    tinyproxy,
)
from invproxy.test.wires import Aside


class RestartTestCase(TrafficTestCase):
    """
    An intermediary that comes and goes.

    @cvar transport: how exchanges reach the agent.
    """

    transport = "tunnel"

    def recovers(self, way: Way, agent: Agent, begin: int) -> None:
        """
        The link is there again soon, and is what it was.
        """
        isTunnel = self.transport != "poll"
        eventually(
            lambda: way.proxy.backend("again")["tunnels" if isTunnel else "polls"],
            "the link is there again",
        )
        self.checkFields()
        if isTunnel:
            checkTunneled(self, way)
            self.assertEqual(way.proxy.backend("again")["tunnels"], 1)
        if self.transport != "auto":
            agent.waitFor(BACK, begin)
            self.assertEqual((agent.count(LOST, begin), agent.count(BACK, begin)), (1, 1))


class Restart(RestartTestCase):
    """
    An intermediary is restarted.

    @cvar make: makes a way through it.
    """

    make: Callable[..., Way]

    def test_restarted(self) -> None:
        """
        It is killed, and started again.
        """
        make = type(self).make
        way = make()
        self.running(way.middle)
        agent = self.running(way.agent("again", self.transport))
        self.client = Client(way.proxy.url, "again")
        self.checkFields()
        begin = len(agent.output())
        way.middle.kill()
        agent.waitFor(LOST, begin)
        way = make(port=way.middle.port)
        self.running(way.middle)
        self.recovers(way, agent, begin)


globals().update(
    variants(
        Restart,
        {
            "NginxTunnel": {"make": staticmethod(nginx), "skip": NGINX},
            "NginxPoll": {"make": staticmethod(nginx), "skip": NGINX, "transport": "poll"},
            "NginxAuto": {"make": staticmethod(nginx), "skip": NGINX, "transport": "auto"},
            "HAProxy": {"make": staticmethod(haproxy), "skip": HAPROXY},
            "Tinyproxy": {"make": staticmethod(tinyproxy), "skip": TINYPROXY},
        },
    )
)
del Restart


class NginxTests(RestartTestCase):
    """
    What else may happen to nginx, and behind it.
    """

    skip = NGINX

    def test_reloaded(self) -> None:
        """
        It reads its configuration again, and its old process ends.
        """
        way = nginx()
        self.running(way.middle)
        agent = self.running(way.agent("again", self.transport))
        self.client = way.client("again")
        begin = len(agent.output())
        assert isinstance(way.middle, Nginx)
        way.middle.reload()
        agent.waitFor(LOST, begin)
        self.recovers(way, agent, begin)

    def test_silent(self) -> None:
        """
        It stands still. Both ends notice that, and come together again when it goes on.
        """
        way = nginx()
        self.running(way.middle)
        agent = self.running(way.agent("again", self.transport))
        origin().arrived, origin().waited = Event(), Event()
        self.addCleanup(origin().waited.set)
        self.client = Client(way.proxy.url, "again")
        waiting = Aside(lambda: self.client.ask("POST", "/wait", b""))
        self.assertTrue(origin().arrived.wait(DEADLINE))
        begin = len(agent.output())
        way.middle.freeze()
        agent.waitFor(LOST, begin)
        answer = waiting.result()
        assert isinstance(answer, Answer)
        self.assertEqual(answer.fields["X-Inverting-Proxy-Error"], "agent-lost")
        way.middle.thaw()
        self.recovers(way, agent, begin)

    def test_proxyRestarted(self) -> None:
        """
        The proxy behind it is killed, and started again.
        """
        port = freePort()
        proxy = self.running(ListeningProxy.documented("server", port))
        way = Way.through(proxy, self.running(Nginx(proxy.port)))
        agent = self.running(way.agent("again", "auto"))
        begin = len(agent.output())
        proxy.kill()
        agent.waitFor("proxy .* not reached, retrying: it answered 502", begin)
        proxy = self.running(ListeningProxy.documented("server", port))
        way = evolve(way, proxy=proxy)
        self.client = way.client("again")
        eventually(lambda: proxy.backend("again").get("tunnels"), "the tunnel is back")
        checkTunneled(self, way)
        self.checkAll()
        self.assertLess(len(agent.output(begin)), 8)
