"""
The poll carrier: ask the proxy for waiting exchanges, with several polls parked there at once.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from invproxy.agent.backoff import Backoff
from invproxy.agent.link import ProxyLink
from invproxy.agent.replay import Replay
from invproxy.agent.settings import AgentSettings
from invproxy.errors import DRAINING, Fault
from invproxy.interfaces import IOrigin
from invproxy.timers import Wheel
from invproxy.wire.poll import MAX_PENDING_BYTES, REQUEST_ID, parseIDs

_log = Logger(namespace="invproxy.agent")

_REMEMBERED = 1000
"""How many IDs are remembered, so that none is worked on twice: the original's proxy repeats them."""


class ProxyRefusal(Exception):
    """
    The proxy answered a call with an error; the text says which, and what to do about it.

    @ivar retryAfter: seconds that it asks to wait, or 0.
    """

    def __init__(self, text: str, retryAfter: float = 0.0) -> None:
        super().__init__(text)
        self.retryAfter = retryAfter


class PollCarrier:
    """
    Brings exchanges from a proxy to an origin by the poll protocol.
    """

    name = "poll"

    def __init__(
        self,
        reactor: IReactorTime,
        link: ProxyLink,
        origin: IOrigin,
        settings: AgentSettings,
        random: Callable[[], float],
    ) -> None:
        """
        @param reactor: the reactor.
        @param link: the way to the proxy.
        @param origin: what answers the requests.
        @param settings: how many polls, and times.
        @param random: gives numbers from 0 to 1, for backoff.
        """
        self._reactor = reactor
        self._link = link
        self._origin = origin
        self._settings = settings
        self._backoff = Backoff(random)
        self._wheel = Wheel(reactor)
        self._replays: set[Replay] = set()
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._running = False
        self._reached: bool | None = None
        self._loops: list[Deferred[None]] = []
        self._room: list[Deferred[None]] = []
        self._drained: Deferred[None] | None = None

    async def run(self, ready: Callable[[], None]) -> None:
        """
        Carry exchanges until L{stop}.

        @param ready: called once, when the proxy has answered.
        """
        self._running = True
        while not await self._try(self._probe):
            if not self._running:
                return
        ready()
        self._loops = [Deferred.fromCoroutine(self._loop()) for _ in range(self._settings.polls)]
        await DeferredList(self._loops)

    async def _loop(self) -> None:
        while self._running:
            if len(self._replays) >= self._settings.maxExchanges:
                room: Deferred[None] = Deferred()
                self._room.append(room)
                await room
            else:
                await self._try(self._poll)

    async def _try(self, call: Callable[[], object]) -> bool:
        """
        Make a call of the proxy; if that fails, wait a while, and say so once.

        @return: whether it went well.
        """
        try:
            await call()  # type: ignore[misc]
        except CancelledError:
            return False
        except Exception as error:
            if not self._running:
                return False
            if self._reached is not False:
                self._reached = False
                _log.warn(
                    "proxy {url} not reached, retrying: {why}",
                    url=self._link.url,
                    why=_reasonOf(error),
                )
            wait = self._backoff.fail(error.retryAfter if isinstance(error, ProxyRefusal) else 0.0)
            with suppress(CancelledError):
                await deferLater(self._reactor, wait)
            return False
        if self._reached is False:
            _log.info("proxy {url} reached again", url=self._link.url)
        self._reached = True
        self._backoff.succeed()
        return True

    async def _probe(self) -> None:
        """
        Ask for a request that does not exist: a proxy that says so works, and takes us for an agent.
        """
        headers = self._link.headers.copy()
        headers.addRawHeader(REQUEST_ID, secrets.token_hex(16).encode("ascii"))
        response, _ = await self._call("agent/request", headers, self._settings.connectTimeout + 10)
        if response.code != 404:
            raise _refusalOf(response)

    async def _poll(self) -> None:
        response, body = await self._call(
            "agent/pending", self._link.headers, self._settings.pollTimeout
        )
        if response.code != 200:
            raise _refusalOf(response)
        for identifier in parseIDs(body):
            if identifier not in self._recent:
                self._recent[identifier] = None
                if len(self._recent) > _REMEMBERED:
                    self._recent.popitem(last=False)
                self._replay(identifier)

    async def _call(self, path: str, headers: Headers, timeout: float) -> tuple[IResponse, bytes]:
        """
        Make a control call.

        @return: the answer, and the first mebibyte of its body.
        """
        body = bytearray()

        def collect(data: bytes) -> None:
            body.extend(data[: MAX_PENDING_BYTES + 1 - len(body)])

        async def call() -> IResponse:
            response = await self._link.control.get(
                f"{self._link.url}/{path}", headers=headers, unbuffered=True, allow_redirects=False
            )
            await response.collect(collect)
            return response

        response = await Deferred.fromCoroutine(call()).addTimeout(timeout, self._reactor)
        if len(body) > MAX_PENDING_BYTES:
            raise ProxyRefusal(
                f"the proxy's answer to {path} has more than {MAX_PENDING_BYTES} bytes"
            )
        return response, bytes(body)

    def _replay(self, identifier: str) -> None:
        replay = Replay(
            identifier, self._link, self._origin, self._settings, self._wheel, self._ended
        )
        self._replays.add(replay)
        replay.begin()

    def _ended(self, replay: Replay) -> None:
        self._replays.discard(replay)
        if self._room and len(self._replays) < self._settings.maxExchanges:
            self._room.pop(0).callback(None)
        if self._drained is not None and not self._replays:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def stop(self) -> Deferred[None]:
        """
        Ask for nothing more, and finish what is in flight, within the drain timeout.

        @return: fires when that is done.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._running = False
        for loop in self._loops:
            loop.cancel()
        if self._replays:
            self._drained = Deferred()
            late = self._reactor.callLater(self._settings.drainTimeout, self._abort)
            await self._drained
            if late.active():
                late.cancel()
        self._wheel.stop()

    def _abort(self) -> None:
        _log.warn("{count} exchanges cut at the end of the drain timeout", count=len(self._replays))
        for replay in list(self._replays):
            replay.giveUp(Fault(DRAINING))

    def countExchanges(self) -> int:
        """
        Count the exchanges in flight.
        """
        return len(self._replays)


def _refusalOf(response: IResponse) -> ProxyRefusal:
    code = response.code
    hint = ""
    if code in (401, 403):
        hint = ": the proxy does not accept this agent's credentials for this backend"
    elif code in (404, 405, 501) or 300 <= code < 400 or code == 200:
        hint = ": is this the base URL of an inverting proxy?"
    return ProxyRefusal(f"the proxy answered {code}{hint}", _retryAfter(response))


def _retryAfter(response: IResponse) -> float:
    """
    Read Retry-After (RFC 9110, section 10.2.3): seconds, or a date, which is measured against the answer's own Date.
    """
    text = (response.headers.getRawHeaders("retry-after") or [""])[0].strip()
    if text.isdecimal():
        return float(text)
    date = (response.headers.getRawHeaders("date") or [""])[0]
    try:
        return max(0.0, (parsedate_to_datetime(text) - parsedate_to_datetime(date)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _reasonOf(error: Exception) -> str:
    reasons = getattr(
        error, "reasons", None
    )  # twisted.web wraps what happened in a list of failures
    if reasons:
        return _reasonOf(reasons[0].value)
    return f"{type(error).__name__}: {error}" if not isinstance(error, ProxyRefusal) else str(error)
