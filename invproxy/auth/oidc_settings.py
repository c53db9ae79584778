"""
Which OpenID provider signs people in. Apart from what talks to it, which is costly to import.
"""

from __future__ import annotations

from attrs import field, frozen


@frozen
class OIDCSettings:
    """
    Which provider, and what it knows us as.

    @ivar issuer: its URL, as ID tokens have it.
    @ivar clientID: our name there.
    @ivar secret: our secret there, or L{None}: then PKCE alone protects the code.
    @ivar userClaim: which claim names end users; of C{email} must be said that it is verified.
    @ivar authorities: PEM certificates to trust for it, or L{None} for those of the system.
    """

    issuer: str
    clientID: str
    secret: str | None = field(default=None, repr=False)
    userClaim: str = "email"
    authorities: bytes | None = field(default=None, repr=False)
