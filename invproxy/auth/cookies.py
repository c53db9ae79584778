"""
The proxy's own cookies (RFC 6265): no backend gets to see them, and none gets to set them.

Over TLS their names begin with C{__Host-}, so that neither another host nor a page without TLS can plant one. Without
TLS, which is for trying things out on loopback, they cannot.
"""

from __future__ import annotations

import re

_PREFIX = b"__Host-"

SESSION = b"invproxy"
"""The cookie of a session."""

SIGN_IN = b"invproxy-signin"
"""The cookie that binds a sign-in to the browser in which it was begun."""

_isOwn = re.compile(rb"(?:__Host-)?invproxy(?:-signin)?").fullmatch

_COOKIE = b"\r\ncookie:"

_LINE = re.compile(rb"\r\ncookie:[ \t]*([^\r\n]*)", re.IGNORECASE)

# A cookie without a name would come back as one with the name that its value begins with, or is.
_SET = re.compile(
    rb"\r\nset-cookie:[ \t]*(?:=[ \t]*)?(?:__Host-)?invproxy(?:-signin)?[ \t]*(?:[=;][^\r\n]*)?(?=\r\n|\Z)",
    re.IGNORECASE,
)


def takeOwn(block: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """
    Take the proxy's own cookies out of a request.

    @param block: the fields of the request.
    @return: the fields less those cookies, and the cookies by their names; the first of several counts.
    """
    at = block.find(b"invproxy")
    if at < 0:
        return block, {}
    if block.find(b"invproxy", at + 8) < 0:
        return _takeOne(block, at)
    own: dict[bytes, bytes] = {}

    def drop(line: re.Match[bytes]) -> bytes:
        if b"invproxy" not in line[1]:
            return line[0]
        kept = []
        for pair in line[1].split(b";"):
            name, equals, text = pair.partition(b"=")
            name = name.strip(b" \t")
            if _isOwn(name):
                if equals:  # else it has no name, but a value that looks like ours
                    own.setdefault(name, text.strip(b" \t"))
            else:
                kept.append(pair)
        rest = b";".join(kept).strip(b" \t")
        return line[0][: line.start(1) - line.start()] + rest if rest else b""

    return _LINE.sub(drop, block), own


def _takeOne(block: bytes, at: int) -> tuple[bytes, dict[bytes, bytes]]:
    """
    Do that where there is but one mention, as in nearly all requests of who has signed in; in a fifth of the time.
    """
    begin = block.rfind(b"\r\n", 0, at)
    text = begin + len(_COOKIE)
    if text > at or block[begin:text].lower() != _COOKIE:
        return block, {}
    end = block.find(b"\r\n", at)
    if end < 0:
        end = len(block)
    left = block.rfind(b";", text, at)
    right = block.find(b";", at, end)
    name, equals, value = block[max(text, left + 1) : end if right < 0 else right].partition(b"=")
    name = name.strip(b" \t")
    if not _isOwn(name):
        return block, {}
    own = {name: value.strip(b" \t")} if equals else {}
    if left >= 0:
        return block[:left] + block[end if right < 0 else right :], own
    rest = b"" if right < 0 else block[right + 1 : end].strip(b" \t")
    return block[:begin] + (block[begin:text] + b" " + rest if rest else b"") + block[end:], own


def nameOf(name: bytes, secure: bool) -> bytes:
    """
    Say what a cookie of ours is called.

    @param name: L{SESSION} or L{SIGN_IN}.
    @param secure: whether the request came over TLS.
    """
    return _PREFIX + name if secure else name


def setOwn(name: bytes, text: str, secure: bool, maxAge: int | None = None) -> bytes:
    """
    Write the field that sets a cookie of ours.

    @param name: L{SESSION} or L{SIGN_IN}.
    @param text: its value.
    @param secure: whether the request came over TLS.
    @param maxAge: how long it lives, in seconds; 0 removes it, L{None} is until the browser ends.
    """
    line = b"\r\nSet-Cookie: %b=%b; Path=/" % (nameOf(name, secure), text.encode("ascii"))
    if maxAge is not None:
        line += b"; Max-Age=%d" % maxAge
    if secure:
        line += b"; Secure"
    return line + b"; HttpOnly; SameSite=Lax"


def dropSet(block: bytes) -> bytes:
    """
    Drop from a response what would set a cookie of ours: a backend shall sign nobody in.

    @param block: the fields of a response.
    """
    return _SET.sub(b"", block) if b"invproxy" in block else block
