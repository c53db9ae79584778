"""
The JSON documents of the admin API, as schemas (JSON Schema 2020-12) for L{invproxy.admin.openapi}.
"""

from __future__ import annotations

from typing import Any

from invproxy.clocks import STATES
from invproxy.registry.records import MAX_END_USERS, MAX_HOSTS, MAX_PREFIX, MAX_PREFIXES, MAX_USER

Schema = dict[str, Any]
"""A schema, or a part of the description."""

ID: Schema = {
    "type": "string",
    "pattern": r"^[0-9A-Za-z\-._~:@/]+$",
    "minLength": 1,
    "maxLength": 256,
    "not": {"enum": [".", ".."]},
}
"""The ID of a backend."""

TOKEN_NAME = r"^[0-9A-Za-z][0-9A-Za-z._@:\-]*$"  # noqa: S105  (a pattern of names)
"""What names a token."""

_COUNT: Schema = {"type": "integer", "minimum": 0}
_SECONDS: Schema = {"type": "number", "minimum": 0}


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
            **ID,
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


def backend() -> Schema:
    """
    A backend, as it is shown.
    """
    fields = _backendFields()
    return _object(
        tuple(fields), **fields, lastUsed=_time("When an agent of it was last seen, if ever.")
    )


def newBackend() -> Schema:
    """
    A backend, as it is sent.
    """
    fields = _backendFields()
    fields["lastUsed"] = {"description": "Ignored, so that what was listed can be sent back."}
    return _object(("backendUser", "pathPrefixes"), **fields) | {
        "anyOf": [{"required": ["endUser"]}, {"required": ["endUsers"]}],
        "description": "endUser or endUsers must say who may visit it.",
    }


def _tokenName() -> Schema:
    return {
        "type": "string",
        "pattern": TOKEN_NAME,
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


def token() -> Schema:
    """
    A token, as it is shown.
    """
    return _object(
        ("name", "created", "expires"),
        name=_tokenName(),
        created=_time("When it was made."),
        expires=_expires(),
        lastUsed=_time("When an agent last authenticated by it, if ever."),
    )


def newToken() -> Schema:
    """
    A token that is wanted.
    """
    return _object(("name",), name=_tokenName(), expires=_expires())


def mintedToken() -> Schema:
    """
    A token with its secret.
    """
    return _object(
        ("name", "token", "created", "expires"),
        name=_tokenName(),
        token={"type": "string", "description": "The secret, shown this once."},
        created=_time("When it was made."),
        expires=_expires(),
    )


def status() -> Schema:
    """
    What goes on.
    """
    one = _object(
        ("id", "online", "secondsSinceSeen", "tunnels", "polls", "queued", "exchanges"),
        id={"type": "string"},
        online={"type": "boolean", "description": "Was an agent seen within --backend-timeout?"},
        secondsSinceSeen=_SECONDS,
        tunnels=_COUNT,
        polls=_COUNT,
        queued={**_COUNT, "description": "Requests that no agent has taken yet."},
        exchanges={
            "type": "object",
            "description": "Requests that are not over, by their state.",
            "additionalProperties": _COUNT,
        },
    )
    return _object(
        ("ready", "uptimeSeconds", "registry", "backends"),
        ready={"type": "boolean"},
        uptimeSeconds=_SECONDS,
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
        backends={"type": "array", "items": one, "description": "Those whose agents called."},
    )


def exchanges() -> Schema:
    """
    What the proxy holds.
    """
    one = _object(
        (
            *("id", "backend", "state", "carrier", "method", "path", "endUser", "upgraded"),
            *("ageSeconds", "idleSeconds", "receivedBytes", "sentBytes"),
        ),
        id={"type": "string", "description": "As in the access log."},
        backend={"type": "string"},
        state={"enum": list(STATES)},
        carrier={
            "enum": ["tunnel", "poll", None],
            "description": "What took it to an agent; null while nothing has.",
        },
        method={"type": "string"},
        path={"type": "string", "description": "Without its query, and cut if it is long."},
        endUser={"type": "string", "description": "Empty for nobody."},
        upgraded={"type": "boolean", "description": "Is it a WebSocket or the like by now?"},
        ageSeconds=_SECONDS,
        idleSeconds={**_SECONDS, "description": "Since its state changed or a byte came."},
        receivedBytes={**_COUNT, "description": "Of the body, from the client."},
        sentBytes={**_COUNT, "description": "Of the body, to the client."},
    )
    table = _object(
        ("name", "entries", "limit", "whenFull"),
        name={"type": "string", "pattern": "^[a-z_]+$"},
        entries={**_COUNT, "description": "Those of the fullest, where there are several."},
        limit={
            "type": ["integer", "null"],
            "minimum": 0,
            "description": "null: bounded by others than itself.",
        },
        whenFull={
            "enum": ["refuses", "forgets"],
            "description": "What is new is refused, or what is old is forgotten.",
        },
    )
    return _object(
        ("exchanges", "totals", "tables"),
        exchanges={"type": "array", "items": one, "description": "The oldest first."},
        totals={
            "type": "object",
            "description": "How many there are of all that the proxy holds.",
            "additionalProperties": {"type": ["integer", "null"], "minimum": 0},
        },
        tables={"type": "array", "items": table, "description": "The fullest first."},
    )


def problem() -> Schema:
    """
    A problem (RFC 9457).
    """
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
