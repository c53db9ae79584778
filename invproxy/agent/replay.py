"""
The agent's side of one exchange over the poll carrier: fetch its request, replay it to the origin, bring back the
response.

Three streams meet here, each with its own pace: the C{agent/request} call, whose answer is the request; the origin; and
the C{agent/response} call, whose body is the response, and which is open before the origin is asked: it is the lifeline
by which the proxy knows that we are at work.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from zope.interface import implementer

from invproxy.agent.link import ProxyLink
from invproxy.agent.settings import AgentSettings
from invproxy.discard import DISCARD
from invproxy.errors import AGENT_LOST, CLIENT_GONE, INTERNAL, ORIGIN_TIMEOUT, Fault
from invproxy.http1.fields import dropper, elements, value, values
from invproxy.http1.framing import CHUNKED, UNTIL_CLOSE, lastChunk
from invproxy.http1.heads import RequestHead, ResponseHead, responseHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.readers import RequestReader
from invproxy.interfaces import IAnswer, IOrigin, IPeer, IUpload
from invproxy.timers import Wheel
from invproxy.wire.poll import ERROR, INTERIM, USER_ID, features

_log = Logger(namespace="invproxy.agent")

_TRIES = 3
"""How often a call is made that failed without harm."""

_dropAuthorization = dropper(b"authorization")
_dropProxysOwn = dropper(b"x-inverting-proxy-*")


@implementer(IPeer)
@frozen
class OriginalPeer:
    """
    The client of an exchange, as the proxy tells of it in forwarding fields.
    """

    address: IAddress
    secure: bool
    streams: bool = True

    @classmethod
    def of(cls, head: RequestHead) -> OriginalPeer:
        """
        Read the forwarding fields of a request.
        """
        hosts = elements(values(head.fields, b"x-forwarded-for"))
        address: IAddress = UNIXAddress(None)
        if hosts:
            try:
                parsed = ip_address(hosts[0].decode("latin-1"))
            except ValueError:
                pass
            else:
                kind = IPv4Address if parsed.version == 4 else IPv6Address
                address = kind("TCP", str(parsed), 0)
        return cls(address, value(head.fields, b"x-forwarded-proto") == b"https")

    def whenLost(self, callback: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def countAsAgent(self) -> None:
        pass


@implementer(IAnswer)
class Replay:
    """
    One exchange on the agent's side. It is also the answer that the origin gives (L{IAnswer}).

    @ivar identifier: the ID of the exchange.
    """

    askedAt = 0.0

    def __init__(
        self,
        identifier: str,
        link: ProxyLink,
        origin: IOrigin,
        settings: AgentSettings,
        wheel: Wheel,
        ended: Callable[[Replay], None],
    ) -> None:
        """
        @param identifier: the ID of the exchange.
        @param link: the way to the proxy.
        @param origin: what answers the request.
        @param settings: what to change about requests.
        @param wheel: what watches the wait for the origin.
        @param ended: called once when nothing is left to do.
        """
        self.identifier = identifier
        self._link = link
        self._origin = origin
        self._settings = settings
        self._wheel = wheel
        self._ended = ended
        self._over = False
        self._fetch: IUpload = DISCARD
        self._fetches = 0
        # A client of HTTP/1.0 need not say a Host; then the origin's authority is it.
        self._reader = RequestReader(DEFAULT_LIMITS, self._opened, needsHost=False)
        self._known: frozenset[bytes] = frozenset()
        self._endUser = b""
        self._head: RequestHead | None = None
        self._upload: IUpload = DISCARD
        self._post: IUpload = DISCARD
        self._lifeline: IUpload = DISCARD
        self._posts = 0
        self._postWritten = False
        self._status = 0
        self._chunked = False
        self._answerEnded = False
        self._deadline = 0.0
        self.peer: IPeer = OriginalPeer(UNIXAddress(None), False)

    def begin(self) -> None:
        """
        Fetch the request.
        """
        self._fetches += 1
        answer = _Fetch(self)
        self._fetch = self._link.streaming.open(self._link.fetchCall(self.identifier), answer)
        self._fetch.finish()

    # What the call that fetches the request brings.

    def fetchAnswered(self, head: ResponseHead) -> bool:
        """
        Look at the head of the proxy's answer.

        @return: whether a request follows.
        """
        if head.status == 200:
            self._known = features(head.fields)
            self._endUser = value(head.fields, USER_ID) or b""
            return True
        if head.status >= 500:
            self.fetchFailed(Fault(INTERNAL, f"the proxy answered {head.status}"))
        else:
            self._end()  # the client is gone, or another agent was faster
        return False

    def requestReceived(self, data: bytes) -> None:
        """
        Take bytes of the request in wire form; after an upgrade, raw ones.
        """
        if self._status == 101:
            self._upload.write(data)
            return
        try:
            self._reader.feed(data)
        except Fault as fault:
            _log.warn("the proxy sent a request that is none: {fault}", fault=fault)
            self.giveUp(fault)

    def requestEnded(self) -> None:
        """
        Take the end of the call that fetches the request.
        """
        self._fetch = DISCARD
        if self._status == 101:
            self._upload.finish()
            self._endIfDone()
        elif not self._reader.atEnd():
            self.fetchFailed(Fault(AGENT_LOST, "the request ended half way"))

    def fetchFailed(self, fault: Fault) -> None:
        """
        The request did not come, or not to its end: fetch it once more if nothing was done about it yet.
        """
        self._fetch = DISCARD
        if self._head is None and self._fetches < _TRIES and self._reader.atStart():
            self.begin()
        else:
            self.giveUp(fault)

    def _opened(self, head: RequestHead) -> IUpload:
        settings = self._settings
        self.peer = OriginalPeer.of(head)
        if settings.stripCredentials:
            head.fields = _dropAuthorization(head.fields)
        if settings.forwardUserID and self._endUser:
            head.fields += b"\r\n%b: %b" % (USER_ID, self._endUser)
        if settings.rewriteHost is not None:
            head = head.withHost(settings.rewriteHost)
        self._head = head
        self._openPost()
        if settings.originTimeout:
            self._deadline = self._wheel.seconds() + settings.originTimeout
            self._wheel.watch(self, self._deadline)
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
            if not self._over and not self._answerEnded:
                self._upload = upload
                return upload
        return DISCARD

    # The call that brings the response.

    def _openPost(self, block: bytes = b"") -> None:
        self._posts += 1
        call = self._link.responseCall(self.identifier, block)
        receipt = _Receipt(self)
        self._post = receipt.upload = self._link.streaming.open(call, receipt)

    def postAnswered(self, receipt: _Receipt, status: int) -> None:
        """
        The proxy has answered the call: it has the whole response, or does not want it.
        """
        if receipt.upload is not self._post:
            return
        if self._answerEnded or status == 200:
            self._post = DISCARD
            self._endIfDone()
        else:
            self.giveUp(Fault(CLIENT_GONE))

    def postFailed(self, receipt: _Receipt, fault: Fault) -> None:
        """
        The call broke: make it again if nothing was sent on it yet, as with a kept connection that was dead.
        """
        if receipt.upload is not self._post or self._over:
            return
        if not self._postWritten and self._posts < _TRIES:
            self._openPost()
        else:
            self.giveUp(fault)

    # The answer of the origin.

    def identify(self, requestID: str, endUser: str = "") -> None:
        pass

    def inform(self, head: ResponseHead) -> None:
        if INTERIM in self._known and not self._status:
            self._write(head.encode())

    def respond(self, head: ResponseHead) -> None:
        if self._status or self._over:
            return
        self._status = head.status
        head.fields = _dropProxysOwn(head.fields)
        self._chunked = head.framing in (CHUNKED, UNTIL_CLOSE) and head.status != 101
        self._write(head.encode(b"\r\nTransfer-Encoding: chunked" if self._chunked else b""))

    def write(self, data: bytes) -> None:
        if data:
            self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def _write(self, data: bytes) -> None:
        self._postWritten = True
        self._post.write(data)

    def finish(self, trailers: bytes = b"") -> None:
        if self._answerEnded or self._over:
            return
        self._answerEnded = True
        if self._chunked:
            self._write(lastChunk(trailers))
        self._post.finish()

    def fail(self, fault: Fault) -> None:
        if self._over:
            return
        _log.info(
            "{method} {target}: {fault}",
            method=self._head.method.decode() if self._head else "",
            target=self._head.target.decode() if self._head else "",
            fault=fault,
        )
        self._upload = DISCARD
        if self._status:
            self.giveUp(fault)  # what the client has of the response must not look whole
        else:
            self._report(fault)

    def _report(self, fault: Fault) -> None:
        """
        Tell the proxy why there is no response: in a call of its own, as the lifeline's head is long sent. The lifeline
        stays open until that was heard, so that the proxy does not take us for dead.
        """
        self._status = fault.code.status
        self._lifeline = self._post
        self._openPost(b"\r\n%b: %b" % (ERROR, fault.code.name.encode("ascii")))
        text = f"{fault.code.sentence}\n".encode()
        head = responseHead(
            fault.code.status, b"Bad Gateway", b"\r\nContent-Type: text/plain", length=len(text)
        )
        self.write(head.encode() + text)
        self.finish()

    def pauseUpload(self) -> None:
        self._fetch.pauseAnswer()

    def resumeUpload(self) -> None:
        self._fetch.resumeAnswer()

    def pauseAnswer(self) -> None:
        """
        Pass on that the proxy does not keep up.
        """
        self._upload.pauseAnswer()

    def resumeAnswer(self) -> None:
        """
        Pass on that the proxy takes more.
        """
        self._upload.resumeAnswer()

    # The end.

    def checkDeadline(self, now: float) -> float:
        if self._status or self._over:
            return 0.0
        if now < self._deadline:
            return self._deadline
        upload, self._upload = self._upload, DISCARD
        fault = Fault(ORIGIN_TIMEOUT, f"no answer in {self._settings.originTimeout:g} s")
        upload.abort(fault)
        self.fail(fault)
        return 0.0

    def giveUp(self, fault: Fault) -> None:
        """
        Break everything off: towards the origin, and towards the proxy.
        """
        if not self._over:
            self._end(fault)

    def _endIfDone(self) -> None:
        if self._status != 101:
            self._end()
        elif self._fetch is DISCARD and self._post is DISCARD:
            self._upload = DISCARD  # it has its end, and may still be sending: nothing to break off
            self._end()

    def _end(self, fault: Fault | None = None) -> None:
        self._over = True
        for upload in (self._upload, self._fetch, self._post, self._lifeline):
            upload.abort(fault or Fault(CLIENT_GONE))
        self._upload = self._fetch = self._post = self._lifeline = DISCARD
        self._ended(self)


@implementer(IAnswer)
class _Fetch:
    """
    What the proxy answers to the call that fetches the request.
    """

    __slots__ = ("_good", "_replay", "peer")

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._good = False
        self.peer = replay.peer

    def identify(self, requestID: str, endUser: str = "") -> None:
        pass

    def inform(self, head: ResponseHead) -> None:
        pass

    def respond(self, head: ResponseHead) -> None:
        self._good = self._replay.fetchAnswered(head)

    def write(self, data: bytes) -> None:
        if self._good:
            self._replay.requestReceived(data)

    def finish(self, trailers: bytes = b"") -> None:
        if self._good:
            self._replay.requestEnded()

    def fail(self, fault: Fault) -> None:
        self._replay.fetchFailed(fault)

    def pauseUpload(self) -> None:
        pass

    def resumeUpload(self) -> None:
        pass


@implementer(IAnswer)
class _Receipt:
    """
    What the proxy answers to the call that brings the response.

    @ivar upload: the body of that call.
    """

    __slots__ = ("_replay", "_status", "peer", "upload")

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._status = 0
        self.peer = replay.peer
        self.upload: IUpload = DISCARD

    def identify(self, requestID: str, endUser: str = "") -> None:
        pass

    def inform(self, head: ResponseHead) -> None:
        pass

    def respond(self, head: ResponseHead) -> None:
        self._status = head.status
        if head.status != 200:
            self._replay.postAnswered(self, head.status)

    def write(self, data: bytes) -> None:
        pass

    def finish(self, trailers: bytes = b"") -> None:
        self._replay.postAnswered(self, self._status)

    def fail(self, fault: Fault) -> None:
        self._replay.postFailed(self, fault)

    def pauseUpload(self) -> None:
        self._replay.pauseAnswer()

    def resumeUpload(self) -> None:
        self._replay.resumeAnswer()
