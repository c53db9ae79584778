"""
Slow and greedy clients with real programs and sockets: what they cost the proxy, and that others do not notice.
"""

from __future__ import annotations

import select
import socket
import sys
import time

from twisted.internet import tcp
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from invproxy.server.pace import canMeasure, carried
from invproxy.test.losscase import LossTestCase
from invproxy.test.programs import Program, eventually
from invproxy.test.wires import Wire

KIB = 1024
MIB = 1024 * KIB

CROWD = 2000
"""Connections at once; the benchmarks have ten thousand."""


_CROWD = """
import resource, select, socket, sys
port, count, length = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
head = (b"GET / HTTP/1.1\\r\\nHost: a\\r\\nX: " + b"a" * length)[:length]
crowd = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(count)]
for each in crowd:
    each.sendall(head)
print("came")
parent = select.poll()
parent.register(sys.stdout, 0)  # an error is reported all the same: that nobody reads any more
parent.poll()
"""


class GreedyTests(LossTestCase):
    """
    Crowds before one proxy.
    """

    transport = "tunnel"

    def crowd(self, count: int, length: int) -> Program:
        """
        Let so many connect, and each send so many bytes of a head, and wait until the proxy has taken them all.
        """
        own = self.proxy.countFiles()
        script = [sys.executable, "-c", _CROWD, str(self.proxy.port), str(count), str(length)]
        crowd = self.running(Program("crowd", script))
        crowd.waitFor("^came$")
        eventually(lambda: self.proxy.countFiles() >= own + count - 30, "all are accepted")
        self.beside()
        return crowd

    def disperse(self, crowd: Program, count: int) -> None:
        """
        Close them, and wait until the proxy has noticed.
        """
        before = self.proxy.countFiles()
        crowd.kill()
        eventually(lambda: self.proxy.countFiles() < before - count + 20, "they are gone")

    def beside(self) -> None:
        """
        Others are served.
        """
        began = time.monotonic()
        for _ in range(5):
            self.assertServed([self.client(b"GET /0 HTTP/1.1")])
        self.assertLess(time.monotonic() - began, 10)

    def test_crowds(self) -> None:
        """
        Idle connections cost some kibibytes each, halves of heads what they are long, and the same memory serves the
        next crowd.
        """
        self.configure("--access-log", "none", "--head-timeout", "600")
        self.agent()
        self.beside()
        for length, count, most in ((0, CROWD, 8 * KIB), (30 * KIB, CROWD // 10, 100 * KIB)):
            resident = [self.proxy.resident()]
            # What cycles of garbage hold is collected now and then: it takes some crowds until no more is needed.
            while len(resident) < 4 or max(resident[-2:]) > max(resident[:-2]) + 3 * MIB:
                self.assertLess(len(resident), 16, resident)
                crowd = self.crowd(count, length)
                resident.append(self.proxy.resident())
                self.disperse(crowd, count)
            self.assertLess((resident[1] - resident[0]) / count, most)

    def test_readers(self) -> None:
        """
        Readers of one byte a second hold their backend back, and are cut after the idle timeout.
        """
        self.configure("--access-log", "none", "--idle-timeout", "3")
        self.agent()
        before = self.proxy.resident()
        readers = []
        held: dict[socket.socket, Wire] = {}
        for number in range(5):
            client = Wire.to(self.proxy.port)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            server, _ = self.take()
            server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
            server.socket.setblocking(False)
            readers.append(client)
            held[server.socket] = client
        piece = bytes(64 * KIB)
        sent = 0
        began = sipped = time.monotonic()
        while held:
            self.assertLess(time.monotonic() - began, 100)
            untilSip = max(0.0, sipped + 1 - time.monotonic())
            for ready in select.select([], held, [], untilSip)[1]:
                try:
                    sent += ready.send(piece)
                except BlockingIOError:
                    pass
                except ConnectionError:
                    del held[ready]
            if time.monotonic() - sipped >= 1:
                sipped = time.monotonic()
                for client in held.values():
                    client.readExactly(1)
                self.assertServed([self.client(b"GET /0 HTTP/1.1")])
        self.assertLess(self.proxy.resident() - before, 16 * MIB)
        self.assertLess(sent, 5 * 16 * MIB)
        self.assertGreater(time.monotonic() - began, 3)
        for client in readers:
            self.assertRaises(OSError, client.readToEnd)
        eventually(lambda: not self.states(), "nothing is left")


class Plain(tcp.Connection):
    """
    A transport around a socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection


class CarriedTests(SynchronousTestCase):
    """
    What the kernel says of connections.
    """

    def test_carried(self) -> None:
        """
        What the other end has taken, or what its kernel has for it, counts; what waits for it does not.
        """
        if not canMeasure():
            raise SkipTest("not on this system")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
        with client, server:
            client.setblocking(False)
            before = self.measured(client, 0, (0, 0), 0)
            sent = client.send(bytes(1000))
            after = self.measured(client, 0, before, 1000)
            self.assertEqual((after[0] - before[0], after[1] - before[1]), (1000, 0))
            self.assertEqual(self.measured(server, 1, (0, 0), 1000)[1], 1000)
            while True:
                try:
                    sent += client.send(bytes(65536))
                except BlockingIOError:
                    break
            stuck = self.measured(client, 0, (0, 0), 0)
            self.assertLess(stuck[0] - before[0], sent)
            server.recv(1 << 20)
            self.measured(client, 0, stuck, 1)

    def measured(
        self, connection: socket.socket, which: int, before: tuple[int, int], least: int
    ) -> tuple[int, int]:
        """
        Measure until so much has come.
        """

        def enough() -> tuple[int, int] | None:
            now = carried(Plain(connection))
            assert now is not None
            return now if now[which] - before[which] >= least else None

        found = eventually(enough, "it is measured")
        assert found is not None
        return found

    def test_unknown(self) -> None:
        """
        UNIX sockets are not measured, nor is what is no socket.
        """
        one, other = socket.socketpair()
        with one, other:
            self.assertIsNone(carried(Plain(one)))
        self.assertIsNone(carried(object()))
