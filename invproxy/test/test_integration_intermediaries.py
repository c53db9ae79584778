"""
What stands between clients, agents and a proxy in the real world: nginx and HAProxy in front of the proxy, and a
forward proxy on the way of an agent. They are configured as docs/intermediaries.md says.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from functools import cache
from queue import SimpleQueue
from threading import Barrier, Event
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import evolve, field, frozen
from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection

from invproxy.test.intermediaries import (
    AGENTS,
    CLIENTS,
    ELSEWHERE,
    LARGE,
    Answer,
    Client,
    Front,
    HAProxy,
    Intermediary,
    ListeningProxy,
    Nginx,
    Origin,
    Tinyproxy,
    certificates,
    changed,
    command,
    documented,
    missing,
)
from invproxy.test.programs import DEADLINE, Agent, IntegrationTestCase, eventually
from invproxy.test.wires import Aside

LOST = r"proxy \S+ not reached|tunnel to \S+ lost"
"""What an agent logs when it has lost its proxy."""

BACK = r"proxy \S+ reached again"
"""What it logs when it has it again, unless it may choose between carriers."""

CHANGED = r"tunnel to \S+ stands, polling no more"
"""What one that may choose logs when it has come from polls to the tunnel."""

SOON = 15.0
"""Seconds within which a lost link is noticed, and a new one is there."""

SILENT = 16.0
"""The same for a link that is not known to be lost, but where nothing comes any more; it is looked at now and then."""

RETURN = 40.0
"""Seconds within which an agent that polls tries the tunnel again."""

IDLE, LONGER = 8, 12
"""Seconds of silence after which an intermediary ends a connection, and more of them."""

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


@cache
def origin() -> Origin:
    """
    The backend of all tests.
    """
    return Origin()


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
def sharedWay(name: str) -> Way:
    """
    The way that all tests share which do no harm to it.
    """
    return WAYS[name]()


@cache
def sharedAgent(name: str, transport: str, backend: str) -> Agent:
    """
    An agent on this way, for the same tests.
    """
    return sharedWay(name).agent(backend, transport)


class TrafficTestCase(IntegrationTestCase):
    """
    Requests of all kinds.
    """

    client: Client
    number = 50

    def checkFields(self) -> None:
        """
        A short request.
        """
        answer = self.client.ask("GET", "/fields", fields={"X-Asked": "yes"})
        self.assertEqual(answer.status, 200)
        self.assertIn(b"X-Asked: yes", re.sub(rb"(?i)x-asked", b"X-Asked", answer.body))

    def checkUpload(self) -> None:
        """
        A body of some MiB.
        """
        body = os.urandom(5 << 20)
        answer = self.client.ask("POST", "/digest", body)
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.body.decode(), hashlib.sha256(body).hexdigest())

    def checkDownload(self) -> None:
        """
        An answer of 10 MiB.
        """
        answer = self.client.ask("GET", "/large")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.fields["Content-Length"], str(len(LARGE)))
        self.assertTrue(answer.body == LARGE)

    def checkEvents(self) -> None:
        """
        Server-sent events, each of which is sent once the last has arrived.
        """
        events: SimpleQueue[str | None] = SimpleQueue()
        origin().events = events
        with self.client.open("GET", "/events") as response:
            self.assertEqual(response.status, 200)
            for number in range(20):
                events.put(str(number))
                self.assertEqual(response.readline(), b"data: %d\n" % number)
                self.assertEqual(response.readline(), b"\n")
            events.put(None)
            self.assertEqual(response.read(), b"")

    def checkWebSocket(self, client: Client | None = None) -> None:
        """
        A WebSocket.
        """
        with (client or self.client).webSocket() as socket:
            for message in ("äöü", "", os.urandom(126), os.urandom(70000), os.urandom(1 << 20)):
                socket.send(message)
                self.assertTrue(socket.recv(DEADLINE) == message)

    def checkAll(self, straight: Client | None = None) -> None:
        """
        All of these.

        @param straight: a client for WebSockets, where they do not pass what is in between.
        """
        self.checkFields()
        self.checkUpload()
        self.checkDownload()
        self.checkEvents()
        self.checkWebSocket(straight)
        self.checkMany()

    def checkTunneled(self, way: Way) -> None:
        """
        Requests make no calls of polls, once those begun before are over.
        """

        def isTunneled() -> bool:
            before = way.polled()
            self.checkUpload()
            time.sleep(0.1)  # calls are logged a little later
            return way.polled() == before

        eventually(isTunneled, "requests make no calls", SOON)

    def checkMany(self) -> None:
        """
        Many requests that are answered only when all of them are there.
        """
        origin().meeting = Barrier(self.number)
        with ThreadPoolExecutor(self.number) as pool:
            answers = pool.map(
                lambda number: self.client.ask("GET", f"/meet/{number}").body, range(self.number)
            )
            self.assertEqual(list(answers), [b"%d" % number for number in range(self.number)])


if TYPE_CHECKING:
    Case = TrafficTestCase
else:
    Case = object  # what is no TestCase is not run by itself


class Traffic(Case):
    """
    Requests of all kinds pass, by one carrier, through what is documented.
    """

    skip: str | None
    transport: str
    make: str

    def setUp(self) -> None:
        self.backend = f"{self.make}-{self.transport}"
        self.way = sharedWay(self.make)
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


class NginxPollTests(Fronted, TrafficTestCase):
    """
    Polls through nginx.
    """

    skip, make, transport = NGINX, "nginx", "poll"


class NginxTunnelTests(Fronted, TrafficTestCase):
    """
    The tunnel through nginx.
    """

    skip, make, transport = NGINX, "nginx", "tunnel"


class HAProxyPollTests(Fronted, TrafficTestCase):
    """
    Polls through HAProxy.
    """

    skip, make, transport = HAPROXY, "haproxy", "poll"


class HAProxyTunnelTests(Fronted, TrafficTestCase):
    """
    The tunnel through HAProxy.
    """

    skip, make, transport = HAPROXY, "haproxy", "tunnel"


class ConnectPollTests(Traffic, TrafficTestCase):
    """
    Polls through a forward proxy.
    """

    skip, make, transport = TINYPROXY, "tinyproxy", "poll"


class ConnectTunnelTests(Traffic, TrafficTestCase):
    """
    The tunnel through a forward proxy.
    """

    skip, make, transport = TINYPROXY, "tinyproxy", "tunnel"


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
        agent.waitFor(LOST, seconds=SOON)

    def test_wrong(self) -> None:
        """
        Where credentials are wrong the agent says so, and does not show them.
        """
        way = sharedWay("tinyproxy")
        wrong = {
            name: changed(value, {"secret": "mistaken"}) for name, value in way.environment.items()
        }
        for transport in ("poll", "auto", "tunnel"):
            agent = self.running(
                evolve(way, environment=wrong).agent("wrong", transport, ready=False)
            )
            agent.waitFor(LOST + ".* 40[17] ")
            self.assertNotIn("mistaken", "\n".join(agent.output()))


class Fallback(Case):
    """
    An intermediary that does not let upgrades pass.
    """

    skip: str | None

    def check(self, way: Way, *, alsoOfClients: bool = True) -> None:
        """
        An agent that may choose carries everything by polls, and says so in a line.

        @param alsoOfClients: whether the upgrades of clients do not pass, either.
        """
        self.running(way.middle)
        agent = self.running(way.agent("fall", "auto"))
        agent.waitFor("^agent ready: .* over poll$", seconds=0)
        self.client = way.client("fall")
        if alsoOfClients:
            with self.assertRaises((InvalidStatus, InvalidMessage)):
                self.checkWebSocket()
        self.checkAll(Client(way.proxy.url, "fall") if alsoOfClients else None)
        eventually(way.polled, "calls of polls are seen")
        lines = [line for line in agent.output() if "tunnel" in line]
        self.assertEqual(len(lines), 1, lines)
        self.assertEqual(agent.count(LOST), 0)


class NginxFallbackTests(Fallback, TrafficTestCase):
    """
    nginx that does not let upgrades pass.
    """

    skip = NGINX

    def answering(self, status: int) -> dict[str, str]:
        """
        What to change so that it answers upgrades itself.
        """
        return {
            "proxy_buffering off;": f"proxy_buffering off; if ($http_upgrade) {{ return {status}; }}"
        }

    def test_badRequest(self) -> None:
        """
        It answers 400.
        """
        self.check(nginx(self.answering(400)))

    def test_badGateway(self) -> None:
        """
        It answers 502.
        """
        self.check(nginx(self.answering(502)))

    def test_closed(self) -> None:
        """
        It closes the connection.
        """
        self.check(nginx(self.answering(444)))

    def test_dropped(self) -> None:
        """
        It drops what it has not been told to pass on.
        """
        self.check(nginx(NO_UPGRADE))

    def test_learns(self) -> None:
        """
        When it has been told, agents come to the tunnel by themselves, and what is in flight goes on.
        """
        way = nginx(NO_UPGRADE, patience=120)
        self.running(way.middle)
        assert isinstance(way.middle, Nginx)
        agent = self.running(way.agent("learns", "auto", "--drain-timeout", "1"))
        waiting = self.running(way.agent("waits", "tunnel", ready=False))
        waiting.waitFor(LOST)
        self.client = way.client("learns")
        events: SimpleQueue[str | None] = SimpleQueue()
        origin().events = events
        with self.client.open("GET", "/events") as response:
            begin = len(agent.output())
            way.middle.reload()
            agent.waitFor(CHANGED, begin, RETURN)
            changedAt = time.monotonic()
            waiting.waitFor("^agent ready: .* over tunnel$", 0, RETURN)
            self.checkTunneled(way)
            self.checkAll()
            time.sleep(max(0.0, changedAt + 2.0 - time.monotonic()))  # longer than a drain
            events.put("last")
            self.assertEqual(response.readline(), b"data: last\n")
            events.put(None)
            self.assertEqual(response.read(), b"\n")
        self.assertEqual(len(agent.output(begin)), 1)
        self.assertEqual(agent.count("^agent ready: "), 1)
        self.assertEqual((waiting.count(LOST), waiting.count(BACK)), (1, 1))


class HAProxyFallbackTests(Fallback, TrafficTestCase):
    """
    HAProxy that does not let upgrades pass.
    """

    skip = HAPROXY

    def test_forbidden(self) -> None:
        """
        It answers 403.
        """
        rule = "http-request deny deny_status 403 if { req.hdr(Upgrade) -m found }\n"
        self.check(haproxy({"    default_backend": f"    {rule}    default_backend"}))

    def test_hung(self) -> None:
        """
        It does not answer for long.
        """
        rule = "timeout tarpit 60s\n    http-request tarpit if { path /agent/tunnel }\n"
        changes = {"    default_backend": f"    {rule}    default_backend"}
        self.check(haproxy(changes), alsoOfClients=False)

    def test_stripped(self) -> None:
        """
        It drops the field.
        """
        rule = "http-request del-header Upgrade\n"
        self.check(haproxy({"    default_backend": f"    {rule}    default_backend"}))


class Restart(Case):
    """
    An intermediary that comes and goes.
    """

    skip: str | None
    transport: str

    def restarted(self, make: Callable[..., Way]) -> None:
        """
        It is killed, and started again.
        """
        way = make()
        self.running(way.middle)
        agent = self.running(way.agent("again", self.transport))
        self.client = Client(way.proxy.url, "again")
        self.checkFields()
        begin = len(agent.output())
        way.middle.kill()
        agent.waitFor(LOST, begin, SOON)
        way = make(port=way.middle.port)
        self.running(way.middle)
        self.recovers(way, agent, begin)

    def recovers(self, way: Way, agent: Agent, begin: int) -> None:
        """
        The link is there again soon, and is what it was.
        """
        isTunnel = self.transport != "poll"
        eventually(
            lambda: way.proxy.backend("again")["tunnels" if isTunnel else "polls"],
            "the link is there again",
            SOON,
        )
        self.checkFields()
        if isTunnel:
            self.checkTunneled(way)
            self.assertEqual(way.proxy.backend("again")["tunnels"], 1)
        if self.transport != "auto":
            agent.waitFor(BACK, begin, SOON)
            self.assertEqual((agent.count(LOST, begin), agent.count(BACK, begin)), (1, 1))


class NginxRestartTests(Restart, TrafficTestCase):
    """
    nginx is restarted.
    """

    skip, transport = NGINX, "tunnel"

    def test_restarted(self) -> None:
        """
        It is killed, and started again.
        """
        self.restarted(nginx)

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
        agent.waitFor(LOST, begin, SOON)
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
        agent.waitFor(LOST, begin, SILENT)
        answer = waiting.result()
        assert isinstance(answer, Answer)
        self.assertEqual(answer.fields["X-Inverting-Proxy-Error"], "agent-lost")
        self.assertLess(answer.seconds, 2 * SILENT)
        way.middle.thaw()
        self.recovers(way, agent, begin)


class NginxPollRestartTests(Restart, TrafficTestCase):
    """
    nginx is restarted while agents poll.
    """

    skip, transport = NGINX, "poll"

    def test_restarted(self) -> None:
        """
        It is killed, and started again.
        """
        self.restarted(nginx)


class NginxAutoRestartTests(Restart, TrafficTestCase):
    """
    nginx is restarted, and agents that may choose come back to the tunnel.
    """

    skip, transport = NGINX, "auto"

    def test_restarted(self) -> None:
        """
        It is killed, and started again.
        """
        self.restarted(nginx)

    def test_proxyRestarted(self) -> None:
        """
        The proxy behind it is killed, and started again.
        """
        proxy = self.running(ListeningProxy.documented("server"))
        way = Way.through(proxy, self.running(Nginx(proxy.port)))
        agent = self.running(way.agent("again", self.transport))
        begin = len(agent.output())
        proxy.kill()
        agent.waitFor("proxy .* not reached, retrying: it answered 502", begin, SOON)
        proxy = self.running(ListeningProxy.documented("server", proxy.port))
        self.client = way.client("again")
        eventually(lambda: proxy.backend("again").get("tunnels"), "the tunnel is back", SOON)
        self.checkTunneled(way)
        self.checkAll()
        self.assertLess(len(agent.output(begin)), 8)


class HAProxyRestartTests(Restart, TrafficTestCase):
    """
    HAProxy is restarted.
    """

    skip, transport = HAPROXY, "tunnel"

    def test_restarted(self) -> None:
        """
        It is killed, and started again.
        """
        self.restarted(haproxy)


class ConnectRestartTests(Restart, TrafficTestCase):
    """
    A forward proxy is restarted.
    """

    skip, transport = TINYPROXY, "tunnel"

    def test_restarted(self) -> None:
        """
        It is killed, and started again.
        """
        self.restarted(tinyproxy)


IMPATIENT: dict[str, Callable[[], Way]] = {
    "nginx": lambda: nginx({"proxy_read_timeout 1h": f"proxy_read_timeout {IDLE}s"}),
    "haproxy": lambda: haproxy(
        {f"timeout {each} 1h": f"timeout {each} {IDLE}s" for each in ("client", "server", "tunnel")}
    ),
    "tinyproxy": lambda: tinyproxy({"Timeout 600": f"Timeout {IDLE}"}),
}
"""What ends connections that are silent for a while."""


@frozen
class Silence:
    """
    A link on which nothing happens.

    @ivar way: where it goes.
    @ivar agent: whose it is.
    @ivar client: a client.
    @ivar began: since when, by the monotonic clock.
    @ivar begin: the first line of the agent since then.
    @ivar socket: something else that is silent.
    """

    way: Way
    agent: Agent
    client: Client
    began: float
    begin: int
    socket: ClientConnection


@cache
def silences() -> dict[str, Silence]:
    """
    Make a silent link through each intermediary, so that it takes the time of one only.
    """
    found = {}
    for name, make in IMPATIENT.items():
        if missing(name) is None:
            way = make()
            agent = way.agent(f"silent-{name}", "tunnel")
            client = way.client(f"silent-{name}")
            client.ask("GET", "/fields")
            socket = client.webSocket()
            begin = len(agent.output())
            found[name] = Silence(way, agent, client, time.monotonic(), begin, socket)
    return found


class Idle(Case):
    """
    An intermediary that ends what is silent.
    """

    skip: str | None

    def check(self, name: str) -> None:
        """
        The tunnel lives on, as its ends send pings.
        """
        silence = silences()[name]
        agent, way, self.client = silence.agent, silence.way, silence.client
        time.sleep(max(0.0, silence.began + LONGER - time.monotonic()))
        self.assertEqual(agent.output(silence.begin), [])
        before = way.polled()
        self.checkAll()
        self.assertEqual(agent.output(silence.begin), [])
        self.assertEqual(way.polled(), before)
        self.assertEqual(self.tunnels(way), 0)

    def tunnels(self, way: Way) -> int:
        """
        Count the tunnels that have ended.
        """
        return way.middle.calls("/agent/tunnel") if isinstance(way.middle, Front) else 0


class NginxIdleTests(Idle, TrafficTestCase):
    """
    nginx.
    """

    skip = NGINX

    def test_idle(self) -> None:
        """
        The tunnel lives on, and something else that is silent does not.
        """
        with self.assertRaises(ConnectionClosed):
            silences()["nginx"].socket.recv(LONGER)
        self.check("nginx")


class HAProxyIdleTests(Idle, TrafficTestCase):
    """
    HAProxy.
    """

    skip = HAPROXY

    def test_idle(self) -> None:
        """
        The tunnel lives on, and something else that is silent does not.
        """
        with self.assertRaises(ConnectionClosed):
            silences()["haproxy"].socket.recv(LONGER)
        self.check("haproxy")


class ConnectIdleTests(Idle, TrafficTestCase):
    """
    A forward proxy.
    """

    skip = TINYPROXY

    def test_idle(self) -> None:
        """
        The tunnel lives on.
        """
        self.check("tinyproxy")


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
