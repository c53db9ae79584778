"""
Issuers whose certificates are of an authority that only we know, over TLS on a network in memory.
"""

from __future__ import annotations

import json
from pathlib import Path

import trustme
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, wrapServerTLS
from twisted.internet.ssl import Certificate, KeyPair, PrivateCertificate
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.static import Data

from invproxy.access_options import verifierOf
from invproxy.auth.fetching import Fetcher, FetchError
from invproxy.auth.identity import Identity
from invproxy.errors import ConfigError
from invproxy.issuer_options import TABLE
from invproxy.proxy.endusers import endUsersOf
from invproxy.proxy.settings import ProxySettings
from invproxy.proxy.visiting import SIGN_IN
from invproxy.registry.records import digestOf
from invproxy.resources import ResourceOrigin
from invproxy.server import StreamingSite
from invproxy.server_tap import Options, Plan, planOf
from invproxy.test.accessbench import AUDIENCE, ISSUER, RSA, keySet, sign
from invproxy.test.helpers import FakePeer, RecordingAnswer, requestHead
from invproxy.testing import MemoryNetwork

BOTH = (
    *("--agent-jwt-issuer", ISSUER, "--agent-jwt-audience", AUDIENCE),
    *("--oidc-issuer", ISSUER, "--oidc-client-id", "me"),
)


class IssuerTestCase(SynchronousTestCase):
    """
    Tests with files of certificates.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.ca = trustme.CA()

    def write(self, content: bytes) -> str:
        path = self.folder / f"{len(list(self.folder.iterdir()))}.pem"
        path.write_bytes(content)
        return str(path)

    def plan(self, *arguments: str) -> Plan:
        options = Options()
        options.parseOptions(["--database", f"sqlite:{self.folder}/db", *arguments])
        return planOf(options, {}, MemoryReactorClock())


class OptionTests(IssuerTestCase):
    """
    C{--issuer-ca}.
    """

    def test_names(self) -> None:
        """
        The option stands in the table of the server.
        """
        self.assertEqual([option.name for option in TABLE], ["issuer-ca"])
        self.assertIn(TABLE[0], Options.table)

    def test_both(self) -> None:
        """
        It counts for the issuers of end users and of agents; without it those of the system are trusted.
        """
        pem = self.ca.cert_pem.bytes()
        plan = self.plan(*BOTH, "--issuer-ca", self.write(pem))
        assert plan.visitors.oidc is not None
        self.assertEqual(plan.visitors.oidc.authorities, pem)
        self.assertEqual(plan.access.issuerAuthorities, pem)
        plan = self.plan(*BOTH)
        assert plan.visitors.oidc is not None
        self.assertIsNone(plan.visitors.oidc.authorities)
        self.assertIsNone(plan.access.issuerAuthorities)

    def test_faults(self) -> None:
        """
        What cannot be read, holds no certificates, or is of no use, is refused with the option named.
        """
        for content, why in (
            (b"", "must hold certificates in PEM"),
            (self.ca.private_key_pem.bytes(), "must hold certificates in PEM"),
            (b"x" * ((1 << 20) + 1), "is larger than 1 MiB"),
        ):
            path = self.write(content)
            error = self.assertRaises(ConfigError, self.plan, *BOTH, "--issuer-ca", path)
            self.assertEqual((error.option, error.complaint), ("issuer-ca", why))
        error = self.assertRaises(ConfigError, self.plan, *BOTH, "--issuer-ca", "/nowhere/ca")
        self.assertIn("cannot be read: No such file", error.complaint)
        path = self.write(self.ca.cert_pem.bytes())
        error = self.assertRaises(ConfigError, self.plan, "--issuer-ca", path)
        self.assertIn("has no use without --oidc-issuer", error.complaint)


class ConnectionTests(IssuerTestCase):
    """
    Whom we talk to.
    """

    def setUp(self) -> None:
        super().setUp()
        self.network = MemoryNetwork()
        self.network.advance(1_800_000_000)
        root, wellKnown = Resource(), Resource()
        root.putChild(b".well-known", wellKnown)
        configuration = {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}/keys",
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "response_types_supported": ["code"],
        }
        content = json.dumps(configuration).encode()
        wellKnown.putChild(b"openid-configuration", Data(content, "application/json"))
        root.putChild(b"keys", Data(keySet(RSA), "application/json"))
        site = StreamingSite(ResourceOrigin(root, clock=self.network), self.network)
        issued = self.ca.issue_cert("issuer.example")
        options = PrivateCertificate.fromCertificateAndKeyPair(
            Certificate.loadPEM(issued.cert_chain_pems[0].bytes()),
            KeyPair.load(issued.private_key_pem.bytes(), 1),
        ).options()
        server = TCP4ServerEndpoint(self.network, 443)
        self.successResultOf(wrapServerTLS(options, server, clock=self.network).listen(site))

    def why(self, url: str, authorities: bytes | None) -> str:
        """
        Why a document cannot be had; C{""} if it can.
        """
        fetched = Fetcher(self.network, authorities=authorities)(url)
        self.network.pump()
        results: list[object] = []
        fetched.addBoth(results.append)
        [result] = results
        if isinstance(result, bytes):
            return ""
        error = getattr(result, "value", None)
        assert isinstance(error, FetchError), result
        return str(error)

    def test_trust(self) -> None:
        """
        Those are trusted that are named, and nobody else; and only for names that are theirs.
        """
        pem = self.ca.cert_pem.bytes()
        several = trustme.CA().cert_pem.bytes() + b"\n" + pem
        self.assertEqual(self.why(f"{ISSUER}/keys", pem), "")
        self.assertEqual(self.why(f"{ISSUER}/keys", several), "")
        for authorities in (None, trustme.CA().cert_pem.bytes()):
            why = self.why(f"{ISSUER}/keys", authorities)
            self.assertIn("not of an authority that is trusted", why)
            self.assertIn("--issuer-ca", why)
        self.assertEqual(
            self.why("https://other.example/keys", pem), "its certificate is for another host name"
        )
        plain = ResourceOrigin(Resource(), clock=self.network)
        self.network.listenTCP(444, StreamingSite(plain, self.network))
        self.assertIn("it does not speak TLS", self.why("https://issuer.example:444/", pem))

    def test_agents(self) -> None:
        """
        JWTs are verified by the keys of such an issuer.
        """
        path = self.write(self.ca.cert_pem.bytes())
        for arguments, isKnown in ((("--issuer-ca", path), True), ((), False)):
            verifier = verifierOf(self.plan(*BOTH, *arguments).access, self.network)
            assert verifier is not None
            verifier.start()
            token = sign(
                {
                    **{"iss": ISSUER, "aud": AUDIENCE, "exp": 1_800_000_600},
                    **{"email": "a@example.com", "email_verified": True},
                }
            )
            found = verifier.verify(token, digestOf(token))
            assert isinstance(found, Deferred)
            results: list[object] = []
            found.addBoth(results.append)
            self.network.pump()
            self.assertEqual(isinstance(results[0], Identity), isKnown, results)

    def test_endUsers(self) -> None:
        """
        People sign in with such a provider.
        """
        path = self.write(self.ca.cert_pem.bytes())
        for arguments, says in (
            (("--issuer-ca", path), f"{ISSUER}/authorize?"),
            ((), "issuer-unavailable"),
        ):
            oidc = self.plan(*BOTH, *arguments).visitors.oidc
            endUsers = endUsersOf(self.network, ProxySettings(), oidc=oidc)
            assert endUsers is not None
            answer = RecordingAnswer(FakePeer(secure=True))
            endUsers.pages[SIGN_IN].open(requestHead(target=SIGN_IN), answer).finish()
            self.network.pump()
            said = str(answer.fault) if answer.head is None else answer.head.fields.decode()
            self.assertIn(says, said)
