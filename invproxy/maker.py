"""
What C{twist} knows of our two commands before they are asked for.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.application.service import ServiceMaker


class CommandMaker(ServiceMaker):
    """
    A command that can be interrupted from the moment it is chosen. Until the reactor runs and
    L{invproxy.lifecycle.Lifecycle} takes the signals over, Ctrl-C would raise L{KeyboardInterrupt} somewhere in a
    second of imports: at best that is shown with a traceback, and it is lost where somebody catches everything.
    """

    @property
    def options(self) -> Callable[[], Any]:
        """
        The class of its options, for which C{twist} asks once the command line has named the command.
        """
        endAtOnce()
        found: Callable[[], Any] = super().options
        return found


def endAtOnce() -> None:
    """
    Have SIGINT end the process as SIGTERM does, without a word, unless somebody ignores or handles it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
