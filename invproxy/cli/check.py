"""
C{invproxy check}: what is wrong with a configuration, before anything is started.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import Any

import click

from invproxy.cli.failures import REFUSED, Failed
from invproxy.cli.session import asJSON, counted, say, showJSON
from invproxy.errors import ConfigError

SERVER = "server"
AGENT = "agent"


@click.command(short_help="Check a configuration of the server or of an agent.")
@click.argument("config", metavar="CONFIG", type=click.Path())
@click.option(
    "--as",
    "role",
    type=click.Choice([SERVER, AGENT]),
    help="Whose configuration it is, where its keys do not tell.",
)
@asJSON
@click.pass_context
def check(context: click.Context, config: str, role: str | None, asJSON: bool) -> None:
    """
    Check a TOML file of the server or of an agent, and the files that it names. Nothing is started.

    What stands in the environment is left out of account.
    """
    keys = _keysOf(config)
    role = role or _roleOf(keys)
    if role is None:
        raise click.UsageError(f"the keys of {config} do not tell: add --as server or --as agent")
    errors, warnings, isAll = _findings(config, role)
    if asJSON:
        found = [("error", text) for text in errors] + [("warning", text) for text in warnings]
        showJSON([{"kind": kind, "text": text} for kind, text in found])
    else:
        _show(config, role, errors, warnings, isAll)
    if errors:
        context.exit(REFUSED)


def _show(config: str, role: str, errors: list[str], warnings: list[str], isAll: bool) -> None:
    say(f"{config}: options of twist invproxy-{role}")
    for kind, texts in (("error", errors), ("warning", warnings)):
        for text in texts:
            say(f"  {kind}: {text}")
    if errors:
        those = "it is" if len(errors) == 1 else "they are"
        again = "" if isAll else f"; whether all goes together is looked at once {those} right"
        say(f"{counted(len(errors), 'error')}{again}.")
    elif warnings:
        say(f"It can be used; {counted(len(warnings), 'warning')}.")
    else:
        say("Nothing is wrong with it.")


def _keysOf(path: str) -> frozenset[str]:
    try:
        with open(path, "rb") as file:
            return frozenset(tomllib.load(file))
    except OSError as error:
        raise Failed(f"{path!r} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Failed(f"{path!r} is not valid TOML: {' '.join(why.split())}") from None


def _roleOf(keys: frozenset[str]) -> str | None:
    """
    Say whose configuration has such keys, by those that only one of the two knows.
    """
    from invproxy import agent_tap, server_tap

    server, agent = _names(server_tap.TABLE), _names(agent_tap.TABLE)
    forServer, forAgent = len(keys & server - agent), len(keys & agent - server)
    if forServer == forAgent:
        return None
    return SERVER if forServer > forAgent else AGENT


def _names(table: Iterable[Any]) -> frozenset[str]:
    return frozenset(option.name for option in table)


def _findings(path: str, role: str) -> tuple[list[str], list[str], bool]:
    """
    Find what is wrong.

    @return: what keeps it from being used, what one should know, and whether all was looked at.
    """
    from invproxy import agent_tap, server_tap

    options: Any = server_tap.Options() if role == SERVER else agent_tap.Options()
    faults = type(options).faultsIn(path)
    if faults:
        # Whether the others go together is not known before these are right.
        return [_plain(error) for error in faults], [], False
    options.given["config"] = [path]
    try:
        if role == SERVER:
            # An endpoint only takes note of the reactor until it listens.
            return [], list(server_tap.planOf(options, {}, object()).warnings), True
        agent_tap.planOf(options, {})
    except ConfigError as error:
        # It is the first of those that do not go together: behind it there may be others.
        return [_plain(error)], [], False
    return [], [], True


def _plain(error: ConfigError) -> str:
    """
    Leave out where it stands, which is clear here.
    """
    from invproxy.options import CONFIG

    return f"it {error.complaint}" if error.option == CONFIG.name else error.withoutPlace()
