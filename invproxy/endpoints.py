"""
What can be known of an endpoint from its description, before it listens.
"""

from __future__ import annotations

import os
from ipaddress import ip_address

from twisted.internet.endpoints import serverFromString

from invproxy.descriptions import tokens
from invproxy.errors import ConfigError
from invproxy.options import oneLine

_PORT_AT = {"tcp": 1, "tcp6": 1, "ssl": 1, "tls": 2}
"""Where the port stands among the parts of an endpoint."""


def isReachable(endpoint: str) -> bool:
    """
    May peers on other machines be able to connect to an endpoint? When in doubt: yes.

    @param endpoint: its description.
    """
    parts = tokens(endpoint)
    kinds = [part[0] for part in parts if len(part) == 1]
    while kinds[:1] == ["haproxy"]:
        kinds = kinds[1:]
    kind = kinds[0] if kinds else ""
    if kind == "unix":
        return False
    if kind not in ("tcp", "tcp6", "ssl", "tls"):
        return True
    # The last of several counts, there as here.
    interfaces = [part[1] for part in parts if len(part) == 2 and part[0] == "interface"]
    if not interfaces:
        return True
    if interfaces[-1] == "localhost":
        return False
    try:
        return not ip_address(interfaces[-1]).is_loopback
    except ValueError:
        return True


def checkEndpoint(reactor: object, endpoint: str) -> None:
    """
    Find out what can be known of an endpoint before it listens.

    @raise ConfigError: if it is not one; the text says what is allowed.
    """
    try:
        serverFromString(reactor, endpoint)
    except Exception as error:
        # Plugins parse these, and raise whatever they like.
        why = oneLine(f"{type(error).__name__}: {error}")
        raise ConfigError(
            f"must be a Twisted server endpoint, such as tcp:8080:interface=127.0.0.1 ({why})"
        ) from None
    parts = tokens(endpoint)
    words = [part[0] for part in parts if len(part) == 1]
    while words[:1] == ["haproxy"]:
        words = words[1:]
    keywords = {part[0]: part[1] for part in parts if len(part) == 2}
    kind = words[0] if words else ""
    if kind in _PORT_AT:
        ports = [keywords.get("port", "0"), *words[_PORT_AT[kind] :][:1]]
        if any(not 0 <= int(port) <= 65535 for port in ports):
            raise ConfigError("must have a port from 0 (any free one) to 65535")
    if kind == "tls":
        # Twisted takes a directory that does not exist for an empty one.
        folder = keywords.get("path") or "".join(words[1:2])
        try:
            os.listdir(folder)
        except OSError as error:
            raise ConfigError(
                f"its directory of certificates cannot be read: {error.strerror}"
            ) from None
