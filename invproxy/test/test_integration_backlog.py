"""
Connections that nobody has accepted when their port closes: real sockets, on a reactor of their own.
"""

from __future__ import annotations

import socket
import sys
from unittest import skipUnless

from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

from invproxy.proxy.backlog import stopAccepting
from invproxy.test.programs import DEADLINE


class Answerer(Protocol):
    """
    Answers what comes.
    """

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data.upper())
        self.transport.loseConnection()


class BacklogTests(SynchronousTestCase):
    """
    L{stopAccepting}.
    """

    def setUp(self) -> None:
        self.reactor = SelectReactor()
        self.addCleanup(self.end)
        self.port = self.reactor.listenTCP(0, ServerFactory.forProtocol(Answerer), 200, "127.0.0.1")
        self.address = ("127.0.0.1", self.port.getHost().port)

    def end(self) -> None:
        for selectable in self.reactor.removeAll():
            selectable.connectionLost(connectionDone)

    def spin(self) -> None:
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(0.01)

    def connect(self) -> socket.socket:
        client = socket.create_connection(self.address, DEADLINE)
        self.addCleanup(client.close)
        return client

    def test_accepted(self) -> None:
        """
        All of them are accepted and served, and then nobody listens.
        """
        clients = [self.connect() for _ in range(100)]
        stopped = stopAccepting(self.port, self.reactor)
        for client in clients:
            client.sendall(b"x")
        for _ in range(20):
            self.spin()
        self.successResultOf(stopped)
        self.assertEqual([client.recv(9) for client in clients], [b"X"] * 100)
        self.assertRaises(ConnectionRefusedError, self.connect)

    @skipUnless(sys.platform == "linux", "there are no such filters here")
    def test_noMore(self) -> None:
        """
        Meanwhile none comes that would be reset.
        """
        before = self.connect()
        stopAccepting(self.port, self.reactor)
        with socket.socket() as late:
            late.settimeout(0.05)
            self.assertRaises(TimeoutError, late.connect, self.address)
        before.sendall(b"x")
        for _ in range(5):
            self.spin()
        self.assertEqual(before.recv(9), b"X")
