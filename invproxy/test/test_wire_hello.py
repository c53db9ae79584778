"""
The HELLO of a tunnel: what is written, what is read, and what is refused in words that name it.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.test.messages import examples
from invproxy.wire.frames import FrameError
from invproxy.wire.hello import VERSION, Hello, parseHello

MOST = 0x7FFFFFFF

LEAST = {"slot": 0, "window": 1024, "streams": 1, "head": 1024}


def written(**fields: Any) -> bytes:
    """
    A HELLO with some fields.
    """
    return json.dumps({"version": VERSION, **fields}).encode()


class HelloTests(SynchronousTestCase):
    """
    L{Hello} and L{parseHello}.
    """

    def refused(self, payload: bytes, *names: str) -> str:
        """
        Look that it is refused by a text that holds some words and is fit for a Close frame.
        """
        error = self.assertRaises(FrameError, parseHello, payload)
        text = str(error)
        for name in names:
            self.assertIn(name, text)
        self.assertLessEqual(len(text.encode()), 123)
        self.assertTrue(text.isprintable(), text)
        return text

    def test_roundTrip(self) -> None:
        """
        What is written is read.
        """
        for hello in (
            Hello(),
            Hello(node="a1", instance="0f" * 8, slot=3, window=1024, streams=1, head=1024),
            Hello(node="x" * 64, instance="A.b_c-D", window=MOST, streams=MOST, head=MOST),
        ):
            self.assertEqual(parseHello(hello.encode()), hello)

    def test_form(self) -> None:
        """
        It is a JSON object of all that there is, in ASCII.
        """
        self.assertEqual(json.loads(Hello().encode().decode("ascii")), asdict(Hello()))
        self.assertEqual(json.loads(Hello().encode())["version"], "1.0")

    def test_small(self) -> None:
        """
        It always fits into the smallest frame that a peer may allow.
        """
        largest = Hello(
            node="n" * 64,
            instance="i" * 64,
            slot=MOST,
            window=MOST,
            streams=MOST,
            head=MOST,
        )
        self.assertLess(len(largest.encode()), 1024)

    def test_defaults(self) -> None:
        """
        What is missing has its default.
        """
        self.assertEqual(parseHello(b'{"version":"1.0"}'), Hello())
        for name in asdict(Hello()):
            if name != "version":
                fields = {**asdict(Hello()), "node": "n", "instance": "i", "slot": 5, "head": 9999}
                del fields[name]
                expected = Hello(**fields)
                self.assertEqual(parseHello(json.dumps(fields).encode()), expected)

    def test_unknownFields(self) -> None:
        """
        What is not known is ignored, whatever it is.
        """
        values: list[Any] = [None, True, 1e300, [1], {"a": {"b": []}}, "x" * 1000]
        for value in values:
            self.assertEqual(parseHello(written(future=value, Window=5)), Hello())

    def test_notJSON(self) -> None:
        """
        What is not JSON is refused.
        """
        for payload in (
            b"",
            b" ",
            b"{",
            b"version",
            b"{'version': '1.0'}",
            b'{"version":"1.0"',
            b'{"version":"1.0"}}',
            b'{"version":"1.0"}\x00',
            b"\xff\xfe",
            b'{"version":"\xff"}',
            b"\x00" * 100,
            b"[" * 4000,
            b'{"a":' * 800,
            b'{"version":"1.0","slot":' + b"[" * 2000 + b"]" * 2000 + b"}",
        ):
            self.refused(payload, "HELLO")
        self.refused(b" " * 5000, "4096")

    def test_hugeNumber(self) -> None:
        """
        A number of more digits than Python converts is refused, and quickly.
        """
        self.refused(b'{"version":"1.0","slot":' + b"9" * 100_000 + b"}")
        self.refused(b'{"version":"1.0","other":' + b"9" * 100_000 + b"}")

    def test_notAnObject(self) -> None:
        """
        Nor is any JSON but an object.
        """
        for payload in (b"null", b"true", b"1", b'"1.0"', b"[]", b'[["version","1.0"]]'):
            self.refused(payload, "HELLO", "object")

    def test_noVersion(self) -> None:
        """
        There must be a version that is one.
        """
        versions: list[Any] = [
            None,
            1,
            1.0,
            True,
            [],
            {},
            ["1.0"],
            "",
            "1",
            "1.",
            ".0",
            "v1.0",
            "1.0 ",
            " 1.0",
            "1.0\n",
            "1.0.0",
            "1,0",
            "-1.0",
            "+1.0",
            "1.00000",
            "00001.0",
            "1.0-beta",
            "\u0661.0",
            "x" * 1000,
        ]
        for version in versions:
            self.refused(json.dumps({"version": version}).encode(), "version")
        self.refused(b"{}", "version")

    def test_otherMajor(self) -> None:
        """
        Another major version is refused, by a text that names both.
        """
        for version in ("0.0", "0.9", "2.0", "10.0", "9999.9999"):
            self.refused(json.dumps({"version": version}).encode(), version, VERSION)

    def test_otherMinor(self) -> None:
        """
        Another minor version is not.
        """
        for version in ("1.1", "1.9999"):
            self.assertEqual(parseHello(written(version=version)).version, version)

    def test_names(self) -> None:
        """
        Names are short, of harmless characters, and may be empty.
        """
        refused: list[Any] = [
            None,
            1,
            True,
            [],
            {},
            ["a"],
            "a" * 65,
            "a b",
            "a\n",
            "\n",
            "a/b",
            "\u00e9",
            "\ud800",
            "\u0660",
            "a\x00",
        ]
        for name in ("node", "instance"):
            for good in ("", "a", "Z" * 64, "._-", "0"):
                self.assertEqual(getattr(parseHello(written(**{name: good})), name), good)
            for bad in refused:
                self.refused(written(**{name: bad}), "HELLO", name)

    def test_numbers(self) -> None:
        """
        Numbers are whole and within bounds, and no booleans, floats or text.
        """
        for name, least in LEAST.items():
            refused: list[Any] = [
                least - 1,
                -1,
                -MOST,
                MOST + 1,
                1 << 64,
                1 << 10000,
                True,
                False,
                None,
                "70000",
                "",
                70000.0,
                1e400,
                [],
                [70000],
                {},
            ]
            for good in (least, least + 1, 70000, MOST):
                self.assertEqual(getattr(parseHello(written(**{name: good})), name), good)
            for bad in refused:
                self.refused(written(**{name: bad}), "HELLO", name)
            for text in (b"NaN", b"Infinity", b"-Infinity", b"7e4", b"-0.0"):
                payload = b'{"version":"1.0","%b":%b}' % (name.encode(), text)
                self.refused(payload, "HELLO", name)

    def test_twice(self) -> None:
        """
        Of a field that is there twice, one value counts, and it is checked.
        """
        self.assertEqual(parseHello(b'{"version":"9.0","version":"1.0"}'), Hello())
        self.refused(b'{"version":"1.0","slot":1,"slot":-1}', "slot")

    def test_byteOrderMarkAndOthers(self) -> None:
        """
        Other encodings of JSON are read as such, or refused, but nothing else happens.
        """
        text = '{"version":"1.0"}'
        for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
            try:
                found = parseHello(text.encode(encoding))
            except FrameError:
                continue
            self.assertEqual(found, Hello())

    @examples(300)
    @given(
        st.binary(max_size=60)
        | st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from([*asdict(Hello()), "x"]) | st.text(max_size=3), inner
                )
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode())
    )
    def test_anything(self, payload: bytes) -> None:
        """
        Anything is refused by L{FrameError} and nothing else, or it is a good HELLO.
        """
        try:
            hello = parseHello(payload)
        except FrameError:
            return
        self.assertEqual(parseHello(hello.encode()), hello)

    @examples(200)
    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "version": st.sampled_from(["1.0", "1.7", "2.0", 1, None]),
                "node": st.text("ab-.~\n", max_size=66) | st.booleans(),
                "instance": st.text("ab-.~\n", max_size=66) | st.none(),
                "slot": st.integers(-2, 3) | st.floats() | st.booleans(),
                "window": st.integers(1000, 1 << 32) | st.text(),
                "streams": st.integers(-1, 3) | st.booleans(),
                "head": st.integers(1000, 1 << 32) | st.lists(st.integers()),
            },
        )
    )
    def test_likely(self, fields: dict[str, Any]) -> None:
        """
        So is what looks like one; what is accepted is as it was given.
        """
        try:
            hello = parseHello(json.dumps(fields).encode())
        except FrameError:
            return
        for name, value in fields.items():
            self.assertEqual(getattr(hello, name), value)
            self.assertNotIsInstance(getattr(hello, name), bool)
