"""
An origin that writes down what it is asked: C{python -m stage.origin BACKEND PORT JOURNAL}.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from attrs import evolve

from stage.asks import BYE, END, PROTOCOL, Ask, wishesOf
from stage.journal import ANSWERED, BEGUN, BROKEN, FAULTY, WHOLE, Journal
from stage.messages import Fields, isChunked, readChunked, readCounted, readHead, valueOf
from stage.pattern import checksumOf
from stage.serving import Server
from stage.wire import Ended, Nonsense, Wire

_PIECES = 8
"""In how many pieces a slow answer comes."""

_PIECE = 16384

Form = Callable[[Wire, Ask, Fields, list[str]], Awaitable[bool]]
"""
Answers a request, given its header fields and lines for the answer's; says whether the connection goes on.
"""


def headOf(status: str, lines: list[str]) -> bytes:
    """
    Write the head of a response.

    @param status: its status code and reason.
    @param lines: its header section.
    """
    return "\r\n".join((f"HTTP/1.1 {status}", *lines, "", "")).encode("ascii")


class Origin(Server):
    """
    Answers as each request wishes.

    @ivar forms: what answers those forms that are not a plain response, by their names.
    """

    def __init__(self, backend: str, journal: Journal) -> None:
        """
        @param backend: the backend that it is.
        @param journal: where it writes what it saw.
        """
        super().__init__()
        self._backend = backend
        self._journal = journal
        self.forms: dict[str, Form] = {"echo": self._echo}

    async def serve(self, wire: Wire) -> None:
        number = 0
        try:
            while True:
                number = 0
                first, fields = await readHead(wire)
                method, target, _ = first.split(" ")
                agent, ask = wishesOf(target)
                number = ask.number
                self._journal.write(BEGUN, number, agent)
                ask = evolve(ask, method=method)
                self.check(ask, fields)
                if not await self._answer(wire, ask, fields, agent):
                    break
        except Ended:
            if number:
                self._journal.write(BROKEN, number)
            elif wire.buffered():
                self._journal.write(FAULTY, 0, f"half a head: {wire.buffered()[:200]!r}")
        except (Nonsense, ValueError, KeyError) as error:
            self._journal.write(FAULTY, number, f"{type(error).__name__}: {error}")
        wire.close()

    def check(self, ask: Ask, fields: Fields) -> None:
        """
        Look at the head of a request.

        @raise Nonsense: if it is not what the client sent.
        """
        if valueOf(fields, "x-number") != str(ask.number):
            raise Nonsense(f"the head of number {fields.get('x-number')} with this target")
        if ask.backend != self._backend:
            raise Nonsense(f"a request for backend {ask.backend}")

    async def _answer(self, wire: Wire, ask: Ask, fields: Fields, agent: str) -> bool:
        """
        @return: whether the connection goes on.
        """
        lines = [
            f"X-Number: {ask.number}",
            f"X-Method: {ask.method}",
            f"X-Agent: {agent}",
            f"X-User: {valueOf(fields, 'x-inverting-proxy-user-id')}",
        ]
        form = self.forms.get(ask.form)
        if form is not None:
            return await form(wire, ask, fields, lines)
        if ask.hints:
            await wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        await asyncio.sleep(ask.thinks)
        if ask.form == "early":
            await self._send(wire, ask, [*lines, "X-Upload: early"])
        if valueOf(fields, "expect"):
            await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        upload = await self._readUpload(wire, ask, fields)
        if ask.form != "early":
            await self._send(wire, ask, [*lines, f"X-Upload: {checksumOf(upload)}"])
        await self.isAnswered(wire, ask)
        return ask.form != "close"

    async def isAnswered(self, wire: Wire, ask: Ask) -> None:
        """
        Take note that all of an answer was sent.
        """
        await wire.sendAll()
        self._journal.write(ANSWERED, ask.number)

    async def _readUpload(self, wire: Wire, ask: Ask, fields: Fields) -> bytes:
        body = bytearray()
        size = -1
        if isChunked(fields):
            trailers = await readChunked(wire, body)
            if valueOf(trailers, "x-trail") != str(ask.number):
                raise Nonsense(f"the trailers are {trailers}")
            size = len(body)
        elif length := valueOf(fields, "content-length"):
            size = int(length)
            await readCounted(wire, size, body)
        if bytes(body) != evolve(ask, upload=size).uploadBody():
            raise Nonsense(f"{checksumOf(bytes(body))} is not the body: {bytes(body[:80])!r}")
        self._journal.write(WHOLE, ask.number)
        return bytes(body)

    async def _send(self, wire: Wire, ask: Ask, lines: list[str]) -> None:
        body = ask.answerBody()
        chunked = ask.form == "chunked"
        if chunked:
            lines += ["Transfer-Encoding: chunked", "Trailer: X-Trail"]
        elif ask.form == "close":
            lines.append("Connection: close")
        elif ask.status not in (204, 304):
            lines.append(f"Content-Length: {ask.size}")
        head = headOf(f"{ask.status} As Wished", lines)
        if ask.method == "HEAD":
            await wire.send(head)
            return
        await wire.send(head)
        piece = max(1, len(body) // _PIECES) if ask.seconds else _PIECE
        pause = ask.seconds / _PIECES
        for begin in range(0, len(body), piece):
            part = body[begin : begin + piece]
            await wire.send(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            if pause:
                await asyncio.sleep(pause)
        if chunked:
            await wire.send(b"0\r\nX-Trail: %d\r\n\r\n" % ask.number)

    async def _echo(self, wire: Wire, ask: Ask, fields: Fields, lines: list[str]) -> bool:
        if valueOf(fields, "upgrade") != PROTOCOL:
            raise Nonsense(f"upgrade is {fields.get('upgrade')}")
        await asyncio.sleep(ask.thinks)
        lines += ["Connection: Upgrade", f"Upgrade: {PROTOCOL}"]
        await wire.send(headOf("101 Switching Protocols", lines))
        last = b""
        while not last.endswith(END):
            data = await wire.readSome(_PIECE)
            last = (last + data)[-len(END) :]
            await wire.send(data)
        await wire.send(BYE)
        await self.isAnswered(wire, ask)
        return False


if __name__ == "__main__":
    origin = Origin(sys.argv[1], Journal(Path(sys.argv[3])))
    asyncio.run(origin.listen("origin", int(sys.argv[2])))
