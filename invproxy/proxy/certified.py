"""
TLS endpoints that ask agents for certificates. The descriptions of Twisted know none.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from OpenSSL.crypto import X509
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.ssl import CertificateOptions, PrivateCertificate

from invproxy.descriptions import kindOf, tokens
from invproxy.errors import ConfigError

_WORDS = ("", "port", "privateKey", "certKey")
"""What may stand in a description without its name, by place."""

_KNOWN = frozenset(("port", "privateKey", "certKey", "interface", "backlog", "extraCertChain"))


def canAsk(description: str) -> bool:
    """
    Say whether this kind of endpoint can be made to ask for certificates.
    """
    return kindOf(description) == "ssl"


def parseAuthorities(pem: bytes) -> list[X509]:
    """
    Read certificates of authorities.

    @param pem: one or more, in PEM.
    @raise ConfigError: if there is none, or one is not of an authority.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigError("must hold certificates in PEM") from None
    for each in found:
        try:
            basic = each.extensions.get_extension_for_class(x509.BasicConstraints).value
        except (x509.ExtensionNotFound, ValueError):
            continue  # as of the first version; they know no extensions
        if not basic.ca:
            name = each.subject.rfc4514_string()
            raise ConfigError(f"{name} in it is not a certificate of an authority")
    return [X509.from_cryptography(each) for each in found]


def certifiedEndpoint(
    reactor: object, description: str, authorities: list[X509]
) -> SSL4ServerEndpoint:
    """
    Make an endpoint that asks its peers for certificates. A peer may show none; one that shows one of other authorities
    is not let in.

    @param reactor: the reactor.
    @param description: C{ssl:PORT:privateKey=FILE:...}, as Twisted has it.
    @param authorities: whose certificates count.
    @raise ConfigError: if the description has what is not known here.
    """
    given: dict[str, str] = {}
    for place, part in enumerate(tokens(description)[1:], 1):
        if len(part) == 2:
            name = part[0]
        else:
            name = _WORDS[place] if place < len(_WORDS) else part[0]
        if name not in _KNOWN:
            known = ", ".join(sorted(_KNOWN))
            raise ConfigError(
                f"with client certificates an ssl: endpoint takes {known}, not {name}"
            )
        given[name] = part[-1]
    key = Path(given.get("privateKey", "server.pem"))
    shown = Path(given.get("certKey", key))
    own = PrivateCertificate.loadPEM(shown.read_bytes() + b"\n" + key.read_bytes())
    chain: list[X509] = []
    if "extraCertChain" in given:
        extra = x509.load_pem_x509_certificates(Path(given["extraCertChain"]).read_bytes())
        chain = [X509.from_cryptography(each) for each in extra]
    options = CertificateOptions(
        privateKey=own.privateKey.original,
        certificate=own.original,
        extraCertChain=chain,
        verify=True,
        caCerts=authorities,
        requireCertificate=False,
    )
    return SSL4ServerEndpoint(
        reactor,
        int(given.get("port", "0")),
        options,
        int(given.get("backlog", "50")),
        given.get("interface", ""),
    )
