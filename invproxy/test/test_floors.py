"""
The floors of the architecture: imports go down only, and the lowest floor knows nothing of Twisted.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

import invproxy

ROOT = Path(invproxy.__file__).parent

FLOORS = (
    # 0: pure; bytes in, events out, bytes out.
    (
        "invproxy",
        "credential",
        "descriptions",
        "errors",
        "errorpage",
        "page",
        "process",
        "tables",
        "units",
        "files",
        "http1.*",
        "wire.*",
        "registry",
        "registry.records",
        "registry.routes",
        "registry.changes",
    ),
    # 1: contracts.
    ("interfaces",),
    # 2: state, with the clock injected and no sockets.
    (
        "deadlines",
        "steady",
        "discard",
        "losses",
        "passing",
        "refusals",
        "clocks",
        "requestbody",
        "exchange",
        "mailbox",
        "census",
        "metrics",
        "routing",
        "registry.memory",
        "registry.sqlite",
        "registry.uses",
        "registry.loading",
        "registry.turns",
        "trust",
        "registry.registry",
        "auth.*",
    ),
    # 3: input and output.
    ("turn", "transport", "server.*", "client.*", "resources.*", "tunnel.*"),
    # 4: the two roles.
    ("proxy.*", "agent.*", "admin.*"),
    # 5: assembly.
    (
        "descriptors",
        "parsers",
        "options",
        "urls",
        "endpoints",
        "access_options",
        "bound_options",
        "accesslog",
        "lifecycle",
        "maker",
        "visitor_options",
        "issuer_options",
        "server_tap",
        "agent_tap",
        "cli.*",
        "testing.*",
    ),
)
"""
The modules of each floor, lowest first, by their names below C{invproxy}; C{name.*} is a package
and all that is in it.
"""

MAY_IMPORT_THE_REACTOR = ("server_tap", "agent_tap")

PURE = 0
ROLES = {"proxy", "agent"}


def floorOf(module: str) -> int | None:
    """
    On which floor a module stands, or L{None} when L{FLOORS} does not say.

    @param module: its full name.
    """
    parts = module.split(".")[1:] or ["invproxy"]
    names = {".".join(parts), f"{parts[0]}.*"}
    for number, floor in enumerate(FLOORS):
        if names & set(floor):
            return number
    return None


@frozen
class Import:
    """
    One module named by an import statement.

    @ivar importer: full name of the module that has the statement.
    @ivar imported: full name of what it imports.
    @ivar line: where.
    """

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: imports {self.imported}"


def modules(root: Path) -> dict[str, Path]:
    """
    All modules of a package but its tests: files by full names.
    """
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if parts[1:2] != ("test",):
            found[".".join(parts)] = path
    return found


def importsOf(module: str, source: str, isPackage: bool = False) -> Iterator[Import]:
    """
    All imports of a module: those in functions and those for type checkers too.

    C{from a import b} counts as C{a.b} as well as C{a}, as C{b} may be a module.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = node.level - 1 if isPackage else node.level
                package = module.split(".")[: -up or None]
                base = ".".join([*package, *filter(None, [node.module])])
            yield Import(module, base, node.lineno)
            for alias in node.names:
                yield Import(module, f"{base}.{alias.name}", node.lineno)


def isWithin(name: str, package: str) -> bool:
    """
    Is the name that of the package, or of something in it?
    """
    return name == package or name.startswith(f"{package}.")


def faultOf(statement: Import, known: set[str]) -> str | None:
    """
    What rule an import breaks, if any.

    @param known: full names of all modules of the package.
    """
    importer, imported = statement.importer, statement.imported
    floor = floorOf(importer)
    if floor is None:
        return None  # Reported by a test of its own.
    if isWithin(imported, "twisted.internet.reactor"):
        allowed = {f"invproxy.{name}" for name in MAY_IMPORT_THE_REACTOR}
        return None if importer in allowed else "the reactor is a constructor argument here"
    if floor == PURE and isWithin(imported, "twisted"):
        return "a pure module imports nothing of Twisted"
    if isWithin(imported, "invproxy.test"):
        return "tests are imported by tests alone"
    if imported not in known or imported == "invproxy":
        return None
    target = floorOf(imported)
    if target is None:
        return None
    if target > floor:
        return f"floor {floor} imports floor {target}, imports go down only"
    if {importer.split(".")[1], imported.split(".")[1]} == ROLES:
        return "proxy and agent never import each other"
    return None


class FloorsTests(SynchronousTestCase):
    """
    The modules as they are.
    """

    def setUp(self) -> None:
        self.modules = modules(ROOT)
        self.imports = [
            statement
            for name, path in self.modules.items()
            for statement in importsOf(
                name, path.read_text(encoding="utf-8"), path.name == "__init__.py"
            )
        ]

    def test_everyModuleHasAFloor(self) -> None:
        """
        Each module is listed in L{FLOORS}, so that whoever adds one decides where it stands.
        """
        unlisted = [name for name in self.modules if floorOf(name) is None]
        if unlisted:
            self.fail(f"{', '.join(unlisted)}: on no floor yet, add it to FLOORS in {__file__}")

    def test_importsGoDown(self) -> None:
        """
        No import breaks a rule of the floors.
        """
        known = set(self.modules)
        faults = [
            f"{statement}: {fault}"
            for statement in self.imports
            if (fault := faultOf(statement, known))
        ]
        if faults:
            self.fail("\n".join(faults))


class RulesTests(SynchronousTestCase):
    """
    The rules notice what they are for.
    """

    def assertFault(self, module: str, source: str, fault: str | None) -> None:
        known = {"invproxy", "invproxy.errors", "invproxy.mailbox", "invproxy.client"}
        known |= {"invproxy.agent", "invproxy.agent.poll", "invproxy.proxy.root"}
        found = [faultOf(each, known) for each in importsOf(module, source)]
        faults = {each for each in found if each is not None}
        self.assertEqual(faults, set() if fault is None else {fault})

    def test_allowed(self) -> None:
        """
        Imports of lower floors, of the same floor, and of a value from the package's root.
        """
        self.assertFault("invproxy.client", "from invproxy import __version__, errors", None)
        self.assertFault("invproxy.exchange", "import invproxy.mailbox", None)
        self.assertFault("invproxy.agent.service", "from invproxy.agent.poll import Poll", None)
        self.assertFault("invproxy.server_tap", "from twisted.internet import reactor", None)

    def test_up(self) -> None:
        """
        An import of a higher floor, in each way of writing it.
        """
        for source in (
            "import invproxy.client",
            "from invproxy import client",
            "from invproxy.client import Client",
            "from . import client",
            "from .client import Client",
            "def f():\n    from invproxy.client import Client",
        ):
            self.assertFault(
                "invproxy.mailbox", source, "floor 2 imports floor 3, imports go down only"
            )

    def test_pure(self) -> None:
        """
        Twisted on the lowest floor.
        """
        fault = "a pure module imports nothing of Twisted"
        self.assertFault("invproxy.wire.poll", "from twisted.python import log", fault)
        self.assertFault("invproxy.errors", "import twisted", fault)

    def test_roles(self) -> None:
        """
        One role in the other.
        """
        fault = "proxy and agent never import each other"
        self.assertFault("invproxy.proxy.root", "from invproxy.agent import poll", fault)
        self.assertFault("invproxy.agent.poll", "import invproxy.proxy.root", fault)

    def test_reactor(self) -> None:
        """
        The global reactor, even within a function.
        """
        fault = "the reactor is a constructor argument here"
        self.assertFault("invproxy.client", "import twisted.internet.reactor", fault)
        self.assertFault(
            "invproxy.testing", "def f():\n    from twisted.internet import reactor", fault
        )

    def test_tests(self) -> None:
        """
        A test module's helpers in the library.
        """
        fault = "tests are imported by tests alone"
        self.assertFault("invproxy.testing", "from invproxy.test.helpers import x", fault)

    def test_unlisted(self) -> None:
        """
        A module that nobody listed stands on no floor.
        """
        self.assertIsNone(floorOf("invproxy.novelty"))
        self.assertEqual(floorOf("invproxy.http1.heads"), 0)
        self.assertEqual(floorOf("invproxy"), 0)
