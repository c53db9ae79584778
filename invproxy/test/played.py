"""
Either end of a tunnel, played by the test: what came is taken down frame by frame, and what goes out is written by
hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from invproxy.wire.frames import (
    CREDIT,
    DATA,
    END,
    GOAWAY,
    HELLO,
    LAST,
    REQUEST,
    RESET,
    RESPONSE,
    FrameReader,
    frame,
    numberFrame,
    parseNumber,
    parseRequestPayload,
    requestFrame,
)
from invproxy.wire.hello import Hello, parseHello
from invproxy.wire.websocket import (
    CLOSE,
    PONG,
    MessageDecoder,
    binaryHeader,
    closePayload,
    control,
    mask,
)

KEY = b"\x13\x57\x9b\xdf"
"""A masking key that everybody may foresee."""


@frozen
class Frame:
    """
    One frame; of DATA, one piece.

    @ivar kind: its type.
    @ivar stream: the number of its stream.
    @ivar flags: its flags.
    @ivar payload: its payload.
    """

    kind: int
    stream: int
    flags: int
    payload: bytes


class PlayedTunnel:
    """
    An end of a tunnel.

    @ivar frames: all that came, but the HELLO.
    @ivar peer: the HELLO that came, or L{None}.
    @ivar pings: how many pings came.
    @ivar closing: code and reason of the Close frame that came, or L{None}.
    @ivar answersPings: whether pings are answered.
    """

    def __init__(
        self, write: Callable[[bytes], object], pump: Callable[[], None], *, isClient: bool
    ) -> None:
        """
        @param write: writes bytes.
        @param pump: lets them arrive.
        @param isClient: whether this is the agent's end.
        """
        self._writeOnly = write
        self._pump = pump
        self._key = KEY if isClient else b""
        self._messages = MessageDecoder(self, masked=not isClient)
        self._reader = FrameReader(self._received, 1 << 24)
        self.frames: list[Frame] = []
        self.peer: Hello | None = None
        self.pings = 0
        self.closing: tuple[int, str] | None = None
        self.answersPings = True

    def feed(self, data: bytes) -> None:
        """
        Take bytes that came.
        """
        self._messages.feed(data)

    def _received(self, kind: int, stream: int, flags: int, payload: bytes) -> None:
        if kind == HELLO:
            assert self.peer is None, "a second HELLO"
            self.peer = parseHello(payload)
        else:
            self.frames.append(Frame(kind, stream, flags, payload))

    # As the sink of the decoder.

    def payloadReceived(self, data: bytes) -> None:
        self._reader.feed(data)

    def messageEnded(self) -> None:
        assert self._reader.atBoundary()

    def pinged(self, payload: bytes) -> None:
        self.pings += 1
        if self.answersPings:
            self._writeOnly(control(PONG, payload, self._key))  # it is pumped already

    def ponged(self, payload: bytes) -> None:
        pass

    def closed(self, code: int, reason: str) -> None:
        self.closing = code, reason

    # What is sent.

    def _write(self, data: bytes) -> None:
        self._writeOnly(data)
        self._pump()

    def sendControl(self, opcode: int, payload: bytes) -> None:
        """
        Send a control frame of the WebSocket.
        """
        self._write(control(opcode, payload, self._key))

    def sendRaw(self, data: bytes) -> None:
        """
        Send a message.
        """
        payload = mask(data, self._key) if self._key else data
        self._write(binaryHeader(len(data), self._key) + payload)

    def send(self, kind: int, stream: int, payload: bytes = b"", *, last: bool = False) -> None:
        """
        Send a frame.
        """
        self.sendRaw(frame(kind, stream, payload, LAST if last else 0))

    def greet(self, **said: Any) -> None:
        """
        Send the HELLO.
        """
        self.send(HELLO, 0, Hello(**said).encode())

    def request(self, stream: int, head: bytes, outer: bytes = b"", *, last: bool = True) -> None:
        """
        Send a REQUEST.

        @param head: in wire form.
        @param outer: a block of fields about the exchange.
        """
        self.sendRaw(requestFrame(stream, outer, head, LAST if last else 0))

    def respond(
        self,
        stream: int,
        head: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        body: bytes = b"ok",
        *,
        last: bool = True,
    ) -> None:
        """
        Send a RESPONSE, and DATA.

        @param last: whether that is all.
        """
        self.sendRaw(frame(RESPONSE, stream, head) + frame(DATA, stream, body, LAST if last else 0))

    def reset(self, stream: int, reason: str) -> None:
        """
        Send a RESET.

        @param reason: a code, and perhaps details behind it.
        """
        self.send(RESET, stream, reason.encode(), last=True)

    def dismiss(self, last: int) -> None:
        """
        Send a GOAWAY.

        @param last: the last stream that is taken.
        """
        self.sendRaw(numberFrame(GOAWAY, 0, last, b"stopping"))

    def close(self, code: int = 1001, reason: str = "") -> None:
        """
        Send a Close frame.
        """
        self.sendControl(CLOSE, closePayload(code, reason))

    # What came.

    def of(self, kind: int, stream: int | None = None) -> list[Frame]:
        """
        The frames of a type.

        @param stream: of one stream alone.
        """
        return [each for each in self.frames if each.kind == kind and stream in (None, each.stream)]

    @property
    def requests(self) -> dict[int, bytes]:
        """
        The heads of requests that came, in wire form, by their streams.
        """
        return {each.stream: parseRequestPayload(each.payload)[1] for each in self.of(REQUEST)}

    @property
    def resets(self) -> dict[int, str]:
        """
        The codes of the RESETs that came, by their streams.
        """
        return {each.stream: each.payload.decode().partition(" ")[0] for each in self.of(RESET)}

    @property
    def dismissals(self) -> list[int]:
        """
        The last streams that GOAWAYs named.
        """
        return [parseNumber(each.payload) for each in self.of(GOAWAY)]

    def credit(self, stream: int) -> int:
        """
        Add up the credit that was given on a stream.
        """
        return sum(parseNumber(each.payload) for each in self.of(CREDIT, stream))

    def body(self, stream: int) -> bytes:
        """
        What came of a body.
        """
        return b"".join(each.payload for each in self.of(DATA, stream))

    def ended(self, stream: int) -> bool:
        """
        Say whether a stream has come to its end.
        """
        return any(each.flags & LAST for each in self.frames if each.stream == stream) or bool(
            self.of(END, stream)
        )
