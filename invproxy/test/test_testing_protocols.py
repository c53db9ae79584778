"""
HTTP and TLS as Twisted and treq do them, over the network in memory.
"""

import trustme
from treq.client import HTTPClient
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
    serverFromString,
    wrapClientTLS,
    wrapServerTLS,
)
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.ssl import (
    Certificate,
    KeyPair,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from invproxy.test.test_testing import KIB, Echo, Recorder
from invproxy.testing import MemoryNetwork


class Page(Resource):
    """
    Answers with what was asked, after a second.
    """

    isLeaf = True

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def render_GET(self, request):
        self.clock.callLater(1, self.answer, request)
        return NOT_DONE_YET

    def answer(self, request):
        request.write(b"page " + request.path)
        request.finish()


class HTTPTests(SynchronousTestCase):
    """
    Twisted's and treq's HTTP over the network.
    """

    def setUp(self):
        self.network = MemoryNetwork()
        self.pool = HTTPConnectionPool(self.network)
        self.client = HTTPClient(Agent(self.network, pool=self.pool))
        self.site = Site(Page(self.network), reactor=self.network)

    def fetch(self, method, url, **options):
        response = self.network.resultOf(self.client.request(method, url, **options))
        return response.code, self.network.resultOf(response.content())

    def test_treq(self):
        """
        Requests and responses, over one connection that is kept.
        """
        serverFromString(self.network, "tcp:80:interface=127.0.0.1").listen(self.site)
        self.assertEqual(self.fetch("GET", "http://site.example/a"), (200, b"page /a"))
        self.assertEqual(self.fetch("GET", "http://site.example/b"), (200, b"page /b"))
        self.assertEqual(len(self.network.connections), 1)
        self.network.resultOf(self.pool.closeCachedConnections())

    def test_byteByByte(self):
        """
        The same with bytes that come one by one.
        """
        self.network.segment = 1
        self.network.listenTCP(80, self.site)
        self.assertEqual(self.fetch("GET", "http://site.example/a"), (200, b"page /a"))


class TLSTests(SynchronousTestCase):
    """
    TLS as endpoints do it.
    """

    def setUp(self):
        self.network = MemoryNetwork()
        authority = trustme.CA()
        issued = authority.issue_cert("site.example")
        self.options = PrivateCertificate.fromCertificateAndKeyPair(
            Certificate.loadPEM(issued.cert_chain_pems[0].bytes()),
            KeyPair.load(issued.private_key_pem.bytes(), 1),
        ).options()
        self.root = trustRootFromCertificates([Certificate.loadPEM(authority.cert_pem.bytes())])

    def connect(self, name):
        server = wrapServerTLS(
            self.options, TCP4ServerEndpoint(self.network, 443), clock=self.network
        )
        self.successResultOf(server.listen(Factory.forProtocol(Echo)))
        endpoint = wrapClientTLS(
            optionsForClientTLS(name, self.root),
            HostnameEndpoint(self.network, name, 443),
            clock=self.network,
        )
        return self.network.resultOf(connectProtocol(endpoint, Recorder()))

    def test_echo(self):
        """
        Much data both ways, and a clean close.
        """
        client = self.connect("site.example")
        client.transport.write(b"x" * 1000 * KIB)
        self.network.pump()
        self.assertEqual(len(client.received), 1000 * KIB)
        self.assertGreater(self.network.linkOf(client).fromServer, 1000 * KIB)
        client.transport.loseConnection()
        self.network.pump()
        self.assertIs(client.lost.type, ConnectionDone)
        self.assertEqual(self.network.connections, [])

    def test_https(self):
        """
        An Agent needs endpoints that know the network: left alone, Twisted's TLS writes by the global reactor.
        """
        network, root = self.network, self.root

        @implementer(IAgentEndpointFactory)
        class Endpoints:
            def endpointForURI(self, uri):
                host = uri.host.decode("ascii")
                return wrapClientTLS(
                    optionsForClientTLS(host, root),
                    HostnameEndpoint(network, host, uri.port),
                    clock=network,
                )

        network.listenSSL(443, Site(Page(network), reactor=network), self.options)
        client = HTTPClient(Agent.usingEndpointFactory(network, Endpoints()))
        response = network.resultOf(client.get("https://site.example/a"))
        self.assertEqual(network.resultOf(response.content()), b"page /a")

    def test_wrongName(self):
        """
        Certificates are checked.
        """
        client = self.connect("other.example")
        self.network.pump()
        self.assertIn("VerificationError", str(client.lost))
