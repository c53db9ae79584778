"""
How what is done with a store is done one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure

_T = TypeVar("_T")


class Turns:
    """
    Does one thing after another.

    @ivar waiting: how many things were asked for and are not done yet, the one that is under way among them.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._lock = DeferredLock()

    def take(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> Deferred[_T]:
        """
        Do something after all that was asked for before it. Once asked for it is brought to its end, even if nobody
        waits for that any more: store and memory must not come apart because a client hung up.

        @return: fires with what came of it.
        """
        outcome: Deferred[_T] = Deferred()
        self.waiting += 1

        def settle(result: _T | Failure) -> None:
            self.waiting -= 1
            outcome.callback(result)  # dropped if the waiting was cancelled

        self._lock.run(lambda: Deferred.fromCoroutine(work())).addBoth(settle)
        return outcome
