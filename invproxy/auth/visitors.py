"""
Who visits: how the end user of a request is found out. Several ways may be open at once, and what comes first counts:

 - the field in which a trusted proxy names the end user, which L{invproxy.proxy.public} reads;
 - HTTP Basic (RFC 7617), checked by what C{--auth} names. Then Basic credentials are the proxy's own: good or bad,
   they are never passed on;
 - the cookie of a session, which somebody has who signed in. The proxy's cookies are never passed on, either.

Who shows nothing is nobody, C{""}, and may visit what is for everybody.

Checking a password takes long on purpose, so what was found right is taken for right for a minute, by a keyed hash; and
a connection remembers the fields by which somebody was known last. The
same credentials that come many times at once, as a browser's do, are checked once.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from attrs import define
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import LoginFailed, UnhandledCredentials
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from invproxy.auth import basic
from invproxy.auth.approaches import Approaches
from invproxy.auth.cookies import SESSION, nameOf, takeOwn
from invproxy.auth.sessions import Session, Sessions
from invproxy.auth.throttle import FairThrottle, keyOf
from invproxy.errors import BAD_REQUEST, INTERNAL, TOO_MANY_ATTEMPTS, UNAUTHENTICATED, Fault
from invproxy.http1.fields import value, values
from invproxy.http1.heads import RequestHead
from invproxy.interfaces import IPeer
from invproxy.tables import Table

_log = Logger(namespace="invproxy.auth")

_FRESH = 60.0
"""Seconds for which credentials that were found right need not be checked again."""

_REMEMBERED = 12 * 3600.0
"""
Seconds for which it is remembered that they were right, and where: there nobody who guesses can lock them out.
"""

_MOST_REMEMBERED = 10_000
_MOST_PLACES = 16
"""Places where the same credentials are remembered."""

_MOST_CHECKS = 100
"""
Checks under way at once, by all peers together: more would wait too long to be of use. As many again are for
credentials that were right before.
"""

_MOST_GUESSES = 5
"""Checks under way at once for one address, but of credentials that were right before: others shall have theirs."""

_LONGEST_RECOGNIZED = 2048
"""Bytes of fields by which a connection remembers who has sent them."""

_CHECK_TIMEOUT = 30.0

_MOST_USER = 320
"""Characters in the name of an end user: as many as an email address may have."""

_AUTHORIZATION = b"\r\nauthorization:"


def cleanUser(name: object) -> str | None:
    """
    See that something can be the name of an end user: it goes into header fields and logs.

    @return: the name, or L{None} if it cannot be.
    """
    if not isinstance(name, str) or not 0 < len(name) <= _MOST_USER:
        return None
    return name if name.isprintable() and name == name.strip() else None


@define(eq=False)
class _Known:
    """
    Credentials that were found right.

    @ivar name: whose they are.
    @ivar freshUntil: until when they need not be checked again.
    @ivar until: until when they are remembered.
    @ivar places: for whom failures counted where they were right, those used first before others.
    """

    name: str
    freshUntil: float
    until: float
    places: dict[str, None]

    def add(self, place: str) -> None:
        self.places.pop(place, None)
        self.places[place] = None
        if len(self.places) > _MOST_PLACES:
            del self.places[next(iter(self.places))]


class _Recognition:
    """
    What a connection has shown last, and who that was: on the same connection the same fields say the same.

    @ivar owner: what has found that out.
    @ivar fields: the fields of the request as they came.
    @ivar rest: the same less what is the proxy's own.
    @ivar known: the credentials among them.
    """

    __slots__ = ("fields", "known", "owner", "rest")

    def __init__(self, owner: Visitors, fields: bytes, rest: bytes, known: _Known) -> None:
        self.owner = owner
        self.fields = fields
        self.rest = rest
        self.known = known


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
        throttle: FairThrottle,
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
        self._seconds = clock.seconds
        self._checkers = tuple(checkers)
        self._sessions = sessions
        self._userHeader = userHeader
        self._key = secrets.token_bytes(32)
        # By keyed hashes of credentials; those that were checked longest ago first.
        self._known: dict[bytes, _Known] = {}
        self._underWay: dict[bytes, list[Deferred[str]]] = {}
        self._guesses: dict[str, int] = {}

    def tables(self) -> list[Table]:
        """
        Tell how many credentials are known, and how many are being checked.
        """
        found = [
            Table("passwords", len(self._known), _MOST_REMEMBERED, True),
            Table("password_checks", len(self._underWay), _MOST_CHECKS),
            *self.throttle.tables(),
        ]
        return found if self._sessions is None else found + self._sessions.tables()

    def identify(self, head: RequestHead, peer: IPeer) -> str | Session | Deferred[str]:
        """
        Find out who sent a request, and take the credentials that are the proxy's own out of its fields.

        @param head: the request as it came.
        @param peer: the connection on which it came.
        @return: the name, C{""} for nobody; the session of who has signed in. A Deferred where that takes a while.
        @raise Fault: or fails with it: unauthenticated with a challenge, too-many-attempts, bad-request for
            credentials that contradict each other, internal if they could not be checked.
        """
        fields = head.fields
        memory = peer.memory
        if isinstance(memory, _Recognition) and memory.owner is self:
            if self._seconds() >= memory.known.freshUntil:
                peer.memory = None
            elif memory.fields == fields:
                head.fields = memory.rest
                return memory.known.name
        given = None
        if self._checkers:
            given = self._takeBasic(head)
        session = None
        if self._sessions is not None:
            session = self._takeSession(head, peer)
        if self._userHeader is not None and self._isNamed(head, peer):
            return ""  # the name is read where all the rest of that is
        if given is not None:
            return self._checkBasic(given, head, peer, fields)
        return session or ""

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
            if any(basic.givenOf(each) is not None for each in values(fields, b"authorization")):
                raise Fault(BAD_REQUEST, "more than one Authorization")
            return None
        end = fields.find(b"\r\n", at + 2)
        if end < 0:
            end = len(fields)
        given = basic.givenOf(fields[at + len(_AUTHORIZATION) : end].strip(b" \t"))
        if given is not None:
            head.fields = fields[:at] + fields[end:]
        return given

    def _checkBasic(
        self, given: bytes, head: RequestHead, peer: IPeer, fields: bytes
    ) -> str | Deferred[str]:
        """
        @param fields: all fields as they came.
        """
        key = self._hash(given)
        client = self.approaches.clientOf(head, peer)
        place = keyOf(client)
        now = self._seconds()
        known = self._known.get(key)
        isKnownHere = known is not None and now < known.until and place in known.places
        pair: tuple[bytes, bytes] | None = None
        who = b""
        if not isKnownHere:
            # What is known elsewhere does not pass, either: whoever guesses would find out for nothing what is in use.
            pair = self._pairOf(given)
            who = self._hash(pair[0])
            self.throttle.check(client, who)
        if known is not None and now < known.freshUntil:
            if not isKnownHere:
                known.add(place)
            if len(fields) <= _LONGEST_RECOGNIZED:
                peer.memory = _Recognition(self, fields, head.fields, known)
            return known.name
        mine: Deferred[str] = Deferred()
        waiting = self._underWay.get(key)
        if waiting is not None:
            waiting.append(mine)
            return mine
        pair = pair or self._pairOf(given)
        if len(self._underWay) >= (_MOST_CHECKS * 2 if isKnownHere else _MOST_CHECKS):
            raise _tooMany()
        if not isKnownHere:
            if self._guesses.get(place, 0) >= _MOST_GUESSES:
                raise _tooMany()
            self.throttle.attempt(client, who)
            self._guesses[place] = self._guesses.get(place, 0) + 1
        self._underWay[key] = [mine]
        checked = Deferred.fromCoroutine(self._check(*pair))
        checked.addTimeout(_CHECK_TIMEOUT, self._clock)
        checked.addErrback(self._broken)
        if not isKnownHere:
            checked.addCallback(self._guessed, place, client, who)
        checked.addCallback(self._checked, key, place)
        return mine

    def _pairOf(self, given: bytes) -> tuple[bytes, bytes]:
        """
        @return: the name and the password.
        @raise Fault: (unauthenticated) if there are none. That is no guess, and nobody is asked, so it does not count:
            neither against whoever sent it nor against others at the same address.
        """
        pair = basic.parse(given)
        if pair is None or not pair[0]:
            raise self.challenge("The credentials are not a name, a colon and a password.")
        return pair

    def _hash(self, secret: bytes) -> bytes:
        return blake2b(secret, key=self._key, digest_size=24).digest()

    async def _check(self, username: bytes, password: bytes) -> str | None:
        """
        @return: the name, or L{None} if no checker knows them.
        @raise Exception: what the last checker raised that could not do its work, if none knows them.
        """
        broken: Exception | None = None
        for checker in self._checkers:
            credentials = UsernamePassword(username, password)
            # Whatever the interface says: some checkers give text.
            asked: Any = maybeDeferred(checker.requestAvatarId, credentials)
            try:
                avatar = await asked
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

    def _guessed(
        self, outcome: str | Fault | None, place: str, client: IPeer | str, who: bytes
    ) -> str | Fault | None:
        left = self._guesses.pop(place) - 1
        if left:
            self._guesses[place] = left
        if outcome is None:
            self.throttle.fail(client, who)
        else:
            self.throttle.succeed(client, who)
        return outcome

    def _checked(self, outcome: str | Fault | None, key: bytes, place: str) -> None:
        waiting = self._underWay.pop(key)
        if outcome is None:
            self._known.pop(key, None)
            outcome = self.challenge("The name or the password is wrong.")
        if isinstance(outcome, str):
            now = self._clock.seconds()
            former = self._known.pop(key, None)
            places = {} if former is None or now >= former.until else former.places
            known = _Known(outcome, now + _FRESH, now + _REMEMBERED, places)
            known.add(place)
            self._known[key] = known
            if len(self._known) > _MOST_REMEMBERED:
                del self._known[next(iter(self._known))]
        for deferred in waiting:
            if deferred.called:  # cancelled, as its client has left
                continue
            if isinstance(outcome, str):
                deferred.callback(outcome)
            else:
                deferred.errback(Failure(outcome))


def _tooMany() -> Fault:
    return Fault(TOO_MANY_ATTEMPTS, "try again in 1 s", b"\r\nRetry-After: 1")
