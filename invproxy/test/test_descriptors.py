"""
File descriptors: how many are asked for, and how many connections are promised.
"""

from __future__ import annotations

from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from invproxy import agent_tap, descriptors, server_tap
from invproxy.agent.settings import AgentSettings
from invproxy.bound_options import fitInto
from invproxy.descriptors import ENOUGH, raiseLimit, roomFor
from invproxy.proxy.settings import ProxySettings


class LimitTests(SynchronousTestCase):
    """
    The soft limit is raised to the hard one.
    """

    def limits(self, soft: int, hard: int, refuses: type[Exception] | None = None) -> int:
        """
        Raise a limit.

        @return: what is said to be allowed; C{self.set} is what was asked for.
        """
        self.set: list[tuple[int, int]] = []

        def setrlimit(kind: int, limits: tuple[int, int]) -> None:
            if refuses is not None:
                raise refuses
            self.set.append(limits)

        fake = SimpleNamespace(
            RLIM_INFINITY=-1,
            RLIMIT_NOFILE=7,
            getrlimit=lambda kind: (soft, hard),
            setrlimit=setrlimit,
        )
        self.patch(descriptors, "resource", fake)
        return raiseLimit()

    def test_table(self) -> None:
        """
        As far as the system lets us, never down, and not beyond reason.
        """
        for soft, hard, allowed, asked in (
            (1024, 4096, 4096, [(4096, 4096)]),
            (4096, 4096, 4096, []),
            (1024, -1, ENOUGH, [(ENOUGH, -1)]),
            (1024, 1 << 30, ENOUGH, [(ENOUGH, 1 << 30)]),
            (1 << 30, 1 << 30, 1 << 30, []),
            (-1, -1, ENOUGH, []),
        ):
            self.assertEqual(self.limits(soft, hard), allowed)
            self.assertEqual(self.set, asked)

    def test_refused(self) -> None:
        """
        Where it cannot be raised it is what it was.
        """
        for error in (OSError, ValueError):
            self.assertEqual(self.limits(256, -1, error), 256)

    def test_unknown(self) -> None:
        """
        Where nobody knows of limits, there are none.
        """
        self.patch(descriptors, "resource", None)
        self.assertEqual(raiseLimit(), 0)


class FitTests(SynchronousTestCase):
    """
    No more is promised than there is.
    """

    def setUp(self) -> None:
        self.patch(descriptors, "openFiles", lambda: 10)

    def test_room(self) -> None:
        """
        Some are kept for files and the like, and one connection there always is.
        """
        self.assertEqual(
            [roomFor(limit) for limit in (10, 64, 1024, 4096, 1 << 20)],
            [1, 64 - 26, 1024 - 42, 4096 - 138, (1 << 20) - 266],
        )

    def test_proxy(self) -> None:
        """
        A proxy leaves a quarter to agents; who starts it is told if that is less than the option says.
        """
        for limit, most, sockets, isTold in (
            (0, 10000, 0, False),
            (1 << 20, 10000, (1 << 20) - 266, False),
            (4096, 2968, 3958, True),
            (64, 28, 38, True),
        ):
            warnings: list[str] = []
            settings = fitInto(ProxySettings(), limit, warnings)
            self.assertEqual((settings.maxConnections, settings.maxSockets), (most, sockets))
            self.assertEqual(bool(warnings), isTold)
        self.assertEqual(
            warnings,
            [
                "--max-connections is 28 instead of 10000, as this process may have only 64 files open:"
                " raise the hard limit (ulimit -Hn, or LimitNOFILE= of a systemd service), or lower the"
                " option."
            ],
        )

    def test_agent(self) -> None:
        """
        An agent takes a third of them as requests at once.
        """
        options = agent_tap.Options()
        options.parseOptions(["--proxy=http://a", "--backend=b", "--origin=http://c"])
        plan = agent_tap.planOf(options, {})
        usual = AgentSettings().maxExchanges
        for limit, most in ((0, usual), (1 << 20, usual), (1024, (982 - 3) // 3), (10, 1)):
            self.assertEqual(agent_tap.fitInto(plan, limit).settings.maxExchanges, most)

    def test_plan(self) -> None:
        """
        The server's plan has it.
        """
        options = server_tap.Options()
        options.parseOptions([])
        plan = server_tap.planOf(options, {}, None, 1024)
        self.assertEqual(plan.settings.maxSockets, 982)
        self.assertEqual(len([each for each in plan.warnings if "--max-connections" in each]), 1)
