"""
Parsing of heads (RFC 9112, sections 2 to 5), strictly.

Every line must be understood: those that most messages have one by one, see L{invproxy.http1.lines}; a head with any
other as a whole, by one regular expression. What concerns only this hop is taken out of the fields and kept as
attributes of the L{RequestHead} or L{ResponseHead}.
"""

from __future__ import annotations

import re
from typing import Final

from invproxy.errors import (
    BAD_REQUEST,
    EXPECTATION_FAILED,
    HEAD_TOO_LARGE,
    TARGET_TOO_LONG,
    VERSION_NOT_SUPPORTED,
    Fault,
)
from invproxy.http1.fields import FIELD_LINES, TOKEN, dropper, elements, without
from invproxy.http1.framing import UNTIL_CLOSE, bodyFraming
from invproxy.http1.heads import (
    LONGEST_AUTHORITY,
    RequestHead,
    ResponseHead,
    isAuthority,
    replaceHost,
)
from invproxy.http1.limits import Limits
from invproxy.http1.lines import Section, readSection, statusLine

_REQUEST: Final = re.compile(
    rb"(" + TOKEN + rb"++) ([\x21-\x22\x24-\x7e]++) HTTP/1\.([01])(" + FIELD_LINES + rb")\r\n\r\n"
).fullmatch
_RESPONSE: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9][0-9])((?: [\t\x20-\x7e\x80-\xff]*+)?)("
    + FIELD_LINES
    + rb")\r\n\r\n"
).fullmatch
_REQUEST_LINE: Final = re.compile(
    TOKEN + rb"++ ([\x21-\x22\x24-\x7e]++) HTTP/([0-9])\.([0-9])"
).fullmatch
_STATUS_LINE: Final = re.compile(
    rb"HTTP/1\.[01] [1-9][0-9][0-9](?: [\t\x20-\x7e\x80-\xff]*+)?"
).fullmatch
_FIELD_LINE: Final = re.compile(TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+").fullmatch

_REQUEST_START: Final = re.compile(
    rb"(" + TOKEN + rb"++) (/[\x21-\x22\x24-\x7e]*+) HTTP/1\.1"
).fullmatch

# The look-ahead spares most fields the alternatives, which halves the time. A match is (line, name, value).
_SPECIAL: Final = re.compile(
    rb"(\r\n(?=[CEHKPTU][EOPRTX])(host|content-length|transfer-encoding|connection|upgrade|te|expect"
    rb"|keep-alive|proxy-connection|proxy-authenticate|proxy-authorization|http2-settings):[ \t]*([^\r\n]*))",
    re.IGNORECASE,
).findall

_dropLength: Final = dropper(b"content-length")
_HARMLESS_OPTIONS: Final = frozenset(
    (b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings")
)
_FORBIDDEN_OPTIONS: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))

_ABSOLUTE: Final = re.compile(rb"https?://([^/?]+)(/[^?]*)?(\?.*)?", re.IGNORECASE).fullmatch


_LONGEST_KEPT: Final = 1024
"""Bytes of a header section that is remembered for the next head of a connection."""


class _Sections:
    """
    Reads the header sections of heads that come one after the other. As most often one is the same as the one before,
    that one is remembered.
    """

    __slots__ = ("_areOnesOwn", "_former", "_formerSection", "_limits")

    def __init__(self, limits: Limits, *, areOnesOwn: bool) -> None:
        """
        @param areOnesOwn: whether all are of one peer, which is there as long as this is, so that its secrets may be
            remembered.
        """
        self._areOnesOwn = areOnesOwn
        self._limits = limits
        self._former = b""
        self._formerSection: Section | None = None

    def read(self, data: bytes, end: int) -> Section | None:
        """
        Read the header section of a head.

        @param data: the whole head.
        @param end: where its first line ends.
        @return: L{None} if it is malformed, too large, or asks for a closer look.
        """
        limits = self._limits
        size = len(data)
        isLarge = size > limits.harmless
        if isLarge and (size > limits.head or end > limits.line):
            return None
        wire = data[end:]
        if wire == self._former:
            return self._formerSection
        lines = wire.split(b"\r\n")
        if isLarge and len(lines) - 3 > limits.fields:
            return None
        section = readSection(wire, lines)
        if len(wire) <= _LONGEST_KEPT and (
            self._areOnesOwn or (section is not None and section.tellsNoSecret)
        ):
            self._former = wire
            self._formerSection = section
        return section


class RequestParser:
    """
    Parses the heads of requests that come one after the other.
    """

    __slots__ = ("_limits", "_needsHost", "_sections")

    def __init__(self, limits: Limits, *, needsHost: bool = True, areOnesOwn: bool = False) -> None:
        """
        @param limits: how large they may be.
        @param needsHost: whether one of HTTP/1.1 must have a Host, as from any client it must.
        @param areOnesOwn: whether all are of one client, which is there as long as this is: the last header section,
            credentials and all, is remembered then.
        """
        self._limits = limits
        self._needsHost = needsHost
        self._sections = _Sections(limits, areOnesOwn=areOnesOwn)

    def parse(self, data: bytes) -> RequestHead:
        """
        Parse the head of a request.

        @param data: the whole head, its blank line included.
        @raise Fault: bad-request, target-too-long, head-too-large, expectation-failed, version-not-supported or
            not-implemented.
        """
        end = data.find(b"\r\n")
        start = _REQUEST_START(data[:end])
        section = None if start is None else self._sections.read(data, end)
        if start is None or section is None or (section.host is None and self._needsHost):
            return parseAnyRequest(data, self._limits, needsHost=self._needsHost)
        method, target = start.groups()
        return RequestHead(  # by position, which takes half the time
            method,
            target,
            section.block,
            section.framing or 0,
            1,
            section.host,
            True,
            None,
            False,
            False,
            section.marks,
        )


def parseRequest(data: bytes, limits: Limits, *, needsHost: bool = True) -> RequestHead:
    """
    Parse the head of a single request; see L{RequestParser}.
    """
    return RequestParser(limits, needsHost=needsHost).parse(data)


def parseAnyRequest(data: bytes, limits: Limits, *, needsHost: bool = True) -> RequestHead:
    """
    L{RequestParser.parse} for any head, also such as most messages do not have.
    """
    matched = _REQUEST(data)
    if matched is None:
        raise _requestFault(data, limits)
    method, target, version, block = matched.groups()
    _checkRequestLine(method, target, limits)
    _checkSize(data, block, limits)
    minor = 1 if version == b"1" else 0
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    upgrades: list[bytes] = []
    hops: list[bytes] = []
    trailers = expects = False
    for line, name, text in _SPECIAL(block):
        name = name.lower()
        text = text.rstrip(b" \t")
        if name == b"host":
            hosts.append(text)
        elif name == b"content-length":
            lengths.append(text)
        elif name == b"expect":
            if text.lower() != b"100-continue" and minor == 1:
                raise Fault(EXPECTATION_FAILED, f"Expect {text[:40]!r}")
            expects = True
        else:
            hops.append(line)
            if name == b"connection":
                connection.append(text)
            elif name == b"transfer-encoding":
                codings.append(_coding(line))
            elif name == b"upgrade":
                upgrades.append(text)
            elif name == b"te":
                trailers = trailers or b"trailers" in elements([text])
    if len(hosts) > 1 or (needsHost and not hosts and minor == 1):
        raise Fault(BAD_REQUEST, "more than one Host" if hosts else "no Host")
    if hosts and (len(hosts[0]) > LONGEST_AUTHORITY or not isAuthority(hosts[0])):
        raise Fault(BAD_REQUEST, f"Host {hosts[0][:40]!r}")
    framing = (bodyFraming(lengths, codings, minor) or 0) if lengths or codings else 0
    options = elements(connection) if connection else []
    if hops:
        block = _dropHops(block, hops, options)
    head = RequestHead(
        method,
        target,
        block,
        framing,
        minor,
        hosts[0] if hosts else None,
        minor == 1 and b"close" not in options,
        None,
        trailers and minor == 1,
        expects,
    )
    if upgrades and b"upgrade" in options and framing == 0 and minor == 1:
        head.upgrade = _upgradeOf(upgrades)
    if expects and (minor == 0 or framing == 0):
        head = head.withoutExpect()
    if not target.startswith(b"/"):
        _normaliseTarget(head)
    return head


def _coding(line: bytes) -> bytes:
    """
    The value of a Transfer-Encoding, less spaces but not tabs, which some (llhttp) take for a part of it.
    """
    return line.partition(b":")[2].strip(b" ")


def _upgradeOf(upgrades: list[bytes]) -> bytes | None:
    protocols = [part.strip(b" \t") for text in upgrades for part in text.split(b",")]
    return (
        b", ".join(part for part in protocols if part and not part.lower().startswith(b"h2c"))
        or None
    )


def _normaliseTarget(head: RequestHead) -> None:
    """
    Turn absolute-form into origin-form with its authority as Host (RFC 9112, section 3.2.2), and refuse what has
    none of the forms.
    """
    if head.method == b"CONNECT":
        return
    if head.target == b"*":
        if head.method != b"OPTIONS":
            raise Fault(BAD_REQUEST, "target '*' without OPTIONS")
        return
    absolute = _ABSOLUTE(head.target)
    if absolute is None or not isAuthority(absolute[1]) or absolute[1].startswith(b":"):
        raise Fault(BAD_REQUEST, f"target {head.target[:40]!r}")
    authority, path, query = absolute.groups()
    if len(authority) > LONGEST_AUTHORITY:
        raise Fault(BAD_REQUEST, f"target {head.target[:40]!r}")
    if head.host is None:
        head.fields = b"\r\nHost: " + authority + head.fields
    else:
        head.fields = replaceHost(head.fields, authority)
    head.host = authority
    if path is None and query is None and head.method == b"OPTIONS":
        head.target = b"*"
    else:
        head.target = (path or b"/") + (query or b"")


class ResponseParser:
    """
    Parses the heads of responses that come one after the other.
    """

    __slots__ = ("_limits", "_sections")

    def __init__(self, limits: Limits) -> None:
        """
        @param limits: how large they may be.
        """
        self._limits = limits
        self._sections = _Sections(limits, areOnesOwn=False)

    def parse(self, data: bytes, method: bytes, upgrading: bool = False) -> ResponseHead:
        """
        Parse the head of a response.

        @param data: the whole head, its blank line included.
        @param method: the method of the request, which decides whether a body follows.
        @param upgrading: whether the request asked for an upgrade, so that a 101 is in order.
        @raise Fault: bad-request, head-too-large or not-implemented.
        """
        end = data.find(b"\r\n")
        status = statusLine(data[:end])
        section = None if status is None else self._sections.read(data, end)
        if status is None or section is None or section.framing is None or method == b"HEAD":
            return parseAnyResponse(data, self._limits, method, upgrading=upgrading)
        framing = section.framing
        return ResponseHead(
            status.number,
            status.value,
            section.block,
            framing,
            1,
            True,
            None,
            framing != 0,
            section.marks,
        )


def parseResponse(
    data: bytes, limits: Limits, method: bytes, *, upgrading: bool = False
) -> ResponseHead:
    """
    Parse the head of a single response; see L{ResponseParser}.
    """
    return ResponseParser(limits).parse(data, method, upgrading)


def parseAnyResponse(
    data: bytes, limits: Limits, method: bytes, *, upgrading: bool = False
) -> ResponseHead:
    """
    L{ResponseParser.parse} for any head, also such as most messages do not have.
    """
    matched = _RESPONSE(data)
    if matched is None:
        raise _responseFault(data, limits)
    version, code, reason, block = matched.groups()
    if len(reason) + 12 > limits.line:
        raise Fault(BAD_REQUEST, f"a status line of more than {limits.line} bytes")
    _checkSize(data, block, limits)
    minor = 1 if version == b"1" else 0
    status = int(code)
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    upgrades: list[bytes] = []
    hops: list[bytes] = []
    for line, name, text in _SPECIAL(block):
        name = name.lower()
        text = text.rstrip(b" \t")
        if name == b"content-length":
            lengths.append(text)
        elif name not in (b"host", b"expect"):
            hops.append(line)
            if name == b"connection":
                connection.append(text)
            elif name == b"transfer-encoding":
                codings.append(_coding(line))
            elif name == b"upgrade":
                upgrades.append(text)
    framing: int | None = None
    if len(lengths) == 1 and not codings and len(lengths[0]) <= 15 and lengths[0].isdigit():
        framing = int(lengths[0])
    elif lengths or codings:
        framing = bodyFraming(lengths, codings, minor)
    options: list[bytes] = []
    if hops:
        options = elements(connection)
        block = _dropHops(block, hops, options)
    keepAlive = b"close" not in options and (minor == 1 or b"keep-alive" in options)
    head = ResponseHead(status, reason, block, 0, minor, keepAlive, None, framing not in (None, 0))
    if status == 101:
        if not upgrading or not upgrades or b"upgrade" not in options:
            raise Fault(BAD_REQUEST, "101 to a request that did not ask for it, or without Upgrade")
        head.upgrade = b", ".join(upgrades)
    if status < 200 or status == 204:
        if lengths:
            head.fields = _dropLength(head.fields)
    elif method == b"HEAD" or status == 304:
        pass
    elif framing is None:
        head.framing = UNTIL_CLOSE
        head.keepAlive = False
    else:
        head.framing = framing
    return head


def _dropHops(block: bytes, hops: list[bytes], options: list[bytes]) -> bytes:
    """
    Drop what concerns only this hop (RFC 9110, section 7.6.1).

    @param hops: the lines of the fields that always do.
    @param options: the connection options, which name the others.
    """
    if not _HARMLESS_OPTIONS.issuperset(options):
        if not _FORBIDDEN_OPTIONS.isdisjoint(options):
            raise Fault(BAD_REQUEST, "Connection names a field that belongs to the message")
        block = without(block, set(options) - _HARMLESS_OPTIONS)
    block += b"\r\n"
    for line in hops:
        # With the CRLF behind it too, so that it cannot match the beginning of a longer line.
        block = block.replace(line + b"\r\n", b"\r\n", 1)
    return block[:-2]


def _checkRequestLine(method: bytes, target: bytes, limits: Limits) -> None:
    if len(method) + len(target) + 10 > limits.line:  # 10: two spaces and the version
        raise Fault(TARGET_TOO_LONG, f"a request line of more than {limits.line} bytes")


def _checkSize(data: bytes, block: bytes, limits: Limits) -> None:
    if len(data) > limits.head:
        raise Fault(HEAD_TOO_LARGE, f"a head of more than {limits.head} bytes")
    if block.count(b"\r\n") > limits.fields:
        raise Fault(HEAD_TOO_LARGE, f"more than {limits.fields} fields")


def _requestFault(data: bytes, limits: Limits) -> Fault:
    line, _, rest = data.partition(b"\r\n")
    fault = requestLineFault(line, limits)
    return fault or _fieldFault(rest)


def requestLineFault(line: bytes, limits: Limits) -> Fault | None:
    """
    Say what is wrong with a request line, as soon as it is there.

    @param line: the line without its CRLF.
    @return: the fault, or L{None} if the line is in order.
    """
    if len(line) > limits.line:
        return Fault(TARGET_TOO_LONG, f"a request line of more than {limits.line} bytes")
    matched = _REQUEST_LINE(line)
    if matched is None or matched[2] == b"0":
        return Fault(BAD_REQUEST, f"request line {line[:60]!r}")
    if matched[2] != b"1":
        return Fault(VERSION_NOT_SUPPORTED, f"HTTP/{matched[2].decode()}.{matched[3].decode()}")
    if matched[3] not in b"01":
        return Fault(VERSION_NOT_SUPPORTED, f"HTTP/1.{matched[3].decode()}")
    return None


def _responseFault(data: bytes, limits: Limits) -> Fault:
    line, _, rest = data.partition(b"\r\n")
    return statusLineFault(line, limits) or _fieldFault(rest)


def statusLineFault(line: bytes, limits: Limits) -> Fault | None:
    """
    Say what is wrong with a status line, as soon as it is there.

    @param line: the line without its CRLF.
    @return: the fault, or L{None} if the line is in order.
    """
    if len(line) > limits.line or not _STATUS_LINE(line):
        return Fault(BAD_REQUEST, f"status line {line[:60]!r}")
    return None


def _fieldFault(rest: bytes) -> Fault:
    """
    Name the first field line that breaks the grammar, by its number and its name, never by its value (a secret).
    """
    for number, line in enumerate(rest.split(b"\r\n")[:-2], 1):
        if not _FIELD_LINE(line):
            name = re.match(TOKEN + rb"{1,40}", line)
            return Fault(
                BAD_REQUEST, f"field line {number}{f' ({name[0].decode()})' if name else ''}"
            )
    return Fault(BAD_REQUEST, "a malformed head")
