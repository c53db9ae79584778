"""
Exchanges: the body on its way to a carrier, back-pressure, and clocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from invproxy.clocks import (
    CLAIMED,
    DONE,
    FAILED,
    QUEUED,
    RESPONDING,
    STATES,
    TRANSITIONS,
    Clocks,
)
from invproxy.deadlines import Deadlines
from invproxy.errors import CLIENT_GONE, Fault
from invproxy.exchange import Exchange
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import ResponseHead, responseHead
from invproxy.interfaces import IAnswer, IExchange, IUpload
from invproxy.mailbox import Mailboxes
from invproxy.test.helpers import RecordingAnswer, requestHead

GONE = Fault(CLIENT_GONE)


@implementer(IUpload)
class Carrier:
    """
    Writes down what an exchange sends.
    """

    def __init__(self) -> None:
        self.body = b""
        self.ended: bytes | None = None
        self.fault: Fault | None = None
        self.paused = False
        self.finishes = 0

    def write(self, data: bytes) -> None:
        self.body += data

    def finish(self, trailers: bytes = b"") -> None:
        self.ended = trailers
        self.finishes += 1

    def abort(self, fault: Fault) -> None:
        self.fault = fault

    def pauseAnswer(self) -> None:
        self.paused = True

    def resumeAnswer(self) -> None:
        self.paused = False


class ClocksTests(SynchronousTestCase):
    """
    L{Clocks} and the table of transitions.
    """

    def test_soonest(self) -> None:
        """
        The shortest clock of each state that is not off.
        """
        clocks = Clocks(queue=3.0, claim=2.0, response=0.0, idle=9.0, agent=1.0)
        self.assertEqual(clocks.soonest, (3.0, 2.0, 1.0, 9.0, 0.0, 0.0))
        off = Clocks(queue=0, claim=0, response=0, idle=0, agent=0)
        self.assertEqual(off.soonest, (0.0,) * 6)

    def test_table(self) -> None:
        """
        Every state is in the table; the last two have no successors, and are reached from wherever there is one.
        """
        self.assertEqual(set(TRANSITIONS), set(range(len(STATES))))
        for state, successors in TRANSITIONS.items():
            self.assertEqual(not successors, state in (DONE, FAILED))
            self.assertTrue(FAILED in successors or not successors)


class ExchangeTests(SynchronousTestCase):
    """
    L{Exchange}, with a carrier that writes down all.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.deadlines = Deadlines(self.clock)
        self.mailboxes = Mailboxes(self.clock, maxPending=2)
        self.mailbox = self.mailboxes.visit("web")
        self.ended: list[Exchange] = []
        self.carrier = Carrier()

    def exchange(
        self,
        method: bytes = b"POST",
        framing: int = CHUNKED,
        fields: list[tuple[bytes, bytes]] | None = None,
        **options: Any,
    ) -> Exchange:
        self.answer = RecordingAnswer()

        def ended(exchange: Exchange) -> None:
            self.ended.append(exchange)
            self.mailboxes.forget(exchange)

        options = {"clocks": Clocks(), **options}
        exchange = Exchange(
            f"id{len(self.mailboxes.exchanges)}",
            self.mailbox,
            requestHead(method, framing=framing, fields=fields or []),
            self.answer,
            deadlines=self.deadlines,
            ended=ended,
            **options,
        )
        self.mailboxes.add(exchange)
        return exchange

    def fetched(self, **options: Any) -> Exchange:
        exchange = self.exchange(**options)
        self.successResultOf(self.mailbox.claim(1))
        exchange.claim(self)
        exchange.fetch(self.carrier, bringsLifeline=False)
        return exchange

    def test_interfaces(self) -> None:
        """
        It is an exchange, an answer, and its body an upload.
        """
        exchange = self.exchange()
        verifyObject(IExchange, exchange)
        verifyObject(IAnswer, exchange)
        verifyObject(IUpload, exchange.body)
        self.assertIn("id0 POST queued", repr(exchange))

    def test_bodyHeld(self) -> None:
        """
        The body is held until a carrier has come, and follows then, with its end and its trailers.
        """
        exchange = self.exchange()
        exchange.body.write(b"one")
        exchange.body.write(b"two")
        self.successResultOf(self.mailbox.claim(1))
        exchange.claim(self)
        exchange.fetch(self.carrier, bringsLifeline=False)
        self.assertEqual(self.carrier.body, b"onetwo")
        exchange.body.write(b"three")
        self.assertIsNone(self.carrier.ended)
        exchange.body.finish(b"\r\nX: 1")
        self.assertEqual((self.carrier.body, self.carrier.ended), (b"onetwothree", b"\r\nX: 1"))

    def test_endHeld(self) -> None:
        """
        So is its end.
        """
        exchange = self.exchange(checkTrailers=lambda block: block.upper())
        exchange.body.write(b"one")
        exchange.body.finish(b"\r\nx: a")
        exchange.fetch(self.carrier, bringsLifeline=False)
        self.assertEqual((self.carrier.body, self.carrier.ended), (b"one", b"\r\nX: A"))
        self.assertEqual(self.mailbox.counts(), (0, 0))

    def test_holdsLittle(self) -> None:
        """
        At 64 KiB the client is asked to wait, and to go on when a carrier has come.
        """
        exchange = self.exchange()
        exchange.body.write(b"x" * 65535)
        self.assertFalse(self.answer.uploadHeld)
        exchange.body.write(b"x")
        self.assertTrue(self.answer.uploadHeld)
        exchange.body.write(b"yy")
        exchange.fetch(self.carrier, bringsLifeline=False)
        self.assertFalse(self.answer.uploadHeld)
        self.assertEqual(self.carrier.body, b"x" * 65536 + b"yy")

    def test_fetchAgain(self) -> None:
        """
        After a broken fetch another carrier gets all, but only while all of it is held.
        """
        for size, good in ((65536, True), (65537, False)):
            self.carrier = Carrier()
            exchange = self.fetched()
            exchange.body.write(b"a" * 1000)
            exchange.body.write(b"b" * (size - 1000))
            self.assertFalse(exchange.isFetchable())
            exchange.breakFetch()
            self.assertEqual(exchange.isFetchable(), good)
            self.assertEqual(exchange.state, CLAIMED if good else FAILED)
            if good:
                exchange.body.write(b"c")
                self.assertTrue(self.answer.uploadHeld)
                again = Carrier()
                exchange.fetch(again, bringsLifeline=False)
                self.assertEqual(len(again.body), size + 1)
                self.assertFalse(self.answer.uploadHeld)
                exchange.cancel(GONE)
                self.assertIs(again.fault, GONE)
                self.assertIsNone(self.carrier.fault)

    def test_endedIsNotHeld(self) -> None:
        """
        Once a body was passed on to its end, it is not sent again.
        """
        exchange = self.fetched()
        exchange.body.finish()
        exchange.breakFetch()
        self.assertEqual(exchange.state, FAILED)

    def test_maxBody(self) -> None:
        """
        A body that gets too large breaks the exchange off, and what follows is ignored.
        """
        exchange = self.fetched(maxBody=3)
        exchange.body.write(b"abc")
        exchange.body.write(b"d")
        exchange.body.write(b"e")
        exchange.body.finish()
        assert self.answer.fault is not None and self.carrier.fault is not None
        self.assertEqual(self.answer.fault.code.name, "body-too-large")
        self.assertEqual((self.carrier.body, self.carrier.ended), (b"abc", None))
        self.assertEqual(self.ended, [exchange])

    def test_backPressure(self) -> None:
        """
        Both directions pass on what the other side wishes.
        """
        exchange = self.fetched()
        exchange.pauseUpload()
        self.assertTrue(self.answer.uploadHeld)
        exchange.resumeUpload()
        self.assertFalse(self.answer.uploadHeld)
        exchange.body.pauseAnswer()
        self.assertTrue(self.carrier.paused)
        exchange.body.resumeAnswer()
        self.assertFalse(self.carrier.paused)

    def test_pausedBeforeCarrier(self) -> None:
        """
        A carrier hears at once that the client does not keep up, even if that was so before it came.
        """
        exchange = self.exchange()
        exchange.body.pauseAnswer()
        exchange.fetch(self.carrier, bringsLifeline=False)
        self.assertTrue(self.carrier.paused)
        exchange.body.resumeAnswer()
        self.assertFalse(self.carrier.paused)

    def test_answer(self) -> None:
        """
        One answer, from its interim responses to its end.
        """
        exchange = self.fetched()
        exchange.inform(ResponseHead(103, b" Early Hints"))
        exchange.respond(responseHead(200, b"OK"))
        exchange.write(b"ab")
        exchange.finish(b"\r\nX: 1")
        self.assertEqual(self.answer.interim[0].status, 103)
        self.assertEqual((self.answer.body, self.answer.trailers), (b"ab", b"\r\nX: 1"))
        self.assertEqual((exchange.state, self.ended), (DONE, [exchange]))

    def test_afterTheEnd(self) -> None:
        """
        Whatever is called when it is over changes nothing, for the answer insists on the rules.
        """
        for end in (
            lambda exchange: exchange.fail(Fault(CLIENT_GONE)),
            lambda exchange: (exchange.respond(responseHead(200, b"OK")), exchange.finish()),
        ):
            exchange = self.fetched()
            end(exchange)
            before = len(self.ended)
            exchange.inform(ResponseHead(103, b""))
            exchange.respond(responseHead(200, b"OK"))
            exchange.write(b"x")
            exchange.finish()
            exchange.fail(GONE)
            exchange.loseAgent()
            exchange.breakFetch()
            exchange.cancel(GONE)
            exchange.body.write(b"x")
            exchange.body.finish()
            exchange.body.pauseAnswer()
            exchange.body.resumeAnswer()
            exchange.pauseUpload()
            exchange.resumeUpload()
            self.clock.advance(1000)
            self.assertEqual(len(self.ended), before)
            self.assertEqual(self.answer.violations, [])

    def test_beforeItsTime(self) -> None:
        """
        A response before the request was fetched is none.
        """
        exchange = self.exchange()
        exchange.respond(responseHead(200, b"OK"))
        exchange.write(b"x")
        exchange.finish()
        exchange.loseAgent()
        exchange.breakFetch()
        self.assertEqual(exchange.state, QUEUED)
        self.assertIsNone(self.answer.head)

    def test_upgraded(self) -> None:
        """
        After a 101 both ends must close.
        """
        for clientFirst in (True, False):
            self.carrier = Carrier()
            upgrade = [(b"Connection", b"upgrade"), (b"Upgrade", b"echo")]
            exchange = self.fetched(method=b"GET", framing=0, fields=upgrade, maxBody=1)
            exchange.body.finish()
            exchange.respond(ResponseHead(101, b" Go"))
            exchange.body.write(b"more than one")
            exchange.write(b"x")
            ends: list[Callable[[], None]] = [exchange.body.finish, exchange.finish]
            for end in ends if clientFirst else reversed(ends):
                self.assertEqual(exchange.state, RESPONDING)
                end()
            self.assertEqual(exchange.state, DONE)
            self.assertEqual(self.carrier.finishes, 2)
            self.assertEqual(self.answer.trailers, b"")

    def test_brokenAfterHalf(self) -> None:
        """
        An upgraded connection of which one direction has ended may still break: the answer has had its last call.
        """
        upgrade = [(b"Connection", b"upgrade"), (b"Upgrade", b"echo")]
        exchange = self.fetched(method=b"GET", framing=0, fields=upgrade)
        exchange.body.finish()
        exchange.respond(ResponseHead(101, b" Go"))
        exchange.finish()
        exchange.loseAgent()
        self.assertEqual((exchange.state, self.ended), (FAILED, [exchange]))
        self.assertEqual(self.answer.violations, [])
        self.assertIsNotNone(self.carrier.fault)

    def test_unclaimed(self) -> None:
        """
        A holder is told of the end of its lease, once, however it comes.
        """
        for end in (
            lambda exchange: exchange.fetch(Carrier(), bringsLifeline=False),
            lambda exchange: exchange.release(self),
            lambda exchange: exchange.cancel(GONE),
            lambda exchange: self.clock.pump([0.1] * 60),
        ):
            told: list[Exchange] = []
            exchange = self.exchange()
            self.successResultOf(self.mailbox.claim(1))
            exchange.claim(self, told.append)
            self.assertEqual(told, [])
            end(exchange)
            self.assertEqual(told, [exchange])
            exchange.cancel(GONE)
            self.assertEqual(told, [exchange])

    def test_releaseByOthers(self) -> None:
        """
        Only the holder releases.
        """
        exchange = self.exchange()
        self.successResultOf(self.mailbox.claim(1))
        exchange.claim(self)
        exchange.release(object())
        self.assertEqual(exchange.state, CLAIMED)
        exchange.release(self)
        self.assertEqual(exchange.state, QUEUED)
        exchange.release(self)
        self.assertEqual(self.mailbox.counts(), (1, 0))

    def test_refused(self) -> None:
        """
        What a full mailbox refuses is over: no clock of it ever runs out, and it was not answered by itself.
        """
        for _ in range(2):
            self.exchange()
        self.assertRaises(Fault, self.exchange)
        self.assertEqual(len(self.ended), 1)
        self.assertEqual(len(self.mailboxes.exchanges), 2)
        self.clock.advance(100)
        self.assertIsNone(self.answer.fault)

    def test_whenEmpty(self) -> None:
        """
        One can wait until none is left.
        """
        first, second = self.exchange(), self.exchange()
        empty = self.mailboxes.whenEmpty()
        first.cancel(GONE)
        self.assertNoResult(empty)
        second.cancel(GONE)
        self.successResultOf(empty)
