"""
Records: what may be in them, in which form things are compared, and how they are shown.
"""

from __future__ import annotations

import json
from urllib.parse import unquote_to_bytes

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.registry.records import (
    MAX_END_USERS,
    MAX_HOSTS,
    MAX_PREFIX,
    MAX_PREFIXES,
    MAX_USER,
    Backend,
    InvalidRecord,
    Token,
    canonicalHost,
    canonicalPath,
    canonicalUser,
    checkTokenName,
    digestOf,
    etag,
    formatSecond,
    matchesETag,
    parseBackend,
    parseToken,
    renderBackend,
    renderToken,
)
from invproxy.test.messages import examples, spellings

ORIGINAL: dict[str, object] = {
    "id": "web",
    "endUser": "ann@example.com",
    "backendUser": "vm@project.iam.example",
    "pathPrefixes": ["/"],
}
"""A record as the original's users send it."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=6,
)


class ParseTests(SynchronousTestCase):
    """
    L{parseBackend}.
    """

    def assertRefused(self, field: str, words: str, **changes: object) -> None:
        """
        A record with these changes is refused, in one line that names the field and says this.
        """
        error = self.assertRaises(InvalidRecord, parseBackend, {**ORIGINAL, **changes})
        self.assertEqual(error.field, field)
        self.assertIn(words, error.why)
        self.assertNotIn("\n", str(error))
        self.assertTrue(str(error).isprintable())
        self.assertLess(len(str(error)), 400)

    def test_original(self) -> None:
        """
        What the original's users send is a record.
        """
        self.assertEqual(
            parseBackend(ORIGINAL),
            Backend("web", "ann@example.com", "vm@project.iam.example", ("/",)),
        )

    def test_all(self) -> None:
        """
        Everything that a record may have; C{lastUsed} is passed over, as people send back what they were shown.
        """
        given = {
            "id": "a/b@c:d~e.f_g-h",
            "endUser": " Ann@Example.com ",
            "endUsers": ["*@example.org", "allUsers", "allUsers"],
            "backendUser": "",
            "pathPrefixes": ["/a", "/b/", "/a", "/caf\u00e9", "/%7Euser"],
            "hosts": ["WWW.Example.com.", "*.example.com", "127.0.0.1", "[0:0::1]", "localhost"],
            "lastUsed": "nonsense",
        }
        self.assertEqual(
            parseBackend(given),
            Backend(
                "a/b@c:d~e.f_g-h",
                "Ann@Example.com",
                "",
                ("/a", "/b/", "/caf\u00e9", "/%7Euser"),
                ("*@example.org", "allUsers"),
                ("www.example.com", "*.example.com", "127.0.0.1", "::1", "localhost"),
            ),
        )

    def test_onlyEndUsers(self) -> None:
        """
        C{endUsers} alone says who may visit.
        """
        given = {**ORIGINAL, "endUsers": ["bob"]}
        del given["endUser"]
        record = parseBackend(given)
        self.assertEqual((record.endUser, record.users()), ("", ("bob",)))

    def test_idOfAddress(self) -> None:
        """
        Where the address says the ID, the record may say the same, or nothing.
        """
        rest = {name: value for name, value in ORIGINAL.items() if name != "id"}
        self.assertEqual(parseBackend(rest, id="web"), parseBackend(ORIGINAL))
        self.assertEqual(parseBackend(ORIGINAL, id="web"), parseBackend(ORIGINAL))
        error = self.assertRaises(InvalidRecord, parseBackend, ORIGINAL, id="other")
        self.assertEqual(error.field, "id")
        error = self.assertRaises(InvalidRecord, parseBackend, rest)
        self.assertEqual(str(error), "id: is missing")
        error = self.assertRaises(InvalidRecord, parseBackend, rest, id="a b")
        self.assertEqual(error.field, "id")

    def test_missing(self) -> None:
        """
        Each of the fields that must be there.
        """
        for missing in ("backendUser", "pathPrefixes"):
            given = {name: value for name, value in ORIGINAL.items() if name != missing}
            error = self.assertRaises(InvalidRecord, parseBackend, given)
            self.assertEqual(error.field, missing)
            self.assertIn("is missing", error.why)
        for nobody in ({"endUser": ""}, {"endUser": " ", "endUsers": []}):
            self.assertRefused("endUser", "who may visit", **nobody)

    def test_notAnObject(self) -> None:
        """
        JSON that is no object.
        """
        objects: tuple[object, ...] = ([], "web", None, 1)
        for obj in objects:
            error = self.assertRaises(InvalidRecord, parseBackend, obj)
            self.assertEqual(error.field, "")
            self.assertIn("JSON object", str(error))

    def test_unknownField(self) -> None:
        """
        A field that there is not is refused by name, so that a slip does not open a backend to more people than was
        meant.
        """
        self.assertRefused("host", "is no field of a backend; those are id, endUser", host="a.b")
        self.assertRefused("a" * 60 + "...", "is no field", **{"a" * 5000: 1})
        self.assertRefused("'x\\n\\ud800'", "is no field", **{"x\n\ud800": 1})

    def test_id(self) -> None:
        """
        An ID must be one that agents can say.
        """
        for id in ("", "a b", "a" * 257, "\u00e9", "a\n", "a?b", 7, ["web"], "\ud800"):
            self.assertRefused("id", "must be 1 to 256", id=id)
        for id in (".", ".."):
            # In an address these would be taken for steps through it.
            self.assertRefused("id", "but not . or ..", id=id)
        for id in ("...", "a/..", "../a", "/", ".a"):
            self.assertEqual(parseBackend({**ORIGINAL, "id": id}).id, id)

    def test_users(self) -> None:
        """
        End users are names, patterns of whole domains, or everybody, spelled as it must be.
        """
        for user, words in (
            (7, "must be a string"),
            (None, "must be a string"),
            ("a" * (MAX_USER + 1), "printable"),
            ("a\nb", "printable"),
            ("a\x00", "printable"),
            ("\ud800", "printable"),
            ("\u202eann", "printable"),
            ("*", "whole domain"),
            ("*@", "whole domain"),
            ("ann*@example.com", "whole domain"),
            ("*@*.example.com", "whole domain"),
            ("*@a@b", "whole domain"),
            ("allusers", "spelled allUsers"),
            ("ALLUSERS", "spelled allUsers"),
        ):
            self.assertRefused("endUser", words, endUser=user)
            self.assertRefused("endUsers", words, endUsers=[user])
        self.assertRefused("endUsers", "empty", endUsers=["ann", ""])
        self.assertRefused("endUsers", "array", endUsers="ann")
        self.assertRefused("endUsers", "array", endUsers={"ann": 1})
        many = [f"user{number}" for number in range(MAX_END_USERS + 1)]
        self.assertRefused("endUsers", "at most 1024", endUsers=many)

    def test_backendUser(self) -> None:
        """
        A backend user is a name.
        """
        for user, words in ((None, "string"), (["vm"], "string"), ("a\r\nb", "printable")):
            self.assertRefused("backendUser", words, backendUser=user)

    def test_pathPrefixes(self) -> None:
        """
        Path prefixes are paths.
        """
        for prefix, words in (
            ("a", "begin with /"),
            ("", "begin with /"),
            (7, "array of strings"),
            ("/a?b", "must have no"),
            ("/a#b", "must have no"),
            ("/a b", "must have no"),
            ("/a\\b", "must have no"),
            ("/a\x00", "must have no"),
            ("/\x7f", "must have no"),
            ("/\u00a0", "must have no"),
            ("/\ud800", "must have no"),
            ("/a%", "without two hexadecimal digits"),
            ("/a%2g", "without two hexadecimal digits"),
            ("/" + "a" * MAX_PREFIX, "at most 1024 bytes"),
            ("/" + "\u00e9" * 200, "at most 1024 bytes"),
        ):
            self.assertRefused("pathPrefixes", words, pathPrefixes=["/", prefix])
        self.assertRefused("pathPrefixes", "one or more", pathPrefixes=[])
        self.assertRefused("pathPrefixes", "array", pathPrefixes="/")
        many = [f"/{number}" for number in range(MAX_PREFIXES + 1)]
        self.assertRefused("pathPrefixes", "at most 64", pathPrefixes=many)
        parseBackend({**ORIGINAL, "pathPrefixes": ["/" + "a" * (MAX_PREFIX - 1)]})

    def test_hosts(self) -> None:
        """
        Hosts are names, patterns of the first labels, or addresses.
        """
        for host in (
            "",
            "*",
            "*.",
            "a..b",
            "-a.b",
            "a-.b",
            "a.*.b",
            "*a.b",
            "a.b:80",
            "[::1]:80",
            "b\u00fccher.example",
            "a b",
            "a" * 64,
            ".".join(["a" * 60] * 5),
            "http://a.b",
            "a.b/",
            "a\n",
        ):
            self.assertRefused("hosts", "without a port", hosts=["a.b", host])
        self.assertRefused("hosts", "array", hosts=None)
        self.assertRefused("hosts", "array", hosts=[["a.b"]])
        many = [f"h{number}.example" for number in range(MAX_HOSTS + 1)]
        self.assertRefused("hosts", "at most 64", hosts=many)

    def test_product(self) -> None:
        """
        What a record costs the table of routes is bounded, too.
        """
        users = [f"user{number}" for number in range(1000)]
        paths = [f"/{number}" for number in range(16)]
        parseBackend({**ORIGINAL, "endUsers": users, "pathPrefixes": paths})
        self.assertRefused(
            "endUsers", "at most 16384", endUsers=users, pathPrefixes=paths, hosts=["a.b", "c.d"]
        )

    @examples(100)
    @given(JSON)
    def test_anything(self, obj: object) -> None:
        """
        Whatever JSON there is, it is a record or it is refused.
        """
        for parse in (parseBackend, parseToken):
            try:
                parse(obj)
            except InvalidRecord as error:
                str(error).encode("utf-8")

    @examples(100)
    @given(
        st.fixed_dictionaries(
            dict.fromkeys(ORIGINAL, JSON | st.lists(st.text(), max_size=3)),
            optional={"endUsers": st.lists(st.text()), "hosts": st.lists(st.text())},
        )
    )
    def test_anyValues(self, obj: object) -> None:
        """
        Whatever its values, likewise; and a record is shown as what is read as the same record.
        """
        try:
            record = parseBackend(obj)
        except InvalidRecord as error:
            self.assertTrue(str(error).isprintable(), str(error))
            return
        self.assertEqual(parseBackend(json.loads(json.dumps(renderBackend(record)))), record)


class TokenTests(SynchronousTestCase):
    """
    L{parseToken}, L{renderToken} and L{digestOf}.
    """

    def test_parse(self) -> None:
        """
        A name, and a time or none.
        """
        self.assertEqual(parseToken({"name": "ci"}).expires, None)
        self.assertEqual(parseToken({"name": "ci", "expires": None}).expires, None)
        for text in (
            "2027-01-31T12:00:00Z",
            "2027-01-31t12:00:00.999z",
            "2027-01-31T13:30:00+01:30",
        ):
            self.assertEqual(parseToken({"name": "ci", "expires": text}).expires, 1801396800.0)

    def test_badTimes(self) -> None:
        """
        What is no time of RFC 3339.
        """
        bads: tuple[object, ...] = (
            "2027-01-31",
            "2027-01-31T12:00:00",
            "20270131T120000Z",
            "2027-02-30T12:00:00Z",
            "2027-01-31T12:00:00Z\n",
            "0001-01-01T00:00:00+23:00",
            "9999-12-31T23:59:59-01:00",
            "2027-01-31T12:00:00+99:00",
            "\u0662\u0660\u0662\u0667-01-31T12:00:00Z",
            "soon",
            1801396800,
            True,
            [],
        )
        for bad in bads:
            error = self.assertRaises(InvalidRecord, parseToken, {"name": "ci", "expires": bad})
            self.assertEqual(error.field, "expires")
            self.assertIn("RFC 3339", error.why)

    def test_badNames(self) -> None:
        """
        What is no name.
        """
        bads: tuple[object, ...] = (
            "",
            ".",
            "..",
            "-a",
            "a/b",
            "a b",
            "a" * 65,
            "\u00e9",
            "a\n",
            None,
            7,
            [],
        )
        for bad in bads:
            error = self.assertRaises(InvalidRecord, parseToken, {"name": bad})
            self.assertEqual(error.field, "name")
            self.assertRaises(InvalidRecord, checkTokenName, bad)
        self.assertRaises(InvalidRecord, parseToken, {})
        error = self.assertRaises(InvalidRecord, parseToken, {"name": "ci", "expiry": 1})
        self.assertEqual(str(error), "expiry: is no field of a token; those are name, expires")

    def test_render(self) -> None:
        """
        All but the secret.
        """
        token = Token("web", "ci", digestOf("secret"), 0.0, 1801396800.0, 60.9)
        self.assertEqual(
            renderToken(token),
            {
                "name": "ci",
                "created": "1970-01-01T00:00:00Z",
                "expires": "2027-01-31T12:00:00Z",
                "lastUsed": "1970-01-01T00:01:00Z",
            },
        )
        self.assertEqual(
            renderToken(Token("web", "ci", b"", 0.0)),
            {"name": "ci", "created": "1970-01-01T00:00:00Z", "expires": None},
        )
        self.assertNotIn(repr(token.digest)[2:8], repr(token))

    def test_digest(self) -> None:
        """
        SHA-256, of text as of bytes.
        """
        self.assertEqual(
            digestOf("abc").hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        )
        self.assertEqual(digestOf(b"abc"), digestOf("abc"))


class CanonicalTests(SynchronousTestCase):
    """
    In which form things are compared.
    """

    def test_user(self) -> None:
        """
        In email addresses ASCII letters become small, others do not: the Kelvin sign is no k, nor is a dotted I an i.
        """
        self.assertEqual(canonicalUser(" Ann@Example.COM\t"), "ann@example.com")
        self.assertEqual(canonicalUser("*@Example.COM"), "*@example.com")
        self.assertEqual(canonicalUser("allUsers"), "allUsers")
        self.assertEqual(canonicalUser("\u212aIM@X.y"), "\u212aim@x.y")
        self.assertEqual(canonicalUser("\u0130dA@X.y"), "\u0130da@x.y")
        self.assertEqual(canonicalUser("\u00a0ann"), "\u00a0ann")

    def test_userByOtherNames(self) -> None:
        """
        Other names stay as they are: two that differ in case may be two people.
        """
        for name in ("Ann", "ann", "1aB", "\u212aIM"):
            self.assertEqual(canonicalUser(f" {name}"), name)

    def test_users(self) -> None:
        """
        Two spellings of one user are one.
        """
        record = Backend("web", "A@b.c", "", ("/",), ("a@b.c", "A@B.C ", "*@B.c", "*@b.C", ""))
        self.assertEqual(record.users(), ("a@b.c", "*@b.c"))

    def test_host(self) -> None:
        """
        Without a port and a final dot, letters small.
        """
        for text, form in (
            ("Example.COM", "example.com"),
            (b"example.com:8080", "example.com"),
            ("example.com.:80", "example.com"),
            ("[::1]:8080", "::1"),
            (b"[0:0:0::1]", "::1"),
            ("[fe80::x]", "fe80::x"),
            ("[", ""),
            ("", ""),
            (":80", ""),
            (b"\xff", "\xff"),
        ):
            self.assertEqual(canonicalHost(text), form)

    def test_path(self) -> None:
        """
        What need not be encoded is not, what must be is; an encoded slash is no slash.
        """
        for text, form in (
            (b"/a/b", b"/a/b"),
            ("/a", b"/a"),
            (b"/%61%2d%7e", b"/a-~"),
            (b"/a%2fb%3f", b"/a%2Fb%3F"),
            (b"/a%40b%3a%2b", b"/a@b:+"),
            (b"/a%3bb", b"/a%3Bb"),
            (b"/a;b", b"/a;b"),
            ("/caf\u00e9", b"/caf%C3%A9"),
            ("/caf%c3%a9", b"/caf%C3%A9"),
            (b"/\xff", b"/%FF"),
            (b"/%", b"/%25"),
            (b"/%4", b"/%254"),
            (b"/%%41", b"/%25A"),
            (b"/%2561", b"/%2561"),
            (b"/a/../b", b"/a/../b"),
        ):
            self.assertEqual(canonicalPath(text), form)

    @examples(200)
    @given(st.lists(spellings()))
    def test_pathAsWritten(self, segments: list[tuple[bytes, bytes]]) -> None:
        """
        In whatever way a path is written, it has one form, which says the same.
        """
        plain = b"/" + b"/".join(segment for segment, _ in segments)
        written = b"/" + b"/".join(spelling for _, spelling in segments)
        form = canonicalPath(written)
        self.assertEqual(form, canonicalPath(plain))
        self.assertEqual(unquote_to_bytes(form), unquote_to_bytes(written))

    @examples(100)
    @given(st.binary() | st.lists(st.sampled_from(b"%2653bBfFaA/;")).map(bytes))
    @example(b"%%32F")
    def test_pathMeansTheSame(self, path: bytes) -> None:
        """
        Whatever comes, what it says stays the same, and what delimits is neither encoded nor decoded.
        """
        form = canonicalPath(path)
        self.assertEqual(unquote_to_bytes(form), unquote_to_bytes(path))
        for each in b"/;\\?#":
            self.assertEqual(form.count(each), path.count(each))

    @examples(100)
    @given(st.binary() | st.text(st.characters(exclude_categories=["Cs"])))
    @example(b"/%%36%31")
    def test_pathIsStable(self, path: str | bytes) -> None:
        """
        The canonical form is its own.
        """
        form = canonicalPath(path)
        self.assertEqual(canonicalPath(form), form)
        self.assertTrue(form.isascii())


class ShowTests(SynchronousTestCase):
    """
    L{renderBackend}, L{etag} and L{matchesETag}.
    """

    def test_render(self) -> None:
        """
        The original's names; C{lastUsed} only where there was a use.
        """
        record = parseBackend(ORIGINAL)
        self.assertEqual(renderBackend(record), {**ORIGINAL, "endUsers": [], "hosts": []})
        used = Backend("web", "", "", ("/",), lastUsed=86400.5)
        self.assertEqual(renderBackend(used)["lastUsed"], "1970-01-02T00:00:00Z")

    def test_etag(self) -> None:
        """
        A tag is of what an administrator set, all of it, and of nothing else.
        """
        record = parseBackend(ORIGINAL)
        tag = etag(record)
        self.assertRegex(tag, r'\A"[0-9a-f]{32}"\Z')
        self.assertEqual(etag(parseBackend({**ORIGINAL, "lastUsed": "x"})), tag)
        self.assertEqual(etag(Backend(*ORIGINAL_VALUES, lastUsed=7.0)), tag)
        others: list[dict[str, object]] = [
            {"id": "x"},
            {"endUser": "x"},
            {"backendUser": "x"},
            {"pathPrefixes": ["/x"]},
            {"endUsers": ["x"]},
            {"hosts": ["x"]},
        ]
        tags = {etag(parseBackend({**ORIGINAL, **change})) for change in others}
        self.assertEqual(len(tags | {tag}), 7)

    def test_match(self) -> None:
        """
        Strong comparison, lists, and C{*}.
        """
        for condition, tags, outcome in (
            ('"a"', ['"a"'], True),
            ('"b", "a"', ['"a"'], True),
            ('"b"', ['"a"'], False),
            ('W/"a"', ['"a"'], False),
            ('"b,"a"', ['"a"'], False),
            ("*", ['"a"'], True),
            (" * ", ['"a"'], True),
            ("*", [], False),
            ('"a"', [], False),
            ("a", ['"a"'], False),
            ("", ['"a"'], False),
        ):
            self.assertIs(matchesETag(condition, tags), outcome, (condition, tags))

    def test_second(self) -> None:
        """
        Times are in UTC, cut to whole seconds.
        """
        self.assertEqual(formatSecond(1801396800.999), "2027-01-31T12:00:00Z")


ORIGINAL_VALUES = ("web", "ann@example.com", "vm@project.iam.example", ("/",))
