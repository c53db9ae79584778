"""
Tests for what tells a soak run that something is left.
"""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from invproxy.http1 import lines
from invproxy.proxy.public import Identifiers
from soak.memory import Course
from soak.program import FIRED, count
from soak.totals import CACHES, Totals


class _Plain:
    """
    A class whose tables are in a dictionary; it passes for one of ours.
    """

    __module__ = "invproxy.plain"

    def __init__(self) -> None:
        self.table = [1, 2, 3]


class CountTests(SynchronousTestCase):
    """
    L{count}.
    """

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.before = self.count()

    def count(self) -> dict[str, int]:
        told = count(self.reactor)
        return {"timers": told["timers"], **told["objects"], **told["tables"]}

    def assertGrown(self, name: str, by: int) -> None:
        self.assertEqual(self.count().get(name, 0) - self.before.get(name, 0), by, name)

    def test_objects(self) -> None:
        """
        Objects of our classes and of Twisted's.
        """
        kept = [_Plain(), _Plain(), Clock()]
        self.assertGrown("invproxy.plain._Plain", 2)
        self.assertGrown("twisted.internet.task.Clock", 1)
        del kept

    def test_tables(self) -> None:
        """
        The entries of tables in dictionaries, in slots and in modules.
        """
        kept = _Plain()
        self.assertGrown("invproxy.plain._Plain.table", 3)
        identifiers = Identifiers()
        identifiers.draw()
        self.assertGrown("invproxy.proxy.public.Identifiers._drawn", 63)
        self.addCleanup(lambda: vars(lines).pop("_left", None))
        vars(lines)["_left"] = dict.fromkeys(range(5))
        self.assertGrown("invproxy.http1.lines._left", 5)
        del kept

    def test_timers(self) -> None:
        """
        Timers that are not cancelled.
        """
        self.reactor.callLater(1, lambda: None)
        self.reactor.callLater(1, lambda: None).cancel()
        self.assertGrown("timers", 1)

    def test_deferreds(self) -> None:
        """
        Deferreds that wait are told from those that have fired.
        """
        waiting, fired = Deferred[None](), [Deferred[None](), Deferred[None]()]
        for each in fired:
            each.callback(None)
        self.assertGrown("twisted.internet.defer.Deferred", 1)
        self.assertGrown(FIRED, 2)
        del waiting


def _totals(**numbers: int) -> Totals:
    told = {"timers": 1, "readers": 2, "writers": 0, "files": 3, "objects": {}, "tables": numbers}
    return Totals.of(told)


class TotalsTests(SynchronousTestCase):
    """
    L{Totals}.
    """

    def test_growth(self) -> None:
        """
        One more of anything, and anything new; fewer is fine.
        """
        before, after = _totals(same=3, more=1, fewer=2), _totals(same=3, more=2, fewer=1, new=1)
        self.assertEqual(after.growth(before), {"tables: more": (1, 2), "tables: new": (0, 1)})

    def test_caches(self) -> None:
        """
        Caches may grow, up to their bounds.
        """
        name = "invproxy.http1.lines._known"
        most = CACHES[f"tables: {name}"]
        full, over = _totals(**{name: most}), _totals(**{name: most + 1})
        self.assertEqual(full.growth(_totals()), {})
        self.assertEqual(full.overfull(), {})
        self.assertEqual(over.overfull(), {f"tables: {name}": most + 1})


class CourseTests(SynchronousTestCase):
    """
    L{Course}.
    """

    def test_growth(self) -> None:
        """
        The level is a median, so that a moment in which passwords are checked is none; what grows has a slope.
        """
        samples = [(float(at), 1000 + 10 * at) for at in range(100)]
        samples[98] = (98.0, 100_000)
        course = Course("proxy", samples, warm=1000, since=-1.0)
        self.assertEqual(course.level(), 1970)
        self.assertEqual(course.most(), 100_000)
        self.assertAlmostEqual(course.growth(), 0.97)
        self.assertAlmostEqual(course.slope() or 0.0, 10.0)
        del samples[49:]
        self.assertIsNone(course.slope())
