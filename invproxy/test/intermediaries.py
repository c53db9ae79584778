"""
What stands between clients or agents and a proxy: web servers in front of it, and a forward proxy on the way to it.
They are real programs for the integration tests, configured as docs/intermediaries.md says.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from attrs import frozen

import invproxy
from invproxy.test.certificates import AGENTS, certificates, directory
from invproxy.test.programs import DEADLINE, TWIST, Program, Proxy, eventually, freePort

PAGE = Path(invproxy.__file__).parent.parent / "docs" / "intermediaries.md"

_TESTED = re.compile(r"^<!-- tested: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def missing(*programs: str) -> str | None:
    """
    Say what tests of these programs need and do not find.
    """
    if not PAGE.exists():
        return "the documentation is not installed, and their configurations are in it"
    names = [name for name in programs if not _which(name)]
    return f"not installed: {', '.join(names)}" if names else None


def _which(program: str) -> str | None:
    return shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


# The documentation.


@cache
def documented() -> dict[str, str]:
    """
    The blocks of the page that are to be tested, by their names.
    """
    return dict(_TESTED.findall(PAGE.read_text(encoding="utf-8")))


@frozen
class Command:
    """
    A command in the documentation.

    @ivar environment: what it sets in the environment.
    @ivar options: the options, by their names.
    """

    environment: dict[str, str]
    options: dict[str, str]


def command(name: str) -> Command:
    """
    Read a command that is all of a block.
    """
    prompt, *words = shlex.split(documented()[name])
    assert prompt == "$", prompt
    begin = words.index("twist")
    environment = dict(word.split("=", 1) for word in words[:begin])
    options = words[begin + 2 :]
    return Command(environment, dict(zip(options[::2], options[1::2], strict=True)))


def changed(text: str, changes: Mapping[str, str]) -> str:
    """
    Replace parts of a text, each of which has to be there.
    """
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in:\n{text}"
        text = text.replace(old, new)
    return text


# The proxy.


class ListeningProxy(Proxy):
    """
    C{twist invproxy-server} on an endpoint of one's choice.
    """

    def __init__(self, listen: str, *options: str) -> None:
        """
        @param listen: the endpoint.
        @param options: more options.
        """
        arguments = ("--listen", listen, "--admin-listen", "tcp:0:interface=127.0.0.1", *options)
        Program.__init__(self, "proxy", [*TWIST, "invproxy-server", *arguments])
        found = self.waitFor(r"^proxy ready: (\w+://\S+:(\d+)) \(admin (http://\S+)\)$")
        self.url = found[1]
        self.port = int(found[2])
        self.admin = found[3]

    @classmethod
    def documented(cls, name: str, port: int = 0) -> ListeningProxy:
        """
        Start it by a documented command, on another port.

        @param name: of the block with the command.
        @param port: the port; 0 is any free one.
        """
        options = command(name).options
        listen = changed(options.pop("--listen"), {":8080:": f":{port}:"})
        return cls(listen, *(word for option in options.items() for word in option))

    @classmethod
    def withTLS(cls) -> ListeningProxy:
        """
        Start it with a certificate of its own.
        """
        made = certificates()
        return cls(f"ssl:0:privateKey={made.key}:certKey={made.certificate}:interface=127.0.0.1")


# What stands in between.


class Intermediary(Program):
    """
    A program that listens on a port; its processes are one process group.

    @ivar port: the port.
    """

    def __init__(self, name: str, arguments: Sequence[str], port: int) -> None:
        """
        @param name: what it is called in failures.
        @param arguments: the command line.
        @param port: where it is going to listen.
        """
        super().__init__(name, [_which(arguments[0]) or arguments[0], *arguments[1:]])
        self.port = port
        eventually(self._isListening, f"{name} listens on port {port}")

    def _isListening(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} has ended:\n" + "\n".join(self.output()))
        try:
            socket.create_connection(("127.0.0.1", self.port), DEADLINE).close()
        except ConnectionError:
            return False
        return True

    def _signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def _states(self) -> set[str]:
        """
        The states of its processes, see L{proc(5)}.
        """
        found = set()
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                _, _, fields = path.read_text(encoding="ascii", errors="replace").rpartition(") ")
            except OSError:
                continue  # it has just ended
            state, _, group, *_ = fields.split()
            if int(group) == self.process.pid:
                found.add(state)
        return found

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)
        eventually(lambda: self._states() == {"T"}, f"{self.name} stands still")

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process.poll() is None:
            self._signal(signal.SIGKILL)
        self.waitEnd()

    def close(self) -> None:
        if self.process.poll() is None:
            self.thaw()
        super().close()


class Front(Intermediary):
    """
    A web server in front of a proxy.

    @ivar url: where clients and agents connect.
    """

    def __init__(self, name: str, arguments: Sequence[str], port: int) -> None:
        super().__init__(name, arguments, port)
        self.url = f"https://localhost:{port}"

    def calls(self, path: str) -> int:
        """
        Count the calls of a path that it has logged: those that are over.
        """
        return self.count(rf'"[A-Z]+ {path}[ ?]')


# As in the file that Debian installs; and what goes on is logged.
_NGINX = """
daemon off;
worker_processes 1;
worker_shutdown_timeout {patience}s;
pid {place}/pid;
error_log stderr notice;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    log_format calls '$remote_addr "$request" $status';
    access_log /dev/stdout calls;
    include {place}/invproxy.conf;
}}
"""


class Nginx(Front):
    """
    nginx.
    """

    def __init__(
        self,
        proxy: int,
        changes: Mapping[str, str] | None = None,
        *,
        port: int = 0,
        patience: int = 1,
    ) -> None:
        """
        @param proxy: the port of the proxy.
        @param changes: what to write instead of what is documented.
        @param port: where to listen; 0 is any free port.
        @param patience: for how many seconds connections live on when it is reloaded.
        """
        port = port or freePort()
        self._place = place = directory()
        made = certificates()
        self._text = changed(
            documented()["nginx"],
            {
                "listen 443 ssl": f"listen {AGENTS}:{port} ssl",
                "server_name proxy.example": "server_name localhost",
                "/etc/ssl/proxy.example.pem": str(made.certificate),
                "/etc/ssl/proxy.example.key": str(made.key),
                "127.0.0.1:8080": f"127.0.0.1:{proxy}",
                "198.51.100.0/24": AGENTS,
            },
        )
        main = place / "nginx.conf"
        main.write_text(_NGINX.format(place=place, patience=patience), encoding="utf-8")
        self._configure(changes)
        super().__init__(
            "nginx", ("nginx", "-p", str(place), "-c", str(main), "-e", "stderr"), port
        )

    def _configure(self, changes: Mapping[str, str] | None) -> None:
        text = changed(self._text, changes or {})
        (self._place / "invproxy.conf").write_text(text, encoding="utf-8")

    def reload(self, changes: Mapping[str, str] | None = None) -> None:
        """
        Have it read another configuration.

        @param changes: what to write instead of what is documented.
        """
        begin = len(self.output())
        self._configure(changes)
        self.process.send_signal(signal.SIGHUP)
        self.waitFor("gracefully shutting down", begin)


# As in the file that Debian installs; but it logs to stdout, and is not in a place of its own.
_HAPROXY = """
global
    log stdout format raw local0
defaults
    log global
    mode http
    option httplog
    option dontlognull
    timeout connect 5000
    timeout client 50000
    timeout server 50000
"""


class HAProxy(Front):
    """
    HAProxy.
    """

    def __init__(
        self,
        proxy: int,
        changes: Mapping[str, str] | None = None,
        *,
        name: str = "haproxy",
        port: int = 0,
    ) -> None:
        """
        @param proxy: the port of the proxy.
        @param changes: what to write instead of what is documented.
        @param name: of the configuration.
        @param port: where to listen; 0 is any free port.
        """
        port = port or freePort()
        places = {
            "bind :443": f"bind {AGENTS}:{port}",
            "/etc/haproxy/proxy.example.pem": str(certificates().both),
            "127.0.0.1:8080": f"127.0.0.1:{proxy}",
        }
        if name == "haproxy":
            places["198.51.100.0/24"] = AGENTS
        text = changed(changed(documented()[name], places), changes or {})
        main = directory() / "haproxy.cfg"
        main.write_text(_HAPROXY + text, encoding="utf-8")
        super().__init__("haproxy", ("haproxy", "-db", "-f", str(main)), port)


class Tinyproxy(Intermediary):
    """
    tinyproxy, a forward proxy.
    """

    def __init__(
        self, target: int, changes: Mapping[str, str] | None = None, *, port: int = 0
    ) -> None:
        """
        @param target: the port to which it lets agents connect.
        @param changes: what to write instead of what is documented.
        @param port: where to listen; 0 is any free port.
        """
        port = port or freePort()
        places = {"Port 3128": f"Port {port}", "ConnectPort 443": f"ConnectPort {target}"}
        text = changed(changed(documented()["tinyproxy"], places), changes or {})
        main = directory() / "tinyproxy.conf"
        main.write_text(text, encoding="utf-8")
        super().__init__("tinyproxy", ("tinyproxy", "-d", "-c", str(main)), port)
