"""
Agents that have nothing but tunnels, or several.
"""

from __future__ import annotations

from invproxy.agent.tunnels import TunnelCarrier
from invproxy.errors import Fault
from invproxy.test.choicecase import GET, URL, ChoiceTestCase
from invproxy.test.scripted import RecordingUpload
from invproxy.wire.frames import CREDIT, DATA, END


class TunnelOnlyTests(ChoiceTestCase):
    """
    Where only the tunnel will do.
    """

    transport = "tunnel"

    def test_keepsTrying(self) -> None:
        """
        It is tried for ever, and never polled; there is one line, and one when it stands.
        """
        agent = self.agent()
        ready = agent.whenReady()
        for wait in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10):
            self.refuse(502)
            self.waitForHandshake(wait)
        self.assertNoResult(ready)
        [line] = self.lines()
        self.assertEqual(line, f"proxy {URL} not reached, retrying: it answered 502")
        tunnel = self.accept(agent)
        self.assertEqual(self.successResultOf(ready), "tunnel")
        self.serve(tunnel)
        self.assertEqual(self.lines()[1:], [f"proxy {URL} reached again"])
        self.assertEqual(self.proxy.of("pending"), [])
        self.assertEqual(self.proxy.of("request"), [])

    def test_kinds(self) -> None:
        """
        Another reason is another line; the same one is not.
        """
        self.agent()
        for status in (502, 503, 404, 404, 401, 401):
            self.refuse(status)
            self.nextHandshake(400)
        self.assertEqual(
            [line.rpartition("it answered ")[2][:3] for line in self.lines()],
            ["502", "404", "401"],
        )

    def test_slow(self) -> None:
        """
        A slow handshake is awaited, without a word.
        """
        agent = self.agent()
        self.network.advance(20)
        self.assertEqual(self.lines(), [])
        self.serve(self.accept(agent))

    def test_never(self) -> None:
        """
        One that is not answered is said to be that.
        """
        self.agent(pollTimeout=40.0)
        self.network.advance(41)
        [line] = self.lines()
        self.assertIn("no answer in time", line)

    def test_lost(self) -> None:
        """
        The loss of a tunnel, and the next one, are a line each.
        """
        agent = self.agent()
        self.accept(agent)
        for number in range(1, 4):
            self.network.advance(10)
            self.proxy.of("tunnel")[-1].wire.abort()
            self.network.advance(0.2)
            self.accept(agent)
            self.assertEqual(len(self.lines()), 2 * number)

    def test_lostWithBrokenOrigin(self) -> None:
        """
        A tunnel is replaced also if the origin fails on being told of the end of its exchanges; all of them are told.
        """
        told: list[Fault] = []

        def fail(upload: RecordingUpload, fault: Fault) -> None:
            told.append(fault)
            raise ZeroDivisionError

        self.patch(RecordingUpload, "abort", fail)
        agent = self.agent()
        tunnel = self.accept(agent)
        tunnel.request(1, GET)
        tunnel.request(2, GET)
        tunnel.request(3, GET)
        tunnel.reset(3, "client-gone bye\r\n\x1b[2J" + "x" * 1000)
        self.assertIsNone(tunnel.closing)
        [line] = self.lines()
        self.assertTrue(line.startswith("the origin failed on being told: "), line)
        self.assertIn("bye???[2Jxxx", line)
        self.assertTrue(line.isprintable())
        self.assertLess(len(line), 300)
        assert agent._run is not None
        carrier = agent._run.carrier
        assert isinstance(carrier, TunnelCarrier)
        [session] = carrier._sessions
        self.proxy.of("tunnel")[-1].wire.abort()
        self.assertEqual(len(told), 3)
        self.assertTrue(session.left.called)
        self.assertTrue(session.gone.called)
        self.assertEqual(carrier._sessions, set())
        self.network.advance(0.2)
        self.serve(self.accept(agent))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_closeReason(self) -> None:
        """
        What a proxy says when it closes a tunnel is one line, of bounded length.
        """
        agent = self.agent()
        self.accept(agent).close(1001, "all\r\n\x1b[2J is fine" + "x" * 100)
        [line] = self.lines()
        self.assertTrue(
            line.endswith(f"the peer closed it: all???[2J is fine{'x' * 100} (1001)"), line
        )

    def test_brokenProtocol(self) -> None:
        """
        A tunnel in which either side finds the other's first words wrong is no passing trouble: it is tried again as
        seldom as after a refusal.
        """
        for ours in (False, True):
            agent = self.agent()
            for wait in (20, 40, 80):
                [call] = self.proxy.handshakes
                tunnel = call.accept(greets=False)
                if ours:
                    tunnel.send(DATA, 1, b"x")
                    assert tunnel.closing is not None
                    self.assertEqual(tunnel.closing[0], 1002)
                else:
                    tunnel.close(1002, "what?")
                self.waitForHandshake(wait)
            tunnel = self.accept(agent)
            self.network.resultOf(agent.stopService())
            self.network.advance(3)

    def test_closedBeforeGreeting(self) -> None:
        """
        After any other end it is tried again soon.
        """
        self.agent()
        for wait in (0.1, 0.2, 0.4):
            [call] = self.proxy.handshakes
            call.accept(greets=False).close(1001, "stopping")
            self.waitForHandshake(wait)

    def test_goodbye(self) -> None:
        """
        When a proxy says that it stops, what went wrong before does not count: another takes its place. Proxies that
        do so at once, time and again, are asked less and less often.
        """
        agent = self.agent()
        for wait in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2):
            self.refuse(502)
            self.waitForHandshake(wait)
        for wait in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10):
            self.accept(agent).dismiss(0)
            self.waitForHandshake(wait)
        tunnel = self.accept(agent)
        self.network.advance(5.1)
        tunnel.dismiss(0)
        self.waitForHandshake(0.1)
        # One that is lost is no goodbye.
        for wait in (0.1, 0.2, 0.4):
            self.accept(agent).close(1011, "oh")
            self.waitForHandshake(wait)

    def test_noRequest(self) -> None:
        """
        A request that the agent takes for none is refused, alone, and so are such trailers.
        """
        tunnel = self.accept(self.agent())
        many = b"X: 1\r\n" * 4097
        for stream, head, code in (
            (1, b"nonsense", "bad-request"),
            (2, b"GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n", "bad-request"),
            (3, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n", "bad-request"),
            (4, b"GET / HTTP/1.1\r\nHost: a\r\n" + many + b"\r\n", "head-too-large"),
        ):
            tunnel.request(stream, head, last=False)
            self.assertEqual(tunnel.resets.get(stream), code)
            tunnel.send(DATA, stream, b"ab", last=True)  # it crossed the RESET
        self.assertEqual(self.origin.uploads, [])
        post = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for number, trailers in enumerate((b"X y: 1\r\n", b"Content-Length: 1\r\n")):
            tunnel.request(5 + number, post, last=False)
            tunnel.send(END, 5 + number, trailers, last=True)
            self.assertEqual(tunnel.resets.get(5 + number), "bad-request")
            upload = self.origin.uploads[number]
            self.assertIsNone(upload.trailers)
            self.assertIsNotNone(upload.fault)
        self.serve(tunnel, 7)
        self.assertIsNone(tunnel.closing)
        self.assertEqual(tunnel.of(CREDIT), [])

    def test_down(self) -> None:
        """
        A proxy that is down is one line.
        """
        self.network.refuse("proxy.test", 8080)
        agent = self.agent()
        self.network.advance(3600)
        self.assertEqual(len(self.lines()), 1)
        self.network.accept("proxy.test", 8080)
        self.nextHandshake(11)
        self.accept(agent)
        self.assertEqual(self.lines()[1:], [f"proxy {URL} reached again"])


class ConnectionsTests(ChoiceTestCase):
    """
    With several tunnels.
    """

    def test_slots(self) -> None:
        """
        Each has its slot, and all the same instance and their share of the exchanges.
        """
        agent = self.agent(connections=3, maxExchanges=100)
        tunnels = [call.accept() for call in self.proxy.handshakes]
        self.assertEqual(len(tunnels), 3)
        hellos = [tunnel.peer for tunnel in tunnels]
        self.assertEqual([hello and hello.slot for hello in hellos], [0, 1, 2])
        self.assertEqual([hello and hello.streams for hello in hellos], [33] * 3)
        [instance] = {hello and hello.instance for hello in hellos}
        self.assertTrue(instance)
        for tunnel in tunnels:
            self.serve(tunnel)
        self.assertEqual(self.successResultOf(agent.whenReady()), "tunnel")
        # A lost one comes back in its place.
        self.network.advance(10)
        self.proxy.of("tunnel")[1].wire.abort()
        self.network.advance(0.2)
        again = self.accept()
        assert again.peer is not None
        self.assertEqual((again.peer.slot, again.peer.instance), (1, instance))
        self.assertEqual(self.proxy.of("pending"), [])

    def test_oneIsEnough(self) -> None:
        """
        While any tunnel stands there are no polls.
        """
        agent = self.agent(connections=2)
        first, second = self.proxy.handshakes
        first.accept()
        self.assertEqual(self.successResultOf(agent.whenReady()), "tunnel")
        second.answer(503)
        self.network.advance(0.2)
        self.assertEqual(len(self.proxy.handshakes), 1)
        self.network.advance(2.5)
        self.assertEqual(self.proxy.of("pending"), [])
        self.assertEqual(self.lines(), [])

    def test_noneLeft(self) -> None:
        """
        Polls begin once none stands and the next is not to be had.
        """
        agent = self.agent(connections=2)
        calls = self.proxy.handshakes
        for call in calls:
            call.accept()
        self.network.advance(10)
        calls[0].wire.abort()
        self.network.advance(0.2)
        self.refuse()
        self.network.advance(1)
        self.assertEqual(self.proxy.of("pending"), [])
        calls[1].wire.abort()
        self.network.advance(0.2)
        self.refuse()
        self.assertPolls(agent)

    def test_replaced(self) -> None:
        """
        One whose tunnel another of the same instance has taken over is another instance from then on; after any other
        end it stays the same.
        """
        agent = self.agent()
        seen = []
        for code in (1001, 4000, 1001, 4000, 1000):
            tunnel = self.accept(agent)
            assert tunnel.peer is not None
            seen.append(tunnel.peer.instance)
            self.network.advance(10)
            tunnel.close(code, "enough")
            self.nextHandshake(11)
        self.assertEqual([seen.index(name) for name in seen], [0, 0, 2, 2, 4])

    def test_instances(self) -> None:
        """
        Another run has another instance.
        """
        seen = set()
        agent = self.agent()
        for _ in range(3):
            tunnel = self.accept(agent)
            assert tunnel.peer is not None
            seen.add(tunnel.peer.instance)
            self.network.resultOf(agent.stopService())
            agent.startService()
        self.assertEqual(len(seen), 3)
