"""
What a peer says, for the log.
"""

from __future__ import annotations

from typing import Final

_MOST: Final = 200
"""Characters that are shown."""


def printable(text: str) -> str:
    """
    Make a peer's text fit for one line of the log.
    """
    return "".join(each if each.isprintable() else "?" for each in text[:_MOST])
