"""
Who visits: how the end user of a request is found out. Several ways may be open at once, and what comes first counts:

 - the field in which a trusted proxy names the end user, which L{invproxy.proxy.public} reads;
 - HTTP Basic (RFC 7617), checked by what C{--auth} names. Then Basic credentials are the proxy's own: good or bad,
   they are never passed on;
 - the cookie of a session, which somebody has who signed in. The proxy's cookies are never passed on, either.

Who shows nothing is nobody, C{""}, and may visit what is for everybody.

Checking a password takes long on purpose, so what was found right is remembered for a minute, by a keyed hash. The
same credentials that come many times at once, as a browser's do, are checked once.
"""

from __future__ import annotations

import re
import secrets
from base64 import b64decode
from collections.abc import Callable, Sequence
from hashlib import blake2b

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import LoginFailed, UnhandledCredentials
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from invproxy.auth.cookies import SESSION, nameOf, takeOwn
from invproxy.auth.sessions import Session, Sessions
from invproxy.auth.throttle import Throttle
from invproxy.errors import BAD_REQUEST, INTERNAL, TOO_MANY_ATTEMPTS, UNAUTHENTICATED, Fault
from invproxy.http1.fields import elements, value, values
from invproxy.http1.heads import RequestHead, isAuthority
from invproxy.interfaces import IPeer

_log = Logger(namespace="invproxy.auth")

_REMEMBERED = 60.0
"""Seconds for which credentials that were found right need not be checked again."""

_MOST_REMEMBERED = 10_000
_MOST_CHECKS = 100
"""Checks under way at once, by all peers together: more would wait too long to be of use."""

_CHECK_TIMEOUT = 30.0

_MOST_USER = 320
"""Characters in the name of an end user: as many as an email address may have."""

_isBasic = re.compile(rb"basic(?:[ \t]+([^\r\n]*))?", re.IGNORECASE).fullmatch
_AUTHORIZATION = b"\r\nauthorization:"


def cleanUser(name: object) -> str | None:
    """
    See that something can be the name of an end user: it goes into header fields and logs.

    @return: the name, or L{None} if it cannot be.
    """
    if not isinstance(name, str) or not 0 < len(name) <= _MOST_USER:
        return None
    return name if name.isprintable() and name == name.strip() else None


class Approaches:
    """
    Tells from where requests came, where trusted proxies may stand in between.
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
        self._trustsAnyone = trusts is not None or trustsUnix

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
        if not self._trustsAnyone or not self.isTrusted(peer):
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
        """
        if not self.isTrusted(peer):
            return peer
        for found in reversed(elements(values(head.fields, b"x-forwarded-for"))):
            # Further to the left stands what anybody may have made up.
            host = found.decode("latin-1")
            if self._trusts is None or not self._trusts(host):
                return host
        return peer


_PROTO = re.compile(rb"(?:^|[;,])[ \t]*proto=\"?([A-Za-z]+)", re.IGNORECASE).findall


class Visitors:
    """
    Finds out end users.

    @ivar approaches: tells from where requests came.
    @ivar throttle: slows down who guesses.
    @ivar canSignIn: whether there is anything that a visitor who is not known could do about it.
    """

    def __init__(
        self,
        clock: IReactorTime,
        throttle: Throttle,
        *,
        approaches: Approaches | None = None,
        checkers: Sequence[ICredentialsChecker] = (),
        sessions: Sessions | None = None,
        userHeader: bytes | None = None,
    ) -> None:
        """
        @param clock: what tells the time.
        @param throttle: slows down who guesses.
        @param approaches: tells from where requests came.
        @param checkers: check names and passwords, tried in order.
        @param sessions: those of people who have signed in; L{None} if nobody can.
        @param userHeader: the field in which trusted proxies name the end user.
        """
        self.approaches = approaches or Approaches()
        self.throttle = throttle
        self.canSignIn = bool(checkers) or sessions is not None
        self._clock = clock
        self._checkers = tuple(checkers)
        self._sessions = sessions
        self._userHeader = userHeader
        self._key = secrets.token_bytes(32)
        # Names, and until when they are remembered, by keyed hashes of credentials; the oldest first.
        self._known: dict[bytes, tuple[str, float]] = {}
        self._underWay: dict[bytes, list[Deferred[str]]] = {}

    def identify(self, head: RequestHead, peer: IPeer) -> str | Deferred[str]:
        """
        Find out who sent a request, and take the credentials that are the proxy's own out of its fields.

        @param head: the request as it came.
        @param peer: the connection on which it came.
        @return: the name, C{""} for nobody. A Deferred where that takes a while.
        @raise Fault: or fails with it: unauthenticated with a challenge, too-many-attempts, bad-request for
            credentials that contradict each other, internal if they could not be checked.
        """
        basic = None
        if self._checkers:
            basic = self._takeBasic(head)
        session = None
        if self._sessions is not None:
            session = self._takeSession(head, peer)
        if self._userHeader is not None and self._isNamed(head, peer):
            return ""  # the name is read where all the rest of that is
        if basic is not None:
            return self._checkBasic(basic, head, peer)
        return "" if session is None else session.user

    def sessionOf(self, head: RequestHead, peer: IPeer) -> Session | None:
        """
        Find the session of a request.
        """
        return self._takeSession(head, peer)

    def _isNamed(self, head: RequestHead, peer: IPeer) -> bool:
        assert self._userHeader is not None
        return bool(value(head.fields, self._userHeader)) and self.approaches.isTrusted(peer)

    def _takeSession(self, head: RequestHead, peer: IPeer) -> Session | None:
        head.fields, own = takeOwn(head.fields)
        if not own or self._sessions is None:
            return None
        # That of plain HTTP counts for nothing over TLS: anybody on the way may have planted it.
        secret = own.get(nameOf(SESSION, self.approaches.isSecure(head, peer)))
        return None if secret is None else self._sessions.find(secret)

    def challenge(self, detail: str = "") -> Fault:
        """
        Make the answer to who must sign in and may do it by what a program can send (RFC 9110, section 11.6.1).

        @param detail: more for a person.
        """
        fields = b""
        if self._checkers:
            fields += b'\r\nWWW-Authenticate: Basic realm="invproxy", charset="UTF-8"'
        if self._sessions is not None:
            fields += (
                b'\r\nWWW-Authenticate: Cookie realm="invproxy",'
                b' form-action="/.invproxy/sign-in", cookie-name="%b"' % nameOf(SESSION, True)
            )
            detail = detail or "Open /.invproxy/sign-in in a browser."
        return Fault(UNAUTHENTICATED, detail, fields)

    # Basic.

    def _takeBasic(self, head: RequestHead) -> bytes | None:
        """
        Take Basic credentials out of a request.

        @return: what stood behind the scheme, or L{None} if there were none.
        """
        fields = head.fields
        lower = fields.lower()
        at = lower.find(_AUTHORIZATION)
        if at < 0:
            return None
        if lower.find(_AUTHORIZATION, at + 1) >= 0:
            if any(_isBasic(each) for each in values(fields, b"authorization")):
                raise Fault(BAD_REQUEST, "more than one Authorization")
            return None
        end = fields.find(b"\r\n", at + 2)
        if end < 0:
            end = len(fields)
        matched = _isBasic(fields[at + len(_AUTHORIZATION) : end].strip(b" \t"))
        if matched is None:
            return None
        head.fields = fields[:at] + fields[end:]
        return matched[1] or b""

    def _checkBasic(self, given: bytes, head: RequestHead, peer: IPeer) -> str | Deferred[str]:
        key = blake2b(given, key=self._key, digest_size=24).digest()
        known = self._known.get(key)
        if known is not None:
            if self._clock.seconds() < known[1]:
                return known[0]
            del self._known[key]
        client = self.approaches.clientOf(head, peer)
        self.throttle.check(client)
        waiting = self._underWay.get(key)
        if waiting is None:
            pair = _parse(given)
            if pair is None:
                self.throttle.fail(client)
                raise self.challenge("The credentials are not a name, a colon and a password.")
            if len(self._underWay) >= _MOST_CHECKS:
                raise Fault(TOO_MANY_ATTEMPTS, "try again in 1 s", b"\r\nRetry-After: 1")
            self.throttle.attempt(client)
            waiting = self._underWay[key] = []
            mine: Deferred[str] = Deferred()
            waiting.append(mine)
            checked = Deferred.fromCoroutine(self._check(*pair))
            checked.addTimeout(_CHECK_TIMEOUT, self._clock)
            checked.addErrback(self._broken)
            checked.addCallback(self._checked, key, client)
            return mine
        mine = Deferred()
        waiting.append(mine)
        return mine

    async def _check(self, username: bytes, password: bytes) -> str | None:
        """
        @return: the name, or L{None} if no checker knows them.
        @raise Exception: what the last checker raised that could not do its work, if none knows them.
        """
        broken: Exception | None = None
        for checker in self._checkers:
            credentials = UsernamePassword(username, password)
            try:
                avatar = await maybeDeferred(checker.requestAvatarId, credentials)
            except (LoginFailed, UnhandledCredentials):
                continue
            except CancelledError:
                raise
            except Exception as error:
                broken = error
                continue
            try:
                name = cleanUser(avatar.decode("utf-8") if isinstance(avatar, bytes) else avatar)
            except UnicodeDecodeError:
                name = None
            if name is not None:
                return name
        if broken is not None:
            raise broken
        return None

    def _broken(self, failure: Failure) -> Fault:
        # Not with its traceback, as there is no telling what a checker says of what it was given.
        _log.error("Credentials could not be checked: {kind}", kind=type(failure.value).__name__)
        return Fault(INTERNAL)

    def _checked(self, outcome: str | Fault | None, key: bytes, client: IPeer | str) -> None:
        waiting = self._underWay.pop(key)
        if outcome is None:
            self.throttle.fail(client)
            outcome = self.challenge("The name or the password is wrong.")
        else:
            self.throttle.succeed(client)
        if isinstance(outcome, str):
            self._known[key] = (outcome, self._clock.seconds() + _REMEMBERED)
            if len(self._known) > _MOST_REMEMBERED:
                del self._known[next(iter(self._known))]
        for deferred in waiting:
            if deferred.called:  # cancelled, as its client has left
                continue
            if isinstance(outcome, str):
                deferred.callback(outcome)
            else:
                deferred.errback(Failure(outcome))


def _parse(given: bytes) -> tuple[bytes, bytes] | None:
    """
    Read Basic credentials.

    @return: the name and the password, or L{None} if they are none.
    """
    try:
        name, colon, password = b64decode(given.strip(b" \t"), validate=True).partition(b":")
    except ValueError:
        return None
    return (name, password) if colon and name else None
