"""
HTTP servers as origins, over TCP and UNIX sockets: the contract of L{IOrigin<invproxy.interfaces.IOrigin>}, and what
may be written for them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from invproxy.agent.origins import HTTPOrigin
from invproxy.errors import ORIGIN_REFUSED
from invproxy.http1.fields import join
from invproxy.http1.framing import CHUNKED, lastChunk
from invproxy.http1.heads import RequestHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.parsing import parseRequest
from invproxy.http1.readers import RequestReader
from invproxy.interfaces import IOrigin
from invproxy.test.directorigin import DirectUpload, UploadArrival
from invproxy.test.helpers import RecordingAnswer, requestHead
from invproxy.test.origincontract import Arrival, Fields, StreamingOriginContract
from invproxy.testing import MemoryNetwork


@implementer(IHalfCloseableProtocol)
class HTTPArrivals(Protocol):
    """
    A connection to an HTTP server.
    """

    def __init__(self, server: HTTPBackend) -> None:
        self.server = server
        self.over = False

    def connectionMade(self) -> None:
        self.reader = RequestReader(DEFAULT_LIMITS, self.opened)

    def opened(self, head: RequestHead) -> DirectUpload:
        upload = DirectUpload(RecordingAnswer())
        self.server.arrivals.append(HTTPArrival(self, head, upload))
        return upload

    def dataReceived(self, data: bytes) -> None:
        self.reader.feed(data)
        if self.reader.ended:
            self.reader.next()

    def readConnectionLost(self) -> None:
        self.over = True

    def writeConnectionLost(self) -> None:
        """
        Never asked for.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.over = True


class HTTPBackend(Factory):
    """
    An HTTP server that takes down what it is asked, and leaves the answer to the test.
    """

    noisy = False

    def __init__(self, network: MemoryNetwork) -> None:
        self.network = network
        self.arrivals: list[HTTPArrival] = []

    def buildProtocol(self, addr: object) -> HTTPArrivals:
        return HTTPArrivals(self)


class HTTPArrival(UploadArrival):
    """
    A L{StreamingArrival} at an HTTP server.
    """

    def __init__(self, connection: HTTPArrivals, head: RequestHead, upload: DirectUpload) -> None:
        super().__init__(head, upload)
        self._connection = connection
        self._transport: Any = connection.transport
        self._chunked = False

    def gone(self) -> bool:
        return self._connection.over

    def held(self) -> bool:
        # The other end does not read: soon the buffers between will be full.
        network = self._connection.server.network
        other = network.linkOf(self._connection).client
        return other.fileno() not in {reader.fileno() for reader in network.getReaders()}

    def inform(self, status: int, fields: Fields = ()) -> None:
        self._transport.write(b"HTTP/1.1 %d Wait%b\r\n\r\n" % (status, join(fields)))

    def respond(self, status: int, reason: bytes = b"OK", fields: Fields = ()) -> None:
        self._chunked = not fields and status not in (204, 304)
        coding = b"\r\nTransfer-Encoding: chunked" if self._chunked else b""
        self._transport.write(
            b"HTTP/1.1 %d %b%b%b\r\n\r\n" % (status, reason, join(fields), coding)
        )

    def write(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def finish(self) -> None:
        self.finishWith(b"")

    def finishWith(self, trailers: bytes) -> None:
        if self._chunked:
            self._transport.write(lastChunk(trailers))

    def cut(self) -> None:
        self._transport.abortConnection()

    def holdUpload(self, held: bool) -> None:
        if held:
            self._transport.pauseProducing()
        else:
            self._transport.resumeProducing()


class TCPOriginTests(StreamingOriginContract, SynchronousTestCase):
    """
    L{HTTPOrigin} keeps the contract over TCP.
    """

    url = "http://backend.example:3000"

    def listen(self, backend: HTTPBackend) -> None:
        """
        Make the server reachable.
        """
        self.network.listenTCP(3000, backend)

    def makeOrigin(self) -> IOrigin:
        self.network = MemoryNetwork()
        self.backend = HTTPBackend(self.network)
        self.listen(self.backend)
        origin = HTTPOrigin.fromURL(self.network, self.url)
        self.addCleanup(origin.close)
        return origin

    def arrivals(self) -> list[Arrival]:
        return list(self.backend.arrivals)

    def settle(self) -> None:
        self.network.pump()

    def test_uploadHeldBack(self) -> None:
        """
        The asker is asked to pause once the buffers between are full, and to go on as the server reads.
        """
        size = 1 << 20
        answer, upload, arrival = self.arriveStreaming(requestHead(b"POST", framing=CHUNKED))
        arrival.holdUpload(True)
        upload.write(b"x" * size)
        self.settle()
        self.assertTrue(answer.uploadHeld)
        arrival.holdUpload(False)
        self.settle()
        self.assertFalse(answer.uploadHeld)
        upload.finish()
        self.settle()
        self.assertEqual(arrival.body(), b"x" * size)
        self.assertTrue(arrival.ended())

    def test_host(self) -> None:
        """
        A request without Host, as HTTP/1.0 allows, gets the authority of the origin's URL; others keep theirs.
        """
        origin = self.makeOrigin()
        heads = (
            parseRequest(b"GET / HTTP/1.0\r\nX: y\r\n\r\n", DEFAULT_LIMITS),
            requestHead(host=b"other.example:1"),
        )
        for head in heads:
            RecordingAnswer().ask(origin, head)
        self.settle()
        hosts = [dict(arrival.fields())[b"Host"] for arrival in self.arrivals()]
        expected = b"localhost" if self.url.startswith("unix:") else b"backend.example:3000"
        self.assertEqual(hosts, [expected, b"other.example:1"])


class UNIXOriginTests(TCPOriginTests):
    """
    The same over a UNIX socket.
    """

    url = "unix:/backend.sock"

    def listen(self, backend: HTTPBackend) -> None:
        self.network.listenUNIX("/backend.sock", backend)


class OriginURLTests(SynchronousTestCase):
    """
    What the URL of an origin says of its requests.
    """

    def test_base(self) -> None:
        """
        The path of the origin's URL comes before that of each target, but for C{*}; a query stays where it is.
        """
        for slash in ("", "/"):
            for target, expected in (
                (b"/", b"/base/"),
                (b"/a/b?c=/d", b"/base/a/b?c=/d"),
                (b"*", b"*"),
            ):
                network = MemoryNetwork()
                backend = HTTPBackend(network)
                network.listenTCP(3000, backend)
                origin = HTTPOrigin.fromURL(network, "http://a:3000/base" + slash)
                RecordingAnswer().ask(origin, requestHead(b"OPTIONS", target))
                network.pump()
                self.assertEqual(backend.arrivals[0].target, expected)

    def test_unreachable(self) -> None:
        """
        A server that cannot be reached fails the exchange with a code of its own, within a second.
        """
        network = MemoryNetwork()
        network.hosts["nowhere.example"] = None
        for url in ("http://127.0.0.1:1", "http://nowhere.example:3000", "unix:/nowhere.sock"):
            answer = RecordingAnswer()
            answer.ask(HTTPOrigin.fromURL(network, url), requestHead(b"POST", framing=1), b"a")
            network.advance(1)
            assert answer.fault is not None
            self.assertIs(answer.fault.code, ORIGIN_REFUSED)
