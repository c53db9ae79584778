"""
The options of C{twist invproxy-server}, and the service made of them.
"""

import os
import signal
from ipaddress import ip_network
from pathlib import Path

from attrs import field, frozen
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from invproxy.accesslog import JSONLog
from invproxy.endpoints import isReachable
from invproxy.errors import ConfigError
from invproxy.http1.limits import Limits
from invproxy.options import oneLine
from invproxy.proxy.settings import ProxySettings
from invproxy.server_tap import Options, Plan, assemble, planOf, readyLine
from invproxy.test.fakeprocess import FakeService, Process, Reactor


def planFor(arguments: str = "", environ: dict[str, str] | None = None) -> Plan:
    options = Options()
    options.parseOptions(arguments.split())
    return planOf(options, environ or {}, MemoryReactorClock())


class PlanTests(SynchronousTestCase):
    """
    From options to settings.
    """

    def test_defaults(self) -> None:
        """
        Without options everything is as the contract and L{ProxySettings} say.
        """
        plan = planFor()
        self.assertEqual(plan.listen, ("tcp:8080:interface=127.0.0.1",))
        self.assertEqual(plan.agentListen, ())
        self.assertEqual(plan.adminListen, "tcp:8081:interface=127.0.0.1")
        self.assertEqual(plan.settings, ProxySettings())
        self.assertEqual(plan.warnings, ())

    def test_all(self) -> None:
        """
        Each option has its place.
        """
        plan = planFor(
            "--listen tcp:1:interface=127.0.0.1 --listen unix:/a --agent-listen unix:/b"
            " --admin-listen none --trusted-proxies 10.0.0.0/8,::1,unix"
            " --user-header X-User --poll-timeout 1 --queue-timeout 2 --response-timeout 3"
            " --idle-timeout 4 --head-timeout 5 --claim-timeout 6 --backend-timeout 7"
            " --drain-timeout 8 --max-pending 9 --max-body 10 --max-head 1000"
            " --max-connections 12 --max-backends 13 --link-timeout 14 --max-tunnels 15"
            " --min-pace 16 --max-connections-per-address 17 --max-links 18 --max-interim 19"
        )
        self.assertEqual(plan.listen, ("tcp:1:interface=127.0.0.1", "unix:/a"))
        self.assertEqual(plan.agentListen, ("unix:/b",))
        self.assertIsNone(plan.adminListen)
        self.assertEqual(
            plan.settings,
            ProxySettings(
                pollTimeout=1.0,
                queueTimeout=2.0,
                responseTimeout=3.0,
                idleTimeout=4.0,
                headTimeout=5.0,
                claimTimeout=6.0,
                backendTimeout=7.0,
                drainTimeout=8.0,
                maxPending=9,
                maxBody=10,
                maxConnections=12,
                maxBackends=13,
                linkTimeout=14.0,
                maxTunnels=15,
                minPace=16,
                maxPerAddress=17,
                maxLinks=18,
                limits=Limits(head=1000, line=1000, trailers=1000, interims=19),
                trustedProxies=(ip_network("10.0.0.0/8"), ip_network("::1")),
                trustUnixPeers=True,
                userHeader=b"X-User",
            ),
        )

    def test_faults(self) -> None:
        """
        What cannot be used, each in one line.
        """
        where = "(command line)"
        endpoint = "must be a Twisted server endpoint, such as tcp:8080:interface=127.0.0.1"
        networks = (
            "must be networks such as 10.0.0.0/8 or fd00::/8 (no bits set beyond the prefix),"
            " addresses, or the word unix, separated by commas"
        )
        name = "must be the name of a header field, such as X-Forwarded-User"
        port = "must have a port from 0 (any free one) to 65535"
        for arguments, line in (
            (
                "--poll-timeout 0",
                f"--poll-timeout is '0' {where}: must be a number of seconds, 0.1 or more, such as 30"
                " or 2.5",
            ),
            (
                "--listen 8080",
                f"--listen is '8080' {where}: {endpoint} (ValueError: Unknown endpoint type: '8080')",
            ),
            (
                "--listen unix:/a --listen tcp:x",
                f"--listen is 'tcp:x' {where}: {endpoint} (ValueError: invalid literal for int()"
                " with base 10: 'x')",
            ),
            (
                "--listen tcp:65536:interface=127.0.0.1",
                f"--listen is 'tcp:65536:interface=127.0.0.1' {where}: {port}",
            ),
            (
                "--admin-listen haproxy:tcp:port=65536",
                f"--admin-listen is 'haproxy:tcp:port=65536' {where}: {port}",
            ),
            (
                "--agent-listen ssl:1:privateKey=/nowhere.pem",
                f"--agent-listen is 'ssl:1:privateKey=/nowhere.pem' {where}: {endpoint}"
                " (FileNotFoundError: [Errno 2] No such file or directory: '/nowhere.pem')",
            ),
            (
                "--listen tls:/nowhere:443:interface=127.0.0.1",
                f"--listen is 'tls:/nowhere:443:interface=127.0.0.1' {where}: its directory of"
                " certificates cannot be read: No such file or directory",
            ),
            (
                "--trusted-proxies 10.0.0.1/8",
                f"--trusted-proxies is '10.0.0.1/8' {where}: {networks}",
            ),
            ("--trusted-proxies a,", f"--trusted-proxies is 'a,' {where}: {networks}"),
            ("--user-header a:b", f"--user-header is 'a:b' {where}: {name}"),
            ("--user-header Host", f"--user-header is 'Host' {where}: {name}"),
            ("--max-head 1", f"--max-head is '1' {where}: must be an integer, from 256 to 1048576"),
            ("--max-pending 0", f"--max-pending is '0' {where}: must be an integer, 1 or more"),
            (
                "--access-log-format xml",
                f"--access-log-format is 'xml' {where}: must be one of combined, json",
            ),
        ):
            error = self.assertRaises(ConfigError, planFor, arguments)
            self.assertEqual(str(error), line)

    def test_endpointsThatRaiseAnything(self) -> None:
        """
        Whatever an endpoint's parser raises, it is one line.
        """
        tls = f"tls:{self.mktemp()}"
        for endpoint in ("systemd:INET:99", "tcp", "tcp:1:2:3:4:5:6", "unix:/a\\", "", ":", tls):
            options = Options()
            options.parseOptions(["--listen", endpoint])
            error = self.assertRaises(ConfigError, planOf, options, {}, MemoryReactorClock())
            self.assertEqual(str(error), oneLine(str(error)))
            self.assertTrue(str(error).startswith(f"--listen is {endpoint!r} (command line): "))

    def test_open(self) -> None:
        """
        Open mode where others can reach it is refused, and allowed with a warning.
        """
        for option, endpoint in (("listen", "tcp:8080"), ("agent-listen", "haproxy:tcp:8082")):
            arguments = f"--{option} {endpoint}"
            error = self.assertRaises(ConfigError, planFor, arguments)
            self.assertEqual(
                str(error),
                f"--{option} is {endpoint!r} (command line): in open mode any agent may serve any"
                " backend, so it must be on loopback (interface=127.0.0.1) or unix:, or --database or"
                " --insecure-open must be given",
            )
            plan = planFor(f"{arguments} --insecure-open")
            self.assertEqual(
                plan.warnings,
                (
                    f"Open mode on {endpoint}: whoever can reach it may serve any backend"
                    " (--insecure-open).",
                ),
            )

    def test_adminIsNotOpen(self) -> None:
        """
        An admin endpoint without a token where others can reach it is refused, and allowed with a warning.
        """
        error = self.assertRaises(ConfigError, planFor, "--admin-listen tcp:8081")
        self.assertEqual(
            str(error),
            "--admin-listen is 'tcp:8081' (command line): others can reach it, so"
            " --admin-token-file must be given, or it must be on loopback (interface=127.0.0.1) or"
            " unix:, or --insecure-open must be given",
        )
        self.assertEqual(
            planFor("--admin-listen tcp:8081 --insecure-open").warnings,
            (
                "The admin endpoint on tcp:8081 has no token: only programs on this machine are let"
                " in (--insecure-open).",
            ),
        )
        token = self.mktemp()
        Path(token).write_text("x" * 40)
        for given in (
            "--admin-listen unix:/a",
            "--admin-listen none",
            f"--admin-listen tcp:8081 --admin-token-file {token}",
        ):
            self.assertEqual(planFor(given).warnings, ())

    def test_userHeaderWithoutTrust(self) -> None:
        """
        A field that nobody is believed in is worth a warning.
        """
        self.assertEqual(
            planFor("--user-header X-User").warnings,
            ("--user-header has no effect without --trusted-proxies.",),
        )

    def test_reachable(self) -> None:
        """
        An endpoint is reachable unless it is known not to be.
        """
        for endpoint in (
            "tcp:8080:interface=127.0.0.1",
            "tcp:interface=127.0.0.1:port=8080",
            "tcp:8080:interface=127.9.9.9",
            "tcp:8080:interface=localhost",
            r"tcp6:8080:interface=\:\:1",
            r"tcp:8080:interface=\:\:1",
            "ssl:443:interface=127.0.0.1:privateKey=a.pem",
            "tls:/certificates:443:interface=127.0.0.1",
            "unix:/run/x.sock",
            "unix:address=/run/x.sock",
            "haproxy:unix:/run/x.sock",
            "haproxy:tcp:8080:interface=127.0.0.1",
        ):
            self.assertFalse(isReachable(endpoint), endpoint)
        for endpoint in (
            "tcp:8080",
            "tcp6:8080",
            "tcp:8080:interface=",
            "tcp:8080:interface=0.0.0.0",
            "tcp:8080:interface=192.0.2.1",
            "tcp:8080:interface=example.com",
            "tcp:8080:interface=127.0.0.1.example.com",
            "tcp:8080:interface=127.0.0.1:interface=0.0.0.0",
            "tcp:8080:127.0.0.1",
            r"tcp:8080:interface\=127.0.0.1",
            r"tcp6:8080:interface=\:\:",
            "ssl:443",
            "tls:/certificates",
            "systemd:INET:0",
            "haproxy:tcp:8080",
            "haproxy:haproxy:tcp:8080",
            "stdio:",
            "onion:80",
            "",
        ):
            self.assertTrue(isReachable(endpoint), endpoint)


@frozen
class Addresses:
    public: list[str]
    agents: list[str] = field(factory=list)
    admin: str | None = None


class AssembleTests(SynchronousTestCase):
    """
    From the plan to a service.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.process = Process()

    def make(self, arguments: str) -> FakeService:
        plan = planFor(arguments)
        lifecycle = self.process.lifecycle(self.reactor)
        service = assemble(plan, self.reactor, lifecycle, FakeService)  # type: ignore[arg-type]
        assert isinstance(service, FakeService)
        return service

    def test_service(self) -> None:
        """
        The service gets what the options say.
        """
        service = self.make("--listen unix:/a --agent-listen unix:/b --access-log none")
        self.assertEqual(service.args, (self.reactor, ProxySettings()))
        self.assertEqual(
            service.kw,
            {
                "listen": ("unix:/a",),
                "agentListen": ("unix:/b",),
                "adminListen": "tcp:8081:interface=127.0.0.1",
                "accessLog": None,
                "adminToken": None,
                "registry": None,
                "verifier": None,
                "agentAuthorities": None,
                "checkers": (),
                "oidc": None,
                "onlyOwnNames": True,
            },
        )

    def test_onlyOwnNames(self) -> None:
        """
        Agents may call by any name where they need credentials, and where everybody may be one.
        """
        database = Path(self.mktemp())
        for arguments, only in (
            ("", True),
            ("--insecure-open", False),
            (f"--database sqlite:{database}", False),
        ):
            service = self.make(f"--access-log none {arguments}")
            self.assertIs(service.kw["onlyOwnNames"], only)

    def test_readyLine(self) -> None:
        """
        The ready line says where to go, once signals are taken care of.
        """
        service = self.make("--access-log none")
        service.ready.callback(Addresses(["http://127.0.0.1:8080"], [], "http://127.0.0.1:8081"))
        self.assertEqual(self.process.stdout.getvalue(), "")
        self.reactor.run()
        self.assertEqual(set(self.process.handlers), {signal.SIGTERM, signal.SIGINT})
        self.assertEqual(
            self.process.stdout.getvalue(),
            "proxy ready: http://127.0.0.1:8080 (admin http://127.0.0.1:8081)\n",
        )

    def test_readyLines(self) -> None:
        """
        It names all endpoints, and only those there are.
        """
        for addresses, line in (
            (Addresses(["a"]), "proxy ready: a"),
            (Addresses(["a", "unix:/b"]), "proxy ready: a unix:/b"),
            (Addresses(["a"], ["c", "d"]), "proxy ready: a (agents c d)"),
            (Addresses(["a"], ["c"], "e"), "proxy ready: a (agents c, admin e)"),
        ):
            self.assertEqual(readyLine(addresses), line)

    def test_accessLog(self) -> None:
        """
        The access log is opened, flushed at the very end, and opened anew on SIGHUP.
        """
        path = Path(self.mktemp())
        service = self.make(f"--access-log {path} --access-log-format json")
        log = service.kw["accessLog"]
        self.assertIsInstance(log, JSONLog)
        log.log("a", "", 0.0, b"GET", b"/", 1, 200, 1, 0.1, b"", b"", "", "")
        self.reactor.run()
        path.rename(path.with_suffix(".1"))
        self.process.handlers[signal.SIGHUP](signal.SIGHUP, None)
        [close] = self.reactor.ended
        close()
        self.assertTrue(path.read_bytes().startswith(b'{"time"'))

    def test_accessLogOnStdout(self) -> None:
        """
        Stdout is not opened anew, so SIGHUP ends the process as ever.
        """
        self.make("")
        self.reactor.run()
        self.assertNotIn(signal.SIGHUP, self.process.handlers)

    def test_accessLogFails(self) -> None:
        """
        An access log that cannot be opened.
        """
        error = self.assertRaises(ConfigError, self.make, f"--access-log {os.curdir}")
        self.assertEqual(
            str(error), "--access-log is '.' (command line): cannot be opened: Is a directory"
        )

    def test_warnings(self) -> None:
        """
        Warnings go to the log.
        """
        with capturedLogs() as events:
            self.make("--listen tcp:0 --insecure-open --access-log none")
        self.assertEqual([event["log_level"] for event in events], [LogLevel.warn])
