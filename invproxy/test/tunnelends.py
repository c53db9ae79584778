"""
What the two sessions of a tunnel talk to: the ends of their link, an origin and clients.
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from invproxy.errors import Fault
from invproxy.exchange import Exchange
from invproxy.http1.heads import RequestHead, ResponseHead, responseHead
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.test.helpers import FakePeer, RecordingAnswer


class LinkEnd:
    """
    One end of the link, to the session that has it.

    @ivar written: what was not delivered yet.
    @ivar total: how many bytes were written in all.
    @ivar ended: whether this direction was ended.
    @ivar broken: whether the link was broken from here.
    @ivar wrote: called after each write, with its size.
    @ivar violations: calls that came after the end.
    """

    def __init__(self) -> None:
        self.written = bytearray()
        self.total = 0
        self.ended = False
        self.broken = False
        self.wrote: Callable[[int], None] = lambda size: None
        self.violations: list[str] = []

    def write(self, data: bytes) -> None:
        if self.ended or self.broken:
            self.violations.append(f"write of {data!r} after the end")
        self.written += data
        self.total += len(data)
        self.wrote(len(data))

    def finish(self, trailers: bytes = b"") -> None:
        if self.ended or self.broken:
            self.violations.append("finish after the end")
        self.ended = True

    def take(self, size: int | None = None) -> bytes:
        """
        Take bytes off the link.
        """
        data = bytes(self.written[:size])
        del self.written[: len(data)]
        return data


@implementer(IAnswer)
class ProxyEnd(LinkEnd):
    """
    The proxy's end: the answer to the call that became the tunnel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peer = FakePeer()

    def identify(self, requestID: str, endUser: str = "") -> None:
        raise AssertionError("it has an identity already")

    def inform(self, head: ResponseHead) -> None:
        raise AssertionError("it was answered already")

    respond = inform

    def fail(self, fault: Fault) -> None:
        if self.broken:
            self.violations.append("fail after fail")
        self.broken = True

    def pauseUpload(self) -> None:
        pass

    def resumeUpload(self) -> None:
        pass


@implementer(IUpload)
class AgentEnd(LinkEnd):
    """
    The agent's end: the upload of its call.
    """

    def abort(self, fault: Fault) -> None:
        self.broken = True

    def pauseAnswer(self) -> None:
        pass

    def resumeAnswer(self) -> None:
        pass


@implementer(IUpload)
class Asked:
    """
    One request as the origin sees it.

    @ivar head: its head.
    @ivar answer: where the answer goes.
    @ivar body: its body so far.
    @ivar ends: the trailers of each end of it: one, or two after an upgrade.
    @ivar fault: with what it was broken off.
    @ivar isPaused: whether the answer is to be held back.
    @ivar resumed: called when it may go on.
    @ivar violations: rules that were broken.
    """

    def __init__(self, head: RequestHead, answer: IAnswer) -> None:
        self.head = head
        self.answer = answer
        self.body = b""
        self.ends: list[bytes] = []
        self.fault: Fault | None = None
        self.isPaused = False
        self.resumed: Callable[[], None] = lambda: None
        self.violations: list[str] = []

    def _mostEnds(self) -> int:
        return 1 if self.head.upgrade is None else 2

    def write(self, data: bytes) -> None:
        if len(self.ends) >= self._mostEnds() or self.fault is not None:
            self.violations.append(f"write of {data[:20]!r} after the end")
        self.body += data

    def finish(self, trailers: bytes = b"") -> None:
        if len(self.ends) >= self._mostEnds() or self.fault is not None:
            self.violations.append("finish after the end")
        self.ends.append(trailers)

    def abort(self, fault: Fault) -> None:
        if self.fault is not None:
            self.violations.append("abort after abort")
        self.fault = fault

    def pauseAnswer(self) -> None:
        self.isPaused = True

    def resumeAnswer(self) -> None:
        self.isPaused = False
        self.resumed()

    # Answers, for short.

    def respond(self, status: int = 200, length: int | None = None, block: bytes = b"") -> None:
        """
        Answer with a head.
        """
        self.answer.respond(responseHead(status, b"Fine", block, length=length))

    def reply(self, body: bytes = b"fine") -> None:
        """
        Answer with a whole small answer.
        """
        self.respond(length=len(body))
        self.answer.write(body)
        self.answer.finish()

    def upgrade(self) -> None:
        """
        Answer with a 101.
        """
        self.answer.respond(ResponseHead(101, b" Go", upgrade=b"echo"))


@implementer(IOrigin)
class FakeOrigin:
    """
    Takes requests down.

    @ivar asked: in order.
    @ivar opened: called with each before C{open} returns.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.opened: Callable[[Asked], None] = lambda asked: None

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        asked = Asked(head, answer)
        self.asked.append(asked)
        self.opened(asked)
        return asked


class Client(RecordingAnswer):
    """
    A client that asked.

    @ivar exchange: its exchange.
    """

    exchange: Exchange

    @property
    def body_(self) -> IUpload:
        """
        Where its request's body goes.
        """
        return self.exchange.body
