"""
How long an agent waits before it tries again.
"""

from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.agent.backoff import LONGEST_ASKED, Backoff, retryAfter
from invproxy.test.messages import examples


class BackoffTests(SynchronousTestCase):
    """
    L{Backoff}.
    """

    def test_bounds(self):
        """
        The bound doubles up to 5 seconds, and stays there for ever.
        """
        backoff = Backoff(lambda: 1.0)
        self.assertEqual(
            [round(backoff.fail(), 3) for _ in range(8)], [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
        )
        self.assertEqual({backoff.fail() for _ in range(5000)}, {5.0})

    def test_fullJitter(self):
        """
        All of the wait is random, so that agents that lost their proxy at once come back apart.
        """
        backoff = Backoff(iter([0.0, 0.5, 0.25]).__next__)
        self.assertEqual([backoff.fail() for _ in range(3)], [0.0, 0.1, 0.1])

    def test_succeed(self):
        """
        After a success it begins anew.
        """
        backoff = Backoff(lambda: 1.0)
        for _ in range(5):
            backoff.fail()
        backoff.succeed()
        self.assertEqual(backoff.fail(), 0.1)

    def test_asked(self):
        """
        What the proxy asks for is waited at least, but not for ever; the jitter comes on top.
        """
        backoff = Backoff(lambda: 1.0)
        self.assertAlmostEqual(backoff.fail(7.0), 7.1)
        self.assertAlmostEqual(backoff.fail(1e9), LONGEST_ASKED + 0.2)


class RetryAfterTests(SynchronousTestCase):
    """
    L{retryAfter}.
    """

    def test_none(self):
        """
        Without the field there is nothing to wait for.
        """
        self.assertEqual(retryAfter(b"\r\nX-Retry-After: 9", 0.0), 0.0)

    def test_seconds(self):
        """
        It may be seconds, bounded.
        """
        for text, seconds in [(b"0", 0), (b"7", 7), (b"301", 300), (b"9" * 5000, 300), (b"007", 7)]:
            self.assertEqual(retryAfter(b"\r\nretry-after: " + text, 0.0), seconds)

    def test_date(self):
        """
        It may be a date, measured against the answer's own Date.
        """
        block = (
            b"\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\nRetry-After: Sun, 22 Nov 2026 12:00:42 GMT"
        )
        self.assertEqual(retryAfter(block, 1e9), 42.0)

    def test_dateWithoutDate(self):
        """
        Without Date the own clock must do.
        """
        block = b"\r\nRetry-After: " + formatdate(1_000_030, usegmt=True).encode()
        self.assertEqual(retryAfter(block, 1_000_000.0), 30.0)

    def test_past(self):
        """
        A date that has passed, or lies far ahead, is bounded.
        """
        date = b"\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\nRetry-After: "
        self.assertEqual(retryAfter(date + b"Sun, 22 Nov 2020 12:00:00 GMT", 0.0), 0.0)
        self.assertEqual(retryAfter(date + b"Sun, 22 Nov 2099 12:00:00 GMT", 0.0), LONGEST_ASKED)

    def test_garbage(self):
        """
        What cannot be read counts as nothing.
        """
        for text in [
            b"",
            b"-5",
            b"1.5",
            b"soon",
            b"\xb2",
            b"\xff\xfe",
            b"Sun, 99 Nov 2026 12:00:00 GMT",
        ]:
            self.assertEqual(retryAfter(b"\r\nRetry-After: " + text, 0.0), 0.0, text)

    @examples(300)
    @given(
        st.one_of(st.binary(max_size=40), st.text("SunMo, 0123456789:GT+-").map(str.encode)),
        st.binary(max_size=30),
    )
    def test_anything(self, text, date):
        """
        Nothing that a header field can hold raises, or makes the agent wait longer than the bound.
        """
        text, date = (each.translate(None, b"\r\n\0") for each in (text, date))
        block = b"\r\nDate: %b\r\nRetry-After: %b" % (date, text)
        self.assertTrue(0.0 <= retryAfter(block, 1.8e9) <= LONGEST_ASKED)
