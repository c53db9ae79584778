"""
C{invproxy backends}: who may visit what, and where.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from invproxy.cli.failures import Failed, Refused
from invproxy.cli.session import Session, asJSON, connection, hint, say, showJSON, showTable
from invproxy.cli.tables import pairs, printable
from invproxy.cli.times import relative

if TYPE_CHECKING:
    from invproxy.cli.client import AdminClient

EVERYBODY = "allUsers"

Record = dict[str, Any]
Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = {
    "id": "ID",
    "endUser": "--end-user",
    "endUsers": "--end-user",
    "backendUser": "--backend-user",
    "pathPrefixes": "--path",
    "hosts": "--host",
    "expires": "--expires",
    "name": "NAME",
}
"""How the fields of the API are called on the command line."""

_LISTS = (
    ("end-user", "endUsers", "USER", "visitors: a user, or *@example.com for a domain."),
    ("host", "hosts", "NAME", "hosts, such as app.example.com or *.example.com."),
    ("path", "pathPrefixes", "PATH", "paths, each with all below it."),
)
"""The options that may be given several times: name, field, metavar, meaning."""


def explained(error: Refused) -> Failed:
    """
    Say it in the words of the command line.
    """
    option = _OPTIONS.get(error.field)
    if error.code == "invalid-record" and option:
        return Failed(f"{option} {error.message.removeprefix(error.field).lstrip()}")
    if error.code == "no-such-backend":
        return Failed(f"{error.message}; invproxy backends list shows those there are")
    return error


def visitorsOf(record: Mapping[str, Any]) -> list[str]:
    """
    List who may visit a backend, each once.
    """
    named = [record.get("endUser", ""), *record.get("endUsers", [])]
    return list(dict.fromkeys(str(each) for each in named if each))


def setVisitors(record: Record, users: Sequence[str]) -> None:
    """
    Say who may visit a backend: one in the original's field, several in ours.
    """
    single = len(users) == 1
    record["endUser"] = users[0] if single else ""
    record["endUsers"] = [] if single else list(users)


def completeBackend(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """
    List the IDs that begin in one way, for the shell; none if nobody can be asked.
    """
    session = context.ensure_object(Session)
    try:
        records = session.ask(lambda client: client.backends())
    except Exception:
        return []
    ids = [str(record["id"]) for record in records]
    # A shell takes other things than IDs for more than words.
    return [id for id in ids if id.startswith(begun) and _isID(id)]


_isID = re.compile(r"[0-9A-Za-z\-._~:@/]+", re.ASCII).fullmatch


backendArgument = click.argument("backend", metavar="BACKEND", shell_complete=completeBackend)
"""The argument that names a backend which is there."""


@click.group()
def backends() -> None:
    """
    Backends: who may visit each of them, and where.
    """


@backends.command("list")
@connection()
@asJSON
@click.pass_obj
def listCommand(session: Session, asJSON: bool) -> None:
    """
    List all backends.
    """
    records = session.ask(lambda client: client.backends())
    if asJSON:
        showJSON(records)
    elif not records:
        hint("No backends yet. Add one: invproxy backends add ID --end-user alice@example.com")
    else:
        now = session.now()
        showTable(
            ["BACKEND", "VISITORS", "HOSTS", "PATHS", "AGENTS", "SEEN"],
            [_rowOf(record, now) for record in records],
        )


def _rowOf(record: Mapping[str, Any], now: float) -> list[str]:
    return [
        str(record["id"]),
        _visitors(record),
        ", ".join(record.get("hosts", [])) or "any",
        ", ".join(record["pathPrefixes"]),
        record.get("backendUser") or "by token",
        relative(record["lastUsed"], now) if "lastUsed" in record else "never",
    ]


def _visitors(record: Mapping[str, Any]) -> str:
    return ", ".join("everybody" if user == EVERYBODY else user for user in visitorsOf(record))


@backends.command("show")
@backendArgument
@connection()
@asJSON
@click.pass_obj
def showCommand(session: Session, backend: str, asJSON: bool) -> None:
    """
    Show one backend and the tokens of its agents.
    """

    async def both(client: AdminClient) -> tuple[Record, list[Any]]:
        return (await client.backend(backend)).value, await client.tokens(backend)

    record, tokens = asked(session, both)
    if asJSON:
        showJSON(record)
        return
    _show(record, session.now(), [str(token["name"]) for token in tokens])
    if not tokens and not record.get("backendUser"):
        hint(f"No agent can serve it yet: invproxy token create {backend} NAME")


def _show(record: Mapping[str, Any], now: float, tokens: Sequence[str] | None = None) -> None:
    seen = record.get("lastUsed")
    entries = [
        ("backend", str(record["id"])),
        ("visitors", _visitors(record)),
        ("hosts", ", ".join(record.get("hosts", [])) or "any"),
        ("paths", ", ".join(record["pathPrefixes"])),
        ("agents", record.get("backendUser") or "by token"),
        ("agent seen", f"{relative(seen, now)} ({seen})" if seen else "never"),
    ]
    if tokens is not None:
        entries.insert(5, ("tokens", ", ".join(tokens) or "none"))
    click.echo(pairs(entries), nl=False)


def asked(
    session: Session,
    work: Callable[[AdminClient], Any],
    texts: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """
    Ask the admin API, and say in the words of the command line what it refuses.

    @param texts: what to say instead, by the codes of its problems.
    """
    try:
        return session.ask(work)
    except Refused as error:
        if error.code in texts:
            raise Failed(texts[error.code]) from None
        raise explained(error) from None


def _listOptions(**kinds: str) -> Callable[[Command], Command]:
    """
    Give a command the options for lists.

    @param kinds: for each kind of them with what its names begin, and their help, in which C{{}} is the meaning.
    """

    def decorate(command: Command) -> Command:
        for option, field, metavar, meaning in reversed(_LISTS):
            for kind, text in reversed(kinds.items()):
                before = "" if kind == "these" else f"{kind}-"
                click.option(
                    f"--{before}{option}",
                    f"{before}{field}".replace("-", "_"),
                    multiple=True,
                    metavar=metavar,
                    help=text.format(meaning),
                )(command)
        return command

    return decorate


@backends.command("add")
@click.argument("id", metavar="ID")
@_listOptions(these="Its {}")
@click.option("--everyone", is_flag=True, help="Everybody may visit it, signed in or not.")
@click.option(
    "--backend-user",
    "backendUser",
    metavar="USER",
    default="",
    help="Who its agents are, as their JWTs or client certificates name them. Without it they need a"
    " token.",
)
@connection()
@asJSON
@click.pass_obj
def addCommand(
    session: Session,
    id: str,
    everyone: bool,
    backendUser: str,
    asJSON: bool,
    endUsers: tuple[str, ...],
    hosts: tuple[str, ...],
    pathPrefixes: tuple[str, ...],
) -> None:
    """
    Add a backend. It is on all hosts and has all paths unless you say which. --end-user, --host and --path may be
    given several times.
    """
    users = [*endUsers, *([EVERYBODY] if everyone else [])]
    if not users:
        raise click.UsageError(
            "say who may visit it: --end-user alice@example.com, --end-user '*@example.com' for a domain,"
            " or --everyone"
        )
    record: Record = {"id": id, "backendUser": backendUser}
    setVisitors(record, users)
    record["pathPrefixes"] = list(pathPrefixes) or ["/"]
    record["hosts"] = list(hosts)
    made = asked(
        session,
        lambda client: client.create(record),
        {
            "precondition-failed": f"there is a backend {id!r} already:"
            f" invproxy backends edit {id} changes it"
        },
    ).value
    if asJSON:
        showJSON(made)
        return
    say(f"Backend {id} is added.")
    if not backendUser:
        hint(f"Its agent needs a token: invproxy token create {id} NAME")


@backends.command("edit")
@backendArgument
@_listOptions(these="From now on its {}", add="More {}", drop="Fewer {}")
@click.option("--everyone", is_flag=True, help="Everybody may visit it, signed in or not.")
@click.option(
    "--backend-user",
    "backendUser",
    metavar="USER",
    help='Who its agents are, as their JWTs or client certificates name them; "" for tokens alone.',
)
@connection()
@asJSON
@click.pass_obj
def editCommand(
    session: Session, /, backend: str, everyone: bool, asJSON: bool, **given: Any
) -> None:
    """
    Change a backend. What no option names stays as it is; without any option an editor opens. Options for users,
    hosts and paths may be given several times.
    """
    wanted = {name: value for name, value in given.items() if value not in (None, ())}

    async def change(client: AdminClient) -> Record | None:
        shown = await client.backend(backend)
        former = {name: value for name, value in shown.value.items() if name != "lastUsed"}
        if wanted or everyone:
            record = _changed(former, wanted, everyone)
        else:
            record = _edited(former)
        if record == former:
            return None
        reply: Record = (await client.replace(backend, record, shown.etag)).value
        return reply

    record = asked(
        session,
        change,
        {
            "precondition-failed": f"backend {backend!r} was changed by somebody else meanwhile:"
            " try again"
        },
    )
    if asJSON:
        showJSON(record)
    elif record is None:
        say(f"Backend {backend} is as it was.")
    else:
        say(f"Backend {backend} is changed.")
        _show(record, session.now())


def _changed(former: Record, wanted: Mapping[str, Any], everyone: bool) -> Record:
    """
    Make what the options ask for.
    """
    record = dict(former)
    lists = {"endUsers": visitorsOf(former), "hosts": record.get("hosts", [])}
    lists["pathPrefixes"] = record["pathPrefixes"]
    for option, field, _, _ in _LISTS:
        values = list(wanted.get(field, lists[field]))
        if field == "endUsers" and everyone:
            values = [EVERYBODY]
        values += [each for each in wanted.get(f"add_{field}", ()) if each not in values]
        for each in wanted.get(f"drop_{field}", ()):
            if each not in values:
                raise Failed(f"--drop-{option} {each}: it has {', '.join(values) or 'none'}")
            values.remove(each)
        lists[field] = values
    if not lists["endUsers"]:
        raise Failed(
            "nobody could visit it any more: name somebody by --end-user, or remove it by invproxy"
            f" backends remove {former['id']}"
        )
    if lists["endUsers"] != visitorsOf(former):
        setVisitors(record, lists["endUsers"])
    record |= {"hosts": lists["hosts"], "pathPrefixes": lists["pathPrefixes"]}
    record["backendUser"] = wanted.get("backendUser", record.get("backendUser", ""))
    return record


def _edited(former: Record) -> Record:
    """
    Let a person change it.
    """
    text = click.edit(json.dumps(former, indent=2) + "\n", extension=".json")
    if text is None:
        return former  # left without saving
    try:
        record = json.loads(text)
    except ValueError as error:
        raise Failed(f"what the editor left is not JSON, nothing is changed: {error}") from None
    if not isinstance(record, dict):
        raise Failed("what the editor left is no JSON object, nothing is changed")
    return record


@backends.command("remove")
@backendArgument
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection()
@click.pass_obj
def removeCommand(session: Session, backend: str, yes: bool) -> None:
    """
    Remove a backend with its tokens. Its agents are cut off at once.
    """
    if not yes:
        click.confirm(
            f"Remove backend {printable(backend)}, its tokens, and cut off its agents?",
            abort=True,
            err=True,
        )
    asked(session, lambda client: client.remove(backend))
    say(f"Backend {backend} is removed.")
