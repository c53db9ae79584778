"""
The registry for administrators: C{/api/backends} and what is below it.

The addresses and the names of fields are those of the original's admin API, so that what was written for it works::

    /api/backends                      GET lists, POST creates or replaces
    /api/backends/<id>                 GET, PUT, DELETE
    /api/backends/<id>/tokens          GET lists, POST makes one
    /api/backends/<id>/tokens/<name>   DELETE revokes it

An ID may have a C{/} in it, which is C{%2F} in an address.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from twisted.web.server import Request

from invproxy.admin.answers import Answer, Headers, Problem, jsonAnswer, nothingHere
from invproxy.admin.audit import Audit
from invproxy.admin.endpoint import Endpoint, Handler, readJSON
from invproxy.admin.paging import Page
from invproxy.registry.records import (
    Backend,
    InvalidRecord,
    etag,
    formatSecond,
    parseBackend,
    parseToken,
    renderBackend,
    renderToken,
)
from invproxy.registry.registry import (
    Conflict,
    NoSuchBackend,
    NoSuchToken,
    PreconditionFailed,
    Registry,
    Unavailable,
)

_NO_REGISTRY = Problem(
    409,
    "no-registry",
    "this proxy runs in open mode and has no registry: start it with --database sqlite:PATH",
)


class BackendsEndpoint(Endpoint):
    """
    All there is below C{/api/backends}.
    """

    def __init__(self, registry: Registry | None, audit: Audit) -> None:
        """
        @param registry: the registry; L{None} in open mode, which has none.
        @param audit: where changes are noted.
        """
        super().__init__()
        self._calls = None if registry is None else _Calls(registry, audit)

    def methods(self, request: Request) -> Mapping[bytes, Handler]:
        calls = self._calls
        if calls is None:
            raise _NO_REGISTRY
        handlers: dict[bytes, Callable[..., Any]]
        segments = [_text(segment) for segment in request.postpath or []]
        if "" in segments:
            raise nothingHere()
        match segments:
            case []:
                names, handlers = [], {b"GET": calls.list, b"POST": calls.post}
            case [backend]:
                names = [backend]
                handlers = {b"GET": calls.get, b"PUT": calls.put, b"DELETE": calls.delete}
            case [backend, "tokens"]:
                names, handlers = [backend], {b"GET": calls.listTokens, b"POST": calls.mint}
            case [backend, "tokens", token]:
                names, handlers = [backend, token], {b"DELETE": calls.revoke}
            case _:
                raise nothingHere()
        return {
            method: partial(_explaining, partial(handler, *names))
            for method, handler in handlers.items()
        }


def _text(segment: bytes) -> str:
    try:
        return segment.decode("utf-8")
    except UnicodeDecodeError:
        raise nothingHere() from None


async def _explaining(
    handler: Callable[[Request], Coroutine[Any, Any, Answer]], request: Request
) -> Answer:
    """
    Turn what the registry raises into problems.
    """
    try:
        return await handler(request)
    except InvalidRecord as error:
        detail = f"{error.field or 'the body'} {error.why}"
        raise Problem(400, "invalid-record", detail, field=error.field) from None
    except NoSuchBackend as error:
        raise Problem(404, "no-such-backend", str(error)) from None
    except NoSuchToken as error:
        raise Problem(404, "no-such-token", str(error)) from None
    except Conflict as error:
        raise Problem(409, "conflict", str(error)) from None
    except PreconditionFailed as error:
        raise Problem(412, "precondition-failed", str(error)) from None
    except Unavailable as error:
        raise Problem(
            503,
            "registry-unavailable",
            f"the registry cannot be used now: {error}",
            headers=[("Retry-After", "5")],
        ) from None


def _condition(request: Request, name: str) -> str | None:
    """
    The value of If-Match or If-None-Match, over as many lines as it may be.
    """
    lines = request.requestHeaders.getRawHeaders(name)
    return None if lines is None else ", ".join(lines)


class _Calls:
    """
    What can be asked of the registry, each as a handler for a request.
    """

    def __init__(self, registry: Registry, audit: Audit) -> None:
        self._registry = registry
        self._audit = audit

    async def list(self, request: Request) -> Answer:
        page = Page.fromQuery(request.args or {})
        found = self._registry.list(page.after, page.limit + 1)
        shown = [renderBackend(record) for record in found[: page.limit]]
        headers = page.linkBehind(found[page.limit - 1].id) if len(found) > page.limit else ()
        return jsonAnswer(shown, headers=headers)

    async def get(self, id: str, request: Request) -> Answer:
        return _shown(self._known(id))

    def _known(self, id: str) -> Backend:
        record = self._registry.get(id)
        if record is None:
            raise Problem(404, "no-such-backend", f"there is no backend {id[:100]!r}")
        return record

    async def post(self, request: Request) -> Answer:
        return await self._put(parseBackend(readJSON(request)), request)

    async def put(self, id: str, request: Request) -> Answer:
        return await self._put(parseBackend(readJSON(request), id=id), request)

    async def _put(self, record: Backend, request: Request) -> Answer:
        id = record.id
        condition = _condition(request, "if-none-match")
        if condition not in (None, "*"):
            raise Problem(400, "bad-parameter", "If-None-Match must be *", field="If-None-Match")
        # Not what was there before: others may have their turn in between.
        former = await self._registry.put(
            record, match=_condition(request, "if-match"), isNew=condition is not None
        )
        action = "created" if former is None else "changed"
        self._audit.note(request, action, id, what=_differences(former, record))
        if former is not None:
            return _shown(self._known(id))
        return _shown(record, 201, [("Location", f"/api/backends/{quote(id, safe='')}")])

    async def delete(self, id: str, request: Request) -> Answer:
        self._known(id)
        await self._registry.delete(id, match=_condition(request, "if-match"))
        self._audit.note(request, "removed", id)
        return Answer(204)

    async def listTokens(self, id: str, request: Request) -> Answer:
        # Not in pages: a backend has few.
        return jsonAnswer([renderToken(token) for token in self._registry.tokensOf(id)])

    async def mint(self, id: str, request: Request) -> Answer:
        self._known(id)
        wanted = parseToken(readJSON(request))
        token, secret = await self._registry.mintToken(id, wanted.name, wanted.expires)
        until = "" if token.expires is None else f"expires {formatSecond(token.expires)}"
        self._audit.note(request, "created", id, token=token.name, what=until)
        shown = renderToken(token)
        return jsonAnswer({"name": shown.pop("name"), "token": secret, **shown}, 201)

    async def revoke(self, id: str, name: str, request: Request) -> Answer:
        await self._registry.revokeToken(id, name)
        self._audit.note(request, "revoked", id, token=name)
        return Answer(204)


def _shown(record: Backend, status: int = 200, headers: Headers = ()) -> Answer:
    return jsonAnswer(renderBackend(record), status, [("ETag", etag(record)), *headers])


def _differences(before: Backend | None, after: Backend) -> str:
    """
    Tell what is not the same, in one line.

    @param before: what was there, if anything was.
    """
    old = {} if before is None else renderBackend(before)
    told = []
    for name, value in renderBackend(after).items():
        if name in ("id", "lastUsed") or old.get(name, value if not value else None) == value:
            continue
        change = _brief(value) if before is None else f"{_brief(old[name])} -> {_brief(value)}"
        told.append(f"{name} {change}")
    return ", ".join(told) or "nothing is different"


def _brief(value: object) -> str:
    # As JSON, whose escapes keep it on one line.
    text = json.dumps(value)
    return text if len(text) <= 300 else f"{text[:300]}..."
