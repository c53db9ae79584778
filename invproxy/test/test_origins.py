"""
Resources as origins, and an origin that is its own backend: they keep the contract of
L{IOrigin<invproxy.interfaces.IOrigin>}.
"""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from invproxy.interfaces import IOrigin
from invproxy.resources import ResourceOrigin
from invproxy.test.directorigin import DirectOrigin, RenderingResource, StreamingResource
from invproxy.test.helpers import requestHead
from invproxy.test.origincontract import Arrival, Fields, OriginContract, StreamingOriginContract


@implementer(IPushProducer)
class RequestArrival:
    """
    An L{Arrival} at a Resource; it is also the producer of the response.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._held = False
        self._gone = False
        self.method = request.method
        self.target = request.uri
        assert request.content is not None
        self._body: bytes = request.content.read()
        request.notifyFinish().addErrback(self._lost)

    def _lost(self, reason: object) -> None:
        self._gone = True

    def fields(self) -> Fields:
        headers = self._request.requestHeaders
        return [(name, value) for name, values in headers.getAllRawHeaders() for value in values]

    def body(self) -> bytes:
        return self._body

    def ended(self) -> bool:
        return True

    def gone(self) -> bool:
        return self._gone

    def held(self) -> bool:
        return self._held

    def respond(self, status: int, reason: bytes = b"OK", fields: Fields = ()) -> None:
        self._request.setResponseCode(status, reason)
        for name, value in fields:
            self._request.responseHeaders.addRawHeader(name, value)
        self._request.registerProducer(self, True)
        self._request.write(b"")

    def write(self, data: bytes) -> None:
        self._request.write(data)

    def finish(self) -> None:
        self._request.unregisterProducer()
        self._request.finish()

    def cut(self) -> None:
        self._request.loseConnection()

    def pauseProducing(self) -> None:
        self._held = True

    def resumeProducing(self) -> None:
        self._held = False

    def stopProducing(self) -> None:
        self._gone = True


class ArrivalResource(Resource):
    """
    A Resource that takes down what it is asked, and leaves the answer to the test.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: list[RequestArrival] = []

    def render(self, request: Request) -> int:
        self.arrivals.append(RequestArrival(request))
        return NOT_DONE_YET


class ResourceOriginTests(OriginContract, SynchronousTestCase):
    """
    L{ResourceOrigin} keeps the contract.
    """

    def makeOrigin(self) -> IOrigin:
        self.resource = ArrivalResource()
        return ResourceOrigin(self.resource, clock=Clock())

    def arrivals(self) -> list[Arrival]:
        return list(self.resource.arrivals)


class DirectOriginTests(StreamingOriginContract, SynchronousTestCase):
    """
    The suite, with nothing between asker and backend.
    """

    def makeOrigin(self) -> IOrigin:
        self.direct = DirectOrigin()
        return self.direct

    def arrivals(self) -> list[Arrival]:
        return list(self.direct.arrivals)


class StreamingResourceTests(StreamingOriginContract, SynchronousTestCase):
    """
    L{ResourceOrigin} keeps the contract of streams for a Resource that takes them, somewhere in its tree.
    """

    def makeOrigin(self) -> IOrigin:
        self.resource = StreamingResource()
        root = Resource()
        root.getChild = lambda name, request: self.resource  # type: ignore[method-assign]
        return ResourceOrigin(root, clock=Clock(), maxBody=1)

    def arrivals(self) -> list[Arrival]:
        return list(self.resource.arrivals)


class RenderStreamTests(OriginContract, SynchronousTestCase):
    """
    Both bridges one behind the other keep the contract: streams to a Resource, which makes streams of them again.
    """

    def makeOrigin(self) -> IOrigin:
        self.direct = DirectOrigin()
        return ResourceOrigin(RenderingResource(self.direct), clock=Clock())

    def arrivals(self) -> list[Arrival]:
        return list(self.direct.arrivals)

    def test_cutBeforeResponse(self) -> None:
        """
        A failure before the response has become a response of its own.
        """
        answer, arrival = self.arrive(requestHead())
        arrival.cut()
        assert answer.head is not None
        self.assertEqual(answer.head.status, 502)
        self.assertTrue(answer.finished)
