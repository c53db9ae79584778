"""
Fuzz one target, with the arguments of libFuzzer: C{python -m fuzz.child TARGET ARGUMENT...}.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["invproxy.http1", "invproxy.wire"]):
    from invproxy.test.hostile.fuzzing import TARGETS


def main(arguments: list[str]) -> None:
    """
    Fuzz until libFuzzer ends the process.
    """
    target = TARGETS[arguments[1]]
    atheris.Setup([arguments[0], *arguments[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
