"""
URLs and authorities as they are given to an agent, and the forward proxy that the environment names for one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from invproxy.errors import ConfigError

_NONE = "none"

_isHost = re.compile(r"[A-Za-z0-9\-._~]+|\[[0-9A-Fa-f:.]+\]", re.ASCII).fullmatch
_isPort = re.compile(r"[0-9]{1,5}", re.ASCII).fullmatch
_isPath = re.compile(r"(?:/[A-Za-z0-9\-._~%!$&'()*+,;=:@/]*)?", re.ASCII).fullmatch
_isAuthority = re.compile(r"(.*?)(?::([^:\]]*))?", re.ASCII).fullmatch


def isAuthority(given: str, *, needsPort: bool = False) -> bool:
    """
    Is it a host, and perhaps a port?

    @param needsPort: is a host alone too little?
    """
    found = _isAuthority(given)
    if found is None or not _isHost(found[1]):
        return False
    if found[1].startswith("["):
        try:
            ip_address(found[1][1:-1])
        except ValueError:
            return False
    if found[2] is None:
        return not needsPort
    return bool(_isPort(found[2])) and 0 < int(found[2]) <= 65535


def split(given: str, *schemes: str, userinfo: bool = False) -> SplitResult | None:
    """
    Take a URL apart, if it is one that can be used here: a host, perhaps a port and a path, no
    query and no fragment.

    @param schemes: which schemes it may have.
    @param userinfo: may it have credentials?
    """
    # urlsplit takes white space away where it likes.
    if not given.isascii() or not given.isprintable() or " " in given:
        return None
    if "?" in given or "#" in given:
        return None
    try:
        url = urlsplit(given)
    except ValueError:
        return None
    credentials, at, authority = url.netloc.rpartition("@")
    if url.scheme not in schemes or not isAuthority(authority) or not _isPath(url.path):
        return None
    if at and (not userinfo or not credentials):
        return None
    return url


def proxyURL(given: str) -> str:
    """
    The base URL of the proxy.
    """
    if split(given, "http", "https") is None:
        raise ConfigError(
            "must be the base URL of the proxy, such as https://proxy.example/, without"
            " credentials, query or fragment"
        )
    return given


def originURL(given: str) -> str:
    """
    Where the backend is: the URL of an HTTP server, or the path of a UNIX socket.
    """
    path = given.removeprefix("unix:")
    if path != given:
        if path.startswith("/") and "\0" not in path:
            return given
    elif split(given, "http") is not None:
        return given
    raise ConfigError("must be http://HOST:PORT[/BASE] or unix:/PATH, without credentials or query")


def hostPort(given: str) -> str:
    """
    Host and port of the backend.
    """
    if not isAuthority(given, needsPort=True):
        raise ConfigError("must be HOST:PORT, such as localhost:3000")
    return given


def forwardProxy(given: str) -> str | None:
    """
    The URL of a forward proxy, or the word C{none}.

    @return: the URL with its scheme, or L{None}.
    """
    if given == _NONE:
        return None
    url = given if "://" in given else f"http://{given}"
    found = split(url, "http", userinfo=True)
    if found is None or found.path not in ("", "/"):
        raise ConfigError("must be http://[USER:PASSWORD@]HOST[:PORT], or none")
    return url


def httpProxyFor(url: str, environ: Mapping[str, str]) -> str | None:
    """
    Find the forward proxy that the environment names for a URL, as other programs do:
    C{HTTPS_PROXY} or C{HTTP_PROXY} by its scheme, unless C{NO_PROXY} lists its host. Lower case
    wins over upper case. Loopback hosts are always reached directly.

    @raise ConfigError: if it cannot be used; its credentials are not shown.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    upper = f"{parts.scheme}_proxy".upper()
    name = upper.lower() if environ.get(upper.lower()) else upper
    given = environ.get(name, "").strip()
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if not given or _isLoopback(host) or isExempt(host, port, exempt):
        return None
    try:
        return forwardProxy(given)
    except ConfigError as error:
        raise ConfigError(f"{name} in the environment (value not shown): {error}") from None


def _isLoopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def isExempt(host: str, port: int, exempt: str) -> bool:
    """
    Does C{NO_PROXY} list a host?

    @param exempt: names (which stand for their subdomains, too), addresses and networks, each
        perhaps with a port, separated by commas; C{*} is all.
    """
    for entry in exempt.lower().replace(",", " ").split():
        if entry == "*":
            return True
        try:
            if ip_address(host) in ip_network(entry.strip("[]"), strict=False):
                return True
            continue
        except ValueError:
            pass  # The entry or the host is a name, or the entry has a port.
        name, _, itsPort = entry.rpartition(":")
        if name and itsPort.isdecimal():
            if int(itsPort) != port:
                continue
            entry = name.strip("[]")
        entry = entry.removeprefix("*").lstrip(".")
        if entry and (host == entry or host.endswith(f".{entry}")):
            return True
    return False
