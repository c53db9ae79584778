"""
The programs that are compared, each a process of its own on loopback, and their orderly end.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from attrs import frozen

ROOT = Path(__file__).resolve().parent.parent
"""The checkout; programs run in it, so that they use its copy of invproxy."""

CARRIERS = ("poll",)
"""The ways in which an agent and a proxy can talk."""

BULK = 10 << 20
"""How many bytes C{/10m} of L{nginxOrigin} has, and C{/up} takes."""

BACKEND = "bench"

_START_TIMEOUT = 20.0
_STOP_TIMEOUT = 5.0


class BenchmarkError(Exception):
    """
    Why a benchmark cannot go on, in one line.
    """


class Program:
    """
    A process that runs until the end of its L{Stage}.

    @ivar name: what it is, in reports.
    @ivar pid: the ID of its process.
    """

    def __init__(self, name: str, arguments: list[str], log: Path) -> None:
        """
        @param name: what it is, in reports.
        @param arguments: the program and its arguments.
        @param log: where its output goes.
        """
        self.name = name
        self._log = log
        # They talk over loopback, whatever proxy the rest of this machine goes through.
        environment = {
            **os.environ,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "PYTHONUNBUFFERED": "1",
        }
        with log.open("wb") as output:
            # In a session of its own, so that Ctrl-C reaches the benchmark alone, which then ends
            # its programs in order.
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def output(self) -> str:
        """
        What it has printed so far.
        """
        return self._log.read_text(errors="replace")

    def require(self) -> None:
        """
        @raise BenchmarkError: if it has ended.
        """
        status = self._process.poll()
        if status is not None:
            last = (self.output().strip().splitlines() or ["it printed nothing"])[-1]
            raise BenchmarkError(f"the {self.name} ended with status {status}: {last}")

    def wait(self, isReady: Callable[[], bool]) -> None:
        """
        Wait until it is ready.

        @param isReady: says whether it is.
        @raise BenchmarkError: if it ends instead, or takes too long.
        """
        deadline = time.monotonic() + _START_TIMEOUT
        while not isReady():
            self.require()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"the {self.name} was not ready within {_START_TIMEOUT:.0f} s")
            time.sleep(0.02)

    def waitFor(self, pattern: str) -> re.Match[str]:
        """
        Wait until it has printed something.

        @param pattern: a regular expression for it.
        @raise BenchmarkError: if it ends instead, or takes too long.
        """
        self.wait(lambda: re.search(pattern, self.output()) is not None)
        found = re.search(pattern, self.output())
        assert found is not None
        return found

    def waitPort(self, port: int) -> None:
        """
        Wait until it listens on a port.

        @raise BenchmarkError: if it ends instead, or takes too long.
        """

        def isListening() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        self.wait(isListening)

    def stop(self) -> None:
        """
        End it, politely first.
        """
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Stage:
    """
    A temporary directory, and the programs of a suite; both are gone at the end of C{with}.

    @ivar directory: the directory.
    """

    def __init__(self) -> None:
        self._exits = ExitStack()
        self._count = 0

    def __enter__(self) -> Stage:
        temporary = TemporaryDirectory(prefix="invproxy-bench-", ignore_cleanup_errors=True)
        self.directory = Path(self._exits.enter_context(temporary))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.close()

    def path(self, name: str) -> Path:
        """
        Name a new file in the directory.
        """
        self._count += 1
        return self.directory / f"{self._count:02}-{re.sub('[^a-z.]+', '-', name)}"

    def run(self, name: str, *arguments: str) -> Program:
        """
        Start a program.

        @param name: what it is, in reports.
        @param arguments: the program and its arguments.
        """
        program = Program(name, list(arguments), self.path(f"{name}.log"))
        self._exits.callback(program.stop)
        return program


@frozen
class Way:
    """
    A way to the origin.

    @ivar name: what it is, in reports.
    @ivar port: where clients connect.
    @ivar programs: the processes on it, but for the origin.
    @ivar admin: the port of the admin endpoint, or 0.
    """

    name: str
    port: int
    programs: tuple[Program, ...]
    admin: int = 0


def require(*names: str) -> None:
    """
    @raise BenchmarkError: if one of these programs is not installed.
    """
    missing = [name for name in names if not _find(name)]
    if missing:
        them = " and ".join(missing)
        raise BenchmarkError(
            f"not installed: {them}; on Debian: apt-get install {' '.join(missing)}"
        )


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def raiseFileLimit() -> None:
    """
    Let this process and its programs have as many files open as they may.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def versionOf(name: str) -> str:
    """
    Ask nginx or wrk for its version.
    """
    done = subprocess.run([_find(name) or name, "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"nginx/(\S+)|wrk (?:debian/)?(\S+)", done.stdout + done.stderr)
    return (found[1] or found[2]) if found else "unknown"


def freePort() -> int:
    """
    Find a port that nobody listens on.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


_NGINX = """
daemon off;
master_process off;  # one process, whose time and memory are easy to read
pid {directory}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 100000000;
    client_max_body_size 0;
    sendfile on;
    tcp_nodelay on;
{http}
}}
"""

# Nothing in nginx reads a body and throws it away but mirror; then the static files' 405 becomes
# an answer that tells how many bytes came, so that nothing is ever written to a disk.
_ORIGIN = """
    access_log off;
    client_body_buffer_size 16m;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {directory};
        location /up {{
            mirror /drop;
            error_page 405 =200 @done;
        }}
        location @done {{ return 200 "$request_length\\n"; }}
        location /drop {{ internal; return 204; }}
    }}
"""

_REVERSE = """
    access_log {directory}/access.log combined buffer=64k flush=1s;
    upstream origin {{
        server 127.0.0.1:{origin};
        keepalive 512;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Forwarded "for=$remote_addr;host=\\"$http_host\\";proto=$scheme";
{location}
        }}
    }}
"""


def _nginx(stage: Stage, name: str, http: str, **values: object) -> Way:
    directory = stage.path(name)
    directory.mkdir()
    (directory / "1k").write_bytes(os.urandom(1 << 10))
    (directory / "10m").write_bytes(os.urandom(BULK))
    port = freePort()
    text = http.format(directory=directory, port=port, **values)
    configuration = directory / "nginx.conf"
    configuration.write_text(_NGINX.format(directory=directory, http=text))
    command = (
        _find("nginx") or "nginx",
        "-p",
        str(directory),
        "-c",
        str(configuration),
        "-e",
        "stderr",
    )
    program = stage.run(name, *command)
    program.waitPort(port)
    return Way(name, port, (program,))


def nginxOrigin(stage: Stage) -> Way:
    """
    Start nginx as the origin of short and long answers (C{/1k}, C{/10m}), which also takes uploads (PUT of C{/up}).
    """
    return _nginx(stage, "origin", _ORIGIN)


def nginxReverse(stage: Stage, origin: Way, location: str = "", name: str = "nginx") -> Way:
    """
    Start nginx as a plain reverse proxy.

    @param origin: where it sends everything.
    @param location: further directives.
    @param name: what it is, in reports.
    """
    return _nginx(stage, name, _REVERSE, origin=origin.port, location=location)


def pythonOrigin(stage: Stage) -> Way:
    """
    Start the origin of L{benchmarks.origin}.
    """
    program = stage.run("origin", sys.executable, "-m", "benchmarks.origin")
    found = program.waitFor(r"origin ready: (\d+)")
    return Way("direct", int(found[1]), (program,))


_TWIST = (sys.executable, "-m", "twisted", "--log-level=warn", "--log-format=text")


def inverting(stage: Stage, origin: Way, carrier: str, *options: str) -> Way:
    """
    Start a proxy, and an agent for the backend L{BACKEND}.

    @param origin: what the agent serves.
    @param carrier: how the two talk.
    @param options: further options of the proxy.
    """
    proxy = stage.run(
        "proxy",
        *(*_TWIST, "invproxy-server"),
        *("--listen", "tcp:0:interface=127.0.0.1:backlog=1024"),
        *("--admin-listen", "tcp:0:interface=127.0.0.1"),
        *("--access-log", str(stage.path("access.log"))),
        *("--drain-timeout", "1"),
        *options,
    )
    found = proxy.waitFor(r"proxy ready: http://127.0.0.1:(\d+) \(admin http://127.0.0.1:(\d+)\)")
    way = Way(f"invproxy, {carrier}", int(found[1]), (proxy,), int(found[2]))
    agent = invertingAgent(stage, way, origin, carrier, BACKEND)
    return Way(way.name, way.port, (proxy, agent), way.admin)


def invertingAgent(stage: Stage, proxy: Way, origin: Way, carrier: str, backend: str) -> Program:
    """
    Start an agent.

    @param proxy: where requests come from.
    @param origin: what it serves.
    @param carrier: how it talks to the proxy.
    @param backend: the ID that it serves.
    """
    agent = stage.run(
        "agent",
        *(*_TWIST, "invproxy-agent"),
        *("--proxy", f"http://127.0.0.1:{proxy.port}"),
        *("--backend", backend),
        *("--origin", f"http://127.0.0.1:{origin.port}"),
        *("--transport", carrier),
        *("--drain-timeout", "1"),
    )
    agent.waitFor(r"agent ready: ")
    return agent
