"""
Parsers of options. Each makes a value of a text, or raises a L{ConfigError} that says what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from invproxy.errors import ConfigError

_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]{1,3})?", re.ASCII).fullmatch
_INTEGER = re.compile(r"[0-9]{1,18}", re.ASCII).fullmatch
_LONGEST = 1e9
_SHORTEST = 0.1  # of those that nothing could do without a pause


def text(given: str) -> str:
    """
    Any text but an empty one.
    """
    if not given.strip():
        raise ConfigError("must not be empty")
    return given


def seconds(given: str) -> float:
    """
    A time in seconds: an integer or a decimal fraction, 0 or more.
    """
    return _seconds(given, 0)


def someSeconds(given: str) -> float:
    """
    A time in seconds that must not be 0.
    """
    return _seconds(given, _SHORTEST)


def wholeSeconds(given: str) -> float:
    """
    A time in seconds that must not be less than one.
    """
    return _seconds(given, 1)


def _seconds(given: str, least: float) -> float:
    # What float() takes beyond this (inf, nan, 1_0, white space) is more often a slip.
    if not _NUMBER(given) or not least <= (value := float(given)) <= _LONGEST:
        raise ConfigError(f"must be a number of seconds, {least:g} or more, such as 30 or 2.5")
    return value


def count(least: int = 0, most: int | None = None) -> Callable[[str], int]:
    """
    Make a parser of integers.

    @param least: the smallest that is allowed.
    @param most: the largest that is allowed, if there is one.
    """
    bounds = f"{least} or more" if most is None else f"from {least} to {most}"

    def parse(given: str) -> int:
        if not _INTEGER(given) or not least <= (value := int(given)) <= (most or 10**18):
            raise ConfigError(f"must be an integer, {bounds}")
        return value

    return parse


def choice(*words: str) -> Callable[[str], str]:
    """
    Make a parser that takes one of some words.
    """

    def parse(given: str) -> str:
        if given not in words:
            raise ConfigError(f"must be one of {', '.join(words)}")
        return given

    return parse


_FLAGS = {"1": True, "true": True, "yes": True, "on": True}
_FLAGS |= {"0": False, "false": False, "no": False, "off": False}


def flag(given: str) -> bool:
    """
    On or off, in any of the usual words.
    """
    value = _FLAGS.get(given.strip().lower())
    if value is None:
        raise ConfigError("must be one of 1, true, yes, on, 0, false, no, off")
    return value
