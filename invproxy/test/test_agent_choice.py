"""
The choice of a carrier: the tunnel first, polls where and while it is not to be had, and the tunnel again; each change
is told once.
"""

from __future__ import annotations

from invproxy.http1.heads import responseHead
from invproxy.test.choicecase import AGAIN, GET, LOST, POLLING, SLOW, STANDS, URL, ChoiceTestCase
from invproxy.test.scripted import Call


class TunnelFirstTests(ChoiceTestCase):
    """
    Where the proxy knows tunnels.
    """

    def test_first(self) -> None:
        """
        The first call asks for a tunnel; with that nothing else is asked for, and nothing logged.
        """
        agent = self.agent(token="s3cret")
        ready = agent.whenReady()
        [call] = self.proxy.calls
        self.assertEqual(call.line, "GET /agent/tunnel HTTP/1.1")
        self.assertEqual(call.fields["host"], "proxy.test:8080")
        self.assertEqual(call.fields["upgrade"].lower(), "websocket")
        self.assertEqual(call.fields["connection"].lower(), "upgrade")
        self.assertEqual(call.fields["sec-websocket-protocol"], "invproxy.v1")
        self.assertEqual(call.fields["x-inverting-proxy-backend-id"], "web")
        self.assertEqual(call.fields["authorization"], "Bearer s3cret")
        tunnel = call.accept(greets=False)
        assert tunnel.peer is not None
        self.assertNoResult(ready)
        tunnel.greet()
        self.assertEqual(self.successResultOf(ready), "tunnel")
        self.assertEqual(self.successResultOf(agent.whenReady()), "tunnel")
        self.serve(tunnel)
        self.network.advance(100)
        self.assertEqual(self.proxy.calls, [call])
        self.assertEqual(self.lines(), [])

    def test_base(self) -> None:
        """
        The proxy may be below a path.
        """
        self.agent(url=f"{URL}/x/")
        [call] = self.proxy.handshakes
        self.assertEqual(call.target, "/x/agent/tunnel")

    def test_quick(self) -> None:
        """
        A handshake that takes a second and a half is quick enough.
        """
        agent = self.agent()
        self.network.advance(1.5)
        tunnel = self.accept(agent)
        self.network.advance(5)
        self.assertEqual(self.proxy.polls, [])
        self.serve(tunnel)
        self.assertEqual(self.lines(), [])

    def test_lost(self) -> None:
        """
        A tunnel that is lost is there again at once, without polls meanwhile, and that is said.
        """
        agent = self.agent()
        self.accept(agent)
        self.network.advance(10)
        for number in range(3):
            self.proxy.of("tunnel")[-1].wire.abort()
            self.waitForHandshake(0.1)
            tunnel = self.accept(agent)
            self.serve(tunnel)
            self.assertEqual(len(self.lines()), 2 * number + 2)
            self.assertIn(LOST, self.lines()[-2])
            self.assertEqual(self.lines()[-1], AGAIN)
            self.network.advance(10)
        self.assertEqual(self.proxy.of("pending"), [])

    def test_lostExchanges(self) -> None:
        """
        Its exchanges are broken off at the origin.
        """
        agent = self.agent()
        tunnel = self.accept(agent)
        tunnel.request(1, GET)
        self.proxy.of("tunnel")[-1].wire.abort()
        [upload] = self.origin.uploads
        self.assertIsNotNone(upload.fault)
        self.network.advance(1)
        self.serve(self.accept(agent))

    def test_silent(self) -> None:
        """
        A tunnel that is silent for longer than the link timeout is lost; pings show it.
        """
        agent = self.agent(linkTimeout=9.0)
        tunnel = self.accept(agent)
        self.network.advance(100)
        self.assertGreater(tunnel.pings, 20)
        tunnel.answersPings = False
        self.network.advance(9.5)
        [line] = self.lines()
        self.assertEqual(line, f"{LOST}nothing came for 9 s")
        self.assertTrue(self.proxy.of("tunnel")[0].lost)
        self.serve(self.accept(agent))

    def test_frozen(self) -> None:
        """
        So is one whose link is dead in both directions.
        """
        agent = self.agent()
        self.accept(agent)
        self.proxy.of("tunnel")[0].wire.freeze()
        self.network.advance(16)
        self.serve(self.accept(agent))

    def test_flapping(self) -> None:
        """
        Tunnels that do not last are asked for less and less often; one that lasts sets that right.
        """
        agent = self.agent()
        self.accept(agent)
        for wait in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10):
            self.network.advance(1)
            self.proxy.of("tunnel")[-1].wire.abort()
            self.waitForHandshake(wait)
            self.accept(agent)
        self.network.advance(5.5)
        self.proxy.of("tunnel")[-1].wire.abort()
        self.waitForHandshake(0.1)

    def test_jitter(self) -> None:
        """
        The waits are any part of their bounds.
        """
        self.patch(__import__("random"), "random", lambda: 0.25)
        self.agent()
        self.accept()
        for wait in (0.025, 0.05, 0.1, 0.2):
            self.network.advance(1)
            self.proxy.of("tunnel")[-1].wire.abort()
            self.waitForHandshake(wait)
            self.accept()

    def test_broken(self) -> None:
        """
        A proxy that breaks the protocol of the tunnel gets a Close frame with the reason, and is tried again.
        """
        agent = self.agent()
        tunnel = self.accept(agent)
        tunnel.send(99 % 8, 5, b"\0\0\0\1")
        assert tunnel.closing is not None
        self.assertEqual(tunnel.closing[0], 1002)
        self.assertIn("never opened", tunnel.closing[1])
        self.assertIn("never opened", self.lines()[0])
        self.network.advance(0.2)
        self.serve(self.accept(agent))

    def test_otherVersion(self) -> None:
        """
        A proxy that speaks another version of the tunnel is served by polls.
        """
        agent = self.agent()
        [call] = self.proxy.handshakes
        tunnel = call.accept(greets=False)
        tunnel.greet(version="2.0")
        assert tunnel.closing is not None
        self.assertIn("version 2.0", tunnel.closing[1])
        self.assertPolls(agent)
        [line] = self.lines()
        self.assertIn("version 2.0", line)


class DismissedTests(ChoiceTestCase):
    """
    Where the proxy says that it is going to stop.
    """

    def test_dismissed(self) -> None:
        """
        Exchanges come to their ends, while the next tunnel stands already.
        """
        agent = self.agent()
        old = self.accept(agent)
        self.network.advance(10)
        old.request(1, GET)
        old.dismiss(0)
        self.waitForHandshake(0.1)
        new = self.accept(agent)
        self.serve(new)
        self.origin.uploads[0].reply(b"late")
        self.network.pump()
        self.assertEqual(old.body(1), b"late")
        self.assertEqual(old.closing, (1001, "drained"))
        self.assertEqual(self.lines(), [f"{LOST}the proxy is stopping", AGAIN])
        self.serve(new, 2)

    def test_closed(self) -> None:
        """
        A tunnel that the proxy closes is answered in kind, and asked for again.
        """
        agent = self.agent()
        tunnel = self.accept(agent)
        tunnel.close(4000, "replaced")
        self.assertEqual(tunnel.closing, (4000, ""))
        self.assertEqual(self.lines(), [f"{LOST}the peer closed it: replaced (4000)"])
        self.network.advance(0.2)
        self.serve(self.accept(agent))


class FallbackTests(ChoiceTestCase):
    """
    Where a tunnel is not to be had.
    """

    def test_statuses(self) -> None:
        """
        Whatever answers that it will not do it: polling begins at once, with one line that says why.
        """
        for status in (200, 204, 302, 400, 403, 404, 405, 426, 429, 500, 501, 502, 503, 504):
            self.events.clear()
            agent = self.agent()
            self.refuse(status)
            self.assertPolls(agent)
            [line] = self.lines()
            self.assertTrue(line.startswith(f"{POLLING}it answered {status}"), line)
            self.begin(GET, str(status))
            self.origin.uploads[-1].reply()
            self.proxy.posts(str(status))[0].answer(200)
            self.network.resultOf(agent.stopService())
            self.network.pump()
            self.assertEqual(self.proxy.polls, [])

    def test_noFalseHint(self) -> None:
        """
        A proxy without tunnels works, so nobody is sent to look for a mistake.
        """
        for status in (200, 403, 404, 501):
            self.events.clear()
            agent = self.agent()
            self.refuse(status)
            self.assertPolls(agent)
            self.assertEqual(self.lines(), [f"{POLLING}it answered {status}"])
            self.network.resultOf(agent.stopService())

    def test_refused(self) -> None:
        """
        A proxy that refuses the agent itself is one line, which says what to do; that there is no tunnel, either, needs
        no saying. Once polls are let in, it does.
        """
        for status, advice in ((401, "--token-file"), (403, "--backend")):
            self.events.clear()
            refusal = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status
            self.proxy.probes = [refusal] * 100
            agent = self.agent()
            for _ in range(3):
                self.refuse(status)
                self.nextHandshake(400)
            [line] = self.lines()
            said = f"proxy {URL} refuses this agent, retrying: it answered {status}: "
            self.assertTrue(line.startswith(said), line)
            self.assertIn(advice, line)
            self.proxy.probes.clear()
            self.refuse(status)
            self.nextHandshake(400)
            [_, *lines] = self.lines()
            self.assertEqual(
                lines, [f"proxy {URL} reached again", f"{POLLING}it answered {status}"]
            )
            self.network.resultOf(agent.stopService())

    def test_page(self) -> None:
        """
        A long page is as good as a short one, and one without an end does no harm.
        """
        agent = self.agent()
        [call] = self.proxy.handshakes
        call.send(b"HTTP/1.1 404 No\r\n\r\n")
        for _ in range(40):
            call.send(b"x" * 100_000)
        self.network.advance(3)
        self.assertPolls(agent)
        call.wire.close()
        self.network.advance(1)
        self.assertEqual(len(self.lines()), 1)
        self.assertPolls(agent)

    def test_badHandshakes(self) -> None:
        """
        So is a 101 that opens no tunnel; its connection is not kept.
        """
        for fields in (
            b"",
            b"Sec-WebSocket-Accept: x\r\n",
            b"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: other\r\n",
        ):
            self.events.clear()
            agent = self.agent()
            [call] = self.proxy.handshakes
            call.send(
                b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%b\r\n" % fields
            )
            self.assertPolls(agent)
            self.assertTrue(call.lost)
            self.assertEqual(len(self.lines()), 1)
            self.network.resultOf(agent.stopService())

    def test_cut(self) -> None:
        """
        So is a link that is cut during the handshake, or closed, or answers what is not HTTP.
        """
        for how in ("abort", "close", "nonsense", "half"):
            self.events.clear()
            agent = self.agent()
            for wait in (0, 0.2, 0.4):  # once polls have got through, it is tried again at once
                [call] = self.proxy.handshakes
                if how == "nonsense":
                    call.send(b"SSH-2.0-OpenSSH_9\r\n")
                elif how == "half":
                    call.accept(greets=False)
                    call.wire.abort()
                else:
                    getattr(call.wire, how)()
                self.assertPolls(agent)
                if wait:
                    self.waitForHandshake(wait)
            [line] = self.lines()
            self.assertTrue(line.startswith(POLLING), line)
            self.network.resultOf(agent.stopService())

    def test_down(self) -> None:
        """
        A proxy that is down is one line, whatever was tried; once it is up, there is a tunnel.
        """
        self.network.refuse("proxy.test", 8080)
        agent = self.agent()
        self.network.advance(3600)
        self.assertNoResult(agent.whenReady().addErrback(lambda _: None))
        [line] = self.lines()
        self.assertIn("not reached, retrying", line)
        self.network.accept("proxy.test", 8080)
        self.nextHandshake(11)
        self.accept(agent)
        self.network.advance(11)
        self.assertEqual(self.proxy.polls, [])
        self.assertEqual(self.lines()[1:], [f"proxy {URL} reached again"])

    def test_notLetPass(self) -> None:
        """
        Who does not know tunnels is asked again, in minutes at last.
        """
        agent = self.agent()
        for wait in (20, 40, 80, 160, 300, 300):
            self.refuse()
            self.assertPolls(agent)
            self.waitForHandshake(wait)
        self.assertEqual(len(self.lines()), 1)

    def test_trouble(self) -> None:
        """
        Who has trouble of his own is asked again soon.
        """
        agent = self.agent()
        for wait in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10):
            self.refuse(502)
            self.assertPolls(agent)
            self.waitForHandshake(wait)
        self.assertEqual(len(self.lines()), 1)

    def test_retryAfter(self) -> None:
        """
        He may say when.
        """
        agent = self.agent()
        self.refuse(503, b"Retry-After: 30\r\n")
        self.assertPolls(agent)
        self.waitForHandshake(30.1)

    def test_jitter(self) -> None:
        """
        The waits are any part of their bounds, so that a thousand agents do not ask at once.
        """
        self.patch(__import__("random"), "random", lambda: 0.5)
        self.agent()
        for wait in (10, 20, 40, 80, 150, 150):
            self.refuse()
            self.waitForHandshake(wait)

    def test_comesBack(self) -> None:
        """
        Once there is a tunnel, polling ends; exchanges that came by polls come to their ends, and nothing of it is
        logged but the change.
        """
        agent = self.agent()
        self.refuse()
        self.assertPolls(agent)
        self.begin(GET)
        [upload] = self.origin.uploads
        upload.answer.respond(responseHead(200, b"OK", length=4))
        self.network.advance(20.1)
        tunnel = self.accept(agent)
        self.assertEqual(self.proxy.polls, [])
        self.serve(tunnel)
        self.assertEqual(agent._run and agent._run.carrier.countExchanges(), 1)
        upload.answer.write(b"done")
        upload.answer.finish()
        [post] = self.proxy.posts()
        self.assertTrue(post.whole)
        post.answer(200)
        self.network.pump()
        self.assertEqual(agent._run and agent._run.carrier.countExchanges(), 0)
        [first, second] = self.lines()
        self.assertTrue(first.startswith(POLLING))
        self.assertEqual(second, STANDS)
        self.network.advance(100)
        self.assertEqual(self.proxy.polls, [])
        self.assertEqual(len(self.proxy.of("tunnel")), 2)

    def test_longPolled(self) -> None:
        """
        What came by polls, such as a download of an hour, is not cut because there is a tunnel now; when the agent
        stops, it has as long as everything else.
        """
        agent = self.agent(drainTimeout=5.0)
        self.refuse()
        self.begin(GET)
        self.network.advance(20.1)
        tunnel = self.accept(agent)
        self.network.advance(3600)
        self.assertIsNone(self.origin.uploads[0].fault)
        tunnel.request(1, GET)
        stopped = agent.stopService()
        self.network.advance(4.9)
        self.assertNoResult(stopped)
        self.assertEqual([upload.fault for upload in self.origin.uploads], [None, None])
        self.network.advance(0.2)
        self.successResultOf(stopped)
        self.assertNotIn(None, [upload.fault for upload in self.origin.uploads])

    def test_longPolledTwice(self) -> None:
        """
        The same after several changes to and fro; each exchange comes to its own end.
        """
        agent = self.agent()
        for number in range(3):
            self.refuse(502)
            self.begin(GET, str(number))
            self.nextHandshake(11)
            self.accept(agent).close()
            self.nextHandshake(11)
        stopped = agent.stopService()
        for number in range(3):
            self.network.advance(1)
            self.assertNoResult(stopped)
            self.origin.uploads[number].reply()
            self.proxy.posts(str(number))[0].answer(200)
        self.network.advance(1)
        self.successResultOf(stopped)

    def test_toAndFro(self) -> None:
        """
        Each change is one line, any number of times.
        """
        agent = self.agent()
        for _ in range(4):
            self.refuse(502)
            self.assertPolls(agent)
            self.network.advance(0.2)
            tunnel = self.accept(agent)
            self.network.advance(6)
            self.assertEqual(self.proxy.polls, [])
            tunnel.close()
            self.network.advance(0.2)
        kinds = [
            next(kind for kind in (POLLING, STANDS, LOST) if line.startswith(kind))
            for line in self.lines()
        ]
        self.assertEqual(kinds, [POLLING, STANDS, LOST] * 4)


class SlowTests(ChoiceTestCase):
    """
    Where a handshake takes its time.
    """

    def test_beside(self) -> None:
        """
        After two seconds polls begin beside it; the tunnel may still come.
        """
        agent = self.agent()
        self.network.advance(1.9)
        self.assertEqual(self.proxy.of("pending"), [])
        self.network.advance(0.2)
        self.assertPolls(agent)
        self.assertEqual(self.lines(), [SLOW])
        self.begin(GET)
        self.origin.uploads[0].reply()
        self.proxy.posts()[0].answer(200)
        self.network.advance(20)
        [call] = self.proxy.handshakes
        self.assertFalse(call.lost)
        tunnel = self.accept(agent)
        self.assertEqual(self.proxy.polls, [])
        self.assertEqual(self.lines(), [SLOW, STANDS])
        self.serve(tunnel)

    def test_original(self) -> None:
        """
        A server of the original's parks the handshake as it parks a poll, and answers with IDs that it names but once:
        these are worked on, and nothing cuts that wait short.
        """
        agent = self.agent()
        self.network.advance(29.9)
        self.assertPolls(agent)
        [call] = self.proxy.handshakes
        self.proxy.offered.add("one")
        call.answer(200, b'["one"]', b"Content-Type: application/json\r\n")
        [fetch] = self.proxy.fetches()
        fetch.serve(GET)
        self.origin.uploads[0].reply()
        self.proxy.posts()[0].answer(200)
        self.assertEqual(self.lines(), [SLOW])
        self.assertPolls(agent)
        self.waitForHandshake(20)

    def test_originalAtOnce(self) -> None:
        """
        Where requests wait already it answers at once.
        """
        agent = self.agent()
        self.proxy.offered.update(("one", "two"))
        self.refuse(200, b"Content-Type: application/json\r\n", b'["one", "two"]')
        for identifier in ("one", "two"):
            [fetch] = self.proxy.fetches(identifier)
            fetch.serve(GET)
            self.origin.uploads[-1].reply()
            self.proxy.posts(identifier)[0].answer(200)
        self.assertPolls(agent)

    def test_originalInTurns(self) -> None:
        """
        Each further handshake is one more poll to it: never is one broken off, and polls go on beside it.
        """
        agent = self.agent()
        came: dict[Call, int] = {}
        for second in range(1000):
            for call in self.proxy.handshakes:
                if second - came.setdefault(call, second) >= 30:
                    call.answer(200, b"[]")
            self.network.advance(1)
            if second > 2:
                self.assertIn(len(self.proxy.polls), (1, 2))
        self.assertEqual(len(came), 6)
        self.assertEqual([call for call in came if call.lost and not call.answered], [])
        self.assertEqual(self.lines(), [SLOW])
        self.assertPolls(agent)

    def test_notIDs(self) -> None:
        """
        Another body is none.
        """
        for body in (b"<html>", b"{}", b"[1]", b"[" * 100_000, b"", b"null", b'["a b"]'):
            agent = self.agent()
            self.refuse(200, body=body)
            self.assertPolls(agent)
            self.network.resultOf(agent.stopService())
        self.assertEqual(len(self.proxy.of("request")), 7)  # the probes

    def test_never(self) -> None:
        """
        A handshake that is never answered is given up in the end, and made again.
        """
        agent = self.agent(pollTimeout=40.0)
        self.network.advance(39.9)
        [call] = self.proxy.handshakes
        self.network.advance(0.3)
        self.assertTrue(call.lost)
        self.assertEqual(len(self.proxy.handshakes), 1)
        self.assertPolls(agent)
        self.network.advance(300)
        self.assertEqual(self.lines(), [SLOW])

    def test_noGreeting(self) -> None:
        """
        So is one that was accepted, if there is no HELLO.
        """
        agent = self.agent(pollTimeout=40.0)
        [call] = self.proxy.handshakes
        call.accept(greets=False)
        self.network.advance(2.1)
        self.assertPolls(agent)
        self.network.advance(40)
        self.assertTrue(call.lost)
        self.assertEqual(len(self.proxy.handshakes), 1)
