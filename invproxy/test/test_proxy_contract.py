"""
The contract of L{ProxyResource <invproxy.proxy.root.ProxyResource>}: the same tests over our own site and over a stock
one of twisted.web, at the root and mounted below a prefix in another application's tree.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from twisted.web.resource import IResource
from zope.interface.verify import verifyObject

from invproxy.interfaces import IOrigin
from invproxy.test.benchcase import BenchCase
from invproxy.test.rawcalls import OURS, PLAIN, Bench, idsOf, innerBlock

if TYPE_CHECKING:
    Case = BenchCase
else:
    Case = object  # what is no TestCase is not run by itself


class Contract(Case):
    """
    What holds over every site. Bodies are whole here when they are looked at, as a stock site knows no others.
    """

    stock = False
    prefix = b""

    def start(self, **options) -> Bench:
        """
        Make a proxy.
        """
        return self.bench(stock=self.stock, prefix=self.prefix, **options)

    def test_interfaces(self) -> None:
        """
        It is a Resource, and an origin.
        """
        proxy = self.start().proxy
        verifyObject(IResource, proxy)
        verifyObject(IOrigin, proxy)

    def test_get(self) -> None:
        """
        A request and its response.
        """
        bench = self.start()
        client = bench.ask(target=b"/a%20b?c=d&e", fields=b"X-A: 1\r\nX-A: \xe9\r\n")
        identifier, fetch = bench.take()
        reply = fetch.reply
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.value(b"X-Inverting-Proxy-Request-ID"), identifier)
        self.assertTrue(reply.value(b"X-Inverting-Proxy-Request-Start-Time"))
        self.assertEqual(reply.value(b"X-Inverting-Proxy-User-ID"), b"")
        line = reply.body.partition(b"\r\n")[0]
        self.assertEqual(line, b"GET %b/a%%20b?c=d&e HTTP/1.1" % self.prefix)
        fields = [(name.lower(), text) for name, text in innerBlock(reply.body)]
        self.assertEqual([text for name, text in fields if name == b"x-a"], [b"1", b"\xe9"])
        self.assertIn((b"host", b"web.example"), fields)
        inner = (
            b"HTTP/1.1 299 Fine\r\nX-B: 1\r\nX-B: 2\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n"
            b"Content-Length: 2\r\n\r\nok"
        )
        call = bench.respond(identifier, inner)
        self.assertEqual((call.status, call.reply.body), (200, b""))
        self.assertAnswered(client, b"ok", 299)
        self.assertEqual(client.reply.reason, b"Fine")
        cookies = re.findall(rb"(?i)\r\nset-cookie: (...)", client.reply.fields)
        self.assertEqual(cookies, [b"a=b", b"c=d"])
        self.assertEqual(re.findall(rb"(?i)\r\nx-b: (.)", client.reply.fields), [b"1", b"2"])
        self.assertEmpty(bench)

    def test_post(self) -> None:
        """
        Bodies in both directions, of known length and chunked, small and large.
        """
        for size in (1, 1000, 300_000):
            body = bytes(range(256)) * (size // 256 + 1)
            body = body[:size]
            bench = self.start()
            chunked = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\n")
            chunked.chunk(body)
            chunked.end()
            (first,) = bench.pending()
            known = bench.post(body)
            (second,) = bench.pending()
            for identifier, client in ((first, chunked), (second, known)):
                data = bench.fetch(identifier).reply.body
                sent = self.bodyOf(data)
                self.assertEqual(sent, body)
                inner = (
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
                )
                self.assertEqual(bench.respond(identifier, inner % (size, body)).status, 200)
                self.assertAnswered(client, body)
            self.assertEmpty(bench)

    def bodyOf(self, data: bytes) -> bytes:
        """
        The body of a request in wire form.
        """
        head, _, rest = data.partition(b"\r\n\r\n")
        if b"chunked" not in head:
            return rest
        body = b""
        while True:
            line, _, rest = rest.partition(b"\r\n")
            size = int(line, 16)
            if not size:
                return body
            body += rest[:size]
            rest = rest[size + 2 :]

    def test_bodyless(self) -> None:
        """
        HEAD, 204 and 304, as the original answers them.
        """
        for method, status in ((b"HEAD", b"200"), (b"GET", b"204"), (b"GET", b"304")):
            bench = self.start()
            client = bench.ask(method)
            head = b"HTTP/1.1 %b X\r\nTransfer-Encoding: chunked\r\nETag: a\r\n\r\n" % status
            call = bench.respond(bench.take()[0], head + b"0\r\n\r\n")
            self.assertEqual(call.status, 200)
            self.assertEqual(client.status, int(status))
            self.assertEqual(client.reply.value(b"ETag"), b"a")
            self.assertTrue(client.client.received.endswith(b"\r\n\r\n"))
            self.assertEqual(client.client.received.count(b"\r\n\r\n"), 1)

    def test_longPoll(self) -> None:
        """
        Polls wait, are shared fairly, and end with an empty array.
        """
        bench = self.start(pollTimeout=7.0)
        polls = [bench.poll() for _ in range(3)]
        for _ in range(2):
            bench.ask()
        for poll in polls[:2]:
            (identifier,) = idsOf(poll)
            self.assertEqual(bench.fetch(identifier).status, 200)
        self.assertEqual(polls[2].status, 0)
        bench.advance(7.3)
        self.assertEqual(idsOf(polls[2]), [])
        self.assertEqual(polls[2].reply.value(b"Content-Type"), b"application/json")

    def test_lease(self) -> None:
        """
        An ID that is not fetched is offered again.
        """
        bench = self.start()
        bench.ask()
        ids = bench.pending()
        bench.advance(5.5)
        self.assertEqual(bench.pending(), ids)

    def test_lostWhileParked(self) -> None:
        """
        A parked poll that is lost takes nothing with it.
        """
        bench = self.start()
        bench.poll().leave()
        client = bench.ask()
        bench.respond(bench.take()[0], PLAIN)
        self.assertAnswered(client)

    def test_notFound(self) -> None:
        """
        404 for what is unknown, another backend's, fetched already, or answered.
        """
        bench = self.start()
        client = bench.ask()
        (identifier,) = bench.pending()
        self.assertEqual(bench.fetch(b"f" * 32).status, 404)
        self.assertEqual(bench.fetch(identifier, backend=b"other").status, 404)
        self.assertEqual(bench.respond(identifier, PLAIN).status, 404)
        self.assertEqual(bench.fetch(identifier).status, 200)
        self.assertEqual(bench.fetch(identifier).status, 404)
        self.assertEqual(bench.respond(identifier, PLAIN, backend=b"other").status, 404)
        self.assertEqual(bench.respond(identifier, PLAIN).status, 200)
        self.assertEqual(bench.respond(identifier, PLAIN).status, 404)
        self.assertAnswered(client)

    def test_clientGone(self) -> None:
        """
        404 for the response to a client that has gone.
        """
        bench = self.start()
        client = bench.ask()
        identifier, _ = bench.take()
        client.leave()
        self.assertEqual(bench.respond(identifier, PLAIN).status, 404)
        self.assertEmpty(bench)

    def test_unparsable(self) -> None:
        """
        400 for what is no response.
        """
        for inner in (b"hello", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", b""):
            bench = self.start()
            client = bench.ask()
            self.assertEqual(bench.respond(bench.take()[0], inner).status, 400, inner)
            self.assertTrue(client.error == "origin-bad-response" or client.isCut)
            self.assertEmpty(bench)

    def test_errorOfAgent(self) -> None:
        """
        An error that the agent names.
        """
        bench = self.start()
        client = bench.ask()
        identifier, _ = bench.take()
        call = bench.respond(identifier, PLAIN, b"X-Inverting-Proxy-Error: origin-refused\r\n")
        self.assertEqual((client.status, client.error), (502, "origin-refused"))
        self.assertEqual(call.status, 200)

    def test_errorOfBackend(self) -> None:
        """
        A backend cannot name one.
        """
        bench = self.start()
        client = bench.ask()
        inner = b"HTTP/1.1 200 OK\r\nX-Inverting-Proxy-Error: a\r\nContent-Length: 2\r\n\r\nok"
        bench.respond(bench.take()[0], inner)
        self.assertAnswered(client)
        self.assertEqual(client.error, "")

    def test_agentCalls(self) -> None:
        """
        Calls without a Backend-ID, without a Request-ID, by wrong methods, and without a handshake.
        """
        bench = self.start()
        for method, path in (
            (b"GET", b"pending"),
            (b"GET", b"request"),
            (b"POST", b"response"),
            (b"GET", b"tunnel"),
        ):
            call = bench.call(method, path, None, b"")
            self.assertEqual((call.status, call.error), (400, "bad-request"))
        self.assertEqual(bench.call(b"GET", b"request", b"web", b"").status, 400)
        self.assertEqual(bench.call(b"GET", b"response", b"web", b"").status, 405)
        # Under a stock site there are no tunnels at all: agents poll.
        tunnel = bench.call(b"GET", b"tunnel", b"web", b"")
        self.assertEqual(tunnel.status, 404 if self.stock else 400)

    def test_otherPaths(self) -> None:
        """
        What only looks like an agent's path is a client's request.
        """
        bench = self.start()
        for target in (
            b"/agent",
            b"/agent/",
            b"/agent/pending/",
            b"/agent/%70ending",
            b"/agent%2Fpending",
            b"//agent/pending",
            b"/x/agent/pending",
            b"/",
            b"/%2e%2e/a//b",
        ):
            client = bench.ask(target=target)
            identifier, fetch = bench.take()
            self.assertEqual(fetch.reply.body.split(b" ")[1], self.prefix + target)
            bench.respond(identifier, PLAIN)
            self.assertAnswered(client)

    def test_mountPoint(self) -> None:
        """
        The very place where it is mounted is a client's request.
        """
        bench = self.start()
        client = bench.ask(target=b"?a=b" if self.prefix else b"/?a=b")
        identifier, fetch = bench.take()
        self.assertEqual(fetch.reply.body.split(b" ")[1], (self.prefix or b"/") + b"?a=b")
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_reserved(self) -> None:
        """
        The proxy's own paths.
        """
        client = self.start().ask(target=b"/.invproxy/a")
        self.assertEqual((client.status, client.error), (404, "no-backend"))

    def test_absoluteForm(self) -> None:
        """
        Absolute-form is read as what it means.
        """
        if self.stock and self.prefix:
            return  # the outer tree does not find its way
        bench = self.start()
        call = bench.raw(
            b"GET http://web%b/agent/pending HTTP/1.1\r\nHost: x\r\n\r\n" % self.prefix
        )
        self.assertEqual(call.error, "bad-request")
        client = bench.raw(b"GET http://web.example%b/a HTTP/1.1\r\nHost: x\r\n\r\n" % self.prefix)
        identifier, fetch = bench.take()
        self.assertEqual(fetch.reply.body.split(b" ")[1], self.prefix + b"/a")
        self.assertIn((b"Host", b"web.example"), innerBlock(fetch.reply.body))
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_forwarding(self) -> None:
        """
        Forwarding fields are ours.
        """
        bench = self.start()
        bench.ask(
            fields=b"X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n"
            b"X-Inverting-Proxy-User-ID: root\r\n",
            address="192.0.2.9",
        )
        identifier, fetch = bench.take()
        fields = {name.lower(): text for name, text in innerBlock(fetch.reply.body)}
        self.assertEqual(fields[b"x-forwarded-for"], b"192.0.2.9")
        self.assertEqual(fields[b"forwarded"], b"for=192.0.2.9;host=web.example;proto=http")
        self.assertNotIn(b"1.2.3.4", fetch.reply.body)
        self.assertNotIn(b"root", fetch.reply.body)
        bench.respond(identifier, PLAIN)
        again = bench.ask(fields=b"Via: %b\r\n" % fields[b"via"])
        self.assertEqual((again.status, again.error), (508, "loop-detected"))

    def test_errors(self) -> None:
        """
        Error answers.
        """
        bench = self.start(maxPending=1, queueTimeout=5.0, maxBody=10)
        trace = bench.ask(b"TRACE")
        self.assertEqual((trace.status, trace.error), (405, "method-not-allowed"))
        large = bench.post(b"x" * 11)
        self.assertEqual((large.status, large.error), (413, "body-too-large"))
        chunked = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\n")
        chunked.chunk(b"x" * 11)
        if self.stock:
            chunked.end()
        self.assertEqual((chunked.status, chunked.error), (413, "body-too-large"))
        nobody = bench.ask(fields=b"X-Inverting-Proxy-Backend: no\r\n")
        self.assertEqual((nobody.status, nobody.error), (404, "no-backend"))
        client = bench.ask(fields=b"Accept: application/json\r\n")
        full = bench.ask()
        self.assertEqual((full.status, full.error), (429, "too-many-pending"))
        self.assertEqual(full.reply.value(b"Retry-After"), b"1")
        bench.advance(5.5)
        self.assertEqual((client.status, client.error), (504, "queue-timeout"))
        self.assertEqual(client.reply.value(b"Content-Type"), b"application/json; charset=utf-8")
        self.assertIn(b'"requestID": "', client.reply.body)
        self.assertEmpty(bench)

    def test_lengthIsNotForAgents(self) -> None:
        """
        The bound on bodies is for requests alone.
        """
        bench = self.start(maxBody=10)
        client = bench.ask()
        body = b"y" * 1000
        inner = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + body
        bench.respond(bench.take()[0], inner)
        self.assertAnswered(client, body)

    def test_draining(self) -> None:
        """
        503 while it is about to stop.
        """
        bench = self.start()
        bench.proxy.drain()
        client = bench.ask()
        self.assertEqual((client.status, client.error), (503, "draining"))

    def test_offline(self) -> None:
        """
        503 while there is no agent.
        """
        client = Bench(stock=self.stock, prefix=self.prefix).ask()
        self.assertEqual((client.status, client.error), (503, "agent-offline"))

    def test_agentLost(self) -> None:
        """
        An agent that never comes back.
        """
        bench = self.start(pollTimeout=10.0)
        client = bench.ask()
        bench.take()
        bench.advance(21)
        self.assertEqual((client.status, client.error), (502, "agent-lost"))
        self.assertEmpty(bench)

    def test_slowClient(self) -> None:
        """
        A client that does not read gets all of it in the end.
        """
        bench = self.start(capacity=4096)
        client = bench.ask()
        client.client.stopReading()
        body = b"z" * 500_000
        call = bench.respond(bench.take()[0])
        call.chunk(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        call.end()
        client.client.startReading()
        bench.network.pump()
        self.assertAnswered(client, body)
        self.assertEqual(call.status, 200)

    def test_pipelined(self) -> None:
        """
        Requests that are pipelined are answered in order.
        """
        bench = self.start()
        request = b"GET %b/%%d HTTP/1.1\r\nHost: web\r\n\r\n" % self.prefix
        client = bench.raw(b"".join(request % number for number in range(3)))
        for number in range(3):
            identifier, fetch = bench.take()
            target = self.prefix + b"/%d" % number
            self.assertEqual(fetch.reply.body.split(b" ")[1], target)
            bench.respond(identifier, PLAIN)
        self.assertEqual(client.client.received.count(b"HTTP/1.1 200 OK"), 3)
        self.assertEmpty(bench)


class OurSite(Contract):
    """
    What our own site alone can do.
    """

    def test_streams(self) -> None:
        """
        Bodies in pieces, in both directions, with trailers.
        """
        bench = self.start()
        client = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\n")
        client.chunk(b"one")
        identifier, fetch = bench.take(OURS)
        self.assertFalse(fetch.reply.whole)
        call = bench.respond(identifier, fields=OURS)
        call.chunk(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n")
        call.chunk(b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        self.assertEqual((client.reply.interim, client.reply.body), ([103], b"a"))
        client.end(b"X-T: 1\r\n")
        self.assertTrue(fetch.reply.body.endswith(b"3\r\none\r\n0\r\nX-T: 1\r\n\r\n"))
        call.chunk(b"0\r\nX-U: 2\r\n\r\n")
        self.assertEqual(client.reply.trailers, b"\r\nX-U: 2")

    def test_upgrade(self) -> None:
        """
        Upgrades.
        """
        bench = self.start()
        client = bench.ask(fields=b"Connection: Upgrade\r\nUpgrade: echo\r\n")
        identifier, fetch = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        call.chunk(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
        client.send(b"world")
        self.assertEqual((client.status, client.reply.body), (101, b"hello"))
        self.assertTrue(fetch.reply.body.endswith(b"\r\n\r\nworld"))

    def test_lifeline(self) -> None:
        """
        Lifelines.
        """
        bench = self.start()
        client = bench.ask(b"POST")
        identifier, _ = bench.take(OURS)
        bench.respond(identifier, fields=OURS).leave()
        self.assertEqual((client.status, client.error), (502, "agent-lost"))

    def test_lostPoll(self) -> None:
        """
        IDs of a poll whose connection broke.
        """
        bench = self.start()
        bench.ask()
        poll = bench.poll()
        poll.leave()
        self.assertEqual(bench.pending(), idsOf(poll))


class StockSite(Contract):
    """
    What a stock site cannot do, and how that shows.
    """

    stock = True

    def test_bodiesArriveWhole(self) -> None:
        """
        A request is offered once its body is whole, and a response sent once it is.
        """
        bench = self.start()
        client = bench.ask(b"POST", fields=b"Content-Length: 4\r\n", body=b"ab")
        poll = bench.poll()
        self.assertEqual(poll.status, 0)
        client.send(b"cd")
        (identifier,) = idsOf(poll)
        self.assertTrue(bench.fetch(identifier).reply.body.endswith(b"\r\n\r\nabcd"))
        call = bench.respond(identifier)
        call.chunk(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        self.assertEqual(client.status, 0)
        call.chunk(b"ok")
        call.end()
        self.assertAnswered(client)

    def test_noFeatures(self) -> None:
        """
        Our additions are neither offered nor used: an agent of ours behaves as an original does.
        """
        bench = self.start()
        client = bench.ask(fields=b"Connection: Upgrade\r\nUpgrade: echo\r\n")
        identifier, fetch = bench.take(OURS)
        self.assertIsNone(fetch.reply.value(b"X-Inverting-Proxy-Features"))
        names = {name.lower() for name, _ in innerBlock(fetch.reply.body)}
        self.assertNotIn(b"upgrade", names)
        bench.advance(20)  # no lifeline is expected
        self.assertEqual(client.status, 0)
        bench.respond(identifier, b"HTTP/1.1 103 Early Hints\r\n\r\n" + PLAIN, OURS)
        self.assertEqual(client.reply.interim, [])
        self.assertAnswered(client)

    def test_expect(self) -> None:
        """
        twisted.web answers 100 by itself.
        """
        bench = self.start()
        client = bench.ask(b"POST", fields=b"Expect: 100-continue\r\nContent-Length: 2\r\n")
        self.assertEqual(client.reply.interim, [100])
        client.send(b"hi")
        identifier, fetch = bench.take()
        self.assertNotIn(b"expect", {name.lower() for name, _ in innerBlock(fetch.reply.body)})
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)


class StreamingTests(OurSite, BenchCase):
    """
    Our own site.
    """


class StreamingMountedTests(OurSite, BenchCase):
    """
    Our own site, with the proxy in a tree.
    """

    prefix = b"/apps/proxy"


class StockTests(StockSite, BenchCase):
    """
    A stock site.
    """


class StockMountedTests(StockSite, BenchCase):
    """
    A stock site, with the proxy in a tree.
    """

    prefix = b"/apps/proxy"
