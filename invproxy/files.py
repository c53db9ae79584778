"""
Small files that options name.
"""

from __future__ import annotations

from invproxy.errors import ConfigError


def readSmall(path: str, most: int = 1 << 20) -> bytes:
    """
    Read a file.

    @param path: its path.
    @param most: how many bytes it may have: a multiple of 1024.
    @raise ConfigError: if it cannot be read, or is larger; the text begins with a verb.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot be read: {why}") from None
    if len(content) > most:
        bound = f"{most >> 20} MiB" if most >> 20 else f"{most >> 10} KiB"
        raise ConfigError(f"is larger than {bound}")
    return content
