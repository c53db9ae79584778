"""
What an agent's log says of an origin that fails.
"""

from __future__ import annotations

from invproxy.errors import BAD_REQUEST, ORIGIN_REFUSED, ORIGIN_TIMEOUT, Code, Fault
from invproxy.http1.heads import responseHead
from invproxy.test.choicecase import GET, ChoiceTestCase
from invproxy.test.played import PlayedTunnel


class FailuresTests(ChoiceTestCase):
    """
    An agent before an origin that comes and goes.
    """

    def setUp(self) -> None:
        super().setUp()
        self.tunnel: PlayedTunnel = self.accept(self.agent())
        self.count = 0

    def ask(self, code: Code | None) -> None:
        """
        Have the origin answer a request, or fail.
        """
        self.count += 1
        self.tunnel.request(self.count, GET)
        answer = self.origin.uploads[-1].answer
        if code is None:
            answer.respond(responseHead(200, b"OK", length=0))
            answer.finish()
        else:
            answer.fail(Fault(code, "oh"))
        self.network.pump()

    def said(self) -> list[str]:
        """
        What the log says since it was asked last.
        """
        lines = self.lines()
        self.events.clear()
        return lines

    def test_down(self) -> None:
        """
        One that is down is one line, and one a minute for as long as that lasts; and one when it answers again.
        """
        for _ in range(100):
            self.ask(ORIGIN_REFUSED)
        self.assertEqual(self.said(), ["GET /a: origin-refused: oh"])
        self.network.advance(59)
        self.ask(ORIGIN_REFUSED)
        self.assertEqual(self.said(), [])
        self.network.advance(2)
        self.ask(ORIGIN_REFUSED)
        more = "GET /a: origin-refused: oh (and 100 more like it before)"
        self.assertEqual(self.said(), [more])
        for _ in range(3):
            self.ask(None)
        again = "the origin answers again; requests that failed: 102"
        self.assertEqual(self.said(), [again])

    def test_flapping(self) -> None:
        """
        One that answers every second request is two lines a minute.
        """
        for _ in range(50):
            self.ask(ORIGIN_REFUSED)
            self.ask(None)
        first, second = self.said()
        self.assertEqual(first, "GET /a: origin-refused: oh")
        self.assertTrue(second.endswith("failed: 1"), second)
        self.network.advance(61)
        self.ask(ORIGIN_REFUSED)
        self.ask(None)
        first, second = self.said()
        self.assertTrue(first.endswith("(and 49 more like it before)"), first)
        self.assertTrue(second.endswith("failed: 50"), second)

    def test_reasons(self) -> None:
        """
        Each reason is a line; and one that does not tell of an absence is not over by an answer.
        """
        for _ in range(3):
            self.ask(BAD_REQUEST)
            self.ask(None)
        self.ask(ORIGIN_REFUSED)
        self.ask(ORIGIN_TIMEOUT)
        self.assertEqual(
            self.said(),
            [f"GET /a: {each}: oh" for each in ("bad-request", "origin-refused", "origin-timeout")],
        )

    def test_eitherCarrier(self) -> None:
        """
        It is the same origin to tunnels and polls.
        """
        self.ask(ORIGIN_REFUSED)
        self.network.advance(10)
        self.proxy.of("tunnel")[-1].wire.abort()
        self.network.advance(0.2)
        self.refuse()
        self.network.advance(1)
        self.said()
        self.begin(GET)
        self.origin.uploads[-1].answer.fail(Fault(ORIGIN_REFUSED, "oh"))
        self.network.pump()
        self.assertEqual(self.said(), [])
        self.begin(GET, "two")
        self.origin.uploads[-1].reply()
        self.assertEqual(self.said(), ["the origin answers again; requests that failed: 2"])
