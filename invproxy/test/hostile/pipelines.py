"""
What stands behind a request on its connection (RFC 9112, section 9.3.2).
"""

from __future__ import annotations

from invproxy.test.hostile.cases import (
    BROWSER,
    CHUNKS,
    DESYNC,
    GOES_ON,
    HOST,
    SMUGGLED,
    TE_CL,
    WAITS,
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

_PIPELINE = "RFC 9112, 9.3.2"
_SMUGGLED = Seen(b"GET /smuggled")
_POSTED = Seen(b"POST /", (HOST, b"Content-Length: 5"), b"abcde")
_FIVE = sized(b"abcde")

PIPELINES = (
    passes("two requests", _PIPELINE, request() + SMUGGLED, Seen(b"GET /"), _SMUGGLED),
    passes("one after a body", _PIPELINE, _FIVE + SMUGGLED, _POSTED, _SMUGGLED),
    passes("one after chunks", _PIPELINE, chunked(TE_CL) + SMUGGLED, Seen(b"POST /", (HOST, CHUNKS), SMUGGLED), _SMUGGLED),
    passes("one after HEAD", _PIPELINE, request(first=b"HEAD / HTTP/1.1") + SMUGGLED, Seen(b"HEAD /"), _SMUGGLED),
    passes("many after HEAD", DESYNC, request(first=b"HEAD / HTTP/1.1") * 5 + SMUGGLED, *[Seen(b"HEAD /")] * 5, _SMUGGLED),
    passes("one after GET with a body", _PIPELINE, sized(b"abcde", first=b"GET / HTTP/1.1") + SMUGGLED, Seen(
        b"GET /", (HOST, b"Content-Length: 5"), b"abcde"), _SMUGGLED),
    passes("one after HEAD with a body", _PIPELINE, sized(b"abcde", first=b"HEAD / HTTP/1.1") + SMUGGLED, Seen(
        b"HEAD /", (HOST, b"Content-Length: 5"), b"abcde"), _SMUGGLED),
    passes("one after DELETE with chunks", _PIPELINE, post(TE_CL, CHUNKS, first=b"DELETE / HTTP/1.1") + SMUGGLED, Seen(
        b"DELETE /", (HOST, CHUNKS), SMUGGLED), _SMUGGLED),
    passes("fifty requests", _PIPELINE, request() * 50, *[Seen(b"GET /")] * 50),
    passes("bodies and none", _PIPELINE, (_FIVE + request()) * 5, *[_POSTED, Seen(b"GET /")] * 5),
    passes("a CRLF too much behind a body", "RFC 9112, 2.2", _FIVE + b"\r\n" + SMUGGLED, _POSTED, _SMUGGLED),
    Case("two CRLF too much behind a body", "RFC 9112, 2.2", _FIVE + b"\r\n\r\n" + SMUGGLED, (200, 400), (_POSTED,)),
    Case("an LF too much behind a body", "RFC 9112, 2.2", _FIVE + b"\n" + SMUGGLED, (200, 400), (_POSTED,)),
    Case("a byte too much behind a body", DESYNC, _FIVE + b"X" + SMUGGLED, (200, 200), (
        _POSTED, Seen(b"XGET /smuggled")), GOES_ON),
    Case("a form too much behind a body", DESYNC, _FIVE + b"X=Y&" + SMUGGLED, (200, 400), (_POSTED,)),
    Case("NUL too much behind a body", DESYNC, _FIVE + b"\0" + SMUGGLED, (200, 400), (_POSTED,)),
    Case("chunks behind a body", DESYNC, _FIVE + b"0\r\n\r\n" + SMUGGLED, (200, 400), (_POSTED,)),
    Case("a good one after a bad one", _PIPELINE, request(b"A : b") + SMUGGLED),
    Case("a good one, a bad one, a good one", _PIPELINE, request() + request(b"A : b") + SMUGGLED, (200, 400), (Seen(b"GET /"),)),
    Case("a bad body between good ones", _PIPELINE, request() + chunked(b"x\r\n") + SMUGGLED, (200, 400), (
        Seen(b"GET /"), *begun(CHUNKS))),
    Case("TLS behind a request", _PIPELINE, request() + b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 3, (200, 400), (
        Seen(b"GET /"),)),
    Case("HTTP/2 behind a request", "RFC 9113, 3.4", request() + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (200, 505), (
        Seen(b"GET /"),)),
    Case("a response behind a request", DESYNC, request() + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (200, 400), (
        Seen(b"GET /"),)),
    Case("HTTP/1.0 behind HTTP/1.1", _PIPELINE, request() + request(first=b"GET /b HTTP/1.0") + SMUGGLED, (200, 200), (
        Seen(b"GET /"), Seen(b"GET /b"))),
    Case("close behind others", _PIPELINE, request() + request(b"Connection: close", first=b"GET /b HTTP/1.1") + SMUGGLED,
         (200, 200), (Seen(b"GET /"), Seen(b"GET /b"))),
    Case("close with a body", _PIPELINE, sized(b"abcde", b"Connection: close") + SMUGGLED, (200,), (_POSTED,)),
    Case("close with chunks", _PIPELINE, chunked(TE_CL, b"Connection: close") + SMUGGLED, (200,), (
        Seen(b"POST /", (HOST, CHUNKS), SMUGGLED),)),
    Case("half a request behind one", _PIPELINE, request() + SMUGGLED[:-2], (200,), (Seen(b"GET /"), _SMUGGLED), WAITS, b"\r\n"),
    Case("half a body behind a request", _PIPELINE, request() + post(b"abc", b"Content-Length: 5"), (200,), (
        Seen(b"GET /"), *begun(b"Content-Length: 5")), WAITS),
    Case("one after TRACE", _PIPELINE, request(first=b"TRACE / HTTP/1.1") + SMUGGLED, (405, 200), (_SMUGGLED,), GOES_ON, above=True),
    Case("one after TRACE with a body", BROWSER, sized(SMUGGLED, first=b"TRACE / HTTP/1.1") + request(), (405, 200), (
        Seen(b"GET /"),), GOES_ON, above=True),
    Case("one after TRACE with chunks", BROWSER, post(TE_CL, CHUNKS, first=b"TRACE / HTTP/1.1") + request(), (405, 200), (
        Seen(b"GET /"),), GOES_ON, above=True),
    Case("one after a body that nobody wants", BROWSER, post(
        SMUGGLED, length(SMUGGLED), b"X-Inverting-Proxy-Backend: other") + request(), (404, 200), (Seen(b"GET /"),), GOES_ON,
         above=True),
    Case("one after a body for the proxy itself", BROWSER, sized(SMUGGLED, first=b"POST /.invproxy/a HTTP/1.1") + request(),
         (404, 200), (Seen(b"GET /"),), GOES_ON, above=True),
    Case("one after a body for agents", BROWSER, sized(SMUGGLED, first=b"POST /agent/response HTTP/1.1") + request(),
         (400, 200), (Seen(b"GET /"),), GOES_ON, above=True),
    Case("one after OPTIONS that ends here", _PIPELINE, sized(
        SMUGGLED, b"Max-Forwards: 0", first=b"OPTIONS * HTTP/1.1") + request(), (200, 200), (Seen(b"GET /"),), GOES_ON, above=True),
    Case("a bad body that nobody wants", BROWSER, post(b"x\r\n" + SMUGGLED, CHUNKS, first=b"TRACE / HTTP/1.1"), (405,), above=True),
    Case("an unmet expectation between", "RFC 9110, 10.1.1", request() + sized(SMUGGLED, b"Expect: y") + request(), (200, 417), (
        Seen(b"GET /"),)),
)  # fmt: skip
