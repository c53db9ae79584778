"""
Hostile backends behind a whole proxy and an agent: what clients get of it, and that nobody else, and no later request,
comes to harm.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from invproxy.test.hostile.cases import Reply
from invproxy.test.hostile.responses import RESPONSES
from invproxy.test.hostile.stage import Answered, Stage, readAnswers
from invproxy.test.test_http1_hostile import RESPONSES as PLAIN_RESPONSES
from invproxy.testing import MemoryClient


def plainReplies() -> Iterable[Reply]:
    """
    The table of the parser's own tests, so far as its bounds are not others.
    """
    for row in PLAIN_RESPONSES:
        if row.code != "head-too-large" and not row.name.startswith(("a long", "a reason one")):
            status = 200 if row.opened else 502
            interim = (100,) if row.name == "an interim response and HTTP/0.9" else ()
            yield Reply(
                f"plain: {row.name}", "RFC 9112", row.data, status, interim=interim, cut=row.opened
            )


if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object


class ReplyAssertions(_Base):
    """
    What there is to say about the answer to a client.
    """

    def assertAnswers(self, reply: Reply, answers: list[Answered]) -> None:
        """
        The client got one answer, and that is it.
        """
        if reply.cut and not answers:
            return  # a reset may overtake what was sent before it
        (answer,) = answers
        if reply.cut and answer.status == 502:
            self.assertTrue(answer.whole)  # it broke before any of it had left the agent
            return
        self.assertEqual((answer.status, answer.interim), (reply.status, list(reply.interim)))
        self.assertEqual(answer.whole, not reply.cut)
        if reply.status == 502:
            self.assertIn(b"X-Inverting-Proxy-Error: origin-bad-response", answer.fields)
            self.assertNotIn(b"evil", answer.body)
        elif not reply.cut:
            self.assertEqual(answer.body, reply.body)
            self.assertNotIn(b"x-inverting-proxy-error", answer.names)
        if reply.fields is not None:
            hop = (b"transfer-encoding", b"connection")
            kept = [line for line in answer.fields if line.partition(b":")[0].lower() not in hop]
            self.assertEqual(tuple(kept), reply.fields)


class HostileBackends(ReplyAssertions):
    """
    Each answer, one after the other, by one agent.

    @cvar transport: how exchanges reach the agent.
    @cvar piecewise: whether the answer comes byte by byte.
    """

    transport: str
    piecewise = False

    def setUp(self) -> None:
        self.stage = Stage(self.transport)
        self.other = self.stage.pair.client()

    def play(self, replies: Iterable[Reply]) -> None:
        for reply in replies:
            try:
                self.playOne(reply)
            except Exception as error:
                error.add_note(f"reply: {reply.name}")
                raise
        self.stage.close()

    def playOne(self, reply: Reply) -> None:
        stage = self.stage
        self.assertHarmless(self.other, b"/before")
        stage.backend.hostile = (reply.data, reply.ends)
        stage.backend.piecewise = self.piecewise
        connections = stage.backend.connections
        client = stage.pair.client()
        stage.send(client, reply.request)
        answers = readAnswers(client.take(), [reply.method], client.ended)
        self.assertAnswers(reply, answers)
        if reply.cut and not (answers and answers[0].status == 502):
            self.assertIsNotNone(client.closed)
        else:
            self.assertHarmless(client, b"/same")
        self.assertHarmless(self.other, b"/other")
        if reply.reused:
            self.assertEqual(stage.backend.connections, connections)
        else:
            self.assertGreater(stage.backend.connections, connections)
        stage.leave(client)
        self.assertEqual(stage.exchanges(), 0)
        self.assertEqual(stage.backend.complaints, [])
        self.assertTrue(stage.sameLinks(), "the tunnel is lost")

    def assertHarmless(self, client: MemoryClient, target: bytes) -> None:
        """
        A request gets its own answer.
        """
        answers, asked = self.stage.ask(client, target)
        self.assertEqual(
            [(a.status, a.body, a.whole) for a in answers], [(200, b"GET " + target, True)]
        )
        assert asked is not None
        self.assertFalse(client.ended)

    def test_responses(self) -> None:
        self.play(RESPONSES)

    def test_plain(self) -> None:
        self.play(plainReplies())

    def test_unasked(self) -> None:
        """
        What a backend says on a connection that is kept, without being asked, is nobody's answer.
        """
        for data in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            b"HTTP/1.1 408 Timeout\r\nConnection: close\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"\r\n",
        ):
            self.assertHarmless(self.other, b"/before")
            connections = self.stage.backend.connections
            self.stage.backend.last.write(data)
            self.stage.settle()
            self.assertHarmless(self.other, b"/behind")
            self.assertEqual(self.stage.backend.connections, connections + 1)


class TunnelTests(HostileBackends, SynchronousTestCase):
    """
    By a tunnel.
    """

    transport = "tunnel"


class PollTests(HostileBackends, SynchronousTestCase):
    """
    By polls.
    """

    transport = "poll"


class PiecewiseTests(HostileBackends, SynchronousTestCase):
    """
    By a tunnel, where answers come byte by byte.
    """

    transport = "tunnel"
    piecewise = True
