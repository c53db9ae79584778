"""
The streaming server over TLS.
"""

from __future__ import annotations

import trustme
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
    wrapClientTLS,
    wrapServerTLS,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import (
    Certificate,
    KeyPair,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.python.failure import Failure

from invproxy.errors import (
    CLIENT_GONE,
)
from invproxy.test.serving import (
    GET,
    SWITCHING,
    UPGRADE,
    Played,
    ServerTestCase,
    post,
    statuses,
)


class SecureClient(Protocol):
    """
    Takes down what it receives over TLS.
    """

    def __init__(self) -> None:
        self.received = b""
        self.closed = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True


class SecureTests(ServerTestCase):
    """
    What is different over TLS: no direction can be ended alone.
    """

    def setUp(self) -> None:
        super().setUp()
        authority = trustme.CA()
        issued = authority.issue_cert("a")
        options = PrivateCertificate.fromCertificateAndKeyPair(
            Certificate.loadPEM(issued.cert_chain_pems[0].bytes()),
            KeyPair.load(issued.private_key_pem.bytes(), 1),
        ).options()
        self.root = trustRootFromCertificates([Certificate.loadPEM(authority.cert_pem.bytes())])
        server = TCP4ServerEndpoint(self.network, 443)
        self.successResultOf(wrapServerTLS(options, server, clock=self.network).listen(self.site))

    def askSecurely(self, data: bytes) -> tuple[SecureClient, Played]:
        """
        Connect over TLS, and ask.
        """
        options = optionsForClientTLS("a", self.root)
        endpoint = wrapClientTLS(
            options, HostnameEndpoint(self.network, "a", 443), clock=self.network
        )
        client = self.network.resultOf(connectProtocol(endpoint, SecureClient()))
        self.tell(client, data)
        return client, self.origin.played[-1]

    def tell(self, client: SecureClient, data: bytes) -> None:
        """
        Let a client send something.
        """
        assert client.transport is not None
        client.transport.write(data)
        self.network.pump()

    def test_turnedAway(self) -> None:
        """
        Who is turned away before anything else is gone at once: no connection stays that nobody counts.
        """
        self.site.crowd.count = 1 << 30
        client = self.network.client("a", 443)
        self.network.pump()
        self.assertTrue(client.closed)
        self.assertEqual(self.network.connections, [])
        self.assertEqual(self.site.refusals.counts, {"too-many-connections": 1})

    def test_keptConnection(self) -> None:
        """
        Requests come and answers go.
        """
        client, played = self.askSecurely(GET)
        self.assertTrue(played.answer.peer.secure)
        played.reply(b"x" * 1000000)
        self.network.pump()
        self.tell(client, post(3) + b"abc")
        self.assertEqual(self.origin.played[1].body, b"abc")
        self.origin.played[1].reply()
        self.network.pump()
        self.assertEqual(statuses(client.received), [200, 200])

    def test_slowLeaver(self) -> None:
        """
        A client that takes its last answer slowly gets all of it though the site is closing.
        """
        client, played = self.askSecurely(GET)
        channel = self.channel()
        link = self.network.linkOf(client)
        size = 60000
        link.frozen = True
        played.reply(b"x" * size)
        self.network.advance(2)
        drained = self.site.drain()
        self.network.advance(2)
        self.assertTrue(channel.closing)
        link.frozen = False
        self.network.advance(1)
        self.assertEqual(len(client.received.partition(b"\r\n\r\n")[2]), size)
        self.successResultOf(drained)

    def test_closing(self) -> None:
        """
        What still comes once the server has closed is no request.
        """
        closing = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        client, played = self.askSecurely(closing)
        channel = self.channel()
        played.reply()
        channel.dataReceived(GET)
        self.network.pump()
        self.assertEqual(len(self.origin.played), 1)
        self.assertEqual(statuses(client.received), [200])
        self.assertTrue(client.closed)
        self.assertGone()

    def test_lingering(self) -> None:
        """
        A connection that is to end with an early answer lingers, and is closed without the help of the client.
        """
        client, played = self.askSecurely(post(10, b"Connection: close"))
        played.reply(b"early")
        self.network.pump()
        self.assertEqual(statuses(client.received), [200])
        self.tell(client, b"012")
        self.assertFalse(client.closed)
        self.network.advance(3)
        self.assertTrue(client.closed)
        self.assertGone()

    def test_noGoodbye(self) -> None:
        """
        A client that does not answer the end of TLS is cut off in the end.
        """
        client, played = self.askSecurely(GET)
        self.network.freeze(client)
        self.network.advance(1000)
        self.assertEqual(self.site.clients, 1)
        played.reply()
        self.network.advance(1000)
        self.assertGone()

    def test_upgraded(self) -> None:
        """
        An upgraded connection is closed with the first direction that ends.
        """
        client, played = self.askSecurely(UPGRADE + b"early")
        played.answer.respond(SWITCHING)
        played.answer.write(b"x")
        played.answer.finish()
        self.network.pump()
        self.assertEqual(played.body, b"early")
        self.assertTrue(client.received.endswith(b"\r\n\r\nx"))
        self.assertTrue(client.closed)
        self.assertEqual(played.codes, [CLIENT_GONE])
        self.assertGone()
