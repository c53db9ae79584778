"""
Whether a proxy is reached by polls, and what is said of it.
"""

from __future__ import annotations

from itertools import pairwise

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionRefusedError

from invproxy.agent.reachability import ProxyRefusal, Reachability
from invproxy.test.scripted import AgentTestCase, Call, response


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
