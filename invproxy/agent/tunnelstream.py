"""
One exchange in a tunnel, as the agent sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger
from zope.interface import implementer

from invproxy.agent.adaptation import dropOwn
from invproxy.agent.peer import OriginalPeer
from invproxy.discard import DISCARD
from invproxy.errors import (
    CLIENT_GONE,
    INTERNAL,
    ORIGIN_BAD_RESPONSE,
    Fault,
)
from invproxy.http1.framing import checkTrailers
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import WIDE_LIMITS
from invproxy.interfaces import IAnswer, IPeer, IUpload
from invproxy.tunnel.stream import Stream
from invproxy.wire.frames import RESPONSE, FrameError, frame

if TYPE_CHECKING:
    from invproxy.agent.tunneler import AgentSession

_log = Logger(namespace="invproxy.agent")


@implementer(IAnswer)
class AgentStream(Stream):
    """
    One exchange: to the origin it is the answer to its request.

    @ivar head: the head of the request.
    @ivar upload: the origin's end.
    @ivar deadline: until when the origin must have begun to answer, in seconds on the clock; 0 is for ever.
    """

    __slots__ = (
        "_bodyless",
        "_isEnded",
        "_peer",
        "_requestEnded",
        "_status",
        "_tunnel",
        "deadline",
        "head",
        "upload",
    )

    def __init__(self, session: AgentSession, number: int, head: RequestHead) -> None:
        super().__init__(session, number)
        self._tunnel = session
        self.head = head
        self.upload: IUpload = DISCARD
        self.deadline = 0.0
        self._bodyless = False
        self._isEnded = False
        self._peer: IPeer | None = None
        self._requestEnded = False
        self._status = 0

    @property
    def peer(self) -> IPeer:
        """
        The client, as far as the proxy tells.
        """
        if self._peer is None:
            self._peer = OriginalPeer.of(self.head)
        return self._peer

    def attach(self, upload: IUpload) -> None:
        """
        Take note of where the body of the request goes.
        """
        self.upload = upload
        if self._sourcePaused:
            self.pauseSource()

    def isAnswered(self) -> bool:
        """
        Say whether the origin has given its whole answer.
        """
        return self._isEnded

    # What the origin says.

    def identify(self, requestID: str, endUser: str = "") -> None:
        pass

    def inform(self, head: ResponseHead) -> None:
        if self.isOpen and not self._status:
            self._tunnel.startClock(self)
            wire = head.encode()
            if self._fits(wire):
                self.outbox.put(frame(RESPONSE, self.number, wire))
                self.awaitLink()

    def respond(self, head: ResponseHead) -> None:
        if self.isOpen and not self._status:
            wire = head.encode()
            if not self._fits(wire):
                return
            status = self._status = head.status
            failures = self._tunnel.failures
            if failures.isAway:
                failures.endAbsence()
            self.deadline = 0.0
            self._bodyless = status in (204, 304) or self.head.method == b"HEAD"
            self.outbox.putPart(self, RESPONSE, wire, len(wire))

    def _fits(self, wire: bytes) -> bool:
        """
        Say whether the proxy takes a head, or trailers; if not, the response is broken off.
        """
        most = self._tunnel.mostHead
        if len(wire) <= most:
            return True
        upload = self.upload
        self.fail(Fault(ORIGIN_BAD_RESPONSE, f"a head of more than {most} bytes"))
        self.abort(upload, Fault(CLIENT_GONE))
        return False

    def write(self, data: bytes) -> None:
        if self.isOpen and not self._bodyless:
            self.send(data)

    def finish(self, trailers: bytes = b"") -> None:
        if self.isOpen and not self._isEnded:
            if trailers and not self._bodyless and not self._fits(trailers):
                return
            self._isEnded = True
            self.sendLast(b"" if self._bodyless else trailers)

    def fail(self, fault: Fault) -> None:
        if self.isOpen and not (self._isEnded and self._status != 101):
            self._tunnel.failures.add(self.head, fault)
            self.upload = DISCARD
            self.reset(fault)

    def pauseUpload(self) -> None:
        self.hold()

    def resumeUpload(self) -> None:
        self.release()

    # What the tunnel wants.

    def pauseSource(self) -> None:
        try:
            self.upload.pauseAnswer()
        except Exception:
            self._broke()

    def resumeSource(self) -> None:
        try:
            self.upload.resumeAnswer()
        except Exception:
            self._broke()

    def lastSent(self) -> None:
        if self._status != 101 or self._requestEnded:
            self.close()
            self.upload = DISCARD  # it knows us, and would keep us

    # What the proxy sends.

    def deliver(self, data: bytes) -> None:
        if self._requestEnded or (self.head.upgrade is not None and self._status != 101):
            raise FrameError(f"DATA behind the end of the request on stream {self.number}")
        if self._status == 0:
            self._tunnel.startClock(self)
        try:
            self.upload.write(data)
        except Exception:
            self._broke()

    def _broke(self) -> None:
        """
        Give up the exchange, and no other: the origin has raised an exception.
        """
        _log.failure(
            "the origin failed on the body of {method} {target}",
            method=self.head.method,
            target=self.head.target,
        )
        upload = self.upload
        self.fail(Fault(INTERNAL))
        self.upload = DISCARD
        self.abort(upload, Fault(INTERNAL))

    def abort(self, upload: IUpload, fault: Fault) -> None:
        """
        Tell the origin that nobody wants its answer.
        """
        try:
            upload.abort(fault)
        except Exception:
            _log.failure("the origin failed on being told: {fault}", fault=fault)

    def deliverEnd(self, trailers: bytes) -> None:
        if self._requestEnded:
            raise FrameError(f"a second end of the request on stream {self.number}")
        if trailers:
            try:
                checkTrailers(trailers, WIDE_LIMITS)
            except Fault as fault:
                upload = self.upload
                self.fail(fault)
                self.abort(upload, fault)
                return
            trailers = dropOwn(trailers)
        self._requestEnded = True
        self.endRequest(trailers)
        if self._isEnded and not self._queued:
            self.close()
            self.upload = DISCARD

    def endRequest(self, trailers: bytes = b"") -> None:
        """
        Tell the origin that the request has come to its end.

        @param trailers: a block of trailer fields.
        """
        try:
            self.upload.finish(trailers)
        except Exception:
            self._broke()

    def deliverReset(self, fault: Fault) -> None:
        self.giveUp(fault)

    def giveUp(self, fault: Fault) -> None:
        """
        Break off towards the origin; the stream is closed already.
        """
        upload, self.upload = self.upload, DISCARD
        self.abort(upload, fault)
