"""
The opening handshake of the tunnel's WebSocket (RFC 6455, section 4): wsproto's, with our heads on the outside.

What wsproto is shown is made here of checked values alone, as it takes the last of a repeated field where we refuse it,
and decodes names of hosts in ways of its own.
"""

from __future__ import annotations

import re

from attrs import frozen
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection, Request
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from invproxy.errors import BAD_REQUEST, Fault
from invproxy.http1.fields import dropper, elements, join, value, values
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.parsing import parseRequest, parseResponse

SUBPROTOCOL = b"invproxy.v1"
"""The name of what the tunnel's messages hold."""

_WEBSOCKET = b"websocket"
_VERSION = b"13"

_ACCEPT_FIELD = b"Sec-WebSocket-Accept"
_EXTENSIONS_FIELD = b"Sec-WebSocket-Extensions"
_KEY_FIELD = b"Sec-WebSocket-Key"
_PROTOCOL_FIELD = b"Sec-WebSocket-Protocol"
_VERSION_FIELD = b"Sec-WebSocket-Version"

_CLAIM = b"X-Inverting-Proxy-Tunnel"

_isClaim = re.compile(rb"([0-9A-Za-z._\-]{1,64}) ([0-9]{1,10})").fullmatch
_isKey = re.compile(rb"[0-9A-Za-z+/]{22}==").fullmatch
_dropOurs = dropper(
    b"connection",
    b"content-length",
    b"expect",
    b"host",
    b"sec-websocket-*",
    b"te",
    b"transfer-encoding",
    b"upgrade",
)


class HandshakeError(Exception):
    """
    The answer to a handshake does not open a tunnel; the text says what is wrong with it.
    """


class ClientHandshake:
    """
    One attempt to open a tunnel.

    @ivar head: the request to be sent.
    """

    def __init__(self, host: bytes, target: bytes, block: bytes = b"") -> None:
        """
        @param host: the value of Host.
        @param target: the request target in origin-form.
        @param block: a block of more fields, such as credentials; those of the handshake itself are left out of it.
        @raise ValueError: if one of them is not allowed in a request.
        """
        self._handshake = H11Handshake(ConnectionType.CLIENT)
        written = self._handshake.send(Request("host", "/", subprotocols=[SUBPROTOCOL.decode()]))
        try:
            head = parseRequest(written, DEFAULT_LIMITS).withHost(host)
            head.target = target
            head.fields += _dropOurs(block)
            self.head = parseRequest(head.encode(), DEFAULT_LIMITS)
        except Fault as fault:
            raise ValueError(fault.detail) from None

    def check(self, head: ResponseHead) -> None:
        """
        Check the answer (RFC 6455, section 4.1), once.

        @raise HandshakeError: if it is not the 101 that opens this tunnel.
        """
        if head.status != 101:
            raise HandshakeError(f"status {head.status} instead of 101")
        if head.upgrade is None or head.upgrade.lower() != _WEBSOCKET:
            raise HandshakeError("a 101 that does not upgrade to websocket")
        subprotocols = values(head.fields, _PROTOCOL_FIELD)
        if subprotocols != [SUBPROTOCOL]:
            raise HandshakeError(
                f"subprotocol {_show(subprotocols)} instead of {SUBPROTOCOL.decode()}"
            )
        extensions = values(head.fields, _EXTENSIONS_FIELD)
        if extensions:
            raise HandshakeError(f"extension {_show(extensions)}, which was not asked for")
        accepts = values(head.fields, _ACCEPT_FIELD)
        if len(accepts) != 1:
            raise HandshakeError(f"{'more than one' if accepts else 'no'} Sec-WebSocket-Accept")
        answer = ResponseHead(
            101, fields=join([(_ACCEPT_FIELD, accepts[0])]), upgrade=_WEBSOCKET
        ).encode()
        try:
            self._handshake.receive_data(answer)
        except RemoteProtocolError:
            raise HandshakeError("a Sec-WebSocket-Accept that does not fit the key") from None
        if not isinstance(next(self._handshake.events(), None), AcceptConnection):
            raise HandshakeError("a second answer to one handshake")


def _show(texts: list[bytes]) -> str:
    return repr(b", ".join(texts)[:40].decode("latin-1")) if texts else "none"


@frozen
class Claim:
    """
    Whose tunnel a handshake says that it opens; the HELLO will say it again.

    @ivar instance: names one run of an agent.
    @ivar slot: which of its tunnels it is.
    """

    instance: str
    slot: int

    def asField(self) -> bytes:
        """
        Write the field, as a block.
        """
        return b"\r\n%b: %b %d" % (_CLAIM, self.instance.encode("ascii"), self.slot)


def claimOf(head: RequestHead) -> Claim | None:
    """
    Read whose tunnel a handshake says that it opens, L{None} if it does not.
    """
    matched = _isClaim(value(head.fields, _CLAIM) or b"")
    return None if matched is None else Claim(matched[1].decode("ascii"), int(matched[2]))


def accept(head: RequestHead) -> ResponseHead:
    """
    Answer the handshake of a client that asks for a tunnel (RFC 6455, section 4.2), without any extension.

    @param head: the request, by L{parseRequest}.
    @return: the 101.
    @raise Fault: (bad-request) if it is not a proper handshake for L{SUBPROTOCOL}.
    """
    if head.method != b"GET":
        raise Fault(BAD_REQUEST, "a WebSocket handshake by another method than GET")
    if head.upgrade is None or _WEBSOCKET not in elements([head.upgrade]):
        raise Fault(BAD_REQUEST, "no upgrade to websocket is asked for")
    if values(head.fields, _VERSION_FIELD) != [_VERSION]:
        raise Fault(
            BAD_REQUEST,
            f"a WebSocket version other than {_VERSION.decode()}",
            join([(_VERSION_FIELD, _VERSION)]),
        )
    keys = values(head.fields, _KEY_FIELD)
    if len(keys) != 1 or not _isKey(keys[0]):
        raise Fault(BAD_REQUEST, "Sec-WebSocket-Key is not one key of 16 bytes in base64")
    offered = [
        part.strip(b" \t")
        for text in values(head.fields, _PROTOCOL_FIELD)
        for part in text.split(b",")
    ]
    if SUBPROTOCOL not in offered:
        raise Fault(BAD_REQUEST, f"subprotocol {SUBPROTOCOL.decode()} is not offered")
    handshake = H11Handshake(ConnectionType.SERVER)
    handshake.initiate_upgrade_connection(
        [
            (b"Host", b"host"),
            (b"Connection", b"Upgrade"),
            (b"Upgrade", _WEBSOCKET),
            (_VERSION_FIELD, _VERSION),
            (_KEY_FIELD, keys[0]),
            (_PROTOCOL_FIELD, SUBPROTOCOL),
        ],
        b"/",
    )
    written = handshake.send(AcceptConnection(subprotocol=SUBPROTOCOL.decode()))
    return parseResponse(written, DEFAULT_LIMITS, b"GET", upgrading=True)
