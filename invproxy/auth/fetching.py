"""
Small documents over the network: what issuers of identities publish.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, NoReturn
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

from invproxy.trust import tlsComplaintOf, trustRootOf

_TIMEOUT = 10.0
"""Seconds that a whole answer may take."""

_MOST_BYTES = 1 << 20

_isPlain = re.compile(r"[\x21-\x7e]+").fullmatch

Fetch = Callable[[str], "Deferred[bytes]"]
"""What gets the document at a URL, or fails."""


class FetchError(Exception):
    """
    A document could not be had; the text is one line that says why.
    """


def isSafe(url: str) -> bool:
    """
    Say whether nobody on the way can change what comes from a URL: it is https, or on this machine.
    """
    if not _isPlain(url):
        return False  # urlsplit leaves line ends out, and who goes on with the URL does not
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    if parts.scheme != "http":
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Fetcher:
    """
    Gets documents by treq.
    """

    def __init__(
        self, reactor: IReactorTime, client: Any = None, *, authorities: bytes | None = None
    ) -> None:
        """
        @param reactor: the reactor.
        @param client: what to use instead of treq's client, in tests.
        @param authorities: PEM of the certificates to trust; L{None} for those of the system.
        """
        self._reactor = reactor
        self._authorities = authorities
        self._client = client

    def __call__(self, url: str) -> Deferred[bytes]:
        """
        Get the document at a URL; its size and the time are bounded, and redirections are not followed.

        @return: fails with L{FetchError}.
        """
        fetched = Deferred.fromCoroutine(self._fetch(url))
        return fetched.addTimeout(_TIMEOUT, self._reactor, onTimeoutCancel=_late)

    def send(
        self, method: str, url: str, fields: Mapping[str, str], data: bytes | None = None
    ) -> Deferred[tuple[int, bytes]]:
        """
        Send a request within the same bounds.

        @param fields: header fields.
        @param data: a body.
        @return: the status and the body of the answer, whatever the status; fails with L{FetchError}.
        """
        sent = Deferred.fromCoroutine(self._send(method, url, fields, data))
        return sent.addTimeout(_TIMEOUT, self._reactor, onTimeoutCancel=_late)

    async def _fetch(self, url: str) -> bytes:
        return (await self._send("GET", url, {}, None, 200))[1]

    async def _send(
        self,
        method: str,
        url: str,
        fields: Mapping[str, str],
        data: bytes | None,
        only: int | None = None,
    ) -> tuple[int, bytes]:
        if not isSafe(url):
            raise FetchError("its URL must begin with https://")
        if self._client is None:
            # Costly to import, and only for those who need it.
            from treq.client import HTTPClient
            from twisted.web.client import Agent

            endpoints = _Endpoints(self._reactor, self._authorities)
            self._client = HTTPClient(Agent.usingEndpointFactory(self._reactor, endpoints))
        try:
            response = await self._client.request(
                method,
                url,
                headers={"Accept": "application/json", "Accept-Encoding": "identity", **fields},
                data=data,
                allow_redirects=False,
            )
            body = _Body(response.code, only)
            response.deliverBody(body)
            return response.code, await body.whole
        except (CancelledError, FetchError):
            raise
        except Exception as error:
            raise FetchError(_textOf(error)) from None


class _Endpoints:
    """
    Says where a URL leads, as C{twisted.web} does by itself.
    """

    def __init__(self, reactor: Any, authorities: bytes | None) -> None:
        from twisted.web.client import BrowserLikePolicyForHTTPS
        from twisted.web.iweb import IAgentEndpointFactory

        directlyProvides(self, IAgentEndpointFactory)
        self._reactor = reactor
        self._policy = BrowserLikePolicyForHTTPS(
            None if authorities is None else trustRootOf(authorities)
        )

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        """
        Make the endpoint for one URL.
        """
        endpoint: Any = HostnameEndpoint(self._reactor, uri.host, uri.port, timeout=_TIMEOUT)
        if uri.scheme == b"https":
            options = self._policy.creatorForNetloc(uri.host, uri.port)
            endpoint = wrapClientTLS(options, endpoint, clock=self._reactor)
        return _Quiet(endpoint)


@implementer(IStreamClientEndpoint)
class _Quiet:
    """
    An endpoint of whose connections nothing is logged: they come and go with each document.
    """

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        protocolFactory.noisy = False  # type: ignore[attr-defined]
        return self._endpoint.connect(protocolFactory)


class _Body(Protocol):
    """
    Collects an answer.

    @ivar whole: fires with it.
    """

    def __init__(self, status: int, only: int | None) -> None:
        self.whole: Deferred[bytes] = Deferred(self._leave)
        self._data = bytearray()
        self._status = status
        self._only = only

    def connectionMade(self) -> None:
        if self._only not in (None, self._status):
            self._fail(f"it answered {self._status}")

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > _MOST_BYTES:
            self._data.clear()
            self._fail(f"it is larger than {_MOST_BYTES >> 20} MiB")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        from twisted.web.client import ResponseDone
        from twisted.web.http import PotentialDataLoss

        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._data))
        else:
            self.whole.errback(reason)

    def _fail(self, why: str) -> None:
        self._leave()
        if not self.whole.called:
            self.whole.errback(FetchError(why))

    def _leave(self, _: object = None) -> None:
        # An answer that was not read to its end would keep its connection for as long as the server likes.
        leave = getattr(self.transport, "abortConnection", None) or getattr(
            self.transport, "loseConnection", None
        )
        if leave is not None:
            leave()


def _late(result: object, seconds: float) -> NoReturn:
    raise FetchError(f"no answer within {seconds:g} s")


def _textOf(error: Exception) -> str:
    reasons = getattr(error, "reasons", None)
    if reasons:
        return _textOf(reasons[0].value)  # twisted.web wraps what happened in a list of failures
    complaint = tlsComplaintOf(error, "--issuer-ca")
    return (complaint or f"{type(error).__name__}: {' '.join(str(error).split())}")[:300]
