"""
Both ends of a WebSocket (RFC 6455) that echoes: the origin's, and the client's.
"""

from __future__ import annotations

import base64
import hashlib

from wsproto.connection import Connection, ConnectionType
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    TextMessage,
)

from stage.asks import Ask
from stage.pattern import difference
from stage.wire import Nonsense, Wire

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PIECE = 65536
_MESSAGES = 6
"""In how many messages a client sends what it has."""


def keyOf(ask: Ask) -> str:
    """
    The key with which a client asks (section 4.1, 7).
    """
    return base64.b64encode(b"%016d" % ask.number).decode("ascii")


def acceptOf(key: str) -> str:
    """
    The answer to a key (section 4.2.2, 5.4).
    """
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


async def echo(wire: Wire) -> None:
    """
    Send back every message, until the client closes.

    @raise Ended: if the connection ends first.
    """
    websocket = Connection(ConnectionType.SERVER)
    while True:
        websocket.receive_data(await wire.readSome(_PIECE))
        answer = bytearray()
        isClosed = False
        for event in websocket.events():
            if isinstance(event, Ping | CloseConnection):
                answer += websocket.send(event.response())
                isClosed = isinstance(event, CloseConnection)
            elif isinstance(event, BytesMessage | TextMessage):
                answer += websocket.send(event)
        await wire.send(bytes(answer))
        if isClosed:
            return


class Talk:
    """
    The client's end: sends the body of an ask in messages, one after the other has come back, with pings between.
    """

    def __init__(self, wire: Wire, ask: Ask) -> None:
        """
        @param wire: the connection, upgraded.
        @param ask: what was asked.
        """
        self._wire = wire
        self._ask = ask
        self._websocket = Connection(ConnectionType.CLIENT)

    async def talk(self) -> None:
        """
        Do it.

        @raise Nonsense: if something else comes back.
        @raise Ended: if the connection ends too early.
        """
        body = self._ask.answerBody()
        piece = max(1, -(-len(body) // _MESSAGES))
        for begin in range(0, len(body), piece):
            await self.exchange(body[begin : begin + piece], isText=begin % 2 == 0)
        await self._wire.send(self._websocket.send(CloseConnection(code=1000, reason="over")))
        event = await self._event()
        if not isinstance(event, CloseConnection) or event.code != 1000:
            raise Nonsense(f"instead of a Close came {event!r:.200}")

    async def exchange(self, data: bytes, *, isText: bool) -> None:
        """
        Send a message and a ping, and see both answered.
        """
        message = TextMessage(data=data.decode("ascii")) if isText else BytesMessage(data=data)
        ping = Ping(payload=b"%d" % self._ask.number)
        await self._wire.send(self._websocket.send(message) + self._websocket.send(ping))
        found = b""
        isAnswered = isWhole = False
        while not (isAnswered and isWhole):
            event = await self._event()
            if isinstance(event, Pong):
                isAnswered = event.payload == ping.payload
            elif isinstance(event, TextMessage | BytesMessage) and (
                isinstance(event, TextMessage) is isText
            ):
                part = event.data
                found += part.encode("ascii") if isinstance(part, str) else bytes(part)
                isWhole = event.message_finished
            else:
                raise Nonsense(f"instead of an echo came {event!r:.200}")
        if found != data:
            raise Nonsense(difference(found, data))

    async def _event(self) -> object:
        while True:
            for event in self._websocket.events():
                return event
            self._websocket.receive_data(await self._wire.readSome(_PIECE))
