"""
Where an agent connects to reach its proxy: straight or through a forward proxy, in the clear or by TLS.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    KeyPair,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from zope.interface import implementer

from invproxy.agent.connect import ConnectEndpoint
from invproxy.agent.hostname import endpointOf
from invproxy.agent.settings import AgentSettings
from invproxy.errors import ConfigError
from invproxy.transport import watchPeer


@implementer(IStreamClientEndpoint)
class LinkEndpoint:
    """
    What all connections to a proxy have in common: nothing is logged of them, and the kernel asks from time to time
    whether the other end is still there, as a lifeline may be silent for as long as an origin is.
    """

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        protocolFactory.noisy = False  # type: ignore[attr-defined]
        return self._endpoint.connect(protocolFactory).addCallback(_watched)


def _watched(protocol: IProtocol) -> IProtocol:
    watchPeer(getattr(protocol, "transport", None))
    return protocol


def splitURL(url: str, complaint: str) -> SplitResult:
    """
    Take the URL of a server apart.

    @param complaint: what to say of another; the URL itself might hold a password, and is not shown.
    @raise ConfigError: if it is not C{http://} or C{https://}, a host and maybe a port, and a path.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if good and not parts.query and not parts.fragment:
            return parts
    except ValueError:  # a port or an address that is none
        pass
    raise ConfigError(complaint)


def _portOf(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def endpointFor(
    reactor: IReactorTime, parts: SplitResult, settings: AgentSettings
) -> IStreamClientEndpoint:
    """
    Make the endpoint of a proxy.

    @param reactor: the reactor.
    @param parts: its URL, from L{splitURL}.
    @param settings: how to reach it.
    @raise ConfigError: if a setting cannot be used.
    """
    host, port = parts.hostname or "", _portOf(parts)
    endpoint: IStreamClientEndpoint
    if settings.httpProxy:
        endpoint = _throughForwardProxy(reactor, settings.httpProxy, host, port, settings)
    else:
        endpoint = endpointOf(reactor, host, port, settings.connectTimeout)
    if parts.scheme == "https":
        endpoint = _secure(reactor, endpoint, host, settings)
    return endpoint


def _throughForwardProxy(
    reactor: IReactorTime, url: str, host: str, port: int, settings: AgentSettings
) -> IStreamClientEndpoint:
    parts = splitURL(url, "the http proxy is not http://[user:password@]host[:port]")
    name = parts.hostname or ""
    endpoint: IStreamClientEndpoint = endpointOf(
        reactor, name, _portOf(parts), settings.connectTimeout
    )
    if parts.scheme == "https":
        endpoint = wrapClientTLS(optionsForClientTLS(name), endpoint, clock=reactor)
    credentials = None
    if parts.username is not None:
        credentials = (unquote(parts.username), unquote(parts.password or ""))
    return ConnectEndpoint(
        reactor, endpoint, host, port, credentials=credentials, timeout=settings.connectTimeout
    )


def _secure(
    reactor: IReactorTime, endpoint: IStreamClientEndpoint, host: str, settings: AgentSettings
) -> IStreamClientEndpoint:
    try:
        trustRoot = (
            platformTrust()
            if settings.proxyCA is None
            else trustRootFromCertificates(_certificates(settings.proxyCA))
        )
        mine: PrivateCertificate | None = None
        extra: dict[str, Any] = {}
        if settings.clientCertificate is not None:
            key = settings.clientKey or settings.clientCertificate
            leaf, *chain = _certificates(settings.clientCertificate)
            pair = KeyPair.load(key, crypto.FILETYPE_PEM)
            mine = PrivateCertificate.fromCertificateAndKeyPair(leaf, pair)
            extra["extraCertChain"] = [one.original for one in chain]
            # Else a key that belongs to another certificate would be found out on each connection alone.
            CertificateOptions(
                privateKey=pair.original, certificate=leaf.original, **extra
            ).getContext()
        options = optionsForClientTLS(
            host, trustRoot=trustRoot, clientCertificate=mine, extraCertificateOptions=extra
        )
    except (SSL.Error, crypto.Error, VerifyError, ValueError) as error:
        why = "a certificate or key for the link to the proxy is not valid PEM, or they do not belong together"
        raise ConfigError(why) from error
    return wrapClientTLS(options, endpoint, clock=reactor)


_END = b"-----END CERTIFICATE-----"


def _certificates(pem: bytes) -> list[Certificate]:
    blocks = pem.split(_END)[:-1]
    if not blocks:
        raise ValueError("no certificate")
    return [
        Certificate.loadPEM(block[block.index(b"-----BEGIN CERT") :] + _END) for block in blocks
    ]
