"""
HTTP/1.1 messages as clients and origins on a stage read them: strictly, and with what had come of a broken one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import define, field

from stage.wire import Ended, Nonsense, Wire

_STATUS = re.compile(r"HTTP/1\.[01] ([1-5][0-9]{2}) [ -~]*").fullmatch
_FIELD = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([ -~]*?)[ \t]*").fullmatch
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;.*)?").fullmatch

Fields = dict[str, list[str]]
"""Header fields by their names in lower case."""


def parseFields(lines: list[str]) -> Fields:
    """
    Read a header section.

    @raise Nonsense: if it is none.
    """
    fields: Fields = {}
    for line in lines:
        found = _FIELD(line)
        if found is None:
            raise Nonsense(f"no header field: {line!r}")
        fields.setdefault(found[1].lower(), []).append(found[2])
    return fields


def valueOf(fields: Fields, name: str) -> str:
    """
    Find the only field of a name, or nothing.

    @raise Nonsense: if there are several.
    """
    values = fields.get(name, [""])
    if len(values) > 1:
        raise Nonsense(f"{len(values)} fields {name}")
    return values[0]


async def readHead(wire: Wire) -> tuple[str, Fields]:
    """
    Read a head.

    @return: its first line and its fields.
    """
    text = (await wire.readUntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = text.split("\r\n")
    return first, parseFields(lines)


def isChunked(fields: Fields) -> bool:
    """
    Say whether a body is chunked.

    @raise Nonsense: if nobody can tell.
    """
    coding = valueOf(fields, "transfer-encoding").lower()
    if coding not in ("", "chunked") or (coding and "content-length" in fields):
        raise Nonsense(f"transfer coding {coding!r}, content-length {fields.get('content-length')}")
    return bool(coding)


async def readCounted(wire: Wire, size: int, into: bytearray) -> None:
    """
    Read so many bytes of a body.
    """
    end = len(into) + size
    while len(into) < end:
        into += await wire.readSome(end - len(into))


async def readChunked(wire: Wire, into: bytearray) -> Fields:
    """
    Read a chunked body.

    @return: its trailers.
    """
    while True:
        line = await wire.readUntil(b"\r\n")
        found = _SIZE(line)
        if found is None:
            raise Nonsense(f"no chunk: {line!r}")
        size = int(found[1], 16)
        if not size:
            break
        await readCounted(wire, size, into)
        end = bytearray()
        await readCounted(wire, 2, end)
        if end != b"\r\n":
            raise Nonsense(f"no end of a chunk: {bytes(end)!r}")
    lines = []
    while line := await wire.readUntil(b"\r\n"):
        lines.append(line.decode("latin-1"))
    return parseFields(lines)


@define(eq=False)
class Answer:
    """
    A response, or as much of it as has come.

    @ivar status: its status code; 0 before its head has come.
    @ivar fields: its header fields.
    @ivar body: its body.
    @ivar trailers: its trailers.
    @ivar isWhole: whether its end has come.
    @ivar endsByClose: whether that is the end of the connection.
    """

    status: int = 0
    fields: Fields = field(factory=dict)
    body: bytearray = field(factory=bytearray)
    trailers: Fields = field(factory=dict)
    isWhole: bool = False
    endsByClose: bool = False

    async def read(self, wire: Wire, method: str, inform: Callable[[int], None]) -> None:
        """
        Read it from a connection.

        @param method: the method that was asked with.
        @param inform: told the status of each interim response.
        @raise Ended: if it broke off.
        @raise Nonsense: if it is none.
        """
        while True:
            first, fields = await readHead(wire)
            found = _STATUS(first)
            if found is None:
                raise Nonsense(f"no status line: {first!r}")
            status = int(found[1])
            if status >= 200 or status == 101:
                break
            inform(status)
        self.status, self.fields = status, fields
        chunked = isChunked(fields)
        length = valueOf(fields, "content-length")
        if status == 101 or method == "HEAD" or status in (204, 304):
            pass
        elif chunked:
            self.trailers = await readChunked(wire, self.body)
        elif length:
            if not length.isdigit():
                raise Nonsense(f"content-length {length!r}")
            await readCounted(wire, int(length), self.body)
        else:
            self.endsByClose = True
            try:
                while True:
                    self.body += await wire.readSome(65536)
            except Ended as end:
                if end.reset:
                    raise
        self.isWhole = True

    def field(self, name: str) -> str:
        """
        Find a field of its head.
        """
        return valueOf(self.fields, name)

    def keepsOpen(self) -> bool:
        """
        Say whether the connection is to be used again.
        """
        return not self.endsByClose and self.field("connection").lower() != "close"
