"""
The registry in force: what is acknowledged lasts, what fails changes nothing, and who is told what.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.logger import LogLevel

from invproxy.registry.records import InvalidRecord, Token, digestOf, etag
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
from invproxy.test.registrycase import FULL, NOW, RegistryCase
from invproxy.test.registrystores import backend, token


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
