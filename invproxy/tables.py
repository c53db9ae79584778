"""
How full the tables are that a process keeps: each that can grow has a bound, and shows how near to it it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from attrs import frozen


@frozen
class Table:
    """
    One table, as of now.

    @ivar name: what it is called, in lower case with underscores; there is only one of that name.
    @ivar entries: how many entries it has; of several tables with the same bound, the fullest has.
    @ivar limit: how many it may have, or L{None} if something else bounds it.
    @ivar forgets: whether it forgets old entries when it is full, as caches do; others refuse new ones.
    """

    name: str
    entries: int
    limit: int | None = None
    forgets: bool = False

    def fullness(self) -> float:
        """
        Tell how full it is, from 0 to 1; 0 if it has no bound of its own.
        """
        return self.entries / self.limit if self.limit else 0.0


@runtime_checkable
class Keeper(Protocol):
    """
    Whoever keeps tables.
    """

    def tables(self) -> Iterable[Table]:
        """
        Tell of them. It is asked when somebody looks, never for each request.
        """
