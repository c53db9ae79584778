"""
However it is installed, C{twist} finds both commands.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import invproxy

CHECKOUT = Path(invproxy.__file__).parent.parent

COMMANDS = ("invproxy-server", "invproxy-agent")

NOT_SOURCE = (
    "build",
    "dist",
    "_build",
    "__pycache__",
    "dropin.cache",
    "*.egg-info",
    "_trial_temp*",
)


def run(arguments: Sequence[str | Path], cwd: Path) -> str:
    """
    Run a program.

    @return: its output.
    @raise AssertionError: with its whole output, when it fails.
    """
    done = subprocess.run(
        [str(each) for each in arguments],
        cwd=cwd,
        # Trial's workers run with a PYTHONPATH, which would show them the checkout.
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{arguments} gave {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def copySource(target: Path) -> None:
    """
    Copy the checkout without what was made in it, so that a build leaves no trace there.
    """

    def ignore(folder: str, names: list[str]) -> set[str]:
        made = set(shutil.ignore_patterns(*NOT_SOURCE)(folder, names))
        hidden = {name for name in names if name.startswith(".") and name != ".ci"}
        return made | hidden | {n for n in names if Path(folder, n, "pyvenv.cfg").exists()}

    shutil.copytree(CHECKOUT, target, ignore=ignore)


class InstallTests(SynchronousTestCase):
    """
    Each way to install it, in a fresh virtual environment that sees the packages of the
    environment which runs the tests, so that no package index is needed.
    """

    timeout = 300

    def setUp(self) -> None:
        if not (CHECKOUT / "setup.cfg").exists():
            raise SkipTest("not run from a checkout: there is no setup.cfg")
        for name in ("build", "pip", "setuptools"):
            if importlib.util.find_spec(name) is None:
                raise SkipTest(f"{name} is not installed")
        self.here = Path(self.mktemp()).resolve()
        self.here.mkdir()
        self.source = self.here / "source"
        copySource(self.source)

    def build(self) -> tuple[Path, Path]:
        """
        Build both distributions from the copied source.

        @return: the sdist, and the wheel, which is made of what is in the sdist.
        """
        target = self.here / "dist"
        run([sys.executable, "-m", "build", "--no-isolation", "--outdir", target, "."], self.source)
        [sdist], [wheel] = target.glob("*.tar.gz"), target.glob("*.whl")
        return sdist, wheel

    def install(self, *what: str | Path) -> Path:
        """
        Install something into a fresh virtual environment.

        @return: the environment's Python.
        """
        folder = self.here / "environment"
        run([sys.executable, "-m", "venv", "--without-pip", folder], self.here)
        python = folder / "bin" / "python"
        # Behind the environment's own packages, and its .pth files are not read: an editable
        # install that the tests run from stays out of sight.
        purelib = run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], self.here
        )
        Path(purelib.strip(), "outer.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "install"]
        offline = ["--no-deps", "--no-index", "--no-build-isolation"]
        run([*pip, *offline, *what], self.here)
        return python

    def assertCommands(self, python: Path, within: Path) -> None:
        """
        C{twist --help} lists both commands, and they come from the installation under test.
        """
        neutral = self.here / "neutral"
        neutral.mkdir()
        shown = run([python.parent / "invproxy", "--version"], neutral)
        self.assertEqual(shown, f"invproxy {invproxy.__version__}\n")
        text = run([python, "-m", "twisted", "--help"], neutral)
        for command in COMMANDS:
            self.assertIn(command, text)
        for module in ("invproxy", "twisted.plugins.invproxy_dropin"):
            where = run([python, "-c", f"import {module} as m; print(m.__file__)"], neutral)
            self.assertTrue(Path(where.strip()).resolve().is_relative_to(within), where)

    def test_distributions(self) -> None:
        """
        An sdist holds what is needed to test and to document it; a wheel made from it holds the package, its type
        marker and the dropin, and shows both commands.
        """
        sdist, wheel = self.build()
        with tarfile.open(sdist) as archive:
            packed = {name.partition("/")[2] for name in archive.getnames()}
        expected = {
            path.relative_to(self.source).as_posix()
            for path in self.source.rglob("*")
            if path.is_file() and "invproxy.egg-info" not in path.parts
        }
        self.assertEqual(expected - packed, set())
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
        expected = {
            path.relative_to(self.source).as_posix()
            for path in (self.source / "invproxy").rglob("*.py")
        }
        expected |= {"invproxy/py.typed", "twisted/plugins/invproxy_dropin.py"}
        self.assertEqual(expected - names, set())
        self.assertFalse(names & {"twisted/__init__.py", "twisted/plugins/__init__.py"})
        python = self.install(wheel)
        self.assertCommands(python, self.here / "environment")

    def test_editable(self) -> None:
        """
        An editable install shows both commands, from where the source is.
        """
        python = self.install("--editable", self.source)
        self.assertCommands(python, self.source)
