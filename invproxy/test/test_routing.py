"""
Routing in open mode.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from invproxy.errors import Fault
from invproxy.mailbox import Mailboxes
from invproxy.routing import OpenRouter
from invproxy.test.helpers import requestHead

NAMED = b"X-Inverting-Proxy-Backend"


class OpenRouterTests(SynchronousTestCase):
    """
    L{OpenRouter}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.mailboxes = Mailboxes(self.clock, offlineAfter=100.0)
        self.router = OpenRouter(self.mailboxes)
        for backend in ("web", "a.b", "127"):
            self.mailboxes.visit(backend)
            self.clock.advance(1)

    def route(self, host: bytes = b"none", named: bytes | None = None) -> str:
        fields = [] if named is None else [(NAMED, named)]
        try:
            return self.router.route(requestHead(fields=fields, host=host)).backend
        except Fault as fault:
            return f"!{fault.code.name}"

    def test_named(self) -> None:
        """
        By the field, whatever Host says; unknown ones are no-backend.
        """
        self.assertEqual(self.route(b"web", b"a.b"), "a.b")
        for unknown in (b"no", b"WEB", b"", b"\xe9", b"web, a.b", b"x" * 1000):
            self.assertEqual(self.route(b"web", unknown), "!no-backend")

    def test_host(self) -> None:
        """
        By the first label of Host.
        """
        for host in (b"web", b"web.example.com", b"WEB:80", b"wEb.:80"):
            self.assertEqual(self.route(host), "web")
        self.assertEqual(self.route(b"127.0.0.1:80"), "127")

    def test_hostCase(self) -> None:
        """
        As it is written, if a backend is called so, else in lower case.
        """
        self.mailboxes.visit("Web")
        self.assertEqual(self.route(b"Web.example"), "Web")
        self.assertEqual(self.route(b"WEB.example"), "web")

    def test_latest(self) -> None:
        """
        Else the one whose session began last.
        """
        for host in (b"none", b"[::1]:80", b"", b":80", b"a.b", b".web"):
            self.assertEqual(self.route(host), "127", host)
        self.clock.advance(60)
        self.mailboxes.visit("web")
        self.assertEqual(self.route(), "web")
        self.clock.advance(1)
        self.mailboxes.visit("a.b")
        self.mailboxes.visit("web")
        self.assertEqual(self.route(), "a.b")

    def test_noHost(self) -> None:
        """
        An HTTP/1.0 request may have none.
        """
        head = requestHead()
        head.host = None
        self.assertEqual(self.router.route(head).backend, "127")

    def test_offline(self) -> None:
        """
        The match counts first, its life second.
        """
        self.clock.advance(99)
        self.mailboxes.visit("127")
        self.clock.advance(10)
        self.assertEqual(self.route(b"web"), "!agent-offline")
        self.assertEqual(self.route(named=b"web"), "!agent-offline")
        self.assertEqual(self.route(), "127")

    def test_nobody(self) -> None:
        """
        Nobody at all.
        """
        self.router = OpenRouter(Mailboxes(self.clock))
        self.assertEqual(self.route(), "!agent-offline")
        self.assertEqual(self.route(named=b"web"), "!no-backend")
