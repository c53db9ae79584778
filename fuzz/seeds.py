"""
What fuzzing starts from: the tables of hostile messages, some of the tunnel's own, and what earlier runs found.

The latter are files below C{fuzz/corpus}, one for each target, in which each line is the literal of some bytes.
"""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Iterable
from pathlib import Path

from invproxy.test.hostile.responses import RESPONSES
from invproxy.test.test_hostile_parser import CASES
from invproxy.test.test_http1_hostile import RESPONSES as PLAIN_RESPONSES
from invproxy.test.test_http1_hostile import TAMED_REQUESTS
from invproxy.wire.frames import (
    CREDIT,
    DATA,
    END,
    GOAWAY,
    HELLO,
    LAST,
    RESET,
    RESPONSE,
    frame,
    numberFrame,
    requestFrame,
)
from invproxy.wire.handshake import ClientHandshake, accept
from invproxy.wire.hello import Hello
from invproxy.wire.websocket import CLOSE, PING, PONG, binaryHeader, closePayload, control, mask

CORPUS = Path(__file__).parent / "corpus"


def _frames() -> Iterable[bytes]:
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    frames = (
        frame(HELLO, 0, Hello(node="a", instance="b").encode()),
        requestFrame(1, b"\r\nX-A: b", request, LAST),
        frame(RESPONSE, 1, b"HTTP/1.1 200 OK\r\n\r\n"),
        frame(DATA, 1, b"hello", LAST),
        frame(END, 1, b"X-A: b\r\n", LAST),
        frame(RESET, 1, b"agent-lost"),
        numberFrame(CREDIT, 1, 65536),
        numberFrame(GOAWAY, 0, 1, b"over"),
    )
    yield from frames
    yield b"".join(frames)


def _messages() -> Iterable[bytes]:
    key = b"\x01\x02\x03\x04"
    for used in (b"", key):
        for size in (0, 5, 125, 126, 70000):
            payload = b"x" * size
            yield binaryHeader(size, used) + (mask(payload, used) if used else payload)
        yield control(PING, b"a", used) + control(PONG, b"b", used)
        yield control(CLOSE, closePayload(1001, "away"), used)
    yield b"\x02\x01a\x89\x00\x80\x01b"


def _handshakes() -> Iterable[bytes]:
    head = ClientHandshake(b"a", b"/agent/tunnel").head
    yield head.encode()
    yield accept(head).encode()


_VALUES = (
    b"",
    b"null",
    b"[]",
    b'["a", "b"]',
    b'[["a"]]',
    b"[1]",
    b'{"version": "1.0"}',
    Hello(node="a").encode(),
)


def _cut(found: Iterable[bytes]) -> list[bytes]:
    """
    Put the byte before each that says how it is cut: some whole, some byte by byte.
    """
    return [bytes([4 if at % 2 else 0]) + data for at, data in enumerate(found)]


def seedsOf(target: str) -> list[bytes]:
    """
    Give what to start from.

    @param target: one of L{invproxy.test.hostile.fuzzing.TARGETS}.
    """
    if target == "requests":
        sent = [case.data + case.rest for case in CASES] + [row.data for row in TAMED_REQUESTS]
        return _cut(sent)
    if target == "responses":
        return _cut([reply.data for reply in RESPONSES] + [row.data for row in PLAIN_RESPONSES])
    others = {"frames": _frames(), "websocket": _messages()}
    if target in others:
        return [bytes([at % 4]) + data for at, data in enumerate(others[target])]
    return list(_handshakes()) if target == "handshake" else list(_VALUES)


def kept(target: str) -> list[bytes]:
    """
    Give what earlier runs kept.
    """
    file = CORPUS / f"{target}.txt"
    if not file.exists():
        return []
    return [literal_eval(line) for line in file.read_text("ascii").splitlines()]


def keep(target: str, found: Iterable[bytes]) -> None:
    """
    Keep what covers anything that nothing else does.
    """
    CORPUS.mkdir(exist_ok=True)
    lines = sorted(map(repr, set(found)), key=lambda line: (len(line), line))
    (CORPUS / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines), "ascii")
