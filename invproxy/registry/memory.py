"""
A store that forgets everything when the process ends: for tests, and for applications that know their backends.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from invproxy.errors import StoreError
from invproxy.interfaces import IBackendStore
from invproxy.registry.records import Backend, Token


@implementer(IBackendStore)
class MemoryStore:
    """
    Keeps records in memory.

    @ivar failure: what every call fails with, in tests of what then happens; L{None} as long as all is well.
    """

    def __init__(self, backends: Iterable[Backend] = (), tokens: Iterable[Token] = ()) -> None:
        """
        @param backends: what there is from the beginning.
        @param tokens: likewise; each of one of the backends.
        """
        self.failure: StoreError | None = None
        self._backends = {backend.id: backend for backend in backends}
        self._tokens = {(token.backend, token.name): token for token in tokens}

    def open(self) -> Deferred[None]:
        return fail(self.failure) if self.failure else succeed(None)

    def close(self) -> Deferred[None]:
        return succeed(None)

    def load(self) -> Deferred[tuple[list[Backend], list[Token]]]:
        if self.failure:
            return fail(self.failure)
        return succeed((list(self._backends.values()), list(self._tokens.values())))

    def putBackend(self, backend: Backend) -> Deferred[None]:
        if self.failure:
            return fail(self.failure)
        former = self._backends.get(backend.id)
        lastUsed = former.lastUsed if former else backend.lastUsed
        self._backends[backend.id] = evolve(backend, lastUsed=lastUsed)
        return succeed(None)

    def deleteBackend(self, id: str) -> Deferred[None]:
        if self.failure:
            return fail(self.failure)
        self._backends.pop(id, None)
        for key in [key for key in self._tokens if key[0] == id]:
            del self._tokens[key]
        return succeed(None)

    def putToken(self, token: Token) -> Deferred[None]:
        if self.failure:
            return fail(self.failure)
        key = (token.backend, token.name)
        if token.backend not in self._backends:
            return fail(StoreError(f"there is no backend {token.backend} for a token"))
        if key in self._tokens:
            return fail(StoreError(f"there is a token {token.name} of {token.backend} already"))
        self._tokens[key] = token
        return succeed(None)

    def deleteToken(self, backend: str, name: str) -> Deferred[None]:
        if self.failure:
            return fail(self.failure)
        self._tokens.pop((backend, name), None)
        return succeed(None)

    def touch(
        self, backends: dict[str, float], tokens: dict[tuple[str, str], float]
    ) -> Deferred[None]:
        if self.failure:
            return fail(self.failure)
        for id, when in backends.items():
            if (backend := self._backends.get(id)) is not None:
                self._backends[id] = evolve(backend, lastUsed=max(when, backend.lastUsed or when))
        for key, when in tokens.items():
            if (token := self._tokens.get(key)) is not None:
                self._tokens[key] = evolve(token, lastUsed=max(when, token.lastUsed or when))
        return succeed(None)
