"""
The server's options about whoever issues identities, of end users and of agents alike.
"""

from __future__ import annotations

from invproxy.errors import ConfigError
from invproxy.options import Option, Values
from invproxy.parsers import text
from invproxy.trust import parseCertificates

TABLE = (
    Option(
        "issuer-ca",
        text,
        "A PEM file with the certificates to trust for --oidc-issuer, --agent-jwt-issuer and"
        " --agent-jwks, instead of the system's.",
        metavar="FILE",
        defaultText="system trust",
    ),
)
"""The rows of the server's table."""


def issuerAuthoritiesOf(values: Values) -> bytes | None:
    """
    Read the certificates to trust for issuers.

    @return: PEM, or L{None} for those of the system.
    @raise ConfigError: if there are none, or nobody is asked.
    """
    name = "issuer-ca"
    pem = values.contentOf(name)
    if pem is None:
        return None
    if not any(values[each] for each in ("oidc-issuer", "agent-jwt-issuer", "agent-jwks")):
        raise values.fault(
            name, "has no use without --oidc-issuer, --agent-jwt-issuer or --agent-jwks"
        )
    try:
        parseCertificates(pem)
    except ConfigError as error:
        raise values.fault(name, error.complaint) from None
    return pem
