"""
Stand-ins for the original's agent and server, as its side of the poll protocol is described in docs/protocol.md: no
features of ours, and all the habits that one has to live with.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from invproxy.test.programs import DEADLINE
from invproxy.test.wires import Unchunked, Wire, firstLine

TOKEN = b"secret-oauth-token-of-the-agent"
JWT = b"eyJhbGciOiJSUzI1NiJ9.secret-identity-of-the-machine.c2ln"

_START_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        pass  # an agent that left is none


class OriginalAgent:
    """
    The original's agent; the test tells it what to do when.

    @ivar backend: the ID that it serves.
    """

    def __init__(self, port: int, backend: str) -> None:
        """
        @param port: where the proxy is.
        @param backend: the ID to serve.
        """
        self._port = port
        self.backend = backend
        self._wires: list[Wire] = []

    def _call(self, method: bytes, path: bytes, identifier: str, fields: bytes = b"") -> Wire:
        wire = Wire.to(self._port)
        self._wires.append(wire)
        named = f"X-Inverting-Proxy-Request-Id: {identifier}\r\n".encode() if identifier else b""
        wire.send(
            b"%b %b HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Go-http-client/1.1\r\n%b"
            b"Authorization: Bearer %b\r\nX-Inverting-Proxy-Backend-Id: %b\r\n%b"
            b"X-Inverting-Proxy-Vm-Id: %b\r\nAccept-Encoding: gzip\r\n\r\n"
            % (method, path, fields, TOKEN, self.backend.encode(), named, JWT)
        )
        return wire

    def close(self) -> None:
        """
        Close all connections.
        """
        for wire in self._wires:
            wire.close()

    def park(self) -> Wire:
        """
        Send a poll.
        """
        return self._call(b"GET", b"/agent/pending", "")

    def poll(self) -> list[str]:
        """
        Ask for IDs, as often as it takes.
        """
        while True:
            head, body, _ = self.park().readMessage()
            assert firstLine(head) == b"HTTP/1.1 200 OK", head
            found = json.loads(body)
            assert isinstance(found, list)
            if found:
                return found

    def fetch(self, identifier: str) -> Wire:
        """
        Fetch a request.

        @return: where it comes, with the head of the call read.
        """
        wire = self._call(b"GET", b"/agent/request", identifier)
        head = wire.readHead()
        assert firstLine(head) == b"HTTP/1.1 200 OK", head
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        assert fields[b"X-Inverting-Proxy-Request-ID"] == identifier.encode(), fields
        assert b"X-Inverting-Proxy-User-ID" in fields, fields
        assert _START_TIME.fullmatch(fields[b"X-Inverting-Proxy-Request-Start-Time"]), fields
        return Unchunked(wire) if fields.get(b"Transfer-Encoding") == b"chunked" else wire

    def fetchStatus(self, identifier: str) -> bytes:
        """
        Ask for a request.

        @return: the first line of the answer.
        """
        return firstLine(self._call(b"GET", b"/agent/request", identifier).readHead())

    def open(self, identifier: str) -> OriginalResponse:
        """
        Begin to send a response.
        """
        fields = b"Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n"
        return OriginalResponse(self._call(b"POST", b"/agent/response", identifier, fields))

    def respond(self, identifier: str, status: bytes, fields: bytes, *pieces: bytes) -> bytes:
        """
        Send a whole response, chunked inside, whatever it is.

        @return: the first line of the answer to the call.
        """
        response = self.open(identifier)
        response.write(b"HTTP/1.1 %b\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (status, fields))
        for piece in pieces:
            response.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        response.write(b"0\r\n\r\n")
        return response.finish()


class OriginalResponse:
    """
    A response on its way from the original's agent.

    @ivar wire: its connection.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def write(self, data: bytes) -> None:
        """
        Send a piece of the inner message.
        """
        self.wire.send(b"%x\r\n%b\r\n" % (len(data), data))

    def finish(self) -> bytes:
        """
        End the call.

        @return: the first line of the answer to it.
        """
        self.wire.send(b"0\r\n\r\n")
        return firstLine(self.wire.readHead())


class Pending:
    """
    A request that waits at the original's server, and its response.

    @ivar identifier: its ID.
    @ivar request: it, in wire form.
    @ivar fields: the fields of the call that brought the response.
    """

    def __init__(self, identifier: str, request: bytes) -> None:
        self.identifier = identifier
        self.request = request
        self.fields: dict[str, str] = {}
        self.fetches = 0
        self._came = b""
        self._ended = False
        self._changed = threading.Condition()

    def take(self, data: bytes) -> None:
        """
        Take a piece of the response; an empty one is its end.
        """
        with self._changed:
            self._came += data
            self._ended = self._ended or not data
            self._changed.notify_all()

    def readUntil(self, marker: bytes) -> bytes:
        """
        Wait until the response has a marker.

        @return: what has come so far.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: marker in self._came, DEADLINE):
                raise AssertionError(f"no {marker!r} in {self._came!r}")
            return self._came

    def response(self) -> bytes:
        """
        Wait for the whole response, in wire form.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, DEADLINE):
                raise AssertionError(f"no end after {self._came!r}")
            return self._came


class OriginalServer:
    """
    The original's stand-alone server, less its clients, whose place the test takes: whatever names a backend is an
    agent, on any path; there is one queue; an empty poll is answered with C{null}.

    @ivar url: where it is.
    @ivar polls: how many polls were answered.
    @ivar emptyPoll: the body of the answer to an empty poll.
    @ivar repeats: whether IDs are listed in each poll until they are answered, as the App Engine version does.
    @ivar failures: how many calls that fetch a request are still to be answered with a 500.
    """

    def __init__(self, pollTime: float = 0.3) -> None:
        """
        @param pollTime: how long an empty poll waits, in seconds.
        """
        self.polls = 0
        self.emptyPoll = b"null"
        self.repeats = False
        self.failures = 0
        self._pollTime = pollTime
        self._queue: list[str] = []
        self._pending: dict[str, Pending] = {}
        self._changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def do_POST(self) -> None:
                outer.answer(self)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """
        Stop listening.
        """
        self._server.shutdown()
        self._server.server_close()

    def submit(self, request: bytes) -> Pending:
        """
        Queue a request.

        @param request: it, in wire form.
        """
        with self._changed:
            pending = Pending(f"id-{len(self._pending)}", request)
            self._pending[pending.identifier] = pending
            self._queue.append(pending.identifier)
            self._changed.notify_all()
        return pending

    def waitPolls(self, count: int) -> None:
        """
        Wait until so many polls were answered.
        """
        with self._changed:
            assert self._changed.wait_for(lambda: self.polls >= count, DEADLINE), self.polls

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        """
        Answer a call.
        """
        if not call.headers["X-Inverting-Proxy-Backend-ID"]:
            return self._send(call, 400, b"no backend\n")
        identifier = call.headers["X-Inverting-Proxy-Request-ID"]
        if not identifier:
            return self._send(call, 200, self._poll())
        pending = self._pending.get(identifier)
        if call.command == "POST":
            return self._take(call, pending)
        if pending is None:
            return self._send(call, 404, b"unknown\n")
        with self._changed:
            pending.fetches += 1
            if self.failures:
                self.failures -= 1
                return self._send(call, 500, b"broken\n")
        call.send_response(200)
        call.send_header("X-Inverting-Proxy-Request-Start-Time", "2026-11-22T12:46:34.123456789Z")
        call.send_header("Content-Length", str(len(pending.request)))
        call.end_headers()
        call.wfile.write(pending.request)
        return None

    def _send(self, call: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        call.send_response(status)
        call.send_header("Content-Type", "text/plain; charset=utf-8")
        call.send_header("Content-Length", str(len(body)))
        call.end_headers()
        call.wfile.write(body)

    def _poll(self) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._queue, self._pollTime)
            found = list(self._queue)
            if not self.repeats:
                self._queue.clear()
            elif found:
                # The original does not even wait for that; but two loops that chase each other take the machine.
                self._changed.wait_for(lambda: self._queue != found, 0.05)
            self.polls += 1
            self._changed.notify_all()
        return json.dumps(found).encode() if found else self.emptyPoll

    def _take(self, call: BaseHTTPRequestHandler, pending: Pending | None) -> None:
        if call.headers["Transfer-Encoding"] != "chunked":
            call.close_connection = True
            return self._send(call, 400, b"the original's agent always sends chunks\n")
        if pending is not None:
            pending.fields = dict(call.headers.items())
        while size := int(call.rfile.readline(), 16):
            data = call.rfile.read(size + 2)[:-2]
            if pending is not None:
                pending.take(data)
        while call.rfile.readline() not in (b"\r\n", b""):
            pass
        if pending is None:
            return self._send(call, 404, b"unknown\n")
        with self._changed:
            if pending.identifier in self._queue:
                self._queue.remove(pending.identifier)
                self._changed.notify_all()
        self._send(call, 200, b"")
        pending.take(b"")
        return None
