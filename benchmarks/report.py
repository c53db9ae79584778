"""
What came out: tables, targets met or missed, and where both go.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from attrs import asdict, define, field, frozen

from benchmarks.programs import ROOT, BenchmarkError, versionOf

Cell = str | int | float | None

_BEGIN = "<!-- results: begin -->"
_END = "<!-- results: end -->"


@frozen
class Check:
    """
    A figure that has a target.

    @ivar name: what was measured.
    @ivar value: how much it is.
    @ivar target: how much it should be.
    @ivar ok: whether it is.
    """

    name: str
    value: str
    target: str
    ok: bool


@define
class Table:
    """
    Figures in rows.

    @ivar title: what they are about.
    @ivar columns: what each column holds.
    @ivar rows: the figures.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(factory=list)


@define
class Report:
    """
    What came out of a suite.

    @ivar name: the suite.
    @ivar title: what it measures.
    @ivar tables: the figures.
    @ivar checks: those of them that have a target.
    """

    name: str
    title: str
    tables: list[Table] = field(factory=list)
    checks: list[Check] = field(factory=list)

    def atLeast(self, name: str, value: float, target: float, unit: str = "") -> None:
        """
        Check a figure that must not be smaller than its target.
        """
        self.checks.append(
            Check(name, shown(value) + unit, f"at least {target:g}{unit}", value >= target)
        )

    def atMost(self, name: str, value: float, target: float, unit: str = "") -> None:
        """
        Check a figure that must not be larger than its target.
        """
        self.checks.append(
            Check(name, shown(value) + unit, f"at most {target:g}{unit}", value <= target)
        )

    def below(self, name: str, value: float, target: float, unit: str = "") -> None:
        """
        Check a figure that must be smaller than its target.
        """
        self.checks.append(
            Check(name, shown(value) + unit, f"under {target:g}{unit}", value < target)
        )

    def equal(self, name: str, value: Cell, target: Cell) -> None:
        """
        Check a figure that must be as its target is.
        """
        self.checks.append(Check(name, shown(value), shown(target), value == target))


def shown(cell: Cell) -> str:
    """
    Write a figure with about three digits.
    """
    if cell is None:
        return ""
    if isinstance(cell, float):
        size = abs(cell)
        return f"{cell:,.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or not cell else 3}f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def _cells(report: Report) -> list[Table]:
    """
    All tables of a report, and its checks as one more.
    """
    tables = list(report.tables)
    if report.checks:
        rows: list[tuple[Cell, ...]] = [
            (each.name, each.value, each.target, "ok" if each.ok else "MISSED")
            for each in report.checks
        ]
        tables.append(Table("must hold", ("figure", "measured", "target", ""), rows))
    return tables


def _isNumeric(table: Table, column: int) -> bool:
    return all(not isinstance(row[column], str) for row in table.rows)


def plain(report: Report) -> str:
    """
    Write a report for a terminal.
    """
    lines = [f"{report.name}: {report.title}", ""]
    for table in _cells(report):
        rows = [table.columns, *([shown(cell) for cell in row] for row in table.rows)]
        widths = [max(len(row[at]) for row in rows) for at in range(len(table.columns))]
        right = [_isNumeric(table, at) for at in range(len(table.columns))]
        lines.append(f"  {table.title}")
        for row in rows:
            cells = (
                text.rjust(width) if numeric else text.ljust(width)
                for text, width, numeric in zip(row, widths, right, strict=True)
            )
            lines.append("    " + "  ".join(cells).rstrip())
        lines.append("")
    return "\n".join(lines)


def markdown(report: Report) -> str:
    """
    Write a report for the documentation.
    """
    lines = [f"### {report.name}: {report.title}", ""]
    for table in _cells(report):
        rules = ("---:" if _isNumeric(table, at) else "---" for at in range(len(table.columns)))
        lines += [
            f"**{table.title}**",
            "",
            f"| {' | '.join(table.columns)} |",
            f"|{'|'.join(rules)}|",
        ]
        lines += [f"| {' | '.join(shown(cell) for cell in row)} |" for row in table.rows]
        lines.append("")
    return "\n".join(lines)


def machine() -> dict[str, str]:
    """
    Say what the figures were measured on and with.
    """
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
        meminfo = Path("/proc/meminfo").read_text()
    except OSError as error:
        raise BenchmarkError(f"the benchmarks read /proc, which only Linux has: {error}") from None
    model = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, re.M)
    memory = re.search(r"^MemTotal:\s+(\d+)", meminfo, re.M)
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _commit(),
        "processor": f"{model[1].strip() if model else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{int(memory[1]) / (1 << 20):.0f} GiB" if memory else "unknown",
        "kernel": f"{platform.system()} {platform.release()}",
        "hot path": _kind(),
        "Python": platform.python_version(),
        "Twisted": version("twisted"),
        "nginx": versionOf("nginx"),
        "wrk": versionOf("wrk"),
    }


def _kind() -> str:
    spec = find_spec("invproxy.exchange")
    origin = spec.origin if spec else None
    return "interpreted" if origin is None or origin.endswith(".py") else "compiled by mypyc"


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    try:
        changed = " and changes to it" if git("status", "--porcelain", "--", ":/invproxy") else ""
        return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
    except OSError:
        return "unknown"


def asJSON(about: dict[str, str], reports: list[Report]) -> dict[str, object]:
    """
    Say all of it for programs.
    """
    return {
        "machine": about,
        "suites": {
            report.name: {
                "title": report.title,
                "tables": [
                    {
                        "title": table.title,
                        "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows],
                    }
                    for table in report.tables
                ],
                "checks": [asdict(check) for check in report.checks],
            }
            for report in reports
        },
    }


def replaceResults(file: Path, about: dict[str, str], reports: list[Report]) -> None:
    """
    Put the results between the two markers of a page.

    @raise BenchmarkError: if it has none.
    """
    page = readPage(file)
    head, _, rest = page.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    lines = [f"- {name}: {value}" for name, value in about.items()]
    results = "\n".join([*lines, "", *(markdown(report) for report in reports)])
    file.write_text(f"{head}{_BEGIN}\n\n{results}\n{_END}{tail}")


def readPage(file: Path) -> str:
    """
    Read a page for results.

    @raise BenchmarkError: if it has no markers for them.
    """
    try:
        page = file.read_text()
    except OSError as error:
        raise BenchmarkError(f"{file}: {error.strerror}") from None
    if _BEGIN not in page or _END not in page.partition(_BEGIN)[2]:
        raise BenchmarkError(f"{file} lacks the markers {_BEGIN} and {_END}")
    return page
