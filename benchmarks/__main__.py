"""
C{python -m benchmarks [SUITE...]}.
"""

from __future__ import annotations

import json
import signal
import sys
from argparse import ArgumentParser
from pathlib import Path

from benchmarks.programs import BenchmarkError, raiseFileLimit, require
from benchmarks.report import Report, asJSON, machine, plain, readPage, replaceResults
from benchmarks.suites import (
    Plan,
    auth,
    bulk,
    delay,
    greedy,
    idle,
    memory,
    requests,
    rolling,
    routes,
    sse,
    tls,
)
from benchmarks.ways import CARRIERS

SUITES = {
    "requests": requests.run,
    "auth": auth.run,
    "bulk": bulk.run,
    "sse": sse.run,
    "memory": memory.run,
    "idle": idle.run,
    "greedy": greedy.run,
    "tls": tls.run,
    "delay": delay.run,
    "routes": routes.run,
    "rolling": rolling.run,
}


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m benchmarks",
        description="Measure invproxy beside nginx as a plain reverse proxy, on loopback.",
        epilog="Exit status: 0 if all targets are met, 1 if one is missed, 2 if something cannot be measured.",
    )
    parser.add_argument(
        "suites", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)}; none is all"
    )
    parser.add_argument("--quick", action="store_true", help="short runs, rough figures")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="runs of each kind, in turn (5; quick: 3)"
    )
    parser.add_argument("--seconds", type=int, metavar="S", help="length of a run (4; quick: 1)")
    parser.add_argument(
        "--carrier",
        action="append",
        choices=CARRIERS,
        help=f"which to measure ({', '.join(CARRIERS)})",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures there as JSON, too"
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="replace the results in this page of the documentation",
    )
    return parser


def measure(arguments: list[str]) -> int:
    """
    Run suites and report.

    @param arguments: the command line.
    @return: the exit status.
    @raise BenchmarkError: if something cannot be measured.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    unknown = set(options.suites) - SUITES.keys()
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    quick = options.quick
    rounds = options.rounds or (3 if quick else 5)
    seconds = options.seconds or (1 if quick else 4)
    if rounds < 1 or seconds < 1:
        parser.error("--rounds and --seconds must be 1 or more")
    plan = Plan(
        quick=quick, carriers=tuple(options.carrier or CARRIERS), rounds=rounds, seconds=seconds
    )
    require("nginx", "wrk")
    if options.write:
        readPage(options.write)
    raiseFileLimit()
    about = machine()
    print("\n".join(f"{name}: {value}" for name, value in about.items()), end="\n\n", flush=True)
    reports: list[Report] = []
    failed: list[str] = []
    for name, run in SUITES.items():
        if name in options.suites or not options.suites:
            try:
                reports.append(run(plan))
            except BenchmarkError as error:
                failed.append(f"{name}: {error}")
                print(f"{failed[-1]}\n", flush=True)
            else:
                print(plain(reports[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(asJSON(about, reports), indent=2) + "\n")
    if failed:
        raise BenchmarkError("; ".join(failed))
    if options.write:
        replaceResults(options.write, about, reports)
    missed = sum(not check.ok for report in reports for check in report.checks)
    total = sum(len(report.checks) for report in reports)
    print(f"{total - missed} of {total} targets met" + (f", {missed} MISSED" if missed else ""))
    return 1 if missed else 0


def main() -> int:
    """
    Run the command line, and end all programs whatever happens.
    """

    def stop(signum: int, frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + signum)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)
    try:
        return measure(sys.argv[1:])
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
