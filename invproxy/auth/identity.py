"""
Who somebody is, as an issuer or a certificate authority says.
"""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface


@frozen
class Identity:
    """
    A name that somebody vouches for.

    @ivar name: the name.
    @ivar expires: until when, in seconds since the epoch, or L{None}.
    """

    name: str
    expires: float | None = None


class IVerifier(Interface):
    """
    Understands signed tokens.
    """

    def start() -> None:
        """
        Get ready.
        """

    def recall(digest: bytes) -> Identity | None:
        """
        Say who was found by L{verify} before, and still is.

        @param digest: the SHA-256 of the token.
        """

    def verify(text: bytes, digest: bytes) -> Identity | Deferred[Identity]:
        """
        Find out whom a token names.

        @param text: the token.
        @param digest: its SHA-256.
        @return: who, perhaps later, when keys have been fetched.
        @raise invproxy.errors.Fault: unauthenticated if it is not valid, or issuer-unavailable; a Deferred fails with
            it.
        """
