"""
The admin endpoint on a network in memory, for the tests of what it does.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from invproxy.admin.root import AdminResource, adminOrigin
from invproxy.admin.token import AdminToken
from invproxy.http1.fields import value
from invproxy.mailbox import Mailboxes
from invproxy.registry.memory import MemoryStore
from invproxy.registry.registry import Registry
from invproxy.server import StreamingSite
from invproxy.test.rawcalls import Bench, Call
from invproxy.testing import MemoryNetwork

PORT = 8081


@frozen
class Asked:
    """
    An answer of the admin endpoint.

    @ivar status: its status.
    @ivar fields: its block of fields.
    @ivar body: its body.
    """

    status: int
    fields: bytes
    body: bytes

    def value(self, name: bytes) -> str | None:
        """
        Look up a field.
        """
        found = value(self.fields, name)
        return None if found is None else found.decode("latin-1")

    @property
    def json(self) -> Any:
        """
        What is in it.
        """
        return json.loads(self.body)


class HeldStore:
    """
    A store whose changes wait until they are let go.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._held: list[Any] = []

    def putBackend(self, backend: Any) -> Any:
        waiting: Deferred[None] = Deferred()
        waiting.addCallback(lambda _: self._store.putBackend(backend))
        self._held.append(waiting)
        return waiting

    def go(self) -> None:
        """
        Let them go.
        """
        while self._held:  # one may make room for another
            self._held.pop(0).callback(None)


class AdminTestCase(SynchronousTestCase):
    """
    Tests that ask the admin endpoint over our own site.

    @cvar hasRegistry: whether the proxy runs with a registry.
    """

    hasRegistry = True

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.store = MemoryStore()
        self.registry: Registry | None = None
        if self.hasRegistry:
            self.registry = Registry(self.store, self.network)
            self.successResultOf(self.registry.start())
        self.ready = True
        self.mailboxes = Mailboxes(self.network)
        self.serve()
        self.audit: list[Any] = []
        self.log: list[Any] = []
        observer: Any = self._observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def serve(self, token: AdminToken | None = None, port: int = PORT) -> None:
        """
        Serve the admin endpoint.

        @param token: its token, if it has one.
        @param port: where.
        """
        self.admin = AdminResource(
            self.mailboxes, self.network, lambda: self.ready, registry=self.registry, token=token
        )
        origin = adminOrigin(self.admin, self.network)
        self.network.listenTCP(port, StreamingSite(origin, self.network))
        self.port = port

    def watch(self, bench: Bench) -> Bench:
        """
        Serve the admin endpoint of a proxy that is at work, in place of the idle one.

        @return: the proxy.
        """
        self.network = bench.network
        self.mailboxes = bench.proxy.mailboxes
        self.serve()
        return bench

    def _observe(self, event: Any) -> None:
        if event.get("log_namespace") == "invproxy.audit":
            self.audit.append(event)
        elif event.get("log_namespace") == "invproxy.admin":
            self.log.append(event)

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        fields: bytes = b"",
        *,
        host: bytes | None = b"localhost:8081",
        address: str | None = None,
    ) -> Call:
        """
        Send a request on a connection of its own.

        @param fields: lines, each with its end.
        @param host: the value of Host; L{None} if C{fields} has it.
        @param address: where it seems to come from, if not from this machine.
        """
        client = self.network.client("127.0.0.1", self.port, address=address)
        lines = b"" if host is None else b"Host: %b\r\n" % host
        lines += fields
        if body:
            lines += b"Content-Length: %d\r\n" % len(body)
        client.send(b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode(), path.encode(), lines))
        client.send(body)
        self.network.pump()
        return Call(client, method.encode())

    def ask(
        self, method: str, path: str, body: object = b"", fields: bytes = b"", **how: Any
    ) -> Asked:
        """
        Send a request and take the answer, which has come at once.

        @param body: bytes, or what becomes JSON.
        """
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        reply = self.call(method, path, data, fields, **how).reply
        if method != "HEAD":
            self.assertTrue(reply.whole, f"{method} {path} is not answered")
        return Asked(reply.status, reply.fields, reply.body)

    def get(self, path: str) -> Any:
        """
        Get JSON.
        """
        answer = self.ask("GET", path)
        self.assertEqual((answer.status, answer.value(b"content-type")), (200, "application/json"))
        self.assertEqual(answer.value(b"cache-control"), "no-store")
        return answer.json

    def assertProblem(self, answer: Asked, status: int, code: str = "", detail: str = "") -> Any:
        """
        Is it a problem (RFC 9457)?

        @param code: its code, if that is known.
        @param detail: what its detail has in it.
        @return: the problem.
        """
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.value(b"content-type"), "application/problem+json")
        self.assertEqual(answer.value(b"cache-control"), "no-store")
        problem = answer.json
        self.assertEqual(problem["status"], status)
        self.assertTrue(problem["title"] and problem["detail"] and problem["code"])
        if code:
            self.assertEqual(problem["code"], code)
        self.assertIn(detail, problem["detail"])
        return problem
