"""
Many idle agents in one process: C{python -m benchmarks.parker PORT --carrier C --agents N --links M} keeps M polls
parked, or M tunnels open, for each of N backends. It prints C{parked in S s} once all of them are, polls again
whenever a poll is answered, and ends when a link is lost. Like an agent, it sends a ping through each tunnel from which
nothing came for C{--ask S} seconds (0 is never), and answers pings.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import time
from argparse import ArgumentParser
from base64 import b64encode
from heapq import heappush, heapreplace
from typing import Protocol

from benchmarks.programs import raiseFileLimit
from invproxy.wire import websocket
from invproxy.wire.frames import HELLO, frame
from invproxy.wire.hello import Hello

_BEGINNING = 64
"""Links that begin at once."""

_PATIENCE = 30.0
"""Seconds in which another link must stand while some do not."""


class LinkLost(Exception):
    """
    A link did not come to stand, or was lost.
    """


class Link(Protocol):
    """
    A poll or a tunnel.

    @ivar isParked: whether it stands, as far as one can know.
    """

    @property
    def isParked(self) -> bool: ...

    def begin(self) -> bytes:
        """
        Say what to send first.
        """

    def receive(self, data: bytes) -> bytes:
        """
        Take what came, and say what to send.

        @raise LinkLost: if that is not what an agent expects.
        """

    def ask(self) -> bytes:
        """
        Say what to send after a time of silence.
        """


class Poll:
    """
    A poll that is made again and again. That it is parked is seen by nothing, as the answer takes half a minute.
    """

    __slots__ = ("_call", "isParked")

    def __init__(self, port: int, backend: str, slot: int) -> None:
        """
        @param port: that of the proxy.
        @param backend: whose poll it is.
        @param slot: which of its polls it is.
        """
        self._call = (
            f"GET /agent/pending HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Inverting-Proxy-Backend-ID: {backend}\r\n"
            "X-Inverting-Proxy-Features: interim, upgrade\r\nAuthorization: Bearer unused\r\n\r\n"
        ).encode("ascii")
        self.isParked = True

    def begin(self) -> bytes:
        return self._call

    def receive(self, data: bytes) -> bytes:
        # Such a small answer comes in one piece.
        if not data.startswith(b"HTTP/1.1 200 "):
            raise LinkLost(f"a poll was answered by {data[:80]!r}")
        return self._call

    def ask(self) -> bytes:
        return b""


class Tunnel:
    """
    A tunnel without any stream, which stands once the proxy has said hello.
    """

    __slots__ = ("_answers", "_call", "_decoder", "_head", "_hello", "isParked")

    def __init__(self, port: int, backend: str, slot: int) -> None:
        """
        @param port: that of the proxy.
        @param backend: whose tunnel it is.
        @param slot: which of its tunnels it is.
        """
        key = b64encode(os.urandom(16)).decode("ascii")
        self._call = (
            f"GET /agent/tunnel HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Inverting-Proxy-Backend-ID: {backend}\r\n"
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Protocol: invproxy.v1\r\nAuthorization: Bearer unused\r\n\r\n"
        ).encode("ascii")
        self._hello = Hello(node="parker", instance=backend, slot=slot)
        self._head: bytes | None = b""
        self._answers: list[bytes] = []
        self._decoder = websocket.MessageDecoder(self, masked=False)
        self.isParked = False

    def begin(self) -> bytes:
        return self._call

    def receive(self, data: bytes) -> bytes:
        if self._head is not None:
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return b""
            if not head.startswith(b"HTTP/1.1 101 "):
                raise LinkLost(f"a tunnel was answered by {head[:80]!r}")
            self._head = None
            self._call = b""
            self._answers.append(_message(frame(HELLO, 0, self._hello.encode())))
        self._decoder.feed(data)
        answers, self._answers = self._answers, []
        return b"".join(answers)

    def ask(self) -> bytes:
        return websocket.control(websocket.PING, b"?", os.urandom(4))

    def payloadReceived(self, data: bytes) -> None:
        # The first is the proxy's HELLO; of what may follow, an idle agent answers nothing.
        self.isParked = True

    def messageEnded(self) -> None:
        pass

    def pinged(self, payload: bytes) -> None:
        self._answers.append(websocket.control(websocket.PONG, payload, os.urandom(4)))

    def ponged(self, payload: bytes) -> None:
        pass

    def closed(self, code: int, reason: str) -> None:
        raise LinkLost(f"the proxy closed a tunnel: {code} {reason}")


def _message(payload: bytes) -> bytes:
    key = os.urandom(4)
    return websocket.binaryHeader(len(payload), key) + websocket.mask(payload, key)


LINKS: dict[str, type[Poll] | type[Tunnel]] = {"poll": Poll, "tunnel": Tunnel}


class CarPark:
    """
    All links.
    """

    def __init__(self, port: int, ask: float) -> None:
        """
        @param port: that of the proxy.
        @param ask: seconds of silence after which a link is asked whether it still stands; infinite for never.
        """
        self._port = port
        self._ask = ask
        self._selector = selectors.DefaultSelector()
        # When each link, by its file descriptor, may have been silent for so long: a heap.
        self._silences: list[tuple[float, int]] = []
        self._heard: dict[int, float] = {}

    def park(self, links: list[Link]) -> None:
        """
        Let links begin, some at once, until all of them stand.

        @raise LinkLost: if one does not come to stand.
        """
        waiting = links[::-1]
        beginning: set[Link] = set()
        latest = time.monotonic()
        while waiting or beginning:
            while waiting and len(beginning) < _BEGINNING:
                link = waiting.pop()
                connection = socket.create_connection(("127.0.0.1", self._port), timeout=10)
                connection.sendall(link.begin())
                connection.setblocking(False)
                self._selector.register(connection, selectors.EVENT_READ, link)
                now = time.monotonic()
                self._heard[connection.fileno()] = now
                heappush(self._silences, (now + self._ask, connection.fileno()))
                beginning.add(link)
            before = len(beginning)
            beginning = {link for link in beginning if not link.isParked}
            if len(beginning) < before:
                latest = time.monotonic()
            elif time.monotonic() - latest > _PATIENCE:
                raise LinkLost(
                    f"{before} links do not stand {_PATIENCE:.0f} s after the last that did"
                )
            else:
                self.serve(1.0)

    def serve(self, timeout: float) -> bool:
        """
        Answer what comes next, and ask where nothing comes.

        @param timeout: how many seconds to wait for it.
        @return: whether anything came.
        @raise LinkLost: if a link did not come to stand, or was lost.
        """
        if self._silences:
            timeout = min(timeout, max(0.0, self._silences[0][0] - time.monotonic()))
        ready = self._selector.select(timeout)
        for key, _ in ready:
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            data = connection.recv(1 << 16)
            if not data:
                raise LinkLost("the proxy closed a connection")
            self._heard[key.fd] = time.monotonic()
            connection.sendall(key.data.receive(data))
        self._askSilent()
        return bool(ready)

    def _askSilent(self) -> None:
        now = time.monotonic()
        while self._silences and self._silences[0][0] <= now:
            _, number = self._silences[0]
            due = self._heard[number] + self._ask
            if due <= now:
                key = self._selector.get_key(number)
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.sendall(key.data.ask())
                due = now + self._ask
            heapreplace(self._silences, (due, number))


def main() -> None:
    """
    Park until the end.
    """
    parser = ArgumentParser(prog="python -m benchmarks.parker")
    parser.add_argument("port", type=int)
    parser.add_argument("--carrier", choices=LINKS, required=True)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--links", type=int, default=1)
    parser.add_argument("--ask", type=float, default=5.0)
    options = parser.parse_args()
    raiseFileLimit()
    kind = LINKS[options.carrier]
    carPark = CarPark(options.port, options.ask or float("inf"))
    began = time.monotonic()
    links: list[Link] = [
        kind(options.port, f"idle-{number}", slot)
        for number in range(options.agents)
        for slot in range(options.links)
    ]
    try:
        carPark.park(links)
        print(f"parked in {time.monotonic() - began:.3f} s", flush=True)
        while True:
            carPark.serve(60.0)
    except (LinkLost, websocket.Violation, OSError) as error:
        sys.exit(f"parker: {error}")


if __name__ == "__main__":
    main()
