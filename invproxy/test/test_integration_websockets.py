"""
WebSockets, with the client and the server of the C{websockets} package, through a real proxy and a real agent.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import cache
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from invproxy.test.programs import (
    CARRIERS,
    DEADLINE,
    IntegrationTestCase,
    eventually,
    sharedAgent,
    sharedProxy,
    variants,
)

Handler = Callable[[ServerConnection], Awaitable[None]]


@cache
def backendSocket() -> socket.socket:
    """
    Where the WebSocket server of each test listens.
    """
    return socket.create_server(("127.0.0.1", 0), backlog=512)


async def echo(connection: ServerConnection) -> None:
    """
    Send back each message, as one frame of its kind.
    """
    async for message in connection:
        await connection.send(message)


class WebSocket(IntegrationTestCase):
    """
    The WebSocket protocol (RFC 6455) passes as it is.
    """

    transport: str

    def setUp(self) -> None:
        port = backendSocket().getsockname()[1]
        self.backend = f"ws-{self.transport}"
        sharedAgent(self.backend, f"http://127.0.0.1:{port}", self.transport)

    def tearDown(self) -> None:
        """
        Whatever happened, nothing is left behind.
        """
        eventually(lambda: not sharedProxy().inFlight(self.backend), "no exchange is in flight")

    def connect(self, **options: Any) -> connect:
        """
        Connect a client through the proxy.
        """
        return connect(
            f"ws://127.0.0.1:{sharedProxy().port}/socket?q=1",
            additional_headers={"X-Inverting-Proxy-Backend": self.backend},
            proxy=None,
            open_timeout=DEADLINE,
            max_size=None,
            **options,
        )

    def drive(self, handler: Handler, test: Coroutine[Any, Any, None], **options: Any) -> None:
        """
        Run a test beside a server.

        @param handler: what the server does with each connection.
        @param test: the client's part.
        @param options: more options of the server.
        """

        async def both() -> None:
            listening = backendSocket().dup()
            async with serve(
                handler, sock=listening, max_size=None, open_timeout=DEADLINE, **options
            ):
                async with asyncio.timeout(DEADLINE):
                    await test

        asyncio.run(both())

    def test_echo(self) -> None:
        """
        Text and binary messages, empty ones, and ones of each size that a length field can have.
        """

        async def test() -> None:
            async with self.connect() as client:
                for size in (0, 1, 125, 126, 65535, 65536, 300000):
                    for message in ("ä" * (size // 2), os.urandom(size)):
                        await client.send(message)
                        self.assertEqual(await client.recv(), message)

        self.drive(echo, test())

    def test_negotiated(self) -> None:
        """
        Target, subprotocol, extension and fields of the handshake are those of the two ends.
        """
        seen: list[Any] = []

        async def handler(connection: ServerConnection) -> None:
            assert connection.request is not None
            seen.append(connection.request.path)
            seen.append(connection.request.headers["Host"])
            seen.append(connection.request.headers["Origin"])
            seen.append(connection.subprotocol)
            seen.append(
                [str(type(extension).__name__) for extension in connection.protocol.extensions]
            )
            await echo(connection)

        async def test() -> None:
            protocols = [Subprotocol("chat.v1"), Subprotocol("chat.v2")]
            async with self.connect(subprotocols=protocols, origin="http://page.test") as client:
                await client.send("x" * 1000)
                self.assertEqual(await client.recv(), "x" * 1000)
                self.assertEqual(client.subprotocol, "chat.v2")
                assert client.response is not None
                self.assertEqual(client.response.headers["Server"], "backend/1")
                names = [str(type(extension).__name__) for extension in client.protocol.extensions]
                self.assertEqual(names, ["PerMessageDeflate"])

        self.drive(
            handler, test(), subprotocols=[Subprotocol("chat.v2")], server_header="backend/1"
        )
        self.assertEqual(
            seen,
            [
                "/socket?q=1",
                f"127.0.0.1:{sharedProxy().port}",
                "http://page.test",
                "chat.v2",
                ["PerMessageDeflate"],
            ],
        )

    def test_large(self) -> None:
        """
        Messages of 8 MiB, both ways at the same time.
        """
        up, down = os.urandom(8 << 20), os.urandom(8 << 20)
        seen: list[bytes] = []

        async def handler(connection: ServerConnection) -> None:
            sending = asyncio.ensure_future(connection.send(down))
            message = await connection.recv()
            assert isinstance(message, bytes)
            seen.append(hashlib.sha256(message).digest())
            await sending
            await connection.wait_closed()

        async def test() -> None:
            async with self.connect(compression=None) as client:
                sending = asyncio.ensure_future(client.send(up))
                message = await client.recv()
                assert isinstance(message, bytes)
                self.assertEqual(hashlib.sha256(message).digest(), hashlib.sha256(down).digest())
                await sending

        self.drive(handler, test(), compression=None)
        self.assertEqual(seen, [hashlib.sha256(up).digest()])

    def test_fragmented(self) -> None:
        """
        Fragments stay the fragments that they were, and each arrives while the message goes on.
        """

        async def handler(connection: ServerConnection) -> None:
            # A fragment is sent back before the next one is known: nothing in between may wait for a whole message.
            async def fragments() -> AsyncIterator[str]:
                async for fragment in connection.recv_streaming(decode=True):
                    yield fragment

            await connection.send(fragments())

        async def test() -> None:
            async with self.connect(compression=None) as client:
                back: asyncio.Queue[str] = asyncio.Queue()
                sent = ["one", "two", "x" * 70000, "", "last"]

                async def receive() -> None:
                    async for fragment in client.recv_streaming(decode=True):
                        back.put_nowait(fragment)

                receiving = asyncio.ensure_future(receive())

                async def fragments() -> AsyncIterator[str]:
                    for fragment in sent:
                        yield fragment
                        self.assertEqual(await back.get(), fragment)

                await client.send(fragments())
                await receiving

        self.drive(handler, test(), compression=None)

    def test_pings(self) -> None:
        """
        Pings and pongs pass both ways, with what they carry.
        """
        seen: list[bool] = []

        async def handler(connection: ServerConnection) -> None:
            await (await connection.ping(b"from the backend"))
            seen.append(True)
            await connection.send("ponged")
            await connection.wait_closed()

        async def test() -> None:
            async with self.connect() as client:
                await (await client.ping(b"from the client"))
                self.assertEqual(await client.recv(), "ponged")

        self.drive(handler, test())
        self.assertEqual(seen, [True])

    def test_closedByBackend(self) -> None:
        """
        The client sees the code and the reason with which the backend closes.
        """
        codes = [(1000, ""), (1001, "going"), (1011, "übel"), (4001, "own")]
        left = list(codes)

        async def handler(connection: ServerConnection) -> None:
            await connection.close(*left.pop(0))

        async def test() -> None:
            for code in codes:
                async with self.connect() as client:
                    with self.assertRaises(ConnectionClosed) as caught:
                        await client.recv()
                assert caught.exception.rcvd is not None
                self.assertEqual((caught.exception.rcvd.code, caught.exception.rcvd.reason), code)

        self.drive(handler, test())

    def test_closedByClient(self) -> None:
        """
        The backend sees the code and the reason with which the client closes.
        """
        codes = [(1000, ""), (1001, "leaving"), (3007, "ünfug"), (4999, "own")]
        seen: asyncio.Queue[tuple[int | None, str | None]] = asyncio.Queue()

        async def handler(connection: ServerConnection) -> None:
            await connection.wait_closed()
            seen.put_nowait((connection.close_code, connection.close_reason))

        async def test() -> None:
            for code in codes:
                client = await self.connect()
                await client.close(*code)
                self.assertEqual(await seen.get(), code)

        self.drive(handler, test())

    def test_many(self) -> None:
        """
        Many connections at once do not get into each other's way.
        """
        count = 150

        async def one(number: int) -> None:
            async with self.connect() as client:
                await everybody.wait()
                for turn in range(5):
                    await client.send(f"{number}.{turn}")
                    self.assertEqual(await client.recv(), f"{number}.{turn}")

        async def test() -> None:
            await asyncio.gather(*map(one, range(count)))

        everybody = asyncio.Barrier(count)
        self.drive(echo, test())

    def test_clientLost(self) -> None:
        """
        The backend sees when a client's connection breaks.
        """
        lost: asyncio.Queue[int | None] = asyncio.Queue()

        async def handler(connection: ServerConnection) -> None:
            await connection.send("hello")
            await connection.wait_closed()
            lost.put_nowait(connection.close_code)

        async def test() -> None:
            client = await self.connect()
            self.assertEqual(await client.recv(), "hello")
            client.transport.abort()
            self.assertEqual(await lost.get(), 1006)

        self.drive(handler, test())

    def test_backendLost(self) -> None:
        """
        The client sees when the backend's connection breaks.
        """

        async def handler(connection: ServerConnection) -> None:
            await connection.send("hello")
            await connection.recv()
            connection.transport.abort()

        async def test() -> None:
            client: ClientConnection = await self.connect()
            self.assertEqual(await client.recv(), "hello")
            await client.send("go")
            with self.assertRaises(ConnectionClosedError):
                await client.recv()
            self.assertEqual(client.close_code, 1006)

        self.drive(handler, test())

    def test_refused(self) -> None:
        """
        A handshake that the backend refuses is refused to the client, in the backend's words.
        """

        def refuse(connection: ServerConnection, request: Request) -> Response:
            return connection.respond(403, "not you\n")

        async def test() -> None:
            with self.assertRaises(InvalidStatus) as caught:
                await self.connect()
            self.assertEqual(caught.exception.response.status_code, 403)
            self.assertEqual(caught.exception.response.body, b"not you\n")

        self.drive(echo, test(), process_request=refuse)


globals().update(variants(WebSocket, CARRIERS))
del WebSocket
