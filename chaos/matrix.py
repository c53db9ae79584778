"""
C{python -m chaos.matrix}: every fault once, at every moment of a request, over both carriers.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import asdict, evolve, frozen

from chaos.ledger import Entry
from chaos.rows import (
    ASKS,
    FAULTS,
    LONGEST,
    NEW,
    POLL,
    TUNNEL,
    Expected,
    Fault,
)
from chaos.setting import BACKEND, HERE, Place, Setting
from stage.journal import ANSWERED, BEGUN, WHOLE
from stage.programs import Program, StageError
from stage.results import RIGHT

_MARGIN = 2.5
"""Seconds by which a busy machine may be late."""

_UNTOUCHED = frozenset(("draining", "no-backend", "queue-timeout", "too-many-pending"))
"""Errors that say that nobody has begun with a request."""

_MOST_BEGINNINGS = 3
_MARK = "INVPROXY_MATRIX_ALONE"


@frozen
class Row:
    """
    What became of one request.

    @ivar fault: who was hit by what.
    @ivar doing: what the request was doing.
    @ivar carrier: what the agent used.
    @ivar answer: what it came to.
    @ivar seconds: from the fault, or its own beginning if that was later, to its end.
    @ivar bound: by when it had to end.
    @ivar recovered: seconds from the end of the fault to the first right answer.
    @ivar executed: how often the origin began it.
    @ivar wrong: what is wrong with that, or an empty string.
    """

    fault: str
    doing: str
    carrier: str
    answer: str
    seconds: float
    bound: str
    recovered: float
    executed: int
    wrong: str

    def __str__(self) -> str:
        return (
            f"{self.fault:<40} {self.doing:<13} {self.carrier:<6} {self.answer:<19} {self.seconds:>5.1f} "
            f"{self.bound:<27} {self.recovered:>5.1f} {self.executed:>2}  {self.wrong or 'ok'}"
        )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


HEAD = f"{'fault':<40} {'request':<13} {'by':<6} {'answer':<19} {'s':>5} {'bound':<27} {'well':>5} {'x':>2}"


def symptomOf(entry: Entry) -> str:
    """
    Name what a request has come to: the code of an error, or its outcome.
    """
    return entry.result.symptom or entry.result.outcome


class Matrix:
    """
    The faults of one setting, one after the other.

    @ivar rows: what came out.
    """

    def __init__(self, setting: Setting, carrier: str) -> None:
        """
        @param setting: what is hit.
        @param carrier: what its agent uses.
        """
        self.rows: list[Row] = []
        self._setting = setting
        self._carrier = carrier
        self._seen = dict.fromkeys(setting.programs, 0)

    async def run(self, fault: Fault) -> list[Row]:
        """
        Have something go wrong while requests are under way.

        @return: what became of each.
        """
        setting = self._setting
        asks = {
            doing: evolve(ask, number=setting.asker.probe(BACKEND).number)
            for doing, ask in ASKS.items()
        }
        tasks = {
            doing: asyncio.ensure_future(setting.client.askFor(ask)) for doing, ask in asks.items()
        }
        await self._allBegun([ask.number for ask in asks.values()])
        began = time.monotonic()
        await fault.hit.begin(setting)
        probe = setting.asker.probe(BACKEND)
        tasks[NEW] = asyncio.ensure_future(setting.client.askFor(probe))
        await asyncio.sleep(fault.hit.lasts)
        await fault.hit.end(setting)
        ended = time.monotonic()
        recovered = await self._recovery(ended, fault.recovers[self._carrier])
        await asyncio.gather(*tasks.values())
        await asyncio.sleep(0.3)
        setting.readJournal()
        rows = []
        for doing, task in tasks.items():
            entry = task.result()
            expected = fault.expected(self._carrier, doing)
            seconds = entry.ended - max(began, entry.began)
            patience = ended - began + fault.recovers[self._carrier] + LONGEST
            wrong = self._wrong(entry, expected, seconds, patience)
            if recovered > fault.recovers[self._carrier]:
                wrong = wrong or "it has not recovered"
            rows.append(
                Row(
                    fault.name,
                    doing,
                    self._carrier,
                    symptomOf(entry),
                    seconds,
                    "" if entry.result.outcome == RIGHT else expected.within.name,
                    recovered,
                    entry.timesBegun(BEGUN),
                    wrong,
                )
            )
        rows += self._complaints(fault, recovered)
        self.rows += rows
        return rows

    async def _allBegun(self, numbers: list[int]) -> None:
        end = time.monotonic() + 10.0
        entries = self._setting.ledger.entries
        while True:
            self._setting.readJournal()
            if all(entries[number].timesBegun(BEGUN) for number in numbers if number in entries):
                break
            if time.monotonic() > end:
                raise StageError("the requests before a fault did not reach the origin")
            await asyncio.sleep(0.05)
        # Until answers and bodies are under way, too.
        await asyncio.sleep(1.0)

    async def _recovery(self, ended: float, within: float) -> float:
        """
        Ask until an answer is right.

        @return: after how many seconds.
        """
        setting = self._setting
        probes: set[asyncio.Task[Entry]] = set()
        while time.monotonic() < ended + within + _MARGIN:
            probes.add(asyncio.create_task(setting.client.askFor(setting.asker.probe(BACKEND))))
            await asyncio.sleep(0.25)
            found = [task.result() for task in probes if task.done()]
            right = [entry.ended for entry in found if entry.result.outcome == RIGHT]
            if right:
                await asyncio.wait(probes)
                return min(right) - ended
        await asyncio.wait(probes)
        return float("inf")

    def _wrong(self, entry: Entry, expected: Expected, seconds: float, patience: float) -> str:
        """
        Say what is wrong with the end of a request, if anything is.
        """
        result, ask = entry.result, entry.ask
        symptom = symptomOf(entry)
        begun = entry.timesBegun(BEGUN)
        if symptom not in expected.results:
            return f"instead of {' or '.join(expected.results)}; {result.detail}"
        if result.outcome == RIGHT:
            if seconds > patience + _MARGIN:
                return "late"
            # An upgraded connection has no body of which an origin could say that it is whole.
            if ask.upload > 0 and not entry.timesBegun(WHOLE):
                return "answered, but the origin has not got it"
            if not entry.timesBegun(ANSWERED):
                return "answered, but not by the origin"
        elif seconds > expected.within.seconds + _MARGIN:
            return f"after more than {expected.within.seconds:g} s"
        if begun > (_MOST_BEGINNINGS if ask.mayBeginAgain() else 1):
            return "executed more than once"
        if symptom in _UNTOUCHED and begun:
            return "executed, and that was denied"
        return ""

    def _complaints(self, fault: Fault, recovered: float) -> Iterator[Row]:
        """
        Tell of programs that have ended or printed a traceback, and whatever else must not have happened.
        """
        setting = self._setting
        found, setting.complaints = setting.complaints, []
        for program in setting.programs:
            tracebacks = program.tracebacks()
            # The origin is nothing of ours: asyncio prints one when it cannot accept.
            if len(tracebacks) > self._seen[program] and program is not setting.origin:
                found.append(f"{program.name}: {tracebacks[-1]}")
            self._seen[program] = len(tracebacks)
            if program.status() is not None:
                found.append(f"{program.name} has ended by itself:\n{program.tail(20)}")
        for what in found:
            yield Row(fault.name, "", self._carrier, "", 0.0, "", recovered, 0, what)


# Where it runs.


def _alone() -> None:
    """
    Go on in a mount namespace and a network namespace of our own, if that is allowed: what is mounted and laid there
    is gone with us, and nothing that we send gets out.
    """
    unshare = shutil.which("unshare")
    if _MARK in os.environ or os.geteuid() or unshare is None:
        return
    command = [unshare, "--mount", "--net"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
        os.environ[_MARK] = "1"
        arguments = [sys.executable, "-m", "chaos.matrix", *sys.argv[1:]]
        os.execv(unshare, [*command, "--", *arguments])


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


@contextmanager
def _directory() -> Iterator[tuple[Path, Path, bool]]:
    """
    Make a directory, and a small disk within it if that is allowed.

    @return: the directory, the disk, and whether that is one.
    """
    directory = Path(tempfile.mkdtemp(prefix="invproxy-matrix-"))
    room = directory / "room"
    room.mkdir()
    isDisk = _MARK in os.environ
    if isDisk:
        _do("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(room))
    try:
        yield directory, room, isDisk
    finally:
        if isDisk:
            _do("umount", "--lazy", str(room))
        shutil.rmtree(directory, ignore_errors=True)


_NEAR, _FAR = "127.77.0.1", "127.77.0.2"


async def _layLine(directory: Path, loss: float) -> tuple[Place, list[Program]]:
    """
    Lay a line that loses packets to another network namespace. Its addresses are of loopback, so that no mistake in
    routes can let a packet out.

    @param loss: how many of a hundred packets get lost.
    @return: the far end, and what has to be ended.
    """
    here = os.readlink("/proc/self/ns/net")
    far = Program("far side", ["unshare", "--net", "sleep", "infinity"], directory / "far.log")
    line = Program(
        "line",
        [
            *(sys.executable, "-m", "benchmarks.line", "near", "far"),
            *("--delay", "5", "--loss", f"{loss:g}"),
        ],
        directory / "line.log",
    )
    far.start()
    while os.readlink(f"/proc/{far.pid}/ns/net") == here:
        await asyncio.sleep(0.02)
    line.start()
    await line.printed("line ready", 10.0)
    prefix = ("nsenter", f"--target={far.pid}", "--net", "--")
    _do("ip", "link", "set", "far", "netns", str(far.pid))
    for device, address, where in (("near", _NEAR, ()), ("far", _FAR, prefix)):
        _do(*where, "ip", "link", "set", "lo", "up")
        _do(*where, "ip", "address", "add", "127.0.0.1/32", "dev", "lo")
        _do(*where, "ip", "address", "delete", "127.0.0.1/8", "dev", "lo")
        _do(*where, "sysctl", "-qw", f"net.ipv4.conf.{device}.route_localnet=1")
        _do(*where, "ip", "address", "add", f"{address}/30", "dev", device)
        _do(*where, "ip", "link", "set", device, "mtu", "1500", "up")
    return Place(_NEAR, prefix), [line, far]


async def _runAll(
    carrier: str, faults: list[Fault], keep: Path | None, place: Place = HERE
) -> tuple[list[Row], list[str]]:
    """
    Run faults in one setting.

    @return: the rows, and which faults could not be run.
    """
    with _directory() as (directory, room, isDisk):
        programs: list[Program] = []
        skipped = []
        if any(fault.needs == "line" for fault in faults):
            place, programs = await _layLine(directory, 1.0)
        setting = Setting(carrier, directory, room, place)
        matrix = Matrix(setting, carrier)
        try:
            await setting.start()
            for fault in faults:
                if fault.needs == "disk" and not isDisk:
                    skipped.append(
                        f"{fault.name}, {carrier}: needs the right to mount a small disk"
                    )
                    continue
                for row in await matrix.run(fault):
                    _say(str(row))
        finally:
            setting.stop()
            for program in programs:
                program.end()
            if keep is not None:
                shutil.copytree(room, keep / carrier, dirs_exist_ok=True)
    return matrix.rows, skipped


async def run(
    carriers: list[str], names: list[str], keep: Path | None
) -> tuple[list[Row], list[str]]:
    """
    Run the matrix.

    @param carriers: with these.
    @param names: the faults, or none for all.
    @param keep: where to put the logs.
    @return: the rows, and which faults could not be run.
    """
    wanted = [fault for fault in FAULTS if not names or fault.name in names]
    rows: list[Row] = []
    skipped: list[str] = []
    _say(HEAD)
    for carrier in carriers:
        for needsLine in (False, True):
            faults = [fault for fault in wanted if (fault.needs == "line") is needsLine]
            if needsLine and faults and _MARK not in os.environ:
                skipped += [
                    f"{fault.name}, {carrier}: needs root, for a line of packets"
                    for fault in faults
                ]
            elif faults:
                found, missing = await _runAll(carrier, faults, keep)
                rows += found
                skipped += missing
    return rows, skipped


def main() -> int:
    """
    Run the command line.

    @return: the exit status.
    """
    parser = ArgumentParser(
        prog="python -m chaos.matrix",
        description="Have every fault once, at every moment of a request, over both carriers.",
        epilog="Exit status: 0 if every row is as it has to be, 1 if one is not, 2 if there was no run.",
    )
    parser.add_argument("--carrier", choices=(TUNNEL, POLL), help="this one only")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        choices=[fault.name for fault in FAULTS],
        metavar="NAME",
        help="this one only, or several",
    )
    parser.add_argument("--list", action="store_true", help="list the faults")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="put all logs there")
    options = parser.parse_args()
    if options.list:
        _say("\n".join(fault.name for fault in FAULTS))
        return 0
    _alone()
    began = time.monotonic()
    try:
        if _MARK in os.environ:
            _do("ip", "link", "set", "lo", "up")
        carriers = [options.carrier] if options.carrier else [TUNNEL, POLL]
        rows, skipped = asyncio.run(run(carriers, options.fault, options.keep))
    except (StageError, KeyboardInterrupt) as error:
        sys.stderr.write(f"matrix: {error or 'ended by a signal'}\n")
        return 2
    wrong = [row for row in rows if row.wrong]
    for row in wrong:
        _say(f"FAILED: {row}")
    for each in skipped:
        _say(f"left out: {each}")
    _say(
        f"{len(rows)} rows, {len(rows) - len(wrong)} as they have to be, "
        f"in {time.monotonic() - began:.0f} s"
    )
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
