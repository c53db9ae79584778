"""
A program for tests of crashes: C{python -m invproxy.test.registrywriter} forks a process for each line that it reads,
the path of a database. That process changes a registry on and on, at random, until it is killed, and says of each
change what it will be, and that it was acknowledged::

    pid 4711
    open
    begin ["put", "b3", 17]
    done
    begin ["mint", "b3", "t1"]
    done 5c2e...
    gone
"""

from __future__ import annotations

import json
import os
import random
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from invproxy.registry.records import Backend
from invproxy.registry.registry import Registry
from invproxy.registry.sqlite import SQLiteStore


def say(line: str) -> None:
    """
    Write a line at once, and all at once.
    """
    os.write(1, f"{line}\n".encode("ascii"))


async def change(path: str, reactor: Any) -> None:
    """
    Change the registry until this process is killed.
    """
    registry = Registry(SQLiteStore(path, reactor), reactor)
    await registry.start()
    if not registry.isLoaded:
        raise RuntimeError(registry.problem)
    say("open")
    while True:
        id, name = f"b{random.randrange(8)}", f"t{random.randrange(3)}"
        known = registry.get(id)
        held = [] if known is None else [token.name for token in registry.tokensOf(id)]
        registry.see(id)
        answer = ""
        if known is None or random.random() < 0.3:
            number = random.randrange(1 << 30)
            say(f"begin {json.dumps(['put', id, number])}")
            # Of many pages, so that there is something to be in the middle of.
            paths = tuple(f"/{each}/{number}{'x' * (number % 900)}" for each in range(60))
            await registry.put(Backend(id, f"user{number}", "", paths))
        elif random.random() < 0.2:
            say(f"begin {json.dumps(['delete', id])}")
            await registry.delete(id)
        elif name in held:
            say(f"begin {json.dumps(['revoke', id, name])}")
            await registry.revokeToken(id, name)
        else:
            say(f"begin {json.dumps(['mint', id, name])}")
            made, _ = await registry.mintToken(id, name)
            answer = made.digest.hex()
        say(f"done {answer}")


def main() -> None:
    """
    Fork, and tell who came and who went.
    """
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            from twisted.internet import reactor

            running: Any = reactor

            def fail(failure: Failure) -> None:
                say(f"failed {failure.getErrorMessage()}")
                os._exit(1)

            random.seed()
            Deferred.fromCoroutine(change(line.rstrip("\n"), running)).addErrback(fail)
            running.run(installSignalHandlers=False)
            os._exit(2)
        say(f"pid {pid}")
        os.waitpid(pid, 0)
        say("gone")


if __name__ == "__main__":
    main()
