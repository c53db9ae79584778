"""
A proxy with a registry on a network in memory, and agents that write their credentials by hand.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry
from twisted.internet.defer import Deferred, fail, succeed

from invproxy.auth.fetching import FetchError
from invproxy.auth.jwt import JWTVerifier
from invproxy.auth.keys import ALGORITHMS, Keys
from invproxy.proxy.access import AgentAccess
from invproxy.proxy.root import ProxyResource
from invproxy.proxy.settings import ProxySettings
from invproxy.registry.memory import MemoryStore
from invproxy.registry.records import parseBackend
from invproxy.registry.registry import Registry
from invproxy.test.rawcalls import HANDSHAKE, AgentTunnel, Bench, Call

ISSUER = "https://issuer.example"
AUDIENCE = "https://proxy.example"

T = TypeVar("T")

RSA = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "two", "use": "sig", "alg": "ES256"})
STRANGE = RSAKey.generate_key(2048, {"kid": "one"})
"""A key that calls itself as one of the issuer's."""

_ANY = JWSRegistry(
    algorithms=[*ALGORITHMS, "HS256", "none"],
    strict_check_header=False,
)


def keySet(*keys: RSAKey | ECKey) -> bytes:
    """
    Write what an issuer publishes.
    """
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


def sign(claims: dict[str, Any], key: Any = RSA, alg: str = "RS256", **header: Any) -> bytes:
    """
    Make a JWT.
    """
    fields = {"alg": alg, "kid": getattr(key, "kid", None) or "one", **header}
    named = {name: value for name, value in fields.items() if value is not None}
    return jwt.encode(named, claims, key, registry=_ANY).encode("ascii")


class Documents:
    """
    What can be fetched.

    @ivar documents: by URL.
    @ivar asked: URLs that were asked for.
    @ivar later: when this is a list, answers wait in it.
    """

    def __init__(self) -> None:
        self.documents = {
            f"{ISSUER}/.well-known/openid-configuration": json.dumps(
                {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
            ).encode(),
            f"{ISSUER}/keys": keySet(RSA, EC),
        }
        self.asked: list[str] = []
        self.later: list[tuple[Deferred[bytes], str]] | None = None

    def __call__(self, url: str) -> Deferred[bytes]:
        self.asked.append(url)
        if self.later is not None:
            waiting: Deferred[bytes] = Deferred()
            self.later.append((waiting, url))
            return waiting
        return self._answer(url)

    def _answer(self, url: str) -> Deferred[bytes]:
        if url not in self.documents:
            return fail(FetchError("it answered 404"))
        return succeed(self.documents[url])

    def release(self) -> None:
        """
        Answer what waits, and what is asked from now on.
        """
        waiting, self.later = self.later or [], None
        for deferred, url in waiting:
            if not deferred.called:
                self._answer(url).chainDeferred(deferred)


def certificate(
    common: str | None = None,
    *names: x509.GeneralName,
    now: float,
    lasts: float = 3600.0,
) -> x509.Certificate:
    """
    Make the certificate of an agent, as TLS has verified it.

    @param common: its common name.
    @param names: its alternative names.
    @param lasts: for how many seconds it is valid.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [] if common is None else [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    end = datetime.fromtimestamp(now + lasts, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(end - timedelta(days=365))
        .not_valid_after(end)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


def bearer(token: bytes | str) -> bytes:
    """
    The line of a bearer token.
    """
    text = token.encode("ascii") if isinstance(token, str) else token
    return b"Authorization: Bearer %b\r\n" % text


class AccessBench(Bench):
    """
    A proxy that lets in agents by a registry, and clients by open mode.

    @ivar store: where its records last.
    @ivar registry: the registry, with the backends C{web} and C{other}.
    @ivar documents: what the issuer publishes.
    @ivar access: what lets agents in.
    """

    def makeProxy(self, settings: ProxySettings) -> ProxyResource:
        self.store = MemoryStore()
        self.registry = Registry(self.store, self.network)
        self.documents = Documents()
        keys = Keys(self.network, self.documents, issuer=ISSUER)
        verifier = JWTVerifier(self.network, keys, issuer=ISSUER, audience=AUDIENCE)
        self.access = AgentAccess(
            self.network, self.registry, settings, verifier=verifier, takesCertificates=True
        )
        proxy = ProxyResource(self.network, settings, guard=self.access.guard)
        self.network.resultOf(self.access.start(proxy.mailboxes))
        self.addBackend("web")
        self.addBackend("other", "other-agent@example.com")
        return proxy

    @property
    def now(self) -> float:
        """
        The time.
        """
        return self.network.seconds()

    def do(self, change: Coroutine[Any, Any, T]) -> T:
        """
        Make a change of the registry.
        """
        return self.network.resultOf(Deferred.fromCoroutine(change))

    def addBackend(self, id: str, backendUser: str = "agent@example.com") -> None:
        """
        Register a backend, or change whose it is.
        """
        record = {
            "id": id,
            "endUser": "allUsers",
            "backendUser": backendUser,
            "pathPrefixes": ["/"],
        }
        self.do(self.registry.put(parseBackend(record)))

    def mint(self, backend: str = "web", name: str = "one", expires: float | None = None) -> str:
        """
        Make a token.
        """
        return self.do(self.registry.mintToken(backend, name, expires))[1]

    def claims(self, **others: Any) -> dict[str, Any]:
        """
        The claims of a JWT that is good for C{web}.

        @param others: those that are otherwise; L{None} leaves one out.
        """
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "1234",
            "email": "agent@example.com",
            "email_verified": True,
            "iat": int(self.now) - 10,
            "exp": int(self.now) + 3600,
            **others,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def agentCall(
        self,
        path: bytes,
        credentials: bytes = b"",
        *,
        backend: bytes = b"web",
        address: str | None = None,
    ) -> Call:
        """
        Make one of the four calls.

        @param credentials: lines.
        """
        method = b"POST" if path == b"response" else b"GET"
        lines = {
            b"pending": b"",
            b"request": b"X-Inverting-Proxy-Request-ID: %b\r\n" % (b"0" * 32),
            b"response": b"X-Inverting-Proxy-Request-ID: %b\r\nContent-Length: 0\r\n" % (b"0" * 32),
            b"tunnel": HANDSHAKE,
        }[path]
        head = (
            b"%b /agent/%b HTTP/1.1\r\nHost: proxy.example\r\n"
            b"X-Inverting-Proxy-Backend-ID: %b\r\n%b%b\r\n"
        ) % (method, path, backend, credentials, lines)
        return self.raw(head, address=address, method=method)

    def agentTunnel(self, credentials: bytes, instance: str) -> AgentTunnel:
        """
        Open a tunnel.
        """
        call = self.agentCall(b"tunnel", credentials)
        assert call.status == 101, call.client.received
        tunnel = AgentTunnel(call, self.network)
        tunnel.greet(instance=instance)
        return tunnel

    def stop(self) -> None:
        """
        End it all.
        """
        self.proxy.close()
        self.network.resultOf(self.access.stop())


CALLS = (b"pending", b"request", b"response", b"tunnel")
"""The four calls of agents."""


def admitted(call: Call, path: bytes) -> bool:
    """
    Has this call been let in?
    """
    return (path, call.status) in {
        (b"pending", 0),
        (b"request", 404),
        (b"response", 404),
        (b"tunnel", 101),
    }
