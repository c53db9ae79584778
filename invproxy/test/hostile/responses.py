"""
What hostile backends answer (RFC 9112, sections 4, 6 and 9).
"""

from __future__ import annotations

from invproxy.test.hostile.cases import CHUNKS, DESYNC, FUNKY, Reply, request, sized

_FRAMING = "RFC 9112, 6.3"
_LENGTH = "RFC 9110, 8.6"
_STATUS = "RFC 9112, 4"
_CHUNK = "RFC 9112, 7.1"
_TRAILER = "RFC 9112, 7.1.2"
_FIELD = "RFC 9112, 5"
_INTERIM = "RFC 9110, 15.2"
_EMPTY = "RFC 9110, 6.4.1"
_CONNECTION = "RFC 9110, 7.6.1"
_UPGRADE = "RFC 9110, 7.8"
_END = "RFC 9112, 9.3"
_SPLITTING = "Klein, HTTP Response Splitting (2004)"

_OK = b"HTTP/1.1 200 OK"
_EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
_HEAD = b"HEAD /hostile HTTP/1.1\r\nHost: a\r\n\r\n"
_SWITCHED = b"HTTP/1.1 101 Switching"
_WEBSOCKET = request(b"Connection: Upgrade", b"Upgrade: websocket", first=b"GET /hostile HTTP/1.1")


def answer(*lines: bytes, first: bytes = _OK, body: bytes = b"") -> bytes:
    """
    A response of certain lines.
    """
    return b"\r\n".join([first, *lines, b"", body])


def _five(*lines: bytes, first: bytes = _OK) -> bytes:
    """
    A response with a body of five bytes, as it should be.
    """
    return answer(*lines, b"Content-Length: 5", first=first, body=b"abcde")


def _chunks(body: bytes, *lines: bytes) -> bytes:
    return answer(*lines, CHUNKS, body=body)


def _bad(name: str, data: bytes, source: str = _FIELD, *, interim: tuple[int, ...] = ()) -> Reply:
    """
    An answer that is none.
    """
    return Reply(name, source, data, interim=interim)


def _cut(name: str, data: bytes, source: str = _CHUNK, *, ends: bool = False) -> Reply:
    """
    An answer that breaks off in its body.
    """
    return Reply(name, source, data, 200, cut=True, ends=ends)


def _line(name: str, first: bytes) -> Reply:
    """
    A status line that is none.
    """
    return Reply(name, _STATUS, answer(b"Content-Length: 0", first=first))


def _good(
    name: str,
    source: str,
    data: bytes,
    fields: tuple[bytes, ...],
    body: bytes = b"",
    *,
    reused: bool = True,
    status: int = 200,
    interim: tuple[int, ...] = (),
    ends: bool = False,
    asked: bytes | None = None,
) -> Reply:
    """
    An answer of which all arrives that should.
    """
    reply = Reply(name, source, data, status, body, fields, interim, False, reused, ends)
    return (
        reply
        if asked is None
        else Reply(name, source, data, status, body, fields, interim, False, reused, ends, asked)
    )


_FIVE_LINE = b"Content-Length: 5"

RESPONSES = (
    _bad("a length beside chunks", answer(b"Content-Length: 5", CHUNKS, body=b"0\r\n\r\n" + _EVIL), _FRAMING),
    _bad("chunks beside a length", answer(CHUNKS, b"Content-Length: 5", body=b"5\r\nabcde\r\n0\r\n\r\n"), _FRAMING),
    _bad("two lengths", answer(b"Content-Length: 0", b"Content-Length: 5", body=b"abcde"), _FRAMING),
    _bad("the same length twice in a list", answer(b"Content-Length: 5, 5", body=b"abcde"), _FRAMING),
    _bad("a negative length", answer(b"Content-Length: -1"), _LENGTH),
    _bad("a length of NaN", answer(b"Content-Length: NaN"), _LENGTH),
    _bad("a length with a comma", answer(b"Content-Length: 5,", body=b"abcde"), _LENGTH),
    _bad("a length in hexadecimal", answer(b"Content-Length: 0x5", body=b"abcde"), _LENGTH),
    _bad("a length with a vertical tab", answer(b"Content-Length: \x0b5", body=b"abcde"), _LENGTH),
    _bad("a length of 2 to the 64th and 5", answer(b"Content-Length: 18446744073709551621", body=b"abcde"), _LENGTH),
    _bad("a length in superscript", answer(b"Content-Length: \xb2", body=b"ab"), _LENGTH),
    _bad("a space before the colon of the length", answer(b"Content-Length : 5", body=b"abcde"), _FIELD),
    _bad("chunked and gzip", answer(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"), _FRAMING),
    _bad("xchunked", answer(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), _FRAMING),
    _bad("chunked behind a vertical tab", answer(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), _FRAMING),
    _bad("chunked in two lines", answer(CHUNKS, CHUNKS, body=b"0\r\n\r\n"), _FRAMING),
    _bad("an empty coding", answer(b"Transfer-Encoding:", body=b"0\r\n\r\n"), _FRAMING),
    _bad("chunks with HTTP/1.0", answer(CHUNKS, first=b"HTTP/1.0 200 OK", body=b"0\r\n\r\n"), _FRAMING),
    _line("a status of letters", b"HTTP/1.1 two OK"),
    _line("a status of 000", b"HTTP/1.1 000 OK"),
    _line("a status of 1000", b"HTTP/1.1 1000 OK"),
    _line("a status with a reason at once", b"HTTP/1.1 200OK"),
    _line("a status with a tab behind", b"HTTP/1.1 200\tOK"),
    _line("a negative status", b"HTTP/1.1 -20 OK"),
    _line("a status with a stop", b"HTTP/1.1 20.0 OK"),
    _line("a status in wide digits", "HTTP/1.1 ２00 OK".encode()),
    _line("a version in small letters", b"http/1.1 200 OK"),
    _line("a version with two spaces", b"HTTP/1.1  200 OK"),
    _line("HTTP/2", b"HTTP/2 200"),
    _line("HTTP/3.0", b"HTTP/3.0 200 OK"),
    _line("SIP", b"SIP/2.0 200 OK"),
    _line("a reason with NUL", b"HTTP/1.1 200 O\0K"),
    _line("a reason with ESC", b"HTTP/1.1 200 \x1b[31mOK"),
    _line("a reason with a bare CR", b"HTTP/1.1 200 OK\rSet-Cookie: a=b"),
    _line("a reason with a bare LF", b"HTTP/1.1 200 OK\nSet-Cookie: a=b"),
    _line("a reason without end", b"HTTP/1.1 200 " + b"a" * 1100),
    _line("nothing but spaces", b"   "),
    _bad("an empty line before", b"\r\n" + _EVIL, _STATUS),
    _bad("a byte before", b"X" + _EVIL, _STATUS),
    _bad("HTML", b"<!doctype html><title>a</title>\r\n\r\n", _STATUS),
    _bad("SSH", b"SSH-2.0-OpenSSH_9.2p1\r\n", _STATUS),
    _bad("SMTP", b"220 a ESMTP\r\n250 OK\r\n", _STATUS),
    _bad("TLS", b"\x15\x03\x01\x00\x02\x02\x16", _STATUS),
    _bad("HTTP/2 settings", bytes.fromhex("00001204000000000000030000008000040001000000050000400000"), _STATUS),
    _bad("a request", request(first=b"GET /smuggled HTTP/1.1"), _STATUS),
    _bad("LF alone", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "RFC 9112, 2.2"),
    _bad("LF for the empty line", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n" + _EVIL, "RFC 9112, 2.2"),
    _bad("CR CR LF", b"HTTP/1.1 200 OK\r\r\nContent-Length: 0\r\r\n\r\r\n", "RFC 9112, 2.2"),
    _bad("a bare CR in a value", _five(b"A: b\rSet-Cookie: c=d"), _SPLITTING),
    _bad("a bare LF in a value", _five(b"Location: /\nSet-Cookie: c=d"), _SPLITTING),
    _bad("LF LF in a value", _five(b"Location: /\n\n<script>alert(1)</script>"), _SPLITTING),
    _bad("NUL in a value", _five(b"A: b\0c")),
    _bad("DEL in a value", _five(b"A: b\x7fc")),
    _bad("a folded value", _five(b"A: b", b" c"), "RFC 9112, 5.2"),
    _bad("a folded length", answer(b"Content-Length:", b" 5", body=b"abcde"), "RFC 9112, 5.2"),
    _bad("a space in a name", _five(b"Set Cookie: a=b")),
    _bad("a name without colon", _five(b"Set-Cookie")),
    _bad("an empty name", _five(b": a")),
    _bad("a pseudo-field", _five(b":status: 200")),
    _bad("a value without end", b"HTTP/1.1 200 OK\r\nA: " + b"b" * 4000, "RFC 9110, 5.4"),
    _bad("fields without end", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 700, "RFC 9110, 5.4"),
    _bad("forty-one fields", _five(*[b"A: b"] * 40), "RFC 9110, 5.4"),
    _bad("Connection names the length", _five(b"Connection: Content-Length"), _CONNECTION),
    _bad("Connection names the coding", _chunks(b"0\r\n\r\n", b"Connection: close, transfer-encoding"), _CONNECTION),
    _bad("an interim answer with a body", answer(b"Content-Length: 5", first=b"HTTP/1.1 100 Continue", body=b"abcde") + _EVIL,
         _INTERIM, interim=(100,)),
    _bad("an interim answer in chunks", answer(CHUNKS, first=b"HTTP/1.1 103 Early", body=b"5\r\nabcde\r\n0\r\n\r\n") + _EVIL,
         _INTERIM, interim=(103,)),
    _bad("an interim answer and a bad one", answer(first=b"HTTP/1.1 102 Processing") + b"X" + _EVIL, _INTERIM, interim=(102,)),
    _bad("an upgrade that nobody wants", answer(
        b"Connection: Upgrade", b"Upgrade: websocket", first=_SWITCHED, body=b"evil"), _UPGRADE),
    _bad("an upgrade to h2c that nobody wants", answer(
        b"Connection: Upgrade", b"Upgrade: h2c", first=_SWITCHED, body=b"\0\0\0\4\0\0\0\0\0"), _UPGRADE),
    Reply("an upgrade without Upgrade", _UPGRADE, answer(b"Connection: Upgrade", first=_SWITCHED), request=_WEBSOCKET),
    Reply("an upgrade without Connection", _UPGRADE, answer(b"Upgrade: websocket", first=_SWITCHED), request=_WEBSOCKET),
    Reply("an upgrade with close", _UPGRADE, answer(b"Connection: close", b"Upgrade: websocket", first=_SWITCHED),
          request=_WEBSOCKET),
    Reply("nothing", _END, b"", ends=True),
    Reply("half a status line", _END, b"HTTP/1.1 2", ends=True),
    Reply("half a head", _END, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", ends=True),
    Reply("an interim answer and no more", _INTERIM, answer(first=b"HTTP/1.1 103 Early"), interim=(103,), ends=True),
    _cut("a body that is too short", answer(b"Content-Length: 50", body=b"abcde"), _FRAMING, ends=True),
    _cut("a body of the greatest length", answer(b"Content-Length: 999999999999999", body=b"abcde"), _LENGTH, ends=True),
    _cut("chunks without end", _chunks(b"5\r\nabcde\r\n"), ends=True),
    _cut("a chunk that is too short", _chunks(b"50\r\nabcde"), ends=True),
    _cut("a last chunk without the empty line", _chunks(b"5\r\nabcde\r\n0\r\n"), ends=True),
    _cut("a chunk size of letters", _chunks(b"5\r\nabcde\r\nxyz\r\n")),
    _cut("a negative chunk size", _chunks(b"-5\r\nabcde\r\n0\r\n\r\n")),
    _cut("a chunk size with 0x", _chunks(b"0x5\r\nabcde\r\n0\r\n\r\n")),
    _cut("a chunk size with a space", _chunks(b"5 \r\nabcde\r\n0\r\n\r\n")),
    _cut("a chunk size of 2 to the 64th", _chunks(b"10000000000000000\r\nabcde")),
    _cut("a chunk size with LF", _chunks(b"5\nabcde\r\n0\r\n\r\n")),
    _cut("an extension with LF", _chunks(b"2;\nxx\r\n4c\r\n0\r\n\r\n" + _EVIL), FUNKY),
    _cut("an extension without end", _chunks(b"5;" + b"a" * 200)),
    _cut("a chunk that ends elsewhere", _chunks(b"5\r\nabcdeX\r\n0\r\n\r\n"), FUNKY),
    _cut("a chunk that ends with LF", _chunks(b"5\r\nabcde\n0\r\n\r\n"), FUNKY),
    _cut("a chunk that ends with a byte and LF", _chunks(b"5\r\nabcdeX\n0\r\n\r\n"), FUNKY),
    _cut("a response among trailers", _chunks(b"0\r\n" + _EVIL), DESYNC),
    _cut("a cookie among trailers", _chunks(b"5\r\nabcde\r\n0\r\nSet-Cookie: a=b\r\n\r\n"), _TRAILER),
    _cut("a length among trailers", _chunks(b"5\r\nabcde\r\n0\r\nContent-Length: 0\r\n\r\n"), _TRAILER),
    _cut("a coding among trailers", _chunks(b"5\r\nabcde\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"), _TRAILER),
    _cut("a folded trailer", _chunks(b"0\r\nA: b\r\n c\r\n\r\n"), _TRAILER),
    _cut("a trailer with a bare LF", _chunks(b"0\r\nA: b\nSet-Cookie: c=d\r\n\r\n"), _SPLITTING),
    _cut("trailers without end", _chunks(b"0\r\n" + b"A: bcdefgh\r\n" * 100), _TRAILER),
    _cut("41 trailers", _chunks(b"0\r\n" + b"A: b\r\n" * 41 + b"\r\n"), _TRAILER),
    _good("an answer behind an answer", DESYNC, _five() + _EVIL, (_FIVE_LINE,), b"abcde", reused=False),
    _good("an answer behind chunks", DESYNC, _chunks(b"5\r\nabcde\r\n0\r\n\r\n") + _EVIL, (), b"abcde", reused=False),
    _good("an answer behind no body", DESYNC, answer(b"Content-Length: 0") + _EVIL, (b"Content-Length: 0",), reused=False),
    _good("a CRLF behind an answer", "RFC 9112, 2.2", _five() + b"\r\n", (_FIVE_LINE,), b"abcde", reused=False),
    _good("a NUL behind an answer", DESYNC, _five() + b"\0", (_FIVE_LINE,), b"abcde", reused=False),
    _good("a body with 204", _EMPTY, answer(first=b"HTTP/1.1 204 None", body=_EVIL), (), status=204, reused=False),
    _good("a length with 204", _EMPTY, answer(b"Content-Length: 5", first=b"HTTP/1.1 204 None", body=b"abcde"), (), status=204,
          reused=False),
    _good("a length with 204 and no body", _EMPTY, answer(b"Content-Length: 5", first=b"HTTP/1.1 204 None"), (), status=204,
          reused=False),
    _good("chunks with 204", _EMPTY, answer(CHUNKS, first=b"HTTP/1.1 204 None", body=b"0\r\n\r\n"), (), status=204, reused=False),
    _good("a body with 304", _EMPTY, answer(b"Content-Length: 5", first=b"HTTP/1.1 304 Same", body=b"abcde"), (_FIVE_LINE,),
          status=304, reused=False),
    _good("chunks with 304", _EMPTY, answer(CHUNKS, first=b"HTTP/1.1 304 Same", body=b"0\r\n\r\n"), (), status=304, reused=False),
    _good("a body to HEAD", _EMPTY, _five(), (_FIVE_LINE,), reused=False, asked=_HEAD),
    _good("an answer as the body to HEAD", DESYNC, answer(b"Content-Length: %d" % len(_EVIL), body=_EVIL), (
        b"Content-Length: %d" % len(_EVIL),), reused=False, asked=_HEAD),
    _good("chunks to HEAD", _EMPTY, _chunks(b"5\r\nabcde\r\n0\r\n\r\n"), (), reused=False, asked=_HEAD),
    _good("a length to HEAD, and no body", _EMPTY, answer(_FIVE_LINE), (_FIVE_LINE,), reused=False, asked=_HEAD),
    _good("no length and no end", _FRAMING, answer(body=b"abcde"), (), b"abcde", reused=False, ends=True),
    _good("no length with HTTP/1.0", _FRAMING, answer(first=b"HTTP/1.0 200 OK", body=_EVIL), (), _EVIL, reused=False, ends=True),
    _good("HTTP/1.0 with a length", _END, _five(first=b"HTTP/1.0 200 OK"), (_FIVE_LINE,), b"abcde", reused=False),
    _good("close", _END, _five(b"Connection: close"), (_FIVE_LINE,), b"abcde", reused=False),
    _good("close in a list", _END, _five(b"Connection: keep-alive, CLOSE"), (_FIVE_LINE,), b"abcde", reused=False),
    _good("interim answers", _INTERIM, answer(first=b"HTTP/1.1 103 Early") * 3 + _five(), (_FIVE_LINE,), b"abcde",
          interim=(103,) * 3),
    _good("a flood of interim answers", _INTERIM, answer(first=b"HTTP/1.1 102 Processing") * 99 + _five(), (_FIVE_LINE,), b"abcde",
          interim=(102,) * 99),
    _good("an unknown interim answer", _INTERIM, answer(b"A: b", first=b"HTTP/1.1 199 A") + _five(), (_FIVE_LINE,), b"abcde",
          interim=(199,)),
    _good("100 that nobody waits for", _INTERIM, answer(first=b"HTTP/1.1 100 Continue") + _five(), (_FIVE_LINE,), b"abcde",
          interim=(100,)),
    _good("a status of 999", _STATUS, _five(first=b"HTTP/1.1 999 A"), (_FIVE_LINE,), b"abcde", status=999),
    _good("no reason, and no space", _STATUS, _five(first=b"HTTP/1.1 200"), (_FIVE_LINE,), b"abcde"),
    _good("a reason in latin-1", _STATUS, _five(first=b"HTTP/1.1 200 \xe4\t\xff"), (_FIVE_LINE,), b"abcde"),
    _good("205 with a body", _EMPTY, _five(first=b"HTTP/1.1 205 Reset"), (_FIVE_LINE,), b"abcde", status=205),
    _good("fields of the hop", _CONNECTION, _five(
        b"Connection: X-A, Set-Cookie", b"X-A: b", b"Set-Cookie: a=b", b"Keep-Alive: max=0", b"Proxy-Authenticate: Basic",
        b"Upgrade: h2c", b"X-B: c"), (b"X-B: c", _FIVE_LINE), b"abcde"),
    _good("fields of the proxy", "the project's own names", _five(
        b"X-Inverting-Proxy-Error: no-backend", b"A: b"), (b"A: b", _FIVE_LINE), b"abcde"),
    _good("percent-encoded line ends", _SPLITTING, _five(b"Location: /%0d%0aSet-Cookie:%20a=b", first=b"HTTP/1.1 302 A"), (
        b"Location: /%0d%0aSet-Cookie:%20a=b", _FIVE_LINE), b"abcde", status=302),
    _good("characters that end in CR and LF", "CVE-2018-12116, splitting by truncated characters", _five(
        "A: \u010d\u010ab".encode()), ("A: \u010d\u010ab".encode(), _FIVE_LINE), b"abcde"),
    _good("an answer within a body", DESYNC, answer(b"Content-Length: %d" % len(_EVIL), body=_EVIL), (
        b"Content-Length: %d" % len(_EVIL),), _EVIL),
    _good("an answer within a chunk", DESYNC, _chunks(b"%x;a=b\r\n%b\r\n00\r\n\r\n" % (len(_EVIL), _EVIL)), (), _EVIL),
    _good("a coding in capitals", _FRAMING, answer(b"TRANSFER-ENCODING: CHUNKED", body=b"5\r\nabcde\r\n0\r\n\r\n"), (), b"abcde"),
    _good("an answer before the body came", _END, _five(), (_FIVE_LINE,), b"abcde", asked=sized(
        b"abcde", first=b"POST /hostile HTTP/1.1")),
)  # fmt: skip
