"""
Where a host is.
"""

from __future__ import annotations

from typing import NoReturn

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import TimeoutError
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)


class _TimelyEndpoint(HostnameEndpoint):
    """
    A host by its name, whose look-up counts as part of an attempt: a resolver may take half a minute before it says
    that it does not know.
    """

    def __init__(self, reactor: IReactorTime, host: str, port: int, timeout: float) -> None:
        super().__init__(reactor, host, port, timeout=timeout)
        self._clock = reactor
        self._seconds = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See L{IStreamClientEndpoint.connect}.
        """
        connecting: Deferred[IProtocol] = super().connect(protocolFactory)
        return connecting.addTimeout(self._seconds, self._clock, _overdue)


def _overdue(result: object, seconds: float) -> NoReturn:
    raise TimeoutError(string=f"not looked up and connected within {seconds:g} s")


def endpointOf(
    reactor: IReactorTime, host: str, port: int, timeout: float
) -> IStreamClientEndpoint:
    """
    Make the endpoint of a host. Addresses have their own, as a L{HostnameEndpoint} takes 0.3 s to tell of a refusal.

    @param reactor: the reactor.
    @param host: a name or an address.
    @param port: the port.
    @param timeout: seconds that an attempt may take, with the look-up of a name.
    """
    if isIPAddress(host):
        return TCP4ClientEndpoint(reactor, host, port, timeout=timeout)
    if isIPv6Address(host):
        return TCP6ClientEndpoint(reactor, host, port, timeout=timeout)
    return _TimelyEndpoint(reactor, host, port, timeout)
