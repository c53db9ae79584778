"""
Tunnels between a proxy and an agent over which anything happens in any order, through links that deliver any pieces.

To search longer: C{INVPROXY_EXAMPLES=5000 trial invproxy.test.test_tunnel_stateful}.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from invproxy.errors import ORIGIN_BAD_RESPONSE, ORIGIN_REFUSED, Fault
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import ResponseHead
from invproxy.test.tunnelcase import GONE, UPGRADE, Pair
from invproxy.test.tunnelends import Client
from invproxy.test.tunnelmodel import LARGEST_PIECE, Answering, Asking, TunnelModel, content

SIZES = st.sampled_from([0, 1, 100, 5000, 16384, 40000, 90000, LARGEST_PIECE])
SIDES = st.sampled_from(["proxy", "agent"])

T = TypeVar("T")


class AnyTunnel(TunnelModel):
    """
    Clients, an origin, and up to three tunnels at once.
    """

    # The origin.

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
