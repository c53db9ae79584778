"""
CONNECT through a forward proxy of which every byte is written by hand.
"""

from base64 import b64encode
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from invproxy.agent.connect import ConnectEndpoint, ConnectRefused
from invproxy.test.scripted import RawServer
from invproxy.testing import MemoryNetwork


class Recorder(Protocol):
    """
    The real protocol.
    """

    def __init__(self) -> None:
        self.received = b""
        self.lost: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason


class ConnectTests(SynchronousTestCase):
    """
    L{ConnectEndpoint}.
    """

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.server = RawServer(self.network, 3128)

    def connect(self, host: str = "p.test", port: int = 443, **options: Any) -> Any:
        endpoint = ConnectEndpoint(
            self.network, TCP4ClientEndpoint(self.network, "127.0.0.1", 3128), host, port, **options
        )
        factory = Factory.forProtocol(Recorder)
        factory.noisy = False
        connecting = endpoint.connect(factory)
        self.network.pump()
        return connecting

    def failure(self, connecting: Any) -> str:
        """
        The reason of a failure, after which nothing is left.
        """
        text = str(self.failureResultOf(connecting, ConnectRefused).value)
        self.network.pump()
        self.assertTrue(all(wire.lost for wire in self.server.wires))
        self.assertEqual(self.network.getDelayedCalls(), [])
        return text

    def test_request(self) -> None:
        """
        Host and port are asked for; bytes then pass both ways, those that came along with the answer as well.
        """
        connecting = self.connect()
        [wire] = self.server.wires
        self.assertEqual(wire.take(), b"CONNECT p.test:443 HTTP/1.1\r\nHost: p.test:443\r\n\r\n")
        self.assertNoResult(connecting)
        wire.send(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\nearly ")
        protocol = self.successResultOf(connecting)
        wire.send(b"late")
        self.assertEqual(protocol.received, b"early late")
        protocol.transport.write(b"hello")
        self.network.pump()
        self.assertEqual(wire.take(), b"hello")
        self.assertEqual(self.network.getDelayedCalls(), [])
        wire.close()
        self.assertIsNotNone(protocol.lost)

    def test_byteByByte(self) -> None:
        """
        It does not matter how bytes are cut, nor what a 2xx says of a length.
        """
        self.network.segment = 1
        connecting = self.connect()
        self.server.wires[0].send(b"HTTP/1.0 204 Yes\r\nContent-Length: 5\r\n\r\nhello")
        self.assertEqual(self.successResultOf(connecting).received, b"hello")

    def test_interim(self) -> None:
        """
        A 1xx is not the answer yet.
        """
        connecting = self.connect()
        self.server.wires[0].send(b"HTTP/1.1 103 Wait\r\n\r\n")
        self.assertNoResult(connecting)
        self.server.wires[0].send(b"HTTP/1.1 200 OK\r\n\r\n")
        self.successResultOf(connecting)

    def test_hosts(self) -> None:
        """
        Addresses of IPv6 have brackets, international names are written in ASCII.
        """
        for host, authority in (
            ("::1", b"[::1]:443"),
            ("192.0.2.1", b"192.0.2.1:443"),
            ("b\xfccher.example", b"xn--bcher-kva.example:443"),
        ):
            self.connect(host)
            self.assertEqual(
                self.server.wires[-1].take(),
                b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority),
            )

    def test_credentials(self) -> None:
        """
        Credentials are sent, and appear nowhere else.
        """
        connecting = self.connect(credentials=("me", "hunter2:\xe9\r\nX: y"))
        line = b"Proxy-Authorization: Basic " + b64encode("me:hunter2:\xe9\r\nX: y".encode())
        self.assertEqual(self.server.wires[0].take().split(b"\r\n")[2:], [line, b"", b""])
        self.server.wires[0].send(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        self.assertNotIn("hunter2", self.failure(connecting))

    def test_refused(self) -> None:
        """
        Any other answer is a refusal, told as it came.
        """
        for answer in (b"403 Forbidden", b"407 Log in \xe9", b"502 Bad Gateway", b"302 Found"):
            connecting = self.connect()
            self.server.wires[-1].send(
                b"HTTP/1.1 %b\r\nContent-Length: 4\r\nLocation: /\r\n\r\noops" % answer
            )
            self.assertIn(answer.decode("latin-1"), self.failure(connecting))

    def test_garbage(self) -> None:
        """
        So is an answer that is none.
        """
        for answer in (
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 200 OK\nX: y\n\n",
            b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
            b"\x16\x03\x01\x02\x00",
            b"\0" * 50,
        ):
            connecting = self.connect()
            self.server.wires[-1].send(answer)
            self.assertIn("not HTTP", self.failure(connecting))

    def test_closes(self) -> None:
        """
        So is none at all, or half of one.
        """
        for answer in (b"", b"HTTP/1.1 200 OK\r\nX: y"):
            connecting = self.connect()
            self.server.wires[-1].send(answer)
            self.server.wires[-1].close()
            self.assertIn("without an answer", self.failure(connecting))

    def test_resets(self) -> None:
        """
        Or a broken connection.
        """
        connecting = self.connect()
        self.server.wires[0].abort()
        self.assertIn("broke", self.failure(connecting))

    def test_silent(self) -> None:
        """
        One that does not answer in time is given up.
        """
        connecting = self.connect(timeout=7.0)
        self.server.wires[0].send(b"HTTP/1.1 200 OK\r\n")
        self.network.advance(6.9)
        self.assertNoResult(connecting)
        self.network.advance(0.2)
        self.assertIn("did not answer in 7 s", self.failure(connecting))

    def test_unreachable(self) -> None:
        """
        If there is no forward proxy, that is the reason.
        """
        self.server.port.stopListening()
        self.network.pump()
        self.failureResultOf(self.connect(), ConnectionRefusedError)

    def test_cancelled(self) -> None:
        """
        Whoever does not want to wait any more leaves nothing behind, at whatever stage.
        """
        self.network.ignore("127.0.0.1", 3128)
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting, ConnectingCancelledError)
        self.network.accept("127.0.0.1", 3128)
        self.network.pump()
        self.assertEqual(self.network.getDelayedCalls(), [])
        connecting = self.connect()
        [wire] = self.server.wires
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.network.pump()
        self.assertIsNotNone(wire.lost)
        self.assertEqual(self.network.getDelayedCalls(), [])
        self.assertEqual(self.network.connections, [])

    def test_noProtocol(self) -> None:
        """
        A factory may think better of it.
        """
        endpoint = ConnectEndpoint(
            self.network, TCP4ClientEndpoint(self.network, "127.0.0.1", 3128), "p.test", 443
        )
        factory: Any = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: None
        connecting = endpoint.connect(factory)
        self.network.pump()
        self.server.wires[0].send(b"HTTP/1.1 200 OK\r\n\r\n")
        self.failure(connecting)

    def test_backPressure(self) -> None:
        """
        The real protocol is a producer and a consumer like any other.
        """
        connecting = self.connect()
        [wire] = self.server.wires
        wire.take()
        wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        protocol = self.successResultOf(connecting)
        protocol.transport.pauseProducing()
        wire.send(b"x" * 300_000)
        self.assertEqual(protocol.received, b"")
        protocol.transport.resumeProducing()
        self.network.pump()
        self.assertEqual(len(protocol.received), 300_000)
