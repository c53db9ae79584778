"""
Exchanges over a tunnel, both of its ends joined in memory.
"""

from __future__ import annotations

from zope.interface.verify import verifyObject

from invproxy.http1.framing import CHUNKED, UNTIL_CLOSE
from invproxy.http1.heads import ResponseHead
from invproxy.interfaces import IAnswer, ITaker, IUpload
from invproxy.proxy.tunneling import ProxyStream
from invproxy.test.tunnelcase import GONE, Pair, PairCase, Peer
from invproxy.wire.frames import DATA, LAST, REQUEST, RESPONSE, parseRequestPayload
from invproxy.wire.poll import REQUEST_ID, USER_ID
from invproxy.wire.windows import INITIAL


class Exchanges(PairCase):
    """
    What goes through a tunnel.
    """

    def test_interfaces(self) -> None:
        """
        A session is what its connection and its mailbox want, and streams are an upload and an answer.
        """
        verifyObject(IUpload, self.pair.proxy)
        verifyObject(ITaker, self.pair.proxy)
        _, asked = self.exchange()
        verifyObject(IAnswer, asked.answer)
        verifyObject(IUpload, self.pair.proxy.streams[1])
        self.assertIsInstance(self.pair.proxy.streams[1], ProxyStream)

    def test_hello(self) -> None:
        """
        Both say who they are and what they take, and are ready.
        """
        proxy, agent = self.pair.proxy, self.pair.agent
        self.assertEqual(proxy.peer, agent.hello)
        self.assertEqual(agent.peer, proxy.hello)
        assert proxy.peer is not None and agent.peer is not None
        self.assertEqual((proxy.peer.instance, proxy.peer.slot), ("agent", 0))
        self.assertEqual(agent.peer.node, self.pair.tunnels.node)
        self.assertTrue(proxy.isReady and agent.isReady and proxy.hasRoom())
        self.assertEqual((proxy.granted, agent.granted), (INITIAL, INITIAL))
        self.successResultOf(agent.ready)
        self.assertNoResult(agent.left)
        self.assertEqual(self.pair.left(), (0, 1, 1))

    def test_helloInPieces(self) -> None:
        """
        The same in single bytes.
        """
        pair = Pair(greet=False)
        self.assertFalse(pair.proxy.hasRoom())
        pair.settle(1)
        self.assertTrue(pair.proxy.isReady and pair.agent.isReady)

    def test_waitedBefore(self) -> None:
        """
        What waited when the tunnel came is taken at once.
        """
        pair = Pair(greet=False)
        clients = [pair.ask(target=b"/%d" % number) for number in range(3)]
        pair.settle()
        self.assertEqual([each.head.target for each in pair.origin.asked], [b"/0", b"/1", b"/2"])
        for asked in pair.origin.asked:
            asked.reply(asked.head.target)
        pair.settle()
        self.assertEqual([client.body for client in clients], [b"/0", b"/1", b"/2"])

    def test_small(self) -> None:
        """
        A request without a body, and its answer.
        """
        client, asked = self.exchange(fields=[(b"X-A", b"b")])
        self.assertEqual(asked.head.fields, b"\r\nHost: example.com\r\nX-A: b")
        self.assertEqual(asked.ends, [b""])
        asked.reply()
        self.pair.settle()
        assert client.head is not None
        self.assertEqual((client.head.status, client.head.reason), (200, b" Fine"))
        self.assertEqual((client.body, client.trailers), (b"fine", b""))
        self.assertEqual((self.pair.proxy.streams, self.pair.agent.streams), ({}, {}))
        self.assertEqual(self.pair.ended, [client.exchange])

    def test_smallIsFewFrames(self) -> None:
        """
        It is one frame there, and two back in one message.
        """
        self.pair.ask()
        self.pair.clock.advance(0)
        there = Peer(masked=False)
        there.read(bytes(self.pair.proxyEnd.written))
        self.assertEqual([each[:3] for each in there.frames], [(REQUEST, 1, LAST)])
        self.pair.toAgent()
        self.pair.origin.asked[-1].reply()
        self.pair.clock.advance(0)
        back = Peer(masked=True)
        back.read(bytes(self.pair.agentEnd.written))
        self.assertEqual([each[:3] for each in back.frames], [(RESPONSE, 1, 0), (DATA, 1, LAST)])
        self.pair.settle()
        self.assertEqual(self.pair.left()[0], 0)

    def test_emptyAnswer(self) -> None:
        """
        An answer without a body is one frame.
        """
        client, asked = self.exchange()
        asked.respond(204, length=0)
        asked.answer.finish()
        self.pair.clock.advance(0)
        back = Peer(masked=True)
        back.read(bytes(self.pair.agentEnd.written))
        self.assertEqual([each[:3] for each in back.frames], [(RESPONSE, 1, LAST)])
        self.pair.settle()
        self.assertTrue(client.finished)

    def test_head(self) -> None:
        """
        The answer to a HEAD has no body, whatever it announces and the origin writes.
        """
        client, asked = self.exchange(b"HEAD")
        asked.reply(b"12345")
        self.pair.settle()
        assert client.head is not None
        self.assertIn(b"Content-Length: 5", client.head.fields)
        self.assertEqual((client.body, client.finished), (b"", True))

    def test_bodyless(self) -> None:
        """
        Nor have a 204 and a 304; their trailers are dropped as well.
        """
        for status in (204, 304):
            client, asked = self.exchange()
            asked.respond(status)
            asked.answer.write(b"what is not to be")
            asked.answer.finish(b"\r\nX: 1")
            self.pair.settle()
            self.assertEqual((client.body, client.trailers), (b"", b""))

    def test_framings(self) -> None:
        """
        A body of known length, in chunks, or to the end of the connection comes as it is.
        """
        for length in (6, None):
            client, asked = self.exchange()
            asked.respond(length=length)
            asked.answer.write(b"abc")
            self.pair.settle()
            assert client.head is not None
            self.assertEqual(client.head.framing == 6, length == 6)
            self.assertEqual(client.body, b"abc")
            self.assertFalse(client.over)
            asked.answer.write(b"def")
            asked.answer.finish()
            self.pair.settle()
            self.assertEqual((client.body, client.finished), (b"abcdef", True))
        client, asked = self.exchange()
        asked.answer.respond(ResponseHead(200, b" OK", framing=UNTIL_CLOSE, minor=0))
        asked.answer.write(b"abc")
        asked.answer.finish()
        self.pair.settle()
        self.assertEqual((client.body, client.finished), (b"abc", True))

    def test_upload(self) -> None:
        """
        A body goes to the origin as it comes, with its end and its trailers.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        self.assertEqual((asked.body, asked.ends), (b"", []))
        client.body_.write(b"abc")
        self.pair.settle()
        self.assertEqual(asked.body, b"abc")
        client.body_.write(b"def")
        client.body_.finish(b"\r\nX: 1\r\nY: 2")
        self.pair.settle()
        self.assertEqual((asked.body, asked.ends), (b"abcdef", [b"\r\nX: 1\r\nY: 2"]))
        asked.reply()
        self.pair.settle()
        self.assertEqual(client.body, b"fine")

    def test_uploadWithItsHead(self) -> None:
        """
        A body that has come before is sent behind its head, and its last frame is marked.
        """
        self.pair.ask(b"POST", framing=3, body=b"abc")
        self.pair.clock.advance(0)
        there = Peer(masked=False)
        there.read(bytes(self.pair.proxyEnd.written))
        self.assertEqual([each[:3] for each in there.frames], [(REQUEST, 1, 0), (DATA, 1, LAST)])
        self.pair.settle()
        [asked] = self.pair.origin.asked
        self.assertEqual((asked.body, asked.ends), (b"abc", [b""]))

    def test_emptyUpload(self) -> None:
        """
        A body in chunks that turns out to be empty.
        """
        _, asked = self.exchange(b"POST", framing=CHUNKED, body=b"")
        self.assertEqual((asked.body, asked.ends), (b"", [b""]))

    def test_trailers(self) -> None:
        """
        Trailers of an answer, with and without a body.
        """
        for body in (b"", b"abc"):
            client, asked = self.exchange()
            asked.respond()
            asked.answer.write(body)
            asked.answer.finish(b"\r\nX: 1\r\nLong: " + b"y" * 1000)
            self.pair.settle()
            self.assertEqual(client.trailers, b"\r\nX: 1\r\nLong: " + b"y" * 1000)

    def test_interim(self) -> None:
        """
        Interim responses precede the final one, any number of them.
        """
        client, asked = self.exchange(
            b"POST", framing=CHUNKED, fields=[(b"Expect", b"100-continue")]
        )
        for status in (100, 103, 103):
            asked.answer.inform(ResponseHead(status, b" Wait", b"\r\nLink: x"))
        self.pair.settle()
        self.assertEqual([head.status for head in client.interim], [100, 103, 103])
        client.body_.write(b"body")
        client.body_.finish()
        self.pair.settle()
        asked.reply()
        asked.answer.inform(ResponseHead(103, b""))  # too late
        self.pair.settle()
        self.assertEqual((asked.body, client.body), (b"body", b"fine"))
        self.assertEqual(len(client.interim), 3)

    def test_user(self) -> None:
        """
        The end user's name goes along with the head, but not in it, and on to the origin if it is to know.
        """
        for forward in (False, True):
            pair = Pair(forwardUserID=forward)
            pair.ask(user="jos\u00e9@example.com")
            pair.clock.advance(0)
            there = Peer(masked=False)
            there.read(bytes(pair.proxyEnd.written))
            outer, head = parseRequestPayload(there.frames[-1][3])
            self.assertEqual(
                outer, b"\r\n" + REQUEST_ID + b": id1\r\n" + USER_ID + b": jos\xc3\xa9@example.com"
            )
            self.assertNotIn(b"jos", head)
            pair.settle()
            fields = pair.origin.asked[-1].head.fields
            self.assertEqual(USER_ID + b": jos\xc3\xa9@example.com" in fields, forward)

    def test_many(self) -> None:
        """
        Many at once, answered in another order.
        """
        pair = self.pair
        clients = [pair.ask(target=b"/%d" % number) for number in range(50)]
        pair.settle(777)
        for asked in reversed(pair.origin.asked):
            asked.reply(asked.head.target)
        pair.settle(333)
        self.assertEqual(
            [client.body for client in clients], [b"/%d" % number for number in range(50)]
        )
        self.assertEqual(pair.left(), (0, 1, 1))

    def test_mostStreams(self) -> None:
        """
        No more than the agent takes at once; the others wait and come as places are free.
        """
        pair = Pair(maxExchanges=2)
        clients = [pair.ask(target=b"/%d" % number) for number in range(5)]
        pair.settle()
        self.assertEqual(len(pair.origin.asked), 2)
        self.assertEqual(pair.mailbox.counts(), (3, 0))
        self.assertFalse(pair.proxy.hasRoom())
        pair.origin.asked[1].reply()
        pair.settle()
        self.assertEqual(len(pair.origin.asked), 3)
        clients[0].abort(GONE)
        pair.settle()
        self.assertEqual(len(pair.origin.asked), 4)
        for asked in pair.origin.asked[2:]:
            asked.reply()
        pair.settle()
        pair.origin.asked[4].reply()
        pair.settle()
        self.assertEqual(pair.left(), (0, 1, 1))
        self.assertTrue(pair.agent.isReady)

    def test_earlyAnswer(self) -> None:
        """
        An answer before the request has come to its end ends the stream; the rest is thrown away, and other streams
        do not suffer.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        client.body_.write(b"abc")
        self.pair.settle()
        asked.reply()
        self.pair.settle()
        self.assertTrue(client.finished)
        client.body_.write(b"x" * 100_000)
        client.body_.finish()
        self.pair.settle()
        self.assertEqual((asked.body, asked.ends), (b"abc", []))
        other, asked = self.exchange()
        asked.reply()
        self.pair.settle()
        self.assertTrue(other.finished)
        self.assertEqual(self.pair.left(), (0, 1, 1))

    def test_answerWithinOpen(self) -> None:
        """
        An origin may answer before C{open} returns.
        """
        self.pair.origin.opened = lambda asked: asked.reply(b"at once")
        client, _ = self.exchange()
        self.assertEqual((client.body, client.finished), (b"at once", True))
        self.assertEqual((self.pair.proxy.streams, self.pair.agent.streams), ({}, {}))
