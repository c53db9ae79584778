"""
What a header section may have: a bit for each kind of field for which somebody looks in every message, so that nobody
looks for what is not there. A bit says that there may be such a field; only a bit that is not set says something for
sure.
"""

from __future__ import annotations

from typing import Final

OWN: Final = 1
FORWARDING: Final = 2
VIA: Final = 4
DATE: Final = 8
REFERER: Final = 16
USER_AGENT: Final = 32
CACHING: Final = 64
"""
C{X-Inverting-Proxy-*} and its likenesses with C{_} for C{-}; C{Forwarded}, C{X-Forwarded-*}, C{X-Real-IP} and theirs;
the fields of these names; C{Cache-Control} and C{Expires}.
"""

ANYTHING: Final = -1
"""What a section may have at which nobody has looked."""

_BY_NAME: Final = {
    b"forwarded": FORWARDING,
    b"x-real-ip": FORWARDING,
    b"via": VIA,
    b"date": DATE,
    b"referer": REFERER,
    b"user-agent": USER_AGENT,
    b"cache-control": CACHING,
    b"expires": CACHING,
}


def markOf(name: bytes) -> int:
    """
    Say what a field is.

    @param name: its name in lower case.
    @return: its bit, or 0 if nobody looks for it.
    """
    name = name.replace(b"_", b"-")
    if name.startswith(b"x-inverting-proxy-"):
        return OWN
    if name.startswith(b"x-forwarded-"):
        return FORWARDING
    return _BY_NAME.get(name, 0)
