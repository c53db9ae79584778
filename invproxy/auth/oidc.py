"""
Signing in with an OpenID provider (OpenID Connect Core 1.0): the authorization code flow, with PKCE (RFC 7636), as the
provider sees it from here. Browsers are elsewhere, in L{invproxy.proxy.signin}.

What the provider says of itself is fetched when the first person signs in, so that the proxy starts without it. While
it is not to be reached nobody can sign in; who has, stays so.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, urlsplit

from attrs import frozen
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, deserialize_compact, extract_compact
from oauthlib.oauth2 import WebApplicationClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from invproxy.auth.attempts import Attempt
from invproxy.auth.fetching import Fetcher, FetchError, isSafe
from invproxy.auth.keys import ALGORITHMS, Keys
from invproxy.auth.oidc_settings import OIDCSettings
from invproxy.auth.visitors import cleanUser
from invproxy.errors import ISSUER_UNAVAILABLE, SIGN_IN_FAILED, Fault
from invproxy.steady import wallOf

_log = Logger(namespace="invproxy.auth")

_REFRESH = 3600.0
"""Seconds for which is believed what a provider says of itself."""

_ASK_AGAIN = 5.0
"""Seconds after a failure within which it is not asked again."""

_SKEW = 60.0
"""Seconds by which its clock may be off."""

_LATEST = 1 << 40
"""Seconds since the epoch beyond which no time is taken at its word."""

_MOST_TRIED = 8
"""Keys by which a signature that names none may have been made."""

_BASIC = "client_secret_basic"
_POST = "client_secret_post"

_SCOPES = {"sub": "openid", "email": "openid email"}

_HEADERS = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)


@frozen
class _Metadata:
    """
    What a provider says of itself.
    """

    issuer: str
    authorization: str
    token: str
    userinfo: str | None
    methods: tuple[str, ...]


class Provider:
    """
    An OpenID provider.
    """

    def __init__(self, clock: IReactorTime, fetcher: Fetcher, settings: OIDCSettings) -> None:
        """
        @param clock: what tells the time.
        @param fetcher: sends requests.
        @param settings: which provider.
        """
        self._clock = clock
        self._wall = wallOf(clock)
        self._fetcher = fetcher
        self._settings = settings
        self._isFetching = False
        self._waiting: set[Deferred[None]] = set()
        self._metadata: _Metadata | None = None
        self._keys: Keys | None = None
        self._fetchedAt = self._failedAt = float("-inf")
        self._problem = ""

    async def authorizationURL(self, attempt: Attempt, state: str) -> str:
        """
        Make the URL at the provider where a browser goes to sign in.

        @param attempt: the attempt that this begins.
        @param state: the attempt, sealed.
        @raise Fault: (issuer-unavailable) if the provider is not to be reached.
        """
        metadata = await self._find()
        client = WebApplicationClient(self._settings.clientID)
        # oauthlib takes no http: for the provider, not even on this machine; L{isSafe} has seen to that.
        made = client.prepare_request_uri(
            "https://provider.invalid/",
            redirect_uri=attempt.redirectURI,
            scope=_SCOPES.get(self._settings.userClaim, "openid email profile"),
            state=state,
            code_challenge=client.create_code_challenge(attempt.verifier, "S256"),
            code_challenge_method="S256",
            nonce=attempt.nonce,
        )
        joint = "&" if "?" in metadata.authorization else "?"
        return f"{metadata.authorization}{joint}{urlsplit(made).query}"

    async def userOf(self, attempt: Attempt, code: str, issuer: str | None = None) -> str:
        """
        Find out who has signed in.

        @param attempt: the attempt that this completes.
        @param code: the code that the browser brings from the provider.
        @param issuer: who the browser says it comes from (RFC 9207), if it does.
        @return: the name of the end user.
        @raise Fault: sign-in-failed, or issuer-unavailable.
        """
        metadata = await self._find()
        if issuer is not None and issuer != metadata.issuer:
            raise Fault(SIGN_IN_FAILED, "The answer is by another provider.")
        answer = await self._redeem(metadata, attempt, code)
        text = answer.get("id_token")
        if not isinstance(text, str):
            raise self._fault("the provider gave no ID token")
        claims = await self._verify(metadata, text, attempt.nonce)
        name = self._settings.userClaim
        access = answer.get("access_token")
        if name not in claims and metadata.userinfo is not None and isinstance(access, str):
            claims = await self._ask(metadata, access, claims["sub"])
        user = cleanUser(claims.get(name))
        if user is None:
            raise self._fault(f"the provider gave no usable claim {name}")
        if name == "email" and claims.get("email_verified") is not True:
            raise Fault(SIGN_IN_FAILED, "The provider has not verified your email address.")
        return user

    # What the provider says of itself.

    async def _find(self) -> _Metadata:
        if self._metadata is None or self._clock.seconds() - self._fetchedAt > _REFRESH:
            await self._refreshed()
        if self._metadata is None:
            raise Fault(ISSUER_UNAVAILABLE)
        return self._metadata

    def _refreshed(self) -> Deferred[None]:
        """
        Fetch it, unless that failed just now. All who ask meanwhile wait for the same fetch, which goes on when any of
        them leaves.
        """
        now = self._clock.seconds()
        if not self._isFetching and now - self._failedAt < _ASK_AGAIN:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._waiting.discard)
        self._waiting.add(waiting)
        if not self._isFetching:
            self._isFetching = True
            fetching = Deferred.fromCoroutine(self._fetch())
            fetching.addErrback(self._broken).addCallback(self._fetched)
        return waiting

    async def _fetch(self) -> None:
        base = self._settings.issuer.removesuffix("/")
        try:
            found = await self._send("GET", f"{base}/.well-known/openid-configuration")
            self._metadata = self._read(found)
        except FetchError as error:
            self._failedAt = self._clock.seconds()
            if str(error) != self._problem:
                _log.error(
                    "nobody can sign in, as {issuer} cannot be asked: {why}",
                    issuer=self._settings.issuer,
                    why=str(error),
                )
            self._problem = str(error)
            return
        self._fetchedAt = self._clock.seconds()
        if self._problem:
            _log.info("{issuer} can be asked after all", issuer=self._settings.issuer)
        self._problem = ""

    def _broken(self, failure: Failure) -> None:
        self._failedAt = self._clock.seconds()
        _log.failure("{issuer} could not be asked", failure, issuer=self._settings.issuer)

    def _fetched(self, _: None) -> None:
        self._isFetching = False
        waiting, self._waiting = self._waiting, set()
        while waiting:
            waiting.pop().callback(None)

    def _read(self, document: Mapping[str, Any]) -> _Metadata:
        issuer = document.get("issuer")
        # People leave the slash at the end out that some issuers have.
        if not isinstance(issuer, str) or _bare(issuer) != _bare(self._settings.issuer):
            raise FetchError("what is there is the configuration of another issuer")
        urls: dict[str, str] = {}
        for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint"):
            url = document.get(name)
            if url is None and name == "userinfo_endpoint":
                continue
            if not isinstance(url, str) or not isSafe(url):
                raise FetchError(f"its {name} is not a URL that begins with https://")
            urls[name] = url
        methods = document.get("token_endpoint_auth_methods_supported")
        if self._keys is None:
            self._keys = Keys(self._clock, self._fetcher, issuer=issuer)
        return _Metadata(
            issuer,
            urls["authorization_endpoint"],
            urls["token_endpoint"],
            urls.get("userinfo_endpoint"),
            tuple(map(str, methods)) if isinstance(methods, list) else (_BASIC,),
        )

    # What it says of who signs in.

    async def _redeem(self, metadata: _Metadata, attempt: Attempt, code: str) -> Mapping[str, Any]:
        """
        Exchange a code for tokens (OpenID Connect Core 1.0, section 3.1.3).
        """
        settings = self._settings
        fields = {"Content-Type": "application/x-www-form-urlencoded"}
        more = {}
        isBasic = settings.secret is not None and (
            _BASIC in metadata.methods or _POST not in metadata.methods
        )
        if isBasic:
            pair = f"{quote_plus(settings.clientID)}:{quote_plus(settings.secret or '')}"
            fields["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
        elif settings.secret is not None:
            more["client_secret"] = settings.secret
        body = WebApplicationClient(settings.clientID).prepare_request_body(
            code=code,
            redirect_uri=attempt.redirectURI,
            include_client_id=not isBasic,
            code_verifier=attempt.verifier,
            **more,
        )
        return await self._trySend("POST", metadata.token, fields, body.encode())

    async def _verify(self, metadata: _Metadata, text: str, nonce: str) -> Mapping[str, Any]:
        """
        Read an ID token (section 3.1.3.7).
        """
        assert self._keys is not None
        try:
            header = extract_compact(text.encode("ascii"), registry=_HEADERS).headers()
        except (JoseError, ValueError, TypeError, RecursionError):
            raise self._fault("the ID token is malformed") from None
        alg = header.get("alg")
        if not isinstance(alg, str) or alg not in ALGORITHMS or "crit" in header:
            raise self._fault("the ID token is not signed by an algorithm that counts here")
        found = self._keys.find(header.get("kid"), alg)
        keys = await found if isinstance(found, Deferred) else found
        payload = b""
        for key in keys[:_MOST_TRIED]:
            try:
                payload = deserialize_compact(text.encode("ascii"), key, registry=_HEADERS).payload
            except (JoseError, ValueError, TypeError):
                continue
            break
        try:
            claims = json.loads(payload)
        except (ValueError, RecursionError):
            raise self._fault("the signature of the ID token is wrong") from None
        why = self._objection(claims, metadata, nonce)
        if why:
            raise self._fault(why)
        assert isinstance(claims, dict)
        return claims

    def _objection(self, claims: object, metadata: _Metadata, nonce: str) -> str:
        """
        Say what is wrong with the claims of an ID token, if anything is.
        """
        if not isinstance(claims, dict):
            return "the ID token has no claims"
        client = self._settings.clientID
        if claims.get("iss") != metadata.issuer:
            return "the ID token is by another issuer"
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if client not in audiences:
            return "the ID token is for somebody else"
        party = claims.get("azp")
        if party != client and (party is not None or len(audiences) > 1):
            return "the ID token was given to somebody else"
        if not isinstance(claims.get("sub"), str):
            return "the ID token names nobody"
        now = self._wall()
        times: dict[str, Any] = {}
        for name in ("exp", "iat", "nbf"):
            time = claims.get(name, None if name == "exp" else now)
            if (type(time) is not int and type(time) is not float) or not abs(time) < _LATEST:
                return "the ID token has a wrong time"
            times[name] = time
        if times["exp"] + _SKEW <= now:
            return "the ID token has expired"
        if max(times["iat"], times["nbf"]) - _SKEW > now:
            return "the ID token is not valid yet"
        given = claims.get("nonce")
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
            return "the ID token was made for another attempt to sign in"
        return ""

    async def _ask(self, metadata: _Metadata, access: str, subject: str) -> Mapping[str, Any]:
        """
        Get further claims (section 5.3).
        """
        assert metadata.userinfo is not None
        fields = {"Authorization": f"Bearer {access}"}
        claims = await self._trySend("GET", metadata.userinfo, fields)
        if claims.get("sub") != subject:
            raise self._fault("its user info is about somebody else")
        return claims

    async def _trySend(
        self, method: str, url: str, fields: Mapping[str, str], body: bytes | None = None
    ) -> Mapping[str, Any]:
        try:
            return await self._send(method, url, fields, body)
        except FetchError as error:
            _log.error(
                "sign-in: {issuer} cannot be asked: {why}",
                issuer=self._settings.issuer,
                why=str(error),
            )
            raise Fault(ISSUER_UNAVAILABLE) from None

    async def _send(
        self,
        method: str,
        url: str,
        fields: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Mapping[str, Any]:
        """
        Ask the provider.

        @return: what it answers.
        @raise FetchError: if it does not, or makes no sense.
        @raise Fault: (sign-in-failed) if it refuses.
        """
        status, content = await self._fetcher.send(method, url, fields or {}, body)
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if 400 <= status < 500 and body is not None:
            raise self._fault(f"the provider refuses the code: {status} {_errorOf(answer)}")
        if status != 200:
            raise FetchError(f"it answered {status}")
        if not isinstance(answer, dict):
            raise FetchError("its answer is not a JSON object")
        return answer

    def _fault(self, why: str) -> Fault:
        """
        Log what is wrong, which tells the person who signs in nothing.
        """
        _log.warn("sign-in: {why} ({issuer})", why=why, issuer=self._settings.issuer)
        return Fault(SIGN_IN_FAILED, "The log of the proxy says why.")


def _bare(issuer: str) -> str:
    return issuer.removesuffix("/")


def _errorOf(answer: object) -> str:
    """
    The error code in a refusal (RFC 6749, section 5.2).
    """
    error = answer.get("error") if isinstance(answer, dict) else None
    return error[:60] if isinstance(error, str) and error.isprintable() else ""
