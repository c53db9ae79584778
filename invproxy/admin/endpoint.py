"""
Resources whose methods are coroutines or plain functions, and whose errors are problems.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from inspect import isawaitable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from invproxy.admin.answers import Answer, Problem, nothingHere
from invproxy.errors import Fault

MAX_BODY = 1 << 20
"""Bytes that the body of a request may have."""

Handler = Callable[[Request], Answer | Awaitable[Answer]]
"""Answers a request, at once or later; or raises a L{Problem}."""

_log = Logger(namespace="invproxy.admin")

_HEADERS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    # A page of another site can have a browser ask, with a password that was typed: it is to see nothing of the answer.
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Endpoint(Resource):
    """
    What there is at one path, or at several of one kind. GET serves HEAD, too; OPTIONS is answered by itself.

    @ivar takesNoBody: whether requests are answered without a look at their bodies; see L{ResourceOrigin
        <invproxy.resources.ResourceOrigin>}.
    """

    isLeaf = True
    takesNoBody = False

    def methods(self, request: Request) -> Mapping[bytes, Handler]:
        """
        Say which methods there are at the path of a request.

        @raise Problem: if there is nothing at all.
        """
        raise NotImplementedError

    def render(self, request: Request) -> int:
        """
        Answer a request.
        """
        Deferred.fromCoroutine(_answer(request, self.methods))
        return NOT_DONE_YET


class At(Endpoint):
    """
    What there is at one path, and nothing below it.
    """

    def __init__(self, **handlers: Handler) -> None:
        """
        @param handlers: what answers a method, by the method's name in capitals.
        """
        super().__init__()
        self._handlers = {method.encode("ascii"): handler for method, handler in handlers.items()}
        self.takesNoBody = handlers.keys().isdisjoint(("PATCH", "POST", "PUT"))

    def methods(self, request: Request) -> Mapping[bytes, Handler]:
        if request.postpath:
            raise nothingHere()
        return self._handlers


class Refusing(Endpoint):
    """
    Answers every request with the same problem, as soon as its head is there: who may not do anything here shall not
    have us keep a body, either.
    """

    takesNoBody = True

    def __init__(self, problem: Problem) -> None:
        """
        @param problem: which.
        """
        super().__init__()
        self._problem = problem

    def methods(self, request: Request) -> Mapping[bytes, Handler]:
        raise self._problem


class Branch(Resource):
    """
    A Resource whose children are all there is.
    """

    takesNoBody = True

    def getChild(self, path: bytes, request: Request) -> IResource:
        return Refusing(nothingHere())

    def render(self, request: Request) -> int:
        """
        Answer a request for the branch itself: there is nothing.
        """
        return Refusing(nothingHere()).render(request)


async def _answer(
    request: Request, methodsOf: Callable[[Request], Mapping[bytes, Handler]]
) -> None:
    gone: list[Failure] = []
    request.notifyFinish().addErrback(gone.append)
    try:
        made = _dispatch(request, methodsOf(request))
        answer = await made if isawaitable(made) else made
    except Problem as problem:
        answer = problem.asAnswer()
    except Fault as fault:
        answer = Problem.fromFault(fault).asAnswer()
    except Exception:
        _log.failure("{method} {path} failed", method=request.method, path=request.path)
        answer = Problem(
            500, "internal", "something went wrong here; the log of the proxy says what"
        ).asAnswer()
    if not gone:
        deliver(request, answer)


def _dispatch(request: Request, handlers: Mapping[bytes, Handler]) -> Answer | Awaitable[Answer]:
    method = b"GET" if request.method == b"HEAD" else request.method
    handler = handlers.get(method)
    if handler is not None:
        return handler(request)
    names = {name.decode("ascii") for name in handlers} | {"OPTIONS"}
    if "GET" in names:
        names.add("HEAD")
    allow = [("Allow", ", ".join(sorted(names)))]
    if method == b"OPTIONS":
        return Answer(204, headers=allow)
    raise Problem(
        405, "method-not-allowed", f"at this path there are only {allow[0][1]}", headers=allow
    )


def deliver(request: Request, answer: Answer) -> None:
    """
    Send an answer to a request of twisted.web.
    """
    request.setResponseCode(answer.status, HTTPStatus(answer.status).phrase.encode("ascii"))
    for name, value in headersOf(answer):
        request.responseHeaders.addRawHeader(name, value)
    if request.method != b"HEAD":
        request.write(answer.body)
    request.finish()


def headersOf(answer: Answer) -> list[tuple[str, str]]:
    """
    List the fields of an answer.
    """
    headers = [*_HEADERS, *answer.headers]
    if answer.status != 204:
        headers.append(("Content-Type", answer.mediaType.decode("ascii")))
        headers.append(("Content-Length", str(len(answer.body))))
    return headers


def readJSON(request: Request) -> object:
    """
    Read the body of a request as JSON, whatever its Content-Type says: curl says of all that it is a form.

    @raise Problem: if it is not JSON.
    """
    # Under our own site it is no longer; a stock one takes whatever comes.
    assert request.content is not None
    body = request.content.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise Problem(413, "body-too-large", f"a body of more than {MAX_BODY} bytes")
    if not body.strip():
        raise Problem(400, "not-json", "the body is empty, where a JSON object was expected")
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse)
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except RecursionError:
        why = "it is nested too deeply"
    except ValueError as error:
        why = str(error)
    raise Problem(400, "not-json", f"the body is not JSON: {why}")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        # Two readers could take it in two ways (RFC 8259, section 4).
        raise ValueError("a member of an object is given twice")
    return made


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not a number of JSON")
