"""
Whatever we accept, httptools (llhttp) and h11 read the same way: method, target, fields, body, trailers and where each
message ends. Where one of the two cannot be asked, the reason stands beside it.

To search longer: C{INVPROXY_EXAMPLES=20000 trial invproxy.test.test_http1_differential}.
"""

from __future__ import annotations

import re

import h11
import httptools
from attrs import define, field
from hypothesis import given, note
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.http1.fields import items
from invproxy.http1.framing import UNTIL_CLOSE
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.test import messages
from invproxy.test.messages import Taker, examples, isLast, readRequests, readResponse

Pairs = list[tuple[bytes, bytes]]


@define
class Seen:
    """
    One message as an oracle sees it.

    @ivar first: method and target, or status and reason phrase.
    @ivar pairs: all its fields, less white space around values.
    """

    first: tuple[bytes, bytes] = (b"", b"")
    pairs: Pairs = field(factory=list)
    body: bytes = b""
    trailers: Pairs = field(factory=list)
    finished: bool = False


@define
class Witness:
    """
    What an oracle made of a stream of bytes.

    @ivar rest: what stands behind the last message, or L{None} if the oracle does not say.
    @ivar refusal: why it broke off.
    """

    seen: list[Seen] = field(factory=list)
    rest: bytes | None = None
    refusal: str | None = None


_HOP_BY_HOP = {
    b"connection",
    b"http2-settings",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"transfer-encoding",
    b"upgrade",
}


def endToEnd(pairs: Pairs) -> Pairs:
    """
    What a proxy passes on of the fields that an oracle saw.
    """
    named = {
        option.strip().lower()
        for name, value in pairs
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    return [(name, value) for name, value in pairs if name.lower() not in _HOP_BY_HOP | named]


def get(pairs: Pairs, name: bytes) -> list[bytes]:
    return [value for other, value in pairs if other.lower() == name]


def h11Requests(data: bytes, count: int) -> Witness:
    """
    Have h11 read requests, each with a connection of its own: it would go on only after an answer, and takes no empty
    line before a request, of which we let one pass.

    @param count: how many to read.
    """
    witness = Witness(rest=data)
    while len(witness.seen) < count and witness.rest is not None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        connection.receive_data(witness.rest.removeprefix(b"\r\n"))
        witness.rest = None
        _h11Message(connection, witness)
    return witness


def _h11Message(connection: h11.Connection, witness: Witness) -> None:
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                witness.seen.append(Seen((event.method, event.target), event.headers.raw_items()))
            elif isinstance(event, h11.InformationalResponse | h11.Response):
                first = b"%d" % event.status_code, bytes(event.reason)
                witness.seen.append(Seen(first, event.headers.raw_items()))
                if event.status_code == 101:
                    witness.seen[-1].body = connection.trailing_data[0]
                    witness.seen[-1].finished = True  # h11 stops here, what follows is no HTTP
                    return
            elif isinstance(event, h11.Data):
                witness.seen[-1].body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                witness.seen[-1].trailers = event.headers.raw_items()
                witness.seen[-1].finished = True
                witness.rest = connection.trailing_data[0]
                return
            else:
                return
    except h11.RemoteProtocolError as error:
        witness.refusal = str(error)


def h11Response(data: bytes, method: bytes, upgrade: bytes | None) -> Witness:
    """
    Have h11 read a response, interim ones before it included, up to the end of the connection.
    """
    witness = Witness()
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    asked = [(b"Connection", b"Upgrade"), (b"Upgrade", upgrade)] if upgrade else []
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a"), *asked]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    _h11Message(connection, witness)
    return witness


class _Callbacks:
    """
    What httptools calls.
    """

    def __init__(
        self, parser: type[httptools.HttpRequestParser | httptools.HttpResponseParser]
    ) -> None:
        self.witness = Witness()
        self.parser = parser(self)
        self._inTrailers = False

    def read(self, data: bytes) -> Witness:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.witness.seen[-1].finished = True
            self.witness.rest = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            self.witness.refusal = str(error)
        return self.witness

    def on_message_begin(self) -> None:
        self._inTrailers = False
        self.witness.seen.append(Seen())

    def on_url(self, url: bytes) -> None:
        method, target = self.witness.seen[-1].first
        self.witness.seen[-1].first = method, target + url

    def on_status(self, reason: bytes) -> None:
        status, already = self.witness.seen[-1].first
        self.witness.seen[-1].first = status, already + reason

    def on_header(self, name: bytes, value: bytes | None) -> None:
        seen = self.witness.seen[-1]
        (seen.trailers if self._inTrailers else seen.pairs).append(
            (name, (value or b"").strip(b" \t"))
        )

    def on_headers_complete(self) -> None:
        self._inTrailers = True
        seen = self.witness.seen[-1]
        if isinstance(self.parser, httptools.HttpRequestParser):
            seen.first = self.parser.get_method(), seen.first[1]
        else:
            seen.first = b"%d" % self.parser.get_status_code(), seen.first[1]

    def on_body(self, data: bytes) -> None:
        self.witness.seen[-1].body += data

    def on_message_complete(self) -> None:
        self.witness.seen[-1].finished = True


_UNKNOWN_METHOD = ("Invalid method encountered", "Expected space after method")
"""llhttp has a list of methods that it knows, and says one of these to others."""


class Differential(SynchronousTestCase):
    """
    Ours against each oracle.
    """

    def assertHead(self, head: RequestHead | ResponseHead, seen: Seen) -> None:
        """
        The head is what the oracle saw, less what belongs to the hop.
        """
        pairs = endToEnd(seen.pairs)
        if isinstance(head, RequestHead):
            method, target = seen.first
            if not target.startswith((b"/", b"*")) and method != b"CONNECT":
                # absolute-form: the authority replaces Host, or becomes it
                matched = re.fullmatch(rb"https?://([^/?]*)(.*)", target, re.I)
                assert matched is not None, target
                authority, rest = matched.groups()
                if get(pairs, b"host"):
                    pairs = [(n, authority if n.lower() == b"host" else v) for n, v in pairs]
                else:
                    pairs.insert(0, (b"Host", authority))
                target = b"*" if method == b"OPTIONS" and not rest else rest
                if not target.startswith((b"/", b"*")):
                    target = b"/" + target
            self.assertEqual((head.method, head.target), (method, target))
            if not head.expectsContinue:
                pairs = [pair for pair in pairs if pair[0].lower() != b"expect"]
        else:
            self.assertEqual(
                (b"%d" % head.status, head.reason.strip(b" \t")),
                (seen.first[0], seen.first[1].strip(b" \t")),
            )
            if head.status < 200 or head.status == 204:
                pairs = [pair for pair in pairs if pair[0].lower() != b"content-length"]
        self.assertEqual(list(items(head.fields)), pairs)

    def assertMessage(self, taker: Taker, seen: Seen) -> None:
        """
        The message is what the oracle saw, as far as both have read it.
        """
        assert taker.head is not None
        self.assertHead(taker.head, seen)
        if taker.finished:
            # llhttp is not told of the end of a connection
            self.assertTrue(seen.finished or taker.head.framing == UNTIL_CLOSE)
            self.assertEqual(taker.body, seen.body)
            self.assertEqual(list(items(taker.trailers)), seen.trailers)
        else:
            size = min(len(taker.body), len(seen.body))
            self.assertEqual(taker.body[:size], seen.body[:size])

    @examples(200)
    @given(messages.mutated(messages.pipelines))
    def test_requestsH11(self, data: bytes) -> None:
        reading = readRequests([data])
        if not reading.messages:
            return
        witness = h11Requests(data, len(reading.messages))
        note(repr((reading, witness)))
        for taker, seen in zip(reading.messages, witness.seen, strict=True):
            self.assertMessage(taker, seen)
        if reading.rest is not None:
            self.assertEqual(reading.rest, witness.rest)

    @examples(200)
    @given(messages.mutated(messages.pipelines))
    def test_requestsLlhttp(self, data: bytes) -> None:
        reading = readRequests([data])
        witness = _Callbacks(httptools.HttpRequestParser).read(data)
        note(repr((reading, witness)))
        for number, taker in enumerate(reading.messages):
            assert isinstance(taker.head, RequestHead)
            if witness.refusal in _UNKNOWN_METHOD and number >= len(witness.seen) - 1:
                return
            self.assertLess(number, len(witness.seen), witness.refusal)
            if get(witness.seen[number].pairs, b"upgrade") and witness.rest is not None:
                # llhttp takes all behind any upgrade for another protocol, even a body; we ignore h2c, and any upgrade
                # of a request that has a body.
                self.assertHead(taker.head, witness.seen[number])
                return
            self.assertMessage(taker, witness.seen[number])
            if isLast(taker.head):
                return

    @examples(200)
    @given(
        messages.mutated(messages.responses()),
        st.sampled_from([b"GET", b"HEAD"]),
        st.sampled_from([None, b"websocket"]),
    )
    def test_responsesH11(self, data: bytes, method: bytes, upgrade: bytes | None) -> None:
        reading = readResponse([data], method=method, upgrade=upgrade)
        witness = h11Response(data, method, upgrade)
        note(repr((reading, witness)))
        (taker,) = reading.messages
        heads = [*taker.interim, *([taker.head] if isinstance(taker.head, ResponseHead) else [])]
        for head, seen in zip(heads, witness.seen, strict=False):
            self.assertHead(head, seen)
        self.assertGreaterEqual(len(witness.seen), len(heads), witness.refusal)
        if taker.head is None:
            return
        self.assertMessage(taker, witness.seen[len(heads) - 1])
        if reading.rest is not None and witness.rest is not None:
            self.assertEqual(reading.rest, witness.rest)

    @examples(200)
    @given(messages.mutated(messages.responses()))
    def test_responsesLlhttp(self, data: bytes) -> None:
        reading = readResponse([data])
        witness = _Callbacks(httptools.HttpResponseParser).read(data)
        note(repr((reading, witness)))
        (taker,) = reading.messages
        heads = [*taker.interim, *([taker.head] if isinstance(taker.head, ResponseHead) else [])]
        for head, seen in zip(heads, witness.seen, strict=False):
            self.assertHead(head, seen)
        if not all(head.keepAlive for head in taker.interim):
            return  # llhttp takes Connection in an interim response for the end
        self.assertGreaterEqual(len(witness.seen), len(heads), witness.refusal)
        if taker.head is not None:
            self.assertMessage(taker, witness.seen[len(heads) - 1])
