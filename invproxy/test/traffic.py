"""
Requests of all kinds: a backend that serves them, a client that sends them, and checks that they come through.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import random
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from invproxy.test.certificates import CLIENTS, certificates
from invproxy.test.programs import DEADLINE, IntegrationTestCase

LARGE = random.Random(7).randbytes(10 << 20)
"""The body of C{/large}."""


class Origin(ThreadingHTTPServer):
    """
    A backend:

      - C{GET /fields}: the header fields that came;
      - C{GET /large}: L{LARGE};
      - C{GET /events}: what is put into C{events}, one by one, until that is L{None};
      - C{GET /meet/N}: N, as soon as so many requests are there as C{meeting} is made for;
      - C{POST /digest}: the hash of the body;
      - C{POST /wait}: C{done}, once C{waited} was set;
      - anything with C{Upgrade}: WebSocket messages, as they came.

    @ivar url: where it is.
    @ivar arrived: set when C{/wait} was asked for.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.events: SimpleQueue[str | None] = SimpleQueue()
        self.meeting = threading.Barrier(1)
        self.arrived, self.waited = threading.Event(), threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *arguments: object) -> None:
        pass  # somebody who left is none


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin

    def do_GET(self) -> None:
        kind, _, rest = self.path.strip("/").partition("/")
        if self.headers["Upgrade"]:
            self._echo()
        elif kind == "events":
            self._sendEvents()
        elif kind == "large":
            self._send(LARGE)
        elif kind == "meet":
            self.server.meeting.wait(DEADLINE)
            self._send(rest.encode("ascii"))
        else:
            self._send(str(self.headers).encode("latin-1"))

    def do_POST(self) -> None:
        digest = hashlib.sha256()
        for piece in self._body():
            digest.update(piece)
        if self.path == "/wait":
            self.server.arrived.set()
            self.server.waited.wait(DEADLINE)
            self._send(b"done")
        else:
            self._send(digest.hexdigest().encode("ascii"))

    def _body(self) -> list[bytes]:
        if self.headers["Transfer-Encoding"] is None:
            return [self.rfile.read(int(self.headers["Content-Length"]))]
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return pieces

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _sendEvents(self) -> None:
        events = self.server.events
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while (event := events.get(timeout=DEADLINE)) is not None:
            data = f"data: {event}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def _echo(self) -> None:
        self.close_connection = True
        protocol = ServerProtocol(max_size=None)
        lines = [self.requestline, *(f"{name}: {value}" for name, value in self.headers.items())]
        data = "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
        while data:
            protocol.receive_data(data)
            for event in protocol.events_received():
                if isinstance(event, Request):
                    protocol.send_response(protocol.accept(event))
                elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    protocol.send_text(event.data)
                elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                    protocol.send_binary(event.data)
            for piece in protocol.data_to_send():
                if not piece:  # the end
                    return
                self.wfile.write(piece)
            data = self.rfile.read1(65536)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@cache
def origin() -> Origin:
    """
    The backend of all tests.
    """
    return Origin()


@frozen
class Answer:
    """
    A response as a client has it.

    @ivar status: the status.
    @ivar fields: the header fields.
    @ivar body: the body.
    """

    status: int
    fields: http.client.HTTPMessage
    body: bytes


@frozen
class Client:
    """
    Asks for a backend, on a new connection each time.

    @ivar url: where to connect.
    @ivar backend: the ID of the backend.
    """

    url: str
    backend: str

    def open(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        fields: Mapping[str, str] | None = None,
        source: str = CLIENTS,
    ) -> http.client.HTTPResponse:
        """
        Ask, and wait for the head of the response.
        """
        parts = urlsplit(self.url)
        host, port, address = parts.hostname or "", parts.port, (source, 0)
        options: dict[str, Any] = {"timeout": DEADLINE, "source_address": address}
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = certificates().context
            connection = http.client.HTTPSConnection(host, port, context=context, **options)
        else:
            connection = http.client.HTTPConnection(host, port, **options)
        named = {"X-Inverting-Proxy-Backend": self.backend, "Connection": "close"}
        connection.request(method, target, body, {**named, **(fields or {})})
        return connection.getresponse()

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        fields: Mapping[str, str] | None = None,
        source: str = CLIENTS,
    ) -> Answer:
        """
        Ask, and wait for the whole response.
        """
        with self.open(method, target, body, fields, source) as response:
            return Answer(response.status, response.headers, response.read())

    def webSocket(self) -> connect:
        """
        Connect a WebSocket, in asyncio. It sends no pings by itself.

        (The client that uses threads instead writes in one while it reads in another, as it does when the tickets of
        TLS 1.3 come. OpenSSL does not allow that for a connection, and now and then a handshake gets no answer.)
        """
        return connect(
            self.url.replace("http", "ws", 1) + "/socket",
            ssl=certificates().context if self.url.startswith("https:") else None,
            additional_headers={"X-Inverting-Proxy-Backend": self.backend},
            proxy=None,
            open_timeout=DEADLINE,
            ping_interval=None,
            max_size=None,
            local_addr=(CLIENTS, 0),
        )


class TrafficTestCase(IntegrationTestCase):
    """
    Requests of all kinds.
    """

    client: Client
    number = 50

    def checkFields(self) -> None:
        """
        A short request.
        """
        answer = self.client.ask("GET", "/fields", fields={"X-Asked": "yes"})
        self.assertEqual(answer.status, 200)
        self.assertIn(b"X-Asked: yes", re.sub(rb"(?i)x-asked", b"X-Asked", answer.body))

    def checkUpload(self) -> None:
        """
        A body of some MiB.
        """
        body = os.urandom(5 << 20)
        answer = self.client.ask("POST", "/digest", body)
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.body.decode(), hashlib.sha256(body).hexdigest())

    def checkDownload(self) -> None:
        """
        An answer of 10 MiB.
        """
        answer = self.client.ask("GET", "/large")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.fields["Content-Length"], str(len(LARGE)))
        self.assertTrue(answer.body == LARGE)

    def checkEvents(self) -> None:
        """
        Server-sent events, each of which is sent once the last has arrived.
        """
        events: SimpleQueue[str | None] = SimpleQueue()
        origin().events = events
        with self.client.open("GET", "/events") as response:
            self.assertEqual(response.status, 200)
            for number in range(20):
                events.put(str(number))
                self.assertEqual(response.readline(), b"data: %d\n" % number)
                self.assertEqual(response.readline(), b"\n")
            events.put(None)
            self.assertEqual(response.read(), b"")

    def checkWebSocket(self, client: Client | None = None) -> None:
        """
        A WebSocket.
        """

        async def converse() -> None:
            async with asyncio.timeout(DEADLINE), (client or self.client).webSocket() as socket:
                for message in ("äöü", "", os.urandom(126), os.urandom(70000), os.urandom(1 << 20)):
                    await socket.send(message)
                    self.assertTrue(await socket.recv() == message)

        asyncio.run(converse())

    def checkAll(self, straight: Client | None = None) -> None:
        """
        All of these.

        @param straight: a client for WebSockets, where they do not pass what is in between.
        """
        self.checkFields()
        self.checkUpload()
        self.checkDownload()
        self.checkEvents()
        self.checkWebSocket(straight)
        self.checkMany()

    def checkMany(self) -> None:
        """
        Many requests that are answered only when all of them are there.
        """
        origin().meeting = threading.Barrier(self.number)
        with ThreadPoolExecutor(self.number) as pool:
            answers = pool.map(
                lambda number: self.client.ask("GET", f"/meet/{number}").body, range(self.number)
            )
            self.assertEqual(list(answers), [b"%d" % number for number in range(self.number)])
