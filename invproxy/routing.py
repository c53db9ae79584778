"""
Routing: the choice of a backend for a request.
"""

from __future__ import annotations

from invproxy.errors import AGENT_OFFLINE, NO_BACKEND, Fault
from invproxy.http1.fields import finder
from invproxy.http1.heads import RequestHead
from invproxy.mailbox import Mailbox, Mailboxes
from invproxy.wire.poll import BACKEND

_findBackend = finder(BACKEND)


class OpenRouter:
    """
    Routing in open mode, where there is no registry: by C{X-Inverting-Proxy-Backend}, else by the first label of Host,
    else to the backend whose agent's session began most recently.
    """

    def __init__(self, mailboxes: Mailboxes) -> None:
        self._mailboxes = mailboxes

    def route(self, head: RequestHead) -> Mailbox:
        """
        Choose the best match first, and ask whether it lives second.

        @param head: the request as the client sent it.
        @raise Fault: no-backend or agent-offline.
        """
        named = _findBackend(head.fields)
        if named is not None:
            mailbox = self._mailboxes.get(named.decode("latin-1"))
            if mailbox is None:
                raise Fault(NO_BACKEND, f"no backend {named[:60].decode('latin-1')!r}")
        else:
            label = (head.host or b"").partition(b":")[0].partition(b".")[0].decode("latin-1")
            mailbox = self._mailboxes.match(label)
        if mailbox is None or self._mailboxes.isOffline(mailbox):
            raise Fault(AGENT_OFFLINE)
        return mailbox
