"""
What a proxy is made of that asks its visitors who they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import field, frozen
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.interfaces import IReactorTime

from invproxy.auth.oidc_settings import OIDCSettings
from invproxy.auth.sessions import Sessions
from invproxy.auth.throttle import FairThrottle
from invproxy.auth.visitors import Visitors
from invproxy.proxy.settings import ProxySettings
from invproxy.proxy.streams import StreamResource
from invproxy.tables import Keeper, Table

if TYPE_CHECKING:
    from invproxy.auth.fetching import Fetcher


@frozen
class EndUsers:
    """
    How end users are found out.

    @ivar visitors: finds them out.
    @ivar pages: where they sign in and out, by paths; none if they cannot.
    @ivar sessions: those of people who have signed in; L{None} if they cannot.
    """

    visitors: Visitors
    pages: Mapping[bytes, StreamResource] = field(factory=dict)
    sessions: Sessions | None = None

    def tables(self) -> list[Table]:
        """
        Tell how full the tables of their credentials and sessions are.
        """
        found = self.visitors.tables()
        for page in self.pages.values():
            if isinstance(page, Keeper):
                found += page.tables()
        return found


def endUsersOf(
    clock: IReactorTime,
    settings: ProxySettings,
    *,
    checkers: Sequence[ICredentialsChecker] = (),
    oidc: OIDCSettings | None = None,
    fetcher: Fetcher | None = None,
) -> EndUsers | None:
    """
    Make what finds out end users.

    @param clock: what tells the time; the reactor.
    @param settings: whom to trust.
    @param checkers: check names and passwords.
    @param oidc: the provider where people sign in, if there is one.
    @param fetcher: asks it; by default over the network.
    @return: L{None} if there is nothing but what trusted proxies say.
    """
    if not checkers and oidc is None:
        return None
    sessions = Sessions(clock) if oidc is not None else None
    visitors = Visitors(
        clock,
        FairThrottle(clock, name="throttle_visitors"),
        approaches=settings.approaches(),
        checkers=checkers,
        sessions=sessions,
        userHeader=settings.userHeader,
    )
    if oidc is None or sessions is None:
        return EndUsers(visitors)
    # Costly to import, and only for those who need it.
    from invproxy.auth.fetching import Fetcher
    from invproxy.auth.oidc import Provider
    from invproxy.proxy.signin import pagesOf

    fetcher = fetcher or Fetcher(clock, authorities=oidc.authorities)
    provider = Provider(clock, fetcher, oidc)
    return EndUsers(visitors, pagesOf(clock, visitors, sessions, provider), sessions)
