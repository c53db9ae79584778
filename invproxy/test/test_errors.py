"""
What the documentation says about the codes of errors.
"""

import re
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import invproxy
from invproxy.errors import CLIENT_GONE, CODES, IDLE_TIMEOUT, OUT_OF_DESCRIPTORS

PAGE = Path(invproxy.__file__).parent.parent / "docs" / "errors.md"
NEVER_ANSWERED = (CLIENT_GONE, IDLE_TIMEOUT, OUT_OF_DESCRIPTORS)


class DocumentationTests(SynchronousTestCase):
    """
    The page about codes.
    """

    def test_codes(self) -> None:
        """
        docs/errors.md has every code with its status, and no other.
        """
        if not PAGE.exists():
            raise SkipTest("the documentation is not installed")
        page = PAGE.read_text(encoding="utf-8")
        answered = re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \|", page, re.MULTILINE)
        logged = re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)
        self.assertEqual(
            sorted(answered),
            sorted(
                (str(code.status), code.name)
                for code in CODES.values()
                if code not in NEVER_ANSWERED
            ),
        )
        self.assertEqual(sorted(logged), sorted(code.name for code in NEVER_ANSWERED))
