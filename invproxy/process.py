"""
What the operating system knows of this process.
"""

from __future__ import annotations

import os
from contextlib import suppress
from types import ModuleType

resource: ModuleType | None
try:
    import resource
except ImportError:  # not UNIX
    resource = None


def openFiles() -> int | None:
    """
    Count the file descriptors that are open.

    @return: L{None} where the system does not tell.
    """
    for place in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(place)) - 1  # without the one by which they are listed
    return None


def mostFiles() -> int | None:
    """
    Tell how many of them there may be, by the soft limit.

    @return: L{None} if there is none.
    """
    if resource is None:
        return None
    soft: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def residentBytes() -> int | None:
    """
    Tell how much memory is in use.

    @return: L{None} where the system does not tell.
    """
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
