"""
A streaming client on a network in memory, and a server that the test plays.
"""

from __future__ import annotations

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from invproxy.client import StreamingClient
from invproxy.http1.heads import RequestHead
from invproxy.http1.limits import Limits
from invproxy.interfaces import IUpload
from invproxy.test.helpers import RecordingAnswer, requestHead
from invproxy.testing import MemoryNetwork

KIB = 1024
MIB = 1024 * KIB

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"

UPGRADING = [(b"Connection", b"Upgrade"), (b"Upgrade", b"echo")]
SWITCHING = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


@implementer(IHalfCloseableProtocol)
class Served(Protocol):
    """
    The server's end of one connection.

    @ivar received: what has come and was not taken yet.
    @ivar ended: whether the client has ended its direction.
    @ivar closed: why the connection is gone.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = False
        self.closed: Failure | None = None

    @property
    def over(self) -> bool:
        """
        Has the client closed the connection?
        """
        return self.ended or self.closed is not None

    def take(self) -> bytes:
        """
        Get what has come, and forget it.
        """
        data = bytes(self.received)
        self.received.clear()
        return data

    def call(self, name: str, *arguments: object) -> None:
        """
        Call the transport.
        """
        getattr(self.transport, name)(*arguments)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.ended = True

    def writeConnectionLost(self) -> None:
        """
        As it was asked.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = reason


class Server(Factory):
    """
    A server that the test plays.

    @ivar all: its connections, oldest first.
    """

    noisy = False

    def __init__(self) -> None:
        self.all: list[Served] = []

    def buildProtocol(self, addr: object) -> Served:
        served = Served()
        self.all.append(served)
        return served


class ClientTestCase(SynchronousTestCase):
    """
    A client, and the server behind its endpoint.
    """

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        # The clock of a real reactor is never 0, but that of a test may be.
        self.server = Server()
        self.network.listenTCP(80, self.server)
        self.client = self.makeClient()
        self.answers: list[RecordingAnswer] = []

    def makeClient(
        self, *, limits: Limits | None = None, keepTime: float = 1.5, maxKept: int = 256
    ) -> StreamingClient:
        """
        Make a client.
        """
        endpoint = TCP4ClientEndpoint(self.network, "127.0.0.1", 80, timeout=10)
        return StreamingClient(
            self.network, endpoint, limits=limits or Limits(), keepTime=keepTime, maxKept=maxKept
        )

    def tearDown(self) -> None:
        for answer in self.answers:
            self.assertEqual(answer.violations, [])
        # Nothing is left behind: no connection, and no clock.
        self.client.close()
        for served in self.server.all:
            served.call("abortConnection")
        self.network.pump()
        self.assertEqual(self.client.connections, set())
        self.assertFalse(self.client._kept)
        self.assertEqual(self.network.connections, [])
        self.assertEqual(self.network.getDelayedCalls(), [])

    def ask(
        self, head: RequestHead | None = None, *pieces: bytes, end: bool = True
    ) -> RecordingAnswer:
        """
        Begin an exchange.
        """
        answer = RecordingAnswer()
        self.answers.append(answer)
        answer.ask(self.client, head or requestHead(), *pieces, end=end)
        self.network.pump()
        return answer

    def upload(self, answer: RecordingAnswer) -> IUpload:
        """
        Find where the body of a request goes.
        """
        assert answer.upload is not None
        return answer.upload

    def send(self, answer: RecordingAnswer, data: bytes) -> None:
        """
        Send a piece of a request's body.
        """
        self.upload(answer).write(data)
        self.network.pump()

    def serve(self, data: bytes, close: str = "", connection: int = -1) -> Served:
        """
        Let the server send something.

        @param close: what to call on the transport after that.
        @param connection: on which one; the last if not told.
        """
        served = self.server.all[connection]
        served.call("write", data)
        if close:
            served.call(close)
        self.network.pump()
        return served

    def assertOK(self, answer: RecordingAnswer) -> None:
        """
        The answer L{OK} has come.
        """
        self.assertIsNone(answer.fault)
        self.assertTrue(answer.finished)
        self.assertEqual(answer.body, b"ok")

    def assertHeldBack(self, answer: RecordingAnswer) -> None:
        """
        The answer L{OK} does not come before its asker lets it.
        """
        self.serve(OK)
        self.assertIsNone(answer.head)
        self.upload(answer).resumeAnswer()
        self.network.pump()
        self.assertOK(answer)

    def assertFailed(self, answer: RecordingAnswer, fault: object) -> None:
        """
        The exchange has failed.
        """
        assert answer.fault is not None
        self.assertIs(answer.fault.code, fault)
        self.assertFalse(answer.finished)
