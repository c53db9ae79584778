"""
C{invproxy token}: what agents show to be let in.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import click

from invproxy.cli.backends import asked, backendArgument, explained
from invproxy.cli.failures import Failed, Refused
from invproxy.cli.session import Session, asJSON, connection, hint, say, showJSON, showTable
from invproxy.cli.times import expiry, relative


@click.group()
def token() -> None:
    """
    Tokens, by which agents are let in.
    """


@token.command("create")
@backendArgument
@click.argument("name", metavar="NAME")
@click.option(
    "--expires",
    metavar="WHEN",
    help="Until when it is valid: a span such as 12h, 30d or 2w, a date such as 2027-01-31, or a time such"
    " as 2027-01-31T12:00:00Z. [default: for ever]",
)
@click.option(
    "--file",
    "path",
    metavar="FILE",
    help="Write the token to a new file that only you can read, instead of showing it.",
)
@connection()
@asJSON
@click.pass_obj
def createCommand(
    session: Session, backend: str, name: str, expires: str | None, path: str | None, asJSON: bool
) -> None:
    """
    Create a token NAME for the agents of BACKEND, and show it this once.

    The token goes to stdout, all else to stderr, so that > FILE works, too.
    """
    until = None
    if expires is not None:
        try:
            until = expiry(expires, session.now())
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--expires") from None
    # Before there is a token that could get lost.
    file = None if path is None else _create(path)
    try:
        made = session.ask(lambda client: client.mint(backend, name, until))
        if file is not None:
            _fill(file, made["token"], f"invproxy token revoke {backend} {name}")
    except BaseException as error:
        if path is not None:
            with suppress(OSError):
                os.unlink(path)
        if not isinstance(error, Refused):
            raise
        if error.code == "conflict":
            raise Failed(
                f"{error.message}; invproxy token revoke {backend} {name} revokes it"
                if "already" in error.message
                else error.message
            ) from None
        raise explained(error) from None
    finally:
        if file is not None:
            os.close(file)
    _tell(made, backend, path, asJSON)


def _create(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Failed(f"--file {path!r} is there already: name another, or remove it") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Failed(f"--file {path!r} cannot be made: {why}") from None


def _fill(file: int, secret: str, remedy: str) -> None:
    try:
        os.write(file, f"{secret}\n".encode("ascii"))
    except OSError as error:
        raise Failed(
            f"the token could not be written, and nobody has it now: {error.strerror}; {remedy}"
            " frees its name"
        ) from None


def _tell(made: Any, backend: str, path: str | None, asJSON: bool) -> None:
    expires = made.get("expires")
    until = f"valid until {expires}" if expires else "valid until it is revoked"
    if asJSON:
        shown = dict(made)
        if path is not None:
            del shown["token"]
        showJSON(shown)
        return
    if path is None:
        hint(f"Token {made['name']} of backend {backend}, {until}. It is shown this once:")
        click.echo(made["token"])
        hint("Put it into a file, and start the agent with --token-file FILE:")
    else:
        say(f"Token {made['name']} of backend {backend}, {until}, is in {path}.")
        hint("Start the agent with it:")
    hint(
        f"  twist invproxy-agent --proxy URL --backend {backend} --origin http://localhost:PORT"
        f" --token-file {path or 'FILE'}"
    )


@token.command("list")
@backendArgument
@connection()
@asJSON
@click.pass_obj
def listCommand(session: Session, backend: str, asJSON: bool) -> None:
    """
    List the tokens of a backend. What they are is not kept, and cannot be shown.
    """
    tokens = asked(session, lambda client: client.tokens(backend))
    if asJSON:
        showJSON(tokens)
    elif not tokens:
        hint(f"Backend {backend} has no tokens: invproxy token create {backend} NAME")
    else:
        now = session.now()
        showTable(
            ["TOKEN", "CREATED", "EXPIRES", "LAST USED"],
            [
                [
                    str(each["name"]),
                    relative(each["created"], now),
                    _expires(each.get("expires"), now),
                    relative(each["lastUsed"], now) if "lastUsed" in each else "never",
                ]
                for each in tokens
            ],
        )


def _expires(stamp: object, now: float) -> str:
    if stamp is None:
        return "never"
    shown = relative(stamp, now)
    return f"expired {shown}" if shown.endswith("ago") or shown == "just now" else shown


@token.command("revoke")
@backendArgument
@click.argument("name", metavar="NAME")
@connection()
@click.pass_obj
def revokeCommand(session: Session, backend: str, name: str) -> None:
    """
    Revoke a token. Agents that use it are cut off at once.
    """
    asked(
        session,
        lambda client: client.revoke(backend, name),
        {
            "no-such-token": f"{backend!r} has no token {name!r};"
            f" invproxy token list {backend} shows those there are"
        },
    )
    say(f"Token {name} of backend {backend} is revoked.")
