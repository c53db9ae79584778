"""
Lines that were understood, and heads that have no others.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.http1 import lines as module
from invproxy.http1.fields import FIELD_LINES
from invproxy.http1.framing import CHUNKED
from invproxy.http1.lines import (
    CODING,
    HOP,
    HOST,
    INTRICATE,
    LENGTH,
    PLAIN,
    Section,
    fieldLine,
    readSection,
    statusLine,
)

_USUAL = {
    b"Host: example.com:8080": HOST,
    b"host:[::1]": HOST,
    b"Host: a b": INTRICATE,
    b"Host: " + b"a" * 300: INTRICATE,
    b"Content-Length: 17": LENGTH,
    b"content-length:0": LENGTH,
    b"Content-Length: 1, 1": INTRICATE,
    b"Content-Length: 1234567890123456": INTRICATE,
    b"Content-Length: +1": INTRICATE,
    b"Transfer-Encoding: chunked": CODING,
    b"transfer-encoding:  CHUNKED ": CODING,
    b"Transfer-Encoding:\tchunked": INTRICATE,
    b"Transfer-Encoding: gzip": INTRICATE,
    b"Connection: keep-alive": HOP,
    b"connection:Keep-Alive ": HOP,
    b"Connection: close": INTRICATE,
    b"Connection: keep-alive, X-A": INTRICATE,
    b"Keep-Alive: timeout=5": HOP,
    b"Proxy-Authorization: Basic YTpi": HOP,
    b"Upgrade: websocket": INTRICATE,
    b"Expect: 100-continue": INTRICATE,
    b"TE: trailers": INTRICATE,
    b"Accept: */*": PLAIN,
    b"X-Empty:": PLAIN,
    b"Content-Type: text/plain": PLAIN,
}
"""Lines, and what they mean."""

_MALFORMED = (b"", b"a", b": a", b"a : b", b"a: b\r", b"a: \nb", b"a: \x00", b" a: b", b"a\xe9: b")


def section(*lines: bytes) -> Section | None:
    """
    Read a header section.
    """
    data = b"\r\n".join((b"GET / HTTP/1.1", *lines, b"", b""))
    return readSection(data, data.split(b"\r\n"))


class LineTests(SynchronousTestCase):
    """
    Single lines.
    """

    def setUp(self) -> None:
        self.addCleanup(self._restore, dict(module._known), dict(module._knownStatuses))
        module._known.clear()
        module._knownStatuses.clear()

    def _restore(self, known: dict[bytes, module.Line], statuses: dict[bytes, module.Line]) -> None:
        module._known.clear()
        module._known.update(known)
        module._knownStatuses.clear()
        module._knownStatuses.update(statuses)

    def test_kinds(self) -> None:
        """
        Each line is understood, at first sight and when it comes again.
        """
        for line, kind in _USUAL.items():
            for _ in range(2):
                read = fieldLine(line)
                assert read is not None, line
                self.assertEqual(read.kind, kind, line)

    def test_values(self) -> None:
        """
        A Host has a value, a length a number.
        """
        host, length = fieldLine(b"Host: \ta.example "), fieldLine(b"Content-Length: 0042")
        assert host is not None and length is not None
        self.assertEqual(host.value, b"a.example")
        self.assertEqual(length.number, 42)

    def test_malformed(self) -> None:
        """
        What is no field line is none, and is not remembered.
        """
        for line in _MALFORMED:
            self.assertIsNone(fieldLine(line), line)
        self.assertEqual(module._known, {})

    def test_secrets(self) -> None:
        """
        Credentials and cookies are not remembered, nor are long lines.
        """
        for line in (
            b"Authorization: Bearer a",
            b"Proxy-Authorization: Basic YTpi",
            b"Cookie: a=b",
            b"Set-Cookie: a=b",
            b"X-API-Key: a",
            b"X-CSRF-Token: a",
            b"X-Long: " + b"a" * 300,
        ):
            self.assertIsNotNone(fieldLine(line), line)
        self.assertEqual(module._known, {})
        fieldLine(b"Accept: */*")
        self.assertEqual(list(module._known), [b"Accept: */*"])

    def test_bounded(self) -> None:
        """
        No more lines are remembered than a bound says, however many come.
        """
        for number in range(2 * module._MOST + 10):
            fieldLine(b"X-A: %d" % number)
            statusLine(b"HTTP/1.1 200 %d" % number)
        self.assertLessEqual(len(module._known), module._MOST)
        self.assertLessEqual(len(module._knownStatuses), module._MOST_STATUSES)
        self.assertIn(b"X-A: %d" % (2 * module._MOST + 9), module._known)

    def test_status(self) -> None:
        """
        Status lines of final responses that may have bodies are read, others not.
        """
        for _ in range(2):
            read = statusLine(b"HTTP/1.1 404 Not Found")
            assert read is not None
            self.assertEqual((read.number, read.value), (404, b" Not Found"))
        for line in (
            b"HTTP/1.1 204 No Content",
            b"HTTP/1.1 304 Not Modified",
            b"HTTP/1.1 101 Switching Protocols",
            b"HTTP/1.0 200 OK",
            b"HTTP/1.1 200OK",
            b"HTTP/1.1 200 a\nb",
            b"HTTP/1.1  200 OK",
            b"GET / HTTP/1.1",
        ):
            self.assertIsNone(statusLine(line), line)

    @given(st.binary(max_size=40) | st.from_regex(rb"[!-~]{1,8}: ?[ -~]{0,12}", fullmatch=True))
    def test_grammar(self, line: bytes) -> None:
        """
        What is taken for a field line is one by the grammar of header sections, and nothing else is.
        """
        isLine = re.fullmatch(FIELD_LINES, b"\r\n" + line) is not None and b"\r\n" not in line
        self.assertEqual(fieldLine(line) is not None, isLine)
        self.assertEqual(fieldLine(line) is not None, isLine)


class SectionTests(SynchronousTestCase):
    """
    Whole header sections.
    """

    def test_usual(self) -> None:
        """
        What most messages have is read without a closer look.
        """
        read = section(
            b"Host: a.example",
            b"Connection: keep-alive",
            b"Accept: */*",
            b"Content-Length: 3",
            b"Keep-Alive: timeout=5",
        )
        assert read is not None
        self.assertEqual(read.host, b"a.example")
        self.assertEqual(read.framing, 3)
        self.assertEqual(read.block, b"\r\nHost: a.example\r\nAccept: */*\r\nContent-Length: 3")

    def test_chunked(self) -> None:
        """
        The coding is no part of what goes on.
        """
        read = section(b"Transfer-Encoding: chunked", b"A: b")
        assert read is not None
        self.assertEqual((read.block, read.framing, read.host), (b"\r\nA: b", CHUNKED, None))

    def test_empty(self) -> None:
        """
        There may be no field at all.
        """
        read = section()
        assert read is not None
        self.assertEqual((read.block, read.framing, read.host), (b"", None, None))

    def test_closerLook(self) -> None:
        """
        What is said twice, contradicts itself or is rare asks for a closer look.
        """
        for lines in (
            (b"Host: a", b"Host: a"),
            (b"Content-Length: 1", b"Content-Length: 1"),
            (b"Content-Length: 1", b"Transfer-Encoding: chunked"),
            (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
            (b"Connection: close",),
            (b"A: b", b" folded"),
            (b"A: b", b"", b"C: d"),
        ):
            self.assertIsNone(section(*lines), lines)

    def test_unfinished(self) -> None:
        """
        What does not end with an empty line is no head.
        """
        for data in (b"", b"\r\n", b"a", b"a\r\n", b"a\r\nb: c", b"a\r\nb: c\r\n"):
            self.assertIsNone(readSection(data, data.split(b"\r\n")), data)
