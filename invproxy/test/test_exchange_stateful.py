"""
Anything that clients and agents may do to exchanges, in any order.
"""

from __future__ import annotations

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

from invproxy.clocks import (
    CLAIMED,
    FETCHED,
    QUEUED,
    RESPONDING,
)
from invproxy.errors import CLIENT_GONE, Fault
from invproxy.exchange import Exchange
from invproxy.http1.framing import CHUNKED
from invproxy.proxy.root import ProxyResource
from invproxy.proxy.settings import ProxySettings
from invproxy.test.helpers import FakePeer, RecordingAnswer, requestHead
from invproxy.wire.poll import BACKEND_ID, ERROR, FEATURES, REQUEST_ID

GONE = Fault(CLIENT_GONE)


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
