"""
Slow and greedy agents before a whole proxy: they harm nobody but the clients of their own backend, and these hear of it
within a time that has a name.
"""

from __future__ import annotations

from invproxy.http1.limits import Limits
from invproxy.test.programs import CARRIERS, variants
from invproxy.test.rawcalls import OURS, PLAIN, Call
from invproxy.test.town import GREEDY, Town, TownCase
from invproxy.wire.frames import DATA, RESPONSE, header
from invproxy.wire.websocket import binaryHeader

EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b"x" * 65536

BUFFERS = 1 << 20
"""Bytes of one body that may be under way, in the proxy and in the network."""


class Greedy(TownCase):
    """
    Agents of one backend, beside another backend.
    """

    def assertHeard(self, call: Call, status: int, code: str) -> None:
        """
        A client was told what went wrong.
        """
        self.assertEqual((call.status, call.error), (status, code))

    def test_claimsAndNeverFetches(self) -> None:
        """
        What an agent was told of and does not fetch, another one is told of after the claim timeout; and if they are
        all like that, the client waits no longer than the queue timeout and a last claim.
        """
        town = self.town(claimTimeout=5.0, queueTimeout=30.0)
        first, second = town.askGreedy(), town.askGreedy()
        taken = town.pending(GREEDY)
        self.assertEqual(len(taken), 2)
        waiting = town.poll(GREEDY)
        town.advance(4)
        self.assertQuiet(town)
        self.assertFalse(waiting.reply.whole)
        town.advance(1.5)
        self.assertTrue(waiting.reply.whole)
        town.fetch(taken[0], backend=GREEDY)
        town.respond(taken[0], PLAIN, backend=GREEDY)
        self.assertEqual(first.status, 200)
        for _ in range(10):
            town.advance(3)
            town.poll(GREEDY)
        self.assertQuiet(town)
        self.assertHeard(second, 504, "queue-timeout")
        self.leave(town, first, second)

    def test_fetchesAndNeverAnswers(self) -> None:
        """
        With a response timeout, nobody waits longer than that.
        """
        town = self.town(responseTimeout=20.0)
        calls = [town.askGreedy() for _ in range(50)]
        responses = town.takeGreedy()
        self.assertEqual(len(responses), 50)
        town.advance(19)
        self.assertQuiet(town)
        self.assertEqual({call.status for call in calls}, {0})
        town.advance(2)
        for call in calls:
            self.assertHeard(call, 504, "origin-timeout")
        self.assertEqual({response.status for response in responses}, {404})
        self.leave(town, *calls)

    def test_takesAndNeverAnswers(self) -> None:
        """
        The same by a tunnel: it takes no more at once than it said, and the rest waits no longer than the queue
        timeout.
        """
        town = self.town(responseTimeout=20.0, queueTimeout=10.0)
        tunnel = town.tunnel(GREEDY, streams=30)
        calls = [town.askGreedy() for _ in range(50)]
        self.assertEqual(len(tunnel.requests), 30)
        town.advance(11)
        self.assertQuiet(town)
        for call in calls[30:]:
            self.assertHeard(call, 504, "queue-timeout")
        self.assertEqual({call.status for call in calls[:30]}, {0})
        town.advance(10)
        for call in calls[:30]:
            self.assertHeard(call, 504, "origin-timeout")
        self.leave(town, *calls)

    def test_vanishesWithoutLifeline(self) -> None:
        """
        Of an agent like the original's, which fetches and is never heard of again, one knows after two poll timeouts.
        """
        town = self.town(pollTimeout=15.0)
        call = town.askGreedy()
        [identifier] = town.pending(GREEDY)
        town.fetch(identifier, backend=GREEDY)
        town.advance(29)
        self.assertEqual(call.status, 0)
        self.assertQuiet(town)
        town.advance(2)
        self.assertHeard(call, 502, "agent-lost")
        self.leave(town, call)

    def test_neverOpensLifeline(self) -> None:
        """
        Of one like ours, after the claim timeout.
        """
        town = self.town(claimTimeout=5.0)
        call = town.askGreedy()
        [identifier] = town.pending(GREEDY, OURS)
        town.fetch(identifier, OURS, GREEDY)
        town.advance(4)
        self.assertEqual(call.status, 0)
        town.advance(2)
        self.assertHeard(call, 502, "agent-lost")
        self.assertQuiet(town)
        self.leave(town, call)

    def test_silentTunnel(self) -> None:
        """
        A tunnel from which nothing comes, not even pongs, is lost after the link timeout.
        """
        town = self.town(linkTimeout=15.0)
        tunnel = town.tunnel(GREEDY)
        tunnel.answersPings = False
        call = town.ask(
            b"POST", fields=b"X-Inverting-Proxy-Backend: greedy\r\nContent-Length: 0\r\n"
        )
        town.advance(13)
        self.assertEqual((call.status, tunnel.isClosed), (0, False))
        self.assertQuiet(town)
        town.advance(3)
        self.assertTrue(tunnel.isClosed)
        self.assertHeard(call, 502, "agent-lost")
        self.leave(town, call)

    def test_unreadTunnel(self) -> None:
        """
        An agent that does not read its tunnel is sent no more than the link takes: uploads are held back at their
        clients, and requests wait.
        """
        town = self.town(queueTimeout=10.0, idleTimeout=20.0)
        tunnel = town.tunnel(GREEDY, window=1 << 24)
        tunnel.call.client.stopReading()
        head = b"X-Inverting-Proxy-Backend: greedy\r\nContent-Length: 1000000000\r\n"
        calls = [town.ask(b"POST", fields=head) for _ in range(20)]
        for call in calls:
            for _ in range(100):
                call.client.send(PIECE)
        town.network.pump()
        for call in calls:
            self.assertLess(call.client.link.fromClient, BUFFERS)
        waiting = town.askGreedy()
        town.advance(11)
        self.assertQuiet(town)
        self.assertHeard(waiting, 504, "queue-timeout")
        town.advance(6)
        self.assertTrue(
            tunnel.isClosed or not len(town.proxy.tunnels) - (self.transport == "tunnel")
        )
        self.leave(town, waiting, *calls)

    def test_endlessInterims(self) -> None:
        """
        So many interim responses there may be, and not one more, be it by polls or by a tunnel.
        """
        for most in (0, 10):
            town = self.town(limits=Limits(interims=most))
            call = town.askGreedy()
            [response] = town.takeGreedy()
            if most:
                response.chunk(EARLY * most)
            self.assertEqual((call.reply.interim, call.status), ([103] * most, 0))
            for _ in range(1000):
                response.client.send(b"%x\r\n%b\r\n" % (len(EARLY), EARLY))
            town.network.pump()
            self.assertEqual(call.reply.interim, [103] * most)
            self.assertHeard(call, 502, "origin-bad-response")
            self.assertEqual(response.status, 400)
            self.assertQuiet(town)
            tunnel = town.tunnel(GREEDY)
            other = town.askGreedy()
            [number] = tunnel.requests
            for _ in range(1000):
                tunnel.send(RESPONSE, number, EARLY)
            self.assertEqual(other.reply.interim, [103] * most)
            self.assertHeard(other, 502, "origin-bad-response")
            self.assertQuiet(town)
            tunnel.call.leave()
            self.leave(town, call, other)

    def test_giantHeads(self) -> None:
        """
        Heads and trailers of responses that are too large are none.
        """
        town = self.town()
        for start, more in (
            (b"HTTP/1.1 200 OK\r\nX: ", PIECE),
            (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 10000),
            (b"HTTP/1.1 200 ", PIECE),
            (ENDLESS + b"0\r\nX: ", PIECE),
            (ENDLESS + b"0\r\n", b"X: y\r\n" * 10000),
        ):
            call = town.askGreedy()
            [response] = town.takeGreedy()
            response.chunk(start)
            for _ in range(100):
                response.client.send(b"%x\r\n%b\r\n" % (len(more), more))
            town.network.pump()
            self.assertTrue(call.isCut or call.error == "origin-bad-response")
            self.assertEqual(response.status, 400)
            self.assertLess(response.client.link.fromClient, 3 * BUFFERS)
            self.assertQuiet(town)
            town.advance(3)
            call.leave()
        self.leave(town)

    def test_giantFrames(self) -> None:
        """
        Frames that are too large end their tunnel, before they have come.
        """
        town = self.town()
        for kind in (RESPONSE, 99):
            tunnel = town.tunnel(GREEDY)
            call = town.askGreedy()
            # A hundred pieces are announced, and one is sent.
            head = header(100 * len(PIECE), max(tunnel.requests), kind, 0)
            message = binaryHeader(1000 * len(PIECE), bytes(4))
            tunnel._write(message + head + PIECE)
            assert tunnel.closing is not None
            self.assertIn("bytes, where", tunnel.closing[1])
            self.assertTrue(tunnel.isClosed)
            self.assertHeard(call, 502, "agent-lost")
            self.assertQuiet(town)
            tunnel.call.leave()
            call.leave()
        self.leave(town)

    def test_overCredit(self) -> None:
        """
        More of a body than there is credit for ends the tunnel: a client that does not read makes nobody hold more.
        """
        town = self.town()
        tunnel = town.tunnel(GREEDY)
        call = town.askGreedy()
        call.client.stopReading()
        [number] = tunnel.requests
        tunnel.send(RESPONSE, number, ENDLESS)
        for _ in range(100):
            if not tunnel.isClosed:
                tunnel.send(DATA, number, PIECE)
        self.assertTrue(tunnel.isClosed)
        self.assertLess(tunnel.call.client.link.fromClient, BUFFERS)
        self.assertQuiet(town)
        call.leave()
        tunnel.call.leave()
        town.advance(1)
        self.leave(town)

    def test_links(self) -> None:
        """
        The agents of a backend have so many connections; those of another have their own, and one that is closed makes
        room.
        """
        town = self.town(maxLinks=20, maxConnections=50)
        polls = [town.poll(GREEDY) for _ in range(19)]  # and the call by which it is known
        for _ in range(5):
            refused = town.poll(GREEDY)
            self.assertHeard(refused, 503, "too-many-links")
            self.assertEqual(refused.reply.value(b"Retry-After"), b"5")
            self.assertHeard(town.shake(GREEDY), 503, "too-many-links")
        self.assertQuiet(town)
        self.assertEqual(town.site.clients, 10)
        polls[0].leave()
        polls.append(town.poll(GREEDY))
        self.assertFalse(polls[-1].reply.whole)
        polls[1].leave()
        tunnel = town.tunnel(GREEDY)
        self.assertHeard(town.poll(GREEDY), 503, "too-many-links")
        tunnel.call.leave()
        for poll in polls:
            poll.client.abort()
        town.advance(400)
        mailbox = town.proxy.mailboxes.get(GREEDY.decode())
        assert mailbox is not None
        self.assertEqual(mailbox._links, set())

    def leave(self, town: Town, *calls: Call) -> None:
        """
        Nothing is left of them.
        """
        for call in calls:
            call.client.abort()
        town.network.pump()
        self.assertEqual(town.proxy.mailboxes.exchanges, {})
        self.assertQuiet(town)


globals().update(variants(Greedy, CARRIERS))
del Greedy
