"""
HTTP on one connection of the streaming server.

A request is handed on as soon as its head is whole, and its answer is written as it comes. Requests of one connection
are answered in order, one at a time: what is pipelined behind the present one waits, and beyond a bound is not even
read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from invproxy.discard import DISCARD
from invproxy.errors import CLIENT_GONE, HEAD_TIMEOUT, INTERNAL, TOO_MANY_CONNECTIONS, Code, Fault
from invproxy.http1.heads import RequestHead
from invproxy.http1.readers import RequestReader
from invproxy.interfaces import IUpload
from invproxy.server.connection import Connection
from invproxy.server.earlyrest import MOST_DISCARDED, EarlyRest
from invproxy.server.pace import Pacer
from invproxy.server.stream import ServerStream
from invproxy.transport import Outlet, isSecure

if TYPE_CHECKING:
    from invproxy.server.site import StreamingSite

_log = Logger(namespace="invproxy.server")

_MOST_PIPELINED: Final = 65536
"""Bytes that may wait behind a request before its connection is not read any more."""

_CLOSING: Final = 60.0
"""Seconds that a refused client may take for what was still to be written to it."""

_LINGER: Final = 2.0
"""Seconds for which such bytes are awaited (RFC 9112, section 9.6)."""

_LAST_ASKED: Final = 1.0
"""Seconds after its last answer for which a kept connection may still ask for something when its site is closing."""

_PARTING: Final = 0.5
"""Seconds for which what a client was just sending is awaited when its idle connection is closed."""


@implementer(IPushProducer, IHalfCloseableProtocol)
class Channel(Connection):
    """
    HTTP on one connection.

    @ivar isBehind: whether the client does not take what is sent to it as it comes.
    @ivar holds: how often either side has held the other back, or let it go on.
    @ivar send: writes pieces of bytes to the connection.
    """

    send: Callable[..., None]
    holds = 0
    _pacer: Pacer | None = None
    _stream: ServerStream | None = None
    _busy = False  # in the midst of reading requests
    _raw = False  # a 101 has gone out: both directions are bytes of another protocol
    _lingering = False  # nothing more goes out, and what comes is thrown away
    _flooded = False
    _uploadPaused = False
    _readingPaused = False
    _readingEnded = False
    isBehind = False
    _discarded = 0
    _lingers = _LINGER

    def __init__(self, site: StreamingSite) -> None:
        super().__init__(site)
        self._reader = RequestReader(site.limits, self._opened)

    # What the transport calls.

    def connectionMade(self) -> None:
        # First, as connectionLost counts it out whatever happens here.
        self._countedFor, self._surplus = self.site.admit(self)
        self.secure = isSecure(self.transport)
        self._outlet = Outlet(self.transport, self.site.turn)
        self._outlet.begin(self)
        self.send = self._outlet.write
        self._await(self.site.headTimeout, Channel._closeUnasked)
        if self.site.minPace:
            self._pacer = Pacer(self, self.site.minPace)

    def dataReceived(self, data: bytes) -> None:
        if self._raw:
            self._deliver(data)
        elif self._lingering:
            self._discarded += len(data)
            if self._discarded > MOST_DISCARDED:
                # Not read any more, but not closed yet either: that would be a reset, which may overtake the answer.
                self._flooded = True
                self._adjustReading()
        elif not self._ending:
            self._work(data)

    def readConnectionLost(self) -> None:
        if self._readingEnded:
            return
        stream = self._stream
        self._readingEnded = True
        if stream is None or (stream.finished and not self._raw):
            self.close()
        elif self._raw:
            self._deliver(b"")
            stream.upload.finish()
            if stream.finished:
                self.close()
        else:
            self.abort()

    def writeConnectionLost(self) -> None:
        if self._lingering:
            self._await(self._lingers, Channel.close)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = self._over = True
        self._reader.drop()
        self.site.forget(self)
        if self._pacer is not None:
            self.site.deadlines.forget(self._pacer)
            self._pacer = None
        if not self.isAgent:
            self.site.crowd.leave(self._countedFor)
        self._outlet.drop()
        stream, self._stream = self._stream, None
        if stream is not None:
            upload, stream.upload = stream.upload, DISCARD
            if not stream.finished:
                stream.finished = True
                stream.error = stream.error or CLIENT_GONE
                self.site.streamEnded(stream)
                upload.abort(Fault(CLIENT_GONE))
            elif self._raw and not self._readingEnded:
                upload.abort(Fault(CLIENT_GONE))
        self._observers.tell()

    # As the producer of what the transport sends.

    def pauseProducing(self) -> None:
        self.isBehind = True
        self.holds += 1
        if self._stream is not None:
            self._stream.upload.pauseAnswer()

    def resumeProducing(self) -> None:
        self.isBehind = False
        self.holds += 1
        if self._stream is not None:
            self._stream.upload.resumeAnswer()
        elif self._reader.ended and not self._busy:
            self._work(b"")

    def stopProducing(self) -> None:
        pass  # connectionLost says so, too

    # Requests, one after the other.

    def _work(self, data: bytes) -> None:
        """
        Read on, and after each answered request the next one; in a loop, as thousands may be pipelined. A client that
        does not take its answers gets no more of them.
        """
        reader = self._reader
        self._busy = True
        try:
            reader.feed(data)
            while self._stream is None and self._mayGoOn():
                reader.next()
        except Fault as fault:
            self.refuse(fault)
        except Exception:
            _log.failure("the origin failed on the body of a request")
            self.refuse(Fault(INTERNAL))
        finally:
            self._busy = False
        if self._stream is None and not self._over:
            self._watchHead()
        if len(reader.rest) > _MOST_PIPELINED:
            self._flooded = True
        if self._flooded or self._uploadPaused or self._readingPaused:
            self._adjustReading()

    def _mayGoOn(self) -> bool:
        """
        Say whether the next request may begin.
        """
        return self._reader.ended and not self.isBehind and not self._over

    def _watchHead(self) -> None:
        """
        Start the clock of a head with its first byte.
        """
        slow = Channel._refuseSlow
        if self._overdue is not slow and self._reader.inHead() and not self._reader.atStart():
            self._await(self.site.headTimeout, slow)

    def _opened(self, head: RequestHead) -> IUpload:
        stream = ServerStream(self, head, self.site.clock.seconds())
        self._stream = stream
        self._patience = 0.0  # an exchange has clocks of its own
        self._overdue = Channel.close
        try:
            if self._surplus and not self.site.isAgentCall(head):
                self.closing = True
                raise Fault(TOO_MANY_CONNECTIONS, self._surplus)
            upload = self.site.origin.open(head, stream)
        except Fault as fault:
            stream.fail(fault)
        except Exception:
            _log.failure("opening {method} {target} failed", method=head.method, target=head.target)
            stream.fail(Fault(INTERNAL))
        else:
            if not stream.finished or self._raw:
                stream.upload = upload
                if self.isBehind:
                    upload.pauseAnswer()
                return upload
        return EarlyRest(self) if head.framing else DISCARD

    def hasWholeRequest(self) -> bool:
        """
        Say whether the present request has come to its end.
        """
        return self._reader.ended

    def streamFinished(self, stream: ServerStream) -> None:
        """
        Go on after an answer.
        """
        self._outlet.flush()  # now, as nothing more belongs to it, and so that it shows whether the client keeps up
        self.site.streamEnded(stream)
        if stream is not self._stream:
            return
        if self._raw:
            self._closeWriting()
        elif self._reader.ended:
            self.proceed()
        elif self.closing:
            self.linger()
        else:
            stream.upload = DISCARD
            self._reader.redirect(EarlyRest(self))
            self._uploadPaused = False
            self._adjustReading()
            self._await(_LINGER, Channel.linger)

    def proceed(self) -> None:
        """
        Go on after a request that was answered and has come to its end.
        """
        if self._stream is not None:
            self._stream.upload = DISCARD  # or it would keep the exchange, and that it
            self._stream = None
        if self._over:
            return
        if self.closing:
            # Of what is pipelined behind it, none is answered, but to close upon unread bytes would be a reset.
            if self._reader.rest or (self.site.closing and not self.secure):
                self.linger()
            else:
                self.close()
            return
        if self.site.closing:
            self.refuseMore()
        self._uploadPaused = self._flooded = False
        if self._readingPaused:
            self._adjustReading()
        self._await(self.site.idleTimeout, Channel.close)
        if self._busy:
            return
        reader = self._reader
        if reader.rest:
            self._work(b"")
        elif reader.ended and not self.isBehind:
            reader.next()

    def isAwaited(self) -> bool:
        """
        Say whether it is up to the client to send more of a body, and nothing else can happen.
        """
        stream = self._stream
        return (
            stream is not None
            and not (stream.status or self._reader.ended or self._readingPaused)
            and not stream.awaitsLeave()
        )

    def giveUp(self, why: Code) -> None:
        """
        Break off: the client does not take its answer.
        """
        if self._stream is not None and not self._stream.finished:
            self._stream.error = why
        else:
            self.site.refusals.count(why)
        self.abort()

    def refuse(self, fault: Fault) -> None:
        """
        Answer while there is a way to, then close: the client broke the protocol, or is too slow.
        """
        if self._over:
            return
        self.closing = True
        stream = self._stream
        if stream is None:
            stream = self._stream = ServerStream(self, RequestHead(b"", b""), self._since)
        upload, stream.upload = stream.upload, DISCARD
        stream.fail(fault)
        upload.abort(fault)
        self.linger()

    def _closeUnasked(self) -> None:
        self.site.refusals.count(HEAD_TIMEOUT)
        self.close()

    def _refuseSlow(self) -> None:
        self.refuse(Fault(HEAD_TIMEOUT))

    # Reading.

    def pauseUpload(self, stream: ServerStream) -> None:
        """
        Hold back the body of a request.
        """
        if stream is self._stream and (self._raw or not stream.finished):
            self._uploadPaused = True
            self._adjustReading()

    def resumeUpload(self, stream: ServerStream) -> None:
        """
        Read on.
        """
        if stream is self._stream and self._uploadPaused:
            self._uploadPaused = False
            self._adjustReading()

    def _adjustReading(self) -> None:
        # Behind a request that has come whole is read on, whatever its answerer asks: it shows when the client leaves.
        pause = self._flooded or (self._uploadPaused and (self._raw or not self._reader.ended))
        if pause != self._readingPaused and not self._lost:
            self._readingPaused = pause
            self.holds += 1
            if pause:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def becomeRaw(self) -> None:
        """
        Leave HTTP: from here on both directions are bytes of another protocol.
        """
        self._raw = True
        self._flooded = False
        self._adjustReading()
        if self._reader.rest:
            # The answerer is in the middle of its own call; it gets the bytes that came early in the next turn.
            self.site.clock.callLater(0, self._deliver, b"")

    def _deliver(self, data: bytes) -> None:
        """
        Pass on raw bytes, those first that came early.
        """
        if self._reader.rest:
            data = self._reader.rest + data
            self._reader.rest = b""
        if data and self._stream is not None:
            self._stream.upload.write(data)

    # Writing and closing.

    def cut(self, stream: ServerStream) -> None:
        """
        End a response that broke, so that it never looks whole.
        """
        self.site.streamEnded(stream)
        self.abort()

    def refuseMore(self) -> None:
        """
        End with the answer that is to begin next. An agent's link goes on.
        """
        if not self.isAgent and (self._stream is None or not self._stream.status):
            self.closing = True

    def drain(self) -> None:
        """
        Close once the present answer is out, or, as a client may be about to ask, a moment after the last one.
        """
        self.closing = True
        reader = self._reader
        isIdle = reader.atStart() or (reader.ended and not reader.rest)
        if self._over or self._stream is not None or not isIdle:
            return
        waits = self._since + _LAST_ASKED - self.site.clock.seconds()
        if waits > 0 and not self.isAgent:
            self._await(waits, Channel._part)
        else:
            self._part()

    def _part(self) -> None:
        if self.secure or self.isAgent:
            self.close()
            self._await(_PARTING, Channel.abort if self.isAgent else Channel._hangUp)
        else:  # not upon bytes that are just coming
            self._lingers = _PARTING
            self.linger()

    def _hangUp(self) -> None:
        self._await(self.site.idleTimeout, Channel.abort)
        self._outlet.hangUp()

    def _closeWriting(self) -> None:
        if self._readingEnded or not self._outlet.closeWriting():
            self.close()

    def linger(self) -> None:
        """
        Close without losing the answer: end writing, and read for nothing for a while (RFC 9112, section 9.6).
        """
        if self._over:
            return
        self._lingering = self._over = True
        self._stream = None
        self._flooded = self._uploadPaused = False
        self._adjustReading()
        if self._outlet.closeWriting():
            # Until all is written, of which some transports do not tell.
            self._await(min(self.site.idleTimeout or _CLOSING, _CLOSING), Channel.abort)
        else:
            self._await(_LINGER, Channel.close)
