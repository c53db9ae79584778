"""
The way from an agent to its proxy: endpoint, TLS, credentials, and the two HTTP clients that use them.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from attrs import frozen
from OpenSSL import SSL, crypto
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import (
    Certificate,
    KeyPair,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from invproxy import __version__
from invproxy.agent.connect import ConnectEndpoint
from invproxy.agent.settings import AgentSettings
from invproxy.client import StreamingClient
from invproxy.errors import ConfigError
from invproxy.http1.fields import join
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import RequestHead
from invproxy.wire.poll import BACKEND_ID, FEATURES, INTERIM, REQUEST_ID, UPGRADE, isBackendID

_KEEP = 15.0
"""Seconds for which connections to the proxy are kept; the calls on them may be repeated."""


@implementer(IAgentEndpointFactory)
class ProxyLink:
    """
    What an agent uses to call its proxy.

    @ivar url: the proxy's base URL, without a slash at its end.
    @ivar streaming: the client for calls that carry bodies.
    @ivar control: the client for the others.
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
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"proxy {url!r} is not an http:// or https:// URL")
        if not isBackendID(backend.encode("utf-8")):
            raise ConfigError(
                f"backend {backend!r} is not 1 to 256 letters, digits or any of -._~:@/"
            )
        self.url = url.rstrip("/")
        self._reactor = reactor
        self._authority = parts.netloc.rpartition("@")[2].encode(
            "idna" if not parts.netloc.isascii() else "ascii"
        )
        self._base = parts.path.rstrip("/").encode("ascii")
        fields = [
            (BACKEND_ID, backend.encode("ascii")),
            (FEATURES, INTERIM + b", " + UPGRADE),
            (b"User-Agent", b"invproxy/" + __version__.encode("ascii")),
        ]
        if settings.token:
            fields.append((b"Authorization", b"Bearer " + settings.token.encode("utf-8")))
        try:
            self._block = join([(b"Host", self._authority), *fields])
        except ValueError as error:
            raise ConfigError("the token has a character that HTTP does not allow") from error
        self._endpoint = endpoint or _endpointFor(
            reactor, parts.scheme, parts.hostname, parts.port, settings
        )
        self.streaming = StreamingClient(reactor, self._endpoint, keepTime=_KEEP)
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = settings.polls + 1
        self._pool.cachedConnectionTimeout = int(_KEEP)
        self.control = HTTPClient(Agent.usingEndpointFactory(reactor, self, pool=self._pool))
        self.headers = Headers({name: [value] for name, value in fields})

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return _QuietEndpoint(self._endpoint)

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
        return b"%b\r\n%b: %b" % (self._block, REQUEST_ID, identifier.encode("ascii"))

    def close(self) -> None:
        """
        Close all connections.
        """
        self.streaming.close()
        self._pool.closeCachedConnections()


@implementer(IStreamClientEndpoint)
@frozen
class _QuietEndpoint:
    """
    An endpoint that keeps factories from logging each connection, which twisted.web's do.
    """

    endpoint: IStreamClientEndpoint

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        factory.noisy = False  # type: ignore[attr-defined]
        return self.endpoint.connect(factory)


def _endpointFor(
    reactor: IReactorTime, scheme: str, host: str, port: int | None, settings: AgentSettings
) -> IStreamClientEndpoint:
    port = port or (443 if scheme == "https" else 80)
    endpoint: IStreamClientEndpoint
    if settings.httpProxy:
        endpoint = _throughForwardProxy(reactor, settings.httpProxy, host, port, settings)
    else:
        endpoint = HostnameEndpoint(reactor, host, port, timeout=settings.connectTimeout)
    if scheme == "https":
        endpoint = _secure(endpoint, host, settings)
    return endpoint


def _throughForwardProxy(
    reactor: IReactorTime, url: str, host: str, port: int, settings: AgentSettings
) -> IStreamClientEndpoint:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("the http proxy is not an http:// or https:// URL")
    theirs = parts.port or (443 if parts.scheme == "https" else 80)
    endpoint: IStreamClientEndpoint = HostnameEndpoint(
        reactor, parts.hostname, theirs, timeout=settings.connectTimeout
    )
    if parts.scheme == "https":
        endpoint = wrapClientTLS(optionsForClientTLS(parts.hostname), endpoint)
    credentials = None
    if parts.username is not None:
        credentials = (unquote(parts.username), unquote(parts.password or ""))
    return ConnectEndpoint(endpoint, host, port, credentials=credentials)


def _secure(
    endpoint: IStreamClientEndpoint, host: str, settings: AgentSettings
) -> IStreamClientEndpoint:
    try:
        trustRoot = platformTrust()
        if settings.proxyCA is not None:
            trustRoot = trustRootFromCertificates(_certificates(settings.proxyCA))
        certificate = None
        if settings.clientCertificate is not None:
            key = (
                settings.clientKey if settings.clientKey is not None else settings.clientCertificate
            )
            certificate = _privateCertificate(settings.clientCertificate, key)
        options = optionsForClientTLS(host, trustRoot=trustRoot, clientCertificate=certificate)
    except (SSL.Error, crypto.Error, ValueError) as error:
        why = "a certificate or key for the link to the proxy is not valid PEM"
        raise ConfigError(why) from error
    return wrapClientTLS(options, endpoint)


_END = b"-----END CERTIFICATE-----"


def _certificates(pem: bytes) -> list[Certificate]:
    blocks = pem.split(_END)[:-1]
    if not blocks:
        raise ValueError("no certificate")
    return [
        Certificate.loadPEM(block[block.index(b"-----BEGIN CERT") :] + _END) for block in blocks
    ]


def _privateCertificate(certificate: bytes, key: bytes) -> PrivateCertificate:
    pair = KeyPair.load(key, crypto.FILETYPE_PEM)
    made: PrivateCertificate = PrivateCertificate.fromCertificateAndKeyPair(
        _certificates(certificate)[0], pair
    )
    return made
