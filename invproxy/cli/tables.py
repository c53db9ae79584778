"""
Tables that fit the terminal, and texts from elsewhere that cannot play tricks on it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

_GAP = "  "
_NARROWEST = 6
"""Columns that are cut keep at least so many characters, however narrow the terminal is."""


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], width: int | None) -> str:
    """
    Write a table, without a line of its own around anything, so that it can be read by C{awk} as well.

    @param headings: one for each column.
    @param rows: cells as texts; whatever cannot be shown is escaped.
    @param width: columns of the terminal; L{None} if nothing is to be cut.
    @return: the lines, each with its end; none is wider than the terminal if that can be.
    """
    shown = [[printable(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(columnsOf(cell) for cell in column) for column in zip(*shown, strict=True)]
    if width is not None:
        widths = _fit(widths, width - len(_GAP) * (len(widths) - 1))
    lines = []
    for row in shown:
        cells = [cut(cell, limit) for cell, limit in zip(row, widths, strict=True)]
        padded = [
            cell + " " * (limit - columnsOf(cell))
            for cell, limit in zip(cells, widths, strict=True)
        ]
        lines.append(_GAP.join(padded).rstrip() + "\n")
    return "".join(lines)


def _fit(widths: Sequence[int], total: int) -> list[int]:
    """
    Narrow the widest columns until all of them fit; the first, which names things, only if nothing else helps.
    """
    first, *others = widths
    others = _narrow(others, total - first)
    return _narrow([first], total - sum(others)) + others


def _narrow(widths: Sequence[int], total: int) -> list[int]:
    fitted = list(widths)
    while sum(fitted) > total and max(fitted, default=0) > _NARROWEST:
        widest = max(fitted)
        below = max((each for each in fitted if each < widest), default=0)
        several = [place for place, each in enumerate(fitted) if each == widest]
        surplus = sum(fitted) - total
        # Down to the next narrower column, or as far as it needs.
        narrower = max(below, widest - -(-surplus // len(several)), _NARROWEST)
        for place in several:
            fitted[place] = narrower
    return fitted


def columnsOf(text: str) -> int:
    """
    Count the columns that a text takes on a terminal.
    """
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "FW" else 1


def cut(text: str, limit: int) -> str:
    """
    Cut a text to a number of columns, and show that it was cut.
    """
    if columnsOf(text) <= limit:
        return text
    taken, left = [], limit - 1
    for character in text:
        left -= _columns(character)
        if left < 0:
            break
        taken.append(character)
    return "".join(taken) + "…"


def printable(text: str) -> str:
    """
    Escape what is no character to be seen, such as the sequences that move a terminal's cursor.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def pairs(entries: Iterable[tuple[str, str]]) -> str:
    """
    Write names and values below each other.

    @return: the lines, each with its end.
    """
    shown = [(name, printable(value)) for name, value in entries]
    width = max((len(name) for name, _ in shown), default=0)
    return "".join(f"{name:<{width}}  {value}".rstrip() + "\n" for name, value in shown)
