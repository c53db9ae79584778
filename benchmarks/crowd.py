"""
A crowd of slow and greedy clients.

C{python -m benchmarks.crowd PORT --kind KIND --count N} lets them come, says how long that took and how many of them
the proxy has closed, and goes on as they do until it is ended.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from argparse import ArgumentParser

from attrs import define, frozen

from benchmarks.programs import raiseFileLimit
from benchmarks.ways import BACKEND

_HOST = f"Host: a\r\nX-Inverting-Proxy-Backend: {BACKEND}\r\n".encode()
_EVERY = 1.0


@frozen
class Kind:
    """
    What clients of a kind do.

    @ivar first: what each sends at once.
    @ivar then: what each sends every second.
    @ivar sips: whether each reads a byte every second, and no more; else it reads all that comes.
    """

    first: bytes = b""
    then: bytes = b""
    sips: bool = False


KINDS = {
    "silent": Kind(),
    "idle": Kind(b"GET /1k HTTP/1.1\r\n" + _HOST + b"\r\n"),
    "heads": Kind(b"GET /1k HTTP/1.1\r\n" + _HOST + b"X: " + b"a" * 8192, b"a"),
    "bodies": Kind(b"PUT /up HTTP/1.1\r\n" + _HOST + b"Content-Length: 1000000\r\n\r\n", b"a"),
    "readers": Kind(b"GET /10m HTTP/1.1\r\n" + _HOST + b"\r\n", sips=True),
}
"""The kinds of clients."""


@define(eq=False)
class _Client:
    connection: socket.socket
    isOpen: bool = True

    def send(self, data: bytes) -> None:
        """
        Send something, if it is taken.
        """
        try:
            self.connection.send(data)
        except BlockingIOError:
            pass
        except OSError:
            self.isOpen = False

    def read(self, most: int) -> None:
        """
        Read some of what has come.
        """
        try:
            self.isOpen = bool(self.connection.recv(most))
        except BlockingIOError:
            pass
        except OSError:
            self.isOpen = False

    def sip(self) -> None:
        """
        Read a byte. What has come before a reset is still there to be read, for hours at this pace, so that alone would
        not tell that the connection is gone.
        """
        self.read(1)
        if self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.isOpen = False


def main() -> None:
    """
    Be the crowd.
    """
    parser = ArgumentParser(prog="python -m benchmarks.crowd")
    parser.add_argument("port", type=int)
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    raiseFileLimit()
    kind = KINDS[options.kind]
    began = time.monotonic()
    clients = []
    for _ in range(options.count):
        connection = socket.socket()
        if kind.sips:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        try:
            connection.connect(("127.0.0.1", options.port))
            connection.sendall(kind.first)
        except OSError as error:
            sys.exit(f"crowd: {error}")
        connection.setblocking(False)
        clients.append(_Client(connection))
    print(f"{options.count} came in {time.monotonic() - began:.3f} s", flush=True)
    selector = selectors.DefaultSelector()
    for client in clients:
        if not kind.sips:
            selector.register(client.connection, selectors.EVENT_READ, client)
    told = -1
    while True:
        until = time.monotonic() + _EVERY
        while (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                client = key.data
                client.read(65536)
                if not client.isOpen:
                    selector.unregister(client.connection)
        for client in clients:
            if client.isOpen and kind.then:
                client.send(kind.then)
            if client.isOpen and kind.sips:
                client.sip()
        closed = sum(not client.isOpen for client in clients)
        if closed != told:
            told = closed
            print(f"{closed} closed", flush=True)


if __name__ == "__main__":
    main()
