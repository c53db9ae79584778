"""
C{tools/compile.py}: which modules it compiles, and how it rewrites them.
"""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import invproxy

TOOL = Path(invproxy.__file__).parent.parent / "tools" / "compile.py"


class CompileTests(SynchronousTestCase):
    """
    What can be told without a compiler; C{make test-compiled} runs the tests of what it makes.
    """

    def setUp(self) -> None:
        if not TOOL.exists():
            self.skipTest("tools/compile.py is not here: this is no checkout")
        self.tool = runpy.run_path(str(TOOL))

    def test_modules(self) -> None:
        """
        All modules that it compiles are there.
        """
        for name in self.tool["HOT"].split():
            self.assertTrue((TOOL.parent.parent / "invproxy" / f"{name}.py").exists(), name)

    def test_adapt(self) -> None:
        """
        Interfaces are declared behind the class instead of before it, and nothing else is changed.
        """
        source = (
            "from zope.interface import implementer\n\n\n"
            "@implementer(\n    IOne,\n    ITwo,\n)\nclass Both(Base):\n    pass\n\n\n"
            "@implementer(IOne)\nclass One:\n    pass\n"
        )
        self.assertEqual(
            self.tool["adapt"](source),
            "# mypy: disable-error-code=arg-type\n"
            "from zope.interface import classImplements\n\n\n"
            "class Both(Base):\n    pass\n\n\n"
            "class One:\n    pass\n"
            "\n\nclassImplements(Both, \n    IOne,\n    ITwo,\n)\n"
            "\n\nclassImplements(One, IOne)\n",
        )

    def test_allDeclared(self) -> None:
        """
        No decorator of interfaces is left in any module that is compiled.
        """
        for name in self.tool["HOT"].split():
            source = (TOOL.parent.parent / "invproxy" / f"{name}.py").read_text()
            adapted = self.tool["adapt"](source)
            self.assertNotIn("@implementer", adapted, name)
            self.assertEqual(source.count("@implementer("), adapted.count("classImplements("), name)

    def test_slices(self) -> None:
        """
        No bound of a slice has a call with an effect: compiled, it would have that twice.
        """
        for name in self.tool["HOT"].split():
            tree = ast.parse((TOOL.parent.parent / "invproxy" / f"{name}.py").read_text())
            bounds = [
                bound
                for node in ast.walk(tree)
                if isinstance(node, ast.Slice)
                for bound in (node.lower, node.upper)
                if bound is not None
            ]
            called = {
                ast.unparse(node.func)
                for bound in bounds
                for node in ast.walk(bound)
                if isinstance(node, ast.Call)
            }
            self.assertLessEqual(called, {"len", "max", "min"}, name)

    def test_weak(self) -> None:
        """
        Nothing refers to anything weakly: compiled, it would crash when that ends.
        """
        package = TOOL.parent.parent / "invproxy"
        users = [
            str(path.relative_to(package))
            for path in package.rglob("*.py")
            if "test" not in path.relative_to(package).parts and "weakref" in path.read_text()
        ]
        self.assertEqual(users, [])

    def test_errors(self) -> None:
        """
        No function has one name for two kinds of errors: compiled, the second would have to be of the first kind.
        """
        for name in self.tool["HOT"].split():
            tree = ast.parse((TOOL.parent.parent / "invproxy" / f"{name}.py").read_text())
            for function in ast.walk(tree):
                if not isinstance(function, ast.FunctionDef):
                    continue
                kinds: dict[str, set[str]] = {}
                for node in ast.walk(function):
                    if isinstance(node, ast.ExceptHandler) and node.name and node.type:
                        kinds.setdefault(node.name, set()).add(ast.unparse(node.type))
                for bound, found in kinds.items():
                    self.assertEqual(len(found), 1, f"{name}, {function.name}: {bound}")
