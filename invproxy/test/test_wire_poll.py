"""
Values of the poll protocol.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.test.messages import examples
from invproxy.wire.poll import (
    MAX_IDS,
    MAX_PENDING_BYTES,
    OUR_FEATURES,
    features,
    formatIDs,
    formatTime,
    isBackendID,
    parseIDs,
)


class TimeTests(SynchronousTestCase):
    """
    L{formatTime}.
    """

    def test_form(self) -> None:
        """
        RFC 3339 with nanoseconds.
        """
        for seconds, text in (
            (0.0, b"1970-01-01T00:00:00.000000000Z"),
            (1_800_000_000.25, b"2027-01-15T08:00:00.250000000Z"),
            (0.9999999999, b"1970-01-01T00:00:01.000000000Z"),
            (1e-9, b"1970-01-01T00:00:00.000000001Z"),
        ):
            self.assertEqual(formatTime(seconds), text)

    @examples(100)
    @given(st.floats(0, 4e9))
    def test_exact(self, seconds: float) -> None:
        """
        It is the time, as exactly as there are digits.
        """
        text = formatTime(seconds).decode()
        whole = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
        self.assertEqual(len(text), 30)
        self.assertAlmostEqual(
            whole.timestamp() - seconds + int(text[20:29]) / 1e9, 0.0, delta=1e-6
        )


class IDsTests(SynchronousTestCase):
    """
    L{formatIDs} and L{parseIDs}.
    """

    @examples(100)
    @given(st.lists(st.text("abcdef0123456789-_", min_size=1, max_size=256)))
    def test_roundTrip(self, ids: list[str]) -> None:
        """
        One reads what the other writes.
        """
        self.assertEqual(parseIDs(formatIDs(ids)), ids)
        self.assertEqual(json.loads(formatIDs(ids)), ids)

    def test_empty(self) -> None:
        """
        C{[]}, C{null} and nothing at all.
        """
        self.assertEqual(formatIDs([]), b"[]")
        for body in (b"[]", b"null", b"", b" \n", b"null\n", b" [ ] "):
            self.assertEqual(parseIDs(body), [])

    def test_bad(self) -> None:
        """
        Anything else is a L{ValueError}: other JSON, IDs that would break a head, no JSON, JSON as deep as it is long.
        """
        for body in (
            b"{}",
            b'"a"',
            b"1",
            b"true",
            b"[1]",
            b"[null]",
            b'[""]',
            b'["a", 1]',
            b'["a b"]',
            b'["a\\r\\nX: y"]',
            b'["\\u0000"]',
            b'["\xc3\xa9"]',
            b'["' + b"x" * 257 + b'"]',
            b"<html>",
            b'["a"',
            b"\xff\xfe[",
            b"[" * MAX_PENDING_BYTES,
            b"9" * 10000,
        ):
            self.assertRaises(ValueError, parseIDs, body)

    @examples(100)
    @given(st.binary())
    def test_any(self, body: bytes) -> None:
        """
        No bytes do anything but that.
        """
        try:
            found = parseIDs(body)
        except ValueError:
            return
        self.assertIsInstance(found, list)

    def test_fits(self) -> None:
        """
        As many as are named at once are far from the most that an agent reads.
        """
        self.assertLess(len(formatIDs(["f" * 256] * MAX_IDS)), MAX_PENDING_BYTES // 10)


class NamesTests(SynchronousTestCase):
    """
    Backend IDs and features.
    """

    def test_backendID(self) -> None:
        """
        Letters, digits and a few more; not too many.
        """
        for good in (b"a", b"web-1.example", b"user@host/a:b_~", b"x" * 256):
            self.assertTrue(isBackendID(good), good)
        for bad in (b"", b" ", b"a b", b"a\n", b"\xe9", b"a,b", b'"a"', b"x" * 257, b"a\x00"):
            self.assertFalse(isBackendID(bad), bad)

    def test_features(self) -> None:
        """
        A list in any case, on any number of lines; what is not known is no harm.
        """
        self.assertEqual(features(OUR_FEATURES), {b"interim", b"upgrade"})
        block = (
            b"\r\nx-inverting-proxy-features: Interim ,, new\r\nX-Inverting-Proxy-Features: UPGRADE"
        )
        self.assertEqual(features(block), {b"interim", b"upgrade", b"new"})
        self.assertEqual(features(b"\r\nX-Other: interim"), frozenset())
