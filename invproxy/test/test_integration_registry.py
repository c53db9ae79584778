"""
The registry with a real reactor, real threads and real crashes.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer
from typing import IO, Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from invproxy.registry.records import digestOf
from invproxy.registry.registry import Conflict, Registry
from invproxy.registry.sqlite import IReactorStore, SQLiteStore
from invproxy.test.registrystores import backend, sqliteStore

SECONDS = 10.0
"""How long processes are killed; at least this many are, however slow the machine is:"""
LEAST = 10


class CrashTests(SynchronousTestCase):
    """
    A registry whose process is killed again and again, at any moment.
    """

    def test_kill(self) -> None:
        """
        Whenever it dies, what was acknowledged is there, the change under way is there wholly or not at all, and the
        next process goes on from there.
        """
        writer = subprocess.Popen(
            [sys.executable, "-m", "invproxy.test.registrywriter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdin and writer.stdout
        self.addCleanup(writer.wait)
        self.addCleanup(writer.stdout.close)
        self.addCleanup(writer.stdin.close)
        watch = Timer(600, writer.kill)
        watch.start()
        self.addCleanup(watch.cancel)
        seed = random.randrange(1 << 32)
        dice = random.Random(seed)
        kills = acknowledged = 0
        model: dict[str, Any] = {}
        end = time.monotonic() + SECONDS
        path = Path(self.mktemp())
        while kills < LEAST or time.monotonic() < end:
            if dice.random() < 0.3:
                # A new one, to be killed while it is made.
                path, model = Path(self.mktemp()), {}
                lines = dice.randrange(3)
            else:
                lines = dice.randrange(2, 40)
            delay = dice.random() * 0.005
            begun, count = self.killAfter(lines, delay, path, model, writer.stdin, writer.stdout)
            kills, acknowledged = kills + 1, acknowledged + count
            found = self.stateOf(path)
            possible = [model]
            if begun is not None:
                possible.append(applied(model, begun))
            if begun is not None and begun[0] == "mint":
                # Its digest was not told.
                found, possible = undigested(found), [undigested(each) for each in possible]
            self.assertIn(found, possible, f"seed {seed}, kill {kills}, after {begun}")
            model = self.stateOf(path)
        print(f"{kills} kills, {acknowledged} changes acknowledged")

    def killAfter(
        self,
        lines: int,
        delay: float,
        path: Path,
        model: dict[str, Any],
        stdin: IO[str],
        stdout: IO[str],
    ) -> tuple[list[Any] | None, int]:
        """
        Have a process change a registry, and kill it so many seconds after it has said so many lines.

        @param model: what is there, brought up to what was acknowledged.
        @return: the change under way, and how many were acknowledged.
        """
        stdin.write(f"{path}\n")
        stdin.flush()
        begun: list[Any] | None = None
        said = acknowledged = 0
        pid = 0
        while True:
            line = stdout.readline()
            word, _, rest = line.strip().partition(" ")
            if word == "pid":
                pid = int(rest)
            elif word == "gone":
                return begun, acknowledged
            elif word == "begin":
                begun = json.loads(rest)
            elif word == "done":
                assert begun is not None
                after = applied(model, begun, rest)
                model.clear()
                model.update(after)
                begun = None
                acknowledged += 1
            elif word != "open":
                self.fail(line)
            said += word != "pid"
            if pid and said >= lines:
                Timer(delay, os.kill, (pid, signal.SIGKILL)).start()
                lines = sys.maxsize

    def stateOf(self, path: Path) -> dict[str, Any]:
        """
        What a database has: end users by ID, digests by ID and name.
        """
        store = sqliteStore(self, str(path))
        self.successResultOf(store.open())
        self.assertEqual(
            self.successResultOf(
                store._run(lambda t: t.execute("PRAGMA integrity_check").fetchall())
            ),
            [("ok",)],
        )
        backends, tokens = self.successResultOf(store.load())
        self.successResultOf(store.close())
        state: dict[str, Any] = {each.id: each.endUser for each in backends}
        for token in tokens:
            state[f"{token.backend} {token.name}"] = token.digest.hex()
        return state


def applied(model: dict[str, Any], change: list[Any], answer: str = "") -> dict[str, Any]:
    """
    What a change makes of what was there.
    """
    kind, id, *rest = change
    if kind == "put":
        return {**model, id: f"user{rest[0]}"}
    if kind == "delete":
        return {key: value for key, value in model.items() if key.partition(" ")[0] != id}
    key = f"{id} {rest[0]}"
    if kind == "mint":
        return {**model, key: answer}
    return {other: value for other, value in model.items() if other != key}


def undigested(state: dict[str, Any]) -> dict[str, Any]:
    """
    The same without the digests of tokens.
    """
    return {key: value if " " not in key else None for key, value in state.items()}


class ThreadTests(TestCase):
    """
    A registry over a file, with the real reactor.
    """

    async def test_life(self) -> None:
        """
        Changes asked for at once are all made, and are there after a restart.
        """
        path = self.mktemp()
        running = cast(IReactorStore, reactor)
        clock = cast(Any, reactor)
        registry = Registry(SQLiteStore(path, running), clock)
        await registry.start()
        self.assertTrue(registry.isLoaded, registry.problem)
        await gatherResults(
            [
                Deferred.fromCoroutine(
                    registry.put(backend(f"b{number % 20}", endUser=f"u{number}"))
                )
                for number in range(50)
            ]
        )
        _, secret = await registry.mintToken("b7", "ci")
        await self.assertFailure(Deferred.fromCoroutine(registry.mintToken("b7", "ci")), Conflict)
        registry.see("b7")
        await registry.stop()

        second = Registry(SQLiteStore(path, running), clock)
        rival = Registry(SQLiteStore(path, running), clock)
        await second.start()
        await rival.start()
        self.assertIn("another server", rival.problem)
        self.assertEqual(len(second.list()), 20)
        found = second.findToken(digestOf(secret))
        self.assertEqual(found and found.backend, "b7")
        record = second.get("b7")
        assert record is not None
        self.assertEqual(record.endUser, "u47")
        self.assertIsNotNone(record.lastUsed)
        await rival.stop()
        await second.stop()
