"""
What stands between clients, agents and a proxy in the real world: nginx and HAProxy in front of the proxy, and a
forward proxy on the way of an agent. They are configured as docs/intermediaries.md says.
"""

from __future__ import annotations

from email import message_from_bytes
from urllib.parse import urlsplit

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from invproxy.test.certificates import AGENTS, CLIENTS
from invproxy.test.intermediaries import (
    Front,
    HAProxy,
    ListeningProxy,
    Tinyproxy,
    changed,
    documented,
    missing,
)
from invproxy.test.programs import CARRIERS, Agent, eventually, variants
from invproxy.test.traffic import Client, TrafficTestCase, origin
from invproxy.test.ways import (
    HAPROXY,
    LOST,
    NGINX,
    TINYPROXY,
    Way,
    sharedAgent,
    sharedProxy,
    sharedWay,
)


class Traffic(TrafficTestCase):
    """
    Requests of all kinds pass, by one carrier, through what is documented.
    """

    skip: str | None
    transport: str
    make: str

    def setUp(self) -> None:
        self.backend = f"{self.make}-{self.transport}"
        self.way = sharedWay(self.make, self.transport)
        self.agent = sharedAgent(self.make, self.transport, self.backend)
        self.client = self.way.client(self.backend)

    def tearDown(self) -> None:
        """
        Whatever happened, nothing is left behind.
        """
        eventually(lambda: not self.way.proxy.inFlight(self.backend), "no exchange is in flight")

    def test_ready(self) -> None:
        """
        The agent says how it carries.
        """
        self.assertEqual(
            [line for line in self.agent.output() if "agent ready: " in line],
            [
                f'agent ready: {self.way.toProxy} -> {origin().url} as "{self.backend}"'
                f" over {self.transport}"
            ],
        )

    def test_carrier(self) -> None:
        """
        And so it does: what is in between sees the calls of polls, and none by the tunnel.
        """
        before = self.way.polled()
        for _ in range(3):
            self.checkFields()
        state = self.way.proxy.backend(self.backend)
        if self.transport == "tunnel":
            self.checkMany()
            self.assertEqual(self.way.polled(), before)
            self.assertEqual((state["tunnels"], state["polls"]), (1, 0))
        else:
            # Connections are kept, so a forward proxy sees few.
            more = 3 if isinstance(self.way.middle, Front) else 0
            eventually(lambda: self.way.polled() >= before + more > 0, "calls are seen")

    def test_upload(self) -> None:
        """
        A request with a body of some MiB.
        """
        self.checkUpload()

    def test_download(self) -> None:
        """
        An answer of 10 MiB.
        """
        self.checkDownload()

    def test_events(self) -> None:
        """
        Events arrive at once.
        """
        self.checkEvents()

    def test_webSocket(self) -> None:
        """
        WebSockets.
        """
        self.checkWebSocket()

    def test_many(self) -> None:
        """
        Many requests at once get an answer of their own each.
        """
        self.checkMany()


class Fronted(Traffic):
    """
    So it is behind a web server, which says where requests come from.
    """

    def test_forwarded(self) -> None:
        """
        Backends and the access log are told the client and the scheme, and not what a client says of itself.
        """
        names = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto")
        lies = dict.fromkeys((*names, "X-Real-IP", "X_Forwarded_For"), "192.0.2.66")
        answer = self.client.ask("GET", f"/fields?{self.backend}", fields=lies)
        self.assertEqual(answer.status, 200)
        fields = message_from_bytes(answer.body)
        self.assertNotIn("192.0.2.66", str(fields))
        host = urlsplit(self.way.clients).netloc
        self.assertEqual(fields["Host"], host)
        self.assertEqual(fields["X-Forwarded-For"].split(", ")[0], CLIENTS)
        self.assertEqual(fields["X-Forwarded-Host"].split(", ")[0], host)
        self.assertEqual(fields["X-Forwarded-Proto"].split(", ")[0], "https")
        self.assertIn(f"for={CLIENTS};", fields["Forwarded"].split(",")[0])
        self.way.proxy.waitFor(rf"^{CLIENTS} .*GET /fields\?{self.backend} ")

    def test_strangers(self) -> None:
        """
        Agents are let in from where they are expected, and from nowhere else.
        """
        fields = {"X-Inverting-Proxy-Backend-ID": "strange", "X-Inverting-Proxy-Request-ID": "0"}
        for path in ("pending", "request", "response", "tunnel"):
            answer = self.client.ask("GET", f"/agent/{path}", fields=fields)
            self.assertEqual(answer.status, 403, path)
        answer = self.client.ask("GET", "/agent/request", fields=fields, source=AGENTS)
        self.assertEqual(answer.status, 404)
        self.assertFalse(self.way.proxy.backend("strange").get("polls"))


def through(kind: str, skip: str | None) -> dict[str, dict[str, object]]:
    """
    Each carrier through an intermediary.
    """
    return {
        f"{kind}{carrier}": {**attributes, "make": kind.lower(), "skip": skip}
        for carrier, attributes in CARRIERS.items()
    }


globals().update(variants(Fronted, {**through("Nginx", NGINX), **through("HAProxy", HAPROXY)}))
globals().update(variants(Traffic, through("Tinyproxy", TINYPROXY)))
del Fronted, Traffic


class ProxyProtocolTests(TrafficTestCase):
    """
    HAProxy in front, by the PROXY protocol.
    """

    skip = HAPROXY

    def check(self, transport: str) -> None:
        """
        Requests pass, and the proxy knows the client.
        """
        proxy = self.running(ListeningProxy.documented("server-proxy-protocol"))
        way = Way.through(proxy, self.running(HAProxy(proxy.port, name="haproxy-proxy-protocol")))
        self.running(way.agent("web", transport))
        self.client = way.client("web")
        self.checkAll()
        answer = self.client.ask("GET", "/fields?here", fields={"X-Forwarded-For": "192.0.2.66"})
        fields = message_from_bytes(answer.body)
        self.assertEqual(fields["X-Forwarded-For"], CLIENTS)
        self.assertEqual(fields["X-Forwarded-Proto"], "http")
        proxy.waitFor(rf"^{CLIENTS} .*GET /fields\?here ")

    def test_poll(self) -> None:
        """
        With polls.
        """
        self.check("poll")

    def test_tunnel(self) -> None:
        """
        With the tunnel.
        """
        self.check("tunnel")


class CredentialsTests(TrafficTestCase):
    """
    What a forward proxy wants to know.
    """

    skip = TINYPROXY

    def test_option(self) -> None:
        """
        C{--http-proxy} does the same as the environment, for a proxy without TLS on loopback as well.
        """
        proxy = sharedProxy()
        forward = self.running(Tinyproxy(proxy.port))
        agent = self.running(
            Agent(
                *(proxy.url, "option", origin().url),
                *("--http-proxy", f"http://ada:secret@127.0.0.1:{forward.port}"),
            )
        )
        forward.waitFor(rf"CONNECT 127\.0\.0\.1:{proxy.port} ")
        self.client = Client(proxy.url, "option")
        self.checkFields()
        forward.kill()
        agent.waitFor(LOST)

    def test_wrong(self) -> None:
        """
        Where credentials are wrong the agent says so, and does not show them.
        """
        way = sharedWay("tinyproxy", "wrong")
        wrong = {
            name: changed(value, {"secret": "mistaken"}) for name, value in way.environment.items()
        }
        for transport in ("poll", "auto", "tunnel"):
            agent = self.running(
                evolve(way, environment=wrong).agent("wrong", transport, ready=False)
            )
            agent.waitFor(LOST + ".* 40[17] ")
            self.assertNotIn("mistaken", "\n".join(agent.output()))


class DocumentationTests(SynchronousTestCase):
    """
    The page.
    """

    skip = missing()

    def test_blocks(self) -> None:
        """
        All blocks that are said to be tested are.
        """
        self.assertEqual(
            set(documented()),
            {
                *("server", "nginx", "haproxy", "server-proxy-protocol"),
                *("haproxy-proxy-protocol", "agent", "tinyproxy"),
            },
        )
