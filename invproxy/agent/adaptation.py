"""
What an agent's settings change about requests, whichever carrier brings them.
"""

from __future__ import annotations

from invproxy.agent.settings import AgentSettings
from invproxy.http1.fields import dropper
from invproxy.http1.heads import RequestHead
from invproxy.http1.marks import OWN
from invproxy.wire.poll import USER_ID

_dropAuthorization = dropper(b"authorization")

dropOwn = dropper(b"x-inverting-proxy-*", alike=True)
"""
Drop from a header or trailer section what only the proxy and its agents may say: no proxy passes it on from a client,
and what the origin gets is up to this agent's settings, whatever a proxy sends.
"""


def adapt(head: RequestHead, endUser: bytes, settings: AgentSettings) -> RequestHead:
    """
    Make the head that the origin gets of the one that the proxy sent.

    @param head: the head, which may be changed.
    @param endUser: who the client authenticated as, or empty.
    @param settings: what to change.
    """
    if settings.stripCredentials:
        head.fields = _dropAuthorization(head.fields)
    if settings.forwardUserID and endUser:
        head.fields += b"\r\n%b: %b" % (USER_ID, endUser)
        head.marks |= OWN
    if settings.rewriteHost is not None:
        head = head.withHost(settings.rewriteHost)
    return head
