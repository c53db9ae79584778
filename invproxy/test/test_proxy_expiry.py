"""
What is in flight when a session ends.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from invproxy.test.rawcalls import Call
from invproxy.test.test_auth_oidc import ALICE, SETTINGS
from invproxy.test.visitbench import VisitBench, known

UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class ExpiryTests(SynchronousTestCase):
    """
    WebSockets, and whatever else lasts.
    """

    def setUp(self) -> None:
        self.bench = VisitBench(oidc=SETTINGS, queueTimeout=0, idleTimeout=0)
        self.bench.add("web", ALICE, "bob@example.com")
        self.tunnel = self.bench.tunnel()
        self.cookie = self.bench.signedIn(ALICE)
        assert self.bench.endUsers is not None
        assert self.bench.endUsers.sessions is not None
        self.sessions = self.bench.endUsers.sessions
        self.began = self.now()

    def now(self) -> float:
        return self.bench.network.seconds()

    def upgrade(self, credentials: bytes) -> Call:
        """
        Open a WebSocket.
        """
        call = self.bench.ask(fields=credentials + UPGRADE)
        stream = max(self.tunnel.requests)
        self.tunnel.respond(stream, SWITCHING, b"hi", last=False)
        self.bench.network.pump()
        self.assertEqual(call.status, 101)
        self.assertFalse(call.isClosed)
        return call

    def signOut(self, cookie: bytes) -> None:
        fields = cookie + b"Origin: http://localhost\r\nContent-Length: 0\r\n"
        call = self.bench.ask(b"POST", b"/.invproxy/sign-out", fields, host=b"localhost")
        self.assertEqual(call.status, 200)

    def test_signOut(self) -> None:
        """
        Signing out cuts the WebSockets of the session, what answers for long, and what waits; at once, in the eyes of
        the backend, too. Other sessions, of the same user as well, and other ways to be known have nothing to do with
        it.
        """
        other = self.bench.signedIn(ALICE)
        staying = [self.upgrade(each) for each in (other, known(ALICE), known("bob@example.com"))]
        streams = set(self.tunnel.requests)
        socket = self.upgrade(self.cookie)
        stream = self.bench.ask(fields=self.cookie)
        self.tunnel.respond(max(self.tunnel.requests), last=False)
        waiting = self.bench.ask(fields=self.cookie)
        self.assertEqual((stream.status, waiting.status), (200, 0))
        self.signOut(self.cookie)
        self.assertTrue(socket.isClosed)
        self.assertTrue(stream.isClosed)
        self.assertEqual((waiting.status, waiting.error), (401, "unauthenticated"))
        self.assertIn(b"WWW-Authenticate: Cookie", waiting.client.received)
        self.assertEqual(set(self.tunnel.resets), set(self.tunnel.requests) - streams)
        self.assertFalse(any(each.isClosed for each in staying))
        self.assertEqual(len(self.bench.proxy.mailboxes.exchanges), 3)

    def test_lifetime(self) -> None:
        """
        What is in flight keeps its session from ending unused, but not for longer than any may last; nothing is
        watched any more then.
        """
        self.sessions._idle, self.sessions._lifetime = 100, 600
        socket = self.upgrade(self.cookie)
        idle = self.bench.signedIn(ALICE)
        unknown = self.upgrade(known(ALICE))
        while self.now() < self.began + 300:
            self.bench.advance(30)
        self.assertEqual(self.bench.ask(fields=idle).status, 401)
        page = self.bench.ask(target=b"/.invproxy/sign-out", fields=self.cookie)
        self.assertIn(b"You are signed in", page.reply.body)
        while self.now() < self.began + 600:
            self.bench.advance(30)
        self.assertFalse(socket.isClosed)
        self.bench.advance(30)
        self.bench.advance(31)
        self.assertTrue(socket.isClosed)
        self.assertFalse(unknown.isClosed)

    def test_found(self) -> None:
        """
        A session that a request finds to be over ends what is in flight at once.
        """
        socket = self.upgrade(self.cookie)
        self.sessions._lifetime = 10
        self.bench.advance(11)
        self.assertFalse(socket.isClosed)
        self.assertEqual(self.bench.ask(fields=self.cookie).status, 401)
        self.assertTrue(socket.isClosed)

    def test_tooMany(self) -> None:
        """
        So does one that has to make room.
        """
        socket = self.upgrade(self.cookie)
        self.sessions._mostOfUser = 2
        self.bench.signedIn(ALICE)
        self.assertFalse(socket.isClosed)
        self.bench.signedIn(ALICE)
        self.bench.network.pump()
        self.assertTrue(socket.isClosed)

    def test_nothingWatched(self) -> None:
        """
        Sessions with nothing in flight are not looked after; nor are those of a proxy that was closed.
        """
        expiry = self.bench.proxy._public._expiry  # type: ignore[attr-defined]
        socket = self.upgrade(self.cookie)
        self.assertGreater(expiry.askedAt, 0)
        socket.leave()
        self.bench.advance(61)
        self.assertEqual(expiry.askedAt, 0)
        self.bench.proxy.close()
        self.assertEqual(self.sessions._observers, {})
