"""
What came out of a run: tables for people.
"""

from __future__ import annotations

from soak.run import Run
from stage.tables import table

_SHOWN = ("timers", "readers", "files")
"""What of the totals is shown; all are compared."""


def _mebi(size: float) -> str:
    return f"{size / (1 << 20):.1f}"


def plain(run: Run) -> str:
    """
    Write it for people.
    """
    rows = run.tally.rows
    lines = table(
        "exchanges",
        ("kind", "right", "left", "hit", "wrong", "longest s"),
        [
            *(
                (
                    kind,
                    row.right,
                    row.left,
                    row.hit,
                    row.wrong,
                    f"{run.tally.slowest.get(kind, 0.0):.2f}",
                )
                for kind, row in rows.items()
            ),
            (
                "all",
                sum(row.right for row in rows.values()),
                sum(row.left for row in rows.values()),
                sum(row.hit for row in rows.values()),
                sum(row.wrong for row in rows.values()),
                f"{max(run.tally.slowest.values(), default=0.0):.2f}",
            ),
        ],
    )
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
                f"{course.slope() * 60 / 1024:+.1f}",
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
