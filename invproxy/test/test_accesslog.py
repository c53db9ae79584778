"""
The access log: its two formats, and lines on their way to a file.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from invproxy import accesslog
from invproxy.accesslog import DELAY, ENOUGH, MOST, CombinedLog, JSONLog, LogFile, openAccessLog
from invproxy.errors import ConfigError
from invproxy.interfaces import IAccessLog

START = 1795358794.25  # 2026-11-22 14:46:34.25 UTC

ENTRY = {
    "peer": "192.0.2.7",
    "user": "",
    "start": START,
    "method": b"GET",
    "target": b"/a?b=c",
    "minor": 1,
    "status": 200,
    "sent": 5120,
    "duration": 0.0123456,
    "referer": b"https://example.com/",
    "userAgent": b"curl/8.14",
    "requestID": "id1",
    "error": "",
}

NASTY = (
    b'"',
    b"\\",
    b'\\"',
    b"\r\n127.0.0.1 - - forged",
    b"\n",
    b"\x00\x1b[2J\x7f",
    b"\xe9\xff\x80\xa0",
    b'" 200 1 "-" "-',
    bytes(range(256)),
)


class FormatTestCase(SynchronousTestCase):
    """
    Helpers: what a format writes.
    """

    form = "combined"

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.path = self.mktemp()
        self.accessLog = openAccessLog(self.clock, self.path, self.form)
        self.addCleanup(self.accessLog.file.close)

    def linesOf(self, *entries: dict[str, Any]) -> list[str]:
        """
        Log entries, and read them again.

        @param entries: what is different from L{ENTRY}.
        """
        for entry in entries:
            self.accessLog.log(*{**ENTRY, **entry}.values())
        self.accessLog.file.flush()
        content = Path(self.path).read_bytes().decode("ascii")
        self.assertTrue(content.endswith("\n"))
        self.assertEqual(content.count("\n"), len(entries))
        return content.splitlines()

    def lineOf(self, **entry: Any) -> str:
        [line] = self.linesOf(entry)
        os.truncate(self.path, 0)
        return line


class CombinedTests(FormatTestCase):
    """
    Apache's combined format.
    """

    def test_interface(self) -> None:
        """
        It is an access log.
        """
        self.assertIsInstance(self.accessLog, CombinedLog)
        verifyObject(IAccessLog, self.accessLog)

    def test_whole(self) -> None:
        """
        A common request, character by character.
        """
        self.assertEqual(
            self.lineOf(),
            '192.0.2.7 - - [22/Nov/2026:14:46:34 +0000] "GET /a?b=c HTTP/1.1" 200 5120'
            ' "https://example.com/" "curl/8.14"',
        )

    def test_nothing(self) -> None:
        """
        What is missing is a hyphen.
        """
        self.assertEqual(
            self.lineOf(method=b"", target=b"", status=0, sent=0, referer=b"", userAgent=b""),
            '192.0.2.7 - - [22/Nov/2026:14:46:34 +0000] "-" - - "-" "-"',
        )

    def test_user(self) -> None:
        """
        The end user has a column, in which neither spaces nor letters beyond ASCII stand as they are.
        """
        for user, shown in (
            ("ada@example.com", "ada@example.com"),
            ("ada love", r"ada\x20love"),
            ("Zoë", r"Zo\xC3\xAB"),
            ("\ud800", r"\x5Cud800"),
            ('a" "\n', r"a\x22\x20\x22\x0A"),
        ):
            line = self.lineOf(user=user)
            self.assertTrue(line.startswith(f"192.0.2.7 - {shown} [22/Nov/"), line)
            self.assertTrue(line.endswith(' "https://example.com/" "curl/8.14"'), line)

    def test_escaped(self) -> None:
        """
        Nothing in a field ends the field.
        """
        for name in ("method", "target", "referer", "userAgent"):
            for value in NASTY:
                line = self.lineOf(**{name: value})
                self.assertEqual(line.count('"'), 6, line)
                self.assertTrue(line.isprintable(), line)
        self.assertIn(r' "\x22\x5C\x0A\xE9~ "', self.lineOf(referer=b'"\\\n\xe9~ '))

    def test_dates(self) -> None:
        """
        The date follows the time of each request, backwards too, and no locale.
        """
        lines = self.linesOf({}, {"start": START + 0.7}, {"start": START + 0.8}, {"start": 0.0})
        found = [line.split("[")[1].split("]")[0] for line in lines]
        self.assertEqual(
            found,
            [
                "22/Nov/2026:14:46:34 +0000",
                "22/Nov/2026:14:46:34 +0000",
                "22/Nov/2026:14:46:35 +0000",
                "01/Jan/1970:00:00:00 +0000",
            ],
        )


class JSONTests(FormatTestCase):
    """
    One JSON object a line.
    """

    form = "json"

    def test_interface(self) -> None:
        """
        It is an access log.
        """
        self.assertIsInstance(self.accessLog, JSONLog)
        verifyObject(IAccessLog, self.accessLog)

    def test_whole(self) -> None:
        """
        All that is known.
        """
        self.assertEqual(
            json.loads(self.lineOf(user="Zoë", status=502, error="origin-refused")),
            {
                "time": "2026-11-22T14:46:34.250Z",
                "peer": "192.0.2.7",
                "user": "Zoë",
                "method": "GET",
                "target": "/a?b=c",
                "protocol": "HTTP/1.1",
                "status": 502,
                "bytes": 5120,
                "duration": 0.012346,
                "referer": "https://example.com/",
                "userAgent": "curl/8.14",
                "requestID": "id1",
                "error": "origin-refused",
            },
        )

    def test_escaped(self) -> None:
        """
        Any bytes come back as they were.
        """
        for name in ("method", "target", "referer", "userAgent"):
            for value in NASTY:
                found = json.loads(self.lineOf(**{name: value}))
                self.assertEqual(found[name].encode("latin-1"), value)

    def test_milliseconds(self) -> None:
        """
        Times are rounded, over the second if need be.
        """
        line = self.lineOf(start=START + 0.7497)
        self.assertIn('"time":"2026-11-22T14:46:35.000Z"', line)


class LogFileTests(SynchronousTestCase):
    """
    Lines on their way to a file.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.errors: list[str] = []
        note = self.errors

        class Log:
            def error(self, form: str, **values: str) -> None:
                note.append(form.format(**values))

            warn = error

        self.patch(accesslog, "_log", Log())
        self.file = LogFile(self.clock, str(self.path))
        self.addCleanup(self.file.close)

    def test_delay(self) -> None:
        """
        Lines are written together, a moment after the first.
        """
        self.file.write(b"a\n")
        self.clock.advance(DELAY / 2)
        self.file.write(b"b\n")
        self.assertEqual(self.path.read_bytes(), b"")
        self.clock.advance(DELAY / 2)
        self.assertEqual(self.path.read_bytes(), b"a\nb\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.file.write(b"c\n")
        self.clock.advance(DELAY)
        self.assertEqual(self.path.read_bytes(), b"a\nb\nc\n")

    def test_enough(self) -> None:
        """
        Many bytes do not wait.
        """
        line = b"x" * 1023 + b"\n"
        for _ in range(ENOUGH // len(line)):
            self.assertEqual(self.path.stat().st_size, 0)
            self.file.write(line)
        self.assertEqual(self.path.stat().st_size, ENOUGH)

    def test_close(self) -> None:
        """
        The last lines are written at the end, and nothing stays scheduled.
        """
        self.file.write(b"a\n")
        self.file.close()
        self.assertEqual(self.path.read_bytes(), b"a\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.file.close()

    def test_afterClose(self) -> None:
        """
        A line that comes after the end is lost, and harms nothing.
        """
        self.file.close()
        self.clock.advance(2.0)
        self.file.write(b"late\n")
        self.clock.advance(DELAY)
        self.file.reopen()
        self.assertEqual(self.path.read_bytes(), b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_append(self) -> None:
        """
        A file that exists is continued.
        """
        self.path.write_bytes(b"old\n")
        other = LogFile(self.clock, str(self.path))
        other.write(b"new\n")
        other.close()
        self.assertEqual(self.path.read_bytes(), b"old\nnew\n")

    def test_renamed(self) -> None:
        """
        After a rotation lines go to a new file, within about a second.
        """
        old = self.path.with_suffix(".1")
        self.file.write(b"a\n")
        self.clock.advance(DELAY)
        self.path.rename(old)
        self.file.write(b"b\n")
        self.clock.advance(DELAY)
        self.clock.advance(1.0)
        self.file.write(b"c\n")
        self.clock.advance(DELAY)
        self.assertEqual(old.read_bytes(), b"a\nb\n")
        self.assertEqual(self.path.read_bytes(), b"c\n")

    def test_replaced(self) -> None:
        """
        So they do when the rotation made the new file itself.
        """
        self.path.rename(self.path.with_suffix(".1"))
        self.path.write_bytes(b"")
        self.clock.advance(1.0)
        self.file.write(b"c\n")
        self.clock.advance(DELAY)
        self.assertEqual(self.path.read_bytes(), b"c\n")

    def test_reopen(self) -> None:
        """
        A rotation may also ask for it at once.
        """
        old = self.path.with_suffix(".1")
        self.path.rename(old)
        self.file.write(b"a\n")
        self.file.reopen()
        self.clock.advance(DELAY)
        self.assertEqual(self.path.read_bytes(), b"a\n")
        self.assertEqual(old.read_bytes(), b"")

    def test_reopenFails(self) -> None:
        """
        Where no new file can be made, the old one goes on, and one line of the log says why.
        """
        old = self.path.with_suffix(".1")
        self.path.rename(old)
        self.path.mkdir()
        for line in (b"a\n", b"b\n"):
            self.clock.advance(2.0)
            self.file.write(line)
            self.clock.advance(DELAY)
        self.assertEqual(old.read_bytes(), b"a\nb\n")
        self.assertEqual(
            self.errors,
            ["The access log cannot be opened again: Is a directory"],
        )

    def test_cannotOpen(self) -> None:
        """
        A file that cannot be opened is refused at once.
        """
        for path, why in (
            ("/nowhere/at/all", "No such file or directory"),
            (os.curdir, "Is a directory"),
            ("a\0b", "embedded null byte"),
        ):
            error = self.assertRaises(ConfigError, LogFile, self.clock, path)
            self.assertEqual(str(error), f"cannot be opened: {why}")

    def test_fullPipe(self) -> None:
        """
        What a pipe does not take yet is kept, in order and without a gap within a line; when there
        is too much of it, whole lines are lost.
        """
        fifo = self.mktemp()
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        file = LogFile(self.clock, fifo)
        self.addCleanup(file.close)
        written = [b"%06d%s\n" % (number, b"x" * 992) for number in range(3000)]
        for line in written:
            file.write(line)
        found = bytearray()
        while True:
            try:
                found += os.read(reader, 65536)
            except BlockingIOError:
                if not self.clock.getDelayedCalls():
                    break
                self.clock.advance(DELAY)
        lines = bytes(found).splitlines(keepends=True)
        self.assertEqual(lines, written[: len(lines)])
        self.assertGreaterEqual(len(found), MOST)
        self.assertLess(len(lines), len(written))
        file.write(b"again\n")
        self.clock.advance(DELAY)
        self.assertEqual(os.read(reader, 65536), b"again\n")

    def test_closedPipe(self) -> None:
        """
        A reader that went away costs lines, and one line of the log, nothing else.
        """
        fifo = self.mktemp()
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        file = LogFile(self.clock, fifo)
        self.addCleanup(file.close)
        os.close(reader)
        for _ in range(3):
            file.write(b"a\n")
            self.clock.advance(DELAY)
        self.assertEqual(self.errors, ["The access log cannot be written: Broken pipe"])
        again = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, again)
        file.write(b"b\n")
        self.clock.advance(DELAY)
        self.assertEqual(self.errors[1:], ["The access log goes on; 3 lines are lost"])
        self.assertEqual(os.read(again, 100), b"b\n")


class StdoutTests(SynchronousTestCase):
    """
    The access log on stdout, in a process of its own.
    """

    SCRIPT = """
import sys
from twisted.internet.task import Clock
from invproxy.accesslog import openAccessLog
clock = Clock()
log = openAccessLog(clock)
sys.stdout = None  # twist replaces it by its own log
log.log("::1", "", 0.0, b"GET", b"/", 1, 200, 1, 0.1, b"", b"", "", "")
clock.advance(1)
log.file.reopen()
log.file.close()
"""

    def run_(self, **streams: Any) -> subprocess.CompletedProcess[bytes]:
        environ = {**os.environ, "PYTHONPATH": str(Path(accesslog.__file__).parent.parent)}
        return subprocess.run(
            [sys.executable, "-c", self.SCRIPT],
            env=environ,
            stderr=subprocess.PIPE,
            check=False,
            **streams,
        )

    def test_stdout(self) -> None:
        """
        Lines go to the real stdout, which stays open.
        """
        done = self.run_(stdout=subprocess.PIPE)
        self.assertEqual(
            done.stdout, b'::1 - - [01/Jan/1970:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-"\n'
        )
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_brokenStdout(self) -> None:
        """
        A stdout that nobody reads does no harm.
        """
        reader, writer = os.pipe()
        os.close(reader)
        self.addCleanup(os.close, writer)
        done = self.run_(stdout=writer)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_noStdout(self) -> None:
        """
        Nor does one that was closed before the start.
        """
        done = self.run_(preexec_fn=lambda: os.close(1))
        self.assertEqual(done.returncode, 0, done.stderr)


class CostTests(SynchronousTestCase):
    """
    The access log is on the path of every request.
    """

    def count(self, owner: object, name: str, found: Counter[str]) -> None:
        """
        Count the calls of a function from now on.
        """
        original = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            found[name] += 1
            return original(*args, **options)

        self.patch(owner, name, counted)

    def test_cheap(self) -> None:
        """
        The time of day is made into text once a second, nothing is escaped that need not be, and lines are written many
        at a time.
        """
        for form in ("combined", "json"):
            log = openAccessLog(Clock(), self.mktemp(), form)
            self.addCleanup(log.file.close)
            found: Counter[str] = Counter()
            self.count(time, "gmtime", found)
            self.count(accesslog, "escape", found)
            self.count(os, "write", found)
            for _ in range(2000):
                log.log(*ENTRY.values())  # type: ignore[arg-type]
            self.assertEqual((found["gmtime"], found["escape"]), (1, 0))
            self.assertLess(found["write"], 20)
