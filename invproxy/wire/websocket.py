"""
The data phase of WebSocket (RFC 6455, section 5) for a tunnel: binary messages without extensions, strictly read.

The tunnel's own frames lie inside messages and carry their own lengths, so that nothing here gathers a message: its
payload is passed on as it comes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import Final, Protocol

BINARY: Final = 0x2
"""The opcode of a binary message."""

CLOSE: Final = 0x8
"""The opcode of the last frame that a side sends (RFC 6455, section 5.5.1)."""

PING: Final = 0x9
"""The opcode of a frame to be answered by a L{PONG} with the same payload (RFC 6455, section 5.5.2)."""

PONG: Final = 0xA
"""The opcode of the answer to a L{PING}."""

PROTOCOL_ERROR: Final = 1002
"""The close code for what breaks RFC 6455."""

UNSUPPORTED_DATA: Final = 1003
"""The close code for text messages."""

NO_STATUS: Final = 1005
"""Stands for the code that a Close frame did not name; never sent (RFC 6455, section 7.4.1)."""

INVALID_DATA: Final = 1007
"""The close code for text that is not UTF-8."""

TOO_BIG: Final = 1009
"""The close code for more than is taken here."""

MAX_CONTROL: Final = 125
"""How long the payload of a control frame may be, in bytes (RFC 6455, section 5.5)."""

_FIN: Final = 0x80
_MASK: Final = 0x80
_RESERVED: Final = 0x70
_WHOLE: Final = _FIN | BINARY
_LAST: Final = _FIN | CLOSE

_SENDABLE: Final = frozenset((*range(1000, 1004), *range(1007, 1015)))
"""Codes below 3000 that a Close frame may name: those registered with IANA but for the ones that are never sent."""

_TABLES: Final = tuple(bytes(each ^ byte for each in range(256)) for byte in range(256))
_BY_INTEGER: Final = 400
"""Up to about this size the XOR of two integers is the faster way, above it translation by tables."""


class Violation(Exception):
    """
    The peer broke the protocol, and the connection is to be closed.

    @ivar code: the code for our Close frame (RFC 6455, section 7.4.1).
    @ivar reason: what was wrong, in plain words.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason} (close code {self.code})"


class MessageSink(Protocol):
    """
    Takes what a L{MessageDecoder} reads.
    """

    def payloadReceived(self, data: bytes) -> None:
        """
        Take the next piece of the present message.

        @param data: any part of the payload, unmasked, never empty.
        """

    def messageEnded(self) -> None:
        """
        The message is whole; one without payload has only this.
        """

    def pinged(self, payload: bytes) -> None:
        """
        The peer wants a pong, also between the pieces of a message.

        @param payload: what the pong is to carry.
        """

    def ponged(self, payload: bytes) -> None:
        """
        A pong came, asked for or not.

        @param payload: that of the ping, if it answers one.
        """

    def closed(self, code: int, reason: str) -> None:
        """
        The peer's Close frame came; nothing comes after it.

        @param code: 1000 to 4999, or L{NO_STATUS}.
        @param reason: for the log.
        """


def mask(data: bytes, key: bytes, offset: int = 0) -> bytes:
    """
    Mask or unmask (RFC 6455, section 5.3).

    @param data: the payload, or a part of it.
    @param key: the four bytes of the masking key.
    @param offset: how many bytes of the payload were before C{data}.
    """
    if offset:
        offset &= 3
        key = key[offset:] + key[:offset]
    return _applyMask(data, key)


def maskSlowly(data: bytes, key: bytes) -> bytes:
    """
    L{mask} in pure Python, where there is no compiled one: four times slower.
    """
    size = len(data)
    if size <= _BY_INTEGER:
        stretched = int.from_bytes((key * ((size + 3) >> 2))[:size], "little")
        return (int.from_bytes(data, "little") ^ stretched).to_bytes(size, "little")
    tables = _TABLES
    first, second, third, fourth = key
    masked = bytearray(data)
    # From bytearray to bytearray, which spares the copies between the types.
    masked[::4] = masked[::4].translate(tables[first])
    masked[1::4] = masked[1::4].translate(tables[second])
    masked[2::4] = masked[2::4].translate(tables[third])
    masked[3::4] = masked[3::4].translate(tables[fourth])
    return bytes(masked)


_applyMask: Callable[[bytes, bytes], bytes] = maskSlowly
with suppress(ImportError):  # it is optional to the websockets library itself, too
    from websockets.speedups import apply_mask as _applyMask


class MessageDecoder:
    """
    Reads the frames of one direction.

    It keeps nothing but the beginning of a header or of a control frame. After a Close frame, and after anything was
    raised (by the sink, too), it takes no notice of what it is fed.
    """

    __slots__ = (
        "_ended",
        "_fragmented",
        "_held",
        "_key",
        "_left",
        "_maskBit",
        "_maxControl",
        "_sink",
    )

    def __init__(self, sink: MessageSink, *, masked: bool, maxControl: int = MAX_CONTROL) -> None:
        """
        @param sink: what is read goes there.
        @param masked: whether the peer is the client, which must mask, or the server, which must not.
        @param maxControl: how long the payload of a control frame may be, in bytes, if less than the RFC's 125.
        """
        self._sink = sink
        self._maskBit = _MASK if masked else 0
        self._maxControl = maxControl
        self._held = b""
        self._left = 0  # of the payload of the data frame that has begun
        self._key = b""  # for the next byte of that payload
        self._fragmented = False  # whether another frame of the message follows
        self._ended = False

    def feed(self, data: bytes) -> None:
        """
        Take more bytes, not while the sink is being called.

        @param data: what came, cut anywhere.
        @raise Violation: if the peer broke the protocol; what stood before that was passed on.
        """
        if self._ended:
            return
        if self._held:
            data = self._held + data
            self._held = b""
        at = 0
        size = len(data)
        sink = self._sink
        maskBit = self._maskBit
        key = b""
        try:
            if self._left:
                at = self._goOn(data)
            while size - at >= 2:
                first = data[at]
                length = data[at + 1] ^ maskBit
                if first != _WHOLE or length > 127 or self._fragmented:
                    self._check(first, length)
                start = at + 2
                if length > 125:
                    start += 2 if length == 126 else 8
                    if start > size:
                        break
                    if length == 126:
                        length = data[at + 2] << 8 | data[at + 3]
                        if length < 126:
                            raise Violation(PROTOCOL_ERROR, "a length in more bytes than it needs")
                    else:
                        length = _longLength(data[at + 2 : start])
                if maskBit:
                    start += 4
                    if start > size:
                        break
                    key = data[start - 4 : start]
                end = start + length
                if first != _WHOLE:
                    if first & 8:
                        if end > size:
                            break
                        payload = data[start:end]
                        at = end
                        self._control(first, mask(payload, key) if maskBit else payload)
                        if first == _LAST:
                            return
                        continue
                    self._fragmented = first < _FIN
                if end > size:
                    self._left = end - size
                    came = size - start
                    if maskBit:
                        self._key = key[came & 3 :] + key[: came & 3]
                    if came:
                        payload = data[start:]
                        sink.payloadReceived(mask(payload, key) if maskBit else payload)
                    return
                at = end
                if length:
                    payload = data[start:end]
                    sink.payloadReceived(mask(payload, key) if maskBit else payload)
                if first >= _FIN:
                    sink.messageEnded()
            if at < size:
                self._held = data[at:]
        except BaseException:
            self._ended = True
            raise

    def _goOn(self, data: bytes) -> int:
        """
        Pass on more of the payload of the data frame that has begun.

        @return: how much of C{data} belongs to it.
        """
        left = self._left
        size = len(data)
        if size > left:
            data = data[:left]
            size = left
        self._left = left - size
        if size:
            if self._maskBit:
                key = self._key
                self._key = key[size & 3 :] + key[: size & 3]
                data = mask(data, key)
            self._sink.payloadReceived(data)
            if size == left and not self._fragmented:
                self._sink.messageEnded()
        return size

    def _check(self, first: int, length: int) -> None:
        """
        Judge the first two bytes of a header.

        @param length: the second byte, with the mask bit set if it is not what it should be.
        """
        if length > 127:
            raise Violation(
                PROTOCOL_ERROR, "a frame without mask" if self._maskBit else "a masked frame"
            )
        if first & _RESERVED:
            raise Violation(PROTOCOL_ERROR, "a reserved bit without an extension")
        opcode = first & 0xF
        if opcode in (CLOSE, PING, PONG):
            if first < _FIN:
                raise Violation(PROTOCOL_ERROR, "a fragmented control frame")
            if length > MAX_CONTROL:
                raise Violation(PROTOCOL_ERROR, f"a control frame of more than {MAX_CONTROL} bytes")
            if length > self._maxControl:
                raise Violation(TOO_BIG, f"a control frame of more than {self._maxControl} bytes")
        elif opcode > BINARY:
            raise Violation(PROTOCOL_ERROR, f"unknown opcode {opcode}")
        elif opcode == 0:
            if not self._fragmented:
                raise Violation(PROTOCOL_ERROR, "a continuation of no message")
        elif self._fragmented:
            raise Violation(PROTOCOL_ERROR, "a new message within a fragmented one")
        elif opcode != BINARY:
            raise Violation(UNSUPPORTED_DATA, "a text message, where only binary ones are taken")

    def _control(self, first: int, payload: bytes) -> None:
        opcode = first & 0xF
        if opcode == PING:
            self._sink.pinged(payload)
        elif opcode == PONG:
            self._sink.ponged(payload)
        else:
            code, reason = _parseClose(payload)
            self._ended = True
            self._sink.closed(code, reason)


def _longLength(data: bytes) -> int:
    length = int.from_bytes(data, "big")
    if length < 1 << 16:
        raise Violation(PROTOCOL_ERROR, "a length in more bytes than it needs")
    if length >= 1 << 63:
        raise Violation(PROTOCOL_ERROR, "a length with its highest bit set")
    return length


def _isSendable(code: int) -> bool:
    return code in _SENDABLE or 3000 <= code <= 4999


def _parseClose(payload: bytes) -> tuple[int, str]:
    if not payload:
        return NO_STATUS, ""
    if len(payload) == 1:
        raise Violation(PROTOCOL_ERROR, "a Close frame with half a code")
    code = int.from_bytes(payload[:2], "big")
    if not _isSendable(code):
        raise Violation(PROTOCOL_ERROR, f"a Close frame with the code {code}")
    try:
        return code, payload[2:].decode("utf-8")
    except UnicodeDecodeError:
        raise Violation(INVALID_DATA, "a Close frame with a reason that is not in UTF-8") from None


_medium: Final = Struct(">BBH").pack
_long: Final = Struct(">BBq").pack


def binaryHeader(length: int, key: bytes = b"") -> bytes:
    """
    Write the header of a binary message of one frame (RFC 6455, section 5.2).

    @param length: that of the payload in bytes, below 2**63.
    @param key: the masking key for the payload that will follow; from a client alone.
    """
    bit = _MASK if key else 0
    if length < 126:
        return bytes((_WHOLE, bit | length)) + key
    if length < 65536:
        return _medium(_WHOLE, bit | 126, length) + key
    return _long(_WHOLE, bit | 127, length) + key


def control(opcode: int, payload: bytes, key: bytes = b"") -> bytes:
    """
    Write a control frame (RFC 6455, section 5.5).

    @param opcode: L{PING}, L{PONG} or L{CLOSE}.
    @param payload: at most 125 bytes, not masked yet.
    @param key: the masking key; from a client alone.
    @raise ValueError: if the payload is longer.
    """
    length = len(payload)
    if length > MAX_CONTROL:
        raise ValueError(f"a control frame of {length} bytes")
    if key:
        return bytes((_FIN | opcode, _MASK | length)) + key + mask(payload, key)
    return bytes((_FIN | opcode, length)) + payload


def closePayload(code: int, reason: str = "") -> bytes:
    """
    Write the payload of a Close frame (RFC 6455, section 5.5.1).

    @param code: one that may be sent, or L{NO_STATUS} for an empty payload, as in the answer to one that was empty.
    @param reason: for the peer's log; what goes beyond 123 bytes in UTF-8 is cut off.
    @raise ValueError: if the code may not be sent.
    """
    if code == NO_STATUS:
        return b""
    if not _isSendable(code):
        raise ValueError(f"close code {code} may not be sent")
    text = reason.encode("utf-8", "replace")[: MAX_CONTROL - 2]
    return code.to_bytes(2, "big") + text.decode("utf-8", "ignore").encode("utf-8")


_KEYS: Final = 1024
"""Masking keys that are drawn at a time."""


class Keys:
    """
    Gives a masking key at each call: four bytes that nobody can foresee (RFC 6455, section 5.3).
    """

    __slots__ = ("_keys", "_random")

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        """
        @param random: gives so many bytes that nobody can foresee.
        """
        self._random = random
        self._keys: list[bytes] = []

    def __call__(self) -> bytes:
        keys = self._keys
        if not keys:
            keys.extend(_unpackKeys(self._random(4 * _KEYS)))
        return keys.pop()


_unpackKeys: Final = Struct("4s" * _KEYS).unpack
