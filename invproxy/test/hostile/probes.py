"""
What two well-known tools send, made anew.

 - h1spec (github.com/uNetworking/h1spec): each of its cases, by its name.
 - smuggler (github.com/defparam/smuggler): Transfer-Encoding in each of the mutations of its three lists, here together with
   a length that covers a whole request behind the chunks.
"""

from __future__ import annotations

from collections.abc import Iterator

from invproxy.test.hostile.cases import (
    CHUNKS,
    CL_TE,
    GOES_ON,
    HOST,
    TE_CL,
    WAITS,
    Case,
    Seen,
    length,
    passes,
    post,
    request,
)

_H1SPEC = "h1spec"
_EXAMPLE = b"Host: example.com"
_WHOLE = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _piece(name: str, size: int) -> Case:
    """
    The beginning of a request, with which the server has to wait.
    """
    seen = (Seen(b"GET /hello", (b"Host: localhost",)),)
    return Case(f"h1spec: {name}", _H1SPEC, _WHOLE[:size], (), seen, WAITS, _WHOLE[size:])


def _refused(name: str, *lines: bytes, first: bytes = b"GET / HTTP/1.1", status: int = 400) -> Case:
    return Case(f"h1spec: {name}", _H1SPEC, request(*lines, first=first, host=_EXAMPLE), (status,))


def _valid(name: str, *lines: bytes, kept: tuple[bytes, ...] = ()) -> Case:
    data = request(*lines, host=_EXAMPLE)
    return passes(f"h1spec: {name}", _H1SPEC, data, Seen(b"GET /", (_EXAMPLE, *kept)))


H1SPEC = (
    _piece("fragmented method", 1),
    _piece("fragmented URL 1", 4),
    _piece("fragmented URL 2", 10),
    _piece("fragmented URL 3", 11),
    _piece("fragmented HTTP version", 15),
    _piece("fragmented request line", 19),
    _piece("fragmented request line newline 1", 20),
    _piece("fragmented request line newline 2", 21),
    _piece("fragmented field name", 24),
    _piece("fragmented field value 1", 26),
    _piece("fragmented field value 2", 27),
    _piece("fragmented field value 3", 36),
    _piece("fragmented field value 4", 37),
    _piece("fragmented request", 38),
    _piece("fragmented request termination", 39),
    Case("h1spec: request without HTTP version", _H1SPEC, b"GET / \r\n\r\n"),
    _valid("request with Expect header", b"Expect: 100-continue"),
    _valid("valid GET request"),
    passes("h1spec: valid GET request with edge cases", _H1SPEC, request(b"empty:", host=b"hoSt:\texample.com"), Seen(
        b"GET /", (b"hoSt: example.com", b"empty:"))),
    _refused("invalid header characters", b"X-Invalid[]: test"),
    Case("h1spec: missing Host header", _H1SPEC, request(b"Content-Length: 5", host=b"")),
    _refused("multiple Host headers", b"Host: example.org"),
    _refused("overflowing negative Content-Length header", b"Content-Length: -123456789123456789123456789"),
    _refused("negative Content-Length header", b"Content-Length: -1234"),
    _refused("non-numeric Content-Length header", b"Content-Length: abc"),
    _valid("empty header value", b"X-Empty-Header: ", kept=(b"X-Empty-Header:",)),
    _refused("header containing invalid control character", b"X-Bad-Control-Char: test\x07"),
    _refused("invalid HTTP version", first=b"GET / HTTP/9.9", status=505),
    _refused("invalid prefix of request", first=b"Extra lineGET / HTTP/1.1"),
    _refused("invalid line ending", b"\rSome-Header: Test"),
    passes("h1spec: valid POST request with body", _H1SPEC, request(
        b"Content-Length: 5", first=b"POST / HTTP/1.1", host=_EXAMPLE) + b"hello", Seen(
        b"POST /", (_EXAMPLE, b"Content-Length: 5"), b"hello")),
    _refused("conflicting Transfer-Encoding and Content-Length", CHUNKS, b"Content-Length: 5"),
)  # fmt: skip


def _default() -> Iterator[tuple[str, bytes]]:
    """
    The mutations of smuggler's default list.
    """
    yield "nameprefix1", b" Transfer-Encoding: chunked"
    yield "tabprefix1", b"Transfer-Encoding:\tchunked"
    yield "tabprefix2", b"Transfer-Encoding\t:\tchunked"
    yield "space1", b"Transfer-Encoding : chunked"
    for byte in (1, 4, 8, 9, 0xA, 0xB, 0xC, 0xD, 0x1F, 0x20, 0x7F, 0xA0, 0xFF):
        for name, line in (
            ("midspace", b"Transfer-Encoding:%cchunked"),
            ("postspace", b"Transfer-Encoding%c: chunked"),
            ("prespace", b"%cTransfer-Encoding: chunked"),
            ("endspace", b"Transfer-Encoding: chunked%c"),
            ("xprespace", b"X: X%cTransfer-Encoding: chunked"),
            ("endspacex", b"Transfer-Encoding: chunked%cX: X"),
            ("rxprespace", b"X: X\r%cTransfer-Encoding: chunked"),
            ("xnprespace", b"X: X%c\nTransfer-Encoding: chunked"),
            ("endspacerx", b"Transfer-Encoding: chunked\r%cX: X"),
            ("endspacexn", b"Transfer-Encoding: chunked%c\nX: X"),
        ):
            yield f"{name}-{byte:02x}", line % byte


_EXHAUSTIVE = {
    "spacejoin1": b"Transfer Encoding: chunked",
    "underjoin1": b"Transfer_Encoding: chunked",
    "smashed": b"Transfer Encoding:chunked",
    "valueprefix1": b"Transfer-Encoding:  chunked",
    "vertprefix1": b"Transfer-Encoding:\x0bchunked",
    "commaCow": b"Transfer-Encoding: chunked, cow",
    "cowComma": b"Transfer-Encoding: cow, chunked",
    "contentEnc": b"Content-Encoding: chunked",
    "linewrapped1": b"Transfer-Encoding:\n chunked",
    "quoted": b'Transfer-Encoding: "chunked"',
    "aposed": b"Transfer-Encoding: 'chunked'",
    "lazygrep": b"Transfer-Encoding: chunk",
    "sarcasm": b"TrAnSFer-EnCODinG: cHuNkeD",
    "yelling": b"TRANSFER-ENCODING: CHUNKED",
    "0dsuffix": b"Transfer-Encoding: chunked\r",
    "tabsuffix": b"Transfer-Encoding: chunked\t",
    "revdualchunk": b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    "0dspam": b"Transfer\r-Encoding: chunked",
    "nested": b"Transfer-Encoding: cow chunked bar",
    "spaceFF": b"Transfer-Encoding:\xffchunked",
    "accentCH": b"Transfer-Encoding: ch\x96nked",
    "accentTE": b"Transf\x82r-Encoding: chunked",
    "x-rout": b"X:X\rTransfer-Encoding: chunked",
    "x-nout": b"X:X\nTransfer-Encoding: chunked",
}

_BYTES = (*range(0x01, 0x21), *range(0x7F, 0x100))


def _single() -> Iterator[tuple[str, bytes]]:
    """
    Those with a strange byte in one place.
    """
    for byte in _BYTES:
        yield f"1: midspace-{byte:02x}", b"Transfer-Encoding:%cchunked" % byte
        yield f"1: postspace-{byte:02x}", b"Transfer-Encoding%c: chunked" % byte
        yield f"1: prespace-{byte:02x}", b"%cTransfer-Encoding: chunked" % byte
        yield f"1: endspace-{byte:02x}", b"Transfer-Encoding: chunked%c" % byte


def _double() -> Iterator[tuple[str, bytes]]:
    """
    Those with a strange byte in two places.
    """
    for byte in _BYTES:
        for name, line in (
            ("{0}-{0}-XX-XX", b"%cTransfer-Encoding%c: chunked"),
            ("{0}-XX-{0}-XX", b"%cTransfer-Encoding:%cchunked"),
            ("{0}-XX-XX-{0}", b"%cTransfer-Encoding: chunked%c"),
            ("XX-{0}-{0}-XX", b"Transfer-Encoding%c:%cchunked"),
            ("XX-{0}-XX-{0}", b"Transfer-Encoding%c: chunked%c"),
            ("XX-XX-{0}-{0}", b"Transfer-Encoding:%cchunked%c"),
        ):
            yield "2: " + name.format(f"{byte:02x}"), line % (byte, byte)


_HARMLESS = {
    "underjoin1": b"Transfer_Encoding: chunked",
    "contentEnc": b"Content-Encoding: chunked",
    "xprespace-09": b"X: X\tTransfer-Encoding: chunked",
    "xprespace-20": b"X: X Transfer-Encoding: chunked",
    "xprespace-a0": b"X: X\xa0Transfer-Encoding: chunked",
    "xprespace-ff": b"X: X\xffTransfer-Encoding: chunked",
}
"""The mutations that are no Transfer-Encoding to anyone: the fields that they are."""


def _probe(name: str, line: bytes) -> Case:
    data = post(CL_TE, line, length(CL_TE))
    if name not in _HARMLESS:
        return Case(f"smuggler: {name}", "smuggler", data)
    seen = Seen(b"POST /", (HOST, _HARMLESS[name], length(CL_TE)), CL_TE)
    return Case(f"smuggler: {name}", "smuggler", data, (200,), (seen,), GOES_ON)


SMUGGLER = tuple(_probe(name, line) for name, line in (*_default(), *_EXHAUSTIVE.items()))
"""The mutations that have names, with chunks that end before the length does."""

SMUGGLER_BYTES = tuple(_probe(name, line) for name, line in (*_single(), *_double()))
"""Those with every byte in every place."""

SMUGGLER_TURNED = tuple(
    Case(f"smuggler, TE.CL: {name}", "smuggler", post(TE_CL, line, b"Content-Length: 4"))
    for name, line in (*_default(), *_EXHAUSTIVE.items(), *_single(), *_double())
    if name not in _HARMLESS
)
"""All of them with chunks that go on behind the length."""
