"""
What is left of a request body after the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from invproxy.discard import Discard

if TYPE_CHECKING:
    from invproxy.server.channel import Channel

MOST_DISCARDED: Final = 1 << 20
"""Bytes of a request body that are read for nothing once it was answered, so that the answer is not lost to a reset."""


class EarlyRest(Discard):
    """
    What is left of a request body after the answer: read for nothing, so that the connection can go on.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._discarded = 0

    def write(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > MOST_DISCARDED:
            self._channel.linger()

    def finish(self, trailers: bytes = b"") -> None:
        self._channel.proceed()
