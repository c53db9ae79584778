"""
Header and trailer sections as blocks of bytes.

A I{block} holds field lines as they came, each I{preceded} by CRLF: C{b"\\r\\nHost: a\\r\\nAccept: */*"}. An empty
section is C{b""}. A head is then C{firstLine + block + b"\\r\\n\\r\\n"}, a field is added by concatenation, and names'
case, order and repetition stay as they were. Only a match of L{FIELD_LINES} makes a block, so every other function may
take its form for granted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator
from functools import lru_cache
from typing import Final

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
"""The characters of a token (RFC 9110, section 5.6.2), as a regular expression."""

FIELD_LINES: Final = rb"(?>(?:\r\n" + TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+)*)"
"""A block of field lines (RFC 9112, section 5): no folding, no space before the colon, no control characters."""

_MARKS: Final = b"!#$%&'*+.^_`|~"
_HYPHENS: Final = bytes.maketrans(_MARKS, b"-" * len(_MARKS))
LIKE_HYPHEN: Final = b"[-" + re.escape(_MARKS) + b"]"
"""What may stand for a hyphen in the name of a likeness, as a regular expression; see L{hyphenated}."""

_FIELD: Final = re.compile(rb"\r\n([^:\r\n]+):[ \t]*([^\r\n]*)")
_IS_LINE: Final = re.compile(rb"\r\n" + TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+").fullmatch


def hyphenated(name: bytes) -> bytes:
    """
    Write hyphens for all of a name that is no letter or digit. Two names of which this is the same are I{likenesses}:
    to a program they may be one field. WSGI and CGI make C{_} of C{-}, PHP makes it of C{.} as well, and some servers
    make it of all the others, too.

    @param name: the name of a field.
    """
    return name.translate(_HYPHENS)


@lru_cache(maxsize=256)
def _lookup(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\r\n" + re.escape(name) + rb":[ \t]*([^\r\n]*)", re.IGNORECASE)


def values(block: bytes, name: bytes) -> list[bytes]:
    """
    Look up a field.

    @param block: a block of field lines.
    @param name: the field's name in any case.
    @return: its values in order, without the optional white space around them.
    """
    return [value.rstrip(b" \t") for value in _lookup(name).findall(block)]


def value(block: bytes, name: bytes) -> bytes | None:
    """
    Look up a field of which the first value is enough.

    @return: the first value, or L{None} if the block has no such field.
    """
    found = _lookup(name).search(block)
    return found[1].rstrip(b" \t") if found else None


def finder(name: bytes) -> Callable[[bytes], bytes | None]:
    """
    Make a function that looks up one field as L{value} does, in half the time, as most often it is not there.

    @param name: the field's name.
    @return: a function from a block to the first value, or L{None} if the block has no such field.
    """
    mark = b"\r\n" + name.lower() + b":"

    def find(block: bytes) -> bytes | None:
        at = block.lower().find(mark)
        if at < 0:
            return None
        return block[at + len(mark) :].partition(b"\r\n")[0].strip(b" \t")

    return find


def dropper(*names: bytes, alike: bool = False) -> Callable[[bytes], bytes]:
    """
    Make a function that drops certain fields from a block, fast enough for every request.

    @param names: lower-case names; a C{*} at the end of one stands for any rest.
    @param alike: whether to drop their likenesses too, see L{LIKE_HYPHEN}.
    @return: a function from a block to the block less those fields.
    """
    alternatives = b"|".join(
        re.escape(name[:-1]) + rb"[^:\r\n]*" if name.endswith(b"*") else re.escape(name)
        for name in names
    )
    if alike:
        alternatives = alternatives.replace(rb"\-", LIKE_HYPHEN)
    # The look-ahead spares most fields the alternatives.
    firsts = {name[0] for name in names}
    if alike and b"-"[0] in firsts:
        firsts |= set(_MARKS)
    initials = re.escape(bytes(firsts))
    lines = re.compile(
        rb"\r\n(?=[" + initials + rb"])(?:" + alternatives + rb"):[^\r\n]*+", re.IGNORECASE
    )
    marks = [b"\r\n" + bytes((initial,)) for initial in sorted(firsts)]

    def drop(block: bytes) -> bytes:
        lower = block.lower()
        for mark in marks:
            if lower.find(mark) >= 0:  # twice as fast as C{in}
                return lines.sub(b"", block)
        return block

    return drop


def without(block: bytes, names: Container[bytes]) -> bytes:
    """
    Drop fields whose names are known only now.

    @param block: a block of field lines.
    @param names: lower-case names.
    @return: the block less those fields.
    """
    return b"".join(
        b"\r\n" + line
        for line in block.split(b"\r\n")[1:]
        if line.partition(b":")[0].lower() not in names
    )


def items(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """
    Walk over the fields in order, with names as they were written and values without outer white space.
    """
    for name, text in _FIELD.findall(block):
        yield name, text.rstrip(b" \t")


def join(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """
    Make a block.

    @param pairs: names and values in order.
    @raise ValueError: if a name or a value is not allowed in a header section; the text names the field.
    """
    lines = []
    for name, text in pairs:
        line = b"\r\n%b: %b" % (name, text)
        if b":" in name or not _IS_LINE(line):
            raise ValueError(f"field {name[:40]!r} has a character that HTTP does not allow")
        lines.append(line)
    return b"".join(lines)


def elements(lines: list[bytes]) -> list[bytes]:
    """
    Split the values of a list field such as Connection at its commas (RFC 9110, section 5.6.1).

    @return: the elements in lower case, empty ones left out. Not for fields with quoted strings.
    """
    if len(lines) == 1 and b"," not in lines[0]:
        element = lines[0].strip(b" \t").lower()
        return [element] if element else []
    return [
        element
        for line in lines
        for part in line.split(b",")
        if (element := part.strip(b" \t").lower())
    ]
