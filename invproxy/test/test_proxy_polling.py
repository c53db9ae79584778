"""
The proxy's side of the poll protocol, call by call, against agents that write bytes by hand.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from invproxy.test.rawcalls import OURS, PLAIN, Bench, Call, idsOf, innerBlock


class BenchCase(SynchronousTestCase):
    """
    What these tests share.
    """

    def bench(self, **options) -> Bench:
        """
        Make a proxy, with one agent of the backend C{web} known.
        """
        bench = Bench(**options)
        self.assertEqual(bench.fetch(b"0" * 32).status, 404)
        return bench

    def assertAnswered(self, client: Call, body: bytes = b"ok", status: int = 200) -> None:
        reply = client.reply
        self.assertTrue(reply.whole)
        self.assertEqual((reply.status, reply.body), (status, body))

    def assertEmpty(self, bench: Bench) -> None:
        self.assertEqual(bench.proxy.mailboxes.exchanges, {})
        for mailbox in bench.proxy.mailboxes:
            self.assertEqual(mailbox.counts()[0], 0)


class PendingTests(BenchCase):
    """
    C{GET agent/pending}.
    """

    def test_allThatWait(self) -> None:
        """
        All IDs that wait, in order, at once.
        """
        bench = self.bench()
        for number in range(3):
            bench.ask(target=b"/%d" % number)
        ids = bench.pending()
        self.assertEqual(len(set(ids)), 3)
        targets = [bench.fetch(each).reply.body.split(b" ")[1] for each in ids]
        self.assertEqual(targets, [b"/0", b"/1", b"/2"])

    def test_atMost100(self) -> None:
        """
        One answer names at most 100; the rest stay for the next.
        """
        bench = self.bench()
        for _ in range(103):
            bench.ask()
        first, second = bench.pending(), bench.pending()
        self.assertEqual((len(first), len(second)), (100, 3))
        self.assertFalse(set(first) & set(second))

    def test_longPoll(self) -> None:
        """
        A poll waits, and is answered as soon as a request comes.
        """
        bench = self.bench()
        poll = bench.poll()
        bench.advance(29)
        self.assertEqual(bytes(poll.client.received), b"")
        bench.ask()
        self.assertEqual(len(idsOf(poll)), 1)

    def test_timeout(self) -> None:
        """
        After the poll timeout: an empty array; not much later, and not before.
        """
        bench = self.bench(pollTimeout=7.0)
        poll = bench.poll()
        bench.advance(6.99)
        self.assertEqual(poll.status, 0)
        bench.advance(0.3)
        self.assertEqual(poll.reply.body, b"[]")
        self.assertEqual(poll.reply.value(b"Content-Type"), b"application/json")

    def test_fairShare(self) -> None:
        """
        No poll gets more than its share of what comes while others are parked.
        """
        bench = self.bench()
        polls = [bench.poll() for _ in range(3)]
        for _ in range(3):
            bench.ask()
        self.assertEqual([len(idsOf(poll)) for poll in polls], [1, 1, 1])

    def test_lostPoll(self) -> None:
        """
        The IDs of a poll whose connection broke are offered again at once, in their order.
        """
        bench = self.bench()
        for _ in range(3):
            bench.ask()
        poll = bench.poll()
        ids = idsOf(poll)
        poll.leave()
        self.assertEqual(bench.pending(), ids)

    def test_lostWhileParked(self) -> None:
        """
        A poll that was lost while it waited gets nothing.
        """
        bench = self.bench()
        bench.poll().leave()
        bench.ask()
        self.assertEqual(len(bench.pending()), 1)

    def test_lostAfterFetch(self) -> None:
        """
        What was fetched does not come back when the connection of its poll breaks.
        """
        bench = self.bench()
        client = bench.ask()
        poll = bench.poll()
        (identifier,) = idsOf(poll)
        bench.fetch(identifier)
        poll.leave()
        parked = bench.poll()
        self.assertEqual(parked.status, 0)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_lostLateInLease(self) -> None:
        """
        The loss of a poll's connection counts for as long as the lease lasts.
        """
        bench = self.bench(claimTimeout=20.0)
        bench.ask()
        poll = bench.poll()
        ids = idsOf(poll)
        bench.advance(15)
        poll.leave()
        self.assertEqual(bench.pending(), ids)

    def test_lease(self) -> None:
        """
        An ID that is not fetched within the claim timeout is offered again, before all others.
        """
        bench = self.bench()
        for _ in range(3):
            bench.ask()
        ids = bench.pending()
        later = bench.ask()
        bench.advance(4.9)
        self.assertEqual(len(bench.pending()), 1)
        bench.advance(0.6)
        self.assertEqual(bench.pending(), ids)
        self.assertEqual(later.status, 0)

    def test_leaseToParkedPoll(self) -> None:
        """
        It is given to a poll that is parked already.
        """
        bench = self.bench()
        bench.ask()
        ids = bench.pending()
        poll = bench.poll()
        bench.advance(5.5)
        self.assertEqual(idsOf(poll), ids)

    def test_fetchAfterLease(self) -> None:
        """
        An agent that is slow to fetch still gets the request while nobody else has.
        """
        bench = self.bench()
        client = bench.ask()
        (identifier,) = bench.pending()
        bench.advance(5.5)
        self.assertEqual(bench.fetch(identifier).status, 200)
        self.assertEqual(bench.poll().status, 0)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)
        self.assertEmpty(bench)

    def test_connectionPerCall(self) -> None:
        """
        An agent that asks for its connection to be closed after each call, as one behind another proxy does, is no lost
        agent.
        """
        bench = self.bench()
        client = bench.ask()
        close = b"Connection: close\r\n"
        poll = bench.poll(fields=close)
        self.assertTrue(poll.client.ended)
        poll.client.close()
        other = bench.poll()
        (identifier,) = idsOf(poll)
        self.assertEqual(bench.fetch(identifier, close).status, 200)
        self.assertEqual(other.status, 0)
        bench.respond(identifier, PLAIN, close)
        self.assertAnswered(client)

    def test_closedAfterwards(self) -> None:
        """
        Nor is one that closes a kept connection before it fetches on another.
        """
        bench = self.bench()
        client = bench.ask()
        poll = bench.poll()
        poll.client.close()
        bench.network.pump()
        (identifier,) = idsOf(poll)
        self.assertEqual(bench.fetch(identifier).status, 200)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_otherBackend(self) -> None:
        """
        One backend's polls get nothing of another's.
        """
        bench = self.bench()
        other = bench.poll(b"other")
        bench.ask()
        self.assertEqual(other.status, 0)
        self.assertEqual(len(bench.pending()), 1)

    def test_clientGone(self) -> None:
        """
        A request whose client has gone is not offered.
        """
        bench = self.bench()
        bench.ask().leave()
        self.assertEqual(bench.poll().status, 0)
        self.assertEmpty(bench)

    def test_features(self) -> None:
        """
        Our additions are named in the answer.
        """
        bench = self.bench()
        bench.ask()
        self.assertEqual(
            bench.poll().reply.value(b"X-Inverting-Proxy-Features"), b"interim, upgrade"
        )

    def test_pollsOnOneConnection(self) -> None:
        """
        Fifty polls on one connection leave nothing behind on it.
        """
        bench = self.bench()
        agent = bench.network.client("127.0.0.1", 8080)
        for number in range(50):
            bench.ask()
            agent.send(
                b"GET /agent/pending HTTP/1.1\r\nHost: a\r\nX-Inverting-Proxy-Backend-ID: web\r\n\r\n"
            )
            bench.network.pump()
            identifier = re.findall(rb"[0-9a-f]{32}", agent.take())[0]
            self.assertEqual(bench.fetch(identifier).status, 200, number)
            bench.respond(identifier, PLAIN)
        self.assertEqual([each._callbacks for each in bench.site._channels if each._callbacks], [])
        self.assertEmpty(bench)


class CallTests(BenchCase):
    """
    What all calls have in common.
    """

    def test_backendID(self) -> None:
        """
        Without a proper Backend-ID: 400, on each of the reserved paths.
        """
        bench = self.bench()
        for method, path in (
            (b"GET", b"pending"),
            (b"GET", b"request"),
            (b"POST", b"response"),
            (b"GET", b"tunnel"),
        ):
            for backend in (None, b"", b"a b", b"\xff", b"x" * 257):
                call = bench.call(method, path, backend, b"")
                self.assertEqual((call.status, call.error), (400, "bad-request"), path)

    def test_requestID(self) -> None:
        """
        The last two need a Request-ID.
        """
        bench = self.bench()
        self.assertEqual(bench.call(b"GET", b"request", b"web", b"").status, 400)
        self.assertEqual(bench.call(b"POST", b"response", b"web", b"").status, 400)

    def test_method(self) -> None:
        """
        Each has one method.
        """
        bench = self.bench()
        for method, path in (
            (b"POST", b"pending"),
            (b"HEAD", b"request"),
            (b"GET", b"response"),
            (b"PUT", b"response"),
        ):
            call = bench.call(method, path, b"web", b"")
            self.assertEqual(call.status, 405)
            self.assertIn(b"\r\nAllow: ", call.reply.fields)

    def test_noTunnel(self) -> None:
        """
        There is no tunnel, and its path is no client's.
        """
        bench = self.bench()
        poll = bench.poll()
        self.assertEqual(bench.call(b"GET", b"tunnel", b"web", b"").status, 404)
        self.assertEqual(poll.status, 0)

    def test_maxBackends(self) -> None:
        """
        There are not more backends than allowed; those that are offline make room.
        """
        bench = self.bench(maxBackends=2, backendTimeout=100.0)
        self.assertEqual(bench.fetch(b"0", backend=b"b").status, 404)
        refused = bench.poll(b"c")
        self.assertEqual((refused.status, refused.error), (503, "too-many-backends"))
        self.assertEqual(refused.reply.value(b"Retry-After"), b"30")
        bench.advance(60)
        self.assertEqual(bench.fetch(b"0", backend=b"b").status, 404)
        bench.advance(60)
        self.assertEqual(bench.fetch(b"0", backend=b"c").status, 404)
        self.assertEqual(sorted(mailbox.backend for mailbox in bench.proxy.mailboxes), ["b", "c"])

    def test_backendInUseStays(self) -> None:
        """
        A backend at work is not forgotten, however long its agent has not called.
        """
        bench = self.bench(maxBackends=2, backendTimeout=10.0)
        bench.fetch(b"0", backend=b"b")
        client = bench.ask()
        identifier, _ = bench.take(OURS)
        line = bench.respond(identifier, fields=OURS)
        bench.advance(5)
        bench.fetch(b"0", backend=b"b")
        bench.advance(11)
        self.assertEqual(bench.fetch(b"0", backend=b"c").status, 404)
        self.assertEqual(sorted(box.backend for box in bench.proxy.mailboxes), ["c", "web"])
        line.chunk(PLAIN)
        line.end()
        self.assertAnswered(client)

    def test_pathIsExact(self) -> None:
        """
        Other paths below C{/agent/}, and these in another spelling, are clients' requests.
        """
        bench = self.bench()
        for target in (b"/agent/", b"/agent/pending/", b"/agent/%70ending", b"/Agent/pending"):
            bench.ask(target=target)
            identifier, fetched = bench.take()
            self.assertEqual(fetched.reply.body.split(b" ")[1], target)
            bench.respond(identifier, PLAIN)

    def test_query(self) -> None:
        """
        A query does not hide an agent's call.
        """
        bench = self.bench()
        self.assertEqual(bench.call(b"GET", b"request?a=b", None, b"").status, 400)


class RequestTests(BenchCase):
    """
    C{GET agent/request}.
    """

    def test_fields(self) -> None:
        """
        The answer says whose request it is, and when it came.
        """
        bench = self.bench()
        bench.network.advance(0.25)
        bench.ask()
        identifier, call = bench.take()
        reply = call.reply
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.value(b"X-Inverting-Proxy-Request-ID"), identifier)
        self.assertEqual(reply.value(b"X-Inverting-Proxy-User-ID"), b"")
        self.assertEqual(
            reply.value(b"X-Inverting-Proxy-Request-Start-Time"), b"2027-01-15T08:00:00.250000000Z"
        )
        self.assertEqual(reply.value(b"X-Inverting-Proxy-Features"), b"interim, upgrade")
        self.assertTrue(re.fullmatch(rb"[0-9a-f]{32}", identifier))

    def test_wireForm(self) -> None:
        """
        The body is the request as it came.
        """
        bench = self.bench()
        client = bench.post(b"\x00body", b"/a%20b?c=d", b"X-Two: 1\r\nx-TWO: \xe9\r\n")
        identifier, call = bench.take()
        head, _, body = call.reply.body.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.assertEqual(lines[0], b"POST /a%20b?c=d HTTP/1.1")
        self.assertEqual(
            lines[1:5],
            [b"Host: web.example", b"X-Two: 1", b"x-TWO: \xe9", b"Content-Length: 5"],
        )
        self.assertEqual(body, b"\x00body")
        self.assertEqual(call.reply.value(b"Content-Length"), b"%d" % len(call.reply.body))
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_unknown(self) -> None:
        """
        404 for an ID that nobody knows, and for one of another backend's.
        """
        bench = self.bench()
        bench.ask()
        (identifier,) = bench.pending()
        self.assertEqual(bench.fetch(b"f" * 32).status, 404)
        self.assertEqual(bench.fetch(b"\xff").status, 404)
        self.assertEqual(bench.fetch(identifier, backend=b"other").status, 404)
        self.assertEqual(bench.fetch(identifier).status, 200)

    def test_second(self) -> None:
        """
        404 for a second fetch.
        """
        bench = self.bench()
        bench.ask()
        identifier, _ = bench.take()
        self.assertEqual(bench.fetch(identifier).status, 404)

    def test_stream(self) -> None:
        """
        The body is passed on as it comes.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Content-Length: 6\r\n", body=b"ab")
        _, call = bench.take()
        self.assertTrue(call.reply.body.endswith(b"\r\n\r\nab"))
        client.send(b"cd")
        self.assertTrue(call.reply.body.endswith(b"\r\n\r\nabcd"))
        self.assertFalse(call.reply.whole)
        client.send(b"ef")
        self.assertTrue(call.reply.whole)

    def test_chunked(self) -> None:
        """
        A chunked body stays chunked, with its trailers.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n")
        client.chunk(b"one")
        _, call = bench.take()
        client.chunk(b"two")
        client.end(b"X-Sum: 2\r\nX-Forwarded-For: 1.2.3.4\r\nx_real_ip: 1.2.3.4\r\n")
        reply = call.reply
        self.assertTrue(reply.whole)
        head, _, body = reply.body.partition(b"\r\n\r\n")
        self.assertIn(b"\r\nTransfer-Encoding: chunked", head)
        self.assertIn(b"\r\nTrailer: X-Sum", head)
        self.assertEqual(body, b"3\r\none\r\n3\r\ntwo\r\n0\r\nX-Sum: 2\r\n\r\n")

    def test_again(self) -> None:
        """
        A fetch that broke before the request was written to its end may be made again, and gets all of it.
        """
        bench = self.bench()
        body = bytes(range(256)) * 100
        client = bench.ask(b"POST", fields=b"Content-Length: 25600\r\n", body=body[:10000])
        identifier, call = bench.take()
        call.leave()
        client.send(body[10000:20000])
        again = bench.fetch(identifier)
        self.assertEqual(again.status, 200)
        client.send(body[20000:])
        self.assertEqual(again.reply.body.partition(b"\r\n\r\n")[2], body)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_againButTooLate(self) -> None:
        """
        But not once more than 64 KiB of it have gone.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Content-Length: 99999\r\n", body=b"x" * 70000)
        identifier, call = bench.take()
        client.send(b"x" * 10000)
        call.leave()
        self.assertEqual((client.status, client.error), (502, "agent-lost"))
        self.assertEqual(bench.fetch(identifier).status, 404)
        self.assertEmpty(bench)

    def test_neverAgain(self) -> None:
        """
        A broken fetch of a request with a body that nobody makes again is agent-lost after the claim timeout, and
        offered to nobody.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Content-Length: 4\r\n", body=b"ab")
        _, call = bench.take()
        parked = bench.poll()
        call.leave()
        self.assertEqual(client.status, 0)
        bench.advance(5.5)
        self.assertEqual((client.status, client.error), (502, "agent-lost"))
        self.assertEqual(parked.status, 0)

    def test_held(self) -> None:
        """
        No more than about 64 KiB of a body are taken from a client before an agent has come; then the rest follows.
        """
        bench = self.bench()
        size = 1 << 20
        client = bench.ask(b"POST", fields=b"Content-Length: %d\r\n" % size, body=b"y" * size)
        self.assertLess(client.client.link.fromClient, 200_000)
        identifier, call = bench.take()
        self.assertTrue(call.reply.whole)
        self.assertEqual(len(call.reply.body.partition(b"\r\n\r\n")[2]), size)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_slowAgent(self) -> None:
        """
        An agent that does not read stops the client; when it reads on, the rest comes.
        """
        bench = self.bench()
        size = 2 << 20
        client = bench.ask(b"POST", fields=b"Content-Length: %d\r\n" % size, body=b"y" * 1000)
        (identifier,) = bench.pending()
        agent = bench.network.client("127.0.0.1", 8080)
        agent.stopReading()
        agent.send(
            b"GET /agent/request HTTP/1.1\r\nHost: a\r\nX-Inverting-Proxy-Backend-ID: web\r\n"
            b"X-Inverting-Proxy-Request-ID: %b\r\n\r\n" % identifier
        )
        bench.network.pump()
        client.send(b"y" * (size - 1000))
        self.assertLess(client.client.link.fromClient, 600_000)
        other = bench.ask()
        bench.respond(bench.take()[0], PLAIN)
        self.assertAnswered(other)
        agent.startReading()
        bench.network.pump()
        self.assertTrue(Call(agent, b"GET").reply.whole)

    def test_expectOfTheOriginal(self) -> None:
        """
        For an agent without our additions the proxy answers 100 and strips Expect.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Expect: 100-continue\r\nContent-Length: 2\r\n")
        self.assertEqual(client.reply.interim, [])
        _, call = bench.take()
        self.assertEqual(client.reply.interim, [100])
        self.assertNotIn(b"Expect", dict(innerBlock(call.reply.body)))
        client.send(b"hi")
        self.assertTrue(call.reply.body.endswith(b"hi"))

    def test_expectOfOurs(self) -> None:
        """
        With our additions the origin decides.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Expect: 100-continue\r\nContent-Length: 2\r\n")
        identifier, call = bench.take(OURS)
        self.assertEqual(client.reply.interim, [])
        self.assertEqual(dict(innerBlock(call.reply.body))[b"Expect"], b"100-continue")
        line = bench.respond(identifier, fields=OURS)
        line.chunk(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(client.reply.interim, [100])
        client.send(b"hi")
        self.assertTrue(call.reply.body.endswith(b"hi"))
        line.chunk(PLAIN)
        line.end()
        self.assertAnswered(client)

    def test_upgradeOfTheOriginal(self) -> None:
        """
        For an agent without our additions Upgrade is dropped.
        """
        bench = self.bench()
        client = bench.ask(fields=b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
        identifier, call = bench.take()
        self.assertTrue(call.reply.whole)
        names = {name.lower() for name, _ in innerBlock(call.reply.body)}
        self.assertFalse(names & {b"upgrade", b"connection"})
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)


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
        agent = bench.network.client("127.0.0.1", 8080)
        agent.stopReading()
        agent.send(
            b"GET /agent/request HTTP/1.1\r\nHost: a\r\nX-Inverting-Proxy-Backend-ID: web\r\n"
            b"X-Inverting-Proxy-Request-ID: %b\r\n\r\n" % identifier
        )
        bench.network.pump()
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
            paused = any(channel._writingPaused for channel in bench.site._channels)
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


class LostAgentTests(BenchCase):
    """
    What becomes of exchanges whose agents go away.
    """

    def test_lifeline(self) -> None:
        """
        The loss of the open call before the head of a response is agent-lost at once.
        """
        for method in (b"POST", b"GET"):
            bench = self.bench()
            client = bench.ask(method)
            identifier, _ = bench.take(OURS)
            bench.respond(identifier, fields=OURS).leave()
            self.assertEqual((client.status, client.error), (502, "agent-lost"))
            self.assertEmpty(bench)

    def test_anotherAgent(self) -> None:
        """
        A GET is given to another agent that waits.
        """
        bench = self.bench()
        client = bench.ask()
        identifier, _ = bench.take(OURS)
        other = bench.poll(fields=OURS)
        bench.respond(identifier, fields=OURS).leave()
        self.assertEqual(idsOf(other), [identifier])
        self.assertEqual(bench.fetch(identifier, OURS).status, 200)
        bench.respond(identifier, PLAIN, OURS)
        self.assertAnswered(client)
        self.assertEmpty(bench)

    def test_notAnotherAgent(self) -> None:
        """
        But not what may have had an effect.
        """
        for method, fields, body in (
            (b"POST", b"", b""),
            (b"PUT", b"Content-Length: 1\r\n", b"x"),
            (b"PATCH", b"", b""),
            (b"GET", b"Connection: Upgrade\r\nUpgrade: echo\r\n", b""),
        ):
            bench = self.bench()
            client = bench.ask(method, fields=fields, body=body)
            identifier, _ = bench.take(OURS)
            other = bench.poll(fields=OURS)
            bench.respond(identifier, fields=OURS).leave()
            self.assertEqual((client.status, client.error), (502, "agent-lost"), method)
            self.assertEqual(other.status, 0)
            self.assertEmpty(bench)

    def test_notForEver(self) -> None:
        """
        A request over which three agents died is not given to a fourth.
        """
        bench = self.bench()
        client = bench.ask()
        poll = bench.poll()
        for number in range(3):
            self.assertEqual(client.status, 0, number)
            (identifier,) = idsOf(poll)
            bench.fetch(identifier, OURS)
            poll = bench.poll()
            bench.respond(identifier, fields=OURS).leave()
        self.assertEqual((client.status, client.error), (502, "agent-lost"))
        self.assertEqual(poll.status, 0)

    def test_afterTheHead(self) -> None:
        """
        Once the head has come, the response is cut.
        """
        for inner in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nab",
        ):
            bench = self.bench()
            client = bench.ask()
            identifier, _ = bench.take(OURS)
            bench.poll(fields=OURS)
            call = bench.respond(identifier, fields=OURS)
            call.chunk(inner)
            call.leave()
            self.assertEqual(client.status, 200)
            self.assertTrue(client.isCut)
            self.assertEmpty(bench)

    def test_neverOpened(self) -> None:
        """
        An agent of ours that does not open the lifeline soon is lost, and what it still fetches is cut.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Content-Length: 9\r\n", body=b"abc")
        _, fetch = bench.take(OURS)
        bench.advance(5.5)
        self.assertEqual((client.status, client.error), (502, "agent-lost"))
        self.assertTrue(fetch.isCut)
        self.assertEmpty(bench)

    def test_slowThenOther(self) -> None:
        """
        An exchange that was given to another agent is answered once: by whoever is first.
        """
        bench = self.bench()
        client = bench.ask()
        identifier, _ = bench.take(OURS)
        other = bench.poll(fields=OURS)
        bench.advance(5.5)
        self.assertEqual(idsOf(other), [identifier])
        self.assertEqual(bench.respond(identifier, PLAIN, OURS).status, 404)
        self.assertEqual(client.status, 0)
        bench.fetch(identifier, OURS)
        bench.respond(identifier, PLAIN, OURS)
        self.assertAnswered(client)

    def test_originalsRepetition(self) -> None:
        """
        The original makes a call again that broke before the head of a response was whole; it is taken.
        """
        bench = self.bench()
        client = bench.ask(b"POST")
        identifier, _ = bench.take()
        first = bench.respond(identifier)
        first.chunk(PLAIN[:10])
        first.leave()
        self.assertEqual(client.status, 0)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)
        self.assertEmpty(bench)

    def test_withoutLifeline(self) -> None:
        """
        An agent without our additions is lost after two poll timeouts without any call for its backend.
        """
        bench = self.bench(pollTimeout=10.0)
        client = bench.ask()
        bench.take()
        bench.advance(19.5)
        self.assertEqual(client.status, 0)
        bench.advance(1)
        self.assertEqual((client.status, client.error), (502, "agent-lost"))
        self.assertEmpty(bench)

    def test_callsProveLife(self) -> None:
        """
        Any call for the backend, and a poll that waits, counts as life.
        """
        bench = self.bench(pollTimeout=10.0)
        client = bench.ask()
        identifier, _ = bench.take()
        for _ in range(5):
            bench.advance(15)
            bench.fetch(b"0" * 32)
        for _ in range(5):
            bench.poll()
            bench.advance(15)
        self.assertEqual(client.status, 0)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_betweenPollAndFetch(self) -> None:
        """
        An agent that is killed between the two loses nothing: another, or its restart, gets the requests.
        """
        bench = self.bench()
        clients = [bench.post(b"x") for _ in range(3)]
        poll = bench.poll(fields=OURS)
        ids = idsOf(poll)
        poll.leave()
        self.assertEqual(bench.pending(fields=OURS), ids)
        for identifier in ids:
            bench.fetch(identifier, OURS)
            bench.respond(identifier, PLAIN, OURS)
        for client in clients:
            self.assertAnswered(client)


class ClockTests(BenchCase):
    """
    The clocks.
    """

    def test_queue(self) -> None:
        """
        Nobody fetches it in time.
        """
        bench = self.bench(queueTimeout=10.0)
        client = bench.ask()
        bench.advance(9.9)
        self.assertEqual(client.status, 0)
        bench.advance(0.5)
        self.assertEqual((client.status, client.error), (504, "queue-timeout"))
        self.assertEqual(bench.poll().status, 0)
        self.assertEmpty(bench)

    def test_queueAcrossLeases(self) -> None:
        """
        Leases that run out do not stretch it.
        """
        bench = self.bench(queueTimeout=12.0)
        client = bench.ask()
        for _ in range(2):
            self.assertEqual(len(bench.pending()), 1)
            bench.advance(5.3)
        self.assertEqual(client.status, 0)
        bench.advance(2)
        self.assertEqual(client.error, "queue-timeout")

    def test_response(self) -> None:
        """
        No first byte in time, where that is limited; interim responses are none.
        """
        bench = self.bench(responseTimeout=10.0)
        client = bench.ask()
        identifier, _ = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        bench.advance(9)
        call.chunk(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        self.assertEqual(client.status, 0)
        bench.advance(1.5)
        self.assertEqual((client.status, client.error), (504, "origin-timeout"))
        self.assertEqual(call.status, 404)
        self.assertEmpty(bench)

    def test_noIdleBeforeFirstByte(self) -> None:
        """
        The wait for the first byte has no end by default.
        """
        bench = self.bench(idleTimeout=10.0)
        client = bench.ask()
        identifier, _ = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        bench.advance(3600)
        self.assertEqual(client.status, 0)
        call.chunk(PLAIN)
        call.end()
        self.assertAnswered(client)

    def test_idle(self) -> None:
        """
        No byte for too long after the head: the response is cut, in time.
        """
        bench = self.bench(idleTimeout=10.0)
        client = bench.ask()
        identifier, _ = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        call.chunk(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        for _ in range(5):
            bench.advance(9)
            call.chunk(b"x")
        bench.advance(9.9)
        self.assertFalse(client.isClosed)
        bench.advance(0.5)
        self.assertTrue(client.isCut)
        self.assertEqual(call.status, 404)
        self.assertEmpty(bench)

    def test_stalledBody(self) -> None:
        """
        A client that stops in the middle of its body: 408, in time.
        """
        bench = self.bench(idleTimeout=10.0)
        client = bench.ask(b"POST", fields=b"Content-Length: 99\r\n")
        identifier, fetch = bench.take(OURS)
        bench.respond(identifier, fields=OURS)
        for _ in range(5):
            bench.advance(9)
            client.send(b"x")
        bench.advance(9.9)
        self.assertEqual(client.status, 0)
        bench.advance(0.5)
        self.assertEqual((client.status, client.error), (408, "head-timeout"))
        self.assertTrue(fetch.isCut)
        self.assertEmpty(bench)

    def test_heldUpByAgent(self) -> None:
        """
        It is not the client's fault that the agent does not take more; its clock starts when it may send again.
        """
        bench = self.bench(idleTimeout=10.0)
        size = 1 << 20
        client = bench.ask(b"POST", fields=b"Content-Length: %d\r\n" % (size + 1), body=b"a")
        (identifier,) = bench.pending()
        agent = bench.network.client("127.0.0.1", 8080)
        agent.stopReading()
        agent.send(
            b"GET /agent/request HTTP/1.1\r\nHost: a\r\nX-Inverting-Proxy-Backend-ID: web\r\n"
            b"X-Inverting-Proxy-Request-ID: %b\r\n\r\n" % identifier
        )
        bench.respond(identifier, fields=OURS)
        client.send(b"x" * (size - 1))
        bench.advance(60)
        self.assertEqual(client.status, 0)
        agent.startReading()
        bench.network.pump()
        bench.advance(9)
        self.assertEqual(client.status, 0)
        bench.advance(1.5)
        self.assertEqual(client.status, 408)

    def test_waitsForLeave(self) -> None:
        """
        Nor that it waits for the 100 for which it asked.
        """
        bench = self.bench(idleTimeout=10.0)
        client = bench.ask(b"POST", fields=b"Expect: 100-continue\r\nContent-Length: 2\r\n")
        identifier, _ = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        bench.advance(60)
        self.assertEqual(client.status, 0)
        call.chunk(b"HTTP/1.1 100 Continue\r\n\r\n")
        bench.advance(9)
        self.assertEqual(client.status, 0)
        bench.advance(1.5)
        self.assertEqual(client.status, 408)

    def test_off(self) -> None:
        """
        Clocks that are off never run out.
        """
        bench = self.bench(
            queueTimeout=0, claimTimeout=0, idleTimeout=0, responseTimeout=0, backendTimeout=9999
        )
        client = bench.ask()
        bench.advance(1000)
        identifier, _ = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        bench.advance(1000)
        call.chunk(PLAIN[:-1])
        bench.advance(1000)
        call.chunk(PLAIN[-1:])
        call.end()
        self.assertAnswered(client)

    def test_noClaimClock(self) -> None:
        """
        Without a claim timeout an agent that never comes back is still noticed.
        """
        for fields in (b"", OURS):
            bench = self.bench(claimTimeout=0, pollTimeout=10.0)
            client = bench.ask()
            bench.take(fields)
            bench.advance(21)
            self.assertEqual(client.error, "agent-lost")

    def test_nothingLeft(self) -> None:
        """
        Exchanges and polls that are over are not kept until their deadlines.
        """
        bench = self.bench()
        for _ in range(5):
            client = bench.ask()
            bench.respond(bench.take()[0], PLAIN)
            self.assertAnswered(client)
        bench.poll().leave()
        bench.ask().leave()
        self.assertEqual(bench.proxy._wheel._slots, {})
