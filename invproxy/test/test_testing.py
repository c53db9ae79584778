"""
The network in memory behaves as a network, and its clock as a clock.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
)
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHostnameResolver,
    IReactorCore,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorSSL,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall, deferLater
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from invproxy.testing import MemoryNetwork, NeverQuiet, StillWaiting

KIB = 1024


class Recorder(Protocol):
    """
    Remembers what happens to it.
    """

    transport: Any

    def __init__(self):
        self.received = b""
        self.pieces = []
        self.lost: Any = None

    def dataReceived(self, data):
        self.received += data
        self.pieces.append(len(data))

    def connectionLost(self, reason=connectionDone):
        self.lost = reason


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    """
    Remembers half closes as well, and stays open after them.
    """

    readLost = writeLost = False

    def readConnectionLost(self):
        self.readLost = True

    def writeConnectionLost(self):
        self.writeLost = True


class Echo(Protocol):
    """
    Sends back what comes.
    """

    def dataReceived(self, data):
        assert self.transport is not None
        self.transport.write(data)


class NetworkTestCase(SynchronousTestCase):
    """
    With a network, and a server on port 8080 whose protocols are kept.
    """

    protocol: type[Recorder] = HalfRecorder

    def setUp(self):
        self.network = MemoryNetwork()
        self.served = []
        self.port = self.successResultOf(
            TCP4ServerEndpoint(self.network, 8080).listen(self.factory(self.protocol))
        )

    def factory(self, protocol):
        def build():
            self.served.append(protocol())
            return self.served[-1]

        return Factory.forProtocol(build)

    def connected(self):
        """
        @return: a raw client and the protocol at the other end.
        """
        client = self.network.client("server.example", 8080)
        self.network.pump()
        return client, self.served[-1]

    def assertClosed(self, client, kind):
        """
        Assert for which reason a raw client is closed.
        """
        self.assertIsInstance(client.closed and client.closed.value, kind)


class DeliveryTests(NetworkTestCase):
    """
    Bytes arrive when the network is pumped.
    """

    def test_notWithoutPump(self):
        """
        Neither connecting nor writing does anything by itself.
        """
        client = self.network.client("server.example", 8080)
        client.send(b"early")
        self.assertEqual(self.served, [])
        self.network.pump()
        [server] = self.served
        self.assertEqual(server.received, b"early")
        client.send(b", late")
        server.transport.write(b"answer")
        self.assertEqual((server.received, client.received), (b"early", b""))
        self.network.pump()
        self.assertEqual((server.received, client.received), (b"early, late", b"answer"))

    def test_writeSequence(self):
        """
        Pieces arrive as one stream.
        """
        client, server = self.connected()
        server.transport.writeSequence([b"a", b"", b"b"])
        self.network.pump()
        self.assertEqual(client.take(), b"ab")
        self.assertEqual(client.received, b"")

    def test_onlyBytes(self):
        """
        Text is refused at once.
        """
        _, server = self.connected()
        self.assertRaises(TypeError, server.transport.write, "text")

    def test_noReentrance(self):
        """
        Pumping while something is delivered is an error, which closes the connection as any error does.
        """
        client, server = self.connected()
        server.dataReceived = lambda data: self.network.pump()
        client.send(b"x")
        self.network.pump()
        [logged] = self.flushLoggedErrors(RuntimeError)
        self.assertIn("being pumped", str(logged.value))
        self.assertIs(server.lost.type, RuntimeError)

    def test_segments(self):
        """
        What arrives at once is at most 64 KiB.
        """
        client, server = self.connected()
        client.send(b"x" * 200 * KIB)
        self.network.pump()
        self.assertEqual(len(server.received), 200 * KIB)
        self.assertLessEqual(max(server.pieces), 64 * KIB)

    def test_byteByByte(self):
        """
        Segments can be as small as a byte.
        """
        self.network.segment = 1
        client, server = self.connected()
        client.send(b"parse me")
        server.transport.write(b"and me")
        self.network.pump()
        self.assertEqual((server.received, client.received), (b"parse me", b"and me"))
        self.assertEqual(server.pieces, [1] * 8)

    def test_manyBytesByteByByte(self):
        """
        Even more bytes than fit into a link at once, with few rounds wasted.
        """
        self.network.segment = 1
        client, server = self.connected()
        client.send(b"x" * 80 * KIB)
        self.network.pump()
        self.assertEqual(len(server.received), 80 * KIB)

    def test_bothWaysAtOnce(self):
        """
        Each direction flows although both ends send much.
        """
        client, server = self.connected()
        client.send(b"c" * 3000 * KIB)
        server.transport.write(b"s" * 3000 * KIB)
        self.network.pump()
        self.assertEqual(server.received, b"c" * 3000 * KIB)
        self.assertEqual(client.received, b"s" * 3000 * KIB)

    def test_errorInProtocol(self):
        """
        An exception out of C{dataReceived} is logged and closes the connection, as in a real reactor.
        """
        client, server = self.connected()
        server.dataReceived = lambda data: 1 // 0
        client.send(b"x")
        self.network.pump()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIs(server.lost.type, ZeroDivisionError)
        self.assertTrue(client.ended)


class FaultTests(NetworkTestCase):
    """
    What tests may do to the network.
    """

    def test_refuse(self):
        """
        A host can refuse for a while, whatever listens.
        """
        self.network.refuse("server.example", 8080)
        client = self.network.client("server.example", 8080)
        self.network.pump()
        self.assertClosed(client, ConnectionRefusedError)
        self.network.accept("server.example", 8080)
        self.connected()

    def test_nobody(self):
        """
        Where nothing listens, connections are refused; a path where nothing is cannot be connected to.
        """
        client, path = self.network.client("x", 1), self.network.client("/none")
        self.network.pump()
        self.assertClosed(client, ConnectionRefusedError)
        self.assertClosed(path, ConnectError)

    def test_ignore(self):
        """
        A host that does not answer lets attempts time out; they can be cancelled.
        """
        self.network.ignore("server.example", 8080)
        endpoint = HostnameEndpoint(self.network, "server.example", 8080, timeout=10)
        connecting = connectProtocol(endpoint, Recorder())
        cancelled = connectProtocol(endpoint, Recorder())
        self.network.pump()
        self.network.advance(9.9)
        self.assertNoResult(connecting)
        cancelled.cancel()
        self.failureResultOf(cancelled, ConnectingCancelledError)
        self.network.advance(0.1)
        self.failureResultOf(connecting, TimeoutError)

    def test_unknownHost(self):
        """
        A name can be unknown.
        """
        self.network.hosts["gone.example"] = None
        connecting = connectProtocol(
            HostnameEndpoint(self.network, "gone.example", 8080), Recorder()
        )
        client = self.network.client("gone.example", 8080)
        self.network.pump()
        self.failureResultOf(connecting, DNSLookupError)
        self.assertClosed(client, DNSLookupError)

    def test_hosts(self):
        """
        Names may have addresses of their own, so that several may serve on the same port.
        """
        self.network.hosts["b.example"] = "127.0.0.2"
        self.network.listenTCP(80, Factory.forProtocol(Echo), interface="127.0.0.1")
        self.network.listenTCP(80, self.factory(Recorder), interface="127.0.0.2")
        one, two = self.network.client("a.example", 80), self.network.client("b.example", 80)
        one.send(b"to a")
        two.send(b"to b")
        self.network.pump()
        self.assertEqual((one.received, self.served[0].received), (b"to a", b"to b"))

    def test_freeze(self):
        """
        Over a silent link nothing arrives, not even the end, until it thaws.
        """
        client, server = self.connected()
        self.network.freeze(client)
        client.send(b"x" * 10)
        server.transport.write(b"y" * 200 * KIB)
        self.network.advance(1000)
        self.assertEqual((server.received, client.received), (b"", b""))
        self.assertEqual(client.link.inFlight, 64 * KIB + 10)
        client.close()
        self.network.advance(1000)
        self.assertClosed(client, ConnectionDone)
        self.assertIsNone(server.lost)
        [link] = self.network.connections
        self.network.thaw(link)
        self.network.pump()
        self.assertIs(server.lost.type, ConnectionLost)

    def test_thaw(self):
        """
        What was held back arrives.
        """
        client, server = self.connected()
        self.network.freeze(server.transport)
        client.send(b"held")
        client.closeWrite()
        self.network.pump()
        self.assertFalse(server.readLost)
        self.network.thaw(server.transport)
        self.network.pump()
        self.assertEqual((server.received, server.readLost), (b"held", True))

    def test_cut(self):
        """
        Both ends lose the connection, and what was in flight.
        """
        client, server = self.connected()
        client.send(b"x")
        self.network.cut(client)
        self.network.pump()
        self.assertEqual(server.received, b"")
        self.assertIs(server.lost.type, ConnectionLost)
        self.assertClosed(client, ConnectionLost)

    def test_counters(self):
        """
        Connections are listed, with what they have carried.
        """
        self.assertEqual(self.network.connections, [])
        client, server = self.connected()
        client.send(b"x" * 10)
        server.transport.write(b"y" * 20)
        self.network.pump()
        [link] = self.network.connections
        self.assertIs(link, client.link)
        self.assertIs(link, self.network.linkOf(server.transport))
        self.assertEqual((link.fromClient, link.fromServer, link.inFlight), (10, 20, 0))
        self.assertIn("to 127.0.0.1:8080: 10 bytes up, 20 down, 0 in flight", repr(link))

    def test_notConnected(self):
        """
        What is not connected cannot be found.
        """
        self.assertRaises(LookupError, self.network.linkOf, Recorder())
        self.assertRaises(LookupError, self.network.freeze, self.network.client("x", 1))


class ClientTests(NetworkTestCase):
    """
    The raw client.
    """

    def test_beforeConnected(self):
        """
        What is asked of it before there is a connection is done then.
        """
        client = self.network.client("server.example", 8080)
        client.stopReading()
        client.send(b"a")
        client.send(b"b")
        client.closeWrite()
        self.network.pump()
        [server] = self.served
        self.assertEqual((server.received, server.readLost), (b"ab", True))
        server.transport.write(b"c")
        self.network.pump()
        self.assertEqual(client.received, b"")
        client.startReading()
        self.network.pump()
        self.assertEqual(client.received, b"c")

    def test_abortBeforeConnected(self):
        """
        The same for an abort.
        """
        client = self.network.client("server.example", 8080)
        client.abort()
        self.network.pump()
        self.assertClosed(client, ConnectionAborted)
        self.assertIs(self.served[0].lost.type, ConnectionLost)


class TimeTests(SynchronousTestCase):
    """
    The clock.
    """

    def setUp(self):
        self.network = MemoryNetwork()
        self.calls = []

    def test_dueCalls(self):
        """
        A pump runs what is due, also what that schedules for now, and does not move time.
        """

        def first():
            self.calls.append("first")
            self.network.callLater(0, self.calls.append, "second")

        self.network.callLater(0, first)
        self.network.callLater(0.001, self.calls.append, "later")
        self.network.callFromThread(self.calls.append, "thread")
        self.network.pump()
        self.assertEqual(self.calls, ["first", "thread", "second"])
        self.assertEqual(self.network.seconds(), 0)

    def test_advanceInSteps(self):
        """
        Each call sees the time that it was made for.
        """

        def note():
            self.calls.append(self.network.seconds())
            if len(self.calls) < 4:
                self.network.callLater(1, note)

        self.network.callLater(1, note)
        self.network.advance(3.5)
        self.assertEqual(self.calls, [1, 2, 3])
        self.assertEqual(self.network.seconds(), 3.5)

    def test_deliveryBetween(self):
        """
        What a call writes arrives before time moves on.
        """
        arrived = []

        class Noting(Protocol):
            def dataReceived(_, data):
                arrived.append(self.network.seconds())

        self.network.listenTCP(1, Factory.forProtocol(Noting))
        client = self.network.client("x", 1)
        self.network.callLater(2, client.send, b"x")
        self.network.callLater(4, client.send, b"x")
        self.network.advance(10)
        self.assertEqual(arrived, [2, 4])

    def test_cancelAndReset(self):
        """
        Calls can be cancelled by another one that is due with them, and put off.
        """

        def cancelling():
            self.calls.append("one")
            two.cancel()

        one = self.network.callLater(1, cancelling)
        two = self.network.callLater(1, self.calls.append, "cancelled")
        three = self.network.callLater(1, self.calls.append, "three")
        three.reset(5)
        self.network.advance(4)
        self.assertEqual(self.calls, ["one"])
        self.network.advance(1)
        self.assertEqual(self.calls, ["one", "three"])
        self.assertFalse(one.active())

    def test_loopingCall(self):
        """
        A looping call runs at each of its times.
        """
        loop = LoopingCall(lambda: self.calls.append(self.network.seconds()))
        loop.clock = self.network
        loop.start(1, now=False)
        self.network.advance(3)
        self.assertEqual(self.calls, [1, 2, 3])
        loop.stop()

    def test_error(self):
        """
        A call that fails is logged, and others are made.
        """
        self.network.callLater(0, lambda: 1 // 0)
        self.network.callLater(0, self.calls.append, "after")
        self.network.pump()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.calls, ["after"])

    def test_neverQuiet(self):
        """
        What goes on for ever is an error that says what it is.
        """

        def again():
            self.network.callLater(0, again)

        again()
        error = self.assertRaises(NeverQuiet, self.network.pump, limit=50)
        self.assertIn("after 50 rounds", str(error))
        self.assertIn("again", str(error))
        for call in self.network.getDelayedCalls():
            call.cancel()
        self.network.pump()

    def test_pumpTimings(self):
        """
        As with Clock, C{pump} takes times.
        """
        self.network.callLater(2, self.calls.append, "x")
        self.network.pump([1, 1])
        self.assertEqual(self.calls, ["x"])

    def test_resultOf(self):
        """
        A result is waited for no longer than it takes.
        """

        async def slowly():
            await deferLater(self.network, 2)
            return "result"

        self.assertEqual(self.network.resultOf(slowly()), "result")
        self.assertEqual(self.network.seconds(), 2)
        self.network.resultOf(deferLater(self.network, 3))
        self.assertEqual(self.network.seconds(), 5)
        failing = deferLater(self.network, 1, lambda: 1 // 0)
        self.assertRaises(ZeroDivisionError, self.network.resultOf, failing)
        self.assertRaises(StillWaiting, self.network.resultOf, Deferred())
        self.assertRaises(
            StillWaiting, self.network.resultOf, deferLater(self.network, 90), within=80
        )


class ReactorTests(SynchronousTestCase):
    """
    The rest of a reactor.
    """

    def test_interfaces(self):
        """
        It provides what a reactor is asked for.
        """
        network = MemoryNetwork()
        for interface in (
            IReactorTime,
            IReactorCore,
            IReactorFDSet,
            IReactorTCP,
            IReactorSSL,
            IReactorUNIX,
            IReactorPluggableNameResolver,
        ):
            verifyObject(interface, network)
        verifyObject(IHostnameResolver, network.nameResolver)

    def test_systemEvents(self):
        """
        What is to be called at shutdown is called by C{stop}, in the order of the phases.
        """
        network = MemoryNetwork()
        calls: list[str] = []
        network.callWhenRunning(calls.append, "running")
        network.addSystemEventTrigger("after", "shutdown", calls.append, "after")
        network.addSystemEventTrigger("before", "shutdown", calls.append, "before")
        never = network.addSystemEventTrigger("during", "shutdown", calls.append, "never")
        network.removeSystemEventTrigger(never)
        network.stop()
        self.assertEqual(calls, ["running", "before", "after"])
        self.assertFalse(network.running)
