"""
Whole messages out of a stream of bytes.

A reader is fed what comes from a connection, or from the body of another message, and calls the other side of the
exchange for each part: the L{RequestReader} opens an upload for each request, the L{ResponseReader} tells an answer.
Neither holds more than a head, a chunk line or a trailer section that has not fully come.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol

from invproxy.errors import BAD_REQUEST, HEAD_TOO_LARGE, Fault
from invproxy.http1.framing import UNTIL_CLOSE, BodyDecoder, LengthDecoder, bodyDecoder
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import Limits
from invproxy.http1.parsing import (
    RequestParser,
    ResponseParser,
    requestLineFault,
    statusLineFault,
)

_SPOILED: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search


_NO_BODY: Final = LengthDecoder(0)


class Upload(Protocol):
    """
    The part of L{invproxy.interfaces.IUpload} that a reader calls.
    """

    def write(self, data: bytes) -> None: ...

    def finish(self, trailers: bytes = b"") -> None: ...


class Answer(Protocol):
    """
    The part of L{invproxy.interfaces.IAnswer} that a reader calls.
    """

    def inform(self, head: ResponseHead) -> None: ...

    def respond(self, head: ResponseHead) -> None: ...

    def write(self, data: bytes) -> None: ...

    def finish(self, trailers: bytes = b"") -> None: ...


class _Nowhere:
    """
    Where what a reader finds goes once its connection is gone.
    """

    def opened(self, head: RequestHead) -> Upload:
        return self

    def inform(self, head: ResponseHead) -> None:
        pass

    def respond(self, head: ResponseHead) -> None:
        pass

    def write(self, data: bytes) -> None:
        pass

    def finish(self, trailers: bytes = b"") -> None:
        pass


_NOWHERE: Final = _Nowhere()


class _HeadBuffer:
    """
    Collects bytes until a head is whole; refuses one that cannot become valid as soon as that can be seen.
    """

    __slots__ = ("_checkLine", "_held", "_lineChecked", "_limits")

    def __init__(self, limits: Limits, checkLine: Callable[[bytes, Limits], Fault | None]) -> None:
        self._limits = limits
        self._checkLine = checkLine
        self._held = b""
        self._lineChecked = False

    def __len__(self) -> int:
        return len(self._held)

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """
        @return: the head and the bytes behind it, or L{None} if more must come.
        """
        seen = 0
        if self._held:
            seen = max(0, len(self._held) - 3)
            data = self._held + data
        end = data.find(b"\r\n\r\n", seen)
        if end < 0:
            self._refuseEarly(data, seen)
            self._held = data
            return None
        self._held = b""
        self._lineChecked = False
        end += 4
        if end == len(data):
            return data, b""
        return data[:end], data[end:]

    def _refuseEarly(self, data: bytes, seen: int) -> None:
        if _SPOILED(data, seen):
            raise Fault(BAD_REQUEST, "a bare CR or LF, or a control character, in a head")
        if not self._lineChecked:
            end = data.find(b"\r\n")
            if end >= 0 or len(data) > self._limits.line + 1:  # the last may be the CR at its end
                fault = self._checkLine(data[:end] if end >= 0 else data, self._limits)
                if fault:
                    raise fault
                self._lineChecked = True
        if len(data) >= self._limits.head:
            raise Fault(HEAD_TOO_LARGE, f"a head of more than {self._limits.head} bytes")


class RequestReader:
    """
    Reads requests, one at a time: after the end of one it waits for L{next}, and keeps what came behind it.

    @ivar rest: bytes that came behind the end of the request.
    @ivar ended: whether the present request has come to its end.
    """

    def __init__(
        self, limits: Limits, opened: Callable[[RequestHead], Upload], *, needsHost: bool = True
    ) -> None:
        """
        @param limits: the bounds on each request.
        @param opened: called with each head as soon as it is whole; returns where its body goes.
        @param needsHost: whether each request of HTTP/1.1 must have a Host.
        """
        self._limits = limits
        self._parser = RequestParser(limits, needsHost=needsHost, areOnesOwn=True)
        self._opened = opened
        self._head = _HeadBuffer(limits, requestLineFault)
        self._decoder: BodyDecoder | None = None
        self._upload: Upload | None = None
        self.rest = b""
        self.ended = False
        self._emptyLine = b"\r\n"

    def feed(self, data: bytes) -> None:
        """
        Take more bytes.

        @raise Fault: if they break the protocol; nothing more may be fed then.
        """
        if self.ended:
            self.rest += data
            return
        if self._decoder is None:
            if self._emptyLine:
                if data and data[0] != 13 and self._emptyLine == b"\r\n":
                    self._emptyLine = b""
                else:
                    data = self._skipEmptyLine(data)
            found = self._head.feed(data)
            if found is None:
                return
            head = self._parser.parse(found[0])
            data = found[1]
            if head.framing == 0:
                self._decoder = _NO_BODY
                self.ended = True
                self.rest = data
                self._opened(head).finish()
                return
            self._decoder = bodyDecoder(head.framing, self._limits)
            self._upload = self._opened(head)
            if not data:
                return
        assert self._upload is not None
        rest = self._decoder.decode(data, self._upload.write)
        if rest is not None:
            self.ended = True
            self.rest = rest
            self._upload.finish(self._decoder.trailers)

    def _skipEmptyLine(self, data: bytes) -> bytes:
        """
        Let pass one empty line before a request (RFC 9112, section 2.2), in whatever pieces it comes.
        """
        while data and self._emptyLine:
            if data[0] == self._emptyLine[0]:
                data = data[1:]
                self._emptyLine = self._emptyLine[1:]
            elif self._emptyLine == b"\n":
                raise Fault(BAD_REQUEST, "a bare CR before a request")
            else:
                self._emptyLine = b""
        return data

    def drop(self) -> None:
        """
        Hold nothing any more, the connection's own method included: it is gone, and as long as each held the other,
        what was still to be sent would be kept until the next collection of garbage, which can be far.
        """
        self._opened = _NOWHERE.opened
        self._upload = _NOWHERE
        self.rest = b""
        self._head = _HeadBuffer(self._limits, requestLineFault)

    def redirect(self, upload: Upload) -> None:
        """
        Give what is left of the present body to another upload.
        """
        self._upload = upload

    def next(self) -> None:
        """
        Go on to the next request, with what is left of the bytes of this one; to be called when it has C{ended}.
        """
        data = self.rest
        self.rest = b""
        self.ended = False
        self._decoder = None
        self._upload = None
        self._emptyLine = b"\r\n"
        if data:
            self.feed(data)

    def atStart(self) -> bool:
        """
        Say whether a request is awaited of which no byte has come.
        """
        return self._decoder is None and not self._head

    def inHead(self) -> bool:
        """
        Say whether a head is awaited or half here.
        """
        return self._decoder is None


class ResponseReader:
    """
    Reads the response to a request: interim ones, the head, the body, or after a 101 the raw bytes.

    @ivar head: the final head, once it has come.
    @ivar rest: bytes that came behind the end of the response.
    @ivar ended: whether the response has come to its end.
    """

    def __init__(self, limits: Limits, request: RequestHead, answer: Answer) -> None:
        """
        @param limits: the bounds on the response.
        @param request: the head of the request that it answers.
        @param answer: what is told of each part.
        """
        self._limits = limits
        self._answer = answer
        self._parser = ResponseParser(limits)
        self._buffer = _HeadBuffer(limits, statusLineFault)
        self.begin(request)

    def begin(self, request: RequestHead) -> None:
        """
        Await the response to another request, the one before having come to its end with nothing behind it.
        """
        self._method = request.method
        self._upgrading = request.upgrade is not None
        self._decoder: BodyDecoder | None = None
        self.head: ResponseHead | None = None
        self.rest = b""
        self.ended = False
        self._begun = False
        self._interims = 0

    def drop(self) -> None:
        """
        Hold nobody any more: the connection is gone.
        """
        self._answer = _NOWHERE

    def feed(self, data: bytes) -> None:
        """
        Take more bytes.

        @raise Fault: if they break the protocol; nothing more may be fed then.
        """
        if data:
            self._begun = True
        while self._decoder is None:
            if self.ended:
                self.rest += data
                return
            found = self._buffer.feed(data)
            if found is None:
                return
            head = self._parser.parse(found[0], self._method, self._upgrading)
            data = found[1]
            if head.status < 200 and head.status != 101:
                self._interims += 1
                if self._interims > self._limits.interims:
                    raise Fault(BAD_REQUEST, f"more than {self._limits.interims} interim responses")
                self._answer.inform(head)
                if not data:
                    return
                continue
            self.head = head
            framing = UNTIL_CLOSE if head.status == 101 else head.framing
            if framing == 0:
                self.ended = True
                self.rest = data
                self._answer.respond(head)
                self._answer.finish()
                return
            if 0 < framing <= len(data):
                # A small response most often comes whole.
                self._decoder = _NO_BODY
                self.ended = True
                self._answer.respond(head)
                self.rest = data[framing:] + self.rest
                self._answer.write(data[:framing])
                self._answer.finish()
                return
            self._decoder = bodyDecoder(framing, self._limits)
            self._answer.respond(head)
        if self.ended:
            self.rest += data
            return
        rest = self._decoder.decode(data, self._answer.write) if data else None
        if rest is not None:
            self.ended = True
            self.rest = rest
            self._answer.finish(self._decoder.trailers)

    def eof(self) -> bool:
        """
        Take note that no more bytes come.

        @return: whether the response is whole; a body that lasts until close is finished by this.
        """
        if self.ended:
            return True
        if self._decoder is None or not self._decoder.atEnd():
            return False
        self.ended = True
        self._answer.finish()
        return True

    def hasBegun(self) -> bool:
        """
        Say whether any byte of a response has come.
        """
        return self._begun
