"""
Times and sizes as people say them.
"""

from __future__ import annotations

from typing import Final

_SPANS: Final = (("days", 86400), ("h", 3600), ("min", 60))
_SIZES: Final = ("KiB", "MiB", "GiB", "TiB")


def span(seconds: float) -> str:
    """
    Say about how long something takes, in the largest unit of which it takes two or more.
    """
    for name, size in _SPANS:
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {name}"
    return f"{round(seconds)} s"


def sizeOf(count: int) -> str:
    """
    Say about how large something is, in the largest unit of which it has one or more.

    @param count: its bytes.
    """
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, len(_SIZES))
    size = count / 1024**power
    return f"{size:.0f} {_SIZES[power - 1]}" if size >= 10 else f"{size:.1f} {_SIZES[power - 1]}"
