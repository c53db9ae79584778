"""
What arrives at the backend, and what arrives at the client, is what was sent: both ends are raw sockets here, and
between them are a real proxy and a real agent.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable
from functools import cache

from invproxy.test.programs import (
    Agent,
    IntegrationTestCase,
    eventually,
    freePort,
    sharedAgent,
    sharedProxy,
)
from invproxy.test.wires import Aside, Listener, Wire, fieldsOf, firstLine, socketPath

ADDED = frozenset(
    (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto")
)
"""What the proxy adds to requests."""

DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
"""Responses without one get one."""

SOON = 1.0
"""Seconds that are short even on a loaded machine, for what happens at once on an idle one."""


@cache
def tcpOrigin() -> Listener:
    """
    The backend on TCP.
    """
    return Listener()


@cache
def unixOrigin() -> Listener:
    """
    The backend on a UNIX socket.
    """
    return Listener(socketPath())


def own(head: bytes) -> list[tuple[bytes, bytes]]:
    """
    The fields of a request that the proxy has not added.
    """
    return [(name, value) for name, value in fieldsOf(head) if name.lower() not in ADDED]


def field(head: bytes, name: bytes) -> list[bytes]:
    """
    The values of a field.
    """
    return [value for each, value in fieldsOf(head) if each.lower() == name.lower()]


class Raw:
    """
    Both ends.
    """

    backend: str
    transport: str
    makeOrigin: Callable[[], Listener]

    def setUp(self) -> None:
        assert isinstance(self, IntegrationTestCase)
        self.origin = type(self).makeOrigin()
        self.agent = sharedAgent(self.backend, self.origin.url, self.transport)
        assert self.agent.waitReady() == self.transport
        self.addCleanup(self.origin.clear)

    def tearDown(self) -> None:
        """
        Whatever happened, nothing is left behind.
        """
        eventually(lambda: not sharedProxy().inFlight(self.backend), "no exchange is in flight")

    def client(self) -> Wire:
        """
        Connect to the proxy.
        """
        assert isinstance(self, IntegrationTestCase)
        wire = Wire.to(sharedProxy().port)
        self.addCleanup(wire.close)
        return wire

    def request(self, line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
        """
        Write a request for this backend.
        """
        lines = [line, *fields, b"X-Inverting-Proxy-Backend: " + self.backend.encode()]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    def get(self, *fields: bytes, line: bytes = b"GET / HTTP/1.1") -> tuple[Wire, Wire, bytes]:
        """
        Send a request without a body.

        @return: the client's and the backend's end, and the head at the latter.
        """
        client = self.client()
        client.send(self.request(line, b"Host: h", *fields))
        server = self.origin.next()
        assert isinstance(self, IntegrationTestCase)
        self.addCleanup(server.close)
        return client, server, server.readHead()


class Fidelity(Raw, IntegrationTestCase):
    """
    Whole messages, and parts of them as they come.
    """

    def setUp(self) -> None:
        Raw.setUp(self)

    def tearDown(self) -> None:
        Raw.tearDown(self)

    def test_request(self) -> None:
        """
        Method, target, names' case and order, repeated fields, latin-1 and empty values, and the body.
        """
        sent = (
            b"X-First: 1",
            b"hOST: Example.TEST:99",
            b"ACCEPT: */*",
            b"x-latin: caf\xe9 \xa0\xff",
            b"X-Repeated: a",
            b'Cookie: a=b; c="d  e"',
            b"x-repeated: b",
            b"X-Empty: ",
            b"X-REPEATED: c, d",
            b"Authorization: Basic dTpw",
            b"content-Length: 5",
            b"X-Last: end",
        )
        line = b"PoST /a%20b/../c//d;p=1?x=%FF&y=[1]'&&z HTTP/1.1"
        client = self.client()
        client.send(self.request(line, *sent, body=b"\x00\r\n\xff!"))
        server = self.origin.next()
        head, body, _ = server.readMessage()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        client.readMessage()
        self.assertEqual(firstLine(head), line)
        self.assertEqual(own(head), fieldsOf(b"\r\n".join((line, *sent))))
        self.assertEqual(body, b"\x00\r\n\xff!")
        self.assertEqual(field(head, b"X-Forwarded-For"), [b"127.0.0.1"])
        self.assertEqual(field(head, b"X-Forwarded-Host"), [b"Example.TEST:99"])
        self.assertEqual(field(head, b"X-Forwarded-Proto"), [b"http"])
        self.assertEqual(len(field(head, b"Via")), 1)

    def test_response(self) -> None:
        """
        The head of a response is the same to the last byte.
        """
        client, server, _ = self.get()
        sent = (
            b"HTTP/1.1 299 Na\xefve  reason!\r\n"
            b"x-First: 1\r\n"
            b"DATE: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
            b"Set-Cookie: a=1; Path=/\r\n"
            b"X-Latin: \xe9\xff\r\n"
            b"set-cookie: b=2\r\n"
            b"content-LENGTH: 4\r\n"
            b"Server: raw/1 (x)\r\n"
            b"Set-Cookie: c=3\r\n"
            b'ETag: W/"\xe4"\r\n'
            b"\r\n"
        )
        server.send(sent + b"\x00\r\n\xff")
        self.assertEqual(client.readHead(), sent)
        self.assertEqual(client.readExactly(4), b"\x00\r\n\xff")

    def test_reasonEmpty(self) -> None:
        """
        A status without a reason stays without one.
        """
        client, server, _ = self.get()
        server.send(b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(firstLine(client.readHead()), b"HTTP/1.1 200 ")

    def test_methods(self) -> None:
        """
        Any method reaches the backend.
        """
        for method in (b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND", b"M-SEARCH", b"gEt"):
            client, server, head = self.get(line=method + b" /m HTTP/1.1")
            self.assertEqual(firstLine(head), method + b" /m HTTP/1.1")
            server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            self.assertEqual(client.readMessage()[1], b"ok")
            self.origin.keep(server)

    def test_absoluteForm(self) -> None:
        """
        An absolute target is sent on in origin-form, and its authority is the Host.
        """
        client, server, head = self.get(line=b"GET http://other.test:81/p?q HTTP/1.1")
        self.assertEqual(firstLine(head), b"GET /p?q HTTP/1.1")
        self.assertEqual(field(head, b"Host"), [b"other.test:81"])
        server.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        client.readHead()

    def test_spoofed(self) -> None:
        """
        Fields that only the proxy may set do not get through, in either direction.
        """
        client, server, head = self.get(
            b"X-Forwarded-For: 1.2.3.4",
            b"x-forwarded-proto: https",
            b"X-Forwarded-Host: evil.test",
            b"Forwarded: for=1.2.3.4",
            b"X-Real-IP: 1.2.3.4",
            b"X-Inverting-Proxy-User-ID: root@example",
            b"x-inverting-proxy-request-id: 1",
            b"X-Kept: 1",
        )
        self.assertEqual(own(head), [(b"Host", b"h"), (b"X-Kept", b"1")])
        self.assertNotIn(b"1.2.3.4", head)
        self.assertNotIn(b"evil", head)
        server.send(
            b"HTTP/1.1 200 OK\r\nX-Inverting-Proxy-Error: agent-lost\r\nContent-Length: 0\r\n"
            + DATE
            + b"\r\n"
        )
        self.assertEqual(
            client.readHead(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + DATE + b"\r\n"
        )

    def test_hopByHop(self) -> None:
        """
        Connection options, and the fields that they name, stay on their own hop.
        """
        client, server, head = self.get(
            b"Connection: X-Hop, keep-alive",
            b"X-Hop: 1",
            b"Keep-Alive: 5",
            b"Proxy-Connection: x",
            b"X-End: 1",
        )
        self.assertEqual(own(head), [(b"Host", b"h"), (b"X-End", b"1")])
        server.send(
            b"HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-End: 1\r\nContent-Length: 0\r\n"
            + DATE
            + b"\r\n"
        )
        self.assertEqual(
            client.readHead(),
            b"HTTP/1.1 200 OK\r\nX-End: 1\r\nContent-Length: 0\r\n" + DATE + b"\r\n",
        )

    def test_chunked(self) -> None:
        """
        Chunked bodies with trailers, both ways.
        """
        client = self.client()
        client.send(
            self.request(
                b"POST /up HTTP/1.1",
                b"Host: h",
                b"Transfer-Encoding: chunked",
                b"Trailer: X-Sum, x-Other",
                b"TE: trailers",
                b"Connection: TE",
                body=b"3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Sum: \xe9\r\nx-Other: 2\r\nX-Sum: 3\r\n\r\n",
            )
        )
        server = self.origin.next()
        head, body, trailers = server.readMessage()
        self.assertEqual(field(head, b"transfer-encoding"), [b"chunked"])
        self.assertEqual(field(head, b"content-length"), [])
        self.assertEqual(field(head, b"Trailer"), [b"X-Sum, x-Other"])
        self.assertEqual(field(head, b"TE"), [b"trailers"])
        self.assertEqual(body, b"abc0123456789")
        self.assertEqual(trailers, b"X-Sum: \xe9\r\nx-Other: 2\r\nX-Sum: 3\r\n")
        server.send(
            b"HTTP/1.1 200 Yes\r\nTrailer: grpc-status\r\nTransfer-Encoding: chunked\r\n"
            + DATE
            + b"\r\n"
            b"5\r\nhello\r\n1\r\n!\r\n0\r\ngrpc-status: 0\r\nX-T: \xff\r\n\r\n"
        )
        head, body, trailers = client.readMessage()
        self.assertEqual(field(head, b"Trailer"), [b"grpc-status"])
        self.assertEqual(body, b"hello!")
        self.assertEqual(trailers, b"grpc-status: 0\r\nX-T: \xff\r\n")

    def test_empty(self) -> None:
        """
        Empty bodies, in each framing, stay empty and framed.
        """
        client = self.client()
        for fields, body in (
            ((b"Content-Length: 0",), b""),
            ((b"Transfer-Encoding: chunked",), b"0\r\n\r\n"),
        ):
            client.send(self.request(b"POST / HTTP/1.1", b"Host: h", *fields, body=body))
            server = self.origin.next()
            head, content, _ = server.readMessage()
            self.assertEqual(
                own(head), [(b"Host", b"h"), *fieldsOf(b"\r\n" + b"\r\n".join(fields))]
            )
            self.assertEqual(content, b"")
            server.send(b"HTTP/1.1 200 OK\r\n" + DATE + fields[0] + b"\r\n\r\n" + body)
            head, content, _ = client.readMessage()
            self.assertEqual(head, b"HTTP/1.1 200 OK\r\n" + DATE + fields[0] + b"\r\n\r\n")
            self.assertEqual(content, b"")
            self.origin.keep(server)

    def test_bodyless(self) -> None:
        """
        Answers to HEAD, 204 and 304 have no body, whatever their fields say, and the connection goes on.
        """
        client = self.client()
        for method, response in (
            (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n" + DATE),
            (b"HEAD", b"HTTP/1.1 404 Nope\r\nX: 1\r\n" + DATE),
            (b"GET", b"HTTP/1.1 204 Nothing\r\nX-Y: 1\r\n" + DATE),
            (b"GET", b'HTTP/1.1 304 Same\r\nETag: "x"\r\nContent-Length: 77\r\n' + DATE),
            (b"DELETE", b"HTTP/1.1 204 No Content\r\n" + DATE),
            (b"GET", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n" + DATE),
        ):
            client.send(self.request(method + b" / HTTP/1.1", b"Host: h"))
            server = self.origin.next()
            server.readHead()
            server.send(response + b"\r\n")
            self.assertEqual(client.readHead(), response + b"\r\n")
            self.origin.keep(server)
        self.assertFalse(client.hasMore())

    def test_headChunked(self) -> None:
        """
        An answer to HEAD whose body would be chunked.
        """
        client, server, _ = self.get(line=b"HEAD / HTTP/1.1")
        server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + DATE + b"\r\n")
        self.assertEqual(firstLine(client.readHead()), b"HTTP/1.1 200 OK")
        client.send(self.request(b"GET /next HTTP/1.1", b"Host: h"))
        self.origin.keep(server)
        server = self.origin.next()
        self.assertEqual(firstLine(server.readHead()), b"GET /next HTTP/1.1")
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(firstLine(client.readHead()), b"HTTP/1.1 200 OK")

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

    def test_oldClient(self) -> None:
        """
        HTTP/1.0: chunks are undone, nothing interim is sent, and the connection is closed.
        """
        client = self.client()
        client.send(self.request(b"GET /old HTTP/1.0"))
        server = self.origin.next()
        head = server.readHead()
        self.assertEqual(firstLine(head), b"GET /old HTTP/1.1")
        authority = self.origin.url.removeprefix("http://") if self.origin.port else "localhost"
        self.assertEqual(field(head, b"Host"), [authority.encode()])
        server.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + DATE + b"\r\n")
        server.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n")
        whole = client.readToEnd()
        head, _, body = whole.partition(b"\r\n\r\n")
        self.assertIn(firstLine(head), (b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK"))
        self.assertEqual(field(head, b"Transfer-Encoding"), [])
        self.assertEqual(body, b"abcde")

    def test_oldClientCut(self) -> None:
        """
        HTTP/1.0: where only the end of the connection tells the end of the body, a broken one is a reset.
        """
        client = self.client()
        client.send(self.request(b"GET /old HTTP/1.0", b"Host: h"))
        server = self.origin.next()
        server.readHead()
        server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        client.readUntil(b"abc")
        server.close()
        self.assertRaises(ConnectionResetError, client.readToEnd)

    def test_pipelining(self) -> None:
        """
        Requests that are sent all at once are answered in order.
        """
        client = self.client()
        requests = []
        for number in range(20):
            body = b"%d" % number * (number % 3)
            line = b"POST /%d HTTP/1.1" % number
            requests.append(
                self.request(line, b"Host: h", b"Content-Length: %d" % len(body), body=body)
            )
        client.send(b"".join(requests))
        for number in range(20):
            server = self.origin.next()
            head, body, _ = server.readMessage()
            self.assertEqual(firstLine(head), b"POST /%d HTTP/1.1" % number)
            self.assertEqual(body, b"%d" % number * (number % 3))
            text = b"answer %d" % number
            server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
            self.origin.keep(server)
        for number in range(20):
            self.assertEqual(client.readMessage()[1], b"answer %d" % number)

    def test_keepAlive(self) -> None:
        """
        One connection of a client carries many requests, and so does one to the backend.
        """
        client = self.client()
        servers = set()
        for number in range(30):
            client.send(self.request(b"GET /%d HTTP/1.1" % number, b"Host: h"))
            server = self.origin.next()
            servers.add(server)
            server.readHead()
            server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            self.assertEqual(client.readMessage()[1], b"ok")
            self.origin.keep(server)
        # Idle ones are closed after 1.5 s, which may pass on a busy machine; but not each time.
        self.assertLess(len(servers), 15)

    def test_closeAsked(self) -> None:
        """
        A client that asks for it gets its connection closed.
        """
        client, server, _ = self.get(b"Connection: close")
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        head, body, _ = client.readMessage()
        self.assertEqual(body, b"ok")
        self.assertEqual(field(head, b"Connection"), [b"close"])
        self.assertEqual(client.readToEnd(), b"")

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
        self.assertLess(statistics.median(took), 0.1)

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
        piece = bytes(1 << 20)
        count = 160
        client, server, _ = self.get()
        sent = [0]

        def produce() -> None:
            server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (count * len(piece)))
            for _ in range(count):
                server.send(piece)
                sent[0] += 1

        producing = Aside(produce)
        client.readHead()
        other, otherServer, _ = self.get()
        otherServer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(other.readMessage()[1], b"ok")
        self._awaitStandstill(sent)
        self.assertLess(sent[0], 64)
        for program in (sharedProxy(), self.agent):
            self.assertLess(program.resident(), 120 << 20)
        for _ in range(count):
            client.readExactly(len(piece))
        producing.result()

    def _awaitStandstill(self, counter: list[int]) -> None:
        """
        Wait until a counter does not change for a while.
        """
        last, since = counter[0], time.monotonic()
        while time.monotonic() - since < 0.5:
            time.sleep(0.02)
            if counter[0] != last:
                last, since = counter[0], time.monotonic()


class TunnelTCPTests(Fidelity):
    """
    Over a tunnel, with a backend on TCP.
    """

    backend = "tcp"
    transport = "tunnel"
    makeOrigin = staticmethod(tcpOrigin)


class TunnelUNIXTests(Fidelity):
    """
    Over a tunnel, with a backend on a UNIX socket.
    """

    backend = "unix"
    transport = "tunnel"
    makeOrigin = staticmethod(unixOrigin)


class PollTCPTests(Fidelity):
    """
    Over polls, with a backend on TCP.
    """

    backend = "tcp-polled"
    transport = "poll"
    makeOrigin = staticmethod(tcpOrigin)


class PollUNIXTests(Fidelity):
    """
    Over polls, with a backend on a UNIX socket.
    """

    backend = "unix-polled"
    transport = "poll"
    makeOrigin = staticmethod(unixOrigin)


del Fidelity


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


class TunnelDownTests(Down):
    """
    Over a tunnel.
    """

    transport = "tunnel"


class PollDownTests(Down):
    """
    Over polls.
    """

    transport = "poll"


del Down
