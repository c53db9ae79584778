"""
Plain HTTP calls: of the admin API, and of the pages at which people sign in.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from stage.messages import Answer
from stage.programs import StageError
from stage.wire import Ended, Nonsense, Wire

_PATIENCE = 60.0


async def call(
    port: int, method: str, target: str, *, fields: tuple[str, ...] = (), body: bytes = b""
) -> Answer:
    """
    Make a call on a connection of its own.

    @raise StageError: if there is no answer.
    """
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Connection: close",
        *fields,
    ]
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    answer = Answer()
    try:
        async with asyncio.timeout(_PATIENCE):
            wire = await Wire.to(port)
            try:
                await wire.send("\r\n".join((*lines, "", "")).encode("ascii") + body)
                await answer.read(wire, method, lambda _: None)
            finally:
                wire.close()
    except (OSError, Ended, Nonsense, TimeoutError) as error:
        raise StageError(f"{method} {target}: {type(error).__name__} {error}") from None
    return answer


class Admin:
    """
    The admin API.
    """

    def __init__(self, port: int) -> None:
        """
        @param port: where it listens.
        """
        self._port = port

    async def ask(self, method: str, path: str, value: object = None) -> Any:
        """
        Make a call.

        @param value: what to send, as JSON.
        @return: what comes back.
        @raise StageError: if that is no success.
        """
        body = b"" if value is None else json.dumps(value).encode("ascii")
        answer = await call(self._port, method, f"/api/{path}", body=body)
        if answer.status >= 300:
            raise StageError(f"{method} {path}: {answer.status} {bytes(answer.body)!r}")
        return json.loads(answer.body) if answer.body else None

    async def makeBackend(self, name: str, *users: str) -> None:
        """
        Make or replace a record for all paths below the name.
        """
        record = {
            "id": name,
            "endUsers": list(users),
            "backendUser": "",
            "pathPrefixes": [f"/{name}/"],
        }
        await self.ask("POST", "backends", record)

    async def makeToken(self, backend: str, name: str) -> str:
        """
        Make a token.

        @return: its secret.
        """
        made = await self.ask("POST", f"backends/{backend}/tokens", {"name": name})
        return str(made["token"])
