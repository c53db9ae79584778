"""
Long bodies that cannot arrive incomplete, twice or in another order without being noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from random import Random

_PIECE = 1 << 16
_FILLING = Random(1).randbytes(_PIECE - 8)


def pieces(size: int) -> Iterator[bytes]:
    """
    Make a body, in pieces that each begin with their number.

    @param size: how many bytes it has.
    """
    for number in range(size // _PIECE):
        yield number.to_bytes(8, "big") + _FILLING
    if size % _PIECE:
        yield _FILLING[: size % _PIECE]


class Digest:
    """
    What a body was, once it has passed.

    @ivar size: how many bytes it had so far.
    """

    def __init__(self) -> None:
        self.size = 0
        self._hash = blake2b(digest_size=16)

    def update(self, data: bytes | memoryview) -> None:
        """
        Take a piece of it.
        """
        self.size += len(data)
        self._hash.update(data)

    def text(self) -> str:
        """
        Its length and hash.
        """
        return f"{self.size} {self._hash.hexdigest()}"


def digestOf(size: int) -> str:
    """
    What L{Digest.text} must be for a body of this many bytes.
    """
    digest = Digest()
    for piece in pieces(size):
        digest.update(piece)
    return digest.text()
