"""
How what a store has comes into memory, where the store may not be there yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from invproxy.errors import StoreError
from invproxy.interfaces import IBackendStore
from invproxy.registry.records import Backend, Token

_log = Logger(namespace="invproxy.registry")

_SHORTEST_RETRY = 1.0
_LONGEST_RETRY = 60.0
"""Seconds between attempts to load, of which each waits twice as long as the one before."""


class Loading:
    """
    Loads what a store has; where that fails, again and again, later and later, until it succeeds.

    @ivar problem: why it failed last, in one line, or C{""}.
    """

    def __init__(
        self,
        store: IBackendStore,
        adopt: Callable[[Sequence[Backend], Sequence[Token]], None],
        again: Callable[[], None],
        clock: IReactorTime,
        jitter: Callable[[], float],
    ) -> None:
        """
        @param store: where it is.
        @param adopt: takes it.
        @param again: called when it is time for another attempt.
        @param clock: what tells the time.
        @param jitter: gives numbers from 0 to 1, by which attempts are spread.
        """
        self.problem = ""
        self._store = store
        self._adopt = adopt
        self._again = again
        self._clock = clock
        self._jitter = jitter
        self._retry: IDelayedCall | None = None
        self._failures = 0
        self._isStopped = False

    async def attempt(self) -> bool:
        """
        Open the store and load what it has.

        @return: whether that was taken; if not, the store is closed, and another attempt follows.
        """
        try:
            await self._store.open()
            backends, tokens = await self._store.load()
            self._adopt(backends, tokens)
        except Exception as error:
            await self._close()
            self._fail(error)
            return False
        if self._failures:
            _log.info("Registry loaded after all: {count} backends.", count=len(backends))
        self._failures = 0
        self.problem = ""
        return True

    async def _close(self) -> None:
        try:
            await self._store.close()
        except Exception:
            # Another attempt follows all the same.
            _log.failure("The store of the registry could not be closed")

    def _fail(self, error: Exception) -> None:
        text = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
        delay = min(_LONGEST_RETRY, _SHORTEST_RETRY * float(2 ** min(self._failures, 16)))
        self._failures += 1
        if text != self.problem:
            _log.error("Registry not loaded, it is tried again and again: {text}", text=text)
        self.problem = text
        if not self._isStopped:
            delay *= 0.5 + self._jitter() / 2
            self._retry = self._clock.callLater(delay, self._tryAgain)

    def _tryAgain(self) -> None:
        self._retry = None
        self._again()

    def stop(self) -> None:
        """
        Make no further attempt.
        """
        self._isStopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
