"""
Commands that are interrupted while they begin.
"""

from __future__ import annotations

import signal
from typing import Any

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from invproxy import agent_tap, server_tap


class CommandMakerTests(SynchronousTestCase):
    """
    L{invproxy.maker.CommandMaker}.
    """

    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
        self.makers = {maker.tapname: maker for maker in getPlugins(IServiceMaker)}

    def handler(self, before: Any, name: str = "invproxy-agent") -> Any:
        """
        What becomes of a handler of SIGINT when a command is chosen.
        """
        signal.signal(signal.SIGINT, before)
        module = {"invproxy-agent": agent_tap, "invproxy-server": server_tap}[name]
        self.assertIs(self.makers[name].options, module.Options)
        return signal.getsignal(signal.SIGINT)

    def test_chosen(self) -> None:
        """
        SIGINT ends either of them at once, without a traceback.
        """
        for name in ("invproxy-agent", "invproxy-server"):
            self.assertEqual(self.handler(signal.default_int_handler, name), signal.SIG_DFL)

    def test_otherwise(self) -> None:
        """
        Unless whoever started it has made other arrangements.
        """

        def handler(number: int, frame: object) -> None:
            pass

        for before in (signal.SIG_IGN, handler):
            self.assertEqual(self.handler(before), before)

    def test_notChosen(self) -> None:
        """
        Nothing changes for those who only look at what there is.
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for maker in getPlugins(IServiceMaker):
            self.assertTrue(maker.description)
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
