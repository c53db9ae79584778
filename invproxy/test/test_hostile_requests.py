"""
Hostile clients before a whole proxy, with an agent and a backend: what they get, what the backend sees, and that nobody
else, and no later request, comes to harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from invproxy.errors import CODES
from invproxy.test.hostile.cases import CLOSED, GOES_ON, WAITS, Case, Seen
from invproxy.test.hostile.chunking import CHUNKING
from invproxy.test.hostile.hops import EXPECTATIONS, FIRST_LINES, HOP_BY_HOP, UPGRADES
from invproxy.test.hostile.lengths import CODINGS, LENGTHS
from invproxy.test.hostile.lines import LINES
from invproxy.test.hostile.pipelines import PIPELINES
from invproxy.test.hostile.probes import H1SPEC, SMUGGLER
from invproxy.test.hostile.stage import Answered, Asked, Stage, readAnswers
from invproxy.test.hostile.targets import HOSTS, TARGETS
from invproxy.test.test_http1_hostile import REQUEST_BODIES, REQUEST_HEADS, Refused
from invproxy.testing import MemoryClient

_VIA = b"invproxy-"


def plainCases() -> Iterable[Case]:
    """
    The table of the parser's own tests, so far as its bounds are not others.
    """
    rows: list[tuple[Refused, tuple[Seen, ...]]] = [(row, ()) for row in REQUEST_HEADS]
    rows += [
        (row, (Seen(b"POST /", (b"Host: a", b"Transfer-Encoding: chunked"), whole=False),))
        for row in REQUEST_BODIES
    ]
    for row, seen in rows:
        much = row.code in ("target-too-long", "head-too-large")
        if not much and not row.name.startswith(("long ", "many ", "a long ", "a request behind")):
            status = CODES[row.code].status
            yield Case(f"plain: {row.name}", "RFC 9112", row.data, (status,), seen)


if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object


class HostileClients(_Base):
    """
    Each table, each case on a connection of its own, on one proxy for all of them.

    @cvar transport: how exchanges reach the agent.
    @cvar piecewise: whether all comes byte by byte.
    """

    transport: str
    piecewise = False

    def setUp(self) -> None:
        self.stage = Stage(self.transport)
        self.other = self.stage.pair.client()

    def play(self, cases: Iterable[Case]) -> None:
        """
        Play cases one after the other.
        """
        for case in cases:
            self.assertHarmless(case, self.other, b"/before")
            try:
                self.playOne(case)
            except Exception as error:
                error.add_note(f"case: {case.name}")
                raise
        self.stage.close()

    def playOne(self, case: Case) -> None:
        stage = self.stage
        backend = stage.backend
        before = len(backend.asked)
        connections = backend.connections
        client = stage.pair.client()
        stage.send(client, case.data, piecewise=self.piecewise)
        data = client.take()
        if case.rest:
            self.assertFalse(client.ended)
            whole = sum(seen.whole for seen in case.seen)
            self.assertLess(sum(asked.whole for asked in backend.asked[before:]), whole or 1)
            stage.send(client, case.rest)
            data += client.take()
        answers = readAnswers(data, [seen.method for seen in case.seen if seen.whole], client.ended)
        self.assertAnswers(case, answers)
        if case.then == WAITS and not case.rest:
            self.assertFalse(client.ended)
            stage.leave(client)
        elif case.then == CLOSED:
            self.assertTrue(client.ended or client.closed)
        asked = backend.asked[before:]
        self.assertSeen(case, asked)
        if all(seen.whole and seen.method != b"HEAD" for seen in case.seen):
            self.assertEqual(backend.connections, connections, "the backend's connection is lost")
        if case.then == GOES_ON or case.rest:
            self.assertHarmless(case, client, b"/same")
        self.assertHarmless(case, self.other, b"/other")
        stage.leave(client)
        self.assertEqual(stage.exchanges(), 0)
        self.assertEqual(backend.complaints, [])
        self.assertTrue(stage.sameLinks(), "the tunnel is lost")

    def assertAnswers(self, case: Case, answers: list[Answered]) -> None:
        """
        The client got what it should, and each answer is that of its own request.
        """
        statuses = [status for answer in answers for status in (*answer.interim, answer.status)]
        expected = list(case.answers)
        if case.rest:
            expected += [200] * (sum(seen.whole for seen in case.seen) - len(expected))
            expected = expected or [200]
        self.assertEqual(statuses, expected)
        served = [seen for seen in case.seen if seen.whole]
        for answer in answers:
            self.assertTrue(answer.whole)
            if b"x-inverting-proxy-error" in answer.names:
                self.assertGreaterEqual(answer.status, 400)
            elif answer.status == 200 and served and not (case.above and not answer.body):
                seen = served.pop(0)
                self.assertEqual(answer.body, b"" if seen.method == b"HEAD" else seen.first)

    def assertSeen(self, case: Case, asked: Sequence[Asked]) -> None:
        """
        The backend saw what it should, and nothing else.
        """
        seen = case.seen
        whole = [one for one in asked if one.whole]
        self.assertEqual(
            [(one.first, one.fields, one.body, one.trailers) for one in whole],
            [(one.first, one.fields, one.body, one.trailers) for one in seen if one.whole],
        )
        begun = [(one.first, one.fields) for one in seen if not one.whole]
        for one in asked:
            if not one.whole:
                self.assertIn((one.first, one.fields), begun)
                begun.remove((one.first, one.fields))
            self.assertAdded(one)

    def assertAdded(self, asked: Asked) -> None:
        """
        What the proxy adds is there once, and says what is so.
        """
        added = dict(asked.added)
        (via,) = added.pop(b"via")
        self.assertIn(_VIA, via)
        self.assertNotIn(b",", via)
        (forwarded,) = added.pop(b"forwarded")
        self.assertTrue(forwarded.startswith(b"for=127.0.0.1;"), forwarded)
        self.assertNotIn(b",", re.sub(rb'"[^"]*"', b"", forwarded))
        self.assertEqual(added.pop(b"x-forwarded-for"), [b"127.0.0.1"])
        self.assertEqual(added.pop(b"x-forwarded-proto"), [b"http"])
        host = [line[6:] for line in asked.fields if line.lower().startswith(b"host: ")]
        if via.startswith(b"1.1"):
            self.assertEqual(added.pop(b"x-forwarded-host", []), host)

    def assertHarmless(self, case: Case, client: MemoryClient, target: bytes) -> None:
        """
        A request gets its own answer.
        """
        answers, asked = self.stage.ask(client, target)
        self.assertEqual([answer.status for answer in answers], [200], f"{case.name}: {target!r}")
        self.assertEqual(answers[0].body, b"GET " + target, case.name)
        self.assertTrue(answers[0].whole)
        assert asked is not None, case.name
        self.assertEqual((asked.first, asked.body), (b"GET " + target, b""), case.name)
        self.assertFalse(client.ended)

    def test_lengths(self) -> None:
        self.play(LENGTHS)

    def test_codings(self) -> None:
        self.play(CODINGS)

    def test_chunking(self) -> None:
        self.play(CHUNKING)

    def test_lines(self) -> None:
        self.play(LINES)

    def test_targets(self) -> None:
        self.play(TARGETS)

    def test_hosts(self) -> None:
        self.play(HOSTS)

    def test_hops(self) -> None:
        self.play(HOP_BY_HOP)

    def test_upgrades(self) -> None:
        self.play(UPGRADES)

    def test_expectations(self) -> None:
        self.play(EXPECTATIONS)

    def test_firstLines(self) -> None:
        self.play(FIRST_LINES)

    def test_pipelines(self) -> None:
        self.play(PIPELINES)

    def test_h1spec(self) -> None:
        self.play(H1SPEC)

    def test_smuggler(self) -> None:
        self.play(SMUGGLER)

    def test_plain(self) -> None:
        self.play(plainCases())


class TunnelTests(HostileClients, SynchronousTestCase):
    """
    By a tunnel.
    """

    transport = "tunnel"


class PollTests(HostileClients, SynchronousTestCase):
    """
    By polls.
    """

    transport = "poll"


class PiecewiseTests(HostileClients, SynchronousTestCase):
    """
    By a tunnel, byte by byte.
    """

    transport = "tunnel"
    piecewise = True
