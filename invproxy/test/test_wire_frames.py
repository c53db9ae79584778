"""
The frames of the tunnel: what is written, and what is read of it however it is cut.

To search longer: C{INVPROXY_EXAMPLES=20000 trial invproxy.test.test_wire_frames}.
"""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.test.helpers import Copies
from invproxy.test.messages import examples
from invproxy.wire.frames import (
    CREDIT,
    DATA,
    END,
    GOAWAY,
    HELLO,
    LAST,
    MOST_STREAMS,
    OVERHEAD,
    REQUEST,
    RESET,
    RESPONSE,
    FrameError,
    FrameReader,
    frame,
    header,
    numberFrame,
    parseNumber,
    parseRequestPayload,
    requestFrame,
)

Frame = tuple[int, int, int, bytes]

LIMIT = 1000


class Reading:
    """
    Reads pieces, and takes down what they are.

    @ivar pieces: what the reader told, as it did.
    @ivar reader: the reader.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.pieces: list[Frame] = []
        self.reader = FrameReader(
            lambda kind, stream, flags, payload: self.pieces.append((kind, stream, flags, payload)),
            limit,
        )

    def feed(self, *pieces: bytes) -> Reading:
        """
        Read pieces.
        """
        for piece in pieces:
            self.reader.feed(piece)
        return self

    def frames(self) -> list[Frame]:
        """
        What came, with the pieces of DATA joined per stream as long as nothing else is between them and none but the
        last has flags. Empty pieces of DATA with no flags are nothing.
        """
        joined: list[Frame] = []
        for kind, stream, flags, payload in self.pieces:
            if kind == DATA:
                if not payload and not flags:
                    continue
                if joined and joined[-1][:3] == (DATA, stream, 0):
                    payload = joined.pop()[3] + payload
            joined.append((kind, stream, flags, payload))
        return joined


def singly(data: bytes) -> list[bytes]:
    """
    Cut into single bytes.
    """
    return [data[at : at + 1] for at in range(len(data))]


EXAMPLES: list[tuple[bytes, Frame]] = [
    (frame(HELLO, 0, b"{}"), (HELLO, 0, 0, b"{}")),
    (requestFrame(1, b"o", b"head", LAST), (REQUEST, 1, LAST, b"\x00\x01ohead")),
    (frame(RESPONSE, 3, b"HTTP/1.1 200 OK\r\n\r\n"), (RESPONSE, 3, 0, b"HTTP/1.1 200 OK\r\n\r\n")),
    (frame(DATA, 7, b"d" * 300), (DATA, 7, 0, b"d" * 300)),
    (frame(DATA, 7, b"d", LAST), (DATA, 7, LAST, b"d")),
    (frame(DATA, 7, b"", LAST), (DATA, 7, LAST, b"")),
    (frame(END, 9, b"X: 1\r\n", LAST), (END, 9, LAST, b"X: 1\r\n")),
    (frame(RESET, 9, b"internal"), (RESET, 9, 0, b"internal")),
    (numberFrame(CREDIT, MOST_STREAMS, 65536), (CREDIT, MOST_STREAMS, 0, b"\x00\x01\x00\x00")),
    (numberFrame(GOAWAY, 0, 5, b"bye"), (GOAWAY, 0, 0, b"\x00\x00\x00\x05bye")),
    (frame(0xC8, 0xFFFFFFFF, b"?", 0xFE), (0xC8, 0xFFFFFFFF, 0xFE, b"?")),
]


class Encoding(SynchronousTestCase):
    """
    What is written.
    """

    def test_header(self) -> None:
        """
        Ten bytes: length, stream, type, flags.
        """
        self.assertEqual(header(0x01020304, 0x05060708, 9, 10), bytes(range(1, 11)))
        self.assertEqual(len(header(0, 0, 0, 0)), OVERHEAD)

    def test_types(self) -> None:
        """
        The numbers of the types are the protocol: they never change.
        """
        self.assertEqual(
            [HELLO, REQUEST, RESPONSE, DATA, END, RESET, CREDIT, GOAWAY], [0, 1, 2, 3, 4, 5, 6, 7]
        )
        self.assertEqual(LAST, 1)

    def test_frame(self) -> None:
        """
        A header and the payload.
        """
        self.assertEqual(frame(DATA, 2, b"ab", LAST), b"\x00\x00\x00\x02\x00\x00\x00\x02\x03\x01ab")
        self.assertEqual(frame(END, 1), b"\x00\x00\x00\x00\x00\x00\x00\x01\x04\x00")

    def test_request(self) -> None:
        """
        The size of the outer block, that block, and the head.
        """
        for outer in (b"", b"\r\nA: b", b"x" * 65535):
            for head in (b"", b"GET / HTTP/1.1\r\n\r\n"):
                written = requestFrame(4, outer, head, LAST)
                self.assertEqual(written[:OVERHEAD], header(len(written) - 10, 4, REQUEST, LAST))
                self.assertEqual(parseRequestPayload(written[OVERHEAD:]), (outer, head))

    def test_requestCut(self) -> None:
        """
        A REQUEST that ends within its outer block is none; nor is one that has no room for that block's size.
        """
        payload = requestFrame(4, b"abc", b"")[OVERHEAD:]
        for size in range(len(payload)):
            self.assertRaises(FrameError, parseRequestPayload, payload[:size])
        self.assertEqual(parseRequestPayload(payload), (b"abc", b""))

    def test_number(self) -> None:
        """
        CREDIT and GOAWAY begin with a number of four bytes; what follows it is for people.
        """
        for number in (0, 1, 255, 65536, MOST_STREAMS, 0xFFFFFFFF):
            written = numberFrame(GOAWAY, 0, number, b"rest")
            self.assertEqual(parseNumber(written[OVERHEAD:]), number)
        for size in range(4):
            self.assertRaises(FrameError, parseNumber, b"\x00" * size)


class ReadingTests(SynchronousTestCase):
    """
    L{FrameReader}.
    """

    def test_each(self) -> None:
        """
        Every type comes as it was sent, unknown types and flags too.
        """
        for written, expected in EXAMPLES:
            reading = Reading().feed(written)
            self.assertEqual(reading.pieces, [expected])
            self.assertTrue(reading.reader.atBoundary())

    def test_oneByOne(self) -> None:
        """
        The same in single bytes.
        """
        whole = b"".join(written for written, _ in EXAMPLES)
        expected = Reading().feed(whole).frames()
        self.assertEqual(Reading().feed(*singly(whole)).frames(), expected)

    def test_everyCut(self) -> None:
        """
        The same wherever it is cut in two, and in three.
        """
        whole = b"".join(written for written, _ in EXAMPLES)
        expected = Reading().feed(whole).frames()
        for at in range(len(whole) + 1):
            reading = Reading().feed(whole[:at], whole[at:])
            self.assertEqual(reading.frames(), expected, at)
            for width in (1, 9, 11):
                pieces = (whole[:at], whole[at : at + width], whole[at + width :])
                self.assertEqual(Reading().feed(*pieces).frames(), expected, (at, width))

    def test_dataAsItComes(self) -> None:
        """
        DATA is passed on at once, and only its last piece has the flags.
        """
        written = frame(DATA, 5, b"abcdef", LAST)
        reading = Reading().feed(written[:OVERHEAD])
        self.assertEqual(reading.pieces, [])
        reading.feed(b"ab")
        self.assertEqual(reading.pieces, [(DATA, 5, 0, b"ab")])
        reading.feed(b"cde")
        reading.feed(b"f")
        self.assertEqual(reading.pieces[1:], [(DATA, 5, 0, b"cde"), (DATA, 5, LAST, b"f")])

    def test_dataCutAtHeader(self) -> None:
        """
        The pieces of DATA are never empty, but for that of a frame without payload.
        """
        written = frame(DATA, 5, b"abc", LAST)
        for at in range(len(written) + 1):
            reading = Reading().feed(*filter(None, (written[:at], written[at:])))
            self.assertTrue(all(piece[3] for piece in reading.pieces), at)
        self.assertEqual(Reading().feed(frame(DATA, 5)).pieces, [(DATA, 5, 0, b"")])

    def test_limit(self) -> None:
        """
        A payload of the limit is taken, one of a byte more is refused as soon as its header has come.
        """
        for kind in (HELLO, REQUEST, RESPONSE, END, RESET, CREDIT, GOAWAY, 99, 255):
            reading = Reading().feed(frame(kind, 1, b"x" * LIMIT))
            self.assertEqual(reading.pieces, [(kind, 1, 0, b"x" * LIMIT)])
            for pieces in (
                [frame(kind, 1, b"x" * (LIMIT + 1))],
                [header(LIMIT + 1, 1, kind, 0)],
                singly(header(LIMIT + 1, 1, kind, 0)),
                [header(0xFFFFFFFF, 1, kind, 0) + b"x"],
                [frame(DATA, 1, b"d") + header(LIMIT + 1, 1, kind, 0)],
            ):
                error = self.assertRaises(FrameError, Reading().feed, *pieces)
                self.assertIn(f"{LIMIT} are allowed", str(error))

    def test_dataHasNoLimit(self) -> None:
        """
        DATA of 4 GiB may be announced: it is bounded by credit.
        """
        reading = Reading().feed(header(0xFFFFFFFF, 1, DATA, LAST), b"x" * 5000)
        self.assertEqual(reading.pieces, [(DATA, 1, 0, b"x" * 5000)])
        self.assertFalse(reading.reader.atBoundary())

    def test_boundary(self) -> None:
        """
        It is at a boundary only after whole frames.
        """
        whole = b"".join(written for written, _ in EXAMPLES)
        ends = [0]
        for written, _ in EXAMPLES:
            ends.append(ends[-1] + len(written))
        reading = Reading()
        self.assertTrue(reading.reader.atBoundary())
        for at in range(len(whole)):
            reading.feed(whole[at : at + 1])
            self.assertEqual(reading.reader.atBoundary(), at + 1 in ends, at + 1)

    def test_nothing(self) -> None:
        """
        No bytes are no frame, wherever they come.
        """
        written = frame(RESPONSE, 5, b"abc")
        for at in range(len(written) + 1):
            reading = Reading().feed(b"", written[:at], b"", b"", written[at:], b"")
            self.assertEqual(reading.pieces, [(RESPONSE, 5, 0, b"abc")])

    def test_joinedOnce(self) -> None:
        """
        A head of 64 KiB in single bytes is joined once, and not again and again.
        """
        copies = Copies()
        size = 65536
        reading = Reading(limit=size)
        joins = 0
        for piece in singly(frame(RESPONSE, 1, b"h" * size)):
            before = len(reading.reader._held)
            reading.feed(copies.watch(piece))
            joins += before > len(reading.reader._held)
        self.assertEqual(reading.pieces, [(RESPONSE, 1, 0, b"h" * size)])
        self.assertLessEqual(joins, 2)
        self.assertLess(copies.count, 4 * size)

    def test_manySmallFrames(self) -> None:
        """
        Many frames in one piece are not copied over and over either.
        """
        copies = Copies()
        whole = copies.watch(numberFrame(CREDIT, 1, 1) * 10000 + b"\x00" * 9)
        reading = Reading().feed(whole)
        self.assertEqual(len(reading.pieces), 10000)
        self.assertLess(copies.count, 2 * len(whole))

    def test_holdsNoMoreThanItsLimit(self) -> None:
        """
        What it holds of a DATA frame is nothing at all.
        """
        reader = FrameReader(lambda *_: None, LIMIT)
        reader.feed(header(1 << 24, 1, DATA, 0))
        piece = bytes(1 << 16)
        tracemalloc.start()
        try:
            for _ in range(200):
                reader.feed(piece)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(held, 1 << 16)


FRAMES = st.lists(
    st.tuples(
        st.integers(0, 255),
        st.integers(0, 0xFFFFFFFF),
        st.integers(0, 255),
        st.binary(max_size=80) | st.integers(81, LIMIT).map(bytes),
    ),
    max_size=8,
)


class Fuzz(SynchronousTestCase):
    """
    L{FrameReader} and anything.
    """

    @examples(300)
    @given(FRAMES, st.data())
    def test_roundTrip(self, frames: list[Frame], data: st.DataObject) -> None:
        """
        Any frames come as they were sent, however they are cut.
        """
        whole = b"".join(
            frame(kind, stream, payload, flags) for kind, stream, flags, payload in frames
        )
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
        pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        expected = Reading().feed(whole)
        self.assertEqual(expected.pieces, frames)
        found = Reading().feed(*pieces)
        self.assertEqual(found.frames(), expected.frames())
        self.assertTrue(found.reader.atBoundary())

    @examples(500)
    @given(st.binary(max_size=400), st.integers(1, 50), st.sampled_from([0, 10, 100]))
    def test_anything(self, data: bytes, width: int, limit: int) -> None:
        """
        Random bytes raise nothing but L{FrameError}, and that wherever they are cut.
        """
        results = []
        for pieces in ([data], [data[at : at + width] for at in range(0, len(data), width)]):
            reading = Reading(limit)
            try:
                reading.feed(*pieces)
            except FrameError:
                results.append((reading.frames(), True))
            else:
                results.append((reading.frames(), False))
        self.assertEqual(*results)

    @examples(300)
    @given(st.binary(max_size=60))
    def test_payloads(self, payload: bytes) -> None:
        """
        Nor do random payloads of the types that have a form.
        """
        for parse in (parseRequestPayload, parseNumber):
            try:
                parse(payload)
            except FrameError as error:
                self.assertTrue(str(error))
