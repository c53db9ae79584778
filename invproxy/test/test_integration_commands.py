"""
Both commands as people run them: options, endpoints, signals, and what they print.
"""

import json
import re
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import invproxy
from invproxy import agent_tap, server_tap
from invproxy.test.commands import AGENT, LOOPBACK, NO_ADMIN, SERVER, CommandTestCase, get
from invproxy.test.programs import DEADLINE, eventually


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
            client.settimeout(DEADLINE)
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
        eventually(lambda: path.stat().st_size, "a line is in the access log")
        old = path.with_suffix(".1")
        path.rename(old)
        command.send(signal.SIGHUP)
        eventually(path.exists, "the access log is opened anew")
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
