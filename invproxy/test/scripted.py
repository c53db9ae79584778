"""
The other ends of an agent, for its tests: a proxy and an origin of which each byte is written by hand.
"""

from __future__ import annotations

import json
from typing import Any, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from invproxy.agent.service import AgentService
from invproxy.agent.settings import AgentSettings
from invproxy.errors import Fault
from invproxy.http1.heads import RequestHead, responseHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.parsing import parseRequest
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.test.played import PlayedTunnel
from invproxy.testing import MemoryNetwork
from invproxy.wire.handshake import accept

FEATURES = b"X-Inverting-Proxy-Features: interim, upgrade\r\n"


def response(status: int, body: bytes = b"", fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d Whatever\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status,
        fields,
        len(body),
        body,
    )


@implementer(IHalfCloseableProtocol)
class Wire(Protocol):
    """
    One connection to a L{RawServer}.

    @ivar received: what came and was not taken yet.
    @ivar ended: whether the other end has closed its direction.
    @ivar lost: why the connection is gone, or L{None}.
    """

    transport: ITCPTransport

    def __init__(self, server: RawServer) -> None:
        self.server = server
        self.received = bytearray()
        self.ended = False
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.ended = True

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason

    def take(self) -> bytes:
        """
        Get what came, and forget it.
        """
        data = bytes(self.received)
        self.received.clear()
        return data

    def send(self, data: bytes) -> None:
        """
        Write bytes, and let them arrive.
        """
        self.transport.write(data)
        self.server.network.pump()

    def close(self) -> None:
        """
        Close it once all is sent.
        """
        self.transport.loseConnection()
        self.server.network.pump()

    def abort(self) -> None:
        """
        Reset it.
        """
        self.transport.abortConnection()
        self.server.network.pump()

    def freeze(self) -> None:
        """
        Let nothing arrive any more.
        """
        self.server.network.freeze(self.transport)


class RawServer(Factory):
    """
    A server of bytes.

    @ivar wires: its connections, in the order in which they came.
    """

    noisy = False
    kind: type[Wire] = Wire

    def __init__(self, network: MemoryNetwork, port: int | str) -> None:
        self.network = network
        self.wires: list[Any] = []
        if isinstance(port, str):
            self.port = network.listenUNIX(port, self)
        else:
            self.port = network.listenTCP(port, self)

    def buildProtocol(self, addr: object) -> Wire:
        wire = self.kind(self)
        self.wires.append(wire)
        return wire


class Call:
    """
    One call of an agent.

    @ivar wire: the connection on which it came.
    @ivar line: the request line.
    @ivar fields: values by lower-case names.
    @ivar body: what has come of its body.
    @ivar whole: whether it has come to its end.
    """

    def __init__(self, wire: ProxyWire, head: bytes) -> None:
        self.wire = wire
        self.head = head
        self.line, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = self.line.split(" ")
        pairs = [line.partition(":") for line in lines]
        self.fields = {name.lower(): text.strip() for name, _, text in pairs}
        self.body = b""
        self.chunked = self.fields.get("transfer-encoding") == "chunked"
        self.whole = not self.chunked
        self.answered = False

    @property
    def id(self) -> str | None:
        return self.fields.get("x-inverting-proxy-request-id")

    @property
    def lost(self) -> bool:
        return self.wire.lost is not None

    def send(self, data: bytes) -> None:
        """
        Send bytes of the answer.
        """
        self.answered = True
        self.wire.send(data)

    def answer(self, status: int, body: bytes = b"", fields: bytes = b"") -> None:
        """
        Send a whole answer.
        """
        head = b"HTTP/1.1 %d Whatever\r\n%bContent-Length: %d\r\n\r\n" % (status, fields, len(body))
        self.send(head + body)

    def serve(
        self, request: bytes, *, features: bytes = FEATURES, fields: bytes = b"", end: bool = True
    ) -> None:
        """
        Answer a fetch with a request.

        @param end: whether that is all; else L{more} and L{end} send the rest.
        """
        self.send(
            b"HTTP/1.1 200 OK\r\n%b%bX-Inverting-Proxy-Request-Start-Time: 2026-11-22T12:46:34.123456789Z\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" % (features, fields)
        )
        self.more(request)
        if end:
            self.end()

    def more(self, data: bytes) -> None:
        """
        Send more of a chunked answer.
        """
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """
        End a chunked answer.
        """
        self.send(b"0\r\n\r\n")

    def accept(self, *, greets: bool = True, **said: Any) -> PlayedTunnel:
        """
        Agree to a tunnel.

        @param greets: whether to send a HELLO, too.
        @param said: what it says.
        """
        head = accept(parseRequest(self.head + b"\r\n\r\n", DEFAULT_LIMITS))
        self.wire.tunnel = tunnel = PlayedTunnel(
            self.wire.transport.write, self.wire.server.network.pump, isClient=False
        )
        self.send(head.encode())
        if greets:
            tunnel.greet(**said)
        return tunnel


class ProxyWire(Wire):
    """
    One connection of an agent.
    """

    call: Call | None = None
    tunnel: PlayedTunnel | None = None

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.feed(data)
            return
        self.received += data
        while self._parse():
            pass

    def _parse(self) -> bool:
        call = self.call
        if call is None or call.whole:
            head, blank, rest = bytes(self.received).partition(b"\r\n\r\n")
            if not blank:
                return False
            self.received[:] = rest
            self.call = call = Call(self, head)
            self.server.called(call)  # type: ignore[attr-defined]
            return bool(rest)
        size, blank, rest = bytes(self.received).partition(b"\r\n")
        length = int(size, 16) if blank else 0
        if not blank or len(rest) < length + 2:
            return False
        call.body += rest[:length]
        self.received[:] = rest[length + 2 :]
        call.whole = not length
        return bool(self.received)


class ScriptedProxy(RawServer):
    """
    A proxy that answers the readiness probe, and leaves everything else to the test.

    @ivar calls: all calls that came.
    @ivar probes: what is answered to the next probes; then 404. L{None} answers nothing.
    @ivar patience: seconds after which a parked poll is answered with nothing, or L{None} for never.
    """

    patience: float | None = None

    kind = ProxyWire

    def __init__(self, network: MemoryNetwork, port: int = 8080) -> None:
        super().__init__(network, port)
        self.calls: list[Call] = []
        self.probes: list[bytes | None] = []
        self.offered: set[str] = set()

    def called(self, call: Call) -> None:
        self.calls.append(call)
        if call.target.endswith("/agent/pending") and self.patience is not None:
            self.network.callLater(self.patience, self._end, call)
        if call.target.endswith("/agent/request") and call.id not in self.offered:
            answer = (
                self.probes.pop(0)
                if self.probes
                else b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"
            )
            call.answered = True
            if answer is not None:
                call.wire.transport.write(answer)

    def _end(self, poll: Call) -> None:
        if not poll.answered and not poll.lost:
            poll.answered = True
            poll.wire.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")

    def of(self, what: str) -> list[Call]:
        """
        The calls of one kind.
        """
        return [call for call in self.calls if call.target.endswith(f"/agent/{what}")]

    @property
    def polls(self) -> list[Call]:
        """
        The polls that are parked.
        """
        return [call for call in self.of("pending") if not call.answered and not call.lost]

    def offer(self, *ids: str, body: bytes | None = None) -> None:
        """
        Answer a parked poll.
        """
        self.offered.update(ids)
        self.polls[0].answer(200, json.dumps(ids).encode() if body is None else body)

    def fetches(self, identifier: str = "one") -> list[Call]:
        """
        The calls that fetch a request.
        """
        self.network.pump()
        return [call for call in self.of("request") if call.id == identifier]

    @property
    def handshakes(self) -> list[Call]:
        """
        The calls for a tunnel that nobody has answered, and that are still there.
        """
        self.network.pump()
        return [call for call in self.of("tunnel") if not call.answered and not call.lost]

    def posts(self, identifier: str = "one") -> list[Call]:
        """
        The calls that bring a response.
        """
        self.network.pump()
        return [call for call in self.of("response") if call.id == identifier]


@implementer(IUpload)
class RecordingUpload:
    """
    The origin's end of an exchange.

    @ivar body: what came of the request's body.
    @ivar trailers: those of the request; L{None} until its end.
    @ivar fault: why it was broken off.
    @ivar held: whether the answer shall be held back.
    """

    def __init__(self, head: RequestHead, answer: IAnswer) -> None:
        self.head = head
        self.answer = answer
        self.body = b""
        self.trailers: bytes | None = None
        self.fault: Fault | None = None
        self.held = False

    def write(self, data: bytes) -> None:
        self.body += data

    def finish(self, trailers: bytes = b"") -> None:
        self.trailers = trailers

    def abort(self, fault: Fault) -> None:
        self.fault = fault

    def pauseAnswer(self) -> None:
        self.held = True

    def resumeAnswer(self) -> None:
        self.held = False

    def reply(self, body: bytes = b"hi", fields: bytes = b"") -> None:
        """
        Give a whole answer.
        """
        self.answer.respond(responseHead(200, b"OK", fields, length=len(body)))
        self.answer.write(body)
        self.answer.finish()


@implementer(IOrigin)
class RecordingOrigin:
    """
    An origin that leaves answering to the test.

    @ivar uploads: all exchanges.
    """

    closed = 0

    def __init__(self) -> None:
        self.uploads: list[RecordingUpload] = []

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        upload = RecordingUpload(head, answer)
        self.uploads.append(upload)
        return upload

    def close(self) -> None:
        self.closed += 1


class AgentTestCase(SynchronousTestCase):
    """
    An agent on a network in memory, with a L{ScriptedProxy}.

    @cvar transport: that of its agents, unless they are told another.
    """

    transport = "poll"

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.network.advance(1000)  # as no real clock shows 0
        self.proxy = ScriptedProxy(self.network)
        self.origin = RecordingOrigin()
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.patch(__import__("random"), "random", lambda: 1.0)

    def observe(self, event: LogEvent) -> None:
        """
        Take down what anybody logs.
        """
        self.events.append(event)

    def agent(
        self, origin: IOrigin | None = None, *, url: str = "http://proxy.test:8080", **settings: Any
    ) -> AgentService:
        """
        Start an agent.
        """
        settings.setdefault("transport", self.transport)
        agent = AgentService(
            self.network, url, "web", origin or self.origin, AgentSettings(**settings)
        )
        self.start(agent)
        return agent

    def start(self, agent: AgentService) -> None:
        """
        Start it, and see at the end of the test that nothing is left of it.
        """
        agent.startService()
        self.network.pump()
        self.addCleanup(self.stop, agent)

    def stop(self, agent: AgentService) -> None:
        if agent.running:
            self.network.resultOf(agent.stopService())
        for link in self.network.connections:
            link.frozen = False
        self.network.pump()
        self.assertEqual([wire for wire in self.proxy.wires if wire.lost is None], [])

    def lines(self, least: LogLevel = LogLevel.info) -> list[str]:
        """
        What the agent has logged.
        """
        return [
            formatEvent(event)
            for event in self.events
            if event.get("log_namespace", "").startswith("invproxy") and event["log_level"] >= least
        ]

    def everything(self) -> str:
        """
        Everything that was logged by anybody, values and failures included.
        """
        return "\n".join(f"{formatEvent(event)} {event!r}" for event in self.events)

    def begin(
        self,
        request: bytes = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
        identifier: str = "one",
        **options: Any,
    ) -> Call:
        """
        Offer an exchange and serve its request.

        @return: the fetch.
        """
        self.proxy.offer(identifier)
        fetch = self.proxy.fetches(identifier)[-1]
        fetch.serve(request, **options)
        return fetch
