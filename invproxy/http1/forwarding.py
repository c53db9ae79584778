"""
What a proxy adds to requests and takes out of them on their way: Forwarded (RFC 7239), X-Forwarded-For, -Host and
-Proto, Via and Max-Forwards (RFC 9110, sections 7.6.2 and 7.6.3).

What a peer says about where a request came from counts only if the peer is trusted; else it is dropped. Likenesses
(L{invproxy.http1.fields.hyphenated}), such as those with C{_} for C{-}, are dropped in any case: a trusted proxy that
replaces the field itself may let them pass. All functions work on blocks, see L{invproxy.http1.fields}.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

from invproxy.errors import BAD_REQUEST, Fault
from invproxy.http1.fields import LIKE_HYPHEN, TOKEN, dropper, elements, hyphenated, values
from invproxy.http1.heads import RequestHead
from invproxy.http1.marks import ANYTHING, FORWARDING, ODD, OWN
from invproxy.tables import Table

_MOST_REMEMBERED: Final = 4096
"""Peers whose descriptions are remembered, and hops from them."""

_IS_TOKEN: Final = re.compile(TOKEN + rb"++").fullmatch


def forward(
    block: bytes,
    *,
    peer: bytes | None,
    secure: bool,
    host: bytes | None,
    trusted: bool,
    via: bytes,
    minor: int,
    userHeader: bytes | None = None,
    marks: int = ANYTHING,
) -> bytes:
    """
    Make the fields of a request those that go on to an agent.

    From a peer that is not trusted, all forwarding fields and the user header are replaced by ours. What a trusted peer
    says is kept, and continued by what we know. C{X-Inverting-Proxy-*} is dropped from both, as are likenesses of all
    these fields.

    @param block: the end-to-end fields as they came.
    @param peer: the IP address from which the request came, as text, or L{None} on a UNIX socket.
    @param secure: whether it came over TLS.
    @param host: the value of Host, or L{None} if it had none.
    @param trusted: whether the peer is believed.
    @param via: the pseudonym under which this proxy stands in Via.
    @param minor: the minor version of HTTP that the request came with.
    @param userHeader: the field in which trusted peers name the end user, in any case.
    @param marks: what the block may have; see L{invproxy.http1.marks}.
    """
    if trusted:
        node, address = _UNKNOWN if peer is None else _describe(peer)
        if marks & OWN:
            block = _dropOwn(block)
        if marks & ODD or (userHeader and hyphenated(userHeader) != userHeader):
            block = _likenessDropper(userHeader)(block)
        block = _continued(block, node, address, host, b"https" if secure else b"http")
        return b"%b\r\nVia: 1.%d %b" % (block, minor, via)
    if userHeader or marks & (OWN | FORWARDING):
        block = _untrustedDropper(userHeader)(block)
    return block + _describeHop(peer, secure, host, via, minor)


@lru_cache(maxsize=_MOST_REMEMBERED)
def _describeHop(
    peer: bytes | None, secure: bool, host: bytes | None, via: bytes, minor: int
) -> bytes:
    """
    Write what a request gets that comes straight from its client: the same for each on a connection.
    """
    node, address = _UNKNOWN if peer is None else _describe(peer)
    proto = b"https" if secure else b"http"
    named = forHost = b""
    if host:
        named = b";host=" + (host if _IS_TOKEN(host) else b'"%b"' % host)
        forHost = b"\r\nX-Forwarded-Host: " + host
    return b"\r\nForwarded: for=%b%b;proto=%b%b%b\r\nX-Forwarded-Proto: %b\r\nVia: 1.%d %b" % (
        node,
        named,
        proto,
        address and b"\r\nX-Forwarded-For: " + address,
        forHost,
        proto,
        minor,
        via,
    )


def forwardTrailers(block: bytes, *, trusted: bool, userHeader: bytes | None = None) -> bytes:
    """
    Drop from the trailers of a request what L{forward} drops from its header: some servers join the two. The user
    header is dropped from the trailers of trusted peers, too: the header alone is where they name the end user.

    @param block: the trailer fields as they came.
    @param trusted: whether the peer is believed.
    @param userHeader: the field in which trusted peers name the end user.
    """
    if not block:
        return block
    if not trusted:
        return _untrustedDropper(userHeader)(block)
    return _likenessDropper(userHeader)(_trailersDropper(userHeader)(block))


_dropOwn: Final = dropper(b"x-inverting-proxy-*", alike=True)


@lru_cache(maxsize=16)
def _trailersDropper(userHeader: bytes | None) -> Callable[[bytes], bytes]:
    if not userHeader:
        return _dropOwn
    return dropper(b"x-inverting-proxy-*", hyphenated(userHeader.lower()), alike=True)


@lru_cache(maxsize=16)
def _likenessDropper(userHeader: bytes | None) -> Callable[[bytes], bytes]:
    """
    Make a function that drops what only looks like forwarding fields and the user header, and not these themselves.
    """
    names = b"(?!x-forwarded-[-0-9a-z]*:|x-real-ip:)(?:x%bforwarded%b[^:\r\n]*|x%breal%bip)"
    names = names.replace(b"%b", LIKE_HYPHEN)
    initials = b"x"
    if userHeader:
        plain = hyphenated(userHeader)
        alike = re.escape(plain).replace(rb"\-", LIKE_HYPHEN)
        names = b"(?!" + re.escape(userHeader) + b":)(?:" + alike + b"|" + names + b")"
        initials += plain[:1]
    # The look-ahead spares most fields the alternatives.
    begins = b"[" + re.escape(initials) + b"]"
    if b"-" in initials:
        begins = b"(?:" + begins + b"|" + LIKE_HYPHEN + b")"
    lines = re.compile(b"\r\n(?=" + begins + b")" + names + rb":[^\r\n]*+", re.IGNORECASE)
    return partial(lines.sub, b"")


@lru_cache(maxsize=16)
def _untrustedDropper(userHeader: bytes | None) -> Callable[[bytes], bytes]:
    names = [b"forwarded", b"x-forwarded-*", b"x-real-ip", b"x-inverting-proxy-*"]
    if userHeader:
        names.append(hyphenated(userHeader.lower()))
    return dropper(*names, alike=True)


_UNKNOWN: Final = (b"unknown", b"")


@lru_cache(maxsize=_MOST_REMEMBERED)
def _describe(peer: bytes) -> tuple[bytes, bytes]:
    """
    @return: an address as a node of Forwarded, and as an element of X-Forwarded-For.
    """
    address = peer.partition(b"%")[
        0
    ]  # the zone of a link-local address means something on this machine alone
    if address.lower().startswith(b"::ffff:") and b"." in address:
        address = address[7:]
    if b":" in address:
        return b'"[%b]"' % address, address
    return address, address


# What a trusted peer says.

_PAIR: Final = re.compile(
    rb"([,;]?)[ \t]*(" + TOKEN + rb"++)=(" + TOKEN + rb'++|"(?>(?:[^"\\]|\\.)*)")[ \t]*|[,;][ \t]*'
).match
_IP: Final = re.compile(rb"[0-9.]{7,15}+|[0-9A-Fa-f:.]{2,45}+").fullmatch


_GIVEN: Final = re.compile(
    rb"(\r\n(?=[FX])(forwarded|x-forwarded-(?:for|host|proto)):[ \t]*([^\r\n]*))", re.IGNORECASE
).findall


def _continued(
    block: bytes, node: bytes, address: bytes, host: bytes | None, proto: bytes
) -> bytes:
    """
    Continue the forwarding fields of a trusted peer. Where it sends only one kind, Forwarded or X-Forwarded-*, the
    other is made from it (RFC 7239, section 7.4), as an application might read either.
    """
    forwarded = chain = b""
    givenHost = givenProto = None
    block += b"\r\n"
    for line, name, text in _GIVEN(block):
        name = name.lower()
        text = text.rstrip(b" \t")
        if name == b"x-forwarded-host":
            givenHost = givenHost or text
        elif name == b"x-forwarded-proto":
            givenProto = givenProto or text
        else:
            block = block.replace(line + b"\r\n", b"\r\n", 1)
            if name == b"forwarded":
                forwarded = forwarded + b", " + text if forwarded else text
            else:
                chain = chain + b", " + text if chain else text
    first: dict[bytes, bytes] = {}
    if forwarded:
        if not (chain and givenHost and givenProto):
            steps = _parse(forwarded)
            first = steps[0]
            chain = chain or b", ".join(
                filter(None, (_addressOf(step.get(b"for", b"")) for step in steps))
            )
    elif nodes := elements([chain]):
        nodes = [_describe(part)[0] if _IP(part) else b"unknown" for part in nodes]
        forwarded = b", for=".join([_element(nodes[0], givenHost, givenProto), *nodes[1:]])
    own = _element(node, host, proto)
    added = b"Forwarded: " + (forwarded + b", " + own if forwarded else own)
    if address:
        chain = chain + b", " + address if chain else address
    if chain:
        added += b"\r\nX-Forwarded-For: " + chain
    host = first.get(b"host") or host
    if givenHost is None and host:
        added += b"\r\nX-Forwarded-Host: " + host
    if givenProto is None:
        added += b"\r\nX-Forwarded-Proto: " + (first.get(b"proto") or proto)
    return block + added


def _element(node: bytes, host: bytes | None, proto: bytes | None) -> bytes:
    """
    Write one element of Forwarded.
    """
    element = b"for=" + node
    if host:
        element += b";host=" + (host if _IS_TOKEN(host) else _quoted(host))
    if proto:
        element += b";proto=" + (proto if _IS_TOKEN(proto) else _quoted(proto))
    return element


def _quoted(text: bytes) -> bytes:
    return b'"%b"' % text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _parse(forwarded: bytes) -> list[dict[bytes, bytes]]:
    """
    Read the elements of Forwarded as far as they follow its grammar: parameters in lower case, values unquoted.
    """
    steps: list[dict[bytes, bytes]] = [{}]
    at = 0
    while matched := _PAIR(forwarded, at):
        if matched[0][:1] == b"," and steps[-1]:
            steps.append({})
        if matched[2]:
            text = matched[3]
            if text.startswith(b'"'):
                text = re.sub(rb"\\(.)", rb"\1", text[1:-1])
            steps[-1].setdefault(matched[2].lower(), text)
        at = matched.end()
    return steps


def _addressOf(node: bytes) -> bytes:
    """
    @return: the IP address in a node of Forwarded, without brackets and port, or C{b""} if it has none.
    """
    if node.startswith(b"["):
        node = node[1:].partition(b"]")[0]
    else:
        node = node.partition(b":")[0]
    return node if _IP(node) else b""


# Via and Max-Forwards.

_VIA_PARTS: Final = re.compile(rb"\\.|[(),]|[^\\(),]++|\\").findall


def isLoop(block: bytes, pseudonym: bytes) -> bool:
    """
    Say whether a request came by here before: whether its Via (RFC 9110, section 7.6.3) names us.

    @param block: the fields of the request.
    @param pseudonym: our name in Via.
    """
    if block.find(pseudonym) < 0:  # twice as fast as C{in}
        return False
    for via in values(block, b"via"):
        for element in _withoutComments(via).split(b","):
            words = element.split()
            if len(words) > 1 and words[1] == pseudonym:
                return True
    return False


def _withoutComments(text: bytes) -> bytes:
    depth = 0
    kept = []
    for part in _VIA_PARTS(text):
        if part == b"(":
            depth += 1
        elif part == b")" and depth:
            depth -= 1
        elif not depth:
            kept.append(part)
    # What is no comment, as it does not end, shall not hide a loop.
    return text if depth else b"".join(kept)


_MAX_FORWARDS: Final = re.compile(rb"(\r\nMax-Forwards:)[^\r\n]*", re.IGNORECASE)
_COUNT: Final = re.compile(rb"[0-9]{1,15}").fullmatch


def takeMaxForward(head: RequestHead) -> RequestHead | None:
    """
    Count down Max-Forwards of an OPTIONS or TRACE request (RFC 9110, section 7.6.2); other requests stay as they are.

    @return: the head to send on, or L{None} if the request ends here and is ours to answer.
    @raise Fault: (bad-request) if the field is repeated or no number.
    """
    if head.method not in (b"OPTIONS", b"TRACE"):
        return head
    found = values(head.fields, b"max-forwards")
    if not found:
        return head
    if len(found) > 1 or not _COUNT(found[0]):
        raise Fault(BAD_REQUEST, f"Max-Forwards {found[0][:40]!r}")
    count = int(found[0])
    if count == 0:
        return None
    return head.withFields(_MAX_FORWARDS.sub(rb"\g<1> %d" % (count - 1), head.fields))


def tables() -> list[Table]:
    """
    Tell how many hops and peers are remembered.
    """
    return [
        Table("hops", _describeHop.cache_info().currsize, _MOST_REMEMBERED, True),
        Table("hop_peers", _describe.cache_info().currsize, _MOST_REMEMBERED, True),
    ]
