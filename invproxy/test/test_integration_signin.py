"""
People who sign in, with real OpenID providers and a real browser.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message
from typing import Any, ClassVar
from urllib.parse import quote

from invproxy.test.chromium import find, missing, startBrowser, waitIn
from invproxy.test.commands import CHECKOUT
from invproxy.test.programs import (
    DEADLINE,
    TWIST,
    Agent,
    Found,
    IntegrationTestCase,
    Program,
    eventually,
    freePort,
)
from invproxy.test.sites import Document, serve

USERS = (
    {"sub": "1", "email": "alice@example.com", "email_verified": True},
    {"sub": "2", "email": "bob@example.com", "email_verified": True},
    {"sub": "3", "email": "mallory@example.com", "email_verified": False},
)


def backend(path: str, fields: Message) -> Document:
    """
    A backend that shows what it gets, and tries to set a cookie of the proxy.
    """
    seen = {
        "path": path,
        "user": fields.get("X-Inverting-Proxy-User-ID", ""),
        "cookie": fields.get("Cookie", ""),
    }
    page = f"<!DOCTYPE html><title>backend</title><pre>{json.dumps(seen)}</pre>"
    cookies = ("flavor=oat; Path=/", "__Host-invproxy=forged; Path=/; Secure")
    return Document(page.encode(), cookies=(*cookies, "invproxy=forged; Path=/"))


class SecureProxy(Program):
    """
    C{twist invproxy-server} over TLS, with a registry.

    @ivar url: where clients connect.
    @ivar plain: the same without TLS.
    @ivar admin: where administrators connect.
    """

    def __init__(self, place: str, *options: str) -> None:
        import trustme

        issued = trustme.CA().issue_cert("localhost", "127.0.0.1")
        chain, key = os.path.join(place, "chain.pem"), os.path.join(place, "key.pem")
        for piece in issued.cert_chain_pems:
            piece.write_to_path(chain, append=True)
        issued.private_key_pem.write_to_path(key)
        on = "interface=127.0.0.1"
        super().__init__(
            "proxy",
            [
                *(*TWIST, "invproxy-server"),
                *("--listen", f"ssl:0:{on}:privateKey={key}:certKey={chain}"),
                *("--listen", f"tcp:0:{on}", "--admin-listen", f"tcp:0:{on}"),
                *("--database", "sqlite:" + os.path.join(place, "registry.db"), *options),
            ],
        )
        found = self.waitFor(
            r"^proxy ready: (https://\S+):(\d+) (http://\S+) \(admin (http://\S+)\)$"
        )
        self.url = f"https://localhost:{found[2]}"
        self.plain = found[3]
        self.admin = found[4]

    def tell(self, path: str, obj: object) -> Any:
        """
        Ask the admin API for a change.
        """
        request = urllib.request.Request(
            f"{self.admin}{path}", json.dumps(obj).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            return json.load(response)


class SignInCase(IntegrationTestCase):
    """
    A proxy with a provider, backends with agents, and a browser.

    @cvar client: what the provider knows the proxy as.
    """

    client: ClassVar = "the-proxy"

    def setUp(self) -> None:
        self.place = tempfile.mkdtemp(prefix="invproxy-signin-")
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        secret = os.path.join(self.place, "secret")
        with open(secret, "w", encoding="ascii") as file:
            file.write("a-secret-of-the-test\n")
        port = freePort()
        self.issuer = f"http://127.0.0.1:{port}"
        self.proxy = self.running(
            SecureProxy(
                self.place,
                *("--oidc-issuer", self.issuer, "--oidc-client-id", self.client),
                *("--oidc-client-secret-file", secret),
            )
        )
        self.provider = self.running(self.startProvider(port))
        origin = serve(self, backend)
        for name, user, prefix in (
            ("alices", "alice@example.com", "/"),
            ("everybodys", "allUsers", "/public/"),
        ):
            self.proxy.tell(
                "/api/backends",
                {"id": name, "endUser": user, "backendUser": "", "pathPrefixes": [prefix]},
            )
            token = self.proxy.tell(f"/api/backends/{name}/tokens", {"name": "test"})["token"]
            self.running(
                Agent(
                    self.proxy.plain,
                    name,
                    origin,
                    "--forward-user-id",
                    added={"INVPROXY_TOKEN": token},
                )
            )
        profile = os.path.join(self.place, "profile")
        os.mkdir(profile)
        self.driver = startBrowser(self, profile, "ignore-certificate-errors")

    def startProvider(self, port: int) -> Program:
        """
        Start the provider, and wait until it answers.
        """
        raise NotImplementedError

    def authenticate(self, user: Mapping[str, Any]) -> None:
        """
        Do at the provider what a person would.
        """
        raise NotImplementedError

    def awaitProvider(self, program: Program) -> Program:
        """
        Wait until a provider answers.
        """
        document = f"{self.issuer}/.well-known/openid-configuration"

        def answers() -> bool:
            if program.process.poll() is not None:
                shown = "\n".join(program.output()[-60:])
                raise AssertionError(f"{program.name} has ended:\n{shown}")
            try:
                with urllib.request.urlopen(document, timeout=DEADLINE):
                    return True
            except OSError:
                return False

        eventually(answers, "the provider answers")
        return program

    def until(self, check: Callable[[], Found], what: str) -> Found:
        """
        Wait for something in the browser.
        """
        return waitIn(self.driver, check, what)

    def click(self, selector: str) -> None:
        """
        Click something as soon as it is there: once, as the next page may have the like of it.
        """
        find(self.driver, selector).click()

    def seen(self) -> dict[str, str]:
        """
        Wait for the page of a backend, and read what the backend saw.
        """

        def read() -> dict[str, str] | None:
            if self.driver.title != "backend":
                return None
            found: dict[str, str] = json.loads(self.driver.find_element("css selector", "pre").text)
            return found

        return self.until(read, "the page of a backend") or {}

    def text(self, title: str) -> str:
        """
        Wait for one of the proxy's pages, and read it.
        """

        def read() -> str:
            if self.driver.title != title:
                return ""
            return str(self.driver.find_element("css selector", "main").text)

        return self.until(read, f"the page {title!r}")

    def session(self) -> dict[str, Any] | None:
        """
        The session's cookie, if the browser has one.
        """
        found: dict[str, Any] | None = self.driver.get_cookie("__Host-invproxy")
        return found

    def signIn(self, target: str, user: Mapping[str, Any]) -> None:
        """
        Open a page, and sign in where the proxy leads.
        """
        self.driver.get(self.proxy.url + target)
        self.until(
            lambda: self.driver.current_url.startswith(self.issuer), "the page of the provider"
        )
        self.authenticate(user)


class _Journey(SignInCase):
    """
    What is the same with every provider.
    """

    def checkSignIn(self) -> None:
        """
        Somebody opens a page, signs in, and gets just that page; the backend knows who it is, and sees nothing of the
        proxy's cookies, which are as safe as cookies can be. What it sets in their name is lost.
        """
        self.signIn("/page?x=1&y=%2F", USERS[0])
        seen = self.seen()
        self.assertEqual(seen["path"], "/page?x=1&y=%2F")
        self.assertEqual(seen["user"], "alice@example.com")
        self.assertNotIn("invproxy", seen["cookie"])
        cookie = self.session()
        assert cookie is not None
        self.assertEqual(
            {name: cookie[name] for name in ("httpOnly", "secure", "sameSite", "path", "domain")},
            {
                "httpOnly": True,
                "secure": True,
                "sameSite": "Lax",
                "path": "/",
                "domain": "localhost",
            },
        )
        self.assertNotEqual(cookie["value"], "forged")
        self.assertIsNone(self.driver.get_cookie("invproxy"))
        self.driver.get(f"{self.proxy.url}/again")
        seen = self.seen()
        self.assertEqual((seen["user"], seen["cookie"]), ("alice@example.com", "flavor=oat"))

    def checkSignOut(self) -> None:
        """
        Signing out ends the session for good, also for who has kept the cookie.
        """
        cookie = self.session()
        assert cookie is not None
        self.assertEqual(self.statusOf("/page", f"__Host-invproxy={cookie['value']}"), 200)
        self.driver.get(f"{self.proxy.url}/.invproxy/sign-out")
        self.assertIn("alice@example.com", self.text("Sign out"))
        self.click("button")
        self.assertIn("You are not signed in", self.text("Signed out"))
        self.assertIsNone(self.session())
        self.assertEqual(self.statusOf("/page", f"__Host-invproxy={cookie['value']}"), 401)

    def statusOf(self, target: str, cookie: str) -> int:
        """
        Ask for something, not as a browser would.
        """
        context = ssl._create_unverified_context()  # noqa: S323  (on loopback)
        request = urllib.request.Request(self.proxy.url + target, headers={"Cookie": cookie})
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE, context=context) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


class MockProviderTests(_Journey):
    """
    With C{oidc-provider-mock}.
    """

    if why := missing("oidc_provider_mock", "trustme"):
        skip = why
        sys.stderr.write(f"{__name__} is skipped: {skip}\n")

    def startProvider(self, port: int) -> Program:
        claims = [each for user in USERS for each in ("--user-claims", json.dumps(user))]
        return self.awaitProvider(
            Program(
                "oidc-provider-mock",
                [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "-n", *claims],
            )
        )

    def authenticate(self, user: Mapping[str, Any]) -> None:
        self.click(f'button[name=sub][value="{user["sub"]}"]')

    def test_journey(self) -> None:
        """
        Sign in, use it, sign out.
        """
        self.checkSignIn()
        self.checkSignOut()

    def test_others(self) -> None:
        """
        Who may not visit is told who they are, who has no verified address gets no session, and what is for everybody
        needs none.
        """
        self.driver.get(f"{self.proxy.url}/public/page")
        self.assertEqual(self.seen()["user"], "")
        self.signIn("/page", USERS[1])
        self.assertIn("You are bob@example.com", self.text("403 Forbidden"))
        self.driver.get(f"{self.proxy.url}/public/page")
        self.assertEqual(self.seen()["user"], "bob@example.com")
        self.driver.delete_all_cookies()
        self.signIn("/page", USERS[2])
        self.assertIn("has not verified your email", self.text("403 Forbidden"))
        self.assertIsNone(self.session())

    def test_denied(self) -> None:
        """
        Who changes their mind at the provider comes back to a page that says so.
        """
        self.driver.get(f"{self.proxy.url}/page")
        self.click("button[name=action]")
        self.assertIn("Signing in did not work", self.text("403 Forbidden"))
        self.assertIsNone(self.session())

    def test_elsewhere(self) -> None:
        """
        Another site cannot sign anybody out, and a link cannot lead anybody from the sign-in to another site.
        """
        signOut = f"{self.proxy.url}/.invproxy/sign-out"
        form = (
            f'<!DOCTYPE html><title>elsewhere</title><form method="post" action="{signOut}">'
            "</form><script>document.forms[0].submit()</script>"
        )
        elsewhere = serve(self, lambda path, fields: Document(form.encode()))
        for to in ("//127.0.0.1/", "/\\127.0.0.1/", "https://127.0.0.1/", "/\t/127.0.0.1/"):
            self.driver.delete_all_cookies()
            self.signIn(f"/.invproxy/sign-in?to={quote(to)}", USERS[0])
            self.assertEqual(self.seen()["path"], "/")
            self.assertEqual(self.driver.current_url, f"{self.proxy.url}/")
        for site in (elsewhere, elsewhere.replace("127.0.0.1", "localhost")):
            self.driver.get(site)
            self.assertIn("another site", self.text("403 Forbidden"))
            self.driver.get(f"{self.proxy.url}/page")
            self.assertEqual(self.seen()["user"], "alice@example.com")

    def test_rotation(self) -> None:
        """
        Whoever signs in again gets another session, and the former one has ended.
        """
        self.signIn("/page", USERS[0])
        self.seen()
        former = self.session()
        assert former is not None
        self.signIn("/.invproxy/sign-in?to=/page", USERS[0])
        self.seen()
        present = self.session()
        assert present is not None
        self.assertNotEqual(former["value"], present["value"])
        for cookie, status in ((former, 401), (present, 200)):
            self.assertEqual(self.statusOf("/page", f"__Host-invproxy={cookie['value']}"), status)

    def test_plain(self) -> None:
        """
        On loopback, for trying things out, it works without TLS.
        """
        self.driver.get(f"{self.proxy.plain}/page")
        self.authenticate(USERS[0])
        self.assertEqual(self.seen()["user"], "alice@example.com")
        cookie = self.driver.get_cookie("invproxy")
        self.assertEqual((cookie["httpOnly"], cookie["secure"]), (True, False))
        self.assertNotEqual(cookie["value"], "forged")

    def test_unreachable(self) -> None:
        """
        While the provider is gone nobody can sign in, and everything else goes on: it was gone when the proxy started,
        too.
        """
        self.signIn("/page", USERS[0])
        self.seen()
        self.provider.kill()
        self.driver.get(f"{self.proxy.url}/page")
        self.assertEqual(self.seen()["user"], "alice@example.com")
        self.driver.get(f"{self.proxy.url}/public/")
        self.seen()


_NODE_PROVIDER = """
import Provider from %(module)s;
const users = %(users)s;
const provider = new Provider(%(issuer)s, {
  clients: [{
    client_id: %(client)s,
    client_secret: "a-secret-of-the-test",
    redirect_uris: [%(redirect)s],
  }],
  claims: { openid: ["sub"], email: ["email", "email_verified"] },
  pkce: { required: () => true },
  async findAccount(ctx, sub) {
    const user = users.find((each) => each.email === sub) || { sub };
    return { accountId: sub, async claims() { return { ...user, sub }; } };
  },
});
provider.listen(%(port)d, "127.0.0.1", () => console.log("listening"));
"""


def nodeModule() -> str | None:
    """
    Find the npm module C{oidc-provider}: where C{.ci/packages} installs it, or in the directory that
    C{INVPROXY_NODE_MODULES} names.
    """
    place = os.environ.get(
        "INVPROXY_NODE_MODULES", str(CHECKOUT / "build" / "node" / "node_modules")
    )
    module = os.path.join(place, "oidc-provider", "lib", "index.js")
    return module if os.path.exists(module) else None


def lackOfNode() -> str | None:
    """
    Say why that module cannot be used, as far as C{.ci/packages} has found out.
    """
    if shutil.which("node") and nodeModule():
        return None
    try:
        why = (CHECKOUT / "build" / "node" / "why").read_text("utf-8").strip()
    except OSError:
        why = ".ci/packages does that"
    return f"not installed: npm's oidc-provider ({why})"


class NodeProviderTests(_Journey):
    """
    With npm's C{oidc-provider}, which is certified, and insists on PKCE.
    """

    if why := missing("trustme") or lackOfNode():
        skip = why
        sys.stderr.write(f"{__name__}.NodeProviderTests is skipped: {skip}\n")

    def startProvider(self, port: int) -> Program:
        script = os.path.join(self.place, "provider.mjs")
        filled = {
            "module": nodeModule(),
            "users": USERS,
            "issuer": self.issuer,
            "client": self.client,
            "redirect": f"{self.proxy.url}/.invproxy/callback",
        }
        with open(script, "w", encoding="utf-8") as file:
            texts: dict[str, Any] = {name: json.dumps(each) for name, each in filled.items()}
            file.write(_NODE_PROVIDER % {**texts, "port": port})
        return self.awaitProvider(Program("oidc-provider", ["node", script]))

    def authenticate(self, user: Mapping[str, Any]) -> None:
        find(self.driver, "input[name=login]").send_keys(user["email"])
        find(self.driver, "input[name=password]").send_keys("any")
        self.click("button[type=submit]")
        # It asks whether the proxy may know.
        self.until(
            lambda: not self.driver.find_elements("css selector", "input[name=login]"),
            "the second form",
        )
        self.click("button[type=submit]")

    def test_journey(self) -> None:
        """
        Sign in, use it, sign out.
        """
        self.checkSignIn()
        self.checkSignOut()
