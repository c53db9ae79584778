"""
What all connections of the streaming server have in common: bounds, draining, and what is told of peers.
"""

from __future__ import annotations

from twisted.internet.interfaces import IProtocolNegotiationFactory
from zope.interface.verify import verifyObject

from invproxy.errors import (
    CLIENT_GONE,
    TOO_MANY_CONNECTIONS,
)
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.interfaces import IAnswer, IPeer, IUpload
from invproxy.server import StreamingSite
from invproxy.test.serving import (
    GET,
    OPEN_ENDED,
    PORT,
    SWITCHING,
    UPGRADE,
    ServerTestCase,
    post,
    responses,
    statuses,
)


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
        self.assertEqual(sum(client.closed is not None for client in clients), 134)
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
