"""
Slow and greedy clients before a whole proxy: each meets a bound, holds no more than that allows, and is noticed by
nobody else.
"""

from __future__ import annotations

from typing import cast

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher

from invproxy.test.programs import CARRIERS, variants
from invproxy.test.rawcalls import Call
from invproxy.test.town import GREEDY, Town, TownCase

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX-Inverting-Proxy-Backend: greedy\r\n"
UPLOAD = (
    b"POST / HTTP/1.1\r\nHost: a\r\nX-Inverting-Proxy-Backend: greedy\r\n"
    b"Content-Length: 1000000000\r\n\r\n"
)
CHUNKED = UPLOAD.replace(b"Content-Length: 1000000000", b"Transfer-Encoding: chunked")
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
PIECE = b"x" * 65536

BUFFERS = 1 << 20
"""Bytes of one body that may be under way, in the proxy and in the network."""


class Slow(TownCase):
    """
    Clients that send or take less than they could.
    """

    def test_slowHeads(self) -> None:
        """
        Slowloris: a hundred heads that come byte by byte are over after the head timeout, all of them.
        """
        town = self.town(headTimeout=30.0)
        slow = [town.raw(HEAD + b"X: ") for _ in range(100)]
        for second in range(28):
            for call in slow:
                call.client.send(b"a")
            town.advance(1)
            if second % 9 == 0:
                self.assertQuiet(town)
        self.assertEqual({call.status for call in slow}, {0})
        town.advance(3)
        self.assertEqual({(call.status, call.error) for call in slow}, {(408, "head-timeout")})
        self.assertEqual(town.errors.codes, ["head-timeout"] * 100)
        self.assertQuiet(town)
        self.leave(town, slow)

    def test_silence(self) -> None:
        """
        Who connects and says nothing is closed after the head timeout, and counted.
        """
        town = self.town(headTimeout=30.0)
        silent = [town.raw(b"") for _ in range(100)]
        town.advance(29)
        self.assertFalse(any(call.isClosed for call in silent))
        self.assertQuiet(town)
        town.advance(2)
        self.assertTrue(all(call.isClosed and not call.client.received for call in silent))
        self.assertEqual(town.refusals, {"head-timeout": 100})
        self.leave(town, silent)

    def test_idle(self) -> None:
        """
        Connections that are kept after a request are closed after the idle timeout.
        """
        town = self.town(idleTimeout=60.0)
        kept = [town.raw(HEAD.replace(GREEDY, b"quiet") + b"\r\n") for _ in range(100)]
        self.assertEqual({call.status for call in kept}, {200})
        town.advance(55)
        self.assertFalse(any(call.isClosed for call in kept))
        self.assertQuiet(town)
        town.advance(6)
        self.assertTrue(all(call.isClosed for call in kept))
        self.leave(town, kept)

    def test_stalledBodies(self) -> None:
        """
        Who stops in the middle of a body is refused after the idle timeout; before that no more of it is held than
        may be.
        """
        town = self.town(idleTimeout=60.0)
        stalled = [town.raw(UPLOAD) for _ in range(20)]
        town.takeGreedy()
        for call in stalled:
            call.send(PIECE)
        town.advance(50)
        self.assertQuiet(town)
        town.advance(11)
        self.assertEqual({(call.status, call.error) for call in stalled}, {(408, "head-timeout")})
        self.leave(town, stalled)

    def test_tricklingBodies(self) -> None:
        """
        With a minimal pace, so is who sends a byte now and then.
        """
        for upload, piece in ((UPLOAD, b"a"), (CHUNKED, b"1\r\na\r\n")):
            town = self.town(minPace=100)
            slow = [town.raw(upload) for _ in range(20)]
            town.takeGreedy()
            self.trickle(town, slow, piece, 29)
            self.assertEqual({call.status for call in slow}, {0})
            self.assertQuiet(town)
            self.trickle(town, slow, piece, 33)
            self.assertEqual({(call.status, call.error) for call in slow}, {(408, "too-slow")})
            self.assertEqual(town.errors.codes, ["too-slow"] * 20)
            self.leave(town, slow)

    def test_tricklingTrailers(self) -> None:
        """
        The same with the trailers of a body.
        """
        town = self.town(minPace=100)
        slow = [town.raw(CHUNKED + b"0\r\nX: ")]
        town.takeGreedy()
        self.trickle(town, slow, b"a", 62)
        self.assertEqual([(call.status, call.error) for call in slow], [(408, "too-slow")])
        self.leave(town, slow)

    def test_paceKept(self) -> None:
        """
        Who keeps the pace goes on, as do those who cannot: as nobody takes what they send, as they wait for leave, or
        as they are answered already.
        """
        town = self.town(minPace=100, queueTimeout=0)
        steady = town.raw(UPLOAD)
        town.takeGreedy()
        answered = town.raw(CHUNKED)
        [response] = town.takeGreedy()
        response.chunk(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        queued = town.raw(UPLOAD)
        queued.send(PIECE * 4)
        waiting = town.raw(UPLOAD[:-2] + b"Expect: 100-continue\r\n\r\n")
        for _ in range(130):
            steady.client.send(b"x" * 110)
            town.advance(1)
        self.assertEqual(
            [call.status for call in (steady, queued, waiting, answered)], [0, 0, 0, 200]
        )
        self.assertFalse(any(call.isClosed for call in (steady, queued, waiting, answered)))
        town.takeGreedy()  # or nobody would see that client leave, as it is not read
        self.leave(town, [steady, queued, waiting, answered])

    def trickle(self, town: Town, calls: list[Call], piece: bytes, seconds: int) -> None:
        """
        Let clients send a little each second.
        """
        for _ in range(seconds):
            for call in calls:
                call.client.send(piece)
            town.advance(1)

    def test_slowReaders(self) -> None:
        """
        Who does not take an answer holds its agent back, and has it cut after the idle timeout.
        """
        town = self.town(idleTimeout=60.0)
        slow, responses = self.readers(town, 20)
        for response in responses:
            self.assertLess(response.client.link.fromClient, BUFFERS)
        town.advance(50)
        self.assertQuiet(town)
        self.assertFalse(any(response.isClosed for response in responses))
        town.advance(11)
        self.assertEqual(town.errors.codes, ["idle-timeout"] * 20)
        self.assertEqual({response.status for response in responses}, {404})
        self.leave(town, slow)

    def test_tooSlowReaders(self) -> None:
        """
        With a minimal pace, that is soon; who keeps it goes on.
        """
        town = self.town(minPace=100)
        slow, _ = self.readers(town, 20)
        [steady], [feeding] = self.readers(town, 1)
        for _ in range(28):
            self.sip(town, steady, feeding)
            town.advance(1)
        self.assertQuiet(town)
        self.assertEqual(town.errors.codes, [])
        for _ in range(66):
            self.sip(town, steady, feeding)
            town.advance(1)
        self.assertEqual(town.errors.codes, ["too-slow"] * 20)
        self.assertFalse(steady.isClosed)
        self.leave(town, [*slow, steady])

    def readers(self, town: Town, count: int) -> tuple[list[Call], list[Call]]:
        """
        Let clients ask for much and take nothing.

        @return: them, and the calls that bring the answers.
        """
        slow = [town.raw(HEAD + b"\r\n") for _ in range(count)]
        for call in slow:
            call.client.stopReading()
        responses = town.takeGreedy()
        for response in responses:
            response.chunk(ENDLESS)
            for _ in range(40):
                response.client.send(b"10000\r\n" + PIECE + b"\r\n")
            town.network.pump()
        return slow, responses

    def sip(self, town: Town, call: Call, response: Call) -> None:
        """
        Let a client take a little.
        """
        town.network.segment = 200
        call.client.startReading()
        town.network._round()
        call.client.stopReading()
        town.network.segment = 65536

    def leave(self, town: Town, calls: list[Call]) -> None:
        """
        Nothing is left of them.
        """
        for call in calls:
            call.client.abort()
        town.network.pump()
        self.assertNothingLeft(town)
        self.assertQuiet(town)


class Flood(TownCase):
    """
    Clients that want more than others.
    """

    def setUp(self) -> None:
        self.lines: list[str] = []
        observer = cast(ILogObserver, self.note)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def note(self, event: LogEvent) -> None:
        """
        Note what is logged.
        """
        self.lines.append(formatEvent(event))

    def test_oneAddress(self) -> None:
        """
        A flood from one address leaves room for everybody else. Those beyond the bound are told
        why; far beyond it they are closed at once.
        """
        town = self.town(maxConnections=100, maxPerAddress=20)
        flood = [self.connect(town, "203.0.113.9") for _ in range(200)]
        self.assertEqual(town.site.clients, 28)
        self.assertEqual(sum(call.isClosed for call in flood), 172)
        self.assertEqual(town.refusals, {"too-many-connections": 172})
        for call in flood[:28]:
            call.send(HEAD.replace(GREEDY, b"quiet") + b"\r\n")
        self.assertEqual([call.status for call in flood[:28]], [200] * 20 + [503] * 8)
        self.assertEqual({call.error for call in flood[20:28]}, {"too-many-connections"})
        others = [self.connect(town, f"198.51.100.{number}") for number in range(75)]
        self.assertFalse(any(call.isClosed for call in others))
        self.assertQuiet(town)
        for call in flood[:5]:
            call.leave()
        again = self.connect(town, "203.0.113.9")
        again.send(HEAD.replace(GREEDY, b"quiet") + b"\r\n")
        self.assertEqual(again.status, 200)
        for call in (*flood, *others, again):
            call.client.abort()
        self.assertNothingLeft(town)
        self.assertEqual(len([line for line in self.lines if "203.0.113.9" in line]), 1)

    def test_everywhere(self) -> None:
        """
        A flood from everywhere fills the proxy: those who are there go on, and are served as before. When it ends there
        is room at once.
        """
        town = self.town(maxConnections=50)
        before = town.raw(HEAD.replace(GREEDY, b"quiet") + b"\r\n")
        flood = [self.connect(town, f"203.0.113.{number}") for number in range(200)]
        self.assertEqual(town.site.clients, 114)
        self.assertEqual(town.refusals, {"too-many-connections": 87})
        for _ in range(5):
            before.client.take()
            before.send(HEAD.replace(GREEDY, b"quiet") + b"\r\n")
            self.assertEqual(before.status, 200)
        self.assertTrue(self.connect(town, "192.0.2.1").isClosed)
        town.advance(31)
        self.assertTrue(all(call.isClosed for call in flood))
        self.assertQuiet(town)
        before.leave()
        for call in flood:
            call.client.abort()
        self.assertNothingLeft(town)

    def connect(self, town: Town, address: str) -> Call:
        """
        Connect from somewhere.
        """
        return town.raw(b"", address=address)

    def test_pending(self) -> None:
        """
        A backend's mailbox takes so many requests, and the next gets 429; other backends have their own.
        """
        town = self.town(maxPending=50)
        calls = [town.raw(UPLOAD) for _ in range(80)]
        for call in calls:
            call.client.send(PIECE * 16)
        town.network.pump()
        refused = [call for call in calls if call.status]
        self.assertEqual(
            [(call.status, call.error) for call in refused], [(429, "too-many-pending")] * 30
        )
        self.assertEqual(refused[0].reply.value(b"Retry-After"), b"1")
        for call in calls[:50]:
            self.assertLess(call.client.link.fromClient, 3 * 65536)
        self.assertQuiet(town)
        town.advance(31)
        self.assertEqual({call.error for call in calls[:50]}, {"queue-timeout"})
        for call in calls:
            call.client.abort()
        self.assertNothingLeft(town)

    def test_pipelined(self) -> None:
        """
        Of what is pipelined behind a request that waits, no more is held than may be.
        """
        town = self.town()
        call = town.raw(HEAD + b"\r\n")
        for _ in range(200):
            call.client.send((HEAD + b"\r\n") * 1000)
        town.network.pump()
        self.assertLess(call.client.link.fromClient, BUFFERS)
        self.assertEqual(len(town.proxy.mailboxes.exchanges), 1)
        self.assertQuiet(town)
        call.leave()
        town.advance(31)  # it is not read, so that nobody sees it leave
        self.assertNothingLeft(town)

    def test_giantHeads(self) -> None:
        """
        Heads, and sections of trailers, that are too large are refused as soon as that can be seen, and not read on.
        """
        town = self.town()
        calls = {
            (431, "head-too-large"): [
                (HEAD + b"X: ", b"a" * 65536),
                (HEAD, b"X: y\r\n" * 10000),
            ],
            (414, "target-too-long"): [(b"GET /", b"a" * 65536)],
        }
        for expected, cases in calls.items():
            for start, more in cases:
                call = town.raw(start)
                for _ in range(100):
                    call.client.send(more)
                town.network.pump()
                self.assertEqual((call.status, call.error), expected)
                self.assertLess(call.client.link.fromClient, 2 * BUFFERS)
                self.assertQuiet(town)
                call.leave()
        town.advance(3)
        self.assertNothingLeft(town)

    def test_endlessTrailers(self) -> None:
        """
        So are trailers, and their exchange is over.
        """
        town = self.town()
        for more in (b"X: y\r\n" * 10000, b"a" * 65536):
            call = town.raw(CHUNKED)
            town.takeGreedy()
            call.send(b"0\r\nX: ")
            for _ in range(100):
                call.client.send(more)
            town.network.pump()
            self.assertEqual((call.status, call.error), (400, "bad-request"))
            self.assertLess(call.client.link.fromClient, 2 * BUFFERS)
            self.assertEqual(town.proxy.mailboxes.exchanges, {})
            self.assertQuiet(town)
            call.leave()
        town.advance(3)
        self.assertNothingLeft(town)


globals().update(variants(Slow, CARRIERS))
globals().update(variants(Flood, CARRIERS))
del Slow, Flood
