"""
How a command begins and ends under C{twist}: its ready line, its exit status, its signals.

C{twist} knows no exit status but those of bad usage and of signals, and shows a traceback for
everything else, so this module stands between it and our services:

 - a L{ConfigError} while the service is made: one line on stderr, exit status 1 (L{refusing});
 - a failure to start that is seen later, such as a taken port: the same, after the reactor was
   stopped in good order (L{Lifecycle.watch});
 - SIGINT before the reactor runs: the process ends at once, as on SIGTERM (L{invproxy.maker});
 - SIGTERM or SIGINT: the reactor is stopped, which waits for the services to drain, and the exit
   status is 0; the second signal ends the process at once (L{Lifecycle.handleSignals}).
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from invproxy.errors import ConfigError
from invproxy.options import oneLine


class IReactorLifecycle(IReactorCore, IReactorFromThreads):
    """
    What is needed of a reactor here.
    """


def say(stream: TextIO | None, line: str) -> None:
    """
    Write one line at once, whether or not anybody listens.

    @param stream: one of the process's own streams; C{twist} replaces C{sys.stdout} and
        C{sys.stderr} by its log once it runs, so that these are C{sys.__stdout__} and
        C{sys.__stderr__}.
    """
    if stream is None:
        return
    # A reader that went away is no reason to stop serving.
    with suppress(OSError, ValueError):
        stream.write(f"{line}\n")
        stream.flush()


@contextmanager
def refusing(program: str, stderr: TextIO | None) -> Iterator[None]:
    """
    Turn a L{ConfigError} into one line and exit status 1.

    @param program: the command's name, which begins the line.
    @param stderr: where the line goes.
    @raise SystemExit: if there was one.
    """
    try:
        yield
    except ConfigError as error:
        say(stderr, f"{program}: {oneLine(str(error))}")
        raise SystemExit(1) from None


def explain(failure: Failure) -> str | None:
    """
    Say in one line why something did not start.

    @return: the line, or L{None} for a failure that is a mistake of ours.
    """
    error = failure.value
    if isinstance(error, ConfigError):
        return oneLine(str(error))
    if isinstance(error, CannotListenError):
        if isinstance(error.port, int):
            where = f"{error.interface}:{error.port}" if error.interface else f"port {error.port}"
        else:
            where = os.fsdecode(error.port) if isinstance(error.port, bytes) else str(error.port)
        why = getattr(error.socketError, "strerror", None) or str(error.socketError)
        option = getattr(error, "option", None)
        asked = f" (--{option})" if option else ""
        return oneLine(f"cannot listen on {where}{asked}: {why}")
    if isinstance(error, OSError):
        # The lock of a UNIX socket, for one.
        file = error.filename2 or error.filename
        where = f": {os.fsdecode(file)}" if isinstance(file, str | bytes) else ""
        return oneLine(f"cannot start: {error.strerror or error}{where}")
    return None


class Lifecycle:
    """
    The beginning and the end of one command.

    @ivar status: the exit status so far.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorLifecycle,
        program: str,
        *,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        register: Callable[[Callable[[], None]], object] = atexit.register,
        exit: Callable[[int], object] = os._exit,
        setHandler: Callable[[int, Any], object] = signal.signal,
    ) -> None:
        """
        @param reactor: what runs the command.
        @param program: the command's name, which begins the line on stderr.
        @param stdout: where the ready line goes, by default the process's own.
        @param stderr: where the reason of a failure goes, by default the process's own.
        @param register: asks for a call when the process ends.
        @param exit: ends the process with a status.
        @param setHandler: installs the handler of a signal.
        """
        self.status = 0
        self._reactor = reactor
        self._program = program
        self._stdout = sys.__stdout__ if stdout is None else stdout
        self._stderr = sys.__stderr__ if stderr is None else stderr
        self._exit = exit
        self._setHandler = setHandler
        # twist returns 0 whenever the reactor has stopped without a signal. Only the very end of
        # the process is late enough not to cut off what else is still to be done.
        register(self._atEnd)

    def watch(self, ready: Deferred[str]) -> None:
        """
        Show that the command is ready, or end it. To be called after L{handleSignals}.

        @param ready: fires with the ready line, or fails with the reason why there is none.
        """
        # Not before the reactor runs. Whoever reads the ready line may send a signal at once, so
        # the handlers must be there; and only a reactor that runs can be stopped.
        ready.addCallbacks(
            lambda line: self._whenRunning(say, self._stdout, line),
            lambda failure: self._whenRunning(self._failed, failure),
        )

    def handleSignals(self, hangup: Callable[[], None] | None = None) -> None:
        """
        Take over SIGTERM and SIGINT as soon as the reactor runs and has installed its own handlers.

        @param hangup: called on SIGHUP, in the reactor; without it SIGHUP ends the process.
        """
        self._whenRunning(self._installHandlers, hangup)

    def _whenRunning(self, callable: Callable[..., None], *args: object) -> None:
        self._reactor.callWhenRunning(callable, *args)

    def _installHandlers(self, hangup: Callable[[], None] | None) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._setHandler(number, self._terminate)
        if hangup is not None:
            self._setHandler(
                signal.SIGHUP, lambda number, frame: self._reactor.callFromThread(hangup)
            )

    def _terminate(self, number: int, frame: object) -> None:
        # The next signal finds the system's handler: it ends the process even if this one hangs.
        for each in (signal.SIGTERM, signal.SIGINT):
            self._setHandler(each, signal.SIG_DFL)
        self._reactor.callFromThread(self._drain, signal.Signals(number).name)

    def _drain(self, name: str) -> None:
        self._log.info(
            "{signal}: finishing what is in flight; another one ends it at once", signal=name
        )
        self._stop()

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # Stopped before it was ready.
        line = explain(failure)
        if line is None:
            self._log.failure("cannot start", failure)
            line = oneLine(f"cannot start: {failure.value!r}")
        self.status = 1
        say(self._stderr, f"{self._program}: {line}")
        self._stop()

    def _stop(self) -> None:
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _atEnd(self) -> None:
        if self.status:
            for stream in (self._stdout, self._stderr):
                if stream is not None:
                    with suppress(OSError, ValueError):
                        stream.flush()
            self._exit(self.status)
