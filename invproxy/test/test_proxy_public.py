"""
The public side of the proxy, against clients that write bytes by hand.
"""

from __future__ import annotations

import json
from ipaddress import ip_network

from invproxy.http1.limits import Limits
from invproxy.proxy.root import ProxyResource
from invproxy.server import StreamingSite
from invproxy.test.benchcase import BenchCase
from invproxy.test.rawcalls import OURS, PLAIN, Bench, Call, innerBlock


class PublicCase(BenchCase):
    """
    What these tests share.
    """

    def forwarded(self, bench: Bench, client: Call) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """
        Fetch and answer the one request that waits.

        @return: its request line, and its fields with names in lower case.
        """
        identifier, fetch = bench.take()
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)
        data = fetch.reply.body
        fields = [(name.lower(), text) for name, text in innerBlock(data)]
        return data.partition(b"\r\n")[0], fields

    def assertError(self, client: Call, status: int, code: str) -> None:
        self.assertEqual((client.status, client.error), (status, code))
        self.assertEqual(client.reply.value(b"Cache-Control"), b"no-store")


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


class MethodTests(PublicCase):
    """
    Methods and targets.
    """

    def test_notAllowed(self) -> None:
        """
        CONNECT and TRACE: 405.
        """
        bench = self.bench()
        self.assertError(
            bench.raw(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"), 405, "method-not-allowed"
        )
        self.assertError(bench.ask(b"TRACE"), 405, "method-not-allowed")
        self.assertEmpty(bench)

    def test_anyOther(self) -> None:
        """
        Any other method is passed on.
        """
        bench = self.bench()
        for method in (b"GET", b"PROPFIND", b"get", b"M-SEARCH"):
            line, _ = self.forwarded(bench, bench.ask(method, b"/a"))
            self.assertEqual(line, method + b" /a HTTP/1.1")

    def test_optionsStar(self) -> None:
        """
        C{OPTIONS *} is passed on as it is, and routes as C{/}.
        """
        bench = self.bench()
        client = bench.raw(b"OPTIONS * HTTP/1.1\r\nHost: web\r\n\r\n", method=b"OPTIONS")
        self.assertEqual(self.forwarded(bench, client)[0], b"OPTIONS * HTTP/1.1")

    def test_maxForwards(self) -> None:
        """
        Max-Forwards of OPTIONS is counted down; at 0 the answer is ours. Other methods keep theirs.
        """
        bench = self.bench()
        client = bench.ask(b"OPTIONS", fields=b"Max-Forwards: 2\r\n")
        self.assertIn((b"max-forwards", b"1"), self.forwarded(bench, client)[1])
        client = bench.ask(b"OPTIONS", fields=b"Max-Forwards: 0\r\n")
        self.assertAnswered(client, b"")
        client = bench.ask(fields=b"Max-Forwards: 0\r\n")
        self.assertIn((b"max-forwards", b"0"), self.forwarded(bench, client)[1])
        self.assertError(bench.ask(b"OPTIONS", fields=b"Max-Forwards: x\r\n"), 400, "bad-request")
        self.assertEmpty(bench)

    def test_absoluteForm(self) -> None:
        """
        Absolute-form is sent on in origin-form, with Host set to its authority, and routed by that.
        """
        bench = self.bench()
        bench.fetch(b"0", backend=b"other")
        client = bench.raw(b"GET http://web.example:81/a?b HTTP/1.1\r\nHost: other\r\n\r\n")
        line, fields = self.forwarded(bench, client)
        self.assertEqual(line, b"GET /a?b HTTP/1.1")
        self.assertEqual(dict(fields)[b"host"], b"web.example:81")

    def test_reserved(self) -> None:
        """
        C{/.invproxy/} is the proxy's own, in any form of the target.
        """
        bench = self.bench()
        self.assertError(bench.ask(target=b"/.invproxy/any"), 404, "no-backend")
        client = bench.raw(b"GET http://web/.invproxy/ HTTP/1.1\r\nHost: web\r\n\r\n")
        self.assertError(client, 404, "no-backend")
        self.assertEmpty(bench)

    def test_agentPathsInAbsoluteForm(self) -> None:
        """
        So are the agents' paths.
        """
        bench = self.bench()
        client = bench.raw(b"GET http://web/agent/pending HTTP/1.1\r\nHost: web\r\n\r\n")
        self.assertError(client, 400, "bad-request")

    def test_loop(self) -> None:
        """
        508 for a request that came by here before.
        """
        bench = self.bench()
        _, fields = self.forwarded(bench, bench.ask())
        via = dict(fields)[b"via"]
        self.assertError(bench.ask(fields=b"Via: 1.0 any, %b (hi)\r\n" % via), 508, "loop-detected")
        self.assertError(bench.ask(fields=b"vIA: 1.1 x\r\nVia: %b\r\n" % via), 508, "loop-detected")
        self.forwarded(bench, bench.ask(fields=b"Via: 1.1 invproxy-00000000\r\n"))
        self.assertEmpty(bench)

    def test_oldClient(self) -> None:
        """
        HTTP/1.0: chunked is undone, and the connection closed at the end; or reset, if the response broke.
        """
        for end in (b"0\r\n\r\n", b""):
            bench = self.bench()
            client = bench.raw(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n")
            identifier, _ = bench.take(OURS)
            call = bench.respond(identifier, fields=OURS)
            call.chunk(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
            if end:
                call.chunk(end)
                call.end()
                self.assertTrue(client.client.ended)
            else:
                call.leave()
                self.assertFalse(client.client.ended)
                self.assertIsNotNone(client.client.closed)
            head, _, body = bytes(client.client.received).partition(b"\r\n\r\n")
            self.assertNotIn(b"chunked", head)
            self.assertEqual(body, b"ab")


class ForwardingTests(PublicCase):
    """
    What is added and dropped.
    """

    SPOOFED = (
        b"Forwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 1.2.3.4\r\n"
        b"x_forwarded_for: 1.2.3.4\r\nX-Inverting-Proxy-User-ID: root\r\n"
        b"X-Inverting-Proxy-Anything: 1\r\nX_Inverting_Proxy_User_ID: root\r\nX-User: root\r\n"
        b"X-Harmless: yes\r\n"
    )

    def test_spoofed(self) -> None:
        """
        What an untrusted peer says of itself is replaced by what is known.
        """
        bench = self.bench(userHeader=b"X-User")
        _, fields = self.forwarded(bench, bench.ask(fields=self.SPOOFED, address="192.0.2.9"))
        pseudonym = dict(fields)[b"via"]
        self.assertEqual(
            fields,
            [
                (b"host", b"web.example"),
                (b"x-harmless", b"yes"),
                (b"forwarded", b"for=192.0.2.9;host=web.example;proto=http"),
                (b"x-forwarded-for", b"192.0.2.9"),
                (b"x-forwarded-host", b"web.example"),
                (b"x-forwarded-proto", b"http"),
                (b"via", pseudonym),
            ],
        )
        self.assertTrue(pseudonym.startswith(b"1.1 invproxy-"))

    def test_notByConnection(self) -> None:
        """
        A client cannot have the proxy's own fields taken out as hop-by-hop fields.
        """
        bench = self.bench()
        client = bench.ask(fields=b"Connection: X-Forwarded-For, Via, Forwarded\r\n")
        names = dict(self.forwarded(bench, client)[1])
        self.assertLessEqual({b"x-forwarded-for", b"via", b"forwarded"}, set(names))

    def test_trusted(self) -> None:
        """
        What a trusted proxy says is kept and continued, and so is the end user that it names.
        """
        bench = self.bench(userHeader=b"X-User", trustedProxies=(ip_network("192.0.2.0/24"),))
        client = bench.ask(
            fields=b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-User: a@b\r\n"
            b"X-Inverting-Proxy-User-ID: root\r\n",
            address="192.0.2.9",
        )
        identifier, fetch = bench.take()
        self.assertEqual(fetch.reply.value(b"X-Inverting-Proxy-User-ID"), b"a@b")
        fields = [(name.lower(), text) for name, text in innerBlock(fetch.reply.body)]
        self.assertIn((b"x-forwarded-for", b"1.2.3.4, 192.0.2.9"), fields)
        self.assertIn((b"x-forwarded-proto", b"https"), fields)
        self.assertNotIn(b"x-inverting-proxy-user-id", dict(fields))
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_untrusted(self) -> None:
        """
        Peers outside the trusted networks name nobody.
        """
        bench = self.bench(
            userHeader=b"X-User", trustedProxies=(ip_network("192.0.2.0/24"), ip_network("::1/128"))
        )
        bench.ask(fields=b"X-User: a@b\r\n", address="198.51.100.1")
        _, fetch = bench.take()
        self.assertEqual(fetch.reply.value(b"X-Inverting-Proxy-User-ID"), b"")
        self.assertNotIn(b"X-User", fetch.reply.body)

    def test_userTwice(self) -> None:
        """
        A trusted proxy that lets the client's own user header through beside its own is not believed.
        """
        bench = self.bench(userHeader=b"X-User", trustedProxies=(ip_network("192.0.2.0/24"),))
        fields = b"X-User: mallory\r\nX-User: alice\r\n"
        call = bench.ask(fields=fields, address="192.0.2.9")
        self.assertEqual((call.status, call.error), (400, "bad-request"))

    def test_trailers(self) -> None:
        """
        Trailers are held to the same; those of a trusted proxy keep more.
        """
        trailers = b"X-Forwarded-For: 1.2.3.4\r\nX-Inverting-Proxy-User-ID: root\r\nX-Sum: 1\r\n"
        for trusted in (False, True):
            networks = (ip_network("127.0.0.0/8"),) if trusted else ()
            bench = self.bench(trustedProxies=networks)
            client = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\n")
            client.end(trailers)
            _, fetch = bench.take()
            end = fetch.reply.body.partition(b"\r\n\r\n")[2]
            kept = b"X-Forwarded-For: 1.2.3.4\r\n" if trusted else b""
            self.assertEqual(end, b"0\r\n%bX-Sum: 1\r\n\r\n" % kept)

    def test_hopByHop(self) -> None:
        """
        Hop-by-hop fields end here; C{TE: trailers} is made anew.
        """
        bench = self.bench()
        client = bench.ask(
            fields=b"Connection: keep-alive, X-Mine, TE\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n"
            b"TE: trailers, gzip\r\nProxy-Authorization: x\r\nX-Yours: 2\r\nTrailer: X-T\r\n"
        )
        names = dict(self.forwarded(bench, client)[1])
        self.assertFalse(set(names) & {b"x-mine", b"keep-alive", b"proxy-authorization"})
        self.assertEqual(names[b"te"], b"trailers")
        self.assertEqual(names[b"connection"], b"TE")
        self.assertEqual((names[b"x-yours"], names[b"trailer"]), (b"2", b"X-T"))

    def test_requestsAlone(self) -> None:
        """
        Nothing is added to responses, but a Date where there is none.
        """
        bench = self.bench()
        client = bench.ask()
        bench.respond(bench.take()[0], PLAIN)
        names = {line.partition(b":")[0] for line in client.reply.fields.split(b"\r\n") if line}
        self.assertEqual(names, {b"Content-Length", b"Date"})
        client = bench.ask()
        date = b"HTTP/1.1 200 OK\r\ndate: yesterday\r\nContent-Length: 2\r\n\r\nok"
        bench.respond(bench.take()[0], date)
        self.assertEqual(client.reply.fields, b"\r\ndate: yesterday\r\nContent-Length: 2")


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
        What is left is failed in the end, and parked polls are sent away with nothing.
        """
        bench = self.bench()
        client = bench.ask()
        bench.pending()
        poll = bench.poll()
        bench.proxy.close()
        bench.network.pump()
        self.assertError(client, 503, "draining")
        self.assertEqual(poll.reply.body, b"[]")
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
