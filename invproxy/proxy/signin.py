"""
The pages where people sign in and out, C{/.invproxy/sign-in}, C{/.invproxy/callback} and C{/.invproxy/sign-out}: what
browsers see of OpenID Connect::

    browser:   GET /page       /.invproxy/sign-in     provider      /.invproxy/callback     /page
               -- 303 -------> -- 303 --------------> signs in ---> -- 303 ---------------> 200
                               cookie of the browser                cookie of the session
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial
from hashlib import blake2b
from html import escape
from urllib.parse import parse_qsl

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from invproxy.auth.approaches import Approaches
from invproxy.auth.attempts import TIMEOUT, Attempts, localTarget
from invproxy.auth.cookies import SESSION, SIGN_IN, nameOf, setOwn, takeOwn
from invproxy.auth.fetching import isSafe
from invproxy.auth.oidc import Provider
from invproxy.auth.sessions import Session, Sessions
from invproxy.auth.throttle import FairThrottle
from invproxy.auth.visitors import Visitors
from invproxy.errors import FORBIDDEN, METHOD_NOT_ALLOWED, SIGN_IN_FAILED, Fault
from invproxy.http1.fields import value
from invproxy.http1.heads import RequestHead
from invproxy.interfaces import IAnswer, IPeer, IUpload
from invproxy.page import page
from invproxy.proxy.streams import StreamResource, answerAtOnce
from invproxy.proxy.visiting import SIGN_IN as SIGN_IN_PATH
from invproxy.proxy.visiting import redirect
from invproxy.proxy.waiting import waitFor
from invproxy.tables import Table

_log = Logger(namespace="invproxy.auth")

CALLBACK = b"/.invproxy/callback"
"""Where the provider sends browsers back."""

SIGN_OUT = b"/.invproxy/sign-out"

_MOST_PARAMETERS = 20

_EXPIRED = (
    "It was begun in another browser, or too long ago, or cookies are off here."
    " Open /.invproxy/sign-in to try again."
)

_PAGE_FIELDS = (
    b"\r\nContent-Type: text/html; charset=utf-8"
    b"\r\nCache-Control: no-store"
    b"\r\nContent-Security-Policy: default-src 'none'; style-src 'unsafe-inline';"
    b" form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    b"\r\nX-Content-Type-Options: nosniff"
    # With no-referrer, browsers would send the form with "Origin: null".
    b"\r\nReferrer-Policy: same-origin"
)


def pagesOf(
    clock: IReactorTime, visitors: Visitors, sessions: Sessions, provider: Provider
) -> Mapping[bytes, StreamResource]:
    """
    Make the pages.

    @param clock: what tells the time.
    @param visitors: knows the visitors' sessions, and from where they come.
    @param sessions: where sessions begin.
    @param provider: knows who signs in.
    @return: them by their paths.
    """
    attempts = Attempts(clock)
    return {
        SIGN_IN_PATH: SignInPage(visitors, attempts, provider),
        # Bad codes are counted by themselves: wrong passwords keep nobody from signing in, nor the other way round.
        CALLBACK: CallbackPage(
            visitors, attempts, provider, sessions, FairThrottle(clock, name="throttle_sign_in")
        ),
        SIGN_OUT: SignOutPage(visitors, sessions),
    }


class _Page(StreamResource):
    """
    What the pages have in common.

    @cvar methods: what may be asked.
    @cvar hidesQuery: whether the query is a secret, which must not get into the access log whatever comes of it.
    """

    methods: tuple[bytes, ...] = (b"GET", b"HEAD")
    hidesQuery = False

    def __init__(self, visitors: Visitors) -> None:
        super().__init__()
        self._visitors = visitors

    def serve(self, head: RequestHead, answer: IAnswer) -> IUpload:
        answer.identify(secrets.token_hex(16))
        given = _parametersOf(head)
        if self.hidesQuery:
            head.target = head.path()
        if head.method not in self.methods:
            allow = b"\r\nAllow: " + b", ".join(self.methods)
            raise Fault(METHOD_NOT_ALLOWED, head.method.decode("ascii"), allow)
        return self.show(head, answer, given)

    def show(self, head: RequestHead, answer: IAnswer, given: Mapping[str, str]) -> IUpload:
        """
        Answer a request with one of the methods.

        @param given: the parameters in its query.
        """
        raise NotImplementedError

    def _originOf(self, head: RequestHead, peer: IPeer) -> str:
        """
        Say by what address the browser knows us.
        """
        approaches: Approaches = self._visitors.approaches
        scheme = "https" if approaches.isSecure(head, peer) else "http"
        return f"{scheme}://{approaches.hostOf(head, peer).decode('latin-1').lower()}"

    def _render(
        self, head: RequestHead, answer: IAnswer, title: str, content: str, block: bytes = b""
    ) -> IUpload:
        body = page(title, content).encode()
        return answerAtOnce(head, answer, 200, b"OK", body, _PAGE_FIELDS + block)


class SignInPage(_Page):
    """
    Begins to sign somebody in: leads the browser to the provider.
    """

    def __init__(self, visitors: Visitors, attempts: Attempts, provider: Provider) -> None:
        super().__init__(visitors)
        self._attempts = attempts
        self._provider = provider

    def show(self, head: RequestHead, answer: IAnswer, given: Mapping[str, str]) -> IUpload:
        origin = self._originOf(head, answer.peer)
        if not isSafe(origin):
            raise Fault(
                SIGN_IN_FAILED,
                "It needs https. If there is, but another proxy ends it, that must be named in"
                " --trusted-proxies and send X-Forwarded-Proto.",
            )
        secure = origin.startswith("https:")
        _, own = takeOwn(head.fields)
        binding = self._attempts.bindingOf(own.get(nameOf(SIGN_IN, secure)))
        to = localTarget(given.get("to", "/").encode("utf-8", "replace"))
        attempt = self._attempts.begin(to, origin + CALLBACK.decode("ascii"))
        state = self._attempts.seal(attempt, binding)
        cookie = setOwn(SIGN_IN, binding, secure, int(TIMEOUT))
        found = Deferred.fromCoroutine(self._provider.authorizationURL(attempt, state))
        return waitFor(
            found, lambda url: redirect(head, answer, url.encode("ascii"), cookie), answer
        )


class CallbackPage(_Page):
    """
    Completes it: the browser is back with a code of the provider.
    """

    hidesQuery = True

    def __init__(
        self,
        visitors: Visitors,
        attempts: Attempts,
        provider: Provider,
        sessions: Sessions,
        throttle: FairThrottle,
    ) -> None:
        super().__init__(visitors)
        self._attempts = attempts
        self._provider = provider
        self._sessions = sessions
        self._throttle = throttle

    def tables(self) -> list[Table]:
        """
        Tell how full the table of those who guess codes is.
        """
        return self._throttle.tables()

    def show(self, head: RequestHead, answer: IAnswer, given: Mapping[str, str]) -> IUpload:
        origin = self._originOf(head, answer.peer)
        secure = origin.startswith("https:")
        _, own = takeOwn(head.fields)
        binding = own.get(nameOf(SIGN_IN, secure))
        attempt = self._attempts.open(given.get("state", ""), binding)
        if attempt is None or attempt.redirectURI != origin + CALLBACK.decode("ascii"):
            raise Fault(SIGN_IN_FAILED, _EXPIRED)
        if "error" in given:
            raise Fault(SIGN_IN_FAILED, f"The provider says: {_shown(given['error'])}.")
        throttle = self._throttle
        client = self._visitors.approaches.clientOf(head, answer.peer)
        # Each browser is counted by itself.
        who = blake2b(binding or b"", digest_size=24).digest()
        throttle.attempt(client, who)
        found = Deferred.fromCoroutine(
            self._provider.userOf(attempt, given.get("code", ""), given.get("iss"))
        )

        def count(outcome: object) -> object:
            error = getattr(outcome, "value", None)
            isRefused = isinstance(error, Fault) and error.code is SIGN_IN_FAILED
            if isRefused or isinstance(error, CancelledError):  # who has left has asked as well
                throttle.fail(client, who)
            else:
                throttle.succeed(client, who)
            return outcome

        found.addBoth(count)
        former = self._visitors.sessionOf(head, answer.peer)
        return waitFor(
            found, partial(self._signedIn, head, answer, secure, attempt.to, former), answer
        )

    def _signedIn(
        self,
        head: RequestHead,
        answer: IAnswer,
        secure: bool,
        to: str,
        former: Session | None,
        user: str,
    ) -> IUpload:
        if former is not None:
            self._sessions.end(former)
        _log.info("{user} has signed in", user=user)
        cookie = setOwn(SESSION, self._sessions.open(user), secure)
        return redirect(head, answer, to.encode("ascii"), cookie)


class SignOutPage(_Page):
    """
    Asks whether to sign out, and does it. No other site can have anybody sign out.
    """

    methods: tuple[bytes, ...] = (b"GET", b"HEAD", b"POST")

    def __init__(self, visitors: Visitors, sessions: Sessions) -> None:
        super().__init__(visitors)
        self._sessions = sessions

    def show(self, head: RequestHead, answer: IAnswer, given: Mapping[str, str]) -> IUpload:
        session = self._visitors.sessionOf(head, answer.peer)
        if head.method != b"POST":
            return self._ask(head, answer, session)
        origin = self._originOf(head, answer.peer)
        source = value(head.fields, b"origin")
        if source is not None and source.decode("latin-1").lower() != origin:
            raise Fault(FORBIDDEN, "This comes from another site.")
        if value(head.fields, b"sec-fetch-site") not in (None, b"same-origin", b"none"):
            raise Fault(FORBIDDEN, "This comes from another site.")
        block = b""
        if session is not None:
            self._sessions.end(session)
            _log.info("{user} has signed out", user=session.user)
            block = setOwn(SESSION, "", origin.startswith("https:"), 0)
        content = (
            '<p>You are not signed in here any more.</p>\n<p><a href="sign-in">Sign in</a></p>'
        )
        return self._render(head, answer, "Signed out", content, block)

    def _ask(self, head: RequestHead, answer: IAnswer, session: Session | None) -> IUpload:
        if session is None:
            content = '<p>You are not signed in.</p>\n<p><a href="sign-in">Sign in</a></p>'
        else:
            content = (
                f"<p>You are signed in as <b>{escape(session.user)}</b>.</p>\n"
                '<form method="post"><button>Sign out</button></form>'
            )
        return self._render(head, answer, "Sign out", content)


def _parametersOf(head: RequestHead) -> dict[str, str]:
    """
    Read the query; of what is repeated, or not to be read, nothing is known.
    """
    query = head.target.partition(b"?")[2].decode("latin-1")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return {}
    found = dict(pairs)
    return found if len(found) == len(pairs) else {}


def _shown(text: str) -> str:
    cut = text[:60]
    return cut if cut.isprintable() and cut.isascii() else ascii(cut)
