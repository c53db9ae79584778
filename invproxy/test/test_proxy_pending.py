"""
C{agent/pending}, and what all calls of an agent have in common.
"""

from __future__ import annotations

import re

from invproxy.test.benchcase import BenchCase
from invproxy.test.rawcalls import OURS, PLAIN, idsOf


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
        # But for the one by which its mailbox forgets the connection.
        left = {len(each._observers) - each.isAgent for each in bench.site._channels}
        self.assertEqual(left, {0})
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

    def test_browsers(self) -> None:
        """
        A web page cannot be an agent, by whatever name it reaches the proxy.
        """
        bench = self.bench()
        for fields in (b"Origin: http://evil.example\r\n", b"sec-fetch-site: same-origin\r\n"):
            poll = bench.poll(fields=fields)
            self.assertEqual((poll.status, poll.error), (403, "forbidden"))

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

    def test_noHandshake(self) -> None:
        """
        The path of the tunnel is no client's, whatever is wrong with the call.
        """
        bench = self.bench()
        poll = bench.poll()
        self.assertEqual(bench.call(b"GET", b"tunnel", b"web", b"").status, 400)
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
