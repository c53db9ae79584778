"""
The command C{invproxy}: its help, its way to the admin API, and how failures read.
"""

from __future__ import annotations

from io import StringIO
from typing import Any

import click
from twisted.internet.defer import fail, succeed
from twisted.internet.protocol import Factory, Protocol

from invproxy import __version__
from invproxy.admin.root import AdminResource, adminOrigin
from invproxy.cli import backends as backendsModule
from invproxy.cli.client import AdminClient, Reply
from invproxy.cli.failures import Failed
from invproxy.cli.tables import printable
from invproxy.server import StreamingSite
from invproxy.test.clicase import CommandTestCase
from invproxy.test.rawcalls import Bench

SECRET = "0123456789abcdef-admin"


class HelpTests(CommandTestCase):
    """
    What it says of itself.
    """

    def test_help(self) -> None:
        """
        Each command has help, with what it is for and its options, and within 80 columns.
        """
        commands: list[list[str]] = [[]]
        for words in commands:
            shown = self.run_(*words, "--help")
            self.assertIn("Usage:", shown)
            self.assertTrue(all(len(line) <= 80 for line in shown.splitlines()), shown)
            if "\nCommands:\n" in shown:
                listed = shown.partition("\nCommands:\n")[2].partition("\n\n")[0]
                found = [line.split()[0] for line in listed.splitlines() if line[2:3] != " "]
                commands += [[*words, name] for name in found]
        self.assertEqual(len(commands), 1 + 7 + 5 + 3)
        self.assertIn("Exit status: 0", self.run_("--help"))

    def test_version(self) -> None:
        """
        C{--version}.
        """
        self.assertEqual(self.run_("--version"), f"invproxy {__version__}\n")

    def test_completion(self) -> None:
        """
        The scripts of three shells; and IDs of backends are completed, or nothing where nobody answers.
        """
        for shell in ("bash", "zsh", "fish"):
            self.assertIn("_INVPROXY_COMPLETE", self.run_("completion", shell))
        self.run_("backends", "add", "web", "--everyone")
        self.run_("backends", "add", "notes", "--everyone")
        from invproxy.cli.session import Session

        context = click.Context(backendsModule.showCommand, obj=Session(run=self.work))
        parameter = backendsModule.showCommand.params[0]
        complete = backendsModule.completeBackend
        self.assertEqual(complete(context, parameter, ""), ["notes", "web"])
        self.assertEqual(complete(context, parameter, "w"), ["web"])
        # Of a server that would play tricks on the shell or the terminal.
        hostile = [
            {"id": id} for id in ("w\x1b[2J", "w\nfile,/etc", "w x", "w;ls", "w$(ls)", "wiki")
        ]
        self.patch(AdminClient, "backends", lambda client: succeed(hostile))
        self.assertEqual(complete(context, parameter, "w"), ["wiki"])
        self.patch(AdminClient, "backends", lambda client: fail(Failed("nobody answers")))
        self.assertEqual(complete(context, parameter, "w"), [])


class ConnectionTests(CommandTestCase):
    """
    How it finds the admin API, and what it says if it does not.
    """

    def test_where(self) -> None:
        """
        Before the command, behind it, and from the environment; the command line wins.
        """
        self.guard(SECRET)
        there, wrong = "http://127.0.0.1:8081", "http://127.0.0.1:1"
        self.run_("status")
        self.run_("--admin", there, "status", env={"INVPROXY_ADMIN": wrong})
        self.run_("status", "--admin", there, env={"INVPROXY_ADMIN": wrong})
        self.run_("--admin", wrong, "status", "--admin", there + "/")
        self.run_("status", env={"INVPROXY_ADMIN": there})
        self.fails(3, "status", env={"INVPROXY_ADMIN": wrong})

    def test_unreachable(self) -> None:
        """
        Exit status 3, with what to look at.
        """
        self.network.hosts["nowhere.example"] = None
        self.network.ignore("127.0.0.1", 82)
        for url, why in (
            ("http://127.0.0.1:81", "refused"),
            ("http://127.0.0.1:82", "in time"),
            ("http://nowhere.example", "not known"),
            ("unix:/nowhere.sock", "no such file"),
        ):
            said = self.fails(3, "status", "--admin", url)
            self.assertTrue(said.startswith(f"invproxy: no admin API at {url}: "), said)
            self.assertIn(why, said)
            self.assertIn("INVPROXY_ADMIN", said)
            self.assertEqual(said.count("\n"), 1)

    def test_stranger(self) -> None:
        """
        What answers, but is no admin API, is said to be none: a public endpoint, and something that is no HTTP.
        """
        bench = Bench()
        self.network = bench.network
        self.network.advance(1.0)
        said = self.fails(1, "status", "--admin", "http://127.0.0.1:8080")
        self.assertIn("not the admin API", said)

        class Nonsense(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(b"SSH-2.0\r\n")
                self.transport.loseConnection()

        self.network.listenTCP(22, Factory.forProtocol(Nonsense))
        said = self.fails(3, "status", "--admin", "http://127.0.0.1:22")
        self.assertIn("no admin API at", said)

    def test_silent(self) -> None:
        """
        Who never answers is not waited for, for ever.
        """
        self.network.listenTCP(83, Factory.forProtocol(Protocol))
        self.assertIn("in time", self.fails(3, "status", "--admin", "http://127.0.0.1:83"))

    def test_badURL(self) -> None:
        """
        Exit status 2 for what cannot be the address of one.
        """
        for url in ("ftp://x", "127.0.0.1:8081", "http://", "http://a:b", "http://x?y", "unix:x"):
            self.assertIn("--admin", self.fails(2, "status", "--admin", url))
        self.assertIn("--admin", self.fails(2, "status", "--admin", "http://user:password@x"))

    def test_unix(self) -> None:
        """
        Over a UNIX socket.
        """
        admin = AdminResource(self.mailboxes, self.network, bool, registry=self.registry)
        site = StreamingSite(adminOrigin(admin, self.network), self.network)
        self.network.listenUNIX("/admin.sock", site)
        self.assertEqual(self.json("backends", "list", "--admin", "unix:/admin.sock"), [])

    def test_token(self) -> None:
        """
        From a file, or from the environment; the command line wins.
        """
        path = self.guard(SECRET)
        there = ("--admin", "http://127.0.0.1:8082")
        self.assertIn("--admin-token-file", self.fails(1, *there, "status"))
        self.run_(*there, "status", "--admin-token-file", path)
        self.run_(*there, "--admin-token-file", path, "status", env={"INVPROXY_ADMIN_TOKEN": "x"})
        self.run_(*there, "status", env={"INVPROXY_ADMIN_TOKEN_FILE": path})
        self.run_(*there, "status", env={"INVPROXY_ADMIN_TOKEN": SECRET})
        said = self.fails(1, *there, "status", env={"INVPROXY_ADMIN_TOKEN": "wrong-wrong"})
        self.assertIn("not the one of this admin API", said)
        self.assertNotIn("wrong-wrong", said)

    def test_badToken(self) -> None:
        """
        A file that cannot be read, or holds no token.
        """
        self.assertIn("cannot be read", self.fails(1, "status", "--admin-token-file", "/nowhere"))
        path = self.mktemp()
        with open(path, "w", encoding="ascii") as file:
            file.write("two words")
        said = self.fails(1, "status", "--admin-token-file", path)
        self.assertIn("must hold the token", said)
        self.assertNotIn("two words", said)
        said = self.fails(1, "status", env={"INVPROXY_ADMIN_TOKEN": "two words"})
        self.assertIn("INVPROXY_ADMIN_TOKEN", said)

    def test_badAuthorities(self) -> None:
        """
        A file that has no certificates to trust is told, in one line.
        """
        for content in ("", "nonsense", "-----BEGIN CERTIFICATE-----\n"):
            path = self.mktemp()
            with open(path, "w", encoding="ascii") as file:
                file.write(content)
            said = self.fails(1, "status", "--admin", "https://localhost", "--admin-ca", path)
            self.assertEqual(said, "invproxy: --admin-ca must hold certificates in PEM\n")

    def test_overheard(self) -> None:
        """
        A token that goes over a network in the clear is warned of, on loopback it is not.
        """
        path = self.guard(SECRET)
        for host, warned in (
            ("127.0.0.1", 0),
            ("localhost", 0),
            ("[::1]", 0),
            ("proxy.example", 1),
        ):
            found = self.invoke(
                "status", "--admin", f"http://{host}:8082", "--admin-token-file", path
            )
            self.assertEqual(found.stderr.count("in the clear"), warned, host)

    def test_redirect(self) -> None:
        """
        It does not go where it is sent: the token is for nobody else.
        """

        class Elsewhere(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(
                    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:8081/api/status\r\n"
                    b"Content-Length: 0\r\n\r\n"
                )

        self.network.listenTCP(84, Factory.forProtocol(Elsewhere))
        said = self.fails(1, "status", "--admin", "http://127.0.0.1:84")
        self.assertIn("not the admin API", said)


class FailureTests(CommandTestCase):
    """
    How failures read.
    """

    def test_hostile(self) -> None:
        """
        What a server says plays no tricks on the terminal.
        """
        self.assertEqual(printable("a\x1b[2J"), "a\\x1b[2J")
        said = self.fails(1, "backends", "show", "a\x1b[2Jb")
        self.assertNotIn("\x1b", said)
        mint = AdminClient.mint
        bad = "x\x1b[2J\u202ey"
        record = {"id": bad, "pathPrefixes": [bad], "hosts": [bad], "endUser": bad, "lastUsed": bad}
        token = {"name": bad, "created": bad, "expires": bad, "lastUsed": bad}
        load = {"online": True, "secondsSinceSeen": 1, "tunnels": bad, "polls": bad, "queued": bad}
        for name, answer in (
            ("backends", [record]),
            ("backend", Reply(record, bad)),
            ("create", Reply(record)),
            ("replace", Reply(record)),
            ("tokens", [token]),
            ("mint", {**token, "token": "ivp_0123456789"}),
            (
                "status",
                {
                    "ready": True,
                    "uptimeSeconds": 1,
                    "registry": {"state": "unavailable", "problem": bad},
                    "backends": [{"id": bad, "exchanges": {bad: 1}, **load}],
                },
            ),
        ):
            self.patch(AdminClient, name, lambda *_, answer=answer: succeed(answer))
        for words in (
            ("backends", "list"),
            ("backends", "show", "x"),
            ("backends", "add", "x", "--everyone"),
            ("backends", "edit", "x", "--path", "/a"),
            ("token", "list", "x"),
            ("token", "create", "x", "ci"),
            ("token", "create", "x", "ci", "--file", self.mktemp()),
            ("status",),
        ):
            result = self.invoke(*words)
            self.assertEqual(result.exit_code, 0, (words, result.output, result.exception))
            self.assertNotIn("\x1b", result.output, words)
            self.assertNotIn("\u202e", result.output, words)
        self.patch(AdminClient, "tokens", lambda *_: succeed([]))
        self.assertNotIn("\x1b", self.invoke("backends", "show", "x").output)
        self.patch(AdminClient, "mint", mint)
        answers: list[Any] = [{**token, "token": text} for text in ("ivp_\x1b[2J", "", 7)]
        for made in (*answers, token, [], None):
            self.patch(AdminClient, "request", lambda *_, made=made: succeed(Reply(made)))
            said = self.fails(1, "token", "create", "x", "ci")
            self.assertIn("did not answer with a token", said)
        written = StringIO()
        Failed("a\x1b[2J\nb").show(written)
        self.assertEqual(written.getvalue(), "invproxy: a\\x1b[2J\\nb\n")
