"""
What a header section may have: a bit for each kind of field for which somebody looks in every message, so that nobody
looks for what is not there. A bit says that there may be such a field; only a bit that is not set says something for
sure.
"""

from __future__ import annotations

from typing import Final

from invproxy.http1.fields import hyphenated

OWN: Final = 1
FORWARDING: Final = 2
VIA: Final = 4
DATE: Final = 8
REFERER: Final = 16
USER_AGENT: Final = 32
CACHING: Final = 64
ODD: Final = 128
"""
C{X-Inverting-Proxy-*} and its likenesses (L{invproxy.http1.fields.hyphenated}); C{Forwarded}, C{X-Forwarded-*},
C{X-Real-IP} and theirs; the fields of these names; C{Cache-Control} and C{Expires}; any whose name has more than
letters, digits and hyphens, and so may be a likeness.
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
    @return: its bits, or 0 if nobody looks for it.
    """
    plain = hyphenated(name)
    mark = ODD if plain != name else 0
    if plain.startswith(b"x-inverting-proxy-"):
        return mark | OWN
    if plain.startswith(b"x-forwarded-"):
        return mark | FORWARDING
    return mark | _BY_NAME.get(plain, 0)
