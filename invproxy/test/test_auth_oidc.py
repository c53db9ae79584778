"""
What passes between the proxy and an OpenID provider.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from attrs import evolve
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from joserfc.jws import JWSRegistry
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from invproxy.auth.attempts import Attempt, Attempts
from invproxy.auth.fetching import FetchError
from invproxy.auth.keys import ALGORITHMS
from invproxy.auth.oidc import Provider
from invproxy.auth.oidc_settings import OIDCSettings
from invproxy.errors import Fault

ISSUER = "https://provider.example"
CALLBACK = "https://proxy.example/.invproxy/callback"
SETTINGS = OIDCSettings(ISSUER, "the proxy", "s:cret&")
ALICE = "alice@example.com"

RSA = RSAKey.generate_key(2048, {"kid": "one"})
EC = ECKey.generate_key("P-256", {"kid": "two"})
STRANGE = RSAKey.generate_key(2048, {"kid": "one"})

_ANY = JWSRegistry(algorithms=[*ALGORITHMS, "HS256", "none"], strict_check_header=False)


class PlayedProvider:
    """
    An OpenID provider, in place of a fetcher.

    @ivar metadata: what it says of itself.
    @ivar claims: those of its ID tokens; C{nonce} is added if it is not there.
    @ivar header: the header of its ID tokens.
    @ivar key: what signs them.
    @ivar tokens: what else its token endpoint answers; C{None} leaves something out.
    @ivar userinfo: what it says of the user.
    @ivar status: of the answers of the token endpoint.
    @ivar isDown: whether it is not to be reached.
    @ivar asked: what it was asked: method, URL, fields and body.
    @ivar later: while this is a list, answers wait in it.
    """

    def __init__(self, now: float) -> None:
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize?theme=dark",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
            "userinfo_endpoint": f"{ISSUER}/userinfo",
        }
        self.claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": "the proxy",
            "sub": "1",
            "exp": now + 300,
            "iat": now,
            "email": ALICE,
            "email_verified": True,
        }
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "one"}
        self.key: Any = RSA
        self.tokens: dict[str, Any] = {"access_token": "access", "token_type": "Bearer"}
        self.userinfo: Any = {"sub": "1", "email": ALICE, "email_verified": True}
        self.status = 200
        self.isDown = False
        self.nonce = ""
        self.asked: list[tuple[str, str, Mapping[str, str], dict[str, str]]] = []
        self.later: list[Deferred[Any]] | None = None

    def __call__(self, url: str) -> Deferred[bytes]:
        return self.send("GET", url, {}).addCallback(lambda answer: answer[1])

    def send(
        self, method: str, url: str, fields: Mapping[str, str], body: bytes | None = None
    ) -> Deferred[tuple[int, bytes]]:
        """
        Answer a request.
        """
        form = dict(parse_qsl((body or b"").decode()))
        self.asked.append((method, url.removeprefix(ISSUER), fields, form))
        if self.isDown:
            return fail(FetchError("ConnectionRefusedError: refused"))
        answer = self._answer(url.removeprefix(ISSUER))
        if self.later is None:
            return succeed(answer)
        waiting: Deferred[Any] = Deferred()
        self.later.append(waiting)
        return waiting.addCallback(lambda _: answer)

    def _answer(self, path: str) -> tuple[int, bytes]:
        if path == "/.well-known/openid-configuration":
            return 200, json.dumps(self.metadata).encode()
        if path == "/keys":
            keys = [key.as_dict(private=False) for key in (RSA, EC)]
            return 200, json.dumps({"keys": keys}).encode()
        if path == "/userinfo":
            return 200, json.dumps(self.userinfo).encode()
        if path != "/token":
            return 404, b"nothing"
        if self.status != 200:
            return self.status, b'{"error": "invalid_grant"}'
        claims = {"nonce": self.nonce, **self.claims}
        claims = {name: value for name, value in claims.items() if value is not None}
        token = jwt.encode(self.header, claims, self.key, registry=_ANY)
        answer = {"id_token": token, "scope": "openid and more", **self.tokens}
        answer = {name: value for name, value in answer.items() if value is not None}
        return 200, json.dumps(answer).encode()


class ProviderCase(SynchronousTestCase):
    """
    What these tests share.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.played = PlayedProvider(self.clock.seconds())
        self.attempt = Attempts(self.clock).begin("/page", CALLBACK)
        self.played.nonce = self.attempt.nonce
        self.setProvider(SETTINGS)

    def setProvider(self, settings: OIDCSettings) -> None:
        self.provider = Provider(self.clock, self.played, settings)  # type: ignore[arg-type]

    def url(self, attempt: Attempt | None = None) -> str:
        found = self.provider.authorizationURL(attempt or self.attempt, "state")
        return self.outcomeOf(Deferred.fromCoroutine(found))

    def user(self, code: str = "code", issuer: str | None = None) -> str:
        found = self.provider.userOf(self.attempt, code, issuer)
        return self.outcomeOf(Deferred.fromCoroutine(found))

    def outcomeOf(self, deferred: Deferred[str]) -> str:
        outcome: list[str] = []

        def failed(failure: Any) -> str:
            self.fault = failure.value
            failure.trap(Fault)
            return f"!{failure.value.code.name}"

        deferred.addErrback(failed).addCallback(outcome.append)
        return outcome[0] if outcome else "(waits)"

    def assertRefused(self, why: str, code: str = "sign-in-failed") -> None:
        """
        Nobody is signed in; the log says why, the person is told that it does.
        """
        with capturedLogs() as logs:
            self.assertEqual(self.user(), f"!{code}")
        self.assertIn(why, " ".join(str(event.get("why", "")) for event in logs))
        self.assertNotIn("s:cret", repr(logs))
        self.assertNotIn("access", repr([event.get("why") for event in logs]))


class BeginTests(ProviderCase):
    """
    Where browsers are sent.
    """

    def test_url(self) -> None:
        """
        All that the provider needs to know, and no secret: PKCE by S256, the nonce, the state (RFC 6749, section 4.1.1;
        RFC 7636, section 4.3).
        """
        parts = urlsplit(self.url())
        self.assertEqual(f"{parts.scheme}://{parts.netloc}{parts.path}", f"{ISSUER}/authorize")
        digest = hashlib.sha256(self.attempt.verifier.encode()).digest()
        self.assertEqual(
            dict(parse_qsl(parts.query)),
            {
                "theme": "dark",
                "response_type": "code",
                "client_id": "the proxy",
                "redirect_uri": CALLBACK,
                "scope": "openid email",
                "state": "state",
                "nonce": self.attempt.nonce,
                "code_challenge": urlsafe_b64encode(digest).rstrip(b"=").decode(),
                "code_challenge_method": "S256",
            },
        )

    def test_scopes(self) -> None:
        """
        No more is asked for than is needed.
        """
        for claim, scope in (("sub", "openid"), ("preferred_username", "openid email profile")):
            self.setProvider(evolve(SETTINGS, userClaim=claim))
            self.assertEqual(dict(parse_qsl(urlsplit(self.url()).query))["scope"], scope)

    def test_fetched(self) -> None:
        """
        What the provider says of itself is fetched once, however many sign in at once, and again after an hour.
        """
        self.played.later = []
        found = [
            Deferred.fromCoroutine(self.provider.authorizationURL(self.attempt, "state"))
            for _ in range(5)
        ]
        self.assertEqual(len(self.played.asked), 1)
        [waiting] = self.played.later
        self.played.later = None
        waiting.callback(None)
        self.assertEqual(len({self.successResultOf(each) for each in found}), 1)
        self.assertEqual(len(self.played.asked), 1)
        self.clock.advance(3600)
        self.url()
        self.assertEqual(len(self.played.asked), 1)
        self.clock.advance(1)
        self.played.metadata["authorization_endpoint"] = f"{ISSUER}/elsewhere"
        self.assertTrue(self.url().startswith(f"{ISSUER}/elsewhere?"))

    def test_left(self) -> None:
        """
        Somebody who leaves meanwhile spoils nothing for the others, nor for those who come after, even if nobody else
        was there.
        """
        self.played.later = []
        one, two, three = (
            Deferred.fromCoroutine(self.provider.authorizationURL(self.attempt, "state"))
            for _ in range(3)
        )
        for each in (one, two):
            each.cancel()
            self.failureResultOf(each, CancelledError)
        [waiting] = self.played.later
        waiting.callback(None)
        self.assertTrue(self.successResultOf(three).startswith(ISSUER))
        self.setProvider(SETTINGS)
        self.played.later.clear()
        with capturedLogs() as logs:
            for _ in range(3):
                alone = Deferred.fromCoroutine(
                    self.provider.authorizationURL(self.attempt, "state")
                )
                alone.cancel()
                self.failureResultOf(alone, CancelledError)
        self.assertEqual((logs, self.provider._waiting), ([], set()))
        [waiting] = self.played.later
        self.played.later = None
        waiting.callback(None)
        self.assertTrue(self.url().startswith(ISSUER))
        self.assertEqual(len(self.played.asked), 2)

    def test_bug(self) -> None:
        """
        Not even a failure of our own leaves anybody waiting, or is tried all the time.
        """
        self.patch(self.provider, "_read", lambda document: 1 / 0)
        for _ in range(2):
            self.assertEqual(self.url(), "!issuer-unavailable")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_unreachable(self) -> None:
        """
        Without the provider nobody can sign in; the log says so once, and when it is over. It is not asked all the
        time.
        """
        self.played.isDown = True
        with capturedLogs() as logs:
            for _ in range(3):
                self.assertEqual(self.url(), "!issuer-unavailable")
            self.assertEqual(len(self.played.asked), 1)
            self.clock.advance(6)
            self.assertEqual(self.url(), "!issuer-unavailable")
            self.assertEqual(len(self.played.asked), 2)
        [event] = logs
        self.assertIn("refused", event["why"])
        self.played.isDown = False
        self.clock.advance(6)
        self.assertTrue(self.url().startswith(ISSUER))
        # What is known already goes on for as long as it takes.
        self.played.isDown = True
        self.clock.advance(4000)
        self.assertTrue(self.url().startswith(ISSUER))

    def test_metadata(self) -> None:
        """
        Another issuer's configuration, or one with addresses where anybody could listen, is not used.
        """
        for change in (
            {"issuer": "https://evil.example"},
            {"issuer": None},
            {"issuer": f"{ISSUER}/x"},
            {"authorization_endpoint": None},
            {"authorization_endpoint": "http://provider.example/authorize"},
            {"authorization_endpoint": "javascript:alert(1)"},
            {"authorization_endpoint": f"{ISSUER}/\xe9"},
            {"authorization_endpoint": f"{ISSUER}/\r\nSet-Cookie: a=b"},
            {"token_endpoint": ["x"]},
            {"token_endpoint": "http://provider.example/token"},
            {"userinfo_endpoint": "http://provider.example/userinfo"},
        ):
            self.played = PlayedProvider(self.clock.seconds())
            self.played.metadata |= change
            self.setProvider(SETTINGS)
            with capturedLogs():
                self.assertEqual(self.url(), "!issuer-unavailable", change)

    def test_slash(self) -> None:
        """
        The slash at the end that some issuers have may be left out, or be too much.
        """
        self.played.metadata["issuer"] = self.played.claims["iss"] = f"{ISSUER}/"
        self.assertEqual(self.user(), ALICE)
        self.played.metadata["issuer"] = self.played.claims["iss"] = ISSUER
        self.setProvider(evolve(SETTINGS, issuer=f"{ISSUER}/"))
        self.assertEqual(self.user(), ALICE)


class CompleteTests(ProviderCase):
    """
    Who has signed in.
    """

    def test_user(self) -> None:
        """
        The claim of the ID token.
        """
        self.assertEqual(self.user(), ALICE)
        self.assertEqual(
            [path for _, path, _, _ in self.played.asked],
            [
                "/.well-known/openid-configuration",
                "/token",
                "/.well-known/openid-configuration",
                "/keys",
            ],
        )
        self.played.asked.clear()
        self.assertEqual(self.user(), ALICE)
        self.assertEqual([path for _, path, _, _ in self.played.asked], ["/token"])

    def test_redeem(self) -> None:
        """
        The code goes with the verifier, and with our secret as the provider wants it.
        """
        form = {
            "grant_type": "authorization_code",
            "code": "code",
            "redirect_uri": CALLBACK,
            "code_verifier": self.attempt.verifier,
        }
        secret = {"client_secret": "s:cret&"}
        client = {"client_id": "the proxy"}
        for settings, methods, expected, isBasic in (
            (SETTINGS, None, form, True),
            (SETTINGS, ["client_secret_post", "client_secret_basic"], form, True),
            (SETTINGS, ["client_secret_post"], {**form, **secret, **client}, False),
            (SETTINGS, ["private_key_jwt"], form, True),
            (evolve(SETTINGS, secret=None), None, {**form, **client}, False),
        ):
            self.played.metadata["token_endpoint_auth_methods_supported"] = methods
            self.setProvider(settings)
            self.assertEqual(self.user(), ALICE)
            method, _, fields, sent = next(
                each for each in self.played.asked if each[1] == "/token"
            )
            self.assertEqual((method, sent), ("POST", expected))
            self.assertEqual("Authorization" in fields, isBasic)
            if isBasic:
                pair = b64decode(fields["Authorization"].removeprefix("Basic "))
                self.assertEqual(pair, b"the+proxy:s%3Acret%26")  # RFC 6749, section 2.3.1
            self.played.asked.clear()

    def test_algorithms(self) -> None:
        """
        By whichever of its keys it is signed, named or not.
        """
        self.played.key, self.played.header = EC, {"alg": "ES256", "kid": "two"}
        self.assertEqual(self.user(), ALICE)
        self.played.header = {"alg": "ES256"}
        self.assertEqual(self.user(), ALICE)
        self.played.key, self.played.header = RSA, {"alg": "PS256"}
        self.assertEqual(self.user(), ALICE)

    def test_signature(self) -> None:
        """
        No other signature counts, and no algorithm whose key is not the provider's alone.
        """
        forged = OctKey.import_key("a key that anybody could have made up")
        for key, header, why in (
            (STRANGE, {"alg": "RS256", "kid": "one"}, "signature"),
            (STRANGE, {"alg": "RS256"}, "signature"),
            (EC, {"alg": "ES256", "kid": "one"}, "signature"),
            (STRANGE, {"alg": "RS256", "kid": "unknown"}, "signature"),
            (forged, {"alg": "HS256", "kid": "one"}, "algorithm"),
            (None, {"alg": "none"}, "algorithm"),
        ):
            self.played.key, self.played.header = key, header
            self.assertRefused(why)

    def test_claims(self) -> None:
        """
        Each claim of OpenID Connect Core 1.0, section 3.1.3.7, is as it must be.
        """
        now = self.clock.seconds()
        good = dict(self.played.claims)
        for change, why in (
            ({"iss": "https://evil.example"}, "another issuer"),
            ({"iss": None}, "another issuer"),
            ({"aud": "another"}, "somebody else"),
            ({"aud": None}, "somebody else"),
            ({"aud": ["another"]}, "somebody else"),
            ({"aud": ["the proxy", "another"]}, "given to somebody else"),
            ({"aud": ["the proxy", "another"], "azp": "another"}, "given to somebody else"),
            ({"azp": "another"}, "given to somebody else"),
            ({"sub": None}, "names nobody"),
            ({"exp": None}, "wrong time"),
            ({"exp": "tomorrow"}, "wrong time"),
            ({"exp": True}, "wrong time"),
            ({"exp": 10**400}, "wrong time"),
            ({"exp": now - 60}, "expired"),
            ({"iat": now + 61}, "not valid yet"),
            ({"nbf": now + 61}, "not valid yet"),
            ({"nonce": "other"}, "another attempt"),
            ({"nonce": 7}, "another attempt"),
            ({"nonce": "\xe9"}, "another attempt"),
            ({"email": None, "sub": "2"}, "about somebody else"),
            ({"email": 7}, "no usable claim email"),
            ({"email": "a\nb"}, "no usable claim email"),
        ):
            self.played.claims = {**good, **change}
            with self.subTest(str(change)):
                self.assertRefused(why)
        for allowed in (
            {"exp": now - 59},
            {"iat": now + 60, "nbf": now + 60.0},
            {"aud": ["the proxy"]},
            {"aud": ["the proxy", "another"], "azp": "the proxy"},
        ):
            self.played.claims = {**good, **allowed}
            self.assertEqual(self.user(), ALICE, allowed)
        self.played.nonce = None  # type: ignore[assignment]
        self.played.claims = good
        self.assertRefused("another attempt")

    def test_email(self) -> None:
        """
        An address that is not verified may be anybody's.
        """
        for verified in (False, None, "true", 1, "false"):
            self.played.claims["email_verified"] = verified
            self.assertEqual(self.user(), "!sign-in-failed", verified)
            self.assertIn("not verified your email", self.fault.detail)

    def test_otherClaim(self) -> None:
        """
        Other claims need no such word.
        """
        self.setProvider(evolve(SETTINGS, userClaim="preferred_username"))
        self.played.claims |= {"preferred_username": "alice", "email_verified": False}
        self.assertEqual(self.user(), "alice")

    def test_userinfo(self) -> None:
        """
        Where the ID token has no such claim the provider is asked for it; there, too, the address must be verified.
        """
        self.played.claims |= {"email": None, "email_verified": None}
        self.assertEqual(self.user(), ALICE)
        method, path, fields, _ = self.played.asked[-1]
        self.assertEqual((method, path), ("GET", "/userinfo"))
        self.assertEqual(fields, {"Authorization": "Bearer access"})
        for userinfo, why in (
            ({"sub": "2", "email": ALICE, "email_verified": True}, "about somebody else"),
            ({"email": ALICE, "email_verified": True}, "about somebody else"),
            ({"sub": "1"}, "no usable claim"),
        ):
            self.played.userinfo = userinfo
            self.assertRefused(why)
        self.played.userinfo = {"sub": "1", "email": ALICE}
        self.played.claims["email_verified"] = True
        self.assertEqual(self.user(), "!sign-in-failed")
        self.played.userinfo = ["x"]
        self.assertRefused("not a JSON object", "issuer-unavailable")
        self.played.tokens["access_token"] = None
        self.assertRefused("no usable claim")
        del self.played.metadata["userinfo_endpoint"]
        self.played.tokens["access_token"] = "access"
        self.setProvider(SETTINGS)
        self.assertRefused("no usable claim")

    def test_mixedUp(self) -> None:
        """
        A browser that comes from another provider is not believed (RFC 9207), and its code is sent to nobody.
        """
        self.assertEqual(self.user(issuer=ISSUER), ALICE)
        self.played.asked.clear()
        self.assertEqual(self.user(issuer="https://evil.example"), "!sign-in-failed")
        self.assertEqual(self.played.asked, [])

    def test_refused(self) -> None:
        """
        A code that the provider does not take signs nobody in.
        """
        self.played.status = 400
        self.assertRefused("400 invalid_grant")
        self.played.status = 500
        self.assertRefused("it answered 500", "issuer-unavailable")
        self.played.status = 302
        self.assertRefused("it answered 302", "issuer-unavailable")

    def test_broken(self) -> None:
        """
        Nor does an answer without an ID token, or with what is none.
        """
        for token, why in (
            (None, "no ID token"),
            (7, "no ID token"),
            ("", "malformed"),
            ("a.b.c", "malformed"),
            ("\xe9.\xe9.\xe9", "malformed"),
            ("e30.e30.e30", "malformed"),
        ):
            self.played.tokens["id_token"] = token
            self.assertRefused(why)

    def test_gone(self) -> None:
        """
        If the provider goes away meanwhile the answer is 503.
        """
        self.url()
        self.played.isDown = True
        self.assertRefused("refused", "issuer-unavailable")

    def test_secret(self) -> None:
        """
        Nothing shows the secret.
        """
        self.assertNotIn("s:cret", repr(SETTINGS))
