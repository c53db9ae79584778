"""
What tests of the proxy's side of the poll protocol have in common.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from invproxy.test.rawcalls import Bench, Call


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
