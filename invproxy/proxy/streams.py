"""
Resources that take their requests as streams on our own site, and still work under any other.
"""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import Request
from zope.interface import implementer

from invproxy.discard import DISCARD
from invproxy.errors import Fault
from invproxy.http1.heads import RequestHead, responseHead
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.resources import renderStream


@implementer(IOrigin)
class StreamResource(Resource):
    """
    A leaf of a tree of Resources that answers streams.

    Under a stock L{twisted.web.server.Site} bodies arrive whole, and neither streams nor upgrades work.
    """

    isLeaf = True

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        """
        Answer one request; see L{IOrigin}.
        """
        try:
            return self.serve(head, answer)
        except Fault as fault:
            answer.fail(fault)
            return DISCARD

    def serve(self, head: RequestHead, answer: IAnswer) -> IUpload:
        """
        Answer one request.

        @raise Fault: to have it answered with an error.
        """
        raise NotImplementedError

    def render(self, request: Request) -> int:
        """
        Answer a request of a stock site.
        """
        return renderStream(self, request)


def answerAtOnce(
    head: RequestHead,
    answer: IAnswer,
    status: int,
    reason: bytes,
    body: bytes = b"",
    block: bytes = b"",
) -> IUpload:
    """
    Give a whole answer.

    @param head: the head of the request.
    @param answer: where it goes.
    @param status: the status code.
    @param reason: the reason phrase.
    @param body: the body.
    @param block: a block of fields, less C{Content-Length}.
    @return: an upload that takes no notice of anything.
    """
    answer.respond(responseHead(status, reason, block, length=len(body)))
    if head.method != b"HEAD":
        answer.write(body)
    answer.finish()
    return DISCARD
