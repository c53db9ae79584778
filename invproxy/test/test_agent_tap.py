"""
The options of C{twist invproxy-agent}, and the service made of them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from invproxy.agent.settings import AgentSettings
from invproxy.agent_tap import Options, Plan, assemble, planOf
from invproxy.errors import ConfigError
from invproxy.options import oneLine
from invproxy.test.fakeprocess import FakeService, Process, Reactor
from invproxy.urls import httpProxyFor, isExempt

BASE = "--proxy https://p.example/ --backend web --origin http://localhost:3000"
PLAIN = BASE.replace("https:", "http:")
WHERE = "(command line)"


def planFor(arguments: str, environ: Mapping[str, str] | None = None) -> Plan:
    options = Options()
    options.parseOptions(arguments.split())
    return planOf(options, environ or {})


class AgentTapTestCase(SynchronousTestCase):
    """
    Helpers.
    """

    def faultOf(self, arguments: str, environ: Mapping[str, str] | None = None) -> str:
        error = self.assertRaises(ConfigError, planFor, arguments, environ)
        line = str(error)
        self.assertEqual(line, oneLine(line))
        return line

    def write(self, content: bytes) -> str:
        path: str = self.mktemp()
        Path(path).write_bytes(content)
        return path


class PlanTests(AgentTapTestCase):
    """
    From options to settings.
    """

    def test_defaults(self) -> None:
        """
        Three options are enough.
        """
        plan = planFor(BASE)
        self.assertEqual(plan.proxy, "https://p.example/")
        self.assertEqual(plan.backend, "web")
        self.assertEqual(plan.origin, ("http://localhost:3000", "origin"))
        self.assertEqual(plan.settings, AgentSettings())

    def test_all(self) -> None:
        """
        Each option has its place.
        """
        token = self.write(b"s3cret\n")
        plan = planFor(
            "--proxy http://p --backend a/b:c@d --host [::1]:80 --transport poll --polls 5"
            " --connections 6 --link-timeout 20"
            f" --token-file {token} --http-proxy http://u:p@h:1 --origin-timeout 1"
            " --connect-timeout 2.5 --drain-timeout 3 --forward-user-id --strip-credentials"
            " --rewrite-host a:1"
        )
        self.assertEqual((plan.proxy, plan.backend), ("http://p", "a/b:c@d"))
        self.assertEqual(plan.origin, ("http://[::1]:80", "host"))
        self.assertEqual(
            plan.settings,
            AgentSettings(
                transport="poll",
                polls=5,
                connections=6,
                linkTimeout=20.0,
                token="s3cret",
                httpProxy="http://u:p@h:1",
                originTimeout=1.0,
                connectTimeout=2.5,
                drainTimeout=3.0,
                forwardUserID=True,
                stripCredentials=True,
                rewriteHost=b"a:1",
            ),
        )

    def test_missing(self) -> None:
        """
        What must be given.
        """
        for arguments, line in (
            ("", "--proxy is not given: must be the base URL of the proxy"),
            ("--proxy http://p", "--backend is not given: must be the ID of the backend to serve"),
            (
                "--proxy http://p --backend b",
                "--origin is not given: must be http://HOST:PORT[/BASE] or unix:/PATH of the"
                " backend, or use --host",
            ),
            (
                f"{BASE} --host localhost:3000",
                f"--host is 'localhost:3000' {WHERE}: must not be given together with --origin",
            ),
        ):
            self.assertEqual(self.faultOf(arguments), line)

    def test_urls(self) -> None:
        """
        URLs that can be used, and those that cannot.
        """
        for url in (
            "http://p",
            "https://p.example:8443/base/",
            "http://127.0.0.1:1",
            "http://[::1]:8080/a%20b",
            "http://my_service:80",
        ):
            self.assertEqual(planFor(f"{BASE} --proxy {url}").proxy, url)
        for url in (
            "p.example",
            "ftp://p",
            "http:p",
            "http://",
            "http:///a",
            "http://p:",
            "http://p:0",
            "http://p:65536",
            "http://p:x",
            "http://p?q",
            "http://p/#f",
            "http://p/?",
            "http://@p",
            "http://[::1",
            "http://[1.2.3]",
            "http://p\\q",
            "http://p/\x7f",
            "http://p/é",
            "http://p%41",
        ):
            self.assertEqual(
                self.faultOf(f"{BASE} --proxy {url}"),
                f"--proxy is {url!r} {WHERE}: must be the base URL of the proxy, such as"
                " https://proxy.example/, without credentials, query or fragment",
            )

    def test_credentialsInURLs(self) -> None:
        """
        Credentials that stand where they must not are not shown.
        """
        for option in ("proxy", "origin"):
            line = self.faultOf(f"{BASE} --{option} http://me:s3cret@p/")
            self.assertTrue(line.startswith(f"--{option} is 'http://***@p/' {WHERE}: must "), line)

    def test_origins(self) -> None:
        """
        Origins that can be used, and those that cannot.
        """
        for url in ("http://localhost:3000", "http://h/base", "unix:/run/a.sock", "unix:/a@b"):
            self.assertEqual(planFor(f"{BASE} --origin {url}").origin, (url, "origin"))
        for url in ("localhost:3000", "https://h", "unix:a.sock", "unix:", "http://h?x"):
            self.assertEqual(
                self.faultOf(f"{BASE} --origin {url}"),
                f"--origin is {url!r} {WHERE}: must be http://HOST:PORT[/BASE] or unix:/PATH,"
                " without credentials or query",
            )

    def test_faults(self) -> None:
        """
        What else cannot be used, each in one line.
        """
        backend = "must be 1 to 256 letters, digits or characters out of -._~:@/"
        for arguments, line in (
            ("--backend a,b", f"--backend is 'a,b' {WHERE}: {backend}"),
            ("--backend é", f"--backend is 'é' {WHERE}: {backend}"),
            (f"--backend {'b' * 257}", f"--backend is '{'b' * 99}... {WHERE}: {backend}"),
            ("--polls 0", f"--polls is '0' {WHERE}: must be an integer, from 1 to 100"),
            ("--transport x", f"--transport is 'x' {WHERE}: must be auto, tunnel or poll"),
            ("--connections 0", f"--connections is '0' {WHERE}: must be an integer, from 1 to 100"),
            (
                "--rewrite-host a/b",
                f"--rewrite-host is 'a/b' {WHERE}: must be HOST or HOST:PORT",
            ),
            (
                "--token-file /nowhere",
                f"--token-file is '/nowhere' {WHERE}: cannot be read: No such file or directory",
            ),
            (
                "--http-proxy https://me:s3cret@h",
                "--http-proxy (command line; value not shown): must be"
                " http://[USER:PASSWORD@]HOST[:PORT], or none",
            ),
            ("--client-key /dev/null", f"--client-key is '/dev/null' {WHERE}: needs --client-cert"),
        ):
            self.assertEqual(self.faultOf(f"{BASE} {arguments}"), line)
        for given in ("localhost", ":80", "a:0", "a:b", "::1:80", "http://a:1"):
            self.assertEqual(
                self.faultOf(f"--proxy http://p --backend b --host {given}"),
                f"--host is {given!r} {WHERE}: must be HOST:PORT, such as localhost:3000",
            )


class TokenTests(AgentTapTestCase):
    """
    The token comes from a file or the environment, and is never shown.
    """

    def tokenFor(self, arguments: str = "", environ: Mapping[str, str] | None = None) -> str | None:
        settings = planFor(f"{BASE} {arguments}", environ).settings
        self.assertNotIn("s3cret", repr(settings))
        return settings.token

    def test_readAgain(self) -> None:
        """
        A file is read again later; the environment is not, as it cannot change.
        """
        path = self.write(b"s3cret-file\n")
        environ = {"INVPROXY_TOKEN": "s3cret"}
        for arguments, given, again in (
            (f"--token-file {path}", {}, True),
            (f"--token-file {path}", environ, True),
            ("", {"INVPROXY_TOKEN_FILE": path}, True),
            ("", environ, False),
            (
                f"--config {self.write(f'token-file = {chr(34)}{path}{chr(34)}'.encode())}",
                environ,
                False,
            ),
            ("", {}, False),
        ):
            read = planFor(f"{BASE} {arguments}", given).settings.readToken
            self.assertEqual(read is not None, again, (arguments, given))
            if read is not None:
                self.assertEqual(read(), "s3cret-file")

    def test_environment(self) -> None:
        """
        The token itself in the environment.
        """
        self.assertEqual(self.tokenFor("", {"INVPROXY_TOKEN": " s3cret\n"}), "s3cret")
        self.assertIsNone(self.tokenFor("", {"INVPROXY_TOKEN": ""}))

    def test_precedence(self) -> None:
        """
        A file named on the command line wins over the token in the environment, which wins over a
        file named in the TOML file.
        """
        path = self.write(b"s3cret-file")
        config = self.write(f"token-file = {path!r}\n".replace("'", '"').encode())
        environ = {"INVPROXY_TOKEN": "s3cret"}
        self.assertEqual(self.tokenFor(f"--token-file {path}", environ), "s3cret-file")
        self.assertEqual(self.tokenFor(f"--config {config}", environ), "s3cret")
        self.assertEqual(self.tokenFor(f"--config {config}"), "s3cret-file")

    def test_both(self) -> None:
        """
        Both in the environment are one too many.
        """
        path = self.write(b"s3cret")
        self.assertEqual(
            self.faultOf(BASE, {"INVPROXY_TOKEN": "s3cret", "INVPROXY_TOKEN_FILE": path}),
            f"--token-file is {path!r} (INVPROXY_TOKEN_FILE in the environment): must not be set"
            " together with INVPROXY_TOKEN",
        )

    def test_bad(self) -> None:
        """
        What is no token is refused without being shown.
        """
        must = "must be printable ASCII without spaces, at most 8192 characters"
        for bad in (b"", b"s3cret s3cret", b"s3\ncret", b"s3cr\xc3\xa9t", b"s" * 8193):
            path = self.write(bad)
            self.assertEqual(
                self.faultOf(f"{BASE} --token-file {path}"),
                f"--token-file is {path!r} {WHERE}: the token in it (not shown) {must}",
            )
        self.assertEqual(
            self.faultOf(BASE, {"INVPROXY_TOKEN": "s3cret s3cret"}),
            f"INVPROXY_TOKEN in the environment (value not shown): {must}",
        )

    def test_large(self) -> None:
        """
        A file that cannot be a token is not read whole.
        """
        self.assertEqual(
            self.faultOf(f"{BASE} --token-file /dev/zero"),
            f"--token-file is '/dev/zero' {WHERE}: is larger than 1 MiB",
        )

    def test_notInTheFile(self) -> None:
        """
        The token itself does not belong in the TOML file.
        """
        config = self.write(b'token = "s3cret"\n')
        line = self.faultOf(f"{BASE} --config {config}")
        self.assertIn("has the unknown key 'token'", line)
        self.assertNotIn("s3cret", line)


def makeCertificate() -> tuple[bytes, bytes, bytes]:
    """
    Make a certificate.

    @return: it, its key, and its key encrypted.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )

    def encoded(encryption: Any) -> bytes:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    return (
        certificate.public_bytes(Encoding.PEM),
        encoded(NoEncryption()),
        encoded(BestAvailableEncryption(b"secret")),
    )


class TLSTests(AgentTapTestCase):
    """
    Certificates and keys.
    """

    def setUp(self) -> None:
        self.certificate, self.key, self.encrypted = makeCertificate()
        self.certificateFile = self.write(self.certificate)
        self.keyFile = self.write(self.key)

    def test_together(self) -> None:
        """
        In two files, with an authority of their own.
        """
        settings = planFor(
            f"{BASE} --proxy-ca {self.certificateFile} --client-cert {self.certificateFile}"
            f" --client-key {self.keyFile}"
        ).settings
        self.assertEqual(settings.proxyCA, self.certificate)
        self.assertEqual(settings.clientCertificate, self.certificate)
        self.assertEqual(settings.clientKey, self.key)

    def test_inOneFile(self) -> None:
        """
        In one file.
        """
        path = self.write(self.key + self.certificate)
        settings = planFor(f"{BASE} --client-cert {path}").settings
        self.assertEqual(settings.clientCertificate, self.key + self.certificate)
        self.assertIsNone(settings.clientKey)

    def test_faults(self) -> None:
        """
        What cannot be used, each in one line.
        """
        junk = self.write(b"junk")
        broken = self.write(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        encrypted = self.write(self.encrypted)
        other = self.write(makeCertificate()[1])
        certificate = f"--client-cert {self.certificateFile}"
        for arguments, name, path, problem in (
            (f"--proxy-ca {junk}", "proxy-ca", junk, "must hold certificates in PEM"),
            (f"--proxy-ca {broken}", "proxy-ca", broken, "must hold certificates in PEM"),
            (f"--client-cert {junk}", "client-cert", junk, "must hold certificates in PEM"),
            (
                certificate,
                "client-cert",
                self.certificateFile,
                "must hold a private key in PEM, or --client-key must name one",
            ),
            (
                f"{certificate} --client-key {junk}",
                "client-key",
                junk,
                "must hold a private key in PEM",
            ),
            (
                f"{certificate} --client-key {encrypted}",
                "client-key",
                encrypted,
                "the private key must not be encrypted",
            ),
            (
                f"{certificate} --client-key {other}",
                "client-key",
                other,
                "the private key does not belong to the certificate",
            ),
        ):
            self.assertEqual(
                self.faultOf(f"{BASE} {arguments}"), f"--{name} is {path!r} {WHERE}: {problem}"
            )

    def test_withoutTLS(self) -> None:
        """
        Certificates for a proxy without TLS are a slip.
        """
        for name in ("proxy-ca", "client-cert"):
            self.assertEqual(
                self.faultOf(f"{PLAIN} --{name} {self.certificateFile}"),
                f"--{name} is {self.certificateFile!r} {WHERE}: needs a --proxy whose URL begins"
                " with https:",
            )


class ForwardProxyTests(AgentTapTestCase):
    """
    The forward proxy that the environment names.
    """

    def test_byScheme(self) -> None:
        """
        The variable is that of the URL's scheme, in either case; lower case wins.
        """
        both = {"HTTPS_PROXY": "http://s:1", "HTTP_PROXY": "http://p:2"}
        self.assertEqual(httpProxyFor("https://h/", both), "http://s:1")
        self.assertEqual(httpProxyFor("http://h/", both), "http://p:2")
        self.assertEqual(
            httpProxyFor("https://h/", {**both, "https_proxy": "u:p@l:3"}), "http://u:p@l:3"
        )
        self.assertIsNone(httpProxyFor("https://h/", {"HTTP_PROXY": "http://p:2"}))
        self.assertIsNone(httpProxyFor("https://h/", {"HTTPS_PROXY": ""}))

    def test_loopback(self) -> None:
        """
        Loopback is never behind a proxy.
        """
        environ = {"HTTP_PROXY": "http://p:2"}
        for host in ("localhost", "127.0.0.1:8080", "[::1]:8080", "a.localhost"):
            self.assertIsNone(httpProxyFor(f"http://{host}/", environ))

    def test_exempt(self) -> None:
        """
        C{NO_PROXY} as other programs read it.
        """
        for exempt, host in (
            ("*", "a.example"),
            ("a.example", "a.example"),
            (".example", "a.example"),
            ("*.example", "a.example"),
            ("example", "a.example"),
            ("x, EXAMPLE", "a.example"),
            ("a.example:443", "a.example"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.0/24", "192.0.2.7"),
            ("192.0.2.7:443", "192.0.2.7"),
            ("2001:db8::/32", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
        ):
            self.assertTrue(isExempt(host, 443, exempt), exempt)
        for exempt, host in (
            ("", "a.example"),
            (",", "a.example"),
            (".", "a.example"),
            ("xample", "a.example"),
            ("b.a.example", "a.example"),
            ("a.example:80", "a.example"),
            ("192.0.3.0/24", "192.0.2.7"),
            ("2.7", "192.0.2.77"),
        ):
            self.assertFalse(isExempt(host, 443, exempt), exempt)
        environ = {"HTTPS_PROXY": "http://p:2", "NO_PROXY": "h:443"}
        self.assertIsNone(httpProxyFor("https://h/", environ))

    def test_bad(self) -> None:
        """
        One that cannot be used is named, but not shown.
        """
        line = self.faultOf(BASE, {"HTTPS_PROXY": "socks5://me:s3cret@h:1"})
        self.assertEqual(
            line,
            "HTTPS_PROXY in the environment (value not shown): must be"
            " http://[USER:PASSWORD@]HOST[:PORT], or none",
        )

    def test_options(self) -> None:
        """
        The option wins over the environment, the word C{none} among its values.
        """
        environ = {"HTTPS_PROXY": "http://s:1"}
        self.assertEqual(planFor(BASE, environ).settings.httpProxy, "http://s:1")
        for option, expected in (("none", None), ("h:1", "http://h:1")):
            plan = planFor(f"{BASE} --http-proxy {option}", environ)
            self.assertEqual(plan.settings.httpProxy, expected)


class AssembleTests(AgentTapTestCase):
    """
    From the plan to a service.
    """

    def make(self, arguments: str, originFromURL: Any) -> FakeService:
        self.reactor = Reactor()
        self.process = Process()
        lifecycle = self.process.lifecycle(self.reactor)
        service = assemble(
            planFor(arguments),
            self.reactor,  # type: ignore[arg-type]
            lifecycle,
            FakeService,
            originFromURL,
        )
        assert isinstance(service, FakeService)
        return service

    def test_service(self) -> None:
        """
        The service gets what the options say, and the ready line who serves what.
        """
        origins: list[Any] = []

        def originFromURL(*args: Any) -> str:
            origins.append(args)
            return "origin"

        service = self.make(
            "--proxy http://127.0.0.1:8080 --backend web --host localhost:3000", originFromURL
        )
        settings = AgentSettings()
        self.assertEqual(origins, [(self.reactor, "http://localhost:3000", settings)])
        self.assertEqual(
            service.args, (self.reactor, "http://127.0.0.1:8080", "web", "origin", settings)
        )
        self.reactor.run()
        service.ready.callback("poll")
        self.assertEqual(
            self.process.stdout.getvalue(),
            'agent ready: http://127.0.0.1:8080 -> http://localhost:3000 as "web" over poll\n',
        )

    def test_originRefused(self) -> None:
        """
        An origin that turns out to be unusable is named by its option.
        """

        def originFromURL(*args: Any) -> str:
            raise ConfigError("no")

        error = self.assertRaises(ConfigError, self.make, BASE, originFromURL)
        self.assertEqual(str(error), f"--origin is 'http://localhost:3000' {WHERE}: no")
