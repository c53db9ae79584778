"""
The floors of setup.cfg exclude the versions of our dependencies that are known to be vulnerable.

What is known changes: C{make audit} asks the index about what is installed. This test needs nobody to ask.
"""

from __future__ import annotations

import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from runpy import run_path
from subprocess import CompletedProcess

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import invproxy

FIXED = (
    ("twisted", "CVE-2022-21712", "22.1"),
    ("twisted", "CVE-2022-21716", "22.2"),
    ("twisted", "CVE-2022-24801", "22.4"),
    ("twisted", "CVE-2022-39348", "22.10"),
    ("twisted", "CVE-2023-46137", "23.10"),
    ("twisted", "CVE-2024-41671", "24.7"),
    ("twisted", "CVE-2024-41810", "24.7"),
    ("twisted", "CVE-2026-42304", "26.4"),
    ("treq", "CVE-2022-23607", "22.1"),
    ("pyopenssl", "CVE-2018-1000807", "17.5"),
    ("pyopenssl", "CVE-2026-27448", "26.0"),
    ("pyopenssl", "CVE-2026-27459", "26.0"),
    ("cryptography", "CVE-2023-0286", "39.0.1"),
    ("cryptography", "CVE-2023-38325", "41.0.2"),
    ("cryptography", "CVE-2023-49083", "41.0.6"),
    ("cryptography", "CVE-2023-50782", "42.0.0"),
    ("cryptography", "CVE-2024-0727", "42.0.2"),
    ("cryptography", "CVE-2024-26130", "42.0.4"),
    ("cryptography", "CVE-2024-12797", "44.0.1"),
    ("cryptography", "CVE-2026-26007", "46.0.5"),
    ("cryptography", "CVE-2026-34073", "46.0.6"),
    ("cryptography", "CVE-2026-39892", "46.0.7"),
    ("cryptography", "CVE-2026-69247", "50.0.0"),
    ("joserfc", "CVE-2025-65015", "1.4.2"),
    ("joserfc", "CVE-2026-27932", "1.6.3"),
    ("joserfc", "GHSA-gg9x-qcx2-xmrh", "1.6.8"),
    ("joserfc", "CVE-2026-75509", "1.7.3"),
    ("oauthlib", "CVE-2022-36087", "3.2.1"),
    ("click", "CVE-2026-7246", "8.3.3"),
    ("idna", "CVE-2024-3651", "3.7"),
    ("idna", "CVE-2026-45409", "3.15"),
    ("multipart", "CVE-2026-28356", "1.3.1"),
    ("websockets", "CVE-2018-1000518", "5.0"),
    ("websockets", "CVE-2021-33880", "9.1"),
)
"""What a proxy or an agent needs: the package, what is known about it, and the first version without."""

FIXED_IN_TOOLS = (
    ("h11", "CVE-2025-43859", "0.16"),
    ("setuptools", "CVE-2024-6345", "70.0"),
    ("setuptools", "CVE-2025-47273", "78.1.1"),
    ("wheel", "CVE-2022-40898", "0.38.1"),
    ("wheel", "CVE-2026-24049", "0.46.2"),
)
"""The same for what tests it and builds it."""


def floorsOf(text: str) -> dict[str, Version]:
    """
    Read a list of requirements.

    @return: the least version of each.
    """
    floors: dict[str, Version] = {}
    for line in text.strip().splitlines():
        if line.strip() and not line.strip().startswith("#"):
            requirement = Requirement(line.strip())
            for each in requirement.specifier:
                assert each.operator == ">=", line
                floors[canonicalize_name(requirement.name)] = Version(each.version)
    return floors


class FloorsTests(SynchronousTestCase):
    """
    L{FIXED} and L{FIXED_IN_TOOLS} against C{setup.cfg}.
    """

    def setUp(self) -> None:
        place = Path(invproxy.__file__).parent.parent / "setup.cfg"
        if not place.exists():
            raise SkipTest("this is no checkout")
        self.config = ConfigParser()
        self.config.read(place)

    def test_floors(self) -> None:
        """
        No version that is known to be bad satisfies them, and what is needed directly or not is named.
        """
        floors = floorsOf(self.config["options"]["install_requires"])
        for package, known, fixed in FIXED:
            self.assertIn(package, floors, known)
            self.assertGreaterEqual(floors[package], Version(fixed), f"{package}: {known}")

    def test_tools(self) -> None:
        """
        Nor in any list of tools.
        """
        for extra, text in self.config["options.extras_require"].items():
            floors = floorsOf(text) if extra != "dev" else {}
            for package, known, fixed in FIXED_IN_TOOLS:
                if package in floors:
                    self.assertGreaterEqual(floors[package], Version(fixed), f"{extra}: {known}")

    def test_installed(self) -> None:
        """
        What is installed here is not one of them, either: it is with this that all other tests run.
        """
        for package, known, fixed in FIXED:
            try:
                installed = Version(version(package))
            except PackageNotFoundError:
                raise SkipTest(f"{package} is not installed, but was imported") from None
            self.assertGreaterEqual(installed, Version(fixed), f"{package}: {known}")


class AuditTests(SynchronousTestCase):
    """
    C{tools/audit.py}: it neither passes in silence nor fails as nobody could be asked.
    """

    def setUp(self) -> None:
        place = Path(invproxy.__file__).parent.parent / "tools" / "audit.py"
        try:
            version("invproxy")
        except PackageNotFoundError:
            raise SkipTest("it is not installed") from None
        if not place.exists():
            raise SkipTest("this is no checkout")
        self.audit = run_path(str(place))
        self.said = StringIO()
        self.patch(sys, "stdout", self.said)

    def play(self, stdout: bytes, stderr: bytes = b"") -> tuple[int, str]:
        """
        Let pip-audit say something.

        @return: the exit status, and what is printed.
        """

        def run(command: list[str], **options: object) -> CompletedProcess[bytes]:
            return CompletedProcess(command, 1, stdout, stderr)

        self.patch(subprocess, "run", run)
        status: int = self.audit["main"]()
        return status, self.said.getvalue()

    def test_clean(self) -> None:
        status, said = self.play(
            b'{"dependencies": [{"name": "a", "version": "1", "vulns": []}], "fixes": []}'
        )
        self.assertEqual((status, said), (0, "audit: 1 packages asked about, 0 vulnerable\n"))

    def test_found(self) -> None:
        status, said = self.play(
            b'{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]},'
            b' {"name": "b", "skip_reason": "unknown"}]}'
        )
        self.assertEqual(status, 1)
        self.assertIn("a 1: CVE-1, fixed in 2\n", said)

    def test_notAsked(self) -> None:
        """
        Whatever is the matter, there is one line about it.
        """
        for stdout, stderr, line in (
            (
                b'{"dependencies": [{"name": "a", "skip_reason": "not on PyPI"}]}',
                b"",
                "NOT AUDITED: 1 of 1 packages; the first: not on PyPI",
            ),
            (b"", b"WARNING: a\nERROR: no network\n", "NOT AUDITED: ERROR: no network"),
            (b"", b"", "NOT AUDITED: no reason given"),
        ):
            status, said = self.play(stdout, stderr)
            self.assertEqual(status, 0)
            self.assertIn(line + "\n", said)

    def test_closure(self) -> None:
        """
        It asks about all that is needed, and about no tool.
        """
        found = self.audit["closure"]("invproxy")
        for package in ("twisted", "cryptography", "incremental", "idna", "multipart"):
            self.assertIn(package, found)
        for package in ("hypothesis", "mypy", "invproxy", "pip-audit"):
            self.assertNotIn(package, found)
