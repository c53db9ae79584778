"""
The admin endpoint: health, status, and what is not there.
"""

from __future__ import annotations

import json

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from invproxy.admin.answers import textAnswer
from invproxy.admin.endpoint import MAX_BODY, At
from invproxy.admin.root import AdminResource
from invproxy.errors import StoreError
from invproxy.registry.memory import MemoryStore
from invproxy.registry.registry import Registry
from invproxy.test.admincase import AdminTestCase, HeldStore
from invproxy.test.rawcalls import OURS, PLAIN, Bench, Call


class HealthTests(AdminTestCase):
    """
    C{/healthz} and C{/readyz}.
    """

    def test_healthz(self) -> None:
        """
        The process is alive, ready or not.
        """
        for self.ready in (True, False):
            answer = self.ask("GET", "/healthz")
            self.assertEqual((answer.status, answer.body), (200, b"ok\n"))

    def test_readyz(self) -> None:
        """
        200 while it is ready, else 503.
        """
        answer = self.ask("GET", "/readyz")
        self.assertEqual((answer.status, answer.body), (200, b"ready\n"))
        self.ready = False
        self.assertProblem(self.ask("GET", "/readyz"), 503, "not-ready")

    def test_head(self) -> None:
        """
        HEAD is as good as GET, without a body.
        """
        call = self.call("HEAD", "/healthz")
        self.assertEqual(call.status, 200)
        self.assertEqual(call.reply.value(b"Content-Length"), b"3")
        self.assertTrue(call.client.received.endswith(b"\r\n\r\n"))


class UnloadedTests(AdminTestCase):
    """
    A registry that cannot be loaded.
    """

    def setUp(self) -> None:
        super().setUp()
        self.store = MemoryStore()
        self.store.failure = StoreError("the disk is on fire: put it out")
        self.registry = Registry(self.store, self.network)
        self.successResultOf(self.registry.start())
        self.serve(port=8082)

    def test_unloaded(self) -> None:
        """
        It is not ready, the API says why, and all is well as soon as the registry is loaded.
        """
        self.assertProblem(self.ask("GET", "/readyz"), 503, "registry-unavailable")
        found = self.ask("GET", "/api/backends")
        self.assertProblem(found, 503, "registry-unavailable", "put it out")
        self.assertTrue(found.value(b"retry-after"))
        status = self.get("/api/status")["registry"]
        self.assertEqual((status["state"], "fire" in status["problem"]), ("unavailable", True))
        self.assertEqual(self.ask("GET", "/healthz").status, 200)
        self.store.failure = None
        self.network.advance(2.0)
        self.assertEqual(self.ask("GET", "/readyz").status, 200)
        self.assertEqual(self.get("/api/backends"), [])
        self.assertEqual(self.get("/api/status")["registry"], {"state": "loaded"})


class StatusTests(AdminTestCase):
    """
    C{/api/status}, on the network of a proxy.
    """

    hasRegistry = False

    def setUp(self) -> None:
        super().setUp()
        self.bench = self.watch(Bench())

    def test_status(self) -> None:
        """
        Backends in order, their tunnels, polls, queues and exchanges by state; no IDs, which are secrets.
        """
        self.assertEqual(
            self.get("/api/status"),
            {"ready": True, "uptimeSeconds": 0, "registry": {"state": "none"}, "backends": []},
        )
        bench = self.bench
        bench.poll(b"zoo")
        bench.fetch(b"0" * 32)
        bench.advance(2.5)
        for _ in range(3):
            bench.ask()
        first, second, _ = bench.pending()
        bench.fetch(first, OURS)
        bench.fetch(second)
        bench.respond(second).chunk(PLAIN[:-1])
        for _ in range(2):
            bench.ask()
        status = self.get("/api/status")
        self.assertEqual(status["uptimeSeconds"], 2.5)
        web, zoo = status["backends"]
        self.assertEqual(
            web,
            {
                "id": "web",
                "online": True,
                "secondsSinceSeen": 0,
                "tunnels": 0,
                "polls": 0,
                "queued": 2,
                "exchanges": {"queued": 2, "claimed": 1, "fetched": 1, "responding": 1},
            },
        )
        self.assertEqual((zoo["id"], zoo["polls"], zoo["secondsSinceSeen"]), ("zoo", 1, 0))
        self.assertNotIn(first.decode(), json.dumps(status))

    def test_offline(self) -> None:
        """
        A backend that was away for long is not online.
        """
        self.bench.fetch(b"0")
        self.bench.advance(301)
        (web,) = self.get("/api/status")["backends"]
        self.assertEqual((web["online"], web["secondsSinceSeen"]), (False, 301))


class PathTests(AdminTestCase):
    """
    Paths and methods.
    """

    def test_nothingElse(self) -> None:
        """
        404 for other paths, as a problem.
        """
        for path in (
            *("//", "/api", "/api/", "/api/other", "/healthz/x", "/healthz/", "/agent/pending"),
            *("/api/status/x", "/api/backends/", "/api/backends//", "/api/backends/web/"),
            *(
                "/api/backends/web/other",
                "/api/backends/web/tokens/",
                "/api/backends/web/tokens/a/b",
            ),
            *("/api/backends/%ff", "/api/backends/web/tokens/%ff"),
        ):
            self.assertProblem(self.ask("GET", path), 404)

    def test_methods(self) -> None:
        """
        405 for other methods, as a problem that says which are allowed; OPTIONS says so, too.
        """
        for path, allowed in (
            ("/healthz", "GET, HEAD, OPTIONS"),
            ("/api/status", "GET, HEAD, OPTIONS"),
            ("/api/openapi.json", "GET, HEAD, OPTIONS"),
            ("/api/backends", "GET, HEAD, OPTIONS, POST"),
            ("/api/backends/web", "DELETE, GET, HEAD, OPTIONS, PUT"),
            ("/api/backends/web/tokens", "GET, HEAD, OPTIONS, POST"),
            ("/api/backends/web/tokens/laptop", "DELETE, OPTIONS"),
        ):
            refused = self.ask("PATCH", path)
            self.assertProblem(refused, 405, "method-not-allowed", allowed)
            self.assertEqual(refused.value(b"allow"), allowed)
            told = self.ask("OPTIONS", path)
            self.assertEqual((told.status, told.value(b"allow"), told.body), (204, allowed, b""))

    def test_tooLarge(self) -> None:
        """
        413 as a problem, for a body that says its length and for one that does not.
        """
        said = self.call("POST", "/api/backends", fields=b"Content-Length: %d\r\n" % (MAX_BODY + 1))
        chunked = self.call("POST", "/api/backends", fields=b"Transfer-Encoding: chunked\r\n")
        for _ in range(17):
            if not chunked.isClosed:
                chunked.chunk(b" " * 65536)
        for call in (said, chunked):
            self.assertEqual(call.status, 413)
            self.assertEqual(call.reply.value(b"Content-Type"), b"application/problem+json")
            self.assertEqual(json.loads(call.reply.body)["code"], "body-too-large")
        self.assertEqual(self.ask("POST", "/api/backends", b" " * MAX_BODY).status, 400)

    def test_stalled(self) -> None:
        """
        408 as a problem, for a body that does not come to its end, and then the connection is closed.
        """
        call = self.call("POST", "/api/backends", fields=b"Content-Length: 10\r\n")
        self.network.advance(29)
        call.send(b"{")
        self.assertEqual(call.status, 0)
        self.network.advance(1.5)
        self.network.pump()
        self.assertEqual(call.status, 408)
        self.assertEqual(json.loads(call.reply.body)["code"], "head-timeout")
        self.network.advance(3)
        self.network.pump()
        self.assertTrue(call.isClosed)

    def test_forms(self) -> None:
        """
        A body is JSON whatever it says that it is; what says that it is a form is not parsed as one.
        """
        for mediaType in (
            b"application/x-www-form-urlencoded",
            b"multipart/form-data",
            b"multipart/form-data; boundary=\xff\xff",
        ):
            fields = b"Content-Type: %b\r\n" % mediaType
            made = self.ask("POST", "/api/backends", WEB, fields)
            self.assertIn(made.status, (200, 201), made.body)
        self.assertEqual(self.get("/api/backends"), [WEB])

    def test_mistake(self) -> None:
        """
        An exception is a 500 that tells nothing, and is logged.
        """
        self.admin.putChild(b"mistake", At(GET=lambda request: textAnswer("x" * (1 // 0))))
        answer = self.ask("GET", "/mistake")
        self.assertProblem(answer, 500, "internal")
        self.assertNotIn(b"Zero", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class OpenModeTests(AdminTestCase):
    """
    Without a database.
    """

    hasRegistry = False

    def test_noRegistry(self) -> None:
        """
        Each call of the registry says how to get one.
        """
        for method, path in (
            ("GET", "/api/backends"),
            ("POST", "/api/backends"),
            ("GET", "/api/backends/web"),
            ("POST", "/api/backends/web/tokens"),
        ):
            self.assertProblem(self.ask(method, path), 409, "no-registry", "--database")


class StockSiteTests(AdminTestCase):
    """
    Under a site of twisted.web, mounted below a prefix.
    """

    def setUp(self) -> None:
        super().setUp()
        root = Resource()
        root.putChild(b"admin", self.admin)
        self.network.listenTCP(8083, Site(root, reactor=self.network))
        self.port = 8083

    def test_works(self) -> None:
        """
        It answers as under our own, bodies that are too large included.
        """
        made = self.ask("POST", "/admin/api/backends", WEB)
        self.assertEqual(made.status, 201, made.body)
        self.assertEqual(self.get("/admin/api/backends"), [WEB])
        large = self.ask("POST", "/admin/api/backends", b" " * (MAX_BODY + 1))
        self.assertProblem(large, 413, "body-too-large")

    def test_clientGone(self) -> None:
        """
        Who hangs up while a change is made hurts nobody.
        """
        held = HeldStore(self.store)
        assert self.registry is not None
        self.registry._store = held  # type: ignore[assignment]
        call: Call = self.call("POST", "/admin/api/backends", json.dumps(WEB).encode())
        self.assertEqual(call.status, 0)
        call.leave()
        self.network.pump()
        held.go()
        self.assertEqual(self.get("/admin/api/backends"), [WEB])
        self.assertEqual(len(self.audit), 1)


WEB = {
    "id": "web",
    "endUser": "alice@example.com",
    "backendUser": "",
    "pathPrefixes": ["/"],
    "endUsers": [],
    "hosts": [],
}


class ClockIsEnough(SynchronousTestCase):
    """
    The status of a proxy that has nothing to tell.
    """

    def test_noNetwork(self) -> None:
        """
        It needs a clock and mailboxes, no more.
        """
        AdminResource(Bench().proxy.mailboxes, Clock(), bool)
