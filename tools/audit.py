#!/usr/bin/env python3
"""
Look for known vulnerabilities in what invproxy needs when it runs, in the versions that are installed here.

It asks the index by pip-audit. A finding is an error, and the exit status 1. That somebody cannot be asked is none, as
it says nothing about the packages; but it is said, in one line that begins with C{NOT AUDITED}.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import requires, version
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OPTIONS = (
    "--disable-pip",
    "--no-deps",
    "--format=json",
    "--progress-spinner=off",
    "--timeout=10",
)

TIMEOUT = 60.0
"""Seconds that it may take."""


def walk(name: str, extras: frozenset[str] = frozenset()) -> Iterator[tuple[str, frozenset[str]]]:
    """
    Walk over what a package needs, itself not included; some of it more than once.

    @param name: its name.
    @param extras: those that are wanted.
    """
    for line in requires(name) or ():
        needed = Requirement(line)
        marker = needed.marker
        if marker is None or any(marker.evaluate({"extra": each}) for each in (*extras, "")):
            yield canonicalize_name(needed.name), frozenset(needed.extras)


def closure(name: str) -> list[str]:
    """
    List all that a package needs, and what that needs.
    """
    found: dict[str, frozenset[str]] = {}
    left = list(walk(name))
    while left:
        needed, extras = left.pop()
        before = found.get(needed)
        if before is None or not extras <= before:
            found[needed] = extras | (before or frozenset())
            left += walk(needed, found[needed])
    return sorted(found)


def report(answer: dict[str, Any]) -> int:
    """
    Say what came out.

    @param answer: what pip-audit says, as JSON.
    @return: the exit status.
    """
    asked = answer["dependencies"]
    skipped = [each for each in asked if "skip_reason" in each]
    bad = [each for each in asked if each.get("vulns")]
    for each in bad:
        for found in each["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version"
            print(f"{each['name']} {each['version']}: {found['id']}, fixed in {fixed}")
    if skipped:
        why = skipped[0]["skip_reason"]
        print(f"NOT AUDITED: {len(skipped)} of {len(asked)} packages; the first: {why}")
    if len(skipped) < len(asked):
        print(f"audit: {len(asked) - len(skipped)} packages asked about, {len(bad)} vulnerable")
    return int(bool(bad))


def main() -> int:
    """
    Ask.

    @return: the exit status.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.writelines(f"{name}=={version(name)}\n" for name in closure("invproxy"))
        listed.flush()
        command = [sys.executable, "-m", "pip_audit", *OPTIONS, f"--requirement={listed.name}"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            print(f"NOT AUDITED: no answer within {TIMEOUT:g} s")
            return 0
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        print(f"NOT AUDITED: {lines[-1][:300]}")
        return 0
    return report(answer)


if __name__ == "__main__":
    sys.exit(main())
