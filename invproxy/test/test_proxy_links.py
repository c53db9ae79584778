"""
The links of agents, and whose credentials they live by.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from invproxy.credential import CERTIFICATE, JWT, TOKEN, Credential
from invproxy.proxy.links import Links
from invproxy.registry.records import Backend
from invproxy.registry.registry import Changed, Deleted, Revoked


class LinksTests(SynchronousTestCase):
    """
    L{Links} by itself.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.links = Links(self.clock)
        self.cut: list[tuple[str, str]] = []

    def add(self, name: str, kind: str = TOKEN, backend: str = "a", **options: Any) -> Any:
        credential = Credential(kind, name, backend, **options)
        return self.links.add(credential, lambda why: self.cut.append((name, why)))

    def names(self) -> list[str]:
        found, self.cut = self.cut, []
        return [name for name, _ in found]

    def test_revoked(self) -> None:
        """
        The links of that token of that backend, and no others.
        """
        self.add("one")
        self.add("one")
        self.add("two")
        self.add("one", backend="b")
        self.add("one", JWT)
        self.links.changed(Revoked("a", "one"))
        self.assertEqual(self.cut, [("one", "this token was revoked")] * 2)
        self.links.changed(Revoked("a", "one"))
        self.links.changed(Revoked("c", "one"))
        self.assertEqual(len(self.cut), 2)
        self.assertEqual(len(self.links), 3)

    def test_changed(self) -> None:
        """
        The links of JWTs and certificates that name somebody else.
        """
        for name, kind in (("x", TOKEN), ("x", JWT), ("y", JWT), ("z", CERTIFICATE)):
            self.add(name, kind)
        record = Backend("a", "", "y", ("/",), ("u",))
        self.links.changed(Changed("a", record, None))
        self.assertEqual(self.names(), ["x", "z"])
        self.links.changed(Deleted("a"))
        self.assertEqual(self.names(), ["x", "y"])
        self.assertEqual(len(self.links), 0)

    def test_forget(self) -> None:
        """
        What is over is not cut, nor watched, nor kept.
        """
        forget = self.add("one", expires=100.0)
        forget()
        forget()
        self.links.changed(Revoked("a", "one"))
        self.clock.advance(200)
        self.assertEqual(self.cut, [])
        self.assertEqual(self.links._links, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_expires(self) -> None:
        """
        At the time, and once.
        """
        self.add("one", expires=100.0)
        self.add("two", expires=200.0)
        self.clock.advance(99.9)
        self.assertEqual(self.names(), [])
        self.clock.advance(0.4)
        self.assertEqual(self.names(), ["one"])
        self.links.changed(Revoked("a", "one"))
        self.assertEqual(self.names(), [])
        self.links.stop()
        self.clock.advance(200)
        self.assertEqual(self.names(), [])

    def test_warned(self) -> None:
        """
        A while before it expires, if it was long enough.
        """
        warned: list[str] = []
        for name, expires in (("short", 59.0), ("long", 100.0)):
            credential = Credential(JWT, name, "a", expires)
            self.links.add(
                credential,
                lambda why, name=name: self.cut.append((name, why)),  # type: ignore[misc]
                lambda name=name: warned.append(name),  # type: ignore[misc]
            )
        self.clock.advance(59.5)
        self.assertEqual((self.names(), warned), (["short"], []))
        self.clock.advance(11)
        self.assertEqual((self.names(), warned), ([], ["long"]))
        self.clock.advance(29)
        self.assertEqual(self.names(), [])
        self.clock.advance(1)
        self.assertEqual((self.names(), warned), (["long"], ["long"]))

    def test_failure(self) -> None:
        """
        One that cannot be cut is logged, and the others are.
        """

        def fail(why: str) -> None:
            raise RuntimeError(why)

        self.links.add(Credential(TOKEN, "one", "a"), fail)
        self.add("one")
        self.links.changed(Revoked("a", "one"))
        self.assertEqual(self.names(), ["one"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_oneEndsAnother(self) -> None:
        """
        A link that ends with another is not cut itself.
        """
        forgets: list[Any] = []

        def cut(why: str) -> None:
            for forget in forgets:
                forget()

        self.links.add(Credential(TOKEN, "one", "a"), cut)
        forgets.append(self.add("one"))
        self.links.changed(Revoked("a", "one"))
        self.assertEqual(self.names(), [])
