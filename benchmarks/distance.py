"""
Two places with a long way between them: I{near}, where the benchmark and the proxy are, and I{far}, where the agent
and its origin are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from attrs import field, frozen

from benchmarks.programs import BenchmarkError, Program, Stage, find
from benchmarks.ways import LOOPBACK

_QUEUE = 100_000
"""Packets that may be under way."""


@frozen
class Distance:
    """
    A long way.

    @ivar how: what delays, in words.
    @ivar near: the address where those who are near listen for those who are far.
    @ivar far: the address where those who are far listen for those who are near.
    @ivar prefix: a command that runs a program far away.
    """

    how: str
    near: str
    far: str
    prefix: tuple[str, ...]

    def toFar(self, port: int) -> tuple[str, int]:
        """
        Say where those who are near find a port that is far.
        """
        return self.far, port

    def toNear(self, port: int) -> tuple[str, int]:
        """
        Say where those who are far find a port that is near.
        """
        return self.near, port


@frozen
class RelayedDistance(Distance):
    """
    Both places are here, and relays between them take their time.
    """

    _stage: Stage = field(kw_only=True)
    _delay: float = field(kw_only=True)

    def toFar(self, port: int) -> tuple[str, int]:
        return self._relay(port)

    def toNear(self, port: int) -> tuple[str, int]:
        return self._relay(port)

    def _relay(self, port: int) -> tuple[str, int]:
        relay = self._stage.run(
            "relay",
            *(sys.executable, "-m", "benchmarks.relay", LOOPBACK, str(port)),
            *("--delay", f"{self._delay:g}"),
        )
        return LOOPBACK, int(relay.waitFor(r"relay ready: (\d+)")[1])


def makeDistance(stage: Stage, delay: float) -> Distance:
    """
    Put a long way between this place and another: by a network namespace, in which TCP knows of the delay, if that is
    allowed, else by relays.

    @param stage: how long it exists.
    @param delay: milliseconds from one place to the other.
    """
    elsewhere = _namespace(stage)
    if elsewhere is not None:
        try:
            return _connectedBy(stage, elsewhere, delay)
        except BenchmarkError as error:
            print(f"delay: no network devices can be made ({error}), so relays delay", flush=True)
    return RelayedDistance("relays", LOOPBACK, LOOPBACK, (), stage=stage, delay=delay)


def _namespace(stage: Stage) -> Program | None:
    """
    Make a network namespace that is gone when its program is.
    """
    if not all(find(name) for name in ("ip", "nsenter", "unshare")):
        return None
    program = stage.run("far side", "unshare", "--net", "sleep", "infinity")
    here = os.readlink("/proc/self/ns/net")
    there = Path(f"/proc/{program.pid}/ns/net")
    try:
        program.wait(lambda: os.readlink(there) != here)
    except (BenchmarkError, OSError):
        return None
    return program


def _connectedBy(stage: Stage, elsewhere: Program, delay: float) -> Distance:
    """
    Lay a line to another namespace.

    @raise BenchmarkError: if that cannot be done.
    """
    pid = os.getpid()
    near, far = f"bench{pid}n", f"bench{pid}f"
    prefix = (find("nsenter") or "nsenter", f"--target={elsewhere.pid}", "--net", "--")
    if _layNetem(near, far, elsewhere.pid, prefix, delay):
        how = "netem"
    else:
        how = "a line of TUN devices (no netem here)"
        line = stage.run(
            "line",
            *(sys.executable, "-m", "benchmarks.line", near, far, "--delay", f"{delay:g}"),
        )
        line.waitFor("line ready")
        _do("ip", "link", "set", far, "netns", str(elsewhere.pid))
    # Networks for benchmarks (RFC 2544), one of four addresses for each run.
    network = f"198.{18 + (pid >> 14) % 2}.{(pid >> 6) % 256}"
    first = pid % 64 * 4
    addresses = f"{network}.{first + 1}", f"{network}.{first + 2}"
    _do(*prefix, "ip", "link", "set", "lo", "up")
    for name, address, where in ((near, addresses[0], ()), (far, addresses[1], prefix)):
        _do(*where, "ip", "address", "add", f"{address}/30", "dev", name)
        _do(*where, "ip", "link", "set", name, "mtu", "1500", "txqueuelen", str(_QUEUE), "up")
    return Distance(how, *addresses, prefix)


def _layNetem(near: str, far: str, pid: int, prefix: tuple[str, ...], delay: float) -> bool:
    """
    Lay a line with the kernel's own delay.

    @return: whether there is one.
    """
    if not find("tc"):
        return False
    _do("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", str(pid))
    netem = ("root", "netem", "delay", f"{delay:g}ms", "limit", str(_QUEUE))
    try:
        _do("tc", "qdisc", "add", "dev", near, *netem)
        _do(*prefix, "tc", "qdisc", "add", "dev", far, *netem)
    except BenchmarkError:
        _do("ip", "link", "delete", near)
        return False
    return True


def _do(*command: str) -> None:
    """
    @raise BenchmarkError: if a command fails.
    """
    program = find(command[0]) or command[0]
    done = subprocess.run(
        [program, *command[1:]],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
