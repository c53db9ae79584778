"""
The exchange: one client request and its one response, from the moment its head has come until its answer has ended.

It stands between the client's connection, which asks, and a carrier, which takes the request to an agent and brings the
answer. The states that it goes through, and their clocks, are in L{invproxy.clocks}; what the client's connection talks
to is its L{RequestBody}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from zope.interface import implementer

from invproxy.clocks import (
    CLAIMED,
    DONE,
    FAILED,
    FETCHED,
    QUEUED,
    RESPONDING,
    STATES,
    TRANSITIONS,
    Clocks,
    deadlinesOf,
)
from invproxy.deadlines import Deadlines
from invproxy.errors import AGENT_LOST, QUEUE_TIMEOUT, Code, Fault
from invproxy.http1.fields import dropper
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.marks import OWN
from invproxy.interfaces import IAnswer, IExchange, IPeer, IUpload
from invproxy.metrics import Tally
from invproxy.requestbody import RequestBody

_MOST_FETCHES: Final = 3
"""How many agents get to try one request, should each be lost over it."""

_dropProxysOwn: Final = dropper(b"x-inverting-proxy-*")


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


@implementer(IExchange, IAnswer)
class Exchange:
    """
    One request and its response. To a carrier it is the L{IAnswer} of the request it took.

    @ivar id: what names it towards agents; not to be guessed.
    @ivar head: the head of the request, as it goes to the backend.
    @ivar endUser: who the client authenticated as, or empty.
    @ivar session: by what the client is known, if that may end before the exchange does.
    @ivar began: when it came, in seconds on the clock.
    @ivar mailbox: where it waits.
    @ivar state: one of the states of L{invproxy.clocks}.
    @ivar since: when it entered its state.
    @ivar waitsSince: since when it waits for an agent: since it came, or since the last agent that had begun was lost.
    @ivar takenAt: when an agent first took it, or -1.
    @ivar stirredAt: when a byte of a body came last, either way, or could come again after a pause.
    @ivar fetches: how many times its request was fetched.
    @ivar hasLifeline: whether the carrier will tell when its agent is lost.
    @ivar expectsLifeline: whether the carrier ought to have that soon.
    @ivar body: the body of the request: where the client's connection sends it.
    @ivar carrier: what took the request, if anything has.
    @ivar answer: the client's end.
    @ivar error: why it failed.
    @ivar sent: how many bytes of the answer's body have come.
    @ivar upgraded: whether the answer is a 101, so that both directions are raw bytes.
    """

    __slots__ = (
        "_answerEnded",
        "_answerPaused",
        "_clientClosed",
        "_clocks",
        "_ended",
        "_holder",
        "_metrics",
        "_seconds",
        "_soonest",
        "_unclaimed",
        "_deadlines",
        "askedAt",
        "began",
        "body",
        "carrier",
        "endUser",
        "error",
        "expectsLifeline",
        "fetches",
        "hasLifeline",
        "head",
        "id",
        "mailbox",
        "answer",
        "sent",
        "session",
        "since",
        "state",
        "stirredAt",
        "takenAt",
        "upgraded",
        "waitsSince",
    )

    def __init__(
        self,
        identifier: str,
        mailbox: Mailbox,
        head: RequestHead,
        answer: IAnswer,
        *,
        deadlines: Deadlines,
        clocks: Clocks,
        ended: Callable[[Exchange], None],
        endUser: str = "",
        maxBody: int = 0,
        checkTrailers: Callable[[bytes], bytes] | None = None,
        metrics: Tally | None = None,
    ) -> None:
        """
        @param identifier: the ID.
        @param mailbox: where it is going to wait.
        @param head: the head of the request, as it goes to the backend.
        @param answer: the client's end.
        @param deadlines: what tells the time, and watches its clocks.
        @param clocks: how long it may take for what.
        @param ended: called once, when it is done or has failed.
        @param endUser: who the client authenticated as.
        @param maxBody: how many bytes the body may have; 0 is any number.
        @param checkTrailers: makes the block of trailer fields that goes on of the one that came.
        @param metrics: told of its end.
        """
        self.id = identifier
        self.mailbox = mailbox
        self.head = head
        self.endUser = endUser
        self.session: object = None
        self._seconds = deadlines.seconds
        self.began = self.since = self.stirredAt = self.waitsSince = self._seconds()
        self.state = QUEUED
        self.takenAt = -1.0
        self.fetches = 0
        self.hasLifeline = False
        self.expectsLifeline = False
        self.error: Code | None = None
        self.askedAt = 0.0
        self.carrier: IUpload | None = None
        self.answer = answer
        self._answerEnded = False
        self._answerPaused = False
        self._clientClosed = False
        self._clocks = clocks
        self._soonest = clocks.soonest
        self._ended = ended
        self._holder: object = None
        self._metrics = metrics
        self._unclaimed: Callable[[Exchange], None] | None = None
        self.sent = 0
        self.upgraded = False
        self._deadlines = deadlines
        self.body = RequestBody(self, maxBody, checkTrailers)
        if self._soonest[QUEUED]:
            deadlines.watch(self, self.began + self._soonest[QUEUED])

    @property
    def peer(self) -> IPeer:
        """
        The client's connection.
        """
        return self.answer.peer

    def __repr__(self) -> str:
        return f"<Exchange {self.id} {self.head.method.decode()} {STATES[self.state]}>"

    def _enter(self, state: int) -> None:
        assert state in TRANSITIONS[self.state], f"{self!r} to {STATES[state]}"
        self.state = state
        self.since = now = self._seconds()
        if self._unclaimed is not None:
            unclaimed, self._unclaimed, self._holder = self._unclaimed, None, None
            unclaimed(self)
        soonest = self._soonest[state]
        if soonest and not 0.0 < self.askedAt <= now + soonest:
            self._deadlines.watch(self, now + soonest)

    def _watch(self) -> None:
        soonest = self._soonest[self.state]
        if soonest:
            self._deadlines.watch(self, self._seconds() + soonest)

    # Taken by a carrier.

    def claim(self, holder: object, unclaimed: Callable[[Exchange], None] | None = None) -> None:
        """
        Put it under a lease: its ID goes out, and its request will be fetched within a moment, or else it waits again.

        @param holder: who has the lease.
        @param unclaimed: called with the exchange when the lease is over, for whatever reason.
        """
        self._enter(CLAIMED)
        self._holder = holder
        self._unclaimed = unclaimed

    def release(self, holder: object) -> None:
        """
        End a lease early: its holder is lost.
        """
        if self.state == CLAIMED and self._holder is holder:
            self.giveBack()

    def isAnswered(self) -> bool:
        """
        Say whether the head of a response has come, or none will.
        """
        return self.state >= RESPONDING

    def isUntouched(self) -> bool:
        """
        Say whether no harm is done if the client sends the request again: no agent has it, or it may be repeated.
        """
        return self.state <= CLAIMED or self.head.isReplayable()

    def isFetchable(self) -> bool:
        """
        Say whether its request can be fetched: for the first time, though it may be waiting again as its lease ran out,
        or once more after a fetch that broke half way.
        """
        return self.state <= CLAIMED and self.body.isHeld()

    def fetch(self, carrier: IUpload, *, bringsLifeline: bool) -> None:
        """
        Hand the request to a carrier, which has written its head, and from now on gets its body.

        @param carrier: where the body goes; what it is told of the answer is for L{pauseAnswer} alone.
        @param bringsLifeline: whether a call that tells of its agent's loss is to be expected soon.
        """
        if self.state == QUEUED:
            self.mailbox.withdraw(self)
            self._enter(CLAIMED)
        self.expectsLifeline = bringsLifeline
        self.fetches += 1
        self.carrier = carrier
        self._enter(FETCHED)
        if self.takenAt < 0.0:
            self.takenAt = self.since
        if self._answerPaused:
            carrier.pauseAnswer()
        self.body.deliver(carrier)

    def take(self, carrier: IUpload) -> None:
        """
        Hand the request to a carrier that will tell at once when its agent is lost.

        @param carrier: as for L{fetch}.
        """
        self.hasLifeline = True
        self.fetches += 1
        self.carrier = carrier
        self._enter(FETCHED)
        if self.takenAt < 0.0:
            self.takenAt = self.since
        if self._answerPaused:
            carrier.pauseAnswer()
        if self.head.framing == 0 and self.head.upgrade is None:
            self.body.deliverNothing()
        else:
            self.body.deliver(carrier)

    def holdLine(self) -> None:
        """
        Take note that the carrier has the call that will tell of its agent's loss.
        """
        self.hasLifeline = True

    def loseLine(self) -> None:
        """
        Take note that this call broke, which need not mean that the agent is lost.
        """
        self.hasLifeline = False
        self._watch()

    def breakFetch(self) -> None:
        """
        Take note that the carrier could not send the request to its end: the agent may fetch it once more.
        """
        if self.state == FETCHED and not self.hasLifeline:
            self.carrier = None
            if self.body.isHeld():
                self.waitsSince = self._seconds()
                self.claim(None)
            else:
                self.fail(Fault(AGENT_LOST))

    def loseAgent(self) -> None:
        """
        Take note that the agent is gone: if the request may be sent again and another agent waits, it gets it, else the
        exchange has failed.
        """
        if self.state not in (FETCHED, RESPONDING):
            return
        self.hasLifeline = False
        carrier, self.carrier = self.carrier, None
        if carrier is not None:
            carrier.abort(Fault(AGENT_LOST))
        if self.state == RESPONDING:
            self.fail(Fault(AGENT_LOST))
        else:
            self.giveBack()

    def refuse(self) -> None:
        """
        Take note that the agent has not begun with the request, and will not: another may have it, whatever it asks.
        """
        if self.state == RESPONDING:
            self.fail(Fault(AGENT_LOST))
        if self.state != FETCHED:
            return
        self.carrier = None
        self.hasLifeline = False
        if self.body.takeBack():
            self.fetches -= 1
            self._enter(QUEUED)
            self.mailbox.requeue(self)
        else:
            self.fail(Fault(AGENT_LOST))

    def giveBack(self) -> None:
        """
        Queue again what was not fetched; what was, only while nothing can go wrong by that, and only for an agent that
        waits already, so that nobody waits long for an agent that will not come back.
        """
        queue = self._clocks.queue
        if self.state == CLAIMED and queue and self._seconds() >= self.began + queue:
            # Or an agent that claims and never fetches would have it wait for ever.
            self.fail(Fault(AGENT_LOST if self.fetches else QUEUE_TIMEOUT))
            return
        if self.fetches and not (
            self.fetches < _MOST_FETCHES and self.head.isReplayable() and self.mailbox.hasWaiters()
        ):
            self.fail(Fault(AGENT_LOST))
            return
        now = self._seconds()
        if self.state == FETCHED:
            self.waitsSince = now
        elif self._clocks.queue and now >= self.waitsSince + self._clocks.queue:
            # While agents ask that do not fetch, it is never seen waiting.
            self.failWaiting()
            return
        self._enter(QUEUED)
        self.mailbox.requeue(self)

    def failWaiting(self) -> None:
        """
        Take note that no agent has come for too long.
        """
        self.fail(Fault(AGENT_LOST if self.fetches else QUEUE_TIMEOUT))

    # The client's end.

    def stir(self) -> None:
        """
        Take note of a byte of a body.
        """
        self.stirredAt = self._seconds()

    def awaitClient(self) -> None:
        """
        Take note that from now on it is up to the client to send its body.
        """
        self.stirredAt = self._seconds()
        self._watch()

    def closeClient(self) -> None:
        """
        Take note that the client sends no more on an upgraded connection.
        """
        self._clientClosed = True
        if self.carrier is not None:
            self.carrier.finish()
        if self._answerEnded:
            self._end(DONE)

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
        self._answerPaused = True
        if self.carrier is not None:
            self.carrier.pauseAnswer()

    def resumeAnswer(self) -> None:
        """
        Pass on that the client takes more.
        """
        self._answerPaused = False
        if self.carrier is not None:
            self.carrier.resumeAnswer()

    # The answer, as carriers give it.

    def identify(self, requestID: str, endUser: str = "") -> None:
        self.answer.identify(requestID, endUser)

    def inform(self, head: ResponseHead) -> None:
        if CLAIMED <= self.state <= FETCHED:
            if head.status == 100:
                self.body.grantLeave()
            head.fields = _dropProxysOwn(head.fields)
            self.answer.inform(head)

    def respond(self, head: ResponseHead) -> None:
        if self.state != FETCHED:
            return
        self._enter(RESPONDING)
        self.upgraded = head.status == 101
        self.body.drop()
        if head.marks & OWN:
            head.fields = _dropProxysOwn(head.fields)
        self.answer.respond(head)

    def write(self, data: bytes) -> None:
        if self.state == RESPONDING:
            self.stirredAt = self._seconds()
            self.sent += len(data)
            self.answer.write(data)

    def finish(self, trailers: bytes = b"") -> None:
        if self.state != RESPONDING or self._answerEnded:
            return
        self._answerEnded = True
        if not self.upgraded or self._clientClosed:
            self._end(DONE)
        self.answer.finish(_dropProxysOwn(trailers) if trailers else trailers)

    def fail(self, fault: Fault) -> None:
        if self.state < DONE:
            self._break(fault)
            if not self._answerEnded:  # as it may have on an upgraded connection
                self.answer.fail(fault)

    def pauseUpload(self) -> None:
        self.body.pause()

    def resumeUpload(self) -> None:
        self.body.resume()

    # The end, and the clocks.

    def _break(self, fault: Fault) -> None:
        waiting = self.state == QUEUED
        self.error = fault.code
        carrier = self.carrier
        self._end(FAILED)
        if waiting:
            self.mailbox.withdraw(self)
        if carrier is not None:
            carrier.abort(fault)

    def _end(self, state: int) -> None:
        metrics = self._metrics
        if metrics is not None:
            began = self.began
            metrics.exchangeEnded(
                self.takenAt - began if self.takenAt >= 0.0 else -1.0,
                self.since - began if self.state == RESPONDING else -1.0,
                self.body.size,
            )
        self._enter(state)
        self._deadlines.forget(self)
        self.body.close()
        self.carrier = None
        self._ended(self)

    def checkDeadline(self, now: float) -> float:
        for when, act in deadlinesOf(self, self._clocks):
            if now >= when:
                act()
                break
        return min((when for when, _ in deadlinesOf(self, self._clocks)), default=0.0)
