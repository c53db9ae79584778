"""
What the admin endpoint answers: JSON, plain text, and problems (RFC 9457).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus

from attrs import frozen

from invproxy.errors import Fault
from invproxy.http1.fields import items

JSON = b"application/json"
PROBLEM = b"application/problem+json"
TEXT = b"text/plain; charset=utf-8"

Headers = Sequence[tuple[str, str]]


@frozen
class Answer:
    """
    A whole answer.

    @ivar status: its status.
    @ivar body: its body.
    @ivar mediaType: what the body is.
    @ivar headers: names and values of further fields.
    """

    status: int = 200
    body: bytes = b""
    mediaType: bytes = JSON
    headers: Headers = ()


def jsonAnswer(value: object, status: int = 200, headers: Headers = ()) -> Answer:
    """
    Make an answer out of a JSON value.
    """
    return Answer(status, json.dumps(value).encode("ascii") + b"\n", JSON, headers)


def textAnswer(text: str) -> Answer:
    """
    Make an answer out of a text.
    """
    return Answer(200, text.encode("utf-8"), TEXT)


class Problem(Exception):
    """
    Why a request is refused, or has failed, as the document that says so (RFC 9457).

    Programs go by C{code}, which stays what it is; C{detail} is for people.

    @ivar status: the status of the answer.
    @ivar code: what is wrong, in one word for programs.
    @ivar detail: one sentence for a person: what is wrong and what to do; never a secret.
    @ivar field: which member of the JSON document, or which parameter, is wrong, or C{""}.
    @ivar headers: names and values of further fields of the answer.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, field: str = "", headers: Headers = ()
    ) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.headers = headers

    @classmethod
    def fromFault(cls, fault: Fault) -> Problem:
        """
        Make it of what went wrong with an exchange.
        """
        code = fault.code
        detail = f"{code.sentence} ({fault.detail})" if fault.detail else code.sentence
        fields = [
            (name.decode("ascii"), value.decode("latin-1")) for name, value in items(fault.fields)
        ]
        if code.retryAfter and not any(name.lower() == "retry-after" for name, _ in fields):
            fields.append(("Retry-After", str(code.retryAfter)))
        return cls(code.status, code.name, detail, headers=fields)

    def asAnswer(self) -> Answer:
        """
        Make the answer.
        """
        document: dict[str, object] = {
            "status": self.status,
            "title": HTTPStatus(self.status).phrase,
            "detail": self.detail,
            "code": self.code,
        }
        if self.field:
            document["field"] = self.field
        body = json.dumps(document).encode("ascii") + b"\n"
        return Answer(self.status, body, PROBLEM, self.headers)


def nothingHere() -> Problem:
    """
    Say that a path leads nowhere.
    """
    return Problem(
        404,
        "not-found",
        "there is nothing at this path; GET /api/openapi.json describes what there is",
    )
