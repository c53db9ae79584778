"""
The public keys of an issuer (RFC 7517), by which its signatures are verified.

They are fetched once, and again when a signature names a key that is not known, though not all the time: so new keys
are known at once, and nobody makes us ask for them without end. Keys that were fetched go on while the issuer is not to
be reached.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import frozen
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from invproxy.auth.fetching import Fetch, FetchError, isSafe
from invproxy.errors import ISSUER_UNAVAILABLE, Fault

_log = Logger(namespace="invproxy.auth")

PublicKey = RSAKey | ECKey | OKPKey

ALGORITHMS = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""
The algorithms that count, each with the type and curve of its keys (RFC 7518, section 3; RFC 8037; RFC 9864). All are
of public keys: with C{none} there is no signature, and the key of an HMAC would have to be secret, which these are not.
"""

_LEAST_BITS = 2048
"""Of an RSA key (RFC 7518, section 3.3)."""

_MOST_KEYS = 100

_ASK_AGAIN = 30.0
"""Seconds after which an unknown key, or a failure, may have us ask again."""

_REFRESH = 3600.0
"""Seconds after which keys are asked for again though all are known, so that one that was withdrawn is forgotten."""


@frozen
class _Known:
    """
    @ivar key: the key.
    @ivar kid: what the issuer calls it, or L{None}.
    @ivar kind: its type.
    @ivar curve: its curve, or C{""}.
    @ivar alg: the only algorithm that it is for, or L{None}.
    """

    key: PublicKey
    kid: object
    kind: str
    curve: str
    alg: object

    def fits(self, kid: object, alg: str) -> bool:
        """
        Say whether a signature that names a key and an algorithm may be by this one.
        """
        if (self.kind, self.curve) != ALGORITHMS[alg] or self.alg not in (None, alg):
            return False
        return kid is None or self.kid is None or self.kid == kid


def parseKeys(document: bytes) -> Sequence[_Known]:
    """
    Read a set of keys; those that are not for signatures, or not public, are passed over.

    @raise ValueError: if it is none; the text says why.
    """
    found = []
    keys = _objectOf(document).get("keys")
    if not isinstance(keys, list):
        raise ValueError('it has no array "keys"')
    for each in keys[:_MOST_KEYS]:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        kind = str(each.get("kty"))
        curve = str(each.get("crv", "")) if kind != "RSA" else ""
        if (kind, curve) not in ALGORITHMS.values():
            continue
        try:
            key = JWKRegistry.import_key(_publicPart(each))
            if not isinstance(key, RSAKey | ECKey | OKPKey):
                continue
            if isinstance(key, RSAKey) and key.public_key.key_size < _LEAST_BITS:
                continue
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        found.append(_Known(key, each.get("kid"), kind, curve, each.get("alg")))
    return found


def _publicPart(key: dict[str, Any]) -> dict[str, Any]:
    return {name: key[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in key}


def _objectOf(document: bytes) -> dict[str, Any]:
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


class Keys:
    """
    The keys of one issuer.

    @ivar generation: counts how many times they were found changed.
    """

    def __init__(
        self,
        clock: IReactorTime,
        fetch: Fetch,
        *,
        issuer: str | None = None,
        jwks: str | None = None,
    ) -> None:
        """
        @param clock: what tells the time.
        @param fetch: gets documents.
        @param issuer: the issuer's URL; it says by OpenID Connect Discovery where the keys are.
        @param jwks: where the keys are, a URL or the path of a file; then the issuer is not asked.
        """
        self.generation = 0
        self._clock = clock
        self._fetch = fetch
        self._issuer = issuer
        self._where = jwks
        self._keys: Sequence[_Known] | None = None
        self._thumbprints: frozenset[str] = frozenset()
        self._document = b""
        self._askedAt: float | None = None
        self._fetchedAt = float("-inf")
        self._problem = ""
        self._isFetching = False
        self._waiting: list[Deferred[None]] = []

    def start(self) -> None:
        """
        Fetch them, so that the first agent need not wait, and a wrong address shows at once.
        """
        self._ask()

    def find(self, kid: object, alg: str) -> Sequence[PublicKey] | Deferred[Sequence[PublicKey]]:
        """
        Find the keys by which a signature may have been made.

        @param kid: what it calls its key, or L{None}.
        @param alg: its algorithm, one of L{ALGORITHMS}.
        @return: the keys, perhaps later; none if there is no such key.
        @raise Fault: (issuer-unavailable) if they cannot be had; a Deferred fails with it.
        """
        self.refresh()
        found = self._matching(kid, alg)
        if found:
            return found
        if not self._ask():
            return self._settled(kid, alg)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting.addCallback(lambda _: self._settled(kid, alg))

    def refresh(self) -> None:
        """
        Ask for them again if they are old, so that what the issuer has withdrawn is forgotten. Nobody waits for that.
        """
        if self._clock.seconds() - self._fetchedAt > _REFRESH:
            self._ask()

    def has(self, thumbprint: str) -> bool:
        """
        Say whether the issuer still has a key.

        @param thumbprint: that of the key (RFC 7638).
        """
        return thumbprint in self._thumbprints

    def _matching(self, kid: object, alg: str) -> Sequence[PublicKey]:
        return [known.key for known in self._keys or () if known.fits(kid, alg)]

    def _settled(self, kid: object, alg: str) -> Sequence[PublicKey]:
        found = self._matching(kid, alg)
        if not found and (not self._keys or self._problem):
            raise Fault(ISSUER_UNAVAILABLE)
        return found

    def _ask(self) -> bool:
        """
        Fetch them, if that was not done just now.

        @return: whether they are being fetched.
        """
        now = self._clock.seconds()
        if self._isFetching:
            return True
        if self._askedAt is not None and now - self._askedAt < _ASK_AGAIN:
            return False
        self._askedAt = now
        self._isFetching = True
        fetching = Deferred.fromCoroutine(self._fetchAll())
        fetching.addCallback(self._fetched).addErrback(self._failed).addBoth(self._finished)
        return self._isFetching

    async def _fetchAll(self) -> bytes:
        where = self._where
        if where is None:
            assert self._issuer is not None
            base = self._issuer.rstrip("/")
            document = _objectOf(await self._fetch(f"{base}/.well-known/openid-configuration"))
            if document.get("issuer") != self._issuer:
                raise ValueError("it is the configuration of another issuer")
            where = document.get("jwks_uri")
            if not isinstance(where, str) or not isSafe(where):
                raise ValueError('its configuration has no "jwks_uri" that begins with https://')
        if "://" in where:
            return await self._fetch(where)
        return await maybeDeferred(_readFile, where)

    def _fetched(self, document: bytes) -> None:
        if document != self._document:
            self._keys = parseKeys(document)
            self._thumbprints = frozenset(known.key.thumbprint() for known in self._keys)
            self._document = document
            self.generation += 1
        if not self._keys:
            # An issuer that has withdrawn all of them means that; those known before are forgotten.
            raise ValueError("it has no key that can be used")
        self._fetchedAt = self._clock.seconds()
        if self._problem:
            _log.info("keys of {issuer} fetched after all", issuer=self._name())
        self._problem = ""

    def _failed(self, failure: Failure) -> None:
        if failure.check(FetchError, ValueError, OSError) is None:
            _log.failure("keys of {issuer} could not be fetched", failure, issuer=self._name())
        problem = getattr(failure.value, "strerror", None) or str(failure.value)
        if problem != self._problem:
            _log.warn(
                "keys of {issuer} cannot be fetched: {why}; {then}",
                issuer=self._name(),
                why=problem,
                then="those known go on"
                if self._keys
                else "agents that come with a JWT get 503 until they can",
            )
        self._problem = problem

    def _finished(self, _: None) -> None:
        self._isFetching = False
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            if not deferred.called:  # else whoever waited has left
                deferred.callback(None)

    def _name(self) -> str:
        return self._issuer or self._where or ""


def _readFile(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(1 << 20)
