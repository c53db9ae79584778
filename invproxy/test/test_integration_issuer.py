"""
A real OpenID provider over TLS, whose certificate is of an authority that nobody knows but who was told.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

from invproxy.test.certificates import certificates
from invproxy.test.chromium import missing
from invproxy.test.programs import DEADLINE, IntegrationTestCase, Program
from invproxy.test.test_integration_agents import RegistryProxy

_PROVIDER = """
import sys
from oidc_provider_mock import User, app
from werkzeug.serving import make_server
user = User(sub="1", claims={"email": "alice@example.com", "email_verified": True})
site = make_server("localhost", 0, app(user_claims=[user], require_nonce=True), threaded=True,
    ssl_context=(sys.argv[1], sys.argv[2]))
print("listens on", site.server_port)
site.serve_forever()
"""

_HTML = {"Accept": "text/html"}


class Provider(Program):
    """
    C{oidc-provider-mock} over TLS.

    @ivar url: its issuer.
    """

    def __init__(self) -> None:
        own = certificates()
        files = (str(own.certificate), str(own.key))
        super().__init__("oidc-provider-mock", [sys.executable, "-c", _PROVIDER, *files])
        self.url = f"https://localhost:{self.waitFor('^listens on ([0-9]+)$')[1]}"


class IssuerTests(IntegrationTestCase):
    """
    C{--issuer-ca}.
    """

    if why := missing("oidc_provider_mock", "trustme"):
        skip = why
        sys.stderr.write(f"{__name__} is skipped: {skip}\n")

    def setUp(self) -> None:
        self.place = Path(self.mktemp())
        self.place.mkdir()
        self.provider = self.running(Provider())
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(CookieJar()),
            urllib.request.HTTPSHandler(context=certificates().context),
        )

    def proxy(self, *options: str) -> RegistryProxy:
        """
        Start a proxy where people sign in with the provider.
        """
        database = str(self.place / "registry.db")
        secret = self.place / "secret"
        secret.write_text("a-secret-of-the-test\n")
        return self.running(
            RegistryProxy(
                database,
                *("--oidc-issuer", self.provider.url, "--oidc-client-id", "the-proxy"),
                *("--oidc-client-secret-file", str(secret), *options),
            )
        )

    def ask(self, url: str, **form: str) -> tuple[int, str, str]:
        """
        Do as a browser does, redirections included.

        @param form: what to post.
        @return: the status, where that was in the end, and the page.
        """
        data = urlencode(form).encode() if form else None
        request = urllib.request.Request(url, data, _HTML)
        try:
            with self.opener.open(request, timeout=DEADLINE) as response:
                return response.status, response.url, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.url, error.read().decode()

    def test_known(self) -> None:
        """
        With the certificate of the authority people sign in: the document of the provider, its keys and its tokens are
        all had over TLS.
        """
        proxy = self.proxy("--issuer-ca", str(certificates().authority))
        status, url, page = self.ask(f"{proxy.url}/.invproxy/sign-in?to=/page")
        self.assertEqual(status, 200)
        self.assertTrue(url.startswith(f"{self.provider.url}/oauth2/authorize?"), url)
        status, url, page = self.ask(url, sub="1")
        self.assertEqual((status, url), (404, f"{proxy.url}/page"))  # no backend is registered
        _, _, page = self.ask(f"{proxy.url}/.invproxy/sign-out")
        self.assertIn("You are signed in as <b>alice@example.com</b>", page)

    def test_unknown(self) -> None:
        """
        Without it nobody does; who tries is told that it does not work for the moment, and the log names the reason
        and the option, once.
        """
        proxy = self.proxy()
        for _ in range(2):
            status, url, page = self.ask(f"{proxy.url}/.invproxy/sign-in")
            self.assertEqual(status, 503)
            self.assertTrue(url.startswith(proxy.url), url)
            self.assertIn("issuer-unavailable", page)
            self.assertNotIn("certificate", page)
        proxy.waitFor("--issuer-ca")
        [line] = [each for each in proxy.output() if self.provider.url in each]
        self.assertIn("--issuer-ca", line)
        self.assertIn("not of an authority that is trusted", line)
