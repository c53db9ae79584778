"""
Bodies that tell whose they are: each line names the request and its own place.
"""

from __future__ import annotations

from zlib import crc32

_LINE = 64
_FILLING = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"

ANSWER = "a"
"""What marks the lines of an answer."""

UPLOAD = "u"
"""What marks the lines of a request's body."""


def patternOf(kind: str, number: int, size: int) -> bytes:
    """
    Make a body.

    @param kind: L{ANSWER} or L{UPLOAD}.
    @param number: the number of the request.
    @param size: how many bytes it has.
    """
    stem = f"{kind}{number:09d}:"
    lines = [f"{stem}{place:09d} {_FILLING}\n" for place in range(-(-size // _LINE))]
    return "".join(lines).encode("ascii")[:size]


def checksumOf(data: bytes) -> str:
    """
    Name a body: its size and its CRC.
    """
    return f"{len(data)}-{crc32(data):08x}"


def difference(found: bytes, expected: bytes) -> str:
    """
    Say where a body leaves the right way, and what stands there.
    """
    most = min(len(found), len(expected))
    place = next((at for at in range(most) if found[at] != expected[at]), most)
    begin = max(0, place - 40)
    return (
        f"{len(found)} bytes instead of {len(expected)}, different from byte {place} on: "
        f"{found[begin : place + 60]!r} instead of {expected[begin : place + 60]!r}"
    )
