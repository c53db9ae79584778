"""
What must hold of any bytes at all: the functions that a fuzzer calls, and the tests with what it has found.

Each raises L{AssertionError}, or anything else that it should not, if it does not hold. The first byte says into which pieces
the others are cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from invproxy.errors import Fault
from invproxy.http1.fields import FIELD_LINES, items, values
from invproxy.http1.forwarding import forward, forwardTrailers, isLoop, takeMaxForward
from invproxy.http1.framing import CHUNKED, UNTIL_CLOSE, lastChunk
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.parsing import parseRequest, parseResponse
from invproxy.test.hostile.cases import LIMITS
from invproxy.test.messages import Reading, Taker, readRequests, readResponse
from invproxy.test.test_http1_differential import h11Requests
from invproxy.wire.frames import (
    CREDIT,
    DATA,
    END,
    GOAWAY,
    HELLO,
    REQUEST,
    FrameError,
    FrameReader,
    linesOf,
    parseNumber,
    parseRequestPayload,
    trailersOf,
)
from invproxy.wire.handshake import ClientHandshake, HandshakeError, accept
from invproxy.wire.hello import parseHello
from invproxy.wire.poll import features, formatIDs, isBackendID, parseIDs
from invproxy.wire.websocket import MessageDecoder, Violation

_isBlock = re.compile(FIELD_LINES).fullmatch
_MOST_HEAD = 1000


def cut(data: bytes, size: int) -> list[bytes]:
    """
    Cut into pieces.

    @param size: of each; 0 for one piece.
    """
    size = size or len(data) or 1
    return [data[at : at + size] for at in range(0, len(data), size)]


def _framed(taker: Taker) -> bytes:
    """
    Write a body as it would go on.
    """
    assert taker.head is not None
    if taker.head.framing == CHUNKED:
        size = len(taker.body)
        chunk = b"%x\r\n%b\r\n" % (size, taker.body) if size else b""
        return chunk + lastChunk(taker.trailers)
    assert taker.head.framing in (UNTIL_CLOSE, len(taker.body))
    return taker.body


def _assertSame(whole: Reading, pieces: Reading) -> None:
    """
    It makes no difference how bytes come.
    """
    told = [taker.told() for taker in whole.messages if taker.finished]
    assert told == [taker.told() for taker in pieces.messages if taker.finished]
    assert (whole.fault is None) == (pieces.fault is None), (whole.fault, pieces.fault)
    assert pieces.held <= LIMITS.head + LIMITS.trailers


def checkRequests(data: bytes) -> None:
    """
    Requests are the same in whatever pieces they come, and what goes on of them is understood as they were.
    """
    size, data = data[0] if data else 0, data[1:]
    reading = readRequests([data], LIMITS)
    _assertSame(reading, readRequests(cut(data, size), LIMITS))
    for taker in reading.messages:
        if not taker.finished:
            continue
        head = taker.head
        assert isinstance(head, RequestHead)
        for trusted in (False, True):
            try:
                left = takeMaxForward(head)
            except Fault:
                continue
            fields = forward(
                (left or head).fields,
                peer=b"192.0.2.1",
                secure=False,
                host=head.host,
                trusted=trusted,
                via=b"us",
                minor=head.minor,
                userHeader=b"X-User",
            )
            assert _isBlock(fields), fields
            assert isLoop(fields, b"us")
            names = [name.lower().replace(b"_", b"-") for name, _ in items(fields)]
            assert not [name for name in names if name.startswith(b"x-inverting-proxy-")]
            assert trusted or names.count(b"x-forwarded-for") == 1
            assert trusted or b"x-user" not in names
            trailers = forwardTrailers(taker.trailers, trusted=trusted, userHeader=b"X-User")
            assert _isBlock(trailers)
        if head.host is None or head.method == b"CONNECT":
            continue
        sent = head.encode() + _framed(taker)
        framings = [*values(head.fields, b"content-length")]
        assert len(framings) + (head.framing == CHUNKED) <= 1, framings
        assert not values(head.fields, b"transfer-encoding")
        (seen,) = h11Requests(sent, 1).seen
        assert (seen.first, seen.finished) == ((head.method, head.target), True)
        assert (seen.body, seen.trailers) == (taker.body, [*items(taker.trailers)])
        again = readRequests([sent])
        assert again.fault is None, again.fault
        (other,) = again.messages
        assert isinstance(other.head, RequestHead)
        assert (other.head.method, other.head.target) == (head.method, head.target)
        assert other.head.fields == head.fields
        assert (other.head.framing, other.head.upgrade) == (head.framing, head.upgrade)
        assert (other.body, other.trailers) == (taker.body, taker.trailers)


_ASKED = ((b"GET", None), (b"HEAD", None), (b"GET", b"websocket"), (b"POST", None))


def checkResponses(data: bytes) -> None:
    """
    The same of responses.
    """
    size, data = data[0] if data else 0, data[1:]
    method, upgrade = _ASKED[size & 3]
    size >>= 2
    reading = readResponse([data], LIMITS, method=method, upgrade=upgrade)
    pieces = readResponse(cut(data, size), LIMITS, method=method, upgrade=upgrade)
    _assertSame(reading, pieces)
    (taker,) = reading.messages
    head = taker.head
    if not taker.finished or not isinstance(head, ResponseHead) or head.status == 101:
        return
    hop = b"\r\nTransfer-Encoding: chunked" if head.framing == CHUNKED else b""
    again = readResponse([head.encode(hop) + _framed(taker)], method=method)
    assert again.fault is None, again.fault
    (other,) = again.messages
    assert isinstance(other.head, ResponseHead)
    assert (other.head.status, other.head.fields) == (head.status, head.fields)
    assert (other.body, other.trailers, again.rest or b"") == (taker.body, taker.trailers, b"")


def _frames(pieces: Iterable[bytes]) -> tuple[list[list[object]], bool]:
    """
    Read frames, those of DATA joined.
    """
    found: list[list[object]] = []

    def received(kind: int, stream: int, flags: int, payload: bytes) -> None:
        last = found[-1] if found else None
        if kind == DATA and last and last[:2] == [DATA, stream] and last[2] == 0:
            last[2:] = [flags, last[3] + payload]  # type: ignore[operator]
        else:
            found.append([kind, stream, flags, payload])

    reader = FrameReader(received, _MOST_HEAD)
    try:
        for piece in pieces:
            reader.feed(piece)
    except FrameError:
        return found, False
    return found, True


_PAYLOADS: dict[int, Callable[[bytes], object]] = {
    HELLO: lambda payload: parseHello(parseHello(payload).encode()) == parseHello(payload),
    REQUEST: lambda payload: b"".join(parseRequestPayload(payload)) == payload[2:],
    END: lambda payload: linesOf(trailersOf(payload)) == payload,
    CREDIT: lambda payload: parseNumber(payload) >= 0,
    GOAWAY: lambda payload: parseNumber(payload) >= 0,
}


def checkFrames(data: bytes) -> None:
    """
    Frames are the same in whatever pieces they come, and their payloads are read, or refused as broken.
    """
    size, data = data[0] if data else 0, data[1:]
    found, good = _frames([data])
    again, alsoGood = _frames(cut(data, size))
    # A frame of DATA with no bytes may be joined to its neighbors or not.
    assert good == alsoGood
    if good:
        assert [one for one in found if one[3] or one[0] != DATA] == [
            one for one in again if one[3] or one[0] != DATA
        ]
    for kind, _, _, payload in found:
        read = _PAYLOADS.get(kind)  # type: ignore[call-overload]
        if read is not None:
            try:
                assert read(payload)
            except FrameError:
                continue


class _Sink:
    """
    Takes down what a L{MessageDecoder} tells.
    """

    def __init__(self) -> None:
        self.told: list[object] = []
        self._payload = b""

    def payloadReceived(self, data: bytes) -> None:
        assert data
        self._payload += data

    def messageEnded(self) -> None:
        self.told.append(self._payload)
        self._payload = b""

    def pinged(self, payload: bytes) -> None:
        self.told.append(("ping", payload))

    def ponged(self, payload: bytes) -> None:
        self.told.append(("pong", payload))

    def closed(self, code: int, reason: str) -> None:
        self.told.append(("closed", code, reason))


def _messages(pieces: Iterable[bytes], *, masked: bool) -> tuple[list[object], int]:
    sink = _Sink()
    decoder = MessageDecoder(sink, masked=masked)
    try:
        for piece in pieces:
            decoder.feed(piece)
    except Violation as violation:
        return sink.told, violation.code
    return sink.told, 0


def checkWebSocket(data: bytes) -> None:
    """
    Messages of a WebSocket are the same in whatever pieces they come.
    """
    size, data = data[0] if data else 0, data[1:]
    masked = bool(size & 1)
    size >>= 1
    assert _messages([data], masked=masked) == _messages(cut(data, size), masked=masked)


def checkHandshake(data: bytes) -> None:
    """
    A handshake, and the answer to one, are good or refused.
    """
    try:
        head = accept(parseRequest(data, LIMITS))
        assert head.status == 101
    except Fault:
        pass
    handshake = ClientHandshake(b"a", b"/")
    try:
        handshake.check(parseResponse(data, LIMITS, b"GET", upgrading=True))
    except (Fault, HandshakeError):
        return
    raise AssertionError("the key was guessed")


def checkValues(data: bytes) -> None:
    """
    What the calls of agents carry is read, or refused as what it is not.
    """
    try:
        found = parseIDs(data)
    except ValueError:
        pass
    else:
        assert parseIDs(formatIDs(found)) == found
    isBackendID(data)
    try:
        hello = parseHello(data)
    except FrameError:
        pass
    else:
        assert parseHello(hello.encode()) == hello
    block = b"\r\nX-Inverting-Proxy-Features: " + data
    if _isBlock(block):
        assert all(name and name == name.lower() for name in features(block))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "requests": checkRequests,
    "responses": checkResponses,
    "frames": checkFrames,
    "websocket": checkWebSocket,
    "handshake": checkHandshake,
    "values": checkValues,
}
"""What can be fuzzed, by name."""
