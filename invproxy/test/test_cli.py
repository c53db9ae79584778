"""
The command C{invproxy}, as people and programs use it.
"""

from __future__ import annotations

import json
import os
import stat
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
from invproxy.errors import StoreError
from invproxy.registry.records import Backend, digestOf, parseBackend
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


class BackendsTests(CommandTestCase):
    """
    C{invproxy backends}.
    """

    def add(self, *arguments: str) -> str:
        return self.run_("backends", "add", *arguments)

    def record(self, id: str = "web") -> Any:
        return self.json("backends", "show", id)

    def test_add(self) -> None:
        """
        One visitor stands in the original's field, several in ours; all hosts and paths unless they are named.
        """
        self.add("web", "--end-user", "alice@example.com")
        self.assertEqual(
            self.record(),
            {
                "id": "web",
                "endUser": "alice@example.com",
                "backendUser": "",
                "pathPrefixes": ["/"],
                "endUsers": [],
                "hosts": [],
            },
        )
        self.add(
            *("team/a", "--end-user", "bob", "--end-user", "*@example.com"),
            *("--host", "a.example", "--host", "b.example", "--path", "/x", "--path", "/y"),
            *("--backend-user", "robot@example.com"),
        )
        self.assertEqual(
            self.record("team/a"),
            {
                "id": "team/a",
                "endUser": "",
                "backendUser": "robot@example.com",
                "pathPrefixes": ["/x", "/y"],
                "endUsers": ["bob", "*@example.com"],
                "hosts": ["a.example", "b.example"],
            },
        )
        self.add("all", "--everyone")
        self.assertEqual(self.record("all")["endUser"], "allUsers")

    def test_next(self) -> None:
        """
        What is to be done next is said on stderr; not to programs, and not where an agent has other credentials.
        """
        made = self.invoke("backends", "add", "web", "--everyone")
        self.assertEqual(made.stdout, "Backend web is added.\n")
        self.assertIn("invproxy token create web NAME", made.stderr)
        made = self.invoke("backends", "add", "b", "--everyone", "--backend-user", "x")
        self.assertEqual(made.stderr, "")
        made = self.invoke("backends", "add", "c", "--everyone", "--json")
        self.assertEqual((json.loads(made.stdout)["id"], made.stderr), ("c", ""))

    def test_addTwice(self) -> None:
        """
        Nothing that is there is overwritten.
        """
        self.add("web", "--end-user", "alice")
        said = self.fails(1, "backends", "add", "web", "--everyone")
        self.assertIn("invproxy backends edit web", said)
        self.assertEqual(self.record()["endUser"], "alice")

    def test_addForNobody(self) -> None:
        """
        Who may visit it must be said: nothing is open by omission.
        """
        self.assertIn("--everyone", self.fails(2, "backends", "add", "web"))

    def test_invalid(self) -> None:
        """
        What is wrong is called as on the command line.
        """
        for option, value in (
            ("--end-user", "a*b"),
            ("--host", "a b"),
            ("--path", "x"),
            ("--backend-user", "a\nb"),
        ):
            said = self.fails(1, "backends", "add", "web", "--everyone", option, value)
            self.assertTrue(said.startswith(f"invproxy: {option} "), said)
            self.assertEqual(said.count("\n"), 1)
        self.assertIn("ID must be", self.fails(1, "backends", "add", "a b", "--everyone"))

    def test_list(self) -> None:
        """
        A table of all of them; JSON is what the API says.
        """
        empty = self.invoke("backends", "list")
        self.assertEqual(empty.stdout, "")
        self.assertIn("invproxy backends add", empty.stderr)
        self.assertEqual(self.json("backends", "list"), [])
        self.add("web", "--end-user", "alice", "--end-user", "*@example.com", "--host", "a.example")
        self.add("all", "--everyone", "--path", "/x", "--path", "/y", "--backend-user", "robot")
        assert self.registry is not None
        self.registry.see("all")
        self.network.advance(300)
        self.assertEqual(
            self.run_("backends", "list"),
            "BACKEND  VISITORS              HOSTS      PATHS   AGENTS    SEEN\n"
            "all      everybody             any        /x, /y  robot     5 min ago\n"
            "web      alice, *@example.com  a.example  /       by token  never\n",
        )
        listed = self.json("backends", "list")
        self.assertEqual([record["id"] for record in listed], ["all", "web"])

    def test_pages(self) -> None:
        """
        All of them, however many there are.
        """
        assert self.registry is not None
        for number in range(2001):
            record = Backend(f"b{number:04}", "allUsers", "", ("/",))
            self.successResultOf(self.startOf(self.registry.put(record)))
        listed = self.json("backends", "list")
        self.assertEqual([record["id"] for record in listed], [f"b{n:04}" for n in range(2001)])

    def startOf(self, coroutine: Any) -> Any:
        from twisted.internet.defer import Deferred

        return Deferred.fromCoroutine(coroutine)

    def test_show(self) -> None:
        """
        One of them with its tokens.
        """
        self.add("web", "--end-user", "alice")
        shown = self.invoke("backends", "show", "web")
        self.assertEqual(
            shown.stdout,
            "backend     web\n"
            "visitors    alice\n"
            "hosts       any\n"
            "paths       /\n"
            "agents      by token\n"
            "tokens      none\n"
            "agent seen  never\n",
        )
        self.assertIn("invproxy token create web", shown.stderr)
        self.run_("token", "create", "web", "laptop")
        self.assertIn("tokens      laptop\n", self.run_("backends", "show", "web"))
        said = self.fails(1, "backends", "show", "nope")
        self.assertIn("invproxy backends list", said)

    def test_edit(self) -> None:
        """
        What no option names stays.
        """
        self.add("web", "--end-user", "alice", "--host", "a.example", "--path", "/a")
        edit = ("backends", "edit", "web")
        self.run_(*edit, "--add-end-user", "bob", "--add-end-user", "alice")
        self.assertEqual(self.record()["endUsers"], ["alice", "bob"])
        self.run_(*edit, "--drop-end-user", "alice", "--host", "b.example", "--host", "c.example")
        self.assertEqual(
            self.record(),
            {
                "id": "web",
                "endUser": "bob",
                "backendUser": "",
                "pathPrefixes": ["/a"],
                "endUsers": [],
                "hosts": ["b.example", "c.example"],
            },
        )
        self.run_(*edit, "--everyone", "--backend-user", "robot", "--drop-host", "b.example")
        self.run_(*edit, "--path", "/", "--add-path", "/x")
        record = self.record()
        self.assertEqual((record["endUser"], record["backendUser"]), ("allUsers", "robot"))
        self.assertEqual((record["hosts"], record["pathPrefixes"]), (["c.example"], ["/", "/x"]))
        self.run_(*edit, "--backend-user", "")
        self.assertEqual(self.record()["backendUser"], "")
        self.assertIn("as it was", self.run_(*edit, "--path", "/", "--add-path", "/x"))

    def test_badEdit(self) -> None:
        """
        What is not there cannot be dropped, and somebody must be left.
        """
        self.add("web", "--end-user", "alice")
        said = self.fails(1, "backends", "edit", "web", "--drop-host", "a.example")
        self.assertIn("--drop-host a.example", said)
        said = self.fails(1, "backends", "edit", "web", "--drop-end-user", "alice")
        self.assertIn("nobody could visit it", said)
        self.assertIn("no backend", self.fails(1, "backends", "edit", "nope", "--everyone"))
        self.assertEqual(self.record()["endUser"], "alice")

    def test_editor(self) -> None:
        """
        Without options an editor has the record.
        """
        self.add("web", "--end-user", "alice")
        seen: list[str] = []

        def edit(text: str, extension: str) -> str | None:
            seen.append(text)
            return answers.pop()

        answers: list[str | None] = []
        self.patch(click, "edit", edit)
        for answer, status, said in (
            (None, 0, "as it was"),
            ("{", 1, "not JSON"),
            ("[]", 1, "no JSON object"),
        ):
            answers.append(answer)
            result = self.invoke("backends", "edit", "web")
            self.assertEqual(result.exit_code, status)
            self.assertIn(said, result.output)
        answers.append(seen[0].replace("alice", "bob"))
        self.run_("backends", "edit", "web")
        self.assertEqual(self.record()["endUser"], "bob")

    def test_editTogether(self) -> None:
        """
        Nobody overwrites what somebody else has changed meanwhile.
        """
        self.add("web", "--end-user", "alice")

        def edit(text: str, extension: str) -> str:
            assert self.registry is not None
            record = parseBackend(json.loads(text.replace("alice", "carol")))
            self.successResultOf(self.startOf(self.registry.put(record)))
            return text.replace("alice", "bob")

        self.patch(click, "edit", edit)
        said = self.fails(1, "backends", "edit", "web")
        self.assertIn("somebody else meanwhile", said)
        self.assertEqual(self.record()["endUser"], "carol")

    def test_remove(self) -> None:
        """
        It asks first.
        """
        self.add("web", "--everyone")
        self.fails(1, "backends", "remove", "web", input="n\n")
        self.assertEqual(len(self.json("backends", "list")), 1)
        self.run_("backends", "remove", "web", input="y\n")
        self.assertEqual(self.json("backends", "list"), [])
        self.assertIn("no backend", self.fails(1, "backends", "remove", "web", "--yes"))

    def test_ids(self) -> None:
        """
        IDs with characters that mean something in addresses.
        """
        for id in ("team/a", "a:b@c~1", "../a/", "/", "a//b", "a/..", "...", "web/tokens/x"):
            self.run_("backends", "add", "--everyone", "--", id)
            self.assertEqual(self.json("backends", "show", id)["id"], id)
            self.run_("backends", "edit", id, "--add-path", "/more")
            self.assertIn("/more", self.json("backends", "show", id)["pathPrefixes"])
            self.run_("token", "create", id, "ci")
            self.assertEqual([each["name"] for each in self.json("token", "list", id)], ["ci"])
            self.run_("token", "revoke", id, "ci")
            self.assertEqual([each["id"] for each in self.json("backends", "list")], [id])
            self.run_("backends", "remove", id, "--yes")
            self.assertEqual(self.json("backends", "list"), [])

    def test_dots(self) -> None:
        """
        What would be a step through the address is no ID, and leads nowhere else.
        """
        self.run_("backends", "add", "web", "--everyone")
        self.run_("token", "create", "web", "ci")
        for id in (".", ".."):
            said = self.fails(1, "backends", "add", id, "--everyone")
            self.assertIn("ID must be 1 to 256", said)
            for words in (
                ("backends", "show", id),
                ("backends", "edit", id, "--add-path", "/x"),
                ("backends", "remove", id, "--yes"),
                ("token", "list", id),
                ("token", "create", id, "ci"),
                ("token", "revoke", id, "ci"),
            ):
                self.assertIn(f"there is no backend {id!r}", self.fails(1, *words), words)
            said = self.fails(1, "token", "revoke", "web", id)
            self.assertIn(f"'web' has no token {id!r}", said)

    def test_unavailable(self) -> None:
        """
        A store that does not work is told.
        """
        self.store.failure = StoreError("the disk is full: make room")
        said = self.fails(1, "backends", "add", "web", "--everyone")
        self.assertIn("make room", said)


class OpenModeTests(CommandTestCase):
    """
    A proxy without a registry.
    """

    hasRegistry = False

    def test_openMode(self) -> None:
        """
        It is said how to get one, and the status is shown all the same.
        """
        self.assertIn("--database", self.fails(1, "backends", "list"))
        self.assertIn("open mode", self.run_("status"))


class TokenTests(CommandTestCase):
    """
    C{invproxy token}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.run_("backends", "add", "web", "--everyone")

    def test_create(self) -> None:
        """
        The secret alone is on stdout; it works.
        """
        made = self.invoke("token", "create", "web", "laptop")
        secret = made.stdout.removesuffix("\n")
        assert self.registry is not None
        found = self.registry.findToken(digestOf(secret))
        self.assertEqual(found and found.name, "laptop")
        self.assertIn("valid until it is revoked", made.stderr)
        self.assertIn("--backend web", made.stderr)
        self.assertNotIn(secret, made.stderr)

    def test_expires(self) -> None:
        """
        Spans begin now.
        """
        made = self.json("token", "create", "web", "laptop", "--expires", "30d")
        self.assertEqual(made["expires"], "1971-01-31T00:00:00Z")
        said = self.fails(2, "token", "create", "web", "x", "--expires", "soon")
        self.assertIn("--expires", said)

    def test_file(self) -> None:
        """
        A new file that nobody else can read; never one that is there, and none if there is no token.
        """
        path = self.mktemp()
        made = self.invoke("token", "create", "web", "laptop", "--file", path)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with open(path, encoding="ascii") as file:
            secret = file.read().strip()
        assert self.registry is not None
        self.assertIsNotNone(self.registry.findToken(digestOf(secret)))
        self.assertNotIn(secret, made.output)
        said = self.fails(1, "token", "create", "web", "other", "--file", path)
        self.assertIn("is there already", said)
        self.assertEqual(len(self.json("token", "list", "web")), 1)
        absent = self.mktemp()
        self.fails(1, "token", "create", "web", "laptop", "--file", absent)
        self.assertFalse(os.path.exists(absent))
        said = self.fails(1, "token", "create", "web", "x", "--file", "/nowhere/x")
        self.assertIn("cannot be made", said)
        other = self.mktemp()
        shown = self.json("token", "create", "web", "more", "--file", other)
        self.assertNotIn("token", shown)

    def test_unwritten(self) -> None:
        """
        A token that could not be written is told to be of no use to anybody, and its file is not there.
        """
        path = self.mktemp()

        def full(file: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        self.patch(os, "write", full)
        said = self.fails(1, "token", "create", "web", "ci", "--file", path)
        self.assertIn("No space left on device", said)
        self.assertIn("invproxy token revoke web ci", said)
        self.assertEqual(said.count("\n"), 1)
        self.assertFalse(os.path.exists(path))

    def test_taken(self) -> None:
        """
        A name is taken once, and what to do is said.
        """
        self.run_("token", "create", "web", "laptop")
        said = self.fails(1, "token", "create", "web", "laptop")
        self.assertIn("invproxy token revoke web laptop", said)
        self.assertIn("NAME must be", self.fails(1, "token", "create", "web", "a b"))
        self.assertIn("no backend", self.fails(1, "token", "create", "nope", "laptop"))

    def test_list(self) -> None:
        """
        A table without secrets.
        """
        none = self.invoke("token", "list", "web")
        self.assertEqual(none.stdout, "")
        self.assertIn("invproxy token create web", none.stderr)
        self.run_("token", "create", "web", "laptop")
        self.run_("token", "create", "web", "ci", "--expires", "1h")
        assert self.registry is not None
        [_, laptop] = self.registry.tokensOf("web")
        self.network.advance(7200)
        self.registry.useToken(laptop.backend, laptop.name)
        self.assertEqual(
            self.run_("token", "list", "web"),
            "TOKEN   CREATED  EXPIRES             LAST USED\n"
            "ci      2 h ago  expired 60 min ago  never\n"
            "laptop  2 h ago  never               just now\n",
        )
        self.assertEqual(
            [token["name"] for token in self.json("token", "list", "web")], ["ci", "laptop"]
        )

    def test_revoke(self) -> None:
        """
        It is gone.
        """
        secret = self.run_("token", "create", "web", "laptop").strip()
        self.run_("token", "revoke", "web", "laptop")
        assert self.registry is not None
        self.assertIsNone(self.registry.findToken(digestOf(secret)))
        said = self.fails(1, "token", "revoke", "web", "laptop")
        self.assertIn("invproxy token list web", said)


class StatusTests(CommandTestCase):
    """
    C{invproxy status}.
    """

    def test_nobody(self) -> None:
        """
        Those who are registered are shown though nobody has come yet.
        """
        self.assertIn("0 backends", self.run_("status"))
        self.run_("backends", "add", "web", "--everyone")
        shown = self.run_("status").splitlines()
        self.assertIn("ready", shown[0])
        self.assertEqual(shown[3].split(), ["web", "offline", "never", "-", "-", "-", "-"])

    def test_states(self) -> None:
        """
        Online while an agent is there, away for a while after that, then offline.
        """
        mailbox = self.mailboxes.visit("web")
        waiting = mailbox.claim(1)
        for seconds, state in ((0, "online"), (400, "online")):
            self.network.advance(seconds)
            self.assertIn(f"web      {state}", self.run_("status"))
        waiting.addErrback(lambda failure: None)
        waiting.cancel()
        for seconds, state in ((1, "online"), (10, "away"), (400, "offline")):
            self.network.advance(seconds)
            self.assertIn(f"web      {state}", self.run_("status"))
        self.assertEqual(self.json("status")["backends"][0]["id"], "web")

    def test_failing(self) -> None:
        """
        A database that does not work any more is told.
        """
        self.store.failure = StoreError("the disk is full: make room")
        self.fails(1, "backends", "add", "web", "--everyone")
        self.assertIn("cannot be written: the disk is full", self.run_("status"))


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
