"""
How an agent asks for exchanges: the readiness probe, parked polls, and proxies that are down, busy, wrong or hostile.
"""

from itertools import pairwise
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionRefusedError
from twisted.logger import LogLevel

from invproxy.agent import workload
from invproxy.agent.reachability import ProxyRefusal, Reachability
from invproxy.test.scripted import AgentTestCase, Call

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


def response(status: int, body: bytes = b"", fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d Whatever\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status,
        fields,
        len(body),
        body,
    )


class ProbeTests(AgentTestCase):
    """
    The readiness probe.
    """

    def test_ready(self) -> None:
        """
        An agent is ready once a request of a made-up ID has got its 404; then it polls.
        """
        self.proxy.probes = [None]
        agent = self.agent()
        ready = agent.whenReady()
        [probe] = self.proxy.calls
        self.assertEqual(probe.line, "GET /agent/request HTTP/1.1")
        self.assertEqual(probe.fields["host"], "proxy.test:8080")
        self.assertEqual(probe.fields["x-inverting-proxy-backend-id"], "web")
        self.assertEqual(probe.fields["x-inverting-proxy-features"], "interim, upgrade")
        self.assertGreaterEqual(len(probe.id or ""), 32)
        self.assertNoResult(ready)
        probe.answer(404)
        self.assertEqual(self.successResultOf(ready), "poll")
        self.assertEqual(self.successResultOf(agent.whenReady()), "poll")
        self.assertEqual(len(self.proxy.polls), 2)
        self.assertEqual(self.lines(), [])

    def test_madeUpAnew(self) -> None:
        """
        The ID is another one each time.
        """
        self.proxy.probes = [response(500)] * 20
        self.agent()
        self.network.advance(100)
        ids = [call.id for call in self.proxy.of("request")]
        self.assertEqual(len(set(ids)), len(ids))

    def test_endlessBody(self) -> None:
        """
        The head is enough: an endless page behind it is not read.
        """
        self.proxy.probes = [b"HTTP/1.1 404 No\r\n\r\nfor ever"]
        agent = self.agent()
        self.successResultOf(agent.whenReady())
        self.assertTrue(self.proxy.calls[0].lost)

    def test_down(self) -> None:
        """
        A proxy that is not there is tried for ever, with one line for all of it.
        """
        self.network.refuse("proxy.test", 8080)
        agent = self.agent()
        ready = agent.whenReady()
        self.network.advance(7200)
        self.assertNoResult(ready)
        [line] = self.lines()
        self.assertIn("http://proxy.test:8080 not reached, retrying", line)
        self.assertIn("refused", line)
        self.network.accept("proxy.test", 8080)
        self.network.advance(5.5)
        self.successResultOf(ready)
        self.assertEqual(self.lines()[1:], ["proxy http://proxy.test:8080 reached again"])

    def test_silent(self) -> None:
        """
        One that never answers counts as down, too.
        """
        self.proxy.probes = [None] * 3
        agent = self.agent()
        self.network.advance(61)
        self.successResultOf(agent.whenReady())
        first, second = self.lines()
        self.assertIn("no answer in time", first)
        self.assertIn("again", second)
        self.assertTrue(all(call.lost for call in self.proxy.of("request")[:3]))

    def test_unreachable(self) -> None:
        """
        So does one to which no connection comes about.
        """
        self.network.ignore("proxy.test", 8080)
        self.agent()
        self.network.advance(500)
        self.assertEqual(len(self.lines()), 1)

    def test_noSuchHost(self) -> None:
        """
        So does a name that cannot be found.
        """
        self.network.hosts["proxy.test"] = None
        self.agent()
        self.network.advance(500)
        [line] = self.lines()
        self.assertIn("DNS", line)

    def test_notHTTP(self) -> None:
        """
        So does what does not speak HTTP.
        """
        self.proxy.probes = [b"220 mail.example ESMTP\r\n"] * 50
        self.agent()
        self.network.advance(200)
        self.assertEqual(len(self.lines()), 1)

    def test_refusals(self) -> None:
        """
        Every answer but 404 is tried again, and said once, with what to do about it.
        """
        for status, hint in [
            (200, "base URL"),
            (204, "base URL"),
            (301, "base URL"),
            (302, "base URL"),
            (400, "answered 400"),
            (401, "credentials"),
            (403, "credentials"),
            (405, "base URL"),
            (429, "answered 429"),
            (500, "answered 500"),
            (503, "answered 503"),
        ]:
            self.events.clear()
            self.proxy.calls.clear()
            location = b"Location: http://elsewhere.test/\r\n" if status < 400 else b""
            self.proxy.probes = [response(status, b"", location)] * 4
            agent = self.agent()
            ready = agent.whenReady()
            self.assertNoResult(ready)
            self.network.advance(3)
            if status in (401, 403):
                # That does not pass by itself, and who fails often is put off for longer.
                self.assertNoResult(ready)
                self.assertEqual(len(self.proxy.calls), 1)
                self.network.advance(45)
            self.successResultOf(ready)
            first, second = self.lines()
            self.assertIn(hint, first)
            self.assertIn("reached again", second)
            self.assertEqual(
                {call.fields["host"] for call in self.proxy.calls}, {"proxy.test:8080"}
            )
            self.network.resultOf(agent.stopService())

    def test_changes(self) -> None:
        """
        Another kind of trouble is another line: at first the proxy is not there, then it wants a token.
        """
        self.proxy.probes = [response(401)] * 1000
        self.network.refuse("proxy.test", 8080)
        self.agent()
        self.network.advance(20)
        self.network.accept("proxy.test", 8080)
        self.network.advance(200)
        first, second = self.lines()
        self.assertIn("refused", first)
        self.assertIn("401", second)

    def test_flapping(self) -> None:
        """
        While a proxy starts behind another, errors come in turns: that is one trouble.
        """
        self.proxy.probes = [response(502), response(503), response(429), b"x", response(504)] * 20
        self.agent()
        self.network.advance(200)
        self.assertEqual(len(self.lines()), 1)

    def times(self) -> list[float]:
        """
        When the probes came, less when the agent began.
        """
        begin = self.network.seconds()
        times: list[float] = []
        called = self.proxy.called

        def takeTime(call: Call) -> None:
            times.append(round(self.network.seconds() - begin, 3))
            called(call)

        self.patch(self.proxy, "called", takeTime)
        return times

    def test_backoff(self) -> None:
        """
        The waits double up to 5 seconds.
        """
        times = self.times()
        self.proxy.probes = [response(500)] * 12
        self.agent()
        self.network.advance(100)
        waits = [round(after - before, 3) for before, after in pairwise(times[:13])]
        self.assertEqual(waits, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0])

    def test_retryAfter(self) -> None:
        """
        C{Retry-After} is obeyed, in seconds and as a date, but not for hours.
        """
        date = (
            b"Date: Sun, 22 Nov 2026 12:00:00 GMT\r\nRetry-After: Sun, 22 Nov 2026 12:00:42 GMT\r\n"
        )
        times = self.times()
        self.proxy.probes = [
            response(503, fields=b"Retry-After: 7\r\n"),
            response(429, fields=date),
            response(503, fields=b"Retry-After: 99999\r\n"),
            response(503, fields=b"Retry-After: caf\xe9\r\n"),
        ]
        self.agent()
        self.network.advance(1000)
        self.assertEqual(times[:5], [0, 7.1, 49.3, 349.7, 350.5])


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


class ReachabilityTests(AgentTestCase):
    """
    L{Reachability}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.reachability = Reachability("http://p")

    def test_one(self) -> None:
        """
        What was well is well.
        """
        self.reachability.succeed(1)
        self.assertEqual(self.lines(), [])

    def test_callers(self) -> None:
        """
        Of several callers in trouble the first says so, and the last that is out of it.
        """
        for _ in range(3):
            self.reachability.fail(1, ConnectionRefusedError())
            self.reachability.fail(2, CancelledError())
        self.reachability.succeed(1)
        self.assertEqual(len(self.lines()), 1)
        self.reachability.succeed(3)
        self.assertEqual(len(self.lines()), 1)
        self.reachability.succeed(2)
        self.assertEqual(self.lines()[1:], ["proxy http://p reached again"])

    def test_kinds(self) -> None:
        """
        A refusal that somebody must do something about is a trouble of its own.
        """
        for _ in range(2):
            self.reachability.fail(1, ProxyRefusal("busy", isPassing=True))
            self.reachability.fail(2, ProxyRefusal("go away"))
        self.assertEqual(len(self.lines()), 2)
