"""
What the kernel holds of a listening socket: the connections that stand, but were not accepted yet.

The kernel resets them when the socket is closed, though to their clients they stand, and requests may be under way on
them. So they are accepted first. On Linux a filter keeps more from coming meanwhile: the kernel drops the packets with
which connections begin, as if they were lost. Their clients send them again after a second, and then nobody listens, or
the next process does.
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import sys
from contextlib import suppress
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.internet.tcp import Port

BACKLOG: Final = 1024
"""Connections that the kernel holds until they are accepted: enough for all agents that come back at once."""

_SO_ATTACH_FILTER: Final = 26

_NO_BEGINNINGS: Final = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the flags of the segment
        (0x45, 0, 1, 2),  # unless SYN is among them, skip one
        (0x06, 0, 0, 0),  # drop it
        (0x06, 0, 0, 0xFFFFFFFF),  # take it
    )
)
"""A classic BPF program, as of C{man 7 socket}. Connections that stand are inherited by it, and not harmed."""


def stopAccepting(port: IListeningPort, clock: IReactorTime) -> Deferred[None]:
    """
    Close a port, but accept first what waits there.

    @param port: the port.
    @param clock: the reactor.
    @return: fires when it is closed.
    """
    if isinstance(port, Port) and hasattr(select, "poll"):  # else it is none of the kernel's
        if port.addressFamily != getattr(socket, "AF_UNIX", None):
            _refuseBeginnings(port)
        # A port closes in the turn after it was asked to; right before that is the last chance.
        clock.callLater(0, _acceptWaiting, port)
    return port.stopListening() or succeed(None)


def _refuseBeginnings(port: Port) -> None:
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_NO_BEGINNINGS, len(_NO_BEGINNINGS))
    filter_ = struct.pack("HP", len(_NO_BEGINNINGS) // 8, ctypes.addressof(program))
    with suppress(OSError):  # a kernel without it
        port.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)


def _acceptWaiting(port: Port) -> None:
    poll = select.poll()
    poll.register(port.fileno(), select.POLLIN)
    port.disconnecting = False  # or it would accept nothing
    for _ in range(BACKLOG):  # each time one or more
        if not poll.poll(0):
            break
        port.doRead()
    port.disconnecting = True
