"""
Producers that Resources register, and those of twisted.web itself.
"""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.static import File

from invproxy.errors import CLIENT_GONE, Fault
from invproxy.test.helpers import requestHead
from invproxy.test.leaves import Keeper, Producer, Puller, ask, headOf


class ProducerTests(SynchronousTestCase):
    """
    Back-pressure towards Resources.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.keeper = Keeper()
        self.answer = ask(self.keeper, clock=self.clock)
        self.request = self.keeper.requests[0]
        assert self.answer.upload is not None
        self.upload = self.answer.upload

    def test_push(self) -> None:
        """
        A push producer is paused and resumed, once each, and stopped when the asker leaves.
        """
        producer = Producer()
        self.request.registerProducer(producer, True)
        self.assertEqual(producer.calls, [])
        self.upload.resumeAnswer()
        self.upload.pauseAnswer()
        self.upload.pauseAnswer()
        self.upload.resumeAnswer()
        self.upload.resumeAnswer()
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.answer.abort(Fault(CLIENT_GONE))
        self.assertEqual(producer.calls, ["pause", "resume", "stop"])

    def test_pausedBefore(self) -> None:
        """
        A producer that is registered during a pause begins with it.
        """
        self.upload.pauseAnswer()
        producer = Producer()
        self.request.registerProducer(producer, True)
        self.assertEqual(producer.calls, ["pause"])

    def test_pull(self) -> None:
        """
        A pull producer gives a piece at a time.
        """
        Puller(self.request)
        self.assertEqual(self.answer.pieces, [])
        self.clock.advance(0)
        self.assertEqual(self.answer.pieces, [b"2", b"1", b"0"])
        self.assertTrue(self.answer.finished)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pullPaused(self) -> None:
        """
        It gives none during a pause, and goes on behind it.
        """
        self.upload.pauseAnswer()
        Puller(self.request)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        write = self.answer.write

        def pausing(data: bytes) -> None:
            write(data)
            self.upload.pauseAnswer()

        self.answer.write = pausing  # type: ignore[method-assign]
        for expected in (b"2", b"21", b"210"):
            self.upload.resumeAnswer()
            self.clock.advance(0)
            self.assertEqual(self.answer.body, expected)
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(self.answer.finished)

    def test_pullStopped(self) -> None:
        """
        It is stopped when the asker leaves.
        """
        puller = Puller(self.request)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.answer.abort(Fault(CLIENT_GONE))
        self.assertTrue(puller.stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_broken(self) -> None:
        """
        A producer that raises ends its own exchange.
        """
        for streaming in (False, True):
            self.setUp()
            producer = Producer()
            producer.resumeProducing = lambda: 1 / 0  # type: ignore[method-assign, assignment]
            self.request.registerProducer(producer, streaming)
            self.clock.advance(0)
            self.upload.pauseAnswer()
            self.upload.resumeAnswer()
            self.assertIsNotNone(self.answer.fault)
            self.assertEqual(producer.calls[-1], "stop")
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_file(self) -> None:
        """
        Files, whole or in part, come as twisted.web gives them.
        """
        path = self.mktemp()
        content = os.urandom(300000)
        with open(path, "wb") as output:
            output.write(content)
        for fields, status, expected in (
            ([], 200, content),
            ([(b"Range", b"bytes=1000-200999")], 206, content[1000:201000]),
        ):
            clock = Clock()
            file = File(path)
            file.isLeaf = True
            answer = ask(file, requestHead(fields=fields), clock=clock)
            while clock.getDelayedCalls():
                clock.advance(0)
            self.assertEqual(headOf(answer).status, status)
            self.assertEqual(headOf(answer).framing, len(expected))
            self.assertEqual(answer.body, expected)
            self.assertTrue(answer.finished)
