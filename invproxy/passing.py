"""
An answer that passes everything on, for those to inherit from that change some of it.
"""

from __future__ import annotations

from zope.interface import implementer

from invproxy.errors import Fault
from invproxy.http1.heads import ResponseHead
from invproxy.interfaces import IAnswer


@implementer(IAnswer)
class PassingAnswer:
    """
    An answer that passes all calls on to another.

    @ivar answer: the other.
    """

    __slots__ = ("answer", "peer")

    def __init__(self, answer: IAnswer) -> None:
        self.answer = answer
        self.peer = answer.peer

    def identify(self, requestID: str, endUser: str = "") -> None:
        self.answer.identify(requestID, endUser)

    def inform(self, head: ResponseHead) -> None:
        self.answer.inform(head)

    def respond(self, head: ResponseHead) -> None:
        self.answer.respond(head)

    def write(self, data: bytes) -> None:
        self.answer.write(data)

    def finish(self, trailers: bytes = b"") -> None:
        self.answer.finish(trailers)

    def fail(self, fault: Fault) -> None:
        self.answer.fail(fault)

    def pauseUpload(self) -> None:
        self.answer.pauseUpload()

    def resumeUpload(self) -> None:
        self.answer.resumeUpload()
