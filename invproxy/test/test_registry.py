"""
The registry in force: what is acknowledged lasts, what fails changes nothing, and who is told what.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, cast

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from invproxy.errors import StoreError
from invproxy.registry.memory import MemoryStore
from invproxy.registry.records import Backend, InvalidRecord, Token, digestOf, etag
from invproxy.registry.registry import (
    Change,
    Changed,
    Conflict,
    Deleted,
    NoSuchBackend,
    NoSuchToken,
    PreconditionFailed,
    Registry,
    Revoked,
    Unavailable,
)
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


class ReadingTests(RegistryCase):
    """
    What can be asked.
    """

    def test_loaded(self) -> None:
        """
        All that the store has is in force.
        """
        self.assertFalse(self.registry.isLoaded)
        self.start()
        self.assertTrue(self.registry.isLoaded)
        self.assertEqual(self.registry.get("web"), backend())
        self.assertEqual(self.registry.backendUserOf("web"), "vm")
        self.assertEqual(self.registry.list(), [backend()])
        self.assertEqual(self.registry.tokensOf("web"), [token()])
        self.assertEqual(self.registry.findToken(token().digest), token())
        self.assertEqual(self.find(), "web")
        self.assertEqual(self.changes, [])

    def test_nothing(self) -> None:
        """
        What there is not.
        """
        self.start()
        self.assertIsNone(self.registry.get("x"))
        self.assertIsNone(self.registry.backendUserOf("x"))
        self.assertIsNone(self.registry.findToken(digestOf("x")))
        self.assertRaises(NoSuchBackend, self.registry.tokensOf, "x")

    def test_list(self) -> None:
        """
        Records by ID, in pages, also after changes.
        """
        self.start()
        for id in ("c", "a", "b"):
            self.done(self.registry.put(backend(id)))
            self.assertIn(id, [each.id for each in self.registry.list()])
        self.done(self.registry.delete("web"))

        def ids(*arguments: Any) -> list[str]:
            return [each.id for each in self.registry.list(*arguments)]

        self.assertEqual(ids(), ["a", "b", "c"])
        self.assertEqual(ids("", 2), ["a", "b"])
        self.assertEqual(ids("b", 2), ["c"])
        self.assertEqual(ids("aa"), ["b", "c"])
        self.assertEqual(ids("c"), [])
        self.assertEqual(ids("", 0), [])

    def test_tokensByName(self) -> None:
        """
        Tokens by name, those that have expired too.
        """
        self.start()
        for name, expires in (("b", NOW + 10), ("a", None)):
            self.done(self.registry.mintToken("web", name, expires))
        self.clock.advance(20)
        self.assertEqual([each.name for each in self.registry.tokensOf("web")], ["a", "b", "ci"])

    def test_expiry(self) -> None:
        """
        A token is found until it expires.
        """
        self.start()
        made, secret = self.done(self.registry.mintToken("web", "short", NOW + 10))
        self.clock.advance(9.9)
        self.assertEqual(self.registry.findToken(digestOf(secret)), made)
        self.clock.advance(0.1)
        self.assertIsNone(self.registry.findToken(digestOf(secret)))


class ChangingTests(RegistryCase):
    """
    What can be changed.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_create(self) -> None:
        """
        A new record is kept, in force and told, in its canonical form and without a last use of its own.
        """
        new = backend("x", endUser="bob", hosts=("EXAMPLE.com",))
        self.assertIsNone(self.done(self.registry.put(evolve(new, lastUsed=5.0))))
        new = evolve(new, hosts=("example.com",))
        self.assertEqual(self.registry.get("x"), new)
        self.assertEqual(self.stored()[0]["x"], new)
        self.assertEqual(self.find("bob"), "x")
        self.assertEqual(self.registry.tokensOf("x"), [])
        self.assertEqual(self.changes, [Changed("x", new, None)])

    def test_replace(self) -> None:
        """
        A record that comes again takes the place of the former; tokens and last use stay.
        """
        self.registry.see("web")
        new = backend(endUser="bob")
        replaced = self.done(self.registry.put(new))
        self.assertEqual((self.find("ann"), self.find("bob")), (None, "web"))
        self.assertEqual(self.registry.get("web"), evolve(new, lastUsed=NOW))
        self.assertEqual(self.registry.tokensOf("web"), [token()])
        [change] = self.changes
        assert isinstance(change, Changed) and change.former
        self.assertEqual(replaced, change.former)
        self.assertEqual((change.record.endUser, change.former.endUser), ("bob", "ann"))

    def test_replaceUnused(self) -> None:
        """
        A last use that the store told stays, too.
        """
        self.store.touch({"web": 7.0}, {})
        registry = Registry(self.store, self.clock)
        self.successResultOf(registry.start())
        self.done(registry.put(backend(endUser="bob")))
        self.assertEqual(registry.get("web"), backend(endUser="bob", lastUsed=7.0))

    def test_invalid(self) -> None:
        """
        A record that cannot be is refused before the store sees it.
        """
        self.store.log.clear()
        text = self.refused(self.registry.put(backend(pathPrefixes=("x",))), InvalidRecord)
        self.assertIn("pathPrefixes", text)
        self.refused(self.registry.mintToken("web", "a b"), InvalidRecord)
        text = self.refused(self.registry.mintToken("web", "x", NOW), InvalidRecord)
        self.assertEqual(text, "expires: must be in the future")
        self.assertEqual(self.store.log, [])

    def test_match(self) -> None:
        """
        A change that depends on what is there, and on nothing being there.
        """
        tag = etag(backend())
        new = backend(endUser="bob")
        self.refused(self.registry.put(new, match='"x"'), PreconditionFailed)
        self.refused(self.registry.put(backend("x"), match="*"), PreconditionFailed)
        self.refused(self.registry.put(backend("x"), match=tag), PreconditionFailed)
        self.refused(self.registry.delete("web", match='"x"'), PreconditionFailed)
        self.registry.see("web")  # which is no other version
        self.done(self.registry.put(new, match=f'"x", {tag}'))
        self.refused(self.registry.delete("web", match=tag), PreconditionFailed)
        self.done(self.registry.delete("web", match="*"))

    def test_isNew(self) -> None:
        """
        What must be new is refused if somebody else was first, be it but a moment ago.
        """
        self.assertIn(
            "already", self.refused(self.registry.put(backend(), isNew=True), PreconditionFailed)
        )
        self.store.holds = True
        first = self.begin(self.registry.put(backend("x")))
        second = self.begin(self.registry.put(backend("x", endUser="eve"), isNew=True))
        self.store.answer()
        self.assertIsNone(self.successResultOf(first))
        self.failureResultOf(second, PreconditionFailed)

    def test_matchInTurn(self) -> None:
        """
        Of two who change the same version at once, one succeeds.
        """
        self.store.holds = True
        tag = etag(backend())
        first = self.begin(self.registry.put(backend(endUser="bob"), match=tag))
        second = self.begin(self.registry.put(backend(endUser="eve"), match=tag))
        self.assertEqual(len(self.store.calls), 1)
        self.store.answer()
        self.assertEqual(self.successResultOf(first), backend())
        self.failureResultOf(second, PreconditionFailed)
        self.assertEqual(self.find("bob"), "web")

    def test_delete(self) -> None:
        """
        A record goes, and its tokens and uses with it.
        """
        self.registry.see("web")
        self.registry.useToken("web", "ci")
        self.done(self.registry.delete("web"))
        self.assertIsNone(self.registry.get("web"))
        self.assertIsNone(self.registry.findToken(token().digest))
        self.assertRaises(NoSuchBackend, self.registry.tokensOf, "web")
        self.assertIsNone(self.find())
        self.assertEqual(self.stored(), ({}, {}))
        self.assertEqual(self.changes, [Deleted("web")])
        uses = self.registry._uses
        self.assertEqual((uses.backends, uses.tokens), ({}, {}))
        self.done(self.registry.put(backend()))
        self.assertEqual(self.registry.get("web"), backend())
        self.assertEqual(self.registry.tokensOf("web"), [])

    def test_deleteNothing(self) -> None:
        """
        What there is not cannot be deleted.
        """
        self.assertIn("'x'", self.refused(self.registry.delete("x"), NoSuchBackend))

    def test_mint(self) -> None:
        """
        A token's secret is shown once, and only its digest kept.
        """
        made, secret = self.done(self.registry.mintToken("web", "new", NOW + 60))
        self.assertRegex(secret, r"\Aivp_[0-9A-Za-z_-]{43}\Z")
        self.assertEqual(made, Token("web", "new", digestOf(secret), NOW, NOW + 60))
        self.assertEqual(self.registry.findToken(digestOf(secret)), made)
        self.assertEqual(self.stored()[1]["web", "new"], made)
        self.assertNotIn(secret, repr(self.stored()))
        _, other = self.done(self.registry.mintToken("web", "other"))
        self.assertNotEqual(secret, other)

    def test_mintRefused(self) -> None:
        """
        A name that is taken, a backend that there is not, or too many.
        """
        self.assertIn("'ci'", self.refused(self.registry.mintToken("web", "ci"), Conflict))
        self.refused(self.registry.mintToken("x", "ci"), NoSuchBackend)
        self.registry._maxTokens = 1
        text = self.refused(self.registry.mintToken("web", "more"), Conflict)
        self.assertIn("revoke some", text)

    def test_tooManyBackends(self) -> None:
        """
        There may be so many backends; those that there are can be changed all the same.
        """
        self.registry._maxBackends = 1
        text = self.refused(self.registry.put(backend("x")), Conflict)
        self.assertIn("remove some", text)
        self.done(self.registry.put(backend(endUser="bob")))

    def test_revoke(self) -> None:
        """
        A token that was revoked is not found any more, and others are.
        """
        _, secret = self.done(self.registry.mintToken("web", "new"))
        self.done(self.registry.revokeToken("web", "ci"))
        self.assertIsNone(self.registry.findToken(token().digest))
        self.assertIsNotNone(self.registry.findToken(digestOf(secret)))
        self.assertEqual(set(self.stored()[1]), {("web", "new")})
        self.assertEqual(self.changes, [Revoked("web", "ci")])
        self.refused(self.registry.revokeToken("web", "ci"), NoSuchToken)
        self.refused(self.registry.revokeToken("x", "new"), NoSuchBackend)
        self.done(self.registry.mintToken("web", "ci"))

    def test_storeFirst(self) -> None:
        """
        Nothing is in force, told or acknowledged before the store has it.
        """
        self.store.holds = True
        before = self.state()
        for work in (
            self.registry.put(backend("x")),
            self.registry.mintToken("web", "new"),
            self.registry.revokeToken("web", "ci"),
            self.registry.delete("web"),
        ):
            outcome = self.begin(work)
            self.assertNoResult(outcome)
            self.assertEqual(self.state(), before)
            self.store.answer()
            self.successResultOf(outcome)
            self.assertNotEqual(self.state(), before)
            before = self.state()

    def test_inTurn(self) -> None:
        """
        Changes are made one after another, in the order in which they were asked for.
        """
        self.store.holds = True
        deleted = self.begin(self.registry.delete("web"))
        put = self.begin(self.registry.put(backend(endUser="bob")))
        minted = self.begin(self.registry.mintToken("web", "ci"))
        answered = [self.store.answer() for _ in range(3)]
        self.assertEqual(answered, ["deleteBackend", "putBackend", "putToken"])
        for outcome in (deleted, put, minted):
            self.successResultOf(outcome)
        self.assertEqual([type(change) for change in self.changes], [Deleted, Changed])

    def test_cancelled(self) -> None:
        """
        Whoever asked for a change may go away: it is brought to its end, so that memory and store agree.
        """
        self.store.holds = True
        outcome = self.begin(self.registry.delete("web"))
        waiting = self.begin(self.registry.put(backend("x")))
        for each in (outcome, waiting):
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.assertIsNotNone(self.registry.get("web"))
        self.store.answer()
        self.assertIsNone(self.registry.get("web"))
        self.store.answer()
        self.assertEqual(self.registry.list(), [backend("x")])
        self.assertEqual(len(self.changes), 2)

    def test_tooManyWait(self) -> None:
        """
        A store that hangs does not gather changes without end, and stopping is still in line.
        """
        self.store.holds = True
        outcomes = [self.begin(self.registry.put(backend("x"))) for _ in range(1000)]
        text = self.refused(self.registry.put(backend("x")), Unavailable)
        self.assertIn("too many", text)
        stopped = self.registry.stop()
        for _ in range(1000):
            self.store.answer()
        for outcome in outcomes:
            self.successResultOf(outcome)
        self.successResultOf(stopped)

    def test_storeFails(self) -> None:
        """
        A change that the store does not take is not in force; the log says once what is wrong, and when that is over.
        """
        self.store.failure = FULL
        for work in (
            self.registry.put(backend("x")),
            self.registry.put(backend(endUser="bob")),
            self.registry.delete("web"),
            self.registry.mintToken("web", "new"),
            self.registry.revokeToken("web", "ci"),
        ):
            self.assertEqual(self.refused(work, Unavailable), str(FULL))
        self.assertEqual(self.registry.problem, str(FULL))
        self.assertEqual(self.find(), "web")
        self.store.failure = None
        self.done(self.registry.put(backend("x")))
        self.assertEqual(self.registry.problem, "")
        self.assertEqual(
            [event["log_level"] for event in self.logged], [LogLevel.error, LogLevel.info]
        )
        self.assertIn(str(FULL), self.logged[0]["log_format"].format(**self.logged[0]))

    def test_bug(self) -> None:
        """
        An error that no store should make goes to who asked, and the next change is made.
        """
        self.store.failure = ZeroDivisionError()  # type: ignore[assignment]
        self.failureResultOf(self.begin(self.registry.put(backend("x"))), ZeroDivisionError)
        self.store.failure = None
        self.done(self.registry.put(backend("x")))


class ObserverTests(RegistryCase):
    """
    Who is told of changes.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_inForce(self) -> None:
        """
        What is told is in force already, and not acknowledged yet.
        """
        seen: list[object] = []
        self.registry.observe(lambda change: seen.append(self.registry.findToken(token().digest)))
        self.registry.observe(lambda change: seen.append(outcome))
        outcome = None
        outcome = self.done(self.registry.revokeToken("web", "ci"))
        self.assertEqual(seen, [None, None])

    def test_unobserve(self) -> None:
        """
        Who does not want it any more is not told, even in the middle of telling; nothing comes of saying so twice.
        """
        seen: list[Change] = []
        self.registry.observe(lambda change: unobserve())
        unobserve = self.registry.observe(seen.append)
        self.registry.observe(seen.append)
        self.done(self.registry.revokeToken("web", "ci"))
        unobserve()
        self.assertEqual(seen, [Revoked("web", "ci")])

    def test_failing(self) -> None:
        """
        An observer that fails is logged; others are told, and the change stands.
        """
        seen: list[Change] = []
        self.registry.observe(lambda change: 1 // 0)  # type: ignore[arg-type]
        self.registry.observe(seen.append)
        self.done(self.registry.delete("web"))
        self.assertEqual(seen, [Deleted("web")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class LastUseTests(RegistryCase):
    """
    What is known of last uses.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()
        self.store.log.clear()

    def touches(self) -> int:
        """
        How often last uses were written.
        """
        return self.store.log.count("touch")

    def test_atOnce(self) -> None:
        """
        A use shows at once.
        """
        self.clock.advance(5)
        self.registry.see("web")
        self.registry.useToken("web", "ci")
        self.assertEqual(self.registry.get("web"), backend(lastUsed=NOW + 5))
        self.assertEqual(self.registry.list(), [backend(lastUsed=NOW + 5)])
        self.assertEqual(self.registry.tokensOf("web"), [token(lastUsed=NOW + 5)])

    def test_written(self) -> None:
        """
        Uses are written together, ten seconds after the first; without any, nothing is.
        """
        self.registry.see("web")
        self.clock.advance(5)
        self.registry.see("web")
        self.registry.useToken("web", "ci")
        self.clock.advance(4.9)
        self.assertEqual(self.touches(), 0)
        self.clock.advance(0.1)
        self.assertEqual(self.touches(), 1)
        backends, tokens = self.stored()
        self.assertEqual(backends["web"].lastUsed, NOW + 5)
        self.assertEqual(tokens["web", "ci"].lastUsed, NOW + 5)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(100)
        self.assertEqual(self.touches(), 1)

    def test_unknown(self) -> None:
        """
        Of what there is not, no use is kept.
        """
        self.registry.see("x")
        self.registry.useToken("x", "ci")
        self.registry.useToken("web", "none")
        uses = self.registry._uses
        self.assertEqual((uses.backends, uses.tokens), ({}, {}))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whileWriting(self) -> None:
        """
        A use while others are being written is written next.
        """
        self.store.holds = True
        self.registry.see("web")
        self.clock.advance(10)
        self.registry.see("web")
        self.clock.advance(100)
        self.assertEqual(self.touches(), 1)
        self.store.answer()
        self.clock.advance(10)
        self.store.answer()
        self.assertEqual(self.stored()[0]["web"].lastUsed, NOW + 10)

    def test_failure(self) -> None:
        """
        Uses that could not be written are written later, but for those of what is gone; this is logged once.
        """
        self.done(self.registry.put(backend("x")))
        self.store.failure = FULL
        for id in ("web", "x"):
            self.registry.see(id)
        self.registry.useToken("web", "ci")
        for _ in range(3):
            self.clock.advance(10)
        self.assertEqual(self.touches(), 3)
        self.assertEqual(len(self.logged), 1)
        self.store.failure = None
        self.done(self.registry.delete("x"))
        self.registry.see("web")
        self.clock.advance(10)
        self.assertEqual(self.stored()[0]["web"].lastUsed, NOW + 30)
        self.assertEqual(self.stored()[1]["web", "ci"].lastUsed, NOW)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_goneWhileFailing(self) -> None:
        """
        What is deleted while its use is being written in vain leaves nothing behind.
        """
        self.store.holds = True
        self.registry.see("web")
        self.registry.useToken("web", "ci")
        self.clock.advance(10)
        deleted = self.begin(self.registry.delete("web"))
        self.assertEqual([held.name for held in self.store.calls], ["touch", "deleteBackend"])
        [touch, _] = self.store.calls
        self.store.calls.remove(touch)
        self.store.answer()
        self.successResultOf(deleted)
        touch.deferred.errback(FULL)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LifeTests(RegistryCase):
    """
    Loading, and stopping.
    """

    def assertUnavailable(self, words: str) -> None:
        """
        Nothing can be asked or changed, and the reason is given.
        """
        self.assertFalse(self.registry.isLoaded)
        for ask in (
            lambda: self.registry.get("web"),
            lambda: self.registry.backendUserOf("web"),
            self.registry.list,
            lambda: self.registry.tokensOf("web"),
            lambda: self.registry.findToken(token().digest),
            lambda: self.registry.routes,
        ):
            self.assertIn(words, str(self.assertRaises(Unavailable, ask)))
        for work in (
            self.registry.put(backend("x")),
            self.registry.delete("web"),
            self.registry.mintToken("web", "new"),
            self.registry.revokeToken("web", "ci"),
        ):
            self.assertIn(words, self.refused(work, Unavailable))
        self.registry.see("web")
        self.registry.useToken("web", "ci")

    def test_beforeStart(self) -> None:
        """
        Before it is loaded, it is not available.
        """
        self.assertUnavailable("not loaded yet")

    def test_whileLoading(self) -> None:
        """
        A change that is asked for while it loads waits for that.
        """
        self.store.holds = True
        started = self.registry.start()
        changed = self.begin(self.registry.put(backend("x")))
        self.assertEqual([self.store.answer() for _ in range(3)], ["open", "load", "putBackend"])
        self.successResultOf(started)
        self.successResultOf(changed)

    def test_notClosed(self) -> None:
        """
        A store that can be neither loaded nor closed is tried again like any other.
        """
        self.store.failure = StoreError("the disk is gone")
        close = self.store.close
        self.patch(self.store, "close", lambda: fail(OSError("no")))
        self.successResultOf(self.registry.start())
        self.assertUnavailable("the disk is gone")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.store.failure = None
        self.patch(self.store, "close", close)
        self.clock.advance(1)
        self.assertTrue(self.registry.isLoaded)

    def test_retries(self) -> None:
        """
        If it cannot be loaded, that is tried again, later and later, until it can; the log says it once, and when it
        is over.
        """
        self.store.failure = StoreError("registry.sqlite: the database is damaged")
        self.start()
        self.assertEqual(self.registry.problem, "registry.sqlite: the database is damaged")
        self.assertUnavailable("damaged")
        delays = []
        for _ in range(9):
            [call] = self.clock.getDelayedCalls()
            delays.append(call.getTime() - self.clock.seconds())
            self.clock.advance(delays[-1])
        self.assertEqual(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60])
        self.assertEqual(self.store.log.count("open"), 10)
        self.assertEqual(self.store.log.count("close"), 10)
        self.assertEqual(len(self.logged), 1)
        self.store.failure = StoreError("registry.sqlite: it is another thing now")
        self.clock.advance(60)
        self.assertEqual(len(self.logged), 2)
        self.store.failure = None
        self.clock.advance(60)
        self.assertTrue(self.registry.isLoaded)
        self.assertEqual((self.registry.problem, self.find()), ("", "web"))
        self.assertEqual(len(self.logged), 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_spread(self) -> None:
        """
        Servers that lost one store do not come back at once.
        """
        self.store.failure = FULL
        registry = Registry(self.store, self.clock, jitter=lambda: 0.5)
        self.successResultOf(registry.start())
        [call] = self.clock.getDelayedCalls()
        self.assertEqual(call.getTime() - self.clock.seconds(), 0.75)

    def test_nonsense(self) -> None:
        """
        A store that gives what fits nowhere is as one that cannot be loaded.
        """
        self.store._tokens["x", "ci"] = token("x")
        self.start()
        self.assertUnavailable("KeyError: 'x'")

    def test_stop(self) -> None:
        """
        What is under way comes to its end, uses are written, and the store is closed; then there is nothing.
        """
        self.start()
        self.registry.see("web")
        self.store.holds = True
        changed = self.begin(self.registry.put(backend("x")))
        stopped = self.registry.stop()
        self.assertEqual([self.store.answer() for _ in range(2)], ["putBackend", "touch"])
        self.successResultOf(changed)
        self.successResultOf(stopped)
        self.assertEqual(self.store.log[-1], "close")
        self.assertEqual(self.stored()[0]["web"].lastUsed, NOW)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertUnavailable("stopped")

    def test_stopWhileWriting(self) -> None:
        """
        Uses that are being written are waited for, and those that came meanwhile are written.
        """
        self.start()
        self.store.holds = True
        self.registry.see("web")
        self.clock.advance(10)
        self.registry.see("web")
        stopped = self.registry.stop()
        self.assertEqual([self.store.answer() for _ in range(2)], ["touch", "touch"])
        self.successResultOf(stopped)
        self.assertEqual(self.stored()[0]["web"].lastUsed, NOW + 10)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopWhileRetrying(self) -> None:
        """
        A registry that never was loaded can be stopped, and is not tried again.
        """
        self.store.failure = FULL
        self.start()
        self.successResultOf(self.registry.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopWhileLoading(self) -> None:
        """
        Likewise in the middle of an attempt.
        """
        self.store.holds = True
        started = self.registry.start()
        stopped = self.registry.stop()
        self.store.failure = FULL
        self.store.answer()
        self.successResultOf(started)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
