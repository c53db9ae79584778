"""
Whether the proxy is reached, and why not, for the log.
"""

from __future__ import annotations

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger

from invproxy.agent.backoff import retryAfter
from invproxy.errors import Fault

_REFUSED = 10.0
"""
Seconds until the next call after one whose credentials were refused: that does not pass by itself, and the proxy puts
off for longer who fails often.
"""

_HINTS = {
    401: (
        ": its credentials are missing, unknown, expired or revoked; see that --token-file has a token"
        " of this backend that is valid (invproxy token create makes one)"
    ),
    403: ": it may not serve this backend; see that --backend and its credentials belong together",
}
"""What to do where the proxy refuses an agent, by the status of its answer."""

_log = Logger(namespace="invproxy.agent")


class ProxyRefusal(Exception):
    """
    The proxy answered a call with an error; the text says which, and what to do about it.

    @ivar isPassing: whether it may be over in a moment; if not, somebody has to do something.
    @ivar isOurs: whether it is this agent that is refused, by a proxy that works.
    @ivar retryAfter: seconds that it asks to wait, or 0.
    """

    def __init__(
        self,
        text: str,
        *,
        isPassing: bool = False,
        retryAfter: float = 0.0,
        isOurs: bool = False,
    ) -> None:
        super().__init__(text)
        self.isPassing = isPassing
        self.isOurs = isOurs
        self.retryAfter = retryAfter


class Reachability:
    """
    Says in the log when the proxy is not reached, why, and when it is again: one line for each change.
    """

    def __init__(self, url: str) -> None:
        """
        @param url: what to call the proxy.
        """
        self._url = url
        self._troubles: dict[object, str] = {}

    def fail(self, caller: object, error: Exception) -> None:
        """
        Take note of a call that went wrong.

        @param caller: who made it; each is out of trouble only by a call of its own that goes well.
        """
        isRefusal = isinstance(error, ProxyRefusal) and not error.isPassing
        # Errors that pass are one kind, as they come in turns while a proxy is down.
        kind = str(error) if isRefusal else ""
        if kind not in self._troubles.values():
            _log.warn(
                "proxy {url} {trouble}, retrying: {why}",
                url=self._url,
                trouble=(
                    "refuses this agent" if getattr(error, "isOurs", False) else "not reached"
                ),
                why=reasonOf(error),
            )
        self._troubles[caller] = kind

    def succeed(self, caller: object) -> None:
        """
        Take note of a call that went well.
        """
        if self._troubles.pop(caller, None) is not None and not self._troubles:
            _log.info("proxy {url} reached again", url=self._url)


def refusalOf(status: int, fields: bytes, now: float) -> ProxyRefusal:
    """
    Say what an answer with an error means.

    @param status: its status.
    @param fields: its fields as a block.
    @param now: seconds since the epoch.
    """
    hint = ""
    wait = retryAfter(fields, now)
    isOurs = status in _HINTS
    if isOurs:
        wait = max(wait, _REFUSED)
        hint = _HINTS[status]
    elif status < 400 or status in (404, 405, 501):
        hint = ": is this the base URL of an inverting proxy?"
    return ProxyRefusal(
        f"it answered {status}{hint}",
        isPassing=status == 429 or (status >= 500 and status != 501),
        retryAfter=wait,
        isOurs=isOurs,
    )


def reasonOf(error: Exception) -> str:
    """
    Say in plain words why a call went wrong.
    """
    reasons = getattr(error, "reasons", None)
    if reasons:
        return reasonOf(reasons[0].value)  # twisted.web wraps what happened in a list of failures
    if isinstance(error, ProxyRefusal):
        return str(error)
    if isinstance(error, Fault):
        return error.detail or str(error)
    if isinstance(error, DeferredTimeout | CancelledError):
        return "no answer in time"
    if isinstance(error, VerificationError):
        return "its certificate is for another host name"
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return "TLS: " + ", ".join(text for *_, text in error.args[0])
    return f"{type(error).__name__}: {error}"
