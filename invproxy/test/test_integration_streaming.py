"""
Messages in parts: each part arrives as it is sent, whatever is still to come, and what breaks never looks whole.
"""

from __future__ import annotations

import hashlib
import os
import time

from invproxy.test.ends import DATE, ENDS, EndsTestCase, field
from invproxy.test.programs import (
    CARRIERS,
    Agent,
    IntegrationTestCase,
    freePort,
    sharedProxy,
    variants,
)
from invproxy.test.wires import Aside, Listener, Wire, firstLine

SOON = 5.0
"""Seconds that are short even on a loaded machine, and less than any clock of agent and proxy."""


class Streaming(EndsTestCase):
    """
    Messages whose parts come one by one.
    """

    def test_interim(self) -> None:
        """
        Interim responses arrive as they are sent, before there is a final one.
        """
        client, server, _ = self.get()
        hints = b"HTTP/1.1 103 Early  Hints\r\nLink: </a.css>; rel=preload\r\nlink: </b.js>\r\n\r\n"
        for interim in (
            hints,
            b"HTTP/1.1 102 Processing\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            hints,
        ):
            server.send(interim)
            self.assertEqual(client.readHead(), interim)
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n" + DATE + b"\r\nx")
        self.assertEqual(client.readMessage()[1], b"x")

    def test_expectGranted(self) -> None:
        """
        It is the backend that says 100, and the body goes out after it.
        """
        client = self.client()
        client.send(
            self.request(
                b"PUT / HTTP/1.1", b"Host: h", b"Expect: 100-continue", b"Content-Length: 4"
            )
        )
        server = self.origin.next()
        head = server.readHead()
        self.assertEqual(field(head, b"Expect"), [b"100-continue"])
        self.assertFalse(client.hasMore())
        server.send(b"HTTP/1.1 100 Go on\r\nX-I: 1\r\n\r\n")
        self.assertEqual(client.readHead(), b"HTTP/1.1 100 Go on\r\nX-I: 1\r\n\r\n")
        client.send(b"body")
        self.assertEqual(server.readExactly(4), b"body")
        server.send(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(firstLine(client.readHead()), b"HTTP/1.1 201 Created")

    def test_expectRefused(self) -> None:
        """
        A backend that does not want the body says so at once, and the client hears no 100.
        """
        for framing in (b"Content-Length: 1000000", b"Transfer-Encoding: chunked"):
            client = self.client()
            client.send(
                self.request(b"PUT / HTTP/1.1", b"Host: h", b"Expect: 100-continue", framing)
            )
            server = self.origin.next()
            server.readHead()
            server.send(
                b"HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
            )
            head, body, _ = client.readMessage()
            self.assertEqual(firstLine(head), b"HTTP/1.1 413 Too Much")
            self.assertEqual(body, b"no")
            # The client may still send the body or not: nobody can tell, so this connection ends.
            self.assertEqual(field(head, b"Connection"), [b"close"])
            self.assertEqual(client.readToEnd(), b"")
            server.waitLost()

    def test_expectSentAnyway(self) -> None:
        """
        A client that does not wait for the 100 is served all the same.
        """
        client = self.client()
        client.send(
            self.request(
                b"PUT / HTTP/1.1",
                b"Host: h",
                b"Expect: 100-continue",
                b"Content-Length: 4",
                body=b"body",
            )
        )
        server = self.origin.next()
        self.assertEqual(server.readMessage()[1], b"body")
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(firstLine(client.readHead()), b"HTTP/1.1 200 OK")

    def test_early(self) -> None:
        """
        A response may end before the request body does.
        """
        client = self.client()
        client.send(
            self.request(
                b"POST / HTTP/1.1", b"Host: h", b"Content-Length: 200000", body=b"x" * 1000
            )
        )
        server = self.origin.next()
        server.readHead()
        server.readExactly(1000)
        server.send(b"HTTP/1.1 403 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")
        head, body, _ = client.readMessage()
        self.assertEqual((firstLine(head), body), (b"HTTP/1.1 403 No", b"no!"))

    def test_duplex(self) -> None:
        """
        Request and response bodies flow both at a time, each piece as it is sent.
        """
        client = self.client()
        client.send(self.request(b"POST / HTTP/1.1", b"Host: h", b"Transfer-Encoding: chunked"))
        server = self.origin.next()
        server.readHead()
        server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.readHead()
        for number in range(20):
            piece = b"piece %d" % number
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.assertEqual(server.readChunk(), piece)
            server.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.assertEqual(client.readChunk(), piece)
        client.send(b"0\r\n\r\n")
        self.assertEqual(server.readUntil(b"\r\n\r\n"), b"0\r\n\r\n")
        server.send(b"0\r\n\r\n")
        self.assertEqual(client.readUntil(b"\r\n\r\n"), b"0\r\n\r\n")

    def test_untilClose(self) -> None:
        """
        A response that ends with its connection arrives as it comes, and then ends.
        """
        for version in (b"HTTP/1.1", b"HTTP/1.0"):
            client, server, _ = self.get()
            server.send(version + b" 200 OK\r\nX: 1\r\n\r\nfirst")
            head = client.readHead()
            self.assertEqual(firstLine(head), b"HTTP/1.1 200 OK")
            self.assertEqual(client.readChunk(), b"first")
            server.send(b"second")
            self.assertEqual(client.readChunk(), b"second")
            server.close()
            self.assertEqual(client.readUntil(b"\r\n\r\n"), b"0\r\n\r\n")

    def test_events(self) -> None:
        """
        Each server-sent event arrives at once, while the stream is open.
        """
        client, server, _ = self.get(b"Accept: text/event-stream")
        server.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.readHead()
        took = []
        for number in range(50):
            event = b"id: %d\ndata: x\n\n" % number
            began = time.monotonic()
            server.send(b"%x\r\n%b\r\n" % (len(event), event))
            self.assertEqual(client.readChunk(), event)
            took.append(time.monotonic() - began)
        # Whatever else the machine does, some are not held up by it.
        self.assertLess(sorted(took)[len(took) // 4], 0.1)

    def test_cut(self) -> None:
        """
        A response that breaks in the middle never looks whole.
        """
        for framing, begin in (
            (b"Content-Length: 100", b"half"),
            (b"Transfer-Encoding: chunked", b"4\r\nhalf\r\n"),
            (b"Transfer-Encoding: chunked", b"4\r\nhalf\r\n5\r\nxx"),
        ):
            for leave in (Wire.close, Wire.reset):
                client, server, _ = self.get()
                server.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (framing, begin))
                client.readHead()
                client.readUntil(b"half")
                leave(server)
                try:
                    rest = client.readToEnd()
                except ConnectionResetError:
                    pass
                else:
                    self.assertNotIn(b"0\r\n", rest)
                    self.assertLess(len(rest), 90)

    def test_cutReset(self) -> None:
        """
        A response without framing, whose connection breaks, is cut, too.
        """
        if not self.origin.port:
            return  # a UNIX socket knows no reset
        client, server, _ = self.get()
        server.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        client.readUntil(b"half\r\n")
        server.reset()
        self.assertNotIn(b"0\r\n\r\n", self._rest(client))

    def _rest(self, client: Wire) -> bytes:
        try:
            return client.readToEnd()
        except ConnectionResetError:
            return b""

    def test_noResponse(self) -> None:
        """
        A backend that closes without an answer, or answers with nonsense, is a 502.
        """
        for answer in (
            b"",
            b"HTTP/1.1 200 OK\r\nConte",
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        ):
            client, server, _ = self.get(line=b"POST / HTTP/1.1")
            server.send(answer)
            server.close()
            head = client.readMessage()[0]
            self.assertEqual(firstLine(head).split(b" ")[1], b"502")
            self.assertEqual(field(head, b"X-Inverting-Proxy-Error"), [b"origin-bad-response"])

    def test_clientLeaves(self) -> None:
        """
        A client that leaves takes its request with it, all the way to the backend: before the response, in the
        middle of it, and in the middle of the request.
        """
        for response in (
            b"",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n",
        ):
            for leave in (Wire.close, Wire.reset):
                client, server, _ = self.get()
                server.send(response)
                if response:
                    client.readUntil(b"begin")
                leave(client)
                server.waitLost()
        client = self.client()
        client.send(
            self.request(b"POST / HTTP/1.1", b"Host: h", b"Content-Length: 9", body=b"half")
        )
        server = self.origin.next()
        server.readUntil(b"half")
        client.close()
        server.waitLost()

    def test_large(self) -> None:
        """
        Large bodies pass whole, both ways at the same time.
        """
        piece = os.urandom(1 << 20)
        count = 24
        client = self.client()

        def upload() -> None:
            size = count * len(piece)
            client.send(self.request(b"POST / HTTP/1.1", b"Host: h", b"Content-Length: %d" % size))
            for _ in range(count):
                client.send(piece)

        uploading = Aside(upload)
        server = self.origin.next()
        server.readHead()

        def download() -> None:
            server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(count):
                server.send(b"%x\r\n%b\r\n" % (len(piece), piece))

        downloading = Aside(download)
        received = Aside(lambda: hashlib.sha256(client.readMessage()[1]).digest())
        expected = hashlib.sha256(piece * count).digest()
        self.assertEqual(hashlib.sha256(server.readExactly(count * len(piece))).digest(), expected)
        downloading.result()
        # Not before the request has come: a response that ends first cuts what is left of it.
        server.send(b"0\r\n\r\n")
        self.assertEqual(received.result(), expected)
        uploading.result()

    def test_slowReader(self) -> None:
        """
        A client that does not read holds up the backend, and nobody else; no process hoards what waits.
        """
        size = 160 << 20
        client, server, _ = self.get()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        client.readHead()
        programs = (sharedProxy(), self.agent)
        before = [program.resident() for program in programs]
        sent = server.sendWhileTaken(bytes(1 << 20), size)
        self.assertLess(sent, 64 << 20)
        other, otherServer, _ = self.get()
        otherServer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(other.readMessage()[1], b"ok")
        for program, was in zip(programs, before, strict=True):
            self.assertLess(program.resident() - was, 64 << 20, program.name)
        rest = Aside(lambda: server.send(bytes(size - sent)))
        for _ in range(size >> 20):
            client.readExactly(1 << 20)
        rest.result()


globals().update(variants(Streaming, ENDS))
del Streaming


class Down(IntegrationTestCase):
    """
    With a backend that is not there.
    """

    transport: str

    def test_refused(self) -> None:
        """
        A backend that is down is a 502 within a second; the agent stays, and serves it once it is up.
        """
        port = freePort()
        backend = f"down-{self.transport}"
        origin = f"http://127.0.0.1:{port}"
        agent = self.running(
            Agent(sharedProxy().url, backend, origin, "--transport", self.transport)
        )
        question = b"\r\n".join(
            (
                b"GET / HTTP/1.1",
                b"Host: h",
                b"X-Inverting-Proxy-Backend: " + backend.encode(),
                b"Accept: text/plain",
                b"\r\n",
            )
        )
        took = []
        for _ in range(3):
            client = Wire.to(sharedProxy().port)
            self.addCleanup(client.close)
            began = time.monotonic()
            client.send(question)
            head, body, _ = client.readMessage()
            took.append(time.monotonic() - began)
            self.assertEqual(firstLine(head), b"HTTP/1.1 502 Bad Gateway")
            self.assertEqual(field(head, b"X-Inverting-Proxy-Error"), [b"origin-refused"])
            self.assertEqual(field(head, b"Cache-Control"), [b"no-store"])
            self.assertIn(b"origin-refused", body)
        self.assertLess(min(took), SOON)
        self.assertIsNone(agent.process.poll())
        listener = Listener(port=port)
        self.addCleanup(listener.close)
        client.send(question)
        server = listener.next()
        server.readHead()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup")
        self.assertEqual(client.readMessage()[1], b"up")
        self.assertEqual(agent.count("agent ready"), 1)


globals().update(variants(Down, CARRIERS))
del Down
