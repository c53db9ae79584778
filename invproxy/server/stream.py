"""
One request on a connection, and its answer.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from invproxy.discard import DISCARD
from invproxy.errorpage import renderFault
from invproxy.errors import DRAINING, INTERNAL, Code, Fault
from invproxy.http1.fields import value
from invproxy.http1.framing import lastChunk
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.marks import DATE
from invproxy.interfaces import IAnswer, IUpload

if TYPE_CHECKING:
    from invproxy.server.channel import Channel

_isDate: Final = re.compile(rb"\r\n[Dd][Aa][Tt][Ee]:").search


def _hasDate(block: bytes) -> bool:
    # Nearly all write it in one way, which is found in a fraction of the time.
    return block.find(b"\r\nDate:") >= 0 or _isDate(block) is not None


@implementer(IAnswer)
class ServerStream:
    """
    One request on a connection, and its answer.

    @ivar peer: the connection.
    @ivar head: the head of the request.
    @ivar upload: where the body of the request goes.
    @ivar began: when the head was whole, in seconds on the site's clock.
    @ivar status: the status of the answer; 0 before there is one.
    @ivar sent: bytes of the answer's body so far.
    @ivar error: what broke the exchange, if anything did.
    @ivar requestID: what the exchange is called; empty for requests that are not exchanges.
    @ivar endUser: whose it is, or empty.
    """

    __slots__ = (
        "_bodyless",
        "_chunked",
        "_left",
        "_told100",
        "began",
        "endUser",
        "error",
        "finished",
        "head",
        "peer",
        "requestID",
        "sent",
        "status",
        "upload",
    )

    def __init__(self, channel: Channel, head: RequestHead, began: float) -> None:
        self.peer = channel
        self.head = head
        self.began = began
        self.upload: IUpload = DISCARD
        self.status = 0
        self.sent = 0
        self.finished = False
        self.error: Code | None = None
        self.requestID = ""
        self.endUser = ""
        self._told100 = False
        self._bodyless = True
        self._chunked = False
        self._left = -1

    def identify(self, requestID: str, endUser: str = "") -> None:
        self.requestID = requestID
        self.endUser = endUser

    def awaitsLeave(self) -> bool:
        """
        Say whether the client waits for a 100 (Continue) before it sends the body.
        """
        return self.head.expectsContinue and not self._told100

    def inform(self, head: ResponseHead) -> None:
        if self.finished or self.status or self.head.minor == 0:
            return
        if head.status == 100:
            self._told100 = True
        self.peer.send(head.encode())

    def respond(self, head: ResponseHead) -> None:
        if self.finished or self.status:
            return
        channel = self.peer
        if head.status == 101:
            if self.head.upgrade is None:
                self.fail(Fault(INTERNAL, "a 101 to a request that did not ask for it"))
                return
            self.status = 101
            self._bodyless = False
            channel.send(head.encode())
            channel.becomeRaw()
            return
        self.status = head.status
        self._bodyless = head.status in (204, 304) or self.head.method == b"HEAD"
        hop = b""
        if self._bodyless:
            pass
        elif head.framing >= 0:
            self._left = head.framing
        elif self.head.minor == 1:
            self._chunked = True
            hop = b"\r\nTransfer-Encoding: chunked"
        else:
            channel.closing = True
        if (
            not self.head.keepAlive
            # What stands behind a CONNECT is for another protocol, by somebody who did not wait for leave.
            or self.head.method == b"CONNECT"
            # The client may or may not send the body that it did not get leave for: nobody can tell.
            or (self.head.expectsContinue and not self._told100 and not channel.hasWholeRequest())
        ):
            channel.closing = True
        if channel.closing:
            hop += b"\r\nConnection: close"
        if not (head.marks & DATE and _hasDate(head.fields)):
            hop += channel.site.date()
        channel.send(head.encode(hop))

    def write(self, data: bytes) -> None:
        if self.finished or self._bodyless or not data:
            return
        size = len(data)
        if self._chunked:
            self.peer.send(b"%x\r\n" % size, data, b"\r\n")
        else:
            if self._left >= 0:
                if size > self._left:
                    self.fail(Fault(INTERNAL, "an answer longer than its Content-Length"))
                    return
                self._left -= size
            self.peer.send(data)
        self.sent += size

    def finish(self, trailers: bytes = b"") -> None:
        if self.finished:
            return
        if not self.status:
            self.fail(Fault(INTERNAL, "the end of an answer without a head"))
            return
        if self._left > 0:
            self.fail(Fault(INTERNAL, "an answer shorter than its Content-Length"))
            return
        self.finished = True
        if self._chunked:
            self.peer.send(lastChunk(trailers))
        self.peer.streamFinished(self)

    def fail(self, fault: Fault) -> None:
        if self.finished:
            if self.status == 101:  # the other direction may still have been open
                self.upload = DISCARD
                self.peer.abort()
            return
        self.error = fault.code
        if not self.requestID:
            self.requestID = secrets.token_hex(
                16
            )  # it did not come as far as to be called anything
        if self.status:
            self.finished = True
            self.upload = DISCARD
            self.peer.cut(self)
            return
        if fault.code is DRAINING:
            self.peer.closing = True  # an agent's link, too: the next one may lead to another proxy
        accept = value(self.head.fields, b"accept")
        method = self.head.method
        head, body = renderFault(fault, accept, self.requestID, method=method, extra=fault.fields)
        self.respond(head)
        self.write(body)
        self.finish()

    def pauseUpload(self) -> None:
        self.peer.pauseUpload(self)

    def resumeUpload(self) -> None:
        self.peer.resumeUpload(self)
