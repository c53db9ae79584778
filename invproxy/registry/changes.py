"""
What becomes of changes to the registry: why they are refused, and what observers are told.
"""

from __future__ import annotations

from attrs import frozen

from invproxy.registry.records import Backend


class NoSuchBackend(Exception):
    """
    There is no backend with this ID.
    """


class NoSuchToken(Exception):
    """
    The backend has no token with this name.
    """


class Conflict(Exception):
    """
    A change does not go together with what there is; the text says why, and what to do.
    """


class PreconditionFailed(Exception):
    """
    The record was changed since it was read (RFC 9110, section 13.1.1).
    """


class Unavailable(Exception):
    """
    The registry could not be loaded yet, or the store did not take a change, which is not in force then. The text is
    one line that says what is wrong.
    """


@frozen
class Changed:
    """
    A backend is new, or its record was replaced.

    @ivar backend: its ID.
    @ivar record: what is in force now.
    @ivar former: what was in force before, or L{None}.
    """

    backend: str
    record: Backend
    former: Backend | None


@frozen
class Deleted:
    """
    A backend is gone, and its tokens with it.

    @ivar backend: its ID.
    """

    backend: str


@frozen
class Revoked:
    """
    A token is not valid any more.

    @ivar backend: the ID of its backend.
    @ivar name: its name.
    """

    backend: str
    name: str


Change = Changed | Deleted | Revoked
"""What observers are told."""
