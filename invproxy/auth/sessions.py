"""
Sessions of end users who have signed in. They live here, not in the cookie, which holds nothing but a secret that
nobody can guess; so a sign-out ends them for good, wherever copies of the cookie are.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from hashlib import blake2b

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from invproxy.tables import Table

LIFETIME = 12 * 3600.0
"""Seconds after which a session ends, however it is used."""

IDLE = 3600.0
"""Seconds without a request after which it ends."""

_MOST = 100_000
"""Sessions at once; beyond that, those unused for longest end."""

_MOST_OF_USER = 100
"""Sessions of one user at once, likewise: who signs in again and again ends nobody else's."""

_STEP = 60.0
"""Seconds within which it does not matter which of two sessions was used last."""


@define(eq=False)
class Session:
    """
    One session.

    @ivar user: who has signed in.
    @ivar began: when, in seconds on the clock.
    @ivar usedAt: when a request came last, or was still in flight.
    @ivar isOver: whether it has ended.
    """

    user: str
    began: float
    usedAt: float
    _digest: bytes = field(repr=False)
    _movedAt: float = field(repr=False)
    isOver: bool = False


class Sessions:
    """
    All sessions of a proxy, in memory.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        lifetime: float = LIFETIME,
        idle: float = IDLE,
        most: int = _MOST,
        mostOfUser: int = _MOST_OF_USER,
    ) -> None:
        """
        @param clock: what tells the time.
        @param lifetime: seconds after which a session ends.
        @param idle: seconds without a request after which it ends.
        @param most: how many there may be.
        @param mostOfUser: how many one user may have.
        """
        self._clock = clock
        self._lifetime = lifetime
        self._idle = idle
        self._most = most
        self._mostOfUser = mostOfUser
        # By the hash of their secrets, those unused for longest first, give or take a minute.
        self._sessions: dict[bytes, Session] = {}
        self._ofUser: dict[str, deque[Session]] = {}
        self._observers: dict[object, Callable[[], None]] = {}
        self._isToTell = False

    def __len__(self) -> int:
        return len(self._sessions)

    def tables(self) -> list[Table]:
        """
        Tell how many there are, of all users and of the one who has most.
        """
        ofUser = max(map(len, self._ofUser.values()), default=0)
        return [
            Table("sessions", len(self._sessions), self._most, True),
            Table("sessions_of_user", ofUser, self._mostOfUser, True),
        ]

    def open(self, user: str) -> str:
        """
        Begin a session.

        @param user: who has signed in.
        @return: the secret for the cookie: 256 random bits in URL-safe base64.
        """
        now = self._clock.seconds()
        self._sweep(now)
        secret = secrets.token_urlsafe(32)
        session = Session(user, now, now, _digestOf(secret.encode("ascii")), now)
        self._sessions[session._digest] = session
        ofUser = self._ofUser.setdefault(user, deque())
        ofUser.append(session)
        if len(ofUser) > self._mostOfUser:
            self._drop(min(ofUser, key=lambda each: each.usedAt))
        elif len(self._sessions) > self._most:
            self._drop(next(iter(self._sessions.values())))
        self._tell()
        return secret

    def find(self, secret: bytes) -> Session | None:
        """
        Find a session for a request, which keeps it from ending unused.

        @param secret: the value of the cookie.
        """
        session = self._sessions.get(_digestOf(secret))
        if session is None:
            return None
        now = self._clock.seconds()
        if now - session.usedAt > self._idle or now - session.began > self._lifetime:
            self._drop(session)
            self._tell()
            return None
        self._use(session, now)
        return session

    def keep(self, session: Session) -> None:
        """
        Take note that something of a session is still in flight, which keeps it from ending unused; but no longer than
        it may last.
        """
        now = self._clock.seconds()
        if session.isOver:
            return
        if now - session.began > self._lifetime:
            self._drop(session)
            self._tell()
        else:
            self._use(session, now)

    def _use(self, session: Session, now: float) -> None:
        session.usedAt = now
        if now - session._movedAt > _STEP:
            session._movedAt = now
            self._sessions[session._digest] = self._sessions.pop(session._digest)

    def end(self, session: Session) -> None:
        """
        End a session; once is enough.
        """
        if not session.isOver:
            self._drop(session)
            self._tell()

    def observe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """
        Ask to be told when sessions have ended, in whatever way that was found out: once for all that did at a time.

        @param callback: called when they have; it must not raise.
        @return: a function that takes the wish back.
        """
        key = object()
        self._observers[key] = callback
        return lambda: self._observers.pop(key, None) and None

    def _tell(self) -> None:
        if self._isToTell:
            self._isToTell = False
            for callback in list(self._observers.values()):
                callback()

    def _sweep(self, now: float) -> None:
        while self._sessions:
            oldest = next(iter(self._sessions.values()))
            if now - oldest.usedAt <= self._idle:
                break
            self._drop(oldest)

    def _drop(self, session: Session) -> None:
        session.isOver = self._isToTell = True
        del self._sessions[session._digest]
        ofUser = self._ofUser[session.user]
        ofUser.remove(session)
        if not ofUser:
            del self._ofUser[session.user]


def _digestOf(secret: bytes) -> bytes:
    # The secrets themselves are in nobody's memory but the browsers'.
    return blake2b(secret, digest_size=32).digest()
