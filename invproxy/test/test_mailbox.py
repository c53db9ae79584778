"""
Mailboxes: who gets what, in which order, and who was seen when.
"""

from __future__ import annotations

from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from invproxy.errors import Fault
from invproxy.interfaces import IExchange, IMailbox
from invproxy.mailbox import Mailbox, Mailboxes
from invproxy.test.messages import examples


@implementer(IExchange)
@define(eq=False)
class Item:
    """
    What waits.
    """

    id: str = ""

    def claim(self, holder: object) -> None:
        """
        Nothing comes of it.
        """


class MailboxTests(SynchronousTestCase):
    """
    L{Mailbox}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.mailbox = Mailbox("web", self.clock, maxPending=5)

    def put(self, count: int = 1) -> list[Item]:
        items = [Item(str(number)) for number in range(count)]
        for item in items:
            self.mailbox.put(item)
        return items

    def test_interface(self) -> None:
        """
        It is an L{IMailbox}.
        """
        verifyObject(IMailbox, self.mailbox)

    def test_waiting(self) -> None:
        """
        What waits is handed out at once, in order, up to the limit.
        """
        items = self.put(4)
        self.assertEqual(self.successResultOf(self.mailbox.claim(3)), items[:3])
        self.assertEqual(self.successResultOf(self.mailbox.claim(3)), items[3:])
        self.assertEqual(self.mailbox.counts(), (0, 0))

    def test_waiters(self) -> None:
        """
        What comes goes to the waiter that has waited longest.
        """
        first, second = self.mailbox.claim(9), self.mailbox.claim(9)
        self.assertEqual(self.mailbox.counts(), (0, 2))
        self.assertTrue(self.mailbox.hasWaiters())
        one, two = self.put(2)
        self.assertEqual(self.successResultOf(first), [one])
        self.assertEqual(self.successResultOf(second), [two])
        self.assertFalse(self.mailbox.hasWaiters())

    def test_cancel(self) -> None:
        """
        Who stops waiting gets nothing and takes nothing.
        """
        claim = self.mailbox.claim(9)
        claim.cancel()
        self.failureResultOf(claim, CancelledError)
        (item,) = self.put()
        self.assertEqual(self.mailbox.counts(), (1, 0))
        self.assertEqual(self.successResultOf(self.mailbox.claim(9)), [item])

    def test_full(self) -> None:
        """
        Not more than allowed may wait; what came back counts, but is never refused.
        """
        items = self.put(5)
        fault = self.assertRaises(Fault, self.mailbox.put, Item())
        self.assertEqual(fault.code.name, "too-many-pending")
        taken = self.successResultOf(self.mailbox.claim(3))
        self.put(3)
        for item in taken:
            self.mailbox.requeue(item)
        self.assertEqual(self.mailbox.counts(), (8, 0))
        self.assertRaises(Fault, self.mailbox.put, Item())
        self.successResultOf(self.mailbox.claim(3))
        self.assertRaises(Fault, self.mailbox.put, Item())
        self.mailbox.withdraw(items[3])
        self.put(1)

    def test_fullWithWaiter(self) -> None:
        """
        Nothing is refused while somebody waits.
        """
        mailbox = Mailbox("web", self.clock, maxPending=1)
        claims = [mailbox.claim(1) for _ in range(3)]
        for claim in claims:
            mailbox.put(Item())
            self.successResultOf(claim)

    def test_requeue(self) -> None:
        """
        What comes back goes before what was never handed out, in the order in which it comes back.
        """
        one, two, three = self.put(3)
        self.successResultOf(self.mailbox.claim(2))
        self.mailbox.requeue(one)
        self.mailbox.requeue(two)
        self.assertEqual(self.successResultOf(self.mailbox.claim(9)), [one, two, three])

    def test_requeueToWaiter(self) -> None:
        """
        It goes to a waiter at once.
        """
        (item,) = self.put()
        self.successResultOf(self.mailbox.claim(1))
        claim = self.mailbox.claim(1)
        self.mailbox.requeue(item)
        self.assertEqual(self.successResultOf(claim), [item])

    def test_withdraw(self) -> None:
        """
        What is withdrawn is not handed out, wherever it stands; withdrawing what is not there changes nothing.
        """
        one, two, three = self.put(3)
        self.successResultOf(self.mailbox.claim(1))
        self.mailbox.requeue(one)
        for item in (two, one, one):
            self.mailbox.withdraw(item)
        self.assertEqual(self.successResultOf(self.mailbox.claim(9)), [three])

    def test_reentrant(self) -> None:
        """
        Who gets something may claim, put and cancel on the spot.
        """
        got: list[list[IExchange]] = []
        doomed: Deferred[list[IExchange]] = Deferred()

        def take(items: list[IExchange]) -> None:
            got.append(items)
            if len(got) == 1:
                doomed.cancel()
                self.mailbox.put(extra)
            if len(got) < 4:
                self.mailbox.claim(1).addCallback(take)

        extra = Item("extra")
        self.mailbox.claim(1).addCallback(take)
        doomed = self.mailbox.claim(1)
        items = self.put(2)
        self.failureResultOf(doomed, CancelledError)
        self.assertEqual(got, [[items[0]], [extra], [items[1]]])
        self.assertEqual(self.mailbox.counts(), (0, 1))

    @examples(100)
    @given(st.integers(0, 400), st.integers(1, 20), st.integers(1, 120))
    def test_shares(self, waiting: int, waiters: int, limit: int) -> None:
        """
        No waiter gets more than its share or its limit, and nothing is held back.
        """
        mailbox = Mailbox("web", self.clock, maxPending=1000)
        items = [Item() for _ in range(waiting)]
        for item in items:
            mailbox.put(item)
        taken: list[IExchange] = []
        for item in items:
            mailbox.withdraw(item)
        claims = [mailbox.claim(limit) for _ in range(waiters)]
        for item in items:
            mailbox.put(item)
        for claim in claims:
            if claim.called:
                got = self.successResultOf(claim)
                self.assertLessEqual(len(got), max(1, -(-waiting // waiters)))
                taken += got
        self.assertEqual(len(taken) + mailbox.counts()[0], waiting)
        self.assertEqual(len(set(map(id, taken))), len(taken))

    def test_shareOfABacklog(self) -> None:
        """
        When several wait and more comes than one at a time, they share.
        """
        mailbox = Mailbox("web", self.clock, maxPending=1000)
        first = mailbox.claim(100)
        got: list[int] = []

        def flood(_: object) -> None:
            # While the first is served, two more park and ten more items come.
            for _ in range(10):
                mailbox._queue.append(Item())
            for _ in range(2):
                claim = mailbox.claim(100)
                claim.addCallback(lambda items: got.append(len(items)))

        first.addCallback(flood)
        mailbox.put(Item())
        self.assertEqual(sum(got), 10)

    def test_release(self) -> None:
        """
        All that wait are sent away with nothing, even if one ends another by that.
        """
        first, second, third = (self.mailbox.claim(1) for _ in range(3))

        def endSecond(items: list[IExchange]) -> list[IExchange]:
            second.cancel()
            return items

        first.addCallback(endSecond)
        self.mailbox.release()
        self.assertEqual(self.successResultOf(first), [])
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.successResultOf(third), [])
        self.assertEqual(self.mailbox.counts(), (0, 0))

    def test_lastSeen(self) -> None:
        """
        Now while one waits, else when one last called or stopped waiting.
        """
        self.assertEqual(self.mailbox.lastSeen(), 100)
        self.clock.advance(1)
        claims = [self.mailbox.claim(1) for _ in range(3)]
        self.clock.advance(30)
        self.assertEqual(self.mailbox.lastSeen(), 131)
        self.put(2)
        claims[2].cancel()
        self.failureResultOf(claims[2], CancelledError)
        self.clock.advance(5)
        self.assertEqual(self.mailbox.lastSeen(), 131)
        self.mailbox.see()
        self.assertEqual(self.mailbox.lastSeen(), 136)

    def test_session(self) -> None:
        """
        A session begins with a call after a while without any, a parked one being one all the time.
        """
        self.clock.advance(9)
        self.assertFalse(self.mailbox.see())
        claim = self.mailbox.claim(1)
        self.clock.advance(30)
        self.put(1)
        self.successResultOf(claim)
        self.assertFalse(self.mailbox.see())
        claim = self.mailbox.claim(1)
        self.clock.advance(30)
        self.mailbox.release()
        self.assertFalse(self.mailbox.see())
        self.clock.advance(11)
        self.assertTrue(self.mailbox.see())


class MailboxesTests(SynchronousTestCase):
    """
    L{Mailboxes}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.mailboxes = Mailboxes(self.clock, maxBackends=2, offlineAfter=10.0)

    def test_visit(self) -> None:
        """
        An agent's call makes a mailbox, once; a look does not.
        """
        self.assertIsNone(self.mailboxes.get("a"))
        made = self.mailboxes.visit("a")
        self.assertIs(self.mailboxes.visit("a"), made)
        self.assertIs(self.mailboxes.get("a"), made)
        self.assertEqual(list(self.mailboxes), [made])

    def test_evict(self) -> None:
        """
        A new backend takes the place of the one that was away longest.
        """
        for name in "ab":
            self.mailboxes.visit(name)
            self.clock.advance(1)
        self.clock.advance(20)
        self.mailboxes.visit("c")
        self.assertEqual([mailbox.backend for mailbox in self.mailboxes], ["b", "c"])

    def test_full(self) -> None:
        """
        But not of one that is there.
        """
        claim = self.mailboxes.visit("a").claim(1)
        self.mailboxes.visit("b")
        self.clock.advance(9)
        fault = self.assertRaises(Fault, self.mailboxes.visit, "c")
        self.assertEqual(fault.code.name, "too-many-backends")
        self.clock.advance(2)
        self.mailboxes.visit("c")
        self.clock.advance(20)
        self.mailboxes.visit("d")
        self.assertEqual([mailbox.backend for mailbox in self.mailboxes], ["a", "d"])
        self.assertNoResult(claim)

    def test_whenEmpty(self) -> None:
        """
        At once while there are no exchanges.
        """
        self.successResultOf(self.mailboxes.whenEmpty())
