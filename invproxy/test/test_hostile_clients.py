"""
Clients that act as agents, as somebody else, or choose a backend that is not theirs.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from invproxy.proxy.root import ProxyResource
from invproxy.proxy.settings import ProxySettings
from invproxy.test.accessbench import CALLS, AccessBench, bearer
from invproxy.test.hostile.clients import AGENTS, COOKIES, FORWARDED, OWN, SPELLINGS, spellings
from invproxy.test.rawcalls import HANDSHAKE, OURS, AgentTunnel, Bench, Call
from invproxy.test.visitbench import OIDC, VisitBench, known

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


def originForm(target: bytes) -> bytes:
    """
    What is left of a target without scheme and host.
    """
    return b"/" + target.split(b"/", 3)[3] if target.startswith(b"http://") else target


class PublicBench(AccessBench):
    """
    A proxy as with C{--agent-listen}: agents have a port of their own, which is not the one at hand.

    @ivar agents: that.
    """

    def makeProxy(self, settings: ProxySettings) -> ProxyResource:
        self.agents = super().makeProxy(settings)
        return ProxyResource(
            self.network,
            settings,
            mailboxes=self.agents.mailboxes,
            tunnels=self.agents.tunnels,
            servesAgents=False,
        )


class AgentPathsTests(SynchronousTestCase):
    """
    The paths of agents, in every spelling.
    """

    def openBench(self, bench: AccessBench) -> AgentTunnel:
        """
        @return: the tunnel of the only agent, who serves what is asked of C{web}.
        """
        self.addCleanup(bench.stop)
        self.token = bearer(bench.mint()) + OURS
        site: Any = bench.site
        root, proxy = site.origin, getattr(bench, "agents", bench.proxy)
        site.origin = proxy
        call = bench.agentCall(b"tunnel", self.token)
        site.origin = root
        assert call.status == 101, call.client.received
        tunnel = AgentTunnel(call, bench.network)
        tunnel.greet(instance="good")
        return tunnel

    def call(self, bench: Bench, path: bytes, target: bytes, lines: bytes) -> Call:
        """
        Make a call by a target.
        """
        method = b"POST" if path == b"response" else b"GET"
        lines += b"Content-Length: 0\r\n" if method == b"POST" else b""
        lines += HANDSHAKE if path == b"tunnel" else b""
        named = b"X-Inverting-Proxy-Backend-ID: web\r\nX-Inverting-Proxy-Request-ID: 0\r\n"
        head = b"%b %b HTTP/1.1\r\nHost: proxy.example\r\n%b%b\r\n"
        return bench.raw(head % (method, target, named, lines), method=method)

    def assertServed(self, agent: AgentTunnel, call: Call, target: bytes) -> None:
        """
        The request has gone to the backend, or was refused, and nothing of an agent's call has come of it.
        """
        if call.status == 0:
            stream = max(agent.requests)
            head = agent.requests[stream]
            self.assertIn(b" %b HTTP/1.1" % originForm(target), head)
            self.assertNotIn(b"inverting", head.lower())
            agent.respond(stream, GOOD, b"good")
            self.assertEqual((call.status, call.reply.body), (200, b"good"), target)
        else:
            self.assertEqual((call.status, call.error), (400, "bad-request"), target)

    def test_spellings(self) -> None:
        """
        What is not the path of an agent's call is none, with the best credentials: neither here nor where there are
        only clients.
        """
        for bench in (AccessBench(), PublicBench()):
            agent = self.openBench(bench)
            for path in CALLS:
                for spelling in SPELLINGS:
                    target = spelling % path
                    call = self.call(bench, path, target, self.token)
                    self.assertServed(agent, call, target)
                    call.leave()
            self.assertEqual(len(getattr(bench, "agents", bench.proxy).tunnels), 1)

    def test_withoutCredentials(self) -> None:
        """
        What is, is refused without credentials; fields change nothing about that.
        """
        bench = AccessBench()
        agent = self.openBench(bench)
        for path in CALLS:
            for spelling in AGENTS:
                for lines in (
                    b"",
                    b"X-Inverting-Proxy-User-ID: agent@example.com\r\n",
                    b"X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n",
                    b"X-Original-URL: /agent/pending\r\nX-Rewrite-URL: /agent/pending\r\n",
                    b"Cookie: Authorization=%b\r\n" % self.token[15:60],
                    b"Proxy-" + self.token,
                    b"X-" + self.token,
                ):
                    call = self.call(bench, path, spelling % path, lines)
                    self.assertEqual((call.status, call.error), (401, "unauthenticated"))
                    call.leave()
        self.assertEqual(agent.requests, {})

    def test_publicOnly(self) -> None:
        """
        Where there are only clients, it is nothing, whatever credentials there are, and never goes to a backend.
        """
        bench = PublicBench()
        agent = self.openBench(bench)
        for path in CALLS:
            for spelling in AGENTS:
                for lines in (b"", self.token):
                    call = self.call(bench, path, spelling % path, lines)
                    self.assertEqual((call.status, call.error), (404, "no-backend"))
                    call.leave()
        self.assertEqual(agent.requests, {})

    def test_otherPaths(self) -> None:
        """
        With the fields of an agent's call any other path is a client's (which in the original is an agent's).
        """
        bench = AccessBench()
        agent = self.openBench(bench)
        for target in (
            b"/",
            b"/index.html",
            b"/agent",
            b"/agent/",
            b"/agent/unknown",
            b"/api/backends",
        ):
            call = self.call(bench, b"pending", target, self.token)
            self.assertServed(agent, call, target)
            call.leave()


class ForgedFieldsTests(SynchronousTestCase):
    """
    Fields by which clients would be somebody, or somewhere, else.
    """

    own = tuple(
        name for name in OWN if not name.endswith(b"-Backend")
    )  # that one means something in open mode

    def heads(self, lines: bytes, trailers: bytes, address: str, **options: Any) -> list[bytes]:
        """
        @return: all that agents get of a request, by a tunnel and by polls.
        """
        found = []
        for carrier in ("tunnel", "poll"):
            bench = Bench(
                trustedProxies=(ip_network("192.0.2.0/24"),), userHeader=b"Remote-User", **options
            )
            self.addCleanup(bench.proxy.close)
            tunnel = bench.tunnel() if carrier == "tunnel" else None
            bench.fetch(b"0")  # so that the backend is not offline
            client = bench.ask(
                b"POST", fields=lines + b"Transfer-Encoding: chunked\r\n", address=address
            )
            client.end(trailers)
            if tunnel is not None:
                self.assertEqual(len(tunnel.requests), 1)
                found.append(b"".join(each.payload for each in tunnel.frames))
            else:
                _, fetch = bench.take()
                found.append(bytes(fetch.client.received))
        return found

    def test_untrusted(self) -> None:
        """
        Of all spellings of all such fields nothing arrives, in the header or as a trailer.
        """
        names = [each for name in (*self.own, *FORWARDED, b"Forwarded") for each in spellings(name)]
        for begin in range(0, len(names), 50):
            lines = b"".join(b"%b: evil\r\n" % name for name in names[begin : begin + 50])
            for got in self.heads(lines, lines, "198.51.100.1"):
                self.assertNotIn(b"evil", got)

    def test_trusted(self) -> None:
        """
        Of a trusted proxy what it says itself arrives, and no likeness of it.
        """
        for name in FORWARDED:
            for alike in spellings(name)[3:]:
                for got in self.heads(b"%b: evil\r\n" % alike, b"", "192.0.2.1"):
                    self.assertNotIn(b"evil", got, alike)
        names = [each for name in self.own for each in spellings(name)]
        for begin in range(0, len(names), 50):
            lines = b"".join(b"%b: evil\r\n" % name for name in names[begin : begin + 50])
            for got in self.heads(lines, lines, "192.0.2.1"):
                self.assertNotIn(b"evil", got)
        for name in FORWARDED[:-1]:
            for got in self.heads(b"%b: a.test\r\n" % name, b"", "192.0.2.1"):
                self.assertIn(b"a.test", got)

    def test_others(self) -> None:
        """
        Fields that only sound alike are the backend's business.
        """
        for name in (
            b"X_Custom_Field",
            b"X.Y",
            b"Xx-Inverting-Proxy-User-ID",
            b"X-Inverting",
            b"Remote-Users",
        ):
            for got in self.heads(b"%b: kept\r\n" % name, b"%b: kept\r\n" % name, "198.51.100.1"):
                self.assertEqual(got.count(b"kept"), 2, name)


class VisitorTests(SynchronousTestCase):
    """
    With a registry: C{web} is Alice's, C{secret} is Bob's.
    """

    def openBench(self, **options: Any) -> VisitBench:
        bench = VisitBench(**options)
        self.addCleanup(bench.proxy.close)
        bench.add("web", "alice@example.com")
        bench.add("secret", "bob@example.com")
        self.agents = {name: bench.tunnel(name.encode()) for name in ("web", "secret")}
        return bench

    def assertVisits(self, client: Call, backend: str) -> None:
        """
        A request has gone to a backend, and to no other.
        """
        for name, agent in self.agents.items():
            self.assertEqual(len(agent.requests), int(name == backend), name)
            if agent.requests:
                ((stream, head),) = agent.requests.items()
                self.assertNotIn(b"\r\nCookie: invproxy", head)
                agent.respond(stream, GOOD, b"good")
                agent.frames.clear()
        self.assertEqual(client.status, 200 if backend else client.status)
        client.leave()

    def test_chosen(self) -> None:
        """
        No field chooses a backend where there is a registry.
        """
        bench = self.openBench()
        names = [each for name in OWN for each in spellings(name)]
        for name in (*names, b"Host-Backend", b"X-Backend"):
            lines = b"%b: secret\r\n" % name
            self.assertVisits(bench.ask(fields=known("alice@example.com") + lines), "web")
            client = bench.ask(fields=lines)
            self.assertEqual((client.status, client.error), (401, "unauthenticated"))
            self.assertVisits(client, "")
        for host in (b"secret", b"secret.example", b"bob@example.com"):
            call = bench.ask(fields=known("alice@example.com"), host=host)
            if call.status != 400:
                self.assertVisits(call, "web")

    def test_named(self) -> None:
        """
        No field names the user who asks.
        """
        bench = self.openBench()
        names = [each for name in (*OWN[:1], *FORWARDED, b"From") for each in spellings(name)]
        for name in names:
            lines = b"%b: bob@example.com\r\n" % name
            self.assertVisits(bench.ask(fields=known("alice@example.com") + lines), "web")
            client = bench.ask(fields=lines)
            self.assertEqual((client.status, client.error), (401, "unauthenticated"))
            self.assertVisits(client, "")

    def test_cookies(self) -> None:
        """
        Only the cookie of a session makes one its user; nothing that is tossed beside it does, or hides it.
        """
        bench = self.openBench(passwords=False, oidc=OIDC, fetcher=object())
        secret = bench.signedIn("bob@example.com").partition(b"=")[2].strip()
        for cookie, counts in COOKIES:
            line = b"Cookie: " + cookie.replace(b"%b", secret) + b"\r\n"
            client = bench.ask(fields=line)
            if not counts:
                self.assertEqual((client.status, client.error), (401, "unauthenticated"), cookie)
            for agent in self.agents.values():
                self.assertNotIn(secret, b"".join(agent.requests.values()))
            self.assertVisits(client, "secret" if counts else "")
