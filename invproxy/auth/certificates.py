"""
Client certificates of agents: whom they name.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from functools import partial

from cryptography import x509
from cryptography.x509.oid import NameOID

from invproxy.auth.identity import Identity
from invproxy.interfaces import IPeer


def namesIn(certificate: x509.Certificate) -> list[str]:
    """
    List whom a certificate names: its subject's common name, and the email addresses, DNS names and URIs among its
    alternative names (RFC 5280, section 4.2.1.6).
    """
    names = [
        str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return names
    for kind in (x509.RFC822Name, x509.DNSName, x509.UniformResourceIdentifier):
        names += extension.value.get_values_for_type(kind)
    return list(dict.fromkeys(names))


class Certificates:
    """
    Reads the certificates that peers have shown; TLS has verified them. It is done once for each connection.
    """

    def __init__(self) -> None:
        self._known: dict[IPeer, Sequence[Identity]] = {}

    def identitiesOf(self, peer: IPeer) -> Sequence[Identity]:
        """
        Say whom the certificate of a peer names, and until when.

        @return: nothing if it has shown none, or none was asked for.
        """
        known = self._known.get(peer)
        if known is not None:
            return known
        certificate = peer.certificate()
        if certificate is None:
            return ()
        known = self._known[peer] = _read(certificate)
        peer.whenLost(partial(self._forget, peer))
        return known

    def _forget(self, peer: IPeer) -> None:
        self._known.pop(peer, None)


def _read(certificate: x509.Certificate) -> Sequence[Identity]:
    expires = certificate.not_valid_after_utc.astimezone(UTC).timestamp()
    return [Identity(name, expires) for name in namesIn(certificate) if name]
