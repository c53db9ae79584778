"""
C{invproxy passwd}: the file of users who sign in by HTTP Basic.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from contextlib import suppress

import click

from invproxy.cli.failures import Failed
from invproxy.cli.session import hint, say
from invproxy.errors import ConfigError


@click.command(short_help="Set the password of an end user in a file.")
@click.argument("file", metavar="FILE")
@click.argument("user", metavar="USER")
@click.option("--stdin", "fromStdin", is_flag=True, help="Read the password from stdin, one line.")
@click.option("--delete", is_flag=True, help="Take the user out of the file.")
def passwd(file: str, user: str, fromStdin: bool, delete: bool) -> None:
    """
    Set the password of USER in FILE, which is made if there is none.

    A running server that has it as --auth scrypt-file:FILE takes notice by itself.
    """
    # Costly to import, so not for those who only want help.
    from invproxy.auth.passwords import checkUser, hashPassword, parsePasswords

    try:
        checkUser(user)
    except ConfigError as error:
        raise click.BadParameter(str(error), param_hint="USER") from None
    lines = _read(file)
    try:
        known = parsePasswords("\n".join(lines))
    except ConfigError as error:
        raise Failed(f"{file!r}, {error}") from None
    if delete:
        if user not in known:
            raise Failed(f"{file!r} has no user {user!r}")
        _write(file, [line for line in lines if not line.startswith(f"{user}:")])
        say(f"User {user} is taken out of {file}.")
        return
    made = f"{user}:{hashPassword(_password(fromStdin))}"
    if user in known:
        lines = [made if line.startswith(f"{user}:") else line for line in lines]
    else:
        lines.append(made)
    isNew = not os.path.exists(file)
    _write(file, lines)
    done = "changed in" if user in known else "added to"
    say(f"User {user} is {done} {file}.")
    if isNew:
        hint(f"Let the server know it: --auth scrypt-file:{file}")


def _password(fromStdin: bool) -> str:
    from invproxy.auth.passwords import LONGEST

    if fromStdin:
        text = sys.stdin.readline(LONGEST + 2)
        password = text.removesuffix("\n").removesuffix("\r")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if not password:
        raise Failed("the password is empty, nothing is changed")
    if len(password) > LONGEST:
        raise Failed(f"the password is longer than {LONGEST} characters, nothing is changed")
    if "\0" in password:
        raise Failed("the password has a NUL character, nothing is changed")
    return password


def _read(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        # Lines end where the server takes them to end, and nowhere else.
        return text.removesuffix("\n").split("\n") if text else []
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise Failed(f"{path!r} is not UTF-8, and so no file of passwords") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Failed(f"{path!r} cannot be read: {why}") from None


def _write(path: str, lines: list[str]) -> None:
    """
    Replace a file in one step, so that a server never reads half of it, by one of the same mode and owner.
    """
    target = os.path.realpath(path)
    made = None
    try:
        handle, made = tempfile.mkstemp(prefix=".passwd-", dir=os.path.dirname(target))
        with open(handle, "w", encoding="utf-8") as file:
            with suppress(FileNotFoundError):
                former = os.stat(target)
                os.fchmod(file.fileno(), stat.S_IMODE(former.st_mode))
                with suppress(PermissionError):
                    os.fchown(file.fileno(), former.st_uid, former.st_gid)
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, target)
    except (OSError, ValueError) as error:
        if made is not None:
            with suppress(OSError):
                os.unlink(made)
        why = getattr(error, "strerror", None) or str(error)
        raise Failed(f"{path!r} cannot be written: {why}") from None
