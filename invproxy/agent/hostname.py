"""
Where a host is.
"""

from __future__ import annotations

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint


def endpointOf(
    reactor: IReactorTime, host: str, port: int, timeout: float
) -> IStreamClientEndpoint:
    """
    Make the endpoint of a host. Addresses have their own, as a L{HostnameEndpoint} takes 0.3 s to tell of a refusal.

    @param reactor: the reactor.
    @param host: a name or an address.
    @param port: the port.
    @param timeout: seconds that an attempt may take.
    """
    if isIPAddress(host):
        return TCP4ClientEndpoint(reactor, host, port, timeout=timeout)
    if isIPv6Address(host):
        return TCP6ClientEndpoint(reactor, host, port, timeout=timeout)
    return HostnameEndpoint(reactor, host, port, timeout=timeout)
