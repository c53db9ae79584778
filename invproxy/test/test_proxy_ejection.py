"""
What is in flight for those who may not visit any more.
"""

from __future__ import annotations

from invproxy.test.visitbench import PASSWORDS, VisitBench, known
from invproxy.test.visitcase import ALICE, BOB, VisitCase


class EjectionTests(VisitCase):
    """
    What is in flight when somebody may not visit any more.
    """

    def setUp(self) -> None:
        self.bench = VisitBench(queueTimeout=0)
        self.bench.add("web", ALICE, "*@example.com", "carol")
        self.calls = {user: self.bench.ask(fields=known(user)) for user in PASSWORDS}

    def test_notAnyMore(self) -> None:
        """
        It is broken off for those who are not among the end users any more, and for nobody else.
        """
        self.bench.add("web", ALICE, "carol", paths=("/", "/more"), hosts=["web.example"])
        statuses = {user: call.status for user, call in self.calls.items()}
        self.assertEqual(statuses, {ALICE: 0, BOB: 403, "carol": 0})

    def test_paths(self) -> None:
        """
        Also what goes on below a path that was taken from the backend, in whatever way it is read.
        """
        paths = (b"/a/x?y=/b", b"/b/x", b"/b", b"/a/b%2Fx", b"/", b"/a/%2e%2e/b")
        calls = {path: self.bench.ask(target=path, fields=known(ALICE)) for path in paths}
        self.assertEqual({call.status for call in calls.values()}, {0})
        self.bench.add("web", ALICE, "*@example.com", "carol", paths=("/a",))
        gone = {path for path, call in calls.items() if call.status == 403}
        self.assertEqual(gone, {b"/b/x", b"/b", b"/", b"/a/%2e%2e/b"})

    def test_hosts(self) -> None:
        """
        Or by the name of a host that was.
        """
        other = self.bench.ask(fields=known(ALICE), host=b"Other.example:8080")
        self.bench.add("web", ALICE, "*@example.com", "carol", hosts=["other.example"])
        self.assertEqual([call.status for call in self.calls.values()], [403] * 3)
        self.assertEqual(other.status, 0)

    def test_answering(self) -> None:
        """
        Also what lasts: an answer that has begun is cut.
        """
        [alices] = [
            exchange.id.encode()
            for exchange in self.bench.proxy.mailboxes.exchanges.values()
            if exchange.endUser == ALICE
        ]
        self.bench.pending()
        self.bench.fetch(alices)
        response = self.bench.respond(alices)
        response.chunk(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        self.assertEqual(self.calls[ALICE].status, 200)
        self.assertFalse(self.calls[ALICE].isCut)
        self.bench.add("web", BOB, "carol")
        self.assertTrue(self.calls[ALICE].isCut)
        self.assertEqual(self.calls[BOB].status, 0)

    def test_deleted(self) -> None:
        """
        With the backend everything of it goes.
        """
        self.bench.remove("web")
        self.assertEqual([call.status for call in self.calls.values()], [404] * 3)

    def test_otherBackends(self) -> None:
        """
        Changes of others change nothing here, and neither do those of anything but the end users.
        """
        self.bench.add("other", "allUsers")
        self.bench.remove("other")
        self.bench.add("web", "carol", "*@example.com", BOB)
        self.assertEqual([call.status for call in self.calls.values()], [0] * 3)

    def test_closed(self) -> None:
        """
        A proxy that was closed takes no more notice.
        """
        self.bench.proxy.close()
        self.bench.proxy.close()
        self.assertEqual(self.bench.registry._observers, {})
