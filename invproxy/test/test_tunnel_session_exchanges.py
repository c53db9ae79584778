"""
Exchanges over a tunnel, both of its ends joined in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from invproxy.errors import (
    CLIENT_GONE,
    ORIGIN_BAD_RESPONSE,
    ORIGIN_REFUSED,
    Fault,
)
from invproxy.http1.framing import CHUNKED, UNTIL_CLOSE
from invproxy.http1.heads import ResponseHead
from invproxy.interfaces import IAnswer, ITaker, IUpload
from invproxy.proxy.tunneling import ProxyStream
from invproxy.test.tunnelcase import (
    GONE,
    UPGRADE,
    Asked,
    Case,
    Client,
    Pair,
    Peer,
)
from invproxy.wire.frames import (
    DATA,
    LAST,
    REQUEST,
    RESPONSE,
    parseRequestPayload,
)
from invproxy.wire.poll import REQUEST_ID, USER_ID
from invproxy.wire.windows import INITIAL


class Exchanges(Case):
    """
    What goes through a tunnel.
    """

    def setUp(self) -> None:
        self.pair = Pair()
        self.mailbox = self.pair.mailbox

    def tearDown(self) -> None:
        self.assertEqual(self.pair.violations(), [])

    def exchange(self, *args: Any, **options: Any) -> tuple[Client, Asked]:
        """
        Ask, and let it come to the origin.
        """
        client = self.pair.ask(*args, **options)
        self.pair.settle()
        return client, self.pair.origin.asked[-1]

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

    def test_badTrailers(self) -> None:
        """
        Trailers that may not be break that response alone.
        """
        for block in (b"\r\nContent-Length: 5", b"\r\nno field"):
            other, _ = self.exchange()
            client, asked = self.exchange()
            asked.respond()
            asked.answer.finish(block)
            self.pair.settle()
            assert client.fault is not None
            self.assertEqual(client.fault.code, ORIGIN_BAD_RESPONSE)
            self.assertFalse(other.over)
        self.assertTrue(self.pair.proxy.isReady)

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

    def test_failWithinOpen(self) -> None:
        """
        Or fail, or raise.
        """

        def refuse(asked: Asked) -> None:
            raise Fault(ORIGIN_REFUSED, "nobody there")

        def crash(asked: Asked) -> None:
            raise ZeroDivisionError

        self.pair.origin.opened = refuse
        client, _ = self.exchange()
        assert client.fault is not None
        self.assertEqual(client.fault.code, ORIGIN_REFUSED)
        self.pair.origin.opened = lambda asked: asked.answer.fail(Fault(ORIGIN_REFUSED))
        client, _ = self.exchange()
        assert client.fault is not None
        self.assertEqual(client.fault.code, ORIGIN_REFUSED)
        self.pair.origin.opened = crash
        client, _ = self.exchange(b"POST", framing=CHUNKED)
        assert client.fault is not None
        self.assertEqual(client.fault.code.status // 100, 5)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.pair.agent.isReady)

    def test_upgrade(self) -> None:
        """
        After a 101 both directions are raw bytes, and each is closed by itself, in either order.
        """
        for clientFirst in (True, False):
            client, asked = self.exchange(fields=UPGRADE)
            self.assertEqual((asked.head.upgrade, asked.ends), (b"echo", [b""]))
            asked.upgrade()
            self.pair.settle()
            assert client.head is not None
            self.assertEqual((client.head.status, client.head.upgrade), (101, b"echo"))
            client.body_.write(b"there")
            asked.answer.write(b"back")
            self.pair.settle()
            self.assertEqual((asked.body, client.body), (b"there", b"back"))
            ends: list[Callable[[], None]] = [client.body_.finish, asked.answer.finish]
            for end in ends if clientFirst else reversed(ends):
                self.assertEqual(len(self.pair.proxy.streams), 1)
                end()
                self.pair.settle()
            self.assertEqual((asked.ends, client.finished), ([b"", b""], True))
            self.assertEqual((self.pair.proxy.streams, self.pair.agent.streams), ({}, {}))
            self.assertEqual(self.pair.left()[0], 0)

    def test_upgradeHalfClosed(self) -> None:
        """
        While one direction is closed, the other goes on, beyond its window.
        """
        for clientFirst in (True, False):
            client, asked = self.exchange(fields=UPGRADE)
            asked.upgrade()
            self.pair.settle()
            (client.body_ if clientFirst else asked.answer).finish()
            self.pair.settle()
            for _ in range(40):
                (asked.answer if clientFirst else client.body_).write(b"x" * 20000)
                self.pair.settle()
            self.assertEqual(len(client.body if clientFirst else asked.body), 800_000)
            client.abort(GONE)
            self.pair.settle()
            self.assertIsNotNone(asked.fault)
            self.assertEqual((self.pair.proxy.streams, self.pair.agent.streams), ({}, {}))

    def test_upgradeRefused(self) -> None:
        """
        A backend may answer such a request in the ordinary way.
        """
        client, asked = self.exchange(fields=UPGRADE)
        asked.reply(b"no")
        self.pair.settle()
        self.assertEqual((client.body, client.finished), (b"no", True))
        self.assertEqual((self.pair.proxy.streams, self.pair.agent.streams), ({}, {}))

    def test_unaskedUpgrade(self) -> None:
        """
        A 101 that nobody asked for is a bad response, of that exchange alone.
        """
        client, asked = self.exchange()
        asked.upgrade()
        self.pair.settle()
        assert client.fault is not None
        self.assertEqual(client.fault.code, ORIGIN_BAD_RESPONSE)
        self.assertIsNotNone(asked.fault)
        self.assertTrue(self.pair.proxy.isReady)

    def test_wrongLengths(self) -> None:
        """
        A response that is longer or shorter than its Content-Length never looks whole, and breaks nothing else.
        """
        other, otherAsked = self.exchange()
        for pieces in ([b"abc", b"de"], [b"abcde"], [b"abc"], []):
            client, asked = self.exchange()
            asked.respond(length=4)
            for piece in pieces:
                asked.answer.write(piece)
            asked.answer.finish()
            self.pair.settle()
            assert client.fault is not None
            self.assertEqual(client.fault.code, ORIGIN_BAD_RESPONSE)
            self.assertFalse(client.finished)
        otherAsked.reply()
        self.pair.settle()
        self.assertTrue(other.finished)
        self.assertEqual(self.pair.left(), (0, 1, 1))

    def test_clientLeaves(self) -> None:
        """
        When the client is gone, the origin is told, whatever the state.
        """

        def respond(asked: Asked) -> None:
            asked.respond()
            asked.answer.write(b"abc")

        for before in (lambda asked: None, respond):
            client, asked = self.exchange(b"POST", framing=CHUNKED)
            before(asked)
            self.pair.settle()
            client.abort(GONE)
            asked.answer.write(b"what is under way")
            self.pair.settle()
            assert asked.fault is not None
            self.assertEqual(asked.fault.code, CLIENT_GONE)
            asked.answer.write(b"late")
            asked.answer.finish()
            asked.answer.fail(GONE)
            self.pair.settle()
            self.assertEqual(self.pair.left(), (0, 1, 1))
            self.assertEqual(self.pair.agent.streams, {})

    def test_clientLeavesAtOnce(self) -> None:
        """
        Also in the turn in which it asked.
        """
        client = self.pair.ask()
        client.abort(GONE)
        self.pair.settle()
        [asked] = self.pair.origin.asked
        self.assertIsNotNone(asked.fault)
        self.assertEqual((self.pair.proxy.streams, self.pair.agent.streams), ({}, {}))

    def test_originFails(self) -> None:
        """
        What the origin fails with reaches the client, before and after the head of the response.
        """
        for code in (ORIGIN_REFUSED, ORIGIN_BAD_RESPONSE):
            for responds in (False, True):
                client, asked = self.exchange()
                if responds:
                    asked.respond()
                    asked.answer.write(b"abc")
                asked.answer.fail(Fault(code, "\u20ac\n" * 1000))
                self.pair.settle()
                assert client.fault is not None
                self.assertEqual(client.fault.code, code)
                self.assertFalse(client.finished)
                self.assertIsNone(asked.fault)  # it knows
        self.assertEqual(self.pair.left(), (0, 1, 1))

    def test_otherFaults(self) -> None:
        """
        A fault that an agent may not give of its own accord is the agent's loss.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        asked.answer.fail(GONE)
        self.pair.settle()
        assert client.fault is not None
        self.assertEqual(client.fault.code.name, "agent-lost")

    def test_linkBreaks(self) -> None:
        """
        When the link breaks, answers are cut, requests without a body may be sent again, and both ends know.
        """
        half, halfAsked = self.exchange()
        halfAsked.respond()
        halfAsked.answer.write(b"abc")
        self.pair.settle()
        post, _ = self.exchange(b"POST", framing=CHUNKED)
        get, getAsked = self.exchange(target=b"/again")
        raw, rawAsked = self.exchange(fields=UPGRADE)
        rawAsked.upgrade()
        self.pair.settle()
        old = self.pair.origin.asked
        second = Pair.__new__(Pair)
        second.__dict__.update(self.pair.__dict__)
        second.slot = 1
        second.connect()
        second.settle()
        with capturedLogs() as events:
            self.pair.cut()
        self.assertEqual(len(self.shown(events)), 1)
        for client in (half, post, raw):
            assert client.fault is not None
            self.assertEqual(client.fault.code.name, "agent-lost")
            self.assertFalse(client.finished)
        self.assertTrue(all(asked.fault is not None for asked in old[:4]))
        self.successResultOf(self.pair.agent.gone)
        self.successResultOf(self.pair.agent.left)
        self.assertFalse(get.over)
        second.settle()
        self.assertEqual(second.origin.asked[-1].head.target, b"/again")
        second.origin.asked[-1].reply()
        second.settle()
        self.assertTrue(get.finished)
        self.assertIsNotNone(getAsked.fault)

    def test_linkBreaksWithoutOther(self) -> None:
        """
        Without another agent, nobody waits for one.
        """
        client, _ = self.exchange()
        self.pair.cut()
        assert client.fault is not None
        self.assertEqual(client.fault.code.name, "agent-lost")
        self.assertEqual(self.pair.left(), (0, 0, 0))

    def test_afterTheEnd(self) -> None:
        """
        Whatever is called after the end changes nothing and raises nothing.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        stream = self.pair.proxy.streams[1]
        self.pair.cut()
        for _ in range(2):
            asked.answer.inform(ResponseHead(103, b""))
            asked.reply()
            asked.answer.fail(GONE)
            asked.answer.pauseUpload()
            asked.answer.resumeUpload()
            stream.write(b"x" * 100_000)
            stream.finish()
            stream.pauseAnswer()
            stream.resumeAnswer()
            stream.abort(GONE)
            for session in (self.pair.proxy, self.pair.agent):
                session.bytesReceived(b"anything")
                session.outbox.pause()
                session.outbox.resume()
                session.linkLost("again")
                session.life.drain()
                session.life.close(1000, "again")
        self.pair.cut()
        self.pair.clock.advance(0)
        self.assertEqual(len(self.pair.ended), 1)
        self.assertEqual(client.violations, [])
