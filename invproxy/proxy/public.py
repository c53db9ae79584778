"""
The public side of the proxy: each client request becomes an exchange in the mailbox of its backend.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Final

from invproxy.clocks import Clocks
from invproxy.deadlines import Deadlines
from invproxy.errors import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    DRAINING,
    LOOP_DETECTED,
    METHOD_NOT_ALLOWED,
    Fault,
)
from invproxy.exchange import Exchange
from invproxy.http1.fields import values
from invproxy.http1.forwarding import forward, forwardTrailers, isLoop, takeMaxForward
from invproxy.http1.heads import RequestHead
from invproxy.http1.marks import FORWARDING, VIA
from invproxy.interfaces import IAnswer, IPeer, IUpload
from invproxy.mailbox import Mailboxes
from invproxy.metrics import Tally
from invproxy.proxy.personal import PersonalAnswer, varyBy
from invproxy.proxy.settings import ProxySettings
from invproxy.proxy.streams import StreamResource, answerAtOnce
from invproxy.routing import OpenRouter, RegistryRouter

_ALLOW: Final = b"\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
"""What is said along with the refusal of a method: those of which a person would think."""


_REFUSED: Final = frozenset((b"CONNECT", b"TRACE"))


class Identifiers:
    """
    Gives IDs that nobody can guess: 128 random bits in hexadecimal, drawn many at a time.
    """

    _SIZE = 32
    _COUNT = 64

    def __init__(self) -> None:
        self._drawn: list[str] = []

    def draw(self) -> str:
        """
        Give one that was never given before.
        """
        if not self._drawn:
            size = self._SIZE
            text = secrets.token_hex(size // 2 * self._COUNT)
            self._drawn = [text[at : at + size] for at in range(0, len(text), size)]
        return self._drawn.pop()


class PublicResource(StreamResource):
    """
    What clients see: everything that is not the proxy's own.

    @ivar draining: whether new requests are refused, as the proxy is stopping.
    """

    draining = False

    def __init__(
        self,
        mailboxes: Mailboxes,
        router: OpenRouter | RegistryRouter,
        settings: ProxySettings,
        deadlines: Deadlines,
        *,
        knownBy: Sequence[bytes] = (),
        metrics: Tally | None = None,
    ) -> None:
        """
        @param mailboxes: where exchanges go.
        @param router: what chooses the backend.
        @param settings: times, bounds and whom to trust.
        @param deadlines: what watches the clocks of exchanges.
        @param knownBy: the fields by which the end user is known without trusted proxies.
        @param metrics: told of the ends of exchanges.
        """
        super().__init__()
        self._mailboxes = mailboxes
        self._router = router
        self._settings = settings
        self._deadlines = deadlines
        self._metrics = metrics
        self._pseudonym = b"invproxy-" + secrets.token_hex(4).encode("ascii")
        self._identifiers = Identifiers()
        self._maxBody = settings.maxBody
        self._userHeader = settings.userHeader
        self._approaches = settings.approaches()
        self._trustsAnyone = self._approaches.trustsAnyone
        names = [*knownBy]
        if self._trustsAnyone and settings.userHeader:
            names.append(settings.userHeader)
        # By which fields the end user is known, where that decides what there is at a URL.
        self._vary = b""
        if knownBy or (names and isinstance(router, RegistryRouter)):
            self._vary = varyBy(*names)
        self._checkTrusted = partial(forwardTrailers, trusted=True, userHeader=settings.userHeader)
        self._checkUntrusted = partial(
            forwardTrailers, trusted=False, userHeader=settings.userHeader
        )
        self._clocks = Clocks(
            queue=settings.queueTimeout,
            claim=settings.claimTimeout,
            response=settings.responseTimeout,
            idle=settings.idleTimeout,
            agent=2 * settings.pollTimeout,
        )

    def serve(
        self, head: RequestHead, answer: IAnswer, endUser: str = "", session: object = None
    ) -> IUpload:
        """
        Answer one request.

        @param endUser: who has sent it, as far as others than trusted proxies know.
        @param session: by what that is known, if that may end before the exchange does.
        """
        identifier = self._identifiers.draw()
        answer.identify(identifier, endUser)
        if self.draining:
            raise Fault(DRAINING)
        if head.method in _REFUSED:
            raise Fault(METHOD_NOT_ALLOWED, head.method.decode("ascii"), _ALLOW)
        maxBody = self._maxBody
        if maxBody and head.framing > maxBody:
            raise Fault(
                BODY_TOO_LARGE, f"a body of {head.framing} bytes, where {maxBody} are allowed"
            )
        if head.marks & VIA and isLoop(head.fields, self._pseudonym):
            raise Fault(LOOP_DETECTED)
        if head.method == b"OPTIONS":
            left = takeMaxForward(head)
            if left is None:
                return answerAtOnce(head, answer, 200, b"OK")
            head = left
        peer = answer.peer
        trusted = self._trustsAnyone and self._approaches.isTrusted(peer)
        userHeader = self._userHeader
        if trusted and userHeader:
            named = values(head.fields, userHeader)
            if len(named) > 1:
                raise Fault(BAD_REQUEST, f"more than one {userHeader.decode('ascii')}")
            if named and named[0]:
                endUser = named[0].decode("utf-8", "surrogateescape")
                answer.identify(identifier, endUser)
        if self._vary:
            answer = PersonalAnswer(answer, self._vary, isPrivate=bool(endUser))
        mailbox = self._router.route(head, endUser)
        head.fields = forward(
            head.fields,
            peer=_hostOf(peer),
            secure=peer.secure,
            host=head.host,
            trusted=trusted,
            via=self._pseudonym,
            minor=head.minor,
            userHeader=userHeader,
            marks=head.marks,
        )
        head.marks |= FORWARDING | VIA
        exchange = Exchange(
            identifier,
            mailbox,
            head,
            answer,
            deadlines=self._deadlines,
            clocks=self._clocks,
            ended=self._mailboxes.forget,
            endUser=endUser,
            maxBody=maxBody,
            checkTrailers=self._checkTrusted if trusted else self._checkUntrusted,
            metrics=self._metrics,
        )
        if session is not None:
            exchange.session = session
        self._mailboxes.add(exchange)
        return exchange.body


def _hostOf(peer: IPeer) -> bytes | None:
    """
    @return: the IP address of a peer as text, or L{None} if it has none, as on a UNIX socket.
    """
    host: str | None = getattr(peer.address, "host", None)
    return None if host is None else host.encode("ascii")
