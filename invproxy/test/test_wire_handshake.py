"""
The opening handshake of the tunnel.
"""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from invproxy.errors import Fault
from invproxy.http1.fields import dropper, items, value
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.parsing import parseRequest, parseResponse
from invproxy.test import messages
from invproxy.test.messages import changed, examples
from invproxy.wire.handshake import SUBPROTOCOL, ClientHandshake, HandshakeError, accept

# The example of RFC 6455, section 1.3.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

ASKED = {
    b"Host": b"a",
    b"Connection": b"Upgrade",
    b"Upgrade": b"websocket",
    b"Sec-WebSocket-Key": KEY,
    b"Sec-WebSocket-Version": b"13",
    b"Sec-WebSocket-Protocol": b"invproxy.v1",
}


def request(*, method: bytes = b"GET", **changes: bytes | None) -> RequestHead:
    """
    A handshake by a client, with changes.

    @param changes: values of fields, with C{_} for C{-} in their names; L{None} leaves one out.
    """
    fields = {name.lower(): text for name, text in ASKED.items()}
    for name, text in changes.items():
        field = name.replace("_", "-").encode()
        if text is None:
            del fields[field]
        else:
            fields[field] = text
    lines = b"".join(b"\r\n%b: %b" % pair for pair in fields.items())
    return parseRequest(method + b" /agent/tunnel HTTP/1.1" + lines + b"\r\n\r\n", DEFAULT_LIMITS)


def answer(client: ClientHandshake) -> ResponseHead:
    """
    The right answer, as it comes over the wire.
    """
    written = accept(parseRequest(client.head.encode(), DEFAULT_LIMITS)).encode()
    return parseResponse(written, DEFAULT_LIMITS, b"GET", upgrading=True)


class Client(SynchronousTestCase):
    """
    L{ClientHandshake}.
    """

    def test_head(self) -> None:
        client = ClientHandshake(b"a.example:81", b"/agent/tunnel?b=c", b"\r\nX-Y: z")
        head = client.head
        key = value(head.fields, b"Sec-WebSocket-Key")
        assert key is not None
        self.assertEqual(
            (head.upgrade, head.host, head.framing), (b"websocket", b"a.example:81", 0)
        )
        self.assertEqual(
            head.encode(),
            b"GET /agent/tunnel?b=c HTTP/1.1\r\nHost: a.example:81\r\nSec-WebSocket-Key: "
            + key
            + b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: invproxy.v1\r\nX-Y: z"
            b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )

    def test_keys(self) -> None:
        """
        Each handshake has a key of its own.
        """
        keys = {value(ClientHandshake(b"a", b"/").head.fields, b"Sec-WebSocket-Key") for _ in "abc"}
        self.assertEqual(len(keys), 3)

    def test_hosts(self) -> None:
        """
        Any authority will do, also such as wsproto alone would not take.
        """
        for host in (b"[::1]:80", b"%2Frun%2F" + b"x" * 100, b"xn--0", b"a..b", b"A.example"):
            self.assertEqual(ClientHandshake(host, b"/").head.host, host)

    def test_ownFields(self) -> None:
        """
        What the handshake writes itself is not there twice, whatever the block says.
        """
        block = (
            b"\r\nhost: b\r\nConnection: close, X-A\r\nUPGRADE: h3\r\nTE: trailers\r\nX-A: b"
            b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Key: x"
            b"\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue"
        )
        with_, without = (ClientHandshake(b"a", b"/", each) for each in (block, b"\r\nX-A: b"))
        dropKey = dropper(b"sec-websocket-key")
        self.assertEqual(dropKey(with_.head.encode()), dropKey(without.head.encode()))
        with_.check(answer(with_))

    def test_wrongArguments(self) -> None:
        for host, target, block, text in (
            (b"a b", b"/", b"", "Host b'a b'"),
            (b"a", b"/ x", b"", "request line b'GET / x HTTP/1.1'"),
            (b"a", b"x", b"", "target b'x'"),
            (b"a", b"/", b"\r\nX Y: z", "field line 5 (X)"),
            (b"a", b"/", b"\r\n\r\n", "field line 5"),
        ):
            error = self.assertRaises(ValueError, ClientHandshake, host, target, block)
            self.assertEqual(str(error), text)

    def test_opened(self) -> None:
        client = ClientHandshake(b"a", b"/")
        right = answer(client)
        client.check(right)
        error = self.assertRaises(HandshakeError, client.check, right)
        self.assertEqual(str(error), "a second answer to one handshake")

    def test_refused(self) -> None:
        """
        What is wrong with an answer is said in plain words.
        """
        protocol = b"\r\nSec-WebSocket-Protocol: "
        accepted = b"\r\nSec-WebSocket-Accept: "
        for change, text in (
            (lambda head: changed(head, status=404), "status 404 instead of 101"),
            (lambda head: changed(head, upgrade=None), "a 101 that does not upgrade to websocket"),
            (lambda head: changed(head, upgrade=b"h3"), "a 101 that does not upgrade to websocket"),
            (
                lambda head: changed(head, upgrade=b"websocket, h3"),
                "a 101 that does not upgrade to websocket",
            ),
            (
                lambda head: head.fields.replace(SUBPROTOCOL, b"chat"),
                "subprotocol 'chat' instead of invproxy.v1",
            ),
            (
                lambda head: dropper(b"sec-websocket-protocol")(head.fields),
                "subprotocol none instead of invproxy.v1",
            ),
            (
                lambda head: head.fields + protocol + b"\xff",
                "subprotocol 'invproxy.v1, ÿ' instead of invproxy.v1",
            ),
            (
                lambda head: head.fields + b"\r\nSec-WebSocket-Extensions: permessage-deflate; a=1",
                "extension 'permessage-deflate; a=1', which was not asked for",
            ),
            (
                lambda head: head.fields + b"\r\nSec-WebSocket-Extensions:",
                "extension '', which was not asked for",
            ),
            (
                lambda head: dropper(b"sec-websocket-accept")(head.fields),
                "no Sec-WebSocket-Accept",
            ),
            (
                lambda head: head.fields + accepted + ACCEPT,
                "more than one Sec-WebSocket-Accept",
            ),
            (
                lambda head: dropper(b"sec-websocket-accept")(head.fields) + accepted + ACCEPT,
                "a Sec-WebSocket-Accept that does not fit the key",
            ),
            (
                lambda head: dropper(b"sec-websocket-accept")(head.fields) + accepted + b"\xff",
                "a Sec-WebSocket-Accept that does not fit the key",
            ),
        ):
            client = ClientHandshake(b"a", b"/")
            right = answer(client)
            wrong = change(right)
            if isinstance(wrong, bytes):
                wrong = changed(right, fields=wrong)
            error = self.assertRaises(HandshakeError, client.check, wrong)
            self.assertEqual(str(error), text)


class Server(SynchronousTestCase):
    """
    L{accept}.
    """

    def test_accepted(self) -> None:
        for head in (
            request(),
            request(upgrade=b"h3, WebSocket", connection=b"keep-alive, upgrade"),
            request(sec_websocket_protocol=b"chat ,invproxy.v1\t, \xff"),
            request(sec_websocket_protocol=b"chat\r\nSec-WebSocket-Protocol: invproxy.v1"),
            request(sec_websocket_extensions=b"permessage-deflate; client_max_window_bits, \xff"),
            request(host=b"xn--0"),
            request(cookie=b"\xff"),
        ):
            self.assertEqual(
                accept(head).encode(),
                b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: "
                + ACCEPT
                + b"\r\nSec-WebSocket-Protocol: invproxy.v1\r\nConnection: Upgrade"
                b"\r\nUpgrade: websocket\r\n\r\n",
            )

    def test_refused(self) -> None:
        noUpgrade = "no upgrade to websocket is asked for"
        version = "a WebSocket version other than 13"
        key = "Sec-WebSocket-Key is not one key of 16 bytes in base64"
        protocol = "subprotocol invproxy.v1 is not offered"
        for head, detail in (
            (request(method=b"POST"), "a WebSocket handshake by another method than GET"),
            (request(upgrade=None), noUpgrade),
            (request(connection=None), noUpgrade),
            (request(connection=b"keep-alive"), noUpgrade),
            (request(upgrade=b"websocket2, h3"), noUpgrade),
            (request(content_length=b"3"), noUpgrade),
            (request(sec_websocket_version=None), version),
            (request(sec_websocket_version=b"8"), version),
            (request(sec_websocket_version=b"13, 8"), version),
            (request(sec_websocket_version=b"13\r\nSec-WebSocket-Version: 13"), version),
            (request(sec_websocket_key=None), key),
            (request(sec_websocket_key=b""), key),
            (request(sec_websocket_key=KEY[4:]), key),
            (request(sec_websocket_key=b"x" + KEY), key),
            (request(sec_websocket_key=KEY[:-2]), key),
            (request(sec_websocket_key=b"_" + KEY[1:]), key),
            (request(sec_websocket_key=KEY + b"\r\nSec-WebSocket-Key: " + KEY), key),
            (request(sec_websocket_protocol=None), protocol),
            (request(sec_websocket_protocol=b"invproxy.v2, invproxy"), protocol),
            (request(sec_websocket_protocol=b"INVPROXY.V1"), protocol),
        ):
            fault = self.assertRaises(Fault, accept, head)
            self.assertEqual((fault.code.name, fault.detail), ("bad-request", detail))
            fields = b"\r\nSec-WebSocket-Version: 13" if detail is version else b""
            self.assertEqual(fault.fields, fields)


class Differential(SynchronousTestCase):
    """
    Against websockets.
    """

    def test_client(self) -> None:
        """
        It answers our client.
        """
        client = ClientHandshake(b"a", b"/")
        server = ServerProtocol(subprotocols=[Subprotocol("invproxy.v1")])
        lines = client.head.encode().decode("ascii").split("\r\n")[1:-2]
        fields = Headers()
        for line in lines:
            name, _, text = line.partition(": ")
            fields[name] = text
        response = server.accept(Request("/", fields))
        self.assertEqual(response.status_code, 101)
        client.check(parseResponse(response.serialize(), DEFAULT_LIMITS, b"GET", upgrading=True))

    def test_server(self) -> None:
        """
        Its client, which offers compression, takes our answer.
        """
        client = ClientProtocol(
            parse_uri("ws://a/agent/tunnel"), subprotocols=[Subprotocol("invproxy.v1")]
        )
        head = accept(parseRequest(client.connect().serialize(), DEFAULT_LIMITS))
        fields = [
            *items(head.fields),
            (b"Connection", b"Upgrade"),
            (b"Upgrade", head.upgrade or b""),
        ]
        client.process_response(
            Response(
                101,
                "Switching Protocols",
                Headers([(name.decode(), text.decode()) for name, text in fields]),
            )
        )
        self.assertEqual(client.subprotocol, "invproxy.v1")

    names = st.sampled_from([*ASKED, b"Sec-WebSocket-Extensions", b"Sec-WebSocket-Accept", b"X-A"])

    @examples(150)
    @given(
        st.lists(st.tuples(names, st.one_of(messages.values, st.sampled_from([*ASKED.values()]))))
    )
    def test_anyFields(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """
        Whatever fields are added on either side, nothing is raised but what is said.
        """
        block = b"".join(b"\r\n%b: %b" % pair for pair in pairs)
        client = ClientHandshake(b"a", b"/", block)
        right = answer(client)
        with contextlib.suppress(HandshakeError):
            client.check(changed(right, fields=right.fields + block))
        head = request()
        try:
            accept(changed(head, fields=head.fields + block))
        except Fault as fault:
            self.assertEqual(fault.code.name, "bad-request")
