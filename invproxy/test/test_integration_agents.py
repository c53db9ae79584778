"""
Agents with each kind of credentials, as programs: tokens of the registry, JWTs of an issuer on this machine, and client
certificates over TLS.
"""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import trustme

from invproxy.test.accessbench import RSA, keySet, sign
from invproxy.test.programs import (
    DEADLINE,
    TWIST,
    Agent,
    IntegrationTestCase,
    Program,
    eventually,
)
from invproxy.test.sites import Document, serve

AGENT = "agent@example.com"


class RegistryProxy(Program):
    """
    C{twist invproxy-server --database}.

    @ivar url: where clients connect.
    @ivar agents: where agents connect.
    @ivar admin: where administrators connect.
    """

    def __init__(self, database: str, *options: str) -> None:
        listen = ("--listen", "tcp:0:interface=127.0.0.1")
        admin = ("--admin-listen", "tcp:0:interface=127.0.0.1", "--access-log", "none")
        registry = ("--database", f"sqlite:{database}")
        arguments = [*TWIST, "invproxy-server", *listen, *admin, *registry, *options]
        super().__init__("proxy", arguments)
        found = self.waitFor(
            r"^proxy ready: (http://\S+) \((?:agents (https://\S+), )?admin (http://\S+)\)$"
        )
        self.url, self.admin = found[1], found[3]
        self.agents = found[2] or self.url

    def api(self, method: str, path: str, body: object = None) -> Any:
        """
        Make a call of the admin API.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.admin}/api/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            text = response.read()
        return json.loads(text) if text else None

    def addBackend(self, id: str, backendUser: str = "") -> None:
        """
        Register a backend for everybody.
        """
        record = {"endUser": "allUsers", "backendUser": backendUser, "pathPrefixes": [f"/{id}"]}
        self.api("POST", "backends", {"id": id, **record})

    def mint(self, id: str, name: str) -> str:
        """
        Make a token.
        """
        token = self.api("POST", f"backends/{id}/tokens", {"name": name})["token"]
        assert isinstance(token, str)
        return token

    def get(self, path: str) -> tuple[int, bytes]:
        """
        Ask as a client.
        """
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=DEADLINE) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


class AgentsTests(IntegrationTestCase):
    """
    Agents that authenticate.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def serve(self, documents: dict[str, bytes]) -> str:
        """
        Serve documents over HTTP.

        @return: the base URL.
        """

        def answer(path: str, fields: object) -> Document:
            known = path in documents
            return Document(documents.get(path, b""), status=200 if known else 404)

        return serve(self, answer)

    def proxy(self, *options: str) -> RegistryProxy:
        return self.running(RegistryProxy(str(self.folder / "registry.db"), *options))

    def origin(self, *ids: str) -> str:
        return self.serve({f"/{id}": f"I am {id}".encode() for id in ids})

    def write(self, name: str, content: bytes | str) -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def agent(self, proxy: RegistryProxy, id: str, origin: str, *options: str) -> Agent:
        return self.running(Agent(proxy.agents, id, origin, *options, ready=False))

    def assertServes(self, proxy: RegistryProxy, id: str) -> None:
        self.assertEqual(proxy.get(f"/{id}"), (200, f"I am {id}".encode()))

    def assertRefused(self, agent: Agent) -> None:
        agent.waitFor("refuses this agent, retrying: it answered 40[13]: ")

    def test_tokens(self) -> None:
        """
        Each agent serves the backend that its token is for, over either carrier; who has a wrong one does not; and one
        that is revoked is cut off at once, though nobody else is, nor after a restart.
        """
        proxy = self.proxy()
        for id in ("a", "b"):
            proxy.addBackend(id)
        origin = self.origin("a", "b")
        tokens = {id: self.write(id, proxy.mint(id, "laptop")) for id in ("a", "b")}
        agents = {
            id: self.agent(proxy, id, origin, "--token-file", tokens[id], "--transport", carrier)
            for id, carrier in (("a", "tunnel"), ("b", "poll"))
        }
        for agent in agents.values():
            agent.waitReady()
        for id in ("a", "b"):
            self.assertServes(proxy, id)
        self.assertRefused(self.agent(proxy, "a", origin, "--token-file", tokens["b"]))
        self.assertRefused(self.agent(proxy, "ghost", origin, "--token-file", tokens["b"]))
        self.assertRefused(self.agent(proxy, "a", origin))
        other = self.agent(
            proxy, "a", origin, "--token-file", self.write("c", proxy.mint("a", "desktop"))
        )
        other.waitReady()
        proxy.api("DELETE", "backends/a/tokens/laptop")
        self.assertRefused(agents["a"])
        agents["a"].waitFor("this token was revoked")
        self.assertServes(proxy, "a")
        self.assertServes(proxy, "b")
        proxy.api("DELETE", "backends/b/tokens/laptop")
        self.assertRefused(agents["b"])
        proxy.terminate()
        self.assertEqual(proxy.waitEnd(), 0)
        again = self.proxy()
        late = self.agent(again, "b", origin, "--token-file", tokens["b"])
        self.assertRefused(late)
        self.agent(again, "a", origin, "--token-file", str(self.folder / "c")).waitReady()
        self.assertServes(again, "a")

    def test_issuer(self) -> None:
        """
        An agent that has a JWT of the issuer serves the backend whose C{backendUser} it names. While the issuer is not
        to be reached, agents with tokens go on.
        """
        documents: dict[str, bytes] = {"/keys": keySet(RSA)}
        issuer = self.serve(documents)
        options = ("--agent-jwt-issuer", issuer, "--agent-jwt-audience", "proxy")
        proxy = self.proxy(*options)
        proxy.waitFor(f"keys of {issuer} cannot be fetched: it answered 404")
        proxy.addBackend("a", AGENT)
        proxy.addBackend("b", "other@example.com")
        origin = self.origin("a", "b")
        token = self.write("token", proxy.mint("b", "one"))
        self.agent(proxy, "b", origin, "--token-file", token).waitReady()
        self.assertServes(proxy, "b")
        configuration = {"issuer": issuer, "jwks_uri": f"{issuer}/keys"}
        documents["/.well-known/openid-configuration"] = json.dumps(configuration).encode()
        proxy.terminate()
        proxy.waitEnd()
        proxy = self.proxy(*options)
        claims = {
            "iss": issuer,
            "aud": "proxy",
            "exp": int(time.time()) + 600,
            "email": AGENT,
            "email_verified": True,
        }
        jwt = self.write("jwt", sign(claims))
        self.agent(proxy, "a", origin, "--token-file", jwt).waitReady()
        self.assertServes(proxy, "a")
        self.assertRefused(self.agent(proxy, "b", origin, "--token-file", jwt))
        forged = self.write("forged", sign({**claims, "aud": "another"}))
        self.assertRefused(self.agent(proxy, "a", origin, "--token-file", forged))

    def test_certificates(self) -> None:
        """
        An agent that has a certificate of the authority serves the backend whose C{backendUser} it names; one with a
        token may use the same endpoint without; one with a certificate of another authority is not even heard.
        """
        authority, another = trustme.CA(), trustme.CA()
        served = authority.issue_cert("localhost")
        key = self.write("server.key", served.private_key_pem.bytes())
        cert = self.write("server.pem", served.cert_chain_pems[0].bytes())
        trusted = self.write("ca.pem", authority.cert_pem.bytes())
        proxy = self.proxy(
            "--agent-listen",
            f"ssl:0:privateKey={key}:certKey={cert}:interface=127.0.0.1",
            "--agent-client-ca",
            trusted,
        )
        proxy.agents = proxy.agents.replace("127.0.0.1", "localhost")
        for id, user in (("a", AGENT), ("b", "other@example.com")):
            proxy.addBackend(id, user)
        origin = self.origin("a", "b")

        def options(issuer: trustme.CA, name: str) -> list[str]:
            leaf = issuer.issue_cert(name)
            pem = leaf.private_key_and_cert_chain_pem.bytes()
            return ["--proxy-ca", trusted, "--client-cert", self.write(name, pem)]

        for carrier in ("tunnel", "poll"):
            mine = options(authority, AGENT)
            agent = self.agent(proxy, "a", origin, *mine, "--transport", carrier)
            agent.waitReady()
            self.assertServes(proxy, "a")
            agent.terminate()
            self.assertEqual(agent.waitEnd(), 0)
        self.assertRefused(self.agent(proxy, "b", origin, *options(authority, AGENT)))
        self.assertRefused(self.agent(proxy, "a", origin, *options(authority, "x@example.com")))
        strange = self.agent(proxy, "a", origin, *options(another, AGENT))
        strange.waitFor("not reached")
        self.assertEqual(strange.count("agent ready"), 0)
        token = self.write("token", proxy.mint("b", "one"))
        self.agent(proxy, "b", origin, "--proxy-ca", trusted, "--token-file", token).waitReady()
        self.assertServes(proxy, "b")
        # The public endpoint knows no agents now, and asks nobody for certificates.
        context = ssl.create_default_context(cafile=trusted)
        request = urllib.request.Request(
            f"{proxy.agents}/agent/request", headers={"X-Inverting-Proxy-Backend-ID": "a"}
        )
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=DEADLINE, context=context)
        self.assertEqual(caught.exception.code, 401)
        caught.exception.close()
        self.assertEqual(proxy.get("/agent/request")[0], 404)

    def test_bruteForce(self) -> None:
        """
        Who guesses gets 429, while good agents of the same machine are served.
        """
        proxy = self.proxy()
        proxy.addBackend("a")
        origin = self.origin("a")
        token = self.write("token", proxy.mint("a", "one"))
        self.agent(proxy, "a", origin, "--token-file", token).waitReady()

        def guess() -> int:
            request = urllib.request.Request(
                f"{proxy.url}/agent/request",
                headers={"X-Inverting-Proxy-Backend-ID": "a", "Authorization": "Bearer x"},
            )
            try:
                with urllib.request.urlopen(request, timeout=DEADLINE) as response:
                    return int(response.status)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        self.assertEqual([guess() for _ in range(12)], [401] * 10 + [429] * 2)
        self.assertServes(proxy, "a")
        proxy.waitFor("127.0.0.1 failed to authenticate 10 times")
        eventually(lambda: guess() == 429, "still refused")
