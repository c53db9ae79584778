"""
A client that moves one long body and looks at each byte, or only at how fast they come.
"""

from __future__ import annotations

import re
import socket
import time

from attrs import frozen

from benchmarks.pattern import Digest, pieces
from benchmarks.programs import BenchmarkError
from benchmarks.ways import Way

_PATIENCE = 60.0
"""Seconds in which something must come."""


@frozen
class Moved:
    """
    What became of a body.

    @ivar size: how many bytes of it arrived.
    @ivar seconds: how long that took.
    @ivar digest: what arrived, or an empty string when time was up before the end.
    """

    size: int
    seconds: float
    digest: str

    @property
    def rate(self) -> float:
        """
        Megabytes a second.
        """
        return self.size / self.seconds / 1e6


def connect(way: Way, head: str, *, window: int = 0) -> socket.socket:
    """
    Send the head of a request.

    @param head: the head, without Host and the end.
    @param window: bytes for the kernel to keep for a reader that does not come; 0 is what it likes.
    """
    connection = socket.socket()
    connection.settimeout(_PATIENCE)
    if window:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.connect((way.host, way.port))
    connection.sendall(f"{head}\r\nHost: localhost\r\n\r\n".encode("ascii"))
    return connection


def readHead(connection: socket.socket) -> tuple[int, bytes]:
    """
    Read the head of an answer.

    @return: its Content-Length, and what came of the body with it.
    @raise BenchmarkError: if it is not 200 with a Content-Length.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(1 << 16)
        if not piece:
            break
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if not head.startswith(b"HTTP/1.1 200 ") or length is None:
        raise BenchmarkError(f"not 200 with a Content-Length: {head[:80]!r}")
    return int(length[1]), rest


def download(way: Way, size: int, seconds: float = float("inf")) -> Moved:
    """
    Fetch a body from L{benchmarks.origin}.

    @param size: how many bytes it has.
    @param seconds: when to stop before its end.
    """
    digest = Digest()
    buffer = memoryview(bytearray(1 << 18))
    began = time.perf_counter()
    with connect(way, f"GET /bytes?size={size}&name=down HTTP/1.1") as connection:
        length, rest = readHead(connection)
        digest.update(rest)
        while digest.size < length:
            if time.perf_counter() - began > seconds:
                return Moved(digest.size, time.perf_counter() - began, "")
            count = connection.recv_into(buffer)
            if not count:
                break
            digest.update(buffer[:count])
    return Moved(digest.size, time.perf_counter() - began, digest.text())


def upload(way: Way, direct: Way, size: int, seconds: float = float("inf")) -> Moved:
    """
    Send a body to L{benchmarks.origin}.

    @param direct: the origin itself, which knows how much arrived when time was up.
    @param size: how many bytes it has.
    @param seconds: when to stop before its end.
    """
    name = f"up-{time.monotonic_ns()}"
    head = f"PUT /digest?name={name} HTTP/1.1\r\nContent-Length: {size}"
    began = time.perf_counter()
    with connect(way, head) as connection:
        for piece in pieces(size):
            connection.sendall(piece)
            if time.perf_counter() - began > seconds:
                return Moved(counted(direct, name), time.perf_counter() - began, "")
        length, rest = readHead(connection)
        while len(rest) < length:
            piece = connection.recv(1 << 16)
            if not piece:
                break
            rest += piece
    return Moved(size, time.perf_counter() - began, rest.decode("ascii"))


def counted(direct: Way, name: str) -> int:
    """
    Ask L{benchmarks.origin} how much of a body it has sent or read.

    @param direct: the origin itself.
    """
    with connect(direct, f"GET /count?name={name} HTTP/1.1") as connection:
        _, rest = readHead(connection)
    return int(rest)
