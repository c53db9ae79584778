"""
Origins that agents serve: an HTTP server over TCP or a UNIX socket. An in-process tree of Resources is a
L{invproxy.resources.ResourceOrigin}.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from zope.interface import implementer

from invproxy.agent.settings import AgentSettings
from invproxy.client import StreamingClient
from invproxy.errors import ConfigError
from invproxy.http1.heads import RequestHead
from invproxy.interfaces import IAnswer, IOrigin, IUpload


@implementer(IOrigin)
class HTTPOrigin:
    """
    A server that speaks HTTP/1.1.
    """

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        *,
        authority: str,
        base: str = "",
    ) -> None:
        """
        @param clock: what tells the time.
        @param endpoint: where the server is.
        @param authority: the Host for requests that have none.
        @param base: a path to put in front of each target, without a slash at its end.
        """
        self._client = StreamingClient(clock, endpoint)
        self._authority = authority.encode("ascii")
        self._base = base.encode("ascii")

    @classmethod
    def fromURL(
        cls, reactor: IReactorTime, url: str, settings: AgentSettings | None = None
    ) -> HTTPOrigin:
        """
        Make an origin from its URL.

        @param reactor: the reactor.
        @param url: C{http://host:port/base} or C{unix:/path.sock}.
        @param settings: for its C{connectTimeout}.
        @raise ConfigError: if the URL is neither.
        """
        timeout = (settings or AgentSettings()).connectTimeout
        if url.startswith("unix:"):
            path = url.removeprefix("unix:")
            if not path.startswith("/"):
                raise ConfigError(f"origin {url!r}: a UNIX socket is written unix:/path.sock")
            return cls(
                reactor, UNIXClientEndpoint(reactor, path, timeout=timeout), authority="localhost"
            )
        try:
            parts = urlsplit(url)
            port = parts.port or 80
        except ValueError as error:
            raise ConfigError(f"origin {url!r}: {error}") from error
        if (
            parts.scheme != "http"
            or not parts.hostname
            or parts.query
            or parts.fragment
            or parts.username
        ):
            raise ConfigError(f"origin {url!r} is not http://host:port[/base] or unix:/path.sock")
        if not url.isascii():
            raise ConfigError(
                f"origin {url!r} has characters beyond ASCII: write them percent-encoded"
            )
        endpoint = HostnameEndpoint(reactor, parts.hostname, port, timeout=timeout)
        return cls(reactor, endpoint, authority=parts.netloc, base=parts.path.rstrip("/"))

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        if head.host is None:
            head = head.withHost(self._authority)
        if self._base and head.target != b"*":
            head.target = self._base + head.target
        return self._client.open(head, answer)

    def close(self) -> None:
        """
        Close all connections to the server.
        """
        self._client.close()
