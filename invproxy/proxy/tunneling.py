"""
The proxy's side of the tunnel: one session for each, which takes the exchanges of its backend as they come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from invproxy.clocks import RESPONDING
from invproxy.credential import Credential
from invproxy.deadlines import Deadlines
from invproxy.errors import (
    AGENT_LOST,
    HEAD_TOO_LARGE,
    ORIGIN_BAD_RESPONSE,
    Fault,
)
from invproxy.exchange import Exchange
from invproxy.http1.framing import checkTrailers
from invproxy.http1.heads import RequestHead
from invproxy.http1.limits import Limits
from invproxy.http1.parsing import ResponseParser
from invproxy.interfaces import IAnswer, IExchange, ITaker, IUpload
from invproxy.mailbox import Mailbox
from invproxy.proxy.polling import AgentResource
from invproxy.proxy.streams import answerAtOnce
from invproxy.proxy.tunnels import Tunnels
from invproxy.tunnel.life import REPLACED, UNAUTHORIZED
from invproxy.tunnel.session import Session
from invproxy.tunnel.stream import Stream
from invproxy.turn import turnOf
from invproxy.wire.frames import LAST, MOST_STREAMS, FrameError, requestFrame
from invproxy.wire.handshake import accept, claimOf
from invproxy.wire.hello import Hello
from invproxy.wire.poll import AGENTS_CODES, OUR_FEATURES, REQUEST_ID, USER_ID
from invproxy.wire.windows import INITIAL

_log = Logger(namespace="invproxy.proxy")

_AGENTS_CODES: Final = AGENTS_CODES | {
    "internal",
    "bad-request",
    "body-too-large",
    "target-too-long",
    "head-too-large",
    "expectation-failed",
    "not-implemented",
}
"""Why an origin may have refused a request, as the code of a RESET; with any other, the agent is taken for lost."""

_MOST_OUTER: Final = 0xFFFF
"""Bytes that the fields about an exchange may have, by their length field."""

_OUTER: Final = b"\r\n" + REQUEST_ID + b": "
_USER: Final = b"\r\n" + USER_ID + b": "


@implementer(IUpload)
class ProxyStream(Stream):
    """
    One exchange in a tunnel: where the body of its request goes, and whence its response comes.

    @cvar kind: what carriers of this kind are called.
    @ivar exchange: the exchange.
    @ivar isBegun: whether the agent has shown that it works on it.
    """

    kind: ClassVar[str] = "tunnel"

    __slots__ = (
        "_interims",
        "_isAnswered",
        "_left",
        "_requestEnded",
        "_responseEnded",
        "_tunnel",
        "exchange",
        "isBegun",
    )

    def __init__(self, session: ProxySession, number: int, exchange: Exchange) -> None:
        super().__init__(session, number)
        self._tunnel = session
        self.exchange = exchange
        self.isBegun = False
        self._interims = 0
        self._isAnswered = False
        self._left = -1
        self._requestEnded = False
        self._responseEnded = False

    # What the exchange sends.

    def write(self, data: bytes) -> None:
        if self.isOpen:
            self.send(data)

    def finish(self, trailers: bytes = b"") -> None:
        head = self.exchange.head
        if not self.isOpen or (
            # Its end went out along with the head; or it stays open, as it asks for an upgrade.
            head.framing == 0 and not self.exchange.upgraded
        ):
            return
        peer = self.session.peer
        assert peer is not None
        if len(trailers) > peer.head:
            self.exchange.fail(Fault(HEAD_TOO_LARGE, "trailers larger than the agent takes"))
        else:
            self.sendLast(trailers)

    def abort(self, fault: Fault) -> None:
        self.reset(fault)

    def pauseAnswer(self) -> None:
        self.hold()

    def resumeAnswer(self) -> None:
        self.release()

    def pauseSource(self) -> None:
        self.exchange.pauseUpload()

    def resumeSource(self) -> None:
        self.exchange.resumeUpload()

    def lastSent(self) -> None:
        self._requestEnded = True
        if self._responseEnded:
            self.close()

    # What the agent sends.

    def receiveResponse(self, payload: bytes, flags: int) -> None:
        exchange = self.exchange
        self.isBegun = True
        if self._isAnswered:
            raise FrameError(f"a second final RESPONSE on stream {self.number}")
        request = exchange.head
        try:
            head = self._tunnel.parser.parse(payload, request.method, request.upgrade is not None)
        except Fault as fault:
            self._refuse(fault.detail)
            return
        if head.status < 200 and head.status != 101:
            if flags & LAST:
                raise FrameError(f"an interim RESPONSE as the last on stream {self.number}")
            self._interims += 1
            most = self._tunnel.limits.interims
            if self._interims > most:
                self._refuse(f"more than {most} interim responses")
            elif (
                not self._isHeld or head.status == 100
            ):  # else the client does not keep up with them
                exchange.inform(head)
            return
        self._isAnswered = True
        self._left = -1 if head.status == 101 else head.framing
        exchange.respond(head)
        if flags & LAST and self.isOpen:
            self.deliverEnd(b"")

    def _refuse(self, detail: str) -> None:
        fault = Fault(ORIGIN_BAD_RESPONSE, detail)
        self.reset(fault)
        self.exchange.fail(fault)

    def addCredit(self, credit: int) -> None:
        self.isBegun = True
        super().addCredit(credit)

    def deliver(self, data: bytes) -> None:
        if not self._isAnswered or self._responseEnded:
            where = "before" if not self._isAnswered else "behind the end of"
            raise FrameError(f"DATA {where} a RESPONSE on stream {self.number}")
        if self._left >= 0:
            self._left -= len(data)
            if self._left < 0:
                self._refuse("a response longer than its Content-Length")
                return
        self.exchange.write(data)

    def deliverEnd(self, trailers: bytes) -> None:
        if not self._isAnswered or self._responseEnded:
            what = (
                "the end of a response before its head" if not self._isAnswered else "a second end"
            )
            raise FrameError(f"{what} on stream {self.number}")
        exchange = self.exchange
        if self._left > 0:
            self._refuse("a response shorter than its Content-Length")
            return
        if trailers:
            try:
                checkTrailers(trailers, self._tunnel.limits)
            except Fault as fault:
                self._refuse(fault.detail)
                return
        self._responseEnded = True
        if self._requestEnded or not exchange.upgraded:
            self.close()
        exchange.finish(trailers)

    def deliverReset(self, fault: Fault) -> None:
        exchange = self.exchange
        if fault.code.name in _AGENTS_CODES:
            exchange.fail(Fault(fault.code, "as the agent says"))
        elif exchange.state == RESPONDING:
            exchange.fail(Fault(AGENT_LOST, "the agent gave it up"))
        else:
            exchange.loseAgent()


@implementer(IUpload, ITaker)
class ProxySession(Session[ProxyStream]):
    """
    One tunnel. To its connection it is where the bytes of the agent go.

    @ivar mailbox: that of the backend that the agent serves.
    @ivar credential: in whose name it stands.
    @ivar limits: bounds on responses.
    @ivar parser: parses their heads.
    @ivar unlink: takes note that it is over, if anybody wants to know.
    """

    unlink: Callable[[], None] | None = None

    def __init__(
        self,
        tunnels: Tunnels,
        mailbox: Mailbox,
        credential: Credential,
        answer: IAnswer,
        clock: IReactorTime,
        deadlines: Deadlines,
        limits: Limits,
        timeout: float,
    ) -> None:
        """
        @param tunnels: all of this proxy.
        @param mailbox: that of the backend that the agent serves.
        @param credential: in whose name it stands.
        @param answer: the answer to the call that became the tunnel, a 101.
        @param clock: what tells the time.
        @param deadlines: what watches the deadlines.
        @param limits: bounds on responses.
        @param timeout: seconds without a sign of life after which the link is dead.
        """
        hello = Hello(
            node=tunnels.node, window=INITIAL, head=max(limits.head, limits.trailers) + 1024
        )
        super().__init__(clock, turnOf(clock), deadlines, hello, isClient=False, timeout=timeout)
        self.mailbox = mailbox
        self.credential = credential
        self.limits = limits
        self.parser = ResponseParser(limits)
        self.outbox.link = self._answer = answer
        self._tunnels = tunnels
        self._agent = getattr(answer.peer.address, "host", "a UNIX socket")
        self._callEnded = False
        self._mostStreams = 0

    # What its connection tells.

    def write(self, data: bytes) -> None:
        self.bytesReceived(data)

    def finish(self, trailers: bytes = b"") -> None:
        if self._callEnded:
            self.linkEnded("the agent closed the connection")
        self._callEnded = True

    def abort(self, fault: Fault) -> None:
        self.linkLost("the connection broke")

    def pauseAnswer(self) -> None:
        self.outbox.pause()

    def resumeAnswer(self) -> None:
        self.outbox.resume()
        if self.isReady:
            self.mailbox.distribute()

    def abortLink(self) -> None:
        self._answer.fail(Fault(AGENT_LOST))

    # What its mailbox wants.

    def hasRoom(self) -> bool:
        return self.isReady and not self.outbox.isPaused and len(self.streams) < self._mostStreams

    def room(self) -> tuple[int, int]:
        """
        Tell how many exchanges it has, and how many its agent takes at once; 0 before that is known.
        """
        return len(self.streams), self._mostStreams

    def take(self, exchange: IExchange) -> None:
        assert isinstance(exchange, Exchange)
        number = self.last = self.last + 1
        if number >= MOST_STREAMS:
            self.clock.callLater(0, self.life.drain)
        outer = _OUTER + exchange.id.encode("ascii")
        if exchange.endUser:
            outer += _USER + exchange.endUser.encode("utf-8", "surrogateescape")
        head = exchange.head
        assert self.peer is not None
        wire = head.encode()
        if len(outer) > _MOST_OUTER or len(outer) + len(wire) + 2 > self.peer.head:
            exchange.fail(Fault(HEAD_TOO_LARGE, "larger than the agent takes"))
            return
        isWhole = head.framing == 0 and head.upgrade is None
        stream = self.streams[number] = ProxyStream(self, number, exchange)
        self.outbox.put(requestFrame(number, outer, wire, LAST if isWhole else 0))
        exchange.take(stream)

    def forget(self, stream: Stream) -> None:
        streams = self.streams
        wasFull = len(streams) == self._mostStreams
        streams.pop(stream.number, None)
        if not self.isReady:
            super().forget(stream)
        elif wasFull:
            self.mailbox.distribute()

    # What happens to it.

    def opened(self) -> None:
        assert self.peer is not None
        self._mostStreams = self.peer.streams
        before = self._tunnels.admit(self)
        if before is not None:
            # First, so that what it had can go on here at once.
            self.mailbox.leave(before)
        self.mailbox.join(self)
        if before is not None:
            before.life.close(REPLACED, "replaced by a newer tunnel of the same agent")

    def dismissed(self, last: int) -> None:
        self.mailbox.leave(self)
        for stream in [stream for number, stream in self.streams.items() if number > last]:
            stream.close()
            if stream.isBegun:  # whatever it says now
                self._giveUp(stream, stream.exchange.loseAgent)
            else:
                self._giveUp(stream, stream.exchange.refuse)

    def sayGoAway(self) -> None:
        self.mailbox.leave(self)
        super().sayGoAway()

    def cut(self, why: str) -> None:
        """
        Close it: its agent's credential is not good any more.

        @param why: what the agent is told.
        """
        self.life.close(UNAUTHORIZED, why)

    def ended(self, reason: str, streams: list[ProxyStream]) -> None:
        if self.unlink is not None:
            self.unlink()
        self._tunnels.forget(self)
        self.mailbox.leave(self)
        _log.info(
            "tunnel of {backend} from {agent} closed: {why}",
            backend=self.mailbox.backend,
            agent=self._agent,
            why=reason,
        )
        for stream in streams:
            self._giveUp(stream, stream.exchange.loseAgent)

    def _giveUp(self, stream: ProxyStream, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception:
            _log.failure("{exchange} could not be given up", exchange=stream.exchange)


class TunnelResource(AgentResource):
    """
    C{GET agent/tunnel}: become a tunnel.
    """

    tunnels: Tunnels

    def call(
        self, mailbox: Mailbox, head: RequestHead, answer: IAnswer, credential: Credential
    ) -> IUpload:
        if not answer.peer.streams:
            # A stock site: the agent will poll.
            return answerAtOnce(head, answer, 404, b"Not Found", block=OUR_FEATURES)
        self.checkUse(mailbox)
        accepted = accept(head)
        session = ProxySession(
            self.tunnels,
            mailbox,
            credential,
            answer,
            self._clock,
            self._deadlines,
            self._settings.limits,
            self._settings.linkTimeout,
        )
        self.tunnels.add(session, claimOf(head))
        if self._links is not None:
            session.unlink = self._links.add(credential, session.cut, session.life.drain)
        answer.respond(accepted)
        session.connected()
        return session
