"""
C{invproxy status}, and a proxy that has nothing but that to show.
"""

from __future__ import annotations

from invproxy.errors import StoreError
from invproxy.test.clicase import CommandTestCase


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
