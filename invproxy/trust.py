"""
Whose certificates are trusted in connections that we make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invproxy.errors import ConfigError

if TYPE_CHECKING:
    from cryptography import x509


def parseCertificates(pem: bytes) -> list[x509.Certificate]:
    """
    Read certificates.

    @param pem: one or more, in PEM.
    @raise ConfigError: if there is none, or one cannot be read.
    """
    # Costly to import, here and below, and only for those who need it.
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigError("must hold certificates in PEM") from None


def trustRootOf(pem: bytes) -> Any:
    """
    Make what trusts these certificates, and no others.

    @param pem: one or more, in PEM.
    @return: an C{IOpenSSLTrustRoot}, as C{trustRoot} of Twisted's TLS.
    @raise ConfigError: as in L{parseCertificates}.
    """
    from OpenSSL.crypto import X509
    from twisted.internet.ssl import Certificate, trustRootFromCertificates

    return trustRootFromCertificates(
        [Certificate(X509.from_cryptography(each)) for each in parseCertificates(pem)]
    )


def tlsComplaintOf(error: BaseException, option: str) -> str:
    """
    Say in plain words why TLS did not come about.

    @param error: what was raised.
    @param option: which option says whom to trust.
    @return: C{""} if it is not about TLS.
    """
    from OpenSSL import SSL
    from service_identity import VerificationError

    if isinstance(error, VerificationError):
        return "its certificate is for another host name"
    if not isinstance(error, SSL.Error):
        return ""
    told = error.args[0] if error.args else ()
    why = str(told[0][-1]) if isinstance(told, list) and told else "it was broken off"
    if why == "certificate verify failed":
        return f"its certificate is not of an authority that is trusted here; {option} names others"
    return _PLAINLY.get(why, f"TLS fails: {why}")


_PLAINLY = {"wrong version number": "it does not speak TLS (is it http:// there?)"}
"""What OpenSSL says that a person may not understand."""
