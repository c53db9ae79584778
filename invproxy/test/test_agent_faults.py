"""
Origins that raise where they must not: each such exchange ends, and nothing else is harmed.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from invproxy.agent.settings import AgentSettings
from invproxy.discard import Discard
from invproxy.errors import INTERNAL, Fault
from invproxy.http1.heads import RequestHead, responseHead
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.testing import InvertingPair
from invproxy.testing.client import MemoryClient

INNOCENT = b"POST /innocent HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"


class OriginError(Exception):
    """
    What these origins raise.
    """


def large(answer: IAnswer) -> None:
    """
    Send more than any window.
    """
    answer.respond(responseHead(200, b"OK"))
    for _ in range(100):
        answer.write(b"x" * 60000)


class Faulty(Discard):
    """
    An upload of which one call raises.
    """

    def __init__(self, answer: IAnswer, raising: str, finished: Callable[[IAnswer], None]) -> None:
        """
        @param raising: the name of the call.
        @param finished: what answers the whole request.
        """
        self._answer = answer
        self._raising = raising
        self._finished = finished

    def _call(self, name: str) -> None:
        if name == self._raising:
            raise OriginError(name)

    def write(self, data: bytes) -> None:
        self._call("write")

    def finish(self, trailers: bytes = b"") -> None:
        self._call("finish")
        self._finished(self._answer)

    def abort(self, fault: Fault) -> None:
        self._call("abort")

    def pauseAnswer(self) -> None:
        self._call("pauseAnswer")

    def resumeAnswer(self) -> None:
        self._call("resumeAnswer")


@implementer(IOrigin)
class FaultyOrigin:
    """
    Never answers the innocent, and is faulty for all others.
    """

    def __init__(
        self,
        raising: str,
        finished: Callable[[IAnswer], None] = lambda answer: None,
        opening: Callable[[IAnswer], None] = lambda answer: None,
    ) -> None:
        self._raising = raising
        self._finished = finished
        self._opening = opening

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        if head.target == b"/innocent":
            return Discard()
        self._opening(answer)
        return Faulty(answer, self._raising, self._finished)


class FaultyOriginTests(SynchronousTestCase):
    """
    L{invproxy.agent.tunneler} in front of such an origin.
    """

    def pair(self, origin: FaultyOrigin, settings: AgentSettings | None = None) -> InvertingPair:
        pair = InvertingPair(origin, agentSettings=settings or AgentSettings(transport="tunnel"))
        pair.start()
        self.addCleanup(pair.stop)
        return pair

    def send(self, pair: InvertingPair, data: bytes) -> MemoryClient:
        client = pair.client()
        client.send(data)
        pair.network.pump()
        return client

    def check(self, origin: FaultyOrigin, request: bytes, *, slow: bool = False) -> MemoryClient:
        """
        Send a request of which the origin makes a mess, and see that nothing else comes of it.

        @param slow: whether the client does not read for a while.
        """
        pair = self.pair(origin)
        [tunnel] = pair.proxy.resource.tunnels
        innocent = self.send(pair, INNOCENT)
        guilty = pair.client()
        if slow:
            guilty.stopReading()
        guilty.send(request)
        pair.network.pump()
        if slow:
            guilty.startReading()
            pair.network.advance(1)
        self.assertEqual(list(pair.proxy.resource.tunnels), [tunnel])
        self.assertEqual(bytes(innocent.received), b"")
        self.assertEqual(len(pair.proxy.resource.mailboxes.exchanges), 1)
        self.assertGreaterEqual(len(self.flushLoggedErrors(OriginError)), 1)
        return guilty

    def test_upgrade(self) -> None:
        """
        The end of a request for an upgrade.
        """
        guilty = self.check(FaultyOrigin("finish"), UPGRADE)
        self.assertIn(b"HTTP/1.1 500 ", bytes(guilty.received))

    def test_abortAfterOpen(self) -> None:
        """
        Being told that nobody wants the upload that C{open} has just returned.
        """

        def refuse(answer: IAnswer) -> None:
            answer.fail(Fault(INTERNAL))

        guilty = self.check(FaultyOrigin("abort", opening=refuse), PLAIN)
        self.assertIn(b"HTTP/1.1 500 ", bytes(guilty.received))

    def test_largeHead(self) -> None:
        """
        Being told that the head of the response is too large.
        """

        def boast(answer: IAnswer) -> None:
            answer.respond(responseHead(200, b"OK", b"\r\nX: " + b"x" * 200_000, length=0))

        guilty = self.check(FaultyOrigin("abort", boast), UPLOAD)
        self.assertIn(b"HTTP/1.1 502 ", bytes(guilty.received))

    def test_pauses(self) -> None:
        """
        Being asked to hold back a response, and for more of it: what the client has of it is cut.
        """
        for call in ("pauseAnswer", "resumeAnswer"):
            guilty = self.check(FaultyOrigin(call, large), PLAIN, slow=True)
            self.assertTrue(guilty.closed)
            self.assertFalse(bytes(guilty.received).endswith(b"0\r\n\r\n"))

    def test_pausedWithinOpen(self) -> None:
        """
        The same, of an upload whose origin answered before it returned it.
        """
        guilty = self.check(FaultyOrigin("pauseAnswer", opening=large), PLAIN, slow=True)
        self.assertTrue(guilty.closed)

    def test_timeout(self) -> None:
        """
        Being told that it has taken too long: the tunnel is still watched, so that a dead link shows.
        """
        settings = AgentSettings(transport="tunnel", originTimeout=5.0, linkTimeout=15.0)
        pair = self.pair(FaultyOrigin("abort"), settings)
        [before] = pair.proxy.resource.tunnels
        guilty = self.send(pair, PLAIN)
        pair.network.advance(6)
        self.assertIn(b"HTTP/1.1 504 ", bytes(guilty.received))
        self.assertEqual(len(self.flushLoggedErrors(OriginError)), 1)
        for connection in list(pair.network.connections):
            connection.frozen = True
        pair.network.advance(30)
        [after] = pair.proxy.resource.tunnels
        self.assertIsNot(after, before)
