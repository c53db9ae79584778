"""
The lines of a head, and what each means to a proxy; remembered, as from message to message they are nearly all the
same.

A line that was seen before is found in a table, which takes a fraction of the time of a look at its every byte. What a
line means follows from the line alone, so it does not matter from whom it came first. Only lines of fields that tell no
secrets are kept.
"""

from __future__ import annotations

import re
from typing import Final

from invproxy.http1.fields import TOKEN
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import LONGEST_AUTHORITY, isAuthority
from invproxy.http1.marks import markOf
from invproxy.tables import Table

PLAIN: Final = 0
HOST: Final = 1
LENGTH: Final = 2
CODING: Final = 3
HOP: Final = 4
INTRICATE: Final = 5
"""
What lines mean: nothing to a proxy; C{Host}, with a valid authority; C{Content-Length}, a number; C{Transfer-Encoding:
chunked}; nothing beyond this hop, such as C{Connection: keep-alive}; something that asks for a closer look at the whole
head.
"""

_LONGEST: Final = 256
"""Bytes of a line that is remembered."""

_MOST: Final = 4096
"""Lines that are remembered, before all are forgotten."""

_MOST_STATUSES: Final = 256
"""The same for status lines."""

_MOST_NEW: Final = 8
"""Lines of one section that are not in the table; of more, all together are read faster than one by one."""

_STATUS_LINE: Final = re.compile(
    rb"HTTP/1\.1 ((?!204|304)[2-9][0-9][0-9])((?: [\t\x20-\x7e\x80-\xff]*+)?)"
).fullmatch
_LINE: Final = re.compile(rb"(" + TOKEN + rb"++):([\t\x20-\x7e\x80-\xff]*+)").fullmatch
_NUMBER: Final = re.compile(rb"[0-9]{1,15}").fullmatch
_tellsNoSecret: Final = re.compile(
    rb"accept(?:-charset|-encoding|-language|-ranges)?|access-control-[a-z-]+|age|allow|alt-svc|cache-control|connection"
    rb"|content-(?:encoding|language|length|security-policy|type)|cross-origin-[a-z-]+|date|dnt|etag|expires|forwarded"
    rb"|host|keep-alive|last-modified|origin|permissions-policy|pragma|priority|range|referrer-policy|sec-(?:ch|fetch)-[a-z-]+"
    rb"|sec-gpc|server|strict-transport-security|trailer|transfer-encoding|upgrade-insecure-requests|user-agent|vary|via"
    rb"|x-content-type-options|x-dns-prefetch-control|x-forwarded-(?:for|host|proto)|x-frame-options|x-powered-by"
    rb"|x-requested-with|x-xss-protection"
).fullmatch

_HOPS: Final = frozenset(
    (
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
    )
)
_INTRICATE: Final = frozenset((b"connection", b"content-length", b"expect", b"te", b"upgrade"))


class Line:
    """
    A line that was understood.

    @ivar kind: what a field line means.
    @ivar mark: what somebody looks for in it; see L{invproxy.http1.marks}.
    @ivar value: the value of a L{HOST}, or the reason phrase of a status line, with the space before it.
    @ivar number: that of a L{LENGTH}, or of a status line.
    @ivar tellsNoSecret: whether its field never has anything that others must not know.
    """

    __slots__ = ("kind", "mark", "number", "tellsNoSecret", "value")

    def __init__(self, kind: int, value: bytes = b"", number: int = 0, mark: int = 0) -> None:
        self.kind = kind
        self.mark = mark
        self.value = value
        self.number = number
        self.tellsNoSecret = False


_known: Final[dict[bytes, Line]] = {}
_knownStatuses: Final[dict[bytes, Line]] = {}


def statusLine(line: bytes) -> Line | None:
    """
    Read a status line (RFC 9112, section 4) of HTTP/1.1.

    @param line: the line without its CRLF.
    @return: L{None} if it is something else, or begins a response that never has a body.
    """
    known = _knownStatuses.get(line)
    if known is not None:
        return known
    matched = _STATUS_LINE(line)
    if matched is None:
        return None
    read = Line(PLAIN, matched[2], int(matched[1]))
    if len(line) <= _LONGEST:
        if len(_knownStatuses) >= _MOST_STATUSES:
            _knownStatuses.clear()
        _knownStatuses[line] = read
    return read


def fieldLine(line: bytes) -> Line | None:
    """
    Read a field line (RFC 9112, section 5).

    @param line: the line without its CRLF.
    @return: L{None} if it is none.
    """
    known = _known.get(line)
    if known is not None:
        return known
    matched = _LINE(line)
    if matched is None:
        return None
    name = matched[1].lower()
    read = _read(name, matched[2])
    if _tellsNoSecret(name):
        read.tellsNoSecret = True
        if len(line) <= _LONGEST:
            if len(_known) >= _MOST:
                _known.clear()
            _known[line] = read
    return read


def _read(name: bytes, text: bytes) -> Line:
    value = text.strip(b" \t")
    if name == b"host":
        if len(value) <= LONGEST_AUTHORITY and isAuthority(value):
            return Line(HOST, value)
        return Line(INTRICATE)
    if name == b"content-length" and _NUMBER(value):
        return Line(LENGTH, b"", int(value))
    if name == b"transfer-encoding":
        # Less spaces but not tabs, which some (llhttp) take for a part of it.
        return Line(CODING if text.strip(b" ").lower() == b"chunked" else INTRICATE)
    if name in _HOPS or (name == b"connection" and value.lower() == b"keep-alive"):
        return Line(HOP)
    if name in _INTRICATE:
        return Line(INTRICATE)
    return Line(PLAIN, mark=markOf(name))


def tables() -> list[Table]:
    """
    Tell how many lines are remembered.
    """
    return [
        Table("field_lines", len(_known), _MOST, True),
        Table("status_lines", len(_knownStatuses), _MOST_STATUSES, True),
    ]


class Section:
    """
    A header section in which every line is of a kind that most messages have.

    @ivar block: the block of its end-to-end fields.
    @ivar host: the value of Host, or L{None}.
    @ivar framing: the length of the body in bytes, L{CHUNKED}, or L{None} if it is not said.
    @ivar marks: what else it has; see L{invproxy.http1.marks}.
    @ivar tellsNoSecret: whether it has no line that may have something that others must not know.
    """

    __slots__ = ("block", "framing", "host", "marks", "tellsNoSecret")

    def __init__(
        self,
        block: bytes,
        host: bytes | None,
        framing: int | None,
        marks: int,
        tellsNoSecret: bool,
    ) -> None:
        self.block = block
        self.host = host
        self.framing = framing
        self.marks = marks
        self.tellsNoSecret = tellsNoSecret


def readSection(wire: bytes, lines: list[bytes]) -> Section | None:
    """
    Read a header section.

    @param wire: all of a head that stands behind its first line.
    @param lines: the same split at each CRLF.
    @return: L{None} if it is malformed, or asks for a closer look.
    """
    last = len(lines) - 2
    if last < 1 or lines[0] or lines[last] or lines[last + 1]:
        return None
    host: bytes | None = None
    framing: int | None = None
    marks = 0
    tellsNoSecret = True
    new = 0
    kept = b""
    begin = at = 0
    for index in range(1, last):
        line = lines[index]
        known = _known.get(line)
        if known is None:
            new += 1
            if new > _MOST_NEW:
                return None
            known = fieldLine(line)
            if known is None:
                return None
            if not known.tellsNoSecret:
                tellsNoSecret = False
        kind = known.kind
        marks |= known.mark
        if kind == HOST:
            if host is not None:
                return None
            host = known.value
        elif kind == LENGTH:
            if framing is not None:
                return None
            framing = known.number
        elif kind == CODING:
            if framing is not None:
                return None
            framing = CHUNKED
        elif kind == INTRICATE:
            return None
        if kind >= CODING:  # nothing of it goes on
            kept += wire[begin:at]
            begin = at + 2 + len(line)
        at += 2 + len(line)
    return Section(kept + wire[begin:at], host, framing, marks, tellsNoSecret)
