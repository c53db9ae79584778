"""
The server's options about the registry and about agents' credentials, and what becomes of them.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING, cast

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from invproxy.auth.fetching import isSafe
from invproxy.descriptions import kindOf, tokens
from invproxy.endpoints import isReachable
from invproxy.errors import ConfigError
from invproxy.issuer_options import issuerAuthoritiesOf
from invproxy.options import Option, Values
from invproxy.parsers import text

if TYPE_CHECKING:
    from invproxy.auth.jwt import JWTVerifier
    from invproxy.registry.registry import Registry

_SQLITE = "sqlite:"


def database(given: str) -> str:
    """
    The path of a database.
    """
    path = given.removeprefix(_SQLITE)
    if path == given or not path:
        raise ConfigError("must be sqlite:PATH")
    return path


def issuerURL(given: str) -> str:
    """
    The URL of an issuer.
    """
    if not isSafe(given):
        raise ConfigError("must be a URL that begins with https://, as the issuer's tokens have it")
    return given


def keysAt(given: str) -> str:
    """
    Where keys are.
    """
    if "://" in given and not isSafe(given):
        raise ConfigError("must be a URL that begins with https://, or the path of a file")
    return given


TABLE = (
    Option(
        "database",
        database,
        "The registry of backends and of their agents' tokens: sqlite:PATH, a file that is made if"
        " need be. Without it there is open mode, where any agent may serve any backend.",
        metavar="URL",
    ),
    Option(
        "agent-jwt-issuer",
        issuerURL,
        "Let agents in by JWTs of this OpenID Connect issuer, too.",
        metavar="URL",
    ),
    Option(
        "agent-jwks",
        keysAt,
        "The keys by which agents' JWTs are signed, as a JWKS: a URL or a file.",
        metavar="URL|FILE",
        defaultText="where the issuer says",
    ),
    Option(
        "agent-jwt-audience",
        text,
        "For whom agents' JWTs must be made out: the value of aud, or one of them.",
        metavar="NAME",
    ),
    Option(
        "agent-jwt-claim",
        text,
        "The claim of agents' JWTs that must be the backendUser of the backend. An email must be"
        " verified.",
        metavar="NAME",
        default="email",
    ),
    Option(
        "agent-client-ca",
        text,
        "Let agents in by client certificates of the authorities in this PEM file, too, on the"
        " ssl: endpoints among --agent-listen.",
        metavar="FILE",
    ),
)
"""The rows of the server's table."""


@frozen
class AccessPlan:
    """
    What the options ask for.

    @ivar database: the path of the registry, or L{None} for open mode.
    @ivar issuer: the issuer of agents' JWTs, or L{None}.
    @ivar jwks: where its keys are, if it need not be asked.
    @ivar audience: for whom JWTs must be.
    @ivar claim: which claim names the agent.
    @ivar authorities: PEM certificates of the authorities of agents' certificates, or L{None}.
    @ivar issuerAuthorities: PEM certificates to trust for the issuer, or L{None} for those of the system.
    """

    database: str | None = None
    issuer: str | None = None
    jwks: str | None = None
    audience: str | None = None
    claim: str = "email"
    authorities: bytes | None = None
    issuerAuthorities: bytes | None = None


def accessPlanOf(values: Values, warnings: list[str]) -> AccessPlan:
    """
    Understand the options.

    @param warnings: where to put what the person who starts the server should know.
    @raise ConfigError: if they cannot be used, or do not go together.
    """
    path = values["database"]
    if path is None:
        for name in ("agent-jwt-issuer", "agent-jwks", "agent-client-ca"):
            if values.isGiven(name):
                raise values.fault(
                    name, "needs --database: without a registry every agent is let in anyway"
                )
    else:
        _checkPlace(values, path)
    if values.isGiven("max-backends") and path is not None:
        warnings.append("--max-backends has no effect with --database.")
    return AccessPlan(
        path,
        values["agent-jwt-issuer"],
        values["agent-jwks"],
        _audienceOf(values, warnings),
        values["agent-jwt-claim"],
        _authoritiesOf(values),
        issuerAuthoritiesOf(values),
    )


def _checkPlace(values: Values, path: str) -> None:
    place = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(place):
        raise values.fault("database", f"there is no directory {place}: make it first")
    if os.path.isdir(path):
        raise values.fault("database", "must be a file, and is a directory")


def _audienceOf(values: Values, warnings: list[str]) -> str | None:
    audience: str | None = values["agent-jwt-audience"]
    takesJWTs = values["agent-jwt-issuer"] or values["agent-jwks"]
    if not takesJWTs:
        for name in ("agent-jwt-audience", "agent-jwt-claim"):
            if values.isGiven(name):
                raise values.fault(name, "needs --agent-jwt-issuer or --agent-jwks")
    elif audience is None:
        why = "JWTs that agents' issuer made for somebody else would let that somebody in as them"
        if not values["insecure-open"]:
            raise values.fault(
                "agent-jwt-audience",
                f"{why}; name the audience that agents ask for, or give --insecure-open",
            )
        warnings.append(f"Without --agent-jwt-audience {why} (--insecure-open).")
    return audience


def _authoritiesOf(values: Values) -> bytes | None:
    content = values.contentOf("agent-client-ca")
    if content is None:
        return None
    if not any(kindOf(endpoint) == "ssl" for endpoint in values["agent-listen"]):
        raise values.fault(
            "agent-client-ca",
            "needs an --agent-listen ssl:PORT:privateKey=FILE:certKey=FILE, where certificates can"
            " be asked for",
        )
    # Costly to import.
    from invproxy.proxy.certified import parseAuthorities

    try:
        parseAuthorities(content)
    except ConfigError as error:
        raise values.fault("agent-client-ca", error.complaint) from None
    return content


def checkExposure(values: Values, warnings: list[str]) -> None:
    """
    See that nobody who can reach an endpoint gets in there without credentials, unless that is wanted.

    @param warnings: where to put what is wanted.
    @raise ConfigError: if it is not.
    """
    isOpen = values["database"] is None
    insecure = values["insecure-open"]
    for name in ("listen", "agent-listen"):
        for endpoint in values[name]:
            if not isReachable(endpoint):
                continue
            if isOpen and not insecure:
                raise values.fault(
                    name,
                    "in open mode any agent may serve any backend, so it must be on loopback"
                    " (interface=127.0.0.1) or unix:, or --database or --insecure-open must be given",
                    endpoint,
                )
            if isOpen:
                warnings.append(
                    f"Open mode on {endpoint}: whoever can reach it may serve any backend"
                    " (--insecure-open)."
                )
            elif _servesAgents(values, name) and kindOf(endpoint) in ("tcp", "tcp6"):
                warnings.append(
                    f"{endpoint} has no TLS: unless something in front of it has, agents' tokens"
                    " can be read on their way."
                )
    _checkTrust(values, warnings)
    _checkAdmin(values, warnings)


def _checkTrust(values: Values, warnings: list[str]) -> None:
    """
    See that not just anybody can pass for a trusted proxy.
    """
    trusted = values["trusted-proxies"]
    insecure = values["insecure-open"]
    if trusted.networks or trusted.unix:
        for name in ("listen", "agent-listen"):
            for endpoint in values[name]:
                if kindOf(endpoint) != "haproxy" or not isReachable(endpoint):
                    continue
                why = (
                    "whoever can reach it may say, in a PROXY header, that they are one of"
                    " --trusted-proxies"
                )
                if not insecure:
                    raise values.fault(
                        name,
                        f"{why}; let the load balancer alone reach it, by interface=127.0.0.1 or"
                        " unix:, leave out --trusted-proxies, or give --insecure-open if a firewall"
                        " sees to that",
                        endpoint,
                    )
                warnings.append(f"{endpoint}: {why} (--insecure-open).")
    userHeader = values["user-header"]
    if (
        userHeader
        and _trustsAll(trusted.networks)
        and any(isReachable(endpoint) for endpoint in values["listen"])
    ):
        field = userHeader.decode("ascii")
        why = (
            f"with --user-header {field} whoever can reach the server is whoever they say they are"
        )
        if not insecure:
            raise values.fault(
                "trusted-proxies",
                f"{why}: name the addresses of your proxies alone, or give --insecure-open",
            )
        warnings.append(f"--trusted-proxies has all addresses, and {why} (--insecure-open).")
    if trusted.unix:
        for endpoint in values["listen"]:
            if _isForEverybody(endpoint):
                warnings.append(
                    f"{endpoint} is open to every program on this machine, and all of them count as"
                    " trusted proxies (--trusted-proxies unix): add mode=660."
                )
    isNamed = values["auth"] or values["oidc-issuer"] or values["database"]
    if userHeader and (trusted.networks or trusted.unix) and not isNamed:
        warnings.append(
            "--user-header protects nothing in open mode: it tells backends who somebody is, and"
            " whoever is not named gets to them as well. Give --database to say who may visit what."
        )


def _trustsAll(networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    """
    Are all addresses of a version of IP among these?
    """
    old = [network for network in networks if isinstance(network, IPv4Network)]
    new = [network for network in networks if isinstance(network, IPv6Network)]
    return any(network.prefixlen == 0 for network in collapse_addresses(old)) or any(
        network.prefixlen == 0 for network in collapse_addresses(new)
    )


def _isForEverybody(endpoint: str) -> bool:
    """
    May every user of the machine connect to this UNIX socket? That takes leave to write to it.
    """
    parts = tokens(endpoint)
    words = [part[0] for part in parts if len(part) == 1]
    while words[:1] == ["haproxy"]:
        words = words[1:]
    if words[:1] != ["unix"]:
        return False
    modes = [part[1] for part in parts if len(part) == 2 and part[0] == "mode"]
    try:
        return bool(int((modes or words[2:3] or ["666"])[-1], 8) & 0o002)
    except ValueError:
        return True


def _checkAdmin(values: Values, warnings: list[str]) -> None:
    insecure = values["insecure-open"]
    admin = values["admin-listen"]
    if admin == "none" or not isReachable(admin) or values["admin-token-file"]:
        return
    if not insecure:
        raise values.fault(
            "admin-listen",
            "others can reach it, so --admin-token-file must be given, or it must be on loopback"
            " (interface=127.0.0.1) or unix:, or --insecure-open must be given",
        )
    if kindOf(admin) == "haproxy":
        who = "whoever says, in a PROXY header, that they are on this machine is let in"
    else:
        who = "only programs on this machine are let in"
    warnings.append(f"The admin endpoint on {admin} has no token: {who} (--insecure-open).")


def _servesAgents(values: Values, name: str) -> bool:
    return name == "agent-listen" or not values["agent-listen"]


def registryOf(plan: AccessPlan, reactor: IReactorTime) -> Registry | None:
    """
    Make the registry that the options ask for.

    @param reactor: the reactor.
    @return: it is not started yet; L{None} in open mode.
    """
    if plan.database is None:
        return None
    from invproxy.registry.registry import Registry
    from invproxy.registry.sqlite import IReactorStore, SQLiteStore

    return Registry(SQLiteStore(plan.database, cast(IReactorStore, reactor)), reactor)


def verifierOf(plan: AccessPlan, clock: IReactorTime) -> JWTVerifier | None:
    """
    Make what understands agents' JWTs, if the options ask for that.

    @param clock: the reactor.
    """
    if plan.issuer is None and plan.jwks is None:
        return None
    # Costly to import, and only for those who need it.
    from invproxy.auth.fetching import Fetcher
    from invproxy.auth.jwt import JWTVerifier
    from invproxy.auth.keys import Keys

    fetcher = Fetcher(clock, authorities=plan.issuerAuthorities)
    keys = Keys(clock, fetcher, issuer=plan.issuer, jwks=plan.jwks)
    return JWTVerifier(clock, keys, issuer=plan.issuer, audience=plan.audience, claim=plan.claim)
