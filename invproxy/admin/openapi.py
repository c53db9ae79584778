"""
The description of the admin API (OpenAPI 3.1), which it serves itself at C{/api/openapi.json}.

A test lets schemathesis compare it with what the API does.
"""

from __future__ import annotations

from typing import Any

from invproxy import __version__
from invproxy.admin.paging import MOST
from invproxy.admin.token import LONGEST, SHORTEST
from invproxy.registry.records import MAX_END_USERS, MAX_HOSTS, MAX_PREFIX, MAX_PREFIXES, MAX_USER

Schema = dict[str, Any]

_ID: Schema = {
    "type": "string",
    "pattern": r"^[0-9A-Za-z\-._~:@/]+$",
    "minLength": 1,
    "maxLength": 256,
    "not": {"enum": [".", ".."]},
}
_TOKEN_NAME = r"^[0-9A-Za-z][0-9A-Za-z._@:\-]*$"  # noqa: S105  (a pattern of names)

_PROBLEMS = {
    400: "What was sent cannot be used; field names what is wrong.",
    401: "The token is missing or wrong.",
    403: "Not from there: the peer, the Host or the Origin is not allowed.",
    404: "There is no such backend or token.",
    408: "The body did not come within 30 seconds.",
    409: "It does not go together with what there is, or there is no registry (open mode).",
    412: "The condition does not hold: it was changed meanwhile.",
    413: "The body is larger than 1 MiB.",
    429: "Too many wrong tokens from this peer; Retry-After says when to try again.",
    503: "The registry or the token cannot be read or written now, or the proxy is not ready.",
}
_EVERYWHERE = (401, 403, 429, 503)


def document() -> Schema:
    """
    Make the description.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "invproxy admin API",
            "version": __version__,
            "description": "Health, status and the registry of an inverting proxy. Errors are problem"
            " details (RFC 9457) with a code for programs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "tags": [
            {"name": "health", "description": "For whoever sees to it that the proxy runs."},
            {"name": "registry", "description": "Backends, and the tokens of their agents."},
        ],
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": f"The token of --admin-token-file, {SHORTEST} to {LONGEST}"
                    " characters. Without that option none is needed, and programs on the same"
                    " machine alone are let in.",
                }
            },
            "schemas": {
                "Backend": _backend(),
                "NewBackend": _newBackend(),
                "Token": _token(),
                "NewToken": _newToken(),
                "MintedToken": _minted(),
                "Status": _status(),
                "Problem": _problem(),
            },
            "responses": {f"Problem{status}": _refusal(text) for status, text in _PROBLEMS.items()},
            "parameters": {"id": _idParameter()},
        },
    }


def _paths() -> Schema:
    backend = {"$ref": "#/components/schemas/Backend"}
    text = {"text/plain": {"schema": {"type": "string"}}}
    oneBackend = {"$ref": "#/components/parameters/id"}
    return {
        "/healthz": {
            "get": {
                "operationId": "health",
                "tags": ["health"],
                "summary": "Is the process alive?",
                "security": [],
                "responses": _responses({"200": {"description": "It is.", "content": text}}, 403),
            }
        },
        "/readyz": {
            "get": {
                "operationId": "readiness",
                "tags": ["health"],
                "summary": "Does it listen, and can its registry be read?",
                "security": [],
                "responses": _responses(
                    {"200": {"description": "Yes.", "content": text}}, 403, 503
                ),
            }
        },
        "/api/openapi.json": {
            "get": {
                "operationId": "describe",
                "tags": ["health"],
                "summary": "This document.",
                "responses": _responses(_ok("The document.", {"type": "object"}), *_EVERYWHERE),
            }
        },
        "/api/status": {
            "get": {
                "operationId": "status",
                "tags": ["health"],
                "summary": "Agents, carriers and queues.",
                "responses": _responses(
                    _ok("What goes on.", {"$ref": "#/components/schemas/Status"}), *_EVERYWHERE
                ),
            }
        },
        "/api/backends": {
            "get": {
                "operationId": "listBackends",
                "tags": ["registry"],
                "summary": "List backends in the order of their IDs.",
                "parameters": [
                    {
                        "name": "limit",
                        "in": "query",
                        "description": f"How many at most; never more than {MOST}.",
                        "schema": {
                            "type": "integer",
                            "minimum": 1,
                            "maximum": 99_999_999,
                            "default": MOST,
                        },
                    },
                    {
                        "name": "after",
                        "in": "query",
                        "description": "Begin behind this ID.",
                        "schema": {"type": "string", "maxLength": 256, "default": ""},
                    },
                ],
                "responses": _responses(
                    _ok(
                        "A page of them. Link (RFC 8288) has the next one as rel=next, if there is one.",
                        {"type": "array", "items": backend},
                        Link=_header("The next page, relative to this one."),
                    ),
                    *(400, 409, *_EVERYWHERE),
                ),
            },
            "post": {
                "operationId": "putBackend",
                "tags": ["registry"],
                "summary": "Create a backend, or replace the one with its ID.",
                "parameters": _conditions(),
                "requestBody": _body("NewBackend"),
                "responses": _responses(_replaced(), *(400, 408, 409, 412, 413, *_EVERYWHERE)),
            },
        },
        "/api/backends/{id}": {
            "parameters": [oneBackend],
            "get": {
                "operationId": "getBackend",
                "tags": ["registry"],
                "summary": "Show one.",
                "responses": _responses(
                    _ok("The backend.", backend, ETag=_header("Names this version of it.")),
                    *(404, 409, *_EVERYWHERE),
                ),
            },
            "put": {
                "operationId": "replaceBackend",
                "tags": ["registry"],
                "summary": "Create or replace it; the body may leave out the ID.",
                "parameters": _conditions(),
                "requestBody": _body("NewBackend"),
                "responses": _responses(_replaced(), *(400, 408, 409, 412, 413, *_EVERYWHERE)),
            },
            "delete": {
                "operationId": "removeBackend",
                "tags": ["registry"],
                "summary": "Remove it with its tokens; its agents are cut off at once.",
                "parameters": _conditions()[:1],
                "responses": _responses(_gone(), *(404, 409, 412, *_EVERYWHERE)),
            },
        },
        "/api/backends/{id}/tokens": {
            "parameters": [oneBackend],
            "get": {
                "operationId": "listTokens",
                "tags": ["registry"],
                "summary": "List the tokens of its agents; the secrets are nowhere any more.",
                "responses": _responses(
                    _ok(
                        "Its tokens by name.",
                        {"type": "array", "items": {"$ref": "#/components/schemas/Token"}},
                    ),
                    *(404, 409, *_EVERYWHERE),
                ),
            },
            "post": {
                "operationId": "createToken",
                "tags": ["registry"],
                "summary": "Make a token; the answer alone has the secret.",
                "requestBody": _body("NewToken"),
                "responses": _responses(
                    _ok("It is made.", {"$ref": "#/components/schemas/MintedToken"}, status="201"),
                    *(400, 404, 408, 409, 413, *_EVERYWHERE),
                ),
            },
        },
        "/api/backends/{id}/tokens/{name}": {
            "parameters": [
                oneBackend,
                {
                    "name": "name",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "pattern": _TOKEN_NAME, "maxLength": 64},
                },
            ],
            "delete": {
                "operationId": "revokeToken",
                "tags": ["registry"],
                "summary": "Revoke it; agents that use it are cut off at once.",
                "responses": _responses(_gone(), *(404, 409, *_EVERYWHERE)),
            },
        },
    }


# Parts of operations.


def _ok(text: str, schema: Schema, *, status: str = "200", **headers: Schema) -> Schema:
    answer: Schema = {"description": text, "content": {"application/json": {"schema": schema}}}
    if headers:
        answer["headers"] = headers
    return {status: answer}


def _replaced() -> Schema:
    backend = {"$ref": "#/components/schemas/Backend"}
    tag = _header("Names this version of it.")
    location = _header("Where it is.")
    return {
        **_ok("It was replaced.", backend, ETag=tag),
        **_ok("It is new.", backend, status="201", ETag=tag, Location=location),
    }


def _gone() -> Schema:
    return {"204": {"description": "It is gone."}}


def _responses(good: Schema, *problems: int) -> Schema:
    return good | {
        str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in problems
    }


def _refusal(text: str) -> Schema:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {"application/problem+json": {"schema": schema}}}


def _body(name: str) -> Schema:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {
        "required": True,
        "description": "JSON in UTF-8, whatever the Content-Type says.",
        "content": {"application/json": {"schema": schema}},
    }


def _header(text: str) -> Schema:
    return {"description": text, "schema": {"type": "string"}}


def _conditions() -> list[Schema]:
    return [
        {
            "name": "If-Match",
            "in": "header",
            "description": "Only if it is still the version that an ETag named (RFC 9110, 13.1.1).",
            "schema": {"type": "string"},
        },
        {
            "name": "If-None-Match",
            "in": "header",
            "description": "*: only if there is none yet (RFC 9110, 13.1.2).",
            "schema": {"type": "string", "enum": ["*"]},
        },
    ]


def _idParameter() -> Schema:
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The ID of a backend; a / in it is %2F here.",
        "schema": _ID,
    }


# Documents.


def _object(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def _list(most: int, items: Schema, text: str, least: int = 0) -> Schema:
    found: Schema = {"type": "array", "maxItems": most, "items": items, "description": text}
    return found | {"minItems": least} if least else found


def _time(text: str) -> Schema:
    return {"type": "string", "format": "date-time", "description": text}


def _backendFields() -> dict[str, Schema]:
    user = {"type": "string", "maxLength": MAX_USER}
    return {
        "id": {
            **_ID,
            "description": "What names it towards agents and administrators.",
            "examples": ["web"],
        },
        "endUser": {
            **user,
            "description": "Who may visit it: a user, *@example.com for a domain, or allUsers for everybody.",
            "examples": ["alice@example.com"],
        },
        "backendUser": {
            **user,
            "description": "Who its agents are, as their JWTs or client certificates name them; empty: only"
            " tokens let agents in.",
        },
        "pathPrefixes": _list(
            MAX_PREFIXES,
            {"type": "string", "pattern": "^/", "maxLength": MAX_PREFIX},
            'Which paths it has, by whole segments; ["/"] is all.',
            least=1,
        ),
        "endUsers": _list(MAX_END_USERS, {**user, "minLength": 1}, "Who else may visit it."),
        "hosts": _list(
            MAX_HOSTS,
            {"type": "string", "maxLength": 253},
            "On which hosts it is: names, *.example.com, IP addresses; none is any.",
        ),
    }


def _backend() -> Schema:
    fields = _backendFields()
    return _object(
        tuple(fields), **fields, lastUsed=_time("When an agent of it was last seen, if ever.")
    )


def _newBackend() -> Schema:
    fields = _backendFields()
    fields["lastUsed"] = {"description": "Ignored, so that what was listed can be sent back."}
    return _object(("backendUser", "pathPrefixes"), **fields) | {
        "anyOf": [{"required": ["endUser"]}, {"required": ["endUsers"]}],
        "description": "endUser or endUsers must say who may visit it.",
    }


def _tokenName() -> Schema:
    return {
        "type": "string",
        "pattern": _TOKEN_NAME,
        "maxLength": 64,
        "description": "What names it among those of its backend.",
        "examples": ["laptop"],
    }


def _expires() -> Schema:
    return {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "Until when it is valid; null is for ever.",
    }


def _token() -> Schema:
    return _object(
        ("name", "created", "expires"),
        name=_tokenName(),
        created=_time("When it was made."),
        expires=_expires(),
        lastUsed=_time("When an agent last authenticated by it, if ever."),
    )


def _newToken() -> Schema:
    return _object(("name",), name=_tokenName(), expires=_expires())


def _minted() -> Schema:
    return _object(
        ("name", "token", "created", "expires"),
        name=_tokenName(),
        token={"type": "string", "description": "The secret, shown this once."},
        created=_time("When it was made."),
        expires=_expires(),
    )


def _status() -> Schema:
    number = {"type": "integer", "minimum": 0}
    backend = _object(
        ("id", "online", "secondsSinceSeen", "tunnels", "polls", "queued", "exchanges"),
        id={"type": "string"},
        online={"type": "boolean", "description": "Was an agent seen within --backend-timeout?"},
        secondsSinceSeen={"type": "number", "minimum": 0},
        tunnels=number,
        polls=number,
        queued={**number, "description": "Requests that no agent has taken yet."},
        exchanges={
            "type": "object",
            "description": "Requests that are not over, by their state.",
            "additionalProperties": number,
        },
    )
    return _object(
        ("ready", "uptimeSeconds", "registry", "backends"),
        ready={"type": "boolean"},
        uptimeSeconds={"type": "number", "minimum": 0},
        registry={
            "type": "object",
            "required": ["state"],
            "properties": {
                "state": {
                    "enum": ["none", "loaded", "unavailable"],
                    "description": "none: open mode, without --database.",
                },
                "problem": {"type": "string", "description": "What is wrong with the database."},
            },
            "additionalProperties": False,
        },
        backends={"type": "array", "items": backend, "description": "Those whose agents called."},
    )


def _problem() -> Schema:
    return {
        "type": "object",
        "required": ["status", "title", "detail", "code"],
        "properties": {
            "status": {"type": "integer"},
            "title": {"type": "string"},
            "detail": {"type": "string", "description": "What is wrong, and what to do."},
            "code": {"type": "string", "description": "The same for programs, in one word."},
            "field": {"type": "string", "description": "What in the request is wrong."},
        },
    }
