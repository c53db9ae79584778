"""
What a proxy adds to requests and takes out of them.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.errors import Fault
from invproxy.http1.fields import FIELD_LINES, items, join, values
from invproxy.http1.forwarding import forward, forwardTrailers, isLoop, takeMaxForward
from invproxy.http1.heads import RequestHead
from invproxy.test.messages import blocks, examples, ordinaryFields

PSEUDONYM = b"invproxy-1"


def forwarded(
    block: bytes = b"",
    peer: bytes | None = b"203.0.113.9",
    host: bytes | None = b"app.example",
    *,
    secure: bool = False,
    trusted: bool = False,
    minor: int = 1,
    userHeader: bytes | None = None,
) -> list[tuple[bytes, bytes]]:
    """
    What L{forward} makes of a block, as names and values.
    """
    return list(
        items(
            forward(
                block,
                peer=peer,
                secure=secure,
                host=host,
                trusted=trusted,
                via=PSEUDONYM,
                minor=minor,
                userHeader=userHeader,
            )
        )
    )


class Untrusted(SynchronousTestCase):
    """
    Requests of peers that nobody vouches for.
    """

    def test_userHeader(self) -> None:
        """
        Nobody names the end user in a field of their own, whatever that is called.
        """
        for userHeader in (b"Remote-User", b"remote_user", b"_User", b"-user", b"~user"):
            names = [userHeader.replace(each, b".") for each in (b"-", b"_", b"~")]
            for name in (userHeader, userHeader.upper(), *names):
                went = forwarded(join([(name, b"evil")]), userHeader=userHeader)
                self.assertNotIn(b"evil", [value for _, value in went], (userHeader, name))

    def test_added(self) -> None:
        """
        Ours come behind the fields of the client, which stay as they are.
        """
        self.assertEqual(
            forwarded(b"\r\nhost: app.example\r\nVia: 1.0 a", secure=True),
            [
                (b"host", b"app.example"),
                (b"Via", b"1.0 a"),
                (b"Forwarded", b"for=203.0.113.9;host=app.example;proto=https"),
                (b"X-Forwarded-For", b"203.0.113.9"),
                (b"X-Forwarded-Host", b"app.example"),
                (b"X-Forwarded-Proto", b"https"),
                (b"Via", b"1.1 " + PSEUDONYM),
            ],
        )

    def test_nodes(self) -> None:
        """
        Addresses and hosts are quoted where RFC 7239, section 4, wants it.
        """
        for peer, host, element, address in (
            (b"2001:db8::1", b"a:8080", b'for="[2001:db8::1]";host="a:8080"', b"2001:db8::1"),
            (b"fe80::1%eth0", b"[::1]", b'for="[fe80::1]";host="[::1]"', b"fe80::1"),
            (b"::ffff:192.0.2.1", b"a", b"for=192.0.2.1;host=a", b"192.0.2.1"),
            (b"::ffff:1:2", b"a", b'for="[::ffff:1:2]";host=a', b"::ffff:1:2"),
            (b"192.0.2.1", b"", b"for=192.0.2.1", b"192.0.2.1"),
            (b"192.0.2.1", None, b"for=192.0.2.1", b"192.0.2.1"),
        ):
            added = dict(forwarded(b"", peer, host))
            self.assertEqual(added[b"Forwarded"], element + b";proto=http")
            self.assertEqual(added[b"X-Forwarded-For"], address)
            self.assertEqual(added.get(b"X-Forwarded-Host"), host or None)

    def test_unixSocket(self) -> None:
        """
        A peer without an address is unknown in Forwarded, and not in X-Forwarded-For, which is read as addresses.
        """
        added = dict(forwarded(b"", None))
        self.assertEqual(added[b"Forwarded"], b"for=unknown;host=app.example;proto=http")
        self.assertNotIn(b"X-Forwarded-For", added)

    def test_minor(self) -> None:
        self.assertEqual(forwarded(minor=0)[-1], (b"Via", b"1.0 " + PSEUDONYM))

    def test_spoofed(self) -> None:
        """
        What the client says of itself is dropped, also where an application would read C{_} as C{-}.
        """
        spoofed = (
            b"Forwarded",
            b"forwarded",
            b"X-Forwarded-For",
            b"x-forwarded-for",
            b"X-FORWARDED-HOST",
            b"X-Forwarded-Anything",
            b"X_Forwarded_For",
            b"X-Forwarded_Proto",
            b"X-Real-IP",
            b"X_Real_Ip",
            b"X-Inverting-Proxy-User-ID",
            b"X_Inverting_Proxy_Backend_ID",
            b"Remote-User",
            b"REMOTE_USER",
        )
        kept = (
            (b"X-Forwarded", b"1"),
            (b"X-Real-IPs", b"2"),
            (b"Forwarded-For", b"3"),
            (b"X", b"4"),
        )
        block = join([*((name, b"evil") for name in spoofed), *kept])
        for userHeader in (b"Remote-User", b"remote_user"):
            went = forwarded(block, userHeader=userHeader)
            self.assertEqual(tuple(went[:4]), kept)
            self.assertNotIn(b"evil", [value for _, value in went])
        self.assertEqual(forwarded(b"\r\nRemote-User: a")[0], (b"Remote-User", b"a"))

    @examples(100)
    @given(ordinaryFields, st.booleans())
    def test_theRestStays(self, pairs: list[tuple[bytes, bytes]], trusted: bool) -> None:
        """
        Other fields keep case, order, repetition and values.
        """
        pairs = [pair for pair in pairs if not pair[0].lower().startswith(b"x-forwarded-")]
        went = forwarded(join(pairs), trusted=trusted)
        self.assertEqual(went[: len(pairs)], [(name, value) for name, value in pairs])


class Trusted(SynchronousTestCase):
    """
    Requests that another proxy passed on, which is believed.
    """

    def continued(self, block: bytes) -> dict[bytes, bytes]:
        went = forwarded(block, b"10.0.0.1", trusted=True)
        self.assertEqual(len(went), len(dict(went)), "a field is repeated")
        self.assertEqual(went[-1], (b"Via", b"1.1 " + PSEUDONYM))
        return dict(went[:-1])

    def test_nothingGiven(self) -> None:
        self.assertEqual(
            self.continued(b""),
            {
                b"Forwarded": b"for=10.0.0.1;host=app.example;proto=http",
                b"X-Forwarded-For": b"10.0.0.1",
                b"X-Forwarded-Host": b"app.example",
                b"X-Forwarded-Proto": b"http",
            },
        )

    def test_both(self) -> None:
        """
        Both chains go on in one line each; host and scheme stay.
        """
        self.assertEqual(
            self.continued(
                b"\r\nforwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https"
                b"\r\nX-Forwarded-For:192.0.2.2 \r\nFORWARDED:\tfor=192.0.2.2"
                b"\r\nX-Forwarded-Host: public\r\nX-Real-IP: 192.0.2.1\r\nX-Forwarded-Port: 443"
                b"\r\nX-Inverting-Proxy-User-ID: evil"
            ),
            {
                b"X-Forwarded-Proto": b"https",
                b"X-Forwarded-Host": b"public",
                b"X-Real-IP": b"192.0.2.1",
                b"X-Forwarded-Port": b"443",
                b"Forwarded": b"for=192.0.2.1, for=192.0.2.2, for=10.0.0.1;host=app.example;proto=http",
                b"X-Forwarded-For": b"192.0.2.1, 192.0.2.2, 10.0.0.1",
            },
        )

    def test_oneIsThePrefixOfTheOther(self) -> None:
        went = self.continued(b"\r\nX-Forwarded-For: 1.1.1.11\r\nX-Forwarded-For: 1.1.1.1\r\nA: b")
        self.assertEqual(went[b"X-Forwarded-For"], b"1.1.1.11, 1.1.1.1, 10.0.0.1")
        self.assertEqual(went[b"A"], b"b")

    def test_forwardedIsMade(self) -> None:
        """
        A peer that sends only X-Forwarded-* shall not look like the client to applications that prefer Forwarded.
        """
        went = self.continued(
            b"\r\nX-Forwarded-For: 2001:db8::1, 192.0.2.2, nonsense"
            b"\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public:8443"
        )
        self.assertEqual(
            went[b"Forwarded"],
            b'for="[2001:db8::1]";host="public:8443";proto=https, for=192.0.2.2, for=unknown,'
            b" for=10.0.0.1;host=app.example;proto=http",
        )
        self.assertEqual(went[b"X-Forwarded-For"], b"2001:db8::1, 192.0.2.2, nonsense, 10.0.0.1")

    def test_forwardedIsRead(self) -> None:
        """
        The same the other way round.
        """
        went = self.continued(
            b'\r\nForwarded: For="[2001:db8::1]:47011" ; proto=https;HOST="pub\\lic:8443"'
            b"\r\nForwarded: for=192.0.2.2:80, for=_hidden"
        )
        self.assertEqual(went[b"X-Forwarded-For"], b"2001:db8::1, 192.0.2.2, 10.0.0.1")
        self.assertEqual(went[b"X-Forwarded-Proto"], b"https")
        self.assertEqual(went[b"X-Forwarded-Host"], b"public:8443")

    def test_broken(self) -> None:
        """
        Chains that do not follow their grammar are passed on, and harm nothing.
        """
        for text in (
            b"",
            b",",
            b",,;",
            b"nonsense",
            b'for="',
            b"for=;",
            b"for",
            b"=",
            b'for="a\\',
            b"\xff",
        ):
            went = self.continued(b"\r\nForwarded: " + text)
            self.assertTrue(
                went[b"Forwarded"].endswith(b"for=10.0.0.1;host=app.example;proto=http")
            )
            self.assertEqual(went[b"X-Forwarded-For"], b"10.0.0.1")
            self.assertEqual(went[b"X-Forwarded-Proto"], b"http")
            went = self.continued(b"\r\nX-Forwarded-For: " + text)
            self.assertTrue(
                went[b"Forwarded"].endswith(b"for=10.0.0.1;host=app.example;proto=http")
            )

    @examples(100)
    @given(
        st.binary(max_size=40),
        st.sampled_from([b"Forwarded", b"X-Forwarded-For", b"X-Forwarded-Host"]),
        st.data(),
    )
    def test_alwaysABlock(self, text: bytes, name: bytes, data: st.DataObject) -> None:
        text = text.translate(None, bytes(range(32)) + b"\x7f")
        block = data.draw(blocks([(name, text), (name, text)]))
        went = forward(
            block, peer=None, secure=True, host=b"a", trusted=True, via=PSEUDONYM, minor=1
        )
        self.assertRegex(went, rb"\A" + FIELD_LINES + rb"\Z")

    def test_unixSocket(self) -> None:
        """
        A proxy on a UNIX socket has no address: the last in X-Forwarded-For is the one that it named.
        """
        went = dict(forwarded(b"\r\nX-Forwarded-For: 192.0.2.1", None, trusted=True))
        self.assertEqual(went[b"X-Forwarded-For"], b"192.0.2.1")
        self.assertEqual(
            went[b"Forwarded"], b"for=192.0.2.1, for=unknown;host=app.example;proto=http"
        )

    def test_userHeader(self) -> None:
        went = dict(forwarded(b"\r\nRemote-User: ada", trusted=True, userHeader=b"remote-user"))
        self.assertEqual(went[b"Remote-User"], b"ada")

    def test_likenesses(self) -> None:
        """
        Likenesses of what is believed come from elsewhere: a proxy that replaces one field may let the others pass.
        """
        alike = (
            b"X_Forwarded_For",
            b"x-forwarded_for",
            b"X_Forwarded-Proto",
            b"X_REAL_IP",
            b"X-Forwarded-Other_Thing",
            b"X_Inverting_Proxy_User_ID",
            b"X.Forwarded.For",
            b"x~real+ip",
            b"X-Inverting-Proxy.User-ID",
        )
        kept = (
            (b"X-Real-IP", b"1"),
            (b"X-Forwarded-Port", b"2"),
            (b"X_Forwarded", b"3"),
            (b"A_B", b"4"),
        )
        for userHeader, own, likenesses in (
            (None, b"User", ()),
            (b"X-Forwarded-User", b"X-FORWARDED-User", (b"X_Forwarded_User", b"x-forwarded_user")),
            (b"remote-user", b"Remote-User", (b"Remote_User", b"remote.user", b"REMOTE!USER")),
            (b"remote.user", b"Remote.User", (b"Remote_User", b"remote-user")),
            (b"Remote_User", b"REMOTE_USER", (b"Remote-User",)),
            (b"X_Forwarded_User", b"x_forwarded_user", (b"X-Forwarded-User",)),
            (b"_user", b"_USER", (b"-user", b".User")),
        ):
            pairs = [*((name, b"evil") for name in (*alike, *likenesses)), (own, b"ada"), *kept]
            for block in (join(pairs), join(reversed(pairs))):
                went = forwarded(block, trusted=True, userHeader=userHeader)
                self.assertNotIn(b"evil", [value for _, value in went], userHeader)
                for pair in ((own, b"ada"), *kept):
                    self.assertIn(pair, went)


class Trailers(SynchronousTestCase):
    """
    L{forwardTrailers}.
    """

    def test_dropped(self) -> None:
        block = (
            b"\r\nX-Forwarded-For: 1.2.3.4\r\nETag: x\r\nX-Inverting-Proxy-User-ID: a\r\nUser: b"
        )
        self.assertEqual(forwardTrailers(block, trusted=False, userHeader=b"user"), b"\r\nETag: x")
        self.assertEqual(
            forwardTrailers(block, trusted=True, userHeader=b"user"),
            b"\r\nX-Forwarded-For: 1.2.3.4\r\nETag: x",
        )
        self.assertEqual(forwardTrailers(block, trusted=True)[-9:], b"\r\nUser: b")
        self.assertEqual(forwardTrailers(b"", trusted=False), b"")

    def test_likenesses(self) -> None:
        """
        Likenesses are dropped whoever sends them.
        """
        block = b"\r\nX_Forwarded_For: 1\r\nRemote_User: 2\r\nRemote-User: 3\r\nA_B: 4"
        for trusted in (False, True):
            for userHeader in (b"Remote-User", b"REMOTE_USER"):
                went = forwardTrailers(block, trusted=trusted, userHeader=userHeader)
                self.assertEqual(went, b"\r\nA_B: 4")


class Loops(SynchronousTestCase):
    """
    L{isLoop}.
    """

    def test_loops(self) -> None:
        for via in (
            b"1.1 invproxy-1",
            b"HTTP/1.1 invproxy-1",
            b"1.0 a, 1.1 invproxy-1",
            b"1.0 a (b, c), 1.1 invproxy-1 (d)",
            b"1.0 a (b (c), \\) d), 1.1\tinvproxy-1",
            b"1.1 a (unclosed, 1.1 invproxy-1",
            b"1.1 a), 1.1 invproxy-1",
            b"1.1 a\r\nvia: 1.1 invproxy-1",
        ):
            self.assertTrue(isLoop(b"\r\nHost: a\r\nVia: " + via, PSEUDONYM), via)

    def test_noLoops(self) -> None:
        for block in (
            b"",
            b"\r\nVia: 1.1 a",
            b"\r\nVia: 1.1 invproxy-12",
            b"\r\nVia: 1.1 a (1.1 invproxy-1)",
            b"\r\nVia: 1.1 a (b, 1.1 invproxy-1 (c), 1.1 invproxy-1 )",
            b"\r\nVia: invproxy-1",
            b"\r\nVia: 1.1 a invproxy-1",
            b"\r\nX-Via: 1.1 invproxy-1",
            b"\r\nCookie: a=invproxy-1",
        ):
            self.assertFalse(isLoop(block, PSEUDONYM), block)

    def test_ours(self) -> None:
        """
        What L{forward} adds is recognised.
        """
        block = forward(
            b"", peer=None, secure=False, host=b"a", trusted=False, via=PSEUDONYM, minor=1
        )
        self.assertTrue(isLoop(block, PSEUDONYM))


class MaxForwards(SynchronousTestCase):
    """
    L{takeMaxForward}.
    """

    def test_countsDown(self) -> None:
        head = RequestHead(b"OPTIONS", b"/", b"\r\nHost: a\r\nmax-forwards:  10 \r\nA: b")
        left = takeMaxForward(head)
        assert left is not None
        self.assertEqual(left.fields, b"\r\nHost: a\r\nmax-forwards: 9\r\nA: b")

    def test_zero(self) -> None:
        for method in (b"OPTIONS", b"TRACE"):
            self.assertIsNone(takeMaxForward(RequestHead(method, b"*", b"\r\nMax-Forwards: 0")))

    def test_others(self) -> None:
        """
        Without the field, and for other methods, the head stays as it is.
        """
        for head in (
            RequestHead(b"OPTIONS", b"/", b"\r\nHost: a"),
            RequestHead(b"GET", b"/", b"\r\nMax-Forwards: 0"),
            RequestHead(b"GET", b"/", b"\r\nMax-Forwards: x"),
        ):
            self.assertIs(takeMaxForward(head), head)

    def test_malformed(self) -> None:
        for text in (b"", b"x", b"-1", b"+1", b"1.0", b"1, 1", b"1\r\nMax-Forwards: 1", b"9" * 16):
            head = RequestHead(b"OPTIONS", b"/", b"\r\nMax-Forwards: " + text)
            fault = self.assertRaises(Fault, takeMaxForward, head)
            self.assertEqual(fault.code.status, 400)
            self.assertEqual(len(values(head.fields, b"max-forwards")) > 1, b"\r" in text)
