"""
Both commands together, and the example of an agent that needs nothing of ours.
"""

import http.client
import re
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import skipUnless

from invproxy.test.commands import (
    AGENT,
    CHECKOUT,
    NO_ADMIN,
    SERVER,
    Command,
    CommandTestCase,
    get,
)
from invproxy.test.programs import DEADLINE, freePort, variants

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
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
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
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
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
            self.server.mayGoOn.wait(DEADLINE)
        try:
            self.wfile.write(b"again")
        except ConnectionError:
            self.close_connection = True  # Some tests cut the response.

    def log_message(self, format: str, *args: object) -> None:
        pass


class Pair(CommandTestCase):
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
            twist=("--log-format=text",),
        )

    def startBoth(self, *server: str, agent: tuple[str, ...] = ()) -> tuple[Command, Command, int]:
        proxy, port = self.startServer(*server)
        command = self.startAgent(port, *agent)
        named = re.escape(
            f"agent ready: http://127.0.0.1:{port} ->"
            f' http://127.0.0.1:{self.backend.server_port} as "web" over '
        )
        carrier = command.waitFor(named + r"(\w+)")[1]
        if carrier != self.carrier:
            # It had to wait for the tunnel for so long that it has begun without.
            self.assertEqual(carrier, "poll")
            command.waitFor(r".*tunnel to \S+ stands, polling no more.*")
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
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
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
            agent.waitFor(r".*proxy \S+ not reached, retrying.*")
            # What comes now is no proxy, either, and shows that the agent goes on trying.
            unused.settimeout(DEADLINE)
            unused.listen()
            for _ in range(3):
                unused.accept()[0].close()
            self.assertTrue(agent.isRunning())
            self.assertNotIn("agent ready", agent.stdout)
            agent.send(signal.SIGTERM)
            self.assertEqual(agent.wait(), 0)
            self.assertEqual(agent.stderr, "")

    def test_proxyLater(self) -> None:
        """
        An agent becomes ready as soon as its proxy is there.
        """
        port = freePort()
        agent = self.startAgent(port)
        agent.waitFor(r".*proxy \S+ not reached, retrying.*")
        self.start(*(SERVER, "--listen", f"tcp:{port}:interface=127.0.0.1", *NO_ADMIN)).waitFor(
            "proxy ready: .*"
        )
        agent.waitFor("agent ready: .*")
        self.assertEqual(get(port), (200, b"firstagain"))


globals().update(
    variants(
        Pair,
        {
            "Auto": {"transport": "auto", "carrier": "tunnel"},
            "Poll": {"transport": "poll", "carrier": "poll"},
        },
    )
)
del Pair
