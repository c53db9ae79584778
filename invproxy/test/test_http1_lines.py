"""
Lines that were understood, and heads that have no others.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.errors import HEAD_TOO_LARGE, TARGET_TOO_LONG, Fault
from invproxy.http1 import lines as module
from invproxy.http1.fields import FIELD_LINES, dropper, finder
from invproxy.http1.forwarding import forward
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import RequestHead
from invproxy.http1.limits import DEFAULT_LIMITS, Limits
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
from invproxy.http1.marks import ANYTHING, DATE, OWN, REFERER, USER_AGENT, VIA
from invproxy.http1.parsing import RequestParser, parseRequest

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

_NAMES = st.sampled_from(
    (
        b"X-Inverting-Proxy-Backend",
        b"X_Inverting-Proxy_User-ID",
        b"X-Inverting-Proxy",
        b"Forwarded",
        b"X-Forwarded-For",
        b"X_Forwarded_Host",
        b"X-Forwarded",
        b"X-Real-IP",
        b"x-real_ip",
        b"Via",
        b"Date",
        b"Referer",
        b"User-Agent",
        b"Accept",
    )
)
_CASED = st.one_of(_NAMES, _NAMES.map(bytes.lower), _NAMES.map(bytes.upper))
"""Names of fields for which somebody looks, and of some that are like them."""

_MALFORMED = (b"", b"a", b": a", b"a : b", b"a: b\r", b"a: \nb", b"a: \x00", b" a: b", b"a\xe9: b")


def section(*lines: bytes) -> Section | None:
    """
    Read a header section.
    """
    wire = b"\r\n".join((b"", *lines, b"", b""))
    return readSection(wire, wire.split(b"\r\n"))


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
            b"Referer: https://a/?code=1",
            b"Location: /reset?t=1",
            b"Sec-WebSocket-Protocol: bearer.a",
            b"X-Anything: a",
            b"User-Agent: " + b"a" * 300,
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
            fieldLine(b"ETag: %d" % number)
            statusLine(b"HTTP/1.1 200 %d" % number)
        self.assertLessEqual(len(module._known), module._MOST)
        self.assertLessEqual(len(module._knownStatuses), module._MOST_STATUSES)
        self.assertIn(b"ETag: %d" % (2 * module._MOST + 9), module._known)

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


class MarkTests(SynchronousTestCase):
    """
    What a section is said not to have.
    """

    def head(self, names: list[bytes]) -> RequestHead:
        """
        Make a request with these fields.
        """
        lines = [b"GET / HTTP/1.1", b"Host: a", *(name + b": b" for name in names), b"", b""]
        return parseRequest(b"\r\n".join(lines), DEFAULT_LIMITS)

    @given(st.lists(_CASED, max_size=3))
    def test_nothingIsMissed(self, names: list[bytes]) -> None:
        """
        Whoever looks for nothing, as it is said not to be there, would have found nothing.
        """
        head = self.head(names)
        for bit, find in (
            (OWN, finder(b"X-Inverting-Proxy-Backend")),
            (VIA, finder(b"Via")),
            (DATE, finder(b"Date")),
            (REFERER, finder(b"Referer")),
            (USER_AGENT, finder(b"User-Agent")),
        ):
            if not head.marks & bit:
                self.assertIsNone(find(head.fields), names)
        if not head.marks & OWN:
            drop = dropper(b"x-inverting-proxy-*", alike=True)
            self.assertEqual(drop(head.fields), head.fields)

    @given(st.lists(_CASED, max_size=3))
    def test_forwarding(self, names: list[bytes]) -> None:
        """
        What goes on is the same as without a word about what is there.
        """
        head = self.head(names)

        def forwarded(marks: int) -> bytes:
            return forward(
                head.fields,
                peer=b"192.0.2.1",
                secure=False,
                host=b"a",
                trusted=False,
                via=b"v",
                minor=1,
                marks=marks,
            )

        self.assertEqual(forwarded(head.marks), forwarded(ANYTHING))

    def test_usual(self) -> None:
        """
        A request that has nothing of the kind is known to have nothing.
        """
        self.assertEqual(self.head([b"Accept", b"X-Forwarded", b"Accept-Language"]).marks, 0)

    def test_changed(self) -> None:
        """
        Nothing is known of fields that were changed, or that took a closer look.
        """
        self.assertEqual(self.head([]).withFields(b"\r\nVia: a").marks, ANYTHING)
        self.assertEqual(self.head([]).withHost(b"b").marks, ANYTHING)
        self.assertEqual(self.head([b"Upgrade"]).marks, ANYTHING)


class ParserTests(SynchronousTestCase):
    """
    Heads that come one after the other.
    """

    def kept(self, parser: RequestParser, *lines: bytes) -> bytes:
        """
        Parse a request.

        @return: what the parser keeps of it.
        """
        parser.parse(b"\r\n".join((b"GET / HTTP/1.1", b"Host: a", *lines, b"", b"")))
        return parser._sections._former

    def test_secrets(self) -> None:
        """
        Of many clients' requests, none that may tell a secret is kept; a client's own last one is.
        """
        shared = RequestParser(DEFAULT_LIMITS)
        self.assertIn(b"Accept: b", self.kept(shared, b"Accept: b"))
        self.assertNotIn(b"SECRET", self.kept(shared, b"Cookie: a=SECRET"))
        own = RequestParser(DEFAULT_LIMITS, areOnesOwn=True)
        self.assertIn(b"a=b", self.kept(own, b"Cookie: a=b"))
        self.assertNotIn(b"c=d", self.kept(own, b"Cookie: c=d", b"A: " + b"a" * 2000))

    def test_sameSection(self) -> None:
        """
        The same section behind another first line is held to the same limits.
        """
        limits = Limits(head=2000, line=1500, fields=3)
        parser = RequestParser(limits)
        section = b" HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 900 + b"\r\n\r\n"
        for _ in range(2):
            self.assertEqual(parser.parse(b"GET /" + section).host, b"a")
        for target, code in (
            (b"/" + b"t" * 1300, HEAD_TOO_LARGE),
            (b"/" + b"t" * 1600, TARGET_TOO_LONG),
        ):
            fault = self.assertRaises(Fault, parser.parse, b"GET " + target + section)
            self.assertIs(fault.code, code)


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

    def test_manyNew(self) -> None:
        """
        A section with many lines that nobody has seen is left to the closer look, and little of it is remembered.
        """
        lines = [b"Accept: %d" % number for number in range(100)]
        before = len(module._known)
        self.assertIsNone(section(*lines))
        self.assertLessEqual(len(module._known), before + module._MOST_NEW)
        self.assertIsNotNone(section(*lines[: module._MOST_NEW]))

    def test_secrets(self) -> None:
        """
        It is said of a section whether it may tell secrets.
        """
        for lines, tellsNoSecret in (
            ((b"Host: a", b"Accept: */*"), True),
            ((b"Host: a", b"Cookie: a=b"), False),
            ((b"X-Mine: a",), False),
        ):
            for _ in range(2):
                read = section(*lines)
                assert read is not None
                self.assertEqual(read.tellsNoSecret, tellsNoSecret, lines)

    def test_unfinished(self) -> None:
        """
        What does not end with an empty line is no head.
        """
        for wire in (b"", b"\r\n", b"\r\nb: c", b"\r\nb: c\r\n", b"b: c\r\n\r\n"):
            self.assertIsNone(readSection(wire, wire.split(b"\r\n")), wire)
