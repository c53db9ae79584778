"""
How a command begins and ends: the ready line, the exit status and the signals.
"""

import io
import signal

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from invproxy.errors import ConfigError
from invproxy.lifecycle import refusing
from invproxy.test.fakeprocess import Process, Reactor


class LifecycleTests(SynchronousTestCase):
    """
    The ready line, the exit status and the signals.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.process = Process()
        self.lifecycle = self.process.lifecycle(self.reactor)
        self.ready: Deferred[str] = Deferred()
        self.lifecycle.watch(self.ready)

    def test_ready(self) -> None:
        """
        The ready line goes to stdout, and the process ends as C{twist} ends it.
        """
        self.reactor.run()
        self.ready.callback("program ready: here")
        self.assertEqual(self.process.stdout.getvalue(), "program ready: here\n")
        self.assertEqual(self.process.stderr.getvalue(), "")
        self.assertEqual(self.process.end(), [])
        self.assertEqual(self.reactor.stops, 0)

    def failWith(self, error: Exception) -> str:
        self.reactor.run()
        self.ready.errback(error)
        self.assertEqual(self.reactor.stops, 1)
        self.assertEqual(self.process.end(), [1])
        self.assertEqual(self.process.stdout.getvalue(), "")
        line, end, rest = self.process.stderr.getvalue().partition("\n")
        self.assertEqual((end, rest), ("\n", ""))
        return line

    def test_takenPort(self) -> None:
        """
        A port that is taken is one line and exit status 1.
        """
        why = OSError(98, "Address already in use")
        self.assertEqual(
            self.failWith(CannotListenError("127.0.0.1", 8080, why)),
            "program: cannot listen on 127.0.0.1:8080: Address already in use",
        )

    def test_takenPortEverywhere(self) -> None:
        """
        So it is on all interfaces.
        """
        why = OSError(98, "Address already in use")
        self.assertEqual(
            self.failWith(CannotListenError("", 8080, why)),
            "program: cannot listen on port 8080: Address already in use",
        )

    def test_takenSocket(self) -> None:
        """
        And a UNIX socket that cannot be made.
        """
        self.assertEqual(
            self.failWith(CannotListenError(None, "/run/x", OSError(13, "Permission denied"))),
            "program: cannot listen on /run/x: Permission denied",
        )

    def test_noDirectory(self) -> None:
        """
        Or one whose lock cannot be made.
        """
        error = FileNotFoundError(2, "No such file or directory", "123", None, b"/nowhere/x.lock")
        self.assertEqual(
            self.failWith(error),
            "program: cannot start: No such file or directory: /nowhere/x.lock",
        )

    def test_configError(self) -> None:
        """
        A value that turns out to be bad late.
        """
        self.assertEqual(self.failWith(ConfigError("a\nb")), "program: a b")

    def test_mistake(self) -> None:
        """
        A mistake of ours is one line, too, and its traceback is in the log.
        """
        self.assertEqual(
            self.failWith(ZeroDivisionError("x")), "program: cannot start: ZeroDivisionError('x')"
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_failedEarly(self) -> None:
        """
        A failure before the reactor runs stops it as soon as it does.
        """
        self.ready.errback(ConfigError("a"))
        self.assertEqual(self.reactor.stops, 0)
        self.reactor.run()
        self.assertEqual(self.reactor.stops, 1)
        self.assertEqual(self.process.end(), [1])

    def test_stoppedEarly(self) -> None:
        """
        Being stopped before one is ready is no failure.
        """
        self.reactor.run()
        self.ready.errback(CancelledError())
        self.assertEqual(self.process.stderr.getvalue(), "")
        self.assertEqual(self.process.end(), [])

    def test_nobodyListens(self) -> None:
        """
        A stdout that is closed or broken does not stop the service.
        """
        self.process.stdout.close()
        self.reactor.run()
        self.ready.callback("program ready: here")
        self.assertEqual(self.process.end(), [])

    def test_signals(self) -> None:
        """
        A signal stops the reactor; the next one meets the system's own handler.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            reactor, process = Reactor(), Process()
            process.lifecycle(reactor).handleSignals()
            self.assertEqual(process.handlers, {})
            reactor.run()
            self.assertEqual(set(process.handlers), {signal.SIGTERM, signal.SIGINT})
            process.handlers[number](number, None)
            self.assertEqual(reactor.stops, 1)
            self.assertEqual(
                process.handlers,
                {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.SIG_DFL},
            )
            self.assertEqual(process.end(), [])

    def test_signalWhileStopping(self) -> None:
        """
        A signal when the reactor stops already changes nothing.
        """
        self.lifecycle.handleSignals()
        self.reactor.run()
        self.reactor.stop()
        self.process.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual(self.reactor.stops, 1)

    def test_hangup(self) -> None:
        """
        SIGHUP is for those who have a use for it.
        """
        calls: list[str] = []
        self.lifecycle.handleSignals(lambda: calls.append("hangup"))
        self.reactor.run()
        self.process.handlers[signal.SIGHUP](signal.SIGHUP, None)
        self.assertEqual(calls, ["hangup"])
        self.assertEqual(self.reactor.stops, 0)

    def test_refusing(self) -> None:
        """
        A bad value is one line and exit status 1.
        """
        stderr = io.StringIO()

        def make() -> None:
            with refusing("program", stderr):
                raise ConfigError("--a is\n'b'")

        error = self.assertRaises(SystemExit, make)
        self.assertEqual(error.code, 1)
        self.assertEqual(stderr.getvalue(), "program: --a is 'b'\n")
