"""
The origin of a soak run: C{python -m soak.origin BACKEND PORT JOURNAL}.

Besides what every origin on a stage does: a stream of which nothing is sent before the client has seen what came
before, a WebSocket, and answers that break off.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from soak.websockets import acceptOf, echo
from stage.asks import Ask
from stage.journal import Journal
from stage.messages import Fields, valueOf
from stage.origin import Origin, headOf
from stage.wire import Nonsense, Wire

EVENTS = 5
"""In how many pieces a stream of events comes."""

_PRIVATE = ("authorization", "cookie")
"""Fields in which visitors say who they are to the proxy; they are none of a backend's business."""


class SoakOrigin(Origin):
    """
    Answers as each request wishes.
    """

    def __init__(self, backend: str, journal: Journal) -> None:
        """
        @param backend: the backend that it is.
        @param journal: where it writes what it saw.
        """
        super().__init__(backend, journal)
        self._seen: dict[int, asyncio.Event] = {}
        self.forms |= {
            "events": self._events,
            "acknowledged": self._acknowledged,
            "websocket": self._websocket,
            "broken": self._broken,
        }

    def check(self, ask: Ask, fields: Fields) -> None:
        super().check(ask, fields)
        for name in _PRIVATE:
            if name in fields:
                raise Nonsense(f"{name} came through")

    async def _events(self, wire: Wire, ask: Ask, fields: Fields, lines: list[str]) -> bool:
        lines += [
            "X-Upload: 0-00000000",
            "Content-Type: text/event-stream",
            "Transfer-Encoding: chunked",
        ]
        await wire.send(headOf("200 As It Comes", lines))
        body = ask.answerBody()
        seen = self._seen[ask.number] = asyncio.Event()
        try:
            for part in piecesOf(body):
                seen.clear()
                await wire.send(b"%x\r\n%b\r\n" % (len(part), part))
                await seen.wait()
        finally:
            del self._seen[ask.number]
        await wire.send(b"0\r\n\r\n")
        await self.isAnswered(wire, ask)
        return True

    async def _acknowledged(self, wire: Wire, ask: Ask, fields: Fields, lines: list[str]) -> bool:
        seen = self._seen.get(ask.about)
        if seen is not None:
            seen.set()
        lines += ["X-Upload: 0-00000000", "Content-Length: 0"]
        await wire.send(headOf("200 Thanks", lines))
        await self.isAnswered(wire, ask)
        return True

    async def _websocket(self, wire: Wire, ask: Ask, fields: Fields, lines: list[str]) -> bool:
        if valueOf(fields, "upgrade") != "websocket":
            raise Nonsense(f"upgrade is {fields.get('upgrade')}")
        accept = acceptOf(valueOf(fields, "sec-websocket-key"))
        lines += [
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Accept: {accept}",
        ]
        await wire.send(headOf("101 Switching Protocols", lines))
        await echo(wire)
        await self.isAnswered(wire, ask)
        return False

    async def _broken(self, wire: Wire, ask: Ask, fields: Fields, lines: list[str]) -> bool:
        await asyncio.sleep(ask.thinks)
        if ask.breaksAfter >= 0:
            lines += ["X-Upload: 0-00000000", f"Content-Length: {ask.size}"]
            await wire.send(headOf("200 Up To A Point", lines))
            await wire.send(ask.answerBody()[: ask.breaksAfter])
            await wire.sendAll()
        wire.reset()
        return False


def piecesOf(body: bytes) -> list[bytes]:
    """
    Cut a body into the pieces in which a stream of events comes.
    """
    size = max(1, -(-len(body) // EVENTS))
    return [body[begin : begin + size] for begin in range(0, len(body), size)]


if __name__ == "__main__":
    origin = SoakOrigin(sys.argv[1], Journal(Path(sys.argv[3])))
    asyncio.run(origin.listen("origin", int(sys.argv[2])))
