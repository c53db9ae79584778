"""
Transports in memory keep the rules of transports.

That they are as Twisted's real ones is shown by C{test_integration_memory}, which runs the same over both.
"""

from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.endpoints import (
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    clientFromString,
    connectProtocol,
    serverFromString,
)
from twisted.internet.error import (
    CannotListenError,
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.protocol import Factory

from invproxy.test.test_testing import KIB, Echo, HalfRecorder, NetworkTestCase, Recorder
from invproxy.testing import MemoryNetwork


class Push:
    """
    A streaming producer that counts what is asked of it.
    """

    def __init__(self):
        self.calls = []

    def pauseProducing(self):
        self.calls.append("pause")

    def resumeProducing(self):
        self.calls.append("resume")

    def stopProducing(self):
        self.calls.append("stop")


class Pull:
    """
    A producer that writes pieces when it is asked.
    """

    def __init__(self, transport, pieces):
        self.transport = transport
        self.pieces = list(pieces)
        self.stopped = False

    def resumeProducing(self):
        if self.pieces:
            self.transport.write(self.pieces.pop(0))
        else:
            self.transport.unregisterProducer()

    def stopProducing(self):
        self.stopped = True


class CloseTests(NetworkTestCase):
    """
    The ways in which a connection ends.
    """

    def test_loseConnection(self):
        """
        All that was written arrives first, then both ends are told that it is done.
        """
        client, server = self.connected()
        server.transport.write(b"x" * 300 * KIB)
        server.transport.loseConnection()
        self.assertTrue(server.transport.disconnecting)
        self.assertTrue(server.transport.connected)
        self.network.pump()
        self.assertEqual(len(client.received), 300 * KIB)
        self.assertTrue(client.ended)
        self.assertIs(server.lost.type, ConnectionDone)
        client.close()
        self.network.pump()
        self.assertClosed(client, ConnectionDone)
        self.assertEqual(self.network.connections, [])

    def test_writeAfterLoseConnection(self):
        """
        What is written after C{loseConnection} and before the end still goes out, as in Twisted.
        """
        client, server = self.connected()
        server.transport.loseConnection()
        server.transport.write(b"late")
        self.network.pump()
        self.assertEqual(client.received, b"late")
        server.transport.write(b"too late")
        self.network.pump()
        self.assertEqual(client.received, b"late")

    def test_nothingAfterConnectionLost(self):
        """
        A side that closed gets nothing more, and the other one's bytes meet a reset.
        """
        client, server = self.connected()
        server.transport.loseConnection()
        client.send(b"x")
        self.network.pump()
        self.assertEqual(server.received, b"")
        client.send(b"y")
        self.network.pump()
        self.assertClosed(client, ConnectionLost)

    def test_loseConnectionWaitsForProducer(self):
        """
        With a streaming producer registered, paused or not, the connection stays until it is unregistered.
        """
        client, server = self.connected()
        server.transport.registerProducer(Push(), True)
        server.transport.write(b"x" * 300 * KIB)
        server.transport.loseConnection()
        self.network.pump()
        self.assertEqual(len(client.received), 300 * KIB)
        self.assertEqual((server.lost, client.ended), (None, False))
        server.transport.unregisterProducer()
        self.network.pump()
        self.assertIs(server.lost.type, ConnectionDone)
        self.assertTrue(client.ended)

    def test_abort(self):
        """
        The other end gets an unclean end, and not what was in flight.
        """
        client, server = self.connected()
        client.stopReading()
        server.transport.write(b"x" * 10)
        self.network.pump()
        self.assertEqual(client.link.inFlight, 10)
        server.transport.abortConnection()
        server.transport.write(b"y")
        self.assertIsNone(server.lost)
        self.network.pump()
        self.assertIs(server.lost.type, ConnectionAborted)
        client.startReading()
        self.network.pump()
        self.assertClosed(client, ConnectionLost)
        self.assertEqual((client.received, client.ended), (b"", False))
        self.assertEqual(self.network.connections, [])

    def test_abortDropsTheEnd(self):
        """
        A response whose end is in flight when the connection is reset never looks whole.
        """
        client, server = self.connected()
        client.stopReading()
        server.transport.write(b"whole")
        server.transport.loseWriteConnection()
        self.network.pump()
        server.transport.abortConnection()
        self.network.pump()
        client.startReading()
        self.network.pump()
        self.assertEqual((client.ended, client.received), (False, b""))
        self.assertClosed(client, ConnectionLost)

    def test_halfClose(self):
        """
        One direction ends and the other goes on, if the protocols can do it.
        """
        client, server = self.connected()
        client.send(b"request")
        client.closeWrite()
        self.network.pump()
        self.assertEqual((server.received, server.readLost, server.lost), (b"request", True, None))
        server.transport.write(b"response")
        self.network.pump()
        self.assertEqual((client.received, client.closed), (b"response", None))
        client.send(b"never")
        server.transport.loseWriteConnection()
        self.network.pump()
        self.assertEqual(
            (server.received, server.writeLost, client.ended), (b"request", True, True)
        )
        server.transport.loseConnection()
        client.close()
        self.network.pump()
        self.assertIs(server.lost.type, ConnectionDone)
        self.assertClosed(client, ConnectionDone)

    def test_pausedDoesNotNotice(self):
        """
        A transport that neither reads nor writes does not notice that its peer has gone: it is so in Twisted.
        """
        client, server = self.connected()
        server.transport.pauseProducing()
        client.abort()
        self.network.pump()
        self.assertIsNone(server.lost)
        server.transport.resumeProducing()
        self.network.pump()
        self.assertIs(server.lost.type, ConnectionLost)

    def test_dataBehindPause(self):
        """
        What was in flight still arrives after the peer has closed.
        """
        client, server = self.connected()
        client.stopReading()
        server.transport.write(b"x" * 100)
        server.transport.loseConnection()
        self.network.pump()
        self.assertIs(server.lost.type, ConnectionDone)
        self.assertEqual((client.received, client.ended), (b"", False))
        client.startReading()
        self.network.pump()
        self.assertEqual((len(client.received), client.ended), (100, True))

    def test_stopProducing(self):
        """
        The reading side of a transport is a producer too: stopping it closes the connection.
        """
        client, server = self.connected()
        server.transport.stopProducing()
        self.network.pump()
        self.assertIs(server.lost.type, ConnectionDone)
        self.assertTrue(client.ended)


class NotHalfCloseableTests(NetworkTestCase):
    """
    A protocol that knows no half close.
    """

    protocol = Recorder

    def test_halfCloseClosesAll(self):
        """
        It loses its connection when the peer's direction ends.
        """
        client, server = self.connected()
        client.send(b"request")
        client.closeWrite()
        self.network.pump()
        self.assertEqual(server.received, b"request")
        self.assertIs(server.lost.type, ConnectionDone)
        self.assertTrue(client.ended)


class ProducerTests(NetworkTestCase):
    """
    Back-pressure.
    """

    def test_pausedReaderFillsSender(self):
        """
        A reader that pauses fills the link, then the sender's buffer; then the sender's producer is paused.
        """
        client, server = self.connected()
        client.stopReading()
        producer = Push()
        server.transport.registerProducer(producer, True)
        server.transport.write(b"x" * 64 * KIB)
        self.network.pump()
        self.assertEqual((producer.calls, client.link.inFlight), ([], 64 * KIB))
        server.transport.write(b"x" * 64 * KIB)
        self.network.pump()
        self.assertEqual(producer.calls, [])
        server.transport.write(b"x")
        self.assertEqual(producer.calls, ["pause"])
        self.network.pump()
        self.assertEqual((producer.calls, client.received), (["pause"], b""))
        client.startReading()
        self.network.pump()
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.assertEqual(len(client.received), 128 * KIB + 1)

    def test_capacity(self):
        """
        How much a link holds can be chosen.
        """
        self.network = MemoryNetwork(capacity=1000)
        self.network.listenTCP(8080, self.factory(HalfRecorder))
        client, server = self.connected()
        server.transport.pauseProducing()
        client.send(b"x" * 5000)
        self.network.pump()
        self.assertEqual((client.link.inFlight, server.received), (1000, b""))
        server.transport.resumeProducing()
        self.network.pump()
        self.assertEqual((client.link.inFlight, len(server.received)), (0, 5000))

    def test_pull(self):
        """
        A pull producer is asked again each time that all is sent.
        """
        client, server = self.connected()
        producer = Pull(server.transport, [b"a", b"b", b"c" * 200 * KIB])
        server.transport.registerProducer(producer, False)
        server.transport.loseConnection()
        self.network.pump()
        self.assertEqual(client.received, b"ab" + b"c" * 200 * KIB)
        self.assertTrue(client.ended)
        self.assertFalse(producer.stopped)

    def test_pullPaused(self):
        """
        A pull producer is not asked while the reader holds back.
        """
        client, server = self.connected()
        client.stopReading()
        producer = Pull(server.transport, [b"x" * 64 * KIB] * 10)
        server.transport.registerProducer(producer, False)
        self.network.pump()
        self.assertEqual(len(producer.pieces), 8)

    def test_twice(self):
        """
        There is one producer at a time.
        """
        _, server = self.connected()
        server.transport.registerProducer(Push(), True)
        self.assertRaises(RuntimeError, server.transport.registerProducer, Push(), True)

    def test_stoppedWithConnection(self):
        """
        A producer is stopped when the connection is lost, or was lost before.
        """
        client, server = self.connected()
        producer, late = Push(), Push()
        server.transport.registerProducer(producer, True)
        client.abort()
        self.network.pump()
        self.assertEqual(producer.calls, ["stop"])
        server.transport.registerProducer(late, True)
        self.assertEqual(late.calls, ["stop"])


class AddressTests(NetworkTestCase):
    """
    Where ends are.
    """

    def test_tcp(self):
        """
        Ports of clients differ, and both ends agree on them.
        """
        (one, servedOne), (two, servedTwo) = self.connected(), self.connected()
        for client, server in ((one, servedOne), (two, servedTwo)):
            self.assertEqual(client.transport.getHost(), server.transport.getPeer())
            self.assertEqual(client.transport.getPeer(), server.transport.getHost())
        self.assertEqual(one.transport.getPeer(), IPv4Address("TCP", "127.0.0.1", 8080))
        self.assertNotEqual(one.transport.getHost(), two.transport.getHost())

    def test_chosen(self):
        """
        A client can come from anywhere.
        """
        self.network.client("server.example", 8080, address="203.0.113.7")
        self.network.pump()
        self.assertEqual(self.served[-1].transport.getPeer().host, "203.0.113.7")

    def test_unix(self):
        """
        A UNIX socket's server has a name and its client none. No file is made.
        """
        self.successResultOf(
            UNIXServerEndpoint(self.network, "/nowhere/s").listen(self.factory(Recorder))
        )
        connecting = connectProtocol(UNIXClientEndpoint(self.network, "/nowhere/s"), Recorder())
        self.network.pump()
        client = self.successResultOf(connecting)
        client.transport.write(b"over a path")
        self.network.pump()
        [server] = self.served
        self.assertEqual(server.received, b"over a path")
        self.assertEqual(client.transport.getPeer(), UNIXAddress("/nowhere/s"))
        self.assertEqual(server.transport.getHost(), UNIXAddress("/nowhere/s"))
        self.assertIsNone(server.transport.getPeer().name)
        client.transport.loseConnection()
        self.network.pump()
        self.assertIs(server.lost.type, ConnectionDone)

    def test_unixRawClient(self):
        """
        The raw client takes a path as well.
        """
        port = self.network.listenUNIX("/nowhere/s", Factory.forProtocol(Echo))
        client = self.network.client("/nowhere/s")
        client.send(b"x" * 200 * KIB)
        self.network.pump()
        self.assertEqual(len(client.received), 200 * KIB)
        port.stopListening()
        self.network.pump()
        late = self.network.client("/nowhere/s")
        self.network.pump()
        self.assertClosed(late, ConnectError)

    def test_ipv6(self):
        """
        IPv6 literals work.
        """
        serverFromString(self.network, "tcp6:99").listen(self.factory(Recorder))
        connecting = connectProtocol(clientFromString(self.network, r"tcp:\:\:1:99"), Recorder())
        self.network.pump()
        client = self.successResultOf(connecting)
        self.assertEqual(client.transport.getPeer().host, "::1")
        self.assertEqual(self.served[-1].transport.getPeer(), client.transport.getHost())

    def test_socketOptions(self):
        """
        Options of TCP can be set and are kept.
        """
        client, _ = self.connected()
        self.assertFalse(client.transport.getTcpNoDelay())
        client.transport.setTcpNoDelay(True)
        client.transport.setTcpKeepAlive(True)
        self.assertTrue(client.transport.getTcpNoDelay())
        self.assertTrue(client.transport.getTcpKeepAlive())


class ListeningTests(NetworkTestCase):
    """
    Ports.
    """

    def test_taken(self):
        """
        A port is taken once, for one interface or for all; a path as well.
        """
        self.assertRaises(CannotListenError, self.network.listenTCP, 8080, Factory())
        self.assertRaises(
            CannotListenError, self.network.listenTCP, 8080, Factory(), interface="127.0.0.1"
        )
        self.network.listenTCP(81, Factory(), interface="127.0.0.1")
        self.network.listenTCP(81, Factory(), interface="127.0.0.2")
        self.network.listenUNIX("/s", Factory())
        self.assertRaises(CannotListenError, self.network.listenUNIX, "/s", Factory())

    def test_anyPort(self):
        """
        Port 0 is a free one.
        """
        ports: list[Any] = [self.network.listenTCP(0, self.factory(Recorder)) for _ in range(2)]
        one, two = (port.getHost().port for port in ports)
        self.assertNotIn(0, (one, two))
        self.assertNotEqual(one, two)
        self.network.client("x", two)
        self.network.pump()
        self.assertEqual(len(self.served), 1)

    def test_stopListening(self):
        """
        A port that was stopped refuses, is free again, and keeps its connections.
        """
        client, server = self.connected()
        stopped = self.port.stopListening()
        self.network.pump()
        self.successResultOf(stopped)
        late = self.network.client("server.example", 8080)
        self.network.pump()
        self.assertClosed(late, ConnectionRefusedError)
        client.send(b"still here")
        self.network.pump()
        self.assertEqual(server.received, b"still here")
        self.network.listenTCP(8080, Factory())

    def test_pausedPort(self):
        """
        A port that does not accept lets connections wait; if it closes then, they are reset.
        """
        self.port.stopReading()
        one = self.network.client("server.example", 8080)
        one.send(b"x")
        self.network.pump()
        self.assertEqual((self.served, one.closed), ([], None))
        self.port.startReading()
        self.network.pump()
        self.assertEqual(self.served[0].received, b"x")
        self.port.stopReading()
        two = self.network.client("server.example", 8080)
        self.network.pump()
        self.port.stopListening()
        self.network.pump()
        self.assertClosed(two, ConnectionLost)

    def test_noProtocol(self):
        """
        A factory may refuse to build a protocol.
        """

        class Refusing(Factory):
            def buildProtocol(self, addr):
                return None

        self.network.listenTCP(82, Refusing())
        client = self.network.client("x", 82)
        self.network.pump()
        self.assertTrue(client.ended)
