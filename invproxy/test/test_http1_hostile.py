"""
Hostile messages, each with what becomes of it. A row is all that is needed to add another.
"""

from __future__ import annotations

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import Limits
from invproxy.test.messages import Reading, readRequests, readResponse

LIMITS = Limits(head=1000, line=200, fields=20, chunkLine=40, trailers=200)


@frozen
class Refused:
    """
    A message that is refused.

    @ivar name: what is wrong with it.
    @ivar data: the message.
    @ivar code: the code of the fault.
    @ivar opened: whether its head is in order, and the fault in its body.
    """

    name: str
    data: bytes
    code: str = "bad-request"
    opened: bool = False


def get(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    """
    A request of certain lines, with a Host before them.
    """
    return b"\r\n".join([first, *([host] if host else []), *lines, b"", b""])


def post(body: bytes, *lines: bytes) -> bytes:
    """
    A request with a body.
    """
    return get(*lines, first=b"POST / HTTP/1.1") + body


def chunks(body: bytes) -> bytes:
    """
    A request with a body in chunks.
    """
    return post(body, b"Transfer-Encoding: chunked")


_SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
_CLIENT_HELLO = bytes.fromhex("16030100f8010000f40303") + bytes(range(200))

REQUEST_HEADS = (
    Refused("Content-Length and Transfer-Encoding", post(
        b"0\r\n\r\n" + _SMUGGLED, b"Content-Length: 6", b"Transfer-Encoding: chunked")),
    Refused("Transfer-Encoding and Content-Length", post(
        b"0\r\n\r\n" + _SMUGGLED, b"Transfer-Encoding: chunked", b"Content-Length: 6")),
    Refused("the same length twice", post(b"abc", b"Content-Length: 3", b"Content-Length: 3")),
    Refused("two lengths", post(b"abc", b"Content-Length: 3", b"content-length: 0")),
    Refused("a list of lengths", post(b"abc", b"Content-Length: 3, 3")),
    Refused("an empty length", post(b"abc", b"Content-Length:")),
    Refused("a length with a sign", post(b"abcde", b"Content-Length: +5")),
    Refused("a negative length", post(b"", b"Content-Length: -5")),
    Refused("a hexadecimal length", post(b"abcde", b"Content-Length: 0x5")),
    Refused("a fraction", post(b"abcde", b"Content-Length: 5.0")),
    Refused("a length with an underscore", post(b"a" * 10, b"Content-Length: 1_0")),
    Refused("a length with a space in it", post(b"a" * 10, b"Content-Length: 1 0")),
    Refused("a length in other digits", post(b"a", "Content-Length: ٣".encode())),
    Refused("a length in latin-1 digits", post(b"a", b"Content-Length: \xb2")),
    Refused("a huge length", post(b"", b"Content-Length: 9999999999999999")),
    Refused("a length of 2 to the 64th and 5", post(b"", b"Content-Length: 18446744073709551621")),
    Refused("quotation marks", post(b"abc", b'Content-Length: "3"')),
    Refused("chunked twice in a list", post(b"", b"Transfer-Encoding: chunked, chunked")),
    Refused("chunked in two lines", post(
        b"", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    Refused("an empty coding", post(b"", b"Transfer-Encoding:")),
    Refused("an empty coding behind", post(b"", b"Transfer-Encoding: chunked,")),
    Refused("an empty coding before", post(b"", b"Transfer-Encoding: ,chunked")),
    Refused("an empty coding in another line", post(
        b"", b"Transfer-Encoding:", b"Transfer-Encoding: chunked")),
    Refused("a tab before the coding", post(b"", b"Transfer-Encoding:\tchunked")),
    Refused("a tab behind the coding", post(b"", b"Transfer-Encoding: chunked\t")),
    Refused("a vertical tab before the coding", post(b"", b"Transfer-Encoding: \x0bchunked")),
    Refused("gzip", post(b"", b"Transfer-Encoding: gzip"), "not-implemented"),
    Refused("GZIP", post(b"", b"TRANSFER-ENCODING: GZIP"), "not-implemented"),
    Refused("gzip in chunks", post(b"", b"Transfer-Encoding: gzip, chunked"), "not-implemented"),
    Refused("chunks in gzip", post(b"", b"Transfer-Encoding: chunked, gzip"), "not-implemented"),
    Refused("gzip in another line", post(
        b"", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"), "not-implemented"),
    Refused("identity", post(b"", b"Transfer-Encoding: identity"), "not-implemented"),
    Refused("xchunked", post(b"", b"Transfer-Encoding: xchunked"), "not-implemented"),
    Refused("chunked with a parameter", post(b"", b"Transfer-Encoding: chunked;q=1"), "not-implemented"),
    Refused("chunked in quotation marks", post(b"", b'Transfer-Encoding: "chunked"'), "not-implemented"),
    Refused("chunked with a latin-1 space", post(b"", b"Transfer-Encoding: chunked\xa0"), "not-implemented"),
    Refused("Transfer-Encoding with HTTP/1.0", get(
        b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0")),
    Refused("gzip with HTTP/1.0", get(b"Transfer-Encoding: gzip", first=b"POST / HTTP/1.0")),
    Refused("a folded line", get(b"A: b", b" c")),
    Refused("a folded line with a tab", get(b"A: b", b"\tc")),
    Refused("a folded Transfer-Encoding", post(b"", b"Transfer-Encoding:", b" chunked")),
    Refused("a folded line at the start", get(b"Host: a", host=b" x")),
    Refused("a line of white space", get(b"A: b", b"  ", b"C: d")),
    Refused("a space before the colon", get(b"Transfer-Encoding : chunked")),
    Refused("a tab before the colon", get(b"Transfer-Encoding\t: chunked")),
    Refused("a space in a name", get(b"A B: c")),
    Refused("no colon", get(b"A")),
    Refused("an empty name", get(b": a")),
    Refused("a latin-1 name", get(b"\xe4: a")),
    Refused("a name with NUL", get(b"A\0: b")),
    Refused("a name with parentheses", get(b"A(): b")),
    Refused("a value with NUL", get(b"A: b\0c")),
    Refused("a value with DEL", get(b"A: b\x7fc")),
    Refused("a value with ESC", get(b"A: b\x1bc")),
    Refused("a value with a bare CR", get(b"A: b\rc: d")),
    Refused("a value with a bare CR at its end", get(b"A: b\r")),
    Refused("a value with a bare LF", get(b"A: b\nTransfer-Encoding: chunked")),
    Refused("LF alone", b"GET / HTTP/1.1\nHost: a\n\n"),
    Refused("LF alone at the end", b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n"),
    Refused("LF CR", b"GET / HTTP/1.1\n\rHost: a\n\r\n\r"),
    Refused("CR alone", b"GET / HTTP/1.1\rHost: a\r\r\r\n\r\n"),
    Refused("no Host", get(host=b"")),
    Refused("two Hosts", get(b"host: b")),
    Refused("the same Host twice", get(b"Host: a")),
    Refused("two Hosts with HTTP/1.0", get(b"Host: b", first=b"GET / HTTP/1.0")),
    Refused("a Host with user", get(host=b"Host: u@a")),
    Refused("a Host with a path", get(host=b"Host: a/b")),
    Refused("a Host with a query", get(host=b"Host: a?b")),
    Refused("a Host with a fragment", get(host=b"Host: a#b")),
    Refused("a Host with a backslash", get(host=b"Host: a\\b")),
    Refused("a Host with a space", get(host=b"Host: a b")),
    Refused("two names in Host", get(host=b"Host: a, b")),
    Refused("a latin-1 Host", get(host=b"Host: \xe4")),
    Refused("a Host with no port but letters", get(host=b"Host: a:b")),
    Refused("a Host with two ports", get(host=b"Host: a:1:2")),
    Refused("a Host with a long port", get(host=b"Host: a:999999")),
    Refused("a Host with a signed port", get(host=b"Host: a:+1")),
    Refused("a bare IPv6 Host", get(host=b"Host: ::1")),
    Refused("an unclosed IPv6 Host", get(host=b"Host: [::1")),
    Refused("an IPv6 Host with more", get(host=b"Host: [::1]a")),
    Refused("a Host with a broken escape", get(host=b"Host: a%2")),
    Refused("a Host with markup", get(host=b"Host: <script>")),
    Refused("HTTP/0.9", b"GET /\r\n\r\n"),
    Refused("HTTP/0.9 by name", get(first=b"GET / HTTP/0.9")),
    Refused("HTTP/2.0", get(first=b"GET / HTTP/2.0"), "version-not-supported"),
    Refused("HTTP/1.2", get(first=b"GET / HTTP/1.2"), "version-not-supported"),
    Refused("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version-not-supported"),
    Refused("HTTP/1.1 in lower case", get(first=b"GET / http/1.1")),
    Refused("HTTP/1.10", get(first=b"GET / HTTP/1.10")),
    Refused("HTTP/01.1", get(first=b"GET / HTTP/01.1")),
    Refused("HTTP/1", get(first=b"GET / HTTP/1")),
    Refused("another protocol", get(first=b"GET / ICY/1.1")),
    Refused("two spaces before the target", get(first=b"GET  / HTTP/1.1")),
    Refused("two spaces behind the target", get(first=b"GET /  HTTP/1.1")),
    Refused("a tab for a space", get(first=b"GET\t/ HTTP/1.1")),
    Refused("a space before the method", get(first=b" GET / HTTP/1.1")),
    Refused("a space behind the version", get(first=b"GET / HTTP/1.1 ")),
    Refused("a space in the target", get(first=b"GET /a b HTTP/1.1")),
    Refused("a method with a colon", get(first=b"GE:T / HTTP/1.1")),
    Refused("a latin-1 method", get(first=b"G\xcbT / HTTP/1.1")),
    Refused("a latin-1 target", get(first=b"GET /\xe4 HTTP/1.1")),
    Refused("NUL in the target", get(first=b"GET /\0 HTTP/1.1")),
    Refused("a fragment in the target", get(first=b"GET /#a HTTP/1.1")),
    Refused("no target", get(first=b"GET HTTP/1.1")),
    Refused("an empty target", get(first=b"GET  HTTP/1.1")),
    Refused("a target without form", get(first=b"GET a HTTP/1.1")),
    Refused("a target of a query", get(first=b"GET ?a HTTP/1.1")),
    Refused("* without OPTIONS", get(first=b"GET * HTTP/1.1")),
    Refused("* with a path", get(first=b"OPTIONS */a HTTP/1.1")),
    Refused("an authority without CONNECT", get(first=b"GET a:80 HTTP/1.1")),
    Refused("absolute-form with user", get(first=b"GET http://u:p@a/ HTTP/1.1")),
    Refused("absolute-form with another scheme", get(first=b"GET ftp://a/ HTTP/1.1")),
    Refused("absolute-form without authority", get(first=b"GET http:///a HTTP/1.1")),
    Refused("absolute-form with a port alone", get(first=b"GET http://:80/ HTTP/1.1")),
    Refused("absolute-form with a backslash", get(first=b"GET http://a\\b/ HTTP/1.1")),
    Refused("absolute-form with one slash", get(first=b"GET http:/a HTTP/1.1")),
    Refused("absolute-form without Host", get(first=b"GET http://a/ HTTP/1.1", host=b"")),
    Refused("absolute-form with a broken Host", get(first=b"GET http://a/ HTTP/1.1", host=b"Host: u@a")),
    Refused("Connection names Host", get(b"Connection: close, Host")),
    Refused("Connection names Content-Length", post(
        b"abc", b"Content-Length: 3", b"Connection: content-length")),
    Refused("Connection names Transfer-Encoding", post(
        b"", b"Transfer-Encoding: chunked", b"Connection: Transfer-Encoding")),
    Refused("a second Connection names Host", get(b"Connection: a", b"CONNECTION:,HOST ,")),
    Refused("another expectation", get(b"Expect: 200-ok"), "expectation-failed"),
    Refused("two empty lines before", b"\r\n\r\n" + get()),
    Refused("a bare LF before", b"\n" + get()),
    Refused("a bare CR before", b"\r" + get()),
    Refused("white space before", b" \r\n" + get()),
    Refused("TLS", _CLIENT_HELLO),
    Refused("SSH", b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    Refused("SOCKS", b"\x05\x01\x00"),
    Refused("a byte order mark", b"\xef\xbb\xbf" + get()),
    Refused("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    Refused("a long target", get(first=b"GET /%b HTTP/1.1" % (b"a" * 200)), "target-too-long"),
    Refused("a long method", get(first=b"G%b / HTTP/1.1" % (b"E" * 200)), "target-too-long"),
    Refused("a line one too long", get(first=b"GET /%b HTTP/1.1" % (b"a" * 187)), "target-too-long"),
    Refused("a long value", get(b"A: " + b"b" * 1000), "head-too-large"),
    Refused("a long name", get(b"A" * 1000 + b": b"), "head-too-large"),
    Refused("many fields", get(*[b"A: b"] * 20), "head-too-large"),
    Refused("many long fields", get(*[b"A: bcdefghijklmnopqrstuvwxyz"] * 40), "head-too-large"),
)  # fmt: skip
"""Requests that are refused before anything is made of them."""

REQUEST_BODIES = (
    Refused("a size with a sign", chunks(b"+5\r\nabcde\r\n0\r\n\r\n")),
    Refused("a negative size", chunks(b"-5\r\nabcde\r\n0\r\n\r\n")),
    Refused("a size with 0x", chunks(b"0x5\r\nabcde\r\n0\r\n\r\n")),
    Refused("a size with an underscore", chunks(b"0_5\r\nabcde\r\n0\r\n\r\n")),
    Refused("an empty size", chunks(b"\r\nabcde\r\n0\r\n\r\n")),
    Refused("an extension without size", chunks(b";a=b\r\nabcde\r\n0\r\n\r\n")),
    Refused("a size that is no number", chunks(b"g\r\nabcde\r\n0\r\n\r\n")),
    Refused("a space before the size", chunks(b" 5\r\nabcde\r\n0\r\n\r\n")),
    Refused("a space behind the size", chunks(b"5 \r\nabcde\r\n0\r\n\r\n")),
    Refused("a tab behind the size", chunks(b"5\t\r\nabcde\r\n0\r\n\r\n")),
    Refused("NUL in the size", chunks(b"5\0\r\nabcde\r\n0\r\n\r\n")),
    Refused("a huge size", chunks(b"1000000000000000\r\nabc")),
    Refused("a size of 2 to the 64th and 5", chunks(b"10000000000000005\r\nabcde\r\n0\r\n\r\n")),
    Refused("a size of many zeros", chunks(b"0" * 16 + b"\r\n\r\n")),
    Refused("a size of latin-1 digits", chunks(b"\xb2\r\nab\r\n0\r\n\r\n")),
    Refused("a size behind LF alone", chunks(b"5\nabcde\r\n0\r\n\r\n")),
    Refused("a size behind CR alone", chunks(b"5\rabcde\r\n0\r\n\r\n")),
    Refused("a chunk that is too long", chunks(b"5\r\nabcdef\r\n0\r\n\r\n")),
    Refused("a chunk that is too short", chunks(b"5\r\nabcd\r\n0\r\n\r\n")),
    Refused("a chunk that ends with LF alone", chunks(b"5\r\nabcde\n0\r\n\r\n")),
    Refused("a chunk that ends with CR alone", chunks(b"5\r\nabcde\r0\r\n\r\n")),
    Refused("a chunk that does not end", chunks(b"5\r\nabcde0\r\n\r\n")),
    Refused("an extension with ESC", chunks(b"5;a=\x1b\r\nabcde\r\n0\r\n\r\n")),
    Refused("an extension with NUL", chunks(b"5;a\0\r\nabcde\r\n0\r\n\r\n")),
    Refused("an extension with LF", chunks(b"5;a\nb\r\nabcde\r\n0\r\n\r\n")),
    Refused("an extension with CR", chunks(b"5;a\rb\r\nabcde\r\n0\r\n\r\n")),
    Refused("a quoted extension with LF", chunks(b'5;a="\n"\r\nabcde\r\n0\r\n\r\n')),
    Refused("a quoted extension with CRLF", chunks(b'5;a="\r\n"\r\nabcde\r\n0\r\n\r\n')),
    Refused("a quoted extension without end", chunks(b'5;a="b\r\nabcde\r\n0\r\n\r\n')),
    Refused("an extension without name", chunks(b"5;\r\nabcde\r\n0\r\n\r\n")),
    Refused("an extension without value", chunks(b"5;a=\r\nabcde\r\n0\r\n\r\n")),
    Refused("an extension with spaces", chunks(b"5 ; a\r\nabcde\r\n0\r\n\r\n")),
    Refused("an extension with another separator", chunks(b"5,a\r\nabcde\r\n0\r\n\r\n")),
    Refused("a long extension", chunks(b"5;" + b"a" * 50 + b"\r\nabcde\r\n0\r\n\r\n")),
    Refused("many extensions", chunks(b"5" + b";a" * 50 + b"\r\nabcde\r\n0\r\n\r\n")),
    Refused("Content-Length among trailers", chunks(b"0\r\nContent-Length: 5\r\n\r\n")),
    Refused("Transfer-Encoding among trailers", chunks(b"0\r\nA: b\r\ntransfer-encoding: chunked\r\n\r\n")),
    Refused("Host among trailers", chunks(b"0\r\nHost: b\r\n\r\n")),
    Refused("Connection among trailers", chunks(b"0\r\nConnection: close\r\n\r\n")),
    Refused("Trailer among trailers", chunks(b"0\r\nTrailer: a\r\n\r\n")),
    Refused("Upgrade among trailers", chunks(b"0\r\nUpgrade: websocket\r\n\r\n")),
    Refused("Authorization among trailers", chunks(b"0\r\nAuthorization: Basic YTph\r\n\r\n")),
    Refused("Cookie among trailers", chunks(b"0\r\nCOOKIE: a=b\r\n\r\n")),
    Refused("a folded trailer", chunks(b"0\r\nA: b\r\n c\r\n\r\n")),
    Refused("a trailer with a space before the colon", chunks(b"0\r\nA : b\r\n\r\n")),
    Refused("a trailer without colon", chunks(b"0\r\nA\r\n\r\n")),
    Refused("a trailer with NUL", chunks(b"0\r\nA: \0\r\n\r\n")),
    Refused("a trailer behind LF alone", chunks(b"0\nA: b\r\n\r\n")),
    Refused("a trailer with LF alone", chunks(b"0\r\nA: b\nC: d\r\n\r\n")),
    Refused("trailers that end with LF alone", chunks(b"0\r\n\n")),
    Refused("long trailers", chunks(b"0\r\nA: " + b"b" * 200 + b"\r\n\r\n")),
    Refused("many trailers", chunks(b"0" + b"\r\nA:b" * 21 + b"\r\n\r\n")),
    Refused("a request behind a body that is no request", post(b"abcX\r\n\r\n", b"Content-Length: 3")),
)  # fmt: skip
"""Requests whose heads are in order, and which are refused at their bodies."""


@frozen
class Tamed:
    """
    A message that is accepted, but not all of it goes on.

    @ivar name: what is strange about it.
    @ivar data: the message.
    @ivar sent: the head that goes on.
    @ivar body: the body.
    """

    name: str
    data: bytes
    sent: bytes
    body: bytes = b""


_PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

TAMED_REQUESTS = (
    Tamed("h2c", get(
        b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"), _PLAIN),
    Tamed("h2c in capitals", get(b"Connection: upgrade", b"Upgrade: H2C"), _PLAIN),
    Tamed("h2c beside WebSocket", get(b"Connection: Upgrade", b"Upgrade: h2c, websocket"), get(
        b"Connection: Upgrade", b"Upgrade: websocket")),
    Tamed("h2c in another line", get(b"Connection: Upgrade", b"Upgrade: websocket", b"upgrade: h2c"), get(
        b"Connection: Upgrade", b"Upgrade: websocket")),
    Tamed("an upgrade that Connection does not name", get(b"Upgrade: websocket"), _PLAIN),
    Tamed("an upgrade with a body", post(
        b"abc", b"Content-Length: 3", b"Connection: Upgrade", b"Upgrade: websocket"),
        post(b"", b"Content-Length: 3"), b"abc"),
    Tamed("an upgrade with a body in chunks", post(
        b"3\r\nabc\r\n0\r\n\r\n", b"Upgrade: websocket", b"Transfer-Encoding: chunked", b"Connection: Upgrade"),
        chunks(b""), b"abc"),
    Tamed("an upgrade with HTTP/1.0", get(
        b"Connection: Upgrade", b"Upgrade: websocket", first=b"GET / HTTP/1.0"), _PLAIN),
    Tamed("fields of the hop", get(
        b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", b"TE: gzip", b"Connection: X-A, close",
        b"x-a: 1", b"Proxy-Authorization: Basic YTph", b"X-B: 2"), get(b"X-B: 2")),
    Tamed("a field of the hop that begins like another", get(
        b"Connection: X-A", b"X-Connection: X-B", b"Connection: X-AB", b"X-AB: 1", b"X-A: 2", b"X-ABC: 3"),
        get(b"X-Connection: X-B", b"X-ABC: 3")),
    Tamed("trailers wanted", get(b"TE: gzip, Trailers"), get(b"Connection: TE", b"TE: trailers")),
    Tamed("absolute-form", get(first=b"GET http://b:8/c?d HTTP/1.1"), get(
        first=b"GET /c?d HTTP/1.1", host=b"Host: b:8")),
    Tamed("absolute-form with another Host", get(
        b"A: b", first=b"GET HTTPS://evil?d HTTP/1.1", host=b"hOST: a"), get(
        b"A: b", first=b"GET /?d HTTP/1.1", host=b"hOST: evil")),
    Tamed("absolute-form of *", get(first=b"OPTIONS http://b HTTP/1.1"), get(
        first=b"OPTIONS * HTTP/1.1", host=b"Host: b")),
    Tamed("absolute-form with HTTP/1.0", get(
        b"A: b", first=b"GET http://b HTTP/1.0", host=b""), get(b"A: b", host=b"Host: b")),
    Tamed("a target with two slashes", get(first=b"GET //evil/ HTTP/1.1"), get(first=b"GET //evil/ HTTP/1.1")),
    Tamed("any expectation with HTTP/1.0", get(b"Expect: 200-ok", first=b"GET / HTTP/1.0"), _PLAIN),
    Tamed("an expectation without a body", get(b"Expect: 100-continue"), _PLAIN),
    Tamed("one empty line before", b"\r\n" + _PLAIN, _PLAIN),
    Tamed("the likeness of a framing field", get(b"Content_Length: 3", b"X-Transfer-Encoding: chunked"), get(
        b"Content_Length: 3", b"X-Transfer-Encoding: chunked")),
    Tamed("a request in a body", post(_SMUGGLED, b"Content-Length: %d" % len(_SMUGGLED)), post(
        b"", b"Content-Length: %d" % len(_SMUGGLED)), _SMUGGLED),
    Tamed("a line that is just short enough", get(first=b"GET /%b HTTP/1.1" % (b"a" * 186)), get(
        first=b"GET /%b HTTP/1.1" % (b"a" * 186))),
    Tamed("as many fields as may be", get(*[b"A: b"] * 19), get(*[b"A: b"] * 19)),
)  # fmt: skip


def answer(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK", body: bytes = b"") -> bytes:
    """
    A response of certain lines.
    """
    return b"\r\n".join([first, *lines, b"", body])


RESPONSES = (
    Refused("Content-Length and Transfer-Encoding", answer(
        b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Refused("the same length twice", answer(b"Content-Length: 3", b"Content-Length: 3", body=b"abc")),
    Refused("two lengths", answer(b"Content-Length: 3", b"Content-Length: 4", body=b"abc")),
    Refused("a length with a sign", answer(b"Content-Length: +3", body=b"abc")),
    Refused("an empty length", answer(b"Content-Length: ")),
    Refused("a huge length", answer(b"Content-Length: 9999999999999999")),
    Refused("chunked twice", answer(b"Transfer-Encoding: chunked, chunked")),
    Refused("gzip", answer(b"Transfer-Encoding: gzip, chunked"), "not-implemented"),
    Refused("identity", answer(b"Transfer-Encoding: identity"), "not-implemented"),
    Refused("a tab behind the coding", answer(b"Transfer-Encoding: chunked\t")),
    Refused("Transfer-Encoding with HTTP/1.0", answer(
        b"Transfer-Encoding: chunked", first=b"HTTP/1.0 200 OK")),
    Refused("a folded line", answer(b"A: b", b" c")),
    Refused("a space before the colon", answer(b"A : b")),
    Refused("a value with NUL", answer(b"A: \0")),
    Refused("a value with a bare CR", answer(b"A: b\rc")),
    Refused("a value with a bare LF", answer(b"A: b\nSet-Cookie: c=d")),
    Refused("LF alone", b"HTTP/1.1 200 OK\nA: b\n\n"),
    Refused("Connection names Content-Length", answer(b"Content-Length: 0", b"Connection: Content-Length")),
    Refused("no status line", b"<html>\r\n\r\n"),
    Refused("no version", answer(first=b"200 OK")),
    Refused("HTTP/2.0", answer(first=b"HTTP/2.0 200 OK")),
    Refused("HTTP/1.2", answer(first=b"HTTP/1.2 200 OK")),
    Refused("HTTP/0.9", answer(first=b"HTTP/0.9 200 OK")),
    Refused("ICY", answer(first=b"ICY 200 OK")),
    Refused("a status of two digits", answer(first=b"HTTP/1.1 20 OK")),
    Refused("a status of four digits", answer(first=b"HTTP/1.1 2000 OK")),
    Refused("a status with a sign", answer(first=b"HTTP/1.1 +20 OK")),
    Refused("status 099", answer(first=b"HTTP/1.1 099 OK")),
    Refused("two spaces before the status", answer(first=b"HTTP/1.1  200 OK")),
    Refused("a tab for a space", answer(first=b"HTTP/1.1\t200 OK")),
    Refused("a reason with NUL", answer(first=b"HTTP/1.1 200 \0")),
    Refused("a reason with CR", answer(first=b"HTTP/1.1 200 O\rK")),
    Refused("a reason with DEL", answer(first=b"HTTP/1.1 200 \x7f")),
    Refused("an empty line before", b"\r\n" + answer()),
    Refused("an upgrade that nobody asked for", answer(
        b"Connection: Upgrade", b"Upgrade: websocket", first=b"HTTP/1.1 101 Switching")),
    Refused("an interim response that is broken", answer(b"A : b", first=b"HTTP/1.1 100 Continue")),
    Refused("an interim response and HTTP/0.9", answer(first=b"HTTP/1.1 100 Continue", body=b"<html>\r\n")),
    Refused("a long reason", answer(first=b"HTTP/1.1 200 " + b"a" * 200)),
    Refused("a reason one too long", answer(first=b"HTTP/1.1 200 " + b"a" * 188)),
    Refused("a long value", answer(b"A: " + b"b" * 1000), "head-too-large"),
    Refused("many fields", answer(*[b"A: b"] * 21), "head-too-large"),
    Refused("a chunk size with a sign", answer(
        b"Transfer-Encoding: chunked", body=b"+3\r\nabc\r\n0\r\n\r\n"), opened=True),
    Refused("a chunk that is too long", answer(
        b"Transfer-Encoding: chunked", body=b"3\r\nabcd\r\n0\r\n\r\n"), opened=True),
    Refused("Set-Cookie among trailers", answer(
        b"Transfer-Encoding: chunked", body=b"0\r\nSet-Cookie: a=b\r\n\r\n"), opened=True),
)  # fmt: skip
"""Responses that are refused."""


def bytewise(data: bytes) -> list[bytes]:
    """
    The same byte by byte.
    """
    return [data[at : at + 1] for at in range(len(data))]


class Hostile(SynchronousTestCase):
    """
    The tables, each row whole and byte by byte.
    """

    def assertRefused(self, row: Refused, reading: Reading) -> None:
        self.assertIsNotNone(reading.fault, row.name)
        assert reading.fault is not None
        self.assertEqual(reading.fault.code.name, row.code, f"{row.name}: {reading.fault}")

    def test_requestHeads(self) -> None:
        """
        Nothing is opened, and nothing that stands behind is read as a request.
        """
        for row in REQUEST_HEADS:
            for pieces in [row.data], bytewise(row.data):
                reading = readRequests(pieces, LIMITS)
                self.assertRefused(row, reading)
                self.assertEqual(reading.messages, [], row.name)

    def test_requestBodies(self) -> None:
        """
        What was opened is never finished, as far as it is at fault.
        """
        for row in REQUEST_BODIES:
            for pieces in [row.data], bytewise(row.data):
                reading = readRequests(pieces, LIMITS)
                self.assertRefused(row, reading)
                (message,) = reading.messages
                self.assertEqual(
                    message.finished, row.name.startswith("a request behind"), row.name
                )
                self.assertLessEqual(len(message.body), 5, row.name)

    def test_tamedRequests(self) -> None:
        for row in TAMED_REQUESTS:
            for pieces in [row.data], bytewise(row.data):
                reading = readRequests(pieces, LIMITS)
                self.assertIsNone(reading.fault, row.name)
                (message,) = reading.messages
                assert isinstance(message.head, RequestHead)
                head = message.head if message.head.host else message.head.withHost(b"a")
                self.assertEqual(head.encode(), row.sent, row.name)
                self.assertEqual((message.body, message.finished), (row.body, True), row.name)

    def test_responses(self) -> None:
        for row in RESPONSES:
            for pieces in [row.data], bytewise(row.data):
                reading = readResponse(pieces, LIMITS)
                self.assertRefused(row, reading)
                (message,) = reading.messages
                self.assertEqual(message.head is not None, row.opened, row.name)
                self.assertFalse(message.finished, row.name)

    def test_upgradeWithoutUpgrade(self) -> None:
        """
        A 101 must say what it upgrades to, even if we asked.
        """
        for lines in (), (b"Upgrade: websocket",), (b"Connection: Upgrade",):
            data = answer(*lines, first=b"HTTP/1.1 101 Switching")
            reading = readResponse([data], upgrade=b"websocket")
            self.assertRefused(Refused("101", data), reading)

    def test_tamedResponses(self) -> None:
        """
        Hop-by-hop fields do not go on, nor does a length where none may be.
        """
        for data, sent in (
            (
                answer(b"Connection: X-A, close", b"X-A: b", b"Keep-Alive: c", b"D: e"),
                answer(b"D: e"),
            ),
            (answer(b"Upgrade: h2,h2c", b"Connection: Upgrade"), answer()),
            (
                answer(b"Content-Length: 3", first=b"HTTP/1.1 204 No Content"),
                answer(first=b"HTTP/1.1 204 No Content"),
            ),
            (answer(b"A: b", first=b"HTTP/1.0 200"), answer(b"A: b", first=b"HTTP/1.1 200 ")),
        ):
            (message,) = readResponse([data]).messages
            assert isinstance(message.head, ResponseHead)
            self.assertEqual(message.head.encode(), sent)

    def test_names(self) -> None:
        """
        Each row can be told from the others by its name.
        """
        for table in REQUEST_HEADS, REQUEST_BODIES, TAMED_REQUESTS, RESPONSES:
            names = [row.name for row in table]
            self.assertEqual(len(names), len(set(names)))
