"""
Where visitors get to, and in whose name.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from invproxy.test.rawcalls import Call
from invproxy.test.visitbench import VisitBench

ALICE = "alice@example.com"
BOB = "bob@example.com"

UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"


class VisitCase(SynchronousTestCase):
    """
    What these tests share.
    """

    def taken(self, bench: VisitBench) -> tuple[str, str] | None:
        """
        Take what is in flight out.

        @return: to which backend it went, and in whose name; L{None} if there is nothing.
        """
        exchanges = list(bench.proxy.mailboxes.exchanges.values())
        for exchange in exchanges:
            exchange.answer.peer.abort()  # type: ignore[attr-defined]
            bench.network.pump()
        self.assertEqual(bench.proxy.mailboxes.exchanges, {})
        if not exchanges:
            return None
        [exchange] = exchanges
        self.fields = exchange.head.fields
        return exchange.mailbox.backend, exchange.endUser

    def assertGets(self, bench: VisitBench, call: Call, backend: str, user: str) -> None:
        """
        A request went to a backend.
        """
        self.assertEqual(call.status, 0, call.client.received)
        self.assertEqual(self.taken(bench), (backend, user))

    def assertRefused(self, bench: VisitBench, call: Call, status: int, code: str) -> None:
        """
        A request went nowhere.
        """
        self.assertIsNone(self.taken(bench))
        self.assertEqual((call.status, call.error), (status, code))
