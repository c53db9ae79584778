"""
Both ends of a tunnel joined in memory, and each end alone with a peer that may break the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.trial.unittest import SynchronousTestCase

from invproxy.agent.settings import AgentSettings
from invproxy.agent.tunneler import AgentSession, TunnelLost
from invproxy.clocks import Clocks
from invproxy.credential import OPEN, Credential
from invproxy.deadlines import Deadlines
from invproxy.errors import CLIENT_GONE, Fault
from invproxy.exchange import Exchange
from invproxy.http1.limits import DEFAULT_LIMITS, Limits
from invproxy.mailbox import Mailboxes
from invproxy.proxy.tunneling import ProxySession
from invproxy.proxy.tunnels import Tunnels
from invproxy.test.helpers import requestHead
from invproxy.test.tunnelends import AgentEnd, Asked, Client, FakeOrigin, ProxyEnd
from invproxy.wire.frames import DATA, HELLO, LAST, FrameReader, frame, requestFrame
from invproxy.wire.hello import Hello
from invproxy.wire.websocket import MessageDecoder, binaryHeader, mask

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


class Proxy:
    """
    A proxy without a network.

    @ivar clock: tells the time.
    @ivar ended: the exchanges that are over, in order.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS, timeout: float = 15.0) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.deadlines = Deadlines(self.clock)
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
            Credential(OPEN, "", ""),
            end,
            self.clock,
            self.deadlines,
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
            deadlines=self.deadlines,
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
        self.agentDeadlines = Deadlines(self.clock)
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
            self.clock, self.agentDeadlines, self.origin, self.settings, instance, self.slot
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
        self.deadlines = Deadlines(self.clock)
        self.origin = FakeOrigin()
        self.end = AgentEnd()
        self.session = AgentSession(
            self.clock, self.deadlines, self.origin, AgentSettings(**settings), "agent", 0
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


class PairCase(Case):
    """
    A tunnel between a proxy and an agent, neither of which breaks a rule.
    """

    def setUp(self) -> None:
        self.pair = Pair()

    def tearDown(self) -> None:
        self.assertEqual(self.pair.violations(), [])

    def exchange(self, *args: Any, **options: Any) -> tuple[Client, Asked]:
        """
        Ask, and let it come to the origin.
        """
        client = self.pair.ask(*args, **options)
        self.pair.settle()
        return client, self.pair.origin.asked[-1]
