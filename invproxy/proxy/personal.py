"""
Answers that are not for everybody: no cache may hand them to another.
"""

from __future__ import annotations

import re
from typing import Final

from invproxy.http1.heads import ResponseHead
from invproxy.http1.marks import CACHING
from invproxy.interfaces import IAnswer
from invproxy.passing import PassingAnswer

_saysHowToCache: Final = re.compile(rb"\r\n(?:cache-control|expires):", re.IGNORECASE).search


def varyBy(*names: bytes) -> bytes:
    """
    Make a line of Vary.

    @param names: the names of the fields that may tell who asks.
    """
    return b"\r\nVary: " + b", ".join(names)


class PersonalAnswer(PassingAnswer):
    """
    An answer that depends on who asks, as one URL may lead to different backends. So it says by which fields of the
    request that was told (RFC 9110, section 12.5.5); and one to somebody who is known, unless the backend has said how
    it may be cached, is kept by no cache that several people share (RFC 9111, section 5.2.2.7).
    """

    __slots__ = ("_isPrivate", "_vary")

    def __init__(self, answer: IAnswer, vary: bytes, *, isPrivate: bool) -> None:
        """
        @param answer: what goes to the client.
        @param vary: the line of Vary, as L{varyBy} makes it.
        @param isPrivate: whether it is to somebody who is known.
        """
        super().__init__(answer)
        self._isPrivate = isPrivate
        self._vary = vary

    def respond(self, head: ResponseHead) -> None:
        if head.status != 101:
            block = head.fields
            if self._isPrivate and not (head.marks & CACHING and _saysHowToCache(block)):
                block += b"\r\nCache-Control: private"
                head.marks |= CACHING
            head.fields = block + self._vary
        self.answer.respond(head)
