"""
Resources, and what asks them, for tests.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.static import Data
from zope.interface import implementer

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


@implementer(IPushProducer)
class Producer:
    """
    A push producer that takes down what it is told.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


@implementer(IPullProducer)
class Puller:
    """
    A pull producer of three pieces.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.left = 3
        self.stopped = False
        request.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self.left -= 1
        self.request.write(b"%d" % self.left)
        if not self.left:
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self) -> None:
        self.stopped = True


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
