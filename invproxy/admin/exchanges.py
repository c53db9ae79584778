"""
The exchanges that are under way, with their ages, and what else the proxy holds: for whoever wonders what a request
waits for, or what it is that grows.

Of requests there are the method and the path, and no more: queries and header fields often have secrets in them.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from invproxy.admin.answers import Answer, Headers, Problem, jsonAnswer
from invproxy.admin.paging import Page
from invproxy.census import Census
from invproxy.clocks import STATES
from invproxy.exchange import Exchange
from invproxy.mailbox import Mailboxes
from invproxy.tables import Table

LONGEST_PATH: Final = 256
"""Characters of a path that are shown."""

PLACE: Final = r"^[0-9]{1,17}-[0-9A-Za-z]{1,64}$"
"""What C{after} is: when the last exchange of a page began, in microseconds, and its ID."""

_isPlace: Final = re.compile(PLACE[1:-1], re.ASCII).fullmatch


class Exchanges:
    """
    Answers for C{/api/exchanges}.
    """

    def __init__(self, mailboxes: Mailboxes, census: Census, clock: IReactorTime) -> None:
        """
        @param mailboxes: have the exchanges.
        @param census: knows what else there is.
        @param clock: what tells the time.
        """
        self._mailboxes = mailboxes
        self._census = census
        self._seconds = clock.seconds

    def show(self, request: Request) -> Answer:
        """
        Show a page of them, the oldest first.
        """
        page = Page.fromQuery(request.args or {})
        found = list(islice(self._behind(page.after), page.limit + 1))
        now = self._seconds()
        headers: Headers = ()
        if len(found) > page.limit:
            found.pop()
            began, id = _placeOf(found[-1])
            headers = page.linkBehind(f"{began}-{id}")
        shown = [describe(exchange, now) for exchange in found]
        return jsonAnswer(
            {
                "exchanges": shown,
                "totals": self._census.totals(),
                "tables": [_renderTable(table) for table in self._census.tables()],
            },
            headers=headers,
        )

    def oldest(self, most: int) -> list[dict[str, object]]:
        """
        Describe those that began first.

        @param most: how many at most.
        """
        now = self._seconds()
        return [describe(exchange, now) for exchange in islice(self._behind(""), most)]

    def _behind(self, after: str) -> list[Exchange]:
        if after and not _isPlace(after):
            raise Problem(
                400,
                "bad-parameter",
                "the parameter after must be what the Link of a page has",
                field="after",
            )
        began, _, id = after.partition("-")
        place = (int(began or -1), id)
        found = (each for each in self._mailboxes.exchanges.values() if _placeOf(each) > place)
        return sorted(found, key=_placeOf)


def describe(exchange: Exchange, now: float) -> dict[str, object]:
    """
    Describe an exchange for people who look for what is wrong.

    @param now: the present time, in seconds on its clock.
    """
    path = exchange.head.path().decode("latin-1")
    return {
        "id": exchange.id,
        "backend": exchange.mailbox.backend,
        "state": STATES[exchange.state],
        "carrier": getattr(exchange.carrier, "kind", None),
        "method": exchange.head.method.decode("latin-1"),
        "path": path if len(path) <= LONGEST_PATH else path[: LONGEST_PATH - 3] + "...",
        "endUser": exchange.endUser.encode("utf-8", "replace").decode("utf-8"),
        "upgraded": exchange.upgraded,
        "ageSeconds": _elapsed(exchange.began, now),
        "idleSeconds": _elapsed(max(exchange.since, exchange.stirredAt), now),
        "receivedBytes": exchange.body.size,
        "sentBytes": exchange.sent,
    }


def _placeOf(exchange: Exchange) -> tuple[int, str]:
    return int(exchange.began * 1e6), exchange.id


def _elapsed(since: float, now: float) -> float:
    return round(max(0.0, now - since), 3)


def _renderTable(table: Table) -> dict[str, object]:
    return {
        "name": table.name,
        "entries": table.entries,
        "limit": table.limit,
        "whenFull": "forgets" if table.forgets else "refuses",
    }
