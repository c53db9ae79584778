"""
What all commands have in common: where the admin API is, how it is asked, and how things are shown.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click
from attrs import define, field

from invproxy.cli.failures import Failed
from invproxy.cli.tables import printable, table
from invproxy.errors import ConfigError
from invproxy.files import readSmall

if TYPE_CHECKING:
    from invproxy.cli.client import AdminClient

DEFAULT_ADMIN = "http://127.0.0.1:8081"

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])

Work = Callable[[Any], Coroutine[Any, Any, T]]
"""What is done with a reactor."""

_isToken = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII).fullmatch


def runInReactor(work: Work[T]) -> T:
    """
    Run the reactor for as long as some work takes.

    @return: what came of it.
    """
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    results: list[T] = []
    errors: list[Exception] = []

    async def watch(reactor: Any) -> None:
        try:
            results.append(await work(reactor))
        except Exception as error:
            errors.append(error)

    with suppress(SystemExit):  # which is how it always ends
        react(lambda reactor: Deferred.fromCoroutine(watch(reactor)))
    if errors:
        raise errors[0]
    if not results:
        raise click.Abort
    return results[0]


@define
class Session:
    """
    One call of the command.

    @ivar admin: the address of the admin API.
    @ivar tokenFile: the path of the file with its token, or L{None}.
    @ivar token: the token itself, from the environment, or L{None}.
    @ivar caFile: the path of a PEM file with the certificates to trust for it, or L{None}.
    @ivar run: does what needs a reactor.
    @ivar now: says what time it is, in seconds since the epoch.
    """

    admin: str = DEFAULT_ADMIN
    tokenFile: str | None = None
    token: str | None = field(default=None, repr=False)
    caFile: str | None = None
    run: Callable[[Work[Any]], Any] = runInReactor
    now: Callable[[], float] = time.time

    def ask(self, work: Callable[[AdminClient], Coroutine[Any, Any, T]]) -> T:
        """
        Ask the admin API, once in a call of the command.

        @param work: what to do with a client of it.
        @raise Failed: if it cannot be done.
        """
        token = self._tokenInForce()
        authorities = None if self.caFile is None else _read(self.caFile, "--admin-ca")
        if token is not None and _isOverheard(self.admin):
            click.echo(
                f"invproxy: warning: the token goes to {self.admin} in the clear, for everybody on the way"
                " to read; use https:// or a tunnel of ssh",
                err=True,
            )

        async def working(reactor: Any) -> T:
            # Costly to import, so not for those who only want help.
            from invproxy.cli.client import AdminClient, agentFor

            agent = agentFor(reactor, self.admin, authorities)
            return await work(AdminClient(agent, self.admin, token, reactor))

        result: T = self.run(working)
        return result

    def _tokenInForce(self) -> str | None:
        if self.tokenFile is None:
            token = self.token
            where = "INVPROXY_ADMIN_TOKEN in the environment"
        else:
            token = _read(self.tokenFile, "--admin-token-file").strip().decode("latin-1")
            where = f"the file {self.tokenFile!r}"
        if token is not None and not _isToken(token):
            raise Failed(
                f"{where} must hold the token of the admin API: printable ASCII, no spaces"
            )
        return token


def _read(path: str, option: str) -> bytes:
    try:
        return readSmall(path)
    except ConfigError as error:
        raise Failed(f"{option} {path!r} {error}") from None


def _isOverheard(admin: str) -> bool:
    parts = urlsplit(admin)
    if parts.scheme != "http" or parts.hostname == "localhost":
        return False
    try:
        return not ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return True


class AdminURL(click.ParamType[str]):
    """
    The address of an admin API.
    """

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """
        Check it.
        """
        text = str(value)
        if text.startswith("unix:/"):
            return text
        try:
            parts = urlsplit(text)
            isURL = bool(parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
        except ValueError:
            isURL = False
        if not isURL or parts.query or parts.fragment or parts.username is not None:
            self.fail(
                "must be http://HOST[:PORT], https://HOST[:PORT] or unix:/PATH; a token belongs into a"
                " file",
                param,
                ctx,
            )
        return text


def _keeper(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(context.ensure_object(Session), attribute, value)

    return keep


def connection(*, outermost: bool = False) -> Callable[[Command], Command]:
    """
    Give a command the options that say where the admin API is. They may stand before a command's name and behind it.

    @param outermost: does it read the environment, too? Only one may, for what is given elsewhere is to win over it.
    """

    def decorate(command: Command) -> Command:
        for name, attribute, kind, metavar, text in (
            (
                "--admin-ca",
                "caFile",
                str,
                "FILE",
                "A PEM file with the certificates to trust for it, instead of the system's.",
            ),
            ("--admin-token-file", "tokenFile", str, "FILE", "A file with its token."),
            (
                "--admin",
                "admin",
                AdminURL(),
                "URL",
                f"Where the admin API is: a URL, or unix:/PATH. [default: {DEFAULT_ADMIN}]",
            ),
        ):
            variable = "INVPROXY_" + name[2:].upper().replace("-", "_")
            click.option(
                name,
                type=kind,
                metavar=metavar,
                help=f"{text} [env: {variable}]",
                envvar=variable if outermost else None,
                expose_value=False,
                callback=_keeper(attribute),
            )(command)
        return command

    return decorate


def asJSON(command: Command) -> Command:
    """
    Give a command the option C{--json}.
    """
    return click.option("--json", "asJSON", is_flag=True, help="Show JSON, for programs.")(command)


def showJSON(value: object) -> None:
    """
    Show JSON on stdout.
    """
    click.echo(json.dumps(value, indent=2))


def showTable(headings: list[str], rows: list[list[str]]) -> None:
    """
    Show a table on stdout, as wide as the terminal if it is one.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(table(headings, rows, width), nl=False)


def say(text: str) -> None:
    """
    Say something in one line on stdout, whoever has made up what is in it.
    """
    click.echo(printable(text))


def hint(text: str) -> None:
    """
    Say what a person may want to know, in one line on stderr, so that what programs read stays what it is.
    """
    click.echo(printable(text), err=True)


def counted(number: int, noun: str) -> str:
    """
    Count things.
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
