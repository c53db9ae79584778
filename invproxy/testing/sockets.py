"""
Stream sockets that are objects in memory, and the links between them.

They are called as Python's C{socket.socket} is, and answer as Linux does on a loopback address, so that Twisted's own
transports run over them unchanged. A L{Kernel} knows all of them; nothing here knows of time or of an event loop.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
from collections import deque

from attrs import define, field

Address = tuple[str, int] | str
"""Where a socket is: host and port, or the path of a UNIX socket."""

SEGMENT = 64 * 1024
"""How many bytes arrive at once, at most."""

_RESET_ON_CLOSE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
_WILDCARDS = _ANY, _ANY6 = "0.0.0.0", "::"  # noqa: S104  (in memory)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _text(address: Address) -> str:
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"


class Pipe:
    """
    One direction of a link: what the buffers of both kernels hold.

    @ivar data: the bytes in flight.
    @ivar finished: whether the sender has sent all that it will.
    @ivar carried: how many bytes have arrived.
    """

    __slots__ = ("carried", "data", "finished")

    def __init__(self) -> None:
        self.data = bytearray()
        self.finished = False
        self.carried = 0

    def take(self, limit: int) -> bytes:
        """
        Let bytes arrive.
        """
        with memoryview(self.data) as view:
            data = bytes(view[:limit])
        del self.data[:limit]
        self.carried += len(data)
        return data

    def drop(self) -> None:
        """
        Lose what is in flight, the end among it.
        """
        self.data.clear()
        self.finished = False


@define(eq=False, repr=False)
class Link:
    """
    A connection, as the network between its two ends sees it.

    @ivar client: the end that connected.
    @ivar server: the end that accepted.
    @ivar frozen: whether nothing arrives at either end for now.
    """

    client: MemorySocket
    server: MemorySocket
    frozen: bool = False
    _up: Pipe = field(factory=Pipe, init=False)
    _down: Pipe = field(factory=Pipe, init=False)

    def __repr__(self) -> str:
        state = ", frozen" * self.frozen + ", over" * (not self.alive)
        return (
            f"<{_text(self.client.local)} to {_text(self.client.remote)}: {self.fromClient} bytes up,"
            f" {self.fromServer} down, {self.inFlight} in flight{state}>"
        )

    @property
    def fromClient(self) -> int:
        """
        How many bytes have arrived at the server.
        """
        return self._up.carried

    @property
    def fromServer(self) -> int:
        """
        How many bytes have arrived at the client.
        """
        return self._down.carried

    @property
    def inFlight(self) -> int:
        """
        How many bytes have left one end and not arrived at the other.
        """
        return len(self._up.data) + len(self._down.data)

    @property
    def alive(self) -> bool:
        """
        Whether an end is still open.
        """
        return not (self.client.closed and self.server.closed)

    def cut(self) -> None:
        """
        Break the connection for both ends; what is in flight is lost.
        """
        self.frozen = False
        self._up.drop()
        self._down.drop()
        self.client.broken = self.server.broken = True


class MemorySocket:
    """
    One stream socket.

    @ivar family: C{AF_INET}, C{AF_INET6} or C{AF_UNIX}.
    @ivar link: the connection that it is an end of, or L{None}.
    @ivar closed: whether it was closed.
    @ivar broken: whether the peer has reset the connection.
    @ivar local: its own address.
    @ivar remote: the address of the other end.
    """

    def __init__(self, kernel: Kernel, family: int) -> None:
        self._kernel = kernel
        self.family = family
        self.closed = False
        self.broken = False
        self.link: Link | None = None
        self.local: Address = "" if family == socket.AF_UNIX else ("", 0)
        self.remote: Address = self.local
        self.dialing = False
        self.listening = False
        self.queue: deque[MemorySocket] = deque()
        self._error = 0
        self._failed = False
        self._options: dict[tuple[int, int], object] = {}
        self._descriptor = kernel.register(self)

    # What the select loop asks.

    def readable(self) -> bool:
        """
        Say whether reading, or accepting, would tell something.
        """
        if self.listening:
            return bool(self.queue)
        if self.link is None:
            return self._failed
        if self.link.frozen:
            return False
        return bool(self._incoming.data) or self._incoming.finished or self._isReset()

    def writable(self) -> bool:
        """
        Say whether writing would take bytes or tell something.
        """
        if self.link is None:
            return self._failed
        # As in Linux: not for every byte that becomes free.
        room = self._kernel.capacity - len(self._outgoing.data)
        return room * 3 >= self._kernel.capacity or (not self.link.frozen and self._isReset())

    def hungUp(self) -> bool:
        """
        Say whether both directions are at their ends.
        """
        if self.link is None:
            return self._failed
        if self.link.frozen:
            return False
        if self.family == socket.AF_UNIX and self._peer.closed:
            return True
        return (self._incoming.finished and self._outgoing.finished) or self._isReset()

    # What Twisted calls.

    def fileno(self) -> int:
        return self._descriptor

    def setblocking(self, flag: bool) -> None:
        """
        Nothing ever blocks.
        """

    def setsockopt(self, level: int, option: int, value: object) -> None:
        self._options[level, option] = value

    def getsockopt(self, level: int, option: int, size: int = 0) -> object:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR):
            number, self._error = self._error, 0
            return number
        if (level, option) == (socket.IPPROTO_TCP, getattr(socket, "TCP_INFO", None)):
            # As in Linux, so far as anybody here wants to know: what the peer has acknowledged, and what came from it.
            return struct.pack("=120xQQ", self._outgoing.carried, self._incoming.carried)
        return self._options.get((level, option), 0)

    def bind(self, address: Address | tuple[str, int, int, int]) -> None:
        self.local = self._kernel.bind(self, _normal(address))

    def listen(self, backlog: int) -> None:
        self.listening = True

    def accept(self) -> tuple[MemorySocket, object]:
        if not self.queue:
            raise _error(errno.EWOULDBLOCK)
        accepted = self.queue.popleft()
        return accepted, accepted.getpeername()

    def connect_ex(self, address: Address | tuple[str, int, int, int]) -> int:
        if self.link is not None:
            return errno.EISCONN
        if self.dialing:
            return errno.EALREADY
        self.remote = _normal(address)
        self.dialing = True
        self._kernel.dialing.append(self)
        return errno.EINPROGRESS

    def getsockname(self) -> object:
        return self._foreign(self.local)

    def getpeername(self) -> object:
        return self._foreign(self.remote)

    def recv(self, limit: int) -> bytes:
        if self.link is None or self.link.frozen:
            raise _error(errno.EWOULDBLOCK)
        incoming = self._incoming
        if incoming.data:
            return incoming.take(min(limit, self._kernel.segment))
        # A TCP socket remembers that it saw the end, a UNIX socket tells errors first.
        if incoming.finished and not (self.broken and self.family == socket.AF_UNIX):
            return b""
        raise _error(errno.ECONNRESET if self._isReset() else errno.EWOULDBLOCK)

    def recvmsg(self, limit: int, *ignored: int) -> tuple[bytes, list[object], int, object]:
        return self.recv(limit), [], 0, None

    def send(self, data: bytes | memoryview) -> int:
        if self.link is None or self._outgoing.finished:
            raise _error(errno.EPIPE)
        if not self.link.frozen and (
            self._isReset() or (self.family == socket.AF_UNIX and self._peer.closed)
        ):
            raise _error(errno.EPIPE)
        room = self._kernel.capacity - len(self._outgoing.data)
        if data and room <= 0:
            raise _error(errno.EWOULDBLOCK)
        taken = data[:room]
        self._outgoing.data += taken
        return len(taken)

    def shutdown(self, how: int) -> None:
        if self.link is None:
            raise _error(errno.ENOTCONN)
        if how != socket.SHUT_RD:
            self._outgoing.finished = True

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._kernel.forget(self)
        for waiting in self.queue:
            waiting.setsockopt(*_RESET_ON_CLOSE)
            waiting.close()
        self.queue.clear()
        if self.link is None:
            return
        self._outgoing.finished = True
        level, option, value = _RESET_ON_CLOSE
        if self.family == socket.AF_UNIX:
            # These know no reset, but an error if something was left unread.
            self._peer.broken = bool(self._incoming.data)
        elif self._options.get((level, option)) == value and not self.broken:
            self._outgoing.drop()
            self._incoming.drop()
            self._peer.broken = True

    # What the kernel does to it.

    def join(self, link: Link) -> None:
        """
        Become an end of a link.
        """
        self.dialing = False
        self.link = link

    def fail(self, number: int) -> None:
        """
        Fail to connect.
        """
        self.dialing = False
        self._failed = True
        self._error = number

    @property
    def _peer(self) -> MemorySocket:
        assert self.link is not None
        return self.link.server if self is self.link.client else self.link.client

    @property
    def _incoming(self) -> Pipe:
        assert self.link is not None
        return self.link._down if self is self.link.client else self.link._up

    @property
    def _outgoing(self) -> Pipe:
        assert self.link is not None
        return self.link._up if self is self.link.client else self.link._down

    def _isReset(self) -> bool:
        # Bytes for a peer that does not read any more are answered with a reset.
        return self.broken or (self._peer.closed and bool(self._outgoing.data))

    def _foreign(self, address: Address) -> object:
        if self.family == socket.AF_INET6:
            return (*address, 0, 0)
        return address


def _normal(address: Address | tuple[str, int, int, int] | bytes) -> Address:
    if isinstance(address, bytes):
        return os.fsdecode(address)
    if isinstance(address, str):
        return address
    return address[0], address[1]


class Kernel:
    """
    All sockets of one network.

    @ivar capacity: how many bytes each direction of a link holds in flight.
    @ivar segment: how many bytes arrive at once, at most.
    @ivar dialing: the sockets that want to connect.
    @ivar links: every link with an end still open.
    @ivar refused: where connections are refused although something may listen there.
    @ivar silent: where attempts to connect get no answer at all.
    """

    def __init__(self, capacity: int = SEGMENT) -> None:
        self.capacity = capacity
        self.segment = SEGMENT
        self.dialing: list[MemorySocket] = []
        self.refused: set[Address] = set()
        self.silent: set[Address] = set()
        self._links: list[Link] = []
        self._bound: dict[Address, MemorySocket] = {}
        self._sockets: dict[int, MemorySocket] = {}
        self._ports = itertools.count(49152)
        # Far above any real one, so that a mix-up with a file of this process is an error.
        self._descriptors = itertools.count(1 << 30)

    @property
    def links(self) -> list[Link]:
        self._links = [link for link in self._links if link.alive]
        return list(self._links)

    def register(self, newcomer: MemorySocket) -> int:
        """
        Give a descriptor to a new socket.
        """
        descriptor = next(self._descriptors)
        self._sockets[descriptor] = newcomer
        return descriptor

    def find(self, descriptor: int) -> MemorySocket | None:
        """
        Find an open socket by its descriptor.
        """
        return self._sockets.get(descriptor)

    def bind(self, owner: MemorySocket, address: Address) -> Address:
        """
        Take an address for a socket.

        @return: the address, with a port if it had none.
        @raise OSError: if it is taken.
        """
        if isinstance(address, tuple):
            host, port = address
            host = host or (_ANY6 if owner.family == socket.AF_INET6 else _ANY)
            port = port or next(self._ports)
            address = (host, port)
            clash = any(
                (other[1], rival.family) == (port, owner.family)
                and (host == other[0] or host in _WILDCARDS or other[0] in _WILDCARDS)
                for other, rival in self._bound.items()
            )
        else:
            clash = address in self._bound
        if clash:
            raise _error(errno.EADDRINUSE)
        self._bound[address] = owner
        return address

    def forget(self, closed: MemorySocket) -> None:
        """
        Take note that a socket was closed.
        """
        self._sockets.pop(closed.fileno(), None)
        if self._bound.get(closed.local) is closed:
            del self._bound[closed.local]

    def connect(self) -> bool:
        """
        Answer the sockets that want to connect.

        @return: whether any was answered.
        """
        dialing, self.dialing = self.dialing, []
        for caller in dialing:
            if caller.closed:
                continue
            if caller.remote in self.silent:
                self.dialing.append(caller)
                continue
            listener = self._listenerAt(caller.remote)
            if listener is not None and caller.remote not in self.refused:
                self._join(caller, listener)
            elif listener is None and isinstance(caller.remote, str):
                caller.fail(errno.ENOENT)
            else:
                caller.fail(errno.ECONNREFUSED)
        return len(self.dialing) < len(dialing)

    def _listenerAt(self, address: Address) -> MemorySocket | None:
        found = self._bound.get(address)
        if found is None and isinstance(address, tuple):
            wildcard = _ANY6 if ":" in address[0] else _ANY
            found = self._bound.get((wildcard, address[1]))
        return found if found is not None and found.listening else None

    def _join(self, caller: MemorySocket, listener: MemorySocket) -> None:
        if caller.local == ("", 0):
            loopback = "::1" if caller.family == socket.AF_INET6 else "127.0.0.1"
            caller.local = (loopback, next(self._ports))
        accepted = MemorySocket(self, caller.family)
        accepted.local = caller.remote
        accepted.remote = caller.local
        link = Link(caller, accepted)
        caller.join(link)
        accepted.join(link)
        listener.queue.append(accepted)
        self._links.append(link)
