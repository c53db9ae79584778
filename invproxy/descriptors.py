"""
File descriptors: each connection takes one. Systems give programs few unless they ask, so a command asks at its start
for as many as it may have, and then promises no more than that.
"""

from __future__ import annotations

from contextlib import suppress
from types import ModuleType
from typing import Final

from invproxy.process import openFiles

resource: ModuleType | None
try:
    import resource
except ImportError:  # not UNIX
    resource = None

ENOUGH: Final = 1 << 20
"""As many as are asked for. Some systems would give a thousand million, and some programs look at each of them."""

_LEAST_SPARE, _MOST_SPARE = 16, 256

_USUAL = 32
"""How many are in use at the start, where nobody knows."""

HINT: Final = "raise the hard limit (ulimit -Hn, or LimitNOFILE= of a systemd service)"
"""What to do about too few."""


def raiseLimit() -> int:
    """
    Let this process have as many descriptors as it may.

    @return: how many these are; 0 where nobody knows.
    """
    if resource is None:
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return ENOUGH if soft == resource.RLIM_INFINITY else int(soft)
    with suppress(OSError, ValueError):  # macOS has a bound below that which it tells
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return int(soft)


def roomFor(limit: int) -> int:
    """
    Say how many connections a process can have.

    @param limit: how many descriptors it may have.
    @return: how many of them neither it has now, nor it may need for files, name servers and the like.
    """
    spare = min(max(limit // 32, _LEAST_SPARE), _MOST_SPARE)
    inUse = openFiles()
    return max(1, limit - (_USUAL if inUse is None else inUse) - spare)
