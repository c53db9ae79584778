"""
What the registry knows of last uses, and when it writes that.
"""

from __future__ import annotations

from invproxy.test.registrycase import FULL, NOW, RegistryCase
from invproxy.test.registrystores import backend, token


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
