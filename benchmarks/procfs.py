"""
What Linux says about processes: the processor time and the memory that they have used.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

_WHOLE = 2
"""What a process's clock counts: all that its threads have run, as the scheduler has measured it (CPUCLOCK_SCHED)."""


def cpuSeconds(pid: int) -> float:
    """
    Read how much processor time a process has used, in itself and in the kernel on its behalf.
    """
    # The sum of what /proc/PID/stat has, in nanoseconds instead of hundredths of a second (clock_getcpuclockid(3)).
    return time.clock_gettime(~pid << 3 | _WHOLE)


def cpuShare(pid: int, seconds: float) -> float:
    """
    Watch a process for some time.

    @return: how many seconds of processor time it uses in each.
    """
    before = cpuSeconds(pid)
    time.sleep(seconds)
    return (cpuSeconds(pid) - before) / seconds


def _memory(pid: int, file: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.M)
    return int(found[1]) << 10 if found else 0


def residentBytes(pid: int) -> int:
    """
    Read how much memory a process has in use.
    """
    return _memory(pid, "status", "VmRSS")


def ownBytes(pid: int) -> int:
    """
    Read how much of it no other process shares.
    """
    return sum(_memory(pid, "smaps_rollup", f"Private_{kind}") for kind in ("Clean", "Dirty"))


def peakBytes(pid: int) -> int:
    """
    Read how much memory a process had in use at most.
    """
    return _memory(pid, "status", "VmHWM")


def forgetPeak(pid: int) -> None:
    """
    Let L{peakBytes} count from now.
    """
    Path(f"/proc/{pid}/clear_refs").write_text("5")
