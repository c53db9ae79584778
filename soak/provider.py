"""
An OpenID provider that lets everybody in as whom they ask for: C{python -m soak.provider PORT}.

What a browser would be asked is in the query of the authorization request: C{login_hint} is who signs in.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import parse_qsl, urlencode

from joserfc import jwt
from joserfc.jwk import ECKey

from stage.messages import readCounted, readHead, valueOf
from stage.serving import Server
from stage.wire import Ended, Wire

CLIENT = "soak"
"""What the proxy is known as."""

_KEY = ECKey.generate_key("P-256", {"kid": "one"})
_LIFE = 300


class Provider(Server):
    """
    The provider.
    """

    def __init__(self, port: int) -> None:
        """
        @param port: where it listens.
        """
        super().__init__()
        self._issuer = f"http://127.0.0.1:{port}"

    async def serve(self, wire: Wire) -> None:
        try:
            while True:
                first, fields = await readHead(wire)
                body = bytearray()
                await readCounted(wire, int(valueOf(fields, "content-length") or "0"), body)
                _, target, _ = first.split(" ")
                path, _, query = target.partition("?")
                await wire.send(self._answer(path, dict(parse_qsl(query or body.decode("ascii")))))
        except Ended:
            wire.close()

    def _answer(self, path: str, given: dict[str, str]) -> bytes:
        if path == "/authorize":
            # All that the token shall say is in the code, so that nothing has to be kept.
            code = json.dumps({"email": given["login_hint"], "nonce": given["nonce"]})
            back = urlencode({"code": code, "state": given["state"]})
            return (
                f"HTTP/1.1 303 Back\r\nLocation: {given['redirect_uri']}?{back}\r\n"
                "Content-Length: 0\r\n\r\n"
            ).encode("ascii")
        body = json.dumps(self._document(path, given))
        return (
            "HTTP/1.1 200 Fine\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode("ascii")

    def _document(self, path: str, given: dict[str, str]) -> dict[str, Any]:
        if path == "/keys":
            return {"keys": [_KEY.as_dict(private=False)]}
        if path != "/token":
            return {
                "issuer": self._issuer,
                "authorization_endpoint": f"{self._issuer}/authorize",
                "token_endpoint": f"{self._issuer}/token",
                "jwks_uri": f"{self._issuer}/keys",
                "id_token_signing_alg_values_supported": ["ES256"],
            }
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + _LIFE,
            "email_verified": True,
            **json.loads(given["code"]),
        }
        claims["sub"] = claims["email"]
        token = jwt.encode({"alg": "ES256", "kid": "one"}, claims, _KEY)
        return {"access_token": "any", "token_type": "Bearer", "id_token": token}


if __name__ == "__main__":
    port = int(sys.argv[1])
    asyncio.run(Provider(port).listen("provider", port))
