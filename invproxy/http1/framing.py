"""
Body framing (RFC 9112, sections 6 and 7): where a body ends, and how one is written.

A decoder takes bytes as they come and passes on those of the body: C{decode(data, write)} returns L{None} while the
body goes on, and the bytes behind it once it has ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol

from invproxy.errors import BAD_REQUEST, NOT_IMPLEMENTED, Fault
from invproxy.http1.fields import FIELD_LINES, TOKEN, elements, items
from invproxy.http1.limits import Limits

CHUNKED: Final = -1
"""The framing of a body that comes in chunks; a length of 0 or more stands for itself."""

UNTIL_CLOSE: Final = -2
"""The framing of a response body that ends with its connection."""

Write = Callable[[bytes], None]

_QUOTED: Final = rb'"(?>(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*)"'
_EXTENSION: Final = rb";" + TOKEN + rb"++(?:=(?:" + TOKEN + rb"++|" + _QUOTED + rb"))?"
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?>(?:" + _EXTENSION + rb")*)").fullmatch
_isTrailers: Final = re.compile(FIELD_LINES).fullmatch

_NO_TRAILER: Final = frozenset(
    (
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"host",
        b"keep-alive",
        b"max-forwards",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Fields that change framing, routing, authentication or how the content is read (RFC 9110, section 6.5.1)."""


class BodyDecoder(Protocol):
    """
    Finds the end of one body.

    @ivar trailers: the block of trailer fields, once the body has ended.
    """

    trailers: bytes

    def decode(self, data: bytes, write: Write) -> bytes | None:
        """
        Take more bytes.

        @param data: what came.
        @param write: called with each piece of the body, never an empty one (which would end a body in chunks).
        @return: L{None} if the body goes on, else the bytes behind its end.
        @raise Fault: (bad-request) if the framing is broken.
        """

    def atEnd(self) -> bool:
        """
        Say whether the body is whole if no more bytes come.
        """


class LengthDecoder:
    """
    A body of known length.
    """

    __slots__ = ("_left",)
    trailers = b""

    def __init__(self, length: int) -> None:
        self._left = length

    def decode(self, data: bytes, write: Write) -> bytes | None:
        left = self._left
        size = len(data)
        if size < left:
            if data:
                self._left = left - size
                write(data)
            return None
        self._left = 0
        if size == left:
            if data:
                write(data)
            return b""
        if left:
            write(data[:left])
        return data[left:]

    def atEnd(self) -> bool:
        return self._left == 0


class UntilCloseDecoder:
    """
    A response body that ends with its connection.
    """

    __slots__ = ()
    trailers = b""

    def decode(self, data: bytes, write: Write) -> bytes | None:
        if data:
            write(data)
        return None

    def atEnd(self) -> bool:
        return True


_SIZE: Final = 0
_DATA: Final = 1
_DATA_END: Final = 2
_TRAILERS: Final = 3
_ENDED: Final = 4
"""Where a L{ChunkedDecoder} is."""


class ChunkedDecoder:
    """
    A body in chunks (RFC 9112, section 7.1), strictly: CRLF alone ends a line, sizes have at most 15 digits, extensions
    follow their grammar, and trailers hold nothing that would change how the message is understood.
    """

    __slots__ = ("_held", "_left", "_limits", "_state", "trailers")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = b""
        self._left = 0
        self._state = _SIZE
        self.trailers = b""

    def decode(self, data: bytes, write: Write) -> bytes | None:
        if self._held:
            data = self._held + data
            self._held = b""
        at = 0
        size = len(data)
        while True:
            if self._state == _DATA:
                left = self._left
                if size - at < left:
                    if at < size:
                        self._left = left - (size - at)
                        write(data[at:] if at else data)
                    return None
                write(data[at : at + left])
                at += left
                self._state = _DATA_END
            if self._state == _DATA_END:
                if size - at < 2:
                    if at < size and data[at] != 13:
                        raise Fault(BAD_REQUEST, "a chunk does not end where its size says")
                    self._held = data[at:]
                    return None
                if data[at : at + 2] != b"\r\n":
                    raise Fault(BAD_REQUEST, "a chunk does not end where its size says")
                at += 2
                self._state = _SIZE
            if self._state == _SIZE:
                end = data.find(b"\r\n", at, at + self._limits.chunkLine)
                if end < 0:
                    self._hold(data, at, self._limits.chunkLine, "chunk size line")
                    return None
                matched = _CHUNK_LINE(data, at, end)
                if matched is None:
                    raise Fault(BAD_REQUEST, f"chunk size line {data[at:end][:40]!r}")
                at = end + 2
                self._left = int(matched[1], 16)
                if self._left:
                    self._state = _DATA
                    continue
                self._state = _TRAILERS
                at -= 2  # a section of trailers starts, like a block, with the CRLF before its first line
            end = data.find(b"\r\n\r\n", at, at + self._limits.trailers)
            if end < 0:
                self._hold(data, at, self._limits.trailers, "trailer section")
                return None
            self._state = _ENDED
            self.trailers = checkTrailers(data[at:end], self._limits)
            return data[end + 4 :]

    def _hold(self, data: bytes, at: int, limit: int, what: str) -> None:
        if len(data) - at >= limit:
            raise Fault(BAD_REQUEST, f"{what} of {limit} bytes or more")
        held = data[at:]
        if b"\n" in held.replace(b"\r\n", b""):
            raise Fault(BAD_REQUEST, f"a line that ends without CR in a {what}")
        self._held = held

    def atEnd(self) -> bool:
        return self._state == _ENDED


def checkTrailers(block: bytes, limits: Limits) -> bytes:
    """
    Refuse trailers that are malformed, or hold what would change how the message is understood.

    @param block: the trailer section as a block.
    @return: the block.
    @raise Fault: (bad-request) if they are.
    """
    if not block:
        return block
    if len(block) > limits.trailers:
        raise Fault(BAD_REQUEST, f"a trailer section of more than {limits.trailers} bytes")
    if not _isTrailers(block):
        raise Fault(BAD_REQUEST, "a malformed trailer section")
    if block.count(b"\r\n") > limits.fields:
        raise Fault(BAD_REQUEST, f"more than {limits.fields} trailer fields")
    for name, _ in items(block):
        if name.lower() in _NO_TRAILER:
            raise Fault(BAD_REQUEST, f"field {name.decode('ascii')!r} among the trailers")
    return block


def bodyDecoder(framing: int, limits: Limits) -> BodyDecoder:
    """
    Make the decoder for a body.

    @param framing: its length in bytes, L{CHUNKED} or L{UNTIL_CLOSE}.
    """
    if framing >= 0:
        return LengthDecoder(framing)
    return ChunkedDecoder(limits) if framing == CHUNKED else UntilCloseDecoder()


def lastChunk(trailers: bytes = b"") -> bytes:
    """
    Write the end of a body in chunks.

    @param trailers: a block of trailer fields.
    """
    return b"0%b\r\n\r\n" % trailers


_LENGTH: Final = re.compile(rb"[0-9]{1,15}").fullmatch


def bodyFraming(lengths: list[bytes], codings: list[bytes], minor: int) -> int | None:
    """
    Decide how a body is framed (RFC 9112, section 6.3), strictly: no repeated length, no length beside a transfer
    coding, no transfer coding but chunked and none with HTTP/1.0.

    @param lengths: the values of Content-Length.
    @param codings: the values of Transfer-Encoding.
    @param minor: the message's minor HTTP version.
    @return: a length, L{CHUNKED}, or L{None} if neither field is there.
    @raise Fault: bad-request, or not-implemented for another coding.
    """
    if codings:
        if lengths:
            raise Fault(BAD_REQUEST, "Content-Length beside Transfer-Encoding")
        if minor == 0:
            raise Fault(BAD_REQUEST, "Transfer-Encoding in an HTTP/1.0 message")
        # Not the element but the whole value: others read an empty element or a parameter in ways of their own.
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            if set(elements(codings)) <= {b"chunked"}:
                raise Fault(BAD_REQUEST, "a malformed Transfer-Encoding")
            raise Fault(NOT_IMPLEMENTED, f"transfer coding {codings[0][:40]!r}")
        return CHUNKED
    if lengths:
        if len(lengths) > 1 or not _LENGTH(lengths[0]):
            raise Fault(BAD_REQUEST, f"Content-Length {lengths[0][:40]!r}")
        return int(lengths[0])
    return None
