"""
What clients do to be taken for an agent, for somebody else, or to get to a backend of their choice.
"""

from __future__ import annotations

AGENTS = (
    b"/agent/%b", b"/agent/%b?", b"/agent/%b?a=b", b"http://proxy.example/agent/%b", b"HTTP://proxy.example/agent/%b?a",
    b"http://evil.example/agent/%b", b"https://proxy.example:8080/agent/%b",
)  # fmt: skip
"""Targets that are an agent's call, whoever makes it; C{%b} is which of the four."""

SPELLINGS = (
    b"//agent/%b", b"///agent/%b", b"/agent//%b", b"/agent/%b/", b"/agent/%b//", b"/./agent/%b", b"/agent/./%b",
    b"/x/../agent/%b", b"/../agent/%b", b"/agent/x/../%b", b"/agent/../agent/%b", b"/%%2e/agent/%b", b"/x/%%2e%%2e/agent/%b",
    b"/%%61gent/%b", b"/agent%%2f%b", b"/agent%%2F%b", b"/agent%%5c%b", b"/%%2fagent/%b", b"/agent/%b%%00", b"/agent/%b%%20",
    b"/agent/%b%%0d%%0a", b"/agent/%b%%3fa", b"/agent/%b%%2f", b"/agent/%b;", b"/agent/%b;x=y", b"/agent;x/%b", b"/;/agent/%b",
    b"/agent/%b,", b"/agent/%b.", b"/agent/%b.json", b"/agent/%b~", b"/agent/%b:", b"/agent/%b&a=b", b"/agent\\%b", b"\\agent\\%b",
    b"/\\agent/%b", b"/Agent/%b", b"/AGENT/%b", b"/agent/x%b", b"/agent/%bx", b"/aagent/%b", b"/a/agent/%b",
    b"http://proxy.example//agent/%b", b"http://proxy.example/./agent/%b", b"http://proxy.example/agent/%b/",
    b"http://proxy.example/agent/%b;x", b"http://agent/%b", b"/http://proxy.example/agent/%b", b"/agent?/%b", b"/?/agent/%b",
    b"/agent/%b\xff", b"/agent/%b#", b"agent/%b", b"*/agent/%b", b"/%%C0%%AFagent/%b", b"/ag\xd0\xb5nt/%b", b"/agent/%b\\",
)  # fmt: skip
"""Targets that only look like it."""

OWN = (
    b"X-Inverting-Proxy-User-ID", b"X-Inverting-Proxy-Request-ID", b"X-Inverting-Proxy-Request-Start-Time",
    b"X-Inverting-Proxy-Backend-ID", b"X-Inverting-Proxy-Backend", b"X-Inverting-Proxy-VM-ID", b"X-Inverting-Proxy-Features",
    b"X-Inverting-Proxy-Error", b"X-Inverting-Proxy-Anything",
)  # fmt: skip
"""Fields that no client sends."""

FORWARDED = (
    b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"X-Forwarded-Port", b"X-Forwarded-User", b"X-Forwarded-Email",
    b"X-Forwarded-Client-Cert", b"X-Real-IP", b"Remote-User",
)  # fmt: skip
"""Fields that no client sends but through a trusted proxy; the last is that in which it names end users."""


def spellings(name: bytes) -> list[bytes]:
    """
    Write a field's name in all the ways that some program takes for it: first itself in another case, then likenesses.

    @param name: the name, with hyphens.
    """
    if b"-" not in name:
        return [name, name.lower(), name.upper()]
    parts = name.split(b"-")
    marks = [
        mark.join(parts)
        for mark in (
            b"_",
            b".",
            b"~",
            b"+",
            b"!",
            b"$",
            b"*",
            b"'",
            b"|",
            b"^",
            b"`",
            b"#",
            b"%",
            b"&",
        )
    ]
    mixed = [
        b"_".join(parts[:2]) + b"".join(b"-" + part for part in parts[2:]),
        b"-".join(parts[:-1]) + b"." + parts[-1],
    ]
    return [name, name.lower(), name.upper(), *marks, *(mark.lower() for mark in marks), *mixed]


COOKIES = (
    (b"invproxy=%b", True), (b"a=b; invproxy=%b; c=d", True), (b"invproxy=%b;invproxy=evil", True), (b'"invproxy"=x; invproxy=%b', True),
    (b"invproxy; invproxy=%b", True), (b"invproxy-signin; invproxy=%b", True), (b"=invproxy; invproxy=%b", True),
    (b"=invproxy=evil; invproxy=%b", True), (b"Invproxy=evil; INVPROXY=evil; invproxy=%b", True), (b"a=invproxy=evil; invproxy=%b", True),
    (b"invproxy=evil; invproxy=%b", False), (b"invproxy=; invproxy=%b", False), (b"__Host-invproxy=%b", False),
    (b"__host-invproxy=%b", False), (b"__Secure-invproxy=%b", False), (b"INVPROXY=%b", False), (b"invproxy-signin=%b", False),
    (b"invproxy:%b", False), (b"invproxy=%bx", False), (b"invproxy=x%b", False), (b"invproxy", False), (b"=invproxy=%b", False),
    (b'invproxy="%b"', False), (b"a=b, invproxy=%b", False), (b"$Version=1; invproxy=evil; $Path=/", False),
)  # fmt: skip
"""Cookies, where C{%b} is the secret of a session, and whether it counts."""
