"""
The body of an exchange's request, on its way from the client to a carrier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from invproxy.errors import BODY_TOO_LARGE, Fault
from invproxy.interfaces import IUpload

if TYPE_CHECKING:
    from invproxy.exchange import Exchange

_MOST_HELD: Final = 65536
"""Bytes of a body that are held until a carrier has come, and for as long as they may have to be sent again."""


@implementer(IUpload)
class RequestBody:
    """
    The exchange as the client's connection sees it.

    @ivar ended: whether the whole request has come.
    @ivar size: how many bytes have come.
    """

    __slots__ = (
        "_awaitsLeave",
        "_checkTrailers",
        "_exchange",
        "_isPassedOn",
        "_held",
        "_heldSize",
        "_maxSize",
        "_paused",
        "_trailers",
        "ended",
        "size",
    )

    def __init__(
        self, exchange: Exchange, maxSize: int, checkTrailers: Callable[[bytes], bytes] | None
    ) -> None:
        """
        @param exchange: the exchange.
        @param maxSize: how many bytes it may have; 0 is any number.
        @param checkTrailers: makes the block of trailer fields that goes on of the one that came.
        """
        head = exchange.head
        self.ended = False
        self._awaitsLeave = head.expectsContinue
        self._checkTrailers = checkTrailers
        self._exchange: Exchange | None = exchange
        self._held: list[bytes] | None = []
        self._heldSize = 0
        self._maxSize = maxSize if head.upgrade is None else 0
        self._isPassedOn = False
        self._paused = False
        self.size = 0
        self._trailers = b""

    # What the client's connection calls.

    def write(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        exchange.stir()
        self._awaitsLeave = False
        self.size += len(data)
        if self._maxSize and self.size > self._maxSize:
            exchange.fail(Fault(BODY_TOO_LARGE, f"a body of more than {self._maxSize} bytes"))
            return
        carrier = exchange.carrier
        if self._held is not None:
            self._hold(data, carrier is not None)
        if carrier is not None:
            carrier.write(data)

    def _hold(self, data: bytes, isCarried: bool) -> None:
        assert self._held is not None
        self._heldSize += len(data)
        if isCarried and self._heldSize > _MOST_HELD:
            self._held = None
            return
        self._held.append(data)
        if not isCarried and self._heldSize >= _MOST_HELD:
            self.pause()

    def finish(self, trailers: bytes = b"") -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if self.ended:
            if exchange.upgraded:
                exchange.closeClient()
            return
        self.ended = True
        if trailers:
            self._trailers = self._checkTrailers(trailers) if self._checkTrailers else trailers
        if exchange.carrier is not None:
            self._deliverEnd(exchange.carrier)

    def abort(self, fault: Fault) -> None:
        if self._exchange is not None:
            self._exchange.cancel(fault)

    def pauseAnswer(self) -> None:
        if self._exchange is not None:
            self._exchange.pauseAnswer()

    def resumeAnswer(self) -> None:
        if self._exchange is not None:
            self._exchange.resumeAnswer()

    # What the exchange calls.

    def deliver(self, carrier: IUpload) -> None:
        """
        Send what is held to a carrier that has come; what comes later follows by itself.
        """
        wasPaused, self._paused = self._paused, False
        for piece in self._held or ():
            carrier.write(piece)
        if self.ended:
            self._deliverEnd(carrier)
        elif wasPaused and not self._paused:  # the carrier may want no more of it for now
            self.resume()

    def _deliverEnd(self, carrier: IUpload) -> None:
        carrier.finish(self._trailers)
        self._isPassedOn = True

    def deliverNothing(self) -> None:
        """
        Take note that the request has no body, and that its head, which the carrier has, says so.
        """
        self._isPassedOn = self.ended = True

    def drop(self) -> None:
        """
        Hold nothing: it will not be sent again.
        """
        self._held = None

    def close(self) -> None:
        """
        Take no more notice of the client: the exchange is over.
        """
        self._held = None
        self._exchange = None

    def isHeld(self) -> bool:
        """
        Say whether it can be sent from its start: all of it that has come is held, and an agent that had it to its end
        cannot have done anything that must not be done twice.
        """
        if self._held is None or self._exchange is None:
            return False
        return not self._isPassedOn or self._exchange.head.isReplayable()

    def takeBack(self) -> bool:
        """
        Take note that the agent did nothing with it.

        @return: whether it can be sent from its start.
        """
        self._isPassedOn = False
        return self._held is not None

    def pause(self) -> None:
        """
        Ask the client to hold it back.
        """
        self._paused = True
        if self._exchange is not None:
            self._exchange.answer.pauseUpload()

    def resume(self) -> None:
        """
        Ask the client for more.
        """
        self._paused = False
        exchange = self._exchange
        if exchange is not None:
            if not self.ended:
                exchange.awaitClient()
            exchange.answer.resumeUpload()

    def grantLeave(self) -> None:
        """
        Take note that the client gets the 100 (Continue) for which it may have waited.
        """
        if self._awaitsLeave and self._exchange is not None:
            self._awaitsLeave = False
            self._exchange.awaitClient()

    def isAwaited(self) -> bool:
        """
        Say whether it is up to the client to send more.
        """
        return not (self.ended or self._paused or self._awaitsLeave)
