"""
Documents of issuers over the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone, ResponseNeverReceived

from invproxy.auth.fetching import Fetcher, FetchError, isSafe


class Body:
    """
    A response, whose body the test sends.
    """

    def __init__(self, code: int = 200) -> None:
        self.code = code
        self.left = False
        self.protocol: Protocol | None = None

    def deliverBody(self, protocol: Protocol) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def loseConnection(self) -> None:
        self.left = True

    def send(self, data: bytes) -> None:
        assert self.protocol is not None
        self.protocol.dataReceived(data)

    def end(self, reason: type[Exception] = ResponseDone) -> None:
        assert self.protocol is not None
        self.protocol.connectionLost(Failure(reason()))


class Client:
    """
    Stands in for treq's client.
    """

    def __init__(self, answer: Callable[[], Deferred[Any]]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def request(self, method: str, url: str, **options: Any) -> Deferred[Any]:
        self.asked.append((url, {"method": method, **options}))
        return self.answer()


class FetcherTests(SynchronousTestCase):
    """
    L{Fetcher}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.body = Body()
        self.client = Client(lambda: succeed(self.body))
        self.fetch = Fetcher(self.clock, self.client)

    def assertFails(self, fetched: Deferred[bytes], why: str) -> None:
        error = self.failureResultOf(fetched, FetchError).value
        self.assertIn(why, str(error))
        self.assertNotIn("\n", str(error))

    def test_body(self) -> None:
        """
        The whole body, and no redirection is followed.
        """
        fetched = self.fetch("https://a.example/b")
        self.body.send(b"{")
        self.body.send(b"}")
        self.assertNoResult(fetched)
        self.body.end()
        self.assertEqual(self.successResultOf(fetched), b"{}")
        ((url, options),) = self.client.asked
        self.assertEqual(url, "https://a.example/b")
        self.assertEqual(options["method"], "GET")
        self.assertIs(options["allow_redirects"], False)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_status(self) -> None:
        """
        Anything but 200 is a failure, and its body is not waited for.
        """
        for code in (301, 404, 500):
            self.body = Body(code)
            self.assertFails(self.fetch("https://a.example/"), f"it answered {code}")
            self.assertTrue(self.body.left)

    def test_send(self) -> None:
        """
        Other requests are within the same bounds, and their answers are given whatever the status.
        """
        self.body = Body(400)
        sent = self.fetch.send("POST", "https://a.example/", {"X-A": "1"}, b"data")
        self.body.send(b"no")
        self.body.end()
        self.assertEqual(self.successResultOf(sent), (400, b"no"))
        ((_, options),) = self.client.asked
        self.assertEqual((options["method"], options["data"]), ("POST", b"data"))
        self.assertEqual(options["headers"]["X-A"], "1")

    def test_bound(self) -> None:
        """
        More than a mebibyte is not read.
        """
        fetched = self.fetch("https://a.example/")
        self.body.send(b"x" * (1 << 20))
        self.assertNoResult(fetched)
        self.body.send(b"x")
        self.assertFails(fetched, "larger than 1 MiB")
        self.assertTrue(self.body.left)
        self.body.send(b"more")
        self.body.end()

    def test_late(self) -> None:
        """
        After ten seconds it is given up, and so is its connection.
        """
        fetched = self.fetch("https://a.example/")
        self.body.send(b"x")
        self.clock.advance(10)
        self.assertFails(fetched, "no answer within 10 s")
        self.assertTrue(self.body.left)

    def test_cancelled(self) -> None:
        """
        Who does not want it any more hears of no failure, and its connection is given up.
        """
        fetched = self.fetch("https://a.example/")
        fetched.cancel()
        self.failureResultOf(fetched, CancelledError)
        self.assertTrue(self.body.left)

    def test_broken(self) -> None:
        """
        What breaks says why, in one line.
        """
        fetched = self.fetch("https://a.example/")
        self.body.end(ConnectionRefusedError)
        self.assertFails(fetched, "ConnectionRefusedError")
        reasons = ResponseNeverReceived([Failure(ValueError("bad\nTLS"))])
        self.client.answer = lambda: fail(reasons)
        self.assertFails(self.fetch("https://a.example/"), "ValueError: bad TLS")

    def test_safe(self) -> None:
        """
        Nothing is asked for where somebody on the way could change it.
        """
        for url, safe in (
            ("https://a.example/", True),
            ("http://127.0.0.1:8000/", True),
            ("http://localhost/", True),
            ("http://[::1]/", True),
            ("http://a.example/", False),
            ("http://127.0.0.1.example/", False),
            ("http://127.0.0.1@a.example/", False),
            ("https:///", False),
            ("https://a.example/\r\nSet-Cookie: a=b", False),
            ("https://a.example\n", False),
            ("https://a.example/\tb", False),
            ("https://a.example/a b", False),
            ("https://\xe4.example/", False),
            ("file:///etc/passwd", False),
            ("https://[", False),
            ("", False),
        ):
            self.assertEqual(isSafe(url), safe, url)
            if not safe:
                self.assertFails(self.fetch(url), "must begin with https://")
        self.assertEqual(self.client.asked, [])
