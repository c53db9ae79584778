"""
Those who asked to be told of a loss.
"""

from __future__ import annotations

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from invproxy.losses import LossObservers


class LossObserversTests(SynchronousTestCase):
    """
    L{LossObservers}.
    """

    def setUp(self) -> None:
        self.observers = LossObservers()
        self.told: list[str] = []

    def noting(self, name: str) -> partial[None]:
        """
        Make a callback that writes down a name.
        """
        return partial(self.told.append, name)

    def askAgain(self, name: str) -> None:
        """
        Ask while being told.
        """
        self.observers.add(self.noting(name))

    def test_once(self) -> None:
        """
        All are told, in the order in which they have asked, and but once.
        """
        for name in ("first", "second"):
            self.observers.add(self.noting(name))
        self.assertEqual(len(self.observers), 2)
        for _ in range(2):
            self.observers.tell()
            self.assertEqual(self.told, ["first", "second"])
        self.assertEqual(len(self.observers), 0)

    def test_forgotten(self) -> None:
        """
        Who wants to be told no more is not, and may say so more than once, or too late.
        """
        forget = self.observers.add(self.noting("first"))
        forgetLate = self.observers.add(self.noting("second"))
        forget()
        forget()
        self.observers.tell()
        forgetLate()
        self.assertEqual(self.told, ["second"])

    def test_meanwhile(self) -> None:
        """
        Who asks while others are told is told the next time.
        """
        self.observers.add(partial(self.askAgain, "later"))
        self.observers.tell()
        self.assertEqual(self.told, [])
        self.observers.tell()
        self.assertEqual(self.told, ["later"])
