"""
Intermediaries that do not let upgrades pass: agents carry requests by polls there.
"""

from __future__ import annotations

from queue import SimpleQueue
from select import select

from websockets.exceptions import InvalidMessage, InvalidStatus

from invproxy.test.intermediaries import Nginx
from invproxy.test.programs import eventually
from invproxy.test.traffic import Client, TrafficTestCase, origin
from invproxy.test.ways import (
    BACK,
    CHANGED,
    HAPROXY,
    LOST,
    NGINX,
    NO_UPGRADE,
    Way,
    checkTunneled,
    haproxy,
    nginx,
)


class Fallback(TrafficTestCase):
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


class NginxFallbackTests(Fallback):
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
            agent.waitFor(CHANGED, begin)
            waiting.waitFor("^agent ready: .* over tunnel$")
            checkTunneled(self, way)
            self.checkAll()
            # Longer than a drain may take, nothing happens to it.
            self.assertEqual(select([response], [], [], 2.0)[0], [])
            events.put("last")
            self.assertEqual(response.readline(), b"data: last\n")
            events.put(None)
            self.assertEqual(response.read(), b"\n")
        self.assertEqual(len(agent.output(begin)), 1)
        self.assertEqual(agent.count("^agent ready: "), 1)
        self.assertEqual((waiting.count(LOST), waiting.count(BACK)), (1, 1))


class HAProxyFallbackTests(Fallback):
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
