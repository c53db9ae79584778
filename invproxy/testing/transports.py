"""
Twisted's own ports, connectors and transports over sockets in memory.
"""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure

from invproxy.testing.sockets import MemorySocket

_log = Logger()


class _SocketMixin:
    """
    Makes a port or a transport open its socket in memory.
    """

    def createInternetSocket(self: Any) -> socket.socket:
        # Called before a client transport knows its reactor, but not before it knows its connector.
        owner = getattr(self, "connector", self)
        return cast(socket.socket, MemorySocket(owner.reactor.kernel, self.addressFamily))


class _PortMixin(_SocketMixin):
    """
    Accepts connections, as the port's own C{doRead} does less the care for real file descriptors.
    """

    def doRead(self: Any) -> None:
        try:
            while True:
                try:
                    accepted, address = self.socket.accept()
                except BlockingIOError:
                    return
                protocol = self.factory.buildProtocol(self._buildAddr(address[: self._parts]))
                if protocol is None:
                    accepted.close()
                    continue
                number = self.sessionno
                self.sessionno += 1
                transport = self.transport(accepted, protocol, address, self, number, self.reactor)
                protocol.makeConnection(transport)
        except Exception:
            _log.failure("an accepted connection broke its factory or protocol")


class TCPPort(_PortMixin, tcp.Port):
    _parts = 2


class UNIXPort(_PortMixin, unix.Port):
    _parts = None

    def startListening(self) -> None:
        # unix.Port would change the mode of a file; there is none.
        listening = self.createInternetSocket()
        try:
            listening.bind(self._bindPath)
        except OSError as error:
            raise CannotListenError(None, self._bindPath, error) from error
        listening.listen(self.backlog)
        self.factory.doStart()  # type: ignore[union-attr]
        self.connected = True
        self.socket = listening
        self.fileno = listening.fileno  # type: ignore[method-assign]
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        # unix.Port would remove a file.
        tcp.Port.connectionLost(self, reason)


class _TCPClient(_SocketMixin, tcp.Client):
    pass


class _UNIXClient(_SocketMixin, unix.Client):
    pass


class TCPConnector(tcp.Connector):
    def _makeTransport(self) -> Any:
        return _TCPClient(self.host, self.port, self.bindAddress, self, self.reactor)


class UNIXConnector(unix.Connector):
    def _makeTransport(self) -> Any:
        return _UNIXClient(self.address, self, self.reactor)
