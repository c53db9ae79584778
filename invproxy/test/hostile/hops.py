"""
What belongs to one hop (RFC 9110, section 7.6), upgrades, expectations, methods and versions.
"""

from __future__ import annotations

from invproxy.test.hostile.cases import (
    CHUNKS,
    GOES_ON,
    H2C,
    HOPS,
    HOST,
    MUST_DIE,
    SMUGGLED,
    TE_CL,
    Case,
    Seen,
    length,
    passes,
    post,
    request,
    sized,
)

_CONNECTION = "RFC 9110, 7.6.1"
_UPGRADE = "RFC 9110, 7.8"
_EXPECT = "RFC 9110, 10.1.1"
_METHOD = "RFC 9110, 9.1"
_VERSION = "RFC 9112, 2.3"
_FORWARDS = "RFC 9110, 7.6.2"
_WEBSOCKET = "0ang3el, WebSocket smuggling (2019)"
_SETTINGS = b"HTTP2-Settings: AAMAAABkAAQAAP__"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_AS_UPGRADE = b"Connection: Upgrade"


def _dropped(
    name: str, *lines: bytes, kept: tuple[bytes, ...] = (), source: str = HOPS, above: bool = False
) -> Case:
    """
    A request of whose fields only some go on.
    """
    return passes(name, source, request(*lines), Seen(b"GET /", (HOST, *kept)), above=above)


def _last(name: str, *lines: bytes, kept: tuple[bytes, ...] = ()) -> Case:
    """
    The same, where it is the last on its connection, and another one behind it.
    """
    return Case(
        name, _CONNECTION, request(*lines) + SMUGGLED, (200,), (Seen(b"GET /", (HOST, *kept)),)
    )


def _unmet(name: str, value: bytes, source: str = _EXPECT) -> Case:
    """
    An expectation that is none, with a body that is a request.
    """
    return Case(name, source, sized(SMUGGLED, b"Expect: " + value), (417,))


def _stays(name: str, *lines: bytes, kept: tuple[bytes, ...] = (), source: str = H2C) -> Case:
    """
    An upgrade that is not passed on, and a request behind it, which is one.
    """
    return passes(
        name,
        source,
        request(*lines) + SMUGGLED,
        Seen(b"GET /", (HOST, *kept)),
        Seen(b"GET /smuggled"),
    )


HOP_BY_HOP = (
    _dropped("Connection names Authorization", b"Connection: Authorization", b"Authorization: Basic YTpi", b"A: b",
             kept=(b"A: b",)),
    _dropped("Connection names Cookie", b"Connection: close-not, cookie", b"Cookie: a=b"),
    _dropped("Connection names X-Forwarded-For", b"Connection: X-Forwarded-For, X-Forwarded-Host, Forwarded, Via"),
    _dropped("Connection names fields of the proxy", b"Connection: X-Inverting-Proxy-Request-ID, X-Inverting-Proxy-User-ID"),
    _dropped("Connection names Date and Cache-Control", b"Connection: Date, Cache-Control", b"Date: a",
             b"Cache-Control: no-store", b"Pragma: no-cache", kept=(b"Pragma: no-cache",)),
    _dropped("Connection names itself", b"Connection: Connection, Keep-Alive", b"Keep-Alive: a"),
    _dropped("Connection names Transfer", b"Connection: Transfer", b"Transfer: a"),
    _dropped("Connection names what is not there", b"Connection: a, b, c"),
    _dropped("Connection in capitals", b"CONNECTION: AUTHORIZATION", b"authorization: Basic YTpi"),
    _dropped("Connection behind what it names", b"Authorization: Basic YTpi", b"Connection: authorization"),
    _dropped("Connection twice", b"Connection: A", b"A: 1", b"Connection: B", b"B: 2", b"C: 3", kept=(b"C: 3",)),
    _dropped("Connection of commas", b"Connection: ,, ,\t,A,,", b"A: 1"),
    _dropped("Connection of what is no token", b'Connection: "close", a b, *, :', b"A: 1", b"a b-c: 2".replace(b" ", b""),
             kept=(b"A: 1", b"ab-c: 2")),
    _dropped("Connection with a parameter", b"Connection: close;q=0, A;b=c", b"A: 1", kept=(b"A: 1",)),
    _dropped("Connection of many", b"Connection: " + b", ".join(b"a%d" % number for number in range(300)), b"A7: 1",
             b"A300: 2", kept=(b"A300: 2",)),
    _dropped("an empty Connection", b"Connection:", b"A: 1", kept=(b"A: 1",)),
    _dropped("Connection names Content-Type", b"Connection: Content-Type", b"Content-Type: a"),
    _dropped("Proxy-Connection", b"Proxy-Connection: close", b"Keep-Alive: timeout=1, max=0", source=_CONNECTION),
    _dropped("Proxy-Authorization", b"Proxy-Authorization: Basic YTpi", b"Proxy-Authenticate: Basic", source=_CONNECTION),
    _dropped("TE alone", b"TE: gzip, chunked;q=0.5", source="RFC 9110, 10.1.4"),
    _dropped("TE of trailers", b"TE: trailers", b"Connection: TE", kept=(b"Connection: TE", b"TE: trailers"),
             source="RFC 9110, 10.1.4"),
    Case("Connection names Host beside others", HOPS, request(b"Connection: close, X, host ,Y")),
    Case("Connection names a length", HOPS, post(SMUGGLED, length(SMUGGLED), b"Connection: keep-alive,Content-Length")),
    Case("Connection names the coding", HOPS, post(TE_CL, CHUNKS, b"Connection: TRANSFER-ENCODING")),
    Case("Connection names Expect", HOPS, post(b"abcde", b"Content-Length: 5", b"Expect: 100-continue", b"Connection: expect")),
    Case("Connection with a space before the colon", _CONNECTION, request(b"Connection : close")),
    Case("Connection with NUL", _CONNECTION, request(b"Connection: close\0")),
    _last("a request behind close", b"Connection: close"),
    _last("a request behind Close among others", b"Connection: Keep-Alive, CLOSE"),
    _last("a request behind close in a second line", b"Connection: keep-alive", b"connection: \tclose\t"),
    _last("a request behind close and a comma", b"Connection: ,close,"),
    _dropped("Max-Forwards of GET", b"Max-Forwards: 0", kept=(b"Max-Forwards: 0",), source=_FORWARDS),
    Case("Max-Forwards of 0", _FORWARDS, request(b"Max-Forwards: 0", first=b"OPTIONS / HTTP/1.1"), (200,), (), GOES_ON, above=True),
    Case("Max-Forwards below 0", _FORWARDS, request(b"Max-Forwards: -1", first=b"OPTIONS / HTTP/1.1"), (400,), (), GOES_ON,
         above=True),
    Case("Max-Forwards twice", _FORWARDS, request(b"Max-Forwards: 5", b"Max-Forwards: 0", first=b"OPTIONS / HTTP/1.1"), (400,), (),
         GOES_ON, above=True),
    passes("Max-Forwards counted", _FORWARDS, request(b"Max-Forwards: 5", first=b"OPTIONS / HTTP/1.1"), Seen(
        b"OPTIONS /", (HOST, b"Max-Forwards: 4")), above=True),
)  # fmt: skip

UPGRADES = (
    _stays("h2c as in the RFC", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", _SETTINGS),
    _stays("h2c that Connection names alone", _AS_UPGRADE, b"Upgrade: h2c", _SETTINGS),
    _stays("h2c without settings", _AS_UPGRADE, b"Upgrade: h2c"),
    _stays("h2c in capitals, with spaces", b"Connection:upgrade", b"Upgrade:  H2C  "),
    _stays("h2c with a version", _AS_UPGRADE, b"Upgrade: h2c/2.0"),
    _stays("h2c that Connection does not name", b"Upgrade: h2c", _SETTINGS),
    _stays("h2c-14", _AS_UPGRADE, b"Upgrade: h2c-14, h2c-16"),
    _stays("h2c twice", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"Upgrade: h2c", _SETTINGS, _SETTINGS),
    _stays("settings alone", b"Connection: HTTP2-Settings", _SETTINGS),
    Case("h2c with a vertical tab", H2C, request(_AS_UPGRADE, b"Upgrade: \x0bh2c")),
    passes("h2c with a body", H2C, sized(SMUGGLED, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", _SETTINGS), Seen(
        b"POST /", (HOST, length(SMUGGLED)), SMUGGLED)),
    Case("h2c and the preface", H2C, request(_AS_UPGRADE, b"Upgrade: h2c", _SETTINGS) + _PREFACE, (200, 505), (Seen(b"GET /"),)),
    passes("an upgrade with a body", _UPGRADE, sized(SMUGGLED, _AS_UPGRADE, b"Upgrade: websocket"), Seen(
        b"POST /", (HOST, length(SMUGGLED)), SMUGGLED)),
    passes("an upgrade with chunks", _UPGRADE, post(TE_CL, CHUNKS, _AS_UPGRADE, b"Upgrade: websocket"), Seen(
        b"POST /", (HOST, CHUNKS), SMUGGLED)),
    _stays("an upgrade that Connection does not name", b"Upgrade: websocket", source=_UPGRADE),
    _stays("an upgrade to nothing", _AS_UPGRADE, b"Upgrade: , ,", source=_UPGRADE),
    _stays("an upgrade without Upgrade", _AS_UPGRADE, source=_UPGRADE),
    passes("an upgrade that is refused", _WEBSOCKET, request(_AS_UPGRADE, b"Upgrade: websocket", b"Sec-WebSocket-Version: 1777"),
           Seen(b"GET /", (HOST, b"Sec-WebSocket-Version: 1777", _AS_UPGRADE, b"Upgrade: websocket"))),
    passes("a request behind an upgrade that is refused", _WEBSOCKET, request(_AS_UPGRADE, b"Upgrade: websocket") + SMUGGLED,
           Seen(b"GET /", (HOST, _AS_UPGRADE, b"Upgrade: websocket")), Seen(b"GET /smuggled"), above=True),
    Case("an upgrade with HTTP/1.0", _UPGRADE, request(_AS_UPGRADE, b"Upgrade: websocket", first=b"GET / HTTP/1.0"), (200,), (
        Seen(b"GET /"),)),
    Case("the preface of HTTP/2", "RFC 9113, 3.4", _PREFACE + bytes.fromhex("000000040000000000"), (505,)),
    Case("the preface with a Host", "RFC 9113, 3.4", request(first=b"PRI * HTTP/2.0") + b"SM\r\n\r\n", (505,)),
    Case("half the preface", "RFC 9113, 3.4", b"PRI * HTTP/2.0\r\n", (505,)),
    Case("the preface of HTTP/1.1", "RFC 9113, 3.4", request(first=b"PRI * HTTP/1.1")),
)  # fmt: skip

EXPECTATIONS = (
    _unmet("an expectation with a word before", b"y 100-continue", MUST_DIE),
    _unmet("an expectation twice in a list", b"100-continue, 100-continue"),
    _unmet("an expectation with a parameter", b"100-continue;a"),
    _unmet("an empty expectation", b""),
    _unmet("an expectation in quotation marks", b'"100-continue"'),
    _unmet("an expectation of 200", b"200-ok"),
    _unmet("an expectation with a no-break space", b"100-continue\xa0"),
    Case("an expectation with a vertical tab", _EXPECT, sized(SMUGGLED, b"Expect: \x0b100-continue")),
    Case("an expectation folded", MUST_DIE, sized(SMUGGLED, b"Expect:\r\n 100-continue")),
    Case("an expectation with a space before the colon", MUST_DIE, sized(SMUGGLED, b"Expect : 100-continue")),
    Case("an expectation with its body at once", _EXPECT, sized(SMUGGLED, b"Expect: 100-continue"), (100, 200), (
        Seen(b"POST /", (HOST, b"Expect: 100-continue", length(SMUGGLED)), SMUGGLED),), GOES_ON),
    Case("an expectation in capitals, with chunks", _EXPECT, post(TE_CL, b"EXPECT: 100-CONTINUE", CHUNKS), (100, 200), (
        Seen(b"POST /", (HOST, b"EXPECT: 100-CONTINUE", CHUNKS), SMUGGLED),), GOES_ON),
    passes("an expectation without a body", MUST_DIE, request(b"Expect: 100-continue") + SMUGGLED, Seen(b"GET /"), Seen(
        b"GET /smuggled")),
    passes("an expectation with a length of 0", MUST_DIE, sized(b"", b"Expect: 100-continue"), Seen(
        b"POST /", (HOST, b"Content-Length: 0"))),
    Case("an expectation with HTTP/1.0", _EXPECT, sized(SMUGGLED, b"Expect: y", first=b"POST / HTTP/1.0"), (200,), (
        Seen(b"POST /", (HOST, length(SMUGGLED)), SMUGGLED),)),
)  # fmt: skip


def _line(name: str, first: bytes, status: int = 400, source: str = _VERSION) -> Case:
    """
    A first line that is none.
    """
    return Case(name, source, request(first=first) + SMUGGLED, (status,))


FIRST_LINES = (
    _line("a version twice", b"GET / HTTP/1.1 HTTP/1.1"),
    _line("a version with NUL", b"GET / HTTP/1.1\0"),
    _line("a version with a tab", b"GET / HTTP/1.1\t"),
    _line("a version with a comma", b"GET / HTTP/1,1"),
    _line("a version without stop", b"GET / HTTP/11"),
    _line("a version of three", b"GET / HTTP/1.1.1"),
    _line("a version with a sign", b"GET / HTTP/+1.1"),
    _line("a version with a space", b"GET / HTTP/ 1.1"),
    _line("a version in wide digits", "GET / HTTP/1.１".encode()),
    _line("a version behind a slash", b"GET / HTTP//1.1"),
    _line("a version of a mistyped name", b"GET / HTP/1.1"),
    _line("a version of RTSP", b"GET / RTSP/1.0"),
    _line("HTTP/1.9", b"GET / HTTP/1.9", 505),
    _line("HTTP/3.0", b"GET / HTTP/3.0", 505),
    _line("HTTP/0.9 with fields", b"GET /"),
    _line("a method alone", b"GET"),
    _line("a method with a space behind", b"GET "),
    _line("a method with a comma", b"GET,POST / HTTP/1.1", source=_METHOD),
    _line("a method with a slash", b"GET/ / HTTP/1.1", source=_METHOD),
    _line("a method with NUL", b"GET\0 / HTTP/1.1", source=_METHOD),
    _line("a method in quotation marks", b'"GET" / HTTP/1.1', source=_METHOD),
    _line("no method", b"/ HTTP/1.1", source=_METHOD),
    _line("a no-break space between", b"GET\xa0/ HTTP/1.1", source=_METHOD),
    _line("a form feed between", b"GET\x0c/ HTTP/1.1", source=_METHOD),
    _line("two requests in one line", b"GET / HTTP/1.1 GET /smuggled HTTP/1.1", source=_METHOD),
    passes("a method in small letters", _METHOD, request(first=b"get / HTTP/1.1"), Seen(b"get /")),
    passes("a method of one's own", _METHOD, sized(SMUGGLED, first=b"G!#$%&'*+.^_`|~-9 / HTTP/1.1"), Seen(
        b"G!#$%&'*+.^_`|~-9 /", (HOST, length(SMUGGLED)), SMUGGLED)),
    passes("a method in a field", "RFC 9110, 9.1", sized(b"a", b"X-HTTP-Method-Override: DELETE"), Seen(
        b"POST /", (HOST, b"X-HTTP-Method-Override: DELETE", b"Content-Length: 1"), b"a")),
    Case("TRACE", "RFC 9110, 9.3.8", request(b"Cookie: a=b", first=b"TRACE / HTTP/1.1"), (405,), (), GOES_ON, above=True),
    Case("TRACE with a body", "RFC 9110, 9.3.8", sized(SMUGGLED, first=b"TRACE / HTTP/1.1"), (405,), (), GOES_ON, above=True),
    Case("HTTP/1.0 without Host", _VERSION, b"GET / HTTP/1.0\r\n\r\n" + SMUGGLED, (200,), (Seen(b"GET /", (b"Host: origin:81",)),),
         above=True),
    Case("HTTP/1.0 that wants to stay", _VERSION, request(b"Connection: keep-alive", first=b"GET / HTTP/1.0") + SMUGGLED, (200,), (
        Seen(b"GET /"),)),
)  # fmt: skip
