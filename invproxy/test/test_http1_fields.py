"""
Header sections as blocks of bytes.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.http1.fields import dropper, elements, items, join, value, values, without
from invproxy.test.messages import blocks, examples, ordinaryFields

BLOCK = b"\r\nHost: a\r\nAccept:b \t\r\naccept:\t c\r\nX-Accept: d\r\nAccept-Language: \r\nX-Y: Accept: e"


class Lookups(SynchronousTestCase):
    """
    Fields are found by their whole names in any case.
    """

    def test_values(self) -> None:
        self.assertEqual(values(BLOCK, b"ACCEPT"), [b"b", b"c"])
        self.assertEqual(values(BLOCK, b"accept-language"), [b""])
        self.assertEqual(values(BLOCK, b"cookie"), [])
        self.assertEqual(values(b"", b"cookie"), [])

    def test_value(self) -> None:
        self.assertEqual(value(BLOCK, b"Accept"), b"b")
        self.assertEqual(value(BLOCK, b"accept-language"), b"")
        self.assertIsNone(value(BLOCK, b"X"))

    def test_namesAreNoPatterns(self) -> None:
        self.assertIsNone(value(b"\r\nab: c", b"a."))
        self.assertEqual(value(b"\r\na.b*: c", b"A.B*"), b"c")

    def test_items(self) -> None:
        self.assertEqual(
            list(items(BLOCK)),
            [
                (b"Host", b"a"),
                (b"Accept", b"b"),
                (b"accept", b"c"),
                (b"X-Accept", b"d"),
                (b"Accept-Language", b""),
                (b"X-Y", b"Accept: e"),
            ],
        )

    @examples(100)
    @given(ordinaryFields, st.data())
    def test_joinAndItems(self, pairs: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
        """
        Names and values are the same whatever the white space around them.
        """
        self.assertEqual(list(items(join(pairs))), pairs)
        self.assertEqual(list(items(data.draw(blocks(pairs)))), pairs)


class Drops(SynchronousTestCase):
    """
    Fields are dropped as whole lines, and the others stay as they are.
    """

    def test_dropper(self) -> None:
        drop = dropper(b"accept", b"host")
        self.assertEqual(drop(BLOCK), b"\r\nX-Accept: d\r\nAccept-Language: \r\nX-Y: Accept: e")
        self.assertEqual(drop(b""), b"")

    def test_anyRest(self) -> None:
        self.assertEqual(dropper(b"accept*", b"x-*")(BLOCK + b"\r\nX:1"), b"\r\nHost: a\r\nX:1")

    def test_alike(self) -> None:
        block = b"\r\nX_A: 1\r\nx-a: 2\r\nX_A_B: 3\r\nXxA: 4"
        self.assertEqual(dropper(b"x-a")(block), b"\r\nX_A: 1\r\nX_A_B: 3\r\nXxA: 4")
        self.assertEqual(dropper(b"x-a", alike=True)(block), b"\r\nX_A_B: 3\r\nXxA: 4")
        self.assertEqual(dropper(b"x-a*", alike=True)(block), b"\r\nXxA: 4")

    def test_oddNames(self) -> None:
        """
        Every character of a token is only itself.
        """
        self.assertEqual(dropper(b"^a", b"]", b"-b")(b"\r\n^A: 1\r\nb: 2\r\n-B: 3"), b"\r\nb: 2")

    def test_without(self) -> None:
        self.assertEqual(
            without(BLOCK, {b"accept", b"host"}),
            b"\r\nX-Accept: d\r\nAccept-Language: \r\nX-Y: Accept: e",
        )
        self.assertEqual(without(b"", {b"a"}), b"")

    @examples(100)
    @given(ordinaryFields.flatmap(blocks), st.sampled_from([b"accept", b"via", b"etag", b"x-y"]))
    def test_same(self, block: bytes, name: bytes) -> None:
        self.assertEqual(dropper(name)(block), without(block, {name}))


class Joins(SynchronousTestCase):
    """
    L{join} makes no block that L{invproxy.http1.heads} would refuse.
    """

    def test_refused(self) -> None:
        for name, text in (
            (b"", b"a"),
            (b"a b", b"c"),
            (b"a:", b"c"),
            (b"a\r\nb", b"c"),
            (b"a\n", b"c"),
            (b"\xe4", b"c"),
            (b"a", b"b\r\nc: d"),
            (b"a", b"b\n"),
            (b"a", b"\0"),
            (b"a", b"\x7f"),
        ):
            self.assertRaises(ValueError, join, [(b"Fine", b"1"), (name, text)])

    def test_secretsStaySecret(self) -> None:
        error = self.assertRaises(ValueError, join, [(b"Authorization", b"secret\n")])
        self.assertNotIn("secret", str(error))
        self.assertIn("Authorization", str(error))

    def test_empty(self) -> None:
        self.assertEqual(join([]), b"")


class Lists(SynchronousTestCase):
    """
    L{elements}.
    """

    def test_elements(self) -> None:
        self.assertEqual(elements([b" A ,,b\t", b"", b"C d,"]), [b"a", b"b", b"c d"])
        self.assertEqual(elements([]), [])
