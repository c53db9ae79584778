"""
Server and client as one chain, joined directly or by either carrier: what a client sends arrives at a backend, and what
that answers comes back, byte for byte, whatever is asked, however it is cut into pieces, and whoever stops reading
meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from invproxy.agent.origins import HTTPOrigin
from invproxy.client import StreamingClient
from invproxy.http1.fields import value
from invproxy.http1.framing import CHUNKED, UNTIL_CLOSE, lastChunk
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.readers import RequestReader, ResponseReader
from invproxy.server import StreamingSite
from invproxy.test.messages import Taker, examples
from invproxy.testing import InvertingPair, MemoryClient, MemoryNetwork

AT_HEAD, AT_FIRST_PIECE, AT_END = range(3)
"""When a backend answers."""


@frozen
class Plan:
    """
    One request and its response.

    @ivar method: the method.
    @ivar framing: of the request: C{CHUNKED}, 0 for none, or anything else for a length.
    @ivar pieces: of the body of the request.
    @ivar trailers: of the request, a block.
    @ivar minor: of the client's HTTP.
    @ivar upgrade: whether it asks for an upgrade; what is sent behind it is echoed then.
    @ivar when: when the backend answers.
    @ivar interim: how many interim responses it sends before.
    @ivar status: of the response.
    @ivar answerFraming: C{CHUNKED}, C{UNTIL_CLOSE}, or anything else for a length.
    @ivar answer: the pieces of the body of the response.
    @ivar answerTrailers: a block.
    @ivar closes: whether the backend closes after it.
    """

    method: bytes = b"GET"
    framing: int = 0
    pieces: tuple[bytes, ...] = ()
    trailers: bytes = b""
    minor: int = 1
    upgrade: bool = False
    when: int = AT_END
    interim: int = 0
    status: int = 200
    answerFraming: int = 0
    answer: tuple[bytes, ...] = ()
    answerTrailers: bytes = b""
    closes: bool = False

    @property
    def body(self) -> bytes:
        """
        The whole body of the request.
        """
        return b"".join(self.pieces)

    @property
    def bodyless(self) -> bool:
        """
        Has the response no body?
        """
        return self.method == b"HEAD" or self.status in (204, 304)

    def request(self, number: int) -> bytes:
        """
        Write the request.
        """
        lines = [b"%b /%d HTTP/1.%d" % (self.method, number, self.minor), b"Host: a"]
        content = self.body
        if self.upgrade:
            lines += [b"Connection: Upgrade", b"Upgrade: echo"]
        elif self.framing == CHUNKED:
            lines.append(b"Transfer-Encoding: chunked")
            content = _chunks(self.pieces, self.trailers)
        elif self.framing:
            lines.append(b"Content-Length: %d" % len(content))
        return b"\r\n".join(lines) + b"\r\n\r\n" + content

    def response(self) -> bytes:
        """
        Write the response.
        """
        lines = [b"HTTP/1.1 %d Reason" % self.status, b"X-Y: z"]
        content = b"".join(self.answer)
        if self.status == 101:
            lines += [b"Connection: Upgrade", b"Upgrade: echo"]
            content = b""
        elif self.answerFraming == CHUNKED:
            lines.append(b"Transfer-Encoding: chunked")
            content = _chunks(self.answer, self.answerTrailers)
        elif self.answerFraming != UNTIL_CLOSE and self.status != 204:
            lines.append(b"Content-Length: %d" % len(content))
        if self.closes:
            lines.append(b"Connection: close")
        head = b"\r\n".join(lines) + b"\r\n\r\n"
        interim = b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" * self.interim
        return interim + head + (b"" if self.bodyless else content)


def _chunks(pieces: tuple[bytes, ...], trailers: bytes) -> bytes:
    chunks = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return b"".join(chunks) + lastChunk(trailers)


@define
class Arrived:
    """
    A request as it came to the backend.
    """

    connection: Backend
    head: RequestHead
    plan: Plan
    answered: bool = False
    body: bytearray = field(factory=bytearray)
    trailers: bytes | None = None

    def write(self, data: bytes) -> None:
        self.body += data
        if self.plan.when == AT_FIRST_PIECE:
            self.respond()

    def finish(self, trailers: bytes = b"") -> None:
        self.trailers = trailers
        self.respond()

    def respond(self) -> None:
        """
        Send the response, if that was not done yet.
        """
        if not self.answered:
            self.answered = True
            self.connection.respond(self.plan)


@implementer(IHalfCloseableProtocol)
class Backend(Protocol):
    """
    A connection to the backend.
    """

    transport: Any

    def __init__(self, world: World) -> None:
        self.world = world
        self.raw = False

    def connectionMade(self) -> None:
        self.reader = RequestReader(DEFAULT_LIMITS, self.opened)
        self.world.backends.append(self)

    def opened(self, head: RequestHead) -> Arrived:
        number = int(head.target[1:])
        arrived = Arrived(self, head, self.world.plans[number])
        assert number not in self.world.arrived, "a request came twice"
        self.world.arrived[number] = arrived
        if arrived.plan.when == AT_HEAD:
            arrived.respond()
        return arrived

    def respond(self, plan: Plan) -> None:
        """
        Send a response.
        """
        self.transport.write(plan.response())
        if plan.status == 101:
            self.raw = True
            self.transport.write(self.reader.rest)
        elif plan.closes or (plan.answerFraming == UNTIL_CLOSE and not plan.bodyless):
            # To close upon unread bytes would be a reset, which may overtake the response.
            self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.raw:
            self.transport.write(data)
            return
        self.reader.feed(data)
        while self.reader.ended and not self.raw:
            self.reader.next()

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        Never asked for.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self in self.world.backends:
            self.world.backends.remove(self)


class World:
    """
    A client, a server, and the backend behind it.

    @ivar origin: what is asked by the server, or by the agent behind it.
    @cvar step: how many seconds pass between two looks at what has come.
    """

    step = 0.0

    def __init__(self, plans: list[Plan], capacity: int, segment: int) -> None:
        self.plans = plans
        self.network = MemoryNetwork(capacity=capacity)
        self.network.segment = segment
        self.arrived: dict[int, Arrived] = {}
        self.backends: list[Backend] = []
        factory = Factory.forProtocol(lambda: Backend(self))
        factory.noisy = False
        self.network.listenTCP(81, factory)
        self.client = self.join()

    def join(self) -> MemoryClient:
        """
        Put a server before the backend.

        @return: a client of it.
        """
        endpoint = TCP4ClientEndpoint(self.network, "127.0.0.1", 81)
        self.origin = StreamingClient(self.network, endpoint)
        self.site = StreamingSite(self.origin, self.network)
        self.network.listenTCP(80, self.site)
        return self.network.client("a", 80)

    def leave(self) -> None:
        """
        End everything, and see that nothing is left.
        """
        self.client.close()
        self.network.pump()
        assert not self.site._channels
        assert self.origin.connections == set(self.origin._kept)
        self.network.advance(5)
        assert not self.origin.connections
        assert not self.network.connections

    def act(self, action: int) -> None:
        """
        Do something that changes nothing in the end.
        """
        backend = self.backends[-1] if self.backends else None
        if action == 0:
            self.client.stopReading()
        elif action == 1:
            self.client.startReading()
        elif action == 2 and backend:
            backend.transport.pauseProducing()
        elif action == 3 and backend:
            backend.transport.resumeProducing()
        else:
            self.network.pump()

    def finish(self) -> None:
        """
        Let all come to its end.
        """
        self.client.startReading()
        before = -1
        while before != (before := len(self.arrived) + len(self.client.received)):
            for backend in self.backends:
                if not backend.transport.disconnecting:
                    backend.transport.resumeProducing()
            self.network.advance(self.step)


class CarriedWorld(World):
    """
    The same with a proxy as the server, and an agent between it and the backend.

    @cvar transport: how exchanges reach the agent.
    """

    transport = ""
    step = 0.5

    def join(self) -> MemoryClient:
        origin = HTTPOrigin.fromURL(self.network, "http://a:81")
        self.origin = origin._client
        self.pair = InvertingPair(origin, network=self.network, transport=self.transport)
        self.pair.start()
        return self.pair.client()

    def leave(self) -> None:
        self.client.close()
        self.network.pump()
        assert self.pair.proxy.resource.mailboxes.exchanges == {}
        assert self.pair.agent._run is not None
        assert self.pair.agent._run.carrier.countExchanges() == 0
        self.network.advance(5)
        assert not self.origin.connections
        self.pair.stop()
        assert self.network.connections == []
        assert self.network.getDelayedCalls() == []


class TunnelWorld(CarriedWorld):
    """
    With a tunnel.
    """

    transport = "tunnel"


class PollWorld(CarriedWorld):
    """
    With polls.
    """

    transport = "poll"


_bytes = st.one_of(
    st.binary(min_size=1, max_size=30),
    st.sampled_from([b"x" * 1000, b"0\r\n\r\n", b"y" * 70_000, b"GET / HTTP/1.1\r\n\r\n"]),
)
_bodies = st.lists(_bytes, max_size=4).map(tuple)
_blocks = st.sampled_from([b"", b"", b"\r\nX-Sum: 1", b"\r\nX-Sum: 1\r\nX-Two: 2"])


@st.composite
def plans(draw: st.DrawFn) -> list[Plan]:
    """
    What may be asked on one connection: the last request may be one of HTTP/1.0, or an upgrade.
    """
    found = []
    count = draw(st.integers(1, 5))
    for number in range(count):
        last = number == count - 1
        kind = draw(st.sampled_from(["1.1", "1.1", "1.0", "upgrade"])) if last else "1.1"
        interim = draw(st.integers(0, 2))
        if kind == "upgrade":
            raw = draw(_bodies)
            found.append(Plan(pieces=raw, upgrade=True, status=101, interim=interim))
            continue
        framing = draw(st.sampled_from([0, 1, CHUNKED] if kind == "1.1" else [0, 1]))
        answerFraming = draw(st.sampled_from([0, CHUNKED, CHUNKED, UNTIL_CLOSE]))
        found.append(
            Plan(
                method=draw(st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD"])),
                framing=framing,
                pieces=draw(_bodies) if framing else (),
                trailers=draw(_blocks) if framing == CHUNKED else b"",
                minor=1 if kind == "1.1" else 0,
                when=draw(st.sampled_from([AT_HEAD, AT_FIRST_PIECE, AT_END, AT_END])),
                interim=interim,
                status=draw(st.sampled_from([200, 200, 200, 404, 204, 304])),
                answerFraming=answerFraming,
                answer=draw(_bodies),
                answerTrailers=draw(_blocks) if answerFraming == CHUNKED else b"",
                closes=draw(st.integers(0, 3)) == 0,
            )
        )
    return found


@frozen
class Course:
    """
    What happens on one connection of a client.

    @ivar plans: what is asked.
    @ivar steps: how many bytes to send, and what to do then.
    @ivar capacity: of the network.
    @ivar segment: of the network.
    """

    plans: list[Plan]
    steps: list[tuple[int, int]]
    capacity: int
    segment: int


courses = st.builds(
    Course,
    plans(),
    st.lists(st.tuples(st.integers(1, 200_000), st.integers(0, 5)), max_size=12),
    st.sampled_from([4096, 65536, 65536]),
    st.sampled_from([100, 1000, 65536, 65536]),
)


if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object


class Chain(_Base):
    """
    Bytes in are bytes out.

    @cvar world: what is between.
    """

    world: type[World]

    def take(self, plan: Plan, data: bytes) -> tuple[Taker, bytes]:
        """
        Read one response.

        @return: it, and what stands behind it.
        """
        taker = Taker()
        upgrade = b"echo" if plan.upgrade else None
        reader = ResponseReader(
            DEFAULT_LIMITS, RequestHead(plan.method, b"/", upgrade=upgrade), taker
        )
        reader.feed(data)
        reader.eof()
        self.assertTrue(taker.finished, data[-200:])
        return taker, reader.rest

    def assertRequest(self, plan: Plan, arrived: Arrived) -> None:
        """
        The backend got what was sent; less, if it answered before the end.
        """
        self.assertEqual(arrived.head.method, plan.method)
        if plan.upgrade:
            return
        if arrived.trailers is not None:
            self.assertEqual((bytes(arrived.body), arrived.trailers), (plan.body, plan.trailers))
        else:
            self.assertNotEqual(plan.when, AT_END)
            self.assertTrue(plan.body.startswith(bytes(arrived.body)))

    def assertResponse(self, plan: Plan, taker: Taker) -> None:
        """
        The client got what was answered.
        """
        assert isinstance(taker.head, ResponseHead)
        self.assertEqual(taker.head.status, plan.status)
        self.assertEqual(len(taker.interim), plan.interim * plan.minor)
        self.assertEqual(value(taker.head.fields, b"x-y"), b"z")
        expected = plan.body if plan.upgrade else b"" if plan.bodyless else b"".join(plan.answer)
        self.assertEqual(taker.body, expected)
        if taker.head.framing == CHUNKED:
            self.assertEqual(taker.trailers, plan.answerTrailers)

    def carry(self, course: Course) -> None:
        """
        Send all of it pipelined.
        """
        plans = course.plans
        world = self.world(plans, course.capacity, course.segment)
        data = b"".join(plan.request(number) for number, plan in enumerate(plans))
        for size, action in course.steps:
            world.client.send(data[:size])
            data = data[size:]
            world.act(action)
        world.client.send(data)
        world.finish()
        if plans[-1].upgrade:
            world.client.closeWrite()
            world.finish()
        received = world.client.take()
        for number, plan in enumerate(plans):
            self.assertRequest(plan, world.arrived[number])
            taker, received = self.take(plan, received)
            self.assertResponse(plan, taker)
        self.assertEqual(received, b"")
        world.leave()


class ChainTests(Chain, SynchronousTestCase):
    """
    Joined directly.
    """

    world = World

    @given(courses)
    @examples(60)
    def test_anything(self, course: Course) -> None:
        """
        All of it pipelined, cut anywhere, with pauses anywhere.
        """
        self.carry(course)


class TunnelChainTests(Chain, SynchronousTestCase):
    """
    Joined by a tunnel.
    """

    world = TunnelWorld

    @given(courses)
    @examples(60)
    def test_anything(self, course: Course) -> None:
        """
        The same.
        """
        self.carry(course)


class PollChainTests(Chain, SynchronousTestCase):
    """
    Joined by polls.
    """

    world = PollWorld

    @given(courses)
    @examples(60)
    def test_anything(self, course: Course) -> None:
        """
        The same.
        """
        self.carry(course)
