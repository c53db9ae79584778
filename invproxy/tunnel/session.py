"""
A tunnel over a connection that has become a WebSocket: what is received on it, and what becomes of it.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from invproxy.deadlines import Deadlines
from invproxy.errors import AGENT_LOST, CODES, Fault
from invproxy.tunnel.life import GOING_AWAY, INTERNAL, makeLife
from invproxy.tunnel.outbox import Outbox
from invproxy.tunnel.printable import printable
from invproxy.tunnel.pulse import Pulse
from invproxy.tunnel.stream import Stream
from invproxy.turn import Turn
from invproxy.wire.frames import (
    CREDIT,
    DATA,
    END,
    GOAWAY,
    HELLO,
    REQUEST,
    RESET,
    RESPONSE,
    FrameError,
    FrameReader,
    frame,
    numberFrame,
    parseNumber,
    trailersOf,
)
from invproxy.wire.hello import Hello, parseHello
from invproxy.wire.websocket import (
    CLOSE,
    NO_STATUS,
    PING,
    PROTOCOL_ERROR,
    Keys,
    MessageDecoder,
    Violation,
    closePayload,
)
from invproxy.wire.windows import Budget

_log = Logger(namespace="invproxy.tunnel")

_CLOSING: Final = 2.0
"""Seconds for which the end of the link is awaited once we have closed the tunnel."""

S = TypeVar("S", bound=Stream)


class Session(Generic[S]):
    """
    One tunnel, as one of its two ends sees it.

    @ivar hello: what we said of ourselves.
    @ivar peer: what the peer said of itself, once it has.
    @ivar isReady: whether streams may be opened.
    @ivar granted: how many bytes may be sent on a new stream.
    @ivar streams: those that are open, by their numbers.
    @ivar last: the highest number of a stream so far.
    @ivar closeCode: the close code with which either side has closed it, or 0.
    @ivar outbox: what goes out through it.
    @ivar pulse: the peer's signs of life.
    @ivar budget: what the windows may grow by.
    """

    askedAt = 0.0

    def __init__(
        self,
        clock: IReactorTime,
        turn: Turn,
        deadlines: Deadlines,
        hello: Hello,
        *,
        isClient: bool,
        timeout: float,
    ) -> None:
        """
        @param clock: what tells the time.
        @param turn: what collects what is written.
        @param deadlines: what watches the deadlines.
        @param hello: what to say of ourselves.
        @param isClient: whether we are the client of the WebSocket, whose payload is masked.
        @param timeout: seconds without a sign of life after which the link is dead.
        """
        self.clock = clock
        self.hello = hello
        self.peer: Hello | None = None
        self.isReady = False
        self.granted = 0
        self.streams: dict[int, S] = {}
        self.last = 0
        self.closeCode = 0
        self.outbox = Outbox(turn, Keys() if isClient else None)
        self.pulse = Pulse(timeout, clock.seconds(), asksFirst=isClient)
        self.budget = Budget()
        self._deadlines = deadlines
        self._isLinkEnded = False
        self._frames = FrameReader(self.frameReceived, hello.head)
        self.payloadReceived = self._frames.feed
        self._messages = MessageDecoder(self, masked=not isClient)
        self.life = makeLife(self)

    # The link.

    def connected(self) -> None:
        """
        Begin: the link stands.
        """
        self.outbox.put(frame(HELLO, 0, self.hello.encode()))
        self._deadlines.watch(self, self.pulse.begin(self.clock.seconds()))

    def bytesReceived(self, data: bytes) -> None:
        """
        Take bytes from the link.
        """
        if self.outbox.isClosed:
            return
        self.pulse.heardAt = self.clock.seconds()
        try:
            self._messages.feed(data)
        except Violation as violation:
            self.life.close(violation.code, violation.reason)
        except FrameError as error:
            self.life.close(PROTOCOL_ERROR, str(error))
        except Exception:
            _log.failure("a tunnel failed on what it received")
            self.life.close(INTERNAL, "something went wrong here")

    def linkLost(self, reason: str) -> None:
        """
        Take note that the link is gone.

        @param reason: why, for the log.
        """
        self._deadlines.forget(self)
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
            self.outbox.link.finish()

    def abortLink(self) -> None:
        """
        End the link now.
        """
        raise NotImplementedError

    # What is received: messages.

    def messageEnded(self) -> None:
        if not self._frames.atBoundary():
            raise FrameError("a message that ends within a frame")

    def pinged(self, payload: bytes) -> None:
        self.outbox.sendPong(payload)

    def ponged(self, payload: bytes) -> None:
        self.budget.roundTrip = self.pulse.answered(payload)

    def closed(self, code: int, reason: str) -> None:
        if self.outbox.isClosed:
            return
        self.closeCode = code
        self.outbox.sendControl(CLOSE, closePayload(code if code != NO_STATUS else GOING_AWAY))
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
        self.outbox.put(numberFrame(GOAWAY, 0, self.last, b"stopping"))
        if not self.streams:
            self._awaitEmpty()

    def leave(self) -> None:
        self.outbox.put(numberFrame(GOAWAY, 0, self.last, b"stopping"))
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
        self.outbox.sendControl(CLOSE, closePayload(code, reason))
        self.outbox.close()
        self._endLink()
        self._deadlines.forget(self)
        self._deadlines.watch(self, self.clock.seconds() + _CLOSING)
        self.end(reason)

    def end(self, reason: str) -> None:
        self.isReady = False
        self.outbox.close()
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
        See whether the peer is still there; see L{invproxy.deadlines.Watched}.
        """
        if self.outbox.isClosed:
            self.abortLink()
            return 0.0
        pulse = self.pulse
        isGreeted = self.peer is not None
        if pulse.isLost(now, isGreeted=isGreeted):
            self.abortLink()
            what = "nothing" if isGreeted else "no HELLO"
            self.life.lose(f"{what} came for {pulse.timeout:g} s")
            return 0.0
        if pulse.isToAsk(now, isBusy=bool(self.streams)):
            self._ping()
        return pulse.nextLook()

    def _ping(self) -> None:
        self.outbox.sendControl(PING, self.pulse.ask(self.clock.seconds()))
