"""
Both commands as people run them: real processes, under C{twist}.
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

import invproxy
from invproxy import agent_tap, server_tap

CHECKOUT = Path(invproxy.__file__).parent.parent

PATIENCE = 20.0

SERVER = "invproxy-server"
AGENT = "invproxy-agent"
LOOPBACK = "tcp:0:interface=127.0.0.1"
NO_ADMIN = ("--admin-listen", "none")


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """
    This environment less what would change the commands under test.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("INVPROXY_") and not name.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONPATH": str(CHECKOUT), "COLUMNS": "80", **extra}


class Command:
    """
    A running command, its output collected.

    @cvar program: what Python runs.
    """

    program: tuple[str, ...] = ("-m", "twisted")

    def __init__(self, *arguments: str, twist: tuple[str, ...] = (), **extra: str) -> None:
        """
        @param arguments: the plugin and its options.
        @param twist: options of C{twist} itself.
        @param extra: additions to the environment.
        """
        self._changed = threading.Condition()
        self.stdout = ""
        self.stderr = ""
        self._process = subprocess.Popen(
            [sys.executable, *self.program, *twist, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=environment(extra),
        )
        self._readers = [
            threading.Thread(target=self._collect, args=(name,), daemon=True)
            for name in ("stdout", "stderr")
        ]
        for reader in self._readers:
            reader.start()

    def _collect(self, name: str) -> None:
        for line in getattr(self._process, name):
            with self._changed:
                setattr(self, name, getattr(self, name) + line)
                self._changed.notify_all()

    def waitFor(self, pattern: str) -> re.Match[str]:
        """
        Wait for a line on stdout.

        @param pattern: what the whole line must match.
        """
        search = re.compile(f"^{pattern}$", re.MULTILINE).search
        with self._changed:
            if self._changed.wait_for(lambda: search(self.stdout), PATIENCE):
                found = search(self.stdout)
                assert found is not None
                return found
        raise AssertionError(f"no {pattern!r} in {self.stdout!r}, {self.stderr!r}")

    def send(self, number: int) -> None:
        """
        Send a signal.
        """
        self._process.send_signal(number)

    def isRunning(self) -> bool:
        """
        Has it not ended?
        """
        return self._process.poll() is None

    def wait(self) -> int:
        """
        Wait for the end.

        @return: the exit status.
        """
        status = self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return status

    def kill(self) -> None:
        """
        End it, whatever it does.
        """
        if self._process.poll() is None:
            self._process.kill()
        self.wait()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


class CommandTestCase(SynchronousTestCase):
    """
    Helpers: commands that are ended with the test.
    """

    def start(self, *arguments: str, twist: tuple[str, ...] = (), **extra: str) -> Command:
        command = Command(*arguments, twist=twist, **extra)
        self.addCleanup(command.kill)
        return command

    def startServer(self, *arguments: str, twist: tuple[str, ...] = ()) -> tuple[Command, int]:
        """
        Start a proxy on a free port, without an admin endpoint.

        @return: it and the port.
        """
        command = self.start(
            SERVER, "--listen", LOOPBACK, "--admin-listen", "none", *arguments, twist=twist
        )
        return command, int(command.waitFor(r"proxy ready: http://127\.0\.0\.1:(\d+)")[1])

    def assertRefused(self, command: Command, line: str) -> None:
        """
        The command ends with status 1, one line on stderr and no traceback.
        """
        self.assertEqual(command.wait(), 1, command.stdout)
        self.assertEqual(command.stderr, f"{line}\n")
        self.assertNotIn("Traceback", command.stdout)
        self.assertNotIn(" ready: ", command.stdout)

    def listenSomewhere(self) -> int:
        """
        Take a port.
        """
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port: int = taken.getsockname()[1]
        return port


def get(port: int, target: str = "/") -> tuple[int, bytes]:
    """
    Send one request.

    @return: status and body of the answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", target, headers={"User-Agent": "test", "Referer": 'a"b'})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class UsageTests(CommandTestCase):
    """
    What needs no service at all.
    """

    def test_help(self) -> None:
        """
        C{--help} shows each option.
        """
        for name, table in ((SERVER, server_tap.TABLE), (AGENT, agent_tap.TABLE)):
            command = self.start(name, "--help")
            self.assertEqual((command.wait(), command.stderr), (0, ""))
            for option in (*[each.name for each in table], "config", "version", "help"):
                self.assertIn(f"\n  --{option}", command.stdout)

    def test_version(self) -> None:
        """
        C{--version} shows ours.
        """
        command = self.start(AGENT, "--version")
        self.assertEqual(command.wait(), 0)
        self.assertEqual(command.stdout, f"invproxy {invproxy.__version__}\n")

    def test_unknownOption(self) -> None:
        """
        An unknown option is a usage error.
        """
        for name in (SERVER, AGENT):
            command = self.start(name, "--nope")
            self.assertEqual(command.wait(), 64)
            self.assertIn("option --nope not recognized", command.stderr)

    def test_badValues(self) -> None:
        """
        A bad value is one line and status 1, from each source.
        """
        path = Path(self.mktemp())
        path.write_text("polls = 0\n", encoding="utf-8")
        config = str(path.absolute())
        some = "must be a number of seconds, 0.1 or more, such as 30 or 2.5"
        polls = "must be an integer, from 1 to 100"
        for command, line in (
            (
                self.start(SERVER, "--poll-timeout", "soon"),
                f"{SERVER}: --poll-timeout is 'soon' (command line): {some}",
            ),
            (
                self.start(SERVER, INVPROXY_POLL_TIMEOUT="-1"),
                f"{SERVER}: --poll-timeout is '-1' (INVPROXY_POLL_TIMEOUT in the environment):"
                f" {some}",
            ),
            (
                self.start(AGENT, "--config", config),
                f"{AGENT}: --polls is '0' (polls in {config!r}): {polls}",
            ),
            (
                self.start(AGENT),
                f"{AGENT}: --proxy is not given: must be the base URL of the proxy",
            ),
            (
                self.start(AGENT, INVPROXY_CONFIG="/nowhere"),
                f"{AGENT}: --config is '/nowhere' (INVPROXY_CONFIG in the environment): cannot be"
                " read: No such file or directory",
            ),
            (
                self.start(SERVER, "--listen", "tcp:0"),
                f"{SERVER}: --listen is 'tcp:0' (command line): in open mode any agent may serve"
                " any backend, so it must be on loopback (interface=127.0.0.1) or unix:, or"
                " --database or --insecure-open must be given",
            ),
        ):
            self.assertRefused(command, line)
            self.assertEqual(command.stdout, "")


class ServerTests(CommandTestCase):
    """
    C{twist invproxy-server}.
    """

    def test_takenPort(self) -> None:
        """
        A taken port is one line and status 1, whichever endpoint it is.
        """
        port = self.listenSomewhere()
        taken = f"tcp:{port}:interface=127.0.0.1"
        for option, arguments in (
            ("listen", ("--listen", taken, "--admin-listen", "none")),
            ("admin-listen", ("--listen", LOOPBACK, "--admin-listen", taken)),
            ("agent-listen", ("--listen", LOOPBACK, "--agent-listen", taken, *NO_ADMIN)),
        ):
            self.assertRefused(
                self.start(SERVER, *arguments),
                f"{SERVER}: cannot listen on 127.0.0.1:{port} (--{option}): Address already in use",
            )

    def test_impossibleSocket(self) -> None:
        """
        So is a UNIX socket in a place that does not exist, and an access log there.
        """
        self.assertRefused(
            self.start(SERVER, "--listen", "unix:/nowhere/x.sock", "--admin-listen", "none"),
            f"{SERVER}: cannot start: No such file or directory: /nowhere/x.sock.lock",
        )
        self.assertRefused(
            self.start(SERVER, "--access-log", "/nowhere/log"),
            f"{SERVER}: --access-log is '/nowhere/log' (command line): cannot be opened: No such"
            " file or directory",
        )

    def test_ready(self) -> None:
        """
        The ready line names the real ports, which answer, in whatever format C{twist} logs.
        """
        command = self.start(
            *(SERVER, "--listen", LOOPBACK, "--admin-listen", LOOPBACK),
            twist=("--log-format=json",),
        )
        line = r"proxy ready: http://127\.0\.0\.1:(\d+) \(admin http://127\.0\.0\.1:(\d+)\)"
        public, admin = map(int, command.waitFor(line).groups())
        self.assertEqual(get(admin, "/healthz")[0], 200)
        self.assertEqual(get(public, "/a?b")[0], 503)
        command.waitFor(
            r'127\.0\.0\.1 - - \[../.../....:..:..:.. \+0000\] "GET /a\?b HTTP/1\.1" 503 \d+'
            r' "a\\x22b" "test"'
        )

    def test_unix(self) -> None:
        """
        UNIX sockets are served, and named.
        """
        # Not below the tests' own folder: a socket's address has room for a hundred bytes.
        folder = tempfile.mkdtemp(prefix="invproxy-")
        self.addCleanup(shutil.rmtree, folder)
        path = f"{folder}/public.sock"
        command = self.start(SERVER, "--listen", f"unix:{path}", "--admin-listen", "none")
        command.waitFor(re.escape(f"proxy ready: unix:{path}"))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(path)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 503 "))

    def test_signals(self) -> None:
        """
        Either signal, sent as soon as the ready line is there, ends the proxy with status 0.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            command, _ = self.startServer()
            command.send(number)
            self.assertEqual(command.wait(), 0, command.stdout)
            self.assertEqual(command.stderr, "")

    def test_reachable(self) -> None:
        """
        Open mode in reach of others is possible with a warning.
        """
        command = self.start(
            *(SERVER, "--listen", "tcp:0", "--admin-listen", "none", "--insecure-open"),
            twist=("--log-format=text",),
        )
        command.waitFor(r"proxy ready: .*")
        command.waitFor(r".*warn\] Open mode on tcp:0: whoever can reach it .*")

    def test_accessLog(self) -> None:
        """
        The access log in a file, as JSON, opened anew on SIGHUP, and complete at the end.
        """
        path = Path(self.mktemp()).absolute()
        command, port = self.startServer("--access-log", str(path), "--access-log-format", "json")
        get(port, "/one")
        self.waitUntil(lambda: path.stat().st_size)
        old = path.with_suffix(".1")
        path.rename(old)
        command.send(signal.SIGHUP)
        self.waitUntil(path.exists)
        get(port, "/two")
        command.send(signal.SIGTERM)
        self.assertEqual(command.wait(), 0)
        for file, target in ((old, "/one"), (path, "/two")):
            [line] = file.read_text(encoding="utf-8").splitlines()
            entry = json.loads(line)
            self.assertEqual(
                (entry["method"], entry["target"], entry["status"], entry["error"]),
                ("GET", target, 503, "agent-offline"),
            )
        self.assertNotIn("HTTP/1.1", command.stdout)

    def waitUntil(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)


MINIMAL_AGENT = CHECKOUT / "examples" / "minimal_agent.py"


class MinimalAgent(Command):
    """
    The example, running.
    """

    program = ("-W", "error", str(MINIMAL_AGENT))


@skipUnless(MINIMAL_AGENT.exists(), "there are no examples here")
class MinimalAgentTests(CommandTestCase):
    """
    C{examples/minimal_agent.py}, which speaks the tunnel without anything of ours.
    """

    def test_serves(self) -> None:
        """
        It answers requests of every kind, one after the other and at once.
        """
        _, port = self.startServer()
        agent = MinimalAgent(f"ws://127.0.0.1:{port}", "web")
        self.addCleanup(agent.kill)
        agent.waitFor(r"the tunnel stands: \{.*\}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.addCleanup(connection.close)
        hello = b"Hello from a tunnel.\n"
        large = b"x" * 3_000_000
        for method, body, fields, expected in (
            ("GET", None, {}, hello),
            ("HEAD", None, {}, b""),
            ("POST", b"some", {}, hello),
            ("POST", large, {}, hello),
            ("POST", iter([b"a", b"b"]), {}, hello),
            ("GET", None, {"Connection": "Upgrade", "Upgrade": "websocket"}, hello),
        ):
            connection.request(method, "/a?b", body, fields)
            response = connection.getresponse()
            self.assertEqual((response.status, response.read()), (200, expected))
        with ThreadPoolExecutor(8) as pool:
            for answer in pool.map(lambda number: get(port, f"/{number}"), range(40)):
                self.assertEqual(answer, (200, hello))
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(
                b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
            )
            self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 100 "))
            client.sendall(b"body")
            self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200 "))
        self.assertTrue(agent.isRunning())
        self.assertEqual(agent.stderr, "")


class Backend(ThreadingHTTPServer):
    """
    A backend: C{/slow} sends half of its answer, and the rest when told.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), BackendHandler)
        self.mayGoOn = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.mayGoOn.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class BackendHandler(BaseHTTPRequestHandler):
    """
    Answers for L{Backend}.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"first")
        self.wfile.flush()
        if self.path == "/slow":
            assert isinstance(self.server, Backend)
            self.server.mayGoOn.wait(PATIENCE)
        try:
            self.wfile.write(b"again")
        except ConnectionError:
            self.close_connection = True  # Some tests cut the response.

    def log_message(self, format: str, *args: object) -> None:
        pass


class Both(CommandTestCase):
    """
    Proxy and agent together.
    """

    transport: str
    carrier: str

    def setUp(self) -> None:
        self.backend = Backend()
        self.addCleanup(self.backend.close)

    def startAgent(self, proxy: int, *arguments: str) -> Command:
        return self.start(
            *(AGENT, "--proxy", f"http://127.0.0.1:{proxy}", "--backend", "web"),
            *("--host", f"127.0.0.1:{self.backend.server_port}"),
            *("--transport", self.transport, *arguments),
        )

    def startBoth(self, *server: str, agent: tuple[str, ...] = ()) -> tuple[Command, Command, int]:
        proxy, port = self.startServer(*server)
        command = self.startAgent(port, *agent)
        command.waitFor(
            re.escape(
                f"agent ready: http://127.0.0.1:{port} ->"
                f' http://127.0.0.1:{self.backend.server_port} as "web" over {self.carrier}'
            )
        )
        return proxy, command, port

    def test_request(self) -> None:
        """
        A request goes through, and leaves one line in the access log.
        """
        proxy, agent, port = self.startBoth()
        self.assertEqual(get(port, "/page"), (200, b"firstagain"))
        proxy.waitFor(r'127\.0\.0\.1 - - \[.*\] "GET /page HTTP/1\.1" 200 10 "a\\x22b" "test"')
        for command in (agent, proxy):
            command.send(signal.SIGTERM)
            self.assertEqual(command.wait(), 0)
            self.assertEqual(command.stderr, "")

    def beginSlowly(self, port: int) -> http.client.HTTPResponse:
        """
        Begin a request whose response stays in flight.
        """
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.addCleanup(connection.close)
        connection.request("GET", "/slow")
        response = connection.getresponse()
        self.assertEqual(response.read(5), b"first")
        return response

    def drainOne(self, which: int) -> None:
        both = self.startBoth()
        response = self.beginSlowly(both[2])
        command = both[which]
        assert isinstance(command, Command)
        command.send(signal.SIGTERM)
        command.waitFor(r".*finishing what is in flight.*")
        self.assertTrue(command.isRunning())
        self.backend.mayGoOn.set()
        self.assertEqual(response.read(), b"again")
        self.assertEqual(command.wait(), 0)
        self.assertEqual(command.stderr, "")

    def test_serverDrains(self) -> None:
        """
        The proxy lets a response in flight come to its end before it ends.
        """
        self.drainOne(0)

    def test_agentDrains(self) -> None:
        """
        So does the agent.
        """
        self.drainOne(1)

    def test_drainTimeout(self) -> None:
        """
        But not for longer than C{--drain-timeout}: then the response is cut, visibly.
        """
        proxy, _, port = self.startBoth("--drain-timeout", "0.3")
        response = self.beginSlowly(port)
        proxy.send(signal.SIGTERM)
        self.assertEqual(proxy.wait(), 0)
        self.assertRaises((http.client.IncompleteRead, ConnectionError), response.read)

    def test_secondSignal(self) -> None:
        """
        The second signal ends either at once.
        """
        for which in (0, 1):
            both = self.startBoth()
            self.beginSlowly(both[2])
            command = both[which]
            assert isinstance(command, Command)
            command.send(signal.SIGINT)
            command.waitFor(r".*finishing what is in flight.*")
            self.assertTrue(command.isRunning())
            command.send(signal.SIGTERM)
            self.assertEqual(command.wait(), -signal.SIGTERM)

    def test_proxyDown(self) -> None:
        """
        An agent whose proxy is down goes on trying, and still ends with status 0.
        """
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            agent = self.startAgent(unused.getsockname()[1])
            agent.waitFor(r".*Starting reactor.*")
            time.sleep(1.0)
            self.assertTrue(agent.isRunning())
            self.assertNotIn("agent ready", agent.stdout)
            agent.send(signal.SIGTERM)
            self.assertEqual(agent.wait(), 0)
            self.assertEqual(agent.stderr, "")

    def test_proxyLater(self) -> None:
        """
        An agent becomes ready as soon as its proxy is there.
        """
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            agent = self.startAgent(port)
            agent.waitFor(r".*Starting reactor.*")
        self.start(
            *(SERVER, "--listen", f"tcp:{port}:interface=127.0.0.1", "--admin-listen", "none")
        ).waitFor("proxy ready: .*")
        agent.waitFor("agent ready: .*")
        self.assertEqual(get(port), (200, b"firstagain"))


class AutoTests(Both):
    """
    As an agent is by default.
    """

    transport = "auto"
    carrier = "tunnel"


class PollTests(Both):
    """
    With polls.
    """

    transport = carrier = "poll"


del Both
