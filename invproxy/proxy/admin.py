"""
The admin endpoint: is the process alive, is it ready, and what goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from invproxy.clocks import STATES
from invproxy.mailbox import Mailboxes

_LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))


def _send(request: Request, status: int, mediaType: bytes, body: bytes) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"content-type", mediaType)
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"x-content-type-options", b"nosniff")
    return body


def sendJSON(request: Request, value: object, status: int = 200) -> bytes:
    """
    Answer with JSON.
    """
    return _send(request, status, b"application/json", json.dumps(value).encode() + b"\n")


def sendProblem(request: Request, status: int, title: str, detail: str) -> bytes:
    """
    Answer with a problem (RFC 9457).
    """
    problem = {"status": status, "title": title, "detail": detail}
    return _send(request, status, b"application/problem+json", json.dumps(problem).encode() + b"\n")


def refusal(request: Request) -> str | None:
    """
    Say why a request may not use the admin endpoint. Only loopback peers may, and only those that also name a loopback
    Host and send no cross-site Origin: a page in somebody's browser must not get in, nor by a name that it points here.
    """
    peer = request.getClientAddress()
    if isinstance(peer, IPv4Address | IPv6Address):
        address = ip_address(peer.host.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if not address.is_loopback:
            return "the admin endpoint answers loopback peers only"
    elif not isinstance(peer, UNIXAddress):
        return "the admin endpoint answers loopback peers only"
    host = request.getHeader("host") or ""
    if _split("//" + host).hostname not in _LOOPBACK_NAMES:
        return "the admin endpoint answers only to a loopback name, such as localhost"
    origin = request.getHeader("origin")
    if origin is not None and _split(origin).netloc != host:
        return "the admin endpoint takes no cross-site requests"
    if request.getHeader("sec-fetch-site") in ("cross-site", "same-site"):
        return "the admin endpoint takes no cross-site requests"
    return None


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # brackets around what is no address
        return SplitResult("", "", "", "", "")


class _Problem(Resource):
    """
    Answers any request with the same problem.
    """

    isLeaf = True

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__()
        self._problem = (status, title, detail)

    def render(self, request: Request) -> bytes:
        return sendProblem(request, *self._problem)


class _Branch(Resource):
    """
    A Resource whose children are all there is.
    """

    def getChild(self, path: bytes, request: Request) -> IResource:
        return _Problem(404, "Not Found", "there is nothing at this path")

    def render(self, request: Request) -> bytes:
        return sendProblem(request, 404, "Not Found", "there is nothing at this path")


class _Leaf(Resource):
    """
    Answers GET and HEAD.
    """

    isLeaf = True

    def __init__(self, answer: Callable[[Request], bytes]) -> None:
        super().__init__()
        self._answer = answer

    def render(self, request: Request) -> bytes:
        if request.postpath:
            return sendProblem(request, 404, "Not Found", "there is nothing at this path")
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            return sendProblem(request, 405, "Method Not Allowed", "only GET and HEAD are")
        return self._answer(request)


class AdminResource(_Branch):
    """
    The root of the admin endpoint.
    """

    def __init__(
        self, mailboxes: Mailboxes, clock: IReactorTime, isReady: Callable[[], bool]
    ) -> None:
        """
        @param mailboxes: what to tell about.
        @param clock: what tells the time.
        @param isReady: says whether the proxy listens and is not stopping.
        """
        super().__init__()
        self._mailboxes = mailboxes
        self._clock = clock
        self._isReady = isReady
        self._began = clock.seconds()
        api = _Branch()
        api.putChild(b"status", _Leaf(self._status))
        self.putChild(b"api", api)
        self.putChild(
            b"healthz", _Leaf(lambda request: _send(request, 200, b"text/plain", b"ok\n"))
        )
        self.putChild(b"readyz", _Leaf(self._readyz))

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        why = refusal(request)
        return (
            _Problem(403, "Forbidden", why) if why else super().getChildWithDefault(path, request)
        )

    def _readyz(self, request: Request) -> bytes:
        if self._isReady():
            return _send(request, 200, b"text/plain", b"ready\n")
        return sendProblem(
            request, 503, "Not ready", "the proxy does not listen yet, or is about to stop"
        )

    def _status(self, request: Request) -> bytes:
        now = self._clock.seconds()
        inFlight: dict[str, dict[str, int]] = {}
        for exchange in self._mailboxes.exchanges.values():
            counts = inFlight.setdefault(exchange.mailbox.backend, {})
            name = STATES[exchange.state]
            counts[name] = counts.get(name, 0) + 1
        backends = []
        for mailbox in sorted(self._mailboxes, key=lambda mailbox: mailbox.backend):
            queued, waiting = mailbox.counts()
            backends.append(
                {
                    "id": mailbox.backend,
                    "online": not self._mailboxes.isOffline(mailbox),
                    "secondsSinceSeen": round(max(0.0, now - mailbox.lastSeen()), 3),
                    "tunnels": mailbox.countTakers(),
                    "polls": waiting,
                    "queued": queued,
                    "exchanges": inFlight.get(mailbox.backend, {}),
                }
            )
        uptime = round(now - self._began, 3)
        return sendJSON(
            request, {"ready": self._isReady(), "uptimeSeconds": uptime, "backends": backends}
        )
