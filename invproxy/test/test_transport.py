"""
The outgoing side of connections.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet import tcp
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from invproxy.test.leaves import Producer
from invproxy.transport import Outlet
from invproxy.turn import Turn, turnOf


class Kernel(tcp.Connection):
    """
    A TCP connection whose socket takes only so much.

    @ivar room: how many bytes it takes yet, or what an attempt to send gives.
    @ivar sent: what it took, by call.
    """

    protocol: Any = None

    def __init__(self, room: Any = 1 << 30) -> None:
        self.room = room
        self.sent: list[bytes] = []
        self.connected = True
        self.calls: list[str] = []
        self.dataBuffer = b""
        self._tempDataBuffer = []
        self._tempDataLen = 0
        self.reactor: Any = self

    def getHandle(self) -> Any:
        return self

    def send(self, data: Any) -> int:
        """
        As a socket.
        """
        if isinstance(self.room, OSError):
            raise self.room
        if not self.room:
            raise BlockingIOError
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        self.sent.append(taken)
        return len(taken)

    def startWriting(self) -> None:
        self.calls.append("startWriting")

    def stopReading(self) -> None:
        pass

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.calls.append(f"noDelay {enabled}")

    def abortConnection(self) -> None:
        self.calls.append("abort")

    def loseWriteConnection(self) -> None:
        self.calls.append("loseWrite")


class OutletTests(SynchronousTestCase):
    """
    L{Outlet} and L{Turn}.
    """

    def make(self, transport: Any) -> Outlet:
        self.clock = Clock()
        self.producer = Producer()
        self.transport = transport
        outlet = Outlet(transport, Turn(self.clock))
        outlet.begin(self.producer)
        return outlet

    def waiting(self) -> bytes:
        return b"".join((self.transport.dataBuffer, *self.transport._tempDataBuffer))

    def test_together(self) -> None:
        """
        What is written in a turn goes out in one call of the kernel at its end, and does not wait for the reactor.
        """
        outlet = self.make(Kernel())
        outlet.write(b"head", b"body")
        outlet.write(b"end")
        self.assertEqual(self.transport.sent, [])
        self.clock.advance(0)
        self.assertEqual(self.transport.sent, [b"headbodyend"])
        self.assertEqual(self.transport.calls, ["noDelay True"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_resetAlready(self) -> None:
        """
        Some kernels let nothing be set any more where the peer has reset a connection: it is served until that shows.
        """

        class Reset(Kernel):
            def setTcpNoDelay(self, enabled: bool) -> None:
                raise OSError(22, "Invalid argument")

        outlet = self.make(Reset())
        self.assertIs(self.transport.producer, self.producer)
        outlet.write(b"head")
        self.clock.advance(0)
        self.assertEqual(self.transport.sent, [b"head"])

    def test_oneCallForAll(self) -> None:
        """
        Outlets of one turn are flushed by one call, in the order in which they were written to.
        """
        turn = Turn(clock := Clock())
        kernels = [Kernel() for _ in range(3)]
        for kernel in kernels:
            Outlet(kernel, turn).write(b"x")
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        clock.advance(0)
        self.assertEqual([kernel.sent for kernel in kernels], [[b"x"]] * 3)

    def test_muchAtOnce(self) -> None:
        """
        More than a turn collects goes out now, so that the producer hears of it at once when it is too much.
        """
        outlet = self.make(Kernel(room=1000))
        outlet.write(b"x" * 200_000)
        self.assertEqual(self.producer.calls, ["pause"])
        self.assertEqual(self.transport.sent, [b"x" * 1000])
        self.assertEqual(self.waiting(), b"x" * 199_000)

    def test_order(self) -> None:
        """
        While anything waits in the transport, nothing overtakes it.
        """
        outlet = self.make(Kernel(room=2))
        outlet.write(b"abc")
        self.clock.advance(0)
        self.transport.room = 100
        outlet.write(b"def")
        self.clock.advance(0)
        self.assertEqual(self.transport.sent, [b"ab"])
        self.assertEqual(self.waiting(), b"cdef")
        self.assertIn("startWriting", self.transport.calls)

    def test_broken(self) -> None:
        """
        A connection that turns out to be broken is left to its reactor.
        """
        outlet = self.make(Kernel(room=ConnectionResetError()))
        outlet.write(b"abc")
        self.clock.advance(0)
        self.assertEqual(self.waiting(), b"abc")
        self.assertIn("startWriting", self.transport.calls)

    def test_close(self) -> None:
        """
        Closing sends what was collected first, and does not wait for a producer that is paused.
        """
        outlet = self.make(Kernel())
        outlet.write(b"last")
        outlet.close()
        self.assertEqual(self.transport.sent, [b"last"])
        self.assertTrue(self.transport.disconnecting)
        self.assertIsNone(self.transport.producer)
        self.clock.advance(0)
        self.assertEqual(self.transport.sent, [b"last"])

    def test_closeWriting(self) -> None:
        """
        So does closing this direction.
        """
        outlet = self.make(Kernel())
        outlet.write(b"last")
        self.assertTrue(outlet.closeWriting())
        self.assertEqual(self.transport.sent, [b"last"])
        self.assertEqual(self.transport.calls[-1], "loseWrite")

    def test_abort(self) -> None:
        """
        Aborting sends what was collected, as far as the kernel takes it at once, and drops what may still be written.
        """
        outlet = self.make(Kernel())
        outlet.write(b"sent")
        outlet.abort()
        outlet.write(b"lost")
        self.clock.advance(0)
        self.assertEqual(self.transport.sent, [b"sent"])
        self.assertEqual(self.transport.calls[-1], "abort")

    def test_drop(self) -> None:
        """
        Of a connection that is gone nothing is kept of what was not sent: neither what the transport has, nor what was
        collected.
        """
        outlet = self.make(Kernel(room=1))
        for data in (b"partly", b"waits", b"waits, too"):
            outlet.write(data)
            outlet.flush()
        self.transport.dataBuffer, self.transport.offset = b"partly", 1
        outlet.write(b"waits here")
        self.transport.connected = False
        outlet.drop()
        self.clock.advance(0)
        self.assertEqual(self.waiting(), b"")
        self.assertEqual((self.transport.offset, self.transport._tempDataLen), (0, 0))
        self.assertTrue(outlet.isDrained())
        self.assertEqual(self.transport.sent, [b"p"])

    def test_dropBelow(self) -> None:
        """
        Nor by the connection below TLS and the like.
        """
        kernel = Kernel(room=0)
        upper = StringTransport()
        upper.transport = kernel  # type: ignore[attr-defined]
        outlet = self.make(upper)
        kernel.write(b"waits")
        outlet.drop()
        self.assertEqual((kernel.dataBuffer, kernel._tempDataBuffer), (b"", []))

    def test_dropOthers(self) -> None:
        """
        A transport that is no TCP connection of Twisted's is left alone.
        """
        outlet = self.make(StringTransport())
        outlet.write(b"a")
        outlet.drop()
        self.clock.advance(0)
        self.assertEqual(self.transport.value(), b"")

    def test_oneFails(self) -> None:
        """
        The failure of one connection's producer is logged, and harms no other connection.
        """
        turn = Turn(clock := Clock())
        kernels = [Kernel(), Kernel()]
        kernels[0].send = lambda data: 1 // 0  # type: ignore[method-assign]
        outlets = [Outlet(kernel, turn) for kernel in kernels]
        for outlet in outlets:
            outlet.write(b"x")
        clock.advance(0)
        self.assertEqual(kernels[1].sent, [b"x"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_otherTransports(self) -> None:
        """
        A transport that is no TCP connection of Twisted's is written to in the ordinary way, joined.
        """
        outlet = self.make(StringTransport())
        outlet.write(b"a", b"b")
        self.clock.advance(0)
        self.assertEqual(self.transport.value(), b"ab")
        self.assertTrue(self.transport.streaming)


class TurnTests(SynchronousTestCase):
    """
    L{turnOf}.
    """

    def test_same(self) -> None:
        """
        Each clock has one turn.
        """
        one, two = Clock(), Clock()
        self.assertIs(turnOf(one), turnOf(one))
        self.assertIsNot(turnOf(one), turnOf(two))

    def test_collectable(self) -> None:
        """
        Nothing keeps a clock that was used, nor its turn.
        """
        clock = Clock()
        turn = turnOf(clock)
        Outlet(kernel := Kernel(), turn).write(b"x")
        clock.advance(0)
        self.assertEqual(kernel.sent, [b"x"])
        kept = weakref.ref(clock)  # which has the turn
        del clock, turn, kernel
        gc.collect()
        self.assertIsNone(kept())
