"""
Options as tables: one row says how an option is read from the command line, the environment and the
TOML file, how C{--help} and the documentation show it, and what its values are.

A command derives from L{TableOptions} and names its table. The command line is read by C{twist};
L{TableOptions.resolve} then merges the three sources and parses what won::

    command line  --poll-timeout 10              wins over
    environment   INVPROXY_POLL_TIMEOUT=10       wins over
    file          poll-timeout = 10              wins over the default in the table

An option is taken as a whole from one source, the repeatable ones too. In the environment the
values of a repeatable option are separated by white space, and an empty variable counts as unset.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NoReturn

from attrs import field, frozen
from twisted.python import usage

from invproxy import __version__
from invproxy.errors import ConfigError
from invproxy.files import readSmall
from invproxy.parsers import flag, seconds, text

PREFIX = "INVPROXY_"
"""What the names of environment variables begin with."""

_SHOWN = 100
_TYPE_NAMES = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


@frozen
class Option:
    """
    One row of a table.

    @ivar name: the name, as on the command line after C{--}.
    @ivar parse: makes a value of a text, or raises a L{ConfigError} that says what is allowed,
        beginning with "must be" or another verb.
    @ivar doc: what it means, in one or two sentences for C{--help} and the documentation.
    @ivar metavar: what stands for the value in C{--help}; L{None} for a flag, which takes no value
        on the command line.
    @ivar default: the value when no source has one.
    @ivar defaultText: how the default reads for people, where its own text would not say it.
    @ivar repeatable: may it be given several times? Then its value is a tuple.
    @ivar secret: is its value never to be shown?
    @ivar types: which types it may have in the TOML file.
    @ivar separator: for an option whose one text lists several values: what stands between them;
        the TOML file may then have an array instead.
    """

    name: str
    parse: Callable[[str], Any]
    doc: str
    metavar: str | None = field(default=None, kw_only=True)
    default: Any = field(default=None, kw_only=True)
    defaultText: str = field(default="", kw_only=True)
    repeatable: bool = field(default=False, kw_only=True)
    secret: bool = field(default=False, kw_only=True)
    types: tuple[type, ...] = field(default=(str,), kw_only=True)
    separator: str = field(default="", kw_only=True)

    @property
    def isFlag(self) -> bool:
        """
        Does it take no value on the command line?
        """
        return self.metavar is None

    @property
    def variable(self) -> str:
        """
        The name of its environment variable.
        """
        return variableOf(self.name)

    @property
    def shownDefault(self) -> str:
        """
        Its default as people read it.
        """
        if self.defaultText:
            return self.defaultText
        if self.isFlag:
            return "on" if self.default else "off"
        if isinstance(self.default, float):
            return f"{self.default:g}"
        if isinstance(self.default, tuple):
            return " ".join(str(each) for each in self.default) or "none"
        return "none" if self.default is None else str(self.default)


Source = Literal["command line", "environment", "file"]
"""Where the value of an option may come from."""


@frozen
class _Given:
    """
    The value of one option from one source.

    @ivar texts: what was given, before parsing.
    @ivar kind: which of the three sources it is.
    @ivar source: where, for people.
    """

    texts: tuple[str, ...]
    kind: Source
    source: str


class Values:
    """
    What the options of a command are, whichever source each came from.
    """

    def __init__(self, parsed: Mapping[str, Any], given: Mapping[str, _Given]) -> None:
        self._parsed = parsed
        self._given = given
        self._secrets: frozenset[str] = frozenset()

    @classmethod
    def merge(cls, table: Iterable[Option], sources: Sequence[Mapping[str, _Given]]) -> Values:
        """
        Parse what was given.

        @param table: the options.
        @param sources: what each source gave, by the options' names; the first source wins.
        @raise ConfigError: if a value cannot be used; one line names option, source, value and
            what is allowed.
        """
        given: dict[str, _Given] = {}
        parsed: dict[str, Any] = {}
        values = cls(parsed, given)
        values._secrets = frozenset(option.name for option in table if option.secret)
        for option in table:
            found = next((each[option.name] for each in sources if option.name in each), None)
            if found is None:
                parsed[option.name] = option.default
                continue
            given[option.name] = found
            several = []
            for each in found.texts:
                try:
                    several.append(option.parse(each))
                except ConfigError as error:
                    raise values.fault(option.name, str(error), each) from None
            parsed[option.name] = tuple(several) if option.repeatable else several[-1]
        return values

    def __getitem__(self, name: str) -> Any:
        return self._parsed[name]

    def isGiven(self, name: str) -> bool:
        """
        Did any source have this option?
        """
        return name in self._given

    def sourceOf(self, name: str) -> Source | None:
        """
        Say where the value of this option comes from, L{None} for its default.
        """
        given = self._given.get(name)
        return None if given is None else given.kind

    def contentOf(self, name: str, most: int = 1 << 20) -> bytes | None:
        """
        Read the file that an option names.

        @param name: the option's name.
        @param most: how many bytes it may have: a multiple of 1024.
        @return: L{None} if the option is not given.
        @raise ConfigError: if it cannot be read, or is larger.
        """
        if self[name] is None:
            return None
        try:
            return readSmall(self[name], most)
        except ConfigError as error:
            raise self.fault(name, error.complaint) from None

    def fault(self, name: str, problem: str, text: str | None = None) -> ConfigError:
        """
        Make the error that names an option.

        @param name: the option's name.
        @param problem: what is allowed, or why the value cannot be used.
        @param text: which of the texts of a repeatable option is wrong; by default the last.
        """
        given = self._given.get(name)
        if given is None:
            return ConfigError(problem, option=name)
        isSecret = name in self._secrets
        shown = "" if isSecret else quoted(given.texts[-1] if text is None else text)
        return ConfigError(problem, option=name, shown=shown, place=given.source)


class TableOptions(usage.Options):
    """
    The options of one command, for C{twist}.

    @cvar table: the rows. C{--config}, C{--help} and C{--version} come with every command.
    @ivar given: the texts given on the command line, by the options' names.
    """

    table: ClassVar[tuple[Option, ...]] = ()
    longdesc = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for option in (*cls.table, CONFIG):
            setattr(cls, "opt_" + option.name.replace("-", "_"), _handler(option))

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, list[str]] = {}

    def opt_version(self) -> NoReturn:
        """
        Show the version and exit.
        """
        sys.stdout.write(f"invproxy {__version__}\n")
        raise SystemExit(0)

    def getUsage(self, width: int | None = None) -> str:
        """
        Describe the options, in the order of the table.

        @param width: columns of the terminal; by default as C{COLUMNS} in the environment says.
        """
        if width is None:
            columns = os.environ.get("COLUMNS", "")
            width = int(columns) if columns.isdecimal() else 80
        rows = [(_heading(each), helpText(each)) for each in (*self.table, CONFIG)]
        rows += [("--version", "Show the version and exit."), ("--help", "Show this and exit.")]
        lines = ["Options:"]
        for heading, doc in rows:
            lines.append(f"  {heading}")
            indent = " " * 6
            lines += textwrap.wrap(
                doc,
                max(width, 40),
                initial_indent=indent,
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
        return "\n".join(lines) + "\n"

    def resolve(self, environ: Mapping[str, str]) -> Values:
        """
        Merge command line, environment and file.

        @param environ: the environment.
        @raise ConfigError: if the file cannot be read, has an unknown key, or any value cannot be
            used; the text is one line.
        """
        commandLine = {
            name: _Given(tuple(texts), "command line", "command line")
            for name, texts in self.given.items()
        }
        environment = _fromEnvironment((*self.table, CONFIG), environ)
        config = Values.merge([CONFIG], [commandLine, environment])
        fromFile = _fromFile(self.table, config) if config.isGiven(CONFIG.name) else {}
        return Values.merge(self.table, [commandLine, environment, fromFile])

    @classmethod
    def faultsIn(cls, path: str) -> list[ConfigError]:
        """
        Find what is wrong with each key of a TOML file, where L{resolve} stops at the first. Whether they go together
        is another question.

        @param path: of the file.
        """
        config = Values.merge([CONFIG], [{CONFIG.name: _Given((path,), "file", "the file")}])
        faults = []
        try:
            content = readTOML(config)
        except ConfigError as error:
            return [error]
        for key, value in content.items():
            try:
                Values.merge(cls.table, [_fromContent(cls.table, {key: value}, config)])
            except ConfigError as error:
                faults.append(error)
        return faults


def _handler(option: Option) -> Callable[..., None]:
    """
    Make the method with which C{usage.Options} reads an option; it only keeps the text.
    """

    def keep(self: TableOptions, value: str) -> None:
        self.given.setdefault(option.name, []).append(value)

    def turnOn(self: TableOptions) -> None:
        self.given[option.name] = ["on"]

    method = turnOn if option.isFlag else keep
    method.__doc__ = option.doc
    return method


def _fromEnvironment(table: Iterable[Option], environ: Mapping[str, str]) -> dict[str, _Given]:
    given = {}
    for option in table:
        text = environ.get(option.variable, "")
        texts = tuple(text.split()) if option.repeatable else (text,)
        if text.strip():
            given[option.name] = _Given(
                texts, "environment", f"{option.variable} in the environment"
            )
    return given


def readTOML(config: Values) -> dict[str, Any]:
    """
    Read the file that C{--config} names.

    @raise ConfigError: if it cannot be read, or is not TOML.
    """
    path = config[CONFIG.name]
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise config.fault(CONFIG.name, f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise config.fault(CONFIG.name, f"is not valid TOML: {oneLine(why)}") from None


def _fromFile(table: Iterable[Option], config: Values) -> dict[str, _Given]:
    """
    @param config: where C{--config} is the file's path.
    """
    return _fromContent(table, readTOML(config), config)


def _fromContent(
    table: Iterable[Option], content: Mapping[str, Any], config: Values
) -> dict[str, _Given]:
    path = config[CONFIG.name]
    options = {option.name: option for option in table}
    given = {}
    for key, value in content.items():
        option = options.get(key)
        if option is None:
            close = difflib.get_close_matches(key, options, 1, 0.7)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise config.fault(CONFIG.name, f"has the unknown key {quoted(key)}{hint}")
        texts = _textsOf(option, value, path)
        if texts:  # An empty array says that there is nothing to say.
            given[key] = _Given(texts, "file", _placeIn(path, key))
    return given


def _placeIn(path: str, key: str) -> str:
    return f"{key} in {path!r}"


def _textsOf(option: Option, value: object, path: str) -> tuple[str, ...]:
    """
    Turn a value of the TOML file into texts as on the command line.
    """
    if isinstance(value, list) and (option.repeatable or option.separator):
        items = value
    else:
        items = [value]
    texts = []
    for item in items:
        # Exactly the type: to Python, true is an integer, but not to people.
        if type(item) not in option.types:
            names = " or ".join(dict.fromkeys(_TYPE_NAMES[each] for each in option.types))
            if option.repeatable or option.separator:
                names += ", or an array of those"
            raise ConfigError(
                f"must be {names}",
                option=option.name,
                shown="" if option.secret else quoted(item),
                place=_placeIn(path, option.name),
            )
        texts.append(str(item).lower() if isinstance(item, bool) else str(item))
    if option.separator and texts:
        return (option.separator.join(texts),)
    return tuple(texts)


def variableOf(name: str) -> str:
    """
    Name the environment variable of an option.
    """
    return PREFIX + name.upper().replace("-", "_")


def quoted(value: object) -> str:
    """
    Show a value in an error: on one line, no longer than is useful, a URL's credentials masked.
    """
    if isinstance(value, str) and "@" in value and "//" in value:
        value = re.sub(r"//.+@", "//***@", value, count=1, flags=re.DOTALL)
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def oneLine(text: str) -> str:
    """
    Bring a message of somebody else's onto one line.
    """
    return " ".join(text.split())


# Rows of the usual kinds.


def duration(
    name: str, default: float, doc: str, parse: Callable[[str], float] = seconds
) -> Option:
    """
    Make the row of a time in seconds.
    """
    return Option(name, parse, doc, metavar="SECONDS", default=default, types=(int, float))


def number(name: str, default: int, parse: Callable[[str], int], doc: str, *, of: str) -> Option:
    """
    Make the row of a number.

    @param of: what is counted, for C{--help}.
    """
    return Option(name, parse, doc, metavar=of, default=default, types=(int,))


def switch(name: str, doc: str) -> Option:
    """
    Make the row of a flag that is off by default.
    """
    return Option(name, flag, doc, default=False, types=(bool,))


CONFIG = Option(
    "config",
    text,
    "A TOML file with options, for those given neither here nor in the environment.",
    metavar="FILE",
)
"""The option of every command that names its TOML file; it cannot stand in that file itself."""


# Descriptions for people.


def _heading(option: Option) -> str:
    return f"--{option.name}" + ("" if option.isFlag else f" {option.metavar}")


def helpText(option: Option) -> str:
    """
    What an option means, with its default, and whether it may be repeated.
    """
    repeated = " May be given several times." if option.repeatable else ""
    return f"{option.doc}{repeated} [default: {option.shownDefault}]"


def markdownTable(table: Iterable[Option]) -> str:
    """
    Write the table of a documentation page.
    """
    lines = ["| option | environment | default | meaning |", "|---|---|---|---|"]
    for option in (*table, CONFIG):
        doc = option.doc + (" May be given several times." if option.repeatable else "")
        cells = (f"`{_heading(option)}`", f"`{option.variable}`", option.shownDefault, doc)
        lines.append("| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |")
    return "\n".join(lines) + "\n"
