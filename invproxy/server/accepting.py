"""
What happens when a connection cannot be accepted, as the process has no file descriptor left.

The bounds of a site are there so that it does not come to this. But descriptors may go elsewhere, to files and to
other code in the process. Twisted then closes what waits to be accepted, with the help of a descriptor that it keeps
for this, and has the log say so two or three times for each; and when that one is gone, too, it tries again and again
without a pause. A L{Doorkeeper} hears of it instead of the log, counts, and in the second case waits before it lets
the port try again.

It leans on attributes of L{tcp.Port} that are not public; where they are missing, all is as Twisted has it.
"""

from __future__ import annotations

import os
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.logger import LogEvent, Logger

from invproxy.errors import OUT_OF_DESCRIPTORS
from invproxy.refusals import Refusals

_REST: Final = 1.0
"""Seconds for which a port rests that could not even turn away who waits."""

_CLOSED: Final = "EMFILE recovery: Closed socket from {address}"
_FAILED: Final = "Could not accept new connection ({acceptError})"

_WHY: Final = (
    "this process has no file descriptor left; those that connect are closed (see ulimit -Hn)"
)


class Doorkeeper:
    """
    Hears of the connections that one port could not accept.
    """

    def __init__(self, port: Any, clock: IReactorTime, refusals: Refusals) -> None:
        """
        @param port: the port.
        @param clock: what tells the time.
        @param refusals: what is told of them.
        """
        self._port = port
        self._clock = clock
        self._refusals = refusals
        self._resting: IDelayedCall | None = None

    def __call__(self, event: LogEvent) -> None:
        """
        Take what the port would have logged; see L{ILogObserver<twisted.logger.ILogObserver>}.
        """
        what = event.get("log_format")
        if what == _CLOSED:
            self._refusals.refuse(OUT_OF_DESCRIPTORS, _WHY)
        elif what == _FAILED and event.get("acceptError") != "ECONNABORTED":
            self._refusals.tell(OUT_OF_DESCRIPTORS, f"{_WHY}: {event.get('acceptError')}")
            self._rest()

    def _rest(self) -> None:
        if self._resting is None:
            self._port.stopReading()
            self._resting = self._clock.callLater(_REST, self._goOn)

    def _goOn(self) -> None:
        self._resting = None
        if not self._port.connected:
            return
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            self._rest()
            return
        tcp._reservedFD.reserve()
        self._port.startReading()


def guardPort(port: IListeningPort, clock: IReactorTime, refusals: Refusals) -> None:
    """
    Watch over a port that listens.

    @param port: the port.
    @param clock: what tells the time.
    @param refusals: what is told of connections that cannot be accepted.
    """
    if isinstance(port, tcp.Port) and hasattr(port, "_logger") and hasattr(tcp, "_reservedFD"):
        port._logger = Logger(
            namespace="invproxy.server",
            observer=Doorkeeper(port, clock, refusals),  # type: ignore[arg-type]
        )
