"""
A program that serves connections until it is ended.
"""

from __future__ import annotations

import asyncio
import sys

from stage.wire import Wire


class Server:
    """
    Serves each connection in a task of its own.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, wire: Wire) -> None:
        """
        Take a connection.
        """
        task = asyncio.create_task(self.serve(wire))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def serve(self, wire: Wire) -> None:
        """
        Serve a connection to its end.
        """
        raise NotImplementedError

    async def listen(self, name: str, port: int) -> None:
        """
        Listen until the end.

        @param name: what to call itself when it is ready.
        @param port: of this machine.
        """
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Wire(self.accept), "127.0.0.1", port, backlog=512, reuse_address=True
        )
        sys.stdout.write(f"{name} ready\n")
        sys.stdout.flush()
        await server.serve_forever()
