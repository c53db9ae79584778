"""
The command C{invproxy}, and what it knows of itself.
"""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class

from invproxy import __version__
from invproxy.cli.backends import backends
from invproxy.cli.check import check
from invproxy.cli.exchanges import exchanges
from invproxy.cli.passwd import passwd
from invproxy.cli.session import Session, connection
from invproxy.cli.status import status
from invproxy.cli.token import token

_EPILOG = (
    "Exit status: 0 done, 1 refused or failed, 2 bad usage, 3 no admin API could be reached."
    " The token itself may be in INVPROXY_ADMIN_TOKEN."
)


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option(__version__, message="invproxy %(version)s")
@connection(outermost=True)
@click.pass_context
def invproxy(context: click.Context) -> None:
    """
    Administrate an inverting proxy: a client of its admin API.
    """
    session = context.ensure_object(Session)
    if session.token is None:
        session.token = os.environ.get("INVPROXY_ADMIN_TOKEN", "").strip() or None


@invproxy.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """
    Show what makes a shell complete this command.

    \b
    bash:  eval "$(invproxy completion bash)"     in ~/.bashrc
    zsh:   eval "$(invproxy completion zsh)"      in ~/.zshrc
    fish:  invproxy completion fish | source      in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(invproxy, {}, "invproxy", "_INVPROXY_COMPLETE").source())


for command in (backends, token, status, exchanges, passwd, check):
    invproxy.add_command(command)
