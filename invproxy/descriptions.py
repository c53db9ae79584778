"""
Descriptions of endpoints, as Twisted has them.
"""

from __future__ import annotations


def tokens(endpoint: str) -> list[list[str]]:
    """
    Split a description of an endpoint as C{serverFromString} does.

    @return: for each part between colons, its value, or its name and its value.
    """
    parts = [[""]]
    characters = iter(endpoint)
    for each in characters:
        if each == "\\":
            parts[-1][-1] += next(characters, "")
        elif each == ":":
            parts.append([""])
        elif each == "=" and len(parts[-1]) == 1:
            parts[-1].append("")
        else:
            parts[-1][-1] += each
    return parts


def kindOf(endpoint: str) -> str:
    """
    Say of which kind an endpoint is: its first word.
    """
    return tokens(endpoint)[0][0]
