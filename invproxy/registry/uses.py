"""
When backends and tokens were last used: known at once, and written now and then, all together.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from invproxy.errors import StoreError
from invproxy.interfaces import IBackendStore
from invproxy.tables import Table

_log = Logger(namespace="invproxy.registry")

WRITE_AFTER = 10.0
"""Seconds after which a use is written, if the store works."""


class LastUses:
    """
    Remembers last uses, and writes those that the store does not know yet. What could not be written is kept and tried
    again, so that there is never more of it than there are backends and tokens.

    @ivar backends: seconds since the epoch by ID, of those that were used since the registry was loaded.
    @ivar tokens: seconds since the epoch by backend and name, likewise.
    """

    def __init__(
        self, store: IBackendStore, clock: IReactorTime, note: Callable[[str], None]
    ) -> None:
        """
        @param store: where they are written.
        @param clock: what tells the time.
        @param note: called with what is wrong with the store, or C{""}, after each attempt.
        """
        self.backends: dict[str, float] = {}
        self.tokens: dict[tuple[str, str], float] = {}
        self._store = store
        self._clock = clock
        self._note = note
        self._newBackends: dict[str, float] = {}
        self._newTokens: dict[tuple[str, str], float] = {}
        self._timer: IDelayedCall | None = None
        self._writing: Deferred[None] | None = None
        self._isStopped = False

    def tables(self) -> list[Table]:
        """
        Tell how many last uses are known: at most as many as there are backends and tokens.
        """
        return [Table("last_uses", len(self.backends) + len(self.tokens))]

    def seeBackend(self, id: str) -> None:
        """
        Note that a backend is used now.
        """
        self.backends[id] = self._newBackends[id] = self._clock.seconds()
        self._writeSoon()

    def seeToken(self, backend: str, name: str) -> None:
        """
        Note that a token is used now.
        """
        key = (backend, name)
        self.tokens[key] = self._newTokens[key] = self._clock.seconds()
        self._writeSoon()

    def forgetBackend(self, id: str) -> None:
        """
        Take note that a backend is gone.
        """
        self.backends.pop(id, None)
        self._newBackends.pop(id, None)

    def forgetToken(self, backend: str, name: str) -> None:
        """
        Take note that a token is gone.
        """
        self.tokens.pop((backend, name), None)
        self._newTokens.pop((backend, name), None)

    def _writeSoon(self) -> None:
        if self._timer is None and self._writing is None and not self._isStopped:
            self._timer = self._clock.callLater(WRITE_AFTER, self._writeNow)

    def _writeNow(self) -> None:
        self._timer = None
        writing = self._writing = Deferred.fromCoroutine(self._write())
        writing.addErrback(_logFailure).addCallback(self._written)

    def _written(self, _: None) -> None:
        self._writing = None
        if self._newBackends or self._newTokens:
            self._writeSoon()

    async def _write(self) -> None:
        backends, self._newBackends = self._newBackends, {}
        tokens, self._newTokens = self._newTokens, {}
        if not (backends or tokens):
            return
        try:
            await self._store.touch(backends, tokens)
        except StoreError as error:
            # Again later, but for what is gone meanwhile.
            for id in backends.keys() & self.backends.keys():
                self._newBackends[id] = self.backends[id]
            for key in tokens.keys() & self.tokens.keys():
                self._newTokens[key] = self.tokens[key]
            self._note(str(error))
        else:
            self._note("")

    async def stop(self) -> None:
        """
        Write what there is to write, and no more from then on.
        """
        self._isStopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            written: Deferred[None] = Deferred()
            self._writing.addCallback(written.callback)
            await written
        await self._write()


def _logFailure(failure: Failure) -> None:
    _log.failure("Last uses were not written", failure=failure)
