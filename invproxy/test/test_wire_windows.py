"""
Windows: when credit is given, when a window grows, and that no sequence of events breaks the bounds or stops a sender.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from invproxy.wire.frames import FrameError
from invproxy.wire.windows import EXTRA, INITIAL, LARGEST, Budget, Window

SIZE = 4096
QUARTER = SIZE // 4


class Sender:
    """
    The other end of a window: sends what it may, and takes credit.

    @ivar window: the window.
    @ivar credit: bytes that may be sent.
    @ivar sent: bytes that were sent in all.
    @ivar given: credit that was given in all.
    @ivar now: the present time.
    """

    def __init__(self, window: Window, now: float = 1000.0) -> None:
        self.window = window
        self.credit = window.size
        self.sent = 0
        self.given = 0
        self.now = now

    def send(self, size: int, *, isHeld: bool = False) -> int:
        """
        Send and have it passed on at once.

        @return: the credit that this gave.
        """
        self.credit -= size
        self.sent += size
        self.window.receive(size)
        return self.take(self.window.consume(size, self.now, isHeld=isHeld))

    def take(self, credit: int) -> int:
        """
        Take credit.
        """
        self.credit += credit
        self.given += credit
        return credit

    def use(self, seconds: float, times: int = 1) -> None:
        """
        Use up whole windows of the present size, each in so many seconds.
        """
        for _ in range(times):
            size = self.window.size
            for _ in range(4):
                self.now += seconds / 4
                self.send(size // 4)


class WindowTests(SynchronousTestCase):
    """
    L{Window} and L{Budget}.
    """

    def window(self, roundTrip: float = 0.0, left: int = EXTRA, size: int = SIZE) -> Sender:
        self.budget = Budget(left)
        self.budget.roundTrip = roundTrip
        return Sender(Window(self.budget, size))

    def test_defaults(self) -> None:
        """
        The sizes that the HELLO and the documentation name.
        """
        window = Window(Budget())
        self.assertEqual((window.size, INITIAL), (262144, 262144))
        self.assertEqual(Budget().left, EXTRA)
        self.assertGreater(LARGEST, INITIAL)

    def test_byQuarters(self) -> None:
        """
        Credit is given back once a quarter has been passed on, and all of that at once.
        """
        sender = self.window()
        self.assertEqual(sender.send(QUARTER - 1), 0)
        self.assertEqual(sender.send(1), QUARTER)
        self.assertEqual(sender.send(QUARTER + 5), QUARTER + 5)
        for _ in range(QUARTER - 1):
            self.assertEqual(sender.send(1), 0)
        self.assertEqual(sender.send(1), QUARTER)
        self.assertEqual(sender.send(SIZE), SIZE)
        self.assertEqual(sender.credit, SIZE)

    def test_oddSize(self) -> None:
        """
        A quarter of a size that four does not divide is not less than a quarter.
        """
        sender = self.window(size=1027)
        self.assertEqual(sender.send(256), 0)
        self.assertEqual(sender.send(1), 257)

    def test_nothing(self) -> None:
        """
        Nothing that came gives nothing back.
        """
        sender = self.window()
        self.assertEqual([sender.send(0) for _ in range(10)], [0] * 10)

    def test_held(self) -> None:
        """
        While it is held nothing is given, and after one window the sender stops; when it is not held any more, all
        comes back.
        """
        sender = self.window()
        for _ in range(4):
            self.assertEqual(sender.send(QUARTER, isHeld=True), 0)
        self.assertEqual(sender.credit, 0)
        self.assertEqual(sender.window.consume(0, sender.now, isHeld=True), 0)
        self.assertEqual(sender.take(sender.window.consume(0, sender.now)), SIZE)

    def test_heldALittle(self) -> None:
        """
        What was held and is less than a quarter waits for more: the sender has the rest of its window.
        """
        sender = self.window()
        sender.send(QUARTER - 1, isHeld=True)
        self.assertEqual(sender.window.consume(0, sender.now), 0)
        self.assertEqual(sender.send(1), QUARTER)

    def test_overrun(self) -> None:
        """
        A byte more than there was credit for breaks the protocol.
        """
        window = Window(Budget(), SIZE)
        window.receive(SIZE)
        error = self.assertRaises(FrameError, window.receive, 1)
        self.assertIn("credit", str(error))

    def test_overrunAtOnce(self) -> None:
        """
        Also in one piece, and also after credit was given.
        """
        self.assertRaises(FrameError, Window(Budget(), SIZE).receive, SIZE + 1)
        sender = self.window()
        sender.send(QUARTER)
        sender.window.receive(SIZE)
        self.assertRaises(FrameError, sender.window.receive, 1)

    def test_notConsumed(self) -> None:
        """
        What came but was not passed on gives no credit.
        """
        window = Window(Budget(), SIZE)
        window.receive(SIZE)
        self.assertEqual(window.consume(QUARTER, 1.0), QUARTER)
        window.receive(QUARTER)
        self.assertRaises(FrameError, window.receive, 1)

    def test_doubles(self) -> None:
        """
        A window that is used up in less than two round trips doubles, and again, and the growth comes as credit.
        """
        sender = self.window(roundTrip=0.1)
        sender.use(0.1)  # what came first says nothing
        self.assertEqual(sender.window.size, SIZE)
        sizes = []
        for _ in range(6):
            sender.use(0.1)
            sizes.append(sender.window.size)
        self.assertEqual(sizes[-1], max(sizes))
        self.assertGreaterEqual(sizes[-1], 16 * SIZE)
        self.assertTrue(all(size & (size - 1) == 0 for size in sizes), sizes)
        self.assertEqual(sender.credit, sender.window.size)
        self.assertEqual(sender.given, sender.sent + sender.window.size - SIZE)
        self.assertEqual(self.budget.left, EXTRA - (sender.window.size - SIZE))

    def test_notByAFastShortWay(self) -> None:
        """
        One that takes two round trips or more to be used up does not grow.
        """
        for seconds in (0.201, 0.25, 1.0, 100.0):
            sender = self.window(roundTrip=0.1)
            sender.use(seconds, times=20)
            self.assertEqual(sender.window.size, SIZE, seconds)
            self.assertEqual(self.budget.left, EXTRA)

    def test_notBeforeAPing(self) -> None:
        """
        Before a round trip was measured, nothing grows.
        """
        sender = self.window(roundTrip=0.0)
        sender.use(0.000001, times=50)
        sender.use(0.0, times=50)
        self.assertEqual(sender.window.size, SIZE)

    def test_notByPartOfAWindow(self) -> None:
        """
        Three quarters in no time, and then a wait, are no reason to grow.
        """
        sender = self.window(roundTrip=0.1)
        sender.send(QUARTER)
        for _ in range(20):
            for _ in range(3):
                sender.send(QUARTER)
            sender.now += 5.0
            sender.send(QUARTER)
        self.assertEqual(sender.window.size, SIZE)

    def test_notWhenHeld(self) -> None:
        """
        Nor is a receiver that is slow: once it was held, the measure begins anew.
        """
        sender = self.window(roundTrip=0.1)
        for _ in range(50):
            sender.now += 0.01
            for _ in range(3):
                sender.send(QUARTER)
            sender.send(QUARTER, isHeld=True)
            sender.take(sender.window.consume(0, sender.now))
        self.assertEqual(sender.window.size, SIZE)

    def test_largest(self) -> None:
        """
        It grows to L{LARGEST} and no further, also if that is no power of two times its size.
        """
        for size in (INITIAL, 1024, 1000003):
            sender = self.window(roundTrip=0.1, size=size)
            sender.use(0.0, times=100)
            self.assertEqual(sender.window.size, LARGEST)
            self.assertEqual(self.budget.left, EXTRA - (LARGEST - size))
            self.assertEqual(sender.given, sender.sent + LARGEST - size)

    def test_largerThanLargest(self) -> None:
        """
        A window that was granted with L{LARGEST} or more stays as it is: credit is never taken back.
        """
        for size in (LARGEST, LARGEST + 4):
            sender = self.window(roundTrip=0.1, size=size)
            sender.use(0.0, times=4)
            self.assertEqual(sender.window.size, size)
            self.assertEqual(self.budget.left, EXTRA)

    def test_budget(self) -> None:
        """
        All windows of a tunnel share one budget; what is left of it is used up to the last byte, and no more.
        """
        budget = Budget(10 * SIZE + 3)
        budget.roundTrip = 0.1
        senders = [Sender(Window(budget, SIZE)) for _ in range(8)]
        for _ in range(20):
            for sender in senders:
                sender.use(0.0)
        self.assertEqual(budget.left, 0)
        grown = sum(sender.window.size - SIZE for sender in senders)
        self.assertEqual(grown, 10 * SIZE + 3)
        for sender in senders:
            sender.window.close()
        self.assertEqual(budget.left, 10 * SIZE + 3)

    def test_closeGivesBack(self) -> None:
        """
        A stream that is over gives back what its window has grown by, once.
        """
        sender = self.window(roundTrip=0.1)
        sender.use(0.0, times=5)
        self.assertLess(self.budget.left, EXTRA)
        sender.window.close()
        self.assertEqual(self.budget.left, EXTRA)
        sender.window.close()
        self.assertEqual(self.budget.left, EXTRA)

    def test_emptyBudget(self) -> None:
        """
        Without budget, a window works with the size that it has.
        """
        sender = self.window(roundTrip=0.1, left=0)
        sender.use(0.0, times=20)
        self.assertEqual((sender.window.size, sender.credit), (SIZE, SIZE))

    def test_growsUpToTheWay(self) -> None:
        """
        Over a way of 50 ms and 100 Mbit/s a window grows until it no longer limits the stream, and stops at a small
        multiple of what fits on the way.
        """
        rate, roundTrip = 12_500_000.0, 0.05
        sender = self.window(roundTrip=roundTrip, size=INITIAL)
        # Each byte that is sent comes after half a round trip, its credit after another half.
        arrives: list[tuple[float, int]] = []
        credits: list[tuple[float, int]] = []
        now = free = 1000.0
        credit, step = INITIAL, 16384
        while now < 1010.0:
            now += 0.001
            while credits and credits[0][0] <= now:
                credit += credits.pop(0)[1]
            while credit >= step and free <= now:
                free = max(free, now - 0.001) + step / rate
                credit -= step
                arrives.append((free + roundTrip / 2, step))
            while arrives and arrives[0][0] <= now:
                size = arrives.pop(0)[1]
                sender.window.receive(size)
                given = sender.window.consume(size, now)
                if given:
                    credits.append((now + roundTrip / 2, given))
        product = rate * roundTrip
        self.assertGreaterEqual(sender.window.size, product)
        self.assertLessEqual(sender.window.size, 8 * product)


class AnyWindow(RuleBasedStateMachine):
    """
    Three windows of one budget, whose bytes come, are passed on and are held in any order.
    """

    COUNT = 3

    @initialize(
        size=st.sampled_from([1024, 4096, 5001, INITIAL]),
        budget=st.sampled_from([0, 1, 10_000, EXTRA]),
    )
    def begin(self, size: int, budget: int) -> None:
        self.size = size
        self.whole = budget
        self.budget = Budget(budget)
        self.windows = [Window(self.budget, size) for _ in range(self.COUNT)]
        self.credit = [size] * self.COUNT
        self.waiting = [0] * self.COUNT  # came, and was not passed on yet
        self.consumed = [0] * self.COUNT
        self.given = [0] * self.COUNT
        self.closed = [False] * self.COUNT
        self.now = 1000.0

    which = st.integers(0, COUNT - 1)
    parts = st.sampled_from([0.0, 0.001, 0.1, 0.25, 0.26, 0.5, 1.0])

    @rule(which=which, part=parts)
    def send(self, which: int, part: float) -> None:
        size = int(self.credit[which] * part)
        if not self.closed[which]:
            self.windows[which].receive(size)
            self.credit[which] -= size
            self.waiting[which] += size

    @rule(which=which, part=parts, isHeld=st.booleans())
    def consume(self, which: int, part: float, isHeld: bool) -> None:
        if self.closed[which]:
            return
        size = int(self.waiting[which] * part)
        self.waiting[which] -= size
        self.consumed[which] += size
        credit = self.windows[which].consume(size, self.now, isHeld=isHeld)
        assert credit >= 0
        assert not (isHeld and credit)
        self.credit[which] += credit
        self.given[which] += credit

    @rule(which=which, times=st.integers(1, 12), seconds=st.sampled_from([0.0, 0.01, 0.04, 0.5]))
    def stream(self, which: int, times: int, seconds: float) -> None:
        for _ in range(times):
            self.send(which, 0.5)
            self.consume(which, 1.0, False)
            self.now += seconds

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.05, 0.2, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.05, 1.0]))
    def measure(self, seconds: float) -> None:
        self.budget.roundTrip = seconds

    @rule(which=which)
    def overrun(self, which: int) -> None:
        if self.closed[which]:
            return
        before = self.windows[which]._left
        try:
            self.windows[which].receive(self.credit[which] + 1)
        except FrameError:
            self.windows[which]._left = before
        else:
            raise AssertionError("more than there was credit for was taken")

    @rule(which=which)
    def close(self, which: int) -> None:
        self.windows[which].close()
        self.closed[which] = True

    @invariant()
    def creditIsBounded(self) -> None:
        for number, window in enumerate(self.windows):
            assert self.size <= window.size <= max(LARGEST, self.size)
            growth = window.size - self.size
            assert self.given[number] <= self.consumed[number] + growth
            assert self.credit[number] + self.waiting[number] <= window.size

    @invariant()
    def senderCanGoOn(self) -> None:
        for number, window in enumerate(self.windows):
            if not self.closed[number] and not self.waiting[number]:
                # All was passed on; once it is not held, there is credit for most of the window.
                owed = window._owed
                assert self.credit[number] == window.size - owed
                if owed * 4 < window.size:
                    assert self.credit[number] * 4 > window.size * 3 - 4

    @rule(which=which)
    def release(self, which: int) -> None:
        self.consume(which, 1.0, False)
        assert self.closed[which] or self.credit[which] > 0

    @invariant()
    def budgetIsKept(self) -> None:
        grown = sum(
            window.size - self.size
            for window, closed in zip(self.windows, self.closed, strict=True)
            if not closed
        )
        assert self.budget.left == self.whole - grown
        assert 0 <= self.budget.left <= self.whole


class AnyWindowTests(SynchronousTestCase):
    """
    L{AnyWindow} breaks no invariant.
    """

    def test_anything(self) -> None:
        """
        Credit is bounded, senders can go on, and the budget is kept, whatever happens.
        """
        run_state_machine_as_test(
            AnyWindow,
            settings=settings(max_examples=150, stateful_step_count=40, derandomize=True),
        )
