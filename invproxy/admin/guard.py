"""
Who may use the admin endpoint.

Two ways to say so. Without a token only peers on the same machine may, and only by a name that is the machine's own:
somebody's DNS may point any other name here, and a page that was loaded by that name could then read what it asks for
(DNS rebinding). With a token whoever has it may, from wherever. Programs send it as a bearer; a browser can only send
what a person types, so it is taken as the password of HTTP Basic, too, but to look at things only: once it was typed, a
browser sends it along with whatever any site has it ask for.

In both ways, what a browser sends on behalf of another site is refused: such requests carry an C{Origin} or a
C{Sec-Fetch-Site} that says so. There are no cookies here. Over plain HTTP a page can have a browser that knows the
password ask for something without either; what that answers is for no other site to see (see
L{invproxy.admin.endpoint}), and changes nothing.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.web.server import Request

from invproxy.admin.answers import Problem
from invproxy.admin.token import AdminToken
from invproxy.auth import basic
from invproxy.auth.throttle import Throttle

_LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))

_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Fields that proxies add."""

_HEALTH = frozenset((b"/healthz", b"/readyz"))
"""With a token, these tell everybody what they tell: whoever sees to it that the process lives needs no secrets."""

_SAFE = frozenset((b"GET", b"HEAD"))
"""Methods that change nothing: what a browser sends by itself is good for these."""

_REALM = 'realm="invproxy admin"'

_bearer = re.compile(rb"bearer +([\x21-\x7e]+) *", re.IGNORECASE).fullmatch


class Guard:
    """
    Lets requests in, or says why not.
    """

    def __init__(self, token: AdminToken | None, throttle: Throttle) -> None:
        """
        @param token: the token, if there is one.
        @param throttle: counts those who guess.
        """
        self._token = token
        self._throttle = throttle

    def admit(self, request: Request) -> None:
        """
        Let a request in.

        @raise Problem: if it must not.
        @raise Fault: (too-many-attempts) if its peer has guessed too often.
        """
        if self._token is None:
            self._insistOnLoopback(request)
        self._refuseOtherSites(request)
        if self._token is not None and request.path not in _HEALTH:
            self._authenticate(request, self._token)

    def credentialOf(self, request: Request) -> str:
        """
        Say by what right a request that was let in is here, for the audit log.
        """
        return "loopback" if self._token is None else "token"

    def _insistOnLoopback(self, request: Request) -> None:
        if not isLoopback(request):
            raise _forbidden(
                "without --admin-token-file the admin endpoint answers programs on its own machine only"
            )
        if any(request.requestHeaders.hasHeader(name) for name in _FORWARDED):
            # A proxy on this machine makes a loopback peer of everybody.
            raise _forbidden(
                "without --admin-token-file the admin endpoint takes no requests that came through a"
                " proxy"
            )
        if _split("//" + _hostOf(request)).hostname not in _LOOPBACK_NAMES:
            raise _forbidden(
                "without --admin-token-file the admin endpoint answers to a loopback name only, such as"
                " localhost"
            )

    def _refuseOtherSites(self, request: Request) -> None:
        origin = request.getHeader("origin")
        site = request.getHeader("sec-fetch-site")
        if (origin is not None and _split(origin).netloc != _hostOf(request)) or site in (
            "cross-site",
            "same-site",
        ):
            raise _forbidden("the admin endpoint takes no requests from pages of other sites")

    def _authenticate(self, request: Request, token: AdminToken) -> None:
        if not token.isReadable():
            raise Problem(
                503,
                "token-unreadable",
                "the admin token cannot be read; the log of the proxy says why",
            )
        given = request.requestHeaders.getRawHeaders(b"authorization") or []
        if not given:
            raise _unauthenticated(
                request,
                "the admin API needs its token, as Authorization: Bearer ..., or, to look at it in a"
                " browser, as the password of any user",
            )
        if len(given) == 1:
            if request.method not in _SAFE and basic.givenOf(given[0]) is not None:
                # Not looked at, so it is no guess.
                raise _unauthenticated(
                    request,
                    "what changes something needs the token as Authorization: Bearer ..., as browsers"
                    " send passwords by themselves",
                )
            found = _tokenIn(given[0])
            if found is not None and token.matches(found):
                return
        # One look has shown that it is wrong, so nobody who has the token is kept out by those who guess.
        peer = peerOf(request)
        self._throttle.check(peer)
        self._throttle.fail(peer)
        raise _unauthenticated(
            request, "this is not the token of the admin API", ', error="invalid_token"'
        )


def _tokenIn(authorization: bytes) -> bytes | None:
    """
    Find what may be the token in the credentials of a request.
    """
    bearer = _bearer(authorization)
    if bearer is not None:
        return bearer[1]
    shown = basic.givenOf(authorization)
    pair = None if shown is None else basic.parse(shown)
    return None if pair is None else pair[1]


def _forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", detail)


def _unauthenticated(request: Request, detail: str, more: str = "") -> Problem:
    """
    @param more: parameters of the challenge to programs.
    """
    challenges = [("WWW-Authenticate", f"Bearer {_REALM}{more}")]
    if request.method in _SAFE and "text/html" in (request.getHeader("accept") or "").lower():
        # A field of its own: browsers do not look behind the first challenge of a field.
        challenges.append(("WWW-Authenticate", f"Basic {_REALM}"))
    return Problem(401, "unauthenticated", detail, headers=challenges)


def peerOf(request: Request) -> str:
    """
    Name the peer of a request: its IP address, or C{"unix"}.
    """
    address = request.getClientAddress()
    return address.host if isinstance(address, IPv4Address | IPv6Address) else "unix"


def isLoopback(request: Request) -> bool:
    """
    Say whether the peer of a request is on the same machine.
    """
    peer = request.getClientAddress()
    if not isinstance(peer, IPv4Address | IPv6Address):
        return isinstance(peer, UNIXAddress)
    try:
        address = ip_address(peer.host.partition("%")[0])
    except ValueError:  # a header of the PROXY protocol may say anything
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback


def _hostOf(request: Request) -> str:
    return request.getHeader("host") or ""


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # brackets around what is no address
        return SplitResult("", "", "", "", "")
