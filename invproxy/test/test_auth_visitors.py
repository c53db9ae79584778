"""
Who visits.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from invproxy.agent.peer import OriginalPeer
from invproxy.auth import visitors as module
from invproxy.auth.approaches import Approaches
from invproxy.auth.sessions import Session, Sessions
from invproxy.auth.throttle import LIMIT, WIDE_LIMIT, FairThrottle
from invproxy.auth.visitors import Visitors, cleanUser
from invproxy.errors import Fault
from invproxy.http1.fields import values
from invproxy.proxy.settings import ProxySettings
from invproxy.test.helpers import FakePeer, requestHead


def basic(user: str, password: str) -> tuple[bytes, bytes]:
    """
    The field with Basic credentials.
    """
    return b"Authorization", b"Basic " + b64encode(f"{user}:{password}".encode())


def codeOf(failure: Failure) -> str:
    """
    What a fault is called here.
    """
    assert isinstance(failure.value, Fault), failure
    return f"!{failure.value.code.name}"


@implementer(ICredentialsChecker)
class Checker:
    """
    Knows some users.

    @ivar asked: the names and passwords that were to be checked.
    @ivar later: while this is a list, answers wait in it.
    @ivar avatar: what to say of those that it knows, instead of their names.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, **users: str) -> None:
        self.users = users
        self.asked: list[tuple[str, str]] = []
        self.later: list[Deferred[Any]] | None = None
        self.error: Exception = UnauthorizedLogin()
        self.avatar: object = None

    def requestAvatarId(self, credentials: IUsernamePassword) -> Any:
        name, password = credentials.username.decode(), credentials.password.decode()
        self.asked.append((name, password))
        if self.later is not None:
            waiting: Deferred[Any] = Deferred()
            self.later.append(waiting)
            return waiting.addCallback(lambda _: self._answer(name, password))
        return self._answer(name, password)

    def _answer(self, name: str, password: str) -> Any:
        if self.users.get(name) == password:
            return succeed(name.encode() if self.avatar is None else self.avatar)
        return fail(self.error)


class VisitorsCase(SynchronousTestCase):
    """
    What these tests share.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.throttle = FairThrottle(self.clock)
        self.peer = FakePeer()
        self.checker = Checker(alice="wonder", bob="builder")
        self.visitors = self.make()

    def make(self, **options: Any) -> Visitors:
        options.setdefault("checkers", [self.checker])
        return Visitors(self.clock, self.throttle, **options)

    def begin(self, field: tuple[bytes, bytes]) -> Deferred[Any]:
        """
        Begin to find out who sent a request, where that takes a while.
        """
        found = self.visitors.identify(requestHead(fields=[field]), self.peer)
        assert isinstance(found, Deferred)
        return found

    def identify(
        self, *fields: tuple[bytes, bytes], peer: FakePeer | None = None, rest: bytes | None = None
    ) -> str:
        """
        Find out who sent a request.

        @param rest: what must go on of the fields, less Host.
        @return: the name, or the code of the fault.
        """
        head = requestHead(fields=fields)
        outcome: list[Any] = []
        try:
            found = self.visitors.identify(head, peer or self.peer)
            if isinstance(found, Deferred):
                found.addErrback(lambda failure: failure.value).addCallback(outcome.append)
            else:
                outcome.append(found)
        except Fault as fault:
            outcome.append(fault)
        if rest is not None:
            self.assertEqual(head.fields, b"\r\nHost: example.com" + rest)
        [found] = outcome or ["(waits)"]
        if isinstance(found, Session):
            return found.user
        if isinstance(found, Fault):
            self.fault = found
            return f"!{found.code.name}"
        assert isinstance(found, str)
        return found


class BasicTests(VisitorsCase):
    """
    Names and passwords.
    """

    def test_nobody(self) -> None:
        """
        Without credentials one is nobody, and what is for the backend goes on.
        """
        self.assertEqual(self.identify(rest=b""), "")
        for text in (b"Bearer abc", b"Basics abc", b"Digest username=alice", b""):
            line = b"\r\nAuthorization: " + text
            self.assertEqual(self.identify((b"Authorization", text), rest=line), "")
        self.assertEqual(self.checker.asked, [])

    def test_right(self) -> None:
        """
        With the right ones one is known, in whatever case the scheme stands, and they do not go on.
        """
        self.assertEqual(self.identify(basic("alice", "wonder"), rest=b""), "alice")
        field = (b"AUTHORIZATION", basic("bob", "builder")[1].replace(b"Basic ", b"bAsIc \t "))
        self.assertEqual(self.identify((b"A", b"b"), field, rest=b"\r\nA: b"), "bob")

    def test_wrong(self) -> None:
        """
        With wrong ones the answer is 401 with a challenge, and they do not go on.
        """
        self.assertEqual(self.identify(basic("alice", "x"), rest=b""), "!unauthenticated")
        self.assertEqual(
            values(self.fault.fields, b"WWW-Authenticate"),
            [b'Basic realm="invproxy", charset="UTF-8"'],
        )
        self.assertNotIn("alice", str(self.fault))

    def test_malformed(self) -> None:
        """
        What is no name and password is refused and not asked about. It guesses nothing, so it is never too much.
        """
        for text in (b"Basic", b"Basic ", b"Basic ?", b"Basic YWxpY2U", b"Basic OndvbmRlcg=="):
            field = (b"Authorization", text)
            for _ in range(WIDE_LIMIT):
                self.assertEqual(self.identify(field, rest=b""), "!unauthenticated", text)
            self.assertEqual(
                values(self.fault.fields, b"WWW-Authenticate"),
                [b'Basic realm="invproxy", charset="UTF-8"'],
            )
        self.assertEqual(self.checker.asked, [])
        self.assertEqual(self.identify(basic("bob", "builder")), "bob")

    def test_malformedMeanwhile(self) -> None:
        """
        It does not end what others at the same address have under way, either: that goes on counting.
        """
        self.checker.later = []
        self.assertEqual(self.identify(basic("bob", "x")), "(waits)")
        for _ in range(3):
            self.identify((b"Authorization", b"Basic ?"))
        for number in range(WIDE_LIMIT - 1):
            self.throttle.attempt(self.peer, b"%d" % number)
        self.assertRaises(Fault, self.throttle.attempt, self.peer, b"alice")

    def test_two(self) -> None:
        """
        Two kinds of credentials in one request could be read in two ways.
        """
        for fields in (
            (basic("alice", "wonder"), basic("bob", "builder")),
            (basic("alice", "wonder"), (b"authorization", b"Bearer x")),
            ((b"authorization", b"Bearer x"), basic("alice", "wonder")),
        ):
            self.assertEqual(self.identify(*fields), "!bad-request")
        self.assertEqual(self.checker.asked, [])

    def test_colon(self) -> None:
        """
        A password may have colons, and be empty.
        """
        self.checker.users |= {"carol": "a:b:", "dave": ""}
        self.assertEqual(self.identify(basic("carol", "a:b:")), "carol")
        self.assertEqual(self.identify(basic("dave", "")), "dave")

    def test_remembered(self) -> None:
        """
        What was right is not asked about again for a minute; what was wrong is, each time.
        """
        for _ in range(3):
            self.assertEqual(self.identify(basic("alice", "wonder"), rest=b""), "alice")
            self.clock.advance(19)
        self.assertEqual(len(self.checker.asked), 1)
        self.checker.users["alice"] = "other"
        self.clock.advance(3)
        self.assertEqual(self.identify(basic("alice", "wonder")), "!unauthenticated")
        self.assertEqual(self.identify(basic("alice", "wonder")), "!unauthenticated")
        self.assertEqual(len(self.checker.asked), 3)

    def test_memory(self) -> None:
        """
        What is remembered is bounded, and holds no password.
        """
        self.patch(module, "_MOST_REMEMBERED", 3)
        for number in range(5):
            self.checker.users[f"user{number}"] = "secret"
            self.identify(basic(f"user{number}", "secret"))
        self.assertEqual(len(self.visitors._known), 3)
        names = [name for name in dir(self.visitors) if not name.startswith("__")]
        held = repr([getattr(self.visitors, name) for name in names])
        self.assertIn("user4", held)
        self.assertNotIn("secret", held)
        self.assertNotIn(b64encode(b"user4:secret").decode(), held)
        self.identify(basic("user0", "secret"))
        self.assertEqual(len(self.checker.asked), 6)

    def test_recognized(self) -> None:
        """
        A connection remembers who has sent its last fields, for as long as the credentials need not be checked again.
        """
        field = basic("alice", "wonder")
        for _ in range(2):
            self.assertEqual(self.identify(field, rest=b""), "alice")
        memory = self.peer.memory
        self.assertIsNotNone(memory)
        self.assertEqual(self.identify(field, rest=b""), "alice")
        self.assertIs(self.peer.memory, memory)
        # Other fields, or the same on another connection, are looked at.
        self.assertEqual(self.identify(field, (b"A", b"b"), rest=b"\r\nA: b"), "alice")
        self.assertEqual(self.identify(rest=b""), "")
        self.assertEqual(self.identify(basic("bob", "builder"), rest=b""), "bob")
        self.assertEqual(self.identify(basic("bob", "wrong")), "!unauthenticated")
        self.assertEqual(self.identify(field, rest=b""), "alice")
        self.checker.users["alice"] = "other"
        self.clock.advance(61)
        self.assertEqual(self.identify(field), "!unauthenticated")
        self.assertEqual(self.identify(field), "!unauthenticated")

    def test_recognizedByAnother(self) -> None:
        """
        What one proxy remembers of a connection says nothing to another behind the same.
        """
        field = basic("alice", "wonder")
        for _ in range(2):
            self.assertEqual(self.identify(field), "alice")
        self.visitors = self.make(checkers=[Checker(alice="other")])
        self.assertEqual(self.identify(field), "!unauthenticated")

    def test_throughAnAgent(self) -> None:
        """
        The client of an exchange remembers, too, where a proxy is the origin of an agent.
        """
        peer = OriginalPeer(IPv4Address("TCP", "192.0.2.8", 1), False)
        for _ in range(3):
            found = self.visitors.identify(requestHead(fields=[basic("alice", "wonder")]), peer)
            if isinstance(found, Deferred):
                found = self.successResultOf(found)
            self.assertEqual(found, "alice")
        self.assertEqual(peer, OriginalPeer(IPv4Address("TCP", "192.0.2.8", 1), False))

    def test_longFields(self) -> None:
        """
        Fields that are long are not remembered.
        """
        long = (b"A", b"a" * 4096)
        for _ in range(3):
            self.assertEqual(self.identify(basic("alice", "wonder"), long), "alice")
        self.assertIsNone(self.peer.memory)

    def test_together(self) -> None:
        """
        The same credentials many times at once, as from a browser's connections, are one check and one failure.
        """
        self.checker.later = []
        for password, outcome in (("wonder", "alice"), ("x", "!unauthenticated")):
            field = basic("alice", password)
            found: list[Any] = []
            for _ in range(20):
                deferred = self.begin(field)
                deferred.addErrback(codeOf)
                deferred.addCallback(found.append)
            self.assertEqual(found, [])
            [waiting] = self.checker.later
            self.checker.later.clear()
            waiting.callback(None)
            self.assertEqual(found, [outcome] * 20)
        self.assertEqual(len(self.checker.asked), 2)
        self.checker.later = None
        self.assertEqual(self.identify(basic("bob", "builder")), "bob")

    def test_left(self) -> None:
        """
        A client that leaves meanwhile spoils nothing for the others.
        """
        self.checker.later = []
        field = basic("alice", "wonder")
        one, two = self.begin(field), self.begin(field)
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.checker.later[0].callback(None)
        self.assertEqual(self.successResultOf(two), "alice")
        self.assertEqual(self.identify(field), "alice")

    def test_chain(self) -> None:
        """
        Several checkers are asked in order, until one knows them.
        """
        second = Checker(carol="x", alice="other")
        self.visitors = self.make(checkers=[self.checker, second])
        self.assertEqual(self.identify(basic("alice", "wonder")), "alice")
        self.assertEqual(second.asked, [])
        self.assertEqual(self.identify(basic("carol", "x")), "carol")
        self.assertEqual(self.identify(basic("alice", "other")), "alice")
        self.assertEqual(self.identify(basic("eve", "x")), "!unauthenticated")
        self.checker.error = UnhandledCredentials()
        self.assertEqual(self.identify(basic("carol", "x")), "carol")

    def test_broken(self) -> None:
        """
        A checker that cannot do its work is no failure of the visitor's; the log says so, and no secret. Others are
        still asked.
        """
        self.checker.error = OSError("wonder is not what alice said")
        with capturedLogs() as logs:
            for _ in range(LIMIT + 1):
                self.assertEqual(self.identify(basic("alice", "x")), "!internal")
        self.assertIn("OSError", str(logs[0]["kind"]))
        self.assertNotIn("wonder", repr(logs))
        self.visitors = self.make(checkers=[self.checker, Checker(alice="x")])
        self.assertEqual(self.identify(basic("alice", "x")), "alice")

    def test_slow(self) -> None:
        """
        A checker that does not answer is given up, and does not count as a failure.
        """
        self.checker.later = []
        outcome: list[Any] = []
        with capturedLogs():
            found = self.begin(basic("alice", "wonder"))
            found.addErrback(codeOf).addCallback(outcome.append)
            self.clock.advance(29)
            self.assertEqual(outcome, [])
            self.clock.advance(1)
        self.assertEqual(outcome, ["!internal"])
        self.assertEqual(self.visitors._underWay, {})

    def test_avatars(self) -> None:
        """
        A checker may give the name as text or bytes; what cannot be a name is nobody's.
        """
        for made, outcome in (
            ("Alice", "Alice"),
            (b"alice@example.com", "alice@example.com"),
            ("j\xf6rg".encode(), "j\xf6rg"),
            ((), "!unauthenticated"),
            ("", "!unauthenticated"),
            (b"\xff", "!unauthenticated"),
            ("a\r\nb", "!unauthenticated"),
        ):
            self.visitors = self.make()
            self.checker.avatar = made
            self.assertEqual(self.identify(basic("alice", "wonder")), outcome)

    def test_throttled(self) -> None:
        """
        After too many failures a peer's guesses are refused unseen; what is known already still passes, and other users
        and other peers are not concerned.
        """
        self.identify(basic("alice", "wonder"))
        for _ in range(LIMIT):
            self.assertEqual(self.identify(basic("bob", "x")), "!unauthenticated")
        asked = len(self.checker.asked)
        self.assertEqual(self.identify(basic("bob", "x"), rest=b""), "!too-many-attempts")
        self.assertEqual(self.identify(basic("bob", "builder")), "!too-many-attempts")
        self.assertEqual(len(self.checker.asked), asked)
        self.assertEqual(self.identify(basic("alice", "wonder")), "alice")
        self.checker.users["carol"] = "c"
        self.assertEqual(self.identify(basic("carol", "c")), "carol")
        self.assertEqual(self.identify(), "")
        other = FakePeer()
        other.address = IPv4Address("TCP", "192.0.2.8", 1)
        self.assertEqual(self.identify(basic("bob", "builder"), peer=other), "bob")
        # Neither do they pass by joining a check that another peer has under way.
        self.clock.advance(61)
        for _ in range(LIMIT):
            self.identify(basic("bob", "x"))
        self.checker.later = []
        self.assertEqual(self.identify(basic("bob", "y"), peer=other), "(waits)")
        self.assertEqual(self.identify(basic("bob", "y")), "!too-many-attempts")

    def test_manyNames(self) -> None:
        """
        Who tries one name after another is refused in the end, and for a while with them whoever comes to the same
        address for the first time; who is known there passes.
        """
        self.identify(basic("alice", "wonder"))
        for number in range(WIDE_LIMIT):
            self.assertEqual(self.identify(basic(f"user{number}", "x")), "!unauthenticated")
        self.assertEqual(self.identify(basic("bob", "builder")), "!too-many-attempts")
        self.assertEqual(self.identify(basic("alice", "wonder")), "alice")
        self.clock.advance(15)
        self.assertEqual(self.identify(basic("bob", "builder")), "bob")

    def test_neighbor(self) -> None:
        """
        Whoever guesses all day locks nobody out who was known at the same address before; their passwords are still
        checked each minute, and one that is not right any more is forgotten.
        """
        self.identify(basic("alice", "wonder"))
        for _ in range(600):
            self.clock.advance(61)
            for number in range(LIMIT):
                self.identify(basic("bob", str(number)))
            self.assertEqual(self.identify(basic("alice", "wonder")), "alice")
        self.assertEqual(self.checker.asked.count(("alice", "wonder")), 601)
        self.assertEqual(self.identify(basic("bob", "builder")), "!too-many-attempts")
        self.checker.users["alice"] = "other"
        self.clock.advance(60)
        for _ in range(LIMIT):
            self.identify(basic("bob", "x"))
        for _ in range(1 + LIMIT):  # one is not counted, as they are those that were right
            self.assertEqual(self.identify(basic("alice", "wonder")), "!unauthenticated")
        self.assertEqual(self.identify(basic("alice", "wonder")), "!too-many-attempts")
        self.clock.advance(86400)
        self.assertEqual(self.identify(basic("bob", "builder")), "bob")
        self.clock.advance(43200)
        for _ in range(LIMIT):
            self.identify(basic("bob", "x"))
        self.assertEqual(self.identify(basic("bob", "builder")), "!too-many-attempts")

    def test_elsewhere(self) -> None:
        """
        What is known at one address does not tell those who guess at another what is right.
        """
        other = FakePeer()
        other.address = IPv4Address("TCP", "192.0.2.8", 1)
        self.identify(basic("alice", "wonder"))
        for _ in range(LIMIT):
            self.identify(basic("alice", "x"), peer=other)
        self.assertEqual(self.identify(basic("alice", "wonder"), peer=other), "!too-many-attempts")
        self.clock.advance(15)
        self.assertEqual(self.identify(basic("alice", "wonder"), peer=other), "alice")
        for _ in range(LIMIT):
            self.identify(basic("alice", "x"), peer=other)
        self.assertEqual(self.identify(basic("alice", "wonder"), peer=other), "alice")
        self.assertEqual(len(self.checker.asked), 2 * LIMIT + 1)
        self.patch(module, "_MOST_PLACES", 3)
        for number in range(5):
            other.address = IPv4Address("TCP", f"198.51.100.{number}", 1)
            self.assertEqual(self.identify(basic("alice", "wonder"), peer=other), "alice")
        [known] = self.visitors._known.values()
        self.assertLess(len(known.places), 5)

    def test_brokenLater(self) -> None:
        """
        Credentials are not forgotten because they cannot be checked for a while.
        """
        self.identify(basic("alice", "wonder"))
        self.clock.advance(61)
        del self.checker.users["alice"]
        self.checker.error = OSError()
        with capturedLogs():
            self.assertEqual(self.identify(basic("alice", "wonder")), "!internal")
        self.checker.users["alice"] = "wonder"
        self.checker.error = UnauthorizedLogin()
        for _ in range(LIMIT):
            self.identify(basic("bob", "x"))
        self.assertEqual(self.identify(basic("alice", "wonder")), "alice")

    def test_manyAtOnce(self) -> None:
        """
        Nobody has more guesses by making them all at once, nor keeps others from being checked; all together have no
        more than the machine can check. Who was known before need not stand in that line.
        """
        most = module._MOST_GUESSES
        self.identify(basic("alice", "wonder"))
        self.clock.advance(61)
        self.checker.later = []
        outcomes = [self.identify(basic("bob", str(number))) for number in range(most + 5)]
        self.assertEqual(outcomes, ["(waits)"] * most + ["!too-many-attempts"] * 5)
        self.patch(module, "_MOST_CHECKS", most + 1)
        for last, outcome in ((1, "(waits)"), (2, "!too-many-attempts")):
            other = FakePeer()
            other.address = IPv4Address("TCP", f"192.0.2.{100 + last}", 1)
            self.assertEqual(self.identify(basic("bob", f"y{last}"), peer=other), outcome)
        self.assertEqual(values(self.fault.fields, b"Retry-After"), [b"1"])
        self.assertEqual(self.identify(basic("alice", "wonder")), "(waits)")
        waiting, self.checker.later = self.checker.later, None
        for each in waiting:
            each.callback(None)
        self.assertEqual((self.visitors._guesses, self.visitors._underWay), ({}, {}))
        self.assertEqual(self.identify(basic("bob", "builder")), "bob")


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


class ApproachTests(SynchronousTestCase):
    """
    L{Approaches}.
    """

    def setUp(self) -> None:
        settings = ProxySettings(trustedProxies=(ip_network("192.0.2.0/24"),))
        self.approaches = Approaches(settings.trusts)
        self.proxy = FakePeer()
        self.stranger = FakePeer()
        self.stranger.address = IPv4Address("TCP", "203.0.113.1", 1)
        self.unix = FakePeer()
        self.unix.address = UNIXAddress(b"/socket")

    def clientOf(self, peer: FakePeer, *chains: bytes) -> object:
        fields = [(b"X-Forwarded-For", chain) for chain in chains]
        return self.approaches.clientOf(requestHead(fields=fields), peer)

    def test_client(self) -> None:
        """
        The last address that a trusted proxy has seen and that is none itself; further to the left stands what anybody
        can make up.
        """
        self.assertIs(self.clientOf(self.stranger, b"198.51.100.1"), self.stranger)
        self.assertIs(self.clientOf(self.proxy), self.proxy)
        self.assertIs(self.clientOf(self.unix, b"198.51.100.1"), self.unix)
        for chains, client in (
            ((b"198.51.100.1",), "198.51.100.1"),
            ((b"1.2.3.4, 198.51.100.1",), "198.51.100.1"),
            ((b"1.2.3.4, 198.51.100.1, 192.0.2.9",), "198.51.100.1"),
            ((b"1.2.3.4", b"198.51.100.1"), "198.51.100.1"),
            ((b"203.0.113.9:51234",), "203.0.113.9"),
            ((b"1.2.3.4, [2001:db8::1]:443",), "2001:db8::1"),
            ((b"2001:DB8:0::1",), "2001:db8::1"),
            ((b"198.51.100.1, 192.0.2.9:80",), "198.51.100.1"),
        ):
            self.assertEqual(self.clientOf(self.proxy, *chains), client)
        self.assertIs(self.clientOf(self.proxy, b"192.0.2.8, 192.0.2.9"), self.proxy)
        for chain in (b"1.2.3.4, unknown", b"1.2.3.4, \xe9", b"1.2.3.4, 5.6.7", b"[::1"):
            expected = "::1" if chain == b"[::1" else self.proxy
            self.assertEqual(self.clientOf(self.proxy, chain), expected)
        many = b"198.51.100.1" + b", 192.0.2.9" * 5000
        self.assertIs(self.clientOf(self.proxy, many), self.proxy)
        self.approaches = Approaches(trustsUnix=True)
        self.assertEqual(self.clientOf(self.unix, b"1.2.3.4, 198.51.100.1"), "198.51.100.1")
        self.assertIs(self.clientOf(self.proxy, b"198.51.100.1"), self.proxy)

    def test_forwarded(self) -> None:
        """
        The same where trusted proxies send only Forwarded, whatever clients put into it.
        """
        for lines, client in (
            ((b"for=198.51.100.1",), "198.51.100.1"),
            ((b"for=1.2.3.4, for=198.51.100.1;proto=https;by=_x",), "198.51.100.1"),
            ((b"for=1.2.3.4", b"proto=https; For=198.51.100.1"), "198.51.100.1"),
            ((b'for=1.2.3.4,for="198.51.100.1:51234", for=192.0.2.9',), "198.51.100.1"),
            ((b'for="[2001:db8::1]:443"',), "2001:db8::1"),
            ((b'for=", for=198.51.100.1',), "198.51.100.1"),
            ((b"for=1.2.3.4, for=_hidden",), None),
            ((b"for=1.2.3.4, for=unknown",), None),
            ((b"for=1.2.3.4, proto=https",), None),
            ((b"for=198.51.100.1;for=1.2.3.4",), None),
            ((b'for=198.51.100.1;host="a,for=1.2.3.4"',), None),
            ((b'for=198.51.100.1;host="a,for=1.2.3.4;b"',), None),
            ((b'for=198.51.100.1;host="a,for=1.2.3.4;b=\\""',), None),
            ((b"xfor=198.51.100.1",), None),
            ((b"",), None),
        ):
            fields = [(b"Forwarded", line) for line in lines]
            found = self.approaches.clientOf(requestHead(fields=fields), self.proxy)
            self.assertEqual(found, client or self.proxy, lines)
        fields = [(b"Forwarded", b"for=1.2.3.4"), (b"X-Forwarded-For", b"198.51.100.1")]
        found = self.approaches.clientOf(requestHead(fields=fields), self.proxy)
        self.assertEqual(found, "198.51.100.1")
        found = self.approaches.clientOf(requestHead(fields=fields), self.stranger)
        self.assertIs(found, self.stranger)

    def isSecure(self, peer: FakePeer, *fields: tuple[bytes, bytes]) -> bool:
        return self.approaches.isSecure(requestHead(fields=fields), peer)

    def test_secure(self) -> None:
        """
        What the trusted proxy says, in either form, else what the connection is.
        """
        https = (b"X-Forwarded-Proto", b"HTTPS")
        self.assertFalse(self.isSecure(self.stranger, https))
        self.assertFalse(self.isSecure(self.proxy))
        self.assertTrue(self.isSecure(self.proxy, https))
        self.assertTrue(self.isSecure(self.proxy, (b"X-Forwarded-Proto", b"https, http")))
        self.assertFalse(self.isSecure(self.proxy, (b"X-Forwarded-Proto", b"http, https")))
        for text, outcome in (
            (b"for=1.2.3.4;proto=https;by=a", True),
            (b"proto=http, proto=https", False),
            (b'for=_a; Proto="https"', True),
            (b"for=_a", False),
            (b"xproto=https", False),
        ):
            self.assertEqual(self.isSecure(self.proxy, (b"Forwarded", text)), outcome, text)
        self.proxy.secure = True
        self.assertTrue(self.isSecure(self.proxy))
        self.assertFalse(self.isSecure(self.proxy, (b"X-Forwarded-Proto", b"http")))

    def test_host(self) -> None:
        """
        The host that the browser asked for, if a trusted proxy tells of it.
        """

        def hostOf(peer: FakePeer, *fields: tuple[bytes, bytes]) -> bytes:
            return self.approaches.hostOf(requestHead(fields=fields), peer)

        told = (b"X-Forwarded-Host", b"public.example:8443")
        self.assertEqual(hostOf(self.stranger, told), b"example.com")
        self.assertEqual(hostOf(self.proxy), b"example.com")
        self.assertEqual(hostOf(self.proxy, told), b"public.example:8443")
        self.assertEqual(hostOf(self.proxy, (told[0], b"a b")), b"example.com")


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
