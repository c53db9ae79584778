"""
The tables of hostile messages, read by the readers alone: each in one piece and byte by byte; and read by h11 and
llhttp, who understand what we accept in the same way, also with pieces put in and taken out.

To search longer: C{INVPROXY_EXAMPLES=20000 trial invproxy.test.test_hostile_parser}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.http1.fields import items
from invproxy.http1.heads import RequestHead
from invproxy.test import messages, test_http1_differential
from invproxy.test.hostile import chunking, hops, lengths, lines, pipelines, probes, targets
from invproxy.test.hostile.cases import CLOSED, LIMITS, Case, Reply, Seen
from invproxy.test.hostile.responses import RESPONSES
from invproxy.test.hostile.stage import linesOf
from invproxy.test.messages import Reading, Taker, examples, readRequests, readResponse
from invproxy.test.test_http1_hostile import (
    REQUEST_BODIES,
    REQUEST_HEADS,
    TAMED_REQUESTS,
    bytewise,
)
from invproxy.test.test_http1_hostile import RESPONSES as PLAIN_RESPONSES

REQUESTS: dict[str, tuple[Case, ...]] = {
    "lengths": lengths.LENGTHS,
    "codings": lengths.CODINGS,
    "chunks": chunking.CHUNKING,
    "lines, fields and sizes": lines.LINES,
    "targets": targets.TARGETS,
    "Host and forwarding fields": targets.HOSTS,
    "hop-by-hop fields": hops.HOP_BY_HOP,
    "upgrades and HTTP/2": hops.UPGRADES,
    "expectations": hops.EXPECTATIONS,
    "first lines": hops.FIRST_LINES,
    "pipelines": pipelines.PIPELINES,
    "h1spec": probes.H1SPEC,
    "smuggler": probes.SMUGGLER,
}
"""The tables of requests that are played before a whole proxy, too."""

CASES = tuple(case for table in REQUESTS.values() for case in table)


def understood(taker: Taker) -> Seen:
    """
    A message that was read, as it would be sent on.
    """
    head = taker.head
    assert isinstance(head, RequestHead)
    block = head.encode().partition(b"\r\n")[2].join([b"\r\n", b""]).removesuffix(b"\r\n\r\n")
    return Seen(
        head.method + b" " + head.target,
        linesOf(list(items(block))),
        taker.body,
        linesOf(list(items(taker.trailers))),
        taker.finished,
    )


class RequestTests(SynchronousTestCase):
    """
    What the reader makes of requests.
    """

    def read(self, case: Case) -> Reading:
        """
        Read a case whole and byte by byte, which makes no difference.
        """
        data = case.data + case.rest
        reading = readRequests([data], LIMITS)
        piecewise = readRequests(bytewise(data), LIMITS)
        self.assertEqual(
            [understood(taker) for taker in piecewise.messages if taker.finished],
            [understood(taker) for taker in reading.messages if taker.finished],
            case.name,
        )
        self.assertEqual(
            piecewise.fault and piecewise.fault.code,
            reading.fault and reading.fault.code,
            case.name,
        )
        return reading

    def play(self, cases: Iterable[Case]) -> None:
        for case in cases:
            reading = self.read(case)
            if case.above:
                continue
            self.assertEqual(
                [understood(taker) for taker in reading.messages if taker.finished],
                [seen for seen in case.seen if seen.whole],
                case.name,
            )
            for taker in reading.messages:
                if not taker.finished:
                    seen = understood(taker)
                    begun = [(one.first, one.fields) for one in case.seen if not one.whole]
                    self.assertIn((seen.first, seen.fields), begun, case.name)
            status = next((status for status in case.answers if status >= 400), None)
            self.assertEqual(reading.fault and reading.fault.code.status, status, case.name)

    def test_tables(self) -> None:
        """
        Each case becomes the requests that the backend is to see, and the fault that the client is to be told.
        """
        self.play(CASES)

    def test_smugglerBytes(self) -> None:
        """
        So do the mutations of smuggler with each byte in each place, and all of them the other way round.
        """
        self.play(probes.SMUGGLER_BYTES)
        self.play(probes.SMUGGLER_TURNED)

    def test_controlCharacters(self) -> None:
        """
        No control character is accepted in any place.
        """
        message = b"GET /target HTTP/1.1\r\nHost: a\r\nName: value\r\n\r\n"
        for byte in (*range(0x20), 0x7F):
            for at in range(len(message) - 1):
                data = message[:at] + bytes([byte]) + message[at:]
                reading = readRequests([data], LIMITS)
                # A tab may be part of a value, and a CR may begin the end of the head earlier.
                accepted = [understood(taker) for taker in reading.messages]
                if byte == 9 and accepted:
                    self.assertIn(at, {*range(27, 30), *range(36, 44)})
                elif accepted:
                    self.assertEqual((byte, at), (13, 0))

    def test_different(self) -> None:
        """
        No two cases are the same, by name or by what is sent; each says where it is from, and what comes of it.
        """
        rows: list[Any] = [
            *CASES,
            *(row for table in (REQUEST_HEADS, REQUEST_BODIES) for row in table),
        ]
        named = [case.name for case in CASES]
        self.assertEqual(sorted(set(named)), sorted(named))
        found: dict[tuple[bytes, bytes], str] = {}
        for row in rows:
            if getattr(row, "source", "") == "smuggler":
                continue  # which has some twice itself, by different names
            key = (row.data, getattr(row, "rest", b""))
            self.assertNotIn(key, found, f"{row.name} is {found.get(key)}")
            found[key] = row.name
        for case in CASES:
            self.assertTrue(case.source)
            if case.then != CLOSED:
                self.assertFalse([status for status in case.answers if status >= 500], case.name)


class ResponseTests(SynchronousTestCase):
    """
    What the reader makes of responses.
    """

    def read(self, reply: Reply, pieces: list[bytes]) -> Reading:
        upgrade = b"websocket" if b"Upgrade: websocket" in reply.request else None
        return readResponse(pieces, LIMITS, method=reply.method, upgrade=upgrade)

    def test_table(self) -> None:
        """
        Each answer is whole, or breaks off, or is none, as the client is to see it.
        """
        for reply in RESPONSES:
            for pieces in [reply.data], bytewise(reply.data):
                reading = self.read(reply, pieces)
                (taker,) = reading.messages
                if reply.status == 502:
                    self.assertIsNone(taker.head, reply.name)
                    self.assertTrue(reading.fault or reply.ends or len(reply.data) < 80, reply.name)
                    continue
                assert taker.head is not None, reply.name
                self.assertEqual(taker.head.status, reply.status, reply.name)  # type: ignore[union-attr]
                self.assertEqual(taker.finished, not reply.cut, reply.name)
                if not reply.cut:
                    self.assertEqual(taker.body, reply.body, reply.name)
                    self.assertIsNone(reading.fault, reply.name)
                self.assertEqual([head.status for head in taker.interim], list(reply.interim))

    def test_different(self) -> None:
        """
        No two are the same.
        """
        named = [reply.name for reply in RESPONSES]
        self.assertEqual(sorted(set(named)), sorted(named))
        sent = [(reply.request, reply.data) for reply in RESPONSES]
        self.assertEqual(len(set(sent)), len(sent))


def _withAll(found: Iterable[bytes], **more: Any) -> Callable[[Any], Any]:
    """
    Have a property hold of certain messages as they are, and with pieces put in and taken out.
    """
    distinct = list(dict.fromkeys(found))

    def decorate(test: Any) -> Any:
        mutations = messages.mutated(st.sampled_from(distinct))
        test = given(data=mutations, **{name: st.just(value) for name, value in more.items()})(test)
        for data in distinct:
            test = example(data=data, **more)(test)
        return examples(300)(test)

    return decorate


_SENT = [
    *(case.data for case in CASES),
    *(row.data for row in (*REQUEST_HEADS, *REQUEST_BODIES, *TAMED_REQUESTS)),
]
_ANSWERED = [
    *(reply.data for reply in RESPONSES if reply.method == b"GET"),
    *(row.data for row in PLAIN_RESPONSES),
]


def _property(name: str) -> Callable[..., None]:
    test = getattr(test_http1_differential.Differential, name)
    inner: Callable[..., None] = test.hypothesis.inner_test
    return inner


class AgreementTests(SynchronousTestCase):
    """
    Whatever we accept, h11 and llhttp understand as we do.
    """

    def setUp(self) -> None:
        self.check = test_http1_differential.Differential("test_requestsH11")

    @_withAll(_SENT)
    def test_requestsH11(self, data: bytes) -> None:
        _property("test_requestsH11")(self.check, data)

    # All that is behind the head of a CONNECT is another protocol to llhttp, even a body; the proxy refuses it anyway.
    @_withAll(data for data in _SENT if b"CONNECT" not in data)
    def test_requestsLlhttp(self, data: bytes) -> None:
        _property("test_requestsLlhttp")(self.check, data)

    @_withAll(_ANSWERED, method=b"GET", upgrade=None)
    def test_responsesH11(self, data: bytes, method: bytes, upgrade: bytes | None) -> None:
        _property("test_responsesH11")(self.check, data, method, upgrade)

    @_withAll(_ANSWERED)
    def test_responsesLlhttp(self, data: bytes) -> None:
        _property("test_responsesLlhttp")(self.check, data)
