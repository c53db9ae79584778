"""
C{invproxy check} and C{invproxy passwd}, which need no server.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from invproxy.auth import passwords
from invproxy.auth.passwords import readPasswords
from invproxy.cli.commands import invproxy


class FileTestCase(SynchronousTestCase):
    """
    Tests with files in a directory of their own.
    """

    def setUp(self) -> None:
        self.place = Path(self.mktemp()).resolve()
        self.place.mkdir()

    def write(self, name: str, text: str) -> str:
        """
        Write a file.

        @return: its path.
        """
        path = self.place / name
        path.write_text(text)
        return str(path)

    def invoke(self, *arguments: str, **how: Any) -> Result:
        """
        Run the command.
        """
        result = CliRunner().invoke(invproxy, arguments, **how)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result


class CheckTests(FileTestCase):
    """
    C{invproxy check}.
    """

    def check(self, text: str, *options: str) -> tuple[int, list[Any]]:
        """
        Check a configuration.

        @return: the exit status, and what was found.
        """
        path = self.write("some.toml", text)
        result = self.invoke("check", path, "--json", *options)
        return result.exit_code, json.loads(result.stdout)

    def assertFound(self, text: str, *texts: str, kind: str = "error", options: Any = ()) -> None:
        """
        Are exactly these found?

        @param texts: what each finding has in it.
        """
        status, found = self.check(text, *options)
        self.assertEqual(status, 1 if kind == "error" and texts else 0)
        self.assertEqual([each["kind"] for each in found], [kind] * len(texts), found)
        for each, wanted in zip(found, texts, strict=True):
            self.assertIn(wanted, each["text"])
            self.assertNotIn(str(self.place), each["text"])

    def test_good(self) -> None:
        """
        Nothing is found in what can be used, and nothing is started or made.
        """
        database = f'database = "sqlite:{self.place}/x.db"\n'
        self.assertFound('listen = "tcp:8080:interface=127.0.0.1"')
        self.assertFound(database + 'admin-listen = "none"')
        self.assertFound('proxy = "http://x"\nbackend = "web"\norigin = "http://127.0.0.1:1"')
        self.assertEqual(os.listdir(self.place), ["some.toml"])
        result = self.invoke("check", str(self.place / "some.toml"))
        self.assertIn("options of twist invproxy-agent", result.stdout)
        self.assertIn("Nothing is wrong with it.", result.stdout)

    def test_each(self) -> None:
        """
        Each key that is wrong is found, not the first alone.
        """
        self.assertFound(
            'poll-timeuot = 1\nmax-body = "many"\nmax-head = 7\nadmin-listen = "none"',
            "did you mean poll-timeout?",
            "--max-body is 'many': must be an integer",
            "--max-head is '7': must be",
        )
        self.assertFound(
            'proxy = "ftp://x"\nbackend = "a b"\norigin = 7', "--proxy", "--backend", "--origin"
        )

    def test_place(self) -> None:
        """
        Findings do not say in which file they are, however long its path is.
        """
        short = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, short)
        long = self.place.joinpath(*["a directory" * 10] * 5)
        long.mkdir(parents=True)
        for place in (short, long):
            path = place / "it's.toml"
            path.write_text('max-bdy = 1\nmax-head = 7\nmax-body = "many"\nauth = [1, "x:y"]')
            result = self.invoke("check", str(path), "--as", "server", "--json")
            self.assertEqual(
                [each["text"].partition(": must ")[0] for each in json.loads(result.stdout)],
                [
                    "it has the unknown key 'max-bdy'; did you mean max-body?",
                    "--max-head is '7'",
                    "--max-body is 'many'",
                    "--auth (value not shown)",
                ],
            )
            path.write_text('auth = "x:y"')
            result = self.invoke("check", str(path), "--json")
            [found] = json.loads(result.stdout)
            self.assertTrue(found["text"].startswith("--auth (value not shown): must "), found)

    def test_together(self) -> None:
        """
        What does not go together is found.
        """
        self.assertFound('listen = "tcp:8080"\nmax-pending = 1', "--insecure-open")
        self.assertFound(
            f'database = "sqlite:{self.mktemp()}"\nlisten = "haproxy:tcp:8080"\n'
            'trusted-proxies = ["10.0.0.0/8"]',
            "in a PROXY header",
        )
        self.assertFound('proxy = "http://x"\nbackend = "web"', "--origin is not given")
        self.assertFound('admin-token-file = "/nowhere"\nmax-body = 1', "No such file")
        short = self.write("token", "short")
        status, [found] = self.check(f'admin-token-file = "{short}"\nmax-body = 1')
        self.assertEqual(status, 1)
        self.assertIn("openssl rand", found["text"])

    def test_more(self) -> None:
        """
        Of what does not go together the first is shown; that there may be more, is said.
        """
        place = self.write("x.toml", 'listen = "tcp:8080"\nadmin-listen = "tcp:8081"')
        result = self.invoke("check", place)
        self.assertIn("--listen is 'tcp:8080'", result.stdout)
        self.assertNotIn("--admin-listen", result.stdout)
        self.assertIn("1 error; whether all goes together is looked at once it is", result.stdout)

    def test_warnings(self) -> None:
        """
        Exit status 0 for what can be used, but with care.
        """
        self.assertFound('user-header = "X-User"', "--trusted-proxies", kind="warning")
        result = self.invoke("check", self.write("x.toml", 'user-header = "X-User"'))
        self.assertIn("  warning: --user-header", result.stdout)
        self.assertIn("It can be used; 1 warning.", result.stdout)
        trusting = 'user-header = "X-User"\ntrusted-proxies = ["127.0.0.1"]'
        self.assertFound(trusting, "protects nothing in open mode", kind="warning")

    def test_environment(self) -> None:
        """
        The environment is left out of account.
        """
        self.patch(os, "environ", {**os.environ, "INVPROXY_MAX_BODY": "nonsense"})
        self.assertFound("max-pending = 1")

    def test_roles(self) -> None:
        """
        Where its keys do not tell whose it is, one has to say.
        """
        path = self.write("x.toml", "drain-timeout = 3")
        result = self.invoke("check", path)
        self.assertEqual(result.exit_code, 2)
        self.assertIn("--as server", result.stderr)
        self.assertFound("drain-timeout = 3", options=("--as", "server"))
        self.assertFound("drain-timeout = 3", "--proxy is not given", options=("--as", "agent"))

    def test_noTOML(self) -> None:
        """
        What cannot be read at all.
        """
        for path, why in (
            (str(self.place / "none"), "No such file"),
            (self.write("x", "= ="), "not valid TOML"),
            (self.write("deep", "a = " + "[" * 5000), "not valid TOML"),
            (str(self.place), "directory"),
        ):
            result = self.invoke("check", path)
            self.assertEqual(result.exit_code, 1)
            self.assertIn(why, result.stderr)
            self.assertEqual(result.stderr.count("\n"), 1)


class PasswdTests(FileTestCase):
    """
    C{invproxy passwd}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.file = str(self.place / "users")
        hashing = passwords.hashPassword
        self.patch(passwords, "hashPassword", lambda password: hashing(password, cost=(4, 8, 1)))

    def set(self, user: str, password: str, *options: str) -> Result:
        """
        Set a password.
        """
        return self.invoke("passwd", self.file, user, "--stdin", *options, input=f"{password}\n")

    def test_set(self) -> None:
        """
        The file is made, for nobody else to read; users are added and changed, and all others stay.
        """
        made = self.set("alice", "one")
        self.assertEqual(made.exit_code, 0, made.output)
        self.assertIn("--auth scrypt-file:", made.stderr)
        self.assertEqual(stat.S_IMODE(os.stat(self.file).st_mode), 0o600)
        self.set("bob@example.com", "two")
        again = self.set("alice", "three")
        self.assertIn("changed", again.stdout)
        users = readPasswords(self.file)
        self.assertEqual(list(users), ["alice", "bob@example.com"])
        self.assertTrue(users["alice"].matches("three"))
        self.assertTrue(users["bob@example.com"].matches("two"))
        self.assertNotIn("three", Path(self.file).read_text())
        self.assertEqual(os.listdir(self.place), ["users"])

    def test_kept(self) -> None:
        """
        Comments, the mode of the file, and a link to it.
        """
        self.set("alice", "one")
        text = "# our users\n\n" + Path(self.file).read_text()
        Path(self.file).write_text(text)
        os.chmod(self.file, 0o640)
        real, self.file = self.file, str(self.place / "link")
        os.symlink(real, self.file)
        self.set("bob", "two")
        self.assertTrue(Path(real).read_text().startswith(text))
        self.assertEqual(stat.S_IMODE(os.stat(real).st_mode), 0o640)
        self.assertTrue(os.path.islink(self.file))
        self.assertEqual(list(readPasswords(real)), ["alice", "bob"])

    def test_lineEnds(self) -> None:
        """
        A line ends where the server takes it to end: not at what else Unicode calls the end of a line.
        """
        text = "# ours\u2028eve:$scrypt$made-up\x0c$up\x85\n"
        Path(self.file).write_text(text, encoding="utf-8")
        self.set("alice", "one")
        self.assertTrue(Path(self.file).read_text(encoding="utf-8").startswith(text))
        self.assertEqual(list(readPasswords(self.file)), ["alice"])

    def test_delete(self) -> None:
        """
        One user goes; one whose name begins alike does not.
        """
        self.set("al", "one")
        self.set("alice", "two")
        self.assertEqual(self.invoke("passwd", self.file, "al", "--delete").exit_code, 0)
        self.assertEqual(list(readPasswords(self.file)), ["alice"])
        gone = self.invoke("passwd", self.file, "al", "--delete")
        self.assertEqual(gone.exit_code, 1)
        self.assertIn("no user 'al'", gone.stderr)

    def test_prompt(self) -> None:
        """
        Asked twice, shown never.
        """
        result = self.invoke("passwd", self.file, "alice", input="one\none\n")
        self.assertEqual(result.exit_code, 0)
        self.assertNotIn("one\n", result.output)
        self.assertTrue(readPasswords(self.file)["alice"].matches("one"))
        result = self.invoke("passwd", self.file, "alice", input="one\ntwo\n")
        self.assertEqual(result.exit_code, 1)

    def test_bad(self) -> None:
        """
        What cannot be is refused, and changes nothing.
        """
        self.set("alice", "one")
        before = Path(self.file).read_bytes()
        for user, password, status in (
            ("a:b", "x", 2),
            ("#a", "x", 2),
            ("", "x", 2),
            ("a\nb", "x", 2),
            ("alice", "", 1),
            ("alice", "x" * 1025, 1),
        ):
            self.assertEqual(self.set(user, password).exit_code, status, user)
        self.assertEqual(Path(self.file).read_bytes(), before)
        Path(self.file).write_text("alice:plain\n")
        result = self.set("bob", "x")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("line 1", result.stderr)
        self.file = str(self.place / "none" / "users")
        result = self.set("bob", "x")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("cannot be written", result.stderr)

    def test_halfWritten(self) -> None:
        """
        The old file is there until the new one is whole.
        """
        self.set("alice", "one")
        before = Path(self.file).read_bytes()

        def fail(handle: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", fail)
        result = self.set("bob", "two")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("No space left", result.stderr)
        self.assertEqual(Path(self.file).read_bytes(), before)
        self.assertEqual(os.listdir(self.place), ["users"])
