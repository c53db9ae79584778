"""
The poll carrier's way of taking one exchange to an agent: the call that fetches its request, and the call that
brings its response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, cast

from zope.interface import implementer

from invproxy.clocks import FETCHED
from invproxy.credential import Credential
from invproxy.discard import Discard
from invproxy.errors import CODES, INTERNAL, ORIGIN_BAD_RESPONSE, Fault
from invproxy.exchange import Exchange
from invproxy.http1.fields import value
from invproxy.http1.framing import CHUNKED, lastChunk
from invproxy.http1.heads import RequestHead, ResponseHead, responseHead
from invproxy.http1.limits import Limits
from invproxy.http1.readers import ResponseReader
from invproxy.interfaces import IAnswer, IUpload
from invproxy.proxy.links import Links
from invproxy.proxy.streams import answerAtOnce
from invproxy.wire.poll import (
    AGENTS_CODES,
    ERROR,
    INTERIM,
    OUR_FEATURES,
    REQUEST_ID,
    START_TIME,
    UPGRADE,
    USER_ID,
    features,
    formatTime,
)

_CONTINUE = ResponseHead(100, b" Continue")


@implementer(IUpload)
class PollCarriage:
    """
    One exchange on its way through the poll carrier: to the exchange, where the body of its request goes.

    @cvar kind: what carriers of this kind are called.
    @ivar request: the head as the agent gets it.
    """

    kind: ClassVar[str] = "poll"

    __slots__ = (
        "_credentials",
        "_exchange",
        "_fetching",
        "_isOurs",
        "_paused",
        "_response",
        "_unlinks",
        "request",
    )

    def __init__(self, exchange: Exchange) -> None:
        """
        @param exchange: what is carried.
        """
        self.request = exchange.head
        self._exchange = exchange
        self._fetching: IAnswer | None = None
        self._response: ResponseCall | None = None
        self._paused = False
        self._isOurs = False
        self._credentials: tuple[Credential, ...] = ()
        self._unlinks: tuple[Callable[[], None], ...] = ()

    def link(self, links: Links, credential: Credential) -> None:
        """
        Take note in whose name a call comes: when that is not good any more, the exchange has lost its agent.

        @param links: all live links.
        @param credential: in whose name.
        """
        if credential not in self._credentials:
            self._credentials += (credential,)
            self._unlinks += (links.add(credential, self._cut),)

    def _cut(self, why: str) -> None:
        self._unlink()
        if cast(object, self._exchange.carrier) is self:
            self._exchange.loseAgent()

    def _unlink(self) -> None:
        unlinks, self._unlinks = self._unlinks, ()
        for unlink in unlinks:
            unlink()

    def fetch(self, answer: IAnswer, call: RequestHead, *, streams: bool) -> IUpload:
        """
        Send the request as the answer to an C{agent/request} call.

        @param answer: the answer to the call.
        @param call: the head of the call.
        @param streams: whether answers go out as they are written, without which our additions can't work.
        @return: what the call's connection tells its loss and its pace.
        """
        exchange = self._exchange
        known = features(call.fields) if streams else frozenset()
        request = exchange.head
        grantsLeave = request.expectsContinue and INTERIM not in known
        if grantsLeave:
            request = request.withoutExpect()
        if request.upgrade is not None and UPGRADE not in known:
            request = request.withoutUpgrade()
        self.request = request
        inner = request.encode()
        length = None
        if request.framing != CHUNKED and request.upgrade is None:
            length = len(inner) + request.framing
        block = b"\r\n%b: %b\r\n%b: %b\r\n%b: %b%b" % (
            REQUEST_ID,
            exchange.id.encode("ascii"),
            USER_ID,
            exchange.endUser.encode("utf-8", "surrogateescape"),
            START_TIME,
            formatTime(exchange.began),
            OUR_FEATURES if streams else b"",
        )
        self._fetching = answer
        answer.respond(responseHead(200, b"OK", block, length=length))
        answer.write(inner)
        self._isOurs = bool(known)
        exchange.fetch(self, bringsLifeline=self._isOurs)
        if grantsLeave:
            exchange.inform(_CONTINUE)
        return _FetchCall(self, exchange, answer)

    def fetchLost(self, answer: IAnswer) -> None:
        """
        Take note that the call broke before the request was sent to its end.
        """
        if self._fetching is not answer:
            return
        self._fetching = None
        exchange = self._exchange
        if exchange.state == FETCHED and self._response is None:
            self._unlink()  # whoever fetches it next has another carriage
            exchange.breakFetch()
        elif exchange.state == FETCHED or exchange.upgraded:
            exchange.loseAgent()
        else:
            exchange.resumeUpload()  # the response goes on without the rest of the request

    # What the exchange sends.

    def write(self, data: bytes) -> None:
        if self._fetching is None:
            return
        if self.request.framing == CHUNKED:
            self._fetching.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._fetching.write(data)

    def finish(self, trailers: bytes = b"") -> None:
        if self._fetching is None or (
            self.request.upgrade is not None and not self._exchange.upgraded
        ):
            return  # a request that asks for an upgrade stays open: its call will be the way towards the backend
        if self.request.framing == CHUNKED:
            self._fetching.write(lastChunk(trailers))
        self._endFetch()

    def _endFetch(self) -> None:
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            fetching.finish()
        if self._exchange.upgraded and self._response is None:
            self._unlink()

    def abort(self, fault: Fault) -> None:
        self._unlink()
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            fetching.fail(fault)
        response, self._response = self._response, None
        if response is not None:
            response.dismiss()

    def pauseAnswer(self) -> None:
        self._paused = True
        if self._response is not None:
            self._response.answer.pauseUpload()

    def resumeAnswer(self) -> None:
        self._paused = False
        if self._response is not None:
            self._response.answer.resumeUpload()

    # The call that brings the response.

    def respond(self, answer: IAnswer, call: RequestHead, limits: Limits) -> IUpload:
        """
        Take an C{agent/response} call: the lifeline of the exchange, and then the way of its response. A second call
        replaces one that has brought nothing yet: it is a repetition, or reports an error.

        @param answer: the answer to the call.
        @param call: the head of the call.
        @param limits: bounds on the response.
        @return: where the body of the call goes.
        """
        exchange = self._exchange
        code = (value(call.fields, ERROR) or b"").decode("latin-1")
        if code in AGENTS_CODES:
            exchange.fail(Fault(CODES[code], "as the agent says"))
            return answerAtOnce(call, answer, 200, b"OK")
        replaced, self._response = (
            self._response,
            ResponseCall(self, exchange, answer, call, limits),
        )
        if replaced is not None:
            replaced.dismiss()
        exchange.holdLine()
        if self._paused:
            answer.pauseUpload()
        return self._response

    def responseEnded(self) -> None:
        """
        Take note that the response has been passed on to its end.
        """
        response, self._response = self._response, None
        if response is not None and self._paused:
            response.answer.resumeUpload()  # the call itself has still to come to its end
        if self._exchange.upgraded:
            if self._fetching is None:
                self._unlink()
            return
        self._unlink()
        if self.request.upgrade is not None:
            self._endFetch()
        else:
            self.abort(Fault(INTERNAL, "answered before the request had come to its end"))

    def responseLost(self, call: ResponseCall) -> None:
        """
        Take note that the call broke, and with it the agent; but the original makes the call again.
        """
        if self._response is call:
            self._response = None
            if self._isOurs or self._exchange.isAnswered():
                self._exchange.loseAgent()
            else:
                self._exchange.loseLine()


@implementer(IUpload)
class _FetchCall(Discard):
    """
    An C{agent/request} call, as its connection sees it.
    """

    __slots__ = ("_answer", "_carriage", "_exchange")

    def __init__(self, carriage: PollCarriage, exchange: Exchange, answer: IAnswer) -> None:
        self._carriage = carriage
        self._exchange = exchange
        self._answer = answer

    def abort(self, fault: Fault) -> None:
        self._carriage.fetchLost(self._answer)

    def pauseAnswer(self) -> None:
        self._exchange.pauseUpload()

    def resumeAnswer(self) -> None:
        self._exchange.resumeUpload()


@implementer(IUpload)
class ResponseCall(Discard):
    """
    An C{agent/response} call, as its connection sees it.

    @ivar answer: the answer to the call.
    """

    __slots__ = ("_call", "_carriage", "_dismissed", "_exchange", "_reader", "answer")

    def __init__(
        self,
        carriage: PollCarriage,
        exchange: Exchange,
        answer: IAnswer,
        call: RequestHead,
        limits: Limits,
    ) -> None:
        self.answer = answer
        self._call = call
        self._carriage = carriage
        self._exchange = exchange
        self._reader = ResponseReader(limits, carriage.request, exchange)
        self._dismissed = False

    def write(self, data: bytes) -> None:
        # What follows a response is not looked at: the original frames even the empty body of a 204.
        if not (self._dismissed or self._reader.ended):
            self._read(data)

    def _read(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except Fault as fault:
            self._refuse(fault)
        else:
            if self._reader.ended:
                self._carriage.responseEnded()

    def finish(self, trailers: bytes = b"") -> None:
        if self._dismissed:
            return
        ended = self._reader.ended
        if not self._reader.eof():
            self._refuse(Fault(ORIGIN_BAD_RESPONSE, "the response ended half way"))
            return
        if not ended:
            self._carriage.responseEnded()
        self._dismissed = True
        answerAtOnce(self._call, self.answer, 200, b"OK")

    def _refuse(self, fault: Fault) -> None:
        self._dismissed = True
        self._exchange.fail(Fault(ORIGIN_BAD_RESPONSE, fault.detail))
        answerAtOnce(self._call, self.answer, 400, b"Bad Request", fault.detail.encode("utf-8"))

    def abort(self, fault: Fault) -> None:
        if not self._dismissed and not self._reader.ended:
            self._dismissed = True
            self._carriage.responseLost(self)

    def dismiss(self) -> None:
        """
        Tell the agent that its response is not wanted any more.
        """
        if not self._dismissed and not self._reader.ended:
            self._dismissed = True
            answerAtOnce(self._call, self.answer, 404, b"Not Found")
