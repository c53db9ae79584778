"""
Whole messages out of a stream of bytes, however it is cut.
"""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.errors import Fault
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import Limits
from invproxy.http1.readers import RequestReader, ResponseReader
from invproxy.test import messages
from invproxy.test.messages import Taker, examples, readRequests, readResponse

SMALL = Limits(head=300, line=60, fields=6, chunkLine=30, trailers=80)

junk = st.one_of(
    st.binary(max_size=400),
    st.lists(
        st.one_of(
            messages.requests(),
            messages.responses(),
            st.binary(max_size=9),
            st.sampled_from(
                [b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"GET / HTTP/1.1", b"a: b", b"x" * 90]
            ),
        ),
        max_size=6,
    ).map(b"".join),
)


class AnyCut(SynchronousTestCase):
    """
    The same bytes in other pieces are read the same way.
    """

    @examples(120)
    @given(messages.pieces(messages.pipelines))
    def test_validRequests(self, pieces: list[bytes]) -> None:
        whole = readRequests([b"".join(pieces)])
        self.assertIsNone(whole.fault)
        self.assertTrue(all(message.finished for message in whole.messages))
        self.assertEqual(whole.told(), readRequests(pieces).told())

    @examples(120)
    @given(messages.pieces(messages.responses()), st.sampled_from([b"GET", b"HEAD"]))
    def test_validResponses(self, pieces: list[bytes], method: bytes) -> None:
        whole = readResponse([b"".join(pieces)], method=method)
        self.assertEqual(whole.told(), readResponse(pieces, method=method).told())

    @examples(120)
    @given(messages.pieces(messages.mutated(messages.pipelines)))
    def test_mutatedRequests(self, pieces: list[bytes]) -> None:
        """
        A fault may be seen sooner or later, but what was told before it is the same.
        """
        whole = readRequests([b"".join(pieces)])
        self.assertEqual(whole.told(), readRequests(pieces).told())

    @examples(120)
    @given(messages.pieces(messages.mutated(messages.responses())))
    def test_mutatedResponses(self, pieces: list[bytes]) -> None:
        whole = readResponse([b"".join(pieces)], upgrade=b"websocket")
        self.assertEqual(whole.told(), readResponse(pieces, upgrade=b"websocket").told())

    @examples(120)
    @given(messages.pieces(messages.mutated(messages.pipelines)))
    def test_atTheLimits(self, pieces: list[bytes]) -> None:
        """
        Whether something is too large does not hang on how it was cut.
        """
        whole = readRequests([b"".join(pieces)], SMALL)
        self.assertEqual(whole.told(), readRequests(pieces, SMALL).told())


class AnyBytes(SynchronousTestCase):
    """
    Nothing but a Fault is ever raised (the drivers let all else through), and no more is held than the limits allow.
    """

    @examples(120)
    @given(messages.pieces(junk))
    @example([b"\r", b"\n", b"\r", b"\n"])
    def test_requests(self, pieces: list[bytes]) -> None:
        self.assertLessEqual(readRequests(pieces, SMALL).held, SMALL.head)

    @examples(120)
    @given(messages.pieces(junk))
    def test_responses(self, pieces: list[bytes]) -> None:
        reading = readResponse(pieces, SMALL, upgrade=b"websocket")
        self.assertLessEqual(reading.held, SMALL.head)

    def test_endless(self) -> None:
        """
        What never ends is refused at the limit, head, chunk line and trailer section alike.
        """
        chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for start, endless, code in (
            (b"", b"G", "target-too-long"),
            (b"GET / HTTP/1.1\r\n", b"a: b\r\n", "head-too-large"),
            (b"GET / HTTP/1.1\r\n", b"a", "head-too-large"),
            (chunked, b"0", "bad-request"),
            (chunked + b"1;", b"a", "bad-request"),
            (chunked + b"0\r\n", b"a: b\r\n", "bad-request"),
            (chunked + b"0\r\n", b"a", "bad-request"),
        ):
            for size in (1, 7, 100):
                reading = readRequests([start, *[endless * size] * 600], SMALL)
                assert reading.fault is not None
                self.assertEqual(reading.fault.code.name, code)
                self.assertLessEqual(reading.held, SMALL.head)


class Requests(SynchronousTestCase):
    """
    L{RequestReader}.
    """

    def test_pipelined(self) -> None:
        reading = readRequests(
            [
                b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
                b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"2;x=y\r\nde\r\n1\r\nf\r\n0\r\nX-T: 1\r\n\r\n"
                b"GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nbehind"
            ]
        )
        self.assertIsNone(reading.fault)
        self.assertEqual(
            [(m.body, m.trailers, m.finished) for m in reading.messages],
            [(b"abc", b"", True), (b"def", b"\r\nX-T: 1", True), (b"", b"", True)],
        )
        self.assertEqual(reading.rest, b"behind")

    def test_waitsBetweenRequests(self) -> None:
        """
        The second of two requests is not opened before L{RequestReader.next}.
        """
        opened: list[RequestHead] = []

        def open(head: RequestHead) -> Taker:
            opened.append(head)
            return Taker(head)

        reader = RequestReader(Limits(), open)
        self.assertTrue(reader.atStart())
        reader.feed(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\n")
        self.assertTrue(reader.ended)
        reader.feed(b"Host: a\r\n\r\n")
        self.assertEqual([head.target for head in opened], [b"/1"])
        reader.next()
        self.assertEqual([head.target for head in opened], [b"/1", b"/2"])
        reader.next()
        self.assertEqual((reader.atStart(), reader.ended, reader.inHead()), (True, False, True))
        reader.feed(b"G")
        self.assertEqual((reader.atStart(), reader.inHead()), (False, True))

    def test_oneEmptyLine(self) -> None:
        """
        One empty line before a request is let pass in whatever pieces, and does not count as its begin.
        """
        reader = RequestReader(Limits(), Taker)
        reader.feed(b"\r")
        reader.feed(b"\n")
        self.assertTrue(reader.atStart())
        reader.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertTrue(reader.ended)
        reader.next()
        self.assertTrue(reader.ended)

    def test_redirect(self) -> None:
        first, second = Taker(), Taker()
        heads: list[RequestHead] = []

        def open(head: RequestHead) -> Taker:
            heads.append(head)
            first.head = second.head = head
            return first

        reader = RequestReader(Limits(), open)
        reader.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        reader.redirect(second)
        reader.feed(b"cd")
        self.assertEqual((first.body, first.finished), (b"ab", False))
        self.assertEqual((second.body, second.finished), (b"cd", True))

    def test_bodyIsNotHeld(self) -> None:
        """
        Bytes of a body are passed on as they come.
        """
        taker = Taker()

        def open(head: RequestHead) -> Taker:
            taker.head = head
            return taker

        reader = RequestReader(Limits(), open)
        reader.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na")
        self.assertEqual(taker.body, b"a")
        reader.feed(b"b")
        self.assertEqual(taker.body, b"ab")
        self.assertFalse(taker.finished)


class Responses(SynchronousTestCase):
    """
    L{ResponseReader}.
    """

    def reader(
        self, method: bytes = b"GET", upgrade: bytes | None = None
    ) -> tuple[ResponseReader, Taker]:
        taker = Taker()
        return ResponseReader(Limits(), RequestHead(method, b"/", upgrade=upgrade), taker), taker

    def test_interims(self) -> None:
        """
        Each response has so many interim ones before it, and not one more.
        """
        request = RequestHead(b"GET", b"/")
        taker = Taker()
        reader = ResponseReader(Limits(interims=2), request, taker)
        early = b"HTTP/1.1 103 Early\r\n\r\n"
        for _ in range(3):
            for _ in range(2):
                reader.feed(early)
            reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            taker.head, taker.finished = None, False
            reader.begin(request)
        reader.feed(early * 2)
        fault = self.assertRaises(Fault, reader.feed, early)
        self.assertEqual(fault.detail, "more than 2 interim responses")

    def test_interim(self) -> None:
        reader, taker = self.reader()
        self.assertFalse(reader.hasBegun())
        reader.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        self.assertTrue(reader.hasBegun())
        self.assertEqual([head.status for head in taker.interim], [100, 103])
        self.assertEqual(taker.interim[1].fields, b"\r\nLink: </a>")
        self.assertIsNone(reader.head)
        reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab")
        self.assertTrue(reader.ended)
        self.assertEqual((taker.body, taker.finished), (b"ab", True))

    def test_untilClose(self) -> None:
        reader, taker = self.reader()
        reader.feed(b"HTTP/1.0 200 OK\r\n\r\nab")
        self.assertEqual((taker.body, taker.finished), (b"ab", False))
        self.assertTrue(reader.eof())
        self.assertTrue(taker.finished)
        self.assertTrue(reader.eof())

    def test_cut(self) -> None:
        """
        A connection that ends in the midst of a response is told by L{ResponseReader.eof}, and nothing looks whole.
        """
        for data in (
            b"",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: y\r\n",
        ):
            reader, taker = self.reader()
            reader.feed(data)
            self.assertFalse(reader.eof(), data)
            self.assertFalse(taker.finished, data)

    def test_noBody(self) -> None:
        """
        HEAD, 204 and 304 have no body, whatever their fields say; what comes behind is kept apart.
        """
        for method, status in ((b"HEAD", 200), (b"GET", 204), (b"GET", 304)):
            for framing in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
                reader, taker = self.reader(method)
                reader.feed(b"HTTP/1.1 %d X\r\n%b\r\n\r\n0\r\n\r\n" % (status, framing))
                self.assertTrue(taker.finished)
                assert isinstance(taker.head, ResponseHead)
                self.assertTrue(taker.head.announcesBody)
                self.assertEqual((taker.body, reader.rest), (b"", b"0\r\n\r\n"))

    def test_upgraded(self) -> None:
        reader, taker = self.reader(upgrade=b"websocket")
        reader.feed(
            b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw"
        )
        reader.feed(b"\r\n\r\nmore")
        self.assertEqual((taker.body, taker.finished), (b"raw\r\n\r\nmore", False))
        self.assertTrue(reader.eof())
        self.assertTrue(taker.finished)
