"""
A client of the admin API.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote, urljoin, urlsplit

from attrs import frozen
from treq.client import HTTPClient
from treq.content import collect
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
)
from twisted.internet.error import (
    TimeoutError as ConnectTimeout,
)
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from invproxy import __version__
from invproxy.cli.failures import Failed, Refused, Unreachable
from invproxy.errors import ConfigError
from invproxy.trust import tlsComplaintOf, trustRootOf

_TIMEOUT = 30.0
"""Seconds that one answer may take."""

_CONNECT_TIMEOUT = 10.0
_LARGEST = 16 << 20
"""Bytes of one answer that are read."""

_MOST_PAGES = 1000

_isToken = re.compile(r"[\x21-\x7e]+", re.ASCII).fullmatch
_next = re.compile(r'<([^>]*)>\s*;\s*rel="next"').search


@frozen
class Reply:
    """
    A good answer.

    @ivar value: the JSON in it; L{None} if it is empty.
    @ivar etag: which version of something it shows, or C{""}.
    @ivar following: the address of the next page, or C{""}.
    """

    value: Any
    etag: str = ""
    following: str = ""


@implementer(IBodyProducer)
class _Whole:
    """
    A body that is there as a whole, and needs no reactor to be sent piece by piece.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        Send it.
        """
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """
        It is too late for that.
        """

    def resumeProducing(self) -> None:
        """
        It is too late for that.
        """

    def stopProducing(self) -> None:
        """
        It is too late for that.
        """


@implementer(IAgentEndpointFactory)
@frozen
class _UNIXEndpoints:
    """
    Connects to a UNIX socket, whatever the URL says.
    """

    reactor: Any
    path: str

    def endpointForURI(self, uri: object) -> UNIXClientEndpoint:
        """
        Give the endpoint.
        """
        return UNIXClientEndpoint(self.reactor, self.path, timeout=_CONNECT_TIMEOUT)


def agentFor(reactor: Any, admin: str, authorities: bytes | None) -> IAgent:
    """
    Make what connects to an admin endpoint.

    @param reactor: the reactor.
    @param admin: its address: a URL, or C{unix:/path}.
    @param authorities: PEM of the certificates to trust for it; L{None} for those of the system.
    """
    if admin.startswith("unix:"):
        path = admin.removeprefix("unix:")
        return cast(IAgent, Agent.usingEndpointFactory(reactor, _UNIXEndpoints(reactor, path)))
    if authorities is None:
        return Agent(reactor, connectTimeout=_CONNECT_TIMEOUT)
    try:
        trusted = trustRootOf(authorities)
    except ConfigError as error:
        raise Failed(f"--admin-ca {error}") from None
    return Agent(reactor, BrowserLikePolicyForHTTPS(trusted), connectTimeout=_CONNECT_TIMEOUT)


class AdminClient:
    """
    Asks one admin endpoint.
    """

    def __init__(self, agent: IAgent, admin: str, token: str | None, clock: IReactorTime) -> None:
        """
        @param agent: what connects to it.
        @param admin: its address.
        @param token: its token, if that is known.
        @param clock: measures how long answers take.
        """
        self._client = HTTPClient(agent)
        self._admin = admin
        # By the name of the machine itself, as no other is let in without a token.
        self._base = "http://localhost" if admin.startswith("unix:") else admin.rstrip("/")
        self._token = token
        self._clock = clock

    async def request(
        self,
        method: str,
        path: str,
        value: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """
        Ask for something.

        @param path: the path below the address of the endpoint.
        @param value: what is sent as JSON, if not L{None}.
        @param headers: further header fields.
        @raise Unreachable: if nobody answers.
        @raise Refused: if it is refused.
        @raise Failed: if what answers is no admin endpoint.
        """
        fields = {
            "Accept": "application/json",
            "User-Agent": f"invproxy/{__version__}",
            **(headers or {}),
        }
        if self._token is not None:
            fields["Authorization"] = f"Bearer {self._token}"
        body = None
        if value is not None:
            body = json.dumps(value).encode("ascii")
            fields["Content-Type"] = "application/json"
        began = self._clock.seconds()
        try:
            status, mediaType, received, content = await Deferred.fromCoroutine(
                self._send(method, self._base + path, fields, body)
            ).addTimeout(_TIMEOUT, self._clock)
        except Failed:
            raise
        except (TimeoutError, ConnectTimeout):
            raise self._unreachable("it does not answer in time") from None
        except DNSLookupError:
            raise self._unreachable("its host is not known") from None
        except (ConnectError, OSError) as error:
            raise self._unreachable(_connectText(error)) from None
        except (ConnectionClosed, RequestGenerationFailed, RequestTransmissionFailed) as error:
            raise self._unreachable(_reasonOf(error)) from None
        except ResponseFailed as error:
            # Wrapped like this if it was under way when the time was over.
            late = self._clock.seconds() - began >= _TIMEOUT
            why = "it does not answer in time" if late else _reasonOf(error)
            raise self._unreachable(why) from None
        return self._understand(status, mediaType, received, content)

    async def _send(
        self, method: str, url: str, fields: Mapping[str, str], body: bytes | None
    ) -> tuple[int, str, Mapping[str, str], bytes]:
        # Not to where it is sent on to: the token is for this endpoint alone.
        response = await self._client.request(
            method,
            url,
            headers=Headers({name: [value] for name, value in fields.items()}),
            data=None if body is None else _Whole(body),
            allow_redirects=False,
        )
        pieces: list[bytes] = []
        size = 0

        def add(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size <= _LARGEST:
                pieces.append(data)

        await collect(response, add)
        if size > _LARGEST:
            raise Failed(f"the answer of {self._admin} is larger than {_LARGEST} bytes")
        received = {
            name.decode("latin-1").lower(): ", ".join(each.decode("latin-1") for each in values)
            for name, values in response.headers.getAllRawHeaders()
        }
        mediaType = received.get("content-type", "").partition(";")[0].strip().lower()
        return response.code, mediaType, received, b"".join(pieces)

    def _understand(
        self, status: int, mediaType: str, headers: Mapping[str, str], content: bytes
    ) -> Reply:
        if status == 204:
            return Reply(None)
        if mediaType not in ("application/json", "application/problem+json"):
            raise self._stranger(status, mediaType)
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            raise self._stranger(status, mediaType) from None
        if status < 300 and mediaType == "application/json":
            found = _next(headers.get("link", ""))
            return Reply(value, headers.get("etag", ""), found[1] if found else "")
        isProblem = mediaType == "application/problem+json" and isinstance(value, dict)
        if not isProblem or not isinstance(value.get("code"), str):
            raise self._stranger(status, mediaType)
        raise self._refused(status, value)

    def _refused(self, status: int, problem: Mapping[str, Any]) -> Refused:
        code, detail = problem["code"], str(problem.get("detail", ""))
        if code == "unauthenticated":
            detail = (
                "the admin API needs its token: give the file that has it by --admin-token-file"
                if self._token is None
                else "the token is not the one of this admin API: it must be what is in the file that the"
                " server has as --admin-token-file"
            )
        return Refused(status, code, detail, str(problem.get("field", "")))

    def _stranger(self, status: int, mediaType: str) -> Failed:
        return Failed(
            f"what answers at {self._admin} is not the admin API of invproxy (status {status},"
            f" {mediaType or 'no content type'}): the server says at its start where that is,"
            " as (admin URL)"
        )

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(
            f"no admin API at {self._admin}: {why}. Is the server running? It says at its start where"
            " the API is, as (admin URL): name that by --admin or INVPROXY_ADMIN"
        )

    # What there is to ask.

    async def status(self) -> Any:
        """
        Ask what goes on.
        """
        return (await self.request("GET", "/api/status")).value

    async def backends(self) -> list[Any]:
        """
        List all backends, page by page.
        """
        found: list[Any] = []
        for reply in await self._pages("/api/backends"):
            found += _listIn(reply)
        return found

    async def exchanges(self) -> Any:
        """
        Ask for all exchanges under way, page by page, and for what else the proxy holds, as of the last page.
        """
        found: list[Any] = []
        value: Any = None
        for reply in await self._pages("/api/exchanges"):
            value = reply.value
            if not isinstance(value, dict) or not isinstance(value.get("exchanges"), list):
                raise Failed(
                    "the admin API did not answer with exchanges: is it of another version?"
                )
            found += value["exchanges"]
        return {**value, "exchanges": found}

    async def holdings(self) -> Any:
        """
        Ask what the proxy holds.

        @return: L{None} if it is of a version that does not tell.
        """
        try:
            return (await self.request("GET", "/api/exchanges?limit=1")).value
        except Refused as error:
            if error.status != 404:
                raise
            return None

    async def _pages(self, path: str) -> list[Reply]:
        replies = []
        address = path
        for _ in range(_MOST_PAGES):
            reply = await self.request("GET", address)
            replies.append(reply)
            # Of the link the query alone, so that the token goes nowhere else.
            query = urlsplit(urljoin(path, reply.following)).query
            if not reply.following or not reply.value:
                break
            address = f"{path}?{query}"
        return replies

    async def backend(self, id: str) -> Reply:
        """
        Show one.
        """
        return await self.request("GET", _pathOf(id))

    async def create(self, record: Mapping[str, object]) -> Reply:
        """
        Create one; there must be none of its ID.
        """
        return await self.request("POST", "/api/backends", record, {"If-None-Match": "*"})

    async def replace(self, id: str, record: Mapping[str, object], etag: str) -> Reply:
        """
        Replace one, if it is still the version that was seen.
        """
        return await self.request("PUT", _pathOf(id), record, {"If-Match": etag} if etag else None)

    async def remove(self, id: str) -> None:
        """
        Remove one.
        """
        await self.request("DELETE", _pathOf(id))

    async def tokens(self, id: str) -> list[Any]:
        """
        List the tokens of one.
        """
        return _listIn(await self.request("GET", f"{_pathOf(id)}/tokens"))

    async def mint(self, id: str, name: str, expires: str | None) -> Any:
        """
        Make a token.
        """
        wanted = {"name": name} if expires is None else {"name": name, "expires": expires}
        made = (await self.request("POST", f"{_pathOf(id)}/tokens", wanted)).value
        text = made.get("token") if isinstance(made, dict) else None
        if not isinstance(text, str) or not _isToken(text):
            raise Failed("the admin API did not answer with a token: is it of another version?")
        return made

    async def revoke(self, id: str, name: str) -> None:
        """
        Revoke one.
        """
        path = f"{_pathOf(id)}/tokens"
        if name in _STEPS:
            raise Refused(404, "no-such-token", f"{id!r} has no token {name!r}")
        await self.request("DELETE", f"{path}/{quote(name, safe='')}")


_STEPS = (".", "..")
"""What would be a step through an address, however it is encoded, and is the name of nothing."""


def _pathOf(id: str) -> str:
    if id in _STEPS:
        raise Refused(404, "no-such-backend", f"there is no backend {id!r}")
    return f"/api/backends/{quote(id, safe='')}"


def _listIn(reply: Reply) -> list[Any]:
    if not isinstance(reply.value, list):
        raise Failed("the admin API did not answer with a list: is it of another version?")
    return reply.value


def _connectText(error: BaseException) -> str:
    number = getattr(error, "osError", None) or getattr(error, "errno", None)
    return os.strerror(number).lower() if isinstance(number, int) else _plain(error)


def _plain(error: object) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _reasonOf(error: BaseException) -> str:
    """
    Say why an answer did not come: what went wrong first is wrapped several times.
    """
    reasons = getattr(error, "reasons", None)
    while reasons:
        error = reasons[0].value
        reasons = getattr(error, "reasons", None)
    return tlsComplaintOf(error, "--admin-ca") or _plain(error)
