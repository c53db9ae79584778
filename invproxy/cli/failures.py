"""
How a command fails: one line that says what happened and what to do, and an exit status.
"""

from __future__ import annotations

from typing import IO, Any

import click

from invproxy.cli.tables import printable

REFUSED = 1
"""The exit status when something was asked for and refused, or failed."""

UNREACHABLE = 3
"""The exit status when no admin endpoint answered; 2 is bad usage, as everywhere."""


class Failed(click.ClickException):
    """
    What was asked for was refused, or failed.
    """

    exit_code = REFUSED

    def show(self, file: IO[Any] | None = None) -> None:
        """
        Tell the person.
        """
        click.echo(f"invproxy: {printable(self.message)}", file=file, err=file is None)


class Unreachable(Failed):
    """
    No admin endpoint answered.
    """

    exit_code = UNREACHABLE


class Refused(Failed):
    """
    The admin endpoint has refused it.

    @ivar status: the status of its answer.
    @ivar code: the code of its problem.
    @ivar field: the field that is wrong, or C{""}.
    """

    def __init__(self, status: int, code: str, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.field = field
