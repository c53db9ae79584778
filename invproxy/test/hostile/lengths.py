"""
Content-Length and Transfer-Encoding in all their disguises (RFC 9112, sections 6.1 to 6.3).
"""

from __future__ import annotations

from invproxy.test.hostile.cases import (
    BROWSER,
    CHUNKS,
    CL_TE,
    DESYNC,
    HOST,
    MUST_DIE,
    SMUGGLED,
    TE_CL,
    WAITS,
    WATCHFIRE,
    Case,
    Seen,
    begun,
    chunked,
    length,
    passes,
    post,
    request,
    sized,
)

_LENGTH = "RFC 9110, 8.6"
_CODING = "RFC 9112, 6.1"
_FRAMING = "RFC 9112, 6.3"
_FIELD = "RFC 9112, 5.1"


def _five(name: str, line: bytes, source: str = _LENGTH) -> Case:
    """
    A body of five bytes with a length that is none.
    """
    return Case(name, source, post(b"abcde", line))


def _coded(name: str, line: bytes, status: int = 400, source: str = _CODING) -> Case:
    """
    A body that has two ends, with a coding that is none.
    """
    return Case(name, source, post(CL_TE, line), (status,))


def _both(name: str, line: bytes, source: str = DESYNC) -> Case:
    """
    The same with a length beside it.
    """
    return Case(name, source, post(CL_TE, length(CL_TE), line))


def _plain(name: str, line: bytes) -> Case:
    """
    A field that is only like a framing field, and the true one behind it.
    """
    return passes(
        name, _FIELD, sized(CL_TE, line), Seen(b"POST /", (HOST, line, length(CL_TE)), CL_TE)
    )


LENGTHS = (
    Case("a length below the sum of the chunks", WATCHFIRE, post(TE_CL, b"Content-Length: 4", CHUNKS)),
    Case("a length of 0 beside chunks", WATCHFIRE, post(CL_TE, b"Content-Length: 0", CHUNKS)),
    Case("a length on either side of the coding", DESYNC, post(
        CL_TE, length(CL_TE), CHUNKS, b"Content-Length: 0")),
    Case("lengths of 0 and more", WATCHFIRE, post(SMUGGLED, b"Content-Length: 0", length(SMUGGLED))),
    Case("lengths of more and 0", WATCHFIRE, post(SMUGGLED, length(SMUGGLED), b"Content-Length: 0")),
    Case("two lengths of 0", _FRAMING, post(b"", b"Content-Length: 0", b"Content-Length: 0")),
    Case("a length and an empty one", _FRAMING, post(b"abcde", b"Content-Length: 5", b"Content-Length:")),
    Case("lengths far apart", _FRAMING, post(b"abcde", b"Content-Length: 5", *[b"A: b"] * 30, b"content-length: 6")),
    Case("a length list with a tab", _LENGTH, post(b"abcde", b"Content-Length: 5\t, 5")),
    _five("a length with a comma behind", b"Content-Length: 5,"),
    _five("a length with a comma before", b"Content-Length: ,5"),
    _five("a length with an empty element", b"Content-Length: 5,,5"),
    _five("a length with a parameter", b"Content-Length: 5;a=b"),
    _five("a length with a unit", b"Content-Length: 5 bytes"),
    _five("a length with a comment", b"Content-Length: 5 (five)"),
    _five("a length with an exponent", b"Content-Length: 5e0"),
    _five("a length with a full stop", b"Content-Length: 5."),
    _five("a length in octal", b"Content-Length: 0o5"),
    _five("a length in binary", b"Content-Length: 0b101"),
    _five("a length in hexadecimal without a prefix", b"Content-Length: a"),
    _five("a length of -0", b"Content-Length: -0"),
    _five("a length of +0", b"Content-Length: +0"),
    _five("a length of NaN", b"Content-Length: NaN"),
    _five("a length of Infinity", b"Content-Length: Infinity"),
    _five("a length with thousands", b"Content-Length: 1,000"),
    _five("a length in wide digits", "Content-Length: ５".encode()),
    _five("a length behind a no-break space", b"Content-Length: \xa05"),
    _five("a length before a no-break space", b"Content-Length: 5\xa0"),
    _five("a length behind a vertical tab", b"Content-Length: \x0b5"),
    _five("a length before a form feed", b"Content-Length: 5\x0c"),
    _five("a length with NUL behind", b"Content-Length: 5\0"),
    _five("a length with NUL and more", b"Content-Length: 5\x006"),
    _five("a length folded", b"Content-Length: 5\r\n 6"),
    _five("a length folded before it", b"Content-Length:\r\n 5"),
    _five("a length in apostrophes", b"Content-Length: '5'"),
    _five("a length with a backslash", b"Content-Length: \\5"),
    _five("a length percent-encoded", b"Content-Length: %35"),
    _five("a length of sixteen digits", b"Content-Length: 0000000000000005"),
    _five("a length of 2 to the 63rd", b"Content-Length: 9223372036854775808"),
    _five("a length of a thousand digits", b"Content-Length: " + b"0" * 999 + b"5"),
    _five("a space before the colon of the length", b"Content-Length : 5", _FIELD),
    _five("a tab before the colon of the length", b"Content-Length\t: 5", _FIELD),
    _five("a no-break space before the colon of the length", b"Content-Length\xa0: 5", _FIELD),
    _five("a vertical tab before the colon of the length", b"Content-Length\x0b: 5", _FIELD),
    _five("a length without colon", b"Content-Length 5", _FIELD),
    _five("a length with an equals sign", b"Content-Length=5", _FIELD),
    _five("a length with a Cyrillic letter", "\u0421ontent-Length: 5".encode(), _FIELD),
    passes("a length with zeros before it", _LENGTH, post(b"abcde", b"Content-Length: 005"), Seen(
        b"POST /", (HOST, b"Content-Length: 005"), b"abcde")),
    passes("a length of fifteen digits", _LENGTH, post(b"abcde", b"Content-Length: 000000000000005"), Seen(
        b"POST /", (HOST, b"Content-Length: 000000000000005"), b"abcde")),
    passes("a length of 00", _LENGTH, post(b"", b"Content-Length: 00"), Seen(
        b"POST /", (HOST, b"Content-Length: 00"))),
    passes("a length between tabs", _LENGTH, post(b"abcde", b"Content-Length:\t5 \t"), Seen(
        b"POST /", (HOST, b"Content-Length: 5"), b"abcde")),
    passes("a length in capitals", _LENGTH, post(b"abcde", b"CONTENT-LENGTH:5"), Seen(
        b"POST /", (HOST, b"CONTENT-LENGTH: 5"), b"abcde")),
    Case("a length of 2 to the 32nd and 5", _LENGTH, post(b"abcde" + SMUGGLED, b"Content-Length: 4294967301"), (),
         begun(b"Content-Length: 4294967301"), WAITS),
    Case("a length of 2 to the 31st", _LENGTH, post(SMUGGLED, b"Content-Length: 2147483648"), (),
         begun(b"Content-Length: 2147483648"), WAITS),
    Case("the greatest length", _LENGTH, post(SMUGGLED, b"Content-Length: 999999999999999"), (),
         begun(b"Content-Length: 999999999999999"), WAITS),
    Case("a length beyond what came", MUST_DIE, post(SMUGGLED, b"Content-Length: 100"), (),
         begun(b"Content-Length: 100"), WAITS),
    passes("CL.0", BROWSER, post(SMUGGLED, b"Content-Length: 0"), Seen(
        b"POST /", (HOST, b"Content-Length: 0")), Seen(b"GET /smuggled")),
    passes("no framing at all", "RFC 9112, 6.3", post(SMUGGLED), Seen(b"POST /"), Seen(b"GET /smuggled")),
    passes("0.CL", MUST_DIE, sized(SMUGGLED, first=b"GET /con HTTP/1.1"), Seen(
        b"GET /con", (HOST, length(SMUGGLED)), SMUGGLED)),
    passes("TE.0", "Bugcrowd, TE.0 HTTP Request Smuggling (2024)", post(
        TE_CL, CHUNKS, first=b"OPTIONS / HTTP/1.1"), Seen(b"OPTIONS /", (HOST, CHUNKS), SMUGGLED)),
    passes("chunks with GET", _FRAMING, post(TE_CL, CHUNKS, first=b"GET / HTTP/1.1"), Seen(
        b"GET /", (HOST, CHUNKS), SMUGGLED)),
    passes("chunks with HEAD", _FRAMING, post(TE_CL, CHUNKS, first=b"HEAD / HTTP/1.1"), Seen(
        b"HEAD /", (HOST, CHUNKS), SMUGGLED)),
    passes("a body with DELETE", _FRAMING, sized(SMUGGLED, first=b"DELETE / HTTP/1.1"), Seen(
        b"DELETE /", (HOST, length(SMUGGLED)), SMUGGLED)),
)  # fmt: skip

CODINGS = (
    Case("TE.TE", DESYNC, post(CL_TE, CHUNKS, b"Transfer-encoding: cow"), (501,)),
    Case("TE.TE turned", DESYNC, post(CL_TE, b"Transfer-encoding: cow", CHUNKS), (501,)),
    Case("TE.TE with identity behind", DESYNC, post(CL_TE, CHUNKS, b"Transfer-Encoding: identity"), (501,)),
    Case("TE.TE with an empty one behind", DESYNC, post(CL_TE, CHUNKS, b"Transfer-Encoding:")),
    _coded("chunked and identity", b"Transfer-Encoding: chunked, identity", 501),
    _coded("identity and chunked", b"Transfer-Encoding: identity, chunked", 501),
    _coded("chunked twice without comma", b"Transfer-Encoding: chunked chunked", 501),
    _coded("chunked and two commas", b"Transfer-Encoding: chunked,,"),
    _coded("chunked three times", b"Transfer-Encoding: chunked, chunked, chunked"),
    _coded("chunked and deflate", b"Transfer-Encoding: chunked, deflate", 501),
    _coded("chunked with a weight", b"Transfer-Encoding: chunked;q=0.5", 501),
    _coded("chunked with a space and a parameter", b"Transfer-Encoding: chunked ;a", 501),
    _coded("chunked with an empty parameter", b"Transfer-Encoding: chunked;", 501),
    _coded("chunked in brackets", b"Transfer-Encoding: [chunked]", 501),
    _coded("chunked with a comment", b"Transfer-Encoding: chunked (really)", 501),
    _coded("chunked with a colon", b"Transfer-Encoding: :chunked", 501),
    _coded("chunk", b"Transfer-Encoding: chun", 501),
    _coded("chunked with a Kelvin sign", "Transfer-Encoding: chun\u212aed".encode(), 501),
    _coded("chunked with a Turkish letter", "Transfer-Encoding: chunked\u0131".encode(), 501),
    _coded("chunked behind a no-break space", b"Transfer-Encoding: \xa0chunked", 501),
    _coded("chunked behind a next-line character", b"Transfer-Encoding: \x85chunked", 501),
    _coded("chunked behind a byte order mark", b"Transfer-Encoding: \xef\xbb\xbfchunked", 501),
    _coded("the number 0", b"Transfer-Encoding: 0", 501),
    _coded("chunked percent-encoded", b"Transfer-Encoding: %63hunked", 501),
    _coded("chunked with NUL behind", b"Transfer-Encoding: chunked\0"),
    _coded("chunked with NUL before", b"Transfer-Encoding: \0chunked"),
    _coded("chunked with a backspace", b"Transfer-Encoding: chunkedd\x08"),
    _coded("chunked behind a form feed", b"Transfer-Encoding:\x0cchunked"),
    _coded("chunked and a tab between", b"Transfer-Encoding: \t chunked"),
    _coded("chunked folded behind", b"Transfer-Encoding: chunked\r\n identity"),
    _coded("chunked folded with a tab", b"Transfer-Encoding:\r\n\tchunked"),
    _coded("chunked behind a bare LF", b"Transfer-Encoding:\n chunked"),
    _coded("chunked behind a bare CR", b"Transfer-Encoding:\r chunked"),
    _coded("a coding without colon", b"Transfer-Encoding chunked", source=_FIELD),
    _coded("a coding with two spaces before the colon", b"Transfer-Encoding  : chunked", source=_FIELD),
    _coded("a coding with NUL in the name", b"Transfer\0-Encoding: chunked", source=_FIELD),
    _coded("a coding with CR in the name", b"Transfer\r-Encoding: chunked", source=_FIELD),
    _coded("a coding with LF in the name", b"Transfer-\nEncoding: chunked", source=_FIELD),
    _coded("a coding with a Cyrillic letter", "Tr\u0430nsfer-Encoding: chunked".encode(), source=_FIELD),
    _coded("a coding with a soft hyphen", b"Transfer\xad-Encoding: chunked", source=_FIELD),
    _coded("a coding behind a byte order mark", b"\xef\xbb\xbfTransfer-Encoding: chunked", source=_FIELD),
    _coded("a coding in quotation marks", b'"Transfer-Encoding": chunked', source=_FIELD),
    _both("a length and a coding in other cases", b"tRANSFER-eNCODING: CHUNKED"),
    _both("a length and a coding without space", b"Transfer-Encoding:chunked"),
    _both("a length and an unknown coding", b"Transfer-Encoding: x"),
    _both("a length and an empty coding", b"Transfer-Encoding: "),
    _both("a length and identity", b"Transfer-Encoding: identity"),
    Case("a coding before the Host", DESYNC, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n"
         b"Content-Length: 4\r\n\r\n" + TE_CL),
    Case("chunks and HTTP/1.0 kept alive", _CODING, post(
        CL_TE, CHUNKS, b"Connection: keep-alive", first=b"POST / HTTP/1.0")),
    Case("chunks, a length and HTTP/1.0", _CODING, post(CL_TE, CHUNKS, length(CL_TE), first=b"POST / HTTP/1.0")),
    _plain("a length beside a coding with two hyphens", b"Transfer--Encoding: chunked"),
    _plain("a length beside a coding with a full stop", b"Transfer.Encoding: chunked"),
    _plain("a length beside a coding with a tilde", b"Transfer-Encoding~: chunked"),
    _plain("a coding within a value", b"A: b Transfer-Encoding: chunked"),
    _plain("a length with underscore", b"Content_Length: 0"),
    passes("a coding asked for", _CODING, sized(CL_TE, b"TE: chunked"), Seen(
        b"POST /", (HOST, length(CL_TE)), CL_TE)),
    passes("a coding in other cases", _CODING, post(TE_CL, b"tRANSFER-eNCODING: ChUnKeD"), Seen(
        b"POST /", (HOST, CHUNKS), SMUGGLED)),
    passes("a coding without space", _CODING, post(TE_CL, b"Transfer-Encoding:chunked"), Seen(
        b"POST /", (HOST, CHUNKS), SMUGGLED)),
    passes("a coding between spaces", _CODING, post(TE_CL, b"Transfer-Encoding:   chunked  "), Seen(
        b"POST /", (HOST, CHUNKS), SMUGGLED)),
    passes("a request behind the last chunk", DESYNC, chunked(CL_TE), Seen(b"POST /", (HOST, CHUNKS)), Seen(
        b"GET /smuggled")),
    Case("a coding within the request line", _CODING, request(
        first=b"POST / Transfer-Encoding: chunked HTTP/1.1") + CL_TE),
)  # fmt: skip
