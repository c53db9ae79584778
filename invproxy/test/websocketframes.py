"""
WebSocket frames for tests: how they are written by hand, and what a decoder reads of them.
"""

from __future__ import annotations

from attrs import define, field

from invproxy.wire.websocket import (
    MessageDecoder,
    Violation,
    binaryHeader,
    mask,
)

KEY = b"\x01\x82\x43\xf4"

LONGEST_HELD = 2 + 4 + 125 - 1
"""The most that a decoder may keep back: a control frame less one byte."""

Event = tuple[object, ...]
Frames = list[tuple[int, bytes]]


@define
class Taker:
    """
    Takes what a decoder reads.

    @ivar events: in order; the pieces between two others are joined in C{told}.
    """

    events: list[Event] = field(factory=list)

    def payloadReceived(self, data: bytes) -> None:
        assert data
        self.events.append(("payload", data))

    def messageEnded(self) -> None:
        self.events.append(("ended",))

    def pinged(self, payload: bytes) -> None:
        self.events.append(("ping", payload))

    def ponged(self, payload: bytes) -> None:
        self.events.append(("pong", payload))

    def closed(self, code: int, reason: str) -> None:
        self.events.append(("closed", code, reason))

    def told(self) -> list[Event]:
        """
        The events, with each run of payload as one.
        """
        told: list[Event] = []
        for event in self.events:
            if event[0] == "payload" and told and told[-1][0] == "payload":
                event = ("payload", told.pop()[1] + event[1])  # type: ignore[operator]
            told.append(event)
        return told


@define
class Reading:
    """
    What was read.
    """

    events: list[Event]
    violation: Violation | None = None


def read(pieces: list[bytes], *, masked: bool = False, maxControl: int = 125) -> Reading:
    """
    Read pieces, until one is refused, and look that nothing is kept back.
    """
    taker = Taker()
    decoder = MessageDecoder(taker, masked=masked, maxControl=maxControl)
    try:
        for piece in pieces:
            decoder.feed(piece)
            assert len(decoder._held) <= LONGEST_HELD
    except Violation as violation:
        before = taker.told()
        decoder.feed(b"\x82\x01a")
        assert taker.told() == before
        return Reading(taker.told(), violation)
    return Reading(taker.told())


def binary(payload: bytes, key: bytes = b"") -> bytes:
    """
    A binary message of one frame.
    """
    return binaryHeader(len(payload), key) + (mask(payload, key) if key else payload)


def frame(first: int, payload: bytes, key: bytes = b"", size: int = 0) -> bytes:
    """
    A frame with any first byte.

    @param size: how many bytes its length has; 0 for as many as it needs.
    """
    length = len(payload)
    size = size or (1 if length < 126 else 2 if length < 65536 else 8)
    second = length if size == 1 else 126 if size == 2 else 127
    header = bytes((first, second | (0x80 if key else 0)))
    if size > 1:
        header += length.to_bytes(size, "big")
    return header + key + (mask(payload, key) if key else payload)


def singly(data: bytes) -> list[bytes]:
    """
    Cut into single bytes.
    """
    return [data[at : at + 1] for at in range(len(data))]
