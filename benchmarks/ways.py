"""
The ways to the origin that are compared, and the origins.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from attrs import evolve, frozen

from benchmarks.certificates import Certificate
from benchmarks.programs import BenchmarkError, Program, Stage, find, freePort
from invproxy.auth.passwords import hashPassword

CARRIERS = ("tunnel", "poll")
"""The ways in which an agent and a proxy can talk."""

BULK = 10 << 20
"""How many bytes C{/10m} of L{nginxOrigin} has, and C{/up} takes."""

BACKEND = "bench"
"""The backend that the agent of a way serves."""

LOOPBACK = "127.0.0.1"


@frozen
class Way:
    """
    A way to the origin.

    @ivar name: what it is, in reports.
    @ivar port: where clients connect.
    @ivar programs: the processes on it, but for the origin.
    @ivar carrier: how proxy and agent talk; empty if there are none.
    @ivar admin: the port of the admin endpoint, or 0.
    @ivar host: the address where clients connect.
    @ivar scheme: C{http} or C{https}.
    @ivar fields: header fields that requests need to be let in.
    """

    name: str
    port: int
    programs: tuple[Program, ...]
    carrier: str = ""
    admin: int = 0
    host: str = LOOPBACK
    scheme: str = "http"
    fields: tuple[str, ...] = ()

    def url(self, path: str) -> str:
        """
        Say where clients find something.
        """
        return f"{self.scheme}://{self.host}:{self.port}{path}"


_NGINX = """
daemon off;
master_process off;  # one process, whose time and memory are easy to read
pid {directory}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 100000000;
    client_max_body_size 0;
    sendfile on;
    tcp_nodelay on;
{http}
}}
"""

# Nothing in nginx reads a body and throws it away but mirror; then the static files' 405 becomes
# an answer that tells how many bytes came, so that nothing is ever written to a disk.
_ORIGIN = """
    access_log off;
    client_body_buffer_size 16m;
    server {{
        listen 127.0.0.1:{port} backlog=1024{buffer};
        root {directory};
        location /up {{
            mirror /drop;
            error_page 405 =200 @done;
        }}
        location @done {{ return 200 "$request_length\\n"; }}
        location /drop {{ internal; return 204; }}
    }}
"""

_REVERSE = """
    access_log {directory}/access.log combined buffer=64k flush=1s;
    upstream origin {{
        server 127.0.0.1:{origin};
        keepalive 512;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port}{tls};
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Forwarded "for=$remote_addr;host=\\"$http_host\\";proto=$scheme";
{location}
        }}
    }}
"""

_TLS = """ ssl backlog=1024;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3"""


def _nginx(stage: Stage, name: str, http: str, scheme: str = "http", **values: object) -> Way:
    directory = stage.path(name)
    directory.mkdir()
    (directory / "1k").write_bytes(os.urandom(1 << 10))
    (directory / "10m").write_bytes(os.urandom(BULK))
    port = freePort()
    text = http.format(directory=directory, port=port, **values)
    configuration = directory / "nginx.conf"
    configuration.write_text(_NGINX.format(directory=directory, http=text))
    command = (
        find("nginx") or "nginx",
        "-p",
        str(directory),
        "-c",
        str(configuration),
        "-e",
        "stderr",
    )
    program = stage.run(name, *command)
    program.waitPort(port)
    return Way(name, port, (program,), scheme=scheme)


def nginxOrigin(stage: Stage, *, buffer: int = 0) -> Way:
    """
    Start nginx as the origin of short and long answers (C{/1k}, C{/10m}), which also takes uploads (PUT of C{/up}).

    @param buffer: KiB that it may have the kernel hold for each connection; 0 leaves it to the kernel.
    """
    return _nginx(stage, "origin", _ORIGIN, buffer=f" sndbuf={buffer}k" if buffer else "")


def nginxReverse(
    stage: Stage,
    origin: Way,
    location: str = "",
    name: str = "nginx",
    certificate: Certificate | None = None,
) -> Way:
    """
    Start nginx as a plain reverse proxy.

    @param origin: where it sends everything.
    @param location: further directives.
    @param name: what it is, in reports.
    @param certificate: what it shows to clients; without it, they come over plain HTTP.
    """
    tls = " backlog=1024"
    if certificate is not None:
        tls = _TLS.format(chain=certificate.chain, key=certificate.key)
    scheme = "https" if certificate else "http"
    return _nginx(stage, name, _REVERSE, scheme, origin=origin.port, location=location, tls=tls)


def pythonOrigin(stage: Stage, *prefix: str, interface: str = LOOPBACK) -> Way:
    """
    Start the origin of L{benchmarks.origin}.

    @param prefix: a command that runs it somewhere else.
    @param interface: the address that it listens on.
    """
    command = (sys.executable, "-m", "benchmarks.origin", "--interface", interface)
    program = stage.run("origin", *prefix, *command)
    found = program.waitFor(r"origin ready: (\d+)")
    return Way("direct", int(found[1]), (program,))


_TWIST = (sys.executable, "-m", "twisted", "--log-level=warn", "--log-format=text")


@frozen
class Proxy:
    """
    A proxy that runs.

    @ivar program: its process.
    @ivar scheme: C{http} or C{https}: how clients talk to it.
    @ivar port: where clients connect.
    @ivar agents: the port where agents connect.
    @ivar admin: the port of the admin endpoint.
    @ivar trust: what agents need to trust it, if they talk to it over TLS.
    """

    program: Program
    scheme: str
    port: int
    agents: int
    admin: int
    trust: Certificate | None

    def url(self, host: str = LOOPBACK, port: int = 0) -> str:
        """
        Say where agents find it.

        @param host: under which name or address.
        @param port: at which port, if not at its own.
        """
        return f"{'https' if self.trust else 'http'}://{host}:{port or self.agents}"


def startProxy(
    stage: Stage,
    *options: str,
    clients: Certificate | None = None,
    agents: Certificate | None = None,
    agentInterface: str = LOOPBACK,
) -> Proxy:
    """
    Start a proxy. Clients and agents share an endpoint unless they come over different protocols or addresses.

    @param options: further options.
    @param clients: what it shows to clients; without it, they come over plain HTTP.
    @param agents: what it shows to agents; without it, they come over plain HTTP.
    @param agentInterface: the address where agents connect.
    """
    apart = clients or agents or agentInterface != LOOPBACK
    program = stage.run(
        "proxy",
        *(*_TWIST, "invproxy-server"),
        *("--listen", _endpoint(LOOPBACK, clients)),
        *(("--agent-listen", _endpoint(agentInterface, agents)) if apart else ()),
        *("--admin-listen", _endpoint(LOOPBACK, None)),
        *("--access-log", str(stage.path("access.log"))),
        *("--drain-timeout", "1"),
        *options,
        usual=r"proxy ready: |.* Open mode on ",
    )
    line = program.waitFor(r"(?m)^proxy ready: .*$")[0]
    scheme, port = _find(r": (https?)://[^ ]+:(\d+)", line)
    _, agentPort = _find(r"agents (https?)://[^ ]+:(\d+)", line) if apart else ("", port)
    _, admin = _find(r"admin (http)://[^ ]+:(\d+)", line)
    return Proxy(program, scheme, int(port), int(agentPort), int(admin), agents)


def _find(pattern: str, line: str) -> tuple[str, str]:
    found = re.search(pattern, line)
    if found is None:
        raise BenchmarkError(f"the proxy is ready in an unknown way: {line}")
    return found[1], found[2]


def _endpoint(interface: str, certificate: Certificate | None) -> str:
    rest = f"0:interface={interface}:backlog=1024"
    if certificate is None:
        return f"tcp:{rest}"
    return f"ssl:{rest}:privateKey={certificate.key}:certKey={certificate.chain}"


def startAgent(
    stage: Stage,
    proxy: Proxy,
    origin: Way,
    carrier: str,
    backend: str = BACKEND,
    *,
    url: str = "",
    prefix: tuple[str, ...] = (),
    token: Path | None = None,
) -> Program:
    """
    Start an agent.

    @param proxy: where requests come from.
    @param origin: what it serves.
    @param carrier: how it talks to the proxy.
    @param backend: the ID that it serves.
    @param url: where it finds the proxy, if not at C{proxy.url()}.
    @param prefix: a command that runs it somewhere else.
    @param token: a file with its token.
    """
    agent = stage.run(
        "agent",
        *(*prefix, *_TWIST, "invproxy-agent"),
        *("--proxy", url or proxy.url()),
        *("--backend", backend),
        *("--origin", f"http://127.0.0.1:{origin.port}"),
        *("--transport", carrier),
        *("--drain-timeout", "1"),
        *(("--proxy-ca", str(proxy.trust.authority)) if proxy.trust else ()),
        *(("--token-file", str(token)) if token else ()),
        usual="agent ready: ",
    )
    agent.waitFor(r"agent ready: ")
    return agent


def inverting(
    stage: Stage,
    origin: Way,
    carrier: str,
    *options: str,
    suffix: str = "",
    clients: Certificate | None = None,
    agents: Certificate | None = None,
) -> Way:
    """
    Start a proxy, and an agent for the backend L{BACKEND}.

    @param origin: what the agent serves.
    @param carrier: how the two talk.
    @param options: further options of the proxy.
    @param suffix: what to add to the name of the way.
    @param clients: what the proxy shows to clients; without it, they come over plain HTTP.
    @param agents: what the proxy shows to the agent; without it, it comes over plain HTTP.
    """
    proxy = startProxy(stage, *options, clients=clients, agents=agents)
    agent = startAgent(stage, proxy, origin, carrier)
    return wayThrough(proxy, agent, carrier, suffix)


def guarded(stage: Stage, origin: Way, carrier: str) -> Way:
    """
    Start a proxy with a registry, which lets in only agents with a token and end users with a password, and an agent
    for the backend L{BACKEND}.

    @param origin: what the agent serves.
    @param carrier: how the two talk.
    """
    password = secrets.token_hex(8)
    passwords = stage.path("passwords")
    passwords.write_text(f"{_USER}:{hashPassword(password)}\n")
    registry = stage.path("registry.db")
    proxy = startProxy(
        stage, "--database", f"sqlite:{registry}", "--auth", f"scrypt-file:{passwords}"
    )
    record = {"id": BACKEND, "endUser": _USER, "backendUser": "", "pathPrefixes": ["/"]}
    _post(proxy, "/api/backends", record)
    token = stage.path("token")
    token.write_text(_post(proxy, f"/api/backends/{BACKEND}/tokens", {"name": "bench"})["token"])
    agent = startAgent(stage, proxy, origin, carrier, token=token)
    basic = b64encode(f"{_USER}:{password}".encode()).decode()
    return evolve(wayThrough(proxy, agent, carrier), fields=(f"Authorization: Basic {basic}",))


_USER = "bench@example.com"


def _post(proxy: Proxy, path: str, value: object) -> Any:
    url = f"http://{LOOPBACK}:{proxy.admin}{path}"
    request = Request(url, json.dumps(value).encode(), {"Content-Type": "application/json"})
    with build_opener(ProxyHandler({})).open(request) as answer:
        return json.load(answer)


def wayThrough(proxy: Proxy, agent: Program, carrier: str, suffix: str = "") -> Way:
    """
    Name the way that leads through a proxy and an agent.
    """
    name = f"invproxy, {carrier}{suffix}"
    programs = (proxy.program, agent)
    return Way(name, proxy.port, programs, carrier, proxy.admin, scheme=proxy.scheme)
