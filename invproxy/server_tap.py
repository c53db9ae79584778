"""
C{twist invproxy-server}: its options, and how they become a service.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Protocol, cast

from attrs import field, frozen
from twisted.application.service import IService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from invproxy.access_options import TABLE as ACCESS_TABLE
from invproxy.access_options import (
    AccessPlan,
    accessPlanOf,
    checkExposure,
    registryOf,
    verifierOf,
)
from invproxy.accesslog import CombinedLog, JSONLog, openAccessLog
from invproxy.admin.token import AdminToken
from invproxy.bound_options import TABLE as BOUND_TABLE
from invproxy.bound_options import boundsOf, fitInto
from invproxy.descriptors import raiseLimit
from invproxy.endpoints import checkEndpoint
from invproxy.errors import ConfigError
from invproxy.issuer_options import TABLE as ISSUER_TABLE
from invproxy.lifecycle import IReactorLifecycle, Lifecycle, refusing
from invproxy.options import Option, TableOptions, Values, duration, switch
from invproxy.parsers import choice, someSeconds, text, wholeSeconds
from invproxy.proxy.settings import ProxySettings
from invproxy.steady import keepSteady
from invproxy.visitor_options import TABLE as VISITOR_TABLE
from invproxy.visitor_options import VisitorPlan, visitorPlanOf

PROGRAM = "invproxy-server"

NONE = "none"
"""The word that turns off what an option would name."""

_DEFAULTS = ProxySettings()

_log = Logger()


_isFieldName = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII).fullmatch
_OWN_MEANING = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


@frozen
class TrustedProxies:
    """
    Whose forwarding fields are believed.

    @ivar networks: peers by address.
    @ivar unix: peers on UNIX sockets?
    """

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False


def trustedProxies(given: str) -> TrustedProxies:
    """
    Networks, addresses and the word C{unix}, separated by commas.
    """
    networks = []
    unix = False
    for part in given.split(","):
        part = part.strip()
        if part == "unix":
            unix = True
            continue
        try:
            networks.append(ip_network(part))
        except ValueError:
            raise ConfigError(
                "must be networks such as 10.0.0.0/8 or fd00::/8 (no bits set beyond the prefix),"
                " addresses, or the word unix, separated by commas"
            ) from None
    return TrustedProxies(tuple(networks), unix)


def fieldName(given: str) -> bytes:
    """
    The name of a header field that has no meaning of its own for us.
    """
    name = given.lower()
    if not _isFieldName(given) or name in _OWN_MEANING:
        raise ConfigError("must be the name of a header field, such as X-Forwarded-User")
    return given.encode("ascii")


class Ready(Protocol):
    """
    Where a proxy listens, as URLs.
    """

    @property
    def public(self) -> list[str]: ...

    @property
    def agents(self) -> list[str]: ...

    @property
    def admin(self) -> str | None: ...


TABLE = (
    Option(
        "listen",
        text,
        "Where clients connect: any Twisted server endpoint (tcp:, tls:, ssl:, unix:, systemd:,"
        " haproxy: and others).",
        metavar="ENDPOINT",
        default=("tcp:8080:interface=127.0.0.1",),
        repeatable=True,
    ),
    Option(
        "agent-listen",
        text,
        "Where agents connect. Without it they use the public endpoints, under /agent/; with it,"
        " the public ones serve no agent.",
        metavar="ENDPOINT",
        default=(),
        repeatable=True,
    ),
    Option(
        "admin-listen",
        text,
        "Where administrators connect, for health, status and the registry; none turns it off.",
        metavar="ENDPOINT",
        default="tcp:8081:interface=127.0.0.1",
    ),
    Option(
        "admin-token-file",
        text,
        "A file with the bearer token of the admin endpoint, which is read again when it changes."
        " Browsers may look at it with the token as a password."
        " Without it programs on the same machine alone are let in.",
        metavar="FILE",
    ),
    *ACCESS_TABLE,
    *VISITOR_TABLE,
    *ISSUER_TABLE,
    switch(
        "insecure-open",
        "Allow open mode, where any agent may serve any backend, on an endpoint that others can"
        " reach, and by any name; an admin endpoint without a token there; and trusted proxies for"
        " which anybody there can pass.",
    ),
    Option(
        "trusted-proxies",
        trustedProxies,
        "Peers whose Forwarded, X-Forwarded-* and user header are believed: networks, addresses,"
        " or unix for all peers on UNIX sockets, separated by commas.",
        metavar="CIDR,...",
        default=TrustedProxies(),
        defaultText="none",
        separator=",",
    ),
    Option(
        "user-header",
        fieldName,
        "The header field in which a trusted proxy names the end user.",
        metavar="NAME",
    ),
    duration(
        "poll-timeout",
        _DEFAULTS.pollTimeout,
        "How long an agent's poll waits before it is answered with nothing.",
        someSeconds,
    ),
    duration("queue-timeout", _DEFAULTS.queueTimeout, "How long a request waits for an agent."),
    duration(
        "response-timeout",
        _DEFAULTS.responseTimeout,
        "How long a response's first byte may take; 0 is for ever.",
    ),
    duration(
        "idle-timeout",
        _DEFAULTS.idleTimeout,
        "How long no byte may come either way once a response has begun; also for kept"
        " connections.",
    ),
    duration(
        "head-timeout", _DEFAULTS.headTimeout, "How long the head of a request may take to arrive."
    ),
    duration(
        "claim-timeout",
        _DEFAULTS.claimTimeout,
        "How long an agent may take to fetch a request that it was told of, before another is"
        " told.",
    ),
    duration(
        "backend-timeout",
        _DEFAULTS.backendTimeout,
        "How long after the last call of its agents a backend is offline.",
    ),
    duration(
        "drain-timeout",
        _DEFAULTS.drainTimeout,
        "How long requests in flight may take once the proxy is stopping.",
    ),
    duration(
        "link-timeout",
        _DEFAULTS.linkTimeout,
        "How long a tunnel may be silent before it counts as lost. Pings keep it from being so.",
        wholeSeconds,
    ),
    *BOUND_TABLE,
    Option(
        "access-log",
        text,
        "Where a line about each request goes: a file, which is opened anew when it was renamed"
        " (and on SIGHUP), - for stdout, or none.",
        metavar="FILE",
        default="-",
        defaultText="stdout",
    ),
    Option(
        "access-log-format",
        choice("combined", "json"),
        "Apache's combined format, or one JSON object a line.",
        metavar="combined|json",
        default="combined",
    ),
)
"""The options of the server."""


class Options(TableOptions):
    """
    The command line of C{twist invproxy-server}.
    """

    table = TABLE


class IReactorServer(IReactorLifecycle, IReactorTime):
    """
    What is needed of a reactor here.
    """


@frozen
class Plan:
    """
    What the options ask for.

    @ivar listen: public endpoints.
    @ivar agentListen: endpoints for agents alone.
    @ivar adminListen: the endpoint for administrators, or L{None}.
    @ivar settings: times and bounds.
    @ivar warnings: what the person who starts it should know.
    @ivar values: where all of this came from, for errors found later.
    @ivar adminToken: the token of the admin endpoint, if it has one.
    @ivar access: the registry, and the credentials of agents.
    @ivar visitors: how end users are found out.
    """

    listen: tuple[str, ...]
    agentListen: tuple[str, ...]
    adminListen: str | None
    settings: ProxySettings
    warnings: tuple[str, ...]
    values: Values
    adminToken: AdminToken | None = None
    access: AccessPlan = field(factory=AccessPlan)
    visitors: VisitorPlan = field(factory=VisitorPlan)


def planOf(
    options: TableOptions, environ: Mapping[str, str], reactor: object, descriptors: int = 0
) -> Plan:
    """
    Understand the options.

    @param options: the command line.
    @param environ: the environment.
    @param reactor: what endpoints are made for; none listens yet.
    @param descriptors: how many the process may have; 0 where nobody knows.
    @raise ConfigError: if any cannot be used, or they do not go together.
    """
    values = options.resolve(environ)
    admin = values["admin-listen"]
    admins = () if admin == NONE else (admin,)
    warnings: list[str] = []
    for name, endpoints in (
        ("listen", values["listen"]),
        ("agent-listen", values["agent-listen"]),
        ("admin-listen", admins),
    ):
        for endpoint in endpoints:
            try:
                checkEndpoint(reactor, endpoint)
            except ConfigError as error:
                raise values.fault(name, str(error), endpoint) from None
    checkExposure(values, warnings)
    access = accessPlanOf(values, warnings)
    visitors = visitorPlanOf(values, warnings)
    settings = fitInto(_settingsOf(values), descriptors, warnings)
    if values["user-header"] and values["trusted-proxies"] == TrustedProxies():
        warnings.append("--user-header has no effect without --trusted-proxies.")
    return Plan(
        values["listen"],
        values["agent-listen"],
        admins[0] if admins else None,
        settings,
        tuple(warnings),
        values,
        adminTokenOf(values),
        access,
        visitors,
    )


def _settingsOf(values: Values) -> ProxySettings:
    trusted = values["trusted-proxies"]
    return ProxySettings(
        pollTimeout=values["poll-timeout"],
        queueTimeout=values["queue-timeout"],
        responseTimeout=values["response-timeout"],
        idleTimeout=values["idle-timeout"],
        headTimeout=values["head-timeout"],
        claimTimeout=values["claim-timeout"],
        backendTimeout=values["backend-timeout"],
        drainTimeout=values["drain-timeout"],
        linkTimeout=values["link-timeout"],
        **boundsOf(values),
        trustedProxies=trusted.networks,
        trustUnixPeers=trusted.unix,
        userHeader=values["user-header"],
    )


def accessLogOf(values: Values, clock: IReactorTime) -> CombinedLog | JSONLog | None:
    """
    Open the access log that the options ask for.

    @param clock: measures how long lines wait.
    @raise ConfigError: if it cannot be opened.
    """
    path = values["access-log"]
    if path == NONE:
        return None
    try:
        return openAccessLog(clock, None if path == "-" else path, values["access-log-format"])
    except ConfigError as error:
        raise values.fault("access-log", str(error)) from None


def adminTokenOf(values: Values) -> AdminToken | None:
    """
    Read the token of the admin endpoint, if the options name one.

    @raise ConfigError: if it cannot be used.
    """
    path = values["admin-token-file"]
    if path is None:
        return None
    try:
        return AdminToken(path)
    except ConfigError as error:
        raise values.fault("admin-token-file", str(error)) from None


def readyLine(ready: Ready) -> str:
    """
    Tell a person where the proxy listens.
    """
    others = []
    if ready.agents:
        others.append("agents " + " ".join(ready.agents))
    if ready.admin is not None:
        others.append(f"admin {ready.admin}")
    line = "proxy ready: " + " ".join(ready.public)
    return f"{line} ({', '.join(others)})" if others else line


def assemble(
    plan: Plan, reactor: IReactorServer, lifecycle: Lifecycle, service: Callable[..., Any]
) -> IService:
    """
    Make the service that the options ask for.

    @param plan: what they ask for.
    @param reactor: what runs it.
    @param lifecycle: begins and ends the process.
    @param service: L{invproxy.proxy.service.ProxyService}.
    @raise ConfigError: if an option cannot be used after all.
    """
    accessLog = accessLogOf(plan.values, reactor)
    for warning in plan.warnings:
        _log.warn("{what}", what=warning)
    made = service(
        reactor,
        plan.settings,
        listen=plan.listen,
        agentListen=plan.agentListen,
        adminListen=plan.adminListen,
        accessLog=accessLog,
        adminToken=plan.adminToken,
        registry=registryOf(plan.access, reactor),
        verifier=verifierOf(plan.access, reactor),
        agentAuthorities=plan.access.authorities,
        checkers=plan.visitors.checkers,
        oidc=plan.visitors.oidc,
        onlyOwnNames=plan.access.database is None and not plan.values["insecure-open"],
    )
    hangup = None
    if accessLog is not None:
        # The last lines come while the last connections are cut.
        reactor.addSystemEventTrigger("after", "shutdown", accessLog.file.close)
        if accessLog.file.isNamed:
            hangup = accessLog.file.reopen
    lifecycle.handleSignals(hangup)
    lifecycle.watch(made.whenReady().addCallback(readyLine))
    return cast(IService, made)


def makeService(options: TableOptions) -> IService:
    """
    Make the service for C{twist}.

    @param options: the command line.
    @raise SystemExit: if an option cannot be used; one line on stderr says why.
    """
    from twisted.internet import reactor

    running = cast(IReactorServer, reactor)
    keepSteady(running)
    with refusing(PROGRAM, sys.__stderr__):
        plan = planOf(options, os.environ, running, raiseLimit())
        # Costly to import, so not for a slip on the command line.
        from invproxy.proxy.service import ProxyService

        return assemble(plan, running, Lifecycle(running, PROGRAM), ProxyService)
