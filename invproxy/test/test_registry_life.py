"""
How the registry is loaded, tries that again, and stops.
"""

from __future__ import annotations

from twisted.internet.defer import fail

from invproxy.errors import StoreError
from invproxy.registry.registry import Registry, Unavailable
from invproxy.test.registrycase import FULL, NOW, RegistryCase
from invproxy.test.registrystores import backend, token


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
