"""
Who gets in as an agent: all four calls, with all kinds of credentials.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import RSAKey
from twisted.internet.address import UNIXAddress
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from invproxy.auth.agents import OpenAgents, RegistryAgents, bearerOf
from invproxy.auth.identity import Identity
from invproxy.auth.throttle import LIMIT
from invproxy.errors import FORBIDDEN, Fault, StoreError
from invproxy.http1.heads import RequestHead
from invproxy.interfaces import IAgentAuthenticator
from invproxy.registry.memory import MemoryStore
from invproxy.registry.registry import Registry
from invproxy.server.channel import Channel
from invproxy.test.accessbench import (
    AUDIENCE,
    CALLS,
    EC,
    ISSUER,
    RSA,
    STRANGE,
    AccessBench,
    admitted,
    bearer,
    certificate,
    keySet,
    sign,
)
from invproxy.test.helpers import FakePeer, requestHead
from invproxy.test.rawcalls import Call


def flipped(token: bytes) -> bytes:
    """
    Change a signature by a bit.
    """
    at = token.rindex(b".") + 10
    return token[:at] + (b"A" if token[at : at + 1] != b"A" else b"B") + token[at + 1 :]


def part(value: dict[str, Any] | bytes) -> bytes:
    """
    Write a part of a JWT.
    """
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(data).rstrip(b"=")


def unsigned(claims: dict[str, Any], alg: str = "none") -> bytes:
    """
    Make a JWT without a signature.
    """
    return part({"alg": alg, "kid": "one"}) + b"." + part(claims) + b"."


def maced(claims: dict[str, Any], secret: bytes) -> bytes:
    """
    Make a JWT whose signature is an HMAC, for which the public key may be taken by whoever trusts the header.
    """
    signed = part({"alg": "HS256", "kid": "one"}) + b"." + part(claims)
    return signed + b"." + part(hmac.digest(secret, signed, "sha256"))


def byHand(claims: dict[str, Any], **header: Any) -> bytes:
    """
    Make a JWT with any header, such as one that is only valid for who understands more (RFC 7515, section 4.1.11).
    """
    signed = part({"alg": "RS256", "kid": "one", **header}) + b"." + part(claims)
    key = RSA.private_key
    assert key is not None
    return signed + b"." + part(key.sign(signed, PKCS1v15(), SHA256()))


class AccessCase(SynchronousTestCase):
    """
    What these tests share.
    """

    def setUp(self) -> None:
        self.bench = AccessBench()
        self.addCleanup(self.bench.stop)
        self.shown: x509.Certificate | None = None
        self.patch(Channel, "certificate", lambda channel: self.shown)

    def assertRefused(self, call: Call, status: int, code: str, what: object = None) -> None:
        self.assertEqual((call.status, call.error), (status, code), what)
        self.assertTrue(call.reply.whole, what)
        challenge = call.reply.value(b"WWW-Authenticate")
        self.assertEqual(challenge, b"Bearer" if status == 401 else None, what)


class TableTests(AccessCase):
    """
    Each of the calls, with each kind of credential.
    """

    def table(self) -> list[tuple[str, bytes | Callable[[], bytes], str]]:
        """
        What is presented, and what comes of it: C{"in"}, C{"401"} or C{"403"}.
        """
        bench = self.bench
        good = bench.mint()
        others = bench.mint("other")
        revoked = bench.mint(name="revoked")
        bench.do(bench.registry.revokeToken("web", "revoked"))
        expired = bench.mint(name="expired", expires=bench.now + 10)
        bench.advance(10)
        now = int(bench.now)
        claims = bench.claims
        publicPEM = RSA.as_pem(private=False)
        modulus = str(RSA.as_dict(private=False)["n"]).encode()

        def show(
            common: str | None, *names: x509.GeneralName, lasts: float = 3600.0, also: bytes = b""
        ) -> Callable[[], bytes]:
            def present() -> bytes:
                self.shown = certificate(common, *names, now=bench.now, lasts=lasts)
                return also

            return present

        email = x509.RFC822Name("agent@example.com")
        return [
            ("none", b"", "401"),
            ("unknown token", bearer("ivp_" + "A" * 43), "401"),
            ("almost the token", bearer(good[:-1] + ("A" if good[-1] != "A" else "B")), "401"),
            ("the token cut short", bearer(good[:-1]), "401"),
            ("the token and more", bearer(good + "A"), "401"),
            ("no scheme", b"Authorization: %b\r\n" % good.encode(), "401"),
            ("another scheme", b"Authorization: Basic %b\r\n" % good.encode(), "401"),
            ("no token", b"Authorization: Bearer\r\n", "401"),
            ("two tokens", b"Authorization: Bearer %b x\r\n" % good.encode(), "401"),
            ("two fields", bearer(good) * 2, "401"),
            ("too long", bearer("A" * 8193), "401"),
            ("another backend's token", bearer(others), "403"),
            ("expired token", bearer(expired), "401"),
            ("revoked token", bearer(revoked), "401"),
            ("right token", bearer(good), "in"),
            ("scheme in small letters", bearer(good).replace(b"Bearer", b"bearer"), "in"),
            ("right JWT", bearer(sign(claims())), "in"),
            ("right JWT by another algorithm", bearer(sign(claims(), alg="PS384")), "in"),
            ("right JWT by another key", bearer(sign(claims(), EC, "ES256")), "in"),
            ("several audiences", bearer(sign(claims(aud=["x", AUDIENCE]))), "in"),
            ("no key named", bearer(sign(claims(), kid=None)), "in"),
            ("expired within the skew", bearer(sign(claims(exp=now - 59))), "in"),
            ("not yet, within the skew", bearer(sign(claims(nbf=now + 59))), "in"),
            ("expired JWT", bearer(sign(claims(exp=now - 61))), "401"),
            ("JWT for ever", bearer(sign(claims(exp=None))), "401"),
            ("expiry that is no time", bearer(sign(claims(exp="never"))), "401"),
            ("not yet", bearer(sign(claims(nbf=now + 61))), "401"),
            ("issued in the future", bearer(sign(claims(iat=now + 61))), "401"),
            ("wrong audience", bearer(sign(claims(aud="https://other.example"))), "401"),
            ("no audience", bearer(sign(claims(aud=None))), "401"),
            ("wrong issuer", bearer(sign(claims(iss=ISSUER + "/"))), "401"),
            ("no issuer", bearer(sign(claims(iss=None))), "401"),
            ("alg none", bearer(unsigned(claims())), "401"),
            ("alg NONE", bearer(unsigned(claims(), "NONE")), "401"),
            ("alg none with a signature", bearer(unsigned(claims()) + b"AAAA"), "401"),
            ("HS256 with the public key", bearer(maced(claims(), publicPEM)), "401"),
            ("HS256 with its modulus", bearer(maced(claims(), modulus)), "401"),
            ("signature of another key", bearer(sign(claims(), STRANGE)), "401"),
            ("another kind of key", bearer(sign(claims(), EC, "ES256", kid="one")), "401"),
            ("unknown key", bearer(sign(claims(), STRANGE, kid="three")), "401"),
            ("changed signature", bearer(flipped(sign(claims()))), "401"),
            ("unverified email", bearer(sign(claims(email_verified=False))), "401"),
            ("email of which nothing is said", bearer(sign(claims(email_verified=None))), "401"),
            ("email verified in words", bearer(sign(claims(email_verified="true"))), "401"),
            ("no email", bearer(sign(claims(email=None))), "401"),
            ("email that is none", bearer(sign(claims(email=["agent@example.com"]))), "401"),
            ("what must be understood", bearer(byHand(claims(), crit=["x"], x=1)), "401"),
            ("another encoding", bearer(byHand(claims(), b64=True)), "401"),
            ("made by hand", bearer(byHand(claims())), "in"),
            ("no claims", bearer(unsigned({}, "RS256")), "401"),
            ("dots", bearer("a.b.c"), "401"),
            ("only dots", bearer(".."), "401"),
            ("somebody else's JWT", bearer(sign(claims(email="other-agent@example.com"))), "403"),
            (
                "another's name in other letters",
                bearer(sign(claims(email="Agent@example.com"))),
                "403",
            ),
            ("certificate by its subject", show("agent@example.com"), "in"),
            ("certificate by an email", show(None, email), "in"),
            ("certificate with a wrong token", show("agent@example.com", also=bearer("x")), "in"),
            (
                "certificate with another's token",
                show("agent@example.com", also=bearer(others)),
                "in",
            ),
            ("certificate of somebody else", show("other-agent@example.com"), "403"),
            ("certificate of nobody", show(None), "401"),
            ("expired certificate", show("agent@example.com", lasts=-1), "401"),
            ("wrong certificate, wrong token", show("x", also=bearer("x")), "403"),
            ("wrong certificate, right token", show("x", also=bearer(good)), "in"),
        ]

    def test_table(self) -> None:
        """
        The same for each of the four calls.
        """
        codes = {"401": "unauthenticated", "403": "forbidden"}
        for row, (what, presented, outcome) in enumerate(self.table()):
            self.shown = None
            lines = presented if isinstance(presented, bytes) else presented()
            for path in CALLS:
                call = self.bench.agentCall(path, lines, address=f"198.51.100.{row}")
                if outcome == "in":
                    self.assertTrue(admitted(call, path), (what, path, call.client.received))
                else:
                    self.assertRefused(call, int(outcome), codes[outcome], (what, path))
                call.leave()
        self.assertEqual(len(self.bench.access.links), 0)

    def test_unknownBackend(self) -> None:
        """
        Who has good credentials cannot find out which other backends there are, and who has none gets 401 everywhere.
        """
        right = bearer(self.bench.mint())
        for lines, status, code in (
            (right, 403, "forbidden"),
            (bearer(sign(self.bench.claims())), 403, "forbidden"),
            (b"", 401, "unauthenticated"),
            (bearer("x"), 401, "unauthenticated"),
        ):
            for path in CALLS:
                answers = []
                for backend in (b"other", b"ghost"):
                    call = self.bench.agentCall(path, lines, backend=backend)
                    self.assertRefused(call, status, code)
                    answers.append(call.reply.body.replace(backend, b"X"))
                ids = [
                    line for line in answers[0].split(b"\n") if line not in answers[1].split(b"\n")
                ]
                self.assertTrue(all(line.startswith(b"Request ID") for line in ids), ids)
            self.bench.advance(100)
        self.assertIsNone(self.bench.proxy.mailboxes.get("ghost"))

    def test_nothingOfTheRefused(self) -> None:
        """
        Who is not let in leaves no trace: no mailbox, and not one client less.
        """
        for path in CALLS:
            call = self.bench.agentCall(path, bearer("x"))
            self.assertEqual(self.bench.site.clients, 1)
            call.leave()
        self.assertIsNone(self.bench.proxy.mailboxes.get("web"))
        self.assertEqual(self.bench.site.clients, 0)
        self.bench.agentCall(b"pending", bearer(self.bench.mint()))
        self.assertEqual(self.bench.site.clients, 0)

    def test_namelessBackend(self) -> None:
        """
        Where a record has no C{backendUser}, only tokens are good.
        """
        self.bench.addBackend("web", "")
        self.shown = certificate(now=self.bench.now)
        refused = self.bench.agentCall(b"request", bearer(sign(self.bench.claims(email=""))))
        self.assertRefused(refused, 401, "unauthenticated")
        refused = self.bench.agentCall(b"request", bearer(sign(self.bench.claims())))
        self.assertRefused(refused, 403, "forbidden")
        good = self.bench.agentCall(b"request", bearer(self.bench.mint()))
        self.assertEqual(good.status, 404)
        agents = self.bench.access.guard.agents
        assert isinstance(agents, RegistryAgents)
        with mock.patch.object(agents, "_verifier") as verifier:  # one that names nobody
            verifier.recall.return_value = Identity("")
            refused = self.bench.agentCall(b"request", bearer("x"))
        self.assertRefused(refused, 403, "forbidden")


class OpenAgentsTests(SynchronousTestCase):
    """
    Open mode.
    """

    OWN = (
        b"localhost",
        b"LocalHost:8080",
        b"a.b.localhost",
        b"localhost.:1",
        b"127.0.0.1:8080",
        b"192.0.2.1",
        b"[::1]:8080",
        b"[2001:db8::1]",
        b"",
    )
    OTHERS = (
        b"evil.example",
        b"evil.example:8080",
        b"localhost.evil.example",
        b"evillocalhost",
        b"127.0.0.1.evil.example",
        b"1.2.3.4a:80",
        b"localhost:80.evil.example",
    )

    def test_names(self) -> None:
        """
        Where only programs on this machine shall be agents, calls by a name that somebody's DNS may have let lead here
        are refused: they may be those of a page in a browser.
        """
        agents = OpenAgents(onlyOwnNames=True)
        peer = FakePeer()
        for host in self.OWN:
            agents.authenticate(RequestHead(b"GET", b"/", host=host), peer, "web")
        agents.authenticate(RequestHead(b"GET", b"/", minor=0), peer, "web")
        for host in self.OTHERS:
            head = RequestHead(b"GET", b"/", host=host)
            fault = self.assertRaises(Fault, agents.authenticate, head, peer, "web")
            self.assertIs(fault.code, FORBIDDEN)
            self.assertIn("--insecure-open", fault.detail)

    def test_anyName(self) -> None:
        """
        No page reaches a UNIX socket; and where others may be agents, they come by whatever name there is.
        """
        peer = FakePeer()
        for host in self.OTHERS:
            OpenAgents().authenticate(RequestHead(b"GET", b"/", host=host), peer, "web")
        peer.address = UNIXAddress("/a")
        agents = OpenAgents(onlyOwnNames=True)
        agents.authenticate(RequestHead(b"GET", b"/", host=b"proxy.example"), peer, "web")


class RegistryAgentsTests(AccessCase):
    """
    What else there is to letting agents in.
    """

    def test_interfaces(self) -> None:
        """
        Both decide on agents.
        """
        verifyObject(IAgentAuthenticator, OpenAgents())
        verifyObject(IAgentAuthenticator, self.bench.access.guard.agents)
        self.assertIsInstance(self.bench.access.guard.agents, RegistryAgents)

    def test_bruteForce(self) -> None:
        """
        Who guesses is refused after ten wrong tokens, at each of the calls, though not who comes with good ones from
        the same address, nor who comes from another.
        """
        good = bearer(self.bench.mint())
        theirs = "192.0.2.1"
        for number in range(LIMIT):
            path = CALLS[number % len(CALLS)]
            call = self.bench.agentCall(path, bearer(f"guess{number}"), address=theirs)
            self.assertRefused(call, 401, "unauthenticated")
        for path in CALLS:
            for lines in (bearer("guess"), bearer(sign(self.bench.claims(), STRANGE))):
                call = self.bench.agentCall(path, lines, address=theirs)
                self.assertEqual((call.status, call.error), (429, "too-many-attempts"))
                self.assertEqual(call.reply.value(b"Retry-After"), b"15")
            good_ = self.bench.agentCall(path, good, address=theirs)
            self.assertTrue(admitted(good_, path))
            other = self.bench.agentCall(path, bearer("guess"), address="192.0.2.2")
            self.assertRefused(other, 401, "unauthenticated")
        self.bench.advance(15)
        call = self.bench.agentCall(b"request", bearer("guess"), address=theirs)
        self.assertRefused(call, 401, "unauthenticated")

    def test_goodJWTPasses(self) -> None:
        """
        A JWT that is good passes while others from the same address are refused, one that was verified before and one
        that was renewed: nobody guesses a signature.
        """
        known = bearer(sign(self.bench.claims()))
        self.assertEqual(self.bench.agentCall(b"request", known).status, 404)
        for _ in range(LIMIT):
            self.bench.agentCall(b"request", bearer("guess"))
        self.assertEqual(self.bench.agentCall(b"request", bearer("guess")).status, 429)
        self.assertEqual(self.bench.agentCall(b"request", known).status, 404)
        renewed = bearer(sign(self.bench.claims(jti="2")))
        self.assertEqual(self.bench.agentCall(b"request", renewed).status, 404)
        bad = bearer(sign(self.bench.claims(aud="somebody else")))
        self.assertEqual(self.bench.agentCall(b"request", bad).status, 429)

    def test_goodJWTPassesLater(self) -> None:
        """
        The same when its key must be fetched first.
        """
        new = RSAKey.generate_key(2048, {"kid": "new"})
        self.bench.documents.documents[f"{ISSUER}/keys"] = keySet(new)
        self.bench.advance(31)
        for _ in range(LIMIT):
            self.bench.agentCall(b"request", bearer("guess"))
        good = sign(self.bench.claims(), new)
        bad = sign(self.bench.claims(), STRANGE, kid="new")
        self.bench.documents.later = []
        calls = [self.bench.agentCall(b"request", bearer(text)) for text in (good, bad)]
        self.assertEqual([call.status for call in calls], [0, 0])
        self.bench.documents.release()
        self.bench.network.pump()
        self.assertEqual([call.status for call in calls], [404, 429])

    def test_nothingToGuess(self) -> None:
        """
        Calls without credentials are refused, but are no guesses.
        """
        for _ in range(3 * LIMIT):
            self.assertRefused(self.bench.agentCall(b"pending"), 401, "unauthenticated")

    def test_registryUnavailable(self) -> None:
        """
        While the registry cannot be read agents get 503, and are let in when it can.
        """
        token = self.bench.mint()
        registry = self.bench.registry
        store = MemoryStore(registry.list(), registry.tokensOf("web"))
        store.failure = StoreError("the disk is gone")
        agents = self.bench.access.guard.agents
        assert isinstance(agents, RegistryAgents)
        agents._registry = Registry(store, self.bench.network)
        self.bench.network.resultOf(agents._registry.start())
        for path in CALLS:
            for lines in (bearer(token), bearer("x"), bearer(sign(self.bench.claims()))):
                call = self.bench.agentCall(path, lines)
                self.assertEqual((call.status, call.error), (503, "registry-unavailable"))
                self.assertEqual(call.reply.value(b"Retry-After"), b"5")
            self.shown = certificate("agent@example.com", now=self.bench.now)
            self.assertEqual(self.bench.agentCall(path).status, 503)
            self.shown = None
            self.assertEqual(self.bench.agentCall(path).status, 401)
        store.failure = None
        self.bench.advance(2)
        self.assertEqual(self.bench.agentCall(b"request", bearer(token)).status, 404)

    def test_atOnce(self) -> None:
        """
        A backend that was just added, a token that was just made, and a C{backendUser} that was just changed count at
        once.
        """
        lines = bearer(sign(self.bench.claims(email="new@example.com")))
        call = self.bench.agentCall(b"request", lines, backend=b"new")
        self.assertRefused(call, 403, "forbidden")
        self.bench.addBackend("new", "new@example.com")
        self.assertEqual(self.bench.agentCall(b"request", lines, backend=b"new").status, 404)
        self.bench.addBackend("new", "newer@example.com")
        call = self.bench.agentCall(b"request", lines, backend=b"new")
        self.assertRefused(call, 403, "forbidden")
        token = bearer(self.bench.mint("new"))
        self.assertEqual(self.bench.agentCall(b"request", token, backend=b"new").status, 404)

    def test_lastUsed(self) -> None:
        """
        Uses of a token, and visits of agents, are noted; those that were refused are not.
        """
        registry = self.bench.registry
        token = self.bench.mint()
        self.bench.agentCall(b"request", bearer("x"))
        self.bench.agentCall(b"request", bearer(token), backend=b"other")
        record = registry.get("web")
        assert record is not None
        self.assertIsNone(record.lastUsed)
        self.assertIsNone(registry.tokensOf("web")[0].lastUsed)
        self.bench.agentCall(b"request", bearer(token))
        record = registry.get("web")
        assert record is not None
        self.assertEqual(record.lastUsed, self.bench.now)
        self.assertEqual(registry.tokensOf("web")[0].lastUsed, self.bench.now)
        self.bench.advance(100)
        self.bench.agentCall(b"request", bearer(sign(self.bench.claims())))
        record = registry.get("web")
        assert record is not None
        self.assertEqual(record.lastUsed, self.bench.now)

    def test_seenWhileLinked(self) -> None:
        """
        Who has a tunnel open is noted as seen each minute, and the token by which it was opened as used, as long as it
        stands; other tokens are not.
        """
        registry = self.bench.registry
        began = self.bench.now
        self.bench.agentCall(b"request", bearer(self.bench.mint(name="another")))
        tunnel = self.bench.agentTunnel(bearer(self.bench.mint()), "a")
        for _ in range(13):
            self.bench.advance(5)
        record = registry.get("web")
        assert record is not None
        another, one = registry.tokensOf("web")
        for seen in (record.lastUsed, one.lastUsed):
            assert seen is not None
            self.assertLess(self.bench.now - seen, 10)
        self.assertEqual(another.lastUsed, began)
        tunnel.close()
        for _ in range(26):
            self.bench.advance(5)
        self.assertEqual(registry.tokensOf("web")[1], one)

    def test_secretsStayOut(self) -> None:
        """
        What was presented is in no answer and no log.
        """
        from twisted.logger import capturedLogs, formatEvent

        with capturedLogs() as events:
            for token in (b"ivp_" + b"S3CRET" * 7 + b"x", sign(self.bench.claims(aud="x"))):
                for path in CALLS:
                    call = self.bench.agentCall(path, bearer(token))
                    self.assertNotIn(token, call.client.received)
            for _ in range(LIMIT):
                self.bench.agentCall(b"pending", bearer("S3CRET"))
        text = "\n".join(str(formatEvent(event)) + repr(event) for event in events)
        self.assertIn("refused for web", text)
        self.assertIn("failed to authenticate", text)
        self.assertNotIn("S3CRET", text)
        self.assertNotIn("eyJ", text)

    def test_cost(self) -> None:
        """
        A token costs one hash and one look-up, and nothing is asked of what is slower.
        """
        token = self.bench.mint()
        agents = self.bench.access.guard.agents
        head = requestHead(fields=[(b"Authorization", b"Bearer " + token.encode())])
        self.shown = None
        with (
            mock.patch(
                "invproxy.auth.agents.digestOf",
                wraps=__import__("invproxy.registry.records", fromlist=["digestOf"]).digestOf,
            ) as digest,
            mock.patch.object(
                self.bench.registry, "findToken", wraps=self.bench.registry.findToken
            ) as find,
            mock.patch("invproxy.auth.throttle.keyOf", side_effect=AssertionError),
            mock.patch.object(FakePeer, "certificate", side_effect=AssertionError),
        ):
            agents.authenticate(head, FakePeer(), "web")
        self.assertEqual((digest.call_count, find.call_count), (1, 1))

    def test_bearer(self) -> None:
        """
        What is a bearer token, and what is not.
        """
        for lines, found in (
            ([b"Bearer abc"], b"abc"),
            ([b"bEARER   abc"], b"abc"),
            ([b"Bearer a=b/c+d~e"], b"a=b/c+d~e"),
            ([b"Bearer " + b"a" * 8192], b"a" * 8192),
            ([b"Bearer " + b"a" * 8193], None),
            ([b"Bearer abc", b"Bearer abc"], None),
            ([b"Bearer abc", b"Basic abc"], None),
            ([b"Bearer abc, Bearer def"], None),
            ([b"Bearer\tabc"], None),
            ([b"Bearer a\xe9"], None),
            ([b""], None),
            ([], None),
        ):
            head = requestHead(fields=[(b"Authorization", line) for line in lines])
            self.assertEqual(bearerOf(head), found, lines)


class ForwardedTests(SynchronousTestCase):
    """
    Behind a trusted proxy.
    """

    def test_perClient(self) -> None:
        """
        Failures count for the client that a trusted proxy names, and not for the proxy.
        """
        from ipaddress import ip_network

        bench = AccessBench(trustedProxies=(ip_network("127.0.0.1"),))
        self.addCleanup(bench.stop)
        mine = b"X-Forwarded-For: 203.0.113.7, 192.0.2.1\r\n"
        for _ in range(LIMIT):
            self.assertEqual(bench.agentCall(b"request", bearer("x") + mine).status, 401)
        self.assertEqual(bench.agentCall(b"request", bearer("x") + mine).status, 429)
        other = b"X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n"
        self.assertEqual(bench.agentCall(b"request", bearer("x") + other).status, 401)
        made = b"X-Forwarded-For: 198.51.100.1, 192.0.2.1\r\n"
        self.assertEqual(bench.agentCall(b"request", bearer("x") + made).status, 429)
