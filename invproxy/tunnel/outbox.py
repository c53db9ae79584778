"""
What goes out through a tunnel: the frames of a turn, as one message, and the streams that wait to send more.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from invproxy.discard import DISCARD
from invproxy.turn import Turn
from invproxy.wire.frames import LAST, OVERHEAD, header
from invproxy.wire.websocket import PONG, Keys, binaryHeader, control, mask

if TYPE_CHECKING:
    from invproxy.tunnel.stream import Stream

_MOST_COLLECTED: Final = 65536
"""Bytes of streams that are collected in a turn before they are written."""

_LAST: Final = bytes((LAST,))


class Link(Protocol):
    """
    Our direction of the connection below a tunnel.
    """

    def write(self, data: bytes) -> None:
        """
        Write to it.
        """

    def finish(self) -> None:
        """
        End it once everything is written.
        """


class Outbox:
    """
    All that one end of a tunnel sends.

    @ivar link: where it goes.
    @ivar isFree: whether what is sent goes out at once, as nothing waits before it.
    @ivar isPaused: whether the link does not keep up.
    @ivar isClosed: whether nothing is sent any more.
    """

    def __init__(self, turn: Turn, keys: Keys | None) -> None:
        """
        @param turn: says when to write what was collected.
        @param keys: gives masking keys, if what is sent has to be masked.
        """
        self.link: Link = DISCARD
        self.isFree = True
        self.isPaused = False
        self.isClosed = False
        self._turn = turn
        self._keys = keys
        self._frames: list[bytes | memoryview] = []
        self._size = 0
        self._latest: Stream | None = None  # whose header was put last
        self._latestAt = 0
        self._ring: deque[Stream] = deque()
        self._isSending = False
        self._owed: bytes | None = None

    def put(self, data: bytes) -> None:
        """
        Send a whole frame, this turn.
        """
        if self.isClosed:
            return
        frames = self._frames
        if not frames:
            self._turn.enlist(self)
        frames.append(data)

    def putPart(self, stream: Stream, kind: int, data: bytes | memoryview, size: int) -> None:
        """
        Send a head or a piece of a body, behind which its stream may turn out to have nothing more to send.

        @param kind: the type of its frame.
        @param size: its length in bytes.
        """
        if self.isClosed:
            return
        frames = self._frames
        if not frames:
            self._turn.enlist(self)
        self._latest = stream
        self._latestAt = len(frames)
        frames.append(header(size, stream.number, kind, 0))
        frames.append(data)
        self._size += size
        if self._size > _MOST_COLLECTED:
            self.flush()

    def markLast(self, stream: Stream) -> bool:
        """
        Mark the part that was sent last as the last of its stream, if it is one of this stream and not written yet.
        """
        if self._latest is not stream:
            return False
        self._latest = None
        frames = self._frames
        at = self._latestAt
        frames[at] = bytes(frames[at][: OVERHEAD - 1]) + _LAST
        return True

    def flush(self) -> None:
        """
        Write what was collected, as one message.
        """
        frames = self._frames
        if not frames:
            return
        data = b"".join(frames)
        if self._keys is None:
            message = binaryHeader(len(data)) + data
        else:
            key = self._keys()
            message = binaryHeader(len(data), key) + mask(data, key)
        frames.clear()
        self._size = 0
        self._latest = None
        self.link.write(message)

    def sendControl(self, opcode: int, payload: bytes) -> None:
        """
        Write a control frame of the WebSocket, behind what was collected.
        """
        if not self.isClosed:
            self.flush()
            self.link.write(control(opcode, payload, self._keys() if self._keys else b""))

    def sendPong(self, payload: bytes) -> None:
        """
        Answer a ping: now, or once the link keeps up. Who does not read our answers shall not make us keep them, so
        only the latest ping is answered then (RFC 6455, section 5.5.3).
        """
        if self.isPaused:
            self._owed = payload
        else:
            self.sendControl(PONG, payload)

    def close(self) -> None:
        """
        Send nothing more.
        """
        self.isClosed = True
        self.isFree = False
        self._ring.clear()
        self._frames.clear()

    # The streams that wait.

    def pause(self) -> None:
        """
        Take note that the link does not keep up.
        """
        self.isPaused = True
        self.isFree = False

    def resume(self) -> None:
        """
        Take note that the link takes more.
        """
        self.isPaused = False
        owed, self._owed = self._owed, None
        if owed is not None:
            self.sendControl(PONG, owed)
        self._sendWaiting()

    def schedule(self, stream: Stream) -> None:
        """
        Give a stream its turns, until it has nothing left to send or no credit.
        """
        self._ring.append(stream)
        self.isFree = False
        self._sendWaiting()

    def hasQueue(self) -> bool:
        """
        Say whether another stream waits for its turn.
        """
        return bool(self._ring)

    def _sendWaiting(self) -> None:
        if self._isSending:
            return  # a source that has been asked for more gave it at once
        self._isSending = True
        ring = self._ring
        try:
            while ring and not self.isPaused:
                stream = ring.popleft()
                if stream.sendNext():
                    ring.append(stream)
        finally:
            self._isSending = False
            self.isFree = not (ring or self.isPaused or self.isClosed)
