"""
Origins that agents serve: an HTTP server over TCP or a UNIX socket. An in-process tree of Resources is a
L{invproxy.resources.ResourceOrigin}.
"""

from __future__ import annotations

from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from zope.interface import implementer

from invproxy.agent.endpoint import splitURL
from invproxy.agent.hostname import endpointOf
from invproxy.agent.settings import AgentSettings
from invproxy.client import StreamingClient
from invproxy.errors import BAD_REQUEST, ConfigError, Fault
from invproxy.http1.heads import RequestHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.parsing import requestLineFault
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.routing import climbs


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
        @raise ConfigError: if the authority or the base is none.
        """
        self._client = StreamingClient(clock, endpoint)
        self._authority = authority.encode("utf-8")
        self._base = base.encode("utf-8")
        try:
            RequestHead(b"GET", b"/").withHost(self._authority)
        except Fault:
            raise ConfigError(
                f"the origin's host {authority!r} is none, or has characters beyond ASCII"
            ) from None
        if requestLineFault(b"GET %b/ HTTP/1.1" % self._base, DEFAULT_LIMITS) is not None:
            raise ConfigError("the path of the origin's URL must be percent-encoded")

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
        complaint = "the origin is not http://host:port[/base] or unix:/path.sock"
        parts = splitURL(url, complaint)
        if parts.scheme != "http" or "@" in parts.netloc:
            raise ConfigError(complaint)
        endpoint = endpointOf(reactor, parts.hostname or "", parts.port or 80, timeout)
        return cls(reactor, endpoint, authority=parts.netloc, base=parts.path.rstrip("/"))

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        if head.host is None:
            head = head.withHost(self._authority)
        if self._base and head.target != b"*":
            if climbs(head.path()):
                raise Fault(BAD_REQUEST, "the path leads out of that of the origin's URL")
            head.target = self._base + head.target
        return self._client.open(head, answer)

    def close(self) -> None:
        """
        Close all connections to the server.
        """
        self._client.close()
