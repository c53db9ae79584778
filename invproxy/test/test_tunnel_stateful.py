"""
Tunnels between a proxy and an agent over which anything happens in any order, through links that deliver any pieces.

To search longer: C{INVPROXY_EXAMPLES=5000 trial invproxy.test.test_tunnel_stateful}.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from functools import lru_cache
from hashlib import shake_128
from typing import TypeVar

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from invproxy.clocks import DONE, FETCHED, RESPONDING
from invproxy.errors import CLIENT_GONE, ORIGIN_BAD_RESPONSE, ORIGIN_REFUSED, Fault
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import ResponseHead
from invproxy.test.tunnelcase import QUEUE, UPGRADE, Pair
from invproxy.test.tunnelends import Asked, Client

GONE = Fault(CLIENT_GONE)

SIZES = st.sampled_from([0, 1, 100, 5000, 16384, 40000, 90000, 300000])
SIDES = st.sampled_from(["proxy", "agent"])
LARGEST_PIECE = 300000

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

T = TypeVar("T")


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
class _Watch:
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


class AnyTunnel(RuleBasedStateMachine):
    """
    Clients, an origin, and up to three tunnels at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.watch = _Watch()
        globalLogPublisher.addObserver(self.watch)
        self.pair = Pair()
        self.links = [self.pair]
        self.paused: set[tuple[int, str]] = set()
        self.slots = 0
        self.askings: list[Asking] = []
        self.answerings: list[Answering] = []
        self.pair.origin.opened = self.opened
        self.began: dict[int, int] = {}

    # The origin.

    def opened(self, asked: Asked) -> None:
        number = int(asked.head.target[1:])
        attempt = self.began[number] = self.began.get(number, 0) + 1
        self.answerings.append(Answering(asked, f"{number}-{attempt}", self.askings[number]))

    def drawAnswering(
        self, data: st.DataObject, good: Callable[[Answering], bool]
    ) -> Answering | None:
        likely = [each for each in self.answerings if each.mayAnswer() and good(each)]
        return self.choose(data, likely)

    def choose(self, data: st.DataObject, likely: list[T]) -> T | None:
        """
        Choose one, mostly the last.
        """
        if not likely:
            return None
        number: int = data.draw(st.sampled_from([0, 0, 0, *range(10)]))
        return likely[-1 - number % len(likely)]

    @rule(data=st.data(), kind=st.sampled_from(["chunked", "chunked", "length", "empty"]))
    def respond(self, data: st.DataObject, kind: str) -> None:
        one = self.drawAnswering(data, lambda each: not each.responded)
        if one is None:
            return
        one.responded = True
        block = b"\r\nX-Of: %b" % one.tag.encode()
        if one.asked.head.upgrade is not None and kind != "empty":
            one.isRaw = True
            one.asked.answer.respond(ResponseHead(101, b" Go", block, upgrade=b"echo"))
        elif kind == "chunked":
            one.asked.respond(block=block)
        else:
            one.length = 0 if kind == "empty" else 50000
            one.asked.respond(length=one.length, block=block)

    @rule(data=st.data())
    def inform(self, data: st.DataObject) -> None:
        one = self.drawAnswering(data, lambda each: not each.responded)
        if one is not None:
            one.asked.answer.inform(ResponseHead(103, b" Early"))

    @rule(data=st.data(), size=SIZES)
    def originSends(self, data: st.DataObject, size: int) -> None:
        one = self.drawAnswering(data, lambda each: each.responded and not each.asked.isPaused)
        if one is None:
            return
        if one.length >= 0:
            size = min(size, one.length - one.sent)
        one.asked.answer.write(content("down" + one.tag, one.sent, size))
        one.sent += size

    @rule(data=st.data(), trailers=st.sampled_from([b"", b"", b"\r\nX-T: 1"]))
    def originFinishes(self, data: st.DataObject, trailers: bytes) -> None:
        one = self.drawAnswering(
            data, lambda each: each.responded and each.length in (-1, each.sent)
        )
        if one is not None:
            one.finished = True
            one.trailers = b"" if one.isRaw else trailers
            one.asked.answer.finish(one.trailers)

    @rule(data=st.data(), code=st.sampled_from([ORIGIN_REFUSED, ORIGIN_BAD_RESPONSE]))
    def originFails(self, data: st.DataObject, code: object) -> None:
        one = self.drawAnswering(data, lambda each: True)
        if one is not None:
            one.failed = True
            one.asked.answer.fail(Fault(code))  # type: ignore[arg-type]

    @rule(data=st.data(), pause=st.booleans())
    def pacesUpload(self, data: st.DataObject, pause: bool) -> None:
        one = self.drawAnswering(data, lambda each: each.isPaused != pause)
        if one is not None:
            one.isPaused = pause
            (one.asked.answer.pauseUpload if pause else one.asked.answer.resumeUpload)()

    # Clients.

    @rule(kind=st.sampled_from(["get", "post", "post", "upgrade"]))
    def ask(self, kind: str) -> None:
        if sum(not each.client.over for each in self.askings) >= 8:
            return
        number = len(self.askings)
        # Known to the origin before it is asked, as that may be at once.
        asking = Asking(number, kind, Client())
        self.askings.append(asking)
        asking.client = self.pair.ask(
            b"POST" if kind == "post" else b"GET",
            b"/%d" % number,
            UPGRADE if kind == "upgrade" else [],
            framing=CHUNKED if kind == "post" else 0,
        )
        asking.ends = 0 if kind == "post" else 1

    def drawAsking(self, data: st.DataObject, good: Callable[[Asking], bool]) -> Asking | None:
        likely = [each for each in self.askings if not each.aborted and good(each)]
        return self.choose(data, likely)

    @rule(data=st.data(), size=SIZES)
    def clientSends(self, data: st.DataObject, size: int) -> None:
        one = self.drawAsking(data, Asking.maySend)
        if one is None:
            return
        if one.client.exchange.carrier is None:
            one.isEarly = True
            size = min(size, 70000)
        one.client.body_.write(content(f"up{one.number}", one.sent, size))
        one.sent += size

    @rule(data=st.data())
    def clientFinishes(self, data: st.DataObject) -> None:
        one = self.drawAsking(data, Asking.maySend)
        if one is not None:
            one.ends += 1
            one.client.body_.finish(b"\r\nX-U: 1" if one.kind == "post" else b"")

    @rule(data=st.data(), pause=st.booleans())
    def pacesAnswer(self, data: st.DataObject, pause: bool) -> None:
        one = self.drawAsking(data, lambda each: each.isPaused != pause and not each.client.over)
        if one is not None:
            one.isPaused = pause
            (one.client.body_.pauseAnswer if pause else one.client.body_.resumeAnswer)()

    @rule(data=st.data())
    def clientLeaves(self, data: st.DataObject) -> None:
        one = self.drawAsking(data, lambda each: not each.client.over)
        if one is not None:
            one.aborted = True
            one.client.abort(GONE)

    # Links.

    def drawLink(self, data: st.DataObject) -> Pair:
        return self.links[data.draw(st.integers(0, len(self.links) - 1))]

    @rule(
        data=st.data(),
        toAgent=st.booleans(),
        size=st.sampled_from([1, 3, 14, 200, 20000, 1 << 30]),
    )
    def deliver(self, data: st.DataObject, toAgent: bool, size: int) -> None:
        link = self.drawLink(data)
        (link.toAgent if toAgent else link.toProxy)(size)

    @rule()
    def turn(self) -> None:
        self.pair.clock.advance(0)

    @rule(size=st.sampled_from([None, None, 7919, 60000]))
    def settle(self, size: int | None) -> None:
        """
        Let everything arrive; what then must be the case is checked in C{settled}.
        """
        for _ in range(3):
            for link in self.links:
                link.settle(size)
        self.settled()

    @rule(data=st.data(), side=SIDES, pause=st.booleans())
    def pacesLink(self, data: st.DataObject, side: str, pause: bool) -> None:
        link = self.drawLink(data)
        session = link.proxy if side == "proxy" else link.agent
        (session.outbox.pause if pause else session.outbox.resume)()
        (self.paused.add if pause else self.paused.discard)((id(link), side))

    @rule(
        data=st.data(),
        how=st.sampled_from(["drain proxy", "drain agent", "cut", "close", "reset"]),
        really=st.integers(0, 3),
    )
    def end(self, data: st.DataObject, how: str, really: int) -> None:
        """
        Put an end to a tunnel, but not so often that nothing ever comes about.
        """
        link = self.drawLink(data)
        if really < 2:
            return
        if how == "cut":
            link.cut()
        elif how == "close":
            link.proxy.life.close(1001, "enough")
        elif how == "reset":
            link.agent.cut()
        else:
            (link.proxy if how == "drain proxy" else link.agent).life.drain()

    @rule(
        data=st.data(),
        kind=st.sampled_from(["get", "post", "upgrade"]),
        steps=st.lists(
            st.sampled_from(
                [
                    "respond",
                    "up",
                    "down",
                    "down",
                    "settle",
                    "settle",
                    "end up",
                    "end down",
                    "hold",
                    "release",
                    "piece",
                    "fill",
                    "drain",
                ]
            ),
            min_size=3,
            max_size=14,
        ),
    )
    def workOnOne(self, data: st.DataObject, kind: str, steps: list[str]) -> None:
        """
        What is common, as chance alone seldom does it: a request comes to the origin, is answered, and bodies flow.
        """
        if not any(link.proxy.hasRoom() for link in self.links):
            self.connect()
        self.ask(kind)
        self.settle(None)
        if data.draw(st.booleans()):
            self.respond(data, "chunked")
        acts: dict[str, Callable[[], None]] = {
            "respond": lambda: self.respond(data, "chunked"),
            "up": lambda: self.clientSends(data, data.draw(SIZES)),
            "down": lambda: self.originSends(data, data.draw(SIZES)),
            "end up": lambda: self.clientFinishes(data),
            "end down": lambda: self.originFinishes(data, b""),
            "settle": lambda: self.settle(None),
            "hold": lambda: (self.pacesAnswer if data.draw(st.booleans()) else self.pacesUpload)(
                data, True
            ),
            "release": lambda: (self.pacesAnswer if data.draw(st.booleans()) else self.pacesUpload)(
                data, False
            ),
            "fill": lambda: self.pacesLink(data, data.draw(SIDES), True),
            "drain": lambda: self.pacesLink(data, data.draw(SIDES), False),
            "piece": lambda: self.deliver(data, data.draw(st.booleans()), 20000),
        }
        for step in steps:
            acts[step]()
            self.always()

    @rule()
    def connect(self) -> None:
        if sum(map(self.isAlive, self.links)) >= 3 or len(self.pair.tunnels) >= 9:
            return
        self.slots += 1
        link = copy.copy(self.pair)
        link.slot = self.slots
        link.connect()
        self.links = [
            each
            for each in self.links
            if not (each.proxy.outbox.isClosed and each.agent.outbox.isClosed)
        ]
        self.links.append(link)

    @rule()
    def loseOneOfTwo(self) -> None:
        """
        What is rare: a tunnel breaks while another is there, which gets the requests that may be sent again.
        """
        self.connect()
        for _ in range(3):
            self.ask("get")
        self.settle(None)
        self.links[0].cut()
        self.always()
        self.settle(None)

    @rule(kind=st.sampled_from(["get", "post"]))
    def askWhileItLeaves(self, kind: str) -> None:
        """
        A request that meets the GOAWAY of an agent which still has something to finish.
        """
        self.connect()
        self.ask("get")
        self.settle(None)
        for link in self.links:
            link.agent.life.drain()
        self.ask(kind)
        self.settle(None)
        self.always()
        self.connect()

    @rule(seconds=st.sampled_from([0.25, 1.0, 4.0]), delivers=st.booleans())
    def wait(self, seconds: float, delivers: bool) -> None:
        for _ in range(int(seconds * 4)):
            self.pair.clock.advance(0.25)
            if delivers:
                self.settle(None)

    # What always holds.

    @invariant()
    def always(self) -> None:
        self.nothingFails()
        self.uploadsArrive()
        self.answersArrive()
        self.endsOnce()
        self.streamsAreThoseOfExchanges()
        self.memoryIsBounded()

    def isAlive(self, link: Pair) -> bool:
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

    def teardown(self) -> None:
        """
        When all clients have left, no stream is left; and when the tunnels are closed, nothing at all.
        """
        try:
            for link in self.links:
                link.proxy.outbox.resume()
                link.agent.outbox.resume()
                self.paused.clear()
            self.settle(None)
            for asking in self.askings:
                if not asking.aborted and (not asking.client.over or asking.isRaw()):
                    asking.aborted = asking.client._aborted = True
                    asking.client.body_.abort(GONE)
            self.settle(None)
            self.endsOnce()
            assert self.pair.mailboxes.exchanges == {}
            assert self.pair.mailbox.counts() == (0, 0)
            for link in self.links:
                assert link.proxy.streams == {}, link.proxy.streams
                assert link.agent.streams == {}, link.agent.streams
                link.agent.life.drain()
            self.settle(None)
            for answering in self.answerings:
                done = answering.finished or answering.failed or answering.asked.fault is not None
                assert done, answering
            self.nothingFails()
            assert self.pair.left() == (0, 0, 0), self.pair.left()
            for _ in range(80):
                self.pair.clock.advance(0.25)
            assert self.pair.clock.getDelayedCalls() == []
            for link in self.links:
                assert link.agent.gone.called and link.agent.left.called
        finally:
            globalLogPublisher.removeObserver(self.watch)


class AnyTunnelTests(SynchronousTestCase):
    """
    L{AnyTunnel} breaks no invariant.
    """

    def test_anything(self) -> None:
        """
        Bodies arrive in order and in their own stream, every exchange ends once, and nothing is left over.
        """
        asked = int(os.environ.get("INVPROXY_EXAMPLES", "0"))
        run_state_machine_as_test(
            AnyTunnel,
            settings=settings(
                max_examples=asked or 100,
                stateful_step_count=60,
                derandomize=not asked,
                database=None,
            ),
        )
