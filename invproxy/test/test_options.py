"""
Options as tables: three sources, one clear line for what cannot be used, and a page that shows all.

C{python -m invproxy.test.test_options} writes the tables of docs/options.md anew.
"""

import os
from pathlib import Path

from twisted.python.usage import UsageError
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import invproxy
from invproxy import agent_tap, server_tap
from invproxy.errors import ConfigError
from invproxy.options import (
    Option,
    TableOptions,
    Values,
    duration,
    markdownTable,
    number,
    oneLine,
    quoted,
    switch,
    variableOf,
)
from invproxy.parsers import choice, count, flag, seconds, text

PAGE = Path(invproxy.__file__).parent.parent / "docs" / "options.md"

TABLES = {"invproxy-server": server_tap.TABLE, "invproxy-agent": agent_tap.TABLE}


def csv(given: str) -> tuple[str, ...]:
    return tuple(given.split(","))


class Example(TableOptions):
    """
    A row of each kind.
    """

    table = (
        Option("where", text, "Where.", metavar="PLACE", default=("here",), repeatable=True),
        Option("names", csv, "Names.", metavar="NAME,...", default=(), separator=","),
        Option("secret-url", choice("fine"), "A secret.", metavar="URL", secret=True),
        Option("colour", choice("red", "blue"), "Colour.", metavar="red|blue", default="red"),
        duration("time-out", 30.0, "A time."),
        number("size", 3, count(1, 9), "A size.", of="N"),
        switch("loud", "Shout."),
    )


class SourcesTestCase(SynchronousTestCase):
    """
    Helpers: the example's options from each of the three sources.
    """

    def resolve(
        self, arguments: str = "", environ: dict[str, str] | None = None, toml: str | None = None
    ) -> Values:
        options = Example()
        given = arguments.split()
        if toml is not None:
            self.path = self.mktemp()
            Path(self.path).write_text(toml, encoding="utf-8")
            given += ["--config", self.path]
        options.parseOptions(given)
        return options.resolve(environ or {})

    def faultOf(
        self, arguments: str = "", environ: dict[str, str] | None = None, toml: str | None = None
    ) -> str:
        error = self.assertRaises(ConfigError, self.resolve, arguments, environ, toml)
        line = str(error)
        self.assertEqual(line, oneLine(line))
        return line


class PrecedenceTests(SourcesTestCase):
    """
    Which source wins.
    """

    def test_defaults(self) -> None:
        """
        Without any source the table's defaults count.
        """
        values = self.resolve()
        expected = {
            "where": ("here",),
            "names": (),
            "secret-url": None,
            "colour": "red",
            "time-out": 30.0,
            "size": 3,
            "loud": False,
        }
        self.assertEqual({name: values[name] for name in expected}, expected)
        self.assertFalse(any(values.isGiven(name) for name in expected))
        self.assertIsNone(values.sourceOf("size"))

    def test_file(self) -> None:
        """
        The file wins over the defaults, in TOML's own types.
        """
        values = self.resolve(
            toml=(
                'where = ["a", "b c"]\nnames = ["x", "y"]\ncolour = "blue"\ntime-out = 2.5\n'
                "size = 4\nloud = true\n"
            )
        )
        self.assertEqual(values["where"], ("a", "b c"))
        self.assertEqual(values["names"], ("x", "y"))
        self.assertEqual(values["colour"], "blue")
        self.assertEqual(values["time-out"], 2.5)
        self.assertEqual(values["size"], 4)
        self.assertIs(values["loud"], True)
        self.assertEqual(values.sourceOf("size"), "file")

    def test_fileInShort(self) -> None:
        """
        One value needs no array, an integer is a time too, and an empty array says nothing.
        """
        values = self.resolve(toml='where = "a"\nnames = []\ntime-out = 10\nloud = false\n')
        self.assertEqual(values["where"], ("a",))
        self.assertEqual(values["names"], ())
        self.assertFalse(values.isGiven("names"))
        self.assertEqual(values["time-out"], 10.0)
        self.assertIs(values["loud"], False)

    def test_environment(self) -> None:
        """
        The environment wins over the file; white space separates the values of a repeatable option.
        """
        values = self.resolve(
            "",
            {
                "INVPROXY_WHERE": " d  e ",
                "INVPROXY_NAMES": "p,q",
                "INVPROXY_TIME_OUT": "7",
                "INVPROXY_LOUD": "No",
            },
            'where = ["a"]\nnames = "x"\ntime-out = 1\nsize = 5\nloud = true\n',
        )
        self.assertEqual(values["where"], ("d", "e"))
        self.assertEqual(values["names"], ("p", "q"))
        self.assertEqual(values["time-out"], 7.0)
        self.assertEqual(values["size"], 5)
        self.assertIs(values["loud"], False)
        self.assertEqual(values.sourceOf("loud"), "environment")

    def test_commandLine(self) -> None:
        """
        The command line wins over all, as a whole.
        """
        values = self.resolve(
            "--where x --where y --size 6 --size 7 --loud",
            {"INVPROXY_WHERE": "d", "INVPROXY_SIZE": "8", "INVPROXY_LOUD": "0"},
            "size = 9\n",
        )
        self.assertEqual(values["where"], ("x", "y"))
        self.assertEqual(values["size"], 7)
        self.assertIs(values["loud"], True)
        self.assertEqual(values.sourceOf("loud"), "command line")

    def test_emptyVariable(self) -> None:
        """
        An empty environment variable counts as unset.
        """
        values = self.resolve("", {"INVPROXY_SIZE": "", "INVPROXY_WHERE": "  "}, "size = 9\n")
        self.assertEqual(values["size"], 9)
        self.assertEqual(values["where"], ("here",))

    def test_configFromEnvironment(self) -> None:
        """
        The environment may name the file.
        """
        path = self.mktemp()
        Path(path).write_text("size = 9\n", encoding="utf-8")
        self.assertEqual(self.resolve("", {"INVPROXY_CONFIG": path})["size"], 9)

    def test_names(self) -> None:
        """
        Variables are named after options.
        """
        self.assertEqual(variableOf("agent-listen"), "INVPROXY_AGENT_LISTEN")


class FaultTests(SourcesTestCase):
    """
    One line that names option, source, value and what is allowed.
    """

    def test_commandLine(self) -> None:
        """
        A bad value on the command line.
        """
        must = {
            "time": "must be a number of seconds, 0 or more, such as 30 or 2.5",
            "size": "must be an integer, from 1 to 9",
        }
        for arguments, line in (
            ("--time-out -1", f"--time-out is '-1' (command line): {must['time']}"),
            ("--time-out nan", f"--time-out is 'nan' (command line): {must['time']}"),
            ("--size 0", f"--size is '0' (command line): {must['size']}"),
            ("--size 10", f"--size is '10' (command line): {must['size']}"),
            ("--size 2.0", f"--size is '2.0' (command line): {must['size']}"),
            ("--colour pink", "--colour is 'pink' (command line): must be one of red, blue"),
            ("--where a --where=", "--where is '' (command line): must not be empty"),
            ("--secret-url x", "--secret-url (command line; value not shown): must be one of fine"),
        ):
            self.assertEqual(self.faultOf(arguments), line)

    def test_environment(self) -> None:
        """
        A bad value in the environment.
        """
        where = "in the environment"
        for environ, line in (
            (
                {"INVPROXY_SIZE": "x"},
                f"--size is 'x' (INVPROXY_SIZE {where}): must be an integer, from 1 to 9",
            ),
            (
                {"INVPROXY_LOUD": "maybe"},
                f"--loud is 'maybe' (INVPROXY_LOUD {where}):"
                " must be one of 1, true, yes, on, 0, false, no, off",
            ),
            (
                {"INVPROXY_SECRET_URL": "x"},
                f"--secret-url (INVPROXY_SECRET_URL {where}; value not shown): must be one of fine",
            ),
            (
                {"INVPROXY_CONFIG": "/nowhere/x.toml"},
                f"--config is '/nowhere/x.toml' (INVPROXY_CONFIG {where}):"
                " cannot be read: No such file or directory",
            ),
        ):
            self.assertEqual(self.faultOf("", environ), line)

    def test_file(self) -> None:
        """
        A bad value in the file, a wrong type among them.
        """
        for toml, line in (
            ("size = 10", "--size is '10' (size in {0}): must be an integer, from 1 to 9"),
            ("size = '4'", "--size is '4' (size in {0}): must be an integer"),
            ("size = true", "--size is True (size in {0}): must be an integer"),
            ("size = [1]", "--size is [1] (size in {0}): must be an integer"),
            (
                "time-out = '4'",
                "--time-out is '4' (time-out in {0}): must be an integer or a number",
            ),
            (
                "time-out = inf",
                "--time-out is 'inf' (time-out in {0}):"
                " must be a number of seconds, 0 or more, such as 30 or 2.5",
            ),
            ("loud = 1", "--loud is 1 (loud in {0}): must be true or false"),
            ("colour = 3", "--colour is 3 (colour in {0}): must be a string"),
            (
                "where = ['a', 3]",
                "--where is 3 (where in {0}): must be a string, or an array of those",
            ),
            (
                "names = {a = 1}",
                "--names is {{'a': 1}} (names in {0}): must be a string, or an array of those",
            ),
            (
                "secret-url = 3",
                "--secret-url (secret-url in {0}; value not shown): must be a string",
            ),
        ):
            self.assertEqual(self.faultOf(toml=toml), line.format(repr(self.path)))

    def test_fileItself(self) -> None:
        """
        A file that cannot be understood.
        """
        for toml, problem in (
            ("sise = 3", "has the unknown key 'sise'; did you mean size?"),
            ("[server]\nsize = 3", "has the unknown key 'server'"),
            ("time_out = 3", "has the unknown key 'time_out'; did you mean time-out?"),
            ("config = 'x'", "has the unknown key 'config'"),
        ):
            self.assertEqual(
                self.faultOf(toml=toml), f"--config is {self.path!r} (command line): {problem}"
            )
        for toml in ("size", "size = ", "size = 1\nsize = 2", "x = " + "[" * 5000):
            self.assertTrue(
                self.faultOf(toml=toml).startswith(
                    f"--config is {self.path!r} (command line): is not valid TOML: "
                )
            )

    def test_unreadable(self) -> None:
        """
        A file that is a directory, or that is no text.
        """
        folder = self.mktemp()
        os.mkdir(folder)
        self.assertEqual(
            self.faultOf(f"--config {folder}"),
            f"--config is {folder!r} (command line): cannot be read: Is a directory",
        )
        Path(folder, "x").write_bytes(b"\xff\xfe")
        self.assertIn("is not valid TOML", self.faultOf(f"--config {folder}/x"))

    def test_missing(self) -> None:
        """
        What must be given, but is not.
        """
        self.assertEqual(
            str(self.resolve().fault("where", "must be a place")),
            "--where is not given: must be a place",
        )

    def test_usage(self) -> None:
        """
        What is no option at all is a usage error, as in any other command of C{twist}.
        """
        for arguments in ("--nope", "--size", "--loud=1", "stray"):
            options = Example()
            self.assertRaises(UsageError, options.parseOptions, arguments.split())

    def test_quoted(self) -> None:
        """
        A value is shown on one line, cut where it is long, without a URL's credentials.
        """
        self.assertEqual(quoted("a\nb\x1b"), r"'a\nb\x1b'")
        self.assertEqual(quoted("x" * 1000), "'" + "x" * 99 + "...")
        self.assertEqual(quoted("https://me:s3cr@t@host/"), "'https://***@host/'")
        self.assertEqual(quoted("me@home"), "'me@home'")


class ParserTests(SynchronousTestCase):
    """
    The common parsers.
    """

    def test_seconds(self) -> None:
        """
        Plain decimal numbers alone.
        """
        for given, expected in (
            ("0", 0.0),
            ("30", 30.0),
            ("2.5", 2.5),
            ("2.", 2.0),
            (".5", 0.5),
            ("1e3", 1000.0),
            ("1e-05", 1e-05),
        ):
            self.assertEqual(seconds(given), expected)
        for given in (
            "",
            "-1",
            "+1",
            "inf",
            "nan",
            "1_0",
            " 1",
            "1e999",
            "2e9",
            "1s",
            ".",
            "١",
            "0x1",
        ):
            self.assertRaises(ConfigError, seconds, given)

    def test_count(self) -> None:
        """
        Integers within bounds.
        """
        self.assertEqual(count()("0"), 0)
        self.assertEqual(count(1)("123456789"), 123456789)
        for given in ("", "-1", "+1", "1.0", "1e3", "1_0", " 1", "9" * 30, "١", "0x1"):
            self.assertRaises(ConfigError, count(), given)
        error = self.assertRaises(ConfigError, count(1), "0")
        self.assertEqual(str(error), "must be an integer, 1 or more")

    def test_flag(self) -> None:
        """
        The usual words, in any case.
        """
        for given in ("1", "true", "YES", "On"):
            self.assertIs(flag(given), True)
        for given in ("0", "False", "no", "OFF "):
            self.assertIs(flag(given), False)
        for given in ("", "2", "y", "enabled"):
            self.assertRaises(ConfigError, flag, given)


class HelpTests(SynchronousTestCase):
    """
    What people read.
    """

    def test_usage(self) -> None:
        """
        C{--help} has every option with its value's name and its default.
        """
        usage = Example().getUsage(60)
        self.assertIn(
            "  --where PLACE\n      Where. May be given several times. [default: here]\n", usage
        )
        self.assertIn("  --time-out SECONDS\n      A time. [default: 30]\n", usage)
        self.assertIn("  --loud\n      Shout. [default: off]\n", usage)
        self.assertIn("  --config FILE\n", usage)
        self.assertIn("  --version\n", usage)

    def test_width(self) -> None:
        """
        The lines fit the terminal, as far as words allow.
        """
        for table in (server_tap.Options, agent_tap.Options):
            for width in (60, 80, 120):
                lines = table().getUsage(width).splitlines()
                self.assertLessEqual(max(map(len, lines)), width)

    def test_version(self) -> None:
        """
        C{--version} tells ours, not Twisted's.
        """
        written: list[str] = []

        class Stream:
            write = written.append

        self.patch(__import__("sys"), "stdout", Stream())
        error = self.assertRaises(SystemExit, Example().parseOptions, ["--version"])
        self.assertEqual(error.code, 0)
        self.assertEqual(written, [f"invproxy {invproxy.__version__}\n"])

    def test_markdown(self) -> None:
        """
        A table for the documentation, bars escaped.
        """
        lines = markdownTable(Example.table).splitlines()
        self.assertIn(r"| `--colour red\|blue` | `INVPROXY_COLOUR` | red | Colour. |", lines)
        self.assertIn("| `--loud` | `INVPROXY_LOUD` | off | Shout. |", lines)
        self.assertTrue(lines[-1].startswith("| `--config FILE` | `INVPROXY_CONFIG` | none |"))


def documented(page: str) -> str:
    """
    The documentation page with its tables as they should be.
    """
    for name, table in TABLES.items():
        before, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        page = f"{before}{begin}\n{markdownTable(table)}\n{end}{after}"
    return page


class FaultsTests(SynchronousTestCase):
    """
    All that is wrong with a file.
    """

    def faults(self, content: str) -> list[str]:
        path = self.mktemp()
        Path(path).write_text(content)
        return [str(fault).replace(repr(path), "FILE") for fault in Example.faultsIn(path)]

    def test_each(self) -> None:
        """
        Each key has its own; what is right has none, and a secret is not shown.
        """
        self.assertEqual(self.faults('where = ["a", "b"]\nsize = 3\nsecret-url = "fine"'), [])
        self.assertEqual(
            self.faults('size = 10\nlaud = true\nloud = 1\nsecret-url = "hidden"'),
            [
                "--size is '10' (size in FILE): must be an integer, from 1 to 9",
                "--config is FILE (the file): has the unknown key 'laud'; did you mean loud?",
                "--loud is 1 (loud in FILE): must be true or false",
                "--secret-url (secret-url in FILE; value not shown): must be one of fine",
            ],
        )

    def test_unreadable(self) -> None:
        """
        One for what is no TOML, and for what is not there.
        """
        self.assertEqual(len(self.faults("= =")), 1)
        [fault] = Example.faultsIn("/nowhere")
        self.assertIn("cannot be read", str(fault))


class DocumentationTests(SynchronousTestCase):
    """
    The page about options.
    """

    def test_tables(self) -> None:
        """
        docs/options.md has every option as it is.
        """
        if not PAGE.exists():
            raise SkipTest("the documentation is not installed")
        page = PAGE.read_text(encoding="utf-8")
        self.assertEqual(
            page, documented(page), "run: python -m invproxy.test.test_options, and commit the page"
        )


if __name__ == "__main__":
    PAGE.write_text(documented(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
