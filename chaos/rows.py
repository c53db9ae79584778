"""
The rows of the fault matrix: who is hit by what, and what requests may come to by that, within which time.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from chaos import hits
from chaos.hits import Hit
from chaos.setting import CLOCKS
from stage.asks import Ask
from stage.results import CLOSED, CUT, REFUSED, RIGHT

TUNNEL, POLL = "tunnel", "poll"

WAITING, REPEATABLE, UPLOADING, STREAMING, UPGRADED, NEW = (
    "waiting, POST",
    "waiting, GET",
    "uploading",
    "streaming",
    "upgraded",
    "new",
)
"""What a request is doing when the fault begins; the last comes right after that."""

ASKS: Mapping[str, Ask] = {
    WAITING: Ask(0, "web", method="POST", upload=100, thinks=3.0),
    REPEATABLE: Ask(0, "web", thinks=3.0),
    UPLOADING: Ask(0, "web", method="POST", upload=60_000, uploadSeconds=4.0),
    STREAMING: Ask(0, "web", form="chunked", size=60_000, seconds=4.0),
    UPGRADED: Ask(0, "web", form="echo", status=101, size=6_000, seconds=4.0),
}
"""The requests that are under way when a fault begins."""

LONGEST = 4.5
"""Seconds that each of them takes by itself."""


@frozen
class Bound:
    """
    A time within which requests end that are not answered right.

    @ivar name: the clocks that bound it.
    @ivar seconds: their sum.
    """

    name: str
    seconds: float


AT_ONCE = Bound("at once", 0.0)
QUEUE = Bound("queue-timeout", CLOCKS.queue + CLOCKS.claim)
LINK = Bound("link-timeout", CLOCKS.link)
RESPONSE = Bound("response-timeout", CLOCKS.response)
IDLE = Bound("idle-timeout", CLOCKS.idle)
IDLE_UPGRADED = Bound("idle-timeout", LONGEST + IDLE.seconds)  # once its client has said all
CONNECT = Bound("connect-timeout", CLOCKS.connect)
LINK_QUEUE = Bound("link- and queue-timeout", LINK.seconds + QUEUE.seconds)
QUEUE_RESPONSE = Bound("queue- and response-timeout", QUEUE.seconds + RESPONSE.seconds)
THAW = Bound("when it goes on", 8.0)


@frozen
class Expected:
    """
    What a request may come to.

    @ivar results: outcomes, or codes of errors.
    @ivar within: by when, from the fault or its own beginning on; what is right may take as long as the fault.
    """

    results: tuple[str, ...]
    within: Bound


def _by(within: Bound, *results: str) -> Expected:
    return Expected(results, within)


_FINE = _by(AT_ONCE, RIGHT)

Expectations = Mapping[str, Expected]
"""By what a request is doing; what is missing has to be answered right."""


@frozen
class Fault:
    """
    A row of the table, for each carrier.

    @ivar name: who, and what.
    @ivar hit: how it begins and ends.
    @ivar tunnel: what is expected where the agent has a tunnel.
    @ivar poll: what is expected where it polls.
    @ivar recovers: within how many seconds of its end everything works again, by carrier.
    @ivar needs: what it needs of the machine: C{"disk"} or C{"line"}, if anything.
    """

    name: str
    hit: Hit
    tunnel: Expectations
    poll: Expectations
    recovers: Mapping[str, float] = field(factory=lambda: {TUNNEL: 15.0, POLL: 15.0})
    needs: str = ""

    def expected(self, carrier: str, doing: str) -> Expected:
        """
        Tell what a request may come to.
        """
        return (self.tunnel if carrier == TUNNEL else self.poll).get(doing, _FINE)


def _alike(name: str, hit: Hit, expectations: Expectations) -> Fault:
    return Fault(name, hit, expectations, expectations)


def _under(*results: str, within: Bound = AT_ONCE, begun: tuple[str, ...] = (CUT,)) -> Expectations:
    """
    What those come to that wait for an answer or send their body, and those whose answer has begun.
    """
    waiting = _by(within, *results)
    return {
        **dict.fromkeys((WAITING, REPEATABLE, UPLOADING), waiting),
        **dict.fromkeys((STREAMING, UPGRADED), _by(within, *begun)),
    }


_NEW_QUEUES = {NEW: _by(QUEUE, RIGHT, "queue-timeout")}

_SILENT: tuple[Expectations, Expectations] = (
    {
        **_under("agent-lost", within=LINK),
        NEW: _by(LINK_QUEUE, RIGHT, "agent-lost", "queue-timeout"),
    },
    {
        **_under("origin-timeout", within=RESPONSE),
        STREAMING: _by(IDLE, CUT),
        UPGRADED: _by(IDLE_UPGRADED, RIGHT, CUT),
        NEW: _by(QUEUE_RESPONSE, RIGHT, "agent-lost", "queue-timeout", "origin-timeout"),
    },
)
"""Where the agent says nothing any more: by a tunnel, and by polls."""

FAULTS = (
    _alike("agent killed", hits.killed("agent"), {**_under("agent-lost"), **_NEW_QUEUES}),
    _alike("agent restarted", hits.restarted("agent"), _NEW_QUEUES),
    Fault("agent stopped for 8 s", hits.frozenFor("agent", 8.0), *_SILENT),
    _alike(
        "proxy killed",
        hits.killed("proxy"),
        {**_under(CLOSED, begun=(CUT,)), NEW: _by(AT_ONCE, REFUSED)},
    ),
    _alike("proxy restarted", hits.restarted("proxy"), {NEW: _by(AT_ONCE, "draining", REFUSED)}),
    _alike(
        "proxy stopped for 8 s",
        hits.frozenFor("proxy", 8.0),
        {
            **_under(RIGHT, "agent-lost", "origin-timeout", within=THAW, begun=(RIGHT, CUT)),
            UPLOADING: _by(THAW, RIGHT, "agent-lost", "origin-timeout", "head-timeout"),
        },
    ),
    _alike(
        "origin killed",
        hits.killed("origin"),
        {
            WAITING: _by(AT_ONCE, "origin-bad-response"),
            REPEATABLE: _by(AT_ONCE, "origin-bad-response", "origin-refused"),
            UPLOADING: _by(AT_ONCE, "origin-bad-response"),
            STREAMING: _by(AT_ONCE, CUT),
            UPGRADED: _by(AT_ONCE, CUT),
            NEW: _by(AT_ONCE, "origin-refused"),
        },
    ),
    _alike(
        "origin stopped for 8 s",
        hits.frozenFor("origin", 8.0),
        {
            **_under("origin-timeout", within=RESPONSE),
            STREAMING: _by(IDLE, CUT),
            UPGRADED: _by(IDLE_UPGRADED, RIGHT, CUT),
            NEW: _by(RESPONSE, "origin-timeout"),
        },
    ),
    _alike(
        "link cut",
        hits.CUT,
        {
            **_under("agent-lost"),
            REPEATABLE: _by(AT_ONCE, RIGHT, "agent-lost"),
            NEW: _by(QUEUE, RIGHT, "agent-lost"),
        },
    ),
    Fault("link frozen for 8 s", hits.FROZEN, *_SILENT),
    _alike("link delayed by 500 ms", hits.SLOWED, {}),
    _alike(
        "proxy out of file descriptors",
        hits.starving("proxy", 4.0),
        {NEW: _by(AT_ONCE, CLOSED, RIGHT)},
    ),
    Fault(
        "agent out of file descriptors",
        hits.starving("agent", 4.0),
        {NEW: _by(AT_ONCE, "origin-refused")},
        {NEW: _by(QUEUE, RIGHT, "origin-refused", "queue-timeout")},
    ),
    _alike("origin out of file descriptors", hits.starving("origin", 3.0), {}),
    Fault(
        "no name is known",
        hits.NAMES_FAIL,
        {NEW: _by(AT_ONCE, "origin-refused")},
        {NEW: _by(QUEUE, RIGHT, "origin-refused", "agent-lost", "queue-timeout")},
    ),
    Fault(
        "nobody tells any name",
        hits.NAMES_HANG,
        {NEW: _by(CONNECT, "origin-refused")},
        # The agent needs connections to the proxy, too, to fetch and to answer.
        {NEW: _by(QUEUE, RIGHT, "origin-refused", "agent-lost", "queue-timeout")},
    ),
    _alike(
        "link cut, the proxy's name is unknown",
        hits.PROXY_NAME_FAILS,
        {**_under("agent-lost"), **_NEW_QUEUES},
    ),
    _alike(
        "link cut, nobody tells the proxy's name",
        hits.PROXY_NAME_HANGS,
        {**_under("agent-lost"), **_NEW_QUEUES},
    ),
    _alike("proxy's clock an hour ahead", hits.jumping("proxy", hits.HOUR), {}),
    Fault(
        "proxy's clock an hour back, agent stopped",
        hits.jumping("proxy", -hits.HOUR, hits.frozenFor("agent", 8.0)),
        *_SILENT,
    ),
    _alike("agent's clock an hour ahead", hits.jumping("agent", hits.HOUR), {}),
    Fault(
        "agent's clock an hour back, link forgotten",
        hits.jumping("agent", -hits.HOUR, hits.FORGOTTEN_FOR_LONG),
        *_SILENT,
        recovers={TUNNEL: 15.0, POLL: 75.0},
    ),
    Fault("disk full", hits.DISK_FULL, {}, {}, needs="disk"),
    Fault("link loses 1 % of its packets", hits.LOSSY, {}, {}, needs="line"),
    Fault(
        "link forgotten",
        hits.FORGOTTEN,
        *_SILENT,
        recovers={TUNNEL: 15.0, POLL: 75.0},
    ),
)
"""
All faults. The last one takes longest: an agent that polls finds out that its link is dead only when its poll has
been out for longer than any proxy lets it wait.
"""
