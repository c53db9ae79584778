"""
What finds out who visits, with some users that it knows.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from invproxy.auth.sessions import Session
from invproxy.auth.throttle import FairThrottle
from invproxy.auth.visitors import Visitors
from invproxy.errors import Fault
from invproxy.test.helpers import FakePeer, requestHead


def basic(user: str, password: str) -> tuple[bytes, bytes]:
    """
    The field with Basic credentials.
    """
    return b"Authorization", b"Basic " + b64encode(f"{user}:{password}".encode())


@implementer(ICredentialsChecker)
class Checker:
    """
    Knows some users.

    @ivar asked: the names and passwords that were to be checked.
    @ivar later: while this is a list, answers wait in it.
    @ivar avatar: what to say of those that it knows, instead of their names.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, **users: str) -> None:
        self.users = users
        self.asked: list[tuple[str, str]] = []
        self.later: list[Deferred[Any]] | None = None
        self.error: Exception = UnauthorizedLogin()
        self.avatar: object = None

    def requestAvatarId(self, credentials: IUsernamePassword) -> Any:
        name, password = credentials.username.decode(), credentials.password.decode()
        self.asked.append((name, password))
        if self.later is not None:
            waiting: Deferred[Any] = Deferred()
            self.later.append(waiting)
            return waiting.addCallback(lambda _: self._answer(name, password))
        return self._answer(name, password)

    def _answer(self, name: str, password: str) -> Any:
        if self.users.get(name) == password:
            return succeed(name.encode() if self.avatar is None else self.avatar)
        return fail(self.error)


class VisitorsCase(SynchronousTestCase):
    """
    What these tests share.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.throttle = FairThrottle(self.clock)
        self.peer = FakePeer()
        self.checker = Checker(alice="wonder", bob="builder")
        self.visitors = self.make()

    def make(self, **options: Any) -> Visitors:
        options.setdefault("checkers", [self.checker])
        return Visitors(self.clock, self.throttle, **options)

    def begin(self, field: tuple[bytes, bytes]) -> Deferred[Any]:
        """
        Begin to find out who sent a request, where that takes a while.
        """
        found = self.visitors.identify(requestHead(fields=[field]), self.peer)
        assert isinstance(found, Deferred)
        return found

    def identify(
        self, *fields: tuple[bytes, bytes], peer: FakePeer | None = None, rest: bytes | None = None
    ) -> str:
        """
        Find out who sent a request.

        @param rest: what must go on of the fields, less Host.
        @return: the name, or the code of the fault.
        """
        head = requestHead(fields=fields)
        outcome: list[Any] = []
        try:
            found = self.visitors.identify(head, peer or self.peer)
            if isinstance(found, Deferred):
                found.addErrback(lambda failure: failure.value).addCallback(outcome.append)
            else:
                outcome.append(found)
        except Fault as fault:
            outcome.append(fault)
        if rest is not None:
            self.assertEqual(head.fields, b"\r\nHost: example.com" + rest)
        [found] = outcome or ["(waits)"]
        if isinstance(found, Session):
            return found.user
        if isinstance(found, Fault):
            self.fault = found
            return f"!{found.code.name}"
        assert isinstance(found, str)
        return found
