"""
A proxy and an agent, joined in memory.
"""

from textwrap import dedent
from typing import TYPE_CHECKING, Any
from unittest import TestResult

from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from invproxy.agent.settings import AgentSettings
from invproxy.errors import ConfigError
from invproxy.http1.heads import RequestHead, responseHead
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.proxy.settings import ProxySettings
from invproxy.test.test_testing import Recorder
from invproxy.testing import InvertingPair, MemoryNetwork, StillWaiting


class Greeting(Resource):
    """
    Greets whom the query names.
    """

    isLeaf = True

    def render_GET(self, request):
        return b"Hello, %b!" % request.args[b"name"][0]

    def render_POST(self, request):
        request.setHeader(b"X-Path", request.path)
        return request.content.read()[::-1]


class Never(Resource):
    """
    Keeps its requests.
    """

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.requests = []
        self.lost = []

    def render(self, request):
        self.requests.append(request)
        request.notifyFinish().addBoth(self.lost.append)
        return NOT_DONE_YET


@implementer(IUpload)
class EchoUpload:
    """
    Sends back what comes, trailers too.
    """

    def __init__(self, answer: IAnswer) -> None:
        self.answer = answer

    def write(self, data):
        self.answer.write(data)

    def finish(self, trailers=b""):
        self.answer.finish(trailers)

    def abort(self, fault):
        pass

    def pauseAnswer(self):
        self.answer.pauseUpload()

    def resumeAnswer(self):
        self.answer.resumeUpload()


@implementer(IOrigin)
class EchoOrigin:
    """
    Answers with the body of the request.
    """

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        answer.respond(responseHead(200, b"Fine indeed", b"\r\nX-Method: " + head.method))
        return EchoUpload(answer)


class ExampleTests(SynchronousTestCase):
    """
    The documentation.
    """

    def test_example(self) -> None:
        """
        The example in L{InvertingPair}'s text works as it stands.
        """
        text = InvertingPair.__doc__ or ""
        code = dedent(" " * 8 + text[text.index("class ") : text.index("    The services are")])
        space: dict[str, Any] = {
            "SynchronousTestCase": SynchronousTestCase,
            "InvertingPair": InvertingPair,
            "Greeting": Greeting,
        }
        exec(code, space)  # noqa: S102  (the example of a docstring)
        result = TestResult()
        space["GreetingTests"]("test_greeting").run(result)
        self.assertEqual((result.testsRun, result.errors, result.failures), (1, [], []))


if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object


class PairContract(_Base):
    """
    L{InvertingPair} end to end.

    @cvar transport: what to ask for.
    @cvar carrier: what that gives.
    """

    transport: str | None
    carrier = "tunnel"

    def pair(self, origin, **options):
        pair = InvertingPair(origin, transport=self.transport, **options)
        pair.start()
        self.addCleanup(pair.stop)
        return pair

    def test_carrier(self):
        """
        Exchanges reach the agent as it was asked for.
        """
        pair = self.pair(Greeting())
        self.assertEqual(self.successResultOf(pair.agent.whenReady()), self.carrier)

    def test_resource(self):
        """
        A Resource is asked through the proxy.
        """
        pair = self.pair(Greeting())
        self.assertEqual(pair.request(target=b"/?name=you").body, b"Hello, you!")
        response = pair.request(b"POST", b"/a/b", [(b"X-A", b"b")], b"body")
        self.assertEqual((response.status, response.reason), (200, b"OK"))
        self.assertEqual((response.body, response.values(b"x-path")), (b"ydob", [b"/a/b"]))

    def test_origin(self):
        """
        So is an origin; trailers and reason phrases go through.
        """
        pair = self.pair(EchoOrigin())
        response = pair.request(b"PUT", b"/", [], b"x" * 300_000, trailers=[(b"X-T", b"t")])
        self.assertEqual((response.status, response.reason), (200, b"Fine indeed"))
        self.assertEqual(response.body, b"x" * 300_000)
        self.assertEqual(response.trailers, [(b"X-T", b"t")])
        self.assertEqual(response.values(b"x-method"), [b"PUT"])

    def test_many(self):
        """
        Several requests at once.
        """
        pair = self.pair(EchoOrigin())
        asked = [pair.fetch(b"POST", b"/", [], b"%d" % number) for number in range(50)]
        bodies = [pair.network.resultOf(each).body for each in asked]
        self.assertEqual(bodies, [b"%d" % number for number in range(50)])

    def test_byteByByte(self):
        """
        The same when bytes come one by one.
        """
        pair = self.pair(EchoOrigin())
        pair.network.segment = 1
        response = pair.request(b"POST", b"/", [], b"body", trailers=[(b"X-T", b"t")])
        self.assertEqual((response.body, response.trailers), (b"body", [(b"X-T", b"t")]))

    def test_client(self):
        """
        What is not HTTP can be sent too.
        """
        pair = self.pair(Greeting())
        client = pair.client()
        client.send(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
        pair.network.pump()
        self.assertTrue(client.received.startswith(b"HTTP/1.1 400 "))
        self.assertTrue(client.ended)

    def test_agentGone(self):
        """
        Without an agent, requests wait and are refused at last.
        """
        pair = self.pair(Greeting(), proxySettings=ProxySettings(queueTimeout=10.0))
        pair.network.resultOf(pair.agent.stopService())
        asked = pair.fetch(target=b"/?name=you")
        pair.network.advance(9)
        self.assertNoResult(asked)
        response = pair.network.resultOf(asked)
        self.assertIn(response.status, (503, 504))

    def test_clientGone(self):
        """
        A client that leaves is noticed at the other end.
        """
        never = Never()
        pair = self.pair(never)
        asked = pair.fetch()
        pair.network.pump()
        self.assertEqual((len(never.requests), never.lost), (1, []))
        asked.cancel()
        self.failureResultOf(asked)
        pair.network.advance(30)
        self.assertEqual(len(never.lost), 1)

    def test_within(self):
        """
        Waiting has an end.
        """
        pair = self.pair(Never(), proxySettings=ProxySettings(drainTimeout=1.0))
        self.assertRaises(StillWaiting, pair.request, within=5.0)

    def test_nothingLeft(self):
        """
        After C{stop} there is no connection, and once all deadlines have passed no delayed call.
        """
        with InvertingPair(Greeting(), transport=self.transport) as pair:
            pair.request(target=b"/?name=you")
        self.assertEqual(pair.network.connections, [])
        pair.network.advance(ProxySettings().idleTimeout + 1)
        self.assertEqual(list(pair.network.getDelayedCalls()), [])
        pair.stop()

    def test_network(self):
        """
        The network may exist before the pair, for an origin that needs it.
        """
        network = MemoryNetwork()
        network.listenTCP(3000, Factory.forProtocol(Recorder))
        pair = self.pair(Greeting(), network=network)
        self.assertIs(pair.network, network)


class AutoPairTests(PairContract, SynchronousTestCase):
    """
    As an agent is by default.
    """

    transport = None


class TunnelPairTests(PairContract, SynchronousTestCase):
    """
    With a tunnel, or nothing.
    """

    transport = "tunnel"


class PollPairTests(PairContract, SynchronousTestCase):
    """
    With polls.
    """

    transport = carrier = "poll"


class SettingsTests(SynchronousTestCase):
    """
    The transport of a pair and the settings of its agent.
    """

    def test_settings(self):
        """
        Settings count, but for a transport that is given.
        """
        settings = AgentSettings(transport="poll", polls=3)
        for transport, carrier, polls in ((None, "poll", 3), ("tunnel", "tunnel", 0)):
            with InvertingPair(Greeting(), agentSettings=settings, transport=transport) as pair:
                self.assertEqual(self.successResultOf(pair.agent.whenReady()), carrier)
                [mailbox] = pair.proxy.resource.mailboxes
                self.assertEqual(mailbox.counts()[1], polls)

    def test_unknown(self):
        """
        There are no others.
        """
        self.assertRaises(ConfigError, InvertingPair, Greeting(), transport="post")
