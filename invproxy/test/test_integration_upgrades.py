"""
Upgrades to a made-up protocol: after C{101}, bytes pass as they are.
"""

from __future__ import annotations

import os
from functools import partial

from invproxy.test.ends import ENDS, EndsTestCase
from invproxy.test.programs import variants
from invproxy.test.wires import Aside, Wire, fieldsOf, firstLine


class Upgrade(EndsTestCase):
    """
    Upgrades to a protocol that nobody knows.
    """

    def upgrade(self) -> tuple[Wire, Wire]:
        """
        Ask for an upgrade, and get it.
        """
        client, server, head = self.get(b"Upgrade: raw-Echo/1", b"Connection: upgrade")
        fields = dict(fieldsOf(head))
        self.assertEqual(fields[b"Upgrade"], b"raw-Echo/1")
        self.assertEqual(fields[b"Connection"].lower(), b"upgrade")
        server.send(
            b"HTTP/1.1 101 Switching\r\nUpgrade: raw-Echo/1\r\nConnection: Upgrade\r\nX-A: b\r\n\r\nhi"
        )
        head = client.readHead()
        self.assertEqual(firstLine(head), b"HTTP/1.1 101 Switching")
        fields = dict(fieldsOf(head))
        self.assertEqual(fields[b"Upgrade"], b"raw-Echo/1")
        self.assertEqual(fields[b"Connection"].lower(), b"upgrade")
        self.assertEqual(fields[b"X-A"], b"b")
        self.assertEqual(client.readExactly(2), b"hi")
        return client, server

    def test_echo(self) -> None:
        """
        Bytes pass as they are, whatever they look like.
        """
        client, server = self.upgrade()
        for data in (b"\r\n\r\n", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", bytes(range(256))):
            client.send(data)
            self.assertEqual(server.readExactly(len(data)), data)
            server.send(data)
            self.assertEqual(client.readExactly(len(data)), data)
        client.close()
        server.waitLost()

    def test_bulk(self) -> None:
        """
        A lot of bytes pass whole, both ways at the same time.
        """
        client, server = self.upgrade()
        data = os.urandom(8 << 20)
        ends = (client, server)
        sending = [Aside(partial(end.send, data)) for end in ends]
        reading = [Aside(partial(end.readExactly, len(data))) for end in ends]
        for aside in sending:
            aside.result()
        for aside in reading:
            self.assertEqual(aside.result(), data)

    def test_bulkEnd(self) -> None:
        """
        An end that comes while a lot of bytes go the other way cuts none of them off.
        """
        client, server = self.upgrade()
        data = os.urandom(4 << 20)

        def speak() -> None:
            server.send(data)
            server.endWriting()

        speaking = Aside(speak)
        client.send(b"go")
        client.endWriting()
        self.assertEqual(server.readToEnd(), b"go")
        reading = Aside(client.readToEnd)
        speaking.result()
        self.assertEqual(reading.result(), data)

    def checkFirstEnd(self, first: Wire, other: Wire) -> None:
        """
        The end that has said everything still hears what the other says.
        """
        first.send(b"speech")
        first.endWriting()
        self.assertEqual(other.readToEnd(), b"speech")
        other.send(b"comment")
        self.assertEqual(first.readExactly(7), b"comment")
        other.send(b", more")
        other.close()
        self.assertEqual(first.readToEnd(), b", more")

    def test_clientEndsFirst(self) -> None:
        """
        A client that has said everything still hears what the backend says.
        """
        client, server = self.upgrade()
        self.checkFirstEnd(client, server)

    def test_backendEndsFirst(self) -> None:
        """
        A backend that has said everything still hears what the client says.
        """
        client, server = self.upgrade()
        self.checkFirstEnd(server, client)

    def checkLoss(self, lost: Wire, other: Wire) -> None:
        """
        The other end sees when one breaks.
        """
        lost.send(b"half")
        self.assertEqual(other.readExactly(4), b"half")
        lost.reset()
        other.waitLost()

    def test_clientLost(self) -> None:
        """
        The backend sees when the client's connection breaks.
        """
        client, server = self.upgrade()
        self.checkLoss(client, server)

    def test_backendLost(self) -> None:
        """
        The client sees when the backend's connection breaks.
        """
        client, server = self.upgrade()
        self.checkLoss(server, client)

    def test_declined(self) -> None:
        """
        A backend may answer without an upgrade, and then HTTP goes on.
        """
        client, server, _ = self.get(b"Connection: Upgrade", b"Upgrade: raw-echo")
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
        self.assertEqual(client.readMessage()[1], b"no")
        self.origin.keep(server)
        client.send(self.request(b"GET /next HTTP/1.1", b"Host: h"))
        server = self.origin.next()
        self.assertEqual(firstLine(server.readHead()), b"GET /next HTTP/1.1")
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
        self.assertEqual(client.readMessage()[1], b"yes")

    def test_h2c(self) -> None:
        """
        The upgrade to HTTP/2 is not passed on.
        """
        client, server, head = self.get(
            b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ"
        )
        names = {name.lower() for name, _ in fieldsOf(head)}
        self.assertFalse(names & {b"upgrade", b"http2-settings"}, names)
        server.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertEqual(firstLine(client.readHead()), b"HTTP/1.1 204 No Content")


globals().update(variants(Upgrade, ENDS))
del Upgrade
