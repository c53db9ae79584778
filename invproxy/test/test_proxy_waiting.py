"""
Requests that wait for a decision.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from invproxy.errors import CLIENT_GONE, FORBIDDEN, Fault
from invproxy.http1.heads import responseHead
from invproxy.interfaces import IAnswer, IUpload
from invproxy.proxy.waiting import waitFor
from invproxy.test.helpers import RecordingAnswer


@implementer(IUpload)
class Uploaded:
    """
    Takes down what an answerer is told.
    """

    def __init__(self) -> None:
        self.told: list[object] = []
        self.onWrite: Callable[[bytes], None] = lambda data: None

    def write(self, data: bytes) -> None:
        self.told.append(data)
        self.onWrite(data)

    def finish(self, trailers: bytes = b"") -> None:
        self.told.append(("finish", trailers))

    def abort(self, fault: Fault) -> None:
        self.told.append(fault.code.name)

    def pauseAnswer(self) -> None:
        self.told.append("pause")

    def resumeAnswer(self) -> None:
        self.told.append("resume")


class Held(RecordingAnswer):
    """
    Counts what it is asked about the upload.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def pauseUpload(self) -> None:
        super().pauseUpload()
        self.asked.append("pause")

    def resumeUpload(self) -> None:
        super().resumeUpload()
        self.asked.append("resume")


class WaitForTests(SynchronousTestCase):
    """
    L{waitFor}.
    """

    def setUp(self) -> None:
        self.answer = Held()
        self.uploaded = Uploaded()
        self.opened: list[str] = []
        self.isCancelled = False
        self.decided: Deferred[str] = Deferred(self.cancelled)
        self.onOpen: Callable[[], None] = lambda: None

    def cancelled(self, deferred: object) -> None:
        self.isCancelled = True

    def open(self, result: str) -> IUpload:
        self.opened.append(result)
        self.onOpen()
        return self.uploaded

    def wait(self) -> IUpload:
        return waitFor(self.decided, self.open, self.answer)

    def test_interface(self) -> None:
        """
        It is an upload.
        """
        verifyObject(IUpload, self.wait())

    def test_decidedAlready(self) -> None:
        """
        Nothing stands in between where nothing was to be waited for.
        """
        upload = waitFor(succeed("a"), self.open, self.answer)
        self.assertIs(upload, self.uploaded)
        self.assertEqual(self.opened, ["a"])

    def test_order(self) -> None:
        """
        What came meanwhile is passed on first, in order, and then what comes.
        """
        upload = self.wait()
        upload.write(b"a")
        upload.write(b"b")
        self.assertEqual(self.opened, [])
        self.decided.callback("x")
        self.assertEqual(self.opened, ["x"])
        upload.write(b"c")
        upload.finish(b"\r\nT: 1")
        upload.finish()
        self.assertEqual(
            self.uploaded.told, [b"a", b"b", b"c", ("finish", b"\r\nT: 1"), ("finish", b"")]
        )
        self.assertEqual(self.answer.asked, [])

    def test_endedMeanwhile(self) -> None:
        """
        The end of the request is passed on, with its trailers.
        """
        upload = self.wait()
        upload.write(b"a")
        upload.finish(b"\r\nT: 1")
        self.decided.callback("x")
        self.assertEqual(self.uploaded.told, [b"a", ("finish", b"\r\nT: 1")])

    def test_bound(self) -> None:
        """
        From 64 KiB on the rest is held back, and asked for again before what was held is passed on: if that is too much
        for whoever gets it, then the rest stays held back.
        """
        upload = self.wait()
        upload.write(b"a" * 65535)
        self.assertEqual(self.answer.asked, [])
        upload.write(b"b")
        upload.write(b"c")
        self.assertEqual(self.answer.asked, ["pause"])
        self.uploaded.onWrite = lambda data: self.answer.pauseUpload()
        self.decided.callback("x")
        self.assertEqual(self.answer.asked[:2], ["pause", "resume"])
        self.assertTrue(self.answer.uploadHeld)
        self.assertEqual(self.uploaded.told[1:], [b"b", b"c"])

    def test_moreWhilePassedOn(self) -> None:
        """
        What comes while the held is passed on comes behind it.
        """
        upload = self.wait()
        upload.write(b"a")
        upload.write(b"b")
        more = [b"c"]
        self.uploaded.onWrite = lambda data: upload.write(more.pop()) if more else None
        self.decided.callback("x")
        self.assertEqual(self.uploaded.told, [b"a", b"b", b"c"])

    def test_pausedAnswer(self) -> None:
        """
        Whether the asker keeps up is passed on.
        """
        upload = self.wait()
        upload.pauseAnswer()
        self.decided.callback("x")
        upload.resumeAnswer()
        self.assertEqual(self.uploaded.told, ["pause", "resume"])
        self.setUp()
        upload = self.wait()
        upload.pauseAnswer()
        upload.resumeAnswer()
        self.decided.callback("x")
        self.assertEqual(self.uploaded.told, [])

    def test_refused(self) -> None:
        """
        A fault is the answer, and the rest of the request is ignored.
        """
        upload = self.wait()
        upload.write(b"a")
        self.decided.errback(Fault(FORBIDDEN))
        assert self.answer.fault is not None
        self.assertIs(self.answer.fault.code, FORBIDDEN)
        upload.write(b"b")
        upload.finish()
        upload.abort(Fault(CLIENT_GONE))
        self.assertEqual(self.opened, [])
        self.assertEqual(self.answer.violations, [])

    def test_refusedAlready(self) -> None:
        """
        Likewise if it was known at once.
        """
        refused: Deferred[str] = fail(Fault(FORBIDDEN))
        waitFor(refused, self.open, self.answer).finish()
        assert self.answer.fault is not None
        self.assertIs(self.answer.fault.code, FORBIDDEN)

    def test_openingRaises(self) -> None:
        """
        A fault that opening raises is the answer, too.
        """

        def refuse() -> None:
            raise Fault(FORBIDDEN)

        self.onOpen = refuse
        upload = self.wait()
        upload.write(b"a")
        self.decided.callback("x")
        assert self.answer.fault is not None
        self.assertIs(self.answer.fault.code, FORBIDDEN)
        upload.finish()
        self.assertEqual(self.uploaded.told, [])

    def test_broken(self) -> None:
        """
        Anything else is an internal error, and logged.
        """
        self.wait()
        self.decided.errback(RuntimeError("what is in the database"))
        assert self.answer.fault is not None
        self.assertEqual(self.answer.fault.code.name, "internal")
        self.assertEqual(self.answer.fault.detail, "")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_aborted(self) -> None:
        """
        When the asker leaves, the decision is cancelled, and nothing is opened nor answered.
        """
        upload = self.wait()
        upload.write(b"a")
        upload.abort(Fault(CLIENT_GONE))
        self.assertTrue(self.isCancelled)
        upload.write(b"b")
        self.assertEqual(self.opened, [])
        self.assertFalse(self.answer.over)
        self.assertEqual(self.flushLoggedErrors(CancelledError), [])

    def test_abortedButDecided(self) -> None:
        """
        Likewise if the decision cannot be cancelled, and falls later.
        """
        decided: Deferred[str] = Deferred(lambda deferred: deferred.callback("x"))
        upload = waitFor(decided, self.open, self.answer)
        upload.abort(Fault(CLIENT_GONE))
        self.assertEqual(self.opened, [])
        self.assertFalse(self.answer.over)

    def test_abortedWhilePassedOn(self) -> None:
        """
        When the asker leaves in the middle of it, whoever has the request hears of it.
        """
        upload = self.wait()
        upload.write(b"a")
        upload.write(b"b")
        self.uploaded.onWrite = lambda data: upload.abort(Fault(CLIENT_GONE))
        self.decided.callback("x")
        self.assertEqual(self.uploaded.told, [b"a", "client-gone"])

    def test_answeredWhileOpening(self) -> None:
        """
        The answer may be given within the opening.
        """

        def reply() -> None:
            self.answer.respond(responseHead(200, b"OK", length=0))
            self.answer.finish()

        self.onOpen = reply
        upload = self.wait()
        upload.write(b"a")
        upload.finish()
        self.decided.callback("x")
        self.assertTrue(self.answer.finished)
        self.assertEqual(self.answer.violations, [])

    def test_nothingInBetween(self) -> None:
        """
        Once it is decided, whoever has the upload calls the opened one directly.
        """
        upload = self.wait()
        self.decided.callback("x")
        self.assertEqual(upload.write, self.uploaded.write)
        self.assertEqual(upload.pauseAnswer, self.uploaded.pauseAnswer)

    def test_answerType(self) -> None:
        """
        The fake keeps the interface, as the real ones do.
        """
        verifyObject(IAnswer, self.answer)
