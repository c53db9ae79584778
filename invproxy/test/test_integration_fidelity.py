"""
What arrives at the backend, and what arrives at the client, is what was sent: whole messages, and how one follows
another on a connection.
"""

from __future__ import annotations

from invproxy.test.ends import DATE, ENDS, EndsTestCase, field, own
from invproxy.test.programs import variants
from invproxy.test.wires import fieldsOf, firstLine


class Fidelity(EndsTestCase):
    """
    Whole messages.
    """

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


globals().update(variants(Fidelity, ENDS))
del Fidelity
