"""
The status page: what goes on, on one page for people.

It is made anew for each request, loads nothing from anywhere, and runs no script. All that comes from elsewhere is
escaped, and the policy that goes along (CSP) lets a browser use nothing but the style sheet that is in it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any, Final

from twisted.web.server import Request

from invproxy import __version__
from invproxy.admin.answers import Answer, Problem
from invproxy.admin.exchanges import Exchanges
from invproxy.admin.status import Status
from invproxy.census import Census
from invproxy.page import PALETTE, document
from invproxy.tables import Table
from invproxy.units import sizeOf, span

Places = Mapping[str, Sequence[str]]
"""Where who connects: URLs by whom they are for."""

MOST_SECONDS: Final = 3600
"""After how many seconds the page may have itself loaded again at most."""

_MOST_ROWS: Final = 100
"""Backends and requests that are shown."""

_ONLINE: Final = 2.0
"""Seconds since an agent was there within which nothing is amiss: one that polls is away between two polls."""

_NEARLY: Final = 0.8
"""How full a table is that will refuse soon."""

_STYLE: Final = (
    PALETTE
    + """\
:root { --good: #1a7f4b; --warn: #a15c00; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --good: #6fd19b; --warn: #f0b35a; --bad: #f28b82 } }
* { box-sizing: border-box }
body { margin: 0; padding: 1.5rem 1rem 3rem; background: var(--back); color: var(--text);
  font: .95rem/1.5 system-ui, sans-serif; overflow-wrap: break-word }
main { max-width: 76rem; margin: 0 auto }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem 1rem; margin-bottom: 1rem }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.2 }
h2 { margin: 0; padding: .8rem 1.1rem; font-size: 1.05rem }
h2 small, .faint { color: var(--faint); font-weight: normal; font-size: .9rem }
a { color: var(--accent) }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; margin-left: auto }
section { margin: 1rem 0; background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
  overflow: hidden }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1rem 0 }
dl div { padding: .7rem 1.1rem; background: var(--card); border: 1px solid var(--line); border-radius: .75rem }
dt { color: var(--faint); font-size: .85rem }
dd { margin: 0; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums }
dd small { color: var(--faint); font-size: .85rem; font-weight: normal }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .45rem 1.1rem; border-top: 1px solid var(--line); text-align: left; vertical-align: baseline }
th { color: var(--faint); font-size: .85rem; font-weight: normal; white-space: nowrap }
.number { text-align: right; white-space: nowrap }
.name { font-weight: 600 }
code, .name { overflow-wrap: anywhere }
code { font: .9em ui-monospace, monospace }
.badge { padding: .1rem .6rem; border: 1px solid; border-radius: 1rem; font-size: .85rem; white-space: nowrap }
.good { color: var(--good) } .warn { color: var(--warn) } .bad { color: var(--bad) }
meter { width: 8rem; height: .8rem; vertical-align: middle }
p { margin: 0; padding: .6rem 1.1rem; border-top: 1px solid var(--line) }
p:first-child { border-top: 0 }
summary { padding: .6rem 1.1rem; border-top: 1px solid var(--line); color: var(--faint); cursor: pointer }
@media (max-width: 44rem) {
  nav { margin-left: 0 }
  thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden }
  tr { display: block; padding: .6rem 1.1rem; border-top: 1px solid var(--line) }
  td, .number { display: flex; justify-content: space-between; gap: 1.5rem; padding: .1rem 0; border: 0;
    text-align: right; white-space: normal }
  td::before { content: attr(data-label); flex: none; color: var(--faint) }
}
"""
)

_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-"
    # The line end before it is part of it, too.
    + b64encode(sha256(f"\n{_STYLE}".encode()).digest()).decode("ascii")
    + "'"
)
"""What a browser may do with the page (Content Security Policy, level 3): show it, by this style sheet."""


class Overview:
    """
    Answers for C{/}.
    """

    def __init__(
        self,
        status: Status,
        exchanges: Exchanges,
        census: Census,
        addresses: Callable[[], Places],
    ) -> None:
        """
        @param status: knows what goes on.
        @param exchanges: knows what is under way.
        @param census: knows what the proxy holds.
        @param addresses: says where who is to connect.
        """
        self._status = status
        self._exchanges = exchanges
        self._census = census
        self._addresses = addresses

    def show(self, request: Request) -> Answer:
        """
        Show the page.
        """
        seconds = _refreshOf(request)
        found = self._status.found()
        totals = self._census.totals()
        content = "\n".join(
            (
                _header(found, seconds),
                _notices(found, self._addresses()),
                _tiles(totals),
                _backends(found["backends"], self._status.absent()),
                _requests(self._exchanges.oldest(_MOST_ROWS), totals["exchanges"] or 0),
                _tables(self._census.tables()),
            )
        )
        head = f'<meta http-equiv="refresh" content="{seconds}">\n' if seconds else ""
        text = document("invproxy status", _STYLE, content, head)
        headers = [("Content-Security-Policy", _POLICY), ("Referrer-Policy", "no-referrer")]
        return Answer(200, text.encode("utf-8"), b"text/html; charset=utf-8", headers)


def _refreshOf(request: Request) -> int:
    given = (request.args or {}).get(b"refresh")
    if given is None:
        return 0
    text = given[0]
    if len(given) > 1 or not text.isdigit() or len(text) > 4 or not 0 < int(text) <= MOST_SECONDS:
        raise Problem(
            400,
            "bad-parameter",
            f"the parameter refresh must be a number of seconds from 1 to {MOST_SECONDS}",
            field="refresh",
        )
    return int(text)


# What stands on it, as HTML.


def _header(found: Mapping[str, Any], seconds: int) -> str:
    badge = _badge("good", "ready") if found["ready"] else _badge("bad", "not ready")
    again = (
        '<a href="?">Stop refreshing</a>'
        if seconds
        else '<a href="?refresh=5">Refresh every 5 s</a>'
    )
    return (
        f"<header><h1>invproxy</h1>{badge}"
        f'<span class="faint">version {escape(__version__)}, up for {span(found["uptimeSeconds"])}</span>'
        f'<nav>{again}<a href="metrics">Metrics</a><a href="api/status">Status</a>'
        '<a href="api/exchanges">Requests</a><a href="api/openapi.json">OpenAPI</a></nav></header>'
    )


def _notices(found: Mapping[str, Any], addresses: Places) -> str:
    lines = [
        f'<span class="faint">{escape(who)}</span> '
        + " ".join(f"<code>{escape(url)}</code>" for url in urls)
        for who, urls in addresses.items()
        if urls
    ]
    registry = found["registry"]
    if registry["state"] == "none":
        lines.append(f"{_badge('warn', 'open mode')} Any agent may serve any backend.")
    if registry.get("problem"):
        where = "read" if registry["state"] == "unavailable" else "written"
        lines.append(
            f"{_badge('bad', 'database')} It cannot be {where}: {escape(str(registry['problem']))}"
        )
    return f"<section>{''.join(f'<p>{line}</p>' for line in lines)}</section>" if lines else ""


def _tiles(totals: Mapping[str, int | None]) -> str:
    files = f"{_number(totals['openFiles'])} <small>of {_number(totals['openFilesLimit'])}</small>"
    tiles = (
        ("Requests", _number(totals["exchanges"])),
        ("Waiting", _number(totals["queued"])),
        ("Clients connected", _number(totals.get("clients", 0))),
        ("Tunnels", _number(totals.get("tunnels", 0))),
        ("Polls waiting", _number(totals["polls"])),
        ("Open files", files),
        ("Memory", _size(totals["residentBytes"])),
    )
    return (
        f"<dl>{''.join(f'<div><dt>{name}</dt><dd>{text}</dd></div>' for name, text in tiles)}</dl>"
    )


def _backends(backends: Sequence[Mapping[str, Any]], absent: Sequence[str]) -> str:
    if not (backends or absent):
        return "<section><h2>Backends</h2><p>No agent has called yet.</p></section>"
    rows = []
    for each in backends[:_MOST_ROWS]:
        inFlight = sum(count for state, count in each["exchanges"].items() if state != "queued")
        seen = each["secondsSinceSeen"]
        state = _badge("good", "online")
        if not each["online"]:
            state = _badge("bad", "offline")
        elif seen >= _ONLINE:
            state = _badge("warn", "away")
        carriers = [
            f"{count} {name}{'' if count == 1 else 's'}"
            for name, count in (("tunnel", each["tunnels"]), ("poll", each["polls"]))
            if count
        ]
        rows.append(
            (
                escape(each["id"]),
                state,
                "now" if seen < _ONLINE else f"{span(seen)} ago",
                ", ".join(carriers) or "none",
                _number(each["queued"]),
                _number(inFlight),
            )
        )
    for backend in absent[: _MOST_ROWS - len(rows)]:
        rows.append((escape(backend), _badge("bad", "offline"), "not yet", "none", "0", "0"))
    headings = ("Backend", "State", "Agent seen", "Agents", "Waiting", "In flight")
    count = len(backends) + len(absent)
    return _section("Backends", count, "api/status", _table(headings, rows, (4, 5)))


def _requests(shown: Sequence[Mapping[str, Any]], total: int) -> str:
    if not shown:
        return "<section><h2>Requests under way</h2><p>None.</p></section>"
    rows = [
        (
            f"<code>{escape(each['id'][:8])}</code>",
            span(each["ageSeconds"]),
            span(each["idleSeconds"]),
            escape(each["state"] + (", upgraded" if each["upgraded"] else "")),
            escape(each["backend"]),
            escape(each["carrier"] or "none"),
            escape(each["endUser"] or "nobody"),
            sizeOf(each["receivedBytes"]),
            sizeOf(each["sentBytes"]),
            f"<code>{escape(each['method'])} {escape(each['path'])}</code>",
        )
        for each in shown
    ]
    headings = (
        *("ID", "Age", "Idle", "State", "Backend", "Carrier", "User", "In", "Out", "Request"),
    )
    return _section(
        "Requests under way", total, "api/exchanges", _table(headings, rows, (1, 2, 7, 8))
    )


def _tables(tables: Iterable[Table]) -> str:
    refusing: list[Sequence[str]] = []
    forgetting: list[Sequence[str]] = []
    for table in tables:
        row = (
            f"<code>{escape(table.name)}</code>",
            _number(table.entries),
            "none of its own" if table.limit is None else _number(table.limit),
            _meter(table),
        )
        (forgetting if table.forgets else refusing).append(row)
    headings = ("Table", "Entries", "Bound", "Full")
    return (
        "<section><h2>Tables <small>that refuse what is new when they are full</small></h2>"
        f"{_table(headings, refusing, (1, 2))}"
        f"<details><summary>{len(forgetting)} caches, which forget what is old</summary>"
        f"{_table(headings, forgetting, (1, 2))}</details></section>"
    )


# Parts.


def _section(title: str, total: int, more: str, table: str) -> str:
    rest = ""
    if total > _MOST_ROWS:
        rest = f'<p class="faint">The first {_MOST_ROWS} of {total}; <a href="{more}">all</a></p>'
    return f"<section><h2>{title} <small>{_number(total)}</small></h2>{table}{rest}</section>"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int]) -> str:
    """
    @param headings: as text.
    @param rows: cells as HTML.
    @param numbers: which columns have numbers.
    """

    def kind(column: int) -> str:
        if column in numbers:
            return ' class="number"'
        return "" if column else ' class="name"'

    head = "".join(
        f'<th scope="col"{kind(column) if column else ""}>{heading}</th>'
        for column, heading in enumerate(headings)
    )
    body = "\n".join(
        "<tr>"
        + "".join(
            f'<td{kind(column)} data-label="{headings[column]}"><span>{cell}</span></td>'
            for column, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"


def _badge(kind: str, text: str) -> str:
    return f'<span class="badge {kind}">{text}</span>'


def _meter(table: Table) -> str:
    if not table.limit:
        return ""
    percent = f"{100 * table.fullness():.0f} %"
    # Caches are full, and that is well; for all else it is high time.
    high = "" if table.forgets else f' low="{_NEARLY / 2:g}" high="{_NEARLY:g}" optimum="0"'
    return (
        f'<meter value="{table.fullness():.4f}" max="1"{high} title="{percent}">{percent}</meter>'
        f" {percent}"
    )


def _number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _size(count: int | None) -> str:
    return "?" if count is None else sizeOf(count)
