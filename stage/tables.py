"""
Tables for people.
"""

from __future__ import annotations

from collections.abc import Iterable

Row = tuple[object, ...]
"""The cells of a row."""


def table(title: str, columns: Row, rows: Iterable[Row]) -> list[str]:
    """
    Lay out a table: the first column flush left, the others flush right.

    @param title: what stands above it.
    @param columns: the heads of the columns.
    @return: its lines, an empty one ahead.
    """
    texts = [[str(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[at]) for row in texts) for at in range(len(columns))]
    lines = [
        "  "
        + "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    ]
    return ["", title, *lines]
