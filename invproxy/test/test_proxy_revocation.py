"""
Links of agents end at once when their credentials are not good any more, and those of others go on.
"""

from __future__ import annotations

from typing import Any

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from invproxy.server.channel import Channel
from invproxy.test.accessbench import AccessBench, bearer, certificate, sign
from invproxy.test.rawcalls import OURS, PLAIN, Call, idsOf
from invproxy.tunnel.life import UNAUTHORIZED

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class LinksCase(SynchronousTestCase):
    """
    What these tests share: a backend with two agents, C{mine} and C{theirs}.
    """

    def setUp(self) -> None:
        self.bench = AccessBench()
        self.addCleanup(self.bench.stop)
        self.mine = bearer(self.bench.mint(name="mine"))
        self.theirs = bearer(self.bench.mint(name="theirs"))
        self.bench.agentCall(b"request", self.theirs)  # so that the backend is not offline

    def revoke(self, name: str = "mine") -> None:
        self.bench.do(self.bench.registry.revokeToken("web", name))
        self.bench.network.pump()

    def assertSentAway(self, call: Call) -> None:
        self.assertEqual((call.status, call.error), (401, "unauthenticated"))

    def assertLost(self, client: Call) -> None:
        """
        A client whose exchange had not been answered is told.
        """
        self.assertEqual((client.status, client.error), (502, "agent-lost"))

    def assertEmpty(self) -> None:
        """
        Nothing is remembered of what is over.
        """
        self.assertEqual(len(self.bench.access.links), 0)
        self.assertEqual(self.bench.access.links._deadlines._watched, {})
        self.assertEqual(self.bench.proxy.mailboxes.exchanges, {})


class PollTests(LinksCase):
    """
    Agents that poll.
    """

    def test_parked(self) -> None:
        """
        A parked poll is answered at once, and that of another agent goes on.
        """
        mine = self.bench.poll(fields=self.mine)
        theirs = self.bench.poll(fields=self.theirs)
        self.revoke()
        self.assertSentAway(mine)
        self.assertEqual(theirs.status, 0)
        client = self.bench.ask()
        (identifier,) = idsOf(theirs)
        self.assertSentAway(self.bench.fetch(identifier, self.mine))
        self.bench.fetch(identifier, self.theirs)
        self.bench.respond(identifier, PLAIN, self.theirs)
        self.assertEqual(client.status, 200)
        self.assertEmpty()

    def test_again(self) -> None:
        """
        Who was sent away is not let in again, and gets no exchange.
        """
        self.bench.poll(fields=self.mine)
        self.revoke()
        self.assertSentAway(self.bench.poll(fields=self.mine))
        client = self.bench.ask()
        self.assertEqual(client.status, 0)
        self.assertEqual(self.bench.proxy.mailboxes.get("web").counts(), (1, 0))  # type: ignore[union-attr]

    def test_told(self) -> None:
        """
        What an agent was told of and has not fetched waits for another at once.
        """
        mine = self.bench.poll(fields=self.mine)
        self.bench.ask()
        idsOf(mine)
        theirs = self.bench.poll(fields=self.theirs)
        self.revoke()
        self.assertEqual(idsOf(theirs), idsOf(mine))

    def test_toldAndFetched(self) -> None:
        """
        Once all is fetched, nothing is remembered of a poll.
        """
        clients = [self.bench.ask(), self.bench.ask()]
        identifiers = self.bench.pending(fields=self.mine)
        self.assertEqual(len(self.bench.access.links), 1)
        for identifier in identifiers:
            self.bench.fetch(identifier, self.mine)
        self.assertEqual(len(self.bench.access.links), 2)
        for client in clients:
            client.leave()
        self.assertEmpty()

    def test_request(self) -> None:
        """
        A request on its way to an agent is cut, and the client is told.
        """
        client = self.bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\n")
        client.chunk(b"a" * 1000)
        _, fetch = self.bench.take(self.mine)
        client.chunk(b"more")
        self.assertIn(b"more", fetch.client.received)
        self.revoke()
        self.assertTrue(fetch.isCut)
        self.assertLost(client)
        client.chunk(b"later")
        self.assertNotIn(b"later", fetch.client.received)

    def test_requestForAnother(self) -> None:
        """
        A request that may be repeated goes to another agent that waits.
        """
        client = self.bench.ask()
        identifier, _ = self.bench.take(self.mine + OURS)
        theirs = self.bench.poll(fields=self.theirs)
        self.revoke()
        self.assertEqual(idsOf(theirs), [identifier])
        self.bench.fetch(identifier, self.theirs)
        self.bench.respond(identifier, PLAIN, self.theirs)
        self.assertEqual(client.status, 200)
        self.assertEmpty()

    def test_response(self) -> None:
        """
        A response on its way is cut; that of another agent goes on.
        """
        clients, calls = [], []
        for fields in (self.mine + OURS, self.theirs + OURS):
            clients.append(self.bench.ask())
            identifier, _ = self.bench.take(fields)
            call = self.bench.respond(identifier, None, fields)
            call.chunk(HEAD + b"5\r\nfirst\r\n")
            calls.append(call)
        self.revoke()
        self.assertTrue(clients[0].isCut)
        self.assertEqual(calls[0].status, 404)
        calls[0].chunk(b"6\r\nsecond\r\n")
        self.assertNotIn(b"second", clients[0].client.received)
        calls[1].chunk(b"6\r\nsecond\r\n0\r\n\r\n")
        calls[1].end()
        self.assertEqual(clients[1].reply.body, b"firstsecond")
        self.assertTrue(clients[1].reply.whole)
        self.assertEmpty()

    def test_betweenCalls(self) -> None:
        """
        An exchange is lost, too, of which neither call is open right now: the original's agent has it.
        """
        client = self.bench.post(b"x")
        self.bench.take(self.mine)
        self.revoke()
        self.assertLost(client)
        self.assertEmpty()

    def test_otherToken(self) -> None:
        """
        An agent that brings the response with another token than it fetched the request by depends on both.
        """
        for name in ("mine", "theirs"):
            self.setUp()
            client = self.bench.ask()
            identifier, _ = self.bench.take(self.mine + OURS)
            self.bench.respond(identifier, None, self.theirs + OURS).chunk(HEAD)
            self.revoke(name)
            self.assertTrue(client.isCut)
            self.assertEmpty()

    def test_upgraded(self) -> None:
        """
        A connection that has left HTTP is cut.
        """
        fields = b"Connection: Upgrade\r\nUpgrade: any\r\n"
        switching = (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: any\r\n\r\n"
        )
        client = self.bench.ask(fields=fields)
        identifier, fetch = self.bench.take(self.mine + OURS)
        call = self.bench.respond(identifier, None, self.mine + OURS)
        call.chunk(switching)
        self.assertEqual(client.status, 101)
        self.revoke()
        for each in (client, fetch):
            self.assertTrue(each.isClosed)
        self.assertEmpty()

    def test_nothingRemembered(self) -> None:
        """
        Whatever way exchanges end, nothing is remembered of them.
        """
        bench = self.bench
        for fields in (self.mine, self.mine + OURS):
            for end in range(7):
                client = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\n")
                client.chunk(b"a")
                if end == 5:
                    poll = bench.poll(fields=fields)
                    poll.leave()
                    bench.advance(5)
                identifier, fetch = bench.take(fields)
                if end == 0:
                    client.end()
                    bench.respond(identifier, PLAIN, fields)
                elif end == 1:
                    bench.respond(identifier, PLAIN, fields)  # before the request has ended
                elif end == 2:
                    client.leave()
                elif end == 3:
                    bench.respond(identifier, b"HTTP/9", fields)
                elif end == 4:
                    fetch.leave()
                    bench.advance(100)
                elif end == 5:
                    call = bench.respond(identifier, None, fields)
                    call.chunk(HEAD)
                    call.leave()
                else:
                    error = b"X-Inverting-Proxy-Error: origin-refused\r\n"
                    bench.respond(identifier, b"", fields + error)
                bench.advance(100)
                self.assertEmpty()
        for closes in ("client", "agent"):
            bench.agentCall(b"request", self.theirs)
            client = bench.ask(fields=b"Connection: Upgrade\r\nUpgrade: any\r\n")
            identifier, fetch = bench.take(self.mine + OURS)
            call = bench.respond(identifier, None, self.mine + OURS)
            call.chunk(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: any\r\n\r\n")
            if closes == "client":
                client.client.close()
                bench.network.pump()
                call.end()
            else:
                call.end()
                client.client.close()
                bench.network.pump()
            bench.advance(400)
            self.assertEmpty()
        poll = bench.poll(fields=self.mine)
        poll.leave()
        self.assertEmpty()
        poll = bench.poll(fields=self.mine)
        bench.advance(31)
        self.assertEqual(idsOf(poll), [])
        self.assertEmpty()
        poll = bench.poll(fields=self.mine)
        bench.proxy.mailboxes.drain()
        bench.network.pump()
        self.assertEqual(poll.error, "draining")
        self.assertEmpty()


class TunnelTests(LinksCase):
    """
    Agents with tunnels.
    """

    def test_revoked(self) -> None:
        """
        A tunnel is closed at once with a code of its own, what was in it is lost, and another agent's goes on.
        """
        mine = self.bench.agentTunnel(self.mine, "mine")
        first = self.bench.post(b"x")
        theirs = self.bench.agentTunnel(self.theirs, "theirs")
        second = self.bench.post(b"x")
        self.assertEqual((len(mine.requests), len(theirs.requests)), (1, 1))
        self.revoke()
        assert mine.closing is not None
        self.assertEqual(mine.closing, (UNAUTHORIZED, "this token was revoked"))
        self.assertTrue(mine.isClosed)
        self.assertLost(first)
        theirs.respond(max(theirs.requests))
        self.assertEqual(second.status, 200)
        third = self.bench.ask()
        theirs.respond(max(theirs.requests))
        self.assertEqual(third.status, 200)
        self.assertEqual(len(self.bench.proxy.tunnels), 1)
        self.assertSentAway(self.bench.agentCall(b"tunnel", self.mine))

    def test_nothingMore(self) -> None:
        """
        What the agent sends after that is not passed on.
        """
        mine = self.bench.agentTunnel(self.mine, "mine")
        client = self.bench.post(b"x")
        number = max(mine.requests)
        self.revoke()
        self.assertLost(client)
        received = bytes(client.client.received)
        mine.respond(number)
        self.assertEqual(bytes(client.client.received), received)
        self.bench.advance(5)
        self.assertEmpty()

    def test_requestForAnother(self) -> None:
        """
        A request that may be repeated goes to another tunnel.
        """
        mine = self.bench.agentTunnel(self.mine, "mine")
        client = self.bench.ask()
        theirs = self.bench.agentTunnel(self.theirs, "theirs")
        self.assertEqual(len(mine.requests), 1)
        self.revoke()
        theirs.respond(max(theirs.requests))
        self.assertEqual(client.status, 200)

    def test_beforeHello(self) -> None:
        """
        A tunnel whose agent has not greeted yet is closed, too.
        """
        call = self.bench.agentCall(b"tunnel", self.mine)
        self.assertEqual(call.status, 101)
        self.revoke()
        self.assertTrue(call.isClosed)
        self.assertEmpty()

    def test_forgotten(self) -> None:
        """
        Of a tunnel that is over nothing is remembered.
        """
        for end in (lambda tunnel: tunnel.call.leave(), lambda tunnel: tunnel.close()):
            tunnel = self.bench.agentTunnel(self.mine, "mine")
            self.assertEqual(len(self.bench.access.links), 1)
            end(tunnel)
            self.bench.advance(5)
            self.assertEmpty()

    def test_sameNameAgain(self) -> None:
        """
        A new token by the name of a revoked one is another one.
        """
        self.revoke()
        again = bearer(self.bench.mint(name="mine"))
        tunnel = self.bench.agentTunnel(again, "mine")
        self.assertSentAway(self.bench.agentCall(b"tunnel", self.mine))
        self.assertIsNone(tunnel.closing)


class ChangeTests(LinksCase):
    """
    Other ends of credentials.
    """

    def open(self, lines: bytes) -> tuple[Call, Any]:
        """
        Park a poll and open a tunnel.
        """
        poll = self.bench.poll(fields=lines)
        return poll, self.bench.agentTunnel(lines, "mine")

    def assertOpen(self, opened: tuple[Call, Any]) -> None:
        poll, tunnel = opened
        self.assertEqual(poll.status, 0)
        self.assertIsNone(tunnel.closing)

    def assertCut(self, opened: tuple[Call, Any], why: str) -> None:
        poll, tunnel = opened
        self.assertSentAway(poll)
        self.assertIn(why.encode(), poll.reply.body)
        self.assertEqual(tunnel.closing, (UNAUTHORIZED, why))

    def test_tokenExpires(self) -> None:
        """
        At the time when a token expires its links are cut.
        """
        lines = bearer(self.bench.mint(expires=self.bench.now + 20))
        opened = self.open(lines)
        self.bench.advance(10)
        self.bench.advance(9)
        self.assertOpen(opened)
        self.bench.advance(1.3)
        self.assertCut(opened, "these credentials have expired")
        self.assertSentAway(self.bench.poll(fields=lines))
        self.bench.advance(5)
        self.assertEmpty()

    def test_jwtExpires(self) -> None:
        """
        A JWT's links are cut when it has expired, even by the slowest clock.
        """
        lines = bearer(sign(self.bench.claims(exp=int(self.bench.now) - 50)))
        opened = self.open(lines)
        self.bench.advance(9)
        self.assertOpen(opened)
        self.bench.advance(1.3)
        self.assertCut(opened, "these credentials have expired")
        self.assertSentAway(self.bench.poll(fields=lines))

    def test_renewed(self) -> None:
        """
        Half a minute before a JWT expires its tunnel takes no more: what is in it comes to its end, and the agent has
        opened another one with the next JWT.
        """
        exp = int(self.bench.now) + 40  # and the skew
        old = self.bench.agentTunnel(bearer(sign(self.bench.claims(exp=exp))), "mine")
        client = self.bench.post(b"x")
        for _ in range(7):
            self.bench.advance(9.9)
        self.assertEqual(old.dismissals, [])
        self.bench.advance(1)
        self.assertEqual(len(old.dismissals), 1)
        self.assertIsNone(old.closing)
        new = self.bench.agentTunnel(bearer(sign(self.bench.claims())), "mine")
        other = self.bench.ask()
        new.respond(max(new.requests))
        self.assertEqual(other.status, 200)
        old.respond(max(old.requests))
        self.assertEqual(client.status, 200)
        self.bench.advance(0.3)
        assert old.closing is not None
        self.assertEqual(old.closing[0], 1001)
        self.assertIsNone(new.closing)

    def test_certificateExpires(self) -> None:
        """
        Those of a certificate likewise; its connection may still be used, but not for calls.
        """
        shown: list[x509.Certificate] = [
            certificate("agent@example.com", now=self.bench.now, lasts=10)
        ]
        self.patch(Channel, "certificate", lambda channel: shown[0])
        opened = self.open(b"")
        self.bench.advance(9)
        self.assertOpen(opened)
        self.bench.advance(1.3)
        self.assertCut(opened, "these credentials have expired")
        poll = opened[0]
        poll.client.take()
        poll.send(
            b"GET /agent/pending HTTP/1.1\r\nHost: a\r\nX-Inverting-Proxy-Backend-ID: web\r\n\r\n"
        )
        self.assertSentAway(poll)

    def test_deleted(self) -> None:
        """
        When a backend is deleted, all links of its agents are cut, what waits fails, and others go on.
        """
        others = bearer(self.bench.mint("other"))
        other = self.bench.poll(b"other", others)
        self.bench.poll(fields=self.mine).leave()
        waiting = self.bench.ask(host=b"web")
        self.assertEqual(waiting.status, 0)
        self.bench.do(self.bench.registry.delete("web"))
        self.bench.network.pump()
        self.assertEqual((waiting.status, waiting.error), (404, "no-backend"))
        self.assertIsNone(self.bench.proxy.mailboxes.get("web"))
        self.assertSentAway(self.bench.poll(fields=self.mine))
        self.assertEqual(other.status, 0)
        self.bench.addBackend("web")
        self.assertSentAway(self.bench.poll(fields=self.mine))

    def test_deletedWithLinks(self) -> None:
        """
        Polls, tunnels and what is in them end with their backend.
        """
        opened = self.open(self.mine)
        jwt = self.bench.poll(fields=bearer(sign(self.bench.claims())))
        client = self.bench.post(b"x", fields=b"X-Inverting-Proxy-Backend: web\r\n")
        self.bench.do(self.bench.registry.delete("web"))
        self.bench.network.pump()
        self.assertSentAway(jwt)
        self.assertEqual(opened[1].closing, (UNAUTHORIZED, "this backend is gone"))
        self.assertIn(client.status, (404, 502))
        self.bench.advance(5)
        self.assertEmpty()

    def test_otherUser(self) -> None:
        """
        When a backend gets another C{backendUser}, the links of the former are cut, and those of tokens go on.
        """
        opened = self.open(bearer(sign(self.bench.claims())))
        token = self.bench.agentTunnel(self.theirs, "theirs")
        self.bench.addBackend("web")  # again, with nothing changed
        self.assertOpen(opened)
        self.bench.addBackend("web", "new@example.com")
        self.bench.network.pump()
        self.assertCut(opened, "this backend is not yours any more")
        self.assertIsNone(token.closing)
