"""
From where requests came: over TLS or not, by what host, and from whom, where trusted proxies stand in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

from invproxy.http1.fields import elements, value, values
from invproxy.http1.heads import RequestHead, isAuthority
from invproxy.interfaces import IPeer

_MOST_HOPS = 32
"""Trusted proxies, one behind the other, that are looked at."""


class Approaches:
    """
    Tells from where requests came, where trusted proxies may stand in between.

    @ivar trustsAnyone: whether there are trusted proxies at all.
    """

    def __init__(
        self, trusts: Callable[[str], bool] | None = None, trustsUnix: bool = False
    ) -> None:
        """
        @param trusts: says whether an IP address is that of a trusted proxy; L{None} if none is.
        @param trustsUnix: whether all peers on UNIX sockets are trusted proxies.
        """
        self._trusts = trusts
        self._trustsUnix = trustsUnix
        self.trustsAnyone = trusts is not None or trustsUnix

    def isTrusted(self, peer: IPeer) -> bool:
        """
        Say whether a peer is a trusted proxy.
        """
        host = getattr(peer.address, "host", None)
        if host is None:
            return self._trustsUnix
        return self._trusts is not None and self._trusts(host)

    def isSecure(self, head: RequestHead, peer: IPeer) -> bool:
        """
        Say whether a request left its client over TLS, as far as trusted proxies tell.
        """
        if not self.trustsAnyone or not self.isTrusted(peer):
            return peer.secure
        named = elements(values(head.fields, b"x-forwarded-proto"))
        if not named:
            forwarded = value(head.fields, b"forwarded") or b""
            named = [found.lower() for found in _PROTO(forwarded)]
        return named[0] == b"https" if named else peer.secure

    def hostOf(self, head: RequestHead, peer: IPeer) -> bytes:
        """
        Say by what host, perhaps with a port, the client knows us.
        """
        if self.isTrusted(peer):
            named = elements(values(head.fields, b"x-forwarded-host"))
            if named and isAuthority(named[0]):
                return named[0]
        return head.host or b""

    def clientOf(self, head: RequestHead, peer: IPeer) -> IPeer | str:
        """
        Say whose failures are to be counted: the peer, or the one from whom trusted proxies had the request.

        @return: the peer where they do not tell; else an IP address.
        """
        if not self.trustsAnyone or not self.isTrusted(peer):
            return peer
        nodes: list[bytes] = elements(values(head.fields, b"x-forwarded-for"))
        if not nodes:
            nodes = [
                _nodeOf(element)
                for line in values(head.fields, b"forwarded")
                for element in line.split(b",")
            ]
        for node in nodes[: -_MOST_HOPS - 1 : -1]:
            # Further to the left stands what anybody may have made up.
            host = _addressOf(node)
            if not host:
                return peer
            if self._trusts is None or not self._trusts(host):
                return host
        return peer


_PROTO = re.compile(rb"(?:^|[;,])[ \t]*proto=\"?([A-Za-z]+)", re.IGNORECASE).findall
_FOR = re.compile(
    rb"(?:^|;)[ \t]*for=(\"?)([0-9A-Fa-f.:\[\]]+)\1[ \t]*(?=;|$)", re.IGNORECASE
).findall


def _nodeOf(element: bytes) -> bytes:
    """
    Find the client in one element of Forwarded (RFC 7239, section 4), less its quotes.

    @return: C{b""} if there is none, or the comma before or after it stood between quotes.
    """
    found = _FOR(element)
    if len(found) != 1 or b"\\" in element or element.count(b'"') % 2:
        return b""
    node: bytes = found[0][1]
    return node


def _addressOf(node: bytes) -> str:
    """
    @return: the IP address in an element of X-Forwarded-For or a node of Forwarded, without brackets and port, or
        C{""} if it has none.
    """
    if node.startswith(b"["):
        node = node[1:].partition(b"]")[0]
    elif node.count(b":") == 1:
        node = node.partition(b":")[0]
    try:
        return str(ip_address(node.partition(b"%")[0].decode("latin-1")))
    except ValueError:
        return ""
