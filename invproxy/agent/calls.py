"""
Calls of the proxy, as their callers see them.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Protocol

from attrs import frozen
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from zope.interface import implementer

from invproxy.agent.peer import OriginalPeer
from invproxy.discard import DISCARD
from invproxy.errors import CLIENT_GONE, INTERNAL, Code, Fault
from invproxy.http1.heads import RequestHead, ResponseHead, responseHead
from invproxy.interfaces import IAnswer, IOrigin, IPeer, IUpload

_NOBODY = OriginalPeer(UNIXAddress(None), False)


@implementer(IAnswer)
class Call:
    """
    One call, and the answer to it. Each kind of call overrides what it wants to hear.

    @ivar upload: where its body goes.
    """

    __slots__ = ("upload",)
    peer: IPeer = _NOBODY

    def __init__(self) -> None:
        self.upload: IUpload = DISCARD

    def open(self, client: IOrigin, head: RequestHead) -> None:
        """
        Make the call.

        @param client: the client of the proxy.
        @param head: the head of the call.
        """
        self.upload = client.open(head, self)

    def abort(self) -> None:
        """
        Break the call off; nothing more is heard of it.
        """
        upload, self.upload = self.upload, DISCARD
        upload.abort(Fault(CLIENT_GONE))

    def identify(self, requestID: str, endUser: str = "") -> None:
        pass

    def inform(self, head: ResponseHead) -> None:
        pass

    def respond(self, head: ResponseHead) -> None:
        pass

    def write(self, data: bytes) -> None:
        pass

    def finish(self, trailers: bytes = b"") -> None:
        self.upload = DISCARD  # it knows us, and would keep us

    def fail(self, fault: Fault) -> None:
        pass

    def pauseUpload(self) -> None:
        pass

    def resumeUpload(self) -> None:
        pass


# A call whose answer is small.


@frozen
class Reply:
    """
    A whole answer.

    @ivar head: its head.
    @ivar body: its body.
    """

    head: ResponseHead
    body: bytes


class _SmallCall(Call):
    __slots__ = ("_body", "_head", "_limit", "done")

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.done: Deferred[Reply] = Deferred(lambda _: self.abort())
        self._head: ResponseHead | None = None
        self._body = bytearray()
        self._limit = limit

    def respond(self, head: ResponseHead) -> None:
        self._head = head

    def write(self, data: bytes) -> None:
        if self.done.called:
            return  # what came along with what was too much
        self._body += data
        if len(self._body) > self._limit:
            self.abort()
            self.done.errback(
                Fault(INTERNAL, f"the proxy's answer has more than {self._limit} bytes")
            )

    def finish(self, trailers: bytes = b"") -> None:
        super().finish()
        if not self.done.called:
            assert self._head is not None
            self.done.callback(Reply(self._head, bytes(self._body)))

    def fail(self, fault: Fault) -> None:
        self.done.errback(fault)


def ask(client: IOrigin, head: RequestHead, limit: int) -> Deferred[Reply]:
    """
    Make a call without a body.

    @param client: the client of the proxy.
    @param head: the head of the call.
    @param limit: how many bytes the body of the answer may have.
    @return: fires with the answer, or fails with L{Fault}. Cancel it to break the call off.
    """
    call = _SmallCall(limit)
    call.open(client, head)
    call.upload.finish()
    return call.done


# The two calls of an exchange.


class RequestTaker(Protocol):
    """
    What hears of the call that fetches a request.
    """

    def fetchAnswered(self, call: FetchCall, head: ResponseHead) -> bool:
        """
        Look at the head of the answer.

        @return: whether a request follows.
        """

    def requestReceived(self, data: bytes) -> None:
        """
        Take bytes of the request in wire form; after an upgrade, raw ones.
        """

    def requestEnded(self) -> None:
        """
        Take the end of the call.
        """

    def fetchFailed(self, call: FetchCall, fault: Fault) -> None:
        """
        Take note that the call broke.
        """


class FetchCall(Call):
    """
    C{agent/request}.
    """

    __slots__ = ("_good", "_taker")

    def __init__(self, taker: RequestTaker) -> None:
        """
        @param taker: what hears of it.
        """
        super().__init__()
        self._taker = taker
        self._good = False

    def respond(self, head: ResponseHead) -> None:
        self._good = self._taker.fetchAnswered(self, head)

    def write(self, data: bytes) -> None:
        if self._good:
            self._taker.requestReceived(data)

    def finish(self, trailers: bytes = b"") -> None:
        super().finish()
        if self._good:
            self._taker.requestEnded()

    def fail(self, fault: Fault) -> None:
        self._taker.fetchFailed(self, fault)


class ResponseBringer(Protocol):
    """
    What hears of the call that brings a response.
    """

    def postAnswered(self, call: PostCall, status: int) -> None:
        """
        Take note that the proxy has the whole response, or does not want it.
        """

    def postFailed(self, call: PostCall, fault: Fault) -> None:
        """
        Take note that the call broke.
        """

    def postHolds(self, call: PostCall, held: bool) -> None:
        """
        Take note that the proxy does not keep up, or does again.
        """


class PostCall(Call):
    """
    C{agent/response}.
    """

    __slots__ = ("_answered", "_bringer")

    def __init__(self, bringer: ResponseBringer) -> None:
        """
        @param bringer: what hears of it.
        """
        super().__init__()
        self._bringer = bringer
        self._answered = False

    def respond(self, head: ResponseHead) -> None:
        self._answered = True
        self._bringer.postAnswered(self, head.status)

    def fail(self, fault: Fault) -> None:
        if not self._answered:
            self._bringer.postFailed(self, fault)

    def pauseUpload(self) -> None:
        self._bringer.postHolds(self, True)

    def resumeUpload(self) -> None:
        self._bringer.postHolds(self, False)


def errorResponse(code: Code, *, bodyless: bool) -> bytes:
    """
    Write the response that tells of a failure, for proxies that do not read it from the call's own head.

    @param code: what kind of failure.
    @param bodyless: whether the request was one to which no body is sent.
    """
    text = f"{code.sentence}\n".encode()
    try:
        reason = HTTPStatus(code.status).phrase.encode("ascii")
    except ValueError:
        reason = b"Error"
    head = responseHead(code.status, reason, b"\r\nContent-Type: text/plain", length=len(text))
    return head.encode() + (b"" if bodyless else text)
