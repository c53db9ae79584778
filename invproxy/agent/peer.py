"""
The client of an exchange, as seen from behind the agent.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from attrs import define, field
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from zope.interface import implementer

from invproxy.http1.fields import elements, values
from invproxy.http1.heads import RequestHead
from invproxy.interfaces import IPeer


@implementer(IPeer)
@define
class OriginalPeer:
    """
    The client, as the proxy tells of it in forwarding fields.
    """

    address: IAddress
    secure: bool
    streams: bool = True
    memory: object = field(default=None, eq=False)

    @classmethod
    def of(cls, head: RequestHead) -> OriginalPeer:
        """
        Read the forwarding fields of a request.
        """
        hosts = elements(values(head.fields, b"x-forwarded-for"))
        address: IAddress = UNIXAddress(None)
        if hosts:
            try:
                parsed = ip_address(hosts[0].decode("latin-1"))
            except ValueError:
                pass
            else:
                kind = IPv4Address if parsed.version == 4 else IPv6Address
                address = kind("TCP", str(parsed), 0)
        return cls(address, elements(values(head.fields, b"x-forwarded-proto"))[:1] == [b"https"])

    def whenLost(self, callback: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def countAsAgent(self) -> None:
        pass

    def certificate(self) -> None:
        return None
