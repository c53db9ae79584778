"""
Answers that are for one person: no cache may hand them to another.
"""

from __future__ import annotations

import re

from zope.interface import implementer

from invproxy.http1.heads import ResponseHead
from invproxy.interfaces import IAnswer

_saysHowToCache = re.compile(rb"\r\n(?:cache-control|expires):", re.IGNORECASE).search


def varyBy(*names: bytes) -> bytes:
    """
    Make a line of Vary.

    @param names: the names of the fields that may tell who asks.
    """
    return b"\r\nVary: " + b", ".join(names)


@implementer(IAnswer)
class Personal:
    """
    An answer to somebody who is known. It depends on who asks, as one URL may lead to different backends, so it says by
    which fields of the request that was told (RFC 9110, section 12.5.5); and unless the backend has said how it may be
    cached, no cache shared by several people keeps it (RFC 9111, section 5.2.2.7). But for heads all calls go
    straight through.
    """

    __slots__ = (
        "_answer",
        "_vary",
        "fail",
        "finish",
        "identify",
        "inform",
        "pauseUpload",
        "peer",
        "resumeUpload",
        "write",
    )

    def __init__(self, answer: IAnswer, vary: bytes) -> None:
        """
        @param answer: what goes to the client.
        @param vary: the line of Vary, as L{varyBy} makes it.
        """
        self._answer = answer
        self._vary = vary
        self.peer = answer.peer
        self.identify = answer.identify
        self.inform = answer.inform
        self.write = answer.write
        self.finish = answer.finish
        self.fail = answer.fail
        self.pauseUpload = answer.pauseUpload
        self.resumeUpload = answer.resumeUpload

    def respond(self, head: ResponseHead) -> None:
        if head.status != 101:
            if not _saysHowToCache(head.fields):
                head.fields += b"\r\nCache-Control: private"
            head.fields += self._vary
        self._answer.respond(head)
