"""
Visitors by name and password, and those who guess these.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from invproxy.agent.peer import OriginalPeer
from invproxy.auth import visitors as module
from invproxy.auth.throttle import LIMIT, WIDE_LIMIT
from invproxy.errors import Fault
from invproxy.http1.fields import values
from invproxy.test.helpers import FakePeer, requestHead
from invproxy.test.identitycase import Checker, VisitorsCase, basic


def codeOf(failure: Failure) -> str:
    """
    What a fault is called here.
    """
    assert isinstance(failure.value, Fault), failure
    return f"!{failure.value.code.name}"


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
