"""
The regular expressions of L{invproxy.http1}: what they must not contain.
"""

from __future__ import annotations

import re
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import invproxy.http1


def compiled() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """
    All expressions that the modules hold, with their names.
    """
    for module in iter_modules(invproxy.http1.__path__, "invproxy.http1."):
        for name, value in vars(import_module(module.name)).items():
            pattern = getattr(value, "__self__", value)
            if isinstance(pattern, re.Pattern):
                yield f"{module.name}.{name}", pattern


def repeated(tree: Any) -> Iterator[Any]:
    """
    All that is repeated possessively, at any depth.
    """
    for operation, argument in tree:
        if operation is parser.POSSESSIVE_REPEAT:
            yield argument[2]
        for part in argument if isinstance(argument, tuple | list) else ():
            for each in part if isinstance(part, list) else (part,):
                if isinstance(each, parser.SubPattern):
                    yield from repeated(each)


class PatternTests(SynchronousTestCase):
    """
    Python before 3.11.5, which Debian 12 has, loses its place when a group that is repeated possessively fails half
    way: C{(?:ab)*+a} does not match C{b"aba"}. An atomic group, C{(?>(?:ab)*)}, does the same and is right everywhere.
    """

    def test_noGroupIsPossessive(self) -> None:
        patterns = dict(compiled())
        self.assertGreater(len(patterns), 12)
        for name, pattern in patterns.items():
            for inner in repeated(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)):
                self.assertEqual(len(inner), 1, name)
                self.assertNotIn(inner[0][0], (parser.SUBPATTERN, parser.BRANCH), name)

    def test_found(self) -> None:
        """
        The search for them finds one.
        """
        found = [len(each) for each in repeated(parser.parse(rb"(x|(?:ab)*+)c[d]++"))]
        self.assertEqual(found, [2, 1])
