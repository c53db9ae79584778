"""
HTTP Basic (RFC 7617): what a request shows.
"""

from __future__ import annotations

import re
from base64 import b64decode

_isBasic = re.compile(rb"basic(?:[ \t]+([^\r\n]*))?", re.IGNORECASE).fullmatch


def givenOf(authorization: bytes) -> bytes | None:
    """
    Find Basic credentials.

    @param authorization: the value of the field, without white space around it.
    @return: what stands behind the scheme, whatever that is, or L{None} if it is another scheme.
    """
    matched = _isBasic(authorization)
    return None if matched is None else matched[1] or b""


def parse(given: bytes) -> tuple[bytes, bytes] | None:
    """
    Read Basic credentials.

    @param given: what stands behind the scheme.
    @return: the name, which may be empty, and the password, or L{None} if they are none.
    """
    try:
        name, colon, password = b64decode(given.strip(b" \t"), validate=True).partition(b":")
    except ValueError:
        return None
    return (name, password) if colon else None
