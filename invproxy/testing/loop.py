"""
The event loop of a network in memory: a clock that is moved by hand, and what is ready when.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IReactorFDSet,
    IReactorFromThreads,
    IReactorTime,
    IReadDescriptor,
    IWriteDescriptor,
)
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from invproxy.testing.sockets import Kernel

T = TypeVar("T")

_log = Logger()


class NeverQuiet(Exception):
    """
    The network was pumped for many rounds, and there still was something to do.
    """


class StillWaiting(Exception):
    """
    A result did not come in the time that was given.
    """


@implementer(IReactorTime, IReactorFDSet, IReactorFromThreads)
class MemoryLoop(Clock):
    """
    The part of L{MemoryNetwork <invproxy.testing.MemoryNetwork>} that makes things happen.

    @ivar kernel: the sockets.
    @ivar running: whether L{stop} was not called yet.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.running = True
        self._readers: dict[IReadDescriptor, None] = {}
        self._writers: dict[IWriteDescriptor, None] = {}
        self._triggers: list[tuple[str, str, Callable[[], object]]] = []
        self._pumping = False

    # Time.

    def pump(self, timings: Iterable[float] = (), *, limit: int = 100_000) -> None:
        """
        Let everything happen that can happen without time, until all is quiet.

        @param timings: seconds to move the clock by after that, one after the other, each with what happens then.
        @param limit: how many rounds it may take; in each, every connection delivers at most one segment.
        @raise NeverQuiet: if it takes more.
        """
        if self._pumping:
            raise RuntimeError(
                "the network is being pumped, and does not deliver within a delivery"
            )
        self._pumping = True
        try:
            for _ in range(limit):
                if not self._round():
                    break
            else:
                calls = "".join(f"\n  {call}" for call in self.calls[:5])
                links = "".join(f"\n  {link}" for link in self.kernel.links[:5])
                raise NeverQuiet(
                    f"still not quiet after {limit} rounds"
                    f"\nnext of {len(self.calls)} delayed calls:{calls}"
                    f"\noldest of {len(self.kernel.links)} connections:{links}"
                )
        finally:
            self._pumping = False
        for amount in timings:
            self.advance(amount)

    def advance(self, amount: float) -> None:
        """
        Move the clock, from one delayed call to the next, and let everything happen at each.

        @param amount: seconds.
        """
        self.pump()
        end = self.rightNow + amount
        while (due := self._nextDue()) is not None and due <= end:
            self.rightNow = due
            self.pump()
        self.rightNow = end

    def resultOf(
        self, awaited: Deferred[T] | Coroutine[Deferred[Any], Any, T], *, within: float = 60.0
    ) -> T:
        """
        Let things happen until a result is there; time moves only as far as it must.

        @param awaited: what to wait for.
        @param within: how many seconds to wait at most.
        @return: the result.
        @raise StillWaiting: if there was none in that time.
        """
        results: list[T | Failure] = []
        ensureDeferred(awaited).addBoth(results.append)
        self.pump()
        end = self.rightNow + within
        while not results and (due := self._nextDue()) is not None and due <= end:
            self.rightNow = due
            self.pump()
        if not results:
            raise StillWaiting(f"no result within {within} seconds")
        result = results[0]
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def _nextDue(self) -> float | None:
        # After a pump, what is left lies ahead.
        return min((call.getTime() for call in self.calls), default=None)

    def _round(self) -> bool:
        busy = self._callDue()
        busy = self.kernel.connect() or busy
        for descriptor in list(self._all()):
            busy = self._serve(descriptor) or busy
        return busy

    def _callDue(self) -> bool:
        # As in the real reactor, what is scheduled meanwhile waits for the next round.
        due = [call for call in self.calls if call.getTime() <= self.rightNow]
        for call in due:
            if call.active() and call.getTime() <= self.rightNow:
                self.calls.remove(call)
                call.called = 1
                try:
                    call.func(*call.args, **call.kw)
                except Exception:
                    _log.failure("a delayed call failed: {call}", call=call)
        return bool(due)

    def _serve(self, descriptor: Any) -> bool:
        """
        Tell a descriptor of what it waits for, as the epoll reactor does.
        """
        end = self.kernel.find(descriptor.fileno())
        if end is None:
            return False
        canRead = descriptor in self._readers and end.readable()
        canWrite = descriptor in self._writers and end.writable()
        if not (canRead or canWrite or end.hungUp()):
            return False
        why: BaseException | None = None
        reading = False
        if not canRead and end.hungUp():
            why = ConnectionLost()
        else:
            try:
                if canRead:
                    reading = True
                    why = descriptor.doRead()
                if why is None and canWrite:
                    reading = False
                    why = descriptor.doWrite()
            except Exception as error:
                _log.failure("a protocol failed")
                why = error
        if why is not None:
            try:
                self._disconnect(descriptor, Failure(why), reading)
            except Exception:
                _log.failure("a protocol failed as its connection was lost")
        return True

    def _disconnect(self, descriptor: Any, why: Failure, reading: bool) -> None:
        self.removeReader(descriptor)
        if (
            reading
            and why.check(ConnectionDone)
            and IHalfCloseableDescriptor.providedBy(descriptor)
        ):
            descriptor.readConnectionLost(why)
        else:
            self.removeWriter(descriptor)
            descriptor.connectionLost(why)

    def _all(self) -> dict[IReadDescriptor | IWriteDescriptor, None]:
        return dict.fromkeys([*self._readers, *self._writers])

    # IReactorFDSet

    def addReader(self, reader: IReadDescriptor) -> None:
        self._readers[reader] = None

    def addWriter(self, writer: IWriteDescriptor) -> None:
        self._writers[writer] = None

    def removeReader(self, reader: IReadDescriptor) -> None:
        self._readers.pop(reader, None)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        self._writers.pop(writer, None)

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        removed = list(self._all())
        self._readers.clear()
        self._writers.clear()
        return removed

    def getReaders(self) -> list[IReadDescriptor]:
        return list(self._readers)

    def getWriters(self) -> list[IWriteDescriptor]:
        return list(self._writers)

    # IReactorCore

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        self.callLater(0, callable, *args, **kwargs)

    def callWhenRunning(
        self, callable: Callable[..., Any], *args: object, **kwargs: object
    ) -> None:
        callable(*args, **kwargs)

    def addSystemEventTrigger(
        self,
        phase: str,
        eventType: str,
        callable: Callable[..., Any],
        *args: object,
        **kwargs: object,
    ) -> Any:
        trigger = (phase, eventType, lambda: callable(*args, **kwargs))
        self._triggers.append(trigger)
        return trigger

    def removeSystemEventTrigger(self, triggerID: Any) -> None:
        self._triggers.remove(triggerID)

    def fireSystemEvent(self, eventType: str) -> None:
        """
        Call what was to be called at an event, phase by phase, without waiting for Deferreds.
        """
        for phase in ("before", "during", "after"):
            for trigger in [each for each in self._triggers if each[:2] == (phase, eventType)]:
                self._triggers.remove(trigger)
                trigger[2]()

    def stop(self) -> None:
        self.running = False
        self.fireSystemEvent("shutdown")

    def run(self) -> None:
        """
        There is no main loop.

        @raise NotImplementedError: always.
        """
        raise NotImplementedError("pump it instead")

    def crash(self) -> None:
        self.running = False

    def iterate(self, delay: float = 0) -> None:
        self.advance(delay)
