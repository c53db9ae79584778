"""
Clients and agents that write their calls by hand, byte by byte, to a proxy on a network in memory.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.resource import Resource
from twisted.web.server import Site

from invproxy.http1.fields import items, value
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.readers import ResponseReader
from invproxy.proxy.root import ProxyResource
from invproxy.proxy.settings import ProxySettings
from invproxy.resources import ResourceOrigin
from invproxy.server import StreamingSite
from invproxy.test.played import PlayedTunnel
from invproxy.testing import MemoryClient, MemoryNetwork

OURS = b"X-Inverting-Proxy-Features: interim, upgrade\r\n"
"""The line by which our own agents are known."""


HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: invproxy.v1\r\n"
)
"""The lines of a handshake for a tunnel, with the key of the example in RFC 6455."""


class Reply:
    """
    What has come of a response.

    @ivar status: its status, or 0 if no head has come.
    @ivar reason: its reason phrase.
    @ivar fields: its block of fields.
    @ivar body: what has come of its body.
    @ivar trailers: the block of its trailers.
    @ivar interim: the statuses of interim responses.
    @ivar whole: whether it has come to its end.
    """

    def __init__(self, data: bytes, method: bytes) -> None:
        self.status = 0
        self.reason = b""
        self.fields = b""
        self.body = b""
        self.trailers = b""
        self.interim: list[int] = []
        self.whole = False
        head = RequestHead(method, b"/", upgrade=b"any")
        self.reader = ResponseReader(DEFAULT_LIMITS, head, self)
        self.reader.feed(data)

    def inform(self, head: ResponseHead) -> None:
        self.interim.append(head.status)

    def respond(self, head: ResponseHead) -> None:
        self.status = head.status
        self.reason = head.reason[1:]
        self.fields = head.fields

    def write(self, data: bytes) -> None:
        self.body += data

    def finish(self, trailers: bytes = b"") -> None:
        self.trailers = trailers
        self.whole = True

    def value(self, name: bytes) -> bytes | None:
        """
        Look up a field.
        """
        return value(self.fields, name)


class Call:
    """
    One request, and what comes back, on a connection of its own.

    @ivar client: the connection.
    """

    def __init__(self, client: MemoryClient, method: bytes) -> None:
        self.client = client
        self._method = method

    @property
    def reply(self) -> Reply:
        """
        What has come so far.
        """
        return Reply(bytes(self.client.received), self._method)

    @property
    def status(self) -> int:
        """
        The status of the reply, or 0.
        """
        return self.reply.status

    @property
    def error(self) -> str:
        """
        The code of an error answer, or an empty string.
        """
        return (self.reply.value(b"X-Inverting-Proxy-Error") or b"").decode()

    @property
    def isClosed(self) -> bool:
        """
        Has the proxy closed the connection?
        """
        return self.client.ended or self.client.closed is not None

    @property
    def isCut(self) -> bool:
        """
        Did the connection end before the reply?
        """
        return self.isClosed and not self.reply.whole

    def send(self, data: bytes) -> None:
        """
        Send more bytes, as they are.
        """
        self.client.send(data)
        self.client._network.pump()

    def chunk(self, data: bytes) -> None:
        """
        Send one chunk of the body.
        """
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self, trailers: bytes = b"") -> None:
        """
        Send the last chunk.
        """
        self.send(b"0\r\n%b\r\n" % trailers)

    def leave(self) -> None:
        """
        Reset the connection.
        """
        self.client.abort()
        self.client._network.pump()


class AgentTunnel(PlayedTunnel):
    """
    The agent's end of a tunnel.

    @ivar call: the handshake.
    """

    def __init__(self, call: Call, network: MemoryNetwork) -> None:
        super().__init__(call.client.send, network.pump, isClient=True)
        self.call = call
        head, blank, rest = call.client.take().partition(b"\r\n\r\n")
        self.head = head + blank
        setattr(call.client, "dataReceived", self.feed)  # noqa: B010
        self.feed(rest)
        network.pump()

    @property
    def isClosed(self) -> bool:
        """
        Has the proxy closed the connection?
        """
        return self.call.isClosed


class Bench:
    """
    A proxy on a network in memory.

    @ivar network: the network, which is the clock.
    @ivar proxy: the L{ProxyResource}.
    @ivar prefix: where it is mounted.
    """

    def __init__(
        self,
        settings: ProxySettings | None = None,
        *,
        stock: bool = False,
        prefix: bytes = b"",
        capacity: int = 65536,
        **options: Any,
    ) -> None:
        """
        @param settings: of the proxy.
        @param stock: whether a L{Site} of twisted.web serves it instead of ours.
        @param prefix: a path, such as C{b"/a/b"}, at which it is mounted in a tree of Resources.
        @param capacity: bytes in flight on each connection.
        @param options: settings one by one.
        """
        self.network = MemoryNetwork(capacity=capacity)
        self.network.advance(1_800_000_000)
        self.prefix = prefix
        settings = settings or ProxySettings(**options)
        self.proxy = self.makeProxy(settings)
        root: Any = self.proxy
        for segment in reversed(prefix.split(b"/")[1:]):
            outer = Resource()
            outer.putChild(segment, root)
            root = outer
        site: Any
        if stock:
            site = Site(root, reactor=self.network)
            site.timeOut = None
        else:
            origin = ResourceOrigin(root, clock=self.network) if prefix else root
            site = StreamingSite(
                origin, self.network, isAgentCall=self.proxy.isAgentCall, limits=settings.limits
            )
        self.site = site
        TCP4ServerEndpoint(self.network, 8080).listen(site)
        self.network.pump()

    def makeProxy(self, settings: ProxySettings) -> ProxyResource:
        """
        Make the proxy.
        """
        return ProxyResource(self.network, settings)

    def raw(self, data: bytes, *, address: str | None = None, method: bytes = b"GET") -> Call:
        """
        Send bytes on a new connection.
        """
        client = self.network.client("127.0.0.1", 8080, address=address)
        client.send(data)
        self.network.pump()
        return Call(client, method)

    def ask(
        self,
        method: bytes = b"GET",
        target: bytes = b"/",
        fields: bytes = b"",
        body: bytes = b"",
        *,
        host: bytes = b"web.example",
        address: str | None = None,
    ) -> Call:
        """
        Send a client's request.

        @param fields: lines, each with its CRLF.
        @param body: bytes as they go out behind the head; a Content-Length is up to the caller.
        """
        head = b"%b %b%b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (
            method,
            self.prefix,
            target,
            host,
            fields,
        )
        return self.raw(head + body, address=address, method=method)

    def post(self, body: bytes, target: bytes = b"/", fields: bytes = b"") -> Call:
        """
        Send a client's POST with a body of known length.
        """
        return self.ask(b"POST", target, fields + b"Content-Length: %d\r\n" % len(body), body)

    def poll(self, backend: bytes = b"web", fields: bytes = b"") -> Call:
        """
        Make an C{agent/pending} call.
        """
        return self.call(b"GET", b"pending", backend, fields)

    def call(
        self, method: bytes, path: bytes, backend: bytes | None, fields: bytes, body: bytes = b""
    ) -> Call:
        """
        Make an agent's call.
        """
        named = b"" if backend is None else b"X-Inverting-Proxy-Backend-ID: %b\r\n" % backend
        head = b"%b %b/agent/%b HTTP/1.1\r\nHost: proxy.example\r\n%b%b\r\n" % (
            method,
            self.prefix,
            path,
            named,
            fields,
        )
        return self.raw(head + body, method=method)

    def pending(self, backend: bytes = b"web", fields: bytes = b"") -> list[bytes]:
        """
        Make an C{agent/pending} call that is answered at once.

        @return: the IDs.
        """
        return idsOf(self.poll(backend, fields))

    def fetch(self, identifier: bytes, fields: bytes = b"", backend: bytes = b"web") -> Call:
        """
        Make an C{agent/request} call.
        """
        return self.call(b"GET", b"request", backend, _named(identifier) + fields)

    def stall(self, identifier: bytes) -> MemoryClient:
        """
        Make an C{agent/request} call whose answer is not read.

        @return: the connection.
        """
        agent = self.network.client("127.0.0.1", 8080)
        agent.stopReading()
        agent.send(
            b"GET /agent/request HTTP/1.1\r\nHost: a\r\nX-Inverting-Proxy-Backend-ID: web\r\n%b\r\n"
            % _named(identifier)
        )
        self.network.pump()
        return agent

    def respond(
        self,
        identifier: bytes,
        inner: bytes | None = None,
        fields: bytes = b"",
        backend: bytes = b"web",
    ) -> Call:
        """
        Make an C{agent/response} call.

        @param inner: the whole of its body; L{None} leaves it open.
        """
        fields += _named(identifier) + b"Transfer-Encoding: chunked\r\nContent-Type: text/plain\r\n"
        call = self.call(b"POST", b"response", backend, fields)
        if inner is not None:
            if inner:
                call.chunk(inner)
            call.end()
        return call

    def take(self, fields: bytes = b"") -> tuple[bytes, Call]:
        """
        Poll, and fetch the one request that waits.

        @return: its ID and the call.
        """
        (identifier,) = self.pending(fields=fields)
        return identifier, self.fetch(identifier, fields)

    def shake(
        self,
        backend: bytes | None = b"web",
        *,
        method: bytes = b"GET",
        fields: bytes = HANDSHAKE,
        version: bytes = b"HTTP/1.1",
    ) -> Call:
        """
        Make an C{agent/tunnel} call.

        @param fields: lines, each with its CRLF.
        """
        named = b"" if backend is None else b"X-Inverting-Proxy-Backend-ID: %b\r\n" % backend
        head = b"%b %b/agent/tunnel %b\r\nHost: proxy.example\r\n%b%b\r\n" % (
            method,
            self.prefix,
            version,
            named,
            fields,
        )
        return self.raw(head, method=method)

    def tunnel(self, backend: bytes = b"web", *, greets: bool = True, **said: Any) -> AgentTunnel:
        """
        Open a tunnel.

        @param greets: whether to send a HELLO, too.
        @param said: what it says; an instance of its own unless that is said.
        """
        call = self.shake(backend)
        assert call.status == 101, call.client.received
        tunnel = AgentTunnel(call, self.network)
        if greets:
            tunnel.greet(**{"instance": f"agent{id(tunnel):x}", **said})
        return tunnel

    def advance(self, seconds: float) -> None:
        """
        Move the time.
        """
        self.network.advance(seconds)
        self.network.pump()


def _named(identifier: bytes) -> bytes:
    return b"X-Inverting-Proxy-Request-ID: %b\r\n" % identifier


def idsOf(poll: Call) -> list[bytes]:
    """
    The IDs in the answer to a poll.
    """
    reply = poll.reply
    assert reply.whole, "the poll is not answered"
    assert reply.status == 200, reply.status
    return [identifier.encode() for identifier in json.loads(reply.body)]


def innerBlock(data: bytes) -> list[tuple[bytes, bytes]]:
    """
    The fields of a message in wire form.
    """
    head = data.partition(b"\r\n\r\n")[0]
    return list(items(b"\r\n" + head.partition(b"\r\n")[2]))


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
"""A response."""

OPEN_ENDED = b"HTTP/1.1 200 OK\r\n\r\n"
"""The head of a response of unknown length, as it is in a tunnel."""
