"""
Which agent gets what, where several have tunnels for one backend. The agents' ends are written by hand.
"""

from __future__ import annotations

from invproxy.test.benchcase import TunnelCase
from invproxy.test.rawcalls import OPEN_ENDED, PLAIN, idsOf
from invproxy.wire.frames import END


class SharedTests(TunnelCase):
    """
    Several agents of one backend.
    """

    def test_inTurn(self) -> None:
        """
        With nothing to do they get requests in turn.
        """
        bench = self.bench()
        tunnels = [bench.tunnel() for _ in range(3)]
        order = []
        for _ in range(9):
            before = self.load(tunnels)
            client = bench.ask()
            [chosen] = [
                number
                for number, (one, two) in enumerate(zip(before, self.load(tunnels), strict=True))
                if one != two
            ]
            order.append(chosen)
            tunnels[chosen].respond(max(tunnels[chosen].requests))
            self.assertAnswered(client)
        self.assertEqual(order, [0, 1, 2] * 3)

    def test_least(self) -> None:
        """
        Whoever has least to do gets the next one.
        """
        bench = self.bench()
        one, two = bench.tunnel(), bench.tunnel()
        for _ in range(4):
            bench.ask()
        self.assertEqual(self.load([one, two]), [2, 2])
        for stream in two.requests:
            two.respond(stream)
        bench.ask()
        bench.ask()
        self.assertEqual(self.load([one, two]), [2, 4])
        bench.ask()
        bench.ask()
        self.assertEqual(self.load([one, two]), [3, 5])

    def test_polls(self) -> None:
        """
        A poll that waits has nothing to do: it goes before a tunnel that has, and not before one that has not.
        """
        bench = self.bench()
        tunnel = bench.tunnel()
        poll = bench.poll()
        first = bench.ask()
        self.assertEqual((len(tunnel.requests), poll.status), (1, 0))
        second = bench.ask()
        (identifier,) = idsOf(poll)
        third = bench.ask()
        self.assertEqual(len(tunnel.requests), 2)
        bench.fetch(identifier)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(second)
        for stream, client in zip(tunnel.requests, (first, third), strict=True):
            tunnel.respond(stream)
            self.assertAnswered(client)

    def test_full(self) -> None:
        """
        None gets more at once than it takes; then requests wait, as many as may, and are handed on as there is room.
        """
        bench = self.bench(maxPending=3, queueTimeout=20.0)
        one, two = bench.tunnel(streams=2), bench.tunnel(streams=1)
        clients = [bench.ask(target=b"/%d" % number) for number in range(6)]
        self.assertEqual(self.load([one, two]), [2, 1])
        refused = bench.ask()
        self.assertFailed(refused, 429, "too-many-pending")
        self.assertEqual(refused.reply.value(b"Retry-After"), b"1")
        two.respond(1)
        self.assertEqual(self.load([one, two]), [2, 2])
        self.assertIn(b" /3 ", two.requests[2])
        self.assertEqual(bench.ask().status, 0)
        one.reset(1, "origin-refused")
        self.assertEqual(self.load([one, two]), [3, 2])
        one.call.leave()
        self.assertEqual(self.load([two]), [2])
        bench.advance(20.5)
        self.assertEqual(sorted(client.status for client in clients)[-1], 504)
        two.respond(2)
        self.assertAnswered(clients[3])

    def test_fullByUploads(self) -> None:
        """
        A stream counts until both its directions are over.
        """
        bench = self.bench()
        tunnel = bench.tunnel(streams=1)
        client = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\n")
        tunnel.respond(1, OPEN_ENDED, last=False)
        waits = bench.ask()
        self.assertEqual(len(tunnel.requests), 1)
        client.end()
        self.assertEqual(len(tunnel.requests), 1)
        tunnel.send(END, 1, last=True)
        self.assertEqual(len(tunnel.requests), 2)
        tunnel.respond(2)
        self.assertAnswered(waits)

    def test_clientsLeave(self) -> None:
        """
        A client that leaves makes room, and its agent hears so.
        """
        bench = self.bench()
        tunnel = bench.tunnel(streams=1)
        gone, stays = bench.ask(), bench.ask()
        gone.leave()
        self.assertEqual(tunnel.resets, {1: "client-gone"})
        self.assertEqual(len(tunnel.requests), 2)
        tunnel.respond(1)  # it crossed the RESET
        tunnel.respond(2)
        self.assertAnswered(stays)
        self.assertFalse(tunnel.isClosed)
