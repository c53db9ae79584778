"""
The turn of the reactor: many busy sockets are read in it as one, and what was written in it goes out at its end.

Twisted's epoll reactor gives each event of each socket a logging context of its own, and takes another pass through its
main loop for whatever is to happen at the end of a turn. For a proxy that is a third of its work. So the sockets of our
connections are B{adopted}: they are read from an epoll object of ours, which is one more readable descriptor to the
reactor. When all events of a batch have been handled, everything that was written meanwhile goes out, joined for each
connection.

Only reading moves here. Everything else (waiting to write, connecting, closing, timers) stays with the reactor, and so
does every socket with which this cannot work: without epoll, or with transports that are not Twisted's own.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet import tcp
from twisted.internet.interfaces import IReactorTime, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

_log = Logger(namespace="invproxy.transport")

_LEAST_EVENTS: Final = 16
"""
Sockets that are read in one batch, or an eighth of all, if that is more. What they bring goes on together, in one
system call for a tunnel; but were it many more, the next process would have nothing to do while we read, and we nothing
while it does.
"""

_LONGEST_STAY: Final = 0.005
"""Seconds for which batches are read and awaited, before the rest of the program has its turn."""


def connectionBelow(transport: object) -> tcp.Connection | None:
    """
    Find the connection over TCP, or to a UNIX socket, that is below TLS and the like.

    @param transport: what a protocol has for its transport.
    @return: the connection, unless that is not one of Twisted's own.
    """
    while not isinstance(transport, tcp.Connection):
        transport = getattr(transport, "transport", None)
        if transport is None:
            return None
    return transport


class Flushable(Protocol):
    """
    Something that collects what is written to it.
    """

    def flush(self) -> None:
        """
        Write what was collected.
        """


class Turn:
    """
    The present turn of a reactor. There is one for each reactor: see L{turnOf}.
    """

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: the reactor.
        """
        self._clock = clock
        self._flushables: list[Flushable] = []
        self._inBatch = False
        self._append = self._flushables.append
        self._sockets: _Sockets | None = None
        if _canAdopt(clock):
            self._sockets = _Sockets(self, clock)

    def enlist(self, flushable: Flushable) -> None:
        """
        Flush it when the turn ends.
        """
        if not self._inBatch and not self._flushables:
            self._clock.callLater(0, self.end)
        self._append(flushable)

    def begin(self) -> None:
        """
        A batch of events begins, after which there will be an L{end}.
        """
        self._inBatch = True

    def end(self) -> None:
        """
        Flush what was enlisted, and what that enlists.
        """
        self._inBatch = True
        flushables = self._flushables
        for flushable in flushables:
            try:
                flushable.flush()
            except Exception:
                _log.failure("what was written could not be sent")
        flushables.clear()
        self._inBatch = False

    def adopt(self, transport: object) -> None:
        """
        Read a connection that has just been made along with the others, if that can be done.
        """
        if self._sockets is not None:
            connection = connectionBelow(transport)
            if connection is not None:
                self._sockets.adopt(connection)


_NAME: Final = "_invproxyTurn"


def turnOf(clock: IReactorTime) -> Turn:
    """
    Find the turn of a reactor, which keeps it.
    """
    turn: Turn | None = getattr(clock, _NAME, None)
    if turn is None:
        turn = Turn(clock)
        setattr(clock, _NAME, turn)
    return turn


def _canAdopt(reactor: object) -> bool:
    # It leans on what is not public: where that is missing, nothing is adopted.
    return all(
        hasattr(reactor, name)
        for name in ("_reads", "_disconnectSelectable", "timeout", "addReader")
    ) and isinstance(getattr(reactor, "_poller", None), getattr(select, "epoll", ()))


_MOST_READ: Final = 65536
"""Bytes that are read of a connection at a time."""

_Receive = Callable[[memoryview], int]


def _receiveOf(reader: Any) -> _Receive | None:
    """
    Find what reads from the socket of a connection, unless that has a way of its own, as those have over UNIX sockets.
    """
    isPlain = type(reader).doRead is tcp.Connection.doRead and hasattr(reader, "_dataReceived")
    return reader.socket.recv_into if isPlain else None


@implementer(IReadDescriptor)
class _Sockets:
    """
    The adopted sockets, as one reader of the reactor; and, as the C{reactor} of their transports, what they ask to be
    read by.
    """

    def __init__(self, turn: Turn, reactor: Any) -> None:
        self._turn = turn
        self._reactor = reactor
        self._readers: dict[int, tuple[Any, _Receive | None]] = {}
        self._received = memoryview(bytearray(_MOST_READ))
        # Sockets that wait to write. They are the reactor's, wholly: of one that breaks, it must read what has come
        # before it takes it for lost.
        self._writers: set[int] = set()
        self._epoll = select.epoll()
        self._either = select.poll()
        self._either.register(self._epoll, select.POLLIN)
        self._either.register(reactor._poller, select.POLLIN)

    def adopt(self, transport: Any) -> None:
        """
        Take over a connection that has just been made, and so is being read.
        """
        if transport.reactor is self._reactor:
            self._reactor.removeReader(transport)
            transport.reactor = self
            self.addReader(transport)

    # As the reactor of the transports.

    def addReader(self, reader: Any) -> None:
        number = reader.fileno()
        if number in self._writers:
            self._reactor.addReader(reader)
        elif number not in self._readers:
            self._epoll.register(number, select.EPOLLIN)
            if not self._readers:
                self._reactor.addReader(self)
            self._readers[number] = reader, _receiveOf(reader)

    def removeReader(self, reader: Any) -> None:
        number = reader.fileno()
        if self._readers.pop(number, None) is not None:
            self._epoll.unregister(number)
            if not self._readers:
                self._reactor.removeReader(self)
        elif number in self._writers:
            self._reactor.removeReader(reader)

    def addWriter(self, writer: Any) -> None:
        number = writer.fileno()
        if number in self._writers:
            return
        if number in self._readers:
            self.removeReader(writer)
            self._reactor.addReader(writer)
        self._writers.add(number)
        self._reactor.addWriter(writer)

    def removeWriter(self, writer: Any) -> None:
        number = writer.fileno()
        if number not in self._writers:
            return
        self._writers.discard(number)
        self._reactor.removeWriter(writer)
        # Unless the reactor has stopped reading it, as its peer has said all.
        if number in self._reactor._reads:
            self._reactor.removeReader(writer)
            self.addReader(writer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    # As a reader of the reactor.

    def fileno(self) -> int:
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        return "-"

    def doRead(self) -> None:
        """
        Read what is ready, and for a moment, unless a timer is due or a socket waits to write, wait for more right
        here: a pass through the main loop costs as much as a request. While there is no rest, everything else in the
        reactor has its turn that moment later.
        """
        seconds = self._reactor.seconds
        until = seconds() + _LONGEST_STAY
        while True:
            self._readBatch()
            timer = self._reactor.timeout()
            wait = until - seconds()
            if timer is not None:
                wait = min(wait, timer)
            # The reactor's own epoll object is ready whenever ours is, as it has ours among its readers.
            if wait <= 0 or self._writers or len(self._either.poll(wait * 1000)) < 2:
                return

    def _readBatch(self) -> None:
        readers = self._readers
        self._turn.begin()
        try:
            for number, event in self._epoll.poll(0, max(_LEAST_EVENTS, len(readers) >> 3)):
                found = readers.get(number)
                if found is None:
                    continue  # one before it has put an end to it
                reader, receive = found
                if event & select.EPOLLIN:
                    try:
                        why = reader.doRead() if receive is None else self._read(reader, receive)
                    except Exception as error:
                        _log.failure("a connection failed on what it received")
                        why = error
                else:
                    why = CONNECTION_DONE  # all that came was read
                if why:
                    self.removeReader(reader)
                    try:
                        self._reactor._disconnectSelectable(reader, why, True)
                    except Exception:
                        _log.failure("a connection failed on its end")
        finally:
            self._turn.end()

    def _read(self, reader: Any, receive: _Receive) -> Any:
        """
        Read what a connection over TCP has, as its C{doRead} does. But that asks for 64 KiB of memory each time and
        gives back what is not needed; others take of it, and the next time it has to come from somewhere else: so
        memory grew for hours.
        """
        received = self._received
        try:
            size = receive(received)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        return reader._dataReceived(bytes(received[:size]))

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor has stopped.
        """
        for reader, _ in list(self._readers.values()):
            try:
                reader.connectionLost(reason)
            except Exception:
                _log.failure("a connection failed on its end")
