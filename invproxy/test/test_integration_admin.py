"""
The admin endpoint against pages in a real browser, and the command C{invproxy} as a real program.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from typing import Any

from invproxy.test.chromium import find, missing, startBrowser, waitIn
from invproxy.test.programs import (
    DEADLINE,
    TWIST,
    Agent,
    IntegrationTestCase,
    Program,
    Proxy,
    environment,
    eventually,
)
from invproxy.test.sites import Document, serve

EVIL = "evil.example"
"""A name that leads to this machine, as somebody's DNS may have it."""

RECORD = {"id": "evil", "endUser": "allUsers", "backendUser": "", "pathPrefixes": ["/"]}

ASK = """
const [url, options, done] = arguments;
fetch(url, options)
  .then(async answer => done([answer.type, answer.status, await answer.text()]))
  .catch(error => done(["error", 0, String(error)]));
"""
"""Asks for a URL, and tells what the page gets to see."""

SUBMIT = """
const form = document.createElement("form");
form.method = "POST";
form.action = arguments[0];
form.enctype = "text/plain";
const field = document.createElement("input");
field.name = arguments[1];
field.value = arguments[2];
form.append(field);
document.body.append(form);
form.submit();
"""
"""Sends a form whose body is JSON: what a name and a value come to is C{name=value}."""


PAGE = Document(b"<!DOCTYPE html><title>page</title><body>somebody's page")
"""Somebody's page."""


class PlaceTestCase(IntegrationTestCase):
    """
    Tests with a directory, and a proxy with a registry in it.
    """

    def setUp(self) -> None:
        self.place = tempfile.mkdtemp(prefix="invproxy-admin-")
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)

    def path(self, name: str) -> str:
        """
        Name a file in the directory.
        """
        return os.path.join(self.place, name)

    def proxy(self, *options: str) -> Proxy:
        """
        Start a proxy.
        """
        database = "sqlite:" + self.path("registry.db")
        return self.running(Proxy("--database", database, *options))

    def page(self) -> str:
        """
        Serve somebody's page.

        @return: its URL.
        """
        return serve(self, lambda path, fields: PAGE)


class BrowserTests(PlaceTestCase):
    """
    A page must not reach the admin API of whoever looks at it, neither by its address nor by a name that leads there.
    """

    if why := missing():
        skip = why
        sys.stderr.write(f"{__name__}.BrowserTests is skipped: {skip}\n")

    def setUp(self) -> None:
        super().setUp()
        self.admin = self.proxy().admin
        self.port = int(self.admin.rpartition(":")[2])
        self.pagePort = self.page().rpartition(":")[2]
        rules = f"host-resolver-rules=MAP {EVIL} 127.0.0.1"
        self.driver = startBrowser(self, self.path("profile"), rules)

    def backends(self) -> list[str]:
        """
        The IDs in the registry.
        """
        with urllib.request.urlopen(f"{self.admin}/api/backends", timeout=DEADLINE) as answer:
            return [record["id"] for record in json.load(answer)]

    def test_statusPage(self) -> None:
        """
        The status page is shown as it is meant to be, on a narrow screen, too, and the browser finds nothing wrong.
        """
        self.driver.get(f"{self.admin}/?refresh=60")
        self.assertIn("No agent has called yet.", find(self.driver, "main").text)
        # By its style sheet, which the policy lets in.
        grid = find(self.driver, "dl").value_of_css_property("display")
        self.assertEqual(grid, "grid")
        for width in (1280, 320):
            size = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": False}
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            wide = self.driver.execute_script("return document.documentElement.scrollWidth")
            self.assertLessEqual(wide, width)
        self.assertEqual(self.driver.get_log("browser"), [])

    def fetch(self, path: str, host: str = "127.0.0.1", **options: Any) -> Any:
        """
        Have the page ask for something of the admin endpoint.

        @return: the type of the answer, its status, and its text, as far as the page may see them.
        """
        url = f"http://{host}:{self.port}{path}"
        return self.driver.execute_async_script(ASK, url, options)

    def test_ownPage(self) -> None:
        """
        Whoever opens it in the browser sees it, and what is there may ask for more: what follows is not refused for
        other reasons.
        """
        self.driver.get(f"http://localhost:{self.port}/api/status")
        self.assertIn('"ready": true', self.driver.page_source)
        kind, status, text = self.fetch("/api/backends", "localhost")
        self.assertEqual((kind, status, text), ("basic", 200, "[]\n"))
        body = json.dumps(RECORD)
        _, status, _ = self.fetch("/api/backends", "localhost", method="POST", body=body)
        self.assertEqual((status, self.backends()), (201, ["evil"]))

    def test_otherSites(self) -> None:
        """
        Pages of other sites, and of other programs on this machine, change nothing and see nothing: neither with what
        a browser sends without asking first, nor with what it asks for.
        """
        body = json.dumps(RECORD)
        for page, host in (
            (EVIL, "127.0.0.1"),
            (EVIL, "localhost"),
            ("localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
        ):
            self.driver.get(f"http://{page}:{self.pagePort}/")
            for options in (
                {"mode": "no-cors"},
                {"mode": "no-cors", "credentials": "include"},
                {"mode": "no-cors", "method": "POST", "body": body},
            ):
                # It was answered, and the page does not even see that.
                kind, _, _ = self.fetch("/api/backends", host, **options)
                self.assertEqual(kind, "error", (page, options))
            for options in (  # type: ignore[assignment]
                {},
                {"method": "POST", "body": body},
                {"method": "PUT", "body": body},
                {"method": "DELETE"},
                {"headers": {"Authorization": "Bearer x"}},
            ):
                kind, _, _ = self.fetch("/api/backends/evil", host, **options)
                self.assertEqual(kind, "error", (page, options))
            self.assertEqual(self.backends(), [])

    def test_form(self) -> None:
        """
        A form of another site, which needs no script to be sent, is refused.
        """
        self.driver.get(f"http://{EVIL}:{self.pagePort}/")
        before, _, after = json.dumps(RECORD | {"backendUser": "="}).partition("=")
        self.driver.execute_script(SUBMIT, f"{self.admin}/api/backends", before, after)
        waitIn(self.driver, lambda: "other sites" in self.driver.page_source, "the refusal")
        self.assertEqual(self.backends(), [])
        # It is not refused for what it says.
        self.driver.get(f"http://127.0.0.1:{self.port}/api/status")
        self.driver.execute_script("document.body = document.createElement('body')")
        self.driver.execute_script(SUBMIT, f"{self.admin}/api/backends", before, after)
        eventually(lambda: self.backends() == ["evil"], "the backend")

    def test_rebinding(self) -> None:
        """
        By another name that leads to this machine nothing is there, though to the browser it is the page's own site.
        """
        self.driver.get(f"http://{EVIL}:{self.port}/api/backends")
        self.assertIn("loopback name", self.driver.page_source)
        for method in ("GET", "POST", "PUT", "DELETE"):
            options = {} if method == "GET" else {"body": json.dumps(RECORD)}
            kind, status, text = self.fetch("/api/backends/evil", EVIL, method=method, **options)
            self.assertEqual((kind, status), ("basic", 403), method)
            self.assertEqual(json.loads(text)["code"], "forbidden")
        self.assertEqual(self.backends(), [])


class PasswordTests(PlaceTestCase):
    """
    A browser whose user has typed the admin token as a password.
    """

    if why := missing():
        skip = why
        sys.stderr.write(f"{__name__}.PasswordTests is skipped: {skip}\n")

    def test_looksOnly(self) -> None:
        """
        The browser is asked for it, shows everything, and sends it along from then on; which changes nothing.
        """
        secret = "a-token-of-this-test"
        token = self.path("admin-token")
        with open(token, "w", encoding="ascii") as file:
            file.write(secret)
        proxy = self.proxy("--admin-token-file", token)
        driver = startBrowser(self, self.path("profile"))
        driver.get(f"{proxy.admin}/api/backends")
        self.assertNotIn("[]", driver.page_source)
        # As if it were typed: Chromium sends this only when it is asked for a password.
        driver.get(proxy.admin.replace("//", f"//admin:{secret}@"))
        self.assertIn("No agent has called yet.", find(driver, "main").text)
        driver.get(f"{proxy.admin}/api/status")
        self.assertIn('"ready": true', driver.page_source)
        url = f"{proxy.admin}/api/backends"
        for options, status in (
            ({}, 200),
            ({"method": "POST", "body": json.dumps(RECORD)}, 401),
            ({"method": "DELETE"}, 401),
        ):
            found = driver.execute_async_script(ASK, url, options)
            self.assertEqual(found[:2], ["basic", status], options)
        bearing = urllib.request.Request(url, headers={"Authorization": f"Bearer {secret}"})
        with urllib.request.urlopen(bearing, timeout=DEADLINE) as answer:
            self.assertEqual(json.load(answer), [])
        self.assertEqual(proxy.count(secret), 0)


class CommandTests(PlaceTestCase):
    """
    C{invproxy}, C{twist invproxy-server} and C{twist invproxy-agent} together.
    """

    def invoke(self, *arguments: str, status: int = 0, **variables: str) -> str:
        """
        Run the command.

        @return: what it wrote to stdout; if it is to fail, to stderr.
        """
        command = os.path.join(os.path.dirname(sys.executable), "invproxy")
        done = subprocess.run(
            [command, *arguments],
            env=environment({"INVPROXY_ADMIN": self.admin, **variables}),
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE,
            check=False,
        )
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr if status else done.stdout

    def test_way(self) -> None:
        """
        A backend is added, its agent is handed a token and serves it, and the token is revoked.
        """
        proxy = self.proxy()
        self.admin = proxy.admin
        self.invoke("backends", "add", "web", "--everyone")
        token = self.path("token")
        self.invoke("token", "create", "web", "laptop", "--file", token)
        agent = self.running(Agent(proxy.url, "web", self.page(), "--token-file", token))
        with urllib.request.urlopen(proxy.url, timeout=DEADLINE) as answer:
            self.assertIn(b"somebody's page", answer.read())
        self.assertRegex(self.invoke("status"), r"\nweb +online +")
        self.invoke("token", "revoke", "web", "laptop")
        agent.waitFor("401")
        proxy.waitFor(r"\[invproxy.audit#info\] 127\.0\.0\.1 \(loopback\) revoked token laptop")
        with open(token, encoding="ascii") as file:
            secret = file.read().strip()
        for program in (proxy, agent):
            self.assertEqual(program.count(secret), 0)
        self.invoke("backends", "remove", "web", "--yes")
        self.assertEqual(json.loads(self.invoke("backends", "list", "--json")), [])
        proxy.terminate()
        self.assertEqual(proxy.waitEnd(), 0)
        self.assertIn("connection refused", self.invoke("status", status=3))

    def test_throughTheProxy(self) -> None:
        """
        An agent that serves the admin endpoint itself, as a slip may have it, opens it to nobody.
        """
        proxy = self.proxy()
        self.admin = proxy.admin
        self.invoke("backends", "add", "web", "--everyone")
        token = self.path("token")
        self.invoke("token", "create", "web", "laptop", "--file", token)
        host = "localhost:" + proxy.admin.rpartition(":")[2]
        options = ("--token-file", token, "--rewrite-host", host)
        self.running(Agent(proxy.url, "web", proxy.admin, *options))
        for path in ("/healthz", "/api/backends"):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(proxy.url + path, timeout=DEADLINE)
            with caught.exception as refusal:
                self.assertEqual(refusal.code, 403)
                self.assertIn("through a proxy", json.load(refusal)["detail"])

    def test_remote(self) -> None:
        """
        With a token over TLS; without it nothing is answered.
        """
        import trustme

        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.path("ca.pem"))
        issued = authority.issue_cert("localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(self.path("cert.pem"))
        token = self.path("admin-token")
        with open(token, "w", encoding="ascii") as file:
            file.write("a-token-of-this-test\n")
        program = Program(
            "proxy",
            [
                *(*TWIST, "invproxy-server"),
                *("--listen", "tcp:0:interface=127.0.0.1", "--admin-token-file", token),
                "--admin-listen",
                f"ssl:0:interface=127.0.0.1:privateKey={self.path('cert.pem')}",
                *("--database", "sqlite:" + self.path("registry.db")),
            ],
        )
        self.running(program)
        port = program.waitFor(r"admin https://127\.0\.0\.1:(\d+)\)")[1]
        self.admin = f"https://localhost:{port}"
        said = self.invoke("status", status=3)
        self.assertIn("--admin-ca", said)
        trusted = ("--admin-ca", self.path("ca.pem"))
        self.assertIn("needs its token", self.invoke("status", *trusted, status=1))
        shown = self.invoke("status", *trusted, "--admin-token-file", token)
        self.assertIn("ready", shown)
        said = self.invoke(*("--admin", f"http://localhost:{port}", "status"), *trusted, status=3)
        self.assertIn("no admin API", said)

    def test_stopped(self) -> None:
        """
        A typo is told without a server, and quickly: exit status 2.
        """
        self.admin = "http://127.0.0.1:1"
        self.assertIn("Usage:", self.invoke("backends", "lsit", status=2))
