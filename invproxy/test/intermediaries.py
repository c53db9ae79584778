"""
What stands between clients or agents and a proxy: web servers in front of it, and a forward proxy on the way to it.
They are real programs for the integration tests, configured as docs/intermediaries.md says; and there is a backend to
be reached through them, with a client that does so.
"""

from __future__ import annotations

import atexit
import hashlib
import http.client
import os
import random
import re
import shlex
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import urlsplit

import trustme
from attrs import frozen
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.sync.client import ClientConnection, connect

import invproxy
from invproxy.test.programs import DEADLINE, Program, Proxy, eventually, freePort

PAGE = Path(invproxy.__file__).parent.parent / "docs" / "intermediaries.md"

AGENTS, CLIENTS = "127.0.0.1", "127.0.0.2"
"""Where agents and clients connect from: two addresses, so that each can be told from the other."""

_TESTED = re.compile(r"^<!-- tested: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def missing(*programs: str) -> str | None:
    """
    Say what tests of these programs need and do not find.
    """
    if not PAGE.exists():
        return "the documentation is not installed, and their configurations are in it"
    names = [name for name in programs if not _which(name)]
    return f"not installed: {', '.join(names)}" if names else None


def _which(program: str) -> str | None:
    return shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


# The documentation.


@cache
def documented() -> dict[str, str]:
    """
    The blocks of the page that are to be tested, by their names.
    """
    return dict(_TESTED.findall(PAGE.read_text(encoding="utf-8")))


@frozen
class Command:
    """
    A command in the documentation.

    @ivar environment: what it sets in the environment.
    @ivar options: the options, by their names.
    """

    environment: dict[str, str]
    options: dict[str, str]


def command(name: str) -> Command:
    """
    Read a command that is all of a block.
    """
    prompt, *words = shlex.split(documented()[name])
    assert prompt == "$", prompt
    begin = words.index("twist")
    environment = dict(word.split("=", 1) for word in words[:begin])
    options = words[begin + 2 :]
    return Command(environment, dict(zip(options[::2], options[1::2], strict=True)))


def changed(text: str, changes: Mapping[str, str]) -> str:
    """
    Replace parts of a text, each of which has to be there.
    """
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in:\n{text}"
        text = text.replace(old, new)
    return text


# Certificates.


def directory() -> Path:
    """
    Make a directory that everybody can read, and that is gone when the tests have ended.
    """
    place = tempfile.mkdtemp(prefix="invproxy-")
    os.chmod(place, 0o755)  # nginx's workers are nobody
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return Path(place)


@frozen
class Certificates:
    """
    Files in PEM.

    @ivar authority: the certificate of the authority.
    @ivar certificate: the certificate of all servers.
    @ivar key: its key.
    @ivar both: the two of them.
    @ivar context: for clients.
    """

    authority: Path
    certificate: Path
    key: Path
    both: Path
    context: ssl.SSLContext


@cache
def certificates() -> Certificates:
    """
    Make certificates for this machine.
    """
    place = directory()
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", AGENTS, ELSEWHERE)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    made = Certificates(
        place / "authority.pem", place / "chain.pem", place / "key.pem", place / "both.pem", context
    )
    authority.cert_pem.write_to_path(str(made.authority))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(made.certificate), append=True)
    issued.private_key_pem.write_to_path(str(made.key))
    issued.private_key_and_cert_chain_pem.write_to_path(str(made.both))
    return made


ELSEWHERE = "0.0.0.0"
"""An address that leads to this machine, and that agents do not know as one which is never behind a forward proxy."""


# The proxy.

_TWIST = (sys.executable, "-m", "twisted", "--log-format=text")


class ListeningProxy(Proxy):
    """
    C{twist invproxy-server} on an endpoint of one's choice.
    """

    def __init__(self, listen: str, *options: str) -> None:
        """
        @param listen: the endpoint.
        @param options: more options.
        """
        arguments = ("--listen", listen, "--admin-listen", "tcp:0:interface=127.0.0.1", *options)
        Program.__init__(self, "proxy", [*_TWIST, "invproxy-server", *arguments])
        found = self.waitFor(r"^proxy ready: (\w+://\S+:(\d+)) \(admin (http://\S+)\)$")
        self.url = found[1]
        self.port = int(found[2])
        self.admin = found[3]

    @classmethod
    def documented(cls, name: str, port: int = 0) -> ListeningProxy:
        """
        Start it by a documented command, on another port.

        @param name: of the block with the command.
        @param port: the port; 0 is any free one.
        """
        options = command(name).options
        listen = changed(options.pop("--listen"), {":8080:": f":{port}:"})
        return cls(listen, *(word for option in options.items() for word in option))

    @classmethod
    def withTLS(cls) -> ListeningProxy:
        """
        Start it with a certificate of its own.
        """
        made = certificates()
        return cls(f"ssl:0:privateKey={made.key}:certKey={made.certificate}:interface=127.0.0.1")


# What stands in between.


class Intermediary(Program):
    """
    A program that listens on a port; its processes are one process group.

    @ivar port: the port.
    """

    def __init__(self, name: str, arguments: Sequence[str], port: int) -> None:
        """
        @param name: what it is called in failures.
        @param arguments: the command line.
        @param port: where it is going to listen.
        """
        super().__init__(name, [_which(arguments[0]) or arguments[0], *arguments[1:]])
        self.port = port
        eventually(self._isListening, f"{name} listens on port {port}")

    def _isListening(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} has ended:\n" + "\n".join(self.output()))
        try:
            socket.create_connection(("127.0.0.1", self.port), DEADLINE).close()
        except ConnectionRefusedError:
            return False
        return True

    def _signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def _states(self) -> set[str]:
        """
        The states of its processes, see L{proc(5)}.
        """
        found = set()
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                _, _, fields = path.read_text(encoding="ascii", errors="replace").rpartition(") ")
            except OSError:
                continue  # it has just ended
            state, _, group, *_ = fields.split()
            if int(group) == self.process.pid:
                found.add(state)
        return found

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)
        eventually(lambda: self._states() == {"T"}, f"{self.name} stands still")

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process.poll() is None:
            self._signal(signal.SIGKILL)
        self.waitEnd()

    def close(self) -> None:
        if self.process.poll() is None:
            self.thaw()
        super().close()


class Front(Intermediary):
    """
    A web server in front of a proxy.

    @ivar url: where clients and agents connect.
    """

    def __init__(self, name: str, arguments: Sequence[str], port: int) -> None:
        super().__init__(name, arguments, port)
        self.url = f"https://localhost:{port}"

    def calls(self, path: str) -> int:
        """
        Count the calls of a path that it has logged: those that are over.
        """
        return self.count(rf'"[A-Z]+ {path}[ ?]')


# As in the file that Debian installs; and what goes on is logged.
_NGINX = """
daemon off;
worker_processes 1;
worker_shutdown_timeout {patience}s;
pid {place}/pid;
error_log stderr notice;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    log_format calls '$remote_addr "$request" $status';
    access_log /dev/stdout calls;
    include {place}/invproxy.conf;
}}
"""


class Nginx(Front):
    """
    nginx.
    """

    def __init__(
        self,
        proxy: int,
        changes: Mapping[str, str] | None = None,
        *,
        port: int = 0,
        patience: int = 1,
    ) -> None:
        """
        @param proxy: the port of the proxy.
        @param changes: what to write instead of what is documented.
        @param port: where to listen; 0 is any free port.
        @param patience: for how many seconds connections live on when it is reloaded.
        """
        port = port or freePort()
        self._place = place = directory()
        made = certificates()
        self._text = changed(
            documented()["nginx"],
            {
                "listen 443 ssl": f"listen {AGENTS}:{port} ssl",
                "server_name proxy.example": "server_name localhost",
                "/etc/ssl/proxy.example.pem": str(made.certificate),
                "/etc/ssl/proxy.example.key": str(made.key),
                "127.0.0.1:8080": f"127.0.0.1:{proxy}",
                "198.51.100.0/24": AGENTS,
            },
        )
        main = place / "nginx.conf"
        main.write_text(_NGINX.format(place=place, patience=patience), encoding="utf-8")
        self._configure(changes)
        super().__init__(
            "nginx", ("nginx", "-p", str(place), "-c", str(main), "-e", "stderr"), port
        )

    def _configure(self, changes: Mapping[str, str] | None) -> None:
        text = changed(self._text, changes or {})
        (self._place / "invproxy.conf").write_text(text, encoding="utf-8")

    def reload(self, changes: Mapping[str, str] | None = None) -> None:
        """
        Have it read another configuration.

        @param changes: what to write instead of what is documented.
        """
        begin = len(self.output())
        self._configure(changes)
        self.process.send_signal(signal.SIGHUP)
        self.waitFor("gracefully shutting down", begin)


# As in the file that Debian installs; but it logs to stdout, and is not in a place of its own.
_HAPROXY = """
global
    log stdout format raw local0
defaults
    log global
    mode http
    option httplog
    option dontlognull
    timeout connect 5000
    timeout client 50000
    timeout server 50000
"""


class HAProxy(Front):
    """
    HAProxy.
    """

    def __init__(
        self,
        proxy: int,
        changes: Mapping[str, str] | None = None,
        *,
        name: str = "haproxy",
        port: int = 0,
    ) -> None:
        """
        @param proxy: the port of the proxy.
        @param changes: what to write instead of what is documented.
        @param name: of the configuration.
        @param port: where to listen; 0 is any free port.
        """
        port = port or freePort()
        places = {
            "bind :443": f"bind {AGENTS}:{port}",
            "/etc/haproxy/proxy.example.pem": str(certificates().both),
            "127.0.0.1:8080": f"127.0.0.1:{proxy}",
        }
        if name == "haproxy":
            places["198.51.100.0/24"] = AGENTS
        text = changed(changed(documented()[name], places), changes or {})
        main = directory() / "haproxy.cfg"
        main.write_text(_HAPROXY + text, encoding="utf-8")
        super().__init__("haproxy", ("haproxy", "-db", "-f", str(main)), port)


class Tinyproxy(Intermediary):
    """
    tinyproxy, a forward proxy.
    """

    def __init__(
        self, target: int, changes: Mapping[str, str] | None = None, *, port: int = 0
    ) -> None:
        """
        @param target: the port to which it lets agents connect.
        @param changes: what to write instead of what is documented.
        @param port: where to listen; 0 is any free port.
        """
        port = port or freePort()
        places = {"Port 3128": f"Port {port}", "ConnectPort 443": f"ConnectPort {target}"}
        text = changed(changed(documented()["tinyproxy"], places), changes or {})
        main = directory() / "tinyproxy.conf"
        main.write_text(text, encoding="utf-8")
        super().__init__("tinyproxy", ("tinyproxy", "-d", "-c", str(main)), port)


# The backend.

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


# The client.


@frozen
class Answer:
    """
    A response as a client has it.

    @ivar status: the status.
    @ivar fields: the header fields.
    @ivar body: the body.
    @ivar seconds: how long it took.
    """

    status: int
    fields: http.client.HTTPMessage
    body: bytes
    seconds: float


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
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = certificates().context
            connection = http.client.HTTPSConnection(
                host, port, timeout=DEADLINE, source_address=address, context=context
            )
        else:
            connection = http.client.HTTPConnection(
                host, port, timeout=DEADLINE, source_address=address
            )
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
        began = time.monotonic()
        with self.open(method, target, body, fields, source) as response:
            whole = response.read()
            return Answer(
                response.status, response.headers, whole, round(time.monotonic() - began, 3)
            )

    def webSocket(self) -> ClientConnection:
        """
        Connect a WebSocket. It sends no pings by itself.
        """
        return connect(
            self.url.replace("http", "ws", 1) + "/socket",
            ssl=certificates().context if self.url.startswith("https:") else None,
            additional_headers={"X-Inverting-Proxy-Backend": self.backend},
            proxy=None,
            open_timeout=DEADLINE,
            ping_interval=None,
            max_size=None,
            source_address=(CLIENTS, 0),
        )
