"""
A relay that delays bytes: C{python -m benchmarks.relay HOST PORT --delay MS} prints C{relay ready: PORT}, and passes
on what comes over connections to that port that many milliseconds later, both ways. It stands for a long line where
nobody may make network devices. TCP does not know of the delay; so that the relay carries no more than one TCP
connection would over such a line, it reads no further while too much is under way.
"""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser

_MOST = 2 << 20
"""
Bytes that one connection may have under way in one direction: half of what Linux keeps for a sender until it is
acknowledged, which would take another way back.
"""

_PIECE = 1 << 18


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """
    Carry the bytes of one direction until their end.

    @param reader: where they come from.
    @param writer: where they go.
    @param delay: how many seconds later.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    held = 0
    room = asyncio.Event()

    async def take() -> None:
        nonlocal held
        while True:
            data = await reader.read(_PIECE)
            held += len(data)
            pieces.put_nowait((loop.time() + delay, data))
            if not data:
                return
            while held >= _MOST:
                room.clear()
                await room.wait()

    taking = asyncio.ensure_future(take())
    try:
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
            held -= len(data)
            room.set()
    finally:
        taking.cancel()


async def serve(host: str, port: int, delay: float) -> None:
    """
    Relay until the end.

    @param host: where connections go.
    @param port: where connections go.
    @param delay: how many seconds later bytes arrive.
    """

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(host, port, limit=_PIECE)
        directions = carry(reader, ours, delay), carry(theirs, writer, delay)
        try:
            await asyncio.gather(*directions)
        except OSError:
            pass  # One side is gone, so the other has to go.
        finally:
            for each in (writer, ours):
                each.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=_PIECE, backlog=1024)
    print(f"relay ready: {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """
    Relay until the end.
    """
    parser = ArgumentParser(prog="python -m benchmarks.relay")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, required=True)
    options = parser.parse_args()
    asyncio.run(serve(options.host, options.port, options.delay / 1000))


if __name__ == "__main__":
    main()
