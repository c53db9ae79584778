"""
The server's options that bound what others can make it hold.
"""

from __future__ import annotations

import socket
from typing import Any

from attrs import evolve

from invproxy.descriptors import HINT, roomFor
from invproxy.http1.limits import Limits
from invproxy.options import Option, Values, number
from invproxy.parsers import count
from invproxy.proxy.settings import ProxySettings

_DEFAULTS = ProxySettings()

TABLE = (
    number(
        "min-pace",
        _DEFAULTS.minPace,
        count(),
        "How many bytes a second a client must send of a request's body, and take of a response, on"
        " the average of 30 seconds; 0 is any number. On Linux alone.",
        of="BYTES",
    ),
    number(
        "max-pending",
        _DEFAULTS.maxPending,
        count(1),
        "How many requests may wait for one backend.",
        of="N",
    ),
    number(
        "max-body",
        _DEFAULTS.maxBody,
        count(),
        "How many bytes the body of a request may have; 0 is any number.",
        of="BYTES",
    ),
    number(
        "max-head",
        _DEFAULTS.limits.head,
        count(256, 1 << 20),
        "How many bytes the head of a request or response may have.",
        of="BYTES",
    ),
    number(
        "max-interim",
        _DEFAULTS.limits.interims,
        count(),
        "How many interim responses (1xx) there may be before a response.",
        of="N",
    ),
    number(
        "max-connections",
        _DEFAULTS.maxConnections,
        count(1),
        "How many clients may be connected; agents are not counted.",
        of="N",
    ),
    Option(
        "max-connections-per-address",
        count(),
        "How many clients may be connected from one IPv4 address or one /64 of IPv6; 0 is any"
        " number. This machine and trusted proxies may have any number.",
        metavar="N",
        default=None,
        defaultText="a quarter of --max-connections, but 16 at least",
        types=(int,),
    ),
    number(
        "max-links",
        _DEFAULTS.maxLinks,
        count(1),
        "How many connections the agents of one backend may have.",
        of="N",
    ),
    number(
        "max-tunnels",
        _DEFAULTS.maxTunnels,
        count(1),
        "How many of these may be tunnels.",
        of="N",
    ),
    number(
        "max-backends",
        _DEFAULTS.maxBackends,
        count(1),
        "How many backends are kept in open mode.",
        of="N",
    ),
)
"""The options."""


def boundsOf(values: Values) -> dict[str, Any]:
    """
    Make that part of the L{ProxySettings} which these options say.

    @raise ConfigError: if one cannot be used.
    """
    if values["min-pace"] and not hasattr(socket, "TCP_INFO"):
        raise values.fault("min-pace", "must be 0, as this system does not measure the pace")
    head = values["max-head"]
    usual = _DEFAULTS.limits
    return {
        "minPace": values["min-pace"],
        "maxPending": values["max-pending"],
        "maxBody": values["max-body"],
        "maxConnections": values["max-connections"],
        "maxPerAddress": values["max-connections-per-address"],
        "maxLinks": values["max-links"],
        "maxBackends": values["max-backends"],
        "maxTunnels": values["max-tunnels"],
        "limits": Limits(
            head=head,
            line=min(usual.line, head),
            trailers=min(usual.trailers, head),
            interims=values["max-interim"],
        ),
    }


def fitInto(settings: ProxySettings, limit: int, warnings: list[str]) -> ProxySettings:
    """
    Promise no more connections than there are file descriptors for, and leave a quarter of them to agents.

    @param settings: what the options say.
    @param limit: how many descriptors the process may have; 0 where nobody knows.
    @param warnings: gets what the person who starts it should know.
    """
    if not limit:
        return settings
    room = roomFor(limit)
    most = max(1, room * 3 // 4)
    if settings.maxConnections > most:
        warnings.append(
            f"--max-connections is {most} instead of {settings.maxConnections}, as this process may"
            f" have only {limit} files open: {HINT}, or lower the option."
        )
    return evolve(settings, maxSockets=room, maxConnections=min(settings.maxConnections, most))
