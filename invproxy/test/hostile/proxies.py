"""
What a hostile proxy sends to an agent, so that it talks to somebody else, or smuggles something to its origin.
"""

from __future__ import annotations

from attrs import frozen

from invproxy.test.hostile.cases import CHUNKS, H2C, HOST, SMUGGLED, Seen, post, request

_SSRF = "OWASP, Server-Side Request Forgery"
_TARGET = "RFC 9112, 3.2"
_FRAMING = "RFC 9112, 6.3"
_LINES = "RFC 9112, 5"
_OWN = "the project's own names"


@frozen
class Order:
    """
    A request of a hostile proxy.

    @ivar name: what it is about.
    @ivar source: what it breaks, or whose attack it is.
    @ivar data: the request in wire form.
    @ivar seen: what the origin sees of it; L{None} is nothing.
    """

    name: str
    source: str
    data: bytes
    seen: Seen | None = None


def get(target: bytes, *lines: bytes) -> bytes:
    """
    A GET of a target.
    """
    return request(*lines, first=b"GET %b HTTP/1.1" % target)


def _refused(name: str, data: bytes, source: str = _TARGET) -> Order:
    return Order(name, source, data)


def _target(name: str, target: bytes, source: str = _SSRF) -> Order:
    """
    A target that goes to the origin as it is.
    """
    return Order(name, source, get(target), Seen(b"GET " + target))


def _fields(
    name: str, lines: tuple[bytes, ...], kept: tuple[bytes, ...] = (), source: str = _OWN
) -> Order:
    return Order(name, source, get(b"/a", *lines), Seen(b"GET /a", (HOST, *kept)))


ORDERS = (
    Order("absolute-form", _SSRF, get(b"http://evil/a"), Seen(b"GET /a", (b"Host: evil",))),
    Order("absolute-form with a port", _SSRF, get(b"HTTPS://evil:444/a?b"), Seen(b"GET /a?b", (b"Host: evil:444",))),
    Order("absolute-form of the proxy itself", _SSRF, get(b"http://proxy.test:8080/agent/pending"), Seen(
        b"GET /agent/pending", (b"Host: proxy.test:8080",))),
    Order("absolute-form of a metadata service", _SSRF, get(b"http://metadata.example/v1/"), Seen(
        b"GET /v1/", (b"Host: metadata.example",))),
    Order("absolute-form without a path", _SSRF, get(b"http://evil"), Seen(b"GET /", (b"Host: evil",))),
    Order("Host of another", _SSRF, b"GET /a HTTP/1.1\r\nHost: evil:80\r\n\r\n", Seen(b"GET /a", (b"Host: evil:80",))),
    Order("no Host", _SSRF, b"GET /a HTTP/1.0\r\n\r\n", Seen(b"GET /a", (b"Host: origin:81",))),
    _target("two slashes", b"//evil/a"),
    _target("three slashes", b"///evil/a"),
    _target("encoded slashes", b"/%2F%2Fevil/a"),
    _target("a URL as the path", b"/http://evil/a"),
    _target("a URL as the query", b"/?http://evil/a"),
    _target("user information", b"/@evil/a"),
    _target("dots", b"/../../evil"),
    _target("a backslash", b"/\\evil/a"),
    _refused("two backslashes", get(b"\\\\evil\\a")),
    _refused("a scheme without slashes", get(b"http:evil/a")),
    _refused("a scheme with one slash", get(b"http:/evil/a")),
    _refused("absolute-form without a host", get(b"http:///a")),
    _refused("absolute-form with a user", get(b"http://a@evil/")),
    _refused("a backslash in the host", get(b"http://a\\@evil/")),
    _refused("another scheme", get(b"gopher://evil/a")),
    _refused("a file", get(b"file:///etc/passwd")),
    _refused("a UNIX socket", get(b"unix:/run/app.sock")),
    _refused("authority-form", get(b"evil:80")),
    _refused("a host that goes on that of the origin", get(b".evil/a")),
    _refused("a user that makes that of the origin one", get(b"@evil/a")),
    _refused("a port that goes on that of the origin", get(b":80/a")),
    _refused("*", get(b"*")),
    _refused("an empty target", get(b"")),
    _refused("a space in the target", get(b"/a HTTP/1.1 b")),
    _refused("a fragment", get(b"/a#b")),
    _refused("Host twice", get(b"/a", b"Host: evil")),
    _refused("Host with a path", b"GET /a HTTP/1.1\r\nHost: evil/b\r\n\r\n"),
    _refused("Host with a user", b"GET /a HTTP/1.1\r\nHost: a@evil\r\n\r\n"),
    _refused("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", H2C),
    _refused("HTTP/0.9", b"GET /a\r\n\r\n"),
    _refused("a length and a coding", post(b"0\r\n\r\n" + SMUGGLED, CHUNKS, b"Content-Length: 5"), _FRAMING),
    _refused("two lengths", post(b"", b"Content-Length: 0", b"Content-Length: 5"), _FRAMING),
    _refused("a length with a sign", post(b"", b"Content-Length: +0"), _FRAMING),
    _refused("a coding that is none", post(b"", b"Transfer-Encoding: xchunked"), _FRAMING),
    _refused("a line that is folded", get(b"/a", b"A: b", b" Content-Length: 5"), _LINES),
    _refused("a bare LF", get(b"/a", b"A: b\nContent-Length: 5"), _LINES),
    _refused("a bare CR", get(b"/a", b"A: b\rContent-Length: 5"), _LINES),
    _refused("a NUL", get(b"/a", b"A: \0"), _LINES),
    _refused("a space before the colon", get(b"/a", b"Content-Length : 5"), _LINES),
    _refused("a head without an end", b"GET /a HTTP/1.1\r\nHost: a\r\n", _LINES),
    _refused("fields without number", get(b"/a", *[b"A: b"] * 5000), "RFC 9110, 5.4"),
    _fields("who somebody is", (b"X-Inverting-Proxy-User-ID: root", b"X_Inverting_Proxy_User_ID: root"), ()),
    _fields("who somebody is, to PHP", (b"X.Inverting.Proxy.User.ID: root", b"A: b"), (b"A: b",)),
    _fields("an agent's call", (b"X-Inverting-Proxy-Backend-ID: web", b"x-inverting-proxy-request-id: 1")),
    _fields("fields of the hop", (b"Proxy-Authorization: Basic YTph", b"Keep-Alive: a", b"Connection: A", b"A: b"), (), "RFC 9110, 7.6.1"),
    _fields("h2c", (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"), (), H2C),
    _fields("what sounds like a target", (b"X-Original-URL: http://evil/", b"X-Forwarded-Host: evil", b"Destination: http://evil/"), (
        b"X-Original-URL: http://evil/", b"Destination: http://evil/"), _SSRF),
)  # fmt: skip
"""Requests."""

BASED = (
    (b"/", b"/base/"), (b"/a?b=../../c", b"/base/a?b=../../c"), (b"//a", b"/base//a"), (b"/a/../b", b"/base/a/../b"),
    (b"/a/%2e%2e/b", b"/base/a/%2e%2e/b"), (b"/a/..;/b", b"/base/a/..;/b"), (b"/...", b"/base/..."), (b"/..a", b"/base/..a"),
    (b"*", b"*"),
    (b"/..", None), (b"/../", None), (b"/../a", None), (b"/../base/a", None), (b"/./../a", None), (b"//../a", None),
    (b"/a/../../b", None), (b"/a//../../b", None), (b"/%2e%2e/a", None), (b"/.%2E/a", None), (b"/%252e%252e/a", None),
    (b"/..%2fa", None), (b"/..%5ca", None), (b"/a%2f..%2f..%2fb", None), (b"/..;/a", None), (b"/..;b=c/a", None),
    (b"/%25252e%25252e/a", None), (b"/;/../a", None), (b"/a/..%00/..", b"/base/a/..%00/.."),
)  # fmt: skip
"""Targets for an origin with a path, and what it sees; L{None} is nothing, as they may lead out of that path."""
