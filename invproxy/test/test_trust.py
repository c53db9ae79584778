"""
Whose certificates are trusted, and what is said of those that are not.
"""

from __future__ import annotations

import trustme
from OpenSSL import SSL
from service_identity import VerificationError
from service_identity.exceptions import DNSMismatch
from service_identity.hazmat import DNS_ID
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived

from invproxy.cli.client import _reasonOf
from invproxy.errors import ConfigError
from invproxy.trust import parseCertificates, tlsComplaintOf, trustRootOf


class CertificateTests(SynchronousTestCase):
    """
    L{parseCertificates} and L{trustRootOf}.
    """

    def test_all(self) -> None:
        """
        All that are there count, whatever stands between them.
        """
        pems = [trustme.CA().cert_pem.bytes() for _ in range(2)]
        self.assertEqual(len(parseCertificates(b"one\n" + pems[0] + b"two\n" + pems[1])), 2)
        trustRootOf(b"".join(pems))

    def test_none(self) -> None:
        """
        Nobody is trusted by mistake, and nobody at all is not what was meant.
        """
        key = trustme.CA().private_key_pem.bytes()
        for pem in (b"", b"nonsense", key, b"-----BEGIN CERTIFICATE-----\n"):
            self.assertRaises(ConfigError, parseCertificates, pem)
            self.assertRaises(ConfigError, trustRootOf, pem)


class ComplaintTests(SynchronousTestCase):
    """
    L{tlsComplaintOf}.
    """

    def test_each(self) -> None:
        """
        What people can do something about is said plainly.
        """
        failed = [("SSL routines", "", "certificate verify failed")]
        for error, says in (
            (SSL.Error(failed), "not of an authority that is trusted here; --some-ca names others"),
            (SSL.Error([("SSL routines", "", "wrong version number")]), "does not speak TLS"),
            (SSL.Error([("SSL routines", "", "odd")]), "TLS fails: odd"),
            (SSL.Error([]), "TLS fails: it was broken off"),
            (SSL.Error(), "TLS fails: it was broken off"),
            (
                VerificationError(errors=[DNSMismatch(DNS_ID("a.example"))]),
                "is for another host name",
            ),
        ):
            self.assertIn(says, tlsComplaintOf(error, "--some-ca"))
        self.assertEqual(tlsComplaintOf(ValueError(["x"]), "--some-ca"), "")

    def test_command(self) -> None:
        """
        The command C{invproxy} says it, too, however deep it is wrapped.
        """
        inner = ResponseNeverReceived(
            [Failure(VerificationError(errors=[DNSMismatch(DNS_ID("a.example"))]))]
        )
        outer = ResponseNeverReceived([Failure(inner)])
        self.assertEqual(_reasonOf(outer), "its certificate is for another host name")
