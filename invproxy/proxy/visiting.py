"""
The public side of a proxy that asks who its visitors are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final
from urllib.parse import quote_from_bytes

from invproxy.auth.cookies import dropSet
from invproxy.auth.sessions import Session, Sessions
from invproxy.auth.visitors import Visitors
from invproxy.deadlines import Deadlines
from invproxy.errorpage import HTML, chooseMediaType
from invproxy.errors import FORBIDDEN, NO_BACKEND, UNAUTHENTICATED, Fault
from invproxy.exchange import Exchange
from invproxy.http1.fields import value, values
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.interfaces import IAnswer, IUpload
from invproxy.mailbox import Mailboxes
from invproxy.metrics import Tally
from invproxy.passing import PassingAnswer
from invproxy.proxy.public import PublicResource
from invproxy.proxy.settings import ProxySettings
from invproxy.proxy.streams import answerAtOnce
from invproxy.proxy.waiting import waitFor
from invproxy.registry.records import Backend
from invproxy.registry.registry import Change, Changed, Deleted
from invproxy.registry.routes import RouteTable
from invproxy.routing import OpenRouter, RegistryRouter, readings

SIGN_IN: Final = b"/.invproxy/sign-in"
"""Where browsers go to sign in."""

_LONGEST_TARGET: Final = 2048
"""Bytes of a target to which a browser is led back after signing in."""


class VisitedResource(PublicResource):
    """
    What clients see of a proxy that finds out end users.
    """

    def __init__(
        self,
        mailboxes: Mailboxes,
        router: OpenRouter | RegistryRouter,
        settings: ProxySettings,
        deadlines: Deadlines,
        visitors: Visitors,
        *,
        sessions: Sessions | None = None,
        metrics: Tally | None = None,
    ) -> None:
        """
        @param visitors: finds out end users.
        @param sessions: those of people who have signed in. A browser that must sign in is led to L{SIGN_IN} then.
        @param metrics: told of the ends of exchanges.
        """
        knownBy = (b"Authorization", b"Cookie") if sessions is not None else (b"Authorization",)
        super().__init__(mailboxes, router, settings, deadlines, knownBy=knownBy, metrics=metrics)
        self._visitors = visitors
        self._leadsToSignIn = sessions is not None
        self._expiry: Expiry | None = None
        if sessions is not None:
            self._expiry = Expiry(mailboxes, sessions, deadlines, visitors)

    def serve(
        self, head: RequestHead, answer: IAnswer, endUser: str = "", session: object = None
    ) -> IUpload:
        found = self._visitors.identify(head, answer.peer)
        if isinstance(found, str):
            return self._admit(head, answer, found)
        if isinstance(found, Session):
            if self._expiry is not None:
                self._expiry.watch()
            return self._admit(head, answer, found.user, found)
        return waitFor(found, partial(self._admit, head, answer), answer)

    def stop(self) -> None:
        """
        Take no more notice of the end of sessions.
        """
        if self._expiry is not None:
            self._expiry.stop()

    def _admit(
        self, head: RequestHead, answer: IAnswer, user: str, session: Session | None = None
    ) -> IUpload:
        if self._leadsToSignIn:
            answer = _ShieldedAnswer(answer)
        try:
            return super().serve(head, answer, user, session)
        except Fault as fault:
            if fault.code is UNAUTHENTICATED:
                if self._leadsToSignIn and isNavigation(head):
                    return leadToSignIn(head, answer)
                raise self._visitors.challenge() from None
            if fault.code is FORBIDDEN and user and self._leadsToSignIn:
                detail = f"You are {user}. To be somebody else, sign out at /.invproxy/sign-out."
                raise Fault(FORBIDDEN, detail) from None
            raise


def isNavigation(head: RequestHead) -> bool:
    """
    Say whether a request is that of a person who opens a page, and so can sign in there: not that of a script, nor of
    anything in a page.
    """
    return (
        head.method in (b"GET", b"HEAD")
        and head.upgrade is None
        and value(head.fields, b"sec-fetch-mode") in (None, b"navigate")
        and chooseMediaType(b", ".join(values(head.fields, b"accept"))) == HTML
    )


def leadToSignIn(head: RequestHead, answer: IAnswer) -> IUpload:
    """
    Lead a browser to where it can sign in, and from there back.
    """
    location = SIGN_IN
    if len(head.target) <= _LONGEST_TARGET:
        location += b"?to=" + quote_from_bytes(head.target, "/").encode("ascii")
    return redirect(head, answer, location)


def redirect(head: RequestHead, answer: IAnswer, location: bytes, block: bytes = b"") -> IUpload:
    """
    Lead a browser to another page (RFC 9110, section 15.4.4).

    @param location: where to.
    @param block: further fields.
    """
    fields = (
        b"\r\nLocation: %b\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer" % location
    )
    return answerAtOnce(head, answer, 303, b"See Other", block=fields + block)


class _ShieldedAnswer(PassingAnswer):
    """
    An answer to which a backend cannot add cookies of the proxy.
    """

    __slots__ = ()

    def inform(self, head: ResponseHead) -> None:
        head.fields = dropSet(head.fields)
        self.answer.inform(head)

    def respond(self, head: ResponseHead) -> None:
        head.fields = dropSet(head.fields)
        self.answer.respond(head)


_LOOK_EVERY: Final = 60.0
"""Seconds after which it is looked again which sessions have something in flight, and whether they may last longer."""


class Expiry:
    """
    Breaks off what is in flight in the name of sessions that have ended: a WebSocket lasts for days, and whoever has
    signed out relies on being out. What is in flight counts as use of its session.
    """

    def __init__(
        self, mailboxes: Mailboxes, sessions: Sessions, deadlines: Deadlines, visitors: Visitors
    ) -> None:
        """
        @param mailboxes: knows what is in flight.
        @param sessions: tell when some have ended.
        @param deadlines: what watches how long they last.
        @param visitors: knows what to answer.
        """
        self.askedAt = 0.0
        self._mailboxes = mailboxes
        self._sessions = sessions
        self._deadlines = deadlines
        self._visitors = visitors
        self.stop = sessions.observe(self._ended)

    def watch(self) -> None:
        """
        Take note that something of a session is in flight.
        """
        if not self.askedAt:
            self._deadlines.watch(self, self._deadlines.seconds() + _LOOK_EVERY)

    def checkDeadline(self, now: float) -> float:
        sessions = {each.session for each in self._mailboxes.exchanges.values()}
        sessions.discard(None)
        for session in sessions:
            if isinstance(session, Session):
                self._sessions.keep(session)
        return now + _LOOK_EVERY if sessions else 0.0

    def _ended(self) -> None:
        for exchange in list(self._mailboxes.exchanges.values()):
            session = exchange.session
            if isinstance(session, Session) and session.isOver:
                exchange.fail(
                    self._visitors.challenge("You have signed out, or have to sign in again.")
                )


class Ejection:
    """
    Breaks off what is in flight for end users who may not visit its backend any more, or not by that host or path: a
    WebSocket lasts for days.
    """

    def __init__(self, mailboxes: Mailboxes) -> None:
        """
        @param mailboxes: knows what is in flight.
        """
        self._mailboxes = mailboxes

    def changed(self, change: Change) -> None:
        """
        Look through what is in flight, after a change of the registry.
        """
        if isinstance(change, Deleted):
            self._eject(change.backend, lambda exchange: False, Fault(NO_BACKEND))
        elif isinstance(change, Changed) and change.former is not None:
            if _scopeOf(change.former) != _scopeOf(change.record):
                self._eject(change.backend, guestsOf(change.record), Fault(FORBIDDEN))

    def _eject(self, backend: str, mayGoOn: Callable[[Exchange], bool], fault: Fault) -> None:
        exchanges = self._mailboxes.exchanges.values()
        for exchange in [each for each in exchanges if each.mailbox.backend == backend]:
            if not mayGoOn(exchange):
                exchange.fail(fault)


def _scopeOf(record: Backend) -> tuple[object, ...]:
    """
    What decides who may visit what of a backend.
    """
    return record.users(), record.hosts, record.pathPrefixes


def guestsOf(record: Backend) -> Callable[[Exchange], bool]:
    """
    Make a function that says whether an exchange might have begun under this record: whether its end user may visit
    the backend by its host and its path, in whatever way that is read.
    """
    routes = RouteTable()
    routes.add(record)

    def mayGoOn(exchange: Exchange) -> bool:
        host, path = exchange.head.host or b"", exchange.head.path()
        return all(
            routes.find(exchange.endUser, host, reading) is not None
            for reading in (path, *readings(path))
        )

    return mayGoOn
