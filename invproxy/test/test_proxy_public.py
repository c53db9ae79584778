"""
The public side of the proxy, against clients that write bytes by hand.
"""

from __future__ import annotations

import json

from invproxy.http1.limits import Limits
from invproxy.proxy.root import ProxyResource
from invproxy.server import StreamingSite
from invproxy.test.benchcase import PublicCase
from invproxy.test.rawcalls import OURS, PLAIN, Bench, Call


class RoutingTests(PublicCase):
    """
    Open mode.
    """

    def test_noAgentAtAll(self) -> None:
        """
        503 with Retry-After while there is none.
        """
        bench = Bench()
        client = bench.ask()
        self.assertError(client, 503, "agent-offline")
        self.assertEqual(client.reply.value(b"Retry-After"), b"5")

    def test_byField(self) -> None:
        """
        By X-Inverting-Proxy-Backend, which is not passed on.
        """
        bench = self.bench()
        bench.fetch(b"0", backend=b"other")
        client = bench.ask(fields=b"x-inverting-proxy-BACKEND: web\r\n", host=b"other")
        _, fields = self.forwarded(bench, client)
        self.assertNotIn(b"x-inverting-proxy-backend", dict(fields))

    def test_byUnknownField(self) -> None:
        """
        404 for one that names no backend.
        """
        bench = self.bench()
        client = bench.ask(fields=b"X-Inverting-Proxy-Backend: none\r\n")
        self.assertError(client, 404, "no-backend")

    def test_byHost(self) -> None:
        """
        By the first label of Host, in any case and with a port.
        """
        bench = self.bench()
        for host in (b"web.example", b"WEB:8080", b"Web.example:80"):
            bench.fetch(b"0", backend=b"latest")
            self.forwarded(bench, bench.ask(host=host))

    def test_latestSession(self) -> None:
        """
        Else to the backend whose agent's session began most recently; a poll that has waited for long begins none.
        """
        bench = self.bench()
        parked = bench.poll(b"older")
        bench.advance(20)
        younger = bench.poll(b"younger")
        bench.advance(5)
        first = bench.ask(host=b"older")
        self.assertNotEqual(parked.status, 0)
        self.assertEqual(first.status, 0)
        bench.ask(host=b"nowhere.example")
        self.assertNotEqual(younger.status, 0)

    def test_newSession(self) -> None:
        """
        An agent that comes back after a while begins a session.
        """
        bench = self.bench()
        bench.advance(60)
        bench.fetch(b"0", backend=b"other")
        bench.fetch(b"0")
        client = bench.ask(host=b"[::1]:80")
        self.forwarded(bench, client)

    def test_offline(self) -> None:
        """
        503 at once for a backend that was not seen for too long; those seen lately queue.
        """
        bench = self.bench(backendTimeout=100.0, queueTimeout=0)
        bench.advance(99)
        queued = bench.ask()
        self.assertEqual(queued.status, 0)
        bench.advance(2)
        self.assertError(bench.ask(), 503, "agent-offline")
        self.assertEqual(queued.status, 0)

    def test_parkedIsOnline(self) -> None:
        """
        A poll that waits is life, however long.
        """
        bench = self.bench(backendTimeout=10.0, pollTimeout=100.0)
        poll = bench.poll()
        bench.advance(50)
        bench.ask()
        self.assertEqual(poll.status, 200)
        bench.advance(9)
        self.assertEqual(bench.ask().status, 0)

    def test_bestMatchFirst(self) -> None:
        """
        The best match counts even if it is offline.
        """
        bench = self.bench(backendTimeout=10.0)
        bench.advance(20)
        bench.fetch(b"0", backend=b"other")
        self.assertError(bench.ask(host=b"web"), 503, "agent-offline")


class BoundsTests(PublicCase):
    """
    Limits.
    """

    def test_maxPending(self) -> None:
        """
        429 with Retry-After when the mailbox is full; other backends go on, and what was refused is over.
        """
        bench = self.bench(maxPending=2)
        bench.fetch(b"0", backend=b"other")
        waiting = [bench.ask() for _ in range(2)]
        refused = bench.ask()
        self.assertError(refused, 429, "too-many-pending")
        self.assertEqual(refused.reply.value(b"Retry-After"), b"1")
        self.assertEqual(len(bench.proxy.mailboxes.exchanges), 2)
        self.assertEqual(bench.ask(host=b"other").status, 0)
        self.assertEqual(len(bench.pending()), 2)
        self.assertEqual(bench.ask().status, 0)
        self.assertEqual([client.status for client in waiting], [0, 0])

    def test_refusedIsOver(self) -> None:
        """
        A request that was refused has no clocks: its connection may be busy with the next one.
        """
        bench = self.bench(maxPending=1, queueTimeout=10.0)
        first = bench.ask()
        client = bench.ask()
        self.assertEqual(client.status, 429)
        first.leave()
        client.client.take()
        client.send(b"GET /2 HTTP/1.1\r\nHost: web\r\n\r\n")
        identifier, _ = bench.take()
        bench.advance(20)
        self.assertEqual(client.status, 0)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_maxPendingAfterReturns(self) -> None:
        """
        What came back to the mailbox counts as well.
        """
        bench = self.bench(maxPending=2)
        for _ in range(2):
            bench.ask()
        poll = bench.poll()
        self.assertEqual(bench.ask().status, 0)
        poll.leave()
        self.assertError(bench.ask(), 429, "too-many-pending")

    def test_maxBody(self) -> None:
        """
        413 by the length that is announced, before any of it has come.
        """
        bench = self.bench(maxBody=10)
        client = bench.ask(b"POST", fields=b"Content-Length: 11\r\n")
        self.assertError(client, 413, "body-too-large")
        waiting = bench.post(b"1234567890")
        self.assertEqual(waiting.status, 0)
        self.assertTrue(bench.take()[1].reply.body.endswith(b"\r\n\r\n1234567890"))

    def test_maxBodyBeforeLeave(self) -> None:
        """
        A client that asks first is told no instead of 100.
        """
        bench = self.bench(maxBody=10)
        client = bench.ask(b"POST", fields=b"Content-Length: 11\r\nExpect: 100-continue\r\n")
        self.assertError(client, 413, "body-too-large")
        self.assertEqual(client.reply.interim, [])

    def test_maxBodyChunked(self) -> None:
        """
        413 once a chunked body gets larger; the agent's fetch is cut.
        """
        bench = self.bench(maxBody=10)
        client = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\n")
        client.chunk(b"1234567890")
        identifier, fetch = bench.take(OURS)
        line = bench.respond(identifier, fields=OURS)
        client.chunk(b"1")
        self.assertError(client, 413, "body-too-large")
        self.assertTrue(fetch.isCut)
        self.assertEqual(line.status, 404)
        self.assertEmpty(bench)

    def test_maxBodyWhileResponding(self) -> None:
        """
        If the response has begun, it is cut.
        """
        bench = self.bench(maxBody=10)
        client = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\n")
        identifier, _ = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        call.chunk(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        client.chunk(b"x" * 11)
        self.assertTrue(client.isCut)
        self.assertEqual(call.status, 404)
        self.assertEmpty(bench)

    def test_maxBodyNotForAgents(self) -> None:
        """
        Responses, and upgraded connections, may be of any size.
        """
        bench = self.bench(maxBody=10)
        client = bench.ask(fields=b"Connection: upgrade\r\nUpgrade: echo\r\n")
        identifier, fetch = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        call.chunk(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        client.send(b"x" * 100)
        self.assertTrue(fetch.reply.body.endswith(b"x" * 100))

    def test_maxHead(self) -> None:
        """
        431 and 414.
        """
        bench = self.bench(limits=Limits(head=1000, line=200))
        self.assertError(bench.ask(fields=b"X: %b\r\n" % (b"y" * 1000)), 431, "head-too-large")
        self.assertError(bench.ask(target=b"/" + b"y" * 300), 414, "target-too-long")


class ErrorPageTests(PublicCase):
    """
    Error answers.
    """

    def test_forms(self) -> None:
        """
        JSON, HTML or text by Accept, each with the code and the request ID.
        """
        for accept, form in (
            (b"application/json", b"application/json"),
            (b"text/html,application/xhtml+xml,*/*;q=0.8", b"text/html"),
            (b"*/*", b"text/plain"),
        ):
            bench = self.bench(queueTimeout=1.0)
            client = bench.ask(fields=b"Accept: %b\r\n" % accept)
            (identifier,) = bench.pending()
            bench.advance(7)
            self.assertError(client, 504, "queue-timeout")
            self.assertTrue((client.reply.value(b"Content-Type") or b"").startswith(form))
            self.assertIn(identifier, client.reply.body)
            self.assertIn(b"queue-timeout", client.reply.body)
            if form == b"application/json":
                document = json.loads(client.reply.body)
                self.assertEqual(document["requestID"], identifier.decode())

    def test_idEverywhere(self) -> None:
        """
        Also what never became an exchange has an ID.
        """
        bench = self.bench(maxBody=1)
        for client in (
            bench.ask(b"TRACE", fields=b"Accept: application/json\r\n"),
            bench.ask(
                b"POST", fields=b"Accept: application/json\r\nContent-Length: 2\r\n", body=b"12"
            ),
            bench.ask(target=b"/.invproxy/", fields=b"Accept: application/json\r\n"),
            bench.ask(fields=b"X-Inverting-Proxy-Backend: no\r\nAccept: application/json\r\n"),
        ):
            self.assertEqual(len(json.loads(client.reply.body)["requestID"]), 32)

    def test_head(self) -> None:
        """
        Without a body for HEAD.
        """
        bench = Bench()
        client = bench.ask(b"HEAD")
        self.assertError(client, 503, "agent-offline")
        self.assertTrue(client.client.received.endswith(b"\r\n\r\n"))

    def test_connectionGoesOn(self) -> None:
        """
        An error of the exchange leaves the connection in order.
        """
        bench = self.bench(queueTimeout=1.0)
        client = bench.ask()
        bench.advance(2)
        self.assertEqual(client.status, 504)
        client.client.take()
        client.send(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        bench.respond(bench.take()[0], PLAIN)
        self.assertAnswered(client)


class DrainingTests(PublicCase):
    """
    The proxy is about to stop.
    """

    def test_refused(self) -> None:
        """
        503 for new requests; those in flight come to their end, with all the calls that this takes.
        """
        bench = self.bench()
        queued, fetched = bench.ask(), bench.ask()
        first, second = bench.pending()
        bench.fetch(second)
        drained = bench.proxy.drain()
        refused = bench.ask()
        self.assertError(refused, 503, "draining")
        self.assertEqual(refused.reply.value(b"Retry-After"), b"1")
        self.assertNoResult(drained)
        bench.respond(second, PLAIN)
        self.assertAnswered(fetched)
        bench.advance(6)
        self.assertEqual(bench.pending(), [first])
        bench.fetch(first)
        self.assertNoResult(drained)
        bench.respond(first, PLAIN)
        self.assertAnswered(queued)
        self.successResultOf(drained)

    def test_nothingInFlight(self) -> None:
        """
        Done at once if there is nothing.
        """
        self.successResultOf(self.bench().proxy.drain())

    def test_close(self) -> None:
        """
        What is left is failed in the end, and parked polls are sent elsewhere.
        """
        bench = self.bench()
        client = bench.ask()
        bench.pending()
        poll = bench.poll()
        bench.proxy.close()
        bench.network.pump()
        self.assertError(client, 503, "draining")
        self.assertError(poll, 503, "draining")
        self.assertEmpty(bench)


class SeparationTests(PublicCase):
    """
    Agents on addresses of their own.
    """

    def setUp(self) -> None:
        self.bench_ = Bench()
        public = ProxyResource(
            self.bench_.network, mailboxes=self.bench_.proxy.mailboxes, servesAgents=False
        )
        agents = ProxyResource(
            self.bench_.network, mailboxes=self.bench_.proxy.mailboxes, servesClients=False
        )
        for port, resource in ((1, public), (2, agents)):
            self.bench_.network.listenTCP(port, StreamingSite(resource, self.bench_.network))

    def at(self, port: int, path: bytes, fields: bytes = b"") -> Call:
        client = self.bench_.network.client("127.0.0.1", port)
        client.send(b"GET %b HTTP/1.1\r\nHost: web\r\n%b\r\n" % (path, fields))
        self.bench_.network.pump()
        return Call(client, b"GET")

    BACKEND = b"X-Inverting-Proxy-Backend-ID: web\r\n"

    def test_public(self) -> None:
        """
        The public address serves no agent path, to nobody.
        """
        for path in (b"pending", b"request", b"response", b"tunnel"):
            for fields in (b"", self.BACKEND):
                self.assertError(self.at(1, b"/agent/" + path, fields), 404, "no-backend")
        self.assertError(self.at(1, b"/"), 503, "agent-offline")

    def test_agents(self) -> None:
        """
        The agents' address serves nothing else.
        """
        poll = self.at(2, b"/agent/pending", self.BACKEND)
        self.assertEqual(poll.status, 0)
        self.assertError(self.at(2, b"/"), 404, "no-backend")
        self.assertError(self.at(2, b"/agent/other", self.BACKEND), 404, "no-backend")
        client = self.at(1, b"/")
        self.assertEqual(poll.status, 200)
        self.assertEqual(client.status, 0)
