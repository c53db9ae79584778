"""
A proxy with a registry on a network in memory, that finds out who its visitors are.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.defer import Deferred

from invproxy.auth.oidc_settings import OIDCSettings
from invproxy.proxy.endusers import EndUsers, endUsersOf
from invproxy.proxy.root import ProxyResource
from invproxy.proxy.settings import ProxySettings
from invproxy.registry.memory import MemoryStore
from invproxy.registry.records import parseBackend
from invproxy.registry.registry import Registry
from invproxy.test.rawcalls import Bench

PASSWORDS = {"alice@example.com": "wonder", "bob@example.com": "builder", "carol": "c:"}

OIDC = OIDCSettings("https://provider.example", "the-proxy", "the-secret")


def basic(user: str, password: str) -> bytes:
    """
    The line with Basic credentials.
    """
    return b"Authorization: Basic %b\r\n" % b64encode(f"{user}:{password}".encode())


def known(user: str) -> bytes:
    """
    The line with the right ones.
    """
    return basic(user, PASSWORDS[user])


class VisitBench(Bench):
    """
    A proxy that lets in whom its registry knows, and any agent.

    @ivar registry: the registry.
    @ivar endUsers: how end users are found out.
    """

    def __init__(
        self,
        *,
        passwords: bool = True,
        oidc: OIDCSettings | None = None,
        fetcher: Any = None,
        withRegistry: bool = True,
        **options: Any,
    ) -> None:
        """
        @param passwords: whether L{PASSWORDS} count.
        @param oidc: where people sign in.
        @param fetcher: asks the provider.
        @param withRegistry: whether there is one, or open mode.
        @param options: as of L{Bench}.
        """
        self._passwords = passwords
        self._oidc = oidc
        self._fetcher = fetcher
        self._withRegistry = withRegistry
        super().__init__(**options)

    def makeProxy(self, settings: ProxySettings) -> ProxyResource:
        self.registry = Registry(MemoryStore(), self.network)
        self.network.resultOf(self.registry.start())
        checker = InMemoryUsernamePasswordDatabaseDontUse(
            **{name: password.encode() for name, password in PASSWORDS.items()}
        )
        self.endUsers: EndUsers | None = endUsersOf(
            self.network,
            settings,
            checkers=[checker] if self._passwords else [],
            oidc=self._oidc,
            fetcher=self._fetcher,
        )
        return ProxyResource(
            self.network,
            settings,
            registry=self.registry if self._withRegistry else None,
            endUsers=self.endUsers,
        )

    def add(self, id: str, *users: str, paths: tuple[str, ...] = ("/",), hosts: Any = ()) -> None:
        """
        Register a backend, or change it, and have its agent be there.
        """
        record = {
            "id": id,
            "endUser": "",
            "endUsers": list(users),
            "backendUser": "",
            "pathPrefixes": list(paths),
            "hosts": list(hosts),
        }
        change = self.registry.put(parseBackend(record))
        self.network.resultOf(Deferred.fromCoroutine(change))
        self.fetch(b"0", backend=id.encode())

    def remove(self, id: str) -> None:
        """
        Delete a backend.
        """
        self.network.resultOf(Deferred.fromCoroutine(self.registry.delete(id)))

    def signedIn(self, user: str) -> bytes:
        """
        The line with the cookie of a session.
        """
        assert self.endUsers is not None
        sessions = self.endUsers.visitors._sessions
        assert sessions is not None
        return b"Cookie: invproxy=%b\r\n" % sessions.open(user).encode()
