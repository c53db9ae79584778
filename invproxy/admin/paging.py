"""
Long lists in pages: C{limit} entries that come C{after} one, and a C{Link} to the next (RFC 8288).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from attrs import frozen

from invproxy.admin.answers import Headers, Problem

MOST = 1000
"""Entries that a page has at most, and where nobody asks for fewer."""

_LONGEST = 256


@frozen
class Page:
    """
    Which entries are asked for.

    @ivar limit: how many at most.
    @ivar after: those whose key comes behind this one; C{""} for the first page.
    """

    limit: int = MOST
    after: str = ""

    @classmethod
    def fromQuery(cls, args: Mapping[bytes, Sequence[bytes]]) -> Page:
        """
        Read the parameters C{limit} and C{after}; others are none of ours.

        @param args: the values of each parameter.
        @raise Problem: if one cannot be used.
        """
        limit = _parameter(args, "limit")
        number = MOST
        if limit is not None:
            if not (limit.isascii() and limit.isdigit() and len(limit) < 9 and int(limit)):
                raise _bad("limit", f"must be a number from 1 to {MOST}")
            number = min(int(limit), MOST)
        return cls(number, _parameter(args, "after") or "")

    def linkBehind(self, key: str) -> Headers:
        """
        Say where the next page is.

        @param key: that of the last entry of this one.
        """
        query = urlencode({"limit": self.limit, "after": key})
        # Of the address nothing but the query, as a proxy in front may have it at another one.
        return [("Link", f'<?{query}>; rel="next"')]


def _parameter(args: Mapping[bytes, Sequence[bytes]], name: str) -> str | None:
    values = args.get(name.encode("ascii"))
    if not values:
        return None
    if len(values) > 1:
        raise _bad(name, "must be given once")
    try:
        value = values[0].decode("utf-8")
    except UnicodeDecodeError:
        raise _bad(name, "must be UTF-8") from None
    if len(value) > _LONGEST:
        raise _bad(name, f"must have at most {_LONGEST} characters")
    return value


def _bad(name: str, why: str) -> Problem:
    return Problem(400, "bad-parameter", f"the parameter {name} {why}", field=name)
