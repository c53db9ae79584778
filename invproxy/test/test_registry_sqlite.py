"""
The store in a SQLite file: versions, damage, full and read-only disks, and who else is at the file.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from invproxy.registry import sqlite
from invproxy.registry.sqlite import APPLICATION_ID, MIGRATIONS, SQLiteStore
from invproxy.test.registrystores import backend, sqliteStore, storeErrorOf, token


class SQLiteCase(SynchronousTestCase):
    """
    A store that was closed with a record and a token in it.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        store = self.opened()
        self.successResultOf(store.putBackend(backend()))
        self.successResultOf(store.putToken(token()))
        self.successResultOf(store.close())

    def opened(self) -> SQLiteStore:
        """
        Open the file.
        """
        store = sqliteStore(self, str(self.path))
        self.successResultOf(store.open())
        return store

    def refusal(self) -> str:
        """
        Fail to open the file: why. It can be tried again with the same result, and leaves nothing open.
        """
        store = sqliteStore(self, str(self.path))
        text = storeErrorOf(self, store.open())
        self.assertEqual(storeErrorOf(self, store.open()), text)
        self.assertTrue(text.startswith(f"{self.path}: "), text)
        self.assertEqual((store._pool, store._lock), (None, None))
        return text

    def sql(self, *statements: str) -> Any:
        """
        Execute statements from outside.

        @return: the rows of the last one.
        """
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            for statement in statements:
                rows = connection.execute(statement).fetchall()
            return rows
        finally:
            connection.close()

    def inside(self, store: SQLiteStore, statement: str) -> Any:
        """
        Execute a statement on the store's own connection.

        @return: its rows.
        """
        return self.successResultOf(store._run(lambda t: t.execute(statement).fetchall()))

    def assertWhole(self, store: SQLiteStore, *ids: str) -> None:
        """
        The store has the record and the token, and these records besides.
        """
        backends, tokens = self.successResultOf(store.load())
        self.assertEqual({each.id for each in backends}, {"web", *ids})
        self.assertEqual(tokens, [token()])


class FileTests(SQLiteCase):
    """
    The file.
    """

    def test_mode(self) -> None:
        """
        It is for its owner alone, and so is what SQLite keeps beside it.
        """
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.path = Path(self.mktemp())
        store = self.opened()
        self.successResultOf(store.putBackend(backend()))
        modes = {
            path.name.removeprefix(self.path.name): path.stat().st_mode & 0o777
            for path in self.path.parent.glob(f"{self.path.name}*")
        }
        self.assertEqual(modes, dict.fromkeys(("", "-lock", "-wal", "-shm"), 0o600))

    def test_durable(self) -> None:
        """
        What is acknowledged is on the disk; and the file says what it is.
        """
        store = self.opened()
        for pragma, value in (
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("foreign_keys", 1),
            ("application_id", APPLICATION_ID),
            ("user_version", len(MIGRATIONS)),
        ):
            self.assertEqual(self.inside(store, f"PRAGMA {pragma}"), [(value,)], pragma)

    def test_noDirectory(self) -> None:
        """
        Nowhere to make the file.
        """
        self.path /= "nowhere/registry"
        self.assertIn("Not a directory", self.refusal())
        self.path = Path(self.mktemp()) / "registry"
        self.assertIn("No such file or directory", self.refusal())
        self.path.parent.mkdir()
        self.opened()

    def test_directory(self) -> None:
        """
        A directory instead of a file.
        """
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.assertIn("see that this is a file", self.refusal())

    def asNobody(self) -> None:
        """
        Give the file, in a directory of its own, to somebody who is not root, and be that until the test ends.
        """
        directory = Path(mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        self.path = Path(shutil.move(self.path, directory / "registry"))
        if os.geteuid() == 0:
            os.chown(directory, 65534, -1)
            os.chown(self.path, 65534, -1)
            os.seteuid(65534)
            self.addCleanup(os.seteuid, 0)

    def test_readOnlyFile(self) -> None:
        """
        A file that may not be written serves those who read, and says so to who writes.
        """
        self.asNobody()
        self.path.chmod(0o400)
        store = self.opened()
        self.assertWhole(store)
        self.assertIn("read-only", storeErrorOf(self, store.putBackend(backend("x"))))

    def test_readOnlyDirectory(self) -> None:
        """
        A directory that may not be written.
        """
        self.asNobody()
        self.path.parent.chmod(0o500)
        self.addCleanup(self.path.parent.chmod, 0o700)
        self.assertIn("Permission denied", self.refusal())

    def test_unreadable(self) -> None:
        """
        A file that may not even be read.
        """
        self.asNobody()
        self.path.chmod(0)
        self.assertIn("the user of the server may write it", self.refusal())

    def test_removed(self) -> None:
        """
        Nothing is acknowledged that goes into a file which is not there any more, or that was replaced.
        """
        store = self.opened()
        self.path.rename(f"{self.path}.away")
        self.assertIn("restart", storeErrorOf(self, store.putBackend(backend("x"))))
        self.path.touch()
        for change in (
            store.putBackend(backend("x")),
            store.deleteBackend("web"),
            store.putToken(token(name="x")),
            store.deleteToken("web", "ci"),
            store.touch({"web": 1.0}, {}),
        ):
            self.assertIn("restart", storeErrorOf(self, change))
        Path(f"{self.path}.away").rename(self.path)
        self.successResultOf(store.putBackend(backend("x")))
        self.assertWhole(store, "x")


class VersionTests(SQLiteCase):
    """
    Databases of other versions, and of others.
    """

    def test_newer(self) -> None:
        """
        What a newer version wrote is left alone.
        """
        newer = len(MIGRATIONS) + 1
        self.sql(f"PRAGMA user_version = {newer}")
        before = self.path.read_bytes()
        self.assertIn(f"newer invproxy (version {newer} of its schema", self.refusal())
        self.assertEqual(self.path.read_bytes(), before)

    def test_foreign(self) -> None:
        """
        What is something else's is left alone, with and without a version of its own.
        """
        for statements in (
            ("CREATE TABLE backends (id)",),
            ("CREATE TABLE x (id)", "PRAGMA user_version = 1"),
            ("PRAGMA user_version = 1",),
            ("CREATE TABLE x (id)", "PRAGMA application_id = 7"),
        ):
            self.path = Path(self.mktemp())
            self.sql(*statements)
            before = self.path.read_bytes()
            self.assertIn("a database of something else", self.refusal())
            self.assertEqual(self.path.read_bytes(), before)

    def test_migration(self) -> None:
        """
        What an older version wrote is brought up to date, once, and keeps what it has.
        """
        self.patch(
            sqlite,
            "MIGRATIONS",
            (
                *MIGRATIONS,
                ("ALTER TABLE backends ADD COLUMN note TEXT", "CREATE TABLE more (id)"),
                ("INSERT INTO more SELECT id FROM backends",),
            ),
        )
        for _ in range(2):
            store = self.opened()
            self.assertWhole(store)
            self.successResultOf(store.close())
        self.assertEqual(self.sql("SELECT * FROM more"), [("web",)])
        self.assertEqual(self.sql("PRAGMA user_version"), [(len(MIGRATIONS) + 2,)])

    def test_brokenMigration(self) -> None:
        """
        A step that fails half-way leaves the version before it, so that the next attempt begins there.
        """
        steps = (*MIGRATIONS, ("CREATE TABLE one (id)",))
        self.patch(
            sqlite, "MIGRATIONS", (*steps, ("CREATE TABLE two (id)", "CREATE TABLE one (id)"))
        )
        self.assertIn("table one already exists", self.refusal())
        self.assertEqual(self.sql("PRAGMA user_version"), [(len(MIGRATIONS) + 1,)])
        self.assertEqual(self.sql("SELECT 1 FROM sqlite_schema WHERE name = 'two'"), [])
        self.patch(sqlite, "MIGRATIONS", (*steps, ("CREATE TABLE two (id)",)))
        self.assertWhole(self.opened())


class DamageTests(SQLiteCase):
    """
    Files that are not what they should be.
    """

    def test_notADatabase(self) -> None:
        """
        A file of something else is left alone.
        """
        self.path.write_bytes(b"[server]\n" * 500)
        self.assertIn("this is not a database", self.refusal())
        self.assertEqual(self.path.read_bytes(), b"[server]\n" * 500)

    def test_damagedPages(self) -> None:
        """
        A database whose pages were overwritten, or that was cut.
        """
        self.sql("PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA journal_mode = DELETE")
        whole = self.path.read_bytes()
        for damaged in (
            whole[:4096] + os.urandom(len(whole) - 4096),
            whole[: len(whole) - 4096],
            whole[:4096],
        ):
            self.path.write_bytes(damaged)
            store = sqliteStore(self, str(self.path))
            opened: list[Any] = []
            store.open().addBoth(opened.append)
            text = str(opened[0].value) if opened[0] else storeErrorOf(self, store.load())
            self.assertIn("the database is damaged: restore a backup", text)
            self.successResultOf(store.close())

    def test_damagedRecord(self) -> None:
        """
        A record that cannot be understood is named.
        """
        for text in ("nonsense", "7", "{", ""):
            self.sql(f"UPDATE backends SET hosts = '{text}'")  # noqa: S608  (from the line above)
            store = self.opened()
            self.assertIn("record of 'web' is damaged", storeErrorOf(self, store.load()))
            self.successResultOf(store.close())


class TroubleTests(SQLiteCase):
    """
    Trouble while in use.
    """

    def test_fullDisk(self) -> None:
        """
        A change that finds no room changes nothing, all that was acknowledged is there, and when there is room it goes
        on.
        """
        store = self.opened()
        [(pages,)] = self.inside(store, "PRAGMA page_count")
        self.inside(store, f"PRAGMA max_page_count = {pages + 2}")
        done: list[str] = []
        while True:
            id = f"b{len(done)}"
            outcome: list[Any] = []
            big = tuple(f"/{number}/{'x' * 200}" for number in range(20))
            store.putBackend(backend(id, pathPrefixes=big)).addBoth(outcome.append)
            if outcome[0] is not None:
                break
            done.append(id)
        self.assertIn("the disk is full: make room", str(outcome[0].value))
        self.assertWhole(store, *done)
        self.assertWhole(self.reopened(store), *done)

    def reopened(self, store: SQLiteStore) -> SQLiteStore:
        """
        As after a restart, with room again.
        """
        self.successResultOf(store.close())
        store = self.opened()
        self.successResultOf(store.putBackend(backend("b0")))
        return store

    def test_readOnly(self) -> None:
        """
        A change where nothing can be written.
        """
        store = self.opened()
        self.inside(store, "PRAGMA query_only = ON")
        self.assertIn("the database is read-only", storeErrorOf(self, store.deleteBackend("web")))
        self.assertIn(
            "the database is read-only", storeErrorOf(self, store.touch({"web": 1.0}, {}))
        )
        self.assertWhole(store)
        self.inside(store, "PRAGMA query_only = OFF")
        self.successResultOf(store.putBackend(backend("x")))
        self.assertWhole(store, "x")

    def test_anotherServer(self) -> None:
        """
        A second server is kept off the file until the first ends: neither would see what the other changes.
        """
        first = self.opened()
        self.assertIn("another server uses this database", self.refusal())
        self.successResultOf(first.close())
        self.assertWhole(self.opened())

    def test_anotherName(self) -> None:
        """
        Likewise if it calls the file by another name.
        """
        self.opened()
        name = Path(self.mktemp())
        name.symlink_to(self.path.absolute())
        self.path = name
        self.assertIn("another server uses this database", self.refusal())

    def test_reader(self) -> None:
        """
        Others may read while the server runs, as for a backup.
        """
        store = self.opened()
        self.successResultOf(store.putBackend(backend("x")))
        self.assertEqual(self.sql("SELECT id FROM backends ORDER BY id"), [("web",), ("x",)])
        self.successResultOf(store.putBackend(backend("y")))

    def test_writer(self) -> None:
        """
        Somebody who holds the database for long is waited for, but not for ever.
        """
        self.patch(sqlite, "_BUSY", 0.01)
        store = self.opened()
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        self.assertIn("another program holds", storeErrorOf(self, store.putBackend(backend("x"))))
        self.assertWhole(store)
        other.execute("ROLLBACK")
        self.successResultOf(store.putBackend(backend("x")))
        self.assertWhole(store, "x")

    def test_notOpen(self) -> None:
        """
        A store that was not opened, or closed, says so.
        """
        store = sqliteStore(self, str(self.path))
        self.assertIn("not open", storeErrorOf(self, store.load()))
        self.assertIn("not open", storeErrorOf(self, store.putBackend(backend("x"))))
        self.assertIn(str(self.path), repr(store))

    def test_bugsAreNotHidden(self) -> None:
        """
        What is neither SQLite's trouble nor the system's is not made to look as if it were.
        """
        store = self.opened()
        self.failureResultOf(store._run(lambda transaction: 1 // 0), ZeroDivisionError)
