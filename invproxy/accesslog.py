"""
The access log: one line for each finished exchange, in Apache's combined format or as JSON.

Whatever a client sends, it cannot forge a line or a field: bytes that are not printable ASCII, and
quotes and backslashes, are written escaped. Lines are collected and written a moment later, many at
a time, as a system call for each would cost more than all the rest.
"""

from __future__ import annotations

import os
import re
import sys
import time
from json.encoder import encode_basestring_ascii as _json
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from invproxy.errors import ConfigError
from invproxy.interfaces import IAccessLog

_log = Logger()

DELAY: Final = 0.1
"""How long a line may wait for others before it is written, in seconds."""

ENOUGH: Final = 65536
"""How many bytes are written at once without waiting."""

MOST: Final = 1 << 20
"""How many bytes are kept while the file takes none; what comes then is lost."""

CHECK_INTERVAL: Final = 1.0
"""How often to look whether the file was renamed, in seconds."""

_MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)

_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_HARMLESS: Final = _PRINTABLE.translate(None, b"\\")
_QUOTES: Final = 6
_ESCAPED: Final = re.compile(rb"[^ !#-\[\]-~]")
_ESCAPED_WORD: Final = re.compile(rb"[^!#-\[\]-~]")


def escape(value: bytes, *, word: bool = False) -> bytes:
    """
    Write every byte that could end a quoted field or a line as C{\\xHH}.

    @param word: does the field stand without quotes? Then a space is escaped too.
    """
    pattern = _ESCAPED_WORD if word else _ESCAPED
    return pattern.sub(lambda match: b"\\x%02X" % match[0][0], value)


class LogFile:
    """
    Lines on their way into a file or onto stdout.
    """

    def __init__(self, clock: IReactorTime, path: str | None) -> None:
        """
        @param clock: measures the delay.
        @param path: the file, to which lines are appended, or L{None} for stdout.
        @raise ConfigError: if it cannot be opened; the text begins with "cannot".
        """
        self._clock = clock
        self._path = path
        self._lines: list[bytes] = []
        self._size = 0
        self._timer: IDelayedCall | None = None
        self._isBlocked = False
        self._isStuck = False
        self._failure = ""
        self._lost = 0
        self._nextCheck = clock.seconds() + CHECK_INTERVAL
        self._fd = -1
        try:
            if path is not None:
                self._fd = _open(path)
            elif sys.__stdout__ is not None:
                self._fd = sys.__stdout__.fileno()
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot be opened: {_why(error)}") from None

    def write(self, line: bytes) -> None:
        """
        Take one line, its end included.
        """
        if self._size >= MOST:
            self._lost += 1
            return
        self._lines.append(line)
        self._size += len(line)
        if self._size >= ENOUGH and not self._isBlocked:
            self.flush()
        elif self._timer is None:
            self._timer = self._clock.callLater(DELAY, self._flushLate)

    def flush(self) -> None:
        """
        Write what was collected.
        """
        if self._isOpenFile and self._clock.seconds() >= self._nextCheck:
            self._nextCheck = self._clock.seconds() + CHECK_INTERVAL
            if self._isRenamed():
                self.reopen()
        if not self._size:
            return
        data = memoryview(b"".join(self._lines))
        count = len(self._lines)
        self._lines = []
        self._size = 0
        self._isBlocked = False
        try:
            # To a pipe or a terminal that blocks, this waits for its reader: a stdout that was
            # handed down is shared with others, so it is not ours to make it non-blocking.
            while data:
                written = os.write(self._fd, data)  # on a line of its own: see tools/compile.py
                data = data[written:]
        except BlockingIOError:
            self._isBlocked = True
            self._lines.append(bytes(data))
            self._size = len(data)
        except OSError as error:
            self._lost += count
            if _why(error) != self._failure:
                # Once per change, not once per line.
                self._failure = _why(error)
                _log.error("The access log cannot be written: {why}", why=self._failure)
        else:
            self._succeed()

    @property
    def isNamed(self) -> bool:
        """
        Is it a file of its own, not stdout?
        """
        return self._path is not None

    def reopen(self) -> None:
        """
        Open the file anew under its name, as the old one was renamed. If that fails, go on with
        the old one.
        """
        if not self._isOpenFile:
            return
        assert self._path is not None
        try:
            fd = _open(self._path)
        except OSError as error:
            if not self._isStuck:
                self._isStuck = True
                _log.error("The access log cannot be opened again: {why}", why=_why(error))
            return
        os.close(self._fd)
        self._fd = fd
        self._isStuck = False

    def close(self) -> None:
        """
        Write what was collected, and write no more.
        """
        self.flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._isOpenFile:
            os.close(self._fd)
        self._fd = -1

    @property
    def _isOpenFile(self) -> bool:
        return self._path is not None and self._fd >= 0

    def _flushLate(self) -> None:
        self._timer = None
        self.flush()
        if self._size:
            self._timer = self._clock.callLater(DELAY, self._flushLate)

    def _isRenamed(self) -> bool:
        assert self._path is not None
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        opened = os.fstat(self._fd)
        return (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino)

    def _succeed(self) -> None:
        if self._failure or self._lost:
            _log.warn("The access log goes on; {lost} lines are lost", lost=self._lost)
            self._failure = ""
            self._lost = 0


def _open(path: str) -> int:
    # Non-blocking for the sake of named pipes; it changes nothing for files.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    return os.open(path, flags, 0o640)


def _why(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


@implementer(IAccessLog)
class CombinedLog:
    """
    The combined format of Apache: C{%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"}, times
    in UTC.

    @ivar file: where the lines go.
    """

    def __init__(self, file: LogFile) -> None:
        self.file = file
        self._second = -1
        self._date = b""
        self._user = ""
        self._name = b"-"

    def log(
        self,
        peer: str,
        user: str,
        start: float,
        method: bytes,
        target: bytes,
        minor: int,
        status: int,
        sent: int,
        duration: float,
        referer: bytes,
        userAgent: bytes,
        requestID: str,
        error: str,
    ) -> None:
        """
        See L{IAccessLog.log}.
        """
        second = int(start)
        if second != self._second:
            self._second = second
            self._date = _combinedDate(second)
        if user != self._user:
            self._user = user
            self._name = b"-"
            if user:
                self._name = escape(user.encode("utf-8", "backslashreplace"), word=True)
        host = peer.encode("utf-8", "backslashreplace")
        name = self._name
        line = b'%b - %b %b "%b %b HTTP/1.%d" %b %b "%b" "%b"' % (
            host,
            name,
            self._date,
            method,
            target,
            minor,
            b"%d" % status if status else b"-",
            b"%d" % sent if sent else b"-",
            referer or b"-",
            userAgent or b"-",
        )
        # One look at the whole line is cheaper than one at each field. Escapes in the name hold
        # backslashes, and so take the long way, too.
        if not method or line.count(b'"') != _QUOTES or line.translate(None, _HARMLESS):
            request = b"%b %b HTTP/1.%d" % (method, target, minor) if method else b"-"
            line = b'%b - %b %b "%b" %b %b "%b" "%b"' % (
                escape(host, word=True),
                name,
                self._date,
                escape(request),
                b"%d" % status if status else b"-",
                b"%d" % sent if sent else b"-",
                escape(referer) or b"-",
                escape(userAgent) or b"-",
            )
        self.file.write(line + b"\n")


def _combinedDate(second: int) -> bytes:
    at = time.gmtime(second)
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    # Not by strftime, whose month names follow the locale.
    return f"[{at.tm_mday:02}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}:{clock} +0000]".encode()


@implementer(IAccessLog)
class JSONLog:
    """
    One JSON object a line, with all that is known. Bytes beyond ASCII read as ISO 8859-1.

    @ivar file: where the lines go.
    """

    def __init__(self, file: LogFile) -> None:
        self.file = file
        self._second = -1
        self._date = ""

    def log(
        self,
        peer: str,
        user: str,
        start: float,
        method: bytes,
        target: bytes,
        minor: int,
        status: int,
        sent: int,
        duration: float,
        referer: bytes,
        userAgent: bytes,
        requestID: str,
        error: str,
    ) -> None:
        """
        See L{IAccessLog.log}.
        """
        second, milli = divmod(int(start * 1000 + 0.5), 1000)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        line = (
            f'{{"time":"{self._date}.{milli:03}Z"'
            f',"peer":{_json(peer)},"user":{_json(user)}'
            f',"method":{_json(method.decode("latin-1"))}'
            f',"target":{_json(target.decode("latin-1"))}'
            f',"protocol":"HTTP/1.{minor}","status":{status},"bytes":{sent}'
            f',"duration":{duration:.6f}'
            f',"referer":{_json(referer.decode("latin-1"))}'
            f',"userAgent":{_json(userAgent.decode("latin-1"))}'
            f',"requestID":{_json(requestID)},"error":{_json(error)}}}\n'
        )
        self.file.write(line.encode("ascii"))


def openAccessLog(
    clock: IReactorTime, path: str | None = None, form: str = "combined"
) -> CombinedLog | JSONLog:
    """
    Begin an access log.

    @param clock: measures how long lines wait.
    @param path: the file, or L{None} for stdout.
    @param form: C{"combined"} or C{"json"}.
    @raise ConfigError: if the file cannot be opened.
    """
    return (JSONLog if form == "json" else CombinedLog)(LogFile(clock, path))
