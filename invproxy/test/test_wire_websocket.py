"""
WebSocket frames: what is read and refused, and that other implementations read and write the same.

To search longer: C{INVPROXY_EXAMPLES=20000 trial invproxy.test.test_wire_websocket}.
"""

from __future__ import annotations

import os

from attrs import define, field
from hypothesis import given, note
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Frame, Opcode
from wsproto.frame_protocol import Frame as WsprotoFrame
from wsproto.frame_protocol import FrameProtocol, ParseFailed
from wsproto.frame_protocol import Opcode as WsprotoOpcode

from invproxy.test import messages
from invproxy.test.messages import examples
from invproxy.wire.websocket import (
    CLOSE,
    NO_STATUS,
    PING,
    PONG,
    Keys,
    MessageDecoder,
    Violation,
    binaryHeader,
    closePayload,
    control,
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


class Decoding(SynchronousTestCase):
    """
    What L{MessageDecoder} passes on, and when.
    """

    def test_read(self) -> None:
        """
        Frames of each kind, with and without mask, whole and byte by byte.
        """
        hi: list[Event] = [("payload", b"hi"), ("ended",)]
        cases: list[tuple[Frames, list[Event]]] = [
            ([(0x82, b"hi")], hi),
            ([(0x82, b"")], [("ended",)]),
            ([(0x82, b"hi"), (0x82, b"hi")], hi * 2),
            ([(0x82, b"x" * 125)], [("payload", b"x" * 125), ("ended",)]),
            ([(0x82, b"x" * 126)], [("payload", b"x" * 126), ("ended",)]),
            ([(0x82, b"x" * 65535)], [("payload", b"x" * 65535), ("ended",)]),
            ([(0x82, b"x" * 65536)], [("payload", b"x" * 65536), ("ended",)]),
            ([(0x02, b"h"), (0x80, b"i")], hi),
            ([(0x02, b""), (0x00, b"h"), (0x00, b"i"), (0x80, b"")], hi),
            ([(0x02, b"h")], [("payload", b"h")]),
            (
                [(0x02, b"h"), (0x89, b"a"), (0x8A, b""), (0x80, b"i"), (0x82, b"hi")],
                [
                    ("payload", b"h"),
                    ("ping", b"a"),
                    ("pong", b""),
                    ("payload", b"i"),
                    ("ended",),
                    *hi,
                ],
            ),
            ([(0x89, b"x" * 125), (0x8A, b"x")], [("ping", b"x" * 125), ("pong", b"x")]),
            ([(0x88, b""), (0x82, b"hi")], [("closed", NO_STATUS, "")]),
            ([(0x88, b"\x03\xe8"), (0x82, b"hi")], [("closed", 1000, "")]),
            (
                [(0x02, b"h"), (0x88, b"\x0f\xa0\xc3\xa9")],
                [("payload", b"h"), ("closed", 4000, "é")],
            ),
        ]
        for frames, events in cases:
            for key in b"", KEY:
                data = b"".join(frame(first, payload, key) for first, payload in frames)
                for pieces in [data], singly(data), [data + b"\x82"]:
                    self.assertEqual(read(pieces, masked=bool(key)), Reading(events))

    def test_refused(self) -> None:
        """
        Violations, each found with the byte that makes it one, and what stood before them passed on.
        """
        for data, code, reason in (
            (b"\xc2\x00", 1002, "a reserved bit without an extension"),
            (b"\xa2\x00", 1002, "a reserved bit without an extension"),
            (b"\x92\x00", 1002, "a reserved bit without an extension"),
            (b"\x83\x00", 1002, "unknown opcode 3"),
            (b"\x87\x00", 1002, "unknown opcode 7"),
            (b"\x8b\x00", 1002, "unknown opcode 11"),
            (b"\x8f\x00", 1002, "unknown opcode 15"),
            (b"\x81\x00", 1003, "a text message, where only binary ones are taken"),
            (b"\x01\x7f", 1003, "a text message, where only binary ones are taken"),
            (b"\x08\x00", 1002, "a fragmented control frame"),
            (b"\x09\x00", 1002, "a fragmented control frame"),
            (b"\x89\x7e", 1002, "a control frame of more than 125 bytes"),
            (b"\x88\x7f", 1002, "a control frame of more than 125 bytes"),
            (b"\x82\x7e\x00\x7d", 1002, "a length in more bytes than it needs"),
            (b"\x82\x7f\0\0\0\0\0\0\xff\xff", 1002, "a length in more bytes than it needs"),
            (b"\x82\x7f\x80\0\0\0\0\1\0\0", 1002, "a length with its highest bit set"),
            (b"\x80\x00", 1002, "a continuation of no message"),
            (b"\x00\x00", 1002, "a continuation of no message"),
            (b"\x02\x00\x82\x00", 1002, "a new message within a fragmented one"),
            (b"\x02\x01a\x00\x00\x02\x00", 1002, "a new message within a fragmented one"),
            (b"\x02\x01a\x01\x00", 1002, "a new message within a fragmented one"),
            (b"\x82\x80", 1002, "a masked frame"),
            (b"\x89\xff", 1002, "a masked frame"),
            (b"\x88\x01\x03", 1002, "a Close frame with half a code"),
            (b"\x88\x02\x00\x00", 1002, "a Close frame with the code 0"),
            (b"\x88\x02\x03\xe7", 1002, "a Close frame with the code 999"),
            (b"\x88\x04\x03\xe8\xc3\x28", 1007, "a Close frame with a reason that is not in UTF-8"),
            (b"\x88\x03\x03\xe8\xc3", 1007, "a Close frame with a reason that is not in UTF-8"),
            (
                b"\x88\x05\x03\xe8\xed\xa0\x80",
                1007,
                "a Close frame with a reason that is not in UTF-8",
            ),
        ):
            before = b"\x82\x02hi"
            for pieces in [before + data], singly(before + data):
                reading = read(pieces)
                violation = reading.violation
                assert violation is not None, data
                self.assertEqual((violation.code, violation.reason), (code, reason))
                self.assertEqual(str(violation), f"{reason} (close code {code})")
                self.assertEqual(reading.events[:2], [("payload", b"hi"), ("ended",)])
            self.assertIsNone(read([before + data[:-1]]).violation, data)

    def test_refusedOfClient(self) -> None:
        """
        A client has to mask; the length is judged without waiting for the key.
        """
        for data, reason in (
            (b"\x82\x00", "a frame without mask"),
            (b"\x89\x7f", "a frame without mask"),
            (b"\x82\xfe\x00\x7d", "a length in more bytes than it needs"),
            (b"\x88\x81" + KEY + b"\x02", "a Close frame with half a code"),
        ):
            violation = read([data], masked=True).violation
            assert violation is not None
            self.assertEqual((violation.code, violation.reason), (1002, reason))
            self.assertIsNone(read([data[:-1]], masked=True).violation)

    def test_closeCodes(self) -> None:
        """
        Codes that are reserved or unassigned are neither taken nor sent.
        """
        allowed = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
        for code in (*range(0, 5100), 65535):
            reading = read([frame(0x88, code.to_bytes(2, "big"))])
            if code in allowed:
                self.assertEqual(reading, Reading([("closed", code, "")]))
                self.assertEqual(closePayload(code), code.to_bytes(2, "big"))
            else:
                assert reading.violation is not None
                if code != NO_STATUS:
                    self.assertRaises(ValueError, closePayload, code, "")

    def test_maxControl(self) -> None:
        self.assertEqual(read([b"\x89\x02ab"], maxControl=2).events, [("ping", b"ab")])
        violation = read([b"\x89\x03"], maxControl=2).violation
        assert violation is not None
        self.assertEqual(
            (violation.code, violation.reason), (1009, "a control frame of more than 2 bytes")
        )

    def test_passedOnAtOnce(self) -> None:
        """
        No byte of a payload waits for the next, and a message may be as long as lengths go.
        """
        for key in b"", KEY:
            taker = Taker()
            decoder = MessageDecoder(taker, masked=bool(key))
            decoder.feed(binaryHeader(2**63 - 1, key))
            self.assertEqual(taker.events, [])
            for offset in range(9):
                decoder.feed(mask(b"a", key, offset) if key else b"a")
                self.assertEqual(taker.events, [("payload", b"a")] * (offset + 1))
            decoder.feed(b"")
            self.assertEqual((len(taker.events), decoder._held), (9, b""))

    def test_wholePiecesAreNotCopied(self) -> None:
        piece = b"x" * 1000
        taker = Taker()
        decoder = MessageDecoder(taker, masked=False)
        decoder.feed(binaryHeader(2000))
        decoder.feed(piece)
        decoder.feed(piece)
        self.assertIs(taker.events[0][1], piece)
        self.assertIs(taker.events[1][1], piece)
        self.assertEqual(taker.events[2:], [("ended",)])

    def test_sinkRaises(self) -> None:
        """
        What the sink raises comes out, and nothing is passed on after it.
        """

        class Failing(Taker):
            def payloadReceived(self, data: bytes) -> None:
                super().payloadReceived(data)
                raise LookupError

        for pieces in [b"\x82\x01a\x89\x00"], [b"\x82\x01", b"a\x89\x00"]:
            taker = Failing()
            decoder = MessageDecoder(taker, masked=False)
            for piece in pieces[:-1]:
                decoder.feed(piece)
            self.assertRaises(LookupError, decoder.feed, pieces[-1])
            decoder.feed(b"\x89\x00")
            self.assertEqual(taker.events, [("payload", b"a")])


class Writing(SynchronousTestCase):
    """
    What is written.
    """

    def test_mask(self) -> None:
        for size in (0, 1, 2, 3, 4, 5, 7, 125, 399, 400, 401, 402, 403, 1200, 16384, 70001):
            data = os.urandom(size)
            for offset in (0, 1, 2, 3, 4, 4097, 2**40 + 3):
                expected = bytes(byte ^ KEY[(offset + at) % 4] for at, byte in enumerate(data))
                self.assertEqual(mask(data, KEY, offset), expected)
                self.assertIsInstance(mask(data, KEY, offset), bytes)

    def test_binaryHeader(self) -> None:
        for length, header in (
            (0, b"\x82\x00"),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (65535, b"\x82\x7e\xff\xff"),
            (65536, b"\x82\x7f\0\0\0\0\0\1\0\0"),
            (2**63 - 1, b"\x82\x7f\x7f" + b"\xff" * 7),
        ):
            self.assertEqual(binaryHeader(length), header)
            marked = bytes((header[0], header[1] | 0x80)) + header[2:]
            self.assertEqual(binaryHeader(length, KEY), marked + KEY)

    def test_control(self) -> None:
        self.assertEqual(control(PING, b""), b"\x89\x00")
        self.assertEqual(control(PONG, b"ab"), b"\x8a\x02ab")
        self.assertEqual(control(CLOSE, b"ab", KEY), b"\x88\x82" + KEY + mask(b"ab", KEY))
        self.assertEqual(len(control(PING, b"x" * 125)), 127)
        self.assertRaises(ValueError, control, PING, b"x" * 126)

    def test_closePayload(self) -> None:
        for code, reason, payload in (
            (1000, "", b"\x03\xe8"),
            (1001, "bye", b"\x03\xe9bye"),
            (4999, "é" * 61, b"\x13\x87" + "é".encode() * 61),
            (4999, "é" * 62, b"\x13\x87" + "é".encode() * 61),
            (4999, "x" + "é" * 61, b"\x13\x87x" + "é".encode() * 61),
            (1000, "x" * 200, b"\x03\xe8" + b"x" * 123),
            (1000, "a" * 121 + "\U0001f600", b"\x03\xe8" + b"a" * 121),
            (1000, "\ud800", b"\x03\xe8?"),
            (NO_STATUS, "", b""),
        ):
            self.assertEqual(closePayload(code, reason), payload)
            self.assertEqual(read([control(CLOSE, payload)]).violation, None)

    def test_keys(self) -> None:
        """
        Each is used once, over the end of a block too.
        """
        keys = Keys()
        drawn = [keys() for _ in range(3000)]
        self.assertEqual({len(key) for key in drawn}, {4})
        self.assertGreater(len(set(drawn)), 2990)

    def test_keysDrawn(self) -> None:
        """
        The keys are what the source gives, in blocks.
        """
        drawn: list[bytes] = []

        def random(size: int) -> bytes:
            drawn.append(os.urandom(size))
            return drawn[-1]

        keys = Keys(random)
        self.assertEqual(drawn, [])
        taken = [keys() for _ in range(1024)]
        self.assertEqual(len(drawn), 1)
        self.assertEqual(sorted(taken), sorted(drawn[0][at : at + 4] for at in range(0, 4096, 4)))
        keys()
        self.assertEqual(len(drawn), 2)


# Frames for hypothesis: (first byte, payload) in an order that is allowed.

_payloads = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"x" * 125, b"y" * 126, b"z" * 500, b"0123456" * 9500]),
)
_controls = st.lists(st.tuples(st.sampled_from([0x89, 0x8A]), st.binary(max_size=125)), max_size=2)


@st.composite
def conversations(draw: st.DrawFn) -> Frames:
    """
    Messages in one or more frames, control frames between them, at the end perhaps a Close frame.
    """
    frames = draw(_controls)
    for parts in draw(st.lists(st.lists(_payloads, min_size=1, max_size=3), max_size=3)):
        for number, part in enumerate(parts):
            fin = 0x80 if number == len(parts) - 1 else 0
            frames.append((fin | (0 if number else 2), part))
            frames += draw(_controls)
    if draw(st.booleans()):
        reason = draw(st.text(st.characters(codec="utf-8"), max_size=50))
        frames.append((0x88, closePayload(draw(st.sampled_from([1000, 1011, 3000])), reason)))
    return frames


def toldOf(frames: Frames) -> list[Event]:
    """
    What is to be read from frames.
    """
    taker = Taker()
    for first, payload in frames:
        if first == 0x88:
            taker.closed(int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8"))
        elif first & 8:
            (taker.pinged if first == 0x89 else taker.ponged)(payload)
        else:
            if payload:
                taker.payloadReceived(payload)
            if first & 0x80:
                taker.messageEnded()
    return taker.told()


def byOurs(frames: Frames, masked: bool) -> bytes:
    """
    Written by us; we write no fragments, so these are only masked by us.
    """
    keys = Keys()
    written = []
    for first, payload in frames:
        key = keys() if masked else b""
        if first == 0x82:
            written.append(binary(payload, key))
        elif first & 8:
            written.append(control(first & 15, payload, key))
        else:
            written.append(frame(first, payload, key))
    return b"".join(written)


def byWsproto(frames: Frames, masked: bool) -> bytes:
    """
    Written by wsproto.
    """
    protocol = FrameProtocol(client=masked, extensions=[])
    written = []
    for first, payload in frames:
        if first == 0x88:
            data = protocol.close(int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8"))
        elif first & 8:
            data = protocol.ping(payload) if first == 0x89 else protocol.pong(payload)
        else:
            data = protocol.send_data(payload, fin=first >= 0x80)
        written.append(bytes(data))
    return b"".join(written)


def byWebsockets(frames: Frames, masked: bool) -> bytes:
    """
    Written by websockets.
    """
    return b"".join(
        Frame(Opcode(first & 15), payload, fin=first >= 0x80).serialize(mask=masked)
        for first, payload in frames
    )


def wsprotoReads(pieces: list[bytes], masked: bool) -> tuple[list[Event], str | None]:
    """
    What wsproto makes of some bytes: events, and why it broke off.
    """
    protocol = FrameProtocol(client=not masked, extensions=[])
    taker = Taker()
    try:
        for piece in pieces:
            protocol.receive_bytes(piece)
            for each in protocol.received_frames():
                _tell(taker, each)
    except ParseFailed as failure:
        return taker.told(), str(failure)
    return taker.told(), None


def _tell(taker: Taker, each: WsprotoFrame) -> None:
    payload = each.payload
    if each.opcode is WsprotoOpcode.CLOSE:
        assert isinstance(payload, tuple)
        taker.closed(int(payload[0]), payload[1])
        return
    if each.opcode is WsprotoOpcode.TEXT:
        taker.events.append(("text",))
        return
    assert isinstance(payload, bytes)
    if each.opcode is WsprotoOpcode.PING:
        taker.pinged(payload)
    elif each.opcode is WsprotoOpcode.PONG:
        taker.ponged(payload)
    else:
        if payload:
            taker.payloadReceived(payload)
        if each.message_finished:
            taker.messageEnded()


# What mutations put in: bytes that mean something in a header.
_bytes = st.one_of(
    st.sampled_from([0x00, 0x02, 0x80, 0x82, 0x81, 0x88, 0x89, 0x8A, 0x7E, 0x7F, 0xFE, 0xFF, 0xC2]),
    st.integers(0, 255),
)


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """
    Some bytes changed, put in or taken out; often near the start of a frame, as small data is mostly header.
    """
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(changed), 300)))
        kind = draw(st.integers(0, 2))
        if kind == 0:
            changed[at : at + 1] = bytes([draw(_bytes)])
        elif kind == 1:
            changed[at:at] = bytes([draw(_bytes)])
        else:
            del changed[at : at + 1]
    return bytes(changed)


class Differential(SynchronousTestCase):
    """
    Against wsproto and websockets.
    """

    @examples(150)
    @given(conversations(), st.booleans(), st.data())
    def test_anyCut(self, frames: Frames, masked: bool, data: st.DataObject) -> None:
        """
        Whoever writes, and wherever it is cut, the same is read.
        """
        encode = data.draw(st.sampled_from([byOurs, byWsproto, byWebsockets]))
        written = encode(frames, masked)
        if len(written) < 2000:
            pieces = data.draw(messages.pieces(st.just(written)))
        else:
            cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=6)))
            ends = [*cuts, len(written)]
            pieces = [written[at:end] for at, end in zip([0, *cuts], ends, strict=True)]
        self.assertEqual(read(pieces, masked=masked), Reading(toldOf(frames)))

    @examples(100)
    @given(conversations(), st.booleans())
    def test_readByWsproto(self, frames: Frames, masked: bool) -> None:
        """
        What we write, wsproto reads.
        """
        self.assertEqual(wsprotoReads([byOurs(frames, masked)], masked), (toldOf(frames), None))

    def compare(self, pieces: list[bytes], masked: bool) -> None:
        """
        Compare verdicts: what we take, wsproto reads the same; what we refuse, it refuses at the same place, but for
        text messages.
        """
        ours = read(pieces, masked=masked)
        note(repr(ours))
        if ours.violation is None:
            theirs, refusal = wsprotoReads(pieces, masked)
            if ours.events and ours.events[-1][:2] == ("closed", 1014):
                self.assertEqual(refusal, "CLOSE with unknown reserved code")
                ours.events.pop()
            else:
                self.assertIsNone(refusal)
        else:
            # It judges some headers only when they are whole.
            theirs, refusal = wsprotoReads([*pieces, bytes(14)], masked)
            if ours.violation.code == 1003:
                self.assertEqual(theirs[: len(ours.events)], ours.events)
                return
            self.assertIsNotNone(refusal)
        self.assertEqual(theirs, ours.events)

    @examples(400)
    @given(conversations(), st.booleans(), st.data())
    def test_mutated(self, frames: Frames, masked: bool, data: st.DataObject) -> None:
        small = [(first, payload[:130]) for first, payload in frames if first != 0x88]
        small += [each for each in frames if each[0] == 0x88]
        written = data.draw(mutated(byOurs(small, masked) if not masked else _fixed(small)))
        self.compare(data.draw(messages.pieces(st.just(written))), masked)

    @examples(400)
    @given(
        messages.pieces(
            st.one_of(st.binary(max_size=200), st.lists(_bytes, max_size=40).map(bytes))
        ),
        st.booleans(),
    )
    def test_random(self, pieces: list[bytes], masked: bool) -> None:
        """
        Whatever comes, nothing is raised but L{Violation}.
        """
        self.compare(pieces, masked)


def _fixed(frames: Frames) -> bytes:
    """
    Masked with always the same key, so that examples can be repeated.
    """
    return b"".join(frame(first, payload, KEY) for first, payload in frames)
