"""
What can go wrong with an exchange, each with its code, its status and one plain sentence.

This table is the only place where a code meets a status; the contract document lists the same codes for users.
"""

from __future__ import annotations

from attrs import field, frozen


@frozen
class Code:
    """
    One kind of failure, as end users, agents and logs see it.

    @ivar name: the value of C{X-Inverting-Proxy-Error}.
    @ivar status: the HTTP status of the error answer.
    @ivar sentence: one sentence for a person: what happened and what to do.
    @ivar retryAfter: seconds for C{Retry-After}, or 0 for none.
    """

    name: str
    status: int
    sentence: str
    retryAfter: int = field(default=0, kw_only=True)


BAD_REQUEST = Code("bad-request", 400, "The request is not valid HTTP/1.1.")
UNAUTHENTICATED = Code("unauthenticated", 401, "Sign in to see this page.")
FORBIDDEN = Code("forbidden", 403, "You are not allowed to see this page.")
SIGN_IN_FAILED = Code("sign-in-failed", 403, "Signing in did not work.")
NO_BACKEND = Code("no-backend", 404, "There is no backend for this address.")
METHOD_NOT_ALLOWED = Code("method-not-allowed", 405, "This method is not allowed here.")
HEAD_TIMEOUT = Code("head-timeout", 408, "The request took too long to arrive.")
TOO_SLOW = Code("too-slow", 408, "The request arrives, or its answer is taken, too slowly.")
BODY_TOO_LARGE = Code("body-too-large", 413, "The request body is larger than allowed here.")
TARGET_TOO_LONG = Code("target-too-long", 414, "The address is longer than allowed here.")
EXPECTATION_FAILED = Code("expectation-failed", 417, "This expectation cannot be met.")
TOO_MANY_PENDING = Code(
    "too-many-pending", 429, "Too many requests wait for this backend. Try again.", retryAfter=1
)
TOO_MANY_ATTEMPTS = Code(
    "too-many-attempts", 429, "Too many attempts to sign in have failed. Wait, then try again."
)
HEAD_TOO_LARGE = Code("head-too-large", 431, "The request header is larger than allowed here.")
INTERNAL = Code("internal", 500, "Something went wrong here. The log of the proxy says what.")
NOT_IMPLEMENTED = Code("not-implemented", 501, "This transfer coding is not supported.")
ORIGIN_REFUSED = Code("origin-refused", 502, "The backend cannot be reached by its agent.")
ORIGIN_BAD_RESPONSE = Code("origin-bad-response", 502, "The backend's answer is not valid HTTP.")
AGENT_LOST = Code("agent-lost", 502, "The agent went away before the answer. Try again.")
AGENT_OFFLINE = Code(
    "agent-offline",
    503,
    "No agent is connected for this backend. Start it and try again.",
    retryAfter=5,
)
DRAINING = Code("draining", 503, "The proxy is about to stop. Try again.", retryAfter=1)
REGISTRY_UNAVAILABLE = Code(
    "registry-unavailable",
    503,
    "The proxy cannot read its registry of backends. Try again.",
    retryAfter=5,
)
ISSUER_UNAVAILABLE = Code(
    "issuer-unavailable",
    503,
    "The proxy cannot reach who issues identities. Try again.",
    retryAfter=5,
)
TOO_MANY_CONNECTIONS = Code(
    "too-many-connections", 503, "The proxy has no room for more clients. Try again.", retryAfter=1
)
TOO_MANY_BACKENDS = Code(
    "too-many-backends", 503, "The proxy has no room for more backends.", retryAfter=30
)
TOO_MANY_TUNNELS = Code(
    "too-many-tunnels",
    503,
    "The proxy has no room for more tunnels of this backend.",
    retryAfter=30,
)
TOO_MANY_LINKS = Code(
    "too-many-links",
    503,
    "The proxy has no room for more connections of this backend's agents.",
    retryAfter=5,
)
QUEUE_TIMEOUT = Code("queue-timeout", 504, "No agent took the request in time. Try again.")
ORIGIN_TIMEOUT = Code("origin-timeout", 504, "The backend did not answer in time.")
VERSION_NOT_SUPPORTED = Code("version-not-supported", 505, "Only HTTP/1.0 and HTTP/1.1 are served.")
LOOP_DETECTED = Code("loop-detected", 508, "The request came back to the proxy that sent it.")

CLIENT_GONE = Code("client-gone", 499, "The client went away before the answer.")
"""Never answered to anyone: the reason with which an exchange is cancelled when its client leaves."""

IDLE_TIMEOUT = Code("idle-timeout", 504, "No byte came either way for too long.")
"""Only after a response head, so that it is logged and the response cut, but never answered."""

OUT_OF_DESCRIPTORS = Code("out-of-descriptors", 503, "The proxy has no room for more connections.")
"""Never answered to anyone: the connection is closed before it could ask anything."""

CODES: dict[str, Code] = {
    code.name: code for code in list(globals().values()) if isinstance(code, Code)
}
"""Every code by its name."""


class Fault(Exception):
    """
    An exchange, or a message on its way, failed.

    @ivar code: what kind of failure it is.
    @ivar detail: which value was wrong or what was seen, for the log and for the person who sent the
        request; never a secret.
    @ivar fields: a block of header fields that belong to the error answer, such as Allow.
    """

    def __init__(self, code: Code, detail: str = "", fields: bytes = b"") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.code.name}: {self.detail or self.code.sentence}"


class ConfigError(Exception):
    """
    An option has a value that cannot be used; the text is one line that names it and what is allowed.

    @ivar complaint: what is allowed, or why the value cannot be used.
    @ivar option: the name of the option, or C{""} where whoever reads a value does not know for what.
    @ivar shown: the value as people may see it, or C{""} if nobody may.
    @ivar place: where the value stands, or C{""} if the option is not given.
    """

    def __init__(
        self, complaint: str, *, option: str = "", shown: str = "", place: str = ""
    ) -> None:
        super().__init__(complaint)
        self.complaint = complaint
        self.option = option
        self.shown = shown
        self.place = place

    def __str__(self) -> str:
        return self._described(self.place)

    def withoutPlace(self) -> str:
        """
        Say it to somebody who knows where the value stands.
        """
        return self._described("")

    def _described(self, place: str) -> str:
        if not self.option:
            return self.complaint
        if not self.place:
            state = " is not given"
        elif self.shown:
            state = f" is {self.shown}" + (f" ({place})" if place else "")
        else:
            state = f" ({place}; value not shown)" if place else " (value not shown)"
        return f"--{self.option}{state}: {self.complaint}"


class StoreError(Exception):
    """
    What a store keeps could not be read, or a change not be written; nothing of it is in force. The text is one line
    that says what happened and what to do.
    """
