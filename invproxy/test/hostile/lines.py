"""
Line ends, control characters, names and values of fields, and what is too much of them (RFC 9112, sections 2.2 and 5).
"""

from __future__ import annotations

from invproxy.test.hostile.cases import (
    GOES_ON,
    HOST,
    SMUGGLED,
    WAITS,
    Case,
    Seen,
    passes,
    request,
    sized,
)

_ENDS = "RFC 9112, 2.2"
_FIELD = "RFC 9112, 5"
_VALUE = "RFC 9110, 5.5"
_FOLD = "RFC 9112, 5.2"
_MUCH = "RFC 9110, 5.4"
_LINE = "RFC 9112, 3"
_SPLITTING = "CVE-2018-12116, splitting by truncated characters"


def _field(name: str, line: bytes, source: str = _FIELD) -> Case:
    """
    A request with a field line that is none.
    """
    return Case(name, source, request(line, b"A: b"))


def _kept(name: str, line: bytes, source: str = _VALUE) -> Case:
    """
    A request with a field line that is strange, and goes on as it is.
    """
    return passes(name, source, request(line), Seen(b"GET /", (HOST, line)))


LINES = (
    Case("LF for the first line alone", _ENDS, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    Case("LF for the empty line alone", _ENDS, b"GET / HTTP/1.1\r\nHost: a\r\n\n" + SMUGGLED),
    Case("CRLF LF at the end", _ENDS, b"GET / HTTP/1.1\r\nHost: a\n\nX: y\r\n\r\n"),
    Case("CR CR LF everywhere", _ENDS, b"GET / HTTP/1.1\r\r\nHost: a\r\r\n\r\r\n"),
    Case("CR CR LF at the end", _ENDS, b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n"),
    Case("CRLF CR X", _ENDS, b"GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n"),
    Case("a bare CR in the first line", _ENDS, b"GET / HTTP/1.1\rX: y\r\nHost: a\r\n\r\n"),
    Case("a bare CR in the target", _ENDS, b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("a bare CR in the method", _ENDS, b"GE\rT / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("a bare LF in the target", _ENDS, b"GET /\n HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("a bare CR before the colon", _ENDS, request(b"X\r: y")),
    Case("a bare CR behind the colon", _ENDS, request(b"X:\r y")),
    Case("a bare CR and a framing field", _ENDS, request(b"X: y\rContent-Length: 5")),
    Case("a bare LF and a Host", _ENDS, request(b"X: y\nHost: b")),
    Case("LF LF in a value", _ENDS, request(b"X: y\n\n" + SMUGGLED[:-4])),
    Case("white space alone before a request", _ENDS, b"   " + request()),
    Case("empty lines by LF", _ENDS, b"\n\n" + request()),
    Case("three empty lines", _ENDS, b"\r\n" * 3 + request()),
    Case("empty lines without end", _ENDS, b"\r\n" * 3000),
    Case("CRLF CR before a request", _ENDS, b"\r\n\r" + request()),
    Case("NUL before a request", _ENDS, b"\0" + request()),
    Case("NUL alone", _ENDS, b"\0" * 500),
    Case("an empty line and no more", _ENDS, b"\r\n", (), (Seen(b"GET /"),), WAITS, request()),
    Case("half an empty line", _ENDS, b"\r", (), (Seen(b"GET /"),), WAITS, b"\n" + request()),
    passes("NEL in a value", _VALUE, request(b"X: y\x85Z: w"), Seen(b"GET /", (HOST, b"X: y\x85Z: w"))),
    _kept("a line separator in a value", "X: y\u2028Z: w".encode()),
    _kept("characters that end in CR and LF", "X: y\u010d\u010aZ: w".encode(), _SPLITTING),
    Case("characters that end in CR and LF in a target", _SPLITTING, request(first="GET /\u010d\u010a HTTP/1.1".encode())),
    _kept("an overlong LF in a value", b"X: y\xc0\x8aZ: w"),
    _kept("percent-encoded line ends in a value", b"X: y%0d%0aZ: w"),
    _kept("backslash line ends in a value", b"X: y\\r\\nZ: w"),
    _kept("all of obs-text in a value", b"X: " + bytes(range(0x80, 0x100)).replace(b"\xa0", b"")),
    _kept("tabs within a value", b"X: a\t\tb"),
    _kept("an empty value", b"X:"),
    _kept("a value of a colon", b"X: :"),
    _kept("a name of all that is allowed", b"!#$%&'*+-.^_`|~09azAZ: b", _FIELD),
    _kept("log4j in a value", b"X-Api-Version: ${jndi:ldap://127.0.0.1/a}", "CVE-2021-44228"),
    _kept("shellshock in a value", b"User-Agent: () { :;}; echo", "CVE-2014-6271"),
    _kept("httpoxy", b"Proxy: http://127.0.0.1:1", "CVE-2016-5385"),
    *(
        Case(f"control character {byte:02x} in a value", _VALUE, request(b"X: y%cz" % byte))
        for byte in (0x01, 0x07, 0x08, 0x0B, 0x0C, 0x1F)
    ),
    *(
        Case(f"control character {byte:02x} in a target", _LINE, request(first=b"GET /a%cb HTTP/1.1" % byte))
        for byte in (0x01, 0x09, 0x0B, 0x0C, 0x1B, 0x7F)
    ),
    *(
        _field(f"{chr(byte)} in a name", b"X%cY: z" % byte)
        for byte in b'"(),/;<=>?@[\\]{}'
    ),
    _field("a name and a tab", b"X\t: y"),
    _field("a name in latin-1", b"\xdcber: y"),
    _field("a name with a zero-width space", "X\u200b: y".encode()),
    _field("a name of a space", b" : y"),
    _field("a name of HTTP/2", b":authority: b"),
    _field("a line of a colon", b":"),
    _field("a line of a word", b"Content-Length"),
    _field("a second first line", b"GET /smuggled HTTP/1.1"),
    _field("a line with NUL alone", b"\0"),
    _field("a folded line of a vertical tab", b"X: y\r\n\x0bz"),
    _field("a folded line of spaces", b"X: y\r\n    ", _FOLD),
    _field("a folded length", b"X: y\r\n Content-Length: 5", _FOLD),
    _field("a folded coding", b"X: y\r\n\tTransfer-Encoding: chunked", _FOLD),
    _field("a name folded", b"X\r\n : y", _FOLD),
    Case("a folded line behind the first line", _FOLD, b"GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n"),
    Case("a folded first line", _FOLD, b"GET /\r\n HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("a folded Host", _FOLD, b"GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
    Case("a Host folded into another", _FOLD, b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"),
    Case("fields without end", _MUCH, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 700, (431,)),
    Case("a value without end", _MUCH, b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 4000, (431,)),
    Case("a name without end", _MUCH, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A" * 4100, (431,)),
    Case("a target without end", _LINE, b"GET /" + b"a" * 1100, (414,)),
    Case("a method without end", _LINE, b"G" * 1100, (414,)),
    Case("spaces without end", _LINE, b"GET " + b" " * 1100, (414,)),
    Case("a version without end", _LINE, b"GET / HTTP/1." + b"1" * 1100, (414,)),
    Case("a Host without end", _MUCH, request(host=b"Host: " + b"a" * 4000), (431,)),
    Case("forty-one fields", _MUCH, request(*[b"A: b"] * 40), (431,)),
    Case("a cookie too long", _MUCH, request(b"Cookie: " + b"a=b; " * 800), (431,)),
    Case("much after one request", _MUCH, request() + b"GET /" + b"a" * 1100, (200, 414), (Seen(b"GET /"),)),
    passes("forty fields", _MUCH, request(*[b"A: b"] * 39), Seen(b"GET /", (HOST, *[b"A: b"] * 39))),
    passes("a body of many lines", _ENDS, sized(b"\r\n\r\n" * 100 + SMUGGLED), Seen(
        b"POST /", (HOST, b"Content-Length: %d" % (400 + len(SMUGGLED))), b"\r\n\r\n" * 100 + SMUGGLED)),
    Case("an empty line between two requests", _ENDS, request() + b"\r\n" + request(), (200, 200), (
        Seen(b"GET /"), Seen(b"GET /")), GOES_ON),
    Case("a bare LF between two requests", _ENDS, request() + b"\n" + SMUGGLED, (200, 400), (Seen(b"GET /"),)),
    Case("a bare CR between two requests", _ENDS, request() + b"\r" + SMUGGLED, (200, 400), (Seen(b"GET /"),)),
    Case("a space between two requests", _ENDS, request() + b" " + SMUGGLED, (200, 400), (Seen(b"GET /"),)),
)  # fmt: skip
