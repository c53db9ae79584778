"""
An agent's token that is renewed in its file.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from invproxy.agent.link import ProxyLink
from invproxy.agent.settings import AgentSettings
from invproxy.agent.tokenfile import TokenFile
from invproxy.wire.handshake import Claim


class TokenFileTests(SynchronousTestCase):
    """
    L{TokenFile}.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_text("one\n")
        self.file = TokenFile(str(self.path))

    def replace(self, text: str) -> None:
        """
        Replace it as is usual: by renaming.
        """
        other = self.path.with_suffix(".new")
        other.write_text(text)
        os.replace(other, self.path)

    def test_changes(self) -> None:
        """
        It is given when it has changed.
        """
        self.assertEqual(self.file(), "one")
        self.assertIsNone(self.file())
        self.replace(" two\n")
        self.assertEqual(self.file(), "two")
        self.assertIsNone(self.file())

    def test_troubles(self) -> None:
        """
        While there is no token in it, that is said once, and never what is.
        """
        self.file()
        with capturedLogs() as events:
            for _ in range(3):
                self.path.unlink(missing_ok=True)
                self.assertIsNone(self.file())
            for text in ("s3cret s3cret", "", "s3cret\x01", "s3cret" * 2000):
                self.replace(text)
                self.assertIsNone(self.file())
            self.replace("two")
            self.assertEqual(self.file(), "two")
        lines = [formatEvent(event) for event in events]
        self.assertEqual(len(lines), 2)
        self.assertIn("No such file or directory", lines[0])
        self.assertIn("it holds no token", lines[1])
        self.assertNotIn("s3cret", "".join(lines))


class LinkTests(SynchronousTestCase):
    """
    A link with such a file.
    """

    def test_calls(self) -> None:
        """
        All calls use the token that is in the file, which is looked at every five seconds at most.
        """
        clock = Clock()
        tokens: list[str | None] = []
        asked: list[float] = []

        def read() -> str | None:
            asked.append(clock.seconds())
            return tokens.pop(0) if tokens else None

        settings = AgentSettings(token="one", readToken=read)
        link = ProxyLink(clock, "http://proxy.example", "web", settings)

        def used() -> set[bytes]:
            blocks = [
                link.pollCall().fields,
                link.fetchCall("1").fields,
                link.responseCall("1").fields,
                link.tunnelCall(Claim("a", 0)).head.fields,
            ]
            found = {block.partition(b"Bearer ")[2].partition(b"\r\n")[0] for block in blocks}
            (header,) = link.headers.getRawHeaders(b"authorization", [])
            return found | {header.partition(b" ")[2]}

        self.assertEqual(used(), {b"one"})
        self.assertEqual(asked, [])
        tokens[:] = ["two"]
        clock.advance(4.9)
        self.assertEqual(used(), {b"one"})
        clock.advance(0.1)
        self.assertEqual(used(), {b"two"})
        self.assertEqual(asked, [5.0])
        clock.advance(5)
        self.assertEqual(used(), {b"two"})
        self.assertEqual(asked, [5.0, 10.0])
