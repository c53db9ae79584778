"""
How an agent asks for exchanges: parked polls, and proxies that are down, busy, wrong or hostile.
"""

from typing import Any

from twisted.logger import LogLevel

from invproxy.agent import workload
from invproxy.test.scripted import AgentTestCase

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


class PollTests(AgentTestCase):
    """
    C{GET agent/pending}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.service: Any = self.agent()

    def test_call(self) -> None:
        """
        It names backend and features, and no request.
        """
        poll = self.proxy.polls[0]
        self.assertEqual(poll.line, "GET /agent/pending HTTP/1.1")
        self.assertEqual(poll.fields["host"], "proxy.test:8080")
        self.assertEqual(poll.fields["x-inverting-proxy-backend-id"], "web")
        self.assertEqual(poll.fields["x-inverting-proxy-features"], "interim, upgrade")
        self.assertIsNone(poll.id)
        self.assertNotIn("authorization", poll.fields)

    def test_again(self) -> None:
        """
        Each poll that ends is followed by another one at once, and IDs are fetched all at once.
        """
        self.proxy.offer("a", "b", "c")
        self.assertEqual(len(self.proxy.polls), 2)
        self.assertEqual([len(self.proxy.fetches(one)) for one in "abc"], [1, 1, 1])
        self.proxy.offer("d")
        self.assertEqual(len(self.proxy.polls), 2)
        self.assertEqual(len(self.proxy.fetches("d")), 1)

    def test_fetchedFirst(self) -> None:
        """
        The fetches go out before the next poll.
        """
        self.proxy.offer("a", "b")
        targets = [call.target.rpartition("/")[2] for call in self.proxy.calls[-3:]]
        self.assertEqual(targets, ["request", "request", "pending"])

    def test_repeated(self) -> None:
        """
        IDs that are known are ignored: in one answer, in parallel ones, and in later ones.
        """
        self.proxy.offer("a", "a")
        self.proxy.offer("a")
        self.network.advance(1)
        self.proxy.offer("b", "a")
        self.assertEqual([len(self.proxy.fetches(one)) for one in "ab"], [1, 1])

    def test_remembered(self) -> None:
        """
        The last thousand that were worked on are.
        """
        self.assertEqual(workload._REMEMBERED, 1000)
        self.patch(workload, "_REMEMBERED", 200)
        names = [f"n{number}" for number in range(200)]
        for begin in range(0, 200, 50):
            self.proxy.offer(*names[begin : begin + 50])
            for name in names[begin : begin + 50]:
                self.proxy.fetches(name)[0].serve(GET)
                self.origin.uploads[-1].reply()
                self.proxy.posts(name)[0].answer(200)
        self.proxy.offer(*names)
        self.network.advance(1)
        self.assertEqual(len(self.origin.uploads), 200)
        self.assertEqual(sum(call.id in set(names) for call in self.proxy.of("request")), 200)

    def test_none(self) -> None:
        """
        C{[]}, C{null} and nothing at all mean that nothing waits.
        """
        for body in (b"[]", b"null", b"", b" \r\n", b" null "):
            self.network.advance(31)
            for _ in range(2):
                self.proxy.offer(body=body)
            self.assertEqual(len(self.proxy.polls), 2, body)
        self.assertEqual(self.lines(), [])

    def test_noneAtOnce(self) -> None:
        """
        A proxy that parks no polls is not asked as fast as it can answer.
        """
        for _ in range(2):
            self.proxy.offer(body=b"[]")
        begin = len(self.proxy.of("pending"))
        for _ in range(1000):
            self.network.advance(0.01)
            for poll in self.proxy.polls:
                poll.answer(200, b"[]")
        count = len(self.proxy.of("pending")) - begin
        self.assertTrue(60 <= count <= 120, count)  # in 10 seconds
        self.assertEqual(self.lines(), [])

    def test_knownAtOnce(self) -> None:
        """
        The same holds for one that names an exchange on every poll until it is answered; but a new one is not kept
        waiting for long.
        """
        self.proxy.offer("slow")
        begin = len(self.proxy.of("pending"))
        for _ in range(1000):
            self.network.advance(0.01)
            for poll in self.proxy.polls:
                poll.answer(200, b'["slow"]')
        count = len(self.proxy.of("pending")) - begin
        self.assertTrue(60 <= count <= 120, count)
        self.network.advance(0.26)
        self.proxy.offer("slow", "new")
        self.assertEqual(len(self.proxy.fetches("new")), 1)

    def test_garbage(self) -> None:
        """
        What is no array of IDs is said once, and asked for again after a while.
        """
        for body in (
            b"<html>",
            b"{}",
            b"[",
            b'"one"',
            b"17",
            b"[1]",
            b'["a b"]',
            b'["a\\r\\nX: y"]',
            b'["\\u00e9"]',
            b'[""]',
            b'["' + b"x" * 257 + b'"]',
            b"\xff",
            b"[" * 100_000,
            b"1" * 10_000,
            b'{"a": NaN',
        ):
            self.proxy.offer(body=body)
            self.assertEqual(len(self.proxy.polls), 1, body[:20])
            self.network.advance(6)
            self.assertEqual(len(self.proxy.polls), 2, body[:20])
        lines = self.lines()
        self.assertEqual(len(lines), 30)
        self.assertEqual(len(set(lines)), 2)
        self.assertIn("JSON array", lines[0])
        self.assertEqual(self.origin.uploads, [])

    def test_huge(self) -> None:
        """
        No more than a mebibyte is read, even of an answer without end.
        """
        poll = self.proxy.polls[0]
        poll.send(b"HTTP/1.1 200 OK\r\n\r\n[")
        sent = 0
        while not poll.lost:
            poll.send(b" " * 65536)
            sent += 65536
            self.assertLess(sent, 4 << 20)
        [line] = self.lines()
        self.assertIn("1048576", line)
        self.network.advance(6)
        self.assertEqual(len(self.proxy.polls), 2)

    def test_slow(self) -> None:
        """
        An answer that comes byte by byte is waited for as long as the poll timeout lasts.
        """
        poll = self.proxy.polls[0]
        body = b'["one"]'
        poll.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        self.proxy.offered.add("one")
        for byte in body:
            self.network.advance(7)
            poll.send(bytes([byte]))
        self.assertEqual(len(self.proxy.fetches("one")), 1)

    def test_tooSlow(self) -> None:
        """
        One that trickles on for longer is broken off, and its connection closed.
        """
        poll = self.proxy.polls[0]
        poll.send(b"HTTP/1.1 200 OK\r\n\r\n[")
        for _ in range(70):
            self.network.advance(1)
            if not poll.lost:
                poll.send(b" ")
        self.assertTrue(poll.lost)

    def test_hung(self) -> None:
        """
        A poll on a link that has fallen silent is given up after the poll timeout; the others go on.
        """
        first, second = self.proxy.polls
        first.wire.freeze()
        self.network.advance(30)
        second.answer(200, b"[]")
        self.network.advance(29)
        self.assertEqual(self.lines(), [])
        self.network.advance(1.5)
        [line] = self.lines()[:1]
        self.assertIn("no answer in time", line)
        self.network.advance(10)
        self.assertEqual(len([poll for poll in self.proxy.polls if poll is not first]), 2)
        self.assertIn("again", self.lines()[1])

    def test_deadKept(self) -> None:
        """
        A kept connection that was closed meanwhile is replaced, and nobody needs to know.
        """
        self.proxy.offer("one")
        self.proxy.fetches()[0].answer(404)
        for poll in self.proxy.polls:
            poll.wire.close()
        self.assertEqual(self.lines()[1:], [])

    def test_down(self) -> None:
        """
        A proxy that goes away and comes back: one line for each, however long it takes and however many polls there
        are; and it is back as soon as polls are parked, not when they end.
        """
        self.proxy.port.stopListening()
        for wire in self.proxy.wires:
            if wire.lost is None:
                wire.abort()
        self.network.advance(3600)
        self.assertEqual(len(self.lines()), 1)
        self.proxy.port = self.network.listenTCP(8080, self.proxy)
        self.network.advance(7)
        self.assertEqual(len(self.proxy.polls), 2)
        first, second = self.lines()
        self.assertIn("not reached", first)
        self.assertIn("reached again", second)
        self.begin(GET)
        self.assertEqual(len(self.origin.uploads), 1)

    def test_refused(self) -> None:
        """
        So it is with one that refuses polls but knows the agent, all the time.
        """
        for status in (401, 403, 404, 429, 500, 503, 302):
            self.events.clear()
            for _ in range(100):
                for poll in self.proxy.polls:
                    poll.answer(status)
                self.network.advance(1)
            [line] = self.lines()
            self.assertIn(str(status), line)
            self.network.advance(10)
            self.assertEqual(len(self.lines()), 2)
            self.assertEqual(len(self.proxy.polls), 2)

    def test_paced(self) -> None:
        """
        Refusals are not repeated as fast as the proxy can say them.
        """
        begin = len(self.proxy.calls)
        for _ in range(6000):
            for poll in self.proxy.polls:
                poll.answer(503)
            self.network.advance(0.01)
        self.assertLess(
            len(self.proxy.calls) - begin, 80
        )  # in a minute, with two polls and their probes

    def test_retryAfter(self) -> None:
        """
        C{Retry-After} counts for polls, too.
        """
        first, second = self.proxy.polls
        first.answer(503, fields=b"Retry-After: 20\r\n")
        self.network.advance(20)
        self.assertEqual(self.proxy.polls, [second])
        self.network.advance(0.2)
        self.assertEqual(len(self.proxy.polls), 2)


class SettingsTests(AgentTestCase):
    """
    How much is asked for.
    """

    def test_polls(self) -> None:
        """
        As many polls are parked as was asked for.
        """
        self.agent(polls=5)
        self.assertEqual(len(self.proxy.polls), 5)

    def test_base(self) -> None:
        """
        The calls are below the base URL, with and without a slash at its end.
        """
        for url in ("http://proxy.test:8080/in/side", "http://proxy.test:8080/in/side/"):
            agent = self.agent(url=url)
            self.successResultOf(agent.whenReady())
            self.begin(GET)
            self.assertEqual(
                {call.target for call in self.proxy.calls},
                {f"/in/side/agent/{one}" for one in ("pending", "request", "response")},
            )
            self.network.resultOf(self.stopNow(agent))

    def stopNow(self, agent: Any) -> Any:
        stopped = agent.stopService()
        for post in self.proxy.posts():
            if not post.answered and not post.lost:
                post.answer(404)
        return stopped

    def test_token(self) -> None:
        """
        The token goes with every call, and nowhere else.
        """
        agent = self.agent(token="s3cret-token")
        self.begin(GET)
        self.origin.uploads[0].reply()
        self.proxy.posts()[0].answer(403)
        self.proxy.offer(body=b"<html>")
        self.proxy.polls[0].answer(401)
        self.network.advance(10)
        self.assertGreater(len(self.proxy.calls), 5)
        self.assertEqual(
            {call.fields["authorization"] for call in self.proxy.calls}, {"Bearer s3cret-token"}
        )
        self.assertGreaterEqual(len(self.lines(LogLevel.debug)), 3)
        self.assertNotIn("s3cret", self.everything())
        self.assertNotIn("s3cret", repr(agent) + repr(agent._settings) + repr(agent._run))

    def test_limit(self) -> None:
        """
        No more exchanges are worked on than was said; while so many are, nothing is asked for.
        """
        agent: Any = self.agent(maxExchanges=3)
        self.proxy.offer("a", "b", "c", "d", "e")
        self.assertEqual([len(self.proxy.fetches(one)) for one in "abcde"], [1, 1, 1, 0, 0])
        self.assertEqual(len(self.proxy.polls), 1)  # the one that was parked already
        self.proxy.offer("f")
        self.network.advance(1)
        self.assertEqual(self.proxy.polls, [])
        for one in "abc":
            self.proxy.fetches(one)[0].answer(404)
        self.assertEqual([len(self.proxy.fetches(one)) for one in "def"], [1, 1, 1])
        self.assertEqual(self.proxy.polls, [])
        self.assertEqual(agent._run.carrier.countExchanges(), 3)
        self.proxy.fetches("d")[0].answer(404)
        self.assertEqual(len(self.proxy.polls), 2)

    def test_manyIDs(self) -> None:
        """
        So it is with as many IDs as fit into one answer.
        """
        agent: Any = self.agent(maxExchanges=20, drainTimeout=5.0)
        self.proxy.offer(*(f"{number:06}" for number in range(100_000)))
        self.assertEqual(len(self.proxy.of("request")), 21)  # one is the probe
        stopped = agent.stopService()
        self.network.advance(6)
        self.successResultOf(stopped)
        self.assertEqual(len(self.proxy.of("request")), 21)
        [line] = self.lines()
        self.assertIn("100000 exchanges cut", line)

    def test_stopAtTheLimit(self) -> None:
        """
        An agent that waits for room stops like any other.
        """
        agent = self.agent(maxExchanges=1)
        self.proxy.offer("a")
        self.proxy.offer("b")
        self.network.advance(1)
        stopped = agent.stopService()
        self.assertNoResult(stopped)
        self.proxy.fetches("a")[0].answer(404)
        self.proxy.fetches("b")[0].answer(404)
        self.network.pump()
        self.successResultOf(stopped)
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_noLogs(self) -> None:
        """
        Neither connections nor calls are logged by anybody.
        """
        self.agent()
        self.begin(GET)
        self.origin.uploads[0].reply()
        self.proxy.posts()[0].answer(200)
        self.network.advance(100)
        noise = [event for event in self.events if "factory" in str(event).lower()]
        self.assertEqual([event for event in noise if "HTTP11" in str(event)], [])
        self.assertEqual([event for event in noise if "Client" in str(event.get("factory"))], [])
