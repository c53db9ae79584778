"""
The network in memory is like the real one: the same scenarios run over both, on TCP and on UNIX sockets.
"""

from collections.abc import Callable, Coroutine
from typing import Any, cast

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    connectProtocol,
)
from twisted.internet.error import (
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IHalfCloseableProtocol, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from invproxy.testing import MemoryNetwork

KIB = 1024
MIB = 1024 * KIB


class Events(Protocol):
    """
    Writes down what happens to it.
    """

    transport: Any

    def __init__(self) -> None:
        self.events: list[object] = []
        self.received = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.events[-1:] != ["data"]:
            self.events.append("data")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.events.append(reason.type)


@implementer(IHalfCloseableProtocol)
class HalfEvents(Events):
    """
    The same with half closes.
    """

    def readConnectionLost(self) -> None:
        self.events.append("read lost")

    def writeConnectionLost(self) -> None:
        self.events.append("write lost")


class Producer:
    """
    Pushes pieces for as long as it may, and writes down what is asked of it.
    """

    def __init__(self, transport: Any, pieces: int) -> None:
        self.transport = transport
        self.left = pieces
        self.events: list[str] = []
        self.paused = False

    def start(self) -> None:
        self.transport.registerProducer(self, True)
        self.produce()

    def produce(self) -> None:
        while self.left and not self.paused:
            self.left -= 1
            self.transport.write(b"x" * 64 * KIB)
        if not self.left:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.paused = True
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.paused = False
        self.events.append("resume")
        self.produce()

    def stopProducing(self) -> None:
        self.paused = True
        self.events.append("stop")


class Silent(Producer):
    """
    Never produces anything.
    """

    def produce(self) -> None:
        """
        Leave it.
        """


class Puller:
    """
    Gives pieces when it is asked.
    """

    def __init__(self, transport: Any, pieces: int) -> None:
        self.transport = transport
        self.left = pieces

    def resumeProducing(self) -> None:
        if self.left:
            self.left -= 1
            self.transport.write(b"x" * 64 * KIB)
        else:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self.left = 0


class Scenarios:
    """
    What happens on a network, whichever it is.
    """

    reactor: Any
    assertEqual: Callable[..., object]
    assertTrue: Callable[..., object]
    fail: Callable[..., object]

    def play(self, scenario: Coroutine[Deferred[Any], Any, None]) -> Deferred[None] | None:
        """
        Run a scenario to its end.
        """
        raise NotImplementedError

    def listen(self, factory: Factory) -> Deferred[IListeningPort]:
        """
        Listen where L{dial} connects to.
        """
        raise NotImplementedError

    def dial(self, port: IListeningPort, protocol: Events) -> Deferred[Events]:
        """
        Connect to a port.
        """
        raise NotImplementedError

    async def settle(self) -> None:
        """
        Let happen what may happen: in many turns of the reactor, as one alone may come late.
        """
        for _ in range(40):
            await deferLater(self.reactor, 0.0025)

    async def until(self, condition: Callable[[], object]) -> None:
        """
        Wait for something to happen.
        """
        for _ in range(20000):
            if condition():
                return
            await deferLater(self.reactor, 0.005)
        self.fail("it did not happen")

    async def pair(self, kind: type[Events] = HalfEvents) -> tuple[Events, Events, IListeningPort]:
        """
        @return: two connected protocols, the client first, and the port.
        """
        servers: list[Events] = []

        def build() -> Events:
            servers.append(kind())
            return servers[-1]

        self.port = await self.listen(Factory.forProtocol(build))
        client = await self.dial(self.port, kind())
        await self.until(lambda: servers)
        return client, servers[0], self.port

    async def done(self, *ends: Events) -> None:
        """
        Close what is still open, and the port.
        """
        for end in ends:
            end.transport.abortConnection()
        stopped = self.port.stopListening()
        if stopped is not None:
            await stopped
        await self.settle()

    def test_echoWithHalfClose(self) -> object:
        """
        The client ends its direction, gets the answer, and then the end of the other one.
        """

        async def scenario() -> None:
            client, server, _ = await self.pair()
            client.transport.write(b"request")
            client.transport.loseWriteConnection()
            await self.until(lambda: "read lost" in server.events)
            self.assertEqual(server.received, b"request")
            server.transport.write(bytes(server.received))
            server.transport.loseConnection()
            await self.until(lambda: "read lost" in client.events)
            self.assertEqual(client.received, b"request")
            client.transport.loseConnection()
            await self.settle()
            self.assertEqual(client.events, ["write lost", "data", "read lost", ConnectionDone])
            self.assertEqual(server.events, ["data", "read lost", ConnectionDone])
            await self.done()

        return self.play(scenario())

    def test_unawareOfHalfClose(self) -> object:
        """
        A protocol that knows no half close loses its connection by one.
        """

        async def scenario() -> None:
            client, server, _ = await self.pair(Events)
            client.transport.write(b"request")
            client.transport.loseWriteConnection()
            await self.settle()
            self.assertEqual(server.events, ["data", ConnectionDone])
            self.assertEqual(client.events, [ConnectionDone])
            await self.done()

        return self.play(scenario())

    def test_backPressure(self) -> object:
        """
        A reader that pauses brings the producer at the other end to a stop, and gets everything later.
        """

        async def scenario() -> None:
            client, server, _ = await self.pair()
            client.transport.pauseProducing()
            producer = Producer(server.transport, 512)
            producer.start()
            await self.settle()
            self.assertTrue(producer.paused)
            self.assertTrue(0 < producer.left < 512, producer.left)
            self.assertEqual(client.received, b"")
            client.transport.resumeProducing()
            await self.until(lambda: len(client.received) == 32 * MIB)
            self.assertEqual(producer.left, 0)
            self.assertEqual(set(producer.events), {"pause", "resume"})
            await self.done(client)

        return self.play(scenario())

    def test_pull(self) -> object:
        """
        A pull producer is asked until it ends, also while the connection is about to close.
        """

        async def scenario() -> None:
            client, server, _ = await self.pair()
            server.transport.registerProducer(Puller(server.transport, 32), False)
            server.transport.loseConnection()
            await self.until(lambda: "read lost" in client.events)
            self.assertEqual(len(client.received), 2 * MIB)
            self.assertEqual(server.events, [ConnectionDone])
            await self.done(client)

        return self.play(scenario())

    def test_abort(self) -> object:
        """
        One end aborts, the other one loses the connection.
        """

        async def scenario() -> None:
            client, server, _ = await self.pair()
            client.transport.abortConnection()
            self.assertEqual(client.events, [])
            await self.settle()
            self.assertEqual(client.events, [ConnectionAborted])
            self.assertEqual(server.events, [self.aborted])
            await self.done(server)

        return self.play(scenario())

    aborted: object = ConnectionLost

    def test_abortUnnoticed(self) -> object:
        """
        An end that neither reads nor writes does not notice that the other one has aborted.
        """

        async def scenario() -> None:
            client, server, _ = await self.pair()
            server.transport.pauseProducing()
            await self.settle()
            client.transport.abortConnection()
            await self.settle()
            self.assertEqual(server.events, [])
            server.transport.resumeProducing()
            await self.settle()
            self.assertEqual(server.events, [self.aborted])
            await self.done(server)

        return self.play(scenario())

    def test_flush(self) -> object:
        """
        C{loseConnection} sends what was written first.
        """

        async def scenario() -> None:
            client, server, _ = await self.pair()
            server.transport.write(b"x" * 8 * MIB)
            server.transport.loseConnection()
            self.assertTrue(server.transport.disconnecting)
            await self.until(lambda: "read lost" in client.events)
            self.assertEqual(len(client.received), 8 * MIB)
            self.assertEqual(server.events, [ConnectionDone])
            await self.done(client)

        return self.play(scenario())

    def test_inFlight(self) -> object:
        """
        What was sent before the end arrives after the sender is gone.
        """

        async def scenario() -> None:
            client, server, _ = await self.pair()
            client.transport.pauseProducing()
            server.transport.write(b"x" * 10 * KIB)
            server.transport.loseConnection()
            await self.settle()
            self.assertEqual((server.events, client.events), ([ConnectionDone], []))
            client.transport.resumeProducing()
            await self.settle()
            self.assertEqual(len(client.received), 10 * KIB)
            self.assertEqual(client.events, ["data", "read lost"])
            await self.done(client)

        return self.play(scenario())

    def test_closeWaitsForProducer(self) -> object:
        """
        C{loseConnection} waits until a producer is unregistered.
        """

        async def scenario() -> None:
            client, server, _ = await self.pair()
            producer = Silent(server.transport, 1)
            server.transport.registerProducer(producer, True)
            server.transport.write(b"x" * 200 * KIB)
            server.transport.loseConnection()
            await self.settle()
            self.assertEqual(len(client.received), 200 * KIB)
            self.assertEqual((server.events, client.events), ([], ["data"]))
            self.assertEqual(producer.events, ["pause", "resume"])
            server.transport.unregisterProducer()
            await self.settle()
            self.assertEqual(server.events, [ConnectionDone])
            self.assertEqual(client.events, ["data", "read lost"])
            await self.done(client)

        return self.play(scenario())

    def test_producerStopped(self) -> object:
        """
        A lost connection stops its producer, and one that is registered too late.
        """

        async def scenario() -> None:
            client, server, _ = await self.pair()
            producer, late = (Producer(server.transport, 1) for _ in range(2))
            server.transport.registerProducer(producer, True)
            client.transport.abortConnection()
            await self.settle()
            server.transport.write(b"to notice it on a UNIX socket too")
            await self.settle()
            self.assertEqual(producer.events, ["stop"])
            server.transport.registerProducer(late, True)
            self.assertEqual(late.events, ["stop"])
            await self.done()

        return self.play(scenario())

    def test_writeToTheGone(self) -> object:
        """
        Bytes for an end that has closed lose the connection.
        """

        async def scenario() -> None:
            client, server, _ = await self.pair()
            server.transport.loseConnection()
            await self.until(lambda: client.events == ["read lost"])
            client.transport.write(b"first")
            await self.settle()
            client.transport.write(b"second")
            await self.settle()
            self.assertEqual(client.events, ["read lost", ConnectionLost])
            await self.done()

        return self.play(scenario())

    def test_unreadUpload(self) -> object:
        """
        An end that answers and closes without having read all: a small answer still arrives.
        """

        async def scenario() -> None:
            client, server, _ = await self.pair()
            server.transport.pauseProducing()
            await self.settle()
            client.transport.write(b"x" * 1000)
            await self.settle()
            server.transport.write(b"answer")
            server.transport.loseConnection()
            await self.settle()
            self.assertEqual(client.received, b"answer")
            self.assertEqual(client.events, ["data", *self.unread])
            self.assertEqual(server.events, [ConnectionDone])
            await self.done(client)

        return self.play(scenario())

    unread: tuple[object, ...] = ("read lost",)

    def test_refused(self) -> object:
        """
        Where a port was closed, connections are refused.
        """

        async def scenario() -> None:
            client, server, port = await self.pair()
            await self.done(client, server)
            try:
                await self.dial(port, Events())
            except Exception as error:
                self.assertEqual(type(error), self.refused)
            else:
                self.fail("connected")

        return self.play(scenario())

    refused: type[Exception] = ConnectionRefusedError


class TCPMixin:
    """
    Over TCP.
    """

    reactor: Any

    def listen(self, factory: Factory) -> Deferred[IListeningPort]:
        endpoint = TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        return cast(Deferred[IListeningPort], endpoint.listen(factory))

    def dial(self, port: Any, protocol: Events) -> Deferred[Events]:
        number = self.number = port.getHost().port if port.connected else self.number
        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", number)
        return cast(Deferred[Events], connectProtocol(endpoint, protocol))

    number = 0


class UNIXMixin:
    """
    Over UNIX sockets.
    """

    reactor: Any
    mktemp: Callable[[], str]
    path = ""
    # They know no reset: to the other end, an abort is an end like any other.
    aborted = "read lost"
    refused = ConnectError
    unread = (ConnectionLost,)

    def listen(self, factory: Factory) -> Deferred[IListeningPort]:
        self.path = self.mktemp()[-80:].replace("/", "")
        endpoint = UNIXServerEndpoint(self.reactor, self.path)
        return cast(Deferred[IListeningPort], endpoint.listen(factory))

    def dial(self, port: Any, protocol: Events) -> Deferred[Events]:
        endpoint = UNIXClientEndpoint(self.reactor, self.path)
        return cast(Deferred[Events], connectProtocol(endpoint, protocol))


class RealMixin:
    """
    On the real reactor.
    """

    @property
    def reactor(self) -> Any:
        from twisted.internet import reactor

        return reactor

    def play(self, scenario: Coroutine[Deferred[Any], Any, None]) -> Deferred[None]:
        return ensureDeferred(scenario)


class MemoryMixin:
    """
    In memory.
    """

    def setUp(self) -> None:
        self.reactor = MemoryNetwork()

    def play(self, scenario: Coroutine[Deferred[Any], Any, None]) -> None:
        self.reactor.resultOf(scenario)


class RealTCPTests(RealMixin, TCPMixin, Scenarios, TestCase):  # type: ignore[misc]
    """
    Real TCP on a loopback address.
    """


class RealUNIXTests(RealMixin, UNIXMixin, Scenarios, TestCase):  # type: ignore[misc]
    """
    Real UNIX sockets.
    """


class MemoryTCPTests(MemoryMixin, TCPMixin, Scenarios, SynchronousTestCase):  # type: ignore[misc]
    """
    TCP in memory.
    """


class MemoryUNIXTests(MemoryMixin, UNIXMixin, Scenarios, SynchronousTestCase):  # type: ignore[misc]
    """
    UNIX sockets in memory.
    """
