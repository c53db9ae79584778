"""
What can be set about a proxy.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

from attrs import frozen

from invproxy.auth.approaches import Approaches
from invproxy.http1.limits import Limits

_LEAST_PER_ADDRESS = 16
"""Clients from one address for which there is room even where there are few in all: a browser has six."""


@frozen(kw_only=True)
class ProxySettings:
    """
    Times and bounds of a proxy. All times are in seconds, and 0 turns a clock off where that is said.

    @ivar pollTimeout: how long an agent's poll waits before it is answered with nothing.
    @ivar queueTimeout: how long a request waits for an agent.
    @ivar responseTimeout: how long an agent may take for the first byte of a response; 0 is for ever.
    @ivar idleTimeout: how long neither side may send a byte after the response head; also how long a kept connection
        waits for its next request, and how long a client may stall in the middle of a request body.
    @ivar headTimeout: how long the head of a request may take to arrive.
    @ivar claimTimeout: how long an ID that was handed out may wait to be fetched before it is offered again.
    @ivar backendTimeout: how long after the last call of its agents a backend counts as offline.
    @ivar drainTimeout: how long exchanges in flight may take once the proxy is stopping.
    @ivar linkTimeout: how long a tunnel may be silent, pings included, before it counts as lost.
    @ivar maxPending: how many requests may wait for one backend.
    @ivar maxBody: how many bytes a request body may have; 0 is any number.
    @ivar minPace: how many bytes a second a client must send of a body, and take of a response, on the average of
        L{PERIOD<invproxy.server.pace.PERIOD>}; 0 is any.
    @ivar maxConnections: how many clients may be connected.
    @ivar maxPerAddress: how many of them from one IPv4 address, or one IPv6 network of 64 bits, but for this machine
        and trusted proxies; 0 is any number, and L{None} a quarter of all.
    @ivar maxLinks: how many connections the agents of one backend may have.
    @ivar maxSockets: how many connections there may be in all, as the process has no more file descriptors; 0 is any
        number.
    @ivar maxBackends: how many backends are kept in open mode.
    @ivar maxTunnels: how many tunnels may serve one backend.
    @ivar limits: bounds on heads (C{--max-head}), chunk lines and trailers.
    @ivar trustedProxies: peers whose forwarding fields are believed.
    @ivar trustUnixPeers: whether peers on UNIX sockets are believed, too.
    @ivar userHeader: the field in which a trusted proxy names the end user, or L{None}.
    """

    pollTimeout: float = 30.0
    queueTimeout: float = 30.0
    responseTimeout: float = 0.0
    idleTimeout: float = 300.0
    headTimeout: float = 30.0
    claimTimeout: float = 5.0
    backendTimeout: float = 300.0
    drainTimeout: float = 30.0
    linkTimeout: float = 15.0
    maxPending: int = 1000
    maxBody: int = 0
    minPace: int = 0
    maxConnections: int = 10000
    maxPerAddress: int | None = None
    maxLinks: int = 4000
    maxSockets: int = 0
    maxBackends: int = 1000
    maxTunnels: int = 100
    limits: Limits = Limits()
    trustedProxies: tuple[IPv4Network | IPv6Network, ...] = ()
    trustUnixPeers: bool = False
    userHeader: bytes | None = None

    def approaches(self) -> Approaches:
        """
        Make what tells from where requests came.
        """
        return Approaches(self.trusts if self.trustedProxies else None, self.trustUnixPeers)

    def mostPerAddress(self) -> int:
        """
        How many clients there may be from one address, for C{maxConnections} in all; 0 is any number.
        """
        if self.maxPerAddress is not None:
            return self.maxPerAddress
        return max(_LEAST_PER_ADDRESS, self.maxConnections // 4)

    def isShared(self, host: str) -> bool:
        """
        Say whether many clients may come from one IP address, as it is that of a proxy, or of this machine.
        """
        return host == "::1" or host.startswith(("127.", "::ffff:127.")) or self.trusts(host)

    def trusts(self, host: str) -> bool:
        """
        Say whether a peer is one of the trusted proxies.

        @param host: its IP address; what is none is not trusted.
        """
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.trustedProxies)
