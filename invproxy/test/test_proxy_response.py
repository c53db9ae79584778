"""
C{agent/response}: how a response comes back, and upgrades.
"""

from __future__ import annotations

from invproxy.test.benchcase import BenchCase
from invproxy.test.rawcalls import OURS, PLAIN, Bench, Call, idsOf, innerBlock


class ResponseTests(BenchCase):
    """
    C{POST agent/response}.
    """

    def exchange(self, method: bytes = b"GET", **options) -> tuple[Bench, Call, bytes]:
        """
        @return: a proxy, a client, and the ID of its request, which has been fetched.
        """
        bench = self.bench(**options)
        client = bench.ask(method)
        return bench, client, bench.take()[0]

    def test_whole(self) -> None:
        """
        The response as it came; the call is answered with an empty 200 once all of it has been passed on.
        """
        bench, client, identifier = self.exchange()
        call = bench.respond(identifier)
        call.chunk(b"HTTP/1.1 299 M\xe4h\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 4\r\n\r\nbo")
        self.assertEqual((client.status, client.reply.body), (299, b"bo"))
        self.assertEqual(call.status, 0)
        call.chunk(b"dy")
        call.end()
        self.assertAnswered(client, b"body", 299)
        self.assertEqual(client.reply.reason, b"M\xe4h")
        self.assertIn(b"\r\nX-A: 1\r\nx-a: 2", client.reply.fields)
        self.assertEqual((call.status, call.reply.body), (200, b""))
        self.assertEmpty(bench)

    def test_cutAnywhere(self) -> None:
        """
        However the bytes of the response fall into chunks, it is the same.
        """
        inner = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
        for size in (1, 2, 3, 7, 50):
            bench, client, identifier = self.exchange()
            call = bench.respond(identifier)
            for at in range(0, len(inner), size):
                call.chunk(inner[at : at + size])
            call.end()
            self.assertAnswered(client, b"hello")
            self.assertEqual(client.reply.trailers, b"\r\nX-T: 1")
            self.assertEqual(call.status, 200)

    def test_untilEnd(self) -> None:
        """
        A response without framing ends with the call.
        """
        bench, client, identifier = self.exchange()
        call = bench.respond(identifier)
        call.chunk(b"HTTP/1.1 200 OK\r\n\r\nany")
        self.assertFalse(client.reply.whole)
        call.end()
        self.assertAnswered(client, b"any")

    def test_bodyless(self) -> None:
        """
        The original frames even the answers to HEAD, 204 and 304 as empty chunked bodies.
        """
        for method, status in ((b"HEAD", b"200"), (b"GET", b"204"), (b"GET", b"304")):
            bench, client, identifier = self.exchange(method)
            head = b"HTTP/1.1 %b X\r\nTransfer-Encoding: chunked\r\nETag: a\r\n\r\n" % status
            call = bench.respond(identifier, head + b"0\r\n\r\n")
            self.assertEqual(call.status, 200, status)
            self.assertAnswered(client, b"", int(status))
            self.assertEqual(client.reply.value(b"ETag"), b"a")
            if status == b"204":
                self.assertNotIn(b"Transfer-Encoding", bytes(client.client.received))
            self.assertFalse(client.client.received.endswith(b"0\r\n\r\n"))
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertEqual(len(bench.pending()), 1)

    def test_bodylessInPieces(self) -> None:
        """
        The same when the rest comes later.
        """
        bench, client, identifier = self.exchange(b"HEAD")
        call = bench.respond(identifier)
        call.chunk(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertAnswered(client, b"")
        call.chunk(b"0\r\n\r\n")
        call.end()
        self.assertEqual(call.status, 200)

    def test_unknown(self) -> None:
        """
        404 for an ID that nobody knows, that is another backend's, or that was not fetched.
        """
        bench = self.bench()
        client = bench.ask()
        (identifier,) = bench.pending()
        self.assertEqual(bench.respond(b"f" * 32, PLAIN).status, 404)
        self.assertEqual(bench.respond(identifier, PLAIN).status, 404)
        bench.fetch(identifier)
        self.assertEqual(bench.respond(identifier, PLAIN, backend=b"other").status, 404)
        self.assertEqual(client.status, 0)
        self.assertEqual(bench.respond(identifier, PLAIN).status, 200)
        self.assertEqual(bench.respond(identifier, PLAIN).status, 404)
        self.assertAnswered(client)

    def test_secondWhileResponding(self) -> None:
        """
        404 for a second call once the head has come.
        """
        bench, client, identifier = self.exchange()
        call = bench.respond(identifier)
        call.chunk(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        self.assertEqual(bench.respond(identifier, PLAIN).status, 404)
        call.chunk(b"ok")
        call.end()
        self.assertAnswered(client)

    def test_clientGone(self) -> None:
        """
        404 on the open call, at once, and on a later one; the open fetch is cut.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Content-Length: 5\r\n", body=b"a")
        identifier, fetch = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        client.leave()
        self.assertEqual(call.status, 404)
        self.assertTrue(fetch.isCut)
        self.assertEqual(bench.respond(identifier, PLAIN).status, 404)
        self.assertEmpty(bench)

    def test_clientGoneWhileResponding(self) -> None:
        """
        404 also in the middle of the response.
        """
        bench, client, identifier = self.exchange()
        call = bench.respond(identifier)
        call.chunk(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
        client.leave()
        self.assertEqual(call.status, 404)
        call.chunk(b"more")
        call.end()
        self.assertEqual(call.status, 404)
        self.assertEmpty(bench)

    def test_unparsable(self) -> None:
        """
        400 for what is no response, and the client gets a 502.
        """
        for inner in (
            b"",
            b"hello",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 103 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ):
            bench, client, identifier = self.exchange()
            call = bench.respond(identifier, inner)
            self.assertEqual(call.status, 400, inner)
            self.assertEqual((client.status, client.error), (502, "origin-bad-response"), inner)
            self.assertEmpty(bench)

    def test_brokenBody(self) -> None:
        """
        400 for a body that breaks its framing or ends half way; the client's response is cut.
        """
        for inner in (
            b"Content-Length: 3\r\n\r\nab",
            b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc",
            b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        ):
            bench, client, identifier = self.exchange()
            call = bench.respond(identifier)
            call.chunk(b"HTTP/1.1 200 OK\r\n" + inner[:-1])
            call.chunk(inner[-1:])
            call.end()
            self.assertEqual(call.status, 400, inner)
            self.assertEqual(client.status, 200)
            self.assertTrue(client.isCut, inner)
            self.assertEmpty(bench)

    def test_nothingBehindTheEnd(self) -> None:
        """
        What follows a response is nobody's answer.
        """
        bench, client, identifier = self.exchange()
        self.assertEqual(bench.respond(identifier, PLAIN + PLAIN).status, 200)
        self.assertAnswered(client)
        self.assertEqual(client.client.received.count(b"HTTP/1.1"), 1)

    def test_interim(self) -> None:
        """
        Interim responses are passed on, but not to HTTP/1.0 clients.
        """
        bench = self.bench()
        client = bench.ask()
        old = bench.raw(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n")
        for identifier in bench.pending(fields=OURS):
            bench.fetch(identifier, OURS)
            hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
            bench.respond(identifier, hints + hints + PLAIN, OURS)
        self.assertEqual(client.reply.interim, [103, 103])
        self.assertAnswered(client)
        self.assertEqual(old.reply.interim, [])
        self.assertAnswered(old)

    def test_replaced(self) -> None:
        """
        A second call replaces one that has brought nothing yet.
        """
        bench, client, identifier = self.exchange()
        first = bench.respond(identifier)
        self.assertEqual(bench.respond(identifier, PLAIN).status, 200)
        self.assertEqual(first.status, 404)
        first.chunk(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")
        self.assertAnswered(client)

    def test_retried(self) -> None:
        """
        An agent's repetition is taken, and the loss of the first call then means nothing.
        """
        bench, client, identifier = self.exchange()
        first = bench.respond(identifier, fields=OURS)
        second = bench.respond(identifier, fields=OURS)
        first.leave()
        self.assertEqual(client.status, 0)
        second.chunk(PLAIN)
        second.end()
        self.assertAnswered(client)

    def test_errorOfAgent(self) -> None:
        """
        An error that the agent names makes the error page of the contract.
        """
        for code, status in (
            (b"origin-refused", 502),
            (b"origin-bad-response", 502),
            (b"origin-timeout", 504),
        ):
            bench, client, identifier = self.exchange()
            line = bench.respond(identifier, fields=OURS)
            call = bench.respond(
                identifier, PLAIN, OURS + b"X-Inverting-Proxy-Error: %b\r\n" % code
            )
            self.assertEqual((client.status, client.error), (status, code.decode()))
            self.assertIn(identifier, client.reply.body)
            self.assertEqual(call.status, 200)
            self.assertEqual(line.status, 404)
            self.assertEmpty(bench)

    def test_otherErrorOfAgent(self) -> None:
        """
        Codes that are not an agent's to give are ignored: the response inside counts.
        """
        bench, client, identifier = self.exchange()
        bench.respond(identifier, PLAIN, b"X-Inverting-Proxy-Error: unauthenticated\r\n")
        self.assertAnswered(client)

    def test_errorOfBackend(self) -> None:
        """
        A backend cannot pretend to be the proxy: its fields of that name are dropped, also from trailers.
        """
        bench, client, identifier = self.exchange()
        bench.respond(
            identifier,
            b"HTTP/1.1 200 OK\r\nX-Inverting-Proxy-Error: agent-lost\r\nx-inverting-proxy-any: a\r\n"
            b"X-Other: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Inverting-Proxy-Error: a\r\nX-T: 1\r\n\r\n",
        )
        self.assertEqual(client.error, "")
        self.assertNotIn(b"nverting", client.reply.fields)
        self.assertEqual(client.reply.value(b"X-Other"), b"b")
        self.assertEqual(client.reply.trailers, b"\r\nX-T: 1")

    def test_early(self) -> None:
        """
        A response that ends before the request has: it is whole, and the fetch is cut.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Content-Length: 9\r\n", body=b"abc")
        identifier, fetch = bench.take()
        self.assertEqual(bench.respond(identifier, PLAIN).status, 200)
        self.assertAnswered(client)
        self.assertTrue(fetch.isCut)
        self.assertEmpty(bench)

    def test_bothWaysAtOnce(self) -> None:
        """
        The response flows while the request still does.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\n")
        identifier, fetch = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        call.chunk(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"one", b"two", b"three"):
            client.chunk(piece)
            self.assertTrue(fetch.reply.body.endswith(piece + b"\r\n"))
            call.chunk(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.assertTrue(client.reply.body.endswith(piece))
        client.end()
        self.assertTrue(fetch.reply.whole)
        call.chunk(b"0\r\n\r\n")
        call.end()
        self.assertAnswered(client, b"onetwothree")

    def test_fetchLostWhileResponding(self) -> None:
        """
        The response goes on when the call that took the request breaks, and the client is not held up.
        """
        bench = self.bench()
        size = 1 << 20
        client = bench.ask(b"POST", fields=b"Content-Length: %d\r\n" % size, body=b"abc")
        (identifier,) = bench.pending()
        agent = bench.stall(identifier)
        call = bench.respond(identifier)
        call.chunk(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        client.send(b"x" * (size - 3))
        self.assertLess(client.client.link.fromClient, size // 2)
        agent.abort()
        bench.network.pump()
        self.assertGreater(client.client.link.fromClient, size)
        call.chunk(b"ok")
        call.end()
        self.assertAnswered(client)

    def test_backPressure(self) -> None:
        """
        A client that does not read stops its agent's call and nobody else's; the call still comes to its end.
        """
        bench, client, identifier = self.exchange(capacity=4096)
        client.client.stopReading()
        size = 1 << 20
        call = bench.respond(identifier)
        call.chunk(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        call.chunk(b"z" * size)
        self.assertLess(call.client.link.fromClient, 400_000)
        other = bench.ask()
        bench.respond(bench.take()[0], PLAIN)
        self.assertAnswered(other)
        call.end()
        client.client.startReading()
        bench.network.pump()
        self.assertAnswered(client, b"z" * size)
        self.assertEqual(call.status, 200)

    def dammed(self) -> tuple[Bench, Call, Call, int]:
        """
        @return: a proxy, a client that does not keep up since the very last piece of a response, the call that brought
            it, which lacks its own last chunk, and the size of the response.
        """
        for size in range(69_000, 70_000, 20):
            bench, client, identifier = self.exchange(capacity=4096)
            client.client.stopReading()
            call = bench.respond(identifier)
            call.chunk(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"1" * size)
            paused = any(channel.isBehind for channel in bench.site._channels)
            if paused and not bench.proxy.mailboxes.exchanges:
                return bench, client, call, size
        raise AssertionError("no size does it")

    def test_backPressureAtTheEnd(self) -> None:
        """
        The call comes to its end even if only its own last chunk is left when the client does not keep up.
        """
        bench, client, call, size = self.dammed()
        call.end()
        self.assertEqual(call.status, 200)
        client.client.startReading()
        bench.network.pump()
        self.assertAnswered(client, b"1" * size)

    def test_nextNotBegun(self) -> None:
        """
        A client that has not read an earlier answer does not get the next one piled up in memory: the request is not
        even handed on before.
        """
        bench, client, _, size = self.dammed()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        poll = bench.poll()
        self.assertFalse(poll.reply.whole)
        client.client.startReading()
        bench.network.pump()
        self.assertTrue(client.client.received.endswith(b"1" * size))
        (identifier,) = idsOf(poll)
        bench.fetch(identifier)
        second = bench.respond(identifier, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")
        self.assertTrue(client.client.received.endswith(b"\r\n\r\n2"))
        self.assertEqual(second.status, 200)


class UpgradeTests(BenchCase):
    """
    A 101 over the two calls.
    """

    def upgraded(self) -> tuple[Bench, Call, Call, Call]:
        """
        @return: a proxy, and the three calls: the client's, the fetch, and the one that brings the response.
        """
        bench = self.bench()
        client = bench.ask(fields=b"Connection: Upgrade\r\nUpgrade: echo\r\n")
        identifier, fetch = bench.take(OURS)
        self.assertFalse(fetch.reply.whole)
        self.assertIn((b"Upgrade", b"echo"), innerBlock(fetch.reply.body))
        call = bench.respond(identifier, fields=OURS)
        call.chunk(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
        self.assertEqual((client.status, client.reply.body), (101, b"hello"))
        return bench, client, fetch, call

    def raw(self, fetch: Call) -> bytes:
        return fetch.reply.body.partition(b"\r\n\r\n")[2]

    def test_bothWays(self) -> None:
        """
        Raw bytes in both directions, at once.
        """
        _, client, fetch, call = self.upgraded()
        client.send(b"\x00\x01")
        self.assertEqual(self.raw(fetch), b"\x00\x01")
        call.chunk(b"\xff")
        self.assertEqual(client.reply.body, b"hello\xff")

    def test_clientEnds(self) -> None:
        """
        The client's end arrives, and the other direction goes on.
        """
        bench, client, fetch, call = self.upgraded()
        client.send(b"bye")
        client.client.closeWrite()
        bench.network.pump()
        self.assertTrue(fetch.reply.whole)
        self.assertEqual(self.raw(fetch), b"bye")
        call.chunk(b"more")
        self.assertEqual(client.reply.body, b"hellomore")
        call.end()
        self.assertTrue(client.client.ended)
        self.assertEqual(call.status, 200)
        self.assertEmpty(bench)

    def test_agentEnds(self) -> None:
        """
        So does the backend's.
        """
        bench, client, fetch, call = self.upgraded()
        call.end()
        self.assertEqual(call.status, 200)
        self.assertTrue(client.client.ended)
        client.send(b"still")
        self.assertEqual(self.raw(fetch), b"still")
        self.assertFalse(fetch.reply.whole)
        client.client.close()
        bench.network.pump()
        self.assertTrue(fetch.reply.whole)
        self.assertEmpty(bench)

    def test_clientGone(self) -> None:
        """
        A client that resets its connection ends both calls.
        """
        bench, client, fetch, call = self.upgraded()
        client.leave()
        self.assertEqual(call.status, 404)
        self.assertTrue(fetch.isCut)
        self.assertEmpty(bench)

    def test_callsLost(self) -> None:
        """
        The loss of either call ends all.
        """
        for number in (0, 1):
            bench, client, *calls = self.upgraded()
            calls[number].leave()
            self.assertTrue(client.isClosed)
            self.assertTrue(calls[1 - number].isClosed or calls[1 - number].status == 404)
            self.assertEmpty(bench)

    def test_lostAfterHalf(self) -> None:
        """
        The loss of the fetch also ends all when the other direction has ended before.
        """
        bench, client, fetch, call = self.upgraded()
        call.end()
        fetch.leave()
        self.assertTrue(client.isClosed)
        self.assertEmpty(bench)

    def test_refused(self) -> None:
        """
        Another answer than 101 ends the fetch, and the connection goes on with HTTP.
        """
        bench = self.bench()
        client = bench.ask(fields=b"Connection: Upgrade\r\nUpgrade: echo\r\n")
        identifier, fetch = bench.take(OURS)
        bench.respond(identifier, PLAIN, OURS)
        self.assertAnswered(client)
        self.assertTrue(fetch.reply.whole)
        client.client.take()
        client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        bench.respond(bench.take()[0], PLAIN)
        self.assertAnswered(client)
        self.assertEmpty(bench)

    def test_earlyBytes(self) -> None:
        """
        What the client sends before it has seen the 101 follows it.
        """
        bench = self.bench()
        client = bench.ask(fields=b"Connection: Upgrade\r\nUpgrade: echo\r\n", body=b"early")
        identifier, fetch = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        call.chunk(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        client.send(b"later")
        self.assertEqual(self.raw(fetch), b"earlylater")

    def test_idle(self) -> None:
        """
        The idle clock runs on upgraded connections; bytes of either direction wind it up.
        """
        bench, client, _, call = self.upgraded()
        for _ in range(2):
            bench.advance(200)
            client.send(b"x")
            bench.advance(200)
            call.chunk(b"y")
        bench.advance(299)
        self.assertFalse(client.isClosed)
        bench.advance(1.5)
        self.assertTrue(client.isClosed)
        self.assertEmpty(bench)

    def test_backPressure(self) -> None:
        """
        Each direction has its own pace.
        """
        bench, client, fetch, call = self.upgraded()
        client.client.stopReading()
        call.chunk(b"d" * 1_000_000)
        self.assertLess(call.client.link.fromClient, 600_000)
        client.send(b"u" * 1000)
        self.assertEqual(self.raw(fetch), b"u" * 1000)
        client.client.startReading()
        bench.network.pump()
        self.assertEqual(len(client.reply.body), 1_000_005)
