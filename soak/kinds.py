"""
The kinds of exchanges, and how often each is played.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from attrs import frozen

from soak.origin import piecesOf
from soak.visitors import PATIENCE, Visitor
from soak.websockets import Talk, acceptOf, keyOf
from stage.asks import Ask
from stage.judgement import judgeBroken
from stage.messages import Answer
from stage.pattern import difference
from stage.results import RIGHT, WRONG, Result
from stage.wire import Ended, Nonsense, Wire

_LARGE = 400_000, 3_000_000
_SLOW = 300_000, 1_200_000


def _small(visitor: Visitor, **wishes: object) -> Ask:
    return visitor.ask(
        size=visitor.random.randint(0, 3000),
        form=visitor.random.choice(("length", "chunked")),
        **wishes,
    )


async def _kept(visitor: Visitor) -> None:
    wire = await visitor.connect()
    for _ in range(visitor.random.randint(3, 12)):
        if wire.isOver() or not await visitor.exchange(wire, _small(visitor)):
            break
        await asyncio.sleep(visitor.random.choice((0.0, 0.0, 0.1)))
    wire.close()


async def _new(visitor: Visitor) -> None:
    await visitor.once(_small(visitor))


async def _pipelined(visitor: Visitor) -> None:
    asks = [_small(visitor) for _ in range(visitor.random.randint(2, 6))]
    wire = await visitor.connect()
    try:
        await wire.send(b"".join(ask.head(closes=False) for ask in asks))
        for ask in asks:
            if not await visitor.exchange(wire, ask, isSent=True):
                break
    except Ended:
        pass
    wire.close()


async def _old(visitor: Visitor) -> None:
    form = visitor.random.choice(("length", "close"))
    await visitor.once(visitor.ask(minor=0, form=form, size=visitor.random.randint(1, 30_000)))


async def _down(visitor: Visitor) -> None:
    form = visitor.random.choice(("length", "chunked", "close"))
    await visitor.once(visitor.ask(size=visitor.random.randint(*_LARGE), form=form))


async def _up(visitor: Visitor) -> None:
    await visitor.once(
        visitor.ask(
            method=visitor.random.choice(("POST", "PUT")),
            upload=visitor.random.randint(*_LARGE),
            uploadChunked=visitor.random.random() < 0.5,
        )
    )


async def _both(visitor: Visitor) -> None:
    """
    Trailers both ways.
    """
    draw = visitor.random
    await visitor.once(
        visitor.ask(
            method="POST",
            upload=draw.randint(1, 60_000),
            uploadChunked=True,
            form="chunked",
            size=draw.randint(1, 60_000),
        )
    )


async def _streamed(visitor: Visitor) -> None:
    draw = visitor.random
    await visitor.once(
        visitor.ask(form="chunked", size=draw.randint(8, 30_000), seconds=draw.uniform(0.2, 3.0))
    )


async def _uploadedSlowly(visitor: Visitor) -> None:
    draw = visitor.random
    await visitor.once(
        visitor.ask(
            method="POST",
            upload=draw.randint(6, 30_000),
            uploadChunked=draw.random() < 0.5,
            uploadSeconds=draw.uniform(0.2, 2.0),
        )
    )


async def _early(visitor: Visitor) -> None:
    await visitor.once(
        visitor.ask(method="POST", form="early", upload=visitor.random.randint(1, 50_000))
    )


async def _bodiless(visitor: Visitor) -> None:
    wire = await visitor.connect()
    asks = [
        visitor.ask(method="HEAD", form=visitor.random.choice(("length", "chunked")), size=5000),
        visitor.ask(status=204, size=0),
        visitor.ask(status=304, size=0),
        visitor.ask(method="DELETE", status=404),
    ]
    visitor.random.shuffle(asks)
    for ask in asks:
        if wire.isOver() or not await visitor.exchange(wire, ask):
            break
    wire.close()


async def _expected(visitor: Visitor) -> None:
    await visitor.once(
        visitor.ask(method="POST", upload=visitor.random.randint(1, 20_000), expects=True)
    )


async def _hinted(visitor: Visitor) -> None:
    await visitor.once(visitor.ask(hints=True, thinks=0.05))


async def _slow(visitor: Visitor) -> None:
    await visitor.once(visitor.ask(size=visitor.random.randint(*_SLOW)), slow=True)


async def _events(visitor: Visitor) -> None:
    """
    A stream of events, each of which is acknowledged in a request of its own; before that, no other is sent. So whoever
    held one back would hold back all.
    """
    ask = visitor.ask(
        form="events",
        size=visitor.random.randint(50, 5000),
    )
    answer = Answer()
    body = ask.answerBody()
    wire = await visitor.connect()

    async def acknowledge() -> None:
        end = 0
        for piece in piecesOf(body):
            end += len(piece)
            while len(answer.body) < end:
                await asyncio.sleep(0.02)
            await asyncio.sleep(visitor.random.uniform(0.0, 0.5))
            await visitor.once(visitor.ask(form="acknowledged", about=ask.number, size=0))

    acknowledging = asyncio.create_task(acknowledge())
    await visitor.exchange(wire, ask, answer=answer)
    if not answer.isWhole:
        acknowledging.cancel()
    await asyncio.wait([acknowledging])
    wire.close()


async def _upgraded(visitor: Visitor) -> None:
    draw = visitor.random
    await visitor.once(
        visitor.ask(
            form="echo", status=101, size=draw.randint(0, 100_000), seconds=draw.uniform(0.0, 2.0)
        )
    )


async def _websocket(visitor: Visitor) -> None:
    ask = visitor.ask(form="websocket", status=101, size=visitor.random.randint(1, 150_000))
    key = keyOf(ask)
    ask = visitor.ask(
        number=ask.number,
        form="websocket",
        status=101,
        size=ask.size,
        fields=(*ask.fields, f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"),
    )
    wire = await visitor.connect()
    began = time.monotonic()
    answer = Answer()
    try:
        async with asyncio.timeout(PATIENCE):
            await wire.send(ask.head(closes=False))
            await answer.read(wire, ask.method, lambda _: None)
            result = visitor.judged(ask, answer, [])
            if result.outcome == RIGHT:
                if answer.field("sec-websocket-accept") != acceptOf(key):
                    raise Nonsense(f"the key is {answer.field('sec-websocket-accept')}")
                await Talk(wire, ask).talk()
    except TimeoutError:
        result = Result(WRONG, detail="no end")
    except Ended as end:
        result = judgeBroken(ask, Answer(), b"-", str(end))
    except Nonsense as nonsense:
        result = Result(WRONG, detail=str(nonsense))
    visitor.note(ask, result, began)
    wire.close()


async def _broken(visitor: Visitor) -> None:
    draw = visitor.random
    size = draw.randint(1000, 50_000)
    after = draw.choice((-1, -1, 0, draw.randint(1, size - 1)))
    await visitor.once(
        visitor.ask(
            method=draw.choice(("GET", "DELETE")),
            form="broken",
            size=size,
            breaksAfter=after,
            thinks=draw.choice((0.0, 0.2)),
        )
    )


# Clients that leave.


def _leave(visitor: Visitor, wire: Wire) -> None:
    if visitor.random.random() < 0.5:
        wire.reset()
    else:
        wire.close()


async def _leftInHead(visitor: Visitor) -> None:
    ask = _small(visitor)
    wire = await visitor.connect()
    head = ask.head(closes=False)
    began = time.monotonic()
    await wire.send(head[: visitor.random.randint(0, len(head) - 2)])
    await asyncio.sleep(visitor.random.uniform(0.0, 0.3))
    _leave(visitor, wire)
    visitor.left(ask, began)


async def _leftInUpload(visitor: Visitor) -> None:
    draw = visitor.random
    ask = visitor.ask(method="POST", upload=draw.randint(10_000, 500_000))
    wire = await visitor.connect()
    began = time.monotonic()
    body = ask.uploadBody()
    try:
        await wire.send(ask.head(closes=False) + body[: draw.randint(0, len(body) - 1)])
        await asyncio.sleep(draw.uniform(0.0, 0.3))
    except Ended:
        visitor.left(ask, began)
        return
    _leave(visitor, wire)
    visitor.left(ask, began)


async def _leftWaiting(visitor: Visitor) -> None:
    draw = visitor.random
    ask = visitor.ask(thinks=draw.uniform(0.5, 2.0), method=draw.choice(("GET", "DELETE")))
    wire = await visitor.connect()
    began = time.monotonic()
    await wire.send(ask.head(closes=False))
    await asyncio.sleep(draw.uniform(0.0, 0.4))
    _leave(visitor, wire)
    visitor.left(ask, began)


async def _leftInDownload(visitor: Visitor) -> None:
    draw = visitor.random
    ask = visitor.ask(
        size=draw.randint(100_000, 2_000_000), form=draw.choice(("length", "chunked"))
    )
    if draw.random() < 0.3:
        ask = visitor.ask(form="events", size=1000)
    wire = await visitor.connect()
    began = time.monotonic()
    answer = Answer()
    await wire.send(ask.head(closes=False))
    fault = ""
    try:
        async with asyncio.timeout(draw.uniform(0.0, 0.1)):
            await answer.read(wire, ask.method, lambda _: None)
    except (TimeoutError, Ended):
        pass
    except Nonsense as nonsense:
        fault = str(nonsense)
    body = bytes(answer.body)
    if not fault and not ask.answerBody().startswith(body):
        fault = difference(body, ask.answerBody())
    _leave(visitor, wire)
    visitor.left(ask, began, fault)


async def _leftInUpgrade(visitor: Visitor) -> None:
    draw = visitor.random
    ask = visitor.ask(form="echo", status=101, size=100_000)
    wire = await visitor.connect()
    began = time.monotonic()
    fault = ""
    try:
        await wire.send(ask.head(closes=False))
        answer = Answer()
        await answer.read(wire, ask.method, lambda _: None)
        if answer.status == 101:
            sent = ask.answerBody()[: draw.randint(1, 100_000)]
            await wire.send(sent)
            await asyncio.sleep(draw.uniform(0.0, 0.3))
            found = wire.buffered()
            if not sent.startswith(found):
                fault = difference(found, sent)
    except Ended:
        pass
    except Nonsense as nonsense:
        fault = str(nonsense)
    _leave(visitor, wire)
    visitor.left(ask, began, fault)


@frozen
class Kind:
    """
    A kind of exchange.

    @ivar name: its name.
    @ivar weight: how often it is played, in proportion to the others.
    @ivar play: plays it once.
    """

    name: str
    weight: float
    play: Callable[[Visitor], Awaitable[None]]


KINDS = (
    Kind("small, kept connection", 20, _kept),
    Kind("small, new connection", 20, _new),
    Kind("small, pipelined", 6, _pipelined),
    Kind("HTTP/1.0", 4, _old),
    Kind("large download", 4, _down),
    Kind("large upload", 4, _up),
    Kind("trailers both ways", 5, _both),
    Kind("streamed answer", 6, _streamed),
    Kind("streamed upload", 5, _uploadedSlowly),
    Kind("answer before upload", 3, _early),
    Kind("events, acknowledged", 4, _events),
    Kind("HEAD, 204, 304, 404", 6, _bodiless),
    Kind("Expect: 100-continue", 4, _expected),
    Kind("103 Early Hints", 4, _hinted),
    Kind("slow reader", 2, _slow),
    Kind("upgraded", 4, _upgraded),
    Kind("WebSocket", 4, _websocket),
    Kind("backend breaks off", 5, _broken),
    Kind("client leaves in head", 3, _leftInHead),
    Kind("client leaves in upload", 3, _leftInUpload),
    Kind("client leaves waiting", 3, _leftWaiting),
    Kind("client leaves in download", 3, _leftInDownload),
    Kind("client leaves in upgrade", 3, _leftInUpgrade),
)
"""All kinds."""


async def visit(visitor: Visitor) -> None:
    """
    Have a visitor play one of them.
    """
    kind = visitor.random.choices(KINDS, [kind.weight for kind in KINDS])[0]
    await visitor.play(kind.name, kind.play)
