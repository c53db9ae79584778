"""
Exchanges: the body on its way to a carrier, back-pressure, clocks, and a machine that does anything in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

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
)
from invproxy.deadlines import Deadlines
from invproxy.errors import CLIENT_GONE, Fault
from invproxy.exchange import Exchange
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import ResponseHead, responseHead
from invproxy.interfaces import IAnswer, IExchange, IUpload
from invproxy.mailbox import Mailboxes
from invproxy.proxy.root import ProxyResource
from invproxy.proxy.settings import ProxySettings
from invproxy.test.helpers import FakePeer, RecordingAnswer, requestHead
from invproxy.wire.poll import BACKEND_ID, ERROR, FEATURES, REQUEST_ID

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
            clock=self.clock,
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


class Anything(RuleBasedStateMachine):
    """
    Clients and agents that do anything in any order, to a proxy without a network.
    """

    clients = Bundle("clients")
    polls = Bundle("polls")
    ids = Bundle("ids")
    fetches = Bundle("fetches")

    MAX_PENDING = 4

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.proxy = ProxyResource(
            self.clock,
            ProxySettings(
                maxPending=self.MAX_PENDING,
                maxBody=200_000,
                queueTimeout=20.0,
                responseTimeout=100.0,
                idleTimeout=50.0,
            ),
        )
        self.owners: dict[str, RecordingAnswer] = {}
        self.asked: list[RecordingAnswer] = []
        self.calls: list[RecordingAnswer] = []
        self.ends: dict[str, int] = {}
        self.lines: list[tuple[str, RecordingAnswer]] = []
        ends = self.ends

        class Exchanges(dict[str, Exchange]):
            def pop(self, identifier: str, *default: Any) -> Any:
                ends[identifier] = ends.get(identifier, 0) + 1
                return super().pop(identifier, *default)

        self.proxy.mailboxes.exchanges = Exchanges()
        self.call(b"GET", b"request", "0" * 32)

    # Agents.

    def call(
        self,
        method: bytes,
        path: bytes,
        identifier: str | None = None,
        fields: list[tuple[bytes, bytes]] | None = None,
        backend: bytes = b"web",
    ) -> RecordingAnswer:
        named = [(BACKEND_ID, backend), *(fields or [])]
        if identifier is not None:
            named.append((REQUEST_ID, identifier.encode()))
        answer = RecordingAnswer()
        framing = CHUNKED if method == b"POST" else 0
        head = requestHead(method, b"/agent/" + path, named, framing=framing)
        answer.upload = self.proxy.open(head, answer)
        if method == b"GET" and not answer.over:
            answer.upload.finish()
        self.calls.append(answer)
        return answer

    def lose(self, answer: RecordingAnswer) -> None:
        """
        Break a connection, as the server does it.
        """
        if not answer.over:
            answer.abort(GONE)
        peer = answer.peer
        assert isinstance(peer, FakePeer)
        peer.lose()

    def drawID(self, data: st.DataObject, *states: int) -> str:
        """
        Choose an ID: mostly one of an exchange in certain states, else any that there ever was, or none.
        """
        exchanges = self.proxy.mailboxes.exchanges
        likely = [each for each in exchanges if exchanges[each].state in states]
        # By number, as IDs are random.
        number = data.draw(st.integers(0, 9))
        if likely and number < 8:
            return likely[data.draw(st.integers(0, len(likely) - 1))]
        known = [*self.owners, "f" * 32]
        return known[data.draw(st.integers(0, len(known) - 1))]

    @rule(target=polls)
    def poll(self) -> RecordingAnswer:
        return self.call(b"GET", b"pending")

    @rule(poll=consumes(polls))
    def losePoll(self, poll: RecordingAnswer) -> None:
        self.lose(poll)

    @rule(target=fetches, data=st.data(), ours=st.booleans())
    def fetch(self, data: st.DataObject, ours: bool) -> RecordingAnswer:
        identifier = self.drawID(data, CLAIMED)
        fields = [(FEATURES, b"interim, upgrade")] if ours else []
        return self.call(b"GET", b"request", identifier, fields)

    @rule(fetch=consumes(fetches))
    def loseFetch(self, fetch: RecordingAnswer) -> None:
        self.lose(fetch)

    @rule(fetch=fetches, pause=st.booleans())
    def paceFetch(self, fetch: RecordingAnswer, pause: bool) -> None:
        if not fetch.over and fetch.upload is not None:
            (fetch.upload.pauseAnswer if pause else fetch.upload.resumeAnswer)()

    @rule(data=st.data())
    def openLine(self, data: st.DataObject) -> None:
        identifier = self.drawID(data, FETCHED)
        self.lines.append((identifier, self.call(b"POST", b"response", identifier)))

    def drawLine(self, data: st.DataObject) -> tuple[str, RecordingAnswer] | None:
        self.lines = [line for line in self.lines if not line[1].over]
        return self.lines[data.draw(st.integers(0, len(self.lines) - 1))] if self.lines else None

    @rule(data=st.data())
    def reportError(self, data: st.DataObject) -> None:
        identifier = self.drawID(data)
        self.call(b"POST", b"response", identifier, [(ERROR, b"origin-refused")])

    @rule(
        data=st.data(),
        kinds=st.sampled_from(
            [
                ("whole",),
                ("head",),
                ("head", "body"),
                ("head", "body", "end"),
                ("body",),
                ("body", "end"),
                ("end",),
                ("interim",),
                ("upgrade",),
                ("upgrade", "body"),
                ("garbage",),
            ]
        ),
        finish=st.booleans(),
    )
    def answer(self, data: st.DataObject, kinds: tuple[str, ...], finish: bool) -> None:
        line = self.drawLine(data)
        if line is None:
            return
        identifier, call = line
        assert call.upload is not None
        for kind in kinds:
            if not call.over and not call.uploadHeld:
                call.upload.write(self.inner(identifier, kind))
        if finish and not call.over and not call.uploadHeld:
            call.upload.finish()

    def inner(self, identifier: str, kind: str) -> bytes:
        """
        A piece of a response.
        """
        name = identifier.encode()
        return {
            "interim": b"HTTP/1.1 103 Early Hints\r\n\r\n",
            "head": b"HTTP/1.1 200 OK\r\nX-Of: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % name,
            "body": b"%x\r\n%b\r\n" % (len(name), name),
            "end": b"0\r\n\r\n",
            "whole": b"HTTP/1.1 200 OK\r\nX-Of: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (name, len(name), name),
            "garbage": b"\x00\n\n",
            "upgrade": b"HTTP/1.1 101 Go\r\nX-Of: %b\r\nConnection: upgrade\r\nUpgrade: e\r\n\r\n"
            % name,
        }[kind]

    @rule(data=st.data())
    def loseLine(self, data: st.DataObject) -> None:
        line = self.drawLine(data)
        if line is not None:
            self.lose(line[1])

    # Clients.

    @rule(
        target=clients,
        kind=st.sampled_from(["get", "upgrade", "post", "length", "expect"]),
    )
    def ask(self, kind: str) -> RecordingAnswer:
        answer = RecordingAnswer()
        fields: list[tuple[bytes, bytes]] = []
        method, framing = b"GET", 0
        if kind == "upgrade":
            fields = [(b"Connection", b"upgrade"), (b"Upgrade", b"e")]
        elif kind != "get":
            method, framing = b"POST", 150_000 if kind == "length" else CHUNKED
            if kind == "expect":
                fields = [(b"Expect", b"100-continue")]
        answer.upload = self.proxy.open(requestHead(method, fields=fields, framing=framing), answer)
        assert answer.identity is not None
        self.owners[answer.identity[0]] = answer
        self.asked.append(answer)
        if framing == 0 and not answer.over:
            answer.upload.finish()
        return answer

    @rule(client=clients, size=st.sampled_from([1, 1000, 70_000]), end=st.booleans())
    def send(self, client: RecordingAnswer, size: int, end: bool) -> None:
        if client.over or client.upload is None:
            return
        raw = client.head is not None and client.head.status == 101
        sending = getattr(client, "isSending", True)
        if not (raw or sending):
            return
        client.upload.write(b"b" * size)
        if end and not client.over:
            client.isSending = False  # type: ignore[attr-defined]
            client.upload.finish()

    @rule(client=clients, pause=st.booleans())
    def pace(self, client: RecordingAnswer, pause: bool) -> None:
        if not client.over and client.upload is not None:
            (client.upload.pauseAnswer if pause else client.upload.resumeAnswer)()

    @rule(client=consumes(clients))
    def leave(self, client: RecordingAnswer) -> None:
        if not client.over:
            client.abort(GONE)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 2.0, 4.0, 6.0, 25.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.clock.pump([0.25] * int(seconds * 4) or [seconds])

    @rule()
    def release(self) -> None:
        for mailbox in self.proxy.mailboxes:
            mailbox.release()

    @rule(data=st.data(), ours=st.booleans())
    def workOnOne(self, data: st.DataObject, ours: bool) -> None:
        """
        What is common, as chance alone seldom does it: a client asks, and an agent polls, fetches, and opens the call
        for the response.
        """
        self.ask("upgrade" if ours and data.draw(st.booleans()) else "get")
        self.poll()
        identifier = self.drawID(data, CLAIMED)
        fields = [(FEATURES, b"interim, upgrade")] if ours else []
        self.call(b"GET", b"request", identifier, fields)
        self.lines.append((identifier, self.call(b"POST", b"response", identifier)))

    # What always holds.

    @invariant()
    def rulesAreKept(self) -> None:
        for answer in (*self.asked, *self.calls):
            assert answer.violations == [], answer.violations

    @invariant()
    def answeredByTheirOwn(self) -> None:
        for identifier, answer in self.owners.items():
            if answer.head is None:
                continue
            name = identifier.encode()
            assert b"X-Of: " + name in answer.head.fields, (identifier, answer.head)
            if answer.head.status != 101:
                assert answer.body == name * (len(answer.body) // len(name))

    @invariant()
    def endsOnce(self) -> None:
        exchanges = self.proxy.mailboxes.exchanges
        assert all(count == 1 for count in self.ends.values())
        assert not set(self.ends) & set(exchanges)
        for identifier, exchange in exchanges.items():
            answer = self.owners[identifier]
            half = answer.finished and exchange.upgraded
            assert not answer.over or half, exchange

    @invariant()
    def mailboxIsBounded(self) -> None:
        exchanges = list(self.proxy.mailboxes.exchanges.values())
        for mailbox in self.proxy.mailboxes:
            queued = sum(exchange.state == QUEUED for exchange in exchanges)
            assert mailbox.counts()[0] == queued
            returned = len(mailbox._returned)
            assert queued - returned <= self.MAX_PENDING
            assert not (mailbox.counts()[0] and mailbox.counts()[1])

    @invariant()
    def carriedWhileFetched(self) -> None:
        for exchange in self.proxy.mailboxes.exchanges.values():
            assert (exchange.carrier is not None) == (exchange.state in (FETCHED, RESPONDING))

    def teardown(self) -> None:
        """
        In the end, when all have left, nothing is left.
        """
        for answer in self.calls:
            self.lose(answer)
        for answer in self.asked:
            if not answer.over or (answer.head is not None and answer.head.status == 101):
                if answer.upload is not None:
                    answer._aborted = True
                    answer.upload.abort(GONE)
        self.endsOnce()
        assert self.proxy.mailboxes.exchanges == {}
        for mailbox in self.proxy.mailboxes:
            assert mailbox.counts() == (0, 0), mailbox.counts()
        assert self.proxy._deadlines._watched == {}
        self.clock.advance(1)
        assert self.clock.getDelayedCalls() == []


class AnythingTests(SynchronousTestCase):
    """
    L{Anything} breaks no invariant.
    """

    def test_anything(self) -> None:
        """
        Each exchange is answered at most once and by its own response, ends exactly once, and nothing is left over.
        """
        run_state_machine_as_test(
            Anything, settings=settings(max_examples=100, stateful_step_count=40)
        )
