"""
What Linux says about processes: the processor time and the memory that they have used.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpuSeconds(pid: int) -> float:
    """
    Read how much processor time a process has used, in itself and in the kernel on its behalf.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


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
