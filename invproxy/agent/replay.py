"""
The agent's side of one exchange over the poll carrier: fetch its request, replay it to the origin, bring back the
response.

Three streams meet here, each with its own pace: the C{agent/request} call, whose answer is the request; the origin; and
the C{agent/response} call, whose body is the response, and which is open before the origin is asked: it is the lifeline
by which the proxy knows that we are at work.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from invproxy.agent.adaptation import adapt, dropOwn
from invproxy.agent.calls import FetchCall, PostCall, errorResponse
from invproxy.agent.failures import Failures
from invproxy.agent.link import ProxyLink
from invproxy.agent.peer import OriginalPeer
from invproxy.agent.settings import AgentSettings
from invproxy.discard import DISCARD
from invproxy.errors import (
    AGENT_LOST,
    CLIENT_GONE,
    INTERNAL,
    ORIGIN_BAD_RESPONSE,
    ORIGIN_TIMEOUT,
    Code,
    Fault,
)
from invproxy.http1.fields import value
from invproxy.http1.framing import CHUNKED, UNTIL_CLOSE, lastChunk
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import WIDE_LIMITS
from invproxy.http1.readers import RequestReader
from invproxy.interfaces import IAnswer, IOrigin, IPeer, IUpload
from invproxy.wire.poll import AGENTS_CODES, ERROR, INTERIM, UPGRADE, USER_ID, features

_log = Logger(namespace="invproxy.agent")

_TRIES = 3
"""How often a call is made that failed without harm."""

_FETCH_TIME = 10.0
"""Seconds, beyond those for a connection, within which the proxy must have sent the head of a request."""

_MOST_EARLY = 65536
"""Bytes that a client may send behind a request for an upgrade before they are held back."""


class _OriginSide:
    """
    Where the L{RequestReader} puts the body of a request.
    """

    __slots__ = ("_replay",)

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def write(self, data: bytes) -> None:
        self._replay.bodyReceived(data)

    def finish(self, trailers: bytes = b"") -> None:
        self._replay.upload.finish(dropOwn(trailers))


@implementer(IAnswer)
class Replay:
    """
    One exchange on the agent's side. It is also the answer that the origin gives (L{IAnswer}).

    @ivar identifier: the ID of the exchange.
    @ivar upload: where the body of the request goes: the origin's end.
    @ivar mayRepeat: once it has ended: whether it was broken off, and no harm is done if it begins anew.
    """

    peer: IPeer = FetchCall.peer

    def __init__(
        self,
        identifier: str,
        link: ProxyLink,
        origin: IOrigin,
        settings: AgentSettings,
        clock: IReactorTime,
        ended: Callable[[Replay], None],
        failures: Failures,
    ) -> None:
        """
        @param identifier: the ID of the exchange.
        @param link: the way to the proxy.
        @param origin: what answers the request.
        @param settings: what to change about requests.
        @param clock: what tells the time. L{checkDeadline} must be called every now and then.
        @param ended: called once when nothing is left to do.
        @param failures: takes note of it if the origin fails.
        """
        self.identifier = identifier
        self.upload: IUpload = DISCARD
        self.mayRepeat = False
        self._link = link
        self._origin = origin
        self._settings = settings
        self._clock = clock
        self._ended = ended
        self._failures = failures
        self._over = False
        # The request.
        self._fetch: FetchCall | None = None
        self._fetches = 0
        self._knowsInterim = self._knowsUpgrade = False
        self._endUser = b""
        # A client of HTTP/1.0 need not say a Host; then the origin's authority is it.
        self._reader = RequestReader(WIDE_LIMITS, self._opened, needsHost=False)
        self._head: RequestHead | None = None
        self._early = b""
        self._clientEnded = False
        # The response.
        self._post: PostCall | None = None
        self._posts = 0
        self._lifeline: PostCall | None = None
        self._report: Fault | None = None
        self._written = False
        self._status = 0
        self._framing = 0
        self._answerEnded = False
        self._held = False
        self._deadline = 0.0

    def begin(self) -> None:
        """
        Fetch the request.
        """
        self._fetches += 1
        self._deadline = self._clock.seconds() + self._settings.connectTimeout + _FETCH_TIME
        self._fetch = fetch = FetchCall(self)
        fetch.open(self._link.streaming, self._link.fetchCall(self.identifier))
        fetch.upload.finish()

    # The request, as the proxy sends it.

    def fetchAnswered(self, call: FetchCall, head: ResponseHead) -> bool:
        if call is not self._fetch:
            return False
        if head.status == 200:
            known = features(head.fields)
            self._knowsInterim, self._knowsUpgrade = INTERIM in known, UPGRADE in known
            self._endUser = value(head.fields, USER_ID) or b""
            return True
        fault = Fault(INTERNAL, f"the proxy answered {head.status}")
        if head.status >= 500:
            self.fetchFailed(call, fault)
            return False
        if head.status != 404:  # 404: the client is gone, or another agent was faster
            _log.warn("request {id} not fetched: {why}", id=self.identifier, why=fault.detail)
        self._fetch = None  # that call may end in good order, and its connection serve again
        self.giveUp(fault)
        return False

    def requestReceived(self, data: bytes) -> None:
        if self._over or self._report is not None:
            return
        if self._reader.ended:
            self._receiveBehind(data)
        else:
            try:
                self._reader.feed(data)
            except Fault as fault:
                _log.warn("the proxy sent a request that is none: {fault}", fault=fault)
                self._breakOff(fault)
            except Exception:
                _log.failure("the origin failed on the body of {id}", id=self.identifier)
                self._breakOff(Fault(INTERNAL))
            else:
                self._receiveBehind(self._reader.rest)
                self._reader.rest = b""

    def bodyReceived(self, data: bytes) -> None:
        """
        Pass on a piece of the request's body; the origin's time to answer begins with the last one.
        """
        self._restartClock()
        self.upload.write(data)

    def _breakOff(self, fault: Fault) -> None:
        self.upload.abort(fault)
        self.fail(fault)

    def _receiveBehind(self, data: bytes) -> None:
        """
        Take what follows the request: after an upgrade, or before an upgrade that may come.
        """
        if self._status == 101:
            self.upload.write(data)
        elif self._mayBeUpgraded():
            self._early += data
            if len(self._early) >= _MOST_EARLY and self._fetch is not None:
                self._fetch.upload.pauseAnswer()

    def requestEnded(self) -> None:
        if self._over:
            return
        if self._fetch is not None and not self._reader.ended:
            self.fetchFailed(self._fetch, Fault(AGENT_LOST, "the request ended half way"))
            return
        self._fetch = None
        self._clientEnded = True
        if self._status == 101:
            self.upload.finish()
            self._endIfDone()

    def fetchFailed(self, call: FetchCall, fault: Fault) -> None:
        if call is not self._fetch or self._over:
            return
        self._fetch = None
        call.abort()
        if self._answerEnded and self._status != 101:
            pass  # the rest of the request is of no interest
        elif self._head is None:
            if self._fetches < _TRIES and self._reader.atStart():
                self.begin()
            else:
                _log.warn("request {id} not fetched: {why}", id=self.identifier, why=fault.detail)
                self.giveUp(fault)
        elif not self._reader.ended or self._mayBeUpgraded():
            self.giveUp(fault)  # the client is gone

    def _mayBeUpgraded(self) -> bool:
        head = self._head
        return head is not None and head.upgrade is not None and self._status in (0, 101)

    def _opened(self, head: RequestHead) -> _OriginSide:
        self.peer = OriginalPeer.of(head)
        head.fields = dropOwn(head.fields)
        head = adapt(head, self._endUser, self._settings)
        if not self._knowsUpgrade:
            head.upgrade = None
        self._head = head
        self._restartClock()
        self._openPost()
        if not self._over:
            self._askOrigin(head)
        return _OriginSide(self)

    def _askOrigin(self, head: RequestHead) -> None:
        try:
            upload = self._origin.open(head, self)
        except Fault as fault:
            self.fail(fault)
        except Exception:
            _log.failure(
                "the origin failed on {method} {target}", method=head.method, target=head.target
            )
            self.fail(Fault(INTERNAL))
        else:
            if self._over:
                upload.abort(Fault(CLIENT_GONE))
            elif self._report is None and (not self._answerEnded or self._status == 101):
                self.upload = upload
                if self._held:
                    upload.pauseAnswer()
                if self._status == 101:
                    self._sendEarly()

    def _restartClock(self) -> None:
        if not self._settings.originTimeout:
            self._deadline = 0.0
        else:
            self._deadline = self._clock.seconds() + self._settings.originTimeout

    # The call that brings the response.

    def _openPost(self) -> None:
        self._posts += 1
        block = b""
        if self._report is not None:
            block = b"\r\n%b: %b" % (ERROR, self._report.code.name.encode("ascii"))
        self._post = post = PostCall(self)
        post.open(self._link.streaming, self._link.responseCall(self.identifier, block))
        if self._report is not None and post is self._post:
            self._sendReport(self._report.code)

    def postAnswered(self, call: PostCall, status: int) -> None:
        if call is not self._post or self._over:
            return
        if status >= 500 and self._mayPostAgain():
            self.postFailed(call, Fault(INTERNAL, f"the proxy answered {status}"))
            return
        if status not in (200, 404):  # 404: the client is gone
            _log.warn(
                "the proxy answered {status} to the response of {id}",
                status=status,
                id=self.identifier,
            )
        if self._answerEnded:
            self._post = None
            self._endIfDone()
        else:
            self.giveUp(Fault(CLIENT_GONE))

    def _mayPostAgain(self) -> bool:
        return self._posts < _TRIES and (self._report is not None or not self._written)

    def postFailed(self, call: PostCall, fault: Fault) -> None:
        """
        The call broke: make it again if nothing was sent on it yet, as with a kept connection that was dead, or if
        what was sent can be sent again.
        """
        if call is not self._post or self._over:
            return
        if not self._mayPostAgain():
            self.giveUp(fault)
            return
        call.abort()
        self._openPost()

    def postHolds(self, call: PostCall, held: bool) -> None:
        if call is self._post:
            self._held = held
            if held:
                self.upload.pauseAnswer()
            else:
                self.upload.resumeAnswer()

    # The answer of the origin.

    def identify(self, requestID: str, endUser: str = "") -> None:
        pass

    def inform(self, head: ResponseHead) -> None:
        if self._over or self._status:
            return
        self._restartClock()
        if self._knowsInterim:
            head.fields = dropOwn(head.fields)
            self._send(head.encode())

    def respond(self, head: ResponseHead) -> None:
        if self._status or self._over or self._head is None:
            return
        self._status = head.status
        if self._failures.isAway:
            self._failures.endAbsence()
        head.fields = dropOwn(head.fields)
        framing = head.framing
        if self._head.method == b"HEAD" or head.status in (204, 304):
            framing = 0
        elif head.status == 101:
            framing = UNTIL_CLOSE
        elif framing == UNTIL_CLOSE:
            framing = CHUNKED  # so that the end is visible
        self._framing = framing
        self._send(head.encode(b"\r\nTransfer-Encoding: chunked" if framing == CHUNKED else b""))
        if self._status == 101:
            self._sendEarly()

    def _sendEarly(self) -> None:
        """
        Send on what the client said before it knew of the upgrade.
        """
        if self.upload is DISCARD:
            return  # the origin answered before it had said where to
        early, self._early = self._early, b""
        if early:
            self.upload.write(early)
            if len(early) >= _MOST_EARLY and self._fetch is not None:
                self._fetch.upload.resumeAnswer()
        if self._clientEnded:
            self.upload.finish()

    def write(self, data: bytes) -> None:
        if data and self._framing:
            self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._framing == CHUNKED else data)

    def _send(self, data: bytes) -> None:
        if self._post is not None and not self._over:
            self._written = True
            self._post.upload.write(data)

    def finish(self, trailers: bytes = b"") -> None:
        if self._answerEnded or self._over or self._post is None:
            return
        self._answerEnded = True
        if self._framing == CHUNKED:
            self._send(lastChunk(dropOwn(trailers)))
        self._post.upload.finish()

    def fail(self, fault: Fault) -> None:
        if self._over or self._answerEnded:
            return
        self._failures.add(self._head, fault)
        self.upload = DISCARD
        if self._status and (self._status == 101 or not self._knowsInterim):
            self.giveUp(
                fault, mayRepeat=False
            )  # what the client has of the response must not look whole
            return
        if self._status and fault.code.name not in AGENTS_CODES:
            fault = Fault(ORIGIN_BAD_RESPONSE, fault.detail)  # or it would be read as a response
        self._framing = 0
        # In a call of its own, as the lifeline's head is long sent; or it is not even connected, and the proxy would
        # never hear of it. The lifeline stays open until that was heard, so that the proxy does not take us for dead.
        self._report = fault
        self._lifeline = self._post
        self._posts = 0
        self._openPost()

    def _sendReport(self, code: Code) -> None:
        """
        Tell the proxy why there is no response.
        """
        assert self._post is not None
        self._status = code.status
        self._answerEnded = True
        bodyless = self._head is not None and self._head.method == b"HEAD"
        self._send(errorResponse(code, bodyless=bodyless))
        self._post.upload.finish()

    def pauseUpload(self) -> None:
        if self._fetch is not None:
            self._fetch.upload.pauseAnswer()

    def resumeUpload(self) -> None:
        if self._fetch is not None:
            self._fetch.upload.resumeAnswer()

    # The end.

    def checkDeadline(self, now: float) -> None:
        """
        Act if the proxy, or the origin, has taken too long.

        @param now: the present time in seconds.
        """
        if not self._deadline or now < self._deadline or self._over or self._status:
            return
        if self._head is None:
            if self._fetch is not None:
                self.fetchFailed(self._fetch, Fault(INTERNAL, "the proxy did not answer"))
            return
        self._breakOff(Fault(ORIGIN_TIMEOUT, f"no answer in {self._settings.originTimeout:g} s"))

    def giveUp(self, fault: Fault, *, mayRepeat: bool = True) -> None:
        """
        Break everything off: towards the origin, and towards the proxy.

        @param mayRepeat: whether it was the link's fault, not the origin's.
        """
        if self._over:
            return
        self.mayRepeat = mayRepeat and (self._head is None or self._head.isReplayable())
        self.upload.abort(fault)
        self._end()

    def _endIfDone(self) -> None:
        if self._post is None and (self._status != 101 or self._fetch is None):
            self._end()

    def _end(self) -> None:
        self._over = True
        self.upload = DISCARD
        for call in (self._fetch, self._post, self._lifeline):
            if call is not None:
                call.abort()
        self._fetch = self._post = self._lifeline = None
        self._reader.drop()
        self._ended(self)
