"""
WebSocket frames: what is read and refused, and how they are written.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from invproxy.test.websocketframes import (
    KEY,
    Event,
    Frames,
    Reading,
    Taker,
    frame,
    read,
    singly,
)
from invproxy.wire.websocket import (
    CLOSE,
    NO_STATUS,
    PING,
    PONG,
    Keys,
    MessageDecoder,
    binaryHeader,
    closePayload,
    control,
    mask,
)


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
