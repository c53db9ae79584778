"""
A proxy with a quiet neighborhood and a greedy one: whatever those do, these must not notice.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from zope.interface import implementer

from invproxy.interfaces import IAccessLog
from invproxy.proxy.settings import ProxySettings
from invproxy.test.rawcalls import OURS, Bench, Call
from invproxy.testing import InvertingPair

QUIET = b"quiet"
"""The backend that a real agent serves, and of which nobody asks much."""

GREEDY = b"greedy"
"""The backend whose agents and clients the test plays."""

SOON = 1.0
"""Seconds within which the quiet are answered, whatever goes on."""


class _Greeting(Resource):
    isLeaf = True

    def render_GET(self, request: object) -> bytes:
        return b"hello"

    def render_POST(self, request: Any) -> bytes:
        content: bytes = request.content.read()
        return content


@implementer(IAccessLog)
class Errors:
    """
    Notes the codes with which requests failed, as an access log.
    """

    def __init__(self) -> None:
        self.codes: list[str] = []

    def log(self, *parts: Any) -> None:
        if parts[-1]:
            self.codes.append(parts[-1])


class Town(Bench):
    """
    A whole proxy in memory, with an agent for L{QUIET}.

    @ivar pair: the proxy and that agent.
    @ivar errors: the access log.
    """

    def __init__(self, transport: str = "tunnel", **settings: Any) -> None:
        """
        @param transport: how requests come to the quiet agent.
        @param settings: of the proxy.
        """
        self.errors = Errors()
        self.pair = InvertingPair(
            _Greeting(),
            backend=QUIET.decode(),
            proxySettings=ProxySettings(**settings),
            transport=transport,
            accessLog=self.errors,
        )
        self.network = self.pair.network
        self.prefix = b""
        self.pair.start()
        self.proxy = self.pair.proxy.resource
        self.site = self.pair.proxy._sites["public"]

    @property
    def refusals(self) -> dict[str, int]:
        """
        How many connections were closed without an answer, by reason.
        """
        return self.pair.proxy.refusals.counts

    def takeGreedy(self) -> list[Call]:
        """
        Take all requests that wait for the greedy backend, as one of our own agents does.

        @return: the calls that bring the answers; nothing of these has come yet.
        """
        responses = []
        for identifier in self.pending(GREEDY, OURS):
            self.fetch(identifier, OURS, GREEDY)
            responses.append(self.respond(identifier, None, OURS, GREEDY))
        return responses

    def askGreedy(self, fields: bytes = b"", **options: Any) -> Call:
        """
        Send a request to the greedy backend.
        """
        named = b"X-Inverting-Proxy-Backend: %b\r\n" % GREEDY
        return self.ask(fields=named + fields, **options)


class TownCase(SynchronousTestCase):
    """
    What these tests share.

    @cvar transport: how requests come to the quiet agent.
    """

    transport = "tunnel"

    def town(self, **settings: Any) -> Town:
        """
        Make a proxy; its greedy backend is known.
        """
        town = Town(self.transport, **settings)
        self.addCleanup(town.pair.stop)
        self.assertEqual(town.fetch(b"0" * 32, backend=GREEDY).status, 404)
        self.assertQuiet(town)
        return town

    def assertQuiet(self, town: Town) -> None:
        """
        The quiet notice nothing: they connect, ask and are answered at once.
        """
        fields = [(b"X-Inverting-Proxy-Backend", QUIET)]
        response = town.pair.request(fields=fields, within=SOON)
        self.assertEqual((response.status, response.body), (200, b"hello"))
        body = b"x" * 100_000
        response = town.pair.request(b"POST", b"/", fields, body, within=SOON)
        self.assertEqual((response.status, response.body), (200, body))

    def assertNothingLeft(self, town: Town) -> None:
        """
        Neither an exchange nor a client is left.
        """
        self.assertEqual(town.proxy.mailboxes.exchanges, {})
        for mailbox in town.proxy.mailboxes:
            self.assertEqual(mailbox.counts()[0], 0)
        town.network.pump()
        self.assertEqual((town.site.clients, town.site.crowd._of), (0, {}))
