"""
Tables and times for people.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.cli.tables import columnsOf, cut, pairs, printable, table
from invproxy.cli.times import expiry, relative, since
from invproxy.test.messages import examples
from invproxy.units import span

HEADINGS = ["BACKEND", "VISITORS", "PATHS"]


class TableTests(SynchronousTestCase):
    """
    L{table}.
    """

    def test_whole(self) -> None:
        """
        Columns are as wide as they need, and nothing follows the last.
        """
        rows = [["web", "alice@example.com", "/"], ["notes", "everybody", "/notes"]]
        self.assertEqual(
            table(HEADINGS, rows, None),
            "BACKEND  VISITORS           PATHS\n"
            "web      alice@example.com  /\n"
            "notes    everybody          /notes\n",
        )

    def test_cut(self) -> None:
        """
        The widest columns are cut first, and the first one last.
        """
        rows = [["a-long-name", "x" * 40, "/"], ["web", "y" * 10, "z" * 20]]
        self.assertEqual(
            table(HEADINGS, rows, 40),
            "BACKEND      VISITORS      PATHS\n"
            f"a-long-name  {'x' * 11}…  /\n"
            f"web          {'y' * 10}    {'z' * 11}…\n",
        )
        self.assertIn("a-lon…  ", table(HEADINGS, rows, 10))

    def test_wide(self) -> None:
        """
        Characters that take two columns count as two, those above others as none.
        """
        self.assertEqual(
            [columnsOf(text) for text in ("abc", "日本", "e\u0301", "é")], [3, 4, 1, 1]
        )
        self.assertEqual(cut("日本語", 5), "日本…")
        self.assertEqual(cut("日本語", 4), "日…")
        shown = table(["A", "B"], [["日本", "x"], ["abcd", "x"]], None)
        self.assertEqual(shown, "A     B\n日本  x\nabcd  x\n")

    def test_hostile(self) -> None:
        """
        Nothing from elsewhere moves the cursor, or begins a line.
        """
        shown = table(["A"], [["a\x1b[2Jb\nc\x9b\u202e"]], None)
        self.assertEqual(shown, "A\na\\x1b[2Jb\\nc\\x9b\\u202e\n")
        self.assertEqual(pairs([("name", "a\rb"), ("x", "")]), "name  a\\rb\nx\n")
        self.assertEqual(printable("日本 é"), "日本 é")

    @examples(100)
    @given(
        st.lists(st.lists(st.text(max_size=60), min_size=3, max_size=3), max_size=5),
        st.integers(22, 120),
    )
    def test_fits(self, rows: list[list[str]], width: int) -> None:
        """
        No line is wider than the terminal, and all there is is there if it is wide enough.
        """
        lines = table(HEADINGS, rows, width).split("\n")
        self.assertEqual(len(lines), len(rows) + 2)
        for line in lines:
            self.assertLessEqual(columnsOf(line), width)
        if all(columnsOf(line) <= width for line in table(HEADINGS, rows, None).split("\n")):
            self.assertEqual(table(HEADINGS, rows, width), table(HEADINGS, rows, None))


class TimeTests(SynchronousTestCase):
    """
    Times as people say them.
    """

    def test_expiry(self) -> None:
        """
        Spans, dates and times.
        """
        now = 1_800_000_000.5  # 2027-01-15T08:00:00.5Z
        for said, meant in (
            ("90s", "2027-01-15T08:01:30Z"),
            ("15m", "2027-01-15T08:15:00Z"),
            ("12h", "2027-01-15T20:00:00Z"),
            ("30d", "2027-02-14T08:00:00Z"),
            ("2w", "2027-01-29T08:00:00Z"),
            ("2027-01-31", "2027-01-31T00:00:00Z"),
            ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z"),
            ("2027-01-31T12:00:00+02:00", "2027-01-31T10:00:00Z"),
        ):
            self.assertEqual(expiry(said, now), meant)

    def test_badExpiry(self) -> None:
        """
        What cannot be meant, with what is allowed.
        """
        for said, why in (
            ("", "30d"),
            ("tomorrow", "30d"),
            ("30", "30d"),
            ("30y", "30d"),
            ("1e3d", "30d"),
            ("999999w", "30d"),
            ("2027-13-01", "30d"),
            ("2027-01-31T12:00:00", "time zone"),
            ("2026-01-01", "future"),
            ("0s", "future"),
        ):
            error = self.assertRaises(ValueError, expiry, said, 1_800_000_000.0)
            self.assertIn(why, str(error), said)

    def test_spans(self) -> None:
        """
        In the largest unit of which it takes two.
        """
        for seconds, said in (
            (0.4, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7199, "120 min"),
            (7200, "2 h"),
            (86400 * 2 - 1, "48 h"),
            (86400 * 29.99, "30 days"),
        ):
            self.assertEqual(span(seconds), said)
        self.assertEqual((since(1.0), since(5.0)), ("just now", "5 s ago"))

    def test_relative(self) -> None:
        """
        Before and after now; what is no time is shown as it is.
        """
        self.assertEqual(relative("1970-01-01T01:00:00Z", 7200.0), "60 min ago")
        self.assertEqual(relative("1970-01-02T00:00:00Z", 0.0), "24 h from now")
        self.assertEqual(relative("never", 0.0), "never")
        self.assertEqual(relative(None, 0.0), "None")
