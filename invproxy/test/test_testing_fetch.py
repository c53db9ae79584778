"""
One request over the network in memory.
"""

from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from invproxy.errors import Fault
from invproxy.test.test_testing import Recorder
from invproxy.testing import MemoryNetwork, Response, ResponseLost, fetch


class FetchTests(SynchronousTestCase):
    """
    L{fetch} against a server that answers by hand.
    """

    def setUp(self):
        self.network = MemoryNetwork()
        self.server = Recorder()
        self.network.listenTCP(80, Factory.forProtocol(lambda: self.server))

    def ask(self, *arguments, **options):
        self.asked = fetch(self.network, ("server.example", 80), *arguments, **options)
        self.network.pump()
        return self.server.received

    def answer(self, data):
        self.server.transport.write(data)
        self.network.pump()
        return self.asked

    def test_request(self):
        """
        What is sent: Host and the length of a body are added where they lack.
        """
        self.assertEqual(self.ask(), b"GET / HTTP/1.1\r\nHost: server.example\r\n\r\n")

    def test_requestBody(self):
        """
        A body with its length.
        """
        self.assertEqual(
            self.ask(b"POST", b"/a?b", [(b"X-Y", b"z"), (b"HOST", b"other")], b"body"),
            b"POST /a?b HTTP/1.1\r\nContent-Length: 4\r\nX-Y: z\r\nHOST: other\r\n\r\nbody",
        )

    def test_requestTrailers(self):
        """
        A chunked body with trailers.
        """
        self.assertEqual(
            self.ask(b"POST", b"/", [], b"ten bytes.", trailers=[(b"X-T", b"t")]),
            b"POST / HTTP/1.1\r\nHost: server.example\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"a\r\nten bytes.\r\n0\r\nX-T: t\r\n\r\n",
        )

    def test_response(self):
        """
        All parts of a response; the connection is closed after it.
        """
        self.ask()
        self.answer(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        self.answer(b"HTTP/1.1 404 Nix da\r\nA: 1\r\na: 2\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertNoResult(self.asked)
        response = self.successResultOf(self.answer(b"3\r\nabc\r\n0\r\nT: t\r\n\r\n"))
        self.assertEqual(
            response,
            Response(404, b"Nix da", [(b"A", b"1"), (b"a", b"2")], b"abc", [(b"T", b"t")], [103]),
        )
        self.assertEqual(response.values(b"A"), [b"1", b"2"])
        self.assertEqual(self.network.connections, [])

    def test_untilClose(self):
        """
        A body that lasts until the connection is closed.
        """
        self.ask()
        self.answer(b"HTTP/1.1 200 OK\r\n\r\nbody")
        self.server.transport.loseConnection()
        self.network.pump()
        self.assertEqual(self.successResultOf(self.asked).body, b"body")

    def test_untilReset(self):
        """
        The same cut short.
        """
        self.ask()
        self.answer(b"HTTP/1.1 200 OK\r\n\r\nbody")
        self.server.transport.abortConnection()
        self.network.pump()
        lost = self.failureResultOf(self.asked, ResponseLost).value
        self.assertEqual(lost.partial.body, b"body")
        self.assertIsInstance(lost.reason, ConnectionLost)

    def test_truncated(self):
        """
        A body that is shorter than its length; a head that never came.
        """
        self.ask()
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbody")
        self.server.transport.loseConnection()
        self.network.pump()
        lost = self.failureResultOf(self.asked, ResponseLost).value
        self.assertEqual((lost.partial.status, lost.partial.body), (200, b"body"))
        self.assertIsInstance(lost.reason, ConnectionDone)
        self.server = Recorder()
        self.ask()
        self.server.transport.loseConnection()
        self.network.pump()
        self.assertIsNone(self.failureResultOf(self.asked, ResponseLost).value.partial)

    def test_notHTTP(self):
        """
        What is not HTTP.
        """
        self.ask()
        lost = self.failureResultOf(self.answer(b"220 smtp ready\r\n"), ResponseLost).value
        self.assertIsInstance(lost.reason, Fault)
        self.assertEqual(self.network.connections, [])

    def test_badRequest(self):
        """
        A request that is not HTTP is not sent.
        """
        self.assertRaises(Fault, self.ask, b"GET", b"/a b")

    def test_refused(self):
        """
        No connection.
        """
        asked = fetch(self.network, ("server.example", 81))
        self.network.pump()
        self.failureResultOf(asked, ConnectionRefusedError)

    def test_cancel(self):
        """
        To cancel is to abort.
        """
        self.ask()
        self.asked.cancel()
        self.network.pump()
        self.assertIs(self.server.lost.type, ConnectionLost)
        self.failureResultOf(self.asked)

    def test_unix(self):
        """
        Over a UNIX socket.
        """
        self.network.listenUNIX("/s", Factory.forProtocol(lambda: self.server))
        self.asked = fetch(self.network, "/s")
        self.network.pump()
        response = self.successResultOf(self.answer(b"HTTP/1.1 204 No Content\r\n\r\n"))
        self.assertEqual((response.status, response.reason), (204, b"No Content"))
