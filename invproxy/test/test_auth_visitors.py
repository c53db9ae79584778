"""
Who visits, by the cookie of a session or by the field of a trusted proxy, and which names there can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_network

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from invproxy.auth.approaches import Approaches
from invproxy.auth.sessions import Sessions
from invproxy.auth.throttle import LIMIT
from invproxy.auth.visitors import cleanUser
from invproxy.http1.fields import values
from invproxy.proxy.settings import ProxySettings
from invproxy.test.helpers import FakePeer, requestHead
from invproxy.test.identitycase import VisitorsCase, basic


class SessionTests(VisitorsCase):
    """
    Cookies.
    """

    def setUp(self) -> None:
        super().setUp()
        self.sessions = Sessions(self.clock)
        self.secure = FakePeer(secure=True)
        self.visitors = self.make(checkers=[], sessions=self.sessions)
        self.secret = self.sessions.open("alice").encode()

    def cookie(self, *pairs: bytes) -> tuple[bytes, bytes]:
        return b"Cookie", b"; ".join(pairs)

    def test_session(self) -> None:
        """
        Who has the cookie of a session is known, and the cookie does not go on.
        """
        ours = b"__Host-invproxy=" + self.secret
        self.assertEqual(
            self.identify(self.cookie(b"a=1", ours), peer=self.secure, rest=b"\r\nCookie: a=1"),
            "alice",
        )
        self.assertEqual(self.identify(peer=self.secure, rest=b""), "")

    def test_unknown(self) -> None:
        """
        Another cookie makes nobody known, and does not go on, either. It is no failure: sessions end.
        """
        for _ in range(LIMIT * 2):
            found = self.identify(self.cookie(b"__Host-invproxy=x"), peer=self.secure, rest=b"")
            self.assertEqual(found, "")

    def test_prefix(self) -> None:
        """
        Over TLS only the cookie counts that nobody else could have planted, without TLS only the other.
        """
        plain = self.cookie(b"invproxy=" + self.secret)
        ours = self.cookie(b"__Host-invproxy=" + self.secret)
        self.assertEqual(self.identify(plain, peer=self.secure, rest=b""), "")
        self.assertEqual(self.identify(ours, rest=b""), "")
        self.assertEqual(self.identify(plain, rest=b""), "alice")

    def test_behindProxy(self) -> None:
        """
        A trusted proxy says whether the browser came over TLS; nobody else can.
        """
        settings = ProxySettings(trustedProxies=(ip_network("192.0.2.0/24"),))
        ours = self.cookie(b"__Host-invproxy=" + self.secret)
        told = (b"X-Forwarded-Proto", b"https")
        self.assertEqual(self.identify(ours, told), "")
        self.visitors = self.make(
            checkers=[], sessions=self.sessions, approaches=Approaches(settings.trusts)
        )
        self.assertEqual(self.identify(ours, told), "alice")
        self.assertEqual(self.identify(ours), "")

    def test_ended(self) -> None:
        """
        A session that has ended makes nobody known, from the next request on.
        """
        head = requestHead(fields=[self.cookie(b"invproxy=" + self.secret)])
        session = self.visitors.sessionOf(head, self.peer)
        assert session is not None
        self.sessions.end(session)
        self.assertEqual(self.identify(self.cookie(b"invproxy=" + self.secret), rest=b""), "")

    def test_withBasic(self) -> None:
        """
        With both ways open, credentials that were typed in count before the cookie, and neither goes on.
        """
        self.visitors = self.make(sessions=self.sessions)
        cookie = self.cookie(b"invproxy=" + self.secret)
        self.assertEqual(self.identify(cookie, basic("bob", "builder"), rest=b""), "bob")
        self.assertEqual(self.identify(cookie, basic("bob", "x"), rest=b""), "!unauthenticated")
        self.assertEqual(self.identify(cookie, rest=b""), "alice")

    def test_withoutBasic(self) -> None:
        """
        Where there are only sessions, Basic credentials are the backend's.
        """
        field = basic("bob", "builder")
        self.assertEqual(self.identify(field, rest=b"\r\nAuthorization: " + field[1]), "")

    def test_off(self) -> None:
        """
        Where nobody can sign in, a cookie is like any other.
        """
        self.visitors = self.make()
        cookie = self.cookie(b"invproxy=" + self.secret)
        self.assertEqual(self.identify(cookie, rest=b"\r\nCookie: " + cookie[1]), "")

    def test_challenge(self) -> None:
        """
        A program is told how it may come in.
        """
        fault = self.visitors.challenge()
        self.assertEqual(fault.code.status, 401)
        [text] = values(fault.fields, b"WWW-Authenticate")
        self.assertTrue(text.startswith(b'Cookie realm="invproxy"'), text)
        both = self.make(sessions=self.sessions).challenge()
        self.assertEqual(len(values(both.fields, b"WWW-Authenticate")), 2)


class HeaderTests(VisitorsCase):
    """
    The field in which a trusted proxy names the end user.
    """

    FIELD = (b"X-Forwarded-User", b"carol")

    def setUp(self) -> None:
        super().setUp()
        settings = ProxySettings(trustedProxies=(ip_network("192.0.2.0/24"),))
        self.visitors = self.make(
            userHeader=b"x-forwarded-user", approaches=Approaches(settings.trusts)
        )

    def test_named(self) -> None:
        """
        Who is named there needs nothing else: the name itself is read by the public side. Basic credentials still do
        not go on.
        """
        line = b"\r\nX-Forwarded-User: carol"
        self.assertEqual(self.identify(self.FIELD, basic("alice", "x"), rest=line), "")
        self.assertEqual(self.checker.asked, [])

    def test_notNamed(self) -> None:
        """
        If the trusted proxy names nobody, the other ways are open.
        """
        self.assertEqual(self.identify(basic("alice", "wonder")), "alice")
        self.assertEqual(self.identify((self.FIELD[0], b""), basic("alice", "wonder")), "alice")

    def test_stranger(self) -> None:
        """
        From anybody else the field says nothing.
        """
        stranger = FakePeer()
        stranger.address = IPv4Address("TCP", "203.0.113.1", 1)
        self.assertEqual(
            self.identify(self.FIELD, basic("alice", "x"), peer=stranger), "!unauthenticated"
        )


class NameTests(SynchronousTestCase):
    """
    L{cleanUser}.
    """

    def assertAll(self, names: Iterable[object], outcome: Callable[[object], object]) -> None:
        for name in names:
            self.assertEqual(cleanUser(name), outcome(name), repr(name))

    def test_names(self) -> None:
        """
        A name is printable, and goes into a field as it is.
        """
        self.assertAll(
            ["alice", "alice@example.com", "J\xf6rg M\xfcller", "x" * 320], lambda name: name
        )
        self.assertAll(
            ["", " a", "a ", "a\nb", "a\x00", "a\u2028b", "x" * 321, None, 7, True, ["a"], b"a"],
            lambda name: None,
        )
