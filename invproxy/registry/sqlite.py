"""
A store in one SQLite file, by L{twisted.enterprise.adbapi}: all of it happens in one thread, over one connection.

Each change is a transaction of its own, which is on the disk when it is acknowledged (a write-ahead log, synchronized
on each commit), so that a crash at any moment loses nothing and leaves nothing half done. The file says by
C{application_id} that it is a registry, and by C{user_version} which version of the schema it has.

A registry has its records in memory, so that a second process on the same file would not see its changes: a lock on a
file beside it keeps others out. Reading the database, as for a backup, is free to all.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from twisted.enterprise.adbapi import Connection, ConnectionPool, Transaction
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from invproxy.errors import StoreError
from invproxy.interfaces import IBackendStore
from invproxy.registry.records import Backend, Token

_T = TypeVar("_T")

APPLICATION_ID = 0x696E7670
"""Tells a registry from other databases: C{invp} in ASCII."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE backends (
            id TEXT NOT NULL PRIMARY KEY,
            endUser TEXT NOT NULL,
            backendUser TEXT NOT NULL,
            pathPrefixes TEXT NOT NULL,  -- this and what follows: JSON arrays of strings
            endUsers TEXT NOT NULL,
            hosts TEXT NOT NULL,
            lastUsed REAL  -- seconds since the epoch, as all times
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE tokens (
            backend TEXT NOT NULL REFERENCES backends (id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            digest BLOB NOT NULL UNIQUE,  -- SHA-256 of the secret
            created REAL NOT NULL,
            expires REAL,
            lastUsed REAL,
            PRIMARY KEY (backend, name)
        ) WITHOUT ROWID
        """,
    ),
)
"""By which statements each version of the schema comes from the one before. What was released is never changed."""

_BUSY = 5.0
"""Seconds to wait for another program that writes."""


class IReactorStore(IReactorCore, IReactorFromThreads):
    """
    What is needed of a reactor here.
    """


@implementer(IBackendStore)
class SQLiteStore:
    """
    Keeps records in a SQLite database.
    """

    def __init__(self, path: str, reactor: IReactorStore) -> None:
        """
        @param path: the file; made if it does not exist, for its owner alone.
        @param reactor: what runs the thread.
        """
        self._path = path
        self._reactor = reactor
        self._pool: ConnectionPool | None = None
        self._lock: int | None = None
        self._file: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"<SQLiteStore {self._path}>"

    def open(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        try:
            self._claim()
            self._pool = ConnectionPool(
                "sqlite3",
                self._path,
                timeout=_BUSY,
                isolation_level=None,  # transactions begin where it is said
                check_same_thread=False,  # closed by the main thread, when the other has ended
                cp_min=1,
                cp_max=1,
                cp_name="registry",
                cp_openfun=_setUp,
                cp_reactor=self._reactor,
            )
            await self._explained(self._pool.runWithConnection(self._prepare))
        except OSError as error:
            await self.close()
            raise StoreError(f"{self._path}: {_explainOS(error)}") from error
        except StoreError:
            await self.close()
            raise

    def close(self) -> Deferred[None]:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        return succeed(None)

    def _claim(self) -> None:
        """
        Keep other servers out, and make the file if there is none.
        """
        if self._lock is None:
            # Closed with this process, whatever ends it; so there is nothing to clean up after a crash.
            lock = f"{os.path.realpath(self._path)}-lock"  # one for all names of the file
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(
                    f"{self._path}: another server uses this database: stop it, or give this one a"
                    " database of its own"
                ) from None
        with suppress(FileExistsError):
            # SQLite gives its files beside it the same mode.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._file = self._identity()

    def _identity(self) -> tuple[int, int]:
        found = os.stat(self._path)
        return found.st_dev, found.st_ino

    # In the thread.

    def _prepare(self, connection: Connection) -> None:
        def ask(pragma: str) -> Any:
            return connection.execute(f"PRAGMA {pragma}").fetchone()[0]

        version = ask("user_version")
        if ask("application_id") != APPLICATION_ID:
            if version or connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
                raise StoreError(
                    f"{self._path}: this is a database of something else: name another file"
                )
        if version > len(MIGRATIONS):
            raise StoreError(
                f"{self._path}: this database is of a newer invproxy (version {version} of its"
                f" schema, this one knows {len(MIGRATIONS)}): install that one, or restore a backup"
            )
        ask("journal_mode = WAL")
        for number in range(version, len(MIGRATIONS)):
            # Each by itself, so that whatever happens there is a version.
            connection.execute("BEGIN IMMEDIATE")
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")

    def _run(self, work: Callable[[Transaction], _T]) -> Deferred[_T]:
        if self._pool is None:
            return fail(StoreError(f"{self._path}: the database is not open"))
        return self._explained(self._pool.runInteraction(work))

    def _write(self, *statements: tuple[str, tuple[object, ...]]) -> Deferred[None]:
        """
        Execute statements, all or none of them.
        """

        def work(transaction: Transaction) -> None:
            self._begin(transaction)
            for statement, parameters in statements:
                transaction.execute(statement, parameters)

        return self._run(work)

    def _begin(self, transaction: Transaction) -> None:
        """
        Begin to write, unless what is written would be lost.
        """
        try:
            isThere = self._identity() == self._file
        except FileNotFoundError:
            isThere = False
        if not isThere:
            raise StoreError(
                f"{self._path}: the file was removed or replaced while in use: restart the server"
            )
        transaction.execute("BEGIN IMMEDIATE")

    def _explained(self, done: Deferred[_T]) -> Deferred[_T]:
        """
        Make a L{StoreError} of whatever SQLite or the system complain about.
        """

        def explain(failure: Failure) -> NoReturn:
            error = failure.value
            if isinstance(error, sqlite3.Error):
                raise StoreError(f"{self._path}: {_explain(error)}") from error
            if isinstance(error, OSError):
                raise StoreError(f"{self._path}: {_explainOS(error)}") from error
            failure.raiseException()

        return done.addErrback(explain)

    # What there is.

    def load(self) -> Deferred[tuple[list[Backend], list[Token]]]:
        def work(transaction: Transaction) -> tuple[list[Backend], list[Token]]:
            transaction.execute("BEGIN")
            transaction.execute(
                "SELECT id, endUser, backendUser, pathPrefixes, endUsers, hosts, lastUsed FROM backends"
            )
            backends = [self._backend(*row) for row in transaction.fetchall()]
            transaction.execute(
                "SELECT backend, name, digest, created, expires, lastUsed FROM tokens"
            )
            return backends, [Token(*row) for row in transaction.fetchall()]

        return self._run(work)

    def _backend(
        self,
        id: str,
        endUser: str,
        backendUser: str,
        pathPrefixes: str,
        endUsers: str,
        hosts: str,
        lastUsed: float | None,
    ) -> Backend:
        def strings(text: str) -> tuple[str, ...]:
            try:
                return tuple(map(str, json.loads(text)))
            except (ValueError, TypeError):
                raise StoreError(
                    f"{self._path}: the record of {id!r} is damaged: restore a backup"
                ) from None

        return Backend(
            id,
            endUser,
            backendUser,
            strings(pathPrefixes),
            strings(endUsers),
            strings(hosts),
            lastUsed,
        )

    def putBackend(self, backend: Backend) -> Deferred[None]:
        lists = (backend.pathPrefixes, backend.endUsers, backend.hosts)
        return self._write(
            (
                "INSERT INTO backends VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " endUser = excluded.endUser, backendUser = excluded.backendUser,"
                " pathPrefixes = excluded.pathPrefixes, endUsers = excluded.endUsers,"
                " hosts = excluded.hosts",
                (
                    backend.id,
                    backend.endUser,
                    backend.backendUser,
                    *map(json.dumps, lists),
                    backend.lastUsed,
                ),
            )
        )

    def deleteBackend(self, id: str) -> Deferred[None]:
        return self._write(("DELETE FROM backends WHERE id = ?", (id,)))

    def putToken(self, token: Token) -> Deferred[None]:
        values = (
            token.backend,
            token.name,
            token.digest,
            token.created,
            token.expires,
            token.lastUsed,
        )
        return self._write(("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)", values))

    def deleteToken(self, backend: str, name: str) -> Deferred[None]:
        return self._write(("DELETE FROM tokens WHERE backend = ? AND name = ?", (backend, name)))

    def touch(
        self, backends: dict[str, float], tokens: dict[tuple[str, str], float]
    ) -> Deferred[None]:
        seen = [(when, id) for id, when in backends.items()]
        used = [(when, *key) for key, when in tokens.items()]

        def work(transaction: Transaction) -> None:
            self._begin(transaction)
            transaction.executemany(_BACKEND_USED, seen)
            transaction.executemany(_CREDENTIAL_USED, used)

        return self._run(work)


_BACKEND_USED = "UPDATE backends SET lastUsed = max(?1, coalesce(lastUsed, ?1)) WHERE id = ?2"
_CREDENTIAL_USED = (
    "UPDATE tokens SET lastUsed = max(?1, coalesce(lastUsed, ?1)) WHERE backend = ?2 AND name = ?3"
)


def _setUp(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


_EXPLANATIONS = {
    sqlite3.SQLITE_READONLY: "the database is read-only: let the user of the server write the file"
    " and its directory",
    sqlite3.SQLITE_FULL: "the disk is full: make room",
    sqlite3.SQLITE_CORRUPT: "the database is damaged: restore a backup",
    sqlite3.SQLITE_NOTADB: "this is not a database: name another file, or restore a backup",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened: see that this is a file, and that the"
    " user of the server may write it and its directory",
    sqlite3.SQLITE_BUSY: "another program holds the database: end it, or wait",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written: see to it",
}
"""What to do, by the primary code of an error (https://www.sqlite.org/rescode.html)."""


def _explain(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0)
    text = _EXPLANATIONS.get(code & 0xFF)
    return str(error) if text is None else f"{text} ({error})"


def _explainOS(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"the database cannot be opened: {error.strerror}{where}"
