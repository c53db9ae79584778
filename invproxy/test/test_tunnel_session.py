"""
Sessions: both ends of a tunnel joined in memory, and each end alone with a peer that breaks the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from invproxy.agent.settings import AgentSettings
from invproxy.agent.tunneler import AgentSession, TunnelLost
from invproxy.clocks import Clocks
from invproxy.errors import (
    CLIENT_GONE,
    ORIGIN_BAD_RESPONSE,
    ORIGIN_REFUSED,
    Fault,
)
from invproxy.exchange import Exchange
from invproxy.http1.framing import CHUNKED, UNTIL_CLOSE
from invproxy.http1.heads import RequestHead, ResponseHead, responseHead
from invproxy.http1.limits import DEFAULT_LIMITS, Limits
from invproxy.interfaces import IAnswer, IOrigin, ITaker, IUpload
from invproxy.mailbox import Mailboxes
from invproxy.proxy.tunneling import ProxySession, ProxyStream, Tunnels
from invproxy.test.helpers import FakePeer, RecordingAnswer, requestHead
from invproxy.timers import Wheel
from invproxy.wire.frames import (
    CREDIT,
    DATA,
    END,
    GOAWAY,
    HELLO,
    LAST,
    MOST_STREAMS,
    REQUEST,
    RESET,
    RESPONSE,
    FrameReader,
    frame,
    header,
    numberFrame,
    parseNumber,
    parseRequestPayload,
    requestFrame,
)
from invproxy.wire.hello import Hello, parseHello
from invproxy.wire.poll import REQUEST_ID, USER_ID
from invproxy.wire.websocket import (
    CLOSE,
    PING,
    PONG,
    MessageDecoder,
    binaryHeader,
    closePayload,
    control,
    mask,
)
from invproxy.wire.windows import INITIAL

GONE = Fault(CLIENT_GONE)
KEY = b"\x12\x34\x56\x78"
UPGRADE = [(b"Connection", b"upgrade"), (b"Upgrade", b"echo")]
OK = b"HTTP/1.1 200 OK\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

QUEUE = 32768
"""Bytes that may wait in a stream before its source is asked to pause."""

PIECE = 16384
"""Bytes that a stream sends in its turn."""

COLLECTED = 65536
"""Bytes of bodies that a session collects before it writes them."""

Frame = tuple[int, int, int, bytes]

Test = TypeVar("Test", bound=Callable[..., None])


# What the sessions talk to.


class LinkEnd:
    """
    One end of the link, to the session that has it.

    @ivar written: what was not delivered yet.
    @ivar total: how many bytes were written in all.
    @ivar ended: whether this direction was ended.
    @ivar broken: whether the link was broken from here.
    @ivar wrote: called after each write, with its size.
    @ivar violations: calls that came after the end.
    """

    def __init__(self) -> None:
        self.written = bytearray()
        self.total = 0
        self.ended = False
        self.broken = False
        self.wrote: Callable[[int], None] = lambda size: None
        self.violations: list[str] = []

    def write(self, data: bytes) -> None:
        if self.ended or self.broken:
            self.violations.append(f"write of {data!r} after the end")
        self.written += data
        self.total += len(data)
        self.wrote(len(data))

    def finish(self, trailers: bytes = b"") -> None:
        if self.ended or self.broken:
            self.violations.append("finish after the end")
        self.ended = True

    def take(self, size: int | None = None) -> bytes:
        """
        Take bytes off the link.
        """
        data = bytes(self.written[:size])
        del self.written[: len(data)]
        return data


@implementer(IAnswer)
class ProxyEnd(LinkEnd):
    """
    The proxy's end: the answer to the call that became the tunnel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peer = FakePeer()

    def identify(self, requestID: str, endUser: str = "") -> None:
        raise AssertionError("it has an identity already")

    def inform(self, head: ResponseHead) -> None:
        raise AssertionError("it was answered already")

    respond = inform

    def fail(self, fault: Fault) -> None:
        if self.broken:
            self.violations.append("fail after fail")
        self.broken = True

    def pauseUpload(self) -> None:
        pass

    def resumeUpload(self) -> None:
        pass


@implementer(IUpload)
class AgentEnd(LinkEnd):
    """
    The agent's end: the upload of its call.
    """

    def abort(self, fault: Fault) -> None:
        self.broken = True

    def pauseAnswer(self) -> None:
        pass

    def resumeAnswer(self) -> None:
        pass


@implementer(IUpload)
class Asked:
    """
    One request as the origin sees it.

    @ivar head: its head.
    @ivar answer: where the answer goes.
    @ivar body: its body so far.
    @ivar ends: the trailers of each end of it: one, or two after an upgrade.
    @ivar fault: with what it was broken off.
    @ivar isPaused: whether the answer is to be held back.
    @ivar resumed: called when it may go on.
    @ivar violations: rules that were broken.
    """

    def __init__(self, head: RequestHead, answer: IAnswer) -> None:
        self.head = head
        self.answer = answer
        self.body = b""
        self.ends: list[bytes] = []
        self.fault: Fault | None = None
        self.isPaused = False
        self.resumed: Callable[[], None] = lambda: None
        self.violations: list[str] = []

    def _mostEnds(self) -> int:
        return 1 if self.head.upgrade is None else 2

    def write(self, data: bytes) -> None:
        if len(self.ends) >= self._mostEnds() or self.fault is not None:
            self.violations.append(f"write of {data[:20]!r} after the end")
        self.body += data

    def finish(self, trailers: bytes = b"") -> None:
        if len(self.ends) >= self._mostEnds() or self.fault is not None:
            self.violations.append("finish after the end")
        self.ends.append(trailers)

    def abort(self, fault: Fault) -> None:
        if self.fault is not None:
            self.violations.append("abort after abort")
        self.fault = fault

    def pauseAnswer(self) -> None:
        self.isPaused = True

    def resumeAnswer(self) -> None:
        self.isPaused = False
        self.resumed()

    # Answers, for short.

    def respond(self, status: int = 200, length: int | None = None, block: bytes = b"") -> None:
        """
        Answer with a head.
        """
        self.answer.respond(responseHead(status, b"Fine", block, length=length))

    def reply(self, body: bytes = b"fine") -> None:
        """
        Answer with a whole small answer.
        """
        self.respond(length=len(body))
        self.answer.write(body)
        self.answer.finish()

    def upgrade(self) -> None:
        """
        Answer with a 101.
        """
        self.answer.respond(ResponseHead(101, b" Go", upgrade=b"echo"))


@implementer(IOrigin)
class FakeOrigin:
    """
    Takes requests down.

    @ivar asked: in order.
    @ivar opened: called with each before C{open} returns.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.opened: Callable[[Asked], None] = lambda asked: None

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        asked = Asked(head, answer)
        self.asked.append(asked)
        self.opened(asked)
        return asked


class Client(RecordingAnswer):
    """
    A client that asked.

    @ivar exchange: its exchange.
    """

    exchange: Exchange

    @property
    def body_(self) -> IUpload:
        """
        Where its request's body goes.
        """
        return self.exchange.body


class Proxy:
    """
    A proxy without a network.

    @ivar clock: tells the time.
    @ivar ended: the exchanges that are over, in order.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS, timeout: float = 15.0) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.wheel = Wheel(self.clock)
        self.mailboxes = Mailboxes(self.clock)
        self.mailbox = self.mailboxes.visit("web")
        self.tunnels = Tunnels(10)
        self.ended: list[Exchange] = []
        self.count = 0
        self.limits = limits
        self.timeout = timeout

    def session(self, end: ProxyEnd) -> ProxySession:
        """
        Begin a session, as the handshake does.
        """
        session = ProxySession(
            self.tunnels,
            self.mailbox,
            end,
            self.clock,
            self.wheel,
            self.limits,
            self.timeout,
        )
        self.tunnels.add(session)
        session.connected()
        session.finish()  # the call has no body
        return session

    def ask(
        self,
        method: bytes = b"GET",
        target: bytes = b"/",
        fields: list[tuple[bytes, bytes]] | None = None,
        *,
        framing: int = 0,
        body: bytes | None = None,
        end: bool | None = None,
        user: str = "",
    ) -> Client:
        """
        Ask as a client.

        @param end: whether that is the whole request; the default is yes if it has no body, or a C{body} is given.
        """
        client = Client()

        def ended(exchange: Exchange) -> None:
            self.ended.append(exchange)
            self.mailboxes.forget(exchange)

        self.count += 1
        client.exchange = Exchange(
            f"id{self.count}",
            self.mailbox,
            requestHead(method, target, fields or [], framing=framing),
            client,
            clock=self.clock,
            wheel=self.wheel,
            clocks=Clocks(),
            ended=ended,
            endUser=user,
        )
        client.upload = client.exchange.body
        self.mailboxes.add(client.exchange)
        if body:
            client.exchange.body.write(body)
        if end or (end is None and (framing == 0 or body is not None)):
            client.exchange.body.finish()
        return client

    def left(self) -> tuple[int, int, int]:
        """
        Count what is left: exchanges, tunnels, carriers in the mailbox.
        """
        return len(self.mailboxes.exchanges), len(self.tunnels), self.mailbox.countTakers()


class Pair(Proxy):
    """
    A proxy and an agent, and a tunnel between them.

    @ivar proxyEnd: the link, as the proxy has it.
    @ivar agentEnd: the link, as the agent has it.
    """

    def __init__(
        self,
        limits: Limits = DEFAULT_LIMITS,
        timeout: float = 15.0,
        agentTimeout: float = 15.0,
        greet: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(limits, timeout)
        self.origin = FakeOrigin()
        self.agentWheel = Wheel(self.clock)
        self.settings = AgentSettings(linkTimeout=agentTimeout, **settings)
        self.slot = 0
        self.isCut = False
        self.connect()
        if greet:
            self.settle()

    def connect(self, instance: str = "agent") -> None:
        """
        Make a new tunnel.
        """
        self.isCut = self._proxyHeardEnd = self._agentHeardEnd = False
        self.proxyEnd = ProxyEnd()
        self.proxy = self.session(self.proxyEnd)
        self.agentEnd = AgentEnd()
        self.agent = AgentSession(
            self.clock, self.agentWheel, self.origin, self.settings, instance, self.slot
        )
        self.agent.ready.addErrback(lambda failure: failure.trap(TunnelLost) and None)
        self.agent.begin(self.agentEnd)

    def toAgent(self, size: int | None = None) -> bool:
        """
        Deliver bytes to the agent, or the end.
        """
        if self.isCut:
            return False
        data = self.proxyEnd.take(size)
        if data:
            self.agent.bytesReceived(data)
            return True
        if self.proxyEnd.broken and not self._agentHeardEnd:
            self._agentHeardEnd = True
            self.agent.linkLost("the connection broke")
            return True
        if self.proxyEnd.ended and not self._agentHeardEnd:
            self._agentHeardEnd = True
            self.agent.linkLost("the proxy closed the connection")
            return True
        return False

    def toProxy(self, size: int | None = None) -> bool:
        """
        Deliver bytes to the proxy, or the end.
        """
        if self.isCut:
            return False
        data = self.agentEnd.take(size)
        if data:
            self.proxy.bytesReceived(data)
            return True
        if self.agentEnd.broken and not self._proxyHeardEnd:
            self._proxyHeardEnd = True
            self.proxy.abort(GONE)
            return True
        if self.agentEnd.ended and not self._proxyHeardEnd:
            self._proxyHeardEnd = True
            self.proxy.finish()
            return True
        return False

    def cut(self) -> None:
        """
        Break the link, and tell both.
        """
        if not self.isCut:
            self.isCut = True
            if not self._proxyHeardEnd:
                self.proxy.abort(GONE)
            if not self._agentHeardEnd:
                self.agent.linkLost("the connection broke")

    def settle(self, size: int | None = None) -> None:
        """
        Let everything arrive, in pieces of some size, until nothing happens any more.
        """
        for _ in range(1_000_000):
            self.clock.advance(0)
            if not (self.toAgent(size) | self.toProxy(size)):
                self.clock.advance(0)
                if not (self.toAgent(size) | self.toProxy(size)):
                    return
        raise AssertionError("it never settles")

    def wait(self, seconds: float, step: float = 0.25) -> None:
        """
        Let time pass, and everything arrive.
        """
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
            self.settle()

    def violations(self) -> list[str]:
        """
        All rules that anyone broke.
        """
        found = self.proxyEnd.violations + self.agentEnd.violations
        return found + [each for asked in self.origin.asked for each in asked.violations]


class Peer:
    """
    A peer that reads frames, to look at what a session sends.

    @ivar frames: what came.
    @ivar closes: codes and reasons of Close frames.
    """

    def __init__(self, *, masked: bool) -> None:
        self.frames: list[Frame] = []
        self.closes: list[tuple[int, str]] = []
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []
        self._reader = FrameReader(self._frame, 1 << 26)
        self._decoder = MessageDecoder(self, masked=masked)

    def read(self, data: bytes) -> None:
        """
        Read bytes.
        """
        self._decoder.feed(data)

    def _frame(self, kind: int, stream: int, flags: int, payload: bytes) -> None:
        self.frames.append((kind, stream, flags, payload))

    def payloadReceived(self, data: bytes) -> None:
        self._reader.feed(data)

    def messageEnded(self) -> None:
        assert self._reader.atBoundary()

    def pinged(self, payload: bytes) -> None:
        self.pings.append(payload)

    def ponged(self, payload: bytes) -> None:
        self.pongs.append(payload)

    def closed(self, code: int, reason: str) -> None:
        self.closes.append((code, reason))

    def kinds(self, stream: int | None = None) -> list[int]:
        """
        The types of the frames that came, but for HELLO.
        """
        return [
            each[0]
            for each in self.frames
            if each[0] != HELLO and (stream is None or each[1] == stream)
        ]

    def data(self, stream: int) -> bytes:
        """
        The body of a stream so far.
        """
        return b"".join(each[3] for each in self.frames if each[:2] == (DATA, stream))


def message(*frames: bytes, key: bytes = b"") -> bytes:
    """
    A binary message of frames.
    """
    payload = b"".join(frames)
    return binaryHeader(len(payload), key) + (mask(payload, key) if key else payload)


GREETING = frame(HELLO, 0, Hello(instance="raw").encode())


class RawAgent:
    """
    An agent that may send anything, and the proxy's session with it.
    """

    def __init__(self, proxy: Proxy, greeting: bytes = GREETING) -> None:
        self.proxy = proxy
        self.end = ProxyEnd()
        self.session = proxy.session(self.end)
        self.peer = Peer(masked=False)
        if greeting:
            self.say(greeting)

    def say(self, *frames: bytes) -> None:
        """
        Send frames in one message.
        """
        self.saw(message(*frames, key=KEY))

    def saw(self, data: bytes) -> None:
        """
        Send bytes.
        """
        self.session.bytesReceived(data)
        self.hear()

    def hear(self) -> Peer:
        """
        Read what came.
        """
        self.proxy.clock.advance(0)
        self.peer.read(self.end.take())
        return self.peer


class RawProxy:
    """
    A proxy that may send anything, and the agent's session with it.
    """

    def __init__(self, greeting: bytes = GREETING, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.wheel = Wheel(self.clock)
        self.origin = FakeOrigin()
        self.end = AgentEnd()
        self.session = AgentSession(
            self.clock, self.wheel, self.origin, AgentSettings(**settings), "agent", 0
        )
        self.session.ready.addErrback(lambda failure: failure.trap(TunnelLost) and None)
        self.session.begin(self.end)
        self.peer = Peer(masked=True)
        if greeting:
            self.say(greeting)

    def say(self, *frames: bytes) -> None:
        """
        Send frames in one message.
        """
        self.saw(message(*frames))

    def saw(self, data: bytes) -> None:
        """
        Send bytes.
        """
        self.session.bytesReceived(data)
        self.hear()

    def hear(self) -> Peer:
        """
        Read what came.
        """
        self.clock.advance(0)
        self.peer.read(self.end.take())
        return self.peer

    def request(self, number: int = 1, head: bytes = b"", flags: int = LAST) -> Asked:
        """
        Send a request.
        """
        self.say(requestFrame(number, b"", head or b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", flags))
        return self.origin.asked[-1]


class Case(SynchronousTestCase):
    """
    What the test cases here have in common.
    """

    def shown(self, events: Sequence[LogEvent]) -> list[str]:
        """
        What the log says of tunnels that were closed.
        """
        return [
            event["why"]
            for event in events
            if "tunnel of {backend} from {agent} closed" in (event.get("log_format") or "")
        ]


# A tunnel between the two.


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
        The end user's name goes along with the head, as UTF-8, but not in it, and on to the origin if it is to know.
        What a trusted proxy wrote otherwise goes as it came.
        """
        for forward, user, written in (
            (False, "jos\u00e9@example.com", b"jos\xc3\xa9@example.com"),
            (True, "jos\u00e9@example.com", b"jos\xc3\xa9@example.com"),
            (True, "jos\udce9@example.com", b"jos\xe9@example.com"),
        ):
            pair = Pair(forwardUserID=forward)
            pair.ask(user=user)
            pair.clock.advance(0)
            there = Peer(masked=False)
            there.read(bytes(pair.proxyEnd.written))
            outer, head = parseRequestPayload(there.frames[-1][3])
            self.assertEqual(outer, b"\r\n" + REQUEST_ID + b": id1\r\n" + USER_ID + b": " + written)
            self.assertNotIn(b"jos", head)
            pair.settle()
            fields = pair.origin.asked[-1].head.fields
            self.assertEqual(USER_ID + b": " + written in fields, forward)

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
                session.pauseSending()
                session.resumeSending()
                session.linkLost("again")
                session.life.drain()
                session.life.close(1000, "again")
        self.pair.cut()
        self.pair.clock.advance(0)
        self.assertEqual(len(self.pair.ended), 1)
        self.assertEqual(client.violations, [])


class Greeting(Case):
    """
    The beginning of a tunnel.
    """

    def test_both(self) -> None:
        """
        Each side sends its HELLO first of all, without waiting for the other's.
        """
        raw = RawAgent(Proxy(), b"")
        self.assertEqual([each[:3] for each in raw.hear().frames], [(HELLO, 0, 0)])
        self.assertEqual(parseHello(raw.peer.frames[0][3]), raw.session.hello)
        agent = RawProxy(b"")
        self.assertEqual([each[:3] for each in agent.hear().frames], [(HELLO, 0, 0)])
        self.assertEqual(parseHello(agent.peer.frames[0][3]), agent.session.hello)
        self.assertNoResult(agent.session.ready)

    def test_defaults(self) -> None:
        """
        A HELLO of nothing but a version is enough.
        """
        proxy = Proxy()
        raw = RawAgent(proxy, frame(HELLO, 0, b'{"version":"1.3","new":[1]}'))
        self.assertTrue(raw.session.hasRoom())
        self.assertEqual(raw.session.granted, 65536)
        proxy.ask()
        self.assertEqual(raw.hear().kinds(), [REQUEST])

    def test_smallHead(self) -> None:
        """
        A request whose head is larger than the agent takes fails, and takes no place.
        """
        proxy = Proxy()
        raw = RawAgent(proxy, frame(HELLO, 0, Hello(head=1024).encode()))
        client = proxy.ask(fields=[(b"X", b"y" * 1000)])
        assert client.fault is not None
        self.assertEqual(client.fault.code.name, "head-too-large")
        self.assertEqual(client.violations, [])
        other = proxy.ask(fields=[(b"X", b"y" * 700)])
        self.assertEqual(raw.hear().kinds(), [REQUEST])
        self.assertFalse(other.over)
        self.assertEqual(len(raw.session.streams), 1)

    def test_smallHeadExactly(self) -> None:
        """
        The bound is met to the byte.
        """
        for extra, fits in ((0, True), (1, False)):
            proxy = Proxy()
            raw = RawAgent(proxy, frame(HELLO, 0, Hello(head=1024).encode()))
            proxy.ask(fields=[(b"X", b"")])
            size = len(raw.hear().frames[-1][3])
            client = proxy.ask(fields=[(b"X", b"y" * (1024 - size + extra))])
            self.assertEqual(client.over, not fits)
            self.assertEqual(len(raw.hear().kinds()), 2 if fits else 1)

    def test_drainBeforeHello(self) -> None:
        """
        Whoever stops before the greeting closes at once.
        """
        raw = RawAgent(Proxy(), b"")
        raw.session.life.drain()
        self.assertEqual([code for code, _ in raw.hear().closes], [1001])
        agent = RawProxy(b"")
        agent.session.life.drain()
        self.assertEqual([code for code, _ in agent.hear().closes], [1001])
        self.successResultOf(agent.session.gone)

    def test_cancelReady(self) -> None:
        """
        Who cancels the wait for a tunnel ends it.
        """
        agent = RawProxy(b"")
        agent.session.ready.cancel()
        self.assertEqual([code for code, _ in agent.hear().closes], [1001])
        self.successResultOf(agent.session.gone)
        self.assertTrue(agent.end.ended)

    def test_replaced(self) -> None:
        """
        A second tunnel of the same agent and slot replaces the first, whose requests go on there if they may; one of
        another slot, or another agent, does not.
        """
        proxy = Proxy()
        first = RawAgent(proxy)
        others = [
            RawAgent(proxy, frame(HELLO, 0, Hello(instance="raw", slot=1).encode())),
            RawAgent(proxy, frame(HELLO, 0, Hello(instance="other").encode())),
        ]
        self.assertEqual(first.hear().closes, [])
        second = RawAgent(proxy)
        self.assertEqual([code for code, _ in first.hear().closes], [4000])
        self.assertTrue(first.end.ended)
        for raw in (second, *others):
            self.assertTrue(raw.session.hasRoom())
            self.assertEqual(raw.hear().closes, [])
        self.assertEqual(proxy.left(), (0, 3, 3))

    def test_namelessAreNotReplaced(self) -> None:
        """
        Two agents that do not name their instance are not taken for one.
        """
        proxy = Proxy()
        first = RawAgent(proxy, frame(HELLO, 0, b'{"version":"1.0"}'))
        RawAgent(proxy, frame(HELLO, 0, b'{"version":"1.0"}'))
        self.assertEqual(first.hear().closes, [])

    def test_neverGreets(self) -> None:
        """
        An agent that answers pings but never says who it is does not keep its place for ever.
        """
        proxy = Proxy()
        raw = RawAgent(proxy, b"")
        for number in range(600):
            proxy.clock.advance(0.25)
            if number % 8 == 0:
                raw.saw(control(PONG, b"", KEY))
        self.assertEqual(proxy.left()[1], 0)

    def test_tooMany(self) -> None:
        """
        A backend has no more tunnels than it may, and those that are over do not count.
        """
        proxy = Proxy()
        raws = [
            RawAgent(proxy, frame(HELLO, 0, Hello(instance="raw", slot=slot).encode()))
            for slot in range(10)
        ]
        error = self.assertRaises(Fault, RawAgent, proxy)
        self.assertEqual(error.code.name, "too-many-tunnels")
        raws[3].session.abort(GONE)
        RawAgent(proxy, frame(HELLO, 0, Hello(instance="new").encode()))
        self.assertEqual(len(proxy.tunnels), 10)


class Flow(Case):
    """
    Credit, turns and back-pressure.
    """

    def setUp(self) -> None:
        self.pair = Pair()

    def tearDown(self) -> None:
        self.assertEqual(self.pair.violations(), [])

    def exchange(self, *args: Any, **options: Any) -> tuple[Client, Asked]:
        client = self.pair.ask(*args, **options)
        self.pair.settle()
        return client, self.pair.origin.asked[-1]

    def test_bigDownload(self) -> None:
        """
        Many windows of an answer arrive, and unchanged.
        """
        client, asked = self.exchange()
        asked.respond()
        sent = b""
        for number in range(200):
            piece = bytes([number]) * 12345
            sent += piece
            asked.answer.write(piece)
            if number % 10 == 0:
                self.pair.settle(5000)
        asked.answer.finish()
        self.pair.settle(5000)
        self.assertEqual(client.body, sent)
        self.assertTrue(client.finished)

    def test_bigUpload(self) -> None:
        """
        So do many windows of a request.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        sent = b""
        for number in range(200):
            piece = bytes([number]) * 12345
            sent += piece
            client.body_.write(piece)
            if number % 10 == 0:
                self.pair.settle(5000)
        client.body_.finish(b"\r\nX: 1")
        self.pair.settle(5000)
        self.assertEqual((asked.body, asked.ends), (sent, [b"\r\nX: 1"]))

    def test_pausedClient(self) -> None:
        """
        While the client does not keep up, no more than a window comes; then the origin is asked to pause, and to go on
        when the client does.
        """
        client, asked = self.exchange()
        asked.respond()
        client.body_.pauseAnswer()
        written = 0
        while not asked.isPaused:
            asked.answer.write(b"x" * 8192)
            written += 8192
            self.pair.settle()
            self.assertLess(written, 10 << 20)
        self.assertEqual(len(client.body), INITIAL)
        self.assertEqual(written, INITIAL + QUEUE)
        client.body_.resumeAnswer()
        self.pair.settle()
        self.assertFalse(asked.isPaused)
        self.assertEqual(len(client.body), written)
        asked.answer.finish()
        self.pair.settle()
        self.assertTrue(client.finished)

    def test_pausedBeforeAnswer(self) -> None:
        """
        So also if it paused before the tunnel took its request.
        """
        pair = Pair(greet=False)
        client = pair.ask()
        client.body_.pauseAnswer()
        pair.settle()
        [asked] = pair.origin.asked
        asked.respond()
        for _ in range(100):
            asked.answer.write(b"x" * 8192)
            pair.settle()
        self.assertEqual(len(client.body), INITIAL)
        self.assertTrue(asked.isPaused)
        client.body_.resumeAnswer()
        pair.settle()
        self.assertEqual(len(client.body), 819200)

    def test_pausedOrigin(self) -> None:
        """
        While the origin takes no more of an upload, its client is asked to pause after a window; what came meanwhile is
        credited when the origin goes on.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        asked.answer.pauseUpload()
        written = 0
        while not client.uploadHeld:
            client.body_.write(b"x" * 8192)
            written += 8192
            self.pair.settle()
            self.assertLess(written, 10 << 20)
        self.assertEqual((len(asked.body), written), (INITIAL, INITIAL + QUEUE))
        asked.answer.resumeUpload()
        self.pair.settle()
        self.assertFalse(client.uploadHeld)
        self.assertEqual(len(asked.body), written)
        for _ in range(100):
            client.body_.write(b"x" * 8192)
            self.pair.settle()
        client.body_.finish()
        self.pair.settle()
        self.assertEqual(len(asked.body), written + 819200)
        self.assertEqual(asked.ends, [b""])

    def test_pausedOriginALittle(self) -> None:
        """
        Pauses of the origin in which less than a quarter of a window comes never add up to a stop.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        for _ in range(300):
            asked.answer.pauseUpload()
            client.body_.write(b"x" * 5000)
            self.pair.settle()
            asked.answer.resumeUpload()
            self.pair.settle()
        self.assertEqual(len(asked.body), 1_500_000)

    def test_pausedLink(self) -> None:
        """
        While the link takes no more, sources are asked to pause, each stream holds little, and everything goes on
        after that.
        """
        client, asked = self.exchange(b"POST", framing=CHUNKED)
        asked.respond()
        self.pair.settle()
        self.pair.agent.pauseSending()
        self.pair.proxy.pauseSending()
        before = self.pair.agentEnd.total, self.pair.proxyEnd.total
        for _ in range(QUEUE // 4096):
            self.assertFalse(asked.isPaused or client.uploadHeld)
            asked.answer.write(b"a" * 4096)
            client.body_.write(b"b" * 4096)
        self.assertTrue(asked.isPaused and client.uploadHeld)
        self.pair.clock.advance(0)
        self.assertEqual((self.pair.agentEnd.total, self.pair.proxyEnd.total), before)
        self.pair.agent.resumeSending()
        self.pair.proxy.resumeSending()
        self.pair.settle()
        self.assertFalse(asked.isPaused or client.uploadHeld)
        self.assertEqual((client.body, asked.body), (b"a" * QUEUE, b"b" * QUEUE))

    def test_endBehindWhatWaits(self) -> None:
        """
        The end of a body, with or without trailers, comes behind what waits of it.
        """
        for trailers in (b"", b"\r\nX: 1"):
            client, asked = self.exchange(b"POST", framing=CHUNKED)
            asked.respond()
            self.pair.agent.pauseSending()
            self.pair.proxy.pauseSending()
            asked.answer.write(b"a" * 50000)
            asked.answer.finish(trailers)
            client.body_.write(b"b" * 50000)
            client.body_.finish(trailers)
            self.pair.settle()
            self.assertFalse(client.finished)
            self.pair.proxy.resumeSending()
            self.pair.settle()
            self.pair.agent.resumeSending()
            self.pair.settle()
            self.assertEqual((client.body, client.trailers), (b"a" * 50000, trailers))
            self.assertEqual((asked.body, asked.ends), (b"b" * 50000, [trailers]))
            self.assertEqual((self.pair.proxy.streams, self.pair.agent.streams), ({}, {}))

    def test_resetBeforeWhatWaits(self) -> None:
        """
        What waits of a body that breaks off is dropped, and takes no turn any more.
        """
        client, asked = self.exchange()
        asked.respond()
        self.pair.settle()
        self.pair.agent.pauseSending()
        asked.answer.write(b"a" * 50000)
        asked.answer.fail(Fault(ORIGIN_BAD_RESPONSE))
        self.pair.agent.resumeSending()
        self.pair.settle()
        self.assertEqual(client.body, b"")
        self.assertIsNotNone(client.fault)
        self.assertTrue(self.pair.agent.isFree)

    def test_stalledStream(self) -> None:
        """
        A stream without credit that has 10 MiB waiting does not delay another at all, and pauses its own source alone.
        """
        slow, slowAsked = self.exchange()
        slow.body_.pauseAnswer()
        slowAsked.respond()
        for _ in range(640):
            slowAsked.answer.write(b"x" * 16384)
        self.pair.settle()
        self.assertTrue(slowAsked.isPaused)
        self.assertTrue(self.pair.agent.isFree)
        client, asked = self.exchange()
        before = self.pair.agentEnd.total
        asked.reply(b"small")
        self.pair.clock.advance(0)
        self.assertLess(self.pair.agentEnd.total - before, 200)
        self.pair.settle()
        self.assertTrue(client.finished)
        other, otherAsked = self.exchange()
        otherAsked.respond()
        for _ in range(100):
            otherAsked.answer.write(b"y" * 16384)
            self.pair.settle()
        self.assertFalse(otherAsked.isPaused)
        self.assertEqual(len(other.body), 1638400)
        self.assertEqual(len(slow.body), INITIAL)

    def test_turns(self) -> None:
        """
        A small answer waits for no more than one piece of each stream that sends, even if each has 10 MiB waiting.
        """
        raw = RawProxy(frame(HELLO, 0, Hello(window=1 << 30).encode()))
        bulky = [raw.request(number) for number in (1, 2, 3)]
        small = raw.request(4)
        raw.session.pauseSending()
        for asked in bulky:
            asked.respond()
            asked.answer.write(b"x" * (10 << 20))
        small.reply(b"small")
        raw.hear()
        # The link takes one write at a time.
        raw.end.wrote = lambda size: raw.session.pauseSending()
        before: dict[int, int] = {}
        writes = 0
        while (DATA, 4, LAST, b"small") not in raw.peer.frames:
            raw.session.resumeSending()
            raw.hear()
            writes += 1
            self.assertLess(writes, 50)
        for kind, number, _, payload in raw.peer.frames:
            if (kind, number) == (DATA, 4):
                break
            if kind == DATA:
                before[number] = before.get(number, 0) + len(payload)
        self.assertEqual(before, dict.fromkeys((1, 2, 3), PIECE))

    def test_turnsAreShared(self) -> None:
        """
        Streams that send much have equal shares of the link, whatever the size of their pieces.
        """
        raw = RawProxy(frame(HELLO, 0, Hello(window=1 << 30).encode()))
        asked = [raw.request(number) for number in (1, 2, 3)]
        raw.session.pauseSending()
        for each, size in zip(asked, (1 << 20, 100_000, 40_000), strict=True):
            each.respond()
            for _ in range((1 << 20) // size + 1):
                each.answer.write(b"x" * size)
        raw.end.wrote = lambda size: raw.session.pauseSending()
        for _ in range(10):
            raw.session.resumeSending()
            raw.hear()
        sizes = [len(raw.peer.data(number)) for number in (1, 2, 3)]
        self.assertLess(max(sizes), 1.5 * min(sizes), sizes)

    def test_linkPausedHalfWay(self) -> None:
        """
        When the link is full, it gets no more than what was just collected.
        """
        raw = RawProxy(frame(HELLO, 0, Hello(window=1 << 30).encode()))
        asked = raw.request()
        raw.session.pauseSending()
        asked.respond()
        asked.answer.write(b"x" * (4 << 20))
        raw.hear()
        raw.end.wrote = lambda size: raw.session.pauseSending()
        before = raw.end.total
        raw.session.resumeSending()
        self.assertLess(raw.end.total - before, 2 * COLLECTED + 2 * PIECE)
        self.assertFalse(raw.session.isFree)

    def test_boundedMemory(self) -> None:
        """
        With a source that keeps to what it is told, a stream holds no more than its threshold and a piece, and no more
        than a window is under way.
        """
        client, asked = self.exchange()
        client.body_.pauseAnswer()
        asked.respond()
        stream = self.pair.agent.streams[1]
        total = 0
        for number in range(3000):
            if not asked.isPaused and total < 4 << 20:
                asked.answer.write(b"x" * 4000)
                total += 4000
            if number % 7 == 0:
                self.pair.toProxy(9000)
                self.pair.toAgent()
            if number % 11 == 0:
                self.pair.clock.advance(0)
            if number % 400 == 399:
                client.body_.resumeAnswer()
                self.pair.settle()
                client.body_.pauseAnswer()
            self.assertLess(stream._queued, QUEUE + 4000)
            self.assertEqual(stream._queued, sum(map(len, stream._queue or ())))
            self.assertLessEqual(len(self.pair.agentEnd.written), INITIAL + 20000)
        self.assertGreater(total, INITIAL)

    def test_largePiece(self) -> None:
        """
        A large piece of a body is not copied again for each part of it that is sent.
        """
        copied = 0

        class Counted(bytes):
            """
            Counts what is cut out of it.
            """

            def __getitem__(self, key):
                nonlocal copied
                found = super().__getitem__(key)
                if isinstance(found, bytes):
                    copied += len(found)
                    return Counted(found)
                return found

        raw = RawProxy(frame(HELLO, 0, Hello(window=1 << 30).encode()))
        asked = raw.request()
        asked.respond()
        raw.session.pauseSending()
        size = 8 << 20
        asked.answer.write(Counted(size))
        raw.session.resumeSending()
        self.assertEqual(len(raw.hear().data(1)), size)
        self.assertLess(copied, 4 * size)

    def test_sourceThatWritesAtOnce(self) -> None:
        """
        A source may write within C{resumeAnswer} until it is paused, as the producers in Twisted's documentation do.
        """
        raw = RawProxy(frame(HELLO, 0, Hello(window=1 << 30).encode()))
        asked = raw.request()
        asked.respond()
        raw.session.pauseSending()
        left = 1000

        def produce() -> None:
            nonlocal left
            while left and not asked.isPaused:
                left -= 1
                asked.answer.write(b"x" * 40000)

        asked.resumed = produce
        produce()
        raw.session.resumeSending()
        self.assertEqual(left, 0)
        self.assertEqual(len(raw.hear().data(1)), 40_000_000)

    def test_pausedWithinOpen(self) -> None:
        """
        An origin that has written much before C{open} returns is asked to pause then.
        """
        self.pair.agent.pauseSending()

        def flood(asked: Asked) -> None:
            asked.respond()
            asked.answer.write(b"x" * 100_000)

        self.pair.origin.opened = flood
        _, asked = self.exchange()
        self.assertTrue(asked.isPaused)

    def test_heldBodyPauses(self) -> None:
        """
        When a body that was held is more than the tunnel takes, its client stays paused until it has gone out.
        """
        proxy = Proxy()
        client = proxy.ask(b"POST", framing=CHUNKED, body=b"x" * 65536, end=False)
        self.assertTrue(client.uploadHeld)
        raw = RawAgent(proxy, frame(HELLO, 0, Hello(instance="raw", window=1024).encode()))
        self.assertEqual(raw.session.streams[1]._queued, 65536 - 1024)
        self.assertTrue(client.uploadHeld)
        raw.say(numberFrame(CREDIT, 1, 65536))
        self.assertFalse(client.uploadHeld)
        self.assertEqual(len(raw.hear().data(1)), 65536)

    def test_growing(self) -> None:
        """
        Over a long way the window of a stream grows, and what it has grown by is given back at its end.
        """
        pair = Pair(greet=False)
        client = pair.ask()
        total = 0
        there: list[tuple[float, bytes]] = []
        back: list[tuple[float, bytes]] = []

        def tick() -> None:
            now = pair.clock.seconds()
            if pair.proxyEnd.written:
                there.append((now + 0.05, pair.proxyEnd.take()))
            if pair.agentEnd.written:
                back.append((now + 0.05, pair.agentEnd.take()))
            while there and there[0][0] <= now:
                pair.agent.bytesReceived(there.pop(0)[1])
            while back and back[0][0] <= now:
                pair.proxy.bytesReceived(back.pop(0)[1])
            pair.clock.advance(0.01)

        for _ in range(50):
            tick()
        [asked] = pair.origin.asked
        asked.respond()
        for _ in range(2000):
            while not asked.isPaused and total < 40 << 20:
                asked.answer.write(b"x" * 16384)
                total += 16384
            tick()
        self.assertLess(abs(pair.proxy.budget.roundTrip - 0.1), 0.03)
        window = pair.proxy.streams[1]._window
        assert window is not None
        self.assertGreater(window.size, 4 * INITIAL)
        left = pair.proxy.budget.left
        asked.answer.finish()
        for _ in range(100):
            tick()
        self.assertTrue(client.finished)
        self.assertEqual(len(client.body), total)
        self.assertEqual(pair.proxy.budget.left, left + window.size - INITIAL)

    def test_pongFlood(self) -> None:
        """
        A peer that asks for pongs and does not read them costs no memory: only the latest ping need be answered.
        """
        raw = RawAgent(Proxy())
        raw.session.pauseSending()
        before = raw.end.total
        ping = control(PING, b"p" * 125, KEY)
        for _ in range(100):
            raw.session.bytesReceived(ping * 100)
            raw.proxy.clock.advance(0)
        self.assertLess(raw.end.total - before, 65536)


class Pings(Case):
    """
    Signs of life.
    """

    def test_kept(self) -> None:
        """
        A tunnel without traffic lives on by its pings, and measures its round trips.
        """
        pair = Pair()
        pair.wait(120)
        self.assertTrue(pair.proxy.isReady and pair.agent.isReady)
        self.assertEqual(pair.proxy.budget.roundTrip, 0.0)
        self.assertLess(pair.proxyEnd.total + pair.agentEnd.total, 2000)

    def test_pong(self) -> None:
        """
        A ping is answered at once, with its payload, and between the pieces of a message.
        """
        raw = RawAgent(Proxy())
        raw.saw(control(PING, b"abc", KEY))
        self.assertEqual(raw.peer.pongs, [b"abc"])
        data = message(numberFrame(CREDIT, 1, 1), key=KEY)
        raw.proxy.ask()
        raw.saw(b"\x02" + data[1:] + control(PING, b"def", KEY))
        raw.saw(b"\x80\x80" + KEY)
        self.assertEqual(raw.peer.pongs, [b"abc", b"def"])
        self.assertEqual(raw.peer.closes, [])

    def test_unaskedPong(self) -> None:
        """
        A pong that nobody asked for, or a second one, says nothing about the way.
        """
        raw = RawAgent(Proxy())
        raw.proxy.clock.advance(0.1)
        raw.saw(control(PONG, b"999", KEY) + control(PONG, b"", KEY) + control(PONG, b"x", KEY))
        self.assertEqual(raw.session.budget.roundTrip, 0.0)
        [ping] = raw.peer.pings
        raw.saw(control(PONG, ping, KEY))
        self.assertAlmostEqual(raw.session.budget.roundTrip, 0.1)
        raw.proxy.clock.advance(5)
        raw.saw(control(PONG, ping, KEY))
        self.assertAlmostEqual(raw.session.budget.roundTrip, 0.1)

    def test_silentAgent(self) -> None:
        """
        The proxy notices a dead link within its timeout, whatever it was doing, and gives the exchanges up.
        """
        for busy in (False, True):
            proxy = Proxy(timeout=15.0)
            raw = RawAgent(proxy)
            client = proxy.ask(b"POST", framing=CHUNKED) if busy else None
            for pongs in range(20):
                proxy.clock.advance(0.25)
                if pongs == 10:
                    raw.saw(control(PONG, b"", KEY))
            heard = raw.session.heardAt
            with capturedLogs() as events:
                while len(proxy.tunnels):
                    proxy.clock.advance(0.25)
                    self.assertLessEqual(proxy.clock.seconds(), heard + 15)
            self.assertGreaterEqual(proxy.clock.seconds(), heard + 14.5)
            self.assertEqual(self.shown(events), ["nothing came for 15 s"])
            self.assertTrue(raw.end.broken)
            self.assertGreaterEqual(len(raw.hear().pings), 2)
            if client is not None:
                assert client.fault is not None
                self.assertEqual(client.fault.code.name, "agent-lost")
            proxy.clock.pump([0.25] * 20)
            self.assertEqual(proxy.clock.getDelayedCalls(), [])

    def test_silentProxy(self) -> None:
        """
        So does the agent.
        """
        raw = RawProxy(linkTimeout=6.0)
        asked = raw.request()
        heard = raw.session.heardAt
        while not raw.end.broken:
            raw.clock.advance(0.25)
            self.assertLessEqual(raw.clock.seconds(), heard + 6)
        self.assertGreaterEqual(raw.clock.seconds(), heard + 5.5)
        self.successResultOf(raw.session.gone)
        self.assertIn("6 s", self.successResultOf(raw.session.left))
        self.assertIsNotNone(asked.fault)
        raw.clock.pump([0.25] * 20)
        self.assertEqual(raw.clock.getDelayedCalls(), [])

    def test_silentBeforeHello(self) -> None:
        """
        And also before the greeting.
        """
        proxy = Proxy()
        RawAgent(proxy, b"")
        proxy.clock.pump([0.25] * 64)
        self.assertEqual(proxy.left(), (0, 0, 0))
        raw = RawProxy(b"")
        raw.clock.pump([0.25] * 64)
        self.assertTrue(raw.end.broken)
        self.successResultOf(raw.session.gone)

    def test_fullLinkTakesNothing(self) -> None:
        """
        While the link does not keep up, nothing new is taken; it is when the link does again.
        """
        pair = Pair()
        pair.proxy.pauseSending()
        client = pair.ask()
        pair.settle()
        self.assertEqual((pair.origin.asked, pair.mailbox.counts()), ([], (1, 0)))
        pair.proxy.resumeAnswer()
        pair.settle()
        pair.origin.asked[0].reply()
        pair.settle()
        self.assertTrue(client.finished)

    def test_oneWayOnly(self) -> None:
        """
        Data in one direction is a sign of life of one side alone: pings go on while streams are open.
        """
        pair = Pair()
        client = pair.ask()
        pair.settle()
        [asked] = pair.origin.asked
        asked.respond()
        for number in range(400):
            pair.clock.advance(0.25)
            if number % 4 == 0:
                asked.answer.write(b"event")
            pair.toProxy()
            pair.toAgent()
        self.assertTrue(pair.proxy.isReady and pair.agent.isReady)
        self.assertFalse(client.over)

    def test_originTimeout(self) -> None:
        """
        An origin that does not begin to answer in time fails its exchange alone; uploads and interim responses give it
        more.
        """
        pair = Pair(originTimeout=3.0)
        late = pair.ask()
        fed = pair.ask(b"POST", framing=CHUNKED)
        pair.settle()
        for _ in range(12):
            pair.wait(0.5)
            fed.body_.write(b"x")
        assert late.fault is not None
        self.assertEqual(late.fault.code.name, "origin-timeout")
        self.assertFalse(fed.over)
        pair.origin.asked[1].reply()
        pair.settle()
        self.assertTrue(fed.finished)

    def test_originTimeoutAborts(self) -> None:
        """
        And the origin is told that nobody waits for it any more.
        """
        pair = Pair(originTimeout=3.0)
        pair.ask()
        pair.settle()
        pair.wait(4)
        self.assertIsNotNone(pair.origin.asked[0].fault)


class Draining(Case):
    """
    The orderly end of a tunnel.
    """

    def test_idle(self) -> None:
        """
        Whoever stops without streams closes at once, and the other side knows why.
        """
        for side in ("proxy", "agent"):
            pair = Pair()
            with capturedLogs() as events:
                getattr(pair, side).life.drain()
                self.assertFalse(pair.proxy.hasRoom() and side == "proxy")
                pair.settle()
            self.assertEqual(len(self.shown(events)), 1)
            self.assertEqual(pair.left(), (0, 0, 0))
            self.assertTrue(pair.proxyEnd.ended and pair.agentEnd.ended)
            self.successResultOf(pair.agent.gone)
            self.successResultOf(pair.agent.left)
            self.assertEqual(pair.violations(), [])
            pair.clock.pump([0.25] * 20)
            self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_finishes(self) -> None:
        """
        What is open comes to its end, and then the tunnel closes; nothing new is begun.
        """
        for side in ("proxy", "agent"):
            pair = Pair()
            client = pair.ask(b"POST", framing=CHUNKED)
            pair.settle()
            getattr(pair, side).life.drain()
            pair.settle()
            self.assertFalse(pair.proxy.hasRoom())
            if side == "proxy":
                self.successResultOf(pair.agent.left)
            waiting = pair.ask()
            pair.settle()
            self.assertEqual(len(pair.origin.asked), 1)
            client.body_.write(b"x" * 300_000)
            client.body_.finish()
            pair.settle()
            [asked] = pair.origin.asked
            self.assertEqual(len(asked.body), 300_000)
            asked.respond()
            asked.answer.write(b"y" * 200_000)
            pair.settle()
            self.assertEqual(len(pair.tunnels), 1)
            self.assertNoResult(pair.agent.gone)
            asked.answer.finish()
            pair.settle()
            self.assertTrue(client.finished)
            self.successResultOf(pair.agent.gone)
            self.assertFalse(waiting.over)
            self.assertEqual(pair.left(), (1, 0, 0))
            pair.connect()
            pair.settle()
            self.assertEqual(len(pair.origin.asked), 2)

    def test_leftBeforeTold(self) -> None:
        """
        An agent that stops says so by itself: it takes nothing that comes after its GOAWAY.
        """
        pair = Pair()
        pair.agent.life.drain()
        client = pair.ask(b"POST", framing=CHUNKED)
        pair.clock.advance(0)
        pair.toAgent()
        self.assertEqual(pair.origin.asked, [])
        pair.settle()
        self.assertFalse(client.over)
        self.assertEqual(pair.mailbox.counts(), (1, 0))
        pair.connect()
        pair.settle()
        self.assertEqual(len(pair.origin.asked), 1)

    def refuse(self, method: bytes, **options: Any) -> None:
        """
        Ask while the agent's GOAWAY is under way, and see that another tunnel gets the request, and all of it.
        """
        pair = Pair()
        before = pair.ask()
        pair.settle()
        pair.agent.life.drain()
        client = pair.ask(method, **options)
        pair.settle()
        self.assertFalse(client.over, client.fault)
        self.assertEqual(len(pair.origin.asked), 1)
        old = pair.origin.asked[0]
        pair.slot = 1
        first = pair.proxy, pair.agent
        pair.connect()
        pair.settle()
        self.assertIsNot(first[0], pair.proxy)
        [_, asked] = pair.origin.asked
        self.assertEqual(asked.body, options.get("body") or b"")
        self.assertEqual(asked.head.method, method)
        asked.reply()
        pair.settle()
        self.assertTrue(client.finished)
        self.assertFalse(before.over)
        self.assertIsNone(old.fault)

    def test_refusedGet(self) -> None:
        """
        What the agent has not begun goes to another.
        """
        self.refuse(b"GET")

    def test_refusedPostBeginning(self) -> None:
        """
        Whatever its method, if its body is still held.
        """
        self.refuse(b"POST", framing=CHUNKED, body=b"x" * 1000, end=False)

    def test_refusedPostWhole(self) -> None:
        """
        Also if all of its body has come.
        """
        self.refuse(b"POST", framing=1000, body=b"x" * 1000)

    def test_refusedEmptyPost(self) -> None:
        """
        Also if it has none.
        """
        self.refuse(b"POST", framing=0)

    def test_refusedUpgrade(self) -> None:
        """
        Also if it asks for an upgrade.
        """
        self.refuse(b"GET", fields=UPGRADE)

    def test_refusedLargePost(self) -> None:
        """
        A body of which more was sent than is held cannot be sent again: that exchange fails.
        """
        pair = Pair()
        pair.agent.life.drain()
        client = pair.ask(b"POST", framing=CHUNKED, body=b"x" * 60000, end=False)
        client.body_.write(b"x" * 60000)
        pair.settle()
        assert client.fault is not None
        self.assertEqual(client.fault.code.name, "agent-lost")
        self.assertEqual(pair.origin.asked, [])

    def test_refusedPaused(self) -> None:
        """
        One whose client was asked to pause goes on with another agent.
        """
        pair = Pair()
        pair.agent.life.drain()
        client = pair.ask(b"POST", framing=CHUNKED, body=b"x" * 10000, end=False)
        pair.proxy.pauseSending()
        client.body_.write(b"x" * 40000)
        self.assertTrue(client.uploadHeld)
        pair.settle()
        pair.slot = 1
        pair.connect()
        pair.settle()
        [asked] = pair.origin.asked
        self.assertEqual(len(asked.body), 50000)
        self.assertFalse(client.uploadHeld)

    def test_goAwayFrame(self) -> None:
        """
        A GOAWAY names the last stream that was taken, and says why.
        """
        proxy = Proxy()
        raw = RawAgent(proxy)
        for _ in range(3):
            proxy.ask()
        raw.session.life.drain()
        kind, number, flags, payload = raw.hear().frames[-1]
        self.assertEqual((kind, number, flags), (GOAWAY, 0, 0))
        self.assertEqual(parseNumber(payload), 3)
        agent = RawProxy()
        agent.request(5)
        agent.session.life.drain()
        self.assertEqual(parseNumber(agent.hear().frames[-1][3]), 5)

    def test_goAwayTwice(self) -> None:
        """
        A second GOAWAY may name fewer streams.
        """
        proxy = Proxy()
        raw = RawAgent(proxy)
        other = RawAgent(proxy, frame(HELLO, 0, Hello(instance="other").encode()))
        clients = [proxy.ask(target=b"/%d" % number) for number in range(6)]
        mine = list(raw.session.streams)
        self.assertEqual(mine, [1, 2, 3])
        raw.say(numberFrame(GOAWAY, 0, 2))
        self.assertEqual(list(raw.session.streams), [1, 2])
        self.assertEqual(len(other.session.streams), 4)
        raw.say(numberFrame(GOAWAY, 0, 1))
        self.assertEqual(list(raw.session.streams), [1])
        self.assertEqual(len(other.session.streams), 5)
        self.assertFalse(any(client.over for client in clients))
        raw.say(frame(RESPONSE, 1, OK, LAST))
        raw.hear()
        self.assertEqual([code for code, _ in raw.peer.closes], [1001])

    def test_bothAtOnce(self) -> None:
        """
        Both may stop at once.
        """
        pair = Pair()
        client = pair.ask()
        pair.settle()
        pair.proxy.life.drain()
        pair.agent.life.drain()
        pair.settle()
        pair.origin.asked[0].reply()
        pair.settle()
        self.assertTrue(client.finished)
        self.assertEqual(pair.left(), (0, 0, 0))
        self.assertEqual(pair.violations(), [])

    def test_cut(self) -> None:
        """
        At the end of its patience an agent breaks off what is still open.
        """
        pair = Pair()
        clients = [pair.ask(), pair.ask(b"POST", framing=CHUNKED)]
        pair.settle()
        pair.origin.asked[0].respond()
        pair.settle()
        pair.agent.life.drain()
        self.assertEqual(pair.agent.cut(), 2)
        pair.settle()
        self.assertTrue(all(asked.fault is not None for asked in pair.origin.asked))
        for client in clients:
            assert client.fault is not None
            self.assertFalse(client.finished)
        self.successResultOf(pair.agent.gone)
        self.assertEqual(pair.left(), (0, 0, 0))

    def test_proxyCloses(self) -> None:
        """
        At the end of its own, the proxy closes all tunnels.
        """
        pair = Pair()
        client = pair.ask()
        pair.settle()
        pair.tunnels.drain()
        pair.settle()
        self.assertEqual(len(pair.tunnels), 1)
        pair.tunnels.close()
        pair.settle()
        assert client.fault is not None
        self.assertIsNotNone(pair.origin.asked[0].fault)
        self.assertIn("stopping", self.successResultOf(pair.agent.left))
        self.assertEqual(pair.left(), (0, 0, 0))

    def test_numbersRunOut(self) -> None:
        """
        A tunnel whose numbers have run out is drained.
        """
        pair = Pair()
        pair.proxy.last = MOST_STREAMS - 1
        client = pair.ask()
        pair.settle()
        self.assertFalse(pair.proxy.hasRoom())
        pair.origin.asked[0].reply()
        pair.settle()
        self.assertTrue(client.finished)
        self.assertEqual(pair.left(), (0, 0, 0))
        self.successResultOf(pair.agent.gone)

    def test_closeIsAnswered(self) -> None:
        """
        A Close frame is answered by one with the same code, and the link is ended.
        """
        for payload, code in ((closePayload(1000, "bye"), 1000), (b"", 1001)):
            raw = RawAgent(Proxy())
            raw.saw(control(CLOSE, payload, KEY))
            self.assertEqual([each for each, _ in raw.peer.closes], [code])
            self.assertTrue(raw.end.ended)
            raw.session.finish()
            self.assertEqual(raw.proxy.left(), (0, 0, 0))
            self.assertEqual(raw.end.violations, [])

    def test_peerThatStays(self) -> None:
        """
        A peer that does not end its side of the link after a Close frame is not waited for.
        """
        proxy = Proxy()
        raw = RawAgent(proxy)
        raw.session.life.close(1001, "bye")
        proxy.clock.pump([0.25] * 12)
        self.assertTrue(raw.end.broken)
        self.assertEqual(proxy.clock.getDelayedCalls(), [])

    def test_vanishedAgent(self) -> None:
        """
        When the agent's connection ends without a Close frame, as that of a process that was killed, the proxy ends its
        side of it, too: half of a connection is no use to anyone, and would stay for ever.
        """
        raw = RawAgent(Proxy())
        raw.session.finish()
        raw.proxy.clock.pump([0.25] * 100)
        self.assertEqual(raw.proxy.left(), (0, 0, 0))
        self.assertTrue(raw.end.ended or raw.end.broken)

    def test_vanishedProxy(self) -> None:
        """
        And the same at the agent.
        """
        raw = RawProxy()
        raw.session.linkEnded("the proxy closed the connection")
        raw.clock.pump([0.25] * 100)
        self.successResultOf(raw.session.gone)
        self.assertTrue(raw.end.ended or raw.end.broken)


# One end and a peer that breaks the rules.


class AtTheProxy(Case):
    """
    What agents may do wrong.
    """

    def setUp(self) -> None:
        self.proxy = Proxy(limits=Limits(head=4096, trailers=1024))
        self.other = RawAgent(self.proxy, frame(HELLO, 0, Hello(instance="other").encode()))

    def violate(
        self,
        data: bytes | Callable[[RawAgent], None],
        *words: str,
        code: int = 1002,
        greeting: bytes = GREETING,
        asks: int = 1,
    ) -> None:
        """
        See that something closes the tunnel, and only that.

        @param data: bytes of the WebSocket, or what to do.
        @param words: what the reason says.
        @param greeting: what is sent before.
        @param asks: how many requests are sent through the tunnel before that.
        """
        proxy = self.proxy
        raw = RawAgent(proxy, greeting)
        self.assertEqual(raw.hear().closes, [])
        # The other is out of the way, so that the requests come here.
        proxy.mailbox.leave(self.other.session)
        clients = [proxy.ask(b"POST", framing=CHUNKED) for _ in range(asks)]
        proxy.mailbox.join(self.other.session)
        raw.hear()
        with capturedLogs() as events:
            if callable(data):
                data(raw)
            else:
                raw.saw(data)
            raw.hear()
        [(found, reason)] = raw.peer.closes
        self.assertEqual(found, code, reason)
        for word in words:
            self.assertIn(word, reason)
        self.assertTrue(reason.isprintable())
        if code == 1011:
            self.assertEqual(len(self.flushLoggedErrors()), 1)
        else:
            self.assertEqual(self.flushLoggedErrors(), [])
        [shown] = self.shown(events)
        self.assertTrue(shown.startswith(reason[:60]), (shown, reason))
        self.assertTrue(raw.end.ended)
        self.assertEqual(raw.end.violations, [])
        for client in clients:
            assert client.fault is not None
            self.assertFalse(client.finished)
            self.assertEqual(client.violations, [])
        self.assertEqual(raw.session.streams, {})
        # Nothing more is taken, and nothing is said.
        total = raw.end.total
        raw.session.bytesReceived(message(frame(RESPONSE, 1, OK, LAST), key=KEY))
        raw.session.bytesReceived(control(CLOSE, b"", KEY))
        proxy.clock.advance(0)
        self.assertEqual(raw.end.total, total)
        raw.session.finish()
        # The others live on.
        self.assertEqual(proxy.left(), (0, 1, 1))
        client = proxy.ask()
        self.other.hear()
        number = self.other.session.last
        self.other.say(frame(RESPONSE, number, OK), frame(DATA, number, b"fine", LAST))
        self.assertEqual((client.body, client.finished), (b"fine", True))

    def say(self, *frames: bytes) -> bytes:
        return message(*frames, key=KEY)

    def test_beforeHello(self) -> None:
        """
        A frame before the HELLO, whatever it is.
        """
        for kind in (REQUEST, RESPONSE, DATA, END, RESET, CREDIT, GOAWAY, 8, 255):
            self.violate(
                self.say(frame(kind, 0, b"\x00" * 8), GREETING),
                "before the HELLO",
                greeting=b"",
                asks=0,
            )

    def test_badHello(self) -> None:
        """
        A HELLO that is none.
        """
        for payload in (b"", b"{}", b"\xff", b"[" * 3000, b'{"version":"1.0","slot":-1}'):
            self.violate(self.say(frame(HELLO, 0, payload)), "HELLO", greeting=b"", asks=0)

    def test_otherMajor(self) -> None:
        """
        Another major version.
        """
        self.violate(
            self.say(frame(HELLO, 0, b'{"version":"2.0"}')),
            "2.0",
            "1.0",
            greeting=b"",
            asks=0,
        )

    def test_secondHello(self) -> None:
        """
        A second HELLO.
        """
        self.violate(self.say(GREETING), "a second HELLO")
        self.violate(self.say(frame(HELLO, 0, b'{"version":"2.0"}')), "2.0")

    def test_secondHelloAndMore(self) -> None:
        """
        What follows it in the same message is not looked at.
        """
        self.violate(
            self.say(GREETING, frame(RESPONSE, 1, OK), frame(DATA, 99, b"x"), GREETING),
            "a second HELLO",
        )

    def test_secondHelloAndClose(self) -> None:
        """
        Nor is a Close frame behind it: the link was ended already.
        """
        self.violate(self.say(GREETING) + control(CLOSE, b"", KEY), "a second HELLO")

    def test_unknownStream(self) -> None:
        """
        A frame for a stream that was never opened, or for the tunnel itself.
        """
        for kind in (RESPONSE, DATA, END, RESET, CREDIT):
            for number in (0, 2, 1000, 0xFFFFFFFF):
                self.violate(self.say(frame(kind, number, b"\x00" * 8)), "never opened")

    def test_request(self) -> None:
        """
        A REQUEST from an agent.
        """
        for number in (0, 1, 2):
            self.violate(
                self.say(requestFrame(number, b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")),
                "REQUEST from an agent",
            )

    def test_dataBeforeResponse(self) -> None:
        """
        DATA before the RESPONSE, also after an interim one, and also if it is empty.
        """
        interim = frame(RESPONSE, 1, b"HTTP/1.1 103 Early\r\n\r\n")
        for data in (frame(DATA, 1, b"x"), frame(DATA, 1, b"x", LAST), frame(DATA, 1, b"", LAST)):
            self.violate(self.say(data), "before", "RESPONSE")
            self.violate(self.say(interim, data), "before", "RESPONSE")

    def test_endBeforeResponse(self) -> None:
        """
        The end of a response before its head.
        """
        for payload in (b"", b"X: 1\r\n"):
            self.violate(self.say(frame(END, 1, payload, LAST)), "before its head")

    def test_secondResponse(self) -> None:
        """
        A second final RESPONSE, or an interim one after the final one.
        """
        response = frame(RESPONSE, 1, OK)
        self.violate(self.say(response, response), "second final RESPONSE")
        self.violate(
            self.say(response, frame(RESPONSE, 1, b"HTTP/1.1 103 Early\r\n\r\n")), "RESPONSE"
        )

    def test_overrun(self) -> None:
        """
        More DATA than there is credit for, in one frame or many, for a client that reads and one that does not.
        """

        def send(raw: RawAgent) -> None:
            raw.say(frame(RESPONSE, 1, OK))
            raw.say(frame(DATA, 1, b"x" * (INITIAL + 1)))

        def sendInPieces(raw: RawAgent) -> None:
            raw.say(frame(RESPONSE, 1, OK))
            raw.session.streams[1].exchange.pauseAnswer()
            for _ in range(INITIAL // 1024):
                raw.say(frame(DATA, 1, b"x" * 1024))
            self.assertEqual(raw.peer.closes, [])
            raw.say(frame(DATA, 1, b"x"))

        def sendWhole(raw: RawAgent) -> None:
            raw.say(frame(RESPONSE, 1, OK), frame(DATA, 1, b"x" * (INITIAL + 1), LAST))

        for act in (send, sendInPieces, sendWhole):
            self.violate(act, "credit")

    def test_badNumbers(self) -> None:
        """
        A CREDIT or GOAWAY that is too short for its number.
        """
        for size in range(4):
            self.violate(self.say(frame(CREDIT, 1, b"\x00" * size)), "CREDIT")
            self.violate(self.say(frame(GOAWAY, 0, b"\x00" * size)), "GOAWAY")

    def test_frameTooLong(self) -> None:
        """
        A frame that is longer than what was allowed is refused by its header.
        """
        for kind in (RESPONSE, END, RESET, CREDIT, GOAWAY, HELLO, 77):
            start = message(header(1 << 20, 1, kind, 0), b"x" * 100, key=KEY)
            self.violate(start, "allowed")

    def test_messageInsideFrame(self) -> None:
        """
        A message that ends within a frame: its header, its payload, or that of DATA.
        """
        response = frame(RESPONSE, 1, OK)
        data = header(5, 1, DATA, 0) + b"abcd"
        for parts in ([response[:1]], [response[:9]], [response[:-1]], [response, data]):
            self.violate(self.say(*parts), "within a frame")

    def test_webSocket(self) -> None:
        """
        What breaks the WebSocket has the close code of that.
        """
        unmasked = message(frame(RESPONSE, 1, OK))
        masked = message(frame(RESPONSE, 1, OK), key=KEY)
        self.violate(unmasked, "mask")
        self.violate(b"\x81" + masked[1:], "text", code=1003)
        self.violate(b"\xc2" + masked[1:], "reserved")
        self.violate(b"\x83" + masked[1:], "opcode")
        self.violate(b"\x80" + masked[1:], "continuation")
        self.violate(control(PING, b"x"), "mask")
        self.violate(b"\x09\x80" + KEY, "fragmented")
        self.violate(control(CLOSE, b"\x00", KEY), "code")
        self.violate(control(CLOSE, b"\x03\xe8\xff", KEY), "UTF-8", code=1007)

    def test_inSingleBytes(self) -> None:
        """
        The same however it is cut.
        """

        def send(raw: RawAgent) -> None:
            for byte in message(frame(DATA, 1, b"x"), key=KEY):
                raw.session.bytesReceived(bytes([byte]))

        self.violate(send, "before", "RESPONSE")

    def test_unexpected(self) -> None:
        """
        What nobody expected closes that tunnel alone, and is logged with its traceback.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask(b"POST", framing=CHUNKED)

        def explode(head: ResponseHead) -> None:
            raise ZeroDivisionError

        client.inform = explode  # type: ignore[method-assign]
        with capturedLogs() as events:
            raw.say(frame(RESPONSE, 1, b"HTTP/1.1 103 Early\r\n\r\n"))
        self.assertEqual([code for code, _ in raw.peer.closes], [1011])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.shown(events)), 1)
        assert client.fault is not None
        self.assertEqual(self.proxy.left()[:2], (0, 1))
        self.assertTrue(self.other.session.isReady)

    def test_dataAfterEnd(self) -> None:
        """
        DATA after the end of an upgraded connection's direction reaches nobody.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask(fields=UPGRADE)
        raw.say(frame(RESPONSE, 1, SWITCH), frame(DATA, 1, b"abc", LAST))
        self.assertTrue(client.finished)
        raw.say(frame(DATA, 1, b"late"))
        raw.say(frame(END, 1, b""))
        self.flushLoggedErrors()
        self.assertEqual(client.violations, [])
        self.assertEqual(client.body, b"abc")

    def test_malformedTrailers(self) -> None:
        """
        Trailers that do not end with a line's end are not cut to fit, but refused.
        """
        for lines in (b"X: abc", b"X: abc\r", b"X: abc\n", b"x", b"\r\n", b"X: abc\r\n\r\n"):
            raw = RawAgent(self.proxy)
            self.proxy.mailbox.leave(self.other.session)
            client = self.proxy.ask()
            raw.say(frame(RESPONSE, 1, OK), frame(END, 1, lines, LAST))
            self.assertFalse(client.finished, (lines, client.trailers))
            raw.session.abort(GONE)

    def test_lastInterim(self) -> None:
        """
        An interim response that says that nothing follows is no end, and must not leave its client waiting.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask()
        raw.say(frame(RESPONSE, 1, b"HTTP/1.1 103 Early\r\n\r\n", LAST))
        self.assertTrue(client.over)

    # Of one stream alone.

    def test_badResponse(self) -> None:
        """
        A response that is none fails its exchange, and nothing else.
        """
        for payload in (
            b"",
            b"nonsense",
            OK[:-2],
            OK + b"x",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nBad Field\r\n\r\n",
            b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * 4096 + b"\r\n\r\n",
        ):
            raw = RawAgent(self.proxy)
            self.proxy.mailbox.leave(self.other.session)
            bad, good = self.proxy.ask(), self.proxy.ask()
            raw.say(frame(RESPONSE, 1, payload), frame(DATA, 1, b"x"), frame(END, 1))
            assert bad.fault is not None
            self.assertEqual(bad.fault.code, ORIGIN_BAD_RESPONSE)
            self.assertEqual(raw.peer.kinds(1), [REQUEST, RESET])
            raw.say(frame(RESPONSE, 2, OK, LAST))
            self.assertTrue(good.finished)
            self.assertEqual(raw.peer.closes, [])
            raw.session.abort(GONE)

    def test_wrongLength(self) -> None:
        """
        So does one that is not as long as it says, however that shows.
        """
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
        for frames in (
            [frame(RESPONSE, 1, head, LAST)],
            [frame(RESPONSE, 1, head), frame(DATA, 1, b"ab", LAST)],
            [frame(RESPONSE, 1, head), frame(DATA, 1, b"ab"), frame(END, 1)],
            [frame(RESPONSE, 1, head), frame(DATA, 1, b"ab"), frame(END, 1, b"X: 1\r\n")],
            [frame(RESPONSE, 1, head), frame(DATA, 1, b"abcd")],
            [frame(RESPONSE, 1, head), frame(DATA, 1, b"abcd", LAST)],
            [frame(RESPONSE, 1, b"HTTP/1.1 204 No\r\n\r\n"), frame(DATA, 1, b"a")],
        ):
            raw = RawAgent(self.proxy)
            self.proxy.mailbox.leave(self.other.session)
            client = self.proxy.ask()
            raw.say(*frames)
            assert client.fault is not None
            self.assertFalse(client.finished)
            self.assertEqual(raw.peer.closes, [])
            self.assertEqual(raw.session.streams, {})
            raw.session.abort(GONE)

    def test_late(self) -> None:
        """
        Frames of streams that are over are thrown away, all of them.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        done, gone = self.proxy.ask(), self.proxy.ask(b"POST", framing=CHUNKED)
        raw.say(frame(RESPONSE, 1, OK, LAST))
        gone.abort(GONE)
        for number in (1, 2):
            raw.say(
                frame(RESPONSE, number, OK),
                frame(RESPONSE, number, b"nonsense"),
                frame(DATA, number, b"x" * (INITIAL + 1)),
                frame(DATA, number, b"", LAST),
                frame(END, number, b"nonsense"),
                frame(CREDIT, number, b""),
                numberFrame(CREDIT, number, 5),
                frame(RESET, number, b"internal"),
            )
        self.assertEqual(raw.peer.closes, [])
        self.assertEqual((done.violations, gone.violations), ([], []))
        self.assertTrue(raw.session.isReady)

    def test_ignored(self) -> None:
        """
        Unknown types and flags are no fault, and not even those of the tunnel itself.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask()
        raw.say(
            frame(8, 0, b"x"),
            frame(255, 1, b"y" * 1000, 255),
            frame(99, 0xFFFFFFFF),
            frame(RESPONSE, 1, OK, 0xFE),
            frame(DATA, 1, b"abc", 0xFE),
            numberFrame(CREDIT, 1, 1)[:9] + b"\xff" + numberFrame(CREDIT, 1, 1)[10:],
            frame(99, 1, b"", LAST),
            frame(DATA, 1, b"def", 0xFF),
        )
        self.assertEqual((client.body, client.finished), (b"abcdef", True))
        self.assertEqual(raw.peer.closes, [])

    def test_resets(self) -> None:
        """
        A RESET of an agent says what happened, but only what an agent can know.
        """
        for payload, name in (
            (b"origin-refused nobody there", "origin-refused"),
            (b"origin-timeout", "origin-timeout"),
            (b"origin-bad-response \xff\xfe\n\n", "origin-bad-response"),
            (b"internal", "internal"),
            (b"unauthenticated", "agent-lost"),
            (b"no-such-code", "agent-lost"),
            (b"", "agent-lost"),
            (b"\xff" * 1000, "agent-lost"),
        ):
            raw = RawAgent(self.proxy)
            self.proxy.mailbox.leave(self.other.session)
            client = self.proxy.ask(b"POST", framing=CHUNKED)
            raw.say(frame(RESET, 1, payload))
            assert client.fault is not None
            self.assertEqual(client.fault.code.name, name)
            self.assertEqual(raw.peer.closes, [])
            self.assertEqual(raw.peer.kinds(), [REQUEST])  # a RESET is not answered
            raw.session.abort(GONE)

    def test_resetAfterHead(self) -> None:
        """
        After the head of a response it cuts it.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask()
        raw.say(frame(RESPONSE, 1, OK), frame(DATA, 1, b"abc"), frame(RESET, 1, b"internal"))
        assert client.fault is not None
        self.assertFalse(client.finished)
        self.assertEqual(client.body, b"abc")

    def test_replayedReset(self) -> None:
        """
        An agent that gives one and the same request up again and again gets it but a few times.
        """
        raw = RawAgent(self.proxy)
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask()
        for _ in range(10):
            if client.over:
                break
            raw.say(frame(RESET, raw.session.last, b"internal"))
        assert client.fault is not None
        self.assertLessEqual(raw.session.last, 3)

    def test_credit(self) -> None:
        """
        An upload goes as far as the agent's credit, and on by what it adds, 0 and the most that there is included.
        """
        raw = RawAgent(self.proxy, frame(HELLO, 0, Hello(instance="raw", window=1024).encode()))
        self.proxy.mailbox.leave(self.other.session)
        client = self.proxy.ask(b"POST", framing=CHUNKED)
        client.body_.write(b"x" * 5000)
        self.assertEqual(len(raw.hear().data(1)), 1024)
        raw.say(numberFrame(CREDIT, 1, 0))
        self.assertEqual(len(raw.hear().data(1)), 1024)
        raw.say(numberFrame(CREDIT, 1, 1))
        self.assertEqual(len(raw.hear().data(1)), 1025)
        raw.say(*[numberFrame(CREDIT, 1, 0x20000000)] * 3)
        self.assertEqual(len(raw.hear().data(1)), 5000)
        client.body_.write(b"x" * 5000)
        client.body_.finish()
        self.assertEqual(len(raw.hear().data(1)), 10000)
        self.assertTrue(all(each[3] or each[2] & LAST for each in raw.peer.frames))

    def test_creditInBytes(self) -> None:
        """
        Credit of one byte at a time is slow, but works.
        """
        raw = RawAgent(self.proxy, frame(HELLO, 0, Hello(instance="raw", window=1024).encode()))
        self.proxy.mailbox.leave(self.other.session)
        self.proxy.ask(b"POST", framing=CHUNKED, body=b"x" * 1500)
        for _ in range(476):
            raw.say(numberFrame(CREDIT, 1, 1))
        self.assertEqual(raw.hear().data(1), b"x" * 1500)
        self.assertEqual(raw.peer.frames[-1][2], LAST)


class AtTheAgent(Case):
    """
    What proxies may do wrong.
    """

    def violate(
        self, *words: str, frames: list[bytes], code: int = 1002, asks: int = 1, hello: bool = True
    ) -> None:
        """
        See that something closes the tunnel.
        """
        raw = RawProxy(GREETING if hello else b"", maxExchanges=2)
        for number in range(asks):
            raw.request(number + 1, POST, flags=0)
        raw.say(*frames)
        self.check(raw, code, *words)

    def check(self, raw: RawProxy, code: int, *words: str) -> None:
        """
        See that it is closed, and why.
        """
        [(found, reason)] = raw.hear().closes
        self.assertEqual(found, code, reason)
        for word in words:
            self.assertIn(word, reason)
        self.assertTrue(raw.end.ended)
        self.assertEqual(raw.end.violations, [])
        self.assertIn(reason, self.successResultOf(raw.session.left))
        self.successResultOf(raw.session.gone)
        for asked in raw.origin.asked:
            self.assertIsNotNone(asked.fault)
            self.assertEqual(asked.violations, [])
        self.assertEqual(raw.session.streams, {})
        raw.session.linkEnded("the proxy closed the connection")
        raw.clock.pump([0.25] * 20)
        self.assertEqual(raw.clock.getDelayedCalls(), [])

    def test_beforeHello(self) -> None:
        """
        A frame before the HELLO.
        """
        request = requestFrame(1, b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.violate("before the HELLO", frames=[request], asks=0, hello=False)

    def test_hellos(self) -> None:
        """
        A second HELLO, and one of another major version.
        """
        self.violate("a second HELLO", frames=[GREETING])
        other = frame(HELLO, 0, b'{"version":"3.1"}')
        self.violate("3.1", frames=[other], asks=0, hello=False)

    def test_response(self) -> None:
        """
        A RESPONSE from a proxy.
        """
        self.violate("RESPONSE from a proxy", frames=[frame(RESPONSE, 1, OK)])

    def test_numbersGoUp(self) -> None:
        """
        The number of a stream that is not higher than the last, or 0.
        """
        head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        for number in (0, 1):
            self.violate("REQUEST", frames=[requestFrame(number, b"", head)])
        raw = RawProxy()
        for number in (3, 7, 1000):
            raw.request(number)
        self.assertEqual(raw.peer.closes, [])
        raw.say(requestFrame(999, b"", head))
        self.check(raw, 1002, "999", "1000")

    def test_unknownStream(self) -> None:
        """
        A frame for a stream that was never opened.
        """
        for kind in (DATA, END, RESET, CREDIT):
            for number in (0, 2, 0xFFFFFFFF):
                self.violate("never opened", frames=[frame(kind, number, b"\x00" * 8)])

    def test_tooManyStreams(self) -> None:
        """
        More streams than were allowed.
        """
        head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        self.violate("streams", frames=[requestFrame(9, b"", head)], asks=2)

    def test_overrun(self) -> None:
        """
        More DATA than there was credit for.
        """
        self.violate("credit", frames=[frame(DATA, 1, b"x" * (INITIAL + 1))])

    def test_badRequest(self) -> None:
        """
        A REQUEST that is none.
        """
        for payload in (b"", b"\x00", b"\x00\x05abc"):
            self.violate("REQUEST", frames=[frame(REQUEST, 5, payload)])

    def test_badHead(self) -> None:
        """
        A REQUEST whose head is none concerns that stream alone.
        """
        for payload in (b"\x00\x00nonsense", b"\x00\x00\r\n\r\n"):
            raw = RawProxy()
            raw.say(frame(REQUEST, 5, payload), frame(DATA, 5, b"x"))
            [(kind, number, _, said)] = raw.hear().frames[-1:]
            self.assertEqual((kind, number), (RESET, 5))
            self.assertTrue(said.startswith(b"bad-request "), said)
            self.assertEqual(raw.peer.closes, [])

    def test_badTrailers(self) -> None:
        """
        Trailers that are none.
        """
        raw = RawProxy()
        asked = raw.request(flags=0)
        raw.say(frame(END, 1, b"Content-Length: 5\r\n", LAST))
        self.assertIsNotNone(asked.fault)
        self.assertEqual(raw.hear().frames[-1][0], RESET)
        self.assertEqual(raw.peer.closes, [])

    def test_cutMessage(self) -> None:
        """
        A message that ends within a frame.
        """
        self.violate("within a frame", frames=[header(5, 1, DATA, 0) + b"abcd"])

    def test_webSocket(self) -> None:
        """
        What breaks the WebSocket.
        """
        for data, code, word in (
            (message(frame(99, 0), key=KEY), 1002, "mask"),
            (b"\x81\x01a", 1003, "text"),
        ):
            raw = RawProxy()
            raw.request(flags=0)
            raw.saw(data)
            self.check(raw, code, word)

    def test_unexpected(self) -> None:
        """
        An origin that fails on what it gets ends its exchange, and no other.
        """
        raw = RawProxy()
        asked = raw.request(flags=0)

        def explode(data: bytes) -> None:
            raise ZeroDivisionError

        asked.write = explode  # type: ignore[method-assign]
        raw.say(frame(DATA, 1, b"x"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(raw.hear().frames[-1][0], RESET)
        self.assertEqual(raw.peer.closes, [])

    def test_dataAfterEnd(self) -> None:
        """
        DATA after the end of a request reaches no origin: it would be bytes of nobody's on its connection.
        """
        for ends in ([], [frame(DATA, 1, b"abc", LAST)], [frame(END, 1, b"", LAST)]):
            raw = RawProxy()
            asked = raw.request(1, POST if ends else b"", 0 if ends else LAST)
            raw.say(*ends)
            raw.say(frame(DATA, 1, b"more"), frame(END, 1, b"", LAST))
            self.assertEqual(asked.violations, [])

    def test_largeResponse(self) -> None:
        """
        A head of a response that is larger than the proxy takes fails that exchange, and not the tunnel.
        """
        pair = Pair(limits=Limits(head=2048, trailers=1024))
        other, client = pair.ask(), pair.ask()
        pair.settle()
        pair.origin.asked[1].respond(block=b"\r\nX: " + b"y" * 10000)
        pair.settle()
        assert client.fault is not None
        self.assertEqual(client.fault.code, ORIGIN_BAD_RESPONSE)
        self.assertFalse(other.over)
        self.assertTrue(pair.proxy.isReady)

    def test_largeTrailers(self) -> None:
        """
        The same with trailers.
        """
        pair = Pair(limits=Limits(head=2048, trailers=1024))
        other, client = pair.ask(), pair.ask()
        pair.settle()
        pair.origin.asked[1].respond()
        pair.origin.asked[1].answer.finish(b"\r\nX: " + b"y" * 10000)
        pair.settle()
        self.assertIsNotNone(client.fault)
        self.assertFalse(other.over)

    def test_largeResponseWithinOpen(self) -> None:
        """
        Also when the origin answers before C{open} returns; it is told that nobody wants its answer.
        """
        pair = Pair(limits=Limits(head=2048, trailers=1024))
        pair.origin.opened = lambda asked: asked.respond(block=b"\r\nX: " + b"y" * 10000)
        client = pair.ask(b"POST", framing=CHUNKED)
        pair.settle()
        assert client.fault is not None
        self.assertEqual(client.fault.code, ORIGIN_BAD_RESPONSE)
        self.assertIsNotNone(pair.origin.asked[0].fault)

    def test_ignored(self) -> None:
        """
        Unknown types, flags and fields of a HELLO are no fault, nor are late frames and the numbers left out.
        """
        raw = RawProxy(frame(HELLO, 0, b'{"version":"1.9","colour":"red"}', 0xFF))
        asked = raw.request(7, POST, 0)
        raw.say(
            frame(99, 7, b"x", 0xFF),
            frame(DATA, 7, b"abc", 0xFE),
            frame(DATA, 3, b"never began"),
            frame(RESET, 2),
            frame(DATA, 7, b"def", 0xFF),
        )
        self.assertEqual((asked.body, asked.ends), (b"abcdef", [b""]))
        asked.reply()
        raw.say(frame(DATA, 7, b"late"), frame(END, 7, b"x"), frame(CREDIT, 7), frame(RESET, 7))
        self.assertEqual(raw.hear().closes, [])
        self.assertEqual(asked.violations, [])

    def test_requestAfterGoAway(self) -> None:
        """
        What comes after an agent's GOAWAY is not begun, nor is its body looked at.
        """
        raw = RawProxy()
        raw.request(1)
        raw.session.life.drain()
        raw.say(
            requestFrame(2, b"", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"),
            frame(DATA, 2, b"abc", LAST),
            frame(RESET, 2),
        )
        self.assertEqual(len(raw.origin.asked), 1)
        self.assertEqual(raw.peer.closes, [])
