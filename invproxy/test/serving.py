"""
A streaming server on a network in memory, with an origin that the test plays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from invproxy.errors import Code, Fault
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import RequestHead, ResponseHead, responseHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.readers import ResponseReader
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.server import StreamingSite
from invproxy.server.channel import Channel
from invproxy.server.stream import ServerStream
from invproxy.test.messages import Taker
from invproxy.testing import MemoryNetwork
from invproxy.testing.client import MemoryClient

PORT = 8080

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

SWITCHING = ResponseHead(101, b" Switching Protocols", upgrade=b"echo")

OPEN_ENDED = responseHead(200, b"OK")
"""The head of a response whose length is not known."""


def ok(length: int) -> ResponseHead:
    """
    Make the head of a response of known length.
    """
    return responseHead(200, b"OK", length=length)


def post(length: int, *fields: bytes, target: bytes = b"/") -> bytes:
    """
    Write the head of a request with a body.

    @param length: of the body, or L{CHUNKED}.
    @param fields: further field lines.
    """
    framing = b"Transfer-Encoding: chunked" if length == CHUNKED else b"Content-Length: %d" % length
    lines = [b"POST %b HTTP/1.1" % target, b"Host: a", framing, *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@implementer(IUpload)
class Played:
    """
    One request as the origin sees it, and its answer, which the test gives.

    @ivar head: the head of the request.
    @ivar answer: where the answer goes.
    @ivar body: what has come of the body.
    @ivar trailers: one block for each C{finish}.
    @ivar faults: one for each C{abort}.
    @ivar held: whether the answer shall be held back.
    @ivar onWrite: called with each piece of the body.
    @ivar onFinish: called at the end of the request.
    """

    def __init__(self, head: RequestHead, answer: IAnswer) -> None:
        self.head = head
        self.answer = answer
        self.body = bytearray()
        self.trailers: list[bytes] = []
        self.faults: list[Fault] = []
        self.held = False
        self.onWrite: Callable[[bytes], None] = lambda data: None
        self.onFinish: Callable[[], None] = lambda: None

    @property
    def codes(self) -> list[Code]:
        """
        Why it was aborted, each time.
        """
        return [fault.code for fault in self.faults]

    def reply(self, body: bytes = b"") -> None:
        """
        Answer with 200.
        """
        self.answer.respond(ok(len(body)))
        self.answer.write(body)
        self.answer.finish()

    def write(self, data: bytes) -> None:
        assert data, "an empty piece"
        self.body += data
        self.onWrite(data)

    def finish(self, trailers: bytes = b"") -> None:
        self.trailers.append(trailers)
        self.onFinish()

    def abort(self, fault: Fault) -> None:
        self.faults.append(fault)

    def pauseAnswer(self) -> None:
        self.held = True

    def resumeAnswer(self) -> None:
        self.held = False


@implementer(IOrigin)
class PlayedOrigin:
    """
    An origin that takes requests down.

    @ivar played: each request, oldest first.
    @ivar onOpen: called with each as it comes.
    """

    def __init__(self) -> None:
        self.played: list[Played] = []
        self.onOpen: Callable[[Played], None] = lambda played: None

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        played = Played(head, answer)
        self.played.append(played)
        self.onOpen(played)
        return played


def responses(data: bytes, *methods: bytes) -> list[Taker]:
    """
    Read what a client received: whole responses, and nothing else.

    @param methods: of the requests that were answered, so far as they were not GET.
    """
    found = []
    asked = list(methods)
    at = 0
    while at < len(data):
        taker = Taker()
        head = RequestHead(asked.pop(0) if asked else b"GET", b"/")
        reader = ResponseReader(DEFAULT_LIMITS, head, taker)
        while not reader.ended and at < len(data):
            reader.feed(data[at : at + 4096])
            at += 4096
        assert reader.eof(), data
        at = min(at, len(data)) - len(reader.rest)
        found.append(taker)
    return found


def statuses(data: bytes, *methods: bytes) -> list[int]:
    """
    Read the status of each response.
    """
    return [taker.head.status for taker in responses(data, *methods)]  # type: ignore[union-attr]


class ServerTestCase(SynchronousTestCase):
    """
    A server whose origin is the test.

    @ivar network: where all happens.
    @ivar origin: the origin.
    @ivar ended: the streams whose answers have ended.
    """

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.origin = PlayedOrigin()
        self.ended: list[ServerStream] = []
        self.site = self.serve()

    def serve(self, port: int = PORT, **options: Any) -> StreamingSite:
        """
        Start a server.
        """
        site = StreamingSite(self.origin, self.network, streamEnded=self.ended.append, **options)
        self.network.listenTCP(port, site)
        self.site = site
        return site

    def connect(self, data: bytes = b"", port: int = PORT) -> MemoryClient:
        """
        Connect a client, and let it send something.
        """
        client = self.network.client("a", port)
        client.send(data)
        self.network.pump()
        return client

    def ask(self, data: bytes = GET, port: int = PORT) -> tuple[MemoryClient, Played]:
        """
        Connect a client that sends one request, as far as given.
        """
        count = len(self.origin.played)
        client = self.connect(data, port)
        self.assertEqual(len(self.origin.played), count + 1)
        return client, self.origin.played[-1]

    def send(self, client: MemoryClient, data: bytes) -> None:
        """
        Let a client send something.
        """
        client.send(data)
        self.network.pump()

    def channel(self) -> Channel:
        """
        Find the only connection.
        """
        (channel,) = self.site._channels
        return channel

    def assertClosed(self, client: MemoryClient) -> None:
        """
        The server has closed the connection in order, and forgotten it.
        """
        self.assertTrue(client.ended or client.closed)
        if client.closed is None:
            client.close()
            self.network.pump()
        self.assertEqual(self.network.connections, [])
        self.assertGone()

    def assertGone(self) -> None:
        """
        The server knows of no connection.
        """
        self.assertEqual(self.site._channels, set())
        self.assertEqual(self.site.clients, 0)
