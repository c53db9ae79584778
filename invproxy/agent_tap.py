"""
C{twist invproxy-agent}: its options, and how they become a service.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from attrs import evolve, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from twisted.application.service import IService
from twisted.logger import Logger

from invproxy.agent.settings import AgentSettings
from invproxy.agent.tokenfile import TokenFile, isToken
from invproxy.descriptors import HINT, raiseLimit, roomFor
from invproxy.errors import ConfigError
from invproxy.lifecycle import IReactorLifecycle, Lifecycle, refusing
from invproxy.options import Option, TableOptions, Values, duration, number, switch
from invproxy.parsers import count, text, wholeSeconds
from invproxy.steady import keepSteady
from invproxy.trust import parseCertificates
from invproxy.urls import forwardProxy, hostPort, httpProxyFor, isAuthority, originURL, proxyURL

PROGRAM = "invproxy-agent"

TOKEN_VARIABLE = "INVPROXY_TOKEN"  # noqa: S105  (the name of a variable)
"""The environment variable that holds the token itself, not a file's path."""

_DEFAULTS = AgentSettings()

_PER_EXCHANGE = 3
"""Connections for one request: two with the proxy, where it is polled, and one with the origin."""

_log = Logger()

_isBackend = re.compile(r"[A-Za-z0-9\-._~:@/]{1,256}", re.ASCII).fullmatch


def backendID(given: str) -> str:
    """
    The ID of a backend, as it can stand in a header field.
    """
    if not _isBackend(given):
        raise ConfigError("must be 1 to 256 letters, digits or characters out of -._~:@/")
    return given


def hostField(given: str) -> bytes:
    """
    A value for the header field Host.
    """
    if not isAuthority(given):
        raise ConfigError("must be HOST or HOST:PORT")
    return given.encode("ascii")


def transport(given: str) -> str:
    """
    How requests come from the proxy.
    """
    if given not in ("auto", "tunnel", "poll"):
        raise ConfigError("must be auto, tunnel or poll")
    return given


TABLE = (
    Option(
        "proxy",
        proxyURL,
        "The base URL of the proxy.",
        metavar="URL",
        defaultText="required",
    ),
    Option(
        "backend",
        backendID,
        "The ID of the backend to serve.",
        metavar="ID",
        defaultText="required",
    ),
    Option(
        "origin",
        originURL,
        "The backend: http://host:port[/base], or unix:/path of a UNIX socket.",
        metavar="URL",
        defaultText="required, or --host",
    ),
    Option(
        "host",
        hostPort,
        "The backend, as the original agent names it; the same as --origin http://HOST:PORT.",
        metavar="HOST:PORT",
    ),
    Option(
        "transport",
        transport,
        "How requests come from the proxy: through a tunnel, by polling, or, auto, by polling only"
        " where and while a tunnel is not to be had.",
        metavar="auto|tunnel|poll",
        default=_DEFAULTS.transport,
    ),
    number(
        "polls", _DEFAULTS.polls, count(1, 100), "How many polls are parked at the proxy.", of="N"
    ),
    number(
        "connections",
        _DEFAULTS.connections,
        count(1, 100),
        "How many tunnels are kept open to the proxy.",
        of="N",
    ),
    duration(
        "link-timeout",
        _DEFAULTS.linkTimeout,
        "How long a tunnel may be silent before it counts as lost. Pings keep it from being so.",
        wholeSeconds,
    ),
    Option(
        "token-file",
        text,
        f"A file with the bearer token for the proxy, which is read again when it changes."
        f" {TOKEN_VARIABLE} in the environment may hold the token itself.",
        metavar="FILE",
    ),
    Option(
        "proxy-ca",
        text,
        "A PEM file with the certificates to trust for the proxy, instead of the system's.",
        metavar="FILE",
        defaultText="system trust",
    ),
    Option(
        "client-cert",
        text,
        "A PEM file with the certificate chain to show to the proxy.",
        metavar="FILE",
    ),
    Option(
        "client-key",
        text,
        "A PEM file with the private key of --client-cert, unless it is in that file.",
        metavar="FILE",
    ),
    Option(
        "http-proxy",
        forwardProxy,
        "A forward proxy to go through by CONNECT, http://[user:password@]host[:port]; none goes"
        " straight.",
        metavar="URL",
        defaultText="from HTTPS_PROXY / HTTP_PROXY / NO_PROXY",
        secret=True,
    ),
    duration(
        "origin-timeout",
        _DEFAULTS.originTimeout,
        "How long the backend may take for the first byte of a response; 0 is for ever.",
    ),
    duration(
        "connect-timeout",
        _DEFAULTS.connectTimeout,
        "How long a connection to the proxy or the backend may take to stand.",
    ),
    duration(
        "drain-timeout",
        _DEFAULTS.drainTimeout,
        "How long requests in flight may take once the agent is stopping.",
    ),
    switch(
        "forward-user-id", "Tell the backend who the end user is, in X-Inverting-Proxy-User-ID."
    ),
    switch("strip-credentials", "Drop Authorization from requests to the backend."),
    Option(
        "rewrite-host",
        hostField,
        "Send this Host to the backend instead of the client's.",
        metavar="HOST",
    ),
)
"""The options of the agent."""


class Options(TableOptions):
    """
    The command line of C{twist invproxy-agent}.
    """

    table = TABLE


@frozen
class Plan:
    """
    What the options ask for.

    @ivar proxy: base URL of the proxy.
    @ivar backend: ID of the backend.
    @ivar origin: URL of the origin, and the name of the option that gave it.
    @ivar settings: everything else.
    @ivar values: where all of this came from, for errors found later.
    """

    proxy: str
    backend: str
    origin: tuple[str, str]
    settings: AgentSettings
    values: Values


def planOf(options: TableOptions, environ: Mapping[str, str]) -> Plan:
    """
    Understand the options, and read the files that they name.

    @param options: the command line.
    @param environ: the environment.
    @raise ConfigError: if any cannot be used, or they do not go together.
    """
    values = options.resolve(environ)
    proxy = values["proxy"]
    if proxy is None:
        raise values.fault("proxy", "must be the base URL of the proxy")
    if values["backend"] is None:
        raise values.fault("backend", "must be the ID of the backend to serve")
    origin, byHost = values["origin"], values["host"]
    if origin is None and byHost is None:
        raise values.fault(
            "origin", "must be http://HOST:PORT[/BASE] or unix:/PATH of the backend, or use --host"
        )
    if origin is not None and byHost is not None:
        raise values.fault("host", "must not be given together with --origin")
    if byHost is not None:
        origin = f"http://{byHost}"
    certificate, key = _credentialsOf(values)
    return Plan(
        proxy,
        values["backend"],
        (origin, "origin" if byHost is None else "host"),
        AgentSettings(
            transport=values["transport"],
            polls=values["polls"],
            connections=values["connections"],
            linkTimeout=values["link-timeout"],
            connectTimeout=values["connect-timeout"],
            originTimeout=values["origin-timeout"],
            drainTimeout=values["drain-timeout"],
            token=tokenOf(values, environ),
            readToken=_tokenFileOf(values, environ),
            proxyCA=_authoritiesOf(values),
            clientCertificate=certificate,
            clientKey=key,
            httpProxy=values["http-proxy"]
            if values.isGiven("http-proxy")
            else httpProxyFor(proxy, environ),
            forwardUserID=values["forward-user-id"],
            stripCredentials=values["strip-credentials"],
            rewriteHost=values["rewrite-host"],
        ),
        values,
    )


def fitInto(plan: Plan, limit: int) -> Plan:
    """
    Take no more requests at once than there are file descriptors for. A request takes three by polls, and by a tunnel
    one.

    @param limit: how many descriptors the process may have; 0 where nobody knows.
    """
    settings = plan.settings
    most = (roomFor(limit) - settings.polls - settings.connections) // _PER_EXCHANGE
    if not limit or most >= settings.maxExchanges:
        return plan
    most = max(1, most)
    _log.warn(
        "{most} requests at once are taken instead of {usual}, as this process may have only"
        " {limit} files open: {hint}.",
        most=most,
        usual=settings.maxExchanges,
        limit=limit,
        hint=HINT,
    )
    return evolve(plan, settings=evolve(settings, maxExchanges=most))


def tokenOf(values: Values, environ: Mapping[str, str]) -> str | None:
    """
    The token, from a file or the environment, whichever source comes first.

    @raise ConfigError: if there is none in what should hold it; it is never shown.
    """
    allowed = "must be printable ASCII without spaces, at most 8192 characters"
    direct = environ.get(TOKEN_VARIABLE, "").strip()
    if direct and values.sourceOf("token-file") == "environment":
        raise values.fault("token-file", f"must not be set together with {TOKEN_VARIABLE}")
    if direct and values.sourceOf("token-file") != "command line":
        if not isToken(direct):
            raise ConfigError(f"{TOKEN_VARIABLE} in the environment (value not shown): {allowed}")
        return direct
    content = values.contentOf("token-file")
    if content is None:
        return None
    token = content.strip().decode("latin-1")
    if not isToken(token):
        raise values.fault("token-file", f"the token in it (not shown) {allowed}")
    return token


def _tokenFileOf(values: Values, environ: Mapping[str, str]) -> TokenFile | None:
    """
    What reads the token again, if it is in a file.
    """
    path = values["token-file"]
    direct = environ.get(TOKEN_VARIABLE, "").strip()
    if path is None or (direct and values.sourceOf("token-file") != "command line"):
        return None
    return TokenFile(path)


def _certificatesOf(values: Values, name: str, content: bytes) -> list[x509.Certificate]:
    try:
        return parseCertificates(content)
    except ConfigError as error:
        raise values.fault(name, error.complaint) from None


def _requireTLS(values: Values, name: str) -> None:
    if urlsplit(values["proxy"]).scheme != "https":
        raise values.fault(name, "needs a --proxy whose URL begins with https:")


def _authoritiesOf(values: Values) -> bytes | None:
    content = values.contentOf("proxy-ca")
    if content is not None:
        _requireTLS(values, "proxy-ca")
        _certificatesOf(values, "proxy-ca", content)
    return content


def _credentialsOf(values: Values) -> tuple[bytes | None, bytes | None]:
    """
    Read the client certificate and its key, and see that they belong together.
    """
    certificate, key = values.contentOf("client-cert"), values.contentOf("client-key")
    if certificate is None:
        if key is not None:
            raise values.fault("client-key", "needs --client-cert")
        return None, None
    _requireTLS(values, "client-cert")
    [leaf, *_] = _certificatesOf(values, "client-cert", certificate)
    name = "client-cert" if key is None else "client-key"
    try:
        private = load_pem_private_key(certificate if key is None else key, None)
    except TypeError:
        raise values.fault(name, "the private key must not be encrypted") from None
    except ValueError:
        hint = ", or --client-key must name one" if key is None else ""
        raise values.fault(name, f"must hold a private key in PEM{hint}") from None
    if private.public_key() != leaf.public_key():
        raise values.fault(name, "the private key does not belong to the certificate")
    return certificate, key


def assemble(
    plan: Plan,
    reactor: IReactorLifecycle,
    lifecycle: Lifecycle,
    service: Callable[..., Any],
    originFromURL: Callable[..., Any],
) -> IService:
    """
    Make the service that the options ask for.

    @param plan: what they ask for.
    @param reactor: what runs it.
    @param lifecycle: begins and ends the process.
    @param service: L{invproxy.agent.service.AgentService}.
    @param originFromURL: L{invproxy.agent.origins.HTTPOrigin.fromURL}.
    @raise ConfigError: if an option cannot be used after all.
    """
    url, name = plan.origin
    try:
        origin = originFromURL(reactor, url, plan.settings)
    except ConfigError as error:
        raise plan.values.fault(name, str(error)) from None
    made = service(reactor, plan.proxy, plan.backend, origin, plan.settings)

    def readyLine(carrier: str) -> str:
        return f'agent ready: {plan.proxy} -> {url} as "{plan.backend}" over {carrier}'

    lifecycle.handleSignals()
    lifecycle.watch(made.whenReady().addCallback(readyLine))
    return cast(IService, made)


def makeService(options: TableOptions) -> IService:
    """
    Make the service for C{twist}.

    @param options: the command line.
    @raise SystemExit: if an option cannot be used; one line on stderr says why.
    """
    from twisted.internet import reactor

    running = cast(IReactorLifecycle, reactor)
    keepSteady(running)
    with refusing(PROGRAM, sys.__stderr__):
        plan = fitInto(planOf(options, os.environ), raiseLimit())
        # Costly to import, so not for a slip on the command line.
        from invproxy.agent.origins import HTTPOrigin
        from invproxy.agent.service import AgentService

        lifecycle = Lifecycle(running, PROGRAM)
        return assemble(plan, running, lifecycle, AgentService, HTTPOrigin.fromURL)
