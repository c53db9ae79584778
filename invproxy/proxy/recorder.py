"""
What the access log is told of each request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from invproxy.http1.fields import elements, finder, values
from invproxy.http1.heads import RequestHead
from invproxy.http1.marks import REFERER, USER_AGENT
from invproxy.interfaces import IAccessLog
from invproxy.proxy.settings import ProxySettings
from invproxy.server.stream import ServerStream
from invproxy.steady import wallOf

_findReferer: Final = finder(b"referer")
_findUserAgent: Final = finder(b"user-agent")


class Recorder:
    """
    Tells the access log of clients' requests; agents' calls are none of its business.
    """

    def __init__(
        self,
        accessLog: IAccessLog,
        clock: IReactorTime,
        settings: ProxySettings,
        isAgentCall: Callable[[RequestHead], bool],
    ) -> None:
        """
        @param accessLog: what to tell.
        @param clock: what tells the time.
        @param settings: whom to trust about clients.
        @param isAgentCall: tells the requests that are agents' calls.
        """
        self._log = accessLog.log
        self._seconds = clock.seconds
        self._wall = wallOf(clock)
        self._settings = settings
        self._approaches = settings.approaches()
        self._isBehindProxies = self._approaches.trustsAnyone
        self._isAgentCall = isAgentCall

    def record(self, stream: ServerStream) -> None:
        """
        Tell of a request whose answer has ended, however.
        """
        head = stream.head
        # What was given an ID and did not fail was an exchange; a closer look is needed at the others alone.
        if (stream.error is not None or not stream.requestID) and self._isAgentCall(head):
            return
        host: str | None = getattr(stream.peer.address, "host", None)
        peer = "unix" if host is None else host
        if self._isBehindProxies and self._approaches.isTrusted(stream.peer):
            peer = self._originalOf(peer, head)
        referer = userAgent = None
        if head.marks & REFERER:
            referer = _findReferer(head.fields)
        if head.marks & USER_AGENT:
            userAgent = _findUserAgent(head.fields)
        took = self._seconds() - stream.began
        self._log(
            peer,
            stream.endUser,
            self._wall() - took,
            head.method,
            head.target,
            head.minor,
            stream.status,
            stream.sent,
            took,
            referer or b"",
            userAgent or b"",
            stream.requestID,
            stream.error.name if stream.error is not None else "",
        )

    def _originalOf(self, peer: str, head: RequestHead) -> str:
        """
        Name the client of a trusted proxy: whom it had the request from, as far as trusted proxies tell, or itself.
        """
        for hop in reversed(elements(values(head.fields, b"x-forwarded-for"))):
            peer = hop.decode("latin-1")
            if not self._settings.trusts(peer):
                break
        return peer
