"""
CONNECT through a forward proxy, as corporate networks have it (RFC 9110, section 9.3.6).
"""

from __future__ import annotations

from base64 import b64encode

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
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
    _late: IDelayedCall | None = None
    _protocol: IProtocol | None = None

    def __init__(
        self,
        request: bytes,
        factory: IProtocolFactory,
        connected: Deferred[IProtocol],
        clock: IReactorTime,
        timeout: float,
    ) -> None:
        self._request = request
        self._factory = factory
        self._connected: Deferred[IProtocol] | None = connected
        self._clock = clock
        self._timeout = timeout
        # To the head of an answer to HEAD no body belongs, as with CONNECT.
        self._reader = ResponseReader(DEFAULT_LIMITS, RequestHead(b"HEAD", b"/"), self)

    def connectionMade(self) -> None:
        why = f"the forward proxy did not answer in {self._timeout:g} s"
        self._late = self._clock.callLater(self._timeout, self._fail, ConnectRefused(why))
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
        elif reason.check(type(connectionDone.value)):
            self._fail(ConnectRefused("the forward proxy closed the connection without an answer"))
        else:
            why = f"the connection to the forward proxy broke: {reason.getErrorMessage()}"
            self._fail(ConnectRefused(why))

    def _settle(self) -> Deferred[IProtocol] | None:
        connected, self._connected = self._connected, None
        if self._late is not None and self._late.active():
            self._late.cancel()
        return connected

    def _fail(self, error: Exception) -> None:
        connected = self._settle()
        if connected is not None:
            self.transport.abortConnection()
            connected.errback(error)

    def cancel(self) -> None:
        """
        Nobody waits for the connection any more.
        """
        if self._settle() is not None:
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
        connected = self._settle()
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
        connected.callback(protocol)
        if self._reader.rest:
            protocol.dataReceived(self._reader.rest)


@implementer(IStreamClientEndpoint)
class ConnectEndpoint:
    """
    An endpoint behind a forward proxy.
    """

    def __init__(
        self,
        clock: IReactorTime,
        forwardProxy: IStreamClientEndpoint,
        host: str,
        port: int,
        *,
        credentials: tuple[str, str] | None = None,
        timeout: float = 30.0,
    ) -> None:
        """
        @param clock: what tells the time.
        @param forwardProxy: where the forward proxy is.
        @param host: the host to reach.
        @param port: its port.
        @param credentials: user and password for the forward proxy.
        @param timeout: how many seconds the forward proxy may take to answer.
        """
        self._clock = clock
        self._forwardProxy = forwardProxy
        self._timeout = timeout
        name = host.encode("ascii" if host.isascii() else "idna")
        authority = b"[%b]:%d" % (name, port) if b":" in name else b"%b:%d" % (name, port)
        self._request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (authority, authority)
        if credentials is not None:
            token = b64encode(":".join(credentials).encode("utf-8"))
            self._request += b"Proxy-Authorization: Basic %b\r\n" % token
        self._request += b"\r\n"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        handshakes: list[_Handshake] = []

        def cancel(connected: Deferred[IProtocol]) -> None:
            connecting.cancel()
            for handshake in handshakes:
                handshake.cancel()

        connected: Deferred[IProtocol] = Deferred(cancel)

        def begin() -> _Handshake:
            handshake = _Handshake(
                self._request, protocolFactory, connected, self._clock, self._timeout
            )
            handshakes.append(handshake)
            return handshake

        def fail(failure: Failure) -> None:
            if not connected.called:
                connected.errback(failure)

        factory = Factory.forProtocol(begin)
        factory.noisy = False
        connecting = self._forwardProxy.connect(factory)
        connecting.addErrback(fail)
        return connected
