"""
What the access log and the metrics are told of each request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from invproxy.http1.fields import elements, finder, values
from invproxy.http1.heads import RequestHead
from invproxy.http1.marks import REFERER, USER_AGENT
from invproxy.interfaces import IAccessLog
from invproxy.metrics import Tally
from invproxy.proxy.settings import ProxySettings
from invproxy.server.stream import ServerStream
from invproxy.steady import wallOf

_findReferer: Final = finder(b"referer")
_findUserAgent: Final = finder(b"user-agent")


class Recorder:
    """
    Tells the access log and the metrics of clients' requests. Agents' calls are none of the log's business, and the
    metrics are told of those that failed.
    """

    def __init__(
        self,
        accessLog: IAccessLog | None,
        clock: IReactorTime,
        settings: ProxySettings,
        isAgentCall: Callable[[RequestHead], bool],
        metrics: Tally | None = None,
    ) -> None:
        """
        @param accessLog: what to tell, if anything.
        @param clock: what tells the time.
        @param settings: whom to trust about clients.
        @param isAgentCall: tells the requests that are agents' calls.
        @param metrics: told of all that ends, too.
        """
        self._log = None if accessLog is None else accessLog.log
        self._metrics = metrics
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
            if self._metrics is not None and stream.error is not None:
                self._metrics.callFailed(stream.error.name)
            return
        error = "" if stream.error is None else stream.error.name
        duration = self._seconds() - stream.began
        if self._metrics is not None:
            self._metrics.requestEnded(stream.status, error, stream.sent, duration)
        log = self._log
        if log is None:
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
        log(
            peer,
            stream.endUser,
            self._wall() - duration,
            head.method,
            head.target,
            head.minor,
            stream.status,
            stream.sent,
            duration,
            referer or b"",
            userAgent or b"",
            stream.requestID,
            error,
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
