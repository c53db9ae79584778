"""
The options about the registry and agents' credentials, and the safe defaults.
"""

from __future__ import annotations

from pathlib import Path

import trustme
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from invproxy.access_options import AccessPlan, registryOf, verifierOf
from invproxy.auth.identity import IVerifier
from invproxy.errors import ConfigError
from invproxy.proxy.certified import canAsk, certifiedEndpoint, parseAuthorities
from invproxy.registry.registry import Registry
from invproxy.server_tap import Options, Plan, planOf


def planFor(arguments: str = "") -> Plan:
    """
    Understand a command line.
    """
    options = Options()
    options.parseOptions(arguments.split())
    return planOf(options, {}, MemoryReactorClock())


class PlanCase(SynchronousTestCase):
    """
    What these tests share.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.database = f"--database sqlite:{self.folder}/registry.db"

    def write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def assertFault(self, arguments: str, *parts: str) -> None:
        """
        What cannot be used is refused in one line that names the option and says what to do.
        """
        error = str(self.assertRaises(ConfigError, planFor, arguments))
        self.assertNotIn("\n", error)
        for part in parts:
            self.assertIn(part, error)


class AccessPlanTests(PlanCase):
    """
    From options to what becomes of them.
    """

    def test_open(self) -> None:
        """
        Without options there is open mode.
        """
        plan = planFor().access
        self.assertEqual(plan, AccessPlan())
        clock = MemoryReactorClock()
        self.assertIsNone(registryOf(plan, clock))
        self.assertIsNone(verifierOf(plan, clock))

    def test_all(self) -> None:
        """
        Each option has its place.
        """
        ca = trustme.CA()
        pem = ca.cert_pem.bytes()
        leaf = ca.issue_cert("localhost")
        key = self.write("key", leaf.private_key_and_cert_chain_pem.bytes())
        plan = planFor(
            f"{self.database} --agent-jwt-issuer https://issuer.example --agent-jwks"
            " https://issuer.example/keys --agent-jwt-audience proxy --agent-jwt-claim sub"
            f" --agent-listen ssl:1:privateKey={key}:interface=127.0.0.1"
            f" --agent-client-ca {self.write('ca', pem)}"
        )
        self.assertEqual(
            plan.access,
            AccessPlan(
                f"{self.folder}/registry.db",
                "https://issuer.example",
                "https://issuer.example/keys",
                "proxy",
                "sub",
                pem,
            ),
        )
        self.assertEqual(plan.warnings, ())
        clock = MemoryReactorClock()
        self.assertIsInstance(registryOf(plan.access, clock), Registry)
        verifyObject(IVerifier, verifierOf(plan.access, clock))

    def test_nothingIsMade(self) -> None:
        """
        Looking at options makes no database.
        """
        planFor(self.database)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_faults(self) -> None:
        """
        What cannot be used, or does not go together.
        """
        db = self.database
        leaf = trustme.CA().issue_cert("a@example.com")
        key = self.write("key", leaf.private_key_and_cert_chain_pem.bytes())
        endpoint = f"--agent-listen ssl:1:privateKey={key}:interface=127.0.0.1"
        other = self.write("other", leaf.cert_chain_pems[0].bytes())
        large = self.write("large", b"x" * ((1 << 20) + 1))
        jwt = "--agent-jwt-issuer https://issuer.example"
        for arguments, *parts in (
            ("--database registry.db", "--database is 'registry.db'", "must be sqlite:PATH"),
            ("--database sqlite:", "must be sqlite:PATH"),
            ("--database sqlite:/nowhere/a/b", "there is no directory /nowhere/a"),
            (f"--database sqlite:{self.folder}", "is a directory"),
            (jwt, "--agent-jwt-issuer", "needs --database"),
            ("--agent-jwks keys.json", "--agent-jwks", "needs --database"),
            (f"--agent-client-ca {other}", "--agent-client-ca", "needs --database"),
            (f"{db} --agent-jwt-issuer http://issuer.example", "begins with https://"),
            (f"{db} --agent-jwt-issuer issuer.example", "begins with https://"),
            (f"{db} --agent-jwks http://issuer.example/keys", "begins with https://"),
            (f"{db} --agent-jwt-audience a", "--agent-jwt-audience", "needs --agent-jwt-issuer"),
            (f"{db} --agent-jwt-claim sub", "--agent-jwt-claim", "needs --agent-jwt-issuer"),
            (f"{db} {jwt}", "--agent-jwt-audience is not given", "--insecure-open"),
            (f"{db} --agent-jwks keys.json", "--agent-jwt-audience is not given"),
            (f"{db} --agent-client-ca {other}", "needs an --agent-listen ssl:"),
            (
                f"{db} --agent-client-ca {other} --agent-listen tcp:1:interface=127.0.0.1",
                "needs an --agent-listen ssl:",
            ),
            (f"{db} {endpoint} --agent-client-ca {other}", "is not a certificate of an authority"),
            (f"{db} {endpoint} --agent-client-ca {self.folder}/none", "cannot be read: No such"),
            (f"{db} {endpoint} --agent-client-ca {large}", "is larger than 1 MiB"),
            (
                f"{db} {endpoint} --agent-client-ca {self.write('junk', b'junk')}",
                "must hold certificates in PEM",
            ),
        ):
            self.assertFault(arguments, *parts)

    def test_loopbackIssuer(self) -> None:
        """
        An issuer on this machine needs no TLS, for trying things out.
        """
        for host in ("127.0.0.1:8000", "[::1]:8000", "localhost:8000"):
            plan = planFor(
                f"{self.database} --agent-jwt-issuer http://{host} --agent-jwt-audience a"
            )
            self.assertEqual(plan.access.issuer, f"http://{host}")

    def test_warnings(self) -> None:
        """
        What the person who starts it should know.
        """
        jwt = "--agent-jwt-issuer https://issuer.example"
        for arguments, warned in (
            (f"{jwt} --insecure-open", "Without --agent-jwt-audience"),
            ("--max-backends 5", "--max-backends has no effect with --database"),
            ("--listen tcp:8080", "tcp:8080 has no TLS"),
            ("--agent-listen tcp6:8080", "tcp6:8080 has no TLS"),
        ):
            (warning,) = planFor(f"{self.database} {arguments}").warnings
            self.assertIn(warned, warning)
        for arguments in (
            "--listen tcp:8080 --agent-listen unix:/a",
            "--listen haproxy:tcp:8080",
            "--listen tcp:8080:interface=127.0.0.1",
        ):
            self.assertEqual(planFor(f"{self.database} {arguments}").warnings, (), arguments)


class ExposureTests(PlanCase):
    """
    The safe defaults: who can reach what without credentials.
    """

    def test_table(self) -> None:
        """
        Each place of an endpoint, with and without a registry, a token for administrators, and leave to be open.
        """
        token = self.write("token", b"x" * 40)
        for where, reachable in (
            ("tcp:1", True),
            ("tcp:1:interface=0.0.0.0", True),
            ("tcp6:1", True),
            ("tcp:1:interface=192.0.2.1", True),
            ("tcp:1:interface=127.0.0.1", False),
            ("tcp6:1:interface=\\:\\:1", False),
            ("unix:/a", False),
        ):
            for kind in ("listen", "agent-listen", "admin-listen"):
                for database in ("", self.database):
                    for admin in ("", f"--admin-token-file {token}"):
                        for leave in ("", "--insecure-open"):
                            given = f"--{kind} {where} {database} {admin} {leave}"
                            isSafe = admin if kind == "admin-listen" else database
                            if reachable and not isSafe and not leave:
                                self.assertFault(given, f"--{kind} is", "--insecure-open")
                            else:
                                warned = any(
                                    "(--insecure-open)" in warning
                                    for warning in planFor(given).warnings
                                )
                                self.assertEqual(warned, reachable and not isSafe, given)


class TrustTests(PlanCase):
    """
    Who can pass for a trusted proxy.
    """

    def assertNeedsLeave(self, arguments: str, *parts: str) -> None:
        """
        It is refused, unless that is wanted, and then there is a warning.
        """
        self.assertFault(arguments, "--insecure-open", *parts)
        warnings = planFor(f"{arguments} --insecure-open").warnings
        found = [text for text in warnings if parts[-1] in text and "(--insecure-open)" in text]
        self.assertEqual(len(found), 1, warnings)

    def test_proxyProtocol(self) -> None:
        """
        Whoever can connect to a C{haproxy:} endpoint can say that they are anybody: so none that others can reach goes
        together with trusted proxies.
        """
        for trusted in ("10.0.0.0/8", "unix"):
            for given in (
                "--listen haproxy:tcp:1",
                "--agent-listen haproxy:tcp:1:interface=10.0.0.1",
            ):
                self.assertNeedsLeave(
                    f"{self.database} --trusted-proxies {trusted} {given}",
                    given.partition(" ")[0],
                    "in a PROXY header",
                )
        for given in (
            "--listen haproxy:tcp:1:interface=127.0.0.1 --trusted-proxies 10.0.0.0/8",
            "--listen haproxy:tcp:1",
            "--listen tcp:1 --agent-listen unix:/a --trusted-proxies 10.0.0.0/8",
        ):
            self.assertEqual(planFor(f"{self.database} {given}").warnings, (), given)

    def test_admin(self) -> None:
        """
        What is let in at an admin endpoint without a token is told as it is.
        """
        for endpoint, who in (
            ("tcp:1", "only programs on this machine"),
            ("haproxy:tcp:1", "whoever says, in a PROXY header, that they are on this machine"),
        ):
            self.assertFault(f"--admin-listen {endpoint}", "--admin-token-file")
            [warning] = planFor(f"--admin-listen {endpoint} --insecure-open").warnings
            self.assertIn(who, warning)

    def test_everybody(self) -> None:
        """
        A user header does not go together with trust in all addresses, in however many parts, where others can connect.
        """
        header = "--user-header X-User --trusted-proxies"
        for all in ("0.0.0.0/0", "::/0", "10.0.0.0/8,0.0.0.0/1,128.0.0.0/1", "unix,8000::/1,::/1"):
            self.assertNeedsLeave(
                f"{self.database} --listen tcp:1 --agent-listen unix:/a {header} {all}",
                "--trusted-proxies",
                "with --user-header X-User whoever can reach the server is whoever they say",
            )
        for given in (
            f"--listen tcp:1:interface=127.0.0.1 {header} 0.0.0.0/0",
            f"--listen tcp:1 --agent-listen unix:/a {header} 0.0.0.0/1",
            "--listen tcp:1 --agent-listen unix:/a --trusted-proxies 0.0.0.0/0",
        ):
            self.assertEqual(planFor(f"{self.database} {given}").warnings, (), given)

    def test_sockets(self) -> None:
        """
        A UNIX socket to which everybody may connect, as is the default, makes all of them trusted proxies.
        """
        for endpoint, isOpen in (
            ("unix:/a", True),
            ("unix:/a:mode=666", True),
            ("unix:/a:662", True),
            ("unix:address=/a", True),
            ("haproxy:unix:/a", True),
            ("unix:/a:mode=660", False),
            ("unix:/a:660", False),
            ("unix:address=/a:mode=600", False),
            ("tcp:1:interface=127.0.0.1", False),
        ):
            given = f"{self.database} --listen {endpoint}"
            warned = [
                text
                for text in planFor(f"{given} --trusted-proxies unix").warnings
                if text.startswith(endpoint) and "add mode=660" in text
            ]
            self.assertEqual(len(warned), isOpen, endpoint)
            self.assertEqual(planFor(f"{given} --trusted-proxies ::1").warnings, ())

    def test_headerInOpenMode(self) -> None:
        """
        In open mode a user header keeps nobody out.
        """
        header = "--user-header X-User --trusted-proxies 127.0.0.1"
        [warning] = planFor(header).warnings
        self.assertIn("--user-header protects nothing in open mode", warning)
        self.assertEqual(planFor(f"{self.database} {header}").warnings, ())
        self.assertEqual(
            planFor(f"{header} --oidc-issuer https://a.example --oidc-client-id b").warnings, ()
        )


class CertifiedTests(PlanCase):
    """
    Endpoints that ask for certificates.
    """

    def setUp(self) -> None:
        super().setUp()
        self.ca = trustme.CA()
        leaf = self.ca.issue_cert("localhost")
        self.key = self.write("key", leaf.private_key_pem.bytes())
        self.cert = self.write("cert", leaf.cert_chain_pems[0].bytes())
        self.both = self.write("both", leaf.private_key_and_cert_chain_pem.bytes())

    def make(self, description: str) -> None:
        authorities = parseAuthorities(self.ca.cert_pem.bytes())
        certifiedEndpoint(MemoryReactorClock(), description, authorities)

    def test_descriptions(self) -> None:
        """
        What Twisted's own take, by name and by place.
        """
        chain = self.write("chain", self.ca.cert_pem.bytes())
        for description in (
            f"ssl:443:privateKey={self.key}:certKey={self.cert}",
            f"ssl:443:{self.key}:{self.cert}",
            f"ssl:port=443:privateKey={self.both}:interface=127.0.0.1:backlog=10",
            f"ssl:443:privateKey={self.key}:certKey={self.cert}:extraCertChain={chain}",
        ):
            self.assertTrue(canAsk(description))
            self.make(description)

    def test_faults(self) -> None:
        """
        What is not known is refused, not passed over.
        """
        for description in (
            f"ssl:443:privateKey={self.both}:dhParameters=x",
            f"ssl:443:privateKey={self.both}:sslmethod=TLSv1_METHOD",
            f"ssl:443:{self.key}:{self.cert}:x",
        ):
            self.assertRaises(ConfigError, self.make, description)
        self.assertRaises(OSError, self.make, "ssl:443:privateKey=/nowhere")
        for description in ("tls:/a:443", "tcp:1", "haproxy:ssl:443", "unix:/ssl"):
            self.assertFalse(canAsk(description))
