"""
A registry on a store that answers when the test says so.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from invproxy.errors import StoreError
from invproxy.registry.memory import MemoryStore
from invproxy.registry.records import Backend, Token
from invproxy.registry.registry import Change, Registry
from invproxy.test.registrystores import backend, token

NOW = 1_800_000_000.0

FULL = StoreError("registry.sqlite: the disk is full: make room")


@define
class Held:
    """
    A call of a store that has not been answered.
    """

    name: str
    arguments: tuple[Any, ...]
    deferred: Deferred[Any] = field(factory=Deferred)


class HeldStore(MemoryStore):
    """
    A store that answers when the test says so.

    @ivar holds: whether it waits for that; otherwise it answers at once.
    @ivar calls: the calls that wait.
    """

    holds = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.calls: list[Held] = []
        self.log: list[str] = []

    def _call(self, name: str, *arguments: Any) -> Deferred[Any]:
        self.log.append(name)
        if not self.holds:
            return getattr(MemoryStore, name)(self, *arguments)  # type: ignore[no-any-return]
        held = Held(name, arguments)
        self.calls.append(held)
        return held.deferred

    def answer(self) -> str:
        """
        Carry out the call that has waited longest.

        @return: which it was.
        """
        held = self.calls.pop(0)
        getattr(MemoryStore, held.name)(self, *held.arguments).chainDeferred(held.deferred)
        return held.name

    def open(self) -> Deferred[None]:
        return self._call("open")

    def close(self) -> Deferred[None]:
        self.log.append("close")
        return succeed(None)

    def load(self) -> Deferred[tuple[list[Backend], list[Token]]]:
        return self._call("load")

    def putBackend(self, backend: Backend) -> Deferred[None]:
        return self._call("putBackend", backend)

    def deleteBackend(self, id: str) -> Deferred[None]:
        return self._call("deleteBackend", id)

    def putToken(self, token: Token) -> Deferred[None]:
        return self._call("putToken", token)

    def deleteToken(self, backend: str, name: str) -> Deferred[None]:
        return self._call("deleteToken", backend, name)

    def touch(
        self, backends: dict[str, float], tokens: dict[tuple[str, str], float]
    ) -> Deferred[None]:
        return self._call("touch", backends, tokens)


class RegistryCase(SynchronousTestCase):
    """
    A registry with one backend, which has one token.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store = HeldStore([backend()], [token()])
        self.registry = Registry(self.store, self.clock, jitter=lambda: 1.0)
        self.changes: list[Change] = []
        self.registry.observe(self.changes.append)
        self.logged: list[dict[str, Any]] = []
        note = cast(ILogObserver, self.note)
        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)

    def note(self, event: dict[str, Any]) -> None:
        """
        Keep what the registry logs.
        """
        if event.get("log_namespace") == "invproxy.registry":
            self.logged.append(event)

    def start(self) -> None:
        """
        Load what the store has.
        """
        self.successResultOf(self.registry.start())

    def begin(self, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """
        Begin a change.
        """
        return Deferred.fromCoroutine(work)

    def done(self, work: Coroutine[Any, Any, Any]) -> Any:
        """
        Make a change that succeeds.

        @return: its outcome.
        """
        return self.successResultOf(self.begin(work))

    def refused(self, work: Coroutine[Any, Any, Any], kind: type[Exception]) -> str:
        """
        Ask for a change that is refused, so that nothing is different.

        @return: the text of the error.
        """
        before = self.state()
        text = str(self.failureResultOf(self.begin(work), kind).value)
        self.assertTrue(text and text.isprintable(), text)
        self.assertEqual(self.state(), before)
        return text

    def state(self) -> object:
        """
        All that is in force, and what was told.
        """
        registry = self.registry
        ids = sorted(registry._backends)
        return (
            [registry._backends[id] for id in ids],
            [sorted(registry._tokens[id].items()) for id in ids],
            sorted(registry._digests),
            sorted(registry._routes._records),
            list(self.changes),
        )

    def find(self, user: str = "ann", path: str = "/") -> str | None:
        """
        Where a user lands.
        """
        found = self.registry.routes.find(user, "example.com", path)
        return None if found is None else found.id

    def stored(self) -> tuple[dict[str, Backend], dict[tuple[str, str], Token]]:
        """
        What the store has.
        """
        return self.store._backends, self.store._tokens
