"""
The agent's side of the tunnel: exchanges come as streams of one connection, and are replayed to the origin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from invproxy.agent.adaptation import adapt, dropOwn
from invproxy.agent.calls import Call
from invproxy.agent.failures import Failures
from invproxy.agent.settings import AgentSettings
from invproxy.agent.tunnelstream import AgentStream
from invproxy.deadlines import Deadlines
from invproxy.discard import DISCARD
from invproxy.errors import (
    AGENT_LOST,
    CLIENT_GONE,
    DRAINING,
    INTERNAL,
    ORIGIN_TIMEOUT,
    Fault,
)
from invproxy.http1.fields import value
from invproxy.http1.heads import ResponseHead
from invproxy.http1.limits import WIDE_LIMITS
from invproxy.http1.marks import OWN
from invproxy.http1.parsing import RequestParser
from invproxy.interfaces import IOrigin, IUpload
from invproxy.tunnel.session import Session
from invproxy.turn import turnOf
from invproxy.wire.frames import (
    GOAWAY,
    LAST,
    MOST_STREAMS,
    RESET,
    FrameError,
    frame,
    numberFrame,
    parseRequestPayload,
)
from invproxy.wire.handshake import ClientHandshake, HandshakeError
from invproxy.wire.hello import Hello
from invproxy.wire.poll import USER_ID
from invproxy.wire.windows import INITIAL

_log = Logger(namespace="invproxy.agent")

_HEARING: Final = 2.0
"""Seconds for which an agent that has nothing left to do waits until its proxy has heard that it stops."""

_MOST_ANSWER: Final = 1 << 20
"""Bytes that are read of an answer that is no tunnel."""


class AgentSession(Session[AgentStream]):
    """
    One tunnel to the proxy.

    @ivar mostHead: how many bytes the head of a response may have.
    @ivar ready: fires when exchanges may come, or fails with why they never will.
    @ivar left: fires with a reason when no new exchanges come any more.
    @ivar gone: fires when the tunnel is over.
    @ivar isDismissed: whether the proxy has said GOAWAY.
    @ivar failures: takes note of it if the origin fails.
    """

    def __init__(
        self,
        clock: IReactorTime,
        deadlines: Deadlines,
        origin: IOrigin,
        settings: AgentSettings,
        instance: str,
        slot: int,
        failures: Failures | None = None,
    ) -> None:
        """
        @param clock: what tells the time.
        @param deadlines: what watches the deadlines.
        @param origin: what answers the requests.
        @param settings: times and bounds, and what to change about requests.
        @param instance: names this run of the agent.
        @param slot: which of its tunnels this is.
        @param failures: takes note of it if the origin fails; by default this tunnel does so for itself.
        """
        hello = Hello(
            instance=instance,
            slot=slot,
            window=INITIAL,
            streams=max(1, settings.maxExchanges // settings.connections),
            head=WIDE_LIMITS.head,
        )
        super().__init__(
            clock, turnOf(clock), deadlines, hello, isClient=True, timeout=settings.linkTimeout
        )
        self.mostHead = 0
        self.ready: Deferred[None] = Deferred(lambda _: self.life.drain())
        self.left: Deferred[str] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self.isDismissed = False
        self.failures = failures or Failures(clock)
        self._goodbye = 0  # the ping whose answer says that the proxy knows that we stop
        self._hearing: IDelayedCall | None = None
        self._upload: IUpload = DISCARD
        self._origin = origin
        self._settings = settings
        self._adapts = settings.adaptsRequests()
        self._parser = RequestParser(WIDE_LIMITS, needsHost=False)

    def begin(self, upload: IUpload) -> None:
        """
        Begin: the proxy has agreed to a tunnel.

        @param upload: the way to the proxy.
        """
        self.outbox.link = self._upload = upload
        self.connected()

    def abortLink(self) -> None:
        upload, self._upload = self._upload, DISCARD
        self.outbox.link = DISCARD
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
            head = self._parser.parse(wire)
        except Fault as fault:
            # The proxy and we do not agree on what a request is: that concerns this one alone.
            _log.warn("the proxy sent a request that is none: {fault}", fault=fault)
            text = f"{fault.code.name} {fault.detail}".encode()[:1000]
            self.outbox.put(frame(RESET, number, text, LAST))
            return
        if head.marks & OWN:
            head.fields = dropOwn(head.fields)
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
            self._deadlines.watch(self, stream.deadline)

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
        self._endTaking()
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

    def sayGoAway(self) -> None:
        # Requests may be under way to us, and large bodies of which the proxy has nothing any more. So it hears first
        # that there should be no more of them, and when it has heard that, what came until then was all.
        self.outbox.put(numberFrame(GOAWAY, 0, MOST_STREAMS, b"stopping"))
        self._ping()
        self._goodbye = self.pulse.pings.sent
        self._hearing = self.clock.callLater(_HEARING, self._checkHearing)

    def ponged(self, payload: bytes) -> None:
        super().ponged(payload)
        if self._goodbye and self.pulse.pings.answered >= self._goodbye:
            self._endTaking()

    def _checkHearing(self) -> None:
        self._hearing = None
        if self.streams:
            # They take their time anyway.
            self._hearing = self.clock.callLater(_HEARING, self._checkHearing)
        else:
            self._endTaking()

    def _endTaking(self) -> None:
        """
        Take no streams any more, if we are stopping.
        """
        if self._goodbye:
            self._forgetGoodbye()
            super().sayGoAway()

    def _forgetGoodbye(self) -> None:
        self._goodbye = 0
        if self._hearing is not None:
            self._hearing.cancel()
            self._hearing = None

    def dismissed(self, last: int) -> None:
        self._endTaking()  # nothing more will come, either
        self.isDismissed = True
        self._leave("the proxy is stopping")

    def ended(self, reason: str, streams: list[AgentStream]) -> None:
        self._forgetGoodbye()
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
        self._session.outbox.pause()

    def resumeUpload(self) -> None:
        self._session.outbox.resume()
