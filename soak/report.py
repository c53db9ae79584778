"""
What came out of a run: tables for people.
"""

from __future__ import annotations

from collections.abc import Iterable

from soak.kinds import KINDS
from soak.run import Run
from soak.tally import Row
from stage.tables import table

_OUTCOMES = ("right", "left", "hit", "wrong")

_SHOWN = ("timers", "readers", "files")
"""What of the totals is shown; all are compared."""


def _mebi(size: float) -> str:
    return f"{size / (1 << 20):.1f}"


def _slope(bytesPerSecond: float | None) -> str:
    return "-" if bytesPerSecond is None else f"{bytesPerSecond * 60 / 1024:+.1f}"


def _outcomes(rows: Iterable[Row]) -> list[int]:
    rows = list(rows)
    return [sum(getattr(row, outcome) for row in rows) for outcome in _OUTCOMES]


def plain(run: Run) -> str:
    """
    Write it for people.
    """
    tally = run.tally
    kinds = {kind.name: tally.rows[kind.name] for kind in KINDS if kind.name in tally.rows}
    lines = table(
        "exchanges",
        ("kind", *_OUTCOMES, "longest s"),
        [
            *(
                (kind, *_outcomes([row]), f"{tally.slowest.get(kind, 0.0):.2f}")
                for kind, row in kinds.items()
            ),
            ("all", *_outcomes(kinds.values()), f"{max(tally.slowest.values(), default=0.0):.2f}"),
        ],
    )
    lines.append(f"  begun by their backends: {run.journaled}; under way at a time: {run.listed}")
    lines += table(
        "coming and going",
        ("what", "count"),
        [
            *sorted(run.comings.counts.items()),
            ("somebody signed in and out", sum(signer.count for signer in run.signers)),
        ],
    )
    lines += table(
        "alive while nothing is asked: after warm-up, and at the end",
        ("program", *(f"{name} {when}" for name in _SHOWN for when in ("before", "after")), "more"),
        (
            (
                name,
                *(totals.counts[what] for what in _SHOWN for totals in (run.before[name], after)),
                len(after.growth(run.before[name])),
            )
            for name, after in run.after.items()
        ),
    )
    lines += table(
        "memory, MiB",
        ("program", "after warm-up", "at the end", "%", "at most", "KiB/min"),
        (
            (
                course.name,
                _mebi(course.warm),
                _mebi(course.level()),
                f"{100 * course.growth():+.1f}",
                _mebi(course.most()),
                _slope(course.slope()),
            )
            for course in run.memory.courses.values()
            if course.warm
        ),
    )
    if run.failures:
        lines += ["", f"logs: {run.cast.directory}"]
    return "\n".join((*lines, "", verdict(run)))


def verdict(run: Run) -> str:
    """
    Say in one line how it went.
    """
    return f"FAILED: {len(run.failures)} times" if run.failures else "passed"
