"""
The whole thing on one machine, as C{make demo} runs it: a backend, an agent that serves it, and a
proxy, each a process of its own::

    browser -> proxy (127.0.0.1:8080) <- agent -> backend (a free port)

C{DEMO_PORT} in the environment chooses another port for the proxy (0: a free one).
"""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

START_TIMEOUT = 30.0
STOP_TIMEOUT = 40.0


class DemoError(Exception):
    """
    Why the demo cannot go on, in one line.
    """


class Child:
    """
    A process of the demo, whose output is shown under its name.
    """

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._ready = re.compile(rf"{name} ready: (\S+)(?: \(admin (\S+)\))?")
        self.address = ""
        self.admin = ""
        self._settled = threading.Event()
        # In a session of its own, so that Ctrl-C reaches the demo alone, which then ends its
        # children in order.
        self._process = subprocess.Popen(
            [sys.executable, "-u", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=environment,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            print(f"[{self.name}] {line}", end="", flush=True)
            if not self.address and (found := self._ready.search(line)):
                self.address, self.admin = found[1], found[2] or ""
                self._settled.set()
        self._settled.set()

    def waitReady(self) -> None:
        """
        Wait for the ready line, and for the addresses in it.

        @raise DemoError: when the process ends or is silent instead.
        """
        if not self._settled.wait(START_TIMEOUT):
            raise DemoError(f"the {self.name} was not ready within {START_TIMEOUT:.0f} s")
        if not self.address:
            raise DemoError(f"the {self.name} ended, see above")

    def hasEnded(self) -> bool:
        """
        Has the process ended by itself?
        """
        return self._process.poll() is not None

    def stop(self) -> None:
        """
        End the process, politely first.
        """
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1.0)


def requireFree(port: int) -> None:
    """
    @raise DemoError: when something else listens on the port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoError(
                f"127.0.0.1:{port} cannot be listened on ({error.strerror}); "
                "choose another port: DEMO_PORT=8090 make demo"
            ) from None


def sendRequest(address: str) -> str:
    """
    Send one request.

    @return: status and reason of the answer.
    """
    url = urlsplit(address)
    assert url.hostname is not None
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=START_TIMEOUT)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        raise DemoError(f"the request through the proxy failed: {error}") from None
    finally:
        connection.close()
    return f"{response.status} {response.reason}"


def run(children: list[Child], stopped: threading.Event) -> None:
    """
    Start everything, show that it works, and stay until told to stop.
    """
    try:
        port = int(os.environ.get("DEMO_PORT", "8080"))
    except ValueError:
        raise DemoError(f"DEMO_PORT is {os.environ['DEMO_PORT']!r}, not a number") from None
    requireFree(port)
    # The three talk over loopback, whatever proxy the rest of this machine goes through.
    noProxy = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1")))
    environment = {**os.environ, "NO_PROXY": noProxy, "no_proxy": noProxy}

    def start(name: str, *arguments: str) -> Child:
        child = Child(name, list(arguments), environment)
        children.append(child)
        child.waitReady()
        return child

    twist = ("-m", "twisted", "--log-level=warn", "--log-format=text")
    backend = str(Path(__file__).with_name("backend.py"))
    origin = start("backend", backend, "0")
    proxy = start(
        "proxy",
        *(*twist, "invproxy-server"),
        *("--listen", f"tcp:{port}:interface=127.0.0.1"),
        *("--admin-listen", "tcp:0:interface=127.0.0.1"),
        *("--drain-timeout", "1"),
    )
    start(
        "agent",
        *(*twist, "invproxy-agent"),
        *("--proxy", proxy.address),
        *("--backend", "demo"),
        *("--origin", origin.address),
        *("--drain-timeout", "1"),
    )
    print(f"\nA request through the proxy was answered: {sendRequest(proxy.address)}")
    print(f"Open {proxy.address} in a browser, and {proxy.admin} for the proxy's status page.")
    print("Ctrl-C ends the demo.\n", flush=True)
    while not stopped.wait(0.5):
        for child in children:
            if child.hasEnded():
                raise DemoError(f"the {child.name} ended by itself, see above")


def main() -> int:
    children: list[Child] = []
    stopped = threading.Event()

    def stop(signum: int, frame: object) -> None:
        # A second signal must not cut the ending short.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        stopped.set()
        raise SystemExit(0)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)
    try:
        run(children, stopped)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        for child in reversed(children):
            child.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
