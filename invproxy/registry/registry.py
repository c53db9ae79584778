"""
The registry in force: records and tokens in memory, where reading them costs nothing, over a store in which they last.

A change goes to the store first, takes effect here when the store has it, and is acknowledged then. Changes
are made one after another.
What is known of last uses is in memory at once and written now and then, all together.
"""

from __future__ import annotations

import random
import secrets
from bisect import bisect_right
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from invproxy.errors import StoreError
from invproxy.interfaces import IBackendStore
from invproxy.registry.changes import (
    Change,
    Changed,
    Conflict,
    Deleted,
    NoSuchBackend,
    NoSuchToken,
    PreconditionFailed,
    Revoked,
    Unavailable,
)
from invproxy.registry.loading import Loading
from invproxy.registry.records import (
    Backend,
    InvalidRecord,
    Token,
    checkTokenName,
    digestOf,
    etag,
    matchesETag,
    parseBackend,
    renderBackend,
)
from invproxy.registry.routes import RouteTable
from invproxy.registry.turns import Turns
from invproxy.registry.uses import LastUses
from invproxy.steady import wallOf
from invproxy.tables import Table

__all__ = [
    "Change",
    "Changed",
    "Conflict",
    "Deleted",
    "NoSuchBackend",
    "NoSuchToken",
    "PreconditionFailed",
    "Registry",
    "Revoked",
    "Unavailable",
]

_log = Logger(namespace="invproxy.registry")

_T = TypeVar("_T")

SECRET_PREFIX = "ivp_"  # noqa: S105  (what is before the secret)
"""With what every token begins, so that scanners for leaked secrets can tell it."""

_MAX_WAITING = 1000
"""How many changes may wait for the store."""


class Registry:
    """
    Which backends there are, and the tokens of their agents.

    @ivar isLoaded: whether the store could be read yet.
    @ivar problem: what is wrong with the store, in one line, or C{""}.
    """

    def __init__(
        self,
        store: IBackendStore,
        clock: IReactorTime,
        *,
        maxBackends: int = 100_000,
        maxTokens: int = 100,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """
        @param store: where records last.
        @param clock: what tells the time.
        @param maxBackends: how many backends there may be.
        @param maxTokens: how many tokens each may have.
        @param jitter: gives numbers from 0 to 1, by which attempts to load are spread.
        """
        self.isLoaded = False
        self.problem = ""
        self._store = store
        self._wall = wallOf(clock)
        self._maxBackends = maxBackends
        self._maxTokens = maxTokens
        self._backends: dict[str, Backend] = {}
        self._tokens: dict[str, dict[str, Token]] = {}
        self._digests: dict[bytes, Token] = {}
        self._routes = RouteTable()
        self._sorted: list[str] | None = None
        self._turns = Turns()
        self._observers: dict[object, Callable[[Change], None]] = {}
        self._uses = LastUses(store, clock, self._note)
        self._loading = Loading(store, self._adopt, self._loadAgain, clock, jitter)
        self._isStopping = False

    def tables(self) -> list[Table]:
        """
        Tell how many backends there are, how many tokens the one has that has most, and what is remembered besides.
        """
        tokens = max(map(len, self._tokens.values()), default=0)
        return [
            Table("registry_backends", len(self._backends), self._maxBackends),
            Table("registry_tokens", tokens, self._maxTokens),
            *self._routes.tables(),
            *self._uses.tables(),
        ]

    # Life.

    def start(self) -> Deferred[None]:
        """
        Load what the store has. If that fails, it is tried again, later and later, until it succeeds.

        @return: fires when it was loaded, or when the first attempt failed; C{isLoaded} tells which.
        """
        return self._turns.take(self._load)

    async def _load(self) -> None:
        if not self.isLoaded and not self._isStopping:
            self.isLoaded = await self._loading.attempt()
            self.problem = self._loading.problem

    def _loadAgain(self) -> None:
        self._turns.take(self._load).addErrback(_logFailure)

    def _adopt(self, backends: Sequence[Backend], tokens: Sequence[Token]) -> None:
        self._backends = {backend.id: backend for backend in backends}
        self._sorted = None
        self._routes = RouteTable()
        for backend in backends:
            self._routes.add(backend)
        self._tokens = {backend.id: {} for backend in backends}
        self._digests = {}
        for token in tokens:
            self._tokens[token.backend][token.name] = self._digests[token.digest] = token

    def stop(self) -> Deferred[None]:
        """
        Finish the changes that are under way, write what is known of last uses, and close the store.

        @return: fires when it is closed.
        """
        self._isStopping = True
        self._loading.stop()
        return self._turns.take(self._stop)

    async def _stop(self) -> None:
        await self._uses.stop()
        self.isLoaded = False
        self.problem = "the registry was stopped"
        await self._store.close()

    # Reading.

    def _checkLoaded(self) -> None:
        if not self.isLoaded:
            raise Unavailable(self.problem or "the registry is not loaded yet")

    @property
    def routes(self) -> RouteTable:
        """
        Which backend is for whom, and where.

        @raise Unavailable: if the registry is not loaded.
        """
        if not self.isLoaded:
            self._checkLoaded()
        return self._routes

    def get(self, id: str) -> Backend | None:
        """
        Find a record.

        @return: the record, with its last use, or L{None} if there is no such backend.
        @raise Unavailable: if the registry is not loaded.
        """
        if not self.isLoaded:
            self._checkLoaded()
        backend = self._backends.get(id)
        if backend is None:
            return None
        seen = self._uses.backends.get(id)
        return backend if seen is None else evolve(backend, lastUsed=seen)

    def backendUserOf(self, id: str) -> str | None:
        """
        Say who the agents of a backend are; what L{get} says, at a fraction of the cost.

        @return: the C{backendUser} of the record, or L{None} if there is no such backend.
        @raise Unavailable: if the registry is not loaded.
        """
        if not self.isLoaded:
            self._checkLoaded()
        backend = self._backends.get(id)
        return None if backend is None else backend.backendUser

    def list(self, after: str = "", limit: int | None = None) -> Sequence[Backend]:
        """
        List records in the order of their IDs.

        @param after: begin behind this ID.
        @param limit: how many at most.
        @raise Unavailable: if the registry is not loaded.
        """
        self._checkLoaded()
        if self._sorted is None:
            self._sorted = sorted(self._backends)
        begin = bisect_right(self._sorted, after)
        end = None if limit is None else begin + max(limit, 0)
        return [found for id in self._sorted[begin:end] if (found := self.get(id))]

    def tokensOf(self, id: str) -> Sequence[Token]:
        """
        List the tokens of a backend by name, those that have expired too.

        @raise NoSuchBackend: if there is no such backend.
        @raise Unavailable: if the registry is not loaded.
        """
        self._checkLoaded()
        tokens = self._tokens.get(id)
        if tokens is None:
            raise NoSuchBackend(_noBackend(id))
        return [self._withLastUse(tokens[name]) for name in sorted(tokens)]

    def _withLastUse(self, token: Token) -> Token:
        used = self._uses.tokens.get((token.backend, token.name))
        return token if used is None else evolve(token, lastUsed=used)

    def findToken(self, digest: bytes) -> Token | None:
        """
        Find the token that a secret belongs to. What is looked up is a hash of it, so that the time that it takes tells
        nothing about secrets.

        @param digest: L{digestOf<invproxy.registry.records.digestOf>} the secret.
        @return: the token, or L{None} if there is none, or it has expired.
        @raise Unavailable: if the registry is not loaded.
        """
        if not self.isLoaded:
            self._checkLoaded()
        token = self._digests.get(digest)
        if token is None or (token.expires is not None and token.expires <= self._wall()):
            return None
        return token

    # Changing.

    async def put(
        self, record: Backend, *, match: str | None = None, isNew: bool = False
    ) -> Backend | None:
        """
        Create a record, or replace the one with its ID; tokens and last use stay.

        @param record: the record; its C{lastUsed} is ignored.
        @param match: the value of If-Match, if the change is to depend on what is there.
        @param isNew: whether there must be none yet.
        @return: the record in whose place it came, or L{None} if it is new.
        @raise InvalidRecord: if it is not what can be a record.
        @raise PreconditionFailed: if C{match} or C{isNew} does not hold.
        @raise Conflict: if there are as many as there may be.
        @raise Unavailable: if the store did not take it.
        """
        checked = parseBackend(renderBackend(record))
        return await self._change(partial(self._put, checked, match, isNew))

    async def _put(self, record: Backend, match: str | None, isNew: bool) -> Backend | None:
        former = self._checkMatch(record.id, match)
        if isNew and former is not None:
            raise PreconditionFailed(f"there is a backend {record.id!r} already")
        if former is None and len(self._backends) >= self._maxBackends:
            raise Conflict(
                f"there are {self._maxBackends} backends, and may be no more: remove some"
            )
        await self._write(self._store.putBackend(record))
        record = evolve(record, lastUsed=former.lastUsed if former else None)
        self._backends[record.id] = record
        if former is None:
            self._tokens[record.id] = {}
            self._sorted = None
        self._routes.add(record)
        self._tell(Changed(record.id, record, former))
        return former

    async def delete(self, id: str, *, match: str | None = None) -> None:
        """
        Remove a record and its tokens.

        @param match: the value of If-Match, if the change is to depend on what is there.
        @raise NoSuchBackend: if there is none.
        @raise PreconditionFailed: if C{match} does not hold.
        @raise Unavailable: if the store did not take it.
        """
        await self._change(partial(self._delete, id, match))

    async def _delete(self, id: str, match: str | None) -> None:
        if self._checkMatch(id, match) is None:
            raise NoSuchBackend(_noBackend(id))
        await self._write(self._store.deleteBackend(id))
        del self._backends[id]
        for token in self._tokens.pop(id).values():
            self._forgetToken(token)
        self._uses.forgetBackend(id)
        self._sorted = None
        self._routes.remove(id)
        self._tell(Deleted(id))

    async def mintToken(
        self, backend: str, name: str, expires: float | None = None
    ) -> tuple[Token, str]:
        """
        Make a token for the agents of a backend.

        @param backend: the ID of the backend.
        @param name: what is to name the token among those of the backend.
        @param expires: until when it is to be valid, in seconds since the epoch, or L{None} for ever.
        @return: the token, and its secret, which is nowhere else.
        @raise InvalidRecord: if the name cannot name a token, or C{expires} is not in the future.
        @raise NoSuchBackend: if there is no such backend.
        @raise Conflict: if there is a token of this name, or there are as many as there may be.
        @raise Unavailable: if the store did not take it.
        """
        checkTokenName(name)
        if expires is not None and expires <= self._wall():
            raise InvalidRecord("expires", "must be in the future")
        return await self._change(partial(self._mint, backend, name, expires))

    async def _mint(self, backend: str, name: str, expires: float | None) -> tuple[Token, str]:
        self._checkLoaded()
        tokens = self._tokens.get(backend)
        if tokens is None:
            raise NoSuchBackend(_noBackend(backend))
        if name in tokens:
            raise Conflict(
                f"there is a token {name!r} of {backend!r} already:"
                " revoke it first, or choose another name"
            )
        if len(tokens) >= self._maxTokens:
            raise Conflict(
                f"{backend!r} has {len(tokens)} tokens, and may have no more: revoke some"
            )
        secret = SECRET_PREFIX + secrets.token_urlsafe(32)
        created = float(int(self._wall()))
        token = Token(backend, name, digestOf(secret), created, expires)
        await self._write(self._store.putToken(token))
        tokens[name] = self._digests[token.digest] = token
        return token, secret

    async def revokeToken(self, backend: str, name: str) -> None:
        """
        Make a token invalid, at once.

        @raise NoSuchBackend: if there is no such backend.
        @raise NoSuchToken: if it has no such token.
        @raise Unavailable: if the store did not take it; the token is still valid then.
        """
        await self._change(partial(self._revoke, backend, name))

    async def _revoke(self, backend: str, name: str) -> None:
        self._checkLoaded()
        tokens = self._tokens.get(backend)
        if tokens is None:
            raise NoSuchBackend(_noBackend(backend))
        if name not in tokens:
            raise NoSuchToken(f"{backend!r} has no token {name[:100]!r}")
        await self._write(self._store.deleteToken(backend, name))
        self._forgetToken(tokens.pop(name))
        self._tell(Revoked(backend, name))

    def _forgetToken(self, token: Token) -> None:
        del self._digests[token.digest]
        self._uses.forgetToken(token.backend, token.name)

    def _checkMatch(self, id: str, match: str | None) -> Backend | None:
        present = self.get(id)
        tags = () if present is None else (etag(present),)
        if match is not None and not matchesETag(match, tags):
            raise PreconditionFailed(
                f"{id!r} was changed since it was read: read it again, and see what is different"
            )
        return present

    def _change(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> Deferred[_T]:
        """
        Make a change after all that were asked for before it.
        """
        if self._turns.waiting >= _MAX_WAITING:
            return fail(Unavailable("too many changes wait for the store: try again"))
        return self._turns.take(work)

    async def _write(self, written: Deferred[None]) -> None:
        try:
            await written
        except StoreError as error:
            self._note(str(error))
            raise Unavailable(str(error)) from error
        self._note("")

    def _note(self, problem: str) -> None:
        """
        Log what is wrong with the store when that changes, not each time that it is found out.
        """
        if problem != self.problem:
            if problem:
                _log.error("Registry cannot be written: {problem}", problem=problem)
            else:
                _log.info("Registry can be written again.")
        self.problem = problem

    def see(self, id: str) -> None:
        """
        Note that an agent of a backend is there now; nothing happens if there is no such backend.
        """
        if id in self._backends:
            self._uses.seeBackend(id)

    def useToken(self, backend: str, name: str) -> None:
        """
        Note that an agent is there by a token now; nothing happens if there is no such token.
        """
        if name in self._tokens.get(backend, ()):
            self._uses.seeToken(backend, name)

    # Telling.

    def observe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """
        Ask to be told of each change, once it is in force.

        @param callback: called with L{Changed}, L{Deleted} or L{Revoked}; that tokens go with their backend, or expire,
            is not told.
        @return: a function that takes the wish back.
        """
        key = object()
        self._observers[key] = callback
        return lambda: self._observers.pop(key, None) and None

    def _tell(self, change: Change) -> None:
        for key, callback in list(self._observers.items()):
            try:
                if key in self._observers:  # no longer, perhaps, by what another did
                    callback(change)
            except Exception:
                _log.failure("An observer of the registry failed on {change}", change=change)


def _noBackend(id: str) -> str:
    return f"there is no backend {id[:100]!r}"


def _logFailure(failure: Failure) -> None:
    _log.failure("The registry failed", failure=failure)
