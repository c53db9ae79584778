"""
What is wrong with requests, and what goes wrong in origins.
"""

from __future__ import annotations

from invproxy.errors import (
    BAD_REQUEST,
    INTERNAL,
    TOO_MANY_CONNECTIONS,
    Fault,
)
from invproxy.http1.fields import value
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import ResponseHead
from invproxy.http1.limits import Limits
from invproxy.test.serving import (
    GET,
    OPEN_ENDED,
    PORT,
    Played,
    ServerTestCase,
    post,
    responses,
    statuses,
)
from invproxy.testing.client import MemoryClient


class MalformedTests(ServerTestCase):
    """
    Bad input gets a clear answer and a closed connection.
    """

    def assertRefused(self, client: MemoryClient, status: int, before: int = 0) -> None:
        """
        The client got one last answer, that says what was wrong, and then the connection was closed.
        """
        answers = responses(client.take())
        self.assertEqual(len(answers), before + 1)
        head = answers[-1].head
        assert isinstance(head, ResponseHead)
        self.assertEqual((head.status, head.keepAlive), (status, False))
        self.assertTrue(client.ended)
        self.send(client, GET)
        self.assertEqual(client.take(), b"")
        client.close()
        self.network.pump()
        self.assertGone()

    def test_head(self) -> None:
        """
        A head that is not HTTP/1.1 is refused, as the first and behind others; what follows it is not read.
        """
        bad = (
            (400, b"GET /\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
            (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
            (400, post(3, b"Content-Length: 3")),
            (400, post(CHUNKED, b"Content-Length: 3")),
            (501, post(3).replace(b"Content-Length: 3", b"Transfer-Encoding: gzip, chunked")),
            (417, post(3, b"Expect: a miracle")),
            (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
            (414, b"GET /" + b"a" * 20000),
            (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70000),
        )
        self.origin.onOpen = lambda played: played.reply()
        for status, data in bad:
            for before in (0, 2):
                client = self.connect(GET * before + data + b"\r\n\r\n" + GET)
                self.assertRefused(client, status, before)
        self.assertEqual(len(self.origin.played), 2 * len(bad))
        self.assertEqual(
            [stream.status for stream in self.ended if stream.error],
            [status for status, _ in bad for _ in range(2)],
        )

    def test_headByteByByte(self) -> None:
        """
        It is refused as soon as that can be seen, however the bytes arrive.
        """
        self.network.segment = 1
        client = self.connect(b"GET / HTTP/1.1\r\nHost: a\nX: y")
        self.assertRefused(client, 400)

    def test_behindRequestThatWaits(self) -> None:
        """
        The request before it gets its answer first.
        """
        client, played = self.ask(GET + b"what?\r\n\r\n")
        self.assertEqual(client.take(), b"")
        played.reply(b"x")
        self.network.pump()
        self.assertRefused(client, 400, 1)

    def test_body(self) -> None:
        """
        A body that breaks its framing aborts the exchange, and gets an answer if there was none.
        """
        client, played = self.ask(post(CHUNKED) + b"3\r\nabc\r\nwhat?\r\n" + GET)
        self.assertEqual((played.body, played.trailers), (b"abc", []))
        self.assertEqual(played.codes, [BAD_REQUEST])
        self.assertRefused(client, 400)
        self.assertEqual(played.codes, [BAD_REQUEST])
        self.assertEqual([stream.error for stream in self.ended], [BAD_REQUEST])

    def test_bodyDuringAnswer(self) -> None:
        """
        If there was one, it is cut.
        """
        client, played = self.ask(post(CHUNKED))
        played.answer.respond(OPEN_ENDED)
        played.answer.write(b"x")
        self.network.pump()
        self.send(client, b"what?\r\n")
        self.assertEqual(played.codes, [BAD_REQUEST])
        self.assertFalse(client.take().endswith(b"0\r\n\r\n"))
        self.assertIsNotNone(client.closed)
        self.assertGone()

    def test_trailers(self) -> None:
        """
        So are trailers that may not be any.
        """
        client, played = self.ask(post(CHUNKED) + b"0\r\nContent-Length: 3\r\n\r\n")
        self.assertEqual((played.trailers, played.codes), ([], [BAD_REQUEST]))
        self.assertRefused(client, 400)

    def test_limits(self) -> None:
        """
        The limits are the site's.
        """
        self.serve(PORT + 1, limits=Limits(head=100))
        client = self.connect(GET[:-2] + b"X: " + b"a" * 100, PORT + 1)
        self.assertRefused(client, 431)

    def test_unread(self) -> None:
        """
        A client that floods after it was refused is not read for ever, and the answer is not lost.
        """
        client = self.connect(b"what?\r\n\r\n")
        for _ in range(10):
            self.send(client, b"x" * 1024 * 1024)
        self.assertEqual(statuses(client.take()), [400])
        self.assertLess(client.link.fromClient, 3 * 1024 * 1024)
        self.network.advance(3)
        self.assertIsNotNone(client.closed)
        self.assertGone()


class OriginErrorTests(ServerTestCase):
    """
    What an origin raises does not reach the client, and the connection does not hang.
    """

    def test_faultFromOpen(self) -> None:
        """
        A L{Fault} is answered as what it is.
        """

        def refuse(played: Played) -> None:
            raise Fault(TOO_MANY_CONNECTIONS)

        self.origin.onOpen = refuse
        for body in (b"", b"abc"):
            client = self.connect((post(3) + body if body else GET) * 2)
            first, second = responses(client.take())
            assert isinstance(first.head, ResponseHead)
            self.assertEqual(first.head.status, 503)
            self.assertEqual(value(first.head.fields, b"retry-after"), b"1")
            self.assertIsNotNone(second.head)

    def test_errorFromOpen(self) -> None:
        """
        Anything else is a 500 and goes to the log; the connection goes on.
        """

        def fail(played: Played) -> None:
            raise ZeroDivisionError

        self.origin.onOpen = fail
        client = self.connect(GET + post(3) + b"abc" + GET)
        self.assertEqual(statuses(client.take()), [500] * 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_errorFromOpenAfterHead(self) -> None:
        """
        If it has begun to answer, the answer is cut.
        """

        def fail(played: Played) -> None:
            played.answer.respond(OPEN_ENDED)
            played.answer.write(b"x")
            raise ZeroDivisionError

        self.origin.onOpen = fail
        client = self.connect(GET + GET)
        self.assertNotIn(b"0\r\n\r\n", client.take())
        self.assertIsNotNone(client.closed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([stream.error for stream in self.ended], [INTERNAL])

    def test_errorFromBody(self) -> None:
        """
        One from the body of a request, or its end, is a 500 as well, and then the connection is closed.
        """

        def fail(data: bytes = b"") -> None:
            raise ZeroDivisionError

        for name, data in (("onWrite", post(6) + b"abc"), ("onFinish", GET + GET)):

            def prepare(played: Played, name: str = name) -> None:
                setattr(played, name, fail)

            self.origin.onOpen = prepare
            client, played = self.ask(data)
            self.assertEqual(statuses(client.take()), [500])
            self.assertEqual(played.codes, [INTERNAL])
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            client.close()
            self.network.pump()
            self.assertGone()
