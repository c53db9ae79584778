"""
What several test modules use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from cryptography.x509 import Certificate
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from invproxy.errors import Fault
from invproxy.http1.fields import join
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.parsing import parseRequest
from invproxy.interfaces import IAnswer, IOrigin, IPeer, IUpload
from invproxy.losses import LossObservers


def requestHead(
    method: bytes = b"GET",
    target: bytes = b"/",
    fields: Iterable[tuple[bytes, bytes]] = (),
    *,
    framing: int = 0,
    minor: int = 1,
    host: bytes = b"example.com",
) -> RequestHead:
    """
    Make the head of a request, by way of the parser.

    @param framing: the length of the body, or L{CHUNKED}.
    """
    pairs = [(b"Host", host), *fields]
    if framing == CHUNKED:
        pairs.append((b"Transfer-Encoding", b"chunked"))
    elif framing:
        pairs.append((b"Content-Length", b"%d" % framing))
    head = b"%b %b HTTP/1.%d%b\r\n\r\n" % (method, target, minor, join(pairs))
    return parseRequest(head, DEFAULT_LIMITS)


def skipIfCompiled(case: SynchronousTestCase, module: ModuleType) -> None:
    """
    Skip a test that patches what cannot be patched once it is compiled.
    """
    if not (module.__file__ or "").endswith(".py"):
        case.skipTest(f"{module.__name__} is compiled, and cannot be patched")


class Copies:
    """
    Counts what is cut out of some bytes, and out of what was cut out of them.

    @ivar count: how many bytes that was.
    """

    def __init__(self) -> None:
        self.count = 0

    def watch(self, data: bytes) -> bytes:
        """
        Make bytes whose cuts are counted.
        """
        watched = _Watched(data)
        watched.copies = self
        return watched


class _Watched(bytes):
    copies: Copies

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if not isinstance(found, bytes):
            return found
        self.copies.count += len(found)
        return self.copies.watch(found)


@implementer(IPeer)
class FakePeer:
    """
    The connection of an asker.

    @ivar countedAsAgent: whether it was taken out of the number of clients.
    @ivar shown: the certificate that it has shown.
    """

    def __init__(self, secure: bool = False) -> None:
        self.address: IAddress = IPv4Address("TCP", "192.0.2.7", 4321)
        self.secure = secure
        self.streams = True
        self.memory: object = None
        self.countedAsAgent = False
        self.shown: Certificate | None = None
        self._observers = LossObservers()

    def whenLost(self, callback: Callable[[], None]) -> Callable[[], None]:
        return self._observers.add(callback)

    def countAsAgent(self) -> None:
        self.countedAsAgent = True

    def certificate(self) -> Certificate | None:
        return self.shown

    def lose(self) -> None:
        """
        Be gone.
        """
        self._observers.tell()


@implementer(IAnswer)
class RecordingAnswer:
    """
    Takes down one answer, and insists on the rules of L{invproxy.interfaces}.

    @ivar interim: the heads of interim responses.
    @ivar head: the head of the final response.
    @ivar pieces: the pieces of its body as they came.
    @ivar trailers: the block of trailers; L{None} until the end.
    @ivar fault: what it failed with.
    @ivar uploadHeld: whether the answerer wants no more of the request body for now.
    @ivar identity: what L{identify} was told.
    @ivar violations: rules that were broken; each was raised too, but may have been caught.
    """

    def __init__(self, peer: FakePeer | None = None) -> None:
        self.peer: IPeer = peer or FakePeer()
        self.interim: list[ResponseHead] = []
        self.head: ResponseHead | None = None
        self.pieces: list[bytes] = []
        self.trailers: bytes | None = None
        self.fault: Fault | None = None
        self.uploadHeld = False
        self.identity: tuple[str, str] | None = None
        self.violations: list[str] = []
        self.upload: IUpload | None = None
        self._aborted = False

    @property
    def body(self) -> bytes:
        """
        The body so far.
        """
        return b"".join(self.pieces)

    @property
    def finished(self) -> bool:
        """
        Did it come to its regular end?
        """
        return self.trailers is not None

    @property
    def over(self) -> bool:
        """
        Did it end, in whatever way?
        """
        return self.finished or self.fault is not None or self._aborted

    def ask(self, origin: IOrigin, head: RequestHead, *pieces: bytes, end: bool = True) -> IUpload:
        """
        Open an exchange and send the request.

        @param pieces: its body.
        @param end: whether this is all.
        """
        upload = self.upload = origin.open(head, self)
        for piece in pieces:
            upload.write(piece)
        if end:
            upload.finish()
        return upload

    def abort(self, fault: Fault) -> None:
        """
        Break the exchange off; no call may come after that.
        """
        assert self.upload is not None
        self._aborted = True
        self.upload.abort(fault)

    def _insist(self, rule: str, kept: bool) -> None:
        if not kept:
            self.violations.append(rule)
            raise AssertionError(rule)

    def identify(self, requestID: str, endUser: str = "") -> None:
        self.identity = (requestID, endUser)

    def inform(self, head: ResponseHead) -> None:
        self._insist("inform after the end", not self.over)
        self._insist("inform after respond", self.head is None)
        self._insist("inform is for interim responses", head.status < 200 and head.status != 101)
        self.interim.append(head)

    def respond(self, head: ResponseHead) -> None:
        self._insist("respond after the end", not self.over)
        self._insist("respond but once", self.head is None)
        self._insist("respond is for final responses", head.status >= 200 or head.status == 101)
        self.head = head

    def write(self, data: bytes) -> None:
        self._insist("write after the end", not self.over)
        self._insist("write before respond", self.head is not None)
        self._insist("write takes bytes", isinstance(data, bytes))
        self.pieces.append(data)

    def finish(self, trailers: bytes = b"") -> None:
        self._insist("finish after the end", not self.over)
        self._insist("finish before respond", self.head is not None)
        self.trailers = trailers

    def fail(self, fault: Fault) -> None:
        upgraded = self.head is not None and self.head.status == 101
        over = self.fault is not None or self._aborted if upgraded else self.over
        self._insist("fail after the end", not over)
        self.fault = fault

    def pauseUpload(self) -> None:
        self.uploadHeld = True

    def resumeUpload(self) -> None:
        self.uploadHeld = False
