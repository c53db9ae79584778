"""
Attempts to sign in, while the browser is at the provider. Nothing is kept of them here, so that no number of them costs
anything: what has to be known when the browser comes back goes with it, sealed, as the C{state} of OAuth (RFC 6749,
section 10.12). The seal depends on a secret in a cookie of the browser, so no other browser can use it.
"""

from __future__ import annotations

import json
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

from attrs import field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from twisted.internet.interfaces import IReactorTime

TIMEOUT = 600.0
"""Seconds within which the browser must come back."""

_LONGEST_TARGET = 1024
"""Bytes of a target to which a browser is led back: the state is part of a URL, which must not be too long."""

_NONCE = 12

_isBinding = re.compile(rb"[A-Za-z0-9_-]{43}").fullmatch
_isLocal = re.compile(rb"/(?![/\\])[\x21-\x5b\x5d-\x7e]*").fullmatch


def localTarget(given: bytes) -> str:
    """
    Make of what a link says the page to which a browser is led back: one here, never one elsewhere.

    @param given: a path with its query, as somebody may have made it up. Browsers take C{//host} and C{/\\host} for
        other hosts, and leave tabs and line ends out.
    @return: that, or C{"/"} if it could be anything else, or is one of the proxy's own.
    """
    if not _isLocal(given) or len(given) > _LONGEST_TARGET or given.startswith(b"/.invproxy/"):
        return "/"
    return given.decode("ascii")


@frozen
class Attempt:
    """
    What has to be known when the browser comes back.

    @ivar to: the page it wanted, see L{localTarget}.
    @ivar redirectURI: where the provider was asked to send it.
    @ivar nonce: what the ID token must have.
    @ivar verifier: what shows the provider that the code is ours (RFC 7636).
    @ivar expires: until when it may come, in seconds on the clock.
    """

    to: str
    redirectURI: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    expires: float = 0.0


class Attempts:
    """
    Seals attempts.
    """

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: what tells the time.
        """
        self._clock = clock
        self._cipher = AESGCM(secrets.token_bytes(32))

    def bindingOf(self, cookie: bytes | None) -> str:
        """
        Give the secret of a browser.

        @param cookie: the one that it has, perhaps of another attempt in another of its windows, if any.
        """
        if cookie is not None and _isBinding(cookie):
            return cookie.decode("ascii")
        return secrets.token_urlsafe(32)

    def begin(self, to: str, redirectURI: str) -> Attempt:
        """
        Begin an attempt.

        @param to: the page that the browser wants.
        @param redirectURI: where the provider is to send it.
        """
        return Attempt(
            to,
            redirectURI,
            secrets.token_urlsafe(32),
            secrets.token_urlsafe(48),
            self._clock.seconds() + TIMEOUT,
        )

    def seal(self, attempt: Attempt, binding: str) -> str:
        """
        Make the state of an attempt.

        @param binding: the secret of the browser.
        """
        known = [
            attempt.to,
            attempt.redirectURI,
            attempt.nonce,
            attempt.verifier,
            attempt.expires,
        ]
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._cipher.encrypt(nonce, json.dumps(known).encode(), binding.encode("ascii"))
        return urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode("ascii")

    def open(self, state: str, binding: bytes | None) -> Attempt | None:
        """
        Read a state.

        @param state: what came back from the provider.
        @param binding: the cookie of the browser that brings it.
        @return: the attempt, or L{None} if it was not begun here, or in another browser, or too long ago.
        """
        if binding is None:
            return None
        try:
            sealed = urlsafe_b64decode(state + "=" * (-len(state) % 4))
            known = json.loads(self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], binding))
        except (ValueError, InvalidTag):
            return None
        attempt = Attempt(*known)
        return attempt if self._clock.seconds() <= attempt.expires else None
