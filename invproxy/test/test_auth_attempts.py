"""
Attempts to sign in.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from invproxy.auth.attempts import TIMEOUT, Attempts, localTarget
from invproxy.test.messages import examples


class TargetTests(SynchronousTestCase):
    """
    L{localTarget}.
    """

    def test_local(self) -> None:
        """
        Pages here are fine.
        """
        for target in (
            b"/",
            b"/a",
            b"/a/b?c=d&e=//f",
            b"/a//b",
            b"/?x",
            b"/a:b@c",
            b"/.x",
            b"/%0a",
        ):
            self.assertEqual(localTarget(target), target.decode())

    def test_elsewhere(self) -> None:
        """
        Whatever a browser might take for another site, or what no link needs, leads to the start page; so do our own
        pages, or one would be led in a circle.
        """
        for target in (
            b"",
            b"a",
            b"//evil.example/",
            b"///evil.example/",
            b"/\\evil.example/",
            b"\\/evil.example",
            b"/a\\b",
            b"/\t/evil.example",
            b"/\n/evil.example",
            b"/\r\nSet-Cookie: a=b",
            b" //evil.example",
            b"https://evil.example/",
            b"javascript:alert(1)",
            b"*",
            b"/\xe9",
            b"/ a",
            b"/\x7f",
            b"/.invproxy/sign-in?to=/a",
            b"/.invproxy/sign-out",
            b"/" + b"x" * 1024,
        ):
            self.assertEqual(localTarget(target), "/", target)

    @examples(100)
    @given(st.binary(max_size=20))
    def test_anything(self, target: bytes) -> None:
        """
        Whatever it is, it begins with one slash, and goes into a field as it is.
        """
        local = localTarget(b"/" + target)
        self.assertTrue(local.isascii() and local.isprintable())
        self.assertRegex(local, r"\A/([^/\\].*)?\Z")


class AttemptsTests(SynchronousTestCase):
    """
    L{Attempts}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.attempts = Attempts(self.clock)
        self.binding = self.attempts.bindingOf(None)
        self.attempt = self.attempts.begin("/page-of-alice", "https://a.example/.invproxy/callback")
        self.state = self.attempts.seal(self.attempt, self.binding)

    def test_open(self) -> None:
        """
        What was sealed is read again by the same browser, as often as it likes, until it is late.
        """
        for _ in range(2):
            found = self.attempts.open(self.state, self.binding.encode())
            self.assertEqual(found, self.attempt)
        self.clock.advance(TIMEOUT)
        self.assertIsNotNone(self.attempts.open(self.state, self.binding.encode()))
        self.clock.advance(1)
        self.assertIsNone(self.attempts.open(self.state, self.binding.encode()))

    def test_others(self) -> None:
        """
        Another browser cannot use it, nor another proxy, and nobody can make or change one.
        """
        binding = self.binding.encode()
        other = self.attempts.bindingOf(None)
        self.assertNotEqual(other, self.binding)
        for state, cookie in (
            (self.state, other.encode()),
            (self.state, b""),
            (self.state, None),
            ("", binding),
            ("x", binding),
            (self.state[:-1], binding),
            ("A" + self.state[1:] if self.state[0] != "A" else "B" + self.state[1:], binding),
            (self.state + "\xe9", binding),
            (Attempts(self.clock).seal(self.attempt, self.binding), binding),
        ):
            self.assertIsNone(self.attempts.open(state, cookie), (state, cookie))

    def test_secret(self) -> None:
        """
        The state tells nothing, and is never the same twice; neither are nonce and verifier, which no log shows.
        """
        self.assertNotIn("page-of-alice", self.state)
        self.assertRegex(self.state, r"\A[A-Za-z0-9_-]+\Z")
        self.assertNotEqual(self.state, self.attempts.seal(self.attempt, self.binding))
        other = self.attempts.begin("/page-of-alice", "https://a.example/.invproxy/callback")
        self.assertNotEqual(other.nonce, self.attempt.nonce)
        self.assertNotEqual(other.verifier, self.attempt.verifier)
        self.assertTrue(43 <= len(other.verifier) <= 128)  # RFC 7636, section 4.1
        self.assertNotIn(other.nonce, repr(other))
        self.assertNotIn(other.verifier, repr(other))

    def test_binding(self) -> None:
        """
        A browser with two windows keeps its secret, so that both can sign in; but what is none is not taken for one.
        """
        self.assertEqual(self.attempts.bindingOf(self.binding.encode()), self.binding)
        for cookie in (b"", b"short", b"x" * 44, b"x" * 42 + b";"):
            self.assertRegex(self.attempts.bindingOf(cookie), r"\A[A-Za-z0-9_-]{43}\Z")
            self.assertNotEqual(self.attempts.bindingOf(cookie).encode(), cookie)

    def test_length(self) -> None:
        """
        With the longest target the state is short enough for a URL.
        """
        target = localTarget(b"/" + b"x" * 1023)
        self.assertEqual(len(target), 1024)
        state = self.attempts.seal(self.attempts.begin(target, "https://a.example/"), self.binding)
        self.assertLess(len(state), 2000)
