"""
What the operating system knows of this process.
"""

from __future__ import annotations

import os
import resource
from typing import Final

_PAGE: Final = resource.getpagesize()


def openFiles() -> int | None:
    """
    Count the file descriptors that are open.

    @return: L{None} where the system does not tell.
    """
    for place in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(place)) - 1  # without the one by which they are listed
        except OSError:
            continue
    return None


def mostFiles() -> int | None:
    """
    Tell how many of them there may be, by the soft limit.

    @return: L{None} if there is none.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def residentBytes() -> int | None:
    """
    Tell how much memory is in use.

    @return: L{None} where the system does not tell.
    """
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return None
