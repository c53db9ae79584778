"""
Where a body ends.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.errors import Fault
from invproxy.http1.framing import (
    CHUNKED,
    UNTIL_CLOSE,
    BodyDecoder,
    bodyDecoder,
    bodyFraming,
    lastChunk,
)
from invproxy.http1.limits import DEFAULT_LIMITS, Limits
from invproxy.test import messages
from invproxy.test.messages import examples


def decode(decoder: BodyDecoder, pieces: list[bytes]) -> tuple[list[bytes], bytes | None]:
    """
    Decode until the end.

    @return: what was written, and what stands behind the end, or L{None} if it was not reached.
    """
    written: list[bytes] = []
    for number, piece in enumerate(pieces):
        rest = decoder.decode(piece, written.append)
        if rest is not None:
            return written, rest + b"".join(pieces[number + 1 :])
    return written, None


class Decoders(SynchronousTestCase):
    """
    Each kind of body.
    """

    def test_length(self) -> None:
        for pieces, written, rest in (
            ([b"ab"], [b"ab"], None),
            ([b"abc"], [b"abc"], b""),
            ([b"abcd"], [b"abc"], b"d"),
            ([b"a", b"", b"bcd", b"e"], [b"a", b"bc"], b"de"),
        ):
            decoder = bodyDecoder(3, DEFAULT_LIMITS)
            self.assertFalse(decoder.atEnd())
            self.assertEqual(decode(decoder, pieces), (written, rest))
            self.assertEqual(decoder.atEnd(), rest is not None)
            self.assertEqual(decoder.trailers, b"")

    def test_noLength(self) -> None:
        decoder = bodyDecoder(0, DEFAULT_LIMITS)
        self.assertTrue(decoder.atEnd())
        self.assertEqual(decode(decoder, [b"a"]), ([], b"a"))

    def test_untilClose(self) -> None:
        decoder = bodyDecoder(UNTIL_CLOSE, DEFAULT_LIMITS)
        self.assertEqual(decode(decoder, [b"a", b"", b"b"]), ([b"a", b"b"], None))
        self.assertTrue(decoder.atEnd())

    def test_chunks(self) -> None:
        decoder = bodyDecoder(CHUNKED, DEFAULT_LIMITS)
        written, rest = decode(
            decoder,
            [b'3\r\nabc\r\n00A;x;y=z;q="a;\\""\r\n0123456789\r\n0\r\nA: b\r\nC:\r\n\r\nrest'],
        )
        self.assertEqual((written, rest), ([b"abc", b"0123456789"], b"rest"))
        self.assertEqual(decoder.trailers, b"\r\nA: b\r\nC:")
        self.assertTrue(decoder.atEnd())

    def test_passedOnAtOnce(self) -> None:
        """
        No byte of a chunk waits for the next.
        """
        decoder = bodyDecoder(CHUNKED, DEFAULT_LIMITS)
        written: list[bytes] = []
        decoder.decode(b"5\r\na", written.append)
        self.assertEqual(written, [b"a"])
        decoder.decode(b"bcde", written.append)
        self.assertEqual(written, [b"a", b"bcde"])
        decoder.decode(b"\r\n1\r", written.append)
        decoder.decode(b"\nf", written.append)
        self.assertEqual(written, [b"a", b"bcde", b"f"])
        self.assertFalse(decoder.atEnd())

    def test_wholePiecesAreNotCopied(self) -> None:
        piece = b"x" * 1000
        for framing, start in ((5000, b""), (UNTIL_CLOSE, b""), (CHUNKED, b"1000\r\n")):
            decoder = bodyDecoder(framing, DEFAULT_LIMITS)
            written: list[bytes] = []
            decoder.decode(start, written.append)
            decoder.decode(piece, written.append)
            self.assertIs(written[-1], piece)

    @examples(200)
    @given(
        messages.bodies.flatmap(lambda body: st.tuples(st.just(body), messages.chunked(body))),
        st.data(),
    )
    def test_anyCut(self, body: tuple[bytes, bytes], data: st.DataObject) -> None:
        content, written = body
        pieces = data.draw(messages.pieces(st.just(written + b"rest")))
        decoder = bodyDecoder(CHUNKED, DEFAULT_LIMITS)
        whole = bodyDecoder(CHUNKED, DEFAULT_LIMITS)
        parts, rest = decode(decoder, pieces)
        self.assertEqual((b"".join(parts), rest), (content, b"rest"))
        decode(whole, [written])
        self.assertEqual(decoder.trailers, whole.trailers)

    def test_sizesAtTheLimit(self) -> None:
        """
        A chunk line and a trailer section may be as long as the limit says with the CRLF behind them, in any cut.
        """
        limits = Limits(chunkLine=12, trailers=14)
        for start, fine in (
            (b"1;aaaaaaaa\r\n", True),
            (b"1;aaaaaaaaa\r\n", False),
            (b"0\r\nA:bcdefg\r\n\r\n", True),
            (b"0\r\nA:bcdefgh\r\n\r\n", False),
        ):
            for pieces in [start], [start[at : at + 1] for at in range(len(start))]:
                decoder = bodyDecoder(CHUNKED, limits)
                if fine:
                    decode(decoder, pieces)
                else:
                    fault = self.assertRaises(Fault, decode, decoder, pieces)
                    self.assertEqual(fault.code.name, "bad-request")


class Framing(SynchronousTestCase):
    """
    L{bodyFraming}.
    """

    def test_decided(self) -> None:
        for lengths, codings, framing in (
            ([], [], None),
            ([b"0"], [], 0),
            ([b"007"], [], 7),
            ([b"9" * 15], [], 10**15 - 1),
            ([], [b"chunked"], CHUNKED),
            ([], [b"CHUNKED"], CHUNKED),
        ):
            self.assertEqual(bodyFraming(lengths, codings, 1), framing)

    def test_refused(self) -> None:
        for lengths, codings, minor, status in (
            ([b"1", b"1"], [], 1, 400),
            ([b"1,1"], [], 1, 400),
            ([b""], [], 1, 400),
            ([b"9" * 16], [], 1, 400),
            ([b"1"], [b"chunked"], 1, 400),
            ([b"1"], [b"gzip"], 1, 400),
            ([], [b"chunked"], 0, 400),
            ([], [b"chunked", b"chunked"], 1, 400),
            ([], [b"gzip", b"chunked"], 1, 501),
            ([], [b"br"], 1, 501),
        ):
            fault = self.assertRaises(Fault, bodyFraming, lengths, codings, minor)
            self.assertEqual(fault.code.status, status)

    def test_lastChunk(self) -> None:
        """
        What ends a body ends it, with the trailers that it was given.
        """
        for trailers in b"", b"\r\nA: b":
            decoder = bodyDecoder(CHUNKED, DEFAULT_LIMITS)
            self.assertEqual(decode(decoder, [lastChunk(trailers)]), ([], b""))
            self.assertEqual(decoder.trailers, trailers)
