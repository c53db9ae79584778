"""
What goes wrong before any Resource of the admin endpoint is asked, as a problem like all others.
"""

from __future__ import annotations

from zope.interface import implementer

from invproxy.admin.answers import Problem
from invproxy.admin.endpoint import headersOf
from invproxy.errors import Fault
from invproxy.http1.fields import join
from invproxy.http1.heads import RequestHead, ResponseHead, responseHead
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.passing import PassingAnswer


@implementer(IOrigin)
class ProblemOrigin:
    """
    Has the errors of another origin answered with problems: a body that is too large, for one, fails before any
    Resource is asked.
    """

    def __init__(self, origin: IOrigin) -> None:
        """
        @param origin: the other one.
        """
        self._origin = origin

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        return self._origin.open(head, ProblemAnswer(head, answer))


class ProblemAnswer(PassingAnswer):
    """
    An answer that fails with a problem.
    """

    __slots__ = ("_begun", "_isHead")

    def __init__(self, head: RequestHead, answer: IAnswer) -> None:
        super().__init__(answer)
        self._begun = False
        self._isHead = head.method == b"HEAD"

    def respond(self, head: ResponseHead) -> None:
        self._begun = True
        self.answer.respond(head)

    def fail(self, fault: Fault) -> None:
        if self._begun:
            self.answer.fail(fault)
            return
        problem = Problem.fromFault(fault).asAnswer()
        block = join(
            (name.encode("ascii"), value.encode("latin-1"))
            for name, value in headersOf(problem)
            if name != "Content-Length"
        )
        self.answer.respond(responseHead(problem.status, b"", block, length=len(problem.body)))
        if not self._isHead:
            self.answer.write(problem.body)
        self.answer.finish()
