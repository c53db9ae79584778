"""
What a proxy holds at this moment: how many of each thing, and how full its tables are. What leaks, shows here.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from invproxy import routing
from invproxy.http1 import forwarding, lines
from invproxy.mailbox import Mailboxes
from invproxy.process import mostFiles, openFiles, residentBytes
from invproxy.tables import Keeper, Table


class Census:
    """
    Counts what it was told of, when it is asked.
    """

    def __init__(self, mailboxes: Mailboxes, clock: IReactorTime) -> None:
        """
        @param mailboxes: those of the proxy.
        @param clock: the reactor, whose timers are counted.
        """
        self._counts: dict[str, list[Callable[[], int]]] = {}
        self._keepers: list[Keeper] = [mailboxes]
        self.count("exchanges", lambda: len(mailboxes.exchanges))
        self.count("queued", lambda: sum(mailbox.counts()[0] for mailbox in mailboxes))
        self.count("polls", lambda: sum(mailbox.counts()[1] for mailbox in mailboxes))
        self.count("timers", lambda: len(clock.getDelayedCalls()))

    def count(self, name: str, counting: Callable[[], int]) -> None:
        """
        Count something from now on.

        @param name: what; what several count by the same name is added up.
        @param counting: counts it.
        """
        self._counts.setdefault(name, []).append(counting)

    def include(self, *keepers: object) -> None:
        """
        Ask for tables from now on.

        @param keepers: whoever may keep some; those that do not are left out.
        """
        self._keepers += [keeper for keeper in keepers if isinstance(keeper, Keeper)]

    def totals(self) -> dict[str, int | None]:
        """
        Count everything. L{None} stands for what the operating system does not tell.
        """
        totals: dict[str, int | None] = {
            name: sum(counting() for counting in countings)
            for name, countings in self._counts.items()
        }
        return totals | {
            "openFiles": openFiles(),
            "openFilesLimit": mostFiles(),
            "residentBytes": residentBytes(),
        }

    def tables(self) -> list[Table]:
        """
        Tell of all tables, the fullest first.
        """
        found = [*lines.tables(), *forwarding.tables(), *routing.tables()]
        for keeper in self._keepers:
            found += keeper.tables()
        return sorted(found, key=lambda table: (table.forgets, -table.fullness(), table.name))
