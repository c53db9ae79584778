"""
The description of the admin API (OpenAPI 3.1), which it serves itself at C{/api/openapi.json}.

A test lets schemathesis compare it with what the API does.
"""

from __future__ import annotations

from invproxy import __version__
from invproxy.admin import schemas
from invproxy.admin.exchanges import PLACE
from invproxy.admin.overview import MOST_SECONDS
from invproxy.admin.paging import MOST
from invproxy.admin.schemas import ID, TOKEN_NAME, Schema
from invproxy.admin.token import LONGEST, SHORTEST

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
        "paths": _readable(_paths()),
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": f"The token of --admin-token-file, {SHORTEST} to {LONGEST}"
                    " characters. Without that option none is needed, and programs on the same"
                    " machine alone are let in.",
                },
                "password": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "For browsers: any user name, and the token as the password.",
                },
            },
            "schemas": {
                "Backend": schemas.backend(),
                "NewBackend": schemas.newBackend(),
                "Token": schemas.token(),
                "NewToken": schemas.newToken(),
                "MintedToken": schemas.mintedToken(),
                "Status": schemas.status(),
                "Exchanges": schemas.exchanges(),
                "Problem": schemas.problem(),
            },
            "responses": {f"Problem{status}": _refusal(text) for status, text in _PROBLEMS.items()},
            "parameters": {"id": _idParameter()},
        },
    }


def _readable(paths: Schema) -> Schema:
    """
    Say that what changes nothing may be asked for with a password, too.
    """
    for operations in paths.values():
        operations.get("get", {}).setdefault("security", [{}, {"token": []}, {"password": []}])
    return paths


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
        "/": {
            "get": {
                "operationId": "overview",
                "tags": ["health"],
                "summary": "The status page, for people.",
                "parameters": [
                    {
                        "name": "refresh",
                        "in": "query",
                        "description": "Seconds after which a browser loads it again.",
                        "schema": {"type": "integer", "minimum": 1, "maximum": MOST_SECONDS},
                    }
                ],
                "responses": _responses(
                    {
                        "200": {
                            "description": "The page.",
                            "content": {"text/html": {"schema": {"type": "string"}}},
                        }
                    },
                    *(400, *_EVERYWHERE),
                ),
            }
        },
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "tags": ["health"],
                "summary": "Figures for Prometheus, in its text format or in OpenMetrics.",
                "responses": _responses(
                    {"200": {"description": "All of them.", "content": text}}, *_EVERYWHERE
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
        "/api/exchanges": {
            "get": {
                "operationId": "listExchanges",
                "tags": ["health"],
                "summary": "Requests under way, the oldest first, and how full everything is.",
                "parameters": [
                    _limit(),
                    {
                        "name": "after",
                        "in": "query",
                        "description": "Begin behind this one, as the Link of a page says.",
                        "schema": {"type": "string", "pattern": PLACE, "maxLength": 90},
                    },
                ],
                "responses": _responses(
                    _ok(
                        "A page of them. Link (RFC 8288) has the next one as rel=next, if there is one.",
                        {"$ref": "#/components/schemas/Exchanges"},
                        Link=_header("The next page, relative to this one."),
                    ),
                    *(400, *_EVERYWHERE),
                ),
            }
        },
        "/api/backends": {
            "get": {
                "operationId": "listBackends",
                "tags": ["registry"],
                "summary": "List backends in the order of their IDs.",
                "parameters": [
                    _limit(),
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
                    "schema": {"type": "string", "pattern": TOKEN_NAME, "maxLength": 64},
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


def _limit() -> Schema:
    return {
        "name": "limit",
        "in": "query",
        "description": f"How many at most; never more than {MOST}.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 99_999_999, "default": MOST},
    }


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
        "schema": ID,
    }
