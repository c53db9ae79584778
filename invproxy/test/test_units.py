"""
Times and sizes as people say them.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from invproxy.units import sizeOf, span


class UnitTests(SynchronousTestCase):
    """
    Largest units that fit.
    """

    def test_span(self) -> None:
        """
        Two or more of a unit.
        """
        for seconds, text in (
            (0.4, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7200, "2 h"),
            (4e5, "5 days"),
        ):
            self.assertEqual(span(seconds), text)

    def test_size(self) -> None:
        """
        One or more of a unit, and a decimal where that tells something.
        """
        for count, text in (
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10240, "10 KiB"),
            (5 << 30, "5.0 GiB"),
            (9 << 50, "9216 TiB"),
        ):
            self.assertEqual(sizeOf(count), text)
