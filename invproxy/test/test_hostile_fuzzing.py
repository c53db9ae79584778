"""
What fuzzing asks for holds of the tables, of what earlier runs kept, and of what they found; and it is meant.
"""

from __future__ import annotations

from ast import literal_eval
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import invproxy
from invproxy.http1 import framing, readers
from invproxy.http1.fields import TOKEN
from invproxy.test.helpers import skipIfCompiled
from invproxy.test.hostile import fuzzing
from invproxy.test.hostile.fuzzing import TARGETS
from invproxy.test.hostile.responses import RESPONSES
from invproxy.test.test_hostile_parser import CASES
from invproxy.wire.frames import DATA, HELLO, frame
from invproxy.wire.websocket import PING, binaryHeader, control

CORPUS = Path(invproxy.__file__).parent.parent / "fuzz" / "corpus"

FINDINGS: dict[str, tuple[bytes, ...]] = {}
"""Inputs that broke a target once, by its name."""


class FuzzingTests(SynchronousTestCase):
    """
    The functions that the fuzzer calls.
    """

    def test_tables(self) -> None:
        """
        They take the tables, whole and in pieces of any size.
        """
        for size in (0, 1, 7):
            for case in CASES:
                TARGETS["requests"](bytes([size]) + case.data + case.rest)
            for reply in RESPONSES:
                for asked in range(4):
                    TARGETS["responses"](bytes([size << 2 | asked]) + reply.data)
        for size in range(4):
            frames = frame(HELLO, 0, b'{"version":"1.0"}') + frame(DATA, 1, b"abcde", 1)
            TARGETS["frames"](bytes([size]) + frames)
            messages = binaryHeader(5) + b"abcde" + control(PING, b"a")
            TARGETS["websocket"](bytes([size << 1]) + messages)
        for data in (b"", b"[]", b'["a"]', b'{"version":"1.0"}', b"\xff", b"[" * 9999):
            TARGETS["values"](data)
            TARGETS["handshake"](data)

    def test_kept(self) -> None:
        """
        They take what earlier runs kept as it reached something new.
        """
        for file in CORPUS.glob("*.txt"):
            for line in file.read_text("ascii").splitlines():
                TARGETS[file.stem](literal_eval(line))

    def test_findings(self) -> None:
        """
        What broke them once does not any more.
        """
        for target, found in FINDINGS.items():
            for data in found:
                TARGETS[target](data)

    def assertFinds(self, target: str, data: bytes) -> None:
        with self.assertRaises((AssertionError, ValueError, TypeError)):
            TARGETS[target](data)

    def test_smuggling(self) -> None:
        """
        A body that would go on with another length is a finding.
        """
        data = b"\0POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde"

        class Forgetful(framing.LengthDecoder):
            def decode(self, data: bytes, write: Any) -> bytes | None:
                return super().decode(data, lambda piece: write(piece[:-1]))

        skipIfCompiled(self, framing)
        self.patch(framing, "LengthDecoder", Forgetful)
        self.assertFinds("requests", data)

    def test_pieces(self) -> None:
        """
        So is a reader to which it makes a difference how bytes come.
        """
        skipIfCompiled(self, readers)
        self.patch(readers, "_SPOILED", lambda data, seen: b"A" in data)
        self.assertFinds("requests", b"\1GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n")
        self.assertFinds("responses", b"\4HTTP/1.1 200 OK\r\nA: b\r\n\r\n")

    def test_forwarding(self) -> None:
        """
        So is a field that a client forges.
        """
        self.patch(fuzzing, "forward", lambda fields, **options: fields)
        self.assertFinds("requests", b"\0GET / HTTP/1.1\r\nHost: a\r\nX-User: b\r\n\r\n")

    def test_accidents(self) -> None:
        """
        So is any exception that nobody expects.
        """

        def broken(data: bytes) -> Any:
            raise ValueError(TOKEN)

        for target, name in (("frames", "parseHello"), ("values", "isBackendID")):
            self.patch(fuzzing, name, broken)
            self.assertFinds(target, b"\0" + frame(HELLO, 0, b"{}"))
