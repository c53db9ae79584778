"""
CONNECT through a forward proxy, as corporate networks have it (RFC 9110, section 9.3.6).
"""

from __future__ import annotations

from base64 import b64encode

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from invproxy.errors import Fault
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.readers import ResponseReader
from invproxy.transport import StreamTransport


class ConnectRefused(Exception):
    """
    The forward proxy does not let us through; the text says what it answered.
    """


class _Handshake(Protocol):
    """
    Asks the forward proxy for a connection, and then passes everything on to the real protocol.
    """

    transport: StreamTransport  # type: ignore[assignment]

    def __init__(
        self, request: bytes, factory: IProtocolFactory, connected: Deferred[IProtocol]
    ) -> None:
        self._request = request
        self._factory = factory
        self._connected: Deferred[IProtocol] | None = connected
        self._reader = ResponseReader(DEFAULT_LIMITS, RequestHead(b"HEAD", b"/"), self)
        self._protocol: IProtocol | None = None

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        if self._protocol is not None:
            self._protocol.dataReceived(data)
            return
        try:
            self._reader.feed(data)
        except Fault as fault:
            self._fail(ConnectRefused(f"the forward proxy's answer is not HTTP: {fault.detail}"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._protocol is not None:
            self._protocol.connectionLost(reason)
            return
        self._fail(ConnectRefused("the forward proxy closed the connection without an answer"))

    def _fail(self, error: Exception) -> None:
        connected, self._connected = self._connected, None
        if connected is not None:
            connected.errback(error)
            self.transport.abortConnection()

    # As the answer that the reader tells.

    def inform(self, head: ResponseHead) -> None:
        pass

    def respond(self, head: ResponseHead) -> None:
        if not 200 <= head.status < 300:
            reason = head.reason.decode("latin-1")
            self._fail(
                ConnectRefused(f"the forward proxy answered CONNECT with {head.status}{reason}")
            )

    def write(self, data: bytes) -> None:
        pass

    def finish(self, trailers: bytes = b"") -> None:
        connected, self._connected = self._connected, None
        if connected is None:
            return
        transport = self.transport
        protocol = self._factory.buildProtocol(transport.getPeer())
        if protocol is None:
            transport.abortConnection()
            connected.errback(ConnectRefused("no protocol for the connection"))
            return
        self._protocol = protocol
        protocol.makeConnection(transport)  # type: ignore[arg-type]
        if self._reader.rest:
            protocol.dataReceived(self._reader.rest)
        connected.callback(protocol)


@implementer(IStreamClientEndpoint)
class ConnectEndpoint:
    """
    An endpoint behind a forward proxy.
    """

    def __init__(
        self,
        forwardProxy: IStreamClientEndpoint,
        host: str,
        port: int,
        *,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        """
        @param forwardProxy: where the forward proxy is.
        @param host: the host to reach.
        @param port: its port.
        @param credentials: user and password for the forward proxy.
        """
        self._forwardProxy = forwardProxy
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if credentials is not None:
            token = b64encode(":".join(credentials).encode()).decode("ascii")
            lines.append(f"Proxy-Authorization: Basic {token}")
        self._request = ("\r\n".join(lines) + "\r\n\r\n").encode(
            "idna" if not authority.isascii() else "ascii"
        )

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        connected: Deferred[IProtocol] = Deferred(lambda _: connecting.cancel())
        handshake = Factory.forProtocol(
            lambda: _Handshake(self._request, protocolFactory, connected)
        )
        handshake.noisy = False
        connecting = self._forwardProxy.connect(handshake)

        def fail(failure: Failure) -> None:
            if not connected.called:
                connected.errback(failure)

        connecting.addErrback(fail)
        return connected
