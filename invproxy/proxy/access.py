"""
What lets agents in where there is a registry, and follows its changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from invproxy.auth.agents import RegistryAgents
from invproxy.auth.certificates import Certificates
from invproxy.auth.identity import IVerifier
from invproxy.auth.throttle import Throttle
from invproxy.credential import TOKEN
from invproxy.mailbox import Mailboxes
from invproxy.proxy.links import Links
from invproxy.proxy.polling import Guard
from invproxy.proxy.settings import ProxySettings
from invproxy.registry.registry import Change, Deleted, Registry
from invproxy.tables import Keeper, Table

_SEE_EVERY = 60.0
"""Seconds after which the agents of live links, and their tokens, are noted as seen once more."""


class AgentAccess:
    """
    Lets in whom the registry knows, and cuts off whom it does not know any more.

    @ivar registry: the registry.
    @ivar guard: what the agents' calls ask.
    @ivar links: what is under way in the names of agents.
    """

    def __init__(
        self,
        clock: IReactorTime,
        registry: Registry,
        settings: ProxySettings,
        *,
        verifier: IVerifier | None = None,
        takesCertificates: bool = False,
    ) -> None:
        """
        @param clock: what tells the time.
        @param registry: the registry.
        @param settings: whom to trust.
        @param verifier: understands JWTs, if any count.
        @param takesCertificates: whether certificates count.
        """
        self.registry = registry
        self.links = Links(clock)
        self._throttle = Throttle(clock, name="throttle_agents")
        agents = RegistryAgents(
            registry,
            self._throttle,
            clock,
            verifier=verifier,
            certificates=Certificates() if takesCertificates else None,
            addressOf=settings.approaches().clientOf,
        )
        self.guard = Guard(agents, self.links)
        self._clock = clock
        self._verifier = verifier
        self._mailboxes: Mailboxes | None = None
        self._unobserve: Callable[[], None] | None = None
        self._seeing: IDelayedCall | None = None

    def tables(self) -> list[Table]:
        """
        Tell how full the tables of links and credentials are.
        """
        found = self.links.tables() + self._throttle.tables()
        verifier = cast(object, self._verifier)
        if isinstance(verifier, Keeper):
            found += verifier.tables()
        return found

    def start(self, mailboxes: Mailboxes) -> Deferred[None]:
        """
        Load the registry, and follow its changes.

        @param mailboxes: where the exchanges of its backends wait.
        @return: fires when it was loaded, or could not be for the moment.
        """
        self._mailboxes = mailboxes
        self._unobserve = self.registry.observe(self._changed)
        self._seeing = self._clock.callLater(_SEE_EVERY, self._see)
        if self._verifier is not None:
            self._verifier.start()
        return self.registry.start()

    def stop(self) -> Deferred[None]:
        """
        Take no more notice.

        @return: fires when the registry is closed.
        """
        if self._unobserve is not None:
            self._unobserve()
            self._unobserve = None
        if self._seeing is not None:
            self._seeing.cancel()
            self._seeing = None
        self.links.stop()
        return self.registry.stop()

    def _changed(self, change: Change) -> None:
        self.links.changed(change)
        if isinstance(change, Deleted) and self._mailboxes is not None:
            self._mailboxes.remove(change.backend)

    def _see(self) -> None:
        self._seeing = self._clock.callLater(_SEE_EVERY, self._see)
        for backend, credentials in self.links.credentials().items():
            self.registry.see(backend)
            for credential in credentials:
                if credential.kind == TOKEN:
                    self.registry.useToken(backend, credential.name)
