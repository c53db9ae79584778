"""
The streaming client: requests to a server, and its responses.
"""

from __future__ import annotations

from zope.interface.verify import verifyObject

from invproxy.errors import INTERNAL, ORIGIN_BAD_RESPONSE
from invproxy.http1.framing import CHUNKED
from invproxy.http1.limits import Limits
from invproxy.interfaces import IOrigin, IUpload
from invproxy.test.asking import KIB, MIB, OK, SWITCHING, ClientTestCase, Served
from invproxy.test.helpers import requestHead


class RequestTests(ClientTestCase):
    """
    Requests are written as they come.
    """

    def test_interfaces(self) -> None:
        """
        The interfaces are provided.
        """
        answer = self.ask()
        self.assertTrue(verifyObject(IOrigin, self.client))
        self.assertTrue(verifyObject(IUpload, answer.upload))

    def test_withoutBody(self) -> None:
        """
        Head and fields, and that is all.
        """
        self.ask(requestHead(b"REPORT", b"/a?b", [(b"X-Y", b"z"), (b"TE", b"trailers")]))
        self.assertEqual(
            self.server.all[0].take(),
            b"REPORT /a?b HTTP/1.1\r\nHost: example.com\r\nX-Y: z\r\n"
            b"Connection: TE\r\nTE: trailers\r\n\r\n",
        )

    def test_length(self) -> None:
        """
        A body of known length goes out piece by piece, after the head.
        """
        answer = self.ask(requestHead(b"POST", framing=6), end=False)
        self.assertEqual(
            self.server.all[0].take(),
            b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 6\r\n\r\n",
        )
        for piece in (b"abc", b"", b"def"):
            self.send(answer, piece)
            self.assertEqual(self.server.all[0].take(), piece)
        self.upload(answer).finish(b"\r\nX-Sum: 1")
        self.network.pump()
        self.assertEqual(self.server.all[0].take(), b"")
        self.serve(OK)
        self.assertOK(answer)

    def test_chunked(self) -> None:
        """
        One of unknown length in chunks, with trailers.
        """
        answer = self.ask(requestHead(b"POST", framing=CHUNKED), end=False)
        self.assertEqual(
            self.server.all[0].take(),
            b"POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        self.send(answer, b"")
        self.send(answer, b"x" * 20)
        self.assertEqual(self.server.all[0].take(), b"14\r\nxxxxxxxxxxxxxxxxxxxx\r\n")
        self.upload(answer).finish(b"\r\nX-Sum: 1")
        self.network.pump()
        self.assertEqual(self.server.all[0].take(), b"0\r\nX-Sum: 1\r\n\r\n")

    def test_wrongLength(self) -> None:
        """
        A body longer or shorter than its length never gets out as if it were right.
        """
        longer = self.ask(requestHead(b"POST", framing=3), b"ab", b"cd")
        shorter = self.ask(requestHead(b"POST", framing=3), b"ab")
        for answer in (longer, shorter):
            self.assertFailed(answer, INTERNAL)
            self.upload(answer).write(b"x")
            self.upload(answer).finish()
        self.network.pump()
        for served in self.server.all:
            self.assertTrue(served.over)
        self.assertEqual(self.client.connections, set())

    def test_beforeConnected(self) -> None:
        """
        What is sent before the connection stands comes after the head, in order.
        """
        self.network.ignore("127.0.0.1", 80)
        answer = self.ask(requestHead(b"POST", framing=CHUNKED), b"ab", b"c")
        self.assertFalse(answer.uploadHeld)
        self.network.accept("127.0.0.1", 80)
        self.network.pump()
        _, _, body = self.server.all[0].take().partition(b"\r\n\r\n")
        self.assertEqual(body, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")

    def test_muchBeforeConnected(self) -> None:
        """
        It is bounded, and asked for again once the connection stands; the upload does not hang.
        """
        for size in (64 * KIB, 65 * KIB, 300 * KIB):
            self.network.ignore("127.0.0.1", 80)
            answer = self.ask(requestHead(b"POST", framing=MIB), b"x" * 63 * KIB, end=False)
            self.assertFalse(answer.uploadHeld)
            self.send(answer, b"x" * (size - 63 * KIB))
            self.assertTrue(answer.uploadHeld)
            self.network.accept("127.0.0.1", 80)
            self.network.pump()
            self.assertFalse(answer.uploadHeld)
            self.send(answer, b"x" * (MIB - size))
            self.upload(answer).finish()
            self.network.pump()
            self.serve(OK)
            self.assertOK(answer)
            self.network.advance(2)

    def test_muchBeforeConnectedToSlowServer(self) -> None:
        """
        It is not asked for before the server has taken it.
        """
        self.network.ignore("127.0.0.1", 80)
        answer = self.ask(requestHead(b"POST", framing=MIB), b"x" * 300 * KIB, end=False)
        self.network.accept("127.0.0.1", 80)
        held: list[bool] = []
        self.patch(answer, "pauseUpload", lambda: held.append(True))
        self.patch(answer, "resumeUpload", lambda: held.append(False))
        connectionMade = Served.connectionMade

        def slow(served: Served) -> None:
            connectionMade(served)
            served.call("pauseProducing")

        self.patch(Served, "connectionMade", slow)
        self.network.pump()
        self.assertTrue(held[-1])
        self.server.all[0].call("resumeProducing")
        self.network.pump()
        self.assertFalse(held[-1])


class ResponseTests(ClientTestCase):
    """
    Responses are passed on as they come.
    """

    def test_streamed(self) -> None:
        """
        Head and pieces at once.
        """
        answer = self.ask()
        self.serve(b"HTTP/1.1 207 Many\r\nContent-Length: 4\r\n\r\n")
        assert answer.head is not None
        self.assertEqual((answer.head.status, answer.body, answer.finished), (207, b"", False))
        self.serve(b"ab")
        self.assertEqual((answer.body, answer.finished), (b"ab", False))
        self.serve(b"cd")
        self.assertEqual((answer.body, answer.finished), (b"abcd", True))

    def test_byteByByte(self) -> None:
        """
        However the bytes arrive, interim responses, chunks and trailers come out.
        """
        self.network.segment = 1
        answer = self.ask()
        self.serve(
            b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 100 \r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2;x=y\r\nab\r\n1\r\nc\r\n0\r\nX-Sum: 1\r\n\r\n"
        )
        self.assertEqual([head.status for head in answer.interim], [103, 100])
        self.assertEqual((answer.body, answer.trailers), (b"abc", b"\r\nX-Sum: 1"))
        self.assertEqual(len(self.client._kept), 1)

    def test_bodyless(self) -> None:
        """
        Answers to HEAD, and those with 204 or 304, end with their heads. The connection is kept but where a body was
        announced: a server that sends it all the same, and late, must not answer the next request with it.
        """
        for method, status in ((b"HEAD", 200), (b"GET", 204), (b"GET", 304)):
            for framing in (
                b"Content-Length: 9",
                b"Transfer-Encoding: chunked",
                b"Content-Length: 0",
                b"X: y",
            ):
                before = len(self.server.all)
                answer = self.ask(requestHead(method))
                self.serve(b"HTTP/1.1 %d X\r\n%b\r\n\r\n" % (status, framing))
                self.assertTrue(answer.finished)
                isKept = framing in (b"Content-Length: 0", b"X: y")
                self.assertEqual(len(self.client._kept), isKept, (method, status, framing))
                self.assertLessEqual(len(self.server.all), before + 1)

    def test_untilClose(self) -> None:
        """
        A body without any framing lasts until the server closes.
        """
        for close in ("loseConnection", "loseWriteConnection"):
            answer = self.ask()
            self.serve(b"HTTP/1.1 200 OK\r\n\r\nab")
            self.assertEqual((answer.body, answer.finished), (b"ab", False))
            served = self.serve(b"cd", close)
            self.assertEqual((answer.body, answer.finished), (b"abcd", True))
            self.assertTrue(served.over)
            self.assertEqual(self.client.connections, set())

    def test_untilReset(self) -> None:
        """
        A reset is not such an end.
        """
        answer = self.ask()
        self.serve(b"HTTP/1.1 200 OK\r\n\r\nab")
        self.serve(b"", "abortConnection")
        self.assertFailed(answer, ORIGIN_BAD_RESPONSE)

    def test_truncated(self) -> None:
        """
        A response that ends too early never looks whole, wherever it breaks.
        """
        whole = (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        )
        for response in whole:
            for close in ("loseConnection", "loseWriteConnection", "abortConnection"):
                for length in range(len(response)):
                    answer = self.ask()
                    self.serve(response[:length])
                    self.serve(b"", close)
                    self.assertFailed(answer, ORIGIN_BAD_RESPONSE)
                    self.assertEqual(self.client.connections, set())

    def test_malformed(self) -> None:
        """
        What is not HTTP fails the exchange, before its head and after it, and closes the connection.
        """
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for response in (
            b"what?\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nX: y\nZ: z\r\n\r\n",
            SWITCHING,
            b"HTTP/1.1 103 Early\r\n\r\nwhat?\r\n",
            head + b"what?\r\n",
            head + b"1\r\nxx\r\n",
            head + b"0\r\nContent-Length: 3\r\n\r\n",
        ):
            answer = self.ask()
            served = self.serve(response + OK)
            self.assertFailed(answer, ORIGIN_BAD_RESPONSE)
            self.assertEqual(answer.head is not None, response.startswith(head))
            self.assertTrue(served.over)
            self.assertEqual(self.client.connections, set())

    def test_limits(self) -> None:
        """
        Responses are bounded.
        """
        self.client = self.makeClient(limits=Limits(head=100))
        answer = self.ask()
        self.serve(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100)
        self.assertFailed(answer, ORIGIN_BAD_RESPONSE)
