"""
Request targets and Host (RFC 9112, section 3.2).
"""

from __future__ import annotations

from invproxy.test.hostile.cases import (
    GOES_ON,
    HOST,
    ROUTING,
    SMUGGLED,
    Case,
    Seen,
    passes,
    post,
    request,
    sized,
)

_TARGET = "RFC 9112, 3.2"
_ABSOLUTE = "RFC 9112, 3.2.2"
_AUTHORITY = "RFC 9112, 3.2.3"
_ASTERISK = "RFC 9112, 3.2.4"
_HOST = "RFC 9110, 7.2"
_PATH = "RFC 3986, 6.2.2"
_MISROUTED = "PortSwigger, Cracking the lens (2017): misrouting"
_FORGED = "RFC 7239, 8.1"


def _refused(name: str, target: bytes, source: str = _TARGET) -> Case:
    """
    A target that is none.
    """
    return Case(name, source, request(first=b"GET %b HTTP/1.1" % target))


def _kept(name: str, target: bytes, source: str = _PATH) -> Case:
    """
    A target that goes on as it is, byte by byte.
    """
    return passes(name, source, request(first=b"GET %b HTTP/1.1" % target), Seen(b"GET " + target))


def _absolute(name: str, target: bytes, host: bytes, path: bytes, source: str = _ABSOLUTE) -> Case:
    """
    A target in absolute-form, which goes to the backend as any other, with its authority as Host.
    """
    return passes(
        name,
        source,
        request(first=b"GET %b HTTP/1.1" % target),
        Seen(b"GET " + path, (b"Host: " + host,)),
    )


def _named(name: str, host: bytes) -> Case:
    """
    A Host that goes on as it is.
    """
    line = b"Host: " + host if host else b"Host:"
    return passes(name, _HOST, request(host=line), Seen(b"GET /", (line,)))


def _misnamed(name: str, *lines: bytes) -> Case:
    """
    A Host that is none.
    """
    return Case(name, _HOST, request(*lines[1:], host=lines[0]))


TARGETS = (
    _kept("dots", b"/a/../../b"),
    _kept("encoded dots", b"/%2e%2e/%2E%2e/etc/passwd"),
    _kept("dots at the end", b"/a/.."),
    _kept("an encoded slash", b"/a%2f..%2Fb"),
    _kept("an encoded backslash", b"/a%5c..%5cb"),
    _kept("a backslash", b"/a\\..\\b"),
    _kept("slashes", b"///a//b"),
    _kept("a target that looks like an authority", b"//evil.example/a"),
    _kept("a target with user info", b"//user@evil.example/"),
    _kept("a URL within the path", b"/http://evil.example/"),
    _kept("an encoded NUL", b"/a%00.html"),
    _kept("encoded line ends", b"/a%0d%0aSet-Cookie:%20b=c%0d%0a"),
    _kept("encoded twice", b"/%252e%252e/"),
    _kept("a broken escape", b"/a%2"),
    _kept("an escape that is none", b"/%zz%u002e"),
    _kept("overlong UTF-8", b"/%c0%ae%c0%af"),
    _kept("a path parameter", b"/a;b=c/..;/d"),
    _kept("characters beyond the grammar", b'/"<>[]^`{|}'),
    _kept("a query of a query", b"/?a?b/../c"),
    _kept("an encoded fragment", b"/a%23b"),
    _kept("an encoded question mark", b"/a%3fb"),
    _kept("an at sign", b"/@evil.example"),
    _kept("a colon", b"/:80"),
    _refused("a fragment", b"/a#b"),
    _refused("a fragment alone", b"#a"),
    _refused("raw UTF-8", "/ä".encode()),
    _refused("an at sign first", b"@evil.example/", _MISROUTED),
    _refused("a colon first", b":80/", _MISROUTED),
    _refused("a port first", b":@evil.example/", _MISROUTED),
    _refused("a full stop first", b"./a"),
    _refused("a backslash first", b"\\\\evil.example\\a"),
    _refused("an encoded slash first", b"%2fa"),
    _refused("a name", b"evil.example"),
    _refused("a name with a path", b"evil.example/a"),
    _refused("a query alone", b"?a=b"),
    _refused("a semicolon", b";a"),
    _refused("two targets", b"/a /b"),
    _refused("two targets with a tab", b"/a\t/b"),
    _absolute("absolute-form", b"http://evil.example/a?b", b"evil.example", b"/a?b"),
    _absolute("absolute-form of the admin endpoint", b"http://127.0.0.1:8081/api/status", b"127.0.0.1:8081", b"/api/status",
              ROUTING),
    _absolute("absolute-form in capitals", b"HTTP://A:80/", b"A:80", b"/"),
    _absolute("absolute-form of https", b"https://a/b", b"a", b"/b"),
    _absolute("absolute-form without path", b"http://b", b"b", b"/"),
    _absolute("absolute-form with a query at once", b"http://b?c/d", b"b", b"/?c/d"),
    _absolute("absolute-form with two slashes", b"http://b//c", b"b", b"//c"),
    _absolute("absolute-form of IPv6", b"http://[::1]:8080/", b"[::1]:8080", b"/"),
    _absolute("absolute-form within absolute-form", b"http://b/http://c/", b"b", b"/http://c/"),
    _absolute("absolute-form with an at sign in the path", b"http://b/@c", b"b", b"/@c"),
    _refused("absolute-form with user info", b"http://a@evil.example/", _ABSOLUTE),
    _refused("absolute-form with user info and a port", b"http://a:80@evil.example/", ROUTING),
    _refused("absolute-form with a fragment", b"http://a#@evil.example/", ROUTING),
    _refused("absolute-form with a backslash", b"http://a\\@evil.example/", ROUTING),
    _refused("absolute-form with an encoded at sign", b"http://a%40evil.example:b/", ROUTING),
    _refused("absolute-form with two ports", b"http://a:80:81/", _ABSOLUTE),
    _refused("absolute-form with a named port", b"http://a:http/", _ABSOLUTE),
    _refused("absolute-form with markup", b"http://<b>/", _ABSOLUTE),
    _refused("absolute-form of IPv6 left open", b"http://[::1/", _ABSOLUTE),
    _refused("absolute-form with a zone", b"http://[fe80::1%25lo]/", _ABSOLUTE),
    _refused("absolute-form without slashes", b"http:a/b", _ABSOLUTE),
    _refused("absolute-form of a scheme alone", b"http://", _ABSOLUTE),
    _refused("absolute-form of three slashes", b"http:///evil.example/", _ABSOLUTE),
    _refused("absolute-form of a file", b"file:///etc/passwd", ROUTING),
    _refused("absolute-form of gopher", b"gopher://127.0.0.1:25/_HELO", ROUTING),
    _refused("absolute-form of WebSocket", b"ws://a/", _ABSOLUTE),
    _refused("absolute-form without scheme", b"://a/", _ABSOLUTE),
    _refused("absolute-form of data", b"data:text/html,a", _ABSOLUTE),
    _refused("absolute-form of a script", b"javascript:alert(1)", _ABSOLUTE),
    _refused("asterisk-form with more", b"*/../a", _ASTERISK),
    _refused("authority-form with GET", b"a:443", _AUTHORITY),
    passes("asterisk-form", _ASTERISK, request(first=b"OPTIONS * HTTP/1.1"), Seen(b"OPTIONS *")),
    Case("asterisk-form with POST", _ASTERISK, sized(b"a", first=b"POST * HTTP/1.1")),
    Case("asterisk-form with M-SEARCH", _ASTERISK, request(first=b"M-SEARCH * HTTP/1.1")),
    Case("two Hosts, with absolute-form", _ABSOLUTE, request(b"Host: b", first=b"GET http://a/ HTTP/1.1")),
    Case("an empty Host, with absolute-form", _ABSOLUTE, request(first=b"GET http://b/ HTTP/1.1", host=b"Host:"), (200,), (
        Seen(b"GET /", (b"Host: b",)),), GOES_ON),
    Case("authority-form, and a request behind it", _AUTHORITY, request(
        first=b"CONNECT a:443 HTTP/1.1", host=b"Host: a:443") + SMUGGLED, (405,), above=True),
    Case("authority-form with a body", _AUTHORITY, post(
        SMUGGLED, b"Content-Length: %d" % len(SMUGGLED), first=b"CONNECT a:443 HTTP/1.1"), (405,), above=True),
    Case("CONNECT with a path", _AUTHORITY, request(first=b"CONNECT /a HTTP/1.1") + SMUGGLED, (405,), above=True),
    Case("CONNECT with absolute-form", _AUTHORITY, request(
        first=b"CONNECT http://127.0.0.1:8081/ HTTP/1.1"), (405,), above=True),
)  # fmt: skip

HOSTS = (
    _misnamed("a Host with user info", b"Host: a@evil.example"),
    _misnamed("a Host with user info and port", b"Host: a:80@evil.example"),
    _misnamed("a Host that is a URL", b"Host: http://a/"),
    _misnamed("a Host with two slashes", b"Host: //evil.example"),
    _misnamed("Hosts with a space", b"Host: a evil.example"),
    _misnamed("Hosts with a tab", b"Host: a\tevil.example"),
    _misnamed("a Host with a quotation mark", b'Host: "a"'),
    _misnamed("a Host with an apostrophe and markup", b"Host: a'><script>"),
    _misnamed("a Host with a pipe", b"Host: a|b"),
    _misnamed("a Host with a caret", b"Host: a^b"),
    _misnamed("a Host with NUL", b"Host: a\0.evil.example"),
    _misnamed("a Host with a broken escape and a port", b"Host: a%:80"),
    _misnamed("a Host of IPv6 with a zone", b"Host: [fe80::1%25lo]"),
    _misnamed("a Host of the future", b"Host: [v1.a]"),
    _misnamed("a Host of IPv6 with text behind", b"Host: [::1].evil.example"),
    _misnamed("a Host with a negative port", b"Host: a:-1"),
    _misnamed("a Host with a port in hexadecimal", b"Host: a:0x50"),
    _misnamed("a Host with a port of six digits", b"Host: a:000080"),
    _misnamed("a Host with a port and a path", b"Host: a:80/admin"),
    _misnamed("a Host with raw UTF-8", "Host: ä".encode()),
    _misnamed("a Host longer than names are", b"Host: " + b"a" * 262),
    _misnamed("a Host and one with a space before the colon", b"Host: a", b"Host : evil.example"),
    _misnamed("a Host and one behind a space", b"Host: a", b" Host: evil.example"),
    _misnamed("a Host and one folded", b"X: y", b"Host: a", b" evil.example"),
    _misnamed("a Host and an empty one", b"Host: a", b"Host:"),
    _misnamed("an empty Host and one", b"Host:", b"Host: a"),
    _misnamed("two empty Hosts", b"Host:", b"Host:"),
    _misnamed("Hosts in other cases", b"hOsT: a", b"HoSt: evil.example"),
    _misnamed("a Host at either end", b"Host: a", *[b"A: b"] * 20, b"Host: a"),
    _misnamed("a Host with a hyphen for a colon", b"Host- a"),
    _named("an empty Host", b""),
    _named("a Host with a port", b"a:8081"),
    _named("a Host with an empty port", b"a:"),
    _named("a Host with port 0", b"a:00000"),
    _named("a Host with a port beyond all", b"a:65536"),
    _named("a Host with a full stop", b"a."),
    _named("a Host of stops", b"a..b"),
    _named("a Host in capitals", b"A.EXAMPLE"),
    _named("a Host with an underscore", b"a_b"),
    _named("a Host that is encoded", b"%61%2Fb"),
    _named("a Host of delimiters", b"a!$&'()*+;=b"),
    _named("a Host with a comma", b"a,evil.example"),
    _named("a Host of IPv6", b"[::ffff:127.0.0.1]:1"),
    passes("fields that look like a Host", ROUTING, request(
        b"X-Host: evil.example", b"X-Original-URL: /admin", b"X-Rewrite-URL: /admin", b"X-HTTP-Host-Override: b"),
        Seen(b"GET /", (HOST, b"X-Host: evil.example", b"X-Original-URL: /admin", b"X-Rewrite-URL: /admin",
                        b"X-HTTP-Host-Override: b"))),
    passes("forged forwarding fields", _FORGED, request(
        b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Host: evil.example", b"X-Forwarded-Proto: https",
        b"X-Forwarded-Port: 443", b"X-Forwarded-Prefix: /a", b"Forwarded: for=127.0.0.1;host=evil.example",
        b"X-Real-IP: 127.0.0.1"), Seen(b"GET /"), above=True),
    passes("likenesses of forwarding fields", _FORGED, request(
        b"X_Forwarded_For: 127.0.0.1", b"x-forwarded_host: evil.example", b"X_REAL_IP: 127.0.0.1"),
        Seen(b"GET /"), above=True),
    passes("a forged end user", _FORGED, request(
        b"X-Inverting-Proxy-User-ID: root", b"x-inverting-proxy-request-id: 1", b"X_Inverting_Proxy_User_ID: root",
        b"X-Inverting-Proxy-Anything: 1"), Seen(b"GET /"), above=True),
    Case("a backend of the client's choice", _FORGED, request(b"X-Inverting-Proxy-Backend: other"), (404,), (), GOES_ON,
         above=True),
    Case("an agent's call without an agent's fields", _FORGED, request(first=b"GET /agent/pending HTTP/1.1"), (400,), (),
         GOES_ON, above=True),
    Case("an agent's call in absolute-form", _FORGED, request(first=b"GET http://b/agent/request HTTP/1.1"), (400,), (),
         GOES_ON, above=True),
    Case("a page of the proxy's own", _FORGED, request(first=b"GET /.invproxy/a HTTP/1.1"), (404,), (), GOES_ON,
         above=True),
    *(
        passes(f"nearly an agent's call: {target.decode()}", _PATH, request(first=b"GET %b HTTP/1.1" % target),
               Seen(b"GET " + target))
        for target in (
            b"/agent%2fpending", b"//agent/pending", b"/agent/./pending", b"/Agent/pending", b"/agent/pending/",
            b"/agent/pending;a", b"/a/../agent/pending", b"/agent/pendin%67", b"/agent\\pending",
        )
    ),
)  # fmt: skip
