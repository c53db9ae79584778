"""
Bodies in chunks (RFC 9112, section 7.1).
"""

from __future__ import annotations

from invproxy.test.hostile.cases import (
    CHUNKS,
    FUNKY,
    GOES_ON,
    HOST,
    SMUGGLED,
    WAITS,
    Case,
    Seen,
    begun,
    chunked,
    passes,
)

_CHUNK = "RFC 9112, 7.1"
_EXTENSION = "RFC 9112, 7.1.1"
_TRAILER = "RFC 9112, 7.1.2"
_BEHIND = b"0\r\n\r\n" + SMUGGLED


def _broken(name: str, body: bytes, source: str = _CHUNK) -> Case:
    """
    A body that breaks the grammar before its end.
    """
    return Case(name, source, chunked(body), seen=begun(CHUNKS))


def _stuck(name: str, body: bytes) -> Case:
    """
    A body whose end does not come.
    """
    return Case(name, _CHUNK, chunked(body), (), begun(CHUNKS), WAITS)


def _whole(name: str, body: bytes, arrives: bytes, *trailers: bytes, source: str = _CHUNK) -> Case:
    """
    A body that is strange, and in order.
    """
    return passes(name, source, chunked(body), Seen(b"POST /", (HOST, CHUNKS), arrives, trailers))


def _size(name: str, size: bytes) -> Case:
    """
    A size that is none, before five bytes and a request.
    """
    return _broken(name, size + b"\r\nabcde\r\n" + _BEHIND)


CHUNKING = (
    _size("a size with h", b"5h"),
    _size("a size with a fraction", b"5.0"),
    _size("a size in quotation marks", b'"5"'),
    _size("a size with a backslash", b"5\\"),
    _size("a size with a comma", b"5,5"),
    _size("a size with a colon", b"5:"),
    _size("a size in wide digits", "５".encode()),
    _size("a size with a vertical tab behind", b"5\x0b"),
    _size("a size with a form feed before", b"\x0c5"),
    _size("a size with a no-break space", b"5\xa0"),
    _size("a size with a space in it", b"0 5"),
    _size("a size with X", b"0X5"),
    _size("a size of -0", b"-0"),
    _size("a size of +0", b"+0"),
    _size("a size of 0x0", b"0x0"),
    _size("a size of 0 and a space", b"0 "),
    _size("a size of 2 to the 64th less 1", b"FFFFFFFFFFFFFFFF"),
    _size("a size of 2 to the 64th", b"10000000000000000"),
    _size("a size of 2 to the 63rd", b"8000000000000000"),
    _size("a size of 2 to the 128th and 5", b"100000000000000000000000000000005"),
    _size("a size of seventeen zeros", b"0" * 17),
    _size("a size of zeros without end", b"0" * 200),
    _broken("chunks with an empty line between", b"5\r\nabcde\r\n\r\n" + _BEHIND),
    _broken("an empty line before the chunks", b"\r\n5\r\nabcde\r\n" + _BEHIND),
    _broken("a chunk that swallows its end", b"7\r\nabcde\r\n" + _BEHIND),
    _broken("a chunk with CR CR LF behind", b"5\r\nabcde\r\r\n" + _BEHIND),
    _broken("a chunk with LF CR behind", b"5\r\nabcde\n\r" + _BEHIND),
    _broken("a chunk with a byte and LF behind", b"5\r\nabcdeX\n" + _BEHIND, FUNKY),
    _broken("a chunk with NUL and LF behind", b"5\r\nabcde\0\n" + _BEHIND, FUNKY),
    _broken("CR CR LF behind a size", b"5\r\r\nabcde\r\n" + _BEHIND),
    _broken("LF LF behind a size", b"5\n\nabcde\r\n" + _BEHIND),
    _broken("a last chunk with LF and LF", b"0\n\n" + SMUGGLED),
    _broken("a last chunk with LF and CRLF", b"0\n\r\n" + SMUGGLED),
    _broken("a last chunk with CR CR LF", b"0\r\r\n\r\n" + SMUGGLED),
    _broken("a last chunk with CRLF and CR", b"0\r\n\r" + SMUGGLED),
    _broken("a last chunk without an empty line", b"0\r\n" + SMUGGLED),
    _broken("a body without chunks", b"hello, world\r\n"),
    _broken("HTTP in place of chunks", SMUGGLED),
    _broken("TERM.EXT", b"2;\nxx\r\n4c\r\n0\r\n\r\n" + SMUGGLED, FUNKY),
    _broken("EXT.TERM", b"10;\n\r\nabc\r\n" + _BEHIND, FUNKY),
    _broken("EXT.TERM with CR", b"5;a\rxyz\r\nabcde\r\n" + _BEHIND, FUNKY),
    _broken("TERM.SPILL", b"5\r\nabcde" + b"7\r\n" + _BEHIND, FUNKY),
    _broken("SPILL.TERM", b"5\r\nabcdeXX0\r\n\r\n" + SMUGGLED, FUNKY),
    _broken("ONE.TWO", b"5\r\nabcde\n" + _BEHIND, FUNKY),
    _broken("TWO.ONE", b"5\r\nabcde\rX" + _BEHIND, FUNKY),
    _broken("an extension of white space", b"5;  \r\nabcde\r\n" + _BEHIND, _EXTENSION),
    _broken("an extension behind white space", b"5 ;a=b\r\nabcde\r\n" + _BEHIND, _EXTENSION),
    _broken("an extension with space around =", b"5;a = b\r\nabcde\r\n" + _BEHIND, _EXTENSION),
    _broken("an extension with two =", b"5;a==b\r\nabcde\r\n" + _BEHIND, _EXTENSION),
    _broken("an extension with DEL", b"5;a=\x7f\r\nabcde\r\n" + _BEHIND, _EXTENSION),
    _broken("an extension in latin-1", b"5;\xe4=b\r\nabcde\r\n" + _BEHIND, _EXTENSION),
    _broken("an extension with a quoted NUL", b'5;a="\\\0"\r\nabcde\r\n' + _BEHIND, _EXTENSION),
    _broken("an extension of 100 bytes", b"5;" + b"a" * 100 + b"\r\nabcde\r\n" + _BEHIND, _EXTENSION),
    _broken("an extension without end", b"5;" + b"a" * 5000, _EXTENSION),
    _broken("an extension on the last chunk with LF", b"0;a\n\r\n" + SMUGGLED, _EXTENSION),
    _whole("extensions", b'5;a;b=c;d="e;f"\r\nabcde\r\n0;g\r\n\r\n', b"abcde", source=_EXTENSION),
    _whole("an extension with quoted latin-1", b'5;a="\xe4\\""\r\nabcde\r\n0\r\n\r\n', b"abcde", source=_EXTENSION),
    _whole("an extension of ICAP", b"0;ieof\r\n\r\n", b"", source=_EXTENSION),
    _whole("sizes in either case with zeros", b"00A\r\n0123456789\r\n0b\r\n0123456789a\r\n000\r\n\r\n",
           b"01234567890123456789a"),
    _whole("chunks of one byte", b"".join(b"1\r\n%c\r\n" % byte for byte in b"\r\n0\r\n") + b"0\r\n\r\n", b"\r\n0\r\n"),
    _whole("a chunk that looks like an end", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
    _whole("a chunk that holds a request", b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED), SMUGGLED),
    _stuck("a chunk without its data", b"5\r\n"),
    _stuck("a chunk without its end", b"5\r\nabcde"),
    _stuck("a chunk with half of its end", b"5\r\nabcde\r"),
    _stuck("no last chunk", b"5\r\nabcde\r\n"),
    _stuck("a last chunk without the empty line", b"0\r\n"),
    _stuck("a last chunk with half of the empty line", b"0\r\n\r"),
    _stuck("a trailer without the empty line", b"0\r\nA: b\r\n"),
    _stuck("a chunk of 4 GiB", b"FFFFFFFF\r\n" + _BEHIND),
    _stuck("a chunk of 2 GiB", b"80000000\r\n" + _BEHIND),
    _stuck("a chunk of 2 to the 32nd and 5", b"100000005\r\nabcde\r\n" + _BEHIND),
    _stuck("a size in binary, which is hexadecimal", b"0b101\r\nabcde\r\n" + _BEHIND),
    _stuck("the greatest chunk", b"FFFFFFFFFFFFFFF\r\n" + _BEHIND),
    _whole("trailers", b"0\r\nX-A: b\r\nx-a:c\r\n\r\n", b"", b"X-A: b", b"x-a: c", source=_TRAILER),
    _whole("trailers of latin-1 and nothing", b"0\r\nA: \xe4\r\nB:\r\n\r\n", b"", b"A: \xe4", b"B:", source=_TRAILER),
    _broken("a request among trailers", b"0\r\nA: b\r\n" + SMUGGLED, _TRAILER),
    _broken("a coding among trailers", b"0\r\nTRANSFER-ENCODING: chunked\r\n\r\n" + _BEHIND, _TRAILER),
    _broken("a length behind another trailer", b"0\r\nX-A: b\r\nContent-length:0\r\n\r\n", _TRAILER),
    _broken("a trailer with a tab before the colon", b"0\r\nA\t: b\r\n\r\n", _TRAILER),
    _broken("a trailer without name", b"0\r\n: b\r\n\r\n", _TRAILER),
    _broken("a trailer of HTTP/2", b"0\r\n:path: /b\r\n\r\n", _TRAILER),
    _broken("a trailer with a bare CR", b"0\r\nA: b\rC: d\r\n\r\n", _TRAILER),
    _broken("a trailer with ESC", b"0\r\nA: \x1b[2J\r\n\r\n", _TRAILER),
    _broken("a folded trailer with a tab", b"0\r\nA: b\r\n\tc\r\n\r\n", _TRAILER),
    _broken("trailers that end with LF LF", b"0\r\nA: b\n\n" + SMUGGLED, _TRAILER),
    _broken("trailers of 500 bytes", b"0\r\nA: " + b"b" * 500 + b"\r\n\r\n", _TRAILER),
    _broken("41 trailers", b"0\r\n" + b"A: b\r\n" * 41 + b"\r\n", _TRAILER),
    _broken("trailers without end", b"0\r\n" + b"A: bcdefghi\r\n" * 500, _TRAILER),
    _broken("Content-Type among trailers", b"0\r\nContent-Type: a\r\n\r\n", _TRAILER),
    _broken("Content-Encoding among trailers", b"0\r\nContent-Encoding: a\r\n\r\n", _TRAILER),
    _broken("Max-Forwards among trailers", b"0\r\nMax-Forwards: 0\r\n\r\n", _TRAILER),
    _broken("Expect among trailers", b"0\r\nExpect: 100-continue\r\n\r\n", _TRAILER),
    passes("forwarding fields among trailers", _TRAILER, chunked(
        b"0\r\nX-Forwarded-For: 10.0.0.1\r\nA: b\r\nForwarded: for=10.0.0.1\r\nx_real_ip: 10.0.0.1\r\n\r\n"),
        Seen(b"POST /", (HOST, CHUNKS), b"", (b"A: b",)), above=True),
    passes("an end user among trailers", _TRAILER, chunked(
        b"0\r\nX-Inverting-Proxy-User-ID: root\r\nX_Inverting-Proxy_User-ID: root\r\n\r\n"),
        Seen(b"POST /", (HOST, CHUNKS)), above=True),
    Case("an empty line behind trailers", _TRAILER, chunked(b"0\r\nA: b\r\n\r\n") + b"\r\n" + SMUGGLED, (200, 200),
         (Seen(b"POST /", (HOST, CHUNKS), b"", (b"A: b",)), Seen(b"GET /smuggled")), GOES_ON),
)  # fmt: skip
