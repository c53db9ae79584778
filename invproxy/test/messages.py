"""
HTTP/1.1 messages for tests: what drives the readers, and hypothesis strategies for what they are fed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeVar

from attrs import define, field
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from invproxy.errors import Fault
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import DEFAULT_LIMITS, Limits
from invproxy.http1.readers import RequestReader, ResponseReader


def examples(count: int) -> settings:
    """
    How hypothesis runs a test here.

    @param count: examples in an everyday run; C{INVPROXY_EXAMPLES} in the environment overrides it, and then they are
        other ones each time.
    """
    asked = int(os.environ.get("INVPROXY_EXAMPLES", "0"))
    return settings(
        max_examples=asked or count,
        derandomize=not asked,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


_PCHARS = b"abcXYZ019-._~!$&'()*+,=:@\xe9"
"""Of what may stand in a segment of a path (RFC 3986, section 3.3), all kinds but C{;}; and what must be encoded."""


def spellings(allowed: bytes = _PCHARS) -> st.SearchStrategy[tuple[bytes, bytes]]:
    """
    Two ways of writing one segment of a path: plainly, and with some of it percent-encoded, though it need not be.

    @param allowed: what is in it.
    """
    ways = st.sampled_from((b"%c", b"%%%02X", b"%%%02x"))
    pairs = st.lists(st.tuples(st.sampled_from(allowed), ways), min_size=1, max_size=12)
    return pairs.map(
        lambda each: (
            bytes(byte for byte, _ in each),
            b"".join(way % byte for byte, way in each),
        )
    )


_PARTS = {
    RequestHead: "method target fields framing minor host keepAlive upgrade trailers expectsContinue",
    ResponseHead: "status reason fields framing minor keepAlive upgrade announcesBody",
}

Head = TypeVar("Head", RequestHead, ResponseHead)


def partsOf(head: RequestHead | ResponseHead) -> dict[str, object]:
    """
    All that a head says.
    """
    return {name: getattr(head, name) for name in _PARTS[type(head)].split()}


def changed(head: Head, **parts: Any) -> Head:
    """
    A copy of a head with other parts.
    """
    return type(head)(**{**partsOf(head), **parts})


@define
class Taker:
    """
    Takes one message from a reader, as an upload or as an answer.

    @ivar interim: the heads of interim responses.
    @ivar head: the head of the request, or of the final response.
    @ivar body: the pieces of the body, joined.
    @ivar trailers: the block of trailer fields.
    @ivar finished: whether the message came to its end.
    """

    head: RequestHead | ResponseHead | None = None
    interim: list[ResponseHead] = field(factory=list)
    body: bytes = b""
    trailers: bytes = b""
    finished: bool = False

    def inform(self, head: ResponseHead) -> None:
        assert self.head is None
        self.interim.append(head)

    def respond(self, head: ResponseHead) -> None:
        assert self.head is None
        self.head = head

    def write(self, data: bytes) -> None:
        assert data and self.head and not self.finished
        self.body += data

    def finish(self, trailers: bytes = b"") -> None:
        assert self.head and not self.finished
        self.trailers = trailers
        self.finished = True

    def told(self) -> tuple[object, ...]:
        """
        All of it, for comparison.
        """
        heads = [*self.interim, self.head]
        return (
            [head and partsOf(head) for head in heads],
            self.body,
            self.trailers,
            self.finished,
        )


@define
class Reading:
    """
    What was read from a stream of bytes.

    @ivar messages: in order; only the last may be unfinished.
    @ivar fault: what broke it off.
    @ivar rest: what stands behind the last message, where that is known.
    @ivar held: the most that was kept back of what was fed.
    """

    messages: list[Taker] = field(factory=list)
    fault: Fault | None = None
    rest: bytes | None = None
    held: int = 0

    def told(self) -> tuple[object, ...]:
        """
        All of it, for comparison.
        """
        return [message.told() for message in self.messages], self.fault is None, self.rest


def isLast(head: RequestHead) -> bool:
    """
    Say whether what stands behind a request is no request.
    """
    return not head.keepAlive or head.upgrade is not None or head.method == b"CONNECT"


def readRequests(pieces: Iterable[bytes], limits: Limits = DEFAULT_LIMITS) -> Reading:
    """
    Read requests until one is the last on its connection.
    """
    reading = Reading()

    def opened(head: RequestHead) -> Taker:
        taker = Taker(head)
        reading.messages.append(taker)
        return taker

    reader = RequestReader(limits, opened)
    try:
        for piece in pieces:
            reader.feed(piece)
            while reader.ended:
                last = reading.messages[-1].head
                assert isinstance(last, RequestHead)
                if isLast(last):
                    break
                reader.next()
            decoder = getattr(reader._decoder, "_held", b"")
            reading.held = max(reading.held, len(reader._head) + len(decoder))
    except Fault as fault:
        reading.fault = fault
    if reader.ended:
        reading.rest = reader.rest
    return reading


def readResponse(
    pieces: Iterable[bytes],
    limits: Limits = DEFAULT_LIMITS,
    *,
    method: bytes = b"GET",
    upgrade: bytes | None = None,
) -> Reading:
    """
    Read one response, up to the end of the connection.

    @param method: that of the request.
    @param upgrade: what the request asked to upgrade to.
    """
    taker = Taker()
    reading = Reading([taker])
    reader = ResponseReader(limits, RequestHead(method, b"/", upgrade=upgrade), taker)
    try:
        for piece in pieces:
            reader.feed(piece)
            decoder = getattr(reader._decoder, "_held", b"")
            reading.held = max(reading.held, len(reader._buffer) + len(decoder))
        reader.eof()
    except Fault as fault:
        reading.fault = fault
    if reader.ended:
        reading.rest = reader.rest
    return reading


# What messages are made of.

_TCHARS = b"!#$%&'*+-.^_`|~0123456789ABCXYZabcxyz"
_VALUE_BYTES = bytes(range(0x20, 0x7F)) + b"\t" + bytes(range(0x80, 0x100))
_TARGET_BYTES = bytes(range(0x21, 0x23)) + bytes(range(0x24, 0x7F))


def _strings(alphabet: bytes, least: int, most: int) -> st.SearchStrategy[bytes]:
    """
    Strings over an alphabet: drawn as bytes and translated, which is ten times as fast as letter by letter.
    """
    table = bytes(alphabet[at % len(alphabet)] for at in range(256))
    return st.binary(min_size=least, max_size=most).map(lambda data: data.translate(table))


tokens = _strings(_TCHARS, 1, 8)
"""Tokens of RFC 9110, section 5.6.2."""

values = st.one_of(
    st.sampled_from(
        [b"", b"a", b"text/html; q=0.9, */*", b"caf\xe9", b'"quoted, string"', b"a  b\tc"]
    ),
    _strings(_VALUE_BYTES, 0, 12).map(lambda value: value.strip(b" \t")),
)
"""Field values, latin-1 ones among them, without white space around them."""

_ORDINARY = (
    b"Accept",
    b"accept",
    b"Cookie",
    b"X-Forwarded-For",
    b"ETag",
    b"Set-Cookie",
    b"Trailer",
    b"Via",
)

ordinaryFields = st.lists(
    st.tuples(st.one_of(st.sampled_from(_ORDINARY), tokens.map(lambda name: b"X-" + name)), values),
    max_size=4,
)
"""Names and values of fields that are end to end."""

_COLONS = (b": ", b": ", b": ", b": ", b":", b":\t", b":  ")
_ENDS = (b"", b"", b"", b"", b" ", b"\t ")


@st.composite
def blocks(draw: st.DrawFn, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """
    Blocks of certain fields, with various white space around the values, but for Transfer-Encoding, where we take
    no tab.
    """
    space = draw(st.integers(0, len(_COLONS) * len(_ENDS) - 1))
    lines = []
    for at, (name, value) in enumerate(pairs, space):
        if name == b"Transfer-Encoding":
            lines.append(b"\r\n" + name + b": " + value)
        else:
            end = _ENDS[at // len(_COLONS) % len(_ENDS)]
            lines.append(b"\r\n" + name + _COLONS[at % len(_COLONS)] + value + end)
    return b"".join(lines)


bodies = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n", b"0\r\n\r\n", b"\r\n", b"x" * 300]
    ),
)

_EXTENSIONS = (b"", b"", b"", b";a", b";a=b", b';a="b c"', b';a="\\"";b', b';a=";"', b";ieof")

trailerPairs = st.lists(
    st.tuples(st.sampled_from([b"ETag", b"Server-Timing", b"Grpc-Status", b"X-T"]), values),
    max_size=2,
)


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """
    A body in chunks: cut anywhere, sizes in either case and with zeros before them, extensions, trailers.
    """
    cuts = sorted(draw(st.sets(st.integers(1, len(body) - 1), max_size=3))) if len(body) > 1 else []
    written = b""
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        if end > start:
            size = draw(st.sampled_from([b"%x", b"%X", b"%03x"])) % (end - start)
            written += (
                size + draw(st.sampled_from(_EXTENSIONS)) + b"\r\n" + body[start:end] + b"\r\n"
            )
    last = draw(st.sampled_from([b"0", b"000"])) + draw(st.sampled_from(_EXTENSIONS))
    trailers = draw(trailerPairs.flatmap(blocks))
    return written + last + trailers + b"\r\n\r\n"


_METHODS = st.one_of(
    st.sampled_from(
        [b"GET", b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"PATCH", b"M-SEARCH"]
    ),
    tokens,
)
_TARGETS = st.one_of(
    st.sampled_from(
        [
            b"/",
            b"/a/b?c=d",
            b"//a",
            b"/%7e",
            b"/a?b?c",
            b"http://b",
            b"http://b/c?d",
            b"https://[::1]:8/",
        ]
    ),
    _strings(_TARGET_BYTES, 0, 12).map(lambda target: b"/" + target),
)
_HOPS = (
    (b"Connection", b"keep-alive"),
    (b"Connection", b"close"),
    (b"connection", b"X-Hop, Keep-Alive"),
    (b"X-Hop", b"1"),
    (b"Keep-Alive", b"timeout=5"),
    (b"TE", b"trailers"),
    (b"Connection", b"Upgrade"),
    (b"Upgrade", b"websocket"),
    (b"Upgrade", b"h2c"),
    (b"Proxy-Connection", b"keep-alive"),
)
_hopFields = st.lists(st.sampled_from(_HOPS), max_size=2)


def _turned(pairs: list[tuple[bytes, bytes]], by: int) -> list[tuple[bytes, bytes]]:
    by %= len(pairs) or 1
    return pairs[by:] + pairs[:by]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """
    One valid request.
    """
    minor = draw(st.sampled_from([b"1", b"1", b"1", b"0"]))
    pairs = [*draw(ordinaryFields), *draw(_hopFields)]
    if minor == b"1" or draw(st.booleans()):
        pairs.append(
            (
                draw(st.sampled_from([b"Host", b"host"])),
                draw(st.sampled_from([b"a", b"a:8080", b"[::1]", b""])),
            )
        )
    framing = draw(st.integers(0, 2))
    content = b""
    if framing:
        content = draw(bodies)
        if framing == 1 or minor == b"0":
            pairs.append(
                (
                    draw(st.sampled_from([b"Content-Length", b"content-length"])),
                    b"%d" % len(content),
                )
            )
        else:
            pairs.append((b"Transfer-Encoding", draw(st.sampled_from([b"chunked", b"Chunked"]))))
            content = draw(chunked(content))
        if draw(st.integers(0, 5)) == 0:
            pairs.append((b"Expect", b"100-continue"))
    pairs = _turned(pairs, draw(st.integers(0, 9)))
    line = b"%b %b HTTP/1.%b" % (draw(_METHODS), draw(_TARGETS), minor)
    return line + draw(blocks(pairs)) + b"\r\n\r\n" + content


pipelines = st.lists(requests(), min_size=1, max_size=3).map(b"".join)
"""Requests one behind the other."""


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """
    Interim responses and a valid final one.
    """
    written = b""
    for status in draw(
        st.lists(st.sampled_from([b"100 Continue", b"103 Early Hints", b"102 "]), max_size=2)
    ):
        written += b"HTTP/1.1 " + status + draw(ordinaryFields.flatmap(blocks)) + b"\r\n\r\n"
    minor = draw(st.sampled_from([b"1", b"1", b"1", b"0"]))
    status = draw(st.sampled_from([b"200", b"200", b"204", b"304", b"404", b"101", b"599", b"999"]))
    pairs = [*draw(ordinaryFields), *draw(_hopFields)]
    framing = draw(st.integers(0, 2))
    content = draw(bodies)
    if framing == 1:
        pairs.append((b"Content-Length", b"%d" % len(content)))
    elif framing == 2 and minor == b"1":
        pairs.append((b"Transfer-Encoding", b"chunked"))
        content = draw(chunked(content))
    pairs = _turned(pairs, draw(st.integers(0, 9)))
    reason = draw(st.sampled_from([b" OK", b" ", b" Not  Found", b" caf\xe9"]))
    return (
        written
        + b"HTTP/1.%b %b%b" % (minor, status, reason)
        + draw(blocks(pairs))
        + b"\r\n\r\n"
        + content
    )


_SNIPPETS = (
    *(
        bytes([byte])
        for byte in b'\r\n \t\0:,;"=\\+-0159aAxX#@/?[]%_\x0b\x0c\x1b\x7f\x80\x85\xa0\xff'
    ),
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\n x",
    b"\r\nContent-Length: 3",
    b"\r\nContent-Length: 0",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nTransfer-Encoding: gzip, chunked",
    b"\r\nTransfer-Encoding : chunked",
    b"\r\nHost: b",
    b"\r\nConnection: close",
    b"\r\nConnection: Upgrade\r\nUpgrade: websocket",
    b"\r\nConnection: content-length",
    b"\r\nExpect: 100-continue",
    b", chunked",
    b"chunked, ",
    b"0x",
    b" HTTP/1.1",
    b"HTTP/1.0",
    b"0\r\n\r\n",
    b';a="',
    b"3\r\nabc\r\n",
)


@st.composite
def mutated(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """
    Valid messages in which up to three pieces were put in, taken out, replaced or repeated, often at a delimiter.
    """
    data = draw(valid)
    for _ in range(draw(st.integers(0, 3))):
        delimiters = [at for at, byte in enumerate(data) if byte in b"\r\n:;,= "]
        if draw(st.booleans()) and delimiters:
            at = draw(st.sampled_from(delimiters)) + draw(st.integers(0, 1))
        else:
            at = draw(st.integers(0, len(data)))
        action = draw(st.integers(0, 3))
        until = at if action == 0 else at + draw(st.sampled_from([1, 1, 2, 4, 16]))
        if action == 3:
            data = data[:until] + data[at:]
        else:
            data = (
                data[:at]
                + (b"" if action == 1 else draw(st.sampled_from(_SNIPPETS)))
                + data[until:]
            )
    return data


@st.composite
def pieces(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> list[bytes]:
    """
    Messages cut anywhere; now and then into single bytes.
    """
    data = draw(whole)
    if draw(st.integers(0, 4)) == 0:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
