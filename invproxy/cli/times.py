"""
Times as people say them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from invproxy.units import span

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_isSpan = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII).fullmatch
_isDate = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII).fullmatch


def expiry(given: str, now: float) -> str:
    """
    Understand until when something shall be valid.

    @param given: a span from now such as C{12h}, C{30d} or C{2w}, a date, or a time as in RFC 3339.
    @param now: seconds since the epoch.
    @return: a time as in RFC 3339.
    @raise ValueError: if it is none of these, or in the past; the text says what is allowed.
    """
    found = _isSpan(given)
    try:
        if found is not None:
            moment = datetime.fromtimestamp(int(now) + int(found[1]) * _UNITS[found[2]], UTC)
        else:
            moment = datetime.fromisoformat(given)
    except (ValueError, OverflowError):
        raise ValueError(_ALLOWED) from None
    if _isDate(given):
        moment = moment.replace(tzinfo=UTC)
    elif moment.tzinfo is None:
        raise ValueError("must say its time zone, such as 2027-01-31T12:00:00Z")
    if moment.timestamp() <= now:
        raise ValueError("must be in the future")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_ALLOWED = "must be a span such as 12h, 30d or 2w, a date such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z"


def since(seconds: float) -> str:
    """
    Say how long ago something was.

    @param seconds: for how long it has been.
    """
    return "just now" if seconds < 2 else f"{span(seconds)} ago"


def relative(stamp: object, now: float) -> str:
    """
    Say when something was or will be.

    @param stamp: a time as in RFC 3339; anything else is shown as it is.
    @param now: seconds since the epoch.
    """
    try:
        moment = datetime.fromisoformat(str(stamp)).timestamp()
    except ValueError:
        return str(stamp)
    return since(now - moment) if moment <= now + 1 else f"{span(moment - now)} from now"
