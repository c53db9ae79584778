"""
The agent's link to its proxy over TLS, and through forward proxies.
"""

import os
from pathlib import Path
from typing import Any

import trustme
from OpenSSL.crypto import FILETYPE_PEM, X509, load_certificate, load_privatekey
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.python.failure import Failure

from invproxy.agent.service import AgentService
from invproxy.agent.settings import AgentSettings
from invproxy.errors import ConfigError
from invproxy.test.scripted import AgentTestCase, ProxyWire, ScriptedProxy, Wire

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


def serverOptions(issued: trustme.LeafCert, clients: trustme.CA | None = None) -> Any:
    """
    Make the TLS options of a server.

    @param clients: what must have issued the certificates of clients.
    """
    leaf, *chain = [load_certificate(FILETYPE_PEM, blob.bytes()) for blob in issued.cert_chain_pems]
    trustRoot = None
    if clients is not None:
        trustRoot = trustRootFromCertificates([Certificate.loadPEM(clients.cert_pem.bytes())])
    return CertificateOptions(
        privateKey=load_privatekey(FILETYPE_PEM, issued.private_key_pem.bytes()),
        certificate=leaf,
        extraCertChain=chain,
        trustRoot=trustRoot,
    )


class SecureWire(ProxyWire):
    """
    A connection of an agent over TLS.
    """

    @property
    def peer(self) -> X509 | None:
        """
        The certificate that the agent has shown.
        """
        certificate: X509 | None = self.transport.getPeerCertificate()  # type: ignore[attr-defined]
        return certificate


class SecureProxy(ScriptedProxy):
    """
    The same proxy over TLS.
    """

    kind = SecureWire

    def __init__(self, network: Any, options: Any, port: int = 8443) -> None:
        super().__init__(network, port + 10000)
        self.port.stopListening()
        self.port = network.listenSSL(port, self, options)


class Tunnel(Wire):
    """
    A connection to a forward proxy: it does what it is asked for.
    """

    onward: Any = None

    def dataReceived(self, data: bytes) -> None:
        if self.onward is not None:
            self.onward.transport.write(data)
            return
        super().dataReceived(data)
        head, blank, _ = bytes(self.received).partition(b"\r\n\r\n")
        if blank:
            forward: Any = self.server
            forward.requests.append(head)
            if forward.answer is not None:
                self.transport.write(forward.answer)
                self.transport.loseConnection()
                return
            host, port = head.split(b" ")[1].rsplit(b":", 1)
            self.onward = Onward(self)
            endpoint = HostnameEndpoint(forward.network, host.decode(), int(port))
            connectProtocol(endpoint, self.onward)

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self.onward is not None and self.onward.transport is not None:
            self.onward.transport.loseConnection()


class Onward(Protocol):
    """
    The other half of a L{Tunnel}.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel

    def connectionMade(self) -> None:
        self.tunnel.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:
        self.tunnel.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.tunnel.transport.loseConnection()


class LinkTestCase(AgentTestCase):
    """
    A proxy over TLS, and a forward proxy.
    """

    def setUp(self) -> None:
        super().setUp()
        self.ca = trustme.CA()
        self.secure = SecureProxy(self.network, serverOptions(self.ca.issue_cert("proxy.test")))
        self.plain, self.proxy = self.proxy, self.secure

    def serveExchange(self, agent: AgentService) -> None:
        """
        The agent is ready, and an exchange passes.
        """
        self.successResultOf(agent.whenReady())
        self.begin(GET)
        self.origin.uploads[-1].reply()
        [post] = self.proxy.posts()
        self.assertTrue(post.body.endswith(b"hi"))
        post.answer(200)
        self.assertEqual(self.lines(), [])

    def trouble(self, **options: Any) -> str:
        """
        An agent does not get through; what it says about it, in one line.
        """
        agent = self.agent(url="https://proxy.test:8443", **options)
        self.network.advance(60)
        self.assertNoResult(agent.whenReady().addErrback(lambda _: None))
        self.assertEqual(self.secure.calls, [])
        [line] = self.lines()
        return line


class TLSTests(LinkTestCase):
    """
    Straight to the proxy.
    """

    def test_ca(self) -> None:
        """
        A proxy whose certificate the CA has issued is trusted.
        """
        agent = self.agent(url="https://proxy.test:8443/x", proxyCA=self.ca.cert_pem.bytes())
        self.serveExchange(agent)
        self.assertEqual(self.proxy.calls[0].fields["host"], "proxy.test:8443")
        self.assertEqual(self.proxy.polls[0].target, "/x/agent/pending")

    def test_several(self) -> None:
        """
        The file may hold several CAs, and text between them.
        """
        pem = b"one\n" + trustme.CA().cert_pem.bytes() + b"two\n" + self.ca.cert_pem.bytes()
        self.serveExchange(self.agent(url="https://proxy.test:8443", proxyCA=pem))

    def test_otherCA(self) -> None:
        """
        Another proxy is not.
        """
        line = self.trouble(proxyCA=trustme.CA().cert_pem.bytes(), token="s3cret")
        self.assertIn("certificate verify failed", line)
        self.assertNotIn("s3cret", self.everything())

    def test_systemTrust(self) -> None:
        """
        Without a CA it is the system's that count.
        """
        self.assertIn("certificate verify failed", self.trouble())

    def test_systemTrusts(self) -> None:
        """
        What the system trusts is trusted.
        """
        path = self.mktemp()
        Path(path).write_bytes(self.ca.cert_pem.bytes())
        self.patch(os, "environ", {**os.environ, "SSL_CERT_FILE": path})
        os.putenv("SSL_CERT_FILE", path)
        self.addCleanup(os.unsetenv, "SSL_CERT_FILE")
        self.serveExchange(self.agent(url="https://proxy.test:8443"))

    def test_otherHost(self) -> None:
        """
        A certificate for another host is refused.
        """
        self.secure.port.stopListening()
        self.network.pump()
        options = serverOptions(self.ca.issue_cert("elsewhere.test"))
        self.secure.port = self.network.listenSSL(8443, self.secure, options)
        line = self.trouble(proxyCA=self.ca.cert_pem.bytes())
        self.assertIn("another host name", line)

    def test_expired(self) -> None:
        """
        So is one that has expired.
        """
        from datetime import UTC, datetime

        self.secure.port.stopListening()
        self.network.pump()
        old = self.ca.issue_cert("proxy.test", not_after=datetime(2020, 1, 1, tzinfo=UTC))
        self.secure.port = self.network.listenSSL(8443, self.secure, serverOptions(old))
        self.assertIn("certificate", self.trouble(proxyCA=self.ca.cert_pem.bytes()))

    def test_address(self) -> None:
        """
        A proxy may be named by its address, if its certificate is.
        """
        self.secure.port.stopListening()
        self.network.pump()
        options = serverOptions(self.ca.issue_cert("127.0.0.1"))
        self.secure.port = self.network.listenSSL(8443, self.secure, options)
        self.serveExchange(
            self.agent(url="https://127.0.0.1:8443", proxyCA=self.ca.cert_pem.bytes())
        )

    def test_notTLS(self) -> None:
        """
        A proxy that speaks no TLS is said to be none.
        """
        agent = self.agent(url="https://proxy.test:8080", proxyCA=self.ca.cert_pem.bytes())
        self.network.advance(60)
        self.assertEqual(len(self.lines()), 1)
        self.network.resultOf(agent.stopService())

    def test_silentHandshake(self) -> None:
        """
        One that accepts connections and says nothing holds the agent for a while, not for ever.
        """
        self.secure.port.stopListening()
        self.network.pump()
        silent = Factory.forProtocol(Protocol)
        silent.noisy = False
        port = self.network.listenTCP(8443, silent)
        agent = self.agent(url="https://proxy.test:8443", proxyCA=self.ca.cert_pem.bytes())
        self.network.advance(30)
        [line] = self.lines()
        self.assertIn("no answer in time", line)
        port.stopListening()
        self.network.pump()
        self.secure.port = self.network.listenSSL(
            8443, self.secure, serverOptions(self.ca.issue_cert("proxy.test"))
        )
        self.network.advance(60)
        self.successResultOf(agent.whenReady())

    def test_clientCertificate(self) -> None:
        """
        The agent shows its certificate, the whole chain of it, and the key may be in the same file.
        """
        clients = trustme.CA()
        issued = clients.create_child_ca().issue_cert("agent.test")
        self.secure.port.stopListening()
        self.network.pump()
        options = serverOptions(self.ca.issue_cert("proxy.test"), clients)
        self.secure.port = self.network.listenSSL(8443, self.secure, options)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        key = issued.private_key_pem.bytes()
        choices: list[dict[str, Any]] = [
            {"clientCertificate": chain, "clientKey": key},
            {"clientCertificate": chain + key},
            {"clientCertificate": key + chain},
        ]
        for settings in choices:
            agent = self.agent(
                url="https://proxy.test:8443", proxyCA=self.ca.cert_pem.bytes(), **settings
            )
            self.successResultOf(agent.whenReady())
            peer = self.proxy.polls[0].wire.peer  # type: ignore[attr-defined]
            self.assertIn("trustme", str(peer.get_subject()))
            self.network.resultOf(agent.stopService())
            self.network.pump()

    def test_noClientCertificate(self) -> None:
        """
        Without one it is not let in where one is asked for.
        """
        self.secure.port.stopListening()
        self.network.pump()
        options = serverOptions(self.ca.issue_cert("proxy.test"), trustme.CA())
        self.secure.port = self.network.listenSSL(8443, self.secure, options)
        self.trouble(proxyCA=self.ca.cert_pem.bytes())

    def test_wrongKey(self) -> None:
        """
        A key of another certificate is found out when the agent is made.
        """
        one, two = (self.ca.issue_cert("agent.test") for _ in range(2))
        for certificate, key in (
            (one.cert_chain_pems[0].bytes(), two.private_key_pem.bytes()),
            (one.cert_chain_pems[0].bytes(), None),
            (one.cert_chain_pems[0].bytes(), b"-----BEGIN PRIVATE KEY-----\nhunter2\n"),
        ):
            settings = AgentSettings(clientCertificate=certificate, clientKey=key)
            error = self.assertRaises(
                ConfigError,
                AgentService,
                self.network,
                "https://proxy.test",
                "web",
                self.origin,
                settings,
            )
            self.assertNotIn("hunter2", str(error))

    def test_cut(self) -> None:
        """
        A response that breaks is cut here, too.
        """
        from invproxy.errors import ORIGIN_BAD_RESPONSE, Fault
        from invproxy.http1.heads import responseHead

        self.agent(url="https://proxy.test:8443", proxyCA=self.ca.cert_pem.bytes())
        self.begin(GET)
        answer = self.origin.uploads[0].answer
        answer.respond(responseHead(200, b"OK"))
        answer.write(b"hello")
        self.network.pump()
        answer.fail(Fault(ORIGIN_BAD_RESPONSE))
        self.network.pump()
        post, report = self.proxy.posts()
        self.assertIn(b"hello", post.body)
        report.answer(200)
        self.assertTrue(post.lost)
        self.assertFalse(post.whole)

    def test_backPressure(self) -> None:
        """
        And a proxy that does not read holds the origin back.
        """
        from invproxy.http1.heads import responseHead

        self.agent(url="https://proxy.test:8443", proxyCA=self.ca.cert_pem.bytes())
        self.begin(GET)
        upload = self.origin.uploads[0]
        upload.answer.respond(responseHead(200, b"OK"))
        [post] = self.proxy.posts()
        post.wire.transport.pauseProducing()  # type: ignore[attr-defined]
        written = 0
        while not upload.held:
            upload.answer.write(b"x" * 16384)
            written += 16384
            self.network.pump()
            self.assertLess(written, 2 << 20)
        post.wire.transport.resumeProducing()  # type: ignore[attr-defined]
        self.network.pump()
        self.assertFalse(upload.held)


class ForwardProxyTests(LinkTestCase):
    """
    Through a forward proxy.
    """

    def setUp(self) -> None:
        super().setUp()
        self.forward = self.listen()
        self.network.hosts["inside.test"] = "127.0.0.1"

    def listen(self, options: Any = None) -> Any:
        """
        Start a forward proxy.
        """
        from invproxy.test.scripted import RawServer

        forward: Any = RawServer(self.network, 3128 if options is None else 13128)
        forward.kind = Tunnel
        forward.requests = []
        forward.answer = None
        if options is not None:
            forward.port.stopListening()
            forward.port = self.network.listenSSL(3129, forward, options)
        return forward

    def test_plain(self) -> None:
        """
        To a proxy without TLS, too, CONNECT is the way.
        """
        self.proxy = self.plain
        self.serveExchange(self.agent(httpProxy="http://forward.test:3128"))
        self.assertEqual(
            set(self.forward.requests),
            {b"CONNECT proxy.test:8080 HTTP/1.1\r\nHost: proxy.test:8080"},
        )

    def test_secure(self) -> None:
        """
        TLS goes through, and the certificate is the proxy's.
        """
        agent = self.agent(
            url="https://proxy.test:8443",
            proxyCA=self.ca.cert_pem.bytes(),
            httpProxy="http://me:hunter2%40@forward.test:3128",
            token="s3cret",
        )
        self.serveExchange(agent)
        [request] = set(self.forward.requests)
        self.assertIn(b"\r\nProxy-Authorization: Basic bWU6aHVudGVyMkA=", request)
        self.assertNotIn(b"Bearer", request)
        self.assertNotIn("proxy-authorization", self.proxy.calls[0].fields)
        for secret in ("hunter2", "bWU6", "s3cret"):
            self.assertNotIn(secret, self.everything() + repr(agent._settings))

    def test_refused(self) -> None:
        """
        A refusal is said once, with what it was, and without credentials.
        """
        self.forward.answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
        line = self.trouble(httpProxy="http://me:hunter2@forward.test:3128")
        self.assertIn("407 Proxy Authentication Required", line)
        self.assertNotIn("hunter2", self.everything())

    def test_garbage(self) -> None:
        """
        So is an answer that is none.
        """
        self.forward.answer = b"hello\r\n\r\n"
        self.assertIn("not HTTP", self.trouble(httpProxy="http://forward.test:3128"))

    def test_down(self) -> None:
        """
        So is a forward proxy that is not there.
        """
        self.network.refuse("forward.test", 3128)
        self.assertIn("refused", self.trouble(httpProxy="http://forward.test:3128"))

    def test_otherHost(self) -> None:
        """
        What answers behind it must be the proxy all the same.
        """
        line = self.trouble(
            proxyCA=trustme.CA().cert_pem.bytes(), httpProxy="http://forward.test:3128"
        )
        self.assertIn("certificate verify failed", line)

    def test_forwardOverTLS(self) -> None:
        """
        The way to the forward proxy may be TLS itself, by the system's trust.
        """
        path = self.mktemp()
        Path(path).write_bytes(self.ca.cert_pem.bytes())
        os.putenv("SSL_CERT_FILE", path)
        self.addCleanup(os.unsetenv, "SSL_CERT_FILE")
        forward = self.listen(serverOptions(self.ca.issue_cert("forward.test")))
        agent = self.agent(
            url="https://proxy.test:8443",
            proxyCA=self.ca.cert_pem.bytes(),
            httpProxy="https://forward.test:3129",
        )
        self.serveExchange(agent)
        self.assertTrue(forward.requests)

    def test_forwardNotTrusted(self) -> None:
        """
        One that is not trusted learns nothing.
        """
        forward = self.listen(serverOptions(self.ca.issue_cert("forward.test")))
        line = self.trouble(httpProxy="https://me:hunter2@forward.test:3129")
        self.assertIn("certificate verify failed", line)
        self.assertEqual(forward.requests, [])

    def test_badURL(self) -> None:
        """
        A URL that is none is refused, and not shown.
        """
        for url in ("ftp://hunter2@f", "f:3128", "http://u:hunter2@", "http://u:hunter2@f:x"):
            error = self.assertRaises(
                ConfigError,
                AgentService,
                self.network,
                "http://p",
                "web",
                self.origin,
                AgentSettings(httpProxy=url),
            )
            self.assertNotIn("hunter2", str(error))
