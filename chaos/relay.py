"""
A relay on the way from an agent to the proxy, which can stop passing bytes, break connections and be slow.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from stage.wire import resetOnClose

_PIECE = 65536


class _Passage:
    """
    One connection through a relay.

    @ivar open: whether its bytes pass.
    """

    def __init__(self, relay: Relay, writer: asyncio.StreamWriter) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self._relay = relay
        self._writers = [writer]
        self._task = asyncio.current_task()

    async def run(self, reader: asyncio.StreamReader, target: int) -> None:
        """
        Pass everything on, until both directions have ended or one is broken.
        """
        try:
            await self._relay.open.wait()
            back, there = await asyncio.open_connection("127.0.0.1", target, limit=_PIECE)
            self._writers.append(there)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, there))
                both.create_task(self._pump(back, self._writers[0]))
        except (OSError, ExceptionGroup):
            self.reset()
        else:
            for writer in self._writers:
                writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                data = await reader.read(_PIECE)
            except OSError:
                await self._pass()  # a break does not pass either
                raise
            if self._relay.delay:
                await asyncio.sleep(self._relay.delay)
            await self._pass()
            if not data:
                break
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    async def _pass(self) -> None:
        await self.open.wait()
        await self._relay.open.wait()

    def reset(self) -> None:
        """
        Break both of its ends.
        """
        for writer in self._writers:
            resetOnClose(writer.transport)
            writer.transport.abort()

    def end(self) -> None:
        """
        Stop, and break both of its ends.
        """
        if self._task is not None:
            self._task.cancel()
        self.reset()


class Relay:
    """
    Listens on one port and passes everything on to another.

    @ivar port: where it listens.
    @ivar delay: seconds by which it holds back each piece, either way.
    @ivar open: whether anything passes.
    """

    def __init__(self, port: int, target: int) -> None:
        """
        @param port: where it listens.
        @param target: the port that it passes everything on to.
        """
        self.port = port
        self.delay = 0.0
        self.open = asyncio.Event()
        self.open.set()
        self._target = target
        self._passages: set[_Passage] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """
        Listen.
        """
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, backlog=512, limit=_PIECE
        )

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passage = _Passage(self, writer)
        self._passages.add(passage)
        # asyncio would complain that its own callback was cancelled.
        with suppress(asyncio.CancelledError):
            await passage.run(reader, self._target)
        self._passages.discard(passage)

    def stop(self) -> None:
        """
        Listen no more, and break everything.
        """
        if self._server is not None:
            self._server.close()
        self.cut()

    def block(self) -> None:
        """
        Become a black hole: nothing passes, neither bytes nor the end of a connection, and nobody is told.
        """
        self.open.clear()

    def clear(self) -> None:
        """
        Let everything pass, what was held back first.
        """
        self.open.set()

    def cut(self) -> None:
        """
        Break all connections by a reset.
        """
        for passage in list(self._passages):
            passage.end()

    def forget(self) -> None:
        """
        Let no byte of the present connections pass any more, ever, as a router does that was restarted; new ones work.
        """
        for passage in self._passages:
            passage.open.clear()
