"""
Both commands as people run them, C{stdout} and C{stderr} apart.
"""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import invproxy
from invproxy.test.programs import DEADLINE, environment

CHECKOUT = Path(invproxy.__file__).parent.parent

SERVER = "invproxy-server"
AGENT = "invproxy-agent"
LOOPBACK = "tcp:0:interface=127.0.0.1"
NO_ADMIN = ("--admin-listen", "none")


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
            env=environment(
                {
                    "PYTHONPATH": str(CHECKOUT),
                    "COLUMNS": "80",
                    "PYTHONUNBUFFERED": "",  # lines come at once without it
                    **extra,
                }
            ),
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
            if self._changed.wait_for(lambda: search(self.stdout), DEADLINE):
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
        status = self._process.wait(DEADLINE)
        for reader in self._readers:
            reader.join(DEADLINE)
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
        command = self.start(SERVER, "--listen", LOOPBACK, *NO_ADMIN, *arguments, twist=twist)
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
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request("GET", target, headers={"User-Agent": "test", "Referer": 'a"b'})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
