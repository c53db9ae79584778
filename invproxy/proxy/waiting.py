"""
Requests whose answerer is known only later: who asks must be found out first, off the reactor or over the network.

An L{IOrigin<invproxy.interfaces.IOrigin>} must give an upload at once. L{waitFor} gives one that holds what comes, and
passes it on when the decision has fallen::

    def serve(self, head, answer):
        user = self._visitors.identify(head, answer.peer)
        if isinstance(user, str):
            return self._forward(user, head, answer)  # the rule, which costs nothing more
        return waitFor(user, lambda user: self._forward(user, head, answer), answer)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from invproxy.discard import DISCARD
from invproxy.errors import INTERNAL, Fault
from invproxy.interfaces import IAnswer, IUpload

_log = Logger(namespace="invproxy.proxy")

_MOST_HELD = 65536
"""Bytes of a body that are held before the asker is asked to hold back the rest."""

T = TypeVar("T")


def waitFor(decided: Deferred[T], open: Callable[[T], IUpload], answer: IAnswer) -> IUpload:
    """
    Wait for what a request depends on, then open its exchange.

    @param decided: what to wait for. If it fails with a L{Fault} the request is answered with that; with anything else,
        with C{internal}, and the log says what. It is cancelled if the asker leaves, and has no deadline here: whoever
        made it sees to it that it fires.
    @param open: called with the result; gives the upload, or raises L{Fault}.
    @param answer: where the answer goes.
    @return: an upload for all that comes meanwhile; already the one that C{open} gave if nothing had to be waited for.
    """
    waiting = _Waiting(decided, open, answer)
    decided.addCallbacks(waiting.decided, waiting.refused).addErrback(waiting.broken)
    return waiting.upload or waiting


@implementer(IUpload)
class _Waiting(Generic[T]):
    """
    Holds a request, and later passes it on.

    @ivar upload: where it goes, once that is known.
    """

    def __init__(self, decided: Deferred[T], open: Callable[[T], IUpload], answer: IAnswer) -> None:
        self.upload: IUpload | None = None
        self._decided: Deferred[T] | None = decided
        self._open: Callable[[T], IUpload] | None = open
        self._answer = answer
        self._held: deque[bytes] = deque()
        self._heldSize = 0
        self._trailers: bytes | None = None
        self._isHeldBack = False
        self._isAnswerPaused = False
        self._aborted: Fault | None = None

    # What is decided.

    def decided(self, result: T) -> None:
        """
        Open the exchange, and pass on what was held.
        """
        if self._open is None:
            return
        open, self._open, self._decided = self._open, None, None
        if self._isHeldBack:
            # Before all else: whoever gets the rest may hold it back again, and that shall stand.
            self._answer.resumeUpload()
        upload = open(result)
        if self._isAnswerPaused:
            upload.pauseAnswer()
        held = self._held
        while held:  # there may come more meanwhile
            upload.write(held.popleft())
        self._passTo(upload)
        if self._trailers is not None:
            upload.finish(self._trailers)
        if self._aborted is not None:
            upload.abort(self._aborted)

    def refused(self, failure: Failure) -> None:
        """
        Answer with the reason.
        """
        if self._open is not None:
            self._open = self._decided = None
            failure.raiseException()

    def broken(self, failure: Failure) -> None:
        """
        Answer with the fault that opening raised.
        """
        fault = failure.value
        if not isinstance(fault, Fault):
            _log.failure("a request could not be decided on", failure=failure)
            fault = Fault(INTERNAL)
        self._held.clear()
        self._passTo(DISCARD)
        if self._aborted is None:
            self._answer.fail(fault)

    def _passTo(self, upload: IUpload) -> None:
        self.upload = upload
        # Whoever kept this one calls the other directly: over a tunnel, that is for each message.
        self.write = upload.write  # type: ignore[method-assign]
        self.finish = upload.finish  # type: ignore[method-assign]
        self.abort = upload.abort  # type: ignore[method-assign]
        self.pauseAnswer = upload.pauseAnswer  # type: ignore[method-assign]
        self.resumeAnswer = upload.resumeAnswer  # type: ignore[method-assign]

    # What the asker calls before that.

    def write(self, data: bytes) -> None:
        self._held.append(data)
        self._heldSize += len(data)
        if self._heldSize >= _MOST_HELD and not self._isHeldBack and self._open is not None:
            self._isHeldBack = True
            self._answer.pauseUpload()

    def finish(self, trailers: bytes = b"") -> None:
        self._trailers = trailers

    def abort(self, fault: Fault) -> None:
        self._aborted = fault
        self._held.clear()
        decided, self._decided = self._decided, None
        if decided is not None:
            self._open = None
            self._passTo(DISCARD)
            decided.cancel()

    def pauseAnswer(self) -> None:
        self._isAnswerPaused = True

    def resumeAnswer(self) -> None:
        self._isAnswerPaused = False
