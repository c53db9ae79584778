"""
The way from an agent to its proxy: base URL, credentials, and the two HTTP clients that use them.
"""

from __future__ import annotations

from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.web.client import URI, Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from invproxy import __version__
from invproxy.agent.endpoint import LinkEndpoint, endpointFor, splitURL
from invproxy.agent.settings import AgentSettings
from invproxy.client import StreamingClient
from invproxy.errors import ConfigError, Fault
from invproxy.http1.fields import join
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import RequestHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.parsing import requestLineFault
from invproxy.wire.handshake import Claim, ClientHandshake
from invproxy.wire.poll import BACKEND_ID, FEATURES, INTERIM, REQUEST_ID, UPGRADE, isBackendID

_KEEP = 15.0
"""Seconds for which connections to the proxy are kept; the calls on them may be repeated."""


_READ_EVERY = 5.0
"""Seconds after which is looked for another token."""


@implementer(IAgentEndpointFactory)
class ProxyLink:
    """
    What an agent uses to call its proxy.

    @ivar url: the proxy's base URL, without a slash at its end.
    @ivar streaming: the client for the calls that every exchange makes: polls, and those that carry bodies.
    @ivar control: the client for the others. It costs many times as much, keeps no connection, and says most clearly
        why a connection did not come about.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        url: str,
        backend: str,
        settings: AgentSettings,
        endpoint: IStreamClientEndpoint | None = None,
    ) -> None:
        """
        @param reactor: the reactor.
        @param url: base URL of the proxy.
        @param backend: the ID of the backend that is served.
        @param settings: how to reach the proxy.
        @param endpoint: where to connect instead of what C{url} says.
        @raise ConfigError: if one of these cannot be used.
        """
        parts = splitURL(url, "the proxy's URL is not http://host[:port][/base] or https://...")
        if "@" in parts.netloc:
            raise ConfigError(
                "the proxy's URL must not hold a user or password: use a token instead"
            )
        if not isBackendID(backend.encode("utf-8")):
            raise ConfigError(
                f"backend {backend!r} is not 1 to 256 letters, digits or any of -._~:@/"
            )
        self.url = url.rstrip("/")
        self._host = _hostOf(parts.netloc)
        self._base = _baseOf(parts.path)
        self._backend = backend.encode("ascii")
        self._readToken = settings.readToken
        self._seconds = reactor.seconds
        self._readAt = reactor.seconds()
        self._useToken(settings.token)
        self._endpoint = LinkEndpoint(endpoint or endpointFor(reactor, parts, settings))
        self.streaming = StreamingClient(reactor, self._endpoint, keepTime=_KEEP)
        self.control = HTTPClient(Agent.usingEndpointFactory(reactor, self))

    def _useToken(self, token: str | None) -> None:
        fields = [
            (BACKEND_ID, self._backend),
            (FEATURES, INTERIM + b", " + UPGRADE),
            (b"User-Agent", b"invproxy/" + __version__.encode("ascii")),
        ]
        if token:
            fields.append((b"Authorization", b"Bearer " + token.encode("utf-8")))
        try:
            block = join(fields)
        except ValueError:
            # Not as its cause: the token would be in the traceback.
            raise ConfigError("the token has a character that HTTP does not allow") from None
        self._tunnelBlock = block
        self._block = join([(b"Host", self._host)]) + block
        self._headers = Headers({name: [value] for name, value in fields})

    def _renew(self) -> None:
        """
        See now and then whether there is another token.
        """
        if self._readToken is None:
            return
        now = self._seconds()
        if now - self._readAt >= _READ_EVERY:
            self._readAt = now
            token = self._readToken()
            if token is not None:
                self._useToken(token)

    @property
    def headers(self) -> Headers:
        """
        The fields of a call by C{control}.
        """
        self._renew()
        return self._headers

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self._endpoint

    def pollCall(self) -> RequestHead:
        """
        Make the head of an C{agent/pending} call.
        """
        self._renew()
        return RequestHead(b"GET", self._base + b"/agent/pending", self._block)

    def tunnelCall(self, claim: Claim) -> ClientHandshake:
        """
        Make the handshake of a tunnel.

        @param claim: whose it is.
        """
        self._renew()
        block = self._tunnelBlock + claim.asField()
        return ClientHandshake(self._host, self._base + b"/agent/tunnel", block)

    def fetchCall(self, identifier: str) -> RequestHead:
        """
        Make the head of an C{agent/request} call.
        """
        return RequestHead(b"GET", self._base + b"/agent/request", self._named(identifier))

    def responseCall(self, identifier: str, block: bytes = b"") -> RequestHead:
        """
        Make the head of an C{agent/response} call.

        @param block: fields to add.
        """
        fields = self._named(identifier) + b"\r\nContent-Type: text/plain" + block
        return RequestHead(b"POST", self._base + b"/agent/response", fields, framing=CHUNKED)

    def _named(self, identifier: str) -> bytes:
        self._renew()
        return b"%b\r\n%b: %b" % (self._block, REQUEST_ID, identifier.encode("ascii"))

    def close(self) -> None:
        """
        Close all connections.
        """
        self.streaming.close()


def _hostOf(netloc: str) -> bytes:
    try:
        host = netloc.encode("ascii" if netloc.isascii() else "idna")
        RequestHead(b"GET", b"/").withHost(host)
    except (UnicodeError, Fault):
        raise ConfigError("the proxy's URL has no proper host") from None
    return host


def _baseOf(path: str) -> bytes:
    base = path.rstrip("/").encode("utf-8")
    if requestLineFault(b"GET %b/ HTTP/1.1" % base, DEFAULT_LIMITS) is not None:
        raise ConfigError("the path of the proxy's URL must be percent-encoded")
    return base
