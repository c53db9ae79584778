"""
By which way a request came: the client, the host and TLS, as trusted proxies tell.
"""

from __future__ import annotations

from ipaddress import ip_network

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from invproxy.auth.approaches import Approaches
from invproxy.proxy.settings import ProxySettings
from invproxy.test.helpers import FakePeer, requestHead


class ApproachTests(SynchronousTestCase):
    """
    L{Approaches}.
    """

    def setUp(self) -> None:
        settings = ProxySettings(trustedProxies=(ip_network("192.0.2.0/24"),))
        self.approaches = Approaches(settings.trusts)
        self.proxy = FakePeer()
        self.stranger = FakePeer()
        self.stranger.address = IPv4Address("TCP", "203.0.113.1", 1)
        self.unix = FakePeer()
        self.unix.address = UNIXAddress(b"/socket")

    def clientOf(self, peer: FakePeer, *chains: bytes) -> object:
        fields = [(b"X-Forwarded-For", chain) for chain in chains]
        return self.approaches.clientOf(requestHead(fields=fields), peer)

    def test_client(self) -> None:
        """
        The last address that a trusted proxy has seen and that is none itself; further to the left stands what anybody
        can make up.
        """
        self.assertIs(self.clientOf(self.stranger, b"198.51.100.1"), self.stranger)
        self.assertIs(self.clientOf(self.proxy), self.proxy)
        self.assertIs(self.clientOf(self.unix, b"198.51.100.1"), self.unix)
        for chains, client in (
            ((b"198.51.100.1",), "198.51.100.1"),
            ((b"1.2.3.4, 198.51.100.1",), "198.51.100.1"),
            ((b"1.2.3.4, 198.51.100.1, 192.0.2.9",), "198.51.100.1"),
            ((b"1.2.3.4", b"198.51.100.1"), "198.51.100.1"),
            ((b"203.0.113.9:51234",), "203.0.113.9"),
            ((b"1.2.3.4, [2001:db8::1]:443",), "2001:db8::1"),
            ((b"2001:DB8:0::1",), "2001:db8::1"),
            ((b"198.51.100.1, 192.0.2.9:80",), "198.51.100.1"),
        ):
            self.assertEqual(self.clientOf(self.proxy, *chains), client)
        self.assertIs(self.clientOf(self.proxy, b"192.0.2.8, 192.0.2.9"), self.proxy)
        for chain in (b"1.2.3.4, unknown", b"1.2.3.4, \xe9", b"1.2.3.4, 5.6.7", b"[::1"):
            expected = "::1" if chain == b"[::1" else self.proxy
            self.assertEqual(self.clientOf(self.proxy, chain), expected)
        many = b"198.51.100.1" + b", 192.0.2.9" * 5000
        self.assertIs(self.clientOf(self.proxy, many), self.proxy)
        self.approaches = Approaches(trustsUnix=True)
        self.assertEqual(self.clientOf(self.unix, b"1.2.3.4, 198.51.100.1"), "198.51.100.1")
        self.assertIs(self.clientOf(self.proxy, b"198.51.100.1"), self.proxy)

    def test_forwarded(self) -> None:
        """
        The same where trusted proxies send only Forwarded, whatever clients put into it.
        """
        for lines, client in (
            ((b"for=198.51.100.1",), "198.51.100.1"),
            ((b"for=1.2.3.4, for=198.51.100.1;proto=https;by=_x",), "198.51.100.1"),
            ((b"for=1.2.3.4", b"proto=https; For=198.51.100.1"), "198.51.100.1"),
            ((b'for=1.2.3.4,for="198.51.100.1:51234", for=192.0.2.9',), "198.51.100.1"),
            ((b'for="[2001:db8::1]:443"',), "2001:db8::1"),
            ((b'for=", for=198.51.100.1',), "198.51.100.1"),
            ((b"for=1.2.3.4, for=_hidden",), None),
            ((b"for=1.2.3.4, for=unknown",), None),
            ((b"for=1.2.3.4, proto=https",), None),
            ((b"for=198.51.100.1;for=1.2.3.4",), None),
            ((b'for=198.51.100.1;host="a,for=1.2.3.4"',), None),
            ((b'for=198.51.100.1;host="a,for=1.2.3.4;b"',), None),
            ((b'for=198.51.100.1;host="a,for=1.2.3.4;b=\\""',), None),
            ((b"xfor=198.51.100.1",), None),
            ((b"",), None),
        ):
            fields = [(b"Forwarded", line) for line in lines]
            found = self.approaches.clientOf(requestHead(fields=fields), self.proxy)
            self.assertEqual(found, client or self.proxy, lines)
        fields = [(b"Forwarded", b"for=1.2.3.4"), (b"X-Forwarded-For", b"198.51.100.1")]
        found = self.approaches.clientOf(requestHead(fields=fields), self.proxy)
        self.assertEqual(found, "198.51.100.1")
        found = self.approaches.clientOf(requestHead(fields=fields), self.stranger)
        self.assertIs(found, self.stranger)

    def isSecure(self, peer: FakePeer, *fields: tuple[bytes, bytes]) -> bool:
        return self.approaches.isSecure(requestHead(fields=fields), peer)

    def test_secure(self) -> None:
        """
        What the trusted proxy says, in either form, else what the connection is.
        """
        https = (b"X-Forwarded-Proto", b"HTTPS")
        self.assertFalse(self.isSecure(self.stranger, https))
        self.assertFalse(self.isSecure(self.proxy))
        self.assertTrue(self.isSecure(self.proxy, https))
        self.assertTrue(self.isSecure(self.proxy, (b"X-Forwarded-Proto", b"https, http")))
        self.assertFalse(self.isSecure(self.proxy, (b"X-Forwarded-Proto", b"http, https")))
        for text, outcome in (
            (b"for=1.2.3.4;proto=https;by=a", True),
            (b"proto=http, proto=https", False),
            (b'for=_a; Proto="https"', True),
            (b"for=_a", False),
            (b"xproto=https", False),
        ):
            self.assertEqual(self.isSecure(self.proxy, (b"Forwarded", text)), outcome, text)
        self.proxy.secure = True
        self.assertTrue(self.isSecure(self.proxy))
        self.assertFalse(self.isSecure(self.proxy, (b"X-Forwarded-Proto", b"http")))

    def test_host(self) -> None:
        """
        The host that the browser asked for, if a trusted proxy tells of it.
        """

        def hostOf(peer: FakePeer, *fields: tuple[bytes, bytes]) -> bytes:
            return self.approaches.hostOf(requestHead(fields=fields), peer)

        told = (b"X-Forwarded-Host", b"public.example:8443")
        self.assertEqual(hostOf(self.stranger, told), b"example.com")
        self.assertEqual(hostOf(self.proxy), b"example.com")
        self.assertEqual(hostOf(self.proxy, told), b"public.example:8443")
        self.assertEqual(hostOf(self.proxy, (told[0], b"a b")), b"example.com")
