"""
Where the cases are played: a proxy and an agent in memory, a backend that takes down what it is asked, and clients that
read what they get. Backend and clients understand HTTP by h11, which is not ours.
"""

from __future__ import annotations

from typing import Any

import h11
from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from invproxy.agent.origins import HTTPOrigin
from invproxy.proxy.settings import ProxySettings
from invproxy.test.hostile.cases import LIMITS
from invproxy.testing import InvertingPair, MemoryClient, MemoryNetwork

_MOST = 1 << 20
_PACE = 1e-6
_ADDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"via")

HOSTILE = b"/hostile"
"""The target for which the backend answers as it was told to."""


def pairsOf(headers: Any) -> list[tuple[bytes, bytes]]:
    """
    Fields as h11 has them, in the case in which they came.
    """
    return [(bytes(name), bytes(value)) for name, value in headers.raw_items()]


def linesOf(pairs: list[tuple[bytes, bytes]]) -> tuple[bytes, ...]:
    """
    Fields as lines.
    """
    return tuple(name + b": " + value if value else name + b":" for name, value in pairs)


@define
class Asked:
    """
    One request as the backend understood it.

    @ivar first: method and target.
    @ivar fields: its field lines, but for those that the proxy adds.
    @ivar added: the values of those, by their names in small letters.
    @ivar connection: the number of the connection on which it came.
    """

    first: bytes
    fields: tuple[bytes, ...]
    added: dict[bytes, list[bytes]]
    connection: int
    body: bytes = b""
    trailers: tuple[bytes, ...] = ()
    whole: bool = False

    @property
    def target(self) -> bytes:
        return self.first.partition(b" ")[2]


class BackendConnection(Protocol):
    """
    One connection to the backend.
    """

    transport: Any

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._asked: Asked | None = None

    def connectionMade(self) -> None:
        self._backend.connections += 1
        self._number = self._backend.connections
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST)

    def dataReceived(self, data: bytes) -> None:
        self._backend.received += data
        try:
            self._parser.receive_data(data)
            while self._advance(self._parser.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self._backend.complaints.append(str(error))
            self.transport.loseConnection()

    def _advance(self, event: Any) -> bool:
        asked = self._asked
        if isinstance(event, h11.Request):
            self._asked = self._backend.begin(event, self._number)
            if self._parser.they_are_waiting_for_100_continue:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif isinstance(event, h11.Data):
            assert asked is not None
            asked.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert asked is not None
            asked.trailers = linesOf(pairsOf(event.headers))
            asked.whole = True
            behind = self._parser.trailing_data[0]
            self._asked = None
            # Another one for each request, so that this one need not know what is answered.
            self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST)
            if behind:  # nothing would be taken for the end
                self._parser.receive_data(behind)
            self._backend.answer(asked, self.transport)
        else:
            return False
        return True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._backend.lost += 1


class Backend:
    """
    Takes down what it is asked, and answers each request with its own first line, but for L{HOSTILE}.

    @ivar asked: all requests, oldest first.
    @ivar complaints: what h11 did not understand.
    @ivar connections: how many there were; C{lost}, how many are gone.
    @ivar received: all bytes that came.
    @ivar hostile: what to answer then, and whether to close.
    @ivar piecewise: whether to do it byte by byte.
    @ivar last: the connection on which an answer was given last.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.asked: list[Asked] = []
        self.complaints: list[str] = []
        self.connections = 0
        self.lost = 0
        self.received = bytearray()
        self.hostile: tuple[bytes, bool] = (b"", False)
        self.piecewise = False
        self.last: Any = None

    def begin(self, event: Any, connection: int) -> Asked:
        """
        Take down the head of a request.
        """
        added: dict[bytes, list[bytes]] = {}
        kept = []
        for name, value in pairsOf(event.headers):
            if name.lower() in _ADDED:
                added.setdefault(name.lower(), []).append(value)
            else:
                kept.append((name, value))
        asked = Asked(
            bytes(event.method) + b" " + bytes(event.target), linesOf(kept), added, connection
        )
        self.asked.append(asked)
        return asked

    def answer(self, asked: Asked, transport: Any) -> None:
        """
        Answer a request.
        """
        self.last = transport
        if asked.target != HOSTILE:
            body = asked.first
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            transport.write(head + (b"" if body.startswith(b"HEAD ") else body))
            return
        data, ends = self.hostile
        self._send(transport, data, 1 if self.piecewise else len(data), ends)

    def _send(self, transport: Any, data: bytes, size: int, ends: bool) -> None:
        transport.write(data[:size])
        if len(data) > size:
            self._clock.callLater(_PACE, self._send, transport, data[size:], size, ends)
        elif ends:
            transport.loseConnection()


@define
class Answered:
    """
    One answer as a client understood it.

    @ivar status: its status.
    @ivar fields: its field lines but Date.
    @ivar interim: the statuses before.
    @ivar whole: whether its end came.
    """

    status: int = 0
    fields: tuple[bytes, ...] = ()
    interim: list[int] = field(factory=list)
    body: bytes = b""
    whole: bool = False

    @property
    def names(self) -> list[bytes]:
        return [line.partition(b":")[0].lower() for line in self.fields]


def readAnswers(data: bytes, methods: list[bytes], ended: bool) -> list[Answered]:
    """
    Read all that a client got.

    @param methods: of the requests; GET for those beyond.
    @param ended: whether the connection has ended.
    """
    found: list[Answered] = []
    asked = list(methods)
    while data:
        answered = Answered()
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST)
        method = asked.pop(0) if asked else b"GET"
        parser.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
        parser.send(h11.EndOfMessage())
        parser.receive_data(data)
        if ended:
            parser.receive_data(b"")
        data = _readOne(parser, answered)
        found.append(answered)
    return found


def _readOne(parser: h11.Connection, answered: Answered) -> bytes:
    try:
        while True:
            event = parser.next_event()
            if isinstance(event, h11.InformationalResponse):
                answered.interim.append(event.status_code)
            elif isinstance(event, h11.Response):
                answered.status = event.status_code
                lines = linesOf(pairsOf(event.headers))
                answered.fields = tuple(line for line in lines if not line.startswith(b"Date:"))
            elif isinstance(event, h11.Data):
                answered.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                answered.whole = True
                return bytes(parser.trailing_data[0])
            else:
                return b""
    except h11.RemoteProtocolError:
        return b""


class Stage:
    """
    The proxy, the agent and the backend, for as many cases as they survive.

    @ivar backend: the backend.
    @ivar network: the network.
    """

    def __init__(self, transport: str) -> None:
        """
        @param transport: how exchanges reach the agent.
        """
        self.network = MemoryNetwork()
        self.backend = Backend(self.network)
        self._transport = transport
        factory = Factory.forProtocol(lambda: BackendConnection(self.backend))
        factory.noisy = False
        self.network.listenTCP(81, factory)
        origin = HTTPOrigin.fromURL(self.network, "http://origin:81")
        origin._client.limits = LIMITS
        self.pool = origin._client
        self.pair = InvertingPair(
            origin,
            network=self.network,
            transport=transport,
            proxySettings=ProxySettings(limits=LIMITS),
        )
        self.pair.start()
        self.links = self._tunnels()

    def _tunnels(self) -> list[Any]:
        """
        The connections of the agent to the proxy, where they are to last.
        """
        return list(self.network.connections) if self._transport == "tunnel" else []

    def send(self, client: MemoryClient, data: bytes, *, piecewise: bool = False) -> None:
        """
        Let a client send something, and all go as far as it can.
        """
        if piecewise:
            for at in range(len(data)):
                client.send(data[at : at + 1])
                self.network.pump()
        else:
            client.send(data)
        self.settle()

    def settle(self) -> None:
        """
        Let all go as far as it can.
        """
        self.network.advance(0.01)

    def ask(self, client: MemoryClient, target: bytes) -> tuple[list[Answered], Asked | None]:
        """
        Let a client ask for something harmless.

        @return: what it gets, and what the backend was asked.
        """
        client.take()
        count = len(self.backend.asked)
        self.send(client, b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
        answers = readAnswers(client.take(), [b"GET"], client.ended)
        asked = self.backend.asked[count:]
        return answers, asked[0] if len(asked) == 1 else None

    def leave(self, client: MemoryClient) -> None:
        """
        Let a client go.
        """
        client.abort()
        self.settle()

    def exchanges(self) -> int:
        """
        How many exchanges the proxy and the agent have in hand.
        """
        assert self.pair.agent._run is not None
        return (
            len(self.pair.proxy.resource.mailboxes.exchanges)
            + self.pair.agent._run.carrier.countExchanges()
        )

    def close(self) -> None:
        """
        Stop everything.
        """
        self.pair.stop()

    def sameLinks(self) -> bool:
        """
        Say whether the tunnels are those of the beginning.
        """
        return all(link in self.network.connections for link in self.links)
