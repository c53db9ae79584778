"""
How clients say what they ask for.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from stage.asks import END, Ask
from stage.judgement import judgeEcho
from stage.messages import Answer
from stage.results import Result
from stage.wire import Ended, Wire

_PIECES = 6
"""In how many pieces a slow body is sent."""

_PIECE = 16384

_AWAITED = 1.0
"""Seconds that a client waits for a 100 (Continue)."""


async def sendAsk(wire: Wire, ask: Ask, leave: asyncio.Event, *, closes: bool) -> None:
    """
    Send a request; a server that does not take it has its reason, which is read from its answer.
    """
    try:
        await wire.send(ask.head(closes=closes))
        if ask.expects:
            with suppress(TimeoutError):
                await asyncio.wait_for(leave.wait(), _AWAITED)
        body = ask.uploadBody()
        piece = max(1, len(body) // _PIECES) if ask.uploadSeconds else _PIECE
        for begin in range(0, len(body), piece):
            part = body[begin : begin + piece]
            await wire.send(b"%x\r\n%b\r\n" % (len(part), part) if ask.uploadChunked else part)
            if ask.uploadSeconds:
                await asyncio.sleep(ask.uploadSeconds / _PIECES)
        if ask.uploadChunked:
            await wire.send(b"0\r\nX-Trail: %d\r\n\r\n" % ask.number)
    except Ended:
        pass


async def readEcho(wire: Wire, ask: Ask, answer: Answer) -> Result:
    """
    Use an upgraded connection: send something in pieces, and see it come back.
    """

    async def talk() -> None:
        data = ask.answerBody()
        piece = max(1, len(data) // _PIECES)
        try:
            for begin in range(0, len(data), piece):
                await wire.send(data[begin : begin + piece])
                await asyncio.sleep(ask.seconds / _PIECES)
            await wire.send(END)
        except Ended:
            pass

    talking = asyncio.create_task(talk())
    echo = bytearray()
    isOver = False
    try:
        while True:
            echo += await wire.readSome(_PIECE)
    except Ended as end:
        isOver = not end.reset
    finally:
        talking.cancel()
    return judgeEcho(ask, answer, bytes(echo), isOver=isOver)
