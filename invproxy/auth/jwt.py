"""
JWTs of agents (RFC 7519): whom they name, if they are by an issuer that is trusted, for us, and of now.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from attrs import evolve, frozen
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jws import JWSRegistry, deserialize_compact, extract_compact
from joserfc.jwt import JWTClaimsRegistry
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from invproxy.auth.agents import unauthenticated
from invproxy.auth.identity import Identity, IVerifier
from invproxy.auth.keys import ALGORITHMS, Keys, PublicKey
from invproxy.errors import Fault
from invproxy.tables import Table

SKEW = 60.0
"""Seconds by which the clocks of issuers may be off."""

_MOST_RECALLED = 10000
"""Tokens that are remembered as verified."""

_LONGEST = 24 * 3600.0
"""
Seconds for which a token counts, and what it has opened lasts, without another look at whether its issuer still has the
key.
"""

_LATEST = 1 << 40
"""Seconds since the epoch beyond which no time is taken at its word, as it may be more than a float holds."""

_MOST_TRIED = 8
"""Keys by which a signature that names none may have been made."""


class _Headers(JWSRegistry):
    """
    What the header of a token may have: whatever issuers add, in more than the 512 bytes that are allowed by default.
    """

    max_header_length = 4096


_HEADERS = _Headers(algorithms=list(ALGORITHMS), strict_check_header=False)


@frozen
class _Verified:
    """
    A token that was verified.

    @ivar identity: whom it names, for as long as that counts without a look at the keys.
    @ivar expires: until when it is valid.
    @ivar thumbprint: that of the key which signed it.
    @ivar generation: that of the keys when it was looked for last.
    @ivar renewAt: when to look for it again in any case.
    """

    identity: Identity
    expires: float
    thumbprint: str
    generation: int = 0
    renewAt: float = 0.0


@implementer(IVerifier)
class JWTVerifier:
    """
    Understands the JWTs of one issuer.
    """

    def __init__(
        self,
        clock: IReactorTime,
        keys: Keys,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        claim: str = "email",
        mostRecalled: int = _MOST_RECALLED,
    ) -> None:
        """
        @param clock: what tells the time.
        @param keys: the keys of the issuer.
        @param issuer: what C{iss} must be, or L{None} for anything.
        @param audience: what C{aud} must be or have, or L{None} for anything: then a token that was made for somebody
            else will do, and that somebody has it.
        @param claim: which claim names the agent; of C{email} must be said that it is verified.
        @param mostRecalled: how many tokens are remembered as verified.
        """
        self._clock = clock
        self._keys = keys
        self._claim = claim
        self._mostRecalled = mostRecalled
        self._verified: dict[bytes, _Verified] = {}
        options: dict[str, Any] = {"exp": {"essential": True}}
        if issuer is not None:
            options["iss"] = {"essential": True, "value": issuer}
        if audience is not None:
            options["aud"] = {"essential": True, "value": audience}
        self._claims = JWTClaimsRegistry(
            now=lambda: int(clock.seconds()), leeway=int(SKEW), **options
        )

    def start(self) -> None:
        self._keys.start()

    def tables(self) -> list[Table]:
        """
        Tell how many tokens are remembered as verified.
        """
        return [Table("jwts", len(self._verified), self._mostRecalled, True)]

    def recall(self, digest: bytes) -> Identity | None:
        verified = self._verified.get(digest)
        if verified is None:
            return None
        keys = self._keys
        keys.refresh()
        now = self._clock.seconds()
        if verified.generation != keys.generation or now >= verified.renewAt:
            if not keys.has(verified.thumbprint):
                del self._verified[digest]
                return None
            # The signature is as good as it was.
            verified = self._verified[digest] = self._counted(verified)
        identity = verified.identity
        assert identity.expires is not None
        if identity.expires <= now:
            del self._verified[digest]
            return None
        return identity

    def _counted(self, verified: _Verified) -> _Verified:
        """
        Say until when a token counts whose key is known at this time.
        """
        now = self._clock.seconds()
        return evolve(
            verified,
            identity=evolve(verified.identity, expires=min(verified.expires, now + _LONGEST)),
            generation=self._keys.generation,
            renewAt=now + _LONGEST / 2,
        )

    def verify(self, text: bytes, digest: bytes) -> Identity | Deferred[Identity]:
        kid, alg = self._readHeader(text)
        keys = self._keys.find(kid, alg)
        if isinstance(keys, Deferred):
            return keys.addCallback(partial(self._verify, text, digest))
        return self._verify(text, digest, keys)

    def _readHeader(self, text: bytes) -> tuple[object, str]:
        try:
            header = extract_compact(text, registry=_HEADERS).headers()
        except (JoseError, ValueError, TypeError, RecursionError):
            raise unauthenticated("the JWT is malformed") from None
        alg = header.get("alg")
        if not isinstance(alg, str) or alg not in ALGORITHMS:
            raise unauthenticated("the JWT is not signed by an algorithm that counts here")
        if "crit" in header or "b64" in header:
            raise unauthenticated("the JWT asks for what is not understood here")
        return header.get("kid"), alg

    def _verify(self, text: bytes, digest: bytes, keys: Sequence[PublicKey]) -> Identity:
        if not keys:
            raise unauthenticated("the JWT is signed by a key that its issuer does not have")
        for key in keys[:_MOST_TRIED]:
            try:
                payload = deserialize_compact(text, key, registry=_HEADERS).payload
            except (JoseError, ValueError, TypeError):
                continue
            break
        else:
            raise unauthenticated("the JWT's signature is wrong")
        identity = self._read(payload)
        assert identity.expires is not None
        verified = self._counted(_Verified(identity, identity.expires, key.thumbprint()))
        if len(self._verified) >= self._mostRecalled:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = verified
        return verified.identity

    def _read(self, payload: bytes) -> Identity:
        try:
            claims = json.loads(payload)
        except (ValueError, RecursionError):
            claims = None
        if not isinstance(claims, dict):
            raise unauthenticated("the JWT has no claims")
        try:
            self._claims.validate(claims)
        except ExpiredTokenError:
            raise unauthenticated("the JWT has expired") from None
        except MissingClaimError:
            raise unauthenticated("the JWT lacks one of exp, iss and aud") from None
        except InvalidClaimError as error:
            raise self._wrongClaim(error) from None
        name = claims.get(self._claim)
        if not isinstance(name, str) or not name:
            raise unauthenticated(f"the JWT has no claim {self._claim}")
        if self._claim == "email" and claims.get("email_verified") is not True:
            raise unauthenticated("the JWT's email is not verified")
        return Identity(name, float(min(claims["exp"], _LATEST)) + SKEW)

    def _wrongClaim(self, error: InvalidClaimError) -> Fault:
        whys = {
            "iss": "the JWT is by another issuer",
            "aud": "the JWT is for another audience",
            "nbf": "the JWT is not valid yet",
            "iat": "the JWT was issued in the future",
        }
        return unauthenticated(whys.get(error.claim, "the JWT has a wrong claim"))
