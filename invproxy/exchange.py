"""
The exchange: one client request and its one response, from the moment its head has come until its answer has ended.

It stands between the client's connection, which asks, and a carrier, which takes the request to an agent and brings the
answer. It holds the request's body back until a carrier has come, and it keeps the clocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from invproxy.errors import (
    AGENT_LOST,
    BODY_TOO_LARGE,
    HEAD_TIMEOUT,
    IDLE_TIMEOUT,
    ORIGIN_TIMEOUT,
    QUEUE_TIMEOUT,
    Code,
    Fault,
)
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.interfaces import IAnswer, IExchange, IPeer, IUpload
from invproxy.timers import Wheel

_MOST_HELD = 65536
"""Bytes of a request body that are held until a carrier has come, and for as long as it may have to be sent again."""

_MOST_FETCHES = 3
"""How many agents get to try one request, should each be lost over it."""

QUEUED, CLAIMED, FETCHED, RESPONDING, DONE, FAILED = range(6)
"""
The states: waiting; its ID handed out, under a lease; its request on the way to an agent; its response on the way to
the client; ended well; ended otherwise.
"""

STATES = ("queued", "claimed", "fetched", "responding", "done", "failed")
"""The names of the states."""

_TRANSITIONS = {
    QUEUED: {CLAIMED, FAILED},
    CLAIMED: {QUEUED, FETCHED, RESPONDING, FAILED},
    FETCHED: {CLAIMED, QUEUED, RESPONDING, FAILED},
    RESPONDING: {DONE, FAILED},
    DONE: set[int](),
    FAILED: set[int](),
}
"""Which state may follow which: all transitions, in one table."""


@frozen(kw_only=True)
class Clocks:
    """
    How long an exchange may take for what, in seconds; 0 turns a clock off.

    @ivar queue: waiting for an agent.
    @ivar claim: between handing out the ID and the call that fetches the request.
    @ivar response: the first byte of the response, once the request was fetched.
    @ivar idle: no byte either way: within the request body, and after the response head.
    @ivar agent: no call of any agent of this backend while one without a lifeline works on the request.
    """

    queue: float = 30.0
    claim: float = 5.0
    response: float = 0.0
    idle: float = 300.0
    agent: float = 60.0


class Mailbox(Protocol):
    """
    What an exchange needs of its mailbox; L{invproxy.mailbox.Mailbox} is it.
    """

    backend: str

    def put(self, exchange: IExchange) -> None: ...

    def requeue(self, exchange: IExchange) -> None: ...

    def withdraw(self, exchange: IExchange) -> None: ...

    def hasWaiters(self) -> bool: ...

    def lastSeen(self) -> float: ...


@implementer(IUpload)
class _RequestSide:
    """
    The exchange as the client's connection sees it.
    """

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def write(self, data: bytes) -> None:
        self._exchange.takeBody(data)

    def finish(self, trailers: bytes = b"") -> None:
        self._exchange.endBody(trailers)

    def abort(self, fault: Fault) -> None:
        self._exchange.cancel(fault)

    def pauseAnswer(self) -> None:
        self._exchange.pauseAnswer()

    def resumeAnswer(self) -> None:
        self._exchange.resumeAnswer()


def _asTheyAre(trailers: bytes) -> bytes:
    return trailers


@implementer(IExchange, IAnswer)
class Exchange:
    """
    One request and its response. To a carrier it is the L{IAnswer} of the request it took.

    @ivar id: what names it towards agents; not to be guessed.
    @ivar head: the head of the request, as it goes to the backend.
    @ivar endUser: who the client authenticated as, or empty.
    @ivar began: when it came, in seconds on the clock.
    @ivar mailbox: where it waits.
    @ivar state: one of the states above.
    @ivar holder: what holds the lease on it while it is claimed.
    @ivar hasLifeline: whether the carrier will tell when its agent is lost.
    @ivar requestEnded: whether the whole request has come.
    @ivar error: why it failed.
    """

    __slots__ = (
        "_answer",
        "_answerEnded",
        "_carrier",
        "_checkTrailers",
        "_clientClosed",
        "_clock",
        "_clocks",
        "_ended",
        "_expectsLifeline",
        "_fetches",
        "_held",
        "_heldSize",
        "_maxBody",
        "_since",
        "_size",
        "_stirred",
        "_stirredAt",
        "_trailers",
        "_upgraded",
        "_uploadPaused",
        "_wheel",
        "askedAt",
        "began",
        "endUser",
        "error",
        "hasLifeline",
        "head",
        "holder",
        "id",
        "mailbox",
        "requestEnded",
        "state",
    )

    def __init__(
        self,
        identifier: str,
        mailbox: Mailbox,
        head: RequestHead,
        answer: IAnswer,
        *,
        clock: IReactorTime,
        wheel: Wheel,
        clocks: Clocks,
        ended: Callable[[Exchange], None],
        endUser: str = "",
        maxBody: int = 0,
        checkTrailers: Callable[[bytes], bytes] = _asTheyAre,
    ) -> None:
        """
        @param identifier: the ID.
        @param mailbox: where it is going to wait.
        @param head: the head of the request, as it goes to the backend.
        @param answer: the client's end.
        @param clock: what tells the time.
        @param wheel: what watches its clocks.
        @param clocks: how long it may take for what.
        @param ended: called once, when it is done or has failed.
        @param endUser: who the client authenticated as.
        @param maxBody: how many bytes the body may have; 0 is any number.
        @param checkTrailers: makes the block of trailer fields that goes on of the one that came.
        """
        self.id = identifier
        self.mailbox = mailbox
        self.head = head
        self.endUser = endUser
        self.began = self._since = clock.seconds()
        self.state = QUEUED
        self.holder: object = None
        self.hasLifeline = False
        self.requestEnded = False
        self.error: Code | None = None
        self.askedAt = 0.0
        self._answer = answer
        self._answerEnded = False
        self._carrier: IUpload | None = None
        self._checkTrailers = checkTrailers
        self._clientClosed = False
        self._expectsLifeline = False
        self._fetches = 0
        self._clock = clock
        self._clocks = clocks
        self._ended = ended
        self._held: list[bytes] | None = []
        self._heldSize = 0
        self._maxBody = maxBody
        self._size = 0
        self._stirred = False
        self._stirredAt = 0.0
        self._trailers = b""
        self._upgraded = False
        self._uploadPaused = False
        self._wheel = wheel
        if clocks.queue:
            wheel.watch(self, self.began + clocks.queue)

    @property
    def upload(self) -> IUpload:
        """
        Where the client's connection sends the body of the request.
        """
        return _RequestSide(self)

    @property
    def peer(self) -> IPeer:
        """
        The client's connection.
        """
        return self._answer.peer

    def __repr__(self) -> str:
        return f"<Exchange {self.id} {self.head.method.decode()} {STATES[self.state]}>"

    def _enter(self, state: int) -> None:
        assert state in _TRANSITIONS[self.state], f"{self!r} to {STATES[state]}"
        self.state = state
        self._since = self._clock.seconds()

    def isOver(self) -> bool:
        """
        Say whether it is done or has failed.
        """
        return self.state >= DONE

    # Taken by a carrier.

    def claim(self, holder: object) -> None:
        """
        Put it under a lease: its ID goes out, and its request will be fetched within a moment, or else it waits again.

        @param holder: who has the lease.
        """
        self._enter(CLAIMED)
        self.holder = holder
        self._watchFor(self._clocks.claim)

    def release(self, holder: object) -> None:
        """
        End a lease early: its holder is lost.
        """
        if self.state == CLAIMED and self.holder is holder:
            self._giveBack()

    def isAnswered(self) -> bool:
        """
        Say whether the head of a response has come, or none will.
        """
        return self.state >= RESPONDING

    def isUpgraded(self) -> bool:
        """
        Say whether the answer is a 101, so that both directions are raw bytes.
        """
        return self._upgraded

    @property
    def carrier(self) -> object:
        """
        What took the request, if anything has.
        """
        return self._carrier

    def isFetchable(self) -> bool:
        """
        Say whether its request can be fetched: for the first time, or again after a fetch that broke half way.
        """
        return self.state == CLAIMED and self._held is not None

    def fetch(self, carrier: IUpload, *, bringsLifeline: bool) -> None:
        """
        Hand the request to a carrier, which has written its head, and from now on gets its body.

        @param carrier: where the body goes; what it is told of the answer is for L{pauseAnswer} alone.
        @param bringsLifeline: whether a call that tells of its agent's loss is to be expected soon.
        """
        self._enter(FETCHED)
        self.holder = None
        self._fetches += 1
        self._carrier = carrier
        self._expectsLifeline = bringsLifeline and not self.hasLifeline
        self._watchFor(self._clocks.claim)
        self._watchFor(self._clocks.response)
        for piece in self._held or ():
            carrier.write(piece)
        if self.requestEnded:
            carrier.finish(self._trailers)
            self._dropHeld()
        elif self._uploadPaused:
            self.resumeUpload()

    def holdLine(self) -> None:
        """
        Take note that the carrier has the call that will tell of its agent's loss.
        """
        self.hasLifeline = True

    def breakFetch(self) -> None:
        """
        Take note that the carrier could not send the request to its end: the agent may fetch it once more.
        """
        if self.state == FETCHED and not self.hasLifeline:
            self._carrier = None
            if self._held is None:
                self.fail(Fault(AGENT_LOST))
            else:
                self.claim(None)

    def loseAgent(self) -> None:
        """
        Take note that the agent is gone: if the request may be sent again and another agent waits, it gets it, else the
        exchange has failed.
        """
        if self.state >= DONE:
            return
        self.hasLifeline = False
        self._carrier = None
        if self.state in (CLAIMED, FETCHED):
            self._giveBack()
        else:
            self.fail(Fault(AGENT_LOST))

    def _giveBack(self) -> None:
        """
        Queue again what was not fetched; what was, only while nothing can go wrong by that, and only for an agent that
        waits already, so that nobody waits long for an agent that will not come back.
        """
        self.holder = None
        if self._fetches and not (
            self._fetches < _MOST_FETCHES and self.head.isReplayable() and self.mailbox.hasWaiters()
        ):
            self.fail(Fault(AGENT_LOST))
            return
        self._enter(QUEUED)
        self._watchFor(self._clocks.queue)
        self.mailbox.requeue(self)

    # The client's end.

    def takeBody(self, data: bytes) -> None:
        """
        Take a piece of the request body from the client.
        """
        if self.state >= DONE:
            return
        self._stirred = True
        if self._maxBody and self.head.upgrade is None:
            self._size += len(data)
            if self._size > self._maxBody:
                self.fail(Fault(BODY_TOO_LARGE, f"a body of more than {self._maxBody} bytes"))
                return
        if self._held is not None:
            self._hold(data)
        if self._carrier is not None:
            self._carrier.write(data)

    def _hold(self, data: bytes) -> None:
        assert self._held is not None
        self._heldSize += len(data)
        if self._carrier is None:
            self._held.append(data)
            if self._heldSize >= _MOST_HELD:
                self.pauseUpload()
        elif self._heldSize <= _MOST_HELD:
            self._held.append(data)
        else:
            self._held = None

    def _dropHeld(self) -> None:
        """
        The request has been passed on to its end: only one that may be repeated can be sent again.
        """
        if not self.head.isReplayable():
            self._held = None

    def endBody(self, trailers: bytes) -> None:
        """
        Take the end of the request from the client; after an upgrade, the end of what the client sends.
        """
        if self.state >= DONE:
            return
        if self.requestEnded:
            self._clientClosed = True
            if self._carrier is not None:
                self._carrier.finish()
            if self._answerEnded:
                self._end(DONE)
            return
        self.requestEnded = True
        self._trailers = self._checkTrailers(trailers) if trailers else b""
        if self._carrier is not None:
            self._carrier.finish(self._trailers)
            self._dropHeld()

    def cancel(self, fault: Fault) -> None:
        """
        Take note that the client is gone, or broke the protocol.
        """
        if self.state < DONE:
            self._break(fault)

    def pauseAnswer(self) -> None:
        """
        Pass on that the client does not keep up.
        """
        if self._carrier is not None:
            self._carrier.pauseAnswer()

    def resumeAnswer(self) -> None:
        """
        Pass on that the client takes more.
        """
        if self._carrier is not None:
            self._carrier.resumeAnswer()

    # The answer, as carriers give it.

    def identify(self, requestID: str, endUser: str = "") -> None:
        self._answer.identify(requestID, endUser)

    def inform(self, head: ResponseHead) -> None:
        if self.state in (CLAIMED, FETCHED):
            self._answer.inform(head)

    def respond(self, head: ResponseHead) -> None:
        if self.state not in (CLAIMED, FETCHED):
            return
        self._enter(RESPONDING)
        self._upgraded = head.status == 101
        self._held = None
        self._watchFor(self._clocks.idle)
        self._answer.respond(head)

    def write(self, data: bytes) -> None:
        if self.state == RESPONDING:
            self._stirred = True
            self._answer.write(data)

    def finish(self, trailers: bytes = b"") -> None:
        if self.state != RESPONDING or self._answerEnded:
            return
        self._answerEnded = True
        if not self._upgraded or self._clientClosed:
            self._end(DONE)
        self._answer.finish(trailers)

    def fail(self, fault: Fault) -> None:
        if self.state < DONE:
            self._break(fault)
            self._answer.fail(fault)

    def pauseUpload(self) -> None:
        self._uploadPaused = True
        self._answer.pauseUpload()

    def resumeUpload(self) -> None:
        self._uploadPaused = False
        self._answer.resumeUpload()

    # The end, and the clocks.

    def _break(self, fault: Fault) -> None:
        waiting = self.state <= CLAIMED
        self.error = fault.code
        carrier = self._carrier
        self._end(FAILED)
        if waiting:
            self.mailbox.withdraw(self)
        if carrier is not None:
            carrier.abort(fault)

    def _end(self, state: int) -> None:
        self._enter(state)
        self._held = None
        self._ended(self)

    def _watchFor(self, seconds: float) -> None:
        if seconds:
            self._wheel.watch(self, self._clock.seconds() + seconds)

    def checkDeadline(self, now: float) -> float:
        if self._stirred:
            self._stirred = False
            self._stirredAt = now
        for seconds, start, act in self._deadlines(now):
            if seconds and now >= start + seconds:
                act()
                break
        return min(
            (start + seconds for seconds, start, _ in self._deadlines(now) if seconds), default=0.0
        )

    def _deadlines(self, now: float) -> list[tuple[float, float, Callable[[], None]]]:
        """
        @return: for each clock that runs in the present state: its seconds, since when, and what to do then.
        """
        clocks = self._clocks
        if self.state == QUEUED:
            start = self._since if self._fetches else self.began
            return [(clocks.queue, start, lambda: self.fail(Fault(QUEUE_TIMEOUT)))]
        if self.state == CLAIMED:
            return [(clocks.claim, self._since, self._giveBack)]
        if self.state == RESPONDING:
            last = max(self._since, self._stirredAt)
            return [(clocks.idle, last, lambda: self.fail(Fault(IDLE_TIMEOUT)))]
        if self.state != FETCHED:
            return []
        running: list[tuple[float, float, Callable[[], None]]] = [
            (clocks.response, self._since, lambda: self.fail(Fault(ORIGIN_TIMEOUT)))
        ]
        if not self.hasLifeline:
            start = (
                self._since if self._expectsLifeline else max(self._since, self.mailbox.lastSeen())
            )
            running.append(
                (clocks.claim if self._expectsLifeline else clocks.agent, start, self.loseAgent)
            )
        if not self.requestEnded and not self._uploadPaused:
            stalled = Fault(HEAD_TIMEOUT, "the request body stopped half way")
            running.append(
                (clocks.idle, max(self._since, self._stirredAt), lambda: self.fail(stalled))
            )
        return running
