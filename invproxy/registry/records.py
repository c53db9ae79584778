"""
Records of backends and of their agents' tokens: values, how they are read from JSON, and how they are shown.

Field names in JSON are those of the original's admin API, and C{endUsers} and C{hosts} besides; docs/registry.md
describes them for administrators.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from itertools import product

from attrs import field, frozen

from invproxy.wire.poll import isBackendID

ALL_USERS = "allUsers"
"""The end user that stands for everybody, signed in or not."""

MAX_PREFIXES = 64
MAX_HOSTS = 64
MAX_END_USERS = 1024
MAX_ROUTES = 1 << 14
"""How many combinations of an end user, a host and a path prefix one record may have."""

MAX_PREFIX = 1024
"""How many bytes a path prefix may have."""

MAX_USER = 320
"""How many characters an end user or a backend user may have: as many as an email address may."""


class InvalidRecord(Exception):
    """
    What an administrator asked for cannot be.

    @ivar field: the JSON field that is wrong, or C{""} if it is the whole.
    @ivar why: what is wrong with it, and what is allowed.
    """

    def __init__(self, field: str, why: str) -> None:
        super().__init__(field, why)
        self.field = field
        self.why = why

    def __str__(self) -> str:
        return f"{self.field}: {self.why}" if self.field else self.why


@frozen
class Backend:
    """
    The record of a backend.

    @ivar id: what names it towards agents and administrators.
    @ivar endUser: who may visit it: a name, a pattern such as C{*@example.com}, L{ALL_USERS}, or C{""} for nobody but
        C{endUsers}.
    @ivar backendUser: who its agents are, as their JWTs or certificates name them; C{""}: tokens alone authenticate.
    @ivar pathPrefixes: which paths it has, by prefixes.
    @ivar endUsers: who else may visit it, likewise.
    @ivar hosts: on which hosts it is: names, patterns such as C{*.example.com}, IP addresses; none is any.
    @ivar lastUsed: when an agent of it was last seen, in seconds since the epoch, or L{None}.
    """

    id: str
    endUser: str
    backendUser: str
    pathPrefixes: tuple[str, ...]
    endUsers: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    lastUsed: float | None = None

    def users(self) -> tuple[str, ...]:
        """
        List all who may visit it, each once, as L{canonicalUser} has them.
        """
        named = (canonicalUser(user) for user in (self.endUser, *self.endUsers))
        return tuple(dict.fromkeys(user for user in named if user))


@frozen
class Token:
    """
    A credential of the agents of one backend. Nobody knows the secret but who was shown it.

    @ivar backend: the ID of the backend.
    @ivar name: what names it among those of the backend.
    @ivar digest: L{digestOf} the secret.
    @ivar created: when it was made, in seconds since the epoch.
    @ivar expires: until when it is valid, or L{None} for ever.
    @ivar lastUsed: when an agent last authenticated by it, or L{None}.
    """

    backend: str
    name: str
    digest: bytes = field(repr=False)
    created: float
    expires: float | None = None
    lastUsed: float | None = None


@frozen
class TokenRequest:
    """
    What an administrator asks for in a token.

    @ivar name: what names it among those of its backend.
    @ivar expires: until when it is to be valid, in seconds since the epoch, or L{None} for ever.
    """

    name: str
    expires: float | None = None


def digestOf(secret: str | bytes) -> bytes:
    """
    What is kept of a secret: its SHA-256. It needs no salt and no slowness, as secrets are 256 random bits.
    """
    return hashlib.sha256(secret.encode("utf-8") if isinstance(secret, str) else secret).digest()


# Canonical forms.


def canonicalUser(name: str) -> str:
    """
    Bring the name of an end user into the form in which names are compared: without white space around it. In email
    addresses, and patterns of them, ASCII letters are made small; those beyond ASCII stay as they are: some become
    ASCII when they are made small (the Kelvin sign), and so somebody else's name. All other names stay as they are, as
    C{Ann} and C{ann} may be two people: a C{sub} of OpenID Connect is case-sensitive.
    """
    name = name.strip(" \t")
    if "@" not in name:
        return name
    return name.lower() if name.isascii() else name.translate(_SMALL)


_SMALL = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def canonicalHost(host: str | bytes) -> str:
    """
    Bring the value of Host into the form in which hosts are compared: without port and final dot, letters small, IP
    addresses as short as can be.
    """
    if isinstance(host, bytes):
        host = host.decode("latin-1")
    if host.startswith("["):
        host = host[1:].partition("]")[0]
        try:
            return ip_address(host).compressed
        except ValueError:
            return host
    return host.partition(":")[0].lower().removesuffix(".")


def canonicalPath(path: str | bytes) -> bytes:
    """
    Bring a path into the form in which paths are compared (RFC 3986, section 6.2.2): what need not be
    percent-encoded in a segment is not, what must be is, in capital digits. An encoded C{;} stays as it is, as a plain
    one may end the segment's name. Dot segments stay: they are the backend's to resolve.
    """
    if isinstance(path, str):
        path = path.encode("utf-8", "surrogateescape")
    if path.isascii() and b"%" not in path:
        return path
    path = _ENCODED.sub(_decodeOne, path)
    return path if path.isascii() else _BEYOND_ASCII.sub(_encodeOne, path)


_ENCODED = re.compile(rb"%(?:[0-9A-Fa-f]{2})?")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_PLAIN = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@"
)
"""What may stand in a segment of a path (RFC 3986, section 3.3), all but C{;}."""


def _formOf(digits: bytes) -> bytes:
    code = int(digits, 16)
    return bytes((code,)) if code in _PLAIN else b"%%%02X" % code


_DIGITS = b"0123456789ABCDEFabcdef"
_FORMS = {b"%%%c%c" % pair: _formOf(bytes(pair)) for pair in product(_DIGITS, _DIGITS)}
_FORMS[b"%"] = b"%25"


def _decodeOne(found: re.Match[bytes]) -> bytes:
    return _FORMS[found[0]]


def _encodeOne(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


# Reading.

_BACKEND_FIELDS = ("id", "endUser", "backendUser", "pathPrefixes", "endUsers", "hosts", "lastUsed")
_TOKEN_FIELDS = ("name", "expires")

_isTokenName = re.compile(r"[0-9A-Za-z][0-9A-Za-z._@:\-]{0,63}").fullmatch
_isHostName = re.compile(
    r"(?=.{1,253}\Z)(?:\*\.)?[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?"
    r"(?:\.[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?)*"
).fullmatch
_isTime = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+\-]\d\d:\d\d)", re.ASCII
).fullmatch
_isDomain = re.compile(r"\*@[^@*]+").fullmatch
_hasBadEncoding = re.compile(r"%(?![0-9A-Fa-f]{2})").search


def parseBackend(obj: object, *, id: str | None = None) -> Backend:
    """
    Read the record of a backend as an administrator gives it.

    @param obj: decoded JSON.
    @param id: its ID where the address says it; then the record may leave it out, but not say otherwise.
    @raise InvalidRecord: if it is not what can be a record.
    """
    given = _object(obj, _BACKEND_FIELDS, "a backend")
    named = given.get("id", id)
    if named is None:
        raise InvalidRecord("id", "is missing")
    if not isinstance(named, str) or not _isID(named):
        raise InvalidRecord(
            "id",
            "must be 1 to 256 of the letters a to z and A to Z, digits, and - . _ ~ : @ /,"
            " but not . or ..",
        )
    if id is not None and named != id:
        raise InvalidRecord("id", "must be the one in the address, or left out")
    endUser = _user("endUser", given.get("endUser", ""))
    endUsers = _strings("endUsers", given.get("endUsers", []), MAX_END_USERS, partial(_user))
    if not endUser and not any(endUsers):
        raise InvalidRecord("endUser", _WHO)
    if "backendUser" not in given:
        raise InvalidRecord("backendUser", 'is missing; "" lets agents in by tokens alone')
    backendUser = _name("backendUser", given["backendUser"])
    if "pathPrefixes" not in given:
        raise InvalidRecord("pathPrefixes", 'is missing; ["/"] is all paths')
    prefixes = _strings("pathPrefixes", given["pathPrefixes"], MAX_PREFIXES, _prefix)
    if not prefixes:
        raise InvalidRecord("pathPrefixes", 'must name one or more; ["/"] is all paths')
    hosts = _strings("hosts", given.get("hosts", []), MAX_HOSTS, _host)
    record = Backend(named, endUser, backendUser, prefixes, endUsers, hosts)
    if len(record.users()) * len(prefixes) * max(len(hosts), 1) > MAX_ROUTES:
        raise InvalidRecord(
            "endUsers",
            f"end users times hosts times path prefixes must be at most {MAX_ROUTES};"
            " a pattern such as *@example.com stands for many users",
        )
    return record


_WHO = (
    "or endUsers must say who may visit it: a user, *@example.com for a domain, or allUsers for"
    " everybody"
)


def _isID(text: str) -> bool:
    # In an address dots alone are steps through it, however they are encoded (RFC 3986, section 5.2.4).
    return text.isascii() and isBackendID(text.encode("ascii")) and text not in (".", "..")


def parseToken(obj: object) -> TokenRequest:
    """
    Read what an administrator asks for in a token: C{name}, and perhaps C{expires}.

    @param obj: decoded JSON.
    @raise InvalidRecord: if it is not what can be asked for.
    """
    given = _object(obj, _TOKEN_FIELDS, "a token")
    if "name" not in given:
        raise InvalidRecord("name", "is missing")
    expires = given.get("expires")
    return TokenRequest(
        checkTokenName(given["name"]), None if expires is None else _time("expires", expires)
    )


def checkTokenName(name: object) -> str:
    """
    See that this may name a token.

    @raise InvalidRecord: if not.
    """
    if not isinstance(name, str) or not _isTokenName(name):
        raise InvalidRecord(
            "name",
            "must be 1 to 64 of the letters a to z and A to Z, digits, and - . _ @ :, and begin"
            " with a letter or digit",
        )
    return name


def _object(obj: object, known: tuple[str, ...], what: str) -> dict[str, object]:
    if not isinstance(obj, dict):
        raise InvalidRecord("", f"must be a JSON object: {what}")
    for key in obj:
        if key not in known:
            allowed = ", ".join(name for name in known if name != "lastUsed")
            raise InvalidRecord(_shown(str(key)), f"is no field of {what}; those are {allowed}")
    return obj


def _shown(text: str) -> str:
    """
    What somebody sent, to be repeated in one line.
    """
    cut = text if len(text) <= 60 else f"{text[:60]}..."
    return cut if cut.isprintable() else ascii(cut)


def _strings(
    field: str, obj: object, most: int, check: Callable[[str, object], str]
) -> tuple[str, ...]:
    if not isinstance(obj, list | tuple):
        raise InvalidRecord(field, "must be an array of strings")
    if len(obj) > most:
        raise InvalidRecord(field, f"must have at most {most} entries")
    return tuple(dict.fromkeys(check(field, each) for each in obj))


def _name(field: str, obj: object) -> str:
    if not isinstance(obj, str):
        raise InvalidRecord(field, "must be a string")
    name = obj.strip(" \t")
    if len(name) > MAX_USER or not name.isprintable():
        raise InvalidRecord(field, f"must be at most {MAX_USER} printable characters")
    return name


def _user(field: str, obj: object) -> str:
    name = _name(field, obj)
    if not name and field == "endUsers":
        raise InvalidRecord(field, "must not have empty entries")
    if name != ALL_USERS and name.lower() == ALL_USERS.lower():
        raise InvalidRecord(field, f"{_shown(name)!r}: everybody is spelled {ALL_USERS}")
    if "*" in name and not _isDomain(name):
        raise InvalidRecord(
            field, f"{_shown(name)!r}: * stands only before a whole domain, as in *@example.com"
        )
    return name


def _prefix(field: str, obj: object) -> str:
    if not isinstance(obj, str):
        raise InvalidRecord(field, "must be an array of strings")
    if not obj.startswith("/"):
        raise InvalidRecord(field, f"{_shown(obj)!r} must begin with /")
    if not obj.isprintable() or any(mark in obj for mark in "?# \\"):
        raise InvalidRecord(
            field, f"{_shown(obj)!r} must have no ?, #, \\, white space or control characters"
        )
    if _hasBadEncoding(obj):
        raise InvalidRecord(field, f"{_shown(obj)!r} has a % without two hexadecimal digits")
    if len(canonicalPath(obj)) > MAX_PREFIX:
        raise InvalidRecord(field, f"{_shown(obj)!r} must have at most {MAX_PREFIX} bytes")
    return obj


def _host(field: str, obj: object) -> str:
    if not isinstance(obj, str):
        raise InvalidRecord(field, "must be an array of strings")
    name = obj.strip(" \t").lower().removesuffix(".")
    try:
        return ip_address(name.removeprefix("[").removesuffix("]")).compressed
    except ValueError:
        pass
    if not _isHostName(name):
        raise InvalidRecord(
            field,
            f"{_shown(obj)!r} must be a name (beyond ASCII: its xn-- form), *.example.com or an IP"
            " address, without a port",
        )
    return name


def _time(field: str, obj: object) -> float:
    if isinstance(obj, str) and _isTime(obj):
        try:
            seconds = float(int(datetime.fromisoformat(obj.upper()).timestamp()))
            formatSecond(seconds)  # it is a time in UTC, too
        except (ValueError, OverflowError):
            pass
        else:
            return seconds
    raise InvalidRecord(field, 'must be a time as in RFC 3339, such as "2027-01-31T12:00:00Z"')


# Showing.


def renderBackend(record: Backend) -> dict[str, object]:
    """
    Show a record as the admin API does; L{parseBackend} reads it again.

    @return: what becomes JSON; C{lastUsed} is absent if no agent was ever seen.
    """
    shown: dict[str, object] = {
        "id": record.id,
        "endUser": record.endUser,
        "backendUser": record.backendUser,
        "pathPrefixes": list(record.pathPrefixes),
        "endUsers": list(record.endUsers),
        "hosts": list(record.hosts),
    }
    if record.lastUsed is not None:
        shown["lastUsed"] = formatSecond(record.lastUsed)
    return shown


def renderToken(token: Token) -> dict[str, object]:
    """
    Show a token as the admin API does: all but the secret, which nobody has any more.

    @return: what becomes JSON; C{expires} is L{None} if it never does, C{lastUsed} is absent if it was not used yet.
    """
    shown: dict[str, object] = {
        "name": token.name,
        "created": formatSecond(token.created),
        "expires": None if token.expires is None else formatSecond(token.expires),
    }
    if token.lastUsed is not None:
        shown["lastUsed"] = formatSecond(token.lastUsed)
    return shown


def formatSecond(seconds: float) -> str:
    """
    Write a time as RFC 3339, in UTC and whole seconds.

    @param seconds: since the epoch.
    """
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def etag(record: Backend) -> str:
    """
    Name a version of a record (RFC 9110, section 8.8.3), quotes and all: of what an administrator set, so that an
    agent's visit makes no other version of it.
    """
    shown = renderBackend(record)
    shown.pop("lastUsed", None)
    text = json.dumps(shown, separators=(",", ":")).encode("ascii")
    return f'"{hashlib.sha256(text).hexdigest()[:32]}"'


_ETAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def matchesETag(condition: str, tags: Iterable[str]) -> bool:
    """
    Evaluate If-Match (RFC 9110, section 13.1.1).

    @param condition: the field's value: C{*}, or entity tags.
    @param tags: the tag of what there is; none if there is nothing.
    """
    present = set(tags)
    if condition.strip() == "*":
        return bool(present)
    return any(not weak and tag in present for weak, tag in _ETAG.findall(condition))
