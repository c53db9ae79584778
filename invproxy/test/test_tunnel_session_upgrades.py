"""
Upgrades over a tunnel, both of its ends joined in memory.
"""

from __future__ import annotations

from collections.abc import Callable

from invproxy.errors import ORIGIN_BAD_RESPONSE
from invproxy.test.tunnelcase import GONE, UPGRADE, PairCase


class Upgrades(PairCase):
    """
    Exchanges that become two streams of raw bytes.
    """

    def test_upgrade(self) -> None:
        """
        After a 101 both directions are raw bytes, and each is closed by itself, in either order.
        """
        for clientFirst in (True, False):
            client, asked = self.exchange(fields=UPGRADE)
            self.assertEqual((asked.head.upgrade, asked.ends), (b"echo", [b""]))
            asked.upgrade()
            self.pair.settle()
            assert client.head is not None
            self.assertEqual((client.head.status, client.head.upgrade), (101, b"echo"))
            client.body_.write(b"there")
            asked.answer.write(b"back")
            self.pair.settle()
            self.assertEqual((asked.body, client.body), (b"there", b"back"))
            ends: list[Callable[[], None]] = [client.body_.finish, asked.answer.finish]
            for end in ends if clientFirst else reversed(ends):
                self.assertEqual(len(self.pair.proxy.streams), 1)
                end()
                self.pair.settle()
            self.assertEqual((asked.ends, client.finished), ([b"", b""], True))
            self.assertEqual((self.pair.proxy.streams, self.pair.agent.streams), ({}, {}))
            self.assertEqual(self.pair.left()[0], 0)

    def test_upgradeHalfClosed(self) -> None:
        """
        While one direction is closed, the other goes on, beyond its window.
        """
        for clientFirst in (True, False):
            client, asked = self.exchange(fields=UPGRADE)
            asked.upgrade()
            self.pair.settle()
            (client.body_ if clientFirst else asked.answer).finish()
            self.pair.settle()
            for _ in range(40):
                (asked.answer if clientFirst else client.body_).write(b"x" * 20000)
                self.pair.settle()
            self.assertEqual(len(client.body if clientFirst else asked.body), 800_000)
            client.abort(GONE)
            self.pair.settle()
            self.assertIsNotNone(asked.fault)
            self.assertEqual((self.pair.proxy.streams, self.pair.agent.streams), ({}, {}))

    def test_upgradeRefused(self) -> None:
        """
        A backend may answer such a request in the ordinary way.
        """
        client, asked = self.exchange(fields=UPGRADE)
        asked.reply(b"no")
        self.pair.settle()
        self.assertEqual((client.body, client.finished), (b"no", True))
        self.assertEqual((self.pair.proxy.streams, self.pair.agent.streams), ({}, {}))

    def test_unaskedUpgrade(self) -> None:
        """
        A 101 that nobody asked for is a bad response, of that exchange alone.
        """
        client, asked = self.exchange()
        asked.upgrade()
        self.pair.settle()
        assert client.fault is not None
        self.assertEqual(client.fault.code, ORIGIN_BAD_RESPONSE)
        self.assertIsNotNone(asked.fault)
        self.assertTrue(self.pair.proxy.isReady)
