"""
Two clocks for two questions. I{How long?} is asked of a reactor, and I{what time is it?} of L{wallOf} it.

A reactor of Twisted answers both by the time of day, which jumps: when a machine finds its time server late, when
somebody sets it, when a virtual machine is moved. All timers would wait for as long as it has gone back, and all
deadlines pass at once when it goes ahead. So our programs give their reactor a clock that counts seconds and nothing
else (L{keepSteady}).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import IReactorTime

_NAME = "_invproxyWall"


def _count() -> Callable[[], float]:
    # That of Linux which goes on while the machine sleeps: what was to end by then has ended when it wakes. Elsewhere
    # the ordinary one does.
    which = getattr(time, "CLOCK_BOOTTIME", None)
    # Without a function of Python around it, as it is asked several times for each request.
    return time.monotonic if which is None else partial(time.clock_gettime, which)


def keepSteady(
    reactor: Any,
    steady: Callable[[], float] | None = None,
    wall: Callable[[], float] = time.time,
) -> None:
    """
    Have a reactor count seconds, whatever becomes of the time of day. Calls that wait keep waiting for as long as they
    would have. Once is enough.

    @param reactor: one of Twisted's.
    @param steady: what it is to count by, in seconds since whenever; by default the system's clock for that.
    @param wall: what tells the time of day, in seconds since the epoch.
    """
    if hasattr(reactor, _NAME):
        return
    count = steady or _count()
    shift = count() - reactor.seconds()
    for call in reactor.getDelayedCalls():
        call.time += shift
        call.seconds = count
    reactor.seconds = count
    setattr(reactor, _NAME, wall)


def wallOf(clock: IReactorTime) -> Callable[[], float]:
    """
    Find what tells the time of day, in seconds since the epoch: for what is shown to people or comes from elsewhere.

    @param clock: a reactor, which tells it itself unless it is L{kept steady<keepSteady>}; or a clock of a test.
    """
    found: Callable[[], float] = getattr(clock, _NAME, clock.seconds)
    return found
