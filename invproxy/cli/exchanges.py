"""
C{invproxy exchanges}: what is under way, and for how long?
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from invproxy.cli.session import (
    Session,
    asJSON,
    connection,
    counted,
    hint,
    say,
    showJSON,
    showTable,
)
from invproxy.units import sizeOf, span

if TYPE_CHECKING:
    from invproxy.cli.client import AdminClient

_FULL = 0.8
"""How full a table must be to be told of."""


@click.command(short_help="Show the requests that are under way.")
@connection()
@asJSON
@click.pass_obj
def exchanges(session: Session, asJSON: bool) -> None:
    """
    Show the requests that are under way, the oldest first.
    """

    async def ask(client: AdminClient) -> Any:
        return await client.exchanges()

    found = session.ask(ask)
    if asJSON:
        showJSON(found)
        return
    showHoldings(found, len(found["exchanges"]))
    if found["exchanges"]:
        showTable(
            ["ID", "AGE", "IDLE", "STATE", "CARRIER", "BACKEND", "USER", "IN", "OUT", "REQUEST"],
            [_row(each) for each in found["exchanges"]],
        )


def showHoldings(found: Any, count: int) -> None:
    """
    Say in one line what the proxy holds, and on stderr what is nearly full.

    @param found: what C{/api/exchanges} says.
    @param count: how many requests are under way.
    """
    totals = found.get("totals", {})
    say(
        f"{counted(count, 'request')} under way,"
        f" {counted(totals.get('clients', 0), 'client')} connected,"
        f" {counted(totals.get('tunnels', 0), 'tunnel')},"
        f" {counted(totals.get('polls', 0), 'poll')} waiting{_used(totals)}."
    )
    for table in found.get("tables", []):
        limit = table["limit"]
        if limit and table["whenFull"] == "refuses" and table["entries"] >= _FULL * limit:
            hint(f"{table['name']} is nearly full: {table['entries']} of {limit}")


def _used(totals: Any) -> str:
    """
    Say how much is in use of what the operating system gives, as far as it tells.
    """
    text = ""
    if totals.get("openFiles") is not None:
        text += f", {totals['openFiles']} files open"
        if totals.get("openFilesLimit") is not None:
            text += f" of {totals['openFilesLimit']}"
    if totals.get("residentBytes") is not None:
        text += f", {sizeOf(totals['residentBytes'])} of memory"
    return text


def _row(each: Any) -> list[str]:
    return [
        str(each["id"])[:8],
        span(each["ageSeconds"]),
        span(each["idleSeconds"]),
        str(each["state"]),
        str(each["carrier"] or "-"),
        str(each["backend"]),
        str(each["endUser"] or "-"),
        sizeOf(each["receivedBytes"]),
        sizeOf(each["sentBytes"]),
        f"{each['method']} {each['path']}",
    ]
