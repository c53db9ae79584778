"""
Those who asked to be told when a connection is lost.
"""

from __future__ import annotations

from collections.abc import Callable


class LossObservers:
    """
    What an L{invproxy.interfaces.IPeer} keeps for its C{whenLost}.
    """

    __slots__ = ("_callbacks",)

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._callbacks)

    def add(self, callback: Callable[[], None]) -> Callable[[], None]:
        """
        Take note of one more.

        @param callback: called once, when the connection is lost.
        @return: forgets the callback, if it is still to be called.
        """
        self._callbacks.append(callback)

        def forget() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return forget

    def tell(self) -> None:
        """
        Tell all of them, and forget them.
        """
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
