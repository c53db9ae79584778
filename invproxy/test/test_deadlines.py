"""
Deadlines by the thousand.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from invproxy.deadlines import Deadlines
from invproxy.test.messages import examples


class Watched:
    """
    Writes down when it is asked.
    """

    def __init__(self, clock: Clock, answer: Callable[[float], float] = lambda now: 0.0) -> None:
        self.askedAt = 0.0
        self.asked: list[float] = []
        self._clock = clock
        self._answer = answer

    def checkDeadline(self, now: float) -> float:
        assert now == self._clock.seconds()
        self.asked.append(now)
        return self._answer(now)


class DeadlinesTests(SynchronousTestCase):
    """
    L{Deadlines}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.1)
        self.deadlines = Deadlines(self.clock, 0.25)

    def run_(self, seconds: float) -> None:
        self.clock.pump([0.01] * int(seconds * 100))

    def test_asked(self) -> None:
        """
        Once, not early, and at most one resolution late.
        """
        for wait in (0.01, 0.24, 0.25, 0.26, 1.0, 7.77):
            watched = Watched(self.clock)
            when = self.clock.seconds() + wait
            self.deadlines.watch(watched, when)
            self.run_(wait + 1)
            (asked,) = watched.asked
            self.assertGreaterEqual(asked, when)
            self.assertLessEqual(asked, when + 0.25 + 0.011)
            self.assertEqual(watched.askedAt, 0)

    @examples(100)
    @given(st.floats(1, 2e9), st.lists(st.floats(0.0, 20.0), min_size=1), st.floats(0.05, 3.0))
    def test_always(self, start: float, waits: list[float], resolution: float) -> None:
        """
        So it is for any times.
        """
        clock = Clock()
        clock.advance(start)
        deadlines = Deadlines(clock, resolution)
        all = [(Watched(clock), start + wait) for wait in waits]
        for watched, when in all:
            deadlines.watch(watched, when)
        calls = 0
        while pending := clock.getDelayedCalls():
            clock.advance(pending[0].getTime() - clock.seconds())
            calls += 1
            self.assertLess(calls, 3000)
        for watched, when in all:
            (asked,) = watched.asked
            self.assertGreaterEqual(asked, when - 1e-6)
            self.assertLessEqual(asked, when + 1.011 * resolution + 1e-6)

    def test_again(self) -> None:
        """
        It is asked again when it says so.
        """
        watched = Watched(self.clock, lambda now: now + 2 if now < 1005 else 0.0)
        self.deadlines.watch(watched, 1001.0)
        self.run_(20)
        self.assertEqual(len(watched.asked), 3)

    def test_alreadyPassed(self) -> None:
        """
        A deadline in the past is asked about soon, and does not stop the clock.
        """
        watched = Watched(self.clock, lambda now: now - 5 if now < 1001 else 0.0)
        self.deadlines.watch(watched, 999.0)
        self.run_(2)
        self.assertIn(len(watched.asked), (4, 5))

    def test_earliestCounts(self) -> None:
        """
        A later deadline changes nothing, an earlier one does.
        """
        watched = Watched(self.clock)
        self.deadlines.watch(watched, 1005.0)
        self.deadlines.watch(watched, 1010.0)
        self.deadlines.watch(watched, 1002.0)
        self.run_(3)
        self.assertEqual(len(watched.asked), 1)
        self.run_(20)
        self.assertEqual(len(watched.asked), 1)

    def test_forget(self) -> None:
        """
        What is forgotten is not asked, and not kept.
        """
        watched = Watched(self.clock)
        gone = weakref.ref(watched)
        self.deadlines.watch(watched, 1300.0)
        self.deadlines.watch(watched, 1002.0)
        self.deadlines.forget(watched)
        self.deadlines.forget(watched)
        self.assertEqual(watched.asked, [])
        del watched
        gc.collect()
        self.assertIsNone(gone())
        self.run_(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_forgetAndWatch(self) -> None:
        """
        After that it may be watched anew.
        """
        watched = Watched(self.clock)
        self.deadlines.watch(watched, 1001.0)
        self.deadlines.forget(watched)
        self.deadlines.watch(watched, 1003.0)
        self.run_(2)
        self.assertEqual(watched.asked, [])
        self.run_(2)
        self.assertEqual(len(watched.asked), 1)

    def test_endedByNeighbour(self) -> None:
        """
        One that ends another in the same slot spares it.
        """
        second = Watched(self.clock)

        def endSecond(now: float) -> float:
            self.deadlines.forget(second)
            return 0.0

        first = Watched(self.clock, endSecond)
        self.deadlines.watch(first, 1001.0)
        self.deadlines.watch(second, 1001.0)
        self.run_(5)
        self.assertEqual((len(first.asked), len(second.asked)), (1, 0))

    def test_movedByNeighbour(self) -> None:
        """
        One that is moved by another in the same slot is asked at its new time alone.
        """
        second = Watched(self.clock)

        def moveSecond(now: float) -> float:
            self.deadlines.forget(second)
            self.deadlines.watch(second, 1003.0)
            return 0.0

        first = Watched(self.clock, moveSecond)
        self.deadlines.watch(first, 1001.0)
        self.deadlines.watch(second, 1001.0)
        self.run_(5)
        (asked,) = second.asked
        self.assertGreaterEqual(asked, 1003.0)

    def test_raises(self) -> None:
        """
        One that raises is logged, and takes nobody with it.
        """

        def fail(now: float) -> float:
            raise RuntimeError("no")

        first, second = Watched(self.clock, fail), Watched(self.clock)
        self.deadlines.watch(first, 1001.0)
        self.deadlines.watch(second, 1001.0)
        later = Watched(self.clock)
        self.deadlines.watch(later, 1002.0)
        self.run_(3)
        self.assertEqual((len(second.asked), len(later.asked)), (1, 1))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_quiet(self) -> None:
        """
        Nothing is scheduled while nothing is watched.
        """
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadlines.watch(Watched(self.clock), 1001.0)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.run_(2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_jump(self) -> None:
        """
        A clock that jumps far ahead asks all of them once, the earliest first.
        """
        order: list[int] = []

        def note(number: int, now: float) -> float:
            order.append(number)
            return 0.0

        for number in (3, 1, 2):
            watched = Watched(self.clock, partial(note, number))
            self.deadlines.watch(watched, 1000.0 + number)
        self.clock.advance(3600)
        self.assertEqual(order, [1, 2, 3])

    def test_stop(self) -> None:
        """
        After L{Deadlines.stop} nobody is asked; it may begin anew.
        """
        watched = Watched(self.clock)
        self.deadlines.watch(watched, 1001.0)
        self.deadlines.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadlines.watch(watched, 1002.0)
        self.run_(3)
        self.assertEqual(len(watched.asked), 1)
