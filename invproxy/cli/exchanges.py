"""
C{invproxy exchanges}: what is under way, and for how long?
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from invproxy.cli.holdings import showHoldings
from invproxy.cli.session import Session, asJSON, connection, showJSON, showTable
from invproxy.units import sizeOf, span

if TYPE_CHECKING:
    from invproxy.cli.client import AdminClient


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
