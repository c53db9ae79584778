"""
Who an agent is, and whether it may serve the backend that it names.

Three kinds of credentials count, in this order: a bearer token of the registry, a JWT of an issuer that is trusted, and
the certificate that the agent has shown to TLS. One that is good is enough. What a look-up shows to be good always
passes; the rest is up to the L{Throttle} first, so that nobody is locked out by whoever guesses from the same address.

Whoever is not known gets 401. Whoever is known but may not serve this backend gets 403, whether or not there is such a
backend.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from invproxy.auth.certificates import Certificates
from invproxy.auth.identity import Identity, IVerifier
from invproxy.auth.throttle import Throttle, keyOf
from invproxy.credential import CERTIFICATE, JWT, OPEN, TOKEN, Credential
from invproxy.errors import FORBIDDEN, REGISTRY_UNAVAILABLE, UNAUTHENTICATED, Fault
from invproxy.http1.fields import values
from invproxy.http1.heads import RequestHead
from invproxy.interfaces import IAgentAuthenticator, IPeer
from invproxy.registry.records import digestOf
from invproxy.registry.registry import Registry, Unavailable

_log = Logger(namespace="invproxy.auth")

_CHALLENGE = b"\r\nWWW-Authenticate: Bearer"
"""What a 401 must tell (RFC 9110, section 11.6.1; RFC 6750, section 3)."""

_bearer = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([!-~]{1,8192})").fullmatch

_ANYBODY = Credential(OPEN, "", "")


def unauthenticated(why: str) -> Fault:
    """
    Make the refusal of credentials.

    @param why: what is wrong with them, or C{""}; no part of them.
    """
    return Fault(UNAUTHENTICATED, why, _CHALLENGE)


def bearerOf(head: RequestHead) -> bytes | None:
    """
    Find the bearer token of a request (RFC 6750, section 2.1).

    @return: the token; L{None} if there is none, or what there is can be understood in two ways.
    """
    given = values(head.fields, b"authorization")
    if len(given) != 1:
        return None
    found = _bearer(given[0])
    return found[1] if found else None


_isOwnName = re.compile(
    # Browsers take what consists of digits and dots for an address, and ask no DNS for localhost (RFC 6761, 6.3).
    rb"(?:\[[0-9a-f:.]+\]|[0-9.]+|(?:[0-9a-z_-]+\.)*localhost\.?)?(?::[0-9]*)?",
    re.IGNORECASE,
).fullmatch


@implementer(IAgentAuthenticator)
class OpenAgents:
    """
    Lets in every agent for every backend: open mode.

    Where nobody but programs on this machine shall be one, pages in its browser must not, either. Somebody's DNS may
    let their name lead here, and to a browser what is here then belongs to the page (DNS rebinding); but it says by
    that name where it thinks it is.
    """

    def __init__(self, *, onlyOwnNames: bool = False) -> None:
        """
        @param onlyOwnNames: whether to refuse calls for a Host that is neither an IP address nor C{localhost}. Not on
            UNIX sockets, which no page can reach.
        """
        self._onlyOwnNames = onlyOwnNames

    def authenticate(self, head: RequestHead, peer: IPeer, backend: str) -> Credential:
        if (
            self._onlyOwnNames
            and not _isOwnName(head.host or b"")
            and getattr(peer.address, "host", None) is not None
        ):
            raise Fault(
                FORBIDDEN,
                "in open mode agents must call this proxy by an IP address or localhost, not by a"
                " name, unless it was started with --insecure-open",
            )
        return _ANYBODY


def _peerItself(head: RequestHead, peer: IPeer) -> IPeer | str:
    return peer


@implementer(IAgentAuthenticator)
class RegistryAgents:
    """
    Lets in whom the registry knows.
    """

    def __init__(
        self,
        registry: Registry,
        throttle: Throttle,
        clock: IReactorTime,
        *,
        verifier: IVerifier | None = None,
        certificates: Certificates | None = None,
        addressOf: Callable[[RequestHead, IPeer], IPeer | str] = _peerItself,
    ) -> None:
        """
        @param registry: knows tokens, and whose JWTs and certificates are good for which backend.
        @param throttle: slows down those who guess.
        @param clock: what tells the time.
        @param verifier: understands JWTs, if any do.
        @param certificates: reads the certificates of peers, if any do.
        @param addressOf: tells for whom failures count: the peer, or the client of a trusted proxy.
        """
        self._registry = registry
        self._throttle = throttle
        self._clock = clock
        self._verifier = verifier
        self._certificates = certificates
        self._addressOf = addressOf

    def authenticate(
        self, head: RequestHead, peer: IPeer, backend: str
    ) -> Credential | Deferred[Credential]:
        try:
            return self._authenticate(head, peer, backend)
        except Unavailable:
            raise Fault(REGISTRY_UNAVAILABLE) from None

    def _authenticate(
        self, head: RequestHead, peer: IPeer, backend: str
    ) -> Credential | Deferred[Credential]:
        registry = self._registry
        isKnown = False
        digest = b""
        text = bearerOf(head)
        if text is not None:
            digest = digestOf(text)
            token = registry.findToken(digest)
            if token is not None:
                if token.backend == backend:
                    registry.useToken(backend, token.name)
                    registry.see(backend)
                    return Credential(TOKEN, token.name, backend, token.expires)
                isKnown = True
            elif self._verifier is not None:
                identity = self._verifier.recall(digest)
                if identity is not None:
                    if self._isFor(identity, backend):
                        return self._admit(JWT, identity, backend)
                    isKnown = True
        if self._certificates is not None:
            for identity in self._certificates.identitiesOf(peer):
                if identity.expires is None or identity.expires > self._clock.seconds():
                    if self._isFor(identity, backend):
                        return self._admit(CERTIFICATE, identity, backend)
                    isKnown = True
        if isKnown:
            raise _notYours(backend)
        if text is None:
            raise unauthenticated("an agent's call without credentials")
        address = self._addressOf(head, peer)
        # Only what turns out to be wrong has to wait: nobody guesses a signature, and those behind the same address
        # renew their JWTs all the time.
        if self._verifier is None or text.count(b".") != 2:
            raise self._refuse(
                address, backend, unauthenticated("this token is not known, or not valid any more")
            )
        try:
            found = self._verifier.verify(text, digest)
        except Fault as fault:
            raise self._refuse(address, backend, fault) from None
        if isinstance(found, Deferred):
            return found.addCallbacks(
                partial(self._verified, backend), partial(self._failed, address, backend)
            )
        return self._verified(backend, found)

    def _isFor(self, identity: Identity, backend: str) -> bool:
        user = self._registry.backendUserOf(backend)
        return bool(user) and user == identity.name

    def _admit(self, kind: str, identity: Identity, backend: str) -> Credential:
        self._registry.see(backend)
        return Credential(kind, identity.name, backend, identity.expires)

    def _verified(self, backend: str, identity: Identity) -> Credential:
        try:
            if self._isFor(identity, backend):
                return self._admit(JWT, identity, backend)
        except Unavailable:
            raise Fault(REGISTRY_UNAVAILABLE) from None
        raise _notYours(backend)

    def _failed(self, address: IPeer | str, backend: str, failure: Failure) -> Credential:
        if isinstance(failure.value, Fault):
            raise self._refuse(address, backend, failure.value)
        failure.raiseException()

    def _refuse(self, address: IPeer | str, backend: str, fault: Fault) -> Fault:
        """
        Count a failure, of which the log tells.

        @return: the fault to answer with.
        @raise Fault: (too-many-attempts) if there were too many before.
        """
        if fault.code is UNAUTHENTICATED:
            self._throttle.check(address)
            self._throttle.fail(address)
            _log.info(
                "agent at {peer} refused for {backend}: {why}",
                peer=keyOf(address),
                backend=backend,
                why=fault.detail,
            )
        return fault


def _notYours(backend: str) -> Fault:
    return Fault(FORBIDDEN, f"these credentials are not for the backend {backend}")
