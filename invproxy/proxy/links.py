"""
The live links of agents: what is under way in the name of a credential, and is cut when that is not good any more.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from invproxy.credential import TOKEN, Credential
from invproxy.deadlines import Deadlines
from invproxy.registry.registry import Change, Deleted, Revoked
from invproxy.steady import wallOf
from invproxy.tables import Table

_log = Logger(namespace="invproxy.proxy")


_NOTICE = 30.0
"""Seconds before the end of a credential at which its agent is warned."""

_LOOK = 60.0
"""Seconds after which it is looked at again how late it is, as the time of day may have been set meanwhile."""


class _Link:
    """
    One link.
    """

    __slots__ = ("_links", "_warn", "askedAt", "credential", "cut")

    def __init__(
        self,
        links: Links,
        credential: Credential,
        cut: Callable[[str], None],
        warn: Callable[[], None] | None,
    ) -> None:
        self.askedAt = 0.0
        self.credential = credential
        self.cut = cut
        self._links = links
        self._warn = warn

    def forget(self) -> None:
        """
        Take note that it is over.
        """
        self._links.forget(self)

    def checkDeadline(self, now: float) -> float:
        """
        Cut it if its credential has expired.
        """
        left = self._links.timeLeft(self.credential)
        if left <= 0.0:
            self._links.end(self, "these credentials have expired")
            return 0.0
        if self._warn is not None:
            if left > _NOTICE:
                return now + min(left - _NOTICE, _LOOK)
            warn, self._warn = self._warn, None
            warn()
        return now + min(left, _LOOK)


class Links:
    """
    All live links of a proxy: polls that wait, requests and responses on their way through polls, tunnels.
    """

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: what tells when credentials expire.
        """
        self._deadlines = Deadlines(clock)
        self._wall = wallOf(clock)
        self._links: dict[str, dict[_Link, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._links.values()))

    def tables(self) -> list[Table]:
        """
        Tell how many there are; what they are the links of has bounds.
        """
        return [Table("agent_links", len(self))]

    def deadlines(self) -> int:
        """
        Count those that end by themselves.
        """
        return self._deadlines.count()

    def add(
        self,
        credential: Credential,
        cut: Callable[[str], None],
        warn: Callable[[], None] | None = None,
    ) -> Callable[[], None]:
        """
        Take note of a new one.

        @param credential: in whose name it is.
        @param cut: called with the reason, at most once, when the credential is not good any more; it must not raise.
        @param warn: called half a minute before the credential expires, unless that is within a minute, so that its
            agent can come with another one while what is under way still ends well.
        @return: a function that takes note that the link is over.
        """
        left = self.timeLeft(credential)
        if left <= 2 * _NOTICE:
            warn = None
        link = _Link(self, credential, cut, warn)
        found = self._links.get(credential.backend)
        if found is None:
            found = self._links[credential.backend] = {}
        found[link] = None
        if credential.expires is not None:
            soon = left if warn is None else left - _NOTICE
            self._deadlines.watch(link, self._deadlines.seconds() + max(0.0, min(soon, _LOOK)))
        return link.forget

    def timeLeft(self, credential: Credential) -> float:
        """
        Say for how many more seconds a credential is valid.
        """
        return inf if credential.expires is None else credential.expires - self._wall()

    def forget(self, link: _Link) -> None:
        """
        Take note that one is over.
        """
        found = self._links.get(link.credential.backend)
        if found is None or link not in found:
            return
        del found[link]
        if not found:
            del self._links[link.credential.backend]
        if link.askedAt:
            self._deadlines.forget(link)

    def end(self, link: _Link, why: str) -> None:
        """
        Cut one.

        @param why: what its agent is told.
        """
        self.forget(link)
        try:
            link.cut(why)
        except Exception:
            _log.failure("a link of {credential} could not be cut", credential=link.credential)

    def changed(self, change: Change) -> None:
        """
        Cut what a change of the registry leaves without a good credential.
        """
        if isinstance(change, Revoked):
            self._cut(
                change.backend,
                lambda credential: credential.kind == TOKEN and credential.name == change.name,
                "this token was revoked",
            )
        elif isinstance(change, Deleted):
            self._cut(change.backend, lambda credential: True, "this backend is gone")
        else:
            user = change.record.backendUser
            self._cut(
                change.backend,
                lambda credential: credential.kind != TOKEN and credential.name != user,
                "this backend is not yours any more",
            )

    def _cut(self, backend: str, isBad: Callable[[Credential], bool], why: str) -> None:
        bad = [link for link in self._links.get(backend, ()) if isBad(link.credential)]
        for link in bad:
            if link in self._links.get(backend, ()):  # the end of one may have ended another
                self.end(link, why)
        if bad:
            _log.info(
                "{count} links of agents of {backend} cut: {why}",
                count=len(bad),
                backend=backend,
                why=why,
            )

    def credentials(self) -> dict[str, set[Credential]]:
        """
        List in whose names there are links, by backends.
        """
        return {
            backend: {link.credential for link in links} for backend, links in self._links.items()
        }

    def stop(self) -> None:
        """
        Watch nothing any more.
        """
        self._deadlines.stop()
