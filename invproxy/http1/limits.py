"""
How large the parts of a message may be.
"""

from attrs import field, frozen


@frozen
class Limits:
    """
    Bounds on what a peer may send before it is refused, all in bytes but C{fields} and C{interims}.

    @ivar head: a whole head, first line and blank line included.
    @ivar line: the first line alone.
    @ivar fields: how many field lines a head or trailer section may have.
    @ivar chunkLine: a chunk's size with its extensions.
    @ivar trailers: a whole trailer section.
    @ivar interims: how many interim responses there may be before the final one.
    @ivar harmless: what a head may have without breaking any of these bounds, as a field line has four bytes or more.
    """

    head: int = 65536
    line: int = 16384
    fields: int = 256
    chunkLine: int = 1024
    trailers: int = 16384
    interims: int = 100
    harmless: int = field(init=False)

    @harmless.default
    def _least(self) -> int:
        return min(self.head, self.line, 4 * self.fields)


DEFAULT_LIMITS = Limits()
"""What a peer may send that nothing is known of."""

WIDE_LIMITS = Limits(head=2 << 20, line=1 << 20, fields=4096)
"""For requests that a proxy has bounded before: it adds fields to what its own limits let pass."""
