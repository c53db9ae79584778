"""
What goes on: agents, carriers, queues.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from invproxy.admin.answers import Answer, Problem, jsonAnswer, textAnswer
from invproxy.clocks import STATES
from invproxy.mailbox import Mailboxes
from invproxy.registry.registry import Registry


class Status:
    """
    Answers for C{/healthz}, C{/readyz} and C{/api/status}.
    """

    def __init__(
        self,
        mailboxes: Mailboxes,
        clock: IReactorTime,
        isReady: Callable[[], bool],
        registry: Registry | None,
    ) -> None:
        """
        @param mailboxes: what to tell about.
        @param clock: what tells the time.
        @param isReady: says whether the proxy listens and is not stopping.
        @param registry: the registry, if there is one.
        """
        self._mailboxes = mailboxes
        self._clock = clock
        self._isReady = isReady
        self._registry = registry
        self._began = clock.seconds()

    def healthz(self, request: Request) -> Answer:
        """
        Say that the process is alive.
        """
        return textAnswer("ok\n")

    def readyz(self, request: Request) -> Answer:
        """
        Say whether it is of use.

        @raise Problem: if not.
        """
        if not self._isReady():
            raise Problem(503, "not-ready", "the proxy does not listen yet, or is about to stop")
        if self._registry is not None and not self._registry.isLoaded:
            raise Problem(
                503,
                "registry-unavailable",
                "the registry is not loaded yet, or cannot be; the log of the proxy says why",
            )
        return textAnswer("ready\n")

    def status(self, request: Request) -> Answer:
        """
        Tell what is known of each backend.
        """
        return jsonAnswer(self.found())

    def found(self) -> dict[str, Any]:
        """
        Find out what there is to tell, as the members of a JSON object; backends in the order of their IDs.
        """
        now = self._clock.seconds()
        inFlight: dict[str, dict[str, int]] = {}
        for exchange in self._mailboxes.exchanges.values():
            counts = inFlight.setdefault(exchange.mailbox.backend, {})
            name = STATES[exchange.state]
            counts[name] = counts.get(name, 0) + 1
        backends = []
        for mailbox in sorted(self._mailboxes, key=lambda mailbox: mailbox.backend):
            queued, waiting = mailbox.counts()
            backends.append(
                {
                    "id": mailbox.backend,
                    "online": not self._mailboxes.isOffline(mailbox),
                    "secondsSinceSeen": round(max(0.0, now - mailbox.lastSeen()), 3),
                    "tunnels": mailbox.countTakers(),
                    "polls": waiting,
                    "queued": queued,
                    "exchanges": inFlight.get(mailbox.backend, {}),
                }
            )
        return {
            "ready": self._isReady(),
            "uptimeSeconds": round(now - self._began, 3),
            "registry": self._registryState(),
            "backends": backends,
        }

    def absent(self) -> list[str]:
        """
        List registered backends of which no agent has called since the start, in the order of their IDs.
        """
        if self._registry is None or not self._registry.isLoaded:
            return []
        here = {mailbox.backend for mailbox in self._mailboxes}
        return [each.id for each in self._registry.list() if each.id not in here]

    def _registryState(self) -> dict[str, object]:
        registry = self._registry
        if registry is None:
            return {"state": "none"}
        state: dict[str, object] = {"state": "loaded" if registry.isLoaded else "unavailable"}
        if registry.problem:
            state["problem"] = registry.problem
        return state
