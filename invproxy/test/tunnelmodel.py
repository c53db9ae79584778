"""
What clients and origins did through tunnels, and what must hold of it whatever they did.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import shake_128

from attrs import define, field
from hypothesis.stateful import RuleBasedStateMachine, invariant
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from invproxy.clocks import DONE, FETCHED, RESPONDING
from invproxy.test.tunnelcase import QUEUE, Pair
from invproxy.test.tunnelends import Asked, Client

LARGEST_PIECE = 300000
"""The most bytes that anybody sends at once."""

FAULTS = {
    "agent-lost",
    "client-gone",
    "queue-timeout",
    "origin-refused",
    "origin-bad-response",
    "idle-timeout",
    "head-timeout",
}
"""What an exchange may fail with here."""

REASONS = (
    "the connection broke",
    "the agent closed the connection",
    "the peer closed it: drained (1001)",
    "the peer closed it: enough (1001)",
    "nothing came for ",
    "drained",
    "stopping",
    "the peer closed it: stopping (1001)",
    "enough",
)
"""Why a tunnel may be closed here."""

_PERIOD = 10007


@lru_cache(maxsize=64)
def _stock(tag: str) -> bytes:
    return shake_128(tag.encode()).digest(_PERIOD) * 400


def content(tag: str, start: int, size: int) -> bytes:
    """
    Part of a body that no other has, and that is nowhere the same within four millions of bytes.
    """
    start %= _PERIOD
    return _stock(tag)[start : start + size]


@define(eq=False)
class Asking:
    """
    A client, and what it has done.

    @ivar number: what its request is called.
    @ivar sent: bytes of its body.
    @ivar ends: how many times it has ended its direction.
    @ivar isPaused: whether it takes nothing.
    @ivar aborted: whether it has left.
    @ivar isEarly: whether it sent when no tunnel had its request.
    """

    number: int
    kind: str
    client: Client
    sent: int = 0
    ends: int = 0
    isPaused: bool = False
    aborted: bool = False
    isEarly: bool = False
    checked: int = 0

    def isRaw(self) -> bool:
        """
        Has it been upgraded?
        """
        return self.client.head is not None and self.client.head.status == 101

    def maySend(self) -> bool:
        """
        May it send bytes now?
        """
        if self.aborted or self.client.uploadHeld:
            return False
        if self.kind == "upgrade":
            return self.isRaw() and self.ends < 2
        return self.kind == "post" and not self.ends


@define(eq=False)
class Answering:
    """
    An attempt of the origin at a request.

    @ivar tag: what its answer is called.
    @ivar length: the Content-Length of its answer, or -1.
    """

    asked: Asked
    tag: str
    asking: Asking
    responded: bool = False
    isRaw: bool = False
    length: int = -1
    sent: int = 0
    finished: bool = False
    trailers: bytes = b""
    failed: bool = False
    isPaused: bool = False
    checked: int = 0

    def mayAnswer(self) -> bool:
        """
        May it call the answer?
        """
        return not (self.finished or self.failed or self.asked.fault is not None)


@implementer(ILogObserver)
@define(eq=False)
class Watch:
    """
    Takes down failures, and why tunnels were closed.
    """

    failures: list[str] = field(factory=list)
    reasons: list[str] = field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.failures.append(str(event["log_failure"]))
        if "tunnel of {backend} closed" in (event.get("log_format") or ""):
            self.reasons.append(event["why"])


class TunnelModel(RuleBasedStateMachine):
    """
    Clients, an origin, and the tunnels between them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.watch = Watch()
        globalLogPublisher.addObserver(self.watch)
        self.pair = Pair()
        self.links = [self.pair]
        self.paused: set[tuple[int, str]] = set()
        self.slots = 0
        self.askings: list[Asking] = []
        self.answerings: list[Answering] = []
        self.pair.origin.opened = self.opened
        self.began: dict[int, int] = {}

    def opened(self, asked: Asked) -> None:
        """
        A request has come to the origin.
        """
        number = int(asked.head.target[1:])
        attempt = self.began[number] = self.began.get(number, 0) + 1
        self.answerings.append(Answering(asked, f"{number}-{attempt}", self.askings[number]))

    @invariant()
    def always(self) -> None:
        """
        What holds at any moment.
        """
        self.nothingFails()
        self.uploadsArrive()
        self.answersArrive()
        self.endsOnce()
        self.streamsAreThoseOfExchanges()
        self.memoryIsBounded()

    def isAlive(self, link: Pair) -> bool:
        """
        Is this tunnel neither broken nor closed?
        """
        return not link.isCut and not link.proxy.outbox.isClosed and not link.agent.outbox.isClosed

    def settled(self) -> None:
        """
        When all has been delivered, both ends agree, and what nobody holds back has arrived.
        """
        for link in self.links:
            assert not (link.proxyEnd.written or link.agentEnd.written) or link.isCut
            if not self.isAlive(link):
                continue
            paused = {side for where, side in self.paused if where == id(link)}
            if not paused:
                assert set(link.proxy.streams) == set(link.agent.streams)
                assert link.proxy.outbox.isFree and link.agent.outbox.isFree
            for number, stream in link.proxy.streams.items():
                if number not in link.agent.streams:
                    continue
                other = link.agent.streams[number]
                [answering] = [each for each in self.answerings if each.asked is other.upload]
                asking = answering.asking
                assert stream.exchange is asking.client.exchange
                if "agent" not in paused and not asking.isPaused and not asking.aborted:
                    assert len(asking.client.body) == answering.sent
                    assert not answering.asked.isPaused
                    assert asking.client.finished == answering.finished
                if "proxy" not in paused and not answering.isPaused and "agent" not in paused:
                    assert len(answering.asked.body) == asking.sent
                    assert not asking.client.uploadHeld
                    assert len(answering.asked.ends) == asking.ends

    def nothingFails(self) -> None:
        """
        Nothing is logged as a failure, and nobody breaks a rule.
        """
        assert self.watch.failures == [], self.watch.failures
        for reason in self.watch.reasons:
            assert reason.startswith(REASONS), reason
        for link in self.links:
            assert link.proxyEnd.violations == [], link.proxyEnd.violations
            assert link.agentEnd.violations == [], link.agentEnd.violations
        for asking in self.askings:
            assert asking.client.violations == [], asking.client.violations
            if asking.client.fault is not None:
                assert asking.client.fault.code.name in FAULTS, asking.client.fault
        for answering in self.answerings:
            assert answering.asked.violations == [], answering.asked.violations

    def uploadsArrive(self) -> None:
        """
        Bodies of requests arrive in order, and in their own streams.
        """
        for one in self.answerings:
            body, asking = one.asked.body, one.asking
            assert len(body) <= asking.sent
            if len(body) > one.checked:
                expected = content(f"up{asking.number}", one.checked, len(body) - one.checked)
                assert body[one.checked :] == expected
                one.checked = len(body)
            # It never looks whole when it is not.
            assert len(one.asked.ends) <= asking.ends
            if one.asked.ends and asking.kind == "post":
                assert len(body) == asking.sent
                assert one.asked.ends == [b"\r\nX-U: 1"]
            if len(one.asked.ends) == 2:
                assert len(body) == asking.sent

    def answersArrive(self) -> None:
        """
        So do answers.
        """
        for asking in self.askings:
            client = asking.client
            if client.head is None:
                continue
            [one] = [
                each
                for each in self.answerings
                if each.asking is asking
                and b"X-Of: " + each.tag.encode() + b"\r" in client.head.fields + b"\r"
            ]
            if client.pieces:
                body = client.body
                client.pieces[:] = [body]
                assert len(body) <= one.sent
                if len(body) > asking.checked:
                    size = len(body) - asking.checked
                    expected = content("down" + one.tag, asking.checked, size)
                    assert body[asking.checked :] == expected
                    asking.checked = len(body)
            if client.finished:
                assert one.finished
                assert len(client.body) == one.sent
                assert client.trailers == one.trailers

    def endsOnce(self) -> None:
        """
        An exchange ends once, and is in flight until then.
        """
        ended = self.pair.ended
        assert len(set(ended)) == len(ended)
        running = self.pair.mailboxes.exchanges
        for asking in self.askings:
            exchange = asking.client.exchange
            assert (exchange in ended) != (exchange.id in running)
            assert (exchange.state >= DONE) == (exchange in ended)
            if not asking.client.over:
                assert exchange.state < DONE

    def streamsAreThoseOfExchanges(self) -> None:
        """
        There is a stream for each exchange that an agent has, and for no other.
        """
        carried = []
        for link in self.links:
            for number, stream in link.proxy.streams.items():
                assert stream.isOpen and stream.number == number
                if stream.exchange.state in (FETCHED, RESPONDING):
                    carrier: object = stream.exchange.carrier
                    assert carrier is stream
                    carried.append(stream.exchange)
                else:
                    # An upgraded one whose end is still on its way.
                    assert stream.exchange.state == DONE and stream.exchange.upgraded
            for number, answer in link.agent.streams.items():
                assert answer.isOpen and answer.number == number
        assert len(set(carried)) == len(carried)
        for exchange in self.pair.mailboxes.exchanges.values():
            assert (exchange.state in (FETCHED, RESPONDING)) == (exchange in carried)

    def memoryIsBounded(self) -> None:
        """
        No stream keeps more than its share.
        """
        early = {each.client.exchange for each in self.askings if each.isEarly}
        for link in self.links:
            for stream in (*link.proxy.streams.values(), *link.agent.streams.values()):
                assert stream._queued == sum(map(len, stream._queue or ()))
            for stream in link.proxy.streams.values():
                assert stream._queued < QUEUE + LARGEST_PIECE or stream.exchange in early
                window = stream._window
                if window is not None:
                    assert 0 <= window._left <= window.size
            for other in link.agent.streams.values():
                assert other._queued < QUEUE + LARGEST_PIECE
                if other._window is not None:
                    assert 0 <= other._window._left <= other._window.size
            for session in (link.proxy, link.agent):
                assert session.budget.left >= 0
