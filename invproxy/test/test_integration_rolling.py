"""
Programs that are stopped while a crowd asks: no request that has begun is lost.
"""

from __future__ import annotations

import signal
from collections import Counter
from functools import partial
from time import monotonic

from invproxy.test.crowd import DRAINING, REFUSED, RIGHT, Crowd, Site
from invproxy.test.programs import Agent, IntegrationTestCase, Proxy, eventually, variants

QUIET = ("--access-log", "none")


class Rolling(IntegrationTestCase):
    """
    One program after the other is stopped and started again.

    @cvar transports: how exchanges reach the two agents.
    """

    transports: tuple[str, str]

    def setUp(self) -> None:
        self.site = Site()
        self.addCleanup(self.site.close)
        self.proxy = self.running(Proxy(*QUIET))

    def agent(self, transport: str) -> Agent:
        return self.running(Agent(self.proxy.url, "web", self.site.url, "--transport", transport))

    def more(self, crowd: Crowd, count: int) -> None:
        """
        Wait until so many more requests were answered.
        """
        enough = crowd.outcomes[RIGHT] + count
        eventually(lambda: crowd.outcomes[RIGHT] >= enough, f"{count} more requests")

    def test_agents(self) -> None:
        """
        Two agents of one backend are restarted in turns: every request is answered right.
        """
        agents = [self.agent(transport) for transport in self.transports]
        with Crowd(self.proxy.port, 32) as crowd:
            for number, transport in enumerate(self.transports):
                self.more(crowd, 200)
                agents[number].terminate()
                self.assertEqual(agents[number].waitEnd(), 0)
                agents[number] = self.agent(transport)
            self.more(crowd, 200)
        self.assertEqual(set(crowd.outcomes), {RIGHT}, crowd.outcomes)

    def test_proxy(self) -> None:
        """
        The proxy is stopped, and ends soon; every request is answered, by its answer or with C{draining}, or was never
        begun, as nobody listened any more.
        """
        self.agent(self.transports[0])
        with Crowd(self.proxy.port, 32) as crowd:
            self.more(crowd, 200)
            began = monotonic()
            self.proxy.terminate()
            self.assertEqual(self.proxy.waitEnd(), 0)
            self.assertLess(
                monotonic() - began, 20
            )  # where 30 are given, and two seconds are the rule
            refused = crowd.outcomes[REFUSED]
            eventually(partial(self.isRefused, crowd, refused), "all are refused")
        self.assertLessEqual(set(crowd.outcomes), {RIGHT, DRAINING, REFUSED}, crowd.outcomes)

    def isRefused(self, crowd: Crowd, before: int) -> bool:
        """
        Say whether so many more were refused that each client has come to its end.
        """
        return crowd.outcomes[REFUSED] >= before + 3 * crowd.size


globals().update(
    variants(
        Rolling,
        {
            "Tunnel": {"transports": ("tunnel", "tunnel")},
            "Poll": {"transports": ("poll", "poll")},
            "Mixed": {"transports": ("poll", "tunnel")},
        },
    )
)
del Rolling


class SignalTests(IntegrationTestCase):
    """
    Signals at other times.
    """

    def test_noTime(self) -> None:
        """
        With a drain timeout of 0 what is in flight is cut at once.
        """
        proxy = self.running(Proxy(*QUIET, "--drain-timeout", "0"))
        site = Site()
        self.addCleanup(site.close)
        agent = self.running(Agent(proxy.url, "web", site.url, "--drain-timeout", "0"))
        outcomes: Counter[str] = Counter()
        with Crowd(proxy.port, 16, outcomes=outcomes):
            eventually(lambda: outcomes[RIGHT] > 50, "requests are answered")
            for program in (agent, proxy):
                program.process.send_signal(signal.SIGINT)
                self.assertEqual(program.waitEnd(), 0)
