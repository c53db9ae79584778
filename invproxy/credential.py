"""
How an agent has authenticated: a value that its calls and its tunnel carry along.
"""

from __future__ import annotations

from attrs import frozen

OPEN = "open"
TOKEN = "token"  # noqa: S105  (a kind of credential)
JWT = "jwt"
CERTIFICATE = "certificate"


@frozen
class Credential:
    """
    What lets an agent serve a backend. Nothing in it is secret.

    @ivar kind: L{OPEN} (no credential was asked for), L{TOKEN}, L{JWT} or L{CERTIFICATE}.
    @ivar name: the name of the token, or whom JWT or certificate name: the C{backendUser} of the record.
    @ivar backend: the ID of the backend.
    @ivar expires: until when it is valid, in seconds since the epoch, or L{None} for ever.
    """

    kind: str
    name: str
    backend: str
    expires: float | None = None
