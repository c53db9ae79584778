"""
Sessions, and the cookies that belong to them.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from invproxy.auth.cookies import SESSION, SIGN_IN, dropSet, nameOf, setOwn, takeOwn
from invproxy.auth.sessions import Sessions
from invproxy.test.messages import examples

NOTHING: dict[bytes, bytes] = {}


class TakeTests(SynchronousTestCase):
    """
    L{takeOwn}.
    """

    def assertTaken(self, block: bytes, rest: bytes, own: dict[bytes, bytes]) -> None:
        self.assertEqual(takeOwn(block), (rest, own))

    def test_none(self) -> None:
        """
        Without cookies of ours nothing changes, byte for byte.
        """
        for block in (
            b"",
            b"\r\nHost: a",
            b"\r\nCookie: a=1;b=2 ;  c=3;",
            b"\r\nCookie: a=1; xinvproxy=2; invproxy-x=3; invproxyy=4; INVPROXY=5",
            b"\r\nX-Cookie: invproxy=1\r\nHost: invproxy",
            b"\r\nCookie: \r\nCookie:",
            b"\r\nCookie: a=invproxy=1",
        ):
            self.assertTaken(block, block, NOTHING)

    def test_taken(self) -> None:
        """
        Ours are taken out, wherever they stand; the others stay in order.
        """
        both = {b"invproxy": b"s", b"__Host-invproxy-signin": b"t"}
        for block, rest in (
            (b"invproxy=s; __Host-invproxy-signin=t", b""),
            (b"a=1; invproxy=s; b=2; __Host-invproxy-signin=t; c=3", b"a=1; b=2; c=3"),
            (b"invproxy=s;__Host-invproxy-signin=t;a=1", b"a=1"),
            (b"a=1;\tinvproxy = s ;__Host-invproxy-signin=t", b"a=1"),
            (b"__Host-invproxy-signin=t; a; invproxy=s; ; b=", b"a; ; b="),
            (b"invproxy; invproxy=s; __Host-invproxy-signin; a; __Host-invproxy-signin=t", b"a"),
        ):
            line = b"\r\ncookie: " + rest if rest else b""
            self.assertTaken(
                b"\r\nA: b\r\ncookie: " + block + b"\r\nC: d",
                b"\r\nA: b" + line + b"\r\nC: d",
                both,
            )

    def test_lines(self) -> None:
        """
        From all lines of Cookie; the first of two with one name counts, and neither goes on.
        """
        self.assertTaken(
            b"\r\nCookie: a=1; invproxy=x\r\nCOOKIE: invproxy=y; b=2\r\nCookie: c=3",
            b"\r\nCookie: a=1\r\nCOOKIE: b=2\r\nCookie: c=3",
            {b"invproxy": b"x"},
        )

    def test_nameless(self) -> None:
        """
        A cookie without a name, whose value looks like one of ours, is not ours, and is of no use to a backend.
        """
        for block, rest in ((b"invproxy", b""), (b"a=1; invproxy ;b=2", b"a=1;b=2")):
            line = b"\r\nCookie: " + rest if rest else b""
            self.assertTaken(b"\r\nCookie: " + block, line, NOTHING)

    @examples(100)
    @given(
        st.lists(st.sampled_from([b"a=1", b"invproxy=x", b"__Host-invproxy=y", b"", b" b", b"="]))
    )
    def test_nothingLeft(self, pairs: list[bytes]) -> None:
        """
        Whatever stands around them, none goes on, and no other is lost.
        """
        rest, own = takeOwn(b"\r\nCookie: " + b"; ".join(pairs))
        self.assertNotIn(b"invproxy", rest)
        self.assertEqual(rest.count(b"a=1"), pairs.count(b"a=1"))
        self.assertEqual(b"invproxy" in own, b"invproxy=x" in pairs)
        self.assertEqual(b"__Host-invproxy" in own, b"__Host-invproxy=y" in pairs)


class SetTests(SynchronousTestCase):
    """
    L{setOwn} and L{dropSet}.
    """

    def test_fields(self) -> None:
        """
        Over TLS the cookie is bound to the host and to TLS, without it only as much as can be.
        """
        self.assertEqual(
            setOwn(SESSION, "s", True),
            b"\r\nSet-Cookie: __Host-invproxy=s; Path=/; Secure; HttpOnly; SameSite=Lax",
        )
        self.assertEqual(
            setOwn(SIGN_IN, "t", False, 600),
            b"\r\nSet-Cookie: invproxy-signin=t; Path=/; Max-Age=600; HttpOnly; SameSite=Lax",
        )
        self.assertEqual(nameOf(SESSION, True), b"__Host-invproxy")

    def test_dropped(self) -> None:
        """
        What we set ourselves is among what a backend cannot set, in whatever way browsers would take for it.
        """
        for line in (
            setOwn(SESSION, "s", True),
            setOwn(SESSION, "s", False),
            setOwn(SIGN_IN, "t", True, 0),
            b"\r\nset-cookie:invproxy=s",
            b"\r\nSet-Cookie:\t invproxy = s; Path=/a",
            b"\r\nSet-Cookie: =invproxy=s",
            b"\r\nSet-Cookie: = __Host-invproxy=s",
            b"\r\nSet-Cookie: invproxy",
            b"\r\nSet-Cookie: =invproxy ; Path=/a",
            b"\r\nSet-Cookie:__Host-invproxy-signin;Secure",
        ):
            block = b"\r\nA: b" + line + b"\r\nSet-Cookie: c=d"
            self.assertEqual(dropSet(block), b"\r\nA: b\r\nSet-Cookie: c=d", line)

    def test_kept(self) -> None:
        """
        All others are none of our business.
        """
        for block in (
            b"\r\nSet-Cookie: a=invproxy=s",
            b"\r\nSet-Cookie: invproxy-x=s\r\nSet-Cookie: myinvproxy=1",
            b"\r\nX-Set-Cookie: invproxy=s",
            b"\r\nSet-Cookie: invproxyy\r\nSet-Cookie: invproxy y; a",
            b"\r\nSet-Cookie: a=b\r\nLink: </invproxy=x>",
        ):
            self.assertEqual(dropSet(block), block)


class SessionsTests(SynchronousTestCase):
    """
    L{Sessions}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.sessions = Sessions(self.clock, lifetime=1000.0, idle=100.0, most=5, mostOfUser=3)

    def userOf(self, secret: str) -> str | None:
        found = self.sessions.find(secret.encode())
        return None if found is None else found.user

    def test_secrets(self) -> None:
        """
        Each session has a secret of its own, of 256 bits, that is kept nowhere here.
        """
        secrets = {self.sessions.open("alice") for _ in range(3)}
        self.assertEqual(len(secrets), 3)
        for secret in secrets:
            self.assertRegex(secret, r"\A[A-Za-z0-9_-]{43}\Z")
            self.assertEqual(self.userOf(secret), "alice")
            self.assertNotIn(secret.encode(), self.sessions._sessions)
            self.assertNotIn(secret, repr(vars(self.sessions)))
        self.assertIsNone(self.userOf("x"))
        self.assertIsNone(self.userOf(""))

    def test_end(self) -> None:
        """
        A session that was ended is not found again; the user's others are.
        """
        one, two = self.sessions.open("alice"), self.sessions.open("alice")
        session = self.sessions.find(one.encode())
        assert session is not None
        self.sessions.end(session)
        self.sessions.end(session)
        self.assertIsNone(self.userOf(one))
        self.assertEqual(self.userOf(two), "alice")

    def test_idle(self) -> None:
        """
        It ends when no request came for long enough, and not before.
        """
        secret = self.sessions.open("alice")
        for _ in range(5):
            self.clock.advance(100)
            self.assertEqual(self.userOf(secret), "alice")
        self.clock.advance(101)
        self.assertIsNone(self.userOf(secret))
        self.assertEqual(len(self.sessions), 0)

    def test_lifetime(self) -> None:
        """
        However it is used, it ends.
        """
        secret = self.sessions.open("alice")
        for _ in range(20):
            self.clock.advance(50)
            self.assertEqual(self.userOf(secret), "alice")
        self.clock.advance(1)
        self.assertIsNone(self.userOf(secret))

    def test_most(self) -> None:
        """
        Beyond the bound those end that were unused for longest.
        """
        secrets = []
        for number in range(5):
            secrets.append(self.sessions.open(f"user{number}"))
            self.clock.advance(1)
        self.clock.advance(61)
        self.assertEqual(self.userOf(secrets[0]), "user0")
        self.sessions.open("another")
        self.assertEqual(len(self.sessions), 5)
        self.assertIsNone(self.userOf(secrets[1]))
        self.assertEqual(self.userOf(secrets[0]), "user0")

    def test_mostOfUser(self) -> None:
        """
        Who signs in again and again ends none but their own.
        """
        other = self.sessions.open("bob")
        secrets = [self.sessions.open("alice") for _ in range(50)]
        self.assertEqual(self.userOf(other), "bob")
        self.assertEqual([self.userOf(each) for each in secrets[-4:]], [None, *["alice"] * 3])
        self.assertEqual(len(self.sessions), 4)

    def test_usedOfUser(self) -> None:
        """
        Of theirs, the one ends that was unused for longest, whichever began first.
        """
        secrets = [self.sessions.open("alice") for _ in range(3)]
        self.clock.advance(10)
        for secret in (secrets[0], secrets[2]):
            self.assertEqual(self.userOf(secret), "alice")
        self.sessions.open("alice")
        self.assertEqual([self.userOf(each) for each in secrets], ["alice", None, "alice"])

    def test_sweep(self) -> None:
        """
        Those that ended unused take no room for long; nothing is left of them.
        """
        for number in range(5):
            self.sessions.open(f"user{number}")
        self.clock.advance(101)
        self.sessions.open("alice")
        self.assertEqual(len(self.sessions), 1)
        self.assertEqual(list(self.sessions._ofUser), ["alice"])
