"""
What the proxy holds, in one line.
"""

from __future__ import annotations

from typing import Any

from invproxy.cli.session import counted, hint, say
from invproxy.units import sizeOf

_FULL = 0.8
"""How full a table must be to be told of."""


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
