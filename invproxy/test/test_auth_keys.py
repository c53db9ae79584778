"""
The keys of an issuer, and JWTs that are verified by them.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

from joserfc.jwk import OctKey, OKPKey, RSAKey
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from invproxy.auth.identity import Identity, IVerifier
from invproxy.auth.jwt import JWTVerifier
from invproxy.auth.keys import Keys, parseKeys
from invproxy.errors import Fault
from invproxy.registry.records import digestOf
from invproxy.test.accessbench import EC, ISSUER, RSA, Documents, keySet, sign

CONFIGURATION = f"{ISSUER}/.well-known/openid-configuration"
KEYS = f"{ISSUER}/keys"

NEW = RSAKey.generate_key(2048, {"kid": "new"})


class KeysCase(SynchronousTestCase):
    """
    What these tests share.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.documents = Documents()
        self.keys = self.make()

    def make(self, **options: Any) -> Keys:
        return Keys(self.clock, self.documents, **(options or {"issuer": ISSUER}))

    def find(self, kid: object = "one", alg: str = "RS256") -> int:
        """
        Count the keys that are found at once.
        """
        found = self.keys.find(kid, alg)
        if isinstance(found, Deferred):
            found = self.successResultOf(found)
        return len(found)

    def assertUnavailable(self, kid: object = "one") -> None:
        try:
            found = self.keys.find(kid, "RS256")
        except Fault as error:
            fault = error
        else:
            assert isinstance(found, Deferred), found
            fault = self.failureResultOf(found, Fault).value
        self.assertEqual((fault.code.name, fault.code.status), ("issuer-unavailable", 503))


class KeysTests(KeysCase):
    """
    L{Keys}.
    """

    def test_discovery(self) -> None:
        """
        The issuer says where its keys are, and is asked once.
        """
        for _ in range(3):
            self.assertEqual(self.find(), 1)
        self.assertEqual(self.find("two", "ES256"), 1)
        self.assertEqual(self.documents.asked, [CONFIGURATION, KEYS])

    def test_start(self) -> None:
        """
        They can be fetched before anybody needs them.
        """
        self.keys.start()
        self.assertEqual(self.documents.asked, [CONFIGURATION, KEYS])
        self.assertIsInstance(self.keys.find("one", "RS256"), list)

    def test_jwks(self) -> None:
        """
        With a URL of the keys the issuer is not asked.
        """
        self.keys = self.make(issuer=ISSUER, jwks=KEYS)
        self.assertEqual(self.find(), 1)
        self.assertEqual(self.documents.asked, [KEYS])

    def test_file(self) -> None:
        """
        They may be in a file, which is read again for an unknown key.
        """
        path = Path(self.mktemp())
        path.write_bytes(keySet(RSA))
        self.keys = self.make(jwks=str(path))
        self.assertEqual(self.find(), 1)
        path.write_bytes(keySet(RSA, NEW))
        self.assertEqual(self.find("new"), 0)
        self.clock.advance(30)
        self.assertEqual(self.find("new"), 1)
        self.assertEqual(self.documents.asked, [])
        path.unlink()
        self.clock.advance(30)
        self.assertUnavailable("newer")
        self.assertEqual(self.find("new"), 1)

    def test_fits(self) -> None:
        """
        A key must be by that name, of that kind, and for that algorithm.
        """
        named = {**RSA.as_dict(private=False), "alg": "RS512"}
        nameless = {k: v for k, v in NEW.as_dict(private=False).items() if k != "kid"}
        ed = OKPKey.generate_key("Ed25519", {"kid": "ed"}).as_dict(private=False)
        document = {"keys": [EC.as_dict(private=False), named, nameless, ed]}
        self.documents.documents[KEYS] = json.dumps(document).encode()
        for kid, alg, count in (
            ("one", "RS512", 2),
            ("one", "RS256", 1),
            ("two", "RS256", 1),
            (None, "RS512", 2),
            (None, "ES256", 1),
            ("two", "ES384", 0),
            (None, "EdDSA", 1),
            ("ed", "Ed25519", 1),
            (["one"], "ES256", 0),
        ):
            self.assertEqual(self.find(kid, alg), count, (kid, alg))

    def test_rotation(self) -> None:
        """
        An unknown key is asked for at once, but no more than each half minute, however many unknown ones come.
        """
        self.find()
        self.documents.documents[KEYS] = keySet(RSA, NEW)
        for number in range(100):
            self.assertEqual(self.find(f"no{number}"), 0)
        self.assertEqual(len(self.documents.asked), 2)
        self.clock.advance(30)
        generation = self.keys.generation
        self.assertEqual(self.find("new"), 1)
        self.assertEqual(len(self.documents.asked), 4)
        self.assertEqual(self.keys.generation, generation + 1)
        for number in range(100):
            self.assertEqual(self.find(f"no{number}"), 0)
        self.assertEqual(len(self.documents.asked), 4)

    def test_withdrawn(self) -> None:
        """
        A key that the issuer has withdrawn is forgotten within the hour, and nobody waits for that.
        """
        self.find()
        self.documents.documents[KEYS] = keySet(NEW)
        self.clock.advance(3599)
        self.assertEqual(self.find(), 1)
        self.clock.advance(2)
        self.documents.later = []
        self.assertEqual(self.find(), 1)
        self.documents.release()
        self.assertEqual(self.find(), 0)

    def test_allWithdrawn(self) -> None:
        """
        An issuer that has withdrawn all its keys has none: nobody is let in by the old ones, and one line says why.
        """
        for document in (b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "AAAA"}]}'):
            self.documents.documents[KEYS] = keySet(RSA)
            self.keys = self.make()
            self.find()
            [known] = parseKeys(keySet(RSA))
            self.assertTrue(self.keys.has(known.key.thumbprint()))
            generation = self.keys.generation
            self.documents.documents[KEYS] = document
            with capturedLogs() as events:
                for _ in range(3):
                    self.clock.advance(3601)
                    self.assertUnavailable()
            self.assertFalse(self.keys.has(known.key.thumbprint()))
            self.assertEqual(self.keys.generation, generation + 1)
            [event] = events
            self.assertIn("has no key that can be used; agents that come", formatEvent(event))
            self.documents.documents[KEYS] = keySet(RSA)
            self.clock.advance(31)
            self.assertEqual(self.find(), 1)

    def test_badRefresh(self) -> None:
        """
        An answer that makes no sense does not put the next one off for an hour.
        """
        self.find()
        self.clock.advance(3601)
        self.documents.documents[KEYS] = b"<html>Back soon</html>"
        self.assertEqual(self.find(), 1)
        self.documents.documents[KEYS] = keySet(NEW)
        self.clock.advance(30)
        self.assertEqual(self.find(), 0)

    def test_waiting(self) -> None:
        """
        Who comes while they are fetched waits, without another fetch; who leaves meanwhile hurts nobody.
        """
        self.documents.later = []
        waiting = [self.keys.find("one", "RS256") for _ in range(3)]
        first, second, third = (found for found in waiting if isinstance(found, Deferred))
        self.assertEqual(len(self.documents.asked), 1)
        second.cancel()
        second.addErrback(lambda failure: None)
        self.assertNoResult(first)
        self.documents.release()
        self.assertEqual(len(self.successResultOf(first)), 1)
        self.assertEqual(len(self.successResultOf(third)), 1)

    def test_unreachable(self) -> None:
        """
        While there are no keys nobody is let in, and it is tried again after half a minute; one line in the log.
        """
        del self.documents.documents[KEYS]
        with capturedLogs() as events:
            for _ in range(3):
                self.assertUnavailable()
            self.clock.advance(30)
            self.assertUnavailable()
            self.assertEqual(self.documents.asked.count(KEYS), 2)
            self.documents.documents[KEYS] = keySet(RSA)
            self.assertUnavailable()
            self.clock.advance(30)
            self.assertEqual(self.find(), 1)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                f"keys of {ISSUER} cannot be fetched: it answered 404; agents that come with a JWT"
                " get 503 until they can",
                f"keys of {ISSUER} fetched after all",
            ],
        )

    def test_oldKeysGoOn(self) -> None:
        """
        Known keys go on while the issuer cannot be reached; of unknown ones nothing can be said then.
        """
        self.find()
        self.documents.documents.clear()
        self.clock.advance(4000)
        for _ in range(3):
            self.assertEqual(self.find(), 1)
            self.assertUnavailable("new")
            self.clock.advance(30)

    def test_nonsense(self) -> None:
        """
        What is no proper configuration or set of keys counts as not reached.
        """
        good = self.documents.documents[KEYS]
        insecure = "http://issuer.example/keys"
        self.documents.documents[insecure] = good
        path = Path(self.mktemp()).absolute()
        path.write_bytes(good)
        for configuration in (
            b"",
            b"[]",
            b"{}",
            b"[" * 100_000,
            json.dumps({"issuer": ISSUER}).encode(),
            json.dumps({"issuer": ISSUER + "/", "jwks_uri": KEYS}).encode(),
            json.dumps({"issuer": ISSUER, "jwks_uri": insecure}).encode(),
            json.dumps({"issuer": ISSUER, "jwks_uri": str(path)}).encode(),
            json.dumps({"issuer": ISSUER, "jwks_uri": [KEYS]}).encode(),
        ):
            self.documents.documents[CONFIGURATION] = configuration
            self.keys = self.make()
            self.assertUnavailable()
        for document in (b"", b"{}", b'{"keys": 1}', b'{"keys": []}', b"\xff", b"[" * 100_000):
            self.documents.documents[KEYS] = document
            self.keys = self.make(jwks=KEYS)
            self.assertUnavailable()
        self.documents.documents[KEYS] = good
        self.clock.advance(30)
        self.assertEqual(self.find(), 1)

    def test_bug(self) -> None:
        """
        Not even a failure of our own leaves anybody waiting.
        """

        def fetch(url: str) -> Deferred[bytes]:
            raise RuntimeError("oops")

        self.keys = Keys(self.clock, fetch, issuer=ISSUER)
        self.assertUnavailable()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.clock.advance(30)
        self.assertUnavailable()
        self.flushLoggedErrors(RuntimeError)


class ParseKeysTests(SynchronousTestCase):
    """
    L{parseKeys}.
    """

    def parse(self, *keys: Any) -> int:
        return len(parseKeys(json.dumps({"keys": list(keys)}).encode()))

    def test_others(self) -> None:
        """
        Keys that must not verify signatures are passed over: secret, small, for encryption, or none at all.
        """
        good = RSA.as_dict(private=False)
        secret = OctKey.generate_key(256).as_dict(private=True)
        small = RSAKey.generate_key(1024).as_dict(private=False)
        curve = OKPKey.generate_key("X25519").as_dict(private=False)
        for bad in (
            secret,
            small,
            curve,
            {**good, "use": "enc"},
            {**good, "n": "!"},
            {**good, "n": None},
            {"kty": "RSA"},
            {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
            {"kty": ["RSA"]},
            {},
            "key",
            None,
        ):
            self.assertEqual(self.parse(bad, good), 1, bad)
            self.assertEqual(self.parse(bad), 0)

    def test_privatePart(self) -> None:
        """
        The private part of a key that should not be there is not kept.
        """
        (known,) = parseKeys(json.dumps({"keys": [RSA.as_dict(private=True)]}).encode())
        self.assertFalse(known.key.is_private)

    def test_bound(self) -> None:
        """
        There are so many keys at most.
        """
        self.assertEqual(self.parse(*[EC.as_dict(private=False)] * 200), 100)


class JWTVerifierTests(KeysCase):
    """
    L{JWTVerifier}: what the table in L{invproxy.test.test_auth_agents} does not show.
    """

    def setUp(self) -> None:
        super().setUp()
        self.verifier = self.verifierOf()

    def verifierOf(self, **options: Any) -> JWTVerifier:
        return JWTVerifier(self.clock, self.keys, **options)

    def claims(self, **others: Any) -> dict[str, Any]:
        return {"sub": "agent", "exp": int(self.clock.seconds()) + 100, **others}

    def verify(self, token: bytes) -> Identity:
        found = self.verifier.verify(token, digestOf(token))
        return self.successResultOf(found) if isinstance(found, Deferred) else found

    def test_interface(self) -> None:
        """
        It understands tokens.
        """
        verifyObject(IVerifier, self.verifier)

    def test_claim(self) -> None:
        """
        Any claim may name the agent: Kubernetes has it in C{sub}.
        """
        self.verifier = self.verifierOf(claim="sub")
        name = "system:serviceaccount:prod:agent"
        self.assertEqual(self.verify(sign(self.claims(sub=name))).name, name)
        self.verifier = self.verifierOf(claim="https://example.com/who")
        found = self.verify(sign(self.claims(**{"https://example.com/who": "me"})))
        self.assertEqual(found, Identity("me", self.clock.seconds() + 160))

    def test_recalled(self) -> None:
        """
        A token is verified once, and recalled until it expires or the keys change.
        """
        self.verifier = self.verifierOf(claim="sub")
        token = sign(self.claims())
        digest = digestOf(token)
        self.assertIsNone(self.verifier.recall(digest))
        found = self.verify(token)
        self.assertIs(self.verifier.recall(digest), found)
        self.clock.advance(159)
        self.assertIs(self.verifier.recall(digest), found)
        self.clock.advance(1)
        self.assertIsNone(self.verifier.recall(digest))
        token = sign(self.claims())
        self.verify(token)
        self.documents.documents[KEYS] = keySet(NEW)
        self.find("new")
        self.assertIsNone(self.verifier.recall(digestOf(token)))
        with self.assertRaises(Fault):
            self.verify(token)

    def test_withdrawnKey(self) -> None:
        """
        A token that is recalled all the time is forgotten within the hour after its issuer has withdrawn the key, and
        nobody waits for that. If other keys come or go it is still recalled.
        """
        self.verifier = self.verifierOf(claim="sub")
        token = sign(self.claims(exp=int(self.clock.seconds()) + 10**6))
        digest = digestOf(token)
        self.verify(token)
        asked = len(self.documents.asked)
        for _ in range(5):
            self.clock.advance(720)
            self.assertIsNotNone(self.verifier.recall(digest))
        self.assertEqual(len(self.documents.asked), asked)
        self.documents.documents[KEYS] = keySet(NEW, RSA)
        self.clock.advance(1)
        self.assertIsNotNone(self.verifier.recall(digest))
        self.assertEqual((len(self.documents.asked), self.keys.generation), (asked + 2, 2))
        self.assertIsNotNone(self.verifier.recall(digest))
        self.documents.documents[KEYS] = keySet(NEW)
        self.clock.advance(3601)
        self.documents.later = []
        self.assertIsNotNone(self.verifier.recall(digest))
        self.documents.release()
        self.assertIsNone(self.verifier.recall(digest))
        with self.assertRaises(Fault):
            self.verify(token)

    def test_longLived(self) -> None:
        """
        A token counts for a day at most, then its key must still be there: so what it has opened lasts no longer. Who
        comes again is let in for another day, long before that, but not beyond the end of the token.
        """
        self.verifier = self.verifierOf(claim="sub")
        start = self.clock.seconds()
        token = sign(self.claims(exp=int(start) + 100_000))
        digest = digestOf(token)
        self.assertEqual(self.verify(token).expires, start + 86400)
        for now, expires in ((43199, 86400), (43200, 43200 + 86400), (43201, 43200 + 86400)):
            self.clock.advance(start + now - self.clock.seconds())
            found = self.verifier.recall(digest)
            assert found is not None
            self.assertEqual(found.expires, min(start + expires, start + 100_060))
        self.clock.advance(start + 100_060 - self.clock.seconds())
        self.assertIsNone(self.verifier.recall(digest))

    def test_bound(self) -> None:
        """
        So many are remembered.
        """
        self.verifier = self.verifierOf(claim="sub", mostRecalled=3)
        tokens = [sign(self.claims(n=number)) for number in range(5)]
        for token in tokens:
            self.verify(token)
        known = [self.verifier.recall(digestOf(token)) is not None for token in tokens]
        self.assertEqual(known, [False, False, True, True, True])

    def test_wild(self) -> None:
        """
        Strange values, though signed, are refused, or do no harm.
        """
        self.verifier = self.verifierOf(claim="sub")
        for claims in (
            self.claims(exp=True),
            self.claims(exp=None),
            self.claims(sub=5),
            self.claims(sub=""),
            self.claims(nbf="x"),
        ):
            with self.assertRaises(Fault) as caught:
                self.verify(sign(claims))
            self.assertEqual(caught.exception.code.name, "unauthenticated")
        for exp in (10**400, 1e300):
            self.assertEqual(self.verify(sign(self.claims(exp=exp))).name, "agent")

    def test_header(self) -> None:
        """
        What issuers put into headers is taken; but there is a bound.
        """
        self.verifier = self.verifierOf(claim="sub")
        self.verify(sign(self.claims(), x5t="x" * 1000, signer="me"))
        with self.assertRaises(Fault):
            self.verify(sign(self.claims(), x5t="x" * 5000))
        for alg in (None, 5, ["RS256"]):
            token = sign(self.claims())
            header = b'{"alg":%b,"kid":"one"}' % json.dumps(alg).encode()
            changed = urlsafe_b64encode(header).rstrip(b"=") + token[token.index(b".") :]
            with self.assertRaises(Fault):
                self.verify(changed)

    def test_later(self) -> None:
        """
        The first one waits for the keys.
        """
        self.verifier = self.verifierOf(claim="sub")
        self.documents.later = []
        token = sign(self.claims())
        found = self.verifier.verify(token, digestOf(token))
        assert isinstance(found, Deferred)
        self.assertNoResult(found)
        self.documents.release()
        self.assertEqual(self.successResultOf(found).name, "agent")

    def test_start(self) -> None:
        """
        The keys are fetched at the start.
        """
        self.verifier.start()
        self.assertEqual(self.documents.asked, [CONFIGURATION, KEYS])
