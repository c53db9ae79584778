"""
The admin endpoint: is the process alive, is it ready, what goes on, and the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Request

from invproxy.admin.answers import Problem, jsonAnswer
from invproxy.admin.audit import Audit
from invproxy.admin.backends import BackendsEndpoint
from invproxy.admin.endpoint import MAX_BODY, At, Branch, Refusing
from invproxy.admin.exchanges import Exchanges
from invproxy.admin.guard import Guard
from invproxy.admin.metrics import Collecting, Exposition
from invproxy.admin.openapi import document
from invproxy.admin.overview import Overview, Places
from invproxy.admin.problems import ProblemOrigin
from invproxy.admin.status import Status
from invproxy.admin.token import AdminToken
from invproxy.auth.throttle import Throttle
from invproxy.census import Census
from invproxy.errors import Fault
from invproxy.interfaces import IOrigin
from invproxy.mailbox import Mailboxes
from invproxy.registry.registry import Registry
from invproxy.resources import ResourceOrigin

_BODY_TIMEOUT = 30.0
"""Seconds for the body of a request."""


class AdminResource(Branch):
    """
    The root of the admin endpoint.
    """

    def __init__(
        self,
        mailboxes: Mailboxes,
        clock: IReactorTime,
        isReady: Callable[[], bool],
        *,
        registry: Registry | None = None,
        token: AdminToken | None = None,
        census: Census | None = None,
        collectors: Sequence[Collecting] = (),
        addresses: Callable[[], Places] = dict,
    ) -> None:
        """
        @param mailboxes: what to tell about.
        @param clock: what tells the time.
        @param isReady: says whether the proxy listens and is not stopping.
        @param registry: what can be changed; L{None} in open mode.
        @param token: who has it may come from anywhere; without one only programs on this machine are let in.
        @param census: counts what the proxy holds.
        @param collectors: what C{/metrics} shows besides, such as the proxy's L{Tally <invproxy.metrics.Tally>}.
        @param addresses: says who is to connect where.
        """
        super().__init__()
        throttle = Throttle(clock, name="throttle_admin")
        self._guard = guard = Guard(token, throttle)
        census = census or Census(mailboxes, clock)
        census.include(throttle)
        status = Status(mailboxes, clock, isReady, registry)
        api = Branch()
        exchanges = Exchanges(mailboxes, census, clock)
        api.putChild(b"exchanges", At(GET=exchanges.show))
        api.putChild(b"status", At(GET=status.status))
        api.putChild(b"openapi.json", At(GET=lambda request: jsonAnswer(document())))
        api.putChild(b"backends", BackendsEndpoint(registry, Audit(guard.credentialOf)))
        self.putChild(b"api", api)
        overview = Overview(status, exchanges, census, addresses)
        self.putChild(b"", At(GET=overview.show))
        self.putChild(b"metrics", At(GET=Exposition(status, census, collectors).show))
        self.putChild(b"healthz", At(GET=status.healthz))
        self.putChild(b"readyz", At(GET=status.readyz))

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """
        Find what is at a path, for those who may use it.
        """
        try:
            self._guard.admit(request)
        except Problem as problem:
            return Refusing(problem)
        except Fault as fault:
            return Refusing(Problem.fromFault(fault))
        return cast(IResource, super().getChildWithDefault(path, request))


def adminOrigin(resource: AdminResource, clock: IReactorTime) -> IOrigin:
    """
    Make of it what our own site serves. Who is not let in is told so at once, before any of the body has come.

    @param resource: the root.
    @param clock: what tells the time.
    """
    # All bodies are JSON, whatever they say: nothing is to be parsed as a form.
    origin = ResourceOrigin(
        resource, clock=clock, maxBody=MAX_BODY, bodyTimeout=_BODY_TIMEOUT, parsesForms=False
    )
    return ProblemOrigin(origin)
