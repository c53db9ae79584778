"""
Whom certificates name.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from invproxy.auth.certificates import Certificates
from invproxy.test.helpers import FakePeer


def certificateOf(name: str) -> x509.Certificate:
    """
    Make a certificate that a peer may show.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(named, named, key.public_key(), 1, now, now + timedelta(1))
    return builder.sign(key, hashes.SHA256())


class CountedPeer(FakePeer):
    """
    One that counts how often it was asked.
    """

    asked = 0

    def certificate(self) -> x509.Certificate | None:
        self.asked += 1
        return super().certificate()


class CertificatesTests(SynchronousTestCase):
    """
    L{Certificates}.
    """

    def test_once(self) -> None:
        """
        A certificate is read once for each connection, and forgotten with it.
        """
        certificates = Certificates()
        peer = CountedPeer()
        peer.shown = certificateOf("agent-7")
        for _ in range(3):
            [identity] = certificates.identitiesOf(peer)
            self.assertEqual(identity.name, "agent-7")
        self.assertEqual(peer.asked, 1)
        self.assertEqual(len(certificates._known), 1)
        peer.lose()
        self.assertEqual(certificates._known, {})

    def test_none(self) -> None:
        """
        Of a peer that has shown none, nothing is kept.
        """
        certificates = Certificates()
        self.assertEqual(list(certificates.identitiesOf(FakePeer())), [])
        self.assertEqual(certificates._known, {})
