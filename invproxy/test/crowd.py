"""
A crowd of clients that ask all the time, each in its own way, and write down what became of every request: for programs
that are stopped and started meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType

from attrs import define, field

from invproxy.test.programs import DEADLINE

RIGHT, DRAINING = "right", "draining"
"""Outcomes: the answer that it ought to be; C{503}, C{draining}, with C{Retry-After} and C{Connection: close}."""

REFUSED = "refused"
"""Outcome: there was no connection, as nobody listened."""

UNANSWERED = "unanswered"
"""Outcome: the connection was closed in good order, without a byte of an answer."""

RESET, CUT = "reset", "cut"
"""Outcomes: the connection was reset before the answer; it ended in the midst of the answer."""

Way = Callable[["Client"], Coroutine[None, None, None]]


@define
class Client:
    """
    One of the crowd.

    @ivar number: which one.
    @ivar port: where the proxy is.
    @ivar outcomes: where to count what becomes of requests.
    @ivar goesOn: says whether to ask again.
    @ivar refusals: how many refused connections in a row it puts up with; each is followed by a short wait.
    """

    number: int
    port: int
    outcomes: Counter[str]
    goesOn: Callable[[], bool]
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def connect(self) -> bool:
        """
        Connect, unless there is a connection.

        @return: whether there is one now.
        """
        if self._writer is not None:
            return True
        try:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            self.outcomes[REFUSED] += 1
            await asyncio.sleep(0.05)
            return False
        except ConnectionError:
            self.outcomes[RESET] += 1
            return False
        return True

    async def send(self, data: bytes) -> None:
        """
        Send some; what goes wrong shows in the answer.
        """
        assert self._writer is not None
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def answer(self, expected: bytes) -> bool:
        """
        Read an answer, and write down what it is.

        @param expected: the body that it ought to have.
        @return: whether the connection goes on.
        """
        outcome, goesOn = await self._read(expected)
        self.outcomes[outcome] += 1
        if not goesOn:
            self.leave()
        return goesOn

    async def _read(self, expected: bytes) -> tuple[str, bool]:
        assert self._reader is not None
        try:
            block = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            return (CUT if error.partial else UNANSWERED), False
        except ConnectionError:
            return RESET, False
        lines = block.decode("latin-1").lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        status = lines[0].split()[1]
        try:
            body = await self._reader.readexactly(int(fields["content-length"]))
        except (asyncio.IncompleteReadError, ConnectionError):
            return CUT, False
        closes = fields.get("connection") == "close"
        if closes:
            try:
                rest = await self._reader.read()
            except ConnectionError:
                return "reset behind an answer", False
            if rest:
                return "something behind the last answer", False
        if status == "200":
            return (RIGHT if body == expected else "wrong"), not closes
        code = fields.get("x-inverting-proxy-error", "")
        if code == "draining" and closes and "retry-after" in fields:
            return DRAINING, False
        return f"{status} {code}", not closes

    def leave(self) -> None:
        """
        Close the connection.
        """
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()


async def keep(client: Client) -> None:
    """
    Ask again and again on one connection.
    """
    while client.goesOn():
        if await client.connect():
            await client.send(b"GET /%d HTTP/1.1\r\nHost: web\r\n\r\n" % client.number)
            await client.answer(b"GET /%d 0" % client.number)


async def come(client: Client) -> None:
    """
    Ask each time on a connection of its own.
    """
    while client.goesOn():
        if await client.connect():
            await client.send(
                b"GET /%d HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n" % client.number
            )
            await client.answer(b"GET /%d 0" % client.number)
            client.leave()


async def pipeline(client: Client) -> None:
    """
    Send three requests at once; those behind the last one that was answered do not count.
    """
    one = b"GET /%d HTTP/1.1\r\nHost: web\r\n\r\n" % client.number
    while client.goesOn():
        if await client.connect():
            await client.send(one * 3)
            for _ in range(3):
                if not await client.answer(b"GET /%d 0" % client.number):
                    break


async def upload(client: Client) -> None:
    """
    Send bodies bit by bit, some of them in chunks.
    """
    while client.goesOn():
        for framing in (b"Content-Length: 50000", b"Transfer-Encoding: chunked"):
            if not await client.connect():
                continue
            await client.send(
                b"POST /%d HTTP/1.1\r\nHost: web\r\n%b\r\n\r\n" % (client.number, framing)
            )
            for _ in range(5):
                await asyncio.sleep(0.005)
                piece = bytes(10000)
                await client.send(b"2710\r\n%b\r\n" % piece if b"chunked" in framing else piece)
            if b"chunked" in framing:
                await client.send(b"0\r\n\r\n")
            await client.answer(b"POST /%d 50000" % client.number)


WAYS: tuple[Way, ...] = (keep, keep, keep, come, keep, pipeline, keep, upload)
"""How they ask, in turns."""


@define
class Crowd:
    """
    Clients in a thread of their own, from the beginning to the end of a C{with}.

    @ivar port: where the proxy is.
    @ivar size: how many clients there are.
    @ivar ways: how they ask, in turns.
    @ivar outcomes: what became of the requests so far.
    """

    port: int
    size: int = 64
    ways: tuple[Way, ...] = WAYS
    outcomes: Counter[str] = field(factory=Counter)
    _stop: Event = field(factory=Event)
    _failures: list[BaseException] = field(factory=list)
    _thread: Thread = field(init=False)

    def __enter__(self) -> Crowd:
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(DEADLINE)
        if self._failures:
            raise self._failures[0]
        if self._thread.is_alive():
            raise AssertionError("some requests of a crowd never ended")

    def _run(self) -> None:
        try:
            asyncio.run(self._askAll())
        except BaseException as error:
            self._failures.append(error)

    async def _askAll(self) -> None:
        clients = [
            Client(number, self.port, self.outcomes, lambda: not self._stop.is_set())
            for number in range(self.size)
        ]
        ways = [self.ways[number % len(self.ways)] for number in range(self.size)]
        try:
            await asyncio.gather(*(way(client) for way, client in zip(ways, clients, strict=True)))
        finally:
            for client in clients:
                client.leave()


class Site:
    """
    A backend that answers each request with its method, its target and how long its body was, in a thread of its own.
    It takes a moment for each, so that nearly all that a crowd asks is in flight at any time, and it is not very much.

    @ivar url: where it is.
    """

    def __init__(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._serve, args=(listening,), daemon=True)
        self._thread.start()

    def _serve(self, listening: socket.socket) -> None:
        async def serve() -> None:
            server = await asyncio.start_server(self._answer, sock=listening)
            async with server:
                await server.serve_forever()

        with suppress(asyncio.CancelledError, RuntimeError):
            self._loop.run_until_complete(serve())

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                block = (await reader.readuntil(b"\r\n\r\n")).lower()
                method, target, _ = block.split(b" ", 2)
                size = 0
                if b"transfer-encoding: chunked" in block:
                    while length := int(await reader.readline(), 16):
                        size += len(await reader.readexactly(length))
                        await reader.readline()
                    await reader.readline()
                elif b"content-length: " in block:
                    size = int(block.split(b"content-length: ")[1].split(b"\r\n")[0])
                    await reader.readexactly(size)
                await asyncio.sleep(0.1)
                body = b"%b %b %d" % (method.upper(), target, size)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    def close(self) -> None:
        """
        End it.
        """
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
