"""
What tests of the proxy's side of either carrier have in common.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from invproxy.test.rawcalls import PLAIN, AgentTunnel, Bench, Call, innerBlock


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


class PublicCase(BenchCase):
    """
    What tests of the public side share.
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
