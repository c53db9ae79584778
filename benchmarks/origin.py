"""
An origin for what nginx cannot do: C{python -m benchmarks.origin [--interface ADDRESS]} prints C{origin ready: PORT},
and then answers

  - C{GET /1k}: 1 KiB;
  - C{GET /events?count=N&every=MS}: server-sent events, each with the L{time.monotonic_ns} of its sending;
  - C{GET /bytes?size=N&name=X}: a body of L{benchmarks.pattern};
  - C{PUT /digest?name=X}: length and hash of the body that came;
  - C{PUT /stuck?name=X}: never, as it does not read the body;
  - C{GET /count?name=X}: how many bytes of that body have been sent or read so far.
"""

from __future__ import annotations

import re
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from twisted.internet.interfaces import IAddress, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import LoopingCall
from twisted.internet.tcp import Connection as TCPConnection
from twisted.python.failure import Failure
from zope.interface import implementer

from benchmarks.pattern import Digest, pieces

_KIB = bytes(range(256)) * 4


@implementer(IPushProducer)
class Sending:
    """
    A body on its way out, no faster than the transport takes it.
    """

    def __init__(
        self, transport: TCPConnection, body: Iterator[bytes], sent: Callable[[int], None]
    ) -> None:
        """
        @param transport: where it goes.
        @param body: its pieces.
        @param sent: told how many bytes the transport has taken.
        """
        self._transport = transport
        self._body = body
        self._sent = sent
        self._going = False

    def begin(self) -> None:
        """
        Send the first pieces.
        """
        self._transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._going = True
        while self._going:
            piece = next(self._body, None)
            if piece is None:
                self._going = False
                self._transport.unregisterProducer()
                return
            self._transport.write(piece)
            self._sent(len(piece))

    def pauseProducing(self) -> None:
        self._going = False

    def stopProducing(self) -> None:
        self._going = False


class Conversation(Protocol):
    """
    A connection, one request after the other.
    """

    def __init__(self, clock: IReactorTime, counts: dict[str, int]) -> None:
        """
        @param clock: what tells the time.
        @param counts: how many bytes of each body have been sent or read.
        """
        self._clock = clock
        self._counts = counts
        self._buffer = b""
        self._left = 0
        self._digest: Digest | None = None
        self._name = ""
        self._events: LoopingCall | None = None

    def _transport(self) -> TCPConnection:
        return cast(TCPConnection, self.transport)

    def connectionMade(self) -> None:
        self._transport().setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        while data:
            data = self._body(data) if self._digest else self._head(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._events is not None and self._events.running:
            self._events.stop()

    def _head(self, data: bytes) -> bytes:
        """
        Read a head, and return what comes after it.
        """
        head, end, rest = (self._buffer + data).partition(b"\r\n\r\n")
        if not end:
            self._buffer = head
            return b""
        self._buffer = b""
        target = urlsplit(head.split(b" ", 2)[1].decode("ascii"))
        query = dict(parse_qsl(target.query))
        self._name = query.get("name", "")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if target.path == "/digest" and length is not None:
            self._left = int(length[1])
            self._digest = Digest()
        elif target.path == "/stuck":
            self._count(len(rest))
            self._transport().pauseProducing()
            return b""
        elif target.path == "/bytes":
            self._sendBytes(int(query["size"]))
        elif target.path == "/events":
            self._sendEvents(int(query["count"]), int(query["every"]) / 1000)
        elif target.path == "/count":
            self._answer(b"%d" % self._counts.get(self._name, 0))
        else:
            self._answer(_KIB)
        return rest

    def _count(self, size: int) -> None:
        self._counts[self._name] = self._counts.get(self._name, 0) + size

    def _body(self, data: bytes) -> bytes:
        """
        Read a part of a body, and return what comes after it.
        """
        assert self._digest is not None
        piece, rest = data[: self._left], data[self._left :]
        self._left -= len(piece)
        self._count(len(piece))
        self._digest.update(piece)
        if not self._left:
            self._answer(self._digest.text().encode("ascii"))
            self._digest = None
        return rest

    def _answer(self, body: bytes) -> None:
        self._transport().write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    def _sendBytes(self, size: int) -> None:
        self._transport().write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        Sending(self._transport(), pieces(size), self._count).begin()

    def _sendEvents(self, count: int, every: float) -> None:
        transport = self._transport()
        transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        left = count

        def send() -> None:
            nonlocal left
            if not left:
                transport.write(b"0\r\n\r\n")
                loop.stop()
                return
            left -= 1
            event = b"data: %d\n\n" % time.monotonic_ns()
            transport.write(b"%x\r\n%b\r\n" % (len(event), event))

        self._events = loop = LoopingCall(send)
        loop.clock = self._clock
        loop.start(every, now=True)


class Conversations(ServerFactory):
    """
    All connections.
    """

    noisy = False

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: what tells the time.
        """
        self._clock = clock
        self._counts: dict[str, int] = {}

    def buildProtocol(self, addr: IAddress | None) -> Conversation:
        return Conversation(self._clock, self._counts)


def main() -> None:
    """
    Listen on a free port until the end.
    """
    from twisted.internet import reactor

    parser = ArgumentParser(prog="python -m benchmarks.origin")
    parser.add_argument("--interface", default="127.0.0.1")
    interface = parser.parse_args().interface
    running = cast(Any, reactor)
    port = running.listenTCP(0, Conversations(running), 1024, interface)
    print(f"origin ready: {port.getHost().port}", flush=True)
    running.run()


if __name__ == "__main__":
    main()
