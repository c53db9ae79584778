"""
The frames of the tunnel: what runs inside the binary messages of its WebSocket. docs/tunnel.md describes them.

A frame is a header of ten bytes (length of the payload, number of the stream, type, flags) and its payload. Each
exchange is a stream, numbered by the proxy; number 0 is the tunnel itself.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

HELLO: Final = 0
REQUEST: Final = 1
RESPONSE: Final = 2
DATA: Final = 3
END: Final = 4
RESET: Final = 5
CREDIT: Final = 6
GOAWAY: Final = 7
"""
The types: who I am and what I take; the head of a request; the head of a response; bytes of a body; its end, with
trailers; the stream is over before its end; more may be sent; no new streams.
"""

LAST: Final = 1
"""The flag that says: nothing more comes in this direction of the stream."""

OVERHEAD: Final = 10
"""Bytes of a header."""

MOST_STREAMS: Final = 0x7FFFFFFF
"""The highest number of a stream; a tunnel that has come so far is replaced."""

MOST_CREDIT: Final = 0x7FFFFFFF
"""The most bytes that may be sent on a stream at a time."""

_header: Final = Struct(">IIBB")
_unpack: Final = _header.unpack_from
_number: Final = Struct(">I")
_prefix: Final = Struct(">H")

header: Final = _header.pack
"""Write a header: length of the payload in bytes, stream, type, flags."""


class FrameError(Exception):
    """
    The peer broke the protocol of the tunnel; the text says how.
    """


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """
    Write a frame.

    @param kind: its type.
    @param stream: the number of the stream.
    """
    return header(len(payload), stream, kind, flags) + payload


def requestFrame(stream: int, outer: bytes, head: bytes, flags: int = 0) -> bytes:
    """
    Write a REQUEST.

    @param outer: a block of fields about the exchange.
    @param head: the head of the request in the wire form of HTTP/1.1.
    """
    size = len(outer)
    return b"%b%b%b%b" % (
        header(2 + size + len(head), stream, REQUEST, flags),
        _prefix.pack(size),
        outer,
        head,
    )


def parseRequestPayload(payload: bytes) -> tuple[bytes, bytes]:
    """
    Read the payload of a REQUEST.

    @return: the block of fields about the exchange, and the head of the request.
    @raise FrameError: if it is none.
    """
    if len(payload) >= 2:
        end = 2 + (payload[0] << 8 | payload[1])
        if end <= len(payload):
            return payload[2:end], payload[end:]
    raise FrameError("a REQUEST that is too short for its own parts")


def numberFrame(kind: int, stream: int, number: int, rest: bytes = b"") -> bytes:
    """
    Write a CREDIT, whose payload is a number of bytes, or a GOAWAY: a number of a stream, and the reason as text.
    """
    return frame(kind, stream, _number.pack(number) + rest)


def parseNumber(payload: bytes) -> int:
    """
    Read the number at the start of the payload of a CREDIT or GOAWAY.

    @raise FrameError: if it is too short.
    """
    if len(payload) < 4:
        raise FrameError("a CREDIT or GOAWAY without its number")
    number: int = _number.unpack_from(payload)[0]
    return number


def linesOf(trailers: bytes) -> bytes:
    """
    Write the payload of an END: trailers in wire form, each line followed by CRLF.

    @param trailers: a block of trailer fields.
    """
    return trailers[2:] + b"\r\n" if trailers else b""


def trailersOf(payload: bytes) -> bytes:
    """
    Read the payload of an END.

    @return: a block of trailer fields, which is still to be checked.
    @raise FrameError: if its last line has no end.
    """
    if not payload:
        return b""
    if not payload.endswith(b"\r\n"):
        raise FrameError("an END whose last line has no end")
    return b"\r\n" + payload[:-2]


class FrameReader:
    """
    Takes bytes and tells of frames. The payload of DATA is passed on as it comes, in any number of pieces of which the
    last has the flags; that of all other types when it is whole.
    """

    def __init__(self, received: Callable[[int, int, int, bytes], None], limit: int) -> None:
        """
        @param received: called with the type, the stream, the flags and the payload of each frame, or piece of DATA.
        @param limit: how many bytes the payload may have, but for DATA.
        """
        self._received = received
        self._limit = limit
        self._held: list[bytes] = []
        self._heldSize = 0
        self._needed = OVERHEAD
        # Of a DATA frame whose payload has not come to its end:
        self._left = 0
        self._stream = 0
        self._flags = 0

    def feed(self, data: bytes) -> None:
        """
        Take more bytes.

        @raise FrameError: if they break the protocol; nothing more may be fed then.
        """
        if self._held:
            self._held.append(data)
            self._heldSize += len(data)
            if self._heldSize < self._needed:
                return
            data = b"".join(self._held)
            self._held = []
        received = self._received
        at = 0
        size = len(data)
        if self._left:
            at = min(self._left, size)
            self._left -= at
            received(DATA, self._stream, 0 if self._left else self._flags, data[:at])
        while size - at >= OVERHEAD:
            parts: tuple[int, int, int, int] = _unpack(data, at)
            length, stream, kind, flags = parts
            end = at + OVERHEAD + length
            if end <= size:
                if length > self._limit and kind != DATA:
                    raise self._tooLong(length)
                received(kind, stream, flags, data[at + OVERHEAD : end])
                at = end
            elif kind == DATA:
                self._left = end - size
                self._stream = stream
                self._flags = flags
                if size - at > OVERHEAD:
                    received(DATA, stream, 0, data[at + OVERHEAD :])
                return
            else:
                if length > self._limit:
                    raise self._tooLong(length)
                self._hold(data[at:], OVERHEAD + length)
                return
        if at < size:
            self._hold(data[at:], OVERHEAD)

    def _hold(self, data: bytes, needed: int) -> None:
        self._held = [data]
        self._heldSize = len(data)
        self._needed = needed

    def _tooLong(self, length: int) -> FrameError:
        return FrameError(f"a frame of {length} bytes, where {self._limit} are allowed")

    def atBoundary(self) -> bool:
        """
        Say whether the bytes so far end with a frame.
        """
        return not (self._held or self._left)
