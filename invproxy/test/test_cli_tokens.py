"""
C{invproxy token}.
"""

from __future__ import annotations

import os
import stat

from invproxy.registry.records import digestOf
from invproxy.test.clicase import CommandTestCase


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
