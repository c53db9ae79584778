"""
The agent as a service: it starts, is ready, drains, stops, starts again, and lives inside other applications.
"""

from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface.verify import verifyObject

from invproxy.agent.service import AgentService
from invproxy.agent.settings import AgentSettings
from invproxy.errors import ConfigError
from invproxy.http1.heads import responseHead
from invproxy.proxy.root import ProxyResource
from invproxy.proxy.settings import ProxySettings
from invproxy.resources import ResourceOrigin
from invproxy.test.scripted import AgentTestCase, RecordingOrigin
from invproxy.testing import InvertingPair, MemoryNetwork, fetch

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
POLL = AgentSettings(transport="poll")


class ConfigTests(SynchronousTestCase):
    """
    What cannot be used is refused when the service is made.
    """

    def make(self, url="http://p.test", backend="web", **settings):
        return AgentService(
            MemoryNetwork(), url, backend, RecordingOrigin(), AgentSettings(**settings)
        )

    def test_interface(self):
        """
        It is a service.
        """
        verifyObject(IService, self.make())

    def test_urls(self):
        """
        The proxy's URL has a scheme, a host and perhaps a port and a path.
        """
        for url in (
            "http://p",
            "https://p.test:8443/a/b/",
            "http://[::1]:8080",
            "http://b\xfccher.test/",
            "HTTP://P.TEST",
            "http://p/a%20b",
        ):
            self.make(url)
        for url in (
            "",
            "p.test",
            "ftp://p",
            "http://",
            "http://:80",
            "http://p:x",
            "http://p:99999",
            "http://p:0",
            "http://[::1",
            "http://p/?a=b",
            "http://p/#a",
            "http://a b/",
            "http://p/a b",
            "http://p/\xfc",
            "http://" + "x" * 64 + "\xfc/",
            "http://user:hunter2@p/",
            "ftp://user:hunter2@p/",
        ):
            error = self.assertRaises(ConfigError, self.make, url)
            self.assertNotIn("hunter2", str(error))
            self.assertNotIn("\n", str(error))

    def test_settings(self):
        """
        Settings have their bounds.
        """
        for name, value in [
            ("polls", 0),
            ("maxExchanges", 0),
            ("connectTimeout", 0),
            ("pollTimeout", -1.0),
            ("originTimeout", -1.0),
            ("drainTimeout", float("nan")),
            ("transport", "post"),
            ("connections", 0),
            ("linkTimeout", 0),
            ("rewriteHost", b"a b"),
            ("rewriteHost", b"a\r\nX: y"),
        ]:
            error = self.assertRaises(ConfigError, self.make, **{name: value})
            self.assertIn(name, str(error))

    def test_backend(self):
        """
        So have backends.
        """
        for backend in ("", "a b", "x" * 257, "\xfc", "a\r\n"):
            self.assertRaises(ConfigError, self.make, backend=backend)

    def test_token(self):
        """
        A token that HTTP does not allow is not shown, not even in a traceback.
        """
        error = self.assertRaises(ConfigError, self.make, token="hunter2\r\nX: y")
        seen: Any = error
        while seen is not None:
            self.assertNotIn("hunter2", repr(seen))
            seen = None if seen.__suppress_context__ else seen.__cause__ or seen.__context__

    def test_secrets(self):
        """
        Settings do not show their secrets.
        """
        shown = repr(
            AgentSettings(
                token="hunter2",
                httpProxy="http://u:hunter2@f",
                clientKey=b"hunter2",
                proxyCA=b"hunter2",
                clientCertificate=b"hunter2",
            )
        )
        self.assertNotIn("hunter2", shown)

    def test_certificates(self):
        """
        Certificates that are none are found out now.
        """
        for name in ("proxyCA", "clientCertificate"):
            for pem in (
                b"",
                b"hunter2",
                b"-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n",
                b"-----END CERTIFICATE-----\n",
            ):
                error = self.assertRaises(ConfigError, self.make, "https://p", **{name: pem})
                self.assertNotIn("hunter2", str(error))


class LifeTests(AgentTestCase):
    """
    Start and stop, with polls; L{invproxy.test.test_agent_tunnels} has the same with tunnels.
    """

    def test_endpoint(self):
        """
        It may connect to somewhere else than its URL says; the URL is what the proxy is asked for.
        """
        endpoint = TCP4ClientEndpoint(self.network, "127.0.0.1", 8080)
        agent = AgentService(
            self.network, "http://elsewhere.test/x", "web", self.origin, POLL, endpoint=endpoint
        )
        self.network.hosts["elsewhere.test"] = None
        self.start(agent)
        self.successResultOf(agent.whenReady())
        self.assertEqual({call.fields["host"] for call in self.proxy.calls}, {"elsewhere.test"})
        self.assertEqual(self.proxy.polls[0].target, "/x/agent/pending")

    def test_stopIdle(self):
        """
        Parked polls are dropped, their connections closed, and nothing is left.
        """
        agent = self.agent()
        polls = self.proxy.polls
        stopped = agent.stopService()
        self.network.pump()
        self.successResultOf(stopped)
        self.assertTrue(all(poll.lost for poll in polls))
        self.assertEqual(self.network.getDelayedCalls(), [])
        self.assertEqual(self.network.connections, [])
        self.assertEqual(self.origin.closed, 1)

    def test_stopBeforeReady(self):
        """
        An agent that has not reached its proxy stops at once; who waits for it hears so.
        """
        for prepare in (
            self.network.refuse,
            self.network.ignore,
            self.network.accept,
        ):
            prepare("proxy.test", 8080)
            self.proxy.probes.append(None)
            agent = self.agent()
            self.network.advance(1)
            ready = agent.whenReady()
            stopped = agent.stopService()
            self.network.pump()
            self.successResultOf(stopped)
            self.failureResultOf(ready, CancelledError)
            self.network.pump()
            self.assertEqual(self.network.getDelayedCalls(), [])

    def test_stopInBackoff(self):
        """
        So does one that waits before its next try.
        """
        agent = self.agent()
        self.proxy.polls[0].answer(503, fields=b"Retry-After: 200\r\n")
        stopped = agent.stopService()
        self.network.pump()
        self.successResultOf(stopped)
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_cancelReady(self):
        """
        Who does not want to wait any more may say so.
        """
        self.proxy.probes = [None]
        agent = self.agent()
        impatient, patient = agent.whenReady(), agent.whenReady()
        impatient.cancel()
        self.failureResultOf(impatient, CancelledError)
        self.proxy.calls[0].answer(404)
        self.successResultOf(patient)

    def test_stopWhenReady(self):
        """
        It may be stopped by the very news that it is ready.
        """
        self.proxy.probes = [None]
        agent = self.agent()
        stopped = agent.whenReady().addCallback(lambda _: agent.stopService())
        self.proxy.calls[0].answer(404)
        self.network.pump()
        self.successResultOf(stopped)
        self.assertEqual(self.proxy.of("pending"), [])

    def test_drain(self):
        """
        Exchanges in flight come to their ends; nothing new is asked for meanwhile.
        """
        agent = self.agent()
        self.begin(GET)
        upload = self.origin.uploads[0]
        upload.answer.respond(responseHead(200, b"OK", length=4))
        stopped = agent.stopService()
        self.network.advance(10)
        self.assertEqual(self.proxy.polls, [])
        self.assertNoResult(stopped)
        upload.answer.write(b"done")
        upload.answer.finish()
        [post] = self.proxy.posts()
        self.assertTrue(post.whole)
        self.assertNoResult(stopped)
        post.answer(200)
        self.network.pump()
        self.successResultOf(stopped)
        self.assertEqual(self.lines(), [])
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_drainFetch(self):
        """
        Among these is one whose request has not come yet.
        """
        agent = self.agent()
        self.proxy.offer("one")
        stopped = agent.stopService()
        self.proxy.fetches()[0].serve(GET)
        self.origin.uploads[0].reply()
        self.proxy.posts()[0].answer(200)
        self.network.pump()
        self.successResultOf(stopped)

    def test_drainTimeout(self):
        """
        What lasts too long is cut.
        """
        agent = self.agent(drainTimeout=5.0)
        self.begin(GET)
        stopped = agent.stopService()
        self.network.advance(4.9)
        self.assertNoResult(stopped)
        self.network.advance(0.2)
        self.successResultOf(stopped)
        self.assertIsNotNone(self.origin.uploads[0].fault)
        [line] = self.lines()
        self.assertIn("1 exchanges cut", line)
        self.network.pump()
        self.assertEqual(self.network.getDelayedCalls(), [])
        self.assertEqual(self.network.connections, [])

    def test_drainNothing(self):
        """
        A drain timeout of 0 cuts at once.
        """
        agent = self.agent(drainTimeout=0)
        self.begin(GET)
        stopped = agent.stopService()
        self.network.pump()
        self.successResultOf(stopped)

    def test_stopTwice(self):
        """
        A second stop waits for the first one, and hurries nobody.
        """
        agent = self.agent()
        self.begin(GET)
        first, second = agent.stopService(), agent.stopService()
        self.network.advance(1)
        self.assertNoResult(first)
        self.assertNoResult(second)
        self.assertFalse(self.proxy.posts()[0].lost)
        self.origin.uploads[0].reply()
        self.proxy.posts()[0].answer(200)
        self.network.pump()
        self.successResultOf(first)
        self.successResultOf(second)
        third = agent.stopService()
        self.successResultOf(third)

    def test_again(self):
        """
        It can be started again, any number of times.
        """
        agent = self.agent()
        for number in range(3):
            self.network.resultOf(agent.stopService())
            self.assertNoResult(agent.whenReady().addErrback(lambda _: None))
            agent.startService()
            self.network.pump()
            self.successResultOf(agent.whenReady())
            self.assertEqual(len(self.proxy.polls), 2)
            self.begin(GET, str(number))
            self.origin.uploads[-1].reply()
            self.proxy.posts(str(number))[0].answer(200)

    def test_againWhileDraining(self):
        """
        Even while it drains: the old exchanges go on, and the end of the drain does no harm to the new ones.
        """
        agent = self.agent()
        self.begin(GET)
        stopped = agent.stopService()
        agent.startService()
        self.network.pump()
        self.successResultOf(agent.whenReady())
        self.begin(GET, "two")
        self.origin.uploads[0].reply()
        self.proxy.posts()[0].answer(200)
        self.network.pump()
        self.successResultOf(stopped)
        self.assertEqual(self.origin.closed, 0)
        self.assertEqual(len(self.proxy.polls), 2)
        self.origin.uploads[1].reply()
        [post] = self.proxy.posts("two")
        self.assertIn(b"200 OK", post.body)
        post.answer(200)

    def test_startTwice(self):
        """
        A second start changes nothing.
        """
        agent = self.agent()
        agent.startService()
        self.network.pump()
        self.assertEqual(len(self.proxy.polls), 2)

    def test_children(self):
        """
        It can be a child among others, and the parent waits for its end.
        """
        parent = MultiService()
        agents = [
            AgentService(self.network, "http://proxy.test:8080", name, self.origin, POLL)
            for name in ("a", "b")
        ]
        for agent in agents:
            agent.setServiceParent(parent)
        parent.startService()
        self.network.pump()
        self.assertEqual(
            sorted(poll.fields["x-inverting-proxy-backend-id"] for poll in self.proxy.polls),
            ["a", "a", "b", "b"],
        )
        self.begin(GET)
        stopped = parent.stopService()
        self.network.advance(1)
        self.assertNoResult(stopped)
        self.origin.uploads[0].reply()
        self.proxy.posts()[0].answer(200)
        self.network.pump()
        self.successResultOf(stopped)
        late = AgentService(self.network, "http://proxy.test:8080", "c", self.origin, POLL)
        parent.startService()
        late.setServiceParent(parent)
        self.network.pump()
        self.assertEqual(len(self.proxy.polls), 6)
        self.network.resultOf(late.disownServiceParent())
        self.assertEqual(len(self.proxy.polls), 4)
        self.network.resultOf(parent.stopService())


class Hello(Resource):
    """
    Says hello, and to whom.
    """

    isLeaf = True

    def render_GET(self, request):
        return b"hello %b" % str(request.getClientAddress().host).encode()

    def render_POST(self, request):
        return request.content.read()[::-1]


if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object


class PairContract(_Base):
    """
    With the real proxy.

    @cvar transport: how exchanges reach the agent.
    """

    transport: str

    def pair(self, origin, **options):
        return InvertingPair(origin, transport=self.transport, **options)

    def cutUnder(self, pair):
        """
        Break the connection on which the one exchange depends.
        """
        raise NotImplementedError

    def test_clientAddress(self):
        """
        A Resource behind the agent learns the address of the client.
        """
        network = MemoryNetwork()
        with self.pair(Hello(), network=network) as pair:
            client = network.client("proxy.test", 8080, address="203.0.113.9")
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
            network.pump()
            self.assertTrue(client.received.endswith(b"hello 203.0.113.9"), client.received)
            client.close()
        self.assertEqual(pair.network.connections, [])

    def test_nothingLeft(self):
        """
        After C{stop} the agent has left no delayed call and no connection.
        """
        with self.pair(Hello()) as pair:
            for size in (1, 1000, 300_000):
                body = b"x" * size
                self.assertEqual(pair.request(b"POST", body=body + b"y").body, b"y" + body)
            pair.network.resultOf(pair.agent.stopService())
            pair.network.pump()
            self.assertEqual(
                [call for call in pair.network.getDelayedCalls() if "agent" in repr(call)], []
            )

    def test_agentRestarts(self):
        """
        A request that waits while the agent is away is answered when it is back.
        """
        with self.pair(Hello()) as pair:
            pair.network.resultOf(pair.agent.stopService())
            asked = pair.fetch()
            pair.network.advance(5)
            self.assertNoResult(asked)
            pair.agent.startService()
            self.assertEqual(pair.network.resultOf(asked).status, 200)

    def test_lostLifeline(self):
        """
        If its connection breaks under an exchange that may be repeated, the same agent gets it again, and at once.
        """
        origin = RecordingOrigin()
        with self.pair(origin, agentSettings=AgentSettings(connections=2)) as pair:
            pair.network.pump()
            asked = pair.fetch()
            pair.network.pump()
            self.assertEqual(len(origin.uploads), 1)
            self.cutUnder(pair)
            pair.network.advance(1)
            self.assertIsNotNone(origin.uploads[0].fault)
            origin.uploads[1].reply()
            self.assertEqual(pair.network.resultOf(asked).body, b"hi")


class TunnelPairTests(PairContract, SynchronousTestCase):
    """
    With a tunnel.
    """

    transport = "tunnel"

    def cutUnder(self, pair):
        # Of the two tunnels, which came before the client, that to which more was sent.
        pair.network.cut(max(pair.network.connections[:2], key=lambda link: link.fromServer))


class PollPairTests(PairContract, SynchronousTestCase):
    """
    With polls.
    """

    transport = "poll"

    def cutUnder(self, pair):
        [replay] = pair.agent._run.carrier._workload._replays.values()
        pair.network.cut(replay._post.upload._connection.transport)


class StockSiteTests(SynchronousTestCase):
    """
    With the real proxy under a site that knows no tunnels.
    """

    def test_stockSite(self):
        """
        A proxy under a stock site serves it, too, and whole bodies go both ways.
        """
        network = MemoryNetwork()
        root = Resource()
        root.putChild(b"proxy", ProxyResource(network, ProxySettings()))
        site = Site(root, reactor=network)
        port = network.listenTCP(8080, site)
        agent = AgentService(
            network, "http://p.test:8080/proxy", "web", ResourceOrigin(Hello(), clock=network)
        )
        agent.startService()
        self.assertEqual(network.resultOf(agent.whenReady()), "poll")
        asked = fetch(network, ("p.test", 8080), b"POST", b"/proxy/x", body=b"x" * 200_000 + b"y")
        self.assertEqual(network.resultOf(asked).body, b"y" + b"x" * 200_000)
        network.resultOf(agent.stopService())
        port.stopListening()
        network.pump()
