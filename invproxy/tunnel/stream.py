"""
One stream of a tunnel: a body that goes out, by the peer's credit, and one that comes in, by ours.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from invproxy.errors import Fault
from invproxy.wire.frames import (
    CREDIT,
    DATA,
    END,
    LAST,
    MOST_CREDIT,
    RESET,
    FrameError,
    frame,
    linesOf,
    numberFrame,
)
from invproxy.wire.windows import Window

if TYPE_CHECKING:
    from invproxy.tunnel.session import Session

    AnySession = Session[Any]

_PIECE: Final = 16384
"""Bytes that a stream sends before others have their turn, when several want to send more than the link takes."""

_MOST_AT_ONCE: Final = 65536
"""Bytes that a stream sends when it is the only one that has to wait."""

_MOST_QUEUED: Final = 32768
"""Bytes that wait before the source of a body is asked to hold it back."""


class Stream:
    """
    What both ends of a stream have in common. Each role says where a body comes from and where one goes.

    @ivar number: what it is called in frames.
    @ivar session: its tunnel.
    @ivar outbox: that of its tunnel.
    @ivar isOpen: whether it is one of its tunnel's streams; nothing is sent or passed on any more when it is not.
    """

    __slots__ = (
        "_credit",
        "_ending",
        "_isHeld",
        "_isScheduled",
        "_queue",
        "_queued",
        "_sourcePaused",
        "_trailers",
        "_window",
        "isOpen",
        "number",
        "outbox",
        "session",
    )

    def __init__(self, session: AnySession, number: int) -> None:
        """
        @param session: the tunnel.
        @param number: what it is called in frames.
        """
        self.session = session
        self.outbox = session.outbox
        self.number = number
        self.isOpen = True
        self._credit = session.granted
        self._queue: deque[bytes | memoryview] | None = None
        self._queued = 0
        self._ending = False
        self._trailers = b""
        self._isHeld = False
        self._isScheduled = False
        self._sourcePaused = False
        self._window: Window | None = None

    # The body that goes out.

    def send(self, data: bytes) -> None:
        """
        Send a piece of a body, now or when there is credit and room for it.
        """
        size = len(data)
        outbox = self.outbox
        if size <= self._credit and outbox.isFree and not self._queued:
            self._credit -= size
            outbox.putPart(self, DATA, data, size)
        elif size:
            self._enqueue(data, size)

    def _enqueue(self, data: bytes, size: int) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(data)
        self._queued += size
        if self._queued >= _MOST_QUEUED and not self._sourcePaused:
            self._sourcePaused = True
            self.pauseSource()
        self._schedule()

    def _schedule(self) -> None:
        if self._credit and not self._isScheduled and self.isOpen:
            self._isScheduled = True
            self.outbox.schedule(self)

    def sendNext(self) -> bool:
        """
        Send one piece of what waits: it is this stream's turn.

        @return: whether it wants another.
        """
        queue = self._queue
        if queue and self.isOpen:
            data = queue.popleft()
            most = _PIECE if self.outbox.hasQueue() else _MOST_AT_ONCE
            size = min(len(data), most, self._credit)
            if size < len(data):
                view = memoryview(data)
                queue.appendleft(view[size:])
                data = view[:size]
            self._credit -= size
            self._queued -= size
            self.outbox.putPart(self, DATA, data, size)
            if queue and self._credit:
                return True
            if not queue and self._ending:
                self._sendEnd()
        self._isScheduled = False
        if self._sourcePaused and self._queued < _MOST_QUEUED // 2 and self.isOpen:
            self._sourcePaused = False
            self.resumeSource()
        return False

    def awaitLink(self) -> None:
        """
        Hold back the source while the link does not keep up, though what it sends needs no credit.
        """
        if self.outbox.isPaused and not self._sourcePaused:
            self._sourcePaused = True
            self.pauseSource()
        if self._sourcePaused and not self._isScheduled:
            self._isScheduled = True
            self.outbox.schedule(self)

    def addCredit(self, credit: int) -> None:
        """
        Take note that so many bytes more may be sent.
        """
        self._credit += credit
        if self._credit > MOST_CREDIT:
            raise FrameError(f"more credit than {MOST_CREDIT} bytes on stream {self.number}")
        if self._queued:
            self._schedule()

    def sendLast(self, trailers: bytes = b"") -> None:
        """
        End the body that goes out, behind what waits of it.

        @param trailers: a block of trailer fields.
        """
        if self._ending:
            return
        self._trailers = trailers
        self._ending = True
        if not self._queued:
            self._sendEnd()

    def _sendEnd(self) -> None:
        if self._trailers:
            self.outbox.put(frame(END, self.number, linesOf(self._trailers), LAST))
        elif not self.outbox.markLast(self):
            self.outbox.put(frame(END, self.number, b"", LAST))
        self.lastSent()

    # The body that comes in.

    def receive(self, data: bytes, flags: int) -> None:
        """
        Take a piece of a body.

        @raise FrameError: if there was no credit for it.
        """
        size = len(data)
        window = self._window
        if window is None:
            if flags & LAST and size <= self.session.hello.window:
                self.deliver(data)
                if self.isOpen:
                    self.deliverEnd(b"")
                return
            window = self._window = Window(self.session.budget, self.session.hello.window)
        window.receive(size)
        self.deliver(data)
        if not self.isOpen:
            return
        if flags & LAST:
            self.deliverEnd(b"")
        else:
            credit = window.consume(size, self.session.pulse.heardAt, isHeld=self._isHeld)
            if credit:
                self.outbox.put(numberFrame(CREDIT, self.number, credit))

    def hold(self) -> None:
        """
        Give no credit for now: what the body goes to does not keep up.
        """
        self._isHeld = True

    def release(self) -> None:
        """
        Give credit again.
        """
        if self._isHeld:
            self._isHeld = False
            if self._window is not None and self.isOpen:
                credit = self._window.consume(0, self.session.clock.seconds())
                if credit:
                    self.outbox.put(numberFrame(CREDIT, self.number, credit))

    # The end.

    def reset(self, fault: Fault) -> None:
        """
        Tell the peer that the stream is over, and close it.
        """
        if self.isOpen:
            text = f"{fault.code.name} {fault.detail}".encode()[:1000]
            self.outbox.put(frame(RESET, self.number, text, LAST))
            self.close()

    def close(self) -> None:
        """
        Be no stream of the tunnel any more.
        """
        if self.isOpen:
            self.isOpen = False
            if self._window is not None:
                self._window.close()
            if self._queue:
                self._queue.clear()
                self._queued = 0
            self.session.forget(self)

    # What each role says.

    def receiveResponse(self, payload: bytes, flags: int) -> None:
        """
        Take the head of a response; for proxies.

        @param payload: the head in wire form.
        @param flags: those of its frame.
        @raise FrameError: if it is out of place.
        """
        raise FrameError("a RESPONSE from a proxy")

    def pauseSource(self) -> None:
        """
        Ask for less of the body that goes out.
        """
        raise NotImplementedError

    def resumeSource(self) -> None:
        """
        Ask for more of it.
        """
        raise NotImplementedError

    def lastSent(self) -> None:
        """
        Take note that the end of the body that goes out was sent.
        """
        raise NotImplementedError

    def deliver(self, data: bytes) -> None:
        """
        Pass on a piece of the body that comes in.
        """
        raise NotImplementedError

    def deliverEnd(self, trailers: bytes) -> None:
        """
        Pass on its end.

        @param trailers: a block of trailer fields.
        """
        raise NotImplementedError

    def deliverReset(self, fault: Fault) -> None:
        """
        Pass on that the peer has given the stream up; it is closed already.
        """
        raise NotImplementedError
