"""
What hostile agents do: frames in a tunnel that were never agreed on, and calls about exchanges that are not theirs.
"""

from __future__ import annotations

from attrs import frozen

from invproxy.test.hostile.cases import CHUNKS, DESYNC, request, sized
from invproxy.wire.frames import (
    CREDIT,
    DATA,
    END,
    GOAWAY,
    HELLO,
    MOST_STREAMS,
    REQUEST,
    RESET,
    RESPONSE,
)

_ORDER = "docs/tunnel.md, The life of a stream"
_CREDIT = "docs/tunnel.md, Flow control"
_UPGRADE = "RFC 9110, 7.8"
_BODY = "RFC 9112, 6.3"
_TRAILER = "RFC 9110, 6.5.1"
_SPLITTING = "Klein, HTTP Response Splitting (2004)"

OWN, NEXT, NONE = "own", "next", "none"
"""The stream that a frame names: that of the exchange, one that was never opened, number 0."""

_STREAMS = {OWN: 0, NEXT: 1}


@frozen
class Sent:
    """
    A frame.

    @ivar kind: its type.
    @ivar payload: its payload.
    @ivar last: whether it has the flag that it is the last.
    @ivar stream: which stream it names, or a number.
    """

    kind: int
    payload: bytes = b""
    last: bool = False
    stream: str | int = OWN

    def number(self, own: int) -> int:
        """
        @param own: the number of the stream of the exchange.
        """
        if self.stream == NONE:
            return 0
        return self.stream if isinstance(self.stream, int) else own + _STREAMS[self.stream]


@frozen
class Answering:
    """
    What a hostile agent sends through its tunnel when it has got a request.

    @ivar name: what it is about.
    @ivar source: what it breaks, or whose attack it is.
    @ivar frames: what it sends.
    @ivar status: what the client gets; 0 is nothing yet.
    @ivar whole: whether that comes to its end.
    @ivar body: its body, if it matters.
    @ivar closes: whether the tunnel is closed.
    @ivar request: what the client asks.
    """

    name: str
    source: str
    frames: tuple[Sent, ...]
    status: int = 502
    whole: bool = True
    body: bytes | None = None
    closes: bool = False
    request: bytes = request()

    @property
    def method(self) -> bytes:
        return self.request.partition(b" ")[0]


def head(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK", last: bool = False) -> Sent:
    """
    A RESPONSE.
    """
    return Sent(RESPONSE, b"\r\n".join([first, *lines, b"", b""]), last)


def data(body: bytes, *, last: bool = True) -> Sent:
    """
    A DATA.
    """
    return Sent(DATA, body, last)


def number(value: int) -> bytes:
    """
    Write a number as CREDIT and GOAWAY have it.
    """
    return value.to_bytes(4, "big")


_TWO = head(b"Content-Length: 2")
_OK = (_TWO, data(b"ok"))
_OPEN = head()
_EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
_HEAD = request(first=b"HEAD / HTTP/1.1")
_POST = sized(b"")
_WEBSOCKET = request(b"Connection: Upgrade", b"Upgrade: websocket")
_SWITCH = head(b"Connection: Upgrade", b"Upgrade: websocket", first=b"HTTP/1.1 101 Go")


def _broken(name: str, *frames: Sent, begun: bool = False, source: str = _ORDER) -> Answering:
    """
    What ends the tunnel.

    @param begun: whether the response has begun.
    """
    status = 200 if begun else 502
    return Answering(name, source, frames, status, whole=not begun, closes=True)


def _cut(name: str, source: str, *frames: Sent) -> Answering:
    """
    A response that breaks off, in a tunnel that goes on.
    """
    return Answering(name, source, frames, 200, whole=False)


def _trailers(name: str, lines: bytes) -> Answering:
    return _cut(
        f"trailers: {name}", _TRAILER, _OPEN, data(b"ok", last=False), Sent(END, lines, True)
    )


ANSWERS = (
    _broken("a body before its head", data(b"ok")),
    _broken("an end before its head", Sent(END, b"", True)),
    _broken("a second response", _OPEN, _OPEN, begun=True),
    _broken("a second response behind a body", _OPEN, data(b"ok", last=False), head(last=True), begun=True),
    _broken("an interim response behind the final one", _OPEN, head(first=b"HTTP/1.1 103 Early"), begun=True),
    _broken("an interim response as the last", head(first=b"HTTP/1.1 103 Early", last=True)),
    _broken("a request", Sent(REQUEST, b"\0\0" + request(), True, NEXT)),
    _broken("a request on a stream that is open", Sent(REQUEST, b"\0\0" + request())),
    _broken("a response on a stream that was never opened", Sent(RESPONSE, _TWO.payload, stream=NEXT)),
    _broken("a body on a stream that was never opened", Sent(DATA, b"evil", stream=NEXT)),
    _broken("a response on the highest stream", Sent(RESPONSE, _TWO.payload, stream=MOST_STREAMS)),
    _broken("a response on no stream", Sent(RESPONSE, _TWO.payload, stream=NONE)),
    _broken("a body on no stream", Sent(DATA, b"evil", stream=NONE)),
    _broken("a reset of no stream", Sent(RESET, b"internal", True, NONE)),
    _broken("a reset of a stream that was never opened", Sent(RESET, b"internal", True, NEXT)),
    _broken("a second greeting", Sent(HELLO, b'{"version":"1.0"}', stream=NONE)),
    _broken("another agent's greeting", Sent(HELLO, b'{"version":"1.0","instance":"bystander"}', stream=NONE)),
    _broken("more credit than there may be", Sent(CREDIT, number(0x7FFFFFFF)), source=_CREDIT),
    _broken("the most credit twice", *[Sent(CREDIT, b"\xff" * 4)] * 2, source=_CREDIT),
    _broken("credit without a number", Sent(CREDIT, b"\0"), source=_CREDIT),
    _broken("credit for a stream that was never opened", Sent(CREDIT, number(1), stream=NEXT), source=_CREDIT),
    _broken("a farewell without a number", Sent(GOAWAY, b"\0", stream=NONE)),
    _broken("a head that is too large", head(b"A: " + b"b" * 100_000), source="docs/tunnel.md, Frames"),
    _broken("trailers without an end", _OPEN, Sent(END, b"A: b", True), begun=True),
    _cut("a body behind its length", _BODY, _TWO, data(b"okevil")),
    _cut("a response behind its length", DESYNC, _TWO, data(b"ok" + _EVIL)),
    _cut("a body that ends before its length", _BODY, head(b"Content-Length: 5"), data(b"ok")),
    _cut("a reset in the body", _ORDER, head(b"Content-Length: 5"), data(b"ok", last=False), Sent(RESET, b"internal", True)),
    _trailers("a length", b"Content-Length: 0\r\n"),
    _trailers("a coding", b"Transfer-Encoding: chunked\r\n"),
    _trailers("Trailer", b"Trailer: A\r\n"),
    _trailers("a cookie", b"Set-Cookie: a=b\r\n"),
    _trailers("Connection", b"Connection: close\r\n"),
    _trailers("an empty line and a response", b"A: b\r\n\r\n" + _EVIL + b"\r\n"),
    _trailers("a bare LF", b"A: b\nSet-Cookie: c=d\r\n"),
    _trailers("a bare CR", b"A: b\rSet-Cookie: c=d\r\n"),
    _trailers("folding", b"A: b\r\n c\r\n"),
    _trailers("a space before the colon", b"A : b\r\n"),
    _trailers("too much", b"A: " + b"b" * 2000 + b"\r\n"),
    Answering("trailers behind a length", _TRAILER, (_TWO, data(b"ok", last=False), Sent(END, b"A: b\r\n", True)), 200, body=b"ok"),
    Answering("trailers: the proxy's own", _TRAILER, (
        _OPEN, data(b"ok", last=False), Sent(END, b"X-Inverting-Proxy-Error: no-backend\r\nA: b\r\n", True)), 200, body=b"ok"),
    Answering("chunks that are none", DESYNC, (head(CHUNKS), data(b"0\r\n\r\n" + _EVIL)), 200, body=b"0\r\n\r\n" + _EVIL),
    Answering("a response as the body", DESYNC, (_OPEN, data(_EVIL)), 200, body=_EVIL),
    Answering("a coding and a length", DESYNC, (head(CHUNKS, b"Content-Length: 2"), data(b"ok"))),
    Answering("two responses in one head", _SPLITTING, (Sent(RESPONSE, _TWO.payload + _TWO.payload), data(b"ok"))),
    Answering("a body in the head", _SPLITTING, (Sent(RESPONSE, _TWO.payload + b"ok", True),)),
    Answering("half a head", _SPLITTING, (Sent(RESPONSE, b"HTTP/1.1 200 OK\r\nA: b"),)),
    Answering("an empty head", _SPLITTING, (Sent(RESPONSE, b""),)),
    Answering("a line that is folded", "RFC 9112, 5.2", (head(b"A: b", b" Set-Cookie: c=d"), data(b""))),
    Answering("a bare LF", _SPLITTING, (head(b"A: b\nSet-Cookie: c=d"), data(b""))),
    Answering("a bare CR", _SPLITTING, (head(b"A: b\rSet-Cookie: c=d"), data(b""))),
    Answering("a NUL", _SPLITTING, (head(b"A: \0"), data(b""))),
    Answering("Connection names the length", "RFC 9110, 7.6.1", (head(b"Connection: Content-Length", b"Content-Length: 2"), data(b"ok"))),
    Answering("an upgrade that nobody wants", _UPGRADE, (_SWITCH, data(_EVIL))),
    Answering("an upgrade without Upgrade", _UPGRADE, (head(b"Connection: Upgrade", first=b"HTTP/1.1 101 Go"), data(_EVIL)),
              request=_WEBSOCKET),
    Answering("an upgrade to nothing", _UPGRADE, (head(first=b"HTTP/1.1 101 Go"), data(_EVIL)), request=_WEBSOCKET),
    Answering("a body to HEAD", _BODY, (head(b"Content-Length: 4"), data(b"evil")), 200, request=_HEAD),
    Answering("a response as the body to HEAD", DESYNC, (_OPEN, data(_EVIL)), 200, request=_HEAD),
    Answering("a body with 204", _BODY, (head(first=b"HTTP/1.1 204 None"), data(_EVIL)), 204),
    Answering("a body with 304", _BODY, (head(b"Content-Length: 4", first=b"HTTP/1.1 304 Same"), data(b"evil")), 304),
    Answering("all again behind the end", _ORDER, (*_OK, *_OK), 200, body=b"ok"),
    Answering("more credit behind the end", _CREDIT, (*_OK, Sent(CREDIT, number(1))), 200, body=b"ok"),
    Answering("a reset behind the end", _ORDER, (*_OK, Sent(RESET, b"internal", True)), 200, body=b"ok"),
    Answering("101 interim responses", "RFC 9110, 15.2", (*[head(first=b"HTTP/1.1 103 Early")] * 101, *_OK)),
    Answering("a frame of no type", "docs/tunnel.md, Frames", (Sent(99, b"evil"), *_OK), 200, body=b"ok"),
    Answering("a farewell for more than there is", _ORDER, (Sent(GOAWAY, b"\xff" * 4, stream=NONE), *_OK), 200, body=b"ok",
              closes=True),
    Answering("a reset with another's code", _ORDER, (Sent(RESET, b"unauthenticated evil", True),), request=_POST),
    Answering("a reset with a code of the proxy", _ORDER, (Sent(RESET, b"draining evil", True),), request=_POST),
    Answering("a reset with no code", _ORDER, (Sent(RESET, b"\xff\0\r\n\r\n", True),), request=_POST),
    Answering("a reset that splits", _SPLITTING, (Sent(RESET, b"origin-refused a\r\nSet-Cookie: c=d\r\n\r\n" + _EVIL, True),)),
)  # fmt: skip
"""What comes out of a tunnel."""


@frozen
class Lines:
    """
    Field lines with which a hostile agent answers, and what the client gets of them; the same by all carriers.

    @ivar name: what it is about.
    @ivar lines: what is sent.
    @ivar kept: what arrives.
    """

    name: str
    lines: tuple[bytes, ...]
    kept: tuple[bytes, ...] = ()


LINES = (
    Lines("named by Connection", (b"Connection: X-A, Set-Cookie", b"X-A: b", b"Set-Cookie: c=d", b"X-B: e"), (b"X-B: e",)),
    Lines("Keep-Alive", (b"Keep-Alive: timeout=1, max=1",)),
    Lines("Proxy-Connection", (b"Proxy-Connection: close",)),
    Lines("Proxy-Authenticate", (b"Proxy-Authenticate: Basic",)),
    Lines("close", (b"Connection: close",)),
    Lines("an upgrade on offer", (b"Connection: Upgrade", b"Upgrade: h2c")),
    Lines("HTTP2-Settings", (b"Connection: HTTP2-Settings", b"HTTP2-Settings: AAMAAABk")),
    Lines("an error of the proxy", (b"X-Inverting-Proxy-Error: no-backend",)),
    Lines("an ID", (b"x-inverting-proxy-request-id: 0", b"X-Inverting-Proxy-User-ID: root")),
    Lines("Via and Date are the backend's own word", (b"Via: 1.1 evil", b"Server: a"), (b"Via: 1.1 evil", b"Server: a")),
    Lines("cookies of the backend", (b"Set-Cookie: a=b",), (b"Set-Cookie: a=b",)),
    Lines("Clear-Site-Data", (b'Clear-Site-Data: "*"',), (b'Clear-Site-Data: "*"',)),
)  # fmt: skip
"""Fields that a response has."""
