"""
Heads, parsed and written.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.errors import Fault
from invproxy.http1.fields import items, join
from invproxy.http1.framing import CHUNKED, UNTIL_CLOSE
from invproxy.http1.heads import RequestHead, ResponseHead, responseHead
from invproxy.http1.limits import DEFAULT_LIMITS, Limits
from invproxy.http1.parsing import parseAnyRequest, parseAnyResponse, parseRequest, parseResponse
from invproxy.test import messages
from invproxy.test.messages import examples, partsOf


def request(data: bytes) -> RequestHead:
    return parseRequest(data, DEFAULT_LIMITS)


def response(data: bytes, method: bytes = b"GET", *, upgrading: bool = False) -> ResponseHead:
    return parseResponse(data, DEFAULT_LIMITS, method, upgrading=upgrading)


def headOf(data: bytes) -> bytes:
    """
    The head at the begin of a message.
    """
    return data[: data.index(b"\r\n\r\n") + 4]


class Requests(SynchronousTestCase):
    """
    L{parseRequest} and L{RequestHead}.
    """

    def test_attributes(self) -> None:
        head = request(
            b"POST /a?b HTTP/1.1\r\nhost:a:80\t\r\nX: \xe4\r\nExpect: 100-Continue\r\nContent-Length: 3"
            b"\r\nTE: trailers\r\nConnection: close, TE\r\nx: 2\r\n\r\n"
        )
        self.assertEqual((head.method, head.target, head.path()), (b"POST", b"/a?b", b"/a"))
        self.assertEqual(
            head.fields,
            b"\r\nhost:a:80\t\r\nX: \xe4\r\nExpect: 100-Continue\r\nContent-Length: 3\r\nx: 2",
        )
        self.assertEqual((head.framing, head.minor, head.host), (3, 1, b"a:80"))
        self.assertEqual((head.keepAlive, head.upgrade, head.trailers), (False, None, True))
        self.assertTrue(head.expectsContinue)

    def test_untouched(self) -> None:
        """
        A head without fields of the hop is sent on as it came, byte for byte.
        """
        for data in (
            b"GET / HTTP/1.1\r\nHost:a\r\n\r\n",
            b'get /a/../%2e?"<>\\^`{|}|[] HTTP/1.1\r\nhOST:  a \r\nA:\r\na: \xff\xfe \t\r\nA:\t\tb\r\n\r\n',
            b"!#$%&'*+-.^_`|~ / HTTP/1.1\r\n!#$%&'*+-.^_`|~: 1\r\nHost: [fe80::1]:8080\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
            b"PUT / HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\nTrailer: A\r\nMax-Forwards: 1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: xn--a_b.a%20c~!$&'()*+,;=:\r\nX-Upgrade: h2c\r\nTea: b\r\n\r\n",
        ):
            self.assertEqual(request(data).encode(), data)

    @examples(150)
    @given(messages.requests())
    def test_stable(self, data: bytes) -> None:
        """
        What is sent on is read back as the same, and fields end to end keep case, order, repetition and values.
        """
        data = headOf(data)
        head = request(data)
        if head.host is None:
            head = head.withHost(b"a")
        again = request(head.encode())
        self.assertEqual(again.encode(), head.encode())
        for name in "method", "target", "fields", "framing", "host", "upgrade", "expectsContinue":
            self.assertEqual(getattr(again, name), getattr(head, name), name)
        lines = data.split(b"\r\n")[1:-2]
        went = iter(lines)
        for line in head.fields.split(b"\r\n")[1:]:
            if not line.lower().startswith(b"host:"):
                self.assertIn(line, went)  # which goes on in the iterator: a subsequence
        dropped = set(lines) - set(head.fields.split(b"\r\n"))
        for line in dropped:
            self.assertRegex(
                line,
                rb"(?i)\A(connection|x-hop|keep-alive|te|upgrade|proxy-connection|transfer-encoding|expect|host):",
            )

    def test_upgrade(self) -> None:
        head = request(
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket, x/1\r\nA: b\r\nConnection: keep-alive, Upgrade\r\n\r\n"
        )
        self.assertEqual(head.upgrade, b"websocket, x/1")
        self.assertEqual(
            head.encode(),
            b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nConnection: Upgrade\r\nUpgrade: websocket, x/1\r\n\r\n",
        )

    def test_chunked(self) -> None:
        head = request(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nHost: a\r\nTE: trailers\r\n\r\n"
        )
        self.assertEqual(head.framing, CHUNKED)
        self.assertEqual(
            head.encode(),
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: TE\r\nTE: trailers\r\n\r\n",
        )

    def test_oldVersion(self) -> None:
        """
        HTTP/1.0 clients get no keep-alive, no 100, no trailers; what goes on is HTTP/1.1 once it has a Host.
        """
        head = request(
            b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\nExpect: 100-continue"
            b"\r\nTE: trailers\r\n\r\n"
        )
        self.assertEqual((head.minor, head.host, head.keepAlive), (0, None, False))
        self.assertEqual((head.expectsContinue, head.trailers), (False, False))
        self.assertEqual(
            head.withHost(b"a").encode(), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"
        )

    def test_withHost(self) -> None:
        head = request(b"GET / HTTP/1.1\r\nA: host\r\nhOST: a\r\nB: c\r\n\r\n").withHost(b"b:1")
        self.assertEqual(head.host, b"b:1")
        self.assertEqual(head.fields, b"\r\nA: host\r\nhOST: b:1\r\nB: c")
        for host in b"u@a", b"a/", b"a\r\nb: c", b"a b", b"a\\1", b"a" * 262:
            self.assertRaises(Fault, head.withHost, host)

    def test_longHost(self) -> None:
        """
        A host is no longer than a name can be: some are remembered for a while.
        """
        longest = b"a" * 255 + b":65535"
        for data in (
            b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: %b\r\n\r\n",
            b"GET http://%b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://%b HTTP/1.0\r\n\r\n",
        ):
            self.assertEqual(request(data % longest).host, longest)
            fault = self.assertRaises(Fault, request, data % (b"a" + longest))
            self.assertEqual(fault.code.name, "bad-request")
            self.assertLess(len(fault.detail), 60)

    def test_withoutExpect(self) -> None:
        head = request(
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
        ).withoutExpect()
        self.assertEqual(head.fields, b"\r\nHost: a\r\nContent-Length: 1")
        self.assertFalse(head.expectsContinue)

    def test_replayable(self) -> None:
        """
        Only idempotent requests without a body may be sent a second time.
        """
        for lines, expected in (
            (b"GET / HTTP/1.1\r\n", True),
            (b"DELETE / HTTP/1.1\r\nContent-Length: 0\r\n", True),
            (b"POST / HTTP/1.1\r\n", False),
            (b"get / HTTP/1.1\r\n", False),
            (b"PUT / HTTP/1.1\r\nContent-Length: 1\r\n", False),
            (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", False),
            (b"GET / HTTP/1.1\r\nUpgrade: a\r\nConnection: upgrade\r\n", False),
        ):
            self.assertEqual(request(lines + b"Host: a\r\n\r\n").isReplayable(), expected)

    def test_path(self) -> None:
        for target, path in ((b"*", b"/"), (b"/a?b?c", b"/a"), (b"/?", b"/")):
            self.assertEqual(RequestHead(b"OPTIONS", target).path(), path)

    def test_faultsAreClear(self) -> None:
        """
        A fault names what is wrong, and no values of fields, which may be secret.
        """
        for data, detail in (
            (b"GET / HTTP/1.1\r\nHost: a\r\nCookie: secret\0\r\n\r\n", "field line 2 (Cookie)"),
            (b"GET / HTTP/1.1\r\nHost: a\r\n secret\r\n\r\n", "field line 2"),
            (b"GET / HTTP/1.1\r\n\r\n", "no Host"),
            (b"GET / HTTP/3.0\r\n\r\n", "HTTP/3.0"),
        ):
            fault = self.assertRaises(Fault, request, data)
            self.assertEqual(fault.detail, detail)

    def test_noBacktracking(self) -> None:
        """
        A head that fails at its very end fails at once: the time grows with its length alone.
        """
        data = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:" * 32000 + b"\r\n" * 200 + b"\0\r\n\r\n"
        self.assertRaises(Fault, parseRequest, data, Limits(head=10**6, fields=10**6))

    def test_fieldLimit(self) -> None:
        """
        The count is bounded also where lines are as short as may be.
        """
        fields = b"\r\na:" * 255
        request(b"GET / HTTP/1.1\r\nHost:a%b\r\n\r\n" % fields)
        fault = self.assertRaises(
            Fault, request, b"GET / HTTP/1.1\r\nHost:a%b\r\nb:\r\n\r\n" % fields
        )
        self.assertEqual(fault.code.name, "head-too-large")


class Responses(SynchronousTestCase):
    """
    L{parseResponse} and L{ResponseHead}.
    """

    def test_attributes(self) -> None:
        head = response(
            b"HTTP/1.1 299 So \xe4  so\r\nA: b\r\nContent-Length: 3\r\na: c\r\nConnection: close\r\n\r\n"
        )
        self.assertEqual((head.status, head.reason, head.framing), (299, b" So \xe4  so", 3))
        self.assertEqual(head.fields, b"\r\nA: b\r\nContent-Length: 3\r\na: c")
        self.assertEqual((head.minor, head.keepAlive, head.upgrade), (1, False, None))

    def test_untouched(self) -> None:
        for data in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA:b\r\na:  c \r\nSet-Cookie: \xff\r\nset-cookie: a\r\n\r\n",
            b"HTTP/1.1 404 \r\nHost: a\r\nExpect: b\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 304 \t\r\nContent-Length: 5\r\nTrailer: a\r\n\r\n",
        ):
            self.assertEqual(response(data).encode(), data)

    @examples(150)
    @given(messages.responses(), st.sampled_from([b"GET", b"HEAD"]))
    def test_stable(self, data: bytes, method: bytes) -> None:
        """
        What is sent on, with the framing of the next hop, is read back as the same.
        """
        while data:
            try:
                head = response(headOf(data), method, upgrading=True)
            except Fault as fault:
                self.assertTrue(fault.detail.startswith("101 "))
                return
            hop = b"\r\nTransfer-Encoding: chunked" if head.framing == CHUNKED else b""
            again = response(head.encode(hop), method, upgrading=True)
            for name in "status", "fields", "framing", "upgrade":
                self.assertEqual(getattr(again, name), getattr(head, name), name)
            self.assertEqual(again.encode(hop), head.encode(hop))
            lines = iter(headOf(data).split(b"\r\n")[1:])
            for line in head.fields.split(b"\r\n")[1:]:
                self.assertIn(line, lines)
            if head.status >= 200 or head.status == 101:
                return
            data = data[len(headOf(data)) :]

    def test_framing(self) -> None:
        """
        RFC 9112, section 6.3.
        """
        length, coding = b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"
        for first, lines, method, framing, sent in (
            (b"HTTP/1.1 200 OK", length, b"GET", 5, length),
            (b"HTTP/1.1 200 OK", coding, b"GET", CHUNKED, b""),
            (b"HTTP/1.1 200 OK", b"", b"GET", UNTIL_CLOSE, b""),
            (b"HTTP/1.0 200 OK", length, b"GET", 5, length),
            (b"HTTP/1.0 200 OK", b"", b"GET", UNTIL_CLOSE, b""),
            (b"HTTP/1.1 200 OK", length, b"HEAD", 0, length),
            (b"HTTP/1.1 200 OK", coding, b"HEAD", 0, b""),
            (b"HTTP/1.1 200 OK", b"", b"HEAD", 0, b""),
            (b"HTTP/1.1 304 X", length, b"GET", 0, length),
            (b"HTTP/1.1 304 X", b"", b"GET", 0, b""),
            (b"HTTP/1.1 204 X", length, b"GET", 0, b""),
            (b"HTTP/1.1 204 X", coding, b"GET", 0, b""),
            (b"HTTP/1.1 103 X", length, b"GET", 0, b""),
            (b"HTTP/1.1 999 X", b"", b"GET", UNTIL_CLOSE, b""),
        ):
            head = response(first + b"\r\n" + lines + b"\r\n", method)
            self.assertEqual((head.framing, head.announcesBody), (framing, lines != b""), first)
            self.assertEqual(head.fields, (b"\r\n" + sent).removesuffix(b"\r\n"))

    def test_keepAlive(self) -> None:
        for data, expected in (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n", False),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n", True),
            (b"HTTP/1.1 200 OK\r\n\r\n", False),
            (b"HTTP/1.1 304 OK\r\n\r\n", True),
        ):
            self.assertEqual(response(data).keepAlive, expected)

    def test_upgraded(self) -> None:
        data = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        head = response(data, upgrading=True)
        self.assertEqual(head.upgrade, b"websocket")
        self.assertEqual(head.encode(), data)
        self.assertRaises(Fault, response, data)

    def test_made(self) -> None:
        head = responseHead(404, b"Not Found", join([(b"A", b"b")]), length=3)
        self.assertEqual(
            head.encode(), b"HTTP/1.1 404 Not Found\r\nA: b\r\nContent-Length: 3\r\n\r\n"
        )
        self.assertEqual(response(head.encode()).framing, 3)
        self.assertEqual(responseHead(200, b"OK").framing, CHUNKED)

    def test_faultsAreClear(self) -> None:
        fault = self.assertRaises(
            Fault, response, b"HTTP/1.1 200 OK\r\nSet-Cookie: secret\0\r\n\r\n"
        )
        self.assertEqual(fault.detail, "field line 1 (Set-Cookie)")


_SPECIAL_NAMES = (
    *(
        b"Host",
        b"Content-Length",
        b"Connection",
        b"Transfer-Encoding",
        b"Upgrade",
        b"TE",
        b"Expect",
    ),
    *(b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authenticate", b"Proxy-Authorization"),
    b"HTTP2-Settings",
)
_ORDINARY_NAMES = (
    *(b"Accept", b"Cookie", b"X-Hop", b"Hosts", b"X-Host", b"Tea", b"Content-Lengths", b"Date"),
    *(b"Connectio", b"Content-Type", b"Expected", b"T", b"Ex", b"Proxy-Connections"),
)


def _cased(names: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """
    Names, in any case.
    """
    ways = (bytes, bytes, bytes.lower, bytes.lower, bytes.upper, bytes.swapcase)
    return st.builds(lambda name, way: way(name), st.sampled_from(names), st.sampled_from(ways))


_VALUES = st.sampled_from(
    [
        *(b"a", b"a:80", b"[::1]", b"", b"a b", b"u@a", b"a/", b"0", b"2", b"2", b"+2", b"2, 2"),
        *(b"007", b"1" * 15, b"1" * 16, b"keep-alive", b"keep-alive", b"Keep-Alive", b"close"),
        *(b"keep-alive, close", b"upgrade", b"x-hop", b"host", b"te", b"chunked", b"gzip, chunked"),
        *(b"websocket", b"h2c", b"trailers", b"100-continue", b"caf\xe9"),
    ]
)
_SPACES = st.sampled_from([b"", b" ", b" ", b" ", b"  ", b"\t"])
_ENDS = st.sampled_from([b"", b"", b"", b"", b" ", b"\t"])


def _lines(names: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """
    Field lines with certain names, and any values.
    """
    return st.builds(lambda *parts: b"".join(parts), names, st.just(b":"), _SPACES, _VALUES, _ENDS)


_BROKEN_LINES = st.sampled_from(
    [b" folded", b"no colon", b": a", b"A b: c", b"Host : a", b"A: \0", b"A: a\rb", b"A: \x7f"]
)


def _blocksWith(lines: list[bytes]) -> st.SearchStrategy[bytes]:
    """
    Blocks of fields in any order, in most of which there is one of certain lines.
    """
    few = st.lists(_lines(_cased(_ORDINARY_NAMES)), max_size=2)
    main = st.sampled_from([[line] for line in lines] * 4 + [[]])
    other: st.SearchStrategy[list[bytes]] = st.one_of(
        st.just([]),
        st.sampled_from([[b"Connection: keep-alive"], [b"Connection:keep-alive"], [b"A: b"]]),
        st.lists(_lines(_cased(_SPECIAL_NAMES)), min_size=1, max_size=1),
        st.lists(st.one_of(_lines(_cased(_SPECIAL_NAMES)), _BROKEN_LINES), max_size=2),
    )
    return (
        st.tuples(few, main, other)
        .map(lambda parts: [line for part in parts for line in part])
        .flatmap(st.permutations)
        .map(lambda drawn: b"".join(b"\r\n" + line for line in drawn))
    )


_ENDINGS = st.sampled_from([b"\r\n\r\n"] * 12 + [b"\r\n", b"\n\n", b"\r\n\r\nx"])
_LIMITS = st.sampled_from(
    [*[DEFAULT_LIMITS] * 5, Limits(head=60), Limits(line=14), Limits(fields=2)]
)


class Plain(SynchronousTestCase):
    """
    Plain heads are parsed in a shorter way, which makes the same of them, whatever they consist of.
    """

    def told(self, parse: Callable[[], RequestHead | ResponseHead]) -> object:
        """
        What a parser makes of a head.
        """
        try:
            return partsOf(parse())
        except Fault as fault:
            return fault.code.name

    @examples(600)
    @given(
        st.sampled_from([*[b"GET"] * 4, b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"g t"]),
        st.sampled_from([*[b"/", b"/a?b"] * 3, b"*", b"a:1", b"http://b/c", b"/#", b"/" * 20]),
        st.sampled_from([*[b"1.1"] * 8, b"1.0", b"1.2", b"2.0", b"0.9"]),
        _blocksWith([b"Host: a", b"host:a", b"Host: a:80", b"Host: u@a", b"hOST: a"]),
        _ENDINGS,
        _LIMITS,
        st.booleans(),
    )
    def test_requests(
        self,
        method: bytes,
        target: bytes,
        version: bytes,
        block: bytes,
        ending: bytes,
        limits: Limits,
        needsHost: bool,
    ) -> None:
        data = b"%b %b HTTP/%b%b%b" % (method, target, version, block, ending)
        self.assertEqual(
            self.told(lambda: parseRequest(data, limits, needsHost=needsHost)),
            self.told(lambda: parseAnyRequest(data, limits, needsHost=needsHost)),
        )

    @examples(600)
    @given(
        st.sampled_from([*[b"1.1"] * 8, b"1.0", b"2.0"]),
        st.sampled_from([*[b"200"] * 8, b"204", b"304", b"101", b"100", b"404", b"999", b"099"]),
        st.sampled_from([*[b" OK"] * 8, b" ", b"", b" N\xe4 t", b" \0", b"OK"]),
        _blocksWith([b"Content-Length: 2", b"content-length:0", b"CONTENT-LENGTH: 2"]),
        _ENDINGS,
        _LIMITS,
        st.sampled_from([b"GET", b"GET", b"GET", b"HEAD"]),
        st.booleans(),
    )
    def test_responses(
        self,
        version: bytes,
        status: bytes,
        reason: bytes,
        block: bytes,
        ending: bytes,
        limits: Limits,
        method: bytes,
        upgrading: bool,
    ) -> None:
        data = b"HTTP/%b %b%b%b%b" % (version, status, reason, block, ending)
        self.assertEqual(
            self.told(lambda: parseResponse(data, limits, method, upgrading=upgrading)),
            self.told(lambda: parseAnyResponse(data, limits, method, upgrading=upgrading)),
        )


class HopByHop(SynchronousTestCase):
    """
    Fields of the hop are dropped as whole lines, and those that Connection names with them.
    """

    def test_likeLines(self) -> None:
        """
        A dropped line that is the begin of another, or stands in a value, takes nothing else with it.
        """
        head = request(
            b"GET / HTTP/1.1\r\nHost: a\r\nTE: a\r\nTE: ab\r\nA: TE: a\r\nX-TE: a\r\nTE: a\r\n\r\n"
        )
        self.assertEqual(
            list(items(head.fields)), [(b"Host", b"a"), (b"A", b"TE: a"), (b"X-TE", b"a")]
        )

    @examples(100)
    @given(messages.requests())
    def test_byName(self, data: bytes) -> None:
        """
        A second way to do it, slow and plain, has the same result.
        """
        head = request(headOf(data))
        pairs = list(items(b"\r\n" + headOf(data).partition(b"\r\n")[2].removesuffix(b"\r\n\r\n")))
        named = {
            option.strip().lower()
            for name, text in pairs
            if name.lower() == b"connection"
            for option in text.split(b",")
        }
        hop = re.compile(
            rb"(?i)connection|keep-alive|proxy-.*|te|transfer-encoding|upgrade|http2-settings"
        )
        kept = [
            (name, text)
            for name, text in pairs
            if not hop.fullmatch(name) and name.lower() not in named | {b"host", b"expect"}
        ]
        went = [pair for pair in items(head.fields) if pair[0].lower() not in (b"host", b"expect")]
        self.assertEqual(went, kept)
