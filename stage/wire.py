"""
A connection that keeps what came in its order, up to and including how it ended.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import cast

_MOST_HEAD = 65536
_MOST_KEPT = 4 * _MOST_HEAD
"""Bytes that may wait to be read; with more, nothing is taken from the kernel."""


class Ended(Exception):
    """
    The peer sends no more.

    @ivar reset: whether the connection broke, rather than having been closed in good order.
    """

    def __init__(self, *, reset: bool) -> None:
        super().__init__("reset" if reset else "closed")
        self.reset = reset


class Nonsense(Exception):
    """
    What came is not HTTP/1.1.
    """


def resetOnClose(transport: asyncio.BaseTransport) -> None:
    """
    Have a connection end by a reset.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Wire(asyncio.Protocol):
    """
    One connection, of a client or of an origin.

    asyncio's own streams forget what had come when a connection breaks; here it is read first.
    """

    def __init__(self, accepted: Callable[[Wire], None] | None = None) -> None:
        """
        @param accepted: called with it when it stands.
        """
        self._accepted = accepted
        self._buffer = bytearray()
        self._end: Ended | None = None
        self._isLost = False
        self._waiting: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def to(cls, port: int) -> Wire:
        """
        Connect to a port of this machine.
        """
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(cls, "127.0.0.1", port)
        return wire

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._accepted is not None:
            self._accepted(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > _MOST_KEPT:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._end = self._end or Ended(reset=False)
        self._wake()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._isLost = True
        self._end = self._end or Ended(reset=error is not None)
        self._writable.set()
        self._wake()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # Reading.

    async def _more(self) -> None:
        if self._end is not None:
            raise Ended(reset=self._end.reset)
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    async def readUntil(self, end: bytes) -> bytes:
        """
        Read up to a mark.

        @return: what stands before it.
        @raise Ended: if the connection ends first.
        @raise Nonsense: if it does not come.
        """
        begin = 0
        while (at := self._buffer.find(end, begin)) < 0:
            if len(self._buffer) > _MOST_HEAD:
                raise Nonsense(f"no {end!r} in {bytes(self._buffer[:200])!r}...")
            begin = max(0, len(self._buffer) - len(end))
            await self._more()
        found = bytes(self._buffer[:at])
        self._take(at + len(end))
        return found

    async def readSome(self, most: int) -> bytes:
        """
        Read what there is, at least a byte.

        @raise Ended: if there is none any more.
        """
        while not self._buffer:
            await self._more()
        found = bytes(self._buffer[:most])
        self._take(most)
        return found

    def _take(self, size: int) -> None:
        del self._buffer[:size]
        if len(self._buffer) <= _MOST_KEPT:
            self._transport.resume_reading()

    def buffered(self) -> bytes:
        """
        What has come, and was not read.
        """
        return bytes(self._buffer)

    def isOver(self) -> bool:
        """
        Say whether the peer sends no more.
        """
        return self._end is not None

    async def quiet(self, seconds: float) -> bytes:
        """
        Wait for a while, or until the peer says something or leaves.

        @return: what it said, which is left to be read.
        """
        try:
            async with asyncio.timeout(seconds):
                while not self._buffer:
                    await self._more()
        except (TimeoutError, Ended):
            pass
        return self.buffered()

    # Writing.

    async def send(self, data: bytes) -> None:
        """
        Send something, and wait until there is room for more.

        @raise Ended: if the connection is lost.
        """
        if self._isLost or self._transport.is_closing():
            raise Ended(reset=True)
        self._transport.write(data)
        await self._writable.wait()

    async def sendAll(self) -> None:
        """
        Wait until the kernel has everything that was sent.
        """
        self._transport.set_write_buffer_limits(0)
        await self._writable.wait()

    def close(self) -> None:
        """
        Close in good order.
        """
        self._transport.close()

    def reset(self) -> None:
        """
        Break it.
        """
        resetOnClose(self._transport)
        self._transport.abort()
