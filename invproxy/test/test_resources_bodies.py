"""
Bodies of requests to Resources, which are held until they have come: how large they may be, and how slow.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from invproxy.errors import CLIENT_GONE, Fault
from invproxy.http1.framing import CHUNKED
from invproxy.resources import ResourceOrigin
from invproxy.test.directorigin import (
    StreamingResource,
)
from invproxy.test.helpers import RecordingAnswer, requestHead
from invproxy.test.leaves import Keeper, ask


class BodyLimitTests(SynchronousTestCase):
    """
    C{maxBody} and C{Expect}.
    """

    def test_announced(self) -> None:
        """
        A body that is too large by its own account is refused before any of it comes.
        """
        fields = [(b"Expect", b"100-continue")]
        answer = RecordingAnswer()
        keeper = Keeper()
        origin = ResourceOrigin(keeper, clock=Clock(), maxBody=10)
        answer.ask(origin, requestHead(b"PUT", b"/", fields, framing=11), end=False)
        assert answer.fault is not None and answer.upload is not None
        self.assertEqual(answer.fault.code.status, 413)
        self.assertEqual(answer.interim, [])
        answer.upload.write(b"x" * 11)
        answer.upload.finish()
        self.assertEqual(keeper.requests, [])
        self.assertEqual(answer.violations, [])

    def test_unannounced(self) -> None:
        """
        One whose length was not known is refused when it gets too large.
        """
        keeper = Keeper()
        answer = ask(
            keeper, requestHead(b"PUT", framing=CHUNKED), b"x" * 10, b"y", b"z", maxBody=10
        )
        assert answer.fault is not None
        self.assertEqual(answer.fault.code.name, "body-too-large")
        self.assertEqual(keeper.requests, [])
        ask(keeper, requestHead(b"PUT", framing=CHUNKED), b"x" * 10, maxBody=10)
        self.assertEqual(len(keeper.requests), 1)

    def test_continue(self) -> None:
        """
        A client that waits for leave gets it at once.
        """
        answer = RecordingAnswer()
        origin = ResourceOrigin(Keeper(), clock=Clock(), maxBody=10)
        fields = [(b"Expect", b"100-continue")]
        answer.ask(origin, requestHead(b"PUT", b"/", fields, framing=10), end=False)
        self.assertEqual([head.status for head in answer.interim], [100])

    def test_streamsAreFree(self) -> None:
        """
        A Resource that takes streams decides on its own, about C{Expect} too.
        """
        for root in (StreamingResource(), Resource()):
            streaming = root if isinstance(root, StreamingResource) else StreamingResource()
            root.putChild(b"a", streaming)
            answer = RecordingAnswer()
            origin = ResourceOrigin(root, clock=Clock(), maxBody=1)
            head = requestHead(b"PUT", b"/a?b", [(b"Expect", b"100-continue")], framing=10)
            answer.ask(origin, head, end=False)
            self.assertEqual(answer.interim, [])
            self.assertIsNone(answer.fault)
            self.assertEqual(streaming.arrivals[0].target, b"/a?b")

    def test_timeout(self) -> None:
        """
        A body must be whole after some time, however often a piece of it comes; the clock stops with the exchange.
        """
        clock = Clock()
        keeper = Keeper()
        origin = ResourceOrigin(keeper, clock=clock, maxBody=10, bodyTimeout=30)
        stalled = RecordingAnswer()
        upload = stalled.ask(origin, requestHead(b"PUT", framing=CHUNKED), b"x", end=False)
        clock.advance(29)
        upload.write(b"x")
        self.assertIsNone(stalled.fault)
        clock.advance(1)
        assert stalled.fault is not None
        self.assertEqual(stalled.fault.code.name, "head-timeout")
        upload.write(b"x")
        upload.finish()
        self.assertEqual(keeper.requests, [])
        for pieces, end in (([b"x"], True), ([b"x" * 11], True), ([b"x"], False)):
            answer = RecordingAnswer()
            answer.ask(origin, requestHead(b"PUT", framing=CHUNKED), *pieces, end=end)
            if not end:
                answer.abort(Fault(CLIENT_GONE))
            self.assertEqual(clock.getDelayedCalls(), [])
        RecordingAnswer().ask(origin, requestHead(), end=False)
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(stalled.violations, [])

    def test_noBody(self) -> None:
        """
        A Resource that says that it takes no body is rendered at once.
        """
        keeper = Keeper()
        keeper.takesNoBody = True  # type: ignore[attr-defined]
        origin = ResourceOrigin(keeper, clock=Clock(), maxBody=10)
        answer = RecordingAnswer()
        head = requestHead(b"PUT", b"/", [(b"Expect", b"100-continue")], framing=11)
        upload = answer.ask(origin, head, end=False)
        [request] = keeper.requests
        assert request.content is not None
        upload.write(b"x" * 11)
        upload.finish()
        self.assertEqual(request.content.read(), b"")
        self.assertEqual((len(keeper.requests), answer.interim), (1, []))
        answer.abort(Fault(CLIENT_GONE))
        self.assertEqual(len(keeper.losses), 1)

    def test_noForms(self) -> None:
        """
        Where forms are not parsed, bodies are only kept.
        """
        keeper = Keeper()
        origin = ResourceOrigin(keeper, clock=Clock(), parsesForms=False)
        for mediaType in (b"application/x-www-form-urlencoded", b"multipart/form-data"):
            head = requestHead(b"POST", b"/?a=1", [(b"Content-Type", mediaType)], framing=3)
            RecordingAnswer().ask(origin, head, b"a=2")
            request = keeper.requests.pop()
            assert request.content is not None
            self.assertEqual((request.args, request.content.read()), ({b"a": [b"1"]}, b"a=2"))

    def test_noRoom(self) -> None:
        """
        A body that cannot be written down is an error of ours.
        """
        answer = RecordingAnswer()
        origin = ResourceOrigin(Keeper(), clock=Clock())
        upload = answer.ask(origin, requestHead(b"PUT", framing=CHUNKED), end=False)

        def full(data: bytes) -> int:
            raise OSError(28, "No space left on device")

        upload._channel.request.content.write = full  # type: ignore[attr-defined]
        upload.write(b"x")
        assert answer.fault is not None
        self.assertEqual(answer.fault.code.status, 500)
