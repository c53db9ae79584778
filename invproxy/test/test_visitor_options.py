"""
The server's options about end users.
"""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from invproxy.auth.oidc_settings import OIDCSettings
from invproxy.auth.passwords import ScryptFileChecker, hashPassword
from invproxy.errors import ConfigError
from invproxy.server_tap import Options, Plan, planOf
from invproxy.visitor_options import VisitorPlan


class VisitorPlanTests(SynchronousTestCase):
    """
    What they make of what is given.
    """

    def plan(self, *arguments: str) -> Plan:
        options = Options()
        options.parseOptions(list(arguments))
        return planOf(options, {}, Clock())

    def visitors(self, *arguments: str) -> VisitorPlan:
        return self.plan(*arguments).visitors

    def assertRefused(self, *arguments: str, says: str) -> str:
        """
        It is refused in one line.
        """
        error = self.assertRaises(ConfigError, self.plan, *arguments)
        self.assertIn(says, str(error))
        self.assertNotIn("\n", str(error))
        return str(error)

    def write(self, content: str) -> str:
        path: str = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        return path

    def test_nothing(self) -> None:
        """
        By default nobody has a name.
        """
        self.assertEqual(self.visitors(), VisitorPlan((), None))

    def test_auth(self) -> None:
        """
        Checkers of strcred, ours and Twisted's, in the order in which they are given.
        """
        path = self.write("alice:" + hashPassword("x", cost=(4, 8, 1)))
        first, second = self.visitors(
            *("--auth", f"scrypt-file:{path}", "--auth", "memory:bob:builder")
        ).checkers
        self.assertIsInstance(first, ScryptFileChecker)
        self.assertIsInstance(second, InMemoryUsernamePasswordDatabaseDontUse)

    def test_badAuth(self) -> None:
        """
        What cannot be used is refused, with the types that there are, and without showing what may be a password.
        """
        for text, says in (
            ("none", "must be TYPE:ARGUMENTS, where TYPE is one of"),
            ("secret:wonder", "scrypt-file"),
            ("anonymous", "must be TYPE:ARGUMENTS"),
            ("memory:wonder", "memory cannot be used (InvalidAuthArgumentString); it takes:"),
            ("scrypt-file:/nowhere", "'/nowhere' cannot be read: No such file"),
        ):
            error = self.assertRefused("--auth", text, says=says)
            self.assertIn("--auth (command line; value not shown)", error)
            self.assertNotIn("wonder", error)
        path = self.write("alice:wonder\n")
        error = self.assertRefused("--auth", f"scrypt-file:{path}", says="line 1: must be user:")
        self.assertNotIn("wonder", error)

    def test_oidc(self) -> None:
        """
        A provider, with or without a secret.
        """
        given = ("--oidc-issuer", "https://id.example/x/", "--oidc-client-id", "me")
        self.assertEqual(
            self.visitors(*given).oidc, OIDCSettings("https://id.example/x/", "me", None, "email")
        )
        secret = self.write("s:cret \n")
        plan = self.visitors(
            *given, "--oidc-client-secret-file", secret, "--oidc-user-claim", "sub"
        )
        self.assertEqual(plan.oidc, OIDCSettings("https://id.example/x/", "me", "s:cret", "sub"))
        self.assertNotIn("cret", repr(plan))

    def test_badIssuer(self) -> None:
        """
        An issuer is a URL that nobody on the way can answer for.
        """
        for url in (
            "id.example",
            "http://id.example",
            "https://",
            "https://id.example/?a=b",
            "https://id.example/#a",
            "https://user@id.example",
            "https://id.example/\x7f",
            "https://id.ex\xe4mple",
            "https://[::1",
        ):
            self.assertRefused(
                *("--oidc-issuer", url, "--oidc-client-id", "me"), says="must be the issuer's URL"
            )
        for url in ("http://127.0.0.1:9400", "http://localhost:9400/", "http://[::1]"):
            self.visitors("--oidc-issuer", url, "--oidc-client-id", "me")

    def test_together(self) -> None:
        """
        They need each other.
        """
        self.assertRefused("--oidc-issuer", "https://id.example", says="--oidc-client-id is not")
        for name in ("client-id", "client-secret-file", "user-claim"):
            self.assertRefused(f"--oidc-{name}", "x", says="has no use without --oidc-issuer")

    def test_badSecret(self) -> None:
        """
        A file that holds no secret, or anything else, is refused, and not shown.
        """
        given = ("--oidc-issuer", "https://id.example", "--oidc-client-id", "me")
        for content in ("", " \n", "one\ntwo\n", "a\x00b"):
            path = self.write(content)
            error = self.assertRefused(
                *given, "--oidc-client-secret-file", path, says="must hold the secret"
            )
            self.assertNotIn("two", error)
        path = self.write("x" * 5000)
        self.assertRefused(*given, "--oidc-client-secret-file", path, says="is larger than 4 KiB")
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b"\xff\xfe")
        self.assertRefused(*given, "--oidc-client-secret-file", path, says="must hold the secret")
        for path in (self.mktemp(), "a\x00b"):
            self.assertRefused(*given, "--oidc-client-secret-file", path, says="cannot be read")

    def test_warnings(self) -> None:
        """
        Who starts it is told what does not go well in the clear.
        """
        auth = ("--auth", "memory:bob:builder")
        oidc = ("--oidc-issuer", "https://id.example", "--oidc-client-id", "me")
        reachable = ("--listen", "tcp:80", "--insecure-open")
        behind = ("--trusted-proxies", "10.0.0.0/8")
        for arguments, said in (
            ((*auth, *reachable), ["names and passwords (--auth) can be read on the way"]),
            ((*oidc, *reachable), ["nobody can sign in there"]),
            ((*auth, *oidc, *reachable), ["names and passwords", "nobody can sign in there"]),
            ((*auth, *oidc), []),
            ((*auth, *oidc, *reachable, *behind), []),
            (reachable, []),
        ):
            warnings = [each for each in self.plan(*arguments).warnings if "without TLS" in each]
            self.assertEqual(len(warnings), len(said), warnings)
            for warning, part in zip(warnings, said, strict=True):
                self.assertIn(part, warning)
                self.assertIn("tcp:80", warning)
                self.assertNotIn("builder", warning)

    def test_imports(self) -> None:
        """
        Who has no end users does not wait at the start for what only they need.
        """
        script = (
            "import sys; import invproxy.server_tap, invproxy.proxy.service;"
            "import twisted.plugins.invproxy_dropin;"
            "print([name for name in ('oauthlib', 'joserfc', 'treq', 'invproxy.auth.oidc',"
            " 'invproxy.auth.passwords', 'invproxy.proxy.signin') if name in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            encoding="utf-8",
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertEqual(done.stdout.strip(), "[]")
