"""
The states of an exchange, and the clocks that run in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from invproxy.errors import HEAD_TIMEOUT, IDLE_TIMEOUT, ORIGIN_TIMEOUT, Fault

if TYPE_CHECKING:
    from invproxy.exchange import Exchange

QUEUED: Final = 0
CLAIMED: Final = 1
FETCHED: Final = 2
RESPONDING: Final = 3
DONE: Final = 4
FAILED: Final = 5
"""
The states: waiting; its ID handed out, under a lease; its request on the way to an agent; its response on the way to
the client; ended well; ended otherwise.
"""

STATES: Final = ("queued", "claimed", "fetched", "responding", "done", "failed")
"""The names of the states."""

TRANSITIONS: Final = {
    QUEUED: {CLAIMED, FETCHED, FAILED},
    CLAIMED: {QUEUED, FETCHED, FAILED},
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
    @ivar soonest: for each state, the shortest of the clocks that may run in it, or 0.
    """

    queue: float = 30.0
    claim: float = 5.0
    response: float = 0.0
    idle: float = 300.0
    agent: float = 60.0
    soonest: tuple[float, ...] = field(init=False)

    @soonest.default
    def _shortest(self) -> tuple[float, ...]:
        def shortest(*clocks: float) -> float:
            return min(filter(None, clocks), default=0.0)

        fetched = shortest(self.claim, self.response, self.idle, self.agent)
        return (self.queue, self.claim, fetched, self.idle, 0.0, 0.0)


def deadlinesOf(exchange: Exchange, clocks: Clocks) -> Iterator[tuple[float, Callable[[], None]]]:
    """
    Tell the deadlines of an exchange in its present state.

    @return: for each clock that runs, when it runs out in seconds, and what to do then.
    """
    state = exchange.state
    since = exchange.since
    if state == QUEUED:
        if clocks.queue:
            # Whoever waits again because an agent did not come has waited all the time.
            yield exchange.waitsSince + clocks.queue, exchange.failWaiting
    elif state == CLAIMED:
        if clocks.claim:
            yield since + clocks.claim, exchange.giveBack
    elif state == RESPONDING:
        if clocks.idle:
            last = max(since, exchange.stirredAt)
            yield last + clocks.idle, partial(exchange.fail, Fault(IDLE_TIMEOUT))
    elif state == FETCHED:
        if clocks.response:
            yield since + clocks.response, partial(exchange.fail, Fault(ORIGIN_TIMEOUT))
        if exchange.hasLifeline:
            pass
        elif exchange.expectsLifeline and clocks.claim:
            yield since + clocks.claim, exchange.loseAgent
        elif clocks.agent:
            last = max(since, exchange.mailbox.lastSeen())
            yield last + clocks.agent, exchange.loseAgent
        if clocks.idle and exchange.body.isAwaited():
            last = max(since, exchange.stirredAt)
            stalled = Fault(HEAD_TIMEOUT, "the request body stopped half way")
            yield last + clocks.idle, partial(exchange.fail, stalled)
