"""
What happens to connections of the streaming server: bad input, clocks, bounds, draining, and clients that leave.
"""

from __future__ import annotations

from twisted.internet.interfaces import IProtocolNegotiationFactory
from zope.interface.verify import verifyObject

from invproxy.errors import (
    BAD_REQUEST,
    CLIENT_GONE,
    HEAD_TIMEOUT,
    INTERNAL,
    TOO_MANY_CONNECTIONS,
    Fault,
)
from invproxy.http1.fields import value
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import Limits
from invproxy.interfaces import IAnswer, IPeer, IUpload
from invproxy.server import StreamingSite
from invproxy.test.serving import (
    GET,
    OPEN_ENDED,
    PORT,
    Played,
    ServerTestCase,
    ok,
    post,
    responses,
    statuses,
)
from invproxy.testing.client import MemoryClient

UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
SWITCHING = ResponseHead(101, b" Switching Protocols", upgrade=b"echo")


class InterfaceTests(ServerTestCase):
    """
    What the server hands out keeps its promises.
    """

    def test_interfaces(self) -> None:
        """
        The interfaces are provided.
        """
        _, played = self.ask()
        self.assertTrue(verifyObject(IProtocolNegotiationFactory, self.site))
        self.assertTrue(verifyObject(IAnswer, played.answer))
        self.assertTrue(verifyObject(IPeer, played.answer.peer))
        self.assertTrue(verifyObject(IUpload, self.ended or played))
        self.assertEqual(self.site.acceptableProtocols(), [b"http/1.1"])

    def test_peer(self) -> None:
        """
        An exchange knows where its client is.
        """
        client = self.network.client("a", PORT, address="127.0.0.9")
        client.send(GET)
        self.network.pump()
        peer = self.origin.played[0].answer.peer
        self.assertEqual(peer.address.host, "127.0.0.9")  # type: ignore[attr-defined]
        self.assertEqual((peer.secure, peer.streams), (False, True))
        client.abort()
        self.network.pump()
        self.assertEqual(peer.address.host, "127.0.0.9")  # type: ignore[attr-defined]

    def test_whenLost(self) -> None:
        """
        Who asks is told of the loss of the connection, once, and not if the wish was taken back.
        """
        client, played = self.ask()
        told: list[str] = []
        peer = played.answer.peer
        peer.whenLost(lambda: told.append("kept"))
        forget = peer.whenLost(lambda: told.append("forgotten"))
        forget()
        forget()
        played.reply()
        self.network.pump()
        self.assertEqual(told, [])
        client.close()
        self.network.pump()
        self.assertEqual(told, ["kept"])


class MalformedTests(ServerTestCase):
    """
    Bad input gets a clear answer and a closed connection.
    """

    def assertRefused(self, client: MemoryClient, status: int, before: int = 0) -> None:
        """
        The client got one last answer, that says what was wrong, and then the connection was closed.
        """
        answers = responses(client.take())
        self.assertEqual(len(answers), before + 1)
        head = answers[-1].head
        assert isinstance(head, ResponseHead)
        self.assertEqual((head.status, head.keepAlive), (status, False))
        self.assertTrue(client.ended)
        self.send(client, GET)
        self.assertEqual(client.take(), b"")
        client.close()
        self.network.pump()
        self.assertGone()

    def test_head(self) -> None:
        """
        A head that is not HTTP/1.1 is refused, as the first and behind others; what follows it is not read.
        """
        bad = (
            (400, b"GET /\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
            (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
            (400, post(3, b"Content-Length: 3")),
            (400, post(CHUNKED, b"Content-Length: 3")),
            (501, post(3).replace(b"Content-Length: 3", b"Transfer-Encoding: gzip, chunked")),
            (417, post(3, b"Expect: a miracle")),
            (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
            (414, b"GET /" + b"a" * 20000),
            (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70000),
        )
        self.origin.onOpen = lambda played: played.reply()
        for status, data in bad:
            for before in (0, 2):
                client = self.connect(GET * before + data + b"\r\n\r\n" + GET)
                self.assertRefused(client, status, before)
        self.assertEqual(len(self.origin.played), 2 * len(bad))
        self.assertEqual(
            [stream.status for stream in self.ended if stream.error],
            [status for status, _ in bad for _ in range(2)],
        )

    def test_headByteByByte(self) -> None:
        """
        It is refused as soon as that can be seen, however the bytes arrive.
        """
        self.network.segment = 1
        client = self.connect(b"GET / HTTP/1.1\r\nHost: a\nX: y")
        self.assertRefused(client, 400)

    def test_behindRequestThatWaits(self) -> None:
        """
        The request before it gets its answer first.
        """
        client, played = self.ask(GET + b"what?\r\n\r\n")
        self.assertEqual(client.take(), b"")
        played.reply(b"x")
        self.network.pump()
        self.assertRefused(client, 400, 1)

    def test_body(self) -> None:
        """
        A body that breaks its framing aborts the exchange, and gets an answer if there was none.
        """
        client, played = self.ask(post(CHUNKED) + b"3\r\nabc\r\nwhat?\r\n" + GET)
        self.assertEqual((played.body, played.trailers), (b"abc", []))
        self.assertEqual(played.codes, [BAD_REQUEST])
        self.assertRefused(client, 400)
        self.assertEqual(played.codes, [BAD_REQUEST])
        self.assertEqual([stream.error for stream in self.ended], [BAD_REQUEST])

    def test_bodyDuringAnswer(self) -> None:
        """
        If there was one, it is cut.
        """
        client, played = self.ask(post(CHUNKED))
        played.answer.respond(OPEN_ENDED)
        played.answer.write(b"x")
        self.network.pump()
        self.send(client, b"what?\r\n")
        self.assertEqual(played.codes, [BAD_REQUEST])
        self.assertFalse(client.take().endswith(b"0\r\n\r\n"))
        self.assertIsNotNone(client.closed)
        self.assertGone()

    def test_trailers(self) -> None:
        """
        So are trailers that may not be any.
        """
        client, played = self.ask(post(CHUNKED) + b"0\r\nContent-Length: 3\r\n\r\n")
        self.assertEqual((played.trailers, played.codes), ([], [BAD_REQUEST]))
        self.assertRefused(client, 400)

    def test_limits(self) -> None:
        """
        The limits are the site's.
        """
        self.serve(PORT + 1, limits=Limits(head=100))
        client = self.connect(GET[:-2] + b"X: " + b"a" * 100, PORT + 1)
        self.assertRefused(client, 431)

    def test_unread(self) -> None:
        """
        A client that floods after it was refused is not read for ever, and the answer is not lost.
        """
        client = self.connect(b"what?\r\n\r\n")
        for _ in range(10):
            self.send(client, b"x" * 1024 * 1024)
        self.assertEqual(statuses(client.take()), [400])
        self.assertLess(client.link.fromClient, 3 * 1024 * 1024)
        self.network.advance(3)
        self.assertIsNotNone(client.closed)
        self.assertGone()


class OriginErrorTests(ServerTestCase):
    """
    What an origin raises does not reach the client, and the connection does not hang.
    """

    def test_faultFromOpen(self) -> None:
        """
        A L{Fault} is answered as what it is.
        """

        def refuse(played: Played) -> None:
            raise Fault(TOO_MANY_CONNECTIONS)

        self.origin.onOpen = refuse
        for body in (b"", b"abc"):
            client = self.connect((post(3) + body if body else GET) * 2)
            first, second = responses(client.take())
            assert isinstance(first.head, ResponseHead)
            self.assertEqual(first.head.status, 503)
            self.assertEqual(value(first.head.fields, b"retry-after"), b"1")
            self.assertIsNotNone(second.head)

    def test_errorFromOpen(self) -> None:
        """
        Anything else is a 500 and goes to the log; the connection goes on.
        """

        def fail(played: Played) -> None:
            raise ZeroDivisionError

        self.origin.onOpen = fail
        client = self.connect(GET + post(3) + b"abc" + GET)
        self.assertEqual(statuses(client.take()), [500] * 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_errorFromOpenAfterHead(self) -> None:
        """
        If it has begun to answer, the answer is cut.
        """

        def fail(played: Played) -> None:
            played.answer.respond(OPEN_ENDED)
            played.answer.write(b"x")
            raise ZeroDivisionError

        self.origin.onOpen = fail
        client = self.connect(GET + GET)
        self.assertNotIn(b"0\r\n\r\n", client.take())
        self.assertIsNotNone(client.closed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([stream.error for stream in self.ended], [INTERNAL])

    def test_errorFromBody(self) -> None:
        """
        One from the body of a request, or its end, is a 500 as well, and then the connection is closed.
        """

        def fail(data: bytes = b"") -> None:
            raise ZeroDivisionError

        for name, data in (("onWrite", post(6) + b"abc"), ("onFinish", GET + GET)):

            def prepare(played: Played, name: str = name) -> None:
                setattr(played, name, fail)

            self.origin.onOpen = prepare
            client, played = self.ask(data)
            self.assertEqual(statuses(client.take()), [500])
            self.assertEqual(played.codes, [INTERNAL])
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            client.close()
            self.network.pump()
            self.assertGone()


class DeadlineTests(ServerTestCase):
    """
    Nobody waits for ever.
    """

    def setUp(self) -> None:
        super().setUp()
        self.serve(PORT + 1, headTimeout=30.0, idleTimeout=100.0)

    def test_firstByte(self) -> None:
        """
        A client that asks nothing is closed without a word.
        """
        client = self.connect(port=PORT + 1)
        self.network.advance(29)
        self.assertFalse(client.ended)
        self.network.advance(2)
        self.assertEqual(client.take(), b"")
        self.assertClosed(client)

    def test_slowHead(self) -> None:
        """
        One whose head takes too long hears of it, however diligently it sends.
        """
        client = self.connect(GET[:5], PORT + 1)
        for _ in range(15):
            self.network.advance(1.9)
            self.send(client, b"a")
        self.assertFalse(client.ended)
        self.network.advance(2)
        self.assertEqual(statuses(client.take()), [408])
        self.assertEqual([stream.error for stream in self.ended], [HEAD_TIMEOUT])
        self.assertClosed(client)

    def test_slowBeginning(self) -> None:
        """
        The time of the head begins with its first byte.
        """
        client = self.connect(port=PORT + 1)
        self.network.advance(20)
        self.send(client, GET[:5])
        self.network.advance(20)
        self.send(client, GET[5:])
        self.assertEqual(len(self.origin.played), 1)

    def test_keptConnection(self) -> None:
        """
        A kept connection has longer until its next request, but no longer for its head.
        """
        client, played = self.ask(GET, PORT + 1)
        played.reply()
        self.network.advance(95)
        self.assertFalse(client.ended)
        self.send(client, GET[:5])
        self.network.advance(29)
        self.assertFalse(client.ended)
        self.network.advance(2)
        self.assertEqual(statuses(client.take()), [200, 408])

    def test_idle(self) -> None:
        """
        It is closed when none comes, without a word.
        """
        client, played = self.ask(GET, PORT + 1)
        self.network.advance(50)
        played.reply()
        self.network.advance(99)
        self.assertFalse(client.ended)
        self.network.advance(2)
        self.assertEqual(statuses(client.take()), [200])
        self.assertClosed(client)

    def test_halfHeadBehindRequest(self) -> None:
        """
        Half a head that came along with the request before it has the time of a head, from its turn on.
        """
        for later in (0, 50):
            client, played = self.ask(GET + GET[:5], PORT + 1)
            self.network.advance(later)
            played.reply()
            self.network.advance(29)
            self.assertFalse(client.ended)
            self.network.advance(2)
            self.assertEqual(statuses(client.take()), [200, 408])
            self.assertClosed(client)

    def test_halfHeadInSameCall(self) -> None:
        """
        The same where the first was answered within the call that brought both, in pieces.
        """
        self.origin.onOpen = lambda played: played.reply()
        client = self.connect(GET[:5], PORT + 1)
        self.network.advance(20)
        self.send(client, GET[5:] + GET[:5])
        self.network.advance(29)
        self.assertFalse(client.ended)
        self.network.advance(2)
        self.assertEqual(statuses(client.take()), [200, 408])

    def test_whileAnswering(self) -> None:
        """
        The exchange has clocks of its own.
        """
        client, played = self.ask(post(3) + b"ab", PORT + 1)
        self.network.advance(1000)
        self.send(client, b"c")
        played.reply()
        self.network.advance(1)
        self.assertEqual(statuses(client.take()), [200])

    def test_never(self) -> None:
        """
        With 0, there are no clocks.
        """
        self.serve(PORT + 2, headTimeout=0, idleTimeout=0)
        client = self.connect(port=PORT + 2)
        self.network.advance(10000)
        self.send(client, GET[:5])
        self.network.advance(10000)
        self.send(client, GET[5:])
        self.origin.played[0].reply()
        self.network.advance(10000)
        self.send(client, GET)
        self.assertEqual(len(self.origin.played), 2)

    def test_closingNotTaken(self) -> None:
        """
        A client that does not take the end of its last answer is cut off, in the end.
        """
        for fields in ((), (b"Connection: close",)):
            client, played = self.ask(post(0, *fields), PORT + 1)
            client.stopReading()
            played.reply(b"x" * 1024 * 1024)
            self.network.advance(99)
            self.assertEqual(self.site.clients, 1)
            self.network.advance(120)
            self.assertGone()
            client.abort()

    def test_notKept(self) -> None:
        """
        The deadlines do not hold on to connections that are gone.
        """
        client, played = self.ask(GET, PORT + 1)
        played.reply()
        client.close()
        self.network.pump()
        self.assertGone()
        self.assertEqual(self.site.deadlines._watched, {})


class ConnectionsTests(ServerTestCase):
    """
    The number of clients is bounded; agents are not clients.
    """

    def serveFew(self, **options: object) -> StreamingSite:
        """
        Start a server for two clients.
        """
        return self.serve(PORT + 1, maxConnections=2, **options)

    def test_surplus(self) -> None:
        """
        One too many is told so, and closed; there is room again when another one leaves.
        """
        self.serveFew()
        first, second = self.connect(port=PORT + 1), self.connect(port=PORT + 1)
        for data in (GET, post(3) + b"abc", post(30) + b"abc", GET * 2):
            third = self.connect(data, PORT + 1)
            (taker,) = responses(third.take())
            assert isinstance(taker.head, ResponseHead)
            self.assertEqual((taker.head.status, taker.head.keepAlive), (503, False))
            self.assertTrue(third.ended)
            third.close()
        self.assertEqual(self.origin.played, [])
        self.assertEqual({stream.error for stream in self.ended}, {TOO_MANY_CONNECTIONS})
        first.close()
        self.network.pump()
        self.ask(GET, PORT + 1)
        self.send(second, GET)
        self.assertEqual(len(self.origin.played), 2)

    def test_hardBound(self) -> None:
        """
        Far too many are not even told so.
        """
        self.serveFew()
        clients = [self.connect(port=PORT + 1) for _ in range(200)]
        self.assertEqual(self.site.clients, 66)
        self.assertEqual(len(self.site._channels), 66)
        self.assertEqual(sum(client.ended for client in clients), 134)
        for client in clients:
            client.close()
        self.network.pump()
        self.assertGone()

    def test_agents(self) -> None:
        """
        Calls of agents are served when it is full, and their connections do not count from then on.
        """

        def isAgentCall(head: RequestHead) -> bool:
            return head.target.startswith(b"/agent")

        self.serveFew(isAgentCall=isAgentCall)
        agentCall = GET.replace(b"/ ", b"/agent/pending ")
        for _ in range(2):
            self.connect(port=PORT + 1)
        agents = []
        for _ in range(100):
            agent, played = self.ask(agentCall, PORT + 1)
            played.answer.peer.countAsAgent()
            played.answer.peer.countAsAgent()
            agents.append(agent)
        self.assertEqual(self.site.clients, 2)
        played.reply()
        self.send(agents[-1], agentCall)
        self.assertEqual(len(self.origin.played), 101)
        self.assertEqual(statuses(self.connect(GET, PORT + 1).take()), [503])
        for agent in agents:
            agent.abort()
        self.network.pump()
        played.answer.peer.countAsAgent()
        self.assertEqual(self.site.clients, 2)

    def test_surplusAgentThatIsNone(self) -> None:
        """
        A connection beyond the bound whose agent call was not one after all is refused the next request.
        """
        self.serveFew(isAgentCall=lambda head: head.target == b"/agent")
        for _ in range(2):
            self.connect(port=PORT + 1)
        client, played = self.ask(GET.replace(b"/ ", b"/agent "), PORT + 1)
        played.reply()
        self.send(client, GET)
        self.assertEqual(statuses(client.take()), [200, 503])


class DrainTests(ServerTestCase):
    """
    A server that stops finishes what it has begun.
    """

    def test_nothing(self) -> None:
        """
        Without connections it is done at once.
        """
        self.assertIsNone(self.successResultOf(self.site.drain()))

    def test_idle(self) -> None:
        """
        Connections on which nothing was asked for a second are closed at once, new and kept ones; others a second after
        their last answer, also if that is still on the way.
        """
        old = self.connect()
        self.network.advance(1)
        new = self.connect()
        kept, played = self.ask()
        played.reply()
        self.network.pump()
        slow, played = self.ask()
        slow.stopReading()
        played.reply(b"x" * 1024 * 1024)
        self.network.pump()
        drained = self.site.drain()
        self.network.pump()
        self.assertTrue(old.ended)
        self.assertFalse(new.ended or kept.ended)
        self.network.advance(1.25)
        self.assertTrue(new.ended and kept.ended)
        self.assertNoResult(drained)
        slow.startReading()
        self.network.pump()
        self.assertEqual(len(responses(slow.take())[0].body), 1024 * 1024)
        self.network.advance(1.25)
        for client in (old, new, kept, slow):
            self.assertTrue(client.ended)
            client.close()
        self.network.pump()
        self.successResultOf(drained)
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_silentPeers(self) -> None:
        """
        Those who do not close their ends are not waited for: half a second is enough for what was just coming, which is
        read for nothing.
        """
        self.connect()
        client = self.connect()
        drained = self.site.drain()
        self.network.advance(1.25)
        client.send(GET)
        self.network.pump()
        self.assertNoResult(drained)
        self.network.advance(0.75)
        self.successResultOf(drained)
        self.assertEqual(self.origin.played, [])
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_lingering(self) -> None:
        """
        A connection that is about to be closed anyway stays so.
        """
        self.site.refuseMore()
        client, played = self.ask()
        played.reply()
        self.network.pump()
        self.assertTrue(client.ended)
        drained = self.site.drain()
        self.network.advance(2.25)
        self.successResultOf(drained)

    def test_busy(self) -> None:
        """
        Others are closed after their answers, which say so; what is pipelined behind is not begun.
        """
        client, played = self.ask(GET + GET)
        drained, again = self.site.drain(), self.site.drain()
        self.network.pump()
        played.reply(b"x")
        self.network.pump()
        (taker,) = responses(client.take())
        assert isinstance(taker.head, ResponseHead)
        self.assertFalse(taker.head.keepAlive)
        self.assertEqual(len(self.origin.played), 1)
        client.close()
        self.network.pump()
        self.successResultOf(drained)
        self.successResultOf(again)
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_answerBegun(self) -> None:
        """
        An answer that has begun is finished, and then the connection is closed though it did not say so.
        """
        client, played = self.ask()
        played.answer.respond(OPEN_ENDED)
        drained = self.site.drain()
        played.answer.write(b"x")
        self.network.pump()
        self.assertNoResult(drained)
        played.answer.finish()
        self.network.pump()
        self.assertEqual(responses(client.take())[0].body, b"x")
        self.assertTrue(client.ended)

    def test_halfHead(self) -> None:
        """
        A request that has begun to arrive is still served.
        """
        client = self.connect(GET[:5])
        self.site.drain()
        self.network.pump()
        self.assertFalse(client.ended)
        self.send(client, GET[5:])
        self.origin.played[0].reply()
        self.network.pump()
        self.assertEqual(statuses(client.take()), [200])
        self.assertTrue(client.ended)

    def test_uploading(self) -> None:
        """
        So is one whose body is on the way, and one whose rest is read for nothing.
        """
        first, playedFirst = self.ask(post(6) + b"abc")
        second, playedSecond = self.ask(post(6) + b"abc")
        playedSecond.reply()
        self.site.drain()
        self.send(first, b"def")
        self.send(second, b"def")
        self.assertEqual(playedFirst.body, b"abcdef")
        playedFirst.reply()
        self.network.pump()
        for client in (first, second):
            self.assertEqual(statuses(client.take()), [200])
            self.assertTrue(client.ended)

    def test_newcomer(self) -> None:
        """
        A connection that comes while the port is not closed yet gets one answer.
        """
        self.ask()
        drained = self.site.drain()
        client, played = self.ask(GET + GET)
        played.reply()
        self.network.pump()
        self.assertEqual(statuses(client.take()), [200])
        self.assertTrue(client.ended)
        self.assertNoResult(drained)

    def test_upgraded(self) -> None:
        """
        Upgraded connections go on until they end, or until they are aborted.
        """
        client, played = self.ask(UPGRADE)
        played.answer.respond(SWITCHING)
        drained = self.site.drain()
        self.send(client, b"x")
        self.assertEqual(played.body, b"x")
        self.site.abort()
        self.network.pump()
        self.successResultOf(drained)
        self.assertEqual(played.codes, [CLIENT_GONE])
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_abort(self) -> None:
        """
        Aborting ends all of them at once.
        """
        clients = [self.connect(data) for data in (b"", GET, GET[:5], post(3), b"what?\r\n\r\n")]
        self.site.abort()
        self.network.pump()
        self.assertGone()
        for client in clients[:-1]:
            self.assertIsNotNone(client.closed)
        self.assertEqual([played.codes for played in self.origin.played], [[CLIENT_GONE]] * 2)


class LeavingTests(ServerTestCase):
    """
    Clients leave at any moment.
    """

    def leaving(self) -> list[tuple[MemoryClient, Played | None, bool]]:
        """
        Bring one client after the other to a moment at which it may leave.

        @return: clients, their exchanges, and whether the origin still works on them.
        """
        moments: list[tuple[MemoryClient, Played | None, bool]] = []
        for data in (b"", GET[:5]):
            moments.append((self.connect(data), None, False))
        for data in (GET, GET + GET, GET + GET[:5], post(6), post(6) + b"abc", post(3) + b"abc"):
            moments.append((*self.ask(data), True))
            client, played = self.ask(data)
            played.answer.inform(ResponseHead(103))
            moments.append((client, played, True))
            for written in (b"", b"x"):
                client, played = self.ask(data)
                played.answer.respond(OPEN_ENDED)
                played.answer.write(written)
                moments.append((client, played, True))
            client, played = self.ask(data.replace(GET + GET, GET))
            played.reply()
            moments.append((client, played, False))
            client, played = self.ask(data)
            played.answer.respond(ok(3))
            played.answer.fail(Fault(INTERNAL))
            moments.append((client, played, False))
        client, played = self.ask(post(6))
        played.answer.respond(OPEN_ENDED)
        client.stopReading()
        played.answer.write(b"x" * 1024 * 1024)
        moments.append((client, played, True))
        client, played = self.ask(UPGRADE + b"early")
        played.answer.respond(SWITCHING)
        moments.append((client, played, True))
        self.network.pump()
        return moments

    def assertToldOnce(self, played: Played | None, working: bool) -> None:
        """
        The origin was told, once, if it still worked; what it does then goes nowhere.
        """
        if played is None:
            return
        self.assertEqual(played.codes, [CLIENT_GONE] if working else [])
        answer = played.answer
        answer.inform(ResponseHead(103))
        answer.respond(ok(3))
        answer.write(b"abc")
        answer.pauseUpload()
        answer.resumeUpload()
        answer.finish()
        answer.fail(Fault(INTERNAL))
        self.network.pump()
        self.assertEqual(len(played.faults), working)

    def test_reset(self) -> None:
        """
        By a reset.
        """
        moments = self.leaving()
        opened = len(self.origin.played)
        for client, _, _ in moments:
            client.abort()
        self.network.pump()
        for _, played, working in moments:
            self.assertToldOnce(played, working)
        self.assertGone()
        self.assertEqual(len(self.origin.played), opened)
        self.assertEqual(len(self.ended), opened)

    def test_close(self) -> None:
        """
        By closing in order, which looks the same until the answer is written: a client that only ended its direction
        is not told apart from one that has gone.
        """
        moments = self.leaving()
        opened = len(self.origin.played)
        for client, played, _ in moments:
            if played is None or played.answer.status != 101:  # type: ignore[attr-defined]
                client.close()
        self.network.pump()
        for _, played, working in moments[:-1]:
            self.assertToldOnce(played, working)
        client, played, _ = moments[-1]
        assert played is not None
        client.close()
        self.network.pump()
        self.assertEqual((played.trailers, played.codes), ([b"", b""], []))
        played.answer.finish()
        self.network.pump()
        self.assertGone()
        self.assertEqual(len(self.ended), opened)

    def test_beforeAnswerWithinCall(self) -> None:
        """
        The connection may be lost while the origin is being asked.
        """

        def lose(played: Played) -> None:
            self.network.cut(client)

        self.origin.onOpen = lose
        client = self.network.client("a", PORT)
        client.send(GET + GET)
        self.network.pump()
        (played,) = self.origin.played
        self.assertToldOnce(played, True)
        self.assertGone()
