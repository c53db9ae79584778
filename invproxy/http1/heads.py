"""
Heads of requests and responses (RFC 9112, sections 2 to 5), as they go on to the next hop.

What concerns only one hop is not among the fields but kept as attributes; what is left in C{fields} is end to end, and
stays as it was. L{invproxy.http1.parsing} makes them of bytes.
"""

from __future__ import annotations

import re
from typing import Final

from invproxy.errors import BAD_REQUEST, Fault
from invproxy.http1.fields import dropper
from invproxy.http1.framing import CHUNKED
from invproxy.http1.marks import ANYTHING

_dropExpect: Final = dropper(b"expect")

_NAME: Final = rb"[0-9A-Za-z\-._~!$&'()*+,;=]*+"
isAuthority: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]++\]|"
    + _NAME
    + rb"(?>(?:%[0-9A-Fa-f]{2}"
    + _NAME
    + rb")*))(?::[0-9]{0,5})?"
).fullmatch
"""Match the authority of a request: a host, and perhaps a port (RFC 3986, section 3.2.2)."""

LONGEST_AUTHORITY: Final = 255 + 6
"""Bytes that it may have: those of the longest name there is (RFC 1035, section 2.3.4), and of a port."""

_HOST_LINE: Final = re.compile(rb"\r\n([Hh][Oo][Ss][Tt]):[^\r\n]*")

IDEMPOTENT: Final = frozenset(
    (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE", b"PROPFIND", b"SEARCH")
)
"""Methods that may be sent a second time (RFC 9110, section 9.2.2)."""


class RequestHead:
    """
    The head of a request, ready to be sent on.

    @ivar method: the method.
    @ivar target: the request target: origin-form, C{b"*"}, or the authority of a CONNECT.
    @ivar fields: the block of end-to-end fields, C{Content-Length} among them.
    @ivar framing: the length of the body in bytes (0 for none), or L{CHUNKED}.
    @ivar minor: the minor version of HTTP that the sender spoke.
    @ivar host: the value of Host, or L{None} (HTTP/1.0 alone).
    @ivar keepAlive: whether the sender wants to keep its connection.
    @ivar upgrade: the value of Upgrade to pass on, or L{None}.
    @ivar trailers: whether the sender takes trailers (C{TE: trailers}).
    @ivar expectsContinue: whether the sender waits for 100 (Continue) before its body.
    @ivar marks: what its fields may have; see L{invproxy.http1.marks}. Who adds such a field sets its bit.
    """

    __slots__ = (
        "method",
        "target",
        "fields",
        "framing",
        "minor",
        "host",
        "keepAlive",
        "upgrade",
        "trailers",
        "expectsContinue",
        "marks",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        fields: bytes = b"",
        framing: int = 0,
        minor: int = 1,
        host: bytes | None = None,
        keepAlive: bool = True,
        upgrade: bytes | None = None,
        trailers: bool = False,
        expectsContinue: bool = False,
        marks: int = ANYTHING,
    ) -> None:
        self.method = method
        self.target = target
        self.fields = fields
        self.framing = framing
        self.minor = minor
        self.host = host
        self.keepAlive = keepAlive
        self.upgrade = upgrade
        self.trailers = trailers
        self.expectsContinue = expectsContinue
        self.marks = marks

    def encode(self) -> bytes:
        """
        Write the head for the next hop, as HTTP/1.1.
        """
        hop = b""
        if self.framing == CHUNKED:
            hop = b"\r\nTransfer-Encoding: chunked"
        if self.upgrade is not None:
            hop += b"\r\nConnection: Upgrade\r\nUpgrade: " + self.upgrade
        elif self.trailers:
            hop += b"\r\nConnection: TE\r\nTE: trailers"
        return b"%b %b HTTP/1.1%b%b\r\n\r\n" % (self.method, self.target, self.fields, hop)

    def isReplayable(self) -> bool:
        """
        Say whether the request may be sent again although it may have been acted on: idempotent, and no body.
        """
        return self.framing == 0 and self.upgrade is None and self.method in IDEMPOTENT

    def path(self) -> bytes:
        """
        The target less its query, C{b"/"} for C{b"*"}.
        """
        return b"/" if self.target == b"*" else self.target.partition(b"?")[0]

    def _copy(self) -> RequestHead:
        return RequestHead(
            self.method,
            self.target,
            self.fields,
            self.framing,
            self.minor,
            self.host,
            self.keepAlive,
            self.upgrade,
            self.trailers,
            self.expectsContinue,
            self.marks,
        )

    def withFields(self, block: bytes) -> RequestHead:
        """
        Copy the head with other end-to-end fields.
        """
        head = self._copy()
        head.fields = block
        head.marks = ANYTHING
        return head

    def withoutExpect(self) -> RequestHead:
        """
        Copy the head for a hop that does not pass on 100 (Continue).
        """
        head = self.withFields(_dropExpect(self.fields))
        head.expectsContinue = False
        return head

    def withoutUpgrade(self) -> RequestHead:
        """
        Copy the head for a hop that cannot leave HTTP.
        """
        head = self._copy()
        head.upgrade = None
        return head

    def withHost(self, host: bytes) -> RequestHead:
        """
        Copy the head with another Host, in its old place, or first where there was none.

        @raise Fault: (bad-request) if it is not an authority.
        """
        if len(host) > LONGEST_AUTHORITY or not isAuthority(host):
            raise Fault(BAD_REQUEST, f"Host {host[:40]!r}")
        if self.host is None:
            head = self.withFields(b"\r\nHost: " + host + self.fields)
        else:
            head = self.withFields(replaceHost(self.fields, host))
        head.host = host
        return head


class ResponseHead:
    """
    The head of a response, final or interim, ready to be sent on.

    @ivar status: the status code.
    @ivar reason: the reason phrase with the space before it, as it came; may be empty.
    @ivar fields: the block of end-to-end fields, C{Content-Length} among them.
    @ivar framing: the length of the body in bytes (0 for none), L{CHUNKED} or L{UNTIL_CLOSE}.
    @ivar minor: the minor version of HTTP that the sender spoke.
    @ivar keepAlive: whether the sender keeps its connection.
    @ivar upgrade: for a 101, the value of Upgrade.
    @ivar announcesBody: whether its fields announce a body, even where none may follow.
    @ivar marks: what its fields may have; see L{invproxy.http1.marks}. Who adds such a field sets its bit.
    """

    __slots__ = (
        "status",
        "reason",
        "fields",
        "framing",
        "minor",
        "keepAlive",
        "upgrade",
        "announcesBody",
        "marks",
    )

    def __init__(
        self,
        status: int,
        reason: bytes = b"",
        fields: bytes = b"",
        framing: int = 0,
        minor: int = 1,
        keepAlive: bool = True,
        upgrade: bytes | None = None,
        announcesBody: bool = False,
        marks: int = ANYTHING,
    ) -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        self.framing = framing
        self.minor = minor
        self.keepAlive = keepAlive
        self.upgrade = upgrade
        self.announcesBody = announcesBody
        self.marks = marks

    def encode(self, hop: bytes = b"") -> bytes:
        """
        Write the head for the next hop, as HTTP/1.1.

        @param hop: a block of fields for that hop alone, such as the framing.
        """
        if self.upgrade is not None:
            hop = b"\r\nConnection: Upgrade\r\nUpgrade: " + self.upgrade
        return b"HTTP/1.1 %d%b%b%b\r\n\r\n" % (self.status, self.reason or b" ", self.fields, hop)


def responseHead(
    status: int, reason: bytes, block: bytes = b"", *, length: int | None = None
) -> ResponseHead:
    """
    Make the head of an answer of our own.

    @param status: the status code.
    @param reason: the reason phrase.
    @param block: a block of fields.
    @param length: the length of the body in bytes; L{None} if it is not known.
    """
    if length is None:
        return ResponseHead(status, b" " + reason, block, framing=CHUNKED)
    return ResponseHead(
        status, b" " + reason, block + b"\r\nContent-Length: %d" % length, framing=length
    )


def replaceHost(block: bytes, host: bytes) -> bytes:
    """
    Give a block with a Host another value of it, in the old place.
    """
    return _HOST_LINE.sub(lambda line: b"\r\n%b: %b" % (line[1], host), block, count=1)
