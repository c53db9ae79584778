"""
What came out of a run: tables for people, the same for programs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from statistics import median
from typing import Any

from chaos.run import Run
from chaos.troubles import PROMISE, Recovery
from stage.results import ERROR, RIGHT
from stage.tables import Row, table


def _outcomes(run: Run) -> list[tuple[str, int]]:
    counts = Counter(
        f"{entry.result.outcome}: {entry.result.symptom}"
        if entry.result.outcome == ERROR
        else entry.result.outcome or "no end"
        for entry in run.ledger.entries.values()
    )
    return sorted(counts.items(), key=lambda pair: (pair[0] != RIGHT, -pair[1]))


def _faults(run: Run) -> list[Row]:
    rows: list[Row] = []
    for kind in run.options.kinds:
        faults = [fault for fault in run.schedule.faults if fault.kind is kind]
        lasted = sum(fault.ended - fault.began for fault in faults)
        # A recovery belongs to the fault that ended last.
        recovered = [
            recovery.seconds
            for recovery in run.troubles.recoveries
            if max(recovery.faults, key=lambda fault: fault.ended).kind is kind
        ]
        rows.append((str(kind), len(faults), f"{lasted:.0f}", *_spread(recovered)))
    return rows


def _spread(seconds: list[float]) -> Row:
    if not seconds:
        return 0, "-", "-"
    return len(seconds), f"{median(seconds):.2f}", f"{max(seconds):.2f}"


def _recoveries(run: Run) -> list[Row]:
    def of(names: Iterable[str]) -> list[Recovery]:
        return [each for each in run.troubles.recoveries if each.name in names]

    rows = []
    for what, names in (("backends", run.stage.backends), ("agents", run.stage.agents)):
        seconds = [recovery.seconds for recovery in of(names)]
        rows.append((what, *_spread(seconds)))
    return rows


def _memory(run: Run) -> list[Row]:
    starts = {program.name: program.starts for program in run.stage.programs()}
    return [
        (
            life.name,
            starts[life.name],
            f"{life.seconds:.0f}",
            f"{life.first / (1 << 20):.0f}",
            f"{life.last / (1 << 20):.0f}",
            f"{life.most / (1 << 20):.0f}",
        )
        for life in run.memory.lives()
    ]


def verdict(run: Run) -> str:
    """
    Say in one line how it went.
    """
    failed = len(run.failures.found)
    return f"FAILED: {failed} {'check' if failed == 1 else 'checks'}" if failed else "passed"


def plain(run: Run) -> str:
    """
    Write it for people.
    """
    total = len(run.ledger.entries)
    slowest = "; ".join(
        f"{'those that may be sent again' if name == 'again' else 'others'} at most {took:.1f} s (bound {bound:.1f} s)"
        for name, (took, bound) in sorted(run.checks.slowest.items(), reverse=True)
    )
    last = ", ".join(f"{backend} {right}" for backend, right in run.atLast.items())
    spread = ("recovered", "median s", "worst s")
    lines = [
        *table(
            "requests",
            ("outcome", "count", "%"),
            ((name, count, f"{100 * count / total:.2f}") for name, count in _outcomes(run)),
        ),
        f"  begun by their origin more than once, as they may: {run.checks.agains}",
        f"  time: {slowest}",
        *table("faults", ("kind", "count", "s in all", *spread), _faults(run)),
        *table(f"recovery, promised within {PROMISE:g} s", ("of", *spread), _recoveries(run)),
        f"  disturbed by the next fault: {run.troubles.disturbed}",
        *table(
            "requests while an agent of their backend was in this kind of trouble, and another was not",
            ("kind", "count", "right", "%"),
            (
                (str(kind), count, right, f"{100 * right / count:.2f}")
                for kind, (count, right) in run.checks.spared.items()
                if kind.part in ("agent", "link")
            ),
        ),
        *table(
            "memory of the process that lived longest, MiB",
            ("program", "starts", "s", "after 10 s", "at the end", "at most"),
            _memory(run),
        ),
        "",
        f"right answers at last, of 100 each: {last}",
    ]
    if run.failures.found:
        counts = Counter(failure.what for failure in run.failures.found)
        lines += table("failed checks", ("what", "count"), counts.most_common(20))
        lines += ["", f"logs: {run.stage.directory}"]
    return "\n".join((*lines, "", verdict(run)))


def asJSON(run: Run, began: float) -> dict[str, Any]:
    """
    Give it to programs.

    @param began: when it began, in seconds on the monotonic clock.
    """
    options = run.options
    return {
        "minutes": options.seconds / 60,
        "seed": options.seed,
        "carrier": options.carrier,
        "passed": not run.failures.found,
        "failures": [str(failure) for failure in run.failures.found],
        "requests": dict(_outcomes(run)),
        "begunAgain": run.checks.agains,
        "slowest": {
            name: {"seconds": took, "bound": bound}
            for name, (took, bound) in run.checks.slowest.items()
        },
        "spared": {
            str(kind): {"requests": count, "right": right}
            for kind, (count, right) in run.checks.spared.items()
        },
        "rightAtLast": run.atLast,
        "faults": [
            {
                "kind": str(fault.kind),
                "target": fault.target.name,
                "began": round(fault.began - began, 3),
                "ended": round(fault.ended - began, 3),
            }
            for fault in run.schedule.faults
        ],
        "recoveries": [
            {
                "of": recovery.name,
                "after": [str(fault.kind) for fault in recovery.faults],
                "seconds": round(recovery.seconds, 3),
            }
            for recovery in run.troubles.recoveries
        ],
        "recoveriesDisturbed": run.troubles.disturbed,
        "memory": [
            {
                "program": life.name,
                "seconds": round(life.seconds),
                "first": life.first,
                "last": life.last,
                "most": life.most,
            }
            for life in run.memory.lives()
        ],
    }
