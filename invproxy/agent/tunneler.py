"""
The agent's side of the tunnel: exchanges come as streams of one connection, and are replayed to the origin.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from invproxy.agent.adaptation import adapt
from invproxy.agent.calls import Call
from invproxy.agent.peer import OriginalPeer
from invproxy.agent.settings import AgentSettings
from invproxy.discard import DISCARD
from invproxy.errors import (
    AGENT_LOST,
    CLIENT_GONE,
    DRAINING,
    INTERNAL,
    ORIGIN_BAD_RESPONSE,
    ORIGIN_TIMEOUT,
    Fault,
)
from invproxy.http1.fields import value
from invproxy.http1.framing import checkTrailers
from invproxy.http1.heads import RequestHead, ResponseHead, parseRequest
from invproxy.http1.limits import Limits
from invproxy.interfaces import IAnswer, IOrigin, IPeer, IUpload
from invproxy.timers import Wheel
from invproxy.tunnel.session import Session
from invproxy.tunnel.stream import Stream
from invproxy.turn import turnOf
from invproxy.wire.frames import LAST, RESET, RESPONSE, FrameError, frame, parseRequestPayload
from invproxy.wire.handshake import ClientHandshake, HandshakeError
from invproxy.wire.hello import Hello
from invproxy.wire.poll import USER_ID
from invproxy.wire.windows import INITIAL

_log = Logger(namespace="invproxy.agent")

_LIMITS = Limits(head=2 << 20, line=1 << 20, fields=4096)
"""Bounds on requests: the proxy has its own, and adds fields to what these let pass, so ours are wide."""

_MOST_ANSWER = 1 << 20
"""Bytes that are read of an answer that is no tunnel."""


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
        "deadline",
        "head",
        "upload",
    )

    session: AgentSession

    def __init__(self, session: AgentSession, number: int, head: RequestHead) -> None:
        super().__init__(session, number)
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
            self.session.startClock(self)
            wire = head.encode()
            if self._fits(wire):
                self.session.put(frame(RESPONSE, self.number, wire))
                self.awaitLink()

    def respond(self, head: ResponseHead) -> None:
        if self.isOpen and not self._status:
            wire = head.encode()
            if not self._fits(wire):
                return
            status = self._status = head.status
            self.deadline = 0.0
            self._bodyless = status in (204, 304) or self.head.method == b"HEAD"
            self.session.putHead(self, frame(RESPONSE, self.number, wire))

    def _fits(self, wire: bytes) -> bool:
        """
        Say whether the proxy takes a head, or trailers; if not, the response is broken off.
        """
        most = self.session.mostHead
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
            _log.info(
                "{method} {target}: {fault}",
                method=self.head.method.decode(),
                target=self.head.target.decode(),
                fault=fault,
            )
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
            self.session.startClock(self)
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
                checkTrailers(trailers, _LIMITS)
            except Fault as fault:
                upload = self.upload
                self.fail(fault)
                self.abort(upload, fault)
                return
        self._requestEnded = True
        self.endRequest(trailers)
        if self._isEnded and not self._queued:
            self.close()

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


class AgentSession(Session[AgentStream]):
    """
    One tunnel to the proxy.

    @ivar mostHead: how many bytes the head of a response may have.
    @ivar ready: fires when exchanges may come, or fails with why they never will.
    @ivar left: fires with a reason when no new exchanges come any more.
    @ivar gone: fires when the tunnel is over.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wheel: Wheel,
        origin: IOrigin,
        settings: AgentSettings,
        instance: str,
        slot: int,
    ) -> None:
        """
        @param clock: what tells the time.
        @param wheel: what watches the deadlines.
        @param origin: what answers the requests.
        @param settings: times and bounds, and what to change about requests.
        @param instance: names this run of the agent.
        @param slot: which of its tunnels this is.
        """
        hello = Hello(
            instance=instance,
            slot=slot,
            window=INITIAL,
            streams=max(1, settings.maxExchanges // settings.connections),
            head=_LIMITS.head,
        )
        super().__init__(
            clock, turnOf(clock), wheel, hello, isClient=True, timeout=settings.linkTimeout
        )
        self.mostHead = 0
        self.ready: Deferred[None] = Deferred(lambda _: self.life.drain())
        self.left: Deferred[str] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self._upload: IUpload = DISCARD
        self._origin = origin
        self._settings = settings
        self._adapts = settings.adaptsRequests()

    def begin(self, upload: IUpload) -> None:
        """
        Begin: the proxy has agreed to a tunnel.

        @param upload: the way to the proxy.
        """
        self._upload = upload
        self.connected()

    def writeLink(self, data: bytes) -> None:
        self._upload.write(data)

    def closeLink(self) -> None:
        self._upload.finish()

    def abortLink(self) -> None:
        upload, self._upload = self._upload, DISCARD
        upload.abort(Fault(CLIENT_GONE))

    # Exchanges.

    def requestReceived(self, number: int, flags: int, payload: bytes) -> None:
        if number <= self.last:
            raise FrameError(f"a REQUEST for stream {number} after one for stream {self.last}")
        outer, wire = parseRequestPayload(payload)
        self.last = number
        if not self.isReady:
            return  # it was sent before our GOAWAY came there, which names it as not begun
        if len(self.streams) >= self.hello.streams:
            raise FrameError(f"more than {self.hello.streams} streams at once")
        try:
            head = parseRequest(wire, _LIMITS, needsHost=False)
        except Fault as fault:
            # The proxy and we do not agree on what a request is: that concerns this one alone.
            _log.warn("the proxy sent a request that is none: {fault}", fault=fault)
            text = f"{fault.code.name} {fault.detail}".encode()[:1000]
            self.put(frame(RESET, number, text, LAST))
            return
        settings = self._settings
        stream = AgentStream(self, number, head)
        self.streams[number] = stream
        if self._adapts:
            endUser = value(outer, USER_ID) or b"" if settings.forwardUserID else b""
            stream.head = head = adapt(head, endUser, settings)
        if settings.originTimeout:
            self.startClock(stream)
        try:
            upload = self._origin.open(head, stream)
        except Fault as fault:
            stream.fail(fault)
            return
        except Exception:
            _log.failure(
                "the origin failed on {method} {target}", method=head.method, target=head.target
            )
            stream.fail(Fault(INTERNAL))
            return
        if not stream.isOpen:
            if not stream.isAnswered():
                stream.abort(upload, Fault(CLIENT_GONE))
        else:
            stream.attach(upload)
            if flags & LAST:
                stream.deliverEnd(b"")
            elif head.framing == 0:
                stream.endRequest()  # after an upgrade there may be more

    def startClock(self, stream: AgentStream) -> None:
        """
        Give the origin its time to begin its answer, from now on.
        """
        timeout = self._settings.originTimeout
        if timeout:
            stream.deadline = self.clock.seconds() + timeout
            self._wheel.watch(self, stream.deadline)

    def checkDeadline(self, now: float) -> float:
        when = super().checkDeadline(now)
        timeout = self._settings.originTimeout
        if not timeout or not when:
            return when
        for stream in list(self.streams.values()):
            if stream.deadline and now >= stream.deadline:
                upload = stream.upload
                stream.fail(Fault(ORIGIN_TIMEOUT, f"no answer in {timeout:g} s"))
                stream.abort(upload, Fault(ORIGIN_TIMEOUT))
            elif stream.deadline:
                when = min(when, stream.deadline)
        return when

    def cut(self) -> int:
        """
        Break off what is still open.

        @return: how many streams that were.
        """
        streams = list(self.streams.values())
        for stream in streams:
            stream.reset(Fault(DRAINING))
            stream.giveUp(Fault(DRAINING))
        return len(streams)

    # The life of the tunnel.

    def opened(self) -> None:
        assert self.peer is not None
        self.mostHead = self.peer.head
        self.ready.callback(None)

    def dismissed(self, last: int) -> None:
        self._leave("the proxy is stopping")

    def ended(self, reason: str, streams: list[AgentStream]) -> None:
        for stream in streams:
            stream.giveUp(Fault(AGENT_LOST, reason))
        if not self.ready.called:
            self.ready.errback(TunnelLost(reason, self.closeCode))
        self._leave(reason)
        if not self.gone.called:
            self.gone.callback(None)

    def _leave(self, reason: str) -> None:
        if not self.left.called:
            self.left.callback(reason)


class TunnelLost(Exception):
    """
    A tunnel came to an end before it was ready; the text says why.

    @ivar code: the close code, or 0.
    """

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class TunnelRefused(Exception):
    """
    What answered the handshake does not know tunnels, or whoever stands between does not let them pass.

    @ivar status: the status of the answer.
    @ivar fields: its fields, as a block.
    @ivar body: its body.
    """

    def __init__(self, status: int, fields: bytes, body: bytes, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.fields = fields
        self.body = body


class TunnelCall(Call):
    """
    C{agent/tunnel}: the handshake, and then the link of a session.
    """

    __slots__ = ("_body", "_handshake", "_head", "_isTunnel", "_session", "refused")

    def __init__(self, session: AgentSession, handshake: ClientHandshake) -> None:
        """
        @param session: what to begin.
        @param handshake: what to say.
        """
        super().__init__()
        self._session = session
        self._handshake = handshake
        self._head: ResponseHead | None = None
        self._isTunnel = False
        self._body = bytearray()
        self.refused: Callable[[Exception], None] = lambda error: None

    def begin(self, client: IOrigin, refused: Callable[[Exception], None]) -> None:
        """
        Make the call.

        @param client: the client of the proxy.
        @param refused: called with a L{TunnelRefused} or L{Fault} if there will be no tunnel.
        """
        self.refused = refused
        self.open(client, self._handshake.head)
        self.upload.finish()

    def respond(self, head: ResponseHead) -> None:
        self._head = head
        if head.status != 101:
            return
        try:
            self._handshake.check(head)
        except HandshakeError as error:
            self.upload.abort(Fault(CLIENT_GONE))
            self.refused(TunnelRefused(101, head.fields, b"", str(error)))
        else:
            self._isTunnel = True
            self._session.begin(self.upload)

    def write(self, data: bytes) -> None:
        if self._isTunnel:
            self._session.bytesReceived(data)
        elif len(self._body) < _MOST_ANSWER:
            self._body += data

    def finish(self, trailers: bytes = b"") -> None:
        if self._isTunnel:
            self._session.linkEnded("the proxy closed the connection")
        elif self._head is not None:
            status = self._head.status
            self.refused(
                TunnelRefused(status, self._head.fields, bytes(self._body), f"it answered {status}")
            )

    def fail(self, fault: Fault) -> None:
        if self._isTunnel:
            self._session.linkLost(fault.detail or fault.code.sentence)
        else:
            self.refused(fault)

    def pauseUpload(self) -> None:
        self._session.pauseSending()

    def resumeUpload(self) -> None:
        self._session.resumeSending()
