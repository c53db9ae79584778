"""
Sockets that are read as one: real ones, on a reactor of their own.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import skipUnless

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection, Server
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from invproxy.test.programs import DEADLINE
from invproxy.transport import Outlet
from invproxy.turn import Turn, turnOf

try:
    from twisted.internet.epollreactor import EPollReactor
except ImportError:  # not Linux
    EPollReactor = None  # type: ignore[assignment,misc]


class Recorder(Protocol):
    """
    Writes down what it hears.
    """

    transport: Any

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.received = b""
        self.lost: Failure | None = None
        self.react: Callable[[bytes], None] = lambda data: None

    def connectionMade(self) -> None:
        self.outlet = Outlet(self.transport, self.turn)
        self.outlet.begin(self)  # type: ignore[arg-type]

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.react(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """
    One that goes on when its peer has said all.

    @ivar readEnds: how often it heard of that.
    """

    readEnds = 0

    def readConnectionLost(self) -> None:
        self.readEnds += 1

    def writeConnectionLost(self) -> None:
        pass


class Failing(Recorder):
    """
    One that fails on its end.
    """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        raise RuntimeError("no")


@skipUnless(EPollReactor, "there is no epoll here")
class AdoptionTests(SynchronousTestCase):
    """
    L{Turn.adopt}.
    """

    def setUp(self) -> None:
        self.reactor = EPollReactor()
        self.turn = turnOf(self.reactor)
        self.addCleanup(self.tearDownReactor)

    def tearDownReactor(self) -> None:
        for selectable in self.reactor.removeAll():
            selectable.connectionLost(connectionDone)

    def connect(self, kind: type[Recorder] = Recorder) -> tuple[Recorder, socket.socket]:
        """
        Make a connection.

        @param kind: what is at our end.
        @return: our end and the peer's.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            peer = socket.create_connection(listening.getsockname())
            ours, address = listening.accept()
        self.addCleanup(peer.close)
        peer.settimeout(DEADLINE)
        protocol = kind(self.turn)
        transport = Server(ours, protocol, address, None, 1, self.reactor)  # type: ignore[arg-type]
        protocol.makeConnection(transport)
        self.addCleanup(self.abort, protocol)
        return protocol, peer

    def abort(self, protocol: Recorder) -> None:
        if protocol.lost is None:
            protocol.transport.abortConnection()

    def spin(self, until: Callable[[], object]) -> None:
        """
        Run the reactor until something is so.
        """
        end = time.monotonic() + DEADLINE
        while not until():
            if time.monotonic() > end:
                self.fail(f"it did not come about in {DEADLINE:g} s")
            self.reactor.runUntilCurrent()
            self.reactor.doIteration(0.01)

    def isWriting(self, protocol: Recorder) -> bool:
        return protocol.transport in self.reactor.getWriters()

    def abortOther(self, other: Recorder, data: bytes) -> None:
        other.transport.abortConnection()

    def sendBack(self, peer: socket.socket, data: bytes) -> None:
        peer.sendall(b"x")

    def readers(self) -> list[object]:
        return [each for each in self.reactor.getReaders() if isinstance(each, Connection)]

    def test_read(self) -> None:
        """
        An adopted connection is no reader of the reactor's, and receives.
        """
        one, peerOfOne = self.connect()
        two, peerOfTwo = self.connect()
        self.assertEqual(self.readers(), [])
        peerOfOne.sendall(b"one")
        peerOfTwo.sendall(b"two")
        self.spin(lambda: one.received and two.received)
        self.assertEqual((one.received, two.received), (b"one", b"two"))

    def test_memory(self) -> None:
        """
        A message takes no more memory than it has bytes, also while it comes.
        """
        one, peer = self.connect()
        peer.sendall(b"first")
        self.spin(lambda: one.received)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        peer.sendall(b"second")
        self.spin(lambda: one.received == b"firstsecond")
        self.assertLess(tracemalloc.get_traced_memory()[1], 16384)

    def test_much(self) -> None:
        """
        What is more than is read at a time comes whole.
        """
        one, peer = self.connect()
        sent = bytes(range(256)) * 1000
        peer.sendall(sent)
        self.spin(lambda: len(one.received) == len(sent))
        self.assertEqual(one.received, sent)

    def test_joined(self) -> None:
        """
        What a batch of events writes goes out at its end, in one piece for each connection.
        """
        one, peerOfOne = self.connect()
        two, peerOfTwo = self.connect()
        out, peerOfOut = self.connect()
        one.react = two.react = out.outlet.write
        peerOfOne.sendall(b"a")
        peerOfTwo.sendall(b"b")
        select.select([one.transport.socket], [], [])
        select.select([two.transport.socket], [], [])
        self.spin(lambda: one.received and two.received)
        self.assertEqual(sorted(peerOfOut.recv(10)), sorted(b"ab"))

    def test_paused(self) -> None:
        """
        A paused connection is not read, and is again once it is resumed.
        """
        one, peer = self.connect()
        other, peerOfOther = self.connect()
        one.transport.pauseProducing()
        peer.sendall(b"one")
        peerOfOther.sendall(b"other")
        self.spin(lambda: other.received)
        self.assertEqual(one.received, b"")
        one.transport.resumeProducing()
        self.spin(lambda: one.received)

    def test_lastBytes(self) -> None:
        """
        While a connection waits to write, what its peer sent before it reset the connection is still read.
        """
        one, peer = self.connect()
        one.outlet.write(bytes(20_000_000))
        self.spin(lambda: one.transport in self.reactor.getWriters())
        self.assertEqual(self.readers(), [one.transport])
        peer.sendall(b"too much")
        # With nothing sent on, a close is a reset.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        self.spin(lambda: one.lost)
        self.assertEqual(one.received, b"too much")
        self.assertEqual(self.readers(), [])

    def test_written(self) -> None:
        """
        Once all is written, it is adopted again; what is paused meanwhile stays so.
        """
        one, peer = self.connect()
        other, peerOfOther = self.connect()
        for each in (one, other):
            each.outlet.write(bytes(20_000_000))
            self.spin(partial(self.isWriting, each))
        other.transport.pauseProducing()
        peer.setblocking(False)
        peerOfOther.setblocking(False)

        def drain() -> bool:
            for end in (peer, peerOfOther):
                with contextlib.suppress(BlockingIOError):
                    while end.recv(1 << 20):
                        pass
            return not self.reactor.getWriters()

        self.spin(drain)
        self.assertEqual(self.readers(), [])
        for end in (peer, peerOfOther):
            end.setblocking(True)
            end.sendall(b"more")
        self.spin(lambda: one.received)
        self.assertEqual((one.received, other.received), (b"more", b""))
        other.transport.resumeProducing()
        self.spin(lambda: other.received)

    def test_closed(self) -> None:
        """
        The end of one is told, to it alone.
        """
        one, peer = self.connect()
        other, peerOfOther = self.connect()
        peer.close()
        self.spin(lambda: one.lost)
        peerOfOther.sendall(b"x")
        self.spin(lambda: other.received)
        self.assertIsNone(other.lost)

    def test_fails(self) -> None:
        """
        One that fails on what it received is closed and logged; others live on, and what they wrote goes out.
        """
        one, peer = self.connect()
        other, peerOfOther = self.connect()

        def fail(data: bytes) -> None:
            other.outlet.write(b"written")
            raise RuntimeError("no")

        one.react = fail
        peer.sendall(b"x")
        self.spin(lambda: one.lost)
        self.assertEqual(peerOfOther.recv(10), b"written")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_endsAnother(self) -> None:
        """
        One that ends another in the same batch does it for good.
        """
        one, peerOfOne = self.connect()
        two, peerOfTwo = self.connect()
        pair = {one: two, two: one}
        for each, other in pair.items():
            each.react = partial(self.abortOther, other)
        peerOfOne.sendall(b"x")
        peerOfTwo.sendall(b"x")
        select.select([one.transport.socket], [], [])
        select.select([two.transport.socket], [], [])
        self.spin(lambda: one.lost or two.lost)
        self.assertEqual(len(one.received + two.received), 1)

    def test_failsOnItsEnd(self) -> None:
        """
        One that fails on its own end is logged; others live on, and what they wrote goes out.
        """
        fails, peer = self.connect(Failing)
        others = [self.connect() for _ in range(3)]
        peer.close()
        self.spin(lambda: fails.lost)
        for other, peerOfOther in others:
            self.assertIsNone(other.lost)
            other.react = other.outlet.write
            peerOfOther.sendall(b"x")
            self.spin(lambda: other.received)  # noqa: B023
            self.assertEqual(peerOfOther.recv(10), b"x")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_halfClosed(self) -> None:
        """
        The end of what a peer sends is told once, and then the socket is not read again, whether or not it waits to
        write meanwhile.
        """
        for waits in (False, True):
            one, peer = self.connect(HalfCloseable)
            assert isinstance(one, HalfCloseable)
            if waits:
                one.outlet.write(bytes(20_000_000))
                self.spin(partial(self.isWriting, one))
            peer.shutdown(socket.SHUT_WR)
            self.spin(lambda: one.readEnds)  # noqa: B023
            reads: list[int] = []
            one.transport.doRead = partial(reads.append, 1)
            peer.setblocking(False)
            self.spin(partial(self.drained, peer, one))
            self.assertNotIn(one.transport, self.readers())
            other, peerOfOther = self.connect()
            for _ in range(3):
                other.received = b""
                peerOfOther.sendall(b"x")
                self.spin(lambda: other.received)  # noqa: B023
            self.assertEqual((one.readEnds, reads, one.lost), (1, [], None))
            one.outlet.write(b"more")
            self.spin(lambda: not self.reactor.getDelayedCalls())
            peer.settimeout(DEADLINE)
            self.assertEqual(peer.recv(10), b"more")

    def drained(self, peer: socket.socket, ours: Recorder) -> bool:
        """
        Take what has come to a peer.

        @return: whether no more waits.
        """
        with contextlib.suppress(BlockingIOError):
            while peer.recv(1 << 20):
                pass
        return not self.isWriting(ours)

    def test_timers(self) -> None:
        """
        However busy the sockets are, timers run and others are read.
        """
        one, peer = self.connect()
        two, peerOfTwo = self.connect()
        # For ever: what one gets, the other sends back.
        one.react = two.react = lambda data: None
        peers = {one: peer, two: peerOfTwo}
        for each, other in ((one, two), (two, one)):
            each.react = partial(self.sendBack, peers[other])
        peer.sendall(b"x")
        ran: list[int] = []
        self.reactor.callLater(0.05, ran.append, 1)
        unadopted, peerOfThird = self.connect()
        assert self.turn._sockets is not None
        self.turn._sockets.removeReader(unadopted.transport)
        unadopted.transport.reactor = self.reactor
        self.reactor.addReader(unadopted.transport)
        peerOfThird.sendall(b"x")
        self.spin(lambda: ran and unadopted.received)
        self.assertGreater(len(one.received), 10)

    def test_last(self) -> None:
        """
        Without sockets there is nothing left in the reactor.
        """
        before = len(self.reactor.getReaders())
        one, _ = self.connect()
        self.assertEqual(len(self.reactor.getReaders()), before + 1)
        one.transport.abortConnection()
        self.spin(lambda: one.lost)
        self.assertEqual(len(self.reactor.getReaders()), before)

    def test_stopped(self) -> None:
        """
        When the reactor stops, all connections are told.
        """
        one, _ = self.connect()
        two, _ = self.connect()
        self.tearDownReactor()
        self.assertTrue(one.lost and two.lost)
