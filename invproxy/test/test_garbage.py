"""
What is made for an exchange, or for a connection, is gone with it, without help of the garbage collector.
"""

from __future__ import annotations

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from invproxy.agent.origins import HTTPOrigin
from invproxy.test.garbage import garbage
from invproxy.testing import InvertingPair, MemoryNetwork

ASKED = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
UPGRADE = b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


class Backend(Protocol):
    """
    Answers each request by its path.
    """

    answers = {
        b"/length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSum: 1\r\n\r\n",
        b"/close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
        b"/half": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok",
        b"/nonsense": b"nonsense\r\n\r\n",
        b"/upgrade": b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello",
        b"/goodbye": b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nbye",
        b"/silent": b"",
        b"/early": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    }

    transport: ITCPTransport

    def dataReceived(self, data: bytes) -> None:
        words = data.split(b" ")
        if len(words) > 1:
            path = words[1]
            self.transport.write(self.answers[path])
            if path in (b"/close", b"/half", b"/goodbye"):
                self.transport.loseConnection()


class _GarbageTests(SynchronousTestCase):
    """
    @cvar transport: how exchanges reach the agent.
    """

    transport = ""

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.network.listenTCP(81, Factory.forProtocol(Backend))
        origin = HTTPOrigin.fromURL(self.network, "http://a:81")
        self.pair = InvertingPair(origin, network=self.network, transport=self.transport)
        self.pair.start()
        self.addCleanup(self.pair.stop)

    def play(self, path: bytes, *, leaves: bool = False) -> None:
        """
        Have a client ask once, which then closes its connection, perhaps without waiting for the answer.
        """
        client = self.pair.client()
        client.send((UPGRADE if path in (b"/upgrade", b"/goodbye") else ASKED) % path)
        if not leaves:
            self.network.pump()
            self.assertNotEqual(client.received, b"")
        client.close()
        self.network.advance(3)

    def assertNothingLeft(self, path: bytes, *, leaves: bool = False) -> None:
        self.play(path, leaves=leaves)
        with garbage() as left:
            for _ in range(3):
                self.play(path, leaves=leaves)
        self.assertEqual(dict(left), {})

    def test_whole(self) -> None:
        """
        An exchange that came to its end.
        """
        for path in (b"/length", b"/chunked", b"/close"):
            self.assertNothingLeft(path)

    def test_broken(self) -> None:
        """
        One that the backend broke off.
        """
        for path in (b"/half", b"/nonsense"):
            self.assertNothingLeft(path)

    def test_abandoned(self) -> None:
        """
        One whose client left.
        """
        for path in (b"/silent", b"/length", b"/chunked"):
            self.assertNothingLeft(path, leaves=True)

    def test_early(self) -> None:
        """
        One that was answered before it had been asked in full.
        """

        def play() -> None:
            client = self.pair.client()
            client.send((ASKED % b"/early")[:-1])
            self.network.pump()
            self.assertIn(b"200 OK", client.received)
            client.send(b"c")
            self.network.pump()
            client.close()
            self.network.advance(3)

        play()
        with garbage() as left:
            play()
        self.assertEqual(dict(left), {})

    def test_upgraded(self) -> None:
        """
        One that became a connection of another protocol.
        """
        for path in (b"/upgrade", b"/goodbye"):
            self.assertNothingLeft(path)


class TunnelGarbageTests(_GarbageTests):
    """
    Over the tunnel.
    """

    transport = "tunnel"


class PollGarbageTests(_GarbageTests):
    """
    Over polls.
    """

    transport = "poll"


del _GarbageTests
