"""
The audit log: a line for each change to the registry.

Lines go through L{twisted.logger}, in the namespace C{invproxy.audit}, so that a deployment can send them
where it wants them. Each event has C{peer}, C{credential}, C{action}, C{backend}, C{token} and C{what} for programs.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger
from twisted.web.server import Request

from invproxy.admin.guard import peerOf

# Not within the class, where Twisted would name it after that.
_log = Logger(namespace="invproxy.audit")


class Audit:
    """
    Notes changes.
    """

    def __init__(self, credentialOf: Callable[[Request], str]) -> None:
        """
        @param credentialOf: says by what right a request came.
        """
        self._credentialOf = credentialOf

    def note(
        self, request: Request, action: str, backend: str, *, token: str = "", what: str = ""
    ) -> None:
        """
        Note a change that is in force.

        @param request: what asked for it.
        @param action: what was done, such as C{created}.
        @param backend: the ID of the backend.
        @param token: the name of the token that it was done to, if it was one.
        @param what: more about it: which fields, until when; never a secret.
        """
        # IDs and names have been checked: neither white space nor control characters can be in them.
        _log.info(
            "{peer} ({credential}) {action} {thing}{more}",
            peer=peerOf(request),
            credential=self._credentialOf(request),
            action=action,
            backend=backend,
            token=token,
            what=what,
            thing=f"token {token} of backend {backend}" if token else f"backend {backend}",
            more=f": {what}" if what else "",
        )
