"""
The contract of stores, run against each of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from invproxy.interfaces import IBackendStore
from invproxy.registry.memory import MemoryStore
from invproxy.registry.records import Backend, Token
from invproxy.test.registrystores import backend, sqliteStore, storeErrorOf, token

if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object


class StoreContract(_Base):
    """
    What every store does. A subclass says how to make one.
    """

    def makeStore(self) -> IBackendStore:
        """
        Make an empty store.
        """
        raise NotImplementedError

    def reopened(self, store: IBackendStore) -> IBackendStore:
        """
        What is there when the server is started again.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        self.store = self.makeStore()
        self.successResultOf(self.store.open())

    def loaded(self) -> tuple[dict[str, Backend], dict[tuple[str, str], Token]]:
        """
        All that the store has, after it was closed and opened again.
        """
        self.store = self.reopened(self.store)
        backends, tokens = self.successResultOf(self.store.load())
        return (
            {each.id: each for each in backends},
            {(each.backend, each.name): each for each in tokens},
        )

    def put(self, *things: Backend | Token) -> None:
        """
        Keep all of these.
        """
        for thing in things:
            if isinstance(thing, Token):
                self.successResultOf(self.store.putToken(thing))
            else:
                self.successResultOf(self.store.putBackend(thing))

    def test_interface(self) -> None:
        """
        It is an L{IBackendStore}.
        """
        verifyObject(IBackendStore, self.store)

    def test_empty(self) -> None:
        """
        A new store has nothing.
        """
        self.assertEqual(self.loaded(), ({}, {}))

    def test_backends(self) -> None:
        """
        Records come back as they were put, whatever is in them.
        """
        records = {
            each.id: each
            for each in (
                backend(),
                backend("a/b@c", endUser="", backendUser="", endUsers=("x", "*@y.z")),
                backend("c", pathPrefixes=("/\u00e9'\"", "/b"), hosts=("a.b", "*.c", "::1")),
                backend("d", endUser="\U0001f600 '; DROP TABLE backends; --", lastUsed=7.25),
            )
        }
        self.put(*records.values())
        self.assertEqual(self.loaded(), (records, {}))

    def test_replace(self) -> None:
        """
        A record takes the place of the one with its ID, but for the last use; tokens stay.
        """
        self.put(backend(), token())
        self.successResultOf(self.store.touch({"web": 50.0}, {}))
        new = backend(endUser="bob", backendUser="x", pathPrefixes=("/x",), endUsers=("y",))
        new = evolve(new, hosts=("z",))
        self.put(evolve(new, lastUsed=1.0))
        self.assertEqual(
            self.loaded(), ({"web": evolve(new, lastUsed=50.0)}, {("web", "ci"): token()})
        )

    def test_delete(self) -> None:
        """
        A record goes, and its tokens with it, nobody else's.
        """
        self.put(backend(), backend("x"), token(), token(name="b"), token("x"))
        self.successResultOf(self.store.deleteBackend("web"))
        self.assertEqual(self.loaded(), ({"x": backend("x")}, {("x", "ci"): token("x")}))
        self.put(backend())
        self.assertNotIn(("web", "ci"), self.loaded()[1])

    def test_deleteNothing(self) -> None:
        """
        What does not exist is deleted without a word.
        """
        self.put(backend(), token())
        self.successResultOf(self.store.deleteBackend("x"))
        self.successResultOf(self.store.deleteToken("x", "ci"))
        self.successResultOf(self.store.deleteToken("web", "x"))
        self.assertEqual(self.loaded(), ({"web": backend()}, {("web", "ci"): token()}))

    def test_tokens(self) -> None:
        """
        Tokens come back as they were put.
        """
        tokens = {
            (each.backend, each.name): each
            for each in (
                token(),
                token(name="long", expires=2000.5, lastUsed=1500.25),
                token("x", digest=bytes(range(32))),
            )
        }
        self.put(backend(), backend("x"), *tokens.values())
        self.assertEqual(self.loaded()[1], tokens)
        self.successResultOf(self.store.deleteToken("web", "ci"))
        del tokens["web", "ci"]
        self.assertEqual(self.loaded()[1], tokens)

    def test_tokenTwice(self) -> None:
        """
        A token never takes the place of another.
        """
        self.put(backend(), token())
        storeErrorOf(self, self.store.putToken(token(digest=b"other")))
        self.assertEqual(self.loaded()[1], {("web", "ci"): token()})

    def test_orphan(self) -> None:
        """
        There is no token without a backend.
        """
        storeErrorOf(self, self.store.putToken(token("nowhere")))
        self.assertEqual(self.loaded(), ({}, {}))

    def test_touch(self) -> None:
        """
        Last uses only grow, and of what does not exist there are none.
        """
        self.put(backend(), backend("x"), token(), token("x"))
        self.successResultOf(self.store.touch({"web": 50.0, "no": 1.0}, {("web", "ci"): 60.0}))
        self.successResultOf(
            self.store.touch({"web": 40.0, "x": 0.5}, {("web", "ci"): 70.0, ("x", "no"): 1.0})
        )
        backends, tokens = self.loaded()
        self.assertEqual(
            {id: each.lastUsed for id, each in backends.items()}, {"web": 50, "x": 0.5}
        )
        self.assertEqual(
            {key: each.lastUsed for key, each in tokens.items()},
            {("web", "ci"): 70.0, ("x", "ci"): None},
        )

    def test_close(self) -> None:
        """
        Closing it twice, or before it was opened, does no harm.
        """
        self.successResultOf(self.makeStore().close())
        self.successResultOf(self.store.close())
        self.successResultOf(self.store.close())


class MemoryStoreTests(StoreContract, SynchronousTestCase):
    """
    L{MemoryStore}.
    """

    def makeStore(self) -> IBackendStore:
        return MemoryStore()

    def reopened(self, store: IBackendStore) -> IBackendStore:
        self.successResultOf(store.close())
        self.successResultOf(store.open())
        return store

    def test_given(self) -> None:
        """
        It may have something from the beginning.
        """
        store = MemoryStore([backend()], [token()])
        self.assertEqual(self.successResultOf(store.load()), ([backend()], [token()]))


class SQLiteStoreTests(StoreContract, SynchronousTestCase):
    """
    L{SQLiteStore <invproxy.registry.sqlite.SQLiteStore>}.
    """

    def makeStore(self) -> IBackendStore:
        self.path = self.mktemp()
        return sqliteStore(self, self.path)

    def reopened(self, store: IBackendStore) -> IBackendStore:
        self.successResultOf(store.close())
        again = sqliteStore(self, self.path)
        self.successResultOf(again.open())
        return again
