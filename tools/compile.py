"""
Compile the hot path to C, by mypyc.

What mypyc makes is the same program: each compiled module stands beside its source, which the interpreter then passes
over. It takes a copy of the checkout for that, as what is compiled in a checkout would go on to be run when its
source has been changed.

    python tools/compile.py build/compiled           a copy that runs in the place of the checkout
    python tools/compile.py build/compiled --wheel   and a wheel of it in dist/

What does not mean the same to mypyc: a bound of a slice is evaluated twice, so there must be no call in it; a name to
which two C{except} clauses of a function bind different errors has the type of the first, so each has its own; and when
something ends to which somebody refers weakly, that reference is freed and not cleared, and the process crashes, so
there are no weak references.

It needs mypy, mypy-zope, setuptools, wheel, a C compiler and Python's headers.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

COPIED = (
    "invproxy",
    "twisted",
    "benchmarks",
    "chaos",
    "soak",
    "stage",
    "examples",
    "docs",
    "mypy.ini",
    "setup.cfg",
    "README.md",
    "LICENSE",
)

HOT = """
    accesslog
    admin/problems
    agent/tunneler agent/tunnelstream
    auth/approaches auth/basic auth/visitors
    client/connection client/pool client/stream
    deadlines
    exchange
    http1/fields http1/forwarding http1/framing http1/heads http1/lines http1/marks http1/parsing http1/readers
    mailbox metrics passing
    proxy/personal proxy/polling proxy/public proxy/recorder proxy/root proxy/signin proxy/streams proxy/tunneling
    proxy/tunnels proxy/visiting
    requestbody
    routing
    server/channel server/connection server/site server/stream
    transport
    tunnel/outbox tunnel/pulse tunnel/session tunnel/stream
    turn
    wire/frames wire/websocket wire/windows
"""
"""The modules that a request over a tunnel goes through, below C{invproxy}, and those that inherit from them."""

SETUP = """\
from mypyc.build import mypycify
from setuptools import setup

setup(ext_modules=mypycify({modules!r}, opt_level="2", debug_level="0"))
"""

_IMPLEMENTER = re.compile(
    r"^@implementer\((?P<interfaces>[^)]*)\)\nclass (?P<name>\w+)", re.MULTILINE
)
_SLOTS = re.compile(r"^    __slots__ = (?:\([^)]*\)|\[[^]]*\])\n", re.MULTILINE)


def adapt(source: str) -> str:
    """
    Rewrite a module so that mypyc makes its classes ones of C, which it does with none that is decorated.
    """
    declared = [match.group("name", "interfaces") for match in _IMPLEMENTER.finditer(source)]
    source = _IMPLEMENTER.sub(r"class \g<name>", source)
    source = source.replace("import implementer\n", "import classImplements\n")
    calls = "".join(f"\n\nclassImplements({name}, {interfaces})\n" for name, interfaces in declared)
    # What is declared behind a class is not known within it.
    return "# mypy: disable-error-code=arg-type\n" + source + calls


def copy(target: Path) -> None:
    """
    Copy the checkout, less what was made of it.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    made = shutil.ignore_patterns("__pycache__", "*.so", "_build", "dropin.cache", "*.egg-info")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=made)
        else:
            shutil.copy2(source, target / name)


def compile_(target: Path) -> None:
    """
    Compile the hot path of a copy, in place.
    """
    paths = [f"invproxy/{name}.py" for name in HOT.split()]
    for path in paths:
        (target / path).write_text(adapt((target / path).read_text()))
    # One of C that inherits from one in Python is not allowed slots there.
    calls = target / "invproxy/agent/calls.py"
    calls.write_text(_SLOTS.sub("", calls.read_text()))
    (target / "setup.py").write_text(SETUP.format(modules=paths))
    shutil.copy2(ROOT / "pyproject.toml", target)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--parallel=2"]
    subprocess.run(command, cwd=target, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile the hot path of invproxy to C.")
    parser.add_argument("target", type=Path, help="a folder, which is made anew")
    parser.add_argument("--wheel", action="store_true", help="make a wheel in dist/, too")
    options = parser.parse_args()
    copy(options.target)
    compile_(options.target)
    if options.wheel:
        command = [
            sys.executable,
            "setup.py",
            "-q",
            "bdist_wheel",
            "--dist-dir",
            str(ROOT / "dist"),
        ]
        subprocess.run(command, cwd=options.target, check=True)


if __name__ == "__main__":
    main()
