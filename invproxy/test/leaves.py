"""
Resources, and what asks them, for tests.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.static import Data

from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.resources import ResourceOrigin
from invproxy.test.helpers import FakePeer, RecordingAnswer, requestHead


class Leaf(Resource):
    """
    A Resource whose C{render} is given.
    """

    isLeaf = True

    def __init__(self, render: Callable[[Request], bytes | int]) -> None:
        super().__init__()
        self._render = render

    def render(self, request: Request) -> bytes | int:
        return self._render(request)


class Keeper(Resource):
    """
    A Resource that keeps its requests, and answers nothing.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.losses: list[Failure] = []

    def render(self, request: Request) -> int:
        self.requests.append(request)
        request.notifyFinish().addErrback(self.losses.append)
        return NOT_DONE_YET


def ask(
    root: IResource,
    head: RequestHead | None = None,
    *pieces: bytes,
    clock: Clock | None = None,
    maxBody: int = 0,
    peer: FakePeer | None = None,
) -> RecordingAnswer:
    """
    Send a whole request to a tree of Resources.
    """
    answer = RecordingAnswer(peer)
    origin = ResourceOrigin(root, clock=clock or Clock(), maxBody=maxBody)
    answer.ask(origin, head or requestHead(), *pieces)
    return answer


def page(content: bytes) -> Data:
    """
    A Resource that answers GET and HEAD alone, at its own path alone.
    """
    data = Data(content, "text/plain")
    data.isLeaf = True
    return data


def headOf(answer: RecordingAnswer) -> ResponseHead:
    """
    The head of an answer, which must be there.
    """
    assert answer.head is not None
    return answer.head
