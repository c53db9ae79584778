"""
What a row of the tables is, and what makes short work of writing one.
"""

from __future__ import annotations

from attrs import frozen

from invproxy.http1.limits import Limits

LIMITS = Limits(head=4000, line=1000, fields=40, chunkLine=100, trailers=500)
"""The bounds at which the proxy and the agent are put, so that too much is little."""

CLOSED, GOES_ON, WAITS = "closed", "goes on", "waits"
"""What becomes of a connection: no more is answered on it; another request is; it waits for the rest of this one."""

DESYNC = "PortSwigger, HTTP Desync Attacks (2019)"
BROWSER = "PortSwigger, Browser-Powered Desync Attacks (2022)"
MUST_DIE = "PortSwigger, HTTP/1.1 Must Die (2025)"
HOPS = "Nathan Davison, Abusing HTTP hop-by-hop request headers (2019)"
H2C = "Bishop Fox, h2c Smuggling (2020)"
FUNKY = "Jeppe Weikop, Funky chunks (2025)"
ROUTING = "PortSwigger, Cracking the lens (2017)"
WATCHFIRE = "Watchfire, HTTP Request Smuggling (2005)"

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
"""The request that must not be one."""

HOST = b"Host: a"


@frozen
class Seen:
    """
    A request as the backend sees it, less what every proxy adds (Forwarded, X-Forwarded-*, Via).

    @ivar first: method and target.
    @ivar fields: all its field lines, in order.
    @ivar body: the whole body.
    @ivar trailers: the trailer lines.
    @ivar whole: whether its end came. If not, it may also not have come at all.
    """

    first: bytes
    fields: tuple[bytes, ...] = (HOST,)
    body: bytes = b""
    trailers: tuple[bytes, ...] = ()
    whole: bool = True

    @property
    def method(self) -> bytes:
        return self.first.partition(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.first.partition(b" ")[2]


@frozen
class Case:
    """
    What a hostile client sends.

    @ivar name: what it is about.
    @ivar source: the section of an RFC, or whose attack it is.
    @ivar data: the bytes.
    @ivar answers: the statuses that the client gets.
    @ivar seen: what the backend sees.
    @ivar then: what becomes of the connection.
    @ivar rest: what is sent then to get an answer after all, where the connection waits.
    @ivar above: whether it is decided above the parser, so that this takes more than what arrives, or something else.
    """

    name: str
    source: str
    data: bytes
    answers: tuple[int, ...] = (400,)
    seen: tuple[Seen, ...] = ()
    then: str = CLOSED
    rest: bytes = b""
    above: bool = False


@frozen
class Reply:
    """
    What a hostile backend answers.

    @ivar name: what it is about.
    @ivar source: the section of an RFC, or whose attack it is.
    @ivar data: the bytes.
    @ivar status: that of the final answer which the client gets.
    @ivar body: its body, unless the status is one of ours.
    @ivar fields: field lines of it, all but Date; L{None} where they do not matter.
    @ivar interim: the statuses before.
    @ivar cut: whether the answer breaks off.
    @ivar reused: whether the backend gets another request on this connection.
    @ivar ends: whether the backend closes behind it.
    @ivar request: what the client asks.
    """

    name: str
    source: str
    data: bytes
    status: int = 502
    body: bytes = b""
    fields: tuple[bytes, ...] | None = None
    interim: tuple[int, ...] = ()
    cut: bool = False
    reused: bool = False
    ends: bool = False
    request: bytes = b"GET /hostile HTTP/1.1\r\nHost: a\r\n\r\n"

    @property
    def method(self) -> bytes:
        return self.request.partition(b" ")[0]


def request(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bytes = HOST) -> bytes:
    """
    The head of a request: a first line, a Host, and more lines.

    @param host: the line of Host; an empty one is left out.
    """
    return b"\r\n".join([first, *([host] if host else []), *lines, b"", b""])


def post(body: bytes, *lines: bytes, first: bytes = b"POST / HTTP/1.1") -> bytes:
    """
    A request with a body.
    """
    return request(*lines, first=first) + body


def sized(body: bytes, *lines: bytes, first: bytes = b"POST / HTTP/1.1") -> bytes:
    """
    A request with a body of known length, as it should be.
    """
    return post(body, *lines, length(body), first=first)


def chunked(body: bytes, *lines: bytes) -> bytes:
    """
    A request with a body in chunks.

    @param body: in chunks already.
    """
    return post(body, *lines, CHUNKS)


def length(body: bytes) -> bytes:
    """
    The line that says how long a body is.
    """
    return b"Content-Length: %d" % len(body)


CHUNKS = b"Transfer-Encoding: chunked"

CL_TE = b"0\r\n\r\n" + SMUGGLED
"""A body that has its end in the middle, for those who look at chunks."""

TE_CL = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
"""A body of one chunk; those who take it to have four bytes see another request in it."""


def passes(
    name: str, source: str, data: bytes, *seen: Seen, then: str = GOES_ON, above: bool = False
) -> Case:
    """
    A case in which each request gets to the backend and is answered by it.
    """
    return Case(name, source, data, (200,) * len(seen), seen, then, above=above)


def begun(*lines: bytes, first: bytes = b"POST /") -> tuple[Seen, ...]:
    """
    What the backend sees of a request that breaks off in its body, if anything.
    """
    return (Seen(first, (HOST, *lines), whole=False),)
