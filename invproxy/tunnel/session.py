"""
A tunnel over a connection that has become a WebSocket: frames in both directions, and what keeps it alive.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from invproxy.errors import AGENT_LOST, CODES, Fault
from invproxy.timers import Wheel
from invproxy.tunnel.life import GOING_AWAY, INTERNAL, makeLife
from invproxy.tunnel.pings import Pings
from invproxy.tunnel.printable import printable
from invproxy.tunnel.stream import Stream
from invproxy.turn import Turn
from invproxy.wire.frames import (
    CREDIT,
    DATA,
    END,
    GOAWAY,
    HELLO,
    LAST,
    OVERHEAD,
    REQUEST,
    RESET,
    RESPONSE,
    FrameError,
    FrameReader,
    frame,
    header,
    numberFrame,
    parseNumber,
    trailersOf,
)
from invproxy.wire.hello import Hello, parseHello
from invproxy.wire.websocket import (
    CLOSE,
    NO_STATUS,
    PING,
    PONG,
    PROTOCOL_ERROR,
    Keys,
    MessageDecoder,
    Violation,
    binaryHeader,
    closePayload,
    control,
    mask,
)
from invproxy.wire.windows import Budget

_log = Logger(namespace="invproxy.tunnel")

_MOST_COLLECTED: Final = 65536
"""Bytes of bodies that are collected in a turn before they are written."""

_CLOSING: Final = 2.0
"""Seconds for which the end of the link is awaited once we have closed the tunnel."""

_LATE: Final = 0.5
"""Seconds by which a deadline may be noticed late, so that it is set by so much earlier."""

_LAST: Final = bytes((LAST,))

S = TypeVar("S", bound=Stream)


class Session(Generic[S]):
    """
    One tunnel, as one of its two ends sees it.

    @ivar hello: what we said of ourselves.
    @ivar peer: what the peer said of itself, once it has.
    @ivar isReady: whether streams may be opened.
    @ivar isFree: whether what is sent goes out at once, as nothing waits before it.
    @ivar isPaused: whether the link does not keep up.
    @ivar granted: how many bytes may be sent on a new stream.
    @ivar streams: those that are open, by their numbers.
    @ivar last: the highest number of a stream so far.
    @ivar closeCode: the close code with which either side has closed it, or 0.
    @ivar heardAt: when something came from the peer last, in seconds on the clock.
    @ivar budget: what the windows may grow by.
    """

    askedAt = 0.0

    def __init__(
        self,
        clock: IReactorTime,
        turn: Turn,
        wheel: Wheel,
        hello: Hello,
        *,
        isClient: bool,
        timeout: float,
        keys: Keys | None = None,
    ) -> None:
        """
        @param clock: what tells the time.
        @param turn: what collects what is written.
        @param wheel: what watches the deadlines.
        @param hello: what to say of ourselves.
        @param isClient: whether we are the client of the WebSocket, whose payload is masked.
        @param timeout: seconds without a sign of life after which the link is dead.
        @param keys: gives masking keys.
        """
        self.clock = clock
        self.hello = hello
        self.peer: Hello | None = None
        self.isReady = False
        self.isFree = True
        self.granted = 0
        self.streams: dict[int, S] = {}
        self.last = 0
        self.closeCode = 0
        self.budget = Budget()
        self.heardAt = clock.seconds()
        self._turn = turn
        self._wheel = wheel
        self._keys = (keys or Keys()) if isClient else None
        self._timeout = timeout - _LATE
        self._began = 0.0
        # The client asks first, so that in the rule only one of the two does.
        self._quiet = timeout / 3 if isClient else timeout / 2
        self._pings = Pings()
        self._out: list[bytes | memoryview] = []
        self._outSize = 0
        self._latest: Stream | None = None  # whose header was written last
        self._latestAt = 0
        self.isPaused = False
        self._ring: deque[Stream] = deque()
        self._isSending = False
        self._isClosed = self._isLinkEnded = False
        self._frames = FrameReader(self.frameReceived, hello.head)
        self.payloadReceived = self._frames.feed
        self._messages = MessageDecoder(self, masked=not isClient)
        self.life = makeLife(self)

    # The link.

    def connected(self) -> None:
        """
        Begin: the link stands.
        """
        self.heardAt = self._began = self.clock.seconds()
        self.put(frame(HELLO, 0, self.hello.encode()))
        self._wheel.watch(self, self.heardAt + self._quiet)

    def bytesReceived(self, data: bytes) -> None:
        """
        Take bytes from the link.
        """
        if self._isClosed:
            return
        self.heardAt = self.clock.seconds()
        try:
            self._messages.feed(data)
        except (FrameError, Violation) as error:
            code = error.code if isinstance(error, Violation) else PROTOCOL_ERROR
            self.life.close(code, error.reason if isinstance(error, Violation) else str(error))
        except Exception:
            _log.failure("a tunnel failed on what it received")
            self.life.close(INTERNAL, "something went wrong here")

    def linkLost(self, reason: str) -> None:
        """
        Take note that the link is gone.

        @param reason: why, for the log.
        """
        self._wheel.forget(self)
        self.life.lose(reason)

    def linkEnded(self, reason: str) -> None:
        """
        Take note that nothing more comes on the link, though our own direction may still be open.

        @param reason: why, for the log.
        """
        self.linkLost(reason)
        self._endLink()

    def _endLink(self) -> None:
        if not self._isLinkEnded:
            self._isLinkEnded = True
            self.closeLink()

    def pauseSending(self) -> None:
        """
        Take note that the link does not keep up.
        """
        self.isPaused = True
        self.isFree = False

    def resumeSending(self) -> None:
        """
        Take note that the link takes more.
        """
        self.isPaused = False
        self._sendWaiting()

    def writeLink(self, data: bytes) -> None:
        """
        Write to the link.
        """
        raise NotImplementedError

    def closeLink(self) -> None:
        """
        End the link once everything is written.
        """
        raise NotImplementedError

    def abortLink(self) -> None:
        """
        End the link now.
        """
        raise NotImplementedError

    # What is sent.

    def put(self, *pieces: bytes) -> None:
        """
        Send a whole frame, this turn.
        """
        if self._isClosed:
            return
        if not self._out:
            self._turn.enlist(self)
        self._out += pieces

    def putHead(self, stream: Stream, data: bytes) -> None:
        """
        Send a RESPONSE.
        """
        if self._isClosed:
            return
        out = self._out
        if not out:
            self._turn.enlist(self)
        self._latest = stream
        self._latestAt = len(out)
        out += (header(len(data), stream.number, RESPONSE, 0), data)

    def putData(self, stream: Stream, data: bytes | memoryview, size: int) -> None:
        """
        Send a frame of a body.
        """
        if self._isClosed:
            return
        out = self._out
        if not out:
            self._turn.enlist(self)
        self._latest = stream
        self._latestAt = len(out)
        out += (header(size, stream.number, DATA, 0), data)
        self._outSize += size
        if self._outSize > _MOST_COLLECTED:
            self.flush()

    def markLast(self, stream: Stream) -> bool:
        """
        Mark the frame that was sent last as the last of its stream, if it is one of this stream and not written yet.
        """
        if self._latest is not stream:
            return False
        self._latest = None
        out = self._out
        at = self._latestAt
        out[at] = bytes(out[at][: OVERHEAD - 1]) + _LAST
        return True

    def flush(self) -> None:
        """
        Write what was collected, as one message.
        """
        out = self._out
        if not out:
            return
        if self._keys is None:
            message = b"".join(out)
            message = binaryHeader(len(message)) + message
        else:
            key = self._keys()
            data = b"".join(out)
            message = binaryHeader(len(data), key) + mask(data, key)
        out.clear()
        self._outSize = 0
        self._latest = None
        self.writeLink(message)

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
            self.isFree = not (ring or self.isPaused or self._isClosed)

    def _sendControl(self, opcode: int, payload: bytes) -> None:
        if not self._isClosed:
            self.flush()
            self.writeLink(control(opcode, payload, self._keys() if self._keys else b""))

    # What is received: messages.

    def messageEnded(self) -> None:
        if not self._frames.atBoundary():
            raise FrameError("a message that ends within a frame")

    def pinged(self, payload: bytes) -> None:
        if not self.isPaused:  # who does not read our answers shall not make us keep them
            self._sendControl(PONG, payload)

    def ponged(self, payload: bytes) -> None:
        self._pings.receive(payload, self.heardAt)
        self.budget.roundTrip = self._pings.roundTrip

    def closed(self, code: int, reason: str) -> None:
        if self._isClosed:
            return
        self.closeCode = code
        self._sendControl(CLOSE, closePayload(code if code != NO_STATUS else GOING_AWAY))
        self._endLink()
        self.life.lose(f"the peer closed it: {printable(reason) or 'no reason given'} ({code})")

    # What is received: frames.

    def frameReceived(self, kind: int, number: int, flags: int, payload: bytes) -> None:
        """
        Take a frame, or a piece of DATA.

        @raise FrameError: if it breaks the protocol.
        """
        if self.peer is None:
            if kind != HELLO:
                raise FrameError(f"a frame of type {kind} before the HELLO")
            self.life.greet(parseHello(payload))
        elif kind == REQUEST:
            self.requestReceived(number, flags, payload)
        elif kind <= CREDIT and kind != HELLO:
            stream = self.streams.get(number)
            if stream is None:
                if not 0 < number <= self.last:
                    raise FrameError(f"a frame of type {kind} for stream {number}, never opened")
            elif kind == DATA:
                stream.receive(payload, flags)
            elif kind == RESPONSE:
                stream.receiveResponse(payload, flags)
            elif kind == END:
                stream.deliverEnd(trailersOf(payload))
            elif kind == CREDIT:
                stream.addCredit(parseNumber(payload))
            elif kind == RESET:
                self._reset(stream, payload)
        elif kind == HELLO:
            self.life.greet(parseHello(payload))
        elif kind == GOAWAY:
            self.life.dismiss(parseNumber(payload))

    def _reset(self, stream: S, payload: bytes) -> None:
        name, _, detail = payload.decode("utf-8", "replace").partition(" ")
        stream.close()
        stream.deliverReset(Fault(CODES.get(name, AGENT_LOST), printable(detail)))

    def requestReceived(self, number: int, flags: int, payload: bytes) -> None:
        """
        Take the head of a request; for agents.
        """
        raise FrameError("a REQUEST from an agent")

    # Streams.

    def forget(self, stream: Stream) -> None:
        """
        Take note that a stream is closed.
        """
        self.streams.pop(stream.number, None)
        if not self.streams and not self.isReady:
            self._awaitEmpty()

    # What the life says.

    def become(self, hello: Hello) -> None:
        self.peer = hello
        self.granted = hello.window
        self.isReady = True
        self._ping()
        self.opened()

    def sayGoAway(self) -> None:
        self.isReady = False
        self.put(numberFrame(GOAWAY, 0, self.last, b"stopping"))
        if not self.streams:
            self._awaitEmpty()

    def leave(self) -> None:
        self.put(numberFrame(GOAWAY, 0, self.last, b"stopping"))
        self.shut(GOING_AWAY, "stopping")

    def turnAway(self, last: int) -> None:
        self.isReady = False
        self.dismissed(last)
        if not self.streams:
            self._awaitEmpty()

    def _awaitEmpty(self) -> None:
        # In the next turn, as the life may be in the middle of a step.
        self.clock.callLater(0, self._checkEmpty)

    def _checkEmpty(self) -> None:
        if not self.streams:
            self.life.empty()

    def shut(self, code: int, reason: str) -> None:
        self.closeCode = code
        self._sendControl(CLOSE, closePayload(code, reason))
        self._isClosed = True
        self._endLink()
        self._wheel.forget(self)
        self._wheel.watch(self, self.clock.seconds() + _CLOSING)
        self.end(reason)

    def end(self, reason: str) -> None:
        self.isReady = self.isFree = False
        self._isClosed = True
        self._ring.clear()
        self._out.clear()
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.isOpen = False
        self.ended(reason, list(streams.values()))

    def opened(self) -> None:
        """
        Take note that the tunnel is ready.
        """
        raise NotImplementedError

    def dismissed(self, last: int) -> None:
        """
        Take note that the peer takes no new streams.

        @param last: the last one that it took.
        """
        raise NotImplementedError

    def ended(self, reason: str, streams: list[S]) -> None:
        """
        Take note that the tunnel is over.

        @param reason: why, for the log.
        @param streams: those that were open.
        """
        raise NotImplementedError

    # Deadlines.

    def checkDeadline(self, now: float) -> float:
        """
        See whether the peer is still there; see L{invproxy.timers.Watched}.
        """
        if self._isClosed:
            self.abortLink()
            return 0.0
        silent = now - self.heardAt
        if silent >= self._timeout or (self.peer is None and now >= self._began + self._timeout):
            self.abortLink()
            what = "nothing" if self.peer is not None else "no HELLO"
            self.life.lose(f"{what} came for {self._timeout + _LATE:g} s")
            return 0.0
        if silent >= self._quiet or (self.streams and now >= self._pings.sentAt + self._quiet):
            self._ping()
        return min(
            max(self.heardAt, self._pings.sentAt) + self._quiet, self.heardAt + self._timeout
        )

    def _ping(self) -> None:
        self._sendControl(PING, self._pings.send(self.clock.seconds()))
