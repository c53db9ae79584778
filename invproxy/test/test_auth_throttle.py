"""
Who fails to authenticate too often is refused for a while, and nobody else is.
"""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from invproxy.auth.throttle import (
    FIRST_PENALTY,
    LIMIT,
    LONGEST_PENALTY,
    WIDE_LIMIT,
    WIDE_LONGEST_PENALTY,
    WINDOW,
    FairThrottle,
    Throttle,
    keyOf,
)
from invproxy.errors import Fault
from invproxy.interfaces import IPeer
from invproxy.test.helpers import FakePeer


def peerAt(host: str) -> FakePeer:
    """
    Make a peer with an IP address.
    """
    return peerOf((IPv6Address if ":" in host else IPv4Address)("TCP", host, 4321))


def peerOf(address: IAddress) -> FakePeer:
    """
    Make a peer.
    """
    peer = FakePeer()
    peer.address = address
    return peer


class ThrottleTests(SynchronousTestCase):
    """
    L{Throttle}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.throttle = Throttle(self.clock)
        self.peer = peerAt("192.0.2.7")

    def failTimes(self, count: int, peer: IPeer | str | None = None) -> None:
        for _ in range(count):
            self.throttle.fail(peer or self.peer)

    def waitOf(self, peer: IPeer | str | None = None) -> int:
        """
        For how many seconds a peer is refused, 0 if it is not.
        """
        try:
            self.throttle.check(peer or self.peer)
        except Fault as fault:
            self.assertEqual(fault.code.name, "too-many-attempts")
            self.assertEqual(fault.code.status, 429)
            self.assertTrue(fault.fields.startswith(b"\r\nRetry-After: "))
            return int(fault.fields.partition(b": ")[2])
        return 0

    def test_limit(self) -> None:
        """
        The tenth failure within a minute is one too many, for that peer alone.
        """
        self.assertEqual(self.waitOf(), 0)
        self.failTimes(LIMIT - 1)
        self.assertEqual(self.waitOf(), 0)
        self.failTimes(1)
        self.assertEqual(self.waitOf(), FIRST_PENALTY)
        self.assertEqual(self.waitOf(peerAt("192.0.2.8")), 0)
        self.assertEqual(self.waitOf("192.0.2.7"), FIRST_PENALTY)
        self.clock.advance(FIRST_PENALTY - 0.5)
        self.assertEqual(self.waitOf(), 1)
        self.clock.advance(0.5)
        self.assertEqual(self.waitOf(), 0)

    def test_sliding(self) -> None:
        """
        Failures count for a minute each; fewer than ten in any minute are never too many.
        """
        for _ in range(10):
            self.failTimes(LIMIT - 1)
            self.clock.advance(WINDOW + 0.1)
            self.assertEqual(self.waitOf(), 0)
        self.failTimes(5)
        self.clock.advance(WINDOW / 2)
        self.failTimes(4)
        self.clock.advance(WINDOW / 2 - 1)
        self.failTimes(1)
        self.assertEqual(self.waitOf(), FIRST_PENALTY)

    def test_doubling(self) -> None:
        """
        Whoever goes on is refused for twice as long each time, up to five minutes; ten minutes of peace, and all is
        forgotten.
        """
        waits = []
        for _ in range(7):
            self.failTimes(LIMIT)
            waits.append(self.waitOf())
            self.clock.advance(waits[-1])
        self.assertEqual(waits, [15, 30, 60, 120, 240, 300, 300])
        self.clock.advance(2 * LONGEST_PENALTY + 1)
        self.assertEqual(self.waitOf(), 0)
        self.failTimes(LIMIT)
        self.assertEqual(self.waitOf(), FIRST_PENALTY)

    def test_failuresWhileRefused(self) -> None:
        """
        What is tried meanwhile makes it no longer.
        """
        self.failTimes(LIMIT + 50)
        self.clock.advance(FIRST_PENALTY)
        self.assertEqual(self.waitOf(), 0)
        self.failTimes(LIMIT - 1)
        self.assertEqual(self.waitOf(), 0)

    def test_successForgivesNothing(self) -> None:
        """
        Good credentials in between do not clear the count.
        """
        for _ in range(LIMIT):
            self.throttle.fail(self.peer)
            self.throttle.succeed(self.peer)
        self.assertNotEqual(self.waitOf(), 0)

    def test_attempts(self) -> None:
        """
        Ten attempts at once are as many as ten in a row; those that succeed do not count.
        """
        for _ in range(LIMIT):
            self.throttle.attempt(self.peer)
        with self.assertRaises(Fault) as caught:
            self.throttle.attempt(self.peer)
        self.assertEqual(caught.exception.code.name, "too-many-attempts")
        self.assertEqual(caught.exception.fields, b"\r\nRetry-After: 1")
        self.throttle.attempt(peerAt("192.0.2.8"))
        self.throttle.succeed(self.peer)
        self.throttle.attempt(self.peer)
        for _ in range(LIMIT):
            self.throttle.succeed(self.peer)
        for _ in range(3 * LIMIT):
            self.throttle.attempt(self.peer)
            self.throttle.succeed(self.peer)
        for _ in range(LIMIT):
            self.assertEqual(self.waitOf(), 0)
            self.throttle.attempt(self.peer)
            self.throttle.fail(self.peer)
        self.assertEqual(self.waitOf(), FIRST_PENALTY)

    def test_succeeded(self) -> None:
        """
        Nothing is kept of who never failed, but all is of who did.
        """
        for _ in range(2):
            self.throttle.attempt(self.peer)
        self.throttle.succeed(self.peer)
        self.assertEqual(len(self.throttle), 1)
        self.throttle.succeed(self.peer)
        self.assertEqual(len(self.throttle), 0)
        self.throttle.fail(self.peer)
        self.throttle.attempt(self.peer)
        self.throttle.succeed(self.peer)
        self.assertEqual(len(self.throttle), 1)

    def test_bound(self) -> None:
        """
        So many peers are remembered, and those that failed longest ago are forgotten first.
        """
        self.throttle = Throttle(self.clock, mostPeers=3)
        self.failTimes(LIMIT)
        for host in ("192.0.2.8", "192.0.2.9"):
            self.throttle.fail(host)
        self.throttle.fail(self.peer)
        self.throttle.fail("192.0.2.10")
        self.assertEqual(len(self.throttle), 3)
        self.assertNotEqual(self.waitOf(), 0)
        self.failTimes(LIMIT - 1, "192.0.2.8")
        self.assertEqual(self.waitOf("192.0.2.8"), 0)

    def test_keys(self) -> None:
        """
        IPv6 counts by /64, an IPv4 address within IPv6 as itself, and UNIX sockets as one.
        """
        for one, other, same in (
            ("2001:db8::1", "2001:db8::ffff:2", True),
            ("2001:db8::1", "2001:db8:0:1::1", False),
            ("::ffff:192.0.2.7", "192.0.2.7", True),
            ("::ffff:192.0.2.7", "::ffff:192.0.2.8", False),
            ("fe80::1%eth0", "fe80::2%eth1", True),
            ("192.0.2.7", "192.0.2.8", False),
            ("what it is", "what it is", True),
        ):
            self.assertEqual(keyOf(one) == keyOf(other), same, (one, other))
            self.assertEqual(keyOf(one), keyOf(peerAt(one)))
        self.assertEqual(keyOf(peerOf(UNIXAddress(None))), "unix")
        self.assertEqual(keyOf("forged\n"), "unknown")


class FairThrottleTests(SynchronousTestCase):
    """
    L{FairThrottle}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.throttle = FairThrottle(self.clock)

    def waitOf(self, who: bytes, peer: str = "192.0.2.7") -> int:
        """
        For how many seconds somebody is refused, 0 if they are not; whether they ask or try makes no difference.
        """
        waits = []
        for ask in (self.throttle.check, self.throttle.attempt):
            try:
                ask(peer, who)
            except Fault as fault:
                waits.append(int(fault.fields.partition(b": ")[2]))
            else:
                waits.append(0)
        self.assertEqual(*waits)
        if not waits[0]:
            self.throttle.succeed(peer, who)
        return waits[0]

    def test_each(self) -> None:
        """
        Who fails too often is refused alone: by that name, at that peer.
        """
        for _ in range(LIMIT):
            self.assertEqual(self.waitOf(b"bob"), 0)
            self.throttle.fail("192.0.2.7", b"bob")
        self.assertEqual(self.waitOf(b"bob"), FIRST_PENALTY)
        self.assertEqual(self.waitOf(b"alice"), 0)
        self.assertEqual(self.waitOf(b"bob", "192.0.2.8"), 0)

    def test_all(self) -> None:
        """
        By ever other names nobody gets further than a wider bound; and that keeps out the others there for a minute at
        most.
        """
        waits = []
        for _ in range(4):
            for number in range(WIDE_LIMIT):
                self.throttle.attempt("192.0.2.7", b"%d" % number)
                self.throttle.fail("192.0.2.7", b"%d" % number)
            waits.append(self.waitOf(b"alice"))
            self.assertEqual(self.waitOf(b"alice", "192.0.2.8"), 0)
            self.clock.advance(waits[-1])
            self.assertEqual(self.waitOf(b"alice"), 0)
        self.assertEqual(waits, [15, 30, WIDE_LONGEST_PENALTY, WIDE_LONGEST_PENALTY])

    def test_attempts(self) -> None:
        """
        What is under way counts for both, once; what was refused for one reason does not count for the other.
        """
        for _ in range(LIMIT):
            self.throttle.attempt("192.0.2.7", b"bob")
        for _ in range(2 * WIDE_LIMIT):
            self.assertEqual(self.waitOf(b"alice"), 0)
            with self.assertRaises(Fault):
                self.throttle.attempt("192.0.2.7", b"bob")
        for number in range(WIDE_LIMIT - LIMIT):
            self.throttle.attempt("192.0.2.7", b"%d" % number)
        with self.assertRaises(Fault):
            self.throttle.attempt("192.0.2.7", b"alice")
        self.throttle.succeed("192.0.2.7", b"bob")
        self.throttle.attempt("192.0.2.7", b"alice")
