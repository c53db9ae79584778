"""
Files of hashed passwords.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import makeChecker
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from invproxy.auth import passwords
from invproxy.auth.passwords import (
    LONGEST,
    Hashed,
    ScryptFileChecker,
    checkUser,
    hashPassword,
    parseLine,
    parsePasswords,
    readPasswords,
)
from invproxy.errors import ConfigError
from invproxy.test.messages import examples

CHEAP = (4, 8, 1)
"""A cost that is good for tests alone."""

# RFC 7914, section 12: scrypt (P="pleaseletmein", S="SodiumChloride", N=16384, r=8, p=1, dkLen=64).
RFC7914 = (
    "rfc:$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$"
    "cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw"
)


def line(user: str, password: str) -> str:
    return f"{user}:{hashPassword(password, cost=CHEAP)}\n"


class HashTests(SynchronousTestCase):
    """
    Lines, and what they say.
    """

    def test_vector(self) -> None:
        """
        The hash is scrypt's: an example of RFC 7914 matches, and another password does not.
        """
        user, hashed = parseLine(RFC7914)
        self.assertEqual((user, hashed.ln, hashed.r, hashed.p), ("rfc", 14, 8, 1))
        self.assertTrue(hashed.matches(b"pleaseletmein"))
        self.assertFalse(hashed.matches(b"pleaseletmeinn"))
        self.assertEqual(f"rfc:{hashed.encode()}", RFC7914)

    @examples(100)
    @given(st.text(max_size=20).filter(lambda text: "\0" not in text), st.text(max_size=20))
    @example("", "\0")
    @example("a", "a\0\0")
    def test_roundTrip(self, right: str, wrong: str) -> None:
        """
        Whatever the password, its line knows it, as text and in bytes; and each line has a salt of its own.
        """
        made = hashPassword(right, cost=CHEAP)
        self.assertNotEqual(made, hashPassword(right, cost=CHEAP))
        _, hashed = parseLine(f"user:{made}")
        self.assertTrue(hashed.matches(right))
        self.assertTrue(hashed.matches(right.encode("utf-8", "replace")))
        if passwords._prepared(right) != passwords._prepared(wrong):
            self.assertFalse(hashed.matches(wrong))

    def test_nul(self) -> None:
        """
        A password with a NUL character, which would make no difference at its end, is refused.
        """
        self.assertRaises(ConfigError, hashPassword, "a\0", cost=CHEAP)

    def test_forms(self) -> None:
        """
        A password that looks the same is the same, however the keyboard composes it; bytes that are no text count as
        they are.
        """
        _, hashed = parseLine(line("user", "jos\N{LATIN SMALL LETTER E WITH ACUTE}").strip())
        self.assertTrue(hashed.matches("jose\N{COMBINING ACUTE ACCENT}".encode()))
        self.assertFalse(hashed.matches(b"jos\xe9"))
        self.assertFalse(hashed.matches(b"jos\xff"))

    def test_defaultCost(self) -> None:
        """
        What C{invproxy passwd} writes costs 32 MiB, and its own parser takes it.
        """
        user, hashed = parseLine("a b:" + hashPassword("x"))
        self.assertEqual((user, hashed.ln, hashed.r, hashed.p), ("a b", 15, 8, 1))
        self.assertEqual((len(hashed.salt), len(hashed.digest)), (16, 32))

    def test_repr(self) -> None:
        """
        Neither salt nor hash is shown.
        """
        shown = repr(Hashed(4, 8, 1, b"saltsalt", b"hashhashhashhash"))
        self.assertNotIn("salt", shown.replace("Hashed(", ""))
        self.assertNotIn("hashhash", shown)

    def test_file(self) -> None:
        """
        Comments, empty lines and Windows' line ends do no harm; the last line needs no end.
        """
        text = "# users\n\n" + line("alice", "a").replace("\n", "\r\n") + line("bob", "b").strip()
        self.assertEqual(sorted(parsePasswords(text)), ["alice", "bob"])
        self.assertEqual(parsePasswords(""), {})

    def test_badLines(self) -> None:
        """
        A mistake is named with its line, and nothing of the line is shown.
        """
        good = "$scrypt$ln=4,r=8,p=1$c2FsdHNhbHQ$" + "A" * 43
        for bad, why in (
            ("alice", "line 2: must be user:$scrypt$"),
            ("alice:secret", "line 2: must be user:$scrypt$"),
            (f":{good}", "line 2: must be user:$scrypt$"),
            (f"alice:{good}:", "line 2: must be user:$scrypt$"),
            (f"a\tb:{good}", "line 2: a user's name must be printable"),
            (f" alice:{good}", "line 2: a user's name must not"),
            (f"{'x' * 201}:{good}", "line 2: a user's name must be printable, and at most 200"),
            (f"alice:{good}AA", "line 2: the salt and the hash must be in base64"),
            (f"alice:{good}".replace("ln=4", "ln=25"), "line 2: ln=25,r=8,p=1 is out of bounds"),
            (f"alice:{good}".replace("ln=4", "ln=19"), "line 2: ln=19,r=8,p=1 is out of bounds"),
            (f"alice:{good}".replace("ln=4", "ln=0"), "line 2: ln=0,r=8,p=1 is out of bounds"),
            (f"alice:{good}".replace("r=8", "r=0"), "line 2: ln=4,r=0,p=1 is out of bounds"),
            (f"alice:{good}".replace("p=1", "p=65"), "line 2: ln=4,r=8,p=65 is out of bounds"),
            (f"alice:{good}".replace("p=1", "p=0"), "line 2: ln=4,r=8,p=0 is out of bounds"),
            ("alice:$scrypt$ln=4,r=8,p=1$c2FsdA$" + "A" * 43, "line 2: the salt must have 8"),
            ("alice:$scrypt$ln=4,r=8,p=1$c2FsdHNhbHQ$AAAA", "line 2: the salt must have 8"),
            (f"bob:{good}", "line 2: the user 'bob' stands on an earlier line"),
        ):
            with self.subTest(bad):
                error = self.assertRaises(ConfigError, parsePasswords, f"bob:{good}\n{bad}\n")
                self.assertTrue(str(error).startswith(why), str(error))
                self.assertNotIn("secret", str(error))
                self.assertNotIn("AAAA", str(error))

    def test_users(self) -> None:
        """
        Names that can be typed into a browser, and no others.
        """
        for name in ("alice", "alice@example.com", "J\xf6rg M\xfcller", "x" * 200):
            self.assertEqual(checkUser(name), name)
        for name in ("", " a", "a ", "a:b", "#a", "a\nb", "\xa0a", "\u200b", "x" * 201):
            self.assertRaises(ConfigError, checkUser, name)


def inline(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """
    Stands for C{deferToThread}.
    """
    return maybeDeferred(function, *arguments)


class CheckerTests(SynchronousTestCase):
    """
    L{ScryptFileChecker}, without threads.
    """

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.write(line("alice", "wonder") + line("j\xf6rg", "w\xf6rter"))
        self.checker = ScryptFileChecker(self.path, inline)

    def write(self, text: str) -> None:
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)

    def check(self, user: str, password: str) -> bytes | None:
        return self.checkBytes(user.encode(), password.encode())

    def checkBytes(self, user: bytes, password: bytes) -> bytes | None:
        credentials = UsernamePassword(user, password)
        outcome: list[object] = []
        self.checker.requestAvatarId(credentials).addBoth(outcome.append)
        [found] = outcome
        if isinstance(found, Failure):
            found.trap(UnauthorizedLogin)
            return None
        assert isinstance(found, bytes)
        return found

    def test_interface(self) -> None:
        """
        It is a checker as Twisted knows them.
        """
        self.assertTrue(verifyObject(ICredentialsChecker, self.checker))
        self.assertEqual(list(self.checker.credentialInterfaces), [IUsernamePassword])

    def test_check(self) -> None:
        """
        The right name with the right password, and nothing else.
        """
        self.assertEqual(self.check("alice", "wonder"), b"alice")
        self.assertEqual(self.check("j\xf6rg", "w\xf6rter"), "j\xf6rg".encode())
        for user, password in (
            ("alice", "Wonder"),
            ("alice", ""),
            ("Alice", "wonder"),
            ("bob", "wonder"),
            ("", "wonder"),
            ("j\xf6rg", "wonder"),
        ):
            self.assertIsNone(self.check(user, password), (user, password))

    def test_bytes(self) -> None:
        """
        A name that is no text is nobody's.
        """
        self.write(line("\N{REPLACEMENT CHARACTER}", "x"))
        found = self.checker.requestAvatarId(UsernamePassword(b"\xff", b"x"))
        self.failureResultOf(found, UnauthorizedLogin)

    def test_unknownUsers(self) -> None:
        """
        Who is not in the file costs the same work as who is, so that nobody can find out names by the time it takes.
        """
        costs: list[tuple[int, int, int]] = []
        derive = Hashed.derive

        def counting(hashed: Hashed, password: bytes | str) -> bytes:
            costs.append((hashed.ln, hashed.r, hashed.p))
            return derive(hashed, password)

        self.patch(Hashed, "derive", counting)
        for user in ("alice", "bob", ""):
            self.check(user, "x")
        self.assertEqual(costs, [CHEAP] * 3)

    def test_long(self) -> None:
        """
        What is longer than a password can be is not looked at, be it of somebody or of nobody: to bring a long row of
        accents into order takes a second, in which nothing else is done.
        """
        normalized: list[int] = []
        normalize = unicodedata.normalize

        def counting(form: Any, text: str) -> str:
            normalized.append(len(text))
            return normalize(form, text)

        self.patch(unicodedata, "normalize", counting)
        self.write(line("alice", "x" * LONGEST))
        normalized.clear()
        accents = "\u0301\u0316" * 12_000
        for user in ("alice", "bob"):
            for password in ("x" * (LONGEST + 1), accents):
                self.assertIsNone(self.check(user, password))
        self.assertEqual(normalized, [])
        self.assertIsNone(self.checkBytes(b"alice", b"\xff" * 50_000))
        self.assertEqual(self.check("alice", "x" * LONGEST), b"alice")
        self.write(line("alice", "\xe9" * LONGEST))
        self.assertEqual(self.check("alice", "\xe9" * LONGEST), b"alice")

    def test_unknownCosts(self) -> None:
        """
        Where users have different costs so have names that are not in the file, in the same proportions: so no cost
        tells who is in it. A name keeps its own, also after a restart.
        """
        dear = hashPassword("x", cost=(5, 8, 1))
        self.write("".join(line(f"user{n}", "x") for n in range(3)) + f"user3:{dear}\n")
        costs: list[int] = []

        def counting(hashed: Hashed, password: bytes | str) -> bytes:
            costs.append(hashed.ln)
            return bytes(32)

        self.patch(Hashed, "derive", counting)
        for _ in range(2):
            self.checker = ScryptFileChecker(self.path, inline)
            for number in range(400):
                self.assertIsNone(self.check(f"nobody{number}", "x"))
        self.assertEqual(costs[:400], costs[400:])
        self.assertEqual(set(costs), {4, 5})
        self.assertTrue(50 < costs[:400].count(5) < 150, costs[:400].count(5))

    def test_changed(self) -> None:
        """
        A change counts from the next check on, also one that leaves size and time as they were.
        """
        self.assertEqual(self.check("alice", "wonder"), b"alice")
        before = os.stat(self.path)
        with open(f"{self.path}.new", "w", encoding="utf-8") as file:
            file.write(line("bob", "builder"))
        os.utime(f"{self.path}.new", ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(f"{self.path}.new", self.path)
        self.assertIsNone(self.check("alice", "wonder"))
        self.assertEqual(self.check("bob", "builder"), b"bob")

    def test_unchanged(self) -> None:
        """
        It is not read for each check.
        """
        reads: list[str] = []
        self.patch(passwords, "readPasswords", reads.append)
        self.check("alice", "wonder")
        self.assertEqual(reads, [])

    def test_broken(self) -> None:
        """
        After a change with a mistake, or when the file is gone, what it said before stands.
        """
        self.write("alice\n")
        with capturedLogs() as logs:
            self.assertEqual(self.check("alice", "wonder"), b"alice")
            self.assertEqual(self.check("alice", "wonder"), b"alice")
            os.remove(self.path)
            self.assertEqual(self.check("alice", "wonder"), b"alice")
        texts = [event["error"] for event in logs]
        self.assertEqual(len(texts), 2)
        self.assertIn("line 1: must be user:$scrypt$", texts[0])
        self.assertIn("cannot be read", texts[1])

    def test_unusable(self) -> None:
        """
        At the start a mistake is an error of one line.
        """
        for content, why in (
            (b"alice\n", "line 1: must be"),
            (b"\xff\xfe", "is not UTF-8"),
            (b"#" * (passwords._LARGEST_FILE + 1), "is larger than"),
        ):
            with open(self.path, "wb") as file:
                file.write(content)
            error = self.assertRaises(ConfigError, ScryptFileChecker, self.path)
            self.assertIn(why, str(error))
            self.assertIn(repr(self.path), str(error))
        error = self.assertRaises(ConfigError, readPasswords, self.path + "x")
        self.assertIn("No such file", str(error))

    def test_atOnce(self) -> None:
        """
        Few checks run at the same time; the others wait, and have their turn.
        """
        running: list[Deferred[bool]] = []

        def start(function: Callable[..., Any], *arguments: Any) -> Deferred[bool]:
            running.append(Deferred())
            return running[-1]

        checker = ScryptFileChecker(self.path, start)
        asked = [checker.requestAvatarId(UsernamePassword(b"alice", b"x")) for _ in range(5)]
        self.assertEqual(len(running), 2)
        for number in range(5):
            running[number].callback(number % 2 == 0)
        for number, deferred in enumerate(asked):
            if number % 2 == 0:
                self.assertEqual(self.successResultOf(deferred), b"alice")
            else:
                self.failureResultOf(deferred, UnauthorizedLogin)

    def test_plugin(self) -> None:
        """
        strcred makes one of C{scrypt-file:PATH}, and names the file that it cannot use.
        """
        made = makeChecker(f"scrypt-file:{self.path}")
        self.assertIsInstance(made, ScryptFileChecker)
        error = self.assertRaises(ConfigError, makeChecker, "scrypt-file:/nowhere/users")
        self.assertIn("'/nowhere/users' cannot be read", str(error))


class ThreadTests(TestCase):
    """
    L{ScryptFileChecker} as it comes.
    """

    async def test_thread(self) -> None:
        """
        The work is done off the reactor's thread.
        """
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write(line("alice", "wonder"))
        used: list[object] = []

        def defer(function: Any, *arguments: Any) -> Deferred[bool]:
            used.append(function)
            return deferToThread(function, *arguments)

        self.assertIs(ScryptFileChecker(path)._defer, deferToThread)
        checker = ScryptFileChecker(path, defer)
        self.assertEqual(
            await checker.requestAvatarId(UsernamePassword(b"alice", b"wonder")), b"alice"
        )
        self.assertEqual(len(used), 1)
