"""
The data phase of WebSocket beside the libraries wsproto and websockets: the same bytes have to mean the same.

To search longer: C{INVPROXY_EXAMPLES=20000 trial invproxy.test.test_wire_websocket_differential}.
"""

from __future__ import annotations

from hypothesis import given, note
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Frame, Opcode
from wsproto.frame_protocol import Frame as WsprotoFrame
from wsproto.frame_protocol import FrameProtocol, ParseFailed
from wsproto.frame_protocol import Opcode as WsprotoOpcode

from invproxy.test import messages
from invproxy.test.messages import examples
from invproxy.test.websocketframes import (
    KEY,
    Event,
    Frames,
    Reading,
    Taker,
    binary,
    frame,
    read,
)
from invproxy.wire.websocket import (
    Keys,
    closePayload,
    control,
)

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
