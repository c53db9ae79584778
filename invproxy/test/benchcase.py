"""
What tests of the proxy's side of either carrier have in common.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from invproxy.test.rawcalls import AgentTunnel, Bench, Call


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


class TunnelCase(BenchCase):
    """
    What these tests share.
    """

    def load(self, tunnels: list[AgentTunnel]) -> list[int]:
        """
        Count the requests that each tunnel has got.
        """
        return [len(tunnel.requests) for tunnel in tunnels]

    def assertFailed(self, client: Call, status: int, code: str) -> None:
        """
        A client got an error.
        """
        self.assertEqual((client.status, client.error), (status, code))

    def assertServes(self, bench: Bench, tunnel: AgentTunnel) -> None:
        """
        Exchanges go through a tunnel, the only one.
        """
        client = bench.ask()
        tunnel.respond(max(tunnel.requests))
        self.assertAnswered(client)
