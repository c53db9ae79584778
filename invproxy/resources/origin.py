"""
Answers exchanges by a tree of twisted.web Resources, in process and without a socket.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.web.resource import IResource
from zope.interface import implementer

from invproxy.errors import BODY_TOO_LARGE, HEAD_TIMEOUT, INTERNAL, Fault
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.resources.channel import ResourceChannel, ResourceRequest, ResourceSite

_log = Logger(namespace="invproxy.resources")


@implementer(IUpload)
class _Spool:
    """
    The body of a request on its way into the file from which its Resource will read it.
    """

    def __init__(self, channel: ResourceChannel, maxBody: int) -> None:
        self._channel = channel
        self._maxBody = maxBody
        self._size = 0
        self._ended = False
        self._deadline: IDelayedCall | None = None

    def endAtOnce(self) -> None:
        """
        Take the request for whole: of its body nothing is wanted.
        """
        self._channel.request.gotLength(0)
        self.finish()

    def limit(self, clock: IReactorTime, seconds: float) -> None:
        """
        Give the body some time to come, and no more.
        """
        self._deadline = clock.callLater(seconds, self._expire, seconds)

    def _expire(self, seconds: float) -> None:
        self._deadline = None
        self._fail(Fault(HEAD_TIMEOUT, f"a body that took more than {seconds:g} seconds"))

    def _fail(self, fault: Fault) -> None:
        self._stopClock()
        self._channel.fail(fault)

    def _stopClock(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    def write(self, data: bytes) -> None:
        if not self._channel.isOpen or self._ended:
            return
        self._size += len(data)
        if self._maxBody and self._size > self._maxBody:
            self._fail(tooLarge(self._maxBody))
            return
        try:
            self._channel.request.handleContentChunk(data)
        except OSError as error:
            self._fail(Fault(INTERNAL, f"its body cannot be kept: {error}"))

    def finish(self, trailers: bytes = b"") -> None:
        if self._channel.isOpen and not self._ended:
            self._ended = True
            self._stopClock()
            self._channel.request.received()

    def abort(self, fault: Fault) -> None:
        self._stopClock()
        self._channel.lost(fault)

    def pauseAnswer(self) -> None:
        self._channel.hold(True)

    def resumeAnswer(self) -> None:
        self._channel.hold(False)


def tooLarge(maxBody: int) -> Fault:
    """
    Say that a body is too large.

    @param maxBody: bytes that it may have.
    """
    return Fault(BODY_TOO_LARGE, f"a body of more than {maxBody} bytes")


@implementer(IOrigin)
class ResourceOrigin:
    """
    Answers exchanges by a tree of twisted.web Resources, in process.

    The tree is walked as soon as the head of a request is here, so C{getChild} sees a request without C{content}, and
    with the C{args} of its query alone. If the Resource found provides L{IOrigin}, it gets the exchange as it is, with
    the target unchanged. Any other is rendered once the body is whole: kept in memory up to L{IN_MEMORY} bytes, in a
    temporary file beyond. But one with an attribute C{takesNoBody} that is true is rendered at once, without a body: so
    a Resource that refuses somebody need not wait for what it does not want.

    Requests say of their client what C{answer.peer} says. What a Resource writes is sent at once; producers of both
    kinds are paused as the asker wishes. A Resource that closes its connection, or does not keep to its own
    C{Content-Length}, breaks its exchange off. After the asker broke off, the errback of C{notifyFinish} has fired and
    nothing that a Resource calls does anything, C{finish} included.
    """

    def __init__(
        self,
        root: IResource,
        *,
        clock: IReactorTime,
        maxBody: int = 0,
        bodyTimeout: float = 0.0,
        parsesForms: bool = True,
    ) -> None:
        """
        @param root: the root of the tree.
        @param clock: drives pull producers, and ends sessions where Resources use them.
        @param maxBody: bytes that the body of a request may have, except where a Resource takes it as a stream; 0 is
            any.
        @param bodyTimeout: seconds for the whole body of a request, with the same exception; 0 is for ever.
        @param parsesForms: whether bodies that say that they are forms are parsed into C{args}, which takes a while for
            large ones. If not, Resources that are rendered see no C{Content-Type}.
        """
        self._root = root
        self._clock = clock
        self._maxBody = maxBody
        self._bodyTimeout = bodyTimeout
        self._parsesForms = parsesForms
        self._site = ResourceSite(root, requestFactory=ResourceRequest, reactor=clock)

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        found: IResource | None = self._root
        if found is not None and found.isLeaf and IOrigin.providedBy(found):
            return cast(IOrigin, found).open(head, answer)
        channel = ResourceChannel(self._site, head, answer, self._clock)
        found = channel.request.locate(head)
        if found is not None and IOrigin.providedBy(found):
            return cast(IOrigin, found).open(head, answer)
        if not self._parsesForms:
            channel.request.requestHeaders.removeHeader(b"content-type")
        spool = _Spool(channel, self._maxBody)
        if getattr(found, "takesNoBody", False):
            spool.endAtOnce()
        elif self._maxBody and head.framing > self._maxBody:
            channel.fail(tooLarge(self._maxBody))
        elif channel.isOpen:
            channel.request.gotLength(None if head.framing == CHUNKED else head.framing)
            if self._bodyTimeout and head.framing:
                spool.limit(self._clock, self._bodyTimeout)
            if head.expectsContinue:
                answer.inform(ResponseHead(100, b" Continue"))
        return spool
