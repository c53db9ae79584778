"""
What the operating system knows of the process.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from invproxy import process


class ProcessTests(SynchronousTestCase):
    """
    L{invproxy.process}.
    """

    def test_files(self) -> None:
        """
        A file that is opened counts, and there is no room for more than the limit.
        """
        before = process.openFiles()
        if before is None:
            return
        with open(os.devnull, "rb"):
            self.assertEqual(process.openFiles(), before + 1)
        most = process.mostFiles()
        self.assertTrue(most is None or before < most)

    def test_notUnix(self) -> None:
        """
        Where there are no limits there is none.
        """
        self.patch(process, "resource", None)
        self.assertIsNone(process.mostFiles())
