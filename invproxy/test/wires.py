"""
Raw sockets for the integration tests: what is written is exactly what is sent, and what is read is exactly what came.
"""

from __future__ import annotations

import atexit
import os
import select
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from invproxy.test.programs import DEADLINE

Result = TypeVar("Result")


def socketPath() -> str:
    """
    A path for a UNIX socket: short, as these have to be, and gone when the tests have ended.
    """
    place = tempfile.mkdtemp(prefix="invproxy-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return os.path.join(place, "socket")


class Wire:
    """
    One end of a connection.

    @ivar socket: the socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        """
        @param connection: the socket.
        """
        self.socket = connection
        self._read = b""
        connection.settimeout(DEADLINE)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def to(cls, port: int) -> Wire:
        """
        Connect to a port of this machine.
        """
        return cls(socket.create_connection(("127.0.0.1", port), DEADLINE))

    def send(self, data: bytes) -> None:
        """
        Send bytes.
        """
        self.socket.sendall(data)

    def sendWhileTaken(self, piece: bytes, most: int) -> int:
        """
        Send bytes for as long as the other side takes them; that it does not is when it takes none for a second.

        @param piece: what to send, again and again.
        @param most: how many bytes to send at the most.
        @return: how many were sent.
        """
        sent = 0
        while sent < most and select.select([], [self.socket], [], 1.0)[1]:
            sent += self.socket.send(piece[: most - sent], socket.MSG_DONTWAIT)
        return sent

    def _more(self) -> None:
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise AssertionError(f"nothing more in {DEADLINE:g} s after {self._read!r}") from None
        if not data:
            raise EOFError(self._read)
        self._read += data

    def readUntil(self, marker: bytes) -> bytes:
        """
        Read up to and with a marker.

        @raise EOFError: if the connection ends before it.
        """
        begin = 0
        while (found := self._read.find(marker, begin)) < 0:
            begin = max(0, len(self._read) - len(marker))
            self._more()
        end = found + len(marker)
        data, self._read = self._read[:end], self._read[end:]
        return data

    def readHead(self) -> bytes:
        """
        Read a head, with the empty line at its end.
        """
        return self.readUntil(b"\r\n\r\n")

    def readExactly(self, size: int) -> bytes:
        """
        Read a number of bytes.

        @raise EOFError: if the connection ends before it.
        """
        pieces = [self._read]
        have = len(self._read)
        while have < size:
            self._read = b""
            self._more()
            pieces.append(self._read)
            have += len(self._read)
        whole = b"".join(pieces)
        self._read = whole[size:]
        return whole[:size]

    def readChunk(self) -> bytes:
        """
        Read one chunk of a chunked body; the last is empty, and what follows it is not read.
        """
        size = int(self.readUntil(b"\r\n"), 16)
        if not size:
            return b""
        data = self.readExactly(size + 2)
        assert data.endswith(b"\r\n"), data[-10:]
        return data[:-2]

    def readChunked(self) -> tuple[bytes, bytes]:
        """
        Read a chunked body to its end.

        @return: the body, and the lines of its trailers.
        """
        body = b"".join(iter(self.readChunk, b""))
        trailers = b""
        while (line := self.readUntil(b"\r\n")) != b"\r\n":
            trailers += line
        return body, trailers

    def readMessage(self) -> tuple[bytes, bytes, bytes]:
        """
        Read a request, or a response that has a framed body.

        @return: head, body and lines of trailers.
        """
        head = self.readHead()
        framing = {name.lower(): value for name, value in fieldsOf(head)}
        if framing.get(b"transfer-encoding") == b"chunked":
            return head, *self.readChunked()
        return head, self.readExactly(int(framing.get(b"content-length", b"0"))), b""

    def readToEnd(self) -> bytes:
        """
        Read until the other side ends writing.

        @raise ConnectionResetError: if it resets the connection instead.
        """
        pieces = [self._read]
        self._read = b""
        while True:
            try:
                self._more()
            except EOFError:
                return b"".join(pieces)
            pieces.append(self._read)
            self._read = b""

    def waitLost(self) -> None:
        """
        Wait until the other side has ended or reset the connection, whatever it sends before.
        """
        with suppress(ConnectionError):
            self.readToEnd()

    def hasMore(self, seconds: float = 0.0) -> bool:
        """
        Say whether there is anything to read, be it the end.
        """
        return bool(self._read or select.select([self.socket], [], [], seconds)[0])

    def endWriting(self) -> None:
        """
        End the own direction alone.
        """
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """
        Close the connection in good order.
        """
        self.socket.close()

    def reset(self) -> None:
        """
        Break the connection: the other side sees a reset.
        """
        if self.socket.family != socket.AF_UNIX:
            linger = struct.pack("ii", 1, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()


class Flood:
    """
    Connections that say nothing.

    @ivar standing: those that have come about, and may have been closed since.
    """

    def __init__(self, port: int, count: int) -> None:
        """
        Connect to a port of this machine.

        @param count: how many times.
        @raise ConnectionRefusedError: if nobody listens.
        """
        self.standing: list[socket.socket] = []
        self._turnedAway = 0
        for _ in range(count):
            try:
                connection = socket.create_connection(("127.0.0.1", port), DEADLINE)
            except (ConnectionResetError, ConnectionAbortedError):
                # It was accepted and closed before connect() has returned.
                self._turnedAway += 1
                continue
            connection.setblocking(False)
            self.standing.append(connection)

    def countClosed(self) -> int:
        """
        Count those that the other side has closed, be it while they came about.
        """
        closed = self._turnedAway
        for connection in self.standing:
            try:
                closed += connection.recv(1) == b""
            except BlockingIOError:
                pass
            except ConnectionError:
                closed += 1
        return closed

    def close(self) -> None:
        """
        Close all of them.
        """
        for connection in self.standing:
            connection.close()


class Unchunked(Wire):
    """
    The chunked body of a message, to be read as if it had come by itself.
    """

    def __init__(self, outer: Wire) -> None:
        """
        @param outer: where the message comes, its head already read.
        """
        self.socket = outer.socket
        self._outer = outer
        self._read = b""

    def _more(self) -> None:
        data = self._outer.readChunk()
        if not data:
            raise EOFError(self._read)
        self._read += data


class Listener:
    """
    A server of raw sockets: the test itself says what it does with each request.

    @ivar url: what an agent calls it.
    @ivar port: the port, for TCP.
    """

    def __init__(self, path: str | None = None, port: int = 0) -> None:
        """
        @param path: of a UNIX socket to listen on, instead of a TCP port.
        @param port: the TCP port; 0 is any free one.
        """
        self.port = 0
        if path is None:
            self._socket = socket.create_server(("127.0.0.1", port), backlog=256)
            self.port = self._socket.getsockname()[1]
            self.url = f"http://127.0.0.1:{self.port}"
        else:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(path)
            self._socket.listen(256)
            self.url = f"unix:{path}"
        self._idle: list[Wire] = []

    def accept(self) -> Wire:
        """
        Take the next connection.
        """
        if not select.select([self._socket], [], [], DEADLINE)[0]:
            raise AssertionError(f"no connection in {DEADLINE:g} s")
        return Wire(self._socket.accept()[0])

    def next(self) -> Wire:
        """
        Take the connection on which the next request comes: a new one, or one that was given back by L{keep}.
        """
        while True:
            sockets = [self._socket, *(wire.socket for wire in self._idle)]
            ready = select.select(sockets, [], [], DEADLINE)[0]
            if not ready:
                raise AssertionError(f"no request in {DEADLINE:g} s")
            for wire in list(self._idle):
                if wire.socket not in ready:
                    continue
                self._idle.remove(wire)
                try:
                    if wire.socket.recv(1, socket.MSG_PEEK):
                        return wire
                except ConnectionError:
                    pass
                wire.close()
            if self._socket in ready:
                return Wire(self._socket.accept()[0])

    def keep(self, wire: Wire) -> None:
        """
        Give back a connection that can carry another request.
        """
        self._idle.append(wire)

    def hasRequest(self, seconds: float = 0.0) -> bool:
        """
        Say whether a connection waits to be accepted.
        """
        return bool(select.select([self._socket], [], [], seconds)[0])

    def clear(self) -> None:
        """
        Forget all connections, those that wait as well.
        """
        for wire in self._idle:
            wire.close()
        self._idle.clear()
        while self.hasRequest():
            self._socket.accept()[0].close()

    def close(self) -> None:
        """
        Stop listening.
        """
        if self._socket.fileno() >= 0:
            self.clear()
            self._socket.close()


class Aside:
    """
    A call in a thread, with its result.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        """
        @param call: what to call.
        """
        self._error: BaseException | None = None
        self._result: object = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:
            self._error = error

    def result(self) -> object:
        """
        Wait for the call to end.

        @return: what it returned.
        @raise BaseException: what it raised.
        """
        self._thread.join(DEADLINE)
        if self._thread.is_alive():
            raise AssertionError(f"a call in a thread took more than {DEADLINE:g} s")
        if self._error is not None:
            raise self._error
        return self._result


def fieldsOf(head: bytes) -> list[tuple[bytes, bytes]]:
    """
    The field lines of a head, in order, as they stand.
    """
    lines = head.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [
        (name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)
    ]


def firstLine(head: bytes) -> bytes:
    """
    The first line of a head.
    """
    return head.partition(b"\r\n")[0]
