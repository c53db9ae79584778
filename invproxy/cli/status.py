"""
C{invproxy status}: is all well?
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from invproxy.cli.holdings import showHoldings
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
from invproxy.cli.times import relative, since
from invproxy.units import span

if TYPE_CHECKING:
    from invproxy.cli.client import AdminClient


@click.command(short_help="Show what is online, and what waits.")
@connection()
@asJSON
@click.pass_obj
def status(session: Session, asJSON: bool) -> None:
    """
    Show which backends are online, and what waits for them.
    """

    async def all_(client: AdminClient) -> tuple[Any, list[Any], Any]:
        found = await client.status()
        isLoaded = found.get("registry", {}).get("state") == "loaded"
        if asJSON:
            return found, [], None
        return found, await client.backends() if isLoaded else [], await client.holdings()

    found, records, holdings = session.ask(all_)
    if asJSON:
        showJSON(found)
        return
    say(
        f"The proxy is {'ready' if found['ready'] else 'not ready'}, up for"
        f" {span(found['uptimeSeconds'])}, {_registry(found.get('registry', {}), len(records))}."
    )
    if holdings is not None:
        showHoldings(holdings, holdings["totals"]["exchanges"])
    rows = [_row(each) for each in found["backends"]]
    seen = {each["id"] for each in found["backends"]}
    now = session.now()
    rows += [
        [
            str(record["id"]),
            "offline",
            relative(record["lastUsed"], now) if "lastUsed" in record else "never",
            *("-", "-", "-", "-"),
        ]
        for record in records
        if record["id"] not in seen
    ]
    if rows:
        rows.sort()
        showTable(["BACKEND", "STATE", "SEEN", "TUNNELS", "POLLS", "QUEUED", "IN FLIGHT"], rows)
    else:
        hint("No agent has called yet.")


def _registry(registry: Any, count: int) -> str:
    problem = registry.get("problem")
    if registry.get("state") == "loaded":
        text = f"with {counted(count, 'backend')} registered"
        return f"{text}; but its database cannot be written: {problem}" if problem else text
    if registry.get("state") == "unavailable":
        return f"but its database cannot be read: {problem}"
    return "in open mode: any agent may serve any backend"


def _state(each: Any) -> str:
    """
    Say whether an agent is there now; one that polls is away for a moment between two polls.
    """
    if not each["online"]:
        return "offline"
    return "online" if each["secondsSinceSeen"] < 2 else "away"


def _row(each: Any) -> list[str]:
    inFlight = sum(count for state, count in each["exchanges"].items() if state != "queued")
    return [
        str(each["id"]),
        _state(each),
        since(each["secondsSinceSeen"]),
        str(each["tunnels"]),
        str(each["polls"]),
        str(each["queued"]),
        str(inFlight),
    ]
