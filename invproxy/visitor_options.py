"""
The server's options about end users, and what becomes of them.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import field, frozen
from twisted.cred.checkers import ICredentialsChecker

from invproxy.auth.fetching import isSafe
from invproxy.auth.oidc_settings import OIDCSettings
from invproxy.descriptions import kindOf
from invproxy.endpoints import isReachable
from invproxy.errors import ConfigError
from invproxy.issuer_options import issuerAuthoritiesOf
from invproxy.options import Option, Values, oneLine
from invproxy.parsers import text

_LARGEST_SECRET = 4096


def issuer(given: str) -> str:
    """
    The URL of an OpenID provider (OpenID Connect Discovery 1.0, section 3).
    """
    try:
        parts = urlsplit(given) if given.isprintable() and given.isascii() else None
    except ValueError:
        parts = None
    if parts is None or not isSafe(given) or parts.query or parts.fragment or parts.username:
        raise ConfigError(
            "must be the issuer's URL as the provider writes it, such as https://id.example.com"
        )
    return given


def checker(given: str) -> ICredentialsChecker:
    """
    What checks the names and passwords of end users: a description for strcred.
    """
    from twisted.cred import strcred
    from twisted.cred.credentials import IUsernamePassword

    factories = list(strcred.findCheckerFactories())
    kind, _, argument = given.partition(":")
    types = sorted(
        {each.authType for each in factories if IUsernamePassword in each.credentialInterfaces}
    )
    for factory in factories:
        if factory.authType == kind and kind in types:
            break
    else:
        raise ConfigError(f"must be TYPE:ARGUMENTS, where TYPE is one of {', '.join(types)}")
    try:
        made: ICredentialsChecker = factory.generateChecker(argument)
    except ConfigError:
        raise
    except Exception as error:
        # Plugins raise whatever they like; what they say may repeat a password.
        raise ConfigError(
            f"{kind} cannot be used ({type(error).__name__}); it takes:"
            f" {oneLine(factory.argStringFormat)}"
        ) from None
    return made


TABLE = (
    Option(
        "auth",
        checker,
        "Let end users in by name and password (HTTP Basic), as TYPE checks them, any of Twisted's"
        " strcred plugins: scrypt-file:PATH is a file made by invproxy passwd.",
        metavar="TYPE:ARGS",
        default=(),
        repeatable=True,
        secret=True,
    ),
    Option(
        "oidc-issuer",
        issuer,
        "Let end users sign in with this OpenID Connect provider.",
        metavar="URL",
    ),
    Option("oidc-client-id", text, "What the provider knows this proxy as.", metavar="ID"),
    Option(
        "oidc-client-secret-file",
        text,
        "A file with the secret that the provider knows of this proxy.",
        metavar="FILE",
    ),
    Option(
        "oidc-user-claim",
        text,
        "The claim that names the end user. An email must be verified.",
        metavar="NAME",
        default="email",
    ),
)
"""The rows of the server's table."""


@frozen
class VisitorPlan:
    """
    What the options ask for.

    @ivar checkers: check names and passwords.
    @ivar oidc: the provider where people sign in, or L{None}.
    """

    checkers: tuple[ICredentialsChecker, ...] = ()
    oidc: OIDCSettings | None = field(default=None)


def visitorPlanOf(values: Values, warnings: list[str]) -> VisitorPlan:
    """
    Understand the options.

    @param warnings: where to put what the person who starts the server should know.
    @raise ConfigError: if they cannot be used, or do not go together.
    """
    plan = VisitorPlan(values["auth"], _oidcOf(values))
    if plan.checkers:
        _warnOfPlain(values, warnings, "names and passwords (--auth) can be read on the way")
    if plan.oidc is not None:
        _warnOfPlain(values, warnings, "nobody can sign in there (--oidc-issuer), only over https")
    return plan


def _oidcOf(values: Values) -> OIDCSettings | None:
    url = values["oidc-issuer"]
    if url is None:
        for name in ("oidc-client-id", "oidc-client-secret-file", "oidc-user-claim"):
            if values.isGiven(name):
                raise values.fault(name, "has no use without --oidc-issuer")
        return None
    if values["oidc-client-id"] is None:
        raise values.fault(
            "oidc-client-id", "--oidc-issuer needs it; it is what the provider calls this proxy"
        )
    return OIDCSettings(
        url,
        values["oidc-client-id"],
        _secretOf(values),
        values["oidc-user-claim"],
        issuerAuthoritiesOf(values),
    )


def _secretOf(values: Values) -> str | None:
    name = "oidc-client-secret-file"
    content = values.contentOf(name, _LARGEST_SECRET)
    if content is None:
        return None
    try:
        secret = content.decode("utf-8").strip()
    except UnicodeDecodeError:
        secret = ""
    if not secret or not secret.isprintable():
        raise values.fault(name, "must hold the secret, and nothing else")
    return secret


def _warnOfPlain(values: Values, warnings: list[str], what: str) -> None:
    trusted = values["trusted-proxies"]
    if trusted.networks or trusted.unix:
        return  # another proxy may end TLS
    for endpoint in values["listen"]:
        if isReachable(endpoint) and kindOf(endpoint) not in ("ssl", "tls"):
            warnings.append(f"{endpoint} is without TLS: {what}.")
