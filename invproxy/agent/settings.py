"""
What can be set about an agent.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen

from invproxy.errors import ConfigError, Fault
from invproxy.http1.heads import RequestHead

_COUNTS = ("polls", "connections", "maxExchanges")
_TIMES = ("connectTimeout", "pollTimeout", "linkTimeout")
_TIMES_OR_ZERO = ("originTimeout", "drainTimeout")


@frozen(kw_only=True)
class AgentSettings:
    """
    How an agent reaches its proxy and treats requests. All times are in seconds.

    @ivar transport: C{"auto"}, C{"tunnel"} or C{"poll"}.
    @ivar polls: how many polls are parked at the proxy at once.
    @ivar connections: how many tunnels are open at once.
    @ivar maxExchanges: how many exchanges are worked on at once; while so many are, nothing is asked for.
    @ivar connectTimeout: how long a connection to the proxy or the origin may take to stand.
    @ivar originTimeout: how long the origin may take for the first byte of a response; 0 is for ever.
    @ivar drainTimeout: how long exchanges in flight may take once the agent is stopping.
    @ivar pollTimeout: how long an answer to a poll may take before the link counts as dead; more than the proxy's own.
    @ivar linkTimeout: how long a tunnel may be silent, pings included, before it counts as lost.
    @ivar token: bearer token for the proxy, or L{None}.
    @ivar readToken: asked now and then whether there is another token, as tokens may expire: gives it, or L{None}.
    @ivar proxyCA: PEM certificates to trust for the proxy instead of the system's, or L{None}.
    @ivar clientCertificate: PEM certificate, and its key unless C{clientKey} holds it, to show the proxy, or L{None}.
    @ivar clientKey: PEM private key, or L{None}.
    @ivar httpProxy: URL of a forward proxy to go through by CONNECT, with its credentials, or L{None}.
    @ivar forwardUserID: whether the origin is told the end user, in C{X-Inverting-Proxy-User-ID}.
    @ivar stripCredentials: whether Authorization is dropped from requests.
    @ivar rewriteHost: the Host to send to the origin instead of the client's, or L{None}.
    """

    transport: str = "auto"
    polls: int = 2
    connections: int = 1
    maxExchanges: int = 1000
    connectTimeout: float = 10.0
    originTimeout: float = 0.0
    drainTimeout: float = 30.0
    pollTimeout: float = 60.0
    linkTimeout: float = 15.0
    token: str | None = field(default=None, repr=False)
    readToken: Callable[[], str | None] | None = field(default=None, repr=False, eq=False)
    proxyCA: bytes | None = field(default=None, repr=False)
    clientCertificate: bytes | None = field(default=None, repr=False)
    clientKey: bytes | None = field(default=None, repr=False)
    httpProxy: str | None = field(default=None, repr=False)
    forwardUserID: bool = False
    stripCredentials: bool = False
    rewriteHost: bytes | None = None

    def adaptsRequests(self) -> bool:
        """
        Say whether requests are changed on their way to the origin.
        """
        return self.forwardUserID or self.stripCredentials or self.rewriteHost is not None

    def __attrs_post_init__(self) -> None:
        """
        @raise ConfigError: if one of them cannot be used.
        """
        if self.transport not in ("auto", "tunnel", "poll"):
            raise ConfigError(f"transport {self.transport!r} is not auto, tunnel or poll")
        for names, least in ((_COUNTS, 1), (_TIMES, 1e-9), (_TIMES_OR_ZERO, 0)):
            for name in names:
                if not getattr(self, name) >= least:
                    raise ConfigError(
                        f"{name} {getattr(self, name)!r} is not {'a positive number' if least else '0 or more'}"
                    )
        if self.rewriteHost is not None:
            try:
                RequestHead(b"GET", b"/").withHost(self.rewriteHost)
            except Fault:
                raise ConfigError(
                    f"rewriteHost {self.rewriteHost!r} is not a host or host:port"
                ) from None
